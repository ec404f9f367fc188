//! Images out of files: what `docker save` writes and OCI layouts, good and malicious.

use std::fs;

use crate::support::{
    Built, ENTRY_POINT, Room, descriptor, gzip, host_architecture, layer, program, runs, sha256,
};
use serde_json::{Value, json};

type Files = Vec<(String, Vec<u8>)>;

/// As Docker before 25 writes it: layers unpacked, in folders.
fn docker_save(built: &Built, unpacked: &[Vec<u8>], tag: &str) -> Files {
    let config = format!("{}.json", &sha256(&built.config)[7..]);
    let names: Vec<String> = (0..unpacked.len())
        .map(|index| format!("layer{index}/layer.tar"))
        .collect();
    let manifest = json!([{"Config": config, "RepoTags": [tag], "Layers": names}]);
    let mut files = vec![(config, built.config.clone())];
    files.extend(names.into_iter().zip(unpacked.iter().cloned()));
    files.push(("manifest.json".to_owned(), manifest.to_string().into_bytes()));
    files
}

fn blob(bytes: &[u8]) -> (String, Vec<u8>) {
    (format!("blobs/sha256/{}", &sha256(bytes)[7..]), bytes.to_vec())
}

fn layout_of(index: &Value, images: &[&Built]) -> Files {
    let mut files = vec![
        (
            "oci-layout".to_owned(),
            br#"{"imageLayoutVersion": "1.0.0"}"#.to_vec(),
        ),
        ("index.json".to_owned(), index.to_string().into_bytes()),
    ];
    for built in images {
        files.extend(
            built
                .layers
                .iter()
                .chain([&built.config, &built.manifest])
                .map(|bytes| blob(bytes)),
        );
    }
    files
}

fn entry(built: &Built, architecture: &str, name: &str) -> Value {
    let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &built.manifest);
    entry["platform"] = json!({"os": "linux", "architecture": architecture});
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": name});
    entry
}

fn layout(built: &Built) -> Files {
    let index = json!({"schemaVersion": 2, "manifests": [entry(built, host_architecture(), "mirror.example/driver:v1.6.0")]});
    layout_of(&index, &[built])
}

fn tar_of(files: &Files) -> Vec<u8> {
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (&**name, &**bytes)).collect();
    layer(&files)
}

fn unpacked() -> Vec<Vec<u8>> {
    vec![
        layer(&[("etc/x", b"x")]),
        layer(&[("secrets-store-csi", &program())]),
    ]
}

fn usual() -> Built {
    Built::new(&json!({"Entrypoint": [ENTRY_POINT]}), &unpacked())
}

fn put(room: &Room, name: &str, bytes: &[u8]) -> String {
    let path = room.path(name);
    fs::write(&path, bytes).expect("a file");
    path.to_str().expect("a text").to_owned()
}

#[tokio::test]
async fn what_docker_save_writes_is_read() {
    let built = usual();
    let files = docker_save(&built, &unpacked(), "mirror.example/driver:v1.6.0");
    // Docker's image ID: there is no manifest.
    let expected = sha256(&built.config);
    for (name, bytes) in [
        ("a.tar", tar_of(&files)),
        ("a.tar.gz", gzip(&tar_of(&files))),
        ("a.tgz", gzip(&tar_of(&files))),
    ] {
        let room = Room::new();
        let release = room.obtain(&put(&room, name, &bytes)).await.expect(name);
        runs(&release);
        assert_eq!(release.digest, expected);
        assert_eq!(release.version.as_deref(), Some("1.6.0"));
        assert_eq!(release.reference.as_deref(), Some("mirror.example/driver:v1.6.0"));
        assert!(release.source.ends_with(name));
    }
    // Packed layers, and one that is a link to another: both occur.
    let packed = docker_save(&built, &built.layers, "x:1");
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in &packed {
        let (name, bytes) = if name == "layer1/layer.tar" {
            ("shared/layer.tar", bytes)
        } else {
            (&**name, bytes)
        };
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        builder
            .append_data(&mut header, name, &**bytes)
            .expect("memory takes everything");
    }
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    builder
        .append_link(&mut header, "layer1/layer.tar", "../shared/layer.tar")
        .expect("memory takes everything");
    let room = Room::new();
    let path = put(
        &room,
        "a.tar",
        &builder.into_inner().expect("memory takes everything"),
    );
    runs(&room.obtain(&path).await.expect("links and packed layers"));
}

#[tokio::test]
async fn an_oci_layout_is_read_as_a_folder_and_as_a_tar() {
    let built = usual();
    let room = Room::new();
    let files = layout(&built);
    for (name, bytes) in &files {
        let path = room.path("layout").join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, bytes).expect("a file");
    }
    let folder = format!("{}/", room.path("layout").display());
    let as_folder = room.obtain(&folder).await.expect("a layout");
    runs(&as_folder);
    assert_eq!(as_folder.digest, built.digest());
    assert_eq!(as_folder.version.as_deref(), Some("1.6.0"));

    // Docker 25 and later add their own manifest.
    let mut both = files;
    both.extend(
        docker_save(&built, &unpacked(), "x:1")
            .into_iter()
            .filter(|(name, _)| name == "manifest.json"),
    );
    let other = Room::new();
    let as_tar = other
        .obtain(&put(&other, "a.tar", &tar_of(&both)))
        .await
        .expect("a layout");
    assert_eq!(as_tar.digest, built.digest());

    // It is in the cache: the layers need not be there any more.
    fs::remove_dir_all(other.options.cache.join("blobs")).expect("it was there");
    runs(
        &other
            .obtain(&put(&other, "a.tar", &tar_of(&both)))
            .await
            .expect("out of the cache"),
    );
}

#[tokio::test]
async fn the_image_of_this_machine_is_found_in_an_index_within_the_index() {
    let (ours, other) = (usual(), Built::of_platform("riscv64", &json!({}), &[]));
    let inner = json!({"schemaVersion": 2, "manifests": [
        entry(&other, "riscv64", "x"), entry(&ours, host_architecture(), "x"),
    ]});
    let inner = inner.to_string().into_bytes();
    let index = json!({"schemaVersion": 2, "manifests": [descriptor("application/vnd.oci.image.index.v1+json", &inner)]});
    let mut files = layout_of(&index, &[&ours, &other]);
    files.push(blob(&inner));
    let room = Room::new();
    let release = room
        .obtain(&put(&room, "a.tar", &tar_of(&files)))
        .await
        .expect("a layout");
    assert_eq!(release.digest, ours.digest());
}

#[tokio::test]
async fn layers_may_be_packed_with_zstd() {
    let mut built = usual();
    let pack = |layer: &Vec<u8>| {
        ruzstd::encoding::compress_to_vec(&layer[..], ruzstd::encoding::CompressionLevel::Fastest)
    };
    built.layers = unpacked().iter().map(pack).collect();
    built.manifest = Built::manifest(
        &built.config,
        &built.layers,
        "application/vnd.oci.image.layer.v1.tar+zstd",
    );
    let room = Room::new();
    runs(
        &room
            .obtain(&put(&room, "a.tar", &tar_of(&layout(&built))))
            .await
            .expect("zstd"),
    );
}

#[tokio::test]
async fn what_is_no_image_or_not_one_is_refused() {
    let built = usual();
    let without = |files: Files, name: &str| -> Files {
        files
            .into_iter()
            .filter(|(entry, _)| !entry.contains(name))
            .collect()
    };
    let with = |mut files: Files, name: &str, bytes: &[u8]| -> Files {
        for (entry, content) in &mut files {
            if entry == name {
                *content = bytes.to_vec();
            }
        }
        files
    };
    let save = || docker_save(&built, &unpacked(), "x:1");
    let second = Built::of_platform("riscv64", &json!({"Entrypoint": ["/x"]}), &[]);
    let index = |entries: Value| json!({"schemaVersion": 2, "manifests": entries});
    let two = layout_of(
        &index(json!([
            entry(&built, host_architecture(), "x:1"),
            entry(&second, host_architecture(), "x:2")
        ])),
        &[&built, &second],
    );
    let other = layout_of(&index(json!([entry(&second, "riscv64", "x:2")])), &[&second]);
    let layer_name = blob(&built.layers[1]).0;
    let twice_saved = json!([
        {"Config": "a", "RepoTags": ["x:1"], "Layers": []}, {"Config": "b", "RepoTags": null, "Layers": []},
    ]);
    let twice_saved = twice_saved.to_string();
    let cases: Vec<(Files, &str)> = vec![
        (
            vec![("readme".to_owned(), b"hello".to_vec())],
            "neither an OCI layout nor what docker save writes",
        ),
        (without(layout(&built), "oci-layout"), "neither an OCI layout"),
        (without(layout(&built), &layer_name), "which its manifest names"),
        (without(save(), "layer1"), "it does not have layer1/layer.tar"),
        (
            with(layout(&built), &layer_name, &gzip(b"other")),
            "and not sha256:",
        ),
        (
            with(save(), "layer1/layer.tar", &layer(&[("x", b"x")])),
            "layer1/layer.tar in it has the digest",
        ),
        (with(save(), "manifest.json", b"[]"), "it lists no image"),
        (
            with(save(), "manifest.json", b"{"),
            "its manifest.json cannot be read",
        ),
        (
            with(save(), "manifest.json", twice_saved.as_bytes()),
            "it has several images (x:1, b): save only one",
        ),
        (
            with(layout(&built), "index.json", b"{\"schemaVersion\": 2}"),
            "its manifest cannot be read",
        ),
        (two, "it has several images (x:1, x:2)"),
        (other, "but linux/riscv64: take a release"),
    ];
    for (files, expected) in cases {
        let room = Room::new();
        let refusal = room.refusal(&put(&room, "a.tar", &tar_of(&files))).await;
        assert!(refusal.contains(expected), "{expected}: {refusal}");
    }
    let room = Room::new();
    for (path, expected) in [
        ("/nowhere/a.tar", "there is no such file or folder"),
        ("/dev/", "neither an OCI layout"),
    ] {
        let refusal = room.refusal(path).await;
        assert!(refusal.contains(expected), "{refusal}");
    }
    let whole = tar_of(&layout(&built));
    for bytes in [
        &whole[..whole.len() / 2],
        b"no archive, but as long as one has to be ".repeat(30).as_slice(),
        &gzip(&whole)[..5000],
    ] {
        let refusal = room.refusal(&put(&room, "a.tar", bytes)).await;
        assert!(refusal.contains("cannot be read"), "{refusal}");
    }
}

#[tokio::test]
async fn nothing_of_a_malicious_archive_is_written_outside_of_the_cache() {
    use tar::EntryType;

    /// A whole image, and behind it an entry that leads out.
    fn with(entry: &str, kind: EntryType, target: &str) -> Vec<u8> {
        let built = usual();
        let mut bytes = tar_of(&layout(&built));
        // Without the two blocks of zeros that end it.
        bytes.truncate(bytes.len() - 1024);
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(if kind.is_file() { 4 } else { 0 });
        let fields = header.as_gnu_mut().expect("a GNU header");
        fields.name[..entry.len()].copy_from_slice(entry.as_bytes());
        fields.linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        bytes.extend(header.as_bytes());
        if kind.is_file() {
            bytes.extend(b"evil");
            bytes.resize(bytes.len() + 508, 0);
        }
        bytes.resize(bytes.len() + 1024, 0);
        bytes
    }
    let cases = [
        ("../outside", EntryType::Regular, "", "which leads out of it"),
        (
            "blobs/../../outside",
            EntryType::Regular,
            "",
            "which leads out of it",
        ),
        ("/tmp/outside", EntryType::Regular, "", "an absolute path"),
        ("link", EntryType::Symlink, "../outside", "a link out of it"),
        ("link", EntryType::Symlink, "/etc/passwd", "a link out of it"),
        ("link", EntryType::Link, "../outside", "a link out of it"),
        ("null", EntryType::Char, "", "a device or pipe"),
        ("pipe", EntryType::Fifo, "", "a device or pipe"),
        (
            "index.json",
            EntryType::Regular,
            "",
            "twice: save the image again",
        ),
        ("./index.json", EntryType::Symlink, "oci-layout", "twice"),
    ];
    for (entry, kind, target, expected) in cases {
        let room = Room::new();
        let path = put(&room, "a.tar", &with(entry, kind, target));
        let refusal = room.refusal(&path).await;
        assert!(refusal.contains(expected), "{entry}: {refusal}");
        let beside: Vec<_> = fs::read_dir(room.path(""))
            .expect("a folder")
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        assert_eq!(beside.len(), 2, "the archive and the cache: {beside:?}");
    }
    // The same in a layer of an image that is whole otherwise.
    let mut evil = layer(&[("secrets-store-csi", &program())]);
    let name = b"../../outside";
    evil[..name.len()].copy_from_slice(name);
    let mut header = tar::Header::new_gnu();
    header.as_mut_bytes().copy_from_slice(&evil[..512]);
    header.set_cksum();
    evil[..512].copy_from_slice(header.as_bytes());
    let built = Built::new(&json!({"Entrypoint": [ENTRY_POINT]}), &[evil]);
    let room = Room::new();
    let refusal = room.refusal(&put(&room, "a.tar", &tar_of(&layout(&built)))).await;
    assert!(
        refusal.contains("which leads out of the image: do not use this image"),
        "{refusal}"
    );
}

#[tokio::test]
async fn a_path_is_taken_as_it_is() {
    let room = Room::new();
    let release = room.obtain("/bin/true").await.expect("every machine has one");
    runs(&release);
    assert_eq!(release.digest, sha256(&program()));
    assert_eq!(
        (release.digest.clone(), release.reference, release.offline),
        (release.program_digest, None, None)
    );
    let script = put(&room, "driver", b"#!/bin/sh\n");
    let refusal = room.refusal(&script).await;
    assert!(
        refusal.contains("driver: it is a script (#!/bin/sh)"),
        "{refusal}"
    );
    let folder = room.path("").display().to_string();
    let refusal = room.refusal(folder.trim_end_matches('/')).await;
    assert!(refusal.contains("it is not a file but a folder"), "{refusal}");
}
