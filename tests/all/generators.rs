//! Children follow what their parent's generators read: ConfigMaps and DatabricksWorkspaces.
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Scene, Setting};

const APP: &str = "DatabricksApp";
const FLEET: &str = "AppOfApps";
const WORKSPACE: &str = "DatabricksWorkspace";
/// Wire time from a change of an input to what it leads to: the parent's debounce and a pass. Nothing else would bring a
/// pass that early, at the scale of these scenes.
const SOON: Duration = Duration::from_secs(6);

async fn scene(test: &str) -> Option<Scene> {
    let setting = Setting {
        scale: 20,
        ..Setting::default()
    };
    Scene::set(test, setting).await
}

/// A fleet of stopped apps, named `name` by a template.
fn fleet(generators: Value, name: &str, workspace: Value) -> Value {
    json!({
        "generators": generators,
        "template": {
            "metadata": {"name": name},
            "spec": {"workspaceRef": workspace, "lifecycle": {"state": "Stopped"}},
        },
        "prune": {"maxDeletions": "50%"},
    })
}

/// A fleet of the teams that ConfigMaps with the label `part: teams` list, and of the team `core`.
fn teams() -> Value {
    let maps = json!({"selector": {"matchLabels": {"part": "teams"}}, "key": "teams.yaml"});
    let core = json!({"elements": [{"team": "core"}]});
    let generators = json!([{"list": core}, {"configMaps": maps}]);
    fleet(generators, "{{ team }}-app", json!({"name": "prod"}))
}

/// One app in each Workspace with the label `env: prod`.
fn everywhere() -> Value {
    let workspaces = json!({"selector": {"matchLabels": {"env": "prod"}}});
    let reference = json!({"name": "{{ name }}", "namespace": "{{ namespace }}"});
    fleet(
        json!([{"workspaces": workspaces}]),
        "app-{{ name }}",
        reference,
    )
}

async fn put_teams(scene: &Scene, name: &str, text: &str) {
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": scene.namespace,
            "labels": {"appofapps.dev/generator": "true", "part": "teams"}},
        "data": {"teams.yaml": text},
    });
    scene.apply(&map.to_string()).await;
}

async fn until_children(scene: &Scene, wanted: &[&str]) {
    let what = format!("the children are {}", wanted.join(", "));
    scene
        .until(&what, async || {
            (scene.names(APP).await == wanted).then_some(())
        })
        .await;
}

/// As [`until_children`], by a pass that the change itself has brought.
async fn soon_children(scene: &Scene, wanted: &[&str]) {
    let start = Instant::now();
    until_children(scene, wanted).await;
    let took = start.elapsed();
    assert!(took < SOON, "{} took {took:?}", wanted.join(", "));
}

/// Waits for a whole pass of the fleet that began after now.
async fn passed(scene: &Scene, mark: &str) {
    let patch =
        json!({"metadata": {"annotations": {"appofapps.dev/reconcile-requested-at": mark}}});
    scene.merge(FLEET, "fleet", patch).await;
    scene
        .until("the fleet was looked at", async || {
            let fleet = scene.get(FLEET, "fleet").await;
            (fleet["status"]["lastHandledReconcileAt"] == mark).then_some(())
        })
        .await;
}

async fn settled(scene: &Scene) {
    scene.wait(FLEET, "fleet", "Ready", "True/Succeeded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_map_that_comes_changes_or_goes_changes_the_children_at_once() {
    let test = "a_config_map_that_comes_changes_or_goes_changes_the_children_at_once";
    let Some(scene) = scene(test).await else {
        return;
    };
    scene.put(FLEET, "fleet", teams()).await;
    until_children(&scene, &["core-app"]).await;
    settled(&scene).await;

    put_teams(&scene, "teams", "- team: hr\n- team: sales\n").await;
    soon_children(&scene, &["core-app", "hr-app", "sales-app"]).await;
    settled(&scene).await;

    put_teams(&scene, "teams", "- team: hr\n- team: legal\n").await;
    soon_children(&scene, &["core-app", "hr-app", "legal-app"]).await;
    scene.gone(APP, "sales-app").await;
    settled(&scene).await;

    // One at a time: half of the fleet may go at once.
    put_teams(&scene, "teams", "team: hr\n").await;
    soon_children(&scene, &["core-app", "hr-app"]).await;
    scene.gone(APP, "legal-app").await;
    settled(&scene).await;
    scene.delete("ConfigMap", "teams").await;
    soon_children(&scene, &["core-app"]).await;
    scene.gone(APP, "hr-app").await;
    settled(&scene).await;

    // Of another namespace, or without the label, it is none of the fleet's.
    let other = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "unlabelled", "namespace": scene.namespace, "labels": {"part": "teams"}},
        "data": {"teams.yaml": "- team: ghost\n"},
    });
    scene.apply(&other.to_string()).await;
    passed(&scene, "1").await;
    until_children(&scene, &["core-app"]).await;
    scene.delete("ConfigMap", "unlabelled").await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_that_gets_a_label_or_admits_this_namespace_adds_children() {
    let test = "a_workspace_that_gets_a_label_or_admits_this_namespace_adds_children";
    let Some(scene) = scene(test).await else {
        return;
    };
    scene.put(FLEET, "fleet", everywhere()).await;
    passed(&scene, "1").await;
    until_children(&scene, &[]).await;

    let label = json!({"metadata": {"labels": {"env": "prod"}}});
    scene.merge(WORKSPACE, "prod", label).await;
    soon_children(&scene, &["app-prod"]).await;
    settled(&scene).await;

    let elsewhere = format!("{}-platform", scene.namespace);
    let here = &scene.namespace;
    let shared = scene
        .connection(&scene.token)
        .replace(&format!("name: {here}}}"), &format!("name: {elsewhere}}}"))
        .replace(
            &format!("namespace: {here}}}"),
            &format!("namespace: {elsewhere}, labels: {{env: prod}}}}"),
        )
        .replace("name: prod,", "name: shared,");
    scene.apply(&shared).await;
    let platform = scene.beside(&elsewhere);
    scene
        .until("the shared Workspace is connected", async || {
            let ready = platform.condition(WORKSPACE, "shared", "Ready").await;
            (ready == "True/Connected").then_some(())
        })
        .await;
    let tenants = json!({"from": "Selector", "selector": {"matchLabels": {"tenant": "yes"}}});
    let admitting = json!({"spec": {"allowedNamespaces": tenants}});
    platform.merge(WORKSPACE, "shared", admitting).await;
    passed(&scene, "2").await;
    until_children(&scene, &["app-prod"]).await;

    let tenant = json!({"metadata": {"labels": {"tenant": "yes"}}});
    scene.merge("Namespace", here, tenant).await;
    soon_children(&scene, &["app-prod", "app-shared"]).await;
    settled(&scene).await;

    scene.delete(FLEET, "fleet").await;
    scene.gone(FLEET, "fleet").await;
    platform.delete(WORKSPACE, "shared").await;
    scene
        .until("the shared Workspace is gone", async || {
            platform
                .get(WORKSPACE, "shared")
                .await
                .is_null()
                .then_some(())
        })
        .await;
    scene.delete("Namespace", &elsewhere).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_map_that_is_no_yaml_is_named_while_the_others_go_on_and_nothing_is_pruned() {
    let test = "a_config_map_that_is_no_yaml_is_named_while_the_others_go_on_and_nothing_is_pruned";
    let Some(scene) = scene(test).await else {
        return;
    };
    put_teams(&scene, "good", "- team: hr\n- team: sales\n").await;
    put_teams(&scene, "fickle", "- team: legal\n").await;
    scene.put(FLEET, "fleet", teams()).await;
    let all = ["core-app", "hr-app", "legal-app", "sales-app"];
    until_children(&scene, &all).await;
    settled(&scene).await;

    put_teams(&scene, "fickle", "- team: [legal\n").await;
    scene
        .wait(FLEET, "fleet", "Generated", "False/GenerationFailed")
        .await;
    let message = scene.message(FLEET, "fleet", "Generated").await;
    assert!(message.contains("fickle"), "{message}");
    // Whose child legal-app is cannot be known, nor that of a team that is gone elsewhere.
    put_teams(&scene, "good", "- team: hr\n- team: ops\n").await;
    let kept = ["core-app", "hr-app", "legal-app", "ops-app", "sales-app"];
    soon_children(&scene, &kept).await;
    passed(&scene, "1").await;
    until_children(&scene, &kept).await;

    put_teams(&scene, "fickle", "- team: legal\n").await;
    soon_children(&scene, &["core-app", "hr-app", "legal-app", "ops-app"]).await;
    scene
        .wait(FLEET, "fleet", "Generated", "True/Succeeded")
        .await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_that_is_being_deleted_stays_an_element() {
    let Some(scene) = scene("a_workspace_that_is_being_deleted_stays_an_element").await else {
        return;
    };
    let label = json!({"metadata": {"labels": {"env": "prod"}}});
    scene.merge(WORKSPACE, "prod", label).await;
    scene.put(FLEET, "fleet", everywhere()).await;
    until_children(&scene, &["app-prod"]).await;
    settled(&scene).await;
    scene.delete(WORKSPACE, "prod").await;
    scene
        .until("the Workspace is held by its app", async || {
            let workspace = scene.get(WORKSPACE, "prod").await;
            let deleting = workspace["metadata"]["deletionTimestamp"].is_string();
            deleting.then_some(())
        })
        .await;
    passed(&scene, "1").await;
    until_children(&scene, &["app-prod"]).await;
    let fleet = scene.get(FLEET, "fleet").await;
    assert_eq!(fleet["status"]["summary"]["desired"], 1, "{fleet:#}");
    scene.end().await;
}
