//! What nobody knows of lists, of the order of things, and of limits: each possibility can be played.
use serde_json::{Value, json};

use crate::harness::{Service, column};

/// Reads until it reads otherwise than at first.
async fn reads_differently(read: impl AsyncFn() -> Vec<String>) -> bool {
    let first = read().await;
    for _ in 0..100 {
        let again = read().await;
        let (mut a, mut b) = (first.clone(), again.clone());
        a.sort();
        b.sort();
        assert_eq!(a, b, "nothing may come or go");
        if again != first {
            return true;
        }
    }
    false
}

#[tokio::test]
async fn the_order_of_everything_can_change_from_read_to_read() {
    let service = Service::seeded("groups: [g1, g2, g3, g4]\nwarehouses: [a, b, c, d]").await;
    let resources: Vec<Value> = ["a", "b", "c", "d"]
        .map(|id| json!({"name": id, "sql_warehouse": {"id": id, "permission": "CAN_USE"}}))
        .into();
    let scopes = ["sql", "files.files", "postgres", "model-serving"];
    let app = json!({"name": "demo", "resources": resources, "user_api_scopes": scopes});
    service
        .post("/api/2.0/apps?no_compute=true", app)
        .await
        .ok();
    for name in ["a1", "a2", "a3", "a4"] {
        service.stopped_app(name).await;
    }
    let grants: Vec<Value> = ["g1", "g2", "g3", "g4"]
        .map(|group| json!({"group_name": group, "permission_level": "CAN_USE"}))
        .into();
    service
        .put(
            "/api/2.0/permissions/apps/demo",
            json!({"access_control_list": grants}),
        )
        .await
        .ok();
    let resources = async || column(&service.app("demo").await["resources"], "name");
    let scopes = async || {
        let app = service.app("demo").await;
        let scopes = app["user_api_scopes"].as_array().unwrap();
        scopes.iter().map(Value::to_string).collect::<Vec<_>>()
    };
    let acl = async || {
        let acl = service.get("/api/2.0/permissions/apps/demo").await.ok();
        column(&acl["access_control_list"], "group_name")
    };
    let rows = async || column(&service.get("/api/2.0/apps").await.ok()["apps"], "name");

    assert!(!reads_differently(resources).await);
    service.fault(json!({"kind": "shuffled_order"})).await;
    assert!(reads_differently(resources).await);
    assert!(reads_differently(scopes).await);
    assert!(reads_differently(acl).await);
    assert!(reads_differently(rows).await);
}

#[tokio::test]
async fn a_page_over_the_largest_is_cut_or_refused() {
    let service = Service::with("", |config| config.page_size = 2).await;
    for name in ["a1", "a2", "a3"] {
        service.stopped_app(name).await;
    }
    let cut = service.get("/api/2.0/apps?page_size=50").await.ok();
    assert_eq!(column(&cut["apps"], "name"), ["a1", "a2"]);
    service.fault(json!({"kind": "large_page_refused"})).await;
    let refused = service.get("/api/2.0/apps?page_size=50").await;
    assert_eq!(
        refused.refusal(),
        (
            400,
            "INVALID_PARAMETER_VALUE",
            "page_size must not be greater than 2, got 50"
        )
    );
    service.get("/api/2.0/apps?page_size=2").await.ok();
}

#[tokio::test]
async fn too_many_requests_a_second_are_refused_with_or_without_a_time_to_wait() {
    let service = Service::start().await;
    service
        .fault(json!({"kind": "rate_limit", "pattern": "GET /api/2.0/apps", "per_second": 1, "retry_after": 7}))
        .await;
    service.get("/api/2.0/apps").await.ok();
    let refused = service.get("/api/2.0/apps").await;
    assert_eq!(refused.refusal().0, 429);
    assert_eq!(refused.refusal().1, "REQUEST_LIMIT_EXCEEDED");
    assert_eq!(refused.header("retry-after"), "7");
    service.get("/api/2.0/preview/scim/v2/Me").await.ok();
    let shown = service.get("/sim/faults").await.ok();
    assert_eq!(shown["faults"][0]["hits"], 1);

    service.delete("/sim/faults").await.ok();
    service
        .fault(json!({"kind": "rate_limit", "per_second": 1}))
        .await;
    service.get("/api/2.0/apps").await.ok();
    let refused = service.get("/api/2.0/apps").await;
    assert_eq!(
        (refused.refusal().0, refused.header("retry-after")),
        (429, "")
    );
}

#[tokio::test]
async fn account_users_exist_if_the_seed_has_them() {
    let grant = json!({"access_control_list": [{"group_name": "account users", "permission_level": "CAN_USE"}]});
    for (seed, expected) in [("", 404), ("groups: [account users]", 200)] {
        let service = Service::seeded(seed).await;
        service.stopped_app("demo").await;
        let answer = service
            .patch("/api/2.0/permissions/apps/demo", grant.clone())
            .await;
        assert_eq!(answer.status, expected, "{}", answer.text);
    }
}
