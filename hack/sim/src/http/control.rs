//! `/sim`: what tests see and do behind the workspace's back. No token, not counted.
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Shared, World};
use crate::clock::wire;
use crate::error::ApiError;
use crate::faults::Fault;
use crate::workspace::{Workspace, permissions};

/// What `/sim` takes, as `--help` and `GET /sim` show it.
pub const GUIDE: &str = include_str!("control.txt");

type Control = Result<Json<Value>, Refused>;

/// What a control answers when it can't: 400 `{"error": …}`.
struct Refused(String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (StatusCode::BAD_REQUEST, Json(json!({"error": self.0}))).into_response()
    }
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        Refused(error.message)
    }
}

pub fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/sim", get(guide))
        .route("/sim/requests", get(show_requests).delete(zero_requests))
        .route(
            "/sim/faults",
            get(show_faults).post(add_faults).delete(clear_faults),
        )
        .route("/sim/apps/{name}", post(change_app))
        .route("/sim/permissions/{name}", put(put_permissions))
        .route("/sim/clock", get(show_clock).post(advance_clock))
        .route("/sim/reset", post(reset))
        .with_state(shared)
}

async fn guide() -> String {
    crate::guide()
}

async fn show_requests(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(shared.lock().log.show())
}

async fn zero_requests(State(shared): State<Arc<Shared>>) -> Json<Value> {
    shared.lock().log.zero();
    Json(json!({}))
}

async fn show_faults(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(shared.lock().workspace.faults.show())
}

/// One fault, or `{"faults": […]}`: all or, if one of them is wrong, none.
async fn add_faults(State(shared): State<Arc<Shared>>, body: Bytes) -> Control {
    let body = object(&body)?;
    let given = match body.get("faults") {
        Some(Value::Array(all)) => all.clone(),
        Some(_) => return Err(Refused("`faults` must be a list".into())),
        None => vec![Value::Object(body)],
    };
    let read: Vec<Fault> = given
        .iter()
        .map(Fault::read)
        .collect::<Result<_, _>>()
        .map_err(Refused)?;
    let workspace = &mut present(&shared).workspace;
    for fault in read {
        workspace.faults.add(fault);
    }
    workspace.remember_apps();
    Ok(Json(workspace.faults.show()))
}

async fn clear_faults(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let workspace = &mut shared.lock().workspace;
    workspace.faults.clear();
    workspace.remember_apps();
    Json(json!({}))
}

async fn change_app(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    body: Bytes,
) -> Control {
    let body = object(&body)?;
    let workspace = &mut present(&shared).workspace;
    let grants = match body.get("permissions") {
        Some(list) => Some(read_grants(workspace, list)?),
        None => None,
    };
    let shown = workspace.change_app(&name, &body)?;
    if let Some(grants) = grants {
        workspace.acls.set("apps", &name, grants);
    }
    workspace.remember_apps();
    Ok(Json(shown))
}

async fn put_permissions(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    body: Bytes,
) -> Control {
    let body = object(&body)?;
    let workspace = &mut present(&shared).workspace;
    workspace.app(&name)?;
    let list = body
        .get("access_control_list")
        .ok_or_else(|| Refused("`access_control_list` is missing".into()))?;
    let grants = read_grants(workspace, list)?;
    workspace.acls.set("apps", &name, grants);
    Ok(Json(permissions::show_app(workspace, &name)))
}

fn read_grants(workspace: &Workspace, list: &Value) -> Result<Vec<permissions::Grant>, Refused> {
    let mut wrapped = Map::new();
    wrapped.insert("access_control_list".into(), list.clone());
    Ok(permissions::read_as_stranger(workspace, &wrapped)?)
}

async fn show_clock(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(clock(&present(&shared).workspace))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    #[serde(with = "wire")]
    advance: Duration,
}

async fn advance_clock(State(shared): State<Arc<Shared>>, body: Bytes) -> Control {
    let body = Value::Object(object(&body)?);
    let by: Advance = serde_json::from_value(body).map_err(|e| Refused(e.to_string()))?;
    let workspace = &mut present(&shared).workspace;
    workspace.clock.advance(by.advance);
    workspace.tick();
    Ok(Json(clock(workspace)))
}

fn clock(workspace: &Workspace) -> Value {
    let clock = &workspace.clock;
    json!({
        "service_time": workspace.now().as_secs_f64(),
        "advanced": clock.advanced().as_secs_f64(),
        "time_scale": clock.scale(),
        "stamp": workspace.stamp().to_string(),
    })
}

/// Back to what the workspace was started with: apps, faults, clock, requests.
async fn reset(State(shared): State<Arc<Shared>>) -> Control {
    let fresh = Workspace::new(&shared.config, &shared.seed).map_err(|e| Refused(e.to_string()))?;
    let world = &mut *shared.lock();
    world.workspace = fresh;
    world.log.zero();
    Ok(Json(json!({})))
}

/// The world, moved to the present.
fn present(shared: &Shared) -> std::sync::MutexGuard<'_, World> {
    let mut world = shared.lock();
    world.workspace.tick();
    world
}

fn object(body: &Bytes) -> Result<Map<String, Value>, Refused> {
    if body.is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_slice(body).map_err(|e| Refused(format!("the body is no JSON object: {e}")))
}
