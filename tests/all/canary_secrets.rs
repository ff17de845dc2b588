//! Secrets reach the service they are for, and nothing else.
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;
use serde_json::json;

use crate::support::{Scene, Setting, running_app};

const CLIENT: &str = "11111111-2222-4333-8444-555555555555";
const CANARY: &str = "canary-client-secret-7f3a";

#[tokio::test(flavor = "multi_thread")]
async fn canaries_never_appear_in_logs_events_status_or_metrics() {
    let setting = Setting {
        sim: vec!["--oauth-client".into(), format!("{CLIENT}:{CANARY}")],
        log_filter: "debug,databricks_app_operator=trace",
        ..Setting::default()
    };
    let test = "canaries_never_appear_in_logs_events_status_or_metrics";
    let Some(scene) = Scene::set(test, setting).await else {
        return;
    };
    // Both kinds of credentials, each with an app that runs.
    let namespace = scene.namespace.clone();
    let secret = json!({"apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "oauth", "namespace": namespace}, "stringData": {"secret": CANARY}});
    scene.apply(&secret.to_string()).await;
    let auth = json!({"oauth": {"clientID": CLIENT, "clientSecretRef": {"name": "oauth", "key": "secret"}}});
    let limits = json!({"requestsPerSecond": 600, "burst": 600});
    let spec = json!({"host": scene.sim.url(), "auth": auth, "limits": limits});
    scene.put("DatabricksWorkspace", "oauth", spec).await;
    scene
        .wait("DatabricksWorkspace", "oauth", "Ready", "True/Connected")
        .await;
    scene.put("DatabricksApp", "sales", running_app()).await;
    scene
        .wait("DatabricksApp", "sales", "Ready", "True/Running")
        .await;

    // A service that echoes what it was sent.
    let words = format!("Bearer {} is not welcome", scene.token);
    let echo = json!({"pattern": "POST /api/2.0/apps", "status_code": 400, "times": 0,
        "body": {"error_code": "INVALID_PARAMETER_VALUE", "message": words}});
    scene.fault(echo).await;
    scene.put("DatabricksApp", "echo", running_app()).await;
    scene
        .wait("DatabricksApp", "echo", "Stalled", "True/CreateRefused")
        .await;

    let mut said = std::fs::read_to_string(&scene.log).unwrap();
    for kind in ["DatabricksWorkspace", "DatabricksApp"] {
        for object in scene.list(kind).await {
            said += &object.to_string();
        }
    }
    let events: Api<Event> = Api::namespaced(scene.client.clone(), &namespace);
    let events = events.list(&ListParams::default()).await.unwrap();
    assert!(!events.items.is_empty());
    said += &serde_json::to_string(&events.items).unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let metrics = http
        .get(format!("{}/metrics", scene.operator.url()))
        .send()
        .await
        .unwrap();
    said += &metrics.text().await.unwrap();
    assert!(said.contains("dao_databricks_requests_total"));
    assert!(
        said.contains("is not welcome"),
        "the refusal is shown without the secret"
    );
    for (what, canary) in [("token", scene.token.as_str()), ("client secret", CANARY)] {
        let lines: Vec<&str> = said.lines().filter(|line| line.contains(canary)).collect();
        assert!(lines.is_empty(), "the {what} appears in {lines:#?}");
    }
    scene.end().await;
}
