//! Start, stop, delete, and how long each transition takes.
use std::time::Duration;

use super::super::Workspace;
use super::compute::{Compute, ComputeState};
use super::deployment::Queued;
use super::model::App;
use crate::clock::ServiceTime;
use crate::error::{ApiError, Outcome};
use crate::faults::Kind;
use crate::http::{Call, Reply};

/// So long an app may be in transition before the service lets others at it.
const STUCK: Duration = Duration::from_secs(20 * 60);

/// Lengths of transitions in service time.
#[derive(Clone, Copy, Debug)]
pub struct Durations {
    pub create: Duration,
    pub start: Duration,
    pub stop: Duration,
    pub deploy: Duration,
    pub update: Duration,
    pub resize: Duration,
    pub delete: Duration,
}

/// What was seen on the service: start 160 to 180 s, stop 10 to 15 s; a deletion may take up to 20 minutes there.
const USUAL: Durations = Durations {
    create: Duration::from_secs(180),
    start: Duration::from_secs(170),
    stop: Duration::from_secs(12),
    deploy: Duration::from_secs(60),
    update: Duration::from_secs(5),
    resize: Duration::from_secs(60),
    delete: Duration::from_secs(120),
};

impl Workspace {
    pub(super) fn durations(&self, app: &str) -> Durations {
        self.faults
            .fire(app, |k| match k {
                Kind::Durations {
                    create,
                    start,
                    stop,
                    deploy,
                    update,
                    resize,
                    delete,
                } => Some(Durations {
                    create: create.unwrap_or(USUAL.create),
                    start: start.unwrap_or(USUAL.start),
                    stop: stop.unwrap_or(USUAL.stop),
                    deploy: deploy.unwrap_or(USUAL.deploy),
                    update: update.unwrap_or(USUAL.update),
                    resize: resize.unwrap_or(USUAL.resize),
                    delete: delete.unwrap_or(USUAL.delete),
                }),
                _ => None,
            })
            .unwrap_or(USUAL)
    }

    /// Compute on its way up; a fault may let it end in ERROR.
    pub(super) fn starting(
        &self,
        app: &str,
        message: &str,
        length: impl Fn(Durations) -> Duration,
    ) -> Compute {
        let now = self.now();
        let due = now + length(self.durations(app));
        let broken = self.faults.fire(app, |k| match k {
            Kind::StartOutcome { message } => Some(message.clone()),
            _ => None,
        });
        let starting = Compute::at(ComputeState::Starting, message, now);
        match broken {
            Some(message) if message.is_empty() => {
                starting.then(due, ComputeState::Error, "App compute failed to start.")
            }
            Some(message) => starting.then(due, ComputeState::Error, &message),
            None => starting.then(due, ComputeState::Active, "App compute is running."),
        }
    }

    /// Takes compute down from a time on, and with it what the app runs.
    fn begin_stop(&self, app: &mut App, since: ServiceTime) {
        let due = since + self.durations(&app.name).stop;
        app.compute = Compute::at(ComputeState::Stopping, "App compute is stopping.", since).then(
            due,
            ComputeState::Stopped,
            "Start the app compute to deploy the app.",
        );
        app.abandon_deployments("App was stopped.", &self.stamp_text());
        let clears = self.faults.fire(&app.name, |k| match k {
            Kind::StopClearsActiveDeployment { default_sources } => Some(*default_sources),
            _ => None,
        });
        if let Some(default_sources) = clears {
            app.active = None;
            if default_sources {
                app.default_source_code_path.clear();
                app.default_git_source = None;
            }
        }
    }

    /// What the platform does by itself: a fault may let it stop apps that have been ACTIVE for long. True if it did.
    pub(super) fn stop_idle_apps(&mut self) -> bool {
        let now = self.now();
        let overdue = |app: &App| {
            let since = app.compute.since;
            let after = self.faults.fire(&app.name, |k| match k {
                Kind::IdleStop { after }
                    if app.compute.state == ComputeState::Active && now >= since + *after =>
                {
                    Some(*after)
                }
                _ => None,
            });
            after.map(|after| since + after)
        };
        let idle: Vec<(App, ServiceTime)> = self
            .apps
            .by_name
            .values()
            .filter_map(|app| Some((app.clone(), overdue(app)?)))
            .collect();
        let stopped = !idle.is_empty();
        for (mut app, since) in idle {
            self.begin_stop(&mut app, since);
            app.updated = self.stamp_text();
            self.apps.by_name.insert(app.name.clone(), app);
        }
        stopped
    }

    /// A transition that is not legal now, with the status and code that a fault may play.
    pub(super) fn refused(&self, app: &str, message: String) -> ApiError {
        match self.refusal(app) {
            Some((status, code)) => ApiError::new(status, code, message),
            None => ApiError::bad_request(message),
        }
    }

    /// Status and code of a refusal, if a fault plays others than usual.
    pub(super) fn refusal(&self, app: &str) -> Option<(u16, String)> {
        self.faults.fire(app, |k| match k {
            Kind::Refusal {
                status_code,
                error_code,
            } => Some((*status_code, error_code.clone())),
            _ => None,
        })
    }

    /// The text of the service for whatever is in transition.
    pub(super) fn not_terminal(&self, verb: &str, app: &App) -> ApiError {
        self.refused(
            &app.name,
            format!(
                "Cannot {verb} app {} as it is not terminal with state {}, and was updated less than 20 minutes ago. Please wait before trying again.",
                app.name,
                app.compute.state.wire()
            ),
        )
    }

    /// What is already as wanted: 200 with the app, unless a fault refuses it.
    fn no_op(&self, verb: &str, app: &App) -> Outcome {
        match self.plays(&app.name, &Kind::NoOpRefused {}) {
            true => Err(self.refused(
                &app.name,
                format!(
                    "Cannot {verb} app {} as it is in state {}.",
                    app.name,
                    app.compute.state.wire()
                ),
            )),
            false => Ok(self.render(app, self.now()).into()),
        }
    }
}

/// STOPPED or ERROR to STARTING. The last deployment that won comes back by itself, and the answer does not show it yet.
pub fn start(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let mut app = workspace.app_mut(call)?.clone();
    match app.compute.state {
        ComputeState::Stopped | ComputeState::Error => {}
        ComputeState::Active | ComputeState::Starting => return workspace.no_op("start", &app),
        ComputeState::Updating | ComputeState::Stopping | ComputeState::Deleting => {
            return Err(workspace.not_terminal("start", &app));
        }
    }
    app.compute = workspace.starting(&app.name, "App compute is starting.", |d| d.start);
    app.updater.clone_from(&call.caller.name);
    app.updated = workspace.stamp_text();
    let last = app.last_good.clone();
    if let Some(last) = last.and_then(|id| app.deployment(&id)).cloned()
        && !workspace.plays(&app.name, &Kind::NoRedeployOnStart {})
    {
        let delay = workspace.faults.fire(&app.name, |k| match k {
            Kind::DelayedRedeploy { delay } => Some(*delay),
            _ => None,
        });
        let (verdict, message) = workspace.injected_outcome(&app.name);
        let (deployment, runs_for) =
            workspace.deployment(&app, last.source, &last.creator, verdict, &message);
        let known = app.deployments.len();
        app.queued = Some(Queued::new(
            deployment,
            delay.unwrap_or_default(),
            runs_for,
            known,
        ));
    }
    let shown = workspace.render(&app, workspace.now());
    workspace.apps.by_name.insert(app.name.clone(), app);
    Ok(shown.into())
}

/// ACTIVE or ERROR to STOPPED; what was being deployed is cancelled. An app that is stuck in STARTING lets itself be stopped
/// after 20 minutes.
pub fn stop(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let mut app = workspace.app_mut(call)?.clone();
    let now = workspace.now();
    let stuck = now.saturating_sub(app.compute.since) >= STUCK;
    match app.compute.state {
        ComputeState::Active | ComputeState::Error => {}
        ComputeState::Starting | ComputeState::Updating if stuck => {}
        ComputeState::Stopped | ComputeState::Stopping => return workspace.no_op("stop", &app),
        ComputeState::Starting | ComputeState::Updating | ComputeState::Deleting => {
            return Err(workspace.not_terminal("stop", &app));
        }
    }
    workspace.begin_stop(&mut app, now);
    app.updater.clone_from(&call.caller.name);
    app.updated = workspace.stamp_text();
    let shown = workspace.render(&app, now);
    workspace.apps.by_name.insert(app.name.clone(), app);
    Ok(shown.into())
}

/// From a terminal state to DELETING; the name stays taken until GET answers 404.
pub fn delete(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let mut app = workspace.app_mut(call)?.clone();
    let now = workspace.now();
    let stuck = now.saturating_sub(app.compute.since) >= STUCK;
    if !app.compute.state.is_terminal() && !stuck {
        return Err(workspace.not_terminal("delete", &app));
    }
    let due = now + workspace.durations(&app.name).delete;
    app.compute = Compute::at(ComputeState::Deleting, "App compute is deleting.", now).then(
        due,
        ComputeState::Deleting,
        "",
    );
    let stamp = workspace.stamp_text();
    app.abandon_deployments("App was deleted.", &stamp);
    app.update = app.update.filter(|update| update.done);
    app.updates_ahead.clear();
    app.updater.clone_from(&call.caller.name);
    app.updated = stamp;
    let shown = workspace.render(&app, now);
    let empty = workspace.plays(&app.name, &Kind::DeleteReplyEmpty {});
    workspace.apps.by_name.insert(app.name.clone(), app);
    Ok(match empty {
        true => Reply::empty(),
        false => shown.into(),
    })
}
