//! What both must refuse, by whom it is refused and in which words.

use mountproof_csi_protocol::{
    connect,
    provider::{MountRequest, csi_driver_provider_client::CsiDriverProviderClient},
};
use serde_json::json;

use crate::{
    aws::{ACCOUNT, REGION},
    bench::{Bench, Volume, shown},
    cases::{arn, aws, mount, named, with},
};

type Change = fn(&mut Volume);

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
    let changes: [(&str, Change); 7] = [
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
    for (case, change) in changes {
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
