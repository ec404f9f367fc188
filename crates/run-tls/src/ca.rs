//! A certificate authority that lives as long as a run.

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

/// The certificate or its key could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate could not be generated.
    #[error("generate a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The TLS configuration is not usable.
    #[error("configure TLS: {0}")]
    Config(#[from] rustls::Error),
    /// A certificate to trust is not PEM.
    #[error("read a certificate authority: {0}")]
    Trust(#[from] rustls::pki_types::pem::Error),
}

/// A certificate and its private key, as PEM.
pub struct PemPair {
    /// The certificate.
    pub certificate: String,
    /// Its key: keep it where nobody else reads it.
    pub key: String,
}

impl fmt::Debug for PemPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PemPair").finish_non_exhaustive()
    }
}

/// A certificate authority for one run. Its private key never leaves memory.
pub struct RunCa {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
}

/// What a certificate is for.
#[derive(Debug, Clone, Copy)]
enum Subject<'a> {
    /// A host's name.
    Name(&'a str),
    /// This machine: loopback, and another address of it.
    Here(Option<IpAddr>),
}

impl RunCa {
    /// Generates an authority whose common name carries `run`, so that a stray certificate can be
    /// traced to its run.
    pub fn generate(run: &str) -> Result<Arc<Self>, TlsError> {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, format!("mountproof run {run}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let key = KeyPair::generate()?;
        let certificate_pem = params.self_signed(&key)?.pem();
        Ok(Arc::new(Self {
            issuer: Issuer::new(params, key),
            certificate_pem,
        }))
    }

    /// The authority's certificate, as PEM: what clients put into `SSL_CERT_FILE` or `AWS_CA_BUNDLE`.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// A server configuration that answers as loopback, and by name wherever `may_serve` says so.
    ///
    /// Certificates are issued on first use and kept. ALPN offers HTTP/2 and HTTP/1.1.
    pub fn server_config(
        self: &Arc<Self>,
        may_serve: fn(&str) -> bool,
    ) -> Result<Arc<ServerConfig>, TlsError> {
        self.server_config_at(None, may_serve)
    }

    /// As [`server_config`](Self::server_config), for a server that is asked at another `address` of this machine too.
    pub fn server_config_at(
        self: &Arc<Self>,
        address: Option<IpAddr>,
        may_serve: fn(&str) -> bool,
    ) -> Result<Arc<ServerConfig>, TlsError> {
        let loopback = Arc::new(self.issue(Subject::Here(address))?);
        let resolver = ByServerName {
            ca: Arc::clone(self),
            may_serve,
            loopback,
            issued: Mutex::default(),
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// A new certificate for loopback with its key, as PEM, for a program that reads both from files: good for a server
    /// and for a client.
    pub fn loopback_pair(&self) -> Result<PemPair, TlsError> {
        let (certificate, key) = self.sign(Subject::Here(None))?;
        Ok(PemPair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }

    fn issue(&self, subject: Subject<'_>) -> Result<CertifiedKey, TlsError> {
        let (certificate, key) = self.sign(subject)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let signing = aws_lc_rs::sign::any_supported_type(&key)?;
        Ok(CertifiedKey::new(vec![certificate.der().clone()], signing))
    }

    fn sign(&self, subject: Subject<'_>) -> Result<(Certificate, KeyPair), TlsError> {
        let name = match subject {
            Subject::Name(name) => name,
            Subject::Here(_) => "localhost",
        };
        let mut params = CertificateParams::new([name.to_owned()])?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        if let Subject::Here(address) = subject {
            let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
            let addresses = loopback.into_iter().chain(address).map(SanType::IpAddress);
            params.subject_alt_names.extend(addresses);
            params
                .extended_key_usages
                .push(ExtendedKeyUsagePurpose::ClientAuth);
        }
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok((certificate, key))
    }
}

impl fmt::Debug for RunCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunCa").finish_non_exhaustive()
    }
}

/// Chooses, and where needed issues, the certificate for the name a client asks for.
#[derive(Debug)]
struct ByServerName {
    ca: Arc<RunCa>,
    may_serve: fn(&str) -> bool,
    loopback: Arc<CertifiedKey>,
    issued: Mutex<HashMap<String, Arc<CertifiedKey>>>,
}

impl ResolvesServerCert for ByServerName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // Clients that connect to an address send no name.
        let Some(name) = hello.server_name().filter(|name| *name != "localhost") else {
            return Some(Arc::clone(&self.loopback));
        };
        if !(self.may_serve)(name) {
            return None;
        }
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = issued.get(name) {
            return Some(Arc::clone(key));
        }
        match self.ca.issue(Subject::Name(name)) {
            Ok(key) => Some(Arc::clone(
                issued.entry(name.to_owned()).or_insert_with(|| Arc::new(key)),
            )),
            Err(error) => {
                tracing::warn!(name, %error, "no certificate");
                None
            }
        }
    }
}
