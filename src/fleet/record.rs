//! What a child carries of its rollout, in annotations that only its parent writes.
//!
//! A verdict is made of these, the wish and the child's own status, so that a lost status of the parent or an operator that
//! was killed changes none.
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::Parent;
use super::generate::Child;
use super::order::Place;
use crate::api::digest;
use crate::api::row::ChildView;
use crate::api::{API_VERSION, annotation, label};

/// Largest content that is kept on the child for a way back.
pub const KEPT_BYTES: usize = 100 << 10;
/// All annotations of an object together may take 256 KiB; some belong to others.
const ANNOTATION_BYTES: usize = 230 << 10;

/// The annotations, read or to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Revision of the spec that the child has
    pub revision: Option<String>,
    /// When it got it
    pub set_at: Option<Timestamp>,
    /// Digest of the rollout that released it
    pub rollout: Option<String>,
    /// Content of the revision
    pub applied: Option<String>,
    /// Content of the last revision that passed its gate before
    pub last_good: Option<String>,
    /// Where it comes in the order, if that matters for its deletion
    pub place: Option<Place>,
    /// Revision that the child was taken back from, and when
    pub rejected: Option<String>,
    pub rejected_at: Option<Timestamp>,
}

impl Record {
    pub fn of(view: &ChildView) -> Self {
        let text = |key: &str| view.annotations.get(key).cloned();
        let time = |key: &str| annotation::time(&view.annotations, key);
        Self {
            revision: text(annotation::REVISION),
            set_at: time(annotation::REVISION_SET_AT),
            rollout: text(annotation::ROLLOUT),
            applied: text(annotation::APPLIED),
            last_good: text(annotation::LAST_GOOD),
            place: text(annotation::PLACE).and_then(|t| t.parse().ok()),
            rejected: text(annotation::REJECTED),
            rejected_at: time(annotation::REJECTED_AT),
        }
    }

    fn annotations(&self) -> BTreeMap<&'static str, String> {
        let time = |time: &Option<Timestamp>| time.map(|t| t.to_string());
        [
            (annotation::REVISION, self.revision.clone()),
            (annotation::REVISION_SET_AT, time(&self.set_at)),
            (annotation::ROLLOUT, self.rollout.clone()),
            (annotation::APPLIED, self.applied.clone()),
            (annotation::LAST_GOOD, self.last_good.clone()),
            (annotation::PLACE, self.place.map(|p| p.to_string())),
            (annotation::REJECTED, self.rejected.clone()),
            (annotation::REJECTED_AT, time(&self.rejected_at)),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect()
    }

    /// sha256 of all that an apply carries: the revision stands for labels, annotations and spec.
    pub fn applied_digest(&self, parent: &Parent) -> String {
        let time = |time: &Option<Timestamp>| time.map(|t| t.to_string());
        let (set_at, rejected_at) = (time(&self.set_at), time(&self.rejected_at));
        let place = self.place.map(|place| place.to_string());
        digest::of_texts([
            Some(parent.name.as_str()),
            Some(&parent.namespace),
            Some(&parent.uid),
            parent.namespace_uid.as_deref(),
            self.revision.as_deref(),
            set_at.as_deref(),
            self.rollout.as_deref(),
            self.applied.as_deref(),
            self.last_good.as_deref(),
            place.as_deref(),
            self.rejected.as_deref(),
            rejected_at.as_deref(),
        ])
    }
}

/// The child's content for a way back; `None` if it is too large to be kept.
pub fn content(child: &Child) -> Option<String> {
    let content = json!({
        "labels": child.labels,
        "annotations": child.annotations,
        "spec": child.spec,
    })
    .to_string();
    let own = child.annotations.iter();
    let own: usize = own.map(|(key, value)| key.len() + value.len()).sum();
    // There may be two of them.
    let room = ANNOTATION_BYTES.saturating_sub(own) / 2;
    (content.len() <= KEPT_BYTES.min(room)).then_some(content)
}

/// The child that `content` was made of, as one of the revision that its pointers give it now; `None` if it can't be read.
pub fn restore(like: &Child, content: &str) -> Option<Child> {
    let mut content: Map<String, Value> = serde_json::from_str(content).ok()?;
    let mut texts = |key: &str| -> Option<BTreeMap<String, String>> {
        serde_json::from_value(content.remove(key)?).ok()
    };
    let (labels, annotations) = (texts("labels")?, texts("annotations")?);
    let spec = content.remove("spec").filter(Value::is_object)?;
    Some(Child::new(like, labels, annotations, spec))
}

/// The child as it was when it got the revision that it has, if that can be told.
pub fn recorded(like: &Arc<Child>, record: &Record) -> Option<Arc<Child>> {
    let revision = record.revision.as_ref()?;
    if *revision == like.revision {
        return Some(like.clone());
    }
    let child = restore(like, record.applied.as_deref()?)?;
    (child.revision == *revision).then(|| Arc::new(child))
}

/// The whole body of the server-side apply that makes the child as asked. Only what the template lists is set, and the
/// owner reference doesn't block the owner's deletion, which would wait for nothing but what the finalizer waits for.
///
/// `live`: the child that exists, if one does; values at ignored pointers are taken from it.
pub fn payload(child: &Child, record: &Record, parent: &Parent, live: Option<&ChildView>) -> Value {
    let mut labels = child.labels.clone();
    labels.insert(label::PARENT.to_owned(), parent.name.clone());
    let mut annotations = child.annotations.clone();
    let kept = record.annotations().into_iter();
    annotations.extend(kept.map(|(key, value)| (key.to_owned(), value)));
    annotations.insert(
        annotation::APPLIED_DIGEST.to_owned(),
        record.applied_digest(parent),
    );
    let mut owners = vec![json!({
        "apiVersion": API_VERSION,
        "kind": "AppOfApps",
        "name": parent.name,
        "uid": parent.uid,
        "controller": true,
    })];
    if let Some(uid) = &parent.namespace_uid {
        owners.push(json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "name": parent.namespace,
            "uid": uid,
        }));
        annotations.insert(annotation::PARENT_UID.to_owned(), parent.uid.clone());
    }
    let mut body = json!({
        "apiVersion": API_VERSION,
        "kind": child.kind,
        "metadata": {
            "name": child.name,
            "namespace": parent.namespace,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": owners,
        },
        "spec": child.spec,
    });
    if let Some(live) = live.filter(|_| !child.ignored.is_empty()) {
        // Left out, the field would go: the apply that created the child owns it. The version keeps a value that somebody
        // writes meanwhile from being overwritten.
        body["metadata"]["resourceVersion"] = Value::from(live.resource_version.as_str());
        let seen = json!({
            "metadata": {"labels": live.labels, "annotations": live.annotations},
            "spec": live.spec,
        });
        for pointer in &child.ignored {
            super::json::carry(&mut body, &seen, pointer);
        }
    }
    body
}

/// Whether the live child, which carries `live`, differs from `child` with the record `wish`. The digest tells a changed wish,
/// also one that dropped a field; the comparison, a change by somebody else. What others set besides is no difference.
pub fn differs(
    view: &ChildView,
    live: &Record,
    child: &Child,
    wish: &Record,
    parent: &Parent,
) -> bool {
    let noted = parent.namespace_uid.is_none()
        || view.annotations.get(annotation::PARENT_UID) == Some(&parent.uid);
    live != wish
        || !noted
        || view.annotations.get(annotation::APPLIED_DIGEST) != Some(&wish.applied_digest(parent))
        || is_edited(view, child, parent)
}

/// Whether somebody else changed what the last apply set, but for the record.
pub fn is_edited(view: &ChildView, child: &Child, parent: &Parent) -> bool {
    let ignored = |part: &str, key: &str| {
        !child.ignored.is_empty() && {
            let escaped = key.replace('~', "~0").replace('/', "~1");
            child
                .ignored
                .contains(&format!("/metadata/{part}/{escaped}"))
        }
    };
    let owner = view.owner.as_ref();
    let owned = owner.is_some_and(|owner| owner.controller && owner.uid == parent.uid);
    let has = |part: &str, live: &BTreeMap<String, String>, wish: &BTreeMap<String, String>| {
        wish.iter()
            .all(|(key, value)| live.get(key) == Some(value) || ignored(part, key))
    };
    !owned
        || view.labels.get(label::PARENT) != Some(&parent.name)
        || !has("annotations", &view.annotations, &child.annotations)
        || !has("labels", &view.labels, &child.labels)
        || !super::json::holds_but(&view.spec, &child.spec, &child.ignored, "/spec")
}
