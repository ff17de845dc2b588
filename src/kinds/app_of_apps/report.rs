//! What a parent says of its children. Pure.
use super::Observed;
use super::plan::{NAMED, is_moving, some};
use super::step::Step;
use crate::api::annotation;
use crate::api::app_of_apps::{AppOfApps, FleetMode, FleetStatus, RolloutStatus};
use crate::api::status::{ConditionType, Fact, Reason, cut};
use crate::engine::events::Note;
use crate::engine::fold::Verdict;
use crate::engine::managed::{Outcome, Step as _};
use crate::engine::plan::{Plan, Wish};
use crate::fleet::{self, Parent, Survey, Why};

type Pass<'a> = Outcome<'a, AppOfApps>;

/// Children that the status says are waited for.
const WAITING: usize = 10;

pub fn details(parent: &AppOfApps, seen: &Observed) -> FleetStatus {
    let survey = &seen.survey;
    FleetStatus {
        summary: Some(survey.summary.clone()),
        rollout: rollout(survey),
        prune: fleet::prune_status(&survey.prune),
        failing: survey.failing.clone(),
        preview: (parent.spec.mode() == FleetMode::Plan).then(|| fleet::preview(survey)),
    }
}

/// Where children are ordered at all.
fn rollout(survey: &Survey) -> Option<RolloutStatus> {
    let number = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    let rollout = &survey.rollout;
    survey.order.is_staged().then(|| RolloutStatus {
        digest: rollout.digest.clone(),
        step: number(rollout.step + 1),
        of: number(rollout.steps),
        wave: i32::try_from(rollout.wave).unwrap_or_default(),
        waiting_for: rollout
            .waiting
            .iter()
            .take(WAITING)
            .map(|(name, why)| cut(&format!("{name}: {why}"), 256))
            .collect(),
    })
}

pub fn facts(seen: &Observed, plan: &Plan<Step>) -> Vec<Fact> {
    let survey = &seen.survey;
    vec![
        generated(survey, plan),
        up_to_date(survey, plan),
        rolling(survey),
    ]
}

fn generated(survey: &Survey, plan: &Plan<Step>) -> Fact {
    let errors = [
        Reason::GenerationFailed,
        Reason::UnpinnedSource,
        Reason::InvalidOrder,
    ];
    // A halt for an invalid order comes before, and is no error of generation.
    let refusal = plan
        .refusals
        .iter()
        .rev()
        .find(|r| errors.contains(&r.reason));
    match refusal {
        Some(r) => Fact::new(
            ConditionType::Generated,
            Some(false),
            r.reason,
            r.message.clone(),
        ),
        None => {
            let idle = some(survey.generated.idle.iter(), "; ");
            Fact::new(
                ConditionType::Generated,
                Some(true),
                Reason::Succeeded,
                idle,
            )
        }
    }
}

fn up_to_date(survey: &Survey, plan: &Plan<Step>) -> Fact {
    let kind = ConditionType::ResourcesUpToDate;
    let refusals = [
        Reason::ForeignChild,
        Reason::RenameBlocked,
        Reason::ChildRefused,
        Reason::QuotaExceeded,
        Reason::NamespaceTerminating,
        Reason::InvalidSpec,
    ];
    if let Some(r) = plan.refusals.iter().find(|r| refusals.contains(&r.reason)) {
        return Fact::new(kind, Some(false), r.reason, r.message.clone());
    }
    if let fleet::Verdict::NeedsConfirmation { why, .. } | fleet::Verdict::Withheld { why } =
        &survey.prune.verdict
    {
        return Fact::new(kind, Some(false), Reason::PruneWaiting, why.clone());
    }
    let written = survey.absent.is_empty() && survey.behind.is_empty();
    if !plan.steps.is_empty() || !written {
        let message = "children are being written";
        return Fact::new(kind, Some(false), Reason::ChildrenProgressing, message);
    }
    Fact::new(kind, Some(true), Reason::Succeeded, "")
}

fn rolling(survey: &Survey) -> Fact {
    let kind = ConditionType::RolloutProgressing;
    let rollout = &survey.rollout;
    if let Some(halt) = &rollout.halt {
        return Fact::new(kind, Some(false), halt.reason, halt.message.clone());
    }
    // Where nothing is ordered, a change is through once it is written.
    let written = survey.absent.is_empty() && survey.behind.is_empty();
    if rollout.complete || (written && !survey.order.is_staged()) {
        return Fact::new(kind, Some(false), Reason::Succeeded, "");
    }
    match rollout.moving + rollout.held {
        0 => Fact::new(kind, Some(false), Reason::ChildrenFailed, position(survey)),
        _ => Fact::new(kind, Some(true), Reason::RollingOut, position(survey)),
    }
}

/// `step 1 of 3, wave 0: a-app: Ready, soaking`
fn position(survey: &Survey) -> String {
    let rollout = &survey.rollout;
    let waiting = rollout.waiting.iter();
    let waiting = waiting.map(|(name, why)| format!("{name} ({})", cut(why, 80)));
    format!(
        "step {} of {}, wave {}: {}",
        rollout.step + 1,
        rollout.steps,
        rollout.wave,
        some(waiting, ", ")
    )
}

pub fn notes(outcome: &Pass<'_>) -> Vec<Note> {
    let mut notes = Vec::new();
    for (verb, reason, warns) in [
        ("create", "ChildrenCreated", false),
        ("update", "ChildrenUpdated", false),
        ("repair", "ChildrenRepaired", true),
        ("roll back", "ChildrenRolledBack", true),
        ("delete", "ChildrenDeleted", false),
        ("orphan", "ChildrenOrphaned", false),
        ("detach", "ChildrenDetached", false),
    ] {
        let steps = outcome.done.iter().map(|(step, ())| step);
        let names: Vec<&str> = steps
            .filter(|step| step.verb() == verb)
            .map(Step::name)
            .collect();
        if names.is_empty() {
            continue;
        }
        let key = format!("{verb} {}", names.join(" "));
        let words = match verb {
            "repair" => format!("somebody else changed {}", some(names.iter(), ", ")),
            _ => some(names.iter(), ", "),
        };
        notes.push(match warns {
            true => Note::warning(reason, key, words),
            false => Note::normal(reason, key, words),
        });
    }
    notes
}

pub fn verdict(outcome: &Pass<'_>) -> Verdict {
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
    if outcome.read_only {
        return planned(&seen.survey, outcome.plan);
    }
    settled_or_moving(&seen.parent, &seen.survey, outcome.plan)
}

fn planned(survey: &Survey, plan: &Plan<Step>) -> Verdict {
    let edited = survey
        .writes
        .iter()
        .filter(|write| write.why == Why::Repair);
    let (create, change, delete) = (
        survey.absent.len(),
        survey.behind.len() + edited.count(),
        survey.prune.names.len(),
    );
    if let Some(refusal) = plan.refusals.first() {
        return Verdict::Stalled {
            reason: refusal.reason,
            message: refusal.message.clone(),
        };
    }
    if create + change + delete == 0 {
        return Verdict::Ready {
            reason: Reason::Succeeded,
            message: "mode Plan: nothing would be written".into(),
        };
    }
    Verdict::Held {
        reason: Reason::ReadOnly,
        message: format!(
            "mode Plan: would create {create}, change {change} and delete {delete}; status.preview names them"
        ),
    }
}

fn settled_or_moving(me: &Parent, survey: &Survey, plan: &Plan<Step>) -> Verdict {
    let summary = &survey.summary;
    let count = format!("{} of {} apps ready", summary.ready, summary.desired);
    let failed = survey.failing.iter();
    let failing = some(failed.map(|f| format!("{} ({})", f.name, f.reason)), ", ");
    let with_failures = |text: String| match failing.is_empty() {
        true => text,
        false => format!("{text}; failing: {failing}"),
    };
    let staged = survey.order.is_staged();
    if !plan.steps.is_empty() || is_moving(survey) {
        let going = survey.prune.going;
        let mut message = count;
        if going > 0 {
            message = format!("{message}, {going} being deleted");
        }
        match &survey.rollout.halt {
            Some(halt) => message = format!("{message}; {}", halt.message),
            None if staged && !survey.rollout.complete => {
                message = format!("{message}; {}", position(survey));
            }
            None => {}
        }
        return Verdict::Moving {
            reason: Reason::ChildrenProgressing,
            message: with_failures(message),
        };
    }
    if let Some(refusal) = plan.refusals.first() {
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
    match &survey.prune.verdict {
        fleet::Verdict::NeedsConfirmation { digest, why } => {
            return Verdict::Held {
                reason: Reason::PruneWaiting,
                message: format!(
                    "{why}; to let them go: kubectl annotate aoa -n {} {} --overwrite --field-manager=flux-client-side-apply {}={digest}",
                    me.namespace,
                    me.name,
                    annotation::CONFIRM_PRUNE
                ),
            };
        }
        // A held child keeps its rollout open, and is what has to be said.
        fleet::Verdict::Withheld { why } if survey.rollout.held == 0 => {
            return Verdict::Held {
                reason: Reason::PruneWaiting,
                message: why.clone(),
            };
        }
        fleet::Verdict::Withheld { .. } | fleet::Verdict::Allowed => {}
    }
    if survey.rollout.held > 0 || summary.ready < summary.desired {
        let held = survey.rollout.waiting.iter().take(NAMED);
        let held = some(held.map(|(name, why)| format!("{name} ({why})")), ", ");
        return Verdict::Held {
            reason: Reason::ChildrenHeld,
            message: format!("{count}; waits for {held}"),
        };
    }
    Verdict::Ready {
        reason: Reason::Succeeded,
        message: count,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::super::plan;
    use super::*;
    use crate::fleet::testing::{Fate, Model, parent, spec};

    fn fleet(names: std::ops::Range<usize>, mode: &str) -> crate::api::app_of_apps::AppOfAppsSpec {
        let app = |n: usize| {
            let name = format!("{n:05}-{}", "x".repeat(200));
            json!({"name": name, "spec": {"name": format!("a{n}")}})
        };
        let apps: Vec<Value> = names.map(app).collect();
        spec(
            json!({"apps": apps, "mode": mode, "prune": {"maxDeletions": "0"},
            "strategy": {"type": "RollingSync"}}),
        )
    }

    #[test]
    fn a_status_stays_small_with_five_thousand_of_everything_and_the_longest_names() {
        let mut model = Model::new(fleet(0..5000, "Manage"));
        model.pass();
        for name in model.views.keys().cloned().collect::<Vec<_>>() {
            model.fare(&name, Fate::Stalled);
            let view = model.views.get_mut(&name).unwrap();
            for condition in &mut view.conditions {
                condition.message = "m".repeat(1024);
            }
        }
        // All fail, all are to go, and as many others are to come.
        for (wish, mode) in [(0..5000, "Manage"), (5000..10_000, "Plan")] {
            model.spec = fleet(wish, mode);
            let survey = model.survey();
            let seen = Observed {
                parent: parent(),
                existing: Vec::new(),
                survey,
            };
            let object = AppOfApps::new("fleet", model.spec.clone());
            let details = details(&object, &seen);
            let facts = facts(&seen, &plan::live(&seen));
            let said: usize = facts.iter().map(|f| cut(&f.message, 1024).len()).sum();
            let size = serde_json::to_vec(&details).unwrap().len() + said + (8 << 10);
            assert!(size <= 32 << 10, "{mode}: {size} bytes");
        }
    }
}
