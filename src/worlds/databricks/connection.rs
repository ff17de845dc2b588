//! One Workspace's connection: its client, who the operator is there, how it fares, and the boards of what it lists.
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{Instrument, debug};

use super::board::{Board, Row};
use super::trouble;
use crate::api::names::ObjectName;
use crate::api::status::Reason;
use crate::databricks::{Client, Error, Route};
use crate::engine::index::{Index, Key, Ref};
use crate::engine::managed::Trouble;
use crate::engine::plan::Fate;
use crate::telemetry::metrics::Looking;
use crate::telemetry::{Clock, Metrics, traces};

const CONFIG: Route = Route::normal("databricks-config");
const ME: Route = Route::normal("scim/me");
/// First pause after a failed heartbeat, in service time; doubled up to the interval.
const PAUSE: Duration = Duration::from_secs(5);
/// An interval may be missed for many a reason; only three in a row mean that nobody knows.
const MISSED: u32 = 3;

/// Who the operator is in a workspace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// E-mail address of a user, application id of a service principal.
    pub user_name: String,
    /// SCIM id.
    pub id: String,
    /// The workspace's own id, as its answers name it.
    pub workspace_id: Option<String>,
    /// The workspace's cloud, as its host tells without being asked who we are.
    pub cloud: Option<String>,
}

#[derive(Default)]
struct Health {
    identity: Option<Identity>,
    /// Why the last heartbeat failed: the credentials, or who we are.
    heart: Option<Trouble>,
    /// Why the last look failed. A look may succeed with credentials that only memory still holds.
    look: Option<Trouble>,
    unavailable: bool,
}

/// What a connection's tasks share.
pub(super) struct Shared {
    pub name: ObjectName,
    /// The Workspace's own key: its passes tell how the connection fares.
    pub key: Key,
    pub client: Client,
    pub clock: Clock,
    pub metrics: Metrics,
    pub index: Arc<Index>,
    /// Service time between two lists.
    pub interval: Duration,
    /// Service time between two looks at permissions and at the identity.
    pub permissions_interval: Duration,
    health: Mutex<Health>,
    last_look: Mutex<Instant>,
    looking: Looking,
    identified: watch::Sender<bool>,
    poked: tokio::sync::Notify,
}

/// A connection to one workspace. Its tasks end when it is dropped.
pub struct Connection {
    shared: Arc<Shared>,
    boards: Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
    memos: Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
    stop: CancellationToken,
    _end: DropGuard,
}

/// What a connection is made of, beside its client.
pub(super) struct Parts {
    pub key: Key,
    pub client: Client,
    pub index: Arc<Index>,
    pub interval: Duration,
    pub permissions_interval: Duration,
    pub metrics: Metrics,
}

impl Connection {
    /// Starts the heartbeat.
    pub(super) fn start(parts: Parts) -> Arc<Self> {
        let clock = parts.client.clock();
        let name = parts.key.name.clone();
        let interval = clock.wire(parts.interval);
        let shared = Arc::new(Shared {
            looking: parts.metrics.connected(name.to_string(), interval),
            name,
            key: parts.key,
            clock,
            client: parts.client,
            metrics: parts.metrics,
            index: parts.index,
            interval: parts.interval,
            permissions_interval: parts.permissions_interval,
            health: Mutex::default(),
            last_look: Mutex::new(Instant::now()),
            identified: watch::Sender::new(false),
            poked: tokio::sync::Notify::new(),
        });
        let stop = CancellationToken::new();
        let (heart, end) = (shared.clone(), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = end.cancelled() => {}
                () = heart.beat() => {}
            }
        });
        Arc::new(Self {
            shared,
            boards: Mutex::default(),
            memos: Mutex::default(),
            _end: stop.clone().drop_guard(),
            stop,
        })
    }

    pub fn client(&self) -> &Client {
        &self.shared.client
    }

    pub fn clock(&self) -> Clock {
        self.shared.clock
    }

    /// Service time between two looks at one app's permissions.
    pub fn permissions_interval(&self) -> Duration {
        self.shared.permissions_interval
    }

    /// Who the operator is there; `None` before the first successful probe.
    pub fn identity(&self) -> Option<Identity> {
        self.shared.lock().identity.clone()
    }

    /// What is wrong with the connection now: its credentials first, then the last look.
    pub fn problem(&self) -> Option<Trouble> {
        self.shared.lock().problem().cloned()
    }

    /// Why nobody knows how the workspace's objects are: three intervals without a look.
    pub fn unavailable(&self) -> Option<Trouble> {
        let health = self.shared.lock();
        let problem = health.problem().filter(|_| health.unavailable)?;
        let message = format!(
            "no look at the workspace succeeded for {MISSED} intervals; see DatabricksWorkspace {}: {}",
            self.shared.name, problem.message
        );
        Some(Trouble::new(
            Reason::WorkspaceUnavailable,
            message,
            Fate::After(self.shared.interval),
        ))
    }

    /// Looks at credentials and identity now.
    pub fn poke(&self) {
        self.shared.poked.notify_one();
    }

    /// The board of that kind of rows; the first call starts its observer.
    pub fn board<R: Row>(&self) -> Arc<Board<R>> {
        let mut boards = self.boards.lock().unwrap_or_else(PoisonError::into_inner);
        let start = || Board::<R>::start(self.shared.clone(), self.stop.clone());
        typed(&mut boards, start)
    }

    /// What a kind remembers of this workspace between passes, in this process.
    pub fn memo<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        let mut memos = self.memos.lock().unwrap_or_else(PoisonError::into_inner);
        typed(&mut memos, || Arc::new(T::default()))
    }
}

/// The one value of that type, made at the first call.
fn typed<T: Send + Sync + 'static>(
    map: &mut HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
    make: impl FnOnce() -> Arc<T>,
) -> Arc<T> {
    let known = map.get(&TypeId::of::<T>()).cloned();
    match known.and_then(|any| any.downcast::<T>().ok()) {
        Some(known) => known,
        None => {
            let made = make();
            map.insert(TypeId::of::<T>(), made.clone());
            made
        }
    }
}

impl Health {
    /// What both looks fail with, if the host is away, is told by the one that is made each interval.
    fn problem(&self) -> Option<&Trouble> {
        let away = |trouble: &&Trouble| trouble.reason == Reason::HostUnreachable;
        let credentials = self.heart.as_ref().filter(|heart| !away(heart));
        credentials.or(self.look.as_ref()).or(self.heart.as_ref())
    }

    /// A call that was not made says nothing new.
    fn failed(&mut self, which: Failed, error: &Error, problem: Trouble) {
        let slot = match which {
            Failed::Heartbeat => &mut self.heart,
            Failed::List => &mut self.look,
        };
        if slot.is_none() || !matches!(error, Error::BreakerOpen { .. }) {
            *slot = Some(problem);
        }
    }
}

/// Which of the two looks at a workspace failed.
#[derive(Clone, Copy)]
pub(super) enum Failed {
    Heartbeat,
    List,
}

impl Shared {
    /// Returns once the identity is known.
    pub(super) async fn identified(&self) {
        let mut known = self.identified.subscribe();
        // The sender lives as long as we do.
        let _ = known.wait_for(|known| *known).await;
    }

    /// A look succeeded.
    pub(super) fn looked(&self) {
        self.looking.looked();
        *self
            .last_look
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Instant::now();
        let recovered = {
            let mut health = self.lock();
            health.look = None;
            std::mem::take(&mut health.unavailable)
        };
        self.index.wake_object(&self.key);
        if recovered {
            self.index.wake(&Ref::Spec(self.key.clone()));
        }
    }

    /// A look failed. Objects keep what is said of them until three intervals are missed.
    pub(super) fn failed(&self, which: Failed, error: &Error, problem: Trouble) {
        let since = *self
            .last_look
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let missed = self.clock.wire(self.interval) * MISSED;
        let newly = {
            let mut health = self.lock();
            health.failed(which, error, problem);
            let newly = !health.unavailable && since.elapsed() >= missed;
            health.unavailable |= newly;
            newly
        };
        self.index.wake_object(&self.key);
        if newly {
            self.index.wake(&Ref::Spec(self.key.clone()));
        }
    }

    /// A heartbeat succeeded.
    fn recovered(&self) {
        if self.lock().heart.take().is_some() {
            self.index.wake_object(&self.key);
            self.index.wake(&Ref::Spec(self.key.clone()));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Credentials each interval, the identity when they change and at the slower interval.
    async fn beat(&self) {
        let mut probed: Option<Instant> = None;
        let mut failures = 0_u32;
        loop {
            let span = traces::look("heartbeat", &self.name);
            match self.check(&mut probed).instrument(span).await {
                Ok(()) => {
                    failures = 0;
                    self.recovered();
                }
                Err(error) => {
                    debug!(workspace = %self.name, %error, "checking the connection");
                    let refused = Reason::UnexpectedAnswer;
                    let problem =
                        trouble("asking who the operator is", &error, refused, self.clock);
                    failures = match problem.fate {
                        // Nothing will change soon, so it is asked no more often than a healthy one.
                        Fate::Stalled { .. } => u32::MAX,
                        _ => failures.saturating_add(1),
                    };
                    self.failed(Failed::Heartbeat, &error, problem);
                }
            }
            let jitter = 1.0 + rand::random::<f64>() / 10.0;
            let pause = match failures {
                0 => self.interval,
                n => PAUSE
                    .saturating_mul(1 << (n - 1).min(10))
                    .min(self.interval),
            };
            tokio::select! {
                () = self.clock.sleep(pause.mul_f64(jitter)) => {}
                () = self.poked.notified() => probed = None,
            }
        }
    }

    /// Asked once; not knowing is no failure.
    async fn cloud(&self) -> Option<String> {
        if let Some(known) = self.lock().identity.as_ref() {
            return known.cloud.clone();
        }
        let path = "/.well-known/databricks-config";
        let answer = self.client.get(CONFIG, path, &[]).await.ok()?;
        let cloud = answer.body.get("cloud")?.as_str()?;
        Some(cloud.chars().take(32).collect())
    }

    async fn check(&self, probed: &mut Option<Instant>) -> Result<(), Error> {
        if self.client.refresh_credentials().await? {
            *probed = None;
        }
        let due = self.clock.wire(self.permissions_interval);
        if probed.is_some_and(|at| at.elapsed() < due) {
            return Ok(());
        }
        let path = "/api/2.0/preview/scim/v2/Me";
        let query = [("excludedAttributes", "entitlements")];
        let answer = self.client.get(ME, path, &query).await?;
        let text = |key: &str| {
            answer
                .body
                .get(key)
                .and_then(|v| v.as_str())
                .unwrap_or_default()
        };
        let identity = Identity {
            user_name: text("userName").to_owned(),
            id: text("id").to_owned(),
            workspace_id: answer.org_id.clone(),
            cloud: self.cloud().await,
        };
        if identity.user_name.is_empty() {
            return Err(Error::Decode {
                what: ME.class.into(),
                path: "userName".into(),
                message: "the answer names nobody".into(),
            });
        }
        *probed = Some(Instant::now());
        let changed = {
            let mut health = self.lock();
            let changed = health.identity.as_ref() != Some(&identity);
            health.identity = Some(identity);
            changed
        };
        self.identified.send_replace(true);
        if changed {
            self.index.wake_object(&self.key);
            self.index.wake(&Ref::Spec(self.key.clone()));
        }
        Ok(())
    }
}
