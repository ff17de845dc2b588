//! One pass over one object: look, decide, do, say. The only place where these four meet.
mod say;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::ResourceExt;
use tracing::{Instrument, info, warn};

use super::events::{Events, Note};
use super::fold::Hold;
use super::grace::Grace;
use super::managed::{Acted, Inputs, Managed, Step, Trouble};
use super::plan::{Fate, Plan, Wish};
use super::store::{Store, definition, newer};
use crate::api::FINALIZER;
use crate::api::annotation::{self, Idle};
use crate::api::management::Mode;
use crate::api::names::ObjectName;
use crate::api::status::{Reason, Status};
use crate::telemetry::metrics::{PassResult, Total};
use crate::telemetry::{Clock, Metrics, traces};

/// First pause after a failure, in service time; doubled each time.
const BACKOFF_FIRST: Duration = Duration::from_secs(5);
/// Shortest pause before something that is due, in service time.
const MOMENT: Duration = Duration::from_secs(1);
/// Longest pause after failures, in service time.
const BACKOFF_LAST: Duration = Duration::from_secs(600);

/// What the loop remembers of one object between passes.
struct Known<K: Managed> {
    status: Status<K::Memory, K::Details>,
    /// Resource version of our own last write.
    version: Option<String>,
    /// Our finalizer as of that write.
    finalizer: bool,
    failures: u32,
    grace: Grace,
    /// When the status was last written.
    said: Option<Instant>,
    /// Annotations that say nothing, as an event told them last.
    idle: Vec<Idle>,
}

impl<K: Managed> Clone for Known<K> {
    fn clone(&self) -> Self {
        Self {
            status: self.status.clone(),
            version: self.version.clone(),
            finalizer: self.finalizer,
            failures: self.failures,
            grace: self.grace.clone(),
            said: self.said,
            idle: self.idle.clone(),
        }
    }
}

/// What one pass came to.
struct Pass<K: Managed> {
    seen: Option<K::Observed>,
    plan: Plan<K::Step>,
    done: Vec<(K::Step, K::Effect)>,
    trouble: Option<Trouble>,
    /// Why nothing was written.
    hold: Option<Hold>,
}

/// Everything that passes over objects of one kind share.
pub struct Reconciler<K: Managed> {
    hub: Arc<K::Hub>,
    store: Store<K>,
    clock: Clock,
    metrics: Metrics,
    events: Events,
    /// By uid.
    known: Mutex<HashMap<String, Known<K>>>,
    /// What each object adds to the totals, by uid.
    totals: Mutex<HashMap<String, Vec<(Total, i64)>>>,
}

impl<K: Managed> Reconciler<K> {
    pub fn new(
        client: kube::Client,
        hub: Arc<K::Hub>,
        clock: Clock,
        metrics: Metrics,
        events: Events,
    ) -> Self {
        Self {
            hub,
            store: Store::new(client),
            clock,
            metrics,
            events,
            known: Mutex::default(),
            totals: Mutex::default(),
        }
    }

    /// One pass. Returns the wire time until the next one; `None`: when something wakes the object.
    pub async fn pass(&self, object: &K) -> Option<Duration> {
        let began = Instant::now();
        let uid = object.uid().unwrap_or_default();
        let span = traces::pass(K::KIND, &name_of(object), object.meta().generation);
        let (next, result) = match self.try_pass(object, &uid).instrument(span.clone()).await {
            Ok(outcome) => outcome,
            Err(trouble) => {
                warn!(kind = K::KIND, object = %name_of(object), "{}", trouble.message);
                (Some(self.backoff(&uid)), PassResult::Retrying)
            }
        };
        traces::passed(&span, &result);
        self.metrics.pass(K::KIND, result, began.elapsed());
        next.map(|service| self.clock.wire(service))
    }

    /// Service time until the next pass, or an error of the API server.
    async fn try_pass(
        &self,
        object: &K,
        uid: &str,
    ) -> Result<(Option<Duration>, PassResult), Trouble> {
        let gone = Ok((None, PassResult::Settled));
        let deleting = object.meta().deletion_timestamp.is_some();
        let Some(mut known) = self.known(object, uid).await? else {
            return gone;
        };
        let holds_finalizer = if newer(
            known.version.as_deref(),
            object.resource_version().as_deref(),
        ) {
            known.finalizer
        } else {
            object.finalizers().iter().any(|f| f == FINALIZER)
        };
        if deleting && (!holds_finalizer || self.given_up(object).await) {
            if holds_finalizer {
                self.store.remove_finalizer(object).await?;
            }
            self.forget(uid);
            return gone;
        }
        let read_only = object.mode() != Mode::Manage;
        let hands_off = read_only && !K::OWNS;
        if deleting && (hands_off || object.lets_go(&known.status.memory)) {
            self.store.remove_finalizer(object).await?;
            self.forget(uid);
            return gone;
        }
        let hold = hold(object).filter(|_| !deleting);
        if hands_off && holds_finalizer && !deleting {
            let removed = self.store.remove_finalizer(object).await?;
            known.version = removed.or(known.version);
            known.finalizer = false;
            self.remember(uid, &known);
        }
        let understood = misread(object).is_none();
        if !deleting && !holds_finalizer && hold.is_none() && understood && !read_only {
            known.version = self.store.add_finalizer(object).await?.resource_version();
            known.finalizer = true;
            self.remember(uid, &known);
        }
        let wish = if deleting { Wish::Deleting } else { Wish::Live };
        let at = self.clock.now();
        let pass = self.act(object, uid, &mut known, wish, hold, at).await?;
        if deleting
            && pass.trouble.is_none()
            && pass.seen.is_some()
            && pass.done.is_empty()
            && pass.plan.is_settled()
        {
            let parting = self.report(object, &known, &pass, wish, at);
            self.store.remove_finalizer(object).await?;
            self.forget(uid);
            self.events.publish(object, &parting.notes).await;
            return gone;
        }
        let (next, result) = self.next(&pass, &mut known, at);
        let owed = self.say(object, &mut known, &pass, wish, at).await?;
        self.remember(uid, &known);
        let owed = owed.map(|wire| self.clock.service(wire));
        Ok((soonest(next, owed), result))
    }

    /// Open, observe, plan, act.
    async fn act(
        &self,
        object: &K,
        uid: &str,
        known: &mut Known<K>,
        wish: Wish,
        hold: Option<Hold>,
        at: Timestamp,
    ) -> Result<Pass<K>, Trouble> {
        let mut pass = Pass {
            seen: None,
            plan: Plan::default(),
            done: Vec::new(),
            trouble: None,
            hold,
        };
        // What is held by a word that is understood stays held, and says so.
        if pass.hold.is_none()
            && let Some(trouble) = misread(object)
        {
            return Ok(self.judged(pass, Some(trouble), known));
        }
        let changed = object.meta().generation != Some(known.status.observed_generation);
        let world = match object.open(&self.hub, wish).await {
            Ok(world) => world,
            Err(trouble) => return Ok(self.judged(pass, Some(trouble), known)),
        };
        pass.hold = pass.hold.or_else(|| K::frozen(&world));
        let seen = match object
            .observe(&known.status.memory, &world, wish, changed)
            .await
        {
            Ok(seen) => seen,
            Err(trouble) => return Ok(self.judged(pass, Some(trouble), known)),
        };
        pass.plan = object.plan(&Inputs {
            seen: &seen,
            memory: &known.status.memory,
            at,
            scale: self.clock.scale(),
            wish,
        });
        let mut trouble = None;
        let acts = object.mode() == Mode::Manage || (K::OWNS && wish == Wish::Deleting);
        if wish == Wish::Deleting && acts && self.swept_along(object, &pass.plan).await? {
            pass.plan = Plan::default();
            pass.seen = Some(seen);
            return Ok(self.judged(pass, Some(definition_deleted::<K>()), known));
        }
        if pass.hold.is_none() && acts {
            for steps in pass.plan.steps.chunks(K::AT_ONCE) {
                for step in steps {
                    if let Some(memory) = object.ahead(step, &known.status.memory, at) {
                        known.status.memory = memory;
                        self.write(object, known).await?;
                        self.remember(uid, known);
                    }
                    info!(kind = K::KIND, object = %name_of(object), %step, "acting");
                    if object.needless(step, &seen) {
                        self.metrics.write_without_difference(K::KIND);
                    }
                }
                let answers = steps.iter().map(|step| object.act(step, &world));
                let answers = futures::future::join_all(answers).await;
                for (step, answer) in steps.iter().zip(answers) {
                    self.audit(object, step, &K::identity(&world), &answer);
                    match answer {
                        Ok(Acted { effect, .. }) => {
                            self.metrics.write(K::KIND, step.verb());
                            pass.done.push((step.clone(), effect));
                        }
                        // The other lanes go on: a refused setting must not keep a grant from being repaired.
                        Err(failure) => {
                            let request_id = failure.request_id.as_deref().unwrap_or_default();
                            warn!(kind = K::KIND, object = %name_of(object), %step, reason = %failure.reason, request_id, "{}", failure.message);
                            trouble = Some(failure);
                        }
                    }
                }
            }
        }
        pass.seen = Some(seen);
        Ok(self.judged(pass, trouble, known))
    }

    /// The grace for missing references, over the trouble and the plan's refusals alike.
    fn judged(&self, mut pass: Pass<K>, trouble: Option<Trouble>, known: &mut Known<K>) -> Pass<K> {
        let now = Instant::now();
        let before = &known.status.conditions;
        let mut missing = Vec::new();
        let mut judge = |fate: &mut Fate, reason: Reason| {
            if matches!(fate, Fate::Missing { .. }) {
                missing.push(reason);
            }
            *fate = known.grace.judge(*fate, reason, before, now, self.clock);
        };
        pass.trouble = trouble.map(|mut trouble| {
            judge(&mut trouble.fate, trouble.reason);
            trouble
        });
        for refusal in &mut pass.plan.refusals {
            judge(&mut refusal.fate, refusal.reason);
        }
        known.grace.keep(&missing);
        pass
    }

    fn next(
        &self,
        pass: &Pass<K>,
        known: &mut Known<K>,
        at: Timestamp,
    ) -> (Option<Duration>, PassResult) {
        // Whatever is due is due in a moment at the soonest, or a pass would wake itself for ever.
        let wake = pass.plan.wake_at;
        let wake = wake.map(|due| self.clock.age(self.clock.now(), due).max(MOMENT));
        if let Some(trouble) = &pass.trouble {
            let (next, result) = self.after(trouble.fate, known);
            return (soonest(next, wake), result);
        }
        known.failures = 0;
        if let Some(hold) = &pass.hold {
            let left = hold.until.map(|until| self.clock.age(at, until));
            return (left, PassResult::Suspended);
        }
        if !pass.done.is_empty() {
            // What became legal by our own writes is planned at once.
            return (Some(Duration::ZERO), PassResult::Stepped);
        }
        if let Some(wait) = &pass.plan.wait {
            return (soonest(Some(wait.poll), wake), PassResult::Waiting);
        }
        let Some(refusal) = pass.plan.refusals.first() else {
            return (wake, PassResult::Settled);
        };
        let (recheck, result) = self.after(refusal.fate, known);
        // The first says what is shown; whichever may change first says when.
        let others = pass.plan.refusals[1..]
            .iter()
            .map(|other| match other.fate {
                Fate::Retry => Some(pause(1)),
                Fate::After(service) | Fate::Missing { recheck: service } => Some(service),
                Fate::Stalled { recheck } => recheck,
            });
        (others.fold(soonest(recheck, wake), soonest), result)
    }

    fn after(&self, fate: Fate, known: &mut Known<K>) -> (Option<Duration>, PassResult) {
        match fate {
            Fate::Retry => {
                known.failures = known.failures.saturating_add(1);
                (Some(pause(known.failures)), PassResult::Retrying)
            }
            Fate::After(service) => (Some(service), PassResult::Retrying),
            Fate::Missing { recheck } => (Some(recheck), PassResult::Retrying),
            Fate::Stalled { recheck } => (recheck, PassResult::Stalled),
        }
    }

    /// What is known of the object; `None` if it is gone, or if our cache shows an older one: then the watch wakes it.
    async fn known(&self, object: &K, uid: &str) -> Result<Option<Known<K>>, Trouble> {
        if let Some(known) = self.lock().get(uid) {
            return Ok(Some(known.clone()));
        }
        // What an earlier process wrote last may not have reached our cache yet.
        let live = self.store.live(object).await?;
        let Some(live) = live.filter(|live| same_wish(live, object)) else {
            return Ok(None);
        };
        Ok(Some(Known {
            finalizer: live.finalizers().iter().any(|f| f == FINALIZER),
            version: live.resource_version(),
            status: live.status().cloned().unwrap_or_else(unseen),
            failures: 0,
            grace: Grace::default(),
            said: None,
            idle: Vec::new(),
        }))
    }

    /// Whether the deletion would take something away and is only that of the whole kind, which nobody asked for object by
    /// object.
    async fn swept_along(&self, object: &K, plan: &Plan<K::Step>) -> Result<bool, Trouble> {
        let meant = annotation::is_true(object.annotations(), annotation::DELETE_WITH_DEFINITION);
        let harmless = plan.steps.iter().all(Step::lets_go);
        Ok(!meant && !harmless && self.store.definition_goes().await?)
    }

    /// `force-delete` quotes the object's own uid, so that no template can pin it.
    async fn given_up(&self, object: &K) -> bool {
        let asked = object.annotations().get(annotation::FORCE_DELETE);
        if asked.is_none() || asked != object.uid().as_ref() {
            return false;
        }
        let message =
            "what the object stands for is left as it is, as the annotation force-delete asks";
        warn!(kind = K::KIND, object = %name_of(object), "{message}");
        let note = Note::warning("ForceDeleted", "force-delete", message);
        self.events.publish(object, &[note]).await;
        true
    }

    fn backoff(&self, uid: &str) -> Duration {
        match self.lock().get_mut(uid) {
            Some(known) => {
                known.failures = known.failures.saturating_add(1);
                pause(known.failures)
            }
            None => BACKOFF_FIRST,
        }
    }

    fn remember(&self, uid: &str, state: &Known<K>) {
        self.lock().insert(uid.to_owned(), state.clone());
    }

    /// Lets go of an object that is gone.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
        self.count(uid, Vec::new());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Known<K>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Namespace and name of an object.
pub fn name_of<K: kube::Resource>(object: &K) -> ObjectName {
    let meta = object.meta();
    ObjectName::new(
        meta.namespace.clone().unwrap_or_default(),
        meta.name.clone().unwrap_or_default(),
    )
}

/// Whether both ask for the same. What an earlier process did by a newer wish must not be undone by an older one.
fn same_wish<K: kube::Resource>(live: &K, seen: &K) -> bool {
    live.meta().generation == seen.meta().generation
        && live.annotations() == seen.annotations()
        && live.labels() == seen.labels()
}

fn unseen<M: Default, D: Default>() -> Status<M, D> {
    Status {
        observed_generation: -1,
        conditions: Vec::new(),
        memory: M::default(),
        details: D::default(),
    }
}

/// Why the object itself asks that nothing be written now. Neither reason holds up a deletion.
pub fn hold<K: Managed>(object: &K) -> Option<Hold> {
    let mut hold = if annotation::is_paused(K::KIND, object.annotations()) {
        let message = format!(
            "held by the annotation {}; remove it to go on",
            annotation::PAUSED
        );
        Hold::new(Reason::Paused, message)
    } else if object.suspended() {
        let message = "held by spec.suspend; set it to false to go on";
        Hold::new(Reason::SuspendedBySpec, message)
    } else {
        return None;
    };
    if let Some(trouble) = misread(object) {
        hold.message = format!("{}; {}", hold.message, trouble.message);
    }
    Some(hold)
}

/// What of the object's annotations nobody understands: until that ends nothing is written, as nobody knows what was meant.
/// As with a hold a deletion goes on, unless it is about the deletion itself.
pub fn misread<K: Managed>(object: &K) -> Option<Trouble> {
    let uid = object.meta().uid.as_deref();
    let mut wrong = annotation::misread(K::KIND, object.annotations(), uid);
    if object.meta().deletion_timestamp.is_some() {
        wrong.retain(|misread| misread.key == annotation::FORCE_DELETE);
    }
    let message = format!(
        "{}; until then nothing is written",
        annotation::told(&wrong)?
    );
    let fate = Fate::Stalled { recheck: None };
    Some(Trouble::new(Reason::InvalidSpec, message, fate))
}

/// Kubernetes cannot take the deletion of a definition back, but what its objects stand for need not go with them.
fn definition_deleted<K: Managed>() -> Trouble {
    let message = format!(
        "CustomResourceDefinition {} is being deleted, and every object of it; what this one stands for stays until somebody decides: to keep it, set {}; to have it deleted, set the annotation {}=true",
        definition::<K>(),
        K::ORPHANS,
        annotation::DELETE_WITH_DEFINITION,
    );
    Trouble::new(
        Reason::DefinitionDeleted,
        message,
        Fate::Stalled { recheck: None },
    )
}

fn soonest(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Doubles with each failure, with jitter that only lengthens, by at most a tenth.
fn pause(failures: u32) -> Duration {
    let doubled = BACKOFF_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(10));
    doubled
        .min(BACKOFF_LAST)
        .mul_f64(1.0 + rand::random::<f64>() / 10.0)
}
