//! Where the other evaluator decides differently, why, and which page of AWS's says what is right.
//!
//! The order counts: a difference is put down to the first entry that it can come from.

use serde_json::Value;

use super::generate::Case;
use mountproof_aws_endpoint::iam::Principal;

/// A difference that is understood.
pub(crate) struct Known {
    pub(crate) what: &'static str,
    /// The page of the IAM user guide, and what follows from it.
    pub(crate) reason: &'static str,
    /// Whether it can be why the decisions (ours, theirs) differ on a case.
    pub(crate) explains: fn(&Case, &str, &str) -> bool,
}

pub(crate) const KNOWN: [Known; 17] = [
    Known {
        what: "variables in a document of version 2008-10-17",
        reason: "Variables and tags: without version 2012-10-17 variables are literal text. They are always filled in.",
        explains: |case, _, _| {
            case.documents()
                .any(|document| document["Version"] == "2008-10-17" && document.to_string().contains("${"))
        },
    },
    Known {
        what: "a condition key that nobody knows",
        reason: "Ours to choose: a statement that asks for an unknown key grants nothing and denies. Theirs takes any \
                 key for absent.",
        explains: |case, _, _| {
            case.documents()
                .any(|document| document.to_string().contains("aws:MadeUp"))
        },
    },
    Known {
        what: "a negated operator with a variable that has no value",
        reason: "Variables and tags, \"Policy variables with no value\": inverted operators do match. Theirs do not.",
        explains: |case, _, _| {
            conditions(case).any(|(operator, _, values)| {
                operator.contains("Not") && values.iter().any(|value| is_open(case, value))
            })
        },
    },
    Known {
        what: "ForAnyValue with IfExists on an absent key",
        reason: "Condition operators, \"IfExists\": an absent key is true. Theirs is false for ForAnyValue.",
        explains: |case, _, _| {
            conditions(case).any(|(operator, key, _)| {
                operator.starts_with("ForAnyValue:")
                    && operator.ends_with("IfExists")
                    && values(case, key).is_none()
            })
        },
    },
    Known {
        what: "a session policy beside a resource policy that names the session, or all",
        reason: "Permissions boundaries, \"role session\": what is granted to a session is not limited by an implicit \
                 denial of a session policy. Theirs asks the session policy first.",
        explains: |case, ours, theirs| {
            case.session.is_some()
                && case.resource_policy.is_some()
                && (ours, theirs) == ("Allowed", "ImplicitlyDenied")
        },
    },
    Known {
        what: "NotPrincipal that names not every identity of the caller",
        reason: "NotPrincipal: an exempt role session has to be named with its role and its account. Theirs exempts \
                 whoever is named once.",
        explains: |case, ours, _| {
            ours == "ExplicitlyDenied"
                && case
                    .statements()
                    .any(|statement| statement.get("NotPrincipal").is_some())
        },
    },
    Known {
        what: "the root user",
        reason: "Policy evaluation logic: the root user of the account needs no policy. Theirs asks identity policies.",
        explains: |case, _, _| matches!(case.principal, Principal::Root { .. }),
    },
    Known {
        what: "the account of an identity provider, named for the bearers of its tokens",
        reason: "Principal, \"AWS account principals\": the identities of the account. Who bears a token is none of \
                 them until a role is assumed. Theirs reads the account in the provider's ARN.",
        explains: |case, _, _| {
            matches!(case.principal, Principal::Federated { .. })
                && case.statements().any(|statement| {
                    let named = statement
                        .get("Principal")
                        .or_else(|| statement.get("NotPrincipal"));
                    named.is_some_and(|named| named.to_string().contains("000000000000"))
                })
        },
    },
    Known {
        what: "NotResource with a variable that has no value",
        reason: "Variables and tags, \"Policy variables with no value\": it matches no resource, so that a denial spares \
                 nothing by it. A grant would cover everything by it; ours covers nothing. Theirs lets the statement \
                 go, unless the resource is of another service anyway.",
        explains: |case, ours, _| {
            let mut named = case
                .statements()
                .filter_map(|statement| statement.get("NotResource"));
            ours != "Allowed" && named.any(|named| is_open(case, &named.to_string()))
        },
    },
    Known {
        what: "a negated operator on a value that it cannot read",
        reason: "Condition operators say nothing of it. Ours takes what is no ARN, number, date or address for another \
                 than any that is; theirs never meets the condition. The endpoint gives no such values.",
        explains: |case, _, _| {
            conditions(case).any(|(operator, key, _)| {
                operator.contains("Not")
                    && !operator.contains("String")
                    && values(case, key).is_some_and(|values| values.contains(&"x".to_owned()))
            })
        },
    },
    Known {
        what: "a set operator on an empty text",
        reason: "Set operators: what resolves to an empty data set, such as an empty text, counts as absent. Theirs \
                 compares it.",
        explains: |case, _, _| {
            conditions(case).any(|(operator, key, _)| {
                operator.starts_with("For")
                    && values(case, key).is_some_and(|values| values.iter().all(String::is_empty))
            })
        },
    },
    Known {
        what: "the block 0.0.0.0/0",
        reason: "Condition operators, \"IP address\": CIDR. Theirs finds no address in it.",
        explains: |case, _, _| conditions(case).any(|(_, _, values)| values.contains(&"0.0.0.0/0")),
    },
    Known {
        what: "NotIpAddress of a single address of the other family",
        reason: "Condition operators, \"IP address\": all addresses but this one. Theirs wants the same family.",
        explains: |case, _, _| {
            conditions(case).any(|(operator, _, values)| {
                operator.contains("NotIpAddress") && values.iter().any(|value| !value.contains('/'))
            })
        },
    },
    Known {
        what: "an asterisk that ends a segment before the last",
        reason: "Resource, \"Using wildcards in resource ARNs\": it can match beyond the colon. Theirs ends at the colon.",
        explains: |case, _, _| {
            resources(case).any(|resource| {
                resource.contains(":*:secret:") && resource.starts_with("arn:aws:secretsmanager:*:secret:")
            })
        },
    },
    Known {
        what: "an incomplete ARN under NotResource",
        reason: "Identify resources with ARNs: the rest is filled up with asterisks. Theirs lets the statement go \
                 when the request's resource is another.",
        explains: |case, _, _| {
            let mut named = case
                .statements()
                .filter_map(|statement| statement.get("NotResource"));
            named.any(|named| {
                texts(named)
                    .iter()
                    .any(|text| *text != "*" && text.split(':').count() < 6)
            })
        },
    },
    Known {
        what: "${*} where wildcards are plain text",
        reason: "Variables and tags, \"special characters\": wherever variables may be used. Theirs takes it for itself \
                 with StringEquals and its like.",
        explains: |case, _, _| {
            conditions(case).any(|(operator, _, values)| {
                operator.contains("Equals") && values.iter().any(|value| value.contains("${*}"))
            })
        },
    },
    Known {
        what: "a variable before the fifth colon of a resource",
        reason: "Variables and tags, \"Resource element\": not before the fifth colon. Ours grants nothing by it and \
                 denies; theirs matches nothing.",
        explains: |case, _, _| {
            case.documents()
                .any(|document| document.to_string().contains(":${aws:PrincipalAccount}"))
        },
    },
];

/// Operator, key and values of every condition.
fn conditions(case: &Case) -> impl Iterator<Item = (&str, &str, Vec<&str>)> {
    let operators = case
        .statements()
        .filter_map(|statement| statement.get("Condition")?.as_object());
    let keys = operators
        .flatten()
        .filter_map(|(operator, keys)| Some((operator, keys.as_object()?)));
    keys.flat_map(|(operator, keys)| {
        keys.iter()
            .map(move |(key, values)| (operator.as_str(), key.as_str(), texts(values)))
    })
}

/// What `Resource` and `NotResource` name.
fn resources(case: &Case) -> impl Iterator<Item = &str> {
    let elements = case
        .statements()
        .flat_map(|statement| ["Resource", "NotResource"].map(|name| statement.get(name)));
    elements.flatten().flat_map(texts)
}

fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(values) => values.iter().filter_map(Value::as_str).collect(),
        single => single.as_str().into_iter().collect(),
    }
}

fn values<'c>(case: &'c Case, key: &str) -> Option<&'c [String]> {
    let mut context = case.context.iter();
    context.find_map(|(name, values)| name.eq_ignore_ascii_case(key).then_some(&values[..]))
}

/// Whether a text holds a variable that nothing fills in.
fn is_open(case: &Case, text: &str) -> bool {
    let absent = |key: &str| values(case, key).is_none_or(|values| values.len() != 1);
    text.contains("${aws:PrincipalTag/team}") && absent("aws:PrincipalTag/team")
        || text.contains("${aws:TagKeys}") && absent("aws:TagKeys")
}
