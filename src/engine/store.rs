//! The object's own place in the cluster: its finalizer and its status. The only writer of both.
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tracing::debug;

use super::managed::{Managed, Trouble};
use super::plan::Fate;
use crate::api::status::{Reason, Status};
use crate::api::{FIELD_MANAGER, FINALIZER};

/// Access to objects of one kind.
pub struct Store<K: Managed> {
    client: Client,
    kind: std::marker::PhantomData<fn() -> K>,
}

impl<K: Managed> Store<K> {
    pub fn new(client: Client) -> Self {
        Self {
            client,
            kind: std::marker::PhantomData,
        }
    }

    fn api(&self, object: &K) -> Api<K> {
        Api::namespaced(self.client.clone(), &object.namespace().unwrap_or_default())
    }

    /// The object as the API server holds it now; `None` if it is gone or a namesake took its place.
    pub async fn live(&self, object: &K) -> Result<Option<K>, Trouble> {
        let live = self.api(object).get_opt(&object.name_any()).await;
        let live = live.map_err(|e| trouble("reading the object", &e))?;
        Ok(live.filter(|l| l.uid() == object.uid()))
    }

    /// Whether the definition of the kind is being deleted, which deletes every object of it. An operator that may not read it
    /// has to take a deletion as it is.
    pub async fn definition_goes(&self) -> Result<bool, Trouble> {
        let api: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        match api.get_metadata(&definition::<K>()).await {
            Ok(found) => Ok(found.metadata.deletion_timestamp.is_some()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
            Err(kube::Error::Api(status)) if status.code == 403 => {
                debug!(
                    kind = K::KIND,
                    "the definition may not be read: {}", status.message
                );
                Ok(false)
            }
            Err(error) => Err(trouble("reading the definition", &error)),
        }
    }

    /// Adds our finalizer beside those of others. A lost race is a retry: the next pass sees the new list.
    pub async fn add_finalizer(&self, object: &K) -> Result<K, Trouble> {
        let held = object.finalizers();
        let patch = if held.is_empty() {
            json!([{"op": "test", "path": "/metadata/finalizers", "value": null},
                   {"op": "add", "path": "/metadata/finalizers", "value": [FINALIZER]}])
        } else {
            json!([{"op": "test", "path": "/metadata/finalizers", "value": held},
                   {"op": "add", "path": "/metadata/finalizers/-", "value": FINALIZER}])
        };
        self.patch_metadata(object, patch, "adding the finalizer")
            .await
    }

    /// Removes our finalizer; the object then goes if nobody else holds it.
    /// The object's new version; `None` if it is gone or had none.
    pub async fn remove_finalizer(&self, object: &K) -> Result<Option<String>, Trouble> {
        // The cache may lag behind a finalizer that was just added.
        let Some(live) = self.live(object).await? else {
            return Ok(None);
        };
        let Some(at) = live.finalizers().iter().position(|f| f == FINALIZER) else {
            return Ok(None);
        };
        let path = format!("/metadata/finalizers/{at}");
        let patch = json!([{"op": "test", "path": path, "value": FINALIZER},
                           {"op": "remove", "path": path}]);
        self.patch_metadata(object, patch, "removing the finalizer")
            .await
            .map(|object| object.resource_version())
    }

    async fn patch_metadata(&self, object: &K, mut patch: Value, what: &str) -> Result<K, Trouble> {
        // Against a namesake that was created meanwhile.
        let uid = json!({"op": "test", "path": "/metadata/uid", "value": object.uid()});
        if let Some(operations) = patch.as_array_mut() {
            operations.insert(0, uid);
        }
        let patch: Patch<K> = serde_json::from_value(patch)
            .map(Patch::Json)
            .map_err(|e| {
                Trouble::new(
                    Reason::KubernetesRefused,
                    format!("{what}: {e}"),
                    Fate::Retry,
                )
            })?;
        let api = self.api(object);
        api.patch(&object.name_any(), &PatchParams::default(), &patch)
            .await
            .map_err(|e| trouble(what, &e))
    }

    /// Writes the whole status in one server-side apply: what we owned and leave out goes. `version` is the newest
    /// resource version known; when the object has moved on since, it is read again and its uid compared.
    pub async fn write_status(
        &self,
        object: &K,
        version: Option<&str>,
        status: &Status<K::Memory, K::Details>,
    ) -> Result<K, Trouble> {
        match self.apply_status(object, version, status).await {
            Err(kube::Error::Api(e)) if e.code == 409 => {
                let gone = || {
                    Trouble::new(
                        Reason::KubernetesRefused,
                        "the object was replaced",
                        Fate::Retry,
                    )
                };
                let live = self.live(object).await?.ok_or_else(gone)?;
                let version = live.resource_version();
                self.apply_status(object, version.as_deref(), status).await
            }
            other => other,
        }
        .map_err(|e| trouble("writing the status", &e))
    }

    async fn apply_status(
        &self,
        object: &K,
        version: Option<&str>,
        status: &Status<K::Memory, K::Details>,
    ) -> Result<K, kube::Error> {
        let body = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            // The status subresource does not look at the uid; the version tells a namesake apart.
            "metadata": {"name": object.name_any(), "resourceVersion": version},
            "status": status,
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let api = self.api(object);
        api.patch_status(&object.name_any(), &params, &Patch::Apply(body))
            .await
    }
}

/// Name of the kind's CustomResourceDefinition.
pub fn definition<K: Managed>() -> String {
    format!("{}.{}", K::plural(&()), K::group(&()))
}

/// What ends a lack of rights; the API server's own words name verb and resource.
const MISSING_RIGHT: &str = "the operator's role does not grant that: apply the roles of this version (config/rbac or the chart), or add it to the ClusterRole databricks-app-operator or, with watched namespaces, to the Role of that name there";

/// As the authorizer of roles says it; other admission answers 403, too.
fn lacks_right(status: &kube::core::Status) -> bool {
    status.code == 403
        && status.message.contains(" is forbidden: User ")
        && status.message.contains(" cannot ")
}

/// The API server's own words, with what a lack of rights takes, or the error as it is.
pub fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => {
            let causes = status.details.iter().flat_map(|d| &d.causes);
            let causes: Vec<String> = causes
                .filter(|c| !c.field.is_empty() && c.field != "<nil>")
                .map(|c| format!("{}: {}", c.field, c.message))
                .collect();
            match causes.is_empty() {
                true if status.message.is_empty() => error.to_string(),
                true if lacks_right(status) => format!("{}; {MISSING_RIGHT}", status.message),
                true => status.message.clone(),
                false => causes.join("; "),
            }
        }
        other => other.to_string(),
    }
}

/// Whether resource version `a` is newer than `b`. Versions are numbers on every API server that keeps them in etcd;
/// what cannot be compared is not newer.
pub fn newer(a: Option<&str>, b: Option<&str>) -> bool {
    let number = |v: Option<&str>| v.and_then(|v| v.parse::<u64>().ok());
    match (number(a), number(b)) {
        (Some(a), Some(b)) => a > b,
        (Some(_), None) => true,
        _ => false,
    }
}

/// An error of the API server as the loop treats it.
pub fn trouble(what: &str, error: &kube::Error) -> Trouble {
    let fate = match error {
        // A field that the CRD lacks: an upgrade of the CRDs ends it, no retry does.
        kube::Error::Api(status) if status.message.contains("not declared in schema") => {
            Fate::Stalled { recheck: None }
        }
        _ => Fate::Retry,
    };
    Trouble::new(
        Reason::KubernetesRefused,
        format!("{what}: {}", words(error)),
        fate,
    )
}
