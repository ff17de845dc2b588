//! App spaces: a service principal, resources and scopes that their apps share. Operations end at once, unless a fault lets
//! them take their time or fail.
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::directory::Kind as Member;
use super::paging::{object, page};
use super::{Workspace, short_id, uuid};
use crate::clock::ServiceTime;
use crate::error::{ApiError, Outcome};
use crate::faults::Kind;
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

type Space = Map<String, Value>;

#[derive(Debug, Default)]
pub struct Spaces {
    spaces: BTreeMap<String, Space>,
    /// The newest operation on each, also on those that are gone.
    operations: BTreeMap<String, Operation>,
}

/// A write that is under way, or how it ended.
#[derive(Debug)]
struct Operation {
    name: String,
    due: ServiceTime,
    done: bool,
    outcome: Result<Changed, Value>,
    /// The space if the operation fails.
    otherwise: Space,
}

/// What a successful operation makes of its space.
#[derive(Debug)]
enum Changed {
    Written(Space),
    Deleted(Space),
}

impl Operation {
    fn show(&self) -> Value {
        let mut shown = json!({"name": self.name, "done": self.done, "metadata": {}});
        match &self.outcome {
            _ if !self.done => {}
            Ok(Changed::Written(space) | Changed::Deleted(space)) => {
                shown["response"] = Value::Object(space.clone());
            }
            Err(error) => shown["error"] = error.clone(),
        }
        shown
    }
}

impl Spaces {
    pub fn get(&self, name: &str) -> Result<&Space, ApiError> {
        self.spaces
            .get(name)
            .ok_or_else(|| ApiError::missing(format!("Space with name {name} does not exist.")))
    }

    /// A space has this service principal.
    pub fn own(&self, service_principal: i64) -> bool {
        self.spaces
            .values()
            .any(|space| space["service_principal_id"] == service_principal)
    }

    /// The same for a write: one at a time.
    fn idle(&self, name: &str) -> Result<&Space, ApiError> {
        let space = self.get(name)?;
        match self.operations.get(name) {
            Some(operation) if !operation.done => Err(ApiError::new(
                409,
                "RESOURCE_CONFLICT",
                format!("Space {name} has an operation in progress."),
            )),
            _ => Ok(space),
        }
    }
}

impl Workspace {
    /// Begins an operation. `meanwhile` is the state of the space until it ends.
    fn operate(
        &mut self,
        name: &str,
        meanwhile: &str,
        changed: Changed,
        mut otherwise: Space,
    ) -> Value {
        let played = self.faults.fire(name, |k| match k {
            Kind::SpaceOperation {
                delay,
                error_code,
                message,
                own_name,
            } => {
                let error = error_code
                    .as_ref()
                    .map(|code| json!({"error_code": code, "message": message}));
                Some((*delay, error, *own_name))
            }
            _ => None,
        });
        let (delay, error, own_name) = played.unwrap_or_default();
        let (Changed::Written(space) | Changed::Deleted(space)) = &changed;
        let mut space = space.clone();
        set_status(&mut space, meanwhile, "An operation is in progress.");
        if let (Some(error), "SPACE_CREATING") = (&error, meanwhile) {
            let message = error["message"].as_str().unwrap_or_default();
            set_status(&mut otherwise, "SPACE_ERROR", message);
        }
        self.spaces.spaces.insert(name.to_owned(), space);
        let operation = Operation {
            // Clients poll `/app-spaces/{name of the operation}/operation`.
            name: match own_name {
                true => uuid(),
                false => name.to_owned(),
            },
            due: self.now() + delay,
            done: false,
            outcome: error.map_or(Ok(changed), Err),
            otherwise,
        };
        self.spaces.operations.insert(name.to_owned(), operation);
        self.settle_spaces();
        let operation = self.spaces.operations.get(name);
        operation.map(Operation::show).unwrap_or_default()
    }

    /// Ends the operations that have come due.
    pub(super) fn settle_spaces(&mut self) {
        let now = self.now();
        let due = self
            .spaces
            .operations
            .iter_mut()
            .filter(|(_, operation)| !operation.done && operation.due <= now);
        for (name, operation) in due {
            operation.done = true;
            let space = match &operation.outcome {
                Ok(Changed::Written(space)) => Some(space),
                Ok(Changed::Deleted(_)) => None,
                Err(_) => Some(&operation.otherwise),
            };
            match space {
                Some(space) => {
                    self.spaces.spaces.insert(name.clone(), space.clone());
                }
                None => {
                    let gone = self.spaces.spaces.remove(name);
                    let principal = gone.and_then(|space| space["service_principal_id"].as_i64());
                    if let Some(id) = principal {
                        self.directory.remove(Member::ServicePrincipal, id);
                    }
                }
            }
        }
    }
}

fn set_status(space: &mut Space, state: &str, message: &str) {
    space.insert("status".into(), json!({"state": state, "message": message}));
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
            .ensure(Member::ServicePrincipal, &client_id, Some(display.as_str()));
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
    let changed = Changed::Written(space.clone());
    Ok(workspace
        .operate(&name, "SPACE_CREATING", changed, space)
        .into())
}

fn get(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let space = workspace.spaces.get(call.param("name"))?;
    Ok(Value::Object(space.clone()).into())
}

fn update(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let name = call.param("name");
    let before = workspace.spaces.idle(name)?.clone();
    let mut space = before.clone();
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
    let changed = Changed::Written(space);
    Ok(workspace
        .operate(name, "SPACE_UPDATING", changed, before)
        .into())
}

fn delete(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let name = call.param("name");
    let before = workspace.spaces.idle(name)?.clone();
    if let Some(app) = workspace.apps.in_space(name) {
        return Err(ApiError::bad_request(format!(
            "Cannot delete space {name} as it still has apps, such as {app}"
        )));
    }
    let mut space = before.clone();
    set_status(&mut space, "SPACE_DELETED", "Space is deleted.");
    Ok(workspace
        .operate(name, "SPACE_DELETING", Changed::Deleted(space), before)
        .into())
}

/// By the name of the space, or by that of its newest operation.
fn operation(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let name = call.param("name");
    let operations = &workspace.spaces.operations;
    let operation = operations
        .get(name)
        .or_else(|| operations.values().find(|operation| operation.name == name))
        .ok_or_else(|| ApiError::missing(format!("Space with name {name} does not exist.")))?;
    Ok(operation.show().into())
}

fn input(body: &Map<String, Value>) -> Map<String, Value> {
    body.iter()
        .filter(|(field, _)| INPUT.contains(&field.as_str()))
        .map(|(field, value)| (field.clone(), value.clone()))
        .collect()
}
