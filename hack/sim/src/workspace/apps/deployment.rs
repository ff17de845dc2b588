//! Deployments of an app and the status of the process that they start.
use serde_json::Value;

use crate::clock::ServiceTime;
use crate::faults::DeploymentVerdict as Verdict;

#[derive(Clone, Debug, PartialEq)]
pub struct AppStatus {
    pub state: &'static str,
    pub message: String,
}

/// Messages as the service was seen to write them; clients must not read them for control flow.
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

    pub fn deploying() -> Self {
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
    /// Between these two it is in progress; the message follows from how much of the time has passed.
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
                Verdict::Failed => ("FAILED", self.failure()),
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
    /// Known once compute is ACTIVE.
    pub due: Option<ServiceTime>,
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
