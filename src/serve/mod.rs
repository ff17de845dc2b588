//! Floor 5: the operator's own HTTP server: `/metrics`, `/readyz`, `/livez`.
mod connections;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::telemetry::Metrics;

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("listening on {address}: {source}; choose another --listen address")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
}

/// What the operator waits for before it is ready; once there is nothing left it stays ready, whatever goes away later.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<watch::Sender<BTreeMap<&'static str, String>>>);

impl Readiness {
    /// Waits for each of these, by its name.
    pub fn of<const N: usize>(awaited: [(&'static str, &str); N]) -> Self {
        let awaited = awaited.map(|(what, why)| (what, why.to_owned()));
        Self(Arc::new(watch::Sender::new(BTreeMap::from(awaited))))
    }

    /// Why there is still something to wait for.
    pub fn waits(&self, what: &'static str, why: String) {
        self.0
            .send_modify(|awaited| drop(awaited.insert(what, why)));
    }

    pub fn done(&self, what: &str) {
        self.0.send_modify(|awaited| drop(awaited.remove(what)));
    }

    /// Returns once there is nothing to wait for.
    pub async fn ready(&self) {
        let mut awaited = self.0.subscribe();
        // The sender lives as long as we do.
        let _ = awaited.wait_for(BTreeMap::is_empty).await;
    }

    /// What there is to wait for, one after the other.
    fn lacks(&self) -> String {
        let awaited = self.0.borrow();
        awaited.values().map(|why| format!("{why}\n")).collect()
    }
}

#[derive(Clone)]
struct Shared {
    metrics: Metrics,
    ready: Readiness,
}

/// Binds `address`; serving starts with the returned future and ends with `shutdown`.
pub async fn bind(
    address: SocketAddr,
    metrics: Metrics,
    ready: Readiness,
    shutdown: CancellationToken,
) -> Result<impl Future<Output = ()> + Send + 'static, Error> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| Error::Listen { address, source })?;
    let router = Router::new()
        .route("/metrics", get(metrics_text))
        .route("/readyz", get(readiness))
        .route("/livez", get(async || "ok\n"))
        .with_state(Shared { metrics, ready });
    Ok(connections::serve(listener, router, shutdown))
}

async fn metrics_text(State(shared): State<Shared>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match shared.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, kind)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn readiness(State(shared): State<Shared>) -> Response {
    let lacks = shared.ready.lacks();
    match lacks.is_empty() {
        true => "ok\n".into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, lacks).into_response(),
    }
}
