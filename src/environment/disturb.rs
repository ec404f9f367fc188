//! What a scenario may do to the node's programs and to AWS. It is undone when its case ends.

use std::time::Duration;

use futures::future::BoxFuture;

use super::Environment;
use crate::scenario::model::Rotation;

/// The driver and the provider of the node, which can be ended and started anew here.
pub trait ProgramControl: Send + Sync {
    /// Kills the driver where it stands, as SIGKILL does. It stays down until it is started anew.
    fn kill_driver(&self) -> BoxFuture<'_, ()>;
    /// Starts the driver anew, ended in order where it runs, rotating as it did or as is said.
    fn restart_driver(&self, rotation: Option<Rotation>) -> BoxFuture<'_, Result<(), String>>;
    /// Ends the provider in order and starts it anew, its socket where it was or in the other of the driver's two folders, and
    /// with `--driver-writes-secrets` or without.
    fn restart_provider(&self, moves: bool, driver_writes_secrets: bool)
    -> BoxFuture<'_, Result<(), String>>;
    /// Has both as they were when the environment stood. Does nothing where they are.
    fn restore(&self) -> BoxFuture<'_, Result<(), String>>;
}

/// AWS's moods, where the endpoint is ours.
pub trait AwsFaults: Send + Sync {
    /// Has AWS take so long for every answer from now on; without a time it is well again.
    fn set_latency(&self, latency: Option<Duration>) -> BoxFuture<'_, ()>;
}

impl Environment {
    /// Undoes all that scenarios did to AWS and to the node's programs.
    ///
    /// # Errors
    ///
    /// When a program cannot be started anew.
    pub async fn calm(&self) -> Result<(), String> {
        if let Some(aws) = &self.aws_faults {
            aws.set_latency(None).await;
        }
        match &self.control {
            Some(control) => control.restore().await,
            None => Ok(()),
        }
    }
}
