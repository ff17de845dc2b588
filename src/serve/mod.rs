//! Floor 5: the operator's own servers: `/readyz` and `/livez` for the kubelet, `/metrics` for Prometheus.
mod access;
mod connections;
mod metrics;
mod tls;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use access::Access;

use crate::telemetry::Metrics;

/// Why a server does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("listening on {address}: {source}; choose another {flag} address")]
    Listen {
        address: SocketAddr,
        flag: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Certificate(#[from] tls::Error),
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

    /// Whether there is nothing to wait for.
    fn is_ready(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// What there is to wait for, one after the other.
    fn lacks(&self) -> String {
        let awaited = self.0.borrow();
        awaited.values().map(|why| format!("{why}\n")).collect()
    }
}

/// Where `/metrics` is served.
pub enum MetricsAt<'a> {
    /// Beside the probes, to everybody.
    Probes,
    /// Over TLS at an address of its own.
    Tls {
        address: SocketAddr,
        /// Folder with tls.crt and tls.key; without, a certificate is made that nobody has signed.
        certificate: Option<&'a Path>,
        /// Who may read; without, everybody.
        access: Option<Arc<Access>>,
    },
}

/// Binds `address` for the probes, and what `metrics_at` asks for; serving starts with the returned future and ends with
/// `shutdown`.
pub async fn bind(
    address: SocketAddr,
    metrics_at: MetricsAt<'_>,
    metrics: Metrics,
    ready: Readiness,
    shutdown: CancellationToken,
) -> Result<impl Future<Output = ()> + Send + 'static, Error> {
    let mut probes = Router::new()
        .route("/readyz", get(readiness))
        .route("/livez", get(async || "ok\n"))
        .with_state(ready.clone());
    let mut scraped = None;
    match metrics_at {
        MetricsAt::Probes => probes = probes.merge(metrics::router(metrics, ready, None)),
        MetricsAt::Tls {
            address,
            certificate,
            access,
        } => {
            let listener = listener(address, "--metrics-listen").await?;
            let tls = tls::certificate(certificate, shutdown.clone()).await?;
            let router = metrics::router(metrics, ready, access);
            let shutdown = shutdown.clone();
            scraped = Some(connections::serve(listener, Some(tls), router, shutdown));
        }
    }
    let listener = listener(address, "--listen").await?;
    let probed = connections::serve(listener, None, probes, shutdown);
    Ok(async move {
        match scraped {
            Some(scraped) => {
                tokio::join!(probed, scraped);
            }
            None => probed.await,
        }
    })
}

async fn listener(address: SocketAddr, flag: &'static str) -> Result<TcpListener, Error> {
    TcpListener::bind(address)
        .await
        .map_err(|source| Error::Listen {
            address,
            flag,
            source,
        })
}

async fn readiness(State(ready): State<Readiness>) -> Response {
    let lacks = ready.lacks();
    match lacks.is_empty() {
        true => "ok\n".into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, lacks).into_response(),
    }
}
