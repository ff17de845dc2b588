//! The service or the API server is away or busy for a while; nothing is lost and nobody is pestered.
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Scene, Setting, running_app};

const APP: &str = "DatabricksApp";
const WORKSPACE: &str = "DatabricksWorkspace";
const LIST: &str = "GET /api/2.0/apps";
const CREATE: &str = "POST /api/2.0/apps";

/// Service time between the first request of a route that was answered 429 and the next one.
async fn pause_after_429(scene: &Scene, call: &str) -> f64 {
    let recent = scene.recent().await;
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap().to_owned();
    let same: Vec<&Value> = recent
        .iter()
        .filter(|e| format!("{} {}", text(e, "method"), text(e, "route")) == call)
        .collect();
    let busy = same.iter().position(|e| e["status"] == 429).unwrap();
    let at = |n: usize| same[n]["service_time"].as_f64().unwrap();
    at(busy + 1) - at(busy)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_429_is_tried_again_only_after_the_time_it_asks_for() {
    let busy = |call: &str| json!({"pattern": call, "status_code": 429, "headers": {"Retry-After": "2"}, "body": "slow down"});
    let setting = Setting {
        faults: vec![busy(LIST), busy(CREATE)],
        ..Setting::default()
    };
    let test = "a_429_is_tried_again_only_after_the_time_it_asks_for";
    let Some(scene) = Scene::set(test, setting).await else {
        return;
    };
    scene.put(APP, "sales", running_app()).await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    // Retry-After is wire time.
    let asked = f64::from(2 * scene.scale);
    for call in [LIST, CREATE] {
        let pause = pause_after_429(&scene, call).await;
        assert!(
            pause >= asked,
            "{call} came back after {pause}, not {asked}"
        );
    }
    assert_eq!(scene.calls(&format!("{CREATE} 200")).await, 1);
    assert_eq!(scene.writes(true).await, 3, "{:?}", scene.requests().await);
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
    let pid = scene.operator.pid();
    scene.cluster.restart_apiserver().await.unwrap();
    let mut spec = running_app();
    spec["description"] = json!("after the restart");
    scene
        .until("the API server takes the change", async || {
            scene.try_put(APP, "sales", spec.clone()).await.ok()
        })
        .await;
    scene.put(APP, "second", running_app()).await;
    scene
        .until("the change arrives", async || {
            let (_, app) = scene.remote("/api/2.0/apps/sales").await;
            (app["description"] == "after the restart").then_some(())
        })
        .await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    scene.wait(APP, "second", "Ready", "True/Running").await;
    assert_eq!(
        scene.operator.pid(),
        pid,
        "the operator was to keep running"
    );
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_is_cheaper_than_calm_and_apps_stay_ready_until_three_intervals_are_missed() {
    let test = "a_storm_is_cheaper_than_calm_and_apps_stay_ready_until_three_intervals_are_missed";
    let Some(scene) = Scene::start(test).await else {
        return;
    };
    let quarter = Duration::from_secs(15 * 60);
    let interval = Duration::from_secs(60) / scene.scale;
    let calls = async || scene.count("").await;
    scene.put(APP, "sales", running_app()).await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    scene.zero().await;
    scene.pass(quarter).await;
    let calm = calls().await;

    scene.zero().await;
    // As a gateway answers: hardly two of its pages are the same to the letter.
    let answers = (0..100).map(|n| {
        let message = format!("upstream 10.0.{n}.17:8443 is gone, reference #{n:032x}");
        let body = json!({"error_code": "TEMPORARILY_UNAVAILABLE", "message": message});
        let times = i32::from(n < 99);
        json!({"pattern": "* /api/*", "status_code": 503, "body": body, "times": times})
    });
    let answers: Vec<Value> = answers.collect();
    scene.fault(json!({"faults": answers})).await;
    let start = Instant::now();
    let mut words = BTreeSet::new();
    let unknown = "Unknown/WorkspaceUnavailable";
    let lasted = scene
        .until("nobody knows how the app is", async || {
            let ready = scene.condition(APP, "sales", "Ready").await;
            let known = ready == unknown;
            words.insert(ready);
            known.then(|| start.elapsed())
        })
        .await;
    assert_eq!(Vec::from_iter(words), ["True/Running", unknown]);
    // The last good look may lie up to an interval before the storm.
    assert!(lasted >= 2 * interval, "{lasted:?} of {interval:?}");
    let workspace = scene.condition(WORKSPACE, "prod", "Ready").await;
    assert_eq!(workspace, "False/HostUnreachable");
    scene
        .event(WORKSPACE, "prod", "Warning/HostUnreachable")
        .await;
    scene
        .pass(quarter.saturating_sub(start.elapsed() * scene.scale))
        .await;
    let stormy = calls().await;
    assert!(stormy < calm, "{stormy} calls in the storm, {calm} in calm");
    // By now the breaker is open for ten minutes at a time, and a probe is all that goes out.
    scene.zero().await;
    let written = scene.audited_writes().len();
    let cause = scene.message(WORKSPACE, "prod", "Ready").await;
    assert!(cause.contains("503"), "{cause}");
    scene.pass(Duration::from_secs(20 * 60)).await;
    let probes = calls().await;
    assert_eq!(scene.message(WORKSPACE, "prod", "Ready").await, cause);
    let writes = scene.audited_writes().split_off(written);
    assert!(writes.is_empty(), "nothing changed: {writes:?}");
    assert!(
        probes <= 6,
        "{probes} calls in twenty minutes: {:?}",
        scene.requests().await
    );

    scene.sim.call("DELETE", "/sim/faults", None).await.unwrap();
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    scene
        .wait(WORKSPACE, "prod", "Ready", "True/Connected")
        .await;
    assert_eq!(scene.writes(false).await, 0, "{:?}", scene.requests().await);
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
    scene.wait(WORKSPACE, "prod", "Stalled", stalled).await;
    scene.wait(APP, "sales", "Stalled", stalled).await;
    // Lists go on with the credentials in memory, and change nothing about that.
    let before = scene.get(WORKSPACE, "prod").await;
    scene.pass(Duration::from_secs(5 * 60)).await;
    assert_eq!(scene.get(WORKSPACE, "prod").await, before);
    scene.apply(&scene.connection(&scene.token)).await;
    scene
        .wait(WORKSPACE, "prod", "Ready", "True/Connected")
        .await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    scene.end().await;
}
