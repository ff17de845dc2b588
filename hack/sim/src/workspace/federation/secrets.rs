//! Secrets of service principals: made by an API, used as client credentials.
use serde_json::{Value, json};

use super::super::{Workspace, short_id, uuid};
use super::owner;
use crate::error::{ApiError, Outcome};
use crate::http::{Call, Reply, Route};

macro_rules! routes {
    ($($base:literal),*) => {
        &[$(
            Route::new("GET", $base, list_secrets),
            Route::new("POST", $base, create_secret),
            Route::new("DELETE", concat!($base, "/{secret_id}"), delete_secret),
        )*]
    };
}

/// The account API, and the path by which a workspace proxies it.
pub const ROUTES: &[Route] = routes!(
    "/api/2.0/accounts/{account_id}/servicePrincipals/{service_principal_id}/credentials/secrets",
    "/api/2.0/accounts/servicePrincipals/{service_principal_id}/credentials/secrets"
);

/// Its SCIM id and application id.
fn principal(workspace: &Workspace, call: &Call<'_>) -> Result<(i64, String), ApiError> {
    let missing = || ApiError::missing("Service principal does not exist.");
    let id = owner(workspace, call)?.ok_or_else(missing)?;
    let application_id = workspace.directory.application_id(id).ok_or_else(missing)?;
    Ok((id, application_id))
}

fn list_secrets(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let (owner, _) = principal(workspace, call)?;
    let secrets: Vec<&Value> = workspace
        .federation
        .secrets
        .iter()
        .filter(|((of, _), _)| *of == owner)
        .map(|(_, (shown, _))| shown)
        .collect();
    Ok(json!({"secrets": secrets}).into())
}

/// The one answer that has the secret in it.
fn create_secret(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let (owner, application_id) = principal(workspace, call)?;
    let (id, secret) = (uuid(), format!("dose{}", short_id(32)));
    let now = workspace.stamp_text();
    let shown = json!({
        "id": id,
        "status": "ACTIVE",
        "secret_hash": short_id(32),
        "create_time": now,
        "update_time": now,
    });
    workspace.add_client(&application_id, &secret);
    let kept = (shown.clone(), secret.clone());
    workspace.federation.secrets.insert((owner, id), kept);
    let mut answer = shown;
    answer["secret"] = secret.into();
    Ok(answer.into())
}

fn delete_secret(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let (owner, application_id) = principal(workspace, call)?;
    let id = call.param("secret_id");
    let (_, secret) = workspace
        .federation
        .secrets
        .remove(&(owner, id.to_owned()))
        .ok_or_else(|| ApiError::missing(format!("Secret {id} does not exist.")))?;
    workspace.remove_client(&application_id, &secret);
    Ok(Reply::empty())
}
