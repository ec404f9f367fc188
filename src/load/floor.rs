//! The local floor: what a mount costs at least on this machine, with no distance and no server time.
//!
//! Figures of a run mean little beside those of another machine. So the primitives that a mount is
//! made of are measured here in well under a second, and their sequence as one: kubelet's call, tmpfs,
//! the provider's call, the API reads, STS and Secrets Manager, the files, the status object.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Router, routing::post};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use jiff::Timestamp;
use mountproof_csi_protocol::{
    connect,
    csi::{
        GetPluginCapabilitiesRequest, GetPluginCapabilitiesResponse, GetPluginInfoRequest,
        GetPluginInfoResponse, ProbeRequest, ProbeResponse,
        identity_client::IdentityClient,
        identity_server::{Identity, IdentityServer},
    },
};
use mountproof_run_tls::{HttpsClient, RequestError, RunCa, Server, TlsError};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tokio::{
    net::{TcpListener, UnixListener},
    task::JoinHandle,
    time::timeout,
};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status, transport::Channel};

use crate::journal::{self, FloorMeasured};

use super::{
    csi_lens::{CsiClient, PodIdentity, PublishError, PublishJob, ServiceAccountTokens},
    histogram::{Histogram, empty},
    idle_driver::IdleDriver,
    nanos,
};

/// Time for each part, and twice as much for each whole.
const BUDGET: Duration = Duration::from_millis(60);
/// Samples beyond which a part is known well enough.
const ENOUGH: u32 = 200;
/// Samples of what the csi lens adds: its 99th percentile is said to users, so more of them.
const LENS_SAMPLES: u32 = 1_000;
/// Name of that part.
const LENS: &str = "csi lens, before a driver that answers at once";
/// Longest time that such a call may take.
const LENS_DEADLINE: Duration = Duration::from_secs(2);
/// First rounds that are not counted: connections and caches.
const WARM_UP: u32 = 3;
/// Longest time that anything here may take before the floor is given up.
const DEADLINE: Duration = Duration::from_secs(10);
/// Size of a payload: a token, a secret.
const PAYLOAD: usize = 1_024;

/// The floor of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Floor {
    /// The primitives, in the order in which a mount uses them first.
    pub parts: Vec<FloorPart>,
    /// Median of a whole mount on kept-alive connections, in nanoseconds: the floor of the mechanism.
    pub kept_alive_ns: u64,
    /// Likewise with new TLS connections to STS and Secrets Manager, as the AWS provider makes them for
    /// every mount: the floor of its design, and what figures are best divided by.
    pub new_tls_ns: u64,
    /// Whether tmpfs could be mounted; without, its cost is in neither whole.
    pub tmpfs: bool,
    /// What the csi lens adds to what it times, in neither whole: it is the harness's part, and not a mount's.
    pub lens: FloorPart,
    /// Time that measuring took.
    pub took: Duration,
}

/// One primitive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FloorPart {
    /// Such as `gRPC call on a unix socket, 1 KiB`.
    pub name: &'static str,
    /// Median, in nanoseconds.
    pub p50_ns: u64,
    /// 99th percentile of these few samples, in nanoseconds: a hint, not a finding.
    pub p99_ns: u64,
    /// Samples taken.
    pub samples: u32,
}

impl Floor {
    /// As the journal holds it.
    #[must_use]
    pub fn into_event(self) -> FloorMeasured {
        let part = |part: &FloorPart| journal::FloorPart {
            name: part.name.to_owned(),
            p50_ns: part.p50_ns,
            p99_ns: part.p99_ns,
            samples: part.samples,
        };
        FloorMeasured {
            parts: self.parts.iter().map(part).collect(),
            csi_lens: Some(part(&self.lens)),
            kept_alive_ns: self.kept_alive_ns,
            new_tls_ns: self.new_tls_ns,
            tmpfs: self.tmpfs,
            node: None,
        }
    }
}

/// The floor could not be measured. No run fails for it.
#[derive(Debug, thiserror::Error)]
pub enum FloorError {
    /// A folder, file, socket or listener.
    #[error("measure the local floor: {0}")]
    Io(#[from] io::Error),
    /// The certificate authority or a client.
    #[error("measure the local floor: {0}")]
    Tls(#[from] TlsError),
    /// A request over TLS.
    #[error("measure the local floor: {0}")]
    Https(#[from] RequestError),
    /// A call on the socket.
    #[error("measure the local floor: {0}")]
    Grpc(#[from] Status),
    /// A call of the csi lens.
    #[error("measure the local floor: {0}")]
    Lens(#[from] PublishError),
    /// The machine is busy beyond use.
    #[error("measure the local floor: not done within {DEADLINE:?}")]
    TimedOut,
}

/// Measures the floor below `scratch`, an existing folder whose path is short enough for a socket.
/// Leaves nothing there.
pub async fn measure(scratch: &Path) -> Result<Floor, FloorError> {
    let started = Instant::now();
    let bench = Bench::start(scratch).await?;
    let mut floor = timeout(DEADLINE, bench.floor())
        .await
        .map_err(|_| FloorError::TimedOut)??;
    drop(bench);
    floor.took = started.elapsed();
    Ok(floor)
}

/// What a mount is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Primitive {
    Tmpfs,
    Grpc,
    KeptAlive,
    NewTls,
    File,
}

use Primitive::{File, Grpc, KeptAlive, NewTls, Tmpfs};

impl Primitive {
    fn name(self) -> &'static str {
        match self {
            Tmpfs => "tmpfs mount and unmount",
            Grpc => "gRPC call on a unix socket, 1 KiB",
            KeptAlive => "HTTPS request, kept alive, 1 KiB",
            NewTls => "HTTPS request on a new TLS 1.3 connection, 1 KiB",
            File => "temporary file, 1 KiB, fsync, rename",
        }
    }
}

/// Kubelet to driver, tmpfs, driver to provider, ServiceAccount, STS, Secrets Manager, file, status.
fn whole(aws: Primitive) -> [Primitive; 8] {
    [Grpc, Tmpfs, Grpc, KeptAlive, aws, aws, File, KeptAlive]
}

/// Servers and clients in this process, and a folder.
struct Bench {
    folder: PathBuf,
    /// On tmpfs where that may be mounted, so that fsync costs what it costs in a mount.
    files: PathBuf,
    tmpfs: bool,
    grpc: IdentityClient<Channel>,
    grpc_server: JoinHandle<()>,
    https: HttpsClient,
    /// Ends when dropped.
    _https_server: Server,
    url: String,
    ca: Arc<RunCa>,
    payload: Bytes,
}

impl Bench {
    async fn start(scratch: &Path) -> Result<Self, FloorError> {
        let folder = scratch.join("floor");
        let files = folder.join("files");
        fs::create_dir_all(&files)?;
        fs::create_dir_all(folder.join("mount"))?;
        let tmpfs = mount_tmpfs(&files).is_ok();

        let socket = folder.join("s");
        let service = IdentityServer::new(Payload("x".repeat(PAYLOAD)));
        let incoming = UnixListenerStream::new(UnixListener::bind(&socket)?);
        let grpc_server = tokio::spawn(async move {
            let serving = tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming);
            if let Err(error) = serving.await {
                tracing::warn!(%error, "local floor");
            }
        });

        let ca = RunCa::generate("floor")?;
        let payload = Bytes::from(vec![b'x'; PAYLOAD]);
        let answer = payload.clone();
        let app = Router::new().route("/", post(move |_: Bytes| async move { answer }));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let https_server = Server::start(listener, ca.server_config(|_| false)?, app)?;
        Ok(Self {
            files,
            tmpfs,
            grpc: IdentityClient::new(connect(&socket)),
            grpc_server,
            https: HttpsClient::new(ca.certificate_pem(), None)?,
            url: format!("https://{}/", https_server.address()),
            _https_server: https_server,
            ca,
            payload,
            folder,
        })
    }

    async fn floor(&self) -> Result<Floor, FloorError> {
        let mut parts = Vec::new();
        for primitive in [Grpc, Tmpfs, KeptAlive, NewTls, File] {
            if primitive == Tmpfs && !self.tmpfs {
                continue;
            }
            let histogram = self.sample(&[primitive], BUDGET).await?;
            parts.push(FloorPart {
                name: primitive.name(),
                p50_ns: histogram.value_at_quantile(0.5),
                p99_ns: histogram.value_at_quantile(0.99),
                samples: u32::try_from(histogram.len()).unwrap_or(u32::MAX),
            });
        }
        let kept_alive = self.sample(&whole(KeptAlive), 2 * BUDGET).await?;
        let new_tls = self.sample(&whole(NewTls), 2 * BUDGET).await?;
        Ok(Floor {
            parts,
            kept_alive_ns: kept_alive.value_at_quantile(0.5),
            new_tls_ns: new_tls.value_at_quantile(0.5),
            tmpfs: self.tmpfs,
            lens: self.lens().await?,
            took: Duration::ZERO,
        })
    }

    /// Runs `sequence` until the budget is used up, or enough is known.
    async fn sample(&self, sequence: &[Primitive], budget: Duration) -> Result<Histogram, FloorError> {
        let mut histogram = empty();
        let begun = Instant::now();
        for round in 0..ENOUGH + WARM_UP {
            let round_begun = Instant::now();
            for primitive in sequence {
                self.run(*primitive).await?;
            }
            if round >= WARM_UP {
                histogram.saturating_record(nanos(round_begun.elapsed()));
                if begun.elapsed() > budget {
                    break;
                }
            }
        }
        Ok(histogram)
    }

    /// All of a call but the driver's work.
    async fn lens(&self) -> Result<FloorPart, FloorError> {
        let socket = self.folder.join("l");
        let _driver = IdleDriver::start(&socket)?;
        let client = CsiClient::new(&socket, &self.folder.join("kubelet"));
        client.warm_up(LENS_DEADLINE).await?;
        let token = "t".repeat(PAYLOAD);
        let job = PublishJob {
            pod: PodIdentity {
                name: "floor".to_owned(),
                namespace: "floor".to_owned(),
                uid: "floor".to_owned(),
                service_account: "floor".to_owned(),
            },
            class: "floor".to_owned(),
            attributes: BTreeMap::new(),
            tokens: ServiceAccountTokens::new([("floor", token.as_str(), Timestamp::UNIX_EPOCH)]),
        };
        let mut histogram = empty();
        for round in 0..LENS_SAMPLES + WARM_UP {
            let took = client.publish(&job, LENS_DEADLINE).await?;
            if round >= WARM_UP {
                histogram.saturating_record(nanos(took));
            }
        }
        Ok(FloorPart {
            name: LENS,
            p50_ns: histogram.value_at_quantile(0.5),
            p99_ns: histogram.value_at_quantile(0.99),
            samples: LENS_SAMPLES,
        })
    }

    async fn run(&self, primitive: Primitive) -> Result<(), FloorError> {
        match primitive {
            Tmpfs if self.tmpfs => {
                let target = self.folder.join("mount");
                mount_tmpfs(&target)?;
                unmount(&target, UnmountFlags::empty()).map_err(io::Error::from)?;
            }
            Tmpfs => {}
            Grpc => drop(
                self.grpc
                    .clone()
                    .get_plugin_info(Request::new(GetPluginInfoRequest {}))
                    .await?,
            ),
            KeptAlive => self.post(&self.https).await?,
            NewTls => {
                let client = HttpsClient::new(self.ca.certificate_pem(), None)?;
                self.post(&client).await?;
            }
            File => self.write()?,
        }
        Ok(())
    }

    async fn post(&self, client: &HttpsClient) -> Result<(), FloorError> {
        let request = http::Request::post(&self.url)
            .body(Full::new(self.payload.clone()))
            .expect("a socket address makes a valid URI");
        let response = client.send(request).await?;
        response.into_body().collect().await.map_err(io::Error::other)?;
        Ok(())
    }

    /// As the provider writes a secret's file.
    fn write(&self) -> io::Result<()> {
        let temporary = self.files.join("temporary");
        let mut file = fs::File::create(&temporary)?;
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
        io::Write::write_all(&mut file, &self.payload)?;
        file.sync_all()?;
        fs::rename(temporary, self.files.join("secret"))
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.grpc_server.abort();
        if self.tmpfs {
            // A mount of an aborted round first.
            let _ = unmount(self.folder.join("mount"), UnmountFlags::DETACH);
            if let Err(error) = unmount(&self.files, UnmountFlags::DETACH) {
                tracing::warn!(%error, path = %self.files.display(), "unmount");
                return;
            }
        }
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            tracing::warn!(%error, path = %self.folder.display(), "remove");
        }
    }
}

fn mount_tmpfs(target: &Path) -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    Ok(mount("tmpfs", target, "tmpfs", flags, c"size=1m,mode=0700")?)
}

/// Answers with as many bytes as a secret has.
struct Payload(String);

#[tonic::async_trait]
impl Identity for Payload {
    async fn get_plugin_info(
        &self,
        _: Request<GetPluginInfoRequest>,
    ) -> Result<Response<GetPluginInfoResponse>, Status> {
        Ok(Response::new(GetPluginInfoResponse {
            name: self.0.clone(),
            ..GetPluginInfoResponse::default()
        }))
    }

    async fn get_plugin_capabilities(
        &self,
        _: Request<GetPluginCapabilitiesRequest>,
    ) -> Result<Response<GetPluginCapabilitiesResponse>, Status> {
        Ok(Response::new(GetPluginCapabilitiesResponse::default()))
    }

    async fn probe(&self, _: Request<ProbeRequest>) -> Result<Response<ProbeResponse>, Status> {
        Ok(Response::new(ProbeResponse::default()))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;

    #[tokio::test]
    async fn every_part_is_measured_and_nothing_is_left() {
        let scratch = tempfile::tempdir().unwrap();
        let floor = measure(scratch.path()).await.unwrap();
        assert_eq!(floor.parts.len(), 4 + usize::from(floor.tmpfs));
        assert!(
            floor
                .parts
                .iter()
                .chain([&floor.lens])
                .all(|part| part.samples > 0 && part.p50_ns > 0 && part.p99_ns >= part.p50_ns)
        );
        let grpc = floor
            .parts
            .iter()
            .find(|part| part.name.starts_with("gRPC"))
            .unwrap();
        assert!(
            floor.kept_alive_ns > grpc.p50_ns,
            "a whole mount holds two such calls"
        );
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_is_an_error() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(measure(&file).await, Err(FloorError::Io(_))));
    }
}
