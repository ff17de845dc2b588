//! Apps as they are read: fields that nobody set are left out or filled in, and values of variables never show.
use rand::seq::SliceRandom;
use serde_json::{Map, Value, json};

use super::super::Workspace;
use super::compute::ComputeState;
use super::deployment::Deployment;
use super::model::{App, Update};
use super::settings::{DEFAULT_SCOPES, is_nothing};
use crate::clock::ServiceTime;
use crate::faults::{CommitShown, EnvMasking, Kind, Place};

impl Workspace {
    /// The app as GET shows it.
    pub(super) fn render(&self, app: &App, now: ServiceTime) -> Value {
        let mut shown = Map::new();
        let identity = &app.identity;
        for (field, text) in [
            ("name", &app.name),
            ("id", &identity.id),
            ("url", &identity.url),
            ("creator", &app.creator),
            ("updater", &app.updater),
            ("create_time", &app.created),
            ("update_time", &app.updated),
            (
                "service_principal_client_id",
                &identity.service_principal_client_id,
            ),
            ("service_principal_name", &identity.service_principal_name),
            ("oauth2_app_client_id", &identity.oauth_client_id),
            ("oauth2_app_integration_id", &identity.oauth_integration_id),
            ("default_source_code_path", &app.default_source_code_path),
        ] {
            shown.insert(field.into(), text.as_str().into());
        }
        shown.insert(
            "service_principal_id".into(),
            identity.service_principal_id.into(),
        );
        self.render_settings(app, &mut shown);
        let instances = i64::from(app.compute.state == ComputeState::Active);
        let mut compute =
            json!({"state": app.compute.state.wire(), "message": app.compute.message});
        if instances > 0 && !self.plays(&app.name, &Kind::InstanceCountsAbsent {}) {
            compute["active_instances"] = app
                .settings
                .get("compute_min_instances")
                .cloned()
                .unwrap_or_else(|| instances.into());
        }
        shown.insert("compute_status".into(), compute);
        let mut status = json!({"state": app.status.state, "message": app.status.message});
        if app.status.state == "RUNNING" && self.plays(&app.name, &Kind::RunningInstancesShown {}) {
            let counted = app.settings.get("compute_min_instances").cloned();
            status["running_instances"] = counted.unwrap_or_else(|| instances.into());
        }
        shown.insert("app_status".into(), status);
        for (field, id) in [
            ("active_deployment", &app.active),
            ("pending_deployment", &app.pending),
        ] {
            if let Some(deployment) = id.as_ref().and_then(|id| app.deployment(id)) {
                let mut rendered = self.render_deployment(app, deployment, now, Place::App);
                if field == "active_deployment"
                    && self.plays(&app.name, &Kind::ActiveSourcePathIsSnapshot {})
                {
                    rendered["source_code_path"] = artifacts(app, deployment).into();
                }
                shown.insert(field.into(), rendered);
            }
        }
        if let Some(source) = &app.default_git_source {
            shown.insert("default_git_source".into(), source.clone());
        }
        if app.thumbnail.is_some() {
            let url = format!("{}/thumbnail", identity.url);
            shown.insert("thumbnail_url".into(), url.into());
        }
        Value::Object(shown)
    }

    /// Whether the list has the app at all.
    pub(super) fn lists(&self, app: &App) -> bool {
        app.compute.state != ComputeState::Deleting
            || !self.plays(&app.name, &Kind::ListHidesDeleting {})
    }

    /// The app as the list shows it.
    pub(super) fn render_row(&self, app: &App, at: ServiceTime) -> Value {
        let mut row = self.render(app, at);
        let left_out = self.faults.fire(&app.name, |k| match k {
            Kind::ListThin { fields } => Some(fields.clone()),
            _ => None,
        });
        if let Some(fields) = row.as_object_mut() {
            for field in left_out.unwrap_or_else(|| vec!["app_status".to_owned()]) {
                fields.remove(&field);
            }
        }
        row
    }

    fn render_settings(&self, app: &App, shown: &mut Map<String, Value>) {
        let mut settings = app.settings.clone();
        if self.plays(&app.name, &Kind::ReversedOrder {}) {
            for field in ["resources", "user_api_scopes"] {
                if let Some(Value::Array(items)) = settings.get_mut(field) {
                    items.reverse();
                }
            }
        }
        if self.plays(&app.name, &Kind::ShuffledOrder {}) {
            for field in ["resources", "user_api_scopes"] {
                if let Some(Value::Array(items)) = settings.get_mut(field) {
                    items.shuffle(&mut rand::rng());
                }
            }
        }
        let space = settings
            .get("space")
            .and_then(|s| self.spaces.get(s.as_str()?).ok());
        let own_scopes = settings
            .get("user_api_scopes")
            .or_else(|| space?.get("user_api_scopes"));
        let effective = effective_scopes(own_scopes);
        if self.plays(&app.name, &Kind::ScopesNotEchoed {}) {
            settings.remove("user_api_scopes");
        }
        for policy in ["budget_policy_id", "usage_policy_id"] {
            if let Some(id) = settings.get(policy).cloned() {
                shown.insert(format!("effective_{policy}"), id);
            }
        }
        settings.entry("description").or_insert_with(|| "".into());
        settings
            .entry("compute_size")
            .or_insert_with(|| "MEDIUM".into());
        settings
            .entry("forward_user_access_token")
            .or_insert(Value::Bool(true));
        if self.plays(&app.name, &Kind::ForwardUserAccessTokenReadsTrue {}) {
            settings.insert("forward_user_access_token".into(), Value::Bool(true));
        }
        shown.append(&mut settings);
        shown.insert("effective_user_api_scopes".into(), effective.into());
    }

    pub(super) fn render_deployment(
        &self,
        app: &App,
        deployment: &Deployment,
        now: ServiceTime,
        place: Place,
    ) -> Value {
        let source = &deployment.source;
        let (state, message) = deployment.status(now);
        let mut shown = json!({
            "deployment_id": deployment.id,
            "mode": source.mode,
            "status": {"state": state, "message": message},
            "creator": deployment.creator,
            "create_time": deployment.created,
            "update_time": deployment.updated,
        });
        if let Some(path) = &source.source_code_path {
            shown["source_code_path"] = path.as_str().into();
        }
        if let Some(git) = &source.git_source {
            shown["git_source"] = git.clone();
            let commit = self.faults.fire(&app.name, |k| match k {
                Kind::ResolvedCommit { shown } => Some(*shown),
                _ => None,
            });
            let hidden = match commit {
                None => false,
                Some(CommitShown::Never) => true,
                Some(CommitShown::OnceSucceeded) => state != "SUCCEEDED",
            };
            if let (true, Some(fields)) = (hidden, shown["git_source"].as_object_mut()) {
                fields.remove("resolved_commit");
            }
        }
        if state != "IN_PROGRESS" || message.starts_with("Installing") {
            shown["deployment_artifacts"] = json!({"source_code_path": artifacts(app, deployment)});
        }
        if !source.command.is_empty() {
            shown["command"] = source.command.clone().into();
        }
        let masking = self.faults.fire(&app.name, |k| match k {
            Kind::EnvMasking { mode, places } => {
                (places.is_empty() || places.contains(&place)).then_some(*mode)
            }
            _ => None,
        });
        let env: Vec<Value> = match masking.unwrap_or_default() {
            EnvMasking::Absent => Vec::new(),
            EnvMasking::Visible => source.env_vars.clone(),
            EnvMasking::Names => names(&source.env_vars, None),
            EnvMasking::Starred => names(&source.env_vars, Some("********")),
        };
        if !env.is_empty() {
            shown["env_vars"] = env.into();
        }
        shown
    }
}

/// Variables without their values, or with something else instead.
fn names(variables: &[Value], value: Option<&str>) -> Vec<Value> {
    variables
        .iter()
        .map(|variable| {
            let mut shown = json!({"name": variable["name"]});
            if let Some(value) = value {
                shown["value"] = value.into();
            }
            shown
        })
        .collect()
}

/// The newest update as `GET …/update` shows it. Telemetry is not part of it.
pub fn render_update(update: &Update) -> Value {
    let mut shown: Map<String, Value> = update
        .echo
        .iter()
        .filter(|(field, value)| {
            !is_nothing(value) && *field != "telemetry_export_destinations" && *field != "space"
        })
        .map(|(field, value)| (field.clone(), value.clone()))
        .collect();
    let message = match (update.state(), update.message.as_str()) {
        ("IN_PROGRESS", _) => "App update is in progress.",
        ("SUCCEEDED", _) => "App update succeeded.",
        (_, "") => "App update failed unexpectedly.",
        (_, given) => given,
    };
    shown.insert(
        "status".into(),
        json!({"state": update.state(), "message": message}),
    );
    Value::Object(shown)
}

/// Where the frozen copy of a deployment's source lies.
fn artifacts(app: &App, deployment: &Deployment) -> String {
    format!(
        "/Workspace/Users/{}/src/{}",
        app.identity.service_principal_client_id, deployment.id
    )
}

/// Requested scopes and the defaults; parts of `sql` fold into it.
fn effective_scopes(requested: Option<&Value>) -> Vec<String> {
    let mut scopes: Vec<String> = requested
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(|scope| match scope {
            "sql.statement-execution" | "sql.warehouses" => "sql".to_owned(),
            other => other.to_owned(),
        })
        .chain(DEFAULT_SCOPES.map(str::to_owned))
        .collect();
    scopes.sort();
    scopes.dedup();
    scopes
}
