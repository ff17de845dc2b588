//! Floor 1: from a parent's spec to its children, and from what exists to what has to change. Pure: no I/O, and the
//! same input gives the same output, whatever the order of elements and maps.
//!
//! Specs of children are JSON here: which fields a child has is judged by its own CRD, when it is written.

mod gate;
mod generate;
mod inputs;
mod inventory;
mod json;
mod metadata;
mod order;
mod prune;
mod record;
mod rename;
mod rollout;
mod seats;
mod selector;
mod summary;
mod survey;
#[cfg(test)]
pub(crate) mod testing;
mod threads;

pub use gate::{Gate, Moment};
pub use generate::{
    Child, ElementError, ErrorReason, FILTERS, Filter, Generated, Judge, Renderer, TESTS, generate,
};
pub use inputs::{ConfigMapInput, GeneratorInputs, WorkspaceInput};
pub use inventory::{Foreign, Why, Write, is_ours};
pub use order::{Order, Place, order};
pub use prune::{Candidate, Prune, Verdict, status as prune_status};
pub use record::{Record, payload};
pub use rollout::{Halt, Requests, Rollout};
pub use survey::{Detached, Facts, Refused, Survey, Surveyor, preview, survey};

/// The object that generates the children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    pub name: String,
    pub namespace: String,
    pub uid: String,
    /// The namespace's uid, where garbage collection must leave the deletion of children to the operator: an object that also
    /// belongs to something that stays is not collected with its parent, however that is deleted
    pub namespace_uid: Option<String>,
}
