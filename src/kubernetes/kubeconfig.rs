//! Access by a kubeconfig, whoever wrote it: `kubectl`, `aws eks update-kubeconfig`, `kind`.
//!
//! Files are found, read and merged as `kubectl` does
//! ([organizing cluster access](https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/)). TLS is
//! verified always: what asks for anything else is refused, as is what this client cannot do, before anybody is asked
//! anything.

use std::{
    env, fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::{Engine as _, prelude::BASE64_STANDARD as STANDARD};
use kube::config::Kubeconfig as Read;
use serde::Deserialize;
use serde_json::Value;

use super::{
    Identity, KubernetesAccess,
    tokens::{Plugin, TokenFile},
};
use crate::secret::Credential;

/// Files that say how clusters are reached, the first of which wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kubeconfigs(Vec<PathBuf>);

impl Kubeconfigs {
    /// The file that was named; else those of `KUBECONFIG`; else `~/.kube/config`.
    #[must_use]
    pub fn of(named: Option<&Path>) -> Self {
        if let Some(named) = named {
            return Self(vec![named.to_owned()]);
        }
        let listed = env::var_os("KUBECONFIG").unwrap_or_default();
        let listed: Vec<PathBuf> = env::split_paths(&listed)
            .filter(|path| !path.as_os_str().is_empty())
            .collect();
        if !listed.is_empty() {
            return Self(listed);
        }
        let home = env::home_dir().map(|home| home.join(".kube/config"));
        Self(home.into_iter().collect())
    }

    /// These files.
    #[must_use]
    pub fn at(paths: Vec<PathBuf>) -> Self {
        Self(paths)
    }

    /// The files, where they are from any folder.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        let whole = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        self.0.iter().map(whole).collect()
    }

    fn read(&self) -> Result<Read, String> {
        let mut merged = Read::default();
        let mut found = false;
        for path in &self.0 {
            // One of a list may be missing, as with kubectl.
            match fs::metadata(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    return Err(format!(
                        "cannot read the kubeconfig `{}`: {error}",
                        path.display()
                    ));
                }
                Ok(_) => found = true,
            }
            let read = Read::read_from(path);
            let read = read.map_err(|error| format!("the kubeconfig `{}`: {error}", path.display()))?;
            merged = merged.merge(read).map_err(|error| error.to_string())?;
        }
        if found {
            Ok(merged)
        } else {
            Err(format!(
                "there is no kubeconfig at {self}; name one with --kubeconfig FILE, or with KUBECONFIG"
            ))
        }
    }
}

impl fmt::Display for Kubeconfigs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths: Vec<String> = self.0.iter().map(|path| path.display().to_string()).collect();
        f.write_str(&paths.join(", "))
    }
}

/// A context of a kubeconfig.
pub struct FoundContext {
    /// Its name.
    pub name: String,
    /// What it is the way to.
    pub access: KubernetesAccess,
}

impl KubernetesAccess {
    /// What these files say of a context, or of the current one.
    ///
    /// Nothing is asked yet: a plugin runs when the first request is made.
    ///
    /// # Errors
    ///
    /// In words, with what to do.
    pub fn of_context(files: &Kubeconfigs, context: Option<&str>) -> Result<FoundContext, String> {
        of_read(&files.read()?, context).map_err(|because| format!("{because} (in {files})"))
    }

    /// What a kubeconfig says of its current context. Files that it names are looked for in the working folder.
    ///
    /// # Errors
    ///
    /// In words, with what to do.
    pub fn of_kubeconfig(text: &str) -> Result<Self, String> {
        let read = Read::from_yaml(text).map_err(|error| error.to_string())?;
        of_read(&read, None).map(|found| found.access)
    }
}

fn of_read(read: &Read, context: Option<&str>) -> Result<FoundContext, String> {
    // By way of JSON, in which tokens and keys are not hidden.
    let kubeconfig: Kubeconfig = serde_json::to_value(read)
        .and_then(serde_json::from_value)
        .map_err(|error| error.to_string())?;
    let name = context
        .map(str::to_owned)
        .or_else(|| kubeconfig.current_context.clone());
    let name = name.ok_or_else(|| {
        let names: Vec<&str> = kubeconfig
            .contexts
            .iter()
            .map(|entry| entry.name.as_str())
            .collect();
        format!(
            "no context is the current one; name one with --context: {}",
            names.join(", ")
        )
    })?;
    let context: &Context = named(&kubeconfig.contexts, &name, "context")?;
    let cluster: &Cluster = named(&kubeconfig.clusters, &context.cluster, "cluster")?;
    cluster
        .check()
        .map_err(|because| format!("cluster {}: {because}", context.cluster))?;
    let user: &User = named(&kubeconfig.users, &context.user, "user")?;
    let user_said = |because| format!("user {}: {because}", context.user);
    Ok(FoundContext {
        access: KubernetesAccess {
            url: cluster.server.clone(),
            trust_pem: cluster.trust()?,
            server_name: cluster.tls_server_name.clone(),
            identity: user.identity(cluster).map_err(user_said)?,
        },
        name,
    })
}

/// The parts of a kubeconfig that are read. Never shown: it holds keys.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Kubeconfig {
    current_context: Option<String>,
    #[serde(default)]
    contexts: Vec<Named<Context>>,
    #[serde(default)]
    clusters: Vec<Named<Cluster>>,
    #[serde(default)]
    users: Vec<Named<User>>,
}

/// One of a list; each list has a key of its own for what is named.
#[derive(Deserialize)]
struct Named<T> {
    name: String,
    #[serde(alias = "context", alias = "cluster", alias = "user")]
    what: Option<T>,
}

#[derive(Deserialize)]
struct Context {
    cluster: String,
    #[serde(default)]
    user: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Cluster {
    #[serde(default)]
    pub(super) server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    #[serde(default)]
    insecure_skip_tls_verify: bool,
    proxy_url: Option<String>,
    pub(super) tls_server_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
    exec: Option<Exec>,
    username: Option<String>,
    auth_provider: Option<Value>,
    #[serde(rename = "as")]
    impersonate: Option<String>,
}

/// A program that knows who asks: `client.authentication.k8s.io`.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Exec {
    pub(super) api_version: Option<String>,
    #[serde(default)]
    pub(super) command: String,
    pub(super) args: Option<Vec<String>>,
    pub(super) env: Option<Vec<Variable>>,
    pub(super) install_hint: Option<String>,
    pub(super) interactive_mode: Option<String>,
    #[serde(default)]
    pub(super) provide_cluster_info: bool,
}

#[derive(Clone, Deserialize)]
pub(super) struct Variable {
    pub(super) name: String,
    #[serde(default)]
    pub(super) value: String,
}

fn named<'a, T>(entries: &'a [Named<T>], name: &str, what: &str) -> Result<&'a T, String> {
    let found = entries.iter().find(|entry| entry.name == name);
    found.and_then(|entry| entry.what.as_ref()).ok_or_else(|| {
        let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        let others = if names.is_empty() {
            String::new()
        } else {
            format!("; there are: {}", names.join(", "))
        };
        format!("it has no {what} {name}{others}")
    })
}

impl Cluster {
    fn check(&self) -> Result<(), String> {
        if self.insecure_skip_tls_verify {
            return Err(
                "insecure-skip-tls-verify is set, and mountproof talks to nobody whose certificate it has not verified: give \
                 its certificate-authority in the kubeconfig instead"
                    .to_owned(),
            );
        }
        if let Some(proxy) = self.proxy_url.as_ref().filter(|proxy| !proxy.is_empty()) {
            return Err(format!(
                "it is reached through {proxy} (proxy-url), which mountproof cannot: run it where the API is reached directly"
            ));
        }
        if !self.server.starts_with("https://") {
            return Err(format!("its server {:?} is no https:// address", self.server));
        }
        Ok(())
    }

    /// The authorities of it, as PEM.
    pub(super) fn trust(&self) -> Result<Option<String>, String> {
        text(
            "certificate-authority",
            self.certificate_authority_data.as_deref(),
            self.certificate_authority.as_deref(),
        )
    }
}

impl User {
    fn identity(&self, cluster: &Cluster) -> Result<Identity, String> {
        if self.impersonate.is_some() {
            return Err(
                "it acts as somebody else (`as`), which mountproof does not: name that user itself"
                    .to_owned(),
            );
        }
        // In kubectl's order: a token that stands there comes before a file of one, and both before a plugin.
        if let Some(token) = self.token.as_ref().filter(|token| !token.is_empty()) {
            return Ok(Identity::Token(Credential::new(token)));
        }
        if let Some(file) = &self.token_file {
            return Ok(Identity::Renewed(Arc::new(TokenFile::new(file)?)));
        }
        let certificate = text(
            "client-certificate",
            self.client_certificate_data.as_deref(),
            self.client_certificate.as_deref(),
        )?;
        if let Some(certificate_pem) = certificate {
            let key = text(
                "client-key",
                self.client_key_data.as_deref(),
                self.client_key.as_deref(),
            )?;
            let key = key.ok_or("it has a client-certificate and no client-key")?;
            return Ok(Identity::Certificate {
                certificate_pem,
                key_pem: Credential::new(&key),
            });
        }
        if let Some(exec) = &self.exec {
            return Ok(Identity::Renewed(Arc::new(Plugin::new(exec, cluster)?)));
        }
        Err(match (&self.auth_provider, &self.username) {
            (Some(provider), _) => format!(
                "its auth-provider {} is none any more since Kubernetes 1.26: have the kubeconfig written anew, with an exec plugin",
                provider["name"]
            ),
            (None, Some(_)) => {
                "a name and a password are no way in any more since Kubernetes 1.19: give a token, a certificate or a plugin".to_owned()
            }
            (None, None) => "it has neither token, certificate nor exec plugin".to_owned(),
        })
    }
}

/// A text that stands in the kubeconfig itself, in base64, or in a file.
fn text(what: &str, data: Option<&str>, file: Option<&Path>) -> Result<Option<String>, String> {
    if let Some(data) = data.filter(|data| !data.is_empty()) {
        let bytes = STANDARD.decode(data.trim());
        let bytes = bytes.map_err(|error| format!("{what}-data: {error}"))?;
        let text = String::from_utf8(bytes).map_err(|error| format!("{what}-data: {error}"))?;
        return Ok(Some(text));
    }
    let Some(file) = file else { return Ok(None) };
    let read = fs::read_to_string(file);
    read.map(Some)
        .map_err(|error| format!("cannot read its {what} `{}`: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn encoded(text: &str) -> String {
        STANDARD.encode(text)
    }

    fn kubeconfig(cluster: &Value, user: &Value) -> String {
        let mut whole = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "preferences": {},
            "current-context": "a",
            "contexts": [
                { "name": "b", "context": { "cluster": "b", "user": "b" } },
                { "name": "a", "context": { "cluster": "a", "user": "a" } },
            ],
            "clusters": [{ "name": "a", "cluster": { "server": "https://127.0.0.1:40000",
                "certificate-authority-data": encoded("CA") } }],
            "users": [{ "name": "a", "user": user }],
        });
        let fields: BTreeMap<String, Value> = serde_json::from_value(cluster.clone()).unwrap();
        for (name, value) in fields {
            whole["clusters"][0]["cluster"][name] = value;
        }
        whole.to_string()
    }

    fn access(text: &str) -> KubernetesAccess {
        KubernetesAccess::of_kubeconfig(text).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_kubeconfig_of_kind_is_read() {
        let user =
            json!({ "client-certificate-data": encoded("CERTIFICATE"), "client-key-data": encoded("KEY") });
        let text = kubeconfig(&json!({}), &user);
        let access = access(&text);
        assert_eq!(
            (access.url.as_str(), access.trust_pem.as_deref()),
            ("https://127.0.0.1:40000", Some("CA"))
        );
        let Identity::Certificate {
            certificate_pem,
            key_pem,
        } = access.identity
        else {
            panic!("it has a certificate");
        };
        assert_eq!(
            (certificate_pem.as_str(), key_pem.expose()),
            ("CERTIFICATE", "KEY")
        );
        let missing = text.replace(r#""current-context":"a""#, r#""current-context":"c""#);
        assert_ne!(missing, text);
        let error = KubernetesAccess::of_kubeconfig(&missing).err();
        assert_eq!(error.as_deref(), Some("it has no context c; there are: b, a"));
    }

    #[test]
    fn what_a_kubeconfig_asks_for_that_cannot_be_is_refused_with_what_to_do() {
        let token = json!({ "token": "t" });
        for (cluster, user, said) in [
            (
                json!({ "insecure-skip-tls-verify": true }),
                token.clone(),
                "give its certificate-authority",
            ),
            (
                json!({ "proxy-url": "socks5://x" }),
                token.clone(),
                "reached directly",
            ),
            (
                json!({ "server": "http://x" }),
                token.clone(),
                "no https:// address",
            ),
            (
                json!({ "certificate-authority-data": "!" }),
                token.clone(),
                "certificate-authority-data",
            ),
            (
                json!({}),
                json!({ "token": "t", "as": "x" }),
                "acts as somebody else",
            ),
            (
                json!({}),
                json!({ "username": "u", "password": "p" }),
                "a password",
            ),
            (
                json!({}),
                json!({ "auth-provider": { "name": "gcp", "config": {} } }),
                "an exec plugin",
            ),
            (json!({}), json!({}), "neither token, certificate nor exec plugin"),
            (
                json!({}),
                json!({ "tokenFile": "/nowhere/token" }),
                "/nowhere/token",
            ),
            (
                json!({}),
                json!({ "client-certificate-data": encoded("C") }),
                "no client-key",
            ),
            (
                json!({}),
                json!({ "exec": { "command": "x", "interactiveMode": "Always" } }),
                "asks at a terminal",
            ),
        ] {
            let error = KubernetesAccess::of_kubeconfig(&kubeconfig(&cluster, &user)).err();
            let error = error.unwrap_or_else(|| panic!("{cluster} {user} is taken"));
            assert!(error.contains(said), "{cluster} {user}: {error}");
        }
    }

    #[test]
    fn another_context_than_the_current_one_is_named_and_files_are_merged() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        fs::write(&one, kubeconfig(&json!({}), &json!({ "token": "of-one" }))).unwrap();
        fs::write(folder.path().join("ca.pem"), "OTHER CA").unwrap();
        let others = json!({
            "current-context": "a",
            "contexts": [{ "name": "other", "context": { "cluster": "other", "user": "other" } }],
            // Relative to the file that names it.
            "clusters": [{ "name": "other", "cluster": { "server": "https://other", "tls-server-name": "name",
                "certificate-authority": "ca.pem" } }],
            "users": [{ "name": "other", "user": { "token": "of-other" } }, { "name": "a", "user": { "token": "lost" } }],
        });
        fs::write(&other, others.to_string()).unwrap();
        let files = Kubeconfigs::at(vec![one, folder.path().join("missing"), other]);
        let token = |found: &FoundContext| match &found.access.identity {
            Identity::Token(token) => token.expose().to_owned(),
            _ => panic!("it has a token"),
        };
        let current = KubernetesAccess::of_context(&files, None).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((current.name.as_str(), token(&current).as_str()), ("a", "of-one"));
        let found =
            KubernetesAccess::of_context(&files, Some("other")).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(token(&found), "of-other");
        assert_eq!(
            (
                found.access.trust_pem.as_deref(),
                found.access.server_name.as_deref()
            ),
            (Some("OTHER CA"), Some("name"))
        );
        let none = Kubeconfigs::at(vec![folder.path().join("missing")]);
        let error = KubernetesAccess::of_context(&none, None).err().unwrap();
        assert!(error.contains("--kubeconfig FILE"), "{error}");
    }
}
