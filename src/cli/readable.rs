//! What generators read outside their parent: from manifests, from a cluster, or from manifests over a cluster. Pure.
use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::ResourceExt;
use kube::core::PartialObjectMeta;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::input::{Input, title};
use super::remote::placed;
use crate::admission::Field;
use crate::api::app_of_apps::AppOfApps;
use crate::api::label;
use crate::api::names::ObjectName;
use crate::api::workspace::{AllowedFrom, DatabricksWorkspace};
use crate::engine::reconcile::name_of;
use crate::fleet::GeneratorInputs;
use crate::kinds::app_of_apps::inputs::{self, Needs, Read};
use crate::worlds::databricks::{WORKSPACE, admits};

/// Labels of a namespace.
type Labels = BTreeMap<String, String>;

/// Objects that generators may read.
#[derive(Clone, Debug, Default)]
pub struct Readable {
    pub workspaces: BTreeMap<ObjectName, DatabricksWorkspace>,
    /// Workspaces that cannot be decoded.
    pub unreadable: BTreeSet<ObjectName>,
    pub config_maps: BTreeMap<ObjectName, ConfigMap>,
    /// Labels of namespaces, by name.
    pub namespaces: BTreeMap<String, Labels>,
}

/// What the generators of one parent read.
#[derive(Clone, Debug, Default)]
pub struct Found {
    pub read: Read,
    /// What could not be told, for people.
    pub notes: Vec<String>,
    /// A generator reads a kind of object of which there is none.
    pub lacking: bool,
}

impl Readable {
    /// The objects of the input, those without a namespace in `namespace`; and what of them cannot be decoded, as
    /// `PLACE: OBJECT: FIELD: MESSAGE`. Of an object that is there twice the last counts, as `kubectl apply` leaves it.
    pub fn of(input: &Input, namespace: &str) -> (Self, Vec<String>) {
        let mut found = Self::default();
        let mut faults = Vec::new();
        for manifest in input.manifests.iter().filter(|m| m.kind == WORKSPACE) {
            match decode::<DatabricksWorkspace>(&manifest.object, namespace) {
                Ok(workspace) => {
                    found.workspaces.insert(name_of(&workspace), workspace);
                }
                Err((field, message)) => {
                    let (place, title) = (manifest.place(&field), manifest.title());
                    faults.push(format!("{place}: {title}: {field}: {message}"));
                }
            }
        }
        for object in input.foreign.iter().filter(|o| o["apiVersion"] == "v1") {
            match object["kind"].as_str() {
                Some("ConfigMap") => match decode::<ConfigMap>(object, namespace) {
                    Ok(map) => {
                        found.config_maps.insert(name_of(&map), map);
                    }
                    Err((field, message)) => {
                        let metadata = &object["metadata"];
                        let name = metadata["name"].as_str().unwrap_or_default();
                        let title = title("ConfigMap", metadata["namespace"].as_str(), name);
                        faults.push(format!("{title}: {field}: {message}"));
                    }
                },
                Some("Namespace") => {
                    if let Ok(one) = decode::<PartialObjectMeta<Namespace>>(object, "") {
                        found
                            .namespaces
                            .insert(one.name_any(), one.labels().clone());
                    }
                }
                _ => {}
            }
        }
        (found, faults)
    }

    /// With the objects of `over` in place of those that are the same. Of a Workspace that exists, the status stays.
    pub fn under(mut self, over: Self) -> Self {
        for (name, mut workspace) in over.workspaces {
            self.unreadable.remove(&name);
            if let Some(before) = self.workspaces.remove(&name) {
                workspace.status = before.status;
            }
            self.workspaces.insert(name, workspace);
        }
        self.config_maps.extend(over.config_maps);
        self.namespaces.extend(over.namespaces);
        self
    }

    /// What the parent's generators read of them. An object without a namespace counts as one of the parent's.
    pub fn read(&self, parent: &AppOfApps) -> Found {
        let needs = Needs::of(parent);
        let namespace = parent.namespace().unwrap_or_default();
        let home = |name: &ObjectName| match name.namespace.is_empty() {
            true => namespace.clone(),
            false => name.namespace.clone(),
        };
        let mut found = Found::default();
        let mut inputs = GeneratorInputs::default();
        let labels = self.namespaces.get(&namespace);
        let none = Labels::new();
        for (name, workspace) in &self.workspaces {
            let home = home(name);
            let unknown = labels.is_none() && home != namespace && selects(workspace);
            if needs.workspaces && unknown {
                found.notes.push(format!(
                    "DatabricksWorkspace {name} admits namespaces by their labels, and those of {namespace:?} are not known, so it is left out; add the Namespace's manifest"
                ));
            }
            if admits(workspace, &home, &namespace, labels.unwrap_or(&none)) {
                let mut one = inputs::workspace(workspace);
                one.name.namespace = home;
                inputs.workspaces.push(one);
            }
        }
        if !needs.config_map_keys.is_empty() {
            let maps = self.config_maps.iter();
            let maps = maps.filter(|(name, _)| home(name) == namespace);
            let marked = maps.filter(|(_, map)| map.labels().contains_key(label::GENERATOR));
            let read = marked.map(|(_, map)| inputs::config_map(map, &needs.config_map_keys));
            inputs.config_maps = read.collect();
        }
        inputs.workspaces.sort_by(|a, b| a.name.cmp(&b.name));
        inputs.config_maps.sort_by(|a, b| a.name.cmp(&b.name));
        found.lacking = (needs.workspaces && inputs.workspaces.is_empty())
            || (!needs.config_map_keys.is_empty() && inputs.config_maps.is_empty());
        if needs.workspaces {
            found.read.unreadable = self.unreadable.iter().cloned().collect();
        }
        found.read.inputs = inputs;
        found
    }

    /// Whether generators might read an object of another kind than ours.
    pub fn is_one(object: &Value) -> bool {
        let metadata = &object["metadata"];
        match (object["apiVersion"].as_str(), object["kind"].as_str()) {
            (Some("v1"), Some("ConfigMap")) => !metadata["labels"][label::GENERATOR].is_null(),
            (Some("v1"), Some("Namespace")) => true,
            _ => false,
        }
    }

    /// Whether some Workspace asks for labels of namespaces.
    pub fn selects_namespaces(&self) -> bool {
        self.workspaces.values().any(selects)
    }
}

fn selects(workspace: &DatabricksWorkspace) -> bool {
    let allowed = workspace.spec.allowed_namespaces.as_ref();
    allowed.is_some_and(|allowed| allowed.from == AllowedFrom::Selector)
}

fn decode<K: DeserializeOwned>(object: &Value, namespace: &str) -> Result<K, (Field, String)> {
    let object = match namespace {
        "" => object.clone(),
        namespace => placed(object, namespace),
    };
    serde_path_to_error::deserialize(&object).map_err(|error| {
        let field = Field::default().below(error.path());
        (field, error.into_inner().to_string())
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::cli::input::read_text;

    fn workspace(name: &str, namespace: &str, allowed: &str) -> String {
        format!(
            "---\napiVersion: appofapps.dev/v1alpha1\nkind: DatabricksWorkspace\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{host: https://{name}, auth: {{}}, allowedNamespaces: {allowed}}}\n"
        )
    }

    fn config_map(name: &str, metadata: &str) -> String {
        format!(
            "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, {metadata}}}\ndata: {{apps.yaml: '[]', other: x}}\n"
        )
    }

    fn parent(namespace: Option<&str>) -> AppOfApps {
        let generators = json!([{"workspaces": {}},
            {"configMaps": {"selector": {"matchLabels": {"a": "b"}}, "key": "apps.yaml"}}]);
        let mut parent = json!({"apiVersion": "appofapps.dev/v1alpha1", "kind": "AppOfApps",
            "metadata": {"name": "fleet"}, "spec": {"generators": generators}});
        if let Some(namespace) = namespace {
            parent["metadata"]["namespace"] = namespace.into();
        }
        serde_json::from_value(parent).unwrap()
    }

    fn readable(text: &str) -> Readable {
        let (readable, faults) = Readable::of(&read_text("x.yaml", text), "");
        assert_eq!(faults, Vec::<String>::new());
        readable
    }

    fn workspaces(found: &Found) -> Vec<String> {
        let all = found.read.inputs.workspaces.iter();
        all.map(|w| w.name.to_string()).collect()
    }

    #[test]
    fn a_workspace_is_read_where_it_admits_the_parents_namespace() {
        let selector = "{from: Selector, selector: {matchLabels: {team: a}}}";
        let mut text = workspace("own", "apps", "{}")
            + &workspace("same", "platform", "{from: Same}")
            + &workspace("all", "platform", "{from: All}")
            + &workspace("some", "platform", selector);
        let found = readable(&text).read(&parent(Some("apps")));
        assert_eq!(workspaces(&found), ["apps/own", "platform/all"]);
        assert_eq!(found.notes.len(), 1);
        for part in ["platform/some", "\"apps\"", "Namespace's manifest"] {
            assert!(found.notes[0].contains(part), "{}", found.notes[0]);
        }
        text += "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: apps, labels: {team: a}}\n";
        let found = readable(&text).read(&parent(Some("apps")));
        assert_eq!(workspaces(&found).len(), 3);
        assert!(found.notes.is_empty());
    }

    #[test]
    fn a_config_map_is_read_by_its_label_in_the_parents_namespace() {
        let label = "labels: {appofapps.dev/generator: ''}";
        let text = config_map("second", &format!("{label}, namespace: apps"))
            + &config_map("first", label)
            + &config_map("plain", "namespace: apps")
            + &config_map("else", &format!("{label}, namespace: other"));
        let found = readable(&text).read(&parent(Some("apps")));
        let maps = &found.read.inputs.config_maps;
        let names: Vec<&str> = maps.iter().map(|m| m.name.as_str()).collect();
        assert_eq!(names, ["first", "second"]);
        assert_eq!(maps[0].data.keys().collect::<Vec<_>>(), ["apps.yaml"]);
        // Without any Workspace one of the generators has nothing to read.
        assert!(found.lacking);
    }

    #[test]
    fn without_a_namespace_all_lie_together() {
        let text = workspace("own", "''", "{}").replace(", namespace: ''", "")
            + &config_map("first", "labels: {appofapps.dev/generator: ''}");
        let found = readable(&text).read(&parent(None));
        assert_eq!(workspaces(&found), ["/own"]);
        assert!(!found.lacking);
        let found = readable(&text).read(&parent(Some("apps")));
        assert_eq!(workspaces(&found), ["apps/own"]);
    }

    #[test]
    fn manifests_stand_over_the_cluster_and_what_a_workspace_has_stays() {
        let mut cluster = readable(&(workspace("prod", "apps", "{}") + &config_map("m", "x: y")));
        let prod = ObjectName::new("apps", "prod");
        let status = json!({"apps": {"total": 3, "managed": 0}});
        let workspace_of = cluster.workspaces.get_mut(&prod).unwrap();
        workspace_of.status = serde_json::from_value(status).unwrap();
        cluster.unreadable.insert(ObjectName::new("apps", "odd"));
        let over = workspace("prod", "apps", "{}").replace("auth", "limits: {maxApps: 5}, auth")
            + &workspace("odd", "apps", "{}");
        let found = cluster.under(readable(&over)).read(&parent(Some("apps")));
        assert_eq!(workspaces(&found), ["apps/odd", "apps/prod"]);
        assert_eq!(found.read.inputs.workspaces[1].free, Some(2));
        assert!(found.read.unreadable.is_empty());
    }

    #[test]
    fn what_cannot_be_decoded_is_told() {
        let text = workspace("prod", "apps", "{}").replace("auth: {}", "auth: 1")
            + &config_map("m", "namespace: apps").replace("'[]'", "[]");
        let (_, faults) = Readable::of(&read_text("x.yaml", &text), "");
        assert!(
            faults[0].starts_with("x.yaml:5: DatabricksWorkspace apps/prod: spec.auth: "),
            "{faults:?}"
        );
        assert!(
            faults[1].starts_with("ConfigMap apps/m: data[apps.yaml]: "),
            "{faults:?}"
        );
    }
}
