//! Traces: a collector sees one trace a pass, with its calls; without one that answers nothing is lost but the traces.
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use crate::support::{Scene, Setting, running_app};

type Spans = Arc<Mutex<Vec<Span>>>;

/// A collector on loopback, until the test ends.
async fn collector() -> (String, Spans) {
    let spans = Spans::default();
    let take = async |State(spans): State<Spans>, body: Bytes| {
        let request = ExportTraceServiceRequest::decode(body).unwrap();
        let scopes = request
            .resource_spans
            .into_iter()
            .flat_map(|r| r.scope_spans);
        let new = scopes.flat_map(|scope| scope.spans);
        spans.lock().unwrap().extend(new);
    };
    let router = Router::new()
        .route("/v1/traces", post(take))
        .with_state(spans.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, spans)
}

fn attributes(span: &Span) -> BTreeMap<String, String> {
    let text = |value: &Any| match value {
        Any::StringValue(text) => text.clone(),
        Any::IntValue(n) => n.to_string(),
        other => format!("{other:?}"),
    };
    let all = span.attributes.iter();
    all.filter_map(|a| Some((a.key.clone(), text(a.value.as_ref()?.value.as_ref()?))))
        .collect()
}

/// A scene whose operator sends traces there, with an app that runs.
async fn traced(test: &str, url: String) -> Option<Scene> {
    let setting = Setting {
        operator: vec!["--otlp-endpoint".into(), url],
        ..Setting::default()
    };
    let scene = Scene::set(test, setting).await?;
    scene.put("DatabricksApp", "sales", running_app()).await;
    scene
        .wait("DatabricksApp", "sales", "Ready", "True/Running")
        .await;
    Some(scene)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_sees_the_creation_of_an_app_as_one_trace_with_the_services_request_ids() {
    let test = "a_collector_sees_the_creation_of_an_app_as_one_trace_with_the_services_request_ids";
    let (url, spans) = collector().await;
    let Some(scene) = traced(test, url).await else {
        return;
    };
    let found = async || {
        let spans = spans.lock().unwrap().clone();
        let create = spans
            .iter()
            .find(|span| span.name == "POST apps/create")
            .cloned()?;
        let root = spans.iter().find(|s| s.span_id == create.parent_span_id)?;
        Some((root.clone(), create))
    };
    let (root, create) = scene.until("the trace of the creation", found).await;
    assert_eq!(root.name, "reconcile DatabricksApp");
    assert!(root.parent_span_id.is_empty());
    assert_eq!(root.trace_id, create.trace_id);
    let said = attributes(&root);
    assert_eq!(said["object"], format!("{}/sales", scene.namespace));
    assert_eq!(said["result"], "Stepped");
    let said = attributes(&create);
    assert_eq!(said["http.request.method"], "POST");
    assert_eq!(said["url.template"], "apps/create");
    assert_eq!(said["http.response.status_code"], "200");
    let recent = scene.recent().await;
    let answered = recent.iter().find(|entry| {
        entry["method"] == "POST" && entry["route"] == "/api/2.0/apps" && entry["status"] == 200
    });
    let known = answered.unwrap_or_else(|| panic!("{recent:#?}"));
    let id = known["request_id"].as_str();
    assert_eq!(
        Some(said["databricks.request_id"].as_str()),
        id,
        "{known:#}"
    );
    // Every call is below a pass or a look, and nothing secret is in any span.
    scene.end().await;
    let spans = spans.lock().unwrap().clone();
    let all = format!("{spans:?}");
    assert!(!all.contains("dapi-"), "a token is in a span");
    assert!(spans.len() > 10, "{} spans", spans.len());
    let orphans = spans
        .iter()
        .filter(|s| s.kind == 3 && s.parent_span_id.is_empty());
    assert_eq!(orphans.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_down_costs_one_warning() {
    let test = "a_collector_that_is_down_costs_one_warning";
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let Some(scene) = traced(test, url).await else {
        return;
    };
    let warnings = || {
        let log = std::fs::read_to_string(&scene.log).unwrap();
        log.matches("traces cannot be sent").count()
    };
    scene
        .until("a warning", async || (warnings() > 0).then_some(()))
        .await;
    let log = scene.log.clone();
    assert_eq!(warnings(), 1);
    let kept = std::fs::read_to_string(&log).unwrap();
    assert!(!kept.contains("\"level\":\"ERROR\""), "{kept}");
    scene.end().await;
}
