//! The ways in: TLS directly, or behind `CONNECT` for AWS's names only.

#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

use std::{net::SocketAddr, sync::Arc, time::SystemTime};

use http_body_util::Full;
use mountproof_aws_endpoint::{Endpoint, EndpointConfig, Faults, RootCredentials, StartError};
use mountproof_run_tls::{HttpsClient, RunCa};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{ACCOUNT, REGION, Site, form_request, send, signed};

async fn spoken(address: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    tokio::time::timeout(std::time::Duration::from_secs(10), read)
        .await
        .expect("a closed connection")
        .unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn nothing_but_aws_is_reached_through_the_proxy() {
    let site = Site::start().await;
    let address = site.endpoint.address();
    for target in [
        "example.com:443",
        "127.0.0.1:443",
        "sts.us-east-1.amazonaws.com:80",
        "sts.us-east-1.amazonaws.com",
        "sts.us-east-1.amazonaws.com.example.com:443",
        "notamazonaws.com:443",
        "amazonaws.com:443",
        "[::1]:443",
        "",
    ] {
        let answer = spoken(
            address,
            &format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"),
        )
        .await;
        let status = answer.split(' ').nth(1).unwrap_or_default();
        assert!(
            status == "403" || (target.is_empty() && status == "400"),
            "{target}: {answer}"
        );
        assert!(answer.contains("amazonaws.com"), "{target}: {answer}");
    }
}

#[tokio::test]
async fn plain_http_is_refused_in_clear_words() {
    let site = Site::start().await;
    for request in [
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST http://sts.amazonaws.com/ HTTP/1.1\r\n\r\n",
        "\r\n\r\n",
    ] {
        let answer = spoken(site.endpoint.address(), request).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("HTTPS"), "{answer}");
    }
    let long = format!("CONNECT {}:443 HTTP/1.1\r\n\r\n", "x".repeat(20_000));
    let answer = spoken_or_reset(site.endpoint.address(), &long).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
}

/// As [`spoken`]; a connection that is reset while we still speak counts as an empty answer.
async fn spoken_or_reset(address: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(text.as_bytes()).await;
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(std::time::Duration::from_secs(10), read)
        .await
        .expect("a closed connection");
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn the_port_itself_speaks_tls() {
    let site = Site::start().await;
    let (client, uri) = site.direct();
    let request = form_request(&uri, "GetCallerIdentity", "2011-06-15", &[]);
    let answer = send(
        &client,
        signed(request, &site.root(), REGION, "sts", SystemTime::now()),
    )
    .await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.xml("Arn").unwrap(), format!("arn:aws:iam::{ACCOUNT}:root"));
}

#[tokio::test]
async fn its_certificates_are_its_own() {
    let site = Site::start().await;
    let other = RunCa::generate("other").unwrap();
    let client = HttpsClient::new(other.certificate_pem(), Some(site.endpoint.address())).unwrap();
    let request = form_request(
        "https://sts.amazonaws.com/",
        "GetCallerIdentity",
        "2011-06-15",
        &[],
    );
    assert!(client.send(request.map(Full::new)).await.is_err());
}

#[tokio::test]
async fn connections_are_counted_and_kept_alive() {
    let site = Site::start().await;
    for _ in 0..3 {
        site.sts(&site.root(), "GetCallerIdentity", &[]).await;
    }
    let fresh = HttpsClient::new(site.ca.certificate_pem(), Some(site.endpoint.address())).unwrap();
    let request = form_request(&crate::support::sts_uri(), "GetCallerIdentity", "2011-06-15", &[]);
    send(
        &fresh,
        signed(request, &site.root(), REGION, "sts", SystemTime::now()),
    )
    .await;
    let connections: Vec<u64> = site
        .endpoint
        .calls()
        .since(0)
        .iter()
        .map(|call| call.connection)
        .collect();
    assert_eq!(connections.len(), 4);
    assert!(
        connections[..3]
            .iter()
            .all(|connection| *connection == connections[0]),
        "{connections:?}"
    );
    assert_ne!(connections[3], connections[0]);
}

#[tokio::test]
async fn a_port_that_is_taken_says_so() {
    let site = Site::start().await;
    let ca = RunCa::generate("second").unwrap();
    let started = Endpoint::start(EndpointConfig {
        listen: site.endpoint.address(),
        account: ACCOUNT.to_owned(),
        ca: Arc::clone(&ca),
        root: RootCredentials::random(),
        issuer_trust_pem: ca.certificate_pem().to_owned(),
        seed: 1,
    })
    .await;
    let Err(error @ StartError::Listen { .. }) = started else {
        panic!("started on a port in use")
    };
    let text = error.to_string();
    assert!(
        text.contains(&site.endpoint.address().to_string()) && text.contains("free port"),
        "{text}"
    );
}

#[tokio::test]
async fn an_outage_drops_everyone_and_ends() {
    let site = Site::start().await;
    let request = || {
        let plain = form_request(&crate::support::sts_uri(), "GetCallerIdentity", "2011-06-15", &[]);
        signed(plain, &site.root(), REGION, "sts", SystemTime::now())
    };
    assert_eq!(site.send(request()).await.status, 200);
    site.endpoint.set_faults(Faults {
        outage: true,
        ..Faults::default()
    });
    // The connection that is kept alive is of no more use than a new one.
    for _ in 0..2 {
        assert!(site.client.send(request().map(Full::new)).await.is_err());
    }
    site.endpoint.set_faults(Faults::default());
    assert_eq!(site.send(request()).await.status, 200);
}

#[tokio::test]
async fn stopping_closes_the_port() {
    let site = Site::start().await;
    let address = site.endpoint.address();
    site.sts(&site.root(), "GetCallerIdentity", &[]).await;
    site.endpoint.stop().await;
    assert!(TcpStream::connect(address).await.is_err());
}
