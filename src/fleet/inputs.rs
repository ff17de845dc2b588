//! What generators read that lies outside their parent.
use std::collections::BTreeMap;

use crate::api::names::ObjectName;

/// The objects that a parent's generators may read, as they are now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GeneratorInputs {
    /// Every DatabricksWorkspace that admits the parent's namespace, in any order; also those being deleted
    pub workspaces: Vec<WorkspaceInput>,
    /// Every ConfigMap of the parent's namespace with the label `appofapps.dev/generator`, in any order
    pub config_maps: Vec<ConfigMapInput>,
}

/// One DatabricksWorkspace.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkspaceInput {
    pub name: ObjectName,
    pub host: String,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// Apps it may still take: its `limits.maxApps` less those it has; `None` without a limit
    pub free: Option<i64>,
}

/// One ConfigMap.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigMapInput {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub data: BTreeMap<String, String>,
}
