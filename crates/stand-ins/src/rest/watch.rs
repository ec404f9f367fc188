//! Following a collection: a list, then a watch, and a list again whenever the watch cannot go on.

use std::{collections::VecDeque, marker::PhantomData, time::Duration};

use bytes::BytesMut;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{ApiClient, ApiError, REQUEST_DEADLINE, StatusBody, refusal};

/// Pauses after failures double from the first to the last.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// The server ends a watch after this long, and we begin it anew from where it ended.
const TIMEOUT_SECONDS: u32 = 300;

/// A server that is silent for longer than it may keep a watch open is gone.
const SILENCE: Duration = Duration::from_secs(TIMEOUT_SECONDS as u64 + 30);

/// What happened to a collection.
#[derive(Debug, Clone, PartialEq)]
pub enum Change<T> {
    /// All that is there now: at the start, and when changes may have been missed.
    Listed(Vec<T>),
    /// One object is new or changed.
    Applied(T),
    /// One object is gone; this was its last state.
    Deleted(T),
}

/// An endless stream of changes; see [`ApiClient::watch`].
#[derive(Debug)]
pub struct Watch<T> {
    client: ApiClient,
    path: String,
    state: State,
    pause: Duration,
    kind: PhantomData<fn() -> T>,
}

#[derive(Debug)]
enum State {
    /// List first.
    Unlisted,
    /// Watch from this resource version on.
    Listed(String),
    /// Lines come in.
    Watching {
        version: String,
        body: Incoming,
        buffer: BytesMut,
        lines: VecDeque<Line>,
    },
}

#[derive(Debug, Deserialize)]
struct Line {
    #[serde(rename = "type")]
    kind: String,
    object: Value,
}

#[derive(Debug, Deserialize)]
struct List {
    metadata: ListMeta,
    #[serde(default)]
    items: Option<Vec<Value>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMeta {
    resource_version: String,
}

impl<T: DeserializeOwned> Watch<T> {
    pub(super) fn new(client: ApiClient, path: &str) -> Self {
        Self {
            client,
            path: path.to_owned(),
            state: State::Unlisted,
            pause: PAUSE.0,
            kind: PhantomData,
        }
    }

    /// The next change. It waits for as long as nothing changes, and tries again, with growing
    /// pauses of up to 5 s, for as long as the server does not answer. Cancel-safe.
    pub async fn next(&mut self) -> Change<T> {
        loop {
            match self.step().await {
                Ok(Some(change)) => {
                    self.pause = PAUSE.0;
                    return change;
                }
                Ok(None) => {}
                Err(error) => {
                    if error.is_expired() {
                        self.state = State::Unlisted;
                        continue;
                    }
                    tracing::debug!(path = self.path, %error, "watch interrupted");
                    // The state is settled before this await: a dropped future loses nothing.
                    let pause = self.pause;
                    self.pause = (pause * 2).min(PAUSE.1);
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    async fn step(&mut self) -> Result<Option<Change<T>>, ApiError> {
        match &mut self.state {
            State::Unlisted => {
                let list: List = self.client.fetch(&self.path, None).await?;
                let items = list.items.unwrap_or_default();
                let items = items.into_iter().filter_map(|item| self.read(item)).collect();
                self.state = State::Listed(list.metadata.resource_version);
                Ok(Some(Change::Listed(items)))
            }
            State::Listed(version) => {
                let mark = if self.path.contains('?') { '&' } else { '?' };
                let path = format!(
                    "{}{mark}watch=true&allowWatchBookmarks=true&resourceVersion={version}&timeoutSeconds={TIMEOUT_SECONDS}",
                    self.path
                );
                let begun =
                    tokio::time::timeout(REQUEST_DEADLINE, self.client.begin(Method::GET, &path, None));
                let response = begun.await.map_err(|_| ApiError::Late {
                    method: Method::GET,
                    path: path.clone(),
                })??;
                self.state = State::Watching {
                    version: version.clone(),
                    body: response.into_body(),
                    buffer: BytesMut::new(),
                    lines: VecDeque::new(),
                };
                Ok(None)
            }
            State::Watching {
                version,
                body,
                buffer,
                lines,
            } => {
                let Some(line) = lines.pop_front() else {
                    match tokio::time::timeout(SILENCE, body.frame()).await {
                        Ok(Some(Ok(frame))) => {
                            if let Some(data) = frame.data_ref() {
                                buffer.extend_from_slice(data);
                                split(buffer, lines);
                            }
                        }
                        // The server's time is up, or the connection broke: go on where we were.
                        Ok(Some(Err(_)) | None) | Err(_) => self.state = State::Listed(version.clone()),
                    }
                    return Ok(None);
                };
                if line.kind == "ERROR" {
                    let status = StatusBody::deserialize(&line.object).unwrap_or_default();
                    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                    let error = refusal(code, line.object.to_string().as_bytes());
                    self.state = State::Unlisted;
                    return Err(error);
                }
                if let Some(seen) = line.object["metadata"]["resourceVersion"].as_str() {
                    seen.clone_into(version);
                }
                Ok(match line.kind.as_str() {
                    "ADDED" | "MODIFIED" => self.read(line.object).map(Change::Applied),
                    "DELETED" => self.read(line.object).map(Change::Deleted),
                    _ => None,
                })
            }
        }
    }

    /// An object that does not read is skipped: one odd object must not stop the rest.
    fn read(&self, object: Value) -> Option<T> {
        match serde_json::from_value(object) {
            Ok(object) => Some(object),
            Err(error) => {
                tracing::warn!(path = self.path, %error, "unreadable object");
                None
            }
        }
    }
}

/// Moves whole lines from `buffer` to `lines`.
fn split(buffer: &mut BytesMut, lines: &mut VecDeque<Line>) {
    while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
        let line = buffer.split_to(end + 1);
        match serde_json::from_slice(&line) {
            Ok(line) => lines.push_back(line),
            Err(error) => tracing::warn!(%error, "unreadable line of a watch"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_wherever_the_frames_end() {
        let text = br#"{"type":"ADDED","object":{"a":1}}
{"type":"BOOKMARK","object":{}}
"#;
        for cut in 0..text.len() {
            let (mut buffer, mut lines) = (BytesMut::new(), VecDeque::new());
            for part in [&text[..cut], &text[cut..]] {
                buffer.extend_from_slice(part);
                split(&mut buffer, &mut lines);
            }
            let kinds: Vec<_> = lines.iter().map(|line| line.kind.as_str()).collect();
            assert_eq!(kinds, ["ADDED", "BOOKMARK"], "cut at {cut}");
            assert!(buffer.is_empty());
        }
    }
}
