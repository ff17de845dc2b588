//! What to do about one app: a pure function of the spec, of what was seen, and of what is remembered.
//!
//! An app's grants are planned beside everything else, so that a refused setting never leaves a stranger's CAN_MANAGE
//! in place. Of settings, run state and code a plan holds steps of one, in that order, as the service refuses some while
//! others are under way. Create and delete stand alone.
mod code;
mod lanes;
mod step;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::acl::Acl;
use super::code::Code;
use super::guard;
use super::spec::{AppMemory, DatabricksApp, InFlightStep, RunState};
use super::wire::{self, RemoteApp, RemoteDeployment};
use crate::api::annotation;
use crate::api::management::{Adopt, Deletion};
use crate::api::names::ObjectName;
use crate::api::status::Reason;
use crate::engine::managed::{self, Step as _};
use crate::engine::plan::{Fate, Plan, Refusal, SLOW, Seen, Wait, Wish};
use crate::telemetry::Clock;

pub use code::{digest_of, requested_redeploy};
pub use lanes::restart_due;
pub use step::{Step, update_digest};

/// Service time until what this pass records is planned on.
const MOMENT: Duration = Duration::from_secs(1);
/// Between two looks at a transition, if no list shows it before.
const POLL: Duration = Duration::from_secs(30);
/// A stop takes some 12 s, a change of settings about as long.
const SHORT_POLL: Duration = Duration::from_secs(15);
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
    /// Service time until something that no list shows has to be looked at again.
    pub due: Option<Duration>,
    /// What the spec asks to deploy; `None`: somebody else deploys.
    pub code: Seen<Option<Code>>,
    /// The content of a watched folder, where a look just found it: of which listing.
    pub listing: String,
    /// Outcome of the last change of settings.
    pub update: Seen<UpdateOutcome>,
    /// The deployment that we made last, when the app shows it no more: one that failed leaves the one before in place.
    pub deployment: Seen<RemoteDeployment>,
    /// Whether the source path exists; looked up only once something failed because of it.
    pub source: Seen<SourceState>,
    /// Grants on the app's resources that its service principal lacks.
    pub stripped: Vec<guard::Stripped>,
    /// Who the operator is in the workspace.
    pub identity: String,
    pub claim: Claim,
    /// Why no other app may be created: the workspace is full.
    pub full: Option<String>,
    /// Steps that the service refused, as long as they are not to be tried again.
    pub refused: Refusals,
    /// Principals of our grants that do not exist, as keys of an [`Acl`].
    pub unknown: BTreeSet<String>,
    /// How the app was read.
    pub shown: Shown,
    /// The look was a live one, as an annotation asked for.
    pub forced: bool,
    /// Looks at single aspects that failed; the others stand.
    pub asides: Vec<Refusal>,
}

impl Observed {
    /// Nothing seen yet.
    pub fn nothing(identity: impl Into<String>) -> Self {
        Self {
            app: Seen::NotLooked,
            acl: Seen::NotLooked,
            due: None,
            code: Seen::NotLooked,
            listing: String::new(),
            update: Seen::NotLooked,
            deployment: Seen::NotLooked,
            source: Seen::NotLooked,
            stripped: Vec::new(),
            identity: identity.into(),
            claim: Claim::Ours,
            full: None,
            refused: Refusals::default(),
            unknown: BTreeSet::new(),
            shown: Shown::List,
            forced: false,
            asides: Vec::new(),
        }
    }

    /// The app, if it was seen and exists.
    pub fn remote(&self) -> Option<&RemoteApp> {
        self.app.looked().and_then(Option::as_ref)
    }

    /// What the spec asks to deploy, if this pass knows.
    pub fn code(&self) -> Option<&Code> {
        self.code.looked().and_then(Option::as_ref)
    }

    /// Something has to be looked at again by then.
    pub fn due_in(&mut self, service: Duration) {
        self.due = Some(self.due.map_or(service, |due| due.min(service)));
    }
}

/// How a row became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// By a list, which may lag or leave fields out.
    List,
    /// By a GET or the answer to a write, before this pass.
    Earlier,
    /// By a GET of this pass.
    Now,
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

/// Steps that the service refused, by verb; of some verbs several.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Refusals(Vec<(&'static str, Refused)>);

impl Refusals {
    pub fn insert(&mut self, verb: &'static str, refused: Refused) {
        self.0.push((verb, refused));
    }

    /// The refusal of just this step.
    pub fn find(&self, verb: &str, digest: &str) -> Option<&Refused> {
        let same = |(known, refused): &&(&str, Refused)| *known == verb && refused.digest == digest;
        self.0.iter().find(same).map(|(_, refused)| refused)
    }

    /// A refusal of such a step, whatever its content.
    pub fn get(&self, verb: &str) -> Option<&Refused> {
        let same = |(known, _): &&(&str, Refused)| *known == verb;
        self.0.iter().find(same).map(|(_, refused)| refused)
    }

    pub fn remove(&mut self, verb: &str) {
        self.0.retain(|(known, _)| *known != verb);
    }
}

impl FromIterator<(&'static str, Refused)> for Refusals {
    fn from_iter<T: IntoIterator<Item = (&'static str, Refused)>>(refused: T) -> Self {
        Self(refused.into_iter().collect())
    }
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
        /// It recorded the app that exists.
        holds: bool,
    },
}

/// The step, unless the service refused just this one before and it is not time to try again.
fn unless_refused(step: Step, inputs: &Inputs<'_>) -> Plan<Step> {
    match inputs.seen.refused.find(step.verb(), &step.digest()) {
        Some(refused) => Plan::refuse(Refusal {
            reason: refused.reason,
            message: refused.message.clone(),
            fate: refused.fate,
        }),
        _ => Plan::step(step),
    }
}

/// Whether a step would undo what somebody else did, as far as a list shows: then a GET has to confirm it first. What the
/// spec's own change or our own earlier steps ask for needs none, except a deletion and its end: to let go of an app
/// cannot be taken back, and a list may lag, or leave out what is being deleted. What is about to be adopted is looked at
/// whole: a list may leave out just what the spec says.
pub fn needs_confirmation(
    app: &DatabricksApp,
    inputs: &Inputs<'_>,
    plan: &Plan<Step>,
    changed: bool,
) -> bool {
    let memory = inputs.memory;
    let orphaned = app.management().deletion == Deletion::Orphan;
    if inputs.wish == Wish::Deleting && !orphaned && plan.is_settled() {
        return true;
    }
    if memory.app.is_none() && inputs.seen.remote().is_some() && !plan.steps.is_empty() {
        return true;
    }
    plan.steps.iter().any(|step| match step {
        Step::Create { .. } => memory.app.is_some(),
        Step::Update { .. } | Step::Start | Step::Stop { .. } => !changed,
        Step::Deploy {
            rejected: Some(_), ..
        } => true,
        Step::Deploy { digest, .. } => {
            !code::requested_redeploy(app, memory)
                && memory
                    .deployment
                    .as_ref()
                    .is_some_and(|d| d.digest == *digest)
        }
        Step::Delete => true,
        Step::Grant { .. }
        | Step::Restore { .. }
        | Step::Credential { .. }
        | Step::MakeFolder { .. }
        | Step::Upload { .. }
        | Step::Sweep { .. } => false,
    })
}

/// What to do about the app now.
pub fn plan(app: &DatabricksApp, inputs: &Inputs<'_>) -> Plan<Step> {
    let Seen::Looked(remote) = &inputs.seen.app else {
        return Plan::wait(
            Reason::Observing,
            "waiting for the next look at the workspace",
            POLL,
        );
    };
    match inputs.wish {
        Wish::Deleting => teardown(app, inputs, remote.as_ref()),
        Wish::Live => live(app, inputs, remote.as_ref()),
    }
}

fn live(app: &DatabricksApp, inputs: &Inputs<'_>, remote: Option<&RemoteApp>) -> Plan<Step> {
    if let Claim::Lost {
        winner, deleting, ..
    } = &inputs.seen.claim
    {
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
        return creation(app, inputs);
    };
    if remote.compute_state == "DELETING" {
        let message = format!(
            "an app {} is still being deleted and holds the name",
            remote.name
        );
        return Plan::wait(Reason::WaitingForName, message, POLL);
    }
    if let Err(refusal) = ownership(app, inputs.memory, &inputs.seen.identity, remote) {
        return Plan::refuse(refusal);
    }
    let settings = lanes::settings(app, inputs, remote).unwrap_or_default();
    let under_way = !settings.steps.is_empty() || settings.wait.is_some();
    let mut plan = if under_way {
        settings
    } else {
        let next = lanes::run_state(app, inputs, remote)
            .or_else(|| code::code(app, inputs, remote))
            .unwrap_or_default();
        let next = recorded_first(inputs, next);
        // A setting that the service refuses keeps no app from being stopped, and no code from being deployed.
        let mut plan = within_deadline(app, inputs, next);
        plan.refusals.splice(0..0, settings.refusals);
        plan
    };
    let access = lanes::access(app, inputs);
    plan.steps.splice(0..0, access.steps);
    plan.refusals.extend(access.refusals);
    plan.refusals.extend(lanes::immutable(app, remote));
    plan.refusals.extend(inputs.seen.asides.clone());
    // A deadline that has passed is no time to wait for.
    let deadline = code::deadline_in(app, inputs).filter(|left| !left.is_zero());
    plan.wake_at = earliest(inputs, [inputs.seen.due, deadline]);
    if remote.crashed() && plan.steps.is_empty() && plan.wait.is_none() {
        let crash = code::crash(app, inputs, remote);
        plan.steps.extend(crash.steps);
        plan.refusals.extend(crash.refusals);
    }
    plan
}

/// Only one call is in flight: an app that was created by one whose answer got lost is recorded as ours before the next
/// is written ahead, or nothing would tell any more that it is.
fn recorded_first(inputs: &Inputs<'_>, next: Plan<Step>) -> Plan<Step> {
    let ahead = |step: &Step| step.written_ahead().is_some();
    if creating(inputs.memory) && next.steps.iter().any(ahead) {
        let message = "recording the app that was created";
        return Plan::wait(Reason::Observing, message, MOMENT);
    }
    next
}

fn creation(app: &DatabricksApp, inputs: &Inputs<'_>) -> Plan<Step> {
    if let Some(message) = &inputs.seen.full {
        return Plan::refuse(stalled(Reason::QuotaExceeded, message.clone()));
    }
    let create = Step::Create {
        no_compute: !starts_at_creation(app),
        body: wire::create_body(app),
    };
    unless_refused(create, inputs)
}

/// The earliest of some service times from now, as a time of day.
fn earliest(inputs: &Inputs<'_>, due: [Option<Duration>; 2]) -> Option<Timestamp> {
    let soonest = due.into_iter().flatten().min()?;
    let wire = Clock::new(inputs.scale).wire(soonest);
    let wire = jiff::SignedDuration::try_from(wire).ok()?;
    inputs.at.checked_add(wire).ok()
}

/// What waits beyond the deadline of a deployment counts as failed, until it moves again.
fn within_deadline(app: &DatabricksApp, inputs: &Inputs<'_>, mut plan: Plan<Step>) -> Plan<Step> {
    let Some(wait) = &plan.wait else { return plan };
    let about = matches!(wait.reason, Reason::Starting | Reason::Deploying);
    if about && code::deadline_in(app, inputs).is_some_and(|left| left.is_zero()) {
        let message = format!(
            "spec.deployment.deadline {}s passed: {}; look at the app's logs, or end it by a restart with the annotation {}",
            app.deadline().as_secs(),
            wait.message,
            annotation::RESTART_REQUESTED_AT
        );
        plan.refusals
            .push(stalled(Reason::DeadlineExceeded, message));
        plan.wait = None;
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
    memory: &AppMemory,
    identity: &str,
    remote: &RemoteApp,
) -> Result<(), Refusal> {
    let adopt = app.management().adopt;
    match &memory.app {
        Some(recorded) if recorded.id == remote.id => Ok(()),
        _ if created_by_us(memory, identity, remote) => Ok(()),
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
                "an app {} exists, created by {}{}: choose another spec.name, or set spec.management.adopt: IfUnowned to take it over",
                remote.name,
                remote.creator,
                match remote.creator.eq_ignore_ascii_case(identity) {
                    true => {
                        ", which is the operator itself (for an object that is gone, or for another cluster)"
                    }
                    false => "",
                }
            ),
        )),
        _ => Ok(()),
    }
}

fn creating(memory: &AppMemory) -> bool {
    let in_flight = memory.in_flight.as_ref();
    in_flight.is_some_and(|f| f.step == InFlightStep::Create)
}

/// A creation was under way when the answer or the operator got lost, the app was absent then, and it is ours by name now.
fn created_by_us(memory: &AppMemory, identity: &str, remote: &RemoteApp) -> bool {
    creating(memory) && remote.creator.eq_ignore_ascii_case(identity)
}

fn teardown(app: &DatabricksApp, inputs: &Inputs<'_>, remote: Option<&RemoteApp>) -> Plan<Step> {
    let Some(remote) = remote else {
        return sweep_all(app, inputs);
    };
    let recorded = inputs.memory.app.as_ref();
    let ours = recorded.is_some_and(|r| r.id == remote.id)
        || created_by_us(inputs.memory, &inputs.seen.identity, remote);
    let held = matches!(
        inputs.seen.claim,
        Claim::Lost {
            deleting: false,
            holds: true,
            ..
        }
    );
    if !ours || held {
        // Somebody else's app under our name, or one that another object goes on managing: let go.
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
        Deletion::Stop if state == "ACTIVE" => {
            unless_refused(Step::Stop { restart: false }, inputs)
        }
        _ if transient(remote) => wait_for_compute(remote),
        Deletion::Stop => Plan::default(),
        Deletion::Delete => unless_refused(Step::Delete, inputs),
    }
}

/// What the operator uploaded for an app that is gone. That it cannot be removed holds up nobody.
fn sweep_all(app: &DatabricksApp, inputs: &Inputs<'_>) -> Plan<Step> {
    let source = inputs.memory.source.as_ref();
    if source.is_none_or(|s| s.uploads.is_empty()) || app.management().deletion != Deletion::Delete
    {
        return Plan::default();
    }
    let sweep = Step::Sweep {
        folder: super::code::uploads_folder(&inputs.seen.identity, app.remote_name()),
        upload: String::new(),
    };
    let plan = unless_refused(sweep, inputs);
    if plan.refusals.is_empty() {
        plan
    } else {
        Plan::default()
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
