//! Deployments: when one may begin, what it needs, and how it will end. The end is settled when it begins.
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::super::Workspace;
use super::super::files::MAX_FILE;
use super::super::paging::page;
use super::compute::ComputeState;
use super::create::deployment_id;
use super::deployment::{Deployment, Source};
use super::model::App;
use crate::error::{ApiError, Outcome};
use crate::faults::{DeploymentVerdict as Verdict, Kind, Place};
use crate::http::{Call, text};

/// Accepts a deployment, or says why not. Whether its source exists is found out when it is accepted, and shows at its end.
pub fn deploy(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let mut app = workspace.app_mut(call)?.clone();
    let source = read_source(&app, &call.json()?)?;
    check_state(workspace, &app)?;
    let (verdict, message) = match workspace.source_problem(&app, &source) {
        Some(problem) => {
            let refused = workspace.faults.fire(&app.name, |k| match k {
                Kind::MissingSourceRefused { status_code } => Some(*status_code),
                _ => None,
            });
            if let Some(status) = refused {
                let code = match status {
                    404 => "RESOURCE_DOES_NOT_EXIST",
                    _ => "INVALID_PARAMETER_VALUE",
                };
                return Err(ApiError::new(status, code, problem));
            }
            (Verdict::Failed, problem)
        }
        None => workspace.injected_outcome(&app.name),
    };
    app.keeps_failed = workspace.plays(&app.name, &Kind::FailedDeploymentStaysPending {});
    let (deployment, _) = workspace.deployment(&app, source, &call.caller.name, verdict, &message);
    app.begin(deployment.clone());
    let shown = workspace.render_deployment(&app, &deployment, workspace.now(), Place::Deployment);
    workspace.apps.by_name.insert(app.name.clone(), app);
    Ok(shown.into())
}

pub fn get(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let app = workspace.app(call.param("name"))?;
    let id = call.param("deployment_id");
    let deployment = app.deployment(id).ok_or_else(|| {
        ApiError::missing(format!(
            "Deployment {id} of app {} does not exist.",
            app.name
        ))
    })?;
    Ok(workspace
        .render_deployment(app, deployment, workspace.now(), Place::Deployment)
        .into())
}

/// The newest first.
pub fn list(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let app = workspace.app(call.param("name"))?;
    let newest_first = app
        .deployments
        .iter()
        .enumerate()
        .rev()
        .map(|(at, deployment)| (format!("{:012}", 999_999_999_999 - at), deployment));
    let limit = workspace.rules.page_size;
    let render = |deployment| {
        workspace.render_deployment(app, deployment, workspace.now(), Place::DeploymentList)
    };
    Ok(page(call, "app_deployments", limit, newest_first, render)?.into())
}

/// Reads the body: exactly one of a path and a Git reference.
fn read_source(app: &App, body: &Map<String, Value>) -> Result<Source, ApiError> {
    let path = text(body, "source_code_path").map(str::to_owned);
    let mut git = body
        .get("git_source")
        .filter(|v| v.as_object().is_some_and(|o| !o.is_empty()))
        .cloned();
    match (&path, &mut git) {
        (Some(_), Some(_)) => {
            return Err(ApiError::invalid(
                "Only one of source_code_path and git_source can be set.",
            ));
        }
        (None, None) if app.settings.contains_key("git_repository") => {
            return Err(ApiError::invalid("Git source reference is required"));
        }
        (None, None) => {
            return Err(ApiError::invalid(
                "Missing required field: source_code_path or git_source",
            ));
        }
        (None, Some(git)) => resolve(app, git)?,
        (Some(_), None) => {}
    }
    let list = |field: &str| match body.get(field) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => Ok(items.clone()),
        Some(_) => Err(ApiError::invalid(format!("{field} must be a list"))),
    };
    let env_vars = list("env_vars")?;
    for variable in &env_vars {
        let given = |field: &str| variable.get(field).is_some_and(|v| v.is_string());
        if !given("name") || given("value") == given("value_from") {
            return Err(ApiError::invalid(
                "An environment variable needs a name and exactly one of value and value_from",
            ));
        }
    }
    let mode = text(body, "mode").unwrap_or("SNAPSHOT");
    if !["SNAPSHOT", "AUTO_SYNC"].contains(&mode) {
        return Err(ApiError::invalid(format!("Invalid deployment mode {mode}")));
    }
    Ok(Source {
        mode: mode.to_owned(),
        source_code_path: path,
        git_source: git,
        command: list("command")?,
        env_vars,
    })
}

/// Checks a Git reference and adds what the service finds out about it.
fn resolve(app: &App, git: &mut Value) -> Result<(), ApiError> {
    if !git["git_repository"].is_null() {
        return Err(ApiError::invalid(
            "git_source.git_repository is not supported in Deploy API",
        ));
    }
    let repository = app.settings.get("git_repository").ok_or_else(|| {
        ApiError::invalid(format!("App {} has no Git repository configured", app.name))
    })?;
    let references: Vec<&str> = ["branch", "tag", "commit"]
        .into_iter()
        .filter_map(|field| git[field].as_str().filter(|r| !r.is_empty()))
        .collect();
    let [reference] = references[..] else {
        return Err(ApiError::invalid(
            "Exactly one of branch, tag and commit must be set in git_source",
        ));
    };
    // The same reference resolves to the same commit: FNV-1a over URL and reference.
    let url = repository["url"].as_str().unwrap_or_default();
    let hash = format!("{url}#{reference}")
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
    let commit = match git["commit"].as_str().filter(|c| !c.is_empty()) {
        Some(commit) => commit.to_owned(),
        None => format!("{hash:016x}{:016x}{:08x}", hash.rotate_left(17), hash >> 32),
    };
    git["git_repository"] = repository.clone();
    git["resolved_commit"] = commit.into();
    Ok(())
}

/// Compute must be ACTIVE, for a while if a fault says so, and nothing else may run.
fn check_state(workspace: &Workspace, app: &App) -> Result<(), ApiError> {
    let name = &app.name;
    let too_fresh = || {
        let span = workspace.faults.fire(name, |k| match k {
            Kind::DeployRefusedAfterActive { span } => Some(*span),
            _ => None,
        });
        span.is_some_and(|span| workspace.now() < app.compute.since + span)
    };
    let crashed = || {
        app.status.state == "CRASHED" && workspace.plays(name, &Kind::DeployRefusedWhileCrashed {})
    };
    if app.compute.state != ComputeState::Active || too_fresh() || crashed() {
        return Err(workspace.refused(
            name,
            format!("Cannot deploy app {name} as it is not in RUNNING state"),
        ));
    }
    if app.in_progress().is_some() {
        return Err(workspace.refused(
            name,
            format!("Cannot deploy app {name} as there is an active deployment in progress"),
        ));
    }
    Ok(())
}

impl Workspace {
    /// A new deployment that begins now, and how long it runs.
    pub(super) fn deployment(
        &self,
        app: &App,
        source: Source,
        creator: &str,
        verdict: Verdict,
        message: &str,
    ) -> (Deployment, Duration) {
        let runs_for = self.durations(&app.name).deploy;
        let stamp = self.stamp_text();
        let deployment = Deployment {
            id: deployment_id(),
            source,
            creator: creator.to_owned(),
            created: stamp.clone(),
            updated: stamp,
            began: self.now(),
            ends: self.now() + runs_for,
            verdict,
            message: message.to_owned(),
            done: false,
        };
        (deployment, runs_for)
    }

    /// How a fault wants the next deployment to end.
    pub(super) fn injected_outcome(&self, app: &str) -> (Verdict, String) {
        self.faults
            .fire(app, |k| match k {
                Kind::DeploymentOutcome { outcome, message } => Some((*outcome, message.clone())),
                _ => None,
            })
            .unwrap_or((Verdict::Succeeded, String::new()))
    }

    /// Why a source can't be deployed.
    fn source_problem(&self, app: &App, source: &Source) -> Option<String> {
        if let Some(path) = &source.source_code_path
            && !self.rules.any_source
        {
            if !self.files.is_directory(path) {
                return Some(format!("Source code path {path} does not exist."));
            }
            if self.files.has_oversized(path) {
                return Some(format!("File is larger than {MAX_FILE} bytes"));
            }
        }
        let known = app.settings.get("resources").cloned().unwrap_or(json!([]));
        source
            .env_vars
            .iter()
            .filter_map(|variable| Some((variable["name"].as_str()?, variable["value_from"].as_str()?)))
            .find(|(_, resource)| {
                !known
                    .as_array()
                    .is_some_and(|all| all.iter().any(|r| r["name"] == *resource))
            })
            .map(|(name, resource)| {
                format!("Environment variable {name} refers to resource {resource}, which the app does not have.")
            })
    }
}
