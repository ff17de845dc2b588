//! The fleet and its apps as the API server holds them.

use envtest::apply;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::fleet::Fleet;
use super::table::Row;
use super::trouble::Trouble;

pub(super) const NAMESPACE: &str = "default";

pub(super) struct Kubernetes {
    client: Client,
    apps: Api<DynamicObject>,
    fleets: Api<DynamicObject>,
}

/// All apps and the fleet, as they are at one time.
#[derive(Debug)]
pub(super) struct Seen {
    /// In the order of their names.
    pub(super) apps: Vec<DynamicObject>,
    pub(super) fleet: DynamicObject,
}

impl Kubernetes {
    pub(super) fn of(client: &Client) -> Self {
        let kind = |kind: &str, plural: &str| {
            let kind = GroupVersionKind::gvk("appofapps.dev", "v1alpha1", kind);
            let resource = ApiResource::from_gvk_with_plural(&kind, plural);
            Api::namespaced_with(client.clone(), NAMESPACE, &resource)
        };
        Self {
            client: client.clone(),
            apps: kind("DatabricksApp", "databricksapps"),
            fleets: kind("AppOfApps", "appofapps"),
        }
    }

    pub(super) async fn apply(&self, fleet: &Fleet) -> Result<(), Trouble> {
        apply(&self.client, &fleet.yaml()).await?;
        Ok(())
    }

    pub(super) async fn annotate(
        &self,
        fleet: &Fleet,
        key: &str,
        value: &Value,
    ) -> Result<(), Trouble> {
        let patch = json!({"metadata": {"annotations": {key: value}}});
        let parameters = PatchParams::default();
        self.fleets
            .patch(fleet.name(), &parameters, &Patch::Merge(&patch))
            .await?;
        Ok(())
    }

    pub(super) async fn see(&self, fleet: &Fleet) -> Result<Seen, Trouble> {
        let mut apps = self.apps.list(&ListParams::default()).await?.items;
        apps.sort_by_key(ResourceExt::name_any);
        let fleet = self.fleets.get(fleet.name()).await?;
        Ok(Seen { apps, fleet })
    }
}

impl Seen {
    pub(super) fn rows(&self) -> Vec<Row> {
        self.apps.iter().map(Row::of).collect()
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.apps.iter().map(ResourceExt::name_any).collect()
    }

    pub(super) fn app(&self, name: &str) -> Result<&DynamicObject, Trouble> {
        let found = self.apps.iter().find(|app| app.name_any() == name);
        found.ok_or_else(|| Trouble::new(format!("there is no DatabricksApp {name}")))
    }

    /// Digest of what runs there; of a version under way, that of the one before.
    pub(super) fn digest(&self, name: &str) -> Result<&str, Trouble> {
        let digest = &self.app(name)?.data["status"]["deployment"]["digest"];
        digest.as_str().ok_or_else(|| {
            let what = format!("{name} has no status.deployment.digest");
            Trouble::with(what, "DatabricksApp", name)
        })
    }

    /// Whether exactly the fleet's apps exist, and they and the fleet are Ready as their specs ask now.
    pub(super) fn is_settled(&self, fleet: &Fleet) -> bool {
        let ready = |object| Row::of(object).is_ready();
        self.names() == fleet.apps()
            && self.apps.iter().all(ready)
            && ready(&self.fleet)
            && self.folders_are(fleet)
    }

    /// Whether every app has the folder that the fleet asks for.
    pub(super) fn folders_are(&self, fleet: &Fleet) -> bool {
        let asked = |app: &DynamicObject| {
            let path = &app.data["spec"]["source"]["workspace"]["path"];
            *path == fleet.path(&app.name_any())
        };
        self.apps.iter().all(asked)
    }

    /// A condition of the fleet about its present generation.
    pub(super) fn condition(&self, kind: &str) -> Option<&Value> {
        let status = &self.fleet.data["status"];
        let current = status["observedGeneration"].as_i64() == self.fleet.metadata.generation;
        let all = status["conditions"].as_array()?;
        all.iter().find(|c| current && c["type"] == kind)
    }

    /// Whether the fleet has that condition, with that reason.
    pub(super) fn is(&self, kind: &str, reason: &str) -> bool {
        let condition = self.condition(kind);
        condition.is_some_and(|c| c["status"] == "True" && c["reason"] == reason)
    }
}
