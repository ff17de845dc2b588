//! Faults on requests: errors, delays, broken connections, odd bodies.
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Service, column};

const APP: &str = "/api/2.0/apps/{name}";
const APPS: &str = "/api/2.0/apps";

#[tokio::test]
async fn a_status_fault_answers_instead_and_nothing_happens() {
    let service = Service::start().await;
    service
        .fault(json!({"pattern": "POST /api/2.0/apps", "status_code": 429,
            "headers": {"Retry-After": "2"}, "body": {"error_code": "REQUEST_LIMIT_EXCEEDED"}}))
        .await;
    let body = json!({"name": "demo"});
    let refused = service.post(APPS, body.clone()).await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("retry-after"), "2");
    assert_eq!(refused.body["error_code"], "REQUEST_LIMIT_EXCEEDED");
    assert_eq!(service.get("/api/2.0/apps/demo").await.status, 404);
    service.post(APPS, body).await.ok();
}

#[tokio::test]
async fn a_fault_without_a_body_uses_the_codes_of_the_service() {
    let service = Service::start().await;
    for (status, code) in [
        (429, "REQUEST_LIMIT_EXCEEDED"),
        (503, "TEMPORARILY_UNAVAILABLE"),
        (504, "DEADLINE_EXCEEDED"),
        (500, "INTERNAL_ERROR"),
    ] {
        service
            .fault(json!({"pattern": "GET /api/2.0/apps", "status_code": status}))
            .await;
        let answer = service.get(APPS).await;
        assert_eq!((answer.refusal().0, answer.refusal().1), (status, code));
        assert!(answer.header("retry-after").is_empty());
    }
}

#[tokio::test]
async fn a_body_may_be_html_or_text() {
    let service = Service::start().await;
    for (body, expected) in [("<html>down</html>", "text/html"), ("oops", "text/plain")] {
        service
            .fault(json!({"pattern": "GET /api/2.0/apps", "status_code": 503, "body": body}))
            .await;
        let answer = service.get(APPS).await;
        assert_eq!(answer.header("content-type"), expected);
        assert_eq!(answer.text, body);
    }
}

#[tokio::test]
async fn an_error_after_commit_hides_what_took_effect() {
    let service = Service::start().await;
    service
        .fault(json!({"pattern": "POST /api/2.0/apps", "status_code": 504, "when": "after_commit"}))
        .await;
    let answer = service.post(APPS, json!({"name": "demo"})).await;
    assert_eq!(answer.status, 504);
    service.app("demo").await;
}

#[tokio::test]
async fn a_reset_breaks_the_connection_before_or_after_commit() {
    let service = Service::start().await;
    for (name, when, exists) in [
        ("before", "before_commit", false),
        ("after", "after_commit", true),
    ] {
        service
            .fault(json!({"kind": "reset", "pattern": "POST /api/2.0/apps", "when": when}))
            .await;
        let broken = service
            .try_call("POST", APPS, Some(json!({"name": name})))
            .await;
        let broken = broken.expect_err("an answer came");
        assert!(!broken.is_timeout(), "{broken:?}");
        let path = format!("/api/2.0/apps/{name}");
        assert_eq!(service.get(&path).await.status == 200, exists);
        let entry = service.last_request(APPS).await;
        assert_eq!(entry["state"], "reset");
        assert_eq!(entry["status"], if exists { 200 } else { 0 });
    }
}

#[tokio::test]
async fn a_held_request_is_seen_while_it_is_held() {
    let service = Service::start().await;
    for (name, when, state, exists) in [
        ("before", "before_commit", "held", false),
        ("after", "after_commit", "committed", true),
    ] {
        service
            .fault(json!({"kind": "latency", "pattern": "POST /api/2.0/apps", "delay": "600s", "when": when}))
            .await;
        let request = service.request("POST", APPS).json(&json!({"name": name}));
        let client = tokio::spawn(request.send());
        service.until_request_is(APPS, state).await;
        let path = format!("/api/2.0/apps/{name}");
        assert_eq!(service.get(&path).await.status == 200, exists);

        client.abort();
        service.until_request_is(APPS, "abandoned").await;
        assert_eq!(service.get(&path).await.status == 200, exists);
    }
}

#[tokio::test]
async fn an_abandoned_request_may_still_take_effect_later() {
    let service = Service::start().await;
    service
        .fault(json!({"kind": "latency", "pattern": "POST /api/2.0/apps", "delay": "300ms", "abandoned": "commit"}))
        .await;
    let request = service.request("POST", APPS).json(&json!({"name": "demo"}));
    let client = tokio::spawn(request.send());
    service.until_request_is(APPS, "held").await;
    client.abort();
    service.until_request_is(APPS, "done").await;
    service.app("demo").await;
}

#[tokio::test]
async fn a_delay_is_real_time() {
    let service = Service::with("", |config| config.time_scale = 1000).await;
    service
        .fault(json!({"kind": "latency", "pattern": "GET /api/2.0/apps", "delay": "200ms"}))
        .await;
    let begun = Instant::now();
    service.get(APPS).await.ok();
    assert!(begun.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn refusals_come_in_every_shape() {
    let service = Service::start().await;
    let message = "App with name nope does not exist or is deleted.";
    for shape in [
        "int_code", "details", "scim", "legacy", "html", "text", "empty",
    ] {
        service.delete("/sim/faults").await.ok();
        service
            .fault(json!({"kind": "error_shape", "pattern": format!("GET {APP}"), "shape": shape}))
            .await;
        let answer = service.get("/api/2.0/apps/nope").await;
        assert_eq!(answer.status, 404);
        let body = &answer.body;
        match shape {
            "int_code" => assert_eq!(body["error_code"], 404),
            "details" => {
                let kinds = column(&body["details"], "@type");
                assert!(kinds.contains(&"type.googleapis.com/google.rpc.RequestInfo".into()));
                assert_eq!(
                    body["details"][1]["request_id"],
                    answer.header("x-request-id")
                );
            }
            "scim" => assert_eq!(body["detail"], message),
            "legacy" => assert_eq!(body["error"], message),
            "html" => assert!(answer.text.contains(&format!("{message}</pre>"))),
            "text" => assert_eq!(answer.text, format!("RESOURCE_DOES_NOT_EXIST: {message}")),
            _ => assert_eq!(answer.text, ""),
        }
    }
}

#[tokio::test]
async fn unknown_fields_can_be_everywhere() {
    let service = Service::start().await;
    service.stopped_app("demo").await;
    service.fault(json!({"kind": "extra_fields"})).await;
    let app = service.app("demo").await;
    assert!(app["x_unheard_of"].is_object());
    assert!(app["compute_status"]["x_unheard_of"].is_object());
    assert_eq!(app["name"], "demo");
}

#[tokio::test]
async fn faults_are_listed_with_their_hits_and_cleared() {
    let service = Service::start().await;
    let many = json!({"faults": [
        {"pattern": "GET /api/2.0/apps", "status_code": 503, "offset": 1},
        {"kind": "list_lag", "for": "5s"},
    ]});
    service.fault(many).await;
    assert_eq!(service.get(APPS).await.status, 200);
    assert_eq!(service.get(APPS).await.status, 503);
    assert_eq!(service.get(APPS).await.status, 200);
    let listed = service.get("/sim/faults").await.ok();
    assert_eq!(listed["faults"][0]["hits"], 1);
    assert_eq!(listed["faults"][0]["seen"], 3);
    assert_eq!(listed["faults"][1]["for"], "5s");
    service.delete("/sim/faults").await.ok();
    assert_eq!(service.get("/sim/faults").await.ok(), json!({"faults": []}));
    let wrong = service.post("/sim/faults", json!({"kind": "bogus"})).await;
    assert_eq!(wrong.status, 400);
    assert!(wrong.body["error"].as_str().unwrap().contains("bogus"));
}

#[tokio::test]
async fn a_wrong_fault_in_a_list_sets_none_of_them() {
    let service = Service::start().await;
    let wrong = service
        .post(
            "/sim/faults",
            json!({"faults": [{"kind": "extra_fields"}, {"kind": "bogus"}]}),
        )
        .await;
    assert_eq!(wrong.status, 400);
    let listed: Value = service.get("/sim/faults").await.ok();
    assert_eq!(listed["faults"], json!([]));
}

#[test]
fn every_kind_of_the_guide_has_a_test() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/all");
    let tests: String = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    let guide = databricks_sim::guide();
    let kinds: Vec<&str> = guide
        .lines()
        .filter_map(|line| line.strip_prefix("{\"kind\":\"")?.split('"').next())
        .collect();
    assert!(kinds.len() > 50, "{}", kinds.len());
    let untested: Vec<&&str> = kinds
        .iter()
        // The one that need not be named.
        .filter(|kind| **kind != "status")
        .filter(|kind| !tests.contains(&format!("\"{kind}\"")))
        .collect();
    assert!(untested.is_empty(), "{untested:?}");
}
