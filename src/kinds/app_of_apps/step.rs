//! Writes of a parent to its children.
use std::fmt;

use serde_json::Value;

use crate::engine::managed;
use crate::fleet::Why;

/// One write to one child.
#[derive(Clone, Debug)]
pub enum Step {
    Write {
        why: Why,
        name: String,
        revision: String,
        payload: Value,
    },
    Delete {
        name: String,
        uid: String,
        version: String,
    },
    /// Lets the child go, as its parent does
    Orphan { name: String, uid: String },
    /// Lets the child go, as the child asks
    Detach { name: String, uid: String },
}

impl Step {
    pub fn name(&self) -> &str {
        let (Self::Write { name, .. }
        | Self::Delete { name, .. }
        | Self::Orphan { name, .. }
        | Self::Detach { name, .. }) = self;
        name
    }
}

impl managed::Step for Step {
    fn verb(&self) -> &'static str {
        match self {
            Self::Write { why, .. } => match why {
                Why::Create => "create",
                Why::Release => "update",
                Why::Repair => "repair",
                Why::Note => "note",
                Why::RollBack => "roll back",
            },
            Self::Delete { .. } => "delete",
            Self::Orphan { .. } => "orphan",
            Self::Detach { .. } => "detach",
        }
    }

    fn lets_go(&self) -> bool {
        matches!(self, Self::Orphan { .. } | Self::Detach { .. })
    }

    fn fields(&self) -> Vec<&'static str> {
        match self {
            Self::Write { why, .. } => match why {
                Why::Create => Vec::new(),
                Why::Note => vec!["metadata.annotations"],
                Why::Release | Why::Repair | Why::RollBack => vec!["metadata", "spec"],
            },
            Self::Orphan { .. } | Self::Detach { .. } => vec!["metadata.ownerReferences"],
            Self::Delete { .. } => Vec::new(),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", managed::Step::verb(self), self.name())
    }
}
