//! The parent as the API server holds it, and waiting for it.

use std::time::{Duration, Instant};

use envtest::{describe, large};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use super::super::Error;
use super::super::fleet::NAMESPACE;
use super::super::stage::Stage;

const NAME: &str = "large";
const FIELD_MANAGER: &str = "envtest";
const POLL: Duration = Duration::from_millis(200);
/// The parent's status changes for so long at most without anything being seen of it.
const STILL: Duration = Duration::from_secs(300);

pub(super) struct Parent {
    parents: Api<DynamicObject>,
    children: Api<DynamicObject>,
    client: kube::Client,
}

impl Parent {
    pub(super) async fn of(stage: &Stage) -> Result<Self, Error> {
        let client = stage.environment.cluster.client().await?;
        let kind = |kind: &str, plural: &str| {
            let kind = GroupVersionKind::gvk("appofapps.dev", "v1alpha1", kind);
            let resource = ApiResource::from_gvk_with_plural(&kind, plural);
            Api::namespaced_with(client.clone(), NAMESPACE, &resource)
        };
        Ok(Self {
            parents: kind("AppOfApps", "appofapps"),
            children: kind("DatabricksApp", "databricksapps"),
            client,
        })
    }

    pub(super) async fn apply(&self, spec: &Value) -> Result<(), Error> {
        let object = json!({
            "apiVersion": "appofapps.dev/v1alpha1",
            "kind": "AppOfApps",
            "metadata": {"name": NAME, "namespace": NAMESPACE},
            "spec": spec,
        });
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        self.parents
            .patch(NAME, &parameters, &Patch::Apply(object))
            .await?;
        Ok(())
    }

    /// Description of the child that a change of one element changes.
    pub(super) async fn description(&self) -> Result<String, Error> {
        let child = self.children.get(large::CHANGED).await?;
        let description = &child.data["spec"]["description"];
        Ok(description.as_str().unwrap_or_default().to_owned())
    }

    pub(super) async fn status(&self) -> Result<Value, Error> {
        Ok(self.parents.get(NAME).await?.data["status"].clone())
    }

    /// Waits until the status speaks of the present spec, and `check` says yes to it; returns it.
    pub(super) async fn until(
        &self,
        what: &str,
        check: impl Fn(&Value) -> bool,
    ) -> Result<Value, Error> {
        let (mut before, mut moved) = (Value::Null, Instant::now());
        loop {
            let parent = self.parents.get(NAME).await?;
            let status = &parent.data["status"];
            let current = status["observedGeneration"].as_i64() == parent.metadata.generation;
            if current && check(status) {
                return Ok(status.clone());
            }
            if *status != before {
                (before, moved) = (status.clone(), Instant::now());
            }
            if moved.elapsed() > STILL {
                return Err(Error::Late {
                    what: what.to_owned(),
                    about: describe(&self.client, "AppOfApps", NAMESPACE, NAME).await,
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Whether the status has that condition, with that reason.
pub(super) fn is(status: &Value, kind: &str, value: &str, reason: &str) -> bool {
    let all = status["conditions"].as_array().into_iter().flatten();
    let mut of = all.filter(|condition| condition["type"] == kind);
    of.any(|condition| condition["status"] == value && condition["reason"] == reason)
}
