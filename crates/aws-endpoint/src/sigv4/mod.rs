//! PURE. AWS Signature Version 4, from the side that verifies.
//!
//! Imitated: the pages "Create a signed AWS API request" and "Authenticating requests: using query parameters"
//! of the IAM and S3 user guides, with the texts that AWS's services refuse in. A request says who signs it,
//! when and how ([`Claim`]); [`Claim::verify`] holds it against the secret. Nothing here reads a clock.
//!
//! Why not a library: `scratchstack-aws-signature`, which the tests compare this with, takes secrets of 40
//! characters only, ignores `X-Amz-Expires`, encodes the path once where every service but S3 encodes it twice,
//! and sorts `a-b` before `a` in a query. Two of AWS's own vectors need the latter two.

mod canonical;
mod claim;
mod key;

pub use canonical::{Encode, Style};
pub use claim::{Claim, Lifetime, Scope};
pub use key::{SigningKey, SigningKeys};

use http::HeaderMap;

/// A request as it came, as far as a signature covers it.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// Such as `POST`.
    pub method: &'a str,
    /// As sent, escapes and all.
    pub path: &'a str,
    /// As sent, without the question mark.
    pub query: &'a str,
    /// All of them.
    pub headers: &'a HeaderMap,
    /// The `:authority` of HTTP/2, where there is no `Host` header.
    pub authority: Option<&'a str>,
    /// All of it.
    pub body: &'a [u8],
}

/// Why a request counts as not signed, or as signed badly. The text is the one that AWS answers with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Nothing is said about a signature.
    #[error("{0}")]
    Missing(&'static str),
    /// What is said cannot be read.
    #[error("{0}")]
    Incomplete(String),
    /// The request's query or path is none.
    #[error("{0}")]
    Malformed(String),
    /// Too old, too new, for another service, region or day, or of another signer or request.
    #[error("{0}")]
    Mismatch(String),
}

#[cfg(test)]
mod tests;
