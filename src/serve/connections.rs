//! HTTP/1 connections within limits: whoever reaches the port can neither hold it up nor eat the memory.
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::debug;

/// Connections at a time; more wait to be accepted.
pub const CONNECTIONS: usize = 64;
/// Until a request's head has arrived, also on a connection that was used before.
pub const HEAD: Duration = Duration::from_secs(10);
/// Of a request's head, in bytes.
pub const HEAD_BYTES: usize = 16 << 10;
/// From a request's head to the end of its answer's making, its body included.
pub const ANSWER: Duration = Duration::from_secs(10);
/// Of a request's body, in bytes.
pub const BODY_BYTES: usize = 64 << 10;
/// After an accept that failed, mostly for want of file descriptors.
const AGAIN: Duration = Duration::from_millis(100);

/// Serves `router` until `shutdown`; answers under way are finished.
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) {
    let free = Arc::new(Semaphore::new(CONNECTIONS));
    let router = router.layer(axum::extract::DefaultBodyLimit::max(BODY_BYTES));
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
                tokio::spawn(async move {
                    connection(stream, router, shutdown).await;
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

/// Serves one connection.
pub async fn connection<S>(stream: S, router: Router, shutdown: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| answer(router.clone(), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        debug!(%error, "serving a connection");
    }
}

async fn answer(router: Router, request: Request<Incoming>) -> Result<Response, Infallible> {
    let answer = router.oneshot(request.map(Body::new));
    match tokio::time::timeout(ANSWER, answer).await {
        Ok(answer) => answer,
        Err(_) => Ok((StatusCode::SERVICE_UNAVAILABLE, "no answer in time\n").into_response()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use axum::routing::{get, put};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    /// A client's end of a connection to a server whose time can be moved on.
    fn connect() -> DuplexStream {
        let (client, server) = tokio::io::duplex(1 << 20);
        let router = Router::new()
            .route("/quick", get(async || "quick\n"))
            .route("/never", get(std::future::pending::<&str>))
            .route("/echo", put(async |body: String| body))
            .layer(axum::extract::DefaultBodyLimit::max(BODY_BYTES));
        tokio::spawn(connection(server, router, CancellationToken::new()));
        client
    }

    /// All that the server says until it closes the connection.
    async fn said(mut client: DuplexStream) -> String {
        let mut text = Vec::new();
        client.read_to_end(&mut text).await.unwrap();
        String::from_utf8(text).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_does_not_arrive_is_given_up_and_the_connection_closed() {
        for beginning in ["", "GET /quick HTTP/1.1\r\nHost: a\r\n"] {
            let mut client = connect();
            client.write_all(beginning.as_bytes()).await.unwrap();
            let began = tokio::time::Instant::now();
            said(client).await;
            assert!(began.elapsed() >= HEAD && began.elapsed() < 2 * HEAD);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_takes_too_long_is_given_up() {
        let mut client = connect();
        let request = b"GET /never HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        client.write_all(request).await.unwrap();
        assert!(said(client).await.starts_with("HTTP/1.1 503"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_or_a_body_that_is_too_large_is_refused() {
        let long = "a".repeat(2 * HEAD_BYTES);
        let mut client = connect();
        let request = format!("GET /quick HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        assert!(said(client).await.starts_with("HTTP/1.1 431"));
        let large = "a".repeat(2 * BODY_BYTES);
        let mut client = connect();
        let request = format!(
            "PUT /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{large}",
            large.len()
        );
        client.write_all(request.as_bytes()).await.unwrap();
        assert!(said(client).await.starts_with("HTTP/1.1 413"));
    }
}
