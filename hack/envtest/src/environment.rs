//! Everything at once, as the demo, the playground and the end-to-end tests use it: a control plane with the operator
//! installed, a fake workspace, and a DatabricksWorkspace that names it.

use std::path::PathBuf;
use std::time::Duration;

use kube::Client;
use serde_json::json;

use crate::cluster::{Cluster, ClusterError, ClusterOptions};
use crate::folder::RunFolder;
use crate::install::{InstallError, install};
use crate::manifests::{ManifestError, apply};
use crate::ports;
use crate::programs::{Operator, OperatorOptions, ProgramError, Sim, SimOptions};

/// Name of the DatabricksWorkspace; it lies in namespace `default` and admits every namespace.
pub const WORKSPACE: &str = "playground";
/// Who the operator is in the fake workspace.
pub const IDENTITY: &str = "operator@example.com";
/// A user whom nobody gave anything.
pub const STRANGER: &str = "stranger@example.com";
/// Calls a second that the DatabricksWorkspace allows: so many that time, not the limiter, is what is seen.
const LIMIT: u32 = 600;
const GRACE: Duration = Duration::from_secs(5);

/// Why the environment did not start.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Install(#[from] InstallError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error("cannot {action} {}", path.display())]
    Files {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// A running environment. Dropping it ends every process and removes every file.
#[derive(Debug)]
pub struct Environment {
    // Dropped in this order: nobody logs errors because the one it talks to went first.
    pub operator: Operator,
    pub sim: Sim,
    pub cluster: Cluster,
    /// The personal access token that the fake workspace takes; it is `IDENTITY`'s.
    pub token: String,
    /// Service time runs so many times faster than wire time.
    pub time_scale: u32,
    _folder: RunFolder,
}

impl Environment {
    /// Starts it, control plane and fake workspace side by side; `progress` gets a line as each is up. About 6 s once
    /// everything is built.
    pub async fn start(time_scale: u32, progress: impl Fn(&str)) -> Result<Self, EnvironmentError> {
        let temp = std::env::temp_dir();
        let folder = RunFolder::create().map_err(files("make a run's folder in", temp))?;
        let token = format!("dapi{:016x}{:016x}", ports::random(), ports::random());

        let seed = folder.join("seed.yaml");
        // Groups `users` and `admins` always exist.
        std::fs::write(&seed, format!("users: [{STRANGER}]\nwarehouses: [wh-1]\n"))
            .map_err(files("write", seed.clone()))?;
        let mut options = SimOptions::new(&token, IDENTITY, folder.join("databricks-sim.log"));
        options.time_scale = time_scale;
        options.any_source = true;
        options.seed = Some(seed);
        let control_plane = async {
            let cluster = Cluster::start(ClusterOptions::default()).await?;
            progress("control plane: etcd, kube-apiserver, kube-controller-manager");
            let kubeconfig = install(&cluster).await?;
            progress("installed: definitions, ServiceAccount, roles");
            Ok::<_, EnvironmentError>((cluster, kubeconfig))
        };
        let workspace = async {
            let sim = Sim::start(options).await?;
            progress(&format!("fake workspace: {}", sim.url()));
            Ok::<_, EnvironmentError>(sim)
        };
        let ((cluster, kubeconfig), sim) = tokio::try_join!(control_plane, workspace)?;

        let mut options =
            OperatorOptions::new(kubeconfig, folder.join("databricks-app-operator.log"));
        options.time_scale = time_scale;
        let client = cluster.client().await?;
        let connected = async {
            connect(&client, &sim.url(), &token).await?;
            Ok::<_, EnvironmentError>(())
        };
        let started = async {
            let operator = Operator::start(options).await?;
            progress(&format!("operator: {}", operator.url()));
            Ok::<_, EnvironmentError>(operator)
        };
        let ((), operator) = tokio::try_join!(connected, started)?;
        Ok(Self {
            operator,
            sim,
            cluster,
            token,
            time_scale,
            _folder: folder,
        })
    }

    /// Lets the operator finish what it is writing, then ends everything.
    pub async fn stop(self) {
        self.operator.stop(GRACE).await;
    }
}

async fn connect(client: &Client, host: &str, token: &str) -> Result<(), ManifestError> {
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": WORKSPACE, "namespace": "default"},
        "stringData": {"token": token},
    });
    let workspace = json!({
        "apiVersion": "appofapps.dev/v1alpha1",
        "kind": "DatabricksWorkspace",
        "metadata": {"name": WORKSPACE, "namespace": "default"},
        "spec": {
            "host": host,
            "auth": {"token": {"secretRef": {"name": WORKSPACE, "key": "token"}}},
            "allowedNamespaces": {"from": "All"},
            "limits": {"requestsPerSecond": LIMIT, "burst": LIMIT},
        },
    });
    // JSON is YAML.
    apply(client, &format!("{secret}\n---\n{workspace}")).await?;
    Ok(())
}

fn files(action: &'static str, path: PathBuf) -> impl FnOnce(std::io::Error) -> EnvironmentError {
    move |source| EnvironmentError::Files {
        action,
        path,
        source,
    }
}
