//! boto3 as a client of EKS and EKS Auth: every operation, held against botocore's models.

use std::{process::Command, time::Duration};

use libtest_mimic::{Failed, Trial};
use mountproof_aws_endpoint::eks;

use crate::support::{Program, finished, fixture, python};

/// Longest time for the walk.
const RUNNING: Duration = Duration::from_mins(5);

pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test(
        "boto3::every_operation_of_eks_answers_as_botocore_models_it",
        walk,
    )]
}

fn walk() -> Result<(), Failed> {
    // moto's environment has boto3 too, pinned.
    let python = python("moto", &fixture("moto/requirements.txt"))?;
    let program = Program::start(&["--clusters", "--pod-identity-listen", "127.0.0.1:0"])?;
    let operations: Vec<&str> = eks::operations().chain(["AssumeRoleForPodIdentity"]).collect();
    let mut command = Command::new(python);
    program.client(&mut command);
    command
        .arg(fixture("boto3/eks.py"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("OPERATIONS", operations.join(" "))
        .env("POD_IDENTITY", program.text("pod_identity"));
    finished(command, RUNNING)?;
    program.stop()
}
