//! What driver and provider ask for a tenant's pods, from the endpoint's call log and the API server's counts.

use mountproof_aws_endpoint::{CallLog, CallRecord};
use mountproof_stand_ins::kubernetes::{RequestKind, Requests};

use super::{
    CallCounts, Calls, Counted,
    control_plane::{DRIVER, PROVIDER, RequestLog},
};
use crate::{
    provision::Tenant,
    scenario::calls::{TLS_AWS, TLS_KUBERNETES, of_kubernetes},
};

/// Who calls AWS for pods.
const CALLS_AWS: &str = "provider";
/// But for their roles by Pod Identity.
const CALLS_EKS: &str = "agent";

/// The two logs.
pub(super) struct LocalCounts {
    pub(super) calls: CallLog,
    pub(super) requests: RequestLog,
}

impl CallCounts for LocalCounts {
    fn of(&self, tenant: &Tenant, cursor: u64) -> Option<Calls> {
        let mut counts = aws(&self.calls.since(cursor), tenant, cursor)?;
        kubernetes((self.requests.look)()?, tenant, &mut counts);
        Some(counts)
    }

    fn uncounted(&self) -> &[&'static str] {
        if self.requests.handshakes {
            &[]
        } else {
            &[TLS_KUBERNETES]
        }
    }
}

/// PURE: the calls of the tenant's role. None where the log has a gap after `cursor`: then nothing exact can be said.
fn aws(records: &[CallRecord], tenant: &Tenant, cursor: u64) -> Option<Calls> {
    let subject = format!("system:serviceaccount:{}:default", tenant.name);
    let mut counts = Calls::new();
    for (record, sequence) in records.iter().zip(cursor..) {
        if record.sequence != sequence {
            return None;
        }
        let of_tenant =
            record.role.as_deref() == Some(&*tenant.role) || record.subject.as_ref() == Some(&subject);
        if of_tenant {
            let by = if record.service == "eks-auth" {
                CALLS_EKS
            } else {
                CALLS_AWS
            };
            add(&mut counts, record.action(), by, 1);
            add(&mut counts, TLS_AWS.to_owned(), by, u64::from(record.handshake));
        }
    }
    Some(counts)
}

/// PURE: the requests for objects in the tenant's namespace that driver and provider made, which kubelet and the harness
/// are not.
fn kubernetes(
    requests: impl IntoIterator<Item = (RequestKind, Requests)>,
    tenant: &Tenant,
    counts: &mut Calls,
) {
    for (kind, requests) in requests {
        let by = match kind.user.as_str() {
            DRIVER => "driver",
            PROVIDER => "provider",
            _ => continue,
        };
        if kind.namespace == tenant.name {
            add(
                counts,
                of_kubernetes(kind.verb, &kind.resource),
                by,
                requests.number,
            );
            add(counts, TLS_KUBERNETES.to_owned(), by, requests.handshakes);
        }
    }
}

fn add(counts: &mut Calls, call: String, by: &'static str, times: u64) {
    if times > 0 {
        *counts.entry(Counted { call, by }).or_default() += times;
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc, time::Duration};

    use jiff::Timestamp;
    use mountproof_aws_endpoint::CallVerdict;

    use super::*;
    use crate::tenant::Identity;

    fn tenant() -> Tenant {
        Tenant {
            name: "counted-1".to_owned(),
            identity: Identity::Irsa,
            ways: Vec::new(),
            role: "counted-role".to_owned(),
            role_arn: "arn:aws:iam::000000000000:role/counted-role".to_owned(),
            boundary: None,
            class: "class".to_owned(),
            secrets: BTreeMap::new(),
            took: Duration::ZERO,
        }
    }

    fn record(sequence: u64, role: Option<&str>, operation: &str) -> CallRecord {
        CallRecord {
            sequence,
            at: Timestamp::UNIX_EPOCH,
            took: Duration::ZERO,
            service: "secretsmanager",
            operation: operation.to_owned().into(),
            region: "eu-west-1".into(),
            principal: None,
            role: role.map(Arc::from),
            subject: None,
            asked: None,
            resource: None,
            verdict: CallVerdict::Allowed,
            statement: None,
            reason: None,
            status: 200,
            error: None,
            backend: None,
            connection: sequence,
            handshake: false,
            fault: None,
        }
    }

    fn named(calls: Calls) -> Vec<(String, &'static str, u64)> {
        let named = calls
            .into_iter()
            .map(|(counted, times)| (counted.call, counted.by, times));
        named.collect()
    }

    #[test]
    fn calls_to_aws_are_the_tenants_by_role_or_service_account_and_nobody_elses() {
        let records = [
            CallRecord {
                // Refused before it was clear which role it is about.
                subject: Some("system:serviceaccount:counted-1:default".to_owned()),
                service: "sts",
                handshake: true,
                ..record(10, None, "AssumeRoleWithWebIdentity")
            },
            record(11, Some("counted-role"), "GetSecretValue"),
            // Another tenant's, at the same time and over a new connection.
            CallRecord {
                handshake: true,
                ..record(12, Some("other-role"), "GetSecretValue")
            },
            // The account's administrator, who is the harness.
            record(13, None, "PutSecretValue"),
            record(14, Some("counted-role"), "GetSecretValue"),
        ];
        let seen = aws(&records, &tenant(), 10).map(named);
        let expected = [
            ("secretsmanager:GetSecretValue", "provider", 2),
            ("sts:AssumeRoleWithWebIdentity", "provider", 1),
            ("tls:aws", "provider", 1),
        ];
        assert_eq!(
            seen,
            Some(
                expected
                    .map(|(call, by, times)| (call.to_owned(), by, times))
                    .to_vec()
            )
        );
    }

    #[test]
    fn a_log_that_forgot_something_says_nothing() {
        let gap = [
            record(10, None, "GetSecretValue"),
            record(12, None, "GetSecretValue"),
        ];
        assert_eq!(aws(&gap, &tenant(), 10), None);
        assert_eq!(aws(&gap[1..], &tenant(), 10), None);
        assert_eq!(aws(&gap[1..], &tenant(), 12), Some(Calls::new()));
    }

    #[test]
    fn requests_to_kubernetes_are_counted_of_driver_and_provider_in_the_tenants_namespace() {
        let requests = [
            (PROVIDER, "counted-1", "get", "serviceaccounts", 3, 1),
            (DRIVER, "counted-1", "create", "podstatuses", 3, 0),
            // Whatever agent they name.
            (DRIVER, "counted-1", "create", "podstatuses", 1, 0),
            (PROVIDER, "other-2", "get", "serviceaccounts", 9, 2),
            (DRIVER, "", "watch", "secretproviderclasses", 9, 2),
            (
                "system:node:n",
                "counted-1",
                "create",
                "serviceaccounts/token",
                9,
                2,
            ),
        ];
        let kinds =
            (0..)
                .zip(requests)
                .map(|(agent, (user, namespace, verb, resource, number, handshakes))| {
                    let kind = RequestKind {
                        user: user.to_owned(),
                        namespace: namespace.to_owned(),
                        verb,
                        resource: resource.to_owned(),
                        user_agent: format!("agent-{agent}"),
                    };
                    (kind, Requests { number, handshakes })
                });
        let mut counts = Calls::new();
        kubernetes(kinds, &tenant(), &mut counts);
        let expected = [
            ("kubernetes:create podstatuses", "driver", 4),
            ("kubernetes:get serviceaccounts", "provider", 3),
            ("tls:kubernetes", "provider", 1),
        ];
        assert_eq!(
            named(counts),
            expected.map(|(call, by, times)| (call.to_owned(), by, times))
        );
    }
}
