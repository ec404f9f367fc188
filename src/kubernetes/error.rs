//! A call that the Kubernetes API did not answer as hoped.

/// A call that the Kubernetes API did not answer as hoped.
#[derive(Debug, thiserror::Error)]
#[error("{action}: {message}")]
pub struct KubernetesError {
    /// What was tried, as in `create Pod team-red/app`.
    pub action: String,
    /// HTTP status; none when there was no answer.
    pub status: Option<u16>,
    /// What came back.
    pub message: String,
}

impl KubernetesError {
    pub(super) fn of(action: String, error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self {
                action,
                status: Some(status.code),
                message: status.message.clone(),
            },
            other => Self {
                action,
                status: None,
                message: chain(&other),
            },
        }
    }

    /// Whether the API answered at all.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        self.status.is_some()
    }
}

/// An error and its causes on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
