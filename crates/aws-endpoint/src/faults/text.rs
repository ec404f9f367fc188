//! Faults as people write them: `error:secretsmanager:GetSecretValue:ThrottlingException:5%`.

use std::{fmt, num::NonZeroU32, time::Duration};

use jiff::SignedDuration;

use super::{Fate, Fault, Latency, Made, Reach, Read, Recorded, ResetAt, Share, latency::LONGEST};

/// The text is no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no fault: {why}")]
pub struct FaultError {
    text: String,
    why: String,
}

const KINDS: &str = "faults are latency:fixed:TIME, latency:lognormal:MEDIAN,SIGMA, latency:recorded:FILE, \
                     error:SERVICE:OPERATION:CODE:PERCENT, reset:PERCENT, reset:middle:PERCENT, \
                     slow-body:BYTES/s, outage, outage:region:NAME, outage:service:NAME, clock-step:TIME, \
                     eks:cluster|nodegroup|addon:stuck, eks:cluster|nodegroup|addon:fails:CODE";

/// Reads one fault; `read` reads the file of a recorded latency.
pub(super) fn parse(text: &str, read: Read<'_>) -> Result<Fault, FaultError> {
    let text = text.trim();
    fault(text, read).map_err(|why| FaultError {
        text: text.to_owned(),
        why,
    })
}

fn fault(text: &str, read: Read<'_>) -> Result<Fault, String> {
    let (kind, rest) = text
        .split_once(':')
        .map_or((text, None), |(kind, rest)| (kind, Some(rest)));
    match (kind, rest) {
        ("outage", None) => Ok(Fault::Outage(Reach::Everything)),
        ("outage", Some(reach)) => match reach.split_once(':') {
            Some(("region", name)) => Ok(Fault::Outage(Reach::Region(named(name)?))),
            Some(("service", name)) => Ok(Fault::Outage(Reach::Service(named(name)?))),
            _ => Err("an outage is of `region:NAME`, of `service:NAME` or of everything".to_owned()),
        },
        ("latency", Some(rest)) => latency(rest, read).map(Fault::Latency),
        ("error", Some(rest)) => match *rest.split(':').collect::<Vec<_>>() {
            [service, operation, code, percent] => Ok(Fault::Error {
                service: named(service)?,
                operation: named(operation)?,
                code: named(code)?,
                share: share(percent)?,
            }),
            _ => Err(
                "write error:SERVICE:OPERATION:CODE:PERCENT, with * for every service or operation"
                    .to_owned(),
            ),
        },
        ("reset", Some(rest)) => {
            let (at, percent) = match rest.split_once(':') {
                None => (ResetAt::Before, rest),
                Some(("before", percent)) => (ResetAt::Before, percent),
                Some(("middle", percent)) => (ResetAt::Middle, percent),
                Some((other, _)) => {
                    return Err(format!("`{other}` is no moment; moments are before and middle"));
                }
            };
            Ok(Fault::Reset {
                at,
                share: share(percent)?,
            })
        }
        ("slow-body", Some(rate)) => Ok(Fault::SlowBody { rate: bytes(rate)? }),
        ("clock-step", Some(step)) => clock_step(step).map(Fault::ClockStep),
        ("eks", Some(rest)) => eks(rest),
        _ => Err(KINDS.to_owned()),
    }
}

fn eks(text: &str) -> Result<Fault, String> {
    let wrong =
        || "write eks:KIND:stuck or eks:KIND:fails:CODE; kinds are cluster, nodegroup and addon".to_owned();
    let (kind, fate) = text.split_once(':').ok_or_else(wrong)?;
    let made = match kind {
        "cluster" => Made::Cluster,
        "nodegroup" => Made::Nodegroup,
        "addon" => Made::Addon,
        _ => return Err(wrong()),
    };
    let fate = match fate.split_once(':') {
        None if fate == "stuck" => Fate::Stuck,
        Some(("fails", code)) => Fate::Fails(named(code)?),
        _ => return Err(wrong()),
    };
    Ok(Fault::Eks { made, fate })
}

fn latency(text: &str, read: Read<'_>) -> Result<Latency, String> {
    match text.split_once(':') {
        Some(("fixed", wait)) => Ok(Latency::Fixed(wait_of(wait)?)),
        Some(("lognormal", rest)) => {
            let (median, sigma) = rest
                .split_once(',')
                .ok_or("write latency:lognormal:MEDIAN,SIGMA, such as latency:lognormal:5ms,0.5")?;
            let sigma: f64 = sigma
                .trim()
                .parse()
                .map_err(|_| format!("`{sigma}` is no number"))?;
            if !(0.0..=10.0).contains(&sigma) {
                return Err("sigma is from 0 to 10".to_owned());
            }
            Ok(Latency::Lognormal {
                median: wait_of(median)?,
                sigma,
            })
        }
        Some(("recorded", from)) => {
            let (path, tag) = from
                .rsplit_once('#')
                .map_or((from, None), |(path, tag)| (path, Some(tag)));
            let text = read(path).map_err(|error| format!("cannot read {path}: {error}"))?;
            let recorded = Recorded::read(from, tag, &text);
            recorded
                .map(Latency::Recorded)
                .map_err(|why| format!("{path} is no recorded latency: {why}"))
        }
        _ => Err("latencies are fixed:TIME, lognormal:MEDIAN,SIGMA and recorded:FILE".to_owned()),
    }
}

fn named(text: &str) -> Result<String, String> {
    let fine = |char: char| char.is_ascii_alphanumeric() || "-_.*".contains(char);
    if text.is_empty() || !text.chars().all(fine) {
        return Err(format!("`{text}` is no name"));
    }
    Ok(text.to_owned())
}

fn share(text: &str) -> Result<Share, String> {
    let number = text
        .trim()
        .strip_suffix('%')
        .and_then(|number| number.parse().ok());
    number
        .and_then(Share::percent)
        .ok_or_else(|| format!("`{text}` is no share; write 5% or 0.1%"))
}

fn wait_of(text: &str) -> Result<Duration, String> {
    let wait = duration(text)?;
    if wait > LONGEST {
        return Err(format!("`{text}` is longer than ten minutes"));
    }
    Ok(wait)
}

fn clock_step(text: &str) -> Result<SignedDuration, String> {
    let (back, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
    let step = duration(text)?;
    if step > Duration::from_hours(10 * 365 * 24) {
        return Err("a clock is wrong by ten years at most".to_owned());
    }
    let step = SignedDuration::try_from(step).map_err(|error| error.to_string())?;
    Ok(if back { -step } else { step })
}

/// A number, which may have a fraction, with a unit.
fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let end = text
        .find(|char: char| !char.is_ascii_digit() && char != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("`{text}` is no time; write 250ms, 1.5s, 2m or 1h")),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| format!("`{text}` is no time: it must start with a number"))?;
    // To the microsecond, so that what is printed reads back as the same.
    let seconds = (number * factor * 1e6).round() / 1e6;
    Duration::try_from_secs_f64(seconds).map_err(|error| format!("`{text}`: {error}"))
}

fn bytes(text: &str) -> Result<NonZeroU32, String> {
    let error = || format!("`{text}` is no rate; write 512B/s, 1KiB/s or 2MiB/s");
    let size = text.trim().strip_suffix("/s").ok_or_else(error)?;
    let (number, factor) = [("KiB", 1024), ("MiB", 1024 * 1024), ("B", 1)]
        .into_iter()
        .find_map(|(unit, factor)| Some((size.strip_suffix(unit)?, factor)))
        .ok_or_else(error)?;
    let number: u32 = number.parse().map_err(|_| error())?;
    number
        .checked_mul(factor)
        .and_then(NonZeroU32::new)
        .ok_or_else(error)
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outage(Reach::Everything) => f.write_str("outage"),
            Self::Outage(Reach::Region(name)) => write!(f, "outage:region:{name}"),
            Self::Outage(Reach::Service(name)) => write!(f, "outage:service:{name}"),
            Self::Latency(Latency::Fixed(wait)) => write!(f, "latency:fixed:{}", Time(*wait)),
            Self::Latency(Latency::Lognormal { median, sigma }) => {
                write!(f, "latency:lognormal:{},{sigma}", Time(*median))
            }
            Self::Latency(Latency::Recorded(recorded)) => write!(f, "latency:recorded:{}", recorded.from),
            Self::Error {
                service,
                operation,
                code,
                share,
            } => {
                write!(f, "error:{service}:{operation}:{code}:{}%", share.0)
            }
            Self::Reset {
                at: ResetAt::Before,
                share,
            } => write!(f, "reset:{}%", share.0),
            Self::Reset {
                at: ResetAt::Middle,
                share,
            } => write!(f, "reset:middle:{}%", share.0),
            Self::SlowBody { rate } => write!(f, "slow-body:{rate}B/s"),
            Self::Eks { made, fate } => {
                let kind = match made {
                    Made::Cluster => "cluster",
                    Made::Nodegroup => "nodegroup",
                    Made::Addon => "addon",
                };
                match fate {
                    Fate::Stuck => write!(f, "eks:{kind}:stuck"),
                    Fate::Fails(code) => write!(f, "eks:{kind}:fails:{code}"),
                }
            }
            Self::ClockStep(step) => {
                let sign = if step.is_negative() { "-" } else { "" };
                write!(f, "clock-step:{sign}{}", Time(step.unsigned_abs()))
            }
        }
    }
}

/// A time in the largest unit that keeps it whole.
struct Time(Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        let units = [
            ("h", 3_600_000_000),
            ("m", 60_000_000),
            ("s", 1_000_000),
            ("ms", 1000),
        ];
        let whole = units
            .into_iter()
            .find(|(_, size)| micros >= *size && micros.is_multiple_of(*size));
        let (unit, size) = whole.unwrap_or(("us", 1));
        write!(f, "{}{unit}", micros / size)
    }
}
