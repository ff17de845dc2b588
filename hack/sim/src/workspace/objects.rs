//! Objects that apps refer to and that exist only by the seed: experiments, serving endpoints, Genie spaces, databases.
use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Workspace;
use crate::error::{ApiError, Outcome};
use crate::http::{Call, Route};

pub const ROUTES: &[Route] = &[
    Route::new("GET", "/api/2.0/serving-endpoints", list_endpoints),
    Route::new("GET", "/api/2.0/serving-endpoints/{name}", get_endpoint),
    Route::new("GET", "/api/2.0/mlflow/experiments/get", get_experiment),
    Route::new("GET", "/api/2.0/genie/spaces/{space_id}", get_genie_space),
    Route::new("GET", "/api/2.0/database/instances/{name}", get_database),
];

/// Names by (type as in permission paths, id). Only serving endpoints have an id that differs from their name.
#[derive(Debug, Default)]
pub struct Objects(BTreeMap<(&'static str, String), String>);

pub const SERVING_ENDPOINTS: &str = "serving-endpoints";
pub const EXPERIMENTS: &str = "experiments";
pub const GENIE: &str = "genie";
pub const DATABASES: &str = "database-instances";
pub const POSTGRES: &str = "database-projects";

impl Objects {
    pub fn add(&mut self, object_type: &'static str, id: &str, name: &str) {
        self.0.insert((object_type, id.to_owned()), name.to_owned());
    }

    pub fn contains(&self, object_type: &str, id: &str) -> bool {
        self.0
            .keys()
            .any(|(known, other)| *known == object_type && other == id)
    }

    /// The id under which an endpoint's permissions are kept.
    pub fn endpoint_id(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|((kind, _), known)| *kind == SERVING_ENDPOINTS && *known == name)
            .map(|((_, id), _)| id.as_str())
    }

    fn name(&self, object_type: &'static str, id: &str) -> Option<&String> {
        self.0.get(&(object_type, id.to_owned()))
    }
}

fn list_endpoints(workspace: &mut Workspace, _: &Call<'_>) -> Outcome {
    let endpoints: Vec<Value> = workspace
        .objects
        .0
        .iter()
        .filter(|((kind, _), _)| *kind == SERVING_ENDPOINTS)
        .map(|((_, id), name)| endpoint(id, name))
        .collect();
    Ok(json!({"endpoints": endpoints}).into())
}

fn get_endpoint(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let name = call.param("name");
    let id = workspace
        .objects
        .endpoint_id(name)
        .ok_or_else(|| ApiError::missing(format!("Endpoint with name '{name}' does not exist.")))?;
    Ok(endpoint(id, name).into())
}

fn endpoint(id: &str, name: &str) -> Value {
    json!({"id": id, "name": name, "state": {"ready": "READY", "config_update": "NOT_UPDATING"}})
}

fn get_experiment(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let id = call.required_query("experiment_id")?;
    let name = workspace
        .objects
        .name(EXPERIMENTS, id)
        .ok_or_else(|| ApiError::missing(format!("Node ID {id} does not exist.")))?;
    let experiment = json!({"experiment_id": id, "name": name, "lifecycle_stage": "active"});
    Ok(json!({"experiment": experiment}).into())
}

fn get_genie_space(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let id = call.param("space_id");
    let title = workspace
        .objects
        .name(GENIE, id)
        .ok_or_else(|| ApiError::missing(format!("Genie space {id} does not exist.")))?;
    Ok(json!({"space_id": id, "title": title}).into())
}

fn get_database(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let name = call.param("name");
    workspace
        .objects
        .name(DATABASES, name)
        .ok_or_else(|| ApiError::missing(format!("Database instance '{name}' does not exist.")))?;
    Ok(json!({"name": name, "state": "AVAILABLE"}).into())
}
