//! The endpoint's call log, as verdicts read it.

use std::sync::atomic::{AtomicBool, Ordering};

use mountproof_aws_endpoint::{self as aws_endpoint, CallRecord, CallVerdict};

use super::{CallLog, Trouble};

/// The endpoint's log in the words of verdicts.
pub(super) struct EndpointLog {
    calls: aws_endpoint::CallLog,
    panics: AtomicBool,
}

impl EndpointLog {
    pub(super) fn of(calls: aws_endpoint::CallLog) -> Self {
        Self {
            calls,
            panics: AtomicBool::new(false),
        }
    }

    /// From now on reading it panics: see [`Trouble::HarnessPanics`].
    pub(super) fn panic_from_now_on(&self) {
        self.panics.store(true, Ordering::SeqCst);
    }

    fn calls(&self) -> &aws_endpoint::CallLog {
        assert!(
            !self.panics.load(Ordering::SeqCst),
            "the fault {} was asked for",
            Trouble::HarnessPanics.name()
        );
        &self.calls
    }
}

impl CallLog for EndpointLog {
    fn cursor(&self) -> u64 {
        self.calls().cursor()
    }

    fn since(&self, cursor: u64) -> Vec<crate::verdict::denial::Call> {
        self.calls().since(cursor).into_iter().map(call).collect()
    }

    fn forgotten(&self) -> u64 {
        self.calls().forgotten()
    }
}

fn call(record: CallRecord) -> crate::verdict::denial::Call {
    crate::verdict::denial::Call {
        at: record.at,
        allowed: record.verdict == CallVerdict::Allowed,
        action: record.action(),
        region: record.region.clone().into_owned(),
        role: record.role.as_deref().map(str::to_owned),
        principal: record.principal.as_deref().map(str::to_owned),
        subject: record.subject,
        asked: record.asked,
        resource: record.resource,
        error: record.error,
        statement: record.statement.map(|statement| statement.to_string()),
        reason: record.reason,
    }
}
