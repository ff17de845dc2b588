//! Argo CD's actions: what is offered when, what each one writes, and that the operator does what it says.
use std::fmt::Write;

use serde_json::{Value, json};

use super::scripts::actions;
use super::{APP, FLEET, Judges, KINDS, WORKSPACE, customizations, golden, of_kind, start, text};
use crate::support::{Scene, Setting, running_app, with};

/// An annotation's new value: none takes it away, and NOW is a time.
type Change = (&'static str, Option<&'static str>);
const NOW: &str = "0001-01-01T00:00:00Z";
const PRUNE: &str = "{status.prune.digest}";
const ROLLOUT: &str = "{status.rollout.digest}";

/// Kind, action, state of the test data, and what it writes.
const WRITES: &[(&str, &str, &str, &[Change])] = &[
    (
        APP,
        "refresh",
        "running",
        &[("reconcile-requested-at", Some(NOW))],
    ),
    (
        APP,
        "redeploy",
        "running",
        &[("redeploy-requested-at", Some(NOW))],
    ),
    (
        APP,
        "restart",
        "running",
        &[("restart-requested-at", Some(NOW))],
    ),
    (APP, "stop", "running", &[("run-state", Some("Stopped"))]),
    (APP, "start", "run_state_overridden", &[("run-state", None)]),
    (APP, "start", "stopped", &[("run-state", Some("Running"))]),
    (
        APP,
        "start",
        "waiting_for_start",
        &[("run-state", Some("Running"))],
    ),
    (APP, "pause", "running", &[("paused", Some("true"))]),
    (APP, "resume", "paused", &[("paused", None)]),
    (
        FLEET,
        "refresh",
        "ready",
        &[("reconcile-requested-at", Some(NOW))],
    ),
    (FLEET, "pause", "ready", &[("paused", Some("true"))]),
    (FLEET, "resume", "paused", &[("paused", None)]),
    (
        FLEET,
        "confirm-prune",
        "prune_waiting",
        &[("confirm-prune", Some(PRUNE))],
    ),
    (
        FLEET,
        "abort-rollout",
        "halted",
        &[("abort-rollout", Some(ROLLOUT))],
    ),
    (
        FLEET,
        "resume-rollout",
        "rolled_back",
        &[("abort-rollout", None), ("resume-rollout", Some(NOW))],
    ),
    (
        WORKSPACE,
        "refresh",
        "connected",
        &[("reconcile-requested-at", Some(NOW))],
    ),
];

/// Kind, state of the test data, and the actions that are offered then.
const OFFERED: &[(&str, &str, &[&str])] = &[
    (
        APP,
        "running",
        &["pause", "redeploy", "refresh", "restart", "stop"],
    ),
    (APP, "stopped", &["pause", "refresh", "start"]),
    (APP, "run_state_overridden", &["pause", "refresh", "start"]),
    (
        APP,
        "waiting_for_start",
        &["pause", "redeploy", "refresh", "restart", "start", "stop"],
    ),
    (APP, "paused", &["refresh", "resume", "stop"]),
    (APP, "deleting", &["refresh"]),
    (FLEET, "ready", &["pause", "refresh"]),
    (FLEET, "moving", &["abort-rollout", "pause", "refresh"]),
    (FLEET, "halted", &["abort-rollout", "pause", "refresh"]),
    (
        FLEET,
        "rolled_back",
        &["abort-rollout", "pause", "refresh", "resume-rollout"],
    ),
    (
        FLEET,
        "prune_waiting",
        &["confirm-prune", "pause", "refresh"],
    ),
    (FLEET, "paused", &["refresh", "resume"]),
    (WORKSPACE, "connected", &["refresh"]),
];

/// How each action looks.
const SHOWN: &[(&str, &str, &str)] = &[
    ("refresh", "Refresh", "fa-sync"),
    ("redeploy", "Redeploy", "fa-upload"),
    ("restart", "Restart", "fa-redo"),
    ("stop", "Stop", "fa-stop-circle"),
    ("start", "Start", "fa-play-circle"),
    ("pause", "Pause", "fa-pause-circle"),
    ("resume", "Resume", "fa-play"),
    ("confirm-prune", "Confirm deletions", "fa-trash"),
    ("resume-rollout", "Resume rollout", "fa-forward"),
    ("abort-rollout", "Abort rollout", "fa-undo"),
];

/// The test data with the annotations as an action leaves them.
fn after(state: &Value, changes: &[Change]) -> Value {
    let mut object = state.clone();
    let metadata = object["metadata"].as_object_mut().unwrap();
    let annotations = metadata.entry("annotations").or_insert(json!({}));
    for (key, value) in changes {
        let key = format!("appofapps.dev/{key}");
        let annotations = annotations.as_object_mut().unwrap();
        match value {
            None => drop(annotations.remove(&key)),
            Some(PRUNE) => {
                annotations.insert(key, state["status"]["prune"]["digest"].clone());
            }
            Some(ROLLOUT) => {
                annotations.insert(key, state["status"]["rollout"]["digest"].clone());
            }
            Some(value) => drop(annotations.insert(key, json!(value))),
        }
    }
    object
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tests_of_the_actions_are_those_of_the_table_and_name_every_action() {
    let test = "the_tests_of_the_actions_are_those_of_the_table_and_name_every_action";
    let Some(judges) = Judges::find(test) else {
        return;
    };
    for kind in KINDS {
        let place = of_kind(kind);
        let all = actions(kind);
        let mut tests = String::from("discoveryTests:\n");
        for (_, state, offered) in OFFERED.iter().filter(|row| row.0 == kind) {
            writeln!(tests, "- inputPath: ../testdata/{state}.yaml\n  result:").unwrap();
            for action in &all {
                let (_, title, icon) = SHOWN.iter().find(|row| row.0 == action).unwrap();
                let disabled = !offered.contains(&action.as_str());
                writeln!(
                    tests,
                    "  - name: {action}\n    disabled: {disabled}\n    displayName: {title}\n    iconClass: fa fa-fw {icon}"
                )
                .unwrap();
            }
        }
        tests.push_str("actionTests:\n");
        for (_, action, state, changes) in WRITES.iter().filter(|row| row.0 == kind) {
            let input = place.join("testdata").join(format!("{state}.yaml"));
            let input: Value =
                serde_saphyr::from_str(&std::fs::read_to_string(input).unwrap()).unwrap();
            let output = format!("testdata/{action}_{state}.yaml");
            let printed = judges.run(&["print"], &after(&input, changes).to_string());
            golden(
                &place.join("actions").join(&output),
                printed[0].as_str().unwrap(),
            );
            writeln!(
                tests,
                "- action: {action}\n  inputPath: ../testdata/{state}.yaml\n  expectedOutputPath: {output}"
            )
            .unwrap();
        }
        golden(&place.join("actions/action_test.yaml"), &tests);
        let tested = |action: &String| WRITES.iter().any(|row| row.0 == kind && row.1 == action);
        assert!(
            all.iter().all(tested),
            "an action of {kind} has no test: {all:?}"
        );
    }
}

impl Judges {
    /// Runs an action on an object of the cluster, as a button of Argo CD does.
    pub fn act(&self, scene: &Scene, kind: &str, name: &str, action: &str) {
        let kubeconfig = scene.cluster.admin_kubeconfig();
        let object = json!({
            "apiVersion": "appofapps.dev/v1alpha1", "kind": kind,
            "metadata": {"name": name, "namespace": scene.namespace},
        });
        let folder = customizations();
        let arguments = [
            "act",
            "-kubeconfig",
            text(&kubeconfig),
            "-customizations",
            text(&folder),
            "-action",
            action,
        ];
        self.run(&arguments, &object.to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_action_on_an_app_does_what_it_says() {
    let test = "every_action_on_an_app_does_what_it_says";
    let Some((scene, judges)) = start(test, Setting::default()).await else {
        return;
    };
    scene.put(APP, "sales", running_app()).await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    let act = |action| judges.act(&scene, APP, "sales", action);

    act("refresh");
    handled(&scene, APP, "sales", "Reconcile", "reconcile").await;
    act("redeploy");
    let deployments = "POST /api/2.0/apps/{name}/deployments 200";
    scene
        .until("deployed once more", async || {
            (scene.calls(deployments).await == 2).then_some(())
        })
        .await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    act("restart");
    scene
        .until("stopped and started", async || {
            let stops = scene.calls("POST /api/2.0/apps/{name}/stop 200").await;
            let starts = scene.calls("POST /api/2.0/apps/{name}/start 200").await;
            (stops == 1 && starts == 1).then_some(())
        })
        .await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;

    act("stop");
    scene.wait(APP, "sales", "Ready", "True/Stopped").await;
    scene
        .wait(APP, "sales", "Suspended", "True/RunStateOverridden")
        .await;
    act("start");
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    let object = scene.get(APP, "sales").await;
    let annotations = &object["metadata"]["annotations"];
    assert!(
        annotations["appofapps.dev/run-state"].is_null(),
        "{object:#}"
    );

    act("pause");
    scene.wait(APP, "sales", "Suspended", "True/Paused").await;
    let changed = with(running_app(), "description", json!("New"));
    scene.put(APP, "sales", changed).await;
    scene.more_lists(2).await;
    let (_, remote) = scene.remote("/api/2.0/apps/sales").await;
    assert_eq!(remote["description"], "Sales");
    act("resume");
    scene
        .until("the description is changed", async || {
            let (_, remote) = scene.remote("/api/2.0/apps/sales").await;
            (remote["description"] == "New").then_some(())
        })
        .await;
    judges.act(&scene, WORKSPACE, "prod", "refresh");
    handled(&scene, WORKSPACE, "prod", "Reconcile", "reconcile").await;
    scene.end().await;
}

/// Waits until the operator has done what the annotation asks for.
async fn handled(scene: &Scene, kind: &str, name: &str, what: &str, key: &str) {
    scene
        .until(&format!("{what} of {name} is handled"), async || {
            let object = scene.get(kind, name).await;
            let annotations = &object["metadata"]["annotations"];
            let asked = &annotations[format!("appofapps.dev/{key}-requested-at")];
            let done = &object["status"][format!("lastHandled{what}At")];
            (asked.is_string() && asked == done).then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_action_on_a_fleet_does_what_it_says() {
    let test = "every_action_on_a_fleet_does_what_it_says";
    let Some((scene, judges)) = start(test, Setting::default()).await else {
        return;
    };
    let act = |action| judges.act(&scene, FLEET, "fleet", action);
    let fleet = |names: &[&str], command: &str| {
        let mut spec = with(running_app(), "deployment", json!({"command": [command]}));
        spec.as_object_mut().unwrap().remove("permissions");
        let app = |name: &&str| json!({"name": name, "labels": {"step": name}, "spec": spec});
        let first = json!([{"key": "step", "operator": "In", "values": ["a1"]}]);
        json!({
            "apps": names.iter().map(app).collect::<Vec<_>>(),
            "strategy": {"type": "RollingSync", "rollingSync": {
                "steps": [{"matchExpressions": first}], "soak": "10s", "onFailure": "Rollback",
            }},
        })
    };
    let (ready, command) = ("True/Succeeded", async |app: &str| {
        let object = scene.get(APP, app).await;
        let command = &object["spec"]["deployment"]["command"][0];
        command.as_str().unwrap().to_owned()
    });
    scene
        .put(FLEET, "fleet", fleet(&["a1", "b1", "c1"], "one"))
        .await;
    scene.wait(FLEET, "fleet", "Ready", ready).await;
    act("refresh");
    handled(&scene, FLEET, "fleet", "Reconcile", "reconcile").await;
    act("pause");
    scene.wait(FLEET, "fleet", "Suspended", "True/Paused").await;
    act("resume");
    scene
        .wait(FLEET, "fleet", "Suspended", "False/Resumed")
        .await;

    // What was rolled back goes out once more.
    let fails = json!({"kind": "deployment_outcome", "app": "a1", "outcome": "FAILED", "times": 1, "message": "no module"});
    scene.fault(fails.clone()).await;
    scene
        .put(FLEET, "fleet", fleet(&["a1", "b1", "c1"], "two"))
        .await;
    scene
        .wait(FLEET, "fleet", "Ready", "False/RolledBack")
        .await;
    scene.wait(APP, "a1", "Ready", "True/Running").await;
    assert_eq!(command("a1").await, "one");
    act("resume-rollout");
    scene.wait(FLEET, "fleet", "Ready", ready).await;
    assert_eq!(command("b1").await, "two");

    // A rollout under way is given up.
    scene
        .fault(json!({"kind": "durations", "app": "a1", "deploy": "600s"}))
        .await;
    scene
        .put(FLEET, "fleet", fleet(&["a1", "b1", "c1"], "three"))
        .await;
    scene
        .until("the canary is written", async || {
            (command("a1").await == "three").then_some(())
        })
        .await;
    scene
        .wait(FLEET, "fleet", "RolloutProgressing", "True/RollingOut")
        .await;
    scene.sim.call("DELETE", "/sim/faults", None).await.unwrap();
    act("abort-rollout");
    scene
        .until("the canary has its last good spec", async || {
            (command("a1").await == "two").then_some(())
        })
        .await;
    scene
        .put(FLEET, "fleet", fleet(&["a1", "b1", "c1"], "two"))
        .await;
    scene.wait(FLEET, "fleet", "Ready", ready).await;

    scene.put(FLEET, "fleet", fleet(&["a1"], "two")).await;
    scene
        .wait(FLEET, "fleet", "Suspended", "True/PruneWaiting")
        .await;
    act("confirm-prune");
    scene.gone(APP, "b1").await;
    scene.gone(APP, "c1").await;
    scene.wait(FLEET, "fleet", "Ready", ready).await;
    assert_eq!(scene.names(APP).await, ["a1"]);
    scene.end().await;
}
