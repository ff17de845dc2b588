//! Argo CD's engine compares and syncs: no drift, waves that wait for what runs, actions that self-heal leaves alone.
use serde_json::{Value, json};

use super::checkout::{Checkout, manifest, wave};
use super::{APP, FLEET, WORKSPACE, start};
use crate::support::{Setting, running_app, stopped_app, with};

const MODES: [&str; 3] = ["three-way", "structured-merge", "server-side"];

/// An app with most of what a spec may hold, and no list in the order of the alphabet.
fn full_app() -> Value {
    let mut spec = running_app();
    spec["compute"] = json!({"size": "Large"});
    spec["deployment"]["env"] = json!([
        {"name": "ZONE", "value": "eu"}, {"name": "WAREHOUSE", "valueFrom": {"resource": "warehouse"}},
        {"name": "LEVEL", "value": "info"},
    ]);
    spec["resources"] =
        json!([{"name": "warehouse", "sqlWarehouse": {"id": "wh-1", "permission": "CanUse"}}]);
    spec["userAuthorization"] = json!({"scopes": ["sql", "files.files"]});
    spec["permissions"]["grants"] = json!([
        {"principal": {"user": "stranger@example.com"}, "level": "CanUse"},
        {"principal": {"group": "data-users"}, "level": "CanManage"},
    ]);
    spec["management"] = json!({"deletion": "Delete", "adopt": "Never"});
    spec
}

/// The same with every list turned around.
fn shuffled(value: Value) -> Value {
    match value {
        Value::Object(map) => map.into_iter().map(|(k, v)| (k, shuffled(v))).collect(),
        Value::Array(items) if items.iter().all(Value::is_object) => {
            items.into_iter().rev().map(shuffled).collect()
        }
        other => other,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_applied_and_reconciled_is_synced_in_every_way_of_comparing() {
    let test = "what_is_applied_and_reconciled_is_synced_in_every_way_of_comparing";
    let Some((scene, judges)) = start(test, Setting::default()).await else {
        return;
    };
    let mut checkout = Checkout::of(&judges, &scene);
    let workspace = scene.get(WORKSPACE, "prod").await["spec"].clone();
    let fleet = json!({
        "generators": [{"list": {"elements": [{"n": "two"}, {"n": "one"}]}}],
        "template": {"metadata": {"name": "child-{{ n }}", "labels": {"z": "1", "a": "2"}}, "spec": stopped_app()},
    });
    let minimal = json!({"workspaceRef": {"name": "prod"}});
    let all = [
        (APP, "minimal", minimal),
        (APP, "full", full_app()),
        (APP, "shuffled", shuffled(full_app())),
        (FLEET, "fleet", fleet),
        (WORKSPACE, "other", workspace),
    ];
    for (kind, name, spec) in &all {
        checkout.write(name, &manifest(kind, name, spec.clone()));
    }
    for options in [vec![], vec!["ServerSideApply=true"]] {
        checkout.options = options;
        checkout.synced("Succeeded");
        for (kind, name, _) in &all {
            scene
                .until(&format!("{name} is ready"), async || {
                    let ready = scene.condition(kind, name, "Ready").await;
                    ready.starts_with("True/").then_some(())
                })
                .await;
        }
        for mode in MODES {
            let (sync, health, said) = checkout.status(mode);
            let said_of = format!("{mode} {:?}: {said:#}", checkout.options);
            assert_eq!((&*sync, &*health), ("Synced", "Healthy"), "{said_of}");
        }
    }
    // What differs is seen in each of them, so the three can tell.
    let changed = with(full_app(), "description", json!("Other"));
    checkout.write("full", &manifest(APP, "full", changed));
    for mode in MODES {
        assert_eq!(checkout.status(mode).0, "OutOfSync", "{mode}");
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wave_waits_for_what_runs_whatever_passes_by_itself_and_for_nothing_that_is_stopped() {
    let refused = json!({"pattern": "POST /api/2.0/apps", "status_code": 503, "times": 2});
    let setting = Setting {
        faults: vec![refused],
        ..Setting::default()
    };
    let test =
        "a_wave_waits_for_what_runs_whatever_passes_by_itself_and_for_nothing_that_is_stopped";
    let Some((scene, judges)) = start(test, setting).await else {
        return;
    };
    let checkout = Checkout::of(&judges, &scene);
    checkout.write("first", &wave(manifest(APP, "first", running_app()), 0));
    checkout.write("stopped", &wave(manifest(APP, "stopped", stopped_app()), 1));
    checkout.write("last", &wave(manifest(APP, "last", stopped_app()), 2));
    let said = checkout.synced("Succeeded");
    let first = scene.get(APP, "first").await;
    assert_eq!(super::reads(&first, "Ready"), "True/Running");
    let ready = first["status"]["conditions"].as_array().unwrap();
    let ready = ready.iter().find(|c| c["type"] == "Ready").unwrap();
    let stopped = scene.get(APP, "stopped").await;
    let time = |value: &Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let ran = time(&ready["lastTransitionTime"]);
    let created = time(&stopped["metadata"]["creationTimestamp"]);
    // Both are whole seconds: one of them is rounded, the other cut.
    let late = ran.duration_since(created);
    assert!(
        late <= jiff::SignedDuration::from_secs(1),
        "{ran} {created}: {said:#}"
    );
    for name in ["first", "stopped"] {
        let waiting = format!("waiting for healthy state of appofapps.dev/DatabricksApp/{name}");
        assert!(said["said"].to_string().contains(&waiting), "{said:#}");
    }
    assert_eq!(scene.calls("POST /api/2.0/apps 503").await, 2);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_taken_fails_the_sync_before_the_next_wave() {
    let test = "a_name_that_is_taken_fails_the_sync_before_the_next_wave";
    let Some((scene, judges)) = start(test, Setting::default()).await else {
        return;
    };
    let theirs = json!({"create": true, "creator": "ann@example.com"});
    scene
        .sim
        .call("POST", "/sim/apps/taken", Some(&theirs))
        .await
        .unwrap();
    let checkout = Checkout::of(&judges, &scene);
    checkout.write("taken", &wave(manifest(APP, "taken", running_app()), 0));
    checkout.write("next", &wave(manifest(APP, "next", stopped_app()), 1));
    let said = checkout.synced("Failed");
    let message = said["resources"].to_string();
    assert!(message.contains("ann@example.com"), "{said:#}");
    assert_eq!(scene.names(APP).await, ["taken"]);
    scene.delete(APP, "taken").await;
    scene.gone(APP, "taken").await;
    scene
        .sim
        .call("POST", "/sim/apps/taken", Some(&json!({"deleted": true})))
        .await
        .unwrap();
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_leaves_the_application_synced_and_outlives_a_sync() {
    let test = "an_action_leaves_the_application_synced_and_outlives_a_sync";
    let Some((scene, judges)) = start(test, Setting::default()).await else {
        return;
    };
    let mut checkout = Checkout::of(&judges, &scene);
    checkout.write("sales", &manifest(APP, "sales", running_app()));
    checkout.synced("Succeeded");
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    for options in [vec![], vec!["ServerSideApply=true"]] {
        checkout.options = options;
        judges.act(&scene, APP, "sales", "stop");
        scene.wait(APP, "sales", "Ready", "True/Stopped").await;
        for mode in MODES {
            let (sync, health, said) = checkout.status(mode);
            assert_eq!(
                (&*sync, &*health),
                ("Synced", "Suspended"),
                "{mode}: {said:#}"
            );
        }
        // A sync of something else.
        let description = json!(format!("With {} options", checkout.options.len()));
        let changed = with(running_app(), "description", description.clone());
        checkout.write("sales", &manifest(APP, "sales", changed));
        checkout.synced("Succeeded");
        scene
            .until("the description is changed", async || {
                let (_, app) = scene.remote("/api/2.0/apps/sales").await;
                (app["description"] == description).then_some(())
            })
            .await;
        scene
            .wait(APP, "sales", "Suspended", "True/RunStateOverridden")
            .await;
        assert_eq!(scene.condition(APP, "sales", "Ready").await, "True/Stopped");
        judges.act(&scene, APP, "sales", "start");
        scene.wait(APP, "sales", "Ready", "True/Running").await;
        assert_eq!(checkout.status("three-way").1, "Healthy");
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replacing_an_object_costs_neither_its_finalizer_nor_a_deployment() {
    let test = "replacing_an_object_costs_neither_its_finalizer_nor_a_deployment";
    let Some((scene, judges)) = start(test, Setting::default()).await else {
        return;
    };
    let mut checkout = Checkout::of(&judges, &scene);
    checkout.options = vec!["Replace=true"];
    checkout.write("sales", &manifest(APP, "sales", running_app()));
    checkout.synced("Succeeded");
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    scene.zero().await;
    let before = scene.get(APP, "sales").await;
    checkout.synced("Succeeded");
    let whole = scene
        .until("it has its finalizer", async || {
            let object = scene.get(APP, "sales").await;
            (!object["metadata"]["finalizers"].is_null()).then_some(object)
        })
        .await;
    assert_eq!(whole["metadata"]["uid"], before["metadata"]["uid"]);
    assert_ne!(
        whole["metadata"]["resourceVersion"], before["metadata"]["resourceVersion"],
        "nothing was replaced"
    );
    scene.more_lists(2).await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    assert_eq!(scene.writes(false).await, 0, "{:?}", scene.requests().await);
    scene.delete(APP, "sales").await;
    scene.gone(APP, "sales").await;
    assert_eq!(scene.calls("DELETE /api/2.0/apps/{name} 200").await, 1);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn children_are_neither_taken_for_the_applications_own_nor_pruned_and_show_in_its_tree() {
    let test =
        "children_are_neither_taken_for_the_applications_own_nor_pruned_and_show_in_its_tree";
    let Some((scene, judges)) = start(test, Setting::default()).await else {
        return;
    };
    let mut checkout = Checkout::of(&judges, &scene);
    let apps =
        json!([{"name": "one", "spec": stopped_app()}, {"name": "two", "spec": stopped_app()}]);
    checkout.write("fleet", &manifest(FLEET, "fleet", json!({ "apps": apps })));
    for tracking in ["label", "annotation"] {
        checkout.tracking = tracking;
        for _ in 0..2 {
            checkout.synced("Succeeded");
            scene.wait(FLEET, "fleet", "Ready", "True/Succeeded").await;
        }
        assert_eq!(scene.names(APP).await, ["one", "two"], "{tracking}");
        let (sync, health, said) = checkout.status("three-way");
        assert_eq!((&*sync, &*health), ("Synced", "Healthy"));
        assert_eq!(said["resources"].as_array().unwrap().len(), 1, "{said:#}");
        let tree = checkout.argo("argo-tree", &[]);
        let of = |kind: &str| -> Vec<(String, Value, Value)> {
            let nodes = tree.as_array().unwrap().iter();
            let prefix = format!("{kind}/{}/", scene.namespace);
            nodes
                .filter_map(|node| {
                    let name = node["object"].as_str().unwrap().strip_prefix(&prefix)?;
                    let health = node["health"]["status"].clone();
                    Some((name.to_owned(), node["owners"].clone(), health))
                })
                .collect()
        };
        let healthy = json!("Healthy");
        assert_eq!(of(FLEET), [("fleet".into(), Value::Null, healthy.clone())]);
        let owned = json!(["AppOfApps/fleet"]);
        let child = |name: &str| (name.to_owned(), owned.clone(), healthy.clone());
        assert_eq!(of(APP), [child("one"), child("two")], "{tree:#}");
    }
    for child in scene.list(APP).await {
        let metadata = format!(
            "{}{}",
            child["metadata"]["labels"], child["metadata"]["annotations"]
        );
        assert!(!metadata.contains("argocd.argoproj.io"), "{metadata}");
        assert!(
            !metadata.contains("app.kubernetes.io/instance"),
            "{metadata}"
        );
    }
    scene.end().await;
}
