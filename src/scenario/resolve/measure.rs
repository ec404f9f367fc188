//! Steps that measure.

use std::{collections::BTreeMap, time::Duration};

use super::{
    super::{
        at::{At, Ordered},
        calls,
        code::Code,
        diagnostic::Diagnostic,
        duration,
        model::{Action, Arrival, CallCount, FetchLoad, Lens, Load, MountLoad, Pace},
        raw::{RawArrival, RawCallCount, RawFetchLoad, RawLens, RawMountLoad},
        suggest::nearest,
    },
    Resolver,
    steps::Time,
};

const MAX_PODS: u32 = 100_000;
const MAX_RATE: f64 = 100_000.0;
const MAX_IN_FLIGHT: u32 = 10_000;
/// Mounts, and refreshes of each, whose calls are counted: more would only repeat the same.
const MAX_COUNTED: u32 = 100;
/// The largest limit on calls of one kind.
const MAX_LIMIT: u32 = 1_000;
/// What a count takes, where the file does not say it.
const COUNT: Duration = Duration::from_mins(2);
/// Longest time of one mount, where the file does not say it.
const ONE_MOUNT: Duration = Duration::from_mins(1);
/// Warm-up of fetches, likewise.
const FETCH_WARM_UP: Duration = Duration::from_secs(1);
/// What a step may take beyond what it measures: workloads are created before and removed after.
const BEYOND: Duration = Duration::from_mins(1);

impl Resolver<'_> {
    pub(super) fn mount_load(&mut self, raw: &RawMountLoad) -> Option<(Action, Time)> {
        let pods = self.within_range("pods", &raw.pods, 1, MAX_PODS);
        let warm_up = raw
            .warm_up
            .as_ref()
            .map_or(0, |warm_up| self.within_range("warmUp", warm_up, 0, MAX_PODS));
        let rate = self.rate("rate", &raw.rate);
        let deadline = match &raw.deadline {
            Some(deadline) => self.duration("the deadline of a mount", deadline),
            None => Some(ONE_MOUNT),
        };
        let lenses = self.lenses(raw);
        let load = MountLoad {
            pods,
            warm_up,
            rate: rate?,
            pod_rate: None,
            arrival: match raw.arrival {
                Some(RawArrival::Constant) => Arrival::Constant,
                Some(RawArrival::Poisson) | None => Arrival::Poisson,
            },
            lenses: lenses?,
            deadline: deadline?,
        };
        let planned = load.planned();
        if planned > duration::LONGEST {
            self.error(
                Diagnostic::error(Code::OutOfRange, "the schedule is longer than a day")
                    .at(raw.rate.place.clone(), "more starts per second, or fewer pods"),
            );
            return None;
        }
        // One measurement after the other, each with the time of its last mount.
        let lenses = u32::try_from(load.lenses.len()).unwrap_or(u32::MAX);
        let schedule = planned.saturating_mul(lenses);
        let beyond = load.deadline.saturating_mul(lenses).saturating_add(BEYOND);
        let time = self.time_beyond(raw.within.as_ref(), schedule, beyond)?;
        Some((Action::Load(Load::Mounts(load)), time))
    }

    fn lenses(&mut self, raw: &RawMountLoad) -> Option<Vec<Lens>> {
        let Some(written) = &raw.lenses else {
            return Some(vec![Lens::Csi]);
        };
        if written.is_empty() {
            self.error(
                Diagnostic::error(Code::OutOfRange, "no lens looks at the mounts")
                    .at(raw.pods.place.clone(), "")
                    .help("write `lenses: [csi]`, `[pod]`, or both"),
            );
            return None;
        }
        let mut lenses: Vec<Lens> = Vec::new();
        for lens in written {
            let resolved = match lens.value {
                RawLens::Csi => Lens::Csi,
                RawLens::Pod => Lens::Pod,
            };
            if lenses.contains(&resolved) {
                self.error(
                    Diagnostic::error(Code::DuplicateKey, "a lens is listed twice")
                        .at(lens.place.clone(), "again here"),
                );
            } else {
                lenses.push(resolved);
            }
        }
        Some(lenses)
    }

    pub(super) fn fetch_load(&mut self, raw: &RawFetchLoad) -> Option<(Action, Time)> {
        let duration = self.duration("the duration", &raw.duration);
        let warm_up = match &raw.warm_up {
            Some(warm_up) => self.duration("the warm-up", warm_up),
            None => Some(FETCH_WARM_UP),
        };
        let pace = match (&raw.in_flight, &raw.per_second) {
            (Some(in_flight), None) => Some(Pace::InFlight(self.within_range(
                "inFlight",
                in_flight,
                1,
                MAX_IN_FLIGHT,
            ))),
            (None, Some(per_second)) => self.rate("perSecond", per_second).map(Pace::PerSecond),
            _ => {
                self.error(
                    Diagnostic::error(Code::Contradiction, "it is not clear how fetches are paced")
                        .at(raw.duration.place.clone(), "")
                        .help("exactly one of: `inFlight: 8` (closed loop), `perSecond: 500` (open loop)"),
                );
                None
            }
        };
        let load = FetchLoad {
            duration: duration?,
            warm_up: warm_up?,
            pace: pace?,
        };
        let planned = load.warm_up.saturating_add(load.duration);
        let time = self.time_beyond(raw.within.as_ref(), planned, BEYOND)?;
        Some((Action::Load(Load::Fetch(load)), time))
    }

    pub(super) fn call_count(&mut self, raw: &RawCallCount) -> Option<(Action, Time)> {
        let tenant = self.tenant(&raw.tenant);
        if let Some(tenant) = tenant
            && !self.tenants[tenant].own
        {
            self.error(
                Diagnostic::error(
                    Code::Contradiction,
                    "calls are counted of a tenant that others share",
                )
                .at(raw.tenant.place.clone(), "their calls would be counted too")
                .help(format!("declare it as `{}: {{ own: true }}`", raw.tenant.value)),
            );
        }
        let mounts = self.within_range("mounts", &raw.mounts, 1, MAX_COUNTED);
        let refreshes = raw.refreshes.as_ref().map_or(1, |written| {
            self.within_range("refreshes", written, 0, MAX_COUNTED)
        });
        let of_refresh = raw.at_most.as_ref().and_then(|limits| limits.refresh.as_ref());
        if refreshes == 0
            && let Some((first, _)) = of_refresh.and_then(|limits| limits.entries.first())
        {
            self.error(
                Diagnostic::error(
                    Code::Contradiction,
                    "calls of refreshes are limited, and there are none",
                )
                .at(first.place.clone(), "")
                .help("write `refreshes: 1`, or leave `refresh` out"),
            );
        }
        let of_mount = raw.at_most.as_ref().and_then(|limits| limits.mount.as_ref());
        let count = CallCount {
            tenant: tenant?,
            mounts,
            refreshes,
            limits_of_mount: self.call_limits(of_mount),
            limits_of_refresh: self.call_limits(of_refresh),
        };
        let time = self.time_beyond(raw.within.as_ref(), Duration::ZERO, COUNT)?;
        Some((Action::Load(Load::Calls(count)), time))
    }

    fn call_limits(&mut self, written: Option<&Ordered<At<u32>>>) -> BTreeMap<String, u64> {
        let mut limits = BTreeMap::new();
        for (name, times) in written.map_or(&[][..], |written| written.entries.as_slice()) {
            if !calls::is_call(&name.value) {
                self.error(
                    Diagnostic::error(Code::UnknownValue, format!("no call is named `{}`", name.value))
                        .at(name.place.clone(), "")
                        .did_you_mean(nearest(&name.value, calls::NAMED.iter().copied()))
                        .help(format!(
                            "one of {}, or `kubernetes:` with a verb and a resource, such as `kubernetes:get serviceaccounts`",
                            calls::NAMED.join(", ")
                        )),
                );
            }
            let times = self.within_range(&name.value, times, 0, MAX_LIMIT);
            limits.insert(name.value.clone(), u64::from(times));
        }
        limits
    }

    fn rate(&mut self, what: &str, written: &At<f64>) -> Option<f64> {
        if written.value > 0.0 && written.value <= MAX_RATE {
            return Some(written.value);
        }
        self.error(
            Diagnostic::error(Code::OutOfRange, format!("{what} cannot be {}", written.value)).at(
                written.place.clone(),
                format!("expected more than 0, and {MAX_RATE} at most"),
            ),
        );
        None
    }
}
