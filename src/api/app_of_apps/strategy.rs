//! How changes reach the children: what is written and deleted, in which order, and how fast.
use std::time::Duration;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::generators::Requirement;
use crate::api::duration;

/// What is written and deleted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SyncPolicy {
    /// What happens to children: `Sync` (default) creates, updates and deletes them; the others leave out what they do not
    /// name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apps_sync: Option<AppsSync>,
    /// When this object is deleted: `Delete` (default) deletes the children and waits for them, `Orphan` leaves them
    /// without a parent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_deletion: Option<OnDeletion>,
}

/// `Sync` (default): children are created, updated and deleted. `CreateOnly`: only created. `CreateUpdate`: never deleted.
/// `CreateDelete`: never updated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AppsSync {
    #[default]
    Sync,
    CreateOnly,
    CreateUpdate,
    CreateDelete,
}

impl AppsSync {
    pub fn updates(self) -> bool {
        matches!(self, Self::Sync | Self::CreateUpdate)
    }

    pub fn deletes(self) -> bool {
        matches!(self, Self::Sync | Self::CreateDelete)
    }
}

/// `Delete` (default): the children go too. `Orphan`: they stay, without a parent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnDeletion {
    #[default]
    Delete,
    Orphan,
}

/// The guard of deletions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PruneSettings {
    /// At most so many children go at once: a number, or a share of all children, rounded down and at least 1. Default
    /// `20%`. With more to delete, none goes until the annotation `appofapps.dev/confirm-prune` quotes
    /// `status.prune.digest`. `0` always asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8), regex(pattern = r"^([0-9]{1,6}|(100|[0-9]{1,2})%)$"))]
    pub max_deletions: Option<String>,
}

/// In which order, and how fast, changes reach the children.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(has(self.type) && self.type == 'RollingSync') || !has(self.rollingSync)").message("strategy.rollingSync goes with type: RollingSync"))]
pub struct Strategy {
    /// `AllAtOnce` (default): only waves and `dependsOn` order the children. `RollingSync`: steps do, with a gate after each.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<StrategyType>,
    /// The steps of `RollingSync`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolling_sync: Option<RollingSync>,
    /// When this object is deleted: `AllAtOnce` (default) deletes all children at once; `Reverse` the last step and wave
    /// first, and the next only when those are gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_order: Option<DeletionOrder>,
}

/// `AllAtOnce` (default) or `RollingSync`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StrategyType {
    #[default]
    AllAtOnce,
    RollingSync,
}

/// `AllAtOnce` (default) or `Reverse`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionOrder {
    #[default]
    AllAtOnce,
    Reverse,
}

/// Every change goes through the steps in order. A child has passed its gate when it is Ready with what it should run, for
/// `soak`; a step begins when all children of the one before have passed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.soak) || duration(self.soak) <= duration('24h')").message("rollingSync.soak is 0s to 24h"))]
#[x_kube(validation = Rule::new("!has(self.progressDeadline) || (duration(self.progressDeadline) >= duration('1m') && duration(self.progressDeadline) <= duration('24h'))").message("rollingSync.progressDeadline is 1m to 24h"))]
pub struct RollingSync {
    /// The steps, at most 20. A child belongs to the first step whose expressions its labels match; children that match none
    /// form a last step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub steps: Vec<RolloutStep>,
    /// How long a child has to stay Ready to pass its gate. Default `5m`; 0s to 24h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub soak: Option<String>,
    /// How long a child may take to become Ready before it counts as failed. Default `30m`; 1m to 24h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub progress_deadline: Option<String>,
    /// When a child fails with its new spec: `Halt` (default) releases nothing more; `Rollback` also gives the child back the
    /// last spec that passed its gate. The spec of this object is never written: it ends with another wish, usually a fixing
    /// commit or a revert, or with the annotation `appofapps.dev/resume-rollout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
    /// Children whose code may change without a change of their spec (a Git branch, a watched folder, a ConfigMap, a Flux
    /// source without digest) change in all steps at once: `Refuse` (default) refuses them, `Allow` does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unpinned_sources: Option<UnpinnedSources>,
}

/// One step of a rollout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStep {
    /// Conditions on labels of the child, all of which have to hold. Empty matches every child.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub match_expressions: Vec<Requirement>,
    /// At most so many children of the step are on their way at a time: a number, or a share of the step, rounded down and at
    /// least 1. Default `100%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 8),
        regex(pattern = r"^([1-9][0-9]{0,5}|(100|[1-9][0-9]?)%)$")
    )]
    pub max_update: Option<String>,
}

/// `Halt` (default) or `Rollback`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnFailure {
    #[default]
    Halt,
    Rollback,
}

/// `Refuse` (default) or `Allow`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UnpinnedSources {
    #[default]
    Refuse,
    Allow,
}

/// Fields that are set when a child is created and left as they are afterwards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IgnoredDifference {
    /// Name of the child. Default: every child.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub name: Option<String>,
    /// JSON pointers (RFC 6901) below `/spec`, `/metadata/labels` or `/metadata/annotations`, e.g. `/spec/lifecycle/state`.
    #[schemars(
        length(min = 1, max = 32),
        inner(
            length(min = 1, max = 512),
            regex(pattern = r"^/(spec|metadata/labels|metadata/annotations)/.+$")
        )
    )]
    pub json_pointers: Vec<String>,
}

/// `Manage` (default): children are written. `Plan`: `status.preview` names what would be created, changed and deleted, and
/// nothing is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FleetMode {
    #[default]
    Manage,
    Plan,
}

/// What begins and ends an expression, where something else that reads the manifest, as Helm, takes `{{` for its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.left != self.right").message("templating.left and templating.right must differ"))]
pub struct Templating {
    /// Begins an expression, e.g. `[[`.
    #[schemars(length(min = 2, max = 8), regex(pattern = r"^[!-/:-@\[-`{-~]+$"))]
    pub left: String,
    /// Ends an expression, e.g. `]]`.
    #[schemars(length(min = 2, max = 8), regex(pattern = r"^[!-/:-@\[-`{-~]+$"))]
    pub right: String,
}

impl Strategy {
    pub fn is_rolling(&self) -> bool {
        self.kind == Some(StrategyType::RollingSync)
    }

    pub fn deletion_order(&self) -> DeletionOrder {
        self.deletion_order.unwrap_or_default()
    }
}

impl RollingSync {
    /// Default: 5 minutes.
    pub fn soak(&self) -> Duration {
        read(self.soak.as_deref(), Duration::from_secs(5 * 60))
    }

    /// Default: 30 minutes.
    pub fn progress_deadline(&self) -> Duration {
        read(
            self.progress_deadline.as_deref(),
            Duration::from_secs(30 * 60),
        )
    }

    pub fn on_failure(&self) -> OnFailure {
        self.on_failure.unwrap_or_default()
    }

    pub fn unpinned_sources(&self) -> UnpinnedSources {
        self.unpinned_sources.unwrap_or_default()
    }
}

/// The schema lets nothing through that is no duration.
fn read(text: Option<&str>, default: Duration) -> Duration {
    text.and_then(duration::parse).unwrap_or(default)
}
