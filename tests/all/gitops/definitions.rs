//! The definitions suit both tools, and come before or after the objects that need them.
use std::fs;

use serde_json::{Value, json};

use super::checkout::{Checkout, manifest};
use super::{APP, Judges, start, text};
use crate::support::{Setting, running_app, stopped_app};

fn definitions() -> Vec<Value> {
    let folder = super::repository().join("crds");
    let files = super::scripts::names(&folder);
    files
        .iter()
        .map(|file| {
            serde_saphyr::from_str(&fs::read_to_string(folder.join(file)).unwrap()).unwrap()
        })
        .collect()
}

/// Calls `check` with every schema inside, and where it is.
fn visit(schema: &Value, at: &str, check: &mut dyn FnMut(&Value, &str)) {
    check(schema, at);
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        visit(inner, &format!("{at}.{name}"), check);
    }
    for inner in [&schema["items"], &schema["additionalProperties"]] {
        if inner.is_object() {
            visit(inner, &format!("{at}[]"), check);
        }
    }
}

#[test]
fn an_untouched_object_reads_as_unseen_and_lists_merge_by_keys_that_are_always_there() {
    for definition in definitions() {
        let spec = &definition["spec"];
        let kind = spec["names"]["kind"].as_str().unwrap();
        assert!(spec["conversion"].is_null(), "{kind}: a webhook converts");
        let schema = &spec["versions"][0]["schema"]["openAPIV3Schema"];
        let status = &schema["properties"]["status"];
        assert_eq!(
            status["default"],
            json!({"observedGeneration": -1}),
            "{kind}"
        );
        visit(schema, kind, &mut |schema, at| {
            for key in schema["x-kubernetes-list-map-keys"]
                .as_array()
                .into_iter()
                .flatten()
            {
                let key = key.as_str().unwrap();
                let item = &schema["items"];
                let required = item["required"].as_array().unwrap();
                assert!(
                    required.iter().any(|r| r == key),
                    "{at}: {key} may be absent"
                );
                assert!(
                    item["properties"][key]["default"].is_null(),
                    "{at}: {key} has a default"
                );
            }
            // A reader that compares item by item would take another order for a change.
            let merges = schema["x-kubernetes-list-type"] == "map";
            let keyed = schema["x-kubernetes-list-map-keys"].is_array();
            assert_eq!(merges, keyed, "{at}");
        });
    }
}

/// Definitions and an object of them on an API server that has neither.
#[tokio::test(flavor = "multi_thread")]
async fn definitions_may_come_with_their_objects_or_after_them() {
    let test = "definitions_may_come_with_their_objects_or_after_them";
    let Some(judges) = Judges::find(test) else {
        return;
    };
    let Some(cluster) = envtest::cluster_or_leave_out(test).await.unwrap() else {
        return;
    };
    let client = cluster.client().await.unwrap();
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: apps}\n";
    envtest::apply(&client, namespace).await.unwrap();
    let mut checkout = Checkout::new(&judges, cluster.admin_kubeconfig(), "apps");
    checkout.write("sales", &manifest(APP, "sales", running_app()));

    // Before their definitions come, objects fail the sync: at its dry run, or, where that is skipped, at the apply.
    let dry = checkout.synced("Failed");
    checkout.options = vec!["SkipDryRunOnMissingResource=true"];
    let wet = checkout.synced("Failed");
    for said in [&dry, &wet] {
        let words = said.to_string();
        assert!(words.contains("DatabricksApp"), "{said:#}");
    }
    // With them, in one sync.
    for (n, definition) in definitions().iter().enumerate() {
        checkout.write(&format!("definition-{n}"), definition);
    }
    let said = checkout.synced("Succeeded");
    let all = said["resources"].as_array().unwrap();
    assert_eq!(all.len(), definitions().len() + 1, "{said:#}");
    let synced = all.iter().all(|r| r["status"] == "Synced");
    assert!(synced, "{said:#}");
    // No operator runs here, so nobody has seen it.
    let (sync, health, said) = checkout.status("three-way");
    assert_eq!((&*sync, &*health), ("Synced", "Progressing"), "{said:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_wait_returns_neither_before_the_operator_has_seen_an_app_nor_before_an_edit_runs()
{
    let test =
        "kubectl_wait_returns_neither_before_the_operator_has_seen_an_app_nor_before_an_edit_runs";
    let Some((scene, judges)) = start(test, Setting::default()).await else {
        return;
    };
    let kubeconfig = scene.cluster.admin_kubeconfig();
    let wait = |timeout: &str| {
        let arguments = [
            "kubectl-wait",
            "-kubeconfig",
            text(&kubeconfig),
            "-namespace",
            &scene.namespace,
            "-object",
            "databricksapps/sales",
            "-for",
            "condition=Ready",
            "-timeout",
            timeout,
        ];
        judges.run(&arguments, "")
    };
    scene.operator.kill();
    scene.put(APP, "sales", running_app()).await;
    assert_eq!(wait("2s")["met"], false);
    scene.operator.start_again().await.unwrap();
    assert_eq!(wait("60s")["met"], true);
    let object = scene.get(APP, "sales").await;
    assert_eq!(super::reads(&object, "Ready"), "True/Running");

    let mut new = running_app();
    new["deployment"]["command"] = json!(["python", "new.py"]);
    scene.put(APP, "sales", new).await;
    assert_eq!(wait("60s")["met"], true);
    let deployments = "POST /api/2.0/apps/{name}/deployments 200";
    assert_eq!(scene.calls(deployments).await, 2);
    // And an edit that nobody sees.
    scene.operator.kill();
    scene.put(APP, "sales", stopped_app()).await;
    assert_eq!(wait("2s")["met"], false);
    scene.operator.start_again().await.unwrap();
    scene.end().await;
}
