//! Whether this machine can confine a program, found by doing it with one that ends at once.

use std::{
    fmt::{self, Display, Formatter},
    fs, io,
    process::Stdio,
    time::Duration,
};

use tokio::{process::Command, time::timeout};

/// How long a program that ends at once may take: far more than it needs on a busy machine.
const LONG_ENOUGH: Duration = Duration::from_secs(20);

/// What is unshared in any case. `--kill-child`: the kernel kills the first process inside when `unshare` dies.
const NAMESPACES: &[&str] = &[
    "--mount",
    "--net",
    "--ipc",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
];

/// Settings of the kernel that forbid user namespaces: where they are, what they must not be, who has them.
const SETTINGS: &[(&str, &str, &str)] = &[
    (
        "/proc/sys/kernel/unprivileged_userns_clone",
        "0",
        "kernel.unprivileged_userns_clone",
    ),
    (
        "/proc/sys/user/max_user_namespaces",
        "0",
        "user.max_user_namespaces",
    ),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "kernel.apparmor_restrict_unprivileged_userns",
    ),
];

/// How a program is confined here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// In a user namespace: whoever starts it is root inside, and nobody in particular outside.
    UserNamespace,
    /// Without one, as root: the kernel grants root all other namespaces.
    AsRoot,
}

impl Kind {
    /// What `unshare` is asked for.
    pub(crate) fn options(self) -> impl Iterator<Item = &'static str> {
        let user: &[&str] = match self {
            Self::UserNamespace => &["--user", "--map-root-user"],
            Self::AsRoot => &[],
        };
        user.iter().chain(NAMESPACES).copied()
    }
}

impl Display for Kind {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::UserNamespace => "in a user namespace",
            Self::AsRoot => "as root, without a user namespace",
        })
    }
}

/// Why nothing can be confined here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// There is no `unshare`.
    #[error("there is no `unshare` on the PATH: install the package util-linux")]
    NoUnshare,
    /// There is one that does not know an option: `--kill-child` came with util-linux 2.32.
    #[error("`unshare` is older than util-linux 2.32 ({said}): install a newer package util-linux")]
    OldUnshare {
        /// What it said.
        said: String,
    },
    /// The kernel refuses user namespaces, and this is not root.
    #[error("the kernel refuses user namespaces here ({said}): {advice}, or run as root")]
    Refused {
        /// What `unshare` said.
        said: String,
        /// Which settings to change.
        advice: String,
    },
    /// `unshare` did not end, or could not be run.
    #[error("cannot run `unshare`: {0}")]
    Broken(String),
}

/// How a program can be confined on this machine; takes some milliseconds.
pub async fn available() -> Result<Kind, Why> {
    let Err(said) = attempt(Kind::UserNamespace).await? else {
        return Ok(Kind::UserNamespace);
    };
    // Root may go without; anybody else is refused this as well.
    if attempt(Kind::AsRoot).await?.is_ok() {
        return Ok(Kind::AsRoot);
    }
    Err(refusal(said, |path| fs::read_to_string(path).ok()))
}

/// Runs the one program that is known to be there in the namespaces. The inner error is what `unshare` said.
async fn attempt(kind: Kind) -> Result<Result<(), String>, Why> {
    let ended = Command::new("unshare")
        .args(kind.options())
        .args(["--", "unshare", "--version"])
        // Its complaints are read below.
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(LONG_ENOUGH, ended)
        .await
        .map_err(|_| Why::Broken(format!("it did not end within {} s", LONG_ENOUGH.as_secs())))?
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Why::NoUnshare,
            _ => Why::Broken(error.to_string()),
        })?;
    if output.status.success() {
        return Ok(Ok(()));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Ok(Err(said.lines().next().unwrap_or("it said nothing").to_owned()))
}

/// Reads what `unshare` said in the light of the kernel's settings.
fn refusal(said: String, setting: impl Fn(&str) -> Option<String>) -> Why {
    if ["unrecognized option", "invalid option", "unknown option"]
        .iter()
        .any(|complaint| said.contains(complaint))
    {
        return Why::OldUnshare { said };
    }
    let guilty: Vec<String> = SETTINGS
        .iter()
        .filter(|(path, bad, _)| setting(path).is_some_and(|value| value.trim() == *bad))
        .map(|(_, bad, name)| format!("{name} is {bad}"))
        .collect();
    let advice = if guilty.is_empty() {
        let names: Vec<&str> = SETTINGS.iter().map(|(_, _, name)| *name).collect();
        format!(
            "no setting of {} says so: perhaps a container's profile does; allow them there",
            names.join(", ")
        )
    } else {
        format!("{}: change that", guilty.join(" and "))
    };
    Why::Refused { said, advice }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_setting_that_is_to_blame() {
        let said = "unshare: unshare failed: Operation not permitted";
        for (settings, expected) in [
            (
                vec![("kernel/unprivileged_userns_clone", "0\n")],
                "kernel.unprivileged_userns_clone is 0: change that",
            ),
            (
                vec![
                    ("kernel/unprivileged_userns_clone", "1\n"),
                    ("user/max_user_namespaces", "0\n"),
                ],
                "user.max_user_namespaces is 0: change that",
            ),
            (
                vec![("kernel/apparmor_restrict_unprivileged_userns", "1\n")],
                "kernel.apparmor_restrict_unprivileged_userns is 1: change that",
            ),
            (
                vec![
                    ("user/max_user_namespaces", "0"),
                    ("kernel/unprivileged_userns_clone", "0"),
                ],
                "kernel.unprivileged_userns_clone is 0 and user.max_user_namespaces is 0: change that",
            ),
            (
                vec![("user/max_user_namespaces", "9000\n")],
                "perhaps a container's profile does",
            ),
        ] {
            let why = refusal(said.to_owned(), |path| {
                let (_, value) = settings.iter().find(|(name, _)| path.ends_with(name))?;
                Some((*value).to_owned())
            });
            let text = why.to_string();
            assert!(
                text.contains(expected) && text.contains(said) && text.ends_with("or run as root"),
                "{text}"
            );
        }
    }

    #[test]
    fn an_unshare_that_knows_too_little_is_told_from_a_kernel_that_refuses() {
        let why = refusal("unshare: unrecognized option '--kill-child'".to_owned(), |_| {
            Some("0".to_owned())
        });
        assert!(matches!(why, Why::OldUnshare { .. }), "{why}");
    }
}
