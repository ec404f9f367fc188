//! A release of the driver.

use std::{
    fs,
    net::SocketAddr,
    ops::Deref,
    path::{Path, PathBuf},
    time::Duration,
};

use mountproof_csi_protocol::{
    connect,
    csi::{GetPluginInfoRequest, identity_client::IdentityClient},
};
use serde::Deserialize;
use serde_json::json;

use super::{
    ProgramSpec, READY, Running, StartError, file,
    flags::{Chosen, KnownFlags, Wanted, choose},
    process::{Process, ask, clean, known_flags},
    write_private,
};
use crate::{
    driver::{DriverConfig, Registrar},
    rest::ApiAccess,
};

/// How long it may take to tell its version over CSI.
const TELLING: Duration = Duration::from_secs(5);

/// What a driver program is told beside its [`DriverConfig`].
#[derive(Debug, Clone)]
pub struct DriverOptions {
    /// `-v`. At 5 it says every step, and versions before 1.3.3 said tokens too (CVE-2023-2878).
    pub verbosity: u8,
    /// `--metrics-addr`; none turns its metrics off.
    pub metrics: Option<SocketAddr>,
    /// How long it may take to serve.
    pub ready: Duration,
}

impl Default for DriverOptions {
    fn default() -> Self {
        Self {
            verbosity: 5,
            metrics: None,
            ready: READY,
        }
    }
}

/// A running driver program, registered with kubelet.
#[derive(Debug)]
pub struct DriverProgram {
    spec: ProgramSpec,
    config: DriverConfig,
    options: DriverOptions,
    known: KnownFlags,
    running: Running,
    registrar: Option<Registrar>,
}

impl DriverProgram {
    /// Runs the program of `spec` as `config` and `options` say, its output appended to `log`, and registers it with
    /// kubelet. Its `mount`, `qps`, `burst` and `defects` cannot be told to a program.
    pub async fn start(
        spec: &ProgramSpec,
        config: &DriverConfig,
        options: &DriverOptions,
        log: &Path,
    ) -> Result<Self, StartError> {
        let home = config.csi_socket.parent().unwrap_or_else(|| Path::new("/"));
        fs::create_dir_all(home).map_err(file(home))?;
        let kubeconfig = kubeconfig_beside(&config.csi_socket);
        write_private(&kubeconfig, &kubeconfig_of(&config.api))?;
        let known = known_flags(spec).await?;
        let chosen = flags(spec, config, options, &known)?;
        let process = run(spec, &chosen, &config.csi_socket, log, options.ready).await?;
        let registrar = match &config.registration {
            Some(folder) => {
                let started = Registrar::start(&config.name, &config.csi_socket, folder);
                Some(started.map_err(file(folder))?)
            }
            None => None,
        };
        Ok(Self {
            running: Running {
                version: version(spec, &known, &config.csi_socket).await?,
                chosen,
                process,
            },
            spec: spec.clone(),
            config: config.clone(),
            options: options.clone(),
            known,
            registrar,
        })
    }

    /// Where it serves `csi.v1`.
    #[must_use]
    pub fn csi_socket(&self) -> &Path {
        &self.config.csi_socket
    }

    /// `--rotation-poll-interval` where rotation is on.
    #[must_use]
    pub fn rotation(&self) -> Option<Duration> {
        self.config.rotation
    }

    /// Ends it if it runs, and starts the same anew, as its container is.
    pub async fn restart(&mut self) -> Result<(), StartError> {
        self.running.process.stop().await;
        let (socket, log) = (&self.config.csi_socket, self.running.log());
        let chosen = flags(&self.spec, &self.config, &self.options, &self.known)?;
        let process = run(&self.spec, &chosen, socket, log, self.options.ready).await?;
        (self.running.chosen, self.running.process) = (chosen, process);
        Ok(())
    }

    /// The same, rotating as `rotation` says from here on: as a change of its `DaemonSet` has it.
    pub async fn restart_rotating(&mut self, rotation: Option<Duration>) -> Result<(), StartError> {
        self.config.rotation = rotation;
        self.restart().await
    }

    /// Unregisters and ends it. Its mounts stay.
    pub async fn stop(self) {
        if let Some(registrar) = self.registrar {
            registrar.stop().await;
        }
        self.running.process.stop().await;
        let _ = fs::remove_file(kubeconfig_beside(&self.config.csi_socket));
    }
}

impl Deref for DriverProgram {
    type Target = Running;

    fn deref(&self) -> &Running {
        &self.running
    }
}

fn flags(
    spec: &ProgramSpec,
    config: &DriverConfig,
    options: &DriverOptions,
    known: &KnownFlags,
) -> Result<Chosen, StartError> {
    let kubeconfig = kubeconfig_beside(&config.csi_socket);
    choose(known, &wanted(config, options, &kubeconfig)).map_err(|flag| StartError::NotThisProgram {
        program: spec.program.clone(),
        part: "driver",
        flag,
    })
}

async fn run(
    spec: &ProgramSpec,
    chosen: &Chosen,
    socket: &Path,
    log: &Path,
    ready: Duration,
) -> Result<Process, StartError> {
    let mut command = clean(&spec.program);
    command
        .args(&spec.arguments)
        .args(&chosen.arguments)
        // Up to 1.5.6 the rotation reconciler connects by itself, and reads no flag for that.
        .env("KUBECONFIG", kubeconfig_beside(socket));
    Process::start(command, &spec.program, socket, log, ready).await
}

fn wanted(config: &DriverConfig, options: &DriverOptions, kubeconfig: &Path) -> Vec<Wanted> {
    let shown = |path: &Path| path.display().to_string();
    let folders: Vec<String> = config
        .additional_providers_dirs
        .iter()
        .map(|path| shown(path))
        .collect();
    let metrics = options
        .metrics
        .map_or_else(|| "0".to_owned(), |address| address.to_string());
    let mut wanted = vec![
        // It puts a slash before what follows the scheme.
        Wanted::essential("endpoint", format!("unix:/{}", shown(&config.csi_socket))),
        Wanted::essential("nodeid", &config.node_id),
        Wanted::essential("provider-volume", shown(&config.providers_dir)),
        Wanted::essential("kubeconfig", shown(kubeconfig)),
        Wanted::defaulted(
            "drivername",
            &config.name,
            crate::driver::NAME,
            "it registers the name it was built with",
        ),
        Wanted::defaulted(
            "additional-provider-volume-paths",
            folders.join(","),
            "",
            "it looks for providers in --provider-volume only",
        ),
        Wanted::optional("metrics-addr", metrics, "it serves its metrics where it likes"),
        Wanted::optional("v", options.verbosity.to_string(), "its log says less"),
    ];
    if let Some(interval) = config.rotation {
        let interval = format!("{}ms", interval.as_millis());
        wanted.push(Wanted::optional(
            "enable-secret-rotation",
            "true",
            "it does not rotate",
        ));
        wanted.push(Wanted::optional(
            "rotation-poll-interval",
            interval,
            "it rotates when it likes",
        ));
    }
    wanted
}

/// What `--version` prints.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Built {
    build_version: String,
}

async fn version(
    spec: &ProgramSpec,
    known: &KnownFlags,
    socket: &Path,
) -> Result<Option<String>, StartError> {
    if known.knows("version") {
        let (_, said) = ask(spec, "--version").await?;
        let built = said
            .lines()
            .find_map(|line| serde_json::from_str::<Built>(line).ok());
        if let Some(built) = built {
            return Ok(Some(plain(&built.build_version)));
        }
    }
    let mut client = IdentityClient::new(connect(socket));
    let info = tokio::time::timeout(TELLING, client.get_plugin_info(GetPluginInfoRequest {})).await;
    let told = info
        .ok()
        .and_then(Result::ok)
        .map(|info| info.into_inner().vendor_version);
    Ok(told
        .filter(|version| !version.is_empty())
        .map(|version| plain(&version)))
}

/// `v1.6.0` is `1.6.0`.
fn plain(version: &str) -> String {
    let number = version
        .strip_prefix('v')
        .filter(|rest| rest.starts_with(|first: char| first.is_ascii_digit()));
    number.unwrap_or(version).to_owned()
}

/// It holds a token: it is there as long as the program may need it.
fn kubeconfig_beside(socket: &Path) -> PathBuf {
    socket.with_file_name("kubeconfig")
}

fn kubeconfig_of(api: &ApiAccess) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    // JSON is YAML.
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "run", "cluster": {
            "server": api.url, "certificate-authority-data": STANDARD.encode(&api.ca_pem)}}],
        "users": [{"name": "run", "user": {"token": api.token.expose()}}],
        "contexts": [{"name": "run", "context": {"cluster": "run", "user": "run"}}],
        "current-context": "run",
    })
    .to_string()
}
