//! What is different, on purpose: each difference is seen on both servers, so that one that goes has to go from here too.

use serde_json::{Value, json};

use crate::{
    custom_resources::{DEFINITIONS, established},
    support::{Cluster, NODE, pod, tests},
};

tests![what_differs_differs_as_listed];

/// Something that both are asked.
struct Difference {
    /// Why it may stay.
    why: &'static str,
    asked: Asked,
    stand_in: Value,
    real: Value,
}

enum Asked {
    /// The code of an answer in this form.
    Form(String, &'static str),
    /// The code of a list that a node asks for.
    ByNode(String),
    /// The code of a request.
    Code(&'static str, String, &'static str, Value),
    /// A place in what became of a new object.
    Place(String, Value, &'static str),
}

fn differences(cluster: &Cluster, group: &str) -> Vec<Difference> {
    let difference = |why, asked, stand_in: Value, real: Value| Difference {
        why,
        asked,
        stand_in,
        real,
    };
    let (pods, secrets) = (cluster.pods(), cluster.at("secrets"));
    let subject = json!({ "metadata": { "name": "b" }, "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r" }, "subjects": [] });
    let unknown = json!({ "metadata": { "name": "unknown" }, "bogus": 1 });
    let class = json!({ "apiVersion": format!("{group}/v1"), "kind": "Thing", "metadata": { "name": "t" }, "bogus": 1 });
    vec![
        difference(
            "no client here reads protobuf only",
            Asked::Form(pods.clone(), "application/vnd.kubernetes.protobuf"),
            json!(406),
            json!(200),
        ),
        difference(
            "tables are for people",
            Asked::Form(pods.clone(), "application/json;as=Table;g=meta.k8s.io;v=v1"),
            json!(406),
            json!(200),
        ),
        difference(
            "the same for a model of everything, by which kubectl checks what it sends",
            Asked::Form("/openapi/v3".to_owned(), "application/json"),
            json!(404),
            json!(200),
        ),
        difference(
            "of other kinds than Secrets no client here sends protobuf: the real one says that it is no ConfigMap",
            Asked::Code(
                "POST",
                cluster.maps(),
                "application/vnd.kubernetes.protobuf",
                json!("k8s\u{0}"),
            ),
            json!(415),
            json!(400),
        ),
        difference(
            "RBAC is stored, not enforced: what the rights of driver and provider suffice for shows with a real control plane",
            Asked::ByNode(secrets.clone()),
            json!(200),
            json!(403),
        ),
        difference(
            "no field is unknown to it",
            Asked::Code(
                "POST",
                format!("{secrets}?fieldValidation=Strict"),
                "application/json",
                unknown,
            ),
            json!(201),
            json!(400),
        ),
        difference(
            "nor to a definition, whose schema is not looked at: classes and status objects are made by programs that know it",
            Asked::Place(
                cluster.at_group(&format!("{group}/v1"), "things"),
                class,
                "/bogus",
            ),
            json!(1),
            Value::Null,
        ),
        difference(
            "what is given is kept, an empty list too, which the Go types leave out",
            Asked::Place(
                cluster.at_group("rbac.authorization.k8s.io/v1", "rolebindings"),
                subject,
                "/subjects",
            ),
            json!([]),
            Value::Null,
        ),
        difference(
            "no container runs here that would read a token of its own",
            Asked::Place(pods, pod("p"), "/spec/containers/0/volumeMounts/0/mountPath"),
            Value::Null,
            json!("/var/run/secrets/kubernetes.io/serviceaccount"),
        ),
        difference(
            "a node takes pods as soon as it says how many: it is not tainted until it is ready",
            Asked::Place(
                "/api/v1/nodes".to_owned(),
                json!({ "metadata": { "name": cluster.named("tainted") } }),
                "/spec/taints/0/key",
            ),
            Value::Null,
            json!("node.kubernetes.io/not-ready"),
        ),
    ]
}

async fn what_differs_differs_as_listed(cluster: Cluster) {
    let group = cluster.named("x.dev");
    let definition = json!({ "metadata": { "name": format!("things.{group}") }, "spec": {
        "group": group, "scope": "Namespaced", "names": { "kind": "Thing", "plural": "things", "singular": "thing" },
        "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": { "type": "object" } } }],
    } });
    let made = cluster.post(DEFINITIONS, &definition).await;
    assert_eq!(made.status, 201, "{}", made.text);
    established(&cluster, &format!("things.{group}")).await;

    let mut wrong = Vec::new();
    for Difference {
        why,
        asked,
        stand_in,
        real,
    } in differences(&cluster, &group)
    {
        let seen = see(&cluster, asked).await;
        let expected = if cluster.is_real() { real } else { stand_in };
        if seen != expected {
            wrong.push(format!("{why}: {seen} for {expected}"));
        }
    }
    assert!(wrong.is_empty(), "not as listed:\n{}", wrong.join("\n"));
}

async fn see(cluster: &Cluster, asked: Asked) -> Value {
    match asked {
        Asked::Form(path, form) => cluster.accepting(&path, form).await.0.into(),
        Asked::ByNode(path) => {
            let token = cluster.server().component_token(&format!("system:node:{NODE}"));
            let answer = cluster.send_as(&token, "GET", &path, None, "").await;
            answer.status.as_u16().into()
        }
        Asked::Code(method, path, kind, body) => {
            let body = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
            let answer = cluster.send(method, &path, Some(kind), body).await;
            answer.status.as_u16().into()
        }
        Asked::Place(path, object, place) => {
            let made = cluster.post(&path, &object).await;
            assert_eq!(made.status, 201, "{path}: {}", made.text);
            made.json().pointer(place).cloned().unwrap_or_default()
        }
    }
}
