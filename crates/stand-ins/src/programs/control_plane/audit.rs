//! What components ask of the API server, from its audit log
//! (<https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/>).

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::kubernetes::{RequestKind, Requests, User};

/// The requests that users of its policy made since the API server started. An audit log says nothing about connections, so
/// that [`Requests::handshakes`] is always 0. Clones share what was read.
#[derive(Debug, Clone)]
pub struct AuditLog {
    path: PathBuf,
    read: Arc<Mutex<Counted>>,
}

/// What was read so far.
#[derive(Debug, Default)]
struct Counted {
    /// To the end of the last whole line.
    bytes: u64,
    requests: BTreeMap<RequestKind, Requests>,
}

impl AuditLog {
    pub(super) fn at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            read: Arc::default(),
        }
    }

    /// Every kind that was asked for, by requests that have been answered.
    pub fn by_kind(&self) -> io::Result<BTreeMap<RequestKind, Requests>> {
        let mut counted = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let mut new = String::new();
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(counted.bytes))?;
        file.read_to_string(&mut new)?;
        // A line that is being written is the next look's.
        let whole = new.rfind('\n').map_or("", |end| &new[..=end]);
        for line in whole.lines() {
            let kind = kind(line).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if let Some(kind) = kind {
                counted.requests.entry(kind).or_default().number += 1;
            }
        }
        counted.bytes += whole.len() as u64;
        Ok(counted.requests.clone())
    }
}

/// The policy under which every request of these users is logged once, when it is answered, and nobody else's.
pub(super) fn policy(users: &[User]) -> Value {
    let names: Vec<&str> = users.iter().map(|user| user.name.as_str()).collect();
    let mut rules = vec![json!({ "level": "None" })];
    // A rule that names nobody is one for everybody.
    if !names.is_empty() {
        rules.insert(0, json!({ "level": "Metadata", "users": names }));
    }
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived", "ResponseStarted", "Panic"],
        "rules": rules,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    verb: String,
    user: Named,
    #[serde(default)]
    user_agent: String,
    object_ref: Option<Object>,
}

#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Object {
    resource: String,
    namespace: String,
    api_group: String,
    subresource: String,
}

/// What a line of the log counts as; nothing where it is about no resource, such as `/version`.
fn kind(line: &str) -> Result<Option<RequestKind>, serde_json::Error> {
    let event: Event = serde_json::from_str(line)?;
    let Some(object) = event.object_ref else {
        return Ok(None);
    };
    let mut resource = object.resource;
    for (before, part) in [('.', object.api_group), ('/', object.subresource)] {
        if !part.is_empty() {
            resource.push(before);
            resource.push_str(&part);
        }
    }
    Ok(Some(RequestKind {
        user: event.user.username,
        namespace: object.namespace,
        verb: verb(&event.verb),
        resource,
        user_agent: event.user_agent,
    }))
}

fn verb(said: &str) -> &'static str {
    let known = [
        "get",
        "list",
        "watch",
        "create",
        "update",
        "patch",
        "delete",
        "deletecollection",
    ];
    known.into_iter().find(|verb| *verb == said).unwrap_or("other")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a panic is the failure")]
mod tests {
    use std::{fs::OpenOptions, io::Write as _};

    use super::*;

    /// As kube-apiserver 1.36.3 wrote it, without its annotations.
    const CREATED: &str = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"b1f7","stage":"ResponseComplete","requestURI":"/apis/secrets-store.csi.x-k8s.io/v1/namespaces/a/secretproviderclasspodstatuses","verb":"create","user":{"username":"u","uid":"u","groups":["g"]},"sourceIPs":["127.0.0.1"],"userAgent":"csi/v1.6.0","objectRef":{"resource":"secretproviderclasspodstatuses","namespace":"a","name":"p","apiGroup":"secrets-store.csi.x-k8s.io","apiVersion":"v1"},"responseStatus":{"metadata":{},"code":201},"requestReceivedTimestamp":"2026-11-26T08:00:00.000000Z","stageTimestamp":"2026-11-26T08:00:00.010000Z"}"#;
    const TOKEN: &str = r#"{"verb":"create","user":{"username":"u"},"objectRef":{"resource":"serviceaccounts","namespace":"a","name":"default","apiVersion":"v1","subresource":"token"}}"#;
    const VERSION: &str = r#"{"verb":"get","user":{"username":"u"},"requestURI":"/version"}"#;

    fn names(log: &AuditLog) -> Vec<(String, u64)> {
        let by_kind = log.by_kind().unwrap().into_iter();
        by_kind
            .map(|(kind, requests)| {
                (
                    format!("{} {} {}", kind.verb, kind.namespace, kind.resource),
                    requests.number,
                )
            })
            .collect()
    }

    #[test]
    fn whole_lines_are_counted_once_whenever_they_come() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let mut file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        let log = AuditLog::at(&path);
        assert_eq!(names(&log), []);

        let (begin, end) = TOKEN.split_at(30);
        write!(file, "{CREATED}\n{VERSION}\n{begin}").unwrap();
        let statuses = "create a secretproviderclasspodstatuses.secrets-store.csi.x-k8s.io".to_owned();
        assert_eq!(names(&log), [(statuses.clone(), 1)]);
        assert_eq!(names(&log), [(statuses.clone(), 1)]);

        writeln!(file, "{end}\n{CREATED}").unwrap();
        let token = "create a serviceaccounts/token".to_owned();
        assert_eq!(names(&log), [(statuses, 2), (token, 1)]);
    }

    #[test]
    fn only_the_users_requests_are_logged() {
        let user = User {
            name: "u".to_owned(),
            groups: Vec::new(),
        };
        let rules = |users: &[User]| policy(users)["rules"].clone();
        let nobody = json!([{ "level": "None" }]);
        assert_eq!(rules(&[]), nobody);
        let one = json!([{ "level": "Metadata", "users": ["u"] }, { "level": "None" }]);
        assert_eq!(rules(&[user]), one);
    }

    #[test]
    fn what_is_no_event_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let log = AuditLog::at(&path);
        assert!(log.by_kind().is_err(), "there is no log");
        std::fs::write(&path, "trouble\n").unwrap();
        assert!(log.by_kind().is_err());
    }
}
