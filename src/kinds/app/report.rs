//! From what a pass found to what is said of an app, and what later passes remember. Pure.
use kube::ResourceExt;
use serde_json::json;

use super::act::Effect;
use super::digest;
use super::plan::{Step, digest_of, ownership, requested_redeploy};
use super::spec::{
    AppMemory, DatabricksApp, Drift, InFlight, InFlightStep, RecordedApp, RecordedDeployment,
    UpdateAttempt,
};
use super::wire::{self, RemoteApp};
use crate::api::annotation;
use crate::api::digest as json_digest;
use crate::api::status::{ConditionType, Fact, Reason, cut, is_true};
use crate::engine::events::Note;
use crate::engine::fold::Verdict;
use crate::engine::managed::{Inputs, Outcome, Report, Step as _};
use crate::engine::plan::{Fate, Seen, Wish};

/// Longest name of a list's entry in a status, in bytes.
const ENTRY_LIMIT: usize = 256;

pub(super) fn report(
    app: &DatabricksApp,
    outcome: &Outcome<'_, DatabricksApp>,
) -> Report<DatabricksApp> {
    let memory = remember(app, outcome);
    let mut details = outcome.details.clone();
    let remote = ours(app, outcome);
    if let Some(remote) = remote {
        details.effective_scopes = remote
            .effective_scopes
            .iter()
            .take(100)
            .map(|s| cut(s, ENTRY_LIMIT))
            .collect();
    }
    let repaired = repaired_fields(outcome);
    if !repaired.is_empty() {
        details.drift = Some(Drift {
            at: outcome
                .at
                .round(jiff::Unit::Second)
                .unwrap_or(outcome.at)
                .to_string(),
            fields: repaired.iter().map(|f| (*f).to_owned()).collect(),
        });
    }
    Report {
        verdict: verdict(app, outcome, &memory),
        aspects: aspects(app, outcome, &memory, remote),
        notes: notes(outcome, &repaired, remote),
        memory,
        details,
    }
}

/// The app as this pass saw it, if it is this object's.
fn ours<'a>(app: &DatabricksApp, outcome: &Outcome<'a, DatabricksApp>) -> Option<&'a RemoteApp> {
    let seen = outcome.seen?;
    let inputs = Inputs {
        seen,
        memory: outcome.memory,
        at: outcome.at,
        scale: 1,
        wish: outcome.wish,
    };
    let claimed = seen.claim == super::plan::Claim::Ours;
    seen.remote()
        .filter(|remote| claimed && ownership(app, &inputs, remote).is_ok())
}

fn remember(app: &DatabricksApp, outcome: &Outcome<'_, DatabricksApp>) -> AppMemory {
    let mut memory = outcome.memory.clone();
    let annotation = |key: &str| app.annotations().get(key).cloned();
    if outcome.first {
        // What an object carries when it is first seen was not asked of us.
        memory.last_handled_reconcile_at = annotation(annotation::RECONCILE_REQUESTED_AT);
        memory.last_handled_redeploy_at = annotation(annotation::REDEPLOY_REQUESTED_AT);
    }
    if outcome.seen.is_some_and(|s| s.forced) {
        memory.last_handled_reconcile_at = annotation(annotation::RECONCILE_REQUESTED_AT);
    }
    if let Some(remote) = ours(app, outcome) {
        saw(app, outcome, remote, &mut memory);
    }
    for (step, effect) in outcome.done {
        did(app, outcome, step, effect, &mut memory);
    }
    // A call that was written ahead and refused leaves nothing in flight, or an app that somebody else makes later with our
    // identity would pass for ours; one whose answer got lost stays in flight until it is seen.
    let ahead = outcome.plan.steps.last();
    let ahead = ahead.filter(|s| matches!(s, Step::Create { .. } | Step::Deploy { .. }));
    let undone = ahead.is_some_and(|step| !outcome.done.iter().any(|(done, _)| done == step));
    if undone && outcome.trouble.is_some_and(|t| !t.ambiguous) && !outcome.held {
        memory.in_flight = None;
    }
    if let Some(desired) = digest::deployment(app)
        && let Some(deployment) = &mut memory.deployment
    {
        deployment.desired_digest = desired;
    }
    memory
}

fn saw(
    app: &DatabricksApp,
    outcome: &Outcome<'_, DatabricksApp>,
    remote: &RemoteApp,
    memory: &mut AppMemory,
) {
    let before = memory.app.take().filter(|a| a.id == remote.id);
    let was = before
        .as_ref()
        .map(|a| a.compute_state.clone())
        .unwrap_or_default();
    let activated = before
        .as_ref()
        .map(|a| a.activated.clone())
        .unwrap_or_default();
    memory.app = Some(record(remote, &was, &activated));
    if memory
        .in_flight
        .as_ref()
        .is_some_and(|f| f.step == InFlightStep::Create)
    {
        memory.in_flight = None;
    }
    if wire::differing_settings(app, remote).is_empty() {
        memory.update = None;
    }
    let active = remote.compute_state == "ACTIVE";
    let newest = remote.newest();
    if let Some(newest) = newest {
        let known = memory.deployment.clone().unwrap_or_default();
        if known.id != newest.id
            && let Some(desired) = digest::deployment(app)
            && let Some(digest) = digest_of(app, memory, remote, newest, &desired)
        {
            memory.in_flight = None;
            memory.deployment = Some(RecordedDeployment {
                id: newest.id.clone(),
                digest,
                ..known
            });
        }
    }
    let looked = outcome.seen.and_then(|s| s.deployment.looked());
    for deployment in newest.into_iter().chain(looked) {
        let known = memory.deployment.as_mut();
        if let Some(known) = known.filter(|d| d.id == deployment.id) {
            known.state.clone_from(&deployment.state);
            known.message = match deployment.state.as_str() {
                "FAILED" | "CANCELLED" => cut(&deployment.message, ENTRY_LIMIT),
                _ => String::new(),
            };
        }
    }
    if let Some(start) = memory
        .in_flight
        .as_mut()
        .filter(|f| f.step == InFlightStep::Start && active)
    {
        if was != "ACTIVE" {
            // The platform's own deployment is waited for from now on.
            start.since = outcome.at.to_string();
        } else if outcome.plan.is_settled() {
            memory.in_flight = None;
        }
    }
}

fn record(remote: &RemoteApp, was: &str, activated: &str) -> RecordedApp {
    let scopes = json_digest::of(&json!(remote.scopes));
    let reached = remote.compute_state == "ACTIVE" && was != "ACTIVE";
    RecordedApp {
        id: remote.id.clone(),
        url: remote.url.clone(),
        compute_state: remote.compute_state.clone(),
        app_state: remote.app_state.clone(),
        creator: remote.creator.clone(),
        service_principal_client_id: remote.service_principal_client_id.clone(),
        activated: if reached || (activated.is_empty() && remote.compute_state == "ACTIVE") {
            scopes
        } else {
            activated.to_owned()
        },
    }
}

fn did(
    app: &DatabricksApp,
    outcome: &Outcome<'_, DatabricksApp>,
    step: &Step,
    effect: &Effect,
    memory: &mut AppMemory,
) {
    match (step, effect) {
        (Step::Create { .. }, Effect::Created(remote)) => {
            memory.in_flight = None;
            memory.deployment = None;
            memory.update = None;
            // An answer without an id is followed by a look; the attempt stays in flight until then.
            if remote.id.is_empty() {
                memory.in_flight.clone_from(&outcome.memory.in_flight);
            } else {
                memory.app = Some(record(remote, "", ""));
            }
        }
        (Step::Deploy { digest, .. }, Effect::Deployed(deployment)) => {
            memory.last_handled_redeploy_at = app
                .annotations()
                .get(annotation::REDEPLOY_REQUESTED_AT)
                .cloned();
            if deployment.id.is_empty() {
                return;
            }
            memory.in_flight = None;
            memory.deployment = Some(RecordedDeployment {
                id: deployment.id.clone(),
                state: deployment.state.clone(),
                message: String::new(),
                digest: digest.clone(),
                desired_digest: digest.clone(),
            });
        }
        (Step::Update { .. }, Effect::Updated { done }) => {
            memory.update = (!done).then(|| UpdateAttempt {
                digest: step.digest(),
            });
        }
        (Step::Start, _) => {
            let remote = outcome.seen.and_then(|s| s.remote());
            let newest = remote.and_then(RemoteApp::newest).map(|d| d.id.clone());
            memory.in_flight = Some(InFlight {
                step: InFlightStep::Start,
                digest: String::new(),
                last_deployment_id: newest.unwrap_or_default(),
                since: outcome.at.to_string(),
            });
        }
        _ => {}
    }
}

/// Fields that somebody else changed and this pass put right.
fn repaired_fields(outcome: &Outcome<'_, DatabricksApp>) -> Vec<&'static str> {
    let settled = is_true(outcome.before, ConditionType::Ready);
    if outcome.changed || outcome.wish == Wish::Deleting || !settled {
        return Vec::new();
    }
    let mut fields: Vec<&str> = Vec::new();
    for (step, _) in outcome.done {
        if !matches!(step, Step::Create { .. } | Step::Delete) {
            fields.extend(step.fields());
        }
    }
    fields
}

fn notes(
    outcome: &Outcome<'_, DatabricksApp>,
    repaired: &[&'static str],
    remote: Option<&RemoteApp>,
) -> Vec<Note> {
    let mut notes = Vec::new();
    if !repaired.is_empty() {
        let fields = repaired.join(", ");
        let by = remote.map(|r| r.updater.as_str()).filter(|u| !u.is_empty());
        let by = by.map_or_else(String::new, |by| format!("; last changed by {by}"));
        notes.push(Note::normal(
            "DriftRepaired",
            format!("repair {fields}"),
            format!("{fields} differed from the spec and was put right{by}"),
        ));
    }
    for (step, effect) in outcome.done {
        if let (Step::Create { .. }, Effect::Created(created)) = (step, effect) {
            notes.push(match &outcome.memory.app {
                Some(gone) => Note::warning(
                    "Recreated",
                    "create",
                    format!("the app (id {}) was gone and was created anew: its URL and service principal are new", gone.id),
                ),
                None => Note::normal("Created", "create", format!("created app {}", created.name)),
            });
        }
        if let (Step::Deploy { .. }, Effect::Deployed(deployment)) = (step, effect) {
            notes.push(Note::normal(
                "Deploying",
                format!("deploy {}", deployment.id),
                format!("deployment {} was accepted", deployment.id),
            ));
        }
    }
    let replaced = outcome.wish == Wish::Deleting
        && outcome.plan.is_settled()
        && outcome.seen.and_then(|s| s.remote()).is_some()
        && remote.is_none();
    if replaced {
        notes.push(Note::warning(
            "RemoteReplaced",
            "let go",
            "the app under this name is somebody else's; it was left as it is",
        ));
    }
    notes
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
    if let Some(trouble) = outcome.trouble {
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
        let gentle = outcome
            .done
            .iter()
            .all(|(s, _)| matches!(s, Step::Grant { .. } | Step::Update { .. }));
        if gentle && !fresh_wish {
            return Verdict::Keep;
        }
        return moving(step_reason(step), &step.to_string());
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
    if !outcome.plan.steps.is_empty() {
        // Held: what would be done is not done.
        return if outcome.held {
            Verdict::Keep
        } else {
            moving(Reason::Observing, "under way")
        };
    }
    settled(app, outcome)
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
        state => (Reason::Succeeded, format!("compute is {state}")),
    };
    Verdict::Ready { reason, message }
}

fn step_reason(step: &Step) -> Reason {
    match step {
        Step::Create { .. } => Reason::Creating,
        Step::Grant { .. } | Step::Update { .. } => Reason::Updating,
        Step::Start => Reason::Starting,
        Step::Stop => Reason::Stopping,
        Step::Deploy { .. } => Reason::Deploying,
        Step::Delete => Reason::Deleting,
    }
}

/// The aspect that a refusal belongs to.
fn aspect(reason: Reason) -> Option<ConditionType> {
    match reason {
        Reason::CreateRefused
        | Reason::QuotaExceeded
        | Reason::UpdateRefused
        | Reason::UpdateFailed => Some(ConditionType::AppSynced),
        Reason::NameConflict | Reason::RemoteReplaced => Some(ConditionType::AppSynced),
        Reason::GrantsRefused | Reason::PrincipalNotFound => Some(ConditionType::PermissionsSynced),
        Reason::DeploymentFailed | Reason::DeploymentRefused | Reason::SourceNotFound => {
            Some(ConditionType::Deployed)
        }
        _ => None,
    }
}

/// One fact for each aspect that this pass looked at; the others keep theirs.
fn aspects(
    app: &DatabricksApp,
    outcome: &Outcome<'_, DatabricksApp>,
    memory: &AppMemory,
    remote: Option<&RemoteApp>,
) -> Vec<Fact> {
    let mut facts: Vec<Fact> = Vec::new();
    let mut say = |kind, status, reason, message: String| {
        if !facts.iter().any(|f| f.kind == kind) {
            facts.push(Fact::new(kind, status, reason, message));
        }
    };
    for refusal in &outcome.plan.refusals {
        if let Some(kind) = aspect(refusal.reason) {
            say(kind, Some(false), refusal.reason, refusal.message.clone());
        }
    }
    if let Some(trouble) = outcome.trouble
        && let Some(kind) = aspect(trouble.reason)
    {
        say(kind, Some(false), trouble.reason, trouble.message.clone());
    }
    for (step, _) in outcome.done {
        match step {
            Step::Grant { .. } => {
                say(
                    ConditionType::PermissionsSynced,
                    Some(true),
                    Reason::Succeeded,
                    String::new(),
                );
            }
            Step::Create { .. } => {
                say(
                    ConditionType::AppSynced,
                    Some(true),
                    Reason::Succeeded,
                    String::new(),
                );
            }
            Step::Update { .. } if memory.update.is_some() => {
                say(
                    ConditionType::AppSynced,
                    Some(false),
                    Reason::Updating,
                    step.to_string(),
                );
            }
            Step::Deploy { .. } => {
                say(
                    ConditionType::Deployed,
                    Some(false),
                    Reason::Deploying,
                    step.to_string(),
                );
            }
            _ => {}
        }
    }
    let (Some(remote), Some(seen)) = (remote, outcome.seen) else {
        return facts;
    };
    if wire::differing_settings(app, remote).is_empty() {
        say(
            ConditionType::AppSynced,
            Some(true),
            Reason::Succeeded,
            String::new(),
        );
    } else {
        say(
            ConditionType::AppSynced,
            Some(false),
            Reason::Updating,
            "settings differ".into(),
        );
    }
    if app.spec.permissions.is_some() && matches!(seen.acl, Seen::Looked(_)) {
        say(
            ConditionType::PermissionsSynced,
            Some(true),
            Reason::Succeeded,
            String::new(),
        );
    }
    if app.spec.source.is_some() {
        let (status, reason, message) = deployed(app, outcome, memory, remote);
        say(ConditionType::Deployed, status, reason, message);
    }
    let scopes = app
        .spec
        .user_authorization
        .as_ref()
        .and_then(|u| u.scopes.as_ref());
    if scopes.is_some() {
        let running = json_digest::of(&json!(remote.scopes));
        let recorded = memory
            .app
            .as_ref()
            .map(|a| a.activated.as_str())
            .unwrap_or_default();
        if remote.compute_state == "ACTIVE" && recorded != running {
            let message = "the scopes were changed while the app ran: stop and start it to let them take effect";
            say(
                ConditionType::ScopesSynced,
                Some(false),
                Reason::RestartRequired,
                message.into(),
            );
        } else {
            say(
                ConditionType::ScopesSynced,
                Some(true),
                Reason::Succeeded,
                String::new(),
            );
        }
    }
    facts
}

fn deployed(
    app: &DatabricksApp,
    outcome: &Outcome<'_, DatabricksApp>,
    memory: &AppMemory,
    remote: &RemoteApp,
) -> (Option<bool>, Reason, String) {
    let desired = digest::deployment(app);
    let known = memory.deployment.as_ref();
    let current =
        known.is_some_and(|d| Some(&d.digest) == desired.as_ref() && d.state == "SUCCEEDED");
    if let Some(wait) = outcome
        .plan
        .wait
        .as_ref()
        .filter(|w| w.reason == Reason::Deploying)
    {
        return (Some(false), Reason::Deploying, wait.message.clone());
    }
    if current && !requested_redeploy(app, memory) {
        return (Some(true), Reason::Succeeded, String::new());
    }
    if remote.compute_state != "ACTIVE" {
        let message = "the deployment is made once the app runs";
        return (Some(false), Reason::WaitingForStart, message.into());
    }
    (Some(false), Reason::Deploying, "not deployed yet".into())
}
