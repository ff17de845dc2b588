//! Apps: the part of the workspace that everything else is there for.
mod compute;
mod create;
mod deploy;
mod deployment;
mod lifecycle;
mod model;
mod render;
mod resources;
mod settings;
mod stranger;
mod update;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::seq::SliceRandom;
use serde_json::Value;

use super::directory::Kind as Member;
use super::identity::Caller;
use super::paging::page;
use super::{Workspace, seconds};
use crate::clock::ServiceTime;
use crate::error::{ApiError, Outcome};
use crate::faults::Kind;
use crate::http::{Call, Route};

use create::check_name;
pub use model::App;
use model::Effect;

pub const ROUTES: &[Route] = &[
    Route::new("GET", "/api/2.0/apps", list),
    Route::new("POST", "/api/2.0/apps", create::create),
    Route::new("GET", "/api/2.0/apps/{name}", get),
    Route::new("PATCH", "/api/2.0/apps/{name}", update::patch),
    Route::new("DELETE", "/api/2.0/apps/{name}", lifecycle::delete),
    Route::new("POST", "/api/2.0/apps/{name}/start", lifecycle::start),
    Route::new("POST", "/api/2.0/apps/{name}/stop", lifecycle::stop),
    Route::new("POST", "/api/2.0/apps/{name}/update", update::begin),
    Route::new("GET", "/api/2.0/apps/{name}/update", update::get),
    Route::new("GET", "/api/2.0/apps/{name}/deployments", deploy::list),
    Route::new("POST", "/api/2.0/apps/{name}/deployments", deploy::deploy),
    Route::new(
        "GET",
        "/api/2.0/apps/{name}/deployments/{deployment_id}",
        deploy::get,
    ),
    Route::new(
        "PATCH",
        "/api/2.0/apps/{name}/thumbnail",
        update::set_thumbnail,
    ),
    Route::new(
        "DELETE",
        "/api/2.0/apps/{name}/thumbnail",
        update::delete_thumbnail,
    ),
];

#[derive(Debug, Default)]
pub struct Apps {
    by_name: BTreeMap<String, App>,
    /// When names became free.
    freed: BTreeMap<String, ServiceTime>,
    /// Callers that lost their access, by (app, caller in lower case).
    locked_out: BTreeSet<(String, String)>,
    /// What was, for lists that lag; kept only while a fault asks for it.
    past: Vec<(ServiceTime, BTreeMap<String, App>)>,
}

impl Apps {
    /// An app of this space, if there is one.
    pub fn in_space(&self, space: &str) -> Option<&str> {
        self.by_name
            .values()
            .find(|app| app.settings.get("space").is_some_and(|s| s == space))
            .map(|app| app.name.as_str())
    }

    /// The caller has taken its own access away.
    pub fn lock_out(&mut self, app: &str, caller: &str) {
        self.locked_out
            .insert((app.to_owned(), caller.to_lowercase()));
    }

    /// The caller has CAN_MANAGE again.
    pub fn readmit(&mut self, app: &str, caller: &str) {
        self.locked_out
            .remove(&(app.to_owned(), caller.to_lowercase()));
    }

    /// Remembers the present, and forgets what no list can show any more.
    fn remember(&mut self, now: ServiceTime, lag: Duration) {
        let horizon = now.saturating_sub(lag);
        let outdated = self.past.iter().filter(|(at, _)| *at <= horizon).count();
        self.past.drain(..outdated.saturating_sub(1));
        self.past.push((now, self.by_name.clone()));
    }

    /// The apps as they were `lag` ago, or as long ago as is remembered.
    fn as_of(&self, now: ServiceTime, lag: Duration, stamp: &str) -> BTreeMap<String, App> {
        let then = now.saturating_sub(lag);
        let known = self.past.iter().rev().find(|(at, _)| *at <= then);
        let mut apps = known
            .or(self.past.first())
            .map(|(_, apps)| apps.clone())
            .unwrap_or_default();
        for app in apps.values_mut() {
            app.settle(then, stamp);
        }
        apps.retain(|_, app| !app.is_gone());
        apps
    }
}

impl Workspace {
    /// Lets time pass for every app, and does elsewhere what that asks for.
    pub(super) fn settle_apps(&mut self) {
        self.settle_due();
        if self.stop_idle_apps() {
            self.settle_due();
        }
    }

    fn settle_due(&mut self) {
        let stamp = seconds(self.stamp);
        let mut effects = Vec::new();
        for app in self.apps.by_name.values_mut() {
            for effect in app.settle(self.now, &stamp) {
                effects.push((app.name.clone(), effect));
            }
        }
        for (name, effect) in effects {
            match effect {
                Effect::ResourcesChanged { before } => self.resources_changed(&name, &before),
                Effect::Gone => self.remove_app(&name),
            }
        }
    }

    /// After each request that may have changed an app: lists that lag need to know how it was.
    pub fn remember_apps(&mut self) {
        match self.faults.longest_lag() {
            Some(lag) => self.apps.remember(self.now, lag),
            None => self.apps.past.clear(),
        }
    }

    /// The app of this name, DELETING included.
    pub fn app(&self, name: &str) -> Result<&App, ApiError> {
        self.apps.by_name.get(name).ok_or_else(|| self.no_app(name))
    }

    /// The same for a handler that changes it; refused for callers that are locked out.
    fn app_mut(&mut self, call: &Call<'_>) -> Result<&mut App, ApiError> {
        let name = call.param("name");
        self.app(name)?;
        self.check_not_locked_out(name, call.caller)?;
        let missing = self.no_app(name);
        self.apps.by_name.get_mut(name).ok_or(missing)
    }

    pub fn check_not_locked_out(&self, app: &str, caller: &Caller) -> Result<(), ApiError> {
        let key = (app.to_owned(), caller.name.to_lowercase());
        match self.apps.locked_out.contains(&key) {
            true => Err(ApiError::denied(format!(
                "{} does not have CAN_MANAGE permission on app {app}.",
                caller.name
            ))),
            false => Ok(()),
        }
    }

    fn no_app(&self, name: &str) -> ApiError {
        let code = self.faults.fire(name, |k| match k {
            Kind::NotFoundCode { error_code } => Some(error_code.clone()),
            _ => None,
        });
        let missing = ApiError::missing(format!(
            "App with name {name} does not exist or is deleted."
        ));
        match code {
            Some(code) => ApiError::new(404, code, missing.message),
            None => missing,
        }
    }

    /// A fault about this app that has no fields strikes now.
    fn plays(&self, app: &str, kind: &Kind) -> bool {
        self.faults
            .fire(app, |k| (k == kind).then_some(()))
            .is_some()
    }

    fn resources_changed(&mut self, name: &str, before: &Value) {
        let Some(app) = self.apps.by_name.get(name) else {
            return;
        };
        let principal = app.identity.service_principal_client_id.clone();
        let after = app.settings.get("resources").cloned().unwrap_or_default();
        if self.plays(name, &Kind::RevokeGrantsOnRemoval {}) {
            let kept: Vec<&Value> = after.as_array().into_iter().flatten().collect();
            let gone: Vec<&Value> = before
                .as_array()
                .into_iter()
                .flatten()
                .filter(|r| !kept.contains(r))
                .collect();
            self.revoke_resources(&principal, &gone);
        }
        self.grant_resources(&principal, &after);
    }

    /// The app and what belongs to it alone. Grants to its service principal dangle, as on the service.
    fn remove_app(&mut self, name: &str) {
        let Some(app) = self.apps.by_name.remove(name) else {
            return;
        };
        let principal = app.identity.service_principal_id;
        if !self.spaces.own(principal) {
            self.directory.remove(Member::ServicePrincipal, principal);
        }
        self.acls.forget("apps", name);
        self.apps.locked_out.retain(|(locked, _)| locked != name);
        self.apps.freed.insert(name.to_owned(), self.now);
    }
}

fn get(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let app = workspace.app(call.param("name"))?;
    workspace.check_not_locked_out(&app.name, call.caller)?;
    Ok(workspace.render(app, workspace.now()).into())
}

fn list(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let now = workspace.now();
    let lag = workspace.faults.fire("*", |k| match k {
        Kind::ListLag { lag } => Some(*lag),
        _ => None,
    });
    let (apps, at) = match lag {
        Some(lag) => {
            let stamp = workspace.stamp_text();
            let past = workspace.apps.as_of(now, lag, &stamp);
            (past, now.saturating_sub(lag))
        }
        None => (std::mem::take(&mut workspace.apps.by_name), now),
    };
    let shown = apps
        .values()
        .filter(|app| {
            call.query("space")
                .is_none_or(|space| app.settings.get("space").is_some_and(|s| s == space))
        })
        .filter(|app| workspace.lists(app))
        .map(|app| (app.name.clone(), app));
    let limit = workspace.rules.page_size;
    let mut answer = page(call, "apps", limit, shown, |app| {
        workspace.render_row(app, at)
    });
    if let Some(Value::Array(rows)) = answer.as_mut().ok().and_then(|page| page.get_mut("apps"))
        && workspace.plays("*", &Kind::ShuffledOrder {})
    {
        rows.shuffle(&mut rand::rng());
    }
    if lag.is_none() {
        workspace.apps.by_name = apps;
    }
    Ok(answer?.into())
}
