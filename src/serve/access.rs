//! Who may read the metrics: the API server says whose a token is, and what its holder may do.
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tracing::warn;

/// The path that is asked for in the review, whatever a proxy made of it.
pub(super) const PATH: &str = "/metrics";
/// How long an answer holds, a refusal, too: a right that was taken away ends as late.
const HOLDS: Duration = Duration::from_secs(30);
/// Answers that are kept; whoever sends ever new tokens must not eat the memory.
const KEPT: usize = 1_024;
/// Questions to the API server at a time; more wait.
const AT_ONCE: usize = 4;
/// For both questions together, with the wait for a turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the holder of a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Allowed,
    Unauthenticated,
    Forbidden,
}

/// The API server could not be asked.
#[derive(Debug)]
pub(super) struct Unavailable;

type Key = [u8; 32];

pub struct Access {
    client: Client,
    known: Mutex<HashMap<Key, (Instant, Verdict)>>,
    turns: Semaphore,
}

impl Access {
    /// Asks with `client`, which may create token reviews and subject access reviews.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            known: Mutex::default(),
            turns: Semaphore::new(AT_ONCE),
        }
    }

    pub(super) async fn judge(&self, token: &str) -> Result<Verdict, Unavailable> {
        // A digest: nothing that is kept can be used as a token.
        let key: Key = Sha256::digest(token.as_bytes()).into();
        if let Some(verdict) = self.recall(&key, Instant::now()) {
            return Ok(verdict);
        }
        let asked = async {
            let _turn = self.turns.acquire().await;
            self.ask(token).await
        };
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(verdict)) => {
                self.note(key, verdict, Instant::now());
                Ok(verdict)
            }
            Ok(Err(error)) => {
                warn!(%error, "asking the API server who may read the metrics; the operator's role needs create of tokenreviews and subjectaccessreviews");
                Err(Unavailable)
            }
            Err(_) => {
                warn!("the API server does not say in time who may read the metrics");
                Err(Unavailable)
            }
        }
    }

    async fn ask(&self, token: &str) -> Result<Verdict, kube::Error> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: Some(token.to_owned()),
                audiences: None,
            },
            ..TokenReview::default()
        };
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        let answer = reviews.create(&PostParams::default(), &review).await?;
        let status = answer.status.unwrap_or_default();
        let (Some(true), Some(user)) = (status.authenticated, status.user) else {
            return Ok(Verdict::Unauthenticated);
        };
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let answer = reviews
            .create(&PostParams::default(), &may_read(user))
            .await?;
        Ok(match answer.status.is_some_and(|status| status.allowed) {
            true => Verdict::Allowed,
            false => Verdict::Forbidden,
        })
    }

    fn recall(&self, key: &Key, now: Instant) -> Option<Verdict> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, verdict) = known.get(key)?;
        (now.saturating_duration_since(*at) < HOLDS).then_some(*verdict)
    }

    fn note(&self, key: Key, verdict: Verdict, now: Instant) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KEPT {
            known.retain(|_, (at, _)| now.saturating_duration_since(*at) < HOLDS);
        }
        if known.len() >= KEPT {
            // To ask again costs two questions.
            known.clear();
        }
        known.insert(key, (now, verdict));
    }
}

fn may_read(user: UserInfo) -> SubjectAccessReview {
    SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: user.username,
            uid: user.uid,
            groups: user.groups,
            extra: user.extra,
            non_resource_attributes: Some(NonResourceAttributes {
                path: Some(PATH.into()),
                verb: Some("get".into()),
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::http::{Request, Response};
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    /// An API server that knows the tokens `reader` and `stranger`, and how often it was asked.
    fn server(fails: bool) -> (Access, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            count.fetch_add(1, Ordering::SeqCst);
            async move {
                let path = request.uri().path().to_owned();
                let body = request.into_body().collect_bytes().await.unwrap();
                let mut said: Value = serde_json::from_slice(&body).unwrap();
                let spec = said["spec"].clone();
                said["status"] = match path.as_str() {
                    "/apis/authentication.k8s.io/v1/tokenreviews" => match &spec["token"] {
                        Value::String(token) if token != "forged" => {
                            json!({"authenticated": true, "user": {"username": token, "groups": ["g"]}})
                        }
                        _ => json!({"authenticated": false}),
                    },
                    "/apis/authorization.k8s.io/v1/subjectaccessreviews" => {
                        let asked = json!({"path": "/metrics", "verb": "get"});
                        let right = spec["nonResourceAttributes"] == asked;
                        assert_eq!(spec["groups"], json!(["g"]));
                        json!({"allowed": right && spec["user"] == "reader"})
                    }
                    other => panic!("{other}"),
                };
                let code = if fails { 500 } else { 201 };
                let body = serde_json::to_vec(&said).unwrap();
                Ok::<_, std::convert::Infallible>(
                    Response::builder()
                        .status(code)
                        .body(Body::from(body))
                        .unwrap(),
                )
            }
        });
        (Access::new(Client::new(service, "default")), asked)
    }

    #[tokio::test]
    async fn a_token_is_judged_by_its_holders_right_and_the_answer_holds_for_a_while() {
        let (access, asked) = server(false);
        for (token, verdict) in [
            ("reader", Verdict::Allowed),
            ("stranger", Verdict::Forbidden),
            ("forged", Verdict::Unauthenticated),
        ] {
            for _ in 0..3 {
                assert_eq!(access.judge(token).await.unwrap(), verdict, "{token}");
            }
        }
        assert_eq!(asked.load(Ordering::SeqCst), 5);
        let key: Key = Sha256::digest(b"reader").into();
        assert!(access.recall(&key, Instant::now() + HOLDS).is_none());
    }

    #[tokio::test]
    async fn nobody_is_let_in_while_the_api_server_fails_and_nothing_of_it_is_kept() {
        let (access, asked) = server(true);
        assert!(access.judge("reader").await.is_err());
        assert!(access.judge("reader").await.is_err());
        assert!(asked.load(Ordering::SeqCst) >= 2);
    }

    #[test]
    fn ever_new_tokens_do_not_eat_the_memory() {
        let service = tower::service_fn(|_: Request<Body>| async {
            Ok::<_, std::convert::Infallible>(Response::new(Body::empty()))
        });
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let _entered = runtime.enter();
        let access = Access::new(Client::new(service, "default"));
        for n in 0..KEPT * 2 {
            let key: Key = Sha256::digest(n.to_le_bytes()).into();
            access.note(key, Verdict::Unauthenticated, Instant::now());
        }
        assert!(access.known.lock().unwrap().len() <= KEPT);
    }
}
