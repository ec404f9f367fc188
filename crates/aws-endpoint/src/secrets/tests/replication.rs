//! Secrets in several regions, saved secrets, and the end of the recovery window.

use super::*;

const OTHER: &str = "us-east-1";
const ON_REPLICA: &str =
    "Operation not permitted on a replica secret. Call must be made in primary secret's region.";

/// A secret `s` with a replica in [`OTHER`]; its ARN.
fn replicated(account: &mut Account) -> String {
    let created = account.ok(
        "CreateSecret",
        json!({
            "Name": "s", "SecretString": "1", "ClientRequestToken": token(1), "Tags": [{"Key": "k", "Value": "v"}],
            "AddReplicaRegions": [{"Region": OTHER}],
        }),
    );
    assert_eq!(
        created["ReplicationStatus"],
        json!([{"Region": OTHER, "KmsKeyId": "alias/aws/secretsmanager", "Status": "InProgress"}])
    );
    created["ARN"].as_str().unwrap().to_owned()
}

#[test]
fn a_replica_has_the_same_suffix_and_follows_its_primary() {
    let mut account = Account::new();
    let arn = replicated(&mut account).replace(REGION, OTHER);
    let read = account.ok_in(OTHER, "GetSecretValue", json!({"SecretId": arn}));
    assert_eq!((&read["ARN"], &read["SecretString"]), (&json!(arn), &json!("1")));
    account.put("s", 2, "2");
    account.ok(
        "TagResource",
        json!({"SecretId": "s", "Tags": [{"Key": "k", "Value": "w"}]}),
    );
    let policy = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Deny", "Principal": "*", "Action": "secretsmanager:*", "Resource": "*",
    }]});
    account.ok(
        "PutResourcePolicy",
        json!({"SecretId": "s", "ResourcePolicy": policy.to_string()}),
    );
    let read = account.ok_in(OTHER, "GetSecretValue", json!({"SecretId": "s"}));
    assert_eq!(
        (&read["VersionId"], &read["SecretString"]),
        (&json!(token(2)), &json!("2"))
    );
    let described = account.ok_in(OTHER, "DescribeSecret", json!({"SecretId": "s"}));
    assert_eq!(described["PrimaryRegion"], REGION);
    assert_eq!(described["Tags"], json!([{"Key": "k", "Value": "w"}]));
    assert_eq!(described.get("ReplicationStatus"), None);
    let wanted = authorisation(
        &account.store,
        &account.kms,
        DefaultKeys::Granted,
        OTHER,
        "GetSecretValue",
        &json!({"SecretId": "s"}),
    );
    assert!(wanted.unwrap().resource_policy.is_some(), "the policy goes along");

    let described = account.ok("DescribeSecret", json!({"SecretId": "s"}));
    assert_eq!(described["PrimaryRegion"], REGION);
    let status = &described["ReplicationStatus"][0];
    assert_eq!(
        (&status["Region"], &status["Status"]),
        (&json!(OTHER), &json!("InSync"))
    );
    assert!(status["LastAccessedDate"].is_number(), "{status}");
    for (region, names) in [(REGION, 1), (OTHER, 1), ("eu-north-1", 0)] {
        let listed = account.ok_in(
            region,
            "ListSecrets",
            json!({"Filters": [{"Key": "primary-region", "Values": [REGION]}]}),
        );
        assert_eq!(listed["SecretList"].as_array().unwrap().len(), names, "{region}");
    }
}

#[test]
fn a_replica_is_changed_in_nothing_but_its_key() {
    let mut account = Account::new();
    replicated(&mut account);
    for (operation, more) in [
        (
            "PutSecretValue",
            json!({"SecretString": "2", "ClientRequestToken": token(2)}),
        ),
        ("UpdateSecret", json!({"Description": "d"})),
        ("TagResource", json!({"Tags": []})),
        ("UntagResource", json!({"TagKeys": []})),
        ("DeleteSecret", json!({})),
        ("DeleteSecret", json!({"ForceDeleteWithoutRecovery": true})),
        ("RestoreSecret", json!({})),
        ("PutResourcePolicy", json!({"ResourcePolicy": "{}"})),
        ("DeleteResourcePolicy", json!({})),
        ("UpdateSecretVersionStage", json!({"VersionStage": "x"})),
        ("RotateSecret", json!({})),
        ("CancelRotateSecret", json!({})),
        (
            "ReplicateSecretToRegions",
            json!({"AddReplicaRegions": [{"Region": "eu-north-1"}]}),
        ),
        (
            "RemoveRegionsFromReplication",
            json!({"RemoveReplicaRegions": [OTHER]}),
        ),
    ] {
        let mut body = more.clone();
        body["SecretId"] = json!("s");
        let error = account.call_in(OTHER, operation, body).expect_err(operation);
        assert_eq!(
            (error.code, error.message.as_str()),
            ("InvalidParameterException", ON_REPLICA),
            "{operation}"
        );
    }
    account.ok_in(
        OTHER,
        "UpdateSecret",
        json!({"SecretId": "s", "KmsKeyId": "alias/aws/secretsmanager"}),
    );
}

#[test]
fn a_secret_with_replicas_is_not_deleted() {
    let mut account = Account::new();
    let arn = replicated(&mut account);
    for force in [false, true] {
        let body = json!({"SecretId": "s", "ForceDeleteWithoutRecovery": force});
        let text = format!("You can't delete secret {arn} that still has replica regions [{OTHER}].");
        assert_eq!(
            account.refused("DeleteSecret", body),
            ("InvalidParameterException", text)
        );
    }
    let body = json!({"SecretId": "s", "RemoveReplicaRegions": [OTHER]});
    let removed = account.ok("RemoveRegionsFromReplication", body);
    assert_eq!(removed, json!({"ARN": arn, "ReplicationStatus": []}));
    let gone = account.call_in(OTHER, "GetSecretValue", json!({"SecretId": "s"}));
    assert_eq!(gone.unwrap_err().message, NOT_FOUND);
    account.ok("DeleteSecret", json!({"SecretId": "s"}));
}

#[test]
fn a_promoted_replica_is_a_secret_of_its_own() {
    let mut account = Account::new();
    let arn = replicated(&mut account);
    let promoted = account.ok_in(OTHER, "StopReplicationToReplica", json!({"SecretId": "s"}));
    assert_eq!(promoted["ARN"], arn.replace(REGION, OTHER));
    account.put("s", 2, "here");
    account.ok_in(
        OTHER,
        "PutSecretValue",
        json!({"SecretId": "s", "SecretString": "there", "ClientRequestToken": token(3)}),
    );
    for (region, value) in [(REGION, "here"), (OTHER, "there")] {
        let read = account.ok_in(region, "GetSecretValue", json!({"SecretId": "s"}));
        assert_eq!(read["SecretString"], value);
        let described = account.ok_in(region, "DescribeSecret", json!({"SecretId": "s"}));
        assert_eq!(described.get("PrimaryRegion"), None, "{described}");
    }
    assert_eq!(
        account
            .refused("StopReplicationToReplica", json!({"SecretId": "s"}))
            .0,
        "InvalidParameterException"
    );
}

#[test]
fn a_secret_in_the_way_is_told_of_or_replaced() {
    let mut account = Account::new();
    account.create("s", "primary");
    let body = json!({"Name": "s", "SecretString": "in the way", "ClientRequestToken": token(9)});
    account.ok_in(OTHER, "CreateSecret", body);
    let ask = |force| {
        json!({
            "SecretId": "s", "AddReplicaRegions": [{"Region": OTHER}], "ForceOverwriteReplicaSecret": force,
        })
    };
    for (force, status, message, value) in [
        (
            false,
            "Failed",
            "Replication failed: Secret name s already exists in region us-east-1.",
            "in the way",
        ),
        (true, "InSync", "Replication succeeded", "primary"),
    ] {
        account.ok("ReplicateSecretToRegions", ask(force));
        let described = account.ok("DescribeSecret", json!({"SecretId": "s"}));
        let shown = &described["ReplicationStatus"][0];
        assert_eq!(
            (&shown["Status"], &shown["StatusMessage"]),
            (&json!(status), &json!(message))
        );
        let read = account.ok_in(OTHER, "GetSecretValue", json!({"SecretId": "s"}));
        assert_eq!(read["SecretString"], value);
    }
    for region in [REGION, "nowhere", "EU-west-1"] {
        let body = json!({"SecretId": "s", "AddReplicaRegions": [{"Region": region}]});
        assert_eq!(
            account.refused("ReplicateSecretToRegions", body),
            ("InvalidParameterException", "Invalid replica region.".to_owned()),
            "{region}"
        );
    }
}

#[test]
fn a_secret_is_gone_when_its_window_has_ended() {
    let mut account = Account::new();
    for name in ["kept", "gone", "restored"] {
        account.create(name, "1");
    }
    account.ok(
        "DeleteSecret",
        json!({"SecretId": "kept", "RecoveryWindowInDays": 30}),
    );
    account.ok(
        "DeleteSecret",
        json!({"SecretId": "gone", "RecoveryWindowInDays": 7}),
    );
    account.ok(
        "DeleteSecret",
        json!({"SecretId": "restored", "RecoveryWindowInDays": 7}),
    );
    account.ok("RestoreSecret", json!({"SecretId": "restored"}));
    account.now += 7 * 24 * 3600 - 10;
    assert_eq!(
        account.refused("GetSecretValue", json!({"SecretId": "gone"})).1,
        MARKED
    );
    account.now += 20;
    assert_eq!(
        account.refused("GetSecretValue", json!({"SecretId": "gone"})).1,
        NOT_FOUND
    );
    assert_eq!(
        account.refused("GetSecretValue", json!({"SecretId": "kept"})).1,
        MARKED
    );
    account.ok("GetSecretValue", json!({"SecretId": "restored"}));
    account.create("gone", "anew");
}

#[test]
fn what_was_saved_comes_back_as_it_was() {
    let mut account = Account::new();
    replicated(&mut account);
    account.put("s", 2, "2");
    let policy = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000000:role/x"},
        "Action": "secretsmanager:GetSecretValue", "Resource": "*",
    }]});
    account.ok(
        "PutResourcePolicy",
        json!({"SecretId": "s", "ResourcePolicy": policy.to_string()}),
    );
    account.create("deleted", "1");
    account.ok(
        "DeleteSecret",
        json!({"SecretId": "deleted", "RecoveryWindowInDays": 7}),
    );
    let saved = serde_json::to_value(&account.store).unwrap();
    account.store = serde_json::from_value(saved.clone()).unwrap();
    assert_eq!(serde_json::to_value(&account.store).unwrap(), saved);
    assert_eq!(
        account.ok("GetSecretValue", json!({"SecretId": "s"}))["SecretString"],
        "2"
    );
    let wanted = authorisation(
        &account.store,
        &account.kms,
        DefaultKeys::Granted,
        REGION,
        "GetSecretValue",
        &json!({"SecretId": "s"}),
    );
    assert_eq!(
        &*wanted.unwrap().resource_policy.unwrap().name,
        "resource policy of s"
    );
    account.now += 8 * 24 * 3600;
    assert_eq!(
        account.refused("RestoreSecret", json!({"SecretId": "deleted"})).1,
        NOT_FOUND
    );
    assert!(serde_json::from_value::<SecretStore>(json!({"regions": 1})).is_err());
}
