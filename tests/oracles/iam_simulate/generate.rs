//! Requests and policies at random, from a seed.
//!
//! The vocabulary is small, so that policies often match, and every pattern is made from what is asked for. What the
//! two evaluators are known to read differently (see `known`) is made seldom.

use mountproof_aws_endpoint::iam::Principal;
use serde_json::{Map, Value, json};

use super::{
    conditions::{condition, context},
    random::Random,
};

/// A request, and all policies that apply to it.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) principal: Principal,
    pub(crate) action: &'static str,
    pub(crate) resource: String,
    /// Owner of the resource.
    pub(crate) account: &'static str,
    pub(crate) context: Vec<(&'static str, Vec<String>)>,
    pub(crate) identity: Vec<Value>,
    /// The policy of the resource; the trust policy, where a role is asked for.
    pub(crate) resource_policy: Option<Value>,
    pub(crate) assumes: bool,
    pub(crate) boundary: Option<Value>,
    pub(crate) session: Option<Value>,
}

pub(crate) const HOME: &str = "000000000000";
pub(crate) const AWAY: &str = "111111111111";
const PROVIDER: &str = "arn:aws:iam::000000000000:oidc-provider/oidc.example/id/X";
const SERVICE: &str = "pods.eks.amazonaws.com";

impl Case {
    pub(crate) fn random(random: &mut Random) -> Self {
        let assumes = random.chance(25);
        let principal = principal(random, assumes);
        let elsewhere = random.chance(30) && !matches!(principal, Principal::Federated { .. });
        // A token is good for roles of its provider's account only.
        let account = if elsewhere { AWAY } else { HOME };
        let (action, resource) = asked(random, &principal, account, assumes);
        let account = if resource == "*" {
            principal
                .account()
                .map_or(HOME, |own| if own == HOME { HOME } else { AWAY })
        } else {
            account
        };
        let context = context(random, &principal);
        let mut case = Self {
            principal,
            action,
            resource,
            account,
            context,
            identity: Vec::new(),
            resource_policy: None,
            assumes,
            boundary: None,
            session: None,
        };
        if case.principal.account().is_some() {
            for _ in 0..random.below(3) {
                let policy = case.policy(random, Kind::Identity);
                case.identity.push(policy);
            }
            case.boundary = random.chance(25).then(|| case.policy(random, Kind::Identity));
            let in_session = matches!(case.principal, Principal::AssumedRole { .. });
            case.session = (in_session && random.chance(30)).then(|| case.policy(random, Kind::Session));
        }
        if assumes {
            case.resource_policy = Some(case.policy(random, Kind::Trust));
        } else if random.chance(50) && case.resource != "*" {
            case.resource_policy = Some(case.policy(random, Kind::Resource));
        }
        case
    }

    /// How the other evaluator is asked.
    pub(crate) fn question(&self) -> Value {
        let context: Map<String, Value> = self
            .context
            .iter()
            .map(|(key, values)| {
                let value = match &values[..] {
                    [single] => json!(single),
                    several => json!(several),
                };
                ((*key).to_owned(), value)
            })
            .collect();
        json!({
            "principal": self.principal.arn(), "action": self.action, "resource": self.resource,
            "account": self.account, "context": context, "identity": self.identity,
            "resourcePolicy": self.resource_policy, "boundary": self.boundary, "session": self.session,
        })
    }

    /// All documents.
    pub(crate) fn documents(&self) -> impl Iterator<Item = &Value> {
        let others = [&self.resource_policy, &self.boundary, &self.session];
        self.identity.iter().chain(others.into_iter().flatten())
    }

    /// The statements of all documents.
    pub(crate) fn statements(&self) -> impl Iterator<Item = &Value> {
        self.documents()
            .flat_map(|document| match &document["Statement"] {
                Value::Array(statements) => &statements[..],
                single => std::slice::from_ref(single),
            })
    }

    fn policy(&self, random: &mut Random, kind: Kind) -> Value {
        let statements: Vec<Value> = (0..=random.below(2))
            .map(|_| self.statement(random, kind))
            .collect();
        let statement = if statements.len() == 1 && random.chance(50) {
            statements[0].clone()
        } else {
            json!(statements)
        };
        let version = if random.chance(4) {
            "2008-10-17"
        } else {
            "2012-10-17"
        };
        let mut policy = json!({ "Version": version, "Statement": statement });
        if random.chance(20) {
            policy["Id"] = json!("demo");
        }
        policy
    }

    fn statement(&self, random: &mut Random, kind: Kind) -> Value {
        let denies = random.chance(25);
        let mut statement = Map::new();
        statement.insert("Effect".to_owned(), json!(if denies { "Deny" } else { "Allow" }));
        if random.chance(20) {
            statement.insert(
                "Sid".to_owned(),
                json!(format!("S{}", random.below(1_000_000_000))),
            );
        }
        let (not, actions) = self.actions(random, kind);
        statement.insert(
            if not { "NotAction" } else { "Action" }.to_owned(),
            one_or_many(random, &actions),
        );
        if kind != Kind::Trust {
            let not = random.chance(12);
            let count = 1 + random.below(2);
            let resources: Vec<String> = (0..count).map(|_| self.resource_pattern(random, kind)).collect();
            statement.insert(
                if not { "NotResource" } else { "Resource" }.to_owned(),
                one_or_many(random, &resources),
            );
        }
        if !matches!(kind, Kind::Identity | Kind::Session) {
            let not = denies && random.chance(15);
            let named = if !not && random.chance(20) {
                json!("*")
            } else {
                self.principals(random)
            };
            statement.insert(if not { "NotPrincipal" } else { "Principal" }.to_owned(), named);
        }
        if random.chance(35) {
            let mut operators = Map::new();
            for _ in 0..=random.below(2) {
                let (operator, key, values) = condition(random);
                let values = one_or_many(random, &values);
                let keys = operators.entry(operator).or_insert_with(|| json!({}));
                keys[key] = values;
            }
            statement.insert("Condition".to_owned(), Value::Object(operators));
        }
        Value::Object(statement)
    }

    fn actions(&self, random: &mut Random, kind: Kind) -> (bool, Vec<String>) {
        let not = random.chance(10) && kind != Kind::Trust;
        let (service, name) = self.action.split_once(':').unwrap_or(("", ""));
        let count = 1 + random.below(2);
        let actions = (0..count).map(|_| match random.below(if kind == Kind::Trust { 5 } else { 9 }) {
            0 | 1 => self.action.to_owned(),
            2 => format!("{service}:*"),
            3 => format!("{service}:{}*", &name[..random.below(name.len())]),
            4 if kind == Kind::Trust => random
                .pick(&[
                    "sts:AssumeRole",
                    "sts:AssumeRoleWithWebIdentity",
                    "sts:TagSession",
                    "STS:assumerole*",
                ])
                .to_owned(),
            4 => self
                .action
                .to_uppercase()
                .replace(&service.to_uppercase(), service),
            5 => "*".to_owned(),
            6 => random
                .pick(&[
                    "secretsmanager:DescribeSecret",
                    "ssm:Get*",
                    "iam:*",
                    "eks:Describe?luster",
                ])
                .to_owned(),
            7 => {
                let at = random.below(name.len());
                format!("{service}:{}?{}", &name[..at], &name[at + 1..])
            }
            _ => format!("{service}:*{}", &name[random.below(name.len())..]),
        });
        (not, actions.collect())
    }

    fn resource_pattern(&self, random: &mut Random, kind: Kind) -> String {
        if random.chance(20) {
            return "*".to_owned();
        }
        let foreign = self.resource == "*" || random.chance(20);
        let base = if foreign {
            resource(random, HOME, "secretsmanager")
        } else {
            self.resource.clone()
        };
        let segments: Vec<&str> = base.splitn(6, ':').collect();
        let mut segments: Vec<String> = segments.into_iter().map(str::to_owned).collect();
        for at in [3, 4] {
            match random.below(10) {
                0 | 1 => "*".clone_into(&mut segments[at]),
                2 if segments[at].len() > 3 => {
                    segments[at].truncate(2);
                    segments[at].push('*');
                }
                3 if segments[at].len() > 3 => {
                    segments[at].pop();
                    segments[at].push('?');
                }
                _ => {}
            }
        }
        // The type of the resource stays as it is: nothing in it may be a wildcard.
        let at = segments[5].find([':', '/']).map_or(0, |at| at + 1);
        let (prefix, name) = segments[5].split_at(at);
        let prefix = prefix.to_owned();
        let cut = random.below(name.len());
        let name = match random.below(12) {
            0..3 => name.to_owned(),
            3 | 4 => format!("{}*", &name[..cut]),
            5 => format!("*{}", &name[cut..]),
            6 => format!("{}?{}", &name[..cut], &name[cut + 1..]),
            7 => format!(
                "{}*{}?",
                &name[..cut.min(3)],
                &name[cut.max(4).min(name.len() - 1)..name.len() - 1]
            ),
            8 => name.replace("red", "${aws:PrincipalTag/team}"),
            9 => name.replace("red", "${AWS:principaltag/team, 'red'}"),
            10 => name.replace("demo", "${*}emo").replace("red", "${aws:TagKeys}"),
            _ => "*".to_owned(),
        };
        segments[5] = format!("{prefix}{name}");
        if random.chance(2) {
            "${aws:PrincipalAccount}".clone_into(&mut segments[4]);
        }
        // Only policies of users and roles may leave segments out.
        if kind == Kind::Identity && random.chance(4) {
            segments.truncate(3 + random.below(3));
        }
        if kind != Kind::Session && random.chance(3) {
            segments.truncate(3 + random.below(2));
            segments.push("*".to_owned());
        }
        if segments.len() == 6 && prefix == "secret:" && random.chance(3) {
            // One asterisk for region and account.
            "*".clone_into(&mut segments[3]);
            segments.remove(4);
        }
        segments.join(":")
    }

    fn principals(&self, random: &mut Random) -> Value {
        let mut kinds: Map<String, Value> = Map::new();
        for _ in 0..=random.below(2) {
            let (kind, name) = self.named(random);
            let names = kinds.entry(kind.to_owned()).or_insert_with(|| json!([]));
            if let Value::Array(names) = names {
                names.push(json!(name));
            }
        }
        Value::Object(kinds)
    }

    fn named(&self, random: &mut Random) -> (&'static str, String) {
        let own = match &self.principal {
            Principal::Federated { provider_arn } => ("Federated", provider_arn.clone()),
            Principal::Service { name } => ("Service", name.clone()),
            Principal::AssumedRole { role_arn, .. } if random.chance(60) => ("AWS", role_arn.clone()),
            other => ("AWS", other.arn()),
        };
        let account = self.principal.account().unwrap_or(HOME);
        match random.below(10) {
            0..4 => own,
            4 => ("AWS", account.to_owned()),
            5 => ("AWS", format!("arn:aws:iam::{account}:root")),
            6 => ("AWS", format!("arn:aws:iam::{account}:role/blue")),
            7 => (
                "AWS",
                "arn:aws:sts::000000000000:assumed-role/red/other".to_owned(),
            ),
            8 => {
                let (kind, name) = random.pick(&[
                    ("Federated", PROVIDER),
                    ("Service", SERVICE),
                    ("Service", "lambda.amazonaws.com"),
                    ("AWS", "*"),
                ]);
                (kind, name.to_owned())
            }
            _ => ("AWS", format!("arn:aws:iam::{AWAY}:user/ann")),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Identity,
    Session,
    Resource,
    Trust,
}

fn principal(random: &mut Random, assumes: bool) -> Principal {
    let account = if random.chance(70) { HOME } else { AWAY };
    if assumes && random.chance(40) {
        return if random.chance(60) {
            Principal::Federated {
                provider_arn: PROVIDER.to_owned(),
            }
        } else {
            Principal::Service {
                name: SERVICE.to_owned(),
            }
        };
    }
    match random.below(10) {
        0..3 => Principal::User {
            account: account.to_owned(),
            arn: format!(
                "arn:aws:iam::{account}:user/{}",
                random.pick(&["ann", "teams/bob"])
            ),
            id: "AIDAANNANNANNANNANN12".to_owned(),
        },
        3 if random.chance(10) => Principal::Root {
            account: account.to_owned(),
        },
        _ => {
            let path = if random.chance(5) { "teams/" } else { "" };
            Principal::assumed_role(
                &format!("arn:aws:iam::{account}:role/{path}red"),
                "AROAREDREDREDREDRED12",
                "s1",
            )
        }
    }
}

fn asked(random: &mut Random, principal: &Principal, account: &str, assumes: bool) -> (&'static str, String) {
    if assumes {
        let action = match principal {
            Principal::Federated { .. } => "sts:AssumeRoleWithWebIdentity",
            Principal::Service { .. } => random.pick(&["sts:AssumeRole", "sts:TagSession"]),
            _ => "sts:AssumeRole",
        };
        return (action, format!("arn:aws:iam::{account}:role/demo-red"));
    }
    let action = random.pick(&[
        "secretsmanager:GetSecretValue",
        "secretsmanager:PutSecretValue",
        "secretsmanager:ListSecrets",
        "ssm:GetParameter",
        "eks:DescribeCluster",
        "iam:GetRole",
    ]);
    if action == "secretsmanager:ListSecrets" {
        return (action, "*".to_owned());
    }
    let service = action.split(':').next().unwrap_or_default();
    (action, resource(random, account, service))
}

fn resource(random: &mut Random, account: &str, service: &str) -> String {
    let team = random.pick(&["red", "blue"]);
    match service {
        "ssm" => format!("arn:aws:ssm:eu-west-1:{account}:parameter/demo/{team}/url"),
        "eks" => format!("arn:aws:eks:eu-west-1:{account}:cluster/demo-{team}"),
        "iam" => format!("arn:aws:iam::{account}:role/demo/{team}"),
        _ => format!("arn:aws:secretsmanager:eu-west-1:{account}:secret:demo/{team}/db-Ab3dEf"),
    }
}

/// A list of one may be written without its brackets.
fn one_or_many(random: &mut Random, values: &[String]) -> Value {
    match values {
        [single] if random.chance(50) => json!(single),
        _ => json!(values),
    }
}
