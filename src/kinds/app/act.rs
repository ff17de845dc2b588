//! One remote write a step, and what its answer proved.
use std::time::Instant;

use serde_json::{Value, json};

use super::World;
use super::plan::Step;
use super::spec::{DatabricksApp, Level};
use super::wire::{self, Acl, RemoteApp, RemoteDeployment};
use crate::api::status::Reason;
use crate::databricks::{Answer, Error, Method, Route};
use crate::engine::managed::{Step as _, Trouble};
use crate::engine::plan::Fate;
use crate::worlds::databricks::{Look, trouble};

/// What an answer proved.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    Created(Box<RemoteApp>),
    Granted(Acl),
    /// Accepted; `done` if the service carried it out at once.
    Updated {
        done: bool,
    },
    Started,
    Stopped,
    Deployed(RemoteDeployment),
    Deleting,
}

pub(super) async fn act(
    app: &DatabricksApp,
    step: &Step,
    world: &World,
) -> Result<Effect, Trouble> {
    let name = app.remote_name();
    match send(name, step, world).await {
        Ok(answer) => {
            if matches!(step, Step::Grant { .. } | Step::Update { .. }) {
                world.memo.accepted(name, step.verb(), step.digest());
            } else {
                world.memo.forgive(name, step.verb());
            }
            source_used(app, step, world);
            Ok(accepted(app, step, world, &answer))
        }
        Err(error) => Err(refused(app, step, world, &error)),
    }
}

async fn send(name: &str, step: &Step, world: &World) -> Result<Answer, Error> {
    let client = world.connection.client();
    let app = format!("/api/2.0/apps/{name}");
    let empty = json!({});
    match step {
        Step::Create { no_compute, body } => {
            let query: &[(&str, &str)] = if *no_compute {
                &[("no_compute", "true")]
            } else {
                &[]
            };
            let route = Route::normal("apps/create");
            client
                .send(route, Method::POST, "/api/2.0/apps", query, Some(body))
                .await
        }
        Step::Grant { acl } => {
            let path = format!("/api/2.0/permissions/apps/{name}");
            let body = wire::acl_body(acl);
            let route = Route::normal("permissions/set");
            client
                .send(route, Method::PUT, &path, &[], Some(&body))
                .await
        }
        Step::Update { fields } => {
            let body = wire::update_body(name, fields);
            let route = Route::normal("apps/update");
            client
                .send(
                    route,
                    Method::POST,
                    &format!("{app}/update"),
                    &[],
                    Some(&body),
                )
                .await
        }
        Step::Start => {
            let route = Route::normal("apps/start");
            client
                .send(
                    route,
                    Method::POST,
                    &format!("{app}/start"),
                    &[],
                    Some(&empty),
                )
                .await
        }
        Step::Stop => {
            let route = Route::normal("apps/stop");
            client
                .send(
                    route,
                    Method::POST,
                    &format!("{app}/stop"),
                    &[],
                    Some(&empty),
                )
                .await
        }
        Step::Deploy { body, .. } => {
            let route = Route::normal("apps/deploy");
            client
                .send(
                    route,
                    Method::POST,
                    &format!("{app}/deployments"),
                    &[],
                    Some(body),
                )
                .await
        }
        Step::Delete => {
            let route = Route::normal("apps/delete");
            client.send(route, Method::DELETE, &app, &[], None).await
        }
    }
}

fn accepted(app: &DatabricksApp, step: &Step, world: &World, answer: &Answer) -> Effect {
    let name = app.remote_name();
    let known = match world.board.look(name) {
        Look::Fresh { row, .. } => row,
        Look::Stale { .. } => None,
    };
    let whole = || Some(RemoteApp::read(&answer.body)).filter(|r| !r.id.is_empty());
    let prove = |proof: Option<RemoteApp>| world.board.wrote(name, answer.answered, proof);
    match step {
        Step::Create { .. } => {
            let created = RemoteApp::read(&answer.body);
            prove(whole());
            // The answer to a creation counts as a look at the grants: our own entry alone.
            let own = world.identity.as_deref().map(wire::identity_key);
            let acl = Acl::from_iter(own.map(|key| (key, Level::CanManage)));
            world
                .memo
                .acls(|acls| acls.wrote(name, answer.answered, Some(acl)));
            Effect::Created(Box::new(created))
        }
        Step::Grant { acl } => {
            let granted = match answer.body.get("access_control_list") {
                Some(Value::Array(_)) => wire::read_acl(&answer.body),
                _ => acl.clone(),
            };
            world
                .memo
                .acls(|acls| acls.wrote(name, answer.answered, Some(granted.clone())));
            Effect::Granted(granted)
        }
        Step::Update { fields } => {
            let (state, _) = wire::update_outcome(&answer.body);
            let done = state == "SUCCEEDED";
            prove(known.filter(|_| done).map(|row| row.updated(fields)));
            Effect::Updated { done }
        }
        Step::Start => {
            prove(whole());
            Effect::Started
        }
        Step::Stop => {
            prove(whole());
            Effect::Stopped
        }
        Step::Deploy { .. } => {
            let deployment = wire::deployment(&answer.body).unwrap_or_default();
            prove(known.map(|row| RemoteApp {
                pending: Some(deployment.clone()),
                ..row
            }));
            Effect::Deployed(deployment)
        }
        Step::Delete => {
            prove(known.map(|row| RemoteApp {
                compute_state: "DELETING".into(),
                ..row
            }));
            Effect::Deleting
        }
    }
}

/// What a refused or lost write means. Classified by what it was, never by the service's words.
fn refused(app: &DatabricksApp, step: &Step, world: &World, error: &Error) -> Trouble {
    let name = app.remote_name();
    let clock = world.connection.clock();
    let (reason, what) = match step {
        Step::Create { .. } => (Reason::CreateRefused, format!("creating app {name}")),
        Step::Grant { .. } => (
            Reason::GrantsRefused,
            "setting spec.permissions.grants".into(),
        ),
        Step::Update { .. } => (
            Reason::UpdateRefused,
            format!("changing {}", step.fields().join(", ")),
        ),
        Step::Start => (Reason::StartRefused, "starting the app".into()),
        Step::Stop => (Reason::StopRefused, "stopping the app".into()),
        Step::Deploy { .. } => (Reason::DeploymentRefused, "deploying".into()),
        Step::Delete => (Reason::DeleteRefused, "deleting the app".into()),
    };
    let mut trouble = trouble(&what, error, reason, clock);
    if let Step::Create { body, .. } = step
        && let Fate::Stalled { .. } = trouble.fate
    {
        let fields: Vec<&String> = body
            .as_object()
            .into_iter()
            .flat_map(|o| o.keys())
            .collect();
        let fields: Vec<&str> = fields.into_iter().map(String::as_str).collect();
        trouble.message = format!("{} (fields sent: {})", trouble.message, fields.join(", "));
    }
    if error.is_ambiguous() {
        trouble.ambiguous = true;
        world.board.lost(name);
        world.memo.acls(|acls| {
            if matches!(step, Step::Grant { .. }) {
                acls.lost(name, Instant::now());
            }
        });
        return trouble;
    }
    let refusal = matches!(
        error,
        Error::NotFound(_)
            | Error::Conflict(_)
            | Error::InvalidRequest(_)
            | Error::PermissionDenied(_)
            | Error::Quota(_)
    );
    if !refusal {
        return trouble;
    }
    // Whether the state was in the way is seen, not read from the message.
    let timing = match step {
        Step::Start | Step::Stop | Step::Deploy { .. } | Step::Delete => true,
        Step::Create { .. } | Step::Update { .. } => matches!(error, Error::Conflict(_)),
        Step::Grant { .. } => false,
    } && !matches!(error, Error::PermissionDenied(_));
    if timing {
        world.board.lost(name);
    }
    let message = trouble.message.clone();
    world.memo.refused(
        name,
        step.verb(),
        step.digest(),
        trouble.reason,
        message,
        timing,
    );
    source_used(app, step, world);
    trouble.fate = match world.memo.refusals(name, clock).get(step.verb()) {
        // Which principals are unknown is looked up at once.
        Some(_) if matches!(step, Step::Grant { .. }) => Fate::After(std::time::Duration::ZERO),
        Some(refused) => refused.fate,
        None => trouble.fate,
    };
    trouble
}

/// A source that appeared asks for one deployment, however that goes.
fn source_used(app: &DatabricksApp, step: &Step, world: &World) {
    if let (Step::Deploy { .. }, Some(source)) = (step, &app.spec.source) {
        world.memo.source_used(&source.workspace.path);
    }
}
