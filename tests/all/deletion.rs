//! Objects go after what they stand for has gone, and not before.
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};

use crate::support::{Scene, Setting, running_app, stopped_app, with};

const APP: &str = "DatabricksApp";
const FLEET: &str = "AppOfApps";
const WORKSPACE: &str = "DatabricksWorkspace";

/// A scene with a stopped app `sales`.
async fn with_an_app(test: &str, faults: Vec<Value>, spec: Value) -> Option<Scene> {
    let setting = Setting {
        faults,
        ..Setting::default()
    };
    let scene = Scene::set(test, setting).await?;
    scene.put(APP, "sales", spec).await;
    scene.wait(APP, "sales", "Ready", "True/Stopped").await;
    Some(scene)
}

/// Waits until every DatabricksApp is gone; none may go before the app of its name.
async fn apps_go_after_their_remotes(scene: &Scene, names: &[&str]) {
    scene
        .until("every DatabricksApp is gone", async || {
            let left = scene.list(APP).await;
            for name in names {
                let held = left.iter().any(|o| o["metadata"]["name"] == *name);
                let (status, app) = scene.remote(&format!("/api/2.0/apps/{name}")).await;
                assert!(
                    held || status == 404,
                    "{name} went before its app: {status} {app:#}"
                );
            }
            left.is_empty().then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_waits_until_the_app_is_gone_and_a_namesake_waits_its_turn() {
    let test = "a_delete_waits_until_the_app_is_gone_and_a_namesake_waits_its_turn";
    let Some(scene) = with_an_app(test, Vec::new(), stopped_app()).await else {
        return;
    };
    let (_, first) = scene.remote("/api/2.0/apps/sales").await;
    scene.delete(APP, "sales").await;
    scene.wait(APP, "sales", "Ready", "Unknown/Deleting").await;
    let namesake = with(stopped_app(), "name", json!("sales"));
    scene.put(APP, "namesake", namesake).await;
    scene
        .wait(APP, "namesake", "Ready", "Unknown/WaitingForName")
        .await;
    let (_, app) = scene.remote("/api/2.0/apps/sales").await;
    assert_eq!(app["compute_status"]["state"], "DELETING");
    scene
        .until("sales is gone", async || {
            let held = !scene.get(APP, "sales").await.is_null();
            let (_, app) = scene.remote("/api/2.0/apps/sales").await;
            let deleting = app["compute_status"]["state"] == "DELETING";
            assert!(held || !deleting, "sales went before its app");
            (!held).then_some(())
        })
        .await;
    scene.wait(APP, "namesake", "Ready", "True/Stopped").await;
    let (_, second) = scene.remote("/api/2.0/apps/sales").await;
    assert_ne!(first["id"], second["id"]);
    let object = scene.get(APP, "namesake").await;
    assert_eq!(object["status"]["app"]["id"], second["id"]);
    assert_eq!(scene.calls("DELETE /api/2.0/apps/{name} 200").await, 1);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_lags_or_hides_what_is_being_deleted_lets_no_object_go_early() {
    for (name, fault) in [
        (
            "hides what is being deleted",
            json!({"kind": "list_hides_deleting"}),
        ),
        ("lags", json!({"kind": "list_lag", "for": "90s"})),
    ] {
        let test = "a_list_that_lags_or_hides_what_is_being_deleted_lets_no_object_go_early";
        let Some(scene) = with_an_app(test, vec![fault], stopped_app()).await else {
            return;
        };
        scene.delete(APP, "sales").await;
        apps_go_after_their_remotes(&scene, &["sales"]).await;
        let deletes = scene.calls("DELETE /api/2.0/apps/{name} 200").await;
        assert_eq!(deletes, 1, "a list that {name}");
        scene.end().await;
    }
}

async fn with_a_fleet(test: &str) -> Option<Scene> {
    let scene = Scene::start(test).await?;
    let apps = json!([
        {"name": "one", "spec": stopped_app()},
        {"name": "two", "spec": stopped_app()},
        {"name": "three", "spec": running_app()},
    ]);
    scene.put(FLEET, "fleet", json!({"apps": apps})).await;
    scene.wait(FLEET, "fleet", "Ready", "True/Succeeded").await;
    Some(scene)
}

const FLEET_APPS: [&str; 3] = ["one", "two", "three"];

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_deleted_in_the_background_or_foreground_removes_every_app_first() {
    for params in [DeleteParams::background(), DeleteParams::foreground()] {
        let test = "a_fleet_deleted_in_the_background_or_foreground_removes_every_app_first";
        let Some(scene) = with_a_fleet(test).await else {
            return;
        };
        scene.delete_as(FLEET, "fleet", params).await;
        apps_go_after_their_remotes(&scene, &FLEET_APPS).await;
        scene.gone(FLEET, "fleet").await;
        let deletes = scene.calls("DELETE /api/2.0/apps/{name} 200").await;
        assert_eq!(deletes, 3, "{:?}", scene.requests().await);
        scene.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_namespace_removes_every_app_with_the_credentials_in_memory() {
    let test = "a_deleted_namespace_removes_every_app_with_the_credentials_in_memory";
    let Some(scene) = with_a_fleet(test).await else {
        return;
    };
    let namespace = scene.namespace.clone();
    scene.delete("Namespace", &namespace).await;
    scene.gone("Secret", "prod").await;
    let left = scene.list(APP).await;
    assert!(!left.is_empty(), "the Secret was to go first");
    apps_go_after_their_remotes(&scene, &FLEET_APPS).await;
    if scene.cluster.collects_garbage() {
        scene.gone("Namespace", &namespace).await;
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_in_use_waits_and_names_the_app() {
    let test = "a_workspace_in_use_waits_and_names_the_app";
    let Some(scene) = with_an_app(test, Vec::new(), stopped_app()).await else {
        return;
    };
    scene.delete(WORKSPACE, "prod").await;
    scene
        .wait(WORKSPACE, "prod", "Ready", "Unknown/InUse")
        .await;
    let message = scene.message(WORKSPACE, "prod", "Ready").await;
    let user = format!("{}/sales", scene.namespace);
    assert!(message.contains(&user), "{message}");
    scene.event(WORKSPACE, "prod", "Warning/InUse").await;
    scene.delete(APP, "sales").await;
    apps_go_after_their_remotes(&scene, &["sales"]).await;
    scene.gone(WORKSPACE, "prod").await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orphaned_app_stays_as_it_is() {
    let test = "an_orphaned_app_stays_as_it_is";
    let spec = with(stopped_app(), "management", json!({"deletion": "Orphan"}));
    let Some(scene) = with_an_app(test, Vec::new(), spec).await else {
        return;
    };
    let (_, before) = scene.remote("/api/2.0/apps/sales").await;
    scene.zero().await;
    scene.delete(APP, "sales").await;
    scene.gone(APP, "sales").await;
    assert_eq!(scene.writes(false).await, 0, "{:?}", scene.requests().await);
    let (_, after) = scene.remote("/api/2.0/apps/sales").await;
    assert_eq!(before, after);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_app_can_be_stopped_and_left_behind() {
    let Some(scene) = Scene::start("a_running_app_can_be_stopped_and_left_behind").await else {
        return;
    };
    let spec = with(running_app(), "management", json!({"deletion": "Stop"}));
    scene.put(APP, "sales", spec).await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    scene.zero().await;
    scene.delete(APP, "sales").await;
    scene.gone(APP, "sales").await;
    let (_, app) = scene.remote("/api/2.0/apps/sales").await;
    assert_eq!(app["compute_status"]["state"], "STOPPED");
    assert_eq!(scene.writes(false).await, 1, "{:?}", scene.requests().await);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_out_of_reach_is_given_up_only_by_an_annotation_that_quotes_its_uid() {
    let test = "an_app_out_of_reach_is_given_up_only_by_an_annotation_that_quotes_its_uid";
    let Some(scene) = with_an_app(test, Vec::new(), stopped_app()).await else {
        return;
    };
    let uid = scene.get(APP, "sales").await["metadata"]["uid"].clone();
    let quote =
        |uid: &Value| json!({"metadata": {"annotations": {"appofapps.dev/force-delete": uid}}});
    scene.sim.kill();
    scene.delete(APP, "sales").await;
    scene
        .wait(APP, "sales", "Ready", "Unknown/WorkspaceUnavailable")
        .await;
    scene.merge(APP, "sales", quote(&json!("sales"))).await;
    scene
        .wait(APP, "sales", "Stalled", "True/InvalidSpec")
        .await;
    let message = scene.message(APP, "sales", "Stalled").await;
    assert!(message.contains(uid.as_str().unwrap()), "{message}");
    scene.merge(APP, "sales", quote(&uid)).await;
    scene.gone(APP, "sales").await;
    scene.event(APP, "sales", "Warning/ForceDeleted").await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orphaned_app_lets_its_object_go_although_the_workspace_cannot_be_reached() {
    let test = "an_orphaned_app_lets_its_object_go_although_the_workspace_cannot_be_reached";
    let spec = with(stopped_app(), "management", json!({"deletion": "Orphan"}));
    let Some(scene) = with_an_app(test, Vec::new(), spec).await else {
        return;
    };
    scene
        .fault(json!({"kind": "status", "pattern": "* /api/*", "status_code": 503, "times": 0}))
        .await;
    scene.delete(APP, "sales").await;
    scene.gone(APP, "sales").await;
    scene.sim.call("DELETE", "/sim/faults", None).await.unwrap();
    let (status, _) = scene.remote("/api/2.0/apps/sales").await;
    assert_eq!(status, 200);
    scene.end().await;
}

/// Deletes a definition as `kubectl delete crd` does.
async fn undefine(scene: &Scene, name: &str) {
    let all: Api<CustomResourceDefinition> = Api::all(scene.client.clone());
    all.delete(name, &DeleteParams::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_that_is_deleted_takes_no_app_with_it() {
    let test = "a_definition_that_is_deleted_takes_no_app_with_it";
    let setting = Setting {
        own_cluster: true,
        ..Setting::default()
    };
    let Some(scene) = Scene::set(test, setting).await else {
        return;
    };
    let apps = json!([{"name": "child", "spec": stopped_app()}]);
    scene.put(FLEET, "fleet", json!({"apps": apps})).await;
    for name in ["kept", "meant"] {
        scene.put(APP, name, stopped_app()).await;
        scene.wait(APP, name, "Ready", "True/Stopped").await;
    }
    scene.wait(FLEET, "fleet", "Ready", "True/Succeeded").await;
    scene.zero().await;
    let deleted = "True/DefinitionDeleted";
    undefine(&scene, "appofapps.appofapps.dev").await;
    scene.wait(FLEET, "fleet", "Stalled", deleted).await;
    let child = scene.get(APP, "child").await;
    assert!(
        child["metadata"]["deletionTimestamp"].is_null(),
        "{child:#}"
    );
    undefine(&scene, "databricksapps.appofapps.dev").await;
    for name in ["kept", "meant", "child"] {
        scene.wait(APP, name, "Stalled", deleted).await;
    }
    let message = scene.message(APP, "kept", "Stalled").await;
    for words in [
        "databricksapps.appofapps.dev",
        "spec.management.deletion: Orphan",
        "appofapps.dev/delete-with-definition=true",
    ] {
        assert!(message.contains(words), "{words}: {message}");
    }
    scene.pass(Duration::from_secs(600)).await;
    assert_eq!(scene.writes(false).await, 0, "{:?}", scene.requests().await);
    // Each goes as somebody decides.
    let orphan = json!({"spec": {"management": {"deletion": "Orphan"}}});
    for name in ["kept", "child"] {
        scene.merge(APP, name, orphan.clone()).await;
    }
    let orphans = json!({"spec": {"syncPolicy": {"onDeletion": "Orphan"}}});
    scene.merge(FLEET, "fleet", orphans).await;
    let meant =
        json!({"metadata": {"annotations": {"appofapps.dev/delete-with-definition": "true"}}});
    scene.merge(APP, "meant", meant).await;
    let all: Api<CustomResourceDefinition> = Api::all(scene.client.clone());
    scene
        .until("both definitions are gone", async || {
            let left = all.list(&ListParams::default()).await.unwrap();
            (left.items.len() == 1).then_some(())
        })
        .await;
    for (name, status) in [("kept", 200), ("child", 200), ("meant", 404)] {
        let (found, _) = scene.remote(&format!("/api/2.0/apps/{name}")).await;
        assert_eq!(found, status, "{name}");
    }
    assert_eq!(scene.writes(true).await, 1, "{:?}", scene.requests().await);
}
