//! Secret scopes, their secrets and their access control lists.
use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::Workspace;
use super::directory::Kind;
use crate::error::{ApiError, Outcome};
use crate::http::{Call, Reply, Route, required, text};

pub const ROUTES: &[Route] = &[
    Route::new("POST", "/api/2.0/secrets/scopes/create", create_scope),
    Route::new("POST", "/api/2.0/secrets/scopes/delete", delete_scope),
    Route::new("GET", "/api/2.0/secrets/scopes/list", list_scopes),
    Route::new("POST", "/api/2.0/secrets/put", put_secret),
    Route::new("POST", "/api/2.0/secrets/delete", delete_secret),
    Route::new("GET", "/api/2.0/secrets/get", get_secret),
    Route::new("GET", "/api/2.0/secrets/list", list_secrets),
    Route::new("POST", "/api/2.0/secrets/acls/put", put_acl),
    Route::new("POST", "/api/2.0/secrets/acls/delete", delete_acl),
    Route::new("GET", "/api/2.0/secrets/acls/get", get_acl),
    Route::new("GET", "/api/2.0/secrets/acls/list", list_acls),
];

#[derive(Debug, Default)]
struct Scope {
    /// Values with the time of their last change in milliseconds.
    secrets: BTreeMap<String, (Vec<u8>, i64)>,
    /// READ, WRITE or MANAGE by principal.
    acl: BTreeMap<String, String>,
}

#[derive(Debug, Default)]
pub struct Secrets(BTreeMap<String, Scope>);

impl Secrets {
    /// A scope of the seed; nobody is on its list.
    pub fn add(&mut self, scope: &str, secrets: &BTreeMap<String, String>, at: i64) {
        let scope = self.0.entry(scope.to_owned()).or_default();
        for (key, value) in secrets {
            scope
                .secrets
                .insert(key.clone(), (value.clone().into_bytes(), at));
        }
    }

    /// Refuses a scope or a key that isn't there.
    pub fn check(&self, scope: &str, key: &str) -> Result<(), ApiError> {
        match self.find(scope)?.secrets.contains_key(key) {
            true => Ok(()),
            false => Err(no_secret(scope, key)),
        }
    }

    /// Gives a permission on the whole scope; never takes away a higher one.
    pub fn grant(&mut self, scope: &str, principal: &str, permission: &str) {
        let rank = |p: &str| PERMISSIONS.iter().position(|known| *known == p);
        if let Some(scope) = self.0.get_mut(scope) {
            let current = scope.acl.entry(principal.to_owned()).or_default();
            if rank(current) < rank(permission) {
                *current = permission.to_owned();
            }
        }
    }

    pub fn revoke(&mut self, scope: &str, principal: &str) {
        if let Some(scope) = self.0.get_mut(scope) {
            scope.acl.remove(principal);
        }
    }

    fn find(&self, scope: &str) -> Result<&Scope, ApiError> {
        self.0.get(scope).ok_or_else(|| no_scope(scope))
    }

    fn find_mut(&mut self, scope: &str) -> Result<&mut Scope, ApiError> {
        self.0.get_mut(scope).ok_or_else(|| no_scope(scope))
    }
}

/// From the lowest to the highest; each includes those before it.
const PERMISSIONS: [&str; 3] = ["READ", "WRITE", "MANAGE"];

fn no_scope(scope: &str) -> ApiError {
    ApiError::missing(format!("Scope {scope} does not exist"))
}

fn no_secret(scope: &str, key: &str) -> ApiError {
    ApiError::missing(format!("Failed to get secret {key} for scope {scope}."))
}

fn create_scope(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let body = call.json()?;
    let name = required(&body, "scope")?;
    if workspace.secrets.0.contains_key(name) {
        return Err(ApiError::new(
            400,
            "RESOURCE_ALREADY_EXISTS",
            format!("Scope {name} already exists"),
        ));
    }
    let mut scope = Scope::default();
    let manager = text(&body, "initial_manage_principal").unwrap_or(&call.caller.name);
    scope.acl.insert(manager.to_owned(), "MANAGE".into());
    workspace.secrets.0.insert(name.to_owned(), scope);
    workspace.follow_recreated_objects();
    Ok(Reply::empty())
}

fn delete_scope(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let body = call.json()?;
    let name = required(&body, "scope")?;
    match workspace.secrets.0.remove(name) {
        Some(_) => Ok(Reply::empty()),
        None => Err(no_scope(name)),
    }
}

fn list_scopes(workspace: &mut Workspace, _: &Call<'_>) -> Outcome {
    let scopes: Vec<Value> = workspace
        .secrets
        .0
        .keys()
        .map(|name| json!({"name": name, "backend_type": "DATABRICKS"}))
        .collect();
    Ok(json!({"scopes": scopes}).into())
}

fn put_secret(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let body = call.json()?;
    let (scope, key) = (required(&body, "scope")?, required(&body, "key")?);
    let value = match (text(&body, "string_value"), text(&body, "bytes_value")) {
        (Some(value), None) => value.as_bytes().to_vec(),
        (None, Some(encoded)) => STANDARD
            .decode(encoded)
            .map_err(|_| ApiError::invalid("bytes_value is not base64"))?,
        _ => {
            return Err(ApiError::invalid(
                "Exactly one of string_value and bytes_value must be given",
            ));
        }
    };
    let at = workspace.stamp_millis();
    let scope = workspace.secrets.find_mut(scope)?;
    scope.secrets.insert(key.to_owned(), (value, at));
    Ok(Reply::empty())
}

fn delete_secret(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let body = call.json()?;
    let (scope, key) = (required(&body, "scope")?, required(&body, "key")?);
    match workspace.secrets.find_mut(scope)?.secrets.remove(key) {
        Some(_) => Ok(Reply::empty()),
        None => Err(no_secret(scope, key)),
    }
}

fn get_secret(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let (scope, key) = (call.required_query("scope")?, call.required_query("key")?);
    let (value, _) = workspace
        .secrets
        .find(scope)?
        .secrets
        .get(key)
        .ok_or_else(|| no_secret(scope, key))?;
    Ok(json!({"key": key, "value": STANDARD.encode(value)}).into())
}

fn list_secrets(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let scope = workspace.secrets.find(call.required_query("scope")?)?;
    let secrets: Vec<Value> = scope
        .secrets
        .iter()
        .map(|(key, (_, at))| json!({"key": key, "last_updated_timestamp": at}))
        .collect();
    Ok(json!({"secrets": secrets}).into())
}

fn put_acl(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let body = call.json()?;
    let scope = required(&body, "scope")?;
    let principal = required(&body, "principal")?.to_owned();
    let permission = required(&body, "permission")?.to_owned();
    if !PERMISSIONS.contains(&permission.as_str()) {
        return Err(ApiError::invalid(format!(
            "permission must be one of READ, WRITE, MANAGE, got {permission}"
        )));
    }
    let known = [Kind::User, Kind::Group, Kind::ServicePrincipal]
        .into_iter()
        .any(|kind| workspace.directory.find(kind, &principal).is_some());
    if !known {
        return Err(ApiError::missing(format!(
            "Principal {principal} does not exist"
        )));
    }
    let scope = workspace.secrets.find_mut(scope)?;
    scope.acl.insert(principal, permission);
    Ok(Reply::empty())
}

fn delete_acl(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let body = call.json()?;
    let (scope, principal) = (required(&body, "scope")?, required(&body, "principal")?);
    match workspace.secrets.find_mut(scope)?.acl.remove(principal) {
        Some(_) => Ok(Reply::empty()),
        None => Err(no_acl(scope, principal)),
    }
}

fn get_acl(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let (scope, principal) = (
        call.required_query("scope")?,
        call.required_query("principal")?,
    );
    let permission = workspace
        .secrets
        .find(scope)?
        .acl
        .get(principal)
        .ok_or_else(|| no_acl(scope, principal))?;
    Ok(json!({"principal": principal, "permission": permission}).into())
}

fn list_acls(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let scope = workspace.secrets.find(call.required_query("scope")?)?;
    let items: Vec<Value> = scope
        .acl
        .iter()
        .map(|(principal, permission)| json!({"principal": principal, "permission": permission}))
        .collect();
    Ok(json!({"items": items}).into())
}

fn no_acl(scope: &str, principal: &str) -> ApiError {
    ApiError::missing(format!(
        "Failed to get secret acl for principal {principal} for scope {scope}."
    ))
}
