//! A proxy between the operator and the API server that slows down, refuses and breaks off what passes through it.
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use http::StatusCode;
use kube::config::Kubeconfig;
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// Of a request; larger ones are not made here.
const BODY: usize = 16 << 20;

#[derive(Clone, Default)]
struct Faults {
    /// Before each answer.
    delay: Duration,
    /// Each new watch is told once that what it asks for is too old.
    gone: Vec<String>,
    /// Watches end when it is cancelled.
    cut: CancellationToken,
}

struct Shared {
    upstream: String,
    http: reqwest::Client,
    faults: Mutex<Faults>,
    /// Watches that were answered 410, by path.
    told_gone: Mutex<Vec<String>>,
}

/// Dropping it closes it.
pub struct Proxy {
    url: String,
    shared: Arc<Shared>,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Proxy {
    /// In front of `upstream`, whose certificate `ca` vouches for.
    pub async fn start(upstream: &str, ca: &Path) -> Self {
        let bundle = std::fs::read(ca).unwrap();
        let mut http = reqwest::Client::builder().no_proxy();
        for certificate in reqwest::Certificate::from_pem_bundle(&bundle).unwrap() {
            http = http.add_root_certificate(certificate);
        }
        let shared = Arc::new(Shared {
            upstream: upstream.to_owned(),
            http: http.build().unwrap(),
            faults: Mutex::default(),
            told_gone: Mutex::default(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new()
            .fallback(pass)
            .with_state(shared.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            url,
            shared,
            serving,
        }
    }

    /// The same kubeconfig by way of the proxy.
    pub fn kubeconfig(&self, of: &Path, folder: &Path) -> PathBuf {
        let mut config = Kubeconfig::read_from(of).unwrap();
        for named in &mut config.clusters {
            let cluster = named.cluster.as_mut().unwrap();
            cluster.server = Some(self.url.clone());
            cluster.certificate_authority = None;
            cluster.certificate_authority_data = None;
        }
        let path = folder.join("proxy.kubeconfig");
        std::fs::write(&path, serde_json::to_string(&config).unwrap()).unwrap();
        path
    }

    /// From now on each answer comes so much later.
    pub fn delay(&self, delay: Duration) {
        self.shared.faults.lock().unwrap().delay = delay;
    }

    /// Ends all watches, and tells those that come next on each of these resources (`databricksapps`) that what they ask
    /// for is too old.
    pub fn expire(&self, resources: &[&str]) {
        let mut faults = self.shared.faults.lock().unwrap();
        faults.gone = resources.iter().map(|&name| name.to_owned()).collect();
        std::mem::take(&mut faults.cut).cancel();
    }

    /// Paths of the watches that were told so.
    pub fn expired(&self) -> Vec<String> {
        self.shared.told_gone.lock().unwrap().clone()
    }
}

async fn pass(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let watch = parts
        .uri
        .query()
        .is_some_and(|query| query.contains("watch=true"));
    let faults = shared.faults.lock().unwrap().clone();
    tokio::time::sleep(faults.delay).await;
    if watch && let Some(name) = path.rsplit('/').next() {
        let mut faults = shared.faults.lock().unwrap();
        if let Some(at) = faults.gone.iter().position(|gone| gone == name) {
            faults.gone.remove(at);
            shared.told_gone.lock().unwrap().push(path);
            let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "too old resource version", "reason": "Expired", "code": 410});
            return (StatusCode::GONE, axum::Json(status)).into_response();
        }
    }
    let body = axum::body::to_bytes(body, BODY).await.unwrap();
    let target = format!("{}{}", shared.upstream, parts.uri.path_and_query().unwrap());
    let mut headers = parts.headers;
    for own in ["host", "content-length", "accept-encoding"] {
        headers.remove(own);
    }
    let asked = shared.http.request(parts.method, target).headers(headers);
    let answer = match asked.body(body).send().await {
        Ok(answer) => answer,
        Err(error) => return (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    };
    let (status, mut headers) = (answer.status(), answer.headers().clone());
    headers.remove("transfer-encoding");
    headers.remove("content-length");
    let cut = faults.cut;
    let chunks = futures::stream::unfold(answer, async |mut answer| {
        let chunk = answer.chunk().await.transpose()?;
        Some((chunk, answer))
    });
    let stream = chunks.take_until(cut.cancelled_owned());
    let mut response = Response::new(Body::from_stream(stream));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
