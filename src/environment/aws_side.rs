//! The seam `aws`, of every environment that has no real one: the endpoint in this process, with secrets of its own, or as a
//! gate before a backend that keeps them and lets in whoever asks, such as LocalStack in a container.
//!
//! Which of them is one choice, [`AwsOptions`]. Whoever stands behind, tokens, signatures and IAM are the endpoint's, and so
//! are its faults, its planted defects and its log of calls.

use std::{
    net::SocketAddr,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};
use mountproof_aws_endpoint::{
    Backend, CallLog as EndpointCalls, Endpoint, EndpointConfig, Fault as EndpointFault, Faults,
    InstanceCredentials, Latency, Reach, RootCredentials, StartError as EndpointError, eks::ClusterParts,
};
use mountproof_run_tls::RunCa;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{
    AwsFaults, Plant, StartError, Trouble,
    call_log::EndpointLog,
    fault::Stricken,
    local::{ACCOUNT, ANY_PORT},
    planted,
};
use crate::{
    aws::{AdminKey, Aws, AwsAccess},
    journal::Component,
    localstack::{self, LocalStack},
    provision::{Ledger, Object, Reach as Kept},
    tenant::Marks,
};

/// How long the endpoint takes for an answer when it is slow.
const SLOW: Duration = Duration::from_secs(1);
/// How far its clock jumps: well beyond the five minutes that AWS allows a signature.
const CLOCK_STEP: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);

/// What keeps secrets in the endpoint's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackendChoice {
    /// LocalStack, in a container of its own for as long as the endpoint runs.
    LocalStack,
    /// One that runs already.
    At(Backend),
}

impl FromStr for BackendChoice {
    type Err = String;

    /// `localstack` or `http://HOST:PORT`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "localstack" {
            return Ok(Self::LocalStack);
        }
        let backend = Backend::new("backend", text);
        backend.map(Self::At).map_err(|error| error.to_string())
    }
}

/// What stands at the seam.
#[derive(Debug, Clone)]
pub struct AwsOptions {
    /// Behind the endpoint; nothing where it keeps the secrets itself.
    pub backend: Option<BackendChoice>,
    /// Image of LocalStack.
    pub localstack_image: String,
}

impl Default for AwsOptions {
    fn default() -> Self {
        Self {
            backend: None,
            localstack_image: localstack::DEFAULT_IMAGE.to_owned(),
        }
    }
}

/// Name of the LocalStack container of a run.
fn container_of(run_id: &str) -> String {
    format!("mountproof-{run_id}-localstack")
}

impl AwsOptions {
    /// How what is kept is reached without this process.
    pub(super) fn reach(&self, region: &str) -> Kept {
        match &self.backend {
            Some(BackendChoice::At(backend)) => Kept::Backend {
                url: backend.url(),
                region: region.to_owned(),
            },
            // Its own container is on record.
            Some(BackendChoice::LocalStack) | None => Kept::Embedded,
        }
    }

    /// Sees to it that what is to be started can be, before anything is: an image that is missing is pulled.
    pub(super) async fn check(&self) -> Result<(), StartError> {
        match &self.backend {
            Some(BackendChoice::LocalStack) => localstack::check_image(&self.localstack_image)
                .await
                .map_err(StartError::of(LOCALSTACK)),
            Some(BackendChoice::At(_)) | None => Ok(()),
        }
    }

    /// Starts what is to stand behind the endpoint of the run with these marks. A container is on record before it is made.
    pub(super) async fn behind(&self, marks: &Marks, ledger: &Ledger) -> Result<Behind, StartError> {
        let backend = match &self.backend {
            None => return Ok(Behind::default()),
            Some(BackendChoice::At(backend)) => backend.clone(),
            Some(BackendChoice::LocalStack) => {
                let name = container_of(marks.run());
                let record = Object::Container(name.clone());
                ledger.plan(&[record]).map_err(StartError::of(LOCALSTACK))?;
                // Nobody says so: whoever drops this takes the container off by its name.
                let stopping = CancellationToken::new();
                let starting = LocalStack::start(&self.localstack_image, Some(&name), &stopping);
                let localstack = Box::pin(starting).await.map_err(StartError::of(LOCALSTACK))?;
                let version = localstack::version(localstack.url()).await;
                return Ok(Behind {
                    backend: Some(Backend::new("localstack", localstack.url()).map_err(StartError::of(AWS))?),
                    said: Some(match version {
                        Some(version) => format!("LocalStack {version}"),
                        None => format!("LocalStack ({})", self.localstack_image),
                    }),
                    localstack: Some(localstack),
                });
            }
        };
        let version = localstack::version(&backend.url()).await;
        Ok(Behind {
            said: Some(match version {
                Some(version) => format!("LocalStack {version} at {}", backend.url()),
                None => format!("what is at {}", backend.url()),
            }),
            backend: Some(backend),
            localstack: None,
        })
    }
}

/// What stands behind an endpoint that is to be started.
#[derive(Default)]
pub(super) struct Behind {
    backend: Option<Backend>,
    localstack: Option<LocalStack>,
    /// Its name and version.
    said: Option<String>,
}

/// The seam while it stands.
pub(super) struct AwsSide {
    endpoint: Mutex<Option<Endpoint>>,
    address: SocketAddr,
    root: RootCredentials,
    calls: EndpointCalls,
    log: Arc<EndpointLog>,
    localstack: tokio::sync::Mutex<Option<LocalStack>>,
    said: Option<String>,
    faults: Mutex<EndpointFaults>,
}

/// What is wrong with the endpoint.
#[derive(Default)]
struct EndpointFaults {
    /// For the rest of the run.
    struck: Vec<EndpointFault>,
    /// For as long as a scenario likes.
    latency: Option<Duration>,
}

impl AwsSide {
    /// Starts the endpoint before what stands behind it, with what is planted into it.
    pub(super) async fn start(
        behind: Behind,
        listen: SocketAddr,
        ca: &Arc<RunCa>,
        seed: u64,
        plants: &[Plant],
    ) -> Result<Arc<Self>, StartError> {
        let endpoint = Endpoint::start(EndpointConfig {
            listen,
            seed,
            backend: behind.backend,
            ..EndpointConfig::new(ACCOUNT, ca)
        })
        .await
        .map_err(|error| match &error {
            EndpointError::Listen { address, source } => {
                StartError::of_listener(AWS, "--aws-listen", *address, source)
            }
            _ => StartError::of(AWS)(error),
        })?;
        endpoint.set_defects(planted::endpoint_defects(plants));
        let calls = endpoint.calls();
        Ok(Arc::new(Self {
            address: endpoint.address(),
            root: endpoint.root_credentials().clone(),
            log: Arc::new(EndpointLog::of(calls.clone())),
            calls,
            endpoint: Mutex::new(Some(endpoint)),
            localstack: tokio::sync::Mutex::new(behind.localstack),
            said: behind.said,
            faults: Mutex::default(),
        }))
    }

    /// Where it listens, for TLS and as a proxy to AWS's own names.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The account's root key.
    pub(super) fn root(&self) -> &RootCredentials {
        &self.root
    }

    /// Every call, as the endpoint has it.
    pub(super) fn calls(&self) -> EndpointCalls {
        self.calls.clone()
    }

    /// Every call, as verdicts read it.
    pub(super) fn log(&self) -> Arc<EndpointLog> {
        Arc::clone(&self.log)
    }

    /// Makes known the keys of an issuer that cannot be fetched from where the endpoint stands.
    pub(super) fn host_issuer(&self, issuer: &str, keys: &Value) {
        self.with_endpoint(|endpoint| endpoint.host_issuer(issuer, keys));
    }

    /// Takes a cluster that stands for the EKS cluster of this name.
    pub(super) fn adopt_cluster(&self, region: &str, name: &str, parts: ClusterParts) {
        self.with_endpoint(|endpoint| endpoint.adopt_cluster(region, name, parts));
    }

    /// The credentials that an instance with this role has.
    pub(super) fn instance_credentials(
        &self,
        region: &str,
        role_arn: &str,
        instance: &str,
    ) -> Option<InstanceCredentials> {
        let endpoint = lock(&self.endpoint);
        endpoint
            .as_ref()?
            .instance_credentials(region, role_arn, instance)
    }

    /// A client with the root key.
    pub(super) fn administrator(&self, ca: &RunCa, region: &str) -> Result<Aws, StartError> {
        let access = AwsAccess {
            region: region.to_owned(),
            account: ACCOUNT.to_owned(),
            partition: "aws".to_owned(),
            endpoint: Some(format!("https://{}", self.address)),
            trust_pem: Some(ca.certificate_pem().to_owned()),
            proxy: Some(format!("http://{}", self.address)),
        };
        let key = AdminKey::new(&self.root.access_key_id, self.root.secret_access_key());
        Aws::connect(access, key).map_err(StartError::of("AWS client"))
    }

    /// What a report says of it; `way` is how the provider gets there, where that is not plain.
    pub(super) fn component(&self, way: Option<String>) -> Component {
        let mut notes = vec!["IAM enforced".to_owned()];
        notes.push(match &self.said {
            None => "IAM, STS, Secrets Manager".to_owned(),
            Some(_) => "IAM and STS are the gateway's, which decides on every call".to_owned(),
        });
        notes.extend(way);
        Component {
            seam: "aws".to_owned(),
            name: match &self.said {
                None => "AWS endpoint".to_owned(),
                Some(behind) => format!("{behind} behind the gateway"),
            },
            version: env!("CARGO_PKG_VERSION").to_owned(),
            stand_in: true,
            notes,
        }
    }

    /// Ends the endpoint, then what stands behind it. What cannot be removed is on record.
    pub(super) async fn stop(&self) {
        let endpoint = lock(&self.endpoint).take();
        if let Some(endpoint) = endpoint {
            endpoint.stop().await;
        }
        if let Some(localstack) = self.localstack.lock().await.take()
            && let Err(because) = localstack.removed().await
        {
            tracing::warn!(because, "LocalStack is still there");
        }
    }

    fn endpoint_faults(&self, change: impl FnOnce(&mut EndpointFaults)) {
        let all: Faults = {
            let mut faults = lock(&self.faults);
            change(&mut faults);
            let latency = faults
                .latency
                .map(|latency| EndpointFault::Latency(Latency::Fixed(latency)));
            faults.struck.iter().cloned().chain(latency).collect()
        };
        self.with_endpoint(|endpoint| endpoint.set_faults(all));
    }

    fn with_endpoint(&self, tell: impl FnOnce(&Endpoint)) {
        if let Some(endpoint) = lock(&self.endpoint).as_ref() {
            tell(endpoint);
        }
    }

    async fn kill_localstack(&self) {
        let Some(container) = self
            .localstack
            .lock()
            .await
            .as_ref()
            .map(|it| it.container().to_owned())
        else {
            return;
        };
        if let Err(because) = localstack::kill(&container).await {
            tracing::warn!(because, "LocalStack could not be killed");
        }
    }
}

impl Stricken for AwsSide {
    fn suffer(&self, trouble: Trouble) -> BoxFuture<'_, ()> {
        let fault = match trouble {
            Trouble::EndpointDies => EndpointFault::Outage(Reach::Everything),
            Trouble::EndpointSlow => EndpointFault::Latency(Latency::Fixed(SLOW)),
            Trouble::EndpointClockStep => EndpointFault::ClockStep(CLOCK_STEP),
            Trouble::LocalStackDies => return self.kill_localstack().boxed(),
            Trouble::HarnessPanics => {
                self.log.panic_from_now_on();
                return async {}.boxed();
            }
            // Of other parts.
            Trouble::KubernetesDies | Trouble::KubeletNoImages => return async {}.boxed(),
        };
        self.endpoint_faults(|faults| faults.struck.push(fault));
        async {}.boxed()
    }
}

impl AwsFaults for AwsSide {
    fn set_latency(&self, latency: Option<Duration>) -> BoxFuture<'_, ()> {
        self.endpoint_faults(move |faults| faults.latency = latency);
        async {}.boxed()
    }
}

/// An endpoint before a backend that a run was before, to remove what is left there.
pub struct AwsAgain {
    side: Arc<AwsSide>,
    aws: Aws,
}

impl AwsAgain {
    /// Starts it, with a root key and an authority of its own.
    ///
    /// # Errors
    ///
    /// When the backend does not answer, in words.
    pub async fn before(url: &str, region: &str) -> Result<Self, String> {
        let failed = |error: StartError| error.to_string();
        let backend = Backend::new("backend", url).map_err(|error| error.to_string())?;
        let behind = Behind {
            backend: Some(backend),
            ..Behind::default()
        };
        let ca = RunCa::generate("sweep").map_err(|error| error.to_string())?;
        let side = AwsSide::start(behind, ANY_PORT, &ca, 0, &[])
            .await
            .map_err(failed)?;
        let aws = side.administrator(&ca, region).map_err(failed)?;
        Ok(Self { side, aws })
    }

    /// A client with the root key.
    #[must_use]
    pub fn administrator(&self) -> &Aws {
        &self.aws
    }

    /// Ends it.
    pub async fn stop(self) {
        self.side.stop().await;
    }
}

/// As errors name them.
const AWS: &str = "AWS endpoint";
const LOCALSTACK: &str = "LocalStack";

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;

    #[test]
    fn a_backend_is_localstack_or_an_address() {
        assert_eq!("localstack".parse(), Ok(BackendChoice::LocalStack));
        let at: BackendChoice = "http://127.0.0.1:4566".parse().unwrap();
        assert!(matches!(at, BackendChoice::At(backend) if backend.url() == "http://127.0.0.1:4566"));
        for text in ["", "LocalStack", "https://aws", "127.0.0.1:4566"] {
            assert!(text.parse::<BackendChoice>().is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn an_endpoint_before_nothing_says_so_and_starts_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::create(&folder.path().join("ledger.jsonl"), "r1").unwrap();
        let options = AwsOptions::default();
        options.check().await.unwrap();
        let behind = options.behind(&Marks::of_run("r1"), &ledger).await.unwrap();
        assert!(ledger.standing().is_empty());
        let ca = RunCa::generate("r1").unwrap();
        let side = AwsSide::start(behind, ANY_PORT, &ca, 0, &[]).await.unwrap();
        assert_eq!(side.component(None).name, "AWS endpoint");
        let aws = side.administrator(&ca, "us-east-1").unwrap();
        aws.answers().await.unwrap();
        side.suffer(Trouble::EndpointDies).await;
        assert!(aws.answers().await.is_err());
        side.stop().await;
        side.stop().await;
    }

    /// Whoever kills what keeps the secrets leaves STS, which is the endpoint's own, as it was.
    #[tokio::test]
    async fn a_backend_that_is_gone_is_an_aws_that_does_not_answer() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let backend = tokio::spawn(answer_every_request(listener));
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::create(&folder.path().join("ledger.jsonl"), "r1").unwrap();
        let options = AwsOptions {
            backend: Some(url.parse().unwrap()),
            ..AwsOptions::default()
        };
        let behind = options.behind(&Marks::of_run("r1"), &ledger).await.unwrap();
        let ca = RunCa::generate("r1").unwrap();
        let side = AwsSide::start(behind, ANY_PORT, &ca, 0, &[]).await.unwrap();
        assert_eq!(
            side.component(None).name,
            format!("LocalStack 9.9 at {url} behind the gateway")
        );
        let aws = side.administrator(&ca, "us-east-1").unwrap();
        aws.answers().await.unwrap();
        backend.abort();
        // Until the last connection is gone, too.
        let _ = backend.await;
        aws.whoami().await.unwrap();
        assert!(aws.answers().await.is_err());
        side.stop().await;
    }

    /// One answer for whatever is asked: a list of no secrets, and a version.
    async fn answer_every_request(listener: tokio::net::TcpListener) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let body = r#"{"SecretList":[],"version":"9.9"}"#;
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    }
}
