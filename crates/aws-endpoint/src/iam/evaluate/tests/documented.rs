//! AWS's own examples, from the table beside.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;

use super::*;

const HOME: &str = "111122223333";
const AWAY: &str = "999999999999";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Example {
    page: String,
    what: String,
    #[serde(default)]
    old: bool,
    #[serde(default)]
    identity: Vec<Value>,
    resource: Option<Value>,
    trust: Option<Value>,
    boundary: Option<Value>,
    session: Option<Vec<Value>>,
    requests: Vec<Asked>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(default = "ann", rename = "as")]
    principal: String,
    #[serde(rename = "do")]
    action: String,
    on: String,
    #[serde(default)]
    keys: BTreeMap<String, OneOrMany>,
    gives: Gives,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Gives {
    Allowed,
    Denied,
    Refused,
}

fn ann() -> String {
    "ann".to_owned()
}

fn principal(name: &str) -> Principal {
    let session = |account: &str, role: &str| {
        Principal::assumed_role(
            &format!("arn:aws:iam::{account}:role/{role}"),
            "AROAREDREDREDREDRED12",
            "s1",
        )
    };
    match name {
        "ann" => Principal::User {
            account: HOME.to_owned(),
            arn: format!("arn:aws:iam::{HOME}:user/ann"),
            id: "AIDAANNANNANNANNANN12".to_owned(),
        },
        "root" => Principal::Root {
            account: HOME.to_owned(),
        },
        "red" => session(HOME, "red"),
        "far" => session(AWAY, "far"),
        "token" => Principal::Federated {
            provider_arn: format!("arn:aws:iam::{HOME}:oidc-provider/oidc.example/id/X"),
        },
        "pods" => Principal::Service {
            name: "pods.eks.amazonaws.com".to_owned(),
        },
        other => panic!("nobody is called {other}"),
    }
}

impl Example {
    fn decide(&self, asked: &Asked) -> Gives {
        let version = if self.old { "2008-10-17" } else { "2012-10-17" };
        let read = |name: &str, kind, statements: &Value| parsed(name, kind, version, statements);
        let one = |name: &str, kind, statements: &Option<Value>| {
            statements.as_ref().map(|statements| read(name, kind, statements))
        };
        let many = |kind, policies: &[Value]| -> Vec<NamedPolicy> {
            policies
                .iter()
                .map(|statements| read("policy", kind, statements))
                .collect()
        };
        let identity = many(Document::Identity, &self.identity);
        let session = self
            .session
            .as_deref()
            .map(|policies| many(Document::Session, policies));
        let resource = one("resource", Document::Resource, &self.resource);
        let trust = one("trust", Document::Trust, &self.trust);
        let boundary = one("boundary", Document::Identity, &self.boundary);
        let mut context = Context::new();
        for (key, values) in &asked.keys {
            match values {
                OneOrMany::One(value) => context.set(key, value.as_str()),
                OneOrMany::Many(values) => context.set_all(key, values.iter().map(String::as_str)),
            }
        }
        let request = Request {
            principal: &principal(&asked.principal),
            action: &asked.action,
            resource: &asked.on,
            resource_account: HOME,
            context: &context,
        };
        let policies = PolicySet {
            identity: &identity,
            resource: resource.as_ref(),
            trust: trust.as_ref(),
            boundary: boundary.as_ref(),
            session: session.as_deref(),
        };
        match evaluate(&request, &policies, Rules::default()).reason {
            Reason::Allowed => Gives::Allowed,
            Reason::ImplicitDeny(_) => Gives::Denied,
            Reason::ExplicitDeny(_) => Gives::Refused,
        }
    }
}

#[test]
fn the_examples_of_aws_come_out_as_documented() {
    let examples: Vec<Example> = serde_saphyr::from_str(include_str!("documented.yaml")).unwrap();
    let mut wrong = Vec::new();
    let mut cases = 0;
    for example in &examples {
        for (number, asked) in example.requests.iter().enumerate() {
            let gives = example.decide(asked);
            cases += 1;
            if gives != asked.gives {
                let Example { page, what, .. } = example;
                wrong.push(format!(
                    "{page}: {what}: request {}: {gives:?}, not {:?}",
                    number + 1,
                    asked.gives
                ));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    let told: HashSet<&str> = examples.iter().map(|example| example.what.as_str()).collect();
    assert_eq!(
        told.len(),
        examples.len(),
        "each example shows something of its own"
    );
    assert!(cases >= 60, "{cases} cases");
}
