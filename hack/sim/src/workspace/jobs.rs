//! Jobs: settings are kept, runs succeed at once.
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::permissions::Grant;
use super::{Workspace, numeric_id};
use crate::error::{ApiError, Outcome};
use crate::http::{Call, Reply, Route};

macro_rules! routes {
    ($($version:literal),*) => {
        &[$(
            Route::new("POST", concat!("/api/", $version, "/jobs/create"), create),
            Route::new("GET", concat!("/api/", $version, "/jobs/get"), get),
            Route::new("GET", concat!("/api/", $version, "/jobs/list"), list),
            Route::new("POST", concat!("/api/", $version, "/jobs/update"), update),
            Route::new("POST", concat!("/api/", $version, "/jobs/reset"), reset),
            Route::new("POST", concat!("/api/", $version, "/jobs/delete"), delete),
            Route::new("POST", concat!("/api/", $version, "/jobs/run-now"), run_now),
            Route::new("GET", concat!("/api/", $version, "/jobs/runs/get"), get_run),
        )*]
    };
}

/// Clients of different ages call different versions.
pub const ROUTES: &[Route] = routes!("2.1", "2.2");

#[derive(Clone, Debug)]
struct Job {
    settings: Map<String, Value>,
    creator: String,
    created: i64,
}

#[derive(Debug, Default)]
pub struct Jobs {
    jobs: BTreeMap<i64, Job>,
    /// Runs by id: of which job, and when.
    runs: BTreeMap<i64, (i64, i64)>,
}

impl Jobs {
    pub fn add(&mut self, id: i64, settings: Map<String, Value>, creator: &str, created: i64) {
        let job = Job {
            settings,
            creator: creator.to_owned(),
            created,
        };
        self.jobs.insert(id, job);
    }

    /// Refuses an id that no job has, with the service's words.
    pub fn check(&self, id: &str) -> Result<(), ApiError> {
        match id.parse().is_ok_and(|id| self.jobs.contains_key(&id)) {
            true => Ok(()),
            false => Err(ApiError::missing(format!("Job {id} does not exist."))),
        }
    }

    fn find(&mut self, id: i64) -> Result<&mut Job, ApiError> {
        self.jobs
            .get_mut(&id)
            .ok_or_else(|| ApiError::invalid(format!("Job {id} does not exist.")))
    }
}

fn create(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let mut settings = call.json()?;
    settings.remove("access_control_list");
    settings.entry("name").or_insert_with(|| "Untitled".into());
    for (field, value) in [
        ("format", json!("MULTI_TASK")),
        ("max_concurrent_runs", json!(1)),
        ("timeout_seconds", json!(0)),
    ] {
        settings.entry(field).or_insert(value);
    }
    let id = numeric_id();
    let created = workspace.stamp_millis();
    workspace.jobs.add(id, settings, &call.caller.name, created);
    workspace.acls.grant(
        "jobs",
        &id.to_string(),
        Grant {
            kind: call.caller.kind,
            name: call.caller.name.clone(),
            level: "IS_OWNER".into(),
        },
    );
    Ok(json!({"job_id": id}).into())
}

fn get(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let id = query_id(call, "job_id")?;
    let job = workspace.jobs.find(id)?;
    Ok(show(id, job).into())
}

fn list(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let limit = match call.query("limit") {
        None => 20,
        Some(text) => text
            .parse::<usize>()
            .ok()
            .filter(|limit| (1..=100).contains(limit))
            .ok_or_else(|| ApiError::invalid(format!("limit must be 1 to 100, got '{text}'")))?,
    };
    let after: i64 = match call.query("page_token") {
        None => i64::MIN,
        Some(token) => token
            .parse()
            .map_err(|_| ApiError::invalid(format!("Invalid page token: {token}")))?,
    };
    let mut found = workspace
        .jobs
        .jobs
        .iter()
        .filter(|(id, job)| {
            **id > after
                && call.query("name").is_none_or(|n| {
                    job.settings["name"]
                        .as_str()
                        .is_some_and(|j| j.eq_ignore_ascii_case(n))
                })
        })
        .peekable();
    let shown: Vec<(i64, Value)> = found
        .by_ref()
        .take(limit)
        .map(|(id, job)| (*id, show(*id, job)))
        .collect();
    let mut answer = json!({"has_more": found.peek().is_some()});
    if let (Some(_), Some((last, _))) = (found.peek(), shown.last()) {
        answer["next_page_token"] = last.to_string().into();
    }
    if !shown.is_empty() {
        answer["jobs"] = shown.into_iter().map(|(_, job)| job).collect();
    }
    Ok(answer.into())
}

fn update(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let body = call.json()?;
    let job = workspace.jobs.find(body_id(&body)?)?;
    for field in body
        .get("fields_to_remove")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        job.settings.remove(field.as_str().unwrap_or_default());
    }
    if let Some(Value::Object(settings)) = body.get("new_settings") {
        job.settings.extend(settings.clone());
    }
    Ok(Reply::empty())
}

fn reset(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let body = call.json()?;
    let Some(Value::Object(settings)) = body.get("new_settings") else {
        return Err(ApiError::invalid("Missing required field: new_settings"));
    };
    workspace.jobs.find(body_id(&body)?)?.settings = settings.clone();
    Ok(Reply::empty())
}

fn delete(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let id = body_id(&call.json()?)?;
    workspace.jobs.find(id)?;
    workspace.jobs.jobs.remove(&id);
    workspace.acls.forget("jobs", &id.to_string());
    Ok(Reply::empty())
}

fn run_now(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let job = body_id(&call.json()?)?;
    workspace.jobs.find(job)?;
    let run = numeric_id();
    let at = workspace.stamp_millis();
    workspace.jobs.runs.insert(run, (job, at));
    Ok(json!({"run_id": run, "number_in_job": run}).into())
}

fn get_run(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let run = query_id(call, "run_id")?;
    let (job, at) = workspace
        .jobs
        .runs
        .get(&run)
        .ok_or_else(|| ApiError::invalid(format!("Run {run} does not exist.")))?;
    Ok(json!({
        "run_id": run,
        "job_id": job,
        "start_time": at,
        "end_time": at,
        "state": {"life_cycle_state": "TERMINATED", "result_state": "SUCCESS", "state_message": ""},
        "status": {"state": "TERMINATED", "termination_details": {"code": "SUCCESS", "type": "SUCCESS"}},
    })
    .into())
}

fn show(id: i64, job: &Job) -> Value {
    json!({
        "job_id": id,
        "creator_user_name": job.creator,
        "run_as_user_name": job.creator,
        "created_time": job.created,
        "settings": job.settings,
    })
}

fn body_id(body: &Map<String, Value>) -> Result<i64, ApiError> {
    body.get("job_id")
        .and_then(Value::as_i64)
        .ok_or_else(|| ApiError::invalid("Missing required field: job_id"))
}

fn query_id(call: &Call<'_>, name: &str) -> Result<i64, ApiError> {
    let text = call.required_query(name)?;
    text.parse()
        .map_err(|_| ApiError::invalid(format!("{name} must be a number, got '{text}'")))
}
