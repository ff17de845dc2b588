//! Changes that come from nowhere: somebody else's hands on an app, through `/sim/apps` and the seed.
use serde_json::{Map, Value, json};

use super::super::Workspace;
use super::check_name;
use super::compute::{Compute, ComputeState};
use super::deployment::{AppStatus, Source};
use super::model::App;
use super::settings::{self, UPDATABLE};
use crate::error::ApiError;
use crate::faults::DeploymentVerdict as Verdict;
use crate::http::text;

/// Who did it when the body names nobody.
const STRANGER: &str = "stranger@example.com";

/// Fields of a change besides the settings of an app.
const EXTRA: [&str; 10] = [
    "name",
    "creator",
    "updater",
    "compute_status",
    "app_status",
    "deploy",
    "permissions",
    "create",
    "recreate",
    "deleted",
];

impl Workspace {
    /// Merges a change into an app as if its `updater` had made it, at once and whatever the state. `create` makes the app if
    /// it is missing, `recreate` gives it new identities, `deleted` removes it, `deploy` lets a deployment win.
    pub fn change_app(&mut self, name: &str, body: &Map<String, Value>) -> Result<Value, ApiError> {
        if let Some(unknown) = body
            .keys()
            .find(|k| !EXTRA.contains(&k.as_str()) && !UPDATABLE.contains(&k.as_str()))
        {
            return Err(ApiError::invalid(format!(
                "unknown field `{unknown}`: known are {} and {}",
                EXTRA.join(", "),
                UPDATABLE.join(", ")
            )));
        }
        let set = |flag: &str| body.get(flag) == Some(&Value::Bool(true));
        let who = text(body, "updater").unwrap_or(STRANGER).to_owned();
        if set("deleted") {
            self.app(name)?;
            self.remove_app(name);
            return Ok(json!({}));
        }
        let mut app = match self.apps.by_name.get(name) {
            Some(_) if set("recreate") => self.recreate(name, &who),
            Some(app) => app.clone(),
            None if set("create") => {
                check_name(name)?;
                let creator = text(body, "creator").unwrap_or(&who).to_owned();
                let active =
                    Compute::at(ComputeState::Active, "App compute is running.", self.now());
                self.found(name, Map::new(), &creator, active)
            }
            None => return Err(self.no_app(name)),
        };
        let given = settings::read(self, name, body)?;
        for field in UPDATABLE.into_iter().filter(|f| body.contains_key(*f)) {
            match given.get(field) {
                Some(value) => app.settings.insert(field.to_owned(), value.clone()),
                None => app.settings.remove(field),
            };
        }
        self.force_state(&mut app, body)?;
        if let Some(deploy) = body.get("deploy").and_then(Value::as_object) {
            self.force_deployment(&mut app, deploy, &who);
        }
        app.updater = who;
        app.updated = self.stamp_text();
        let shown = self.render(&app, self.now());
        self.settle_in(app);
        Ok(shown)
    }

    /// An app of the seed: the same change, on an app that is not there yet.
    pub fn seed_app(&mut self, body: &Map<String, Value>) -> Result<(), ApiError> {
        let name = text(body, "name").unwrap_or_default().to_owned();
        let mut body = body.clone();
        body.insert("create".into(), Value::Bool(true));
        if let Some(creator) = body.get("creator").cloned() {
            body.entry("updater").or_insert(creator);
        }
        self.change_app(&name, &body).map(|_| ())
    }

    fn recreate(&mut self, name: &str, who: &str) -> App {
        self.remove_app(name);
        let active = Compute::at(ComputeState::Active, "App compute is running.", self.now());
        self.found(name, Map::new(), who, active)
    }

    fn force_state(&self, app: &mut App, body: &Map<String, Value>) -> Result<(), ApiError> {
        if let Some(status) = body.get("compute_status") {
            let wanted = status["state"].as_str().unwrap_or_default();
            let state = ComputeState::read(wanted).ok_or_else(|| {
                ApiError::invalid(format!("compute_status.state is no state: `{wanted}`"))
            })?;
            let message = status["message"].as_str().unwrap_or(match state {
                ComputeState::Active => "App compute is running.",
                ComputeState::Stopped => "Start the app compute to deploy the app.",
                _ => "",
            });
            app.compute = Compute::at(state, message, self.now());
            if state != ComputeState::Active {
                app.abandon_deployments("App was stopped.", &self.stamp_text());
            }
        }
        if let Some(status) = body.get("app_status") {
            let message = status["message"].as_str();
            let mut forced = match status["state"].as_str().unwrap_or_default() {
                "CRASHED" => AppStatus::crashed(message.unwrap_or_default()),
                "RUNNING" => AppStatus::running(),
                "UNAVAILABLE" => AppStatus::unavailable(),
                other => {
                    return Err(ApiError::invalid(format!(
                        "app_status.state is `{other}`: expected RUNNING, CRASHED or UNAVAILABLE"
                    )));
                }
            };
            if let Some(message) = message {
                forced.message = message.to_owned();
            }
            app.status = forced;
        }
        Ok(())
    }

    /// Lets a deployment win at once.
    fn force_deployment(&self, app: &mut App, deploy: &Map<String, Value>, who: &str) {
        let list = |field: &str| {
            let items = deploy.get(field).and_then(Value::as_array);
            items.cloned().unwrap_or_default()
        };
        let source = Source {
            mode: text(deploy, "mode").unwrap_or("SNAPSHOT").to_owned(),
            source_code_path: text(deploy, "source_code_path").map(str::to_owned),
            git_source: deploy.get("git_source").cloned(),
            command: list("command"),
            env_vars: list("env_vars"),
        };
        app.abandon_deployments("Superseded.", &self.stamp_text());
        let (mut deployment, _) = self.deployment(app, source, who, Verdict::Succeeded, "");
        deployment.ends = deployment.began;
        app.begin(deployment);
        app.settle(self.now(), &self.stamp_text());
    }
}
