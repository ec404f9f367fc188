//! The call log: who asked for what, with which role, what was decided, and by which statement.

use std::{
    borrow::Cow,
    collections::VecDeque,
    sync::{
        Arc, RwLockReadGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;

use crate::{answer::Refusal, iam::DecidingStatement, lock::Lock};

/// One call. Holds no token, no key and no secret's value. What many calls have in common is shared with them.
#[derive(Debug, Clone, PartialEq)]
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
    pub operation: Cow<'static, str>,
    /// The region it was sent to.
    pub region: Cow<'static, str>,
    /// ARN of the caller, where there is one.
    pub principal: Option<Arc<str>>,
    /// Name of the caller's role, or of the role asked for.
    pub role: Option<Arc<str>>,
    /// `sub` of a web-identity token whose signature was checked or not; as claimed where it failed.
    pub subject: Option<String>,
    /// The resource as the caller named it.
    pub asked: Option<String>,
    /// The resource's ARN, as stored.
    pub resource: Option<String>,
    /// What was decided.
    pub verdict: CallVerdict,
    /// The statement that decided, in words `statement 1 of <policy>: Allow .. on ..`.
    pub statement: Option<DecidingStatement>,
    /// Why it was refused.
    pub reason: Option<String>,
    /// HTTP status of the answer; 0 when a fault cut the connection instead.
    pub status: u16,
    /// AWS's error code.
    pub error: Option<String>,
    /// The backend that it was sent on to, where there is one and it was.
    pub backend: Option<Arc<str>>,
    /// Number of the connection.
    pub connection: u64,
    /// The first call over a TLS connection: whoever makes it has made the handshake too.
    pub handshake: bool,
    /// The faults that hit the call, in their text form, or the quota that it was above.
    pub fault: Option<String>,
}

impl CallRecord {
    /// Such as `secretsmanager:GetSecretValue`.
    #[must_use]
    pub fn action(&self) -> String {
        if self.service.is_empty() {
            return String::new();
        }
        format!("{}:{}", self.service, self.operation)
    }

    /// A connection that an outage cut: what was asked over it, if anything, is not known.
    pub(crate) fn cut_by_outage(connection: u64) -> Self {
        Self {
            sequence: 0,
            at: Timestamp::now(),
            took: Duration::ZERO,
            service: "",
            operation: "".into(),
            region: "".into(),
            principal: None,
            role: None,
            subject: None,
            asked: None,
            resource: None,
            verdict: CallVerdict::Failed,
            statement: None,
            reason: None,
            status: 0,
            error: None,
            backend: None,
            connection,
            handshake: false,
            fault: Some("outage".to_owned()),
        }
    }
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

impl CallVerdict {
    /// Of a call that was answered, with `refusal` where there was one.
    pub(crate) fn of(refusal: Option<&Refusal>) -> Self {
        match refusal {
            None => Self::Allowed,
            Some(refusal) if refusal.denied => Self::Denied,
            Some(_) => Self::Failed,
        }
    }
}

/// The newest calls. Cheap to clone; clones share the log.
///
/// A load of a million reads must not fill the memory, nor push out what a denial is proven by: the log
/// keeps the newest [`CallLog::KEPT`] calls that were allowed, the newest that many others, and counts what
/// it forgets.
#[derive(Debug, Clone, Default)]
pub struct CallLog(Arc<Log>);

/// In shards, which take turns: every call ends here, and must not wait for the others that do.
#[derive(Debug, Default)]
struct Log {
    /// The sequence number of the next call. Taken under the lock of a shard, so that who holds all of them knows that
    /// no call with a lower one is still to come.
    next: AtomicU64,
    /// Whose turn it is among the shards, for allowed calls and for others: each shard gets its share of both.
    turns: [AtomicUsize; 2],
    shards: [Lock<Shard>; SHARDS],
    forgotten: AtomicU64,
}

/// Many more than there are processors, and a divisor of what is kept.
const SHARDS: usize = 16;
const _: () = assert!(CallLog::KEPT.is_multiple_of(SHARDS));

/// Allowed calls and others, each in the order of their sequence numbers.
#[derive(Debug, Default)]
struct Shard([VecDeque<CallRecord>; 2]);

impl CallLog {
    /// How many allowed calls are kept, and how many others: some 20 MiB of each.
    pub const KEPT: usize = 20_000;

    /// The end of the log now, to read on from later.
    #[must_use]
    pub fn cursor(&self) -> u64 {
        let _all = self.all();
        self.0.next.load(Ordering::Relaxed)
    }

    /// Every call that is kept from `cursor` on, oldest first.
    #[must_use]
    pub fn since(&self, cursor: u64) -> Vec<CallRecord> {
        let shards = self.all();
        let mut calls: Vec<CallRecord> = Vec::new();
        for queue in shards.iter().flat_map(|shard| &shard.0) {
            let from = queue.partition_point(|call| call.sequence < cursor);
            calls.extend(queue.range(from..).cloned());
        }
        drop(shards);
        calls.sort_unstable_by_key(|call| call.sequence);
        calls
    }

    /// How many calls are no longer kept.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.0.forgotten.load(Ordering::Relaxed)
    }

    pub(crate) fn push(&self, mut record: CallRecord) {
        let kind = match record.verdict {
            CallVerdict::Allowed => 0,
            CallVerdict::Denied | CallVerdict::Failed => 1,
        };
        let turn = self.0.turns[kind].fetch_add(1, Ordering::Relaxed);
        let mut shard = self.0.shards[turn % SHARDS].write();
        record.sequence = self.0.next.fetch_add(1, Ordering::Relaxed);
        let calls = &mut shard.0[kind];
        calls.push_back(record);
        let full = calls.len() > Self::KEPT / SHARDS;
        let oldest = full.then(|| calls.pop_front()).flatten();
        // Nobody has to wait until its memory is given back.
        drop(shard);
        if oldest.is_some() {
            self.0.forgotten.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often somebody had to wait for another call's record to be put down.
    pub(crate) fn waits(&self) -> u64 {
        self.0.shards.iter().map(Lock::waits).sum()
    }

    /// All shards, always locked in this order: nobody adds a call for as long as they are held.
    fn all(&self) -> [RwLockReadGuard<'_, Shard>; SHARDS] {
        std::array::from_fn(|shard| self.0.shards[shard].read())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(verdict: CallVerdict) -> CallRecord {
        CallRecord {
            sequence: 0,
            at: Timestamp::UNIX_EPOCH,
            took: Duration::ZERO,
            service: "secretsmanager",
            operation: "".into(),
            region: "".into(),
            principal: None,
            role: None,
            subject: None,
            asked: None,
            resource: None,
            verdict,
            statement: None,
            reason: None,
            status: 200,
            error: None,
            backend: None,
            connection: 0,
            handshake: false,
            fault: None,
        }
    }

    #[test]
    fn it_is_read_in_order_from_any_point() {
        use CallVerdict::{Allowed, Denied, Failed};

        let log = CallLog::default();
        assert_eq!((log.cursor(), log.since(0)), (0, Vec::new()));
        let verdicts = [Allowed, Denied, Allowed, Failed, Denied, Allowed];
        for verdict in verdicts {
            log.push(call(verdict));
        }
        for from in 0..=8 {
            let seen: Vec<_> = log
                .since(from)
                .iter()
                .map(|call| (call.sequence, call.verdict))
                .collect();
            let expected: Vec<_> = (0..)
                .zip(verdicts)
                .skip_while(|(sequence, _)| *sequence < from)
                .collect();
            assert_eq!(seen, expected, "from {from}");
        }
        assert_eq!((log.cursor(), log.forgotten()), (6, 0));
    }

    #[test]
    fn a_load_of_reads_pushes_out_reads_only_and_is_counted() {
        let log = CallLog::default();
        log.push(call(CallVerdict::Denied));
        for _ in 0..CallLog::KEPT + 3 {
            log.push(call(CallVerdict::Allowed));
        }
        assert_eq!(log.forgotten(), 3);
        let kept = log.since(0);
        assert_eq!(kept.len(), CallLog::KEPT + 1);
        assert_eq!((kept[0].sequence, kept[0].verdict), (0, CallVerdict::Denied));
        assert_eq!(kept[1].sequence, 4, "the oldest three reads are gone");
        assert_eq!(log.cursor(), CallLog::KEPT as u64 + 4);
        let last = log.since(log.cursor() - 1);
        assert_eq!(last.len(), 1, "a cursor means the same as before");
    }

    /// Whoever reads on from a cursor while others write misses nothing and sees nothing twice.
    #[test]
    fn reading_on_while_others_write_misses_nothing() {
        const WRITERS: u64 = 4;
        const EACH: u64 = 5000;
        let log = CallLog::default();
        let mut seen = Vec::new();
        std::thread::scope(|scope| {
            for _ in 0..WRITERS {
                scope.spawn(|| (0..EACH).for_each(|_| log.push(call(CallVerdict::Allowed))));
            }
            while seen.last() != Some(&(WRITERS * EACH - 1)) {
                let cursor = seen.last().map_or(0, |last| last + 1);
                seen.extend(log.since(cursor).iter().map(|call| call.sequence));
            }
        });
        assert_eq!(seen, (0..WRITERS * EACH).collect::<Vec<_>>());
        assert_eq!((log.cursor(), log.forgotten()), (WRITERS * EACH, 0));
    }
}
