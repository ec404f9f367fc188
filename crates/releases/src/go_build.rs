//! PURE. What a Go program says of how it was built: its module, version and compiler.
//!
//! The layout is that of Go 1.18 and later, as `go version -m` reads it (<https://pkg.go.dev/debug/buildinfo>); older programs
//! point into their data segment instead and are not read.

/// What `go version -m` would print, as far as it tells one release from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GoBuild {
    /// `go1.25.9`.
    pub(crate) compiler: String,
    /// Path of the main package's module.
    pub(crate) module: Option<String>,
    /// Of the module, or what the linker was given (`-X ..Version=1.6.0`).
    pub(crate) version: Option<String>,
}

const MAGIC: &[u8] = b"\xff Go buildinf:";
/// In the byte of flags: the texts stand in the section itself.
const INLINE: u8 = 2;
/// Where they begin.
const TEXTS_AT: usize = 32;
/// Around the module's lines, to find them in a core dump.
const SENTINEL: usize = 16;

/// Reads the section `.go.buildinfo`.
pub(crate) fn read(section: &[u8]) -> Option<GoBuild> {
    let flags = section.strip_prefix(MAGIC)?.get(1)?;
    if flags & INLINE == 0 {
        return None;
    }
    let (compiler, rest) = text(section.get(TEXTS_AT..)?)?;
    let (module_lines, _) = text(rest)?;
    let lines = module_lines
        .get(SENTINEL..module_lines.len().checked_sub(SENTINEL)?)
        .unwrap_or_default();
    let lines = String::from_utf8_lossy(lines);
    let module = lines.lines().find_map(|line| line.strip_prefix("mod\t"));
    let mut columns = module.unwrap_or_default().split('\t');
    let path = columns.next().filter(|path| !path.is_empty()).map(str::to_owned);
    let of_module = columns
        .next()
        .filter(|version| !version.is_empty() && *version != "(devel)");
    Some(GoBuild {
        compiler: String::from_utf8_lossy(compiler)
            .chars()
            .filter(|letter| !letter.is_control())
            .take(60)
            .collect(),
        module: path,
        version: of_linker(&lines)
            .or(of_module)
            .map(|version| version.chars().take(100).collect()),
    })
}

/// `-X some/package.BuildVersion=v1.6.0` in the flags that the linker was given.
fn of_linker(lines: &str) -> Option<&str> {
    let flags = lines
        .lines()
        .find_map(|line| line.strip_prefix("build\t-ldflags="))?;
    flags.split([' ', '"', '\'']).find_map(|word| {
        let (name, value) = word.split_once('=')?;
        (name.to_ascii_lowercase().ends_with("version")
            && value.contains(|letter: char| letter.is_ascii_digit()))
        .then_some(value)
    })
}

/// A length as a varint, and so many bytes.
fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut length = 0_usize;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return bytes.get(index + 1..)?.split_at_checked(length);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn section(compiler: &str, lines: &str) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([8, INLINE]);
        bytes.resize(TEXTS_AT, 0);
        let wrapped = format!("{}{lines}{}", "0".repeat(SENTINEL), "1".repeat(SENTINEL));
        for text in [compiler, &wrapped] {
            let length = text.len();
            bytes.extend([
                u8::try_from(length & 0x7f).expect("seven bits") | 0x80,
                u8::try_from(length >> 7).expect("short"),
            ]);
            bytes.extend(text.as_bytes());
        }
        bytes
    }

    #[test]
    fn a_go_program_says_what_it_was_built_from() {
        let cases = [
            (
                "path\tx/cmd\nmod\tgithub.com/aws/x\tv3.1.1\th1:abc=\n",
                Some("github.com/aws/x"),
                Some("v3.1.1"),
            ),
            (
                "path\tx/cmd\nmod\tsigs.k8s.io/x\t(devel)\t\n",
                Some("sigs.k8s.io/x"),
                None,
            ),
            (
                "mod\tsigs.k8s.io/x\t(devel)\t\nbuild\t-ldflags=\"-X x/version.BuildTime=2026 -X x/version.BuildVersion=v1.6.0\"\n",
                Some("sigs.k8s.io/x"),
                Some("v1.6.0"),
            ),
            ("path\tcommand-line-arguments\n", None, None),
        ];
        for (lines, module, version) in cases {
            let build = read(&section("go1.25.9", lines)).expect(lines);
            assert_eq!(build.compiler, "go1.25.9");
            assert_eq!(
                (build.module.as_deref(), build.version.as_deref()),
                (module, version),
                "{lines}"
            );
        }
    }

    #[test]
    fn the_pointers_of_older_compilers_are_not_followed() {
        let mut bytes = section("go1.17", "");
        bytes[MAGIC.len() + 1] = 0;
        assert_eq!(read(&bytes), None);
    }

    proptest! {
        #[test]
        fn any_section_is_read_or_not_but_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut section = MAGIC.to_vec();
            section.extend([8, INLINE]);
            section.resize(TEXTS_AT, 0);
            section.extend(bytes);
            let _ = read(&section);
        }
    }
}
