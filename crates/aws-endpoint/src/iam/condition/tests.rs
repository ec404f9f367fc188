#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

use proptest::prelude::*;

use super::operator::OPERATORS;
use super::*;
use crate::iam::Context;

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
        // Several values need a set operator; one will do without.
        ("StringEquals", &["x", "a"][..], false),
        ("StringNotEquals", &["x", "y"], false),
        ("StringNotEqualsIfExists", &["x", "y"], false),
        ("StringEquals", &["a"], true),
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
fn any_audience_of_a_token_will_do() {
    let holds = |operator: &str, key: &str| {
        let operator = Operator::parse(operator).unwrap();
        let condition = Condition::parse(&operator, key, vec!["sts.amazonaws.com".to_owned()], true).unwrap();
        let values = ["vault", "sts.amazonaws.com"];
        condition.holds(
            &values
                .iter()
                .map(|value| ("oidc.example/id/X:aud", *value))
                .collect::<Context>(),
        )
    };
    assert!(holds("StringEquals", "oidc.example/id/X:aud"));
    assert!(!holds("StringNotEquals", "oidc.example/id/X:aud"));
    assert!(!holds("StringEquals", "oidc.example/id/Y:aud"));
}

#[test]
fn null_asks_for_existence() {
    assert!(holds("Null", &["true"], &[]));
    assert!(!holds("Null", &["true"], &["a"]));
    assert!(holds("Null", &["false"], &["a"]));
    assert!(!holds("Null", &["false"], &[]));
}

/// The page "Variables and tags": nothing is equal to it or like it, and a negated operator says just that.
#[test]
fn a_variable_without_a_value_is_equal_to_nothing() {
    for (operator, expected) in [
        ("StringEquals", false),
        ("StringLike", false),
        ("StringNotEquals", true),
        ("StringNotLike", true),
        ("ForAllValues:StringNotEquals", true),
        ("ForAnyValue:StringEquals", false),
    ] {
        assert_eq!(
            holds(operator, &["${aws:absent}"], &["a"]),
            expected,
            "{operator}"
        );
    }
    let arn = "arn:aws:iam::0:role/a";
    assert!(holds(
        "ArnNotLike",
        &["arn:aws:iam::0:role/${aws:absent}"],
        &[arn]
    ));
    assert!(holds("StringNotEquals", &["b", "${aws:absent}"], &["a"]));
    assert!(!holds("StringNotEquals", &["a", "${aws:absent}"], &["a"]));
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
