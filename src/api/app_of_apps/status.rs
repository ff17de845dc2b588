//! What a parent says of its children; of constant size, however many there are.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::status::Status;

/// Status of an AppOfApps.
pub type AppOfAppsStatus = Status<FleetMemory, FleetStatus>;

/// What later passes need.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FleetMemory {
    /// The last `appofapps.dev/reconcile-requested-at` that was carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
}

/// What is only shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FleetStatus {
    /// The children, counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<FleetSummary>,
    /// How far the wish has come, if children are ordered by steps, waves or `dependsOn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,
    /// Deletions that wait, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prune: Option<PruneStatus>,
    /// The worst few children, at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub failing: Vec<FailingChild>,
    /// In mode `Plan`: what would be written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<Preview>,
}

/// The children, counted. A child may be in more than one of the last five.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FleetSummary {
    /// Children that the spec asks for.
    pub desired: i32,
    /// Of these, those that exist.
    pub created: i32,
    /// Of these, those whose spec is the one asked for now.
    pub updated: i32,
    /// Children that are as asked.
    pub ready: i32,
    /// Children on their way.
    pub progressing: i32,
    /// Children that need somebody's hand.
    pub stalled: i32,
    /// Children held by `suspend` or an annotation.
    pub suspended: i32,
    /// Children that are ready and stopped.
    pub stopped: i32,
    /// Elements that did not become a child; the condition `Generated` names them.
    #[serde(default)]
    pub errors: i32,
}

/// How far the wish has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// Tells this rollout from others; `appofapps.dev/abort-rollout=DIGEST` takes it back.
    pub digest: String,
    /// The step that is on its way, from 1; `of` when all have passed.
    pub step: i32,
    /// How many steps there are.
    pub of: i32,
    /// The wave within the step.
    pub wave: i32,
    /// Children that have not passed their gates yet, and why; at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub waiting_for: Vec<String>,
}

/// What would be written; at most 100 names and 4 KiB each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Preview {
    /// Children that would be created.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub create: Vec<String>,
    /// Children that would be changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub change: Vec<String>,
    /// Children that would be deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub delete: Vec<String>,
}

/// Deletions that wait.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PruneStatus {
    /// How many children would be deleted.
    pub count: i32,
    /// Their names, at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub names: Vec<String>,
    /// To let it happen: `kubectl annotate aoa NAME appofapps.dev/confirm-prune=DIGEST`. Absent while a confirmation
    /// would not help; the condition `ResourcesUpToDate` says why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// One child that is not well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailingChild {
    /// Name of the child.
    pub name: String,
    /// Reason of its condition.
    pub reason: String,
    /// Message of its condition, cut.
    pub message: String,
}
