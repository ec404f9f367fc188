//! Bearer tokens that end, and are had anew: of a file, and of the programs that kubeconfigs name.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::{FutureExt as _, future::BoxFuture};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::kubeconfig::{Cluster, Exec};
use crate::{
    command::{Trouble, watched},
    secret::Credential,
};

/// Longest wait for a plugin, which may have to ask somebody far away.
const PLUGIN: Duration = Duration::from_mins(1);
/// How long before its end a token is no longer sent.
const SPARE: Duration = Duration::from_mins(1);
/// How long a token is taken to be good that does not say it.
const UNTOLD: Duration = Duration::from_mins(5);
/// How often a file is read again: as client-go does.
const FILE: Duration = Duration::from_mins(1);

/// Who has a bearer token for each request, and keeps it for as long as it is good.
pub trait Tokens: Send + Sync {
    /// The token of this moment.
    ///
    /// # Errors
    ///
    /// Why there is none, in words, with what to do.
    fn token(&self) -> BoxFuture<'_, Result<Credential, String>>;
}

/// A token that somebody keeps new in a file.
pub(super) struct TokenFile {
    path: PathBuf,
    read: Mutex<(Credential, Instant)>,
}

impl TokenFile {
    pub(super) fn new(path: &Path) -> Result<Self, String> {
        let token = fs::read_to_string(path)
            .map_err(|error| format!("cannot read its tokenFile `{}`: {error}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            read: Mutex::new((Credential::new(token.trim()), Instant::now())),
        })
    }
}

impl Tokens for TokenFile {
    fn token(&self) -> BoxFuture<'_, Result<Credential, String>> {
        async {
            let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            if read.1.elapsed() >= FILE {
                // Where it cannot be read the last one may be good still.
                if let Ok(token) = fs::read_to_string(&self.path) {
                    read.0 = Credential::new(token.trim());
                }
                read.1 = Instant::now();
            }
            Ok(read.0.clone())
        }
        .boxed()
    }
}

/// A program that is run for a token: `aws eks get-token` and its like
/// ([client-go credential plugins](https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins)).
///
/// Not by kube's own, which waits for ever, and shows the variables that the program is given and all that it wrote where it
/// fails.
pub(super) struct Plugin {
    program: PathBuf,
    arguments: Vec<String>,
    variables: BTreeMap<String, OsString>,
    hint: Option<String>,
    had: tokio::sync::Mutex<Option<Had>>,
}

/// A token, and until when it is sent.
#[derive(Clone)]
struct Had {
    token: Credential,
    fresh_until: Instant,
    good_until: Instant,
}

impl Plugin {
    pub(super) fn new(exec: &Exec, cluster: &Cluster) -> Result<Self, String> {
        if exec.command.is_empty() {
            return Err("its exec plugin names no command".to_owned());
        }
        if exec.interactive_mode.as_deref() == Some("Always") {
            return Err(format!(
                "its plugin {} asks at a terminal, where a run has none: give a kubeconfig with a token",
                exec.command
            ));
        }
        let mut about = json!({
            "apiVersion": exec.api_version.as_deref().unwrap_or("client.authentication.k8s.io/v1"),
            "kind": "ExecCredential",
            "spec": { "interactive": false },
        });
        if exec.provide_cluster_info {
            about["spec"]["cluster"] = info(cluster)?;
        }
        let given = exec.env.iter().flatten();
        let mut variables: BTreeMap<String, OsString> = given
            .map(|variable| (variable.name.clone(), OsString::from(&variable.value)))
            .collect();
        variables.insert("KUBERNETES_EXEC_INFO".to_owned(), about.to_string().into());
        Ok(Self {
            program: PathBuf::from(&exec.command),
            arguments: exec.args.clone().unwrap_or_default(),
            variables,
            hint: exec.install_hint.clone(),
            had: tokio::sync::Mutex::default(),
        })
    }

    /// Runs it. What it writes holds the token, and is never shown; what it complains of is.
    async fn run(&self) -> Result<Had, String> {
        let name = self.program.display();
        let complaints = Mutex::new(Vec::new());
        let heard = |line: &str| {
            let line = line.trim().to_owned();
            let mut complaints = complaints.lock().unwrap_or_else(PoisonError::into_inner);
            complaints.extend(Some(line).filter(|line| !line.is_empty()));
        };
        let variables: Vec<(&str, &OsStr)> = self
            .variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_os_str()))
            .collect();
        let ran = watched(&self.program, &self.arguments, &variables, PLUGIN, &heard).await;
        let answer = ran.map_err(|trouble| match trouble {
            Trouble::NotRun(because) => {
                let hint = self.hint.as_deref().unwrap_or("have it in PATH");
                format!("the kubeconfig's plugin {name} cannot be run: {because}; {hint}")
            }
            Trouble::Slow(after) => format!("the kubeconfig's plugin {name} did not end within {after:?}"),
            Trouble::Failed(_) => {
                let complaints = complaints.lock().unwrap_or_else(PoisonError::into_inner);
                let last: Vec<&str> = complaints
                    .iter()
                    .rev()
                    .take(3)
                    .rev()
                    .map(String::as_str)
                    .collect();
                let said = if last.is_empty() {
                    "it says nothing of why".to_owned()
                } else {
                    last.join(" | ")
                };
                format!("the kubeconfig's plugin {name} has no token: {said}")
            }
        })?;
        read(&answer, Timestamp::now()).map_err(|because| format!("the kubeconfig's plugin {name} {because}"))
    }
}

impl Tokens for Plugin {
    fn token(&self) -> BoxFuture<'_, Result<Credential, String>> {
        async {
            let mut had = self.had.lock().await;
            let now = Instant::now();
            if let Some(had) = had.as_ref().filter(|had| now < had.fresh_until) {
                return Ok(had.token.clone());
            }
            match self.run().await {
                Ok(new) => Ok(had.insert(new).token.clone()),
                // It is not over yet.
                Err(because) => match had.as_ref().filter(|had| now < had.good_until) {
                    Some(had) => Ok(had.token.clone()),
                    None => Err(because),
                },
            }
        }
        .boxed()
    }
}

/// What a plugin writes.
#[derive(Deserialize)]
struct Answer {
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    token: Option<String>,
    expiration_timestamp: Option<String>,
    client_certificate_data: Option<String>,
}

/// What a plugin wrote at this moment.
fn read(answer: &str, now: Timestamp) -> Result<Had, String> {
    // Of what is no answer nothing may be shown, not even where it goes wrong.
    let answer: Answer =
        serde_json::from_str(answer).map_err(|_| "wrote no ExecCredential in JSON".to_owned())?;
    let status = answer.status.ok_or("answers without a status")?;
    let token =
        match status {
            Status {
                token: Some(token), ..
            } if !token.trim().is_empty() => token,
            Status {
                client_certificate_data: Some(_),
                ..
            } => return Err(
                "hands out certificates, and only tokens can be used; give a kubeconfig with the certificate"
                    .to_owned(),
            ),
            _ => return Err("answers without a token".to_owned()),
        };
    let good_for = match &status.expiration_timestamp {
        None => UNTOLD,
        Some(until) => {
            let until: Timestamp = until
                .parse()
                .map_err(|_| "answers with an expirationTimestamp that is none".to_owned())?;
            Duration::try_from(until.duration_since(now)).unwrap_or_default()
        }
    };
    let began = Instant::now();
    Ok(Had {
        token: Credential::new(token.trim()),
        fresh_until: began + good_for.saturating_sub(SPARE),
        good_until: began + good_for,
    })
}

/// What `provideClusterInfo` asks for.
fn info(cluster: &Cluster) -> Result<Value, String> {
    use base64::{Engine as _, prelude::BASE64_STANDARD as STANDARD};
    let mut info = json!({ "server": cluster.server });
    if let Some(trust) = cluster.trust()? {
        info["certificate-authority-data"] = json!(STANDARD.encode(trust));
    }
    if let Some(name) = &cluster.tls_server_name {
        info["tls-server-name"] = json!(name);
    }
    Ok(info)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;

    fn plugin(script: &str) -> (tempfile::TempDir, Plugin) {
        let folder = tempfile::tempdir().unwrap();
        let exec: Exec = serde_json::from_value(json!({
            "apiVersion": "client.authentication.k8s.io/v1beta1",
            "command": "sh",
            "args": ["-c", script],
            "env": [{ "name": "FOLDER", "value": folder.path() }],
            "provideClusterInfo": true,
        }))
        .unwrap();
        let cluster: Cluster = serde_json::from_value(json!({ "server": "https://x" })).unwrap();
        let plugin = Plugin::new(&exec, &cluster).unwrap();
        (folder, plugin)
    }

    /// Counts how often it was run, and answers with that.
    const COUNTS: &str = r#"echo x >> $FOLDER/runs; echo "{\"status\":{\"token\":\"t$(wc -l < $FOLDER/runs)\",\"expirationTimestamp\":\"ENDS\"}}""#;

    #[tokio::test]
    async fn a_plugin_is_run_again_when_its_token_is_about_to_end() {
        for (ends, tokens) in [
            ("2199-01-01T00:00:00Z", ["t1", "t1"]),
            ("2001-01-01T00:00:00Z", ["t1", "t2"]),
        ] {
            let (_folder, plugin) = plugin(&COUNTS.replace("ENDS", ends));
            for expected in tokens {
                assert_eq!(plugin.token().await.unwrap().expose(), expected, "{ends}");
            }
        }
    }

    #[tokio::test]
    async fn a_plugin_is_told_of_the_cluster_and_what_it_complains_of_is_told_but_nothing_else() {
        let (_folder, plugin) =
            plugin(r#"echo secret-answer; echo "no login: $KUBERNETES_EXEC_INFO" >&2; exit 1"#);
        let error = plugin.token().await.err().unwrap();
        assert!(
            error.contains("no login: ") && error.contains(r#""server":"https://x""#),
            "{error}"
        );
        assert!(!error.contains("secret-answer"), "{error}");
    }

    #[tokio::test]
    async fn a_plugin_that_is_not_there_says_how_it_is_had() {
        let exec: Exec =
            serde_json::from_value(json!({ "command": "/nowhere/plugin", "installHint": "install it" }))
                .unwrap();
        let cluster: Cluster = serde_json::from_value(json!({})).unwrap();
        let error = Plugin::new(&exec, &cluster).unwrap().token().await.err().unwrap();
        assert!(
            error.contains("/nowhere/plugin") && error.contains("install it"),
            "{error}"
        );
    }

    #[test]
    fn what_is_no_answer_is_told_without_it() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        for (answer, said) in [
            ("secret", "no ExecCredential"),
            (r#"{"token":"secret"}"#, "without a status"),
            (r#"{"status":{"token":""}}"#, "without a token"),
            (r#"{"status":{"clientCertificateData":"secret"}}"#, "certificates"),
            (
                r#"{"status":{"token":"secret","expirationTimestamp":"soon"}}"#,
                "expirationTimestamp",
            ),
        ] {
            let error = read(answer, now).err().unwrap();
            assert!(
                error.contains(said) && !error.contains("secret"),
                "{answer}: {error}"
            );
        }
        let had = read(
            r#"{"status":{"token":"t","expirationTimestamp":"2026-01-01T00:14:00Z"}}"#,
            now,
        )
        .unwrap();
        let left = had.good_until.saturating_duration_since(Instant::now());
        assert!(left <= Duration::from_mins(14) && had.fresh_until < had.good_until);
    }

    #[tokio::test]
    async fn a_token_of_a_file_is_taken_without_its_line_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "of-a-file\n").unwrap();
        let tokens = TokenFile::new(&path).unwrap();
        assert_eq!(tokens.token().await.unwrap().expose(), "of-a-file");
    }
}
