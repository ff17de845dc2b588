//! Start, stop and delete.
use serde_json::json;

use crate::harness::{SOURCE, Service};

const NOT_TERMINAL: &str =
    "and was updated less than 20 minutes ago. Please wait before trying again.";

#[tokio::test]
async fn stop_takes_seconds_and_start_takes_minutes() {
    let service = Service::start().await;
    service.active_app("demo").await;
    let stopping = service
        .post("/api/2.0/apps/demo/stop", json!({}))
        .await
        .ok();
    assert_eq!(stopping["compute_status"]["state"], "STOPPING");
    service.advance("13s").await;
    let stopped = service.app("demo").await;
    assert_eq!(stopped["compute_status"]["state"], "STOPPED");
    assert_eq!(
        stopped["compute_status"]["message"],
        "Start the app compute to deploy the app."
    );
    let starting = service
        .post("/api/2.0/apps/demo/start", json!({}))
        .await
        .ok();
    assert_eq!(starting["compute_status"]["state"], "STARTING");
    service.advance("160s").await;
    assert_eq!(service.compute("demo").await, "STARTING");
    service.advance("20s").await;
    assert_eq!(service.compute("demo").await, "ACTIVE");
}

#[tokio::test]
async fn every_transition_runs_faster_by_the_scale() {
    // A minute there is 6 ms here.
    let service = Service::with("", |config| {
        config.time_scale = 10_000;
        config.any_source = true;
    })
    .await;
    service
        .fault(json!({"kind": "durations", "delete": "20m"}))
        .await;
    let path = "/api/2.0/apps/demo";
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let until = async |seen: &dyn Fn(&serde_json::Value) -> bool| {
        loop {
            let app = service.get(path).await;
            if seen(&app.body) {
                return;
            }
            assert!(std::time::Instant::now() < deadline, "{}", app.text);
        }
    };
    let compute = |state: &'static str| {
        move |app: &serde_json::Value| app["compute_status"]["state"] == state
    };
    let post = async |path: &str, body| service.post(path, body).await.ok();

    post("/api/2.0/apps", json!({"name": "demo"})).await;
    until(&compute("ACTIVE")).await;
    let deployments = format!("{path}/deployments");
    post(&deployments, json!({"source_code_path": SOURCE})).await;
    until(&|app| app["app_status"]["state"] == "RUNNING").await;
    let size = json!({"compute_size": "LARGE"});
    service.update("demo", "compute_size", size).await.ok();
    until(&|app| app["compute_size"] == "LARGE" && compute("ACTIVE")(app)).await;
    post(&format!("{path}/stop"), json!({})).await;
    until(&compute("STOPPED")).await;
    post(&format!("{path}/start"), json!({})).await;
    until(&|app| app["app_status"]["state"] == "RUNNING").await;
    service.delete(path).await.ok();
    until(&|answer| answer["error_code"] == "RESOURCE_DOES_NOT_EXIST").await;
    let clock = service.get("/sim/clock").await.ok();
    let minutes = clock["service_time"].as_f64().unwrap() / 60.0;
    // Create 3, deploy 1, resize 1, stop 0.2, start 2.8, deploy 1, delete 20.
    assert!(minutes >= 29.0, "{minutes}");
}

#[tokio::test]
async fn a_start_deploys_the_last_winner_again_and_its_answer_does_not_show_it() {
    let service = Service::start().await;
    let before = service.running_app("demo").await;
    service
        .post("/api/2.0/apps/demo/stop", json!({}))
        .await
        .ok();
    service.advance("1m").await;
    assert_eq!(
        service.app("demo").await["app_status"]["state"],
        "UNAVAILABLE"
    );
    let starting = service
        .post("/api/2.0/apps/demo/start", json!({}))
        .await
        .ok();
    assert!(starting["pending_deployment"].is_null());
    service.advance("171s").await;
    let pending = service.app("demo").await["pending_deployment"].clone();
    assert_eq!(pending["status"]["state"], "IN_PROGRESS");
    assert_eq!(pending["source_code_path"], SOURCE);
    service.advance("2m").await;
    let after = service.app("demo").await;
    assert_eq!(after["app_status"]["state"], "RUNNING");
    assert_ne!(
        after["active_deployment"]["deployment_id"],
        before["active_deployment"]["deployment_id"]
    );
}

#[tokio::test]
async fn a_redeploy_after_start_can_come_late_or_not_at_all() {
    let service = Service::start().await;
    for (name, fault, at_once, later) in [
        (
            "late",
            json!({"kind": "delayed_redeploy", "app": "late", "delay": "30s"}),
            false,
            true,
        ),
        (
            "never",
            json!({"kind": "no_redeploy_on_start", "app": "never"}),
            false,
            false,
        ),
    ] {
        service.fault(fault).await;
        service.running_app(name).await;
        service
            .post(&format!("/api/2.0/apps/{name}/stop"), json!({}))
            .await
            .ok();
        service.advance("1m").await;
        service
            .post(&format!("/api/2.0/apps/{name}/start"), json!({}))
            .await
            .ok();
        service.advance("171s").await;
        let pending = async || !service.app(name).await["pending_deployment"].is_null();
        assert_eq!(pending().await, at_once, "{name}");
        service.advance("35s").await;
        assert_eq!(pending().await, later, "{name}");
    }
}

#[tokio::test]
async fn a_deployment_made_meanwhile_makes_the_late_redeploy_pointless() {
    let service = Service::start().await;
    service
        .fault(json!({"kind": "delayed_redeploy", "delay": "30s"}))
        .await;
    service.running_app("demo").await;
    service
        .post("/api/2.0/apps/demo/stop", json!({}))
        .await
        .ok();
    service.advance("1m").await;
    service
        .post("/api/2.0/apps/demo/start", json!({}))
        .await
        .ok();
    service.advance("171s").await;
    let own = service.deploy("demo").await.ok();
    service.advance("10m").await;
    let app = service.app("demo").await;
    assert_eq!(
        app["active_deployment"]["deployment_id"],
        own["deployment_id"]
    );
    let all = service.get("/api/2.0/apps/demo/deployments").await.ok();
    assert_eq!(all["app_deployments"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn stop_clears_the_pending_deployment_and_by_a_knob_the_active_one() {
    let service = Service::start().await;
    service
        .fault(json!({"kind": "stop_clears_active_deployment", "app": "forgetful"}))
        .await;
    for (name, keeps) in [("keeps", true), ("forgetful", false)] {
        service.running_app(name).await;
        service.deploy(name).await.ok();
        let path = format!("/api/2.0/apps/{name}/stop");
        service.post(&path, json!({})).await.ok();
        service.advance("1m").await;
        let app = service.app(name).await;
        assert!(app["pending_deployment"].is_null(), "{name}");
        assert_eq!(app["active_deployment"].is_object(), keeps, "{name}");
        assert_eq!(app["default_source_code_path"], SOURCE, "{name}");
    }
}

#[tokio::test]
async fn stop_is_refused_while_an_app_is_starting() {
    let service = Service::start().await;
    service
        .fault(json!({"kind": "durations", "create": "1h"}))
        .await;
    service
        .post("/api/2.0/apps", json!({"name": "demo"}))
        .await
        .ok();
    let refused = service.post("/api/2.0/apps/demo/stop", json!({})).await;
    assert_eq!(refused.refusal().0, 400);
    assert!(refused.refusal().2.ends_with(NOT_TERMINAL));
    service.advance("21m").await;
    service
        .post("/api/2.0/apps/demo/stop", json!({}))
        .await
        .ok();
}

#[tokio::test]
async fn what_is_already_so_is_no_error_unless_a_fault_says_so() {
    let service = Service::start().await;
    service.active_app("demo").await;
    let start = async || service.post("/api/2.0/apps/demo/start", json!({})).await;
    assert_eq!(start().await.ok()["compute_status"]["state"], "ACTIVE");
    service.fault(json!({"kind": "no_op_refused"})).await;
    service
        .fault(json!({"kind": "refusal", "status_code": 409, "error_code": "INVALID_STATE"}))
        .await;
    let refused = start().await;
    let (status, code, _) = refused.refusal();
    assert_eq!((status, code), (409, "INVALID_STATE"));
}

#[tokio::test]
async fn a_start_can_end_in_error_and_be_tried_again() {
    let service = Service::start().await;
    service.stopped_app("demo").await;
    service
        .fault(json!({"kind": "start_outcome", "message": "no capacity", "times": 1}))
        .await;
    service
        .post("/api/2.0/apps/demo/start", json!({}))
        .await
        .ok();
    service.advance("3m").await;
    let app = service.app("demo").await;
    assert_eq!(
        app["compute_status"],
        json!({"state": "ERROR", "message": "no capacity"})
    );
    service
        .post("/api/2.0/apps/demo/start", json!({}))
        .await
        .ok();
    service.advance("3m").await;
    assert_eq!(service.compute("demo").await, "ACTIVE");
}

#[tokio::test]
async fn delete_goes_through_deleting_to_404() {
    let service = Service::start().await;
    service.active_app("demo").await;
    let deleting = service.delete("/api/2.0/apps/demo").await.ok();
    assert_eq!(deleting["compute_status"]["state"], "DELETING");
    service.advance("100s").await;
    assert_eq!(service.compute("demo").await, "DELETING");
    let again = service.delete("/api/2.0/apps/demo").await;
    assert_eq!(
        again.refusal(),
        (
            400,
            "BAD_REQUEST",
            "Cannot delete app demo as it is not terminal with state DELETING, and was updated less than 20 minutes ago. Please wait before trying again."
        )
    );
    service.advance("30s").await;
    assert_eq!(service.get("/api/2.0/apps/demo").await.status, 404);
    assert_eq!(service.delete("/api/2.0/apps/demo").await.status, 404);
}

#[tokio::test]
async fn delete_is_refused_while_an_app_is_starting() {
    let service = Service::start().await;
    service
        .post("/api/2.0/apps", json!({"name": "demo"}))
        .await
        .ok();
    let refused = service.delete("/api/2.0/apps/demo").await;
    let (status, code, message) = refused.refusal();
    assert_eq!((status, code), (400, "BAD_REQUEST"));
    assert!(message.contains("with state STARTING"), "{message}");
}

#[tokio::test]
async fn nothing_else_is_possible_while_an_app_is_deleting() {
    let service = Service::start().await;
    service.active_app("demo").await;
    service.delete("/api/2.0/apps/demo").await.ok();
    for verb in ["start", "stop", "deployments"] {
        let body = json!({"source_code_path": SOURCE});
        let refused = service
            .post(&format!("/api/2.0/apps/demo/{verb}"), body)
            .await;
        assert_eq!(refused.refusal().0, 400, "{verb}");
    }
    let update = service
        .update("demo", "description", json!({"description": "x"}))
        .await;
    assert_eq!(update.refusal().0, 400);
}

#[tokio::test]
async fn a_name_can_stay_taken_after_404() {
    let service = Service::start().await;
    service
        .fault(json!({"kind": "name_held_after_delete", "for": "30s"}))
        .await;
    service
        .fault(json!({"kind": "name_taken_code", "error_code": "RESOURCE_ALREADY_EXISTS"}))
        .await;
    service.stopped_app("demo").await;
    service.delete("/api/2.0/apps/demo").await.ok();
    service.advance("121s").await;
    assert_eq!(service.get("/api/2.0/apps/demo").await.status, 404);
    let refused = service.post("/api/2.0/apps", json!({"name": "demo"})).await;
    let (status, code, _) = refused.refusal();
    assert_eq!((status, code), (409, "RESOURCE_ALREADY_EXISTS"));
    service.advance("31s").await;
    service.stopped_app("demo").await;
}
