//! Who may write, and when: Plan and Observe, freeze, run-state and restart by annotation, limits, and the audit record.
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Scene, running_app, with};

const APP: &str = "DatabricksApp";
const WORKSPACE: &str = "DatabricksWorkspace";

async fn annotate(scene: &Scene, name: &str, key: &str, value: Value) {
    let annotations = json!({"metadata": {"annotations": {format!("appofapps.dev/{key}"): value}}});
    scene.merge(APP, name, annotations).await;
}

async fn state(scene: &Scene, name: &str) -> String {
    let (_, app) = scene.remote(&format!("/api/2.0/apps/{name}")).await;
    app["compute_status"]["state"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn plan_and_observe_show_what_differs_write_nothing_and_hold_up_no_deletion() {
    let test = "plan_and_observe_show_what_differs_write_nothing_and_hold_up_no_deletion";
    let Some(scene) = Scene::start(test).await else {
        return;
    };
    for mode in ["Plan", "Observe"] {
        let spec = with(running_app(), "management", json!({ "mode": mode }));
        scene.put(APP, "sales", spec).await;
        scene.wait(APP, "sales", "Suspended", "True/ReadOnly").await;
        let object = scene.get(APP, "sales").await;
        assert_eq!(
            scene.condition(APP, "sales", "Ready").await,
            "False/ReadOnly"
        );
        assert!(object["metadata"]["finalizers"].is_null(), "{object:#}");
        let pending = object["status"]["pendingChanges"].as_array().unwrap();
        let steps: Vec<&str> = pending
            .iter()
            .map(|c| c["step"].as_str().unwrap())
            .collect();
        assert!(
            steps.starts_with(&["create"])
                && steps.contains(&"grant")
                && steps.ends_with(&["deploy"]),
            "{pending:#?}"
        );
        assert!(
            pending
                .iter()
                .any(|c| c["field"] == "description" && c["to"] == "Sales"),
            "{pending:#?}"
        );
        assert!(
            !object.to_string().contains("\"info\",\"to\""),
            "{object:#}"
        );
        scene.delete(APP, "sales").await;
        scene.gone(APP, "sales").await;
    }
    assert_eq!(scene.writes(false).await, 0, "{:?}", scene.requests().await);
    // The same object, once it may write, and once it may no more.
    scene
        .put(
            APP,
            "sales",
            with(running_app(), "management", json!({"mode": "Plan"})),
        )
        .await;
    scene.wait(APP, "sales", "Suspended", "True/ReadOnly").await;
    scene.put(APP, "sales", running_app()).await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    let object = scene.get(APP, "sales").await;
    assert!(
        object["status"]["pendingChanges"].is_null() && !object["metadata"]["finalizers"].is_null(),
        "{object:#}"
    );
    let mut planned = with(running_app(), "management", json!({"mode": "Plan"}));
    scene.put(APP, "sales", planned.clone()).await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    planned["description"] = json!("New");
    scene.zero().await;
    scene.put(APP, "sales", planned).await;
    scene
        .wait(APP, "sales", "AppSynced", "False/ReadOnly")
        .await;
    let object = scene.get(APP, "sales").await;
    let change = &object["status"]["pendingChanges"][0];
    assert_eq!(
        (&change["field"], &change["from"], &change["to"]),
        (&json!("description"), &json!("Sales"), &json!("New"))
    );
    scene.delete(APP, "sales").await;
    scene.gone(APP, "sales").await;
    assert_eq!(state(&scene, "sales").await, "ACTIVE");
    assert_eq!(scene.writes(false).await, 0);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_workspace_is_not_written_not_even_for_a_deletion_until_that_ends() {
    let test = "a_frozen_workspace_is_not_written_not_even_for_a_deletion_until_that_ends";
    let Some(scene) = Scene::start(test).await else {
        return;
    };
    scene.put(APP, "sales", running_app()).await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    scene
        .merge(
            WORKSPACE,
            "prod",
            json!({"spec": {"freeze": {"reason": "release week"}}}),
        )
        .await;
    scene.wait(APP, "sales", "Suspended", "True/Frozen").await;
    assert!(
        scene
            .message(APP, "sales", "Suspended")
            .await
            .contains("release week")
    );
    scene.zero().await;
    scene
        .put(
            APP,
            "sales",
            with(running_app(), "description", json!("New")),
        )
        .await;
    scene.put(APP, "other", running_app()).await;
    scene.wait(APP, "other", "Suspended", "True/Frozen").await;
    scene.delete(APP, "sales").await;
    scene.pass(Duration::from_secs(150)).await;
    assert!(
        !scene.get(APP, "sales").await.is_null(),
        "it went although its app could not"
    );
    assert_eq!(scene.writes(false).await, 0, "{:?}", scene.requests().await);
    scene
        .merge(WORKSPACE, "prod", json!({"spec": {"freeze": null}}))
        .await;
    scene.gone(APP, "sales").await;
    scene.wait(APP, "other", "Ready", "True/Running").await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn run_state_by_annotation_holds_against_the_spec_while_the_rest_goes_on() {
    let test = "run_state_by_annotation_holds_against_the_spec_while_the_rest_goes_on";
    let Some(scene) = Scene::start(test).await else {
        return;
    };
    scene.put(APP, "sales", running_app()).await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    annotate(&scene, "sales", "run-state", json!("Stopped")).await;
    scene
        .wait(APP, "sales", "Suspended", "True/RunStateOverridden")
        .await;
    assert_eq!(state(&scene, "sales").await, "STOPPED");
    assert_eq!(scene.condition(APP, "sales", "Ready").await, "True/Stopped");
    // Git applies the same spec again, and a change of something else.
    scene
        .put(
            APP,
            "sales",
            with(running_app(), "description", json!("New")),
        )
        .await;
    scene
        .until("the description is changed", async || {
            let (_, app) = scene.remote("/api/2.0/apps/sales").await;
            (app["description"] == "New").then_some(())
        })
        .await;
    scene
        .wait(APP, "sales", "Suspended", "True/RunStateOverridden")
        .await;
    assert_eq!(state(&scene, "sales").await, "STOPPED");
    annotate(&scene, "sales", "run-state", Value::Null).await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    assert_eq!(
        scene.condition(APP, "sales", "Suspended").await,
        "False/Resumed"
    );
    let object = scene.get(APP, "sales").await;
    assert!(
        object["status"]["drift"].is_null(),
        "a change of our own counts as drift: {object:#}"
    );
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_is_made_once_by_annotation_and_once_for_changed_scopes() {
    let test = "a_restart_is_made_once_by_annotation_and_once_for_changed_scopes";
    let Some(scene) = Scene::start(test).await else {
        return;
    };
    scene.put(APP, "sales", running_app()).await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    scene.zero().await;
    annotate(
        &scene,
        "sales",
        "restart-requested-at",
        json!("2026-01-01T00:00:00Z"),
    )
    .await;
    restarted(&scene, 1).await;
    let object = scene.get(APP, "sales").await;
    assert_eq!(
        object["status"]["lastHandledRestartAt"],
        "2026-01-01T00:00:00Z"
    );
    let scopes = json!({"scopes": ["sql"]});
    scene
        .put(
            APP,
            "sales",
            with(running_app(), "userAuthorization", scopes),
        )
        .await;
    restarted(&scene, 2).await;
    scene
        .wait(APP, "sales", "ScopesSynced", "True/Succeeded")
        .await;
    scene.event(APP, "sales", "Normal/ConsentRequired").await;
    let object = scene.get(APP, "sales").await;
    assert_eq!(object["status"]["requestedScopes"], json!(["sql"]));
    assert!(
        object["status"]["effectiveScopes"]
            .as_array()
            .unwrap()
            .len()
            > 1,
        "{object:#}"
    );
    let never = json!({"scopes": ["sql", "files.files"], "restart": "Never"});
    scene
        .put(
            APP,
            "sales",
            with(running_app(), "userAuthorization", never),
        )
        .await;
    scene
        .wait(APP, "sales", "ScopesSynced", "False/RestartRequired")
        .await;
    assert_eq!(scene.condition(APP, "sales", "Ready").await, "True/Running");
    scene.pass(Duration::from_secs(120)).await;
    restarted(&scene, 2).await;
    scene.end().await;
}

/// Waits until the app runs after `n` stops and starts.
async fn restarted(scene: &Scene, n: u64) {
    scene
        .until(&format!("restarted {n} times"), async || {
            let stops = scene.calls("POST /api/2.0/apps/{name}/stop 200").await;
            let starts = scene.calls("POST /api/2.0/apps/{name}/start 200").await;
            assert!(
                stops <= n && starts <= n,
                "{stops} stops and {starts} starts, not {n}"
            );
            let ready = scene.condition(APP, "sales", "Ready").await;
            (stops == n && starts == n && ready == "True/Running").then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apps_that_nobody_declared_are_reported_and_a_full_workspace_is_refused_before_the_call() {
    let test =
        "apps_that_nobody_declared_are_reported_and_a_full_workspace_is_refused_before_the_call";
    let Some(scene) = Scene::start(test).await else {
        return;
    };
    let stranger = json!({"create": true, "creator": "ann@example.com"});
    scene
        .sim
        .call("POST", "/sim/apps/theirs", Some(&stranger))
        .await
        .unwrap();
    scene
        .merge(
            WORKSPACE,
            "prod",
            json!({"spec": {"unmanagedApps": "Report", "limits": {"maxApps": 2}}}),
        )
        .await;
    scene.put(APP, "sales", running_app()).await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    scene
        .until("the stranger's app is reported", async || {
            let status = scene.get(WORKSPACE, "prod").await["status"].clone();
            let unmanaged = &status["unmanaged"][0];
            let named = unmanaged["name"] == "theirs" && unmanaged["creator"] == "ann@example.com";
            let counted =
                status["apps"] == json!({"total": 2, "managed": 1, "unmanaged": 1, "limit": 2});
            (named && counted && unmanaged["since"].is_string()).then_some(())
        })
        .await;
    scene.zero().await;
    scene.put(APP, "another", running_app()).await;
    scene
        .wait(APP, "another", "Stalled", "True/QuotaExceeded")
        .await;
    assert!(
        scene
            .message(APP, "another", "Stalled")
            .await
            .contains("limits.maxApps")
    );
    assert_eq!(scene.count("POST").await, 0, "{:?}", scene.requests().await);
    scene
        .sim
        .call("POST", "/sim/apps/theirs", Some(&json!({"deleted": true})))
        .await
        .unwrap();
    scene
        .merge(
            WORKSPACE,
            "prod",
            json!({"spec": {"limits": {"maxApps": 3}}}),
        )
        .await;
    scene.wait(APP, "another", "Ready", "True/Running").await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_remote_write_leaves_one_audit_record_whatever_the_log_filter_says() {
    let test = "every_remote_write_leaves_one_audit_record_whatever_the_log_filter_says";
    let setting = crate::support::Setting {
        log_filter: "error",
        ..Default::default()
    };
    let Some(scene) = Scene::set(test, setting).await else {
        return;
    };
    scene.put(APP, "sales", running_app()).await;
    annotate_git(&scene).await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    scene
        .put(
            APP,
            "sales",
            with(running_app(), "description", json!("s3cret-description")),
        )
        .await;
    scene
        .wait(APP, "sales", "AppSynced", "True/Succeeded")
        .await;
    scene
        .until("the description is changed", async || {
            (scene.count("POST update 200").await == 1).then_some(())
        })
        .await;
    let log = std::fs::read_to_string(&scene.log).unwrap();
    let records: Vec<Value> = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["target"] == "audit")
        .collect();
    let verbs: Vec<&str> = records
        .iter()
        .map(|r| r["verb"].as_str().unwrap())
        .collect();
    assert_eq!(
        verbs,
        ["create", "grant", "deploy", "update"],
        "{records:#?}"
    );
    assert_eq!(records.len() as u64, scene.writes(false).await);
    let object = scene.get(APP, "sales").await;
    for record in &records {
        assert_eq!(record["uid"], object["metadata"]["uid"]);
        assert_eq!(record["object"], format!("{}/sales", scene.namespace));
        assert_eq!(record["identity"], crate::support::IDENTITY);
        assert_eq!(record["result"], "accepted");
        assert!(
            record["timestamp"].is_string() && record["generation"].is_number(),
            "{record:#}"
        );
        assert!(
            !record["request_id"].as_str().unwrap().is_empty(),
            "{record:#}"
        );
    }
    assert_eq!(records[3]["fields"], "description");
    assert_eq!(records[3]["git_revision"], "main@sha1:abc");
    assert!(!log.contains("s3cret"), "a value is in the log");
    scene.end().await;
}

async fn annotate_git(scene: &Scene) {
    let key = "kustomize.toolkit.fluxcd.io/revision";
    let annotations = json!({"metadata": {"annotations": {key: "main@sha1:abc"}}});
    scene.merge(APP, "sales", annotations).await;
}
