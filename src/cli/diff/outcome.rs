//! What would become of a fleet, as it is shown: data alone.
use serde::Serialize;

use super::Why;
use super::fields::FieldChange;
use crate::fleet::Place;

/// What would become of the children of a parent.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fleet {
    pub added: usize,
    /// Also those that are repaired, adopted or taken back.
    pub changed: usize,
    pub removed: usize,
    pub unchanged: usize,
    /// In the order of the rollout; those without a change are left out.
    pub stages: Vec<Stage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removal: Option<Removal>,
    /// Children that leave their parent and live on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub detached: Vec<String>,
    /// Where the rollout would be then, if the fleet is ordered at all and it is not through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
}

/// Children that may be written at the same time.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stage {
    /// From 1.
    pub step: usize,
    pub of: usize,
    pub wave: u32,
    pub children: Vec<ChildChange>,
}

/// What would become of one child.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChildChange {
    pub name: String,
    pub change: Change,
    /// Where in the spec of its parent it comes from.
    pub source: String,
    /// Written at once; else when its gates open.
    pub now: bool,
    /// What it would wait for, as far as that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits: Option<String>,
    /// Labels, annotations and spec; none of a child that is new.
    pub fields: Vec<FieldChange>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Change {
    /// Does not exist
    Create,
    /// Another revision is asked for
    Update,
    /// Exists, belongs to nobody, and is handed to the parent
    Adopt,
    /// Somebody else changed it
    Repair,
    /// It failed and gets its last good content back
    RollBack,
}

/// Children that nobody asks for any more.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Removal {
    pub names: Vec<String>,
    /// How many of them are being deleted already.
    pub going: usize,
    pub verdict: RemovalVerdict,
    /// Why they would not be deleted at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What `confirm-prune` has to quote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum RemovalVerdict {
    Allowed,
    NeedsConfirmation,
    /// Not now, whoever confirms it; `confirm` is what will be asked for then
    Withheld,
    /// `syncPolicy.appsSync` deletes nothing
    Kept,
}

/// Where a rollout would be at first.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    pub digest: String,
    /// From 1.
    pub step: usize,
    pub of: usize,
    pub wave: u32,
    /// Why nothing more would be released.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub halted: Option<Why>,
}

impl Fleet {
    /// Whether anything would be written or deleted, now or later.
    pub fn changes(&self) -> bool {
        self.added + self.changed + self.removed + self.detached.len() > 0
    }

    /// Adds a child that comes after those that were added before.
    pub fn put(&mut self, place: Place, of: usize, change: ChildChange) {
        let step = place.step + 1;
        match self.stages.last_mut() {
            Some(stage) if (stage.step, stage.wave) == (step, place.wave) => {
                stage.children.push(change);
            }
            _ => self.stages.push(Stage {
                step,
                of,
                wave: place.wave,
                children: vec![change],
            }),
        }
    }
}
