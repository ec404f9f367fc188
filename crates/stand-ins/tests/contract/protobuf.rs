//! Secrets in protobuf, as the driver sends them, and requests for tokens, as providers 2.1 and 2.2 do.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use crate::support::{Cluster, tests};

tests![
    a_secret_in_protobuf_is_the_same_secret_as_in_json,
    an_update_in_protobuf_changes_what_it_changes,
    a_token_is_asked_for_in_protobuf_as_in_json,
    what_is_no_secret_in_protobuf_is_refused,
];

const PROTOBUF: Option<&str> = Some("application/vnd.kubernetes.protobuf");
const TOKEN: &str = "serviceaccounts/default/token";

/// What Kubernetes's own serializer of protobuf (`k8s.io/apimachinery`) makes of a Secret `synced` in the namespace
/// `a`, with resource version 7 and uid `u`.
const RECORDED: &str = "\
azhzAAoMCgJ2MRIGU2VjcmV0EqIBCnsKBnN5bmNlZBIAGgFhIgAqAXUyATc4AEIAWigKIHNlY3JldHMtc3RvcmUuY3NpLms4cy5p\
by9tYW5hZ2VkEgR0cnVlYg8KBG5vdGUSB2dyw7xlemlqIAoKUmVwbGljYVNldBoCcnMiATEqB2FwcHMvdjEwATgBcgN4L3kSCQoF\
ZW1wdHkSABIQCgh1c2VybmFtZRIEAAH/eBoGT3BhcXVlGgAiAA==";

/// The same of a `TokenRequest` for `sts.amazonaws.com`, as provider 2.1.1 sends it.
const ASKED: &str = "\
azhzAAooChhhdXRoZW50aWNhdGlvbi5rOHMuaW8vdjESDFRva2VuUmVxdWVzdBItChAKABIAGgAiACoAMgA4AEIAEhMKEXN0cy5hbWF6\
b25hd3MuY29tGgQKABIAGgAiAA==";

/// The same for `sts.amazonaws.com` and `b`, for 3600 s, bound to the pod `p` with the uid `u`.
const ASKED_FOR_A_POD: &str = "\
azhzAAooChhhdXRoZW50aWNhdGlvbi5rOHMuaW8vdjESDFRva2VuUmVxdWVzdBJEChAKABIAGgAiACoAMgA4AEIAEioKEXN0cy5hbWF6\
b25hd3MuY29tCgFiGg8KA1BvZBICdjEaAXAiAXUgkBwaBAoAEgAaACIA";

/// A namespace whose name is as long as the recorded one's, which stands in the bytes, and the path of its Secrets.
async fn one_letter(cluster: &Cluster, letter: u8) -> String {
    let name = char::from(letter).to_string();
    cluster.furnish(&name).await;
    format!("/api/v1/namespaces/{name}/secrets")
}

/// The recorded Secret in a namespace of one letter, as one that is not stored yet: with neither uid nor resource version.
fn fresh(letter: u8) -> Vec<u8> {
    let mut bytes = STANDARD.decode(RECORDED).unwrap();
    let at = bytes
        .windows(3)
        .position(|window| window == [0x1a, 1, b'a'])
        .unwrap();
    bytes[at + 2] = letter;
    // Both are tag, length and letter: in their place an unknown field, number 100, with the number 0.
    for field in [[0x2a, 1, b'u'], [0x32, 1, b'7']] {
        let at = bytes.windows(3).position(|window| window == field).unwrap();
        bytes[at..at + 3].copy_from_slice(&[0xa0, 6, 0]);
    }
    bytes
}

async fn a_secret_in_protobuf_is_the_same_secret_as_in_json(cluster: Cluster) {
    let secrets = one_letter(&cluster, b'b').await;
    let made = cluster.send("POST", &secrets, PROTOBUF, fresh(b'b')).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let made = made.json();
    assert_eq!(made["data"], json!({"username": "AAH/eA==", "empty": ""}));
    assert_eq!(made["type"], "Opaque");
    let metadata = &made["metadata"];
    assert_eq!(metadata["name"], "synced");
    assert_eq!(
        metadata["labels"],
        json!({"secrets-store.csi.k8s.io/managed": "true"})
    );
    assert_eq!(metadata["annotations"], json!({"note": "gr\u{fc}ezi"}));
    assert_eq!(
        metadata["ownerReferences"],
        json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "1",
            "controller": true, "blockOwnerDeletion": true}])
    );
    assert_eq!(metadata["finalizers"], json!(["x/y"]));
}

async fn an_update_in_protobuf_changes_what_it_changes(cluster: Cluster) {
    let secrets = one_letter(&cluster, b'c').await;
    // Without its owner, which is none: the garbage collector would come for it. Field 15 is nobody's.
    let orphan = || {
        let mut bytes = fresh(b'c');
        let at = bytes
            .windows(3)
            .position(|window| window == [0x6a, 0x20, 0x0a])
            .unwrap();
        bytes[at] = 0x7a;
        bytes
    };
    let made = cluster.send("POST", &secrets, PROTOBUF, orphan()).await.json();
    let metadata = &made["metadata"];
    assert!(metadata["ownerReferences"].is_null(), "{made}");
    let path = format!("{secrets}/synced");
    let same = cluster.send("PUT", &path, PROTOBUF, orphan()).await.json();
    assert_eq!(
        same["metadata"]["resourceVersion"], metadata["resourceVersion"],
        "an update without a change is none"
    );
    let mut changed = orphan();
    let value = [0, 1, 255, b'x'];
    let at = changed.windows(4).position(|window| window == value).unwrap();
    changed[at + 3] = b'y';
    let updated = cluster.send("PUT", &path, PROTOBUF, changed).await.json();
    assert_eq!(updated["data"]["username"], "AAH/eQ==");
    assert_ne!(
        updated["metadata"]["resourceVersion"],
        metadata["resourceVersion"]
    );
}

async fn a_token_is_asked_for_in_protobuf_as_in_json(cluster: Cluster) {
    let recorded = STANDARD.decode(ASKED).unwrap();
    let made = cluster.send("POST", &cluster.at(TOKEN), PROTOBUF, recorded).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let made = made.json();
    assert_eq!(made["spec"]["audiences"], json!(["sts.amazonaws.com"]));
    assert!(
        made["status"]["token"]
            .as_str()
            .is_some_and(|token| !token.is_empty())
    );

    let bound = STANDARD.decode(ASKED_FOR_A_POD).unwrap();
    let no_pod = cluster
        .send("POST", &cluster.at(TOKEN), PROTOBUF, bound.clone())
        .await;
    assert!(no_pod.text.contains("\\\"p\\\" not found"), "{}", no_pod.text);
    // Bound to nothing: field 15 is nobody's.
    let mut free = bound;
    let at = free.windows(2).position(|window| window == [0x1a, 0x0f]).unwrap();
    free[at] = 0x7a;
    // And not for as long as is given to who asks for no time: 3601 s.
    let at = free
        .windows(3)
        .position(|window| window == [0x20, 0x90, 0x1c])
        .unwrap();
    free[at + 1] = 0x91;
    let made = cluster
        .send("POST", &cluster.at(TOKEN), PROTOBUF, free)
        .await
        .json();
    assert_eq!(made["spec"]["audiences"], json!(["sts.amazonaws.com", "b"]));
    assert_eq!(made["spec"]["expirationSeconds"], 3601);
}

async fn what_is_no_secret_in_protobuf_is_refused(cluster: Cluster) {
    let secrets = one_letter(&cluster, b'd').await;
    let mut broken = fresh(b'd');
    broken.truncate(40);
    let mut other = fresh(b'd');
    let at = other.windows(6).position(|window| window == b"Secret").unwrap();
    other[at + 5] = b'7';
    let cases = [
        (
            "POST",
            &secrets,
            b"{}".to_vec(),
            400,
            "the object provided is unrecognized (must be of type Secret): provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]",
        ),
        (
            "POST",
            &secrets,
            Vec::new(),
            400,
            "the object provided is unrecognized (must be of type Secret): empty data",
        ),
        ("POST", &secrets, broken, 400, ""),
        ("POST", &secrets, other, 400, "Secre7 in version"),
        ("PUT", &format!("{secrets}/synced"), fresh(b'd'), 404, "not found"),
        ("POST", &cluster.at(TOKEN), fresh(b'd'), 400, ""),
    ];
    for (method, path, body, status, text) in cases {
        let answer = cluster.send(method, path, PROTOBUF, body).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text);
        assert!(answer.text.contains(text), "{method} {path}: {}", answer.text);
    }
    assert_eq!(cluster.get(&secrets).await.json()["items"], json!([]));
}
