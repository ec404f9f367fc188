//! A budget of calls per second, so that a run in a real account takes a small share of what the account may ask for.
//!
//! AWS limits calls by account and region, all callers together: a run that goes as fast as it can takes the quota away
//! from what the account is there for. Every request to a host of AWS's own waits here for its turn, retries and those
//! of the credential chain included; an endpoint at another address is nobody's quota and is not slowed down.

use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_smithy_runtime_api::client::{
    http::{
        HttpClient, HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
    },
    orchestrator::HttpRequest,
};
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};

/// Rates per second that AWS publishes, of an account in a region, by what is counted together.
///
/// Secrets Manager: "AWS Secrets Manager quotas"
/// (<https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html>). STS: "IAM and AWS STS quotas",
/// STS request quotas (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>).
const PUBLISHED: &[Rate] = &[
    rate("secretsmanager", 10_000, &["DescribeSecret", "GetSecretValue"]),
    rate(
        "secretsmanager",
        50,
        &[
            "PutSecretValue",
            "RemoveRegionsFromReplication",
            "ReplicateSecretToRegions",
            "StopReplicationToReplica",
            "UpdateSecret",
            "UpdateSecretVersionStage",
        ],
    ),
    rate(
        "secretsmanager",
        50,
        &[
            "DeleteResourcePolicy",
            "GetResourcePolicy",
            "PutResourcePolicy",
            "ValidateResourcePolicy",
        ],
    ),
    rate("secretsmanager", 50, &["CreateSecret"]),
    rate("secretsmanager", 50, &["DeleteSecret"]),
    rate("secretsmanager", 50, &["RestoreSecret"]),
    rate("secretsmanager", 50, &["TagResource", "UntagResource"]),
    rate("secretsmanager", 100, &["ListSecrets"]),
    rate(
        "sts",
        600,
        &[
            "AssumeRole",
            "AssumeRoleWithWebIdentity",
            "GetCallerIdentity",
            "GetSessionToken",
        ],
    ),
];

/// For services whose rates AWS does not publish: all operations of each together. Assumed, and low on purpose: IAM is one
/// service for all regions of an account, and is throttled long before the others; control planes are asked rarely.
const ASSUMED: &[(&str, u32)] = &[("iam", 50), ("eks", 50), ("sts", 600), ("secretsmanager", 50)];

/// Hosts that are AWS's own.
const OF_AWS: [&str; 3] = [".amazonaws.com", ".amazonaws.com.cn", ".api.aws"];

/// Operations that are counted together.
#[derive(Debug)]
struct Rate {
    service: &'static str,
    per_second: u32,
    operations: &'static [&'static str],
}

const fn rate(service: &'static str, per_second: u32, operations: &'static [&'static str]) -> Rate {
    Rate {
        service,
        per_second,
        operations,
    }
}

/// A share of the account's quotas, in percent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share(f64);

impl Default for Share {
    fn default() -> Self {
        Self(10.0)
    }
}

impl std::str::FromStr for Share {
    type Err = String;

    /// `10`, `10%` or `2.5%`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.strip_suffix('%').unwrap_or(text).trim();
        match number.parse::<f64>() {
            Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(Self(percent)),
            _ => Err(format!(
                "`{text}` is no share: a number of percent above 0, 100 at most"
            )),
        }
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}%", self.0)
    }
}

/// What the budget held back so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct HeldBack {
    /// Calls that waited.
    pub calls: u64,
    /// How long they waited, all together.
    pub waited: Duration,
    /// The share that they waited for.
    pub share: Share,
}

impl HeldBack {
    /// In words, where any call waited: so that nobody takes it for AWS's slowness.
    #[must_use]
    pub fn told(&self) -> Option<String> {
        (self.calls > 0).then(|| {
            format!(
                "{} AWS calls waited {:.1} s in all, to stay within {} of the account's quotas (--max-aws-share)",
                self.calls,
                self.waited.as_secs_f64(),
                self.share
            )
        })
    }
}

/// What has buckets of its own: what is counted together, in a region.
type Key = (Group, String);
type Bucket<C> = RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<<C as Clock>::Instant>>;

type Buckets<C> = BTreeMap<Key, Arc<Bucket<C>>>;

/// The buckets of one account.
#[derive(Debug)]
pub(super) struct Budget<C: Clock = DefaultClock> {
    share: Share,
    /// By what is counted together and region. Each holds one second's worth.
    buckets: Mutex<Buckets<C>>,
    clock: C,
    calls: AtomicU64,
    waited_us: AtomicU64,
}

/// What is counted together: a line of [`PUBLISHED`], or of [`ASSUMED`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Published(usize),
    Assumed(usize),
}

impl Budget {
    pub(super) fn new(share: Share) -> Self {
        Self::by_clock(share, DefaultClock::default())
    }

    /// What was held back so far.
    pub(super) fn held_back(&self) -> HeldBack {
        HeldBack {
            calls: self.calls.load(Ordering::Relaxed),
            waited: Duration::from_micros(self.waited_us.load(Ordering::Relaxed)),
            share: self.share,
        }
    }

    /// The same client, whose requests wait for their turn. What a request itself may take is the connector's to bound.
    pub(super) fn pace(self: &Arc<Self>, client: SharedHttpClient) -> SharedHttpClient {
        let budget = Arc::clone(self);
        http_client_fn(move |settings, components| {
            SharedHttpConnector::new(Paced {
                inner: client.http_connector(settings, components),
                budget: Arc::clone(&budget),
            })
        })
    }

    /// Waits until there is a token for `called`: as long as the budget makes it, which is bounded by how many calls
    /// wait before this one.
    async fn take(&self, called: &Called) {
        let mut waited = Duration::ZERO;
        while let Some(pause) = self.pause(called) {
            tokio::time::sleep(pause).await;
            waited += pause;
        }
        if !waited.is_zero() {
            self.calls.fetch_add(1, Ordering::Relaxed);
            let micros = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
            self.waited_us.fetch_add(micros, Ordering::Relaxed);
        }
    }
}

impl<C: Clock + Clone> Budget<C> {
    fn by_clock(share: Share, clock: C) -> Self {
        Self {
            share,
            buckets: Mutex::default(),
            clock,
            calls: AtomicU64::new(0),
            waited_us: AtomicU64::new(0),
        }
    }

    /// Takes a token for a call, or says when there may be one.
    fn pause(&self, called: &Called) -> Option<Duration> {
        let bucket = self.bucket(called)?;
        let not_yet = bucket.check().err()?;
        Some(not_yet.wait_time_from(self.clock.now()))
    }

    fn bucket(&self, called: &Called) -> Option<Arc<Bucket<C>>> {
        if !OF_AWS.iter().any(|suffix| called.host.ends_with(suffix)) {
            return None;
        }
        let (group, per_second) = rate_of(&called.service, called.operation.as_deref())?;
        let quota = quota(per_second, self.share)?;
        let key = (group, called.region.clone());
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets
            .entry(key)
            .or_insert_with(|| Arc::new(RateLimiter::direct_with_clock(quota, self.clock.clone())));
        Some(Arc::clone(bucket))
    }
}

/// What `operation` of `service` counts as, and the account's whole rate of it.
fn rate_of(service: &str, operation: Option<&str>) -> Option<(Group, u32)> {
    let published = PUBLISHED.iter().position(|rate| {
        rate.service == service && operation.is_some_and(|operation| rate.operations.contains(&operation))
    });
    if let Some(line) = published {
        return Some((Group::Published(line), PUBLISHED[line].per_second));
    }
    let line = ASSUMED.iter().position(|(name, _)| *name == service)?;
    Some((Group::Assumed(line), ASSUMED[line].1))
}

/// A bucket that fills at a share of `per_second` and holds a second's worth of that, one call at least.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a rate is a small positive number"
)]
fn quota(per_second: u32, share: Share) -> Option<Quota> {
    let allowed = f64::from(per_second) * share.0 / 100.0;
    let quota = Quota::with_period(Duration::from_secs_f64(1.0 / allowed))?;
    Some(quota.allow_burst(NonZeroU32::new(allowed.floor() as u32).unwrap_or(NonZeroU32::MIN)))
}

/// What a request calls.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Called {
    host: String,
    service: String,
    region: String,
    /// Absent where it is not in a header or a form.
    operation: Option<String>,
}

impl Called {
    fn of(request: &HttpRequest) -> Self {
        let uri = request.uri();
        let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        let host = authority.split(':').next().unwrap_or_default().to_owned();
        // `AWS4-HMAC-SHA256 Credential=AKIA/20260101/eu-west-1/eks/aws4_request, SignedHeaders=...`
        let scope = request.headers().get("authorization").and_then(|header| {
            let (_, scope) = header.split_once("Credential=")?;
            let mut parts = scope.split(',').next()?.split('/').skip(2);
            Some((parts.next()?.to_owned(), parts.next()?.to_owned()))
        });
        // What is not signed is told by its host: `sts.eu-west-1.amazonaws.com`.
        let (region, service) = scope.unwrap_or_else(|| {
            let mut labels = host.split('.');
            let service = labels.next().unwrap_or_default().to_owned();
            (labels.next().unwrap_or_default().to_owned(), service)
        });
        let target = request.headers().get("x-amz-target");
        let operation = match target {
            Some(target) => target.rsplit('.').next().map(str::to_owned),
            None => request.body().bytes().and_then(action),
        };
        Self {
            host,
            service,
            region,
            operation,
        }
    }
}

/// `Action=GetCallerIdentity&...` of a form.
fn action(body: &[u8]) -> Option<String> {
    let body = std::str::from_utf8(body).ok()?;
    let action = body.split('&').find_map(|field| field.strip_prefix("Action="))?;
    Some(action.to_owned())
}

/// A connector whose requests wait for their turn.
#[derive(Debug)]
struct Paced {
    inner: SharedHttpConnector,
    budget: Arc<Budget>,
}

impl HttpConnector for Paced {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (inner, budget) = (self.inner.clone(), Arc::clone(&self.budget));
        HttpConnectorFuture::new(async move {
            budget.take(&Called::of(&request)).await;
            inner.call(request).await
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use aws_smithy_types::body::SdkBody;
    use governor::clock::FakeRelativeClock;

    use super::*;

    #[test]
    fn shares_are_percent() {
        for (text, expected) in [("10", 10.0), ("10%", 10.0), ("2.5%", 2.5), ("100", 100.0)] {
            assert_eq!(text.parse(), Ok(Share(expected)), "{text}");
        }
        for text in ["0", "-1", "101%", "NaN", "half", ""] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
        assert_eq!(Share::default().to_string(), "10%");
    }

    #[test]
    fn operations_have_the_rates_that_are_published_and_others_one_for_their_service() {
        let rate = |service, operation| rate_of(service, operation).map(|(_, rate)| rate);
        for (service, operation, expected) in [
            ("secretsmanager", Some("GetSecretValue"), Some(10_000)),
            ("secretsmanager", Some("CreateSecret"), Some(50)),
            ("secretsmanager", Some("ListSecrets"), Some(100)),
            ("sts", Some("GetCallerIdentity"), Some(600)),
            ("sts", None, Some(600)),
            ("iam", Some("CreateRole"), Some(50)),
            ("eks", None, Some(50)),
            ("portal.sso", None, None),
        ] {
            assert_eq!(rate(service, operation), expected, "{service} {operation:?}");
        }
        let together = |operation| rate_of("secretsmanager", Some(operation)).map(|(group, _)| group);
        assert_eq!(together("GetSecretValue"), together("DescribeSecret"));
        assert_ne!(together("CreateSecret"), together("DeleteSecret"));
    }

    #[test]
    fn a_bucket_holds_a_seconds_worth_and_one_call_at_least() {
        let quota = |per_second, percent| {
            let quota = quota(per_second, Share(percent)).unwrap();
            (quota.burst_size().get(), quota.replenish_interval().as_millis())
        };
        assert_eq!(quota(50, 10.0), (5, 200));
        assert_eq!(quota(10_000, 10.0), (1000, 1));
        assert_eq!(quota(50, 1.0), (1, 2000));
    }

    fn request(uri: &str, headers: &[(&'static str, &'static str)], body: &'static str) -> HttpRequest {
        let mut request = HttpRequest::new(SdkBody::from(body));
        request.set_uri(uri).unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, *value);
        }
        request
    }

    const SIGNED_FOR_EKS: &str = "AWS4-HMAC-SHA256 Credential=AKIA/20260101/eu-west-1/eks/aws4_request, SignedHeaders=host, Signature=0";

    #[test]
    fn what_a_request_calls_is_read_off_it() {
        let read = |request: &HttpRequest| {
            let called = Called::of(request);
            (called.host, called.service, called.region, called.operation)
        };
        let expected = |host: &str, service: &str, region: &str, operation: Option<&str>| {
            (
                host.to_owned(),
                service.to_owned(),
                region.to_owned(),
                operation.map(str::to_owned),
            )
        };
        let eks = request(
            "https://127.0.0.1:1/clusters?x=1",
            &[("authorization", SIGNED_FOR_EKS)],
            "",
        );
        assert_eq!(read(&eks), expected("127.0.0.1", "eks", "eu-west-1", None));
        let target = [("x-amz-target", "secretsmanager.CreateSecret")];
        let json = request("https://secretsmanager.eu-west-2.amazonaws.com/", &target, "{}");
        let host = "secretsmanager.eu-west-2.amazonaws.com";
        assert_eq!(
            read(&json),
            expected(host, "secretsmanager", "eu-west-2", Some("CreateSecret"))
        );
        let form = request(
            "https://sts.eu-west-1.amazonaws.com",
            &[],
            "Version=2011-06-15&Action=AssumeRoleWithWebIdentity&RoleArn=a",
        );
        let host = "sts.eu-west-1.amazonaws.com";
        assert_eq!(
            read(&form),
            expected(host, "sts", "eu-west-1", Some("AssumeRoleWithWebIdentity"))
        );
    }

    #[test]
    fn calls_beyond_the_share_wait_and_those_of_other_hosts_do_not() {
        let called = |host: &str, region: &str| Called {
            host: host.to_owned(),
            service: "iam".to_owned(),
            region: region.to_owned(),
            operation: None,
        };
        let clock = FakeRelativeClock::default();
        // Ten percent of fifty a second.
        let budget = Budget::by_clock(Share::default(), clock.clone());
        for _ in 0..100 {
            assert_eq!(budget.pause(&called("127.0.0.1", "us-east-1")), None);
        }
        let of_aws = called("iam.amazonaws.com", "us-east-1");
        for _ in 0..5 {
            assert_eq!(budget.pause(&of_aws), None);
        }
        assert_eq!(budget.pause(&of_aws), Some(Duration::from_millis(200)));
        assert_eq!(budget.pause(&called("iam.amazonaws.com", "elsewhere")), None);
        clock.advance(Duration::from_millis(200));
        assert_eq!(budget.pause(&of_aws), None);
        assert_eq!(budget.pause(&of_aws), Some(Duration::from_millis(200)));
    }
}
