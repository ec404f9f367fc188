//! Steps about a workload that stands, and what can be expected of it beside its files.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{super::at::At, RawTrue};

/// Change how many pods a Deployment has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawScale {
    /// A workload with `replicas` that an earlier `mount` or `create` made.
    pub workload: At<String>,
    /// So many from now on.
    pub replicas: At<u32>,
    /// Longest time until each of them has its files, such as `1m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<At<String>>,
}

/// Have kubelet ask the driver again for what a workload has mounted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawRepublish {
    /// A workload that an earlier `mount` made.
    pub workload: At<String>,
    /// So often, one after another. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<At<u32>>,
    /// Each waits until the driver's poll interval has passed, so that the driver does not skip it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<At<RawTrue>>,
    /// Longest time the step may take, such as `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<At<String>>,
}

/// What is true of a synced Secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RawSynced {
    /// It holds the current values, as last updated.
    Current,
    /// It does, and has an owner to go with: the driver has nothing left to do. What it is then is remembered.
    Settled,
    /// It was not written since it was seen to be `settled`.
    Unchanged,
}

/// How often AWS was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RawFetches {
    /// No more often than the driver's poll interval lets through since the workload was made, however often it was
    /// published.
    Limited,
}

/// What is in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RawLogs {
    /// The workload's pods, and neither a token nor a value of a secret.
    Clean,
}
