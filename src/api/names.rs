//! References between objects, validated by the CRD's own schema.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A DatabricksWorkspace, in this namespace unless another one is named (and admits this one).
#[derive(
    Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub struct WorkspaceRef {
    /// Name of the DatabricksWorkspace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Namespace of the DatabricksWorkspace; defaults to the object's own. The Workspace's `allowedNamespaces` must admit it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

/// A key of a Secret in the object's own namespace. A Secret is never read from another namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretKeyRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key inside the Secret's `data`.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// A key of a ConfigMap in the object's own namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigMapKeyRef {
    /// Name of the ConfigMap.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key inside the ConfigMap's `data`.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// Name and namespace of an object of a kind that the context tells.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName {
    pub namespace: String,
    pub name: String,
}

impl ObjectName {
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl std::fmt::Display for ObjectName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl WorkspaceRef {
    /// The object meant when `namespace` refers to it.
    pub fn resolve(&self, namespace: &str) -> ObjectName {
        ObjectName::new(self.namespace.as_deref().unwrap_or(namespace), &self.name)
    }
}
