//! The one table of an app's fields: what a change of each does, how it is sent, and how it is compared.
//!
//! The planner, the definition's rules and descriptions, and the generated documentation all read it. A plain setting
//! costs one line here, and its field in the spec.
use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::spec::{DatabricksApp, DatabricksAppSpec};
use super::wire;

/// What a change of a field does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Sent in an update; takes effect without a restart of the process.
    Updatable,
    /// Sent in an update; takes effect after a stop and a start.
    NeedsRestart,
    /// Part of what is deployed: a change deploys.
    Deploys,
    /// Deployed, and never readable: compared by a digest of what was sent.
    WriteOnly,
    /// Fixed at creation.
    Immutable,
    /// Told by the service, never compared.
    OutputOnly,
}

impl Class {
    /// For people: what a change does.
    pub fn effect(self) -> &'static str {
        match self {
            Self::Updatable => "A change is sent as an update of that field alone.",
            Self::NeedsRestart => "A change takes effect after a stop and a start.",
            Self::Deploys => "A change deploys.",
            Self::WriteOnly => "A change deploys; values are never read back.",
            Self::Immutable => "Immutable.",
            Self::OutputOnly => "Told by the service.",
        }
    }

    /// The class as a metric's label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Updatable => "updatable",
            Self::NeedsRestart => "needs-restart",
            Self::Deploys => "deploys",
            Self::WriteOnly => "write-only",
            Self::Immutable => "immutable",
            Self::OutputOnly => "output-only",
        }
    }
}

/// A setting of the remote app.
pub struct Field {
    pub setting: Setting,
    /// In the spec, e.g. `compute.size`.
    pub path: &'static str,
    /// In the service's `App`.
    pub wire: &'static str,
    pub class: Class,
    /// The value to send; `None`: the spec does not manage it.
    wanted: fn(&DatabricksAppSpec) -> Option<Value>,
    /// The one form of a value for comparison; of `Null` for what is absent. `Null` out: unknown, so no difference.
    normal: fn(&Value) -> Value,
}

macro_rules! settings {
    ($($name:ident $path:literal => $wire:literal $class:ident, $wanted:expr, $normal:expr;)+) => {
        /// A setting, by its path in the spec.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        pub enum Setting { $(#[serde(rename = $path)] $name),+ }

        /// Every setting, in the order of their paths in the spec.
        pub static SETTINGS: &[Field] = &[$(Field {
            setting: Setting::$name,
            path: $path,
            wire: $wire,
            class: Class::$class,
            wanted: $wanted,
            normal: $normal,
        }),+];
    };
}

settings! {
    Description "description" => "description" Updatable, |s| s.description.as_ref().map(|d| json!(d)), text;
    ComputeSize "compute.size" => "compute_size" Updatable, |s| s.compute.as_ref()?.size.map(|size| json!(size.wire())), known;
    MinInstances "compute.minInstances" => "compute_min_instances" Updatable, |s| s.compute.as_ref()?.min_instances.map(|n| json!(n)), one;
    MaxInstances "compute.maxInstances" => "compute_max_instances" Updatable, |s| s.compute.as_ref()?.max_instances.map(|n| json!(n)), one;
    GitRepository "source.git" => "git_repository" Updatable, |s| wire::git_repository(s.source.as_ref()?.git.as_ref()?), repository;
    Scopes "userAuthorization.scopes" => "user_api_scopes" NeedsRestart, |s| s.user_authorization.as_ref()?.scopes.as_ref().map(|s| json!(s)), set;
    ForwardAccessToken "userAuthorization.forwardAccessToken" => "forward_user_access_token" NeedsRestart, |s| s.user_authorization.as_ref()?.forward_access_token.map(|f| json!(f)), flag;
    Resources "resources" => "resources" Updatable, |s| s.resources.as_ref().map(|r| r.iter().map(wire::resource).collect()), resources;
    UsagePolicy "usagePolicyID" => "usage_policy_id" Updatable, |s| s.usage_policy_id.as_ref().map(|id| json!(id)), text;
    BudgetPolicy "budgetPolicyID" => "budget_policy_id" Updatable, |s| s.budget_policy_id.as_ref().map(|id| json!(id)), text;
    Space "space" => "space" Immutable, |s| s.space.as_ref().map(|name| json!(name)), text;
    Telemetry "telemetry" => "telemetry_export_destinations" Updatable, |s| s.telemetry.as_ref().map(|t| t.iter().map(wire::telemetry).collect()), destinations;
}

/// Fields that are no settings of the remote app.
pub static OTHERS: &[(&str, Class)] = &[
    ("workspaceRef", Class::Immutable),
    ("name", Class::Immutable),
    ("source.workspace.path", Class::Deploys),
    ("source.git.ref", Class::Deploys),
    ("source.git.path", Class::Deploys),
    ("source.configMapRef", Class::Deploys),
    ("source.artifactRef", Class::Deploys),
    ("deployment.command", Class::Deploys),
    ("deployment.env", Class::WriteOnly),
];

/// What only the service tells, by its path in the status.
pub static OUTPUT: &[&str] = &[
    "app.id",
    "app.url",
    "app.computeState",
    "app.appState",
    "app.creator",
    "app.servicePrincipal",
    "deployment.id",
    "deployment.state",
    "deployment.resolvedCommit",
    "effectiveScopes",
];

/// Scopes that every app has.
const DEFAULT_SCOPES: &[&str] = &["iam.access-control:read", "iam.current-user:read"];

impl Setting {
    /// The scopes' name in the `App`.
    pub const SCOPES: &str = "user_api_scopes";
}

/// Settings that the service takes only together, by their names in the `App`.
const TOGETHER: &[[&str; 2]] = &[["compute_min_instances", "compute_max_instances"]];

/// Settings of a remote app, each in its form for comparison, by its name in the `App`. What is absent is absent.
pub type Settings = BTreeMap<&'static str, Value>;

/// Reads the settings of an `App` of any shape.
pub fn read(body: &Value) -> Settings {
    let present = SETTINGS.iter().filter_map(|field| {
        let value = body.get(field.wire).filter(|v| !v.is_null())?;
        Some((field.wire, (field.normal)(value)))
    });
    let mut settings: Settings = present.collect();
    // Scopes are only echoed while authorization on behalf of users is on; those in effect tell what was asked for.
    let effective = body
        .get("effective_user_api_scopes")
        .and_then(Value::as_array);
    if let Some(effective) = effective
        && !settings.contains_key(Setting::SCOPES)
    {
        let asked = effective
            .iter()
            .filter(|s| !DEFAULT_SCOPES.iter().any(|d| *s == d));
        settings.insert(Setting::SCOPES, set(&asked.cloned().collect()));
    }
    settings
}

/// The settings that the spec manages, each with the value to send.
pub fn wanted(app: &DatabricksApp) -> BTreeMap<&'static str, Value> {
    let wish = SETTINGS
        .iter()
        .filter_map(|field| Some((field.wire, (field.wanted)(&app.spec)?)));
    wish.collect()
}

/// A setting whose value is not the wanted one.
pub struct Difference {
    pub field: &'static Field,
    /// As the service shows it, in the form for comparison.
    pub from: Value,
    /// As it is sent.
    pub to: Value,
}

/// The settings that differ, without those whose drift the spec ignores, but with the immutable ones.
pub fn differences(app: &DatabricksApp, have: &Settings) -> Vec<Difference> {
    let ignored = app.management().ignore_drift;
    let managed = SETTINGS.iter().filter(|f| !ignored.contains(&f.setting));
    let differing = managed.filter_map(|field| {
        let to = (field.wanted)(&app.spec)?;
        let from = match have.get(field.wire) {
            Some(value) => value.clone(),
            None => (field.normal)(&Value::Null),
        };
        let differs = !from.is_null() && from != (field.normal)(&to);
        differs.then_some(Difference { field, from, to })
    });
    differing.collect()
}

/// What an update has to send: the fields that differ and can be updated, each with its value. Of fields that the service
/// takes only together, both.
pub fn to_update(app: &DatabricksApp, have: &Settings) -> BTreeMap<&'static str, Value> {
    let mut fields: BTreeMap<&'static str, Value> = differences(app, have)
        .into_iter()
        .filter(|d| d.field.class != Class::Immutable)
        .map(|d| (d.field.wire, d.to))
        .collect();
    let wish = wanted(app);
    for pair in TOGETHER {
        if pair.iter().any(|name| fields.contains_key(name)) {
            fields.extend(
                pair.iter()
                    .filter_map(|name| Some((*name, wish.get(name)?.clone()))),
            );
        }
    }
    fields
}

/// The field of a setting, by its name in the `App`.
pub fn by_wire(name: &str) -> Option<&'static Field> {
    SETTINGS.iter().find(|field| field.wire == name)
}

/// Digest of the settings that take effect only after a stop and a start.
pub fn restart_digest(have: &Settings) -> String {
    let relevant = SETTINGS.iter().filter(|f| f.class == Class::NeedsRestart);
    let values: Map<String, Value> = relevant
        .map(|field| {
            let value = have.get(field.wire).cloned();
            let value = value.unwrap_or_else(|| (field.normal)(&Value::Null));
            (field.wire.to_owned(), value)
        })
        .collect();
    crate::api::digest::of(&Value::Object(values))
}

/// A text; absent is empty.
fn text(value: &Value) -> Value {
    json!(value.as_str().unwrap_or_default())
}

/// A text whose absence means that nobody knows.
fn known(value: &Value) -> Value {
    match value.as_str() {
        Some(text) if !text.is_empty() => json!(text),
        _ => Value::Null,
    }
}

/// A number; absent is 1.
fn one(value: &Value) -> Value {
    json!(value.as_i64().unwrap_or(1))
}

/// A flag; absent is false.
fn flag(value: &Value) -> Value {
    json!(value.as_bool().unwrap_or_default())
}

/// A list without order; absent is empty.
fn set(value: &Value) -> Value {
    let items: BTreeMap<String, Value> = value
        .as_array()
        .into_iter()
        .flatten()
        .map(|item| (item.to_string(), item.clone()))
        .collect();
    items.into_values().collect()
}

/// Tables by kind, in no order.
fn destinations(value: &Value) -> Value {
    let tables = ["logs_table", "metrics_table", "traces_table"];
    let items = value.as_array().into_iter().flatten();
    set(&items
        .map(|item| wire::picked(&item["unity_catalog"], &tables))
        .collect())
}

/// Resources by name, without what only the service adds; Unity Catalog names in lower case.
fn resources(value: &Value) -> Value {
    let by_name: Map<String, Value> = value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|r| Some((r.get("name")?.as_str()?.to_owned(), wire::comparable(r))))
        .collect();
    Value::Object(by_name)
}

/// A repository: provider without regard to case, URL without `.git` and trailing slashes; credentials are not told.
fn repository(value: &Value) -> Value {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
    let mut same = json!({
        "provider": text("provider").to_lowercase(),
        "url": wire::repository_url(text("url")),
    });
    if value.get("auto_deploy").and_then(Value::as_bool) == Some(true) {
        same["auto_deploy"] = json!(true);
    }
    same
}

/// Names of settings in the `App`, for an answer that leaves some out.
pub fn present(body: &Value) -> BTreeSet<&'static str> {
    let names = SETTINGS.iter().map(|f| f.wire).chain([
        "app_status",
        "active_deployment",
        "default_source_code_path",
    ]);
    let is_there = |name: &&str| match body.get(*name) {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(_) => true,
    };
    names.filter(is_there).collect()
}
