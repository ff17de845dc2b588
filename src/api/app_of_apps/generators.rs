//! Where elements come from.
use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::string_map;

/// One source of elements.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.list), has(self.workspaces), has(self.configMaps), has(self.matrix), has(self.merge)].exists_one(x, x)").message("a generator takes exactly one of: list, workspaces, configMaps, matrix, merge"))]
pub struct Generator {
    /// Elements written in place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<ListGenerator>,
    /// One element for each DatabricksWorkspace that admits this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspaces: Option<WorkspacesGenerator>,
    /// Elements out of ConfigMaps of this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_maps: Option<ConfigMapsGenerator>,
    /// Every combination of the elements of two generators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matrix: Option<MatrixGenerator>,
    /// The elements of the first generator, completed by those of the others that have the same keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge: Option<MergeGenerator>,
    /// Keeps only the elements whose members match; members of members are named with dots: `metadata.labels.env`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
}

/// A generator inside `matrix` or `merge`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.list), has(self.workspaces), has(self.configMaps)].exists_one(x, x)").message("a generator inside matrix or merge takes exactly one of: list, workspaces, configMaps"))]
pub struct LeafGenerator {
    /// Elements written in place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<ListGenerator>,
    /// One element for each DatabricksWorkspace that admits this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspaces: Option<WorkspacesGenerator>,
    /// Elements out of ConfigMaps of this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_maps: Option<ConfigMapsGenerator>,
    /// Keeps only the elements whose members match; members of members are named with dots: `metadata.labels.env`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
}

/// Elements written in place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListGenerator {
    /// One child each. The members of an element are the variables of the template: `{team: sales}` fills `{{ team }}`.
    #[schemars(schema_with = "elements")]
    pub elements: Vec<Map<String, Value>>,
}

/// One element for each DatabricksWorkspace that admits this namespace, wherever it lies. Its members: `name`,
/// `namespace`, `host`, `metadata.labels`, `metadata.annotations`, and `values` as given here. A Workspace that is being
/// deleted stays an element until it is gone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkspacesGenerator {
    /// Labels of the Workspaces. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
    /// The same members for every element, as `values.…`. May be filled from the Workspace: `"{{ metadata.labels.env }}"`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "string_map")]
    pub values: BTreeMap<String, String>,
}

/// Elements out of ConfigMaps of this namespace that carry the label `appofapps.dev/generator`, whatever its value, and
/// match the selector.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(has(self.selector.matchLabels) && size(self.selector.matchLabels) > 0) || (has(self.selector.matchExpressions) && size(self.selector.matchExpressions) > 0)").message("configMaps.selector must not be empty: it would take every ConfigMap"))]
pub struct ConfigMapsGenerator {
    /// Labels of the ConfigMaps; must not be empty.
    pub selector: Selector,
    /// Key of the ConfigMap's `data` that holds a YAML or JSON list of elements, or a single one.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// Every combination of the elements of two generators. A member that both give with different values is an error of that
/// combination.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MatrixGenerator {
    /// Exactly two.
    #[schemars(length(min = 2, max = 2))]
    pub generators: Vec<LeafGenerator>,
}

/// The elements of the first generator. Those of the others complete the one that has the same values under the keys: their
/// members replace its own, the later generator wins. One without a counterpart in the first is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MergeGenerator {
    /// Members that tell which elements belong together; with dots for members of members.
    #[schemars(length(min = 1, max = 8), inner(length(min = 1, max = 253)))]
    pub merge_keys: Vec<String>,
    /// Two to eight.
    #[schemars(length(min = 2, max = 8))]
    pub generators: Vec<LeafGenerator>,
}

/// What has to match: all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// Keys with the value that each must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "string_map")]
    pub match_labels: BTreeMap<String, String>,
    /// Conditions on keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub match_expressions: Vec<Requirement>,
}

/// A condition on one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)").message("values go with the operators In and NotIn, and only with them"))]
pub struct Requirement {
    /// The key.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// How the key's value relates to `values`.
    pub operator: Operator,
    /// For `In` and `NotIn`: the values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(max = 253)))]
    pub values: Vec<String>,
}

/// `In`, `NotIn`: the value is, is not, among those listed; a missing key counts as not. `Exists`, `DoesNotExist`: the key is
/// there, is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

/// A generator that stands by itself.
#[derive(Clone, Copy, Debug)]
pub enum Leaf<'a> {
    List(&'a ListGenerator),
    Workspaces(&'a WorkspacesGenerator),
    ConfigMaps(&'a ConfigMapsGenerator),
}

impl Generator {
    /// Every generator that stands by itself, also those inside `matrix` and `merge`.
    pub fn leaves(&self) -> impl Iterator<Item = Leaf<'_>> {
        let matrix = self.matrix.iter().flat_map(|m| &m.generators);
        let merge = self.merge.iter().flat_map(|m| &m.generators);
        let inner = matrix.chain(merge).filter_map(LeafGenerator::leaf);
        self.leaf().into_iter().chain(inner)
    }

    /// The generator that stands by itself; `None` for `matrix` and `merge`.
    pub fn leaf(&self) -> Option<Leaf<'_>> {
        one(&self.list, &self.workspaces, &self.config_maps)
    }
}

impl LeafGenerator {
    /// The one that is set; the schema lets no other number through.
    pub fn leaf(&self) -> Option<Leaf<'_>> {
        one(&self.list, &self.workspaces, &self.config_maps)
    }
}

fn one<'a>(
    list: &'a Option<ListGenerator>,
    workspaces: &'a Option<WorkspacesGenerator>,
    config_maps: &'a Option<ConfigMapsGenerator>,
) -> Option<Leaf<'a>> {
    let workspaces = workspaces.as_ref().map(Leaf::Workspaces);
    let config_maps = config_maps.as_ref().map(Leaf::ConfigMaps);
    list.as_ref().map(Leaf::List).or(workspaces).or(config_maps)
}

fn elements(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 1000,
        "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}
    })
}
