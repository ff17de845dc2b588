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
use super::observing::{self, Observing};
use super::served;
use crate::admission::{self, Admission};
use crate::api::duration;
use crate::api::names::is_namespace;
use crate::databricks::Timeouts;
use crate::election::claims::{self, Claims};
use crate::election::{self, Election};
use crate::engine::events::Events;
use crate::engine::index::Index;
use crate::engine::watching::Scope;
use crate::kinds::{self, Running};
use crate::serve::{self, Readiness};
use crate::telemetry::{Clock, Metrics};
use crate::term::{Grant, Term};
use crate::worlds::databricks::{HubSettings, namespaces};
use crate::worlds::inputs;

/// How long passes under way may take to finish after a signal; the Pod has 60 s until it is killed.
const GRACE: Duration = Duration::from_secs(25);

/// What `/readyz` waits for.
const CACHES: &str = "caches";
const CLAIMS: &str = "claims";

/// Options of `run`. Each can also be given as an environment variable.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    hosts: Hosts,
    #[command(flatten)]
    artifacts: ArtifactHosts,
    /// Address of /readyz and /livez, and of /metrics unless --metrics-listen says otherwise.
    #[arg(
        long,
        env = "DAO_LISTEN",
        default_value = "0.0.0.0:8080",
        value_name = "ADDRESS"
    )]
    listen: SocketAddr,
    /// Whether replicas elect the one that writes, by the Lease databricks-app-operator. Without, only one may run.
    #[arg(
        long,
        env = "DAO_LEADER_ELECT",
        default_value_t = true,
        action = clap::ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_name = "true|false"
    )]
    leader_elect: bool,
    /// Who this replica is in the Lease. Default: the host's name with a random part.
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pod_name: Option<String>,
    /// Where the Lease and the key for digests lie. Default: the namespace of the kubeconfig or the service account.
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// How long the Lease holds without a renewal. No write starts in its last 4s; a standby takes over once it is over.
    #[arg(
        long,
        env = "DAO_LEASE_DURATION",
        default_value = "10s",
        value_parser = lease_duration,
        value_name = "DURATION"
    )]
    lease_duration: Duration,
    /// Namespaces whose objects are looked after, separated by commas. Default: all.
    #[arg(
        long,
        env = "DAO_WATCH_NAMESPACES",
        value_delimiter = ',',
        value_name = "NAMESPACES"
    )]
    watch_namespaces: Vec<String>,
    /// Name of this installation, in the User-Agent of its requests and in its events. Default: the Pod's name, or the host's.
    #[arg(long, env = "DAO_INSTANCE", value_name = "NAME")]
    instance: Option<String>,
    #[command(flatten)]
    observing: Observing,
    /// Lets the operator's intervals and polls run so many times as fast, against a fake workspace that does the same.
    #[arg(long, env = "DAO_SERVICE_TIME_SCALE", default_value_t = 1, hide = true)]
    service_time_scale: u32,
}

/// Why the operator did not run, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Observing(#[from] observing::Error),
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
    #[error(transparent)]
    Election(#[from] election::Error),
    #[error(transparent)]
    Claim(claims::Lost),
    #[error(
        "--watch-namespaces: {0:?} is no name of a namespace: 1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends"
    )]
    Namespace(String),
    #[error("waiting for signals: {0}")]
    Signals(#[source] std::io::Error),
    #[error("a controller ended by itself; see the log")]
    Ended,
}

/// Runs until SIGTERM or SIGINT; then no pass starts and those under way finish.
#[tokio::main]
pub async fn run(options: Options) -> Result<(), Error> {
    let instance = options.instance.or_else(|| options.pod_name.clone());
    let instance = instance.or_else(|| std::env::var("HOSTNAME").ok());
    let instance = instance.unwrap_or_else(|| "local".into());
    let traces = options.observing.start(&instance)?;
    let clock = Clock::new(options.service_time_scale);
    let host_policy = options.hosts.policy();
    if clock.scale() != 1 && !host_policy.only_loopback() {
        return Err(Error::Scale(options.service_time_scale));
    }
    let config = cluster::config().await?;
    let watching = cluster::client(&config, None)?;
    let namespace = options.namespace.as_ref();
    let namespace = namespace.unwrap_or(&config.default_namespace).clone();
    let (grant, term) = Term::new();
    let requests = cluster::writing(&config, term.clone())?;
    let admission = Arc::new(Admission::new(kinds::crds())?);
    let metrics = Metrics::new();
    let shutdown = CancellationToken::new();
    let scope = scope(options.watch_namespaces)?;
    let ready = Readiness::of([
        (CLAIMS, "the namespaces are not claimed yet"),
        (CACHES, "the caches are not filled yet"),
        (served::WHAT, "the served definitions were not read yet"),
    ]);
    // Ends once the passes have: until then the Lease is kept.
    let resigned = CancellationToken::new();
    let electing = cluster::electing(&config)?;
    let election = match options.leader_elect {
        true => {
            let settings = election::Settings {
                namespace: namespace.clone(),
                identity: options.pod_name.unwrap_or_else(|| some_name(&instance)),
                duration: options.lease_duration,
            };
            Some(Election::new(electing.clone(), settings, metrics.clone()))
        }
        false => None,
    };
    let claims = Claims::new(
        electing,
        &namespace,
        format!("{namespace}/{}", election::LEASE),
        scope.namespaces(),
    );
    let mut claims = tokio::spawn(claimed(claims, ready.clone()));
    let lead = lead(
        election,
        grant,
        metrics.clone(),
        ready.clone(),
        resigned.clone(),
    );
    let mut lead = tokio::spawn(lead);
    // A standby asks, too, who may read its metrics: no term is held for that.
    let reviews = cluster::client(&config, Some(cluster::READ_TIMEOUT))?;
    let server = serve::bind(
        options.listen,
        options.observing.metrics_at(&reviews),
        metrics.clone(),
        ready.clone(),
        shutdown.clone(),
    )
    .await?;
    let server = tokio::spawn(server);
    let (reader, definitions, fitting) = (requests.clone(), kinds::crds(), ready.clone());
    tokio::spawn(async move { served::fits(&reader, &definitions, &fitting).await });
    let index = Arc::new(Index::default());
    let (namespaces, namespaces_synced, watch_namespaces) =
        namespaces::watch(watching.clone(), &scope, index.clone());
    let watch_namespaces = tokio::spawn(watch_namespaces);
    let (config_maps, watch_config_maps) = inputs::watch(watching.clone(), &scope, index.clone());
    let watch_config_maps = tokio::spawn(watch_config_maps);
    let (synced, ended) = kinds::run_all(Running {
        watching,
        requests: requests.clone(),
        scope: scope.clone(),
        index,
        hub: HubSettings {
            host_policy,
            user_agent: cluster::user_agent(&instance),
            timeouts: Timeouts::default(),
            clock,
            metrics: metrics.clone(),
            term: term.clone(),
            scope,
        },
        namespace,
        artifact_hosts: options.artifacts.artifact_hosts,
        clock,
        events: Events::new(requests, &instance, metrics.clone()),
        metrics,
        namespaces,
        namespaces_synced,
        config_maps,
        admission,
        term,
        shutdown: shutdown.clone(),
    });
    info!(version = env!("CARGO_PKG_VERSION"), %instance, listen = %options.listen, "started");
    tokio::spawn(async move {
        for (kind, synced) in synced {
            // False: its controller is gone, and the process is about to end.
            synced
                .follow(|why| {
                    ready.waits(
                        CACHES,
                        format!("the cache of {kind} is not filled yet: {why}"),
                    )
                })
                .await;
        }
        info!("caches are synced");
        ready.done(CACHES);
    });
    let by_signal = tokio::select! {
        signal = signalled() => { signal?; true }
        () = shutdown.cancelled() => false,
        // Whatever is under way must not write any more, and what it remembers is no longer so.
        over = &mut lead => return match over {
            Ok(Err(lost)) => Err(lost.into()),
            Ok(Ok(())) | Err(_) => Err(Error::Ended),
        },
        lost = &mut claims => return Err(lost.map_or(Error::Ended, Error::Claim)),
    };
    info!("stopping: passes under way finish, none starts");
    shutdown.cancel();
    let _ = tokio::time::timeout(GRACE, ended).await;
    resigned.cancel();
    // It gives up by itself on an API server that does not answer.
    let _ = lead.await;
    claims.abort();
    watch_namespaces.abort();
    watch_config_maps.abort();
    // Its answers under way are sent; it has nothing else to say.
    let _ = server.await;
    if let Some(traces) = traces {
        let ended = tokio::task::spawn_blocking(|| traces.end());
        let _ = ended.await;
    }
    if by_signal { Ok(()) } else { Err(Error::Ended) }
}

/// What `--watch-namespaces` says; nothing means all.
fn scope(names: Vec<String>) -> Result<Scope, Error> {
    let mut names: Vec<String> = names.iter().map(|name| name.trim().to_owned()).collect();
    names.retain(|name| !name.is_empty());
    names.sort();
    names.dedup();
    if let Some(wrong) = names.iter().find(|name| !is_namespace(name)) {
        return Err(Error::Namespace(wrong.clone()));
    }
    Ok(match names.is_empty() {
        true => Scope::All,
        false => Scope::Namespaces(names),
    })
}

/// Holds the claims of this installation; returns once another one took one of them.
async fn claimed(claims: Claims, ready: Readiness) -> claims::Lost {
    let held = || ready.done(CLAIMS);
    claims.run(held, |why| ready.waits(CLAIMS, why)).await
}

/// Leads, once elected, until `resigned`. Who is not ready must not lead.
async fn lead(
    election: Option<Election>,
    grant: Grant,
    metrics: Metrics,
    ready: Readiness,
    resigned: CancellationToken,
) -> Result<(), election::Error> {
    tokio::select! {
        () = ready.ready() => {}
        () = resigned.cancelled() => return Ok(()),
    }
    if let Some(election) = election {
        return election.run(grant, resigned).await;
    }
    metrics.leading(true);
    grant.open();
    resigned.cancelled().await;
    Ok(())
}

/// A name that no other replica has.
fn some_name(instance: &str) -> String {
    format!("{instance}-{:08x}", rand::random::<u32>())
}

fn lease_duration(text: &str) -> Result<Duration, String> {
    let parsed = duration::parse(text).ok_or_else(|| "write it like 10s or 1m".to_owned())?;
    election::long_enough(parsed).map_err(|error| error.to_string())
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
