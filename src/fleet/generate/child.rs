//! One child, judged and stamped with its revision.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::draft::{Draft, too_large};
use super::fault::{ErrorReason, Fault, Faults};
use super::limits;
use crate::api::app_of_apps::IgnoredDifference;
use crate::api::{API_VERSION, digest};
use crate::fleet::json::remove;

/// Objections to a whole object as it would be written, each as field (`spec.compute.size`) and message. Asked once for
/// each child that is made.
pub type Judge<'a> = dyn Fn(&Value) -> Vec<(String, String)> + Sync + 'a;

/// Names of apps in a workspace.
const APP_NAME_LENGTH: usize = 30;

/// One child as it is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Child {
    pub kind: &'static str,
    pub name: String,
    /// 0 to 99
    pub wave: u32,
    /// Sorted, without repetition
    pub depends_on: Vec<String>,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// Over the defaults, without nulls; an object
    pub spec: Value,
    /// sha256 of kind, metadata and spec, but for what `ignored` points to
    pub revision: String,
    /// JSON pointers to what is only set at creation, sorted, without repetition
    pub ignored: Vec<String>,
}

impl Child {
    /// A child like `like` with another content.
    pub fn new(
        like: &Child,
        labels: BTreeMap<String, String>,
        annotations: BTreeMap<String, String>,
        spec: Value,
    ) -> Self {
        let metadata = metadata(&like.name, &labels, &annotations);
        Self {
            revision: revision(like.kind, &metadata, &spec, &like.ignored),
            labels,
            annotations,
            spec,
            ..like.clone()
        }
    }
}

/// Makes children of one parent.
pub(super) struct Maker<'a> {
    pub namespace: &'a str,
    pub ignored: &'a [IgnoredDifference],
    pub judge: &'a Judge<'a>,
}

impl Maker<'_> {
    /// The child, and about how many bytes it takes. `prefix` comes before `name` in errors.
    pub(super) fn make(
        &self,
        prefix: &str,
        name: &str,
        draft: Draft,
    ) -> Result<(Child, usize), Fault> {
        let Draft {
            kind,
            wave,
            depends_on,
            labels,
            annotations,
            spec,
        } = draft;
        if name.len() > APP_NAME_LENGTH && spec.get("name").is_none() {
            let message = format!(
                "{name:?} is longer than the {APP_NAME_LENGTH} characters of an app's name; shorten it, or set spec.name"
            );
            let field = format!("{prefix}name");
            return Err(Fault::new(field, ErrorReason::InvalidName, message));
        }
        let mut metadata = metadata(name, &labels, &annotations);
        let size = limits::size(&metadata) + limits::size(&spec);
        if size > limits::CHILD_BYTES {
            return Err(too_large());
        }
        let ignored = self.ignored(name);
        let revision = revision(kind, &metadata, &spec, &ignored);
        metadata["namespace"] = self.namespace.into();
        let mut object = Map::new();
        object.insert("apiVersion".to_owned(), API_VERSION.into());
        object.insert("kind".to_owned(), kind.into());
        object.insert("metadata".to_owned(), metadata);
        object.insert("spec".to_owned(), spec);
        let mut object = Value::Object(object);
        judge((self.judge)(&object))?;
        let child = Child {
            kind,
            name: name.to_owned(),
            wave,
            depends_on,
            labels,
            annotations,
            spec: object["spec"].take(),
            revision,
            ignored,
        };
        Ok((child, size))
    }

    fn ignored(&self, name: &str) -> Vec<String> {
        let entries = self.ignored.iter();
        let entries = entries.filter(|entry| entry.name.as_deref().is_none_or(|n| n == name));
        let mut pointers: Vec<String> = entries.flat_map(|e| e.json_pointers.clone()).collect();
        pointers.sort_unstable();
        pointers.dedup();
        pointers
    }
}

fn metadata(
    name: &str,
    labels: &BTreeMap<String, String>,
    annotations: &BTreeMap<String, String>,
) -> Value {
    let mut metadata = Map::new();
    metadata.insert("name".to_owned(), name.into());
    metadata.insert("labels".to_owned(), object(labels));
    metadata.insert("annotations".to_owned(), object(annotations));
    Value::Object(metadata)
}

fn object(texts: &BTreeMap<String, String>) -> Value {
    let members = texts.iter();
    members
        .map(|(key, value)| (key.clone(), Value::from(value.as_str())))
        .collect()
}

fn revision(kind: &str, metadata: &Value, spec: &Value, ignored: &[String]) -> String {
    let kind = Value::from(kind);
    if ignored.is_empty() {
        return digest::of_members([("kind", &kind), ("metadata", metadata), ("spec", spec)]);
    }
    let mut kept = serde_json::json!({"metadata": metadata, "spec": spec});
    for pointer in ignored {
        remove(&mut kept, pointer);
    }
    kept["kind"] = kind;
    digest::of(&kept)
}

fn judge(objections: Vec<(String, String)>) -> Result<(), Fault> {
    let faults = objections.into_iter();
    let faults =
        faults.map(|(field, message)| Fault::new(field, ErrorReason::InvalidSpec, message));
    faults.collect::<Faults>().first()
}
