//! What a machine offers to `--env kind`, before anything is made.

use std::{path::Path, time::Duration};

use super::{
    super::installation,
    kept::KeptClusters,
    program::{Kind, docker},
};

/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(20);

/// What one look came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// As it should be.
    Good(String),
    /// Works, with less.
    Less(String),
    /// No cluster can be had.
    Missing(String),
}

/// Looks at what a cluster needs. By name, in reading order; what needs something that is missing is not looked at.
pub async fn look(program: Option<&Path>) -> Vec<(&'static str, Found)> {
    let mut found = Vec::new();
    let kind = Kind::program(program).await;
    found.push((
        "kind",
        match kind {
            Ok(kind) => Found::Good(format!("{} {}", kind.path().display(), kind.version())),
            Err(error) => Found::Missing(error.to_string()),
        },
    ));
    let format = "{{.Server.Version}} (API {{.Server.APIVersion}}), command {{.Client.Version}}";
    let version = docker(["version", "--format", format], ANSWER).await;
    let answers = version.is_ok();
    found.push((
        "docker",
        match version {
            Ok(version) => Found::Good(format!("Engine {version}")),
            Err(error) => Found::Missing(error.to_string()),
        },
    ));
    if answers {
        let cgroup = docker(["info", "--format", "{{.CgroupVersion}}"], ANSWER).await;
        found.push(("cgroups", cgroups(cgroup.as_deref().unwrap_or("unknown"))));
        found.push(("images", images().await));
    }
    found.push((
        "node files",
        if rustix::process::geteuid().is_root() {
            Found::Good("can be read: this is root".to_owned())
        } else {
            Found::Missing(
                "cannot be read: they are read through the nodes' processes, which is root's to do"
                    .to_owned(),
            )
        },
    ));
    let kept: Vec<String> = KeptClusters::of_this_user()
        .all()
        .into_iter()
        .map(|cluster| cluster.name)
        .collect();
    if !kept.is_empty() {
        let names = kept.join(", ");
        found.push((
            "kept clusters",
            Found::Good(format!("{names} (`mountproof down --list`)")),
        ));
    }
    found
}

/// PURE: what a version of control groups means.
fn cgroups(version: &str) -> Found {
    match version {
        "2" => Found::Good("version 2".to_owned()),
        version => Found::Less(format!(
            "version {version}: kubelet 1.35 and later refuse it unless the node's image says failCgroupV1: false"
        )),
    }
}

/// Which of the images that are taken by default need not be pulled.
async fn images() -> Found {
    let mut pulled: Vec<String> = Vec::new();
    for image in installation::default_images() {
        if docker(["image", "inspect", "--format", "{{.Id}}", &image], ANSWER)
            .await
            .is_err()
        {
            pulled.push(image);
        }
    }
    if pulled.is_empty() {
        return Found::Good("driver, provider and registrar are in Docker".to_owned());
    }
    Found::Less(format!(
        "the nodes are to pull {}; where they cannot, name images that Docker has: --driver-image, --provider-image, \
         --registrar-image",
        pulled.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_control_groups_are_said() {
        assert!(matches!(cgroups("2"), Found::Good(_)));
        assert!(matches!(cgroups("1"), Found::Less(said) if said.contains("failCgroupV1")));
    }
}
