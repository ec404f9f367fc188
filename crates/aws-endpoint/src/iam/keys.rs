//! The condition keys that are known here.
//!
//! Imitated: the page "AWS global condition context keys" of the IAM user guide, and the keys of IAM, STS and
//! Secrets Manager in the service authorization reference. A known key either has its value in the
//! [`super::Context`] of a request, or is absent there as it would be from a request to AWS. Of one that is
//! not known nobody can say: a statement that asks for it grants nothing, and if it denies, it denies.
//!
//! Keys of other services and the claims of identity providers are absent from every request as in AWS.

/// Global keys, without `aws:`, in lower case.
const GLOBAL: &[&str] = &[
    "currenttime",
    "epochtime",
    "federatedprovider",
    "principalaccount",
    "principalarn",
    "principalisawsservice",
    "principaltype",
    "requestedregion",
    "resourceaccount",
    "securetransport",
    "sourceip",
    "tagkeys",
    "tokenissuetime",
    "userid",
    "viaawsservice",
    // Absent: there are no organizations, networks, users, devices or services that call for others.
    "assumedroot",
    "calledvia",
    "calledviafirst",
    "calledvialast",
    "chatbotsourcearn",
    "ec2instancesourceprivateipv4",
    "ec2instancesourcevpc",
    "multifactorauthage",
    "multifactorauthpresent",
    "principalorgid",
    "principalorgpaths",
    "principalservicename",
    "principalservicenameslist",
    "referer",
    "resourceorgid",
    "resourceorgpaths",
    "sourceaccount",
    "sourcearn",
    "sourceidentity",
    "sourceorgid",
    "sourceorgpaths",
    "sourceowner",
    "sourcevpc",
    "sourcevpcarn",
    "sourcevpce",
    "username",
    "vpceaccount",
    "vpceorgid",
    "vpceorgpaths",
    "vpcsourceip",
];

/// Global keys that end in the key of a tag.
const TAGS: &[&str] = &["principaltag/", "requesttag/", "resourcetag/"];

/// Keys of Secrets Manager, without their prefix.
const SECRETS: &[&str] = &[
    "blockpublicpolicy",
    "description",
    "forcedeletewithoutrecovery",
    "kmskeyid",
    "name",
    "recoverywindowindays",
    "secretid",
    "versionid",
    "versionstage",
    "addreplicaregions",
    "forceoverwritereplicasecret",
    "modifyrotationrules",
    "rotateimmediately",
    "rotationlambdaarn",
    "secretprimaryregion",
    // Absent: no secret has a rotation function.
    "resource/allowrotationlambdaarn",
];

/// Keys of Systems Manager, as far as they are about parameters, without their prefix.
const SSM: &[&str] = &["overwrite", "policies", "recursive"];

/// Keys of KMS, without their prefix.
const KMS: &[&str] = &[
    "bypasspolicylockoutsafetycheck",
    "calleraccount",
    "encryptioncontextkeys",
    "keyorigin",
    "keyspec",
    "keyusage",
    "multiregion",
    "requestalias",
    "schedulekeydeletionpendingwindowindays",
    "viaservice",
    // Absent: there are no grants, no cryptography and no keys of several regions.
    "encryptionalgorithm",
    "grantconstrainttype",
    "grantisforawsresource",
    "grantoperations",
    "granteeprincipal",
    "multiregionkeytype",
    "primaryregion",
    "replicaregion",
    "retiringprincipal",
];

/// Keys of STS, without their prefix.
const STS: &[&str] = &[
    "externalid",
    "rolesessionname",
    // Absent: no tags or identities are handed on, and no other call asks for a duration.
    "durationseconds",
    "sourceidentity",
    "taskpolicyarn",
    "transitivetagkeys",
];

/// Keys of IAM, without their prefix.
const IAM: &[&str] = &[
    "permissionsboundary",
    "policyarn",
    // Absent: there are no services, users or organizations that these could name.
    "associatedresourcearn",
    "awsservicename",
    "organizationspolicyid",
    "passedtoservice",
];

/// Whether it is known what a key (in lower case) stands for in a request.
pub(super) fn is_known(key: &str) -> bool {
    let Some((prefix, name)) = key.split_once(':') else {
        return false;
    };
    // AWS has values for these that no request has here.
    if matches!(prefix, "eks" | "eks-auth") {
        return false;
    }
    let tag = |kinds: &[&str]| {
        let mut kinds = kinds.iter().filter_map(|kind| name.strip_prefix(kind));
        kinds.any(|tag| !tag.is_empty())
    };
    match prefix {
        "aws" => GLOBAL.contains(&name) || tag(TAGS),
        "secretsmanager" => SECRETS.contains(&name) || tag(&["resourcetag/"]),
        "iam" => IAM.contains(&name) || tag(&["resourcetag/"]),
        "sts" => STS.contains(&name),
        "ssm" => SSM.contains(&name) || tag(&["resourcetag/"]),
        "kms" => KMS.contains(&name) || tag(&["encryptioncontext:"]),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_known_or_not() {
        for (key, known) in [
            ("eks:clustername", false),
            ("aws:sourceip", true),
            ("aws:principaltag/team", true),
            ("aws:principaltag/", false),
            ("aws:principaltag", false),
            ("aws:sourcevpce", true),
            ("aws:madeup", false),
            ("secretsmanager:resourcetag/a", true),
            ("secretsmanager:versionstage", true),
            ("secretsmanager:stage", false),
            ("sts:externalid", true),
            ("sts:sourceip", false),
            ("iam:policyarn", true),
            ("iam:policy", false),
            ("ssm:resourcetag/team", true),
            ("ssm:overwrite", true),
            ("ssm:documenttype", false),
            ("kms:viaservice", true),
            ("kms:encryptioncontext:secretarn", true),
            ("kms:madeup", false),
            ("s3:prefix", true),
            ("127.0.0.1:4430/id/x:sub", true),
            ("secretid", false),
            ("", false),
        ] {
            assert_eq!(is_known(key), known, "{key}");
        }
    }
}
