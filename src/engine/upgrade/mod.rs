//! A run in which driver and provider are replaced while pods have their mounts: every case before, in the middle of the
//! roll-out and after it.
//!
//! ```text
//! cases@before ─► roll half ─► cases@during ─► roll the rest ─► cases@after
//! kept pods: mounted ────────── looked at ──────────────────────── looked at, unmounted
//!                 └ a pod a node every 2 s ┘     └ likewise ┘
//! ```

mod kept;
mod probes;

use std::{sync::Arc, time::Instant};

use tokio_util::sync::CancellationToken;

use self::{kept::Kept, probes::Probes};
use super::{
    dispatch::{Dispatch, dispatch, skip},
    micros, probe,
    world::{Standing, World},
};
use crate::{
    environment::installation::{Rolled, Upgrade},
    journal::{Capability, Component, EventKind, Phase, PhaseBegan, Verdict},
    scenario::{Case, capability::PROGRAM_CONTROL},
};

/// Every case in each phase, those first that are kept mounted through all of them. A phase is a part of a case's name.
pub(super) fn in_phases(cases: Vec<Case>, tenants: &[String]) -> Vec<Case> {
    let mut all = kept::cases(tenants);
    all.extend(cases);
    let of = |phase: Phase| {
        all.iter().map(move |case| {
            let mut case = case.clone();
            case.plan.case = format!("{}@{phase}", case.plan.case);
            case.plan.phase = Some(phase);
            case
        })
    };
    Phase::ALL.into_iter().flat_map(of).collect()
}

/// Runs the phases one after another.
///
/// # Errors
///
/// When what is to come does not come up: in words, and the phases after it are not tried.
pub(super) async fn run(
    world: &Arc<World>,
    cases: Vec<Arc<Case>>,
    how: Dispatch,
    cancelled: &CancellationToken,
) -> Result<(), String> {
    let Some(upgrade) = &world.environment.upgrade else {
        return Ok(());
    };
    let (mut keeping, cases): (Vec<_>, Vec<_>) = cases.into_iter().partition(|case| kept::is_one(case));
    // Those of one binding come one after another, in the order of the phases.
    keeping.sort_by(|one, other| {
        (&one.tenants[0].name, one.plan.phase).cmp(&(&other.tenants[0].name, other.plan.phase))
    });
    let mut kept: Vec<Kept<'_>> = keeping
        .chunks(Phase::ALL.len())
        .map(|phases| Kept::new(world, phases, cancelled.clone()))
        .collect();
    let mut rolled = Ok(());
    for phase in Phase::ALL {
        if cancelled.is_cancelled() {
            break;
        }
        let of_phase: Vec<_> = cases
            .iter()
            .filter(|case| case.plan.phase == Some(phase))
            .cloned()
            .collect();
        match enter(world, upgrade, phase).await {
            Ok(None) => {
                let looking = futures::future::join_all(kept.iter_mut().map(|kept| kept.look(phase)));
                futures::join!(looking, dispatch(world, of_phase, how, cancelled));
            }
            Ok(Some(because)) => {
                for case in of_phase
                    .iter()
                    .map(AsRef::as_ref)
                    .chain(kept.iter().map(|kept| kept.case(phase)))
                {
                    skip(world, case, Verdict::NotSupported, &because);
                }
            }
            Err(because) => {
                rolled = Err(because);
                break;
            }
        }
    }
    futures::future::join_all(kept.iter_mut().map(Kept::leave)).await;
    rolled
}

/// Rolls out what a phase needs, and says what there is then; a reason, where the phase is left out.
async fn enter(world: &World, upgrade: &Upgrade, phase: Phase) -> Result<Option<String>, String> {
    let kubernetes = &world.environment.kubernetes;
    let began = Instant::now();
    if phase == Phase::Before {
        world.record(EventKind::PhaseBegan(PhaseBegan {
            phase,
            said: upgrade.said(),
            tried: true,
            took_us: 0,
            installed: None,
        }));
        return Ok(None);
    }
    let probes = Probes::start(world, phase);
    let (rolled, gaps) = probes
        .around(async {
            match phase {
                Phase::During => upgrade.half(kubernetes).await,
                _ => upgrade.whole(kubernetes).await.map(Ok),
            }
        })
        .await;
    let took_us = micros(began.elapsed());
    let rolled = rolled.map_err(|error| format!("the upgrade did not come about: {error}"))?;
    let (said, installed, because) = match rolled {
        Ok(Rolled { said, installed }) => (said, Some(installed), None),
        Err(because) => (because.clone(), None, Some(because)),
    };
    world.record(EventKind::PhaseBegan(PhaseBegan {
        phase,
        said,
        tried: because.is_none(),
        took_us,
        installed,
    }));
    if because.is_none() {
        for gap in gaps {
            world.record(EventKind::GapMeasured(gap));
        }
        world.stands(standing(world, upgrade, phase).await);
    }
    Ok(because)
}

/// What stands at the seams in a phase. What only the old or only the new can is taken to be lacking in the middle.
async fn standing(world: &World, upgrade: &Upgrade, phase: Phase) -> Standing {
    let first = &world.environment.ready.components;
    let with = |new: bool| -> Vec<Component> {
        let mut components = first.clone();
        for component in &mut components {
            for part in mountproof_releases::Part::ALL {
                if component.seam == part.name() {
                    upgrade.versions(part)[usize::from(new)].clone_into(&mut component.version);
                }
            }
        }
        components
    };
    let components = match phase {
        Phase::Before => vec![with(false)],
        Phase::During => vec![with(false), with(true)],
        Phase::After => vec![with(true)],
    };
    let mut capabilities: Vec<Capability> = Vec::new();
    for components in &components {
        let probed = probe::capabilities(&world.environment, components, &world.options.identities).await;
        for capability in probed {
            match capabilities
                .iter_mut()
                .find(|known| known.name == capability.name)
            {
                Some(known) if known.present && !capability.present => *known = capability,
                Some(_) => {}
                None => capabilities.push(capability),
            }
        }
    }
    if phase == Phase::During {
        let control = capabilities
            .iter_mut()
            .find(|known| known.name == PROGRAM_CONTROL);
        if let Some(control) = control {
            control.present = false;
            "the roll-out is held half-way: a restart would go on with it".clone_into(&mut control.evidence);
        }
    }
    Standing {
        components,
        capabilities,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{bind, load, shipped};

    #[test]
    fn every_case_runs_in_every_phase_under_a_name_of_its_own() {
        let tenants = ["red".to_owned(), "blue".to_owned()];
        let cases = bind(&load(&shipped()).scenarios, &tenants).cases;
        let phases = in_phases(cases.clone(), &tenants);
        // The two that are kept, one a tenant, beside the others.
        assert_eq!(phases.len(), 3 * (cases.len() + 2));
        let names: std::collections::BTreeSet<&str> =
            phases.iter().map(|case| case.plan.case.as_str()).collect();
        assert_eq!(names.len(), phases.len());
        for name in [
            "positive[red]@before",
            "kept-mounts[blue]@during",
            "rotation@after",
        ] {
            assert!(names.contains(name), "{name}: {names:?}");
        }
    }
}
