//! Objects of one input that stand in each other's way: the same one twice, and two that declare one app. Pure.
use std::collections::BTreeMap;

use serde_json::Value;

use crate::admission::{Field, Objection};
use crate::cli::input::title;

/// Kind, namespace and name.
type Id = (String, String, String);
/// Namespace and name of the DatabricksWorkspace, and the app's name in it.
type App = (String, String, String);

/// What the input holds so far, with where: `FILE:LINE` of an object, or of the parent of a child.
#[derive(Debug, Default)]
pub struct Seen {
    objects: BTreeMap<Id, String>,
    apps: BTreeMap<App, String>,
}

impl Seen {
    /// What stands in the way of `object` of that kind; from now on it counts, too.
    pub fn meet(&mut self, kind: &str, object: &Value, place: &str) -> Option<Objection> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let metadata = &object["metadata"];
        let (namespace, name) = (text(&metadata["namespace"]), text(&metadata["name"]));
        if name.is_empty() {
            return None;
        }
        let id = (kind.to_owned(), namespace.clone(), name.clone());
        let twice = self.objects.get(&id).map(|before| {
            let message = format!(
                "the same object is also at {before}, and the one that is applied last wins; remove one of them, or give it another name"
            );
            Objection::by_operator(Field::new("metadata.name"), message)
        });
        if twice.is_none() {
            self.objects.insert(id, place.to_owned());
        }
        let rival = self.rival(kind, object, (&namespace, &name), place);
        // Of one object twice there is no more to say.
        twice.or(rival)
    }

    fn rival(
        &mut self,
        kind: &str,
        object: &Value,
        (namespace, name): (&str, &str),
        place: &str,
    ) -> Option<Objection> {
        let spec = &object["spec"];
        let workspace = spec["workspaceRef"]["name"].as_str()?;
        if kind != "DatabricksApp" {
            return None;
        }
        let home = spec["workspaceRef"]["namespace"].as_str();
        let home = home.unwrap_or(namespace);
        let (app, field) = match spec["name"].as_str() {
            Some(own) => (own, "spec.name"),
            None => (name, "metadata.name"),
        };
        let key = (home.to_owned(), workspace.to_owned(), app.to_owned());
        let shown = Some(namespace).filter(|namespace| !namespace.is_empty());
        let this = format!("{} at {place}", title(kind, shown, name));
        let before = self.apps.get(&key).cloned();
        if before.is_none() {
            self.apps.insert(key, this);
        }
        before.map(|other| {
            let home = Some(home).filter(|home| !home.is_empty());
            let workspace = title("DatabricksWorkspace", home, workspace);
            let message = format!(
                "{other} declares the same app {app:?} of {workspace}; change one of the two names"
            );
            Objection::by_operator(Field::new(field), message)
        })
    }
}
