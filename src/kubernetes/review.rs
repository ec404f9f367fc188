//! What the harness itself may do, by the API's own word.

use serde_json::Value;

use super::{Kubernetes, KubernetesError, limited};

impl Kubernetes {
    /// Whether this client may do what a `SelfSubjectAccessReview` asks about; nothing where the API answers no such question.
    /// <https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access>
    ///
    /// # Errors
    ///
    /// When it does not answer at all.
    pub async fn may(&self, review: &Value) -> Result<Option<bool>, KubernetesError> {
        let action = || "ask Kubernetes what this user may do".to_owned();
        let request = http::Request::post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(review.to_string().into_bytes())
            .map_err(|error| KubernetesError {
                action: action(),
                status: None,
                message: error.to_string(),
            })?;
        match limited(self.client.request::<Value>(request)).await {
            Ok(answer) => Ok(answer["status"]["allowed"].as_bool()),
            Err(kube::Error::Api(status)) if matches!(status.code, 403..=405) => Ok(None),
            Err(error) => Err(KubernetesError::of(action(), error)),
        }
    }
}
