//! Changing an app: the asynchronous update with its mask, the old PATCH that replaces everything, and the thumbnail.
use serde_json::{Map, Value, json};

use super::super::Workspace;
use super::compute::{Compute, ComputeState};
use super::model::{App, Update, apply};
use super::render::render_update;
use super::settings::{self, UPDATABLE};
use crate::error::{ApiError, Outcome};
use crate::faults::{Kind, UpdateVerdict};
use crate::http::{Call, Reply, text};

/// The asynchronous update. Fields keep their values until it ends.
pub fn begin(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let mut app = workspace.app_mut(call)?.clone();
    let body = call.json()?;
    let empty = Map::new();
    let given = body.get("app").and_then(Value::as_object).unwrap_or(&empty);
    check_same_name(&app, given)?;
    let mask = text(&body, "update_mask")
        .ok_or_else(|| ApiError::invalid("Missing required field: update_mask"))?;
    let fields = read_mask(workspace, &app.name, mask)?;
    let queues = workspace.plays(&app.name, &Kind::UpdatesQueue {});
    check_idle(workspace, &app, queues)?;
    if app.settings.contains_key("space") && fields.contains(&"resources") {
        return Err(resources_of_space(&app));
    }
    if fields.contains(&"space") && text(given, "space").is_some() {
        return Err(ApiError::invalid(
            "An app can leave its space, and join none.",
        ));
    }
    let masked: Map<String, Value> = given
        .iter()
        .filter(|(field, _)| fields.contains(&field.as_str()))
        .map(|(field, value)| (field.clone(), value.clone()))
        .collect();
    let mut values = settings::read(workspace, &app.name, &masked)?;
    let changes: Vec<(String, Option<Value>)> = fields
        .into_iter()
        .map(|field| (field.to_owned(), values.remove(field)))
        .collect();
    let ahead = app.update.take_if(|update| !update.done);
    let mut echo = match &ahead {
        Some(ahead) => ahead.echo.clone(),
        None => app.settings.clone(),
    };
    apply(&mut echo, &changes);
    let now = workspace.now();
    let begins = ahead.as_ref().map_or(now, |ahead| ahead.due.max(now));
    app.updates_ahead.extend(ahead);
    let durations = workspace.durations(&app.name);
    let size = |settings: &Map<String, Value>| {
        settings
            .get("compute_size")
            .cloned()
            .unwrap_or_else(|| "MEDIUM".into())
    };
    let moves_compute = app.compute.state == ComputeState::Active
        && (size(&echo) != size(&app.settings)
            || workspace.plays(&app.name, &Kind::UpdateTouchesCompute {}));
    let mut due = begins + durations.update;
    if moves_compute {
        due = begins + durations.resize;
        app.compute = Compute::at(ComputeState::Updating, "App compute is updating.", now).then(
            due,
            ComputeState::Active,
            "App compute is running.",
        );
    }
    let (verdict, message) = workspace
        .faults
        .fire(&app.name, |k| match k {
            Kind::UpdateOutcome { outcome, message } => Some((*outcome, message.clone())),
            _ => None,
        })
        .unwrap_or((UpdateVerdict::Succeeded, String::new()));
    let update = Update {
        changes,
        echo,
        due,
        verdict,
        message,
        updater: call.caller.name.clone(),
        done: false,
    };
    app.update = Some(update);
    let name = app.name.clone();
    workspace.apps.by_name.insert(name, app);
    // One that takes no time has ended before it is answered.
    workspace.settle_apps();
    get(workspace, call)
}

pub fn get(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let app = workspace.app(call.param("name"))?;
    let name = &app.name;
    let Some(update) = &app.update else {
        return match workspace.plays(name, &Kind::NoUpdateIsMissing {}) {
            true => Err(ApiError::missing(format!(
                "App {name} has never been updated."
            ))),
            false => Ok(json!({"status": {"state": "NOT_UPDATED", "message": ""}}).into()),
        };
    };
    let mut shown = render_update(update);
    if update.state() == "SUCCEEDED" && workspace.plays(name, &Kind::EndedUpdateReadsNotUpdated {})
    {
        shown["status"] = json!({"state": "NOT_UPDATED", "message": ""});
    }
    Ok(shown.into())
}

/// No mask: what the body leaves out falls back to its default.
pub fn patch(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let mut app = workspace.app_mut(call)?.clone();
    let body = call.json()?;
    check_same_name(&app, &body)?;
    check_idle(workspace, &app, false)?;
    let refuse = |what: &str| {
        ApiError::invalid(format!(
            "{what} updates are not supported in this update API. Please use the new update API instead."
        ))
    };
    if body.contains_key("compute_size") {
        return Err(refuse("Compute size"));
    }
    let mut replaced = settings::read(workspace, &app.name, &body)?;
    let differs = |field: &str| {
        body.get(field).is_some_and(|v| !settings::is_nothing(v))
            && replaced.get(field) != app.settings.get(field)
    };
    if differs("git_repository") {
        return Err(refuse("Git repository"));
    }
    if app.settings.contains_key("space") && differs("resources") {
        return Err(resources_of_space(&app));
    }
    for kept in ["compute_size", "git_repository", "space"] {
        if let Some(value) = app.settings.get(kept) {
            replaced.insert(kept.to_owned(), value.clone());
        }
    }
    let before = app.settings.get("resources").cloned().unwrap_or_default();
    app.settings = replaced;
    app.updater.clone_from(&call.caller.name);
    app.updated = workspace.stamp_text();
    let shown = workspace.render(&app, workspace.now());
    let name = app.name.clone();
    workspace.apps.by_name.insert(name.clone(), app);
    workspace.resources_changed(&name, &before);
    Ok(shown.into())
}

pub fn set_thumbnail(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let body = call.json()?;
    let thumbnail = body
        .get("app_thumbnail")
        .and_then(|t| t["thumbnail"].as_str())
        .ok_or_else(|| ApiError::invalid("Missing required field: app_thumbnail.thumbnail"))?
        .to_owned();
    workspace.app_mut(call)?.thumbnail = Some(thumbnail.clone());
    Ok(json!({"thumbnail": thumbnail}).into())
}

pub fn delete_thumbnail(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    workspace.app_mut(call)?.thumbnail = None;
    Ok(Reply::empty())
}

/// Splits a mask and refuses what the allow-list lacks, `*` and blanks included.
fn read_mask<'a>(
    workspace: &Workspace,
    app: &str,
    mask: &'a str,
) -> Result<Vec<&'a str>, ApiError> {
    let lacking = workspace.faults.fire(app, |k| match k {
        Kind::MaskFieldsRefused { fields } => Some(fields.clone()),
        _ => None,
    });
    let lacking = lacking.unwrap_or_default();
    let space = workspace
        .plays(app, &Kind::SpaceCanBeLeft {})
        .then_some("space");
    let allowed: Vec<&str> = UPDATABLE
        .into_iter()
        .chain(space)
        .filter(|field| !lacking.iter().any(|l| l == field))
        .collect();
    let fields: Vec<&str> = mask.split(',').collect();
    match fields.iter().all(|field| allowed.contains(field)) {
        true => Ok(fields),
        false => Err(ApiError::invalid(format!(
            "Invalid update mask. Only {} are allowed. Supplied update mask: {mask}",
            allowed.join(", ")
        ))),
    }
}

/// A name in the body must be the app's own: apps can't be renamed.
fn check_same_name(app: &App, body: &Map<String, Value>) -> Result<(), ApiError> {
    match text(body, "name") {
        Some(name) if name != app.name => Err(ApiError::invalid(format!(
            "App name cannot be changed: {} to {name}",
            app.name
        ))),
        _ => Ok(()),
    }
}

/// Nothing may be under way that an update would meet, unless updates queue.
fn check_idle(workspace: &Workspace, app: &App, queues: bool) -> Result<(), ApiError> {
    if app.compute.state == ComputeState::Deleting {
        return Err(workspace.not_terminal("update", app));
    }
    if app.update_in_progress() && !queues {
        let usual = (409, "RESOURCE_CONFLICT".to_owned());
        let (status, code) = workspace.refusal(&app.name).unwrap_or(usual);
        return Err(ApiError::new(
            status,
            code,
            format!(
                "Cannot update app {} as there is an update in progress.",
                app.name
            ),
        ));
    }
    if !app.compute.state.is_terminal()
        && workspace.plays(&app.name, &Kind::UpdateRefusedInTransit {})
    {
        return Err(workspace.not_terminal("update", app));
    }
    Ok(())
}

fn resources_of_space(app: &App) -> ApiError {
    ApiError::invalid(format!(
        "App {} is in a space: its resources are those of the space and cannot be updated.",
        app.name
    ))
}
