//! What a program must be to run here: a Linux executable of this machine's architecture, whole, with whatever loads
//! it. Reading the file is the only IO; what the bytes say is decided by [`look_into`], which is pure.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use object::{
    Endianness, elf,
    read::elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _},
};

use crate::{digest, go_build};

/// Larger than any driver or provider by far (they are about 60 to 120 MiB).
pub(crate) const LARGEST_PROGRAM_BYTES: u64 = 1 << 30;

/// Why a file cannot be run as a driver or provider on this machine.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// Nothing there.
    #[error(
        "there is no such file: look at the path, which is relative to the current folder unless it begins with /"
    )]
    Missing,
    /// A folder, socket or device.
    #[error(
        "it is not a file but {found}: name the executable itself, or the folder of an OCI layout with / at its end"
    )]
    NotAFile {
        /// What it is.
        found: &'static str,
    },
    /// Refused by the operating system.
    #[error("it cannot be read ({source}): give this user the right to read it")]
    Unreadable {
        /// What the operating system says.
        #[from]
        source: io::Error,
    },
    /// No `x` in its mode.
    #[error("it is not executable (mode {mode:04o}): chmod +x it")]
    NotExecutable {
        /// Its permission bits.
        mode: u32,
    },
    /// No bytes.
    #[error("it is empty: copy or build it again")]
    Empty,
    /// More than any such program has.
    #[error(
        "it has {bytes} bytes, more than the {limit} of any driver or provider: look whether it is the right file"
    )]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The bound.
        limit: u64,
    },
    /// Begins with `#!`.
    #[error("it is a script ({first_line}): give the program that it starts")]
    Script {
        /// `#!` and what follows.
        first_line: String,
    },
    /// Something else than ELF.
    #[error("it is not a Linux program but {found}: {hint}")]
    NotElf {
        /// What its first bytes say.
        found: &'static str,
        /// What to do about it.
        hint: &'static str,
    },
    /// ELF of another machine.
    #[error("it is for {found}, and this machine is {host}: take the {host} build of it")]
    WrongArchitecture {
        /// As in an image's platform, where there is such a name.
        found: String,
        /// As in an image's platform.
        host: &'static str,
    },
    /// A library, an object file or a core dump.
    #[error("it is {kind}, not a program: give the executable that was linked")]
    NotAProgram {
        /// Which of them.
        kind: &'static str,
    },
    /// Headers that point behind the end, and their like.
    #[error("it is a damaged ELF file ({problem}): copy or build it again")]
    Damaged {
        /// What does not fit.
        problem: String,
    },
    /// Linked against a C library that this machine does not have.
    #[error(
        "it is loaded by {interpreter}, which this machine does not have: take a statically linked build (CGO_ENABLED=0), or install that loader"
    )]
    InterpreterMissing {
        /// The path in the program's header.
        interpreter: String,
    },
}

/// What is known of a program that can run here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checked {
    pub(crate) path: PathBuf,
    /// Of the whole file.
    pub(crate) digest: String,
    pub(crate) go: Option<go_build::GoBuild>,
}

/// Reads and judges a program. Blocks: the file is read whole.
pub(crate) fn check(path: &Path) -> Result<Checked, ProgramError> {
    let metadata = fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ProgramError::Missing,
        _ => error.into(),
    })?;
    if metadata.is_dir() {
        return Err(ProgramError::NotAFile { found: "a folder" });
    }
    if !metadata.is_file() {
        return Err(ProgramError::NotAFile {
            found: "a device, pipe or socket",
        });
    }
    if metadata.len() > LARGEST_PROGRAM_BYTES {
        return Err(ProgramError::TooLarge {
            bytes: metadata.len(),
            limit: LARGEST_PROGRAM_BYTES,
        });
    }
    let bytes = fs::read(path)?;
    let seen = look_into(&bytes)?;
    // After the kind, so that an archive is called an archive.
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o111 == 0 {
        return Err(ProgramError::NotExecutable { mode });
    }
    if let Some(interpreter) = seen
        .interpreter
        .filter(|interpreter| !Path::new(interpreter).exists())
    {
        return Err(ProgramError::InterpreterMissing { interpreter });
    }
    Ok(Checked {
        path: fs::canonicalize(path)?,
        digest: digest::of(&bytes),
        go: seen.go,
    })
}

/// As image indexes name this machine's architecture (that of GOARCH).
pub(crate) fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

struct Seen {
    interpreter: Option<String>,
    go: Option<go_build::GoBuild>,
}

fn look_into(bytes: &[u8]) -> Result<Seen, ProgramError> {
    if bytes.is_empty() {
        return Err(ProgramError::Empty);
    }
    if !bytes.starts_with(&elf::ELFMAG) {
        return Err(not_elf(bytes));
    }
    let host = host_architecture();
    let wrong = |found: String| ProgramError::WrongArchitecture { found, host };
    // Class and byte order, before the header is read as a 64-bit one.
    match (bytes.get(4).copied(), bytes.get(5).copied()) {
        (Some(elf::ELFCLASS64), Some(elf::ELFDATA2LSB)) => {}
        (Some(elf::ELFCLASS32), _) => return Err(wrong("a 32-bit machine".to_owned())),
        (_, Some(elf::ELFDATA2MSB)) => return Err(wrong("a big-endian machine".to_owned())),
        _ => {
            return Err(ProgramError::Damaged {
                problem: "no class".to_owned(),
            });
        }
    }
    let damaged = |error: object::read::Error| ProgramError::Damaged {
        problem: error.to_string(),
    };
    let header = elf::FileHeader64::<Endianness>::parse(bytes).map_err(damaged)?;
    let endian = header.endian().map_err(damaged)?;
    let found = architecture(header.e_machine(endian));
    if found != host {
        return Err(wrong(found));
    }
    match header.e_type(endian) {
        elf::ET_EXEC | elf::ET_DYN if header.e_entry(endian) != 0 => {}
        elf::ET_DYN => {
            return Err(ProgramError::NotAProgram {
                kind: "a shared library",
            });
        }
        elf::ET_REL => {
            return Err(ProgramError::NotAProgram {
                kind: "an object file",
            });
        }
        elf::ET_CORE => return Err(ProgramError::NotAProgram { kind: "a core dump" }),
        _ => {
            return Err(ProgramError::NotAProgram {
                kind: "an ELF file without an entry point",
            });
        }
    }
    let segments = header.program_headers(endian, bytes).map_err(damaged)?;
    if segments.is_empty() {
        return Err(ProgramError::Damaged {
            problem: "nothing to load".to_owned(),
        });
    }
    let mut interpreter = None;
    for segment in segments {
        // Reads the segment's range, which fails where a copy was cut off.
        let data = segment.data(endian, bytes).map_err(|()| ProgramError::Damaged {
            problem: "a segment lies behind the end of the file".to_owned(),
        })?;
        if segment.p_type(endian) == elf::PT_INTERP {
            interpreter = Some(String::from_utf8_lossy(data).trim_end_matches('\0').to_owned());
        }
    }
    // A program may have no sections: then it says nothing of who built it.
    let go = header.sections(endian, bytes).ok().and_then(|sections| {
        let (_, section) = sections.section_by_name(endian, b".go.buildinfo")?;
        go_build::read(section.data(endian, bytes).ok()?)
    });
    Ok(Seen { interpreter, go })
}

fn not_elf(bytes: &[u8]) -> ProgramError {
    const ARCHIVE: &str = "end its name in .tar, .tar.gz or .tgz if it is an image";
    const LINUX: &str = "take the Linux build of it";
    const EXECUTABLE: &str = "give the executable itself";
    if bytes.starts_with(b"#!") {
        let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let first_line = String::from_utf8_lossy(line)
            .chars()
            .filter(|letter| !letter.is_control())
            .take(80)
            .collect();
        return ProgramError::Script { first_line };
    }
    let (found, hint) = match bytes {
        [0x1f, 0x8b, ..] => ("a gzip file", ARCHIVE),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => ("a zstd file", ARCHIVE),
        [b'M', b'Z', ..] => ("a Windows program", LINUX),
        [0xcf, 0xfa, 0xed, 0xfe, ..] | [0xca, 0xfe, 0xba, 0xbe, ..] => ("a macOS program", LINUX),
        _ if bytes.get(257..262) == Some(b"ustar") => ("a tar archive", ARCHIVE),
        _ if bytes
            .iter()
            .take(512)
            .all(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~')) =>
        {
            ("a text", EXECUTABLE)
        }
        _ => ("something else", EXECUTABLE),
    };
    ProgramError::NotElf { found, hint }
}

/// GOARCH's name where it has one.
fn architecture(machine: u16) -> String {
    match machine {
        elf::EM_X86_64 => "amd64".to_owned(),
        elf::EM_AARCH64 => "arm64".to_owned(),
        elf::EM_PPC64 => "ppc64le".to_owned(),
        elf::EM_S390 => "s390x".to_owned(),
        elf::EM_RISCV => "riscv64".to_owned(),
        elf::EM_LOONGARCH => "loong64".to_owned(),
        other => format!("machine {other}"),
    }
}

#[cfg(test)]
mod tests;
