//! The flags of clusters that are there already: `--env cluster`, and what every such environment has.

use std::{io, path::PathBuf};

use clap::Args;

use super::{
    allowed::{Doing, Place, allowed},
    output::{Output, USAGE},
};
use crate::{
    environment::{ClusterAws, ClusterOptions, standing::SharedOptions},
    kubernetes::{Kubeconfigs, KubernetesAccess},
    report::ExitCode,
};

/// Pods a second in a cluster that others use too, where nobody says otherwise: one of two small nodes starts that many without a
/// queue.
pub(super) const POD_RATE: f64 = 3.0;

/// Which cluster.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Cluster environment (--env cluster)")]
pub struct ClusterArgs {
    /// The kubeconfig [default: KUBECONFIG, else ~/.kube/config].
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// The context in it [default: the current one].
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,

    /// Contexts that may be used without being asked; others are refused where one is given. Without a terminal the context
    /// has to stand here, or in `allow: { contexts: [..] }` of ~/.config/mountproof/config.yaml.
    #[arg(long, value_name = "NAME,..", value_delimiter = ',')]
    pub allow_context: Vec<String>,
}

/// What becomes of driver and provider in a cluster that is there.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Clusters that are there")]
pub struct StandingArgs {
    /// Install what is missing of driver and provider, and remove it at the end; so does every flag that says what (--driver-..,
    /// --provider-..). What is there is used as it is.
    #[arg(long)]
    pub install: bool,

    /// Replace the driver and provider that are there for the time of the run, those that are named (--driver-.., --provider-..) or
    /// both, and put them back as they were.
    #[arg(long)]
    pub replace_driver: bool,
}

impl ClusterArgs {
    /// The first flag that was given.
    #[must_use]
    pub fn first_given(&self) -> Option<&'static str> {
        [
            (self.kubeconfig.is_some(), "--kubeconfig"),
            (self.context.is_some(), "--context"),
            (!self.allow_context.is_empty(), "--allow-context"),
        ]
        .into_iter()
        .find_map(|(given, flag)| given.then_some(flag))
    }

    /// As the environment takes them.
    #[must_use]
    pub fn options(&self, aws: ClusterAws, shared: SharedOptions) -> ClusterOptions {
        ClusterOptions {
            kubeconfig: Kubeconfigs::of(self.kubeconfig.as_deref()),
            context: self.context.clone(),
            aws,
            shared,
        }
    }

    /// Whether the context that is meant may be used; the exit code where not, with what is in the way printed.
    ///
    /// # Errors
    ///
    /// When a stream cannot be read or written.
    pub fn may_be_used(
        &self,
        options: &ClusterOptions,
        output: &mut Output<'_>,
    ) -> io::Result<Result<(), u8>> {
        let found = match KubernetesAccess::of_context(&options.kubeconfig, options.context.as_deref()) {
            Ok(found) => found,
            Err(because) => {
                writeln!(output.err, "error: kubeconfig: {because}")?;
                return Ok(Err(ExitCode::EnvironmentUnavailable.code()));
            }
        };
        let may = allowed(
            Doing::Run,
            Place::Context,
            &found.name,
            &self.allow_context,
            output,
        )?;
        Ok(if may { Ok(()) } else { Err(USAGE) })
    }
}

impl StandingArgs {
    /// The first flag that was given.
    #[must_use]
    pub fn first_given(&self) -> Option<&'static str> {
        if self.install {
            Some("--install")
        } else {
            self.replace_driver.then_some("--replace-driver")
        }
    }
}
