//! What is secret stays so, and a rotated one is noticed.
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::support::{Scene, Setting, running_app, with};

const APP: &str = "DatabricksApp";
const WORKSPACE: &str = "DatabricksWorkspace";
const CLIENT: &str = "5f0c1a52-0000-4000-8000-00000000c11e";
const CLIENT_SECRET: &str = "canary-oauth-secret-5d1f7a";

/// How the fake workspace begins every access token that it hands out.
const ACCESS_TOKEN: &str = "sim-oauth-";

fn talkative() -> Setting {
    Setting {
        log_filter: "debug,databricks_app_operator=trace",
        ..Setting::default()
    }
}

/// Everything that the operator says anywhere.
async fn said(scene: &Scene) -> Vec<(&'static str, String)> {
    let mut objects = String::new();
    for kind in [WORKSPACE, "AppOfApps", APP] {
        for object in scene.list(kind).await {
            objects += &format!("{object}\n");
        }
    }
    let events: Api<Event> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let events = events.list(&ListParams::default()).await.unwrap().items;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let metrics = http.get(format!("{}/metrics", scene.operator.url())).send();
    vec![
        ("the log", std::fs::read_to_string(&scene.log).unwrap()),
        ("an object", objects),
        ("an event", serde_json::to_string_pretty(&events).unwrap()),
        ("the metrics", metrics.await.unwrap().text().await.unwrap()),
    ]
}

async fn nowhere(scene: &Scene, secret: &str) {
    for (place, text) in said(scene).await {
        assert!(!text.is_empty(), "{place} is empty");
        let found = text.lines().find(|line| line.contains(secret));
        assert!(found.is_none(), "{place} holds {secret}: {found:?}");
    }
}

/// The error that a service makes which repeats what it was sent.
fn echo(call: &str, status: u16, secret: &str) -> Value {
    let body = json!({
        "error_code": "INVALID_PARAMETER_VALUE",
        "message": format!("cannot read header Authorization: Bearer {secret}"),
        "details": [{"@type": "type.googleapis.com/google.rpc.BadRequest",
                     "field_violations": [{"field": secret, "description": secret}]}],
    });
    json!({"pattern": call, "status_code": status, "body": body})
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_is_said_nowhere_even_if_the_service_echoes_it() {
    let test = "an_access_token_is_said_nowhere_even_if_the_service_echoes_it";
    let Some(scene) = Scene::set(test, talkative()).await else {
        return;
    };
    let token = scene.token.clone();
    scene.fault(echo("POST /api/2.0/apps", 400, &token)).await;
    scene.put(APP, "sales", running_app()).await;
    scene
        .wait(APP, "sales", "Stalled", "True/CreateRefused")
        .await;
    let message = scene.message(APP, "sales", "Stalled").await;
    assert!(message.contains("[redacted]"), "{message}");
    nowhere(&scene, &token).await;
    let body = format!("upstream refused Bearer {token}");
    let down =
        json!({"pattern": "GET /api/2.0/apps", "status_code": 503, "body": body, "times": 0});
    scene.fault(down).await;
    scene
        .wait(WORKSPACE, "prod", "Ready", "False/HostUnreachable")
        .await;
    nowhere(&scene, &token).await;
    scene.sim.call("DELETE", "/sim/faults", None).await.unwrap();
    scene.put(APP, "second", running_app()).await;
    scene.wait(APP, "second", "Ready", "True/Running").await;
    nowhere(&scene, &token).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_secret_and_what_it_buys_are_said_nowhere() {
    let test = "a_client_secret_and_what_it_buys_are_said_nowhere";
    let setting = Setting {
        sim: vec!["--oauth-client".into(), format!("{CLIENT}:{CLIENT_SECRET}")],
        ..talkative()
    };
    let Some(scene) = Scene::set(test, setting).await else {
        return;
    };
    let refusal = json!({
        "error": "invalid_client",
        "error_description": format!("no client {CLIENT} with secret {CLIENT_SECRET}"),
    });
    scene
        .fault(json!({"pattern": "POST /oidc/v1/token", "status_code": 401, "body": refusal}))
        .await;
    let namespace = &scene.namespace;
    let host = scene.sim.url();
    scene
        .apply(&format!(
            r#"
apiVersion: v1
kind: Secret
metadata: {{name: machine, namespace: {namespace}}}
stringData: {{secret: {CLIENT_SECRET}}}
---
apiVersion: appofapps.dev/v1alpha1
kind: DatabricksWorkspace
metadata: {{name: machine, namespace: {namespace}}}
spec:
  host: {host}
  auth: {{oauth: {{clientID: {CLIENT}, clientSecretRef: {{name: machine, key: secret}}}}}}
  limits: {{requestsPerSecond: 600, burst: 600}}
"#
        ))
        .await;
    scene
        .wait(WORKSPACE, "machine", "Stalled", "True/Unauthenticated")
        .await;
    let message = scene.message(WORKSPACE, "machine", "Stalled").await;
    assert!(message.contains("[redacted]"), "{message}");
    nowhere(&scene, CLIENT_SECRET).await;
    let mut spec = running_app();
    spec["workspaceRef"]["name"] = json!("machine");
    scene.put(APP, "sales", spec).await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    nowhere(&scene, CLIENT_SECRET).await;
    nowhere(&scene, ACCESS_TOKEN).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_app_is_given_is_said_nowhere_even_if_the_service_or_the_app_repeats_it() {
    let test = "what_an_app_is_given_is_said_nowhere_even_if_the_service_or_the_app_repeats_it";
    let Some(scene) = Scene::set(test, talkative()).await else {
        return;
    };
    let (value, credential) = ("canary-env-91c2f0", "canary-git-77ab31");
    let namespace = &scene.namespace;
    scene
        .apply(&format!(
            "
apiVersion: v1
kind: Secret
metadata: {{name: keys, namespace: {namespace}}}
stringData: {{api: {value}, git: {credential}}}
"
        ))
        .await;
    let folder = json!({"path": "/Workspace/Shared/sales"});
    scene
        .call("POST", "/api/2.0/workspace/mkdirs", &folder)
        .await;
    // Refused in the answer to the deployment.
    let deployments = "POST /api/2.0/apps/echoed/deployments";
    let always = |fault: Value| with(fault, "times", json!(0));
    scene.fault(always(echo(deployments, 400, value))).await;
    let key =
        json!([{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "api"}}}]);
    let mut spec = running_app();
    spec["deployment"]["env"] = key;
    scene.put(APP, "echoed", spec.clone()).await;
    scene
        .wait(APP, "echoed", "Stalled", "True/DeploymentRefused")
        .await;
    let message = scene.message(APP, "echoed", "Stalled").await;
    assert!(message.contains("[redacted]"), "{message}");
    // Failed later, with the app's own words.
    let words = format!("KeyError: no account for {value}");
    let failed = json!({"kind": "deployment_outcome", "app": "printed", "outcome": "FAILED", "message": words});
    scene.fault(failed).await;
    scene.put(APP, "printed", spec).await;
    scene
        .wait(APP, "printed", "Stalled", "True/DeploymentFailed")
        .await;
    let message = scene.message(APP, "printed", "Stalled").await;
    assert!(message.contains("[redacted]"), "{message}");
    // The token of a private repository.
    let credentials = "POST /api/2.0/git-credentials";
    scene
        .fault(always(echo(credentials, 400, credential)))
        .await;
    let mut spec = running_app();
    spec["source"] = json!({"git": {"url": "https://github.com/acme/apps", "provider": "GitHub",
        "ref": {"branch": "main"}, "credentialSecretRef": {"name": "keys", "key": "git"}}});
    scene.put(APP, "cloned", spec).await;
    scene
        .wait(APP, "cloned", "Stalled", "True/CredentialRefused")
        .await;
    for secret in [value, credential, &scene.token] {
        nowhere(&scene, secret).await;
    }
    let audited = said(&scene).await;
    let (_, log) = &audited[0];
    let records = log.lines().filter(|line| line.contains("remote write"));
    assert!(records.count() >= 3, "the log has no audit records");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_refused_and_then_rotated_is_noticed_without_a_watch() {
    let test = "a_token_that_was_refused_and_then_rotated_is_noticed_without_a_watch";
    let setting = Setting {
        token: Some("dapi-of-yesterday".into()),
        ..talkative()
    };
    let Some(scene) = Scene::set(test, setting).await else {
        return;
    };
    scene.put(APP, "sales", running_app()).await;
    scene
        .wait(WORKSPACE, "prod", "Stalled", "True/Unauthenticated")
        .await;
    let rotated = json!({"stringData": {"token": scene.token}});
    scene.merge("Secret", "prod", rotated).await;
    scene
        .wait(WORKSPACE, "prod", "Ready", "True/Connected")
        .await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    for secret in ["dapi-of-yesterday", &scene.token] {
        nowhere(&scene, secret).await;
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_token_is_used_within_an_interval_although_the_old_one_still_works() {
    let test = "a_rotated_token_is_used_within_an_interval_although_the_old_one_still_works";
    let setting = Setting {
        sim: vec!["--pat".into(), "dapi-of-tomorrow=ann@example.com".into()],
        ..Setting::default()
    };
    let Some(scene) = Scene::set(test, setting).await else {
        return;
    };
    scene
        .wait(WORKSPACE, "prod", "Ready", "True/Connected")
        .await;
    let rotated = json!({"stringData": {"token": "dapi-of-tomorrow"}});
    scene.merge("Secret", "prod", rotated).await;
    scene
        .until("the new token's user is seen", async || {
            let workspace = scene.get(WORKSPACE, "prod").await;
            (workspace["status"]["identity"]["userName"] == "ann@example.com").then_some(())
        })
        .await;
    scene.zero().await;
    scene
        .until("two more lists", async || {
            (scene.calls("GET /api/2.0/apps 200").await >= 2).then_some(())
        })
        .await;
    let recent = scene.recent().await;
    let others: Vec<&Value> = recent
        .iter()
        .filter(|e| e["user"] != "ann@example.com")
        .collect();
    assert!(others.is_empty(), "{others:#?}");
    scene.end().await;
}
