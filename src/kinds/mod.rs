//! Floor 4: the kinds. A kind is one room: its spec, what it looks at, and the pure plan that follows.
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Client, CustomResourceExt};
use tokio_util::sync::CancellationToken;

use crate::admission::Admission;
use crate::api::app_of_apps::AppOfApps;
use crate::api::workspace::DatabricksWorkspace;
use crate::databricks::HostPattern;
use crate::engine::controller::{self, Cache, Watched};
use crate::engine::events::Events;
use crate::engine::index::Index;
use crate::engine::managed::Managed;
use crate::engine::reconcile::Reconciler;
use crate::engine::synced::Synced;
use crate::engine::watching::Scope;
use crate::telemetry::{Clock, Metrics};
use crate::term::Term;
use crate::worlds::cluster::Cluster;
use crate::worlds::databricks::{Hub, HubSettings, Namespaces};
use crate::worlds::inputs::ConfigMaps;

pub mod app;
pub mod app_of_apps;
pub mod workspace;

pub use app::spec::DatabricksApp;

/// What running all kinds takes.
#[derive(Clone)]
pub struct Running {
    /// Lists and watches: no read timeout, a quiet watch is no failure.
    pub watching: Client,
    /// Everything else.
    pub requests: Client,
    /// The namespaces whose objects are looked after.
    pub scope: Scope,
    pub index: Arc<Index>,
    pub hub: HubSettings,
    /// The operator's own namespace, where the key for digests lies.
    pub namespace: String,
    /// Hosts that Flux artifacts may come from.
    pub artifact_hosts: Vec<HostPattern>,
    pub clock: Clock,
    pub metrics: Metrics,
    pub events: Events,
    /// Names and labels of namespaces, for `allowedNamespaces`.
    pub namespaces: Namespaces,
    pub namespaces_synced: Synced,
    /// ConfigMaps that parents take elements from.
    pub config_maps: ConfigMaps,
    /// The definitions of all kinds, by which children are judged before they are written.
    pub admission: Arc<Admission>,
    /// Passes are made while it is held; `requests` and `hub` ask it before each write.
    pub term: Term,
    pub shutdown: CancellationToken,
}

/// Whether the caches of all kinds are filled, by kind: the operator is ready once they are.
pub type AllSynced = Vec<(&'static str, Synced)>;

/// One line a kind: everything that has to know them all is derived from it. The line gives the kind, its cache's name,
/// how long what wakes one object is gathered (wire time), and what its objects share.
macro_rules! kinds {
    ($($kind:ident $cache:ident $gather:literal => |$running:ident, $hub:ident, $caches:ident| $shared:expr;)+) => {
        /// The definitions of all kinds, as kube derives them, with what their tables of fields add.
        pub fn crds() -> Vec<CustomResourceDefinition> {
            let mut crds = vec![$($kind::crd()),+];
            // kube names the derived type; people want to know what the kind is.
            for version in crds.iter_mut().flat_map(|crd| &mut crd.spec.versions) {
                let schema = version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut());
                if let Some(schema) = schema {
                    let spec = schema.properties.as_ref().and_then(|p| p.get("spec"));
                    schema.description = spec.and_then(|spec| spec.description.clone());
                }
            }
            for crd in crds.iter_mut().filter(|crd| crd.spec.names.kind == app::APP) {
                app::schema::decorate(crd);
            }
            crds
        }

        /// The objects of every kind, as kinds read each other's; of some kinds nobody does.
        #[allow(dead_code)]
        struct Caches { $($cache: Watched<$kind>),+ }

        /// Watches every kind. The future ends after `shutdown`, once the passes under way have finished.
        pub fn run_all(running: Running) -> (AllSynced, futures::future::BoxFuture<'static, ()>) {
            $(let $cache = Cache::<$kind>::default();)+
            let caches = Caches { $($cache: $cache.watched()),+ };
            let hub = Arc::new(Hub::new(
                running.requests.clone(),
                caches.workspaces.objects.clone(),
                running.namespaces.clone(),
                running.index.clone(),
                running.hub.clone(),
            ));
            let synced = vec![$((<$kind as Managed>::KIND, caches.$cache.synced.clone())),+];
            let tasks: Vec<tokio::task::JoinHandle<()>> = vec![$({
                let shared = { let ($running, $hub, $caches) = (&running, &hub, &caches); $shared };
                tokio::spawn(run(&running, $cache, Arc::new(shared), Duration::from_millis($gather)))
            }),+];
            let ended = async move {
                for task in tasks {
                    // A panic in a controller has been logged by the runtime, and the others are told to stop.
                    let _ = task.await;
                }
            };
            (synced, Box::pin(ended))
        }
    };
}

kinds! {
    DatabricksWorkspace workspaces 0 => |_running, hub, _caches| hub.clone();
    DatabricksApp apps 0 => |running, hub, caches| app::Apps {
        hub: hub.clone(),
        objects: caches.apps.objects.clone(),
        cluster: Arc::new(app::Cluster::new(running.requests.clone(), running.namespace.clone(), running.artifact_hosts.clone())),
    };
    AppOfApps fleets 1000 => |running, hub, caches| app_of_apps::Fleets {
        cluster: Arc::new(Cluster::new(running.requests.clone(), app::APP, "databricksapps", running.clock)),
        apps: caches.apps.clone(),
        inputs: app_of_apps::FleetInputs {
            hub: hub.clone(),
            workspaces: caches.workspaces.synced.clone(),
            namespaces: running.namespaces_synced.clone(),
            config_maps: running.config_maps.clone(),
        },
        admission: running.admission.clone(),
        clock: running.clock,
        since: running.clock.now(),
        memories: Default::default(),
    };
}

fn run<K: Managed>(
    running: &Running,
    cache: Cache<K>,
    shared: Arc<K::Hub>,
    gather: Duration,
) -> impl Future<Output = ()> + Send + 'static {
    let reconciler = Reconciler::<K>::new(
        running.requests.clone(),
        shared,
        running.clock,
        running.metrics.clone(),
        running.events.clone(),
    );
    let settings = controller::Settings {
        watching: running.watching.clone(),
        scope: running.scope.clone(),
        index: running.index.clone(),
        metrics: running.metrics.clone(),
        gather,
        term: running.term.clone(),
        shutdown: running.shutdown.clone(),
    };
    controller::run(cache, reconciler, settings)
}
