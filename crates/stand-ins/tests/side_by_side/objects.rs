//! `objects` of every kind: read alike, or refused alike.

use crate::{
    aws::{ACCOUNT, REGION},
    bench::Bench,
    cases::{aws, mount, with},
};

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
        "- {OBJECTNAME: red/secret, objecttype: secretsmanager}".to_owned(),
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
