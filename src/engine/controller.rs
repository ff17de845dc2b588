//! From a watch to passes: the queue of one kind.
use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, Stream, StreamExt};
use kube::core::DeserializeGuard;
use kube::runtime::Predicate;
use kube::runtime::controller::Action;
use kube::runtime::reflector::{ObjectRef, Store, store::Writer};
use kube::runtime::watcher::Event;
use kube::runtime::{Controller, WatchStreamExt, predicates, reflector, watcher};
use kube::{Resource, ResourceExt};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;
use tokio_util::time::DelayQueue;
use tracing::{error, warn};

use super::index::{Change, Index, Key};
use super::managed::Managed;
use super::reconcile::{Reconciler, name_of};
use super::synced::{Gate, Synced};
use super::watching::{Scope, watch};
use crate::api::label;
use crate::api::names::ObjectName;
use crate::telemetry::Metrics;
use crate::term::Term;

/// Passes of one kind at a time. A semaphore hands out turns in order, so that none starves.
const AT_ONCE: usize = 32;
/// Objects a page of a list. Lists with pages, not streamed ones: servers without WatchList exist.
const PAGE: u32 = 500;
/// The kind whose name the label of a child tells.
const PARENT: &str = "AppOfApps";
/// Wire time until an object whose pass panicked is tried again.
const AFTER_PANIC: Duration = Duration::from_secs(60);

/// Objects of one kind as the watch holds them; an object that cannot be decoded is an `Err` in it.
pub type Objects<K> = Store<DeserializeGuard<K>>;

/// Where the watch of a kind writes to; made before the controllers start, as kinds read each other's objects.
pub struct Cache<K: Managed> {
    pub objects: Objects<K>,
    writer: Writer<DeserializeGuard<K>>,
    gate: Gate,
}

/// Objects of one kind, and whether they are all there.
pub struct Watched<K>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    pub objects: Objects<K>,
    pub synced: Synced,
}

impl<K> Clone for Watched<K>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    fn clone(&self) -> Self {
        Self {
            objects: self.objects.clone(),
            synced: self.synced.clone(),
        }
    }
}

impl<K: Managed> Default for Cache<K> {
    fn default() -> Self {
        let (objects, writer) = reflector::store();
        Self {
            objects,
            writer,
            gate: Gate::default(),
        }
    }
}

impl<K: Managed> Cache<K> {
    /// For kinds that read these objects.
    pub fn watched(&self) -> Watched<K> {
        Watched {
            objects: self.objects.clone(),
            synced: self.gate.synced(),
        }
    }
}

/// The decoded object of that name, if there is one.
pub fn find<K>(objects: &Objects<K>, name: &ObjectName) -> Option<Arc<DeserializeGuard<K>>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    objects
        .get(&ObjectRef::new(&name.name).within(&name.namespace))
        .filter(|found| found.0.is_ok())
}

/// What a controller runs with, of whichever kind.
pub struct Settings {
    /// Lists and watches.
    pub watching: kube::Client,
    pub scope: Scope,
    pub index: Arc<Index>,
    pub metrics: Metrics,
    /// Wire time.
    pub gather: Duration,
    pub term: Term,
    pub shutdown: CancellationToken,
}

struct Context<K: Managed> {
    reconciler: Reconciler<K>,
    turns: Semaphore,
    metrics: Metrics,
    objects: Objects<K>,
    term: Term,
    shutdown: CancellationToken,
}

/// Watches a kind, and makes passes while `term` is held, until `shutdown`; then passes under way finish and queued ones
/// don't start. What wakes an object within `gather` of wire time becomes one pass; its own changes don't wait.
pub async fn run<K: Managed>(cache: Cache<K>, reconciler: Reconciler<K>, settings: Settings) {
    let Settings {
        watching,
        scope,
        index,
        metrics,
        gather,
        term,
        shutdown,
    } = settings;
    metrics.known(K::KIND);
    let queue = index.queue(K::KIND);
    let config = watcher::Config::default().page_size(PAGE);
    let store = (cache.objects.clone(), cache.writer);
    let events = watch(watching, &scope, config, trim, store, &cache.gate);
    let mut indexer = Indexer::<K>::new(index, cache.gate);
    let events = events
        .inspect(move |event| {
            if let Ok(event) = event {
                indexer.note(event);
            }
        })
        .applied_objects()
        .predicate_filter(
            predicates::generation
                .combine(predicates::labels)
                .combine(predicates::annotations)
                .combine(predicates::finalizers)
                .combine(unseen::<K>),
            Default::default(),
        );
    let wakes = gathered(queue, gather);
    let context = Arc::new(Context {
        reconciler,
        turns: Semaphore::new(AT_ONCE),
        metrics,
        objects: cache.objects.clone(),
        term,
        shutdown: shutdown.clone(),
    });
    let stop = shutdown.clone();
    Controller::for_stream(events, cache.objects)
        .reconcile_on(wakes)
        .graceful_shutdown_on(async move { stop.cancelled().await })
        .run(pass::<K>, |_, never, _| match *never {}, context)
        // A wake-up of an object that is gone is no news.
        .for_each(|_| std::future::ready(()))
        .await;
    if !shutdown.is_cancelled() {
        error!(kind = K::KIND, "the controller ended by itself; stopping");
        shutdown.cancel();
    }
}

/// The names of a queue, each so long after it came first as `within` says: what comes meanwhile is the same wake-up. A
/// debounce would start anew with each of them, and a parent whose children keep moving would never be looked at.
fn gathered<K>(
    queue: UnboundedReceiver<ObjectName>,
    within: Duration,
) -> impl Stream<Item = ObjectRef<K>> + Send
where
    K: Resource<DynamicType = ()>,
{
    let state = (queue, DelayQueue::new(), HashSet::new());
    futures::stream::unfold(state, move |(mut queue, mut due, mut waiting)| async move {
        loop {
            let name = tokio::select! {
                biased;
                Some(expired) = due.next(), if !due.is_empty() => {
                    let name: ObjectName = expired.into_inner();
                    waiting.remove(&name);
                    name
                }
                name = queue.recv() => {
                    let name = name?;
                    if !within.is_zero() {
                        if waiting.insert(name.clone()) {
                            due.insert(name, within);
                        }
                        continue;
                    }
                    name
                }
            };
            let object = ObjectRef::new(&name.name).within(&name.namespace);
            return Some((object, (queue, due, waiting)));
        }
    })
}

/// Changes when somebody takes the status away.
fn unseen<K: Managed>(guarded: &DeserializeGuard<K>) -> Option<u64> {
    let status = guarded.0.as_ref().ok()?.status()?;
    Some(u64::from(status.observed_generation < 0))
}

/// One pass once its turn has come. What it waited for may take hours, in a standby, so it reads the object anew.
async fn pass<K: Managed>(
    woken: Arc<DeserializeGuard<K>>,
    context: Arc<Context<K>>,
) -> Result<Action, Infallible> {
    let name = name_of(woken.as_ref());
    drop(woken);
    let turn = async {
        context.term.held().await;
        let _queued = context.metrics.queued(K::KIND);
        context.turns.acquire().await
    };
    let _turn = tokio::select! {
        biased;
        () = context.shutdown.cancelled() => return Ok(Action::await_change()),
        turn = turn => turn,
    };
    let object = ObjectRef::new(&name.name).within(&name.namespace);
    let Some(guarded) = context.objects.get(&object) else {
        return Ok(Action::await_change());
    };
    let object = match &guarded.0 {
        Ok(object) => object,
        Err(invalid) => {
            warn!(kind = K::KIND, object = %name, error = %invalid.error, "an object cannot be decoded and is left alone");
            context.metrics.object_undecodable(K::KIND);
            return Ok(Action::await_change());
        }
    };
    let _running = context.metrics.running(K::KIND);
    // On the heap, so that those who wait are small: in a standby that is every object.
    let pass = Box::pin(AssertUnwindSafe(context.reconciler.pass(object)).catch_unwind());
    Ok(match pass.await {
        Ok(Some(next)) => Action::requeue(next),
        Ok(None) => Action::await_change(),
        Err(_) => {
            error!(kind = K::KIND, object = %name, "a pass panicked");
            context.metrics.panicked(K::KIND);
            Action::requeue(AFTER_PANIC)
        }
    })
}

/// Nobody reads who set which field, and it is the largest part of an object.
fn trim<K: Managed>(object: &mut DeserializeGuard<K>) {
    match &mut object.0 {
        Ok(object) => object.meta_mut().managed_fields = None,
        Err(invalid) => invalid.metadata.managed_fields = None,
    }
}

/// What of an object is more than status, and who owns it.
#[derive(Clone, PartialEq)]
struct Meaning {
    generation: Option<i64>,
    uid: Option<String>,
    /// Of labels and annotations.
    marks: u64,
    deleting: bool,
    owners: Vec<(String, ObjectName)>,
}

/// Keeps the index true to the watch.
struct Indexer<K> {
    index: Arc<Index>,
    /// What an object's spec, labels, annotations and life were when last seen.
    meaning: HashMap<Key, Meaning>,
    /// A list under way; what it lacks is gone.
    listing: Option<HashMap<Key, Change>>,
    gate: Gate,
    kind: std::marker::PhantomData<fn() -> K>,
}

impl<K: Managed> Indexer<K> {
    fn new(index: Arc<Index>, gate: Gate) -> Self {
        Self {
            index,
            gate,
            meaning: HashMap::new(),
            listing: None,
            kind: std::marker::PhantomData,
        }
    }

    fn note(&mut self, event: &Event<DeserializeGuard<K>>) {
        match event {
            Event::Init => self.listing = Some(HashMap::new()),
            Event::InitApply(object) => {
                let (key, change) = self.apply(object);
                if let Some(listing) = &mut self.listing {
                    listing.insert(key, change);
                }
            }
            Event::InitDone => {
                let listed = self.listing.take().unwrap_or_default();
                for key in self.index.known(K::KIND) {
                    if !listed.contains_key(&key) {
                        self.delete(&key);
                    }
                }
                // Only now the store shows the list: who was woken before may have read what was there.
                for (key, change) in &listed {
                    self.index.changed(key, *change);
                    if let Some(meaning) = self.meaning.get(key) {
                        self.wake_owners(meaning);
                    }
                }
                self.gate.open();
            }
            Event::Apply(object) => drop(self.apply(object)),
            Event::Delete(object) => self.delete(&Key::new(K::KIND, name_of(object))),
        }
    }

    fn apply(&mut self, object: &DeserializeGuard<K>) -> (Key, Change) {
        let key = Key::new(K::KIND, name_of(object));
        let meta = object.meta();
        let owners = meta.owner_references.iter().flatten();
        let namespace = meta.namespace.clone().unwrap_or_default();
        let meaning = Meaning {
            generation: meta.generation,
            uid: meta.uid.clone(),
            marks: marks_of(object),
            deleting: meta.deletion_timestamp.is_some(),
            owners: owners
                .map(|o| (o.kind.clone(), ObjectName::new(&namespace, &o.name)))
                // An object that is handed over to a parent belongs to nobody yet.
                .chain(
                    object
                        .labels()
                        .get(label::PARENT)
                        .map(|parent| (PARENT.to_owned(), ObjectName::new(&namespace, parent))),
                )
                .collect(),
        };
        let before = self.meaning.insert(key.clone(), meaning.clone());
        let change = if before.as_ref() == Some(&meaning) {
            Change::StatusOnly
        } else {
            Change::Spec
        };
        let refs = object.0.as_ref().map(K::refs).unwrap_or_default();
        self.index.saw(&key, refs, change);
        self.wake_owners(&meaning);
        if let Some(before) = before.filter(|b| b.owners != meaning.owners) {
            self.wake_owners(&before);
        }
        (key, change)
    }

    fn delete(&mut self, key: &Key) {
        self.index.lost(key);
        if let Some(meaning) = self.meaning.remove(key) {
            self.wake_owners(&meaning);
        }
    }

    fn wake_owners(&self, meaning: &Meaning) {
        for (kind, name) in &meaning.owners {
            self.index.wake_owner(kind, name);
        }
    }
}

fn marks_of<K: Managed>(object: &DeserializeGuard<K>) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hash = DefaultHasher::new();
    object.labels().hash(&mut hash);
    object.annotations().hash(&mut hash);
    hash.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::api::workspace::DatabricksWorkspace;

    #[tokio::test]
    async fn an_object_that_is_woken_again_and_again_is_looked_at_all_the_same() {
        let (sender, queue) = tokio::sync::mpsc::unbounded_channel();
        let wakes = gathered::<DatabricksWorkspace>(queue, Duration::from_millis(50));
        let mut wakes = std::pin::pin!(wakes);
        let mut pace = tokio::time::interval(Duration::from_millis(5));
        let looked_at = async {
            loop {
                tokio::select! {
                    found = wakes.next() => return found.unwrap(),
                    _ = pace.tick() => sender.send(ObjectName::new("n", "a")).unwrap(),
                }
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(10), looked_at).await;
        assert_eq!(found.unwrap(), ObjectRef::new("a").within("n"));
    }
}
