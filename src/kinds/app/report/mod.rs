//! From what a pass found to what is said of an app, and what later passes remember. Pure.
mod aspects;
mod counts;
mod notes;
mod remember;

use super::fields::Setting;
use super::model;
use super::plan::{Inputs, Step, ownership};
use super::spec::{AppDetails, AppMemory, DatabricksApp, Drift, RunState};
use super::wire::RemoteApp;
use crate::api::status::{ConditionType, Reason, cut, is_true};
use crate::engine::fold::{Hold, Verdict};
use crate::engine::managed::{Outcome, Report};
use crate::engine::plan::{Fate, Seen, Wish};

pub use counts::state;
pub use remember::remember;

/// Longest name of a list's entry in a status, in bytes.
const ENTRY_LIMIT: usize = 256;

pub(super) fn report(
    app: &DatabricksApp,
    outcome: &Outcome<'_, DatabricksApp>,
) -> Report<DatabricksApp> {
    let memory = remember(app, outcome);
    let remote = ours(app, outcome);
    let repaired = notes::repaired(app, outcome);
    let paths: Vec<&'static str> = repaired.iter().map(|(path, _)| *path).collect();
    Report {
        verdict: verdict(app, outcome, &memory),
        aspects: aspects::aspects(app, outcome, &memory, remote),
        details: details(app, outcome, remote, &paths),
        notes: notes::notes(app, outcome, &memory, &paths, remote),
        deployed: counts::deployed(outcome, &memory),
        memory,
        overridden: app.overridden_state().map(|state| {
            let message = format!(
                "the annotation run-state asks for {state:?}; remove it to go back to the spec"
            );
            Hold::new(Reason::RunStateOverridden, message)
        }),
        repaired: repaired.iter().map(|(_, class)| *class).collect(),
    }
}

fn details(
    app: &DatabricksApp,
    outcome: &Outcome<'_, DatabricksApp>,
    remote: Option<&RemoteApp>,
    repaired: &[&'static str],
) -> AppDetails {
    let mut details = outcome.details.clone();
    if let Some(remote) = remote {
        let cut_all = |names: Vec<&str>| -> Vec<String> {
            names
                .into_iter()
                .take(100)
                .map(|s| cut(s, ENTRY_LIMIT))
                .collect()
        };
        let requested = remote
            .settings
            .get(Setting::SCOPES)
            .and_then(|s| s.as_array());
        let requested = requested.into_iter().flatten().filter_map(|s| s.as_str());
        details.requested_scopes = cut_all(requested.collect());
        details.effective_scopes =
            cut_all(remote.effective_scopes.iter().map(String::as_str).collect());
    }
    if !repaired.is_empty() {
        let at = outcome.at.round(jiff::Unit::Second).unwrap_or(outcome.at);
        details.drift = Some(Drift {
            at: at.to_string(),
            fields: repaired.iter().take(16).map(|f| (*f).to_owned()).collect(),
        });
    }
    if !outcome.read_only {
        details.pending_changes.clear();
    } else if outcome.trouble.is_none()
        && let Some(seen) = outcome.seen.filter(|s| s.app.looked().is_some())
    {
        let memory = outcome.memory;
        let (at, scale, wish) = (outcome.at, outcome.scale, outcome.wish);
        let foreseen = model::foresee(
            app,
            &Inputs {
                seen,
                memory,
                at,
                scale,
                wish,
            },
        );
        details.pending_changes = foreseen.changes.into_iter().take(100).collect();
    }
    details
}

/// The app as this pass saw it, if it is this object's.
fn ours<'a>(app: &DatabricksApp, outcome: &Outcome<'a, DatabricksApp>) -> Option<&'a RemoteApp> {
    let seen = outcome.seen?;
    let (memory, identity) = (outcome.memory, &seen.identity);
    let claimed = seen.claim == super::plan::Claim::Ours;
    seen.remote()
        .filter(|remote| claimed && ownership(app, memory, identity, remote).is_ok())
}

fn verdict(
    app: &DatabricksApp,
    outcome: &Outcome<'_, DatabricksApp>,
    memory: &AppMemory,
) -> Verdict {
    let fresh_wish = outcome.changed || outcome.first;
    // A look that the workspace failed changes what is said of the Workspace, not of the app.
    let quiet = |reason, fate| {
        let failed = matches!(
            reason,
            Reason::HostUnreachable | Reason::ProgressingWithRetry
        );
        let passes = matches!(fate, Fate::Retry | Fate::After(_));
        failed && passes && outcome.wish == Wish::Live && !fresh_wish
    };
    // What concerns others than the app itself is told by an event.
    let aside = |reason| matches!(reason, Reason::RestoreRefused | Reason::SweepRefused);
    let trouble = outcome.trouble.filter(|t| !aside(t.reason));
    if let Some(trouble) = trouble {
        let (reason, fate) = (trouble.reason, trouble.fate);
        let message = trouble.message.clone();
        return match reason {
            Reason::WorkspaceUnavailable => Verdict::Unknown { reason, message },
            _ if outcome.seen.is_none() && quiet(reason, fate) => Verdict::Keep,
            _ => Verdict::failed(fate, reason, message),
        };
    }
    let looked = outcome
        .seen
        .is_some_and(|s| matches!(s.app, Seen::Looked(_)));
    if !looked {
        return if fresh_wish {
            moving(Reason::Observing, "waiting for a look at the workspace")
        } else {
            Verdict::Keep
        };
    }
    let refusals = &outcome.plan.refusals;
    let refusal = refusals.iter().find(|r| !quiet(r.reason, r.fate));
    if let Some((step, _)) = outcome.done.last() {
        // A repair that doesn't stop the app leaves `Ready` as it is.
        let gentle = outcome.done.iter().all(|(s, _)| is_gentle(s));
        if gentle && !fresh_wish {
            return Verdict::Keep;
        }
        return moving(step_reason(step), &step.to_string());
    }
    if outcome.read_only && !outcome.plan.steps.is_empty() {
        let steps: Vec<String> = outcome.plan.steps.iter().map(ToString::to_string).collect();
        return Verdict::Held {
            reason: Reason::ReadOnly,
            message: format!(
                "management.mode lets nothing be written; it would {}",
                steps.join(", ")
            ),
        };
    }
    if let Some(wait) = &outcome.plan.wait {
        let ready = is_true(outcome.before, ConditionType::Ready);
        if wait.reason == Reason::Updating && memory.update.is_some() && ready && !fresh_wish {
            return Verdict::Keep;
        }
        let also = refusal.map_or_else(String::new, |r| format!("; {}: {}", r.reason, r.message));
        return moving(wait.reason, &format!("{}{also}", wait.message));
    }
    if let Some(refusal) = refusal {
        return Verdict::failed(refusal.fate, refusal.reason, &refusal.message);
    }
    if !refusals.is_empty() {
        return Verdict::Keep;
    }
    let mut steps = outcome.plan.steps.iter();
    if steps.any(|s| !matches!(s, Step::Restore { .. } | Step::Sweep { .. })) {
        // Held: what would be done is not done.
        return if outcome.held {
            Verdict::Keep
        } else {
            moving(Reason::Observing, "under way")
        };
    }
    settled(app, outcome)
}

/// Steps that leave the app's process alone.
fn is_gentle(step: &Step) -> bool {
    matches!(
        step,
        Step::Grant { .. }
            | Step::Restore { .. }
            | Step::Update { .. }
            | Step::Credential { .. }
            | Step::MakeFolder { .. }
            | Step::Upload { .. }
            | Step::Sweep { .. }
    )
}

fn moving(reason: Reason, message: &str) -> Verdict {
    Verdict::Moving {
        reason,
        message: message.into(),
    }
}

fn settled(app: &DatabricksApp, outcome: &Outcome<'_, DatabricksApp>) -> Verdict {
    let Some(remote) = outcome.seen.and_then(|s| s.remote()) else {
        return moving(Reason::Deleting, "the app is gone");
    };
    let (reason, message) = match remote.compute_state.as_str() {
        "ACTIVE" => (Reason::Running, remote.url.clone()),
        "STOPPED" if app.run_state().is_some() => (Reason::Stopped, "stopped as asked".into()),
        "STOPPED" => (
            Reason::Stopped,
            "stopped; spec.lifecycle.state does not ask for it to run".into(),
        ),
        state if app.run_state() == Some(RunState::Stopped) => (
            Reason::Stopped,
            format!("compute is {state}: it does not run"),
        ),
        // A state that nobody knows yet is no success.
        state => return moving(Reason::Observing, &format!("compute is {state}")),
    };
    Verdict::Ready { reason, message }
}

fn step_reason(step: &Step) -> Reason {
    match step {
        Step::Create { .. } => Reason::Creating,
        Step::Grant { .. } | Step::Restore { .. } | Step::Update { .. } => Reason::Updating,
        Step::Start => Reason::Starting,
        Step::Stop { .. } => Reason::Stopping,
        Step::Credential { .. }
        | Step::MakeFolder { .. }
        | Step::Upload { .. }
        | Step::Sweep { .. }
        | Step::Deploy { .. } => Reason::Deploying,
        Step::Delete => Reason::Deleting,
    }
}
