//! What the real driver 1.6.0 and provider 3.1.1 were seen to say and do, side by side with these
//! stand-ins (`tests/side_by_side`), where it is not what one would expect.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use mountproof_csi_protocol::{
    connect,
    csi::{GetPluginInfoRequest, NodeUnpublishVolumeRequest, identity_client::IdentityClient},
    provider::{File, MountResponse},
};
use mountproof_stand_ins::{
    defects::{DriverDefects, ProviderDefects, Shared},
    driver::{DriverConfig, MountKind},
    provider::ProviderConfig,
};
use serde_json::json;
use tonic::Code;

use crate::{
    driver,
    provider::{self, text},
};

const GO: &str = "Failed to load SecretProviderClass: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal";
const YAML: &str = "Failed to load SecretProviderClass: error converting YAML to JSON: yaml:";

/// A driver as it was released, on a bench.
async fn driver(change: impl FnOnce(&mut DriverConfig)) -> driver::Bench {
    let released = |config: &mut DriverConfig| {
        config.defects = Shared::new(DriverDefects::as_released());
        change(config);
    };
    driver::Bench::start(released).await
}

/// A provider as it was released, on a bench.
async fn provider(change: impl FnOnce(&mut ProviderConfig)) -> provider::Bench {
    let released = |config: &mut ProviderConfig| {
        config.defects = Shared::new(ProviderDefects::as_released());
        change(config);
    };
    provider::Bench::start(released).await
}

#[tokio::test]
async fn the_driver_says_its_version_with_a_v() {
    let bench = driver(|_| {}).await;
    let mut identity = IdentityClient::new(connect(bench.driver.csi_socket()));
    let info = identity.get_plugin_info(GetPluginInfoRequest {}).await.unwrap();
    assert_eq!(info.into_inner().vendor_version, "v1.6.0");
}

/// The real driver has the status object in a cache: it creates, is told that there is one, and
/// replaces it, without reading it.
#[tokio::test]
async fn a_republish_updates_the_status_object_without_reading_it() {
    let bench = driver(|config| config.rotation = Some(Duration::ZERO)).await;
    bench.publish("class").await.unwrap();
    bench.publish("class").await.unwrap();
    bench.publish("class").await.unwrap();
    let requests = bench.api.requests();
    let methods: Vec<&str> = requests
        .iter()
        .filter(|request| request.contains("podstatuses"))
        .filter_map(|request| request.split(' ').next())
        .collect();
    assert_eq!(methods, ["POST", "POST", "PUT", "POST", "PUT"]);
}

#[tokio::test]
async fn a_folder_that_had_files_below_the_mount_is_left_with_an_error() {
    let bench = driver(|config| config.mount = MountKind::Auto).await;
    if bench.driver.mount_kind() == MountKind::Directory {
        return;
    }
    fs::create_dir_all(bench.target()).unwrap();
    fs::write(bench.target().join("left"), "x").unwrap();
    bench.publish("class").await.unwrap();
    let request = NodeUnpublishVolumeRequest {
        volume_id: "csi-1".to_owned(),
        target_path: bench.target().display().to_string(),
    };
    let status = bench.client().node_unpublish_volume(request).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    assert_eq!(
        status.message(),
        format!("remove {}: directory not empty", bench.target().display())
    );
}

/// Go's file modes keep set-uid and the like outside of the bits that a number gives.
#[tokio::test]
async fn only_the_nine_permission_bits_take_effect() {
    let bench = driver(|_| {}).await;
    bench.script(|_| {
        Ok(MountResponse {
            object_version: vec![driver::version("secret")],
            files: vec![File {
                path: "secret".to_owned(),
                mode: 0o4755,
                contents: b"x".to_vec(),
            }],
            ..MountResponse::default()
        })
    });
    bench.publish("class").await.unwrap();
    let written = fs::metadata(bench.target().join("secret")).unwrap();
    assert_eq!(written.permissions().mode() & 0o7777, 0o755);

    let bench = provider(|_| {}).await;
    let objects = "- {objectName: red/secret, objectType: secretsmanager, filePermission: '4755'}";
    bench.mount("red", json!({"objects": objects})).await.unwrap();
    assert_eq!(bench.file("red", "red_secret").1, 0o755);
}

/// STS's own client tries three times; the call that wants the credentials does not begin again.
#[tokio::test]
async fn a_token_that_sts_cannot_read_is_sent_three_times() {
    let bench = provider(|_| {}).await;
    let objects = "- {objectName: red/secret, objectType: secretsmanager}";
    let status = bench.refused("no-jwt", json!({"objects": objects})).await;
    assert_eq!(
        text(&status),
        "us-east-1: Failed fetching secret red/secret: operation error Secrets Manager: GetSecretValue, get identity: get credentials: failed to refresh cached credentials, failed to retrieve credentials, operation error STS: AssumeRoleWithWebIdentity, exceeded maximum number of attempts, 3, https response error StatusCode: 400, RequestID: r, InvalidIdentityToken: The ID Token provided is not a valid JWT."
    );
    assert_eq!(bench.calls(), (3, 0));
}

#[tokio::test]
async fn what_is_no_json_or_of_another_shape_is_told_in_gos_words() {
    let bench = provider(|_| {}).await;
    for (tokens, said) in [
        ("{\"sts.amazonaws.com\": ", "unexpected end of JSON input"),
        (
            "[1]",
            "json: cannot unmarshal array into Go value of type map[string]utils.ServiceAccountToken",
        ),
        (
            "{\"sts.amazonaws.com\": 1}",
            "json: cannot unmarshal number into Go value of type utils.ServiceAccountToken",
        ),
    ] {
        let status = bench
            .refused("red", json!({"csi.storage.k8s.io/serviceAccount.tokens": tokens}))
            .await;
        assert_eq!(
            text(&status),
            format!(
                "CSI token error: failed to parse serviceAccount.tokens: {said} - ensure tokenRequests is configured in CSIDriver spec"
            )
        );
    }
    for (objects, said) in [
        (
            "text",
            format!("{GO} string into Go value of type []*provider.SecretDescriptor"),
        ),
        (
            "- [1]",
            format!("{GO} array into Go value of type provider.SecretDescriptor"),
        ),
        (
            "- {objectName: [a]}",
            format!("{GO} array into Go struct field SecretDescriptor.objectName of type string"),
        ),
        (
            "- objectName: [",
            format!("{YAML} line 1: did not find expected node content"),
        ),
        (
            "- objectName: a\n objectType: b",
            format!("{YAML} line 1: did not find expected '-' indicator"),
        ),
        (
            "\t- objectName: a",
            format!("{YAML} found character that cannot start any token"),
        ),
        (
            "- {objectName: a, objectName: b}",
            "Must use objectType when a full ARN is not specified: b".to_owned(),
        ),
        (
            "- {objectName: a, objectType: secretsmanager, jmesPath: [null]}",
            "Path must be specified for JMES object".to_owned(),
        ),
    ] {
        let status = bench.refused("red", json!({"objects": objects})).await;
        assert_eq!(text(&status), said, "{objects}");
    }
    assert_eq!(bench.calls(), (0, 0), "AWS is not asked");
}

#[tokio::test]
async fn names_that_are_folders_are_refused_when_they_are_renamed() {
    let bench = provider(|_| {}).await;
    let folder = bench.folder.path().join("red");
    for (alias, place) in [("..", bench.folder.path()), (".", folder.as_path())] {
        let objects =
            format!("- {{objectName: red/secret, objectType: secretsmanager, objectAlias: '{alias}'}}");
        let status = bench.refused("red", json!({"objects": objects})).await;
        let said = text(&status);
        assert!(
            said.starts_with(&format!("rename {}/{alias}", folder.display())),
            "{said}"
        );
        assert!(
            said.ends_with(&format!(" {}: file exists", place.display())),
            "{said}"
        );
    }
    assert_eq!(
        fs::read_dir(&folder).unwrap().count(),
        0,
        "no temporary file is left"
    );
}

#[tokio::test]
async fn the_providers_log_begins_and_fails_as_the_real_one_does() {
    let bench = provider(|config| config.region = None).await;
    for line in [
        "Starting secrets-store-csi-driver-provider-aws version 3.1.1",
        "This provider requires tokenRequests to be configured in the CSIDriver spec (audiences: sts.amazonaws.com, pods.eks.amazonaws.com)",
        "Listening for connections on address: ",
    ] {
        assert!(bench.logged(line), "{line}");
    }
    bench.refused("red", json!({})).await;
    let logged = "\"Failed to initialize AWS session\" err=\"failed to retrieve region from node. error ";
    assert!(bench.logged(logged), "{:?}", bench.provider.log());
}
