//! Apps of other people under our name, and two objects that declare one app.
use serde_json::{Value, json};

use crate::diff::{command, text};
use crate::support::{Scene, running_app, with};

const APP: &str = "DatabricksApp";
const REMOTE: &str = "/sim/apps/sales";

/// Somebody else's app `sales` is there before anything of ours.
async fn with_a_strangers_app(test: &str) -> Option<Scene> {
    let scene = Scene::start(test).await?;
    let body = json!({"create": true, "creator": "ann@example.com", "description": "Ann's"});
    stranger(&scene, body).await;
    // What a look shows that was sent before is still an absent app.
    scene.more_lists(2).await;
    Some(scene)
}

async fn stranger(scene: &Scene, change: Value) {
    let called = scene.sim.call("POST", REMOTE, Some(&change)).await;
    called.unwrap();
}

async fn remote_id(scene: &Scene) -> String {
    let (_, app) = scene.remote("/api/2.0/apps/sales").await;
    app["id"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_of_somebody_else_is_left_alone_and_its_creator_is_named() {
    let test = "an_app_of_somebody_else_is_left_alone_and_its_creator_is_named";
    let Some(scene) = with_a_strangers_app(test).await else {
        return;
    };
    scene.put(APP, "sales", running_app()).await;
    scene
        .wait(APP, "sales", "Stalled", "True/NameConflict")
        .await;
    let message = scene.message(APP, "sales", "Stalled").await;
    assert!(message.contains("ann@example.com"), "{message}");
    assert!(message.contains("management.adopt"), "{message}");
    let ready = scene.condition(APP, "sales", "Ready").await;
    assert_eq!(ready, "False/NameConflict");
    scene.more_lists(2).await;
    scene.delete(APP, "sales").await;
    scene.gone(APP, "sales").await;
    assert_eq!(scene.writes(false).await, 0, "{:?}", scene.requests().await);
    assert!(!remote_id(&scene).await.is_empty());
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_nobody_declares_is_adopted_when_the_spec_says_so() {
    let test = "an_app_that_nobody_declares_is_adopted_when_the_spec_says_so";
    let Some(scene) = with_a_strangers_app(test).await else {
        return;
    };
    let id = remote_id(&scene).await;
    let adopting = json!({"adopt": "IfUnowned"});
    scene
        .put(APP, "sales", with(running_app(), "management", adopting))
        .await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    let (_, app) = scene.remote("/api/2.0/apps/sales").await;
    assert_eq!(app["id"], id);
    assert_eq!(app["description"], "Sales");
    let object = scene.get(APP, "sales").await;
    assert_eq!(object["status"]["app"]["id"], id);
    assert_eq!(object["status"]["app"]["creator"], "ann@example.com");
    assert_eq!(scene.calls("POST /api/2.0/apps 200").await, 0);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_recreated_by_a_stranger_is_never_written_and_outlives_our_object() {
    let test = "an_app_recreated_by_a_stranger_is_never_written_and_outlives_our_object";
    let Some(scene) = Scene::start(test).await else {
        return;
    };
    scene.put(APP, "sales", running_app()).await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    let ours = remote_id(&scene).await;
    scene.zero().await;
    stranger(&scene, json!({"recreate": true, "description": "Theirs"})).await;
    let theirs = remote_id(&scene).await;
    assert_ne!(ours, theirs);
    scene
        .wait(APP, "sales", "Stalled", "True/RemoteReplaced")
        .await;
    let message = scene.message(APP, "sales", "Stalled").await;
    for word in [&ours, &theirs, "stranger@example.com", "management.adopt"] {
        assert!(message.contains(word), "{word} is not in: {message}");
    }
    // A wish of ours changes nothing about whose it is.
    let wish = with(running_app(), "description", json!("Ours"));
    scene.put(APP, "sales", wish).await;
    scene
        .wait(APP, "sales", "Stalled", "True/RemoteReplaced")
        .await;
    scene.more_lists(2).await;
    scene.delete(APP, "sales").await;
    scene.gone(APP, "sales").await;
    scene.event(APP, "sales", "Warning/RemoteReplaced").await;
    assert_eq!(remote_id(&scene).await, theirs);
    assert_eq!(scene.writes(false).await, 0, "{:?}", scene.requests().await);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_is_gone_is_created_anew_and_an_event_says_so() {
    let test = "an_app_that_is_gone_is_created_anew_and_an_event_says_so";
    let Some(scene) = Scene::start(test).await else {
        return;
    };
    scene.put(APP, "sales", running_app()).await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    let first = remote_id(&scene).await;
    stranger(&scene, json!({"deleted": true})).await;
    scene.event(APP, "sales", "Warning/Recreated").await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    let second = remote_id(&scene).await;
    assert_ne!(first, second);
    let object = scene.get(APP, "sales").await;
    assert_eq!(object["status"]["app"]["id"], second);
    for call in [
        "POST /api/2.0/apps 200",
        "POST /api/2.0/apps/{name}/deployments 200",
    ] {
        let calls = scene.calls(call).await;
        assert_eq!(calls, 2, "{call}: {:?}", scene.requests().await);
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_objects_that_declare_one_app_the_first_keeps_it_until_it_goes() {
    let test = "of_two_objects_that_declare_one_app_the_first_keeps_it_until_it_goes";
    let Some(scene) = Scene::start(test).await else {
        return;
    };
    let declared = with(running_app(), "name", json!("sales"));
    scene.put(APP, "first", declared.clone()).await;
    scene.wait(APP, "first", "Ready", "True/Running").await;
    scene.put(APP, "second", declared).await;
    scene
        .wait(APP, "second", "Stalled", "True/NameConflict")
        .await;
    let message = scene.message(APP, "second", "Stalled").await;
    let first = format!("{}/first", scene.namespace);
    assert!(message.contains(&first), "{message}");
    assert!(message.contains("spec.name"), "{message}");
    let ready = scene.condition(APP, "first", "Ready").await;
    assert_eq!(ready, "True/Running");
    assert_eq!(scene.writes(false).await, 3, "{:?}", scene.requests().await);
    let id = remote_id(&scene).await;
    scene.delete(APP, "first").await;
    scene
        .wait(APP, "second", "Ready", "Unknown/WaitingForName")
        .await;
    scene.gone(APP, "first").await;
    scene.wait(APP, "second", "Ready", "True/Running").await;
    assert_ne!(remote_id(&scene).await, id);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_the_same_identity_made_elsewhere_is_not_taken_for_ours_after_a_refused_create()
{
    let test =
        "an_app_that_the_same_identity_made_elsewhere_is_not_taken_for_ours_after_a_refused_create";
    let Some(scene) = Scene::start(test).await else {
        return;
    };
    // Refused for its name, as it is when another cluster's operator was faster by a moment.
    let taken = json!({"pattern": "POST /api/2.0/apps", "status_code": 409,
        "body": {"error_code": "ALREADY_EXISTS", "message": "An app with the same name already exists"}});
    scene.fault(taken).await;
    let theirs =
        json!({"create": true, "description": "theirs", "updater": "operator@example.com"});
    let hidden = json!({"kind": "list_lag", "for": "30s"});
    scene.fault(hidden).await;
    scene
        .sim
        .call("POST", "/sim/apps/sales", Some(&theirs))
        .await
        .unwrap();
    scene.put("DatabricksApp", "sales", running_app()).await;
    scene
        .wait("DatabricksApp", "sales", "Stalled", "True/NameConflict")
        .await;
    let (_, app) = scene.remote("/api/2.0/apps/sales").await;
    assert_eq!(app["description"], "theirs");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_403_on_an_adopted_app_names_the_right_that_is_missing() {
    let test = "a_403_on_an_adopted_app_names_the_right_that_is_missing";
    let Some(scene) = with_a_strangers_app(test).await else {
        return;
    };
    let denied = json!({"kind": "status", "pattern": "POST /api/2.0/apps/sales/update", "status_code": 403, "times": 0});
    scene.fault(denied).await;
    let adopting = json!({"adopt": "IfUnowned"});
    scene
        .put(APP, "sales", with(running_app(), "management", adopting))
        .await;
    scene
        .wait(APP, "sales", "Stalled", "True/PermissionDenied")
        .await;
    let message = scene.message(APP, "sales", "Stalled").await;
    for word in [
        "CAN_MANAGE on app sales",
        crate::support::IDENTITY,
        "description",
    ] {
        assert!(message.contains(word), "{word} is not in: {message}");
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_connections_to_one_workspace_share_its_names() {
    let test = "two_connections_to_one_workspace_share_its_names";
    let Some(scene) = Scene::start(test).await else {
        return;
    };
    let ours = with(running_app(), "management", json!({"deletion": "Orphan"}));
    scene.put(APP, "sales", ours).await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    let id = remote_id(&scene).await;
    let connection = scene.get("DatabricksWorkspace", "prod").await["spec"].clone();
    scene.put("DatabricksWorkspace", "twin", connection).await;
    scene
        .wait("DatabricksWorkspace", "twin", "Ready", "True/Connected")
        .await;
    scene.zero().await;
    // Adoption is of what nobody declares, by whichever connection, also while one of them is not used yet.
    for adopt in ["IfUnowned", "Always"] {
        let mut copy = with(running_app(), "management", json!({"adopt": adopt}));
        copy["workspaceRef"] = json!({"name": "twin"});
        copy["name"] = json!("sales");
        copy["description"] = json!("Another one");
        scene.put(APP, "copy", copy).await;
        scene
            .wait(APP, "copy", "Stalled", "True/NameConflict")
            .await;
        let message = scene.message(APP, "copy", "Stalled").await;
        assert!(
            message.contains("/sales declares the same app"),
            "{message}"
        );
        let workspace = format!("{}/twin", scene.namespace);
        let said = command(&scene, &["export", "--workspace", &workspace], "").await;
        assert!(
            text(&said.stderr).contains("passed over: 1 app"),
            "{said:?}"
        );
        scene.more_lists(2).await;
        scene.delete(APP, "copy").await;
        scene.gone(APP, "copy").await;
    }
    assert_eq!(scene.writes(false).await, 0, "{:?}", scene.requests().await);
    assert_eq!(remote_id(&scene).await, id);
    let twin = scene.get("DatabricksWorkspace", "twin").await;
    assert_eq!(twin["status"]["apps"]["unmanaged"], 0, "{twin:#}");
    // Once it is let go, the next one may have it.
    let mut heir = with(running_app(), "management", json!({"adopt": "IfUnowned"}));
    heir["workspaceRef"] = json!({"name": "twin"});
    heir["name"] = json!("sales");
    scene.put(APP, "heir", heir).await;
    scene
        .wait(APP, "heir", "Stalled", "True/NameConflict")
        .await;
    scene.delete(APP, "sales").await;
    scene.gone(APP, "sales").await;
    scene.wait(APP, "heir", "Ready", "True/Running").await;
    assert_eq!(remote_id(&scene).await, id);
    scene.end().await;
}
