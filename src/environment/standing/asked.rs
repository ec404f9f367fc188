//! Asks the cluster what else could be in the way of a run: rights that are lacking, namespaces that are somebody's.

use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, future::BoxFuture, stream};

use super::{
    judge::Problem,
    rights::{Does, Right, lacking, question, required_rights},
};
use crate::{
    kubernetes::{Kubernetes, KubernetesError, ObjectRef},
    tenant::RUN_LABEL,
};

/// Questions at a time.
const PARALLEL: usize = 16;

/// Right and verb that are refused; nothing for one that is granted.
type Answer = Result<Option<(Right, &'static str)>, KubernetesError>;

/// What this user may not do of all that a run does, in words.
///
/// # Errors
///
/// When the API does not answer.
pub(super) async fn rights(kubernetes: &Kubernetes, does: Does) -> Result<Option<Problem>, KubernetesError> {
    let mut questions: Vec<BoxFuture<'_, Answer>> = Vec::new();
    for right in required_rights(does) {
        for verb in right.verbs {
            let asked = async move {
                let may = kubernetes.may(&question(&right, verb)).await?;
                Ok((may == Some(false)).then_some((right, *verb)))
            };
            questions.push(asked.boxed());
        }
    }
    let answers = stream::iter(questions).buffered(PARALLEL);
    let refused: Vec<Option<(Right, &'static str)>> = answers.try_collect().await?;
    let refused: Vec<(Right, &'static str)> = refused.into_iter().flatten().collect();
    Ok(lacking(&refused).map(|what| Problem {
        fatal: true,
        what,
        why: "a run would end half-way".to_owned(),
        help: "bind the role, then run again".to_owned(),
    }))
}

/// Namespaces of tenants that are there already.
///
/// # Errors
///
/// When the API does not answer.
pub(super) async fn namespaces(
    kubernetes: &Kubernetes,
    namespaces: &[String],
) -> Result<Option<Problem>, KubernetesError> {
    let mut taken = Vec::new();
    for name in namespaces {
        let namespace = ObjectRef::new("v1", "Namespace", None, name);
        if let Some(found) = kubernetes.read(&namespace).await? {
            taken.push(match found["metadata"]["labels"][RUN_LABEL].as_str() {
                Some(run) => format!("{name} (of run {run})"),
                None => name.clone(),
            });
        }
    }
    Ok((!taken.is_empty()).then(|| Problem {
        fatal: true,
        what: format!(
            "namespaces of the run's tenants are there already: {}",
            taken.join(", ")
        ),
        why: "a run makes its tenants' namespaces, and removes them with everything in them".to_owned(),
        help: "name other tenants with --tenants, or finish the run that they are of: mountproof sweep"
            .to_owned(),
    }))
}
