//! What `kubectl` and an AWS client need to look at a run from outside, in the run's own folder.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use mountproof_run_tls::RunCa;
use serde_json::json;

use super::{aws_side::AwsSide, control_plane::KubernetesPart};

/// Writes `kubeconfig`, `aws.env` and the authority that both trust. They go with the folder, and so
/// do the keys in them.
pub(super) fn write(
    scratch: &Path,
    api: &KubernetesPart,
    aws: &AwsSide,
    region: &str,
    ca: &RunCa,
) -> io::Result<()> {
    let authority = scratch.join("ca.pem");
    private(&authority, ca.certificate_pem())?;
    // JSON is YAML, and kubectl reads either.
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "mountproof",
        "contexts": [{"name": "mountproof", "context": {"cluster": "mountproof", "user": "admin"}}],
        "clusters": [{"name": "mountproof", "cluster": {
            "server": api.url(),
            "certificate-authority-data": STANDARD.encode(ca.certificate_pem()),
        }}],
        "users": [{"name": "admin", "user": {"token": api.admin_token().expose()}}],
    });
    private(&scratch.join("kubeconfig"), &format!("{kubeconfig:#}\n"))?;
    let root = aws.root();
    let variables = format!(
        "export AWS_ENDPOINT_URL=https://{}\nexport AWS_CA_BUNDLE={}\nexport AWS_REGION={region}\n\
         export AWS_ACCESS_KEY_ID={}\nexport AWS_SECRET_ACCESS_KEY={}\n",
        aws.address(),
        authority.display(),
        root.access_key_id,
        root.secret_access_key(),
    );
    private(&scratch.join("aws.env"), &variables)
}

fn private(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?
        .write_all(text.as_bytes())
}
