//! One watch for all namespaces, or one for each that is listed, and one store that they fill.
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use kube::runtime::reflector::{Store, store::Writer};
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{Config, DefaultBackoff, Error, Event};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tracing::warn;

use super::store::words;
use super::synced::Gate;

/// Longest wire time between two attempts at a watch, in which the API server's return may be missed.
const LONGEST: Duration = Duration::from_secs(10);

/// kube's own pauses between attempts at a watch, but none that is long.
#[derive(Default)]
pub struct Patience(DefaultBackoff);

impl Iterator for Patience {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        // Replicas and watches are kept from asking all at once.
        let longest = LONGEST.mul_f64(0.5 + rand::random::<f64>() / 2.0);
        self.0.next().map(|pause| pause.min(longest))
    }
}

impl Backoff for Patience {
    fn reset(&mut self) {
        self.0.reset();
    }
}

/// Which namespaces the operator watches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    #[default]
    All,
    /// At least one, each once.
    Namespaces(Vec<String>),
}

impl Scope {
    /// The namespaces, if not all are watched.
    pub fn namespaces(&self) -> Option<&[String]> {
        match self {
            Self::All => None,
            Self::Namespaces(names) => Some(names),
        }
    }
}

/// Watches the objects of `scope` for ever and fills `writer`, whose readers are `reader`. Each watch has its own backoff;
/// what fails is logged, and told by `gate` as long as there was no complete list.
pub fn watch<K>(
    client: Client,
    scope: &Scope,
    config: Config,
    trim: fn(&mut K),
    (reader, writer): (Store<K>, Writer<K>),
    gate: &Gate,
) -> impl Stream<Item = Result<Event<K>, Error>> + Send + use<K>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let one = |api: Api<K>| {
        watcher(api, config.clone())
            .backoff(Patience::default())
            .modify(trim)
    };
    let events: BoxStream<'static, _> = match scope {
        Scope::All => one(Api::all(client)).boxed(),
        Scope::Namespaces(names) => {
            let watches = names.iter().map(|name| {
                let (own, events) = (name.clone(), one(Api::namespaced(client.clone(), name)));
                events.map(move |event| (own.clone(), event)).boxed()
            });
            merged(stream::select_all(watches), names.len(), reader).boxed()
        }
    };
    let failing = gate.failing();
    let kind = K::kind(&());
    events.reflect(writer).inspect(move |event| {
        if let Err(error) = event {
            let problem = said(error);
            warn!(%kind, %problem, "watching");
            failing.fails(format!("watching {kind}: {problem}"));
        }
    })
}

/// The API server's words, with what a missing right takes.
pub fn said(error: &Error) -> String {
    match error {
        Error::InitialListFailed(error)
        | Error::WatchStartFailed(error)
        | Error::WatchFailed(error) => words(error),
        other => other.to_string(),
    }
}

fn merged<K>(
    events: impl Stream<Item = (String, Result<Event<K>, Error>)> + Send,
    watches: usize,
    reader: Store<K>,
) -> impl Stream<Item = Result<Event<K>, Error>> + Send
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    let mut merger = Merger::new(watches);
    events.flat_map(move |(namespace, event)| {
        let events = match event {
            Ok(event) => {
                let known = || reader.state();
                let events = merger.take(&namespace, event, known);
                events.into_iter().map(Ok).collect()
            }
            Err(error) => vec![Err(error)],
        };
        stream::iter(events)
    })
}

/// Makes one watch of many. A store replaces all that it holds by each list, so only the first lists, once all are
/// complete, are passed on as one; a later list of one namespace becomes the changes that it amounts to.
struct Merger<K> {
    /// How many have not completed their first list.
    missing: usize,
    complete: HashSet<String>,
    /// What is to come with the first list of all.
    first: BTreeMap<(String, String), K>,
    /// Lists under way.
    listing: BTreeMap<String, Vec<K>>,
}

impl<K: ResourceExt + Clone> Merger<K> {
    fn new(watches: usize) -> Self {
        Self {
            missing: watches,
            complete: HashSet::new(),
            first: BTreeMap::new(),
            listing: BTreeMap::new(),
        }
    }

    fn take<O>(
        &mut self,
        namespace: &str,
        event: Event<K>,
        known: impl FnOnce() -> Vec<O>,
    ) -> Vec<Event<K>>
    where
        O: AsRef<K>,
    {
        let key = |object: &K| (namespace.to_owned(), object.name_any());
        match event {
            Event::Init => drop(self.listing.insert(namespace.to_owned(), Vec::new())),
            Event::InitApply(object) => {
                let listing = self.listing.entry(namespace.to_owned());
                listing.or_default().push(object);
            }
            Event::InitDone => {
                let listed = self.listing.remove(namespace).unwrap_or_default();
                if self.missing > 0 {
                    self.first.retain(|(home, _), _| home != namespace);
                    self.first
                        .extend(listed.into_iter().map(|object| (key(&object), object)));
                    if self.complete.insert(namespace.to_owned()) {
                        self.missing -= 1;
                    }
                    return self.begun();
                }
                let names: HashSet<String> = listed.iter().map(ResourceExt::name_any).collect();
                let known = known();
                let gone = known.iter().map(AsRef::as_ref).filter(|object| {
                    object.namespace().as_deref() == Some(namespace)
                        && !names.contains(&object.name_any())
                });
                let gone: Vec<_> = gone.cloned().map(Event::Delete).collect();
                let there = listed.into_iter().map(Event::Apply);
                return gone.into_iter().chain(there).collect();
            }
            Event::Apply(object) if self.missing > 0 => {
                self.first.insert(key(&object), object);
            }
            Event::Delete(object) if self.missing > 0 => drop(self.first.remove(&key(&object))),
            change => return vec![change],
        }
        Vec::new()
    }

    /// The first list of all, once it is complete.
    fn begun(&mut self) -> Vec<Event<K>> {
        if self.missing > 0 {
            return Vec::new();
        }
        let first = std::mem::take(&mut self.first).into_values();
        let first = first.map(Event::InitApply);
        [Event::Init]
            .into_iter()
            .chain(first)
            .chain([Event::InitDone])
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::runtime::reflector;

    use super::*;

    fn map(namespace: &str, name: &str) -> ConfigMap {
        let mut map = ConfigMap::default();
        map.metadata.namespace = Some(namespace.into());
        map.metadata.name = Some(name.into());
        map
    }

    struct Scene {
        merger: Merger<ConfigMap>,
        reader: Store<ConfigMap>,
        writer: Writer<ConfigMap>,
    }

    impl Scene {
        fn of(watches: usize) -> Self {
            let (reader, writer) = reflector::store();
            Self {
                merger: Merger::new(watches),
                reader,
                writer,
            }
        }

        /// What is passed on, and is in the store then.
        fn take(&mut self, namespace: &str, event: Event<ConfigMap>) -> Vec<String> {
            let reader = self.reader.clone();
            let events = self.merger.take(namespace, event, || reader.state());
            for event in &events {
                self.writer.apply_watcher_event(event);
            }
            let said = |event: Event<ConfigMap>| match event {
                Event::Init => "init".to_owned(),
                Event::InitDone => "done".to_owned(),
                Event::InitApply(map) | Event::Apply(map) => format!("+{}", map.name_any()),
                Event::Delete(map) => format!("-{}", map.name_any()),
            };
            events.into_iter().map(said).collect()
        }

        fn list(&mut self, namespace: &str, names: &[&str]) -> Vec<String> {
            let mut said = self.take(namespace, Event::Init);
            for name in names {
                said.extend(self.take(namespace, Event::InitApply(map(namespace, name))));
            }
            said.extend(self.take(namespace, Event::InitDone));
            said
        }

        fn held(&self) -> Vec<String> {
            let held = self.reader.state();
            let name =
                |map: Arc<ConfigMap>| format!("{}/{}", map.namespace().unwrap(), map.name_any());
            let mut held: Vec<String> = held.into_iter().map(name).collect();
            held.sort();
            held
        }
    }

    #[test]
    fn the_first_lists_are_shown_together_once_all_are_complete() {
        let mut scene = Scene::of(2);
        assert!(scene.list("one", &["a", "b"]).is_empty());
        assert!(scene.take("one", Event::Delete(map("one", "b"))).is_empty());
        assert!(scene.take("one", Event::Apply(map("one", "c"))).is_empty());
        // A list that is made anew meanwhile counts once.
        assert!(scene.list("one", &["c", "d"]).is_empty());
        assert_eq!(
            scene.list("two", &["a"]),
            ["init", "+c", "+d", "+a", "done"]
        );
        assert_eq!(scene.held(), ["one/c", "one/d", "two/a"]);
    }

    #[test]
    fn a_later_list_of_one_namespace_touches_no_other() {
        let mut scene = Scene::of(2);
        scene.list("one", &["a", "b"]);
        scene.list("two", &["a"]);
        assert_eq!(scene.list("one", &["b", "c"]), ["-a", "+b", "+c"]);
        assert_eq!(scene.held(), ["one/b", "one/c", "two/a"]);
        assert_eq!(scene.take("two", Event::Delete(map("two", "a"))), ["-a"]);
        assert_eq!(scene.held(), ["one/b", "one/c"]);
    }
}
