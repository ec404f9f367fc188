//! What `docker login` stored for a registry: `config.json`, its credential helpers included.

use std::{fs::File, io::BufReader, path::Path, time::Duration};

use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential_from_reader};
use oci_client::secrets::RegistryAuth;
use tokio::time::timeout;

/// A helper may ask its own service.
const HELPER_WITHIN: Duration = Duration::from_secs(20);

/// What is stored for this registry; anonymous where nothing is, or where it cannot be had, which the log says.
pub(crate) async fn stored(config: Option<&Path>, registry: &str) -> RegistryAuth {
    let Some(config) = config else {
        return RegistryAuth::Anonymous;
    };
    let Ok(file) = File::open(config) else {
        return RegistryAuth::Anonymous;
    };
    // Docker Hub is stored under the name of its first API.
    let server = match registry {
        "index.docker.io" | "docker.io" => "https://index.docker.io/v1/",
        other => other,
    }
    .to_owned();
    // Helpers are processes that are waited for.
    let ask = tokio::task::spawn_blocking(move || get_credential_from_reader(BufReader::new(file), &server));
    let problem = match timeout(HELPER_WITHIN, ask).await {
        Ok(Ok(Ok(DockerCredential::UsernamePassword(user, password)))) => {
            return RegistryAuth::Basic(user, password);
        }
        Ok(Ok(Err(CredentialRetrievalError::NoCredentialConfigured))) => return RegistryAuth::Anonymous,
        Ok(Ok(Ok(DockerCredential::IdentityToken(_)))) => "identity tokens are not understood",
        // Not the error itself: it has what the helper printed.
        Ok(Ok(Err(_)) | Err(_)) => "it cannot be read, or its helper failed",
        Err(_) => "its helper did not answer",
    };
    tracing::warn!(registry, "asking without Docker's stored credentials: {problem}");
    RegistryAuth::Anonymous
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, prelude::BASE64_STANDARD};

    use super::*;

    #[tokio::test]
    async fn what_docker_login_stored_is_used_for_its_registry_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config.json");
        let auth = BASE64_STANDARD.encode("someone:a password");
        let config = format!(r#"{{"auths": {{"mirror.example:5000": {{"auth": "{auth}"}}}}}}"#);
        std::fs::write(&path, config).expect("a file");
        let RegistryAuth::Basic(user, password) = stored(Some(&path), "mirror.example:5000").await else {
            panic!("credentials")
        };
        assert_eq!((user.as_str(), password.as_str()), ("someone", "a password"));
        assert!(matches!(
            stored(Some(&path), "other.example").await,
            RegistryAuth::Anonymous
        ));
        assert!(matches!(
            stored(None, "mirror.example:5000").await,
            RegistryAuth::Anonymous
        ));
        std::fs::write(&path, "not JSON").expect("a file");
        assert!(matches!(
            stored(Some(&path), "mirror.example:5000").await,
            RegistryAuth::Anonymous
        ));
        let missing = folder.path().join("missing.json");
        assert!(matches!(
            stored(Some(&missing), "mirror.example:5000").await,
            RegistryAuth::Anonymous
        ));
    }
}
