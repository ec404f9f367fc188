//! Images out of a registry that behaves, and out of one that does not.

use std::{fs, sync::Mutex, time::Duration};

use crate::support::{
    Built, ENTRY_POINT, Room, gzip, host_architecture, layer, link_layer, program,
    registry::{At, Registry, Trouble},
    runs, sha256,
};
use mountproof_releases::{Part, Progress, Release, Repositories, Source, obtain};
use serde_json::json;

#[tokio::test]
async fn an_image_becomes_a_program_that_runs() {
    let (registry, room) = (Registry::start().await, Room::new());
    let process = json!({
        "Entrypoint": [ENTRY_POINT, "standin"], "Cmd": ["driver"],
        "Labels": {"org.opencontainers.image.version": "v1.6.0-label"},
    });
    let built = Built::new(&process, &[layer(&[("secrets-store-csi", &program())])]);
    let image = registry.publish("v1.6.0", &built);
    let release = room.obtain(&image).await.expect("it is there");
    runs(&release);
    assert_eq!(release.part, Part::Driver);
    assert_eq!(
        (&*release.source, release.reference.as_deref()),
        (&*image, Some(&*image))
    );
    assert_eq!(release.digest, built.digest());
    assert_eq!(release.index_digest, None);
    assert_eq!(release.program_digest, sha256(&program()));
    assert_eq!(release.version.as_deref(), Some("1.6.0-label"));
    assert_eq!(release.platform, format!("linux/{}", host_architecture()));
    assert_eq!(release.arguments, ["standin", "driver"]);
    assert_eq!(release.offline, None);
    assert!(
        release.program.starts_with(&room.options.cache) && release.program.ends_with("secrets-store-csi")
    );
    // It is handed to another process.
    let text = serde_json::to_string(&release).expect("JSON");
    assert_eq!(serde_json::from_str::<Release>(&text).expect("the same"), release);
}

#[tokio::test]
async fn a_version_is_an_image_of_the_mirror_and_of_this_machine() {
    let (registry, mut room) = (Registry::start().await, Room::new());
    let (other, ours) = (Built::of_platform("riscv64", &json!({}), &[]), Built::usual());
    let (_, index) = registry.publish_index("v1.6.0", &[("riscv64", &other), (host_architecture(), &ours)]);
    let driver = Some(format!("{}/csi/driver", registry.address));
    room.options.repositories = Repositories {
        driver,
        provider: None,
    };
    let source = Source::parse_version(Part::Driver, "1.6.0").expect("a version");
    let release = obtain(Part::Driver, &source, &room.options, |_| ())
        .await
        .expect("it is there");
    runs(&release);
    assert_eq!(release.version.as_deref(), Some("1.6.0"));
    assert_eq!(release.source, "version 1.6.0");
    assert_eq!(
        (release.digest, release.index_digest),
        (ours.digest(), Some(index))
    );
    assert_eq!(release.reference, Some(registry.image("v1.6.0")));
}

#[tokio::test]
async fn what_was_obtained_once_is_there_without_a_network() {
    let (registry, mut room) = (Registry::start().await, Room::new());
    let built = Built::usual();
    let tag = registry.publish("v1.6.0", &built);
    let digest = format!("{}/csi/driver@{}", registry.address, built.digest());
    let first = room.obtain(&tag).await.expect("it is there");
    room.obtain(&digest).await.expect("it is there");
    registry.asked();
    room.obtain(&digest).await.expect("it is here");
    assert_eq!(
        registry.asked(),
        Vec::<String>::new(),
        "a digest is not asked for twice"
    );
    room.obtain(&tag).await.expect("it is here");
    let asked = registry.asked();
    assert!(
        asked.iter().all(|path| !path.contains("/blobs/")),
        "a tag costs its manifest: {asked:?}"
    );

    drop(registry);
    let gone = room.obtain(&tag).await.expect("it is here");
    let offline = gone.offline.clone().expect("nobody answered");
    assert!(offline.because.contains("cannot be reached"), "{offline:?}");
    assert_eq!(
        Release {
            offline: None,
            ..gone
        },
        first
    );
    room.options.offline = true;
    let asked_nobody = room
        .obtain(&tag)
        .await
        .expect("it is here")
        .offline
        .expect("nobody was asked");
    assert_eq!(asked_nobody.because, "no registry may be asked");
    assert_eq!(asked_nobody.resolved_at, offline.resolved_at);

    // Out of the blobs, should the program be gone; and not without those.
    fs::remove_dir_all(room.options.cache.join("programs")).expect("it was there");
    runs(&room.obtain(&tag).await.expect("out of its layer"));
    fs::remove_dir_all(room.options.cache.join("programs")).expect("it was there");
    fs::remove_dir_all(room.options.cache.join("blobs")).expect("it was there");
    let refusal = room.refusal(&tag).await;
    assert!(
        refusal.contains("no registry may be asked: obtain it once with a network"),
        "{refusal}"
    );
    let never_seen = Room::new();
    let mut options = never_seen.options.clone();
    options.offline = true;
    let source = Source::parse(Part::Driver, &tag).expect("an image");
    let error = obtain(Part::Driver, &source, &options, |_| ())
        .await
        .expect_err("never seen")
        .to_string();
    assert!(error.contains("is not in the cache"), "{error}");
}

#[tokio::test]
async fn a_damaged_cache_is_mended() {
    let (registry, room) = (Registry::start().await, Room::new());
    let image = registry.publish("v1.6.0", &Built::usual());
    let release = room.obtain(&image).await.expect("it is there");
    for folder in ["programs", "blobs", "images", "references"] {
        for file in room.files(folder) {
            fs::write(file, b"damaged").expect("it is ours");
        }
        let again = room.obtain(&image).await.expect("it is mended");
        assert_eq!(again, release, "{folder}");
        runs(&again);
    }
}

#[tokio::test]
async fn runs_may_share_the_cache() {
    let (registry, room) = (Registry::start().await, Room::new());
    let image = registry.publish("v1.6.0", &Built::usual());
    let all = futures::future::join_all((0..8).map(|_| room.obtain(&image))).await;
    for release in all {
        runs(&release.expect("it is there"));
    }
    assert_eq!(room.files("programs").len(), 1);
    assert_eq!(room.files("tmp").len(), 0);
}

#[tokio::test]
async fn each_trouble_of_a_registry_is_named_with_what_to_do() {
    const LOGIN_PAGE: Trouble = Trouble::Body("text/html; charset=utf-8", "<html>log in</html>");
    const DOCUMENT: Trouble = Trouble::Body("application/json", "{\"hello\": 1}");
    let cases = [
        (
            At::Manifests,
            Trouble::Status(401),
            "does not let an anonymous client read",
        ),
        (At::Manifests, Trouble::Status(403), "docker login 127.0.0.1"),
        (
            At::Manifests,
            Trouble::Status(404),
            "look at the repository and the tag",
        ),
        (
            At::Manifests,
            Trouble::Status(418),
            "answers with status 418: look whether it is a registry",
        ),
        (
            At::Manifests,
            Trouble::Status(500),
            "fails with status 500: try again later",
        ),
        (At::Manifests, Trouble::Status(503), "fails with status 503"),
        (
            At::Manifests,
            Trouble::Status(429),
            "asks for patience (too many requests, asked 4 times)",
        ),
        (
            At::Manifests,
            Trouble::Busy(429, "0"),
            "asks for patience (for another 0 s, asked 4 times)",
        ),
        (
            At::Manifests,
            Trouble::Busy(429, "3600"),
            "asks for patience (for another 3600 s, asked 1 times)",
        ),
        (At::Manifests, Trouble::Busy(503, "7200"), "for another 7200 s"),
        (
            At::Manifests,
            LOGIN_PAGE,
            "sent an HTML page where the manifest should be",
        ),
        (
            At::Manifests,
            Trouble::Body("text/plain", "hello"),
            "sent something else where the manifest should be",
        ),
        (At::Manifests, DOCUMENT, "its manifest cannot be read"),
        (
            At::Manifests,
            Trouble::CutOff,
            "broke off while sending the manifest",
        ),
        (At::Manifests, Trouble::Endless, "the manifest from"),
        (At::Manifests, Trouble::OtherDigestInHeader, "the manifest from"),
        (
            At::Manifests,
            Trouble::Redirect("http://registry.example/v2/x"),
            "redirects with status 307",
        ),
        (
            At::Blobs,
            Trouble::Status(401),
            "does not let an anonymous client read",
        ),
        (
            At::Blobs,
            Trouble::Status(404),
            "look at the repository and the tag",
        ),
        (
            At::Blobs,
            Trouble::Status(429),
            "asks for patience (too many requests, asked 4 times)",
        ),
        (At::Blobs, Trouble::Status(500), "fails with status 500"),
        (At::Blobs, Trouble::CutOff, "bytes and ended: try again"),
        (
            At::Blobs,
            Trouble::OtherBytes,
            "do not trust this registry or the proxy in between",
        ),
        (
            At::Blobs,
            Trouble::OtherDigestInHeader,
            "do not trust this registry",
        ),
        (At::Blobs, Trouble::Endless, "more than"),
        (At::Blobs, LOGIN_PAGE, "has the digest"),
    ];
    let built = Built::usual();
    for (at, trouble, expected) in cases {
        let (registry, room) = (Registry::start().await, Room::new());
        let image = registry.publish("v1.6.0", &built);
        registry.make_trouble(at, trouble, u32::MAX);
        let refusal = room.refusal(&image).await;
        assert!(refusal.contains(expected), "{at:?}, {expected}: {refusal}");
        assert!(!refusal.contains("the-password"), "{refusal}");
    }
}

#[tokio::test]
async fn a_manifest_by_digest_must_have_it() {
    let (registry, room) = (Registry::start().await, Room::new());
    let built = Built::usual();
    registry.publish("v1.6.0", &built);
    registry.make_trouble(At::Manifests, Trouble::OtherBytes, 1);
    let refusal = room
        .refusal(&format!("{}/csi/driver@{}", registry.address, built.digest()))
        .await;
    assert!(refusal.contains("has the digest sha256:"), "{refusal}");
}

#[tokio::test]
async fn a_registry_that_is_silent_is_not_waited_for_for_ever() {
    for at in [At::Root, At::Manifests, At::Blobs] {
        let (registry, mut room) = (Registry::start().await, Room::new());
        let image = registry.publish("v1.6.0", &Built::usual());
        registry.make_trouble(at, Trouble::Hangs, u32::MAX);
        room.options.limits.step = Duration::from_millis(300);
        let refusal = room.refusal(&image).await;
        assert!(
            refusal.contains("within 300ms: try again, or name a mirror"),
            "{at:?}: {refusal}"
        );
    }
    let (registry, mut room) = (Registry::start().await, Room::new());
    let image = registry.publish("v1.6.0", &Built::usual());
    registry.make_trouble(At::Manifests, Trouble::Hangs, u32::MAX);
    room.options.limits.stall = Duration::from_millis(300);
    let refusal = room.refusal(&image).await;
    assert!(
        refusal.contains("did not send the manifest within 300ms"),
        "{refusal}"
    );
}

#[tokio::test]
async fn a_registry_that_asks_for_patience_gets_it() {
    for (at, trouble) in [
        (At::Manifests, Trouble::Busy(429, "0")),
        (At::Manifests, Trouble::Busy(503, "1")),
        (At::Manifests, Trouble::Status(429)),
        (At::Blobs, Trouble::Status(429)),
    ] {
        let (registry, room) = (Registry::start().await, Room::new());
        let image = registry.publish("v1.6.0", &Built::usual());
        registry.make_trouble(at, trouble, 2);
        let waits = Mutex::new(0);
        let source = Source::parse(Part::Driver, &image).expect("an image");
        let count = |progress| {
            if matches!(progress, Progress::Waiting { .. }) {
                *waits.lock().expect("no panic") += 1;
            }
        };
        obtain(Part::Driver, &source, &room.options, count)
            .await
            .expect("the third time");
        assert_eq!(*waits.lock().expect("no panic"), 2, "{at:?}");
    }
}

#[tokio::test]
async fn trouble_of_a_registry_is_no_trouble_for_what_is_here() {
    let (registry, room) = (Registry::start().await, Room::new());
    let image = registry.publish("v1.6.0", &Built::usual());
    room.obtain(&image).await.expect("it is there");
    let troubles = [
        Trouble::Status(500),
        Trouble::Busy(429, "3600"),
        Trouble::Body("text/html", "<html>"),
        Trouble::CutOff,
    ];
    for trouble in troubles {
        registry.make_trouble(At::Manifests, trouble, 1);
        let release = room.obtain(&image).await.expect("it is here");
        assert!(
            release
                .offline
                .is_some_and(|offline| offline.because.contains("127.0.0.1"))
        );
    }
    // But an answer is one.
    for (status, expected) in [(404, "does not have"), (401, "does not let")] {
        registry.make_trouble(At::Manifests, Trouble::Status(status), 1);
        let error = room.obtain(&image).await.expect_err("it is gone").to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn what_docker_login_stored_opens_a_registry_and_is_in_no_text() {
    let (registry, mut room) = (Registry::start().await, Room::new());
    let image = registry.publish("v1.6.0", &Built::usual());
    registry.require_login("someone:the-password", "the-token");
    let refusal = room.refusal(&image).await;
    assert!(
        refusal.contains("does not let an anonymous client read"),
        "{refusal}"
    );
    let store = |room: &mut Room, login: &str| {
        let path = room.path("config.json");
        let config = json!({"auths": {registry.address.to_string(): {
            "username": login.split(':').next(), "password": login.split(':').nth(1),
        }}});
        fs::write(&path, config.to_string()).expect("a file");
        room.options.docker_config = Some(path);
    };
    store(&mut room, "someone:the-wrong-password");
    let refusal = room.refusal(&image).await;
    assert!(
        refusal.contains("does not let the stored credentials read"),
        "{refusal}"
    );
    assert!(
        !refusal.contains("password") && !refusal.contains("the-token"),
        "{refusal}"
    );
    // A token that cannot be a header's is no token.
    store(&mut room, "someone:the-password");
    registry.require_login("someone:the-password", "two\nlines");
    let refusal = room.refusal(&image).await;
    assert!(
        refusal.contains("sent something else where the token should be"),
        "{refusal}"
    );
    registry.require_login("someone:the-password", "the-token");
    registry.make_trouble(At::Token, Trouble::Body("text/plain", "the-password"), 1);
    let refusal = room.refusal(&image).await;
    assert!(
        refusal.contains("where the token should be") && !refusal.contains("the-password"),
        "{refusal}"
    );
    runs(&room.obtain(&image).await.expect("the right password"));
}

#[tokio::test]
async fn an_image_without_its_program_is_refused() {
    let entry = json!({"Entrypoint": [ENTRY_POINT]});
    let there = || layer(&[("secrets-store-csi", &program())]);
    let damaged = &program()[..9000];
    let cases = [
        (Built::new(&json!({}), &[there()]), "it has no entry point"),
        (
            Built::new(&entry, &[layer(&[("other", b"x")])]),
            "is not in its layers (no /secrets-store-csi)",
        ),
        (Built::new(&entry, &[]), "is not in its layers"),
        (
            Built::new(&entry, &[there(), layer(&[(".wh.secrets-store-csi", b"")])]),
            "is not in its layers",
        ),
        (
            Built::new(&entry, &[link_layer("secrets-store-csi", "../../bin/true")]),
            "is not in its layers (no /bin)",
        ),
        (
            Built::new(&entry, &[link_layer("secrets-store-csi", "/bin/true")]),
            "is not in its layers (no /bin)",
        ),
        (
            Built::new(&entry, &[link_layer("secrets-store-csi", "secrets-store-csi")]),
            "is a loop of links",
        ),
        (
            Built::new(&entry, &[layer(&[("secrets-store-csi/x", b"")])]),
            "is a folder, not a program",
        ),
        (
            Built::new(&json!({"Entrypoint": "driver"}), &[there()]),
            "its configuration cannot be read",
        ),
        (
            Built::new(&json!({"Cmd": ["/bin/sh", "-c", "driver"]}), &[there()]),
            "is a line for a shell",
        ),
        (
            Built::new(&entry, &[layer(&[("secrets-store-csi", b"#!/bin/sh\n")])]),
            "/secrets-store-csi of 127.0.0.1",
        ),
        (
            Built::new(&entry, &[layer(&[("secrets-store-csi", damaged)])]),
            "a damaged ELF file",
        ),
        (
            Built::new(&entry, &[b"no archive at all, but long enough".repeat(40)]),
            "its layer cannot be read",
        ),
        (
            Built::of_platform("riscv64", &entry, &[there()]),
            "but one for linux/riscv64",
        ),
    ];
    for (built, expected) in cases {
        let (registry, room) = (Registry::start().await, Room::new());
        let refusal = room.refusal(&registry.publish("v1.6.0", &built)).await;
        assert!(refusal.contains(expected), "{expected}: {refusal}");
    }
    let (registry, room) = (Registry::start().await, Room::new());
    let other = Built::of_platform("riscv64", &entry, &[there()]);
    let refusal = room
        .refusal(&registry.publish_index("v1.6.0", &[("riscv64", &other)]).0)
        .await;
    assert!(
        refusal.contains("but linux/riscv64: take a release that was built for"),
        "{refusal}"
    );

    let mut encrypted = Built::usual();
    let layer_type = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted";
    encrypted.manifest = Built::manifest(&encrypted.config, &encrypted.layers, layer_type);
    let refusal = room.refusal(&registry.publish("v1", &encrypted)).await;
    assert!(refusal.contains("of a kind that is not read here"), "{refusal}");
}

#[tokio::test]
async fn a_layer_that_unpacks_without_end_is_refused() {
    let (registry, room) = (Registry::start().await, Room::new());
    // A header that promises a program of 2 GiB, and zeros that unpack to as much.
    let mut header = tar::Header::new_gnu();
    header.set_path("secrets-store-csi").expect("a short name");
    header.set_size(2 << 30);
    header.set_cksum();
    let zeros = gzip(&vec![0; 1 << 20]).repeat(2 << 10);
    let bomb = [gzip(header.as_bytes()), zeros].concat();
    let mut built = Built::new(&json!({"Entrypoint": [ENTRY_POINT]}), &[]);
    built.layers = vec![bomb];
    built.manifest = Built::manifest(
        &built.config,
        &built.layers,
        "application/vnd.oci.image.layer.v1.tar+gzip",
    );
    let refusal = room.refusal(&registry.publish("v1.6.0", &built)).await;
    assert!(
        refusal.contains("its program has more than 1073741824 bytes"),
        "{refusal}"
    );
}

/// The authority is in `SSL_CERT_FILE` of a process of its own, since that is read from the environment.
#[test]
fn a_private_authority_is_trusted_when_ssl_cert_file_names_it() {
    const CHILD: &str = "MOUNTPROOF_TEST_IMAGE";
    const NAME: &str = "registry::a_private_authority_is_trusted_when_ssl_cert_file_names_it";
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    if let Ok(image) = std::env::var(CHILD) {
        let mut room = Room::new();
        room.options.loopback_https = true;
        match runtime.block_on(room.obtain(&image)) {
            Ok(release) => runs(&release),
            Err(error) => panic!("refused: {error}"),
        }
        return;
    }
    let ca = mountproof_run_tls::RunCa::generate("test").expect("an authority");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ca.pem");
    fs::write(&path, ca.certificate_pem()).expect("a file");
    let server = runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback");
        let tls = ca
            .server_config(|name| name == "localhost")
            .expect("a certificate");
        mountproof_run_tls::Server::start(listener, tls, Registry::router_of(&Built::usual()))
            .expect("a server")
    });
    let image = format!("localhost:{}/csi/driver:v1.6.0", server.address().port());
    let ask = |trusted: &str| {
        let this = std::env::current_exe().expect("a test has a file");
        let mut command = std::process::Command::new(this);
        command
            .args(["--exact", NAME, "--nocapture"])
            .env(CHILD, &image)
            .env("SSL_CERT_FILE", trusted);
        let output = command.env_remove("SSL_CERT_DIR").output().expect("it starts");
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (trusted, said) = ask(path.to_str().expect("a text"));
    assert!(trusted, "{said}");
    let empty = folder.path().join("empty.pem");
    let other = mountproof_run_tls::RunCa::generate("other").expect("an authority");
    fs::write(&empty, other.certificate_pem()).expect("a file");
    let (trusted, said) = ask(empty.to_str().expect("a text"));
    assert!(!trusted && said.contains("SSL_CERT_FILE"), "{said}");
}
