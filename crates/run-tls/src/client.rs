//! An HTTPS client that trusts only what it is told to.

use std::{error::Error as _, fmt, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{HttpConnector, proxy::Tunnel},
    },
    rt::TokioExecutor,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::TlsError;

/// A request that got no answer.
#[derive(Debug, thiserror::Error)]
#[error("{}", chain(.0))]
pub struct RequestError(#[from] hyper_util::client::legacy::Error);

/// An HTTP/1.1 client over TLS with kept-alive connections.
///
/// Cloning shares the connections.
#[derive(Clone)]
pub struct HttpsClient(Way);

#[derive(Clone)]
enum Way {
    Direct(Client<HttpsConnector<HttpConnector>, Full<Bytes>>),
    Proxied(Client<HttpsConnector<Tunnel<HttpConnector>>, Full<Bytes>>),
}

impl HttpsClient {
    /// A client that trusts the certificate authorities in the PEM text `trusted` and no others, and
    /// reaches every host through the HTTPS CONNECT proxy at `proxy` if there is one.
    pub fn new(trusted: &str, proxy: Option<SocketAddr>) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(trusted.as_bytes()) {
            roots.add(certificate?)?;
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let builder = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_only()
            .enable_http1();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new());
        Ok(Self(match proxy {
            None => Way::Direct(client.build(builder.wrap_connector(tcp))),
            Some(address) => {
                let uri = http::Uri::builder()
                    .scheme("http")
                    .authority(address.to_string())
                    .path_and_query("/")
                    .build()
                    .expect("a socket address is an authority");
                Way::Proxied(client.build(builder.wrap_connector(Tunnel::new(uri, tcp))))
            }
        }))
    }

    /// Sends `request`, whose URI is absolute, and returns the response's head and streaming body.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, RequestError> {
        Ok(match &self.0 {
            Way::Direct(client) => client.request(request).await?,
            Way::Proxied(client) => client.request(request).await?,
        })
    }
}

impl fmt::Debug for HttpsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpsClient").finish_non_exhaustive()
    }
}

/// The error and its causes on one line: hyper's own text is only "client error (Connect)".
fn chain(error: &hyper_util::client::legacy::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
