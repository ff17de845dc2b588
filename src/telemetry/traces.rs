//! Traces: one for each pass over an object, with the calls to Databricks as its spans. Off unless there is an endpoint;
//! then the spans below are not even made.
//!
//! A span holds what an operator may show to anybody who may read traces: names of objects, classes of routes, statuses and
//! ids of requests. Never a body, a header, a query or a value of a spec.
use std::fmt::{Debug, Display};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::field::Empty;
use tracing::{Span, Subscriber, info_span, warn};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;
use url::Url;

/// The target of spans that are exported; no log shows them.
pub const TARGET: &str = "traces";
/// For one batch of spans.
const TIMEOUT: Duration = Duration::from_secs(10);
/// For the last batch, when the process ends.
const PARTING: Duration = Duration::from_secs(3);
/// Where a collector takes traces, below its address.
const PATH: &str = "v1/traces";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "--otlp-endpoint is no http or https URL, or one with a password or a query, which belong into OTEL_EXPORTER_OTLP_HEADERS; write it like http://collector:4318"
    )]
    Endpoint,
    #[error("building the HTTP client for --otlp-endpoint: {0}")]
    Client(#[from] reqwest::Error),
    #[error("building the exporter for --otlp-endpoint: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// Sends traces to a collector in the background. What cannot be sent is dropped.
pub struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// To the collector at `endpoint`, by OTLP over HTTP with protobuf; within a Tokio runtime.
    pub fn new(endpoint: &str, instance: &str) -> Result<Self, Error> {
        let url = address(endpoint).ok_or(Error::Endpoint)?;
        let mut client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TIMEOUT);
        if url.scheme() == "http" {
            // Without TLS the system's authorities don't matter; an image may have none.
            client = client.tls_certs_only([]);
        }
        // rustls is built without a default provider; whoever installs one first wins.
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        let sender = Sender {
            client: client.build()?,
            runtime: tokio::runtime::Handle::current(),
            failing: Arc::default(),
        };
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(sender)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(url.as_str())
            .with_timeout(TIMEOUT)
            .build()?;
        let resource = Resource::builder_empty()
            .with_service_name("databricks-app-operator")
            .with_attributes([
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
                KeyValue::new("service.instance.id", instance.to_owned()),
            ])
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource)
            .build();
        Ok(Self { provider })
    }

    /// The part of the subscriber that takes the spans.
    pub(super) fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("databricks-app-operator"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(|event| {
                event.is_span() && event.target() == TARGET
            }))
    }

    /// Sends what is left; blocks for some seconds at the most.
    pub fn end(self) {
        // Whoever ends has nobody left to tell.
        let _ = self.provider.shutdown_with_timeout(PARTING);
    }
}

impl Debug for Traces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Traces").finish_non_exhaustive()
    }
}

/// Where the collector takes traces.
fn address(endpoint: &str) -> Option<Url> {
    let mut url = Url::parse(endpoint).ok()?;
    let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() || !plain {
        return None;
    }
    let path = url.path().trim_end_matches('/').to_owned();
    if !path.ends_with(PATH) {
        url.set_path(&format!("{path}/{PATH}"));
    }
    Some(url)
}

/// The exporter has a thread of its own, and our HTTP client needs the runtime.
#[derive(Debug)]
struct Sender {
    client: reqwest::Client,
    runtime: tokio::runtime::Handle,
    failing: Arc<AtomicBool>,
}

#[async_trait::async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (client, failing) = (self.client.clone(), self.failing.clone());
        let sent = self.runtime.spawn(async move {
            let host = request.uri().host().unwrap_or_default().to_owned();
            let result = exchange(&client, request).await;
            let failed = match &result {
                Ok(answer) if answer.status().is_success() => None,
                Ok(answer) => Some(answer.status().to_string()),
                Err(error) => Some(error.to_string()),
            };
            match failed {
                // Said once, until one is sent again.
                Some(error) if !failing.swap(true, Ordering::Relaxed) => {
                    warn!(%host, error, "traces cannot be sent and are dropped until the collector takes them");
                }
                Some(_) => {}
                None => failing.store(false, Ordering::Relaxed),
            }
            result
        });
        Ok(sent.await??)
    }
}

async fn exchange(
    client: &reqwest::Client,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, reqwest::Error> {
    let lost = reqwest::Error::without_url;
    let request = reqwest::Request::try_from(request)?;
    let answer = client.execute(request).await.map_err(lost)?;
    let status = answer.status();
    let mut response = Response::new(answer.bytes().await.map_err(lost)?);
    *response.status_mut() = status;
    Ok(response)
}

/// One pass over one object: the root of a trace.
pub fn pass(kind: &'static str, object: &impl Display, generation: Option<i64>) -> Span {
    info_span!(
        target: TARGET,
        parent: None,
        "reconcile",
        otel.name = %format_args!("reconcile {kind}"),
        kind,
        object = %object,
        generation,
        result = Empty,
    )
}

/// What came of a pass.
pub fn passed(span: &Span, result: &impl Debug) {
    span.record("result", tracing::field::debug(result));
}

/// A look at a workspace that serves many objects, and so belongs to no pass.
pub fn look(what: &'static str, workspace: &impl Display) -> Span {
    info_span!(
        target: TARGET,
        parent: None,
        "look",
        otel.name = what,
        workspace = %workspace,
    )
}

/// One attempt of a call to Databricks.
pub fn call(method: &'static str, route: &'static str, host: &impl Display) -> Span {
    info_span!(
        target: TARGET,
        "call",
        otel.name = %format_args!("{method} {route}"),
        otel.kind = "client",
        otel.status_code = Empty,
        http.request.method = method,
        url.template = route,
        server.address = %host,
        http.response.status_code = Empty,
        error.type = Empty,
        databricks.request_id = Empty,
    )
}

/// What came of it: a status and the service's id of the request, or the kind of failure.
pub fn answered(span: &Span, answer: Result<(u16, Option<&str>), &'static str>) {
    match answer {
        Ok((status, request_id)) => {
            span.record("http.response.status_code", status);
            if let Some(id) = request_id {
                span.record("databricks.request_id", id);
            }
            if status >= 400 {
                span.record("otel.status_code", "ERROR");
            }
        }
        Err(kind) => {
            span.record("otel.status_code", "ERROR");
            span.record("error.type", kind);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_is_a_collectors_address_and_holds_no_password() {
        let traces = |endpoint| address(endpoint).map(String::from);
        for (endpoint, url) in [
            ("http://collector:4318", "http://collector:4318/v1/traces"),
            (
                "https://c.example/otlp/",
                "https://c.example/otlp/v1/traces",
            ),
            ("http://c/v1/traces", "http://c/v1/traces"),
        ] {
            assert_eq!(traces(endpoint).as_deref(), Some(url));
        }
        for bad in [
            "collector:4318",
            "grpc://c:4317",
            "http://u:p@c",
            "http://c/?key=k",
            "",
        ] {
            assert_eq!(traces(bad), None, "{bad}");
        }
    }
}
