//! Our provider against a tiny AWS behind a CONNECT proxy, and the whole node from pod to file.
#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use mountproof_csi_protocol::{
    connect,
    provider::{
        MountRequest, MountResponse, ObjectVersion, csi_driver_provider_client::CsiDriverProviderClient,
    },
};
use mountproof_stand_ins::{
    defects::ProviderDefects,
    driver::{Driver, DriverConfig, MountKind, NAME},
    kubelet::{Clock, Kubelet, KubeletConfig},
    provider::{Provider, ProviderConfig},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::{Code, Status};

use crate::fakes::{AwsCall, FakeApi, FakeAws, assumed, eventually};

const GENERIC: &str =
    "Failed to fetch secret from all regions. Verify secret exists and required permissions are granted for:";

/// A rule of the tiny AWS: the credentials' key is the role's name, and it may read what its name
/// begins with. Some names fail in their own way.
fn tiny_aws(call: &AwsCall) -> (u16, String) {
    if call.host.starts_with("eks-auth.") {
        return crate::pod_identity::tiny_eks_auth(call);
    }
    if call.host.starts_with("sts.") {
        let role = call
            .body
            .split("role%2F")
            .nth(1)
            .unwrap()
            .split('&')
            .next()
            .unwrap();
        if role == "refused" {
            let text = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>Not authorized to perform sts:AssumeRoleWithWebIdentity</Message></Error><RequestId>r</RequestId></ErrorResponse>";
            return (403, text.to_owned());
        }
        if role == "no-jwt" {
            let text = "<ErrorResponse><Error><Type>Sender</Type><Code>InvalidIdentityToken</Code><Message>The ID Token provided is not a valid JWT.</Message></Error><RequestId>r</RequestId></ErrorResponse>";
            return (400, text.to_owned());
        }
        return assumed(role);
    }
    let body: Value = serde_json::from_str(&call.body).unwrap();
    let secret = body["SecretId"].as_str().unwrap();
    let refuse = |status, code: &str| {
        (
            status,
            json!({"__type": code, "message": format!("{code} for {secret}")}).to_string(),
        )
    };
    let primary = call.host.contains("us-east-1");
    match secret {
        "missing" => return refuse(400, "ResourceNotFoundException"),
        "broken" => return refuse(500, "InternalServiceError"),
        "denied-at-home" if primary => return refuse(400, "AccessDeniedException"),
        "missing-abroad" if !primary => return refuse(400, "ResourceNotFoundException"),
        "denied-at-home" | "missing-abroad" => {}
        _ if !secret.starts_with(&call.access_key) => return refuse(400, "AccessDeniedException"),
        _ => {}
    }
    if call.target.ends_with("DescribeSecret") {
        return (
            200,
            json!({"VersionIdsToStages": {"v-s": ["AWSCURRENT"]}}).to_string(),
        );
    }
    let version = format!(
        "{}-{}",
        body["VersionId"].as_str().unwrap_or("v"),
        body["VersionStage"].as_str().unwrap_or("s")
    );
    let answer = match secret {
        "red/binary" => json!({"VersionId": version, "SecretBinary": "AAH/"}),
        "red/json" => json!({"VersionId": version, "SecretString": "{\"user\":\"u\"}"}),
        _ => json!({"VersionId": version, "SecretString": format!("value of {secret} from {}", call.host)}),
    };
    (200, answer.to_string())
}

pub(crate) struct Bench {
    pub(crate) aws: FakeAws,
    pub(crate) provider: Provider,
    pub(crate) folder: TempDir,
    pub(crate) api: FakeApi,
}

impl Bench {
    pub(crate) async fn start(change: impl FnOnce(&mut ProviderConfig)) -> Self {
        let api = FakeApi::start().await;
        for (namespace, role) in [
            ("red", Some("red")),
            ("blue", Some("blue")),
            ("refused", Some("refused")),
            ("no-jwt", Some("no-jwt")),
            ("none", None),
        ] {
            let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
            let arn = role.map(|role| format!("arn:aws:iam::000000000000:role/{role}"));
            let annotations = arn.map_or_else(|| json!({}), |arn| json!({"eks.amazonaws.com/role-arn": arn}));
            api.create(
                &accounts,
                json!({"metadata": {"name": "default", "annotations": annotations}}),
            );
        }
        let aws = FakeAws::start(&api.ca, tiny_aws).await;
        let folder = tempfile::tempdir().unwrap();
        let pem = api.ca.certificate_pem().to_owned();
        let mut config = ProviderConfig::new(api.access(), folder.path().to_owned(), pem);
        config.region = Some("us-east-1".to_owned());
        config.https_proxy = Some(aws.proxy);
        config.retry_pause = Duration::from_millis(1);
        config.qps = 1000.0;
        change(&mut config);
        let provider = Provider::start(config).unwrap();
        Self {
            aws,
            provider,
            folder,
            api,
        }
    }

    pub(crate) async fn mount(&self, namespace: &str, parameters: Value) -> Result<MountResponse, Status> {
        self.mount_over(namespace, parameters, Vec::new()).await
    }

    pub(crate) async fn refused(&self, namespace: &str, parameters: Value) -> Status {
        self.mount(namespace, parameters).await.err().unwrap()
    }

    async fn mount_over(
        &self,
        namespace: &str,
        parameters: Value,
        current: Vec<ObjectVersion>,
    ) -> Result<MountResponse, Status> {
        let tokens = json!({"sts.amazonaws.com": {"token": "jwt"}}).to_string();
        let mut attributes = json!({
            "csi.storage.k8s.io/pod.namespace": namespace,
            "csi.storage.k8s.io/pod.name": "p",
            "csi.storage.k8s.io/serviceAccount.name": "default",
            "csi.storage.k8s.io/serviceAccount.tokens": tokens,
        });
        for (key, value) in parameters.as_object().unwrap() {
            attributes[key] = value.clone();
        }
        let target = self.folder.path().join(namespace);
        fs::create_dir_all(&target).unwrap();
        let request = MountRequest {
            attributes: attributes.to_string(),
            secrets: "null".to_owned(),
            target_path: target.display().to_string(),
            permission: "420".to_owned(),
            current_object_version: current,
        };
        let mut client = CsiDriverProviderClient::new(connect(self.provider.socket()));
        client.mount(request).await.map(tonic::Response::into_inner)
    }

    pub(crate) fn file(&self, namespace: &str, name: &str) -> (Vec<u8>, u32) {
        let path = self.folder.path().join(namespace).join(name);
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        (fs::read(path).unwrap(), mode)
    }

    pub(crate) fn logged(&self, text: &str) -> bool {
        self.provider.log().iter().any(|line| line.text.contains(text))
    }

    pub(crate) fn calls(&self) -> (usize, usize) {
        let calls = self.aws.calls();
        let sts = calls.iter().filter(|call| call.host.starts_with("sts.")).count();
        (sts, calls.len() - sts)
    }
}

fn object(name: &str) -> Value {
    json!({"objects": format!("- {{objectName: '{name}', objectType: secretsmanager}}")})
}

pub(crate) fn text(status: &Status) -> &str {
    assert_eq!(status.code(), Code::Unknown);
    status.message()
}

#[tokio::test]
async fn files_come_out_as_the_class_says() {
    let bench = Bench::start(|_| {}).await;
    let objects = "
- {objectName: red/secret, objectType: secretsmanager}
- {objectName: red/binary, objectType: secretsmanager, objectAlias: bin, filePermission: '0400'}
- {objectName: red/json, objectType: secretsmanager, objectVersionLabel: AWSPREVIOUS, jmesPath: [{path: user, objectAlias: us/er}]}
";
    let mounted = bench.mount("red", json!({"objects": objects})).await.unwrap();
    let value = b"value of red/secret from secretsmanager.us-east-1.amazonaws.com".to_vec();
    assert_eq!(bench.file("red", "red_secret"), (value, 0o644));
    assert_eq!(bench.file("red", "bin"), (vec![0, 1, 255], 0o400));
    assert_eq!(bench.file("red", "us_er"), (b"u".to_vec(), 0o644));
    let versions: Vec<_> = mounted
        .object_version
        .iter()
        .map(|one| (one.id.as_str(), one.version.as_str()))
        .collect();
    assert_eq!(
        versions,
        [
            ("bin", "v-s"),
            ("red_json", "v-AWSPREVIOUS"),
            ("red_secret", "v-s"),
            ("us_er", "v-AWSPREVIOUS")
        ]
    );
    assert_eq!(mounted.files.len(), 0);
    assert_eq!(
        fs::read_dir(bench.folder.path().join("red")).unwrap().count(),
        4,
        "no temporary file is left"
    );
    assert_eq!(
        bench.calls(),
        (1, 3),
        "one AssumeRole, then one call for each object"
    );
    let first = &bench.aws.calls()[0];
    assert_eq!(first.host, "sts.us-east-1.amazonaws.com");
    assert!(first.body.contains("&WebIdentityToken=jwt"));
}

#[tokio::test]
async fn refusals_have_the_real_providers_texts() {
    let bench = Bench::start(|_| {}).await;
    let none = json!({});
    for (namespace, parameters, expected) in [
        (
            "red",
            json!({"csi.storage.k8s.io/serviceAccount.tokens": ""}),
            "CSI token error: serviceAccount.tokens not provided - ensure tokenRequests is configured in CSIDriver - ensure tokenRequests is configured in CSIDriver spec",
        ),
        (
            "red",
            json!({"csi.storage.k8s.io/serviceAccount.tokens": "{}"}),
            "IRSA token extraction failed: token for audience \"sts.amazonaws.com\" not found - ensure tokenRequests includes this audience in CSIDriver",
        ),
        (
            "red",
            json!({"usePodIdentity": "maybe"}),
            "failed to parse usePodIdentity value, error: strconv.ParseBool: parsing \"maybe\": invalid syntax",
        ),
        (
            "red",
            json!({"usePodIdentity": "true"}),
            "Pod Identity token extraction failed: token for audience \"pods.eks.amazonaws.com\" not found - ensure tokenRequests includes this audience in CSIDriver",
        ),
        (
            "red",
            json!({"failoverRegion": "us-east-1"}),
            "us-east-1: failover region cannot be the same as the primary region",
        ),
        (
            "none",
            none.clone(),
            "An IAM role must be associated with service account default (namespace: none)",
        ),
        (
            "nobody",
            none,
            "failed to get service account nobody/default: \"default\" not found",
        ),
    ] {
        let status = bench.refused(namespace, parameters).await;
        assert_eq!(text(&status), expected);
    }
    let mut slash = object("red/secret");
    slash["pathTranslation"] = "False".into();
    let status = bench.refused("red", slash).await;
    assert_eq!(
        text(&status),
        "createtemp red/secret: pattern contains path separator"
    );
}

#[tokio::test]
async fn denials_are_generic_in_the_answer_and_exact_in_the_log() {
    let bench = Bench::start(|_| {}).await;
    let status = bench.refused("blue", object("red/secret")).await;
    assert_eq!(text(&status), format!("{GENERIC} red/secret"));
    assert!(bench.logged("us-east-1: Failed fetching secret red/secret: operation error Secrets Manager: GetSecretValue, https response error StatusCode: 400, RequestID: request-1, api error AccessDeniedException: AccessDeniedException for red/secret"));
    assert_eq!(bench.calls(), (1, 1), "a denial is not tried again");

    let status = bench.refused("refused", object("red/secret")).await;
    assert_eq!(text(&status), format!("{GENERIC} red/secret"));
    assert!(bench.logged("get identity: get credentials: failed to refresh cached credentials, failed to retrieve credentials, operation error STS: AssumeRoleWithWebIdentity, https response error StatusCode: 403, RequestID: r, api error AccessDenied: Not authorized to perform sts:AssumeRoleWithWebIdentity"));

    let status = bench.refused("red", object("missing")).await;
    assert_eq!(
        text(&status),
        "us-east-1: Failed fetching secret missing: operation error Secrets Manager: GetSecretValue, https response error StatusCode: 400, RequestID: request-1, ResourceNotFoundException: ResourceNotFoundException for missing"
    );

    let before = bench.calls().1;
    let status = bench.refused("red", object("broken")).await;
    assert_eq!(text(&status), format!("{GENERIC} broken"));
    assert_eq!(bench.calls().1 - before, 3, "a server error is tried three times");
    assert!(bench.logged("exceeded maximum number of attempts, 3, https response error StatusCode: 500"));
    assert_eq!(fs::read_dir(bench.folder.path().join("red")).unwrap().count(), 0);
}

/// One denied object among others: nothing is written.
#[tokio::test]
async fn all_or_nothing() {
    let bench = Bench::start(|_| {}).await;
    let objects =
        "[{objectName: red/a, objectType: secretsmanager}, {objectName: blue/b, objectType: secretsmanager}]";
    bench.refused("red", json!({"objects": objects})).await;
    assert_eq!(fs::read_dir(bench.folder.path().join("red")).unwrap().count(), 0);
}

/// The truth table of `failoverRegion`.
#[tokio::test]
async fn failover_follows_the_truth_table() {
    let bench = Bench::start(|_| {}).await;
    let with_failover = |name: &str| {
        let mut parameters = object(name);
        parameters["failoverRegion"] = "us-west-2".into();
        parameters
    };
    bench.mount("red", with_failover("red/secret")).await.unwrap();
    let (value, _) = bench.file("red", "red_secret");
    assert!(
        String::from_utf8(value).unwrap().contains("us-east-1"),
        "the primary's value"
    );
    let calls = bench.aws.calls();
    let targets: Vec<_> = calls
        .iter()
        .map(|call| call.target.as_str())
        .filter(|target| !target.is_empty())
        .collect();
    assert_eq!(
        targets,
        ["secretsmanager.GetSecretValue", "secretsmanager.DescribeSecret"]
    );

    let status = bench.refused("red", with_failover("denied-at-home")).await;
    assert!(text(&status).starts_with("us-east-1: Failed fetching secret denied-at-home: "));
    bench.provider.defects().set(ProviderDefects {
        failover_after_denial: true,
        ..ProviderDefects::default()
    });
    bench.mount("red", with_failover("denied-at-home")).await.unwrap();
    let (value, _) = bench.file("red", "denied-at-home");
    assert!(
        String::from_utf8(value).unwrap().contains("us-west-2"),
        "a denial at home leaks through, as since 2.0.0"
    );

    let status = bench.refused("red", with_failover("missing-abroad")).await;
    assert!(text(&status).starts_with("us-west-2: Failed to describe secret missing-abroad: "));
    let status = bench.refused("red", with_failover("missing")).await;
    assert!(text(&status).starts_with("us-east-1: Failed fetching secret missing: "));
}

#[tokio::test]
async fn the_driver_may_write_and_known_versions_are_described_first() {
    let bench = Bench::start(|config| config.driver_writes_secrets = true).await;
    let mounted = bench.mount("red", object("red/binary")).await.unwrap();
    assert_eq!(
        (mounted.files[0].path.as_str(), mounted.files[0].mode),
        ("red_binary", 0o644)
    );
    assert!(mounted.files[0].contents == [0, 1, 255]);
    let current = vec![ObjectVersion {
        id: "red_binary".to_owned(),
        version: "old".to_owned(),
    }];
    bench
        .mount_over("red", object("red/binary"), current)
        .await
        .unwrap();
    let targets: Vec<_> = bench
        .aws
        .calls()
        .into_iter()
        .map(|call| call.target)
        .filter(|target| !target.is_empty())
        .collect();
    assert_eq!(
        targets[1..],
        ["secretsmanager.DescribeSecret", "secretsmanager.GetSecretValue"]
    );
}

#[tokio::test]
async fn planted_defects_do_their_harm() {
    let bench = Bench::start(|_| {}).await;
    let defects = bench.provider.defects().clone();
    defects.set(ProviderDefects {
        wrong_mode: true,
        ..ProviderDefects::default()
    });
    bench.mount("red", object("red/secret")).await.unwrap();
    assert_eq!(bench.file("red", "red_secret").1, 0o666);

    defects.set(ProviderDefects {
        ignores_denial: true,
        ..ProviderDefects::default()
    });
    bench.mount("blue", object("red/secret")).await.unwrap();
    assert_eq!(bench.file("blue", "red_secret").0, b"");

    defects.set(ProviderDefects {
        other_tenants_secret: true,
        ..ProviderDefects::default()
    });
    bench.mount("red", object("red/secret")).await.unwrap();
    bench.mount("blue", object("red/secret")).await.unwrap();
    assert!(
        bench
            .file("blue", "red_secret")
            .0
            .starts_with(b"value of red/secret")
    );
    bench.mount("blue", object("blue/secret")).await.unwrap();
    assert!(
        bench
            .file("blue", "blue_secret")
            .0
            .starts_with(b"value of blue/secret")
    );

    defects.set(ProviderDefects {
        stale_after_rotation: true,
        ..ProviderDefects::default()
    });
    let objects = |label: &str| json!({"objects": format!("- {{objectName: red/json, objectType: secretsmanager, objectAlias: a, objectVersionLabel: {label}}}")});
    bench.mount("red", objects("one")).await.unwrap();
    let first = bench.file("red", "a").0;
    let other = json!({"objects": "- {objectName: red/secret, objectType: secretsmanager, objectAlias: a}"});
    bench.mount("red", other).await.unwrap();
    assert_eq!(bench.file("red", "a").0, first);
    // What versions before 1.0.0 do.
    let private =
        json!({"objects": "- {objectName: red/secret, objectType: secretsmanager, filePermission: '0400'}"});
    bench.mount("red", private.clone()).await.unwrap();
    assert_eq!(bench.file("red", "red_secret").1, 0o400);
    defects.set(ProviderDefects {
        ignores_permission: true,
        ..ProviderDefects::default()
    });
    bench.mount("red", private).await.unwrap();
    assert_eq!(bench.file("red", "red_secret").1, 0o644);

    let twice = json!({"objects": "[{objectName: red/secret, objectType: secretsmanager, objectAlias: a}, {objectName: red/secret, objectType: secretsmanager, objectAlias: b}]"});
    bench.mount("red", twice.clone()).await.unwrap();
    defects.set(ProviderDefects {
        refuses_secret_twice: true,
        ..ProviderDefects::default()
    });
    let refused = bench.refused("red", twice).await;
    assert!(
        refused
            .message()
            .ends_with("Name already in use for objectName: red/secret"),
        "{refused}"
    );

    defects.set(ProviderDefects::default());
    assert!(bench.mount("blue", object("red/secret")).await.is_err());
}

/// kubelet, driver and provider together: many pods of two tenants, each with its own file, and
/// nothing left when they are gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_mount_through_the_whole_node() {
    const PODS: usize = 40;
    let bench = Bench::start(|config| config.burst = 1000).await;
    let root = tempfile::tempdir().unwrap();
    bench.api.create(
        "/apis/storage.k8s.io/v1/csidrivers",
        json!({"metadata": {"name": NAME}, "spec": {
            "podInfoOnMount": true, "requiresRepublish": true, "volumeLifecycleModes": ["Ephemeral"],
            "serviceAccountTokenInSecrets": true,
            "tokenRequests": [{"audience": "sts.amazonaws.com"}],
        }}),
    );
    let mut kubelet = KubeletConfig::new(bench.api.access(), "node", root.path().to_owned());
    kubelet.clock = Clock::faster(20.0);
    let kubelet = Kubelet::start(kubelet).await.unwrap();
    let providers = bench.provider.socket().parent().unwrap().to_owned();
    let mut driver = DriverConfig::new(bench.api.access(), "node", root.path(), providers);
    (driver.mount, driver.qps, driver.burst) = (MountKind::Directory, 1000.0, 1000);
    let driver = Driver::start(driver).await.unwrap();
    eventually("the driver is registered", || kubelet.has_driver(NAME)).await;
    for tenant in ["red", "blue"] {
        let classes =
            format!("/apis/secrets-store.csi.x-k8s.io/v1/namespaces/{tenant}/secretproviderclasses");
        let parameters = object(&format!("{tenant}/secret"));
        bench.api.create(
            &classes,
            json!({"metadata": {"name": "own"}, "spec": {"provider": "aws", "parameters": parameters}}),
        );
        for number in 0..PODS {
            let pods = format!("/api/v1/namespaces/{tenant}/pods");
            bench.api.create(
                &pods,
                json!({"metadata": {"name": format!("p-{number}")}, "spec": {
                "serviceAccountName": "default", "containers": [{"name": "c", "image": "i"}],
                "volumes": [{"name": "v", "csi": {"driver": NAME, "readOnly": true,
                    "volumeAttributes": {"secretProviderClass": "own"}}}]}}),
            );
        }
    }
    let running = |pod: &Value| pod["status"]["phase"] == "Running";
    eventually("all pods run", || {
        bench
            .api
            .objects("/pods/")
            .iter()
            .filter(|pod| running(pod))
            .count()
            == 2 * PODS
    })
    .await;
    for pod in bench.api.objects("/pods/") {
        let tenant = pod["metadata"]["namespace"].as_str().unwrap();
        let uid = pod["metadata"]["uid"].as_str().unwrap();
        let file = root.path().join(format!(
            "pods/{uid}/volumes/kubernetes.io~csi/v/mount/{tenant}_secret"
        ));
        assert!(
            fs::read_to_string(file)
                .unwrap()
                .starts_with(&format!("value of {tenant}/secret"))
        );
    }
    assert_eq!(bench.api.objects("podstatuses").len(), 2 * PODS);
    for pod in bench.api.objects("/pods/") {
        let (namespace, name) = (&pod["metadata"]["namespace"], &pod["metadata"]["name"]);
        bench.api.delete_pod(&format!(
            "/api/v1/namespaces/{}/pods/{}",
            namespace.as_str().unwrap(),
            name.as_str().unwrap()
        ));
    }
    eventually("all pods are gone", || bench.api.objects("/pods/").is_empty()).await;
    let left = |folder: &Path| fs::read_dir(folder).unwrap().count();
    assert_eq!(left(&root.path().join("pods")), 0, "nothing is left behind");
    kubelet.stop().await;
    driver.stop().await;
    let log = bench.provider.log();
    assert!(
        log.iter()
            .all(|line| !line.text.contains("token {") && !line.text.contains("value of"))
    );
    bench.provider.stop().await;
}
