//! What carries the label of any run, by its metadata alone: nothing that a Secret holds is asked for.

use jiff::Timestamp;
use kube::{
    api::ListParams,
    core::{ObjectMeta, PartialObjectMeta},
};

use super::{Kubernetes, KubernetesError, ObjectRef, PAGE, limited};
use crate::tenant::{DISPLACED_LABEL, Marks, RUN_LABEL, TENANT_LABEL};

/// Something that carries a run's label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked {
    /// What it is.
    pub object: ObjectRef,
    /// The run's id.
    pub run: String,
    /// Whether it is a tenant's, or all share it.
    pub of_tenant: bool,
    /// Somebody else's object, which it keeps and which is to be put back.
    pub displaced: Option<ObjectRef>,
    /// Whether something else makes it, and makes it again: a pod of a `Deployment`.
    pub controlled: bool,
    /// When it was made.
    pub created: Option<Timestamp>,
}

impl Kubernetes {
    /// Every object of a kind, anywhere, that carries a run's label: `of` this run, or of any. A kind that the API does not
    /// serve has none.
    ///
    /// # Errors
    ///
    /// As the API answers; 403 where it may not be looked at.
    pub async fn marked(
        &self,
        api_version: &str,
        kind: &str,
        of: Option<&Marks>,
    ) -> Result<Vec<Marked>, KubernetesError> {
        let api = self.api(&ObjectRef::new(api_version, kind, None, ""));
        let selector = of.map_or_else(Marks::selector_of_all, Marks::selector);
        let mut params = ListParams::default().limit(PAGE).labels(&selector);
        let mut found = Vec::new();
        loop {
            let page = match limited(api.list_metadata(&params)).await {
                Ok(page) => page,
                Err(kube::Error::Api(status)) if status.code == 404 => return Ok(found),
                Err(error) => return Err(KubernetesError::of(format!("list {kind} objects"), error)),
            };
            let next = page.metadata.continue_.clone().filter(|token| !token.is_empty());
            let items = page.items.into_iter();
            found.extend(
                items.filter_map(|PartialObjectMeta { metadata, .. }| marked(api_version, kind, metadata)),
            );
            match next {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(found),
            }
        }
    }
}

/// What is read off an object's metadata; nothing where it carries no run's label.
fn marked(api_version: &str, kind: &str, metadata: ObjectMeta) -> Option<Marked> {
    let labels = metadata.labels.unwrap_or_default();
    let annotations = metadata.annotations.unwrap_or_default();
    let owners = metadata.owner_references.unwrap_or_default();
    Some(Marked {
        object: ObjectRef::new(
            api_version,
            kind,
            metadata.namespace.as_deref(),
            metadata.name.as_deref()?,
        ),
        run: labels.get(RUN_LABEL)?.clone(),
        of_tenant: labels.contains_key(TENANT_LABEL),
        displaced: labels
            .contains_key(DISPLACED_LABEL)
            .then(|| serde_json::from_str(annotations.get(DISPLACED_LABEL)?).ok())
            .flatten(),
        controlled: owners.iter().any(|owner| owner.controller == Some(true)),
        created: metadata.creation_timestamp.map(|time| time.0),
    })
}
