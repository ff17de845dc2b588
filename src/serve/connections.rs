//! HTTP/1 connections within limits, plain or over TLS: whoever reaches the port can neither hold it up nor eat the memory.
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::DefaultBodyLimit;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::debug;

/// What a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time; more wait to be accepted.
    pub connections: usize,
    /// For a TLS handshake, and until a request's head has arrived.
    pub head: Duration,
    /// Of a request's head, in bytes.
    pub head_bytes: usize,
    /// From a request's head until its answer is made, its body included.
    pub answer: Duration,
    /// Of a request's body, in bytes.
    pub body_bytes: usize,
    /// Of the connection, which serves one request: for who reads the answer slowly.
    pub life: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            head: Duration::from_secs(10),
            head_bytes: 16 << 10,
            answer: Duration::from_secs(10),
            body_bytes: 64 << 10,
            life: Duration::from_secs(40),
        }
    }
}

/// After an accept that failed, mostly for want of file descriptors.
const AGAIN: Duration = Duration::from_millis(100);

/// With which certificate TLS is spoken; it may change at any time.
pub type Tls = watch::Receiver<Arc<ServerConfig>>;

/// Serves `router` until `shutdown`; answers under way are finished.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    router: Router,
    shutdown: CancellationToken,
) {
    let limits = Limits::default();
    let free = Arc::new(Semaphore::new(limits.connections));
    loop {
        let accepted = async {
            let permit = free.clone().acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = shutdown.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let (router, shutdown) = (router.clone(), shutdown.clone());
                let tls = tls.as_ref().map(|tls| tls.borrow().clone());
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => over_tls(stream, tls, router, limits, shutdown).await,
                        None => connection(stream, router, limits, shutdown).await,
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                debug!(%error, "accepting a connection");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

async fn over_tls(
    stream: TcpStream,
    tls: Arc<ServerConfig>,
    router: Router,
    limits: Limits,
    shutdown: CancellationToken,
) {
    let handshake = TlsAcceptor::from(tls).accept(stream);
    match tokio::time::timeout(limits.head, handshake).await {
        Ok(Ok(stream)) => connection(stream, router, limits, shutdown).await,
        Ok(Err(error)) => debug!(%error, "a TLS handshake failed"),
        Err(_) => debug!("a TLS handshake took too long"),
    }
}

/// Serves one connection.
pub async fn connection<S>(stream: S, router: Router, limits: Limits, shutdown: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let router = router.layer(DefaultBodyLimit::max(limits.body_bytes));
    let service = service_fn(move |request| answer(router.clone(), limits.answer, request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .keep_alive(false)
        .max_buf_size(limits.head_bytes)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let served = async {
        tokio::select! {
            served = connection.as_mut() => served,
            () = shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    match tokio::time::timeout(limits.life, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "serving a connection"),
        Err(_) => debug!("a connection took too long"),
    }
}

async fn answer(
    router: Router,
    within: Duration,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    let answer = router.oneshot(request.map(Body::new));
    match tokio::time::timeout(within, answer).await {
        Ok(answer) => answer,
        Err(_) => Ok((StatusCode::SERVICE_UNAVAILABLE, "no answer in time\n").into_response()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use axum::routing::{get, put};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    fn limits() -> Limits {
        Limits {
            head: Duration::from_millis(300),
            answer: Duration::from_millis(300),
            ..Limits::default()
        }
    }

    /// A client's end of a connection.
    fn connect() -> DuplexStream {
        let (client, server) = tokio::io::duplex(1 << 20);
        let router = Router::new()
            .route("/quick", get(async || "quick\n"))
            .route("/never", get(std::future::pending::<&str>))
            .route("/echo", put(async |body: String| body));
        tokio::spawn(connection(
            server,
            router,
            limits(),
            CancellationToken::new(),
        ));
        client
    }

    /// All that the server says to that until it closes the connection.
    async fn said(request: &str) -> String {
        let mut client = connect();
        client.write_all(request.as_bytes()).await.unwrap();
        let mut text = Vec::new();
        let end = client.read_to_end(&mut text);
        let ended = tokio::time::timeout(Duration::from_secs(20), end).await;
        ended
            .expect("the server is to close the connection")
            .unwrap();
        String::from_utf8(text).unwrap()
    }

    #[tokio::test]
    async fn a_request_that_does_not_arrive_is_given_up_and_the_connection_closed() {
        for beginning in ["", "GET /quick HTTP/1.1\r\nHost: a\r\n"] {
            let began = std::time::Instant::now();
            said(beginning).await;
            assert!(began.elapsed() >= limits().head);
        }
        // A connection is not kept for ever after its last answer either.
        let answered = said("GET /quick HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(answered.starts_with("HTTP/1.1 200"), "{answered}");
    }

    #[tokio::test]
    async fn an_answer_that_takes_too_long_is_given_up() {
        let answered = said("GET /never HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(answered.starts_with("HTTP/1.1 503"), "{answered}");
    }

    #[tokio::test]
    async fn who_does_not_read_the_answer_is_cut_off() {
        // Of the answer no more fits into the pipe than this.
        let (mut client, server) = tokio::io::duplex(1 << 10);
        let router = Router::new().route("/large", get(async || "a".repeat(1 << 20)));
        let limits = Limits {
            life: Duration::from_millis(500),
            ..limits()
        };
        let stop = CancellationToken::new();
        let served = tokio::spawn(connection(server, router, limits, stop));
        let request = b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n";
        client.write_all(request).await.unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(20), served).await;
        ended.expect("the connection is to be closed").unwrap();
        drop(client);
    }

    #[tokio::test]
    async fn a_head_or_a_body_that_is_too_large_is_refused() {
        let long = "a".repeat(2 * limits().head_bytes);
        let request = format!("GET /quick HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n");
        let answered = said(&request).await;
        assert!(answered.starts_with("HTTP/1.1 431"), "{answered}");
        let large = "a".repeat(2 * limits().body_bytes);
        let length = large.len();
        let request =
            format!("PUT /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{large}");
        let answered = said(&request).await;
        assert!(answered.starts_with("HTTP/1.1 413"), "{answered}");
    }
}
