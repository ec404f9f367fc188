//! The logs of a driver and a provider that run as `DaemonSet`s, of whatever cluster and whoever installed them.
//!
//! Which they are their own manifests tell: the driver is told by `--provider-volume` where providers serve, and by
//! `--nodeid` on which node it is, as a CSI driver is; the provider is another one that has that folder of the node's.

use std::time::Duration;

use futures::{FutureExt as _, future::BoxFuture};

use super::{ProgramLog, ProgramLogs, WindowLog};
use crate::kubernetes::{DaemonView, PodLogs};

/// The driver's flags that name the folder where providers serve, which a provider may have too, and the node.
const DRIVER_FLAGS: [&str; 2] = ["provider-volume", "nodeid"];
/// Folders of the node where providers serve, since driver 1.0 and before.
const PROVIDER_FOLDERS: [&str; 2] = [
    "/var/run/secrets-store-csi-providers",
    "/etc/kubernetes/secrets-store-csi-providers",
];
/// How much the driver must write for its log to say who mounts what.
const VERBOSITY: u32 = 5;

/// See the module.
pub(super) struct DaemonLogs(PodLogs);

impl DaemonLogs {
    pub(super) fn of(logs: PodLogs) -> Self {
        Self(logs)
    }

    /// Driver and provider, as they are installed now.
    async fn programs(&self) -> Result<[Program; 2], String> {
        let daemons = self
            .0
            .daemons()
            .await
            .map_err(|error| format!("cannot {error}"))?;
        let found = |name: &'static str, container: fn(&DaemonView) -> Option<usize>| {
            let candidates = daemons.iter().filter_map(|daemon| {
                Some(Program {
                    name,
                    container: container(daemon)?,
                    daemon: daemon.clone(),
                })
            });
            // Other providers may be there, too: the last of the greatest is taken.
            candidates
                .max_by_key(|program| program.daemon.name.contains("aws"))
                .ok_or_else(|| format!("no DaemonSet of the cluster is a {name}"))
        };
        Ok([
            found("driver", driver_container)?,
            found("provider", provider_container)?,
        ])
    }
}

/// Driver or provider, and which of its containers it is.
struct Program {
    name: &'static str,
    daemon: DaemonView,
    container: usize,
}

impl Program {
    fn container(&self) -> &str {
        &self.daemon.containers[self.container].name
    }
}

impl ProgramLogs for DaemonLogs {
    fn verbosity(&self) -> BoxFuture<'_, Result<String, String>> {
        async {
            let [driver, _] = self.programs().await?;
            match verbosity(&driver.daemon.containers[driver.container].arguments) {
                Some(level) if level >= VERBOSITY => {
                    Ok(format!("the driver's DaemonSet has it run with -v={level}"))
                }
                Some(level) => Err(format!(
                    "the driver runs with -v={level}, and -v={VERBOSITY} is needed"
                )),
                None => Err(format!("the driver does not run with -v={VERBOSITY}")),
            }
        }
        .boxed()
    }

    fn logs(&self) -> BoxFuture<'_, Result<Vec<ProgramLog>, String>> {
        async {
            let mut logs = Vec::new();
            for program in self.programs().await? {
                let read = self
                    .0
                    .read(&program.daemon, program.container(), None, None, false)
                    .await;
                let read = read.map_err(|error| format!("cannot {error}"))?;
                // One text of all nodes: a pod is on one of them.
                let text = read.iter().map(|log| log.text.as_str()).collect();
                logs.push(ProgramLog {
                    name: program.name,
                    text,
                });
            }
            Ok(logs)
        }
        .boxed()
    }

    fn window<'a>(
        &'a self,
        nodes: &'a [String],
        last: Duration,
    ) -> BoxFuture<'a, Result<Vec<WindowLog>, String>> {
        async move {
            let seconds = i64::try_from(last.as_secs())
                .unwrap_or(i64::MAX)
                .saturating_add(1);
            let mut logs = Vec::new();
            for program in self.programs().await? {
                let read = self.0.read(
                    &program.daemon,
                    program.container(),
                    Some(nodes),
                    Some(seconds),
                    true,
                );
                let read = read.await;
                for log in read.map_err(|error| format!("cannot {error}"))? {
                    logs.push(WindowLog {
                        name: program.name,
                        node: log.node,
                        ended: log.previous,
                        text: log.text,
                    });
                }
            }
            Ok(logs)
        }
        .boxed()
    }
}

fn driver_container(daemon: &DaemonView) -> Option<usize> {
    daemon.containers.iter().position(|container| {
        let has = |flag: &&str| {
            let mut arguments = container.arguments.iter();
            arguments.any(|argument| argument.trim_start_matches('-').starts_with(*flag))
        };
        DRIVER_FLAGS.iter().all(has)
    })
}

/// The first one: beside it there are at most helpers.
fn provider_container(daemon: &DaemonView) -> Option<usize> {
    let mut folders = daemon
        .host_folders
        .iter()
        .map(|folder| folder.trim_end_matches('/'));
    let serves = folders.any(|folder| PROVIDER_FOLDERS.contains(&folder));
    (serves && driver_container(daemon).is_none() && !daemon.containers.is_empty()).then_some(0)
}

/// The number after `-v` or `--v`, the last one given.
fn verbosity(arguments: &[String]) -> Option<u32> {
    let mut found = None;
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let level = match argument.trim_start_matches('-') {
            "v" => arguments.next().map(String::as_str),
            flag if argument.starts_with('-') => flag.strip_prefix("v="),
            _ => None,
        };
        found = level.and_then(|level| level.parse().ok()).or(found);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::DaemonContainer;

    #[expect(
        clippy::field_reassign_with_default,
        reason = "its selector is nobody else's to give"
    )]
    fn daemon(containers: &[&str], folder: &str) -> DaemonView {
        let containers = containers.iter().map(|arguments| DaemonContainer {
            name: "it".to_owned(),
            arguments: arguments.split_whitespace().map(str::to_owned).collect(),
        });
        let mut daemon = DaemonView::default();
        daemon.host_folders = vec!["/var/lib/kubelet".to_owned(), folder.to_owned()];
        daemon.containers = containers.collect();
        daemon
    }

    #[test]
    fn driver_and_provider_are_told_by_what_they_are_given() {
        let served = "/var/run/secrets-store-csi-providers";
        let driver: &[&str] = &[
            "--v=5",
            "--nodeid=x --provider-volume=/var/run/secrets-store-csi-providers",
        ];
        let provider: &[&str] = &[
            "--provider-volume=/var/run/secrets-store-csi-providers --qps=5",
            "",
        ];
        for (what, daemon, of_driver, of_provider) in [
            ("the driver", daemon(driver, served), Some(1), None),
            ("a provider", daemon(provider, served), None, Some(0)),
            (
                "a provider of before",
                daemon(provider, "/etc/kubernetes/secrets-store-csi-providers/"),
                None,
                Some(0),
            ),
            (
                "something else",
                daemon(provider, "/var/lib/kubelet/plugins"),
                None,
                None,
            ),
            ("nothing", daemon(&[], served), None, None),
        ] {
            let found = (driver_container(&daemon), provider_container(&daemon));
            assert_eq!(found, (of_driver, of_provider), "{what}");
        }
    }

    #[test]
    fn verbosity_is_read_as_klog_reads_it() {
        for (arguments, level) in [
            ("-v=5", Some(5)),
            ("--v=2 --nodeid=x", Some(2)),
            ("-v 6", Some(6)),
            ("--v=0 -v=5", Some(5)),
            ("--nodeid=v=5", None),
            ("v=5", None),
            ("", None),
        ] {
            let arguments: Vec<String> = arguments.split_whitespace().map(str::to_owned).collect();
            assert_eq!(verbosity(&arguments), level, "{arguments:?}");
        }
    }
}
