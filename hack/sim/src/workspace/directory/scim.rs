//! The SCIM API over the directory.
use serde_json::{Value, json};

use super::super::Workspace;
use super::filter::Filter;
use super::{Directory, Kind, members_of};
use crate::error::{ApiError, Outcome};
use crate::http::{Call, Reply, Route};

const BASE: &str = "/api/2.0/preview/scim/v2";

pub const ROUTES: &[Route] = &[
    Route::new("GET", "/api/2.0/preview/scim/v2/Me", me),
    Route::new("GET", "/api/2.0/preview/scim/v2/{kind}", list),
    Route::new("POST", "/api/2.0/preview/scim/v2/{kind}", create),
    Route::new("GET", "/api/2.0/preview/scim/v2/{kind}/{id}", get),
    Route::new("PUT", "/api/2.0/preview/scim/v2/{kind}/{id}", replace),
    Route::new("PATCH", "/api/2.0/preview/scim/v2/{kind}/{id}", patch),
    Route::new("DELETE", "/api/2.0/preview/scim/v2/{kind}/{id}", delete),
];

fn me(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let kind = call.caller.kind;
    let directory = &workspace.directory;
    let mut shown = directory
        .find(kind, &call.caller.name)
        .and_then(|id| directory.show(kind, id))
        .ok_or_else(|| ApiError::missing(format!("{} is gone", call.caller.name)).in_scim())?;
    shown["userName"] = call.caller.name.as_str().into();
    Ok(select(shown, call).into())
}

fn list(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let kind = kind(call)?;
    let filter = call.query("filter").map(Filter::parse).transpose()?;
    let number = |name: &str, otherwise: usize| match call.query(name) {
        None => Ok(otherwise),
        Some(text) => text.parse::<usize>().map_err(|_| {
            ApiError::invalid(format!("{name} must be a number, got '{text}'")).in_scim()
        }),
    };
    let start = number("startIndex", 1)?.max(1);
    let count = number("count", 100)?;
    let directory = &workspace.directory;
    let found: Vec<Value> = directory
        .of(kind)
        .filter_map(|(id, _)| directory.show(kind, id))
        .filter(|shown| filter.as_ref().is_none_or(|f| f.matches(kind, shown)))
        .collect();
    let total = found.len();
    let resources: Vec<Value> = found
        .into_iter()
        .skip(start - 1)
        .take(count)
        .map(|shown| select(shown, call))
        .collect();
    let mut answer = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
        "totalResults": total,
        "startIndex": start,
        "itemsPerPage": resources.len(),
    });
    if !resources.is_empty() {
        answer["Resources"] = resources.into();
    }
    Ok(answer.into())
}

fn create(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let kind = kind(call)?;
    let mut body = call.json()?;
    for output in ["id", "schemas", "groups", "meta"] {
        body.remove(output);
    }
    let key = body.get(kind.key()).and_then(Value::as_str);
    match key {
        None | Some("") if kind != Kind::ServicePrincipal => {
            return Err(ApiError::invalid(format!("{} is missing", kind.key())).in_scim());
        }
        Some(key) if workspace.directory.find(kind, key).is_some() => {
            return Err(ApiError::exists(format!(
                "{} with {} {key} already exists.",
                kind.plural().trim_end_matches('s'),
                kind.key()
            ))
            .in_scim());
        }
        _ => {}
    }
    let id = workspace.directory.insert(kind, body);
    shown(workspace, kind, id)
}

fn get(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let (kind, id) = existing(workspace, call)?;
    let answer = workspace.directory.show(kind, id).unwrap_or_default();
    Ok(select(answer, call).into())
}

fn replace(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let (kind, id) = existing(workspace, call)?;
    let mut body = call.json()?;
    for output in ["id", "schemas", "groups", "meta"] {
        body.remove(output);
    }
    if let Some(attributes) = workspace.directory.members.get_mut(&(kind, id)) {
        if let Some(key) = attributes.get(kind.key()).cloned() {
            body.entry(kind.key()).or_insert(key);
        }
        *attributes = body;
    }
    shown(workspace, kind, id)
}

fn patch(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let (kind, id) = existing(workspace, call)?;
    let body = call.json()?;
    let operations = body
        .get("Operations")
        .and_then(Value::as_array)
        .ok_or_else(|| ApiError::invalid("Operations is missing").in_scim())?;
    for operation in operations {
        let verb = operation["op"].as_str().unwrap_or_default().to_lowercase();
        let path = operation["path"].as_str().unwrap_or_default();
        let value = &operation["value"];
        apply(&mut workspace.directory, kind, id, (&verb, path, value))?;
    }
    shown(workspace, kind, id)
}

/// One operation of a PATCH: `add`, `replace` or `remove` of attributes; members of a group one by one.
fn apply(
    directory: &mut Directory,
    kind: Kind,
    id: i64,
    (verb, path, value): (&str, &str, &Value),
) -> Result<(), ApiError> {
    let numbers = |value: &Value| -> Vec<i64> {
        let list = value.get("members").unwrap_or(value);
        let one = std::slice::from_ref(list);
        list.as_array()
            .map_or(one, Vec::as_slice)
            .iter()
            .filter_map(|m| m["value"].as_str()?.parse().ok())
            .collect()
    };
    let about_members = path == "members" || (path.is_empty() && value.get("members").is_some());
    if kind == Kind::Group && verb == "add" && about_members {
        for member in numbers(value) {
            directory.join(id, member);
        }
        return Ok(());
    }
    let Some(attributes) = directory.members.get_mut(&(kind, id)) else {
        return Ok(());
    };
    match verb {
        "remove" if path.starts_with("members[") => {
            let wanted = path.split('"').nth(1).unwrap_or_default();
            if let Some(members) = members_of(attributes) {
                members.retain(|m| m["value"] != wanted);
            }
        }
        "remove" if !path.is_empty() => {
            attributes.remove(path);
        }
        "add" | "replace" if path.is_empty() => {
            attributes.extend(value.as_object().cloned().unwrap_or_default());
        }
        "add" | "replace" => {
            attributes.insert(path.into(), value.clone());
        }
        _ => {
            return Err(
                ApiError::invalid(format!("unknown operation '{verb}' at '{path}'")).in_scim(),
            );
        }
    }
    Ok(())
}

fn delete(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let (kind, id) = existing(workspace, call)?;
    workspace.directory.remove(kind, id);
    Ok(Reply::empty())
}

fn kind(call: &Call<'_>) -> Result<Kind, ApiError> {
    let plural = call.param("kind");
    Kind::ALL
        .into_iter()
        .find(|kind| kind.plural() == plural)
        .ok_or_else(|| {
            ApiError::new(
                404,
                "ENDPOINT_NOT_FOUND",
                format!("No API found for '{BASE}/{plural}'"),
            )
        })
}

fn existing(workspace: &Workspace, call: &Call<'_>) -> Result<(Kind, i64), ApiError> {
    let kind = kind(call)?;
    let id = call.param("id");
    id.parse()
        .ok()
        .filter(|id| workspace.directory.members.contains_key(&(kind, *id)))
        .map(|id| (kind, id))
        .ok_or_else(|| {
            let one = kind.plural().trim_end_matches('s');
            ApiError::missing(format!("{one} with id {id} not found.")).in_scim()
        })
}

fn shown(workspace: &Workspace, kind: Kind, id: i64) -> Outcome {
    let shown = workspace.directory.show(kind, id).unwrap_or_default();
    Ok(shown.into())
}

/// Leaves only what `attributes` names, or takes out what `excludedAttributes` names; `id` and `schemas` stay.
fn select(mut shown: Value, call: &Call<'_>) -> Value {
    let named = |text: &str, field: &String| {
        text.split(',')
            .map(|a| a.trim().split('.').next().unwrap_or_default())
            .any(|a| a.eq_ignore_ascii_case(field))
    };
    if let Value::Object(fields) = &mut shown {
        if let Some(wanted) = call.query("attributes") {
            fields.retain(|field, _| field == "id" || field == "schemas" || named(wanted, field));
        }
        if let Some(unwanted) = call.query("excludedAttributes") {
            fields.retain(|field, _| field == "id" || !named(unwanted, field));
        }
    }
    shown
}
