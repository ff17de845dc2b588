//! Git credentials: of the caller, or of a service principal that the caller manages. Tokens are never read back.
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::directory::Kind;
use super::{Workspace, numeric_id};
use crate::error::{ApiError, Outcome};
use crate::http::{Call, Reply, Route, required};

pub const ROUTES: &[Route] = &[
    Route::new("GET", "/api/2.0/git-credentials", list),
    Route::new("POST", "/api/2.0/git-credentials", create),
    Route::new("GET", "/api/2.0/git-credentials/{credential_id}", get),
    Route::new("PATCH", "/api/2.0/git-credentials/{credential_id}", update),
    Route::new("DELETE", "/api/2.0/git-credentials/{credential_id}", delete),
];

/// What reads back.
const SHOWN: [&str; 5] = [
    "git_provider",
    "git_username",
    "git_email",
    "name",
    "is_default_for_provider",
];

#[derive(Debug)]
struct Credential {
    /// The SCIM id of whom it belongs to.
    owner: i64,
    fields: Map<String, Value>,
}

impl Credential {
    fn show(&self, id: i64) -> Value {
        let mut shown = self.fields.clone();
        shown.insert("credential_id".into(), id.into());
        Value::Object(shown)
    }
}

/// By credential id.
#[derive(Debug, Default)]
pub struct GitCredentials(BTreeMap<i64, Credential>);

fn list(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let owner = owner(workspace, call, call.query("principal_id"))?;
    let credentials: Vec<Value> = workspace
        .git_credentials
        .0
        .iter()
        .filter(|(_, credential)| credential.owner == owner)
        .map(|(id, credential)| credential.show(*id))
        .collect();
    Ok(json!({"credentials": credentials}).into())
}

fn create(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let body = call.json()?;
    required(&body, "git_provider")?;
    let principal = body.get("principal_id").map(Value::to_string);
    let owner = owner(workspace, call, principal.as_deref())?;
    if workspace
        .git_credentials
        .0
        .values()
        .any(|credential| credential.owner == owner)
    {
        return Err(ApiError::bad_request(
            "Only one Git credential is supported at this time. If you would like to update your credential, please use the PATCH endpoint.",
        ));
    }
    let credential = Credential {
        owner,
        fields: shown_fields(&body),
    };
    let id = numeric_id();
    let shown = credential.show(id);
    workspace.git_credentials.0.insert(id, credential);
    Ok(shown.into())
}

fn get(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let (id, credential) = existing(workspace, call)?;
    Ok(credential.show(id).into())
}

fn update(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let changes = shown_fields(&call.json()?);
    let (id, credential) = existing(workspace, call)?;
    credential.fields.extend(changes);
    Ok(credential.show(id).into())
}

fn delete(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let (id, _) = existing(workspace, call)?;
    workspace.git_credentials.0.remove(&id);
    Ok(Reply::empty())
}

/// The service principal of this SCIM id, or else the caller.
fn owner(workspace: &Workspace, call: &Call<'_>, principal: Option<&str>) -> Result<i64, ApiError> {
    let directory = &workspace.directory;
    let (found, name) = match principal {
        Some(id) => (
            id.parse()
                .ok()
                .filter(|id| directory.application_id(*id).is_some()),
            id,
        ),
        None => (
            directory.find(call.caller.kind, &call.caller.name),
            call.caller.name.as_str(),
        ),
    };
    found.ok_or_else(|| {
        let what = match (principal, call.caller.kind) {
            (None, Kind::User) => "User",
            _ => "Service principal",
        };
        ApiError::missing(format!("{what} {name} does not exist."))
    })
}

fn existing<'a>(
    workspace: &'a mut Workspace,
    call: &Call<'_>,
) -> Result<(i64, &'a mut Credential), ApiError> {
    let text = call.param("credential_id");
    let missing = || ApiError::missing(format!("Git credential {text} does not exist."));
    let id = text.parse().map_err(|_| missing())?;
    let found = workspace.git_credentials.0.get_mut(&id);
    found.map(|credential| (id, credential)).ok_or_else(missing)
}

fn shown_fields(body: &Map<String, Value>) -> Map<String, Value> {
    body.iter()
        .filter(|(field, _)| SHOWN.contains(&field.as_str()))
        .map(|(field, value)| (field.clone(), value.clone()))
        .collect()
}
