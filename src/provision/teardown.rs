//! Takes everything on record away again, and looks for what is left.

use std::{
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};

use super::ledger::{Ledger, Object};
use crate::{
    environment::Environment,
    journal::LeftoverFound,
    kubernetes::ObjectRef,
    tenant::{ClusterName, Marks},
};

/// Removals at a time.
const PARALLEL: usize = 16;

/// Longest wait for one object to be gone.
const PATIENCE: Duration = Duration::from_secs(60);

/// In the folder of a run's own, so that nothing else is ever taken for one.
pub const MARKER: &str = ".mountproof-run";

/// What a teardown came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Teardown {
    /// Objects removed.
    pub removed: u32,
    /// Objects that are still there.
    pub left: Vec<LeftoverFound>,
}

impl Teardown {
    /// Removes what `ledger` has on record in `environment`, the last made first, then asks both
    /// worlds for anything of the run's, on record or not. Keeps going when something fails.
    pub async fn run(environment: &Environment, ledger: &Ledger, marks: &Marks, cluster: &ClusterName) -> Self {
        let mut report = Self::default();
        let standing = ledger.standing();
        for group in groups(&standing) {
            let ended: Vec<(Object, Result<(), String>)> = stream::iter(group)
                .map(|object| async move {
                    let result = remove(environment, &object).await;
                    (object, result)
                })
                .buffer_unordered(PARALLEL)
                .collect()
                .await;
            for (object, result) in ended {
                match result {
                    Ok(()) => {
                        ledger.removed(&object);
                        report.removed += 1;
                    }
                    Err(because) => report.left.push(LeftoverFound { object: object.to_string(), because }),
                }
            }
        }
        report.left.extend(strays(environment, marks, cluster.as_str(), &report.left).await);
        report
    }
}

/// What is removed together, in order: workloads and classes go with their namespace, roles before
/// the policies attached to them, what everything needs last. Folders are not the environment's.
fn groups(standing: &[Object]) -> Vec<Vec<Object>> {
    let rank = |object: &Object| match object {
        Object::Kubernetes(reference) if reference.namespace.is_some() => Some(0),
        Object::Kubernetes(reference) if reference.kind == "Namespace" => Some(1),
        Object::Secret(_) | Object::Role(_) => Some(2),
        Object::Policy(_) | Object::OidcProvider(_) => Some(3),
        Object::Kubernetes(_) => Some(4),
        Object::Scratch(_) => None,
    };
    (0..=4).map(|group| standing.iter().rev().filter(|object| rank(object) == Some(group)).cloned().collect()).collect()
}

pub(super) async fn remove(environment: &Environment, object: &Object) -> Result<(), String> {
    let aws = &environment.aws;
    match object {
        Object::Kubernetes(reference) => remove_kubernetes(environment, reference).await.map_err(|error| error.to_string()),
        Object::OidcProvider(arn) => aws.remove_oidc(arn).await.map_err(|error| error.to_string()),
        Object::Policy(arn) => aws.remove_policy(arn).await.map_err(|error| error.to_string()),
        Object::Role(name) => aws.remove_role(name).await.map_err(|error| error.to_string()),
        Object::Secret(name) => aws.remove_secret(name).await.map_err(|error| error.to_string()),
        Object::Scratch(_) => Ok(()),
    }
}

async fn remove_kubernetes(
    environment: &Environment,
    reference: &ObjectRef,
) -> Result<(), crate::kubernetes::KubernetesError> {
    environment.kubernetes.delete(reference).await?;
    environment.kubernetes.wait_gone(reference, Instant::now() + PATIENCE).await
}

/// Objects of the run's that no line of the ledger speaks of, or that came back.
async fn strays(
    environment: &Environment,
    marks: &Marks,
    cluster: &str,
    known: &[LeftoverFound],
) -> Vec<LeftoverFound> {
    let mut found: Vec<LeftoverFound> = Vec::new();
    let mut note = |object: String, because: &str| {
        if !known.iter().any(|left| left.object == object) {
            found.push(LeftoverFound { object, because: because.to_owned() });
        }
    };
    for (api_version, kind) in [("v1", "Namespace"), ("v1", "Pod"), ("storage.k8s.io/v1", "CSIDriver")] {
        match environment.kubernetes.list(api_version, kind, None, Some(marks)).await {
            Ok(objects) => {
                for object in objects {
                    // Lists leave out what kind their items are.
                    let mut reference = ObjectRef::of(&object);
                    kind.clone_into(&mut reference.kind);
                    note(reference.to_string(), "carries the run's label");
                }
            }
            Err(error) => note(format!("{kind} objects"), &format!("could not be listed: {error}")),
        }
    }
    let aws = &environment.aws;
    let prefix = format!("{cluster}-");
    match aws.iam_leftovers(&prefix, &aws.oidc_arn(&environment.issuer)).await {
        Ok(left) => left.into_iter().for_each(|object| note(object, "carries the run's name")),
        Err(error) => note("IAM objects".to_owned(), &format!("could not be listed: {error}")),
    }
    match aws.secret_leftovers(&format!("{cluster}/")).await {
        Ok(left) => left.into_iter().for_each(|object| note(object, "carries the run's name")),
        Err(error) => note("secrets".to_owned(), &format!("could not be listed: {error}")),
    }
    found
}

/// Unmounts what is mounted below a run's own folder and removes the folder. Refuses a folder that
/// does not carry the marker of a run.
pub fn scratch_removed(folder: &Path) -> io::Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    if !folder.join(MARKER).is_file() {
        return Err(io::Error::other(format!("{} does not carry {MARKER}: not a run's own folder", folder.display())));
    }
    // The marker goes last: whatever fails before can be tried again.
    let mut mounts = mounts_below(folder)?;
    mounts.sort_by_key(|mount| std::cmp::Reverse(mount.len()));
    for mount in mounts {
        rustix::mount::unmount(mount.as_str(), rustix::mount::UnmountFlags::DETACH)?;
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name() == MARKER {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    fs::remove_dir_all(folder)
}

/// Mount points below `folder`, as the kernel lists them.
fn mounts_below(folder: &Path) -> io::Result<Vec<String>> {
    let folder = folder.canonicalize()?;
    let table = fs::read_to_string("/proc/self/mounts")?;
    Ok(table
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .map(|mount| mount.replace("\\040", " "))
        .filter(|mount| Path::new(mount).starts_with(&folder))
        .collect())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;

    #[test]
    fn roles_go_before_policies_and_namespaces_before_what_they_need() {
        let namespace = Object::Kubernetes(ObjectRef::new("v1", "Namespace", None, "a"));
        let pod = Object::Kubernetes(ObjectRef::new("v1", "Pod", Some("a"), "p"));
        let driver = Object::Kubernetes(ObjectRef::new("storage.k8s.io/v1", "CSIDriver", None, "d"));
        let (role, policy) = (Object::Role("r".into()), Object::Policy("p".into()));
        let standing = [driver, policy, role, namespace, pod, Object::Scratch("/nowhere".into())];
        let order: Vec<String> = groups(&standing).concat().iter().map(Object::to_string).collect();
        assert_eq!(order, ["Pod a/p", "Namespace a", "iam role r", "iam policy p", "CSIDriver d"]);
    }

    #[test]
    fn only_a_folder_with_the_marker_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let other = root.path().join("other");
        fs::create_dir(&other).unwrap();
        assert!(scratch_removed(&other).is_err());
        assert!(other.exists());
        let own = root.path().join("own");
        fs::create_dir_all(own.join("deep/er")).unwrap();
        fs::write(own.join(MARKER), "").unwrap();
        fs::write(own.join("deep/er/file"), "x").unwrap();
        scratch_removed(&own).unwrap();
        assert!(!own.exists());
        scratch_removed(&own).unwrap();
    }
}
