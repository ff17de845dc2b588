//! What nobody knows of updates: each possibility can be played.
use serde_json::{Value, json};

use crate::harness::{Answer, Service, text};

async fn describe(service: &Service, description: &str) -> Answer {
    let app = json!({"description": description});
    service.update("demo", "description", app).await
}

async fn state(service: &Service) -> String {
    let update = service.get("/api/2.0/apps/demo/update").await.ok();
    text(&update["status"]["state"])
}

#[tokio::test]
async fn an_update_during_another_is_a_conflict_whose_code_can_be_another() {
    let service = Service::start().await;
    service.stopped_app("demo").await;
    describe(&service, "first").await.ok();
    let refused = describe(&service, "second").await;
    assert_eq!(
        (refused.refusal().0, refused.refusal().1),
        (409, "RESOURCE_CONFLICT")
    );
    service
        .fault(json!({"kind": "refusal", "status_code": 400, "error_code": "INVALID_STATE"}))
        .await;
    let refused = describe(&service, "second").await;
    assert_eq!(
        (refused.refusal().0, refused.refusal().1),
        (400, "INVALID_STATE")
    );
}

#[tokio::test]
async fn updates_can_wait_for_their_turn() {
    let service = Service::start().await;
    service.stopped_app("demo").await;
    service.fault(json!({"kind": "updates_queue"})).await;
    describe(&service, "first").await.ok();
    let scopes = json!({"user_api_scopes": ["sql"]});
    let second = service.update("demo", "user_api_scopes", scopes).await.ok();
    assert_eq!(second["status"]["state"], "IN_PROGRESS");
    assert_eq!(second["description"], "first");
    describe(&service, "third").await.ok();
    let seen = async || {
        let app = service.app("demo").await;
        let scopes = app["user_api_scopes"].is_array();
        (text(&app["description"]), scopes, state(&service).await)
    };
    for (description, scopes, expected) in [
        ("first", false, "IN_PROGRESS"),
        ("first", true, "IN_PROGRESS"),
        ("third", true, "SUCCEEDED"),
    ] {
        service.advance("5100ms").await;
        let expected = (description.to_owned(), scopes, expected.to_owned());
        assert_eq!(seen().await, expected);
    }
}

#[tokio::test]
async fn an_update_can_have_ended_before_it_is_answered() {
    let service = Service::start().await;
    service.stopped_app("demo").await;
    service
        .fault(json!({"kind": "durations", "update": "0s"}))
        .await;
    let update = describe(&service, "new").await.ok();
    assert_eq!(update["status"]["state"], "SUCCEEDED");
    assert_eq!(service.app("demo").await["description"], "new");
}

#[tokio::test]
async fn no_update_can_be_missing_and_an_ended_one_forgotten() {
    let service = Service::start().await;
    service.stopped_app("demo").await;
    assert_eq!(state(&service).await, "NOT_UPDATED");
    service.fault(json!({"kind": "no_update_is_missing"})).await;
    let missing = service.get("/api/2.0/apps/demo/update").await;
    assert_eq!(missing.refusal().0, 404);
    describe(&service, "new").await.ok();
    assert_eq!(state(&service).await, "IN_PROGRESS");
    service.advance("6s").await;
    assert_eq!(state(&service).await, "SUCCEEDED");
    service
        .fault(json!({"kind": "ended_update_reads_not_updated"}))
        .await;
    assert_eq!(state(&service).await, "NOT_UPDATED");
    assert_eq!(service.app("demo").await["description"], "new");
}

#[tokio::test]
async fn a_deletion_forgets_updates_that_wait() {
    let service = Service::start().await;
    service.stopped_app("demo").await;
    service.fault(json!({"kind": "updates_queue"})).await;
    describe(&service, "first").await.ok();
    describe(&service, "second").await.ok();
    service.delete("/api/2.0/apps/demo").await.ok();
    service.advance("30s").await;
    assert_eq!(service.app("demo").await["description"], Value::from(""));
}
