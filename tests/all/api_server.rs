//! The API server restarts, goes away, answers slowly, forgets what it watched, serves older definitions or grants too
//! little: the operator says what it lacks, and recovers by itself. Each scene has an API server of its own.
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use crate::support::{Scene, Setting, running_app, with};

const APP: &str = "DatabricksApp";
const CREATE: &str = "POST /api/2.0/apps";
/// What a probe waits for an answer.
const PROBE: Duration = Duration::from_secs(2);
const GRACE: Duration = Duration::from_secs(10);

fn own_api_server() -> Setting {
    Setting {
        own_cluster: true,
        ..Setting::default()
    }
}

/// Status and body of a probe; 0: no answer.
async fn probe(base: &str, path: &str) -> (u16, String) {
    let http = reqwest::Client::builder()
        .no_proxy()
        .timeout(PROBE)
        .build()
        .unwrap();
    match http.get(format!("{base}{path}")).send().await {
        Ok(answer) => (
            answer.status().as_u16(),
            answer.text().await.unwrap_or_default(),
        ),
        Err(error) => (0, error.to_string()),
    }
}

/// Asks both probes of an operator again and again, and keeps what was wrong with the answers.
struct Probes {
    wrong: Arc<Mutex<Vec<String>>>,
    asking: tokio::task::JoinHandle<()>,
}

impl Probes {
    fn of(scene: &Scene) -> Self {
        let (url, wrong) = (scene.operator.url(), Arc::<Mutex<Vec<String>>>::default());
        let found = wrong.clone();
        let asking = tokio::spawn(async move {
            loop {
                for path in ["/livez", "/readyz"] {
                    let (status, body) = probe(&url, path).await;
                    if status != 200 {
                        let line = format!("{path}: {status} {body}");
                        found.lock().unwrap().push(line);
                    }
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
        Self { wrong, asking }
    }

    /// All of them were answered 200.
    fn held(self) {
        self.asking.abort();
        let wrong = self.wrong.lock().unwrap();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

/// The Lease: its holder, and how often it changed hands.
async fn lease(scene: &Scene) -> (String, i64) {
    let gvk = GroupVersionKind::gvk("coordination.k8s.io", "v1", "Lease");
    let resource = ApiResource::from_gvk(&gvk);
    let leases: Api<DynamicObject> =
        Api::namespaced_with(scene.client.clone(), envtest::NAMESPACE, &resource);
    let lease = leases.get("databricks-app-operator").await.unwrap();
    let spec = &lease.data["spec"];
    let holder = spec["holderIdentity"].as_str().unwrap_or_default();
    (
        holder.to_owned(),
        spec["leaseTransitions"].as_i64().unwrap_or_default(),
    )
}

/// The description that the app has in the workspace.
async fn described(scene: &Scene, wanted: &str) {
    scene
        .until(&format!("the app is described as {wanted:?}"), async || {
            let (_, app) = scene.remote("/api/2.0/apps/sales").await;
            (app["description"] == wanted).then_some(())
        })
        .await;
}

async fn describe(scene: &Scene, text: &str) {
    let spec = with(running_app(), "description", json!(text));
    scene
        .until("the API server takes the change", async || {
            scene.try_put(APP, "sales", spec.clone()).await.ok()
        })
        .await;
    described(scene, text).await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_minute_without_an_api_server_and_restarts_leave_probes_leader_and_apps_as_they_are()
{
    let test =
        "half_a_minute_without_an_api_server_and_restarts_leave_probes_leader_and_apps_as_they_are";
    let Some(scene) = Scene::set(test, own_api_server()).await else {
        return;
    };
    scene.put(APP, "sales", running_app()).await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    let before = (scene.operator.pid(), lease(&scene).await);
    scene.more_lists(3).await;
    scene.zero().await;
    let probes = Probes::of(&scene);
    scene.cluster.stop_apiserver().await;
    tokio::time::sleep_until((Instant::now() + Duration::from_secs(30)).into()).await;
    scene.cluster.start_apiserver().await.unwrap();
    let back = Instant::now();
    describe(&scene, "after the outage").await;
    println!(
        "{test}: a change was made {:?} after the API server was back",
        back.elapsed()
    );
    assert_eq!(scene.writes(true).await, 1, "{:?}", scene.requests().await);
    // One by one, as the servers of a cluster are replaced.
    for n in 1..=2 {
        scene.cluster.restart_apiserver().await.unwrap();
        describe(&scene, &format!("after restart {n}")).await;
    }
    assert_eq!(scene.writes(true).await, 3, "{:?}", scene.requests().await);
    probes.held();
    // The term went on: nobody else led meanwhile.
    assert_eq!((scene.operator.pid(), lease(&scene).await), before);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_answers_and_expired_watches_cost_time_alone() {
    let test = "slow_answers_and_expired_watches_cost_time_alone";
    let setting = Setting {
        proxied: true,
        ..own_api_server()
    };
    let Some(scene) = Scene::set(test, setting).await else {
        return;
    };
    scene.put(APP, "sales", running_app()).await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    let before = (scene.operator.pid(), lease(&scene).await);
    let probes = Probes::of(&scene);
    let proxy = scene.proxy.as_ref().unwrap();
    let kinds = [
        "databricksapps",
        "databricksworkspaces",
        "appofapps",
        "namespaces",
        "configmaps",
    ];
    proxy.expire(&kinds);
    describe(&scene, "after the watches expired").await;
    scene
        .until("every watch was told that it is too old", async || {
            (proxy.expired().len() == kinds.len()).then_some(())
        })
        .await;
    describe(&scene, "with new watches").await;
    proxy.delay(Duration::from_millis(1500));
    describe(&scene, "slowly").await;
    scene.put(APP, "second", running_app()).await;
    scene.wait(APP, "second", "Ready", "True/Running").await;
    proxy.delay(Duration::ZERO);
    assert_eq!(scene.calls(&format!("{CREATE} 200")).await, 2);
    probes.held();
    assert_eq!((scene.operator.pid(), lease(&scene).await), before);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_without_watch_list_serves_as_well() {
    let test = "an_api_server_without_watch_list_serves_as_well";
    let setting = Setting {
        api_server: vec!["--feature-gates=WatchList=false".into()],
        ..own_api_server()
    };
    let Some(scene) = Scene::set(test, setting).await else {
        return;
    };
    scene.put(APP, "sales", running_app()).await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    describe(&scene, "without streamed lists").await;
    scene.end().await;
}

fn definitions(scene: &Scene) -> Api<DynamicObject> {
    let gvk = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    Api::all_with(scene.client.clone(), &ApiResource::from_gvk(&gvk))
}

/// Replaces the spec of the app's definition by what `change` makes of it.
async fn redefine(scene: &Scene, change: impl Fn(&mut Value)) {
    let api = definitions(scene);
    let name = "databricksapps.appofapps.dev";
    let mut definition = api.get(name).await.unwrap();
    change(&mut definition.data["spec"]);
    api.replace(name, &PostParams::default(), &definition)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_newer_than_the_definitions_is_not_ready_and_the_old_one_serves_on() {
    let test = "an_operator_newer_than_the_definitions_is_not_ready_and_the_old_one_serves_on";
    let Some(scene) = Scene::set(test, own_api_server()).await else {
        return;
    };
    scene.put(APP, "sales", running_app()).await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    let schema = |spec: &mut Value| -> Value {
        spec["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"].take()
    };
    let kept = {
        let definition = definitions(&scene)
            .get("databricksapps.appofapps.dev")
            .await;
        schema(&mut definition.unwrap().data["spec"].clone())
    };
    redefine(&scene, |spec| {
        let fields = &mut spec["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        fields["properties"]
            .as_object_mut()
            .unwrap()
            .remove("space");
        // The rule that speaks of it would not be taken without it.
        fields["x-kubernetes-validations"] = Value::Null;
    })
    .await;
    let newer = scene.unready_replica("operator-1").await;
    let (status, body) = scene
        .until("the newer operator says what it lacks", async || {
            let answer = probe(&newer.url(), "/readyz").await;
            answer.1.contains("lacks").then_some(answer)
        })
        .await;
    println!("{test}: {status} {body}");
    assert_eq!(status, 503);
    for words in [
        "DatabricksApp",
        "spec.space",
        "databricks-app-operator crds | kubectl apply",
    ] {
        assert!(body.contains(words), "{words} is missing in {body}");
    }
    assert_eq!(probe(&newer.url(), "/livez").await.0, 200);
    // The old one goes away: whoever is not ready does not take over.
    assert_eq!(probe(&scene.operator.url(), "/readyz").await.0, 200);
    describe(&scene, "by the old one").await;
    assert_eq!(lease(&scene).await.0, "operator-0");

    redefine(&scene, |spec| {
        spec["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"] =
            kept.clone();
    })
    .await;
    scene
        .until("the newer operator is ready", async || {
            (probe(&newer.url(), "/readyz").await.0 == 200).then_some(())
        })
        .await;
    scene.operator.stop(GRACE).await;
    describe(&scene, "by the newer one").await;
    assert_eq!(lease(&scene).await.0, "operator-1");
    scene.operator.start_again().await.unwrap();
    newer.stop(GRACE).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_missing_is_named_with_the_role_that_lacks_it() {
    let test = "a_right_that_is_missing_is_named_with_the_role_that_lacks_it";
    let Some(scene) = Scene::set(test, own_api_server()).await else {
        return;
    };
    scene.put(APP, "sales", running_app()).await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    let gvk = GroupVersionKind::gvk("rbac.authorization.k8s.io", "v1", "ClusterRole");
    let roles: Api<DynamicObject> =
        Api::all_with(scene.client.clone(), &ApiResource::from_gvk(&gvk));
    let role = roles.get("databricks-app-operator").await.unwrap();
    let change = async |rules: &Value| {
        let patch = Patch::Merge(json!({"rules": rules}));
        let params = PatchParams::default();
        let patched = roles.patch("databricks-app-operator", &params, &patch);
        patched.await.unwrap();
    };
    let full = role.data["rules"].clone();
    let names = |rule: &Value, resource: &str| rule["resources"].to_string().contains(resource);
    // Without one for what is written, the leader says so and goes on once it is back.
    let mut rules = full.clone();
    rules
        .as_array_mut()
        .unwrap()
        .retain(|rule| !names(rule, "databricksapps/status"));
    change(&rules).await;
    let spec = with(running_app(), "description", json!("without a right"));
    scene.put(APP, "sales", spec).await;
    let said = async |words: &[&str]| {
        let log = scene.log.clone();
        scene
            .until(&format!("the log says {words:?}"), async || {
                let log = std::fs::read_to_string(&log).unwrap();
                let line = log.lines().find(|l| words.iter().all(|w| l.contains(w)));
                line.map(drop)
            })
            .await;
    };
    said(&[
        "cannot patch resource",
        "databricksapps/status",
        "ClusterRole databricks-app-operator",
    ])
    .await;
    change(&full).await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    described(&scene, "without a right").await;
    // Without one for what is watched, a new replica is not ready and says why.
    let mut rules = full.clone();
    for rule in rules.as_array_mut().unwrap() {
        if names(rule, "\"appofapps\"") {
            rule["verbs"]
                .as_array_mut()
                .unwrap()
                .retain(|verb| verb != "list");
        }
    }
    change(&rules).await;
    let second = scene.unready_replica("operator-1").await;
    let (status, body) = scene
        .until("the second replica says what it lacks", async || {
            let answer = probe(&second.url(), "/readyz").await;
            answer.1.contains("cannot").then_some(answer)
        })
        .await;
    println!("{test}: {status} {body}");
    assert_eq!(status, 503);
    for words in [
        "cannot list resource",
        "ClusterRole databricks-app-operator",
    ] {
        assert!(body.contains(words), "{words} is missing in {body}");
    }
    change(&full).await;
    scene
        .until("the second replica is ready", async || {
            (probe(&second.url(), "/readyz").await.0 == 200).then_some(())
        })
        .await;
    second.stop(GRACE).await;
    scene.end().await;
}
