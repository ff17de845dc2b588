//! The permissions API. Apps have routes of their own, so that what tests count has a name.
use serde_json::{Map, Value, json};

use super::super::Workspace;
use super::super::directory::Kind as Member;
use super::{Grant, ObjectType, describe, known, show, upsert};
use crate::error::{ApiError, Outcome};
use crate::faults::Kind;
use crate::http::{Call, Route};

macro_rules! routes {
    ($($object:literal),*) => {
        &[$(
            Route::new("GET", $object, get),
            Route::new("PUT", $object, put),
            Route::new("PATCH", $object, patch),
            Route::new("GET", concat!($object, "/permissionLevels"), levels),
        )*]
    };
}

pub const ROUTES: &[Route] = routes!(
    "/api/2.0/permissions/apps/{name}",
    "/api/2.0/permissions/sql/warehouses/{warehouse_id}",
    "/api/2.0/permissions/{object_type}/{id}"
);

/// Type and id of the object in the path.
fn object<'a>(call: &'a Call<'_>) -> (&'a str, &'a str) {
    match (call.param("name"), call.param("warehouse_id")) {
        ("", "") => (call.param("object_type"), call.param("id")),
        ("", warehouse) => ("warehouses", warehouse),
        (app, _) => ("apps", app),
    }
}

fn get(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let (path, id) = object(call);
    let object_type = known(workspace, path, id)?;
    Ok(show(workspace, object_type, id).into())
}

fn put(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    write(workspace, call, Replace::All)
}

fn patch(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    write(workspace, call, Replace::Listed)
}

fn levels(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let (path, id) = object(call);
    let object_type = known(workspace, path, id)?;
    let levels: Vec<Value> = object_type
        .levels
        .iter()
        .map(|level| json!({"permission_level": level, "description": describe(level)}))
        .collect();
    Ok(json!({"permission_levels": levels}).into())
}

/// What a write does to direct entries that it doesn't list.
#[derive(Clone, Copy, PartialEq)]
enum Replace {
    All,
    Listed,
}

fn write(workspace: &mut Workspace, call: &Call<'_>, replace: Replace) -> Outcome {
    let (path, id) = object(call);
    let object_type = known(workspace, path, id)?;
    if path == "apps" {
        workspace.check_not_locked_out(id, call.caller)?;
    }
    let given = read_list(workspace, object_type, &call.json()?)?;
    let mut entries = match replace {
        Replace::All => Vec::new(),
        Replace::Listed => workspace.acls.direct(path, id).to_vec(),
    };
    for grant in given {
        upsert(&mut entries, grant);
    }
    if replace == Replace::All {
        check_owner(workspace, object_type, id, &entries)?;
        if path == "apps" {
            guard_caller(workspace, call, id, &entries)?;
        }
    }
    workspace.acls.set(path, id, entries);
    Ok(show(workspace, object_type, id).into())
}

/// Reads `access_control_list`; every principal must exist and every level belong to the type.
pub fn read_list(
    workspace: &Workspace,
    object_type: &ObjectType,
    body: &Map<String, Value>,
) -> Result<Vec<Grant>, ApiError> {
    let list = match body.get("access_control_list") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(list)) => list,
        Some(_) => return Err(ApiError::invalid("access_control_list must be a list")),
    };
    list.iter()
        .map(|entry| {
            let level = entry["permission_level"].as_str().unwrap_or_default();
            if !object_type.levels.contains(&level) {
                return Err(ApiError::invalid(format!(
                    "{level} is not a valid permission level for {}. Valid levels: {}",
                    object_type.name,
                    object_type.levels.join(", ")
                )));
            }
            let (kind, name) = principal(workspace, entry)?;
            if level == "IS_OWNER" && kind == Member::Group {
                return Err(ApiError::invalid(format!(
                    "Group {name} cannot be an owner."
                )));
            }
            Ok(Grant {
                kind,
                name,
                level: level.to_owned(),
            })
        })
        .collect()
}

/// The principal of an entry, as the directory writes it. `user_name` may hold an application id.
fn principal(workspace: &Workspace, entry: &Value) -> Result<(Member, String), ApiError> {
    let given: Vec<(&str, &str)> = ["user_name", "group_name", "service_principal_name"]
        .into_iter()
        .filter_map(|field| Some((field, entry[field].as_str().filter(|n| !n.is_empty())?)))
        .collect();
    let [(field, name)] = given[..] else {
        return Err(ApiError::invalid(
            "Exactly one of user_name, group_name, service_principal_name must be given in an access control entry",
        ));
    };
    let directory = &workspace.directory;
    let find = |kind| Some((kind, directory.canonical(kind, name)?));
    let (found, described) = match field {
        "user_name" => (
            find(Member::User).or_else(|| find(Member::ServicePrincipal)),
            "UserName",
        ),
        "group_name" => (find(Member::Group), "GroupName"),
        _ => (find(Member::ServicePrincipal), "ServicePrincipalName"),
    };
    found.ok_or_else(|| ApiError::missing(format!("Principal: {described}({name}) does not exist")))
}

/// Jobs and warehouses have owners, in the words of the service: <https://github.com/databricks/cli>,
/// `acceptance/bundle/resources/permissions/factcheck`.
fn check_owner(
    workspace: &Workspace,
    object_type: &ObjectType,
    id: &str,
    entries: &[Grant],
) -> Result<(), ApiError> {
    let owners = |entries: &[Grant]| entries.iter().filter(|e| e.level == "IS_OWNER").count();
    match object_type.path {
        "jobs" if owners(entries) != 1 => {
            Err(ApiError::invalid("The job must have exactly one owner."))
        }
        "warehouses"
            if owners(entries) == 0 && owners(workspace.acls.direct("warehouses", id)) == 0 =>
        {
            Err(ApiError::invalid(format!(
                "PUT requests for warehouse {id} with no existing owner must provide a new owner."
            )))
        }
        _ => Ok(()),
    }
}

/// The service protects nobody from taking their own access away; two faults play other possibilities.
fn guard_caller(
    workspace: &mut Workspace,
    call: &Call<'_>,
    app: &str,
    entries: &[Grant],
) -> Result<(), ApiError> {
    let keeps_access = entries
        .iter()
        .any(|e| e.level == "CAN_MANAGE" && e.name.eq_ignore_ascii_case(&call.caller.name));
    if keeps_access {
        workspace.apps.readmit(app, &call.caller.name);
        return Ok(());
    }
    let faults = &workspace.faults;
    if faults
        .fire(app, |k| {
            matches!(k, Kind::PutWithoutCallerRefused {}).then_some(())
        })
        .is_some()
    {
        return Err(ApiError::bad_request(format!(
            "Cannot remove the permissions of the caller {} on app {app}",
            call.caller.name
        )));
    }
    if faults
        .fire(app, |k| matches!(k, Kind::CallerLockout {}).then_some(()))
        .is_some()
    {
        workspace.apps.lock_out(app, &call.caller.name);
    }
    Ok(())
}
