//! One connection: a host, an identity, a limiter, a breaker.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use super::breaker::Breaker;
use super::classify::{Head, classify, clean};
use super::credentials::{CredentialSource, SourceError};
use super::error::Error;
use super::exchange::{Exchanged, Timeouts, Told, exchange, http_client};
use super::host::HostPolicy;
use super::limit::{Limiter, Priority};
use super::retry;
use super::token::{Bearer, Tokens, Wire};
use crate::telemetry::metrics::WaitFor;
use crate::telemetry::{Clock, Metrics};
use crate::term::Term;

const WORKSPACE_ID: HeaderName = HeaderName::from_static("x-databricks-workspace-id");

/// Everything a connection is made of.
pub struct ClientSettings {
    /// Scheme, host and port alone
    pub host: Url,
    pub source: Arc<dyn CredentialSource>,
    pub host_policy: HostPolicy,
    pub requests_per_second: NonZeroU32,
    pub burst: NonZeroU32,
    /// PEM, trusted beside the system's authorities
    pub ca_bundle: Option<Vec<u8>>,
    /// Sent as `X-Databricks-Workspace-Id`
    pub workspace_id: Option<String>,
    /// On a host that serves a whole account: tokens are asked for there
    pub account_id: Option<String>,
    pub user_agent: UserAgent,
    pub timeouts: Timeouts,
    pub clock: Clock,
    pub metrics: Metrics,
    /// Asked before each write
    pub term: Term,
}

/// Who is calling: `product/version os/linux auth/… instance/…`.
#[derive(Clone, Debug)]
pub struct UserAgent {
    pub product: String,
    pub version: String,
    /// Tells installations apart in the workspace's audit log
    pub instance: String,
}

/// What kind of call it is; the class is a metric's label, so it names a route, never an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    pub class: &'static str,
    pub priority: Priority,
}

impl Route {
    pub const fn normal(class: &'static str) -> Self {
        Self {
            class,
            priority: Priority::Normal,
        }
    }

    pub const fn list(class: &'static str) -> Self {
        Self {
            class,
            priority: Priority::List,
        }
    }
}

/// A good answer.
#[derive(Clone, Debug)]
pub struct Answer<T = Value> {
    /// Of JSON `{}` if the body was empty
    pub body: T,
    /// Just before the final attempt's bytes went out, after the limiter
    pub sent: Instant,
    pub answered: Instant,
    pub request_id: Option<String>,
    /// The workspace's id, as the service names it
    pub org_id: Option<String>,
    route: &'static str,
}

impl Answer<Value> {
    /// The body as `T`; the error says where it differs from what was expected.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_path_to_error::deserialize(&self.body).map_err(|error| Error::Decode {
            what: self.route.to_owned(),
            path: error.path().to_string(),
            message: clean(&error.inner().to_string(), 256),
        })
    }
}

/// A connection to one workspace with one identity; clones share everything.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    http: reqwest::Client,
    host: Url,
    tokens: Tokens,
    limiter: Limiter,
    breaker: Breaker,
    user_agent: UserAgent,
    workspace_id: Option<HeaderValue>,
    timeouts: Timeouts,
    clock: Clock,
    metrics: Metrics,
    term: Term,
}

/// What a call sends.
#[derive(Clone, Copy)]
enum Body<'a> {
    None,
    Json(&'a Value),
    Bytes(&'a Bytes),
}

struct Call<'a, T> {
    route: Route,
    method: Method,
    url: Url,
    body: Body<'a>,
    accept: &'static str,
    /// From an answer to its body or its meaning
    read: fn(&Head, Vec<u8>) -> Result<T, Error>,
}

impl Client {
    /// Judges the host and builds the connection; makes no call.
    pub fn new(settings: ClientSettings) -> Result<Self, Error> {
        let host = settings.host;
        settings.host_policy.check(&host)?;
        if !matches!(host.path(), "" | "/") || host.query().is_some() || host.fragment().is_some() {
            return Err(Error::Setup(format!(
                "host {:?} holds more than scheme, host and port; leave out path and query",
                clean(host.as_str(), 200)
            )));
        }
        let workspace_id = settings
            .workspace_id
            .as_deref()
            .map(HeaderValue::from_str)
            .transpose()
            .map_err(|_| {
                Error::Setup("workspaceID holds characters no header may hold".to_owned())
            })?;
        let http = http_client(&host, settings.ca_bundle.as_deref(), settings.timeouts)?;
        let wire = Wire {
            http: http.clone(),
            host: host.clone(),
            account_id: settings.account_id,
            policy: settings.host_policy,
            metrics: settings.metrics.clone(),
            total: settings.timeouts.total,
        };
        Ok(Self {
            inner: Arc::new(Inner {
                tokens: Tokens::new(settings.source, wire, settings.clock),
                limiter: Limiter::new(settings.requests_per_second, settings.burst),
                breaker: Breaker::new(settings.clock, settings.metrics.clone()),
                http,
                host,
                user_agent: settings.user_agent,
                workspace_id,
                timeouts: settings.timeouts,
                clock: settings.clock,
                metrics: settings.metrics,
                term: settings.term,
            }),
        })
    }

    pub fn host(&self) -> &Url {
        &self.inner.host
    }

    pub fn clock(&self) -> Clock {
        self.inner.clock
    }

    /// `path` begins with a slash; what a URL can't hold is percent-encoded.
    pub async fn get(
        &self,
        route: Route,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Answer, Error> {
        self.send(route, Method::GET, path, query, None).await
    }

    /// One call, with the retries that are safe for its method. An error for which
    /// [`Error::is_ambiguous`] holds leaves open whether a write was made.
    pub async fn send(
        &self,
        route: Route,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Answer, Error> {
        let url = self.url(path, query);
        let body = body.map_or(Body::None, Body::Json);
        self.inner.call(&Call::json(route, method, url, body)).await
    }

    /// As [`Client::send`], for a body that goes out as it is.
    pub async fn send_bytes(
        &self,
        route: Route,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: &Bytes,
    ) -> Result<Answer, Error> {
        let url = self.url(path, query);
        let call = Call::json(route, method, url, Body::Bytes(body));
        self.inner.call(&call).await
    }

    /// As [`Client::get`], for an answer that is a file's content; errors are classified all the same.
    pub async fn get_bytes(
        &self,
        route: Route,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Answer<Bytes>, Error> {
        let call = Call {
            route,
            method: Method::GET,
            url: self.url(path, query),
            body: Body::None,
            accept: "*/*",
            read: |head, bytes| {
                if head.status < 300 {
                    return Ok(bytes.into());
                }
                // What is no success is an error, whatever its body.
                classify(head, &bytes).map(|_| Bytes::new())
            },
        };
        self.inner.call(&call).await
    }

    fn url(&self, path: &str, query: &[(&str, &str)]) -> Url {
        let mut url = self.inner.host.clone();
        url.set_path(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    /// Reads the credentials again. `Ok(true)`: they changed, and the next call uses the new ones. On an error the
    /// ones in memory stay in use; see [`Client::credentials_error`].
    pub async fn refresh_credentials(&self) -> Result<bool, Error> {
        self.inner.tokens.refresh().await
    }

    /// Why the credentials could not be read when they were last asked for; calls then use those in memory, if any.
    pub fn credentials_error(&self) -> Option<SourceError> {
        self.inner.tokens.source_error()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("host", &self.inner.host.as_str())
            .finish_non_exhaustive()
    }
}

impl<'a> Call<'a, Value> {
    fn json(route: Route, method: Method, url: Url, body: Body<'a>) -> Self {
        Self {
            route,
            method,
            url,
            body,
            accept: "application/json",
            read: |head, bytes| classify(head, &bytes),
        }
    }
}

impl Inner {
    async fn call<T>(&self, call: &Call<'_, T>) -> Result<Answer<T>, Error> {
        let started = Instant::now();
        let mut attempt = 1;
        let mut renewed: Option<Arc<Bearer>> = None;
        loop {
            let permit = self.breaker.admit(Instant::now())?;
            let probe = permit.is_probe();
            let bearer = match renewed.clone() {
                Some(bearer) => Ok(bearer),
                None => self.tokens.bearer().await,
            };
            let result = match &bearer {
                Ok(bearer) => self.attempt(call, bearer).await,
                Err(error) => Err(error.clone()),
            };
            let blamed = result.as_ref().err().filter(|error| error.blames_host());
            permit.settle(blamed, Instant::now());
            let error = match result {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            // An exchange has retried on its own account.
            let Ok(bearer) = bearer else {
                return Err(error);
            };
            if matches!(error, Error::Unauthenticated(_)) {
                if renewed.is_some() {
                    self.tokens.refused(&bearer);
                    return Err(error);
                }
                match self.tokens.renew(&bearer).await? {
                    Some(fresh) => renewed = Some(fresh),
                    None => return Err(error),
                }
                continue;
            }
            let wait = retry::next(
                &call.method,
                &error,
                attempt,
                started.elapsed(),
                rand::random(),
            );
            match wait {
                Some(wait) if !probe => tokio::time::sleep(wait).await,
                _ => return Err(error),
            }
            attempt += 1;
        }
    }

    async fn attempt<T>(&self, call: &Call<'_, T>, bearer: &Bearer) -> Result<Answer<T>, Error> {
        let mut request = self
            .http
            .request(call.method.clone(), call.url.clone())
            .header(ACCEPT, call.accept)
            .header(AUTHORIZATION, bearer.header.clone())
            .header(USER_AGENT, self.user_agent.header(bearer.auth_label))
            .timeout(self.timeouts.total);
        if let Some(id) = &self.workspace_id {
            request = request.header(WORKSPACE_ID, id.clone());
        }
        request = match call.body {
            Body::None => request.header(CONTENT_TYPE, "application/json"),
            Body::Json(body) => request.json(body),
            Body::Bytes(body) => request
                .header(CONTENT_TYPE, "application/octet-stream")
                .body(body.clone()),
        };
        let asked = Instant::now();
        self.limiter.ready(call.route.priority).await;
        let priority = match call.route.priority {
            Priority::List => WaitFor::List,
            Priority::Normal => WaitFor::Normal,
        };
        self.metrics.limited(priority, asked.elapsed());
        if call.method != Method::GET {
            self.term.check()?;
        }
        let told = Told {
            method: method_label(&call.method),
            route: call.route.class,
            metrics: &self.metrics,
        };
        let exchanged = exchange(request, &self.host, self.timeouts.total, told).await;
        let Exchanged { sent, answered, .. } = exchanged;
        let (head, bytes) = exchanged.result?;
        let body = (call.read)(&head, bytes)
            .map_err(|error| error.without(bearer.secret.expose_secret()))?;
        Ok(Answer {
            body,
            sent,
            answered,
            request_id: head.request_id,
            org_id: head.org_id,
            route: call.route.class,
        })
    }
}

impl UserAgent {
    fn header(&self, auth: &str) -> HeaderValue {
        let safe = |text: &str| -> String {
            text.chars()
                .map(|c| match c {
                    '0'..='9' | 'A'..='Z' | 'a'..='z' | '_' | '.' | '+' | '-' => c,
                    _ => '-',
                })
                .collect()
        };
        let text = format!(
            "{}/{} os/{} auth/{auth} instance/{}",
            safe(&self.product),
            safe(&self.version),
            std::env::consts::OS,
            safe(&self.instance),
        );
        HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("databricks-app-operator"))
    }
}

fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        _ => "other",
    }
}

#[cfg(test)]
mod tests;
