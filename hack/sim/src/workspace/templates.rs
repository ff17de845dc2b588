//! Custom app templates of the workspace.
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Workspace;
use super::paging::{object, page};
use crate::error::{ApiError, Outcome};
use crate::http::{Call, Route, required};

pub const ROUTES: &[Route] = &[
    Route::new("GET", "/api/2.0/apps-settings/templates", list),
    Route::new("POST", "/api/2.0/apps-settings/templates", create),
    Route::new("GET", "/api/2.0/apps-settings/templates/{name}", get),
    Route::new("PUT", "/api/2.0/apps-settings/templates/{name}", replace),
    Route::new("DELETE", "/api/2.0/apps-settings/templates/{name}", delete),
];

const MAX: usize = 20;

#[derive(Debug, Default)]
pub struct Templates(BTreeMap<String, Map<String, Value>>);

impl Templates {
    fn find(&self, name: &str) -> Result<&Map<String, Value>, ApiError> {
        self.0
            .get(name)
            .ok_or_else(|| ApiError::missing(format!("Template with name {name} does not exist.")))
    }
}

fn list(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let all = workspace
        .templates
        .0
        .iter()
        .map(|(name, template)| (name.clone(), template));
    Ok(page(call, "templates", workspace.rules.page_size, all, object)?.into())
}

fn create(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let body = checked(call)?;
    let name = required(&body, "name")?.to_owned();
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_ ".contains(c);
    if !name.chars().all(legal) {
        return Err(ApiError::invalid(format!(
            "Invalid template name {name}: only letters, digits, hyphens, underscores and spaces are allowed."
        )));
    }
    if workspace.templates.0.contains_key(&name) {
        return Err(ApiError::exists(format!(
            "A template with the same name already exists: {name}"
        )));
    }
    if workspace.templates.0.len() >= MAX {
        return Err(ApiError::new(
            400,
            "RESOURCE_LIMIT_EXCEEDED",
            format!("The maximum number of custom templates for your workspace is {MAX}"),
        ));
    }
    keep(workspace, call, &name, body)
}

fn get(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let template = workspace.templates.find(call.param("name"))?;
    Ok(Value::Object(template.clone()).into())
}

fn replace(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let name = call.param("name");
    workspace.templates.find(name)?;
    let body = checked(call)?;
    keep(workspace, call, name, body)
}

fn delete(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let name = call.param("name");
    let template = workspace.templates.find(name)?.clone();
    workspace.templates.0.remove(name);
    Ok(Value::Object(template).into())
}

fn checked(call: &Call<'_>) -> Result<Map<String, Value>, ApiError> {
    let body = call.json()?;
    for field in ["git_repo", "git_provider", "path"] {
        required(&body, field)?;
    }
    match body.get("manifest") {
        Some(manifest) if manifest["name"].is_string() && manifest["version"] == 1 => Ok(body),
        _ => Err(ApiError::invalid("manifest must have version 1 and a name")),
    }
}

fn keep(
    workspace: &mut Workspace,
    call: &Call<'_>,
    name: &str,
    mut body: Map<String, Value>,
) -> Outcome {
    body.insert("name".into(), name.into());
    body.insert("creator".into(), call.caller.name.as_str().into());
    workspace.templates.0.insert(name.to_owned(), body.clone());
    Ok(Value::Object(body).into())
}
