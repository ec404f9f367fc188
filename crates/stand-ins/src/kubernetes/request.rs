//! What a request asks for: its path, its query, the media types it sends and takes.

use std::{borrow::Cow, collections::HashMap};

use serde_json::Value;

use super::{
    deletion::{DeleteOptions, Propagation},
    failure::Failure,
};

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target<'a> {
    /// `/api`.
    CoreVersions,
    /// `/apis`.
    Groups,
    /// `/apis/<group>`.
    Group(&'a str),
    /// `/api/v1` or `/apis/<group>/<version>`.
    Resources { group: &'a str, version: &'a str },
    /// A collection, an object or a subresource.
    Objects(Place<'a>),
    /// Anything else.
    Other,
}

/// Where objects are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place<'a> {
    pub(super) group: &'a str,
    pub(super) version: &'a str,
    pub(super) plural: &'a str,
    /// Empty for cluster-wide objects, and for collections over all namespaces.
    pub(super) namespace: Cow<'a, str>,
    /// Empty for a collection.
    pub(super) name: Cow<'a, str>,
    /// Empty for the object itself.
    pub(super) subresource: &'a str,
}

/// Reads a path.
pub(super) fn target(path: &str) -> Target<'_> {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let (group, version, rest) = match segments.as_slice() {
        ["api"] => return Target::CoreVersions,
        ["apis"] => return Target::Groups,
        ["apis", group] => return Target::Group(group),
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return Target::Other,
    };
    let place = |plural, namespace, name, subresource| {
        Target::Objects(Place {
            group,
            version,
            plural,
            namespace: unescaped(namespace),
            name: unescaped(name),
            subresource,
        })
    };
    match rest {
        [] => Target::Resources { group, version },
        ["namespaces", name, "status" | "finalize"] => place("namespaces", "", name, rest[2]),
        ["namespaces", namespace, plural] => place(plural, namespace, "", ""),
        ["namespaces", namespace, plural, name] => place(plural, namespace, name, ""),
        ["namespaces", namespace, plural, name, subresource] => place(plural, namespace, name, subresource),
        [plural] => place(plural, "", "", ""),
        [plural, name] => place(plural, "", name, ""),
        [plural, name, subresource] => place(plural, "", name, subresource),
        _ => Target::Other,
    }
}

/// The parameters of a query.
#[derive(Debug, Default)]
pub(super) struct Query(HashMap<String, String>);

impl Query {
    pub(super) fn parse(query: Option<&str>) -> Self {
        let pairs = query
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    let decode = |text: &str| unescaped(&text.replace('+', " ")).into_owned();
                    (decode(name), decode(value))
                })
                .collect(),
        )
    }

    /// A parameter, empty if absent.
    pub(super) fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// A boolean parameter: absent is false, present without a value true, as Go reads them.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.0
            .get(name)
            .is_some_and(|value| !matches!(value.as_str(), "0" | "f" | "F" | "false" | "False" | "FALSE"))
    }

    /// A number.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Failure> {
        match self.text(name) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                Failure::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
            }),
        }
    }

    /// `resourceVersion`: none if absent, and 0 for "any".
    pub(super) fn resource_version(&self) -> Result<Option<u64>, Failure> {
        match self.text("resourceVersion") {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                Failure::bad_request(format!(
                    "resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
                ))
            }),
        }
    }
}

/// `DeleteOptions` from query and body; the body wins.
pub(super) fn delete_options(query: &Query, body: &Value) -> Result<DeleteOptions, Failure> {
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let propagation =
        text(&body["propagationPolicy"]).unwrap_or_else(|| query.text("propagationPolicy").to_owned());
    let orphan = body["orphanDependents"]
        .as_bool()
        .or_else(|| (!query.text("orphanDependents").is_empty()).then(|| query.flag("orphanDependents")));
    let grace = body["gracePeriodSeconds"].as_i64().or(query
        .number("gracePeriodSeconds")?
        .and_then(|grace| i64::try_from(grace).ok()));
    Ok(DeleteOptions {
        uid: text(&body["preconditions"]["uid"]),
        resource_version: text(&body["preconditions"]["resourceVersion"]),
        grace_seconds: grace,
        propagation: match (propagation.as_str(), orphan) {
            ("Foreground", _) => Propagation::Foreground,
            ("Orphan", _) | ("", Some(true)) => Propagation::Orphan,
            ("Background" | "", _) => Propagation::Background,
            (other, _) => {
                return Err(Failure::invalid(
                    "meta.k8s.io",
                    "DeleteOptions",
                    "",
                    &[super::failure::Violation::invalid(
                        "propagationPolicy",
                        &other.into(),
                        "supported values: \"Background\", \"Foreground\", \"Orphan\"",
                    )],
                ));
            }
        },
        dry_run: query.text("dryRun") == "All" || body["dryRun"][0] == "All",
    })
}

/// The form a client wants objects in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Whole,
    /// `PartialObjectMetadata` and its list.
    Metadata,
    /// Aggregated discovery.
    AggregatedDiscovery,
}

/// Chooses among the media types of an Accept header the first that can be served.
pub(super) fn accepted(accept: Option<&str>) -> Result<Shape, Failure> {
    let Some(accept) = accept.filter(|accept| !accept.trim().is_empty()) else {
        return Ok(Shape::Whole);
    };
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default();
        if !matches!(media_type, "application/json" | "*/*" | "application/*") {
            continue;
        }
        let parameters: HashMap<&str, &str> = parts.filter_map(|part| part.split_once('=')).collect();
        match (parameters.get("as").copied(), parameters.get("g").copied()) {
            (None, _) => return Ok(Shape::Whole),
            (Some("PartialObjectMetadata" | "PartialObjectMetadataList"), _) => return Ok(Shape::Metadata),
            (Some("APIGroupDiscoveryList"), Some("apidiscovery.k8s.io"))
                if parameters.get("v") == Some(&"v2") =>
            {
                return Ok(Shape::AggregatedDiscovery);
            }
            // Tables, and versions of the discovery that are gone.
            _ => {}
        }
    }
    Err(Failure::not_acceptable())
}

/// The media type of a Content-Type header, without parameters.
pub(super) fn media_type(content_type: Option<&str>) -> &str {
    content_type
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
}

/// Undoes percent-encoding; what is not UTF-8 afterwards stays as it was.
fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let byte = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(byte.unwrap_or(bytes[at]));
        at += if byte.is_some() { 3 } else { 1 };
    }
    String::from_utf8(decoded).map_or(Cow::Borrowed(text), Cow::Owned)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use serde_json::json;

    use super::*;

    #[test]
    fn paths() {
        let place = |group, version, plural, namespace: &'static str, name: &'static str, subresource| {
            Target::Objects(Place {
                group,
                version,
                plural,
                namespace: namespace.into(),
                name: name.into(),
                subresource,
            })
        };
        for (path, expected) in [
            ("/api", Target::CoreVersions),
            ("/apis/", Target::Groups),
            ("/apis/apps", Target::Group("apps")),
            (
                "/api/v1",
                Target::Resources {
                    group: "",
                    version: "v1",
                },
            ),
            (
                "/apis/apps/v1",
                Target::Resources {
                    group: "apps",
                    version: "v1",
                },
            ),
            ("/api/v1/pods", place("", "v1", "pods", "", "", "")),
            ("/api/v1/nodes/n", place("", "v1", "nodes", "", "n", "")),
            (
                "/api/v1/nodes/n/status",
                place("", "v1", "nodes", "", "n", "status"),
            ),
            ("/api/v1/namespaces", place("", "v1", "namespaces", "", "", "")),
            ("/api/v1/namespaces/a", place("", "v1", "namespaces", "", "a", "")),
            (
                "/api/v1/namespaces/a/finalize",
                place("", "v1", "namespaces", "", "a", "finalize"),
            ),
            ("/api/v1/namespaces/a/pods", place("", "v1", "pods", "a", "", "")),
            (
                "/api/v1/namespaces/a/pods/p",
                place("", "v1", "pods", "a", "p", ""),
            ),
            (
                "/api/v1/namespaces/a/serviceaccounts/s/token",
                place("", "v1", "serviceaccounts", "a", "s", "token"),
            ),
            (
                "/apis/x.y/v2/namespaces/a/things/t%3A1",
                place("x.y", "v2", "things", "a", "t:1", ""),
            ),
            ("/healthz", Target::Other),
        ] {
            assert_eq!(target(path), expected, "{path}");
        }
    }

    #[test]
    fn queries() {
        let query = Query::parse(Some("labelSelector=a%3Db%2Cc+in+(d)&watch&force=false&limit=5&x"));
        assert_eq!(query.text("labelSelector"), "a=b,c in (d)");
        assert!(query.flag("watch") && !query.flag("force") && !query.flag("none"));
        assert_eq!(query.number("limit").unwrap(), Some(5));
        assert!(
            Query::parse(Some("resourceVersion=x"))
                .resource_version()
                .is_err()
        );
    }

    #[test]
    fn accept_headers() {
        for (accept, expected) in [
            (None, Some(Shape::Whole)),
            (Some("application/json"), Some(Shape::Whole)),
            (Some("*/*"), Some(Shape::Whole)),
            (
                Some("application/vnd.kubernetes.protobuf, */*"),
                Some(Shape::Whole),
            ),
            (Some("application/vnd.kubernetes.protobuf"), None),
            (Some("text/html"), None),
            (
                Some("application/json;as=Table;v=v1;g=meta.k8s.io,application/json"),
                Some(Shape::Whole),
            ),
            (
                Some("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"),
                Some(Shape::Metadata),
            ),
            (
                Some("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"),
                Some(Shape::AggregatedDiscovery),
            ),
            (
                Some(
                    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json",
                ),
                Some(Shape::Whole),
            ),
        ] {
            assert_eq!(accepted(accept).ok(), expected, "{accept:?}");
        }
    }

    #[test]
    fn delete_options_come_from_either_side() {
        let options = |query, body: Value| delete_options(&Query::parse(Some(query)), &body).unwrap();
        assert_eq!(
            options("gracePeriodSeconds=0", Value::Null).grace_seconds,
            Some(0)
        );
        assert_eq!(
            options(
                "propagationPolicy=Orphan",
                json!({ "propagationPolicy": "Foreground" })
            )
            .propagation,
            Propagation::Foreground
        );
        assert_eq!(
            options("orphanDependents=true", Value::Null).propagation,
            Propagation::Orphan
        );
        assert!(delete_options(&Query::parse(Some("propagationPolicy=x")), &Value::Null).is_err());
    }
}
