//! What `mountproof doctor` says of a cluster, by the same look that a run takes.

use mountproof_releases::Part;

use super::{Choice, SharedOptions, judge, look};
use crate::{environment::Found, kubernetes::Kubernetes};

/// Looks at driver and provider and at what else a run needs of a cluster. Nothing is made.
pub(in crate::environment) async fn doctor(
    kubernetes: &Kubernetes,
    options: &SharedOptions,
) -> Vec<(&'static str, Found)> {
    let seen = match look(kubernetes).await {
        Ok(seen) => seen,
        Err(error) => return vec![("kubernetes", Found::Missing(error.to_string()))],
    };
    let of_use = seen.nodes.iter().filter(|node| node.is_of_use()).count();
    let nodes = format!(
        "{}, {of_use} of {} nodes take pods",
        seen.kubernetes,
        seen.nodes.len()
    );
    let mut found = vec![(
        "kubernetes",
        if of_use == 0 {
            Found::Missing(nodes)
        } else {
            Found::Good(nodes)
        },
    )];
    let judgement = judge(&seen, &options.wanted(false));
    for part in Part::ALL {
        let said = match judgement.of(part) {
            Choice::Found(seen) => format!(
                "{} by {}, ready on {} of {} nodes",
                seen.version, seen.managed, seen.ready, seen.wanted
            ),
            Choice::Install => {
                "none there: installed for a run where that is asked for (--install)".to_owned()
            }
            Choice::Replace(_) => "replaced for a run, and put back after it".to_owned(),
        };
        found.push((part.name(), Found::Good(said)));
    }
    for problem in &judgement.problems {
        let said = problem.to_string();
        found.push((
            "problem",
            if problem.fatal {
                Found::Missing(said)
            } else {
                Found::Less(said)
            },
        ));
    }
    found
}
