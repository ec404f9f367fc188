//! PURE: what the cases of a run need of the nodes.

use super::{options::RunOptions, run::plan};
use crate::{
    environment::Needs,
    scenario::{
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
        for step in &case.scenario.steps {
            match &step.action {
                // Measurements run alone: their pods are never there together.
                Action::Load(Load::Mounts(mounts)) => {
                    if mounts.lenses.contains(&Lens::Pod) {
                        needs.pods = needs.pods.max(mounts.pods as usize + mounts.warm_up as usize);
                    }
                    needs.csi_socket |= mounts.lenses.contains(&Lens::Csi);
                }
                Action::Load(Load::Calls(_)) => needs.csi_socket = true,
                _ => {}
            }
        }
    }
    needs
}
