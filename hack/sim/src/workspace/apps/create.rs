//! Creating an app: name, quota, settings, a new service principal, and compute on its way up unless told otherwise.
use rand::Rng;
use serde_json::{Map, Value};

use super::super::directory::Kind as Member;
use super::super::permissions::Grant;
use super::super::{Workspace, short_id, uuid};
use super::compute::{Compute, ComputeState};
use super::deployment::{Queued, Source};
use super::model::{App, Identity};
use super::settings;
use crate::error::{ApiError, Outcome};
use crate::faults::{DeploymentVerdict as Verdict, Kind};
use crate::http::{Call, text};

const MAX_NAME: usize = 30;

/// Answers with the app, its compute already STARTING unless `no_compute` is set.
pub fn create(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let body = call.json()?;
    let name = text(&body, "name")
        .ok_or_else(|| ApiError::invalid("Missing required field: app.name"))?
        .to_owned();
    check_name(&name)?;
    check_free(workspace, &name)?;
    check_quota(workspace)?;
    let mut input = settings::read(workspace, &name, &body)?;
    if let Some(space) = text(&body, "space") {
        workspace.spaces.get(space)?;
        input.insert("space".into(), space.into());
    }
    let compute = match call.flag("no_compute") {
        true => Compute::at(
            ComputeState::Stopped,
            "App compute is stopped.",
            workspace.now(),
        ),
        false => workspace.starting(&name, "App compute is starting.", |d| d.create),
    };
    let mut app = workspace.found(&name, input, &call.caller.name, compute);
    if !call.flag("no_compute") && workspace.plays(&name, &Kind::AutoDeployAtCreate {}) {
        let source = Source {
            mode: "SNAPSHOT".into(),
            source_code_path: Some(format!("/Workspace/Users/{}/{name}", call.caller.name)),
            ..Source::default()
        };
        let (deployment, runs_for) =
            workspace.deployment(&app, source, &call.caller.name, Verdict::Succeeded, "");
        app.queued = Some(Queued::new(deployment, Default::default(), runs_for, 0));
    }
    if !workspace.plays(&name, &Kind::NoDefaultAcl {}) {
        let creator = Grant {
            kind: call.caller.kind,
            name: call.caller.name.clone(),
            level: "CAN_MANAGE".into(),
        };
        workspace.acls.set("apps", &name, vec![creator]);
    }
    let shown = workspace.render(&app, workspace.now());
    workspace.settle_in(app);
    Ok(shown.into())
}

/// 2 to 30 lower-case letters, digits and hyphens, the first a letter.
pub fn check_name(name: &str) -> Result<(), ApiError> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let fits = (2..=MAX_NAME).contains(&name.len())
        && name.chars().all(legal)
        && name.starts_with(|c: char| c.is_ascii_lowercase());
    match fits {
        true => Ok(()),
        false => Err(ApiError::invalid(format!(
            "Invalid app name '{name}': it must have 2 to {MAX_NAME} characters, start with a lowercase letter and contain only lowercase letters, digits and hyphens."
        ))),
    }
}

/// A name stays taken while its app is DELETING, and by a fault for a while after that.
fn check_free(workspace: &Workspace, name: &str) -> Result<(), ApiError> {
    let held = workspace.apps.freed.get(name).is_some_and(|freed| {
        let span = workspace.faults.fire(name, |k| match k {
            Kind::NameHeldAfterDelete { span } => Some(*span),
            _ => None,
        });
        span.is_some_and(|span| workspace.now() < *freed + span)
    });
    if !held && !workspace.apps.by_name.contains_key(name) {
        return Ok(());
    }
    let code = workspace.faults.fire(name, |k| match k {
        Kind::NameTakenCode { error_code } => Some(error_code.clone()),
        _ => None,
    });
    Err(ApiError::new(
        409,
        code.unwrap_or_else(|| "ALREADY_EXISTS".into()),
        format!("Failed to create app {name}. An app with the same name already exists."),
    ))
}

/// Apps that are DELETING count.
fn check_quota(workspace: &Workspace) -> Result<(), ApiError> {
    let most = workspace.rules.max_apps;
    match workspace.apps.by_name.len() < most {
        true => Ok(()),
        false => Err(ApiError::new(
            400,
            "RESOURCE_LIMIT_EXCEEDED",
            format!(
                "The maximum number of apps for your workspace {} is {most}.",
                workspace.id
            ),
        )),
    }
}

impl Workspace {
    /// A new app with identities of its own, not yet in the workspace.
    pub(super) fn found(
        &mut self,
        name: &str,
        settings: Map<String, Value>,
        creator: &str,
        compute: Compute,
    ) -> App {
        let space = settings
            .get("space")
            .and_then(|s| self.spaces.get(s.as_str()?).ok())
            .cloned();
        let identity = match space {
            Some(space) => self.identity_of(name, &space),
            None => self.new_identity(name),
        };
        App::new(
            name,
            identity,
            settings,
            creator,
            &self.stamp_text(),
            compute,
        )
    }

    /// Puts a new app into the workspace and grants its service principal what its resources name.
    pub(super) fn settle_in(&mut self, app: App) {
        let principal = app.identity.service_principal_client_id.clone();
        let resources = app.settings.get("resources").cloned().unwrap_or_default();
        self.grant_resources(&principal, &resources);
        self.apps.freed.remove(&app.name);
        self.apps.by_name.insert(app.name.clone(), app);
        self.follow_recreated_objects();
    }

    fn new_identity(&mut self, name: &str) -> Identity {
        let client_id = uuid();
        let display = format!("app-{} {name}", short_id(6));
        let principal =
            self.directory
                .ensure(Member::ServicePrincipal, &client_id, Some(display.as_str()));
        Identity {
            id: uuid(),
            url: self.app_url(name),
            service_principal_id: principal,
            service_principal_client_id: client_id,
            service_principal_name: display,
            oauth_client_id: uuid(),
            oauth_integration_id: uuid(),
        }
    }

    /// Apps of a space share its service principal.
    fn identity_of(&self, name: &str, space: &Map<String, Value>) -> Identity {
        let shared = |field: &str| text(space, field).unwrap_or_default().to_owned();
        Identity {
            id: uuid(),
            url: self.app_url(name),
            service_principal_id: space["service_principal_id"].as_i64().unwrap_or_default(),
            service_principal_client_id: shared("service_principal_client_id"),
            service_principal_name: shared("service_principal_name"),
            oauth_client_id: uuid(),
            oauth_integration_id: uuid(),
        }
    }

    fn app_url(&self, name: &str) -> String {
        format!("https://{name}-{}.11.aws.databricksapps.com", self.id)
    }
}

/// A deployment's id: hexadecimal, with a prefix such as the service gives.
pub fn deployment_id() -> String {
    let random: u128 = rand::rng().random();
    format!("01f1{:028x}", random & ((1 << 112) - 1))
}
