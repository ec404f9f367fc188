//! PURE. A tenant on paper: names, IAM documents, tags, and Kubernetes manifests.
//!
//! A tenant is a namespace whose `default` `ServiceAccount` is annotated with a role, that role's
//! policy, and secrets under a path of their own. The names are those of the Terraform from which
//! everything started:
//!
//! ```text
//! namespace             team-red
//! role                  <cluster>-team-red-secrets-manager-role
//! policy                <cluster>-team-red-secrets-manager-policy
//! secret                <cluster>/team-red/secret
//! SecretProviderClass   team-red-secret
//! file in the pod       <cluster>_team-red_secret
//! ```

mod class;
mod cluster;
mod documents;
mod identity;
mod marks;
mod names;
mod workload;

pub use class::{ClassManifest, ClassObject, MountedFile, PathTranslation, Source};
pub use cluster::{CSI_DRIVER, PROVIDER, csi_driver, custom_resource_definitions};
pub use documents::{AUDIENCE, boundary_policy, denying_policy, identity_policy, trust_policy};
pub use identity::Identity;
pub use marks::{Marks, RUN_LABEL, RUN_TAG, TENANT_LABEL, TENANT_TAG, WORKLOAD_LABEL};
pub use names::{
    ClusterName, NameError, TENANT_SECRET, TenantNames, case_secret, fingerprint_of, numbered, parse_tenants,
    workload_name,
};
pub use workload::{MOUNT_PATH, ROLE_ANNOTATION, VOLUME, WorkloadManifest, namespace, service_account};
