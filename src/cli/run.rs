//! `run`: wires the parts together and runs until a signal.
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::cluster;
use super::hosts::{ArtifactHosts, Hosts};
use crate::admission::{self, Admission};
use crate::databricks::Timeouts;
use crate::engine::events::Events;
use crate::engine::index::Index;
use crate::kinds::{self, Running};
use crate::serve::{self, Readiness};
use crate::telemetry::logs::{self, LogFormat};
use crate::telemetry::{Clock, Metrics};
use crate::worlds::databricks::{HubSettings, namespaces};
use crate::worlds::inputs;

/// How long passes under way may take to finish after a signal; Kubernetes kills after 30 s.
const GRACE: Duration = Duration::from_secs(25);

/// Options of `run`. Each can also be given as an environment variable.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    hosts: Hosts,
    #[command(flatten)]
    artifacts: ArtifactHosts,
    /// Address of /metrics, /readyz and /livez.
    #[arg(
        long,
        env = "DAO_LISTEN",
        default_value = "0.0.0.0:8080",
        value_name = "ADDRESS"
    )]
    listen: SocketAddr,
    /// Name of this installation, in the User-Agent of its requests and in its events. Default: the host's name.
    #[arg(long, env = "DAO_INSTANCE", value_name = "NAME")]
    instance: Option<String>,
    /// How log lines are written: text on a terminal, JSON elsewhere, unless said otherwise.
    #[arg(long, env = "DAO_LOG_FORMAT", value_enum, default_value_t)]
    log_format: LogFormat,
    /// Which log lines are written, e.g. `info` or `info,databricks_app_operator=debug`.
    #[arg(
        long,
        env = "DAO_LOG_FILTER",
        default_value = "info",
        value_name = "FILTER"
    )]
    log_filter: String,
    /// Lets the operator's intervals and polls run so many times as fast, against a fake workspace that does the same.
    #[arg(long, env = "DAO_SERVICE_TIME_SCALE", default_value_t = 1, hide = true)]
    service_time_scale: u32,
}

/// Why the operator did not run, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Logs(#[from] logs::Error),
    #[error(transparent)]
    Admission(#[from] admission::Error),
    #[error(transparent)]
    Serve(#[from] serve::Error),
    #[error(
        "--service-time-scale {0} needs --allowed-hosts with nothing but loopback addresses: it is for a fake workspace"
    )]
    Scale(u32),
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    #[error("waiting for signals: {0}")]
    Signals(#[source] std::io::Error),
    #[error("a controller ended by itself; see the log")]
    Ended,
}

/// Runs until SIGTERM or SIGINT; then no pass starts and those under way finish.
#[tokio::main]
pub async fn run(options: Options) -> Result<(), Error> {
    logs::init(options.log_format, &options.log_filter)?;
    let clock = Clock::new(options.service_time_scale);
    let host_policy = options.hosts.policy();
    if clock.scale() != 1 && !host_policy.only_loopback() {
        return Err(Error::Scale(options.service_time_scale));
    }
    let instance = options.instance.or_else(|| std::env::var("HOSTNAME").ok());
    let instance = instance.unwrap_or_else(|| "local".into());
    let config = cluster::config().await?;
    let watching = cluster::client(&config, None)?;
    let requests = cluster::client(&config, Some(cluster::READ_TIMEOUT))?;
    let admission = Arc::new(Admission::new(kinds::crds())?);
    let metrics = Metrics::new();
    let shutdown = CancellationToken::new();
    let ready = Readiness::default();
    let server = serve::bind(
        options.listen,
        metrics.clone(),
        ready.clone(),
        shutdown.clone(),
    )
    .await?;
    let server = tokio::spawn(server);
    let index = Arc::new(Index::default());
    let (namespaces, namespaces_synced, watch_namespaces) =
        namespaces::watch(watching.clone(), index.clone());
    let watch_namespaces = tokio::spawn(watch_namespaces);
    let (config_maps, watch_config_maps) = inputs::watch(watching.clone(), index.clone());
    let watch_config_maps = tokio::spawn(watch_config_maps);
    let (synced, ended) = kinds::run_all(Running {
        watching,
        requests: requests.clone(),
        index,
        hub: HubSettings {
            host_policy,
            user_agent: cluster::user_agent(&instance),
            timeouts: Timeouts::default(),
            clock,
            metrics: metrics.clone(),
        },
        namespace: config.default_namespace.clone(),
        artifact_hosts: options.artifacts.artifact_hosts,
        clock,
        events: Events::new(requests, &instance, metrics.clone()),
        metrics,
        namespaces,
        namespaces_synced,
        config_maps,
        admission,
        shutdown: shutdown.clone(),
    });
    info!(version = env!("CARGO_PKG_VERSION"), %instance, listen = %options.listen, "started");
    tokio::spawn(async move {
        synced.await;
        ready.set();
        info!("caches are synced");
    });
    let signalled = signalled();
    let by_signal = tokio::select! {
        signal = signalled => { signal?; true }
        () = shutdown.cancelled() => false,
    };
    info!("stopping: passes under way finish, none starts");
    shutdown.cancel();
    let _ = tokio::time::timeout(GRACE, ended).await;
    watch_namespaces.abort();
    watch_config_maps.abort();
    if let Ok(served) = server.await {
        served?;
    }
    if by_signal { Ok(()) } else { Err(Error::Ended) }
}

async fn signalled() -> Result<(), Error> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
