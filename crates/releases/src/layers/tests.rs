use proptest::prelude::*;

use super::*;

enum Put<'a> {
    File(&'a str, &'a str),
    Folder(&'a str),
    Symlink(&'a str, &'a str),
    Hardlink(&'a str, &'a str),
    Device(&'a str),
}

use Put::{Device, File, Folder, Hardlink, Symlink};

/// Names go into the header as they are: the library would refuse some.
fn layer(puts: &[Put<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for put in puts {
        let (name, kind, link, content) = match put {
            File(name, content) => (name, EntryType::Regular, "", *content),
            Folder(name) => (name, EntryType::Directory, "", ""),
            Symlink(name, target) => (name, EntryType::Symlink, *target, ""),
            Hardlink(name, target) => (name, EntryType::Link, *target, ""),
            Device(name) => (name, EntryType::Char, "", ""),
        };
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        let fields = header.as_gnu_mut().expect("a GNU header");
        fields.name[..name.len()].copy_from_slice(name.as_bytes());
        fields.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        builder
            .append(&header, content.as_bytes())
            .expect("memory takes everything");
    }
    builder.into_inner().expect("memory takes everything")
}

/// The content that is found, or what the search says. The lowest layer stands first.
fn found(packed: &[Vec<u8>], path: &str) -> Result<String, Search> {
    let mut layers: Vec<Option<Layer>> = packed.iter().map(|_| None).collect();
    loop {
        match find(&layers, path) {
            Search::Unread(index) => {
                let bytes = &packed[packed.len() - 1 - index];
                layers[index] = Some(Layer::read(&bytes[..]).expect("a layer"));
            }
            Search::Found { layer, entry, .. } => {
                let mut out = Vec::new();
                copy_entry(&packed[packed.len() - 1 - layer][..], entry, &mut out).expect("it is there");
                return Ok(String::from_utf8(out).expect("a text"));
            }
            other => return Err(other),
        }
    }
}

#[test]
fn a_file_is_found_as_a_container_would_see_it() {
    let base = || {
        layer(&[
            Folder("bin/"),
            File("bin/a", "base"),
            File("bin/b", "b"),
            File("lib/x/deep", "deep"),
        ])
    };
    let cases: Vec<(&str, Vec<Vec<u8>>, &str, &str)> = vec![
        ("one layer", vec![base()], "/bin/a", "base"),
        ("folders that are not listed", vec![base()], "/lib/x/deep", "deep"),
        (
            "the upper one counts",
            vec![base(), layer(&[File("bin/a", "upper")])],
            "/bin/a",
            "upper",
        ),
        (
            "the later of two entries",
            vec![layer(&[File("a", "1"), File("a", "2")])],
            "/a",
            "2",
        ),
        (
            "absolute and dotted names",
            vec![layer(&[File("/x", "x"), File("./y", "y")])],
            "/./x",
            "x",
        ),
        (
            "a whiteout of another file",
            vec![base(), layer(&[File("bin/.wh.b", "")])],
            "/bin/a",
            "base",
        ),
        (
            "made again",
            vec![
                base(),
                layer(&[File("bin/.wh.a", "")]),
                layer(&[File("bin/a", "new")]),
            ],
            "/bin/a",
            "new",
        ),
        (
            "made again in that layer",
            vec![base(), layer(&[File(".wh.bin", ""), File("bin/a", "new")])],
            "/bin/a",
            "new",
        ),
        (
            "kept beside an opaque folder",
            vec![base(), layer(&[File("bin/.wh..wh..opq", ""), File("bin/c", "c")])],
            "/bin/c",
            "c",
        ),
        (
            "a link to a file",
            vec![base(), layer(&[Symlink("go", "/bin/a")])],
            "/go",
            "base",
        ),
        (
            "a link to a folder",
            vec![base(), layer(&[Symlink("sbin", "bin")])],
            "/sbin/b",
            "b",
        ),
        (
            "a link upwards",
            vec![base(), layer(&[Symlink("lib/x/up", "../../bin/a")])],
            "/lib/x/up",
            "base",
        ),
        (
            "a link above the root",
            vec![base(), layer(&[Symlink("go", "../../../../bin/a")])],
            "/go",
            "base",
        ),
        (
            "a chain",
            vec![layer(&[File("a", "a"), Symlink("b", "a"), Symlink("c", "b")])],
            "/c",
            "a",
        ),
        (
            "a hard link",
            vec![layer(&[File("x/a", "a"), Hardlink("b", "x/a")])],
            "/b",
            "a",
        ),
        (
            "a hard link below",
            vec![base(), layer(&[Hardlink("c", "bin/a")])],
            "/c",
            "base",
        ),
        (
            "dots in what is asked for",
            vec![base()],
            "/lib/../bin/./a",
            "base",
        ),
    ];
    for (name, layers, path, expected) in cases {
        assert_eq!(found(&layers, path), Ok(expected.to_owned()), "{name}");
    }
}

#[test]
fn what_a_container_would_not_see_is_not_found() {
    let base = || layer(&[File("bin/a", "base"), Folder("etc")]);
    let missing = |name: &str| Search::Missing(name.to_owned());
    let folder = Search::NotAFile("a folder");
    let looped = Search::NotAFile("a loop of links");
    let cases: Vec<(&str, Vec<Vec<u8>>, &str, Search)> = vec![
        ("nothing", vec![base()], "/bin/none", missing("no /bin/none")),
        ("no layers", vec![], "/a", missing("no /a")),
        (
            "whiteout",
            vec![base(), layer(&[File("bin/.wh.a", "")])],
            "/bin/a",
            missing("no /bin/a"),
        ),
        (
            "whiteout of its folder",
            vec![base(), layer(&[File(".wh.bin", "")])],
            "/bin/a",
            missing("no /bin"),
        ),
        (
            "opaque folder",
            vec![base(), layer(&[File("bin/.wh..wh..opq", "")])],
            "/bin/a",
            missing("no /bin/a"),
        ),
        (
            "opaque root",
            vec![base(), layer(&[File(".wh..wh..opq", "")])],
            "/bin/a",
            missing("no /bin"),
        ),
        (
            "a file where its folder was",
            vec![base(), layer(&[File("bin", "")])],
            "/bin/a",
            missing("/bin is no folder"),
        ),
        (
            "a file and then a folder again",
            vec![base(), layer(&[File("bin", "")]), layer(&[Folder("bin")])],
            "/bin/a",
            missing("no /bin/a"),
        ),
        ("a folder", vec![base()], "/etc", folder.clone()),
        ("the root", vec![base()], "/", folder.clone()),
        (
            "a link to a folder",
            vec![base(), layer(&[Symlink("go", "etc")])],
            "/go",
            folder,
        ),
        (
            "a device",
            vec![layer(&[Device("null")])],
            "/null",
            Search::NotAFile("a device or pipe"),
        ),
        (
            "a link to nothing",
            vec![layer(&[Symlink("go", "/none")])],
            "/go",
            missing("no /none"),
        ),
        (
            "a link out of the image",
            vec![layer(&[Symlink("go", "../../etc/passwd")])],
            "/go",
            missing("no /etc"),
        ),
        (
            "a link to itself",
            vec![layer(&[Symlink("go", "go")])],
            "/go",
            looped.clone(),
        ),
        (
            "two links to each other",
            vec![layer(&[Symlink("a", "b"), Symlink("b", "a")])],
            "/a",
            looped.clone(),
        ),
        (
            "hard links to each other",
            vec![layer(&[Hardlink("a", "b"), Hardlink("b", "a")])],
            "/a",
            looped,
        ),
    ];
    for (name, layers, path, expected) in cases {
        assert_eq!(found(&layers, path), Err(expected), "{name}");
    }
}

#[test]
fn a_layer_that_is_not_needed_is_not_read() {
    let layers = [
        Some(Layer::read(&layer(&[File("a", "a")])[..]).expect("a layer")),
        None,
    ];
    assert!(matches!(find(&layers, "/a"), Search::Found { layer: 0, .. }));
    assert_eq!(find(&layers, "/b"), Search::Unread(1));
}

#[test]
fn names_that_lead_out_of_an_image_are_refused() {
    let cases = [
        layer(&[File("../x", "")]),
        layer(&[File("a/../../x", "")]),
        layer(&[Hardlink("a", "../../etc/passwd")]),
    ];
    for bytes in cases {
        let error = Layer::read(&bytes[..]).expect_err("it leads out").to_string();
        assert!(error.contains("do not use this image"), "{error}");
    }
}

#[test]
fn long_names_are_read_and_endless_ones_refused() {
    let long = "d/".repeat(150) + "program";
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(3);
    builder
        .append_data(&mut header, &long, &b"abc"[..])
        .expect("memory takes everything");
    let mut header = tar::Header::new_gnu();
    header.set_size(0);
    header.set_entry_type(EntryType::Symlink);
    builder
        .append_link(&mut header, "link", &long)
        .expect("memory takes everything");
    let pax = [("path", "from/pax".as_bytes())];
    builder
        .append_pax_extensions(pax)
        .expect("memory takes everything");
    let mut header = tar::Header::new_ustar();
    header.set_size(3);
    header.set_path("short").expect("a short name");
    header.set_cksum();
    builder
        .append(&header, &b"pax"[..])
        .expect("memory takes everything");
    let layers = [builder.into_inner().expect("memory takes everything")];
    assert_eq!(found(&layers, &format!("/{long}")), Ok("abc".to_owned()));
    assert_eq!(found(&layers, "/link"), Ok("abc".to_owned()));
    assert_eq!(found(&layers, "/from/pax"), Ok("pax".to_owned()));

    let mut header = tar::Header::new_gnu();
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(LARGEST_NAME_BYTES + 1);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.resize(bytes.len() + 200_000, b'a');
    let error = Layer::read(&bytes[..]).expect_err("too long").to_string();
    assert!(error.contains("65536 bytes in a name"), "{error}");
}

#[test]
fn a_layer_that_was_cut_off_is_an_error() {
    let bytes = layer(&[File("a", &"x".repeat(2000))]);
    assert!(Layer::read(&bytes[..1000]).is_err());
    let error = copy_entry(&bytes[..1500], 0, &mut Vec::new())
        .expect_err("cut off")
        .to_string();
    assert!(error.contains("push or save the image again"), "{error}");
    assert!(copy_entry(&bytes[..], 5, &mut Vec::new()).is_err());
    assert!(
        Layer::read(&b"certainly no archive, but long enough to be asked whether it is one".repeat(20)[..])
            .is_err()
    );
}

proptest! {
    #[test]
    fn any_bytes_are_read_as_a_layer_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        let _ = Layer::read(&bytes[..]);
    }

    #[test]
    fn a_search_ends_within_the_image(
        links in prop::collection::vec(("[a-c](/[a-c]){0,2}", "(/|\\.\\./)?[a-c](/(\\.\\.|[a-c])){0,3}"), 0..8),
        path in "/[a-c](/(\\.\\.|[a-c])){0,3}",
    ) {
        let puts: Vec<Put<'_>> = links.iter().map(|(name, target)| Symlink(name, target)).collect();
        let layers = [layer(&[File("a/b", "x")]), layer(&puts)];
        // Whatever the links say, only what was put in comes out.
        if let Ok(content) = found(&layers, &path) {
            prop_assert_eq!(content, "x");
        }
    }
}
