//! Two replicas: one leads, the other is warm and ready; whatever ends the leader, the other goes on, and nothing is done
//! twice.
use std::time::{Duration, Instant};

use envtest::Operator;
use serde_json::{Value, json};

use crate::support::{Scene, Setting, running_app};

const APP: &str = "DatabricksApp";
const CREATE: &str = "POST /api/2.0/apps";
const DEPLOY: &str = "POST /api/2.0/apps/{name}/deployments";
/// The scene's own operator, which leads first.
const FIRST: &str = "operator-0";
const SECOND: &str = "operator-1";
/// From the leader's end to the other's first call.
const TAKEOVER: Duration = Duration::from_secs(15);
/// What a signal may take until it shows.
const SOON: Duration = Duration::from_secs(10);

fn text<'a>(entry: &'a Value, key: &str) -> &'a str {
    entry[key].as_str().unwrap_or_default()
}

fn call(entry: &Value) -> String {
    format!("{} {}", text(entry, "method"), text(entry, "route"))
}

/// Requests of one replica, oldest first.
async fn requests_of(scene: &Scene, replica: &str) -> Vec<Value> {
    let mut recent = scene.recent().await;
    let wanted = format!("instance/{replica}");
    recent.retain(|entry| text(entry, "user_agent").ends_with(&wanted));
    recent
}

async fn writes_of(scene: &Scene, replica: &str) -> Vec<Value> {
    let mut requests = requests_of(scene, replica).await;
    requests.retain(|entry| text(entry, "method") != "GET");
    requests
}

fn accepted(writes: &[Value], wanted: &str) -> usize {
    let ok = |entry: &Value| entry["status"].as_u64().is_some_and(|s| s / 100 == 2);
    let same = writes.iter().filter(|e| call(e) == wanted && ok(e));
    same.count()
}

/// As the operator's metrics tell.
async fn leads(operator: &Operator) -> bool {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let metrics = http.get(format!("{}/metrics", operator.url())).send();
    let metrics = metrics.await.unwrap().text().await.unwrap();
    metrics.lines().any(|line| line == "dao_leader 1")
}

/// The scene's operator leads, and a second replica stands by and is ready.
async fn pair(scene: &Scene) -> Operator {
    scene
        .until("the first replica leads", async || {
            leads(&scene.operator).await.then_some(())
        })
        .await;
    let second = scene.replica(SECOND).await;
    assert!(!leads(&second).await, "two lead");
    second
}

/// Waits for the second replica's first call; how long after `since` it came.
async fn first_call(scene: &Scene, since: Instant) -> Duration {
    scene
        .until("the second replica calls", async || {
            let requests = requests_of(scene, SECOND).await;
            (!requests.is_empty()).then(|| since.elapsed())
        })
        .await
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Killed,
    Stopped,
}

/// The leader ends while that call of its is under way; `when` of it is caught. One app with its deployment comes of it,
/// and what the first replica sent before is all that it ever sends.
async fn survives(test: &str, wanted: &str, when: &str, end: End) {
    let state = match when {
        "before_commit" => "held",
        _ => "committed",
    };
    // Longer than a takeover takes: what a stopped replica has under way takes effect while the other one is at work.
    let latency = json!({"kind": "latency", "pattern": wanted, "delay": "20s", "when": when});
    let setting = Setting {
        faults: vec![latency],
        ..Setting::default()
    };
    let Some(scene) = Scene::set(test, setting).await else {
        return;
    };
    let second = pair(&scene).await;
    scene.put(APP, "sales", running_app()).await;
    scene.caught(wanted, state).await;
    let ended = Instant::now();
    match end {
        End::Killed => scene.operator.kill(),
        End::Stopped => scene.operator.pause(),
    }
    let before = writes_of(&scene, FIRST).await;
    let took = first_call(&scene, ended).await;
    println!("{test}: the second replica's first call came after {took:?}");
    assert!(took <= TAKEOVER, "the takeover took {took:?}");
    let open = |entry: &&Value| matches!(text(entry, "state"), "held" | "committed");
    let overlapping = before.iter().filter(open).count();
    assert!(overlapping <= 1, "{before:#?}");
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    if end == End::Stopped {
        scene.operator.resume();
        scene
            .until("the first replica sees that it is over", async || {
                scene.operator.pid().is_none().then_some(())
            })
            .await;
        let log = std::fs::read_to_string(&scene.log).unwrap();
        assert!(log.contains("took the Lease"), "{log}");
        // What it had under way has come to its end, too.
        scene
            .until("no request is under way", async || {
                let first = writes_of(&scene, FIRST).await;
                (!first.iter().any(|entry| open(&entry))).then_some(())
            })
            .await;
        scene.more_lists(3).await;
        scene.wait(APP, "sales", "Ready", "True/Running").await;
    }
    let first = writes_of(&scene, FIRST).await;
    assert_eq!(first.len(), before.len(), "{first:#?}");
    let second_writes = writes_of(&scene, SECOND).await;
    let mut all = [0; 2];
    for writes in [&first, &second_writes] {
        for (n, wanted) in [CREATE, DEPLOY].iter().enumerate() {
            let accepted = accepted(writes, wanted);
            assert!(accepted <= 1, "{wanted}: {writes:#?}");
            all[n] += accepted;
        }
    }
    assert_eq!(all[0], 1, "one create, {first:#?} {second_writes:#?}");
    println!("{test}: accepted creates and deployments: {all:?}");
    assert!(all[1] == 1 || (end == End::Stopped && wanted == DEPLOY));
    let (_, apps) = scene.remote("/api/2.0/apps").await;
    assert_eq!(apps["apps"].as_array().unwrap().len(), 1, "{apps:#}");
    scene.end().await;
    second.stop(SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_killed_mid_create_is_followed_without_a_second_app() {
    let test = "a_leader_killed_mid_create_is_followed_without_a_second_app";
    survives(test, CREATE, "after_commit", End::Killed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_killed_mid_deployment_is_followed_without_a_second_deployment() {
    let test = "a_leader_killed_mid_deployment_is_followed_without_a_second_deployment";
    survives(test, DEPLOY, "after_commit", End::Killed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_stopped_mid_create_writes_nothing_when_it_goes_on() {
    let test = "a_leader_stopped_mid_create_writes_nothing_when_it_goes_on";
    survives(test, CREATE, "before_commit", End::Stopped).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_stopped_mid_deployment_writes_nothing_when_it_goes_on() {
    let test = "a_leader_stopped_mid_deployment_writes_nothing_when_it_goes_on";
    survives(test, DEPLOY, "before_commit", End::Stopped).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_told_to_end_hands_a_settled_fleet_over_at_once_and_nothing_is_written() {
    let test = "a_leader_told_to_end_hands_a_settled_fleet_over_at_once_and_nothing_is_written";
    let Some(scene) = Scene::start(test).await else {
        return;
    };
    let second = pair(&scene).await;
    for name in ["one", "two", "three"] {
        scene.put(APP, name, running_app()).await;
    }
    for name in ["one", "two", "three"] {
        scene.wait(APP, name, "Ready", "True/Running").await;
    }
    // Whatever is still to be remembered is written within a few looks.
    scene.more_lists(3).await;
    assert!(
        requests_of(&scene, SECOND).await.is_empty(),
        "a standby calls nobody"
    );
    scene.zero().await;
    let written = scene.audited_writes().len();
    let told = Instant::now();
    scene.operator.stop(SOON).await.unwrap();
    let ended = told.elapsed();
    let took = first_call(&scene, told).await;
    println!(
        "{test}: the first replica ended after {ended:?}, the other's first call came after {took:?}"
    );
    assert!(took < ended + Duration::from_secs(2), "{took:?}");
    scene.more_lists(5).await;
    assert!(leads(&second).await);
    assert_eq!(scene.writes(false).await, 0, "{:?}", scene.requests().await);
    let writes = scene.audited_writes();
    assert_eq!(writes.len(), written, "{:#?}", &writes[written..]);
    scene.end().await;
    second.stop(SOON).await;
}
