//! What strangers change is seen in time, put right, named with who did it, and counted.
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{IDENTITY, Scene, Setting, running_app, with};

const APP: &str = "DatabricksApp";
const DEPLOYMENTS: &str = "/api/2.0/apps/sales/deployments";
const DEPLOY: &str = "POST /api/2.0/apps/{name}/deployments 200";

async fn stranger(scene: &Scene, change: Value) {
    scene
        .sim
        .call("POST", "/sim/apps/sales", Some(&change))
        .await
        .unwrap();
}

/// Service time until the check holds.
async fn took(scene: &Scene, what: &str, check: impl AsyncFnMut() -> Option<()>) -> Duration {
    let start = Instant::now();
    scene.until(what, check).await;
    start.elapsed() * scene.scale
}

async fn events(scene: &Scene, words: &[&str]) {
    scene
        .until(&format!("an event with {words:?}"), async || {
            let events = scene.events(APP, "sales").await;
            let named = |event: &String| words.iter().all(|word| event.contains(word));
            events.iter().any(named).then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_description_a_stopped_app_and_a_grant_are_put_right_in_time_and_counted() {
    let test = "a_description_a_stopped_app_and_a_grant_are_put_right_in_time_and_counted";
    let setting = Setting {
        scale: 10,
        ..Setting::default()
    };
    let Some(scene) = Scene::set(test, setting).await else {
        return;
    };
    scene.put(APP, "sales", running_app()).await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    // What is sent is what counts; a few seconds of service time pass for the poll of this test itself.
    let slack = Duration::from_secs(80 + 10);
    stranger(
        &scene,
        json!({"description": "theirs", "updater": "ann@example.com"}),
    )
    .await;
    let repaired = took(&scene, "the description is put right", async || {
        let (_, app) = scene.remote("/api/2.0/apps/sales").await;
        (app["description"] == "Sales").then_some(())
    });
    let repaired = repaired.await;
    assert!(repaired <= slack, "description after {repaired:?}");
    events(&scene, &["DriftRepaired", "description", "ann@example.com"]).await;
    stranger(
        &scene,
        json!({"compute_status": {"state": "STOPPED"}, "updater": "ann@example.com"}),
    )
    .await;
    let start = "POST /api/2.0/apps/{name}/start 200";
    let restarted = took(&scene, "the app is started", async || {
        (scene.calls(start).await == 1).then_some(())
    });
    let restarted = restarted.await;
    assert!(restarted <= slack, "started after {restarted:?}");
    events(
        &scene,
        &["DriftRepaired", "lifecycle.state", "ann@example.com"],
    )
    .await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    let grants = json!({"access_control_list": [{"user_name": "stranger@example.com", "permission_level": "CAN_MANAGE"}]});
    scene
        .call("PATCH", "/api/2.0/permissions/apps/sales", &grants)
        .await;
    let removed = took(&scene, "the grant is removed", async || {
        let (_, acl) = scene.remote("/api/2.0/permissions/apps/sales").await;
        (!acl.to_string().contains("stranger@example.com")).then_some(())
    });
    let removed = removed.await;
    assert!(
        removed <= Duration::from_secs(11 * 60 + 10),
        "grant after {removed:?}"
    );
    events(&scene, &["DriftRepaired", "permissions"]).await;
    let metrics = scene.metrics().await;
    let counted = |labels: &str| {
        metrics.lines().any(|l| {
            l.starts_with("dao_drift_repaired_total") && l.contains(labels) && l.ends_with(" 1")
        })
    };
    for field in ["updatable", "run-state", "permissions"] {
        assert!(
            counted(&format!("field=\"{field}\"")),
            "{field} is not counted:\n{metrics}"
        );
    }
    let needless = metrics
        .lines()
        .filter(|l| l.starts_with("dao_writes_without_difference_total"));
    assert_eq!(
        needless.filter(|l| !l.ends_with(" 0")).count(),
        0,
        "{metrics}"
    );
    assert!(scene.get(APP, "sales").await["status"]["drift"]["at"].is_string());
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_on_a_resource_that_another_tool_stripped_is_put_back_and_said() {
    let test = "a_grant_on_a_resource_that_another_tool_stripped_is_put_back_and_said";
    let setting = Setting {
        seed: "jobs: [101]\nsecret_scopes: [{name: prod, secrets: {key: value}}]\nuc_securables: [{type: TABLE, name: c.s.t}]\nserving_endpoints: [chat]\n",
        ..Setting::default()
    };
    let Some(scene) = Scene::set(test, setting).await else {
        return;
    };
    scene
        .merge(
            "DatabricksWorkspace",
            "prod",
            json!({"spec": {"observe": {"permissionsInterval": "1m"}}}),
        )
        .await;
    let mut spec = running_app();
    spec["resources"] = json!([
        {"name": "w", "sqlWarehouse": {"id": "wh-1", "permission": "CanUse"}},
        {"name": "j", "job": {"id": "101", "permission": "CanManageRun"}},
        {"name": "s", "secret": {"scope": "prod", "key": "key", "permission": "Read"}},
        {"name": "t", "ucSecurable": {"fullName": "c.s.t", "type": "Table", "permission": "Select"}},
        {"name": "e", "servingEndpoint": {"name": "chat", "permission": "CanQuery"}},
    ]);
    scene.put(APP, "sales", spec).await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    let object = scene.get(APP, "sales").await;
    let principal = object["status"]["app"]["servicePrincipal"]["clientID"]
        .as_str()
        .unwrap()
        .to_owned();
    scene.pass(Duration::from_secs(180)).await;
    let patched = scene.count("PATCH").await + scene.count("POST acls/put").await;
    assert_eq!(
        patched,
        0,
        "nothing was stripped yet: {:?}",
        scene.requests().await
    );
    let owner =
        json!({"access_control_list": [{"user_name": IDENTITY, "permission_level": "IS_OWNER"}]});
    for kind in ["warehouses/wh-1", "jobs/101"] {
        scene
            .call("PUT", &format!("/api/2.0/permissions/{kind}"), &owner)
            .await;
    }
    let (_, endpoint) = scene.remote("/api/2.0/serving-endpoints/chat").await;
    let chat = format!(
        "/api/2.0/permissions/serving-endpoints/{}",
        endpoint["id"].as_str().unwrap()
    );
    scene
        .call("PUT", &chat, &json!({"access_control_list": []}))
        .await;
    scene
        .call(
            "POST",
            "/api/2.0/secrets/acls/delete",
            &json!({"scope": "prod", "principal": principal}),
        )
        .await;
    let table = "/api/2.1/unity-catalog/permissions/table/c.s.t";
    scene
        .call(
            "PATCH",
            table,
            &json!({"changes": [{"principal": principal, "remove": ["SELECT"]}]}),
        )
        .await;
    for place in [
        "/api/2.0/permissions/warehouses/wh-1",
        "/api/2.0/permissions/jobs/101",
        &chat,
        "/api/2.0/secrets/acls/list?scope=prod",
        table,
    ] {
        scene
            .until(&format!("{principal} is back in {place}"), async || {
                let (_, acl) = scene.remote(place).await;
                acl.to_string().contains(&principal).then_some(())
            })
            .await;
    }
    events(&scene, &["GrantRestored", "CAN_MANAGE_RUN on resource j"]).await;
    assert_eq!(scene.condition(APP, "sales", "Ready").await, "True/Running");
    scene.end().await;
}

/// Somebody's deployment beside ours is seen while it is under way, and ours is put back once it is through.
async fn replaced(scene: &Scene, theirs: Value) {
    let before = scene.calls(DEPLOY).await;
    let accepted = scene.call("POST", DEPLOYMENTS, &theirs).await;
    let theirs = accepted["deployment_id"].as_str().unwrap().to_owned();
    let under_way = "Unknown/Deploying";
    scene.wait(APP, "sales", "Ready", under_way).await;
    let taken = async || scene.get(APP, "sales").await["status"]["deployment"]["id"] == *theirs;
    assert!(!taken().await, "theirs counts as ours");
    scene
        .until("ours is deployed again", async || {
            assert!(!taken().await, "theirs counts as ours");
            // One of the two is theirs.
            (scene.calls(DEPLOY).await == before + 2).then_some(())
        })
        .await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_from_another_folder_is_put_right_although_all_else_of_it_is_ours() {
    let test = "a_deployment_from_another_folder_is_put_right_although_all_else_of_it_is_ours";
    let Some(scene) = Scene::start(test).await else {
        return;
    };
    let adopting = json!({"adopt": "IfUnowned"});
    let spec = with(running_app(), "management", adopting);
    scene.put(APP, "sales", spec).await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    // A list and several looks pass while it is under way.
    let slow = json!({"kind": "durations", "deploy": "5m"});
    scene.fault(slow).await;
    let env = json!([{"name": "LEVEL", "value": "info"}]);
    let theirs = json!({"source_code_path": "/Workspace/Shared/other", "command": ["python", "app.py"], "env_vars": env});
    replaced(&scene, theirs).await;
    events(&scene, &["DriftRepaired", "deployment", IDENTITY]).await;
    let (_, app) = scene.remote("/api/2.0/apps/sales").await;
    let path = &app["active_deployment"]["source_code_path"];
    assert_eq!(path, "/Workspace/Shared/sales", "{app:#}");
    // The folder that was asked for is told by the app alone, also of what the platform deploys after a start.
    scene
        .fault(json!({"kind": "active_source_path_is_snapshot"}))
        .await;
    let settled = scene.calls(DEPLOY).await;
    stranger(&scene, json!({"compute_status": {"state": "STOPPED"}})).await;
    scene
        .until("the app is started", async || {
            let start = "POST /api/2.0/apps/{name}/start 200";
            (scene.calls(start).await == 1).then_some(())
        })
        .await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    // Without a status and a memory nothing of it is known, and all of it is seen.
    scene.operator.kill();
    scene
        .merge_status(APP, "sales", json!({"status": null}))
        .await;
    scene.operator.start_again().await.unwrap();
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    scene.more_lists(3).await;
    assert_eq!(
        scene.calls(DEPLOY).await,
        settled,
        "{:?}",
        scene.requests().await
    );
    let theirs = json!({"source_code_path": "/Workspace/Shared/other", "command": ["python", "app.py"], "env_vars": env});
    replaced(&scene, theirs).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_of_the_same_branch_of_another_repository_is_put_right() {
    let test = "a_deployment_of_the_same_branch_of_another_repository_is_put_right";
    let Some(scene) = Scene::start(test).await else {
        return;
    };
    let git = json!({"git": {"url": "https://github.com/acme/apps", "provider": "GitHub", "ref": {"branch": "main"}}});
    let mut spec = running_app();
    spec["source"] = git;
    scene.put(APP, "sales", spec).await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    scene
        .fault(json!({"kind": "durations", "deploy": "5m"}))
        .await;
    let other =
        json!({"git_repository": {"url": "https://github.com/eve/apps", "provider": "gitHub"}});
    stranger(&scene, other).await;
    let env = json!([{"name": "LEVEL", "value": "info"}]);
    let theirs =
        json!({"git_source": {"branch": "main"}, "command": ["python", "app.py"], "env_vars": env});
    replaced(&scene, theirs).await;
    let (_, app) = scene.remote("/api/2.0/apps/sales").await;
    let repository = &app["active_deployment"]["git_source"]["git_repository"]["url"];
    assert_eq!(repository, "https://github.com/acme/apps", "{app:#}");
    scene.end().await;
}
