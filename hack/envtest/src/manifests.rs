//! Server-side apply of any manifest, as `kubectl apply --server-side` does it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DynamicObject, Patch, PatchParams, ValidationDirective};
use kube::core::{GroupVersionKind, TypeMeta};
use kube::discovery::{ApiCapabilities, ApiResource, Scope, pinned_kind};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, ResourceExt};
use serde_json::Value;

const FIELD_MANAGER: &str = "envtest";
/// How long a new definition may take until it is served.
const ESTABLISHED: Duration = Duration::from_secs(30);

/// Why a manifest was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot parse {origin}: {reason}")]
    Parse { origin: String, reason: String },
    #[error("an object without {what} in {origin}")]
    Incomplete { origin: String, what: &'static str },
    #[error("the API server knows no {kind} ({api_version})")]
    UnknownKind {
        kind: String,
        api_version: String,
        #[source]
        source: Box<kube::Error>,
    },
    #[error("cannot apply {kind} {name}")]
    Apply {
        kind: String,
        name: String,
        #[source]
        source: Box<kube::Error>,
    },
    #[error("CustomResourceDefinition {name} was not established after {} s", ESTABLISHED.as_secs())]
    NotEstablished { name: String },
}

/// Applies every document of `yaml`, in order; returns the objects as stored. Definitions go first and are waited for.
/// An object of a namespaced kind without a namespace goes to `default`.
pub async fn apply(client: &Client, yaml: &str) -> Result<Vec<DynamicObject>, ManifestError> {
    apply_documents(client, parse("the manifest", yaml)?).await
}

/// Applies a file, or every `*.yaml` of a folder in the order of their names; `kustomization.yaml` is left out, as
/// `kubectl apply` would stumble over it.
pub async fn apply_path(client: &Client, path: &Path) -> Result<Vec<DynamicObject>, ManifestError> {
    apply_documents(client, read(path)?).await
}

/// The documents of a file or folder.
pub(crate) fn read(path: &Path) -> Result<Vec<DynamicObject>, ManifestError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| ManifestError::Read { path, source }
    };
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        files = std::fs::read_dir(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(unreadable(path))?
            .into_iter()
            .map(|entry| entry.path())
            .filter(|file| file.extension().is_some_and(|end| end == "yaml"))
            .filter(|file| file.file_stem().is_some_and(|stem| stem != "kustomization"))
            .collect();
        files.sort();
    }
    let mut documents = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).map_err(unreadable(&file))?;
        documents.extend(parse(&file.display().to_string(), &text)?);
    }
    Ok(documents)
}

pub(crate) fn parse(origin: &str, yaml: &str) -> Result<Vec<DynamicObject>, ManifestError> {
    let unparsable = |reason: String| ManifestError::Parse {
        origin: origin.to_owned(),
        reason,
    };
    let incomplete = |what| ManifestError::Incomplete {
        origin: origin.to_owned(),
        what,
    };
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(yaml).map_err(|error| unparsable(error.to_string()))?;
    documents
        .into_iter()
        .filter(|document| !document.is_null())
        .map(|document| {
            let object: DynamicObject =
                serde_json::from_value(document).map_err(|error| unparsable(error.to_string()))?;
            match &object {
                object if object.types.is_none() => Err(incomplete("apiVersion and kind")),
                object if object.metadata.name.is_none() => Err(incomplete("metadata.name")),
                _ => Ok(object),
            }
        })
        .collect()
}

/// Asks the API server to take every document as an apply would, and to store none; a field that it does not know is an
/// error. Returns the objects as they would be stored.
pub async fn dry_run(
    client: &Client,
    documents: Vec<DynamicObject>,
) -> Result<Vec<DynamicObject>, ManifestError> {
    let params = PatchParams {
        dry_run: true,
        field_validation: Some(ValidationDirective::Strict),
        ..PatchParams::apply(FIELD_MANAGER).force()
    };
    let mut kinds = Kinds::new(client);
    let mut taken = Vec::new();
    for document in documents {
        taken.push(apply_one(client, &mut kinds, document, &params).await?);
    }
    Ok(taken)
}

pub(crate) async fn apply_documents(
    client: &Client,
    documents: Vec<DynamicObject>,
) -> Result<Vec<DynamicObject>, ManifestError> {
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let mut kinds = Kinds::new(client);
    let (definitions, others): (Vec<_>, Vec<_>) = documents
        .into_iter()
        .partition(|object| kind(object).kind == "CustomResourceDefinition");
    let mut stored = Vec::new();
    for definition in definitions {
        stored.push(apply_one(client, &mut kinds, definition, &params).await?);
    }
    for definition in &stored {
        established(client, &definition.name_any()).await?;
    }
    for object in others {
        stored.push(apply_one(client, &mut kinds, object, &params).await?);
    }
    Ok(stored)
}

async fn apply_one(
    client: &Client,
    kinds: &mut Kinds<'_>,
    object: DynamicObject,
    params: &PatchParams,
) -> Result<DynamicObject, ManifestError> {
    let TypeMeta { kind, api_version } = kind(&object);
    let (resource, capabilities) = kinds.find(&kind, &api_version).await?;
    let name = object.name_any();
    let api: Api<DynamicObject> = match (capabilities.scope, object.namespace()) {
        (Scope::Cluster, _) => Api::all_with(client.clone(), &resource),
        (Scope::Namespaced, Some(namespace)) => {
            Api::namespaced_with(client.clone(), &namespace, &resource)
        }
        (Scope::Namespaced, None) => Api::default_namespaced_with(client.clone(), &resource),
    };
    let applied = api.patch(&name, params, &Patch::Apply(&object)).await;
    applied.map_err(|source| ManifestError::Apply {
        kind,
        name,
        source: Box::new(source),
    })
}

async fn established(client: &Client, name: &str) -> Result<(), ManifestError> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let waiting = await_condition(definitions, name, conditions::is_crd_established());
    match tokio::time::timeout(ESTABLISHED, waiting).await {
        Ok(Ok(_)) => Ok(()),
        _ => Err(ManifestError::NotEstablished {
            name: name.to_owned(),
        }),
    }
}

fn kind(object: &DynamicObject) -> TypeMeta {
    object.types.clone().unwrap_or_default()
}

/// What the API server says about each kind, asked once.
struct Kinds<'a> {
    client: &'a Client,
    known: HashMap<TypeMeta, (ApiResource, ApiCapabilities)>,
}

impl<'a> Kinds<'a> {
    fn new(client: &'a Client) -> Self {
        Self {
            client,
            known: HashMap::new(),
        }
    }

    async fn find(
        &mut self,
        kind: &str,
        api_version: &str,
    ) -> Result<(ApiResource, ApiCapabilities), ManifestError> {
        let key = TypeMeta {
            kind: kind.to_owned(),
            api_version: api_version.to_owned(),
        };
        if let Some(found) = self.known.get(&key) {
            return Ok(found.clone());
        }
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let wanted = GroupVersionKind::gvk(group, version, kind);
        let start = Instant::now();
        // A definition is listed a moment after it is established.
        let patience = if group.ends_with(".k8s.io") || !group.contains('.') {
            Duration::ZERO
        } else {
            Duration::from_secs(5)
        };
        let found = loop {
            match pinned_kind(self.client, &wanted).await {
                Ok(found) => break found,
                Err(_) if start.elapsed() < patience => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(source) => {
                    return Err(ManifestError::UnknownKind {
                        kind: key.kind,
                        api_version: key.api_version,
                        source: Box::new(source),
                    });
                }
            }
        };
        self.known.insert(key, found.clone());
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_folder_is_read_in_the_order_of_names_without_its_kustomization() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let named =
            |name: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n");
        write("b.yaml", &named("third"));
        write(
            "a.yaml",
            &format!("---\n{}---\n{}", named("first"), named("second")),
        );
        write("kustomization.yaml", "resources: [a.yaml]");
        write("notes.txt", "no manifest");
        let names: Vec<String> = read(folder.path())
            .unwrap()
            .iter()
            .map(ResourceExt::name_any)
            .collect();
        assert_eq!(names, ["first", "second", "third"]);
    }

    #[test]
    fn an_object_without_kind_or_name_is_refused_with_its_origin() {
        let error = |yaml| parse("x.yaml", yaml).unwrap_err().to_string();
        assert!(error("metadata: {name: a}").contains("apiVersion and kind in x.yaml"));
        assert!(
            error("{apiVersion: v1, kind: ConfigMap, metadata: {}}")
                .contains("metadata.name in x.yaml")
        );
    }
}
