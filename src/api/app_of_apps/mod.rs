//! AppOfApps: the parent that generates a fleet of apps, keeps them, and sums them up.
use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

mod generators;
mod status;
mod strategy;

pub use generators::{
    ConfigMapsGenerator, Generator, Leaf, LeafGenerator, ListGenerator, MatrixGenerator,
    MergeGenerator, Operator, Requirement, Selector, WorkspacesGenerator,
};
pub use status::{
    AppOfAppsStatus, FailingChild, FleetMemory, FleetStatus, FleetSummary, Preview, PruneStatus,
    RolloutStatus,
};
pub use strategy::{
    AppsSync, DeletionOrder, FleetMode, IgnoredDifference, OnDeletion, OnFailure, PruneSettings,
    RollingSync, RolloutStep, Strategy, StrategyType, SyncPolicy, Templating, UnpinnedSources,
};

/// Generates DatabricksApps in its own namespace: from a list and a template, or written out one by one. Children that
/// leave the list are deleted, within a budget.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "appofapps.dev",
    version = "v1alpha1",
    kind = "AppOfApps",
    plural = "appofapps",
    shortname = "aoa",
    category = "appofapps",
    namespaced,
    status = "AppOfAppsStatus",
    validation = Rule::new("self.metadata.name.size() <= 63").message("the name of an AppOfApps becomes a label of its children: at most 63 characters"),
    printcolumn(name = "Desired", type_ = "integer", json_path = ".status.summary.desired"),
    printcolumn(name = "Ready-Apps", type_ = "integer", json_path = ".status.summary.ready"),
    printcolumn(name = "Progressing", type_ = "integer", json_path = ".status.summary.progressing"),
    printcolumn(name = "Stalled", type_ = "integer", json_path = ".status.summary.stalled"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.generators) != has(self.apps)").message("give either generators with a template, or apps written out: exactly one of them"))]
#[x_kube(validation = Rule::new("has(self.generators) == has(self.template)").message("generators and template go together"))]
pub struct AppOfAppsSpec {
    /// Where the elements come from; each element fills the template once. The results of several generators are put
    /// together; a child's name that comes up twice is an error of both elements.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub generators: Option<Vec<Generator>>,
    /// What each element becomes. Goes with `generators`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<Template>,
    /// Children written out one by one, in place of `generators` and `template`. An empty list means no children; those
    /// that exist are deleted only after confirmation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub apps: Option<Vec<WrittenApp>>,
    /// A partial DatabricksApp spec under every child's own: objects are merged, lists and single values of the child
    /// replace. Holds no `{{ … }}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub defaults: Option<Map<String, Value>>,
    /// What is written and deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync_policy: Option<SyncPolicy>,
    /// How many children may be deleted without asking. Default: a fifth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prune: Option<PruneSettings>,
    /// In which order, and how fast, changes reach the children. Default: all at once, but for waves and `dependsOn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// Fields that are set when a child is created; afterwards the live value is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub ignore_child_differences: Option<Vec<IgnoredDifference>>,
    /// Whether children are written. Default `Manage`; `Plan` only shows in `status.preview` what would be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<FleetMode>,
    /// Other delimiters than `{{` and `}}` in the template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub templating: Option<Templating>,
    /// Writes and deletes no child while true; the children themselves go on. Deletion of this object is not held.
    /// Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// What each element becomes. Strings may hold `{{ … }}`; a string that is nothing but one `{{ … }}` takes over the
/// type of its value. A name that the element lacks is an error of that element alone, the others go on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Template {
    /// Kind of the children. Default `DatabricksApp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ChildKind>,
    /// Wave of the child, 0 to 99, e.g. `{{ wave }}`. Default 0. A child is written when all children of lower waves have
    /// passed their gates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub wave: Option<String>,
    /// Names of other children of this parent that have to pass their gates first, e.g. `{{ team }}-api`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 512)))]
    pub depends_on: Vec<String>,
    /// Name, labels and annotations of the child.
    pub metadata: TemplateMetadata,
    /// A DatabricksApp spec. Keys of objects are taken as they are, only values are filled.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schemars(schema_with = "any_object")]
    pub spec: Map<String, Value>,
}

/// Kind of a child. `DatabricksApp` is the only one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ChildKind {
    #[default]
    DatabricksApp,
}

impl ChildKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::DatabricksApp => "DatabricksApp",
        }
    }
}

/// Name, labels and annotations of the child.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateMetadata {
    /// Name of the child, e.g. `{{ team }}-dashboard`. Must differ between elements. A changed name is another child:
    /// the new one is created and the old one deleted.
    #[schemars(length(min = 1, max = 512))]
    pub name: String,
    /// Labels of the child. Keys of `appofapps.dev`, Argo CD, Flux and Helm are refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "string_map")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the child. Keys of `appofapps.dev`, Argo CD, Flux and Helm are refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "string_map")]
    pub annotations: BTreeMap<String, String>,
}

/// A child written out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WrittenApp {
    /// Name of the DatabricksApp. A changed name is another child.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Wave of the child. Default 0. It is written when all children of lower waves have passed their gates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 99))]
    pub wave: Option<i32>,
    /// Names of other children of this parent that have to pass their gates first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 253)))]
    pub depends_on: Vec<String>,
    /// Labels of the child. Keys of `appofapps.dev`, Argo CD, Flux and Helm are refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "string_map")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the child. Keys of `appofapps.dev`, Argo CD, Flux and Helm are refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "string_map")]
    pub annotations: BTreeMap<String, String>,
    /// Its spec, over `defaults`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schemars(schema_with = "any_object")]
    pub spec: Map<String, Value>,
}

impl AppOfAppsSpec {
    pub fn suspended(&self) -> bool {
        self.suspend.unwrap_or_default()
    }

    pub fn mode(&self) -> FleetMode {
        self.mode.unwrap_or_default()
    }

    pub fn strategy(&self) -> Strategy {
        self.strategy.clone().unwrap_or_default()
    }

    pub fn apps_sync(&self) -> AppsSync {
        let policy = self.sync_policy.as_ref();
        policy.and_then(|p| p.apps_sync).unwrap_or_default()
    }

    pub fn on_deletion(&self) -> OnDeletion {
        self.sync_policy
            .as_ref()
            .and_then(|policy| policy.on_deletion)
            .unwrap_or_default()
    }

    pub fn max_deletions(&self) -> &str {
        self.prune
            .as_ref()
            .and_then(|prune| prune.max_deletions.as_deref())
            .unwrap_or("20%")
    }
}

/// An object whose members another schema judges: the child's own, when it is written.
fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

fn string_map(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 64,
        "additionalProperties": {"type": "string", "maxLength": 4096}
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use kube::CustomResourceExt;

    use super::*;

    fn schema() -> Value {
        let crd = super::super::without_nulls(serde_json::to_value(AppOfApps::crd()).unwrap());
        crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
    }

    #[test]
    fn the_names_are_those_users_type() {
        let crd = serde_json::to_value(AppOfApps::crd()).unwrap();
        assert_eq!(crd["metadata"]["name"], "appofapps.appofapps.dev");
        assert_eq!(crd["spec"]["names"]["shortNames"][0], "aoa");
        assert_eq!(crd["spec"]["names"]["categories"][0], "appofapps");
    }

    #[test]
    fn elements_template_spec_and_defaults_keep_what_the_schema_does_not_know() {
        let schema = schema();
        let spec = &schema["properties"]["spec"]["properties"];
        let keep = "x-kubernetes-preserve-unknown-fields";
        let list = &spec["generators"]["items"]["properties"]["list"]["properties"];
        assert_eq!(list["elements"]["items"][keep], true);
        assert_eq!(spec["template"]["properties"]["spec"][keep], true);
        assert_eq!(spec["defaults"][keep], true);
        assert_eq!(spec["apps"]["items"]["properties"]["spec"][keep], true);
    }

    #[test]
    fn every_field_explains_itself_and_has_a_bound() {
        fn walk(path: &str, schema: &Value) {
            if path.starts_with("/spec")
                && path != "/spec"
                && !path.ends_with("[]")
                && !path.ends_with("{}")
            {
                assert!(
                    schema["description"].is_string(),
                    "{path} has no description"
                );
            }
            if path.starts_with("/spec")
                && schema["type"] == "string"
                && schema.get("enum").is_none()
            {
                assert!(schema["maxLength"].is_number(), "{path} has no maxLength");
            }
            if path.starts_with("/spec") && schema["type"] == "array" {
                assert!(schema["maxItems"].is_number(), "{path} has no maxItems");
            }
            assert!(schema.get("nullable").is_none(), "{path} is nullable");
            if let Some(properties) = schema["properties"].as_object() {
                for (name, inner) in properties {
                    walk(&format!("{path}/{name}"), inner);
                }
            }
            if schema["items"].is_object() {
                walk(&format!("{path}[]"), &schema["items"]);
            }
            if schema["additionalProperties"].is_object() {
                walk(&format!("{path}{{}}"), &schema["additionalProperties"]);
            }
        }
        walk("", &schema());
    }

    #[test]
    fn the_rules_with_messages_of_their_own_are_in_the_schema() {
        let schema = schema();
        let rules = |value: &Value| value["x-kubernetes-validations"].to_string();
        assert!(rules(&schema["properties"]["spec"]).contains("exactly one of them"));
        assert!(rules(&schema["properties"]["spec"]).contains("go together"));
        assert!(
            rules(&schema).contains("at most 63 characters"),
            "{}",
            rules(&schema)
        );
        let generator = &schema["properties"]["spec"]["properties"]["generators"]["items"];
        assert!(rules(generator).contains("exactly one of"));
    }

    #[test]
    fn an_untouched_object_reads_as_not_seen() {
        assert_eq!(
            schema()["properties"]["status"]["default"]["observedGeneration"],
            -1
        );
    }

    #[test]
    fn an_empty_spec_has_the_documented_defaults() {
        let spec = AppOfAppsSpec::default();
        assert!(!spec.suspended());
        assert_eq!(spec.on_deletion(), OnDeletion::Delete);
        assert_eq!(spec.max_deletions(), "20%");
    }
}
