//! The built binary in images whose entry points are the stand-ins, and the registries that serve them.

use std::{
    collections::HashMap,
    fmt::Write as _,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use aws_lc_rs::digest;
use axum::{
    Router,
    body::Bytes,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::support::MOUNTPROOF;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Debian's name of the program.
const DOCKER_REGISTRY: &str = "docker-registry";

/// An image of one layer.
#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) manifest: Bytes,
    pub(crate) config: Bytes,
    pub(crate) layer: Bytes,
}

impl Image {
    /// Of the program in [`layer`], started as `standin` with these arguments.
    pub(crate) fn standin(arguments: &[&str]) -> Self {
        let entry: Vec<&str> = ["/mountproof", "standin"]
            .iter()
            .chain(arguments)
            .copied()
            .collect();
        Self::new(&entry, layer())
    }

    /// Of a layer that holds `/program`, which is this.
    pub(crate) fn of_program(program: &[u8]) -> Self {
        Self::new(&["/program"], tar_of(&[("program", program)]))
    }

    fn new(entry: &[&str], layer: Bytes) -> Self {
        let config = json!({
            "os": "linux", "architecture": architecture(), "config": {"Entrypoint": entry},
            "rootfs": {"type": "layers", "diff_ids": [sha256(&layer)]},
        });
        let config = Bytes::from(config.to_string());
        let described = |kind: &str, bytes: &Bytes| json!({"mediaType": kind, "digest": sha256(bytes), "size": bytes.len()});
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": described("application/vnd.oci.image.config.v1+json", &config),
            "layers": [described("application/vnd.oci.image.layer.v1.tar", &layer)],
        });
        Self {
            manifest: Bytes::from(manifest.to_string()),
            config,
            layer,
        }
    }

    pub(crate) fn digest(&self) -> String {
        sha256(&self.manifest)
    }

    /// As `docker save` writes it.
    pub(crate) fn save(&self, path: &Path, tag: &str) {
        let manifest = json!([{"Config": "config.json", "RepoTags": [tag], "Layers": ["layer.tar"]}]);
        let manifest = manifest.to_string();
        let files: [(&str, &[u8]); 3] = [
            ("manifest.json", manifest.as_bytes()),
            ("config.json", &self.config),
            ("layer.tar", &self.layer),
        ];
        fs::write(path, tar_of(&files)).unwrap();
    }

    /// As a folder of an OCI layout: <https://github.com/opencontainers/image-spec/blob/main/image-layout.md>.
    pub(crate) fn lay_out(&self, folder: &Path) {
        let blobs = folder.join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        for blob in [&self.manifest, &self.config, &self.layer] {
            fs::write(blobs.join(sha256(blob).trim_start_matches("sha256:")), blob).unwrap();
        }
        let index = json!({"schemaVersion": 2, "manifests": [
            {"mediaType": MANIFEST, "digest": self.digest(), "size": self.manifest.len()}]});
        fs::write(folder.join("index.json"), index.to_string()).unwrap();
        fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#).unwrap();
    }
}

fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, bytes);
    let hex = digest.as_ref().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    format!("sha256:{hex}")
}

/// The built binary as `/mountproof`, without what only debuggers read where it can be taken away.
fn layer() -> Bytes {
    static LAYER: OnceLock<Bytes> = OnceLock::new();
    LAYER
        .get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            let stripped = folder.path().join("mountproof");
            let strip = Command::new("strip")
                .arg("-o")
                .arg(&stripped)
                .arg(MOUNTPROOF)
                .status();
            let program = match strip {
                Ok(status) if status.success() => fs::read(stripped),
                _ => fs::read(MOUNTPROOF),
            };
            tar_of(&[("mountproof", &program.unwrap())])
        })
        .clone()
}

fn tar_of(files: &[(&str, &[u8])]) -> Bytes {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        builder.append_data(&mut header, path, *content).unwrap();
    }
    Bytes::from(builder.into_inner().unwrap())
}

/// What the registry of this process serves.
#[derive(Default)]
struct Content {
    manifests: HashMap<String, Bytes>,
    blobs: HashMap<String, Bytes>,
}

/// A registry in this process, for images that no real one would take. Repositories called `private` ask for a login,
/// `garbage` answers with what is no manifest, and the layers of `damaged` have other bytes than their digest says.
pub(crate) struct Registry {
    address: String,
    _runtime: tokio::runtime::Runtime,
}

impl Registry {
    pub(crate) fn start(images: &[(&str, &Image)]) -> Self {
        let mut content = Content::default();
        for (name, image) in images {
            let (repository, tag) = name.split_once(':').unwrap();
            for named in [tag, &image.digest()] {
                let path = format!("/v2/{repository}/manifests/{named}");
                content.manifests.insert(path, image.manifest.clone());
            }
            for blob in [&image.config, &image.layer] {
                content.blobs.insert(sha256(blob), blob.clone());
            }
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let router = Router::new().fallback(answer).with_state(Arc::new(content));
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self {
            address,
            _runtime: runtime,
        }
    }

    /// `REGISTRY/NAME:TAG`.
    pub(crate) fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }
}

async fn answer(State(content): State<Arc<Content>>, request: Request) -> Response {
    let path = request.uri().path();
    if path == "/v2/" {
        return StatusCode::OK.into_response();
    }
    if path.contains("/private/") {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if path.contains("/garbage/") {
        return "<html>it works</html>".into_response();
    }
    let last = path.rsplit('/').next().unwrap_or_default();
    let found = content.manifests.get(path).or_else(|| content.blobs.get(last));
    let Some(bytes) = found else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if path.contains("/damaged/blobs/") {
        let mut other = bytes.to_vec();
        let middle = other.len() / 2;
        other[middle] ^= 1;
        return other.into_response();
    }
    ([("docker-content-digest", sha256(bytes))], bytes.clone()).into_response()
}

/// Debian's registry, to which images are pushed over its API, and which ends with the value.
pub(crate) struct DockerRegistry {
    child: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl DockerRegistry {
    /// None where it is not installed.
    pub(crate) fn start() -> Option<Self> {
        let path = std::env::var_os("PATH")?;
        let program: PathBuf = std::env::split_paths(&path)
            .map(|folder| folder.join(DOCKER_REGISTRY))
            .find(|program| program.is_file())?;
        let folder = tempfile::tempdir().unwrap();
        // Free a moment ago; the registry takes no socket of ours.
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let address = format!("127.0.0.1:{port}");
        let config = json!({
            "version": "0.1", "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": folder.path().join("registry")}},
            "http": {"addr": address},
        });
        let file = folder.path().join("config.yml");
        // JSON is YAML.
        fs::write(&file, config.to_string()).unwrap();
        let child = Command::new(program)
            .arg("serve")
            .arg(file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let until = Instant::now() + Duration::from_mins(1);
        while std::net::TcpStream::connect(&address).is_err() {
            assert!(Instant::now() < until, "the registry did not begin to serve");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(Self {
            child,
            address,
            _folder: folder,
        })
    }

    /// See <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#post-then-put>.
    pub(crate) fn push(&self, name: &str, image: &Image) -> String {
        let (repository, tag) = name.split_once(':').unwrap();
        let base = format!("http://{}/v2/{repository}", self.address);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
            let http = reqwest::Client::builder().no_proxy().build().unwrap();
            for blob in [&image.config, &image.layer] {
                let begun = http.post(format!("{base}/blobs/uploads/")).send().await.unwrap();
                let location = begun.headers()["location"].to_str().unwrap().to_owned();
                let put = http
                    .put(format!("{location}&digest={}", sha256(blob)))
                    .header("content-type", "application/octet-stream")
                    .body(blob.clone());
                assert_eq!(put.send().await.unwrap().status().as_u16(), 201);
            }
            let put = http
                .put(format!("{base}/manifests/{tag}"))
                .header("content-type", MANIFEST)
                .body(image.manifest.clone());
            assert_eq!(put.send().await.unwrap().status().as_u16(), 201);
        });
        format!("{}/{name}", self.address)
    }
}

/// A program for a machine that this one is not (`EM_S390`), as its header says.
pub(crate) fn program_of_another_machine() -> Vec<u8> {
    let mut program = fs::read("/bin/true").unwrap();
    // e_machine: https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html
    program[18..20].copy_from_slice(&22_u16.to_le_bytes());
    program
}

/// `results.json`'s component of a seam.
pub(crate) fn component<'a>(results: &'a Value, seam: &str) -> &'a Value {
    let components = results["environment"]["components"].as_array();
    let components = components.unwrap_or_else(|| panic!("no components: {}", results["environment"]));
    components
        .iter()
        .find(|component| component["seam"] == seam)
        .unwrap_or_else(|| panic!("no {seam}: {components:?}"))
}
