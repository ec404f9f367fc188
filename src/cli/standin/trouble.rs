//! What is wrong with a program rather than with what it does: it crashes, hangs, prints what it should not, or leaves
//! mounts. Planted as the stand-ins' own defects are, with `--defect NAME`.
//!
//! They look at the program's own mounts from outside of its code, as somebody with a debugger would: the stand-ins
//! themselves know nothing of them.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::mount::{MountFlags, mount};

/// Between two looks at the mounts.
const LOOK: Duration = Duration::from_millis(5);
/// Where a mount is left, which on the host is a folder of everybody's.
const LEFT: &str = "/mnt";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Ends at once, with words that look like a token.
    CrashAtStart,
    /// Never serves, and does not end when it is asked to.
    Hang,
    /// Is killed as soon as it has mounted anything for a pod.
    CrashWithMounts,
    /// Prints every file that it has mounted.
    PrintsSecrets,
    /// Mounts something at a place of the machine.
    LeavesMounts,
}

impl Trouble {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "crash-at-start" => Self::CrashAtStart,
            "hang" => Self::Hang,
            "crash-with-mounts" => Self::CrashWithMounts,
            "prints-secrets" => Self::PrintsSecrets,
            "leaves-mounts" => Self::LeavesMounts,
            _ => return None,
        })
    }

    /// PURE. Takes `--defect NAME` and `--defect=NAME` of these out of a command line; none show where the program is
    /// only asked about itself.
    pub(super) fn take(arguments: &[String]) -> (Vec<Self>, Vec<String>) {
        let (mut troubles, mut rest) = (Vec::new(), Vec::new());
        let mut arguments = arguments.iter().peekable();
        while let Some(argument) = arguments.next() {
            let given = argument.strip_prefix("--defect=").and_then(Self::named);
            let next = (argument == "--defect").then(|| arguments.peek()).flatten();
            if let Some(trouble) = given {
                troubles.push(trouble);
            } else if let Some(trouble) = next.and_then(|name| Self::named(name)) {
                arguments.next();
                troubles.push(trouble);
            } else {
                rest.push(argument.clone());
            }
        }
        if rest
            .iter()
            .any(|argument| matches!(argument.as_str(), "--help" | "--version"))
        {
            troubles.clear();
        }
        (troubles, rest)
    }

    /// Makes it. The exit code is of a program that ends by it.
    ///
    /// # Errors
    ///
    /// When the machine does not let it.
    pub(super) async fn make(self) -> io::Result<Option<u8>> {
        match self {
            Self::CrashAtStart => {
                writeln!(
                    io::stderr(),
                    "panic: token eyJhbGciOiJub25lIn0.e30.c2ln is not to be had"
                )?;
                return Ok(Some(2));
            }
            Self::Hang => {
                use tokio::signal::unix::{SignalKind, signal};
                // Not heard, and so without effect.
                let _deaf = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
                std::future::pending::<()>().await;
            }
            Self::CrashWithMounts => {
                let others = mounted();
                std::thread::spawn(move || {
                    while mounted().is_subset(&others) {
                        std::thread::sleep(LOOK);
                    }
                    std::process::abort();
                });
            }
            Self::PrintsSecrets => {
                let others = mounted();
                std::thread::spawn(move || {
                    let mut seen = BTreeSet::new();
                    loop {
                        for file in mounted().difference(&others).flat_map(|folder| files(folder)) {
                            let Ok(content) = fs::read(&file) else { continue };
                            if seen.insert(content.clone()) {
                                let _ = writeln!(io::stderr(), "wrote {}", String::from_utf8_lossy(&content));
                            }
                        }
                        std::thread::sleep(LOOK);
                    }
                });
            }
            Self::LeavesMounts => {
                mount(
                    "mountproof-left",
                    LEFT,
                    "tmpfs",
                    MountFlags::empty(),
                    None::<&std::ffi::CStr>,
                )?;
            }
        }
        Ok(None)
    }
}

/// Where something is mounted for a pod; before the program serves, by others on this machine.
fn mounted() -> BTreeSet<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    points
        .filter(|point| point.contains("/pods/"))
        .map(PathBuf::from)
        .collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_troubles_are_taken_and_the_stand_ins_defects_are_left() {
        let cases: [(&str, &[Trouble], &str); 5] = [
            ("", &[], ""),
            (
                "--defect hang --defect wrong-mode --v=5",
                &[Trouble::Hang],
                "--defect wrong-mode --v=5",
            ),
            (
                "--defect=leaves-mounts --defect=prints-secrets",
                &[Trouble::LeavesMounts, Trouble::PrintsSecrets],
                "",
            ),
            ("--defect", &[], "--defect"),
            // Whoever asks for its flags gets them.
            ("--defect hang --help", &[], "--help"),
        ];
        for (line, troubles, rest) in cases {
            let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let (found, left) = Trouble::take(&arguments);
            assert_eq!((&found[..], left.join(" ").as_str()), (troubles, rest), "{line}");
        }
    }
}
