//! ConfigMaps that parents take elements from: a watch of those alone that carry the label.
use std::collections::HashMap;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::{Config, Event};
use kube::{Client, ResourceExt};

use crate::api::label;
use crate::api::names::ObjectName;
use crate::engine::index::{Change, Index, Key};
use crate::engine::synced::{Gate, Synced};
use crate::engine::watching::{self, Scope};

/// The kind of a ConfigMap in the index.
pub const CONFIG_MAP: &str = "ConfigMap";
/// ConfigMaps a page of a list; each may hold a megabyte.
const PAGE: u32 = 50;

/// ConfigMaps with the label `appofapps.dev/generator`.
#[derive(Clone)]
pub struct ConfigMaps {
    objects: Store<ConfigMap>,
    pub synced: Synced,
}

impl ConfigMaps {
    /// Those of the namespace, in any order.
    pub fn of(&self, namespace: &str) -> Vec<Arc<ConfigMap>> {
        let mut found = self.objects.state();
        found.retain(|map| map.namespace().as_deref() == Some(namespace));
        found
    }
}

/// The store, and the watch that fills it: one that comes, changes or goes wakes who refers to it, or to all of its
/// namespace.
pub fn watch(
    client: Client,
    scope: &Scope,
    index: Arc<Index>,
) -> (ConfigMaps, impl Future<Output = ()> + Send + 'static) {
    let (objects, writer) = reflector::store();
    let gate = Gate::default();
    let config_maps = ConfigMaps {
        objects: objects.clone(),
        synced: gate.synced(),
    };
    let config = Config::default().labels(label::GENERATOR).page_size(PAGE);
    let events = watching::watch(client, scope, config, trim, (objects, writer), &gate);
    let mut indexer = Indexer::new(index, gate);
    let watching = events.for_each(move |event| {
        if let Ok(event) = &event {
            indexer.note(event);
        }
        std::future::ready(())
    });
    (config_maps, watching)
}

/// What no element is made of; `kubectl apply` writes all data once more into an annotation.
fn trim(map: &mut ConfigMap) {
    map.metadata.managed_fields = None;
    map.metadata.annotations = None;
    map.binary_data = None;
}

/// uid and resourceVersion.
type Version = (Option<String>, Option<String>);

/// Keeps the index true to the watch.
struct Indexer {
    index: Arc<Index>,
    gate: Gate,
    /// As last seen.
    known: HashMap<Key, Version>,
    /// A list under way.
    listing: HashMap<Key, Version>,
}

impl Indexer {
    fn new(index: Arc<Index>, gate: Gate) -> Self {
        Self {
            index,
            gate,
            known: HashMap::new(),
            listing: HashMap::new(),
        }
    }

    fn note(&mut self, event: &Event<ConfigMap>) {
        match event {
            Event::Init => self.listing.clear(),
            // The store shows a list as a whole once it is complete, so nobody is woken before.
            Event::InitApply(map) => drop(self.listing.insert(key(map), version(map))),
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listing);
                let gone = self.known.keys().filter(|key| !listed.contains_key(*key));
                for key in gone.cloned().collect::<Vec<_>>() {
                    self.delete(&key);
                }
                for (key, version) in listed {
                    self.apply(key, version);
                }
                self.gate.open();
            }
            Event::Apply(map) => self.apply(key(map), version(map)),
            Event::Delete(map) => self.delete(&key(map)),
        }
    }

    fn apply(&mut self, key: Key, version: Version) {
        if self.known.get(&key) != Some(&version) {
            self.index.saw(&key, Vec::new(), Change::Spec);
            self.known.insert(key, version);
        }
    }

    fn delete(&mut self, key: &Key) {
        self.known.remove(key);
        self.index.lost(key);
    }
}

fn key(map: &ConfigMap) -> Key {
    let name = ObjectName::new(map.namespace().unwrap_or_default(), map.name_any());
    Key::new(CONFIG_MAP, name)
}

fn version(map: &ConfigMap) -> Version {
    (map.uid(), map.resource_version())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;
    use tokio::sync::mpsc::UnboundedReceiver;

    use super::*;
    use crate::engine::index::Ref;

    fn map(name: &str, version: &str) -> ConfigMap {
        let metadata =
            json!({"name": name, "namespace": "ns", "uid": name, "resourceVersion": version});
        serde_json::from_value(json!({"metadata": metadata})).unwrap()
    }

    struct Scene {
        indexer: Indexer,
        woken: UnboundedReceiver<ObjectName>,
        synced: Synced,
    }

    impl Scene {
        fn new() -> Self {
            let index = Arc::new(Index::default());
            let woken = index.queue("Parent");
            for namespace in ["ns", "other"] {
                let parent = Key::new("Parent", ObjectName::new(namespace, "fleet"));
                let all = Ref::All {
                    kind: CONFIG_MAP,
                    namespace: Some(namespace.into()),
                };
                index.saw(&parent, vec![all], Change::Spec);
            }
            let gate = Gate::default();
            let synced = gate.synced();
            Self {
                indexer: Indexer::new(index, gate),
                woken,
                synced,
            }
        }

        /// Namespaces of the parents that the event wakes.
        fn after(&mut self, event: Event<ConfigMap>) -> Vec<String> {
            self.indexer.note(&event);
            std::iter::from_fn(|| Some(self.woken.try_recv().ok()?.namespace)).collect()
        }
    }

    #[test]
    fn a_map_that_comes_changes_or_goes_wakes_the_parents_of_its_namespace_alone() {
        let mut scene = Scene::new();
        assert_eq!(scene.after(Event::Apply(map("a", "1"))), ["ns"]);
        assert_eq!(scene.after(Event::Apply(map("a", "2"))), ["ns"]);
        assert!(scene.after(Event::Apply(map("a", "2"))).is_empty());
        assert_eq!(scene.after(Event::Delete(map("a", "2"))), ["ns"]);
    }

    #[test]
    fn a_list_wakes_once_it_is_complete_for_what_it_changed() {
        let mut scene = Scene::new();
        assert!(scene.after(Event::Init).is_empty());
        assert!(scene.after(Event::InitApply(map("a", "1"))).is_empty());
        assert!(scene.after(Event::InitApply(map("b", "1"))).is_empty());
        assert!(!scene.synced.is());
        assert_eq!(scene.after(Event::InitDone), ["ns", "ns"]);
        assert!(scene.synced.is());
        scene.after(Event::Init);
        scene.after(Event::InitApply(map("a", "1")));
        // b is gone, a is what it was.
        assert_eq!(scene.after(Event::InitDone), ["ns"]);
        scene.after(Event::Init);
        scene.after(Event::InitApply(map("a", "1")));
        assert!(scene.after(Event::InitDone).is_empty());
    }

    #[test]
    fn what_no_element_is_made_of_is_not_kept() {
        let mut kept: ConfigMap = serde_json::from_value(json!({
            "metadata": {"name": "a", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"},
                "labels": {"appofapps.dev/generator": ""}, "managedFields": [{"manager": "x"}]},
            "data": {"apps.yaml": "[]"}, "binaryData": {"logo": "AA=="},
        }))
        .unwrap();
        trim(&mut kept);
        let expected = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "a", "labels": {"appofapps.dev/generator": ""}}, "data": {"apps.yaml": "[]"}});
        assert_eq!(serde_json::to_value(kept).unwrap(), expected);
    }
}
