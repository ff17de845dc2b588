//! An installation that looks after listed namespaces, with Roles alone; and two that would look after the same ones.
use envtest::{Operator, OperatorOptions};
use serde_json::{Value, json};

use crate::support::{DEADLINE, Objects, Scene, Setting, running_app, stopped_app};

const APP: &str = "DatabricksApp";

/// A ServiceAccount `operator` in a namespace of its own, with the chart's rules as Roles in these namespaces.
async fn installation(scene: &Scene, home: &str, watched: &[&str]) -> OperatorOptions {
    let rules = envtest::repository().join("charts/databricks-app-operator/files/rules.yaml");
    let rules: Value = serde_saphyr::from_str(&std::fs::read_to_string(rules).unwrap()).unwrap();
    let of = |places: &[&str]| -> Value {
        let rules = places
            .iter()
            .flat_map(|place| rules[place].as_array().unwrap());
        rules.cloned().collect()
    };
    let subject = json!([{"kind": "ServiceAccount", "name": "operator", "namespace": home}]);
    let mut objects = vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": home}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "operator", "namespace": home}}),
    ];
    let there = of(&["objects", "watched", "secrets", "claim"]);
    let grants = [(home, of(&["own"]))]
        .into_iter()
        .chain(watched.iter().map(|&name| (name, there.clone())));
    for (namespace, rules) in grants {
        let meta = json!({"name": home, "namespace": namespace});
        objects.push(json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": meta, "rules": rules}));
        objects.push(json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": meta,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": home}, "subjects": subject}));
    }
    let documents: Vec<String> = objects.iter().map(Value::to_string).collect();
    scene.apply(&documents.join("\n---\n")).await;
    let kubeconfig = scene
        .cluster
        .service_account_kubeconfig(home, "operator")
        .await;
    scene.options_for(
        home,
        kubeconfig.unwrap(),
        &[
            "--namespace",
            home,
            "--watch-namespaces",
            &watched.join(","),
        ],
    )
}

async fn readiness(operator: &Operator) -> (u16, String) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = http
        .get(format!("{}/readyz", operator.url()))
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_alone_serve_the_watched_namespaces_and_overlapping_installations_are_refused() {
    let test = "roles_alone_serve_the_watched_namespaces_and_overlapping_installations_are_refused";
    let setting = Setting {
        own_cluster: true,
        ..Setting::default()
    };
    let Some(scene) = Scene::set(test, setting).await else {
        return;
    };
    scene.operator.stop(DEADLINE).await;
    let home = scene.namespace.clone();
    let (beside, foreign): (Objects, Objects) = (scene.beside("beside"), scene.beside("foreign"));
    let namespaces = "
apiVersion: v1
kind: Namespace
metadata: {name: beside, labels: {team: sales}}
---
apiVersion: v1
kind: Namespace
metadata: {name: foreign, labels: {team: sales}}
";
    scene.apply(namespaces).await;
    let selector = json!({"from": "Selector", "selector": {"matchLabels": {"team": "sales"}}});
    let open = json!({"spec": {"allowedNamespaces": selector}});
    scene.merge("DatabricksWorkspace", "prod", open).await;
    let options = installation(&scene, "first", &[&home, "beside"]).await;
    let first = Operator::start(options).await.unwrap();
    let shared = |mut spec: Value| {
        spec["workspaceRef"] = json!({"name": "prod", "namespace": home});
        spec
    };
    scene.put(APP, "sales", running_app()).await;
    beside.put(APP, "other", shared(stopped_app())).await;
    foreign.put(APP, "foreign", shared(stopped_app())).await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    scene
        .until(
            "the app of the other watched namespace is ready",
            async || {
                let ready = beside.condition(APP, "other", "Ready").await;
                ready.starts_with("True/").then_some(())
            },
        )
        .await;
    // A later list of one namespace alone leaves the other as it is.
    beside.put(APP, "third", shared(stopped_app())).await;
    scene
        .until("an app that comes later is ready", async || {
            let ready = beside.condition(APP, "third", "Ready").await;
            ready.starts_with("True/").then_some(())
        })
        .await;
    let untouched = foreign.get(APP, "foreign").await;
    assert_eq!(
        untouched["status"]["observedGeneration"], -1,
        "{untouched:#}"
    );

    let mut options = installation(&scene, "second", &["beside"]).await;
    options.ready = Some("/livez");
    let second = Operator::start(options).await.unwrap();
    let (status, body) = scene
        .until("the second installation is refused", async || {
            let answer = readiness(&second).await;
            answer.1.contains("another installation").then_some(answer)
        })
        .await;
    println!("{test}: {status} {body}");
    assert_eq!(status, 503);
    assert!(body.contains("first/databricks-app-operator") && body.contains("namespace beside"));
    // What the first one looks after goes away with it: the claims run out, here at once.
    scene.delete(APP, "sales").await;
    scene.gone(APP, "sales").await;
    first.stop(DEADLINE).await;
    beside
        .delete("Lease", "databricks-app-operator-claim")
        .await;
    scene
        .until("the second installation is ready", async || {
            (readiness(&second).await.0 == 200).then_some(())
        })
        .await;
    // The Workspace lies in a namespace that it does not watch.
    scene
        .until(
            "the app says that its workspace is out of sight",
            async || {
                let message = beside.message(APP, "other", "Ready").await;
                message.contains("does not watch namespace").then_some(())
            },
        )
        .await;
    second.stop(DEADLINE).await;
}
