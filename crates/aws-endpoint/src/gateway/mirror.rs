//! What is written to IAM here, sent on to the backend in the same order, for those who look there.
//!
//! The backend decides nothing by it: a document that it does not take is a warning in the log and no more.

use bytes::Bytes;
use tokio::{sync::mpsc, task::JoinHandle};

use super::{client::Client, questions};

/// Calls that may wait. More come only from whoever writes faster than the backend for long.
const WAITING: usize = 10_000;
/// IAM has no region.
const REGION: &str = "us-east-1";

/// Sends on until it is dropped.
pub(super) struct Mirror {
    waiting: mpsc::Sender<(String, Bytes)>,
    sending: JoinHandle<()>,
}

impl Mirror {
    pub(super) fn start(client: Client) -> Self {
        let (waiting, mut calls) = mpsc::channel::<(String, Bytes)>(WAITING);
        // One after the other: a policy is attached after it is made.
        let sending = tokio::spawn(async move {
            while let Some((operation, form)) = calls.recv().await {
                match client.send(&questions::iam(form), REGION).await {
                    Ok(answer) if answer.status < 300 => {}
                    Ok(answer) => {
                        let status = answer.status;
                        tracing::warn!(operation, status, "the backend does not take what IAM was told");
                    }
                    Err(error) => tracing::warn!(operation, %error, "IAM is not mirrored"),
                }
            }
        });
        Self { waiting, sending }
    }

    /// Sends on a call that was carried out here.
    pub(super) fn send(&self, operation: &str, form: Bytes) {
        if changes(operation) && self.waiting.try_send((operation.to_owned(), form)).is_err() {
            tracing::warn!(operation, "IAM is not mirrored: the backend is too slow");
        }
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.sending.abort();
    }
}

/// Whether an operation of IAM writes.
fn changes(operation: &str) -> bool {
    !["Get", "List", "Simulate", "Generate"]
        .iter()
        .any(|reading| operation.starts_with(reading))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_of_iam_is_known_to_read_or_to_write() {
        let (writing, reading): (Vec<_>, Vec<_>) =
            crate::iam::service::operations().partition(|operation| changes(operation));
        for known in [
            "CreateRole",
            "AttachRolePolicy",
            "CreateOpenIDConnectProvider",
            "TagRole",
        ] {
            assert!(writing.contains(&known), "{known}");
        }
        for known in ["GetRole", "ListRoles", "ListEntitiesForPolicy"] {
            assert!(reading.contains(&known), "{known}");
        }
    }
}
