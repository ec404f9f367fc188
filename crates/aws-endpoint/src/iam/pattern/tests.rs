#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

use proptest::prelude::*;

use super::*;
use crate::iam::Context;

const SECRET: &str = "arn:aws:secretsmanager:eu-west-1:000000000000:secret:demo/team-red/secret-Ab3dEf";

#[test]
fn wildcards_match_whole_texts() {
    for (pattern, text, expected) in [
        ("", "", true),
        ("", "a", false),
        ("*", "", true),
        ("*", "anything/at:all", true),
        ("a*", "a", true),
        ("a*c", "abbc", true),
        ("a*c", "abbcd", false),
        ("a?c", "abc", true),
        ("a?c", "ac", false),
        ("a??", "ab", false),
        ("*a*b*c*", "xxaxxbxxcxx", true),
        ("*a*b*c*", "xxaxxcxxbxx", false),
        ("?", "ü", true),
        ("Get*", "get", false),
    ] {
        assert_eq!(Glob::new(pattern).matches(text), expected, "{pattern} on {text}");
    }
    assert!(Glob::new("SecretsManager:get*").matches_ignoring_case("secretsmanager:GetSecretValue"));
}

#[test]
fn resources_match_as_in_iam() {
    for (pattern, expected) in [
        ("*", true),
        (SECRET, true),
        (
            "arn:aws:secretsmanager:*:000000000000:secret:demo/team-red/*",
            true,
        ),
        (
            "arn:aws:secretsmanager:*:000000000000:secret:demo/team-blue/*",
            false,
        ),
        ("arn:aws:secretsmanager:*:000000000000:secret:demo/team-re*", true),
        (
            "arn:aws:secretsmanager:*:000000000000:secret:demo/team-red/secret-??????",
            true,
        ),
        (
            "arn:aws:secretsmanager:*:000000000000:secret:demo/team-red/secret-?????",
            false,
        ),
        // The stored ARN ends in a suffix, so that the bare name names nothing.
        (
            "arn:aws:secretsmanager:*:000000000000:secret:demo/team-red/secret",
            false,
        ),
        (
            "arn:aws:secretsmanager:*:000000000000:secret:demo/team-red/secret*",
            true,
        ),
        // A `*` that ends its segment runs over the following colons, one inside a segment does not.
        ("arn:aws:secretsmanager:*", true),
        ("arn:aws:secretsmanager:eu*:secret:demo/team-red/*", true),
        ("arn:aws:secretsmanager:eu*1:000000000000:secret:demo/*", true),
        ("arn:aws:secretsmanager:eu*0:secret:demo/*", false),
        (
            "arn:aws:secretsmanager:eu-west-1?000000000000:secret:demo/*",
            false,
        ),
        (
            "arn:aws:secretsmanager:eu-west-?:000000000000:secret:demo/*",
            true,
        ),
        // Past the fifth colon a wildcard stands for anything.
        (
            "arn:aws:secretsmanager:eu-west-1:000000000000:s*demo/team-red/secret-Ab3dEf",
            true,
        ),
        (
            "arn:aws:secretsmanager:eu-west-1:000000000000:SECRET:demo/*",
            false,
        ),
    ] {
        assert_eq!(Glob::new(pattern).matches_resource(SECRET), expected, "{pattern}");
    }
}

#[test]
fn arns_match_by_segment() {
    for (pattern, expected) in [
        ("arn:aws:secretsmanager:*:*:secret:*", true),
        ("arn:aws:*:*:*:secret:demo/*", true),
        ("arn:aws:secretsmanager:*", false),
        ("arn:aws:secretsmanager:*:secret:demo/*", false),
        ("*", false),
        ("arn:aws:secretsmanager:eu-west-1:000000000000:*", true),
        ("arn:aws:secretsmanager:eu-west-1:000000000000:*-Ab3dEf", true),
    ] {
        assert_eq!(Glob::new(pattern).matches_arn(SECRET), expected, "{pattern}");
    }
}

#[test]
fn the_planted_prefix_defect_reaches_other_tenants_and_nothing_else() {
    let own = "arn:aws:secretsmanager:*:000000000000:secret:demo/team-blue/*";
    assert!(Glob::new(own).matches_one_level_up(SECRET));
    assert!(!Glob::new(own).matches_resource(SECRET));
    for pattern in [
        "arn:aws:secretsmanager:*:000000000000:secret:other/team-red/*",
        "arn:aws:secretsmanager:*:111111111111:secret:demo/team-blue/*",
        "arn:aws:secretsmanager:*:000000000000:secret:demo/blue*",
    ] {
        assert!(!Glob::new(pattern).matches_one_level_up(SECRET), "{pattern}");
    }
    assert!(Glob::new("*").matches_one_level_up(SECRET));
}

#[test]
fn variables_are_filled_in() {
    let context = Context::from_iter([
        ("aws:PrincipalTag/team", "red"),
        ("aws:PrincipalTag/star", "*"),
        ("aws:TagKeys", "a"),
        ("aws:TagKeys", "b"),
    ]);
    let resolved = |text: &str| {
        Template::with_variables(text)
            .unwrap()
            .resolve(&context)
            .map(Cow::into_owned)
    };
    for (template, text, expected) in [
        ("demo/${aws:PrincipalTag/team}/*", "demo/red/x", true),
        ("demo/${AWS:principaltag/TEAM}/*", "demo/red/x", true),
        ("demo/${aws:PrincipalTag/team}/*", "demo/blue/x", false),
        ("demo/${aws:PrincipalTag/star}/x", "demo/red/x", false),
        ("demo/${aws:PrincipalTag/star}/x", "demo/*/x", true),
        ("demo/${aws:PrincipalTag/none, 'blue'}/x", "demo/blue/x", true),
        ("demo/${aws:PrincipalTag/none,'*'}/x", "demo/blue/x", false),
        ("demo/${aws:PrincipalTag/team, 'blue'}/x", "demo/red/x", true),
        ("${*}${?}${$}{x}", "*?${x}", true),
        ("${*}", "a", false),
        ("a$b{c}", "a$b{c}", true),
    ] {
        assert_eq!(
            resolved(template).unwrap().matches(text),
            expected,
            "{template} on {text}"
        );
    }
    assert_eq!(resolved("${aws:PrincipalTag/none}*"), None);
    assert_eq!(resolved("${aws:TagKeys}"), None, "several values");
    assert_eq!(
        resolved("${aws:TagKeys, 'x'}"),
        None,
        "a default is for an absent key only"
    );
}

#[test]
fn an_incomplete_arn_is_filled_up_where_that_is_so() {
    let matches = |text: &str, completed| {
        let template = Template::with_variables(text).unwrap().of_resource(completed);
        let glob = template.resolve(&Context::new()).unwrap().into_owned();
        assert_eq!(template.as_str(), text);
        glob.matches_resource(SECRET)
    };
    for (text, filled_up, as_it_is) in [
        ("arn:aws:secretsmanager", true, false),
        ("arn:aws:secretsmanager:eu-west-1", true, false),
        ("arn:aws:secretsmanager:eu-west-1:000000000000", true, false),
        ("arn:aws:secretsmanager:eu-west-2", false, false),
        ("arn:aws:ssm", false, false),
        ("arn:aws:secretsmanager:*", true, true),
        ("*", true, true),
        (SECRET, true, true),
    ] {
        assert_eq!(matches(text, true), filled_up, "{text}");
        assert_eq!(matches(text, false), as_it_is, "{text}");
    }
}

#[test]
fn a_variable_before_the_fifth_colon_matches_no_resource() {
    let context = Context::from_iter([("aws:PrincipalAccount", "000000000000"), ("aws:x", "red")]);
    for (text, misplaced) in [
        ("arn:aws:secretsmanager:*:${aws:PrincipalAccount}:secret:*", true),
        ("arn:aws:secretsmanager:*:*:secret:demo/${aws:x}", false),
        ("arn:aws:secretsmanager:*:*:${aws:x}", false),
    ] {
        let template = Template::with_variables(text).unwrap().of_resource(true);
        assert_eq!(template.is_misplaced(), misplaced, "{text}");
        assert_eq!(template.resolve(&context).is_none(), misplaced, "{text}");
    }
}

#[test]
fn without_variables_the_text_is_literal() {
    let template = Template::plain("demo/${aws:username}/*");
    let glob = template
        .resolve(&Context::from_iter([("aws:username", "red")]))
        .unwrap();
    assert!(glob.matches("demo/${aws:username}/x"));
    assert!(!glob.matches("demo/red/x"));
}

#[test]
fn malformed_variables_are_errors() {
    for text in [
        "${",
        "a${aws:x",
        "${}",
        "${x}",
        "${aws:x, y}",
        "${aws:x, 'y}",
        "${aws:x, 'y'",
        "${${aws:x}}",
        "${aws:*}",
    ] {
        assert!(Template::with_variables(text).is_err(), "{text}");
    }
}

/// The definition of a wildcard match, for comparison: slow and plain.
fn naive(pattern: &[char], text: &[char]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some(('*', rest)), None) => naive(rest, text),
        (Some(('*', rest)), Some((_, shorter))) => naive(rest, text) || naive(pattern, shorter),
        (Some(('?', rest)), Some((_, shorter))) => naive(rest, shorter),
        (Some((wanted, rest)), Some((given, shorter))) => wanted == given && naive(rest, shorter),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// The definition of an ARN match by segments, for comparison.
fn naive_arn(pattern: &str, text: &str) -> bool {
    let segments =
        |text: &str| -> Vec<Vec<char>> { text.splitn(6, ':').map(|s| s.chars().collect()).collect() };
    let (pattern, text) = (segments(pattern), segments(text));
    pattern.len() == text.len()
        && pattern
            .iter()
            .zip(&text)
            .all(|(pattern, text)| naive(pattern, text))
}

/// As many steps as the pattern is long for each character, and not one for every way to share them out.
#[test]
fn patterns_made_to_take_long_do_not() {
    let asterisks = "*a".repeat(3_000);
    let text = "a".repeat(2_000);
    assert!(!Glob::new(&format!("{asterisks}b")).matches(&text));
    assert!(Glob::new(&"*".repeat(6_000)).matches(&text));
    assert!(!Glob::new(&"*?".repeat(3_000)).matches(&text));
    let arn = format!("arn:aws:secretsmanager:eu-west-1:000000000000:secret:{text}");
    assert!(!Glob::new(&format!("arn:aws:secretsmanager:*:*:{asterisks}b")).matches_resource(&arn));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn agrees_with_the_definition(pattern in "[ab:*?]{0,10}", text in "[ab:]{0,12}") {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        prop_assert_eq!(Glob::new(&pattern).matches(&text), naive(&chars(&pattern), &chars(&text)));
    }

    #[test]
    fn agrees_with_the_definition_by_segment(pattern in "([a*?]{0,3}:){5}[a:*?]{0,4}", text in "([ab]{0,3}:){5}[a:]{0,4}") {
        prop_assert_eq!(Glob::new(&pattern).matches_arn(&text), naive_arn(&pattern, &text));
    }

    #[test]
    fn a_resource_match_lies_between_segments_and_text(pattern in "([ab*?]{0,2}:){3,6}[a/:*?]{0,6}", text in "([ab]{0,2}:){5}[a/:]{0,6}") {
        let glob = Glob::new(&pattern);
        if glob.matches_arn(&text) {
            prop_assert!(glob.matches_resource(&text));
        }
        if glob.matches_resource(&text) {
            prop_assert!(glob.matches(&text));
            prop_assert!(glob.matches_one_level_up(&text));
        }
    }

    #[test]
    fn one_position_at_a_time_says_what_all_of_them_say(pattern in "([ab*?]{0,2}:){3,6}[a/:*?]{0,6}", text in "([ab]{0,2}:){5}[a/:]{0,6}", fence in 0_usize..12, free in 0_usize..12) {
        let Glob(tokens) = Glob::new(&pattern);
        let same = |wanted, given| wanted == given;
        let confined = |at| at < fence && at != free;
        let all = simulate(&tokens, &text, same, confined);
        prop_assert_eq!(greedy(&tokens, &text, same, confined).unwrap_or(all), all);
    }

    #[test]
    fn values_are_never_wildcards(value in "[a*?]{1,6}", text in "[a*?]{1,6}") {
        let template = Template::with_variables("${aws:x}").unwrap();
        let context = Context::from_iter([("aws:x", value.as_str())]);
        prop_assert_eq!(template.resolve(&context).unwrap().matches(&text), value == text);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
        if let Ok(template) = Template::with_variables(&text) {
            prop_assert_eq!(template.as_str(), text);
        }
    }
}
