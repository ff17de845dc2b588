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

/// Usual name of the DatabricksWorkspace; it lies in namespace `default` and admits every namespace.
pub const WORKSPACE: &str = "playground";
/// Who the operator is in the fake workspace.
pub const IDENTITY: &str = "operator@example.com";
/// A user whom nobody gave anything.
pub const STRANGER: &str = "stranger@example.com";
const GRACE: Duration = Duration::from_secs(5);

/// What an environment is like.
#[derive(Clone, Debug)]
pub struct EnvironmentOptions {
    /// Name of the DatabricksWorkspace. Default: [`WORKSPACE`].
    pub workspace: String,
    /// Service time runs so many times faster than wire time.
    pub time_scale: u32,
    /// What the fake workspace knows from the start; the program's own format. Groups `users` and `admins` always exist.
    pub seed: String,
    /// Personal access tokens of others than the operator, and whose they are.
    pub other_tokens: Vec<(String, String)>,
    /// More flags of the fake workspace.
    pub sim_arguments: Vec<String>,
    /// Calls a second, and at once, that the DatabricksWorkspace allows: so many that time, not the limiter, is what is
    /// seen.
    pub requests_per_second: u32,
    /// Of the operator, as in `RUST_LOG`.
    pub log_filter: String,
    /// Where the operator's log goes; by default to a file that goes with the environment.
    pub operator_log: Option<PathBuf>,
}

impl EnvironmentOptions {
    /// A user and a warehouse that nobody uses.
    pub fn new(time_scale: u32) -> Self {
        Self {
            workspace: WORKSPACE.into(),
            time_scale,
            seed: format!("users: [{STRANGER}]\nwarehouses: [wh-1]\n"),
            other_tokens: Vec::new(),
            sim_arguments: Vec::new(),
            requests_per_second: 600,
            log_filter: "info".into(),
            operator_log: None,
        }
    }
}

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
    operator_options: OperatorOptions,
    sim_options: SimOptions,
    requests_per_second: u32,
    folder: RunFolder,
}

/// One more fake workspace, and the token that it takes of `IDENTITY`. Dropping it ends it.
#[derive(Debug)]
pub struct Connected {
    pub sim: Sim,
    pub token: String,
}

impl Environment {
    /// Starts it, control plane and fake workspace side by side; `progress` gets a line as each is up. About 6 s once
    /// everything is built.
    pub async fn start(
        wanted: EnvironmentOptions,
        progress: impl Fn(&str),
    ) -> Result<Self, EnvironmentError> {
        let temp = std::env::temp_dir();
        let folder = RunFolder::create().map_err(files("make a run's folder in", temp))?;
        let token = random_token();

        let seed = folder.join("seed.yaml");
        std::fs::write(&seed, &wanted.seed).map_err(files("write", seed.clone()))?;
        let mut options = SimOptions::new(&token, IDENTITY, folder.join("databricks-sim.log"));
        options.tokens.extend(wanted.other_tokens);
        options.time_scale = wanted.time_scale;
        options.any_source = true;
        options.seed = Some(seed);
        options.arguments = wanted.sim_arguments;
        let control_plane = async {
            let cluster = Cluster::start(ClusterOptions::default()).await?;
            progress("control plane: etcd, kube-apiserver, kube-controller-manager");
            let kubeconfig = install(&cluster).await?;
            progress("installed: definitions, ServiceAccount, roles");
            Ok::<_, EnvironmentError>((cluster, kubeconfig))
        };
        let sim_options = options.clone();
        let workspace = async {
            let sim = Sim::start(options).await?;
            progress(&format!("fake workspace: {}", sim.url()));
            Ok::<_, EnvironmentError>(sim)
        };
        let ((cluster, kubeconfig), sim) = tokio::try_join!(control_plane, workspace)?;

        let log = folder.join("databricks-app-operator.log");
        let mut operator_options =
            OperatorOptions::new(kubeconfig, wanted.operator_log.unwrap_or(log));
        operator_options.time_scale = wanted.time_scale;
        operator_options.log_filter = wanted.log_filter;
        let client = cluster.client().await?;
        let connected = async {
            let host = sim.url();
            let limit = wanted.requests_per_second;
            connect(&client, &wanted.workspace, &host, &token, limit).await?;
            Ok::<_, EnvironmentError>(())
        };
        let started = async {
            let operator = Operator::start(operator_options.clone()).await?;
            progress(&format!("operator: {}", operator.url()));
            Ok::<_, EnvironmentError>(operator)
        };
        let ((), operator) = tokio::try_join!(connected, started)?;
        Ok(Self {
            operator,
            sim,
            cluster,
            token,
            time_scale: wanted.time_scale,
            operator_options,
            sim_options,
            requests_per_second: wanted.requests_per_second,
            folder,
        })
    }

    /// Starts another fake workspace, as the first one in everything but its token, and a DatabricksWorkspace of that
    /// name for it.
    pub async fn connect(&self, name: &str) -> Result<Connected, EnvironmentError> {
        let token = random_token();
        let mut options = self.sim_options.clone();
        options.tokens = vec![(token.clone(), IDENTITY.to_owned())];
        options.log = self.folder.join(format!("databricks-sim-{name}.log"));
        let sim = Sim::start(options).await?;
        let client = self.cluster.client().await?;
        connect(&client, name, &sim.url(), &token, self.requests_per_second).await?;
        Ok(Connected { sim, token })
    }

    /// Starts another operator once the one that runs has ended. Its time alone runs so many times faster.
    pub async fn replace_operator(&mut self, time_scale: u32) -> Result<(), EnvironmentError> {
        self.operator.stop(GRACE).await;
        self.operator_options.time_scale = time_scale;
        self.operator = Operator::start(self.operator_options.clone()).await?;
        Ok(())
    }

    /// Lets the operator finish what it is writing, then ends everything.
    pub async fn stop(self) {
        self.operator.stop(GRACE).await;
    }
}

/// A personal access token that no other workspace takes.
pub fn random_token() -> String {
    format!("dapi{:016x}{:016x}", ports::random(), ports::random())
}

async fn connect(
    client: &Client,
    name: &str,
    host: &str,
    token: &str,
    limit: u32,
) -> Result<(), ManifestError> {
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": "default"},
        "stringData": {"token": token},
    });
    let workspace = json!({
        "apiVersion": "appofapps.dev/v1alpha1",
        "kind": "DatabricksWorkspace",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "host": host,
            "auth": {"token": {"secretRef": {"name": name, "key": "token"}}},
            "allowedNamespaces": {"from": "All"},
            "limits": {"requestsPerSecond": limit, "burst": limit},
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
