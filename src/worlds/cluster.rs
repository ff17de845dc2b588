//! The cluster itself, as a parent acts on it: its children, read from the watch and written by server-side apply.
//!
//! The watch lags behind our own writes, so each write's answer stands in for it until the watch has caught up; else the
//! next pass would write the same again.
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde::Deserialize;
use serde_json::{Value, json};

use self::views::Views;
pub use self::views::{Child, view_of};

use crate::api::names::ObjectName;
use crate::api::row::{ChildView, Owner};
use crate::api::status::Reason;
use crate::api::{FIELD_MANAGER, GROUP, VERSION, annotation, label};
use crate::engine::managed::Trouble;
use crate::engine::plan::{Fate, SLOW};
use crate::engine::store::{newer, words};
use crate::fleet::Refused;
use crate::telemetry::Clock;

mod views;

/// Wire time within which the watch shows our own writes.
const CATCH_UP: Duration = Duration::from_secs(30);

/// What our last write to a child proved.
enum Written {
    View(Arc<ChildView>, Instant),
    /// Deleted; what is left of it is on its way out.
    Deleting {
        uid: String,
    },
    /// The API server refused this revision.
    Refused {
        refused: Refused,
        at: Instant,
    },
}

/// Children of all parents of one kind of child.
pub struct Cluster {
    client: Client,
    resource: ApiResource,
    clock: Clock,
    written: Mutex<HashMap<ObjectName, Written>>,
    views: Views,
}

impl Cluster {
    /// `kind` and `plural` of the children, which belong to our own group.
    pub fn new(client: Client, kind: &str, plural: &str, clock: Clock) -> Self {
        let gvk = GroupVersionKind::gvk(GROUP, VERSION, kind);
        Self {
            client,
            resource: ApiResource::from_gvk_with_plural(&gvk, plural),
            clock,
            written: Mutex::default(),
            views: Views::default(),
        }
    }

    /// The objects of the namespace as its parents see them; `objects` are those of all.
    pub fn views<'a, K: Child + 'a>(
        &self,
        namespace: &str,
        objects: impl Iterator<Item = &'a K>,
    ) -> Vec<Arc<ChildView>> {
        self.views.of(namespace, objects)
    }

    /// The namespace's children as they are now: the watch's, and over them what our own newer writes proved.
    pub fn settle(&self, namespace: &str, watched: Vec<Arc<ChildView>>) -> Vec<Arc<ChildView>> {
        let mut written = self.lock();
        let mut children: HashMap<String, Arc<ChildView>> = watched
            .into_iter()
            .map(|view| (view.name.clone(), view))
            .collect();
        written.retain(|name, proof| {
            if name.namespace != namespace {
                return true;
            }
            let seen = children.get_mut(&name.name);
            match proof {
                // A child that was deleted before the watch showed it is never shown.
                Written::View(_, at) if at.elapsed() > CATCH_UP => false,
                Written::View(view, _) => {
                    let caught_up = seen.is_some_and(|s| {
                        !newer(Some(&view.resource_version), Some(&s.resource_version))
                    });
                    if !caught_up {
                        children.insert(name.name.clone(), view.clone());
                    }
                    !caught_up
                }
                Written::Deleting { uid } => match seen {
                    Some(seen) if seen.uid == *uid && !seen.deleting => {
                        Arc::make_mut(seen).deleting = true;
                        true
                    }
                    _ => false,
                },
                Written::Refused { refused, at } => {
                    // A quota is raised without a word to us.
                    let again = match refused.reason {
                        Reason::QuotaExceeded => SLOW / 6,
                        _ => SLOW,
                    };
                    self.clock.service(at.elapsed()) < again
                }
            }
        });
        children.into_values().collect()
    }

    /// What the API server refused lately, by the child's name.
    pub fn refused(&self, namespace: &str) -> BTreeMap<String, Refused> {
        self.lock()
            .iter()
            .filter(|(name, _)| name.namespace == namespace)
            .filter_map(|(name, proof)| match proof {
                Written::Refused { refused, .. } => Some((name.name.clone(), refused.clone())),
                Written::View(..) | Written::Deleting { .. } => None,
            })
            .collect()
    }

    /// Asks again what the API server refused: somebody says that it may have changed.
    pub fn forget_refused(&self, namespace: &str) {
        self.lock().retain(|name, proof| {
            name.namespace != namespace || !matches!(proof, Written::Refused { .. })
        });
    }

    /// Creates the child. An apply that carries an impossible resource version succeeds only if the object is absent, and
    /// leaves no second manager behind as a POST would.
    pub async fn create(&self, payload: &Value, revision: &str) -> Result<(), Trouble> {
        let mut body = payload.clone();
        body["metadata"]["resourceVersion"] = json!("1");
        self.apply(&body, revision, "creating").await
    }

    /// Makes an existing child what the payload says.
    pub async fn update(&self, payload: &Value, revision: &str) -> Result<(), Trouble> {
        self.apply(payload, revision, "updating").await
    }

    async fn apply(&self, body: &Value, revision: &str, doing: &str) -> Result<(), Trouble> {
        let text = |key: &str| {
            body["metadata"][key]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        let name = ObjectName::new(text("namespace"), text("name"));
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.into()),
            force: true,
            ..PatchParams::default()
        };
        match self
            .api(&name.namespace)
            .patch(&name.name, &params, &Patch::Apply(body))
            .await
        {
            Ok(applied) => {
                self.wrote(name, &applied);
                Ok(())
            }
            Err(error) => Err(self.failed(name, revision, doing, &error)),
        }
    }

    /// Deletes the child, if it is still the one that was seen.
    pub async fn delete(&self, name: &ObjectName, uid: &str, version: &str) -> Result<(), Trouble> {
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(uid.into()),
                resource_version: Some(version.into()),
            }),
            ..DeleteParams::default()
        };
        match self.api(&name.namespace).delete(&name.name, &params).await {
            Ok(_) => {
                let gone = Written::Deleting { uid: uid.into() };
                self.lock().insert(name.clone(), gone);
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 404 => {
                self.lock().remove(name);
                Ok(())
            }
            Err(error) => Err(transient(&format!("deleting child {name}"), &error)),
        }
    }

    /// Strips every owner reference and our label, so that the child outlives its parent.
    pub async fn orphan(&self, name: &ObjectName, uid: &str) -> Result<(), Trouble> {
        self.let_go(name, json!({"uid": uid, "ownerReferences": null}))
            .await
    }

    /// Takes our own owner references and our label off the child; what else it belongs to stays.
    pub async fn detach(&self, name: &ObjectName, uid: &str) -> Result<(), Trouble> {
        let live = match self.api(&name.namespace).get_opt(&name.name).await {
            Ok(Some(live)) => live,
            Ok(None) => return Ok(()),
            Err(error) => return Err(transient(&format!("reading child {name}"), &error)),
        };
        let owners = live.metadata.owner_references.into_iter().flatten();
        let others: Vec<_> = owners
            .filter(|owner| owner.controller != Some(true) && owner.kind != "Namespace")
            .collect();
        let owners = match others.is_empty() {
            true => Value::Null,
            false => json!(others),
        };
        let version = live.metadata.resource_version;
        let metadata = json!({"uid": uid, "resourceVersion": version, "ownerReferences": owners});
        self.let_go(name, metadata).await
    }

    async fn let_go(&self, name: &ObjectName, mut metadata: Value) -> Result<(), Trouble> {
        metadata["labels"] = json!({label::PARENT: null});
        metadata["annotations"] = json!({annotation::PARENT_UID: null});
        let patch = json!({ "metadata": metadata });
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PatchParams::default()
        };
        match self
            .api(&name.namespace)
            .patch(&name.name, &params, &Patch::Merge(patch))
            .await
        {
            Ok(orphan) => {
                self.wrote(name.clone(), &orphan);
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 404 => {
                self.lock().remove(name);
                Ok(())
            }
            Err(error) => Err(transient(&format!("letting go of child {name}"), &error)),
        }
    }

    /// The answer to a write stands in for the watch until that has caught up.
    fn wrote(&self, name: ObjectName, answer: &DynamicObject) {
        let (spec, status) = (answer.data["spec"].clone(), &answer.data["status"]);
        let view = view(&answer.metadata, spec, status);
        let proof = Written::View(Arc::new(view), Instant::now());
        self.lock().insert(name, proof);
    }

    /// What the API server refuses for good is remembered, so that it is not asked again each pass.
    fn failed(
        &self,
        name: ObjectName,
        revision: &str,
        doing: &str,
        error: &kube::Error,
    ) -> Trouble {
        let doing = format!("{doing} child {name}");
        let Some(reason) = refusal(error) else {
            return transient(&doing, error);
        };
        let message = format!("{doing}: {}", words(error));
        let proof = Written::Refused {
            refused: Refused {
                revision: revision.into(),
                reason,
                message: message.clone(),
            },
            at: Instant::now(),
        };
        self.lock().insert(name, proof);
        Trouble::new(reason, message, Fate::After(Duration::ZERO))
    }

    fn api(&self, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &self.resource)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ObjectName, Written>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why the API server will refuse the same write again; `None` if it may not.
fn refusal(error: &kube::Error) -> Option<Reason> {
    let kube::Error::Api(status) = error else {
        return None;
    };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    if causes
        .into_iter()
        .any(|cause| cause.reason == "NamespaceTerminating")
    {
        return Some(Reason::NamespaceTerminating);
    }
    // The quota's admission has no code of its own.
    if status.code == 403 && status.message.contains("exceeded quota") {
        return Some(Reason::QuotaExceeded);
    }
    let refused =
        matches!(status.code, 400 | 403 | 422) || status.message.contains("not declared in schema");
    refused.then_some(Reason::ChildRefused)
}

fn transient(doing: &str, error: &kube::Error) -> Trouble {
    Trouble::new(
        Reason::KubernetesRefused,
        format!("{doing}: {}", words(error)),
        Fate::Retry,
    )
}

/// A child of any kind.
fn view(meta: &ObjectMeta, spec: Value, status: &Value) -> ChildView {
    let digest = |key: &str| Some(status["deployment"][key].as_str()?.to_owned());
    // A namespace as the other owner only keeps garbage collection away.
    let references = meta.owner_references.iter().flatten();
    let mut references = references.filter(|owner| owner.kind != "Namespace");
    let controller = references
        .clone()
        .find(|owner| owner.controller == Some(true));
    let owner = controller.or_else(|| references.next());
    ChildView {
        name: meta.name.clone().unwrap_or_default(),
        namespace: meta.namespace.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        resource_version: meta.resource_version.clone().unwrap_or_default(),
        generation: meta.generation.unwrap_or_default(),
        observed_generation: status["observedGeneration"].as_i64().unwrap_or(-1),
        deleting: meta.deletion_timestamp.is_some(),
        owner: owner.map(|owner| Owner {
            kind: owner.kind.clone(),
            name: owner.name.clone(),
            uid: owner.uid.clone(),
            controller: owner.controller.unwrap_or_default(),
        }),
        labels: meta.labels.clone().unwrap_or_default(),
        annotations: meta.annotations.clone().unwrap_or_default(),
        spec,
        conditions: Vec::deserialize(&status["conditions"]).unwrap_or_default(),
        desired_digest: digest("desiredDigest"),
        digest: digest("digest"),
        compute_state: status["app"]["computeState"].as_str().map(str::to_owned),
    }
}
