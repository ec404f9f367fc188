//! The command `plan`: what a run would create, cost and take, without doing any of it.

use std::{io, time::Duration};

use super::{
    output::{OK, Output, USAGE, style},
    run::{EnvironmentName, RunArgs},
};
use crate::{
    engine,
    environment::EnvironmentOptions,
    known::KnownIssues,
    report::figure,
    scenario::model::{Action, Load},
    tenant::{ClusterName, TenantNames},
};

/// Runs the command.
///
/// # Errors
///
/// When a stream cannot be written.
pub fn run(args: &RunArgs, output: &mut Output<'_>) -> io::Result<u8> {
    let names = args.tenants.names();
    let choice = args.tenants.identity;
    let binding = match args.selection.plan(&names, choice, output)? {
        Ok(binding) => binding,
        Err(code) => return Ok(code),
    };
    let chosen = match args.environment() {
        Ok(chosen) => chosen,
        Err(because) => {
            writeln!(output.err, "error: {because}")?;
            return Ok(USAGE);
        }
    };
    let options = args.options(binding.cases, KnownIssues::default(), Vec::new(), chosen);
    let cases = engine::plan(&options, args.seed.unwrap_or_default());
    let strong = style::STRONG;

    let cluster = args
        .cluster_name
        .clone()
        .unwrap_or_else(|| "mountproof-RUNID".to_lowercase());
    for (number, line) in environment(args, &options.environment).iter().enumerate() {
        if number == 0 {
            writeln!(output.out, "{strong}environment{strong:#}   {line}")?;
        } else {
            writeln!(output.out, "  {line}")?;
        }
    }
    writeln!(
        output.out,
        "{strong}tenants{strong:#}       {}: each a namespace, a policy, a role, a secret, a SecretProviderClass",
        names.len()
    )?;
    if let Ok(cluster) = ClusterName::new(&cluster) {
        for name in names.iter().take(5) {
            match TenantNames::new(&cluster, name) {
                Ok(tenant) => writeln!(output.out, "  {name:<12} {}  {}", tenant.role(), tenant.policy())?,
                Err(error) => writeln!(output.out, "  {name:<12} {error}")?,
            }
        }
        if names.len() > 5 {
            writeln!(output.out, "  and {} more", names.len() - 5)?;
        }
    }
    writeln!(
        output.out,
        "{strong}cluster-wide{strong:#}  1 CSIDriver, 2 CustomResourceDefinitions, 1 IAM OIDC provider"
    )?;

    let (mut pods, mut own, mut secrets) = (0_u64, 0, 0);
    let (mut policies, mut boundaries, mut replicas) = (0, 0, 0);
    let mut longest = Duration::ZERO;
    for case in &cases {
        own += case
            .tenants
            .iter()
            .filter(|tenant| tenant.shared.is_none())
            .count();
        secrets += case
            .scenario
            .tenants
            .iter()
            .map(|tenant| tenant.secrets.len())
            .sum::<usize>();
        for tenant in &case.scenario.tenants {
            policies += tenant.denied_by_secret.len();
            boundaries += usize::from(tenant.boundary.is_some());
            replicas += tenant.replicated.len();
        }
        for step in &case.scenario.steps {
            pods += match &step.action {
                Action::Mount(_) | Action::Deny(_) | Action::Create(_) | Action::Publish(_) => 1,
                Action::Load(Load::Mounts(mounts)) => {
                    u64::from(mounts.pods + mounts.warm_up) * mounts.lenses.len() as u64
                }
                Action::Load(Load::Calls(calls)) => u64::from(calls.mounts) + 1,
                _ => 0,
            };
        }
        longest = longest.max(case.scenario.deadline);
    }
    writeln!(
        output.out,
        "{strong}cases{strong:#}         {}, up to {} at once; {pods} mounts; of their own: tenants {own}, secrets {secrets}, replicas \
         {replicas}, resource policies {policies}, permissions boundaries {boundaries}",
        cases.len(),
        args.jobs
    )?;
    for case in &cases {
        writeln!(
            output.out,
            "  {:<44} at most {}",
            case.plan.case,
            longest_time(case.scenario.deadline)
        )?;
    }
    writeln!(
        output.out,
        "{strong}takes{strong:#}         at most {}, teardown not counted (--deadline)",
        longest_time(args.deadline)
    )?;
    Ok(OK)
}

/// What stands, and what standing it up takes.
fn environment(args: &RunArgs, options: &EnvironmentOptions) -> Vec<String> {
    match options {
        EnvironmentOptions::Local(local)
            if local.programs.is_none() && args.env == EnvironmentName::Embedded =>
        {
            vec!["embedded: everything in this process, on loopback; costs nothing".to_owned()]
        }
        EnvironmentOptions::Local(_) => {
            vec![
                "host: driver and provider as processes confined on this machine, the rest in this one"
                    .to_owned(),
            ]
        }
        EnvironmentOptions::Kind(kind) => kind.planned(),
    }
}

fn longest_time(time: Duration) -> String {
    figure::seconds(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}
