//! The apps of a run as manifests, and what the fake workspace has to know for them. Pure.

use envtest::{STRANGER, WORKSPACE, large};
use serde_json::{Value, json};

use super::plan::{Fleet, Run};

pub(super) const NAMESPACE: &str = "default";
/// The one that all guarded apps use.
pub(super) const WAREHOUSE: &str = "bench";

pub(super) fn name(n: usize) -> String {
    format!("bench-{n:04}")
}

/// Number of the app's own job.
pub(super) fn job(n: usize) -> i64 {
    100_001 + i64::try_from(n).unwrap_or_default()
}

/// One app as it is applied.
#[derive(Clone, Debug)]
pub(super) struct Declared {
    pub(super) n: usize,
    pub(super) fleet: Fleet,
    pub(super) description: &'static str,
    pub(super) permissions: bool,
}

impl Declared {
    pub(super) fn new(n: usize, fleet: Fleet) -> Self {
        Self {
            n,
            fleet,
            description: "measured",
            permissions: true,
        }
    }

    pub(super) fn manifest(&self) -> Value {
        let name = name(self.n);
        let mut spec = json!({
            "workspaceRef": {"name": WORKSPACE},
            "description": self.description,
            "lifecycle": {"state": "Running"},
            "source": {"workspace": {"path": folder(self.n)}},
        });
        if self.permissions {
            let grant = json!({"principal": {"group": "users"}, "level": "CanUse"});
            spec["permissions"] = json!({"grants": [grant]});
        }
        match self.fleet {
            Fleet::Plain | Fleet::TakenName | Fleet::Parent => {}
            Fleet::Watched => spec["source"]["workspace"]["redeploy"] = json!("OnChange"),
            Fleet::Guarded => {
                let job = job(self.n).to_string();
                spec["resources"] = json!([
                    {"name": "warehouse", "sqlWarehouse": {"id": WAREHOUSE, "permission": "CanUse"}},
                    {"name": "job", "job": {"id": job, "permission": "CanManageRun"}},
                ]);
            }
        }
        json!({
            "apiVersion": "appofapps.dev/v1alpha1",
            "kind": "DatabricksApp",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": spec,
        })
    }
}

fn folder(n: usize) -> String {
    format!("/Workspace/Shared/bench/{}", name(n))
}

/// The fake workspace's seed.
pub(super) fn seed(run: &Run) -> Value {
    let all = || 0..run.apps;
    let mut seed = json!({"users": [STRANGER]});
    match run.fleet {
        Fleet::Plain => {}
        Fleet::Parent => {
            seed["users"] = json!([STRANGER, large::USER]);
            seed["groups"] = large::groups().into();
        }
        Fleet::TakenName => seed["apps"] = json!([{"name": name(0), "creator": STRANGER}]),
        Fleet::Watched => {
            let files = all().map(|n| (format!("{}/app.py", folder(n)), json!("print(1)")));
            seed["files"] = Value::Object(files.collect());
        }
        Fleet::Guarded => {
            seed["warehouses"] = json!([WAREHOUSE]);
            seed["jobs"] = all().map(job).collect();
        }
    }
    seed
}

#[cfg(test)]
mod tests {
    use super::super::plan::Variant;
    use super::*;

    #[test]
    fn what_the_apps_refer_to_is_in_the_seed() {
        let run = |fleet| Run {
            apps: 3,
            fleet,
            variant: Variant::Usual,
            scenarios: Vec::new(),
        };
        let app = |fleet| Declared::new(2, fleet).manifest();
        let guarded = app(Fleet::Guarded);
        let job = guarded["spec"]["resources"][1]["job"]["id"].as_str();
        let seeded = &seed(&run(Fleet::Guarded))["jobs"][2];
        assert_eq!(job, Some(seeded.to_string().as_str()));
        let watched = app(Fleet::Watched);
        let path = watched["spec"]["source"]["workspace"]["path"].as_str();
        let files = &seed(&run(Fleet::Watched))["files"];
        assert!(path.is_some_and(|path| files[format!("{path}/app.py")].is_string()));
        let taken = &seed(&run(Fleet::TakenName))["apps"][0]["name"];
        assert_eq!(*taken, json!(name(0)));
    }
}
