//! The command `endpoint`: the AWS endpoint alone, for any client.

mod clusters;
mod state;

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use mountproof_aws_endpoint::{
    Backend, Endpoint, EndpointConfig, Fault, Faults, Quotas, RootCredentials, StartError,
    eks::ClusterBackend,
};
use mountproof_run_tls::RunCa;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use self::clusters::ClusterArgs;
use super::output::{OK, Output, USAGE, style};
use crate::{
    environment::{BackendChoice, StandInClusters},
    localstack::{self, LocalStack},
    provision::{Owned, abandoned, owned_by_process, scratch_removed},
    redact::Redactor,
    report::ExitCode,
};

/// Serve AWS on this machine: IAM, STS, Secrets Manager and what else mountproof touches
///
/// Signatures and service-account tokens are verified and IAM is evaluated for every call, so that a
/// denial here means what it means on AWS. Serves every service on one address, found by host name or by
/// signing scope, until SIGTERM or Ctrl-C. When ready it prints one line of JSON: the addresses, the file
/// with the authority to trust, a file with the variables that AWS clients read, and the account.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = "\
Examples:
  mountproof endpoint                                    on 127.0.0.1:4566, with a root key of its own
  mountproof endpoint --root-credentials test:test       with a key that you choose
  mountproof endpoint --backend localstack               before a LocalStack that is started in Docker
  mountproof endpoint --state aws.json                   goes on where it ended the last time
  mountproof endpoint --listen 127.0.0.1:0 | jq -r .env_file
                                                         on a free port; `source` the file it names, then
                                                         use aws, boto3 or any SDK

  mountproof endpoint --quotas aws --fault latency:lognormal:5ms,0.5 --fault reset:1%
                                                         at AWS's rates, slow, and unreliable

Faults, one each --fault or line of --faults:
  latency:fixed:TIME   latency:lognormal:MEDIAN,SIGMA   latency:recorded:FILE (.hgrm, or .hlog#TAG)
  error:SERVICE:OPERATION:CODE:PERCENT                  such as error:sts:*:Throttling:5%
  reset:PERCENT        reset:middle:PERCENT             before, or in the middle of the answer
  slow-body:1KiB/s     clock-step:1h
  outage               outage:region:NAME               outage:service:NAME
  eks:KIND:stuck       eks:KIND:fails:CODE              new ones of KIND: cluster, nodegroup, addon
MOUNTPROOF_LOG=info names each that strikes a call.

HTTPS_PROXY=http://<address> reaches *.amazonaws.com here, for clients that ignore AWS_ENDPOINT_URL: they
then have to trust the authority in ca_file (AWS_CA_BUNDLE, SSL_CERT_FILE).")]
pub struct EndpointArgs {
    /// Plain HTTP, HTTPS and HTTP CONNECT; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4566")]
    pub listen: SocketAddr,

    /// HTTPS and HTTP CONNECT only
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub tls_listen: SocketAddr,

    /// The account that everything belongs to
    #[arg(long, value_name = "ID", default_value = "000000000000", value_parser = account)]
    pub account: String,

    /// The account's root key; a random one is written to the file that the line of JSON names
    #[arg(
        long,
        value_name = "KEY:SECRET",
        env = "MOUNTPROOF_ROOT_CREDENTIALS",
        hide_env_values = true,
        value_parser = root_credentials
    )]
    pub root_credentials: Option<RootCredentials>,

    /// Region named in the file of variables
    #[arg(long, value_name = "REGION", default_value = "us-east-1")]
    pub region: String,

    /// Authorities to trust when the keys of a token issuer are fetched, as PEM
    #[arg(long, value_name = "FILE")]
    pub issuer_ca: Option<PathBuf>,

    /// Trouble to cause, such as `error:secretsmanager:GetSecretValue:ThrottlingException:5%`; may be repeated
    #[arg(long, value_name = "FAULT")]
    pub fault: Vec<Fault>,

    /// Trouble to cause, one a line; read again at SIGHUP, so that it changes while the endpoint runs
    #[arg(long, value_name = "FILE")]
    pub faults: Option<PathBuf>,

    /// Refuse what is above AWS's published request quotas: `aws` or `off`
    #[arg(long, value_name = "QUOTAS", default_value = "off")]
    pub quotas: Quotas,

    /// Keep secrets and parameters in something that speaks AWS and lets in whoever asks; signatures, tokens and
    /// IAM stay here. `localstack` starts one in Docker for as long as this runs
    #[arg(long, value_name = "localstack|URL", value_parser = backend)]
    pub backend: Option<BackendChoice>,

    /// The image of `--backend localstack`
    #[arg(long, value_name = "IMAGE", default_value = localstack::DEFAULT_IMAGE)]
    pub localstack_image: String,

    /// Go on from this file if it is there, and leave everything in it at the end: secrets too, so that only its
    /// owner may read it. Sessions end with the program
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,

    /// Where to put the authority and the variables; by default a private folder that goes with the program
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,

    /// About EKS clusters
    #[command(flatten)]
    pub clusters: ClusterArgs,

    /// Give pods their credentials here, as the EKS Pod Identity Agent does: for
    /// `AWS_CONTAINER_CREDENTIALS_FULL_URI`
    #[arg(long, value_name = "ADDRESS")]
    pub pod_identity_listen: Option<SocketAddr>,

    /// Let the root key assume roles, which AWS refuses: for programs that have no other identity to begin with
    #[arg(long)]
    pub root_assumes_roles: bool,

    /// Answer POST /moto-api/reset by forgetting everything: for moto's tests
    #[arg(long, hide = true)]
    pub moto_reset: bool,
}

/// Serves until a signal; answers with the exit code.
///
/// # Errors
///
/// When a stream cannot be written.
pub async fn run(args: &EndpointArgs, redactor: &Redactor, output: &mut Output<'_>) -> io::Result<u8> {
    let listening = [args.listen, args.tls_listen];
    for address in listening.into_iter().chain(args.pod_identity_listen) {
        if !address.ip().is_loopback() {
            writeln!(
                output.err,
                "{}warning{:#}: {address} is not of the loopback interface: whoever reaches it is served",
                style::WARNING,
                style::WARNING
            )?;
        }
    }
    match serve(args, redactor, output).await? {
        Ok(()) => Ok(OK),
        Err(Trouble { message, code }) => {
            writeln!(output.err, "{}error{:#}: {message}", style::ERROR, style::ERROR)?;
            Ok(code)
        }
    }
}

/// Why it cannot serve.
struct Trouble {
    message: String,
    code: u8,
}

impl Trouble {
    fn environment(error: impl std::error::Error) -> Self {
        Self {
            message: error.to_string(),
            code: ExitCode::EnvironmentUnavailable.code(),
        }
    }

    fn file(what: &str, path: &Path, error: &io::Error) -> Self {
        Self {
            message: format!("cannot {what} {}: {error}", path.display()),
            code: USAGE,
        }
    }
}

/// The outer error is that of the streams.
async fn serve(
    args: &EndpointArgs,
    redactor: &Redactor,
    output: &mut Output<'_>,
) -> io::Result<Result<(), Trouble>> {
    // Before anything is made, so that whatever comes ends in order.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hangup = signal(SignalKind::hangup())?;
    let stopping = CancellationToken::new();
    let starting = Started::new(args, redactor, &stopping);
    tokio::pin!(starting);
    let started = tokio::select! {
        started = &mut starting => started,
        _ = interrupt.recv() => return Ok(given_up(&stopping, starting).await),
        _ = terminate.recv() => return Ok(given_up(&stopping, starting).await),
    };
    let started = match started {
        Ok(started) => started,
        Err(trouble) => return Ok(Err(trouble)),
    };
    for (region, name) in started.endpoint.bereaved_clusters() {
        let then = if args.clusters.clusters {
            "it gets a new one, in which nothing is of what was in the old"
        } else {
            "its endpoint answers nobody; with --clusters it gets a new one"
        };
        writeln!(
            output.err,
            "{}warning{:#}: the API server of cluster {name} in {region} ended with the endpoint that saved it: {then}",
            style::WARNING,
            style::WARNING
        )?;
    }
    writeln!(output.out, "{}", started.line(args))?;
    output.out.flush()?;
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            _ = hangup.recv() => match faults(args) {
                Ok(faults) => started.endpoint.set_faults(faults),
                // Those that are there stay: nobody wants to be cut off by a slip of the pen.
                Err(Trouble { message, .. }) => {
                    writeln!(output.err, "{}warning{:#}: {message}", style::WARNING, style::WARNING)?;
                }
            },
        }
    }
    Ok(started.ended(args.state.as_deref()).await)
}

/// The faults of the command line, and those of the file as it is now.
fn faults(args: &EndpointArgs) -> Result<Faults, Trouble> {
    let Some(file) = &args.faults else {
        return Ok(args.fault.iter().cloned().collect());
    };
    let text = fs::read_to_string(file).map_err(|error| Trouble::file("read", file, &error))?;
    let from_file = Faults::parse(&text).map_err(|error| Trouble {
        message: format!("{}:{error}", file.display()),
        code: USAGE,
    })?;
    Ok(args.fault.iter().chain(from_file.iter()).cloned().collect())
}

/// Waits until what was being started has noticed, so that nothing of it stays.
async fn given_up(
    stopping: &CancellationToken,
    starting: impl Future<Output = Result<Started, Trouble>>,
) -> Result<(), Trouble> {
    stopping.cancel();
    // An error is that it was asked to end, and has.
    if let Ok(started) = starting.await {
        started.endpoint.stop().await;
        if let Some(clusters) = started.clusters {
            clusters.stop().await;
        }
        if let Some(localstack) = started.localstack {
            removed(localstack).await;
        }
    }
    Ok(())
}

async fn removed(localstack: LocalStack) {
    let container = localstack.container().to_owned();
    if let Err(because) = localstack.removed().await {
        tracing::warn!(container, because, "LocalStack is still there: mountproof sweep");
    }
}

/// A running endpoint, its folder, and what keeps its secrets.
struct Started {
    endpoint: Endpoint,
    folder: Folder,
    backend: Option<Backend>,
    /// Ends with this.
    localstack: Option<LocalStack>,
    clusters: Option<Arc<StandInClusters>>,
}

impl Started {
    async fn new(
        args: &EndpointArgs,
        redactor: &Redactor,
        stopping: &CancellationToken,
    ) -> Result<Self, Trouble> {
        let faults = faults(args)?;
        let (backend, localstack) = match &args.backend {
            None => (None, None),
            Some(BackendChoice::At(backend)) => (Some(backend.clone()), None),
            Some(BackendChoice::LocalStack) => {
                let localstack = Box::pin(LocalStack::start(&args.localstack_image, None, stopping))
                    .await
                    .map_err(|error| Trouble {
                        message: format!("cannot start LocalStack: {error}"),
                        code: ExitCode::EnvironmentUnavailable.code(),
                    })?;
                let backend = Backend::new("localstack", localstack.url()).map_err(Trouble::environment)?;
                (Some(backend), Some(localstack))
            }
        };
        let ca = RunCa::generate("endpoint").map_err(Trouble::environment)?;
        let mut config = EndpointConfig {
            listen: args.tls_listen,
            plain_listen: Some(args.listen),
            backend: backend.clone(),
            pod_identity_listen: args.pod_identity_listen,
            moto_reset: args.moto_reset,
            root_assumes_roles: args.root_assumes_roles,
            cluster_settling: args.clusters.settling,
            ..EndpointConfig::new(args.account.clone(), &ca)
        };
        let clusters = args.clusters.backend(&ca);
        config.cluster_backend = clusters
            .clone()
            .map(|clusters| clusters as Arc<dyn ClusterBackend>);
        if let Some(file) = &args.issuer_ca {
            let pem = fs::read_to_string(file).map_err(|error| Trouble::file("read", file, &error))?;
            config.issuer_trust_pem.push_str(&pem);
        }
        if let Some(root) = &args.root_credentials {
            config.root = root.clone();
        }
        if let Some(file) = &args.state {
            config.saved = state::read(file).map_err(|message| Trouble { message, code: USAGE })?;
        }
        redactor.protect(config.root.secret_access_key().as_bytes());
        let endpoint = Endpoint::start(config)
            .await
            .map_err(|error| match (&error, &args.state) {
                (StartError::Saved(because), Some(file)) => Trouble {
                    message: format!("{}: {because}; move it away to begin anew", file.display()),
                    code: USAGE,
                },
                _ => Trouble::environment(error),
            })?;
        endpoint.set_faults(faults);
        endpoint.set_quotas(args.quotas);
        clear_abandoned();
        let folder = Folder::new(args.folder.as_deref())?;
        folder.write("ca.pem", ca.certificate_pem())?;
        let started = Self {
            endpoint,
            folder,
            backend,
            localstack,
            clusters,
        };
        let variables = started.variables(&args.region);
        started.folder.write("aws.env", &variables)?;
        Ok(started)
    }

    /// Stops serving, then saves what there is.
    async fn ended(self, file: Option<&Path>) -> Result<(), Trouble> {
        let saved = self.endpoint.stopped().await;
        if let Some(clusters) = self.clusters {
            clusters.stop().await;
        }
        if let Some(localstack) = self.localstack {
            removed(localstack).await;
        }
        let Some(file) = file else {
            return Ok(());
        };
        state::write(file, &saved).map_err(|error| Trouble {
            message: format!("what there is could not be saved: {}: {error}", file.display()),
            code: ExitCode::InvalidRun.code(),
        })
    }

    /// What a program that starts this one waits for and reads.
    fn line(&self, args: &EndpointArgs) -> serde_json::Value {
        let mut line = json!({
            "account": args.account,
            "region": args.region,
            "http": format!("http://{}", self.http()),
            "https": format!("https://{}", self.endpoint.address()),
            "ca_file": self.folder.path.join("ca.pem"),
            "env_file": self.folder.path.join("aws.env"),
            "access_key_id": self.endpoint.root_credentials().access_key_id,
            "pid": std::process::id(),
        });
        if let Some(address) = self.endpoint.pod_identity_address() {
            line["pod_identity"] = json!(format!("http://{address}/v1/credentials"));
        }
        if let Some(backend) = &self.backend {
            line["backend"] = json!({"name": backend.name(), "url": backend.url()});
        }
        if let Some(localstack) = &self.localstack {
            line["backend"]["container"] = json!(localstack.container());
        }
        line
    }

    fn http(&self) -> SocketAddr {
        self.endpoint
            .plain_address()
            .unwrap_or_else(|| self.endpoint.address())
    }

    fn variables(&self, region: &str) -> String {
        let root = self.endpoint.root_credentials();
        format!(
            "export AWS_ENDPOINT_URL=http://{}\nexport AWS_CA_BUNDLE={}\nexport AWS_REGION={region}\n\
             export AWS_DEFAULT_REGION={region}\nexport AWS_ACCESS_KEY_ID={}\n\
             export AWS_SECRET_ACCESS_KEY={}\n",
            self.http(),
            self.folder.path.join("ca.pem").display(),
            root.access_key_id,
            root.secret_access_key(),
        )
    }
}

/// Removes what endpoints left that were killed. None of ours stands in the way of this one.
fn clear_abandoned() {
    for folder in abandoned(&std::env::temp_dir()) {
        if let Err(error) = scratch_removed(&folder) {
            tracing::warn!(?folder, %error, "of an endpoint that was killed; not removed");
        }
    }
}

/// The folder of the authority and the variables. Goes with the program if it was made for it.
struct Folder {
    path: PathBuf,
    own: Option<Owned>,
}

impl Folder {
    fn new(given: Option<&Path>) -> Result<Self, Trouble> {
        let path = given.map_or_else(
            || {
                let name = format!("mountproof-endpoint-{}", uuid::Uuid::new_v4().simple());
                std::env::temp_dir().join(name)
            },
            Path::to_owned,
        );
        fs::create_dir_all(&path).map_err(|error| Trouble::file("make the folder", &path, &error))?;
        let path = path
            .canonicalize()
            .map_err(|error| Trouble::file("find", &path, &error))?;
        let mut folder = Self { path, own: None };
        if given.is_none() {
            let own = owned_by_process(&folder.path);
            folder.own = Some(own.map_err(|error| Trouble::file("mark", &folder.path, &error))?);
        }
        Ok(folder)
    }

    /// Writes a file that only its owner reads: there are keys in it.
    fn write(&self, name: &str, text: &str) -> Result<(), Trouble> {
        let path = self.path.join(name);
        let failed = |error| Trouble::file("write", &path, &error);
        // A file that is there keeps the rights it has: it is made anew.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        file.write_all(text.as_bytes()).map_err(failed)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.own.is_some() {
            // What cannot be removed is in the system's folder for such things.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

fn backend(text: &str) -> Result<BackendChoice, String> {
    let backend = text.parse();
    backend.map_err(|_| "expected `localstack`, or the address of a backend: http://HOST:PORT".to_owned())
}

fn account(text: &str) -> Result<String, String> {
    if text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        Ok(text.to_owned())
    } else {
        Err("an account id is 12 digits, such as 000000000000".to_owned())
    }
}

fn root_credentials(text: &str) -> Result<RootCredentials, String> {
    match text.split_once(':') {
        Some((key, secret)) if !key.is_empty() && !secret.is_empty() && !key.contains(['/', ',', ' ']) => {
            Ok(RootCredentials::given(key, secret))
        }
        _ => Err("expected an access key id and a secret with a colon between, such as test:test".to_owned()),
    }
}
