//! An endpoint with a backend for clusters, and calls to it.

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
use http::Request;
use http_body_util::{BodyExt as _, Full};
use mountproof::{
    aws::{AdminKey, Aws, AwsAccess},
    kubernetes::{Identity, Kubernetes, KubernetesAccess},
    secret::Credential,
    tenant::Marks,
};
use mountproof_aws_endpoint::{Endpoint, EndpointConfig, eks::ClusterBackend};
use mountproof_run_tls::{HttpsClient, RunCa};
use serde_json::{Value, json};

pub(crate) const ACCOUNT: &str = "000000000000";
pub(crate) const REGION: &str = "eu-west-1";
pub(crate) const CLUSTERS: &str = "eks.eu-west-1.amazonaws.com";
/// Longest wait for a cluster.
const SOON: Duration = Duration::from_mins(1);

/// An endpoint with a backend for clusters.
pub(crate) struct Site {
    pub(crate) endpoint: Endpoint,
    pub(crate) ca: Arc<RunCa>,
    client: HttpsClient,
}

impl Site {
    pub(crate) async fn start(backend: impl FnOnce(&Arc<RunCa>) -> Arc<dyn ClusterBackend>) -> Self {
        Self::going_on_from(None, backend).await
    }

    pub(crate) async fn going_on_from(
        saved: Option<Value>,
        backend: impl FnOnce(&Arc<RunCa>) -> Arc<dyn ClusterBackend>,
    ) -> Self {
        Self::with(backend, |config| EndpointConfig {
            saved,
            cluster_settling: Duration::ZERO,
            ..config
        })
        .await
    }

    /// One whose endpoint is as `change` says.
    pub(crate) async fn with(
        backend: impl FnOnce(&Arc<RunCa>) -> Arc<dyn ClusterBackend>,
        change: impl FnOnce(EndpointConfig) -> EndpointConfig,
    ) -> Self {
        let ca = RunCa::generate("clusters").unwrap();
        let endpoint = Endpoint::start(change(EndpointConfig {
            cluster_backend: Some(backend(&ca)),
            root_assumes_roles: true,
            ..EndpointConfig::new(ACCOUNT, &ca)
        }))
        .await
        .unwrap();
        let client = HttpsClient::new(ca.certificate_pem(), Some(endpoint.address())).unwrap();
        Self { endpoint, ca, client }
    }

    pub(crate) fn root(&self) -> Credentials {
        let root = self.endpoint.root_credentials();
        Credentials::new(&root.access_key_id, root.secret_access_key(), None, None, "test")
    }

    pub(crate) fn aws(&self) -> Aws {
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
    pub(crate) async fn role(&self, name: &str, trust: &Value) -> String {
        let (aws, tags) = (self.aws(), Marks::of_run("clusters").tags());
        let nothing = json!({ "Version": "2012-10-17", "Statement": {
            "Effect": "Deny", "Action": "*", "Resource": "*",
        } });
        let policy = aws.provide_policy(name, &nothing, &tags).await.unwrap();
        aws.provide_role(name, trust, &policy, &tags).await.unwrap()
    }

    /// A new role's ARN, and a session of it.
    pub(crate) async fn session(&self, name: &str) -> (String, Credentials) {
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
    pub(crate) async fn cluster(&self, name: &str, status: &str) -> Value {
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
    pub(crate) async fn once(&self, name: &str, status: &str) -> Value {
        let path = format!("/clusters/{name}");
        self.until(status, async || {
            self.eks("GET", &path, &Value::Null).await["cluster"]["status"] == status
        })
        .await;
        self.eks("GET", &path, &Value::Null).await["cluster"].clone()
    }

    /// As a tool does that has asked EKS about a cluster.
    pub(crate) async fn connect(&self, cluster: &Value, token: &str) -> Kubernetes {
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
    pub(crate) async fn eks(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.ask(method, CLUSTERS, path, body).await;
        assert_eq!(status, 200, "{method} {path}: {answer}");
        answer
    }

    pub(crate) async fn ask(&self, method: &str, host: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let (status, text) = self.send(method, host, path, body).await;
        (status, serde_json::from_str(&text).unwrap())
    }

    /// Sends what the root key has signed.
    pub(crate) async fn send(&self, method: &str, host: &str, path: &str, body: String) -> (u16, String) {
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
    pub(crate) async fn until(&self, what: &str, holds: impl AsyncFn() -> bool) {
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
pub(crate) fn token(caller: &Credentials, cluster: &str) -> String {
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
