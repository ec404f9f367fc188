//! The real driver and the real provider, given as programs, in the places of their stand-ins.
//!
//! Each is started with what its stand-in's configuration says, as far as the real one can be told:
//! its client-side limit is fixed in the driver, and neither has defects to plant. They run as root on
//! this machine: the driver mounts tmpfs, and the provider, which reads its way to the API server from
//! fixed places only, gets a mount namespace of its own in which those places are ours. Mounts below
//! kubelet's root must reach it there: see [`SharedFolder`].

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::{
    mount::{MountPropagationFlags, UnmountFlags, mount_bind, mount_change, unmount},
    process::{Pid, Signal, kill_process},
};
use serde_json::json;
use tokio::{
    net::UnixStream,
    process::{Child, Command},
};

use crate::{
    driver::{DriverConfig, Registrar},
    provider::ProviderConfig,
    rest::ApiAccess,
};

/// How long a program may take to serve on its socket.
const READY: Duration = Duration::from_secs(30);

/// How long it may take to end when asked to.
const LEAVING: Duration = Duration::from_secs(5);

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

/// A program could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file or folder that it needs could not be made.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It could not be run, or ended at once.
    #[error("run {program}: {why}; its output is in {log}")]
    Program {
        /// Which.
        program: PathBuf,
        /// Why.
        why: String,
        /// What it wrote.
        log: PathBuf,
    },
}

/// A folder whose mounts other mount namespaces see too: kubelet's root has to be one.
#[derive(Debug)]
pub struct SharedFolder(PathBuf);

impl SharedFolder {
    /// Makes the existing `folder` a mount point of its own, and shared.
    pub fn mount(folder: &Path) -> io::Result<Self> {
        mount_bind(folder, folder)?;
        mount_change(folder, MountPropagationFlags::SHARED)?;
        Ok(Self(folder.to_owned()))
    }
}

impl Drop for SharedFolder {
    fn drop(&mut self) {
        if let Err(error) = unmount(&self.0, UnmountFlags::DETACH) {
            tracing::warn!(folder = ?self.0, %error, "still mounted");
        }
    }
}

/// The real driver.
#[derive(Debug)]
pub struct RealDriver {
    program: Program,
    registrar: Option<Registrar>,
}

impl RealDriver {
    /// Runs `program` as `config` says, its output in `log`, and registers it with kubelet.
    pub async fn start(program: &Path, config: &DriverConfig, log: &Path) -> Result<Self, StartError> {
        let home = config.csi_socket.parent().unwrap_or_else(|| Path::new("/"));
        fs::create_dir_all(home).map_err(file(home))?;
        let kubeconfig = home.join("kubeconfig");
        fs::write(&kubeconfig, kubeconfig_of(&config.api)).map_err(file(&kubeconfig))?;
        let mut command = clean(program);
        // A leading slash is added by the driver.
        let socket = config.csi_socket.display().to_string();
        let folders = config.additional_providers_dirs.iter();
        let folders: Vec<String> = folders.map(|folder| folder.display().to_string()).collect();
        command
            .arg(format!("--endpoint=unix:/{socket}"))
            .arg(format!("--drivername={}", config.name))
            .arg(format!("--nodeid={}", config.node_id))
            .arg(format!("--provider-volume={}", config.providers_dir.display()))
            .arg(format!(
                "--additional-provider-volume-paths={}",
                folders.join(",")
            ))
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .args(["--metrics-addr=0", "-v=5"]);
        if let Some(interval) = config.rotation {
            command
                .arg("--enable-secret-rotation=true")
                .arg(format!("--rotation-poll-interval={}ms", interval.as_millis()));
        }
        let program = Program::start(command, program, &config.csi_socket, log).await?;
        let registrar = match &config.registration {
            Some(folder) => {
                let started = Registrar::start(&config.name, &config.csi_socket, folder);
                Some(started.map_err(file(folder))?)
            }
            None => None,
        };
        Ok(Self { program, registrar })
    }

    /// Unregisters and ends it.
    pub async fn stop(self) {
        if let Some(registrar) = self.registrar {
            registrar.stop().await;
        }
        self.program.stop().await;
    }
}

/// The real provider.
#[derive(Debug)]
pub struct RealProvider(Program);

impl RealProvider {
    /// Runs `program` as `config` says, its output in `log`.
    pub async fn start(program: &Path, config: &ProviderConfig, log: &Path) -> Result<Self, StartError> {
        let folder = &config.socket_dir;
        let account = folder.join("account");
        fs::create_dir_all(&account).map_err(file(&account))?;
        for (name, text) in [
            ("token", config.api.token.expose()),
            ("ca.crt", &config.api.ca_pem),
            ("namespace", "kube-system"),
        ] {
            let path = account.join(name);
            fs::write(&path, text).map_err(file(&path))?;
        }
        let trusted = account.join("aws-ca.crt");
        fs::write(&trusted, &config.trusted_pem).map_err(file(&trusted))?;
        let address = config.api.url.trim_start_matches("https://");
        let (host, port) = address.rsplit_once(':').unwrap_or((address, "443"));

        let mut command = clean(Path::new("unshare"));
        command
            .args(["--mount", "--propagation", "slave", "sh", "-c", IN_CLUSTER, "sh"])
            .args([account.as_os_str(), program.as_os_str()])
            .arg(format!("--provider-volume={}", folder.display()))
            .arg(format!(
                "--driver-writes-secrets={}",
                config.driver_writes_secrets
            ))
            .arg(format!("--qps={}", config.qps))
            .arg(format!("--burst={}", config.burst))
            .env("KUBERNETES_SERVICE_HOST", host)
            .env("KUBERNETES_SERVICE_PORT", port)
            .env("SSL_CERT_FILE", &trusted);
        if let Some(proxy) = config.https_proxy {
            command.env("HTTPS_PROXY", format!("http://{proxy}"));
        }
        if let Some(region) = &config.region {
            command.env("AWS_REGION", region);
        }
        let socket = folder.join("aws.sock");
        Ok(Self(Program::start(command, program, &socket, log).await?))
    }

    /// Ends it.
    pub async fn stop(self) {
        self.0.stop().await;
    }
}

#[derive(Debug)]
struct Program {
    child: Child,
    socket: PathBuf,
}

impl Program {
    async fn start(
        mut command: Command,
        program: &Path,
        socket: &Path,
        log: &Path,
    ) -> Result<Self, StartError> {
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .map_err(file(log))?;
        let errors = output.try_clone().map_err(file(log))?;
        let failed = |why: String| StartError::Program {
            program: program.to_owned(),
            why,
            log: log.to_owned(),
        };
        let _ = fs::remove_file(socket);
        command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
        let until = Instant::now() + READY;
        while UnixStream::connect(socket).await.is_err() {
            if let Ok(Some(status)) = child.try_wait() {
                return Err(failed(status.to_string()));
            }
            if Instant::now() > until {
                return Err(failed(format!("nothing on {} in {READY:?}", socket.display())));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let socket = socket.to_owned();
        Ok(Self { child, socket })
    }

    async fn stop(mut self) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        if tokio::time::timeout(LEAVING, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
        let _ = fs::remove_file(&self.socket);
    }
}

/// A command with none of our own environment: it may name proxies and authorities.
fn clean(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
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

fn file(path: &Path) -> impl Fn(io::Error) -> StartError {
    move |source| StartError::File {
        path: path.to_owned(),
        source,
    }
}
