#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

mod servers;

use std::sync::LazyLock;

use jiff::SignedDuration;
use serde_json::json;

use super::*;

const REGION: &str = "eu-west-1";
const ROOT: &str = "arn:aws:iam::111122223333:root";
const ROLE: &str = "arn:aws:iam::111122223333:role/cluster";

/// Making one takes a tenth of a second.
static KEY: LazyLock<ClusterKey> = LazyLock::new(ClusterKey::generate);

struct Account {
    store: EksStore,
    now: Timestamp,
}

impl Account {
    fn new() -> Self {
        Self {
            store: EksStore::new("111122223333", "PEM", SignedDuration::from_secs(60)),
            now: "2026-01-01T12:00:00Z".parse().unwrap(),
        }
    }

    /// One with the cluster `demo`, which is there.
    fn with_demo(mode: &str) -> Self {
        let mut account = Self::new();
        account.done(
            "POST",
            "/clusters",
            json!({ "accessConfig": { "authenticationMode": mode } }),
        );
        account.wait(60);
        account
    }

    fn wait(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    /// Calls an operation, with what every call of its kind needs.
    fn call(&mut self, method: &str, target: &str, mut body: Value) -> Outcome {
        let needed = match (method, target) {
            ("POST", "/clusters") => {
                json!({ "name": "demo", "roleArn": ROLE, "resourcesVpcConfig": { "subnetIds": ["a", "b"] } })
            }
            ("POST", path) if path.ends_with("/node-groups") => {
                json!({ "nodegroupName": "nodes", "subnets": ["a"], "nodeRole": ROLE })
            }
            _ => json!({}),
        };
        for (key, value) in needed.as_object().unwrap() {
            if body.get(key).is_none() {
                body[key] = value.clone();
            }
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let request = Request::read(method, path, query, body.to_string().as_bytes())?;
        let trust = |role: &str, service: &str| match role.rsplit('/').next() {
            Some("gone") => Trust::NoRole,
            Some("pods") if service.starts_with("pods.") => Trust::Given,
            Some("cluster") if !service.starts_with("pods.") => Trust::Given,
            _ => Trust::Refused,
        };
        let setting = Setting {
            region: REGION,
            caller: ROOT,
            now: self.now,
            key: Some(KEY.clone()),
            trust: &trust,
        };
        execute(&mut self.store, &request, setting)
    }

    fn done(&mut self, method: &str, target: &str, body: Value) -> Value {
        self.call(method, target, body)
            .unwrap_or_else(|error| panic!("{method} {target}: {error}"))
    }

    fn get(&mut self, target: &str) -> Value {
        self.done("GET", target, json!({}))
    }

    /// Status, code and text of a refusal.
    fn refused(&mut self, method: &str, target: &str, body: Value) -> (u16, &'static str, String) {
        let error = self.call(method, target, body).unwrap_err();
        (error.status, error.code, error.message)
    }
}

#[test]
fn a_cluster_is_made_is_there_and_is_gone() {
    let mut account = Account::new();
    let made = account.done("POST", "/clusters", json!({ "tags": { "team": "red" } }));
    assert_eq!(made["cluster"]["status"], "CREATING");
    assert_eq!(
        made["cluster"]["arn"],
        "arn:aws:eks:eu-west-1:111122223333:cluster/demo"
    );
    assert_eq!(made["cluster"]["tags"], json!({ "team": "red" }));
    assert_eq!(made["cluster"]["endpoint"], Value::Null, "not before it is there");
    account.wait(59);
    assert_eq!(account.get("/clusters/demo")["cluster"]["status"], "CREATING");
    account.wait(1);
    let there = account.get("/clusters/demo")["cluster"].clone();
    assert_eq!(there["status"], "ACTIVE");
    let issuer = there["identity"]["oidc"]["issuer"].as_str().unwrap();
    let id = issuer
        .strip_prefix("https://oidc.eks.eu-west-1.amazonaws.com/id/")
        .unwrap();
    assert_eq!(id.len(), 32);
    assert!(id.bytes().all(|byte| b"0123456789ABCDEF".contains(&byte)), "{id}");
    assert_eq!(
        there["endpoint"],
        format!("https://{id}.gr7.eu-west-1.eks.amazonaws.com")
    );
    assert_eq!(there["certificateAuthority"]["data"], "UEVN");
    assert_eq!(account.get("/clusters")["clusters"], json!(["demo"]));
    let gone = account.done("DELETE", "/clusters/demo", json!({}));
    assert_eq!(gone["cluster"]["status"], "DELETING");
    account.wait(59);
    assert_eq!(account.get("/clusters/demo")["cluster"]["status"], "DELETING");
    account.wait(1);
    assert_eq!(
        account.refused("GET", "/clusters/demo", json!({})),
        (
            404,
            "ResourceNotFoundException",
            "No cluster found for name: demo.".to_owned()
        )
    );
}

#[test]
fn what_cannot_be_a_cluster_is_refused() {
    let mut account = Account::new();
    let gone = "arn:aws:iam::111122223333:role/gone";
    let parameter = "InvalidParameterException";
    for (body, code, text) in [
        (
            json!({ "name": "-" }),
            parameter,
            "The cluster name must begin with",
        ),
        (
            json!({ "name": "x".repeat(101) }),
            parameter,
            "The cluster name must begin with",
        ),
        (json!({ "name": "" }), parameter, "The parameter name is required"),
        (
            json!({ "name": 1 }),
            "SerializationException",
            "name is not a string",
        ),
        (
            json!({ "version": "1.2" }),
            parameter,
            "unsupported Kubernetes version",
        ),
        (
            json!({ "roleArn": gone }),
            parameter,
            "Role with arn: arn:aws:iam::111122223333:role/gone, could not be assumed",
        ),
        (
            json!({ "resourcesVpcConfig": { "subnetIds": [] } }),
            parameter,
            "The parameter subnetIds is required",
        ),
        (
            json!({ "accessConfig": { "authenticationMode": "X" } }),
            parameter,
            "Invalid authentication mode: X",
        ),
        (
            json!({ "tags": { "aws:x": "" } }),
            parameter,
            "Tag keys that begin with aws: are reserved",
        ),
    ] {
        let (status, given, message) = account.refused("POST", "/clusters", body.clone());
        assert_eq!((status, given), (400, code), "{body}: {message}");
        assert!(message.starts_with(text), "{body}: {message}");
    }
    assert_eq!(account.get("/clusters")["clusters"], json!([]));
}

#[test]
fn a_name_is_taken_once_and_the_same_call_again_is_answered() {
    let mut account = Account::new();
    let body = json!({ "clientRequestToken": "once" });
    let made = account.done("POST", "/clusters", body.clone());
    assert_eq!(account.done("POST", "/clusters", body), made);
    let error = account.call("POST", "/clusters", json!({})).unwrap_err();
    assert_eq!((error.status, error.code), (409, "ResourceInUseException"));
    assert_eq!(
        error.body(),
        json!({ "message": "Cluster already exists with name: demo", "clusterName": "demo" })
    );
}

#[test]
fn node_groups_keep_their_cluster() {
    let mut account = Account::new();
    account.done("POST", "/clusters", json!({}));
    let groups = "/clusters/demo/node-groups";
    let (status, code, _) = account.refused("POST", groups, json!({}));
    assert_eq!(
        (status, code),
        (400, "InvalidRequestException"),
        "while it is being made"
    );
    account.wait(60);
    let made = account.done("POST", groups, json!({}))["nodegroup"].clone();
    assert_eq!(made["status"], "CREATING");
    assert_eq!(
        made["scalingConfig"],
        json!({ "minSize": 1, "maxSize": 2, "desiredSize": 2 })
    );
    let arn = made["nodegroupArn"].as_str().unwrap();
    assert!(
        arn.starts_with("arn:aws:eks:eu-west-1:111122223333:nodegroup/demo/nodes/"),
        "{arn}"
    );
    let again = account.refused("POST", groups, json!({}));
    let text = "NodeGroup already exists with name nodes and cluster name demo";
    assert_eq!(again, (409, "ResourceInUseException", text.to_owned()));
    let attached = account.refused("DELETE", "/clusters/demo", json!({}));
    assert_eq!(
        attached,
        (
            409,
            "ResourceInUseException",
            "Cluster has nodegroups attached".to_owned()
        )
    );
    account.wait(60);
    let path = "/clusters/demo/node-groups/nodes";
    let update =
        json!({ "scalingConfig": { "maxSize": 5 }, "labels": { "addOrUpdateLabels": { "a": "b" } } });
    let update = account.done("POST", &format!("{path}/update-config"), update)["update"].clone();
    assert_eq!(
        (&update["status"], &update["type"]),
        (&json!("InProgress"), &json!("ConfigUpdate"))
    );
    account.wait(60);
    let there = account.get(path)["nodegroup"].clone();
    assert_eq!(
        (&there["status"], &there["labels"]),
        (&json!("ACTIVE"), &json!({ "a": "b" }))
    );
    assert_eq!(there["scalingConfig"]["maxSize"], 5);
    let id = update["id"].as_str().unwrap();
    let update = account.get(&format!("/clusters/demo/updates/{id}?nodegroupName=nodes"));
    assert_eq!(update["update"]["status"], "Successful");
    account.done("DELETE", path, json!({}));
    account.wait(60);
    let text = "No node group found for name: nodes.".to_owned();
    assert_eq!(
        account.refused("GET", path, json!({})),
        (404, "ResourceNotFoundException", text)
    );
    account.done("DELETE", "/clusters/demo", json!({}));
}

#[test]
fn add_ons_have_known_names_and_versions() {
    let mut account = Account::with_demo("API");
    let addons = "/clusters/demo/addons";
    let made = account.done("POST", addons, json!({ "addonName": "vpc-cni" }))["addon"].clone();
    assert_eq!(made["status"], "CREATING");
    let again = account.refused("POST", addons, json!({ "addonName": "vpc-cni" }));
    assert_eq!(
        again,
        (409, "ResourceInUseException", "Addon already exists.".to_owned())
    );
    let old = account.refused(
        "POST",
        addons,
        json!({ "addonName": "coredns", "addonVersion": "v0" }),
    );
    let text = "Addon version specified is not supported".to_owned();
    assert_eq!(old, (400, "InvalidParameterException", text));
    let missing = account.refused("GET", "/clusters/demo/addons/coredns", json!({}));
    let text = "No addon: coredns found in cluster: demo".to_owned();
    assert_eq!(missing, (404, "ResourceNotFoundException", text));
    account.wait(60);
    let versions = account.get("/addons/supported-versions?addonName=vpc-cni");
    let older = &versions["addons"][0]["addonVersions"][1]["addonVersion"];
    account.done(
        "POST",
        "/clusters/demo/addons/vpc-cni/update",
        json!({ "addonVersion": older }),
    );
    account.wait(60);
    assert_eq!(
        account.get("/clusters/demo/addons/vpc-cni")["addon"]["addonVersion"],
        *older
    );
}

#[test]
fn access_entries_say_who_somebody_is() {
    let mut account = Account::with_demo("API");
    let entries = "/clusters/demo/access-entries";
    assert_eq!(
        account.get(entries)["accessEntries"],
        json!([ROOT]),
        "who made it"
    );
    let role = "arn:aws:iam::111122223333:role/path/dev";
    let encoded = "arn%3Aaws%3Aiam%3A%3A111122223333%3Arole%2Fpath%2Fdev";
    let one = format!("{entries}/{encoded}");
    let made = account.done(
        "POST",
        entries,
        json!({ "principalArn": role, "kubernetesGroups": ["devs"] }),
    );
    let made = &made["accessEntry"];
    assert_eq!(
        made["username"],
        "arn:aws:sts::111122223333:assumed-role/dev/{{SessionName}}"
    );
    let arn = made["accessEntryArn"].as_str().unwrap();
    assert!(
        arn.starts_with("arn:aws:eks:eu-west-1:111122223333:access-entry/demo/role/111122223333/dev/"),
        "{arn}"
    );
    let again = account.refused("POST", entries, json!({ "principalArn": role }));
    let text = "The specified access entry resource is already in use on this cluster.".to_owned();
    assert_eq!(again, (409, "ResourceInUseException", text));
    let group = account.refused("POST", &one, json!({ "kubernetesGroups": ["system:masters"] }));
    assert_eq!((group.0, group.1), (400, "InvalidParameterException"));
    let policy = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy";
    let scope = json!({ "type": "namespace", "namespaces": ["team-red"] });
    let policies = format!("{one}/access-policies");
    account.done(
        "POST",
        &policies,
        json!({ "policyArn": policy, "accessScope": scope }),
    );
    let associated = account.get(&policies);
    assert_eq!(associated["associatedAccessPolicies"][0]["policyArn"], policy);
    let session = "arn:aws:sts::111122223333:assumed-role/dev/me@home";
    let identity = identify(&account.store, REGION, "demo", session, role).unwrap();
    assert_eq!(
        identity.username,
        "arn:aws:sts::111122223333:assumed-role/dev/me-home"
    );
    assert_eq!(identity.groups, ["devs"]);
    assert_eq!(
        (
            identity.policies[0].arn.as_str(),
            identity.policies[0].namespaces.as_slice()
        ),
        (policy, &["team-red".to_owned()][..])
    );
    let encoded_policy = policy.replace(':', "%3A").replace('/', "%2F");
    account.done("DELETE", &format!("{policies}/{encoded_policy}"), json!({}));
    account.done("DELETE", &one, json!({}));
    assert_eq!(identify(&account.store, REGION, "demo", session, role), None);
    let (status, code, text) = account.refused("GET", &one, json!({}));
    assert_eq!((status, code), (404, "ResourceNotFoundException"));
    assert!(
        text.starts_with("The specified principalArn could not be found."),
        "{text}"
    );
}

#[test]
fn without_access_entries_there_is_only_who_made_the_cluster() {
    let mut account = Account::with_demo("CONFIG_MAP");
    let (status, code, text) = account.refused("GET", "/clusters/demo/access-entries", json!({}));
    assert_eq!((status, code), (400, "InvalidRequestException"));
    assert!(
        text.starts_with("The cluster's authentication mode must be set to one of"),
        "{text}"
    );
    let root = identify(&account.store, REGION, "demo", ROOT, ROOT).unwrap();
    assert_eq!(root.groups, ["system:masters"]);
    assert_eq!(identify(&account.store, REGION, "demo", ROLE, ROLE), None);
    let api = json!({ "accessConfig": { "authenticationMode": "API" } });
    account.done("POST", "/clusters/demo/update-config", api);
    account.wait(60);
    assert_eq!(
        account.get("/clusters/demo/access-entries")["accessEntries"],
        json!([])
    );
    let back = json!({ "accessConfig": { "authenticationMode": "CONFIG_MAP" } });
    let (_, code, text) = account.refused("POST", "/clusters/demo/update-config", back);
    assert_eq!(code, "InvalidParameterException", "{text}");
}

#[test]
fn a_service_account_has_one_role() {
    let mut account = Account::with_demo("API");
    let all = "/clusters/demo/pod-identity-associations";
    let pods = "arn:aws:iam::111122223333:role/pods";
    let wanted = |role: &str| json!({ "namespace": "team-red", "serviceAccount": "app", "roleArn": role });
    let made = account.done("POST", all, wanted(pods))["association"].clone();
    let id = made["associationId"].as_str().unwrap();
    assert!(id.len() == 19 && id.starts_with("a-"), "{id}");
    assert_eq!(
        made["associationArn"],
        format!("arn:aws:eks:eu-west-1:111122223333:podidentityassociation/demo/{id}")
    );
    let again = account.refused("POST", all, wanted(pods));
    assert_eq!(
        again,
        (
            409,
            "ResourceInUseException",
            format!("Association already exists: {id}")
        )
    );
    let identity = pod_identity(&account.store, REGION, "demo", "team-red", "app").unwrap();
    assert_eq!((identity.role.as_str(), identity.session_tags), (pods, true));
    assert_eq!(
        pod_identity(&account.store, REGION, "demo", "team-blue", "app"),
        None
    );
    let one = format!("{all}/{id}");
    let gone = account.refused(
        "POST",
        &one,
        json!({ "roleArn": "arn:aws:iam::111122223333:role/gone" }),
    );
    let text = "Role provided in the request does not exist.".to_owned();
    assert_eq!(gone, (400, "InvalidParameterException", text));
    let other = account.refused("POST", &one, json!({ "roleArn": ROLE }));
    assert_eq!(other.1, "InvalidParameterException");
    let narrow = account.refused("POST", &one, json!({ "policy": "{}" }));
    assert_eq!(
        narrow.1, "InvalidParameterException",
        "refused rather than ignored"
    );
    account.done("POST", &one, json!({ "disableSessionTags": true }));
    assert_eq!(
        account.get(&format!("{all}?namespace=team-blue"))["associations"],
        json!([])
    );
    account.done("DELETE", &one, json!({}));
    assert_eq!(
        pod_identity(&account.store, REGION, "demo", "team-red", "app"),
        None
    );
}

#[test]
fn everything_is_authorised_on_its_arn() {
    let mut account = Account::with_demo("API");
    account.done(
        "POST",
        "/clusters/demo/addons",
        json!({ "addonName": "vpc-cni", "tags": { "team": "red" } }),
    );
    let addon = account.get("/clusters/demo/addons/vpc-cni")["addon"]["addonArn"].clone();
    let eks = |rest: &str| format!("arn:aws:eks:eu-west-1:111122223333:{rest}");
    for (method, path, expected) in [
        ("GET", "/clusters", eks("cluster/*")),
        ("GET", "/clusters/other", eks("cluster/other")),
        ("GET", "/clusters/demo/addons", eks("cluster/demo")),
        (
            "GET",
            "/clusters/demo/addons/vpc-cni",
            addon.as_str().unwrap().to_owned(),
        ),
        (
            "GET",
            "/clusters/demo/addons/other",
            eks("addon/demo/other/??????"),
        ),
        (
            "GET",
            "/clusters/demo/node-groups/other",
            eks("nodegroup/demo/other/??????"),
        ),
        (
            "GET",
            "/clusters/demo/pod-identity-associations/a-1",
            eks("podidentityassociation/demo/a-1"),
        ),
        ("GET", "/access-policies", "*".to_owned()),
    ] {
        let request = Request::read(method, path, "", b"").unwrap();
        let wanted = authorisations(&account.store, REGION, &request).unwrap();
        assert_eq!(wanted.len(), 1);
        assert_eq!(wanted[0].resource, expected, "{path}");
    }
    let tagged = Request::read("DELETE", "/clusters/demo/addons/vpc-cni", "", b"").unwrap();
    let wanted = authorisations(&account.store, REGION, &tagged).unwrap();
    assert_eq!(wanted[0].action, "eks:DeleteAddon");
    assert_eq!(
        wanted[0].keys.values("aws:ResourceTag/team"),
        Some(&["red".to_owned()][..])
    );
    let body = json!({ "name": "x", "roleArn": ROLE, "tags": { "a": "b" } }).to_string();
    let create = Request::read("POST", "/clusters", "", body.as_bytes()).unwrap();
    let wanted = authorisations(&account.store, REGION, &create).unwrap();
    assert_eq!(
        wanted[0].keys.values("aws:RequestTag/a"),
        Some(&["b".to_owned()][..])
    );
    let passed = (&*wanted[1].action, wanted[1].resource.as_str());
    assert_eq!(
        passed,
        ("iam:PassRole", ROLE),
        "who hands a role over has to be allowed to"
    );
}

#[test]
fn tags_come_and_go() {
    let mut account = Account::with_demo("API");
    let path = "/tags/arn%3Aaws%3Aeks%3Aeu-west-1%3A111122223333%3Acluster%2Fdemo";
    account.done("POST", path, json!({ "tags": { "a": "1", "b": "2" } }));
    account.done("DELETE", &format!("{path}?tagKeys=a"), json!({}));
    assert_eq!(account.get(path), json!({ "tags": { "b": "2" } }));
    let (status, code, _) = account.refused("GET", &path.replace("demo", "other"), json!({}));
    assert_eq!((status, code), (404, "NotFoundException"));
}

#[test]
fn lists_come_in_pages() {
    let mut account = Account::new();
    for name in ["a", "b", "c"] {
        account.done("POST", "/clusters", json!({ "name": name }));
    }
    let first = account.get("/clusters?maxResults=2");
    assert_eq!(first["clusters"], json!(["a", "b"]));
    let token = first["nextToken"].as_str().unwrap();
    let second = account.get(&format!("/clusters?maxResults=2&nextToken={token}"));
    assert_eq!(
        (&second["clusters"], &second["nextToken"]),
        (&json!(["c"]), &Value::Null)
    );
    for query in ["maxResults=0", "maxResults=101", "maxResults=x", "nextToken=%25"] {
        let (_, code, _) = account.refused("GET", &format!("/clusters?{query}"), json!({}));
        assert_eq!(code, "InvalidParameterException", "{query}");
    }
}

#[test]
fn what_is_no_operation_is_refused() {
    let mut account = Account::new();
    for (method, path) in [
        ("GET", "/"),
        ("PUT", "/clusters"),
        ("GET", "/clusters/a/b"),
        ("GET", "/clusters/a/addons/b/c"),
    ] {
        let (status, code, _) = account.refused(method, path, json!({}));
        assert_eq!(
            (status, code),
            (404, "UnknownOperationException"),
            "{method} {path}"
        );
    }
    assert_eq!(
        Request::read("POST", "/clusters", "", b"{").unwrap_err().code,
        "SerializationException"
    );
    assert_eq!(
        Request::read("POST", "/clusters", "", b"[]").unwrap_err().code,
        "SerializationException"
    );
}
