//! What is proven in a real cluster is what is proven elsewhere.

use crate::{
    Case,
    support::{Place, verdicts},
    world::{Before, run},
};

pub(crate) const CASES: &[Case] = &[(
    "the_conformance_profile_passes_and_leaves_nothing",
    conformance_passes,
)];

fn conformance_passes() {
    let before = Before::look();
    let place = Place::new();
    run(&place, &["--profile", "conformance", "--profile", "isolation"]).exits(0);
    let verdicts = verdicts(&place.results());
    for name in [
        "positive[team-red]",
        "cross-namespace-denied[team-red]",
        "rotation",
    ] {
        let verdict = verdicts.iter().find(|(case, _)| case == name);
        assert_eq!(
            verdict.map(|(_, verdict)| verdict.as_str()),
            Some("passed"),
            "{name}"
        );
    }
    before.is_as_it_was(&place);
}
