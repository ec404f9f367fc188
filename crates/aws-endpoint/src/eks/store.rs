//! The clusters of one account, by region and name, and everything that belongs to them.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use rand::RngExt as _;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{EksError, issuer::IssuerKeys};

/// The EKS clusters of one account, in all regions.
#[derive(Debug, Serialize, Deserialize)]
pub struct EksStore {
    account: String,
    /// The authority that clusters without a backend name as theirs, as PEM.
    authority_pem: String,
    /// How long something is on its way between two states, in milliseconds.
    settling_ms: i64,
    /// Whether other API servers stand behind the clusters.
    pub(super) backed: bool,
    regions: BTreeMap<String, BTreeMap<String, Cluster>>,
}

/// A cluster with all that belongs to it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Cluster {
    pub(super) name: String,
    /// The last part of the issuer's URL, and the first of the API server's name: 32 hexadecimal digits.
    pub(super) id: String,
    pub(super) issuer: String,
    pub(super) keys: IssuerKeys,
    pub(super) mode: AuthenticationMode,
    /// Who made it, and is its administrator while access entries are not used.
    pub(super) creator: Option<String>,
    pub(super) record: Record,
    /// What is wrong with it, if anything is. Older states do not say.
    #[serde(default)]
    pub(super) issue: Option<Issue>,
    pub(super) nodegroups: BTreeMap<String, Record>,
    pub(super) addons: BTreeMap<String, Record>,
    /// By principal ARN.
    pub(super) access: BTreeMap<String, AccessEntry>,
    /// By id.
    pub(super) associations: BTreeMap<String, Association>,
    /// By id.
    pub(super) updates: BTreeMap<String, Update>,
}

/// What is wrong with a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Issue {
    /// One of those that `ClusterIssue` of the API reference lists.
    pub(super) code: String,
    pub(super) message: String,
}

/// Where a cluster looks for who its callers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum AuthenticationMode {
    ConfigMap,
    ApiAndConfigMap,
    Api,
}

/// Something that has an ARN, tags and a status.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) arn: String,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) phase: Phase,
    /// What an answer says beside ARN, tags and status.
    pub(super) body: Map<String, Value>,
}

/// Where something is in its life. What has a time changes by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Phase {
    /// Being made until the backend says so, or for as long as it is stuck.
    Starting,
    Creating(Timestamp),
    Updating(Timestamp),
    /// Being changed until the backend says so.
    Changing,
    Active,
    Failed,
    Deleting(Timestamp),
    /// Being deleted until the backend says so.
    Ending,
}

/// Who may come in, and as whom.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct AccessEntry {
    pub(super) arn: String,
    pub(super) principal: String,
    pub(super) kind: String,
    pub(super) username: String,
    pub(super) groups: Vec<String>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) created: Timestamp,
    pub(super) modified: Timestamp,
    /// By policy ARN.
    pub(super) policies: BTreeMap<String, AssociatedPolicy>,
}

/// An access policy of an entry.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct AssociatedPolicy {
    /// Empty for the whole cluster.
    pub(super) namespaces: Vec<String>,
    pub(super) associated: Timestamp,
    pub(super) modified: Timestamp,
}

/// Which role the pods of a `ServiceAccount` get.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Association {
    pub(super) id: String,
    pub(super) arn: String,
    pub(super) namespace: String,
    pub(super) service_account: String,
    pub(super) role: String,
    pub(super) session_tags: bool,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) created: Timestamp,
    pub(super) modified: Timestamp,
}

/// A change under way, or done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Update {
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) params: Vec<(String, String)>,
    pub(super) created: Timestamp,
    pub(super) done: Timestamp,
    /// The node group or add-on that it is of.
    pub(super) of: Option<String>,
    /// Why it came to nothing, if it did.
    #[serde(default)]
    pub(super) failed: Option<Issue>,
}

impl EksStore {
    /// An account without clusters, which have `authority_pem` for theirs where nothing else stands behind
    /// them, and are on their way for `settling`.
    #[must_use]
    pub fn new(
        account: impl Into<String>,
        authority_pem: impl Into<String>,
        settling: SignedDuration,
    ) -> Self {
        Self {
            account: account.into(),
            authority_pem: authority_pem.into(),
            settling_ms: i64::try_from(settling.as_millis()).unwrap_or(i64::MAX),
            backed: false,
            regions: BTreeMap::new(),
        }
    }

    /// Forgets every cluster.
    pub(crate) fn clear(&mut self) {
        self.regions.clear();
    }

    /// From now on every cluster waits for its API server, which someone else starts.
    pub fn expect_backend(&mut self) {
        self.backed = true;
    }

    /// Everything there is, such as `cluster demo`, in a fixed order.
    pub fn objects(&self) -> impl Iterator<Item = String> {
        self.regions
            .values()
            .flat_map(BTreeMap::keys)
            .map(|name| format!("cluster {name}"))
    }

    /// Everything, private keys included, to be read again by [`Self::restore`].
    #[must_use]
    pub fn saved(&self) -> Value {
        json!(self.regions)
    }

    /// Takes over what was saved, in place of what there is.
    ///
    /// # Errors
    /// When it is something else.
    pub fn restore(&mut self, saved: &Value) -> Result<(), serde_json::Error> {
        self.regions = Deserialize::deserialize(saved)?;
        Ok(())
    }

    /// The issuers of all clusters that do not wait for an API server: URL and published keys.
    pub fn issuers(&self) -> impl Iterator<Item = (&str, Value)> {
        let clusters = self.regions.values().flat_map(BTreeMap::values);
        let clusters = clusters.filter(|cluster| cluster.record.phase != Phase::Starting);
        clusters.map(|cluster| (cluster.issuer.as_str(), cluster.keys.published()))
    }

    /// Every cluster, with its region.
    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = (&str, &mut Cluster)> {
        let regions = self.regions.iter_mut();
        regions.flat_map(|(region, named)| named.values_mut().map(move |one| (region.as_str(), one)))
    }

    pub(super) fn authority_pem(&self) -> &str {
        &self.authority_pem
    }

    /// When what begins at `now` has settled.
    pub(super) fn settled(&self, now: Timestamp) -> Timestamp {
        now + SignedDuration::from_millis(self.settling_ms)
    }

    /// The phase of a node group or add-on that is made at `now`.
    pub(super) fn making(&self, now: Timestamp) -> Phase {
        if self.backed {
            Phase::Starting
        } else {
            Phase::Creating(self.settled(now))
        }
    }

    /// The phase of one that is changed, and when that is done: unknown where a backend has to say so.
    pub(super) fn changing(&self, now: Timestamp) -> (Phase, Timestamp) {
        let until = self.settled(now);
        if self.backed {
            (Phase::Changing, Timestamp::MAX)
        } else {
            (Phase::Updating(until), until)
        }
    }

    /// The phase of one that is deleted.
    pub(super) fn ending(&self, now: Timestamp) -> Phase {
        if self.backed {
            Phase::Ending
        } else {
            Phase::Deleting(self.settled(now))
        }
    }

    /// `arn:aws:eks:<region>:<account>:<rest>`.
    pub(super) fn arn(&self, region: &str, rest: &str) -> String {
        format!("arn:aws:eks:{region}:{}:{rest}", self.account)
    }

    /// Lets time pass: what was being made is there, what was being deleted is gone.
    pub(crate) fn settle(&mut self, now: Timestamp) {
        for clusters in self.regions.values_mut() {
            clusters.retain(|_, cluster| cluster.record.settle(now));
            for cluster in clusters.values_mut() {
                cluster.nodegroups.retain(|_, record| record.settle(now));
                cluster.addons.retain(|_, record| record.settle(now));
            }
        }
    }

    pub(super) fn find(&self, region: &str, name: &str) -> Option<&Cluster> {
        self.regions.get(region)?.get(name)
    }

    pub(super) fn cluster(&self, region: &str, name: &str) -> Result<&Cluster, EksError> {
        self.find(region, name).ok_or_else(|| EksError::no_cluster(name))
    }

    pub(super) fn cluster_mut(&mut self, region: &str, name: &str) -> Result<&mut Cluster, EksError> {
        let cluster = self
            .regions
            .get_mut(region)
            .and_then(|clusters| clusters.get_mut(name));
        cluster.ok_or_else(|| EksError::no_cluster(name))
    }

    /// As [`Self::cluster_mut`], for what only a cluster that is there allows.
    pub(super) fn active_mut(&mut self, region: &str, name: &str) -> Result<&mut Cluster, EksError> {
        let cluster = self.cluster_mut(region, name)?;
        match cluster.record.phase {
            Phase::Active => Ok(cluster),
            Phase::Updating(_) | Phase::Changing => Err(EksError::in_use(format!(
                "Cluster {name} currently has an update in progress"
            ))
            .with("clusterName", name)),
            _ => Err(
                EksError::request(format!("Cluster {name} is not in ACTIVE status"))
                    .with("clusterName", name),
            ),
        }
    }

    /// The cluster whose tokens have this `iss`.
    pub(super) fn of_issuer(&self, issuer: &str) -> Option<(&str, &Cluster)> {
        let clusters = self.regions.iter();
        let mut all =
            clusters.flat_map(|(region, named)| named.values().map(move |one| (region.as_str(), one)));
        all.find(|(_, cluster)| cluster.issuer == issuer)
    }

    pub(super) fn names(&self, region: &str) -> impl Iterator<Item = &str> {
        self.regions
            .get(region)
            .into_iter()
            .flat_map(BTreeMap::keys)
            .map(String::as_str)
    }

    pub(super) fn insert(&mut self, region: &str, cluster: Cluster) {
        let clusters = self.regions.entry(region.to_owned()).or_default();
        clusters.insert(cluster.name.clone(), cluster);
    }
}

impl Cluster {
    /// The association of a `ServiceAccount`.
    pub(super) fn association(&self, namespace: &str, service_account: &str) -> Option<&Association> {
        let mut all = self.associations.values();
        all.find(|one| one.namespace == namespace && one.service_account == service_account)
    }

    /// As [`Self::tags_of`].
    pub(super) fn tags(&self, arn: &str) -> Option<&BTreeMap<String, String>> {
        let records = [&self.record].into_iter();
        let records = records
            .chain(self.nodegroups.values())
            .chain(self.addons.values())
            .map(|record| (&record.arn, &record.tags));
        let access = self.access.values().map(|entry| (&entry.arn, &entry.tags));
        let associations = self.associations.values().map(|one| (&one.arn, &one.tags));
        let mut all = records.chain(access).chain(associations);
        all.find(|(its, _)| *its == arn).map(|(_, tags)| tags)
    }

    /// The tags of the cluster, or of something that belongs to it, by ARN.
    pub(super) fn tags_of(&mut self, arn: &str) -> Option<&mut BTreeMap<String, String>> {
        let records = [&mut self.record].into_iter();
        let records = records
            .chain(self.nodegroups.values_mut())
            .chain(self.addons.values_mut())
            .map(|record| (&record.arn, &mut record.tags));
        let access = self
            .access
            .values_mut()
            .map(|entry| (&entry.arn, &mut entry.tags));
        let associations = self
            .associations
            .values_mut()
            .map(|one| (&one.arn, &mut one.tags));
        let mut all = records.chain(access).chain(associations);
        all.find(|(its, _)| *its == arn).map(|(_, tags)| tags)
    }
}

impl Record {
    /// Whether it is still there at `now`; what was on its way has arrived.
    fn settle(&mut self, now: Timestamp) -> bool {
        match self.phase {
            Phase::Creating(until) | Phase::Updating(until) if until <= now => self.phase = Phase::Active,
            Phase::Deleting(until) if until <= now => return false,
            _ => {}
        }
        true
    }

    /// What an answer says about it, under `arn` as its name.
    pub(super) fn view(&self, arn: &str) -> Map<String, Value> {
        let mut view = self.body.clone();
        view.insert(arn.to_owned(), json!(self.arn));
        view.insert("tags".to_owned(), json!(self.tags));
        view.insert("status".to_owned(), json!(self.phase.status()));
        view
    }

    /// The same of what belongs to a cluster, where a failure has another name.
    pub(super) fn member_view(&self, arn: &str) -> Map<String, Value> {
        let mut view = self.view(arn);
        if self.phase == Phase::Failed {
            view.insert("status".to_owned(), json!("CREATE_FAILED"));
        }
        view
    }

    pub(super) fn text(&self, key: &str) -> &str {
        self.body.get(key).and_then(Value::as_str).unwrap_or_default()
    }
}

impl Phase {
    pub(super) fn status(self) -> &'static str {
        match self {
            Self::Starting | Self::Creating(_) => "CREATING",
            Self::Updating(_) | Self::Changing => "UPDATING",
            Self::Active => "ACTIVE",
            Self::Failed => "FAILED",
            Self::Deleting(_) | Self::Ending => "DELETING",
        }
    }

    /// Whether it was there once.
    pub(super) fn made(self) -> bool {
        !matches!(self, Self::Starting | Self::Creating(_) | Self::Failed)
    }
}

impl Update {
    pub(super) fn view(&self, now: Timestamp) -> Value {
        let params = self.params.iter();
        let params: Vec<Value> = params
            .map(|(kind, value)| json!({ "type": kind, "value": value }))
            .collect();
        let status = match &self.failed {
            Some(_) => "Failed",
            None if self.done <= now => "Successful",
            None => "InProgress",
        };
        let errors = self.failed.iter();
        let errors = errors.map(|issue| json!({ "errorCode": issue.code, "errorMessage": issue.message }));
        json!({
            "id": self.id,
            "status": status,
            "type": self.kind,
            "params": params,
            "createdAt": time(self.created),
            "errors": errors.collect::<Vec<_>>(),
        })
    }
}

/// A time as restJson writes it here: seconds, with milliseconds behind the point.
pub(super) fn time(time: Timestamp) -> Value {
    json!(SignedDuration::from_millis(time.as_millisecond()).as_secs_f64())
}

/// `length` random characters of `alphabet`.
pub(super) fn random(alphabet: &[u8], length: usize) -> String {
    let mut random = rand::rng();
    let one = |_| char::from(alphabet[random.random_range(0..alphabet.len())]);
    (0..length).map(one).collect()
}
