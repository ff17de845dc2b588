//! What to do about one app: a pure function of the spec, of what was seen, and of what is remembered.
//!
//! An app's grants are planned beside everything else, so that a refused setting never leaves a stranger's CAN_MANAGE
//! in place. Of settings, run state and code a plan holds steps of one, in that order, as the service refuses some while
//! others are under way. Create and delete stand alone.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::digest;
use super::spec::{AppMemory, DatabricksApp, InFlightStep, RunState};
use super::wire::{self, Acl, RemoteApp, RemoteDeployment};
use crate::api::annotation;
use crate::api::digest as json_digest;
use crate::api::management::{Adopt, Deletion};
use crate::api::names::ObjectName;
use crate::api::status::Reason;
use crate::engine::managed::{self, Step as _};
use crate::engine::plan::{Fate, Plan, Refusal, SLOW, Seen, Wait, Wish};
use crate::telemetry::Clock;

/// How long the platform may take to show the deployment that it makes by itself after a start.
const REDEPLOY_GRACE: Duration = Duration::from_secs(60);
/// Between two looks at a transition, if no list shows it before.
const POLL: Duration = Duration::from_secs(30);
/// A stop takes some 12 s, a change of settings about as long.
const SHORT_POLL: Duration = Duration::from_secs(15);
/// A deployment takes a minute or so.
const DEPLOY_POLL: Duration = Duration::from_secs(20);
/// A start takes minutes: the regular list serves.
const START_POLL: Duration = Duration::from_secs(60);

/// Everything the plan is made of, besides the object itself.
pub type Inputs<'a> = managed::Inputs<'a, DatabricksApp>;

/// What a pass saw.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// `None`: no app of that name.
    pub app: Seen<Option<RemoteApp>>,
    /// Direct grants.
    pub acl: Seen<Acl>,
    /// Service time until the grants have to be looked at again.
    pub acl_due: Option<Duration>,
    /// Outcome of the last change of settings.
    pub update: Seen<UpdateOutcome>,
    /// The deployment that we made last, when the app shows it no more: one that failed leaves the one before in place.
    pub deployment: Seen<RemoteDeployment>,
    /// Whether the source path exists; looked up only once something failed because of it.
    pub source: Seen<SourceState>,
    /// Who the operator is in the workspace.
    pub identity: String,
    pub claim: Claim,
    /// Steps that the service refused, by verb, as long as they are not to be tried again.
    pub refused: BTreeMap<&'static str, Refused>,
    /// Principals of our grants that do not exist, as keys of an [`Acl`].
    pub unknown: BTreeSet<String>,
    /// The look was a live one, as an annotation asked for.
    pub forced: bool,
    /// A look at one aspect failed; the others stand.
    pub side: Option<Refusal>,
}

impl Observed {
    /// Nothing seen yet.
    pub fn nothing(identity: impl Into<String>) -> Self {
        Self {
            app: Seen::NotLooked,
            acl: Seen::NotLooked,
            acl_due: None,
            update: Seen::NotLooked,
            deployment: Seen::NotLooked,
            source: Seen::NotLooked,
            identity: identity.into(),
            claim: Claim::Ours,
            refused: BTreeMap::new(),
            unknown: BTreeSet::new(),
            forced: false,
            side: None,
        }
    }

    /// The app, if it was seen and exists.
    pub fn remote(&self) -> Option<&RemoteApp> {
        self.app.looked().and_then(Option::as_ref)
    }
}

/// A source path that a deployment failed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceState {
    Exists,
    Missing,
    /// It was missing when the deployment failed, and exists now.
    Appeared,
}

/// A step that the service refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// Of the step's content: another content may be tried at once.
    pub digest: String,
    pub reason: Reason,
    pub message: String,
    /// Until it may be tried again.
    pub fate: Fate,
}

/// How a change of settings ended.
#[derive(Clone, Debug, PartialEq)]
pub enum UpdateOutcome {
    InProgress,
    /// Well or not: a failure of what is still wished for is among the refused steps.
    Ended,
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
    /// Of the step's content, to recognise one that was refused before.
    pub fn digest(&self) -> String {
        match self {
            Self::Create { body, .. } => json_digest::of(body),
            Self::Grant { acl } => json_digest::of(&wire::acl_body(acl)),
            Self::Update { fields } => update_digest(fields),
            Self::Deploy { digest, .. } => digest.clone(),
            Self::Start | Self::Stop | Self::Delete => String::new(),
        }
    }
}

impl managed::Step for Step {
    fn verb(&self) -> &'static str {
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

    fn fields(&self) -> Vec<&'static str> {
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
    json_digest::of(&json!(fields))
}

/// The step, unless the service refused just this one before and it is not time to try again.
fn unless_refused(step: Step, inputs: &Inputs<'_>) -> Plan<Step> {
    match inputs.seen.refused.get(step.verb()) {
        Some(refused) if refused.digest == step.digest() => Plan::refuse(Refusal {
            reason: refused.reason,
            message: refused.message.clone(),
            fate: refused.fate,
        }),
        _ => Plan::step(step),
    }
}

/// Whether a step would undo what somebody else did, as far as a list shows: then a GET has to confirm it first. What the
/// spec's own change or our own earlier steps ask for needs none, except a deletion and its end: to let go of an app
/// cannot be taken back, and a list may lag, or leave out what is being deleted.
pub fn needs_confirmation(
    app: &DatabricksApp,
    memory: &AppMemory,
    plan: &Plan<Step>,
    changed: bool,
    wish: Wish,
) -> bool {
    let orphaned = app.management().deletion == Deletion::Orphan;
    if wish == Wish::Deleting && !orphaned && plan.is_settled() {
        return true;
    }
    plan.steps.iter().any(|step| match step {
        Step::Create { .. } => memory.app.is_some(),
        Step::Update { .. } | Step::Start | Step::Stop => !changed,
        Step::Deploy { digest, .. } => {
            !requested_redeploy(app, memory)
                && memory
                    .deployment
                    .as_ref()
                    .is_some_and(|d| d.digest == *digest)
        }
        Step::Grant { .. } => false,
        Step::Delete => true,
    })
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
        let create = Step::Create {
            no_compute: !starts_at_creation(app),
            body: wire::create_body(app),
        };
        return unless_refused(create, inputs);
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
        .or_else(|| run_state(app, inputs, remote))
        .or_else(|| code(app, inputs, remote))
        .unwrap_or_default();
    let access = access(app, inputs);
    plan.steps.splice(0..0, access.steps);
    plan.refusals.extend(access.refusals);
    plan.refusals.extend(inputs.seen.side.clone());
    plan.wake_at = inputs.seen.acl_due.and_then(|due| {
        let wire = Clock::new(inputs.scale).wire(due);
        let wire = jiff::SignedDuration::try_from(wire).ok()?;
        inputs.at.checked_add(wire).ok()
    });
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
pub fn ownership(
    app: &DatabricksApp,
    inputs: &Inputs<'_>,
    remote: &RemoteApp,
) -> Result<(), Refusal> {
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

fn access(app: &DatabricksApp, inputs: &Inputs<'_>) -> Plan<Step> {
    let (Some(permissions), Seen::Looked(have)) = (&app.spec.permissions, &inputs.seen.acl) else {
        return Plan::default();
    };
    let mut want = wire::wanted_acl(&permissions.grants, &inputs.seen.identity);
    let unknown: Vec<String> = want
        .keys()
        .filter(|key| inputs.seen.unknown.contains(*key))
        .cloned()
        .collect();
    want.retain(|key, _| !inputs.seen.unknown.contains(key));
    let own = wire::identity_key(&inputs.seen.identity);
    // Our own entry alone is no difference: whether the service lists it is not settled.
    let differs = want
        .iter()
        .filter(|(key, _)| **key != own)
        .ne(have.iter().filter(|(key, _)| **key != own));
    let mut plan = if differs {
        unless_refused(Step::Grant { acl: want }, inputs)
    } else {
        Plan::default()
    };
    if !unknown.is_empty() {
        plan.refusals.push(Refusal {
            reason: Reason::PrincipalNotFound,
            message: format!(
                "spec.permissions.grants: the workspace knows no {}; create it there, or correct the grant (the others are in place)",
                unknown.join(", ").replace(':', " ")
            ),
            fate: Fate::Missing { recheck: SLOW },
        });
    }
    plan
}

fn settings(app: &DatabricksApp, inputs: &Inputs<'_>, remote: &RemoteApp) -> Option<Plan<Step>> {
    let fields = wire::differing_settings(app, remote);
    if fields.is_empty() {
        return None;
    }
    let waiting = || Plan::wait(Reason::Updating, "settings are being changed", SHORT_POLL);
    // The outcome of one change is read before the next is sent.
    match &inputs.seen.update {
        Seen::Looked(UpdateOutcome::InProgress) => return Some(waiting()),
        Seen::NotLooked if inputs.memory.update.is_some() => return Some(waiting()),
        Seen::Looked(UpdateOutcome::Ended) | Seen::NotLooked => {}
    }
    if transient(remote) {
        return Some(wait_for_compute(remote));
    }
    Some(unless_refused(Step::Update { fields }, inputs))
}

fn run_state(app: &DatabricksApp, inputs: &Inputs<'_>, remote: &RemoteApp) -> Option<Plan<Step>> {
    match (remote.compute_state.as_str(), app.run_state()) {
        ("STOPPED", Some(RunState::Running)) => Some(unless_refused(Step::Start, inputs)),
        ("ACTIVE", Some(RunState::Stopped)) => Some(unless_refused(Step::Stop, inputs)),
        ("ERROR", None | Some(RunState::Running)) => Some(Plan::refuse(stalled(
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
    let deploying = |message| Some(Plan::wait(Reason::Deploying, message, DEPLOY_POLL));
    let mut running = [&remote.pending, &remote.active].into_iter().flatten();
    if running.any(RemoteDeployment::in_progress) {
        return deploying("a deployment is under way");
    }
    let newest = remote.newest();
    let requested = requested_redeploy(app, inputs.memory);
    let appeared = inputs.seen.source == Seen::Looked(SourceState::Appeared);
    if let Some(vanished) = vanished(inputs, newest, &desired)
        && !requested
    {
        match vanished.state.as_str() {
            "IN_PROGRESS" => return deploying("a deployment is under way"),
            "FAILED" | "CANCELLED" if !appeared => {
                return Some(Plan::refuse(failed_deployment(app, inputs, &vanished)));
            }
            // Nothing was deployed over it: the app only does not show it.
            "SUCCEEDED" if newest.is_none() => return None,
            _ => {}
        }
    }
    if let Some(newest) = newest
        && !requested
        && digest_of(app, inputs.memory, remote, newest, &desired).as_deref() == Some(&desired)
    {
        match newest.state.as_str() {
            "FAILED" | "CANCELLED" if !appeared => {
                return Some(Plan::refuse(failed_deployment(app, inputs, newest)));
            }
            "FAILED" | "CANCELLED" => {}
            _ => return None,
        }
    }
    if awaits_redeploy(inputs, newest) {
        return deploying("waiting for the deployment that the platform makes after a start");
    }
    let step = Step::Deploy {
        digest: desired,
        last_deployment_id: newest.map(|d| d.id.clone()).unwrap_or_default(),
        body: wire::deployment_body(app),
    };
    if inputs.seen.source == Seen::Looked(SourceState::Missing)
        && inputs.seen.refused.contains_key(step.verb())
    {
        return Some(Plan::refuse(source_missing(app)));
    }
    Some(unless_refused(step, inputs))
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
        return source_missing(app);
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

fn source_missing(app: &DatabricksApp) -> Refusal {
    let source = app.spec.source.as_ref();
    Refusal {
        reason: Reason::SourceNotFound,
        message: format!(
            "spec.source.workspace.path {:?} does not exist in the workspace, or the operator's identity cannot read it; upload the source or correct the path",
            source
                .map(|s| s.workspace.path.as_str())
                .unwrap_or_default()
        ),
        fate: Fate::Missing { recheck: SLOW },
    }
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
/// inherited by a deployment of the platform's own whose visible inputs are the same.
pub fn digest_of(
    app: &DatabricksApp,
    memory: &AppMemory,
    remote: &RemoteApp,
    newest: &RemoteDeployment,
    desired: &str,
) -> Option<String> {
    let visible = || same_visible_inputs(app, remote, newest);
    if let Some(known) = &memory.deployment
        && known.id == newest.id
    {
        return Some(known.digest.clone());
    }
    if let Some(attempt) = &memory.in_flight
        && attempt.step == InFlightStep::Deploy
        && attempt.last_deployment_id != newest.id
        && visible()
    {
        return Some(attempt.digest.clone());
    }
    let known = memory.deployment.as_ref()?;
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

pub fn requested_redeploy(app: &DatabricksApp, memory: &AppMemory) -> bool {
    let asked = app.annotations().get(annotation::REDEPLOY_REQUESTED_AT);
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
        Deletion::Stop if state == "ACTIVE" => unless_refused(Step::Stop, inputs),
        _ if transient(remote) => wait_for_compute(remote),
        Deletion::Stop => Plan::default(),
        Deletion::Delete => unless_refused(Step::Delete, inputs),
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
    let (reason, poll) = match remote.compute_state.as_str() {
        "STARTING" => (Reason::Starting, START_POLL),
        "STOPPING" => (Reason::Stopping, SHORT_POLL),
        _ => (Reason::Updating, POLL),
    };
    Plan::wait(reason, format!("compute is {}", remote.compute_state), poll)
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
