//! What marks an object as a run's own, in Kubernetes and in AWS.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Label with the run id.
pub const RUN_LABEL: &str = "mountproof.dev/run";
/// Label with the tenant.
pub const TENANT_LABEL: &str = "mountproof.dev/tenant";
/// Label with the workload, on its pods too.
pub const WORKLOAD_LABEL: &str = "mountproof.dev/workload";
/// Label of what keeps somebody else's object that is to be put back, and the annotation that says which it is.
pub const DISPLACED_LABEL: &str = "mountproof.dev/displaced";
/// Label that is on everything of any run's, with its value.
const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "mountproof");
/// AWS tag with the run id.
pub const RUN_TAG: &str = "mountproof:run";
/// AWS tag with the tenant.
pub const TENANT_TAG: &str = "mountproof:tenant";

/// The marks of one run, or of one tenant in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marks {
    run: String,
    tenant: Option<String>,
}

impl Marks {
    /// Marks of what all tenants of a run share.
    #[must_use]
    pub fn of_run(run: &str) -> Self {
        Self {
            run: run.to_owned(),
            tenant: None,
        }
    }

    /// The same run's marks for one tenant.
    #[must_use]
    pub fn of_tenant(&self, tenant: &str) -> Self {
        Self {
            run: self.run.clone(),
            tenant: Some(tenant.to_owned()),
        }
    }

    /// The run id.
    #[must_use]
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Kubernetes labels.
    #[must_use]
    pub fn labels(&self) -> Map<String, Value> {
        let mut labels = Map::new();
        let (managed_by, us) = MANAGED_BY;
        labels.insert(managed_by.to_owned(), json!(us));
        labels.insert(RUN_LABEL.to_owned(), json!(self.run));
        if let Some(tenant) = &self.tenant {
            labels.insert(TENANT_LABEL.to_owned(), json!(tenant));
        }
        labels
    }

    /// AWS tags.
    #[must_use]
    pub fn tags(&self) -> BTreeMap<String, String> {
        let mut tags = BTreeMap::from([(RUN_TAG.to_owned(), self.run.clone())]);
        if let Some(tenant) = &self.tenant {
            tags.insert(TENANT_TAG.to_owned(), tenant.clone());
        }
        tags
    }

    /// Selects every object of the run.
    #[must_use]
    pub fn selector(&self) -> String {
        format!("{RUN_LABEL}={}", self.run)
    }

    /// Selects every object of any run: a run sets both labels on all that it makes.
    #[must_use]
    pub fn selector_of_all() -> String {
        let (managed_by, us) = MANAGED_BY;
        format!("{RUN_LABEL},{managed_by}={us}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_bears_the_marks_of_its_run() {
        let run = Marks::of_run("7f3k");
        let tenant = run.of_tenant("team-red");
        assert_eq!(run.selector(), tenant.selector());
        assert_eq!(
            Value::Object(tenant.labels()),
            json!({
                "app.kubernetes.io/managed-by": "mountproof",
                "mountproof.dev/run": "7f3k",
                "mountproof.dev/tenant": "team-red",
            })
        );
        assert_eq!(
            tenant.tags().into_iter().collect::<Vec<_>>(),
            [
                ("mountproof:run".to_owned(), "7f3k".to_owned()),
                ("mountproof:tenant".to_owned(), "team-red".to_owned())
            ]
        );
        assert_eq!(run.tags().len(), 1);
    }
}
