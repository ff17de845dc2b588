//! From a survey to the writes that are legal now. Pure.
use std::time::Duration;

use kube::ResourceExt;

use super::Observed;
use super::step::Step;
use crate::api::app_of_apps::{AppOfApps, DeletionOrder, OnDeletion};
use crate::api::row::ChildView;
use crate::api::status::{self, Reason, cut};
use crate::api::{annotation, label};
use crate::engine::plan::{Fate, Plan, Refusal, Wait};
use crate::fleet::{self, ErrorReason, Record, Survey, Why};

/// Children written in one pass; the next pass goes on at once.
const AT_ONCE: usize = 250;
/// What a parent waits for wakes it; this only bounds the wait.
const POLL: Duration = Duration::from_secs(300);
/// Names in a message.
pub const NAMED: usize = 5;

/// The first few of `all`, and how many more there are.
pub fn some<T: ToString>(all: impl Iterator<Item = T>, between: &str) -> String {
    let show = |one: T| cut(&one.to_string(), 480);
    status::some(all, NAMED, between, between, show)
}

pub fn live(seen: &Observed) -> Plan<Step> {
    let survey = &seen.survey;
    let mut plan = Plan {
        steps: steps(seen),
        wake_at: survey.rollout.wake_at,
        ..Plan::default()
    };
    refusals(survey, &mut plan);
    if plan.steps.is_empty() && is_moving(survey) {
        plan.wait = Some(Wait {
            reason: Reason::ChildrenProgressing,
            message: String::new(),
            poll: POLL,
        });
    }
    plan
}

/// Whether anything moves by itself, besides what the plan writes.
pub fn is_moving(survey: &Survey) -> bool {
    let progressing = usize::try_from(survey.summary.progressing).unwrap_or_default();
    // One that exceeded its deadline does not count as moving, whatever it says of itself.
    let overdue = survey.rollout.overdue;
    // A successor waits for its predecessor, which waits for somebody's word.
    let waits = match survey.prune.verdict {
        fleet::Verdict::Allowed => 0,
        _ => survey.renames.after.len(),
    };
    survey.prune.going > 0
        || survey.terminating > 0
        || progressing > overdue
        || survey.rollout.moving > waits
}

fn steps(seen: &Observed) -> Vec<Step> {
    let survey = &seen.survey;
    let me = &seen.parent;
    let detach = survey.detach.iter().map(|gone| Step::Detach {
        name: gone.name.clone(),
        uid: gone.uid.clone(),
    });
    let writes = survey.writes.iter().map(|write| Step::Write {
        why: write.why,
        name: write.child.name.clone(),
        revision: write.child.revision.clone(),
        payload: write.payload(me, &seen.existing),
    });
    // What is new comes before what is old goes.
    let creates = survey.writes.iter().any(|write| write.why == Why::Create);
    let prune = match creates {
        true => &[][..],
        false => survey.prune.allowed(),
    };
    let prune = prune.iter().map(|going| Step::Delete {
        name: going.name.clone(),
        uid: going.uid.clone(),
        version: going.resource_version.clone(),
    });
    detach.chain(writes).chain(prune).take(AT_ONCE).collect()
}

fn refusals(survey: &Survey, plan: &mut Plan<Step>) {
    let mut refuse = |reason, message, recheck| {
        plan.refusals.push(Refusal {
            reason,
            message,
            fate: Fate::Stalled { recheck },
        });
    };
    if let Some(halt) = &survey.rollout.halt {
        refuse(halt.reason, halt.message.clone(), None);
    }
    let errors = &survey.generated.errors;
    if let Some(first) = errors.first() {
        let only = |reason| errors.iter().all(|error| error.reason == reason);
        let reason = match first.reason {
            ErrorReason::UnpinnedSource if only(ErrorReason::UnpinnedSource) => {
                Reason::UnpinnedSource
            }
            ErrorReason::InvalidOrder if only(ErrorReason::InvalidOrder) => Reason::InvalidOrder,
            _ => Reason::GenerationFailed,
        };
        refuse(reason, some(errors.iter(), "; "), None);
    }
    if !survey.foreign.is_empty() {
        // Nothing tells when somebody else's object goes, and looking costs no call.
        refuse(
            Reason::ForeignChild,
            some(survey.foreign.iter(), "; "),
            Some(POLL),
        );
    }
    let blocked = &survey.renames.blocked;
    if !blocked.is_empty() {
        let words = blocked.iter().map(|(name, why)| format!("{name} {why}"));
        refuse(Reason::RenameBlocked, some(words, "; "), None);
    }
    if let Some(first) = survey.refused.values().next() {
        let words = survey.refused.values().map(|refused| &refused.message);
        refuse(first.reason, some(words, "; "), Some(POLL));
    }
}

/// A parent that goes: its children go first, or are let go.
pub fn teardown(parent: &AppOfApps, seen: &Observed) -> Plan<Step> {
    let uid = parent.uid().unwrap_or_default();
    let survey = &seen.survey;
    let leaving = |view: &ChildView| survey.detach.iter().any(|d| d.uid == view.uid);
    // `kubectl delete --cascade=orphan` leaves this finalizer.
    let orphan = parent.finalizers().iter().any(|f| f == "orphan")
        || parent.spec.on_deletion() == OnDeletion::Orphan;
    // Then garbage collection takes the owners away, perhaps before this pass.
    let label = |view: &ChildView| view.labels.get(label::PARENT) == Some(&parent.name_any());
    let stripped = |view: &ChildView| orphan && view.owner.is_none() && label(view);
    let ours: Vec<&ChildView> = seen
        .existing
        .iter()
        .map(AsRef::as_ref)
        .filter(|view| fleet::is_ours(view, &uid) || stripped(view))
        .collect();
    let let_go = |view: &ChildView| {
        let (name, uid) = (view.name.clone(), view.uid.clone());
        match leaving(view) {
            true => Step::Detach { name, uid },
            false => Step::Orphan { name, uid },
        }
    };
    let stays = |view: &ChildView| orphan || leaving(view);
    let go: Vec<Step> = ours
        .iter()
        .filter(|view| stays(view))
        .map(|view| let_go(view))
        .take(AT_ONCE)
        .collect();
    if !go.is_empty() || ours.is_empty() {
        return Plan {
            steps: go,
            ..Plan::default()
        };
    }
    // As it is noted on the child: what its element said may be gone by now.
    let place = |view: &ChildView| Record::of(view).place;
    let reverse = parent.spec.strategy().deletion_order() == DeletionOrder::Reverse;
    // Children that were never noted go first.
    let rank = |view: &ChildView| place(view).map_or((1, None), |place| (0, Some(place)));
    let turn = ours.iter().map(|view| rank(view)).max();
    let now = |view: &&&ChildView| !reverse || Some(rank(view)) == turn;
    // Whoever wrote it may have meant that the child is to stay.
    let unclear = |view: &ChildView| annotation::unclear_detach(&view.annotations);
    let waits = |view: &ChildView| match view.deleting {
        false => unclear(view).map(|misread| format!("{}: {misread}", view.name)),
        true if view.is("Stalled") => {
            let why = view.condition("Stalled");
            Some(format!(
                "{}: {}",
                view.name,
                why.map_or("", |why| &why.reason)
            ))
        }
        true => None,
    };
    let waiting: Vec<String> = ours.iter().filter_map(|view| waits(view)).collect();
    let mut message = format!("{} children are being deleted", ours.len());
    if !waiting.is_empty() {
        message = format!("{message}; {}", some(waiting.iter(), "; "));
    }
    let mut plan = Plan::wait(Reason::Deleting, message, POLL);
    plan.steps = ours
        .iter()
        .filter(|view| !view.deleting && unclear(view).is_none())
        .filter(now)
        .take(AT_ONCE)
        .map(|view| Step::Delete {
            name: view.name.clone(),
            uid: view.uid.clone(),
            version: view.resource_version.clone(),
        })
        .collect();
    plan
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::fleet::testing::{Model, apps, parent, spec};

    #[test]
    fn a_parent_that_goes_leaves_a_child_that_may_ask_to_stay_and_names_it() {
        let mut model = Model::new(spec(json!({"apps": apps(&[("a", 1), ("b", 1)])})));
        model.pass();
        let a = model.views.get_mut("a").unwrap();
        let unclear = (annotation::DETACH.to_owned(), "yes".to_owned());
        a.annotations.extend([unclear]);
        let seen = Observed {
            parent: parent(),
            existing: model.views.values().cloned().map(Arc::new).collect(),
            survey: model.survey(),
        };
        let mut object = AppOfApps::new("fleet", model.spec.clone());
        object.metadata.uid = Some(parent().uid);
        let plan = teardown(&object, &seen);
        let names: Vec<&str> = plan.steps.iter().map(Step::name).collect();
        assert_eq!(names, ["b"]);
        let message = plan.wait.unwrap().message;
        assert!(
            message.starts_with("2 children are being deleted; a: annotation appofapps.dev/detach"),
            "{message}"
        );
    }
}
