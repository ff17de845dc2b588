//! Unity Catalog as far as apps touch it: which securables there are, and who holds privileges on them.
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::Workspace;
use crate::error::{ApiError, Outcome};
use crate::http::{Call, Route};

pub const ROUTES: &[Route] = &[
    Route::new(
        "GET",
        "/api/2.1/unity-catalog/current-metastore-assignment",
        metastore,
    ),
    Route::new(
        "GET",
        "/api/2.1/unity-catalog/permissions/{securable_type}/{name}",
        get,
    ),
    Route::new(
        "PATCH",
        "/api/2.1/unity-catalog/permissions/{securable_type}/{name}",
        patch,
    ),
];

/// Privileges by principal, by (type in upper case, full name in lower case).
#[derive(Debug, Default)]
pub struct Unity(BTreeMap<(String, String), BTreeMap<String, BTreeSet<String>>>);

impl Unity {
    pub fn add(&mut self, securable_type: &str, name: &str) {
        self.0.entry(key(securable_type, name)).or_default();
    }

    /// Refuses a securable that isn't there, with Unity Catalog's own code for its type.
    pub fn check(&self, securable_type: &str, name: &str) -> Result<(), ApiError> {
        match self.0.contains_key(&key(securable_type, name)) {
            true => Ok(()),
            false => Err(missing(securable_type, name)),
        }
    }

    /// Adds a privilege to what a principal holds.
    pub fn grant(&mut self, securable_type: &str, name: &str, principal: &str, privilege: &str) {
        if let Some(grants) = self.0.get_mut(&key(securable_type, name)) {
            grants
                .entry(principal.to_owned())
                .or_default()
                .insert(privilege.to_owned());
        }
    }

    /// Takes away everything that a principal holds.
    pub fn revoke(&mut self, securable_type: &str, name: &str, principal: &str) {
        if let Some(grants) = self.0.get_mut(&key(securable_type, name)) {
            grants.remove(principal);
        }
    }
}

fn key(securable_type: &str, name: &str) -> (String, String) {
    (securable_type.to_uppercase(), name.to_lowercase())
}

fn missing(securable_type: &str, name: &str) -> ApiError {
    let mut kind = securable_type.to_lowercase();
    if let Some(first) = kind.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    let code = format!("{}_DOES_NOT_EXIST", securable_type.to_uppercase());
    ApiError::new(404, code, format!("{kind} '{name}' does not exist."))
}

fn metastore(workspace: &mut Workspace, _: &Call<'_>) -> Outcome {
    Ok(json!({
        "metastore_id": "5c1f3a52-5a0e-4b4c-9d51-5d1c3a1c7c11",
        "workspace_id": workspace.id,
        "default_catalog_name": "main",
    })
    .into())
}

fn get(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let (securable_type, name) = (call.param("securable_type"), call.param("name"));
    let grants = workspace
        .unity
        .0
        .get(&key(securable_type, name))
        .ok_or_else(|| missing(securable_type, name))?;
    let assignments: Vec<Value> = grants
        .iter()
        .filter(|(principal, _)| call.query("principal").is_none_or(|p| p == *principal))
        .map(|(principal, privileges)| json!({"principal": principal, "privileges": privileges}))
        .collect();
    Ok(json!({"privilege_assignments": assignments}).into())
}

fn patch(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let (securable_type, name) = (call.param("securable_type"), call.param("name"));
    let body = call.json()?;
    let grants = workspace
        .unity
        .0
        .get_mut(&key(securable_type, name))
        .ok_or_else(|| missing(securable_type, name))?;
    let names = |value: &Value| -> BTreeSet<String> {
        value
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|p| p.as_str().map(str::to_owned))
            .collect()
    };
    for change in body
        .get("changes")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let principal = change["principal"].as_str().unwrap_or_default();
        let (add, remove) = (names(&change["add"]), names(&change["remove"]));
        if !add.is_disjoint(&remove) {
            return Err(ApiError::invalid(format!(
                "Duplicate privileges to add and delete for principal {principal}."
            )));
        }
        let held = grants.entry(principal.to_owned()).or_default();
        if remove.contains("ALL_PRIVILEGES") {
            held.clear();
        }
        held.retain(|p| !remove.contains(p));
        held.extend(add);
        if held.is_empty() {
            grants.remove(principal);
        }
    }
    get(workspace, call)
}
