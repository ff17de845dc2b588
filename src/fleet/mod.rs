//! Floor 1: from a parent's spec to its children, and from what exists to what has to change. Pure: no I/O, and the
//! same input gives the same output, whatever the order of elements and maps.
//!
//! Specs of children are JSON here: which fields a child has is judged by its own CRD, when it is written.

mod blueprint;
mod child;
mod config_map;
mod fault;
mod filters;
mod generate;
mod generators;
mod inputs;
mod inventory;
mod json;
mod limits;
mod metadata;
mod prune;
mod selector;
mod summary;
mod template;

pub use child::{Child, Judge};
pub use fault::{ElementError, ErrorReason};
pub use filters::{FILTERS, Filter, TESTS};
pub use generate::{Generated, Renderer, generate};
pub use inputs::{ConfigMapInput, GeneratorInputs, WorkspaceInput};
pub use inventory::{Changes, Refusal, diff, is_ours, payload};
pub use prune::{Candidate, Prune, Verdict, status as prune_status};
pub use selector::{fulfils, matches};
pub use summary::summary;

/// What the API server takes as names, keys and values of metadata.
pub mod names {
    pub use super::metadata::{is_label_value, is_name, is_namespace, is_qualified};
}

/// The object that generates the children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    pub name: String,
    pub namespace: String,
    pub uid: String,
}
