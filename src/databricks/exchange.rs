//! One HTTP exchange: the client it is made with, and from a request to the whole answer.

use std::time::{Duration, Instant};

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, LOCATION, RETRY_AFTER};
use tracing::{Instrument, Span};
use url::Url;

use super::classify::{Head, clean};
use super::error::Error;
use super::host::is_loopback;
use crate::telemetry::metrics::Code;
use crate::telemetry::{Metrics, traces};

const ORG_ID: HeaderName = HeaderName::from_static("x-databricks-org-id");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// No page of a list comes near; an endless body must not eat the memory.
const BODY_BYTES: usize = 32 << 20;

/// In wire time, for one attempt.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    pub connect: Duration,
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            // No longer than the grace of the Lease: what was let through is sent before another replica may lead.
            connect: Duration::from_secs(4),
            total: Duration::from_secs(60),
        }
    }
}

pub(super) fn host_of(url: &Url) -> String {
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => String::new(),
    }
}

pub(super) fn http_client(
    host: &Url,
    ca_bundle: Option<&[u8]>,
    timeouts: Timeouts,
) -> Result<reqwest::Client, Error> {
    // rustls is built without a default provider; whoever installs one first wins.
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    let mut builder = reqwest::Client::builder()
        // A redirect would carry the request, and perhaps its token, to a host nobody judged.
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(timeouts.connect)
        .pool_idle_timeout(Duration::from_secs(90))
        .tcp_keepalive(Duration::from_secs(30));
    if host.host_str().is_some_and(is_loopback) {
        builder = builder.no_proxy();
    }
    let extra = match ca_bundle {
        Some(pem) => reqwest::Certificate::from_pem_bundle(pem)
            .map_err(|error| Error::Setup(format!("reading the CA bundle: {}", chain(&error))))?,
        None => Vec::new(),
    };
    if ca_bundle.is_some() && extra.is_empty() {
        return Err(Error::Setup(
            "the CA bundle holds no certificate; it must be PEM with BEGIN CERTIFICATE blocks"
                .to_owned(),
        ));
    }
    builder = if host.scheme() == "http" {
        // Without TLS the system's authorities don't matter; an image may have none.
        builder.tls_certs_only(extra)
    } else {
        builder.tls_certs_merge(extra)
    };
    builder
        .build()
        .map_err(|error| Error::Setup(format!("building the HTTP client: {}", chain(&error))))
}

/// What an exchange is called on its span and in the metrics.
pub(super) struct Told<'a> {
    pub method: &'static str,
    pub route: &'static str,
    pub metrics: &'a Metrics,
}

/// How an exchange ended, and when in wire time.
pub(super) struct Exchanged {
    pub result: Result<(Head, Vec<u8>), Error>,
    pub sent: Instant,
    pub answered: Instant,
}

/// Sends, reads the whole answer, and tells how it went.
pub(super) async fn exchange(
    request: reqwest::RequestBuilder,
    host: &Url,
    total: Duration,
    told: Told<'_>,
) -> Exchanged {
    let Told {
        method,
        route,
        metrics,
    } = told;
    let sent = Instant::now();
    let span = traces::call(method, route, &host_of(host));
    let result = whole(request, host, total).instrument(span.clone()).await;
    let answered = Instant::now();
    let code = answered_with(&result, &span);
    metrics.request(method, route, code, answered - sent);
    Exchanged {
        result,
        sent,
        answered,
    }
}

async fn whole(
    request: reqwest::RequestBuilder,
    host: &Url,
    total: Duration,
) -> Result<(Head, Vec<u8>), Error> {
    let name = host_of(host);
    let lost = |error: reqwest::Error| {
        let error = error.without_url();
        if error.is_timeout() && !error.is_connect() {
            return Error::Timeout {
                host: name.clone(),
                after: total,
            };
        }
        Error::Transport {
            host: name.clone(),
            message: clean(&chain(&error), 512),
            // What could not connect was never sent.
            ambiguous: !error.is_connect() && !error.is_builder(),
        }
    };
    let mut response = request.send().await.map_err(lost)?;
    let headers = response.headers();
    let head = Head {
        host: name.clone(),
        status: response.status().as_u16(),
        content_type: text(headers, &CONTENT_TYPE),
        location: text(headers, &LOCATION),
        retry_after: text(headers, &RETRY_AFTER)
            .and_then(|value| value.trim().parse().ok())
            .map(Duration::from_secs),
        request_id: text(headers, &REQUEST_ID).map(|id| clean(&id, 128)),
        org_id: text(headers, &ORG_ID).map(|id| clean(&id, 64)),
    };
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(lost)? {
        if body.len() + chunk.len() > BODY_BYTES {
            return Err(Error::Transport {
                host: name,
                message: format!("the answer exceeds {} MiB", BODY_BYTES >> 20),
                ambiguous: true,
            });
        }
        body.extend_from_slice(&chunk);
    }
    Ok((head, body))
}

/// How an exchange ended: noted on its span, and as metrics count it.
fn answered_with(result: &Result<(Head, Vec<u8>), Error>, span: &Span) -> Code {
    let (code, answer) = match result {
        Ok((head, _)) => {
            let answer = (head.status, head.request_id.as_deref());
            (Code::of(head.status), Ok(answer))
        }
        Err(Error::Timeout { .. }) => (Code::TIMEOUT, Err("timeout")),
        Err(_) => (Code::UNREACHABLE, Err("unreachable")),
    };
    traces::answered(span, answer);
    code
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(ToOwned::to_owned)
}

/// An error with its sources: reqwest keeps the telling part ("connection refused") there.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut parts = vec![error.to_string()];
    let mut source = error.source();
    while let Some(inner) = source {
        let text = inner.to_string();
        if parts.last().is_none_or(|last| !last.contains(&text)) {
            parts.push(text);
        }
        source = inner.source();
    }
    parts.join(": ")
}
