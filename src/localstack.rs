//! LocalStack in a container, for as long as the endpoint before it runs.
//!
//! Started by testcontainers, which finds the engine (`DOCKER_HOST`, the rootless sockets) and pulls the image where it
//! is missing. The port is published on the loopback interface only, as what is behind it lets in whoever asks.
//!
//! The container goes when the endpoint stops. One whose process was killed is known by its label, and is removed by
//! the next that starts one, and by `sweep`. That of a run has a name too, which is on record before it is made.

use std::{collections::HashMap, time::Duration};

use testcontainers::{
    ContainerAsync, GenericImage, ImageExt as _, TestcontainersError,
    bollard::{
        Docker,
        errors::Error as EngineError,
        models::{HostConfig, PortBinding},
        query_parameters::{
            KillContainerOptions, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
        },
    },
    core::{
        IntoContainerPort as _, WaitFor,
        client::{ClientError, docker_client_instance},
        error::WaitContainerError,
        logs::WaitLogError,
    },
    runners::AsyncRunner as _,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::provision::Process;

/// The last image that asks for no account.
pub const DEFAULT_IMAGE: &str = "localstack/localstack:4.14.0";

/// The port inside of the container.
const PORT: u16 = 4566;
/// What the container says when it serves.
const READY: &str = "Ready.";
/// Whose container it is: the process that started it. Its value means one process, as ids come again.
const OWNER: &str = "mountproof.owner";
/// Longest wait for the engine to answer something short.
const ENGINE: Duration = Duration::from_secs(20);
/// Longest wait for an image to be pulled.
const PULL: Duration = Duration::from_mins(10);
/// Longest wait for LocalStack to serve.
const START: Duration = Duration::from_mins(2);
/// Longest wait for it to tell its version.
const HEALTH: Duration = Duration::from_secs(5);
/// Pause between two looks at a container that is being removed.
const LOOK: Duration = Duration::from_millis(100);

/// LocalStack could not be had. To be read after "cannot start LocalStack: ".
#[derive(Debug, thiserror::Error)]
pub enum LocalStackError {
    /// No engine.
    #[error(
        "Docker is not there ({because}); start it, or give the address of a LocalStack that runs, http://HOST:PORT, in the place of `localstack`"
    )]
    NoDocker {
        /// What was seen.
        because: String,
    },
    /// No image.
    #[error(
        "the image {image} is not here and cannot be pulled ({because}); `docker pull` tells more, and --localstack-image names another"
    )]
    NoImage {
        /// The image.
        image: String,
        /// What was seen.
        because: String,
    },
    /// No container.
    #[error("from the image {image}: {because}")]
    NotStarted {
        /// The image.
        image: String,
        /// What was seen.
        because: String,
    },
}

/// A running LocalStack.
#[derive(Debug)]
pub struct LocalStack {
    container: Box<ContainerAsync<GenericImage>>,
    url: String,
}

impl LocalStack {
    /// Starts a container from `image`, of this name if one is given, pulling the image where it is missing, and waits
    /// until it serves, or until it is told to give up.
    ///
    /// # Errors
    /// Where there is no Docker or no image, and when the container does not come up; it is removed then.
    pub async fn start(
        image: &str,
        name: Option<&str>,
        stopping: &CancellationToken,
    ) -> Result<Self, LocalStackError> {
        let docker = tokio::select! {
            there = image_is_here(image) => there?,
            () = stopping.cancelled() => return Err(LocalStackError::NotStarted {
                image: image.to_owned(),
                because: "asked to stop".to_owned(),
            }),
        };
        // Of no concern to this one, if it fails.
        let _ = remove_orphans().await;
        let me = owner(std::process::id()).unwrap_or_default();
        let started = tokio::select! {
            started = timeout(START, Self::started(image, name, &me)) =>
                started.unwrap_or_else(|_| Err(format!("not there after {} s", START.as_secs()))),
            () = stopping.cancelled() => Err("asked to stop".to_owned()),
        };
        if started.is_err() {
            // Given up half-way, its container may be there already.
            remove_all(&docker, |owned_by| owned_by == me).await.ok();
        }
        started.map_err(|because| LocalStackError::NotStarted {
            image: image.to_owned(),
            because,
        })
    }

    async fn started(image: &str, name: Option<&str>, owner: &str) -> Result<Self, String> {
        let mut request = request(image)
            .with_wait_for(WaitFor::message_on_stdout(READY))
            .with_label(OWNER, owner)
            // Reports nothing home.
            .with_env_var("DISABLE_EVENTS", "1")
            .with_host_config_modifier(on_loopback)
            .with_startup_timeout(START);
        if let Some(name) = name {
            request = request.with_container_name(name);
        }
        let container = request.start().await.map_err(|error| said(&error))?;
        let port = container.get_host_port_ipv4(PORT.tcp()).await;
        Ok(Self {
            url: format!("http://127.0.0.1:{}", port.map_err(|error| said(&error))?),
            container: Box::new(container),
        })
    }

    /// Where it is: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The container's id.
    #[must_use]
    pub fn container(&self) -> &str {
        self.container.id()
    }

    /// Removes it. Dropping it does the same where the runtime still lives.
    ///
    /// # Errors
    /// What Docker says.
    pub async fn removed(self) -> Result<(), String> {
        timeout(ENGINE, Box::pin(self.container.rm()))
            .await
            .map_err(|_| late())?
            .map_err(|error| said(&error))
    }
}

/// Removes the containers whose process is gone.
///
/// # Errors
/// What Docker says.
async fn remove_orphans() -> Result<(), String> {
    remove_all(&engine().await?, |owned_by| !lives(owned_by)).await
}

/// A container, as Docker knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Given, or made up by Docker.
    pub name: String,
}

/// The containers whose process is gone.
///
/// # Errors
/// What Docker says; also where there is none.
pub async fn orphans() -> Result<Vec<Container>, String> {
    owned(&engine().await?, |owned_by| !lives(owned_by)).await
}

/// Removes a container, by name or id, with its volumes; one that is not there is no error.
///
/// # Errors
/// What Docker says.
pub async fn remove(container: &str) -> Result<(), String> {
    remove_by(&engine().await?, container).await
}

/// Kills the process of a container, as `docker kill` does.
///
/// # Errors
/// What Docker says.
pub async fn kill(container: &str) -> Result<(), String> {
    let docker = engine().await?;
    timeout(
        ENGINE,
        docker.kill_container(container, None::<KillContainerOptions>),
    )
    .await
    .map_err(|_| late())?
    .map_err(|error| error.to_string())
}

/// Sees to it that an image can be started from: that Docker is there and has it, or can pull it.
///
/// # Errors
/// Where one of these is not so.
pub async fn check_image(image: &str) -> Result<(), LocalStackError> {
    image_is_here(image).await.map(drop)
}

async fn image_is_here(image: &str) -> Result<Docker, LocalStackError> {
    let no_docker = |because| LocalStackError::NoDocker { because };
    let docker = engine().await.map_err(no_docker)?;
    let no_image = |because| LocalStackError::NoImage {
        image: image.to_owned(),
        because,
    };
    match timeout(ENGINE, docker.inspect_image(image)).await {
        Ok(Ok(_)) => Ok(docker),
        Ok(Err(EngineError::DockerResponseServerError { status_code: 404, .. })) => {
            let pulled = timeout(PULL, request(image).pull_image()).await;
            let late = |_| format!("not there after {} min", PULL.as_secs() / 60);
            let pulled = pulled.map_err(late).map_err(no_image)?;
            pulled.map(|_| docker).map_err(|error| no_image(said(&error)))
        }
        Ok(Err(error)) => Err(no_image(with_causes(&error))),
        Err(_) => Err(no_docker(late())),
    }
}

/// What a LocalStack at `http://HOST:PORT` says its version is (`/_localstack/health`); nothing where it is none.
pub async fn version(url: &str) -> Option<String> {
    let authority = url.strip_prefix("http://")?.trim_end_matches('/').to_owned();
    let asked = async {
        let mut stream = TcpStream::connect(&authority).await.ok()?;
        let request = format!("GET /_localstack/health HTTP/1.0\r\nHost: {authority}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        String::from_utf8(answer).ok()
    };
    let answer = timeout(HEALTH, asked).await.ok()??;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    // What is long says itself how long it is, in lines of its own.
    let body = body.get(body.find('{')?..=body.rfind('}')?)?;
    let health: serde_json::Value = serde_json::from_str(body).ok()?;
    Some(health["version"].as_str()?.to_owned())
}

fn request(image: &str) -> GenericImage {
    let (name, tag) = name_and_tag(image);
    GenericImage::new(name, tag)
}

/// The engine, if it answers.
async fn engine() -> Result<Docker, String> {
    let asked = timeout(ENGINE, async {
        let docker = docker_client_instance()
            .await
            .map_err(|error| engine_said(&error))?;
        docker.ping().await.map_err(|error| with_causes(&error))?;
        Ok(docker)
    });
    asked.await.map_err(|_| late())?
}

async fn remove_all(docker: &Docker, whose: impl Fn(&str) -> bool) -> Result<(), String> {
    for container in owned(docker, whose).await? {
        remove_by(docker, &container.id).await?;
    }
    Ok(())
}

async fn remove_by(docker: &Docker, container: &str) -> Result<(), String> {
    // Volumes are the container's own: there is nothing in them that anyone asked to keep.
    let options = || RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    let until = Instant::now() + ENGINE;
    loop {
        let asked = timeout(ENGINE, docker.remove_container(container, Some(options()))).await;
        match asked.map_err(|_| late())? {
            Ok(()) | Err(EngineError::DockerResponseServerError { status_code: 404, .. }) => return Ok(()),
            // Somebody is at it already.
            Err(EngineError::DockerResponseServerError { status_code: 409, .. })
                if Instant::now() < until =>
            {
                sleep(LOOK).await;
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// The containers whose owner is one of these.
async fn owned(docker: &Docker, whose: impl Fn(&str) -> bool) -> Result<Vec<Container>, String> {
    let filters = HashMap::from([("label", vec![OWNER])]);
    let options = ListContainersOptionsBuilder::new()
        .all(true)
        .filters(&filters)
        .build();
    let listed = timeout(ENGINE, docker.list_containers(Some(options)))
        .await
        .map_err(|_| late())?
        .map_err(|error| error.to_string())?;
    let owned = listed.into_iter().filter(|container| {
        let owner = container.labels.as_ref().and_then(|labels| labels.get(OWNER));
        owner.is_some_and(|owner| whose(owner))
    });
    let known = owned.filter_map(|container| {
        let name = container.names.unwrap_or_default().into_iter().next();
        Some(Container {
            id: container.id?,
            // They are paths of links.
            name: name.unwrap_or_default().trim_start_matches('/').to_owned(),
        })
    });
    Ok(known.collect())
}

/// Publishes the port on the loopback interface alone; by itself testcontainers publishes every port on all of them.
fn on_loopback(host: &mut HostConfig) {
    host.publish_all_ports = Some(false);
    let binding = PortBinding {
        host_ip: Some("127.0.0.1".to_owned()),
        // A free one.
        host_port: Some(String::new()),
    };
    host.port_bindings = Some(HashMap::from([(PORT.tcp().to_string(), Some(vec![binding]))]));
}

/// The two sides of the colon that does not belong to a registry's port.
fn name_and_tag(image: &str) -> (&str, &str) {
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (image, "latest"),
    }
}

/// A process among all that there were since this machine started: its id, when it started, and the machine's start.
fn owner(pid: u32) -> Option<String> {
    let Process { pid, started, boot } = Process::of(pid).ok()?;
    Some(format!("{pid}.{started}.{boot}"))
}

/// Whether the process lives that is called so by [`owner`]. What cannot be read is taken to live.
fn lives(owned_by: &str) -> bool {
    let pid = owned_by.split('.').next().and_then(|pid| pid.parse().ok());
    pid.is_none_or(|pid| owner(pid).as_deref() == Some(owned_by))
}

fn late() -> String {
    format!("Docker did not answer within {} s", ENGINE.as_secs())
}

/// One line of what went wrong; of a container that ended, how its log ends.
fn said(error: &TestcontainersError) -> String {
    match error {
        TestcontainersError::WaitContainer(WaitContainerError::WaitLog(WaitLogError::EndOfStream(log))) => {
            let last = log.iter().rev().map(|line| String::from_utf8_lossy(line));
            let last = last
                .map(|line| line.trim().to_owned())
                .find(|line| !line.is_empty());
            format!("it ended; its log ends with: {}", last.unwrap_or_default())
        }
        TestcontainersError::WaitContainer(WaitContainerError::StartupTimeout) => {
            format!("not ready after {} s", START.as_secs())
        }
        TestcontainersError::Client(error) => engine_said(error),
        other => other.to_string(),
    }
}

fn engine_said(error: &ClientError) -> String {
    match error {
        ClientError::Init(error) => with_causes(error),
        other => other.to_string(),
    }
}

/// The text of an error and of what is behind it, each once: by itself the engine's client only says that it failed.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;

    #[test]
    fn a_process_is_known_by_more_than_its_number() {
        let me = owner(std::process::id()).unwrap();
        assert!(lives(&me));
        let parts: Vec<&str> = me.split('.').collect();
        let [pid, started, boot] = parts[..] else {
            panic!("{me}");
        };
        assert!(
            !lives(&format!("{pid}.1{started}.{boot}")),
            "another process of that number"
        );
        assert!(
            !lives(&format!("{pid}.{started}.another-boot")),
            "before the machine started"
        );
        assert!(
            !lives(&format!("4194305.{started}.{boot}")),
            "no process has that number"
        );
    }

    #[test]
    fn a_label_that_cannot_be_read_is_nobody_to_remove() {
        assert!(lives("") && lives("somebody"));
    }

    #[test]
    fn an_image_is_named_as_people_name_it() {
        for (image, expected) in [
            (DEFAULT_IMAGE, ("localstack/localstack", "4.14.0")),
            ("localstack/localstack", ("localstack/localstack", "latest")),
            ("registry:5000/localstack", ("registry:5000/localstack", "latest")),
            (
                "registry:5000/localstack:4.5",
                ("registry:5000/localstack", "4.5"),
            ),
            ("localstack@sha256:0abc", ("localstack@sha256", "0abc")),
        ] {
            assert_eq!(name_and_tag(image), expected, "{image}");
        }
    }

    #[test]
    fn the_port_is_published_on_loopback_alone() {
        let mut host = HostConfig {
            publish_all_ports: Some(true),
            ..HostConfig::default()
        };
        on_loopback(&mut host);
        assert_eq!(host.publish_all_ports, Some(false));
        let bindings = host.port_bindings.unwrap();
        let addresses: Vec<_> = bindings
            .values()
            .flatten()
            .flatten()
            .map(|b| b.host_ip.as_deref())
            .collect();
        assert_eq!(addresses, [Some("127.0.0.1")]);
    }
}
