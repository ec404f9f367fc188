//! The end of a run that a user asks for in its middle, to see that nothing is left whenever it comes.

use std::{fmt, num::NonZeroUsize, str::FromStr};

use rustix::process::{Signal, getpid, kill_process};

use crate::provision::Ledger;

/// When a run ends before its time, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndAt {
    /// As soon as so many objects are on record: the last of them is about to be made.
    pub objects: NonZeroUsize,
    /// How.
    pub how: HowEnded,
}

/// How a run ends before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HowEnded {
    /// As by Ctrl-C: it takes everything down first.
    Interrupted,
    /// As by `kill -9`: what is left is for `sweep`.
    Killed,
}

impl HowEnded {
    const ALL: [Self; 2] = [Self::Interrupted, Self::Killed];

    fn name(self) -> &'static str {
        match self {
            Self::Interrupted => "interrupt",
            Self::Killed => "kill",
        }
    }

    fn signal(self) -> Signal {
        match self {
            Self::Interrupted => Signal::INT,
            Self::Killed => Signal::KILL,
        }
    }
}

impl EndAt {
    /// Has it happen to this process.
    pub(super) fn arm(self, ledger: &Ledger) {
        ledger.at(self.objects.get(), move || {
            if let Err(error) = kill_process(getpid(), self.how.signal()) {
                tracing::warn!(%error, "the run cannot end itself");
            }
        });
    }
}

impl fmt::Display for EndAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.how.name(), self.objects)
    }
}

impl FromStr for EndAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = text.split_once('@').and_then(|(how, objects)| {
            let how = HowEnded::ALL.into_iter().find(|known| known.name() == how)?;
            let objects = objects.parse().ok()?;
            Some(Self { objects, how })
        });
        read.ok_or_else(|| {
            "expected interrupt@N or kill@N, where N is a number of objects from 1 on".to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_way_and_a_number_of_objects() {
        for text in ["interrupt@1", "kill@17"] {
            let end: Result<EndAt, String> = text.parse();
            assert_eq!(end.map(|end| end.to_string()).as_deref(), Ok(text));
        }
        for text in ["", "interrupt", "kill@0", "kill@-1", "kill@2s", "end@2"] {
            assert!(text.parse::<EndAt>().is_err(), "{text}");
        }
    }
}
