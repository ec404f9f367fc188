//! AWS's published request quotas as token buckets, off unless asked for (`--quotas aws`).
//!
//! Imitated: "AWS Secrets Manager quotas" (User Guide), "IAM and AWS STS quotas" (IAM User Guide), and the
//! Parameter Store part of "AWS Systems Manager endpoints and quotas" (General Reference). A bucket holds one
//! second's worth of calls and fills at the published rate, as AWS says of its throttling; every account and
//! region has its own, and IAM, which is global, one for all regions. Calls are counted once they are known to
//! be signed by the account: a stranger uses up nothing.
//!
//! Read on AWS's page: the combined rates of Secrets Manager's reads, of its resource-policy calls and of its updates.
//! From memory, and unverified: every other figure, STS's and Parameter Store's among them.
//!
//! Left out: what AWS publishes no figure for (IAM's and EKS's own calls, `AssumeRoleForPodIdentity`,
//! `AssumeRoleWithWebIdentity`, which comes without credentials and so outside the quota of STS), bursts
//! beyond a second, and Parameter Store's adjustable higher throughput of 10,000 `GetParameter` a second.

use std::collections::HashMap;

use jiff::Timestamp;

/// Operations that share a bucket.
#[derive(Debug, PartialEq, Eq)]
pub struct Quota {
    /// Such as `secretsmanager`.
    pub service: &'static str,
    /// What counts together.
    pub operations: &'static [&'static str],
    /// How many a second.
    pub per_second: u32,
}

macro_rules! quotas {
    ($($service:literal $rate:literal: $($operation:literal),+;)*) => {
        &[$(Quota { service: $service, operations: &[$($operation),+], per_second: $rate }),*]
    };
}

/// What AWS publishes.
pub static AWS: &[Quota] = quotas! {
    "secretsmanager" 10_000: "DescribeSecret", "GetSecretValue";
    "secretsmanager" 50: "PutSecretValue", "RemoveRegionsFromReplication", "ReplicateSecretToRegions",
        "StopReplicationToReplica", "UpdateSecret", "UpdateSecretVersionStage";
    "secretsmanager" 50: "DeleteResourcePolicy", "GetResourcePolicy", "PutResourcePolicy", "ValidateResourcePolicy";
    "secretsmanager" 50: "RestoreSecret";
    "secretsmanager" 50: "RotateSecret", "CancelRotateSecret";
    "secretsmanager" 50: "TagResource", "UntagResource";
    "secretsmanager" 100: "BatchGetSecretValue";
    "secretsmanager" 50: "CreateSecret";
    "secretsmanager" 50: "DeleteSecret";
    "secretsmanager" 50: "GetRandomPassword";
    "secretsmanager" 50: "ListSecretVersionIds";
    "secretsmanager" 100: "ListSecrets";
    "sts" 600: "AssumeRole", "DecodeAuthorizationMessage", "GetAccessKeyInfo", "GetCallerIdentity",
        "GetFederationToken", "GetSessionToken";
    "ssm" 40: "GetParameter", "GetParameters", "GetParametersByPath";
    "ssm" 3: "PutParameter";
};

/// Which quotas hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Quotas {
    /// None.
    #[default]
    Off,
    /// [`AWS`].
    Aws,
}

impl std::str::FromStr for Quotas {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Self::Off),
            "aws" => Ok(Self::Aws),
            _ => Err("quotas are `aws` or `off`".to_owned()),
        }
    }
}

/// The buckets of one account.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    /// By quota and region; made on first use. No more than there are quotas in the regions that are called
    /// by signed requests, and never more than [`MOST`].
    buckets: HashMap<(usize, String), Bucket>,
}

/// More regions than there are, so that nobody fills the memory by inventing some.
const MOST: usize = 4096;

#[derive(Debug)]
struct Bucket {
    /// In nanoseconds of filling, from 0 to a second's worth.
    level: i128,
    at: Timestamp,
}

const SECOND: i128 = 1_000_000_000;

impl Buckets {
    /// Takes a token for a call at `now`; whether there was one.
    pub(crate) fn take(&mut self, service: &str, operation: &str, region: &str, now: Timestamp) -> bool {
        let group = AWS
            .iter()
            .position(|quota| quota.service == service && quota.operations.contains(&operation));
        let Some(group) = group else {
            return true;
        };
        if self.buckets.len() >= MOST {
            self.buckets.clear();
        }
        let bucket = self.buckets.entry((group, region.to_owned())).or_insert(Bucket {
            level: SECOND,
            at: now,
        });
        let passed = now.as_nanosecond() - bucket.at.as_nanosecond();
        // A clock that goes back fills nothing, and counts on from there.
        bucket.level = (bucket.level + passed.max(0)).min(SECOND);
        bucket.at = now;
        let price = SECOND / i128::from(AWS[group].per_second);
        let enough = bucket.level >= price;
        if enough {
            bucket.level -= price;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use jiff::SignedDuration;

    use super::*;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(1_764_000_000_000 + milliseconds).unwrap()
    }

    /// How many of `calls` are let through, all at once.
    fn burst(buckets: &mut Buckets, operation: &str, region: &str, now: Timestamp, calls: usize) -> usize {
        let taken = (0..calls).filter(|_| buckets.take("secretsmanager", operation, region, now));
        taken.count()
    }

    #[test]
    fn a_second_may_come_at_once_and_then_the_rate_holds() {
        let mut buckets = Buckets::default();
        assert_eq!(burst(&mut buckets, "PutSecretValue", "eu-west-1", at(0), 200), 50);
        assert_eq!(burst(&mut buckets, "PutSecretValue", "eu-west-1", at(19), 200), 0);
        assert_eq!(burst(&mut buckets, "PutSecretValue", "eu-west-1", at(20), 200), 1);
        assert_eq!(
            burst(&mut buckets, "PutSecretValue", "eu-west-1", at(520), 200),
            25
        );
        assert_eq!(
            burst(&mut buckets, "PutSecretValue", "eu-west-1", at(60_000), 200),
            50,
            "no more than a second"
        );
    }

    #[test]
    fn operations_of_a_group_share_and_groups_and_regions_do_not() {
        let mut buckets = Buckets::default();
        assert_eq!(burst(&mut buckets, "PutSecretValue", "eu-west-1", at(0), 30), 30);
        assert_eq!(burst(&mut buckets, "UpdateSecret", "eu-west-1", at(0), 30), 20);
        assert_eq!(burst(&mut buckets, "TagResource", "eu-west-1", at(0), 30), 30);
        assert_eq!(burst(&mut buckets, "UpdateSecret", "eu-west-2", at(0), 60), 50);
        assert_eq!(
            burst(&mut buckets, "GetSecretValue", "eu-west-1", at(0), 10_001),
            10_000
        );
        assert_eq!(burst(&mut buckets, "DescribeSecret", "eu-west-1", at(0), 1), 0);
        assert_eq!(
            burst(&mut buckets, "NoSuchOperation", "eu-west-1", at(0), 100),
            100
        );
        assert!(
            !buckets
                .buckets
                .keys()
                .any(|(_, region)| region == "NoSuchOperation")
        );
    }

    #[test]
    fn over_an_hour_the_published_rate_is_let_through() {
        let mut buckets = Buckets::default();
        let mut now = at(0);
        let mut through = 0;
        for _ in 0..3600 * 200 {
            now += SignedDuration::from_millis(5);
            through += usize::from(buckets.take("ssm", "GetParameter", "eu-west-1", now));
        }
        assert!((3600 * 40..=3601 * 40).contains(&through), "{through}");
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing_away_and_blocks_nothing_for_long() {
        let mut buckets = Buckets::default();
        assert_eq!(burst(&mut buckets, "CreateSecret", "r", at(10_000), 60), 50);
        assert_eq!(burst(&mut buckets, "CreateSecret", "r", at(0), 60), 0);
        assert_eq!(burst(&mut buckets, "CreateSecret", "r", at(1000), 60), 50);
    }

    #[test]
    fn invented_regions_do_not_fill_the_memory() {
        let mut buckets = Buckets::default();
        for region in 0..MOST * 3 {
            assert!(buckets.take("sts", "GetCallerIdentity", &region.to_string(), at(0)));
        }
        assert!(buckets.buckets.len() <= MOST);
    }

    #[test]
    fn no_operation_counts_twice() {
        let mut all: Vec<_> = AWS
            .iter()
            .flat_map(|quota| {
                quota
                    .operations
                    .iter()
                    .map(move |operation| (quota.service, operation))
            })
            .collect();
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
