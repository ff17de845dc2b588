//! What to do about one app: a pure function of the spec, of what was seen, and of what is remembered.
//!
//! An app's grants are planned beside everything else, so that a refused setting never leaves a stranger's CAN_MANAGE
//! in place. Of settings, run state and code a plan holds steps of one, in that order, as the service refuses some while
//! others are under way. Create and delete stand alone.
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::digest;
use super::spec::{AppMemory, DatabricksApp, InFlightStep, RunState};
use super::wire::{self, Acl, RemoteApp, RemoteDeployment};
use crate::api::annotation;
use crate::api::management::{Adopt, Deletion};
use crate::api::names::ObjectName;
use crate::api::status::Reason;
use crate::engine::plan::{Fate, Plan, Refusal, Seen, Wait, Wish};

/// A failing object is looked at again this often at the most, if nothing about it changes.
const SLOW: Duration = Duration::from_secs(30 * 60);
/// How long the platform may take to show the deployment that it makes by itself after a start.
const REDEPLOY_GRACE: Duration = Duration::from_secs(60);
/// Between two looks at a transition, if no list shows it before.
const POLL: Duration = Duration::from_secs(15);

/// Everything the plan is made of, besides the object itself.
#[derive(Clone, Debug)]
pub struct Inputs<'a> {
    pub seen: &'a Observed,
    pub memory: &'a AppMemory,
    /// Wall time of this pass.
    pub at: Timestamp,
    /// Service seconds that pass in one second of wall time.
    pub scale: u32,
    pub wish: Wish,
}

/// What a pass saw.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// `None`: no app of that name.
    pub app: Seen<Option<RemoteApp>>,
    /// Direct grants.
    pub acl: Seen<Acl>,
    /// Outcome of the last change of settings.
    pub update: Seen<UpdateOutcome>,
    /// Who the operator is in the workspace.
    pub identity: String,
    pub claim: Claim,
}

/// How a change of settings ended.
#[derive(Clone, Debug, PartialEq)]
pub enum UpdateOutcome {
    InProgress,
    Succeeded,
    Failed { message: String },
}

/// Whether this object may speak for the remote name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    Ours,
    /// Another object declares the same app and comes first.
    Lost {
        winner: ObjectName,
        deleting: bool,
    },
}

/// One remote write.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Create {
        no_compute: bool,
        body: Value,
    },
    Grant {
        acl: Acl,
    },
    Update {
        fields: BTreeMap<&'static str, Value>,
    },
    Start,
    Stop,
    Deploy {
        digest: String,
        last_deployment_id: String,
        body: Value,
    },
    Delete,
}

impl Step {
    /// The verb of logs, events and metrics.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Grant { .. } => "grant",
            Self::Update { .. } => "update",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Deploy { .. } => "deploy",
            Self::Delete => "delete",
        }
    }

    /// The fields that the write changes.
    pub fn fields(&self) -> Vec<&'static str> {
        match self {
            Self::Update { fields } => fields.keys().copied().collect(),
            Self::Grant { .. } => vec!["permissions"],
            Self::Start | Self::Stop => vec!["lifecycle.state"],
            Self::Deploy { .. } => vec!["deployment"],
            Self::Create { .. } | Self::Delete => Vec::new(),
        }
    }
}

/// Never prints a value: only what is done and to which fields.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fields() {
            fields if fields.is_empty() => f.write_str(self.verb()),
            fields => write!(f, "{} {}", self.verb(), fields.join(", ")),
        }
    }
}

/// Digest of a change of settings, to recognise one that failed before.
pub fn update_digest(fields: &BTreeMap<&'static str, Value>) -> String {
    digest::of(&json!(fields))
}

/// What to do about the app now.
pub fn plan(app: &DatabricksApp, inputs: &Inputs<'_>) -> Plan<Step> {
    let Seen::Looked(remote) = &inputs.seen.app else {
        return Plan::wait(
            Reason::Observing,
            "waiting for a look at the workspace",
            POLL,
        );
    };
    match inputs.wish {
        Wish::Deleting => teardown(app, inputs, remote.as_ref()),
        Wish::Live => live(app, inputs, remote.as_ref()),
    }
}

fn live(app: &DatabricksApp, inputs: &Inputs<'_>, remote: Option<&RemoteApp>) -> Plan<Step> {
    if let Claim::Lost { winner, deleting } = &inputs.seen.claim {
        if *deleting {
            let message = format!("{winner} declares the same app and is being deleted");
            return Plan::wait(Reason::WaitingForName, message, POLL);
        }
        return Plan::refuse(stalled(
            Reason::NameConflict,
            format!(
                "spec.name {}: {winner} declares the same app; change one of the two names",
                app.remote_name()
            ),
        ));
    }
    let Some(remote) = remote else {
        return Plan::step(Step::Create {
            no_compute: !starts_at_creation(app),
            body: wire::create_body(app),
        });
    };
    if remote.compute_state == "DELETING" {
        let message = format!(
            "an app {} is still being deleted and holds the name",
            remote.name
        );
        return Plan::wait(Reason::WaitingForName, message, POLL);
    }
    if let Err(refusal) = ownership(app, inputs, remote) {
        return Plan::refuse(refusal);
    }
    let mut plan = settings(app, inputs, remote)
        .or_else(|| run_state(app, remote))
        .or_else(|| code(app, inputs, remote))
        .unwrap_or_default();
    if let Some(step) = access(app, inputs) {
        plan.steps.insert(0, step);
    }
    if remote.app_state == "CRASHED" && plan.is_settled() {
        plan.refusals
            .push(stalled(Reason::AppCrashed, remote.app_message.clone()));
    }
    plan
}

fn starts_at_creation(app: &DatabricksApp) -> bool {
    match app.run_state() {
        Some(state) => state == RunState::Running,
        None => app.spec.source.is_some(),
    }
}

/// Whether the app that exists under our name is this object's.
fn ownership(app: &DatabricksApp, inputs: &Inputs<'_>, remote: &RemoteApp) -> Result<(), Refusal> {
    let adopt = app.management().adopt;
    match &inputs.memory.app {
        Some(recorded) if recorded.id == remote.id => Ok(()),
        _ if created_by_us(inputs, remote) => Ok(()),
        Some(recorded) if adopt != Adopt::Always => Err(stalled(
            Reason::RemoteReplaced,
            format!(
                "app {} was id {} and is now id {}, created by {}: delete it there, or set management.adopt: Always",
                remote.name, recorded.id, remote.id, remote.creator
            ),
        )),
        None if adopt == Adopt::Never => Err(stalled(
            Reason::NameConflict,
            format!(
                "an app {} exists, created by {}: choose another spec.name, or set management.adopt to take it over",
                remote.name, remote.creator
            ),
        )),
        _ => Ok(()),
    }
}

/// A creation was under way when the answer or the operator got lost, the app was absent then, and it is ours by name now.
fn created_by_us(inputs: &Inputs<'_>, remote: &RemoteApp) -> bool {
    let creating = inputs.memory.in_flight.as_ref();
    creating.is_some_and(|f| f.step == InFlightStep::Create)
        && remote.creator.eq_ignore_ascii_case(&inputs.seen.identity)
}

fn access(app: &DatabricksApp, inputs: &Inputs<'_>) -> Option<Step> {
    let permissions = app.spec.permissions.as_ref()?;
    let Seen::Looked(have) = &inputs.seen.acl else {
        return None;
    };
    let mut want = wire::wanted_acl(&permissions.grants, &inputs.seen.identity);
    let own = wire::identity_key(&inputs.seen.identity);
    // Our own entry alone is no difference: whether the service lists it is not settled.
    let differs = want
        .iter()
        .filter(|(key, _)| **key != own)
        .ne(have.iter().filter(|(key, _)| **key != own));
    differs.then(|| Step::Grant {
        acl: std::mem::take(&mut want),
    })
}

fn settings(app: &DatabricksApp, inputs: &Inputs<'_>, remote: &RemoteApp) -> Option<Plan<Step>> {
    let fields = wire::differing_settings(app, remote);
    if let Some(attempt) = &inputs.memory.update {
        match &inputs.seen.update {
            Seen::Looked(UpdateOutcome::InProgress) => {
                return Some(Plan::wait(
                    Reason::Updating,
                    "settings are being changed",
                    POLL,
                ));
            }
            Seen::Looked(UpdateOutcome::Failed { message })
                if !fields.is_empty() && attempt.digest == update_digest(&fields) =>
            {
                let names: Vec<_> = fields.keys().copied().collect();
                let message = format!("changing {} failed: {message}", names.join(", "));
                return Some(Plan::refuse(stalled(Reason::UpdateFailed, message)));
            }
            // The outcome of one change is read before the next is sent.
            Seen::NotLooked if attempt.state == "IN_PROGRESS" => {
                return Some(Plan::wait(
                    Reason::Updating,
                    "settings are being changed",
                    POLL,
                ));
            }
            _ => {}
        }
    }
    if fields.is_empty() {
        return None;
    }
    if transient(remote) {
        return Some(wait_for_compute(remote));
    }
    Some(Plan::step(Step::Update { fields }))
}

fn run_state(app: &DatabricksApp, remote: &RemoteApp) -> Option<Plan<Step>> {
    match (remote.compute_state.as_str(), app.run_state()) {
        ("STOPPED", Some(RunState::Running)) => Some(Plan::step(Step::Start)),
        ("ACTIVE", Some(RunState::Stopped)) => Some(Plan::step(Step::Stop)),
        ("ERROR", Some(RunState::Running)) => Some(Plan::refuse(stalled(
            Reason::ComputeFailed,
            remote.compute_message.clone(),
        ))),
        _ if transient(remote) => Some(wait_for_compute(remote)),
        _ => None,
    }
}

fn code(app: &DatabricksApp, inputs: &Inputs<'_>, remote: &RemoteApp) -> Option<Plan<Step>> {
    let desired = digest::deployment(app)?;
    if remote.compute_state != "ACTIVE" {
        return None;
    }
    let running = [&remote.pending, &remote.active];
    if running
        .into_iter()
        .flatten()
        .any(RemoteDeployment::in_progress)
    {
        return Some(Plan::wait(
            Reason::Deploying,
            "a deployment is under way",
            POLL,
        ));
    }
    let newest = remote.newest();
    let requested = requested_redeploy(app, inputs.memory);
    if let Some(newest) = newest
        && !requested
        && digest_of(app, inputs, remote, newest, &desired).as_deref() == Some(&desired)
    {
        return match newest.state.as_str() {
            "FAILED" | "CANCELLED" => Some(Plan::refuse(stalled(
                Reason::DeploymentFailed,
                format!("deployment {}: {}", newest.id, newest.message),
            ))),
            _ => None,
        };
    }
    if newest.is_none() && !requested {
        // The platform deploys by itself after a start, and shows it late.
        let started = inputs.memory.in_flight.as_ref();
        if let Some(start) = started.filter(|f| f.step == InFlightStep::Start) {
            let since: Timestamp = start.since.parse().unwrap_or(inputs.at);
            let wall = Duration::try_from(inputs.at.duration_since(since)).unwrap_or_default();
            if wall.saturating_mul(inputs.scale) < REDEPLOY_GRACE {
                let message = "waiting for the deployment that the platform makes after a start";
                return Some(Plan::wait(Reason::Deploying, message, POLL));
            }
        }
    }
    Some(Plan::step(Step::Deploy {
        digest: desired,
        last_deployment_id: newest.map(|d| d.id.clone()).unwrap_or_default(),
        body: wire::deployment_body(app),
    }))
}

/// Digest of the inputs of the newest deployment: known by its id, taken from the attempt that must have made it, or
/// inherited by a deployment of the platform's own whose visible inputs are the same.
fn digest_of(
    app: &DatabricksApp,
    inputs: &Inputs<'_>,
    remote: &RemoteApp,
    newest: &RemoteDeployment,
    desired: &str,
) -> Option<String> {
    let visible = || same_visible_inputs(app, remote, newest);
    if let Some(known) = &inputs.memory.deployment
        && known.id == newest.id
    {
        return Some(known.digest.clone());
    }
    if let Some(attempt) = &inputs.memory.in_flight
        && attempt.step == InFlightStep::Deploy
        && attempt.last_deployment_id != newest.id
        && visible()
    {
        return Some(attempt.digest.clone());
    }
    let known = inputs.memory.deployment.as_ref()?;
    (known.digest == desired && visible()).then(|| known.digest.clone())
}

fn same_visible_inputs(app: &DatabricksApp, remote: &RemoteApp, have: &RemoteDeployment) -> bool {
    let Some(source) = &app.spec.source else {
        return false;
    };
    let path = &source.workspace.path;
    let paths = [&have.source_path, &remote.source_path];
    let same_source = paths.iter().any(|p| wire::same_path(p, path));
    let wanted = app.spec.deployment.as_ref();
    let command = wanted.and_then(|d| d.command.clone()).unwrap_or_default();
    let names = wanted.and_then(|d| d.env.as_ref()).into_iter().flatten();
    same_source
        && have.command == command
        && have.env_names == names.map(|e| e.name.clone()).collect()
}

fn requested_redeploy(app: &DatabricksApp, memory: &AppMemory) -> bool {
    let annotations = app.metadata.annotations.as_ref();
    let asked = annotations.and_then(|a| a.get(annotation::REDEPLOY_REQUESTED_AT));
    asked.is_some() && asked != memory.last_handled_redeploy_at.as_ref()
}

fn teardown(app: &DatabricksApp, inputs: &Inputs<'_>, remote: Option<&RemoteApp>) -> Plan<Step> {
    let Some(remote) = remote else {
        return Plan::default();
    };
    let recorded = inputs.memory.app.as_ref();
    let ours = recorded.is_some_and(|r| r.id == remote.id) || created_by_us(inputs, remote);
    if !ours {
        // Somebody else's app under our name: let go.
        return Plan::default();
    }
    let state = remote.compute_state.as_str();
    match app.management().deletion {
        Deletion::Orphan => Plan::default(),
        _ if state == "DELETING" => Plan {
            wait: Some(Wait {
                reason: Reason::Deleting,
                message: format!("app {} is being deleted", remote.name),
                poll: POLL,
            }),
            ..Plan::default()
        },
        Deletion::Stop if state == "ACTIVE" => Plan::step(Step::Stop),
        _ if transient(remote) => wait_for_compute(remote),
        Deletion::Stop => Plan::default(),
        Deletion::Delete => Plan::step(Step::Delete),
    }
}

/// The service refuses most writes until the transition has ended.
fn transient(remote: &RemoteApp) -> bool {
    matches!(
        remote.compute_state.as_str(),
        "STARTING" | "STOPPING" | "UPDATING"
    )
}

fn wait_for_compute(remote: &RemoteApp) -> Plan<Step> {
    let reason = match remote.compute_state.as_str() {
        "STARTING" => Reason::Starting,
        "STOPPING" => Reason::Stopping,
        _ => Reason::Updating,
    };
    Plan::wait(reason, format!("compute is {}", remote.compute_state), POLL)
}

/// A refusal that only a change ends; its row tells of one, or the slow recheck.
fn stalled(reason: Reason, message: String) -> Refusal {
    Refusal {
        reason,
        message,
        fate: Fate::Stalled {
            recheck: Some(SLOW),
        },
    }
}
