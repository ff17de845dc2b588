//! Access control lists of every type of object that the workspace knows.
mod api;

use std::collections::BTreeMap;

use rand::seq::SliceRandom;
use serde_json::{Map, Value, json};

use super::Workspace;
use super::directory::Kind as Member;
use crate::error::ApiError;
use crate::faults::Kind;

pub use api::ROUTES;

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
    /// One entry a principal; empty for an object that nobody was granted anything on.
    pub fn direct(&self, object_type: &str, id: &str) -> &[Grant] {
        self.direct
            .get(&(object_type.to_owned(), id.to_owned()))
            .map_or(&[], Vec::as_slice)
    }

    /// Replaces all entries. The caller has made sure that no principal comes twice.
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

    /// Takes a principal's entry away, if there is one.
    pub fn revoke(&mut self, object_type: &str, id: &str, kind: Member, name: &str) {
        if let Some(entries) = self
            .direct
            .get_mut(&(object_type.to_owned(), id.to_owned()))
        {
            entries.retain(|e| e.kind != kind || !e.name.eq_ignore_ascii_case(name));
        }
    }

    /// The object is gone, and its entries with it.
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
    let shuffled = path == "apps"
        && workspace
            .faults
            .fire(id, |k| matches!(k, Kind::ShuffledOrder {}).then_some(()))
            .is_some();
    if shuffled {
        list.shuffle(&mut rand::rng());
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
    for grant in api::read_list(workspace, &TYPES[0], body)? {
        upsert(&mut entries, grant);
    }
    Ok(entries)
}

/// The answer of `GET /api/2.0/permissions/apps/{name}`.
pub fn show_app(workspace: &Workspace, name: &str) -> Value {
    show(workspace, &TYPES[0], name)
}
