//! A parent's changes reach its children in order, and a failure stops them where it is.
use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Scene, Setting, running_app, stopped_app, with};

const APP: &str = "DatabricksApp";
const FLEET: &str = "AppOfApps";

fn stopped(version: u32) -> Value {
    with(stopped_app(), "description", json!(format!("v{version}")))
}

/// A fleet of stopped apps; the first letter of each name is its step, those that `steps` lack come last.
fn stopped_fleet(version: u32, names: &[&str], steps: &[&str], soak: &str) -> Value {
    let app = |name: &&str| json!({"name": name, "labels": {"step": &name[..1]}, "spec": stopped(version)});
    let step = |letter: &&str| json!({"matchExpressions": [{"key": "step", "operator": "In", "values": [letter]}]});
    let apps: Vec<Value> = names.iter().map(app).collect();
    let steps: Vec<Value> = steps.iter().map(step).collect();
    json!({
        "apps": apps,
        "strategy": {"type": "RollingSync", "rollingSync": {"steps": steps, "soak": soak}},
    })
}

fn revision(object: &Value) -> String {
    let annotations = &object["metadata"]["annotations"];
    annotations["appofapps.dev/revision"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// Description of each remote app, by name.
async fn descriptions(scene: &Scene) -> BTreeMap<String, String> {
    let (_, apps) = scene.remote("/api/2.0/apps").await;
    let text = |app: &Value, key: &str| app[key].as_str().unwrap_or_default().to_owned();
    let apps = apps["apps"].as_array().cloned().unwrap_or_default();
    apps.iter()
        .map(|app| (text(app, "name"), text(app, "description")))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_three_waves_a_failure_in_the_second_keeps_the_third_from_being_written() {
    let test = "of_three_waves_a_failure_in_the_second_keeps_the_third_from_being_written";
    let Some(scene) = Scene::start(test).await else {
        return;
    };
    let fleet = |broken: bool| {
        let app = |wave: u32, n: u32| {
            let mut spec = stopped(1);
            if broken && (wave, n) == (1, 2) {
                let nobody = json!([{"principal": {"group": "nobody-at-all"}, "level": "CanUse"}]);
                spec["permissions"] = json!({"grants": nobody});
            }
            json!({"name": format!("w{wave}-{n}"), "wave": wave, "spec": spec})
        };
        let apps: Vec<Value> = (0..3)
            .flat_map(|wave| (0..4).map(move |n| (wave, n)))
            .map(|(wave, n)| app(wave, n))
            .collect();
        json!({ "apps": apps })
    };
    scene.put(FLEET, "fleet", fleet(true)).await;
    scene
        .wait(FLEET, "fleet", "Ready", "False/RolloutHalted")
        .await;
    let message = scene.message(FLEET, "fleet", "Stalled").await;
    assert!(
        message.contains("wave 1 waits for w1-2: PrincipalNotFound"),
        "{message}"
    );
    let status = scene.get(FLEET, "fleet").await["status"].clone();
    assert_eq!(status["rollout"]["wave"], 1);
    assert_eq!(status["summary"]["created"], 8, "{status:#}");
    assert_eq!(descriptions(&scene).await.len(), 8);
    scene.put(FLEET, "fleet", fleet(false)).await;
    scene.wait(FLEET, "fleet", "Ready", "True/Succeeded").await;
    assert_eq!(descriptions(&scene).await.len(), 12);
    let condition = scene.condition(FLEET, "fleet", "RolloutProgressing").await;
    assert_eq!(condition, "False/Succeeded");
    scene.end().await;
}

/// Steps `canary`, then the rest; of running apps.
fn stepped(command: &str, on_failure: &str) -> Value {
    let app = |name: &str, step: &str| {
        let mut spec = with(running_app(), "deployment", json!({"command": [command]}));
        spec["permissions"] = Value::Null;
        let spec = spec.as_object().unwrap().clone();
        let spec: Value = spec.into_iter().filter(|(_, v)| !v.is_null()).collect();
        json!({"name": name, "labels": {"step": step}, "spec": spec})
    };
    let canary = json!([{"key": "step", "operator": "In", "values": ["canary"]}]);
    json!({
        "apps": [app("canary", "canary"), app("second", "rest"), app("third", "rest")],
        "strategy": {"type": "RollingSync", "rollingSync": {
            "steps": [{"matchExpressions": canary}],
            "soak": "3m",
            "onFailure": on_failure,
        }},
    })
}

/// A fleet that runs `one`, and then is to run `two`, which fails.
async fn halted(test: &str, on_failure: &str, outcome: &str) -> Option<Scene> {
    let scene = Scene::set(test, Setting::default()).await?;
    scene.put(FLEET, "fleet", stepped("one", on_failure)).await;
    scene.wait(FLEET, "fleet", "Ready", "True/Succeeded").await;
    let crash = json!({"kind": "deployment_outcome", "app": "canary", "times": 1, "outcome": outcome, "message": "no module named two"});
    scene.fault(crash).await;
    scene.zero().await;
    scene.put(FLEET, "fleet", stepped("two", on_failure)).await;
    Some(scene)
}

/// Deployments that were accepted, by app, since the calls were last zeroed.
async fn deployments(scene: &Scene) -> BTreeMap<String, usize> {
    let mut made = BTreeMap::new();
    for entry in scene.recent().await {
        let path = entry["path"].as_str().unwrap_or_default();
        if entry["method"] == "POST" && path.ends_with("/deployments") && entry["status"] == 200 {
            let app = path.split('/').rev().nth(1).unwrap_or_default();
            *made.entry(app.to_owned()).or_default() += 1;
        }
    }
    made
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_canary_is_rolled_back_and_no_other_app_is_written() {
    let test = "a_failed_canary_is_rolled_back_and_no_other_app_is_written";
    let Some(scene) = halted(test, "Rollback", "FAILED").await else {
        return;
    };
    scene
        .wait(FLEET, "fleet", "Ready", "False/RolledBack")
        .await;
    let message = scene.message(FLEET, "fleet", "Stalled").await;
    assert!(
        message.contains("canary could not run revision"),
        "{message}"
    );
    scene
        .event(FLEET, "fleet", "Warning/ChildrenRolledBack")
        .await;
    let canary = scene.get(APP, "canary").await;
    assert_eq!(canary["spec"]["deployment"]["command"][0], "one");
    let status = &canary["status"]["deployment"];
    assert_eq!(status["desiredDigest"], status["digest"]);
    let made = deployments(&scene).await;
    assert!(made.contains_key("canary") && made.len() == 1, "{made:?}");

    let metrics = scene.metrics().await;
    for line in [
        "dao_fleet_rollouts_halted 1",
        "dao_fleet_children{state=\"Ready\"} 3",
        "dao_fleet_children{state=\"Stalled\"} 0",
    ] {
        assert!(metrics.contains(line), "{line} is missing in {metrics}");
    }

    // Killed while it is halted, it finds the same verdict and writes nothing.
    let before = scene.writes(false).await;
    scene.operator.kill();
    scene.operator.start_again().await.unwrap();
    scene.more_lists(3).await;
    scene
        .wait(FLEET, "fleet", "Ready", "False/RolledBack")
        .await;
    assert_eq!(scene.writes(false).await, before);

    // The same verdict also without its status.
    scene
        .merge_status(FLEET, "fleet", json!({"status": null}))
        .await;
    scene
        .wait(FLEET, "fleet", "Ready", "False/RolledBack")
        .await;

    // A revert has nothing to write to the child that was rolled back.
    let own = |scene: &Scene| {
        let writes = scene.audited_writes().into_iter();
        let to_children =
            writes.filter(|e| e.resource == "databricksapps" && e.subresource.is_empty());
        to_children.filter(|e| e.name == "canary").count()
    };
    let children = own(&scene);
    scene.put(FLEET, "fleet", stepped("one", "Rollback")).await;
    scene.wait(FLEET, "fleet", "Ready", "True/Succeeded").await;
    assert_eq!(own(&scene), children, "a revert wrote to the canary");
    assert_eq!(scene.writes(false).await, before);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_is_deployed_and_then_crashes_does_not_pass_its_gate() {
    let test = "a_canary_that_is_deployed_and_then_crashes_does_not_pass_its_gate";
    let Some(scene) = halted(test, "Rollback", "CRASHED").await else {
        return;
    };
    scene
        .wait(FLEET, "fleet", "Ready", "False/RolledBack")
        .await;
    let made = deployments(&scene).await;
    assert!(made.contains_key("canary") && made.len() == 1, "{made:?}");
    scene.wait(APP, "canary", "Ready", "True/Running").await;
    let canary = scene.get(APP, "canary").await;
    assert_eq!(canary["spec"]["deployment"]["command"][0], "one");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halted_rollout_goes_on_with_the_fixing_commit() {
    let test = "a_halted_rollout_goes_on_with_the_fixing_commit";
    let Some(scene) = halted(test, "Halt", "FAILED").await else {
        return;
    };
    scene
        .wait(FLEET, "fleet", "Ready", "False/RolloutHalted")
        .await;
    let second = scene.get(APP, "second").await;
    scene.sim.call("DELETE", "/sim/faults", None).await.unwrap();
    scene.more_lists(2).await;
    assert_eq!(revision(&scene.get(APP, "second").await), revision(&second));
    scene.put(FLEET, "fleet", stepped("three", "Halt")).await;
    scene.wait(FLEET, "fleet", "Ready", "True/Succeeded").await;
    for name in ["canary", "second", "third"] {
        let app = scene.get(APP, name).await;
        assert_eq!(app["spec"]["deployment"]["command"][0], "three");
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_rollout_gives_back_what_ran_before() {
    let test = "an_aborted_rollout_gives_back_what_ran_before";
    let Some(scene) = halted(test, "Halt", "FAILED").await else {
        return;
    };
    scene
        .wait(FLEET, "fleet", "Ready", "False/RolloutHalted")
        .await;
    scene.sim.call("DELETE", "/sim/faults", None).await.unwrap();
    let digest = scene.get(FLEET, "fleet").await["status"]["rollout"]["digest"].clone();
    let annotations = json!({"appofapps.dev/abort-rollout": digest});
    scene
        .merge(
            FLEET,
            "fleet",
            json!({"metadata": {"annotations": annotations}}),
        )
        .await;
    scene
        .wait(FLEET, "fleet", "Ready", "False/RolloutAborted")
        .await;
    let canary = scene.get(APP, "canary").await;
    assert_eq!(canary["spec"]["deployment"]["command"][0], "one");
    scene.wait(APP, "canary", "Ready", "True/Running").await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_write_a_rollout_ends_the_same() {
    let test = "killed_at_every_write_a_rollout_ends_the_same";
    let Some(scene) = Scene::start(test).await else {
        return;
    };
    let fleet =
        |version: u32| stopped_fleet(version, &["a1", "b1", "b2", "c1"], &["a", "b"], "30s");
    scene.put(FLEET, "fleet", fleet(1)).await;
    scene.wait(FLEET, "fleet", "Ready", "True/Succeeded").await;
    scene.put(FLEET, "fleet", fleet(2)).await;
    for n in 1..=4 {
        scene
            .until(&format!("{n} children have the new spec"), async || {
                let apps = scene.list(APP).await;
                let new = apps.iter().filter(|a| a["spec"]["description"] == "v2");
                (new.count() >= n).then_some(())
            })
            .await;
        scene.operator.kill();
        // Whoever lost the status as well has to find the same way.
        scene
            .merge_status(FLEET, "fleet", json!({"status": null}))
            .await;
        let apps = scene.list(APP).await;
        let new: Vec<&str> = apps
            .iter()
            .filter(|a| a["spec"]["description"] == "v2")
            .filter_map(|a| a["metadata"]["name"].as_str())
            .collect();
        let order = ["a1", "b1", "b2", "c1"];
        assert!(
            new.iter()
                .all(|name| order[..n.max(if n == 2 { 3 } else { n })].contains(name)),
            "{new:?}"
        );
        scene.operator.start_again().await.unwrap();
    }
    scene.wait(FLEET, "fleet", "Ready", "True/Succeeded").await;
    assert!(descriptions(&scene).await.values().all(|d| d == "v2"));
    let updates = scene.count("PATCH /api/2.0/apps/{name} 200").await
        + scene.count("POST /api/2.0/apps/{name}/update 200").await;
    assert_eq!(updates, 4, "{:?}", scene.requests().await);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_canary_holds_the_rollout_and_says_so() {
    let test = "a_paused_canary_holds_the_rollout_and_says_so";
    let Some(scene) = Scene::start(test).await else {
        return;
    };
    let fleet = |version: u32| stopped_fleet(version, &["a1", "b1"], &["a"], "10s");
    scene.put(FLEET, "fleet", fleet(1)).await;
    scene.wait(FLEET, "fleet", "Ready", "True/Succeeded").await;
    let paused =
        |value: Value| json!({"metadata": {"annotations": {"appofapps.dev/paused": value}}});
    scene.merge(APP, "a1", paused(json!("true"))).await;
    scene.put(FLEET, "fleet", fleet(2)).await;
    scene
        .wait(FLEET, "fleet", "Suspended", "True/ChildrenHeld")
        .await;
    let message = scene.message(FLEET, "fleet", "Suspended").await;
    assert!(message.contains("a1 (held: Paused)"), "{message}");
    assert_eq!(scene.get(APP, "b1").await["spec"]["description"], "v1");
    scene.pass(Duration::from_secs(60)).await;
    assert_eq!(scene.get(APP, "b1").await["spec"]["description"], "v1");
    scene.merge(APP, "a1", paused(Value::Null)).await;
    scene.wait(FLEET, "fleet", "Ready", "True/Succeeded").await;
    assert_eq!(scene.get(APP, "b1").await["spec"]["description"], "v2");
    scene.end().await;
}
