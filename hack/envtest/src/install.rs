//! What an installation is: the manifests that the chart renders.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::DynamicObject;

use crate::cluster::{Cluster, ClusterError};
use crate::helm::{HelmError, run_helm};
use crate::manifests::{self, ManifestError};
use crate::pod::{Pod, PodError};
use crate::repository;

/// Namespace of the installation, and name of its release.
pub const NAMESPACE: &str = "databricks-app-operator";
/// ServiceAccount of the installation.
pub const SERVICE_ACCOUNT: &str = "databricks-app-operator";

/// How an environment's installation differs from one with default values: Secrets lie in namespaces that nobody knows
/// beforehand.
const VALUES: [&str; 2] = ["--set", "rbac.secrets=Cluster"];

/// Why the installation failed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Helm(#[from] HelmError),
    #[error(transparent)]
    Pod(#[from] PodError),
    #[error("the chart renders no Deployment")]
    NoDeployment,
    #[error("cannot read the Deployment that the chart renders: {0}")]
    Deployment(#[source] serde_json::Error),
}

/// Applies what the chart renders and returns the kubeconfig of the ServiceAccount: whoever uses it may do what the
/// shipped roles grant, and nothing more.
pub async fn install(cluster: &Cluster) -> Result<PathBuf, InstallError> {
    let client = cluster.client().await?;
    let namespace = repository().join("config/manager/namespace.yaml");
    let mut objects = manifests::read(&namespace)?;
    objects.extend(rendered()?);
    manifests::apply_documents(&client, objects).await?;
    let pod = pod()?;
    Ok(cluster
        .service_account_kubeconfig(pod.namespace(), pod.service_account())
        .await?)
}

/// A Pod of the installation.
pub(crate) fn pod() -> Result<Pod, InstallError> {
    let objects = rendered()?;
    let is_deployment = |object: &&DynamicObject| {
        object
            .types
            .as_ref()
            .is_some_and(|t| t.kind == "Deployment")
    };
    let deployment = objects.iter().find(is_deployment);
    let deployment = deployment.ok_or(InstallError::NoDeployment)?;
    let deployment: Deployment = serde_json::to_value(deployment)
        .and_then(serde_json::from_value)
        .map_err(InstallError::Deployment)?;
    Ok(Pod::of(&deployment)?)
}

/// What the chart renders, once a process.
fn rendered() -> Result<Vec<DynamicObject>, InstallError> {
    static RENDERED: Mutex<Option<Vec<DynamicObject>>> = Mutex::new(None);
    let mut known = RENDERED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(objects) = &*known {
        return Ok(objects.clone());
    }
    let objects = render(NAMESPACE, NAMESPACE, &VALUES)?;
    Ok(known.insert(objects).clone())
}

/// What `helm template` makes of this repository's chart with more `arguments`, e.g. `["--set", "replicas=1"]`.
pub fn render(
    release: &str,
    namespace: &str,
    arguments: &[&str],
) -> Result<Vec<DynamicObject>, InstallError> {
    let chart = repository().join("charts/databricks-app-operator");
    let chart = chart.to_string_lossy().into_owned();
    let mut all = vec!["template", release, &chart, "--namespace", namespace];
    all.extend(arguments);
    let text = run_helm(None, &all)?;
    Ok(manifests::parse("the rendered chart", &text)?)
}
