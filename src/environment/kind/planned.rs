//! PURE. What a run in a cluster makes of this machine, in words.

use super::{KindOptions, Stay};

/// Memory of a node that is control plane too, and of one that only works, with nothing but its own programs, in MiB: seen.
const MEMORY: (u64, u64) = (500, 115);

impl KindOptions {
    /// What would be made, and what becomes of it: a line each.
    #[must_use]
    pub fn planned(&self) -> Vec<String> {
        let image = self.image.as_deref().unwrap_or("kind's own image");
        let nodes = match (&self.config, self.workers) {
            (Some(config), _) => format!("the nodes of {}", config.display()),
            (None, 0) => "1 node".to_owned(),
            (None, workers) => format!("{} nodes", workers + 1),
        };
        let (name, becomes) = match &self.stay {
            Stay::Never => ("mountproof-RUNID", "deleted at the end".to_owned()),
            Stay::AfterFailure => (
                "mountproof-RUNID",
                "deleted at the end if the run passes, else kept as it is".to_owned(),
            ),
            Stay::Always(name) => (
                name.as_str(),
                "used if it is there, made if not, and left: what the run makes in it is removed".to_owned(),
            ),
        };
        let mut lines = vec![
            format!("kind: the cluster {name}, {nodes} of {image}; {becomes}"),
            format!("driver and provider: {} on its nodes", self.installation.named()),
            "a container and a volume for each node, Docker's network kind if it is not there yet; no kubeconfig changes".to_owned(),
        ];
        if let Some(then) = &self.then {
            lines.push(format!(
                "in the middle of the run: {} in their place",
                then.named()
            ));
        }
        if self.config.is_none() {
            let (control_plane, worker) = MEMORY;
            let memory = control_plane + worker * u64::from(self.workers);
            lines.push(format!(
                "about {memory} MiB of memory before the first pod; about {} s to stand up on 2 processors with the images at hand",
                25 + 5 * self.workers
            ));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_becomes_of_the_cluster_is_said() {
        for (stay, words) in [
            (
                Stay::Never,
                "the cluster mountproof-RUNID, 3 nodes of node:1; deleted at the end",
            ),
            (Stay::AfterFailure, "else kept as it is"),
            (
                Stay::Always("three".to_owned()),
                "the cluster three, 3 nodes of node:1; used if it is there",
            ),
        ] {
            let options = KindOptions {
                image: Some("node:1".to_owned()),
                workers: 2,
                stay,
                ..KindOptions::default()
            };
            let planned = options.planned().join("\n");
            assert!(planned.contains(words), "{planned}");
            assert!(planned.contains("730 MiB"), "{planned}");
        }
    }
}
