#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt, join_all};
use secrecy::SecretString;
use serde_json::json;
use wiremock::matchers::{header, method, path};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use super::super::credentials::{Credentials, SourceReason};
use super::*;

const CANARY: &str = "dapi-canary-0123456789";
const APPS: Route = Route::normal("apps");

/// Hands out what the test put in; counts how often it was asked.
struct Source {
    held: Mutex<Result<Credentials, SourceError>>,
    reads: AtomicUsize,
}

impl Source {
    fn pat(token: &str) -> Arc<Self> {
        Self::of(Credentials::Token(SecretString::from(token)))
    }

    fn oauth() -> Arc<Self> {
        Self::of(Credentials::OAuth {
            client_id: "sp-1".to_owned(),
            client_secret: SecretString::from(CANARY),
        })
    }

    fn of(credentials: Credentials) -> Arc<Self> {
        Arc::new(Self {
            held: Mutex::new(Ok(credentials)),
            reads: AtomicUsize::new(0),
        })
    }

    fn set(&self, held: Result<Credentials, SourceError>) {
        *self.held.lock().unwrap() = held;
    }
}

impl CredentialSource for Source {
    fn read(&self) -> BoxFuture<'_, Result<Credentials, SourceError>> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let held = self.held.lock().unwrap().clone();
        async move { held }.boxed()
    }
}

fn settings(uri: &str, source: Arc<Source>) -> ClientSettings {
    ClientSettings {
        host: Url::parse(uri).unwrap(),
        source,
        host_policy: HostPolicy {
            allowed: vec!["127.0.0.1".parse().unwrap()],
            allow_insecure: true,
        },
        requests_per_second: NonZeroU32::new(600).unwrap(),
        burst: NonZeroU32::new(600).unwrap(),
        ca_bundle: None,
        workspace_id: Some("42".to_owned()),
        account_id: None,
        user_agent: UserAgent {
            product: "databricks-app-operator".to_owned(),
            version: "0.1.0".to_owned(),
            instance: "test one".to_owned(),
        },
        timeouts: Timeouts::default(),
        clock: Clock::new(60),
        metrics: Metrics::new(),
        term: Term::always(),
    }
}

fn client(server: &MockServer, source: Arc<Source>) -> Client {
    Client::new(settings(&server.uri(), source)).unwrap()
}

/// Answers with the given templates in turn, the last one for ever.
struct InTurn {
    answers: Vec<ResponseTemplate>,
    next: AtomicUsize,
}

fn in_turn(answers: Vec<ResponseTemplate>) -> InTurn {
    InTurn {
        answers,
        next: AtomicUsize::new(0),
    }
}

impl Respond for InTurn {
    fn respond(&self, _: &Request) -> ResponseTemplate {
        let n = self.next.fetch_add(1, Ordering::SeqCst);
        self.answers[n.min(self.answers.len() - 1)].clone()
    }
}

fn ok() -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({"name": "a"}))
}

fn refused() -> ResponseTemplate {
    ResponseTemplate::new(401).set_body_json(json!({"error_code": "UNAUTHENTICATED"}))
}

async fn on_apps(server: &MockServer, answer: impl Respond + 'static) {
    Mock::given(path("/api/2.0/apps"))
        .respond_with(answer)
        .mount(server)
        .await;
}

async fn on_token(server: &MockServer, expires_in: u64) {
    let n = AtomicUsize::new(0);
    Mock::given(method("POST"))
        .and(path("/oidc/v1/token"))
        .respond_with(move |_: &Request| {
            let n = n.fetch_add(1, Ordering::SeqCst);
            ResponseTemplate::new(200)
                .set_delay(Duration::from_millis(30))
                .set_body_json(json!({"access_token": format!("token-{n}"), "token_type": "Bearer", "expires_in": expires_in}))
        })
        .mount(server)
        .await;
}

async fn count(server: &MockServer, path: &str) -> usize {
    let requests = server.received_requests().await.unwrap();
    requests.iter().filter(|r| r.url.path() == path).count()
}

async fn get(client: &Client) -> Result<Answer, Error> {
    client.get(APPS, "/api/2.0/apps", &[]).await
}

#[tokio::test]
async fn every_request_says_who_calls_and_where_to() {
    let server = MockServer::start().await;
    Mock::given(path("/api/2.0/apps"))
        .and(header(
            "user-agent",
            format!(
                "databricks-app-operator/0.1.0 os/{} auth/pat instance/test-one",
                std::env::consts::OS
            )
            .as_str(),
        ))
        .and(header("x-databricks-workspace-id", "42"))
        .and(header("accept", "application/json"))
        .and(header("authorization", format!("Bearer {CANARY}").as_str()))
        .respond_with(
            ok().insert_header("x-databricks-org-id", "7")
                .insert_header("x-request-id", "r"),
        )
        .mount(&server)
        .await;
    let client = client(&server, Source::pat(CANARY));
    let before = Instant::now();
    let answer = client
        .get(APPS, "/api/2.0/apps", &[("page_token", "a b&c")])
        .await
        .unwrap();
    assert_eq!(answer.org_id.as_deref(), Some("7"));
    assert_eq!(answer.request_id.as_deref(), Some("r"));
    assert!(before <= answer.sent && answer.sent <= answer.answered);
    let seen = server.received_requests().await.unwrap();
    assert_eq!(seen[0].url.query_pairs().next().unwrap().1, "a b&c");
}

#[tokio::test]
async fn fifty_callers_share_one_token_exchange() {
    let server = MockServer::start().await;
    on_token(&server, 3600).await;
    on_apps(&server, ok()).await;
    let client = client(&server, Source::oauth());
    let results = join_all((0..50).map(|_| get(&client))).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(count(&server, "/oidc/v1/token").await, 1);
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends_without_making_anyone_wait() {
    let server = MockServer::start().await;
    on_token(&server, 4).await;
    on_apps(&server, ok()).await;
    let client = client(&server, Source::oauth());
    let deadline = Instant::now() + Duration::from_secs(10);
    while count(&server, "/oidc/v1/token").await < 2 {
        assert!(Instant::now() < deadline, "never renewed");
        get(&client).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The call that set the renewal off still went out with the old token.
    let seen = server.received_requests().await.unwrap();
    let renewal = seen
        .iter()
        .rposition(|r| r.url.path() == "/oidc/v1/token")
        .unwrap();
    let first = "Bearer token-0";
    assert!(
        seen[..renewal]
            .iter()
            .filter(|r| r.url.path() == "/api/2.0/apps")
            .all(|r| r.headers["authorization"] == first)
    );
}

#[tokio::test]
async fn a_failed_exchange_is_shared_and_names_the_refusal_not_the_secret() {
    let server = MockServer::start().await;
    Mock::given(path("/oidc/v1/token"))
        .respond_with(ResponseTemplate::new(401).set_body_json(
            json!({"error": "invalid_client", "error_description": format!("no such secret {CANARY}")}),
        ))
        .mount(&server)
        .await;
    let mut settings = settings(&server.uri(), Source::oauth());
    settings.clock = Clock::real();
    let client = Client::new(settings).unwrap();
    for _ in 0..3 {
        let error = get(&client).await.unwrap_err();
        assert!(
            matches!(&error, Error::OAuth { code, .. } if code == "invalid_client"),
            "{error}"
        );
        let shown = format!("{error} {error:?} {client:?}");
        assert!(!shown.contains(CANARY), "{shown}");
    }
    assert_eq!(count(&server, "/oidc/v1/token").await, 1);
}

#[tokio::test]
async fn on_an_account_wide_host_the_token_is_asked_for_in_the_account() {
    let server = MockServer::start().await;
    Mock::given(path("/oidc/accounts/acc-1/v1/token"))
        .respond_with(ResponseTemplate::new(200).set_body_json(
            json!({"access_token": "t", "token_type": "Bearer", "expires_in": 3600}),
        ))
        .mount(&server)
        .await;
    Mock::given(header("authorization", "Bearer t"))
        .respond_with(ok())
        .mount(&server)
        .await;
    let client = Client::new(ClientSettings {
        account_id: Some("acc-1".to_owned()),
        ..settings(&server.uri(), Source::oauth())
    });
    get(&client.unwrap()).await.unwrap();
    assert_eq!(count(&server, "/oidc/v1/token").await, 0);
}

#[tokio::test]
async fn a_token_endpoint_outside_the_list_never_gets_the_secret() {
    let server = MockServer::start().await;
    Mock::given(path("/oidc/.well-known/oauth-authorization-server"))
        .respond_with(
            ResponseTemplate::new(200)
                .set_body_json(json!({"token_endpoint": "https://evil.example.com/token"})),
        )
        .mount(&server)
        .await;
    let client = client(&server, Source::oauth());
    let error = get(&client).await.unwrap_err();
    assert!(
        matches!(&error, Error::HostNotAllowed { host, .. } if host.contains("evil.example.com")),
        "{error}"
    );
    assert_eq!(count(&server, "/oidc/v1/token").await, 0);
}

#[tokio::test]
async fn after_a_401_the_credentials_are_read_again_once_and_the_call_is_repeated_once() {
    let server = MockServer::start().await;
    Mock::given(header("authorization", "Bearer new"))
        .respond_with(ok())
        .mount(&server)
        .await;
    Mock::given(header("authorization", "Bearer old"))
        .respond_with(refused())
        .mount(&server)
        .await;
    let source = Source::pat("old");
    let client = client(&server, source.clone());
    assert!(matches!(get(&client).await, Err(Error::Unauthenticated(_))));
    assert_eq!(count(&server, "/api/2.0/apps").await, 2);
    assert_eq!(source.reads.load(Ordering::SeqCst), 2);
    // Known as refused: no second attempt for the next caller.
    assert!(get(&client).await.is_err());
    assert_eq!(count(&server, "/api/2.0/apps").await, 3);
    source.set(Ok(Credentials::Token(SecretString::from("new"))));
    assert!(client.refresh_credentials().await.unwrap());
    assert!(!client.refresh_credentials().await.unwrap());
    get(&client).await.unwrap();
}

#[tokio::test]
async fn a_write_is_repeated_after_a_single_401() {
    let server = MockServer::start().await;
    on_apps(&server, in_turn(vec![refused(), ok()])).await;
    let client = client(&server, Source::pat("t"));
    client
        .send(APPS, Method::POST, "/api/2.0/apps", &[], Some(&json!({})))
        .await
        .unwrap();
}

#[tokio::test]
async fn credentials_in_memory_serve_while_their_secret_is_gone() {
    let server = MockServer::start().await;
    on_apps(&server, ok()).await;
    let source = Source::pat("t");
    let client = client(&server, source.clone());
    get(&client).await.unwrap();
    source.set(Err(SourceError {
        reason: SourceReason::Missing,
        message: "no Secret".to_owned(),
    }));
    assert!(matches!(
        client.refresh_credentials().await,
        Err(Error::Credentials(_))
    ));
    assert_eq!(
        client.credentials_error().unwrap().reason,
        SourceReason::Missing
    );
    get(&client).await.unwrap();
}

#[tokio::test]
async fn missing_credentials_are_an_error_before_any_call() {
    let server = MockServer::start().await;
    let source = Source::pat("t");
    source.set(Err(SourceError {
        reason: SourceReason::KeyMissing,
        message: "Secret a/b has no key \"token\"".to_owned(),
    }));
    let client = client(&server, source.clone());
    let error = get(&client).await.unwrap_err();
    assert!(error.to_string().contains("no key"), "{error}");
    assert!(server.received_requests().await.unwrap().is_empty());
    source.set(Ok(Credentials::Token(SecretString::from("t"))));
    on_apps(&server, ok()).await;
    assert!(client.refresh_credentials().await.unwrap());
    get(&client).await.unwrap();
}

#[tokio::test]
async fn retry_after_is_waited_for_also_before_a_write() {
    let server = MockServer::start().await;
    let busy = ResponseTemplate::new(429)
        .insert_header("retry-after", "1")
        .set_body_json(json!({"error_code": "RESOURCE_EXHAUSTED"}));
    on_apps(&server, in_turn(vec![busy, ok()])).await;
    let client = client(&server, Source::pat("t"));
    let start = Instant::now();
    client
        .send(APPS, Method::POST, "/api/2.0/apps", &[], Some(&json!({})))
        .await
        .unwrap();
    assert!(
        start.elapsed() >= Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn a_long_retry_after_is_handed_to_the_caller() {
    let server = MockServer::start().await;
    on_apps(
        &server,
        ResponseTemplate::new(429).insert_header("retry-after", "120"),
    )
    .await;
    let error = get(&client(&server, Source::pat("t"))).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(120)));
    assert_eq!(count(&server, "/api/2.0/apps").await, 1);
}

#[tokio::test]
async fn a_write_is_never_repeated_after_an_ambiguous_answer() {
    let server = MockServer::start().await;
    on_apps(&server, ResponseTemplate::new(503)).await;
    let client = client(&server, Source::pat("t"));
    let error = client
        .send(APPS, Method::POST, "/api/2.0/apps", &[], Some(&json!({})))
        .await
        .unwrap_err();
    assert!(error.is_ambiguous());
    assert_eq!(count(&server, "/api/2.0/apps").await, 1);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let server = MockServer::start().await;
    on_apps(
        &server,
        ResponseTemplate::new(302)
            .insert_header("location", format!("{}/stolen", server.uri()).as_str()),
    )
    .await;
    let error = get(&client(&server, Source::pat(CANARY)))
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::NotJson { status: 302, .. }),
        "{error}"
    );
    assert_eq!(count(&server, "/stolen").await, 0);
}

#[tokio::test]
async fn a_login_page_is_named_with_the_way_out() {
    let server = MockServer::start().await;
    on_apps(
        &server,
        ResponseTemplate::new(200).set_body_raw("<html>login</html>", "text/html"),
    )
    .await;
    let error = get(&client(&server, Source::pat("t")))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("HTML") && error.contains("workspaceID"),
        "{error}"
    );
}

#[tokio::test]
async fn the_breaker_opens_fails_fast_probes_and_closes() {
    let server = MockServer::start().await;
    on_apps(
        &server,
        in_turn(
            vec![ResponseTemplate::new(500); 5]
                .into_iter()
                .chain([ok()])
                .collect(),
        ),
    )
    .await;
    let client = client(&server, Source::pat("t"));
    for _ in 0..5 {
        assert!(matches!(get(&client).await, Err(Error::Unavailable { .. })));
    }
    let Err(Error::BreakerOpen { retry_after, cause }) = get(&client).await else {
        panic!("the breaker stayed closed");
    };
    assert!(matches!(*cause, Error::Unavailable { .. }), "{cause}");
    // A minute of service time at scale 60.
    assert!(retry_after <= Duration::from_secs(1));
    assert_eq!(count(&server, "/api/2.0/apps").await, 5);
    tokio::time::sleep(retry_after).await;
    get(&client).await.unwrap();
    get(&client).await.unwrap();
}

#[tokio::test]
async fn an_unreachable_host_is_no_ambiguous_error() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let client = Client::new(settings(&uri, Source::pat(CANARY))).unwrap();
    let error = client
        .send(APPS, Method::POST, "/api/2.0/apps", &[], None)
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::Transport {
                ambiguous: false,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn a_hanging_host_ends_in_a_timeout() {
    let server = MockServer::start().await;
    on_apps(&server, ok().set_delay(Duration::from_secs(30))).await;
    let mut settings = settings(&server.uri(), Source::pat("t"));
    settings.timeouts.total = Duration::from_millis(200);
    let error = get(&Client::new(settings).unwrap()).await.unwrap_err();
    assert!(
        matches!(error, Error::Timeout { .. }) && error.is_ambiguous(),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_echoed_token_is_not_shown() {
    let server = MockServer::start().await;
    on_apps(
        &server,
        ResponseTemplate::new(400).set_body_json(
            json!({"error_code": "BAD_REQUEST", "message": format!("bad token {CANARY}")}),
        ),
    )
    .await;
    let error = get(&client(&server, Source::pat(CANARY)))
        .await
        .unwrap_err();
    assert!(!format!("{error} {error:?}").contains(CANARY));
    assert!(error.to_string().contains("[redacted]"));
}

#[tokio::test]
async fn an_answer_of_another_shape_names_the_difference() {
    let server = MockServer::start().await;
    on_apps(&server, ok()).await;
    let answer = get(&client(&server, Source::pat("t"))).await.unwrap();
    #[derive(Debug, serde::Deserialize)]
    struct Other {
        #[allow(dead_code)]
        name: u32,
    }
    let error = answer.decode::<Other>().unwrap_err().to_string();
    assert!(
        error.contains("apps") && error.contains("name: invalid type"),
        "{error}"
    );
}

#[test]
fn a_host_with_a_path_and_a_bundle_without_certificates_are_refused() {
    let mut with_path = settings("http://127.0.0.1:1/path?o=1", Source::pat("t"));
    assert!(matches!(Client::new(with_path), Err(Error::Setup(_))));
    with_path = settings("http://127.0.0.1:1", Source::pat("t"));
    with_path.ca_bundle = Some(b"nothing".to_vec());
    assert!(
        Client::new(with_path)
            .unwrap_err()
            .to_string()
            .contains("PEM")
    );
}

#[tokio::test]
async fn bytes_go_out_as_they_are_with_the_retries_of_any_write() {
    let server = MockServer::start().await;
    let busy = ResponseTemplate::new(429).insert_header("retry-after", "0");
    on_apps(
        &server,
        in_turn(vec![refused(), busy, ResponseTemplate::new(200)]),
    )
    .await;
    let client = client(&server, Source::pat("t"));
    let body = Bytes::from_static(b"\0\xff{not json");
    let answer = client
        .send_bytes(
            APPS,
            Method::POST,
            "/api/2.0/apps",
            &[("overwrite", "true")],
            &body,
        )
        .await
        .unwrap();
    assert_eq!(answer.body, json!({}));
    let requests = server.received_requests().await.unwrap();
    assert_eq!(requests.len(), 3);
    for request in requests {
        assert_eq!(request.body, body);
        assert_eq!(request.headers["content-type"], "application/octet-stream");
        assert_eq!(request.headers["authorization"], "Bearer t");
        assert_eq!(request.url.query(), Some("overwrite=true"));
    }
}

#[tokio::test]
async fn a_files_content_is_given_as_it_is_and_a_refusal_stays_typed() {
    let server = MockServer::start().await;
    let missing =
        json!({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": format!("no {CANARY}")});
    on_apps(
        &server,
        in_turn(vec![
            ResponseTemplate::new(503),
            ResponseTemplate::new(200).set_body_bytes("<html>\0{"),
            ResponseTemplate::new(200),
            ResponseTemplate::new(404).set_body_json(missing),
            ResponseTemplate::new(302).insert_header("location", "/login"),
        ]),
    )
    .await;
    let client = client(&server, Source::pat(CANARY));
    let get = || client.get_bytes(APPS, "/api/2.0/apps", &[]);
    assert_eq!(get().await.unwrap().body, "<html>\0{");
    assert_eq!(get().await.unwrap().body, "");
    let error = get().await.unwrap_err();
    assert!(matches!(error, Error::NotFound(_)), "{error:?}");
    assert!(!error.to_string().contains(CANARY), "{error}");
    let error = get().await.unwrap_err();
    assert!(
        matches!(error, Error::NotJson { status: 302, .. }),
        "{error:?}"
    );
}
