//! Names and labels of namespaces, for `allowedNamespaces`: a watch of metadata alone.
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::{Config, Event};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use tracing::warn;

use crate::engine::index::Index;
use crate::engine::synced::{Gate, Synced};

/// Namespaces as the watch holds them.
pub type Namespaces = Store<PartialObjectMeta<Namespace>>;

/// The store, whether it is complete, and the watch that fills it; a namespace whose labels change wakes its objects.
pub fn watch(
    client: Client,
    index: Arc<Index>,
) -> (
    Namespaces,
    Synced,
    impl Future<Output = ()> + Send + 'static,
) {
    let (store, writer) = reflector::store();
    let gate = Gate::default();
    let synced = gate.synced();
    let api: Api<PartialObjectMeta<Namespace>> = Api::all(client);
    let mut known: HashMap<String, BTreeMap<String, String>> = HashMap::new();
    let watching = watcher(api, Config::default().page_size(500))
        .default_backoff()
        .modify(|namespace| namespace.metadata.managed_fields = None)
        .reflect(writer)
        .for_each(move |event| {
            match event {
                Ok(Event::Apply(namespace) | Event::InitApply(namespace)) => {
                    let labels = namespace.labels().clone();
                    let before = known.insert(namespace.name_any(), labels.clone());
                    if before.is_some_and(|before| before != labels) {
                        index.wake_namespace(&namespace.name_any());
                    }
                }
                Ok(Event::Delete(namespace)) => drop(known.remove(&namespace.name_any())),
                Ok(Event::Init) => {}
                Ok(Event::InitDone) => gate.open(),
                Err(problem) => warn!(kind = "Namespace", %problem, "watching"),
            }
            std::future::ready(())
        });
    (store, synced, watching)
}
