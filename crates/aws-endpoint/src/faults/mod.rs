//! Trouble of the kind that real services have, to see who copes with it: slowness, refusals, connections
//! that break, a region that is gone, a clock that is wrong.
//!
//! Pure: [`Faults::strike`] decides from what is called and from a seeded generator what happens to one call;
//! the router carries it out ([`spoil`]) and the call log names it. The text form of a fault is what
//! `mountproof endpoint --fault` and a line of `--faults FILE` take.

mod latency;
mod refusals;
pub(crate) mod spoil;
mod text;

use std::{fmt, io, num::NonZeroU32, str::FromStr, sync::Arc, time::Duration};

use jiff::SignedDuration;
use rand::{Rng, RngExt as _};

pub(crate) use self::refusals::{refusal, throttled, unanswered};
pub use self::{
    latency::{Latency, Recorded},
    text::FaultError,
};

/// Trouble that is there at the same time; none by default. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Faults(Arc<[Fault]>);

/// One kind of trouble.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// `outage`, `outage:region:eu-west-1`, `outage:service:sts`: connections are dropped without an answer.
    Outage(Reach),
    /// `latency:fixed:1s`, `latency:lognormal:5ms,0.5`, `latency:recorded:FILE`: waits before each answer.
    Latency(Latency),
    /// `error:secretsmanager:GetSecretValue:ThrottlingException:5%`: refuses a share of calls.
    Error {
        /// Name of a service, or `*`.
        service: String,
        /// Name of an operation, or `*`.
        operation: String,
        /// AWS's code of the error.
        code: String,
        /// How many calls.
        share: Share,
    },
    /// `reset:1%`, `reset:before:1%`, `reset:middle:1%`: the connection is reset (RST) at a share of calls.
    Reset {
        /// When.
        at: ResetAt,
        /// How many calls.
        share: Share,
    },
    /// `slow-body:1KiB/s`: the bodies of answers trickle.
    SlowBody {
        /// Bytes per second.
        rate: NonZeroU32,
    },
    /// `clock-step:1h`, `clock-step:-5m`: how far the clock is ahead: signatures and tokens are judged by the
    /// time that it shows.
    ClockStep(SignedDuration),
    /// `eks:cluster:stuck`, `eks:nodegroup:fails:Ec2SubnetInvalidConfiguration`: what becomes of new clusters, node
    /// groups or add-ons.
    Eks {
        /// Of what.
        made: Made,
        /// What becomes of it.
        fate: Fate,
    },
}

/// What EKS makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// `cluster`
    Cluster,
    /// `nodegroup`
    Nodegroup,
    /// `addon`
    Addon,
}

/// What becomes of something that EKS makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It stays in `CREATING` for as long as the fault is there.
    Stuck,
    /// It fails, and its health has an issue of this code.
    Fails(String),
}

/// How far an outage reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// The endpoint is gone.
    Everything,
    /// Every service of a region.
    Region(String),
    /// A service in every region.
    Service(String),
}

/// When a connection is reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetAt {
    /// Before the call is carried out.
    Before,
    /// After it was, with half of the answer sent.
    Middle,
}

/// A share of calls: `5%`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Share(f64);

impl Share {
    /// `percent` of calls; `None` unless it is from 0 to 100.
    #[must_use]
    pub fn percent(percent: f64) -> Option<Self> {
        (0.0..=100.0).contains(&percent).then_some(Self(percent))
    }

    fn hits(self, dice: &mut impl Rng) -> bool {
        dice.random::<f64>() * 100.0 < self.0
    }
}

/// A line of a text is no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{number}: {error}")]
pub struct FaultInLine {
    /// Of the line, from 1.
    number: usize,
    error: FaultError,
}

/// What is called, as far as faults ask.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Called<'a> {
    pub(crate) service: &'a str,
    pub(crate) operation: &'a str,
    pub(crate) region: &'a str,
}

/// What happens to one call. Nothing by default.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Struck {
    /// Before everything else.
    pub(crate) delay: Duration,
    /// The connection ends without an answer, and nothing is carried out.
    pub(crate) cut: Option<Cut>,
    /// Refused with this code, and not carried out.
    pub(crate) code: Option<String>,
    /// Reset with half of the answer sent.
    pub(crate) reset_in_answer: bool,
    /// Bytes per second of the answer's body.
    pub(crate) body_rate: Option<NonZeroU32>,
    /// The faults that hit, for the call log.
    pub(crate) names: Option<String>,
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Closed.
    Dropped,
    /// With a TCP reset.
    Reset,
}

impl Faults {
    /// The faults of a text: one a line; empty lines and what follows a `#` at a line's beginning are left out.
    ///
    /// Reads the files that recorded latencies are in.
    pub fn parse(text: &str) -> Result<Self, FaultInLine> {
        text.lines()
            .map(str::trim)
            .zip(1..)
            .filter(|(line, _)| !line.is_empty() && !line.starts_with('#'))
            .map(|(line, number)| line.parse().map_err(|error| FaultInLine { number, error }))
            .collect()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every fault.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }

    /// Whether every connection is dropped, as if the endpoint were gone.
    pub(crate) fn outage(&self) -> bool {
        self.0.contains(&Fault::Outage(Reach::Everything))
    }

    /// How far the clock is ahead.
    pub(crate) fn clock_step(&self) -> SignedDuration {
        let step = |fault: &Fault| match fault {
            Fault::ClockStep(step) => Some(*step),
            _ => None,
        };
        self.iter()
            .filter_map(step)
            .fold(SignedDuration::ZERO, SignedDuration::saturating_add)
    }

    /// What becomes of something that EKS makes, if not what was wanted.
    pub(crate) fn fate(&self, of: Made) -> Option<&Fate> {
        self.iter().find_map(|fault| match fault {
            Fault::Eks { made, fate } if *made == of => Some(fate),
            _ => None,
        })
    }

    /// What happens to a call. The same faults, calls and dice give the same.
    pub(crate) fn strike(&self, call: Called<'_>, dice: &mut impl Rng) -> Struck {
        let mut struck = Struck::default();
        let mut names = Vec::new();
        for fault in self.iter() {
            if fault.strikes(call, dice, &mut struck) {
                names.push(fault.to_string());
            }
        }
        struck.names = (!names.is_empty()).then(|| names.join("; "));
        struck
    }
}

impl Fault {
    fn strikes(&self, call: Called<'_>, dice: &mut impl Rng, struck: &mut Struck) -> bool {
        let hit = match self {
            Self::Outage(reach) => reach.covers(call),
            Self::Error {
                service,
                operation,
                share,
                ..
            } => fits(service, call.service) && fits(operation, call.operation) && share.hits(dice),
            Self::Reset { share, .. } => share.hits(dice),
            Self::Latency(_) | Self::SlowBody { .. } | Self::ClockStep(_) => true,
            // Strikes what is made, when it is made.
            Self::Eks { .. } => false,
        };
        if hit {
            match self {
                Self::Outage(_) => struck.cut = Some(Cut::Dropped),
                Self::Latency(latency) => struck.delay += latency.sample(dice),
                // The first one that hits decides.
                Self::Error { code, .. } => drop(struck.code.get_or_insert_with(|| code.clone())),
                Self::Reset { at, .. } => match at {
                    ResetAt::Before => drop(struck.cut.get_or_insert(Cut::Reset)),
                    ResetAt::Middle => struck.reset_in_answer = true,
                },
                Self::SlowBody { rate } => struck.body_rate = Some(*rate),
                Self::ClockStep(_) | Self::Eks { .. } => {}
            }
        }
        hit
    }
}

impl Reach {
    fn covers(&self, call: Called<'_>) -> bool {
        match self {
            Self::Everything => true,
            Self::Region(region) => region == call.region,
            Self::Service(service) => service == call.service,
        }
    }
}

fn fits(wanted: &str, is: &str) -> bool {
    wanted == "*" || wanted == is
}

impl From<Fault> for Faults {
    fn from(fault: Fault) -> Self {
        Self(Arc::new([fault]))
    }
}

impl FromIterator<Fault> for Faults {
    fn from_iter<I: IntoIterator<Item = Fault>>(faults: I) -> Self {
        Self(faults.into_iter().collect())
    }
}

impl FromStr for Fault {
    type Err = FaultError;

    /// Reads the file that a recorded latency is in.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text::parse(text, &|path: &str| std::fs::read_to_string(path))
    }
}

impl fmt::Display for Faults {
    /// One a line, as [`Faults::parse`] reads them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|fault| writeln!(f, "{fault}"))
    }
}

/// Reads a file, as text.
type Read<'a> = &'a dyn Fn(&str) -> io::Result<String>;

#[cfg(test)]
mod tests;
