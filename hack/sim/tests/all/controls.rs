//! `/sim`: requests, other people's hands, clock, seed, reset.
use serde_json::{Value, json};

use crate::harness::{ANN, CLIENT_ID, SOURCE, Service, text};

fn total(shown: &Value, method: &str, route: &str, status: u16) -> u64 {
    shown["totals"]
        .as_array()
        .unwrap()
        .iter()
        .find(|t| t["method"] == method && t["route"] == route && t["status"] == status)
        .map_or(0, |t| t["count"].as_u64().unwrap())
}

#[tokio::test]
async fn requests_are_counted_by_route_and_kept_one_by_one() {
    let service = Service::start().await;
    service.delete("/sim/requests").await.ok();
    service
        .post(
            "/api/2.0/apps?no_compute=true",
            json!({"name": "demo", "description": "x"}),
        )
        .await
        .ok();
    service.app("demo").await;
    service.app("demo").await;
    service.get("/api/2.0/apps/nope").await;
    service.get("/somewhere/else").await;
    let form = [("grant_type", "client_credentials")];
    let tokens = service
        .http
        .post(format!("{}/oidc/v1/token", service.url()));
    tokens.form(&form).send().await.unwrap();

    let shown = service.get("/sim/requests").await.ok();
    let route = "/api/2.0/apps/{name}";
    assert_eq!(total(&shown, "POST", "/api/2.0/apps", 200), 1);
    assert_eq!(total(&shown, "GET", route, 200), 2);
    assert_eq!(total(&shown, "GET", route, 404), 1);
    assert_eq!(total(&shown, "GET", "unmatched", 404), 1);
    assert_eq!(total(&shown, "POST", "/oidc/v1/token", 401), 1);
    assert!(!shown.to_string().contains("/sim/"));
    let first = &shown["recent"][0];
    assert_eq!(first["path"], "/api/2.0/apps");
    assert_eq!(first["query"], "no_compute=true");
    assert_eq!(first["user"], ANN);
    assert_eq!(first["state"], "done");
    assert_eq!(first["body"], json!({"name": "demo", "description": "x"}));
    assert_eq!(shown["recent"].as_array().unwrap().len(), 6);
    service.delete("/sim/requests").await.ok();
    let zeroed = service.get("/sim/requests").await.ok();
    assert_eq!(zeroed, json!({"totals": [], "recent": []}));
}

#[tokio::test]
async fn somebody_else_changes_settings_and_state() {
    let service = Service::start().await;
    service.running_app("demo").await;
    service
        .post(
            "/sim/apps/demo",
            json!({"description": "theirs", "compute_size": "LARGE", "updater": "eve@example.com"}),
        )
        .await
        .ok();
    let app = service.app("demo").await;
    assert_eq!(app["description"], "theirs");
    assert_eq!(app["compute_size"], "LARGE");
    assert_eq!(app["updater"], "eve@example.com");
    assert_eq!(app["app_status"]["state"], "RUNNING");

    let crash = json!({"app_status": {"state": "CRASHED", "message": "boom"}});
    service.post("/sim/apps/demo", crash.clone()).await.ok();
    assert_eq!(service.app("demo").await["app_status"], crash["app_status"]);

    let stop = json!({"compute_status": {"state": "STOPPED"}});
    service.post("/sim/apps/demo", stop).await.ok();
    let app = service.app("demo").await;
    assert_eq!(app["compute_status"]["state"], "STOPPED");
    assert_eq!(app["app_status"]["state"], "UNAVAILABLE");
    assert_eq!(app["description"], "theirs");
    let wrong = service
        .post("/sim/apps/demo", json!({"descripton": "x"}))
        .await;
    assert!(
        wrong.body["error"]
            .as_str()
            .unwrap()
            .contains("`descripton`")
    );
}

#[tokio::test]
async fn somebody_else_deploys() {
    let service = Service::start().await;
    service.running_app("demo").await;
    let deploy = json!({"source_code_path": "/Workspace/else", "command": ["x"]});
    service
        .post(
            "/sim/apps/demo",
            json!({"deploy": deploy, "updater": "eve@example.com"}),
        )
        .await
        .ok();
    let active = service.app("demo").await["active_deployment"].clone();
    assert_eq!(active["source_code_path"], "/Workspace/else");
    assert_eq!(active["creator"], "eve@example.com");
    assert_eq!(active["status"]["state"], "SUCCEEDED");
}

#[tokio::test]
async fn a_stranger_creates_recreates_and_deletes() {
    let service = Service::start().await;
    let missing = service.post("/sim/apps/demo", json!({})).await;
    assert_eq!(missing.status, 400);
    let created = service
        .post(
            "/sim/apps/demo",
            json!({"create": true, "updater": "eve@example.com",
                "permissions": [{"group_name": "users", "permission_level": "CAN_MANAGE"}]}),
        )
        .await
        .ok();
    assert_eq!(created["creator"], "eve@example.com");
    assert_eq!(created["compute_status"]["state"], "ACTIVE");
    let acl = service.get("/api/2.0/permissions/apps/demo").await.ok();
    assert_eq!(acl["access_control_list"][0]["group_name"], "users");

    let again = service
        .post("/sim/apps/demo", json!({"recreate": true}))
        .await
        .ok();
    assert_ne!(again["id"], created["id"]);
    assert_ne!(
        again["service_principal_client_id"],
        created["service_principal_client_id"]
    );
    service
        .post("/sim/apps/demo", json!({"deleted": true}))
        .await
        .ok();
    assert_eq!(service.get("/api/2.0/apps/demo").await.status, 404);
}

#[tokio::test]
async fn somebody_else_sets_permissions() {
    let service = Service::start().await;
    service.stopped_app("demo").await;
    let list = json!([{"group_name": "users", "permission_level": "CAN_MANAGE"}]);
    let set = service
        .put(
            "/sim/permissions/demo",
            json!({"access_control_list": list}),
        )
        .await
        .ok();
    let acl = service.get("/api/2.0/permissions/apps/demo").await.ok();
    assert_eq!(set, acl);
    assert_eq!(acl["access_control_list"][0]["group_name"], "users");
    let unknown = json!([{"group_name": "nope", "permission_level": "CAN_USE"}]);
    let refused = service
        .put(
            "/sim/permissions/demo",
            json!({"access_control_list": unknown}),
        )
        .await;
    assert_eq!(refused.status, 400);
}

#[tokio::test]
async fn the_clock_moves_service_time_and_timestamps() {
    let service = Service::start().await;
    let before = service.get("/sim/clock").await.ok();
    service.advance("20m").await;
    let after = service.get("/sim/clock").await.ok();
    assert_eq!(after["advanced"], 1200.0);
    let moved = after["service_time"].as_f64().unwrap() - before["service_time"].as_f64().unwrap();
    assert!(moved >= 1200.0, "{moved}");
    let wrong = service.post("/sim/clock", json!({"advance": "soon"})).await;
    assert!(wrong.body["error"].as_str().unwrap().contains("`soon`"));
}

#[tokio::test]
async fn reset_goes_back_to_the_seed() {
    let service = Service::seeded("apps: [{name: seeded}]").await;
    service.stopped_app("demo").await;
    service.fault(json!({"kind": "extra_fields"})).await;
    service.advance("1h").await;
    service.post("/sim/reset", json!({})).await.ok();
    assert_eq!(service.get("/api/2.0/apps/demo").await.status, 404);
    assert!(service.app("seeded").await.get("x_unheard_of").is_none());
    let clock = service.get("/sim/clock").await.ok();
    assert_eq!(clock["advanced"], 0.0);
}

#[tokio::test]
async fn the_seed_fills_the_workspace() {
    let service = Service::seeded(
        "
workspace: {id: 42}
users: [{user_name: bob@example.com, display_name: Bob}]
service_principals: [app-1]
groups: [users, {name: data, members: [bob@example.com, app-1]}]
warehouses: [wh-1, {id: wh-2, name: Second}]
jobs: [101]
files: {/Workspace/Users/bob@example.com/demo/app.py: 'print(1)'}
apps:
- name: demo
  creator: bob@example.com
  description: seeded
  compute_status: {state: STOPPED}
",
    )
    .await;
    let app = service.app("demo").await;
    assert_eq!(app["creator"], "bob@example.com");
    assert_eq!(app["compute_status"]["state"], "STOPPED");
    assert_eq!(
        text(&app["url"]),
        "https://demo-42.11.aws.databricksapps.com"
    );
    let groups = service
        .get("/api/2.0/preview/scim/v2/Groups?filter=displayName eq \"data\"")
        .await
        .ok();
    assert_eq!(
        groups["Resources"][0]["members"].as_array().unwrap().len(),
        2
    );
    let second = service.get("/api/2.0/sql/warehouses/wh-2").await.ok();
    assert_eq!(second["name"], "Second");
    service.get("/api/2.2/jobs/get?job_id=101").await.ok();
    let file = "/api/2.0/workspace/get-status?path=/Users/bob@example.com/demo/app.py";
    assert_eq!(service.get(file).await.ok()["size"], 8);
}

#[tokio::test]
async fn with_any_source_every_path_exists() {
    let service = Service::with("", |config| config.any_source = true).await;
    service.active_app("demo").await;
    service.deploy("demo").await.ok();
    service.advance("2m").await;
    assert_eq!(
        service.app("demo").await["default_source_code_path"],
        SOURCE
    );
}

#[tokio::test]
async fn a_service_principal_that_creates_is_named_by_its_application_id() {
    let mut service = Service::start().await;
    let form = [("grant_type", "client_credentials")];
    let granted: Value = service
        .http
        .post(format!("{}/oidc/v1/token", service.url()))
        .basic_auth(CLIENT_ID, Some(crate::harness::CLIENT_SECRET))
        .form(&form)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    service.token = text(&granted["access_token"]);
    let app = service.stopped_app("demo").await;
    assert_eq!(app["creator"], CLIENT_ID);
    let acl = service.get("/api/2.0/permissions/apps/demo").await.ok();
    let first = &acl["access_control_list"][0];
    assert_eq!(first["service_principal_name"], CLIENT_ID);
}

#[tokio::test]
async fn stopping_ends_the_server() {
    let service = Service::start().await;
    let (url, http) = (service.url(), service.http.clone());
    service.stop().await;
    assert!(
        http.get(format!("{url}/sim/requests"))
            .send()
            .await
            .is_err()
    );
}

#[tokio::test]
async fn stopping_cuts_off_what_a_fault_still_holds() {
    let service = Service::start().await;
    let route = "/api/2.0/apps";
    service
        .fault(json!({"kind": "latency", "pattern": "GET /api/2.0/apps", "delay": "600s"}))
        .await;
    let client = tokio::spawn(service.request("GET", route).send());
    service.until_request_is(route, "held").await;
    service.stop().await;
    let broken = client.await.unwrap().expect_err("an answer came");
    assert!(!broken.is_timeout(), "{broken:?}");
}
