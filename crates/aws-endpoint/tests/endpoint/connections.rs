//! The ways in: TLS directly, or behind `CONNECT` for AWS's names only. There is no way out.

use std::{net::SocketAddr, sync::Arc};

use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mountproof_aws_endpoint::{CallVerdict, Fault, Faults, Reach, StartError};
use mountproof_run_tls::{HttpsClient, RunCa};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::support::{
    ACCOUNT, REGION, SOON, Site, secrets_request, send, signed, start, sts_request, try_send,
};

/// Everything the endpoint answers to raw bytes until it closes.
async fn spoken(address: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    timeout(SOON, read).await.expect("a closed connection").unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn nothing_but_aws_is_reached_through_the_proxy() {
    let site = Site::start().await;
    for target in [
        "example.com:443",
        "127.0.0.1:443",
        "sts.us-east-1.amazonaws.com:80",
        "sts.us-east-1.amazonaws.com",
        "secretsmanager.eu-west-1.amazonaws.com:80",
        "secretsmanager.eu-west-1.amazonaws.com",
        "sts.us-east-1.amazonaws.com.example.com:443",
        "amazonaws.com.example.com:443",
        "notamazonaws.com:443",
        "evilamazonaws.com:443",
        "amazonaws.com:443",
        "[::1]:443",
        "",
    ] {
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        let answer = spoken(site.endpoint.address(), &request).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{target}: {answer}");
        assert!(
            answer.contains("only *.amazonaws.com:443 and *.api.aws:443 are"),
            "{target}: {answer}"
        );
    }
}

#[tokio::test]
async fn plain_http_is_refused_in_clear_words() {
    let site = Site::start().await;
    let address = site.endpoint.address();
    for request in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST http://sts.amazonaws.com/ HTTP/1.1\r\n\r\n",
        "\r\n\r\n",
    ] {
        let answer = spoken(address, request).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        let text = "this port speaks HTTPS, and HTTP only for CONNECT";
        assert!(answer.contains(text), "{answer}");
    }
    let long = "x".repeat(10_000);
    for request in [
        format!("GET /{long} HTTP/1.1\r\n"),
        format!("CONNECT {long}:443 HTTP/1.1\r\n\r\n"),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        // What follows the status may be lost: the endpoint does not read the rest of the request.
        let mut answer = [0; 12];
        timeout(SOON, stream.read_exact(&mut answer))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(&answer, b"HTTP/1.1 431");
    }
}

#[tokio::test]
async fn the_port_itself_speaks_tls() {
    let site = Site::start().await;
    site.tenant("team-red").await;
    let direct = HttpsClient::new(site.ca.certificate_pem(), None).unwrap();
    let at_the_port = |mut request: http::Request<bytes::Bytes>| {
        *request.uri_mut() = format!("https://{}/", site.endpoint.address()).parse().unwrap();
        request
    };
    // Signed for AWS's host name, which the request carries, over a connection to the address itself:
    // the service is that of the signature.
    let who = at_the_port(signed(sts_request("GetCallerIdentity", &[]), &site.root));
    let answer = send(&direct, who).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.xml("Arn").unwrap(), format!("arn:aws:iam::{ACCOUNT}:root"));
    let get = secrets_request(
        REGION,
        "GetSecretValue",
        json!({ "SecretId": "demo/team-red/secret" }),
    );
    let answer = send(&direct, at_the_port(signed(get, &site.root))).await;
    assert_eq!(answer.value_or_code(), "value of team-red");
}

#[tokio::test]
async fn its_certificates_are_its_own() {
    let site = Site::start().await;
    let other = RunCa::generate("other").unwrap();
    let client = HttpsClient::new(other.certificate_pem(), Some(site.endpoint.address())).unwrap();
    try_send(&client, sts_request("GetCallerIdentity", &[]))
        .await
        .unwrap_err();
}

/// As Go's client, which the real provider uses: HTTP/2, where the host is in the URI and no header.
#[tokio::test]
async fn http2_is_served_and_signed_hosts_are_found() {
    let site = Site::start().await;
    site.tenant("team-red").await;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(site.ca.certificate_pem().as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let mut tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let connect = async |name: &'static str| {
        let stream = TcpStream::connect(site.endpoint.address()).await.unwrap();
        let connector = TlsConnector::from(Arc::new(tls.clone()));
        timeout(SOON, connector.connect(name.try_into().unwrap(), stream))
            .await
            .unwrap()
    };
    connect("example.com").await.unwrap_err();

    let stream = connect("secretsmanager.eu-west-1.amazonaws.com").await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let get = secrets_request(
        REGION,
        "GetSecretValue",
        json!({ "SecretId": "demo/team-red/secret" }),
    );
    let mut request = signed(get, &site.root);
    request.headers_mut().remove("host").unwrap();
    let response = timeout(SOON, sender.send_request(request.map(Full::new)))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(response.version(), http::Version::HTTP_2);
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn connections_are_counted_and_kept_alive() {
    let site = Site::start().await;
    site.tenant("team-red").await;
    let before = site.endpoint.calls().cursor();
    let red = site.session("team-red").await;
    site.session("team-red").await;
    for _ in 0..3 {
        site.get(&red, "demo/team-red/secret").await;
    }
    let another = HttpsClient::new(site.ca.certificate_pem(), Some(site.endpoint.address())).unwrap();
    let get = secrets_request(
        REGION,
        "GetSecretValue",
        json!({ "SecretId": "demo/team-red/secret" }),
    );
    send(&another, signed(get, &red)).await;

    let calls = site.endpoint.calls().since(before);
    let connections: Vec<u64> = calls.iter().map(|call| call.connection).collect();
    let [first, second] = [connections[0], connections[2]];
    assert_ne!(first, second, "one to each host");
    assert_eq!(
        connections[..5],
        [first, first, second, second, second],
        "kept alive"
    );
    assert!(![first, second].contains(&connections[5]), "{connections:?}");
    let handshakes: Vec<bool> = calls.iter().map(|call| call.handshake).collect();
    // Whoever made the tenant had the second connection before.
    assert_eq!(handshakes, [true, false, false, false, false, true]);
    assert!(calls.iter().all(|call| call.region == REGION));
    assert!(calls.iter().all(|call| call.verdict == CallVerdict::Allowed));
    let sequence: Vec<u64> = calls.iter().map(|call| call.sequence).collect();
    assert_eq!(sequence, (before..before + 6).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_outage_drops_everyone_and_ends() {
    let site = Site::start().await;
    let request = || signed(sts_request("GetCallerIdentity", &[]), &site.root);
    assert_eq!(site.send(request()).await.status, 200);
    site.endpoint.set_faults(Fault::Outage(Reach::Everything).into());
    let cursor = site.endpoint.calls().cursor();
    // The connection that is kept alive is of no more use than a new one.
    for _ in 0..3 {
        try_send(&site.client, request()).await.unwrap_err();
    }
    let cut = site.endpoint.calls().since(cursor);
    assert!(cut.len() >= 3, "{cut:?}");
    for call in cut {
        assert_eq!(
            (call.fault.as_deref(), call.status),
            (Some("outage"), 0),
            "{call:?}"
        );
    }
    site.endpoint.set_faults(Faults::default());
    assert_eq!(site.send(request()).await.status, 200);
}

#[tokio::test]
async fn it_starts_on_a_free_port_only_and_stops_for_good() {
    let site = Site::start().await;
    let address = site.endpoint.address();
    let Err(error @ StartError::Listen { .. }) = start(&site.ca, address).await else {
        panic!("two endpoints on one port");
    };
    let text = error.to_string();
    assert!(text.contains(&address.to_string()), "{text}");
    assert!(text.ends_with("give port 0 for a free port"), "{text}");
    site.sts(&site.root, "GetCallerIdentity", &[]).await;
    timeout(SOON, site.endpoint.stop()).await.unwrap();
    TcpStream::connect(address).await.unwrap_err();
}
