//! What a request says about its signature, in the `Authorization` header or in the query.

use std::borrow::Cow;
use std::cell::Cell;

use http::HeaderMap;
use http::header::{AUTHORIZATION, DATE};
use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};
use smallvec::SmallVec;

use super::canonical::{self, Style};
use super::{Fault, Signed, SigningKey, SigningKeys};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const TERMINATOR: &str = "aws4_request";
/// How far a request's time may be from the service's.
const WINDOW: SignedDuration = SignedDuration::from_mins(15);
/// The longest `X-Amz-Expires`: a week.
const LONGEST: i64 = 604_800;

/// What a request says about its signature. Nothing of it is verified yet.
#[derive(Clone)]
pub struct Claim<'a> {
    credential: Credential<'a>,
    signed_headers: Cow<'a, str>,
    signature: Cow<'a, str>,
    /// `20150830T123600Z`.
    date: Cow<'a, str>,
    signed_at: Timestamp,
    token: Option<Cow<'a, str>>,
    /// Of a presigned URL: for how long.
    expires: Option<SignedDuration>,
}

/// A credential of five words, and where the slashes between them are.
#[derive(Clone)]
struct Credential<'a> {
    text: Cow<'a, str>,
    slashes: [usize; 4],
}

/// What a request's credential scope says: `<key id>/<date>/<region>/<service>/aws4_request`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope<'a> {
    /// `AKIA..` or `ASIA..`.
    pub access_key_id: &'a str,
    /// `20150830`.
    pub date: &'a str,
    /// Such as `eu-west-1`.
    pub region: &'a str,
    /// Such as `secretsmanager`.
    pub service: &'a str,
    /// `aws4_request`.
    pub terminator: &'a str,
}

/// How long a presigned URL counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// As long as its `X-Amz-Expires` says.
    Stated,
    /// A quarter of an hour, as every signed request, whatever `X-Amz-Expires` says: STS reads it so,
    /// which tokens for EKS depend on (they say 60 and are used for 14 minutes).
    Window,
}

impl<'a> Claim<'a> {
    /// Reads the claim of a request.
    ///
    /// # Errors
    /// [`Fault::Missing`] where there is none, [`Fault::Incomplete`] where it cannot be read.
    pub fn of(request: &Signed<'a>) -> Result<Self, Fault> {
        let header = request.headers.get(AUTHORIZATION);
        let algorithm = (!request.query.is_empty())
            .then(|| canonical::parameter(request.query, "X-Amz-Algorithm"))
            .flatten();
        let claim = match (header, algorithm) {
            (Some(header), None) => Self::of_header(&lossy(header.as_bytes()), request.headers)?,
            (None, Some(algorithm)) if algorithm == ALGORITHM => Self::of_query(request.query)?,
            (Some(_), Some(_)) => return Err(mismatch("")),
            (None, _) => return Err(Fault::Missing("Missing Authentication Token")),
        };
        if !claim
            .signed_headers()
            .any(|name| name == "host" || name == ":authority")
        {
            let text = "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.";
            return Err(mismatch(text));
        }
        Ok(claim)
    }

    fn of_header(header: &Cow<'a, str>, headers: &'a HeaderMap) -> Result<Self, Fault> {
        let text = header.trim_ascii();
        let (algorithm, parameters) = text.split_once(' ').unwrap_or((text, ""));
        if algorithm != ALGORITHM {
            return Err(Fault::Incomplete(format!(
                "Unsupported AWS 'algorithm': '{algorithm}'."
            )));
        }
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for parameter in parameters
            .split(',')
            .map(str::trim_ascii)
            .filter(|text| !text.is_empty())
        {
            let Some((name, value)) = parameter.split_once('=') else {
                return Err(Fault::Incomplete(format!(
                    "'{parameter}' not a valid key=value pair (missing equal-sign) in Authorization header: '{text}'"
                )));
            };
            match name {
                "Credential" => credential = Some(value),
                "SignedHeaders" => signed_headers = Some(value),
                "Signature" => signature = Some(value),
                _ => {}
            }
        }
        let date = headers.get("x-amz-date").or_else(|| headers.get(DATE));
        let missing = [
            (
                credential.is_none(),
                "Authorization header requires 'Credential' parameter.",
            ),
            (
                signature.is_none(),
                "Authorization header requires 'Signature' parameter.",
            ),
            (
                signed_headers.is_none(),
                "Authorization header requires 'SignedHeaders' parameter.",
            ),
            (
                date.is_none(),
                "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
            ),
        ];
        let (Some(credential), Some(signed_headers), Some(signature), Some(date)) =
            (credential, signed_headers, signature, date)
        else {
            return Err(Fault::Incomplete(format!(
                "{} Authorization={algorithm}",
                absent(&missing)
            )));
        };
        let date = lossy(date.as_bytes());
        Ok(Self {
            signed_at: instant(&date)?,
            credential: Credential::read(part(header, credential))?,
            signed_headers: part(header, signed_headers),
            signature: part(header, signature),
            date,
            token: headers
                .get("x-amz-security-token")
                .map(|value| lossy(value.as_bytes())),
            expires: None,
        })
    }

    fn of_query(query: &'a str) -> Result<Self, Fault> {
        let value = |name| canonical::parameter(query, name);
        let credential = value("X-Amz-Credential");
        let signature = value("X-Amz-Signature");
        let signed_headers = value("X-Amz-SignedHeaders");
        let date = value("X-Amz-Date");
        let expires = value("X-Amz-Expires");
        let missing = [
            (
                credential.is_none(),
                "AWS query-string parameters must include 'X-Amz-Credential'.",
            ),
            (
                signature.is_none(),
                "AWS query-string parameters must include 'X-Amz-Signature'.",
            ),
            (
                signed_headers.is_none(),
                "AWS query-string parameters must include 'X-Amz-SignedHeaders'.",
            ),
            (
                date.is_none(),
                "AWS query-string parameters must include 'X-Amz-Date'.",
            ),
        ];
        let (Some(credential), Some(signature), Some(signed_headers), Some(date)) =
            (credential, signature, signed_headers, date)
        else {
            let text = format!("{} Re-examine the query-string parameters.", absent(&missing));
            return Err(Fault::Incomplete(text));
        };
        let expires = match expires {
            // Optional but for S3: the window applies then.
            None => WINDOW,
            Some(text) => {
                let seconds = text
                    .parse()
                    .ok()
                    .filter(|seconds| (1..=LONGEST).contains(seconds));
                let seconds = seconds.ok_or_else(|| {
                    let text = "X-Amz-Expires should be a number of seconds from 1 to 604800";
                    Fault::Incomplete(format!("{text}. Re-examine the query-string parameters."))
                })?;
                SignedDuration::from_secs(seconds)
            }
        };
        Ok(Self {
            signed_at: instant(&date)?,
            credential: Credential::read(credential)?,
            signed_headers,
            signature,
            date,
            token: value("X-Amz-Security-Token"),
            expires: Some(expires),
        })
    }

    /// The session token that came along.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Whether the query holds it: a presigned URL.
    #[must_use]
    pub fn is_presigned(&self) -> bool {
        self.expires.is_some()
    }

    /// The names of the headers that are signed.
    pub fn signed_headers(&self) -> impl Iterator<Item = &str> {
        self.signed_headers.split(';')
    }

    /// Who signed for what.
    #[must_use]
    pub fn scope(&self) -> Scope<'_> {
        self.credential.scope()
    }

    /// Whether it is neither too old nor too new, and dated as its scope says.
    ///
    /// # Errors
    /// In AWS's words.
    pub fn check_time(&self, now: Timestamp, lifetime: Lifetime) -> Result<(), Fault> {
        let allowed = match (lifetime, self.expires) {
            (Lifetime::Stated, Some(expires)) => expires,
            _ => WINDOW,
        };
        let (earliest, latest) = (shifted(now, -allowed), shifted(now, WINDOW));
        if self.signed_at < earliest {
            return Err(mismatch(&format!(
                "Signature expired: {} is now earlier than {} ({} - {}.)",
                self.date,
                basic(earliest),
                basic(now),
                spoken(allowed)
            )));
        }
        if self.signed_at > latest {
            return Err(mismatch(&format!(
                "Signature not yet current: {} is still later than {} ({} + {}.)",
                self.date,
                basic(latest),
                basic(now),
                spoken(WINDOW)
            )));
        }
        Ok(())
    }

    /// Whether the scope is for this region and service, where one is expected, and of the day of the signature.
    ///
    /// Only IAM says which region is the wrong one (reports of 2020 and 2022: rusoto/rusoto#1870,
    /// JuliaCloud/AWS.jl#565). STS did until 2019 (cognitect-labs/aws-api#27, cloud-custodian#4900) and has not since
    /// (namecheap/node-vault-client#25, of 2022); Secrets Manager does not (minio/kes#303, of 2022). Of SSM, KMS and EKS
    /// no report was found: they are taken to speak as Secrets Manager does.
    ///
    /// # Errors
    /// In AWS's words, all that is wrong in one text.
    pub fn check_scope(&self, region: Option<&str>, service: Option<&str>) -> Result<(), Fault> {
        let scope = self.scope();
        let mut wrong = Vec::new();
        if region.is_some_and(|region| region != scope.region) {
            let named = match scope.service {
                "iam" => format!(", not '{}'", scope.region),
                _ => String::new(),
            };
            wrong.push(format!("Credential should be scoped to a valid region{named}."));
        }
        if let Some(service) = service
            && service != scope.service
        {
            wrong.push(format!(
                "Credential should be scoped to correct service: '{service}'."
            ));
        }
        if scope.terminator != TERMINATOR {
            wrong.push(format!(
                "Credential should be scoped with a valid terminator: 'aws4_request', not '{}'.",
                scope.terminator
            ));
        }
        let day = self.date.get(..8).unwrap_or_default();
        if scope.date != day {
            wrong.push(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{}' != \
                 '{day}', from '{}'.",
                scope.date, self.date
            ));
        }
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(mismatch(&wrong.join(" ")))
        }
    }

    /// Whether `secret` signed this request, in the words of `style`.
    ///
    /// # Errors
    /// In AWS's words.
    pub fn verify(
        &self,
        request: &Signed<'_>,
        secret: &str,
        keys: &SigningKeys,
        style: Style,
    ) -> Result<(), Fault> {
        let scope = self.scope();
        let derive = || SigningKey::derive(secret, scope.date, scope.region, scope.service);
        let key = keys.key(&self.credential.text, secret, derive);
        let verified = in_room(|text| {
            self.write_canonical_request(text, request, style)?;
            let digest = canonical::sha256(text);
            text.clear();
            canonical::hex(text, digest.as_ref());
            Ok(key.verifies(&self.string_to_sign(text), &self.signature))
        })?;
        if verified {
            Ok(())
        } else {
            Err(mismatch(
                "The request signature we calculated does not match the signature you provided. Check your AWS \
                 Secret Access Key and signing method. Consult the service documentation for details.",
            ))
        }
    }

    /// The text whose digest is signed.
    ///
    /// # Errors
    /// When path or query cannot be read.
    pub fn canonical_request(&self, request: &Signed<'_>, style: Style) -> Result<String, Fault> {
        let mut text = String::new();
        self.write_canonical_request(&mut text, request, style)?;
        Ok(text)
    }

    fn write_canonical_request(
        &self,
        text: &mut String,
        request: &Signed<'_>,
        style: Style,
    ) -> Result<(), Fault> {
        let mut names: SmallVec<[&str; 16]> = self.signed_headers().collect();
        names.sort_unstable();
        canonical::request(text, request, &names, style)
    }

    /// The string to sign, in parts.
    pub(super) fn string_to_sign<'s>(&'s self, hashed: &'s str) -> [&'s str; 7] {
        let Credential { text, slashes } = &self.credential;
        let scope = &text[slashes[0] + 1..];
        [ALGORITHM, "\n", &self.date, "\n", scope, "\n", hashed]
    }
}

impl<'a> Credential<'a> {
    fn read(text: Cow<'a, str>) -> Result<Self, Fault> {
        let mut slashes = [0; 4];
        let mut found = 0;
        for (at, _) in text.bytes().enumerate().filter(|(_, byte)| *byte == b'/') {
            if let Some(slash) = slashes.get_mut(found) {
                *slash = at;
            }
            found += 1;
        }
        if found != slashes.len() {
            return Err(Fault::Incomplete(format!(
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, \
                 got '{text}'"
            )));
        }
        Ok(Self { text, slashes })
    }

    fn scope(&self) -> Scope<'_> {
        let [first, second, third, fourth] = self.slashes;
        Scope {
            access_key_id: &self.text[..first],
            date: &self.text[first + 1..second],
            region: &self.text[second + 1..third],
            service: &self.text[third + 1..fourth],
            terminator: &self.text[fourth + 1..],
        }
    }
}

/// Lends an empty text, for what is written, digested and gone. Each thread keeps one.
fn in_room<T>(write: impl FnOnce(&mut String) -> T) -> T {
    /// The longest that is kept, in bytes.
    const KEPT: usize = 16 * 1024;

    thread_local! {
        static ROOM: Cell<String> = const { Cell::new(String::new()) };
    }
    let mut room = ROOM.take();
    room.clear();
    let written = write(&mut room);
    if room.capacity() <= KEPT {
        ROOM.set(room);
    }
    written
}

fn mismatch(text: &str) -> Fault {
    Fault::Mismatch(text.to_owned())
}

fn absent(parts: &[(bool, &str)]) -> String {
    let missing = parts
        .iter()
        .filter(|(missing, _)| *missing)
        .map(|(_, text)| *text);
    missing.collect::<Vec<_>>().join(" ")
}

/// A part of `whole`, borrowed for as long as the whole is.
fn part<'a>(whole: &Cow<'a, str>, part: &str) -> Cow<'a, str> {
    match whole {
        Cow::Borrowed(whole) => {
            let start = part.as_ptr().addr() - whole.as_ptr().addr();
            Cow::Borrowed(&whole[start..start + part.len()])
        }
        Cow::Owned(_) => Cow::Owned(part.to_owned()),
    }
}

/// The text of a header; bytes that are no UTF-8 are replaced, and match nothing.
fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    // Tokens are long, and this checks whole words at a time where the other takes each byte.
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

/// Reads `20150830T123600Z`.
fn instant(text: &str) -> Result<Timestamp, Fault> {
    let number = |range| {
        let digits: &str = text
            .get(range)
            .filter(|digits: &&str| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
        digits.parse::<i16>().ok()
    };
    let small = |range| number(range).and_then(|number| i8::try_from(number).ok());
    let read = || {
        let shape = text.len() == 16 && text.get(8..9) == Some("T") && text.ends_with('Z');
        let (year, month, day) = (number(0..4)?, small(4..6)?, small(6..8)?);
        let (hour, minute, second) = (small(9..11)?, small(11..13)?, small(13..15)?);
        let time = DateTime::new(year, month, day, hour, minute, second, 0)
            .ok()
            .filter(|_| shape)?;
        TimeZone::UTC.to_timestamp(time).ok()
    };
    read().ok_or_else(|| {
        Fault::Incomplete(format!(
            "Date must be in ISO-8601 'basic format'. Got '{text}'. See http://en.wikipedia.org/wiki/ISO_8601"
        ))
    })
}

fn shifted(now: Timestamp, by: SignedDuration) -> Timestamp {
    now.checked_add(by).unwrap_or(now)
}

fn basic(time: Timestamp) -> String {
    time.strftime("%Y%m%dT%H%M%SZ").to_string()
}

fn spoken(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    if seconds % 60 == 0 {
        format!("{} min", seconds / 60)
    } else {
        format!("{seconds} sec")
    }
}
