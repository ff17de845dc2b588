//! DatabricksWorkspace: the connection's own conditions, and its place in the way of a deletion while apps use it.
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;

use super::app::APP;
use super::app::wire::RemoteApp;
use crate::api::annotation;
use crate::api::names::ObjectName;
use crate::api::status::{Reason, cut, some};
use crate::api::workspace::{
    AppCounts, DatabricksWorkspace, Identity, UnmanagedApp, UnmanagedApps, WorkspaceDetails,
    WorkspaceMemory,
};
use crate::engine::fold::Verdict;
use crate::engine::index::{Key, Ref};
use crate::engine::managed::{self, Acted, Inputs, Managed, Outcome, Report, Trouble};
use crate::engine::plan::{Fate, Plan, Refusal, Wish};
use crate::engine::reconcile::name_of;
use crate::worlds::databricks::{self, Board, Connection, Hub, WORKSPACE};

/// Entries of a list in the status.
const LISTED: usize = 100;
/// Longest text of such an entry, in bytes.
const ENTRY: usize = 256;
/// Objects named in a message.
const NAMED: usize = 10;
/// What wakes the object comes earlier; this only bounds the wait.
const POLL: Duration = Duration::from_secs(60);

/// One Workspace's connection, or why there is none.
pub struct World {
    hub: Arc<Hub>,
    connection: Result<Arc<Connection>, Trouble>,
    /// Who refers to it.
    users: Vec<ObjectName>,
    /// All that connect to the same place, itself among them.
    twins: BTreeSet<Key>,
}

/// What a pass saw; no call of its own is made, the connection's heartbeat and boards tell.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    problem: Option<Trouble>,
    identity: Option<databricks::Identity>,
    apps: Option<AppCounts>,
    /// Apps that no object declares, by name; none unless they are to be reported.
    unmanaged: Vec<UnmanagedApp>,
    users: Vec<ObjectName>,
}

/// A Workspace is never written to: there are no steps.
#[derive(Clone, Debug)]
pub enum NoStep {}

impl fmt::Display for NoStep {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl managed::Step for NoStep {
    fn verb(&self) -> &'static str {
        match *self {}
    }

    fn fields(&self) -> Vec<&'static str> {
        match *self {}
    }
}

impl Managed for DatabricksWorkspace {
    type Hub = Arc<Hub>;
    type World = World;
    type Observed = Observed;
    type Step = NoStep;
    type Effect = NoStep;
    type Memory = WorkspaceMemory;
    type Details = WorkspaceDetails;

    const KIND: &'static str = WORKSPACE;

    fn refs(&self) -> Vec<Ref> {
        let memory = self.status.as_ref().map(|status| &status.memory);
        let place = memory.and_then(|memory| memory.workspace_id.clone());
        place.into_iter().map(Ref::Place).collect()
    }

    fn suspended(&self) -> bool {
        false
    }

    fn lets_go(&self, _: &WorkspaceMemory) -> bool {
        // Whether apps still use it is seen in a pass.
        false
    }

    async fn open(&self, hub: &Arc<Hub>, _: Wish) -> Result<World, Trouble> {
        let own = Key::new(WORKSPACE, name_of(self));
        let twins = hub.index.twins(&own, None);
        let users = hub.index.holders(&Ref::Spec(own));
        Ok(World {
            hub: hub.clone(),
            connection: hub.connection(self).await,
            users: users
                .into_iter()
                .filter(|k| k.kind == APP)
                .filter(|k| hub.admitted(&name_of(self), &k.name.namespace))
                .map(|k| k.name)
                .collect(),
            twins,
        })
    }

    async fn observe(
        &self,
        memory: &WorkspaceMemory,
        world: &World,
        wish: Wish,
        _: bool,
    ) -> Result<Observed, Trouble> {
        let users = world.users.clone();
        if wish == Wish::Deleting && users.is_empty() {
            world.hub.close(&name_of(self)).await;
            return Ok(Observed::default());
        }
        let connection = match &world.connection {
            Ok(connection) => connection,
            Err(trouble) => {
                return Ok(Observed {
                    problem: Some(trouble.clone()),
                    users,
                    ..Observed::default()
                });
            }
        };
        let handled = memory.last_handled_reconcile_at.as_ref();
        let key = annotation::RECONCILE_REQUESTED_AT;
        if annotation::is_requested(self.annotations(), key, handled) {
            connection.poke();
        }
        let board = connection.board::<RemoteApp>();
        Ok(Observed {
            problem: connection.problem(),
            identity: connection.identity(),
            apps: board.newest_list().map(|_| counts(self, world, &board)),
            unmanaged: unmanaged(self, world, &board),
            users,
        })
    }

    fn plan(&self, inputs: &Inputs<'_, Self>) -> Plan<NoStep> {
        let seen = inputs.seen;
        if inputs.wish == Wish::Deleting {
            if seen.users.is_empty() {
                return Plan::default();
            }
            return Plan::wait(Reason::InUse, in_use(&seen.users), POLL);
        }
        if let Some(problem) = &seen.problem {
            return Plan::refuse(Refusal {
                reason: problem.reason,
                message: problem.message.clone(),
                // The heartbeat looks again; its outcome wakes the object.
                fate: match problem.fate {
                    Fate::Stalled { .. } => Fate::Stalled { recheck: None },
                    Fate::Missing { recheck } => Fate::Missing { recheck },
                    Fate::Retry | Fate::After(_) => Fate::After(POLL),
                },
            });
        }
        if seen.identity.is_none() {
            return Plan::wait(
                Reason::Observing,
                "asking the workspace who the operator is",
                POLL,
            );
        }
        Plan::default()
    }

    fn ahead(&self, step: &NoStep, _: &WorkspaceMemory, _: Timestamp) -> Option<WorkspaceMemory> {
        match *step {}
    }

    async fn act(&self, step: &NoStep, _: &World) -> Result<Acted<NoStep>, Trouble> {
        match *step {}
    }

    fn report(&self, outcome: &Outcome<'_, Self>) -> Report<Self> {
        let mut memory = outcome.memory.clone();
        let mut details = outcome.details.clone();
        memory.last_handled_reconcile_at = self
            .annotations()
            .get(annotation::RECONCILE_REQUESTED_AT)
            .cloned();
        if let Some(seen) = outcome.seen {
            if let Some(identity) = &seen.identity {
                details.identity = Some(Identity {
                    user_name: identity.user_name.clone(),
                    id: identity.id.clone(),
                });
                details.cloud.clone_from(&identity.cloud);
                if identity.workspace_id.is_some() {
                    memory.workspace_id.clone_from(&identity.workspace_id);
                }
            }
            details.apps = seen.apps.clone().or(details.apps);
            if seen.apps.is_some() {
                details.unmanaged = since(&details.unmanaged, &seen.unmanaged, outcome.at);
            }
        }
        Report {
            verdict: verdict(outcome),
            aspects: Vec::new(),
            memory,
            details,
            notes: Vec::new(),
            overridden: databricks::freeze(self, &name_of(self), outcome.at),
            repaired: Vec::new(),
            deployed: Vec::new(),
        }
    }
}

fn verdict(outcome: &Outcome<'_, DatabricksWorkspace>) -> Verdict {
    if let Some(trouble) = outcome.trouble {
        return Verdict::failed(trouble.fate, trouble.reason, &trouble.message);
    }
    if let Some(wait) = &outcome.plan.wait {
        // After a start, that nobody was asked yet is no news.
        if wait.reason == Reason::Observing && !outcome.first && !outcome.changed {
            return Verdict::Keep;
        }
        return Verdict::Moving {
            reason: wait.reason,
            message: wait.message.clone(),
        };
    }
    if let Some(refusal) = outcome.plan.refusals.first() {
        return Verdict::failed(refusal.fate, refusal.reason, &refusal.message);
    }
    match outcome.seen.and_then(|s| s.identity.as_ref()) {
        Some(identity) => Verdict::Ready {
            reason: Reason::Connected,
            message: format!("connected as {}", identity.user_name),
        },
        None => Verdict::Keep,
    }
}

fn in_use(users: &[ObjectName]) -> String {
    let named = some(users, NAMED, ", ", " ", ToString::to_string);
    format!("still used by {named}; delete them first")
}

fn counts(workspace: &DatabricksWorkspace, world: &World, board: &Board<RemoteApp>) -> AppCounts {
    let names = board.rows(|row| row.name.clone());
    let declared = names.iter().filter(|app| is_declared(world, app));
    let managed = declared.count();
    let number = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    AppCounts {
        managed: number(managed),
        unmanaged: number(names.len() - managed),
        total: number(names.len()),
        limit: workspace.spec.limits.max_apps,
    }
}

/// Whether an object declares it, by this Workspace or by another one of the same place.
fn is_declared(world: &World, app: &str) -> bool {
    let mut holders = Board::<RemoteApp>::holders(&world.hub.index, &world.twins, app);
    holders.next().is_some()
}

/// Apps that no object declares, by name, without the time.
fn unmanaged(
    workspace: &DatabricksWorkspace,
    world: &World,
    board: &Board<RemoteApp>,
) -> Vec<UnmanagedApp> {
    if workspace.spec.unmanaged_apps == UnmanagedApps::Ignore {
        return Vec::new();
    }
    let mut apps = board.rows(|row| UnmanagedApp {
        name: cut(&row.name, ENTRY),
        creator: cut(&row.creator, ENTRY),
        state: cut(&row.compute_state, ENTRY),
        since: String::new(),
    });
    apps.retain(|app| !is_declared(world, &app.name));
    apps.sort_by(|a, b| a.name.cmp(&b.name));
    apps.truncate(LISTED);
    apps
}

/// Keeps the time of the first sight. Pure.
fn since(before: &[UnmanagedApp], now: &[UnmanagedApp], at: Timestamp) -> Vec<UnmanagedApp> {
    let at = at.round(jiff::Unit::Second).unwrap_or(at).to_string();
    let known = |app: &UnmanagedApp| {
        before
            .iter()
            .find(|b| b.name == app.name && b.creator == app.creator)
    };
    now.iter()
        .map(|app| UnmanagedApp {
            since: known(app).map_or_else(|| at.clone(), |known| known.since.clone()),
            ..app.clone()
        })
        .collect()
}
