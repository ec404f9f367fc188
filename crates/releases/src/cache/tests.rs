use super::*;

fn opened() -> (tempfile::TempDir, Cache) {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = Cache::open(&folder.path().join("deep/cache")).expect("a cache");
    (folder, cache)
}

#[test]
fn what_is_kept_is_checked_again_when_it_is_used() {
    let (_folder, cache) = opened();
    cache.keep_bytes(b"blob").expect("kept");
    let digest = digest::of(b"blob");
    let path = cache.blob(&digest).expect("there");
    assert_eq!(cache.blob_bytes(&digest).as_deref(), Some(&b"blob"[..]));
    fs::write(path, b"blot").expect("a file");
    assert_eq!(cache.blob(&digest), None);
    assert_eq!(cache.blob_bytes(&digest), None);
    cache.keep_bytes(b"blob").expect("kept again");
    assert!(cache.blob(&digest).is_some());
}

#[test]
fn a_program_is_kept_executable_and_once() {
    use std::os::unix::fs::MetadataExt as _;
    let (_folder, cache) = opened();
    let digest = digest::of(b"program");
    let keep = || {
        let mut file = cache.temporary().expect("a file");
        file.write_all(b"program").expect("written");
        cache.keep_program(file, &digest, "driver").expect("kept")
    };
    let path = keep();
    let metadata = fs::metadata(&path).expect("a file");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o755);
    // One that may be running is not replaced.
    assert_eq!(fs::metadata(keep()).expect("a file").ino(), metadata.ino());
    assert_eq!(cache.program(&digest, "driver"), Some(path));
    assert_eq!(cache.program(&digest, "other"), None);
}

#[test]
fn a_tag_is_remembered_for_its_platform() {
    let (_folder, cache) = opened();
    let resolution = Resolution {
        reference: "a.example/b:1".to_owned(),
        platform: "linux/amd64".to_owned(),
        manifest: digest::of(b"m"),
        index: None,
        at: "2026-11-26T05:00:00Z".parse().expect("a time"),
    };
    cache.keep_resolution(&resolution).expect("kept");
    assert_eq!(cache.resolution("a.example/b:1", "linux/amd64"), Some(resolution));
    assert_eq!(cache.resolution("a.example/b:1", "linux/arm64"), None);
    assert_eq!(cache.resolution("a.example/b:2", "linux/amd64"), None);
}

#[test]
fn a_record_that_names_a_file_elsewhere_is_none() {
    let (_folder, cache) = opened();
    let digest = digest::of(b"m");
    let record = |name: &str| ImageRecord {
        program: digest::of(b"p"),
        name: name.to_owned(),
        arguments: vec!["standin".to_owned()],
        version: None,
    };
    cache.keep_image(&digest, &record("driver")).expect("kept");
    assert_eq!(cache.image(&digest), Some(record("driver")));
    for name in ["../../etc/passwd", "/bin/sh", "", ".."] {
        cache.keep_image(&digest, &record(name)).expect("kept");
        assert_eq!(cache.image(&digest), None, "{name}");
    }
    fs::write(cache.image_path(&digest), "half a rec").expect("a file");
    assert_eq!(cache.image(&digest), None);
}

#[test]
fn names_of_files_have_no_folders_and_nothing_odd() {
    let cases = [
        ("/bin/driver", "driver"),
        ("driver-1.6_x", "driver-1.6_x"),
        ("/a/..", "program"),
        ("", "program"),
        ("/a b\u{1b}c", "a_b_c"),
    ];
    for (path, expected) in cases {
        assert_eq!(file_name(path), expected, "{path:?}");
    }
}

#[test]
fn only_what_was_abandoned_is_swept() {
    let (folder, cache) = opened();
    let root = folder.path().join("deep/cache");
    let (old, new) = (root.join("tmp/old"), root.join("tmp/new"));
    for path in [&old, &new] {
        fs::write(path, b"").expect("a file");
    }
    let long_ago = std::time::SystemTime::now() - ABANDONED_AFTER - Duration::from_mins(1);
    File::options()
        .write(true)
        .open(&old)
        .expect("a file")
        .set_modified(long_ago)
        .expect("a time");
    drop(cache);
    Cache::open(&root).expect("a cache");
    assert!(!old.exists());
    assert!(new.exists());
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error_with_its_path() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, b"").expect("a file");
    let error = Cache::open(&file).expect_err("not a folder").to_string();
    assert!(
        error.contains("cannot make") && error.contains("name another cache folder"),
        "{error}"
    );
}
