//! Lists of apps: pages, what they leave out, and how old they may be.
use serde_json::json;

use crate::harness::{Service, column, text};

async fn names(service: &Service) -> Vec<String> {
    column(&service.get("/api/2.0/apps").await.ok()["apps"], "name")
}

#[tokio::test]
async fn pages_follow_each_other_even_when_an_app_comes_or_goes_between() {
    let service = Service::with("", |config| config.page_size = 3).await;
    for name in ["aa", "bb", "cc", "dd", "ee"] {
        service.stopped_app(name).await;
    }
    let first = service.get("/api/2.0/apps?page_size=2").await.ok();
    assert_eq!(column(&first["apps"], "name"), ["aa", "bb"]);
    service
        .post("/sim/apps/aa", json!({"deleted": true}))
        .await
        .ok();
    let token = text(&first["next_page_token"]);
    let second = service
        .get(&format!("/api/2.0/apps?page_size=50&page_token={token}"))
        .await
        .ok();
    assert_eq!(column(&second["apps"], "name"), ["cc", "dd", "ee"]);
    assert!(second.get("next_page_token").is_none());
    let wrong = service.get("/api/2.0/apps?page_token=%21").await;
    assert_eq!(wrong.refusal().0, 400);
}

#[tokio::test]
async fn an_empty_page_can_come_in_the_middle() {
    let service = Service::start().await;
    for name in ["aa", "bb", "cc"] {
        service.stopped_app(name).await;
    }
    service
        .fault(json!({"kind": "empty_page", "pattern": "GET /api/2.0/apps"}))
        .await;
    let (mut found, mut sizes, mut path) = (Vec::new(), Vec::new(), "?page_size=2".to_owned());
    loop {
        let page = service.get(&format!("/api/2.0/apps{path}")).await.ok();
        let names = column(&page["apps"], "name");
        sizes.push(names.len());
        found.extend(names);
        match page["next_page_token"].as_str() {
            Some(token) => path = format!("?page_size=2&page_token={token}"),
            None => break,
        }
    }
    assert_eq!(found, ["aa", "bb", "cc"]);
    assert_eq!(sizes, [2, 0, 1]);
}

#[tokio::test]
async fn an_empty_list_has_no_field_at_all() {
    let service = Service::start().await;
    assert_eq!(service.get("/api/2.0/apps").await.ok(), json!({}));
}

#[tokio::test]
async fn rows_lack_the_app_status_and_whatever_a_fault_takes() {
    let service = Service::start().await;
    service.running_app("demo").await;
    let row = async || service.get("/api/2.0/apps").await.ok()["apps"][0].clone();
    let usual = row().await;
    assert!(usual.get("app_status").is_none());
    assert!(usual["active_deployment"].is_object());
    service
        .fault(json!({"kind": "list_thin", "fields": ["app_status", "active_deployment"]}))
        .await;
    assert!(row().await.get("active_deployment").is_none());
    assert!(service.app("demo").await["active_deployment"].is_object());
    service.delete("/sim/faults").await.ok();
    service
        .fault(json!({"kind": "list_thin", "fields": []}))
        .await;
    assert_eq!(row().await["app_status"]["state"], "RUNNING");
}

#[tokio::test]
async fn a_list_can_lag_behind() {
    let service = Service::start().await;
    service.stopped_app("old").await;
    service
        .fault(json!({"kind": "list_lag", "for": "5s"}))
        .await;
    service.advance("6s").await;
    service.stopped_app("new").await;
    service
        .post("/api/2.0/apps/old/start", json!({}))
        .await
        .ok();
    assert_eq!(names(&service).await, ["old"]);
    let row = service.get("/api/2.0/apps").await.ok()["apps"][0].clone();
    assert_eq!(row["compute_status"]["state"], "STOPPED");
    assert_eq!(service.compute("old").await, "STARTING");
    service.advance("6s").await;
    assert_eq!(names(&service).await, ["new", "old"]);

    service.delete("/api/2.0/apps/new").await.ok();
    service.advance("122s").await;
    assert_eq!(service.get("/api/2.0/apps/new").await.status, 404);
    assert_eq!(names(&service).await, ["new", "old"]);
    service.advance("6s").await;
    assert_eq!(names(&service).await, ["old"]);
}

#[tokio::test]
async fn an_app_that_is_deleting_is_listed_unless_a_fault_hides_it() {
    let service = Service::start().await;
    service.stopped_app("demo").await;
    service.delete("/api/2.0/apps/demo").await.ok();
    assert_eq!(names(&service).await, ["demo"]);
    service.fault(json!({"kind": "list_hides_deleting"})).await;
    assert_eq!(names(&service).await, Vec::<String>::new());
}
