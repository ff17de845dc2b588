//! Creating, reading and identity of apps.
use serde_json::json;

use crate::harness::{ANN, Service};

const WORKSPACE: &str = "workspace: {id: 1234567890123456}";

#[tokio::test]
async fn a_new_app_has_compute_on_its_way_up_and_becomes_active() {
    let service = Service::seeded(WORKSPACE).await;
    let created = service
        .post(
            "/api/2.0/apps",
            json!({"name": "demo", "description": "hello"}),
        )
        .await
        .ok();
    assert_eq!(created["compute_status"]["state"], "STARTING");
    assert_eq!(created["app_status"]["state"], "UNAVAILABLE");
    assert_eq!(created["creator"], ANN);
    assert_eq!(
        created["url"],
        "https://demo-1234567890123456.11.aws.databricksapps.com"
    );
    service.advance("170s").await;
    assert_eq!(service.compute("demo").await, "STARTING");
    service.advance("20s").await;
    let app = service.app("demo").await;
    assert_eq!(app["compute_status"]["state"], "ACTIVE");
    assert_eq!(app["compute_status"]["message"], "App compute is running.");
    assert_eq!(app["default_source_code_path"], "");
    assert!(app["active_deployment"].is_null());
}

#[tokio::test]
async fn an_app_without_compute_stays_stopped() {
    let service = Service::start().await;
    let created = service.stopped_app("demo").await;
    assert_eq!(created["compute_status"]["state"], "STOPPED");
    service.advance("1h").await;
    assert_eq!(service.compute("demo").await, "STOPPED");
}

#[tokio::test]
async fn fields_nobody_set_read_as_defaults_or_not_at_all() {
    let service = Service::start().await;
    let body = json!({"name": "demo", "user_api_scopes": [], "resources": []});
    service
        .post("/api/2.0/apps?no_compute=true", body)
        .await
        .ok();
    let app = service.app("demo").await;
    assert_eq!(app["description"], "");
    assert_eq!(app["compute_size"], "MEDIUM");
    assert_eq!(app["forward_user_access_token"], true);
    assert!(app.get("user_api_scopes").is_none());
    assert!(app.get("resources").is_none());
    assert_eq!(
        app["effective_user_api_scopes"],
        json!(["iam.access-control:read", "iam.current-user:read"])
    );
}

#[tokio::test]
async fn effective_scopes_fold_and_hold_the_defaults() {
    let service = Service::start().await;
    let scopes = json!(["sql.statement-execution", "sql.warehouses", "files.files"]);
    service
        .post(
            "/api/2.0/apps?no_compute=true",
            json!({"name": "demo", "user_api_scopes": scopes}),
        )
        .await
        .ok();
    let app = service.app("demo").await;
    assert_eq!(app["user_api_scopes"], scopes);
    assert_eq!(
        app["effective_user_api_scopes"],
        json!([
            "files.files",
            "iam.access-control:read",
            "iam.current-user:read",
            "sql"
        ])
    );
}

#[tokio::test]
async fn an_unknown_scope_is_refused_unless_the_seed_knows_it() {
    let service = Service::seeded("user_api_scopes: [brand.new]").await;
    let create = async |name: &str, scope: &str| {
        let body = json!({"name": name, "user_api_scopes": [scope]});
        service.post("/api/2.0/apps?no_compute=true", body).await
    };
    create("good", "brand.new").await.ok();
    let refused = create("bad", "brand.old").await;
    let (status, code, message) = refused.refusal();
    assert_eq!((status, code), (400, "INVALID_PARAMETER_VALUE"));
    assert!(message.contains("'brand.old'"), "{message}");
}

#[tokio::test]
async fn names_have_rules() {
    let service = Service::start().await;
    let thirty = "a".repeat(30);
    service.stopped_app(&thirty).await;
    let longer = "a".repeat(31);
    for bad in ["a", "", "Demo", "1demo", "-demo", "de_mo", longer.as_str()] {
        let refused = service.post("/api/2.0/apps", json!({"name": bad})).await;
        assert_eq!(refused.refusal().0, 400, "{bad}");
        assert_eq!(refused.refusal().1, "INVALID_PARAMETER_VALUE", "{bad}");
    }
}

#[tokio::test]
async fn a_taken_name_is_a_conflict_also_while_its_app_is_deleting() {
    let service = Service::start().await;
    service.stopped_app("demo").await;
    let text = "Failed to create app demo. An app with the same name already exists.";
    let again = service.post("/api/2.0/apps", json!({"name": "demo"})).await;
    assert_eq!(again.refusal(), (409, "ALREADY_EXISTS", text));
    service.delete("/api/2.0/apps/demo").await.ok();
    let again = service.post("/api/2.0/apps", json!({"name": "demo"})).await;
    assert_eq!(again.refusal(), (409, "ALREADY_EXISTS", text));
    service.advance("121s").await;
    service.stopped_app("demo").await;
}

#[tokio::test]
async fn each_create_brings_new_identities() {
    let service = Service::start().await;
    let first = service.stopped_app("demo").await;
    service.delete("/api/2.0/apps/demo").await.ok();
    service.advance("3m").await;
    let second = service.stopped_app("demo").await;
    for field in [
        "id",
        "service_principal_id",
        "service_principal_client_id",
        "oauth2_app_client_id",
        "oauth2_app_integration_id",
    ] {
        assert_ne!(first[field], second[field], "{field}");
    }
    assert_eq!(first["url"], second["url"]);
    let old = first["service_principal_client_id"].as_str().unwrap();
    let filter =
        format!("/api/2.0/preview/scim/v2/ServicePrincipals?filter=applicationId eq \"{old}\"");
    assert_eq!(service.get(&filter).await.ok()["totalResults"], 0);
}

#[tokio::test]
async fn the_quota_counts_every_app() {
    let service = Service::with(WORKSPACE, |config| config.max_apps = 2).await;
    service.stopped_app("one").await;
    service.stopped_app("two").await;
    let refused = service
        .post("/api/2.0/apps", json!({"name": "three"}))
        .await;
    let (status, _, message) = refused.refusal();
    assert_eq!(status, 400);
    assert_eq!(
        message,
        "The maximum number of apps for your workspace 1234567890123456 is 2."
    );
}

#[tokio::test]
async fn an_app_that_is_not_there_is_404_in_the_words_of_the_service() {
    let service = Service::start().await;
    let missing = service.get("/api/2.0/apps/nope").await;
    assert_eq!(
        missing.refusal(),
        (
            404,
            "RESOURCE_DOES_NOT_EXIST",
            "App with name nope does not exist or is deleted."
        )
    );
    let unknown = service.get("/api/2.0/nonsense").await;
    assert_eq!(unknown.refusal().1, "ENDPOINT_NOT_FOUND");
    let malformed = service
        .request("POST", "/api/2.0/apps")
        .body("{")
        .send()
        .await
        .unwrap();
    assert_eq!(malformed.status(), 400);
}

#[tokio::test]
async fn an_app_in_a_space_shares_its_service_principal_and_keeps_its_resources() {
    let service = Service::seeded("warehouses: [wh-1]").await;
    let space = service
        .post("/api/2.0/app-spaces", json!({"name": "team"}))
        .await
        .ok();
    assert_eq!(space["done"], true);
    let operation = service.get("/api/2.0/app-spaces/team/operation").await.ok();
    assert_eq!(operation["response"]["status"]["state"], "SPACE_ACTIVE");
    let app = service
        .post(
            "/api/2.0/apps?no_compute=true",
            json!({"name": "demo", "space": "team"}),
        )
        .await
        .ok();
    assert_eq!(app["space"], "team");
    assert_eq!(
        app["service_principal_client_id"],
        space["response"]["service_principal_client_id"]
    );
    service.stopped_app("other").await;
    let listed = service.get("/api/2.0/apps?space=team").await.ok();
    assert_eq!(listed["apps"].as_array().unwrap().len(), 1);

    let resources =
        json!([{"name": "w", "sql_warehouse": {"id": "wh-1", "permission": "CAN_USE"}}]);
    let refused = service
        .patch("/api/2.0/apps/demo", json!({"resources": resources}))
        .await;
    assert_eq!(refused.refusal().0, 400);
    let still_used = service.delete("/api/2.0/app-spaces/team").await;
    assert_eq!(still_used.refusal().0, 400);
    let unknown = json!({"name": "third", "space": "nope"});
    assert_eq!(service.post("/api/2.0/apps", unknown).await.status, 404);
}
