//! Plays kubelet's part of a mount, and writes down everything that can be seen of it.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use mountproof_csi_protocol::{
    connect,
    csi::{NodePublishVolumeRequest, NodeUnpublishVolumeRequest, VolumeCapability, node_client::NodeClient},
};
use serde_json::{Value, json};
use tonic::{Request, Status};

use crate::world::{CLASSES, World};

/// What was seen, by case, in order.
pub(crate) type Transcript = Vec<(String, Vec<String>)>;

pub(crate) const SLOW: Duration = Duration::from_secs(110);

/// One pod's volume.
#[derive(Clone)]
pub(crate) struct Volume {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) uid: String,
    pub(crate) request: NodePublishVolumeRequest,
    pub(crate) deadline: Duration,
}

pub(crate) struct Bench {
    pub(crate) world: World,
    transcript: Transcript,
    volumes: Vec<Volume>,
    log_lines: usize,
    number: usize,
}

impl Bench {
    pub(crate) fn new(world: World) -> Self {
        Self {
            world,
            transcript: Vec::new(),
            volumes: Vec::new(),
            log_lines: 0,
            number: 0,
        }
    }

    pub(crate) async fn done(mut self) -> Transcript {
        self.close().await;
        self.world.stop().await;
        self.transcript
    }

    /// Begins a case, and ends the one before.
    pub(crate) async fn case(&mut self, name: &str) {
        self.close().await;
        self.transcript.push((name.to_owned(), Vec::new()));
    }

    pub(crate) fn say(&mut self, line: impl Into<String>) {
        let line = self.normal(&line.into());
        self.transcript.last_mut().unwrap().1.push(line);
    }

    /// A pod with a class of its own in `namespace`.
    pub(crate) async fn pod(&mut self, namespace: &str, spec: Value) -> Volume {
        let volume = self.pod_without_class(namespace).await;
        let class = json!({"apiVersion": "secrets-store.csi.x-k8s.io/v1", "kind": "SecretProviderClass",
            "metadata": {"name": volume.pod}, "spec": spec});
        let classes = format!("{CLASSES}/namespaces/{namespace}/secretproviderclasses");
        self.world.admin.create(&classes, &class).await.unwrap();
        // The driver reads it from a cache.
        tokio::time::sleep(Duration::from_millis(300)).await;
        volume
    }

    pub(crate) async fn pod_without_class(&mut self, namespace: &str) -> Volume {
        self.number += 1;
        let pod = format!("p{}", self.number);
        let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod}, "spec": {
            "nodeName": "node", "containers": [{"name": "c", "image": "i"}],
            "volumes": [{"name": "v", "csi": {"driver": "secrets-store.csi.k8s.io", "readOnly": true,
                "volumeAttributes": {"secretProviderClass": pod}}}]}});
        let pods = format!("/api/v1/namespaces/{namespace}/pods");
        let object = self.world.admin.create(&pods, &object).await.unwrap();
        let uid = object["metadata"]["uid"].as_str().unwrap().to_owned();
        let account = format!("/api/v1/namespaces/{namespace}/serviceaccounts/default/token");
        let ask = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {
            "audiences": ["sts.amazonaws.com"], "expirationSeconds": 3600,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid}}});
        let token = self.world.admin.create(&account, &ask).await.unwrap();
        let tokens = json!({"sts.amazonaws.com": token["status"]}).to_string();
        let target = self
            .world
            .root
            .path()
            .join(format!("pods/{uid}/volumes/kubernetes.io~csi/v/mount"));
        let context = [
            ("csi.storage.k8s.io/pod.name", pod.as_str()),
            ("csi.storage.k8s.io/pod.namespace", namespace),
            ("csi.storage.k8s.io/pod.uid", &uid),
            ("csi.storage.k8s.io/serviceAccount.name", "default"),
            ("csi.storage.k8s.io/ephemeral", "true"),
            ("csi.storage.k8s.io/serviceAccount.tokens", &tokens),
            ("secretProviderClass", &pod),
        ];
        let request = NodePublishVolumeRequest {
            volume_id: format!("csi-{pod}"),
            target_path: target.display().to_string(),
            volume_capability: Some(VolumeCapability::default()),
            readonly: true,
            volume_context: context
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            ..NodePublishVolumeRequest::default()
        };
        // Kubelet makes the folder above the target.
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        let volume = Volume {
            namespace: namespace.to_owned(),
            pod,
            uid,
            request,
            deadline: SLOW,
        };
        self.volumes.push(volume.clone());
        volume
    }

    /// Publishes and says what came of it.
    pub(crate) async fn publish(&mut self, volume: &Volume) -> bool {
        let answer = self.answer_of(volume).await;
        let ok = answer.is_ok();
        self.say(format!("publish: {}", shown(&answer)));
        self.look(volume);
        ok
    }

    pub(crate) async fn answer_of(&self, volume: &Volume) -> Result<(), Status> {
        let mut request = Request::new(volume.request.clone());
        request.set_timeout(volume.deadline);
        let mut client = NodeClient::new(connect(self.world.csi_socket()));
        client.node_publish_volume(request).await.map(drop)
    }

    pub(crate) async fn unpublish(&mut self, volume: &Volume) {
        let request = NodeUnpublishVolumeRequest {
            volume_id: volume.request.volume_id.clone(),
            target_path: volume.request.target_path.clone(),
        };
        let mut client = NodeClient::new(connect(self.world.csi_socket()));
        let answer = client.node_unpublish_volume(request).await.map(drop);
        self.say(format!("unpublish: {}", shown(&answer)));
        self.look(volume);
    }

    /// The target: what it is, and every file.
    pub(crate) fn look(&mut self, volume: &Volume) {
        let target = PathBuf::from(&volume.request.target_path);
        let Ok(meta) = fs::symlink_metadata(&target) else {
            self.say("  target: none");
            return;
        };
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mount = table
            .lines()
            .rfind(|line| line.split(' ').nth(4) == Some(target.to_str().unwrap()));
        let mount = mount.map_or_else(
            || "no mount".to_owned(),
            |line| {
                let (head, tail) = line.split_once(" - ").unwrap();
                let tail: Vec<_> = tail.split(' ').collect();
                let options: Vec<_> = tail[2].split(',').filter(|option| *option != "inode64").collect();
                format!(
                    "{} {} from {} {}",
                    tail[0],
                    head.split(' ').nth(5).unwrap(),
                    tail[1],
                    options.join(",")
                )
            },
        );
        self.say(format!("  target: {:o} {mount}", meta.permissions().mode()));
        for line in listing(&target, &target) {
            self.say(format!("    {line}"));
        }
    }

    /// Drops the requests that were recorded: they hold what differs from run to run.
    pub(crate) async fn forget_requests(&self) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        self.world.api_log.log.take();
        self.world.aws_log.log.take();
    }

    /// Writes down what passed since the case began, and clears up.
    async fn close(&mut self) {
        if self.transcript.is_empty() {
            self.world.api_log.log.take();
            self.world.aws_log.log.take();
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        for volume in &self.volumes.clone() {
            let path = format!(
                "{CLASSES}/namespaces/{0}/secretproviderclasspodstatuses/{1}-{0}-{1}",
                volume.namespace, volume.pod
            );
            if let Ok(mut status) = self.world.admin.fetch::<Value>(&path, None).await {
                let meta = status["metadata"].as_object_mut().unwrap();
                for noise in ["uid", "resourceVersion", "creationTimestamp", "managedFields"] {
                    meta.remove(noise);
                }
                self.say(format!("status object: {status}"));
            }
            let events = format!("/api/v1/namespaces/{}/events", volume.namespace);
            let events: Value = self.world.admin.fetch(&events, None).await.unwrap();
            for event in events["items"].as_array().unwrap() {
                if event["involvedObject"]["name"] == volume.pod {
                    self.say(format!(
                        "event: {} {} {} {}",
                        event["type"], event["reason"], event["message"], event["source"]
                    ));
                }
            }
        }
        for seen in self.world.api_log.log.take() {
            if self.transcript.last().is_some_and(|(case, _)| case == "by name") {
                self.say(format!(
                    "(kubernetes agent {}, {} {} accept {})",
                    seen.header("user-agent"),
                    seen.method,
                    seen.path,
                    seen.header("accept")
                ));
            }
            // Which collections are watched, and when a watch begins, is the part's own affair.
            if seen.path.contains("watch=true") || seen.path.contains("limit=") || seen.method == "LIST" {
                continue;
            }
            // Field order, and a time that is null, are the client library's.
            let mut body: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
            if let Some(meta) = body.get_mut("metadata").and_then(Value::as_object_mut) {
                for noise in ["creationTimestamp", "managedFields"] {
                    meta.remove(noise);
                }
            }
            let body = if body.is_null() {
                String::new()
            } else {
                format!(" {body}")
            };
            let line = format!(
                "kubernetes: {} {} {}{body} -> {}",
                seen.method,
                seen.path,
                seen.header("content-type"),
                seen.status
            );
            self.say(line);
        }
        let first = self.transcript.last().is_some_and(|(case, _)| case == "by name");
        for seen in self.world.aws_log.log.take() {
            if first {
                let mut names: Vec<_> = seen.headers.keys().map(ToString::to_string).collect();
                names.sort();
                self.say(format!(
                    "(aws agent {}, headers {})",
                    seen.header("user-agent"),
                    names.join(" ")
                ));
            }
            let target = seen.header("x-amz-target").to_owned();
            let body = String::from_utf8_lossy(&seen.body).into_owned();
            let line = format!(
                "aws: {} {} {} {} {} -> {}",
                seen.method,
                seen.host,
                seen.path,
                if target.is_empty() { "-" } else { &target },
                form(&body),
                seen.status
            );
            self.say(line);
        }
        let lines = self.world.provider_log().await;
        let new: Vec<_> = lines[self.log_lines.min(lines.len())..].to_vec();
        self.log_lines = lines.len();
        for line in new {
            // A program says how it ended.
            if line.starts_with("I received signal") {
                continue;
            }
            self.say(format!("provider log: {line}"));
        }
        for volume in std::mem::take(&mut self.volumes) {
            let request = NodeUnpublishVolumeRequest {
                volume_id: volume.request.volume_id.clone(),
                target_path: volume.request.target_path.clone(),
            };
            let mut client = NodeClient::new(connect(self.world.csi_socket()));
            let _ = client.node_unpublish_volume(request).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        self.world.api_log.log.take();
        self.world.aws_log.log.take();
    }

    /// Without what differs from run to run.
    fn normal(&self, line: &str) -> String {
        let mut line = line.replace(self.world.root.path().to_str().unwrap(), "<root>");
        for volume in &self.volumes {
            line = line.replace(&volume.uid, &format!("<uid of {}>", volume.pod));
            let tokens = &volume.request.volume_context["csi.storage.k8s.io/serviceAccount.tokens"];
            if let Ok(tokens) = serde_json::from_str::<Value>(tokens)
                && let Some(token) = tokens["sts.amazonaws.com"]["token"].as_str()
            {
                line = line.replace(token, "<token>");
            }
        }
        for url in [&self.world.api_log.url, &self.world.server.url()] {
            let address = url.trim_start_matches("https://");
            line = line.replace(address, "<api>");
        }
        line = without_ids(&line);
        for (before, end) in [
            ("assumed-role/red-role/", ' '),
            ("assumed-role/blue-role/", ' '),
            ("RequestID: ", ','),
            ("RoleSessionName=", ' '),
            ("resourceVersion\":\"", '"'),
            ("resourceVersion=", '&'),
            ("timeoutSeconds=", '&'),
            ("\"generation\":", ','),
            ("..20", '/'),
        ] {
            line = masked(&line, before, end);
        }
        line
    }
}

/// `line` with what follows `before`, up to `end` or a blank, taken out.
fn masked(line: &str, before: &str, end: char) -> String {
    let mut parts = line.split(before);
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.find([end, ' ']).map_or("", |at| &part[at..]);
        let _ = write!(whole, "{before}*{rest}");
    }
    whole
}

/// `line` with versions' ids and the ends of secrets' ARNs taken out.
fn without_ids(line: &str) -> String {
    let ends_a_secret = |text: &str| {
        text.rfind(":secret:")
            .is_some_and(|at| !text[at..].contains([' ', '"', '\'']))
    };
    let word = |c: char| c.is_ascii_alphanumeric();
    let mut clean = String::new();
    let mut rest = line;
    while !rest.is_empty() {
        let length = rest.find(|c| !word(c)).unwrap_or(rest.len());
        let (run, after) = rest.split_at(length);
        // Times, and what makes the names of temporary files.
        let digits = run.len() - run.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let run = if digits >= 6 {
            &run[..run.len() - digits]
        } else {
            run
        };
        if is_version(rest.as_bytes()) {
            clean.push_str("<id>");
            rest = &rest[36..];
            continue;
        }
        if length == 6 && clean.ends_with('-') && ends_a_secret(&clean) && !after.starts_with('-') {
            clean.push_str("<end>");
        } else {
            clean.push_str(run);
        }
        let next = after.chars().next().map_or(0, char::len_utf8);
        clean.push_str(&after[..next]);
        rest = &after[next..];
    }
    clean
}

/// Whether `text` begins with a UUID.
fn is_version(text: &[u8]) -> bool {
    text.len() >= 36
        && text[..36].iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// A form's fields by name; other bodies as they are.
fn form(body: &str) -> String {
    if body.starts_with('{') || body.is_empty() {
        return serde_json::from_str::<Value>(body)
            .map_or_else(|_| body.to_owned(), |value| value.to_string());
    }
    let fields: BTreeMap<&str, &str> = body
        .split('&')
        .filter_map(|field| field.split_once('='))
        .collect();
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    fields.join(" ")
}

pub(crate) fn shown(answer: &Result<(), Status>) -> String {
    match answer {
        Ok(()) => "ok".to_owned(),
        Err(status) => format!("{:?}: {}", status.code(), status.message()),
    }
}

fn listing(folder: &Path, root: &Path) -> Vec<String> {
    let mut entries: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    let mut lines = Vec::new();
    for path in entries {
        let meta = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().display().to_string();
        let mode = meta.permissions().mode();
        if meta.is_symlink() {
            lines.push(format!("{name} -> {}", fs::read_link(&path).unwrap().display()));
        } else if meta.is_dir() {
            lines.push(format!("{name}/ {mode:o}"));
            lines.extend(listing(&path, root));
        } else {
            let bytes = fs::read(&path).unwrap();
            lines.push(format!("{name} {mode:o} {:?}", String::from_utf8_lossy(&bytes)));
        }
    }
    lines
}
