//! The operator dies by SIGKILL before or after a call took effect, and finds its way when it is back.
use serde_json::json;

use crate::support::{Scene, Setting, running_app};

const CREATE: &str = "POST /api/2.0/apps";
const DEPLOY: &str = "POST /api/2.0/apps/{name}/deployments";
const DELETE: &str = "DELETE /api/2.0/apps/{name}";

#[derive(Clone, Copy)]
enum Moment {
    Before,
    After,
}

impl Moment {
    /// As a fault spells it, and the state in which the request is then caught.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Before => ("before_commit", "held"),
            Self::After => ("after_commit", "committed"),
        }
    }
}

/// Kills the operator at that moment of its first such call, starts it again, and expects one app with one deployment
/// that goes with its object.
async fn survives(test: &str, call: &str, moment: Moment) {
    let (when, state) = moment.words();
    let latency = json!({"kind": "latency", "pattern": call, "delay": "120s", "when": when});
    let setting = Setting {
        faults: vec![latency],
        ..Setting::default()
    };
    let Some(scene) = Scene::set(test, setting).await else {
        return;
    };
    scene.put("DatabricksApp", "sales", running_app()).await;
    if call != DELETE {
        kill_at(&scene, call, state).await;
    }
    scene.runs_once("sales").await;
    scene.delete("DatabricksApp", "sales").await;
    if call == DELETE {
        kill_at(&scene, call, state).await;
    }
    scene.gone("DatabricksApp", "sales").await;
    let (status, app) = scene.remote("/api/2.0/apps/sales").await;
    assert_eq!(status, 404, "the object went before its app: {app:#}");
    for write in [CREATE, DEPLOY, DELETE] {
        let accepted = scene.calls(&format!("{write} 200")).await;
        assert_eq!(accepted, 1, "{write}: {:?}", scene.requests().await);
    }
    scene.end().await;
}

async fn kill_at(scene: &Scene, call: &str, state: &str) {
    scene.caught(call, state).await;
    scene.operator.kill();
    // The killed operator's connection closes, and the fake workspace lets go of what it held.
    scene.caught(call, "abandoned").await;
    scene.operator.start_again().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_create_takes_effect() {
    survives("killed_before_create_takes_effect", CREATE, Moment::Before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_create_took_effect() {
    survives("killed_after_create_took_effect", CREATE, Moment::After).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_deploy_takes_effect() {
    survives("killed_before_deploy_takes_effect", DEPLOY, Moment::Before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_deploy_took_effect() {
    survives("killed_after_deploy_took_effect", DEPLOY, Moment::After).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_delete_takes_effect() {
    survives("killed_before_delete_takes_effect", DELETE, Moment::Before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_delete_took_effect() {
    survives("killed_after_delete_took_effect", DELETE, Moment::After).await;
}
