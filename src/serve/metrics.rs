//! `/metrics`: plain beside the probes, or over TLS for those who may read it.
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::Readiness;
use super::access::{Access, PATH, Unavailable, Verdict};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::ScrapeResult;

#[derive(Clone)]
struct Shared {
    metrics: Metrics,
    ready: Readiness,
    access: Option<Arc<Access>>,
}

/// With `access` whoever asks has to show a token.
pub(super) fn router(metrics: Metrics, ready: Readiness, access: Option<Arc<Access>>) -> Router {
    let guarded = access.is_some();
    let shared = Shared {
        metrics,
        ready,
        access,
    };
    let route = match guarded {
        true => get(judged),
        false => get(async |State(shared): State<Shared>| text(&shared)),
    };
    Router::new().route(PATH, route).with_state(shared)
}

async fn judged(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let (result, answer) = match verdict(&shared, &headers).await {
        Ok(Verdict::Allowed) => (ScrapeResult::Served, text(&shared)),
        Ok(Verdict::Unauthenticated) => (
            ScrapeResult::Unauthenticated,
            (
                StatusCode::UNAUTHORIZED,
                [(header::WWW_AUTHENTICATE, "Bearer")],
                "a valid token is needed: send that of a ServiceAccount that may get /metrics as \"Authorization: Bearer …\"\n",
            )
                .into_response(),
        ),
        Ok(Verdict::Forbidden) => (
            ScrapeResult::Forbidden,
            (
                StatusCode::FORBIDDEN,
                "the token's holder may not get /metrics: bind a ClusterRole with nonResourceURLs [/metrics] and verbs [get] to it\n",
            )
                .into_response(),
        ),
        Err(Unavailable) => (
            ScrapeResult::Unavailable,
            (
                StatusCode::SERVICE_UNAVAILABLE,
                [(header::RETRY_AFTER, "10")],
                "the API server could not be asked whose the token is; try again, and see the operator's log\n",
            )
                .into_response(),
        ),
    };
    shared.metrics.scraped(result);
    answer
}

async fn verdict(shared: &Shared, headers: &HeaderMap) -> Result<Verdict, Unavailable> {
    let Some(access) = &shared.access else {
        return Ok(Verdict::Allowed);
    };
    match bearer(headers) {
        Some(token) => access.judge(token).await,
        None => Ok(Verdict::Unauthenticated),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

fn text(shared: &Shared) -> Response {
    shared.metrics.ready(shared.ready.is_ready());
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match shared.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, kind)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
