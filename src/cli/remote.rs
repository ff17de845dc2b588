//! What commands look at: the cluster's objects and the workspaces they name, once, through the operator's own parts.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::ListParams;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::reflector;
use kube::runtime::watcher::Event;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::mpsc::UnboundedReceiver;

use super::cluster;
use super::hosts::Hosts;
use super::input::Input;
use crate::api::names::ObjectName;
use crate::api::workspace::{AllowedFrom, DatabricksWorkspace};
use crate::databricks::{HostPolicy, Timeouts};
use crate::engine::index::{Change, Index, Key};
use crate::engine::managed::{Managed, Trouble};
use crate::engine::reconcile::name_of;
use crate::engine::watching::Scope;
use crate::kinds::DatabricksApp;
use crate::kinds::app::wire::RemoteApp;
use crate::kinds::app::{Apps, Cluster};
use crate::telemetry::{Clock, Metrics};
use crate::term::Term;
use crate::worlds::databricks::{Connection, Hub, HubSettings, WORKSPACE};

/// Objects a page of a list.
const PAGE: u32 = 500;
/// Who calls a workspace for a command.
const INSTANCE: &str = "command-line";

/// Why the cluster could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    #[error("reading DatabricksWorkspace {name}: {source}")]
    Workspace {
        name: ObjectName,
        #[source]
        source: Box<kube::Error>,
    },
    #[error(
        "listing DatabricksApps: {0}; a command needs them to know which app belongs to which object"
    )]
    Apps(#[source] Box<kube::Error>),
    #[error("listing namespaces, for spec.allowedNamespaces.selector: {0}")]
    Namespaces(#[source] Box<kube::Error>),
    #[error("reading AppOfApps {name}: {source}")]
    Parent {
        name: ObjectName,
        #[source]
        source: Box<kube::Error>,
    },
    #[error("listing DatabricksWorkspaces, which a generator reads: {0}")]
    Workspaces(#[source] Box<kube::Error>),
    #[error("listing ConfigMaps of namespace {namespace}, which a generator reads: {source}")]
    ConfigMaps {
        namespace: String,
        #[source]
        source: Box<kube::Error>,
    },
}

/// The cluster, with what the input holds over it. Nothing is ever written through it.
pub struct Remote {
    pub kube: Client,
    /// Of manifests that name none.
    pub namespace: String,
    /// From the input.
    workspaces: BTreeMap<ObjectName, DatabricksWorkspace>,
    /// Labels of namespaces, from the input.
    namespaces: BTreeMap<String, PartialObjectMeta<Namespace>>,
    policy: HostPolicy,
}

impl Remote {
    /// Connects to the cluster. `namespace`: of manifests that name none, instead of KUBECONFIG's.
    pub async fn open(
        input: &Input,
        namespace: Option<String>,
        hosts: Hosts,
    ) -> Result<Self, Error> {
        let config = cluster::config().await?;
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        let over: Vec<Value> = input
            .foreign
            .iter()
            .map(|object| placed(object, &namespace))
            .collect();
        let client = cluster::client(&config, Some(cluster::READ_TIMEOUT))?;
        let kube = cluster::read_only(&client, &over);
        // One that the API server would refuse leaves the cluster's in place.
        let declared = input.manifests.iter().filter(|m| m.kind == WORKSPACE);
        let workspaces = declared
            .filter_map(|m| serde_json::from_value(placed(&m.object, &namespace)).ok())
            .map(|workspace: DatabricksWorkspace| (name_of(&workspace), workspace))
            .collect();
        let labelled = input.foreign.iter().filter(|o| is_namespace(o));
        let namespaces = labelled
            .filter_map(|o| serde_json::from_value(o.clone()).ok())
            .map(|n: PartialObjectMeta<Namespace>| (n.name_any(), n))
            .collect();
        Ok(Self {
            kube,
            namespace,
            workspaces,
            namespaces,
            policy: hosts.policy(),
        })
    }

    /// The apps of the cluster; those that cannot be decoded are left out, as nobody manages them.
    pub async fn apps(&self) -> Result<Vec<DatabricksApp>, Error> {
        let api: Api<DeserializeGuard<DatabricksApp>> = Api::all(self.kube.clone());
        let all = list(&api, ListParams::default()).await;
        let all = all.map_err(|source| Error::Apps(Box::new(source)))?;
        Ok(all
            .into_iter()
            .filter_map(|guarded| guarded.0.ok())
            .collect())
    }

    /// The Workspace of that name, from the input or else from the cluster.
    pub async fn workspace(&self, name: &ObjectName) -> Result<Option<DatabricksWorkspace>, Error> {
        if let Some(workspace) = self.workspaces.get(name) {
            return Ok(Some(workspace.clone()));
        }
        let api: Api<DatabricksWorkspace> = Api::namespaced(self.kube.clone(), &name.namespace);
        api.get_opt(&name.name)
            .await
            .map_err(|source| Error::Workspace {
                name: name.clone(),
                source: Box::new(source),
            })
    }

    /// All Workspaces that can be read, those of the input over the cluster's.
    async fn known_workspaces(&self) -> BTreeMap<ObjectName, DatabricksWorkspace> {
        let api: Api<DeserializeGuard<DatabricksWorkspace>> = Api::all(self.kube.clone());
        let live = list(&api, ListParams::default()).await;
        let live = live.unwrap_or_else(|error| {
            eprintln!(
                "note: listing DatabricksWorkspaces: {error}; whether others connect to the same workspace is not known"
            );
            Vec::new()
        });
        let live = live.into_iter().filter_map(|guarded| guarded.0.ok());
        let mut known: BTreeMap<_, _> = live.map(|w| (name_of(&w), w)).collect();
        for (name, workspace) in &self.workspaces {
            let mut workspace = workspace.clone();
            // What the operator found there holds on.
            workspace.status = known.remove(name).and_then(|before| before.status);
            known.insert(name.clone(), workspace);
        }
        known
    }

    /// What the operator's passes over `apps` would share, with a first look at each of the workspaces.
    pub async fn look(
        &self,
        names: &BTreeSet<ObjectName>,
        apps: &[DatabricksApp],
        cluster: Cluster,
    ) -> Result<Looked, Error> {
        let mut known = self.known_workspaces().await;
        let mut workspaces = Vec::new();
        for name in names {
            match known.get(name) {
                Some(workspace) => workspaces.push(workspace.clone()),
                None => workspaces.extend(self.workspace(name).await?),
            }
        }
        known.extend(workspaces.iter().map(|w| (name_of(w), w.clone())));
        let namespaces = self.labels(&workspaces).await?;
        let index = Arc::new(Index::default());
        let woken = index.queue(WORKSPACE);
        for (name, workspace) in &known {
            let key = Key::new(WORKSPACE, name.clone());
            index.saw(&key, workspace.refs(), Change::Spec);
        }
        for app in apps {
            let key = Key::new(DatabricksApp::KIND, name_of(app));
            index.saw(&key, app.refs(), Change::Spec);
        }
        let settings = HubSettings {
            host_policy: self.policy.clone(),
            user_agent: cluster::user_agent(INSTANCE),
            timeouts: Timeouts::default(),
            clock: Clock::real(),
            metrics: Metrics::new(),
            // Only looks.
            term: Term::never(),
            scope: Scope::All,
        };
        let hub = Arc::new(Hub::new(
            self.kube.clone(),
            store(known.into_values().map(|w| DeserializeGuard(Ok(w)))),
            store(namespaces),
            index,
            settings,
        ));
        let shared = Apps {
            hub,
            objects: store(apps.iter().cloned().map(|app| DeserializeGuard(Ok(app)))),
            cluster: Arc::new(cluster),
        };
        let mut looked = Looked {
            shared,
            unreachable: BTreeMap::new(),
            _connections: Vec::new(),
        };
        looked.connect(&workspaces, woken).await;
        Ok(looked)
    }

    /// Labels of all namespaces, if a Workspace asks for them.
    async fn labels(
        &self,
        workspaces: &[DatabricksWorkspace],
    ) -> Result<Vec<PartialObjectMeta<Namespace>>, Error> {
        let selects = |w: &DatabricksWorkspace| {
            let allowed = w.spec.allowed_namespaces.as_ref();
            allowed.is_some_and(|a| a.from == AllowedFrom::Selector)
        };
        if !workspaces.iter().any(selects) {
            return Ok(Vec::new());
        }
        self.namespaces().await
    }

    /// All namespaces, those of the input over the cluster's.
    pub async fn namespaces(&self) -> Result<Vec<PartialObjectMeta<Namespace>>, Error> {
        let api: Api<Namespace> = Api::all(self.kube.clone());
        let list = api.list_metadata(&ListParams::default()).await;
        let list = list.map_err(|source| Error::Namespaces(Box::new(source)))?;
        let mut known = self.namespaces.clone();
        for namespace in list.items {
            known.entry(namespace.name_any()).or_insert(namespace);
        }
        Ok(known.into_values().collect())
    }
}

/// All objects; none of a kind that the cluster does not have.
pub async fn list<K>(api: &Api<K>, params: ListParams) -> Result<Vec<K>, kube::Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    let mut all = Vec::new();
    let mut params = params.limit(PAGE);
    loop {
        let page = match api.list(&params).await {
            Ok(page) => page,
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(all),
            Err(error) => return Err(error),
        };
        all.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return Ok(all),
        }
    }
}

/// Everything that a pass over an app shares with others, and which workspaces could not be looked at.
pub struct Looked {
    pub shared: Apps,
    pub unreachable: BTreeMap<ObjectName, Trouble>,
    /// A connection ends when nobody holds it.
    _connections: Vec<Arc<Connection>>,
}

impl Looked {
    /// Connects to each Workspace and waits for who the operator is there and for a list of its apps. What fails at once
    /// is told by the opening of each app.
    async fn connect(
        &mut self,
        workspaces: &[DatabricksWorkspace],
        mut woken: UnboundedReceiver<ObjectName>,
    ) {
        for workspace in workspaces {
            let Ok(connection) = self.shared.hub.connection(workspace).await else {
                continue;
            };
            let board = connection.board::<RemoteApp>();
            loop {
                if let Some(problem) = connection.problem() {
                    self.unreachable.insert(name_of(workspace), problem);
                    break;
                }
                if connection.identity().is_some() && board.newest_list().is_some() {
                    break;
                }
                if woken.recv().await.is_none() {
                    break;
                }
            }
            self._connections.push(connection);
        }
    }
}

/// A store that holds just these objects, as a watch would have filled it.
fn store<K>(objects: impl IntoIterator<Item = K>) -> reflector::Store<K>
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    let (store, mut writer) = reflector::store();
    for object in objects {
        writer.apply_watcher_event(&Event::Apply(object));
    }
    store
}

fn is_namespace(object: &Value) -> bool {
    object["apiVersion"] == "v1" && object["kind"] == "Namespace"
}

/// The object in the namespace that it goes to.
pub fn placed(object: &Value, namespace: &str) -> Value {
    let mut object = object.clone();
    if !is_namespace(&object)
        && object["metadata"].is_object()
        && !object["metadata"]["namespace"].is_string()
    {
        object["metadata"]["namespace"] = namespace.into();
    }
    object
}
