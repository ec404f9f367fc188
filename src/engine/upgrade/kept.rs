//! Pods that are mounted before an upgrade and looked at in each of its phases.

use std::{ops::Range, sync::Arc, time::Instant};

use tokio_util::sync::CancellationToken;

use super::super::{
    case::{self, Attempt},
    dispatch::skip,
    world::World,
};
use crate::{
    journal::{CaseStarted, EventKind, Phase, Verdict},
    scenario::{Case, SourceFile, bind, load},
};

/// See the file.
const SCENARIO: &str = include_str!("../../../fixtures/upgrade/kept-mounts.yaml");
const NAME: &str = "kept-mounts";
/// Its steps of each phase.
const STEPS: [Range<usize>; 3] = [0..2, 2..5, 5..10];

/// One for each tenant.
pub(super) fn cases(tenants: &[String]) -> Vec<Case> {
    let file = SourceFile {
        display: "fixtures/upgrade/kept-mounts.yaml".to_owned(),
        below: "upgrade/kept-mounts.yaml".to_owned(),
        folder: Some("upgrade".to_owned()),
        bytes: SCENARIO.as_bytes().to_vec(),
        size: SCENARIO.len() as u64,
    };
    bind(&load(&[file]).scenarios, tenants).cases
}

/// Whether a case is one of these.
pub(super) fn is_one(case: &Case) -> bool {
    case.scenario.name == NAME
}

/// The pods of one tenant.
pub(super) struct Kept<'a> {
    world: &'a World,
    /// One for each phase.
    cases: &'a [Arc<Case>],
    attempt: Attempt<'a>,
    /// Whether they were mounted: nothing is to be looked at otherwise.
    stand: bool,
}

impl<'a> Kept<'a> {
    pub(super) fn new(world: &'a World, cases: &'a [Arc<Case>], cancelled: CancellationToken) -> Self {
        Self {
            world,
            cases,
            attempt: Attempt::new(world, &cases[0], 1, cancelled),
            stand: false,
        }
    }

    /// The case of a phase.
    pub(super) fn case(&self, phase: Phase) -> &'a Case {
        &self.cases[phase as usize]
    }

    /// Goes through the steps of a phase.
    pub(super) async fn look(&mut self, phase: Phase) {
        let case = self.case(phase);
        if let Some(missing) = self.world.missing_capability(case) {
            return skip(self.world, case, Verdict::NotSupported, &missing);
        }
        if phase != Phase::Before && !self.stand {
            let because = "not tried: its pods were not mounted before the upgrade";
            return skip(self.world, case, Verdict::Skipped, because);
        }
        self.world.record(EventKind::CaseStarted(CaseStarted {
            case: case.plan.case.clone(),
            attempt: 1,
        }));
        let began = Instant::now();
        self.attempt.case = case;
        let end = self.attempt.part(STEPS[phase as usize].clone()).await;
        if phase == Phase::Before {
            self.stand = end.verdict == Verdict::Passed;
        }
        let finished = case::finished(self.world, case, 1, &end, false, began.elapsed());
        self.world.record(EventKind::CaseFinished(finished));
    }

    /// Removes them.
    pub(super) async fn leave(&mut self) {
        self.attempt.leave().await;
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;
    use crate::scenario::model::{Action, When};

    #[test]
    fn the_steps_of_a_phase_are_those_that_the_file_means() {
        let cases = cases(&["red".to_owned()]);
        let steps = &cases[0].scenario.steps;
        assert!(is_one(&cases[0]));
        assert_eq!(STEPS.last().unwrap().end, steps.len());
        assert!(matches!(steps[0].action, Action::Mount(_)));
        // Each later phase begins with a look at what was mounted before, and ends with what follows a new value or an unmount.
        for phase in &STEPS[1..] {
            let Action::Expect(look) = &steps[phase.start].action else {
                panic!("{:?}", steps[phase.start].action)
            };
            assert!(!matches!(look.when, When::Eventually));
            assert!(matches!(steps[phase.start + 1].action, Action::Update(_)));
        }
    }
}
