//! What exists against what is asked for, and the payload that makes one of the other.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::Parent;
use super::child::Child;
use super::generate::Generated;
use super::json::holds;
use super::prune::{self, Prune};
use crate::api::digest;
use crate::api::row::{ChildView, Owner};
use crate::api::{API_VERSION, annotation, label};

/// What has to change, in the order of names.
#[derive(Clone, Debug, PartialEq)]
pub struct Changes {
    pub create: Vec<Arc<Child>>,
    pub update: Vec<Arc<Child>>,
    /// Asked for, but still going from an earlier wish; created anew once gone
    pub terminating: Vec<String>,
    pub foreign: Vec<Refusal>,
    pub prune: Prune,
}

/// A name that belongs to somebody else; never written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub name: String,
    pub owner: Option<Owner>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.owner {
            Some(owner) => write!(
                f,
                "{}: exists and belongs to {} {}; rename the child or remove that object",
                self.name, owner.kind, owner.name
            ),
            None => write!(
                f,
                "{}: exists and was not made by this object; rename the child or delete what exists",
                self.name
            ),
        }
    }
}

/// Whether `parent_uid` controls the child.
pub fn is_ours(child: &ChildView, parent_uid: &str) -> bool {
    child
        .owner
        .as_ref()
        .is_some_and(|owner| owner.controller && owner.uid == parent_uid)
}

/// The whole body of the server-side apply that makes the child as asked. Only what the template lists is set, and the
/// owner reference doesn't block the owner's deletion: foreground deletion would otherwise delete the children before
/// their parent orders it.
pub fn payload(child: &Child, parent: &Parent) -> Value {
    let mut labels = child.labels.clone();
    labels.insert(label::PARENT.to_owned(), parent.name.clone());
    let mut annotations = child.annotations.clone();
    annotations.insert(annotation::REVISION.to_owned(), child.revision.clone());
    let mut body = json!({
        "apiVersion": API_VERSION,
        "kind": child.kind,
        "metadata": {
            "name": child.name,
            "namespace": parent.namespace,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [{
                "apiVersion": API_VERSION,
                "kind": "AppOfApps",
                "name": parent.name,
                "uid": parent.uid,
                "controller": true,
            }],
        },
        "spec": child.spec,
    });
    let applied = digest::of(&body);
    body["metadata"]["annotations"][annotation::APPLIED_DIGEST] = Value::from(applied);
    body
}

/// What has to change. `existing` are the objects of the namespace that have a name asked for or that this parent
/// controls; others among them do no harm. `confirm` is the value of the annotation `confirm-prune`.
pub fn diff(
    generated: &Generated,
    existing: &[ChildView],
    parent: &Parent,
    max_deletions: &str,
    confirm: Option<&str>,
) -> Changes {
    let by_name: BTreeMap<&str, &ChildView> = existing
        .iter()
        .map(|view| (view.name.as_str(), view))
        .collect();
    let mut create = Vec::new();
    let mut update = Vec::new();
    let mut terminating = Vec::new();
    let mut foreign = Vec::new();
    for child in generated.children.values() {
        match by_name.get(child.name.as_str()) {
            None => create.push(child.clone()),
            Some(view) if !is_ours(view, &parent.uid) => foreign.push(Refusal {
                name: child.name.clone(),
                owner: view.owner.clone(),
            }),
            Some(view) if view.deleting => terminating.push(child.name.clone()),
            Some(view) if differs(view, &payload(child, parent)) => update.push(child.clone()),
            Some(_) => {}
        }
    }
    Changes {
        create,
        update,
        terminating,
        foreign,
        prune: prune::plan(generated, existing, parent, max_deletions, confirm),
    }
}

/// The digest tells a changed wish (also one that dropped a field); the comparison, a change by somebody else.
fn differs(view: &ChildView, wish: &Value) -> bool {
    let texts = |live: &BTreeMap<String, String>, wish: &Value| {
        wish.as_object()
            .into_iter()
            .flatten()
            .all(|(key, value)| live.get(key).map(String::as_str) == value.as_str())
    };
    // The digest is one of the annotations.
    !texts(&view.annotations, &wish["metadata"]["annotations"])
        || !texts(&view.labels, &wish["metadata"]["labels"])
        || !holds(&view.spec, &wish["spec"])
}

#[cfg(test)]
#[path = "inventory_tests.rs"]
mod inventory_tests;
