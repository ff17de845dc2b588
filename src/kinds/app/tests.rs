//! The planner against a model of the service: whatever the remote state, it settles, and stays settled.
#![allow(clippy::unwrap_used, clippy::panic)]
use std::collections::BTreeMap;

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::plan::{Claim, Inputs, Observed, Step, plan};
use super::spec::{
    AppMemory, DatabricksApp, DatabricksAppSpec, InFlight, InFlightStep, RecordedApp,
    RecordedDeployment,
};
use super::wire::{Acl, RemoteApp, RemoteDeployment, identity_key, read_acl};
use crate::api::management::{Adopt, Deletion};
use crate::api::names::ObjectName;
use crate::api::status::Reason;
use crate::engine::managed::Step as _;
use crate::engine::plan::{Plan, Seen, Wish};

const IDENTITY: &str = "operator@example.com";
const AT: &str = "2026-01-01T00:00:00Z";

/// A service in memory, as the contract describes it; every transition ends when the clock advances.
#[derive(Clone, Debug)]
struct Model {
    app: Option<RemoteApp>,
    acl: Acl,
    memory: AppMemory,
    ids: u32,
}

impl Model {
    fn empty() -> Self {
        Self {
            app: None,
            acl: Acl::new(),
            memory: AppMemory::default(),
            ids: 0,
        }
    }

    fn plan(&self, app: &DatabricksApp, wish: Wish) -> Plan<Step> {
        let seen = Observed {
            app: Seen::Looked(self.app.clone()),
            acl: Seen::Looked(self.acl.clone()),
            ..Observed::nothing(IDENTITY)
        };
        let at: Timestamp = AT.parse().unwrap();
        plan(
            app,
            &Inputs {
                seen: &seen,
                memory: &self.memory,
                at,
                scale: 1,
                wish,
            },
        )
    }

    fn next_id(&mut self) -> String {
        self.ids += 1;
        format!("id-{}", self.ids)
    }

    fn act(&mut self, spec: &DatabricksApp, step: &Step) {
        let id = self.next_id();
        match step {
            Step::Create { no_compute, body } => {
                assert!(self.app.is_none(), "created twice");
                let mut app = RemoteApp::read(body);
                app.name = spec.remote_name().into();
                app.id = id.clone();
                app.creator = IDENTITY.into();
                app.compute_state = if *no_compute { "STOPPED" } else { "STARTING" }.into();
                if app.compute_size.is_empty() {
                    app.compute_size = "MEDIUM".into();
                }
                self.app = Some(app);
                self.acl = [(identity_key(IDENTITY), super::spec::Level::CanManage)].into();
                self.memory.app = Some(RecordedApp {
                    id,
                    ..RecordedApp::default()
                });
            }
            Step::Grant { acl } => self.acl = acl.clone(),
            Step::Update { fields } => {
                let app = self.app.as_mut().unwrap();
                let read = RemoteApp::read(&json!(fields));
                for field in fields.keys() {
                    match *field {
                        "description" => app.description = read.description.clone(),
                        "compute_size" => app.compute_size = read.compute_size.clone(),
                        "user_api_scopes" => app.scopes = read.scopes.clone(),
                        "resources" => app.resources = read.resources.clone(),
                        other => panic!("the service has no field {other}"),
                    }
                }
            }
            Step::Start => self.compute("STOPPED", "STARTING"),
            Step::Stop => {
                self.compute("ACTIVE", "STOPPING");
                let app = self.app.as_mut().unwrap();
                (app.active, app.pending) = (None, None);
            }
            Step::Deploy { digest, body, .. } => {
                let app = self.app.as_mut().unwrap();
                assert_eq!(app.compute_state, "ACTIVE", "deployed while not active");
                assert!(app.pending.is_none(), "two deployments in flight");
                let read = |key: &str| body[key].as_array().cloned().unwrap_or_default();
                app.pending = Some(RemoteDeployment {
                    id: id.clone(),
                    state: "IN_PROGRESS".into(),
                    source_path: body["source_code_path"].as_str().unwrap().into(),
                    command: read("command")
                        .iter()
                        .map(|c| c.as_str().unwrap().into())
                        .collect(),
                    env_names: read("env_vars")
                        .iter()
                        .map(|e| e["name"].as_str().unwrap().into())
                        .collect(),
                    ..RemoteDeployment::default()
                });
                self.memory.deployment = Some(RecordedDeployment {
                    id,
                    digest: digest.clone(),
                    ..RecordedDeployment::default()
                });
            }
            Step::Delete => self.app.as_mut().unwrap().compute_state = "DELETING".into(),
        }
    }

    fn compute(&mut self, from: &str, to: &str) {
        let app = self.app.as_mut().unwrap();
        assert_eq!(app.compute_state, from);
        app.compute_state = to.into();
    }

    fn advance(&mut self) {
        let Some(app) = &mut self.app else { return };
        match app.compute_state.as_str() {
            "STARTING" | "UPDATING" => app.compute_state = "ACTIVE".into(),
            "STOPPING" => app.compute_state = "STOPPED".into(),
            "DELETING" => {
                self.app = None;
                return;
            }
            _ => {}
        }
        if let Some(mut pending) = app.pending.take() {
            pending.state = "SUCCEEDED".into();
            app.active = Some(pending);
        }
    }

    /// Rounds with steps until the plan is settled.
    fn settle(&mut self, app: &DatabricksApp, wish: Wish) -> Result<usize, Plan<Step>> {
        let mut rounds = 0;
        for _ in 0..40 {
            let next = self.plan(app, wish);
            if next.is_settled() || !next.refusals.is_empty() {
                return if next.is_settled() {
                    Ok(rounds)
                } else {
                    Err(next)
                };
            }
            if next.steps.is_empty() {
                self.advance();
            } else {
                rounds += 1;
                next.steps.iter().for_each(|step| self.act(app, step));
            }
        }
        panic!("never settles: {:?}", self.plan(app, wish));
    }
}

fn app(spec: Value) -> DatabricksApp {
    let mut whole = json!({"workspaceRef": {"name": "prod"}});
    for (key, value) in spec.as_object().unwrap() {
        whole[key] = value.clone();
    }
    let spec: DatabricksAppSpec = serde_json::from_value(whole).unwrap();
    DatabricksApp::new("sales", spec)
}

fn full() -> DatabricksApp {
    app(json!({
        "description": "Sales",
        "compute": {"size": "Large"},
        "lifecycle": {"state": "Running"},
        "source": {"workspace": {"path": "/Workspace/Shared/sales"}},
        "deployment": {"command": ["streamlit", "run", "app.py"], "env": [
            {"name": "LOG_LEVEL", "value": "info"},
            {"name": "WAREHOUSE", "valueFrom": {"resource": "warehouse"}}]},
        "permissions": {"grants": [{"principal": {"group": "users"}, "level": "CanUse"}]},
        "userAuthorization": {"scopes": ["sql"]},
        "resources": [{"name": "warehouse", "sqlWarehouse": {"id": "wh-1", "permission": "CanUse"}}],
    }))
}

fn verbs(plan: &Plan<Step>) -> Vec<&'static str> {
    plan.steps.iter().map(Step::verb).collect()
}

fn strange(name: &str, id: &str) -> RemoteApp {
    RemoteApp::read(
        &json!({"name": name, "id": id, "creator": "stranger@example.com",
        "compute_status": {"state": "ACTIVE"}}),
    )
}

#[test]
fn a_new_running_app_takes_one_creation_one_grant_and_one_deployment() {
    let (spec, mut model) = (full(), Model::empty());
    let mut writes = Vec::new();
    for _ in 0..20 {
        let next = model.plan(&spec, Wish::Live);
        if next.is_settled() {
            break;
        }
        writes.extend(verbs(&next));
        next.steps.iter().for_each(|s| model.act(&spec, s));
        if next.steps.is_empty() {
            model.advance();
        }
    }
    assert_eq!(writes, ["create", "grant", "deploy"]);
}

#[test]
fn a_stopped_app_without_source_takes_a_creation_without_compute_and_a_grant() {
    let spec = app(json!({"lifecycle": {"state": "Stopped"},
        "permissions": {"grants": [{"principal": {"group": "users"}, "level": "CanUse"}]}}));
    let mut model = Model::empty();
    let first = model.plan(&spec, Wish::Live);
    assert!(matches!(
        first.steps[..],
        [Step::Create {
            no_compute: true,
            ..
        }]
    ));
    assert_eq!(model.settle(&spec, Wish::Live).unwrap(), 2);
}

#[test]
fn an_app_of_a_strangers_is_never_written_and_never_deleted() {
    let spec = full();
    let mut model = Model {
        app: Some(strange("sales", "other")),
        ..Model::empty()
    };
    let refused = model.plan(&spec, Wish::Live);
    assert_eq!(refused.refusals[0].reason, Reason::NameConflict);
    assert!(refused.refusals[0].message.contains("stranger@example.com"));
    assert!(refused.steps.is_empty() && model.plan(&spec, Wish::Deleting).is_settled());
    model.memory.app = Some(RecordedApp {
        id: "ours".into(),
        ..RecordedApp::default()
    });
    let replaced = model.plan(&spec, Wish::Live);
    assert_eq!(replaced.refusals[0].reason, Reason::RemoteReplaced);
    assert!(replaced.steps.is_empty() && model.plan(&spec, Wish::Deleting).is_settled());
}

#[test]
fn a_lost_answer_to_create_does_not_make_a_stranger_of_our_own_app() {
    let (spec, mut model) = (full(), Model::empty());
    let create = model.plan(&spec, Wish::Live).steps.remove(0);
    model.memory.in_flight = Some(InFlight {
        step: InFlightStep::Create,
        digest: String::new(),
        last_deployment_id: String::new(),
        since: AT.into(),
    });
    model.act(&spec, &create);
    model.memory.app = None;
    assert!(model.plan(&spec, Wish::Live).refusals.is_empty());
    assert_eq!(verbs(&model.plan(&spec, Wish::Live)), ["grant"]);
}

#[test]
fn a_lost_answer_to_deploy_does_not_deploy_twice() {
    let (spec, mut model) = (full(), Model::empty());
    model.settle(&spec, Wish::Live).unwrap();
    let known = model.memory.deployment.take().unwrap();
    assert_eq!(verbs(&model.plan(&spec, Wish::Live)), ["deploy"]);
    model.memory.in_flight = Some(InFlight {
        step: InFlightStep::Deploy,
        digest: known.digest,
        last_deployment_id: String::new(),
        since: AT.into(),
    });
    assert!(model.plan(&spec, Wish::Live).is_settled());
}

#[test]
fn a_name_that_is_still_being_deleted_is_waited_for() {
    let mut leaving = strange("sales", "old");
    leaving.compute_state = "DELETING".into();
    let mut model = Model {
        app: Some(leaving),
        ..Model::empty()
    };
    let spec = full();
    let waiting = model.plan(&spec, Wish::Live);
    assert_eq!(waiting.wait.unwrap().reason, Reason::WaitingForName);
    model.settle(&spec, Wish::Live).unwrap();
}

#[test]
fn of_two_objects_that_declare_one_app_the_second_names_the_first() {
    let spec = full();
    let memory = AppMemory::default();
    let seen = |deleting| Observed {
        app: Seen::Looked(None),
        claim: Claim::Lost {
            winner: ObjectName::new("a", "first"),
            deleting,
        },
        ..Observed::nothing(IDENTITY)
    };
    let decide = |seen: &Observed| {
        let at = AT.parse().unwrap();
        plan(
            &spec,
            &Inputs {
                seen,
                memory: &memory,
                at,
                scale: 1,
                wish: Wish::Live,
            },
        )
    };
    assert!(decide(&seen(false)).refusals[0].message.contains("a/first"));
    assert_eq!(
        decide(&seen(true)).wait.unwrap().reason,
        Reason::WaitingForName
    );
}

#[test]
fn drift_is_repaired_with_a_mask_of_what_differs_alone() {
    let (spec, mut model) = (full(), Model::empty());
    model.settle(&spec, Wish::Live).unwrap();
    model.app.as_mut().unwrap().description = "changed".into();
    let repair = model.plan(&spec, Wish::Live);
    assert_eq!(repair.steps[0].to_string(), "update description");
    assert_eq!(repair.steps.len(), 1);
}

#[test]
fn a_strangers_grant_is_removed_although_a_setting_is_refused() {
    let (spec, mut model) = (full(), Model::empty());
    model.settle(&spec, Wish::Live).unwrap();
    model.acl.insert(
        "user:stranger@example.com".into(),
        super::spec::Level::CanManage,
    );
    model.app.as_mut().unwrap().description = "changed".into();
    assert_eq!(verbs(&model.plan(&spec, Wish::Live)), ["grant", "update"]);
}

#[test]
fn inherited_grants_and_admins_are_nobodys_drift() {
    let acl = read_acl(&json!({"access_control_list": [
        {"group_name": "admins", "all_permissions": [{"permission_level": "CAN_MANAGE"}]},
        {"group_name": "ops", "all_permissions": [{"permission_level": "CAN_MANAGE", "inherited": true}]},
        {"user_name": "A@x", "all_permissions": [{"permission_level": "CAN_USE", "inherited": false}]}]}));
    assert_eq!(
        acl,
        BTreeMap::from([("user:a@x".to_owned(), super::spec::Level::CanUse)])
    );
}

#[test]
fn deletion_orphan_leaves_the_app_alone_and_stop_only_stops_it() {
    for (deletion, expected) in [
        (Deletion::Orphan, vec![]),
        (Deletion::Stop, vec!["stop"]),
        (Deletion::Delete, vec!["delete"]),
    ] {
        let (mut spec, mut model) = (full(), Model::empty());
        model.settle(&spec, Wish::Live).unwrap();
        spec.spec.management = Some(super::spec::Management {
            adopt: Adopt::Never,
            deletion,
        });
        assert_eq!(verbs(&model.plan(&spec, Wish::Deleting)), expected);
        model.settle(&spec, Wish::Deleting).unwrap();
        assert_eq!(model.app.is_none(), deletion == Deletion::Delete);
    }
}

prop_compose! {
    fn remote_state()(
        compute in prop::sample::select(vec!["ACTIVE", "STOPPED", "STARTING", "STOPPING", "UPDATING", "DELETING"]),
        description in "[a-z]{0,3}",
        size in prop::sample::select(vec!["MEDIUM", "LARGE", "XLARGE"]),
        scopes in prop::collection::btree_set(prop::sample::select(vec!["sql", "files.files"]), 0..3),
        deployed in any::<Option<bool>>(),
        stranger in any::<bool>(),
        recorded in any::<bool>(),
    ) -> Model {
        let mut model = Model::empty();
        let mut app = RemoteApp::read(&json!({"name": "sales", "id": "remote", "creator": IDENTITY,
            "description": description, "compute_size": size,
            "user_api_scopes": scopes, "compute_status": {"state": compute}}));
        let deployment = RemoteDeployment { id: "d".into(), state: "SUCCEEDED".into(), ..RemoteDeployment::default() };
        match deployed {
            Some(true) => app.active = Some(deployment),
            Some(false) => app.pending = Some(RemoteDeployment { state: "IN_PROGRESS".into(), ..deployment }),
            None => {}
        }
        if stranger {
            model.acl.insert("user:stranger@example.com".into(), super::spec::Level::CanManage);
        }
        if recorded {
            model.memory.app = Some(RecordedApp { id: "remote".into(), ..RecordedApp::default() });
        }
        model.app = Some(app);
        model
    }
}

proptest! {
    #[test]
    fn converges_from_any_remote_state_and_stays_settled(mut model in remote_state(), running in any::<Option<bool>>()) {
        let mut spec = full();
        spec.spec.management = Some(super::spec::Management { adopt: Adopt::Always, deletion: Deletion::Delete });
        spec.spec.lifecycle = running.map(|r| super::spec::Lifecycle {
            state: Some(if r { super::spec::RunState::Running } else { super::spec::RunState::Stopped }),
        });
        if model.memory.app.is_none() {
            model.memory.app = Some(RecordedApp { id: "older".into(), ..RecordedApp::default() });
        }
        let rounds = model.settle(&spec, Wish::Live);
        prop_assert!(matches!(rounds, Ok(0..=6)), "{rounds:?}");
        prop_assert!(model.plan(&spec, Wish::Live).is_settled());
        model.memory.app = Some(RecordedApp { id: model.app.as_ref().unwrap().id.clone(), ..RecordedApp::default() });
        prop_assert!(model.settle(&spec, Wish::Deleting).is_ok());
        prop_assert!(model.app.is_none());
    }

    #[test]
    fn an_answer_of_any_shape_never_panics_and_never_plans_a_delete(text in "\\PC{0,80}", n in any::<i64>()) {
        let shapes = [json!(text), json!(n), json!([n]), json!({"id": n, "name": [text.clone()], "resources": {"a": n},
            "compute_status": text.clone(), "active_deployment": [n]}), json!({"compute_status": {"state": text}})];
        for shape in shapes {
            let model = Model { app: Some(RemoteApp::read(&shape)), ..Model::empty() };
            for wish in [Wish::Live, Wish::Deleting] {
                prop_assert!(!verbs(&model.plan(&full(), wish)).contains(&"delete"));
            }
        }
    }
}
