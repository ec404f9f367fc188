//! A release of the AWS provider.

use std::{
    fs,
    ops::Deref,
    path::{Path, PathBuf},
    time::Duration,
};

use mountproof_csi_protocol::{
    connect,
    provider::{VersionRequest, csi_driver_provider_client::CsiDriverProviderClient},
};
use tokio::process::Command;

use super::{
    ProgramSpec, READY, Running, StartError, file,
    flags::{Chosen, KnownFlags, Wanted, choose},
    process::{Process, clean, known_flags},
    write_private,
};
use crate::provider::ProviderConfig;

/// Where client-go looks for a service account, and nowhere else.
pub(super) const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Says that the service account there is ours.
const OURS: &str = "mountproof";

/// The files of our service account, below the socket's folder.
const HOME: &str = "account";

/// How long it may take to tell its version.
const TELLING: Duration = Duration::from_secs(5);

/// Prepares what the provider finds in its own mount namespace, then becomes it. `$1` holds the
/// service account's files.
const IN_CLUSTER: &str = r#"set -e
mount -t tmpfs -o mode=0755 tmpfs /run
to=/run/secrets/kubernetes.io/serviceaccount
mkdir -p "$to"
cp "$1"/token "$1"/ca.crt "$1"/namespace "$to"
[ "$(readlink -f /var/run)" = /run ] || mount --bind /run /var/run
shift
exec "$@""#;

/// Where a provider finds its service account: it reads `/var/run/secrets/kubernetes.io/serviceaccount`, and
/// nothing tells it otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountPlace {
    /// In a mount namespace of its own, with a `/run` of its own: nothing changes here. It needs the right to mount.
    OwnMountNamespace,
    /// Here: whoever calls has a `/run` of its own already. Files that are not ours are not touched.
    Here,
}

/// What a provider program is told beside its [`ProviderConfig`].
#[derive(Debug, Clone)]
pub struct ProviderOptions {
    /// Where it finds its service account.
    pub account: AccountPlace,
    /// How long it may take to serve.
    pub ready: Duration,
}

impl ProviderOptions {
    /// With [`READY`].
    #[must_use]
    pub fn new(account: AccountPlace) -> Self {
        Self {
            account,
            ready: READY,
        }
    }
}

/// A running provider program.
#[derive(Debug)]
pub struct ProviderProgram {
    spec: ProgramSpec,
    config: ProviderConfig,
    options: ProviderOptions,
    known: KnownFlags,
    running: Running,
}

impl ProviderProgram {
    /// Runs the program of `spec` as `config` and `options` say, its output appended to `log`. Its `in_flight`,
    /// `retry_pause` and `defects` cannot be told to a program.
    pub async fn start(
        spec: &ProgramSpec,
        config: &ProviderConfig,
        options: &ProviderOptions,
        log: &Path,
    ) -> Result<Self, StartError> {
        let known = known_flags(spec).await?;
        let (chosen, process) = run(spec, config, options, &known, log).await?;
        Ok(Self {
            running: Running {
                version: version(&config.socket_dir.join("aws.sock")).await,
                chosen,
                process,
            },
            spec: spec.clone(),
            config: config.clone(),
            options: options.clone(),
            known,
        })
    }

    /// Where it serves the provider protocol.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.config.socket_dir.join("aws.sock")
    }

    /// Ends it if it runs, and starts the same anew.
    pub async fn restart(&mut self) -> Result<(), StartError> {
        self.running.process.stop().await;
        let log = self.running.log();
        let (chosen, process) = run(&self.spec, &self.config, &self.options, &self.known, log).await?;
        (self.running.chosen, self.running.process) = (chosen, process);
        Ok(())
    }

    /// Whether it was started with `--driver-writes-secrets`.
    #[must_use]
    pub fn driver_writes_secrets(&self) -> bool {
        self.config.driver_writes_secrets
    }

    /// Ends it if it runs, and starts it anew with its socket in `folder`, as an upgrade from a version below 1.0 moves
    /// it from `/etc` to `/var/run`, and with `--driver-writes-secrets` or without.
    ///
    /// # Errors
    ///
    /// [`StartError::NotThisProgram`] too, where it is to have that flag and does not know it.
    pub async fn restart_in(&mut self, folder: &Path, driver_writes_secrets: bool) -> Result<(), StartError> {
        const FLAG: &str = "driver-writes-secrets";
        if driver_writes_secrets && !self.known.may_know(FLAG) {
            return Err(StartError::NotThisProgram {
                program: self.spec.program.clone(),
                part: "provider",
                flag: FLAG,
            });
        }
        self.running.process.stop().await;
        forget_account(&self.config.socket_dir);
        folder.clone_into(&mut self.config.socket_dir);
        self.config.driver_writes_secrets = driver_writes_secrets;
        self.restart().await
    }

    /// Ends it.
    pub async fn stop(self) {
        self.running.process.stop().await;
        forget_account(&self.config.socket_dir);
        if self.options.account == AccountPlace::Here {
            let _ = fs::remove_dir_all(ACCOUNT);
        }
    }
}

impl Deref for ProviderProgram {
    type Target = Running;

    fn deref(&self) -> &Running {
        &self.running
    }
}

async fn run(
    spec: &ProgramSpec,
    config: &ProviderConfig,
    options: &ProviderOptions,
    known: &KnownFlags,
    log: &Path,
) -> Result<(Chosen, Process), StartError> {
    let chosen = choose(known, &wanted(config)).map_err(|flag| StartError::NotThisProgram {
        program: spec.program.clone(),
        part: "provider",
        flag,
    })?;
    let home = config.socket_dir.join(HOME);
    fs::create_dir_all(&home).map_err(file(&home))?;
    let trusted = home.join("aws-ca.crt");
    write_private(&trusted, &config.trusted_pem)?;
    let mut command = match options.account {
        AccountPlace::OwnMountNamespace => {
            let folder = &config.socket_dir;
            if folder.starts_with("/run") || folder.starts_with("/var/run") {
                return Err(StartError::Hidden(folder.clone()));
            }
            write_account(&home, config)?;
            let mut command = clean(Path::new("unshare"));
            command
                .args(["--mount", "--propagation", "slave", "sh", "-c", IN_CLUSTER, "sh"])
                .args([home.as_os_str(), spec.program.as_os_str()]);
            command
        }
        AccountPlace::Here => {
            let place = Path::new(ACCOUNT);
            // An empty one is nobody's: a confinement makes it.
            if place.exists() && !place.join(OURS).exists() && !is_empty(place) {
                return Err(StartError::AccountTaken(place.to_owned()));
            }
            fs::create_dir_all(place).map_err(file(place))?;
            write_private(&place.join(OURS), "")?;
            write_account(place, config)?;
            clean(&spec.program)
        }
    };
    command.args(&spec.arguments).args(&chosen.arguments);
    surround(&mut command, config, known, &trusted);
    let socket = config.socket_dir.join("aws.sock");
    let process = Process::start(command, &spec.program, &socket, log, options.ready).await?;
    Ok((chosen, process))
}

/// What a pod's kubelet mounts for it.
fn write_account(place: &Path, config: &ProviderConfig) -> Result<(), StartError> {
    for (name, text) in [
        ("token", config.api.token.expose()),
        ("ca.crt", &config.api.ca_pem),
        ("namespace", "kube-system"),
    ] {
        write_private(&place.join(name), text)?;
    }
    Ok(())
}

/// It holds a token: it goes as soon as nobody needs it.
fn forget_account(socket_dir: &Path) {
    let _ = fs::remove_dir_all(socket_dir.join(HOME));
}

/// Sets the whole environment of a provider.
fn surround(command: &mut Command, config: &ProviderConfig, known: &KnownFlags, trusted: &Path) {
    let address = config.api.url.trim_start_matches("https://");
    let (host, port) = address.rsplit_once(':').unwrap_or((address, "443"));
    command
        .env("KUBERNETES_SERVICE_HOST", host)
        .env("KUBERNETES_SERVICE_PORT", port)
        .env("SSL_CERT_FILE", trusted)
        // Go asks no proxy for the loopback interface, but for every other address.
        .env("NO_PROXY", host)
        // The first SDK asks the global `sts.amazonaws.com` otherwise, for regions that are older than 2019. The second
        // does not read it.
        .env("AWS_STS_REGIONAL_ENDPOINTS", "regional");
    if known.told() && !known.knows("pod-identity-http-timeout") {
        // Up to 2.0.0: the first SDK and the first steps on the second. Later ones have enough in SSL_CERT_FILE, and
        // would read this file anew for every mount.
        command.env("AWS_CA_BUNDLE", trusted);
    }
    if let Some(proxy) = config.https_proxy {
        command.env("HTTPS_PROXY", format!("http://{proxy}"));
    }
    if let Some(region) = &config.region {
        command.env("AWS_REGION", region);
    }
}

fn wanted(config: &ProviderConfig) -> Vec<Wanted> {
    vec![
        Wanted::essential("provider-volume", config.socket_dir.display().to_string()),
        Wanted::defaulted(
            "driver-writes-secrets",
            config.driver_writes_secrets.to_string(),
            "false",
            "it writes the files itself",
        ),
        // Both are whole numbers there.
        Wanted::defaulted(
            "qps",
            format!("{:.0}", config.qps.max(1.0)),
            "5",
            "client-go's 5 requests a second hold",
        ),
        Wanted::defaulted(
            "burst",
            config.burst.to_string(),
            "10",
            "client-go's 10 requests at once hold",
        ),
    ]
}

async fn version(socket: &Path) -> Option<String> {
    let mut client = CsiDriverProviderClient::new(connect(socket));
    let request = VersionRequest {
        version: "v1alpha1".to_owned(),
    };
    let told = tokio::time::timeout(TELLING, client.version(request)).await;
    let told = told.ok()?.ok()?.into_inner().runtime_version;
    (!told.is_empty()).then_some(told)
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}
