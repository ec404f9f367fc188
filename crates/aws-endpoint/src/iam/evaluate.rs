//! The decision on one request, and the statement that made it.
//!
//! Imitated: the IAM user guide's pages "Policy evaluation logic", "Cross-account policy evaluation
//! logic" and "Permissions boundaries". An explicit denial anywhere wins. Within an account an
//! identity-based or a resource-based policy has to allow, and boundary and session policies have to
//! allow too, unless a resource-based policy names the user, the session itself or everyone. Between accounts
//! both sides have to allow. A role's trust policy and a KMS key's policy are resource-based policies that have to
//! allow always.
//!
//! Left out: service and resource control policies, VPC endpoint policies, groups.

use std::sync::Arc;

use super::Facts;
use super::condition::Condition;
use super::context::folded;
use super::decision::{DecidingStatement, Decision, NearMiss, Obstacle, PolicyKind, Reason, Which};
use super::pattern::{Glob, Template};
use super::policy::{Effect, Policy, Scope, Statement};
use super::principal::{Closeness, Principal, exempts};

/// Who wants to do what to which resource.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Who asks.
    pub principal: &'a Principal,
    /// Such as `secretsmanager:GetSecretValue`.
    pub action: &'a str,
    /// The ARN of the resource as stored, random suffix included; `*` for an action on none.
    pub resource: &'a str,
    /// The account that owns the resource.
    pub resource_account: &'a str,
    /// What else is known about the request.
    pub context: &'a dyn Facts,
}

/// A policy and what to call it in a message. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedPolicy {
    /// Such as `demo-team-red-secrets-manager-policy`.
    pub name: Arc<str>,
    /// The policy.
    pub policy: Arc<Policy>,
}

impl NamedPolicy {
    /// Names a policy.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, policy: impl Into<Arc<Policy>>) -> Self {
        Self {
            name: name.into(),
            policy: policy.into(),
        }
    }
}

/// The policies that apply to a request.
#[derive(Debug, Clone, Copy, Default)]
pub struct PolicySet<'a> {
    /// Attached to the user or role.
    pub identity: &'a [NamedPolicy],
    /// Attached to the resource.
    pub resource: Option<&'a NamedPolicy>,
    /// The trust policy of the role, when the request is to assume it.
    pub trust: Option<&'a NamedPolicy>,
    /// The permissions boundary of the user or role.
    pub boundary: Option<&'a NamedPolicy>,
    /// Given when the role was assumed; `None` when none were, which limits nothing.
    pub session: Option<&'a [NamedPolicy]>,
}

/// Defects that can be planted in the evaluation, to test that the harness notices them. All off by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Rules {
    /// Every `Resource` and `NotResource` element matches.
    pub ignore_resource: bool,
    /// Resource patterns are cut one level of the path too early and used as a prefix, so that
    /// `secret:demo/team-red/*` matches every `secret:demo/..` (see [`Glob::matches_one_level_up`]).
    pub prefix_match: bool,
    /// The policy of the resource is not read: neither its grants nor its denials count.
    pub ignore_resource_policy: bool,
    /// The permissions boundary is not read: neither does it limit, nor do its denials count.
    pub ignore_boundary: bool,
}

/// Decides `request` by `policies`.
#[must_use]
pub fn evaluate(request: &Request<'_>, policies: &PolicySet<'_>, rules: Rules) -> Decision {
    let case = Case {
        request: *request,
        policies: rules.applied_to(*policies),
        rules,
    };
    for kind in PolicyKind::ALL {
        if let Some(grant) = case.strongest(kind, Effect::Deny) {
            return Decision {
                reason: Reason::ExplicitDeny(kind),
                statement: grant.statement.map(|matching| matching.told()),
                near_miss: None,
            };
        }
    }
    match case.grant() {
        Ok(grant) => Decision {
            reason: Reason::Allowed,
            statement: grant.statement.map(|matching| matching.told()),
            near_miss: None,
        },
        Err(kind) => Decision {
            reason: Reason::ImplicitDeny(kind),
            statement: None,
            near_miss: case.near_miss(kind),
        },
    }
}

impl Rules {
    /// The policies without those that a planted defect overlooks.
    fn applied_to(self, policies: PolicySet<'_>) -> PolicySet<'_> {
        PolicySet {
            resource: policies.resource.filter(|_| !self.ignore_resource_policy),
            boundary: policies.boundary.filter(|_| !self.ignore_boundary),
            ..policies
        }
    }
}

/// A request with everything that decides it.
struct Case<'a> {
    request: Request<'a>,
    policies: PolicySet<'a>,
    rules: Rules,
}

/// A matching statement, and how closely it names the principal.
struct Grant<'a> {
    closeness: Closeness,
    /// `None` for a root user, whom nothing has to grant anything.
    statement: Option<Matching<'a>>,
}

/// A statement that matches. Borrowed: most that match decide nothing.
struct Matching<'a> {
    named: &'a NamedPolicy,
    index: usize,
    statement: &'a Statement,
    action: Which,
    resource: Option<Which>,
}

/// The first element of a statement that does not match. Borrowed: most that do not match are of no interest.
enum Miss<'a> {
    Principal,
    Action,
    Resource,
    UnknownKey(&'a str),
    Condition(&'a Condition),
}

impl Matching<'_> {
    fn told(&self) -> DecidingStatement {
        DecidingStatement {
            policy: self.named.clone(),
            index: self.index,
            effect: self.statement.effect,
            action: self.action,
            resource: self.resource,
        }
    }
}

impl<'a> Case<'a> {
    /// The statement that grants the request when nothing denies it, or the kind of policy that should.
    fn grant(&self) -> Result<Grant<'a>, PolicyKind> {
        let assumes = self.policies.trust.is_some() || is_assumption(self.request.action);
        let there_kind = if assumes {
            PolicyKind::Trust
        } else {
            PolicyKind::Resource
        };
        let there = self.strongest(there_kind, Effect::Allow);
        let Some(account) = self.request.principal.account() else {
            return there.ok_or(there_kind);
        };
        if there.is_none() && (assumes || self.is_key()) {
            return Err(there_kind);
        }
        if account == self.request.resource_account {
            let there = match there {
                Some(grant) if grant.closeness == Closeness::Direct => return Ok(grant),
                // An account's name lets that account's own policies decide.
                Some(grant) if grant.closeness == Closeness::Account => None,
                other => other,
            };
            let grant = match there {
                Some(grant) if assumes => grant,
                there => self.granted_to_identity().or(there).ok_or(PolicyKind::Identity)?,
            };
            self.within_limits()?;
            return Ok(grant);
        }
        let there = there.ok_or(there_kind)?;
        let here = self.granted_to_identity().ok_or(PolicyKind::Identity)?;
        self.within_limits()?;
        Ok(if assumes { there } else { here })
    }

    fn granted_to_identity(&self) -> Option<Grant<'a>> {
        if self.is_root() {
            return Some(Grant {
                closeness: Closeness::Direct,
                statement: None,
            });
        }
        self.strongest(PolicyKind::Identity, Effect::Allow)
    }

    /// Whether the boundary and the session policies, where there are any, allow as well.
    fn within_limits(&self) -> Result<(), PolicyKind> {
        let limits = [
            (
                PolicyKind::Boundary,
                self.policies.boundary.is_some() && !self.is_root(),
            ),
            (PolicyKind::Session, self.policies.session.is_some()),
        ];
        for (kind, applies) in limits {
            if applies && self.strongest(kind, Effect::Allow).is_none() {
                return Err(kind);
            }
        }
        Ok(())
    }

    /// Whether the resource is a KMS key: nothing is allowed with one but what its own policy allows, or leaves
    /// to the account.
    fn is_key(&self) -> bool {
        self.policies.resource.is_some()
            && self
                .request
                .action
                .get(..4)
                .is_some_and(|prefix| prefix.eq_ignore_ascii_case("kms:"))
    }

    fn is_root(&self) -> bool {
        matches!(self.request.principal, Principal::Root { .. })
    }

    fn policies(&self, kind: PolicyKind) -> &'a [NamedPolicy] {
        let PolicySet {
            identity,
            resource,
            trust,
            boundary,
            session,
        } = self.policies;
        match kind {
            PolicyKind::Identity => identity,
            PolicyKind::Resource => resource.map_or(&[], std::slice::from_ref),
            PolicyKind::Trust => trust.map_or(&[], std::slice::from_ref),
            PolicyKind::Boundary => boundary.map_or(&[], std::slice::from_ref),
            PolicyKind::Session => session.unwrap_or(&[]),
        }
    }

    fn statements(
        &self,
        kind: PolicyKind,
        effect: Effect,
    ) -> impl Iterator<Item = (&'a NamedPolicy, usize, &'a Statement)> {
        let numbered = self.policies(kind).iter().flat_map(|named| {
            named
                .policy
                .statements
                .iter()
                .enumerate()
                .map(move |(at, statement)| (named, at + 1, statement))
        });
        numbered.filter(move |(_, _, statement)| statement.effect == effect)
    }

    /// The first of the matching statements that name the principal most closely.
    fn strongest(&self, kind: PolicyKind, effect: Effect) -> Option<Grant<'a>> {
        let mut strongest: Option<Grant<'a>> = None;
        for (named, index, statement) in self.statements(kind, effect) {
            let Ok((closeness, action, resource)) = self.matches(statement) else {
                continue;
            };
            if strongest
                .as_ref()
                .is_some_and(|earlier| earlier.closeness >= closeness)
            {
                continue;
            }
            strongest = Some(Grant {
                closeness,
                statement: Some(Matching {
                    named,
                    index,
                    statement,
                    action,
                    resource,
                }),
            });
            if closeness == Closeness::Direct {
                break;
            }
        }
        strongest
    }

    fn near_miss(&self, kind: PolicyKind) -> Option<NearMiss> {
        let misses = self
            .statements(kind, Effect::Allow)
            .filter_map(|(named, index, statement)| {
                let miss = self.matches(statement).err()?;
                Some(NearMiss {
                    policy: named.name.clone(),
                    index,
                    obstacle: self.obstacle(statement, &miss),
                })
            });
        // The earliest of those that got furthest.
        misses.reduce(|best, miss| {
            if miss.obstacle.rank() > best.obstacle.rank() {
                miss
            } else {
                best
            }
        })
    }

    fn obstacle(&self, statement: &Statement, miss: &Miss<'_>) -> Obstacle {
        match *miss {
            Miss::Principal => {
                let named = statement.principals.iter().flat_map(Scope::entries);
                Obstacle::Principal {
                    named: named.map(|named| named.text().to_owned()).collect(),
                }
            }
            Miss::Action => Obstacle::Action,
            Miss::Resource => {
                let named = statement.resources.iter().flat_map(Scope::entries);
                Obstacle::Resource {
                    named: named.map(|named| named.as_str().to_owned()).collect(),
                }
            }
            Miss::UnknownKey(key) => Obstacle::UnknownKey { key: key.to_owned() },
            Miss::Condition(condition) => {
                let given = self.request.context.values_of(&folded(condition.key()));
                Obstacle::Condition {
                    operator: condition.operator().to_owned(),
                    key: condition.key().to_owned(),
                    expected: condition.values().map(ToOwned::to_owned).collect(),
                    given: given.unwrap_or_default().into_owned(),
                }
            }
        }
    }

    fn matches(&self, statement: &'a Statement) -> Result<(Closeness, Which, Option<Which>), Miss<'a>> {
        let closeness = self.principal(statement).ok_or(Miss::Principal)?;
        let action = statement.action(self.request.action).ok_or(Miss::Action)?;
        if let (Some(key), Effect::Allow) = (&statement.unknown_key, statement.effect) {
            return Err(Miss::UnknownKey(key));
        }
        let resource = match self.resource(statement) {
            // What a denial would spare by a key that nobody knows cannot be told: it spares nothing.
            Err(_) if statement.effect == Effect::Deny && statement.unclear_resources => None,
            resource => resource?,
        };
        let mut known = statement
            .conditions
            .iter()
            .filter(|condition| !condition.is_unclear());
        match known.find(|condition| !condition.holds(self.request.context)) {
            Some(unmet) => Err(Miss::Condition(unmet)),
            None => Ok((closeness, action, resource)),
        }
    }

    fn principal(&self, statement: &Statement) -> Option<Closeness> {
        let principal = self.request.principal;
        match &statement.principals {
            None => Some(Closeness::Direct),
            Some(Scope::Only(named)) => named.iter().filter_map(|named| named.names(principal)).max(),
            // AWS exempts nobody who has a permissions boundary.
            Some(Scope::AllBut(named)) => {
                let exempt = self.policies.boundary.is_none() && exempts(named, principal);
                (!exempt).then_some(Closeness::Role)
            }
        }
    }

    fn resource(&self, statement: &Statement) -> Result<Option<Which>, Miss<'a>> {
        let Some(resources) = &statement.resources else {
            return Ok(None);
        };
        let matches = |template: &Template| {
            template
                .resolve(self.request.context)
                .is_some_and(|glob| self.resource_matches(&glob))
        };
        match resources {
            entries if self.rules.ignore_resource => {
                Ok((!entries.entries().is_empty()).then_some(Which::Entry(0)))
            }
            Scope::Only(named) => named
                .iter()
                .position(matches)
                .map(|at| Some(Which::Entry(at)))
                .ok_or(Miss::Resource),
            // What a variable without a value names is no resource. A denial spares nothing by it, and a grant,
            // which would cover everything by it, covers nothing.
            Scope::AllBut(named) => {
                let unresolved = |template: &Template| template.resolve(self.request.context).is_none();
                let open = statement.effect == Effect::Allow && named.iter().any(unresolved);
                if open || named.iter().any(matches) {
                    Err(Miss::Resource)
                } else {
                    Ok(Some(Which::None))
                }
            }
        }
    }

    fn resource_matches(&self, glob: &Glob) -> bool {
        if self.rules.prefix_match {
            glob.matches_one_level_up(self.request.resource)
        } else {
            glob.matches_resource(self.request.resource)
        }
    }
}

impl Policy {
    /// Whether a statement denies one of `actions`: on some resources, under some conditions.
    pub(crate) fn denies_one_of(&self, actions: &[&str]) -> bool {
        let mut denials = self
            .statements
            .iter()
            .filter(|statement| statement.effect == Effect::Deny);
        denials.any(|denial| actions.iter().any(|action| denial.action(action).is_some()))
    }
}

impl Statement {
    /// What of the statement's actions covers the one that is `asked` for.
    fn action(&self, asked: &str) -> Option<Which> {
        let (actions, not) = match &self.actions {
            Scope::Only(actions) => (actions, false),
            Scope::AllBut(actions) => (actions, true),
        };
        let matching = actions
            .iter()
            .position(|action| action.glob.matches_ignoring_case(asked));
        match (matching, not) {
            (Some(at), false) => Some(Which::Entry(at)),
            (None, true) => Some(Which::None),
            _ => None,
        }
    }
}

/// Whether the action is one of those that a trust policy has to allow: without one nobody may.
fn is_assumption(action: &str) -> bool {
    let is = |name: &str| action.eq_ignore_ascii_case(name);
    let assumes = action
        .get(..14)
        .is_some_and(|prefix| prefix.eq_ignore_ascii_case("sts:AssumeRole"));
    assumes || is("sts:TagSession") || is("sts:SetSourceIdentity") || is("sts:SetContext")
}

#[cfg(test)]
mod tests;
