//! What the tests of this folder share: an image whose program is a real one, and the rooms it is obtained in.

pub(crate) mod registry;

use std::{
    fs,
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use aws_lc_rs::digest;
use flate2::{Compression, write::GzEncoder};
use mountproof_releases::{Limits, ObtainError, Options, Part, Release, Source, obtain};
use serde_json::{Value, json};

/// As the official image of the driver has it.
pub(crate) const ENTRY_POINT: &str = "/secrets-store-csi";

/// A program that runs on this machine, and ends at once.
pub(crate) fn program() -> Vec<u8> {
    fs::read("/bin/true").expect("every machine has one")
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, bytes);
    digest
        .as_ref()
        .iter()
        .fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

pub(crate) fn host_architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    }
}

/// A layer of these files, as a tar.
pub(crate) fn layer(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        builder
            .append_data(&mut header, path, *content)
            .expect("memory takes everything");
    }
    builder.into_inner().expect("memory takes everything")
}

/// A layer of one symbolic link.
pub(crate) fn link_layer(path: &str, target: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    builder
        .append_link(&mut header, path, target)
        .expect("memory takes everything");
    builder.into_inner().expect("memory takes everything")
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory takes everything");
    encoder.finish().expect("memory takes everything")
}

/// An image, as it is pushed.
#[derive(Clone)]
pub(crate) struct Built {
    pub(crate) manifest: Vec<u8>,
    pub(crate) config: Vec<u8>,
    /// Packed, the lowest first.
    pub(crate) layers: Vec<Vec<u8>>,
}

impl Built {
    /// Of layers that are not packed yet.
    pub(crate) fn new(process: &Value, layers: &[Vec<u8>]) -> Self {
        Self::of_platform(host_architecture(), process, layers)
    }

    pub(crate) fn of_platform(architecture: &str, process: &Value, layers: &[Vec<u8>]) -> Self {
        let diff_ids: Vec<String> = layers.iter().map(|layer| sha256(layer)).collect();
        let config = json!({
            "os": "linux", "architecture": architecture, "config": process,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = config.to_string().into_bytes();
        let layers: Vec<Vec<u8>> = layers.iter().map(|layer| gzip(layer)).collect();
        let manifest = Self::manifest(&config, &layers, "application/vnd.oci.image.layer.v1.tar+gzip");
        Self {
            manifest,
            config,
            layers,
        }
    }

    pub(crate) fn manifest(config: &[u8], layers: &[Vec<u8>], layer_type: &str) -> Vec<u8> {
        let layers: Vec<Value> = layers.iter().map(|layer| descriptor(layer_type, layer)).collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", config),
            "layers": layers,
        });
        manifest.to_string().into_bytes()
    }

    /// One whose program is at the usual place.
    pub(crate) fn usual() -> Self {
        let base = layer(&[("etc/os-release", b"ID=none")]);
        let upper = layer(&[("secrets-store-csi", &program())]);
        Self::new(&json!({"Entrypoint": [ENTRY_POINT]}), &[base, upper])
    }

    pub(crate) fn digest(&self) -> String {
        sha256(&self.manifest)
    }
}

pub(crate) fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": sha256(bytes), "size": bytes.len()})
}

/// A cache of its own.
pub(crate) struct Room {
    folder: tempfile::TempDir,
    pub(crate) options: Options,
}

impl Room {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut options = Options::new(folder.path().join("cache"));
        options.limits = Limits {
            stall: Duration::from_mins(1),
            default_wait: Duration::from_millis(1),
            ..Limits::default()
        };
        Self { folder, options }
    }

    /// Where the test may put files.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) async fn obtain(&self, text: &str) -> Result<Release, ObtainError> {
        let source = Source::parse(Part::Driver, text)?;
        obtain(Part::Driver, &source, &self.options, |_| ()).await
    }

    /// The refusal's text, which must say what to do and leave neither a program nor anything half-written.
    pub(crate) async fn refusal(&self, text: &str) -> String {
        let error = self.obtain(text).await.expect_err(text).to_string();
        assert!(error.contains(": "), "{error}");
        assert_eq!(self.files("programs"), Vec::<PathBuf>::new(), "{error}");
        assert_eq!(self.files("tmp"), Vec::<PathBuf>::new(), "{error}");
        error
    }

    /// All files below a folder of the cache.
    pub(crate) fn files(&self, folder: &str) -> Vec<PathBuf> {
        fn below(folder: &Path, found: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.path().is_dir() {
                    below(&entry.path(), found);
                } else {
                    found.push(entry.path());
                }
            }
        }
        let mut found = Vec::new();
        below(&self.options.cache.join(folder), &mut found);
        found
    }
}

/// Runs what was obtained. A child that another test starts may hold the file open for writing until it runs itself.
pub(crate) fn runs(release: &Release) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match std::process::Command::new(&release.program).status() {
            Ok(status) => return assert!(status.success(), "{status}"),
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => panic!("it cannot be started: {error}"),
        }
    }
}
