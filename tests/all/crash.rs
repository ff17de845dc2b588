//! A process that ends: seen, said, and with `rollback: OnFailure` put back to what ran before.
use std::time::Duration;

use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use crate::support::{Scene, running_app};

const APP: &str = "DatabricksApp";

async fn code(scene: &Scene, content: &str) {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "ConfigMap"));
    let api: Api<DynamicObject> =
        Api::namespaced_with(scene.client.clone(), &scene.namespace, &resource);
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "code"}, "data": {"app.py": content}});
    api.patch(
        "code",
        &PatchParams::apply("test").force(),
        &Patch::Apply(body),
    )
    .await
    .unwrap();
}

async fn active_folder(scene: &Scene) -> String {
    let (_, app) = scene.remote("/api/2.0/apps/sales").await;
    app["default_source_code_path"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn new_code_that_crashes_gives_way_to_the_code_that_ran_until_the_source_changes() {
    let test = "new_code_that_crashes_gives_way_to_the_code_that_ran_until_the_source_changes";
    let Some(scene) = Scene::start(test).await else {
        return;
    };
    code(&scene, "print(1)").await;
    let mut spec = running_app();
    spec["source"] = json!({"configMapRef": {"name": "code"}});
    spec["deployment"]["rollback"] = json!("OnFailure");
    scene.put(APP, "sales", spec).await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    scene
        .until("the good code is remembered", async || {
            let status = scene.get(APP, "sales").await["status"].clone();
            status["deployment"]["lastGood"]["upload"]
                .is_string()
                .then_some(())
        })
        .await;
    let good = active_folder(&scene).await;
    scene.fault(json!({"kind": "deployment_outcome", "outcome": "CRASHED", "message": "exit 1", "times": 1})).await;
    code(&scene, "boom()").await;
    scene.wait(APP, "sales", "Stalled", "True/RolledBack").await;
    scene.event(APP, "sales", "Warning/RolledBack").await;
    scene
        .until("the good code runs", async || {
            (active_folder(&scene).await == good).then_some(())
        })
        .await;
    assert_eq!(
        scene
            .calls("POST /api/2.0/apps/{name}/deployments 200")
            .await,
        3
    );
    scene.pass(Duration::from_secs(300)).await;
    assert_eq!(
        scene
            .calls("POST /api/2.0/apps/{name}/deployments 200")
            .await,
        3
    );
    code(&scene, "print(3)").await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    assert_ne!(active_folder(&scene).await, good);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_is_stalled_with_the_platforms_words_and_ends_when_the_app_runs_again() {
    let test = "a_crash_is_stalled_with_the_platforms_words_and_ends_when_the_app_runs_again";
    let Some(scene) = Scene::start(test).await else {
        return;
    };
    scene.put(APP, "sales", running_app()).await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    let crash = json!({"app_status": {"state": "CRASHED", "message": "out of memory"}});
    scene
        .sim
        .call("POST", "/sim/apps/sales", Some(&crash))
        .await
        .unwrap();
    // The list leaves the process out: a GET of its own finds it within the slow look's interval.
    scene.wait(APP, "sales", "Stalled", "True/AppCrashed").await;
    assert!(
        scene
            .message(APP, "sales", "Stalled")
            .await
            .contains("out of memory")
    );
    let conditions = async || scene.get(APP, "sales").await["status"]["conditions"].clone();
    let before: Value = conditions().await;
    scene.zero().await;
    scene.pass(Duration::from_secs(600)).await;
    assert_eq!(conditions().await, before, "it flaps");
    assert_eq!(scene.writes(false).await, 0);
    let runs = json!({"app_status": {"state": "RUNNING"}});
    scene
        .sim
        .call("POST", "/sim/apps/sales", Some(&runs))
        .await
        .unwrap();
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    scene.end().await;
}
