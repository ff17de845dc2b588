//! What the cluster holds of parents, and of what their generators read.
use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ListParams;
use kube::core::DeserializeGuard;
use kube::{Api, ResourceExt};

use crate::api::app_of_apps::AppOfApps;
use crate::api::label;
use crate::api::names::ObjectName;
use crate::api::workspace::DatabricksWorkspace;
use crate::cli::readable::{Found, Readable};
use crate::cli::remote::{Error, Remote, list};
use crate::engine::reconcile::name_of;
use crate::kinds::app_of_apps::inputs::Needs;

/// A parent in the cluster, if it exists, and what its generators would read.
#[derive(Debug, Default)]
pub struct KnownParent {
    pub live: Option<AppOfApps>,
    pub found: Found,
}

/// Of each parent; `over`: the objects of the input, which count as applied.
pub async fn parents(
    remote: &Remote,
    parents: Vec<AppOfApps>,
    over: Readable,
) -> Result<BTreeMap<ObjectName, KnownParent>, Error> {
    if parents.is_empty() {
        return Ok(BTreeMap::new());
    }
    let readable = readable(remote, &parents, &over).await?.under(over);
    let mut known = BTreeMap::new();
    for parent in parents {
        let name = name_of(&parent);
        let api: Api<AppOfApps> = Api::namespaced(remote.kube.clone(), &name.namespace);
        let live = api.get_opt(&name.name).await;
        let live = live.map_err(|source| Error::Parent {
            name: name.clone(),
            source: Box::new(source),
        })?;
        let found = readable.read(&parent);
        known.insert(name, KnownParent { live, found });
    }
    Ok(known)
}

/// What generators of these parents may read in the cluster; `over` may ask for more.
async fn readable(
    remote: &Remote,
    parents: &[AppOfApps],
    over: &Readable,
) -> Result<Readable, Error> {
    let mut readable = Readable::default();
    let needs: Vec<(Needs, String)> = parents
        .iter()
        .map(|parent| (Needs::of(parent), parent.namespace().unwrap_or_default()))
        .collect();
    let api: Api<DeserializeGuard<DatabricksWorkspace>> = Api::all(remote.kube.clone());
    match list(&api, ListParams::default()).await {
        Ok(all) => {
            for guarded in all {
                let name = name_of(&guarded);
                match guarded.0 {
                    Ok(workspace) => drop(readable.workspaces.insert(name, workspace)),
                    Err(_) => drop(readable.unreadable.insert(name)),
                }
            }
        }
        Err(error) if needs.iter().any(|(needs, _)| needs.workspaces) => {
            return Err(Error::Workspaces(Box::new(error)));
        }
        // Without a generator that lists them, they only tell how much room there is.
        Err(error) => eprintln!(
            "note: listing DatabricksWorkspaces: {error}; whether limits.maxApps leaves room for renames is not known"
        ),
    }
    let selects = readable.selects_namespaces() || over.selects_namespaces();
    if selects && needs.iter().any(|(needs, _)| needs.workspaces) {
        for namespace in remote.namespaces().await? {
            let labels = namespace.labels().clone();
            readable.namespaces.insert(namespace.name_any(), labels);
        }
    }
    let reading = needs.iter().filter(|(n, _)| !n.config_map_keys.is_empty());
    let namespaces: BTreeSet<&String> = reading.map(|(_, namespace)| namespace).collect();
    for namespace in namespaces {
        let api: Api<ConfigMap> = Api::namespaced(remote.kube.clone(), namespace);
        let maps = list(&api, ListParams::default().labels(label::GENERATOR)).await;
        let maps = maps.map_err(|source| Error::ConfigMaps {
            namespace: namespace.clone(),
            source: Box::new(source),
        })?;
        let named = maps.into_iter().map(|map| (name_of(&map), map));
        readable.config_maps.extend(named);
    }
    Ok(readable)
}
