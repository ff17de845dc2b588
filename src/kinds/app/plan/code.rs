//! The code lane: exactly one deployment for each digest of inputs, never two in flight; the newest wishes win.
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::json;

use super::super::code::{self as material, Code, Origin, Upload};
use super::super::spec::{AppMemory, DatabricksApp, GoodDeployment, InFlightStep, Rollback};
use super::super::wire::{RemoteApp, RemoteDeployment};
use super::{Inputs, SourceState, Step, stalled, unless_refused};
use crate::api::annotation;
use crate::api::status::Reason;
use crate::engine::managed::Step as _;
use crate::engine::plan::{Fate, Plan, Refusal, SLOW, Seen};
use crate::telemetry::Clock;

/// How long the platform may take to show the deployment that it makes by itself after a start.
const REDEPLOY_GRACE: Duration = Duration::from_secs(60);
/// A deployment takes a minute or so.
const DEPLOY_POLL: Duration = Duration::from_secs(30);

pub(super) fn code(
    app: &DatabricksApp,
    inputs: &Inputs<'_>,
    remote: &RemoteApp,
) -> Option<Plan<Step>> {
    let code = inputs.seen.code()?;
    if remote.compute_state != "ACTIVE" {
        return None;
    }
    let deploying = |message| Some(Plan::wait(Reason::Deploying, message, DEPLOY_POLL));
    if remote.deploying() {
        return deploying("a deployment is under way");
    }
    let desired = code.digest(app);
    let newest = remote.newest();
    let requested = requested_redeploy(app, inputs.memory);
    let appeared = inputs.seen.source == Seen::Looked(SourceState::Appeared);
    if let Some(rolled_back) = given_up(inputs.memory, &desired)
        && !requested
    {
        let message = format!(
            "the app crashed ({rolled_back}) and runs the deployment before it; change the source, or ask for another deployment with the annotation {}",
            annotation::REDEPLOY_REQUESTED_AT
        );
        return Some(Plan::refuse(stalled(Reason::RolledBack, message)));
    }
    if let Some(vanished) = vanished(inputs, newest, &desired)
        && !requested
    {
        match vanished.state.as_str() {
            "IN_PROGRESS" => return deploying("a deployment is under way"),
            "FAILED" | "CANCELLED" if !appeared => {
                return Some(Plan::refuse(failed_deployment(app, inputs, &vanished)));
            }
            // Nothing was deployed over it: the app only does not show it, unless it was stopped since.
            "SUCCEEDED" if newest.is_none() && !was_started(inputs) => return None,
            _ => {}
        }
    }
    if let Some(newest) = newest
        && !requested
        && digest_of(app, inputs.memory, code, remote, newest).as_deref() == Some(&desired)
    {
        if newest.failed() {
            if !appeared {
                return Some(Plan::refuse(failed_deployment(app, inputs, newest)));
            }
        } else {
            // A changed token is for the next deployment, whoever makes it.
            let credential = credential(app, inputs, code);
            let renewed = credential.map(|step| unless_refused(step, inputs));
            return renewed.or_else(|| sweep(app, inputs, code));
        }
    }
    if awaits_redeploy(inputs, newest) {
        return deploying("waiting for the deployment that the platform makes after a start");
    }
    if let Some(refusal) = would_lose_variables(app, inputs, newest) {
        return Some(Plan::refuse(refusal));
    }
    Some(deploy(app, inputs, code, newest, desired))
}

/// What has to be there first, and then the deployment.
fn deploy(
    app: &DatabricksApp,
    inputs: &Inputs<'_>,
    code: &Code,
    newest: Option<&RemoteDeployment>,
    desired: String,
) -> Plan<Step> {
    if let Some(credential) = credential(app, inputs, code) {
        return unless_refused(credential, inputs);
    }
    if let Some(upload) = &code.upload {
        return uploads(inputs, upload);
    }
    let step = Step::Deploy {
        digest: desired,
        last_deployment_id: newest.map(|d| d.id.clone()).unwrap_or_default(),
        from: code.from.clone(),
        values: code.values.clone(),
        rejected: None,
    };
    if inputs.seen.source == Seen::Looked(SourceState::Missing)
        && let Some(refused) = inputs.seen.refused.get(step.verb())
    {
        return Plan::refuse(source_missing(app, &refused.message));
    }
    unless_refused(step, inputs)
}

fn credential(app: &DatabricksApp, inputs: &Inputs<'_>, code: &Code) -> Option<Step> {
    let credential = code.credential.as_ref()?;
    let known = inputs.memory.source.as_ref();
    if known.is_some_and(|s| s.credential == credential.revision) {
        return None;
    }
    let git = app.spec.source.as_ref()?.git.as_ref()?;
    let principal = inputs.seen.remote()?.service_principal.id;
    Some(Step::Credential {
        id: credential.id,
        principal,
        provider: git.provider.wire(),
        token: credential.token.clone(),
        digest: credential.revision.clone(),
    })
}

/// Folders, parents first, then the files.
fn uploads(inputs: &Inputs<'_>, upload: &Upload) -> Plan<Step> {
    let mut plan = Plan::default();
    let folders = upload.files.folders();
    let nested = folders.into_iter().filter(|f| !f.is_empty());
    let paths = std::iter::once(upload.folder.clone())
        .chain(nested.map(|f| format!("{}/{f}", upload.folder)));
    let steps = paths.map(|path| Step::MakeFolder { path });
    let files = upload.files.iter().map(|(path, content)| Step::Upload {
        path: format!("{}/{path}", upload.folder),
        content: content.clone(),
    });
    for step in steps.chain(files) {
        let next = unless_refused(step, inputs);
        plan.refusals.extend(next.refusals);
        plan.steps.extend(next.steps);
    }
    if !plan.refusals.is_empty() {
        // Half a folder is of no use.
        plan.steps.clear();
        plan.refusals.truncate(1);
    }
    plan
}

/// Uploads that are neither what runs, nor what shall run, nor what to go back to.
fn sweep(app: &DatabricksApp, inputs: &Inputs<'_>, code: &Code) -> Option<Plan<Step>> {
    let known = inputs.memory.source.as_ref()?;
    let good = inputs
        .memory
        .deployment
        .as_ref()
        .and_then(|d| d.last_good.as_ref());
    let kept =
        |upload: &String| *upload == code.content || good.is_some_and(|g| g.upload == *upload);
    let identity = &inputs.seen.identity;
    let steps = known
        .uploads
        .iter()
        .filter(|upload| !kept(upload))
        .map(|upload| Step::Sweep {
            folder: material::upload_folder(identity, app.remote_name(), upload),
            upload: upload.clone(),
        });
    let steps: Vec<Step> = steps
        .flat_map(|step| unless_refused(step, inputs).steps)
        .collect();
    (!steps.is_empty()).then(|| Plan {
        steps,
        ..Plan::default()
    })
}

/// A deployment that takes variables away from an app that somebody else gave them, without the spec saying so.
fn would_lose_variables(
    app: &DatabricksApp,
    inputs: &Inputs<'_>,
    newest: Option<&RemoteDeployment>,
) -> Option<Refusal> {
    let newest = newest?;
    let ours = inputs
        .memory
        .deployment
        .as_ref()
        .is_some_and(|d| d.id == newest.id);
    if ours && app.env().is_some() {
        return None;
    }
    let lost = material::lost_variables(app, newest);
    (!lost.is_empty()).then(|| {
        stalled(
            Reason::EnvWouldBeLost,
            format!(
                "spec.deployment.env: the app has the variables {}, whose values cannot be read; list them, or set env: [] to let them go",
                lost.join(", ")
            ),
        )
    })
}

/// What to do about a process that ended.
pub(super) fn crash(app: &DatabricksApp, inputs: &Inputs<'_>, remote: &RemoteApp) -> Plan<Step> {
    let crashed = stalled(
        Reason::AppCrashed,
        format!(
            "{}; look at the app's logs, then change its source or restart it",
            remote.app_message
        ),
    );
    let rollback = app.spec.deployment.as_ref().map(|d| d.rollback);
    let (Some(Rollback::OnFailure), Some(code), Some(newest)) =
        (rollback, inputs.seen.code(), remote.newest())
    else {
        return Plan::refuse(crashed);
    };
    let desired = code.digest(app);
    let judged = newest.state == "SUCCEEDED"
        && given_up(inputs.memory, &desired).is_none()
        && digest_of(app, inputs.memory, code, remote, newest).as_deref() == Some(&desired);
    if !judged {
        return Plan::refuse(crashed);
    }
    let good = inputs
        .memory
        .deployment
        .as_ref()
        .and_then(|d| d.last_good.as_ref());
    let good = good.filter(|good| good.digest != desired);
    let Some((good, from)) = good.and_then(|good| Some((good, origin_of(app, inputs, good)?)))
    else {
        let message = format!(
            "{}; no earlier deployment from a Git commit or from an upload of the operator is left to go back to",
            crashed.message
        );
        return Plan::refuse(stalled(Reason::RollbackUnavailable, message));
    };
    let step = Step::Deploy {
        digest: good.digest.clone(),
        last_deployment_id: newest.id.clone(),
        from,
        values: code.values.clone(),
        rejected: Some(desired),
    };
    unless_refused(step, inputs)
}

/// Where the code of a good deployment still lies.
fn origin_of(app: &DatabricksApp, inputs: &Inputs<'_>, good: &GoodDeployment) -> Option<Origin> {
    if !good.commit.is_empty() {
        let mut reference = json!({ "commit": good.commit });
        if !good.path.is_empty() {
            reference["source_code_path"] = json!(good.path);
        }
        return Some(Origin::Git(reference));
    }
    let uploads = &inputs.memory.source.as_ref()?.uploads;
    uploads.contains(&good.upload).then(|| {
        let identity = &inputs.seen.identity;
        Origin::Folder(material::upload_folder(
            identity,
            app.remote_name(),
            &good.upload,
        ))
    })
}

/// The words about the crash for which these inputs were given up.
pub fn given_up<'a>(memory: &'a AppMemory, desired: &str) -> Option<&'a str> {
    let rolled_back = memory.rolled_back.as_ref()?;
    (rolled_back.rejected == desired).then_some(rolled_back.message.as_str())
}

/// Service time left until the deadline of the deployment that is awaited, if one is.
pub fn deadline_in(app: &DatabricksApp, inputs: &Inputs<'_>) -> Option<Duration> {
    let since: Timestamp = inputs.memory.pending_since.as_ref()?.parse().ok()?;
    let age = Clock::new(inputs.scale).age(since, inputs.at);
    Some(app.deadline().saturating_sub(age))
}

/// Our last deployment of the inputs asked for, when it is neither the pending nor the active one, as far as it is known.
pub fn vanished(
    inputs: &Inputs<'_>,
    newest: Option<&RemoteDeployment>,
    desired: &str,
) -> Option<RemoteDeployment> {
    let known = inputs.memory.deployment.as_ref()?;
    if known.digest != desired || newest.is_some_and(|n| n.id == known.id) {
        return None;
    }
    Some(match &inputs.seen.deployment {
        Seen::Looked(deployment) => deployment.clone(),
        Seen::NotLooked => RemoteDeployment {
            id: known.id.clone(),
            state: known.state.clone(),
            message: known.message.clone(),
            ..RemoteDeployment::default()
        },
    })
}

fn failed_deployment(
    app: &DatabricksApp,
    inputs: &Inputs<'_>,
    newest: &RemoteDeployment,
) -> Refusal {
    if inputs.seen.source == Seen::Looked(SourceState::Missing) {
        let said = format!("the deployment failed: {}", newest.message);
        return source_missing(app, &said);
    }
    stalled(
        Reason::DeploymentFailed,
        format!(
            "deployment {} failed: {}; mend the source, then ask for another one with the annotation {}",
            newest.id,
            newest.message,
            annotation::REDEPLOY_REQUESTED_AT
        ),
    )
}

/// `said`: what became of the deployment, as its reason may be another one after all.
fn source_missing(app: &DatabricksApp, said: &str) -> Refusal {
    let workspace = app.spec.source.as_ref().and_then(|s| s.workspace.as_ref());
    let path = workspace.map(|w| w.path.as_str()).unwrap_or_default();
    Refusal {
        reason: Reason::SourceNotFound,
        message: format!(
            "spec.source.workspace.path {path:?} does not exist in the workspace, or the operator's identity cannot read it; upload the source or correct the path ({said})"
        ),
        fate: Fate::Missing { recheck: SLOW },
    }
}

/// A start of ours is not settled yet.
fn was_started(inputs: &Inputs<'_>) -> bool {
    let in_flight = inputs.memory.in_flight.as_ref();
    in_flight.is_some_and(|f| f.step == InFlightStep::Start)
}

/// The platform deploys by itself after a start, and shows it late; that one is judged before we make another.
fn awaits_redeploy(inputs: &Inputs<'_>, newest: Option<&RemoteDeployment>) -> bool {
    let Some(start) = &inputs.memory.in_flight else {
        return false;
    };
    let shown = newest.map(|d| d.id.as_str()).unwrap_or_default();
    if start.step != InFlightStep::Start
        || inputs.memory.deployment.is_none()
        || shown != start.last_deployment_id
    {
        return false;
    }
    // The wait begins when the compute is first seen active.
    let recorded = inputs.memory.app.as_ref();
    if recorded.is_none_or(|a| a.compute_state != "ACTIVE") {
        return true;
    }
    let since: Timestamp = start.since.parse().unwrap_or(inputs.at);
    Clock::new(inputs.scale).age(since, inputs.at) < REDEPLOY_GRACE
}

/// Digest of the inputs of the newest deployment: known by its id, taken from the attempt that must have made it, or
/// inherited by a deployment of the platform's own whose visible inputs are the same. Of an app that somebody else
/// deployed, what cannot be read counts as the same.
pub fn digest_of(
    app: &DatabricksApp,
    memory: &AppMemory,
    code: &Code,
    remote: &RemoteApp,
    newest: &RemoteDeployment,
) -> Option<String> {
    let visible = |lenient| material::same_visible(app, &code.from, remote, newest, lenient);
    if let Some(known) = &memory.deployment
        && known.id == newest.id
    {
        return Some(known.digest.clone());
    }
    if let Some(attempt) = &memory.in_flight
        && attempt.step == InFlightStep::Deploy
        && attempt.last_deployment_id != newest.id
        && (visible(false) || attempt.digest != code.digest(app))
    {
        return Some(attempt.digest.clone());
    }
    let desired = code.digest(app);
    match &memory.deployment {
        Some(known) => (known.digest == desired && visible(false)).then_some(desired),
        None => visible(true).then_some(desired),
    }
}

/// Of an app that is not ours yet nothing was asked: what an object carries when it is first seen counts as handled.
pub fn requested_redeploy(app: &DatabricksApp, memory: &AppMemory) -> bool {
    let handled = memory.last_handled_redeploy_at.as_ref();
    let key = annotation::REDEPLOY_REQUESTED_AT;
    memory.app.is_some() && annotation::is_requested(app.annotations(), key, handled)
}
