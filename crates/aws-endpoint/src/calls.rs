//! The call log: who asked for what, with which role, what was decided, and by which statement.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

/// One call. Holds no token, no key and no secret's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRecord {
    /// Position in the log, from 0.
    pub sequence: u64,
    /// When it arrived.
    pub at: Timestamp,
    /// Until its answer was ready.
    pub took: Duration,
    /// Such as `secretsmanager`.
    pub service: &'static str,
    /// Such as `GetSecretValue`.
    pub operation: String,
    /// Such as `secretsmanager:GetSecretValue`.
    pub action: String,
    /// The region it was sent to.
    pub region: String,
    /// ARN of the caller, where there is one.
    pub principal: Option<String>,
    /// Name of the caller's role, or of the role asked for.
    pub role: Option<String>,
    /// `sub` of a web-identity token whose signature was checked or not; as claimed where it failed.
    pub subject: Option<String>,
    /// The resource as the caller named it.
    pub asked: Option<String>,
    /// The resource's ARN, as stored.
    pub resource: Option<String>,
    /// What was decided.
    pub verdict: CallVerdict,
    /// The statement that decided: `statement 1 of <policy>: Allow .. on ..`.
    pub statement: Option<String>,
    /// Why it was refused.
    pub reason: Option<String>,
    /// HTTP status of the answer.
    pub status: u16,
    /// AWS's error code.
    pub error: Option<String>,
    /// Number of the TLS connection, which counts handshakes.
    pub connection: u64,
}

/// What was decided about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallVerdict {
    /// Let through and carried out.
    Allowed,
    /// Refused by a policy, or for lack of a genuine token or signature.
    Denied,
    /// Neither: what was asked for does not exist, or makes no sense.
    Failed,
}

/// Every call since the start. Cheap to clone; clones share the log.
#[derive(Debug, Clone, Default)]
pub struct CallLog(Arc<Mutex<Vec<CallRecord>>>);

impl CallLog {
    /// The end of the log now, to read on from later.
    #[must_use]
    pub fn cursor(&self) -> u64 {
        self.lock().len() as u64
    }

    /// Every call from `cursor` on, oldest first.
    #[must_use]
    pub fn since(&self, cursor: u64) -> Vec<CallRecord> {
        let log = self.lock();
        let from = usize::try_from(cursor).unwrap_or(usize::MAX).min(log.len());
        log[from..].to_vec()
    }

    pub(crate) fn push(&self, mut record: CallRecord) {
        let mut log = self.lock();
        record.sequence = log.len() as u64;
        log.push(record);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<CallRecord>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
