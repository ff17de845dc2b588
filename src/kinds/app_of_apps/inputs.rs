//! What a parent's generators read, and that it is all there before anything is decided on it.
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;

use crate::api::app_of_apps::{AppOfApps, Leaf};
use crate::api::names::ObjectName;
use crate::api::status::Reason;
use crate::api::workspace::DatabricksWorkspace;
use crate::engine::index::Ref;
use crate::engine::managed::Trouble;
use crate::engine::plan::Fate;
use crate::engine::reconcile::name_of;
use crate::engine::synced::Synced;
use crate::fleet::{
    ConfigMapInput, ElementError, ErrorReason, Generated, GeneratorInputs, WorkspaceInput,
};
use crate::worlds::databricks::{Hub, WORKSPACE};
use crate::worlds::inputs::{CONFIG_MAP, ConfigMaps};

/// Wire time that a pass waits for a first list.
const FIRST_LIST: Duration = Duration::from_secs(10);
/// Service time until the next attempt; a list that arrives wakes nobody.
const AGAIN: Duration = Duration::from_secs(60);

/// Where inputs come from.
pub struct FleetInputs {
    pub hub: Arc<Hub>,
    pub workspaces: Synced,
    pub namespaces: Synced,
    pub config_maps: ConfigMaps,
}

/// Which kinds of inputs the generators of a parent name.
#[derive(Debug, Default, PartialEq)]
pub struct Needs {
    pub workspaces: bool,
    /// Keys of ConfigMaps; none if no generator reads any.
    pub config_map_keys: BTreeSet<String>,
}

impl Needs {
    pub fn of(parent: &AppOfApps) -> Self {
        let mut needs = Self::default();
        for leaf in parent
            .spec
            .generators
            .iter()
            .flatten()
            .flat_map(|g| g.leaves())
        {
            match leaf {
                Leaf::List(_) => {}
                Leaf::Workspaces(_) => needs.workspaces = true,
                Leaf::ConfigMaps(maps) => drop(needs.config_map_keys.insert(maps.key.clone())),
            }
        }
        needs
    }

    /// What wakes the parent.
    pub fn refs(&self, namespace: &str) -> Vec<Ref> {
        let mut refs = Vec::new();
        if self.workspaces {
            // One elsewhere may admit this namespace, or no longer.
            refs.push(Ref::All {
                kind: WORKSPACE,
                namespace: None,
            });
        }
        if !self.config_map_keys.is_empty() {
            refs.push(Ref::All {
                kind: CONFIG_MAP,
                namespace: Some(namespace.into()),
            });
        }
        refs
    }
}

impl FleetInputs {
    /// The uid of a namespace that is known.
    pub fn namespace_uid(&self, namespace: &str) -> Option<String> {
        self.hub.namespace_uid(namespace)
    }

    /// Ends when everything that `needs` names has been listed once.
    pub async fn synced(&self, needs: &Needs) -> Result<(), Trouble> {
        if needs.workspaces {
            listed(&self.workspaces, "databricksworkspaces.appofapps.dev").await?;
            if self.hub.selects_namespaces() {
                listed(&self.namespaces, "namespaces").await?;
            }
        }
        if !needs.config_map_keys.is_empty() {
            listed(&self.config_maps.synced, "configmaps").await?;
        }
        Ok(())
    }

    /// What the generators of a parent in `namespace` read.
    pub fn read(&self, needs: &Needs, namespace: &str) -> Read {
        let mut inputs = GeneratorInputs::default();
        let mut unreadable = Vec::new();
        // Also without a generator that lists them: what a workspace has room for bounds a rename.
        let admitting = self.hub.admitting(namespace);
        let decoded = admitting
            .workspaces
            .iter()
            .filter_map(|w| w.0.as_ref().ok());
        // In order, so that the same inputs are equal.
        inputs.workspaces = decoded.map(workspace).collect();
        inputs.workspaces.sort_by(|a, b| a.name.cmp(&b.name));
        if needs.workspaces {
            unreadable = admitting.unreadable;
            unreadable.sort();
        }
        if !needs.config_map_keys.is_empty() {
            let maps = self.config_maps.of(namespace);
            let maps = maps
                .iter()
                .map(|map| config_map(map, &needs.config_map_keys));
            inputs.config_maps = maps.collect();
            inputs.config_maps.sort_by(|a, b| a.name.cmp(&b.name));
        }
        Read { inputs, unreadable }
    }
}

/// What there is to read, and what there is but cannot be read.
#[derive(Clone, Debug, Default)]
pub struct Read {
    pub inputs: GeneratorInputs,
    /// Workspaces that cannot be decoded, by name: they may be elements.
    pub unreadable: Vec<ObjectName>,
}

impl Read {
    /// The children of what can be read go on; what exists of the others is not known, so nothing is pruned.
    pub fn qualify(&self, generated: &mut Generated) {
        for name in &self.unreadable {
            generated.complete = false;
            generated.errors.push(ElementError {
                element: "generators".into(),
                field: "workspaces".into(),
                reason: ErrorReason::InvalidInput,
                message: format!(
                    "DatabricksWorkspace {name} cannot be decoded, so it is not known whether it is an element; apply the CRDs of this operator's version, and see its log"
                ),
            });
        }
    }
}

/// Ends when the first complete list of a resource has arrived; what was never listed would be taken for missing.
pub async fn listed(synced: &Synced, resource: &str) -> Result<(), Trouble> {
    listed_within(FIRST_LIST, synced, resource).await
}

async fn listed_within(wire: Duration, synced: &Synced, resource: &str) -> Result<(), Trouble> {
    if synced.is() {
        return Ok(());
    }
    match tokio::time::timeout(wire, synced.wait()).await {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(Trouble::new(
            Reason::NotSynced,
            format!(
                "the first list of {resource} has not arrived, so nothing is created or deleted; check that the operator's ClusterRole lets it list and watch {resource} (databricks-app-operator role prints what it needs), and its log"
            ),
            Fate::After(AGAIN),
        )),
    }
}

/// A Workspace as generators read it.
pub fn workspace(workspace: &DatabricksWorkspace) -> WorkspaceInput {
    let status = workspace.status.as_ref();
    let total = status.and_then(|s| Some(i64::from(s.details.apps.as_ref()?.total)));
    let limit = workspace.spec.limits.max_apps.map(i64::from);
    WorkspaceInput {
        name: name_of(workspace),
        host: workspace.spec.host.clone(),
        labels: workspace.labels().clone(),
        annotations: workspace.annotations().clone(),
        // None is known to be free before the first look.
        free: limit.map(|limit| total.map_or(0, |total| (limit - total).max(0))),
    }
}

/// A ConfigMap as generators read it, without what none of `keys` names.
pub fn config_map(map: &ConfigMap, keys: &BTreeSet<String>) -> ConfigMapInput {
    let data = map.data.iter().flatten();
    let named = data.filter(|(key, _)| keys.contains(*key));
    ConfigMapInput {
        name: map.name_any(),
        labels: map.labels().clone(),
        data: named
            .map(|(key, text)| (key.clone(), text.clone()))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;
    use crate::engine::synced::Gate;

    fn needs(generators: Value) -> Needs {
        let parent = json!({
            "apiVersion": "appofapps.dev/v1alpha1", "kind": "AppOfApps",
            "metadata": {"name": "fleet", "namespace": "apps"},
            "spec": {"generators": generators, "template": {"metadata": {"name": "x"}, "spec": {}}},
        });
        Needs::of(&serde_json::from_value(parent).unwrap())
    }

    #[test]
    fn a_parent_is_woken_by_what_its_generators_read_however_deep_they_lie() {
        let list = json!({"list": {"elements": []}});
        assert!(needs(json!([list])).refs("apps").is_empty());
        let maps =
            json!({"configMaps": {"selector": {"matchLabels": {"a": "b"}}, "key": "apps.yaml"}});
        let inner = needs(json!([list, {"matrix": {"generators": [maps, {"workspaces": {}}]}}]));
        let all = |kind, namespace| Ref::All { kind, namespace };
        assert_eq!(
            inner.refs("apps"),
            [
                all(WORKSPACE, None),
                all(CONFIG_MAP, Some("apps".to_owned()))
            ]
        );
        let merged = needs(json!([{"merge": {"mergeKeys": ["a"], "generators": [list, maps]}}]));
        assert_eq!(merged.refs("apps").len(), 1);
    }

    #[test]
    fn only_the_keys_that_generators_name_are_read() {
        let map: ConfigMap = serde_json::from_value(json!({
            "metadata": {"name": "apps", "labels": {"team": "a"}},
            "data": {"apps.yaml": "[]", "other": "large"},
        }))
        .unwrap();
        let read = config_map(&map, &BTreeSet::from(["apps.yaml".to_owned()]));
        assert_eq!(read.data.into_keys().collect::<Vec<_>>(), ["apps.yaml"]);
        assert_eq!(read.labels["team"], "a");
    }

    #[test]
    fn what_is_free_is_the_limit_less_the_apps_that_are_there() {
        let free = |limits: Value, status: Value| {
            let object = json!({
                "apiVersion": "appofapps.dev/v1alpha1", "kind": "DatabricksWorkspace",
                "metadata": {"name": "prod", "namespace": "platform"},
                "spec": {"host": "https://x", "auth": {}, "limits": limits}, "status": status,
            });
            workspace(&serde_json::from_value(object).unwrap()).free
        };
        let apps = |total: i32| json!({"apps": {"total": total, "managed": 0}});
        assert_eq!(free(json!({}), apps(7)), None);
        assert_eq!(free(json!({"maxApps": 10}), apps(7)), Some(3));
        assert_eq!(free(json!({"maxApps": 10}), apps(12)), Some(0));
        assert_eq!(free(json!({"maxApps": 10}), json!(null)), Some(0));
    }

    #[test]
    fn a_workspace_that_cannot_be_decoded_is_named_and_nothing_is_pruned() {
        let read = Read {
            unreadable: vec![ObjectName::new("platform", "odd")],
            ..Read::default()
        };
        let mut generated = Generated {
            complete: true,
            ..Generated::default()
        };
        Read::default().qualify(&mut generated);
        assert!(generated.complete);
        read.qualify(&mut generated);
        assert!(!generated.complete);
        assert!(generated.errors[0].to_string().contains("platform/odd"));
    }

    #[tokio::test]
    async fn a_list_that_does_not_arrive_is_named_with_what_to_check() {
        let gate = Gate::default();
        let brief = Duration::from_millis(1);
        let late = listed_within(brief, &gate.synced(), "configmaps").await;
        let trouble = late.unwrap_err();
        assert_eq!(trouble.fate, Fate::After(AGAIN));
        let said = trouble.message;
        assert!(
            said.contains("configmaps") && said.contains("ClusterRole"),
            "{said}"
        );
        gate.open();
        assert_eq!(listed(&gate.synced(), "configmaps").await, Ok(()));
    }
}
