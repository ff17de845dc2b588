//! The rows of the table of conditions that speak of parents.
use serde_json::{Value, json};

use super::{APP, FLEET, start};
use crate::support::{Setting, running_app, stopped_app, with};

fn app(name: &str, step: &str, command: &str) -> Value {
    let mut spec = with(running_app(), "deployment", json!({"command": [command]}));
    spec.as_object_mut().unwrap().remove("permissions");
    json!({"name": name, "labels": {"step": step}, "spec": spec})
}

/// A canary and another app, in steps.
fn stepped(command: &str, on_failure: &str) -> Value {
    let canary = json!([{"key": "step", "operator": "In", "values": ["canary"]}]);
    json!({
        "apps": [app("canary", "canary", command), app("rest", "rest", command)],
        "strategy": {"type": "RollingSync", "rollingSync": {
            "steps": [{"matchExpressions": canary}],
            "soak": "1m",
            "onFailure": on_failure,
        }},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_in_a_rollout_is_in_progress_then_halted_then_rolled_back_then_healthy() {
    let test = "a_parent_in_a_rollout_is_in_progress_then_halted_then_rolled_back_then_healthy";
    let Some((scene, judges)) = start(test, Setting::default()).await else {
        return;
    };
    scene.put(FLEET, "fleet", stepped("one", "Halt")).await;
    let moving = "Unknown/ChildrenProgressing";
    let object = scene.seen(FLEET, "fleet", "Ready", moving).await;
    judges.expect(&scene, "moving", &object, "Progressing", "InProgress");
    let ready = "True/Succeeded";
    let object = scene.seen(FLEET, "fleet", "Ready", ready).await;
    judges.expect(&scene, "ready", &object, "Healthy", "Current");

    let fails = json!({"kind": "deployment_outcome", "app": "canary", "outcome": "FAILED", "times": 1, "message": "no module named two"});
    scene.fault(fails.clone()).await;
    scene.put(FLEET, "fleet", stepped("two", "Halt")).await;
    let halted = "False/RolloutHalted";
    let object = scene.seen(FLEET, "fleet", "Ready", halted).await;
    judges.expect(&scene, "halted", &object, "Degraded", "Failed");

    scene
        .put(FLEET, "fleet", stepped("three", "Rollback"))
        .await;
    scene.wait(FLEET, "fleet", "Ready", ready).await;
    scene.fault(fails).await;
    scene.put(FLEET, "fleet", stepped("four", "Rollback")).await;
    let back = "False/RolledBack";
    let object = scene.seen(FLEET, "fleet", "Ready", back).await;
    judges.expect(&scene, "rolled_back", &object, "Degraded", "Failed");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_with_a_failed_child_or_element_is_degraded_once_nothing_moves() {
    let test = "a_parent_with_a_failed_child_or_element_is_degraded_once_nothing_moves";
    let Some((scene, judges)) = start(test, Setting::default()).await else {
        return;
    };
    let nobody = json!({"grants": [{"principal": {"group": "nobody"}, "level": "CanUse"}]});
    let failing = with(stopped_app(), "permissions", nobody);
    let apps = json!([
        {"name": "failing", "spec": failing}, {"name": "fine", "spec": stopped_app()},
    ]);
    scene.put(FLEET, "fleet", json!({ "apps": apps })).await;
    let failed = "False/ChildrenFailed";
    let object = scene.seen(FLEET, "fleet", "Ready", failed).await;
    judges.expect(&scene, "child_failed", &object, "Degraded", "Failed");

    let apps = json!([
        {"name": "BAD", "spec": stopped_app()}, {"name": "other", "spec": stopped_app()},
    ]);
    scene.put(FLEET, "elements", json!({ "apps": apps })).await;
    let wrong = "False/GenerationFailed";
    let object = scene.seen(FLEET, "elements", "Ready", wrong).await;
    judges.expect(&scene, "element_failed", &object, "Degraded", "Failed");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_that_waits_for_a_word_is_suspended_and_not_current() {
    let test = "a_parent_that_waits_for_a_word_is_suspended_and_not_current";
    let Some((scene, judges)) = start(test, Setting::default()).await else {
        return;
    };
    let named = |names: &[&str], description: &str| {
        let spec = with(stopped_app(), "description", json!(description));
        let app = |name: &&str| json!({"name": name, "labels": {"step": name}, "spec": spec});
        let first = json!([{"key": "step", "operator": "In", "values": ["a1"]}]);
        json!({
            "apps": names.iter().map(app).collect::<Vec<_>>(),
            "strategy": {"type": "RollingSync", "rollingSync": {
                "steps": [{"matchExpressions": first}], "soak": "10s",
            }},
        })
    };
    scene
        .put(FLEET, "fleet", named(&["a1", "b1", "c1", "d1"], "v1"))
        .await;
    scene.wait(FLEET, "fleet", "Ready", "True/Succeeded").await;
    scene.put(FLEET, "fleet", named(&["a1", "b1"], "v1")).await;
    let waiting = "True/PruneWaiting";
    let object = scene.seen(FLEET, "fleet", "Suspended", waiting).await;
    judges.expect(&scene, "prune_waiting", &object, "Suspended", "InProgress");
    let digest = object["status"]["prune"]["digest"].clone();
    scene
        .annotate(FLEET, "fleet", "confirm-prune", digest)
        .await;
    scene.wait(FLEET, "fleet", "Ready", "True/Succeeded").await;

    scene.annotate(APP, "a1", "paused", json!("true")).await;
    scene.put(FLEET, "fleet", named(&["a1", "b1"], "v2")).await;
    let held = "True/ChildrenHeld";
    let object = scene.seen(FLEET, "fleet", "Suspended", held).await;
    judges.expect(&scene, "child_held", &object, "Suspended", "InProgress");
    scene.annotate(APP, "a1", "paused", Value::Null).await;
    scene.wait(FLEET, "fleet", "Ready", "True/Succeeded").await;

    scene
        .annotate(FLEET, "fleet", "paused", json!("true"))
        .await;
    let paused = "True/Paused";
    let object = scene.seen(FLEET, "fleet", "Suspended", paused).await;
    judges.expect(&scene, "paused", &object, "Suspended", "Current");
    scene.end().await;
}
