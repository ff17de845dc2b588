//! Workspaces whose lists leave fields out: one look at an app more, and no write more.
use std::time::Duration;

use serde_json::json;

use crate::support::{Scene, Setting, running_app};

const GET_APP: &str = "GET /api/2.0/apps/{name} 200";

async fn settled(test: &str) -> Option<Scene> {
    let fields = ["app_status", "active_deployment", "description"];
    let setting = Setting {
        faults: vec![json!({"kind": "list_thin", "fields": fields})],
        ..Setting::default()
    };
    let scene = Scene::set(test, setting).await?;
    scene.put("DatabricksApp", "sales", running_app()).await;
    scene
        .wait("DatabricksApp", "sales", "Ready", "True/Running")
        .await;
    Some(scene)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_lists_leave_out_is_read_with_its_app_and_stays_known() {
    let test = "a_deployment_that_lists_leave_out_is_read_with_its_app_and_stays_known";
    let Some(scene) = settled(test).await else {
        return;
    };
    // Until the next look at what lists leave out is due.
    scene.pass(Duration::from_secs(8 * 60)).await;
    let made = scene.requests().await;
    assert_eq!(scene.writes(false).await, 3, "{made:?}");
    // The app while it deploys, and once it runs.
    assert!(scene.calls(GET_APP).await <= 3, "{made:?}");
    assert_eq!(scene.count("GET /deployments/").await, 0, "{made:?}");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_lists_do_not_show_is_sent_once_and_read_before_and_after() {
    let test = "a_change_that_lists_do_not_show_is_sent_once_and_read_before_and_after";
    let Some(scene) = settled(test).await else {
        return;
    };
    scene.pass(Duration::from_secs(90)).await;
    scene.zero().await;
    let changed = json!({"spec": {"description": "Sales and returns"}});
    scene.merge("DatabricksApp", "sales", changed).await;
    scene
        .until("the change is accepted", async || {
            (scene.count("POST /update 200").await == 1).then_some(())
        })
        .await;
    scene.pass(Duration::from_secs(120)).await;
    scene
        .wait("DatabricksApp", "sales", "Ready", "True/Running")
        .await;
    let made = scene.requests().await;
    assert_eq!(scene.writes(false).await, 1, "{made:?}");
    assert_eq!(scene.calls(GET_APP).await, 2, "{made:?}");
    scene.end().await;
}
