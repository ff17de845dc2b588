//! What nobody knows of the service: each possibility can be played.
use serde_json::{Value, json};

use crate::harness::{ANN, SOURCE, Service, column, text};

async fn create(service: &Service, body: Value) -> Value {
    service
        .post("/api/2.0/apps?no_compute=true", body)
        .await
        .ok()
}

#[tokio::test]
async fn an_app_can_deploy_itself_at_create() {
    let service = Service::start().await;
    service
        .fault(json!({"kind": "auto_deploy_at_create"}))
        .await;
    service.active_app("demo").await;
    let app = service.app("demo").await;
    assert_eq!(app["app_status"]["state"], "RUNNING");
    assert_eq!(
        app["default_source_code_path"],
        format!("/Workspace/Users/{ANN}/demo")
    );
    create(&service, json!({"name": "off"})).await;
    service.advance("10m").await;
    assert!(service.app("off").await["active_deployment"].is_null());
}

#[tokio::test]
async fn token_forwarding_can_read_true_whatever_was_set() {
    let service = Service::start().await;
    let body = json!({"name": "demo", "forward_user_access_token": false});
    assert_eq!(
        create(&service, body).await["forward_user_access_token"],
        false
    );
    service
        .fault(json!({"kind": "forward_user_access_token_reads_true"}))
        .await;
    assert_eq!(service.app("demo").await["forward_user_access_token"], true);
}

#[tokio::test]
async fn scopes_can_be_effective_and_not_echoed() {
    let service = Service::start().await;
    create(
        &service,
        json!({"name": "demo", "user_api_scopes": ["sql"]}),
    )
    .await;
    service.fault(json!({"kind": "scopes_not_echoed"})).await;
    let app = service.app("demo").await;
    assert!(app.get("user_api_scopes").is_none());
    assert!(app["effective_user_api_scopes"].to_string().contains("sql"));
}

#[tokio::test]
async fn the_active_source_path_can_be_the_snapshot() {
    let service = Service::start().await;
    service.running_app("demo").await;
    service
        .fault(json!({"kind": "active_source_path_is_snapshot"}))
        .await;
    let app = service.app("demo").await;
    let active = &app["active_deployment"];
    assert_eq!(
        active["source_code_path"],
        active["deployment_artifacts"]["source_code_path"]
    );
    assert_eq!(app["default_source_code_path"], SOURCE);
}

#[tokio::test]
async fn lists_inside_answers_can_come_in_another_order() {
    let service = Service::seeded("warehouses: [a, b]").await;
    let resource =
        |id: &str| json!({"name": id, "sql_warehouse": {"id": id, "permission": "CAN_USE"}});
    create(
        &service,
        json!({"name": "demo", "resources": [resource("a"), resource("b")]}),
    )
    .await;
    service.fault(json!({"kind": "reversed_order"})).await;
    let app = service.app("demo").await;
    assert_eq!(column(&app["resources"], "name"), ["b", "a"]);
    let acl = service.get("/api/2.0/permissions/apps/demo").await.ok();
    assert_eq!(acl["access_control_list"][0]["group_name"], "admins");
}

#[tokio::test]
async fn delete_can_answer_nothing_and_404_can_have_another_code() {
    let service = Service::start().await;
    create(&service, json!({"name": "demo"})).await;
    service.fault(json!({"kind": "delete_reply_empty"})).await;
    service
        .fault(json!({"kind": "not_found_code", "error_code": "NOT_FOUND"}))
        .await;
    assert_eq!(service.delete("/api/2.0/apps/demo").await.ok(), json!({}));
    assert_eq!(service.compute("demo").await, "DELETING");
    let missing = service.get("/api/2.0/apps/nope").await;
    assert_eq!(missing.refusal().1, "NOT_FOUND");
}

#[tokio::test]
async fn features_can_be_off() {
    let service = Service::start().await;
    for (fault, field, value, message) in [
        (
            "git_refused",
            "git_repository",
            json!({"provider": "gitHub", "url": "https://github.com/o/r"}),
            "Git repository cannot be defined in this workspace. Please try again later.",
        ),
        (
            "user_authorization_refused",
            "user_api_scopes",
            json!(["sql"]),
            "User token passthrough is not enabled for this workspace.",
        ),
    ] {
        service.fault(json!({"kind": fault})).await;
        let body = json!({"name": "demo", field: value});
        let refused = service.post("/api/2.0/apps", body).await;
        assert_eq!((refused.refusal().0, refused.refusal().2), (400, message));
    }
    service
        .fault(json!({"kind": "instance_counts_refused"}))
        .await;
    let body = json!({"name": "demo", "compute_min_instances": 1, "compute_max_instances": 2});
    let refused = service.post("/api/2.0/apps", body).await;
    assert_eq!(
        refused.refusal().2,
        "Manual instance count configuration is not enabled in this workspace."
    );
}

#[tokio::test]
async fn both_policies_are_kept_or_refused() {
    let service = Service::start().await;
    let body = |name: &str| json!({"name": name, "budget_policy_id": "b", "usage_policy_id": "u"});
    let app = create(&service, body("kept")).await;
    assert_eq!(app["effective_budget_policy_id"], "b");
    assert_eq!(app["effective_usage_policy_id"], "u");
    service.fault(json!({"kind": "policies_exclusive"})).await;
    let refused = service.post("/api/2.0/apps", body("refused")).await;
    assert_eq!(refused.refusal().0, 400);
}

#[tokio::test]
async fn counts_of_instances_can_be_absent() {
    let service = Service::start().await;
    let status = service.active_app("demo").await["compute_status"].clone();
    assert_eq!(status["active_instances"], 1);
    service
        .fault(json!({"kind": "instance_counts_absent"}))
        .await;
    let status = service.app("demo").await["compute_status"].clone();
    assert!(status.get("active_instances").is_none());
}

#[tokio::test]
async fn any_update_can_touch_compute_or_be_refused_in_transit() {
    let service = Service::start().await;
    service.active_app("demo").await;
    service
        .fault(json!({"kind": "update_touches_compute"}))
        .await;
    let update = async || {
        service
            .update("demo", "description", json!({"description": "x"}))
            .await
    };
    update().await.ok();
    assert_eq!(service.compute("demo").await, "UPDATING");
    service.advance("61s").await;
    assert_eq!(service.compute("demo").await, "ACTIVE");
    service
        .fault(json!({"kind": "update_refused_in_transit"}))
        .await;
    service
        .post("/api/2.0/apps/demo/stop", json!({}))
        .await
        .ok();
    assert_eq!(update().await.refusal().0, 400);
    service.advance("1m").await;
    update().await.ok();
}

#[tokio::test]
async fn a_failed_deployment_can_stay_pending() {
    let service = Service::start().await;
    service.running_app("demo").await;
    service
        .fault(json!({"kind": "failed_deployment_stays_pending"}))
        .await;
    service
        .fault(json!({"kind": "deployment_outcome", "outcome": "FAILED", "times": 1}))
        .await;
    service.deploy("demo").await.ok();
    service.advance("2m").await;
    let app = service.app("demo").await;
    assert_eq!(
        app["pending_deployment"]["status"],
        json!({"state": "FAILED", "message": "App deployment failed unexpectedly."})
    );
    assert_eq!(app["active_deployment"]["status"]["state"], "SUCCEEDED");
    service.deploy("demo").await.ok();
    service.advance("2m").await;
    assert!(service.app("demo").await["pending_deployment"].is_null());
}

#[tokio::test]
async fn a_fresh_app_can_have_no_direct_entry() {
    let service = Service::start().await;
    service.fault(json!({"kind": "no_default_acl"})).await;
    create(&service, json!({"name": "demo"})).await;
    let acl = service.get("/api/2.0/permissions/apps/demo").await.ok();
    let list = &acl["access_control_list"];
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!(text(&list[0]["group_name"]), "admins");
}

#[tokio::test]
async fn variables_can_be_masked_in_one_place_and_not_in_another() {
    let service = Service::start().await;
    service.running_app("demo").await;
    let deploy =
        json!({"source_code_path": SOURCE, "env_vars": [{"name": "A", "value": "s3cret"}]});
    let path = "/api/2.0/apps/demo/deployments";
    let id = text(&service.post(path, deploy).await.ok()["deployment_id"]);
    service.advance("2m").await;
    let read = async || {
        let app = service.app("demo").await["active_deployment"]["env_vars"].clone();
        let by_itself = service.get(&format!("{path}/{id}")).await.ok()["env_vars"].clone();
        let listed = service.get(path).await.ok()["app_deployments"][0]["env_vars"].clone();
        [app, by_itself, listed]
    };
    let names = json!([{"name": "A"}]);
    let starred = json!([{"name": "A", "value": "********"}]);
    assert_eq!(read().await, [(); 3].map(|()| names.clone()));
    service
        .fault(json!({"kind": "env_masking", "mode": "starred", "places": ["app"]}))
        .await;
    service
        .fault(json!({"kind": "env_masking", "mode": "absent", "places": ["deployment_list"]}))
        .await;
    assert_eq!(read().await, [starred, names, Value::Null]);
}

#[tokio::test]
async fn a_stop_can_clear_what_was_deployed_last() {
    let service = Service::start().await;
    service.running_app("demo").await;
    service
        .fault(json!({"kind": "stop_clears_active_deployment", "default_sources": true}))
        .await;
    service
        .post("/api/2.0/apps/demo/stop", json!({}))
        .await
        .ok();
    let app = service.app("demo").await;
    assert!(app["active_deployment"].is_null());
    assert_eq!(app["default_source_code_path"], "");
}

#[tokio::test]
async fn the_platform_can_stop_an_app_that_is_idle() {
    let service = Service::start().await;
    service.running_app("demo").await;
    service.advance("25h").await;
    assert_eq!(service.compute("demo").await, "ACTIVE");
    service
        .fault(json!({"kind": "idle_stop", "after": "48h"}))
        .await;
    assert_eq!(service.compute("demo").await, "ACTIVE");
    service.advance("24h").await;
    let app = service.app("demo").await;
    assert_eq!(app["compute_status"]["state"], "STOPPED");
    assert_eq!(app["app_status"]["state"], "UNAVAILABLE");
    service
        .post("/api/2.0/apps/demo/start", json!({}))
        .await
        .ok();
    service.advance("10m").await;
    assert_eq!(service.compute("demo").await, "ACTIVE");
}

#[tokio::test]
async fn the_commit_of_a_git_deployment_can_come_late_or_never() {
    let service = Service::start().await;
    let repository = json!({"provider": "gitHub", "url": "https://github.com/o/r"});
    service
        .post(
            "/api/2.0/apps",
            json!({"name": "demo", "git_repository": repository}),
        )
        .await
        .ok();
    service.advance("4m").await;
    let commit = async |field: &str| {
        service.app("demo").await[field]["git_source"]["resolved_commit"].is_string()
    };
    service
        .fault(json!({"kind": "resolved_commit", "shown": "once_succeeded"}))
        .await;
    let deploy = json!({"git_source": {"branch": "main"}});
    service
        .post("/api/2.0/apps/demo/deployments", deploy)
        .await
        .ok();
    assert!(!commit("pending_deployment").await);
    service.advance("2m").await;
    assert!(commit("active_deployment").await);
    service.delete("/sim/faults").await.ok();
    service
        .fault(json!({"kind": "resolved_commit", "shown": "never"}))
        .await;
    assert!(!commit("active_deployment").await);
}

#[tokio::test]
async fn counts_of_running_instances_can_be_shown() {
    let service = Service::start().await;
    let status = service.running_app("demo").await["app_status"].clone();
    assert!(status.get("running_instances").is_none());
    service
        .fault(json!({"kind": "running_instances_shown"}))
        .await;
    let status = service.app("demo").await["app_status"].clone();
    assert_eq!(status["running_instances"], 1);
}

#[tokio::test]
async fn an_object_made_again_can_have_its_grants_back() {
    let service = Service::seeded("secret_scopes: [{name: prod, secrets: {key: v}}]").await;
    let secret = json!({"scope": "prod", "key": "key", "permission": "READ"});
    let resources = json!([{"name": "s", "secret": secret}]);
    let app = create(&service, json!({"name": "demo", "resources": resources})).await;
    let principal = text(&app["service_principal_client_id"]);
    let recreate = async || {
        let scope = json!({"scope": "prod"});
        let delete = service.post("/api/2.0/secrets/scopes/delete", scope.clone());
        delete.await.ok();
        let create = service.post("/api/2.0/secrets/scopes/create", scope);
        create.await.ok();
        let acl = service.get("/api/2.0/secrets/acls/list?scope=prod").await;
        column(&acl.ok()["items"], "principal").contains(&principal)
    };
    assert!(!recreate().await);
    service
        .fault(json!({"kind": "grants_follow_recreated_objects"}))
        .await;
    assert!(recreate().await);
}
