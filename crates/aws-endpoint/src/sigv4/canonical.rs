//! The text that is signed: method, path, query, headers and a digest of the body, each in one form only.

use std::borrow::Cow;

use aws_lc_rs::digest::{Digest, SHA256, digest};

use super::{Fault, Signed};

/// How a service writes the canonical request. They differ in the path only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Whether `.`, `..` and doubled slashes are resolved first.
    pub normalise: bool,
    /// How the path is escaped.
    pub encode: Encode,
    /// Whether a presigned URL's `X-Amz-Security-Token` is signed; some services have it added afterwards.
    pub token_signed: bool,
}

/// How the path is escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encode {
    /// As in S3: what is escaped on the wire stays so.
    Once,
    /// As everywhere else: the escapes of the wire are escaped.
    Twice,
}

impl Style {
    /// Of every service that is here.
    pub const SERVICE: Self = Self {
        normalise: true,
        encode: Encode::Twice,
        token_signed: true,
    };
    /// Of S3.
    pub const S3: Self = Self {
        normalise: false,
        encode: Encode::Once,
        token_signed: true,
    };
}

/// Appends the canonical request to `text`; `signed_headers` in lower case and sorted.
pub(super) fn request(
    text: &mut String,
    request: &Signed<'_>,
    signed_headers: &[&str],
    style: Style,
) -> Result<(), Fault> {
    text.push_str(request.method);
    text.push('\n');
    path(text, request.path, style)?;
    text.push('\n');
    query(text, request.query, style)?;
    text.push('\n');
    for name in signed_headers {
        header(text, request, name);
    }
    text.push('\n');
    list(text, signed_headers.iter().copied(), ';');
    text.push('\n');
    hex(text, digest(&SHA256, request.body).as_ref());
    Ok(())
}

/// The value of a query's first parameter of this name, without escapes.
pub(super) fn parameter<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find_map(|(key, value)| (key == name).then_some(value))
}

pub(super) fn sha256(text: &str) -> Digest {
    digest(&SHA256, text.as_bytes())
}

pub(super) fn hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

fn path(text: &mut String, path: &str, style: Style) -> Result<(), Fault> {
    if path.is_empty() || path == "/" {
        text.push('/');
        return Ok(());
    }
    let Some(segments) = path.strip_prefix('/') else {
        return Err(Fault::Malformed(format!("Path is not absolute: {path}")));
    };
    let mut written: Vec<Cow<'_, str>> = Vec::new();
    for segment in segments.split('/') {
        let segment = match style.encode {
            Encode::Twice => Cow::Borrowed(segment),
            Encode::Once => Cow::Owned(decoded(segment, Fault::Malformed)?),
        };
        match &*segment {
            "" | "." if style.normalise => {}
            ".." if style.normalise => {
                written.pop();
            }
            _ => written.push(segment),
        }
    }
    // A slash at the end stays. What ends in a dot segment gets none: the SDKs sign so.
    if style.normalise && segments.ends_with('/') && !written.is_empty() {
        written.push(Cow::Borrowed(""));
    }
    if written.is_empty() {
        text.push('/');
    }
    for segment in &written {
        text.push('/');
        encode(text, segment.as_bytes());
    }
    Ok(())
}

/// Parameters sorted by name, then by value, as escaped.
fn query(text: &mut String, query: &str, style: Style) -> Result<(), Fault> {
    if query.is_empty() {
        return Ok(());
    }
    let mut pairs: Vec<(String, String)> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = escaped(name)?;
        let unsigned = name == "X-Amz-Signature" || (name == "X-Amz-Security-Token" && !style.token_signed);
        if !unsigned {
            pairs.push((name, escaped(value)?));
        }
    }
    pairs.sort_unstable();
    for (at, (name, value)) in pairs.iter().enumerate() {
        if at > 0 {
            text.push('&');
        }
        text.push_str(name);
        text.push('=');
        text.push_str(value);
    }
    Ok(())
}

/// One line: the values of a header, with single spaces, separated by commas. A header that the request does
/// not have has no line.
fn header(text: &mut String, request: &Signed<'_>, name: &str) {
    let mut values = request.headers.get_all(name).iter().peekable();
    let authority = request
        .authority
        .filter(|_| name == "host" && values.peek().is_none());
    if values.peek().is_none() && authority.is_none() {
        return;
    }
    text.push_str(name);
    text.push(':');
    if let Some(authority) = authority {
        text.push_str(authority);
    }
    for (at, value) in values.enumerate() {
        if at > 0 {
            text.push(',');
        }
        // Header values are bytes; those that are no UTF-8 stand for the characters of Latin-1.
        match value.to_str() {
            // As nearly all are.
            Ok(value) if !value.starts_with(' ') && !value.ends_with(' ') && !value.contains("  ") => {
                text.push_str(value);
            }
            Ok(value) => single_spaced(text, value.chars()),
            Err(_) => match std::str::from_utf8(value.as_bytes()) {
                Ok(value) => single_spaced(text, value.chars()),
                Err(_) => single_spaced(text, value.as_bytes().iter().map(|byte| char::from(*byte))),
            },
        }
    }
    text.push('\n');
}

fn single_spaced(text: &mut String, chars: impl Iterator<Item = char>) {
    let start = text.len();
    for char in chars {
        if char != ' ' || (text.len() > start && !text.ends_with(' ')) {
            text.push(char);
        }
    }
    if text.len() > start && text.ends_with(' ') {
        text.pop();
    }
}

fn list<'a>(text: &mut String, items: impl Iterator<Item = &'a str>, between: char) {
    for (at, item) in items.enumerate() {
        if at > 0 {
            text.push(between);
        }
        text.push_str(item);
    }
}

/// A name or value of a query in the one form that is signed, whichever it came in.
fn escaped(text: &str) -> Result<String, Fault> {
    let mut escaped = String::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'+' => b' ',
            b'%' => unescape(&mut bytes, Fault::Malformed)?,
            other => other,
        };
        encode(&mut escaped, &[byte]);
    }
    Ok(escaped)
}

/// A segment of a path without its escapes. Bytes that are no UTF-8 count as characters of Latin-1, which
/// no signer writes: such a request matches no signature.
fn decoded(segment: &str, fault: impl Fn(String) -> Fault) -> Result<String, Fault> {
    let mut decoded = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(if byte == b'%' {
            unescape(&mut bytes, &fault)?
        } else {
            byte
        });
    }
    Ok(String::from_utf8(decoded)
        .unwrap_or_else(|error| error.as_bytes().iter().map(|byte| char::from(*byte)).collect()))
}

/// The byte of an escape whose `%` is read already.
fn unescape(bytes: &mut impl Iterator<Item = u8>, fault: impl Fn(String) -> Fault) -> Result<u8, Fault> {
    let (Some(high), Some(low)) = (bytes.next(), bytes.next()) else {
        return Err(fault("Incomplete trailing escape % sequence".to_owned()));
    };
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    match (digit(high), digit(low)) {
        (Some(high), Some(low)) => Ok(high << 4 | low),
        _ => Err(fault(format!(
            "Illegal hex character in escape % pattern: %{}{}",
            char::from(high),
            char::from(low)
        ))),
    }
}

/// Escapes all but the unreserved characters of RFC 3986.
fn encode(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push('%');
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}
