//! The values of a condition, read for its operator, and how they compare with those of a request.

use std::borrow::Cow;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;

use super::operator::Test;
use crate::iam::Facts;
use crate::iam::pattern::{Glob, Template, VariableError};

/// A value of the policy, read for its operator.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Operand {
    /// As the policy has it.
    pub(super) text: String,
    pub(super) value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Text(Template),
    Number(f64),
    Instant(Timestamp),
    Truth(bool),
    Bytes(Vec<u8>),
    Network(Network),
}

/// A value that does not fit its operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperandError {
    /// A variable that cannot be read.
    #[error(transparent)]
    Variable(#[from] VariableError),
    /// Such as a number operator with a word.
    #[error("`{text}` is not {expected}")]
    Unreadable {
        /// The value.
        text: String,
        /// What the operator takes.
        expected: &'static str,
    },
}

impl Operand {
    pub(super) fn parse(kind: Test, text: String, variables: bool) -> Result<Self, OperandError> {
        let unreadable = |expected| OperandError::Unreadable {
            text: text.clone(),
            expected,
        };
        let value = match kind {
            Test::StringEquals | Test::StringEqualsIgnoreCase | Test::StringLike | Test::Arn => {
                let template = if variables {
                    Template::with_variables(&text)?
                } else {
                    Template::plain(&text)
                };
                if kind == Test::Arn && !template.is_open() && text.splitn(6, ':').count() < 6 {
                    return Err(unreadable("an ARN of six segments"));
                }
                Value::Text(template)
            }
            Test::Numeric(_) => Value::Number(number(&text).ok_or_else(|| unreadable("a number"))?),
            Test::Date(_) => {
                Value::Instant(instant(&text).ok_or_else(|| unreadable("an ISO 8601 date or a Unix time"))?)
            }
            Test::Bool | Test::Null => {
                Value::Truth(truth(&text).ok_or_else(|| unreadable("`true` or `false`"))?)
            }
            Test::Binary => Value::Bytes(BASE64.decode(&text).map_err(|_| unreadable("base64"))?),
            Test::Ip => Value::Network(
                Network::parse(&text).ok_or_else(|| unreadable("an IP address or CIDR block"))?,
            ),
        };
        Ok(Self { text, value })
    }

    /// The keys of the variables in it, in lower case.
    pub(super) fn variables(&self) -> impl Iterator<Item = &str> {
        let template = match &self.value {
            Value::Text(template) => Some(template),
            _ => None,
        };
        template.into_iter().flat_map(Template::variables)
    }

    /// The operand with its variables filled in; `None` when one of them has no value.
    pub(super) fn resolve(&self, facts: &dyn Facts) -> Option<Resolved<'_>> {
        match &self.value {
            Value::Text(template) => template.resolve(facts).map(Resolved::Text),
            value => Some(Resolved::Value(value)),
        }
    }
}

/// An operand with its variables filled in.
pub(super) enum Resolved<'a> {
    Text(Cow<'a, Glob>),
    Value(&'a Value),
}

impl Resolved<'_> {
    pub(super) fn matches(&self, test: Test, given: &str) -> bool {
        match (self, test) {
            (Self::Text(glob), Test::StringEquals) => glob.is(given),
            (Self::Text(glob), Test::StringEqualsIgnoreCase) => glob.is_ignoring_case(given),
            (Self::Text(glob), Test::StringLike) => glob.matches(given),
            (Self::Text(glob), Test::Arn) => glob.matches_arn(given),
            (Self::Value(Value::Number(wanted)), Test::Numeric(relation)) => {
                number(given).is_some_and(|given| relation.holds(&given, wanted))
            }
            (Self::Value(Value::Instant(wanted)), Test::Date(relation)) => {
                instant(given).is_some_and(|given| relation.holds(&given, wanted))
            }
            (Self::Value(Value::Truth(wanted)), Test::Bool) => truth(given) == Some(*wanted),
            (Self::Value(Value::Bytes(wanted)), Test::Binary) => {
                BASE64.decode(given).is_ok_and(|given| given == *wanted)
            }
            (Self::Value(Value::Network(network)), Test::Ip) => {
                given.parse().is_ok_and(|address| network.contains(address))
            }
            _ => false,
        }
    }
}

/// A decimal number; no exponent, no infinity.
fn number(text: &str) -> Option<f64> {
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"+-.".contains(&byte));
    plain.then(|| text.parse().ok()).flatten()
}

/// `2026-01-31T12:00:00Z`, its shorter forms down to the year, or seconds since 1970.
fn instant(text: &str) -> Option<Timestamp> {
    if text.len() > 4 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Timestamp::from_second(text.parse().ok()?).ok();
    }
    let midnight = |date: &str| format!("{date}T00:00:00Z").parse().ok();
    match text.len() {
        4 => midnight(&format!("{text}-01-01")),
        7 => midnight(&format!("{text}-01")),
        10 => midnight(text),
        _ => text.parse().ok(),
    }
}

fn truth(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// An address with the length of its prefix in bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => longest,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok()?,
            Some(_) => return None,
        };
        (prefix <= longest).then_some(Self { address, prefix })
    }

    fn contains(self, address: IpAddr) -> bool {
        let differing = match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                (network.to_bits() ^ address.to_bits()).leading_zeros()
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                (network.to_bits() ^ address.to_bits()).leading_zeros()
            }
            _ => return false,
        };
        differing >= self.prefix
    }
}
