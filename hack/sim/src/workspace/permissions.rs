//! Access control lists and the permissions API over every type of object that the workspace knows.
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Workspace;
use super::directory::Kind as Member;
use crate::error::{ApiError, Outcome};
use crate::faults::Kind;
use crate::http::{Call, Route};

pub const ROUTES: &[Route] = &[
    Route::new("GET", "/api/2.0/permissions/apps/{name}", get_app),
    Route::new("PUT", "/api/2.0/permissions/apps/{name}", put_app),
    Route::new("PATCH", "/api/2.0/permissions/apps/{name}", patch_app),
    Route::new(
        "GET",
        "/api/2.0/permissions/apps/{name}/permissionLevels",
        levels_app,
    ),
    Route::new(
        "GET",
        "/api/2.0/permissions/sql/warehouses/{id}",
        get_warehouse,
    ),
    Route::new(
        "PUT",
        "/api/2.0/permissions/sql/warehouses/{id}",
        put_warehouse,
    ),
    Route::new(
        "PATCH",
        "/api/2.0/permissions/sql/warehouses/{id}",
        patch_warehouse,
    ),
    Route::new("GET", "/api/2.0/permissions/{object_type}/{id}", get),
    Route::new("PUT", "/api/2.0/permissions/{object_type}/{id}", put),
    Route::new("PATCH", "/api/2.0/permissions/{object_type}/{id}", patch),
    Route::new(
        "GET",
        "/api/2.0/permissions/{object_type}/{id}/permissionLevels",
        levels,
    ),
];

/// A type of object with permissions.
#[derive(Debug)]
struct ObjectType {
    path: &'static str,
    /// As bodies name it.
    name: &'static str,
    levels: &'static [&'static str],
}

const fn object_type(
    path: &'static str,
    name: &'static str,
    levels: &'static [&'static str],
) -> ObjectType {
    ObjectType { path, name, levels }
}

const FILES: &[&str] = &["CAN_READ", "CAN_RUN", "CAN_EDIT", "CAN_MANAGE"];

const TYPES: &[ObjectType] = &[
    object_type("apps", "apps", &["CAN_USE", "CAN_MANAGE"]),
    object_type(
        "jobs",
        "job",
        &["CAN_VIEW", "CAN_MANAGE_RUN", "CAN_MANAGE", "IS_OWNER"],
    ),
    object_type(
        "warehouses",
        "warehouses",
        &[
            "CAN_VIEW",
            "CAN_MONITOR",
            "CAN_USE",
            "CAN_MANAGE",
            "IS_OWNER",
        ],
    ),
    object_type(
        "serving-endpoints",
        "serving-endpoint",
        &["CAN_VIEW", "CAN_QUERY", "CAN_MANAGE"],
    ),
    object_type(
        "genie",
        "genie-space",
        &["CAN_VIEW", "CAN_RUN", "CAN_EDIT", "CAN_MANAGE"],
    ),
    object_type(
        "experiments",
        "mlflowExperiment",
        &["CAN_READ", "CAN_EDIT", "CAN_MANAGE"],
    ),
    object_type(
        "database-instances",
        "database-instances",
        &["CAN_USE", "CAN_MANAGE"],
    ),
    object_type(
        "database-projects",
        "database-projects",
        &["CAN_USE", "CAN_MANAGE"],
    ),
    object_type("directories", "directory", FILES),
    object_type("files", "file", FILES),
    object_type("notebooks", "notebook", FILES),
];

/// One direct entry: who, and what they may.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    pub kind: Member,
    pub name: String,
    pub level: String,
}

/// Direct entries by (type as in the path, id), in the order in which they were given.
#[derive(Debug, Default)]
pub struct Acls {
    direct: BTreeMap<(String, String), Vec<Grant>>,
}

impl Acls {
    pub fn direct(&self, object_type: &str, id: &str) -> &[Grant] {
        self.direct
            .get(&(object_type.to_owned(), id.to_owned()))
            .map_or(&[], Vec::as_slice)
    }

    pub fn set(&mut self, object_type: &str, id: &str, grants: Vec<Grant>) {
        self.direct
            .insert((object_type.to_owned(), id.to_owned()), grants);
    }

    /// Gives a principal its one level on an object.
    pub fn grant(&mut self, object_type: &str, id: &str, grant: Grant) {
        let entries = self
            .direct
            .entry((object_type.to_owned(), id.to_owned()))
            .or_default();
        upsert(entries, grant);
    }

    pub fn revoke(&mut self, object_type: &str, id: &str, kind: Member, name: &str) {
        if let Some(entries) = self
            .direct
            .get_mut(&(object_type.to_owned(), id.to_owned()))
        {
            entries.retain(|e| e.kind != kind || !e.name.eq_ignore_ascii_case(name));
        }
    }

    pub fn forget(&mut self, object_type: &str, id: &str) {
        self.direct.remove(&(object_type.to_owned(), id.to_owned()));
    }
}

/// One level a principal: the last one wins.
fn upsert(entries: &mut Vec<Grant>, grant: Grant) {
    match entries
        .iter_mut()
        .find(|e| e.kind == grant.kind && e.name == grant.name)
    {
        Some(entry) => entry.level = grant.level,
        None => entries.push(grant),
    }
}

fn get_app(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    read(workspace, "apps", call.param("name"))
}

fn put_app(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    write(workspace, call, ("apps", call.param("name")), Replace::All)
}

fn patch_app(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    write(
        workspace,
        call,
        ("apps", call.param("name")),
        Replace::Listed,
    )
}

fn levels_app(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    read_levels(workspace, "apps", call.param("name"))
}

fn get_warehouse(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    read(workspace, "warehouses", call.param("id"))
}

fn put_warehouse(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    write(
        workspace,
        call,
        ("warehouses", call.param("id")),
        Replace::All,
    )
}

fn patch_warehouse(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    write(
        workspace,
        call,
        ("warehouses", call.param("id")),
        Replace::Listed,
    )
}

fn get(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    read(workspace, call.param("object_type"), call.param("id"))
}

fn put(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    write(
        workspace,
        call,
        (call.param("object_type"), call.param("id")),
        Replace::All,
    )
}

fn patch(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    write(
        workspace,
        call,
        (call.param("object_type"), call.param("id")),
        Replace::Listed,
    )
}

fn levels(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    read_levels(workspace, call.param("object_type"), call.param("id"))
}

/// What a write does to direct entries that it doesn't list.
#[derive(Clone, Copy, PartialEq)]
enum Replace {
    All,
    Listed,
}

fn read(workspace: &Workspace, path: &str, id: &str) -> Outcome {
    let object_type = known(workspace, path, id)?;
    Ok(show(workspace, object_type, id).into())
}

fn read_levels(workspace: &Workspace, path: &str, id: &str) -> Outcome {
    let object_type = known(workspace, path, id)?;
    let levels: Vec<Value> = object_type
        .levels
        .iter()
        .map(|level| json!({"permission_level": level, "description": describe(level)}))
        .collect();
    Ok(json!({"permission_levels": levels}).into())
}

fn write(
    workspace: &mut Workspace,
    call: &Call<'_>,
    (path, id): (&str, &str),
    replace: Replace,
) -> Outcome {
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
fn read_list(
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

fn known(workspace: &Workspace, path: &str, id: &str) -> Result<&'static ObjectType, ApiError> {
    let object_type = TYPES
        .iter()
        .find(|t| t.path == path)
        .ok_or_else(|| ApiError::invalid(format!("'{path}' is not a supported object type")))?;
    let there = match path {
        "apps" => {
            workspace.app(id)?;
            true
        }
        "jobs" => {
            workspace.jobs.check(id)?;
            true
        }
        "warehouses" => workspace.warehouses.contains(id),
        "directories" | "files" | "notebooks" => workspace.files.has_object(id),
        _ => workspace.objects.contains(path, id),
    };
    if !there {
        return Err(ApiError::missing(format!(
            "{} {id} does not exist.",
            object_type.name
        )));
    }
    Ok(object_type)
}

fn show(workspace: &Workspace, object_type: &ObjectType, id: &str) -> Value {
    let path = object_type.path;
    let mut list: Vec<Value> = workspace
        .acls
        .direct(path, id)
        .iter()
        .map(|grant| entry(workspace, grant))
        .collect();
    let admins = match list.iter_mut().find(|e| e["group_name"] == "admins") {
        Some(admins) => admins,
        None => {
            list.push(json!({"group_name": "admins", "all_permissions": []}));
            let last = list.len() - 1;
            &mut list[last]
        }
    };
    if let Some(all) = admins["all_permissions"].as_array_mut() {
        all.push(json!({
            "permission_level": "CAN_MANAGE",
            "inherited": true,
            "inherited_from_object": [format!("/{path}/")],
        }));
    }
    let reversed = path == "apps"
        && workspace
            .faults
            .fire(id, |k| matches!(k, Kind::ReversedOrder {}).then_some(()))
            .is_some();
    if reversed {
        list.reverse();
    }
    json!({
        "object_id": format!("/{path}/{id}"),
        "object_type": object_type.name,
        "access_control_list": list,
    })
}

fn entry(workspace: &Workspace, grant: &Grant) -> Value {
    let field = match grant.kind {
        Member::User => "user_name",
        Member::Group => "group_name",
        Member::ServicePrincipal => "service_principal_name",
    };
    let mut shown = json!({
        field: grant.name,
        "all_permissions": [{"permission_level": grant.level, "inherited": false}],
    });
    if grant.kind != Member::Group
        && let Some(name) = workspace.directory.display_name(grant.kind, &grant.name)
    {
        shown["display_name"] = name.into();
    }
    shown
}

fn describe(level: &str) -> String {
    match level {
        "CAN_USE" => "Can use".into(),
        "CAN_MANAGE" => "Can manage, including its permissions".into(),
        "IS_OWNER" => "Owns it".into(),
        other => format!(
            "{}{}",
            &other[..1],
            other[1..].replace('_', " ").to_lowercase()
        ),
    }
}

/// Reads a list as `PUT /sim/permissions/{name}` has it, without asking who calls.
pub fn read_as_stranger(
    workspace: &Workspace,
    body: &Map<String, Value>,
) -> Result<Vec<Grant>, ApiError> {
    let mut entries = Vec::new();
    for grant in read_list(workspace, &TYPES[0], body)? {
        upsert(&mut entries, grant);
    }
    Ok(entries)
}

/// The answer of `GET /api/2.0/permissions/apps/{name}`.
pub fn show_app(workspace: &Workspace, name: &str) -> Value {
    show(workspace, &TYPES[0], name)
}
