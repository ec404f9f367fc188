//! EKS clusters of the endpoint with the Kubernetes stand-in behind them: what runs against EKS runs here too.

#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign},
    sign::v4,
};
use base64::{Engine as _, prelude::*};
use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use http::Request;
use http_body_util::{BodyExt as _, Full};
use mountproof::{
    aws::{AdminKey, Aws, AwsAccess},
    environment::StandInClusters,
    kubernetes::{Identity, Kubernetes, KubernetesAccess},
    secret::Credential,
    tenant::Marks,
};
use mountproof_aws_endpoint::{
    Endpoint, EndpointConfig,
    eks::{ClusterBackend, ClusterCallers, ClusterParts, ClusterWanted},
};
use mountproof_run_tls::{HttpsClient, RunCa};
use serde_json::{Value, json};

const ACCOUNT: &str = "000000000000";
const REGION: &str = "eu-west-1";
const CLUSTERS: &str = "eks.eu-west-1.amazonaws.com";
/// Longest wait for a cluster.
const SOON: Duration = Duration::from_mins(1);

#[tokio::test]
async fn a_cluster_has_an_api_server_that_lets_in_whom_eks_knows() {
    let site = Site::start(|ca| Arc::new(StandInClusters::new(ca))).await;
    let cluster = site.cluster("demo", "ACTIVE").await;
    let root = site.root();

    let made_it = site.connect(&cluster, &token(&root, "demo")).await;
    let namespaces = made_it.list("v1", "Namespace", None, None).await.unwrap();
    assert!(
        namespaces
            .iter()
            .any(|one| one["metadata"]["name"] == "kube-system")
    );

    let (arn, other) = site.session("other").await;
    let status = async |caller: &Credentials, signed_for: &str| {
        let kubernetes = site.connect(&cluster, &token(caller, signed_for)).await;
        let asked = kubernetes.list("v1", "Namespace", None, None).await;
        asked.map(drop).map_err(|error| error.status)
    };
    assert_eq!(
        status(&other, "demo").await,
        Err(Some(401)),
        "there is no entry of it"
    );
    let entries = "/clusters/demo/access-entries";
    site.eks("POST", entries, &json!({ "principalArn": arn })).await;
    let entry = format!("{entries}/{}", arn.replace(':', "%3A").replace('/', "%2F"));
    let policy = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy";
    site.eks(
        "POST",
        &format!("{entry}/access-policies"),
        &json!({ "policyArn": policy, "accessScope": { "type": "cluster" } }),
    )
    .await;
    assert_eq!(status(&other, "demo").await, Ok(()));
    assert_eq!(
        status(&other, "elsewhere").await,
        Err(Some(401)),
        "it is for another cluster"
    );
    site.eks("DELETE", &entry, &Value::Null).await;
    assert_eq!(status(&other, "demo").await, Err(Some(401)), "its entry is gone");

    site.eks("DELETE", "/clusters/demo", &Value::Null).await;
    site.until("the cluster is gone", async || {
        site.ask("GET", CLUSTERS, "/clusters/demo", &Value::Null).await.0 == 404
    })
    .await;
    site.until("its API server is gone", async || {
        made_it.version().await.is_err_and(|error| !error.is_answer())
    })
    .await;
    site.endpoint.stop().await;
}

#[tokio::test]
async fn a_service_account_of_a_cluster_assumes_its_role() {
    let site = Site::start(|ca| Arc::new(StandInClusters::new(ca))).await;
    let cluster = site.cluster("demo", "ACTIVE").await;
    let kubernetes = site.connect(&cluster, &token(&site.root(), "demo")).await;
    let token = kubernetes
        .token("default", "default", "sts.amazonaws.com")
        .await
        .unwrap();
    let issuer = cluster["identity"]["oidc"]["issuer"].as_str().unwrap();
    assert!(issuer.starts_with("https://oidc.eks.eu-west-1.amazonaws.com/id/"));
    assert_eq!(kubernetes.issuer().await.unwrap(), issuer);

    let aws = site.aws();
    let tags = Marks::of_run("clusters").tags();
    let trusted = issuer.trim_start_matches("https://");
    let provider = aws.oidc_arn(issuer);
    let trust = json!({ "Version": "2012-10-17", "Statement": {
        "Effect": "Allow",
        "Principal": { "Federated": provider },
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": { "StringEquals": {
            format!("{trusted}:sub"): "system:serviceaccount:default:default",
            format!("{trusted}:aud"): "sts.amazonaws.com",
        } },
    } });
    // A role trusts a provider that is there, and STS one that the account has.
    aws.provide_oidc(issuer, "sts.amazonaws.com", &tags)
        .await
        .unwrap();
    let role = site.role("app", &trust).await;
    aws.assume(&role, &token).await.map(drop).unwrap();
    let forged = aws.assume(&role, &token.with_other_signature()).await;
    assert!(forged.map(drop).is_err_and(|error| error.is_bad_token()));
    aws.remove_oidc(&provider).await.unwrap();
    let unknown = aws.assume(&role, &token).await;
    assert!(unknown.map(drop).is_err(), "the account has no such provider");
    site.endpoint.stop().await;
}

#[tokio::test]
async fn a_cluster_of_a_saved_state_gets_a_new_api_server() {
    let site = Site::start(|ca| Arc::new(StandInClusters::new(ca))).await;
    let before = site.cluster("demo", "ACTIVE").await;
    assert_eq!(site.endpoint.bereaved_clusters(), []);
    let old = site.connect(&before, &token(&site.root(), "demo")).await;
    let of_old = old
        .token("default", "default", "sts.amazonaws.com")
        .await
        .unwrap();
    let saved = site.endpoint.stopped().await;

    let site = Site::going_on_from(Some(saved), |ca| Arc::new(StandInClusters::new(ca))).await;
    let lost = [(REGION.to_owned(), "demo".to_owned())];
    assert_eq!(site.endpoint.bereaved_clusters(), lost);
    let cluster = site.once("demo", "ACTIVE").await;
    assert_eq!(cluster["health"]["issues"], json!([]));
    assert_ne!(cluster["certificateAuthority"], before["certificateAuthority"]);
    assert_eq!(cluster["identity"], before["identity"], "what roles trust");
    let new = site.connect(&cluster, &token(&site.root(), "demo")).await;
    let of_new = new
        .token("default", "default", "sts.amazonaws.com")
        .await
        .unwrap();

    // The keys are the new server's, and count for the issuer that roles trust.
    let aws = site.aws();
    let issuer = cluster["identity"]["oidc"]["issuer"].as_str().unwrap();
    let tags = Marks::of_run("clusters").tags();
    aws.provide_oidc(issuer, "sts.amazonaws.com", &tags)
        .await
        .unwrap();
    let trust = json!({ "Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Principal": { "Federated": aws.oidc_arn(issuer) },
        "Action": "sts:AssumeRoleWithWebIdentity",
    } });
    let role = site.role("app", &trust).await;
    aws.assume(&role, &of_new).await.map(drop).unwrap();
    let refused = aws.assume(&role, &of_old).await.map(drop);
    assert!(refused.is_err_and(|error| error.is_bad_token()));
    site.endpoint.stop().await;
}

/// A backend that cannot.
#[derive(Debug)]
struct Never;

impl ClusterBackend for Never {
    fn create(&self, _: ClusterWanted, _: ClusterCallers) -> BoxFuture<'_, Result<ClusterParts, String>> {
        async { Err("no room".to_owned()) }.boxed()
    }

    fn delete(&self, _: &str, _: &str) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}

#[tokio::test]
async fn a_cluster_without_an_api_server_has_failed_and_can_be_deleted() {
    let site = Site::start(|_| Arc::new(Never)).await;
    let cluster = site.cluster("demo", "FAILED").await;
    assert_eq!(cluster["endpoint"], Value::Null);
    let issue = &cluster["health"]["issues"][0];
    assert_eq!(issue["code"], "InternalFailure");
    assert_eq!(issue["message"], "The API server could not be started: no room");
    site.eks("DELETE", "/clusters/demo", &Value::Null).await;
    site.until("the cluster is gone", async || {
        site.ask("GET", CLUSTERS, "/clusters/demo", &Value::Null).await.0 == 404
    })
    .await;
    site.endpoint.stop().await;
}

/// An endpoint with a backend for clusters.
struct Site {
    endpoint: Endpoint,
    ca: Arc<RunCa>,
    client: HttpsClient,
}

impl Site {
    async fn start(backend: impl FnOnce(&Arc<RunCa>) -> Arc<dyn ClusterBackend>) -> Self {
        Self::going_on_from(None, backend).await
    }

    async fn going_on_from(
        saved: Option<Value>,
        backend: impl FnOnce(&Arc<RunCa>) -> Arc<dyn ClusterBackend>,
    ) -> Self {
        let ca = RunCa::generate("clusters").unwrap();
        let endpoint = Endpoint::start(EndpointConfig {
            cluster_backend: Some(backend(&ca)),
            saved,
            cluster_settling: Duration::ZERO,
            root_assumes_roles: true,
            ..EndpointConfig::new(ACCOUNT, &ca)
        })
        .await
        .unwrap();
        let client = HttpsClient::new(ca.certificate_pem(), Some(endpoint.address())).unwrap();
        Self { endpoint, ca, client }
    }

    fn root(&self) -> Credentials {
        let root = self.endpoint.root_credentials();
        Credentials::new(&root.access_key_id, root.secret_access_key(), None, None, "test")
    }

    fn aws(&self) -> Aws {
        let root = self.endpoint.root_credentials();
        Aws::connect(
            AwsAccess {
                region: REGION.to_owned(),
                account: ACCOUNT.to_owned(),
                partition: "aws".to_owned(),
                endpoint: Some(format!("https://{}", self.endpoint.address())),
                trust_pem: Some(self.ca.certificate_pem().to_owned()),
                proxy: None,
            },
            AdminKey::new(&root.access_key_id, root.secret_access_key()),
        )
        .unwrap()
    }

    /// A role with this trust that may do nothing.
    async fn role(&self, name: &str, trust: &Value) -> String {
        let (aws, tags) = (self.aws(), Marks::of_run("clusters").tags());
        let nothing = json!({ "Version": "2012-10-17", "Statement": {
            "Effect": "Deny", "Action": "*", "Resource": "*",
        } });
        let policy = aws.provide_policy(name, &nothing, &tags).await.unwrap();
        aws.provide_role(name, trust, &policy, &tags).await.unwrap()
    }

    /// A new role's ARN, and a session of it.
    async fn session(&self, name: &str) -> (String, Credentials) {
        let trust = json!({ "Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Principal": { "AWS": ACCOUNT }, "Action": "sts:AssumeRole",
        } });
        let arn = self.role(name, &trust).await;
        let body = format!(
            "Action=AssumeRole&Version=2011-06-15&RoleSessionName=test&RoleArn=arn%3Aaws%3Aiam%3A%3A{ACCOUNT}%3Arole%2F{name}"
        );
        let host = format!("sts.{REGION}.amazonaws.com");
        let (status, text) = self.send("POST", &host, "/", body).await;
        assert_eq!(status, 200, "{text}");
        let of = |element: &str| {
            let (_, rest) = text.split_once(&format!("<{element}>")).unwrap();
            rest.split_once('<').unwrap().0.to_owned()
        };
        let token = Some(of("SessionToken"));
        let key = Credentials::new(of("AccessKeyId"), of("SecretAccessKey"), token, None, "test");
        (arn, key)
    }

    /// A new cluster, once it has this status.
    async fn cluster(&self, name: &str, status: &str) -> Value {
        let trust = json!({ "Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Principal": { "Service": "eks.amazonaws.com" }, "Action": "sts:AssumeRole",
        } });
        let wanted = json!({
            "name": name,
            "roleArn": self.role("cluster", &trust).await,
            "resourcesVpcConfig": { "subnetIds": ["subnet-1", "subnet-2"] },
            "accessConfig": { "authenticationMode": "API" },
        });
        let made = self.eks("POST", "/clusters", &wanted).await;
        assert_eq!(made["cluster"]["status"], "CREATING");
        self.once(name, status).await
    }

    /// A cluster, once it has this status.
    async fn once(&self, name: &str, status: &str) -> Value {
        let path = format!("/clusters/{name}");
        self.until(status, async || {
            self.eks("GET", &path, &Value::Null).await["cluster"]["status"] == status
        })
        .await;
        self.eks("GET", &path, &Value::Null).await["cluster"].clone()
    }

    /// As a tool does that has asked EKS about a cluster.
    async fn connect(&self, cluster: &Value, token: &str) -> Kubernetes {
        let data = cluster["certificateAuthority"]["data"].as_str().unwrap();
        let pem = BASE64_STANDARD.decode(data).unwrap();
        let access = KubernetesAccess::new(
            cluster["endpoint"].as_str().unwrap(),
            String::from_utf8(pem).unwrap(),
            Identity::Token(Credential::new(token)),
        );
        let connected = Kubernetes::connect(&access, &Marks::of_run("clusters")).await;
        connected.unwrap()
    }

    /// An operation of EKS that has to work.
    async fn eks(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.ask(method, CLUSTERS, path, body).await;
        assert_eq!(status, 200, "{method} {path}: {answer}");
        answer
    }

    async fn ask(&self, method: &str, host: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let (status, text) = self.send(method, host, path, body).await;
        (status, serde_json::from_str(&text).unwrap())
    }

    /// Sends what the root key has signed.
    async fn send(&self, method: &str, host: &str, path: &str, body: String) -> (u16, String) {
        let mut labels = host.split('.');
        let (service, region) = (labels.next().unwrap(), labels.next().unwrap());
        let region = if region == "amazonaws" {
            "us-east-1"
        } else {
            region
        };
        let url = format!("https://{host}{path}");
        let kind = if service == "eks" {
            "application/json"
        } else {
            "application/x-www-form-urlencoded"
        };
        let mut request = Request::builder()
            .method(method)
            .uri(&url)
            .header("host", host)
            .header("content-type", kind)
            .body(())
            .unwrap();
        let headers = [("host", host), ("content-type", kind)];
        let signable = SignableRequest::new(
            method,
            &url,
            headers.into_iter(),
            SignableBody::Bytes(body.as_bytes()),
        );
        apply(
            signable.unwrap(),
            &mut request,
            &self.root(),
            (service, region),
            SigningSettings::default(),
        );
        let request = request.map(|()| Full::new(Bytes::from(body)));
        let answer = self.client.send(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    /// Waits until it holds.
    async fn until(&self, what: &str, holds: impl AsyncFn() -> bool) {
        let looking = async {
            while !holds().await {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let held = tokio::time::timeout(SOON, looking).await;
        assert!(held.is_ok(), "not within {SOON:?}: {what}");
    }
}

/// A token as `aws eks get-token` makes it.
fn token(caller: &Credentials, cluster: &str) -> String {
    let url = format!("https://sts.{REGION}.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15");
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(Duration::from_mins(1));
    let headers = [("x-k8s-aws-id", cluster)];
    let signable = SignableRequest::new("GET", &url, headers.into_iter(), SignableBody::empty());
    let mut request = Request::get(&url).body(()).unwrap();
    apply(signable.unwrap(), &mut request, caller, ("sts", REGION), settings);
    let signed = BASE64_URL_SAFE_NO_PAD.encode(request.uri().to_string());
    format!("k8s-aws-v1.{signed}")
}

fn apply(
    signable: SignableRequest<'_>,
    request: &mut Request<()>,
    caller: &Credentials,
    (service, region): (&str, &str),
    settings: SigningSettings,
) {
    let identity = caller.clone().into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(SystemTime::now())
        .settings(settings)
        .build()
        .unwrap()
        .into();
    let signed = sign(signable, &params).unwrap();
    signed.into_parts().0.apply_to_request_http1x(request);
}
