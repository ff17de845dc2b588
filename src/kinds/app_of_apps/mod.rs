//! AppOfApps: what a parent does to its children. Which children there should be, in which order they change, and what may be
//! deleted is decided in `fleet`.
pub mod inputs;
mod plan;
mod report;
mod step;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::Value;

pub use self::inputs::FleetInputs;
use self::inputs::{Needs, Read};
pub use self::step::Step;
use super::app::spec::DatabricksApp;
use crate::admission::Admission;
use crate::api::annotation;
use crate::api::app_of_apps::{
    AppOfApps, AppOfAppsSpec, AppOfAppsStatus, DeletionOrder, FleetMemory, FleetMode, FleetStatus,
    OnDeletion,
};
use crate::api::management::Mode;
use crate::api::names::ObjectName;
use crate::api::row::ChildView;
use crate::api::status::{ConditionType, Reason, find};
use crate::engine::controller::Watched;
use crate::engine::index::Ref;
use crate::engine::managed::{Acted, Inputs, Managed, Outcome, Report, Trouble};
use crate::engine::plan::{Plan, Wish};
use crate::engine::reconcile::name_of;
use crate::fleet::{Facts, Generated, Moment, Parent, Renderer, Requests, Survey, Surveyor, Why};
use crate::telemetry::Clock;
use crate::telemetry::metrics::{ChildState, Total};
use crate::worlds::cluster::Cluster;

/// What all parents share.
pub struct Fleets {
    pub cluster: Arc<Cluster>,
    pub apps: Watched<DatabricksApp>,
    /// What generators read.
    pub inputs: FleetInputs,
    /// Judges a child before it is written.
    pub admission: Arc<Admission>,
    pub clock: Clock,
    /// When this process began to look
    pub since: Timestamp,
    /// What was found at the last pass, by parent.
    pub memories: Mutex<HashMap<ObjectName, Arc<Mutex<Memory>>>>,
}

/// What a pass need not find anew. It never makes a difference to what is found.
#[derive(Default)]
pub struct Memory {
    renderer: Renderer,
    surveyor: Surveyor,
}

impl Fleets {
    fn memory(&self, parent: &ObjectName, wish: Wish) -> Arc<Mutex<Memory>> {
        let mut all = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        match wish {
            Wish::Live => all.entry(parent.clone()).or_default().clone(),
            // The last passes need no memory, and nothing else tells when a parent is gone.
            Wish::Deleting => all.remove(parent).unwrap_or_default(),
        }
    }
}

/// The cluster, and the children of the namespace as the watch holds them.
pub struct World {
    parent: Parent,
    cluster: Arc<Cluster>,
    watched: Vec<Arc<ChildView>>,
    read: Read,
    clock: Clock,
    since: Timestamp,
    memory: Arc<Mutex<Memory>>,
    admission: Arc<Admission>,
}

impl World {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The children that the spec asks for, each judged by its definition.
    fn generate(&self, spec: &AppOfAppsSpec, parent: &Parent) -> Generated {
        let judge = |object: &Value| self.admission.objections(object);
        let mut memory = self.memory();
        let inputs = &self.read.inputs;
        Arc::unwrap_or_clone(memory.renderer.generate(spec, inputs, parent, &judge))
    }
}

/// The namespace's children, and what follows from them and the spec.
#[derive(Clone, Debug)]
pub struct Observed {
    parent: Parent,
    existing: Vec<Arc<ChildView>>,
    survey: Survey,
}

/// The parent as its children know it; `namespace_uid`: that of its namespace.
pub fn parent_of(object: &AppOfApps, namespace_uid: Option<String>) -> Parent {
    let spec = &object.spec;
    // Children that are to stay, or to go in an order, must not be collected all at once with their parent.
    let guarded = spec.on_deletion() == OnDeletion::Orphan
        || spec.strategy().deletion_order() == DeletionOrder::Reverse;
    Parent {
        name: object.name_any(),
        namespace: object.namespace().unwrap_or_default(),
        uid: object.uid().unwrap_or_default(),
        namespace_uid: namespace_uid.filter(|_| guarded),
    }
}

/// What people ask of the rollout.
pub fn requests_of(object: &AppOfApps) -> Requests {
    let said = object.annotations();
    Requests {
        resume: annotation::time(said, annotation::RESUME_ROLLOUT),
        abort: said.get(annotation::ABORT_ROLLOUT).cloned(),
    }
}

impl Managed for AppOfApps {
    type Hub = Fleets;
    type World = World;
    type Observed = Observed;
    type Step = Step;
    type Effect = ();
    type Memory = FleetMemory;
    type Details = FleetStatus;

    const KIND: &'static str = "AppOfApps";
    const AT_ONCE: usize = 8;
    const OWNS: bool = true;
    const ORPHANS: &'static str = "spec.syncPolicy.onDeletion: Orphan";
    const STATUS_EVERY: Duration = Duration::from_secs(2);

    /// Its children wake it by their owner references, and what its generators read by these.
    fn refs(&self) -> Vec<Ref> {
        Needs::of(self).refs(&self.namespace().unwrap_or_default())
    }

    fn suspended(&self) -> bool {
        self.spec.suspended()
    }

    fn mode(&self) -> Mode {
        match self.spec.mode() {
            FleetMode::Manage => Mode::Manage,
            FleetMode::Plan => Mode::Plan,
        }
    }

    fn totals(&self, status: &AppOfAppsStatus) -> Vec<(Total, i64)> {
        totals(status)
    }

    fn lets_go(&self, _: &FleetMemory) -> bool {
        // Children are found by their owner references.
        false
    }

    async fn open(&self, fleets: &Fleets, wish: Wish) -> Result<World, Trouble> {
        let namespace = self.namespace().unwrap_or_default();
        // Of a cache that is not complete yet, children would be made that exist, and others left behind.
        inputs::listed(&fleets.apps.synced, "databricksapps.appofapps.dev").await?;
        inputs::listed(&fleets.inputs.namespaces, "namespaces").await?;
        let needs = Needs::of(self);
        if wish == Wish::Live {
            fleets.inputs.synced(&needs).await?;
        }
        let apps = fleets.apps.objects.state();
        let apps = apps.iter().filter_map(|guarded| guarded.0.as_ref().ok());
        let namespace_uid = fleets.inputs.namespace_uid(&namespace);
        Ok(World {
            parent: parent_of(self, namespace_uid),
            cluster: fleets.cluster.clone(),
            watched: fleets.cluster.views(&namespace, apps),
            read: fleets.inputs.read(&needs, &namespace),
            clock: fleets.clock,
            since: fleets.since,
            memory: match self.mode() {
                Mode::Manage => fleets.memory(&name_of(self), wish),
                // Nothing tells when one that is only planned is gone.
                Mode::Plan | Mode::Observe => Arc::default(),
            },
            admission: fleets.admission.clone(),
        })
    }

    async fn observe(
        &self,
        memory: &FleetMemory,
        world: &World,
        _: Wish,
        _: bool,
    ) -> Result<Observed, Trouble> {
        let parent = world.parent.clone();
        let handled = memory.last_handled_reconcile_at.as_ref();
        let key = annotation::RECONCILE_REQUESTED_AT;
        if annotation::is_requested(self.annotations(), key, handled) {
            world.cluster.forget_refused(&parent.namespace);
        }
        let existing = world
            .cluster
            .settle(&parent.namespace, world.watched.clone());
        let mut generated = world.generate(&self.spec, &parent);
        world.read.qualify(&mut generated);
        let survey = world.memory().surveyor.survey(
            generated,
            &Facts {
                spec: &self.spec,
                parent: &parent,
                inputs: &world.read.inputs,
                existing: &existing,
                refused: &world.cluster.refused(&parent.namespace),
                confirm: self
                    .annotations()
                    .get(annotation::CONFIRM_PRUNE)
                    .map(String::as_str),
                requests: &requests_of(self),
                now: Moment {
                    at: world.clock.now(),
                    clock: world.clock,
                    looking_since: Some(world.since),
                },
            },
        );
        Ok(Observed {
            parent,
            existing,
            survey,
        })
    }

    fn plan(&self, inputs: &Inputs<'_, Self>) -> Plan<Step> {
        match inputs.wish {
            Wish::Deleting => plan::teardown(self, inputs.seen),
            Wish::Live => plan::live(inputs.seen),
        }
    }

    fn ahead(&self, _: &Step, _: &FleetMemory, _: Timestamp) -> Option<FleetMemory> {
        // A child's name tells it apart; writing it twice changes nothing.
        None
    }

    async fn act(&self, step: &Step, world: &World) -> Result<Acted<()>, Trouble> {
        let object = |name: &String| ObjectName::new(self.namespace().unwrap_or_default(), name);
        match step {
            Step::Write {
                why: Why::Create,
                payload,
                revision,
                ..
            } => world.cluster.create(payload, revision).await,
            Step::Write {
                payload, revision, ..
            } => world.cluster.update(payload, revision).await,
            Step::Delete { name, uid, version } => {
                world.cluster.delete(&object(name), uid, version).await
            }
            Step::Orphan { name, uid } => world.cluster.orphan(&object(name), uid).await,
            Step::Detach { name, uid } => world.cluster.detach(&object(name), uid).await,
        }
        .map(Acted::from)
    }

    fn report(&self, outcome: &Outcome<'_, Self>) -> Report<Self> {
        let memory = FleetMemory {
            last_handled_reconcile_at: self
                .annotations()
                .get(annotation::RECONCILE_REQUESTED_AT)
                .cloned(),
        };
        let mut details = outcome.details.clone();
        let mut aspects = Vec::new();
        if let Some(seen) = outcome.seen.filter(|_| outcome.wish == Wish::Live) {
            details = report::details(self, seen);
            aspects = report::facts(seen, outcome.plan);
        }
        let repaired = outcome.done.iter().filter(|(step, ())| {
            matches!(
                step,
                Step::Write {
                    why: Why::Repair,
                    ..
                }
            )
        });
        Report {
            verdict: report::verdict(outcome),
            aspects,
            memory,
            details,
            notes: report::notes(outcome),
            overridden: None,
            repaired: repaired.map(|_| "child").collect(),
            deployed: Vec::new(),
        }
    }
}

/// What the parent adds to the totals over all fleets.
fn totals(status: &AppOfAppsStatus) -> Vec<(Total, i64)> {
    let summary = status.details.summary.clone().unwrap_or_default();
    let rolling = find(&status.conditions, ConditionType::RolloutProgressing);
    let halted =
        rolling.is_some_and(|c| c.status == "False" && c.reason != Reason::Succeeded.name());
    let prune = status.details.prune.as_ref();
    let children = [
        (ChildState::Ready, summary.ready),
        (ChildState::Stopped, summary.stopped),
        (ChildState::Progressing, summary.progressing),
        (ChildState::Stalled, summary.stalled),
        (ChildState::Suspended, summary.suspended),
        (ChildState::Missing, summary.desired - summary.created),
    ];
    let children = children.map(|(state, n)| (Total::Children(state), n));
    let others = [
        (Total::RolloutsHalted, i32::from(halted)),
        (
            Total::PrunesWaiting,
            i32::from(prune.is_some_and(|prune| prune.digest.is_some())),
        ),
        (Total::ElementErrors, summary.errors),
    ];
    let all = children.into_iter().chain(others);
    all.map(|(total, n)| (total, i64::from(n))).collect()
}
