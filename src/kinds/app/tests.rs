//! The planner against a model of the service: whatever the remote state, it settles, and stays settled.
#![allow(clippy::unwrap_used, clippy::panic)]
use std::collections::BTreeMap;

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::acl::{read_acl, wanted_acl};
use super::code::{Code, Origin};
use super::fields;
use super::model::{Model, foresee};
use super::plan::{Claim, Inputs, Observed, Refused, Step, needs_confirmation, plan};
use super::spec::{
    AppMemory, DatabricksApp, DatabricksAppSpec, Grant, InFlight, InFlightStep, Level, RecordedApp,
};
use super::wire::{self, RemoteApp};
use crate::api::annotation;
use crate::api::management::Deletion;
use crate::api::names::ObjectName;
use crate::api::status::Reason;
use crate::engine::managed::Step as _;
use crate::engine::plan::{Fate, Plan, Seen, Wish};

const IDENTITY: &str = "operator@example.com";
const AT: &str = "2026-01-01T00:00:00Z";

/// The model of the service, and what a pass over it sees.
#[derive(Clone, Debug)]
struct Bench {
    model: Model,
    seen: Observed,
}

fn at() -> Timestamp {
    AT.parse().unwrap()
}

/// What a pass that looked at everything knows of the code.
fn code(app: &DatabricksApp) -> Option<Code> {
    let source = app.spec.source.as_ref()?;
    Some(Code::at(match (&source.git, &source.workspace) {
        (Some(git), _) => Origin::Git(wire::git_source(git)),
        (_, workspace) => Origin::Folder(workspace.as_ref()?.path.clone()),
    }))
}

impl Bench {
    fn with(app: &DatabricksApp, remote: Option<RemoteApp>) -> Self {
        let seen = Observed {
            app: Seen::Looked(remote),
            acl: Seen::Looked(BTreeMap::new()),
            code: Seen::Looked(code(app)),
            ..Observed::nothing(IDENTITY)
        };
        Self {
            model: Model::new(&seen, &AppMemory::default()),
            seen,
        }
    }

    fn empty(app: &DatabricksApp) -> Self {
        Self::with(app, None)
    }

    /// Decides on the model as it is now.
    fn decide<T>(
        &self,
        app: &DatabricksApp,
        wish: Wish,
        use_it: impl FnOnce(&Inputs<'_>, Plan<Step>) -> T,
    ) -> T {
        let mut seen = self.model.seen(&self.seen, app);
        seen.code = Seen::Looked(code(app));
        let inputs = Inputs {
            seen: &seen,
            memory: &self.model.memory,
            at: at(),
            scale: 1,
            wish,
        };
        let next = plan(app, &inputs);
        use_it(&inputs, next)
    }

    fn plan(&self, app: &DatabricksApp, wish: Wish) -> Plan<Step> {
        self.decide(app, wish, |_, plan| plan)
    }

    fn act(&mut self, app: &DatabricksApp, wish: Wish) -> Plan<Step> {
        let before = self.clone();
        before.decide(app, wish, |inputs, plan| {
            self.model.act(app, inputs, &plan);
            plan
        })
    }

    /// Rounds with steps until the plan is settled, and the verbs of all steps; or what is refused.
    fn settle(
        &mut self,
        app: &DatabricksApp,
        wish: Wish,
    ) -> Result<(usize, Vec<&'static str>), Plan<Step>> {
        let (mut rounds, mut verbs) = (0, Vec::new());
        for _ in 0..60 {
            let next = self.act(app, wish);
            if next.steps.is_empty() && next.wait.is_none() {
                return if next.refusals.is_empty() {
                    Ok((rounds, verbs))
                } else {
                    Err(next)
                };
            }
            if next.steps.is_empty() {
                self.model.advance();
            } else {
                rounds += 1;
                verbs.extend(self::verbs(&next));
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
    let spec = full();
    let (_, verbs) = Bench::empty(&spec).settle(&spec, Wish::Live).unwrap();
    assert_eq!(verbs, ["create", "grant", "deploy"]);
}

#[test]
fn a_stopped_app_without_source_takes_a_creation_without_compute_and_a_grant() {
    let spec = app(json!({"lifecycle": {"state": "Stopped"},
        "permissions": {"grants": [{"principal": {"group": "users"}, "level": "CanUse"}]}}));
    let mut bench = Bench::empty(&spec);
    let first = bench.plan(&spec, Wish::Live);
    assert!(matches!(
        first.steps[..],
        [Step::Create {
            no_compute: true,
            ..
        }]
    ));
    assert_eq!(
        bench.settle(&spec, Wish::Live).unwrap().1,
        ["create", "grant"]
    );
}

#[test]
fn an_app_of_a_strangers_is_never_written_and_never_deleted() {
    let spec = full();
    let mut bench = Bench::with(&spec, Some(strange("sales", "other")));
    let refused = bench.plan(&spec, Wish::Live);
    assert_eq!(refused.refusals[0].reason, Reason::NameConflict);
    assert!(refused.refusals[0].message.contains("stranger@example.com"));
    assert!(refused.steps.is_empty() && bench.plan(&spec, Wish::Deleting).is_settled());
    bench.model.memory.app = Some(RecordedApp {
        id: "ours".into(),
        ..RecordedApp::default()
    });
    let replaced = bench.plan(&spec, Wish::Live);
    assert_eq!(replaced.refusals[0].reason, Reason::RemoteReplaced);
    assert!(replaced.steps.is_empty() && bench.plan(&spec, Wish::Deleting).is_settled());
}

fn in_flight(step: InFlightStep, digest: String) -> Option<InFlight> {
    Some(InFlight {
        step,
        digest,
        last_deployment_id: String::new(),
        rejected: None,
        since: AT.into(),
    })
}

#[test]
fn a_lost_answer_to_create_does_not_make_a_stranger_of_our_own_app() {
    let spec = full();
    let mut bench = Bench::empty(&spec);
    bench.act(&spec, Wish::Live);
    bench.model.memory = AppMemory {
        in_flight: in_flight(InFlightStep::Create, String::new()),
        ..AppMemory::default()
    };
    let next = bench.plan(&spec, Wish::Live);
    assert!(next.refusals.is_empty());
    assert_eq!(verbs(&next), ["grant"]);
}

#[test]
fn an_app_whose_creation_was_in_flight_is_recorded_before_its_deployment_is_written_ahead() {
    let spec = full();
    let mut bench = Bench::empty(&spec);
    bench.act(&spec, Wish::Live);
    // Meanwhile its compute came up.
    bench.model.app.as_mut().unwrap().compute_state = "ACTIVE".into();
    bench.model.memory = AppMemory {
        in_flight: in_flight(InFlightStep::Create, String::new()),
        ..AppMemory::default()
    };
    let next = bench.act(&spec, Wish::Live);
    assert_eq!(verbs(&next), ["grant"]);
    assert!(next.wait.is_some() && bench.model.memory.app.is_some());
    assert_eq!(bench.settle(&spec, Wish::Live).unwrap().1, ["deploy"]);
}

#[test]
fn a_lost_answer_to_deploy_does_not_deploy_twice() {
    let spec = full();
    let mut bench = Bench::empty(&spec);
    bench.settle(&spec, Wish::Live).unwrap();
    let known = bench.model.memory.deployment.as_mut().unwrap();
    known.id = "older".into();
    let digest = std::mem::replace(&mut known.digest, "older".into());
    assert_eq!(verbs(&bench.plan(&spec, Wish::Live)), ["deploy"]);
    bench.model.memory.in_flight = in_flight(InFlightStep::Deploy, digest);
    assert!(bench.plan(&spec, Wish::Live).is_settled());
}

#[test]
fn a_name_that_is_still_being_deleted_is_waited_for() {
    let mut leaving = strange("sales", "old");
    leaving.compute_state = "DELETING".into();
    let spec = full();
    let mut bench = Bench::with(&spec, Some(leaving));
    let waiting = bench.plan(&spec, Wish::Live);
    assert_eq!(waiting.wait.unwrap().reason, Reason::WaitingForName);
    bench.settle(&spec, Wish::Live).unwrap();
}

#[test]
fn of_two_objects_that_declare_one_app_the_second_names_the_first() {
    let spec = full();
    let mut bench = Bench::empty(&spec);
    let mut lose = |deleting| {
        let winner = ObjectName::new("a", "first");
        bench.seen.claim = Claim::Lost {
            winner,
            deleting,
            holds: false,
        };
        bench.plan(&spec, Wish::Live)
    };
    assert!(lose(false).refusals[0].message.contains("a/first"));
    assert_eq!(lose(true).wait.unwrap().reason, Reason::WaitingForName);
}

#[test]
fn an_app_that_another_object_goes_on_managing_outlives_the_deletion_of_this_one() {
    let spec = full();
    let mut bench = Bench::empty(&spec);
    bench.settle(&spec, Wish::Live).unwrap();
    let mut lose = |holds, deleting| {
        bench.seen.claim = Claim::Lost {
            winner: ObjectName::new("a", "first"),
            deleting,
            holds,
        };
        bench.plan(&spec, Wish::Deleting).steps.len()
    };
    assert_eq!(lose(true, false), 0);
    assert_eq!(lose(true, true), 1);
    assert_eq!(lose(false, false), 1);
}

#[test]
fn drift_is_repaired_with_a_mask_of_what_differs_alone() {
    let spec = full();
    let mut bench = Bench::empty(&spec);
    bench.settle(&spec, Wish::Live).unwrap();
    set(&mut bench, "description", json!("changed"));
    let repair = bench.plan(&spec, Wish::Live);
    assert_eq!(repair.steps[0].to_string(), "update description");
    assert_eq!(repair.steps.len(), 1);
}

fn set(bench: &mut Bench, field: &str, value: Value) {
    let settings = fields::read(&json!({ field: value }));
    bench.model.app.as_mut().unwrap().settings.extend(settings);
}

#[test]
fn drift_that_the_spec_ignores_stays() {
    let mut spec = full();
    let mut bench = Bench::empty(&spec);
    bench.settle(&spec, Wish::Live).unwrap();
    set(&mut bench, "description", json!("changed"));
    spec.spec.management = manage(json!({"ignoreDrift": ["description"]}));
    assert!(bench.plan(&spec, Wish::Live).is_settled());
    set(&mut bench, "compute_size", json!("MEDIUM"));
    assert_eq!(verbs(&bench.plan(&spec, Wish::Live)), ["update"]);
}

#[test]
fn a_space_that_differs_is_refused_while_everything_else_goes_on() {
    let mut spec = full();
    let mut bench = Bench::empty(&spec);
    bench.settle(&spec, Wish::Live).unwrap();
    spec.spec.space = Some("finance".into());
    spec.spec.description = Some("New".into());
    let next = bench.plan(&spec, Wish::Live);
    assert_eq!(next.steps[0].to_string(), "update description");
    assert_eq!(next.refusals[0].reason, Reason::ImmutableField);
    assert!(next.refusals[0].message.contains("spec.space"));
}

#[test]
fn a_full_workspace_is_refused_before_the_call() {
    let spec = full();
    let mut bench = Bench::empty(&spec);
    bench.seen.full = Some("full".into());
    let next = bench.plan(&spec, Wish::Live);
    assert!(next.steps.is_empty());
    assert_eq!(next.refusals[0].reason, Reason::QuotaExceeded);
}

#[test]
fn a_strangers_grant_is_removed_although_a_setting_is_refused() {
    let spec = full();
    let mut bench = Bench::empty(&spec);
    bench.settle(&spec, Wish::Live).unwrap();
    let stranger = "user:stranger@example.com".to_owned();
    bench.model.acl.insert(stranger, Level::CanManage);
    set(&mut bench, "description", json!("changed"));
    assert_eq!(verbs(&bench.plan(&spec, Wish::Live)), ["grant", "update"]);
    let update = bench.plan(&spec, Wish::Live).steps.remove(1);
    let refused = Refused {
        digest: update.digest(),
        reason: Reason::UpdateRefused,
        message: String::new(),
        fate: Fate::Stalled { recheck: None },
    };
    bench.seen.refused.insert("update", refused);
    let next = bench.plan(&spec, Wish::Live);
    assert_eq!(
        (verbs(&next), next.refusals[0].reason),
        (vec!["grant"], Reason::UpdateRefused)
    );
}

#[test]
fn additive_grants_raise_what_is_missing_and_remove_nobody() {
    let mut spec = full();
    let mut bench = Bench::empty(&spec);
    bench.settle(&spec, Wish::Live).unwrap();
    let stranger = "user:stranger@example.com".to_owned();
    bench.model.acl.insert(stranger.clone(), Level::CanManage);
    let permissions = |mode: &str, level: &str| {
        let grants = json!([{"principal": {"group": "users"}, "level": level}]);
        serde_json::from_value(json!({"mode": mode, "grants": grants})).unwrap()
    };
    spec.spec.permissions = Some(permissions("Additive", "CanUse"));
    assert!(bench.plan(&spec, Wish::Live).is_settled());
    spec.spec.permissions = Some(permissions("Additive", "CanManage"));
    let next = bench.plan(&spec, Wish::Live);
    let Step::Grant {
        acl,
        replace: false,
    } = &next.steps[0]
    else {
        panic!("{next:?}");
    };
    assert_eq!(acl.keys().collect::<Vec<_>>(), ["group:users"]);
    bench.settle(&spec, Wish::Live).unwrap();
    assert_eq!(bench.model.acl.get(&stranger), Some(&Level::CanManage));
    spec.spec.permissions = Some(permissions("Observe", "CanUse"));
    assert!(bench.plan(&spec, Wish::Live).is_settled());
}

#[test]
fn inherited_grants_and_admins_are_nobodys_drift() {
    let acl = read_acl(&json!({"access_control_list": [
        {"group_name": "admins", "all_permissions": [{"permission_level": "CAN_MANAGE"}]},
        {"group_name": "ops", "all_permissions": [{"permission_level": "CAN_MANAGE", "inherited": true}]},
        {"user_name": "A@x", "all_permissions": [{"permission_level": "CAN_USE", "inherited": false}]}]}));
    assert_eq!(
        acl,
        BTreeMap::from([("user:a@x".to_owned(), Level::CanUse)])
    );
}

#[test]
fn a_grant_to_admins_changes_nothing_as_they_manage_every_app() {
    let grants = json!([
        {"principal": {"group": "admins"}, "level": "CanManage"},
        {"principal": {"group": "users"}, "level": "CanUse"},
    ]);
    let grants: Vec<Grant> = serde_json::from_value(grants).unwrap();
    let want = wanted_acl(&grants, "operator@x");
    assert_eq!(
        want.keys().collect::<Vec<_>>(),
        ["group:users", "user:operator@x"]
    );
}

#[test]
fn changed_scopes_are_sent_and_take_effect_by_one_stop_and_one_start() {
    let mut spec = full();
    let mut bench = Bench::empty(&spec);
    bench.settle(&spec, Wish::Live).unwrap();
    spec.spec.user_authorization = authorization(json!({"scopes": ["sql", "files.files"]}));
    let (_, verbs) = bench.settle(&spec, Wish::Live).unwrap();
    assert_eq!(&verbs[..3], ["update", "restart", "start"]);
    assert!(bench.plan(&spec, Wish::Live).is_settled());
    spec.spec.user_authorization = authorization(json!({"scopes": [], "restart": "Never"}));
    assert_eq!(bench.settle(&spec, Wish::Live).unwrap().1, ["update"]);
}

#[test]
fn a_restart_under_a_run_state_that_nobody_manages_starts_the_app_again() {
    let mut spec = full();
    spec.spec.lifecycle = None;
    let mut bench = Bench::empty(&spec);
    bench.settle(&spec, Wish::Live).unwrap();
    annotate(&mut spec, annotation::RESTART_REQUESTED_AT, "now");
    let (_, verbs) = bench.settle(&spec, Wish::Live).unwrap();
    assert_eq!(&verbs[..2], ["restart", "start"]);
    assert_eq!(bench.model.app.as_ref().unwrap().compute_state, "ACTIVE");
    assert!(bench.plan(&spec, Wish::Live).is_settled());
}

fn authorization(value: Value) -> Option<super::spec::UserAuthorization> {
    Some(serde_json::from_value(value).unwrap())
}

fn manage(value: Value) -> Option<super::spec::Management> {
    Some(serde_json::from_value(value).unwrap())
}

fn annotate(app: &mut DatabricksApp, key: &str, value: &str) {
    let annotations = app.metadata.annotations.get_or_insert_default();
    annotations.insert(key.into(), value.into());
}

#[test]
fn the_run_state_annotation_overrides_the_spec_alone() {
    let mut spec = full();
    let mut bench = Bench::empty(&spec);
    bench.settle(&spec, Wish::Live).unwrap();
    annotate(&mut spec, annotation::RUN_STATE, "Stopped");
    spec.spec.description = Some("New".into());
    assert_eq!(
        bench.settle(&spec, Wish::Live).unwrap().1,
        ["update", "stop"]
    );
    spec.metadata.annotations = None;
    assert_eq!(bench.settle(&spec, Wish::Live).unwrap().1[0], "start");
}

#[test]
fn a_deployment_that_would_take_variables_away_is_refused_until_the_spec_says_so() {
    let mut spec = app(json!({"source": {"workspace": {"path": "/Workspace/new"}},
        "management": {"adopt": "Always"}}));
    let mut remote = strange("sales", "other");
    remote.active = wire::deployment(
        &json!({"deployment_id": "d", "source_code_path": "/Workspace/old",
        "status": {"state": "SUCCEEDED"}, "env_vars": [{"name": "A"}, {"name": "B"}]}),
    );
    let bench = Bench::with(&spec, Some(remote));
    let env = |spec: &mut DatabricksApp, env: Value| {
        spec.spec.deployment = Some(serde_json::from_value(json!({ "env": env })).unwrap());
    };
    assert_eq!(
        bench.plan(&spec, Wish::Live).refusals[0].reason,
        Reason::EnvWouldBeLost
    );
    env(&mut spec, json!([{"name": "A", "value": "1"}]));
    let refused = bench.plan(&spec, Wish::Live);
    assert!(
        refused.refusals[0].message.contains("variables B,"),
        "{refused:?}"
    );
    env(
        &mut spec,
        json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]),
    );
    assert_eq!(verbs(&bench.plan(&spec, Wish::Live)), ["deploy"]);
    env(&mut spec, json!([]));
    assert_eq!(verbs(&bench.plan(&spec, Wish::Live)), ["deploy"]);
}

#[test]
fn what_cannot_be_read_of_an_adopted_app_counts_as_the_same() {
    let spec = app(
        json!({"source": {"workspace": {"path": "/Workspace/sales"}},
        "management": {"adopt": "IfUnowned"}}),
    );
    let mut remote = strange("sales", "other");
    remote.source_path = "/Workspace/sales".into();
    remote.active = wire::deployment(
        &json!({"deployment_id": "d", "status": {"state": "SUCCEEDED"},
        "command": ["run"], "env_vars": [{"name": "A"}]}),
    );
    let mut bench = Bench::with(&spec, Some(remote));
    assert_eq!(bench.settle(&spec, Wish::Live).unwrap().1, [""; 0]);
    assert_eq!(bench.model.memory.deployment.as_ref().unwrap().id, "d");
}

#[test]
fn what_an_adopted_apps_object_carries_was_not_asked_of_us_and_the_app_is_looked_at_whole() {
    let mut spec = app(
        json!({"source": {"workspace": {"path": "/Workspace/sales"}}, "description": "Sales",
        "management": {"adopt": "IfUnowned"}}),
    );
    annotate(&mut spec, annotation::REDEPLOY_REQUESTED_AT, "before");
    annotate(&mut spec, annotation::RESTART_REQUESTED_AT, "before");
    let mut remote = strange("sales", "other");
    remote.active = wire::deployment(
        &json!({"deployment_id": "d", "status": {"state": "SUCCEEDED"}, "source_code_path": "/Workspace/sales"}),
    );
    let mut bench = Bench::with(&spec, Some(remote));
    bench.decide(&spec, Wish::Live, |inputs, plan| {
        assert_eq!(verbs(&plan), ["update"]);
        assert!(needs_confirmation(&spec, inputs, &plan, true));
    });
    set(&mut bench, "description", json!("Sales"));
    assert!(bench.plan(&spec, Wish::Live).is_settled());
}

#[test]
fn a_crash_of_new_code_goes_back_to_the_commit_that_ran_until_the_spec_changes() {
    let source = |commit: &str| {
        let git = json!({"url": "https://github.com/a/b", "provider": "GitHub", "ref": {"commit": commit}});
        app(
            json!({"lifecycle": {"state": "Running"}, "source": {"git": git},
            "deployment": {"rollback": "OnFailure"}}),
        )
    };
    let (good, bad) = (source("aaaaaaaa"), source("bbbbbbbb"));
    let mut bench = Bench::empty(&good);
    bench.settle(&good, Wish::Live).unwrap();
    bench.model.app.as_mut().unwrap().app_state = "RUNNING".into();
    bench.seen.shown = super::plan::Shown::Now;
    bench.act(&good, Wish::Live);
    assert!(
        bench
            .model
            .memory
            .deployment
            .as_ref()
            .unwrap()
            .last_good
            .is_none(),
        "it just started"
    );
    bench.model.memory.deployment.as_mut().unwrap().since = "2025-12-31T23:55:00Z".into();
    bench.act(&good, Wish::Live);
    assert_eq!(
        bench
            .model
            .memory
            .deployment
            .as_ref()
            .unwrap()
            .last_good
            .as_ref()
            .unwrap()
            .commit,
        "aaaaaaaa"
    );
    bench.model.app.as_mut().unwrap().app_state.clear();
    bench.settle(&bad, Wish::Live).unwrap();
    let crash = |bench: &mut Bench| {
        let app = bench.model.app.as_mut().unwrap();
        app.app_state = "CRASHED".into();
        app.app_message = "exit 1".into();
    };
    crash(&mut bench);
    let refused = bench.settle(&bad, Wish::Live).unwrap_err();
    assert_eq!(refused.refusals[0].reason, Reason::RolledBack);
    let active = bench.model.app.as_ref().unwrap().active.as_ref().unwrap();
    assert_eq!(active.git["commit"], "aaaaaaaa");
    bench.model.app.as_mut().unwrap().app_state = "RUNNING".into();
    assert_eq!(
        bench.settle(&good, Wish::Live).unwrap().1,
        [""; 0],
        "the good code runs already"
    );
    crash(&mut bench);
    let crashed = bench.settle(&good, Wish::Live).unwrap_err();
    assert_eq!(crashed.refusals[0].reason, Reason::RollbackUnavailable);
}

#[test]
fn a_deployment_beyond_its_deadline_is_stalled_and_still_looked_at() {
    let spec = app(json!({"lifecycle": {"state": "Running"},
        "source": {"workspace": {"path": "/Workspace/sales"}}, "deployment": {"deadline": "5m"}}));
    let mut bench = Bench::empty(&spec);
    bench.act(&spec, Wish::Live);
    bench.act(&spec, Wish::Live);
    assert_eq!(
        bench.model.memory.pending_since.as_deref(),
        Some(at().to_string().as_str())
    );
    assert_eq!(
        bench.plan(&spec, Wish::Live).wait.unwrap().reason,
        Reason::Starting
    );
    bench.model.memory.pending_since = Some("2025-12-31T23:54:59Z".into());
    let late = bench.plan(&spec, Wish::Live);
    assert_eq!(late.refusals[0].reason, Reason::DeadlineExceeded);
    assert_eq!(
        late.wake_at, None,
        "a pass that wakes itself at once never ends"
    );
    bench.model.advance();
    bench.settle(&spec, Wish::Live).unwrap();
    assert_eq!(bench.model.memory.pending_since, None);
}

#[test]
fn deletion_orphan_leaves_the_app_alone_and_stop_only_stops_it() {
    for (deletion, expected) in [
        (Deletion::Orphan, vec![]),
        (Deletion::Stop, vec!["stop"]),
        (Deletion::Delete, vec!["delete"]),
    ] {
        let mut spec = full();
        let mut bench = Bench::empty(&spec);
        bench.settle(&spec, Wish::Live).unwrap();
        spec.spec.management = manage(json!({ "deletion": deletion }));
        assert_eq!(verbs(&bench.plan(&spec, Wish::Deleting)), expected);
        bench.settle(&spec, Wish::Deleting).unwrap();
        assert_eq!(bench.model.app.is_none(), deletion == Deletion::Delete);
    }
}

#[test]
fn what_would_be_written_is_foreseen_to_the_end_and_shows_no_value_of_a_variable() {
    let mut spec = full();
    let env = json!({"env": [{"name": "KEY", "value": "s3cret-value"}]});
    spec.spec.deployment = Some(serde_json::from_value(env).unwrap());
    let bench = Bench::empty(&spec);
    let changes = bench.decide(&spec, Wish::Live, |inputs, _| {
        foresee(&spec, inputs).changes
    });
    let steps: std::collections::BTreeSet<&str> = changes.iter().map(|c| c.step.as_str()).collect();
    assert_eq!(
        steps.into_iter().collect::<Vec<_>>(),
        ["create", "deploy", "grant"]
    );
    assert!(!format!("{changes:?}").contains("s3cret-value"));
    assert!(
        changes
            .iter()
            .any(|c| c.field == "compute.size" && c.to == "LARGE")
    );
}

prop_compose! {
    fn remote_state()(
        compute in prop::sample::select(vec!["ACTIVE", "STOPPED", "STARTING", "STOPPING", "UPDATING", "DELETING"]),
        description in "[a-z]{0,3}",
        size in prop::sample::select(vec!["MEDIUM", "LARGE", "XLARGE"]),
        instances in any::<Option<(u8, u8)>>(),
        forward in any::<bool>(),
        policy in "[a-z]{0,2}",
        scopes in prop::collection::btree_set(prop::sample::select(vec!["sql", "files.files"]), 0..3),
        deployed in any::<Option<bool>>(),
        crashed in any::<bool>(),
    ) -> RemoteApp {
        let mut body = json!({"name": "sales", "id": "remote", "creator": IDENTITY,
            "description": description, "compute_size": size, "usage_policy_id": policy,
            "forward_user_access_token": forward,
            "user_api_scopes": scopes, "compute_status": {"state": compute}});
        if let Some((min, max)) = instances {
            body["compute_min_instances"] = json!(min);
            body["compute_max_instances"] = json!(max);
        }
        let deployment = |state: &str| json!({"deployment_id": "d", "status": {"state": state}});
        match deployed {
            Some(true) => body["active_deployment"] = deployment("SUCCEEDED"),
            Some(false) => body["pending_deployment"] = deployment("IN_PROGRESS"),
            None => {}
        }
        if crashed {
            body["app_status"] = json!({"state": "CRASHED"});
        }
        RemoteApp::read(&body)
    }
}

prop_compose! {
    fn spec()(
        description in prop::option::of("[a-z]{0,3}"),
        size in prop::option::of(prop::sample::select(vec!["Medium", "Large", "XLarge"])),
        instances in prop::option::of((1..3_i32, 3..5_i32)),
        state in prop::option::of(prop::sample::select(vec!["Running", "Stopped"])),
        source in 0..3_u8,
        env in prop::option::of(prop::collection::btree_set("[A-C]", 0..3)),
        mode in prop::sample::select(vec!["Authoritative", "Additive", "Observe"]),
        grants in prop::option::of(prop::collection::vec(("[a-c]", any::<bool>()), 0..4)),
        scopes in prop::option::of(prop::collection::btree_set(prop::sample::select(vec!["sql", "files.files"]), 0..3)),
        forward in any::<Option<bool>>(),
        never in any::<bool>(),
        policy in prop::option::of("[a-z]{1,2}"),
    ) -> DatabricksApp {
        let mut whole = json!({"management": {"adopt": "Always"}});
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                whole[key] = value;
            }
        };
        put("description", description.map(|d| json!(d)));
        put("compute", Some(match (size, instances) {
            (Some(size), Some((min, max))) => json!({"size": size, "minInstances": min, "maxInstances": max}),
            (Some(size), None) => json!({"size": size}),
            (None, Some((min, max))) => json!({"minInstances": min, "maxInstances": max}),
            (None, None) => json!({}),
        }));
        put("lifecycle", state.map(|s| json!({"state": s})));
        put("source", match source {
            0 => None,
            1 => Some(json!({"workspace": {"path": "/Workspace/a"}})),
            _ => Some(json!({"git": {"url": "https://x/y.git", "provider": "GitHub", "ref": {"branch": "main"}}})),
        });
        put("deployment", env.map(|env| {
            let env: Vec<Value> = env.iter().map(|name| json!({"name": name, "value": "v"})).collect();
            json!({"env": env})
        }));
        put("permissions", grants.map(|grants| {
            let level = |manage| if manage { "CanManage" } else { "CanUse" };
            let grants: Vec<Value> = grants.iter().map(|(who, manage)| json!({"principal": {"group": who}, "level": level(*manage)})).collect();
            json!({"mode": mode, "grants": grants})
        }));
        let mut user = json!({"restart": if never { "Never" } else { "Auto" }});
        if let Some(scopes) = scopes {
            user["scopes"] = json!(scopes);
        }
        if let Some(forward) = forward {
            user["forwardAccessToken"] = json!(forward);
        }
        put("userAuthorization", Some(user));
        put("usagePolicyID", policy.map(|p| json!(p)));
        app(whole)
    }
}

proptest! {
    #[test]
    fn converges_from_any_remote_state_stays_settled_and_never_writes_needlessly(
        spec in spec(), remote in prop::option::of(remote_state()), stranger in any::<bool>(),
    ) {
        let mut bench = Bench::with(&spec, remote);
        if stranger {
            bench.model.acl.insert("user:stranger@example.com".into(), Level::CanManage);
        }
        let (mut rounds, mut made) = (0, Vec::new());
        for _ in 0..60 {
            let crashed = bench.model.app.as_ref().is_some_and(RemoteApp::crashed);
            let next = bench.decide(&spec, Wish::Live, |inputs, plan| {
                for step in &plan.steps {
                    prop_assert!(!super::act::needless(step, inputs.seen), "{step} changes nothing");
                    prop_assert_ne!(step.verb(), "delete");
                    if let Step::Update { fields: sent } = step {
                        let remote = inputs.seen.remote().unwrap();
                        let differing: Vec<&str> = fields::differences(&spec, &remote.settings).iter().map(|d| d.field.wire).collect();
                        let alone = |name: &&&str| !differing.contains(*name) && !name.ends_with("_instances");
                        prop_assert_eq!(sent.keys().filter(alone).count(), 0, "the mask holds more than what differs");
                    }
                }
                Ok(plan)
            })?;
            if next.steps.is_empty() && next.wait.is_none() {
                for refusal in &next.refusals {
                    prop_assert!(matches!(refusal.reason, Reason::EnvWouldBeLost | Reason::AppCrashed), "{refusal:?}");
                    prop_assert!(refusal.reason != Reason::AppCrashed || crashed);
                }
                break;
            }
            rounds += usize::from(!next.steps.is_empty());
            made.extend(verbs(&next));
            bench.act(&spec, Wish::Live);
            if next.steps.is_empty() {
                bench.model.advance();
            }
        }
        prop_assert!(rounds <= 6, "{rounds} rounds: {made:?}");
        prop_assert!(bench.act(&spec, Wish::Live).steps.is_empty());
        prop_assert!(bench.settle(&spec, Wish::Deleting).is_ok());
        prop_assert!(bench.model.app.is_none());
    }

    #[test]
    fn a_value_of_a_variable_shows_nowhere_but_in_the_deployment(value in "[A-Za-z0-9]{12,40}", plain in "[A-Za-z0-9]{12,40}") {
        let spec = app(json!({"lifecycle": {"state": "Running"}, "source": {"workspace": {"path": "/Workspace/a"}},
            "deployment": {"env": [
                {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                {"name": "PLAIN", "value": plain}]}}));
        let mut bench = Bench::empty(&spec);
        let mut code = code(&spec).unwrap();
        code.values.0.insert("KEY".into(), value.clone().into());
        bench.model.act(&spec, &Inputs { seen: &bench.seen, memory: &AppMemory::default(), at: at(), scale: 1, wish: Wish::Live }, &bench.plan(&spec, Wish::Live));
        bench.model.advance();
        let mut seen = bench.model.seen(&bench.seen, &spec);
        seen.code = Seen::Looked(Some(code.clone()));
        let memory = bench.model.memory.clone();
        let inputs = Inputs { seen: &seen, memory: &memory, at: at(), scale: 1, wish: Wish::Live };
        let planned = plan(&spec, &inputs);
        prop_assert_eq!(verbs(&planned), ["deploy"]);
        bench.model.act(&spec, &inputs, &planned);
        let said = [
            format!("{planned:?} {} {:?} {:?}", planned.steps[0], planned.steps[0].fields(), foresee(&spec, &inputs)),
            serde_json::to_string(&bench.model.memory).unwrap(),
            format!("{code:?} {}", code.digest(&spec)),
        ];
        for said in said {
            prop_assert!(!said.contains(&value) && !said.contains(&plain), "{said}");
        }
        let Step::Deploy { from, values, .. } = &planned.steps[0] else { panic!() };
        let sent = super::code::body(&spec, from, values).to_string();
        prop_assert!(sent.contains(&value) && sent.contains(&plain));
    }
}

/// The app with the deployment of somebody else, which shows that path, on top of ours.
fn redeployed(bench: &Bench, state: &str, shown: &str) -> Bench {
    let mut bench = bench.clone();
    let app = bench.model.app.as_mut().unwrap();
    app.service_principal.client_id = "sp".into();
    let mut theirs = app.active.clone().unwrap();
    theirs.id = "theirs".into();
    theirs.state = state.into();
    theirs.source_path = shown.into();
    match state {
        "IN_PROGRESS" => app.pending = Some(theirs),
        _ => app.active = Some(theirs),
    }
    bench
}

fn deployed_id(bench: &Bench) -> &str {
    &bench.model.memory.deployment.as_ref().unwrap().id
}

#[test]
fn a_deployment_from_another_folder_is_never_taken_for_ours_while_it_is_under_way_or_after() {
    let spec = full();
    let mut bench = Bench::empty(&spec);
    bench.settle(&spec, Wish::Live).unwrap();
    let ours = deployed_id(&bench).to_owned();
    // The app still names our folder; whether theirs shows its own or the frozen copy makes no difference.
    for shown in ["/Workspace/Shared/other", "/Workspace/Users/sp/src/1"] {
        let mut pending = redeployed(&bench, "IN_PROGRESS", shown);
        let wait = pending.act(&spec, Wish::Live).wait.unwrap();
        assert_eq!(wait.reason, Reason::Deploying);
        assert_eq!(deployed_id(&pending), ours, "{shown}");
        let mut won = redeployed(&bench, "SUCCEEDED", shown);
        won.model.app.as_mut().unwrap().source_path = "/Workspace/Shared/other".into();
        assert_eq!(verbs(&won.plan(&spec, Wish::Live)), ["deploy"], "{shown}");
        assert!(won.settle(&spec, Wish::Live).is_ok());
    }
}

#[test]
fn a_deployment_from_our_folder_is_judged_by_it_where_it_tells_and_by_the_app_once_it_won() {
    let spec = full();
    let mut bench = Bench::empty(&spec);
    bench.settle(&spec, Wish::Live).unwrap();
    let plain = redeployed(&bench, "IN_PROGRESS", "/Shared/sales");
    let frozen = redeployed(&bench, "SUCCEEDED", "/Workspace/Users/sp/src/1");
    for mut bench in [plain, frozen] {
        assert_eq!(verbs(&bench.act(&spec, Wish::Live)), [""; 0]);
        assert_eq!(deployed_id(&bench), "theirs");
    }
}

#[test]
fn a_list_without_the_apps_folder_takes_over_that_of_the_same_deployment_alone() {
    use crate::worlds::databricks::Row as _;
    let app = |deployment: &str, path: &str| {
        RemoteApp::read(
            &json!({"name": "sales", "id": "1", "default_source_code_path": path,
            "active_deployment": {"deployment_id": deployment}}),
        )
    };
    let whole = app("a", "/Workspace/Shared/sales");
    for (listed, carried) in [("a", "/Workspace/Shared/sales"), ("b", "")] {
        let mut row = app(listed, "");
        row.carry("default_source_code_path", &whole);
        assert_eq!(row.source_path, carried);
    }
}

#[test]
fn a_deployment_of_another_repository_is_not_ours_although_the_branch_is() {
    let spec = app(json!({"lifecycle": {"state": "Running"}, "source": {"git":
        {"url": "https://github.com/acme/apps", "provider": "GitHub", "ref": {"branch": "main"}}}}));
    let mut bench = Bench::empty(&spec);
    bench.settle(&spec, Wish::Live).unwrap();
    for (repository, steps) in [
        ("", [].as_slice()),
        ("https://github.com/acme/apps.git", &[]),
        ("https://github.com/eve/apps", &["deploy"]),
    ] {
        let mut bench = redeployed(&bench, "SUCCEEDED", "");
        let active = bench.model.app.as_mut().unwrap().active.as_mut().unwrap();
        active.repository = repository.into();
        assert_eq!(verbs(&bench.plan(&spec, Wish::Live)), steps, "{repository}");
    }
}
