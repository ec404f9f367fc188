//! The endpoint as a gate before a backend that keeps secrets and parameters and lets in whoever asks.
//!
//! Tokens, signatures, trust and policies stay here. Of each call about a secret the backend is first asked what it
//! knows of that secret: the stored ARN, its tags, its resource policy. On that the call is decided, as it would be
//! on a secret of the endpoint's own; only then is it sent on, and the backend's answer handed back as it came. A
//! denied call never reaches the backend with more than those questions, and operations that this endpoint does not
//! know do not reach it at all.
//!
//! What a caller may name a secret by, and what the backend makes of it, could differ. So the call that is sent on
//! names the ARN that was decided on, and it is written anew from what was understood of it.
//!
//! Of parameters the backend is asked for tags, and for the keys of what is decrypted ([`parameters`]). Keys of KMS
//! are the endpoint's own.
//!
//! IAM documents that are written here are also sent to the backend ([`mirror`]), for those who look there; it
//! decides nothing.
//!
//! A replica's value and policy are its primary's, wherever the backend has them ([`replica`]).
//!
//! Left out: the backend is spoken to in plain HTTP, with a signature that is none; values are encrypted with no
//! key of KMS, so the keys here decide who may read, as they do for the endpoint's own secrets.

mod batch;
mod client;
mod guard;
mod mirror;
mod parameters;
mod questions;
mod replica;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::uri::Authority;

pub(crate) use self::client::Relayed;
use self::{client::Client, mirror::Mirror};

/// Longest wait for the first answer: LocalStack loads a service when it is first asked for, and that on a busy machine.
const FIRST: Duration = Duration::from_mins(1);

/// What keeps secrets and parameters in the endpoint's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    name: String,
    authority: Authority,
}

/// The address of a backend is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{url} is not the address of a backend: give http://HOST:PORT")]
pub struct BadAddress {
    url: String,
}

impl Backend {
    /// The backend `name`, as the call log shall call it, at `http://HOST:PORT`.
    ///
    /// # Errors
    /// When `url` is something else.
    pub fn new(name: impl Into<String>, url: &str) -> Result<Self, BadAddress> {
        let bad = || BadAddress { url: url.to_owned() };
        let authority = url.strip_prefix("http://").ok_or_else(bad)?;
        let authority: Authority = authority
            .strip_suffix('/')
            .unwrap_or(authority)
            .parse()
            .map_err(|_| bad())?;
        // A user in the address would be shown wherever the address is.
        if authority.port_u16().is_none() || authority.as_str().contains('@') {
            return Err(bad());
        }
        Ok(Self {
            name: name.into(),
            authority,
        })
    }

    /// As the call log calls it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is: `http://HOST:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.authority)
    }
}

/// The gate before one backend.
pub(crate) struct Gateway {
    name: Arc<str>,
    client: Client,
    mirror: Mirror,
}

impl Gateway {
    /// For `account`, whose secrets the backend keeps. Nothing is sent yet.
    pub(crate) fn new(backend: &Backend, account: &str) -> Self {
        let client = Client::new(backend, account);
        Self {
            name: backend.name.as_str().into(),
            mirror: Mirror::start(client.clone()),
            client,
        }
    }

    /// As the call log calls the backend.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Sends on a call to IAM that was carried out here.
    pub(crate) fn mirror(&self, operation: &str, form: &Bytes) {
        self.mirror.send(operation, form.clone());
    }

    /// Whether the backend answers, in the words of Secrets Manager.
    pub(crate) async fn check(&self) -> Result<(), String> {
        let request = questions::anything();
        let answer = self.client.send_within(FIRST, &request, "us-east-1").await;
        let answer = answer.map_err(|error| error.because)?;
        questions::is_secrets_manager(answer.status, &answer.body)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;

    #[test]
    fn a_backend_is_a_host_and_a_port() {
        for (url, shown) in [
            ("http://127.0.0.1:4566", Some("http://127.0.0.1:4566")),
            ("http://localstack:4566/", Some("http://localstack:4566")),
            ("http://[::1]:4566", Some("http://[::1]:4566")),
            ("https://127.0.0.1:4566", None),
            ("http://127.0.0.1", None),
            ("http://127.0.0.1:4566/path", None),
            ("http://user:pass@127.0.0.1:4566", None),
            ("localstack", None),
            ("", None),
        ] {
            let backend = Backend::new("it", url);
            assert_eq!(backend.as_ref().map(Backend::url).ok().as_deref(), shown, "{url}");
        }
        let error = Backend::new("it", "nowhere").unwrap_err();
        assert_eq!(
            error.to_string(),
            "nowhere is not the address of a backend: give http://HOST:PORT"
        );
    }
}
