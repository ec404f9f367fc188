//! What is asked of both.

use std::{fs, time::Duration};

use mountproof_csi_protocol::{
    connect,
    csi::{
        GetPluginCapabilitiesRequest, GetPluginInfoRequest, NodeExpandVolumeRequest,
        NodeGetCapabilitiesRequest, NodeGetInfoRequest, NodeGetVolumeStatsRequest, NodeStageVolumeRequest,
        NodeUnpublishVolumeRequest, NodeUnstageVolumeRequest, ProbeRequest, identity_client::IdentityClient,
        node_client::NodeClient,
    },
    provider::{VersionRequest, csi_driver_provider_client::CsiDriverProviderClient},
};
use serde_json::{Value, json};

use crate::{
    aws::REGION,
    bench::{Bench, Volume, shown},
};

pub(crate) fn aws(objects: &str) -> Value {
    json!({"provider": "aws", "parameters": {"objects": objects}})
}

pub(crate) fn with(mut spec: Value, parameters: &[(&str, &str)]) -> Value {
    for (name, value) in parameters {
        spec["parameters"][*name] = (*value).into();
    }
    spec
}

pub(crate) fn named(name: &str) -> Value {
    aws(&format!("- {{objectName: '{name}', objectType: secretsmanager}}"))
}

pub(crate) async fn mount(bench: &mut Bench, case: &str, spec: Value) -> Volume {
    bench.case(case).await;
    let volume = bench.pod("red", spec).await;
    bench.publish(&volume).await;
    volume
}

pub(crate) async fn arn(bench: &Bench, name: &str) -> (String, Value) {
    let found = bench
        .world
        .aws
        .secrets("DescribeSecret", json!({"SecretId": name}))
        .await;
    (
        found["ARN"].as_str().unwrap().to_owned(),
        found["VersionIdsToStages"].clone(),
    )
}

pub(crate) async fn mounts(bench: &mut Bench) {
    bench.case("start").await;
    identity(bench).await;
    mount(bench, "by name", named("red/secret")).await;
    let (by_arn, _) = arn(bench, "red/secret").await;
    mount(bench, "by ARN", aws(&format!("- objectName: '{by_arn}'"))).await;
    mount(
        bench,
        "by ARN with alias",
        aws(&format!("- {{objectName: '{by_arn}', objectAlias: one}}")),
    )
    .await;
    mount(
        bench,
        "alias",
        aws("- {objectName: red/secret, objectType: secretsmanager, objectAlias: a/b}"),
    )
    .await;
    let (_, stages) = arn(bench, "red/versions").await;
    for (version, stage) in stages.as_object().unwrap() {
        if stage[0] == "AWSPREVIOUS" {
            // Named for the next case, in which it must read alike.
            bench.case("version").await;
            let objects = format!(
                "- {{objectName: red/versions, objectType: secretsmanager, objectVersion: {version}}}"
            );
            let volume = bench.pod("red", aws(&objects)).await;
            let answer = bench.answer_of(&volume).await;
            bench.say(format!("publish: {}", shown(&answer)));
            let file = fs::read_to_string(format!("{}/red_versions", volume.request.target_path));
            bench.say(format!("{file:?}"));
            bench.forget_requests().await;
        }
    }
    mount(
        bench,
        "version label",
        aws("- {objectName: red/versions, objectType: secretsmanager, objectVersionLabel: AWSPREVIOUS}"),
    )
    .await;
    mount(
        bench,
        "version that is not there",
        aws(
            "- {objectName: red/versions, objectType: secretsmanager, objectVersion: 00000000-0000-0000-0000-000000000000}",
        ),
    )
    .await;
    mount(
        bench,
        "label that is not there",
        aws("- {objectName: red/versions, objectType: secretsmanager, objectVersionLabel: NONE}"),
    )
    .await;
    mount(bench, "jmesPath", aws("- {objectName: red/json, objectType: secretsmanager, jmesPath: [{path: user, objectAlias: us/er}, {path: db.password, objectAlias: pass, filePermission: '0400'}]}")).await;
    for (case, path) in [
        ("jmesPath to a number", "port"),
        ("jmesPath to nothing", "nobody"),
        ("jmesPath to a list", "list"),
        ("jmesPath to an object", "db"),
        ("jmesPath that is none", ".user"),
        ("jmesPath with a function", "join('-', list)"),
    ] {
        let objects = format!(
            "- {{objectName: red/json, objectType: secretsmanager, jmesPath: [{{path: \"{path}\", objectAlias: x}}]}}"
        );
        mount(bench, case, aws(&objects)).await;
    }
    mount(bench, "jmesPath on plain text", aws("- {objectName: red/secret, objectType: secretsmanager, jmesPath: [{path: user, objectAlias: x}]}")).await;
    for translation in ["False", "false", "-", "_", "", "ab", "é"] {
        mount(
            bench,
            &format!("pathTranslation {translation:?}"),
            with(named("red/secret"), &[("pathTranslation", translation)]),
        )
        .await;
    }
    for mode in ["0400", "0777", "4755", "0000"] {
        let objects =
            format!("- {{objectName: red/secret, objectType: secretsmanager, filePermission: \"{mode}\"}}");
        mount(bench, &format!("filePermission {mode}"), aws(&objects)).await;
    }
    mount(bench, "binary", named("red/binary")).await;
    mount(bench, "several objects", aws("[{objectName: red/secret, objectType: secretsmanager}, {objectName: red/binary, objectType: secretsmanager}, {objectName: red/json, objectType: secretsmanager, objectAlias: j}]")).await;
    mount(bench, "one denied among allowed", aws("[{objectName: red/secret, objectType: secretsmanager}, {objectName: blue/secret, objectType: secretsmanager}, {objectName: red/json, objectType: secretsmanager}]")).await;
    mount(
        bench,
        "region given",
        with(named("red/secret"), &[("region", REGION)]),
    )
    .await;
    mount(
        bench,
        "another region",
        with(named("red/secret"), &[("region", "eu-west-1")]),
    )
    .await;
    mount(
        bench,
        "failover region",
        with(
            aws("- {objectName: red/secret, objectType: secretsmanager, objectAlias: a}"),
            &[("failoverRegion", "us-west-2")],
        ),
    )
    .await;
    bench.case("tokens in secrets").await;
    let mut volume = bench.pod("red", named("red/secret")).await;
    let key = "csi.storage.k8s.io/serviceAccount.tokens";
    let tokens = volume.request.volume_context[key].clone();
    volume.request.volume_context.remove(key);
    volume.request.secrets.insert(key.to_owned(), tokens);
    bench.publish(&volume).await;
    bench.case("an attribute of the pod over the class's").await;
    let mut volume = bench.pod("red", named("red/secret")).await;
    let objects = "- {objectName: red/json, objectType: secretsmanager}".to_owned();
    volume
        .request
        .volume_context
        .insert("objects".to_owned(), objects);
    bench.publish(&volume).await;
    bench.case("not ephemeral, by a staging path").await;
    let mut volume = bench.pod("red", named("red/secret")).await;
    "/x".clone_into(&mut volume.request.staging_target_path);
    bench.publish(&volume).await;
}

async fn identity(bench: &mut Bench) {
    let mut identity = IdentityClient::new(connect(bench.world.csi_socket()));
    let info = identity.get_plugin_info(GetPluginInfoRequest {}).await;
    bench.say(format!("info: {:?}", info.unwrap().into_inner()));
    let found = identity
        .get_plugin_capabilities(GetPluginCapabilitiesRequest {})
        .await;
    bench.say(format!("capabilities: {:?}", found.unwrap().into_inner()));
    let ready = identity.probe(ProbeRequest {}).await;
    bench.say(format!("probe: {:?}", ready.unwrap().into_inner()));
    let mut node = NodeClient::new(connect(bench.world.csi_socket()));
    let found = node.node_get_capabilities(NodeGetCapabilitiesRequest {}).await;
    bench.say(format!("node: {:?}", found.unwrap().into_inner()));
    let found = node.node_get_info(NodeGetInfoRequest {}).await;
    bench.say(format!("node info: {:?}", found.unwrap().into_inner()));
    let stats = node
        .node_get_volume_stats(NodeGetVolumeStatsRequest::default())
        .await;
    bench.say(format!("stats: {}", shown(&stats.map(drop))));
    let grown = node.node_expand_volume(NodeExpandVolumeRequest::default()).await;
    bench.say(format!("expand: {}", shown(&grown.map(drop))));
    for (volume, path, capability) in [
        ("", "", false),
        ("v", "", false),
        ("v", "/p", false),
        ("v", "/p", true),
    ] {
        let staged = node
            .node_stage_volume(NodeStageVolumeRequest {
                volume_id: volume.to_owned(),
                staging_target_path: path.to_owned(),
                volume_capability: capability.then(Default::default),
                ..NodeStageVolumeRequest::default()
            })
            .await;
        bench.say(format!("stage: {}", shown(&staged.map(drop))));
        let unstaged = node
            .node_unstage_volume(NodeUnstageVolumeRequest {
                volume_id: volume.to_owned(),
                staging_target_path: path.to_owned(),
            })
            .await;
        bench.say(format!("unstage: {}", shown(&unstaged.map(drop))));
        let gone = node
            .node_unpublish_volume(NodeUnpublishVolumeRequest {
                volume_id: volume.to_owned(),
                target_path: String::new(),
            })
            .await;
        bench.say(format!("unpublish: {}", shown(&gone.map(drop))));
    }
    let mut provider = CsiDriverProviderClient::new(connect(&bench.world.provider_socket()));
    let version = provider
        .version(VersionRequest {
            version: "v1alpha1".to_owned(),
        })
        .await;
    bench.say(format!("provider: {:?}", version.unwrap().into_inner()));
}

pub(crate) async fn lifetimes(bench: &mut Bench) {
    let volume = mount(bench, "published twice", named("red/secret")).await;
    bench.publish(&volume).await;
    bench.unpublish(&volume).await;
    bench.unpublish(&volume).await;
    bench.case("unpublished before it was published").await;
    let volume = bench.pod("red", named("red/secret")).await;
    bench.unpublish(&volume).await;
    bench.case("unpublished with a folder that is no mount").await;
    let volume = bench.pod("red", named("red/secret")).await;
    fs::create_dir(&volume.request.target_path).unwrap();
    fs::write(format!("{}/left", volume.request.target_path), "x").unwrap();
    bench.look(&volume);
    bench.unpublish(&volume).await;
    bench.case("published over a folder with files").await;
    let volume = bench.pod("red", named("red/secret")).await;
    fs::create_dir(&volume.request.target_path).unwrap();
    fs::write(format!("{}/left", volume.request.target_path), "x").unwrap();
    bench.publish(&volume).await;
    bench.unpublish(&volume).await;
    bench.case("refused, then allowed").await;
    let volume = bench.pod("red", named("red/later")).await;
    bench.publish(&volume).await;
    let later = json!({"Name": "red/later", "SecretString": "there"});
    bench.world.aws.secrets("CreateSecret", later).await;
    bench.publish(&volume).await;

    bench.case("the driver is started anew").await;
    let volume = bench.pod("red", named("red/secret")).await;
    bench.publish(&volume).await;
    bench.world.stop_driver().await;
    bench.look(&volume);
    bench.world.start_driver().await;
    bench.world.api_log.log.take();
    bench.publish(&volume).await;
    bench.unpublish(&volume).await;

    bench.case("the provider is down, then up").await;
    let volume = bench.pod("red", named("red/secret")).await;
    let socket = bench.world.provider_socket();
    bench.world.stop_provider().await;
    // A provider that was killed leaves its socket.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let waiting = {
        let volume = volume.clone();
        let path = bench.world.csi_socket().to_owned();
        tokio::spawn(async move {
            let mut request = tonic::Request::new(volume.request);
            request.set_timeout(Duration::from_mins(1));
            NodeClient::new(connect(&path))
                .node_publish_volume(request)
                .await
                .map(drop)
        })
    };
    tokio::time::sleep(Duration::from_millis(1500)).await;
    bench.say(format!("waits: {}", !waiting.is_finished()));
    bench.world.start_provider().await;
    let answer = waiting.await.unwrap();
    bench.say(format!("publish: {}", shown(&answer)));
    bench.look(&volume);

    bench.case("the provider stays down").await;
    let mut volume = bench.pod("red", named("red/secret")).await;
    bench.world.stop_provider().await;
    volume.deadline = Duration::from_secs(2);
    // What the caller reads is its own client's word, or the driver's, whichever is first.
    let late = bench.answer_of(&volume).await.is_err();
    bench.say(format!("publish fails: {late}"));
    // The driver ends its own part a moment after the caller has given up.
    tokio::time::sleep(Duration::from_millis(500)).await;
    bench.look(&volume);
    bench.case("no socket of the provider, in a new driver").await;
    bench.world.stop_driver().await;
    bench.world.start_driver().await;
    bench.world.api_log.log.take();
    let volume = bench.pod("red", named("red/secret")).await;
    bench.publish(&volume).await;
    bench.world.start_provider().await;
    bench.publish(&volume).await;
}

pub(crate) async fn rotation(bench: &mut Bench) {
    let volume = mount(bench, "within the interval", named("red/rotating")).await;
    bench.publish(&volume).await;
    bench.forget_requests().await;
    bench.case("after the interval").await;
    let volume = bench.pod("red", named("red/rotating")).await;
    bench.publish(&volume).await;
    bench.forget_requests().await;
    let two = json!({"SecretId": "red/rotating", "SecretString": "two"});
    bench.world.aws.secrets("PutSecretValue", two).await;
    bench.publish(&volume).await;
    tokio::time::sleep(Duration::from_millis(2200)).await;
    bench.publish(&volume).await;
    bench.case("unchanged after the interval").await;
    let volume = bench.pod("red", named("red/secret")).await;
    bench.publish(&volume).await;
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(2200)).await;
        bench.publish(&volume).await;
    }
    bench.case("a republish that fails").await;
    let volume = bench.pod("red", named("red/rotating")).await;
    bench.publish(&volume).await;
    let account = "/api/v1/namespaces/red/serviceaccounts/default";
    let kept: Value = bench.world.admin.fetch(account, None).await.unwrap();
    let role = kept["metadata"]["annotations"]["eks.amazonaws.com/role-arn"].clone();
    let annotate = |role: Value| json!({"metadata": {"annotations": {"eks.amazonaws.com/role-arn": role}}});
    let merge = mountproof_stand_ins::rest::PatchKind::Merge;
    bench
        .world
        .admin
        .patch(account, merge, &annotate(Value::Null))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(2200)).await;
    bench.publish(&volume).await;
    bench
        .world
        .admin
        .patch(account, merge, &annotate(role))
        .await
        .unwrap();
    bench.publish(&volume).await;
    bench.unpublish(&volume).await;
    bench.case("a fresh folder counts as rotated").await;
    let volume = bench.pod("red", named("red/secret")).await;
    fs::create_dir(&volume.request.target_path).unwrap();
    bench.publish(&volume).await;
    bench.case("refused, then asked again at once").await;
    let volume = bench.pod("red", named("blue/secret")).await;
    bench.publish(&volume).await;
    bench.publish(&volume).await;
}

pub(crate) async fn driver_writes(bench: &mut Bench) {
    mount(bench, "one file", named("red/secret")).await;
    mount(
        bench,
        "a path",
        with(named("red/secret"), &[("pathTranslation", "False")]),
    )
    .await;
    mount(bench, "several", aws("[{objectName: red/secret, objectType: secretsmanager, filePermission: '0400'}, {objectName: red/binary, objectType: secretsmanager}, {objectName: red/json, objectType: secretsmanager, jmesPath: [{path: user, objectAlias: u, filePermission: '0777'}]}]")).await;
    mount(bench, "denied", named("blue/secret")).await;
    mount(
        bench,
        "a mode that opens more",
        aws("- {objectName: red/secret, objectType: secretsmanager, filePermission: '4755'}"),
    )
    .await;
    for alias in ["..", ".", "..x", "a.."] {
        let objects =
            format!("- {{objectName: red/secret, objectType: secretsmanager, objectAlias: '{alias}'}}");
        mount(bench, &format!("alias {alias}"), aws(&objects)).await;
    }
    let long = "n".repeat(256);
    mount(
        bench,
        "a long name",
        aws(&format!(
            "- {{objectName: red/secret, objectType: secretsmanager, objectAlias: {long}}}"
        )),
    )
    .await;
    bench.case("rotated").await;
    let volume = bench.pod("red", named("red/rotating")).await;
    bench.publish(&volume).await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    bench.publish(&volume).await;
    let two = json!({"SecretId": "red/rotating", "SecretString": "two"});
    bench.world.aws.secrets("PutSecretValue", two).await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    bench.publish(&volume).await;
}

pub(crate) async fn regions(bench: &mut Bench) {
    mount(bench, "the node's", named("red/secret")).await;
    mount(
        bench,
        "the class's",
        with(named("red/secret"), &[("region", REGION)]),
    )
    .await;
    bench.case("no such pod").await;
    let mut volume = bench.pod("red", named("red/secret")).await;
    let name = "csi.storage.k8s.io/pod.name".to_owned();
    volume.request.volume_context.insert(name, "nobody".to_owned());
    bench.publish(&volume).await;
    let unlabel = json!({"metadata": {"labels": {"topology.kubernetes.io/region": null}}});
    let merge = mountproof_stand_ins::rest::PatchKind::Merge;
    bench
        .world
        .admin
        .patch("/api/v1/nodes/node", merge, &unlabel)
        .await
        .unwrap();
    mount(bench, "a node without a region", named("red/secret")).await;
}
