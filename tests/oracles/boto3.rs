//! boto3 as a client: every operation of EKS, EKS Auth, Secrets Manager, SSM and KMS, held against botocore's models.

use std::{process::Command, time::Duration};

use libtest_mimic::{Failed, Trial};
use mountproof_aws_endpoint::{eks, kms, secrets, ssm};

use crate::support::{Program, finished, fixture, python};

/// Longest time for the walk.
const RUNNING: Duration = Duration::from_mins(5);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test(
            "boto3::every_operation_of_eks_answers_as_botocore_models_it",
            || {
                let operations: Vec<&str> = eks::operations().chain(["AssumeRoleForPodIdentity"]).collect();
                walk(
                    "eks.py",
                    &operations,
                    &["--clusters", "--pod-identity-listen", "127.0.0.1:0"],
                )
            },
        ),
        Trial::test(
            "boto3::every_operation_on_secrets_answers_as_botocore_models_it",
            || {
                let operations = secrets::operations()
                    .chain(ssm::operations())
                    .chain(kms::operations());
                walk("services.py", &operations.collect::<Vec<_>>(), &[])
            },
        ),
    ]
}

fn walk(script: &str, operations: &[&str], arguments: &[&str]) -> Result<(), Failed> {
    // moto's environment has boto3 too, pinned.
    let python = python("moto", &fixture("moto/requirements.txt"))?;
    let program = Program::start(arguments)?;
    let mut command = Command::new(python);
    program.client(&mut command);
    command
        .arg(fixture("boto3").join(script))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("OPERATIONS", operations.join(" "))
        .env("POD_IDENTITY", program.text("pod_identity"));
    finished(command, RUNNING)?;
    program.stop()
}
