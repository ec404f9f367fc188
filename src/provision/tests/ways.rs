//! Tenants by Pod Identity, in a cluster that is one of EKS's.

use super::{Stage, newest, requests};
use crate::{
    kubernetes::{ObjectRef, SECRETS_STORE},
    provision::{Annotation, ProvisionError, Provisioner, Tenant, TenantRequest},
    tenant::{self, Identity},
};
use tokio_util::sync::CancellationToken;

const CLUSTER: &str = "prod";

async fn provide(
    provisioner: &Provisioner,
    requests: Vec<TenantRequest>,
) -> Result<Vec<Tenant>, ProvisionError> {
    for manifest in tenant::custom_resource_definitions(provisioner.marks()) {
        provisioner.create(&manifest).await?;
    }
    let driver = tenant::csi_driver(provisioner.marks(), newest());
    provisioner.create(&driver).await?;
    let identities = requests[0].identities.clone();
    provisioner.provide_cluster(&identities).await?;
    provisioner
        .provide(requests, 8, &|_| {}, &CancellationToken::new())
        .await
}

fn through(names: &[&str], identities: &[Identity]) -> Vec<TenantRequest> {
    let mut requests = requests(names);
    for request in &mut requests {
        request.identities = identities.to_vec();
    }
    requests
}

impl Stage {
    /// Namespace and role of every association.
    async fn associations(&self) -> Vec<(String, String)> {
        let aws = self.aws();
        let mut found = Vec::new();
        for one in aws.associations(CLUSTER, None).await.unwrap() {
            let role = aws.association(CLUSTER, &one.id).await.unwrap().role_arn;
            found.push((one.namespace, role.rsplit('/').next().unwrap().to_owned()));
        }
        found.sort();
        found
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_of_both_ways_come_and_go_without_a_trace() {
    let stage = Stage::set_in(Some(CLUSTER)).await;
    let before = stage.there().await;
    let provisioner = stage.provisioner("ledger");
    let wanted = || through(&["team-red", "team-blue"], &Identity::ALL);
    let made = provide(&provisioner, wanted()).await.unwrap();
    let role = |tenant: &str| format!("mountproof-r1-{tenant}-secrets-manager-pod-role");
    let expected = ["team-blue", "team-red"].map(|tenant| (tenant.to_owned(), role(tenant)));
    assert_eq!(stage.associations().await, expected);
    let [red, _] = &made[..] else {
        panic!("two were asked for")
    };
    let pods = red.through(Identity::PodIdentity).unwrap();
    assert_eq!(pods.role, role("team-red"));
    assert_ne!(pods.role, red.through(Identity::Irsa).unwrap().role);
    let class = ObjectRef::new(
        SECRETS_STORE,
        "SecretProviderClass",
        Some("team-red"),
        &pods.class,
    );
    let class = stage.kubernetes().read(&class).await.unwrap().unwrap();
    assert_eq!(class["spec"]["parameters"]["usePodIdentity"], "true");

    let standing = stage.there().await;
    provide(&provisioner, wanted()).await.unwrap();
    assert_eq!(stage.there().await, standing, "a second time makes nothing");
    assert_eq!(stage.associations().await, expected);

    let report = stage.tear_down(&provisioner).await;
    assert_eq!(report.left, []);
    assert_eq!(stage.associations().await, []);
    assert_eq!(stage.there().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn by_pod_identity_alone_there_is_no_provider_and_no_annotation() {
    let stage = Stage::set_in(Some(CLUSTER)).await;
    let provisioner = stage.provisioner("ledger");
    let mut wanted = through(&["team-red", "bare"], &[Identity::PodIdentity]);
    wanted[1].annotation = Annotation::Absent;
    let made = provide(&provisioner, wanted).await.unwrap();
    assert!(made.iter().all(|tenant| tenant.through(Identity::Irsa).is_none()));
    let providers = stage.endpoint.leftovers();
    assert!(
        !providers.iter().any(|object| object.contains("oidc-provider")),
        "{providers:?}"
    );
    let account = ObjectRef::new("v1", "ServiceAccount", Some("team-red"), "default");
    let account = stage.kubernetes().read(&account).await.unwrap().unwrap();
    assert!(
        account["metadata"]["annotations"]
            .get(tenant::ROLE_ANNOTATION)
            .is_none()
    );
    let associated: Vec<String> = stage.associations().await.into_iter().map(|(of, _)| of).collect();
    assert_eq!(associated, ["team-red"], "one without a role has no association");
    // One that is removed by itself, as after a case.
    for object in provisioner.objects_of(&made[0]) {
        provisioner.remove(&object).await.unwrap();
    }
    assert_eq!(stage.associations().await, []);
    assert_eq!(stage.tear_down(&provisioner).await.left, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_none_of_ekss_has_no_associations() {
    let stage = Stage::set().await;
    let provisioner = stage.provisioner("ledger");
    let wanted = through(&["team-red"], &[Identity::PodIdentity]);
    let refused = provide(&provisioner, wanted).await.err().unwrap();
    assert!(refused.to_string().contains("no cluster of EKS's"), "{refused}");
    assert_eq!(stage.tear_down(&provisioner).await.left, []);
}
