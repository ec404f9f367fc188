//! PURE: what the cases of a run need of the nodes.

use super::{options::RunOptions, run::plan};
use crate::{
    environment::Needs,
    scenario::{
        Case,
        capability::CSI_SOCKET,
        model::{Action, Lens, Load},
    },
};

/// What the run's cases, with what the command line says over them, need of the nodes.
#[must_use]
pub fn needs(options: &RunOptions) -> Needs {
    let mut needs = Needs::default();
    for case in plan(options, 0) {
        needs.csi_socket |= case
            .scenario
            .requires
            .iter()
            .any(|required| required == CSI_SOCKET);
        needs.pods = needs.pods.max(pods_of(&case));
        for step in &case.scenario.steps {
            match &step.action {
                Action::Load(Load::Mounts(mounts)) => {
                    needs.csi_socket |= mounts.lenses.contains(&Lens::Csi);
                }
                Action::Load(Load::Calls(_)) => needs.csi_socket = true,
                _ => {}
            }
        }
    }
    needs
}

/// Pods that a measurement of this case has at once. Measurements run alone: their pods are never there together.
fn pods_of(case: &Case) -> usize {
    let steps = case.scenario.steps.iter();
    let pods = steps.filter_map(|step| match &step.action {
        Action::Load(Load::Mounts(mounts)) if mounts.lenses.contains(&Lens::Pod) => {
            Some(mounts.pods as usize + mounts.warm_up as usize)
        }
        _ => None,
    });
    pods.max().unwrap_or_default()
}

/// Why a case cannot be tried on nodes with room for so many pods.
pub(super) fn lacks_room(case: &Case, room: usize) -> Option<String> {
    let pods = pods_of(case);
    (pods > room).then(|| {
        format!(
            "needs room for {pods} pods at once, and the nodes have room for {room}: add nodes, or measure fewer with --pods"
        )
    })
}
