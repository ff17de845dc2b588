//! JSON on the wire: what the service's `App` means to us, and the bodies that we send.
//!
//! Answers are read field by field: missing, null, empty and of a foreign type are all "nothing there", so that no
//! answer can make the operator fail or, worse, plan a deletion.
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::fields::{self, Settings};
use super::spec::DatabricksApp;
use crate::databricks::Route;
use crate::worlds::databricks::Row;

mod translate;

pub use translate::{
    git_repository, git_source, git_spec, given, resource, resource_spec, telemetry, telemetry_spec,
};

/// The state of an app's process, which lists are known to leave out.
pub const APP_STATUS: &str = "app_status";

/// A remote app, as a list or a GET shows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RemoteApp {
    pub name: String,
    pub id: String,
    pub url: String,
    pub creator: String,
    /// Who changed it last.
    pub updater: String,
    pub service_principal: ServicePrincipal,
    /// Empty when unknown.
    pub compute_state: String,
    pub compute_message: String,
    /// Empty when unknown: lists leave it out.
    pub app_state: String,
    pub app_message: String,
    pub settings: Settings,
    pub effective_scopes: BTreeSet<String>,
    pub source_path: String,
    pub active: Option<RemoteDeployment>,
    pub pending: Option<RemoteDeployment>,
    /// Members of the answer that hold something, of those that a list may leave out.
    pub present: BTreeSet<&'static str>,
}

/// The identity that an app acts with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServicePrincipal {
    /// SCIM id.
    pub id: i64,
    /// Application id, as grants name it.
    pub client_id: String,
    pub name: String,
}

/// A deployment of a remote app. Values of variables are never readable.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RemoteDeployment {
    pub id: String,
    pub state: String,
    pub message: String,
    /// Who asked for it.
    pub creator: String,
    /// The path asked for, or that of the frozen copy: see [`RemoteApp::source_of`].
    pub source_path: String,
    /// The reference asked for, e.g. `{"branch": "main"}`; `Null` if it is not from Git.
    pub git: Value,
    /// URL of the repository that it was taken from; empty where it is not told.
    pub repository: String,
    pub resolved_commit: String,
    pub command: Vec<String>,
    pub env_names: BTreeSet<String>,
}

impl RemoteDeployment {
    pub fn in_progress(&self) -> bool {
        self.state == "IN_PROGRESS"
    }

    pub fn failed(&self) -> bool {
        matches!(self.state.as_str(), "FAILED" | "CANCELLED")
    }
}

impl RemoteApp {
    /// Reads an `App` of any shape; what is missing stays empty.
    pub fn read(body: &Value) -> Self {
        Self {
            name: text(body, "name"),
            id: text(body, "id"),
            url: text(body, "url"),
            creator: text(body, "creator"),
            updater: text(body, "updater"),
            service_principal: ServicePrincipal {
                id: body
                    .get("service_principal_id")
                    .and_then(Value::as_i64)
                    .unwrap_or_default(),
                client_id: text(body, "service_principal_client_id"),
                name: text(body, "service_principal_name"),
            },
            compute_state: text(&body["compute_status"], "state"),
            compute_message: text(&body["compute_status"], "message"),
            app_state: text(&body["app_status"], "state"),
            app_message: text(&body["app_status"], "message"),
            settings: fields::read(body),
            effective_scopes: texts(body, "effective_user_api_scopes").collect(),
            source_path: text(body, "default_source_code_path"),
            active: deployment(&body["active_deployment"]),
            pending: deployment(&body["pending_deployment"]),
            present: fields::present(body),
        }
    }

    /// The app after an update of `changed` that the service carried out at once.
    pub fn updated(&self, changed: &BTreeMap<&'static str, Value>) -> Self {
        let mut app = self.clone();
        app.settings.extend(fields::read(&json!(changed)));
        app
    }

    /// The deployment that was accepted last.
    pub fn newest(&self) -> Option<&RemoteDeployment> {
        self.pending.as_ref().or(self.active.as_ref())
    }

    /// A deployment is under way.
    pub fn deploying(&self) -> bool {
        let mut shown = [&self.pending, &self.active].into_iter().flatten();
        shown.any(RemoteDeployment::in_progress)
    }

    /// The folder that one of its deployments was asked to take its code from; `None` as long as nothing tells. A service
    /// may show the frozen copy, which lies in the home of the app's service principal, where the folder is meant. Then
    /// the app tells, and it speaks of the deployment that won last alone: while another one is under way it still
    /// names the folder of the one before.
    pub fn source_of<'a>(&'a self, deployment: &'a RemoteDeployment) -> Option<&'a str> {
        let home = format!("/Users/{}/", self.service_principal.client_id);
        let shown = deployment.source_path.as_str();
        let frozen = !self.service_principal.client_id.is_empty() && bare(shown).starts_with(&home);
        if !shown.is_empty() && !frozen {
            return Some(shown);
        }
        let won = deployment.state == "SUCCEEDED"
            && self
                .active
                .as_ref()
                .is_some_and(|active| active.id == deployment.id);
        (won && !self.source_path.is_empty()).then_some(self.source_path.as_str())
    }

    /// State of its process. Where lists leave it out, an app whose deployment succeeded counts as running until a GET
    /// says otherwise.
    pub fn running_state(&self) -> &str {
        let active = self
            .active
            .as_ref()
            .filter(|_| self.compute_state == "ACTIVE");
        match active {
            Some(active) if self.app_state.is_empty() && active.state == "SUCCEEDED" => "RUNNING",
            _ => &self.app_state,
        }
    }

    /// Whether its process ended: shown by a GET alone, where lists leave it out.
    pub fn crashed(&self) -> bool {
        self.app_state == "CRASHED" && self.compute_state == "ACTIVE" && !self.deploying()
    }
}

pub(super) fn text(value: &Value, key: &str) -> String {
    value
        .get(key)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .into()
}

pub(super) fn items<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value
        .get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn texts(value: &Value, key: &str) -> impl Iterator<Item = String> {
    items(value, key)
        .filter_map(Value::as_str)
        .map(str::to_owned)
}

impl Row for RemoteApp {
    const WHAT: &'static str = "app";
    const PATH: &'static str = "/api/2.0/apps";
    const ITEMS: &'static str = "apps";
    const ROUTE: Route = Route::list("apps/list");
    const THIN: &'static [&'static str] = &[APP_STATUS];

    fn read(body: &Value) -> Self {
        Self::read(body)
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn present(&self) -> &BTreeSet<&'static str> {
        &self.present
    }

    fn should_show(&self, field: &'static str) -> bool {
        field != APP_STATUS || self.compute_state == "ACTIVE"
    }

    fn carry(&mut self, field: &'static str, from: &Self) {
        // What stops loses its process and its deployment by itself; another deployment has a process of its own.
        let same_run = self.id == from.id
            && self.compute_state == from.compute_state
            && self.newest().map(|d| &d.id) == from.newest().map(|d| &d.id);
        match field {
            // While a deployment is under way the status is that of the process before.
            APP_STATUS if same_run && !self.deploying() && !from.deploying() => {
                self.app_state.clone_from(&from.app_state);
                self.app_message.clone_from(&from.app_message);
            }
            "active_deployment"
                if self.id == from.id
                    && self.compute_state == "ACTIVE"
                    && from.compute_state == "ACTIVE" =>
            {
                self.active.clone_from(&from.active);
            }
            // It names the folder of the deployment that won last.
            "default_source_code_path"
                if self.id == from.id
                    && self.active.as_ref().map(|d| &d.id)
                        == from.active.as_ref().map(|d| &d.id) =>
            {
                self.source_path.clone_from(&from.source_path);
            }
            setting if self.id == from.id => {
                if let Some(value) = from.settings.get(setting) {
                    self.settings.insert(setting, value.clone());
                }
            }
            _ => return,
        }
        if from.present.contains(field) {
            self.present.insert(field);
        }
    }
}

/// Reads an `AppDeployment`; `None` without an id.
pub fn deployment(value: &Value) -> Option<RemoteDeployment> {
    let id = text(value, "deployment_id");
    let git = &value["git_source"];
    (!id.is_empty()).then(|| RemoteDeployment {
        id,
        state: text(&value["status"], "state"),
        message: text(&value["status"], "message"),
        creator: text(value, "creator"),
        source_path: text(value, "source_code_path"),
        git: git_reference(git),
        repository: text(&git["git_repository"], "url"),
        resolved_commit: text(git, "resolved_commit"),
        command: texts(value, "command").collect(),
        env_names: items(value, "env_vars").map(|e| text(e, "name")).collect(),
    })
}

/// What of a repository is asked for, without what only the service adds.
pub(super) fn git_reference(git: &Value) -> Value {
    let keys = ["branch", "tag", "commit", "source_code_path"];
    let asked: Map<String, Value> = keys
        .iter()
        .map(|key| ((*key).to_owned(), text(git, key)))
        .filter(|(_, text)| !text.is_empty())
        .map(|(key, text)| (key, json!(text)))
        .collect();
    if asked.is_empty() {
        Value::Null
    } else {
        Value::Object(asked)
    }
}

/// The kinds of resources, each with the members that are sent.
const RESOURCES: &[(&str, &[&str])] = &[
    ("app", &["name", "permission"]),
    (
        "database",
        &["instance_name", "database_name", "permission"],
    ),
    ("postgres", &["branch", "database", "permission"]),
    ("experiment", &["experiment_id", "permission"]),
    ("genie_space", &["name", "space_id", "permission"]),
    ("job", &["id", "permission"]),
    ("secret", &["scope", "key", "permission"]),
    ("serving_endpoint", &["name", "permission"]),
    ("sql_warehouse", &["id", "permission"]),
    (
        "uc_securable",
        &["securable_full_name", "securable_type", "permission"],
    ),
];

/// A resource as it is compared: without what only the service adds, Unity Catalog names in lower case.
pub fn comparable(resource: &Value) -> Value {
    let mut same = Map::new();
    for (key, value) in resource.as_object().into_iter().flatten() {
        match RESOURCES.iter().find(|(kind, _)| kind == key) {
            Some((_, members)) => {
                same.insert(key.clone(), picked(value, members));
            }
            None if matches!(key.as_str(), "name" | "description") => {
                same.insert(key.clone(), value.clone());
            }
            None => {}
        }
    }
    if let Some(Value::String(name)) = same
        .get_mut("uc_securable")
        .and_then(|s| s.get_mut("securable_full_name"))
    {
        *name = name.to_lowercase();
    }
    same.retain(|_, v| !v.is_null() && v.as_str() != Some(""));
    Value::Object(same)
}

/// Those members of an object, where they hold something.
pub(super) fn picked(value: &Value, members: &[&str]) -> Value {
    let held = members.iter().filter_map(|member| {
        let held = value
            .get(*member)
            .filter(|v| !v.is_null() && v.as_str() != Some(""))?;
        Some(((*member).to_owned(), held.clone()))
    });
    Value::Object(held.collect())
}

/// The one workspace path in its two spellings.
pub fn same_path(a: &str, b: &str) -> bool {
    bare(a) == bare(b)
}

/// A repository's URL in its one spelling.
pub fn repository_url(url: &str) -> &str {
    let url = url.trim_end_matches('/');
    url.strip_suffix(".git").unwrap_or(url)
}

fn bare(path: &str) -> &str {
    let path = path.strip_prefix("/Workspace").unwrap_or(path);
    path.trim_end_matches('/')
}

/// The outcome of the last update, as `GET …/update` shows it: its state and message.
pub fn update_outcome(body: &Value) -> (String, String) {
    let status = &body["status"];
    (text(status, "state"), text(status, "message"))
}

/// The body of an update: the mask holds just the fields given, each with its value.
pub fn update_body(name: &str, fields: &BTreeMap<&'static str, Value>) -> Value {
    let mut app = json!({ "name": name });
    for (field, value) in fields {
        app[*field] = value.clone();
    }
    let mask: Vec<&str> = fields.keys().copied().collect();
    json!({"app": app, "update_mask": mask.join(",")})
}

/// The body of a creation.
pub fn create_body(app: &DatabricksApp) -> Value {
    let mut body = Map::new();
    body.insert("name".into(), json!(app.remote_name()));
    for (field, value) in fields::wanted(app) {
        body.insert(field.into(), value);
    }
    Value::Object(body)
}
