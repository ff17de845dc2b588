//! SQL warehouses: kept, started and stopped at once; they run no SQL.
use std::collections::BTreeMap;

use rand::Rng;
use serde_json::{Map, Value, json};

use super::Workspace;
use super::paging::{object, page};
use super::permissions::Grant;
use crate::error::{ApiError, Outcome};
use crate::http::{Call, Reply, Route, required};

pub const ROUTES: &[Route] = &[
    Route::new("GET", "/api/2.0/sql/warehouses", list),
    Route::new("POST", "/api/2.0/sql/warehouses", create),
    Route::new("GET", "/api/2.0/sql/warehouses/{id}", get),
    Route::new("DELETE", "/api/2.0/sql/warehouses/{id}", delete),
    Route::new("POST", "/api/2.0/sql/warehouses/{id}/edit", edit),
    Route::new("POST", "/api/2.0/sql/warehouses/{id}/start", start),
    Route::new("POST", "/api/2.0/sql/warehouses/{id}/stop", stop),
];

/// Settings and state by id.
#[derive(Debug, Default)]
pub struct Warehouses(BTreeMap<String, Map<String, Value>>);

impl Warehouses {
    pub fn contains(&self, id: &str) -> bool {
        self.0.contains_key(id)
    }

    /// Adds a running one; fields that are missing get the service's defaults.
    pub fn add(&mut self, id: &str, mut settings: Map<String, Value>) {
        let defaults = json!({
            "name": id,
            "cluster_size": "2X-Small",
            "min_num_clusters": 1,
            "max_num_clusters": 1,
            "auto_stop_mins": 120,
            "enable_photon": true,
            "enable_serverless_compute": false,
            "warehouse_type": "PRO",
            "state": "RUNNING",
            // Clients of one language read its summary without asking whether it is there.
            "health": {"status": "HEALTHY", "summary": "", "details": ""},
        });
        for (field, value) in defaults.as_object().into_iter().flatten() {
            settings.entry(field).or_insert_with(|| value.clone());
        }
        settings.insert("id".into(), id.into());
        self.0.insert(id.to_owned(), settings);
    }

    fn find(&mut self, id: &str) -> Result<&mut Map<String, Value>, ApiError> {
        self.0
            .get_mut(id)
            .ok_or_else(|| ApiError::missing(format!("The warehouse {id} was not found.")))
    }
}

fn list(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let all = workspace
        .warehouses
        .0
        .iter()
        .map(|(id, settings)| (id.clone(), settings));
    Ok(page(call, "warehouses", workspace.rules.page_size, all, object)?.into())
}

fn create(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let mut body = call.json()?;
    let name = required(&body, "name")?.to_owned();
    check_name(workspace, &name, None)?;
    let id = format!("{:016x}", rand::rng().random::<u64>());
    body.insert("creator_name".into(), call.caller.name.as_str().into());
    workspace.warehouses.add(&id, body);
    workspace.acls.grant(
        "warehouses",
        &id,
        Grant {
            kind: call.caller.kind,
            name: call.caller.name.clone(),
            level: "IS_OWNER".into(),
        },
    );
    Ok(json!({"id": id}).into())
}

fn get(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let settings = workspace.warehouses.find(call.param("id"))?.clone();
    Ok(Value::Object(settings).into())
}

fn delete(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let id = call.param("id");
    workspace.warehouses.find(id)?;
    workspace.warehouses.0.remove(id);
    workspace.acls.forget("warehouses", id);
    Ok(Reply::empty())
}

fn edit(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let id = call.param("id");
    let mut body = call.json()?;
    if let Some(name) = body.get("name").and_then(Value::as_str) {
        check_name(workspace, name, Some(id))?;
    }
    let current = workspace.warehouses.find(id)?;
    for kept in ["name", "state", "creator_name"] {
        if let Some(value) = current.get(kept) {
            body.entry(kept).or_insert_with(|| value.clone());
        }
    }
    workspace.warehouses.add(id, body);
    Ok(Reply::empty())
}

fn start(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    turn(workspace, call, "RUNNING")
}

fn stop(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    turn(workspace, call, "STOPPED")
}

fn turn(workspace: &mut Workspace, call: &Call<'_>, state: &str) -> Outcome {
    let settings = workspace.warehouses.find(call.param("id"))?;
    settings.insert("state".into(), state.into());
    Ok(Reply::empty())
}

fn check_name(workspace: &Workspace, name: &str, except: Option<&str>) -> Result<(), ApiError> {
    let taken = workspace
        .warehouses
        .0
        .iter()
        .any(|(id, settings)| settings["name"] == name && Some(id.as_str()) != except);
    match taken {
        true => Err(ApiError::invalid(format!(
            "SQL warehouse with name `{name}` already exists"
        ))),
        false => Ok(()),
    }
}
