//! The table of conditions, row by row: objects are brought into each state, and both readers judge them.
use std::time::Duration;

use kube::api::DeleteParams;
use serde_json::{Value, json};

use super::{APP, FLEET, WORKSPACE, start};
use crate::support::{Setting, running_app, stopped_app, with};

/// The spec without a field.
fn without(mut spec: Value, field: &str) -> Value {
    spec.as_object_mut().unwrap().remove(field);
    spec
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_has_seen_yet_is_in_progress_and_so_is_an_edit_and_a_deletion() {
    let test = "what_nobody_has_seen_yet_is_in_progress_and_so_is_an_edit_and_a_deletion";
    let Some((scene, judges)) = start(test, Setting::default()).await else {
        return;
    };
    for name in ["edited", "deleted"] {
        scene.put(APP, name, stopped_app()).await;
        scene.wait(APP, name, "Ready", "True/Stopped").await;
    }
    scene.operator.kill();
    let app = with(stopped_app(), "description", json!("New"));
    scene.put(APP, "edited", app).await;
    let edited = scene.get(APP, "edited").await;
    judges.expect(
        &scene,
        "edited_unseen",
        &edited,
        "Progressing",
        "InProgress",
    );
    scene
        .delete_as(APP, "deleted", DeleteParams::foreground())
        .await;
    let deleted = scene.get(APP, "deleted").await;
    judges.expect(&scene, "deleting", &deleted, "Progressing", "Terminating");

    let workspace = scene.get(WORKSPACE, "prod").await["spec"].clone();
    scene.put(WORKSPACE, "unseen", workspace).await;
    scene.put(APP, "unseen", running_app()).await;
    let fleet = json!({"apps": [{"name": "child", "spec": stopped_app()}]});
    scene.put(FLEET, "unseen", fleet).await;
    for kind in [WORKSPACE, APP, FLEET] {
        let object = scene.get(kind, "unseen").await;
        assert_eq!(object["status"], json!({"observedGeneration": -1}));
        judges.expect(&scene, "unseen", &object, "Progressing", "InProgress");
    }
    scene.operator.start_again().await.unwrap();
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_moves_or_may_pass_by_itself_is_in_progress() {
    let slow = json!({"kind": "durations", "create": "240s", "start": "240s", "stop": "240s", "deploy": "240s"});
    let refused =
        json!({"pattern": "PUT /api/2.0/permissions/apps/{name}", "status_code": 503, "times": 0});
    let setting = Setting {
        faults: vec![slow],
        ..Setting::default()
    };
    let test = "what_moves_or_may_pass_by_itself_is_in_progress";
    let Some((scene, judges)) = start(test, setting).await else {
        return;
    };
    let expect = |state: &str, object: &Value| {
        judges.expect(&scene, state, object, "Progressing", "InProgress");
    };
    scene.put(APP, "sales", running_app()).await;
    // Creating is said until the next pass, some milliseconds later, finds the new app's compute starting.
    for (state, reason) in [("creating", "Starting"), ("deploying", "Deploying")] {
        let reason = format!("Unknown/{reason}");
        expect(state, &scene.seen(APP, "sales", "Ready", &reason).await);
    }
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    scene
        .put(
            APP,
            "sales",
            with(running_app(), "lifecycle", json!({"state": "Stopped"})),
        )
        .await;
    let object = scene.seen(APP, "sales", "Ready", "Unknown/Stopping").await;
    expect("stopping", &object);
    scene.wait(APP, "sales", "Ready", "True/Stopped").await;
    scene.put(APP, "sales", running_app()).await;
    let object = scene.seen(APP, "sales", "Ready", "Unknown/Starting").await;
    expect("starting", &object);

    // What fails and is tried again, and what is named and not there yet.
    scene.fault(refused).await;
    scene.put(APP, "refused", running_app()).await;
    let retry = "True/ProgressingWithRetry";
    let object = scene.seen(APP, "refused", "Reconciling", retry).await;
    expect("retrying", &object);
    let early = with(running_app(), "workspaceRef", json!({"name": "later"}));
    scene.put(APP, "early", early).await;
    let object = scene.seen(APP, "early", "Reconciling", retry).await;
    assert!(super::reads(&object, "Ready").starts_with("False/"));
    expect("reference_missing_for_a_moment", &object);
    scene.sim.call("DELETE", "/sim/faults", None).await.unwrap();
    scene.wait(APP, "sales", "Ready", "True/Running").await;

    // Nobody knows.
    let storm = json!({"pattern": "* /api/*", "status_code": 503, "times": 0});
    scene.fault(storm).await;
    let unknown = "Unknown/WorkspaceUnavailable";
    let object = scene.seen(APP, "sales", "Ready", unknown).await;
    expect("workspace_unavailable", &object);
    let away = "False/HostUnreachable";
    let object = scene.seen(WORKSPACE, "prod", "Ready", away).await;
    expect("host_unreachable", &object);
    scene.sim.call("DELETE", "/sim/faults", None).await.unwrap();
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_as_asked_is_healthy_also_when_stopped_or_waiting_for_a_word() {
    let test = "what_is_as_asked_is_healthy_also_when_stopped_or_waiting_for_a_word";
    let Some((scene, judges)) = start(test, Setting::default()).await else {
        return;
    };
    let expect = |state: &str, object: &Value| {
        judges.expect(&scene, state, object, "Healthy", "Current");
    };
    let connected = "True/Connected";
    let object = scene.seen(WORKSPACE, "prod", "Ready", connected).await;
    expect("connected", &object);
    scene.put(APP, "stopped", stopped_app()).await;
    let object = scene.seen(APP, "stopped", "Ready", "True/Stopped").await;
    expect("stopped", &object);
    scene.put(APP, "sales", running_app()).await;
    let object = scene.seen(APP, "sales", "Ready", "True/Running").await;
    expect("running", &object);

    let scopes = json!({"scopes": ["sql"], "restart": "Never"});
    let spec = with(running_app(), "userAuthorization", scopes);
    scene.put(APP, "sales", spec).await;
    let required = "False/RestartRequired";
    let object = scene.seen(APP, "sales", "ScopesSynced", required).await;
    assert_eq!(super::reads(&object, "Ready"), "True/Running");
    expect("restart_required", &object);

    // Nobody says whether it runs; somebody stops it, and what is new waits for a start.
    let unmanaged = without(running_app(), "lifecycle");
    scene.put(APP, "loose", unmanaged.clone()).await;
    scene.wait(APP, "loose", "Ready", "True/Running").await;
    scene
        .call("POST", "/api/2.0/apps/loose/stop", &json!({}))
        .await;
    scene.wait(APP, "loose", "Ready", "True/Stopped").await;
    let command = json!({"command": ["python", "other.py"]});
    scene
        .put(APP, "loose", with(unmanaged, "deployment", command))
        .await;
    let waiting = "False/WaitingForStart";
    let object = scene.seen(APP, "loose", "Deployed", waiting).await;
    assert_eq!(super::reads(&object, "Ready"), "True/Stopped");
    expect("waiting_for_start", &object);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_holds_is_suspended_and_as_ready_as_it_was() {
    let test = "what_somebody_holds_is_suspended_and_as_ready_as_it_was";
    let Some((scene, judges)) = start(test, Setting::default()).await else {
        return;
    };
    let expect = |state: &str, object: &Value, kstatus: &str| {
        judges.expect(&scene, state, object, "Suspended", kstatus);
    };
    scene.put(APP, "sales", running_app()).await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    scene.annotate(APP, "sales", "paused", json!("true")).await;
    let object = scene.seen(APP, "sales", "Suspended", "True/Paused").await;
    expect("paused", &object, "Current");
    scene.annotate(APP, "sales", "paused", Value::Null).await;
    scene
        .annotate(APP, "sales", "run-state", json!("Stopped"))
        .await;
    let overridden = "True/RunStateOverridden";
    let object = scene.seen(APP, "sales", "Suspended", overridden).await;
    expect("run_state_overridden", &object, "Current");
    scene.annotate(APP, "sales", "run-state", Value::Null).await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    scene
        .put(APP, "sales", with(running_app(), "suspend", json!(true)))
        .await;
    let by_spec = "True/SuspendedBySpec";
    let object = scene.seen(APP, "sales", "Suspended", by_spec).await;
    expect("suspended", &object, "Current");
    // Held before anybody knew how it is.
    scene
        .put(APP, "new", with(running_app(), "suspend", json!(true)))
        .await;
    let object = scene.seen(APP, "new", "Suspended", by_spec).await;
    assert!(super::reads(&object, "Ready").starts_with("Unknown/"));
    expect("suspended_from_the_start", &object, "InProgress");
    let plan = with(running_app(), "management", json!({"mode": "Plan"}));
    scene.put(APP, "planned", plan).await;
    let read_only = "True/ReadOnly";
    let object = scene.seen(APP, "planned", "Suspended", read_only).await;
    expect("read_only", &object, "InProgress");

    scene.put(APP, "sales", running_app()).await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    let freeze = |reason: Value| json!({"spec": {"freeze": reason}});
    scene
        .merge(WORKSPACE, "prod", freeze(json!({"reason": "release week"})))
        .await;
    for (kind, name) in [(APP, "sales"), (WORKSPACE, "prod")] {
        let object = scene.seen(kind, name, "Suspended", "True/Frozen").await;
        expect("frozen", &object, "Current");
    }
    scene.merge(WORKSPACE, "prod", freeze(Value::Null)).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_somebody_is_degraded_and_failed() {
    let ends = |app: &str, outcome: &str| json!({"kind": "deployment_outcome", "app": app, "outcome": outcome, "message": "no module named sales"});
    let setting = Setting {
        faults: vec![
            ends("failing", "FAILED"),
            ends("crashing", "CRASHED"),
            json!({"kind": "durations", "app": "endless", "deploy": "36000s"}),
        ],
        ..Setting::default()
    };
    let test = "what_needs_somebody_is_degraded_and_failed";
    let Some((scene, judges)) = start(test, setting).await else {
        return;
    };
    let expect = |state: &str, object: &Value| {
        judges.expect(&scene, state, object, "Degraded", "Failed");
    };
    // Where the folder exists, a failed deployment is not for want of it.
    let folder = json!({"path": "/Workspace/Shared/sales"});
    scene
        .call("POST", "/api/2.0/workspace/mkdirs", &folder)
        .await;
    let taken = json!({"create": true, "creator": "ann@example.com"});
    scene
        .sim
        .call("POST", "/sim/apps/taken", Some(&taken))
        .await
        .unwrap();
    let mut endless = running_app();
    endless["deployment"]["deadline"] = json!("1m");
    let nobody = json!({"grants": [{"principal": {"group": "nobody"}, "level": "CanUse"}]});
    let nowhere = with(running_app(), "workspaceRef", json!({"name": "nowhere"}));
    for (name, spec) in [
        ("taken", running_app()),
        ("failing", running_app()),
        ("crashing", running_app()),
        ("endless", endless),
        ("unknown-group", with(running_app(), "permissions", nobody)),
        ("unknown-workspace", nowhere),
    ] {
        scene.put(APP, name, spec).await;
    }
    for (name, state, reason) in [
        ("taken", "name_conflict", "NameConflict"),
        ("failing", "deployment_failed", "DeploymentFailed"),
        ("crashing", "crashed", "AppCrashed"),
        ("endless", "deadline_exceeded", "DeadlineExceeded"),
        ("unknown-group", "bad_spec", "PrincipalNotFound"),
        (
            "unknown-workspace",
            "reference_missing",
            "WorkspaceNotFound",
        ),
    ] {
        let reason = format!("True/{reason}");
        expect(state, &scene.seen(APP, name, "Stalled", &reason).await);
    }
    let workspace = scene.get(WORKSPACE, "prod").await["spec"].clone();
    let mut locked = workspace.clone();
    locked["auth"]["token"]["secretRef"]["name"] = json!("none");
    scene.put(WORKSPACE, "locked", locked).await;
    let missing = "True/CredentialsMissing";
    let object = scene.seen(WORKSPACE, "locked", "Stalled", missing).await;
    expect("credentials_missing", &object);
    scene.sim.call("DELETE", "/sim/faults", None).await.unwrap();
    scene
        .sim
        .call("POST", "/sim/apps/taken", Some(&json!({"deleted": true})))
        .await
        .unwrap();
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_is_blocked_terminates_and_its_conditions_say_why() {
    let test = "a_deletion_that_is_blocked_terminates_and_its_conditions_say_why";
    let Some((scene, judges)) = start(test, Setting::default()).await else {
        return;
    };
    scene.put(APP, "sales", running_app()).await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    scene.delete(WORKSPACE, "prod").await;
    let object = scene
        .until("the workspace is in use", async || {
            let object = scene.get(WORKSPACE, "prod").await;
            object
                .to_string()
                .contains("still used by")
                .then_some(object)
        })
        .await;
    judges.expect(&scene, "in_use", &object, "Progressing", "Terminating");
    scene.pass(Duration::from_secs(60)).await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    scene.end().await;
}
