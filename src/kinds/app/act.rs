//! One remote write a step, and what its answer proved.
use std::time::Instant;

use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::World;
use super::acl::{self, Acl};
use super::code;
use super::fields;
use super::plan::{Observed, Step};
use super::spec::{DatabricksApp, Level};
use super::wire::{self, RemoteApp, RemoteDeployment};
use crate::api::annotation;
use crate::api::status::Reason;
use crate::databricks::{Answer, Error, Method, Route};
use crate::engine::managed::{Acted, Step as _, Trouble};
use crate::engine::plan::{Fate, Seen};
use crate::worlds::databricks::{Look, folder, trouble};

/// What an answer proved.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    Created(Box<RemoteApp>),
    Granted(Acl),
    Restored,
    /// Accepted; `done` if the service carried it out at once.
    Updated {
        done: bool,
    },
    Started,
    Stopped,
    /// Id of the Git credential.
    Credential(Option<i64>),
    /// A folder or a file is there.
    Uploaded,
    Swept,
    Deployed(Box<RemoteDeployment>),
    Deleting,
}

pub(super) async fn act(
    app: &DatabricksApp,
    step: &Step,
    world: &World,
) -> Result<Acted<Effect>, Trouble> {
    let name = app.remote_name();
    let answer = match send(app, step, world).await {
        Ok(answer) => answer,
        Err(error) => {
            // The service may repeat what it was sent.
            let secrets = step.secrets().into_iter();
            let error = secrets.fold(error, |error, secret| error.without(secret.expose_secret()));
            return Err(refused(app, step, world, &error));
        }
    };
    if matches!(
        step,
        Step::Grant { .. } | Step::Update { .. } | Step::Restore { .. }
    ) {
        world.memo.accepted(name, step.verb(), step.digest());
    } else {
        world.memo.forgive(name, step.verb());
    }
    source_used(app, step, world);
    if let Step::Restore { stripped } = step {
        // What it is now is seen by a new look.
        *world.memo.guards.slot(stripped.guard.place.clone()).await = None;
    }
    let request_id = answer.request_id().map(str::to_owned);
    let effect = match answer {
        Sent::Json(answer) => accepted(app, step, world, &answer),
        Sent::File(_) if matches!(step, Step::Sweep { .. }) => Effect::Swept,
        Sent::File(_) => Effect::Uploaded,
    };
    Ok(Acted { effect, request_id })
}

/// Whether what was seen has already all that the step would bring about.
pub(super) fn needless(step: &Step, seen: &Observed) -> bool {
    let state = seen
        .remote()
        .map(|r| r.compute_state.as_str())
        .unwrap_or_default();
    match step {
        Step::Create { .. } => seen.remote().is_some(),
        Step::Update { fields: sent } => seen.remote().is_some_and(|remote| {
            let same = fields::read(&json!(sent));
            same.iter()
                .all(|(name, value)| remote.settings.get(name) == Some(value))
        }),
        Step::Grant { acl, replace } => match &seen.acl {
            Seen::Looked(have) if *replace => acl == have,
            Seen::Looked(have) => acl.iter().all(|(key, level)| have.get(key) >= Some(level)),
            Seen::NotLooked => false,
        },
        Step::Start => state == "ACTIVE",
        Step::Stop { .. } => state == "STOPPED",
        Step::Delete => state == "DELETING" || seen.remote().is_none(),
        Step::Restore { .. }
        | Step::Credential { .. }
        | Step::MakeFolder { .. }
        | Step::Upload { .. }
        | Step::Sweep { .. }
        | Step::Deploy { .. } => false,
    }
}

/// An answer, of the one API or the other.
enum Sent {
    Json(Answer),
    /// Id of the request.
    File(Option<String>),
}

impl Sent {
    fn request_id(&self) -> Option<&str> {
        match self {
            Self::Json(answer) => answer.request_id.as_deref(),
            Self::File(id) => id.as_deref(),
        }
    }
}

async fn send(app: &DatabricksApp, step: &Step, world: &World) -> Result<Sent, Error> {
    let client = world.connection.client();
    let uploaded = |answer: Result<Option<String>, folder::Error>| match answer {
        Ok(id) => Ok(Sent::File(id)),
        Err(error) => Err(match error.service() {
            Some(service) => service.clone(),
            None => Error::Setup(error.to_string()),
        }),
    };
    match step {
        Step::MakeFolder { path } => return uploaded(folder::make_folder(client, path).await),
        Step::Upload { path, content } => {
            return uploaded(folder::put_file(client, path, content).await);
        }
        Step::Sweep { folder, .. } => return uploaded(folder::delete_folder(client, folder).await),
        _ => {}
    }
    let name = app.remote_name();
    let this = format!("/api/2.0/apps/{name}");
    let no_compute: &[(&str, &str)] = match step {
        Step::Create {
            no_compute: true, ..
        } => &[("no_compute", "true")],
        _ => &[],
    };
    let (class, method, path, body) = match step {
        Step::Create { body, .. } => (
            "apps/create",
            Method::POST,
            "/api/2.0/apps".to_owned(),
            Some(body.clone()),
        ),
        Step::Grant { acl, replace } => {
            let path = format!("/api/2.0/permissions/apps/{name}");
            let body = Some(acl::acl_body(acl));
            match replace {
                true => ("permissions/set", Method::PUT, path, body),
                false => ("permissions/update", Method::PATCH, path, body),
            }
        }
        Step::Restore { stripped } => {
            let (method, path, body) = stripped.restore();
            ("resource-permissions/update", method, path, Some(body))
        }
        Step::Update { fields } => (
            "apps/update",
            Method::POST,
            format!("{this}/update"),
            Some(wire::update_body(name, fields)),
        ),
        Step::Start => (
            "apps/start",
            Method::POST,
            format!("{this}/start"),
            Some(json!({})),
        ),
        Step::Stop { .. } => (
            "apps/stop",
            Method::POST,
            format!("{this}/stop"),
            Some(json!({})),
        ),
        Step::Credential {
            id,
            principal,
            provider,
            token,
            ..
        } => {
            let token = token.expose_secret();
            let mut body = json!({"git_provider": provider, "personal_access_token": token, "git_username": "token"});
            match id {
                Some(id) => (
                    "git-credentials/update",
                    Method::PATCH,
                    format!("/api/2.0/git-credentials/{id}"),
                    Some(body),
                ),
                None => {
                    body["principal_id"] = json!(principal);
                    (
                        "git-credentials/create",
                        Method::POST,
                        "/api/2.0/git-credentials".to_owned(),
                        Some(body),
                    )
                }
            }
        }
        Step::Deploy { from, values, .. } => (
            "apps/deploy",
            Method::POST,
            format!("{this}/deployments"),
            Some(code::body(app, from, values)),
        ),
        Step::Delete | Step::MakeFolder { .. } | Step::Upload { .. } | Step::Sweep { .. } => {
            ("apps/delete", Method::DELETE, this, None)
        }
    };
    let route = Route::normal(class);
    let answer = client
        .send(route, method, &path, no_compute, body.as_ref())
        .await?;
    Ok(Sent::Json(answer))
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
            let own = world.identity.as_deref().map(acl::identity_key);
            let acl = Acl::from_iter(own.map(|key| (key, Level::CanManage)));
            world
                .memo
                .acls(|acls| acls.wrote(name, answer.answered, Some(acl)));
            Effect::Created(Box::new(created))
        }
        Step::Grant { acl, replace } => {
            let granted = match answer.body.get("access_control_list") {
                Some(Value::Array(_)) => Some(acl::read_acl(&answer.body)),
                _ => replace.then(|| acl.clone()),
            };
            world
                .memo
                .acls(|acls| acls.wrote(name, answer.answered, granted));
            Effect::Granted(acl.clone())
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
        Step::Stop { .. } => {
            prove(whole());
            Effect::Stopped
        }
        Step::Restore { .. } => Effect::Restored,
        Step::Credential { id, .. } => {
            let created = answer.body.get("credential_id").and_then(Value::as_i64);
            Effect::Credential(created.or(*id))
        }
        Step::MakeFolder { .. } | Step::Upload { .. } => Effect::Uploaded,
        Step::Sweep { .. } => Effect::Swept,
        Step::Deploy { .. } => {
            let deployment = wire::deployment(&answer.body).unwrap_or_default();
            prove(known.map(|row| RemoteApp {
                pending: Some(deployment.clone()),
                ..row
            }));
            Effect::Deployed(Box::new(deployment))
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
        Step::Stop { .. } => (Reason::StopRefused, "stopping the app".into()),
        Step::Restore { stripped } => (Reason::RestoreRefused, format!("putting back {stripped}")),
        Step::Credential { .. } => (
            Reason::CredentialRefused,
            "setting spec.source.git.credentialSecretRef".into(),
        ),
        Step::MakeFolder { path } => (Reason::UploadRefused, format!("making folder {path}")),
        Step::Upload { path, .. } => (Reason::UploadRefused, format!("uploading {path}")),
        Step::Sweep { folder, .. } => (Reason::SweepRefused, format!("removing {folder}")),
        Step::Deploy { .. } => (Reason::DeploymentRefused, "deploying".into()),
        Step::Delete => (Reason::DeleteRefused, "deleting the app".into()),
    };
    let mut trouble = trouble(&what, error, reason, clock);
    if let (Step::Restore { .. } | Step::Sweep { .. }, Fate::Stalled { .. }) = (step, trouble.fate)
    {
        trouble.reason = reason;
    }
    if let Step::Create { body, .. } = step
        && let Fate::Stalled { .. } = trouble.fate
    {
        let keys = body.as_object().into_iter().flat_map(|o| o.keys());
        let paths = keys.map(|key| {
            let path = fields::by_wire(key).map_or(key.as_str(), |f| f.path);
            format!("spec.{path}")
        });
        let paths = paths.collect::<Vec<_>>().join(", ");
        trouble.message = format!(
            "{}; sent were {paths}: correct the one that these words are about, or make what it refers to",
            trouble.message
        );
    }
    if let Error::PermissionDenied(_) = error {
        trouble.message = format!("{}; {}", trouble.message, missing_right(app, step, world));
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
        Step::Start | Step::Stop { .. } | Step::Deploy { .. } | Step::Delete => true,
        Step::Create { .. } | Step::Update { .. } => matches!(error, Error::Conflict(_)),
        Step::Grant { .. }
        | Step::Restore { .. }
        | Step::Credential { .. }
        | Step::MakeFolder { .. }
        | Step::Upload { .. }
        | Step::Sweep { .. } => false,
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
        // Which principals are unknown, or which credential is there, is looked up at once.
        Some(_) if matches!(step, Step::Grant { .. } | Step::Credential { id: None, .. }) => {
            Fate::After(std::time::Duration::ZERO)
        }
        Some(refused) => refused.fate,
        None => trouble.fate,
    };
    trouble
}

/// A source that appeared asks for one deployment, however that goes.
fn source_used(app: &DatabricksApp, step: &Step, world: &World) {
    let workspace = app.spec.source.as_ref().and_then(|s| s.workspace.as_ref());
    if let (Step::Deploy { .. }, Some(workspace)) = (step, workspace) {
        world.memo.source_used(&workspace.path);
    }
}

/// What the operator's identity needs for a step.
fn missing_right(app: &DatabricksApp, step: &Step, world: &World) -> String {
    let identity = world.identity.as_deref().unwrap_or_default();
    let name = app.remote_name();
    match step {
        Step::Create { .. } => {
            format!("{identity} needs the right to create apps in the workspace")
        }
        Step::Restore { stripped } => {
            format!(
                "{identity} needs the right to manage what resource {} names",
                stripped.guard.resource
            )
        }
        Step::MakeFolder { path } | Step::Upload { path, .. } => {
            format!("{identity} needs the right to write to {path}")
        }
        Step::Sweep { folder, .. } => format!("{identity} needs the right to manage {folder}"),
        Step::Delete => format!(
            "{identity} needs CAN_MANAGE on app {name}; to leave the app as it is, set spec.management.deletion: Orphan, or the annotation {} to the object's uid",
            annotation::FORCE_DELETE
        ),
        _ => format!(
            "{identity} needs CAN_MANAGE on app {name}: its owner or a workspace admin can grant it"
        ),
    }
}
