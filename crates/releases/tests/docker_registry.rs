//! The same by a real registry, Debian's `docker-registry`: pushed to over its API, pulled from as users do. Ignored, with
//! the reason in its name, where that program is not installed.

#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

#[expect(dead_code, reason = "most of it is for the other tests")]
#[path = "obtain/support/mod.rs"]
mod support;

use std::{
    env, fs,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::json;
use support::{Built, Room, descriptor, host_architecture, runs, sha256};

const PROGRAM: &str = "docker-registry";

fn main() {
    let arguments = Arguments::from_args();
    let program = installed();
    let is_missing = program.is_none();
    let name = "an_image_pushed_to_a_real_registry_is_pulled_from_it_by_tag_digest_and_platform";
    let name = if is_missing {
        format!("{name} ({PROGRAM} is not installed)")
    } else {
        name.to_owned()
    };
    let test = move || pulled_from(program.ok_or("it is not installed")?);
    libtest_mimic::run(
        &arguments,
        vec![Trial::test(name, test).with_ignored_flag(is_missing)],
    )
    .exit();
}

fn installed() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(PROGRAM))
        .find(|program| program.is_file())
}

/// Ends with the test, whatever becomes of it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn pulled_from(program: PathBuf) -> Result<(), Failed> {
    let room = Room::new();
    // Free a moment ago; the registry takes no socket of ours.
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let config = json!({
        "version": "0.1", "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": room.path("registry")}},
        "http": {"addr": format!("127.0.0.1:{port}")},
    });
    let path = room.path("config.yml");
    // JSON is YAML.
    fs::write(&path, config.to_string())?;
    let _running = Running(
        Command::new(program)
            .arg("serve")
            .arg(path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?,
    );
    tokio::runtime::Runtime::new()?.block_on(async {
        let base = format!("http://127.0.0.1:{port}/v2");
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().build()?;
        let deadline = Instant::now() + Duration::from_mins(1);
        while http.get(format!("{base}/")).send().await.is_err() {
            if Instant::now() > deadline {
                return Err("the registry did not begin to serve".into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let (ours, other) = (Built::usual(), Built::of_platform("riscv64", &json!({}), &[]));
        let repository = format!("{base}/csi/driver");
        for built in [&ours, &other] {
            for blob in built.layers.iter().chain([&built.config]) {
                push_blob(&http, &repository, blob).await;
            }
            push_manifest(&http, &repository, &built.digest(), &built.manifest).await;
        }
        let entry = |built: &Built, architecture: &str| {
            let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &built.manifest);
            entry["platform"] = json!({"os": "linux", "architecture": architecture});
            entry
        };
        let index = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [entry(&other, "riscv64"), entry(&ours, host_architecture())],
        });
        let index = index.to_string().into_bytes();
        push_manifest(&http, &repository, "v1.6.0", &index).await;
        push_manifest(&http, &repository, "v1.6.0-single", &ours.manifest).await;

        let image = format!("127.0.0.1:{port}/csi/driver");
        let by_tag = room.obtain(&format!("{image}:v1.6.0")).await?;
        runs(&by_tag);
        assert_eq!(by_tag.digest, ours.digest());
        assert_eq!(by_tag.index_digest, Some(sha256(&index)));
        assert_eq!(by_tag.version.as_deref(), Some("1.6.0"));
        for name in [
            ":v1.6.0-single".to_owned(),
            format!("@{}", ours.digest()),
            format!("@{}", sha256(&index)),
        ] {
            let other_room = Room::new();
            let release = other_room.obtain(&format!("{image}{name}")).await?;
            assert_eq!(release.digest, ours.digest(), "{name}");
            runs(&release);
        }
        let refusal = Room::new().refusal(&format!("{image}:v9")).await;
        assert!(refusal.contains("does not have"), "{refusal}");
        let refusal = Room::new().refusal(&format!("127.0.0.1:{port}/none:v1")).await;
        assert!(
            refusal.contains("look at the repository and the tag"),
            "{refusal}"
        );
        Ok(())
    })
}

/// <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#post-then-put>
async fn push_blob(http: &reqwest::Client, repository: &str, blob: &[u8]) {
    let begun = http
        .post(format!("{repository}/blobs/uploads/"))
        .send()
        .await
        .unwrap();
    let location = begun.headers()["location"].to_str().unwrap();
    let to = format!("{location}&digest={}", sha256(blob));
    let put = http
        .put(to)
        .header("content-type", "application/octet-stream")
        .body(blob.to_vec());
    assert_eq!(put.send().await.unwrap().status().as_u16(), 201);
}

async fn push_manifest(http: &reqwest::Client, repository: &str, name: &str, manifest: &[u8]) {
    let document: serde_json::Value = serde_json::from_slice(manifest).unwrap();
    let media_type = document["mediaType"].as_str().unwrap();
    let put = http
        .put(format!("{repository}/manifests/{name}"))
        .header("content-type", media_type);
    let status = put.body(manifest.to_vec()).send().await.unwrap().status();
    assert_eq!(status.as_u16(), 201);
}
