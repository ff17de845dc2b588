//! What later passes need of this one. Pure.
use std::time::Duration;

use kube::ResourceExt;

use super::super::act::Effect;
use super::super::code::{Code, Origin};
use super::super::fields;
use super::super::plan::{Shown, Step, digest_of};
use super::super::spec::{
    AppMemory, DatabricksApp, GoodDeployment, InFlight, InFlightStep, RecordedApp,
    RecordedDeployment, RecordedPrincipal, RecordedSource, Rollback, RolledBack, RunState,
    UpdateAttempt,
};
use super::super::wire::{RemoteApp, RemoteDeployment};
use super::{ENTRY_LIMIT, ours};
use crate::api::annotation;
use crate::api::status::{Reason, cut};
use crate::engine::managed::Outcome;
use crate::telemetry::Clock;

type Pass<'a> = Outcome<'a, DatabricksApp>;

/// How long a deployment has to last to count as good.
const GOOD_AFTER: Duration = Duration::from_secs(5 * 60);
/// Contents that a workspace keeps of one app, at the most.
const UPLOADS: usize = 16;

pub fn remember(app: &DatabricksApp, outcome: &Pass<'_>) -> AppMemory {
    let mut memory = outcome.memory.clone();
    let annotation = |key: &str| app.annotations().get(key).cloned();
    if outcome.first {
        // What an object carries when it is first seen was not asked of us.
        memory.last_handled_reconcile_at = annotation(annotation::RECONCILE_REQUESTED_AT);
        memory.last_handled_redeploy_at = annotation(annotation::REDEPLOY_REQUESTED_AT);
        memory.last_handled_restart_at = annotation(annotation::RESTART_REQUESTED_AT);
    }
    if outcome.seen.is_some_and(|s| s.forced) {
        memory.last_handled_reconcile_at = annotation(annotation::RECONCILE_REQUESTED_AT);
    }
    // To stop what shall be stopped, or to start it, is all that a restart can ask for.
    let started = outcome
        .done
        .iter()
        .any(|(s, _)| matches!(s, Step::Start | Step::Stop { restart: true }));
    if started || app.run_state() == Some(RunState::Stopped) {
        memory.last_handled_restart_at = annotation(annotation::RESTART_REQUESTED_AT);
    }
    if outcome.seen.is_some_and(|s| s.remote().is_some()) {
        memory.run_state = app.run_state();
    }
    let remote = ours(app, outcome);
    if let Some(remote) = remote {
        saw(app, outcome, remote, &mut memory);
    }
    let code = outcome.seen.and_then(|s| s.code());
    if let Some(code) = code.filter(|_| remote.is_some()) {
        sources(app, outcome, code, &mut memory);
    }
    for (step, effect) in outcome.done {
        did(app, outcome, step, effect, &mut memory);
    }
    // A call that was written ahead and refused leaves nothing in flight, or an app that somebody else makes later with our
    // identity would pass for ours; one whose answer got lost stays in flight until it is seen.
    let mut ahead = outcome
        .plan
        .steps
        .iter()
        .filter(|s| s.written_ahead().is_some());
    let undone = ahead.any(|step| !outcome.done.iter().any(|(done, _)| done == step));
    if undone && outcome.trouble.is_some_and(|t| !t.ambiguous) && !outcome.held {
        memory.in_flight = None;
    }
    match code {
        Some(code) => awaited(app, outcome, code, &mut memory),
        None if app.spec.source.is_none() => memory.pending_since = None,
        None => {}
    }
    memory
}

/// A Git credential goes with the service principal that it was made for.
fn forget_credential(memory: &mut AppMemory) {
    if let Some(source) = &mut memory.source {
        source.credential_id = None;
        source.credential.clear();
    }
}

fn saw(app: &DatabricksApp, outcome: &Pass<'_>, remote: &RemoteApp, memory: &mut AppMemory) {
    let before = memory.app.take().filter(|a| a.id == remote.id);
    let (was, activated) = before
        .map(|a| (a.compute_state, a.activated))
        .unwrap_or_default();
    memory.app = Some(record(remote, &was, &activated));
    if memory.app.as_ref().map(|a| &a.id) != outcome.memory.app.as_ref().map(|a| &a.id) {
        forget_credential(memory);
    }
    let stopped = app.run_state() == Some(RunState::Stopped);
    if stopped
        && memory
            .in_flight
            .as_ref()
            .is_some_and(|f| f.step == InFlightStep::Restart)
    {
        memory.in_flight = None;
    }
    let in_flight = memory.in_flight.as_ref().map(|f| f.step);
    // Nobody starts it again: a restart has nothing to do.
    if remote.compute_state == "STOPPED"
        && app.run_state().is_none()
        && in_flight != Some(InFlightStep::Restart)
    {
        memory.last_handled_restart_at = app
            .annotations()
            .get(annotation::RESTART_REQUESTED_AT)
            .cloned();
    }
    if in_flight == Some(InFlightStep::Create) {
        memory.in_flight = None;
    }
    if fields::to_update(app, &remote.settings).is_empty() {
        memory.update = None;
    }
    let active = remote.compute_state == "ACTIVE";
    let newest = remote.newest();
    if let Some(newest) = newest {
        let known = memory.deployment.clone().unwrap_or_default();
        let code = outcome.seen.and_then(|s| s.code());
        if known.id != newest.id
            && let Some(digest) = code.and_then(|code| digest_of(app, memory, code, remote, newest))
        {
            // The answer to a rollback got lost: what it gave up stays given up.
            let attempt = memory.in_flight.take().filter(|f| f.digest == digest);
            if let Some(rejected) = attempt.and_then(|f| f.rejected) {
                let message = cut(&remote.app_message, ENTRY_LIMIT);
                memory.rolled_back = Some(RolledBack { rejected, message });
            }
            memory.deployment = Some(RecordedDeployment {
                id: newest.id.clone(),
                digest,
                since: outcome.at.to_string(),
                ..known
            });
        }
    }
    let looked = outcome.seen.and_then(|s| s.deployment.looked());
    for deployment in newest.into_iter().chain(looked) {
        let known = memory.deployment.as_mut();
        if let Some(known) = known.filter(|d| d.id == deployment.id) {
            known.state.clone_from(&deployment.state);
            known
                .resolved_commit
                .clone_from(&deployment.resolved_commit);
            known.message = match deployment.failed() {
                true => cut(&deployment.message, ENTRY_LIMIT),
                false => String::new(),
            };
        }
    }
    let started = matches!(in_flight, Some(InFlightStep::Start | InFlightStep::Restart));
    if let Some(start) = memory.in_flight.as_mut().filter(|_| started && active) {
        if was != "ACTIVE" && start.step == InFlightStep::Start {
            // The platform's own deployment is waited for from now on.
            start.since = outcome.at.to_string();
        } else if outcome.plan.is_settled() {
            memory.in_flight = None;
        }
    }
}

fn record(remote: &RemoteApp, was: &str, activated: &str) -> RecordedApp {
    let active = remote.compute_state == "ACTIVE";
    // An update of running compute starts no process anew.
    let ran = matches!(was, "ACTIVE" | "UPDATING");
    let reached = active && (!ran || activated.is_empty());
    let principal = &remote.service_principal;
    RecordedApp {
        id: remote.id.clone(),
        url: remote.url.clone(),
        compute_state: remote.compute_state.clone(),
        app_state: remote.running_state().to_owned(),
        creator: remote.creator.clone(),
        service_principal: (!principal.client_id.is_empty()).then(|| RecordedPrincipal {
            id: principal.id,
            client_id: principal.client_id.clone(),
            name: cut(&principal.name, ENTRY_LIMIT),
        }),
        activated: if reached {
            fields::restart_digest(&remote.settings)
        } else {
            activated.to_owned()
        },
    }
}

/// The content of the source, the Secrets in use, and the last deployment that was seen running.
fn sources(app: &DatabricksApp, outcome: &Pass<'_>, code: &Code, memory: &mut AppMemory) {
    memory.secrets.clone_from(&code.secrets);
    let source = app.spec.source.as_ref();
    let uploaded = source.is_some_and(|s| s.config_map_ref.is_some() || s.artifact_ref.is_some());
    if !code.content.is_empty() {
        let known = memory.source.get_or_insert_default();
        known.content.clone_from(&code.content);
        if let Some(seen) = outcome.seen.filter(|s| !s.listing.is_empty()) {
            known.listing.clone_from(&seen.listing);
        }
    }
    let desired = code.digest(app);
    if memory
        .rolled_back
        .as_ref()
        .is_some_and(|r| r.rejected != desired)
    {
        memory.rolled_back = None;
    }
    let Some(deployment) = memory.deployment.as_mut().filter(|d| d.digest == desired) else {
        return;
    };
    let remote = outcome.seen.and_then(|s| s.remote());
    let newest = remote
        .and_then(RemoteApp::newest)
        .filter(|n| n.id == deployment.id);
    let whole = outcome.seen.is_some_and(|s| s.shown == Shown::Now);
    let runs = whole && remote.is_some_and(|r| r.app_state == "RUNNING");
    // A process that is going to end has run, too.
    let since = deployment.since.parse().unwrap_or(outcome.at);
    let lasts = Clock::new(outcome.scale).age(since, outcome.at) >= GOOD_AFTER;
    let wanted = app.spec.deployment.as_ref();
    let rolls_back = wanted.is_some_and(|d| d.rollback == Rollback::OnFailure);
    match newest {
        Some(newest) if newest.state == "SUCCEEDED" && runs && lasts && rolls_back => {
            deployment.last_good = Some(good(newest, &desired, uploaded.then_some(&code.content)));
        }
        // What it was made of may be gone: another try uploads anew.
        Some(newest) if newest.failed() && uploaded => {
            if let Some(source) = &mut memory.source {
                source.uploads.retain(|upload| *upload != code.content);
            }
        }
        _ => {}
    }
}

fn good(newest: &RemoteDeployment, digest: &str, upload: Option<&String>) -> GoodDeployment {
    let text = |key: &str| newest.git[key].as_str().unwrap_or_default().to_owned();
    let commit = match newest.resolved_commit.as_str() {
        "" => text("commit"),
        resolved => resolved.to_owned(),
    };
    GoodDeployment {
        id: newest.id.clone(),
        digest: digest.to_owned(),
        commit,
        path: text("source_code_path"),
        upload: upload.cloned().unwrap_or_default(),
    }
}

/// Which code is asked for, and since when it is not the one that runs.
fn awaited(app: &DatabricksApp, outcome: &Pass<'_>, code: &Code, memory: &mut AppMemory) {
    let desired = code.digest(app);
    let mut asked_anew = memory.deployment.is_none();
    if let Some(deployment) = &mut memory.deployment {
        asked_anew = deployment.desired_digest != desired;
        deployment.desired_digest.clone_from(&desired);
    }
    let known = memory.deployment.as_ref();
    let runs = known.is_some_and(|d| d.digest == desired && d.state == "SUCCEEDED");
    let waits = outcome
        .plan
        .wait
        .as_ref()
        .is_some_and(|w| matches!(w.reason, Reason::Starting | Reason::Deploying));
    let late = outcome
        .plan
        .refusals
        .iter()
        .any(|r| r.reason == Reason::DeadlineExceeded);
    let made = outcome
        .done
        .iter()
        .any(|(s, _)| matches!(s, Step::Deploy { .. }));
    if runs || !(waits || late || made) {
        memory.pending_since = None;
    } else if (asked_anew && memory.deployment.is_some()) || memory.pending_since.is_none() {
        memory.pending_since = Some(outcome.at.to_string());
    }
}

fn did(
    app: &DatabricksApp,
    outcome: &Pass<'_>,
    step: &Step,
    effect: &Effect,
    memory: &mut AppMemory,
) {
    match (step, effect) {
        (Step::Create { .. }, Effect::Created(remote)) => {
            memory.deployment = None;
            memory.update = None;
            memory.rolled_back = None;
            forget_credential(memory);
            // An answer without an id is followed by a look; the attempt stays in flight until then.
            if !remote.id.is_empty() {
                memory.in_flight = None;
                memory.app = Some(record(remote, "", ""));
            }
        }
        (
            Step::Deploy {
                digest,
                rejected,
                from,
                ..
            },
            Effect::Deployed(deployment),
        ) => {
            memory.last_handled_redeploy_at = app
                .annotations()
                .get(annotation::REDEPLOY_REQUESTED_AT)
                .cloned();
            let remote = outcome.seen.and_then(|s| s.remote());
            memory.rolled_back = rejected.as_ref().map(|rejected| RolledBack {
                rejected: rejected.clone(),
                message: remote
                    .map(|r| cut(&r.app_message, ENTRY_LIMIT))
                    .unwrap_or_default(),
            });
            if deployment.id.is_empty() {
                return;
            }
            memory.in_flight = None;
            let before = memory.deployment.take().unwrap_or_default();
            memory.deployment = Some(RecordedDeployment {
                id: deployment.id.clone(),
                state: deployment.state.clone(),
                message: String::new(),
                digest: digest.clone(),
                since: outcome.at.to_string(),
                resolved_commit: match from {
                    Origin::Git(_) => deployment.resolved_commit.clone(),
                    Origin::Folder(_) => String::new(),
                },
                ..before
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
                rejected: None,
                since: outcome.at.to_string(),
            });
        }
        (Step::Credential { digest, .. }, Effect::Credential(id)) => {
            let source = memory.source.get_or_insert_default();
            source.credential_id = *id;
            source.credential.clone_from(digest);
        }
        (Step::Sweep { upload, .. }, Effect::Swept) => {
            if let Some(source) = &mut memory.source {
                source
                    .uploads
                    .retain(|known| !upload.is_empty() && known != upload);
            }
        }
        (Step::Upload { .. }, Effect::Uploaded) => uploaded(outcome, memory),
        _ => {}
    }
}

/// Content counts as uploaded once every file of it is.
fn uploaded(outcome: &Pass<'_>, memory: &mut AppMemory) {
    let upload = outcome
        .seen
        .and_then(|s| s.code())
        .and_then(|code| code.upload.as_ref());
    let made = outcome
        .done
        .iter()
        .filter(|(s, _)| matches!(s, Step::Upload { .. }))
        .count();
    let Some(upload) = upload.filter(|upload| made == upload.files.len()) else {
        return;
    };
    let RecordedSource { uploads, .. } = memory.source.get_or_insert_default();
    if !uploads.contains(&upload.digest) {
        uploads.push(upload.digest.clone());
    }
    let excess = uploads.len().saturating_sub(UPLOADS);
    uploads.drain(..excess);
}
