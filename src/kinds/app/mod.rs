//! DatabricksApp: one app in one workspace.
//!
//! ```text
//! spec ─────────┐
//! remote ───────┼─► plan ──► steps, wait, refusals ──► act ──► report
//! memory, memo ─┘  (pure)                                     (pure)
//! ```

pub mod acl;
pub mod act;
pub mod claim;
pub mod code;
pub mod export;
pub mod fields;
pub mod fuzz;
pub mod guard;
pub mod looks;
pub mod memo;
pub mod model;
pub mod observe;
pub mod plan;
pub mod report;
pub mod schema;
pub mod spec;
pub mod wire;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;
use kube::{Client, ResourceExt};
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::api::management::{Deletion, Mode};
use crate::api::status::{Reason, Status};
use crate::databricks::HostPattern;
use crate::engine::controller::{Objects, find};
use crate::engine::fold::Hold;
use crate::engine::index::{Key, Ref};
use crate::engine::managed::{Acted, Managed, Outcome, Report, Trouble};
use crate::engine::plan::{Fate, Plan, Wish};
use crate::telemetry::metrics::Total;
use crate::worlds::artifact::Artifacts;
use crate::worlds::databricks::{Board, Connection, Hub, Opened, WORKSPACE};
use crate::worlds::keyed::{self, DigestKey};
use memo::Memo;
use observe::Asked;
use plan::{Inputs, Observed, Step};
use spec::{AppDetails, AppMemory, DatabricksApp, InFlight};
use wire::RemoteApp;

/// The kind's name.
pub const APP: &str = "DatabricksApp";

/// What all apps share.
pub struct Apps {
    pub hub: Arc<Hub>,
    pub objects: Objects<DatabricksApp>,
    pub cluster: Arc<Cluster>,
}

/// What apps read in the cluster besides their own kinds.
pub struct Cluster {
    pub kube: Client,
    pub artifacts: Artifacts,
    /// The operator's own namespace.
    namespace: String,
    digest_key: OnceCell<DigestKey>,
}

impl Cluster {
    pub fn new(kube: Client, namespace: String, artifact_hosts: Vec<HostPattern>) -> Self {
        Self {
            artifacts: Artifacts::new(kube.clone(), artifact_hosts),
            kube,
            namespace,
            digest_key: OnceCell::new(),
        }
    }

    /// As [`Cluster::new`], with a key for digests that is at hand.
    pub fn with_digest_key(self, key: DigestKey) -> Self {
        Self {
            digest_key: OnceCell::new_with(Some(key)),
            ..self
        }
    }

    /// The key that tells whether a Secret value changed; made at the first need.
    pub async fn digest_key(&self) -> Result<&DigestKey, keyed::Error> {
        let open = || DigestKey::open(&self.kube, &self.namespace);
        self.digest_key.get_or_try_init(open).await
    }
}

/// One workspace, as an app acts on it.
pub struct World {
    pub connection: Arc<Connection>,
    pub board: Arc<Board<RemoteApp>>,
    pub memo: Arc<Memo>,
    pub cluster: Arc<Cluster>,
    /// Why nothing may be written.
    pub freeze: Option<Hold>,
    /// Most apps the workspace may hold.
    pub max_apps: Option<usize>,
    /// `None` before the first successful probe.
    pub identity: Option<String>,
    /// Everyone who declares the same remote name, this object among them.
    pub claimants: Vec<claim::Claimant>,
}

impl World {
    /// The app of that name, as a GET shows it; `None`: there is none.
    pub async fn read(&self, name: &str) -> Result<Option<Value>, Trouble> {
        observe::get(self, name).await
    }

    /// Direct grants on the app of that name.
    pub async fn grants(&self, name: &str) -> Result<acl::Acl, Trouble> {
        let read = observe::access::read_acl(self, name).await;
        read.map_err(|error| observe::unread("reading the grants", &error, self))
    }
}

impl Managed for DatabricksApp {
    type Hub = Apps;
    type World = World;
    type Observed = Observed;
    type Step = Step;
    type Effect = act::Effect;
    type Memory = AppMemory;
    type Details = AppDetails;

    const KIND: &'static str = APP;
    const ORPHANS: &'static str = "spec.management.deletion: Orphan";

    fn refs(&self) -> Vec<Ref> {
        let namespace = self.namespace().unwrap_or_default();
        let workspace = self.spec.workspace_ref.resolve(&namespace);
        vec![
            Ref::Spec(Key::new(WORKSPACE, workspace.clone())),
            Board::<RemoteApp>::reference(&workspace, self.remote_name()),
        ]
    }

    fn mode(&self) -> Mode {
        self.management().mode
    }

    fn frozen(world: &World) -> Option<Hold> {
        world.freeze.clone()
    }

    fn identity(world: &World) -> String {
        world.identity.clone().unwrap_or_default()
    }

    fn needless(&self, step: &Step, seen: &Observed) -> bool {
        act::needless(step, seen)
    }

    fn suspended(&self) -> bool {
        self.spec.suspend
    }

    fn totals(&self, status: &Status<AppMemory, AppDetails>) -> Vec<(Total, i64)> {
        let workspace = &self.spec.workspace_ref;
        let workspace = workspace.resolve(&self.namespace().unwrap_or_default());
        let state = report::state(&status.conditions);
        vec![(Total::Apps(workspace.to_string(), state), 1)]
    }

    fn lets_go(&self, memory: &AppMemory) -> bool {
        let uploads = memory
            .source
            .as_ref()
            .is_some_and(|s| !s.uploads.is_empty());
        let nothing = memory.app.is_none() && memory.in_flight.is_none() && !uploads;
        nothing || self.management().deletion == Deletion::Orphan
    }

    async fn open(&self, apps: &Apps, wish: Wish) -> Result<World, Trouble> {
        let name = self.remote_name();
        if !is_app_name(name) {
            return Err(Trouble::new(
                Reason::InvalidSpec,
                format!(
                    "spec.name {name:?} is no app name: 2 to 30 of a-z, 0-9 and -, starting with a letter; correct it"
                ),
                Fate::Stalled { recheck: None },
            ));
        }
        let namespace = self.namespace().unwrap_or_default();
        let Opened {
            connection,
            freeze,
            max_apps,
        } = apps
            .hub
            .open(&self.spec.workspace_ref, &namespace, wish)
            .await?;
        let identity = connection.identity();
        let place = identity.as_ref().and_then(|i| i.workspace_id.as_deref());
        let claimants = self.claimants(apps, place);
        let identity = identity.map(|i| i.user_name);
        Ok(World {
            board: connection.board(),
            memo: connection.memo(),
            identity,
            claimants,
            cluster: apps.cluster.clone(),
            freeze,
            max_apps,
            connection,
        })
    }

    async fn observe(
        &self,
        memory: &AppMemory,
        world: &World,
        wish: Wish,
        changed: bool,
    ) -> Result<Observed, Trouble> {
        let forced = observe::look_requested(self, memory);
        let asked = Asked {
            wish,
            changed,
            forced,
        };
        observe::observe(self, memory, world, asked).await
    }

    fn plan(&self, inputs: &Inputs<'_>) -> Plan<Step> {
        plan::plan(self, inputs)
    }

    fn ahead(&self, step: &Step, memory: &AppMemory, at: Timestamp) -> Option<AppMemory> {
        let mut in_flight = InFlight {
            step: step.written_ahead()?,
            digest: String::new(),
            last_deployment_id: String::new(),
            rejected: None,
            since: at.to_string(),
        };
        if let Step::Deploy {
            digest,
            last_deployment_id,
            rejected,
            ..
        } = step
        {
            in_flight.rejected.clone_from(rejected);
            in_flight.digest.clone_from(digest);
            in_flight.last_deployment_id.clone_from(last_deployment_id);
        }
        Some(AppMemory {
            in_flight: Some(in_flight),
            ..memory.clone()
        })
    }

    async fn act(&self, step: &Step, world: &World) -> Result<Acted<act::Effect>, Trouble> {
        act::act(self, step, world).await
    }

    fn report(&self, outcome: &Outcome<'_, Self>) -> Report<Self> {
        report::report(self, outcome)
    }
}

impl DatabricksApp {
    /// Looks at everything once, as a pass does that an annotation asked for, and at what a pass only looks at once the
    /// service has refused something; reads only.
    pub async fn look(
        &self,
        memory: &AppMemory,
        world: &World,
        wish: Wish,
    ) -> Result<Observed, Trouble> {
        let asked = Asked {
            wish,
            changed: true,
            forced: true,
        };
        let mut seen = observe::observe(self, memory, world, asked).await?;
        if self.watched_folder().is_some() {
            // A folder counts as at rest once two looks at it are equal.
            seen = observe::observe(self, memory, world, asked).await?;
        }
        observe::access::principals(self, world, &mut seen).await;
        Ok(seen)
    }

    /// Everyone who declares the same app, by whichever DatabricksWorkspace, as the index and the caches know them.
    /// `place`: the workspace's own id.
    fn claimants(&self, apps: &Apps, place: Option<&str>) -> Vec<claim::Claimant> {
        let namespace = self.namespace().unwrap_or_default();
        let workspace = Key::new(WORKSPACE, self.spec.workspace_ref.resolve(&namespace));
        let own = self.claimant();
        let index = &apps.hub.index;
        let twins = index.twins(&workspace, place);
        let mut claimants: Vec<_> = Board::<RemoteApp>::holders(index, &twins, self.remote_name())
            // Else a tenant could take a name away by declaring it in a workspace that is not open to them.
            .filter(|(twin, key)| apps.hub.admitted(twin, &key.name.namespace))
            .filter_map(|(_, key)| find(&apps.objects, &key.name))
            .filter_map(|guarded| guarded.0.as_ref().ok().map(DatabricksApp::claimant))
            .filter(|other| other.uid != own.uid)
            .collect();
        claimants.push(own);
        claimants
    }

    fn claimant(&self) -> claim::Claimant {
        let recorded = self.status.as_ref().and_then(|s| s.memory.app.as_ref());
        claim::Claimant {
            name: crate::engine::reconcile::name_of(self),
            uid: self.uid().unwrap_or_default(),
            created: self.metadata.creation_timestamp.as_ref().map(|t| t.0),
            recorded: recorded.map(|a| a.id.clone()),
            deleting: self.metadata.deletion_timestamp.is_some(),
        }
    }
}

fn is_app_name(name: &str) -> bool {
    (2..=30).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}
