//! One app from nothing to running, with as few calls as can be, and then quiet.
use std::time::Duration;

use serde_json::json;

use crate::support::{Scene, Setting, running_app};

#[tokio::test(flavor = "multi_thread")]
async fn a_new_running_app_takes_exactly_three_writes() {
    let Some(scene) = Scene::start("a_new_running_app_takes_exactly_three_writes").await else {
        return;
    };
    scene.put("DatabricksApp", "sales", running_app()).await;
    scene
        .wait("DatabricksApp", "sales", "Ready", "True/Running")
        .await;
    assert_eq!(scene.writes(false).await, 3, "{:?}", scene.requests().await);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_app_without_source_takes_two_writes() {
    let Some(scene) = Scene::start("a_stopped_app_without_source_takes_two_writes").await else {
        return;
    };
    let spec = json!({
        "workspaceRef": {"name": "prod"},
        "lifecycle": {"state": "Stopped"},
        "permissions": {"grants": [{"principal": {"group": "users"}, "level": "CanUse"}]},
    });
    scene.put("DatabricksApp", "quiet", spec).await;
    scene
        .wait("DatabricksApp", "quiet", "Ready", "True/Stopped")
        .await;
    assert_eq!(scene.writes(false).await, 2, "{:?}", scene.requests().await);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_awkward_service_costs_no_write_more_and_at_most_one_refusal() {
    for (name, fault) in [
        (
            "auto-deploy at create",
            json!({"kind": "auto_deploy_at_create"}),
        ),
        (
            "refused after active",
            json!({"kind": "deploy_refused_after_active", "for": "10s"}),
        ),
        (
            "delayed redeploy",
            json!({"kind": "delayed_redeploy", "delay": "20s"}),
        ),
        ("a list that lags", json!({"kind": "list_lag", "for": "5s"})),
    ] {
        let setting = Setting {
            faults: vec![fault],
            ..Setting::default()
        };
        let Some(scene) = Scene::set(name, setting).await else {
            return;
        };
        scene.put("DatabricksApp", "sales", running_app()).await;
        scene
            .wait("DatabricksApp", "sales", "Ready", "True/Running")
            .await;
        scene.pass(Duration::from_secs(120)).await;
        assert_eq!(
            scene.writes(true).await,
            3,
            "{name}: {:?}",
            scene.requests().await
        );
        let refused = scene.writes(false).await - 3;
        assert!(
            refused <= 1,
            "{name}: {refused} refusals: {:?}",
            scene.requests().await
        );
        scene.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_description_is_sent_once_although_the_list_lags_behind_it() {
    let test = "a_changed_description_is_sent_once_although_the_list_lags_behind_it";
    let setting = Setting {
        faults: vec![json!({"kind": "list_lag", "for": "40s"})],
        ..Setting::default()
    };
    let Some(scene) = Scene::set(test, setting).await else {
        return;
    };
    let mut spec = running_app();
    scene.put("DatabricksApp", "sales", spec.clone()).await;
    scene
        .wait("DatabricksApp", "sales", "Ready", "True/Running")
        .await;
    scene.zero().await;
    spec["description"] = json!("New");
    scene.put("DatabricksApp", "sales", spec).await;
    scene
        .wait("DatabricksApp", "sales", "Ready", "True/Running")
        .await;
    scene.pass(Duration::from_secs(180)).await;
    assert_eq!(scene.writes(false).await, 1, "{:?}", scene.requests().await);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_untouched_minutes_cost_lists_and_looks_at_grants_alone() {
    let Some(scene) =
        Scene::start("thirty_untouched_minutes_cost_lists_and_looks_at_grants_alone").await
    else {
        return;
    };
    scene.put("DatabricksApp", "sales", running_app()).await;
    let apps =
        json!([{"name": "one", "spec": running_app()}, {"name": "two", "spec": running_app()}]);
    scene.put("AppOfApps", "fleet", json!({"apps": apps})).await;
    scene
        .wait("AppOfApps", "fleet", "Ready", "True/Succeeded")
        .await;
    scene
        .wait("DatabricksApp", "sales", "Ready", "True/Running")
        .await;
    // What was on its way when the last condition turned has arrived.
    scene.pass(Duration::from_secs(90)).await;
    scene.zero().await;
    let before = scene.audited_writes().len();
    scene.pass(Duration::from_secs(30 * 60)).await;
    assert_eq!(scene.writes(false).await, 0, "{:?}", scene.requests().await);
    let lists = scene.count("GET /api/2.0/apps 200").await;
    assert!(lists >= 25, "{lists} lists");
    let looks = scene.count("GET /permissions/ 200").await;
    assert!(looks >= 6, "{looks} looks at grants");
    let written = scene.audited_writes();
    assert_eq!(written.len(), before, "{:?}", &written[before..]);
    let drift = json!({"description": "changed", "updater": "stranger@example.com"});
    scene
        .sim
        .call("POST", "/sim/apps/sales", Some(&drift))
        .await
        .unwrap();
    scene
        .until("the description is repaired", async || {
            let (_, app) = scene.remote("/api/2.0/apps/sales").await;
            (app["description"] == "Sales").then_some(())
        })
        .await;
    scene.end().await;
}
