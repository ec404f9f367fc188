//! Keys as a tenant has them: what is under one is read by those whom its policy and their own let decrypt, be it a
//! secret or a parameter.

use mountproof_aws_endpoint::CallVerdict;
use serde_json::{Value, json};

use crate::support::{ACCOUNT, Answer, Caller, Site, policy, role_arn, session_arn};

const SECRET: &str = "demo/team-red/locked";
const PARAMETER: &str = "/demo/team-red/locked";
const IDENTITY: &str = "because no identity-based policy allows the kms:Decrypt action";
const RESOURCE: &str = "because no resource-based policy allows the kms:Decrypt action";
const DENIED_HERE: &str = "with an explicit deny in an identity-based policy";
const DENIED_THERE: &str = "with an explicit deny in a resource-based policy";

/// A secret and a parameter of the tenant, under a key or else under the default ones.
async fn locked(site: &Site, key: Option<&str>) {
    let mut secret = json!({"Name": SECRET, "SecretString": "a value"});
    let mut parameter = json!({"Name": PARAMETER, "Value": "a value", "Type": "SecureString"});
    if let Some(key) = key {
        secret["KmsKeyId"] = json!(key);
        parameter["KeyId"] = json!(key);
    }
    site.done("CreateSecret", secret).await;
    let made = site.parameters(&site.root, "PutParameter", parameter).await;
    assert_eq!(made.status, 200, "{}", made.text);
}

/// Gives the tenant what it needs but for keys, and these statements about them.
async fn allow(site: &Site, about_keys: &[Value]) {
    let own = [
        json!({"Effect": "Allow", "Action": "secretsmanager:*", "Resource": "*"}),
        json!({"Effect": "Allow", "Action": "ssm:*", "Resource": "*"}),
    ];
    let statements: Vec<&Value> = own.iter().chain(about_keys).collect();
    site.allow(
        "team-red",
        &json!({"Version": "2012-10-17", "Statement": statements}),
    )
    .await;
}

async fn read_secret(site: &Site, caller: &Caller) -> Answer {
    site.get(caller, SECRET).await
}

async fn read_parameter(site: &Site, caller: &Caller) -> Answer {
    let input = json!({"Name": PARAMETER, "WithDecryption": true});
    site.parameters(caller, "GetParameter", input).await
}

/// Reads both: they are read, or denied for this reason, in the words of each service.
async fn expect(site: &Site, caller: &Caller, key: &str, refused: Option<&str>, case: &str) {
    let (secret, of_secret) = site.logged(read_secret(site, caller)).await;
    let (parameter, of_parameter) = site.logged(read_parameter(site, caller)).await;
    let Some(because) = refused else {
        assert_eq!(secret.value_or_code(), "a value", "{case}");
        assert_eq!(parameter.json()["Parameter"]["Value"], "a value", "{case}");
        return;
    };
    let code = "AccessDeniedException".to_owned();
    let text = "Access to KMS is not allowed".to_owned();
    assert_eq!(secret.error(), (400, code.clone(), text), "{case}");
    let (status, given, text) = parameter.error();
    let user = session_arn("team-red");
    let expected = format!(
        "User: {user} is not authorized to perform: kms:Decrypt on resource: {key} {because} (Service: AWSKMS; \
         Status Code: 400; Error Code: AccessDeniedException; Request ID: "
    );
    assert_eq!((status, given), (400, code), "{case}");
    assert!(text.starts_with(&expected), "{case}: {text}");
    for call in [of_secret, of_parameter] {
        assert_eq!(call.verdict, CallVerdict::Denied, "{case}");
        let reason = call.reason.unwrap();
        assert!(reason.contains(because), "{case}: the log tells why: {reason}");
    }
}

fn on(effect: &str, action: &str, resource: &str) -> Value {
    json!({"Effect": effect, "Action": action, "Resource": resource})
}

fn of_key(effect: &str, principal: &str) -> Value {
    json!({"Effect": effect, "Principal": {"AWS": principal}, "Action": "kms:Decrypt", "Resource": "*"})
}

#[tokio::test]
async fn what_is_under_a_key_is_read_by_those_whom_both_policies_let_decrypt() {
    let (site, red) = Site::with_red().await;
    site.tenant("team-blue").await;
    let (key, other) = (site.key().await, site.key().await);
    locked(&site, Some(&key)).await;
    let root = format!("arn:aws:iam::{ACCOUNT}:root");
    let to_account = of_key("Allow", &root);
    let to_red = of_key("Allow", &role_arn("team-red"));
    let to_blue = of_key("Allow", &role_arn("team-blue"));
    let not_to_red = of_key("Deny", &role_arn("team-red"));
    let decrypt = on("Allow", "kms:Decrypt", &key);
    let deny = on("Deny", "kms:Decrypt", &key);
    let elsewhere = on("Allow", "kms:Decrypt", &other);
    let encrypt = on("Allow", "kms:Encrypt", &key);
    let meant = |arn: &str| {
        let mut decrypt = decrypt.clone();
        let context = [
            "kms:EncryptionContext:SecretARN",
            "kms:EncryptionContext:PARAMETER_ARN",
        ];
        let context = context.map(|key| (key.to_owned(), json!(arn)));
        decrypt["Condition"] = json!({"StringLikeIfExists": Value::Object(context.into_iter().collect())});
        decrypt
    };
    let cases = [
        // The key leaves it to the account.
        (vec![&to_account], vec![], Some(IDENTITY)),
        (vec![&to_account], vec![&decrypt], None),
        (vec![&to_account], vec![&elsewhere], Some(IDENTITY)),
        (vec![&to_account], vec![&encrypt], Some(IDENTITY)),
        (vec![&to_account], vec![&decrypt, &deny], Some(DENIED_HERE)),
        // It names the role: within an account that is enough.
        (vec![&to_red], vec![], None),
        (vec![&to_red], vec![&deny], Some(DENIED_HERE)),
        (vec![&to_account, &not_to_red], vec![&decrypt], Some(DENIED_THERE)),
        (vec![&to_red, &not_to_red], vec![], Some(DENIED_THERE)),
        // It names neither: nothing that the account allows counts.
        (vec![&to_blue], vec![&decrypt], Some(RESOURCE)),
        (vec![], vec![&decrypt], Some(RESOURCE)),
    ];
    for (of_key, of_role, refused) in cases {
        let case = format!("key {of_key:?}, role {of_role:?}");
        put_policy(&site, &key, &of_key).await;
        allow(&site, &of_role.into_iter().cloned().collect::<Vec<_>>()).await;
        expect(&site, &red, &key, refused, &case).await;
    }
    put_policy(&site, &key, &[&to_account]).await;
    for (pattern, refused) in [
        ("arn:aws:*demo/team-re/*", Some(IDENTITY)),
        ("arn:aws:*demo/team-red/*", None),
        ("arn:aws:*demo/team-blue/*", Some(IDENTITY)),
    ] {
        allow(&site, &[meant(pattern)]).await;
        expect(&site, &red, &key, refused, pattern).await;
    }
}

/// Gives a key these statements, and leaves its administration to the account.
async fn put_policy(site: &Site, key: &str, statements: &[&Value]) {
    let administered = json!({
        "Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::{ACCOUNT}:root")},
        "Action": "kms:*KeyPolicy", "Resource": "*",
    });
    let statements: Vec<&Value> = statements.iter().copied().chain([&administered]).collect();
    let policy = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
    let put = json!({"KeyId": key, "PolicyName": "default", "Policy": policy});
    let answer = site.keys(&site.root, "PutKeyPolicy", put).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

#[tokio::test]
async fn a_key_may_be_for_one_service_only() {
    let (site, red) = Site::with_red().await;
    let key = site.key().await;
    locked(&site, Some(&key)).await;
    for (service, secret, parameter) in [("secretsmanager", 200, 400), ("ssm", 400, 200), ("s3", 400, 400)] {
        let mut through = on("Allow", "kms:Decrypt", "*");
        let name = format!("{service}.eu-west-1.amazonaws.com");
        through["Condition"] = json!({"StringEquals": {"kms:ViaService": name}});
        allow(&site, &[through]).await;
        assert_eq!(read_secret(&site, &red).await.status, secret, "{service}");
        assert_eq!(read_parameter(&site, &red).await.status, parameter, "{service}");
    }
}

#[tokio::test]
async fn a_default_key_asks_for_nothing_and_a_denial_bites_all_the_same() {
    let (site, red) = Site::with_red().await;
    locked(&site, None).await;
    let key = |alias: &'static str| {
        let site = &site;
        async move {
            let described = site.keys(&site.root, "DescribeKey", json!({"KeyId": alias}));
            let described = described.await.json();
            described["KeyMetadata"]["Arn"].as_str().unwrap().to_owned()
        }
    };
    // Before anyone has seen the keys, whose ARNs are then known to nobody.
    allow(&site, &[]).await;
    assert_eq!(read_secret(&site, &red).await.value_or_code(), "a value");
    allow(&site, &[on("Deny", "kms:*", "*")]).await;
    assert_eq!(
        read_secret(&site, &red).await.message(),
        "Access to KMS is not allowed"
    );
    assert!(read_parameter(&site, &red).await.message().contains(DENIED_HERE));

    let (secrets, parameters) = (key("alias/aws/secretsmanager").await, key("alias/aws/ssm").await);
    let region = "arn:aws:kms:eu-west-1:000000000000:key/*";
    let through = |service: &str, operator: &str| {
        let mut deny = on("Deny", "kms:Decrypt", "*");
        let name = format!("{service}.eu-west-1.amazonaws.com");
        deny["Condition"] = json!({operator: {"kms:ViaService": name}});
        deny
    };
    for (about_keys, secret, parameter) in [
        (vec![], 200, 200),
        (vec![on("Allow", "kms:Decrypt", &secrets)], 200, 200),
        (vec![on("Deny", "kms:Decrypt", "*")], 400, 400),
        (vec![on("Deny", "kms:Decrypt", region)], 400, 400),
        (vec![on("Deny", "kms:Decrypt", &secrets)], 400, 200),
        (vec![on("Deny", "kms:Decrypt", &parameters)], 200, 400),
        (vec![on("Deny", "KMS:decrypt", &parameters)], 200, 400),
        (vec![through("ssm", "StringEquals")], 200, 400),
        (vec![through("ssm", "StringNotEquals")], 400, 200),
        // Other uses, other keys: nothing to do with reading.
        (vec![on("Deny", "kms:Encrypt", "*")], 200, 200),
        (
            vec![on("Deny", "kms:*", "arn:aws:kms:us-east-1:000000000000:key/*")],
            200,
            200,
        ),
        (
            vec![json!({"Effect": "Deny", "NotAction": ["ssm:*", "secretsmanager:*"], "Resource": "*"})],
            400,
            400,
        ),
        (
            vec![
                json!({"Effect": "Deny", "NotAction": ["ssm:*", "secretsmanager:*", "kms:*"], "Resource": "*"}),
            ],
            200,
            200,
        ),
    ] {
        allow(&site, &about_keys).await;
        let (answer, call) = site.logged(read_secret(&site, &red)).await;
        assert_eq!(answer.status, secret, "secret by {about_keys:?}: {}", answer.text);
        if secret == 400 {
            assert_eq!(answer.message(), "Access to KMS is not allowed", "{about_keys:?}");
            assert!(
                call.statement.unwrap().to_string().contains("Deny"),
                "{about_keys:?}"
            );
        }
        let answer = read_parameter(&site, &red).await;
        assert_eq!(
            answer.status, parameter,
            "parameter by {about_keys:?}: {}",
            answer.text
        );
        if parameter == 400 {
            let expected = format!("kms:Decrypt on resource: {parameters} {DENIED_HERE}");
            assert!(answer.message().contains(&expected), "{}", answer.text);
        }
        let veiled = site
            .parameters(&red, "GetParameter", json!({"Name": PARAMETER}))
            .await;
        assert_eq!(
            veiled.status, 200,
            "what is not decrypted needs no key: {}",
            veiled.text
        );
    }
    // Those who may not encrypt may not write.
    allow(&site, &[on("Deny", "kms:*", "*")]).await;
    let put = json!({"SecretId": SECRET, "SecretString": "x"});
    let answer = site.secrets(&red, "PutSecretValue", put).await;
    assert_eq!(answer.message(), "Access to KMS is not allowed");
    let put = json!({"Name": PARAMETER, "Value": "x", "Type": "SecureString", "Overwrite": true});
    let answer = site.parameters(&red, "PutParameter", put).await;
    assert!(
        answer.message().contains("kms:Encrypt on resource"),
        "{}",
        answer.text
    );
    let put = json!({"Name": "/demo/team-red/open", "Value": "x", "Type": "String"});
    let answer = site.parameters(&red, "PutParameter", put).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

#[tokio::test]
async fn boundaries_and_session_policies_deny_the_default_key_too() {
    let (site, _) = Site::with_red().await;
    locked(&site, None).await;
    allow(&site, &[]).await;
    let all_but_keys = json!({"Version": "2012-10-17", "Statement": [
        on("Allow", "*", "*"), on("Deny", "kms:Decrypt", "*"),
    ]});
    let token = site.issuer.token_of("team-red");
    let all = policy(&on("Allow", "secretsmanager:*", "*")).to_string();
    let narrowed = all_but_keys.to_string();
    for (session, value) in [
        // It names no key, and needs not: it is the key's policy that lets everyone in.
        (&all, "a value"),
        (&narrowed, "AccessDeniedException"),
    ] {
        let answer = site
            .assume("team-red", &token, &[("Policy", session.as_str())])
            .await;
        let given = read_secret(&site, &answer.caller()).await.value_or_code();
        assert_eq!(given, value, "{session}");
    }
    let red = site.session("team-red").await;
    let boundary = site.managed("all-but-keys", &all_but_keys).await;
    let put = [
        ("RoleName", "team-red"),
        ("PermissionsBoundary", boundary.as_str()),
    ];
    site.iam("PutRolePermissionsBoundary", &put).await;
    let answer = read_secret(&site, &red).await;
    assert_eq!(answer.message(), "Access to KMS is not allowed");
    let boundary = site
        .managed("no-word-of-keys", &policy(&on("Allow", "secretsmanager:*", "*")))
        .await;
    let put = [
        ("RoleName", "team-red"),
        ("PermissionsBoundary", boundary.as_str()),
    ];
    site.iam("PutRolePermissionsBoundary", &put).await;
    assert_eq!(read_secret(&site, &red).await.value_or_code(), "a value");
}

#[tokio::test]
async fn a_tenant_does_with_keys_what_it_is_allowed_on_their_arns() {
    let (site, red) = Site::with_red().await;
    let (own, other) = (site.key().await, site.key().await);
    let administer = json!({
        "Effect": "Allow", "Action": ["kms:DescribeKey", "kms:GetKeyPolicy", "kms:DisableKey", "kms:EnableKey"],
        "Resource": own,
    });
    site.allow("team-red", &policy(&administer)).await;
    for operation in ["DescribeKey", "GetKeyPolicy", "DisableKey", "EnableKey"] {
        let answer = site.keys(&red, operation, json!({"KeyId": own})).await;
        assert_eq!(answer.status, 200, "{operation}: {}", answer.text);
        let answer = site.keys(&red, operation, json!({"KeyId": other})).await;
        let user = session_arn("team-red");
        let text = format!(
            "User: {user} is not authorized to perform: kms:{operation} on resource: {other} because no \
             identity-based policy allows the kms:{operation} action"
        );
        let expected = (400, "AccessDeniedException".to_owned(), text);
        assert_eq!(answer.error(), expected, "{operation}");
    }
    // An alias is of those who may make it, on its own name and on the key.
    let alias = json!({"AliasName": "alias/mine", "TargetKeyId": own});
    let answer = site.keys(&red, "CreateAlias", alias).await;
    assert_eq!(answer.code(), "AccessDeniedException");
}
