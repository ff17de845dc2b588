//! App spaces: a service principal, resources and scopes that their apps share. Operations end at once.
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::directory::Kind;
use super::paging::{object, page};
use super::{Workspace, short_id, uuid};
use crate::error::{ApiError, Outcome};
use crate::http::{Call, Route, required};

pub const ROUTES: &[Route] = &[
    Route::new("GET", "/api/2.0/app-spaces", list),
    Route::new("POST", "/api/2.0/app-spaces", create),
    Route::new("GET", "/api/2.0/app-spaces/{name}", get),
    Route::new("PATCH", "/api/2.0/app-spaces/{name}", update),
    Route::new("DELETE", "/api/2.0/app-spaces/{name}", delete),
    Route::new("GET", "/api/2.0/app-spaces/{name}/operation", operation),
];

/// What a client may set on a space.
const INPUT: [&str; 4] = [
    "description",
    "resources",
    "user_api_scopes",
    "usage_policy_id",
];

#[derive(Debug, Default)]
pub struct Spaces {
    spaces: BTreeMap<String, Map<String, Value>>,
    /// The newest operation on each, also on those that are gone.
    operations: BTreeMap<String, Value>,
}

impl Spaces {
    pub fn get(&self, name: &str) -> Result<&Map<String, Value>, ApiError> {
        self.spaces
            .get(name)
            .ok_or_else(|| ApiError::missing(format!("Space with name {name} does not exist.")))
    }

    fn finish(&mut self, name: &str, response: Value) -> Value {
        let operation = json!({
            // Clients poll `/app-spaces/{name of the operation}/operation`.
            "name": name,
            "done": true,
            "metadata": {},
            "response": response,
        });
        self.operations.insert(name.to_owned(), operation.clone());
        operation
    }
}

fn list(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let all = workspace
        .spaces
        .spaces
        .iter()
        .map(|(name, space)| (name.clone(), space));
    Ok(page(call, "spaces", workspace.rules.page_size, all, object)?.into())
}

fn create(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let body = call.json()?;
    let name = required(&body, "name")?.to_owned();
    if workspace.spaces.spaces.contains_key(&name) {
        return Err(ApiError::exists(format!(
            "A space with the same name already exists: {name}"
        )));
    }
    let (client_id, display) = (uuid(), format!("space-{} {name}", short_id(6)));
    let principal =
        workspace
            .directory
            .ensure(Kind::ServicePrincipal, &client_id, Some(display.as_str()));
    let now = workspace.stamp_text();
    let mut space = input(&body);
    let output = json!({
        "name": name,
        "id": uuid(),
        "status": {"state": "SPACE_ACTIVE", "message": "Space is active."},
        "service_principal_client_id": client_id,
        "service_principal_id": principal,
        "service_principal_name": display,
        "creator": call.caller.name,
        "updater": call.caller.name,
        "create_time": now,
        "update_time": now,
    });
    space.extend(output.as_object().cloned().unwrap_or_default());
    workspace.spaces.spaces.insert(name.clone(), space.clone());
    Ok(workspace.spaces.finish(&name, Value::Object(space)).into())
}

fn get(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let space = workspace.spaces.get(call.param("name"))?;
    Ok(Value::Object(space.clone()).into())
}

fn update(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let name = call.param("name");
    let mut space = workspace.spaces.get(name)?.clone();
    let given = input(&call.json()?);
    for field in call.required_query("update_mask")?.split(',') {
        if !INPUT.contains(&field) {
            return Err(ApiError::invalid(format!(
                "Invalid update mask. Only {} are allowed. Supplied update mask: {field}",
                INPUT.join(", ")
            )));
        }
        match given.get(field) {
            Some(value) => space.insert(field.into(), value.clone()),
            None => space.remove(field),
        };
    }
    space.insert("updater".into(), call.caller.name.as_str().into());
    space.insert("update_time".into(), workspace.stamp_text().into());
    workspace
        .spaces
        .spaces
        .insert(name.to_owned(), space.clone());
    Ok(workspace.spaces.finish(name, Value::Object(space)).into())
}

fn delete(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let name = call.param("name");
    let mut space = workspace.spaces.get(name)?.clone();
    if let Some(app) = workspace.apps.in_space(name) {
        return Err(ApiError::bad_request(format!(
            "Cannot delete space {name} as it still has apps, such as {app}"
        )));
    }
    if let Some(id) = space["service_principal_id"].as_i64() {
        workspace.directory.remove(Kind::ServicePrincipal, id);
    }
    workspace.spaces.spaces.remove(name);
    space.insert(
        "status".into(),
        json!({"state": "SPACE_DELETED", "message": "Space is deleted."}),
    );
    Ok(workspace.spaces.finish(name, Value::Object(space)).into())
}

fn operation(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let name = call.param("name");
    let operation = workspace
        .spaces
        .operations
        .get(name)
        .ok_or_else(|| ApiError::missing(format!("Space with name {name} does not exist.")))?;
    Ok(operation.clone().into())
}

fn input(body: &Map<String, Value>) -> Map<String, Value> {
    body.iter()
        .filter(|(field, _)| INPUT.contains(&field.as_str()))
        .map(|(field, value)| (field.clone(), value.clone()))
        .collect()
}
