//! Condition operators.
//!
//! Imitated: the IAM user guide's pages "Condition operators" and "Set operators". A value of the context
//! that an operator cannot read (a number that is none) matches nothing.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;

use super::Context;
use super::pattern::{Glob, Template, VariableError};

/// One line of a `Condition` element: an operator, a key and the values it is held against.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    operator: Operator,
    key: String,
    folded_key: String,
    operands: Vec<Operand>,
}

/// Such as `StringLike`, `ForAnyValue:ArnNotEquals` or `BoolIfExists`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Operator {
    quantifier: Option<Quantifier>,
    test: Test,
    negated: bool,
    if_exists: bool,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quantifier {
    All,
    Any,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Test {
    StringEquals,
    StringEqualsIgnoreCase,
    StringLike,
    Numeric(Relation),
    Date(Relation),
    Bool,
    Binary,
    Ip,
    Arn,
    Null,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Name, test, negated.
const OPERATORS: &[(&str, Test, bool)] = &[
    ("StringEquals", Test::StringEquals, false),
    ("StringNotEquals", Test::StringEquals, true),
    ("StringEqualsIgnoreCase", Test::StringEqualsIgnoreCase, false),
    ("StringNotEqualsIgnoreCase", Test::StringEqualsIgnoreCase, true),
    ("StringLike", Test::StringLike, false),
    ("StringNotLike", Test::StringLike, true),
    ("NumericEquals", Test::Numeric(Relation::Equal), false),
    ("NumericNotEquals", Test::Numeric(Relation::Equal), true),
    ("NumericLessThan", Test::Numeric(Relation::Less), false),
    (
        "NumericLessThanEquals",
        Test::Numeric(Relation::LessOrEqual),
        false,
    ),
    ("NumericGreaterThan", Test::Numeric(Relation::Greater), false),
    (
        "NumericGreaterThanEquals",
        Test::Numeric(Relation::GreaterOrEqual),
        false,
    ),
    ("DateEquals", Test::Date(Relation::Equal), false),
    ("DateNotEquals", Test::Date(Relation::Equal), true),
    ("DateLessThan", Test::Date(Relation::Less), false),
    ("DateLessThanEquals", Test::Date(Relation::LessOrEqual), false),
    ("DateGreaterThan", Test::Date(Relation::Greater), false),
    (
        "DateGreaterThanEquals",
        Test::Date(Relation::GreaterOrEqual),
        false,
    ),
    ("Bool", Test::Bool, false),
    ("BinaryEquals", Test::Binary, false),
    ("IpAddress", Test::Ip, false),
    ("NotIpAddress", Test::Ip, true),
    ("ArnEquals", Test::Arn, false),
    ("ArnLike", Test::Arn, false),
    ("ArnNotEquals", Test::Arn, true),
    ("ArnNotLike", Test::Arn, true),
    ("Null", Test::Null, false),
];

/// A value of the policy, read for its operator.
#[derive(Debug, Clone, PartialEq)]
struct Operand {
    text: String,
    value: Value,
}

#[derive(Debug, Clone, PartialEq)]
enum Value {
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

impl Operator {
    /// Reads an operator's name with its set operator and `IfExists`; `None` when IAM has none of that name.
    pub(super) fn parse(full: &str) -> Option<Self> {
        let (quantifier, name) = match full.split_once(':') {
            Some(("ForAllValues", name)) => (Some(Quantifier::All), name),
            Some(("ForAnyValue", name)) => (Some(Quantifier::Any), name),
            Some(_) => return None,
            None => (None, full),
        };
        let (name, if_exists) = name
            .strip_suffix("IfExists")
            .map_or((name, false), |name| (name, true));
        let &(_, test, negated) = OPERATORS.iter().find(|(known, ..)| *known == name)?;
        // `Null` asks for existence itself, so that IAM knows it without additions only.
        let bare = quantifier.is_none() && !if_exists;
        (test != Test::Null || bare).then(|| Self {
            quantifier,
            test,
            negated,
            if_exists,
            text: full.to_owned(),
        })
    }
}

impl Condition {
    /// Reads the values for `operator`; `variables` says whether `${..}` means anything.
    pub(super) fn parse(
        operator: &Operator,
        key: &str,
        values: Vec<String>,
        variables: bool,
    ) -> Result<Self, OperandError> {
        let operands = values
            .into_iter()
            .map(|text| Operand::parse(operator.test, text, variables));
        Ok(Self {
            operator: operator.clone(),
            key: key.to_owned(),
            folded_key: key.to_lowercase(),
            operands: operands.collect::<Result<_, _>>()?,
        })
    }

    /// The operator's name as the policy has it.
    #[must_use]
    pub fn operator(&self) -> &str {
        &self.operator.text
    }

    /// The condition key as the policy has it.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The values as the policy has them.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.operands.iter().map(|operand| operand.text.as_str())
    }

    /// Whether the condition is met.
    ///
    /// A list of values is an OR, and for a negated operator a NOR. An absent key fails an operator and
    /// meets a negated one, `IfExists` and `ForAllValues`; `ForAnyValue` it always fails. A variable without a
    /// value matches nothing, and a negated operator with one is not met when the key is there: the statement
    /// does not match.
    /// A key with several values and no set operator is compared as any of them (a token's `aud`).
    #[must_use]
    pub fn holds(&self, context: &Context) -> bool {
        let given = context.values_of_folded(&self.folded_key);
        let Operator {
            quantifier,
            test,
            negated,
            if_exists,
            ..
        } = self.operator;
        if test == Test::Null {
            return self
                .operands
                .iter()
                .any(|operand| operand.value == Value::Truth(given.is_none()));
        }
        // For the set operators AWS counts a key with nothing but an empty text as absent.
        let nothing = |values: &[String]| quantifier.is_some() && values.iter().all(String::is_empty);
        let Some(given) = given.filter(|values| !nothing(values)) else {
            return if_exists
                || match quantifier {
                    Some(Quantifier::All) => true,
                    Some(Quantifier::Any) => false,
                    None => negated,
                };
        };
        let resolved: Vec<Option<Resolved<'_>>> = self
            .operands
            .iter()
            .map(|operand| operand.resolve(context))
            .collect();
        if negated && resolved.iter().any(Option::is_none) {
            return false;
        }
        let matches = |value: &String| {
            resolved
                .iter()
                .flatten()
                .any(|operand| operand.matches(test, value))
        };
        match quantifier {
            None => given.iter().any(matches) != negated,
            Some(Quantifier::All) => given.iter().all(|value| matches(value) != negated),
            Some(Quantifier::Any) => given.iter().any(|value| matches(value) != negated),
        }
    }
}

impl Operand {
    fn parse(kind: Test, text: String, variables: bool) -> Result<Self, OperandError> {
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

    fn resolve(&self, context: &Context) -> Option<Resolved<'_>> {
        match &self.value {
            Value::Text(template) => template.resolve(context).map(Resolved::Text),
            value => Some(Resolved::Value(value)),
        }
    }
}

/// An operand with its variables filled in.
enum Resolved<'a> {
    Text(std::borrow::Cow<'a, Glob>),
    Value(&'a Value),
}

impl Resolved<'_> {
    fn matches(&self, test: Test, given: &str) -> bool {
        match (self, test) {
            (Self::Text(glob), Test::StringEquals) => glob.text() == given,
            (Self::Text(glob), Test::StringEqualsIgnoreCase) => {
                glob.text().to_lowercase() == given.to_lowercase()
            }
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

impl Relation {
    fn holds<T: PartialOrd>(self, given: &T, wanted: &T) -> bool {
        match self {
            Self::Equal => given == wanted,
            Self::Less => given < wanted,
            Self::LessOrEqual => given <= wanted,
            Self::Greater => given > wanted,
            Self::GreaterOrEqual => given >= wanted,
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
struct Network {
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use proptest::prelude::*;

    use super::*;

    fn condition(operator: &str, values: &[&str]) -> Result<Condition, OperandError> {
        let operator = Operator::parse(operator).unwrap();
        Condition::parse(
            &operator,
            "aws:Key",
            values.iter().map(ToString::to_string).collect(),
            true,
        )
    }

    fn holds(operator: &str, wanted: &[&str], given: &[&str]) -> bool {
        let mut context = Context::new();
        context.set_all("AWS:key", given.iter().copied());
        condition(operator, wanted).unwrap().holds(&context)
    }

    #[test]
    fn operators_compare_single_values() {
        for (operator, wanted, given, expected) in [
            ("StringEquals", "a", "a", true),
            ("StringEquals", "a", "A", false),
            ("StringEquals", "a*", "ab", false),
            ("StringEquals", "a*", "a*", true),
            ("StringEquals", "${*}", "*", true),
            ("StringNotEquals", "a", "b", true),
            ("StringNotEquals", "a", "a", false),
            ("StringEqualsIgnoreCase", "aÜ", "Aü", true),
            ("StringNotEqualsIgnoreCase", "a", "A", false),
            ("StringLike", "a*", "ab", true),
            ("StringLike", "a?", "ab", true),
            ("StringLike", "A*", "ab", false),
            ("StringLike", "${*}", "ab", false),
            ("StringNotLike", "a*", "ab", false),
            ("StringNotLike", "a*", "b", true),
            ("NumericEquals", "10", "10.0", true),
            ("NumericEquals", "10", "ten", false),
            ("NumericNotEquals", "10", "11", true),
            ("NumericLessThan", "10", "9.5", true),
            ("NumericLessThan", "10", "10", false),
            ("NumericLessThanEquals", "10", "10", true),
            ("NumericGreaterThan", "-1", "0", true),
            ("NumericGreaterThanEquals", "3", "2", false),
            ("DateEquals", "2026-01-31", "2026-01-31T00:00:00Z", true),
            ("DateEquals", "2026-01", "1767225600", true),
            ("DateNotEquals", "2026", "2026-01-01T00:00:00Z", false),
            (
                "DateLessThan",
                "2026-01-01T00:00:00Z",
                "2025-12-31T23:59:59Z",
                true,
            ),
            (
                "DateLessThanEquals",
                "2026-01-01T01:00:00+01:00",
                "2026-01-01T00:00:00Z",
                true,
            ),
            ("DateGreaterThan", "2026-01-01", "2026-01-01T00:00:01Z", true),
            ("DateGreaterThanEquals", "2026-01-01", "2025-12-31", false),
            ("Bool", "true", "TRUE", true),
            ("Bool", "false", "true", false),
            ("Bool", "true", "yes", false),
            ("BinaryEquals", "QUJD", "QUJD", true),
            ("BinaryEquals", "QUJD", "qujd", false),
            ("IpAddress", "10.0.0.0/8", "10.255.0.1", true),
            ("IpAddress", "10.0.0.0/8", "11.0.0.1", false),
            ("IpAddress", "10.0.0.1", "10.0.0.1", true),
            ("IpAddress", "0.0.0.0/0", "192.0.2.1", true),
            ("IpAddress", "0.0.0.0/0", "2001:db8::1", false),
            ("IpAddress", "2001:db8::/32", "2001:db8:1::1", true),
            ("NotIpAddress", "10.0.0.0/8", "10.0.0.1", false),
            ("NotIpAddress", "10.0.0.0/8", "192.0.2.1", true),
            (
                "ArnEquals",
                "arn:aws:iam::*:role/red*",
                "arn:aws:iam::000000000000:role/red1",
                true,
            ),
            (
                "ArnLike",
                "arn:aws:iam::*:role/red",
                "arn:aws:iam::000000000000:role/blue",
                false,
            ),
            (
                "ArnLike",
                "arn:aws:*:role/red:x:y",
                "arn:aws:iam::0:role/red",
                false,
            ),
            (
                "ArnNotEquals",
                "arn:aws:iam::*:role/red",
                "arn:aws:iam::000000000000:role/red",
                false,
            ),
            (
                "ArnNotLike",
                "arn:aws:iam::*:role/red",
                "arn:aws:iam::000000000000:role/blue",
                true,
            ),
        ] {
            assert_eq!(
                holds(operator, &[wanted], &[given]),
                expected,
                "{operator} {wanted} on {given}"
            );
        }
    }

    #[test]
    fn an_absent_key() {
        for (operator, expected) in [
            ("StringEquals", false),
            ("StringNotEquals", true),
            ("StringLike", false),
            ("StringNotLike", true),
            ("StringEqualsIfExists", true),
            ("StringNotEqualsIfExists", true),
            ("ForAllValues:StringEquals", true),
            ("ForAllValues:StringNotEquals", true),
            ("ForAnyValue:StringEquals", false),
            ("ForAnyValue:StringNotEquals", false),
            ("ForAnyValue:StringEqualsIfExists", true),
            ("ForAllValues:StringLikeIfExists", true),
        ] {
            assert_eq!(holds(operator, &["a"], &[]), expected, "{operator}");
        }
        for (operator, wanted, expected) in [
            ("Bool", "false", false),
            ("NumericNotEquals", "1", true),
            ("NumericLessThan", "1", false),
            ("DateNotEquals", "2026", true),
            ("NotIpAddress", "10.0.0.0/8", true),
            ("IpAddressIfExists", "10.0.0.0/8", true),
            ("ArnNotLike", "arn:aws:iam::*:role/*", true),
        ] {
            assert_eq!(holds(operator, &[wanted], &[]), expected, "{operator}");
        }
    }

    #[test]
    fn lists_are_or_and_negated_lists_nor() {
        assert!(holds("StringEquals", &["a", "b"], &["b"]));
        assert!(!holds("StringNotEquals", &["a", "b"], &["b"]));
        assert!(holds("StringNotEquals", &["a", "b"], &["c"]));
        assert!(!holds(
            "NotIpAddress",
            &["10.0.0.0/8", "192.0.2.0/24"],
            &["192.0.2.9"]
        ));
    }

    #[test]
    fn several_values_of_a_key() {
        for (operator, given, expected) in [
            // Without a set operator, as STS compares the audiences of a token.
            ("StringEquals", &["x", "a"][..], true),
            ("StringNotEquals", &["x", "a"], false),
            ("ForAllValues:StringEquals", &["a", "b"], true),
            ("ForAllValues:StringEquals", &["a", "x"], false),
            ("ForAllValues:StringNotEquals", &["x", "y"], true),
            ("ForAllValues:StringNotEquals", &["x", "a"], false),
            ("ForAnyValue:StringEquals", &["x", "a"], true),
            ("ForAnyValue:StringEquals", &["x", "y"], false),
            ("ForAnyValue:StringNotEquals", &["a", "x"], true),
            ("ForAnyValue:StringNotEquals", &["a", "b"], false),
            ("ForAllValues:StringEquals", &[""], true),
            ("ForAnyValue:StringNotEquals", &[""], false),
            ("StringNotEquals", &[""], true),
        ] {
            assert_eq!(
                holds(operator, &["a", "b"], given),
                expected,
                "{operator} on {given:?}"
            );
        }
    }

    #[test]
    fn null_asks_for_existence() {
        assert!(holds("Null", &["true"], &[]));
        assert!(!holds("Null", &["true"], &["a"]));
        assert!(holds("Null", &["false"], &["a"]));
        assert!(!holds("Null", &["false"], &[]));
    }

    #[test]
    fn a_variable_without_a_value_meets_nothing() {
        for operator in [
            "StringEquals",
            "StringNotEquals",
            "StringNotLike",
            "ForAllValues:StringNotEquals",
        ] {
            assert!(!holds(operator, &["${aws:absent}"], &["a"]), "{operator}");
        }
        assert!(!holds("StringNotEquals", &["b", "${aws:absent}"], &["a"]));
        // What an absent key means is settled before the values are looked at.
        assert!(holds("StringNotEquals", &["${aws:absent}"], &[]));
        assert!(holds("StringEquals", &["${aws:absent}", "a"], &["a"]));
        assert!(holds("StringEquals", &["${aws:Key}"], &["a"]));
    }

    #[test]
    fn unknown_operators_are_refused() {
        for text in [
            "",
            "stringEquals",
            "StringMatches",
            "ForAll:StringEquals",
            "ForAllValues:",
            "NullIfExists",
            "ForAnyValue:Null",
            "IfExists",
            "StringEqualsIfExistsIfExists",
            "BoolNotEquals",
            "ForAllValues:ForAnyValue:Bool",
        ] {
            assert_eq!(Operator::parse(text), None, "{text}");
        }
    }

    #[test]
    fn values_that_do_not_fit_are_refused() {
        for (operator, value) in [
            ("NumericEquals", "ten"),
            ("NumericEquals", "1e3"),
            ("NumericEquals", "inf"),
            ("NumericEquals", ""),
            ("NumericEquals", "${aws:x}"),
            ("DateEquals", "yesterday"),
            ("DateEquals", "2026-13-01"),
            ("Bool", "yes"),
            ("Null", "1"),
            ("BinaryEquals", "%"),
            ("IpAddress", "10.0.0.0/33"),
            ("IpAddress", "10.0.0"),
            ("IpAddress", "10.0.0.0/+8"),
            ("ArnLike", "*"),
            ("StringEquals", "${aws:x"),
        ] {
            assert!(condition(operator, &[value]).is_err(), "{operator} {value}");
        }
    }

    proptest! {
        #[test]
        fn negation_is_the_opposite_without_set_operators(wanted in "[ab*?]{0,4}", given in proptest::option::of("[ab]{0,4}")) {
            let given: Vec<&str> = given.as_deref().into_iter().collect();
            for (plain, negated) in [("StringEquals", "StringNotEquals"), ("StringLike", "StringNotLike")] {
                prop_assert_ne!(holds(plain, &[&wanted], &given), holds(negated, &[&wanted], &given));
            }
        }

        #[test]
        fn a_network_is_its_prefix(address: u32, other: u32, prefix in 0_u32..=32) {
            let text = format!("{}/{prefix}", std::net::Ipv4Addr::from_bits(address));
            let given = std::net::Ipv4Addr::from_bits(other).to_string();
            let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
            prop_assert_eq!(holds("IpAddress", &[&text], &[&given]), address & mask == other & mask);
        }

        #[test]
        fn any_value_is_read_or_refused(text in "\\PC{0,30}", which in 0..OPERATORS.len()) {
            if let Ok(condition) = condition(OPERATORS[which].0, &[&text]) {
                prop_assert_eq!(condition.values().collect::<Vec<_>>(), [text.as_str()]);
            }
        }
    }
}
