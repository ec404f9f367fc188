//! The command `run`.

use std::{
    io,
    net::SocketAddr,
    num::NonZeroU32,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use clap::{Args, ValueEnum};

use super::{
    aws::AwsArgs,
    cluster::StayArgs,
    cluster_env::{self, ClusterArgs, StandingArgs},
    eks::EksArgs,
    environment::{EnvironmentName, address, loopback},
    host::{self, HostArgs},
    installation::{InstallationArgs, ThenArgs},
    kind::{self, KindArgs},
    list::{TenantArgs, about_another},
    output::{Output, USAGE},
    scenarios::{SelectionArgs, read_start},
};
use crate::{
    engine::{self, EndAt, LoadOverrides, RunOptions},
    environment::{ClusterAws, ControlPlanePrograms, EnvironmentOptions, Fault, Plant},
    journal::Sink,
    known::{self, Issue, KnownIssues},
    redact::Redactor,
    report::{
        ExitCode, recorded,
        terminal::{ColorChoice, Terminal},
    },
    scenario::{
        Case, duration,
        model::{Arrival, Pace},
        render,
    },
};

/// Where secrets are where no account has a say.
const REGION: &str = "us-east-1";

/// Stand up an environment, prove the scenarios in it, measure, report, and take it all down.
#[derive(Debug, Clone, Args)]
#[command(
    long_about = "Stands up an environment, provisions tenants (namespace, ServiceAccount, IAM policy and role, \
                  secrets, SecretProviderClass), tries every scenario, measures mounts and fetches, and takes \
                  everything down again, on Ctrl-C too.\n\n\
                  The default environment is embedded: a Kubernetes API, kubelet, CSI driver, AWS provider and AWS \
                  endpoint in this process, over their real protocols. It needs nothing and reaches nothing outside \
                  this machine.",
    after_long_help = "Examples:\n  \
        mountproof run                                      everything, two tenants\n  \
        mountproof run cross-namespace-denied               one scenario\n  \
        mountproof run --profile isolation --namespaces 10  isolation among ten tenants\n  \
        mountproof run --profile load --pods 1000           latency of a thousand mounts\n  \
        mountproof run fetch-throughput --fetch-rate 500    fetches at a set rate, open loop\n  \
        mountproof run --plant endpoint:ignore-resource     see it go red\n  \
        mountproof run --fault endpoint:dies@3s             see what an outage does\n  \
        mountproof run --env host --driver-version 1.6.0 --provider-version 3.1.1\n  \
        \x20                                                   real releases, before anything is upgraded\n\n\
        Exit codes: 0 passed, 1 conformance failed, 2 usage, 3 no environment, 4 isolation failed, 5 threshold, \
        6 inconclusive, 7 invalid run, 130 interrupted."
)]
pub struct RunArgs {
    /// Which scenarios.
    #[command(flatten)]
    pub selection: SelectionArgs,

    /// Which tenants.
    #[command(flatten)]
    pub tenants: TenantArgs,

    /// Where to run.
    #[arg(long, value_enum, default_value_t = EnvironmentName::Embedded)]
    pub env: EnvironmentName,

    /// First part of every object's name [default: mountproof- and the run's id].
    #[arg(long, value_name = "NAME")]
    pub cluster_name: Option<String>,

    /// Region that secrets are kept in [default: us-east-1; in an account the one that AWS's own tools take].
    #[arg(long)]
    pub region: Option<String>,

    /// Image of the workloads; in a cluster of kind one that Docker has here is loaded into the nodes, another is pulled by
    /// each before anything is measured [default: registry.k8s.io/pause:3.10; what the nodes have for their sandboxes, where
    /// they are real].
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,

    /// Mounts that each lens of a mount load measures [default: the scenario's].
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub pods: Option<NonZeroU32>,

    /// Mounts to start per second, open loop [default: the scenario's; pods in a cluster of kind 1.5 for each processor].
    #[arg(long, value_name = "PER_SECOND", value_parser = positive, help_heading = "Load")]
    pub rate: Option<f64>,

    /// How starts are spread [default: the scenario's].
    #[arg(long, value_enum, help_heading = "Load")]
    pub arrival: Option<ArrivalName>,

    /// Length of a fetch measurement, such as 10s [default: the scenario's].
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, help_heading = "Load")]
    pub fetch_for: Option<Duration>,

    /// Fetches in flight, closed loop [default: the scenario's].
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub in_flight: Option<NonZeroU32>,

    /// Fetches to start per second, open loop, in place of a number in flight.
    #[arg(long, value_name = "PER_SECOND", value_parser = positive, conflicts_with = "in_flight", help_heading = "Load")]
    pub fetch_rate: Option<f64>,

    /// Cases at once: most of a case is waiting. Measurements, and cases that disturb the node or AWS, run alone.
    #[arg(long, short, default_value = "32", value_name = "N")]
    pub jobs: NonZeroU32,

    /// Attempts after the first; a pass after a failure is reported as flaky [default: the scenario's].
    #[arg(long, value_name = "N")]
    pub retries: Option<u32>,

    /// Start nothing more after the first case that fails.
    #[arg(long)]
    pub fail_fast: bool,

    /// Read the known issues from this file instead of the ones in the binary, which are of real releases: what is broken
    /// upstream, in which versions, and which scenario shows it. One that shows is reported and does not fail the run.
    #[arg(long, value_name = "FILE")]
    pub known_issues: Option<PathBuf>,

    /// A known issue that shows fails the run like any other failure.
    #[arg(long)]
    pub strict: bool,

    /// Run the cases in random order; the seed that repeats it is printed.
    #[arg(long)]
    pub shuffle: bool,

    /// Seed of everything random: values, order, arrival times [default: drawn].
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Deadline of the whole run; teardown comes after it.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "30m")]
    pub deadline: Duration,

    /// Folder for the run's folder.
    #[arg(long, value_name = "DIR", default_value = "reports")]
    pub out: PathBuf,

    /// Where the Kubernetes API listens, for kubectl beside a run: with a port given, the run's folder in
    /// TMPDIR holds a kubeconfig while it runs. Loopback only.
    #[arg(long, value_name = "ADDRESS", value_parser = loopback, default_value = "127.0.0.1:0", help_heading = "Embedded environment")]
    pub kubernetes_listen: SocketAddr,

    /// Where the AWS endpoint listens, for an AWS client beside a run: with a port given, the run's folder
    /// in TMPDIR holds an aws.env while it runs. Loopback only; with --env cluster an address of this machine that
    /// the nodes reach.
    #[arg(long, value_name = "ADDRESS", value_parser = address, default_value = "127.0.0.1:0", help_heading = "Embedded environment")]
    pub aws_listen: SocketAddr,

    /// What keeps the secrets.
    #[command(flatten, next_help_heading = "AWS")]
    pub aws: AwsArgs,

    /// Plant a defect, to see which scenario catches it; of the driver or the provider with `@once` it shows
    /// once and is gone, as what makes tests flaky.
    #[arg(long, value_name = "DEFECT", help_heading = "Testing the tester")]
    pub plant: Vec<Plant>,

    /// Break something around the product while the run is under way, `@TIME` after the environment stands,
    /// to see that no verdict comes of it: endpoint:dies, endpoint:slow, endpoint:clock-step,
    /// localstack:dies, kubernetes:dies, kubelet:no-images, harness:panics.
    #[arg(long, value_name = "FAULT[@TIME]", help_heading = "Testing the tester")]
    pub fault: Vec<Fault>,

    /// End the run when its N-th object is about to be made, as Ctrl-C (`interrupt@N`) or `kill -9` (`kill@N`) would, to see
    /// that nothing is left, and that `sweep` finishes the rest.
    #[arg(long, value_name = "HOW@N", help_heading = "Testing the tester")]
    pub end: Option<EndAt>,

    /// How many times faster than a real kubelet the stand-in waits between syncs and retries.
    #[arg(long, value_name = "FACTOR", value_parser = positive, default_value = "20", help_heading = "Embedded environment")]
    pub kubelet_clock: f64,

    /// Requests per second that the provider stand-in allows itself to the Kubernetes API; a real provider
    /// has 5 (burst 10) unless its --qps says otherwise.
    #[arg(long, value_name = "PER_SECOND", value_parser = positive, default_value = "500", help_heading = "Embedded environment")]
    pub provider_qps: f64,

    /// Which driver and provider.
    #[command(flatten)]
    pub host: HostArgs,

    /// Which cluster.
    #[command(flatten)]
    pub kind: KindArgs,

    /// Whether it stays.
    #[command(flatten)]
    pub stay: StayArgs,

    /// Which cluster that is there.
    #[command(flatten)]
    pub cluster: ClusterArgs,

    /// Which cluster of EKS.
    #[command(flatten)]
    pub eks: EksArgs,

    /// What becomes of what is in it.
    #[command(flatten)]
    pub standing: StandingArgs,

    /// What is on its nodes.
    #[command(flatten)]
    pub installation: InstallationArgs,

    /// What comes in its place.
    #[command(flatten)]
    pub then: ThenArgs,
}

/// See [`Arrival`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ArrivalName {
    /// Evenly spaced.
    Constant,
    /// Independent, exponential gaps.
    Poisson,
}

impl From<ArrivalName> for Arrival {
    fn from(name: ArrivalName) -> Self {
        match name {
            ArrivalName::Constant => Self::Constant,
            ArrivalName::Poisson => Self::Poisson,
        }
    }
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok(number),
        _ => Err("a number greater than 0 is needed".to_owned()),
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    duration::parse(text).map_err(|error| error.to_string())
}

impl RunArgs {
    /// The arguments as something that can be done, with the cases that they select.
    #[must_use]
    pub fn options(
        &self,
        cases: Vec<Case>,
        known: KnownIssues,
        command: Vec<String>,
        environment: EnvironmentOptions,
    ) -> RunOptions {
        RunOptions {
            cases,
            tenants: self.tenants.names(),
            identities: self.tenants.identity.identities().to_vec(),
            // There it is the cluster's own.
            cluster: self
                .cluster_name
                .clone()
                .filter(|_| self.env != EnvironmentName::Eks),
            region: self.region.clone().unwrap_or_else(|| REGION.to_owned()),
            image: self.image.clone(),
            load: LoadOverrides {
                pods: self.pods.map(NonZeroU32::get),
                rate: self.rate,
                pod_rate: match self.env {
                    EnvironmentName::Kind => Some(kind::pod_rate()),
                    EnvironmentName::Cluster | EnvironmentName::Eks => Some(cluster_env::POD_RATE),
                    EnvironmentName::Embedded | EnvironmentName::Host => None,
                },
                arrival: self.arrival.map(Arrival::from),
                duration: self.fetch_for,
                pace: self
                    .fetch_rate
                    .map(Pace::PerSecond)
                    .or_else(|| self.in_flight.map(|workers| Pace::InFlight(workers.get()))),
            },
            jobs: self.jobs.get() as usize,
            retries: self.retries,
            fail_fast: self.fail_fast,
            shuffle: self.shuffle,
            seed: self.seed,
            deadline: self.deadline,
            out: self.out.clone(),
            known,
            end: self.end,
            command,
            environment,
        }
    }
}

/// Runs the command.
///
/// # Errors
///
/// When a stream cannot be written.
pub async fn run(
    args: &RunArgs,
    quiet: bool,
    color: ColorChoice,
    redactor: Redactor,
    output: &mut Output<'_>,
) -> io::Result<u8> {
    if let Some(misplaced) = args.misplaced() {
        writeln!(output.err, "error: {misplaced}")?;
        return Ok(USAGE);
    }
    let mut environment = match args.environment() {
        Ok(environment) => environment,
        Err(because) => {
            writeln!(output.err, "error: {because}")?;
            return Ok(USAGE);
        }
    };
    if let Err(code) = agreed(args, &mut environment, output).await? {
        return Ok(code);
    }
    let control_plane = match args.host.control_plane(args.env) {
        Ok(programs) => programs,
        Err(error) => {
            writeln!(output.err, "error: {error}")?;
            return Ok(ExitCode::EnvironmentUnavailable.code());
        }
    };
    // Where programs run that are not ours, nothing of them may be left, however this process ends.
    let confined = args.env == EnvironmentName::Host || control_plane.is_some();
    if confined && !host::is_inside() {
        return host::outside(&args.host, args.env, quiet, output).await;
    }
    let names = args.tenants.names();
    let binding = match args.selection.plan(&names, args.tenants.identity, output)? {
        Ok(binding) => binding,
        Err(code) => return Ok(code),
    };
    for (scenario, identity) in about_another(&binding, args.tenants.identity) {
        writeln!(
            output.err,
            "note: {scenario} is about {identity} alone: it is left out"
        )?;
    }
    for unbound in &binding.unbound {
        writeln!(
            output.err,
            "note: {} needs {} tenants and the run has {}: it is left out; give more with --tenants or --namespaces",
            unbound.scenario, unbound.needs, unbound.has
        )?;
    }
    let known = match known_issues(args, output)? {
        Ok(issues) => KnownIssues {
            issues,
            strict: args.strict,
            of_releases: args.known_issues.is_none(),
        },
        Err(code) => return Ok(code),
    };
    let mut notes = Vec::new();
    if confined {
        match host::inside(&args.out) {
            Ok(entered) => notes = entered,
            Err(error) => {
                writeln!(output.err, "error: {error}")?;
                return Ok(ExitCode::EnvironmentUnavailable.code());
            }
        }
    }
    let mut options = args.options(binding.cases, known, host::typed(std::env::args()), environment);
    complete(&mut options, notes, control_plane);
    let terminal: Arc<Mutex<Option<Arc<Mutex<Terminal>>>>> = Arc::default();
    let for_sinks = Arc::clone(&terminal);
    let sinks = move |folder: &std::path::Path| -> Vec<Box<dyn Sink>> {
        let shared = Arc::new(Mutex::new(Terminal::new(
            quiet,
            color,
            folder.display().to_string(),
        )));
        *lock(&for_sinks) = Some(Arc::clone(&shared));
        vec![Box::new(shared)]
    };
    let on_screen = Arc::clone(&terminal);
    let at_once: engine::AtOnce = Box::new(move |signal, left| {
        if let Some(terminal) = lock(&on_screen).as_ref() {
            lock(terminal).clear();
        }
        leave(signal, &left);
    });
    let end = match engine::run(options, redactor, sinks, at_once).await {
        Ok(end) => end,
        Err(error) => {
            writeln!(output.err, "error: {error}")?;
            return Ok(error.exit_code().code());
        }
    };
    if let (Some(terminal), Some(summary)) = (lock(&terminal).as_ref(), &end.summary) {
        lock(terminal).finish(summary, &end.files);
    }
    for trouble in &end.trouble {
        writeln!(output.err, "error: {trouble}")?;
    }
    // What could not be written changed the verdict after the block that says it.
    if end.summary.as_ref().map(recorded) != Some(end.exit) {
        writeln!(output.err, "exit {} ({})", end.exit.code(), end.exit)?;
    }
    Ok(end.exit.code())
}

/// Asks whether the account and the cluster that were named may be used; else the exit code comes back.
async fn agreed(
    args: &RunArgs,
    environment: &mut EnvironmentOptions,
    output: &mut Output<'_>,
) -> io::Result<Result<(), u8>> {
    match environment {
        EnvironmentOptions::Local(_) | EnvironmentOptions::Kind(_) => Ok(Ok(())),
        EnvironmentOptions::Cluster(cluster) => {
            if let Err(code) = args.cluster.may_be_used(cluster, output)? {
                return Ok(Err(code));
            }
            match &mut cluster.aws {
                ClusterAws::Account { options, id } => args.eks.agree_to(options, id, output).await,
                ClusterAws::Ours { .. } => Ok(Ok(())),
            }
        }
        EnvironmentOptions::Eks(eks) => args.eks.agree(eks, output).await,
    }
}

/// What is known of an environment once the cases are.
fn complete(options: &mut RunOptions, notes: Vec<String>, control_plane: Option<ControlPlanePrograms>) {
    let needs = engine::needs(options);
    match &mut options.environment {
        EnvironmentOptions::Local(local) => {
            local.notes = notes;
            local.control_plane = control_plane;
        }
        EnvironmentOptions::Kind(kind) => {
            kind.notes = notes;
            kind.needs = needs;
        }
        EnvironmentOptions::Cluster(cluster) => {
            cluster.shared.notes = notes;
            cluster.shared.needs = needs;
        }
        EnvironmentOptions::Eks(eks) => {
            eks.shared.notes = notes;
            eks.shared.needs = needs;
            // The account's own, where none was named.
            if let Some(region) = &eks.account.region {
                options.region.clone_from(region);
            }
        }
    }
}

/// The known issues of the file that was given, or of the one in the binary. What is wrong with them is
/// printed, and the exit code comes back instead.
fn known_issues(args: &RunArgs, output: &mut Output<'_>) -> io::Result<Result<Vec<Issue>, u8>> {
    let found = match &args.known_issues {
        None => known::read(
            known::SHIPPED.as_bytes(),
            known::SHIPPED.len() as u64,
            known::SHIPPED_NAME,
        ),
        Some(path) => match read_start(path) {
            Ok((bytes, size)) => known::read(&bytes, size, &path.display().to_string()),
            Err(error) => {
                writeln!(output.err, "error: cannot read `{}`: {error}", path.display())?;
                return Ok(Err(USAGE));
            }
        },
    };
    for diagnostic in &found.diagnostics {
        write!(
            output.err,
            "{}",
            render::text(diagnostic, &found.sources, render::Style::Styled)
        )?;
    }
    Ok(if found.has_errors() {
        Err(USAGE)
    } else {
        Ok(found.issues)
    })
}

/// The second signal: says what stands, and how it is removed, and ends the process.
#[expect(
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "there is nobody left to hand anything to"
)]
fn leave(signal: &str, left: &[String]) {
    eprintln!(
        "\nsecond {signal}: ending now. {} objects of the run are still on record:",
        left.len()
    );
    for object in left.iter().take(20) {
        eprintln!("  {object}");
    }
    if left.len() > 20 {
        eprintln!("  and {} more", left.len() - 20);
    }
    eprintln!("remove what outlived the process with: mountproof sweep");
    std::process::exit(i32::from(ExitCode::Interrupted.code()));
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
