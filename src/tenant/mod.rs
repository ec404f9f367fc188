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
//!
//! Its other way in, EKS Pod Identity, has a role and a class of its own beside them, so that whoever reads a log knows which
//! way a pod came: `<cluster>-team-red-secrets-manager-pod-role`, `team-red-secret-pod-identity`.

mod class;
mod cluster;
mod documents;
mod identity;
mod marks;
mod names;
mod pod_identity;
mod workload;

pub use class::{ClassManifest, ClassObject, MountedFile, PathTranslation, Source};
pub use cluster::{CSI_DRIVER, PROVIDER, TOKEN_AUDIENCES, csi_driver, custom_resource_definitions};
pub use documents::{AUDIENCE, boundary_policy, denying_policy, identity_policy, trust_policy};
pub use identity::Identity;
pub use marks::{DISPLACED_LABEL, Marks, RUN_LABEL, RUN_TAG, TENANT_LABEL, TENANT_TAG, WORKLOAD_LABEL};
pub use names::{
    ClusterName, NameError, TENANT_SECRET, TenantNames, case_secret, fingerprint_of, numbered, parse_tenants,
    workload_name,
};
pub use pod_identity::{EksCluster, POD_AUDIENCE, agent_policy, node_trust_policy, pod_trust_policy};
pub use workload::{MOUNT_PATH, ROLE_ANNOTATION, VOLUME, WorkloadManifest, namespace, service_account};
