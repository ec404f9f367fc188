//! What an environment can do, asked of it and not taken on trust.

use std::path::Path;

use super::pod_identity;
use crate::{
    environment::{Environment, version_of},
    generation::{self, DriverGeneration, Since},
    journal::{Capability, Component},
    scenario::capability::{
        AWS_FAULTS, CALL_COUNTS, CALL_LOG, CSI_SOCKET, EXPIRED_TOKENS, FAILOVER_REGION, FILE_PERMISSION,
        IAM_ENFORCEMENT, MOUNTED_FILES, PROGRAM_CONTROL, PROGRAM_LOGS, REPUBLISH, ROTATION, SECRET_SYNC,
        SECRET_TWICE, WORKLOADS,
    },
    secret::Credential,
    tenant::Identity,
};

/// Probes every capability that scenarios can ask for, with these components at the seams.
pub(super) async fn capabilities(
    environment: &Environment,
    components: &[Component],
    identities: &[Identity],
) -> Vec<Capability> {
    let socket = environment
        .nodes
        .iter()
        .find_map(|node| node.csi_socket.as_deref());
    let agents = environment
        .nodes
        .iter()
        .filter(|node| node.agent.is_some())
        .count();
    let mut probed = vec![
        iam_enforcement(environment).await,
        capability(
            CALL_LOG,
            environment.calls.is_some(),
            &match &environment.calls {
                Some(calls) => format!("the endpoint's log is read, and has {} calls", calls.cursor()),
                None => "this environment keeps no log".to_owned(),
            },
        ),
        capability(
            ROTATION,
            true,
            if DriverGeneration::of(version_of(components, "driver")).republish {
                "the CSIDriver asks for requiresRepublish, and the driver has rotation on"
            } else {
                "the driver has rotation on, and a reconciler of its own for that"
            },
        ),
        capability(
            CSI_SOCKET,
            socket.is_some_and(Path::exists) || agents > 0,
            &match (socket, &environment.no_agent) {
                (Some(socket), _) => format!("socket {}", socket.file_name().unwrap_or_default().display()),
                (None, None) if agents > 0 => format!("an agent on {agents} nodes calls it"),
                (None, Some(because)) => because.clone(),
                (None, None) => "the harness does not stand on the node".to_owned(),
            },
        ),
        mounted_files(environment),
        of_provider(components, FILE_PERMISSION, generation::FILE_PERMISSION),
        of_provider(components, SECRET_TWICE, generation::SECRET_TWICE),
        capability(
            EXPIRED_TOKENS,
            environment.expired.is_some(),
            match &environment.expired {
                Some(_) => "the key that signs service-account tokens is at hand",
                None => "only Kubernetes has the issuer's key, and its tokens last ten minutes at least",
            },
        ),
        capability(
            SECRET_SYNC,
            true,
            "the driver may write Secrets, as with syncSecret.enabled=true of its chart",
        ),
        republish(environment, components),
        program_logs(environment).await,
        capability(
            FAILOVER_REGION,
            environment.failover_region.is_some(),
            &match &environment.failover_region {
                Some(region) => format!("secrets are replicated to {region}"),
                None => "AWS has one region here".to_owned(),
            },
        ),
        capability(
            AWS_FAULTS,
            environment.aws_faults.is_some(),
            match &environment.aws_faults {
                Some(_) => "the endpoint is this environment's own",
                None => "nobody can make this AWS slow",
            },
        ),
        capability(
            PROGRAM_CONTROL,
            environment.control.is_some(),
            match &environment.control {
                Some(_) => "driver and provider are this environment's own",
                None => "driver and provider are the cluster's: nobody ends them here",
            },
        ),
        capability(
            CALL_COUNTS,
            environment.counts.is_some(),
            match &environment.counts {
                Some(counts) if counts.uncounted().is_empty() => {
                    "the logs of the endpoint and of the API server tell who asked for what"
                }
                Some(_) => {
                    "the logs of the endpoint and of the API server tell who asked for what; the latter knows no handshakes"
                }
                None => "nobody here counts what driver and provider ask",
            },
        ),
        capability(
            WORKLOADS,
            environment.workload_controllers,
            if environment.workload_controllers {
                "the controllers of workloads run"
            } else {
                "there is no kube-controller-manager beside the API server"
            },
        ),
    ];
    if identities.contains(&Identity::PodIdentity) {
        probed.push(pod_identity::probed(environment, components).await);
    }
    for (name, because) in &environment.lacks {
        if let Some(lacking) = probed.iter_mut().find(|probed| probed.name == *name) {
            *lacking = capability(name, false, because);
        }
    }
    probed
}

fn mounted_files(environment: &Environment) -> Capability {
    let here = environment.nodes.iter().any(|node| node.kubelet_root.is_some());
    let agents = environment
        .nodes
        .iter()
        .filter(|node| node.agent.is_some())
        .count();
    let far = environment.nodes.len().saturating_sub(agents);
    let evidence = match (here, &environment.no_agent) {
        (true, _) => "kubelet's folders are read here".to_owned(),
        (false, Some(because)) => because.clone(),
        (false, None) if agents > 0 && far > 0 => format!("{far} nodes have no agent"),
        (false, None) => format!("an agent on {agents} nodes looks"),
    };
    capability(MOUNTED_FILES, here || (agents > 0 && far == 0), &evidence)
}

async fn program_logs(environment: &Environment) -> Capability {
    let verbosity = match &environment.logs {
        Some(logs) => logs.verbosity().await,
        None => Err("nobody keeps the logs of driver and provider".to_owned()),
    };
    match verbosity {
        Ok(said) => capability(PROGRAM_LOGS, true, &said),
        Err(because) => capability(PROGRAM_LOGS, false, &because),
    }
}

fn republish(environment: &Environment, components: &[Component]) -> Capability {
    let driver = version_of(components, "driver");
    let (present, evidence) = if environment.republish.is_none() {
        (false, "kubelet publishes again when it likes".to_owned())
    } else if DriverGeneration::of(driver).republish {
        (
            true,
            "the CSIDriver asks for requiresRepublish, and kubelet is told to".to_owned(),
        )
    } else {
        (
            false,
            format!("the CSIDriver of driver {driver} does not ask for requiresRepublish"),
        )
    };
    capability(REPUBLISH, present, &evidence)
}

/// What the provider can do since a version.
fn of_provider(components: &[Component], name: &str, since: Since) -> Capability {
    let (present, evidence) = since.judge(version_of(components, "provider"));
    capability(name, present, &evidence)
}

/// An endpoint that hands credentials for a token that is none enforces nothing.
///
/// Where an environment is ours the answer is known, and an endpoint that gives in is a defect for the
/// scenarios to find: it does not make them `not-supported`.
async fn iam_enforcement(environment: &Environment) -> Capability {
    let garbage = Credential::new("not.a.token");
    let role = environment.aws.role_arn("mountproof-no-such-role");
    match environment.aws.assume(&role, &garbage).await {
        Err(error) if error.is_answer() => capability(
            IAM_ENFORCEMENT,
            true,
            &format!(
                "a token that is none is refused: {}",
                error.code().unwrap_or("no code")
            ),
        ),
        Err(error) => capability(IAM_ENFORCEMENT, false, &format!("no answer: {error}")),
        Ok(_) => capability(
            IAM_ENFORCEMENT,
            false,
            "a token that is none is worth credentials",
        ),
    }
}

fn capability(name: &str, present: bool, evidence: &str) -> Capability {
    Capability {
        name: name.to_owned(),
        present,
        evidence: evidence.to_owned(),
    }
}
