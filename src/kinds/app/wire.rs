//! JSON on the wire: what the service's `App` means to us, and the bodies that we send.
//!
//! Answers are read field by field: missing, null, empty and of a foreign type are all "nothing there", so that no
//! answer can make the operator fail or, worse, plan a deletion.
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::spec::{AppResource, ComputeSize, DatabricksApp, Grant, Level, Principal};
use crate::databricks::Route;
use crate::worlds::databricks::Row;

/// A remote app, as a list or a GET shows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RemoteApp {
    pub name: String,
    pub id: String,
    pub url: String,
    pub creator: String,
    /// Who changed it last.
    pub updater: String,
    pub service_principal_client_id: String,
    /// Empty when unknown.
    pub compute_state: String,
    pub compute_message: String,
    /// Empty when unknown: lists leave it out.
    pub app_state: String,
    pub app_message: String,
    pub description: String,
    pub compute_size: String,
    pub scopes: BTreeSet<String>,
    pub effective_scopes: BTreeSet<String>,
    /// By name, as sent: without what only the service adds.
    pub resources: BTreeMap<String, Value>,
    pub source_path: String,
    pub active: Option<RemoteDeployment>,
    pub pending: Option<RemoteDeployment>,
}

/// A deployment of a remote app. Values of variables are never readable.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RemoteDeployment {
    pub id: String,
    pub state: String,
    pub message: String,
    pub source_path: String,
    pub command: Vec<String>,
    pub env_names: BTreeSet<String>,
}

impl RemoteDeployment {
    pub fn in_progress(&self) -> bool {
        self.state == "IN_PROGRESS"
    }
}

impl RemoteApp {
    /// Reads an `App` of any shape; what is missing stays empty.
    pub fn read(body: &Value) -> Self {
        let resources = items(body, "resources")
            .filter_map(|r| Some((r.get("name")?.as_str()?.to_owned(), comparable(r))))
            .collect();
        Self {
            name: text(body, "name"),
            id: text(body, "id"),
            url: text(body, "url"),
            creator: text(body, "creator"),
            updater: text(body, "updater"),
            service_principal_client_id: text(body, "service_principal_client_id"),
            compute_state: text(&body["compute_status"], "state"),
            compute_message: text(&body["compute_status"], "message"),
            app_state: text(&body["app_status"], "state"),
            app_message: text(&body["app_status"], "message"),
            description: text(body, "description"),
            compute_size: text(body, "compute_size"),
            scopes: texts(body, "user_api_scopes").collect(),
            effective_scopes: texts(body, "effective_user_api_scopes").collect(),
            resources,
            source_path: text(body, "default_source_code_path"),
            active: deployment(&body["active_deployment"]),
            pending: deployment(&body["pending_deployment"]),
        }
    }

    /// The app after an update of `fields` that the service carried out at once.
    pub fn updated(&self, fields: &BTreeMap<&'static str, Value>) -> Self {
        let changed = Self::read(&json!(fields));
        let mut app = self.clone();
        for field in fields.keys() {
            match *field {
                "description" => app.description.clone_from(&changed.description),
                "compute_size" => app.compute_size.clone_from(&changed.compute_size),
                "user_api_scopes" => app.scopes.clone_from(&changed.scopes),
                "resources" => app.resources.clone_from(&changed.resources),
                _ => {}
            }
        }
        app
    }

    /// The deployment that was accepted last.
    pub fn newest(&self) -> Option<&RemoteDeployment> {
        self.pending.as_ref().or(self.active.as_ref())
    }
}

fn text(value: &Value, key: &str) -> String {
    value
        .get(key)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .into()
}

fn items<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
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

    fn read(body: &Value) -> Self {
        Self::read(body)
    }

    fn name(&self) -> &str {
        &self.name
    }
}

/// Reads an `AppDeployment`; `None` without an id.
pub fn deployment(value: &Value) -> Option<RemoteDeployment> {
    let id = text(value, "deployment_id");
    (!id.is_empty()).then(|| RemoteDeployment {
        id,
        state: text(&value["status"], "state"),
        message: text(&value["status"], "message"),
        source_path: text(value, "source_code_path"),
        command: texts(value, "command").collect(),
        env_names: items(value, "env_vars").map(|e| text(e, "name")).collect(),
    })
}

/// A resource as it is compared: without output-only fields and empty strings, Unity Catalog names in lower case.
fn comparable(resource: &Value) -> Value {
    let mut resource = resource.clone();
    if let Some(securable) = resource
        .get_mut("uc_securable")
        .and_then(Value::as_object_mut)
    {
        securable.remove("securable_kind");
        if let Some(Value::String(name)) = securable.get_mut("securable_full_name") {
            *name = name.to_lowercase();
        }
    }
    if let Some(fields) = resource.as_object_mut() {
        fields.retain(|_, v| !v.is_null() && v.as_str() != Some(""));
    }
    resource
}

/// The one workspace path in its two spellings.
pub fn same_path(a: &str, b: &str) -> bool {
    fn bare(path: &str) -> &str {
        let path = path.strip_prefix("/Workspace").unwrap_or(path);
        path.trim_end_matches('/')
    }
    bare(a) == bare(b)
}

fn size(size: ComputeSize) -> &'static str {
    match size {
        ComputeSize::Medium => "MEDIUM",
        ComputeSize::Large => "LARGE",
        ComputeSize::XLarge => "XLARGE",
    }
}

/// One resource as the service takes it.
pub fn resource(resource: &AppResource) -> Value {
    let mut body = Map::new();
    body.insert("name".into(), json!(resource.name));
    if let Some(description) = resource.description.as_ref().filter(|d| !d.is_empty()) {
        body.insert("description".into(), json!(description));
    }
    if let Some(r) = &resource.app {
        body.insert(
            "app".into(),
            json!({"name": r.name, "permission": r.permission.wire()}),
        );
    }
    if let Some(r) = &resource.database {
        body.insert("database".into(), json!({"instance_name": r.instance_name, "database_name": r.database_name, "permission": r.permission.wire()}));
    }
    if let Some(r) = &resource.postgres {
        let mut value = json!({"branch": r.branch, "permission": r.permission.wire()});
        if let Some(database) = &r.database {
            value["database"] = json!(database);
        }
        body.insert("postgres".into(), value);
    }
    if let Some(r) = &resource.experiment {
        body.insert(
            "experiment".into(),
            json!({"experiment_id": r.experiment_id, "permission": r.permission.wire()}),
        );
    }
    if let Some(r) = &resource.genie_space {
        body.insert(
            "genie_space".into(),
            json!({"name": r.name, "space_id": r.space_id, "permission": r.permission.wire()}),
        );
    }
    if let Some(r) = &resource.job {
        body.insert(
            "job".into(),
            json!({"id": r.id, "permission": r.permission.wire()}),
        );
    }
    if let Some(r) = &resource.secret {
        body.insert(
            "secret".into(),
            json!({"scope": r.scope, "key": r.key, "permission": r.permission.wire()}),
        );
    }
    if let Some(r) = &resource.serving_endpoint {
        body.insert(
            "serving_endpoint".into(),
            json!({"name": r.name, "permission": r.permission.wire()}),
        );
    }
    if let Some(r) = &resource.sql_warehouse {
        body.insert(
            "sql_warehouse".into(),
            json!({"id": r.id, "permission": r.permission.wire()}),
        );
    }
    if let Some(r) = &resource.uc_securable {
        body.insert("uc_securable".into(), json!({"securable_full_name": r.full_name, "securable_type": r.securable_type.wire(), "permission": r.permission.wire()}));
    }
    Value::Object(body)
}

/// The settings that the spec manages, by the service's field names, each with the value it should have.
pub fn wanted_settings(app: &DatabricksApp) -> BTreeMap<&'static str, Value> {
    let spec = &app.spec;
    let mut wanted = BTreeMap::new();
    if let Some(description) = &spec.description {
        wanted.insert("description", json!(description));
    }
    if let Some(wish) = spec.compute.as_ref().and_then(|c| c.size) {
        wanted.insert("compute_size", json!(size(wish)));
    }
    if let Some(scopes) = spec
        .user_authorization
        .as_ref()
        .and_then(|u| u.scopes.as_ref())
    {
        wanted.insert("user_api_scopes", json!(scopes));
    }
    if let Some(resources) = &spec.resources {
        wanted.insert("resources", resources.iter().map(resource).collect());
    }
    wanted
}

/// Those of the wanted settings that the remote app lacks. A field that the spec does not manage never differs.
pub fn differing_settings(
    app: &DatabricksApp,
    remote: &RemoteApp,
) -> BTreeMap<&'static str, Value> {
    let mut wanted = wanted_settings(app);
    wanted.retain(|field, value| match *field {
        "description" => value.as_str() != Some(&remote.description),
        "compute_size" => {
            !remote.compute_size.is_empty() && value.as_str() != Some(&remote.compute_size)
        }
        "user_api_scopes" => {
            let scopes: BTreeSet<String> = value
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect();
            scopes != remote.scopes
        }
        _ => {
            let resources: BTreeMap<String, Value> = value
                .as_array()
                .into_iter()
                .flatten()
                .map(|r| (text(r, "name"), comparable(r)))
                .collect();
            resources != remote.resources
        }
    });
    wanted
}

/// Direct grants by principal, the highest level each. `service_principal` names are lower case, as users' are.
pub type Acl = BTreeMap<String, Level>;

/// The key of a principal in an [`Acl`]: users and service principals are compared without regard to case, groups not.
pub fn principal_key(principal: &Principal) -> String {
    match principal {
        Principal {
            user: Some(user), ..
        } => format!("user:{}", user.to_lowercase()),
        Principal {
            service_principal: Some(id),
            ..
        } => format!("sp:{}", id.to_lowercase()),
        Principal { group, .. } => format!("group:{}", group.as_deref().unwrap_or_default()),
    }
}

/// Reads the direct grants of a permissions answer; inherited ones and the group `admins` are nobody's to change.
pub fn read_acl(body: &Value) -> Acl {
    let mut acl = Acl::new();
    for entry in items(body, "access_control_list") {
        let key = match (
            text(entry, "user_name"),
            text(entry, "group_name"),
            text(entry, "service_principal_name"),
        ) {
            (user, _, _) if !user.is_empty() => format!("user:{}", user.to_lowercase()),
            (_, group, _) if group == "admins" => continue,
            (_, group, _) if !group.is_empty() => format!("group:{group}"),
            (_, _, id) if !id.is_empty() => format!("sp:{}", id.to_lowercase()),
            _ => continue,
        };
        let level = items(entry, "all_permissions")
            .filter(|p| p.get("inherited").and_then(Value::as_bool) != Some(true))
            .filter_map(|p| match text(p, "permission_level").as_str() {
                "CAN_MANAGE" => Some(Level::CanManage),
                "CAN_USE" => Some(Level::CanUse),
                _ => None,
            })
            .max();
        if let Some(level) = level {
            let held = acl.entry(key).or_insert(level);
            *held = level.max(*held);
        }
    }
    acl
}

/// The grants asked for, the operator's own identity with CAN_MANAGE among them.
pub fn wanted_acl(grants: &[Grant], identity: &str) -> Acl {
    let mut acl = Acl::new();
    for grant in grants {
        let held = acl
            .entry(principal_key(&grant.principal))
            .or_insert(grant.level);
        *held = grant.level.max(*held);
    }
    acl.insert(identity_key(identity), Level::CanManage);
    acl
}

/// The key of the operator's own identity: an e-mail address is a user, anything else a service principal.
pub fn identity_key(identity: &str) -> String {
    let kind = if identity.contains('@') { "user" } else { "sp" };
    format!("{kind}:{}", identity.to_lowercase())
}

/// The body of a PUT of permissions.
pub fn acl_body(acl: &Acl) -> Value {
    let entries: Vec<Value> = acl
        .iter()
        .map(|(key, level)| {
            let (kind, name) = key.split_once(':').unwrap_or(("user", key));
            let field = match kind {
                "group" => "group_name",
                "sp" => "service_principal_name",
                _ => "user_name",
            };
            let level = match level {
                Level::CanUse => "CAN_USE",
                Level::CanManage => "CAN_MANAGE",
            };
            json!({field: name, "permission_level": level})
        })
        .collect();
    json!({ "access_control_list": entries })
}

/// The body of a deployment.
pub fn deployment_body(app: &DatabricksApp) -> Value {
    let mut body = json!({ "mode": "SNAPSHOT" });
    if let Some(source) = &app.spec.source {
        body["source_code_path"] = json!(source.workspace.path);
    }
    if let Some(deployment) = &app.spec.deployment {
        if let Some(command) = &deployment.command {
            body["command"] = json!(command);
        }
        if let Some(env) = &deployment.env {
            body["env_vars"] = env
                .iter()
                .map(|e| match &e.value_from {
                    Some(from) => json!({"name": e.name, "value_from": from.resource}),
                    None => {
                        json!({"name": e.name, "value": e.value.as_deref().unwrap_or_default()})
                    }
                })
                .collect();
        }
    }
    body
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
    for (field, value) in wanted_settings(app) {
        body.insert(field.into(), value);
    }
    Value::Object(body)
}
