use std::os::unix::fs::PermissionsExt as _;

use proptest::prelude::*;

use super::*;

/// This test itself: a program that runs here.
fn real() -> Vec<u8> {
    let path = std::env::current_exe().expect("a test has a file");
    fs::read(path).expect("a test can read itself")
}

fn written(bytes: &[u8], mode: u32) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("program");
    fs::write(&path, bytes).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
    (folder, path)
}

/// The same program with other bytes at these places.
fn patched(patches: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = real();
    for (at, patch) in patches {
        bytes[*at..*at + patch.len()].copy_from_slice(patch);
    }
    bytes
}

#[test]
fn a_program_of_this_machine_is_taken_with_its_digest() {
    let bytes = real();
    let (_folder, path) = written(&bytes, 0o755);
    let checked = check(&path).expect("it runs right now");
    assert_eq!(checked.digest, digest::of(&bytes));
    assert!(checked.path.is_absolute());
    assert_eq!(checked.go, None);
}

#[test]
fn what_cannot_run_here_is_refused_with_its_reason_and_what_to_do() {
    let interpreter_at = {
        let bytes = real();
        let found = bytes
            .windows(7)
            .position(|window| window == b"/lib64/" || window == b"/lib/ld");
        found.expect("a test is linked dynamically")
    };
    let mut tar = vec![0; 1024];
    tar[257..262].copy_from_slice(b"ustar");
    let other = if host_architecture() == "amd64" {
        elf::EM_AARCH64
    } else {
        elf::EM_X86_64
    };
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", Vec::new(), "it is empty: copy or build it again"),
        (
            "script",
            b"#!/bin/sh\nexec driver".to_vec(),
            "a script (#!/bin/sh): give the program",
        ),
        (
            "text",
            b"hello\n".to_vec(),
            "not a Linux program but a text: give the executable itself",
        ),
        (
            "gzip",
            vec![0x1f, 0x8b, 8, 0],
            "but a gzip file: end its name in .tar",
        ),
        ("zstd", vec![0x28, 0xb5, 0x2f, 0xfd], "but a zstd file"),
        ("tar", tar, "but a tar archive: end its name in .tar"),
        (
            "Windows",
            b"MZ\x90\0\x03\0\0\0".to_vec(),
            "but a Windows program: take the Linux build",
        ),
        (
            "macOS",
            vec![0xcf, 0xfa, 0xed, 0xfe, 7, 0, 0, 1],
            "but a macOS program",
        ),
        ("noise", vec![0, 1, 2, 200], "but something else"),
        (
            "other machine",
            patched(&[(18, &other.to_le_bytes())]),
            "this machine is",
        ),
        (
            "unknown machine",
            patched(&[(18, &[99, 0])]),
            "it is for machine 99",
        ),
        ("32 bits", patched(&[(4, &[1])]), "a 32-bit machine"),
        ("big endian", patched(&[(5, &[2])]), "a big-endian machine"),
        ("no class", patched(&[(4, &[7])]), "damaged ELF file"),
        (
            "object",
            patched(&[(16, &[1, 0])]),
            "it is an object file, not a program",
        ),
        ("core", patched(&[(16, &[4, 0])]), "it is a core dump"),
        (
            "library",
            patched(&[(16, &[3, 0]), (24, &[0; 8])]),
            "it is a shared library",
        ),
        ("no kind", patched(&[(16, &[77, 0])]), "without an entry point"),
        (
            "cut off",
            real()[..8192].to_vec(),
            "lies behind the end of the file",
        ),
        ("only magic", b"\x7fELF\x02\x01".to_vec(), "damaged ELF file"),
        ("no segments", patched(&[(56, &[0, 0])]), "nothing to load"),
        (
            "loader",
            patched(&[(interpreter_at, b"/lib65/")]),
            "loaded by /lib65/",
        ),
    ];
    for (name, bytes, expected) in cases {
        let (_folder, path) = written(&bytes, 0o755);
        let error = check(&path).expect_err(name).to_string();
        assert!(error.contains(expected), "{name}: {error}");
        assert!(error.contains(": "), "{name} says what to do: {error}");
    }
}

#[test]
fn what_is_no_executable_file_is_refused() {
    let (folder, path) = written(&real(), 0o644);
    let error = check(&path).expect_err("no x").to_string();
    assert!(
        error.contains("not executable (mode 0644): chmod +x it"),
        "{error}"
    );
    let missing = check(&folder.path().join("missing")).expect_err("nothing there");
    assert!(matches!(missing, ProgramError::Missing), "{missing}");
    let within_file = check(&path.join("more")).expect_err("not a folder");
    assert!(matches!(within_file, ProgramError::Missing), "{within_file}");
    for (path, found) in [(folder.path(), "a folder"), (Path::new("/dev/zero"), "a device")] {
        let error = check(path).expect_err("no file").to_string();
        assert!(error.contains(found), "{error}");
    }
    let large = fs::File::create(folder.path().join("large")).expect("a file");
    large.set_len(LARGEST_PROGRAM_BYTES + 1).expect("a hole");
    let error = check(&folder.path().join("large"))
        .expect_err("too large")
        .to_string();
    assert!(error.contains("more than the 1073741824"), "{error}");
}

proptest! {
    #[test]
    fn any_header_is_judged_without_panic(
        patches in prop::collection::vec((0_usize..1024, any::<u8>()), 1..20),
        length in 0_usize..2048,
    ) {
        let path = std::env::current_exe().expect("a test has a file");
        let mut bytes = vec![0; length];
        let mut file = fs::File::open(path).expect("a test can read itself");
        io::Read::read_exact(&mut file, &mut bytes).expect("a test is longer");
        for (at, byte) in patches {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        let _ = look_into(&bytes);
    }
}
