//! The account's administrator: makes the identity provider, roles and secrets.

use std::{net::SocketAddr, time::SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use mountproof_aws_endpoint::RootCredentials;
use mountproof_run_tls::{HttpsClient, RunCa};
use mountproof_stand_ins::rest::query_value;
use serde_json::{Value, json};

pub(crate) const ACCOUNT: &str = "000000000000";
pub(crate) const REGION: &str = "us-east-1";

pub(crate) struct Admin {
    http: HttpsClient,
    key: Credentials,
    issuer: String,
}

impl Admin {
    pub(crate) async fn new(ca: &RunCa, proxy: SocketAddr, root: &RootCredentials, issuer: &str) -> Self {
        let admin = Self {
            http: HttpsClient::new(ca.certificate_pem(), Some(proxy)).unwrap(),
            key: Credentials::new(&root.access_key_id, root.secret_access_key(), None, None, "test"),
            issuer: issuer.trim_start_matches("https://").to_owned(),
        };
        let made = admin
            .iam(&[
                ("Action", "CreateOpenIDConnectProvider"),
                ("Url", issuer),
                ("ClientIDList.member.1", "sts.amazonaws.com"),
                (
                    "ThumbprintList.member.1",
                    "0000000000000000000000000000000000000000",
                ),
            ])
            .await;
        assert_eq!(made.0, 200, "{}", made.1);
        admin
    }

    /// A role that `namespace`'s `default` account may take on, and that may read `namespace`'s secrets.
    pub(crate) async fn role(&self, namespace: &str) -> String {
        let issuer = &self.issuer;
        let trust = json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
            "Principal": {"Federated": format!("arn:aws:iam::{ACCOUNT}:oidc-provider/{issuer}")},
            "Condition": {"StringEquals": {
                format!("{issuer}:sub"): format!("system:serviceaccount:{namespace}:default"),
                format!("{issuer}:aud"): "sts.amazonaws.com"}}}]});
        let policy = json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Action": ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"],
            "Resource": format!("arn:aws:secretsmanager:*:{ACCOUNT}:secret:{namespace}/*")}]});
        let name = format!("{namespace}-role");
        for request in [
            &[
                ("Action", "CreateRole"),
                ("RoleName", name.as_str()),
                ("AssumeRolePolicyDocument", &trust.to_string()),
            ][..],
            &[
                ("Action", "PutRolePolicy"),
                ("RoleName", name.as_str()),
                ("PolicyName", "own"),
                ("PolicyDocument", &policy.to_string()),
            ],
        ] {
            let made = self.iam(request).await;
            assert_eq!(made.0, 200, "{}", made.1);
        }
        format!("arn:aws:iam::{ACCOUNT}:role/{name}")
    }

    /// A call to Secrets Manager, which must work.
    pub(crate) async fn secrets(&self, operation: &str, body: Value) -> Value {
        self.secrets_in(REGION, operation, body).await
    }

    /// The same in `region`.
    pub(crate) async fn secrets_in(&self, region: &str, operation: &str, mut body: Value) -> Value {
        if operation != "DescribeSecret" {
            body["ClientRequestToken"] = uuid::Uuid::new_v4().to_string().into();
        }
        let host = format!("secretsmanager.{region}.amazonaws.com");
        let request = Request::post(format!("https://{host}/"))
            .header("host", host)
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", format!("secretsmanager.{operation}"))
            .body(body.to_string())
            .unwrap();
        let (status, text) = self.send(request, "secretsmanager", region).await;
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    async fn iam(&self, fields: &[(&str, &str)]) -> (u16, String) {
        let fields = fields.iter().chain(&[("Version", "2010-05-08")]);
        let body: Vec<String> = fields
            .map(|(name, value)| format!("{name}={}", query_value(value)))
            .collect();
        let request = Request::post("https://iam.amazonaws.com/")
            .header("host", "iam.amazonaws.com")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body.join("&"))
            .unwrap();
        self.send(request, "iam", REGION).await
    }

    async fn send(&self, mut request: Request<String>, service: &str, region: &str) -> (u16, String) {
        let identity = self.key.clone().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name(service)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .unwrap()
            .into();
        let headers = request.headers().iter();
        let signable = SignableRequest::new(
            request.method().as_str(),
            request.uri().to_string(),
            headers.map(|(name, value)| (name.as_str(), value.to_str().unwrap())),
            SignableBody::Bytes(request.body().as_bytes()),
        );
        let (instructions, _) = sign(signable.unwrap(), &params).unwrap().into_parts();
        instructions.apply_to_request_http1x(&mut request);
        let request = request.map(|body| Full::new(Bytes::from(body)));
        let answer = self.http.send(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }
}
