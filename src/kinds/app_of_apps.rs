//! AppOfApps: what a parent does to its children. Which children there should be is decided in `fleet`.
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::Value;

use super::app::spec::DatabricksApp;
use crate::api::annotation;
use crate::api::app_of_apps::{
    AppOfApps, FailingChild, FleetMemory, FleetStatus, FleetSummary, OnDeletion,
};
use crate::api::names::ObjectName;
use crate::api::row::ChildView;
use crate::api::status::{ConditionType, Fact, Reason, cut};
use crate::engine::controller::Objects;
use crate::engine::events::Note;
use crate::engine::fold::Verdict;
use crate::engine::index::Ref;
use crate::engine::managed::{self, Acted, Inputs, Managed, Outcome, Report, Trouble};
use crate::engine::plan::{Fate, Plan, Refusal, Wish};
use crate::fleet::{self, Changes, Generated, GeneratorInputs, Parent};
use crate::worlds::cluster::{Cluster, view};

/// Children written in one pass; the next pass goes on at once.
const AT_ONCE: usize = 25;
/// What a parent waits for wakes it; this only bounds the wait.
const POLL: Duration = Duration::from_secs(300);
/// Names in a message.
const NAMED: usize = 5;

/// What all parents share.
pub struct Fleets {
    pub cluster: Arc<Cluster>,
    pub apps: Objects<DatabricksApp>,
}

/// The cluster, and the children of the namespace as the watch holds them.
pub struct World {
    cluster: Arc<Cluster>,
    watched: Vec<ChildView>,
}

/// The namespace's children, and what follows from them and the spec.
#[derive(Clone, Debug)]
pub struct Observed {
    existing: Vec<ChildView>,
    generated: Generated,
    changes: Changes,
    summary: FleetSummary,
    failing: Vec<FailingChild>,
    /// Revision and message of each child that the API server refused lately.
    refused: HashMap<String, (String, String)>,
}

/// One write to one child.
#[derive(Clone, Debug)]
pub enum Step {
    Create {
        name: String,
        revision: String,
        payload: Value,
    },
    Update {
        name: String,
        revision: String,
        payload: Value,
    },
    Delete {
        name: String,
        uid: String,
        version: String,
    },
    Orphan {
        name: String,
        uid: String,
    },
}

impl managed::Step for Step {
    fn verb(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Update { .. } => "update",
            Self::Delete { .. } => "delete",
            Self::Orphan { .. } => "orphan",
        }
    }

    fn fields(&self) -> Vec<&'static str> {
        match self {
            Self::Update { .. } => vec!["spec"],
            Self::Orphan { .. } => vec!["metadata.ownerReferences"],
            Self::Create { .. } | Self::Delete { .. } => Vec::new(),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Create { name, .. }
        | Self::Update { name, .. }
        | Self::Delete { name, .. }
        | Self::Orphan { name, .. }) = self;
        write!(f, "{} {name}", managed::Step::verb(self))
    }
}

impl AppOfApps {
    fn parent(&self) -> Parent {
        Parent {
            name: self.name_any(),
            namespace: self.namespace().unwrap_or_default(),
            uid: self.uid().unwrap_or_default(),
        }
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

    /// Its children wake it by their owner references.
    fn refs(&self) -> Vec<Ref> {
        Vec::new()
    }

    fn suspended(&self) -> bool {
        self.spec.suspended()
    }

    fn lets_go(&self, _: &FleetMemory) -> bool {
        // Children are found by their owner references.
        false
    }

    async fn open(&self, fleets: &Fleets, _: Wish) -> Result<World, Trouble> {
        let namespace = self.namespace().unwrap_or_default();
        let watched = fleets
            .apps
            .state()
            .iter()
            .filter_map(|guarded| guarded.0.as_ref().ok())
            .filter(|app| app.namespace().as_deref() == Some(namespace.as_str()))
            .filter_map(|app| serde_json::to_value(app).ok())
            .map(|value| view(&value))
            .collect();
        Ok(World {
            cluster: fleets.cluster.clone(),
            watched,
        })
    }

    async fn observe(
        &self,
        _: &FleetMemory,
        world: &World,
        _: Wish,
        _: bool,
    ) -> Result<Observed, Trouble> {
        let parent = self.parent();
        let existing = world
            .cluster
            .settle(&parent.namespace, world.watched.clone());
        let generated = fleet::generate(&self.spec, &GeneratorInputs::default(), &parent, &|_| {
            Vec::new()
        });
        let confirm = self.annotations().get(annotation::CONFIRM_PRUNE);
        let limit = self.spec.max_deletions();
        let changes = fleet::diff(
            &generated,
            &existing,
            &parent,
            limit,
            confirm.map(String::as_str),
        );
        let (summary, failing) = fleet::summary(&generated, &existing, &parent);
        Ok(Observed {
            refused: world.cluster.refused(&parent.namespace),
            existing,
            generated,
            changes,
            summary,
            failing,
        })
    }

    fn plan(&self, inputs: &Inputs<'_, Self>) -> Plan<Step> {
        match inputs.wish {
            Wish::Deleting => teardown(self, inputs.seen),
            Wish::Live => live(self, inputs.seen),
        }
    }

    fn ahead(&self, _: &Step, _: &FleetMemory, _: Timestamp) -> Option<FleetMemory> {
        // A child's name tells it apart; writing it twice changes nothing.
        None
    }

    async fn act(&self, step: &Step, world: &World) -> Result<Acted<()>, Trouble> {
        let object = |name: &String| ObjectName::new(self.namespace().unwrap_or_default(), name);
        match step {
            Step::Create {
                payload, revision, ..
            } => world.cluster.create(payload, revision).await,
            Step::Update {
                payload, revision, ..
            } => world.cluster.update(payload, revision).await,
            Step::Delete { name, uid, version } => {
                world.cluster.delete(&object(name), uid, version).await
            }
            Step::Orphan { name, uid } => world.cluster.orphan(&object(name), uid).await,
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
            details = FleetStatus {
                summary: Some(seen.summary.clone()),
                prune: fleet::prune_status(&seen.changes.prune),
                failing: failing(seen),
                ..FleetStatus::default()
            };
            aspects = facts(seen, outcome.plan);
        }
        Report {
            verdict: verdict(outcome),
            aspects,
            memory,
            details,
            notes: notes(outcome),
            overridden: None,
            repaired: Vec::new(),
        }
    }
}

fn live(parent: &AppOfApps, seen: &Observed) -> Plan<Step> {
    let me = parent.parent();
    let write = |child: &Arc<fleet::Child>| {
        let payload = fleet::payload(child, &me);
        (child.name.clone(), child.revision.clone(), payload)
    };
    let accepted = |child: &&Arc<fleet::Child>| {
        seen.refused
            .get(&child.name)
            .is_none_or(|(revision, _)| *revision != child.revision)
    };
    let create =
        seen.changes
            .create
            .iter()
            .filter(accepted)
            .map(write)
            .map(|(name, revision, payload)| Step::Create {
                name,
                revision,
                payload,
            });
    let update =
        seen.changes
            .update
            .iter()
            .filter(accepted)
            .map(write)
            .map(|(name, revision, payload)| Step::Update {
                name,
                revision,
                payload,
            });
    let prune = seen
        .changes
        .prune
        .allowed()
        .iter()
        .map(|going| Step::Delete {
            name: going.name.clone(),
            uid: going.uid.clone(),
            version: going.resource_version.clone(),
        });
    let mut plan = Plan {
        steps: create.chain(update).chain(prune).take(AT_ONCE).collect(),
        ..Plan::default()
    };
    let mut refuse = |reason, message, recheck| {
        plan.refusals.push(Refusal {
            reason,
            message,
            fate: Fate::Stalled { recheck },
        });
    };
    if !seen.generated.errors.is_empty() {
        let named: Vec<String> = seen
            .generated
            .errors
            .iter()
            .take(NAMED)
            .map(ToString::to_string)
            .collect();
        let more = seen.generated.errors.len() - named.len();
        let and = if more > 0 {
            format!("; and {more} more")
        } else {
            String::new()
        };
        refuse(
            Reason::GenerationFailed,
            format!("{}{and}", named.join("; ")),
            None,
        );
    }
    if !seen.changes.foreign.is_empty() {
        let named: Vec<String> = seen
            .changes
            .foreign
            .iter()
            .take(NAMED)
            .map(ToString::to_string)
            .collect();
        // Nothing tells when somebody else's object goes, and looking costs no call.
        refuse(Reason::ForeignChild, named.join("; "), Some(POLL));
    }
    let refused: Vec<&str> = refused_children(seen)
        .map(|(_, message)| message)
        .take(NAMED)
        .collect();
    if !refused.is_empty() {
        refuse(Reason::ChildRefused, refused.join("; "), Some(POLL));
    }
    plan
}

/// Name and message of each child whose present revision the API server refuses.
fn refused_children(seen: &Observed) -> impl Iterator<Item = (&str, &str)> {
    let wanted = seen.changes.create.iter().chain(&seen.changes.update);
    wanted.filter_map(|child| {
        let (revision, message) = seen.refused.get(&child.name)?;
        (*revision == child.revision).then_some((child.name.as_str(), message.as_str()))
    })
}

fn teardown(parent: &AppOfApps, seen: &Observed) -> Plan<Step> {
    let uid = parent.uid().unwrap_or_default();
    let ours: Vec<&ChildView> = seen
        .existing
        .iter()
        .filter(|view| fleet::is_ours(view, &uid))
        .collect();
    match parent.spec.on_deletion() {
        OnDeletion::Orphan => Plan {
            steps: ours
                .iter()
                .take(AT_ONCE)
                .map(|view| Step::Orphan {
                    name: view.name.clone(),
                    uid: view.uid.clone(),
                })
                .collect(),
            ..Plan::default()
        },
        OnDeletion::Delete if ours.is_empty() => Plan::default(),
        OnDeletion::Delete => {
            let mut plan = Plan::wait(
                Reason::Deleting,
                format!("{} children are being deleted", ours.len()),
                POLL,
            );
            plan.steps = ours
                .iter()
                .filter(|view| !view.deleting)
                .take(AT_ONCE)
                .map(|view| Step::Delete {
                    name: view.name.clone(),
                    uid: view.uid.clone(),
                    version: view.resource_version.clone(),
                })
                .collect();
            plan
        }
    }
}

/// Children that the API server refused come before those that exist and fail.
fn failing(seen: &Observed) -> Vec<FailingChild> {
    let refused = refused_children(seen).map(|(name, message)| FailingChild {
        name: name.into(),
        reason: Reason::ChildRefused.name().into(),
        message: cut(message, 256),
    });
    refused
        .chain(seen.failing.iter().cloned())
        .take(10)
        .collect()
}

fn facts(seen: &Observed, plan: &Plan<Step>) -> Vec<Fact> {
    let refusal = |reason| plan.refusals.iter().find(|r| r.reason == reason);
    let generated = match refusal(Reason::GenerationFailed) {
        Some(r) => Fact::new(
            ConditionType::Generated,
            Some(false),
            r.reason,
            r.message.clone(),
        ),
        None => Fact::new(ConditionType::Generated, Some(true), Reason::Succeeded, ""),
    };
    let failed = refusal(Reason::ForeignChild).or(refusal(Reason::ChildRefused));
    let up_to_date = match (failed, &seen.changes.prune.verdict) {
        (Some(r), _) => Fact::new(
            ConditionType::ResourcesUpToDate,
            Some(false),
            r.reason,
            r.message.clone(),
        ),
        (
            None,
            fleet::Verdict::NeedsConfirmation { why, .. } | fleet::Verdict::Withheld { why },
        ) => Fact::new(
            ConditionType::ResourcesUpToDate,
            Some(false),
            Reason::PruneWaiting,
            why.clone(),
        ),
        (None, fleet::Verdict::Allowed) if plan.steps.is_empty() => Fact::new(
            ConditionType::ResourcesUpToDate,
            Some(true),
            Reason::Succeeded,
            "",
        ),
        (None, fleet::Verdict::Allowed) => {
            let message = "children are being written";
            Fact::new(
                ConditionType::ResourcesUpToDate,
                Some(false),
                Reason::ChildrenProgressing,
                message,
            )
        }
    };
    vec![generated, up_to_date]
}

fn notes(outcome: &Outcome<'_, AppOfApps>) -> Vec<Note> {
    let named = |verb: &str| -> Vec<&str> {
        outcome
            .done
            .iter()
            .filter(|(step, ())| managed::Step::verb(step) == verb)
            .map(|(step, ())| match step {
                Step::Create { name, .. }
                | Step::Update { name, .. }
                | Step::Delete { name, .. }
                | Step::Orphan { name, .. } => name.as_str(),
            })
            .collect()
    };
    [
        ("create", "ChildrenCreated"),
        ("update", "ChildrenUpdated"),
        ("delete", "ChildrenDeleted"),
        ("orphan", "ChildrenOrphaned"),
    ]
    .into_iter()
    .filter_map(|(verb, reason)| {
        let names = named(verb);
        (!names.is_empty()).then(|| {
            Note::normal(
                reason,
                format!("{verb} {}", names.join(" ")),
                names.join(", "),
            )
        })
    })
    .collect()
}

fn verdict(outcome: &Outcome<'_, AppOfApps>) -> Verdict {
    if let Some(trouble) = outcome.trouble {
        return Verdict::failed(trouble.fate, trouble.reason, &trouble.message);
    }
    let Some(seen) = outcome.seen else {
        return Verdict::Keep;
    };
    if outcome.wish == Wish::Deleting {
        let wait = outcome.plan.wait.as_ref();
        return Verdict::Moving {
            reason: Reason::Deleting,
            message: wait.map_or_else(|| "children are let go".into(), |w| w.message.clone()),
        };
    }
    let summary = &seen.summary;
    let count = format!("{} of {} apps ready", summary.ready, summary.desired);
    let going = seen.changes.prune.names.len() - seen.changes.prune.candidates.len();
    let missing = summary.desired - summary.created;
    let refused = refused_children(seen).count();
    let foreign = seen.changes.foreign.len();
    let awaited = usize::try_from(missing)
        .unwrap_or_default()
        .saturating_sub(refused + foreign);
    let failed = failing(seen);
    let names: Vec<String> = failed
        .iter()
        .take(NAMED)
        .map(|f| format!("{} ({})", f.name, f.reason))
        .collect();
    let with_failures = |text: String| {
        if names.is_empty() {
            text
        } else {
            format!("{text}; failing: {}", names.join(", "))
        }
    };
    if !outcome.plan.steps.is_empty() || summary.progressing > 0 || going > 0 || awaited > 0 {
        let also = if going > 0 {
            format!(", {going} being deleted")
        } else {
            String::new()
        };
        return Verdict::Moving {
            reason: Reason::ChildrenProgressing,
            message: with_failures(format!("{count}{also}")),
        };
    }
    if let Some(refusal) = outcome.plan.refusals.first() {
        return Verdict::Stalled {
            reason: refusal.reason,
            message: format!("{count}; {}", refusal.message),
        };
    }
    if summary.stalled > 0 {
        return Verdict::Stalled {
            reason: Reason::ChildrenFailed,
            message: with_failures(count),
        };
    }
    match &seen.changes.prune.verdict {
        fleet::Verdict::NeedsConfirmation { digest, why } => {
            return Verdict::Held {
                reason: Reason::PruneWaiting,
                message: format!(
                    "{why}; to let them go: kubectl annotate aoa NAME {}={digest}",
                    annotation::CONFIRM_PRUNE
                ),
            };
        }
        fleet::Verdict::Withheld { why } => {
            return Verdict::Held {
                reason: Reason::PruneWaiting,
                message: why.clone(),
            };
        }
        fleet::Verdict::Allowed => {}
    }
    if summary.ready < summary.desired {
        return Verdict::Held {
            reason: Reason::ChildrenHeld,
            message: count,
        };
    }
    Verdict::Ready {
        reason: Reason::Succeeded,
        message: count,
    }
}
