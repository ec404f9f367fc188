//! What an environment can do, asked of it and not taken on trust.

use crate::{
    environment::Environment,
    generation::{self, DriverGeneration, Since},
    journal::Capability,
    scenario::capability::{
        CALL_LOG, CSI_SOCKET, EXPIRED_TOKENS, FILE_PERMISSION, IAM_ENFORCEMENT, ROTATION, SECRET_TWICE,
        WORKLOADS,
    },
    secret::Credential,
};

/// Probes every capability that scenarios can ask for.
pub(super) async fn capabilities(environment: &Environment) -> Vec<Capability> {
    let socket = environment
        .nodes
        .iter()
        .find_map(|node| node.csi_socket.as_deref());
    vec![
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
            if DriverGeneration::of(environment.version("driver")).republish {
                "the CSIDriver asks for requiresRepublish, and the driver has rotation on"
            } else {
                "the driver has rotation on, and a reconciler of its own for that"
            },
        ),
        capability(
            CSI_SOCKET,
            socket.is_some_and(|socket| socket.exists()),
            &match socket {
                Some(socket) => format!("socket {}", socket.file_name().unwrap_or_default().display()),
                None => "the harness does not stand on the node".to_owned(),
            },
        ),
        of_provider(environment, FILE_PERMISSION, generation::FILE_PERMISSION),
        of_provider(environment, SECRET_TWICE, generation::SECRET_TWICE),
        capability(
            EXPIRED_TOKENS,
            environment.expired.is_some(),
            match &environment.expired {
                Some(_) => "the key that signs service-account tokens is at hand",
                None => "only Kubernetes has the issuer's key, and its tokens last ten minutes at least",
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
    ]
}

/// What the provider can do since a version.
fn of_provider(environment: &Environment, name: &str, since: Since) -> Capability {
    let (present, evidence) = since.judge(environment.version("provider"));
    capability(name, present, &evidence)
}

/// An endpoint that hands credentials for a token that is none enforces nothing.
///
/// Where an environment is ours the answer is known, and an endpoint that gives in is a defect for the
/// scenarios to find: it does not make them `not-supported`.
async fn iam_enforcement(environment: &Environment) -> Capability {
    let garbage = Credential::new("not.a.token");
    let role = format!(
        "arn:aws:iam::{}:role/mountproof-no-such-role",
        environment.aws.access().account
    );
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
