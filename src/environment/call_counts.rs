//! What driver and provider ask, from the endpoint's call log and the API server's counts.

use std::collections::{BTreeMap, BTreeSet};

use mountproof_aws_endpoint::{CallLog, CallRecord};
use mountproof_stand_ins::kubernetes::RequestCounts;

use super::{CallCounts, CallMark, Counted};
use crate::scenario::calls::{TLS_AWS, TLS_KUBERNETES, of_kubernetes};

/// Who calls AWS for pods.
const PROVIDER: &str = "provider";

/// The two logs, and whose entries count.
pub(super) struct LocalCounts {
    pub(super) calls: CallLog,
    pub(super) requests: RequestCounts,
    /// User names at the Kubernetes API, with the part that each is.
    pub(super) users: BTreeMap<String, &'static str>,
}

impl LocalCounts {
    /// Totals since the server started: it keeps them for ever, for they are few.
    fn kubernetes(&self) -> BTreeMap<Counted, u64> {
        let mut totals: BTreeMap<Counted, u64> = BTreeMap::new();
        let mut add = |user: &String, call: String, times: u64| {
            if let Some(&by) = self.users.get(user) {
                *totals.entry(Counted { call, by }).or_default() += times;
            }
        };
        for (kind, times) in self.requests.by_kind() {
            add(&kind.user, of_kubernetes(kind.verb, &kind.resource), times);
        }
        for (user, times) in self.requests.connections() {
            add(&user, TLS_KUBERNETES.to_owned(), times);
        }
        totals
    }
}

impl CallCounts for LocalCounts {
    fn mark(&self) -> CallMark {
        CallMark {
            cursor: self.calls.cursor(),
            connections: self.calls.connections(),
            kubernetes: self.kubernetes(),
        }
    }

    fn since(&self, mark: &CallMark) -> Option<BTreeMap<Counted, u64>> {
        let mut counts = aws(&self.calls.since(mark.cursor), mark)?;
        for (counted, total) in self.kubernetes() {
            let times = total - mark.kubernetes.get(&counted).copied().unwrap_or(0);
            if times > 0 {
                counts.insert(counted, times);
            }
        }
        Some(counts)
    }
}

/// PURE: the calls of whoever is not the account's administrator, who is the harness, and the connections that they
/// came over and none before the mark did. None where the log has a gap: then nothing exact can be said.
fn aws(records: &[CallRecord], mark: &CallMark) -> Option<BTreeMap<Counted, u64>> {
    let mut counts: BTreeMap<Counted, u64> = BTreeMap::new();
    let mut connections = BTreeSet::new();
    for (record, sequence) in records.iter().zip(mark.cursor..) {
        if record.sequence != sequence {
            return None;
        }
        let administrator = record
            .principal
            .as_deref()
            .is_some_and(|principal| principal.ends_with(":root"));
        if administrator || record.service.is_empty() {
            continue;
        }
        if record.connection >= mark.connections {
            connections.insert(record.connection);
        }
        let counted = Counted {
            call: record.action(),
            by: PROVIDER,
        };
        *counts.entry(counted).or_default() += 1;
    }
    if !connections.is_empty() {
        let counted = Counted {
            call: TLS_AWS.to_owned(),
            by: PROVIDER,
        };
        counts.insert(counted, connections.len() as u64);
    }
    Some(counts)
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use jiff::Timestamp;
    use mountproof_aws_endpoint::CallVerdict;

    use super::*;

    fn record(sequence: u64, connection: u64, principal: Option<&str>, operation: &str) -> CallRecord {
        CallRecord {
            sequence,
            at: Timestamp::UNIX_EPOCH,
            took: Duration::ZERO,
            service: "secretsmanager",
            operation: operation.to_owned(),
            region: String::new(),
            principal: principal.map(Arc::from),
            role: None,
            subject: None,
            asked: None,
            resource: None,
            verdict: CallVerdict::Allowed,
            statement: None,
            reason: None,
            status: 200,
            error: None,
            backend: None,
            connection,
            fault: None,
        }
    }

    fn counts(records: &[CallRecord]) -> Option<Vec<(String, u64)>> {
        let mark = CallMark {
            cursor: 10,
            connections: 5,
            kubernetes: BTreeMap::new(),
        };
        let counts = aws(records, &mark)?;
        Some(
            counts
                .into_iter()
                .map(|(counted, times)| (counted.call, times))
                .collect(),
        )
    }

    #[test]
    fn the_harness_does_not_count_and_a_connection_counts_once_and_when_it_is_new() {
        let root = Some("arn:aws:iam::000000000000:root");
        let role = Some("arn:aws:sts::000000000000:assumed-role/r/s");
        let seen = counts(&[
            record(10, 4, role, "GetSecretValue"),
            record(11, 5, role, "GetSecretValue"),
            record(12, 5, role, "DescribeSecret"),
            record(13, 6, root, "GetSecretValue"),
            // Who presents no credentials at all is none of the harness.
            record(14, 7, None, "GetSecretValue"),
        ]);
        let expected = [
            ("secretsmanager:DescribeSecret", 1),
            ("secretsmanager:GetSecretValue", 3),
            ("tls:aws", 2),
        ];
        assert_eq!(
            seen,
            Some(expected.map(|(call, times)| (call.to_owned(), times)).to_vec())
        );
    }

    #[test]
    fn a_log_that_forgot_something_says_nothing() {
        let role = Some("arn:aws:sts::000000000000:assumed-role/r/s");
        let gap = [
            record(10, 5, role, "GetSecretValue"),
            record(12, 5, role, "GetSecretValue"),
        ];
        assert_eq!(counts(&gap), None);
        assert_eq!(counts(&gap[1..]), None);
    }
}
