//! What older releases ask of the API server and of AWS, and newer ones do not.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use mountproof_aws_endpoint::{Endpoint, EndpointConfig};
use mountproof_run_tls::{HttpsClient, RunCa};
use mountproof_stand_ins::{
    kubernetes::{ApiServer, ApiServerConfig},
    rest::{ApiAccess, ApiClient, BearerToken, query_value},
};
use serde_json::{Value, json};

use crate::{
    aws::{ACCOUNT, Admin},
    world::namespace,
};

/// Providers below 3.0 and drivers below 1.6 have tokens made themselves, bound to no pod; those on the first SDK may
/// take them to the STS that has no region in its name.
pub(crate) async fn tokens_for_the_global_sts() {
    let ca = RunCa::generate("generations").unwrap();
    let server = ApiServer::start(ApiServerConfig::on_loopback(Arc::clone(&ca)))
        .await
        .unwrap();
    let endpoint = Endpoint::start(EndpointConfig::new(ACCOUNT, &ca)).await.unwrap();
    let access = ApiAccess {
        url: server.url(),
        ca_pem: ca.certificate_pem().to_owned(),
        token: BearerToken::new(server.component_token("provider").expose()),
    };
    let api = ApiClient::new(&access, "test").unwrap();
    let (at, key) = (endpoint.address(), endpoint.root_credentials());
    let aws = Admin::new(&ca, at, key, server.issuer()).await;
    let role = aws.role("red").await;
    namespace(&api, "red", &role).await;

    // With every null that client-go writes.
    let ask = json!({"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "metadata": {"creationTimestamp": null},
        "spec": {"audiences": ["sts.amazonaws.com"], "expirationSeconds": null, "boundObjectRef": null},
        "status": {"token": "", "expirationTimestamp": null}});
    let account = "/api/v1/namespaces/red/serviceaccounts/default";
    let made = api.create(&format!("{account}/token"), &ask).await.unwrap();
    let token = made["status"]["token"].as_str().unwrap();

    let http = HttpsClient::new(ca.certificate_pem(), Some(at)).unwrap();
    for (host, session) in [
        ("sts.amazonaws.com", "secrets-store-csi-driver-provider-aws"),
        (
            "sts.us-east-1.amazonaws.com",
            "secrets-store-csi-driver-provider-aws",
        ),
        ("sts.eu-west-1.amazonaws.com", "1764132000000000000"),
    ] {
        let fields = [
            ("Action", "AssumeRoleWithWebIdentity"),
            ("Version", "2011-06-15"),
            ("RoleArn", &role),
            ("RoleSessionName", session),
            ("WebIdentityToken", token),
        ];
        let body: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{name}={}", query_value(value)))
            .collect();
        let request = Request::post(format!("https://{host}/"))
            .header("host", host)
            .header("content-type", "application/x-www-form-urlencoded; charset=utf-8")
            .body(Full::new(Bytes::from(body.join("&"))))
            .unwrap();
        let answer = http.send(request).await.unwrap();
        let status = answer.status();
        let text = answer.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&text).into_owned();
        assert_eq!(status, 200, "{host}: {text}");
        assert!(
            text.contains(&format!("assumed-role/red-role/{session}")),
            "{host}: {text}"
        );
    }

    // Drivers below 1.6 read which audiences the CSIDriver object names.
    let drivers = "/apis/storage.k8s.io/v1/csidrivers";
    let object = json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": "d"},
        "spec": {"tokenRequests": [{"audience": "sts.amazonaws.com"}]}});
    api.create(drivers, &object).await.unwrap();
    let list: Value = api
        .fetch(&format!("{drivers}?limit=500&resourceVersion=0"), None)
        .await
        .unwrap();
    assert_eq!(
        list["items"][0]["spec"]["tokenRequests"],
        json!([{"audience": "sts.amazonaws.com"}])
    );
    endpoint.stop().await;
    server.stop().await;
}
