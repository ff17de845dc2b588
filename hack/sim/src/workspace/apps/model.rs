//! One app as a function of time: what it is now, what comes due, and when.
//!
//! ```text
//! create ─► STARTING ─► ACTIVE ◄─► UPDATING        deploy ─► IN_PROGRESS ─► SUCCEEDED | FAILED | CANCELLED
//!              ▲          │
//!            start      stop ─► STOPPING ─► STOPPED          delete ─► DELETING ─► gone
//! ```
//! [`App::settle`] is the one place where time passes; it touches nothing but the app and returns what must happen elsewhere.
use serde_json::{Map, Value};

use crate::clock::ServiceTime;
use crate::faults::Verdict;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ComputeState {
    Starting,
    Active,
    Updating,
    Stopping,
    Stopped,
    Error,
    Deleting,
}

impl ComputeState {
    pub fn wire(self) -> &'static str {
        match self {
            Self::Starting => "STARTING",
            Self::Active => "ACTIVE",
            Self::Updating => "UPDATING",
            Self::Stopping => "STOPPING",
            Self::Stopped => "STOPPED",
            Self::Error => "ERROR",
            Self::Deleting => "DELETING",
        }
    }

    pub fn read(text: &str) -> Option<Self> {
        [
            Self::Starting,
            Self::Active,
            Self::Updating,
            Self::Stopping,
            Self::Stopped,
            Self::Error,
            Self::Deleting,
        ]
        .into_iter()
        .find(|state| state.wire() == text)
    }

    /// Only from here may an app be deleted.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Active | Self::Stopped | Self::Error)
    }
}

#[derive(Clone, Debug)]
pub struct Compute {
    pub state: ComputeState,
    pub message: String,
    /// When it came into this state.
    pub since: ServiceTime,
    next: Option<Next>,
}

#[derive(Clone, Debug)]
struct Next {
    due: ServiceTime,
    state: ComputeState,
    message: String,
}

impl Compute {
    /// In a state for good.
    pub fn at(state: ComputeState, message: &str, since: ServiceTime) -> Self {
        Self {
            state,
            message: message.to_owned(),
            since,
            next: None,
        }
    }

    /// The same, on its way to another state.
    pub fn then(mut self, due: ServiceTime, state: ComputeState, message: &str) -> Self {
        self.next = Some(Next {
            due,
            state,
            message: message.to_owned(),
        });
        self
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct AppStatus {
    pub state: &'static str,
    pub message: String,
}

impl AppStatus {
    pub fn unavailable() -> Self {
        Self {
            state: "UNAVAILABLE",
            message: "App status is unavailable.".into(),
        }
    }

    pub fn running() -> Self {
        Self {
            state: "RUNNING",
            message: "App has status: App is running".into(),
        }
    }

    fn deploying() -> Self {
        Self {
            state: "DEPLOYING",
            message: "App has status: deploying".into(),
        }
    }

    pub fn crashed(message: &str) -> Self {
        Self {
            state: "CRASHED",
            message: match message {
                "" => {
                    "App has status: App crashed unexpectedly. Please check /logz for more details"
                        .into()
                }
                given => given.to_owned(),
            },
        }
    }
}

/// What a deployment was asked to run.
#[derive(Clone, Debug, Default)]
pub struct Source {
    pub mode: String,
    pub source_code_path: Option<String>,
    pub git_source: Option<Value>,
    pub command: Vec<Value>,
    /// With their values: reads mask them.
    pub env_vars: Vec<Value>,
}

#[derive(Clone, Debug)]
pub struct Deployment {
    pub id: String,
    pub source: Source,
    pub creator: String,
    pub created: String,
    pub updated: String,
    pub began: ServiceTime,
    pub ends: ServiceTime,
    pub verdict: Verdict,
    /// What it says when it failed or was cancelled, or what the app says when it crashed.
    pub message: String,
    pub done: bool,
}

impl Deployment {
    /// State and message at a time. A running one goes through the steps that the service shows.
    pub fn status(&self, now: ServiceTime) -> (&'static str, String) {
        if self.done {
            return match self.verdict {
                Verdict::Failed | Verdict::NotUpdated => ("FAILED", self.failure()),
                Verdict::Cancelled => ("CANCELLED", self.failure()),
                Verdict::Succeeded | Verdict::Crashed => {
                    ("SUCCEEDED", "App started successfully".into())
                }
            };
        }
        let whole = self.ends.saturating_sub(self.began).as_secs_f64();
        let passed = now.saturating_sub(self.began).as_secs_f64();
        let message = match passed / whole.max(f64::MIN_POSITIVE) {
            part if part < 0.1 => "Preparing source code for new app deployment.".into(),
            part if part < 0.2 => "Deployment is pending".into(),
            part if part < 0.4 => match &self.source.source_code_path {
                Some(path) => format!("Downloading source code from {path}"),
                None => "Downloading source code from Git".into(),
            },
            part if part < 0.8 => "Installing packages".into(),
            _ => format!(
                "Starting app with command: {}",
                Value::from(self.source.command.clone())
            ),
        };
        ("IN_PROGRESS", message)
    }

    fn failure(&self) -> String {
        match self.message.as_str() {
            "" => "App deployment failed unexpectedly.".into(),
            given => given.to_owned(),
        }
    }
}

/// A deployment that the platform starts by itself once compute is ACTIVE.
#[derive(Clone, Debug)]
pub struct Queued {
    pub deployment: Deployment,
    pub delay: ServiceTime,
    pub runs_for: ServiceTime,
    /// Deployments accepted after this one was queued make it pointless.
    pub known: usize,
    due: Option<ServiceTime>,
}

impl Queued {
    pub fn new(
        deployment: Deployment,
        delay: ServiceTime,
        runs_for: ServiceTime,
        known: usize,
    ) -> Self {
        Self {
            deployment,
            delay,
            runs_for,
            known,
            due: None,
        }
    }
}

/// The newest asynchronous update.
#[derive(Clone, Debug)]
pub struct Update {
    /// Masked fields with their new values; none falls back to its default.
    pub changes: Vec<(String, Option<Value>)>,
    /// All fields as they read if the update succeeds and nothing else happens.
    pub echo: Map<String, Value>,
    pub due: ServiceTime,
    pub verdict: Verdict,
    pub message: String,
    pub updater: String,
    pub done: bool,
}

impl Update {
    pub fn state(&self) -> &'static str {
        match (self.verdict, self.done) {
            (Verdict::NotUpdated, _) => "NOT_UPDATED",
            (_, false) => "IN_PROGRESS",
            (Verdict::Succeeded, true) => "SUCCEEDED",
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
            deployment.verdict = Verdict::Cancelled;
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
            .update
            .as_ref()
            .filter(|u| !u.done)
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
            Verdict::Succeeded | Verdict::Crashed => {
                self.active = Some(deployment.id.clone());
                self.last_good = Some(deployment.id);
                self.pending = None;
                if let Some(path) = deployment.source.source_code_path {
                    self.default_source_code_path = path;
                }
                self.default_git_source = deployment.source.git_source;
                self.status = match deployment.verdict {
                    Verdict::Crashed => AppStatus::crashed(&deployment.message),
                    _ => AppStatus::running(),
                };
            }
            Verdict::Failed | Verdict::Cancelled | Verdict::NotUpdated => {
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
        let update = self.update.as_mut()?;
        update.done = true;
        if update.verdict != Verdict::Succeeded {
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
