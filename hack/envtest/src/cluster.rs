//! One control plane without nodes: etcd, kube-apiserver and, where there is one, kube-controller-manager (garbage
//! collection, namespaces, service accounts). Strict RBAC, audit log on, every listener on 127.0.0.1.

mod credentials;
mod parts;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Api, Client, Config};

use crate::binaries::{Binaries, BinariesError, Build};
use crate::folder::RunFolder;
use crate::ports;
use crate::process::{Process, ProcessError};
use crate::tls;
use parts::Ports;

/// Generous: a cold page cache on a busy machine of two cores.
const START: Duration = Duration::from_secs(120);
const GRACE: Duration = Duration::from_secs(5);
const TOKEN_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
const ATTEMPTS: usize = 5;

/// How to get a control plane.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// Whether a missing control plane is built, which takes minutes. Default: yes.
    pub build: Build,
    /// More flags of the API server.
    pub api_server: Vec<String>,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            build: Build::IfMissing,
            api_server: Vec::new(),
        }
    }
}

/// Why a control plane did not start, or did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error(transparent)]
    Binaries(#[from] BinariesError),
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error("cannot {action} {}", path.display())]
    Files {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot find free ports")]
    Ports(#[source] io::Error),
    #[error("the system's random source gave nothing to generate {what} from")]
    Generate { what: &'static str },
    #[error("cannot encode {what} as YAML: {reason}")]
    Encode { what: &'static str, reason: String },
    #[error("cannot use kubeconfig {}", path.display())]
    Kubeconfig {
        path: PathBuf,
        #[source]
        source: Box<KubeconfigError>,
    },
    #[error("cannot {action}")]
    Api {
        action: String,
        #[source]
        source: Box<kube::Error>,
    },
    #[error("the API server had no namespace `default` after {} s", START.as_secs())]
    NoDefaultNamespace,
    #[error("the search for a control plane was cut short")]
    Interrupted(#[source] tokio::task::JoinError),
}

impl ClusterError {
    fn lost_port(&self) -> bool {
        matches!(self, Self::Process(error) if error.lost_port())
    }
}

pub(crate) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ClusterError {
    move |source| ClusterError::Files {
        action,
        path: path.to_owned(),
        source,
    }
}

/// A running control plane. Dropping it ends its processes and removes its files.
///
/// It holds no connection, so one cluster serves the runtimes of many tests.
#[derive(Debug)]
pub struct Cluster {
    // Fields are dropped in this order: the folder goes last.
    controllers: Option<Process>,
    apiserver: Mutex<Option<Process>>,
    etcd: Process,
    binaries: Binaries,
    /// Of the API server.
    flags: Vec<String>,
    ports: Ports,
    folder: RunFolder,
}

impl Cluster {
    /// Starts one; returns when it serves, its roles are set up and namespace `default` exists. About 4 s once the
    /// control plane is built.
    pub async fn start(options: ClusterOptions) -> Result<Self, ClusterError> {
        let binaries = tokio::task::spawn_blocking(move || Binaries::find(options.build))
            .await
            .map_err(ClusterError::Interrupted)??;
        let mut attempt = 1;
        loop {
            match Self::start_once(binaries.clone(), options.api_server.clone()).await {
                Err(error) if error.lost_port() && attempt < ATTEMPTS => attempt += 1,
                other => return other,
            }
        }
    }

    async fn start_once(binaries: Binaries, flags: Vec<String>) -> Result<Self, ClusterError> {
        let temp = std::env::temp_dir();
        let folder = RunFolder::create().map_err(failed("make a run's folder in", &temp))?;
        let ports = Ports::from(ports::free_ports().map_err(ClusterError::Ports)?);
        let admin = credentials::write(folder.path())?;

        let etcd = parts::etcd(&binaries, &ports, folder.path())?;
        etcd.ready_at(&ports.etcd_health(), START).await?;
        let apiserver = parts::apiserver(&binaries, &ports, folder.path(), &flags)?;
        apiserver.ready_at(&ports.readyz(), START).await?;
        credentials::write_kubeconfigs(folder.path(), &ports.server(), &admin)?;
        let controllers = match &binaries.controllers {
            Some(program) => Some(parts::controllers(program, &ports, folder.path())?),
            None => None,
        };
        let cluster = Self {
            controllers,
            apiserver: Mutex::new(Some(apiserver)),
            etcd,
            binaries,
            flags,
            ports,
            folder,
        };
        cluster.wait_for_default_namespace().await?;
        if let Some(controllers) = &cluster.controllers {
            controllers
                .ready_at(&cluster.ports.controllers_health(), START)
                .await?;
        }
        Ok(cluster)
    }

    async fn wait_for_default_namespace(&self) -> Result<(), ClusterError> {
        let namespaces: Api<Namespace> = Api::all(self.client().await?);
        let start = Instant::now();
        while start.elapsed() < START {
            let found = namespaces
                .get_opt("default")
                .await
                .map_err(api("read namespace default"))?;
            if found.is_some() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(ClusterError::NoDefaultNamespace)
    }

    /// URL of the API server.
    pub fn server(&self) -> String {
        self.ports.server()
    }

    /// The PEM bundle that the API server's certificate is trusted by.
    pub fn ca(&self) -> PathBuf {
        credentials::ca(self.folder.path())
    }

    /// For `KUBECONFIG`: may do everything, default namespace `default`.
    pub fn admin_kubeconfig(&self) -> PathBuf {
        credentials::admin_kubeconfig(self.folder.path())
    }

    /// One JSON document a line; `audit::read` reads it.
    pub fn audit_log(&self) -> PathBuf {
        parts::audit_log(self.folder.path())
    }

    /// A folder for files that should go with the cluster.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A new client that may do everything.
    pub async fn client(&self) -> Result<Client, ClusterError> {
        client(&self.admin_kubeconfig()).await
    }

    /// Writes a kubeconfig with a token of this ServiceAccount, valid for a day: its holder may do what RBAC grants
    /// the ServiceAccount, and nothing more. The ServiceAccount must exist.
    pub async fn service_account_kubeconfig(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<PathBuf, ClusterError> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await?, namespace);
        let request = TokenRequest {
            spec: TokenRequestSpec {
                expiration_seconds: i64::try_from(TOKEN_LIFE.as_secs()).ok(),
                ..Default::default()
            },
            ..Default::default()
        };
        let answer = accounts
            .create_token_request(name, &PostParams::default(), &request)
            .await
            .map_err(api(format!(
                "get a token of ServiceAccount {namespace}/{name}"
            )))?;
        let token = answer.status.map(|status| status.token).unwrap_or_default();
        let path = self.folder.join(format!("{namespace}.{name}.kubeconfig"));
        // As in a Pod, its own namespace is the default.
        credentials::write_kubeconfig(&path, &self.ca(), &self.server(), namespace, name, &token)?;
        Ok(path)
    }

    /// Ends the API server and starts it anew on the same port with the same keys; returns when it serves again. Every
    /// watch breaks, every token stays valid.
    pub async fn restart_apiserver(&self) -> Result<(), ClusterError> {
        self.stop_apiserver().await;
        self.start_apiserver().await
    }

    /// Ends the API server: SIGTERM, then SIGKILL after 5 s.
    pub async fn stop_apiserver(&self) {
        let running = self.lock_apiserver().take();
        if let Some(process) = running {
            process.stop(GRACE).await;
        }
    }

    /// Starts the API server if it does not run; returns when it serves.
    pub async fn start_apiserver(&self) -> Result<(), ClusterError> {
        if self.lock_apiserver().is_some() {
            return Ok(());
        }
        let folder = self.folder.path();
        let process = parts::apiserver(&self.binaries, &self.ports, folder, &self.flags)?;
        process.ready_at(&self.ports.readyz(), START).await?;
        *self.lock_apiserver() = Some(process);
        Ok(())
    }

    /// Whether objects of a deleted owner, and what lies in a deleted namespace, go away. Only without
    /// kube-controller-manager in `KUBEBUILDER_ASSETS` they don't.
    pub fn collects_garbage(&self) -> bool {
        self.controllers.is_some()
    }

    /// Process ids of the parts that run now.
    pub fn pids(&self) -> Vec<u32> {
        let apiserver = self.lock_apiserver().as_ref().map(Process::pid);
        [
            Some(self.etcd.pid()),
            apiserver,
            self.controllers.as_ref().map(Process::pid),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// What to print when a part ended by itself: its name, how it ended and the end of its log.
    pub fn failure(&self) -> Option<String> {
        let apiserver = self.lock_apiserver();
        [
            Some(&self.etcd),
            apiserver.as_ref(),
            self.controllers.as_ref(),
        ]
        .into_iter()
        .flatten()
        .find_map(Process::failure)
    }

    /// Ends everything now; for a static, which is never dropped.
    pub(crate) fn end(&self) {
        if let Some(controllers) = &self.controllers {
            controllers.kill();
        }
        if let Some(apiserver) = self.lock_apiserver().take() {
            apiserver.kill();
        }
        self.etcd.kill();
        let _ = std::fs::remove_dir_all(self.folder.path());
    }

    fn lock_apiserver(&self) -> std::sync::MutexGuard<'_, Option<Process>> {
        self.apiserver
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client as `kubeconfig` says. Requests are not retried behind the caller's back.
pub(crate) async fn client(kubeconfig: &Path) -> Result<Client, ClusterError> {
    let unusable = |source| ClusterError::Kubeconfig {
        path: kubeconfig.to_owned(),
        source: Box::new(source),
    };
    tls::use_ring();
    let parsed = Kubeconfig::read_from(kubeconfig).map_err(unusable)?;
    let config = Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default())
        .await
        .map_err(unusable)?;
    Client::try_from(config).map_err(api("make a client of the API server"))
}

pub(crate) fn api(action: impl Into<String>) -> impl FnOnce(kube::Error) -> ClusterError {
    move |source| ClusterError::Api {
        action: action.into(),
        source: Box::new(source),
    }
}
