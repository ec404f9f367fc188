//! The ways in, and that there is no way out.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mountproof_aws_endpoint::{CallVerdict, Faults, StartError};
use mountproof_run_tls::HttpsClient;
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

use crate::{
    client::{Client, signed},
    support::{Bench, start},
};

/// Longest wait for what has to come at once.
const SOON: Duration = Duration::from_secs(10);

/// Everything the endpoint answers to raw bytes until it closes.
async fn say(bench: &Bench, text: &str) -> String {
    let mut stream = TcpStream::connect(bench.endpoint.address()).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(SOON, stream.read_to_end(&mut answer))
        .await
        .unwrap()
        .unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn connect_leads_to_aws_names_only() {
    let bench = Bench::start().await;
    for target in [
        "example.com:443",
        "secretsmanager.eu-west-1.amazonaws.com:80",
        "secretsmanager.eu-west-1.amazonaws.com",
        "amazonaws.com.example.com:443",
        "evilamazonaws.com:443",
        "127.0.0.1:443",
        "[::1]:443",
        "",
    ] {
        let answer = say(
            &bench,
            &format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"),
        )
        .await;
        let refused = answer.starts_with("HTTP/1.1 403 ") && answer.contains("only *.amazonaws.com:443 is");
        assert!(refused, "{target}: {answer}");
    }
}

#[tokio::test]
async fn plain_http_is_refused_with_a_reason() {
    let bench = Bench::start().await;
    for request in [
        "GET / HTTP/1.1\r\n\r\n",
        "POST http://sts.amazonaws.com/ HTTP/1.1\r\n\r\n",
        "\r\n\r\n",
    ] {
        let answer = say(&bench, request).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(
            answer.contains("this port speaks HTTPS, and HTTP only for CONNECT"),
            "{answer}"
        );
    }
    let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(10_000));
    let mut stream = TcpStream::connect(bench.endpoint.address()).await.unwrap();
    stream.write_all(long.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    timeout(SOON, stream.read_exact(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&answer, b"HTTP/1.1 431");
}

#[tokio::test]
async fn tls_is_served_directly_too_and_the_service_is_read_from_the_signature() {
    let bench = Bench::start().await;
    let body = json!({"SecretId": "demo/team-red/secret"}).to_string();
    // Signed for AWS's host name, which the request carries, over a connection to the address itself.
    let mut request = signed(
        "secretsmanager",
        Some("GetSecretValue"),
        body,
        &bench.root,
        SystemTime::now(),
    );
    *request.uri_mut() = format!("https://{}/", bench.endpoint.address()).parse().unwrap();
    let direct = HttpsClient::new(bench.ca.certificate_pem(), None).unwrap();
    let response = direct.send(request.map(Into::into)).await.unwrap();
    assert_eq!(response.status(), 200);
}

/// As Go's client, which the real provider uses: HTTP/2, where the host is in the URI and no header.
#[tokio::test]
async fn http2_is_served_and_signed_hosts_are_found() {
    let bench = Bench::start().await;
    let name = "secretsmanager.eu-west-1.amazonaws.com";
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bench.ca.certificate_pem().as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let mut tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let connect = async |name: &'static str| {
        let stream = TcpStream::connect(bench.endpoint.address()).await.unwrap();
        let connector = TlsConnector::from(Arc::new(tls.clone()));
        timeout(SOON, connector.connect(name.try_into().unwrap(), stream))
            .await
            .unwrap()
    };
    connect("example.com").await.unwrap_err();

    let stream = connect(name).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let body = json!({"SecretId": "demo/team-red/secret"}).to_string();
    let mut request = signed(
        "secretsmanager",
        Some("GetSecretValue"),
        body,
        &bench.root,
        SystemTime::now(),
    );
    request.headers_mut().remove("host").unwrap();
    let request = request.map(|body| Full::new(Bytes::from(body)));
    let response = timeout(SOON, sender.send_request(request))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(response.version(), http::Version::HTTP_2);
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn the_log_counts_connections_and_knows_regions() {
    let bench = Bench::start().await;
    let before = bench.endpoint.calls().cursor();
    let red = bench.session("red").await;
    for _ in 0..2 {
        bench.read(&red, "demo/team-red/secret").await;
    }
    let another = Client::new(&bench.ca, &bench.endpoint);
    another
        .secrets(
            &red,
            "GetSecretValue",
            &json!({"SecretId": "demo/team-red/secret"}),
        )
        .await;
    let calls = bench.endpoint.calls().since(before);
    let reads: Vec<_> = calls
        .iter()
        .filter(|call| call.operation == "GetSecretValue")
        .collect();
    assert_eq!(reads.len(), 3);
    assert_eq!(reads[0].connection, reads[1].connection, "kept alive");
    assert_ne!(reads[1].connection, reads[2].connection);
    assert!(reads.iter().all(|call| call.region == "eu-west-1"));
    assert!(calls.iter().all(|call| call.verdict == CallVerdict::Allowed));
    let sequence: Vec<u64> = calls.iter().map(|call| call.sequence).collect();
    assert_eq!(sequence, (before..before + 4).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_outage_ends_connections_until_it_is_over() {
    let bench = Bench::start().await;
    let body = json!({"SecretId": "demo/team-red/secret"});
    let request = || {
        let now = SystemTime::now();
        signed(
            "secretsmanager",
            Some("GetSecretValue"),
            body.to_string(),
            &bench.root,
            now,
        )
    };
    assert_eq!(bench.client.send(request()).await.status, 200);
    bench.endpoint.set_faults(Faults {
        outage: true,
        ..Faults::default()
    });
    let cursor = bench.endpoint.calls().cursor();
    for _ in 0..3 {
        timeout(SOON, bench.client.try_send(request()))
            .await
            .unwrap()
            .unwrap_err();
    }
    assert_eq!(bench.endpoint.calls().cursor(), cursor, "nothing was answered");
    bench.endpoint.set_faults(Faults::default());
    assert_eq!(bench.client.send(request()).await.status, 200);
}

#[tokio::test]
async fn it_starts_on_a_free_port_only_and_stops_for_good() {
    let bench = Bench::start().await;
    let address = bench.endpoint.address();
    let Err(error @ StartError::Listen { .. }) = start(&bench.ca, address).await else {
        panic!("two endpoints on one port");
    };
    assert!(
        error.to_string().ends_with("give port 0 for a free port"),
        "{error}"
    );
    let left = bench.endpoint.leftovers();
    assert!(
        left.contains(&"role red".to_owned()) && left.contains(&"secret demo/team-red/secret".to_owned()),
        "{left:?}"
    );
    timeout(SOON, bench.endpoint.stop()).await.unwrap();
    TcpStream::connect(address).await.unwrap_err();
}
