//! The example repository, as both tools sync it: from an empty namespace until everything runs, and back to nothing.
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::checkout::Checkout;
use super::{APP, FLEET, Judges, WORKSPACE, repository};
use crate::support::{Objects, Scene, Setting};

const CLIENT: &str = "11111111-2222-4333-8444-555555555555";
const SECRET: &str = "example-client-secret";
const EXTERNAL: &str = "ExternalSecret";

/// As much of External Secrets' own definition as the example needs.
const DEFINITION: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: externalsecrets.external-secrets.io}
spec:
  group: external-secrets.io
  names: {kind: ExternalSecret, listKind: ExternalSecretList, plural: externalsecrets, singular: externalsecret}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
    subresources: {status: {}}
";

fn example() -> PathBuf {
    repository().join("config/examples")
}

/// Every YAML file below, by its path from there.
fn manifests(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for name in super::scripts::names(folder) {
        let path = folder.join(&name);
        match path.is_dir() {
            true => found.extend(
                manifests(&path)
                    .into_iter()
                    .map(|(file, text)| (format!("{name}/{file}"), text)),
            ),
            false => found.push((name, fs::read_to_string(&path).unwrap())),
        }
    }
    found
}

/// The example for this scene: its namespace, and its workspace's address.
fn adapted(scene: &Scene, file: &str, text: &str) -> String {
    let namespace = &scene.namespace;
    let text = text
        .replace("namespace: analytics", &format!("namespace: {namespace}"))
        .replace(
            "https://adb-1234567890123456.7.azuredatabricks.net",
            &scene.sim.url(),
        );
    match file.ends_with("namespace.yaml") {
        true => text.replace("name: analytics", &format!("name: {namespace}")),
        false => text,
    }
}

struct Stage {
    scene: Scene,
    folder: tempfile::TempDir,
}

impl Stage {
    async fn set(test: &str) -> Option<Self> {
        let setting = Setting {
            sim: vec!["--oauth-client".into(), format!("{CLIENT}:{SECRET}")],
            ..Setting::default()
        };
        let scene = Scene::set(test, setting).await?;
        scene.apply(DEFINITION).await;
        let folder = tempfile::tempdir().unwrap();
        Some(Self { scene, folder })
    }

    /// The file of config, adapted, where the tools read it.
    fn adapted(&self, file: &str) -> PathBuf {
        let text = fs::read_to_string(repository().join("config").join(file)).unwrap();
        let path = self.folder.path().join(file.replace('/', "-"));
        fs::write(&path, adapted(&self.scene, file, &text)).unwrap();
        path
    }

    fn fill(&self, checkout: &Checkout<'_>) {
        for (file, text) in manifests(&example()) {
            let path = checkout.root().join(&file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, adapted(&self.scene, &file, &text)).unwrap();
        }
    }

    /// Everything of the example is as it should be in the end.
    async fn assert_up(&self) {
        let scene = &self.scene;
        let ready = "True/Succeeded";
        scene
            .wait(WORKSPACE, "analytics", "Ready", "True/Connected")
            .await;
        scene
            .wait(APP, "revenue-dashboard", "Ready", "True/Running")
            .await;
        scene
            .wait(APP, "quarterly-report", "Ready", "True/Stopped")
            .await;
        scene.wait(FLEET, "stores", "Ready", ready).await;
        for store in ["lab", "north", "south"] {
            scene
                .wait(APP, &format!("store-{store}"), "Ready", "True/Running")
                .await;
        }
    }

    async fn assert_gone(&self) {
        let scene = &self.scene;
        let deletes = scene.calls("DELETE /api/2.0/apps/{name} 200").await;
        assert_eq!(deletes, 5, "{:?}", scene.requests().await);
        assert_eq!(scene.names(APP).await, [""; 0]);
        assert_eq!(scene.names(WORKSPACE).await, ["prod"]);
        let namespace = scene.get("Namespace", &scene.namespace).await;
        assert!(namespace["metadata"]["deletionTimestamp"].is_null());
    }
}

/// Plays External Secrets while it lives: each ExternalSecret gets its Secret, which goes with it.
struct ExternalSecrets(tokio::task::JoinHandle<()>);

impl ExternalSecrets {
    fn start(scene: &Scene) -> Self {
        let objects = scene.beside(&scene.namespace);
        Self(tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                for object in objects.list(EXTERNAL).await {
                    provide(&objects, &object).await;
                }
            }
        }))
    }
}

impl Drop for ExternalSecrets {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn provide(objects: &Objects, object: &Value) {
    let metadata = &object["metadata"];
    let target = object["spec"]["target"]["name"].as_str().unwrap();
    let there = !objects.get("Secret", target).await.is_null();
    if there || !metadata["deletionTimestamp"].is_null() {
        return;
    }
    let key = object["spec"]["data"][0]["secretKey"].as_str().unwrap();
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "stringData": {key: SECRET},
        "metadata": {"name": target, "namespace": objects.namespace, "ownerReferences": [{
            "apiVersion": object["apiVersion"], "kind": EXTERNAL,
            "name": metadata["name"], "uid": metadata["uid"],
        }]},
    });
    envtest::apply(&objects.client, &secret.to_string())
        .await
        .unwrap();
    let ready = json!({"type": "Ready", "status": "True", "reason": "SecretSynced"});
    let status = json!({"status": {"conditions": [ready]}});
    let name = metadata["name"].as_str().unwrap();
    objects.merge_status(EXTERNAL, name, status).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn argo_cd_brings_the_example_up_finds_no_drift_and_takes_it_away() {
    let test = "argo_cd_brings_the_example_up_finds_no_drift_and_takes_it_away";
    let Some(judges) = Judges::find(test) else {
        return;
    };
    let Some(stage) = Stage::set(test).await else {
        return;
    };
    let scene = &stage.scene;
    let checkout = Checkout::of(&judges, scene);
    stage.fill(&checkout);
    let file = stage.adapted("examples/argo-cd/applications.yaml");
    let argo =
        |command: &str, name: &str, more: &[&str]| checkout.argo_with(command, &file, name, more);
    let secrets = ExternalSecrets::start(scene);
    let fleet = argo("argo-sync", "analytics-fleet", &[]);
    assert_eq!(fleet["phase"], "Succeeded", "{fleet:#}");
    // One wave without hooks: over as soon as it is applied, whatever the children do.
    assert!(fleet["seconds"].as_f64().unwrap() < 20.0, "{fleet:#}");
    let said = argo("argo-sync", "analytics", &[]);
    assert_eq!(said["phase"], "Succeeded", "{said:#}");
    let mut order: Vec<(i64, &str)> = said["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| (r["order"].as_i64().unwrap(), r["object"].as_str().unwrap()))
        .collect();
    order.sort_unstable();
    let kinds: Vec<&str> = order
        .iter()
        .map(|(_, o)| o.split('/').next().unwrap())
        .collect();
    assert_eq!(kinds, ["Namespace", EXTERNAL, WORKSPACE, APP, APP]);
    stage.assert_up().await;
    for name in ["analytics", "analytics-fleet"] {
        for mode in ["three-way", "structured-merge", "server-side"] {
            let said = argo("argo-status", name, &["-diff", mode]);
            let verdict = (&said["sync"], &said["health"]);
            assert_eq!(verdict, (&json!("Synced"), &json!("Healthy")), "{said:#}");
        }
    }
    for name in ["analytics-fleet", "analytics"] {
        let said = argo("argo-delete", name, &[]);
        assert_eq!(said["done"], true, "{said:#}");
    }
    stage.assert_gone().await;
    drop(secrets);
    stage.scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flux_brings_the_example_up_finds_no_drift_and_takes_it_away() {
    let test = "flux_brings_the_example_up_finds_no_drift_and_takes_it_away";
    let Some(judges) = Judges::find(test) else {
        return;
    };
    let Some(stage) = Stage::set(test).await else {
        return;
    };
    let scene = &stage.scene;
    let checkout = Checkout::of(&judges, scene);
    stage.fill(&checkout);
    let file = stage.adapted("flux/kustomizations.yaml");
    let flux = |command: &str| checkout.flux_with(command, &file, &["-timeout", "90s"]);
    let all_ready = |said: &Value| {
        let all = said.as_array().unwrap();
        assert_eq!(all.len(), 3, "{said:#}");
        assert!(all.iter().all(|one| one["ready"] == true), "{said:#}");
    };
    let secrets = ExternalSecrets::start(scene);
    all_ready(&flux("flux-reconcile"));
    stage.assert_up().await;
    // The namespace was there before, by another field manager: a second apply ends taking it over.
    all_ready(&flux("flux-reconcile"));
    let again = flux("flux-reconcile");
    all_ready(&again);
    assert!(!again.to_string().contains("configured"), "{again:#}");
    all_ready(&flux("flux-delete"));
    stage.assert_gone().await;
    drop(secrets);
    stage.scene.end().await;
}

#[test]
fn the_project_of_the_example_admits_every_kind_in_it_and_no_more() {
    let kinds = |text: &str| -> Vec<String> {
        let all: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
        let named = all.iter().filter_map(|one| one["kind"].as_str());
        named.map(str::to_owned).collect()
    };
    let mut used = BTreeSet::new();
    for folder in ["analytics", "fleet"] {
        for (_, text) in manifests(&example().join(folder)) {
            used.extend(kinds(&text));
        }
    }
    let text = fs::read_to_string(example().join("argo-cd/applications.yaml")).unwrap();
    let project: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let project = &project[0]["spec"];
    let admitted: BTreeSet<String> = ["clusterResourceWhitelist", "namespaceResourceWhitelist"]
        .iter()
        .flat_map(|list| project[list].as_array().unwrap())
        .map(|entry| entry["kind"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(used, admitted);
}

/// What both tools install the operator with are values that the chart takes, and the namespaces exist by then.
#[test]
fn the_operator_of_the_example_is_one_that_the_chart_renders() {
    let read = |file: &str| -> Vec<Value> {
        let text = fs::read_to_string(repository().join("config").join(file)).unwrap();
        serde_saphyr::from_multiple(&text).unwrap()
    };
    let argo = &read("examples/argo-cd/operator.yaml")[0]["spec"];
    let flux = read("flux/operator.yaml");
    let release = &flux[2]["spec"];
    let installs = [
        (
            &argo["source"]["path"],
            &argo["source"]["helm"]["releaseName"],
            &argo["destination"]["namespace"],
            &argo["source"]["helm"]["valuesObject"],
        ),
        (
            &release["chart"]["spec"]["chart"],
            &release["releaseName"],
            &release["targetNamespace"],
            &release["values"],
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (path, name, namespace, values) in installs {
        let [path, name, namespace] = [path, name, namespace].map(|text| text.as_str().unwrap());
        assert!(
            repository().join(path).join("Chart.yaml").is_file(),
            "{path}"
        );
        let file = folder.path().join("values.yaml");
        fs::write(&file, values.to_string()).unwrap();
        let file = file.to_str().unwrap();
        let objects = envtest::render(name, namespace, &["--values", file]).unwrap();
        let reads = |object: &&kube::api::DynamicObject| {
            object.metadata.namespace.as_deref() == Some("analytics")
                && object.metadata.name.as_deref() == Some("databricks-app-operator-secrets")
        };
        assert_eq!(objects.iter().filter(reads).count(), 2, "{values:#}");
    }
    assert_eq!(
        (&flux[0]["kind"], &flux[0]["metadata"]["name"]),
        (&json!("Namespace"), &json!("analytics"))
    );
}

/// Every object of the example passes the operator's own judgement.
#[test]
fn every_manifest_of_the_example_is_valid() {
    let program = env!("CARGO_BIN_EXE_databricks-app-operator");
    let said = std::process::Command::new(program)
        .arg("validate")
        .args(["analytics/connection", "analytics/apps", "fleet"].map(|part| format!("-f={part}")))
        .current_dir(example())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.status.success(), "{text}");
}
