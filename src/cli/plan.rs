//! The command `plan`: what a run would create, cost and take, without doing any of it.

use std::{io, sync::Arc, time::Duration};

use super::{
    environment::EnvironmentName,
    list::IdentityChoice,
    output::{OK, Output, USAGE, style},
    run::RunArgs,
};
use crate::{
    engine,
    environment::{EnvironmentOptions, installation::charts},
    known::KnownIssues,
    report::figure,
    scenario::{
        Case,
        model::{Action, Load},
    },
    tenant::{ClusterName, Identity, TENANT_SECRET, TenantNames},
};

/// Runs the command.
///
/// # Errors
///
/// When a stream cannot be written.
pub async fn run(args: &RunArgs, output: &mut Output<'_>) -> io::Result<u8> {
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
    let totals = Totals::of(&cases);
    let strong = style::STRONG;

    let cluster = options
        .cluster
        .clone()
        .unwrap_or_else(|| "mountproof-RUNID".to_lowercase());
    for (number, line) in environment(args, &options.environment, &totals)
        .iter()
        .enumerate()
    {
        if number == 0 {
            writeln!(output.out, "{strong}environment{strong:#}   {line}")?;
        } else {
            writeln!(output.out, "  {line}")?;
        }
    }
    if let Some(installation) = options.environment.installs() {
        for line in charts(installation).await {
            writeln!(output.out, "  {line}")?;
        }
    }
    writeln!(
        output.out,
        "{strong}tenants{strong:#}       {}: each {}",
        names.len(),
        made_of(choice)
    )?;
    if let Ok(cluster) = ClusterName::new(&cluster) {
        for name in names.iter().take(5) {
            match TenantNames::new(&cluster, name) {
                Ok(tenant) => {
                    let roles = choice.identities().iter().map(|&way| tenant.role_of(way));
                    let roles: Vec<String> = roles.collect();
                    writeln!(
                        output.out,
                        "  {name:<12} {}  {}",
                        roles.join("  "),
                        tenant.policy()
                    )?;
                }
                Err(error) => writeln!(output.out, "  {name:<12} {error}")?,
            }
        }
        if names.len() > 5 {
            writeln!(output.out, "  and {} more", names.len() - 5)?;
        }
        if let EnvironmentOptions::Eks(_) = &options.environment {
            let own = cases.iter().flat_map(|case| &case.tenants);
            let own = own
                .filter(|tenant| tenant.shared.is_none())
                .map(|tenant| tenant.name.as_str());
            let all: Vec<&str> = names.iter().map(String::as_str).chain(own).collect();
            writeln!(
                output.out,
                "{strong}objects{strong:#}       of every tenant, of cases' own too"
            )?;
            for name in all {
                for line in objects(&cluster, name) {
                    writeln!(output.out, "  {line}")?;
                }
            }
        }
    }
    writeln!(
        output.out,
        "{strong}cluster-wide{strong:#}  1 CSIDriver, 2 CustomResourceDefinitions{}",
        if choice.identities().contains(&Identity::Irsa) {
            ", 1 IAM OIDC provider"
        } else {
            ""
        }
    )?;

    writeln!(
        output.out,
        "{strong}cases{strong:#}         {}, up to {} at once; {pods} mounts; of their own: tenants {own}, secrets {secrets}, replicas \
         {replicas}, resource policies {policies}, permissions boundaries {boundaries}",
        cases.len(),
        args.jobs,
        pods = totals.pods,
        own = totals.own,
        secrets = totals.secrets,
        replicas = totals.replicas,
        policies = totals.policies,
        boundaries = totals.boundaries,
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

/// What one tenant is, by name.
fn objects(cluster: &ClusterName, name: &str) -> Vec<String> {
    let Ok(tenant) = TenantNames::new(cluster, name) else {
        return Vec::new();
    };
    let secret = tenant.secret(TENANT_SECRET).unwrap_or_default();
    vec![
        format!("Namespace            {}", tenant.namespace()),
        format!("IAM policy           {}", tenant.policy()),
        format!("IAM role             {}", tenant.role()),
        format!("secret               {secret}"),
        format!("SecretProviderClass  {}/{}", tenant.namespace(), tenant.class()),
    ]
}

/// What the cases of a run make and do.
#[derive(Default)]
struct Totals {
    pods: u64,
    own: usize,
    secrets: usize,
    policies: usize,
    boundaries: usize,
    replicas: usize,
}

impl Totals {
    fn of(cases: &[Arc<Case>]) -> Self {
        let mut totals = Self::default();
        for case in cases {
            let tenants = &case.scenario.tenants;
            totals.own += case
                .tenants
                .iter()
                .filter(|tenant| tenant.shared.is_none())
                .count();
            for tenant in tenants {
                totals.secrets += tenant.secrets.len();
                totals.policies += tenant.denied_by_secret.len();
                totals.boundaries += usize::from(tenant.boundary.is_some());
                totals.replicas += tenant.replicated.len();
            }
            for step in &case.scenario.steps {
                totals.pods += match &step.action {
                    Action::Mount(_) | Action::Deny(_) | Action::Create(_) | Action::Publish(_) => 1,
                    Action::Load(Load::Mounts(mounts)) => {
                        u64::from(mounts.pods + mounts.warm_up) * mounts.lenses.len() as u64
                    }
                    Action::Load(Load::Calls(calls)) => u64::from(calls.mounts) + 1,
                    _ => 0,
                };
            }
        }
        totals
    }

    /// Calls of Secrets Manager, about: those that make, read and remove each secret, and two for each mount. What a measurement
    /// of fetches makes is not known before.
    fn calls(&self) -> u64 {
        4 * self.secrets as u64 + 2 * self.pods
    }
}

/// What a tenant is made of.
fn made_of(choice: IdentityChoice) -> &'static str {
    match choice {
        IdentityChoice::Irsa => "a namespace, a policy, a role, a secret, a SecretProviderClass",
        IdentityChoice::PodIdentity => {
            "a namespace, a policy, a role, a Pod Identity association, a secret, a SecretProviderClass"
        }
        IdentityChoice::Both => {
            "a namespace, a policy, a role and a SecretProviderClass for each way in, a Pod Identity association, a secret"
        }
    }
}

/// What stands, and what standing it up takes.
fn environment(args: &RunArgs, options: &EnvironmentOptions, totals: &Totals) -> Vec<String> {
    let tenants = args.tenants.names().len();
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
        EnvironmentOptions::Cluster(cluster) => cluster.planned(),
        EnvironmentOptions::Eks(eks) => eks.planned(totals.secrets + tenants, totals.calls()),
    }
}

fn longest_time(time: Duration) -> String {
    figure::seconds(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}
