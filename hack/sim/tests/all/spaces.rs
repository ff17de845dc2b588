//! App spaces: operations that end at once, take their time, or fail.
use serde_json::{Value, json};

use crate::harness::{Service, text};

async fn create(service: &Service, name: &str) -> Value {
    let space = json!({"name": name, "description": "old"});
    service.post("/api/2.0/app-spaces", space).await.ok()
}

async fn state(service: &Service) -> String {
    let space = service.get("/api/2.0/app-spaces/team").await.ok();
    text(&space["status"]["state"])
}

async fn operation(service: &Service, name: &str) -> Value {
    service
        .get(&format!("/api/2.0/app-spaces/{name}/operation"))
        .await
        .ok()
}

#[tokio::test]
async fn an_operation_usually_ends_at_once_under_the_name_of_its_space() {
    let service = Service::start().await;
    let made = create(&service, "team").await;
    assert_eq!(
        (&made["name"], &made["done"]),
        (&json!("team"), &json!(true))
    );
    assert_eq!(made["response"]["status"]["state"], "SPACE_ACTIVE");
    let path = "/api/2.0/app-spaces/team";
    let body = json!({"name": "team", "description": "new"});
    let changed = service
        .patch(&format!("{path}?update_mask=description"), body)
        .await
        .ok();
    assert_eq!(changed["response"]["description"], "new");
    assert_eq!(service.get(path).await.ok()["description"], "new");
    let deleted = service.delete(path).await.ok();
    assert_eq!(deleted["response"]["status"]["state"], "SPACE_DELETED");
    assert_eq!(service.get(path).await.refusal().0, 404);
    assert_eq!(operation(&service, "team").await["done"], true);
}

#[tokio::test]
async fn an_operation_can_take_its_time_and_have_a_name_of_its_own() {
    let service = Service::start().await;
    service
        .fault(json!({"kind": "space_operation", "delay": "30s", "own_name": true}))
        .await;
    let begun = create(&service, "team").await;
    let name = text(&begun["name"]);
    assert!(name != "team" && begun["done"] == false, "{begun}");
    assert_eq!(state(&service).await, "SPACE_CREATING");
    let busy = service.delete("/api/2.0/app-spaces/team").await;
    assert_eq!(busy.refusal().1, "RESOURCE_CONFLICT");
    service.advance("31s").await;
    assert_eq!(operation(&service, &name).await["done"], true);
    assert_eq!(operation(&service, "team").await["name"], name.as_str());
    assert_eq!(state(&service).await, "SPACE_ACTIVE");
    service.delete("/api/2.0/app-spaces/team").await.ok();
    assert_eq!(state(&service).await, "SPACE_DELETING");
    service.advance("31s").await;
    let gone = service.get("/api/2.0/app-spaces/team").await;
    assert_eq!(gone.refusal().0, 404);
}

#[tokio::test]
async fn an_operation_can_fail() {
    let service = Service::start().await;
    let fault = json!({"kind": "space_operation", "error_code": "INTERNAL_ERROR", "message": "no capacity"});
    let mut once = fault.clone();
    once["times"] = 1.into();
    service.fault(once).await;
    let failed = create(&service, "team").await;
    assert_eq!(
        failed["error"],
        json!({"error_code": "INTERNAL_ERROR", "message": "no capacity"})
    );
    assert!(failed["done"] == true && failed["response"].is_null());
    assert_eq!(state(&service).await, "SPACE_ERROR");
    service.delete("/api/2.0/app-spaces/team").await.ok();

    create(&service, "team").await;
    service.fault(fault).await;
    let path = "/api/2.0/app-spaces/team";
    let body = json!({"description": "new"});
    service
        .patch(&format!("{path}?update_mask=description"), body)
        .await
        .ok();
    service.delete(path).await.ok();
    assert_eq!(service.get(path).await.ok()["description"], "old");
    assert_eq!(state(&service).await, "SPACE_ACTIVE");
}

#[tokio::test]
async fn an_app_can_leave_its_space_only_if_a_fault_lets_it() {
    let service = Service::start().await;
    let space = create(&service, "team").await["response"].clone();
    let app = json!({"name": "demo", "space": "team"});
    service
        .post("/api/2.0/apps?no_compute=true", app)
        .await
        .ok();
    let leave = async || service.update("demo", "space", json!({})).await;
    let refused = leave().await;
    assert!(refused.refusal().2.starts_with("Invalid update mask."));
    service.fault(json!({"kind": "space_can_be_left"})).await;
    let join = service.update("demo", "space", json!({"space": "team"}));
    assert_eq!(join.await.refusal().0, 400);
    leave().await.ok();
    service.advance("6s").await;
    let app = service.app("demo").await;
    assert!(app.get("space").is_none());
    let principal = &space["service_principal_client_id"];
    assert_eq!(&app["service_principal_client_id"], principal);
    service.delete("/api/2.0/apps/demo").await.ok();
    service.advance("3m").await;
    let id = &space["service_principal_id"];
    let path = format!("/api/2.0/preview/scim/v2/ServicePrincipals/{id}");
    service.get(&path).await.ok();
}
