//! The service or the API server is away or busy for a while; nothing is lost and nobody is pestered.
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Scene, Setting, running_app};

const APP: &str = "DatabricksApp";

#[tokio::test(flavor = "multi_thread")]
async fn a_429_is_tried_again_only_after_the_time_it_asks_for() {
    let busy = json!({"pattern": "POST /api/2.0/apps", "status_code": 429, "headers": {"Retry-After": "2"}});
    let setting = Setting {
        faults: vec![busy],
        ..Setting::default()
    };
    let test = "a_429_is_tried_again_only_after_the_time_it_asks_for";
    let Some(scene) = Scene::set(test, setting).await else {
        return;
    };
    scene.put(APP, "sales", running_app()).await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    let said = scene.sim.call("GET", "/sim/requests", None).await.unwrap();
    let creates: Vec<jiff::Timestamp> = said["recent"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|r| r["method"] == "POST" && r["route"] == "/api/2.0/apps")
        .map(|r| r["at"].as_str().unwrap().parse().unwrap())
        .collect();
    assert_eq!(creates.len(), 2, "{creates:?}");
    let pause = creates[1].duration_since(creates[0]);
    assert!(pause.as_millis() >= 1_990, "tried again after {pause:?}");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_restarts_costs_no_change() {
    let test = "an_api_server_that_restarts_costs_no_change";
    let Some(scene) = Scene::start(test).await else {
        return;
    };
    scene.put(APP, "sales", running_app()).await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    scene.cluster.restart_apiserver().await.unwrap();
    let mut spec = running_app();
    spec["description"] = json!("after the restart");
    scene
        .until("the API server takes the change", async || {
            scene.try_put(APP, "sales", spec.clone()).await.ok()
        })
        .await;
    scene
        .until("the change arrives", async || {
            let (_, app) = scene.remote("/api/2.0/apps/sales").await;
            (app["description"] == "after the restart").then_some(())
        })
        .await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_is_cheaper_than_calm_and_apps_stay_ready_until_three_intervals_are_missed() {
    let test = "a_storm_is_cheaper_than_calm_and_apps_stay_ready_until_three_intervals_are_missed";
    let Some(scene) = Scene::start(test).await else {
        return;
    };
    scene.put(APP, "sales", running_app()).await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    let down = |times: u32| json!({"pattern": "* /api/*", "status_code": 503, "times": times});
    scene.fault(down(0)).await;
    let workspace = "DatabricksWorkspace";
    scene
        .wait(workspace, "prod", "Ready", "False/HostUnreachable")
        .await;
    assert_eq!(scene.condition(APP, "sales", "Ready").await, "True/Running");
    scene
        .wait(APP, "sales", "Ready", "Unknown/WorkspaceUnavailable")
        .await;
    // Once the breaker is open, a probe every ten minutes is all.
    scene.pass(Duration::from_secs(20 * 60)).await;
    scene.zero().await;
    scene.pass(Duration::from_secs(20 * 60)).await;
    let storm: u64 = scene.requests().await.iter().map(|(_, count)| count).sum();
    assert!(
        storm <= 6,
        "{storm} calls in twenty minutes: {:?}",
        scene.requests().await
    );
    assert_eq!(scene.writes(false).await, 0);
    let none: Option<&Value> = None;
    scene.sim.call("DELETE", "/sim/faults", none).await.unwrap();
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    scene
        .wait(workspace, "prod", "Ready", "True/Connected")
        .await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_secret_stalls_what_uses_it_until_it_is_back() {
    let test = "a_deleted_secret_stalls_what_uses_it_until_it_is_back";
    let Some(scene) = Scene::start(test).await else {
        return;
    };
    scene.put(APP, "sales", running_app()).await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    scene.delete("Secret", "prod").await;
    let stalled = "True/CredentialsMissing";
    scene
        .wait("DatabricksWorkspace", "prod", "Stalled", stalled)
        .await;
    scene.wait(APP, "sales", "Stalled", stalled).await;
    // Lists go on with the credentials in memory, and change nothing about that.
    let before = scene.get("DatabricksWorkspace", "prod").await;
    scene.pass(Duration::from_secs(5 * 60)).await;
    assert_eq!(scene.get("DatabricksWorkspace", "prod").await, before);
    scene.apply(&scene.connection(&scene.token)).await;
    scene
        .wait("DatabricksWorkspace", "prod", "Ready", "True/Connected")
        .await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    scene.end().await;
}
