//! Writes that took effect although their answer says otherwise, or never came.
use serde_json::json;

use crate::support::{Scene, Setting, running_app};

const CREATE: &str = "POST /api/2.0/apps";
const DEPLOY: &str = "POST /api/2.0/apps/{name}/deployments";

/// A scene in which `fault` strikes once, up to a running app.
async fn running(test: &str, fault: serde_json::Value) -> Option<Scene> {
    let setting = Setting {
        faults: vec![fault],
        ..Setting::default()
    };
    let scene = Scene::set(test, setting).await?;
    scene.put("DatabricksApp", "sales", running_app()).await;
    scene.runs_once("sales").await;
    Some(scene)
}

/// How often the call was made, whatever came of it.
async fn made(scene: &Scene, call: &str) -> u64 {
    let requests = scene.requests().await;
    let same = requests.iter().filter(|(known, _)| {
        known
            .rsplit_once(' ')
            .is_some_and(|(known, _)| known == call)
    });
    same.map(|(_, count)| count).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_to_create_makes_no_stranger_of_our_own_app() {
    let test = "a_lost_answer_to_create_makes_no_stranger_of_our_own_app";
    let fault = json!({"kind": "reset", "pattern": CREATE, "when": "after_commit"});
    let Some(scene) = running(test, fault).await else {
        return;
    };
    assert_eq!(made(&scene, CREATE).await, 1);
    assert_eq!(made(&scene, DEPLOY).await, 1);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_to_deploy_makes_no_second_deployment() {
    let test = "a_lost_answer_to_deploy_makes_no_second_deployment";
    let fault = json!({"kind": "reset", "pattern": DEPLOY, "when": "after_commit"});
    let Some(scene) = running(test, fault).await else {
        return;
    };
    assert_eq!(made(&scene, DEPLOY).await, 1);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_that_took_effect_behind_a_503_are_not_repeated() {
    let test = "writes_that_took_effect_behind_a_503_are_not_repeated";
    for call in [CREATE, DEPLOY] {
        let fault = json!({"pattern": call, "status_code": 503, "when": "after_commit"});
        let Some(scene) = running(test, fault).await else {
            return;
        };
        assert_eq!(made(&scene, call).await, 1, "{call}");
        scene.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_to_delete_still_ends_with_the_app_gone() {
    let test = "a_lost_answer_to_delete_still_ends_with_the_app_gone";
    let delete = "DELETE /api/2.0/apps/{name}";
    let fault = json!({"kind": "reset", "pattern": delete, "when": "after_commit"});
    let Some(scene) = running(test, fault).await else {
        return;
    };
    scene.delete("DatabricksApp", "sales").await;
    scene.gone("DatabricksApp", "sales").await;
    assert_eq!(scene.remote("/api/2.0/apps/sales").await.0, 404);
    assert_eq!(made(&scene, delete).await, 1);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_a_proxy_gave_up_before_it_took_effect_is_made_again() {
    let test = "a_create_that_a_proxy_gave_up_before_it_took_effect_is_made_again";
    let fault = json!({"pattern": CREATE, "status_code": 504, "when": "before_commit"});
    let Some(scene) = running(test, fault).await else {
        return;
    };
    assert_eq!(made(&scene, CREATE).await, 2);
    assert_eq!(scene.calls(&format!("{CREATE} 200")).await, 1);
    scene.end().await;
}
