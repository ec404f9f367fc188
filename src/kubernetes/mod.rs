//! The Kubernetes API as the harness uses it: the only module that names `kube`.
//!
//! Objects go in and out as JSON ([`crate::tenant`] makes them). Pods and events are followed by one
//! watch each for the whole run ([`Pods`], [`Events`]), however many there are.

mod access;
mod error;
mod events;
mod forward;
mod incidents;
mod kubeconfig;
mod log;
mod marked;
mod nodes;
mod object;
mod pods;
mod program_logs;
mod replace;
mod review;
mod tokens;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::api::storage::v1::CSINode;
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

pub use self::{
    access::{Identity, KubernetesAccess},
    error::KubernetesError,
    events::{EventView, Events},
    forward::{Forwarded, PodPort},
    kubeconfig::{FoundContext, Kubeconfigs},
    log::ContainerRef,
    marked::Marked,
    nodes::{NodeView, sandbox_image},
    object::ObjectRef,
    pods::{PlacedPod, PodView, Pods},
    program_logs::{ContainerLog, DaemonContainer, DaemonView, PodLogs},
    tokens::Tokens,
};
use self::{
    incidents::Incidents,
    object::{held_by, run_of},
};
use crate::{
    secret::{Credential, SecretValue},
    tenant::{Marks, RUN_LABEL},
};

/// Who the harness is in `managedFields`.
const FIELD_MANAGER: &str = "mountproof";

/// Longest wait for one answer, the client's retries included. Watches have none.
const CALL: Duration = Duration::from_secs(30);

/// First and longest pause between two looks at an object that is going away.
const LOOKS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(400));

/// Objects of a list in one answer.
const PAGE: u32 = 500;

/// `SecretProviderClassPodStatus`, as far as verdicts need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodStatus {
    /// `status.mounted`.
    pub mounted: bool,
    /// Ids of `status.objects`.
    pub objects: Vec<String>,
}

/// A Kubernetes Secret that the driver wrote.
pub struct SyncedSecret {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`: another one after each write that changed anything.
    pub version: String,
    /// `type`.
    pub kind: String,
    /// Kind and name of each of its owners.
    pub owners: Vec<String>,
    /// Who wrote it last, and how, as `metadata.managedFields` has it.
    pub writers: Vec<String>,
    /// What it holds.
    pub data: BTreeMap<String, SecretValue>,
}

/// The API's kinds of the driver.
pub const SECRETS_STORE: &str = "secrets-store.csi.x-k8s.io/v1";

/// A connection to a cluster; clones share it and its watches.
#[derive(Clone)]
pub struct Kubernetes {
    client: Client,
    retries: Arc<AtomicU64>,
    pods: Arc<Pods>,
    events: Arc<Events>,
    incidents: Arc<Incidents>,
}

impl Kubernetes {
    /// Connects, and starts following the pods with the run's `marks` and the events of all pods.
    pub async fn connect(access: &KubernetesAccess, marks: &Marks) -> Result<Self, KubernetesError> {
        let (client, retries) = access::client(access)?;
        version(&client).await?;
        let incidents = Arc::new(Incidents::new());
        let pods = Arc::new(Pods::follow(
            Api::all(client.clone()),
            marks,
            Arc::clone(&incidents),
        ));
        let events = Arc::new(Events::follow(Api::all(client.clone())));
        Ok(Self {
            client,
            retries,
            pods,
            events,
            incidents,
        })
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

    /// Retries that the client made by itself so far.
    #[must_use]
    pub fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    /// Creates an object; one that is there already is left as it is.
    ///
    /// # Errors
    ///
    /// Also when the one that is there is another run's, or nobody's: it is never taken over. Only of
    /// the kinds that a cluster has once (definitions, `CSIDriver`) somebody else's will do.
    pub async fn create(&self, manifest: &Value) -> Result<(), KubernetesError> {
        let reference = ObjectRef::of(manifest);
        let action = || format!("create {reference}");
        let failed = |message| KubernetesError {
            action: action(),
            status: None,
            message,
        };
        let object: DynamicObject =
            serde_json::from_value(manifest.clone()).map_err(|error| failed(error.to_string()))?;
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let api = self.api(&reference);
        match limited(api.create(&params, &object)).await {
            Ok(_) => return Ok(()),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            Err(error) => return Err(KubernetesError::of(action(), error)),
        }
        if reference.is_shared() {
            return Ok(());
        }
        let own = run_of(manifest);
        match self.read(&reference).await? {
            Some(found) if own.is_none() || run_of(&found) == own => Ok(()),
            Some(_) => Err(failed(format!(
                "it exists and does not carry this run's label {RUN_LABEL}; remove it, or use another name"
            ))),
            None => Err(failed(
                "it was there and went away at the same moment; try again".to_owned(),
            )),
        }
    }

    /// Creates an object or brings it to this shape, by server-side apply.
    pub async fn apply(&self, manifest: &Value) -> Result<(), KubernetesError> {
        let reference = ObjectRef::of(manifest);
        let (params, patch) = (PatchParams::apply(FIELD_MANAGER).force(), Patch::Apply(manifest));
        limited(self.api(&reference).patch(&reference.name, &params, &patch))
            .await
            .map(drop)
            .map_err(|error| KubernetesError::of(format!("apply {reference}"), error))
    }

    /// Merges `patch` into an object that is there.
    pub async fn merge(&self, reference: &ObjectRef, patch: &Value) -> Result<(), KubernetesError> {
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        limited(self.api(reference).patch(&reference.name, &params, &patch))
            .await
            .map(drop)
            .map_err(|error| KubernetesError::of(format!("patch {reference}"), error))
    }

    /// Asks for an object to be deleted, its dependents in the background; one that is not there is
    /// fine. Does not wait.
    pub async fn delete(&self, reference: &ObjectRef) -> Result<(), KubernetesError> {
        match limited(
            self.api(reference)
                .delete(&reference.name, &DeleteParams::background()),
        )
        .await
        {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(KubernetesError::of(format!("delete {reference}"), error)),
        }
    }

    /// Has a pod end without any time for it, and forgets it at once; one that is not there is fine.
    pub async fn end_at_once(&self, pod: &ObjectRef) -> Result<(), KubernetesError> {
        let params = DeleteParams::background().grace_period(0);
        match limited(self.api(pod).delete(&pod.name, &params)).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(KubernetesError::of(format!("end {pod}"), error)),
        }
    }

    /// Waits until an object is gone; says what holds it when it is not by `until`. Another object of
    /// the same name that comes in its place counts as gone.
    pub async fn wait_gone(&self, reference: &ObjectRef, until: Instant) -> Result<(), KubernetesError> {
        let (mut pause, longest) = LOOKS;
        let mut uid = None;
        loop {
            let Some(object) = self.read(reference).await? else {
                return Ok(());
            };
            let seen = object["metadata"]["uid"].as_str().map(str::to_owned);
            if uid.is_some() && uid != seen {
                return Ok(());
            }
            uid = seen;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(KubernetesError {
                    action: format!("remove {reference}"),
                    status: None,
                    message: held_by(&object),
                });
            }
            tokio::time::sleep(pause.min(left)).await;
            pause = (pause * 2).min(longest);
        }
    }

    /// Whether an object is not there.
    pub async fn is_gone(&self, reference: &ObjectRef) -> Result<bool, KubernetesError> {
        Ok(self.read(reference).await?.is_none())
    }

    /// Whether an object is there and carries the run's label.
    pub async fn is_marked(&self, reference: &ObjectRef, marks: &Marks) -> Result<bool, KubernetesError> {
        let object = self.read(reference).await?;
        Ok(object.is_some_and(|object| run_of(&object) == Some(marks.run())))
    }

    /// An object as JSON, or nothing when it is not there.
    pub async fn read(&self, reference: &ObjectRef) -> Result<Option<Value>, KubernetesError> {
        let object = limited(self.api(reference).get_opt(&reference.name))
            .await
            .map_err(|error| KubernetesError::of(format!("read {reference}"), error))?;
        Ok(object.and_then(|object| serde_json::to_value(object).ok()))
    }

    /// Every object of a kind in `namespace`, or everywhere, as JSON; only those with `marks`. A kind
    /// that the API does not serve has none.
    pub async fn list(
        &self,
        api_version: &str,
        kind: &str,
        namespace: Option<&str>,
        marks: Option<&Marks>,
    ) -> Result<Vec<Value>, KubernetesError> {
        let api = self.api(&ObjectRef::new(api_version, kind, namespace, ""));
        let mut params = ListParams::default().limit(PAGE);
        if let Some(marks) = marks {
            params = params.labels(&marks.selector());
        }
        let mut objects = Vec::new();
        loop {
            let page = match limited(api.list(&params)).await {
                Ok(page) => page,
                // Of a kind that is not served the answer is no Status with a reason.
                Err(kube::Error::Api(status)) if status.code == 404 => return Ok(objects),
                Err(error) => return Err(KubernetesError::of(format!("list {kind} objects"), error)),
            };
            let next = page.metadata.continue_.clone().filter(|token| !token.is_empty());
            for object in page.items {
                let mut object = serde_json::to_value(object).unwrap_or_default();
                // Lists leave out what their items are.
                object["apiVersion"] = json!(api_version);
                object["kind"] = json!(kind);
                objects.push(object);
            }
            match next {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(objects),
            }
        }
    }

    /// The driver's record of a pod's mount.
    pub async fn pod_status(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<PodStatus>, KubernetesError> {
        let reference = ObjectRef::new(
            SECRETS_STORE,
            "SecretProviderClassPodStatus",
            Some(namespace),
            name,
        );
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

    /// A Kubernetes Secret, or nothing when it is not there.
    pub async fn synced_secret(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<SyncedSecret>, KubernetesError> {
        let reference = ObjectRef::new("v1", "Secret", Some(namespace), name);
        Ok(self.read(&reference).await?.map(|object| synced(&object)))
    }

    /// A token of a `ServiceAccount` for one audience, bound to nothing (`TokenRequest`).
    pub async fn token(
        &self,
        namespace: &str,
        account: &str,
        audience: &str,
    ) -> Result<Credential, KubernetesError> {
        self.token_of(namespace, account, audience, None).await
    }

    /// The same, bound to a pod by its name and uid, as kubelet has them.
    pub async fn token_of(
        &self,
        namespace: &str,
        account: &str,
        audience: &str,
        pod: Option<(&str, &str)>,
    ) -> Result<Credential, KubernetesError> {
        let action = || format!("request a token of ServiceAccount {namespace}/{account}");
        let failed = |message: String| KubernetesError {
            action: action(),
            status: None,
            message,
        };
        let mut body = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": { "audiences": [audience] },
        });
        if let Some((name, uid)) = pod {
            body["spec"]["boundObjectRef"] =
                json!({ "apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid });
        }
        let request = http::Request::post(format!(
            "/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        ))
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(body.to_string().into_bytes())
        .map_err(|error| failed(error.to_string()))?;
        let answer: Value = limited(self.client.request(request))
            .await
            .map_err(|error| KubernetesError::of(action(), error))?;
        answer["status"]["token"]
            .as_str()
            .map(Credential::new)
            .ok_or_else(|| failed("the answer has no token".to_owned()))
    }

    /// The issuer of `ServiceAccount` tokens, by the cluster's own discovery document.
    pub async fn issuer(&self) -> Result<String, KubernetesError> {
        let action = || "read the OpenID configuration of the cluster".to_owned();
        let failed = |message: String| KubernetesError {
            action: action(),
            status: None,
            message,
        };
        let request = http::Request::get("/.well-known/openid-configuration")
            .body(Vec::new())
            .map_err(|error| failed(error.to_string()))?;
        let document: Value = limited(self.client.request(request))
            .await
            .map_err(|error| KubernetesError::of(action(), error))?;
        document["issuer"]
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| failed("it names no issuer".to_owned()))
    }

    /// The public keys of the cluster's issuer of service-account tokens, a JSON Web Key Set.
    pub async fn issuer_keys(&self) -> Result<Value, KubernetesError> {
        let action = || "read the keys of the cluster's issuer".to_owned();
        let request = http::Request::get("/openid/v1/jwks")
            .body(Vec::new())
            .map_err(|error| KubernetesError {
                action: action(),
                status: None,
                message: error.to_string(),
            })?;
        limited(self.client.request(request))
            .await
            .map_err(|error| KubernetesError::of(action(), error))
    }

    /// Nodes on which the CSI driver `driver` is registered.
    pub async fn nodes_with_driver(&self, driver: &str) -> Result<Vec<String>, KubernetesError> {
        let nodes: Api<CSINode> = Api::all(self.client.clone());
        let nodes = limited(nodes.list(&ListParams::default()))
            .await
            .map_err(|error| KubernetesError::of("list CSINode objects".to_owned(), error))?;
        Ok(nodes
            .into_iter()
            .filter(|node| {
                node.spec
                    .drivers
                    .iter()
                    .any(|registered| registered.name == driver)
            })
            .filter_map(|node| node.metadata.name)
            .collect())
    }

    /// The server's version, such as `v1.36.3`. Also serves to see whether it answers at all.
    pub async fn version(&self) -> Result<String, KubernetesError> {
        version(&self.client).await
    }

    fn api(&self, reference: &ObjectRef) -> Api<DynamicObject> {
        let resource = reference.resource();
        match &reference.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        }
    }
}

async fn version(client: &Client) -> Result<String, KubernetesError> {
    limited(client.apiserver_version())
        .await
        .map(|version| version.git_version)
        .map_err(|error| KubernetesError::of("ask Kubernetes for its version".to_owned(), error))
}

fn synced(object: &Value) -> SyncedSecret {
    let metadata = &object["metadata"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let each = |list: &Value, told: fn(&Value) -> String| -> Vec<String> {
        list.as_array().into_iter().flatten().map(told).collect()
    };
    let data = object["data"].as_object().into_iter().flatten();
    SyncedSecret {
        uid: text(&metadata["uid"]),
        version: text(&metadata["resourceVersion"]),
        kind: text(&object["type"]),
        owners: each(&metadata["ownerReferences"], |owner| {
            format!(
                "{} {}",
                owner["kind"].as_str().unwrap_or_default(),
                owner["name"].as_str().unwrap_or_default()
            )
        }),
        writers: each(&metadata["managedFields"], |entry| {
            format!(
                "{} by {} at {}",
                entry["operation"].as_str().unwrap_or_default(),
                entry["manager"].as_str().unwrap_or_default(),
                entry["time"].as_str().unwrap_or_default()
            )
        }),
        data: data
            .map(|(key, value)| {
                let bytes = STANDARD.decode(value.as_str().unwrap_or_default());
                (key.clone(), SecretValue::binary(&bytes.unwrap_or_default()))
            })
            .collect(),
    }
}

/// The client has no deadline of its own for an answer.
async fn limited<T>(call: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
    tokio::time::timeout(CALL, call)
        .await
        .unwrap_or_else(|_| Err(kube::Error::Service(format!("no answer within {CALL:?}").into())))
}
