//! The steps that play kubelet, and those that disturb AWS and the node's programs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{At, RawTrue};

/// Publish a volume of the class that the tenant always has, as kubelet does: `NodePublishVolume` on the driver's socket,
/// again with kubelet's pauses until the driver reports success, and the target folder removed after final errors only.
/// Then every file must be there, byte for byte.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawPublish {
    /// The new volume's name, for later steps. Default: `publish-` and the step's number.
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    pub name: Option<At<String>>,
    /// Whose volume is new. Exactly one of `tenant` and `volume`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<At<String>>,
    /// The volume of an earlier step, which kubelet tries again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<At<String>>,
    /// Longest time of one call. Default `2m`, as kubelet has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<At<String>>,
    /// One call only, which must not come to its end: because its `deadline` passes, or because the driver is killed in
    /// the middle of it, as soon as something is mounted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interrupted_by: Option<At<RawInterruption>>,
    /// Longest time the step may take, such as `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<At<String>>,
}

/// What keeps a publish from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RawInterruption {
    /// Its deadline passes; something must be slow.
    Deadline,
    /// The driver is killed, and stays down until a `restart`.
    DriverKilled,
}

/// How AWS answers from here on, until another such step or the end of the case. Exactly one of the fields.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawAws {
    /// It takes this long for every answer, such as `10s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<At<String>>,
    /// It is well again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub well: Option<At<RawTrue>>,
}

/// End a program of the node in order, unless it is down already, and start it anew. With what it is started holds until the
/// end of the case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawRestart {
    /// Which.
    pub program: At<RawProgram>,
    /// How the driver rotates from here on: `off`, or its poll interval, such as `1h`. Default: as it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<At<String>>,
    /// Whether the provider's socket moves to the other of the two folders that the driver looks in, as it did with provider
    /// 1.0.0. Default: it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moves: Option<At<RawTrue>>,
    /// Whether the provider runs with `--driver-writes-secrets` from here on: it hands the files to the driver, which writes
    /// them. Default: it writes them itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver_writes_secrets: Option<At<RawTrue>>,
    /// Longest time the step may take, such as `30s`, which is the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<At<String>>,
}

/// A program of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RawProgram {
    /// The CSI driver.
    Driver,
    /// The AWS provider.
    Provider,
}
