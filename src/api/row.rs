//! What floors that know no kind may know of one object: a remote app's row, a child's view.
use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::Value;

/// The part of a remote app that a workspace needs in order to sum up its apps.
#[derive(Clone, Debug, PartialEq)]
pub struct AppRow {
    pub name: String,
    pub id: String,
    /// As the service writes it, e.g. `ACTIVE`; empty when it says nothing.
    pub compute_state: String,
}

/// The object that controls another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub kind: String,
    pub name: String,
    pub uid: String,
    pub controller: bool,
}

/// A child as its parent sees it, whatever its kind.
#[derive(Clone, Debug, PartialEq)]
pub struct ChildView {
    pub name: String,
    pub namespace: String,
    pub uid: String,
    pub resource_version: String,
    pub generation: i64,
    /// -1 until the child was seen once.
    pub observed_generation: i64,
    /// Has a deletion timestamp.
    pub deleting: bool,
    /// The controller among the owner references, else the first one.
    pub owner: Option<Owner>,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub spec: Value,
    pub conditions: Vec<Condition>,
    /// Digest of the inputs that the child asks for, and of those that run; both `None` where nothing is deployed.
    pub desired_digest: Option<String>,
    pub digest: Option<String>,
    /// State of the child's remote side, as the service writes it.
    pub compute_state: Option<String>,
}

impl ChildView {
    /// The condition of that type, if the child has one that speaks of its current generation.
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|c| c.type_ == kind)
    }

    /// Whether the condition is `True` and speaks of the current generation.
    pub fn is(&self, kind: &str) -> bool {
        self.observed_generation == self.generation
            && self.condition(kind).is_some_and(|c| c.status == "True")
    }
}
