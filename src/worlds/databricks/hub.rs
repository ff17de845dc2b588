//! From a reference to a connection: the one way to a workspace.
use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::core::{DeserializeGuard, Selector, SelectorExt};
use kube::runtime::reflector::ObjectRef;
use kube::{Client as Kube, ResourceExt};
use serde_json::json;
use tokio::sync::Mutex;
use url::Url;

use super::connection::{Connection, Parts};
use super::namespaces::Namespaces;
use super::secrets::{SecretSource, ca_bundle};
use super::trouble;
use crate::api::names::{ObjectName, WorkspaceRef};
use crate::api::status::Reason;
use crate::api::workspace::{AllowedFrom, DatabricksWorkspace};
use crate::api::{annotation, digest, duration};
use crate::databricks::{Client, ClientSettings, Error, HostPolicy, Timeouts, UserAgent};
use crate::engine::controller::{Objects, find};
use crate::engine::fold::Hold;
use crate::engine::index::{Index, Key};
use crate::engine::managed::Trouble;
use crate::engine::plan::{Fate, SLOW, Wish};
use crate::engine::reconcile::name_of;
use crate::engine::watching::Scope;
use crate::telemetry::{Clock, Metrics};
use crate::term::Term;

/// The kind of a Workspace in the index.
pub const WORKSPACE: &str = "DatabricksWorkspace";

/// What all connections have in common.
#[derive(Clone)]
pub struct HubSettings {
    pub host_policy: HostPolicy,
    pub user_agent: UserAgent,
    pub timeouts: Timeouts,
    pub clock: Clock,
    pub metrics: Metrics,
    pub term: Term,
    /// The namespaces whose Workspaces are known.
    pub scope: Scope,
}

/// A connection is rebuilt when its Workspace's uid changes, or what of its spec the connection is made of: a freeze must
/// not cost what is known of the workspace.
type Version = (Option<String>, String);

/// A connection, and what its Workspace says of its use.
pub struct Opened {
    pub connection: Arc<Connection>,
    /// Why nothing may be written.
    pub freeze: Option<Hold>,
    /// Most apps the workspace may hold.
    pub max_apps: Option<usize>,
}

/// What a namespace may use.
#[derive(Default)]
pub struct Admitting {
    /// All decoded.
    pub workspaces: Vec<Arc<DeserializeGuard<DatabricksWorkspace>>>,
    /// Workspaces that cannot be decoded: whom they admit is not known.
    pub unreadable: Vec<ObjectName>,
}

/// Whether the Workspace, which lies in `home`, admits objects of a namespace with these labels.
pub fn admits(
    workspace: &DatabricksWorkspace,
    home: &str,
    namespace: &str,
    labels: &BTreeMap<String, String>,
) -> bool {
    let allowed = workspace.spec.allowed_namespaces.as_ref();
    match allowed.map(|allowed| allowed.from).unwrap_or_default() {
        _ if namespace == home => true,
        AllowedFrom::Same => false,
        AllowedFrom::All => true,
        AllowedFrom::Selector => {
            let selector = allowed.and_then(|allowed| allowed.selector.clone());
            let selector = selector.and_then(|s| Selector::try_from(s).ok());
            selector.is_some_and(|s| s.matches(labels))
        }
    }
}

/// All connections, by Workspace.
pub struct Hub {
    kube: Kube,
    workspaces: Objects<DatabricksWorkspace>,
    namespaces: Namespaces,
    pub index: Arc<Index>,
    settings: HubSettings,
    connections: Mutex<HashMap<ObjectName, (Version, Arc<Connection>)>>,
}

impl Hub {
    pub fn new(
        kube: Kube,
        workspaces: Objects<DatabricksWorkspace>,
        namespaces: Namespaces,
        index: Arc<Index>,
        settings: HubSettings,
    ) -> Self {
        Self {
            kube,
            workspaces,
            namespaces,
            index,
            settings,
            connections: Mutex::default(),
        }
    }

    /// The connection that `reference` of an object in `namespace` names, if the Workspace admits that namespace.
    pub async fn open(
        &self,
        reference: &WorkspaceRef,
        namespace: &str,
        wish: Wish,
    ) -> Result<Opened, Trouble> {
        let name = reference.resolve(namespace);
        let guarded = find(&self.workspaces, &name);
        let Some(workspace) = guarded.as_ref().and_then(|w| w.0.as_ref().ok()) else {
            self.close(&name).await;
            let watched = self.settings.scope.namespaces();
            let message = match watched.is_none_or(|names| names.contains(&name.namespace)) {
                true => format!(
                    "spec.workspaceRef: there is no DatabricksWorkspace {name}; create it, or name another one"
                ),
                false => format!(
                    "spec.workspaceRef: the operator does not watch namespace {}; add it to --watch-namespaces, or name a DatabricksWorkspace of a watched one",
                    name.namespace
                ),
            };
            return Err(Trouble::new(
                Reason::WorkspaceNotFound,
                message,
                Fate::Missing { recheck: SLOW },
            ));
        };
        self.admits(workspace, &name, namespace).map_err(|mut trouble| {
            if wish == Wish::Deleting {
                trouble.message = format!(
                    "{}; to let this object go without its app, set the annotation {} to the object's uid",
                    trouble.message,
                    annotation::FORCE_DELETE
                );
            }
            trouble
        })?;
        let connection = self.connection(workspace).await.map_err(|mut trouble| {
            trouble.reason = Reason::WorkspaceNotReady;
            trouble.message = format!("DatabricksWorkspace {name}: {}", trouble.message);
            trouble
        })?;
        // Objects that are being deleted are served by what is still in memory.
        if wish == Wish::Live
            && let Some(problem) = connection.problem()
            && problem.reason == Reason::CredentialsMissing
        {
            let message = format!("DatabricksWorkspace {name}: {}", problem.message);
            return Err(Trouble::new(problem.reason, message, problem.fate));
        }
        Ok(Opened {
            connection,
            freeze: freeze(workspace, &name, self.settings.clock.now()),
            max_apps: workspace
                .spec
                .limits
                .max_apps
                .and_then(|n| usize::try_from(n).ok()),
        })
    }

    /// The uid of a namespace that is known.
    pub fn namespace_uid(&self, namespace: &str) -> Option<String> {
        self.namespaces.get(&ObjectRef::new(namespace))?.uid()
    }

    /// Whether the Workspace exists and admits objects of that namespace; what it does not admit has no say.
    pub fn admitted(&self, name: &ObjectName, namespace: &str) -> bool {
        find(&self.workspaces, name)
            .as_ref()
            .and_then(|w| w.0.as_ref().ok())
            .is_some_and(|workspace| self.admits(workspace, name, namespace).is_ok())
    }

    /// Every Workspace that admits objects of that namespace, in any order; also those being deleted.
    pub fn admitting(&self, namespace: &str) -> Admitting {
        let mut found = Admitting::default();
        for guarded in self.workspaces.state() {
            let name = name_of(guarded.as_ref());
            match &guarded.0 {
                Ok(workspace) if self.admits(workspace, &name, namespace).is_err() => {}
                Ok(_) => found.workspaces.push(guarded),
                Err(_) => found.unreadable.push(name),
            }
        }
        found
    }

    /// Whether some Workspace asks for labels of namespaces: then who may use it is known only with these.
    pub fn selects_namespaces(&self) -> bool {
        let state = self.workspaces.state();
        let mut allowed = state
            .iter()
            .filter_map(|w| w.0.as_ref().ok()?.spec.allowed_namespaces.as_ref());
        allowed.any(|allowed| allowed.from == AllowedFrom::Selector)
    }

    fn admits(
        &self,
        workspace: &DatabricksWorkspace,
        name: &ObjectName,
        namespace: &str,
    ) -> Result<(), Trouble> {
        let known = self.namespaces.get(&ObjectRef::new(namespace));
        let labels = known.as_ref().map(|n| n.labels().clone());
        let labels = labels.unwrap_or_default();
        let admitted = admits(workspace, &name.namespace, namespace, &labels);
        if admitted {
            return Ok(());
        }
        let unread = match known {
            Some(_) => "",
            None => {
                " (the operator could not read the namespace's labels: its role has to let it get, list and watch namespaces, or get this one)"
            }
        };
        Err(Trouble::new(
            Reason::WorkspaceForbidden,
            format!(
                "spec.workspaceRef: DatabricksWorkspace {name} does not admit namespace {namespace}; its owner can widen spec.allowedNamespaces{unread}"
            ),
            Fate::Stalled { recheck: None },
        ))
    }

    /// The connection of a Workspace, built if there is none for its present spec.
    pub async fn connection(
        &self,
        workspace: &DatabricksWorkspace,
    ) -> Result<Arc<Connection>, Trouble> {
        let name = ObjectName::new(
            workspace.namespace().unwrap_or_default(),
            workspace.name_any(),
        );
        let version = (workspace.uid(), made_of(workspace));
        // A deletion raises the generation, and must not cost the credentials in memory.
        let deleting = workspace.metadata.deletion_timestamp.is_some();
        let mut connections = self.connections.lock().await;
        if let Some((known, connection)) = connections.get(&name)
            && (*known == version || (deleting && known.0 == version.0))
        {
            return Ok(connection.clone());
        }
        let connection = self.connect(workspace, name.clone()).await?;
        connections.insert(name, (version, connection.clone()));
        Ok(connection)
    }

    /// Ends the connection of a Workspace that is gone.
    pub async fn close(&self, name: &ObjectName) {
        self.connections.lock().await.remove(name);
    }

    async fn connect(
        &self,
        workspace: &DatabricksWorkspace,
        name: ObjectName,
    ) -> Result<Arc<Connection>, Trouble> {
        let spec = &workspace.spec;
        let refuse = |reason, message: String| {
            Trouble::new(reason, message, Fate::Stalled { recheck: None })
        };
        let host = Url::parse(&spec.host).map_err(|error| {
            refuse(
                Reason::HostNotAllowed,
                format!("spec.host {:?} is no URL ({error}); write it like https://adb-123.4.azuredatabricks.net", spec.host),
            )
        })?;
        // Whoever writes a password into the URL does not want it in conditions and logs, too.
        let mut shown = host.clone();
        let _ = (shown.set_username(""), shown.set_password(None));
        let shown = shown.as_str().trim_end_matches('/').to_owned();
        let interval = |field: &str, text: &str, least: u64, most: u64| {
            let bounds = Duration::from_secs(least)..=Duration::from_secs(most);
            duration::parse(text).filter(|d| bounds.contains(d)).ok_or_else(|| {
                refuse(
                    Reason::InvalidSpec,
                    format!("spec.observe.{field} {text:?} is no duration from {least}s to {most}s; write it like 60s or 10m"),
                )
            })
        };
        let observe = &spec.observe;
        let list_interval = interval("interval", &observe.interval, 10, 3_600)?;
        let permissions_interval = interval(
            "permissionsInterval",
            &observe.permissions_interval,
            60,
            86_400,
        )?;
        let clock = self.settings.clock;
        let failed = |error: &Error| {
            let mut trouble = trouble("spec.host", error, Reason::InvalidSpec, clock);
            trouble.message = format!("spec.host {shown:?}: {error}");
            trouble
        };
        let bundle = match &spec.tls {
            Some(tls) => {
                let key = &tls.ca_bundle_config_map_ref;
                let read = ca_bundle(&self.kube, &name.namespace, key).await;
                Some(read.map_err(|e| failed(&Error::Credentials(e)))?)
            }
            None => None,
        };
        let rate = |n: i32| NonZeroU32::new(n.unsigned_abs()).unwrap_or(NonZeroU32::MIN);
        let client = Client::new(ClientSettings {
            host,
            source: Arc::new(SecretSource {
                client: self.kube.clone(),
                namespace: name.namespace.clone(),
                auth: spec.auth.clone(),
            }),
            host_policy: self.settings.host_policy.clone(),
            requests_per_second: rate(spec.limits.requests_per_second),
            burst: rate(spec.limits.burst),
            ca_bundle: bundle,
            workspace_id: spec.workspace_id.clone(),
            account_id: spec.account_id.clone(),
            user_agent: self.settings.user_agent.clone(),
            timeouts: self.settings.timeouts,
            clock,
            metrics: self.settings.metrics.clone(),
            term: self.settings.term.clone(),
        })
        .map_err(|error| failed(&error))?;
        Ok(Connection::start(Parts {
            key: Key::new(WORKSPACE, name),
            client,
            index: self.index.clone(),
            interval: list_interval,
            permissions_interval,
            metrics: self.settings.metrics.clone(),
        }))
    }
}

/// Digest of what of a spec the connection is made of.
fn made_of(workspace: &DatabricksWorkspace) -> String {
    let spec = &workspace.spec;
    let limits = &spec.limits;
    digest::of(&json!([
        spec.host,
        spec.workspace_id,
        spec.account_id,
        spec.auth,
        spec.tls,
        spec.observe,
        [limits.requests_per_second, limits.burst],
    ]))
}

/// The freeze, unless it is over.
pub fn freeze(workspace: &DatabricksWorkspace, name: &ObjectName, now: Timestamp) -> Option<Hold> {
    let freeze = workspace.spec.freeze.as_ref()?;
    let until: Option<Timestamp> = freeze.until.as_ref().and_then(|u| u.parse().ok());
    if until.is_some_and(|until| until <= now) {
        return None;
    }
    let end = match until {
        Some(until) => format!("until {until}"),
        None => "until its spec.freeze is removed".to_owned(),
    };
    Some(Hold {
        reason: Reason::Frozen,
        message: format!(
            "DatabricksWorkspace {name} is frozen {end}: {}",
            freeze.reason
        ),
        until,
    })
}
