//! The Kubernetes API as the harness uses it: the only module that names `kube`.
//!
//! Objects go in and out as JSON ([`crate::tenant::manifest`] makes them). Pods and events are
//! followed by one watch each for the whole run ([`Pods`], [`Events`]), however many there are.

mod events;
mod pods;

use std::time::{Duration, Instant};

use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
    storage::v1::CSINode,
};
use kube::{
    Api, Client, Config,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    config::AuthInfo,
    core::GroupVersionKind,
};
use serde_json::Value;

pub use self::{
    events::{EventView, Events},
    pods::{PodView, Pods},
};
use crate::{secret::Credential, tenant::Marks};

/// Who the harness is in `managedFields`.
const FIELD_MANAGER: &str = "mountproof";

/// How often an object that is going away is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// How to reach a Kubernetes API.
pub struct KubernetesAccess {
    /// `https://host:port`.
    pub url: String,
    /// Authorities to trust, as PEM.
    pub trust_pem: String,
    /// Bearer token.
    pub token: Credential,
}

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

/// One object, by what it takes to find it again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectRef {
    /// `apiVersion`.
    pub api_version: String,
    /// `kind`.
    pub kind: String,
    /// Absent for cluster-wide kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

impl ObjectRef {
    /// What `manifest` describes.
    #[must_use]
    pub fn of(manifest: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            api_version: text(&manifest["apiVersion"]),
            kind: text(&manifest["kind"]),
            namespace: manifest["metadata"]["namespace"].as_str().map(str::to_owned),
            name: text(&manifest["metadata"]["name"]),
        }
    }

    /// An object of `api_version` and `kind`.
    #[must_use]
    pub fn new(api_version: &str, kind: &str, namespace: Option<&str>, name: &str) -> Self {
        Self {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        }
    }

    fn resource(&self) -> ApiResource {
        let (group, version) = self.api_version.split_once('/').unwrap_or(("", &self.api_version));
        let gvk = GroupVersionKind::gvk(group, version, &self.kind);
        match self.kind.as_str() {
            // The plain rule of plurals does not know these.
            "SecretProviderClassPodStatus" => ApiResource::from_gvk_with_plural(&gvk, "secretproviderclasspodstatuses"),
            "CSIDriver" => ApiResource::from_gvk_with_plural(&gvk, "csidrivers"),
            _ => ApiResource::from_gvk(&gvk),
        }
    }
}

/// `SecretProviderClassPodStatus`, as far as verdicts need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodStatus {
    /// `status.mounted`.
    pub mounted: bool,
    /// Ids of `status.objects`.
    pub objects: Vec<String>,
}

/// The API's kinds of the driver.
pub const SECRETS_STORE: &str = "secrets-store.csi.x-k8s.io/v1";

/// A connection to a cluster.
pub struct Kubernetes {
    client: Client,
    pods: Pods,
    events: Events,
}

impl Kubernetes {
    /// Connects, and starts following the pods with the run's `marks` and the events of all pods.
    pub async fn connect(access: &KubernetesAccess, marks: &Marks) -> Result<Self, KubernetesError> {
        let failed = |message: String| KubernetesError { action: "connect to Kubernetes".to_owned(), status: None, message };
        let url = access.url.parse::<http::Uri>().map_err(|error| failed(error.to_string()))?;
        let mut config = Config::new(url);
        config.root_cert = Some(certificates(&access.trust_pem).map_err(failed)?);
        let mut identity = AuthInfo::default();
        identity.token = Some(access.token.expose().to_owned().into());
        config.auth_info = identity;
        let client = Client::try_from(config).map_err(|error| failed(error.to_string()))?;
        client.apiserver_version().await.map_err(|error| answer("ask Kubernetes for its version".to_owned(), error))?;
        let pods = Pods::follow(Api::all(client.clone()), marks);
        let events = Events::follow(Api::all(client.clone()));
        Ok(Self { client, pods, events })
    }

    /// The run's pods, as the watch has them.
    #[must_use]
    pub fn pods(&self) -> &Pods {
        &self.pods
    }

    /// Pod events, as the watch has them.
    #[must_use]
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Creates an object; one that is there already is left as it is.
    pub async fn create(&self, manifest: &Value) -> Result<(), KubernetesError> {
        let reference = ObjectRef::of(manifest);
        let action = || format!("create {reference}");
        let object: DynamicObject = serde_json::from_value(manifest.clone())
            .map_err(|error| KubernetesError { action: action(), status: None, message: error.to_string() })?;
        match self.api(&reference).create(&PostParams::default(), &object).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
            Err(error) => Err(answer(action(), error)),
        }
    }

    /// Creates an object or brings it to this shape, by server-side apply.
    pub async fn apply(&self, manifest: &Value) -> Result<(), KubernetesError> {
        let reference = ObjectRef::of(manifest);
        self.api(&reference)
            .patch(&reference.name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(manifest))
            .await
            .map(drop)
            .map_err(|error| answer(format!("apply {reference}"), error))
    }

    /// Merges `patch` into an object that is there.
    pub async fn merge(&self, reference: &ObjectRef, patch: &Value) -> Result<(), KubernetesError> {
        self.api(reference)
            .patch(&reference.name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .map(drop)
            .map_err(|error| answer(format!("patch {reference}"), error))
    }

    /// Asks for an object to be deleted; one that is not there is fine. Does not wait.
    pub async fn delete(&self, reference: &ObjectRef) -> Result<(), KubernetesError> {
        match self.api(reference).delete(&reference.name, &DeleteParams::background()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(answer(format!("delete {reference}"), error)),
        }
    }

    /// Waits until an object is gone; says what holds it when it is not by `until`.
    pub async fn wait_gone(&self, reference: &ObjectRef, until: Instant) -> Result<(), KubernetesError> {
        loop {
            let Some(object) = self.read(reference).await? else { return Ok(()) };
            if Instant::now() >= until {
                let finalizers = [&object["metadata"]["finalizers"], &object["spec"]["finalizers"]];
                let held: Vec<&str> =
                    finalizers.iter().filter_map(|list| list.as_array()).flatten().filter_map(Value::as_str).collect();
                let message = if held.is_empty() {
                    "still there, held by no finalizer".to_owned()
                } else {
                    format!("still there, held by {}", held.join(", "))
                };
                return Err(KubernetesError { action: format!("remove {reference}"), status: None, message });
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// An object as JSON, or nothing when it is not there.
    pub async fn read(&self, reference: &ObjectRef) -> Result<Option<Value>, KubernetesError> {
        let object = self
            .api(reference)
            .get_opt(&reference.name)
            .await
            .map_err(|error| answer(format!("read {reference}"), error))?;
        Ok(object.and_then(|object| serde_json::to_value(object).ok()))
    }

    /// Every object of a kind in `namespace`, or everywhere, as JSON; only those with `marks`.
    pub async fn list(
        &self,
        api_version: &str,
        kind: &str,
        namespace: Option<&str>,
        marks: Option<&Marks>,
    ) -> Result<Vec<Value>, KubernetesError> {
        let reference = ObjectRef::new(api_version, kind, namespace, "");
        let mut params = ListParams::default();
        if let Some(marks) = marks {
            params = params.labels(&marks.selector());
        }
        let found = self
            .api(&reference)
            .list(&params)
            .await
            .map_err(|error| answer(format!("list {kind} objects"), error))?;
        Ok(found.items.into_iter().filter_map(|object| serde_json::to_value(object).ok()).collect())
    }

    /// The driver's record of a pod's mount.
    pub async fn pod_status(&self, namespace: &str, name: &str) -> Result<Option<PodStatus>, KubernetesError> {
        let reference = ObjectRef::new(SECRETS_STORE, "SecretProviderClassPodStatus", Some(namespace), name);
        Ok(self.read(&reference).await?.map(|object| PodStatus {
            mounted: object["status"]["mounted"].as_bool().unwrap_or(false),
            objects: object["status"]["objects"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|entry| entry["id"].as_str().map(str::to_owned))
                .collect(),
        }))
    }

    /// A token of a ServiceAccount for one audience.
    pub async fn token(&self, namespace: &str, account: &str, audience: &str) -> Result<Credential, KubernetesError> {
        let action = || format!("request a token of ServiceAccount {namespace}/{account}");
        let request = TokenRequest {
            spec: TokenRequestSpec { audiences: vec![audience.to_owned()], ..TokenRequestSpec::default() },
            ..TokenRequest::default()
        };
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let answered = api
            .create_token_request(account, &PostParams::default(), &request)
            .await
            .map_err(|error| answer(action(), error))?;
        answered.status.map(|status| Credential::new(&status.token)).ok_or_else(|| KubernetesError {
            action: action(),
            status: None,
            message: "the answer has no token".to_owned(),
        })
    }

    /// The issuer of ServiceAccount tokens, by the cluster's own discovery document.
    pub async fn issuer(&self) -> Result<String, KubernetesError> {
        let action = || "read the OpenID configuration of the cluster".to_owned();
        let failed = |message: String| KubernetesError { action: action(), status: None, message };
        let request = http::Request::get("/.well-known/openid-configuration")
            .body(Vec::new())
            .map_err(|error| failed(error.to_string()))?;
        let document: Value = self.client.request(request).await.map_err(|error| answer(action(), error))?;
        document["issuer"].as_str().map(str::to_owned).ok_or_else(|| failed("it names no issuer".to_owned()))
    }

    /// Nodes on which the CSI driver `driver` is registered.
    pub async fn nodes_with_driver(&self, driver: &str) -> Result<Vec<String>, KubernetesError> {
        let nodes: Api<CSINode> = Api::all(self.client.clone());
        let nodes = nodes
            .list(&ListParams::default())
            .await
            .map_err(|error| answer("list CSINode objects".to_owned(), error))?;
        Ok(nodes
            .into_iter()
            .filter(|node| node.spec.drivers.iter().any(|registered| registered.name == driver))
            .filter_map(|node| node.metadata.name)
            .collect())
    }

    /// The server's version, such as `v1.36.3`. Also serves to see whether it answers at all.
    pub async fn version(&self) -> Result<String, KubernetesError> {
        let version = self.client.apiserver_version().await;
        version.map(|version| version.git_version).map_err(|error| answer("ask Kubernetes for its version".to_owned(), error))
    }

    fn api(&self, reference: &ObjectRef) -> Api<DynamicObject> {
        let resource = reference.resource();
        match &reference.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        }
    }
}

/// Certificates of a PEM text, as DER.
fn certificates(pem: &str) -> Result<Vec<Vec<u8>>, String> {
    use rustls::pki_types::{CertificateDer, pem::PemObject as _};
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .map(|certificate| certificate.map(|der| der.to_vec()).map_err(|error| error.to_string()))
        .collect()
}

fn answer(action: String, error: kube::Error) -> KubernetesError {
    match error {
        kube::Error::Api(status) => {
            KubernetesError { action, status: Some(status.code), message: status.message.clone() }
        }
        other => KubernetesError { action, status: None, message: chain(&other) },
    }
}

/// An error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
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
