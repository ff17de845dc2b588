//! Floor 1: which replica leads, by a Lease; and which installation looks after a namespace, by another: see [`claims`].
//!
//! ```text
//!            sent             sent + duration - grace        sent + duration
//!  renewal ───┤ writes may start ├── none starts, those under ──┤ another may take the Lease
//!                                    way have time to end
//! ```
//!
//! A term that could not be renewed in time lapses: no write starts, and it goes on if the Lease is still ours when the API
//! server is back. Once somebody else took the Lease the process has to end: what it remembers may be out of date.
pub mod claims;
mod decision;

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::decision::{Action, Candidate};
use crate::telemetry::Metrics;
use crate::term::Grant;

/// Name of the Lease that elects the leader, in the operator's own namespace.
pub const LEASE: &str = "databricks-app-operator";
/// Wire time between the moment from which no write starts and that at which another replica may lead.
pub const GRACE: Duration = Duration::from_secs(4);
/// Shortest duration: below it a renewal that is a little late would end a term.
pub const SHORTEST: Duration = Duration::from_secs(8);

/// Why this process may not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "{} took the Lease {namespace}/{LEASE}: this process ends, and starts anew as a standby; if that happens often, the API server answers too slowly for --lease-duration",
        named(holder)
    )]
    Lost { namespace: String, holder: String },
    #[error(
        "{}s is too short: give at least {}s, as no write starts in its last {}s",
        given.as_secs_f64(), SHORTEST.as_secs(), GRACE.as_secs()
    )]
    TooShort { given: Duration },
}

fn named(holder: &str) -> String {
    match holder.is_empty() {
        true => "somebody who has released it again".into(),
        false => format!("replica {holder:?}"),
    }
}

/// The duration of a Lease, if a term can be kept with it.
pub fn long_enough(duration: Duration) -> Result<Duration, Error> {
    match duration < SHORTEST {
        true => Err(Error::TooShort { given: duration }),
        false => Ok(duration),
    }
}

/// Who runs for the lead.
pub struct Settings {
    pub namespace: String,
    /// Tells replicas apart; the same one takes its own Lease back at once.
    pub identity: String,
    /// Wire time; [`long_enough`].
    pub duration: Duration,
}

/// One replica's part in the election.
pub struct Election {
    api: Api<Lease>,
    settings: Settings,
    metrics: Metrics,
    candidate: Candidate,
    /// As last read or written; its version lets no write pass that does not know of the one before.
    lease: Option<Lease>,
    /// Who led when last seen, for the log.
    leader: Option<String>,
    /// Whether the last look failed, for the log.
    blind: bool,
}

/// What one attempt came to.
enum Attempt {
    /// The Lease is ours; when the request that says so was sent.
    Held(Instant),
    /// Somebody else's, at least until then.
    Waiting(Instant),
}

impl Election {
    /// `client` must give up on a request that takes long, and must not ask for a term before it writes.
    pub fn new(client: Client, settings: Settings, metrics: Metrics) -> Self {
        Self {
            api: Api::namespaced(client, &settings.namespace),
            candidate: Candidate::new(&settings.identity),
            settings,
            metrics,
            lease: None,
            leader: None,
            blind: false,
        }
    }

    /// Runs for the lead, and leads, until `stop`; then releases the Lease. An error: somebody else leads.
    pub async fn run(mut self, grant: Grant, stop: CancellationToken) -> Result<(), Error> {
        let renewal = self.settings.duration / 5;
        let look = self.settings.duration / 10;
        let usable = self.settings.duration - GRACE;
        loop {
            let began = Instant::now();
            let mut next = began + renewal;
            // An answer that takes longer comes too late for the next renewal.
            let attempt = tokio::time::timeout(usable / 2, self.attempt()).await;
            match attempt {
                Ok(Ok(Attempt::Held(sent))) => {
                    grant.extend(sent + usable);
                    self.see();
                }
                Ok(Ok(Attempt::Waiting(until))) => {
                    next = until.min(began + look);
                    self.see();
                }
                Ok(Err(Failure::Lost(holder))) => {
                    grant.end();
                    self.metrics.leading(false);
                    return Err(Error::Lost {
                        namespace: self.settings.namespace,
                        holder,
                    });
                }
                Ok(Err(Failure::Kube(error))) => self.blinded(&grant, &said(&error)),
                Err(_) => self.blinded(&grant, "no answer in time"),
            }
            if self.candidate.term.is_some() {
                self.metrics.leading(grant.is_open());
            }
            tokio::select! {
                () = tokio::time::sleep_until(next.into()) => {}
                () = stop.cancelled() => break,
            }
        }
        grant.end();
        self.metrics.leading(false);
        let released = tokio::time::timeout(usable / 2, self.release()).await;
        match released {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                warn!(error = %said(&error), "the Lease was not released; another replica waits until it has expired")
            }
            Err(_) => warn!(
                "the Lease was not released in time; another replica waits until it has expired"
            ),
        }
        Ok(())
    }

    /// One look, and what follows from it.
    async fn attempt(&mut self) -> Result<Attempt, Failure> {
        // A renewal needs no look: the version says whether anybody wrote meanwhile.
        if self.candidate.term.is_some()
            && let Some(known) = self.lease.take()
            && let Some(sent) = self.write(known, false).await?
        {
            return Ok(Attempt::Held(sent));
        }
        let lease = self.api.get_opt(LEASE).await?;
        let spec = lease.as_ref().and_then(|lease| lease.spec.as_ref());
        let blank = LeaseSpec::default();
        let spec = lease.as_ref().map(|_| spec.unwrap_or(&blank));
        let written = match self.candidate.decide(spec, Instant::now()) {
            Action::Create => self.create().await?,
            Action::Take => self.write(lease.unwrap_or_default(), true).await?,
            Action::Renew => self.write(lease.unwrap_or_default(), false).await?,
            Action::Lost { holder } => return Err(Failure::Lost(holder)),
            Action::Wait { holder, until } => {
                if self.leader.as_ref() != Some(&holder) {
                    info!(leader = %holder, "standing by");
                    self.leader = Some(holder);
                }
                return Ok(Attempt::Waiting(until));
            }
        };
        // Somebody else was faster; the next look tells who.
        Ok(written.map_or_else(|| Attempt::Waiting(Instant::now()), Attempt::Held))
    }

    async fn create(&mut self) -> Result<Option<Instant>, kube::Error> {
        let sent = Instant::now();
        let now = MicroTime(Timestamp::now());
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(LEASE.into()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                lease_transitions: Some(0),
                ..self.spec(now.clone(), Some(now))
            }),
        };
        let answer = self.api.create(&PostParams::default(), &lease).await;
        self.written(answer, sent)
    }

    /// Renews, or takes, the Lease as it was seen; `None`: somebody wrote it meanwhile.
    async fn write(
        &mut self,
        mut lease: Lease,
        take: bool,
    ) -> Result<Option<Instant>, kube::Error> {
        let sent = Instant::now();
        let now = MicroTime(Timestamp::now());
        let before = lease.spec.take().unwrap_or_default();
        let acquired = match take {
            true => Some(now.clone()),
            false => before.acquire_time.clone(),
        };
        let transitions = before.lease_transitions.unwrap_or_default() + i32::from(take);
        lease.spec = Some(LeaseSpec {
            lease_transitions: Some(transitions),
            ..self.spec(now, acquired)
        });
        lease.metadata.managed_fields = None;
        let answer = self
            .api
            .replace(LEASE, &PostParams::default(), &lease)
            .await;
        self.written(answer, sent)
    }

    fn written(
        &mut self,
        answer: Result<Lease, kube::Error>,
        sent: Instant,
    ) -> Result<Option<Instant>, kube::Error> {
        match answer {
            Ok(lease) => {
                let spec = lease.spec.as_ref();
                let term = spec
                    .and_then(|spec| spec.lease_transitions)
                    .unwrap_or_default();
                if self.candidate.term != Some(term) {
                    let before = self.leader.take().unwrap_or_default();
                    info!(leader = %self.settings.identity, term, %before, "leading");
                    self.leader = Some(self.settings.identity.clone());
                }
                self.candidate.term = Some(term);
                self.lease = Some(lease);
                Ok(Some(sent))
            }
            // 404: it was deleted; the next look creates it.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn spec(&self, now: MicroTime, acquired: Option<MicroTime>) -> LeaseSpec {
        let seconds = self.settings.duration.as_secs_f64().ceil();
        LeaseSpec {
            holder_identity: Some(self.settings.identity.clone()),
            // A Lease holds whole seconds; nobody gives more than an hour.
            lease_duration_seconds: Some(seconds.min(3_600.0) as i32),
            acquire_time: acquired,
            renew_time: Some(now),
            ..LeaseSpec::default()
        }
    }

    async fn release(&mut self) -> Result<(), kube::Error> {
        if self.candidate.term.is_none() {
            return Ok(());
        }
        let known = match self.lease.take() {
            Some(lease) => Some(lease),
            None => self.api.get_opt(LEASE).await?,
        };
        let Some(mut lease) = known else {
            return Ok(());
        };
        let ours = |spec: &LeaseSpec| {
            spec.holder_identity.as_ref() == Some(&self.settings.identity)
                && spec.lease_transitions == self.candidate.term
        };
        match lease.spec.as_mut().filter(|spec| ours(spec)) {
            Some(spec) => {
                spec.holder_identity = None;
                spec.renew_time = Some(MicroTime(Timestamp::now()));
            }
            None => return Ok(()),
        }
        lease.metadata.managed_fields = None;
        self.api
            .replace(LEASE, &PostParams::default(), &lease)
            .await?;
        info!("the Lease is released");
        Ok(())
    }

    fn see(&mut self) {
        if std::mem::take(&mut self.blind) {
            info!("the Lease can be read and written again");
        }
    }

    /// The last attempt failed.
    fn blinded(&mut self, grant: &Grant, why: &str) {
        self.candidate.blinded();
        if !std::mem::replace(&mut self.blind, true) {
            warn!(lease = %format!("{}/{LEASE}", self.settings.namespace), leading = grant.is_open(), "the Lease cannot be read or written: {why}");
        }
    }
}

enum Failure {
    Lost(String),
    Kube(kube::Error),
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        Self::Kube(error)
    }
}

/// The API server's own words, with the role that is missing when it is that.
fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 403 => format!(
            "{}; the Role databricks-app-operator-release lets the operator get, create and update Leases in its own namespace",
            status.message
        ),
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => other.to_string(),
    }
}
