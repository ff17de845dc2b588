//! Flux's server-side apply and its waits: ready when it runs, no change between two intervals, prune, variables.
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::checkout::{Checkout, annotated, manifest};
use super::{APP, FLEET, WORKSPACE, start};
use crate::support::{Scene, Setting, running_app, stopped_app, with};

/// A manifest of the scene's namespace: Flux sets none.
fn placed(scene: &Scene, kind: &str, name: &str, spec: Value) -> Value {
    let mut manifest = manifest(kind, name, spec);
    manifest["metadata"]["namespace"] = json!(scene.namespace);
    manifest
}

/// What a reconciliation did with an object.
fn change<'v>(said: &'v Value, scene: &Scene, kind: &str, name: &str) -> &'v str {
    let subject = format!("{kind}/{}/{name}", scene.namespace);
    said["changes"][&subject].as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_ends_once_the_app_runs_and_two_intervals_later_nothing_is_configured() {
    let test = "a_wait_ends_once_the_app_runs_and_two_intervals_later_nothing_is_configured";
    let Some((scene, judges)) = start(test, Setting::default()).await else {
        return;
    };
    let checkout = Checkout::of(&judges, &scene);
    let workspace = scene.get(WORKSPACE, "prod").await["spec"].clone();
    let fleet = json!({"apps": [{"name": "child", "spec": stopped_app()}]});
    let all = [
        (APP, "sales", running_app()),
        (APP, "stopped", stopped_app()),
        (FLEET, "fleet", fleet),
        (WORKSPACE, "other", workspace),
    ];
    for (kind, name, spec) in &all {
        checkout.write(name, &placed(&scene, kind, name, spec.clone()));
    }
    let said = checkout.flux("flux-reconcile", json!({}));
    assert_eq!(said["ready"], true, "{said:#}");
    let object = scene.get(APP, "sales").await;
    assert_eq!(super::reads(&object, "Ready"), "True/Running");
    for (kind, name, _) in &all {
        assert_eq!(change(&said, &scene, kind, name), "created", "{said:#}");
    }
    for _ in 0..2 {
        let said = checkout.flux("flux-reconcile", json!({}));
        assert_eq!(said["ready"], true, "{said:#}");
        for (kind, name, _) in &all {
            assert_eq!(change(&said, &scene, kind, name), "unchanged", "{said:#}");
        }
    }
    // A new version is waited for as well, although the old one was ready.
    let mut new = running_app();
    new["deployment"]["command"] = json!(["python", "new.py"]);
    checkout.write("sales", &placed(&scene, APP, "sales", new));
    let said = checkout.flux("flux-reconcile", json!({}));
    assert_eq!(
        change(&said, &scene, APP, "sales"),
        "configured",
        "{said:#}"
    );
    assert_eq!(said["ready"], true, "{said:#}");
    let deployments = "POST /api/2.0/apps/{name}/deployments 200";
    assert_eq!(scene.calls(deployments).await, 2);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_succeed_fails_at_once_and_holds_up_what_depends_on_it() {
    let fails = json!({"kind": "deployment_outcome", "app": "failing", "outcome": "FAILED", "message": "no such module"});
    let setting = Setting {
        faults: vec![fails],
        ..Setting::default()
    };
    let test = "what_cannot_succeed_fails_at_once_and_holds_up_what_depends_on_it";
    let Some((scene, judges)) = start(test, setting).await else {
        return;
    };
    let checkout = Checkout::of(&judges, &scene);
    for part in ["first", "second"] {
        std::fs::create_dir(checkout.root().join(part)).unwrap();
    }
    let put = |file: &str, object: Value| {
        std::fs::write(checkout.root().join(file), object.to_string()).unwrap();
    };
    put(
        "first/failing.yaml",
        placed(&scene, APP, "failing", running_app()),
    );
    put(
        "second/later.yaml",
        placed(&scene, APP, "later", stopped_app()),
    );
    let kustomization = |name: &str, needs: Value| {
        json!({
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
            "metadata": {"name": name, "namespace": "flux-system"},
            "spec": {"path": format!("./{name}"), "prune": true, "wait": true, "timeout": "90s", "dependsOn": needs},
        })
    };
    let both = json!({"apiVersion": "v1", "kind": "List", "items": [
        kustomization("second", json!([{"name": "first"}])), kustomization("first", json!([])),
    ]});
    let file = checkout.root().join("kustomizations.json.yaml");
    std::fs::write(&file, both.to_string()).unwrap();
    let said = checkout.flux_with("flux-reconcile", &file, &[]);
    let message = said[0]["message"].as_str().unwrap();
    let words = format!("DatabricksApp/{}/failing status: 'Failed'", scene.namespace);
    assert!(message.contains(&words), "{said:#}");
    assert!(message.contains("failed early"), "{said:#}");
    assert_eq!(
        said[1]["message"],
        "dependency 'flux-system/first' is not ready"
    );
    assert_eq!(scene.names(APP).await, ["failing"]);

    // Mended, both go through in their order.
    scene.sim.call("DELETE", "/sim/faults", None).await.unwrap();
    let mended = with(running_app(), "deployment", json!({"command": ["mended"]}));
    put("first/failing.yaml", placed(&scene, APP, "failing", mended));
    let said = checkout.flux_with("flux-reconcile", &file, &[]);
    let ready = [&said[0]["ready"], &said[1]["ready"]];
    assert_eq!(ready, [true, true], "{said:#}");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_left_git_is_pruned_unless_it_says_no_and_a_deletion_waits_for_the_end() {
    let test = "what_left_git_is_pruned_unless_it_says_no_and_a_deletion_waits_for_the_end";
    let Some((scene, judges)) = start(test, Setting::default()).await else {
        return;
    };
    let checkout = Checkout::of(&judges, &scene);
    let kept = placed(&scene, APP, "kept", stopped_app());
    let kept = annotated(kept, "kustomize.toolkit.fluxcd.io/prune", "disabled");
    checkout.write("kept", &kept);
    for name in ["gone", "stays"] {
        checkout.write(name, &placed(&scene, APP, name, stopped_app()));
    }
    let said = checkout.flux("flux-reconcile", json!({}));
    assert_eq!(said["ready"], true, "{said:#}");
    checkout.remove("gone");
    checkout.remove("kept");
    let said = checkout.flux("flux-reconcile", json!({}));
    assert_eq!(change(&said, &scene, APP, "gone"), "deleted", "{said:#}");
    assert_eq!(change(&said, &scene, APP, "kept"), "skipped", "{said:#}");
    scene.gone(APP, "gone").await;
    assert_eq!(scene.names(APP).await, ["kept", "stays"]);

    let policy = json!({"deletionPolicy": "WaitForTermination"});
    let said = checkout.flux("flux-delete", policy);
    assert_eq!(said["ready"], true, "{said:#}");
    assert_eq!(scene.names(APP).await, ["kept"]);
    assert!(
        scene.get(APP, "stays").await.is_null(),
        "it was not waited for"
    );
    let (status, _) = scene.remote("/api/2.0/apps/stays").await;
    assert_eq!(status, 404);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shell_variables_survive_only_where_substitution_is_off_or_escaped() {
    let test = "shell_variables_survive_only_where_substitution_is_off_or_escaped";
    let Some((scene, judges)) = start(test, Setting::default()).await else {
        return;
    };
    let checkout = Checkout::of(&judges, &scene);
    let app = |name: &str, port: &str| {
        let command = json!(["sh", "-c", format!("serve --port {port}")]);
        let spec = with(stopped_app(), "deployment", json!({ "command": command }));
        placed(&scene, APP, name, spec)
    };
    let off = annotated(
        app("off", "${DATABRICKS_APP_PORT}"),
        "kustomize.toolkit.fluxcd.io/substitute",
        "disabled",
    );
    checkout.write("off", &off);
    checkout.write("trap", &app("trap", "${DATABRICKS_APP_PORT}"));
    checkout.write("escaped", &app("escaped", "$${DATABRICKS_APP_PORT}"));
    checkout.write("plain", &app("plain", "$DATABRICKS_APP_PORT"));
    let command = async |name: &str| {
        let object = scene.get(APP, name).await;
        let command = &object["spec"]["deployment"]["command"][2];
        command.as_str().unwrap().to_owned()
    };
    let variables = json!({"postBuild": {"substitute": {"REGION": "eu"}}});
    let said = checkout.flux("flux-reconcile", variables);
    assert_eq!(said["ready"], true, "{said:#}");
    let whole = "serve --port ${DATABRICKS_APP_PORT}";
    assert_eq!(command("off").await, whole);
    assert_eq!(command("escaped").await, whole);
    assert_eq!(command("trap").await, "serve --port");
    assert_eq!(command("plain").await, "serve --port $DATABRICKS_APP_PORT");
    // Without variables nothing is replaced, and what was escaped stays so.
    let said = checkout.flux("flux-reconcile", json!({}));
    assert_eq!(said["ready"], true, "{said:#}");
    assert_eq!(command("trap").await, whole);
    assert_eq!(
        command("escaped").await,
        "serve --port $${DATABRICKS_APP_PORT}"
    );
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_by_kubectl_is_dropped_and_one_by_another_field_manager_stays() {
    let test = "a_hold_by_kubectl_is_dropped_and_one_by_another_field_manager_stays";
    let Some((scene, judges)) = start(test, Setting::default()).await else {
        return;
    };
    let checkout = Checkout::of(&judges, &scene);
    let merging = ("kustomize.toolkit.fluxcd.io/ssa", "Merge");
    for name in ["kubectl", "other", "merging"] {
        let app = placed(&scene, APP, name, stopped_app());
        let app = match name {
            "merging" => annotated(app, merging.0, merging.1),
            _ => app,
        };
        checkout.write(name, &app);
    }
    checkout.flux("flux-reconcile", json!({}));
    for (name, manager) in [
        ("kubectl", "kubectl-annotate"),
        ("other", "flux-client-side-apply"),
        ("merging", "kubectl-annotate"),
    ] {
        let paused = json!({"metadata": {"annotations": {"appofapps.dev/paused": "true"}}});
        let resource = kube::api::ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk(
            "appofapps.dev",
            "v1alpha1",
            APP,
        ));
        let api: kube::Api<kube::api::DynamicObject> =
            kube::Api::namespaced_with(scene.client.clone(), &scene.namespace, &resource);
        let params = PatchParams {
            field_manager: Some(manager.into()),
            ..PatchParams::default()
        };
        api.patch(name, &params, &Patch::Merge(paused))
            .await
            .unwrap();
    }
    let said = checkout.flux("flux-reconcile", json!({}));
    assert_eq!(change(&said, &scene, APP, "kubectl"), "configured");
    assert_eq!(change(&said, &scene, APP, "other"), "unchanged");
    for (name, held) in [("kubectl", false), ("other", true), ("merging", true)] {
        let object = scene.get(APP, name).await;
        let paused = &object["metadata"]["annotations"]["appofapps.dev/paused"];
        assert_eq!(paused.is_string(), held, "{name}: {object:#}");
    }
    scene.end().await;
}
