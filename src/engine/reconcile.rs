//! One pass over one object: look, decide, do, say. The only place where these four meet.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::ResourceExt;
use tracing::{info, warn};

use super::fold::{self, Hold};
use super::managed::{Inputs, Managed, Outcome, Trouble};
use super::plan::{Fate, Plan, Wish};
use super::store::Store;
use crate::api::status::{Reason, Status};
use crate::api::{FINALIZER, annotation};
use crate::telemetry::metrics::PassResult;
use crate::telemetry::{Clock, Metrics};

/// First pause after a failure, in service time; doubled each time.
const BACKOFF_FIRST: Duration = Duration::from_secs(5);
/// Longest pause after failures, in service time.
const BACKOFF_LAST: Duration = Duration::from_secs(600);

/// What the loop remembers of one object between passes.
struct Known<K: Managed> {
    status: Status<K::Memory, K::Details>,
    version: Option<String>,
    failures: u32,
}

impl<K: Managed> Clone for Known<K> {
    fn clone(&self) -> Self {
        Self {
            status: self.status.clone(),
            version: self.version.clone(),
            failures: self.failures,
        }
    }
}

/// Everything that passes over objects of one kind share.
pub struct Reconciler<K: Managed> {
    pub hub: Arc<K::Hub>,
    store: Store<K>,
    clock: Clock,
    metrics: Metrics,
    /// By uid.
    known: Mutex<HashMap<String, Known<K>>>,
}

impl<K: Managed> Reconciler<K> {
    pub fn new(client: kube::Client, hub: Arc<K::Hub>, clock: Clock, metrics: Metrics) -> Self {
        Self {
            hub,
            store: Store::new(client),
            clock,
            metrics,
            known: Mutex::default(),
        }
    }

    /// One pass. Returns the wire time until the next one, if no event comes before; `None` waits for an event.
    pub async fn pass(&self, object: &K) -> Option<Duration> {
        let began = Instant::now();
        let uid = object.uid().unwrap_or_default();
        let result = self.try_pass(object, &uid).await;
        let (next, outcome) = match result {
            Ok(next) => next,
            Err(trouble) => {
                warn!(kind = %K::kind(&()), object = %object.name_any(), namespace = object.namespace(), "{}", trouble.message);
                (Some(self.backoff(&uid)), PassResult::Retrying)
            }
        };
        self.metrics.pass(K::KIND_LABEL, outcome, began.elapsed());
        next.map(|service| self.clock.wire(service))
    }

    /// Service time until the next pass, or an error of the API server.
    async fn try_pass(
        &self,
        object: &K,
        uid: &str,
    ) -> Result<(Option<Duration>, PassResult), Trouble> {
        let deleting = object.meta().deletion_timestamp.is_some();
        if deleting && !object.finalizers().iter().any(|f| f == FINALIZER) {
            self.forget(uid);
            return Ok((None, PassResult::Settled));
        }
        let mut known = match self.remembered(uid) {
            Some(known) => known,
            // What an earlier process wrote last may not have reached our cache yet.
            None => match self.store.live(object).await? {
                None => return Ok((None, PassResult::Settled)),
                Some(live) => Known {
                    status: live.status().cloned().unwrap_or_else(unseen),
                    version: live.resource_version(),
                    failures: 0,
                },
            },
        };
        let wish = if deleting { Wish::Deleting } else { Wish::Live };
        let at = self.clock.now();
        let hold = hold(object).filter(|_| !deleting);
        let mut plan = Plan::default();
        let (mut seen, mut done, mut trouble) = (None, Vec::new(), None);
        match object.open(&self.hub, wish).await {
            Err(e) => trouble = Some(e),
            Ok(world) => match object.observe(&known.status.memory, &world, wish).await {
                Err(e) => trouble = Some(e),
                Ok(observed) => {
                    plan = object.plan(&Inputs {
                        seen: &observed,
                        memory: &known.status.memory,
                        at,
                        scale: self.clock.scale(),
                        wish,
                    });
                    seen = Some(observed);
                    if hold.is_none() {
                        if !deleting && !object.finalizers().iter().any(|f| f == FINALIZER) {
                            known.version =
                                self.store.add_finalizer(object).await?.resource_version();
                        }
                        for step in &plan.steps {
                            if let Some(memory) = object.ahead(step, &known.status.memory, at) {
                                known.status.memory = memory;
                                self.write(object, &mut known).await?;
                                self.remember(uid, &known);
                            }
                            info!(kind = %K::kind(&()), object = %object.name_any(), namespace = object.namespace(), %step, "acting");
                            match object.act(step, &world).await {
                                Ok(effect) => {
                                    self.metrics.write(K::KIND_LABEL, K::verb(step));
                                    done.push((step.clone(), effect));
                                }
                                // The other lanes go on: a refused setting must not keep a grant from being repaired.
                                Err(e) => trouble = Some(e),
                            }
                        }
                    }
                }
            },
        }
        if deleting && trouble.is_none() && plan.is_settled() && seen.is_some() {
            self.store.remove_finalizer(object).await?;
            self.forget(uid);
            return Ok((None, PassResult::Settled));
        }
        let report = object.report(&Outcome {
            memory: &known.status.memory,
            details: &known.status.details,
            seen: seen.as_ref(),
            plan: &plan,
            done: &done,
            trouble: trouble.as_ref(),
            at,
            wish,
            first: known.status.observed_generation < 0,
        });
        let generation = object.meta().generation.unwrap_or_default();
        let status = Status {
            observed_generation: generation,
            conditions: fold::conditions(
                &known.status.conditions,
                &report.verdict,
                hold.as_ref(),
                &report.aspects,
                generation,
                at,
            ),
            memory: report.memory,
            details: report.details,
        };
        let changed = status != known.status || object.status().is_none();
        known.status = status;
        if changed {
            self.write(object, &mut known).await?;
        }
        let (next, result) = self.next(
            &plan,
            trouble.as_ref(),
            &mut known,
            !done.is_empty(),
            hold.is_some(),
        );
        self.remember(uid, &known);
        Ok((next, result))
    }

    fn next(
        &self,
        plan: &Plan<K::Step>,
        trouble: Option<&Trouble>,
        known: &mut Known<K>,
        acted: bool,
        held: bool,
    ) -> (Option<Duration>, PassResult) {
        if let Some(trouble) = trouble {
            return match trouble.fate {
                Fate::Retry => {
                    known.failures = known.failures.saturating_add(1);
                    (Some(pause(known.failures)), PassResult::Retrying)
                }
                Fate::After(service) => (Some(service), PassResult::Retrying),
                Fate::Stalled { recheck } => (recheck, PassResult::Stalled),
            };
        }
        known.failures = 0;
        if held {
            return (None, PassResult::Suspended);
        }
        if acted {
            // What became legal by our own writes is planned at once.
            return (Some(Duration::ZERO), PassResult::Stepped);
        }
        if let Some(wait) = &plan.wait {
            return (Some(wait.poll), PassResult::Waiting);
        }
        let recheck = plan.refusals.iter().find_map(|r| match r.fate {
            Fate::Stalled { recheck } => recheck,
            Fate::After(service) => Some(service),
            Fate::Retry => Some(BACKOFF_FIRST),
        });
        let result = if plan.refusals.is_empty() {
            PassResult::Settled
        } else {
            PassResult::Stalled
        };
        let wake = plan.wake_at.map(|at| self.clock.age(self.clock.now(), at));
        (wake.or(recheck), result)
    }

    /// The one status writer; also what is written ahead goes through it.
    async fn write(&self, object: &K, known: &mut Known<K>) -> Result<(), Trouble> {
        let written = self
            .store
            .write_status(object, known.version.as_deref(), &known.status)
            .await?;
        self.metrics.status_patch(K::KIND_LABEL);
        known.version = written.resource_version();
        Ok(())
    }

    fn backoff(&self, uid: &str) -> Duration {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get_mut(uid) {
            Some(known) => {
                known.failures = known.failures.saturating_add(1);
                pause(known.failures)
            }
            None => BACKOFF_FIRST,
        }
    }

    fn remembered(&self, uid: &str) -> Option<Known<K>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(uid).cloned()
    }

    fn remember(&self, uid: &str, state: &Known<K>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(uid.to_owned(), state.clone());
    }

    /// Lets go of an object that is gone.
    pub fn forget(&self, uid: &str) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(uid);
    }
}

fn unseen<M: Default, D: Default>() -> Status<M, D> {
    Status {
        observed_generation: -1,
        conditions: Vec::new(),
        memory: M::default(),
        details: D::default(),
    }
}

/// Why nothing may be written now. Neither holds up a deletion.
fn hold<K: Managed>(object: &K) -> Option<Hold> {
    let paused = object.annotations().get(annotation::PAUSED);
    if paused.is_some_and(|p| p == "true") {
        return Some(Hold {
            reason: Reason::Paused,
            message: format!(
                "held by the annotation {}; remove it to go on",
                annotation::PAUSED
            ),
        });
    }
    object.suspended().then(|| Hold {
        reason: Reason::SuspendedBySpec,
        message: "held by spec.suspend; set it to false to go on".into(),
    })
}

/// Doubles with each failure, with jitter that only lengthens, by at most a tenth.
fn pause(failures: u32) -> Duration {
    let doubled = BACKOFF_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(10));
    doubled
        .min(BACKOFF_LAST)
        .mul_f64(1.0 + rand::random::<f64>() / 10.0)
}
