//! The way of one request: noted, held or broken by faults, authenticated, handled, and again by faults on its way back.
//!
//! ```text
//! arrive ─► [latency, status, reset: before_commit] ─► authenticate ─► handler ─► [the same: after_commit] ─► answer
//! "held"                                                           "committed"                            "done"
//! ```
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Response, StatusCode, header};
use jsonwebtoken::jwk::JwkSet;
use serde_json::Value;

use super::answer::Answer;
use super::{Access, Call, Cut, Route, Shared};
use crate::error::{ApiError, Outcome};
use crate::faults::{Abandoned, Kind, Moment, Target};
use crate::log::{Arrival, Progress, redact};
use crate::workspace::{Caller, Workspace, directory, identity, uuid};

/// Larger bodies are refused.
const LARGEST_BODY: usize = 64 << 20;
const HOUR: Duration = Duration::from_secs(3600);

/// Whatever no table has.
pub static UNMATCHED: Route = Route::public("*", "unmatched", unmatched);

fn unmatched(_: &mut Workspace, call: &Call<'_>) -> Outcome {
    let path = call.headers.get(":path").map_or("", String::as_str);
    Err(ApiError::new(
        404,
        "ENDPOINT_NOT_FOUND",
        format!("No API found for '{path}'"),
    ))
}

/// A request that has arrived whole.
struct Exchange {
    shared: Arc<Shared>,
    route: &'static Route,
    cut: Cut,
    caller: Result<Caller, ApiError>,
    params: BTreeMap<String, String>,
    query: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
    body: Bytes,
    base_url: String,
    request_id: String,
    workspace_id: u64,
    faults: Vec<Kind>,
    ticket: Ticket,
}

pub async fn serve(
    shared: Arc<Shared>,
    route: &'static Route,
    cut: Cut,
    params: RawPathParams,
    request: Request,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, LARGEST_BODY).await else {
        return too_large();
    };
    let exchange = receive(shared, route, cut, &params, parts, body);
    let outlives_client = exchange.faults.iter().any(|fault| {
        matches!(
            fault,
            Kind::Latency {
                abandoned: Abandoned::Commit,
                ..
            }
        )
    });
    if !outlives_client {
        return exchange.run().await;
    }
    match tokio::spawn(exchange.run()).await {
        Ok(response) => response,
        Err(_) => too_large(),
    }
}

/// Notes a request and finds the faults that strike it.
fn receive(
    shared: Arc<Shared>,
    route: &'static Route,
    cut: Cut,
    params: &RawPathParams,
    parts: Parts,
    body: Bytes,
) -> Exchange {
    let method = parts.method.as_str().to_owned();
    let path = parts.uri.path().to_owned();
    let query = parts.uri.query().unwrap_or_default();
    let mut headers = plain(&parts.headers);
    headers.insert(":path".into(), format!("{method} {path}"));
    let header = |name: &str| headers.get(name).cloned().unwrap_or_default();
    let request_id = uuid();

    let mut world = shared.lock();
    world.workspace.tick();
    let caller = world
        .workspace
        .authenticate(headers.get("authorization").map(String::as_str));
    let arrival = Arrival {
        at: world.workspace.stamp().to_string(),
        service_time: world.workspace.now().as_secs_f64(),
        method: method.clone(),
        path: path.clone(),
        query: query.to_owned(),
        route: route.pattern.to_owned(),
        user_agent: header("user-agent"),
        user: caller.as_ref().map_or(String::new(), |c| c.name.clone()),
        request_id: request_id.clone(),
        body: shown_body(&body),
    };
    let faults = world.workspace.faults.fire_request(Target {
        method: &method,
        path: &path,
        route: route.pattern,
    });
    let workspace_id = world.workspace.id;
    let number = world.log.open(arrival);
    drop(world);

    Exchange {
        base_url: format!("http://{}", header("host")),
        params: params
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        query: form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect(),
        ticket: Ticket {
            shared: shared.clone(),
            number,
            key: (method, route.pattern.to_owned()),
            status: 0,
            open: true,
        },
        shared,
        route,
        cut,
        caller,
        headers,
        body,
        request_id,
        workspace_id,
        faults,
    }
}

/// Dropped at any point when its client goes away: what it has done stays done, the rest doesn't happen.
impl Exchange {
    async fn run(mut self) -> Response<Body> {
        if let Some(answer) = self.suffer(Moment::BeforeCommit).await {
            return self.finish(answer);
        }
        let keys = self.fetch_keys().await;
        let answer = self.commit(keys.as_ref());
        self.ticket.commit(answer.status);
        match self.suffer(Moment::AfterCommit).await {
            Some(other) => self.finish(other),
            None => self.finish(answer),
        }
    }

    /// Lets the faults of this moment strike. Some make the answer up; a reset never returns.
    async fn suffer(&mut self, moment: Moment) -> Option<Answer> {
        let mut invented = None;
        for fault in self.faults.clone() {
            match fault {
                Kind::Latency { delay, when, .. } if when == moment => {
                    tokio::time::sleep(delay).await;
                }
                Kind::Reset { when } if when == moment => {
                    let status = self.ticket.status;
                    self.ticket.close(status, Progress::Reset);
                    self.cut.reset();
                    std::future::pending::<()>().await;
                }
                Kind::Status {
                    status_code,
                    headers,
                    body,
                    when,
                } if when == moment && invented.is_none() => {
                    let answer = Answer::invented(status_code, &body, &self.request_id);
                    let dressed = headers
                        .iter()
                        .fold(answer, |answer, (name, value)| answer.with(name, value));
                    invented = Some(dressed);
                }
                _ => {}
            }
        }
        invented
    }

    /// The one thing that a request may wait for: an issuer's keys.
    async fn fetch_keys(&self) -> Option<Result<JwkSet, String>> {
        let source = {
            let world = self.shared.lock();
            identity::keys_wanted(&world.workspace, self.route, &self.body)?
        };
        Some(source.fetch().await)
    }

    /// Authenticates and handles the request at one instant.
    fn commit(&self, keys: Option<&Result<JwkSet, String>>) -> Answer {
        let mut world = self.shared.lock();
        let workspace = &mut world.workspace;
        workspace.tick();
        let outcome = self.handle(workspace, keys);
        if self.route.method != "GET" {
            workspace.remember_apps();
        }
        let shape = self.faults.iter().find_map(|fault| match fault {
            Kind::ErrorShape { shape } => Some(*shape),
            _ => None,
        });
        let extra = self.faults.contains(&Kind::ExtraFields {});
        Answer::render(outcome, shape, extra, &self.request_id)
    }

    fn handle(&self, workspace: &mut Workspace, keys: Option<&Result<JwkSet, String>>) -> Outcome {
        let nobody = Caller {
            name: String::new(),
            kind: directory::Kind::User,
        };
        let caller = match (self.route.access, &self.caller) {
            (Access::Public, _) => &nobody,
            (Access::Authenticated, Ok(caller)) => caller,
            (Access::Authenticated, Err(refused)) => return Err(refused.clone()),
        };
        let token_lifetime = self.faults.iter().find_map(|fault| match fault {
            Kind::TokenLifetime { life } => Some(*life),
            _ => None,
        });
        let call = Call {
            caller,
            params: &self.params,
            query: &self.query,
            headers: &self.headers,
            body: &self.body,
            base_url: &self.base_url,
            empty_pages: self.faults.contains(&Kind::EmptyPage {}),
            large_pages_refused: self.faults.contains(&Kind::LargePageRefused {}),
            keys,
            token_lifetime: token_lifetime.unwrap_or(HOUR),
        };
        (self.route.handler)(workspace, &call)
    }

    fn finish(mut self, answer: Answer) -> Response<Body> {
        self.ticket.close(answer.status, Progress::Done);
        answer.into_response(self.workspace_id, &self.request_id)
    }
}

/// A request's line in the log. Dropped open, its client has gone.
struct Ticket {
    shared: Arc<Shared>,
    number: u64,
    key: (String, String),
    status: u16,
    open: bool,
}

impl Ticket {
    fn commit(&mut self, status: u16) {
        self.status = status;
        self.shared.lock().log.commit(self.number, status);
    }

    fn close(&mut self, status: u16, state: Progress) {
        if std::mem::take(&mut self.open) {
            let key = self.key.clone();
            self.shared
                .lock()
                .log
                .close(self.number, key, status, state);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.close(self.status, Progress::Abandoned);
    }
}

fn plain(headers: &HeaderMap) -> BTreeMap<String, String> {
    headers
        .iter()
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), value)
        })
        .collect()
}

/// The body as the log may show it: JSON without its secrets, nothing of anything else.
fn shown_body(body: &Bytes) -> Value {
    let mut shown: Value = serde_json::from_slice(body).unwrap_or_default();
    redact(&mut shown);
    match shown {
        Value::Object(_) | Value::Array(_) => shown,
        _ => Value::Null,
    }
}

fn too_large() -> Response<Body> {
    let mut response = Response::new(Body::from("the body is too large or was cut off"));
    *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
    response.headers_mut().insert(
        header::CONNECTION,
        header::HeaderValue::from_static("close"),
    );
    response
}
