//! The asynchronous update with its mask, and the PATCH that replaces everything.
use serde_json::{Value, json};

use crate::harness::{ANN, Service};

#[tokio::test]
async fn an_update_is_in_progress_first_and_changes_fields_only_at_its_end() {
    let service = Service::start().await;
    service.active_app("demo").await;
    let path = "/api/2.0/apps/demo/update";
    let before = service.get(path).await.ok();
    assert_eq!(before["status"]["state"], "NOT_UPDATED");
    let begun = service
        .update("demo", "description", json!({"description": "new"}))
        .await
        .ok();
    assert_eq!(begun["status"]["state"], "IN_PROGRESS");
    assert_eq!(begun["description"], "new");
    assert_eq!(service.app("demo").await["description"], "");
    let second = service
        .update("demo", "description", json!({"description": "newer"}))
        .await;
    assert_eq!(second.refusal().0, 409);
    service.advance("6s").await;
    assert_eq!(service.get(path).await.ok()["status"]["state"], "SUCCEEDED");
    let app = service.app("demo").await;
    assert_eq!(app["description"], "new");
    assert_eq!(app["updater"], ANN);
}

#[tokio::test]
async fn an_update_leaves_alone_what_others_change_meanwhile() {
    let service = Service::start().await;
    service.stopped_app("demo").await;
    service
        .update("demo", "description", json!({"description": "ours"}))
        .await
        .ok();
    service
        .post("/sim/apps/demo", json!({"compute_size": "LARGE"}))
        .await
        .ok();
    service.advance("10s").await;
    let app = service.app("demo").await;
    assert_eq!(
        (&app["description"], &app["compute_size"]),
        (&json!("ours"), &json!("LARGE"))
    );
}

#[tokio::test]
async fn a_mask_outside_the_allow_list_is_refused_in_the_words_of_the_service() {
    let service = Service::start().await;
    service.stopped_app("demo").await;
    for mask in [
        "*",
        "name",
        "description, resources",
        "space",
        "description.x",
    ] {
        let refused = service.update("demo", mask, json!({})).await;
        let (status, code, message) = refused.refusal();
        assert_eq!((status, code), (400, "INVALID_PARAMETER_VALUE"));
        assert_eq!(
            message,
            format!(
                "Invalid update mask. Only description, budget_policy_id, usage_policy_id, resources, user_api_scopes, forward_user_access_token, compute_size, compute_min_instances, compute_max_instances, git_repository, telemetry_export_destinations are allowed. Supplied update mask: {mask}"
            )
        );
    }
    service
        .fault(json!({"kind": "mask_fields_refused", "fields": ["compute_min_instances"]}))
        .await;
    let body = json!({"compute_min_instances": 1, "compute_max_instances": 2});
    let refused = service
        .update("demo", "compute_min_instances,compute_max_instances", body)
        .await;
    assert_eq!(refused.refusal().0, 400);
}

#[tokio::test]
async fn a_masked_field_without_a_value_falls_back_to_its_default() {
    let service = Service::start().await;
    let body = json!({"name": "demo", "description": "kept", "compute_size": "LARGE"});
    service
        .post("/api/2.0/apps?no_compute=true", body)
        .await
        .ok();
    service.update("demo", "compute_size", json!({})).await.ok();
    service.advance("10s").await;
    let app = service.app("demo").await;
    assert_eq!(app["compute_size"], "MEDIUM");
    assert_eq!(app["description"], "kept");
}

#[tokio::test]
async fn a_new_size_of_active_compute_goes_through_updating() {
    let service = Service::start().await;
    service.running_app("demo").await;
    service
        .update("demo", "compute_size", json!({"compute_size": "LARGE"}))
        .await
        .ok();
    assert_eq!(service.compute("demo").await, "UPDATING");
    assert_eq!(service.deploy("demo").await.refusal().0, 400);
    assert_eq!(service.delete("/api/2.0/apps/demo").await.refusal().0, 400);
    service.advance("61s").await;
    let app = service.app("demo").await;
    assert_eq!(app["compute_status"]["state"], "ACTIVE");
    assert_eq!(app["compute_size"], "LARGE");
    assert_eq!(app["app_status"]["state"], "RUNNING");
    let count = service.get("/api/2.0/apps/demo/deployments").await.ok();
    assert_eq!(count["app_deployments"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_stopped_app_is_updated_and_stays_stopped() {
    let service = Service::start().await;
    service.stopped_app("demo").await;
    service
        .update("demo", "compute_size", json!({"compute_size": "XLARGE"}))
        .await
        .ok();
    assert_eq!(service.compute("demo").await, "STOPPED");
    service.advance("10s").await;
    assert_eq!(service.app("demo").await["compute_size"], "XLARGE");
}

#[tokio::test]
async fn an_update_can_fail_after_it_was_accepted() {
    let service = Service::start().await;
    service.stopped_app("demo").await;
    for (outcome, state) in [("FAILED", "FAILED"), ("NOT_UPDATED", "NOT_UPDATED")] {
        service
            .fault(json!({"kind": "update_outcome", "outcome": outcome, "message": "boom", "times": 1}))
            .await;
        service
            .update("demo", "description", json!({"description": "new"}))
            .await
            .ok();
        service.advance("10s").await;
        let ended = service.get("/api/2.0/apps/demo/update").await.ok();
        assert_eq!(
            ended["status"],
            json!({"state": state, "message": "boom"}),
            "{outcome}"
        );
        assert_eq!(service.app("demo").await["description"], "");
    }
}

#[tokio::test]
async fn patch_replaces_everything_that_it_leaves_out() {
    let service = Service::start().await;
    let body = json!({
        "name": "demo", "description": "d", "user_api_scopes": ["sql"],
        "compute_size": "LARGE", "usage_policy_id": "p-1",
    });
    service
        .post("/api/2.0/apps?no_compute=true", body)
        .await
        .ok();
    let patched = service
        .patch(
            "/api/2.0/apps/demo",
            json!({"name": "demo", "usage_policy_id": "p-2"}),
        )
        .await
        .ok();
    assert_eq!(patched["usage_policy_id"], "p-2");
    assert_eq!(patched["effective_usage_policy_id"], "p-2");
    assert_eq!(patched["description"], "");
    assert!(patched.get("user_api_scopes").is_none());
    assert_eq!(patched["compute_size"], "LARGE");
}

#[tokio::test]
async fn patch_refuses_a_compute_size_even_the_one_that_is_set() {
    let service = Service::start().await;
    service.stopped_app("demo").await;
    let patch = async |body: Value| {
        let answer = service.patch("/api/2.0/apps/demo", body).await;
        let (status, code, message) = answer.refusal();
        (status, code.to_owned(), message.to_owned())
    };
    let (status, code, message) = patch(json!({"compute_size": "MEDIUM"})).await;
    assert_eq!((status, code.as_str()), (400, "INVALID_PARAMETER_VALUE"));
    assert_eq!(
        message,
        "Compute size updates are not supported in this update API. Please use the new update API instead."
    );
    let repository = json!({"provider": "gitHub", "url": "https://github.com/o/r"});
    assert_eq!(patch(json!({"git_repository": repository})).await.0, 400);
    assert_eq!(patch(json!({"name": "other"})).await.0, 400);
}

#[tokio::test]
async fn values_are_checked_by_name() {
    let service = Service::start().await;
    service.stopped_app("demo").await;
    for (field, value) in [
        ("compute_size", json!("HUGE")),
        ("description", json!(5)),
        ("forward_user_access_token", json!("yes")),
        ("user_api_scopes", json!("sql")),
        ("resources", json!({"a": 1})),
        ("git_repository", json!({"provider": "svn", "url": "x"})),
        ("git_repository", json!({"provider": "gitHub"})),
        (
            "telemetry_export_destinations",
            json!([{"unity_catalog": {"logs_table": "a.b.c"}}]),
        ),
    ] {
        let refused = service
            .update("demo", field, json!({field: value.clone()}))
            .await;
        assert_eq!(refused.refusal().0, 400, "{field} {value}");
    }
    let alone = service
        .update(
            "demo",
            "compute_min_instances",
            json!({"compute_min_instances": 2}),
        )
        .await;
    assert!(alone.refusal().2.contains("set together"));
}

#[tokio::test]
async fn telemetry_is_updated_and_not_part_of_the_update_that_is_read() {
    let service = Service::start().await;
    service.stopped_app("demo").await;
    let telemetry = json!([{"unity_catalog": {
        "logs_table": "c.s.l", "metrics_table": "c.s.m", "traces_table": "c.s.t",
    }}]);
    let field = "telemetry_export_destinations";
    let begun = service
        .update("demo", field, json!({field: telemetry.clone()}))
        .await
        .ok();
    assert!(begun.get(field).is_none());
    service.advance("10s").await;
    assert_eq!(service.app("demo").await[field], telemetry);
}
