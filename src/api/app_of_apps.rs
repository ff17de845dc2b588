//! AppOfApps: the parent that generates a fleet of apps, keeps them, and sums them up.
use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::status::Status;

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
    /// What happens to the children when this object goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync_policy: Option<SyncPolicy>,
    /// How many children may be deleted without asking. Default: a fifth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prune: Option<PruneSettings>,
    /// Writes and deletes no child while true; the children themselves go on. Deletion of this object is not held.
    /// Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// One source of elements.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.list)").message("a generator takes exactly one of: list"))]
pub struct Generator {
    /// Elements written in place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<ListGenerator>,
}

/// Elements written in place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListGenerator {
    /// One child each. The members of an element are the variables of the template: `{team: sales}` fills `{{ team }}`.
    #[schemars(schema_with = "elements")]
    pub elements: Vec<Map<String, Value>>,
}

/// What each element becomes. Strings may hold `{{ … }}`; a string that is nothing but one `{{ … }}` takes over the
/// type of its value. A name that the element lacks is an error of that element alone, the others go on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Template {
    /// Kind of the children. Default `DatabricksApp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ChildKind>,
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
    /// Its spec, over `defaults`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schemars(schema_with = "any_object")]
    pub spec: Map<String, Value>,
}

/// What happens to the children when their parent goes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SyncPolicy {
    /// When this object is deleted: `Delete` (default) deletes the children and waits for them, `Orphan` leaves them
    /// without a parent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_deletion: Option<OnDeletion>,
}

/// `Delete` (default): the children go too. `Orphan`: they stay, without a parent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnDeletion {
    #[default]
    Delete,
    Orphan,
}

/// The guard of deletions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PruneSettings {
    /// At most so many children go at once: a number, or a share of all children, rounded down and at least 1. Default
    /// `20%`. With more to delete, none goes until the annotation `appofapps.dev/confirm-prune` quotes
    /// `status.prune.digest`. `0` always asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8), regex(pattern = r"^([0-9]{1,6}|(100|[0-9]{1,2})%)$"))]
    pub max_deletions: Option<String>,
}

impl AppOfAppsSpec {
    pub fn suspended(&self) -> bool {
        self.suspend.unwrap_or_default()
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

/// Status of an AppOfApps.
pub type AppOfAppsStatus = Status<FleetMemory, FleetStatus>;

/// What later passes need.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FleetMemory {
    /// The last `appofapps.dev/reconcile-requested-at` that was carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
}

/// What is only shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FleetStatus {
    /// The children, counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<FleetSummary>,
    /// Deletions that wait, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prune: Option<PruneStatus>,
    /// The worst few children, at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub failing: Vec<FailingChild>,
}

/// The children, counted. A child may be in more than one of the last five.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FleetSummary {
    /// Children that the spec asks for.
    pub desired: i32,
    /// Of these, those that exist.
    pub created: i32,
    /// Of these, those whose spec is the one asked for now.
    pub updated: i32,
    /// Children that are as asked.
    pub ready: i32,
    /// Children on their way.
    pub progressing: i32,
    /// Children that need somebody's hand.
    pub stalled: i32,
    /// Children held by `suspend` or an annotation.
    pub suspended: i32,
    /// Children that are ready and stopped.
    pub stopped: i32,
}

/// Deletions that wait.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PruneStatus {
    /// How many children would be deleted.
    pub count: i32,
    /// Their names, at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub names: Vec<String>,
    /// To let it happen: `kubectl annotate aoa NAME appofapps.dev/confirm-prune=DIGEST`. Absent while a confirmation
    /// would not help; the condition `ResourcesUpToDate` says why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// One child that is not well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailingChild {
    /// Name of the child.
    pub name: String,
    /// Reason of its condition.
    pub reason: String,
    /// Message of its condition, cut.
    pub message: String,
}

/// An object whose members another schema judges: the child's own, when it is written.
fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

fn elements(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 1000,
        "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}
    })
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
