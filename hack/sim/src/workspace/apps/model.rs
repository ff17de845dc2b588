//! One app as a function of time: what it is now, what comes due, and when.
//!
//! ```text
//! create ─► STARTING ─► ACTIVE ◄─► UPDATING        deploy ─► IN_PROGRESS ─► SUCCEEDED | FAILED | CANCELLED
//!              ▲          │
//!            start      stop ─► STOPPING ─► STOPPED          delete ─► DELETING ─► gone
//! ```
//! [`App::settle`] is the one place where time passes; it touches nothing but the app and returns what must happen elsewhere.

use std::collections::VecDeque;

use serde_json::{Map, Value};

use super::compute::{Compute, ComputeState};
use super::deployment::{AppStatus, Deployment, Queued};
use crate::clock::ServiceTime;
use crate::faults::{DeploymentVerdict, UpdateVerdict};

/// The newest asynchronous update.
#[derive(Clone, Debug)]
pub struct Update {
    /// Masked fields with their new values; none falls back to its default.
    pub changes: Vec<(String, Option<Value>)>,
    /// All fields as they read if the update succeeds and nothing else happens.
    pub echo: Map<String, Value>,
    pub due: ServiceTime,
    pub verdict: UpdateVerdict,
    pub message: String,
    pub updater: String,
    pub done: bool,
}

impl Update {
    pub fn state(&self) -> &'static str {
        match (self.verdict, self.done) {
            (UpdateVerdict::NotUpdated, _) => "NOT_UPDATED",
            (_, false) => "IN_PROGRESS",
            (UpdateVerdict::Succeeded, true) => "SUCCEEDED",
            (_, true) => "FAILED",
        }
    }
}

/// Sets what has a value and removes what has none.
pub fn apply(settings: &mut Map<String, Value>, changes: &[(String, Option<Value>)]) {
    for (field, value) in changes {
        match value {
            Some(value) => settings.insert(field.clone(), value.clone()),
            None => settings.remove(field),
        };
    }
}

/// Who the app is; new with each create, the name apart.
#[derive(Clone, Debug)]
pub struct Identity {
    pub id: String,
    pub url: String,
    pub service_principal_id: i64,
    pub service_principal_client_id: String,
    pub service_principal_name: String,
    pub oauth_client_id: String,
    pub oauth_integration_id: String,
}

#[derive(Clone, Debug)]
pub struct App {
    pub name: String,
    pub identity: Identity,
    /// Input fields that were set and are not empty.
    pub settings: Map<String, Value>,
    pub creator: String,
    pub updater: String,
    pub created: String,
    pub updated: String,
    pub compute: Compute,
    pub status: AppStatus,
    /// Every deployment, the oldest first.
    pub deployments: Vec<Deployment>,
    pub active: Option<String>,
    pub pending: Option<String>,
    /// The last one that won, also while `active` is cleared: a start deploys it again.
    pub last_good: Option<String>,
    pub queued: Option<Queued>,
    pub update: Option<Update>,
    /// Those that run before the newest one, in this order; none unless a fault lets updates queue.
    pub updates_ahead: VecDeque<Update>,
    /// Of the newest successful deployment.
    pub default_source_code_path: String,
    pub default_git_source: Option<Value>,
    /// A failed deployment stays in `pending`.
    pub keeps_failed: bool,
    pub thumbnail: Option<String>,
    gone: bool,
}

/// What a settled app asks of the rest of the workspace.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Its resources changed; these were there before.
    ResourcesChanged {
        before: Value,
    },
    Gone,
}

impl App {
    pub fn new(
        name: &str,
        identity: Identity,
        settings: Map<String, Value>,
        creator: &str,
        stamp: &str,
        compute: Compute,
    ) -> Self {
        Self {
            name: name.to_owned(),
            identity,
            settings,
            creator: creator.to_owned(),
            updater: creator.to_owned(),
            created: stamp.to_owned(),
            updated: stamp.to_owned(),
            compute,
            status: AppStatus::unavailable(),
            deployments: Vec::new(),
            active: None,
            pending: None,
            last_good: None,
            queued: None,
            update: None,
            updates_ahead: VecDeque::new(),
            default_source_code_path: String::new(),
            default_git_source: None,
            keeps_failed: false,
            thumbnail: None,
            gone: false,
        }
    }

    pub fn is_gone(&self) -> bool {
        self.gone
    }

    pub fn deployment(&self, id: &str) -> Option<&Deployment> {
        self.deployments.iter().rev().find(|d| d.id == id)
    }

    /// The deployment that runs right now.
    pub fn in_progress(&self) -> Option<&Deployment> {
        self.deployments.iter().rev().find(|d| !d.done)
    }

    pub fn update_in_progress(&self) -> bool {
        self.update.as_ref().is_some_and(|u| !u.done)
    }

    /// Begins a deployment; the caller has made sure that none runs.
    pub fn begin(&mut self, deployment: Deployment) {
        self.pending = Some(deployment.id.clone());
        self.status = AppStatus::deploying();
        self.deployments.push(deployment);
    }

    /// Ends what runs and forgets what was queued, because compute goes away.
    pub fn abandon_deployments(&mut self, message: &str, stamp: &str) {
        self.queued = None;
        self.pending = None;
        for deployment in self.deployments.iter_mut().filter(|d| !d.done) {
            deployment.done = true;
            deployment.verdict = DeploymentVerdict::Cancelled;
            deployment.message = message.to_owned();
            deployment.updated = stamp.to_owned();
        }
        self.status = AppStatus::unavailable();
    }

    /// Applies what has come due until `now`, in order. `stamp` goes into the timestamps of what happens.
    pub fn settle(&mut self, now: ServiceTime, stamp: &str) -> Vec<Effect> {
        let mut effects = Vec::new();
        while let Some((due, event)) = self.next_event().filter(|(due, _)| *due <= now) {
            match event {
                Event::Compute => effects.extend(self.move_compute()),
                Event::Deployment => self.finish_deployment(stamp),
                Event::Queued => self.begin_queued(due, stamp),
                Event::Update => effects.extend(self.finish_update(stamp)),
            }
        }
        effects
    }

    /// The earliest of what is to come.
    fn next_event(&self) -> Option<(ServiceTime, Event)> {
        let compute = self.compute.next.as_ref().map(|n| (n.due, Event::Compute));
        let deployment = self.in_progress().map(|d| (d.ends, Event::Deployment));
        let queued = self
            .queued
            .as_ref()
            .and_then(|q| Some((q.due?, Event::Queued)));
        let update = self
            .updates_ahead
            .front()
            .or(self.update.as_ref().filter(|u| !u.done))
            .map(|u| (u.due, Event::Update));
        [update, compute, deployment, queued]
            .into_iter()
            .flatten()
            .min_by_key(|(due, _)| *due)
    }

    fn move_compute(&mut self) -> Option<Effect> {
        let next = self.compute.next.take()?;
        if self.compute.state == ComputeState::Deleting {
            self.gone = true;
            return Some(Effect::Gone);
        }
        let was_updating = self.compute.state == ComputeState::Updating;
        self.compute = Compute::at(next.state, &next.message, next.due);
        if next.state == ComputeState::Active
            && !was_updating
            && let Some(queued) = &mut self.queued
        {
            queued.due = Some(next.due + queued.delay);
        }
        None
    }

    fn begin_queued(&mut self, due: ServiceTime, stamp: &str) {
        let Some(queued) = self.queued.take() else {
            return;
        };
        if self.deployments.len() > queued.known || self.compute.state != ComputeState::Active {
            return;
        }
        let mut deployment = queued.deployment;
        deployment.began = due;
        deployment.ends = due + queued.runs_for;
        deployment.created = stamp.to_owned();
        deployment.updated = stamp.to_owned();
        self.begin(deployment);
    }

    fn finish_deployment(&mut self, stamp: &str) {
        let Some(deployment) = self.deployments.iter_mut().rev().find(|d| !d.done) else {
            return;
        };
        deployment.done = true;
        deployment.updated = stamp.to_owned();
        let deployment = deployment.clone();
        match deployment.verdict {
            DeploymentVerdict::Succeeded | DeploymentVerdict::Crashed => {
                self.active = Some(deployment.id.clone());
                self.last_good = Some(deployment.id);
                self.pending = None;
                if let Some(path) = deployment.source.source_code_path {
                    self.default_source_code_path = path;
                }
                self.default_git_source = deployment.source.git_source;
                self.status = match deployment.verdict {
                    DeploymentVerdict::Crashed => AppStatus::crashed(&deployment.message),
                    _ => AppStatus::running(),
                };
            }
            DeploymentVerdict::Failed | DeploymentVerdict::Cancelled => {
                if !self.keeps_failed {
                    self.pending = None;
                }
                self.status = match self.active {
                    Some(_) => AppStatus::running(),
                    None => AppStatus::unavailable(),
                };
            }
        }
    }

    fn finish_update(&mut self, stamp: &str) -> Option<Effect> {
        let update = match self.updates_ahead.pop_front() {
            Some(ahead) => ahead,
            None => {
                let newest = self.update.as_mut()?;
                newest.done = true;
                newest.clone()
            }
        };
        if update.verdict != UpdateVerdict::Succeeded {
            return None;
        }
        let before = self.settings.get("resources").cloned().unwrap_or_default();
        self.updater.clone_from(&update.updater);
        self.updated = stamp.to_owned();
        apply(&mut self.settings, &update.changes);
        let after = self.settings.get("resources").cloned().unwrap_or_default();
        (before != after).then_some(Effect::ResourcesChanged { before })
    }
}

#[derive(Clone, Copy)]
enum Event {
    Compute,
    Deployment,
    Queued,
    Update,
}
