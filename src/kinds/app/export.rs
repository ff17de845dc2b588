//! From a remote app back to a spec that adopts it and leaves it as it is. Pure.
//!
//! What the spec cannot say is left out, as a field left out is not managed; each omission is told.
use serde_json::Value;

use super::acl::{self, Acl};
use super::fields::Setting;
use super::spec::{
    Compute, ComputeSize, DatabricksAppSpec, Deployment, Grant, Level, Lifecycle, Management,
    Permissions, PermissionsMode, RunState, Source, UserAuthorization, WorkspaceSource,
};
use super::wire::{self, RemoteApp, given, text};
use crate::api::management::Adopt;
use crate::api::names::WorkspaceRef;

/// A remote app as a spec.
#[derive(Clone, Debug, PartialEq)]
pub struct Exported {
    pub spec: DatabricksAppSpec,
    /// What was left out and why, a sentence each, without a full stop.
    pub omissions: Vec<String>,
}

/// Where an exported app is to be managed.
#[derive(Clone, Debug)]
pub struct Destination {
    pub workspace: WorkspaceRef,
    pub adopt: Adopt,
    /// Who the operator is in the workspace: its own grant is nobody's to declare.
    pub identity: String,
}

/// The spec of the app that `body` shows, as a GET answers. `grants`: its direct grants; `None`: nobody may read them.
pub fn export(body: &Value, grants: Option<&Acl>, to: &Destination) -> Exported {
    let remote = RemoteApp::read(body);
    let mut omissions = Vec::new();
    let mut leave_out = |what: &str, why: &str| omissions.push(format!("{what}: {why}"));
    let compute = compute(body, &mut leave_out);
    let source = source(body, &remote, &mut leave_out);
    let deployment = deployment(&remote, &mut leave_out);
    let resources = whole(
        body,
        "resources",
        wire::resource_spec,
        "resources",
        &mut leave_out,
    );
    let telemetry = whole(
        body,
        "telemetry_export_destinations",
        wire::telemetry_spec,
        "telemetry",
        &mut leave_out,
    );
    let usage_policy_id = given(body, "usage_policy_id");
    let budget_policy_id = given(body, "budget_policy_id");
    if usage_policy_id.is_some() && budget_policy_id.is_some() {
        leave_out(
            "budgetPolicyID",
            "the app has a usage policy too, and a spec takes one of the two",
        );
    }
    let permissions = match grants {
        Some(acl) => Some(permissions(acl, &to.identity)),
        None => {
            leave_out("permissions", "they cannot be read");
            None
        }
    };
    let spec = DatabricksAppSpec {
        workspace_ref: to.workspace.clone(),
        name: Some(remote.name.clone()),
        description: given(body, "description"),
        compute,
        lifecycle: state(&remote).map(|state| Lifecycle { state: Some(state) }),
        source,
        deployment,
        permissions,
        user_authorization: user_authorization(body, &remote),
        resources,
        budget_policy_id: budget_policy_id.filter(|_| usage_policy_id.is_none()),
        usage_policy_id,
        space: given(body, "space"),
        telemetry,
        management: Some(Management {
            adopt: to.adopt,
            ..Management::default()
        }),
        suspend: false,
    };
    Exported { spec, omissions }
}

/// A list, if each of its entries can be said; part of one would take the rest away.
fn whole<T>(
    body: &Value,
    key: &str,
    read: impl Fn(&Value) -> Option<T>,
    path: &str,
    leave_out: &mut impl FnMut(&str, &str),
) -> Option<Vec<T>> {
    let items: Vec<&Value> = wire::items(body, key).collect();
    if items.is_empty() {
        return None;
    }
    let read: Option<Vec<T>> = items.into_iter().map(read).collect();
    if read.is_none() {
        leave_out(path, "one of its entries is of a kind that no spec knows");
    }
    read
}

fn compute(body: &Value, leave_out: &mut impl FnMut(&str, &str)) -> Option<Compute> {
    let shown = text(body, "compute_size");
    let size = ComputeSize::from_wire(&shown);
    if size.is_none() && !shown.is_empty() {
        leave_out("compute.size", &format!("no spec knows {shown:?}"));
    }
    let number = |key: &str| {
        let number = body.get(key).and_then(Value::as_i64)?;
        i32::try_from(number).ok().filter(|n| *n > 0)
    };
    // The two are set together or not at all.
    let instances = number("compute_min_instances").zip(number("compute_max_instances"));
    let compute = Compute {
        size,
        min_instances: instances.map(|(min, _)| min),
        max_instances: instances.map(|(_, max)| max),
    };
    (compute != Compute::default()).then_some(compute)
}

/// `None` while the app is on its way somewhere, or broken: where to is not for a spec to say then.
fn state(remote: &RemoteApp) -> Option<RunState> {
    match remote.compute_state.as_str() {
        "ACTIVE" | "STARTING" => Some(RunState::Running),
        "STOPPED" => Some(RunState::Stopped),
        _ => None,
    }
}

/// Where the code comes from, as far as that deploys nothing: an app that runs nothing has no source yet.
fn source(
    body: &Value,
    remote: &RemoteApp,
    leave_out: &mut impl FnMut(&str, &str),
) -> Option<Source> {
    let newest = remote.newest();
    let stopped = remote.compute_state == "STOPPED";
    if newest.is_none() && !stopped {
        if !remote.source_path.is_empty() {
            leave_out(
                "source",
                "no deployment is there, and a source would make one",
            );
        }
        return None;
    }
    // What is stopped shows no deployment, only where the next one comes from.
    let git = match newest {
        Some(deployment) => deployment.git.clone(),
        None if remote.source_path.is_empty() => wire::git_reference(&body["default_git_source"]),
        None => Value::Null,
    };
    if !git.is_null() {
        let git = wire::git_spec(&body["git_repository"], &git);
        if git.is_none() {
            leave_out("source", "its Git repository is not told whole");
        }
        return git.map(|git| Source {
            git: Some(git),
            ..Source::default()
        });
    }
    let deployed = newest.and_then(|deployment| remote.source_of(deployment));
    let path = deployed.unwrap_or(&remote.source_path);
    if path.is_empty() {
        return None;
    }
    Some(Source {
        workspace: Some(WorkspaceSource {
            path: path.to_owned(),
            redeploy: Default::default(),
        }),
        ..Source::default()
    })
}

fn deployment(remote: &RemoteApp, leave_out: &mut impl FnMut(&str, &str)) -> Option<Deployment> {
    let newest = remote.newest()?;
    if !newest.env_names.is_empty() {
        let names: Vec<&str> = newest.env_names.iter().map(String::as_str).collect();
        leave_out(
            "deployment.env",
            &format!(
                "values cannot be read back; the app has the variables {}: list them before you change its source",
                names.join(", ")
            ),
        );
    }
    (!newest.command.is_empty()).then(|| Deployment {
        command: Some(newest.command.clone()),
        ..Deployment::default()
    })
}

fn user_authorization(body: &Value, remote: &RemoteApp) -> Option<UserAuthorization> {
    // Those in effect tell where they are not echoed.
    let known = remote.settings.get(Setting::SCOPES);
    let known = known.and_then(Value::as_array).into_iter().flatten();
    let scopes: Vec<String> = known.filter_map(Value::as_str).map(str::to_owned).collect();
    let user = UserAuthorization {
        scopes: (!scopes.is_empty()).then_some(scopes),
        forward_access_token: body
            .get("forward_user_access_token")
            .and_then(Value::as_bool),
        ..UserAuthorization::default()
    };
    (user != UserAuthorization::default()).then_some(user)
}

fn permissions(acl: &Acl, identity: &str) -> Permissions {
    let own = acl::identity_key(identity);
    let others = acl.iter().filter(|(key, _)| **key != own);
    Permissions {
        mode: PermissionsMode::Authoritative,
        grants: others.map(|(key, level)| grant(key, *level)).collect(),
    }
}

fn grant(key: &str, level: Level) -> Grant {
    Grant {
        principal: acl::principal(key),
        level,
    }
}

#[cfg(test)]
mod tests;
