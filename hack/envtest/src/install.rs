//! What an installation holds beside the operator's own Deployment: definitions, namespace, ServiceAccount and roles,
//! from the same files that users apply.

use std::path::PathBuf;

use crate::cluster::{Cluster, ClusterError};
use crate::manifests::{self, ManifestError};
use crate::repository;

/// Namespace of the installation in `config/`.
pub const NAMESPACE: &str = "databricks-app-operator";
/// ServiceAccount of the installation in `config/`.
pub const SERVICE_ACCOUNT: &str = "databricks-app-operator";

/// Why the installation failed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

/// Applies all that and returns the kubeconfig of the ServiceAccount: whoever uses it may do what the shipped role
/// grants, and nothing more.
pub async fn install(cluster: &Cluster) -> Result<PathBuf, InstallError> {
    let client = cluster.client().await?;
    let mut objects = Vec::new();
    for path in ["crds", "config/manager/namespace.yaml", "config/rbac"] {
        objects.extend(manifests::read(&repository().join(path))?);
    }
    manifests::apply_documents(&client, objects).await?;
    Ok(cluster
        .service_account_kubeconfig(NAMESPACE, SERVICE_ACCOUNT)
        .await?)
}
