//! Argo CD's and Flux's own libraries judge, compare, sync and prune real objects of a real API server.
//!
//! `UPDATE_GOLDEN=1` writes anew what is made from the scripts and from objects as they were seen: `argocd-cm.yaml` and the
//! test data of `config/argocd/resource_customizations`.
mod actions;
mod argo_cd;
mod checkout;
mod definitions;
mod examples;
mod flux;
mod leaving;
mod scripts;
mod table;
mod table_of_parents;

use std::path::{Path, PathBuf};
use std::{env, fs};

use envtest::Gitops;
use serde_json::{Value, json};

use crate::support::{Scene, Setting};

const APP: &str = "DatabricksApp";
const FLEET: &str = "AppOfApps";
const WORKSPACE: &str = "DatabricksWorkspace";
const KINDS: [&str; 3] = [APP, FLEET, WORKSPACE];

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Where Argo CD's sources keep what they know of our kinds.
fn customizations() -> PathBuf {
    repository().join("config/argocd/resource_customizations")
}

fn of_kind(kind: &str) -> PathBuf {
    customizations().join("appofapps.dev").join(kind)
}

fn argocd_cm() -> PathBuf {
    repository().join("config/argocd/argocd-cm.yaml")
}

fn updating() -> bool {
    env::var_os("UPDATE_GOLDEN").is_some()
}

/// Compares a generated file with what is there, or writes it.
fn golden(path: &Path, text: &str) {
    if updating() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let there = fs::read_to_string(path).unwrap_or_default();
    let same = there == text;
    assert!(
        same,
        "{} is out of date: UPDATE_GOLDEN=1 writes it",
        path.display()
    );
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Both readers of a status, and what they do with it.
struct Judges(Gitops);

impl Judges {
    /// `None` after saying that `test` was left out, on a machine that cannot build them.
    fn find(test: &str) -> Option<Self> {
        tokio::task::block_in_place(|| envtest::gitops_or_leave_out(test).unwrap()).map(Self)
    }

    fn run(&self, arguments: &[&str], input: &str) -> Value {
        tokio::task::block_in_place(|| self.0.run(arguments, input).unwrap())
    }

    /// What Argo CD and kstatus say of an object, e.g. `("Healthy", "Current")`; scripts as bundled and as in argocd-cm say
    /// the same.
    fn verdict(&self, object: &Value) -> (String, String) {
        let input = object.to_string();
        let bundled = self.run(
            &["judge", "-customizations", text(&customizations())],
            &input,
        );
        let configured = self.run(&["judge", "-argocd-cm", text(&argocd_cm())], &input);
        assert_eq!(bundled, configured);
        let said = &bundled[0];
        assert!(said["argocd"]["error"].is_null(), "{said:#}\n{object:#}");
        let status = |of: &str| said[of]["status"].as_str().unwrap().to_owned();
        (status("argocd"), status("kstatus"))
    }

    /// Holds an object against a row of the table of conditions, and keeps it as test data of its kind under `state`.
    fn expect(&self, scene: &Scene, state: &str, object: &Value, argocd: &str, kstatus: &str) {
        assert_readable(object);
        let said = self.verdict(object);
        let wanted = (argocd.to_owned(), kstatus.to_owned());
        assert_eq!(said, wanted, "{state}: {object:#}");
        if updating() {
            self.keep(scene, state, object);
        }
    }

    /// Writes an object as `kubectl get -o yaml` prints it, under names that others know what to think of.
    fn keep(&self, scene: &Scene, state: &str, object: &Value) {
        let printed = self.run(&["print"], &object.to_string());
        let printed = printed[0]
            .as_str()
            .unwrap()
            .replace(&scene.namespace, "apps")
            .replace(
                &scene.sim.url(),
                "https://adb-1234567890123456.7.azuredatabricks.net",
            );
        let kind = object["kind"].as_str().unwrap();
        let path = of_kind(kind).join("testdata").join(format!("{state}.yaml"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, printed).unwrap();
    }
}

/// A scene, and who judges what happens in it; `None` after saying that `test` was left out.
async fn start(test: &str, setting: Setting) -> Option<(Scene, Judges)> {
    let judges = Judges::find(test)?;
    Some((Scene::set(test, setting).await?, judges))
}

/// The rules that every reader of conditions relies on.
fn assert_readable(object: &Value) {
    let conditions = object["status"]["conditions"].as_array();
    let conditions = conditions.cloned().unwrap_or_default();
    let of = |kind: &str| -> Vec<&Value> {
        let same = conditions.iter().filter(|c| c["type"] == kind);
        same.map(|c| &c["status"]).collect()
    };
    for condition in &conditions {
        let kind = condition["type"].as_str().unwrap();
        assert_eq!(of(kind).len(), 1, "{kind} twice: {object:#}");
    }
    let holds = ["Reconciling", "Stalled", "Suspended"].map(|kind| of(kind) == [&json!("True")]);
    let held = holds.iter().filter(|holds| **holds).count();
    assert!(held <= 1, "{object:#}");
    if of("Ready") == [&json!("False")] {
        assert_eq!(held, 1, "{object:#}");
    }
}

impl Scene {
    /// The object at a moment in which its condition reads so, e.g. `("Reconciling", "True/Deploying")`.
    async fn seen(&self, kind: &str, name: &str, condition: &str, wanted: &str) -> Value {
        let what = format!("{condition}={wanted} of {kind} {name}");
        self.until(&what, async || {
            let object = self.get(kind, name).await;
            (reads(&object, condition) == wanted).then_some(object)
        })
        .await
    }

    async fn annotate(&self, kind: &str, name: &str, key: &str, value: Value) {
        let annotations = json!({format!("appofapps.dev/{key}"): value});
        self.merge(
            kind,
            name,
            json!({"metadata": {"annotations": annotations}}),
        )
        .await;
    }
}

/// Status and reason of a condition that speaks of the present generation.
fn reads(object: &Value, condition: &str) -> String {
    if object["status"]["observedGeneration"] != object["metadata"]["generation"] {
        return String::new();
    }
    let conditions = object["status"]["conditions"].as_array();
    let found = conditions.and_then(|all| all.iter().find(|c| c["type"] == condition));
    let part = |c: &Value, key: &str| c[key].as_str().unwrap_or_default().to_owned();
    found.map_or(String::new(), |c| {
        format!("{}/{}", part(c, "status"), part(c, "reason"))
    })
}
