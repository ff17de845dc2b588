//! Ring 2: single passes over one app, against the fake workspace and a scripted API server.
use serde_json::json;

use crate::support::running_app;
use crate::support::scripted::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn an_app_comes_up_and_goes_with_its_object() {
    let mut stage = Stage::set(running_app()).await;
    stage
        .pass_until("Ready", |s| s.ready() == "True/Running")
        .await;
    assert_eq!(stage.writes().await, 3);
    stage.edit(|app| app["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z"));
    stage.pass_until("gone", |s| s.app().is_none()).await;
    assert_eq!(stage.writes().await, 4);
    let gone = stage.remote("/api/2.0/apps/sales").await;
    assert!(
        gone["message"].as_str().unwrap().contains("does not exist"),
        "{gone}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_created_that_was_not_written_ahead() {
    let mut stage = Stage::set(running_app()).await;
    stage.refuse("PATCH /status", 500, 1_000);
    for _ in 0..20 {
        stage.pass().await;
    }
    assert_eq!(stage.writes().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_lost_a_race_is_written_over_the_newer_object() {
    let mut stage = Stage::set(running_app()).await;
    stage
        .pass_until("Ready", |s| s.ready() == "True/Running")
        .await;
    stage.edit(|app| {
        app["metadata"]["generation"] = json!(2);
        app["spec"]["description"] = json!("new");
    });
    stage.refuse("PATCH /status", 409, 1);
    stage
        .pass_until("the new generation is reported", |s| {
            s.ready() == "True/Running" && s.app().unwrap()["status"]["observedGeneration"] == 2
        })
        .await;
    let app = stage.remote("/api/2.0/apps/sales").await;
    assert_eq!(app["description"], "new");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_app_is_looked_at_and_not_written() {
    let mut stage = Stage::set(running_app()).await;
    stage
        .pass_until("Ready", |s| s.ready() == "True/Running")
        .await;
    let before = stage.writes().await;
    stage.edit(|app| {
        app["metadata"]["annotations"] = json!({"appofapps.dev/paused": "true"});
        app["metadata"]["generation"] = json!(2);
        app["spec"]["description"] = json!("new");
    });
    stage
        .pass_until("Suspended", |s| {
            s.app().unwrap()["status"]["conditions"]
                .to_string()
                .contains("\"Paused\"")
        })
        .await;
    for _ in 0..20 {
        stage.pass().await;
    }
    assert_eq!(stage.writes().await, before);
    assert_eq!(
        stage.ready(),
        "True/Running",
        "a hold leaves Ready as last verified"
    );
    stage.edit(|app| app["metadata"]["annotations"] = json!({}));
    stage
        .pass_until("released", |s| {
            s.app().unwrap()["status"]["observedGeneration"] == 2
        })
        .await;
    stage
        .pass_until("Ready again", |s| s.ready() == "True/Running")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settled_app_asks_the_api_server_for_nothing() {
    let mut stage = Stage::set(running_app()).await;
    stage
        .pass_until("Ready", |s| s.ready() == "True/Running")
        .await;
    for _ in 0..3 {
        stage.pass().await;
    }
    let before = stage.requests("sales");
    for _ in 0..20 {
        stage.pass().await;
    }
    assert_eq!(stage.requests("sales"), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redeploy_that_is_asked_for_is_made_once_and_not_again_after_a_restart() {
    let mut stage = Stage::set(running_app()).await;
    stage.edit(|app| {
        app["metadata"]["annotations"] =
            json!({"appofapps.dev/redeploy-requested-at": "before we came"});
    });
    stage
        .pass_until("Ready", |s| s.ready() == "True/Running")
        .await;
    assert_eq!(
        stage.writes().await,
        3,
        "what an object carries when it is first seen was not asked of us"
    );
    stage.edit(|app| {
        app["metadata"]["annotations"] = json!({"appofapps.dev/redeploy-requested-at": "now"});
    });
    stage
        .pass_until("handled", |s| {
            s.app().unwrap()["status"]["lastHandledRedeployAt"] == "now"
        })
        .await;
    stage
        .pass_until("Ready again", |s| s.ready() == "True/Running")
        .await;
    for _ in 0..20 {
        stage.pass().await;
    }
    assert_eq!(stage.writes().await, 4);
}
