//! Scenarios and the run's tenants to cases.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::capability::POD_IDENTITY;
use super::model::{Each, Scenario};
use crate::{journal::CasePlan, tenant::Identity};

/// A scenario bound to tenants: what the engine runs, and one line of a report.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// The case as the journal names it.
    pub plan: CasePlan,
    /// What is done.
    pub scenario: Arc<Scenario>,
    /// In the order of [`Scenario::tenants`], which is what its indices mean.
    pub tenants: Vec<BoundTenant>,
}

/// A tenant of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundTenant {
    /// Its name in the run, which is its namespace too. Of an own tenant, the scenario's name for it
    /// and a number, so that it is unique in the run and short enough for a role's name.
    pub name: String,
    /// Index into the run's shared tenants; absent for an own tenant, which is made for the case.
    pub shared: Option<usize>,
}

/// The cases of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Binding {
    /// In the order of scenarios, then of tenants.
    pub cases: Vec<Case>,
    /// Scenarios that need more shared tenants than the run has.
    pub unbound: Vec<Unbound>,
    /// Scenarios about a way in that the run does not have: their names, and that way.
    pub left_out: Vec<(String, Identity)>,
}

/// A scenario that cannot be bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unbound {
    /// Its name.
    pub scenario: String,
    /// Shared tenants it needs.
    pub needs: usize,
    /// Shared tenants the run has.
    pub has: usize,
}

/// Binds scenarios to the run's shared tenants, who come in by IRSA: the first ones, in order, or each in turn with the
/// next ones in a ring.
#[must_use]
pub fn bind(scenarios: &[Scenario], tenants: &[String]) -> Binding {
    bind_through(scenarios, tenants, &[Identity::Irsa])
}

/// Binds scenarios to the run's shared tenants, once for each way in that they have and the scenario is about.
#[must_use]
pub fn bind_through(scenarios: &[Scenario], tenants: &[String], identities: &[Identity]) -> Binding {
    let mut binding = Binding::default();
    let mut own = OwnNames {
        taken: tenants.iter().cloned().collect(),
        next: 1,
    };
    for scenario in scenarios {
        let needs = scenario.tenants.iter().filter(|tenant| !tenant.own).count();
        if needs > tenants.len() {
            binding.unbound.push(Unbound {
                scenario: scenario.name.clone(),
                needs,
                has: tenants.len(),
            });
            continue;
        }
        let fits = |identity: &&Identity| scenario.identity.is_none_or(|only| only == **identity);
        let ways: Vec<Identity> = identities.iter().filter(fits).copied().collect();
        if let (Some(only), []) = (scenario.identity, &ways[..]) {
            let left_out = (scenario.name.clone(), only);
            if !binding.left_out.contains(&left_out) {
                binding.left_out.push(left_out);
            }
            continue;
        }
        let turns = match scenario.each {
            Each::Once => 1,
            Each::Tenant => tenants.len(),
        };
        let scenario = Arc::new(scenario.clone());
        for identity in ways {
            let turns = (0..turns).map(|turn| case(&scenario, tenants, (turn, turns), identity, &mut own));
            binding.cases.extend(turns);
        }
    }
    binding
}

fn case(
    scenario: &Arc<Scenario>,
    tenants: &[String],
    (turn, turns): (usize, usize),
    identity: Identity,
    own: &mut OwnNames,
) -> Case {
    let mut shared = (0..tenants.len()).map(|step| (turn + step) % tenants.len());
    let bound: Vec<BoundTenant> = scenario
        .tenants
        .iter()
        .map(|spec| match if spec.own { None } else { shared.next() } {
            Some(index) => BoundTenant {
                name: tenants[index].clone(),
                shared: Some(index),
            },
            None => BoundTenant {
                name: own.name(&spec.name),
                shared: None,
            },
        })
        .collect();
    let turn_name = (turns > 1).then(|| tenants[turn].clone());
    let values = scenario
        .matrix
        .iter()
        .map(|(axis, value)| format!("{axis}={value}"));
    // The way in by which all came before there was another is not said.
    let way = (identity != Identity::Irsa).then(|| identity.to_string());
    let parts: Vec<String> = turn_name.into_iter().chain(values).chain(way).collect();
    let name = if parts.is_empty() {
        scenario.name.clone()
    } else {
        format!("{}[{}]", scenario.name, parts.join(","))
    };
    let names: BTreeMap<String, String> = scenario
        .tenants
        .iter()
        .zip(&bound)
        .map(|(spec, bound)| (spec.name.clone(), bound.name.clone()))
        .collect();
    let mut requires = scenario.requires.clone();
    if identity == Identity::PodIdentity {
        requires.push(POD_IDENTITY.to_owned());
    }
    Case {
        plan: CasePlan {
            case: name,
            scenario: scenario.name.clone(),
            profile: scenario.profile.clone(),
            description: scenario.description.clone(),
            file: scenario.file.clone(),
            tenants: names,
            requires,
            phase: None,
            identity,
        },
        scenario: Arc::clone(scenario),
        tenants: bound,
    }
}

/// Gives out names for own tenants.
struct OwnNames {
    taken: BTreeSet<String>,
    next: usize,
}

impl OwnNames {
    fn name(&mut self, spec: &str) -> String {
        loop {
            let name = format!("{spec}-{}", self.next);
            self.next += 1;
            if self.taken.insert(name.clone()) {
                return name;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::load::{SourceFile, load};

    fn scenarios(head: &str) -> Vec<Scenario> {
        let text = format!(
            "apiVersion: mountproof.dev/v1alpha1\nkind: Scenario\nmetadata: {{ name: it, profile: p }}\n\
             description: It.\n{head}steps:\n  - mount: {{ tenant: red, secret: red/secret }}\n"
        );
        let file = SourceFile {
            display: "it.yaml".to_owned(),
            below: "p/it.yaml".to_owned(),
            folder: None,
            size: text.len() as u64,
            bytes: text.into_bytes(),
        };
        let loaded = load(&[file]);
        assert!(!loaded.has_errors(), "{:?}", loaded.diagnostics);
        loaded.scenarios
    }

    fn bound(head: &str, tenants: &[&str]) -> Vec<(String, Vec<String>)> {
        let tenants: Vec<String> = tenants.iter().map(|tenant| (*tenant).to_owned()).collect();
        let cases = bind(&scenarios(head), &tenants).cases;
        cases
            .into_iter()
            .map(|case| {
                (
                    case.plan.case,
                    case.tenants.into_iter().map(|tenant| tenant.name).collect(),
                )
            })
            .collect()
    }

    fn row(case: &str, tenants: &[&str]) -> (String, Vec<String>) {
        (
            case.to_owned(),
            tenants.iter().map(|tenant| (*tenant).to_owned()).collect(),
        )
    }

    #[test]
    fn once_takes_the_first_tenants() {
        let head = "tenants: { red: {}, blue: {} }\n";
        assert_eq!(bound(head, &["a", "b", "c"]), [row("it", &["a", "b"])]);
    }

    #[test]
    fn each_goes_round_the_ring() {
        let head = "each: tenant\ntenants: { red: {}, blue: {} }\n";
        assert_eq!(
            bound(head, &["a", "b", "c"]),
            [
                row("it[a]", &["a", "b"]),
                row("it[b]", &["b", "c"]),
                row("it[c]", &["c", "a"])
            ]
        );
    }

    #[test]
    fn bound_once_has_no_brackets() {
        assert_eq!(
            bound("each: tenant\ntenants: { red: {} }\n", &["a"]),
            [row("it", &["a"])]
        );
    }

    #[test]
    fn own_tenants_get_names_of_their_own() {
        let head = "each: tenant\ntenants: { red: {}, x: { own: true }, blue: {} }\n";
        assert_eq!(
            bound(head, &["a", "x-2"]),
            [
                row("it[a]", &["a", "x-1", "x-2"]),
                row("it[x-2]", &["x-2", "x-3", "a"])
            ]
        );
    }

    #[test]
    fn a_matrix_is_a_case_for_each_combination() {
        let head = "matrix: { size: [\"1\", \"2\"] }\neach: tenant\ntenants: { red: {} }\n";
        assert_eq!(
            bound(head, &["a", "b"]),
            [
                row("it[a,size=1]", &["a"]),
                row("it[b,size=1]", &["b"]),
                row("it[a,size=2]", &["a"]),
                row("it[b,size=2]", &["b"]),
            ]
        );
    }

    #[test]
    fn each_way_in_is_a_case_of_its_own_and_all_but_the_first_are_named() {
        let tenants = ["a".to_owned(), "b".to_owned()];
        let names = |head: &str, identities: &[Identity]| -> (Vec<String>, usize) {
            let binding = bind_through(&scenarios(head), &tenants, identities);
            let names = binding.cases.into_iter().map(|case| case.plan.case);
            (names.collect(), binding.left_out.len())
        };
        let head = "each: tenant\nmatrix: { size: [\"1\"] }\ntenants: { red: {} }\n";
        let irsa = ["it[a,size=1]", "it[b,size=1]"];
        let pods = ["it[a,size=1,pod-identity]", "it[b,size=1,pod-identity]"];
        let both = [irsa, pods].concat();
        let text = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let [one, other] = Identity::ALL;
        assert_eq!(names(head, &[one]), (text(&irsa), 0));
        assert_eq!(names(head, &[other]), (text(&pods), 0));
        assert_eq!(names(head, &Identity::ALL), (text(&both), 0));
        let head = "identity: pod-identity\ntenants: { red: {} }\n";
        assert_eq!(names(head, &Identity::ALL), (text(&["it[pod-identity]"]), 0));
        assert_eq!(names(head, &[one]), (Vec::new(), 1));
        let head = "identity: irsa\ntenants: { red: {} }\n";
        assert_eq!(names(head, &Identity::ALL), (text(&["it"]), 0));
        let required = bind_through(&scenarios("tenants: { red: {} }\n"), &tenants, &[other]).cases;
        assert_eq!(required[0].plan.requires, ["pod-identity"]);
    }

    #[test]
    fn too_few_tenants_are_said_so() {
        let scenarios = scenarios("tenants: { red: {}, blue: {} }\n");
        let binding = bind(&scenarios, &["a".to_owned()]);
        assert_eq!(binding.cases, []);
        assert_eq!(
            binding.unbound,
            [Unbound {
                scenario: "it".to_owned(),
                needs: 2,
                has: 1
            }]
        );
    }
}
