//! What is exported adopts the app as it is: nothing is written for it.
#![allow(clippy::unwrap_used)]
use std::collections::BTreeSet;

use jiff::Timestamp;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::json;

use super::super::code::{Code, Origin};
use super::super::fields::{self, SETTINGS};
use super::super::model::foresee;
use super::super::plan::{Inputs, Observed};
use super::super::spec::{AppMemory, DatabricksApp};
use super::*;
use crate::api::status::Reason;
use crate::engine::plan::{Seen, Wish};

const IDENTITY: &str = "operator@example.com";

fn to() -> Destination {
    Destination {
        workspace: WorkspaceRef {
            name: "prod".into(),
            namespace: None,
        },
        adopt: Adopt::IfUnowned,
        identity: IDENTITY.into(),
    }
}

fn exported(body: Value) -> Exported {
    export(&body, Some(&Acl::new()), &to())
}

/// A spec that manages every setting, and every kind of resource.
fn everything() -> DatabricksApp {
    let spec = json!({
        "workspaceRef": {"name": "prod"}, "name": "sales", "description": "Sales",
        "compute": {"size": "XLarge", "minInstances": 2, "maxInstances": 3},
        "source": {"git": {"url": "https://github.com/acme/apps", "provider": "GitHub", "path": "sales",
            "ref": {"tag": "v1"}, "autoDeploy": true}},
        "userAuthorization": {"scopes": ["sql"], "forwardAccessToken": false},
        "usagePolicyID": "u", "budgetPolicyID": "b", "space": "finance",
        "telemetry": [{"logsTable": "a.b.l", "metricsTable": "a.b.m", "tracesTable": "a.b.t"}],
        "resources": [
            {"name": "app", "app": {"name": "other", "permission": "CanUse"}},
            {"name": "database", "description": "why", "database": {"instanceName": "i", "databaseName": "d", "permission": "CanConnectAndCreate"}},
            {"name": "postgres", "postgres": {"branch": "projects/p/branches/b", "database": "d", "permission": "CanConnectAndCreate"}},
            {"name": "experiment", "experiment": {"experimentID": "1", "permission": "CanEdit"}},
            {"name": "genie", "genieSpace": {"name": "g", "spaceID": "1", "permission": "CanRun"}},
            {"name": "job", "job": {"id": "1", "permission": "CanManageRun"}},
            {"name": "secret", "secret": {"scope": "s", "key": "k", "permission": "Read"}},
            {"name": "endpoint", "servingEndpoint": {"name": "e", "permission": "CanQuery"}},
            {"name": "warehouse", "sqlWarehouse": {"id": "w", "permission": "CanUse"}},
            {"name": "table", "ucSecurable": {"fullName": "Main.sales.orders", "type": "Table", "permission": "Select"}},
        ],
    });
    DatabricksApp::new("sales", serde_json::from_value(spec).unwrap())
}

fn shown(app: &DatabricksApp) -> Value {
    let mut body = wire::create_body(app);
    body["id"] = json!("1");
    body["compute_status"] = json!({"state": "ACTIVE"});
    body
}

#[test]
fn every_setting_is_read_back_as_it_was_sent() {
    let mut app = everything();
    let wanted: BTreeSet<&str> = fields::wanted(&app).keys().copied().collect();
    let all: BTreeSet<&str> = SETTINGS.iter().map(|f| f.wire).collect();
    assert_eq!(wanted, all, "everything() has to manage every setting");
    for policy in ["usage_policy_id", "budget_policy_id"] {
        app = everything();
        match policy {
            "usage_policy_id" => app.spec.budget_policy_id = None,
            _ => app.spec.usage_policy_id = None,
        }
        let mut body = shown(&app);
        body["active_deployment"] = json!({"deployment_id": "d", "status": {"state": "SUCCEEDED"},
            "git_source": {"tag": "v1", "source_code_path": "sales", "resolved_commit": "abc"}});
        let back = exported(body);
        assert_eq!(back.omissions, [""; 0]);
        assert_eq!(back.spec.source, app.spec.source);
        let back = DatabricksApp::new("sales", back.spec);
        assert_eq!(fields::wanted(&back), fields::wanted(&app));
    }
}

#[test]
fn what_no_spec_can_say_is_left_out_whole_and_told() {
    let mut body = shown(&everything());
    body["resources"][0] = json!({"name": "new", "quantum": {"id": "1"}});
    body["compute_size"] = json!("SMALL");
    body["compute_min_instances"] = Value::Null;
    let back = exported(body);
    assert_eq!(back.spec.resources, None);
    assert_eq!(back.spec.compute, None);
    assert_eq!(back.spec.budget_policy_id, None);
    let told: Vec<&str> = back
        .omissions
        .iter()
        .filter_map(|o| Some(o.split_once(':')?.0))
        .collect();
    assert_eq!(told, ["compute.size", "resources", "budgetPolicyID"]);
}

#[test]
fn variables_are_named_and_left_out() {
    let back = exported(
        json!({"name": "a", "compute_status": {"state": "ACTIVE"}, "default_source_code_path": "/Workspace/a",
        "active_deployment": {"deployment_id": "d", "status": {"state": "SUCCEEDED"}, "command": ["run"],
            "env_vars": [{"name": "KEY", "value": "s3cret"}]}}),
    );
    let deployment = back.spec.deployment.unwrap();
    assert_eq!(
        (deployment.env, deployment.command),
        (None, Some(vec!["run".into()]))
    );
    assert!(back.omissions[0].contains("variables KEY"));
    assert!(!back.omissions[0].contains("s3cret"));
}

#[test]
fn an_app_that_runs_nothing_gets_no_source_and_a_stopped_one_keeps_its_own() {
    let with = |state: &str| {
        exported(
            json!({"name": "a", "default_source_code_path": "/Workspace/a", "compute_status": {"state": state}}),
        )
    };
    assert_eq!(with("ACTIVE").spec.source, None);
    assert!(with("ACTIVE").omissions[0].starts_with("source:"));
    let stopped = with("STOPPED");
    assert!(stopped.spec.source.is_some());
    assert_eq!(
        stopped.spec.lifecycle.unwrap().state,
        Some(RunState::Stopped)
    );
    assert_eq!(with("UPDATING").spec.lifecycle, None);
}

#[test]
fn direct_grants_are_kept_without_the_operators_own() {
    let acl: Acl = [
        ("user:operator@example.com".to_owned(), Level::CanManage),
        ("group:users".to_owned(), Level::CanUse),
        ("sp:abc".to_owned(), Level::CanManage),
    ]
    .into();
    let permissions = export(&json!({"name": "a"}), Some(&acl), &to())
        .spec
        .permissions;
    let grants = permissions.unwrap().grants;
    assert_eq!(acl::wanted_acl(&grants, IDENTITY), acl);
    assert_eq!(grants.len(), 2);
    let unread = export(&json!({"name": "a"}), None, &to());
    assert_eq!(unread.spec.permissions, None);
    assert!(unread.omissions[0].starts_with("permissions:"));
}

/// What a first pass over the exported app sees of its code.
fn code(spec: &DatabricksAppSpec) -> Option<Code> {
    let source = spec.source.as_ref()?;
    Some(Code::at(match (&source.git, &source.workspace) {
        (Some(git), _) => Origin::Git(wire::git_source(git)),
        (_, workspace) => Origin::Folder(workspace.as_ref()?.path.clone()),
    }))
}

prop_compose! {
    fn deployed()(
        path in select(vec!["/Workspace/a", "/Workspace/Users/b/c/"]),
        git in select(vec![json!(null), json!({"branch": "main"}), json!({"tag": "v1", "source_code_path": "x"}), json!({"commit": "abcdef0123"})]),
        command in prop::option::of(Just(json!(["run", "app.py"]))),
        env in subsequence(vec!["A", "B", "C"], 0..3),
        running in any::<bool>(),
    ) -> Value {
        let state = if running { "IN_PROGRESS" } else { "SUCCEEDED" };
        let env: Vec<Value> = env.iter().map(|name| json!({"name": name, "value": "s3cret"})).collect();
        let mut deployment = json!({"deployment_id": "d", "status": {"state": state}, "env_vars": env});
        match git {
            Value::Null => deployment["source_code_path"] = json!(path),
            git => deployment["git_source"] = git,
        }
        if let Some(command) = command {
            deployment["command"] = command;
        }
        deployment
    }
}

prop_compose! {
    fn remote()(
        state in select(vec!["ACTIVE", "STOPPED", "STARTING", "STOPPING", "UPDATING", "ERROR"]),
        settings in subsequence(SETTINGS.iter().map(|f| f.wire).collect::<Vec<_>>(), 0..SETTINGS.len()),
        odd in subsequence(vec!["size", "resource", "telemetry", "repository", "instances", "scopes"], 0..3),
        resources in subsequence((0..10_usize).collect::<Vec<_>>(), 1..10),
        deployment in prop::option::of((deployed(), any::<bool>())),
        default_path in prop::option::of(select(vec!["/Workspace/a", "/Users/b/c", "/Workspace/other"])),
        default_git in any::<bool>(),
        crashed in any::<bool>(),
    ) -> Value {
        let all = wire::create_body(&everything());
        let mut body = json!({"name": "sales", "id": "1", "creator": "somebody@example.com", "compute_status": {"state": state}});
        for name in settings {
            body[name] = all[name].clone();
        }
        if let Some(listed) = body.get("resources").and_then(Value::as_array).cloned() {
            body["resources"] = resources.iter().map(|n| listed[*n].clone()).collect();
        }
        for what in odd {
            match what {
                "size" => body["compute_size"] = json!("SMALL"),
                "resource" => body["resources"] = json!([{"name": "new", "quantum": {"id": "1"}}]),
                "telemetry" => body["telemetry_export_destinations"] = json!([{"s3": {}}]),
                "scopes" => {
                    body["user_api_scopes"] = Value::Null;
                    body["effective_user_api_scopes"] = json!(["sql", "iam.current-user:read"]);
                }
                "repository" => body["git_repository"] = json!({"provider": "sourceHut", "url": "https://x"}),
                _ => body["compute_min_instances"] = json!(4),
            }
        }
        if let Some(path) = default_path {
            body["default_source_code_path"] = json!(path);
        }
        if default_git {
            body["default_git_source"] = json!({"branch": "main", "git_repository": {"provider": "gitHub", "url": "https://github.com/a/b"}});
        }
        if let Some((deployment, pending)) = deployment {
            let under_way = deployment["status"]["state"] == "IN_PROGRESS";
            body[if pending && under_way { "pending_deployment" } else { "active_deployment" }] = deployment;
        }
        if crashed {
            body["app_status"] = json!({"state": "CRASHED"});
        }
        body
    }
}

prop_compose! {
    fn grants()(
        who in subsequence(vec!["user:ann@example.com", "group:Users of A", "sp:1111", "user:operator@example.com"], 0..4),
        manage in any::<bool>(),
    ) -> Acl {
        let level = if manage { Level::CanManage } else { Level::CanUse };
        who.into_iter().map(|key| (key.to_owned(), level)).collect()
    }
}

proptest! {
    #[test]
    fn export_then_plan_is_empty(body in remote(), acl in prop::option::of(grants())) {
        let Exported { spec, omissions } = export(&body, acl.as_ref(), &to());
        let said = format!("{spec:?} {omissions:?}");
        prop_assert!(!said.contains("s3cret"));
        let seen = Observed {
            app: Seen::Looked(Some(RemoteApp::read(&body))),
            acl: acl.map_or(Seen::NotLooked, Seen::Looked),
            code: Seen::Looked(code(&spec)),
            ..Observed::nothing(IDENTITY)
        };
        let inputs = Inputs {
            seen: &seen,
            memory: &AppMemory::default(),
            at: Timestamp::UNIX_EPOCH,
            scale: 1,
            wish: Wish::Live,
        };
        let foreseen = foresee(&DatabricksApp::new("sales", spec), &inputs);
        prop_assert_eq!(foreseen.changes, []);
        for refusal in foreseen.refusals {
            prop_assert!(matches!(refusal.reason, Reason::AppCrashed | Reason::ComputeFailed), "{refusal:?}");
        }
    }
}
