//! Condition keys at random: their values in a request, and what policies ask of them.

use mountproof_aws_endpoint::iam::Principal;

use super::random::Random;

/// Condition keys of a request, by the kind of their values.
const TEXT_KEYS: &[&str] = &[
    "aws:PrincipalTag/team",
    "aws:RequestedRegion",
    "secretsmanager:VersionStage",
    "oidc.example/id/X:sub",
    "aws:userid",
];
const LIST_KEYS: &[&str] = &["aws:TagKeys", "aws:PrincipalOrgPaths"];
const NUMBER_KEYS: &[&str] = &["aws:MultiFactorAuthAge", "secretsmanager:RecoveryWindowInDays"];
const DATE_KEYS: &[&str] = &["aws:CurrentTime", "aws:TokenIssueTime"];
const BOOL_KEYS: &[&str] = &["aws:SecureTransport", "aws:MultiFactorAuthPresent"];
const IP_KEYS: &[&str] = &["aws:SourceIp", "aws:VpcSourceIp"];
const ARN_KEYS: &[&str] = &["aws:PrincipalArn", "aws:SourceArn"];
const BYTES_KEYS: &[&str] = &["demo:Blob"];

const TEXTS: &[&str] = &[
    "red",
    "blue",
    "team-red",
    "Red",
    "eu-west-1",
    "AWSCURRENT",
    "a*b",
    "system:serviceaccount:demo:red",
    "x",
];
const NUMBERS: &[&str] = &["0", "1", "7", "30", "-5", "2.5", "7.0", "300", "0.5"];
const DATES: &[&str] = &[
    "2026-01-31",
    "2026-01-31T00:00:00Z",
    "2026-01-31T12:00:00Z",
    "2025-12-31T23:59:59Z",
    "2026-02-01T01:00:00+01:00",
    "2026-06",
];
const IPS: &[&str] = &[
    "10.0.0.1",
    "10.1.2.3",
    "192.0.2.9",
    "203.0.113.77",
    "2001:db8::1",
    "2001:db8:1::2",
];
const NETWORKS: &[&str] = &[
    "10.0.0.0/8",
    "10.0.0.0/16",
    "192.0.2.0/24",
    "0.0.0.0/0",
    "10.0.0.1/32",
    "10.0.0.1",
    "203.0.113.64/26",
    "2001:db8::/32",
    "2001:db8:1::/48",
    "::/0",
    "2001:db8::1",
];
const BYTES: &[&str] = &["QUJD", "cXVqZA==", "", "AAECAw=="];
const ARNS: &[&str] = &[
    "arn:aws:iam::000000000000:role/teams/red",
    "arn:aws:iam::111111111111:user/ann",
    "arn:aws:s3:::bucket/a:b/c",
    "arn:aws:lambda:eu-west-1:000000000000:function:f",
];

/// An operator, a key and the values that it is held against.
pub(crate) fn condition(random: &mut Random) -> (String, &'static str, Vec<String>) {
    if random.chance(8) {
        let key = random.pick(&[TEXT_KEYS, LIST_KEYS, BOOL_KEYS].concat());
        return (
            "Null".to_owned(),
            key,
            vec![random.pick(&["true", "false"]).to_owned()],
        );
    }
    let (keys, operators, values): (&[&'static str], &[&str], &[&str]) = match random.below(16) {
        0..5 => (
            TEXT_KEYS,
            &[
                "StringEquals",
                "StringNotEquals",
                "StringEqualsIgnoreCase",
                "StringNotEqualsIgnoreCase",
                "StringLike",
                "StringNotLike",
            ],
            TEXTS,
        ),
        5..8 => (
            LIST_KEYS,
            &[
                "StringEquals",
                "StringNotEquals",
                "StringLike",
                "StringNotLike",
                "StringEqualsIgnoreCase",
            ],
            TEXTS,
        ),
        8 | 9 => (
            NUMBER_KEYS,
            &[
                "NumericEquals",
                "NumericNotEquals",
                "NumericLessThan",
                "NumericLessThanEquals",
                "NumericGreaterThan",
                "NumericGreaterThanEquals",
            ],
            NUMBERS,
        ),
        10 | 11 => (
            DATE_KEYS,
            &[
                "DateEquals",
                "DateNotEquals",
                "DateLessThan",
                "DateLessThanEquals",
                "DateGreaterThan",
                "DateGreaterThanEquals",
            ],
            DATES,
        ),
        12 => (BOOL_KEYS, &["Bool"], &["true", "false", "TRUE"]),
        13 => (IP_KEYS, &["IpAddress", "NotIpAddress"], NETWORKS),
        14 => (
            ARN_KEYS,
            &["ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike"],
            ARNS,
        ),
        _ => (BYTES_KEYS, &["BinaryEquals"], BYTES),
    };
    let key = if random.chance(1) {
        "aws:MadeUp"
    } else {
        random.pick(keys)
    };
    let base = random.pick(operators);
    // Set operators are for keys with several values; elsewhere they are seldom seen.
    let of_sets = random.chance(if keys == LIST_KEYS { 85 } else { 5 });
    let set = if of_sets {
        random.pick(&["ForAllValues:", "ForAnyValue:"])
    } else {
        ""
    };
    let if_exists = if random.chance(20) { "IfExists" } else { "" };
    let count = 1 + random.below(3);
    let values = (0..count).map(|_| operand(random, base, values)).collect();
    (format!("{set}{base}{if_exists}"), key, values)
}

fn operand(random: &mut Random, base: &str, values: &[&str]) -> String {
    let value = random.pick(values);
    if base.starts_with("Arn") {
        let mut segments: Vec<String> = value.splitn(6, ':').map(str::to_owned).collect();
        let at = 1 + random.below(5);
        match random.below(5) {
            0 => "*".clone_into(&mut segments[at]),
            1 => {
                let half = segments[at].len() / 2;
                segments[at].truncate(half);
                segments[at].push('*');
            }
            2 if !segments[at].is_empty() => {
                segments[at].pop();
                segments[at].push('?');
            }
            3 => segments[5] = segments[5].replace("red", "${aws:PrincipalTag/team}"),
            _ => {}
        }
        return segments.join(":");
    }
    if !base.starts_with("String") {
        return value.to_owned();
    }
    let cut = random.below(value.len());
    match random.below(12) {
        0 => format!("{}*", &value[..cut]),
        1 => format!("{}?{}", &value[..cut], &value[cut + 1..]),
        2 => "${aws:PrincipalTag/team}".to_owned(),
        3 => "${aws:PrincipalTag/team, 'red'}".to_owned(),
        4 => format!("{}${{*}}", &value[..cut]),
        5 => "*".to_owned(),
        6 => value.to_uppercase(),
        7 => "a${*}b".to_owned(),
        _ => value.to_owned(),
    }
}

/// What a request says.
pub(crate) fn context(random: &mut Random, principal: &Principal) -> Vec<(&'static str, Vec<String>)> {
    let mut context = Vec::new();
    let kinds: [(&[&'static str], &[&str]); 7] = [
        (TEXT_KEYS, TEXTS),
        (NUMBER_KEYS, NUMBERS),
        (DATE_KEYS, DATES),
        (BOOL_KEYS, &["true", "false"]),
        (IP_KEYS, IPS),
        (ARN_KEYS, ARNS),
        (BYTES_KEYS, BYTES),
    ];
    for (keys, values) in kinds {
        for key in keys {
            if random.chance(70) {
                // Now and then something that the operators of the key cannot read.
                let value = if random.chance(3) {
                    "x"
                } else {
                    random.pick(values)
                };
                context.push((*key, vec![value.to_owned()]));
            }
        }
    }
    for key in LIST_KEYS {
        if random.chance(1) {
            context.push((*key, vec![String::new()]));
        } else if random.chance(75) {
            let count = 1 + random.below(3);
            context.push((*key, (0..count).map(|_| random.pick(TEXTS).to_owned()).collect()));
        }
    }
    if let Some(account) = principal.account() {
        context.push(("aws:PrincipalAccount", vec![account.to_owned()]));
    }
    context
}
