//! What a report says of an environment on this machine: what stands at each seam, and how it is set.

use mountproof_stand_ins::driver::MountKind;

use super::{
    Fault, LocalOptions, Plant,
    aws_side::AwsSide,
    node::{DriverPart, ProviderPart},
    pod_identity::PodIdentityPart,
};
use crate::journal::Component;

/// What stands at each seam.
pub(super) fn components(
    options: &LocalOptions,
    kubernetes: Component,
    driver: &DriverPart,
    provider: &ProviderPart,
    pod_identity: Option<&PodIdentityPart>,
    aws: &AwsSide,
) -> Vec<Component> {
    let mut components = vec![
        kubernetes,
        stand_in(
            "kubelet",
            "kubelet stand-in",
            "1.36",
            &["binds pods itself", "containers do not run"],
        ),
        driver.component(options),
        provider.component(options),
    ];
    components.extend(pod_identity.map(PodIdentityPart::component));
    components.push(aws.component(None));
    components
}

pub(super) fn driver_stand_in() -> Component {
    stand_in(
        "driver",
        "driver stand-in",
        mountproof_stand_ins::driver::VERSION,
        &["secretObjects are not synced"],
    )
}

pub(super) fn provider_stand_in() -> Component {
    stand_in(
        "provider",
        "provider stand-in",
        mountproof_stand_ins::provider::VERSION,
        &["no SSM parameters"],
    )
}

fn stand_in(seam: &str, name: &str, version: &str, notes: &[&str]) -> Component {
    Component {
        seam: seam.to_owned(),
        name: name.to_owned(),
        version: version.to_owned(),
        stand_in: true,
        notes: notes.iter().map(|&note| note.to_owned()).collect(),
    }
}

/// How it is set.
pub(super) fn notes(options: &LocalOptions, mount: Option<MountKind>) -> Vec<String> {
    let mut notes = vec![format!(
        "kubelet's own waits pass {} times faster than a real kubelet's, and at its pace while mounts are measured",
        options.clock
    )];
    notes.push(match mount {
        Some(MountKind::Tmpfs) => "secrets are mounted on tmpfs".to_owned(),
        Some(_) => "secrets are in a private folder: mounting tmpfs is not allowed here".to_owned(),
        None => "driver and provider run as processes, confined with the harness in namespaces of their own"
            .to_owned(),
    });
    notes.push(match &options.programs {
        None => format!(
            "the provider allows itself {} requests a second to the Kubernetes API, a real one 5; the driver as many, \
             but no less than a real one's 20",
            options.provider_qps
        ),
        Some(_) => format!(
            "the provider is started with --qps {}, where 5 is its default; the driver allows itself 20 requests a \
             second to the Kubernetes API, burst 30, which bounds mounts at 20 a second",
            options.provider_qps
        ),
    });
    notes.push(format!("rotation poll interval {:?}", options.rotation));
    notes.extend(options.notes.iter().cloned());
    notes.extend(trouble(&options.plants, &options.faults));
    notes
}

/// What is made wrong, and what is taken away.
pub(super) fn trouble(plants: &[Plant], faults: &[Fault]) -> Vec<String> {
    let plants = plants
        .iter()
        .map(|plant| format!("planted defect {plant}: {}", plant.what()));
    let faults = faults
        .iter()
        .map(|fault| format!("fault {fault}: {}", fault.trouble.what()));
    plants.chain(faults).collect()
}
