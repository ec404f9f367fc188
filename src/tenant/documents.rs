//! IAM documents.

use serde_json::{Value, json};

use super::TenantNames;

/// The audience of the tokens that STS takes.
pub const AUDIENCE: &str = "sts.amazonaws.com";

/// What a tenant may do: read and describe the secrets below its own path, in every region, in its
/// own account.
#[must_use]
pub fn identity_policy(names: &TenantNames, partition: &str, account: &str) -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Action": ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"],
            "Resource": format!("arn:{partition}:secretsmanager:*:{account}:secret:{}*", names.secret_path()),
        }],
    })
}

/// What the role of a tenant may do at most: read and describe these secrets, by their full names. As a permissions
/// boundary it allows nothing by itself.
#[must_use]
pub fn boundary_policy(secrets: &[String], partition: &str, account: &str) -> Value {
    // Secrets Manager ends an ARN in a dash and six characters of its own.
    let arns: Vec<String> = secrets
        .iter()
        .map(|secret| format!("arn:{partition}:secretsmanager:*:{account}:secret:{secret}-??????"))
        .collect();
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Action": ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"],
            "Resource": arns,
        }],
    })
}

/// A secret's own policy: these roles may not read it, whatever their policies allow; where a region is named, in that
/// one only. Replicas have their secret's policy, so this is how one region can be shut and another open.
#[must_use]
pub fn denying_policy(role_arns: &[String], region: Option<&str>) -> Value {
    let mut statement = json!({
        "Effect": "Deny",
        "Principal": { "AWS": role_arns },
        "Action": "secretsmanager:GetSecretValue",
        "Resource": "*",
    });
    if let Some(region) = region {
        statement["Condition"] = json!({ "StringEquals": { "aws:RequestedRegion": region } });
    }
    json!({ "Version": "2012-10-17", "Statement": [statement] })
}

/// Who may be the tenant: the `default` `ServiceAccount` of its namespace, by a token of `issuer` (an
/// `https://` URL) for [`AUDIENCE`].
///
/// Both `sub` and `aud` are conditioned, as in the AWS page "IAM roles for service accounts".
#[must_use]
pub fn trust_policy(names: &TenantNames, partition: &str, account: &str, issuer: &str) -> Value {
    let provider = issuer.strip_prefix("https://").unwrap_or(issuer);
    let condition = |claim: &str| format!("{provider}:{claim}");
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": { "Federated": format!("arn:{partition}:iam::{account}:oidc-provider/{provider}") },
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {
                "StringEquals": {
                    condition("aud"): AUDIENCE,
                    condition("sub"): format!("system:serviceaccount:{}:default", names.namespace()),
                },
            },
        }],
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;
    use crate::tenant::ClusterName;

    fn team_red() -> TenantNames {
        TenantNames::new(&ClusterName::new("demo").unwrap(), "team-red").unwrap()
    }

    #[test]
    fn the_policy_ends_in_a_slash_and_a_star() {
        insta::assert_snapshot!(
            serde_json::to_string(&identity_policy(&team_red(), "aws", "000000000000")).unwrap(),
            @r#"{"Statement":[{"Action":["secretsmanager:GetSecretValue","secretsmanager:DescribeSecret"],"Effect":"Allow","Resource":"arn:aws:secretsmanager:*:000000000000:secret:demo/team-red/*"}],"Version":"2012-10-17"}"#
        );
    }

    #[test]
    fn a_boundary_names_secrets_to_their_end() {
        insta::assert_snapshot!(
            serde_json::to_string(&boundary_policy(&["demo/a/one".to_owned()], "aws", "000000000000")).unwrap(),
            @r#"{"Statement":[{"Action":["secretsmanager:GetSecretValue","secretsmanager:DescribeSecret"],"Effect":"Allow","Resource":["arn:aws:secretsmanager:*:000000000000:secret:demo/a/one-??????"]}],"Version":"2012-10-17"}"#
        );
    }

    #[test]
    fn a_secrets_own_policy_denies_roles_by_their_arn() {
        insta::assert_snapshot!(
            serde_json::to_string(&denying_policy(&["arn:aws:iam::000000000000:role/a".to_owned()], None)).unwrap(),
            @r#"{"Statement":[{"Action":"secretsmanager:GetSecretValue","Effect":"Deny","Principal":{"AWS":["arn:aws:iam::000000000000:role/a"]},"Resource":"*"}],"Version":"2012-10-17"}"#
        );
    }

    #[test]
    fn a_secrets_own_policy_can_deny_in_one_region() {
        let policy = denying_policy(
            &["arn:aws:iam::000000000000:role/a".to_owned()],
            Some("eu-west-1"),
        );
        insta::assert_snapshot!(
            policy["Statement"][0]["Condition"],
            @r#"{"StringEquals":{"aws:RequestedRegion":"eu-west-1"}}"#
        );
    }

    #[test]
    fn trust_names_one_service_account_and_one_audience() {
        let trust = trust_policy(&team_red(), "aws", "000000000000", "https://127.0.0.1:6443");
        insta::assert_snapshot!(
            serde_json::to_string(&trust).unwrap(),
            @r#"{"Statement":[{"Action":"sts:AssumeRoleWithWebIdentity","Condition":{"StringEquals":{"127.0.0.1:6443:aud":"sts.amazonaws.com","127.0.0.1:6443:sub":"system:serviceaccount:team-red:default"}},"Effect":"Allow","Principal":{"Federated":"arn:aws:iam::000000000000:oidc-provider/127.0.0.1:6443"}}],"Version":"2012-10-17"}"#
        );
    }

    #[test]
    fn trust_documents_fit_iam_with_the_longest_names() {
        let names = TenantNames::new(&ClusterName::new(&"c".repeat(40)).unwrap(), &"t".repeat(63)).unwrap();
        let trust = trust_policy(
            &names,
            "aws-us-gov",
            "000000000000",
            &format!("https://{}", "i".repeat(250)),
        );
        // The quota of a role trust policy's length.
        assert!(trust.to_string().len() <= 2_048);
    }
}
