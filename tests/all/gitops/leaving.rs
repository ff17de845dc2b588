//! Argo CD prunes and deletes: in order, once, bounded, and not what is protected.
use serde_json::{Value, json};

use super::checkout::{Checkout, annotated, manifest, wave};
use super::{APP, Judges, WORKSPACE, start};
use crate::support::{Scene, Setting, running_app, stopped_app, with};

const OPTIONS: &str = "argocd.argoproj.io/sync-options";

/// Secret, workspace and two apps of it in a checkout; with waves, or all in one.
async fn installed<'a>(judges: &'a Judges, scene: &Scene, waves: bool) -> Checkout<'a> {
    let checkout = Checkout::of(judges, scene);
    let placed = |manifest: Value, at: i32| match waves {
        true => wave(manifest, at),
        false => manifest,
    };
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "own"},
        "stringData": {"token": scene.token},
    });
    let mut connection = scene.get(WORKSPACE, "prod").await["spec"].clone();
    connection["auth"]["token"]["secretRef"]["name"] = json!("own");
    checkout.write("secret", &placed(secret, -2));
    checkout.write(
        "workspace",
        &placed(manifest(WORKSPACE, "own", connection), -1),
    );
    for (name, spec) in [("one", running_app()), ("two", stopped_app())] {
        let spec = with(spec, "workspaceRef", json!({"name": "own"}));
        checkout.write(name, &placed(manifest(APP, name, spec), 0));
    }
    checkout.synced("Succeeded");
    scene.wait(APP, "one", "Ready", "True/Running").await;
    scene.wait(APP, "two", "Ready", "True/Stopped").await;
    checkout
}

async fn deletes(scene: &Scene) -> u64 {
    scene.calls("DELETE /api/2.0/apps/{name} 200").await
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_an_application_takes_apps_then_workspace_then_secret_each_once() {
    let test = "deleting_an_application_takes_apps_then_workspace_then_secret_each_once";
    let Some((scene, judges)) = start(test, Setting::default()).await else {
        return;
    };
    let checkout = installed(&judges, &scene, true).await;
    let said = checkout.argo("argo-delete", &[]);
    let named = |kind: &str, name: &str| format!("{kind}/{}/{name}", scene.namespace);
    let waves = json!([
        [named(APP, "one"), named(APP, "two")],
        [named(WORKSPACE, "own")],
        [named("Secret", "own")],
    ]);
    assert_eq!((&said["done"], &said["waves"]), (&json!(true), &waves));
    assert_eq!(deletes(&scene).await, 2);
    let (_, apps) = scene.remote("/api/2.0/apps").await;
    assert!(
        apps["apps"].as_array().is_none_or(Vec::is_empty),
        "{apps:#}"
    );
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pruning_everything_goes_in_the_same_order() {
    let test = "pruning_everything_goes_in_the_same_order";
    let Some((scene, judges)) = start(test, Setting::default()).await else {
        return;
    };
    let checkout = installed(&judges, &scene, true).await;
    for file in ["secret", "workspace", "one", "two"] {
        checkout.remove(file);
    }
    let said = checkout.synced("Succeeded");
    let order = |object: &str| {
        let all = said["resources"].as_array().unwrap();
        let found = all
            .iter()
            .find(|r| r["object"].as_str().unwrap().starts_with(object));
        let found = found.unwrap_or_else(|| panic!("{object} is not in {said:#}"));
        assert_eq!(found["status"], "Pruned", "{said:#}");
        found["order"].as_i64().unwrap()
    };
    let orders = [APP, WORKSPACE, "Secret"].map(order);
    assert!(orders.is_sorted(), "{orders:?}: {said:#}");
    // Argo CD may say the same more than once while it waits.
    let waited = ["DatabricksApp/one", "DatabricksWorkspace/own"].map(|name| {
        let said = said["said"].as_array().unwrap();
        let found = said
            .iter()
            .position(|word| word.as_str().unwrap().contains(name));
        found.unwrap_or_else(|| panic!("nobody waited for {name}: {said:#?}"))
    });
    assert!(waited.is_sorted(), "{waited:?}: {said:#}");
    assert_eq!(deletes(&scene).await, 2);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_waves_everything_goes_at_once_and_still_ends() {
    let test = "without_waves_everything_goes_at_once_and_still_ends";
    let Some((scene, judges)) = start(test, Setting::default()).await else {
        return;
    };
    let checkout = installed(&judges, &scene, false).await;
    let said = checkout.argo("argo-delete", &[]);
    assert_eq!(said["done"], true, "{said:#}");
    assert_eq!(said["waves"].as_array().unwrap().len(), 1, "{said:#}");
    // The credentials in memory serve what is being deleted.
    assert_eq!(deletes(&scene).await, 2);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_protected_stays_and_what_is_orphaned_leaves_its_app_running() {
    let test = "what_is_protected_stays_and_what_is_orphaned_leaves_its_app_running";
    let Some((scene, judges)) = start(test, Setting::default()).await else {
        return;
    };
    let checkout = Checkout::of(&judges, &scene);
    let orphan = with(running_app(), "management", json!({"deletion": "Orphan"}));
    let kept = annotated(
        manifest(APP, "kept", stopped_app()),
        OPTIONS,
        "Prune=false,Delete=false",
    );
    checkout.write("kept", &kept);
    checkout.write("orphan", &manifest(APP, "orphan", orphan));
    checkout.write("usual", &manifest(APP, "usual", stopped_app()));
    checkout.synced("Succeeded");
    scene.wait(APP, "orphan", "Ready", "True/Running").await;
    for name in ["kept", "usual"] {
        scene.wait(APP, name, "Ready", "True/Stopped").await;
    }
    // Pruned: all but what is protected.
    for file in ["kept", "orphan", "usual"] {
        checkout.remove(file);
    }
    checkout.synced("Succeeded");
    scene.gone(APP, "orphan").await;
    scene.gone(APP, "usual").await;
    assert_eq!(scene.names(APP).await, ["kept"]);
    // Deleted: the same.
    let said = checkout.argo("argo-delete", &[]);
    assert_eq!((&said["done"], &said["waves"]), (&json!(true), &json!([])));
    assert_eq!(scene.names(APP).await, ["kept"]);
    assert_eq!(deletes(&scene).await, 1);
    let (_, app) = scene.remote("/api/2.0/apps/orphan").await;
    assert_eq!(app["compute_status"]["state"], "ACTIVE");
    scene.end().await;
}
