//! DatabricksApp: one app in one workspace.
//!
//! ```text
//! spec ─────────┐
//! remote ───────┼─► plan ──► steps, wait, refusals ──► act ──► report
//! memory, memo ─┘  (pure)                                     (pure)
//! ```

pub mod act;
pub mod claim;
pub mod digest;
pub mod memo;
pub mod observe;
pub mod plan;
pub mod report;
pub mod spec;
pub mod wire;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::status::Reason;
use crate::engine::controller::Objects;
use crate::engine::index::Ref;
use crate::engine::managed::{Managed, Outcome, Report, Trouble};
use crate::engine::plan::{Fate, Plan, Wish};
use crate::worlds::databricks::{Board, Connection, Hub, WORKSPACE};
use memo::Memo;
use plan::{Inputs, Observed, Step};
use spec::{AppDetails, AppMemory, DatabricksApp, InFlight, InFlightStep};
use wire::RemoteApp;

/// The kind's name.
pub const APP: &str = "DatabricksApp";

/// What all apps share.
pub struct Apps {
    pub hub: Arc<Hub>,
    pub objects: Objects<DatabricksApp>,
}

/// One workspace, as an app acts on it.
pub struct World {
    pub connection: Arc<Connection>,
    pub board: Arc<Board<RemoteApp>>,
    pub memo: Arc<Memo>,
    /// `None` before the first successful probe.
    pub identity: Option<String>,
    /// Everyone who declares the same remote name, this object among them.
    pub claimants: Vec<claim::Claimant>,
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

    fn refs(&self) -> Vec<Ref> {
        let namespace = self.namespace().unwrap_or_default();
        let workspace = self.spec.workspace_ref.resolve(&namespace);
        vec![
            Ref::Spec(crate::engine::index::Key::new(WORKSPACE, workspace.clone())),
            Board::<RemoteApp>::reference(&workspace, self.remote_name()),
        ]
    }

    fn suspended(&self) -> bool {
        self.spec.suspend
    }

    fn owns_nothing(memory: &AppMemory) -> bool {
        memory.app.is_none() && memory.in_flight.is_none()
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
        let connection = apps
            .hub
            .open(&self.spec.workspace_ref, &namespace, wish)
            .await?;
        let identity = connection.identity().map(|i| i.user_name);
        Ok(World {
            board: connection.board(),
            memo: connection.memo(),
            identity,
            claimants: self.claimants(apps),
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
        observe::observe(self, memory, world, wish, changed).await
    }

    fn plan(&self, inputs: &Inputs<'_>) -> Plan<Step> {
        plan::plan(self, inputs)
    }

    fn ahead(&self, step: &Step, memory: &AppMemory, at: Timestamp) -> Option<AppMemory> {
        let (step, digest, last_deployment_id) = match step {
            Step::Create { .. } => (InFlightStep::Create, String::new(), String::new()),
            Step::Deploy {
                digest,
                last_deployment_id,
                ..
            } => (
                InFlightStep::Deploy,
                digest.clone(),
                last_deployment_id.clone(),
            ),
            Step::Grant { .. } | Step::Update { .. } | Step::Start | Step::Stop | Step::Delete => {
                return None;
            }
        };
        Some(AppMemory {
            in_flight: Some(InFlight {
                step,
                digest,
                last_deployment_id,
                since: at.to_string(),
            }),
            ..memory.clone()
        })
    }

    async fn act(&self, step: &Step, world: &World) -> Result<act::Effect, Trouble> {
        act::act(self, step, world).await
    }

    fn report(&self, outcome: &Outcome<'_, Self>) -> Report<Self> {
        report::report(self, outcome)
    }
}

impl DatabricksApp {
    /// Everyone who declares the same app, as the index and the caches know them.
    fn claimants(&self, apps: &Apps) -> Vec<claim::Claimant> {
        let namespace = self.namespace().unwrap_or_default();
        let workspace = self.spec.workspace_ref.resolve(&namespace);
        let shared = Board::<RemoteApp>::reference(&workspace, self.remote_name());
        let own = self.claimant();
        let mut claimants: Vec<_> = apps
            .hub
            .index
            .holders(&shared)
            .into_iter()
            // Else a tenant could take a name away by declaring it in a workspace that is not open to them.
            .filter(|key| apps.hub.admitted(&workspace, &key.name.namespace))
            .filter_map(|key| crate::engine::controller::find(&apps.objects, &key.name))
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
