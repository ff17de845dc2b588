//! Workload identity federation: policies that say whose JSON Web Tokens stand for whom. The account API is served on the
//! workspace's own host.
pub mod secrets;
mod trust;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::paging::{object, page};
use super::{Workspace, short_id, uuid};
use crate::error::{ApiError, Outcome};
use crate::http::{Call, Reply, Route, text};

pub use trust::KeySource;

macro_rules! routes {
    ($($base:literal),*) => {
        &[$(
            Route::new("GET", $base, list),
            Route::new("POST", $base, create),
            Route::new("GET", concat!($base, "/{policy_id}"), get),
            Route::new("PATCH", concat!($base, "/{policy_id}"), update),
            Route::new("DELETE", concat!($base, "/{policy_id}"), delete),
        )*]
    };
}

/// Policies of the account, and of one service principal.
pub const ROUTES: &[Route] = routes!(
    "/api/2.0/accounts/{account_id}/federationPolicies",
    "/api/2.0/accounts/{account_id}/servicePrincipals/{service_principal_id}/federationPolicies"
);

#[derive(Debug, Default)]
pub struct Policies {
    /// By (SCIM id of the service principal, none for account-wide policies; policy id).
    policies: BTreeMap<(Option<i64>, String), Map<String, Value>>,
    /// Secrets by (SCIM id, secret id): how they read, and what they are.
    secrets: BTreeMap<(i64, String), (Value, String)>,
}

/// The service principal in the path; `None` on account-wide routes.
fn owner(workspace: &Workspace, call: &Call<'_>) -> Result<Option<i64>, ApiError> {
    let id = call.param("service_principal_id");
    if id.is_empty() {
        return Ok(None);
    }
    id.parse()
        .ok()
        .filter(|id| workspace.directory.application_id(*id).is_some())
        .map(Some)
        .ok_or_else(|| ApiError::missing(format!("Service principal {id} does not exist.")))
}

fn key(workspace: &Workspace, call: &Call<'_>) -> Result<(Option<i64>, String), ApiError> {
    let key = (owner(workspace, call)?, call.param("policy_id").to_owned());
    match workspace.federation.policies.contains_key(&key) {
        true => Ok(key),
        false => Err(ApiError::missing(format!(
            "Federation policy {} does not exist.",
            key.1
        ))),
    }
}

fn list(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let owner = owner(workspace, call)?;
    let policies = workspace
        .federation
        .policies
        .iter()
        .filter(|((of, _), _)| *of == owner)
        .map(|((_, id), policy)| (id.clone(), policy));
    Ok(page(
        call,
        "policies",
        workspace.rules.page_size,
        policies,
        object,
    )?
    .into())
}

fn create(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let owner = owner(workspace, call)?;
    let mut policy = call.json()?;
    check(owner, &policy)?;
    let id = call
        .query("policy_id")
        .map_or_else(|| short_id(12), str::to_owned);
    if workspace
        .federation
        .policies
        .contains_key(&(owner, id.clone()))
    {
        return Err(ApiError::exists(format!(
            "Federation policy {id} already exists."
        )));
    }
    let now = workspace.stamp_text();
    let name = match owner {
        Some(owner) => format!(
            "accounts/{}/servicePrincipals/{owner}/federationPolicies/{id}",
            workspace.account_id
        ),
        None => format!("accounts/{}/federationPolicies/{id}", workspace.account_id),
    };
    for (field, value) in [
        ("name", name),
        ("policy_id", id.clone()),
        ("uid", uuid()),
        ("create_time", now.clone()),
        ("update_time", now),
    ] {
        policy.insert(field.into(), value.into());
    }
    let shown = Value::Object(policy.clone());
    workspace.federation.policies.insert((owner, id), policy);
    Ok(shown.into())
}

/// `subject` belongs on policies of service principals, and nowhere else.
fn check(owner: Option<i64>, policy: &Map<String, Value>) -> Result<(), ApiError> {
    let oidc = policy
        .get("oidc_policy")
        .and_then(Value::as_object)
        .ok_or_else(|| ApiError::invalid("Missing required field: oidc_policy"))?;
    text(oidc, "issuer")
        .ok_or_else(|| ApiError::invalid("Missing required field: oidc_policy.issuer"))?;
    match (owner, text(oidc, "subject")) {
        (Some(_), None) => Err(ApiError::invalid(
            "Missing required field: oidc_policy.subject",
        )),
        (None, Some(_)) => Err(ApiError::invalid(
            "oidc_policy.subject must not be set on an account-wide policy",
        )),
        _ => Ok(()),
    }
}

fn get(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let key = key(workspace, call)?;
    Ok(json!(workspace.federation.policies.get(&key)).into())
}

fn update(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let key = key(workspace, call)?;
    let body = call.json()?;
    let mut policy = workspace
        .federation
        .policies
        .get(&key)
        .cloned()
        .unwrap_or_default();
    for field in ["description", "oidc_policy"] {
        let masked = call
            .query("update_mask")
            .is_none_or(|mask| mask == "*" || mask.split(',').any(|m| m.starts_with(field)));
        if let (true, Some(value)) = (masked, body.get(field)) {
            policy.insert(field.into(), value.clone());
        }
    }
    check(key.0, &policy)?;
    policy.insert("update_time".into(), workspace.stamp_text().into());
    let shown = Value::Object(policy.clone());
    workspace.federation.policies.insert(key, policy);
    Ok(shown.into())
}

fn delete(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let key = key(workspace, call)?;
    workspace.federation.policies.remove(&key);
    Ok(Reply::empty())
}
