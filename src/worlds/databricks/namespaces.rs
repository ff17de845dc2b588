//! Names and labels of namespaces, for `allowedNamespaces`: a watch of metadata alone, or, where the operator looks after
//! listed namespaces, a look at each of them now and then, which takes no right beyond these.
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::{Config, Error, Event};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use tracing::warn;

use crate::engine::index::Index;
use crate::engine::synced::{Gate, Synced};
use crate::engine::watching::{Patience, Scope, said};

/// Wire time between two looks at listed namespaces.
const LOOK: Duration = Duration::from_secs(30);

/// Namespaces as the watch holds them.
pub type Namespaces = Store<PartialObjectMeta<Namespace>>;

type Seen = Result<Event<PartialObjectMeta<Namespace>>, Error>;

/// The store, whether it is complete, and the watch that fills it; a namespace whose labels change wakes its objects.
pub fn watch(
    client: Client,
    scope: &Scope,
    index: Arc<Index>,
) -> (
    Namespaces,
    Synced,
    impl Future<Output = ()> + Send + 'static,
) {
    let (store, writer) = reflector::store();
    let gate = Gate::default();
    let (synced, failing) = (gate.synced(), gate.failing());
    let api: Api<PartialObjectMeta<Namespace>> = Api::all(client.clone());
    let events: BoxStream<'static, Seen> = match scope.namespaces() {
        None => watcher(api, Config::default().page_size(500))
            .backoff(Patience::default())
            .boxed(),
        Some(names) => looks(client, names.to_vec()).boxed(),
    };
    let mut known: HashMap<String, BTreeMap<String, String>> = HashMap::new();
    let mut listed = false;
    let watching = events
        .modify(|namespace| namespace.metadata.managed_fields = None)
        .reflect(writer)
        .for_each(move |event| {
            match event {
                Ok(Event::Apply(namespace) | Event::InitApply(namespace)) => {
                    let labels = namespace.labels().clone();
                    let before = known.insert(namespace.name_any(), labels.clone());
                    if before.map_or(listed, |before| before != labels) {
                        index.wake_namespace(&namespace.name_any());
                    }
                }
                Ok(Event::Delete(namespace)) => drop(known.remove(&namespace.name_any())),
                Ok(Event::Init) => {}
                Ok(Event::InitDone) => {
                    listed = true;
                    gate.open();
                }
                Err(error) => {
                    let problem = said(&error);
                    warn!(kind = "Namespace", %problem, "watching");
                    failing.fails(format!("watching Namespace: {problem}"));
                }
            }
            std::future::ready(())
        });
    (store, synced, watching)
}

/// All of them at each look. One that cannot be read is as one without labels.
fn looks(client: Client, names: Vec<String>) -> impl futures::Stream<Item = Seen> + Send {
    let api: Api<Namespace> = Api::all(client);
    stream::unfold(false, move |again| {
        let (api, names) = (api.clone(), names.clone());
        async move {
            if again {
                tokio::time::sleep(LOOK).await;
            }
            let mut seen = vec![Ok(Event::Init)];
            for name in &names {
                match api.get_metadata_opt(name).await {
                    Ok(found) => seen.extend(found.map(|found| Ok(Event::InitApply(found)))),
                    Err(error) => seen.push(Err(Error::InitialListFailed(error))),
                }
            }
            seen.push(Ok(Event::InitDone));
            Some((stream::iter(seen), true))
        }
    })
    .flatten()
}
