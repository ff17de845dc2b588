//! Whose the children are, how many of them may go, and what a parent writes.
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::support::{Scene, stopped_app};

const APP: &str = "DatabricksApp";
const FLEET: &str = "AppOfApps";

/// A fleet of apps `app-0` … from a list.
fn fleet(apps: std::ops::Range<u32>) -> Value {
    let elements: Vec<Value> = apps.map(|n| json!({"n": n, "text": "same"})).collect();
    let mut spec = stopped_app();
    spec["description"] = json!("{{ text }}");
    json!({
        "generators": [{"list": {"elements": elements}}],
        "template": {"metadata": {"name": "app-{{ n }}"}, "spec": spec},
    })
}

async fn settled(scene: &Scene, count: usize) {
    scene.wait(FLEET, "fleet", "Ready", "True/Succeeded").await;
    assert_eq!(scene.names(APP).await.len(), count);
}

async fn confirm(scene: &Scene) {
    let digest = scene.get(FLEET, "fleet").await["status"]["prune"]["digest"].clone();
    assert!(digest.is_string(), "no digest to confirm");
    let annotations = json!({"appofapps.dev/confirm-prune": digest});
    let patch = json!({"metadata": {"annotations": annotations}});
    scene.merge(FLEET, "fleet", patch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn few_children_go_by_themselves_and_many_wait_for_a_word() {
    let test = "few_children_go_by_themselves_and_many_wait_for_a_word";
    let Some(scene) = Scene::start(test).await else {
        return;
    };
    scene.put(FLEET, "fleet", fleet(0..10)).await;
    settled(&scene, 10).await;
    scene.put(FLEET, "fleet", fleet(0..9)).await;
    scene.gone(APP, "app-9").await;
    settled(&scene, 9).await;
    // Three at once are too many, and so they stay when the next commit follows within a minute.
    scene.put(FLEET, "fleet", fleet(0..6)).await;
    scene
        .wait(FLEET, "fleet", "Suspended", "True/PruneWaiting")
        .await;
    scene.put(FLEET, "fleet", fleet(0..5)).await;
    scene
        .until("four wait", async || {
            let object = scene.get(FLEET, "fleet").await;
            (object["status"]["prune"]["count"] == 4).then_some(())
        })
        .await;
    scene.more_lists(2).await;
    assert_eq!(scene.names(APP).await.len(), 9);
    let metrics = scene.metrics().await;
    assert!(metrics.contains("dao_fleet_prunes_waiting 1"), "{metrics}");
    confirm(&scene).await;
    settled(&scene, 5).await;
    // An empty result, too, asks first.
    scene.put(FLEET, "fleet", fleet(0..0)).await;
    scene
        .wait(FLEET, "fleet", "Suspended", "True/PruneWaiting")
        .await;
    assert_eq!(scene.names(APP).await.len(), 5);
    confirm(&scene).await;
    settled(&scene, 0).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_that_orphans_leaves_children_that_outlive_it_however_it_is_deleted() {
    let cascade_orphan = DeleteParams {
        propagation_policy: Some(kube::api::PropagationPolicy::Orphan),
        ..DeleteParams::default()
    };
    for (policy, params) in [
        ("Orphan", DeleteParams::background()),
        ("Orphan", DeleteParams::foreground()),
        ("Delete", cascade_orphan),
    ] {
        let test = "a_parent_that_orphans_leaves_children_that_outlive_it_however_it_is_deleted";
        let Some(scene) = Scene::start(test).await else {
            return;
        };
        let mut spec = fleet(0..3);
        spec["syncPolicy"] = json!({"onDeletion": policy});
        scene.put(FLEET, "fleet", spec).await;
        settled(&scene, 3).await;
        scene.delete_as(FLEET, "fleet", params.clone()).await;
        scene.gone(FLEET, "fleet").await;
        scene.more_lists(2).await;
        assert_eq!(scene.names(APP).await.len(), 3, "{params:?}");
        for app in scene.list(APP).await {
            assert!(app["metadata"]["ownerReferences"].is_null(), "{app:#}");
        }
        assert_eq!(scene.calls("DELETE /api/2.0/apps/{name} 200").await, 0);
        scene.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_wave_goes_first_where_the_order_is_reversed() {
    for params in [DeleteParams::background(), DeleteParams::foreground()] {
        reversed(params).await;
    }
}

async fn reversed(params: DeleteParams) {
    let test = "the_last_wave_goes_first_where_the_order_is_reversed";
    let Some(scene) = Scene::start(test).await else {
        return;
    };
    let app = |name: &str, wave: u32| json!({"name": name, "wave": wave, "spec": stopped_app()});
    let apps = json!([app("app-a", 0), app("app-b", 1), app("app-c", 2)]);
    let spec = json!({"apps": apps, "strategy": {"deletionOrder": "Reverse"}});
    scene.put(FLEET, "fleet", spec).await;
    settled(&scene, 3).await;
    scene.delete_as(FLEET, "fleet", params).await;
    scene.gone(FLEET, "fleet").await;
    let deleted: Vec<String> = scene
        .recent()
        .await
        .iter()
        .filter(|call| call["method"] == "DELETE" && call["status"] == 200)
        .filter_map(|call| Some(call["path"].as_str()?.rsplit('/').next()?.to_owned()))
        .collect();
    assert_eq!(deleted, ["app-c", "app-b", "app-a"]);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_parents_that_want_one_child_the_second_is_refused_by_name() {
    let test = "of_two_parents_that_want_one_child_the_second_is_refused_by_name";
    let Some(scene) = Scene::start(test).await else {
        return;
    };
    let one = json!({"apps": [{"name": "sales", "spec": stopped_app()}]});
    scene.put(FLEET, "fleet", one.clone()).await;
    settled(&scene, 1).await;
    scene.put(FLEET, "other", one).await;
    scene
        .wait(FLEET, "other", "Ready", "False/ForeignChild")
        .await;
    let message = scene.message(FLEET, "other", "Stalled").await;
    assert!(
        message.contains("sales: exists and belongs to AppOfApps fleet"),
        "{message}"
    );
    scene.wait(FLEET, "fleet", "Ready", "True/Succeeded").await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_made_by_hand_is_left_alone_until_it_is_handed_over_and_can_leave_again() {
    let test = "a_child_made_by_hand_is_left_alone_until_it_is_handed_over_and_can_leave_again";
    let Some(scene) = Scene::start(test).await else {
        return;
    };
    scene.put(APP, "app-0", stopped_app()).await;
    scene.wait(APP, "app-0", "Ready", "True/Stopped").await;
    scene.put(FLEET, "fleet", fleet(0..2)).await;
    scene
        .wait(FLEET, "fleet", "Ready", "False/ForeignChild")
        .await;
    let by_hand = scene.get(APP, "app-0").await;
    assert!(by_hand["metadata"]["ownerReferences"].is_null());
    assert_eq!(
        scene.names(APP).await.len(),
        2,
        "one name in the way stops no other"
    );
    let label = json!({"metadata": {"labels": {"appofapps.dev/parent": "fleet"}}});
    scene.merge(APP, "app-0", label).await;
    settled(&scene, 2).await;
    let taken = scene.get(APP, "app-0").await;
    assert_eq!(taken["spec"]["description"], "same");
    assert_eq!(taken["metadata"]["ownerReferences"][0]["name"], "fleet");

    let detach = json!({"metadata": {"annotations": {"appofapps.dev/detach": "true"}}});
    scene.merge(APP, "app-0", detach).await;
    scene
        .until("it has left", async || {
            let app = scene.get(APP, "app-0").await;
            app["metadata"]["ownerReferences"].is_null().then_some(())
        })
        .await;
    let own = json!({"spec": {"description": "its own"}});
    scene.merge(APP, "app-0", own).await;
    scene.put(FLEET, "fleet", fleet(1..2)).await;
    scene.wait(FLEET, "fleet", "Ready", "True/Succeeded").await;
    scene.more_lists(2).await;
    let app = scene.get(APP, "app-0").await;
    assert_eq!(app["spec"]["description"], "its own");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_edit_is_put_right_and_what_others_add_stays_and_a_dropped_field_goes() {
    let test = "a_hand_edit_is_put_right_and_what_others_add_stays_and_a_dropped_field_goes";
    let Some(scene) = Scene::start(test).await else {
        return;
    };
    scene.put(FLEET, "fleet", fleet(0..1)).await;
    settled(&scene, 1).await;
    let edit = json!({
        "metadata": {"labels": {"cost-center": "42"}},
        "spec": {"description": "edited", "management": {"adopt": "IfUnowned"}},
    });
    scene.merge(APP, "app-0", edit).await;
    scene
        .event(FLEET, "fleet", "Warning/ChildrenRepaired")
        .await;
    let app = scene.get(APP, "app-0").await;
    assert_eq!(app["spec"]["description"], "same");
    assert_eq!(app["spec"]["management"]["adopt"], "IfUnowned");
    assert_eq!(app["metadata"]["labels"]["cost-center"], "42");
    let metrics = scene.metrics().await;
    let drift = "dao_drift_repaired_total{kind=\"AppOfApps\",field=\"child\"} 1";
    assert!(metrics.contains(drift), "{metrics}");

    let mut dropped = fleet(0..1);
    dropped["template"]["spec"]
        .as_object_mut()
        .unwrap()
        .remove("description");
    scene.put(FLEET, "fleet", dropped).await;
    scene
        .until("the field is gone", async || {
            let app = scene.get(APP, "app-0").await;
            app["spec"]["description"].is_null().then_some(())
        })
        .await;
    let app = scene.get(APP, "app-0").await;
    assert_eq!(app["metadata"]["labels"]["cost-center"], "42");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_child_comes_before_the_old_one_goes_and_two_names_for_one_app_are_refused() {
    let test =
        "a_renamed_child_comes_before_the_old_one_goes_and_two_names_for_one_app_are_refused";
    let Some(scene) = Scene::start(test).await else {
        return;
    };
    let fleet = |name: &str, app: Option<&str>| {
        let mut spec = stopped_app();
        if let Some(app) = app {
            spec["name"] = json!(app);
        }
        json!({"apps": [{"name": name, "spec": spec}, {"name": "other", "spec": stopped_app()}], "prune": {"maxDeletions": "1"}})
    };
    scene.put(FLEET, "fleet", fleet("old", None)).await;
    settled(&scene, 2).await;
    scene.put(FLEET, "fleet", fleet("new", None)).await;
    scene.gone(APP, "old").await;
    settled(&scene, 2).await;
    scene
        .put(FLEET, "fleet", fleet("newest", Some("new")))
        .await;
    scene
        .wait(FLEET, "fleet", "Ready", "False/RenameBlocked")
        .await;
    let message = scene.message(FLEET, "fleet", "Stalled").await;
    assert!(message.contains("management.deletion: Orphan"), "{message}");
    assert_eq!(scene.names(APP).await, ["new", "other"]);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_changed_element_is_one_write_to_one_child() {
    let test = "one_changed_element_is_one_write_to_one_child";
    let Some(scene) = Scene::start(test).await else {
        return;
    };
    scene.put(FLEET, "fleet", fleet(0..20)).await;
    settled(&scene, 20).await;
    scene.more_lists(2).await;
    let before = scene.audited_writes().len();
    let mut changed = fleet(0..20);
    changed["generators"][0]["list"]["elements"][7]["text"] = json!("new");
    scene.put(FLEET, "fleet", changed).await;
    scene
        .until("app-7 has it", async || {
            let (_, app) = scene.remote("/api/2.0/apps/app-7").await;
            (app["description"] == "new").then_some(())
        })
        .await;
    settled(&scene, 20).await;
    scene.more_lists(2).await;
    let writes = scene.audited_writes().split_off(before);
    let count = |resource: &str, sub: &str| {
        let same = writes
            .iter()
            .filter(|w| w.resource == resource && w.subresource == sub);
        same.count()
    };
    assert_eq!(count("databricksapps", ""), 1, "{writes:#?}");
    assert!(count("appofapps", "status") <= 3, "{writes:#?}");
    assert_eq!(count("appofapps", ""), 0);
    let others = writes
        .iter()
        .filter(|w| w.resource == "databricksapps" && w.name != "app-7");
    assert_eq!(others.count(), 0);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mode_plan_shows_what_would_be_written_and_writes_nothing() {
    let test = "mode_plan_shows_what_would_be_written_and_writes_nothing";
    let Some(scene) = Scene::start(test).await else {
        return;
    };
    scene.put(FLEET, "fleet", fleet(0..3)).await;
    settled(&scene, 3).await;
    let mut plan = fleet(1..4);
    plan["generators"][0]["list"]["elements"][0]["text"] = json!("new");
    plan["mode"] = json!("Plan");
    scene.put(FLEET, "fleet", plan).await;
    scene
        .wait(FLEET, "fleet", "Suspended", "True/ReadOnly")
        .await;
    let preview = scene.get(FLEET, "fleet").await["status"]["preview"].clone();
    let want = json!({"create": ["app-3"], "change": ["app-1"], "delete": ["app-0"]});
    assert_eq!(preview, want);
    assert_eq!(scene.names(APP).await, ["app-0", "app-1", "app-2"]);
    assert_eq!(scene.get(APP, "app-1").await["spec"]["description"], "same");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resource_quota_and_an_invalid_spec_are_named_and_stop_no_other_child() {
    let test = "a_resource_quota_and_an_invalid_spec_are_named_and_stop_no_other_child";
    let Some(scene) = Scene::start(test).await else {
        return;
    };
    let mut spec = fleet(0..3);
    spec["template"]["spec"]["compute"] = json!({"size": "{{ size | default('Medium') }}"});
    spec["generators"][0]["list"]["elements"][1]["size"] = json!("Huge");
    scene.put(FLEET, "fleet", spec).await;
    scene
        .wait(FLEET, "fleet", "Generated", "False/GenerationFailed")
        .await;
    let message = scene.message(FLEET, "fleet", "Generated").await;
    assert!(
        message.contains("generators[0].list.elements[1]: spec.compute.size"),
        "{message}"
    );
    scene
        .until("the others are there", async || {
            (scene.names(APP).await == ["app-0", "app-2"]).then_some(())
        })
        .await;
    let refused = scene
        .audited_writes()
        .into_iter()
        .filter(|w| w.resource == "databricksapps" && w.code >= 400);
    assert_eq!(refused.count(), 0, "the API server was asked");

    // Nobody counts here, so the test says what is counted.
    let counted = |used: &str, hard: &str| {
        let count = |n: &str| json!({"count/databricksapps.appofapps.dev": n});
        json!({"spec": {"hard": count(hard)}, "status": {"hard": count(hard), "used": count(used)}})
    };
    let quota = format!(
        "apiVersion: v1\nkind: ResourceQuota\nmetadata: {{name: apps, namespace: {}}}\nspec: {{hard: {{count/databricksapps.appofapps.dev: \"2\"}}}}\n",
        scene.namespace
    );
    scene.apply(&quota).await;
    scene
        .merge_status("ResourceQuota", "apps", counted("2", "2"))
        .await;
    scene.put(FLEET, "fleet", fleet(0..3)).await;
    scene
        .wait(FLEET, "fleet", "Stalled", "True/QuotaExceeded")
        .await;
    let message = scene.message(FLEET, "fleet", "Stalled").await;
    assert!(
        message.contains("app-1") && message.contains("exceeded quota: apps"),
        "{message}"
    );
    scene
        .merge("ResourceQuota", "apps", counted("2", "9"))
        .await;
    scene
        .merge_status("ResourceQuota", "apps", counted("2", "9"))
        .await;
    settled(&scene, 3).await;
    scene.end().await;
}
