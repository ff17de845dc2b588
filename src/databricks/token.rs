//! The access token: cached, renewed ahead of its end, one exchange at a time. Wire time throughout.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, FutureExt, Shared};
use reqwest::Method;
use reqwest::header::{ACCEPT, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use super::classify::{Head, classify, clean};
use super::credentials::{CredentialSource, Credentials, Fingerprint, SourceError};
use super::error::Error;
use super::exchange::{Told, exchange};
use super::host::HostPolicy;
use super::retry;
use crate::telemetry::metrics::TokenResult;
use crate::telemetry::{Clock, Metrics};

/// Renewal in the background begins with so much life left, or half the token's life if that is less.
const AHEAD: Duration = Duration::from_secs(20 * 60);
/// Pause after a failed background renewal.
const PAUSE: Duration = Duration::from_secs(60);
/// Wire-time margin for a request under way when its token ends.
const MARGIN: Duration = Duration::from_secs(5);
/// How long, in service time, callers share the error of a failed exchange rather than repeat it.
const SHARE_FAILURE: Duration = Duration::from_secs(30);
/// Life of a token whose answer names none.
const DEFAULT_LIFE: u64 = 3600;

/// One token in use.
pub(super) struct Bearer {
    pub secret: SecretString,
    /// `Bearer …`, marked sensitive
    pub header: HeaderValue,
    pub auth_label: &'static str,
    fingerprint: Fingerprint,
    obtained: Instant,
    /// `None`: no end is known (personal access token)
    life: Option<Duration>,
}

type Fetch = Shared<BoxFuture<'static, Result<Arc<Bearer>, Error>>>;

#[derive(Default)]
struct State {
    current: Option<Arc<Bearer>>,
    flight: Option<Fetch>,
    no_background_before: Option<Instant>,
    failed: Option<(Instant, Error)>,
    /// Credentials read last; serve an exchange while their source can't be read
    memory: Option<Credentials>,
    source_error: Option<SourceError>,
    /// Credentials whose fresh token was refused, and until when a refusal is believed at once
    refused: Option<(Fingerprint, Instant)>,
    /// Raised whenever tokens fetched before are void
    era: u64,
}

/// What the token says about itself now.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Good,
    RenewAhead,
    Ended,
}

fn standing(life: Option<Duration>, age: Duration) -> Standing {
    let Some(life) = life else {
        return Standing::Good;
    };
    let left = life.saturating_sub(age);
    // The margin must not make a very short-lived token useless.
    if left <= MARGIN.min(life / 4) {
        Standing::Ended
    } else if left <= AHEAD.min(life / 2) {
        Standing::RenewAhead
    } else {
        Standing::Good
    }
}

#[derive(Clone)]
pub(super) struct Tokens {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    source: Arc<dyn CredentialSource>,
    wire: Wire,
    clock: Clock,
}

/// How to reach the token endpoint.
pub(super) struct Wire {
    pub http: reqwest::Client,
    pub host: Url,
    /// Of a host that serves a whole account
    pub account_id: Option<String>,
    pub policy: HostPolicy,
    pub metrics: Metrics,
    pub total: Duration,
}

impl Tokens {
    pub(super) fn new(source: Arc<dyn CredentialSource>, wire: Wire, clock: Clock) -> Self {
        Self {
            inner: Arc::new(Inner {
                state: Mutex::new(State::default()),
                source,
                wire,
                clock,
            }),
        }
    }

    /// A token that is good now; waits for an exchange only if there is none.
    pub(super) async fn bearer(&self) -> Result<Arc<Bearer>, Error> {
        let flight = {
            let mut state = self.inner.lock();
            if let Some(current) = state.current.clone() {
                match standing(current.life, current.obtained.elapsed()) {
                    Standing::Good => return Ok(current),
                    Standing::RenewAhead => {
                        let paused = state
                            .no_background_before
                            .is_some_and(|at| Instant::now() < at);
                        if !paused {
                            // The task runs by itself; nobody waits for it.
                            drop(self.start(&mut state));
                        }
                        return Ok(current);
                    }
                    Standing::Ended => {}
                }
            }
            if let Some((until, error)) = &state.failed
                && Instant::now() < *until
            {
                return Err(error.clone());
            }
            self.start(&mut state)
        };
        flight.await
    }

    /// After a 401 on `bearer`: a new token worth a retry, or `None` if these credentials are known as refused.
    pub(super) async fn renew(&self, bearer: &Arc<Bearer>) -> Result<Option<Arc<Bearer>>, Error> {
        {
            let mut state = self.inner.lock();
            if let Some((refused, until)) = state.refused
                && refused == bearer.fingerprint
                && Instant::now() < until
                && state
                    .memory
                    .as_ref()
                    .is_some_and(|memory| memory.fingerprint() == refused)
            {
                return Ok(None);
            }
            // Others may have renewed it meanwhile.
            if state
                .current
                .as_ref()
                .is_some_and(|current| Arc::ptr_eq(current, bearer))
            {
                state.forget();
            }
        }
        self.bearer().await.map(Some)
    }

    /// The fresh token was refused as well.
    pub(super) fn refused(&self, bearer: &Arc<Bearer>) {
        let until = Instant::now() + self.inner.clock.wire(Duration::from_secs(60));
        self.inner.lock().refused = Some((bearer.fingerprint, until));
    }

    /// Reads the credentials again; `true` if they changed, and then the next call uses the new ones.
    pub(super) async fn refresh(&self) -> Result<bool, Error> {
        let read = self.inner.source.read().await;
        let mut state = self.inner.lock();
        match read {
            Ok(credentials) => {
                state.source_error = None;
                let changed = state
                    .memory
                    .as_ref()
                    .is_none_or(|memory| memory.fingerprint() != credentials.fingerprint());
                // An exchange that failed while the credentials were wrong or missing is history.
                state.failed = None;
                if changed {
                    state.forget();
                    state.refused = None;
                    state.memory = Some(credentials);
                }
                Ok(changed)
            }
            Err(error) => {
                state.source_error = Some(error.clone());
                Err(Error::Credentials(error))
            }
        }
    }

    /// Why the credentials could not be read when they were last asked for.
    pub(super) fn source_error(&self) -> Option<SourceError> {
        self.inner.lock().source_error.clone()
    }

    /// Joins the exchange under way, or begins one. It runs as a task of its own, so that a caller who gives up
    /// takes nothing from the others.
    fn start(&self, state: &mut State) -> Fetch {
        if let Some(flight) = &state.flight {
            return flight.clone();
        }
        let inner = self.inner.clone();
        let era = state.era;
        let task = tokio::spawn(async move {
            let result = inner.exchange().await;
            let mut state = inner.lock();
            if state.era != era {
                // Credentials changed meanwhile: whoever waits here is served, nobody after them.
                return result;
            }
            state.flight = None;
            match &result {
                Ok(bearer) => {
                    state.current = Some(bearer.clone());
                    state.failed = None;
                    state.no_background_before = None;
                }
                Err(error) => {
                    let now = Instant::now();
                    state.no_background_before = Some(now + PAUSE);
                    state.failed = Some((now + inner.clock.wire(SHARE_FAILURE), error.clone()));
                }
            }
            result
        });
        let flight: Fetch = async move {
            match task.await {
                Ok(result) => result,
                Err(_) => Err(Error::Setup(
                    "the token exchange was interrupted".to_owned(),
                )),
            }
        }
        .boxed()
        .shared();
        state.flight = Some(flight.clone());
        flight
    }
}

impl State {
    fn forget(&mut self) {
        self.current = None;
        self.flight = None;
        self.failed = None;
        self.era += 1;
    }
}

#[derive(Deserialize)]
struct Metadata {
    token_endpoint: String,
}

#[derive(Deserialize)]
struct Grant {
    access_token: SecretString,
    expires_in: Option<u64>,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
    #[serde(default)]
    error_description: String,
}

impl Inner {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn exchange(&self) -> Result<Arc<Bearer>, Error> {
        let credentials = self.credentials().await.inspect_err(|_| {
            self.wire.metrics.token_fetch(TokenResult::NoCredentials);
        })?;
        let (secret, life, obtained) = match &credentials {
            Credentials::Token(token) => (token.clone(), None, Instant::now()),
            Credentials::OAuth {
                client_id,
                client_secret,
            } => {
                let grant = self.wire.grant(client_id, client_secret).await;
                self.wire.metrics.token_fetch(match &grant {
                    Ok(_) => TokenResult::Fetched,
                    Err(Error::OAuth { .. } | Error::Unauthenticated(_)) => TokenResult::Refused,
                    Err(_) => TokenResult::Unreachable,
                });
                // Life counts from before the request, so that we never believe in more than there is.
                let (grant, asked) = grant?;
                let life = Duration::from_secs(grant.expires_in.unwrap_or(DEFAULT_LIFE));
                (grant.access_token, Some(life), asked)
            }
        };
        let mut header = HeaderValue::from_str(&format!("Bearer {}", secret.expose_secret()))
            .map_err(|_| {
                Error::Setup(
                    "the token holds characters that no header may hold; check the Secret for line breaks"
                        .to_owned(),
                )
            })?;
        header.set_sensitive(true);
        Ok(Arc::new(Bearer {
            secret,
            header,
            auth_label: credentials.label(),
            fingerprint: credentials.fingerprint(),
            obtained,
            life,
        }))
    }

    /// What the source holds now; what it held last while it can't be read, as apps under deletion outlive a
    /// Secret that is deleted together with them.
    async fn credentials(&self) -> Result<Credentials, Error> {
        let read = self.source.read().await;
        let mut state = self.lock();
        match read {
            Ok(credentials) => {
                state.memory = Some(credentials.clone());
                state.source_error = None;
                Ok(credentials)
            }
            Err(error) => {
                state.source_error = Some(error.clone());
                state.memory.clone().ok_or(Error::Credentials(error))
            }
        }
    }
}

impl Wire {
    async fn grant(&self, id: &str, secret: &SecretString) -> Result<(Grant, Instant), Error> {
        let endpoint = self.endpoint().await?;
        let started = Instant::now();
        let mut attempt = 1;
        loop {
            let asked = Instant::now();
            let error = match self.ask(&endpoint, id, secret).await {
                Ok(grant) => return Ok((grant, asked)),
                Err(error) => error.without(secret.expose_secret()),
            };
            // Asking for a token changes nothing, so the rule for reads applies.
            match retry::next(
                &Method::GET,
                &error,
                attempt,
                started.elapsed(),
                rand::random(),
            ) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(error),
            }
            attempt += 1;
        }
    }

    /// The token endpoint the host names, or the usual one. Wherever it lies, it gets our secret, so it has to
    /// pass the same list of hosts.
    async fn endpoint(&self) -> Result<Url, Error> {
        let join = |path: &str| {
            self.host.join(path).map_err(|error| {
                Error::Setup(format!("building the token endpoint's URL: {error}"))
            })
        };
        let oidc = match &self.account_id {
            Some(account) => format!("/oidc/accounts/{account}"),
            None => "/oidc".to_owned(),
        };
        let request = self
            .http
            .get(join(&format!(
                "{oidc}/.well-known/oauth-authorization-server"
            ))?)
            .header(ACCEPT, "application/json");
        let named = match self.round("GET", "oidc-metadata", request).await {
            Ok((_, body)) => serde_json::from_slice::<Metadata>(&body)
                .ok()
                .and_then(|metadata| Url::parse(&metadata.token_endpoint).ok()),
            // Not knowing is no failure: most hosts use the same path.
            Err(_) => None,
        };
        let endpoint = match named {
            Some(url) => url,
            None => join(&format!("{oidc}/v1/token"))?,
        };
        self.policy.check(&endpoint)?;
        if self.host.scheme() == "https" && endpoint.scheme() != "https" {
            return Err(Error::HostNotAllowed {
                host: clean(endpoint.host_str().unwrap_or_default(), 253),
                why: "an https host named a token endpoint in plain http".to_owned(),
            });
        }
        Ok(endpoint)
    }

    async fn ask(&self, endpoint: &Url, id: &str, secret: &SecretString) -> Result<Grant, Error> {
        let request = self
            .http
            .post(endpoint.clone())
            .header(ACCEPT, "application/json")
            .basic_auth(id, Some(secret.expose_secret()))
            .form(&[("grant_type", "client_credentials"), ("scope", "all-apis")]);
        let (head, body) = self.round("POST", "token", request).await?;
        if (400..500).contains(&head.status)
            && let Ok(refusal) = serde_json::from_slice::<Refusal>(&body)
        {
            return Err(Error::OAuth {
                status: head.status,
                code: clean(&refusal.error, 128),
                description: clean(&refusal.error_description, 512),
            });
        }
        classify(&head, &body)?;
        serde_json::from_slice(&body).map_err(|error| Error::Decode {
            what: "the token request".to_owned(),
            path: format!("line {} column {}", error.line(), error.column()),
            // Its text could quote the body, which holds the token.
            message: "expected access_token and expires_in".to_owned(),
        })
    }

    async fn round(
        &self,
        method: &'static str,
        route: &'static str,
        request: reqwest::RequestBuilder,
    ) -> Result<(Head, Vec<u8>), Error> {
        let told = Told {
            method,
            route,
            metrics: &self.metrics,
        };
        let request = request.timeout(self.total);
        exchange(request, &self.host, self.total, told).await.result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_with_half_its_life_or_twenty_minutes_left() {
        let hour = Some(Duration::from_secs(3600));
        let at = |minutes: u64| standing(hour, Duration::from_secs(minutes * 60));
        assert_eq!(at(0), Standing::Good);
        assert_eq!(at(39), Standing::Good);
        assert_eq!(at(40), Standing::RenewAhead);
        assert_eq!(at(59), Standing::RenewAhead);
        assert_eq!(at(60), Standing::Ended);
        assert_eq!(at(61), Standing::Ended);
        let short = Some(Duration::from_secs(600));
        assert_eq!(standing(short, Duration::from_secs(299)), Standing::Good);
        assert_eq!(
            standing(short, Duration::from_secs(300)),
            Standing::RenewAhead
        );
        assert_eq!(standing(None, Duration::from_secs(1 << 30)), Standing::Good);
    }
}
