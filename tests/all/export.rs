//! `export`: apps that exist become manifests, and applying those writes nothing to the workspace.
use std::time::Duration;

use serde_json::{Value, json};

use crate::diff::{command, text};
use crate::support::{IDENTITY, Scene, Setting};

const APPS: usize = 30;

/// Something of each kind that an app can refer to.
const SEED: &str = "
jobs: [{id: 101, name: nightly}]
secret_scopes: [{name: prod, secrets: {key: value}}]
experiments: ['7']
serving_endpoints: [chat]
genie_spaces: [g-1]
databases: [lake]
postgres_branches: [projects/p/branches/main]
uc_securables: [{type: TABLE, name: main.sales.orders}]
apps: [{name: callee, compute_status: {state: STOPPED}}]
";

fn resources() -> Vec<Value> {
    let all = json!([
        {"name": "a", "app": {"name": "callee", "permission": "CAN_USE"}},
        {"name": "d", "database": {"instance_name": "lake", "database_name": "x", "permission": "CAN_CONNECT_AND_CREATE"}},
        {"name": "p", "postgres": {"branch": "projects/p/branches/main", "permission": "CAN_CONNECT_AND_CREATE"}},
        {"name": "e", "experiment": {"experiment_id": "7", "permission": "CAN_READ"}},
        {"name": "g", "genie_space": {"name": "g", "space_id": "g-1", "permission": "CAN_RUN"}},
        {"name": "j", "job": {"id": "101", "permission": "CAN_MANAGE_RUN"}},
        {"name": "s", "description": "a key", "secret": {"scope": "prod", "key": "key", "permission": "READ"}},
        {"name": "m", "serving_endpoint": {"name": "chat", "permission": "CAN_QUERY"}},
        {"name": "w", "sql_warehouse": {"id": "wh-1", "permission": "CAN_USE"}},
        {"name": "t", "uc_securable": {"securable_full_name": "Main.sales.orders", "securable_type": "TABLE", "permission": "SELECT"}},
    ]);
    all.as_array().unwrap().clone()
}

/// The app of that number: each differs from the others.
fn body(n: usize) -> Value {
    // An app may end in a hyphen, an object may not.
    let end = if n == 7 { "-" } else { "" };
    let mut body = json!({"name": format!("app-{n:02}{end}")});
    let resource = resources()[n % 10].clone();
    body["resources"] = match n % 3 {
        0 => json!([resource]),
        1 => json!([resource, resources()[(n + 1) % 10]]),
        _ => json!([]),
    };
    body["compute_size"] = json!(["MEDIUM", "LARGE", "XLARGE"][n % 3]);
    if n % 2 == 1 {
        body["description"] = json!(format!("Number {n}: \"quoted\""));
    }
    if n.is_multiple_of(4) {
        body["user_api_scopes"] = json!(["sql", "files.files"]);
    }
    if n.is_multiple_of(6) {
        body["forward_user_access_token"] = json!(false);
        body["usage_policy_id"] = json!("policy");
    }
    if n % 6 == 1 {
        body["budget_policy_id"] = json!("budget");
        body["compute_min_instances"] = json!(2);
        body["compute_max_instances"] = json!(3);
    }
    if n % 6 == 2 {
        body["telemetry_export_destinations"] = json!([{"unity_catalog": {
            "logs_table": "a.b.logs", "metrics_table": "a.b.metrics", "traces_table": "a.b.traces"}}]);
    }
    if n % 4 == 1 {
        body["git_repository"] =
            json!({"provider": "gitHub", "url": "https://github.com/acme/apps.git"});
    }
    body
}

/// What is deployed to the app of that number; every fourth runs nothing.
fn deployment(n: usize) -> Option<Value> {
    let path = format!("/Workspace/Shared/app-{n:02}");
    match n % 4 {
        0 => Some(json!({"mode": "SNAPSHOT", "source_code_path": path})),
        1 => Some(
            json!({"mode": "SNAPSHOT", "git_source": {"branch": "main", "source_code_path": "apps/x"}}),
        ),
        2 => Some(
            json!({"mode": "SNAPSHOT", "source_code_path": path, "command": ["python", "app.py"],
            "env_vars": [{"name": "LEVEL", "value": "s3cret-value"}, {"name": "KEY", "value": "s3cret-value"}]}),
        ),
        _ => None,
    }
}

fn is_stopped(n: usize) -> bool {
    n.is_multiple_of(5)
}

/// Makes the apps as a script of somebody's would.
async fn make(scene: &Scene) {
    let apps: Vec<(usize, String)> = (0..APPS)
        .map(|n| (n, body(n)["name"].as_str().unwrap().to_owned()))
        .collect();
    for (n, _) in &apps {
        scene.call("POST", "/api/2.0/apps", &body(*n)).await;
    }
    let state = async |name: &str| {
        let (_, app) = scene.remote(&format!("/api/2.0/apps/{name}")).await;
        app["compute_status"]["state"].clone()
    };
    for (n, name) in &apps {
        scene
            .until(&format!("{name} is active"), async || {
                (state(name).await == "ACTIVE").then_some(())
            })
            .await;
        if let Some(deployment) = deployment(*n) {
            let path = format!("/api/2.0/apps/{name}/deployments");
            scene.call("POST", &path, &deployment).await;
        }
        let level = ["CAN_USE", "CAN_MANAGE"][n % 2];
        let grants = json!({"access_control_list": [
            {"group_name": "data-users", "permission_level": level},
            {"user_name": "ann@example.com", "permission_level": "CAN_MANAGE"}]});
        let grants = if n % 3 == 1 {
            json!({"access_control_list": []})
        } else {
            grants
        };
        let path = format!("/api/2.0/permissions/apps/{name}");
        scene.call("PATCH", &path, &grants).await;
    }
    for (n, name) in &apps {
        scene
            .until(&format!("{name} is deployed"), async || {
                let (_, app) = scene.remote(&format!("/api/2.0/apps/{name}")).await;
                let done = app["active_deployment"]["status"]["state"] == "SUCCEEDED";
                (done || deployment(*n).is_none()).then_some(())
            })
            .await;
        if is_stopped(*n) {
            let path = format!("/api/2.0/apps/{name}/stop");
            scene.call("POST", &path, &json!({})).await;
        }
    }
    for (n, name) in apps.iter().filter(|(n, _)| is_stopped(*n)) {
        scene
            .until(&format!("{name} is stopped: {n}"), async || {
                (state(name).await == "STOPPED").then_some(())
            })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_apps_are_exported_and_applied_without_one_write() {
    let setting = Setting {
        seed: SEED,
        ..Setting::default()
    };
    let test = "thirty_apps_are_exported_and_applied_without_one_write";
    let Some(scene) = Scene::set(test, setting).await else {
        return;
    };
    make(&scene).await;
    scene
        .call("DELETE", "/api/2.0/apps/callee", &json!({}))
        .await;
    scene.zero().await;
    let workspace = format!("{}/prod", scene.namespace);
    let export = ["export", "--workspace", &workspace];
    let exported = command(&scene, &export, "").await;
    let said = text(&exported.stderr);
    assert_eq!(exported.status.code(), Some(0), "{said}");
    assert_eq!(said, "passed over: 1 app being deleted\n");
    let manifests = text(&exported.stdout);
    assert!(!manifests.contains("s3cret-value"), "{manifests}");
    assert!(
        manifests.contains("the app has the variables KEY, LEVEL"),
        "{manifests}"
    );
    let objects: Vec<Value> = serde_saphyr::from_multiple(manifests).unwrap();
    assert_eq!(objects.len(), APPS);
    let odd = &objects[7];
    assert_eq!(
        (&odd["metadata"]["name"], &odd["spec"]["name"]),
        (&json!("app-07"), &json!("app-07-"))
    );
    let sourced = |o: &&Value| !o["spec"]["source"].is_null();
    let with_source = (0..APPS).filter(|n| deployment(*n).is_some()).count();
    assert_eq!(
        objects.iter().filter(sourced).count(),
        with_source,
        "{manifests}"
    );
    let valid = command(&scene, &["validate", "-f", "-"], manifests).await;
    assert_eq!(text(&valid.stdout), "30 objects valid\n");
    let nothing = command(&scene, &["diff", "-f", "-"], manifests).await;
    assert_eq!(
        (nothing.status.code(), text(&nothing.stdout)),
        (Some(0), "no changes to 30 apps\n")
    );

    scene.apply(manifests).await;
    for (n, object) in objects.iter().enumerate() {
        let ready = if is_stopped(n) {
            "True/Stopped"
        } else {
            "True/Running"
        };
        let name = object["metadata"]["name"].as_str().unwrap();
        scene.wait("DatabricksApp", name, "Ready", ready).await;
    }
    scene.pass(Duration::from_secs(15 * 60)).await;
    assert_eq!(scene.writes(false).await, 0, "{:?}", scene.requests().await);

    let managed = command(&scene, &export, "").await;
    assert_eq!(text(&managed.stdout), "");
    assert!(text(&managed.stderr).contains("30 apps that DatabricksApps of this cluster manage"));
    let again = command(
        &scene,
        &["export", "--workspace", &workspace, "--include-managed"],
        "",
    )
    .await;
    assert_eq!(text(&again.stdout), manifests);
    // Their end would take longer than the scene's.
    for object in objects {
        let name = object["metadata"]["name"].as_str().unwrap();
        let orphan = json!({"spec": {"management": {"deletion": "Orphan"}}});
        scene.merge("DatabricksApp", name, orphan).await;
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_would_be_changed_is_named_with_the_difference_and_not_printed() {
    let test = "an_app_that_would_be_changed_is_named_with_the_difference_and_not_printed";
    let Some(scene) = Scene::start(test).await else {
        return;
    };
    let warehouse =
        json!([{"name": "w", "sql_warehouse": {"id": "wh-1", "permission": "CAN_USE"}}]);
    let query = "/api/2.0/apps?no_compute=true";
    let stripped = json!({"name": "stripped", "resources": warehouse});
    scene.call("POST", query, &stripped).await;
    scene.call("POST", query, &json!({"name": "plain"})).await;
    let owner = json!({"user_name": IDENTITY, "permission_level": "IS_OWNER"});
    let nobody = json!({ "access_control_list": [owner] });
    let warehouse = "/api/2.0/permissions/sql/warehouses/wh-1";
    scene.call("PUT", warehouse, &nobody).await;
    scene.zero().await;
    let workspace = format!("{}/prod", scene.namespace);
    let export = ["export", "--workspace", &workspace, "-o", "json"];
    let exported = command(&scene, &export, "").await;
    let said = text(&exported.stderr);
    assert_eq!(exported.status.code(), Some(1), "{said}");
    assert!(said.starts_with("stripped: not exported"), "{said}");
    assert!(said.contains("restore"), "{said}");
    let list: Value = serde_json::from_slice(&exported.stdout).unwrap();
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    assert_eq!(list["items"][0]["metadata"]["name"], "plain");
    let arguments = ["export", "--workspace", &workspace, "plain", "absent"];
    let absent = command(&scene, &arguments, "").await;
    assert_eq!(absent.status.code(), Some(1));
    assert_eq!(
        text(&absent.stderr),
        "absent: there is no such app in the workspace\n"
    );
    assert!(text(&absent.stdout).contains("name: plain"));
    assert_eq!(scene.writes(false).await, 0);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_lists_show_in_part_is_exported_and_adopted_whole() {
    let test = "an_app_that_lists_show_in_part_is_exported_and_adopted_whole";
    let Some(scene) = Scene::start(test).await else {
        return;
    };
    let fields = [
        "app_status",
        "description",
        "user_api_scopes",
        "active_deployment",
        "default_source_code_path",
    ];
    scene
        .fault(json!({"kind": "list_thin", "fields": fields}))
        .await;
    let app = json!({"name": "thin", "description": "Sales", "user_api_scopes": ["sql"]});
    scene.call("POST", "/api/2.0/apps", &app).await;
    let state = async |field: &str, wanted: &str| {
        let what = format!("{field} is {wanted}");
        scene
            .until(&what, async || {
                let (_, app) = scene.remote("/api/2.0/apps/thin").await;
                let found = app.pointer(field).cloned().unwrap_or_default();
                (found == wanted).then_some(())
            })
            .await;
    };
    state("/compute_status/state", "ACTIVE").await;
    let source = json!({"mode": "SNAPSHOT", "source_code_path": "/Workspace/Shared/thin"});
    scene
        .call("POST", "/api/2.0/apps/thin/deployments", &source)
        .await;
    state("/active_deployment/status/state", "SUCCEEDED").await;
    scene.zero().await;
    let workspace = format!("{}/prod", scene.namespace);
    let exported = command(&scene, &["export", "--workspace", &workspace], "").await;
    assert_eq!(
        exported.status.code(),
        Some(0),
        "{}",
        text(&exported.stderr)
    );
    let manifest = text(&exported.stdout);
    assert!(manifest.contains("/Workspace/Shared/thin"), "{manifest}");
    scene.apply(manifest).await;
    scene
        .wait("DatabricksApp", "thin", "Ready", "True/Running")
        .await;
    scene.pass(Duration::from_secs(15 * 60)).await;
    assert_eq!(scene.writes(false).await, 0, "{:?}", scene.requests().await);
    scene.end().await;
}
