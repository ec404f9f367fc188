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
    provider::{MountRequest, VersionRequest, csi_driver_provider_client::CsiDriverProviderClient},
};
use serde_json::{Value, json};

use crate::{
    aws::{ACCOUNT, REGION},
    bench::{Bench, Volume, shown},
};

fn aws(objects: &str) -> Value {
    json!({"provider": "aws", "parameters": {"objects": objects}})
}

fn with(mut spec: Value, parameters: &[(&str, &str)]) -> Value {
    for (name, value) in parameters {
        spec["parameters"][*name] = (*value).into();
    }
    spec
}

fn named(name: &str) -> Value {
    aws(&format!("- {{objectName: '{name}', objectType: secretsmanager}}"))
}

async fn mount(bench: &mut Bench, case: &str, spec: Value) -> Volume {
    bench.case(case).await;
    let volume = bench.pod("red", spec).await;
    bench.publish(&volume).await;
    volume
}

async fn arn(bench: &Bench, name: &str) -> (String, Value) {
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
    volume.request.staging_target_path = "/x".to_owned();
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

pub(crate) async fn refusals(bench: &mut Bench) {
    mount(bench, "denied by IAM", named("blue/secret")).await;
    mount(bench, "not there, in the grant", named("red/none")).await;
    mount(bench, "not there, outside of the grant", named("green/none")).await;
    let (blue, _) = arn(bench, "blue/secret").await;
    mount(
        bench,
        "denied by IAM, by ARN",
        aws(&format!("- objectName: '{blue}'")),
    )
    .await;
    for (namespace, role) in [
        (
            "annotation-names-other",
            Some(format!("arn:aws:iam::{ACCOUNT}:role/blue-role")),
        ),
        (
            "annotation-names-none",
            Some(format!("arn:aws:iam::{ACCOUNT}:role/none")),
        ),
        ("annotation-is-no-arn", Some("nonsense".to_owned())),
        ("annotation-is-empty", Some(String::new())),
        ("no-annotation", None),
    ] {
        bench.case(namespace).await;
        bench.world.namespace(namespace, role.as_deref()).await;
        let volume = bench.pod(namespace, named("blue/secret")).await;
        bench.publish(&volume).await;
    }
    let key = "csi.storage.k8s.io/serviceAccount.tokens";
    for (case, tokens) in [
        ("no tokens", None),
        ("empty tokens", Some("")),
        ("tokens that are no JSON", Some("{\"sts.amazonaws.com\": ")),
        ("tokens of another shape", Some("[1]")),
        ("a token of another shape", Some("{\"sts.amazonaws.com\": 1}")),
        ("no token for STS", Some("{}")),
        (
            "an empty token for STS",
            Some("{\"sts.amazonaws.com\": {\"token\": \"\"}}"),
        ),
        (
            "a token that is none",
            Some("{\"sts.amazonaws.com\": {\"token\": \"nonsense\"}}"),
        ),
    ] {
        bench.case(case).await;
        let mut volume = bench.pod("red", named("red/secret")).await;
        volume.request.volume_context.remove(key);
        if let Some(tokens) = tokens {
            volume
                .request
                .volume_context
                .insert(key.to_owned(), tokens.to_owned());
        }
        bench.publish(&volume).await;
    }
    bench.case("no such service account").await;
    let mut volume = bench.pod("red", named("red/secret")).await;
    let account = "csi.storage.k8s.io/serviceAccount.name".to_owned();
    volume.request.volume_context.insert(account, "nobody".to_owned());
    bench.publish(&volume).await;
    bench.case("missing class").await;
    let volume = bench.pod_without_class("red").await;
    bench.publish(&volume).await;
    for (case, spec) in [
        ("class without provider", json!({"parameters": {"objects": "[]"}})),
        ("class without parameters", json!({"provider": "aws"})),
        ("class without anything", json!({})),
        (
            "another provider",
            json!({"provider": "azure", "parameters": {"objects": "[]"}}),
        ),
        (
            "a provider's name that is none",
            json!({"provider": "a.b/c", "parameters": {"objects": "[]"}}),
        ),
        (
            "no objects",
            json!({"provider": "aws", "parameters": {"other": "x"}}),
        ),
        ("an empty list of objects", aws("[]")),
        (
            "a failover region that is the first",
            with(named("red/secret"), &[("failoverRegion", REGION)]),
        ),
        (
            "usePodIdentity maybe",
            with(named("red/secret"), &[("usePodIdentity", "maybe")]),
        ),
        (
            "usePodIdentity empty",
            with(named("red/secret"), &[("usePodIdentity", "")]),
        ),
        (
            "usePodIdentity false",
            with(named("red/secret"), &[("usePodIdentity", "False")]),
        ),
        (
            "usePodIdentity without its token",
            with(named("red/secret"), &[("usePodIdentity", "true")]),
        ),
    ] {
        mount(bench, case, spec).await;
    }
    let change: [(&str, fn(&mut Volume)); 7] = [
        ("not read-only", |volume| volume.request.readonly = false),
        ("no capability", |volume| volume.request.volume_capability = None),
        ("no volume id", |volume| volume.request.volume_id.clear()),
        ("no attributes", |volume| volume.request.volume_context.clear()),
        ("no class named", |volume| {
            volume.request.volume_context.remove("secretProviderClass");
        }),
        ("no pod named", |volume| {
            volume
                .request
                .volume_context
                .remove("csi.storage.k8s.io/pod.name");
            volume
                .request
                .volume_context
                .remove("csi.storage.k8s.io/pod.namespace");
        }),
        ("no pod uid", |volume| {
            volume.request.volume_context.remove("csi.storage.k8s.io/pod.uid");
        }),
    ];
    for (case, change) in change {
        bench.case(case).await;
        let mut volume = bench.pod("red", named("red/secret")).await;
        change(&mut volume);
        let answer = bench.answer_of(&volume).await;
        bench.say(format!("publish: {}", shown(&answer)));
        bench.look(&volume);
    }
    bench.case("a mock provider").await;
    let mut volume = bench.pod("red", named("red/secret")).await;
    volume
        .request
        .volume_context
        .insert("providerName".to_owned(), "mock_provider".to_owned());
    bench.publish(&volume).await;
    provider_alone(bench).await;
}

/// What the driver never sends.
async fn provider_alone(bench: &mut Bench) {
    for (case, target, attributes, permission) in [
        ("provider: no target", "", "{}", "420"),
        ("provider: no attributes", "/t", "", "420"),
        ("provider: attributes that are no JSON", "/t", "{\"a\":", "420"),
        ("provider: attributes of another shape", "/t", "{\"a\": 1}", "420"),
        (
            "provider: no permission",
            "/t",
            "{\"csi.storage.k8s.io/serviceAccount.tokens\": \"{}\"}",
            "",
        ),
        (
            "provider: permission that is text",
            "/t",
            "{\"csi.storage.k8s.io/serviceAccount.tokens\": \"{}\"}",
            "\"0644\"",
        ),
        (
            "provider: permission that is negative",
            "/t",
            "{\"csi.storage.k8s.io/serviceAccount.tokens\": \"{}\"}",
            "-1",
        ),
    ] {
        bench.case(case).await;
        let mut provider = CsiDriverProviderClient::new(connect(&bench.world.provider_socket()));
        let answer = provider
            .mount(MountRequest {
                attributes: attributes.to_owned(),
                secrets: String::new(),
                target_path: target.to_owned(),
                permission: permission.to_owned(),
                current_object_version: Vec::new(),
            })
            .await;
        bench.say(format!("mount: {}", shown(&answer.map(drop))));
    }
}

pub(crate) async fn objects(bench: &mut Bench) {
    let sm = "objectType: secretsmanager";
    let arn = |region: &str, service: &str| format!("arn:aws:{service}:{region}:{ACCOUNT}:secret:a-AbCdEf");
    let home = arn(REGION, "secretsmanager");
    let abroad = arn("eu-west-1", "secretsmanager");
    let s3 = arn(REGION, "s3");
    let ssm = format!("arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/a");
    for objects in [
        "- null".to_owned(),
        "[]".to_owned(),
        String::new(),
        "null".to_owned(),
        "text".to_owned(),
        "a: b".to_owned(),
        "- text".to_owned(),
        "- [1]".to_owned(),
        "- objectName: [".to_owned(),
        "- objectName: a\n  objectName: b".to_owned(),
        "- objectName: a\n objectType: b".to_owned(),
        "\t- objectName: a".to_owned(),
        format!("- {{objectName: red/secret, {sm}, unknown: x}}"),
        format!("- {{objectName: 5, {sm}}}"),
        format!("- {{objectName: true, {sm}}}"),
        format!("- {{objectName: [a], {sm}}}"),
        format!("- {{objectName: red/secret, {sm}, objectAlias: 7}}"),
        format!("- {{objectName: red/secret, {sm}, objectAlias: 7.50}}"),
        format!("- {{OBJECTNAME: red/secret, objecttype: secretsmanager}}"),
        format!("- {{{sm}}}"),
        format!("- {{objectName: '', {sm}}}"),
        "- objectName: arn:aws:secretsmanager".to_owned(),
        "- objectName: 'arn:'".to_owned(),
        format!("- objectName: '{abroad}'"),
        "- objectName: a".to_owned(),
        format!("- objectName: '{s3}'"),
        format!("- {{objectName: '{s3}', {sm}}}"),
        format!("- {{objectName: '{ssm}', {sm}}}"),
        "- {objectName: a, objectType: ssm}".to_owned(),
        "- {objectName: a, objectType: s3}".to_owned(),
        "- {objectName: a, objectType: SecretsManager}".to_owned(),
        format!("- {{objectName: '{home}', objectType: ssmparameter}}"),
        "- {objectName: a, objectType: ssmparameter, objectVersion: '1', objectVersionLabel: b}".to_owned(),
        format!("- {{objectName: a, {sm}, filePermission: '0900'}}"),
        format!("- {{objectName: a, {sm}, filePermission: 0644}}"),
        format!("- {{objectName: a, {sm}, filePermission: 644}}"),
        format!("- {{objectName: a, {sm}, filePermission: '644'}}"),
        format!("- {{objectName: a, {sm}, filePermission: 0o644}}"),
        format!("- {{objectName: a, {sm}, jmesPath: [{{path: p, objectAlias: b, filePermission: a987}}]}}"),
        format!("- {{objectName: a, {sm}, jmesPath: [{{objectAlias: b}}]}}"),
        format!("- {{objectName: a, {sm}, jmesPath: [{{path: p}}]}}"),
        format!("- {{objectName: a, {sm}, jmesPath: text}}"),
        format!("- {{objectName: a, {sm}, jmesPath: [null]}}"),
        format!("- {{objectName: a, {sm}, jmesPath: [text]}}"),
        format!("- {{objectName: a, {sm}, jmesPath: [{{path: [p]}}]}}"),
        format!("- {{objectName: a, {sm}, failoverObject: text}}"),
        format!("- {{objectName: a, {sm}, failoverObject: {{objectName: [p]}}}}"),
        format!("- {{objectName: a, {sm}, failoverObject: {{objectName: b}}}}"),
        format!("- {{objectName: a, {sm}, objectAlias: x, failoverObject: {{objectName: b}}}}"),
        format!("- {{objectName: a, {sm}, objectAlias: x, failoverObject: {{objectVersion: b}}}}"),
        format!("[{{objectName: a, {sm}}}, {{objectName: a, {sm}}}]"),
        format!("[{{objectName: a, {sm}, objectAlias: x}}, {{objectName: a, {sm}, objectAlias: x}}]"),
        format!(
            "[{{objectName: a, {sm}, objectVersionLabel: x}}, {{objectName: a, {sm}, objectVersionLabel: x}}]"
        ),
        format!(
            "[{{objectName: a, {sm}, objectAlias: z, objectVersionLabel: x}}, {{objectName: a, {sm}, objectAlias: z, objectVersionLabel: x}}]"
        ),
        format!("[{{objectName: a, {sm}, objectAlias: x}}, {{objectName: b, {sm}, objectAlias: x}}]"),
        format!("[{{objectName: a, {sm}, objectAlias: x, jmesPath: [{{path: p, objectAlias: x}}]}}]"),
        format!(
            "[{{objectName: red/secret, {sm}}}, {{objectName: red/secret, {sm}, objectVersionLabel: AWSCURRENT}}]"
        ),
        format!("- {{objectName: ../a, {sm}}}"),
        format!("- {{objectName: red/secret, {sm}, objectAlias: ..}}"),
        format!("- {{objectName: red/secret, {sm}, objectAlias: .}}"),
        format!("- {{objectName: red/secret, {sm}, objectAlias: ../../x}}"),
        format!("- {{objectName: red/secret, {sm}, objectAlias: ..x}}"),
        format!(
            "- {{objectName: red/secret, {sm}, objectAlias: '{}'}}",
            "n".repeat(256)
        ),
        format!("- {{objectName: red/secret, {sm}, objectAlias: 'x*y'}}"),
        format!("- {{objectName: red/secret, {sm}, objectVersionLabel: AWSCURRENT, objectVersion: short}}"),
        format!("- &x {{objectName: red/secret, {sm}}}\n- {{<<: *x, objectAlias: again}}"),
    ] {
        let mut shown = objects.replace(&"n".repeat(256), "n*256");
        shown = shown.replace('\n', "\\n");
        mount(bench, &format!("objects {shown}"), aws(&objects)).await;
    }
    for (objects, translation) in [
        ("- {objectName: ../a, objectType: secretsmanager}", "False"),
        ("- {objectName: a/../b, objectType: secretsmanager}", "False"),
        ("- {objectName: a/.., objectType: secretsmanager}", "False"),
        ("- {objectName: /red/secret, objectType: secretsmanager}", "False"),
        (
            "- {objectName: red/secret, objectType: secretsmanager, objectAlias: a/b}",
            ".",
        ),
    ] {
        let spec = with(aws(objects), &[("pathTranslation", translation)]);
        mount(
            bench,
            &format!("objects {objects} translated {translation}"),
            spec,
        )
        .await;
    }
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
    bench.case("the target is a file").await;
    let volume = bench.pod("red", named("red/secret")).await;
    fs::write(&volume.request.target_path, "x").unwrap();
    let answer = bench.answer_of(&volume).await;
    bench.say(format!("publish: {}", shown(&answer)));
    fs::remove_file(&volume.request.target_path).unwrap();
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
            request.set_timeout(Duration::from_secs(60));
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
    let answer = bench.answer_of(&volume).await;
    bench.say(format!("publish: {}", shown(&answer)));
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
