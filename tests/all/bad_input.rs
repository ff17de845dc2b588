//! Bad input: a condition, or a refusal by the API server, that names the field, the value and the way out. None of it
//! blocks another object or makes more calls than a healthy one.
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Scene, Setting, running_app};

const APP: &str = "DatabricksApp";

/// A running app with some fields of its spec replaced.
pub fn with(changes: Value) -> Value {
    let mut spec = running_app();
    for (field, value) in changes.as_object().unwrap() {
        spec[field] = value.clone();
    }
    spec
}

/// Waits for `Stalled` with that reason, and checks that the message holds all of `parts`.
async fn stalls(scene: &Scene, kind: &str, name: &str, reason: &str, parts: &[&str]) {
    scene
        .wait(kind, name, "Stalled", &format!("True/{reason}"))
        .await;
    let message = scene.message(kind, name, "Stalled").await;
    for part in parts {
        assert!(
            message.contains(part),
            "{kind} {name}: {part:?} is missing in {message:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_service_refuses_is_named_and_costs_no_more_than_a_healthy_app() {
    let setting = Setting {
        any_source: false,
        sim: vec!["--max-apps".into(), "6".into()],
        ..Setting::default()
    };
    let test = "what_the_service_refuses_is_named_and_costs_no_more_than_a_healthy_app";
    let Some(scene) = Scene::set(test, setting).await else {
        return;
    };
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let import = json!({"path": "/Workspace/Shared/sales/app.py", "format": "RAW", "content": "cHJpbnQoMSk=", "overwrite": true});
    for (path, body) in [
        (
            "workspace/mkdirs",
            json!({"path": "/Workspace/Shared/sales"}),
        ),
        ("workspace/import", import),
    ] {
        let url = format!("{}/api/2.0/{path}", scene.sim.url());
        let answer = http
            .post(url)
            .bearer_auth(&scene.token)
            .json(&body)
            .send()
            .await
            .unwrap();
        assert!(
            answer.status().is_success(),
            "{path}: {}",
            answer.text().await.unwrap()
        );
    }
    scene.put(APP, "healthy", running_app()).await;
    scene.wait(APP, "healthy", "Ready", "True/Running").await;

    let group = json!({"grants": [
        {"principal": {"group": "users"}, "level": "CanUse"},
        {"principal": {"group": "nobodies"}, "level": "CanUse"}]});
    scene
        .put(APP, "group", with(json!({"permissions": group})))
        .await;
    let scopes = json!({"scopes": ["sql", "no.such-scope"]});
    scene
        .put(APP, "scope", with(json!({"userAuthorization": scopes})))
        .await;
    let warehouse =
        json!([{"name": "w", "sqlWarehouse": {"id": "wh-404", "permission": "CanUse"}}]);
    scene
        .put(APP, "warehouse", with(json!({"resources": warehouse})))
        .await;
    let path = json!({"workspace": {"path": "/Workspace/Shared/nowhere"}});
    scene
        .put(APP, "source", with(json!({"source": path})))
        .await;

    stalls(
        &scene,
        APP,
        "group",
        "PrincipalNotFound",
        &["grants", "nobodies"],
    )
    .await;
    let (_, acl) = scene.remote("/api/2.0/permissions/apps/group").await;
    assert!(
        acl.to_string().contains("\"users\""),
        "the known grant is not in place: {acl}"
    );
    stalls(
        &scene,
        APP,
        "scope",
        "CreateRefused",
        &["spec.userAuthorization.scopes", "no.such-scope"],
    )
    .await;
    stalls(
        &scene,
        APP,
        "warehouse",
        "CreateRefused",
        &["spec.resources", "wh-404"],
    )
    .await;
    stalls(
        &scene,
        APP,
        "source",
        "SourceNotFound",
        &["source.workspace.path", "/Workspace/Shared/nowhere"],
    )
    .await;

    scene.fault(json!({"kind": "deployment_outcome", "app": "crash", "outcome": "FAILED", "message": "no module named dash"})).await;
    scene.put(APP, "crash", running_app()).await;
    stalls(
        &scene,
        APP,
        "crash",
        "DeploymentFailed",
        &["no module named dash", "redeploy-requested-at"],
    )
    .await;

    // healthy, group, source, crash: two more fit.
    for name in ["five", "six"] {
        scene.put(APP, name, running_app()).await;
        scene.wait(APP, name, "Ready", "True/Running").await;
    }
    scene.put(APP, "seven", running_app()).await;
    scene
        .wait(APP, "seven", "Ready", "False/QuotaExceeded")
        .await;
    assert!(scene.message(APP, "seven", "Ready").await.contains('6'));

    scene.wait(APP, "healthy", "Ready", "True/Running").await;
    scene.pass(Duration::from_secs(120)).await;
    scene.zero().await;
    scene.pass(Duration::from_secs(20 * 60)).await;
    let requests = scene.requests().await;
    // Lists serve all; beside them each app with grants looks at them twice, and each failing one is tried again once.
    let total: u64 = requests.iter().map(|(_, count)| count).sum();
    let lists = scene.count("GET /api/2.0/apps 200").await;
    let looks = scene.count("GET /permissions/").await;
    let others = total - lists - looks;
    assert!(looks <= 14, "{looks} looks at grants: {requests:?}");
    assert!(
        others <= 12,
        "{others} other calls in 20 minutes: {requests:?}"
    );
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_appears_is_deployed_without_being_asked() {
    let setting = Setting {
        any_source: false,
        ..Setting::default()
    };
    let test = "a_source_that_appears_is_deployed_without_being_asked";
    let Some(scene) = Scene::set(test, setting).await else {
        return;
    };
    scene.put(APP, "sales", running_app()).await;
    scene
        .wait(APP, "sales", "Deployed", "False/SourceNotFound")
        .await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/api/2.0/workspace/mkdirs", scene.sim.url());
    let body = json!({"path": "/Workspace/Shared/sales"});
    http.post(url)
        .bearer_auth(&scene.token)
        .json(&body)
        .send()
        .await
        .unwrap();
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn references_that_lead_nowhere_are_waited_for_and_then_named() {
    let test = "references_that_lead_nowhere_are_waited_for_and_then_named";
    let Some(scene) = Scene::start(test).await else {
        return;
    };
    let nowhere = with(json!({"workspaceRef": {"name": "nowhere"}}));
    scene.put(APP, "lost", nowhere).await;
    scene
        .wait(APP, "lost", "Ready", "False/WorkspaceNotFound")
        .await;
    scene
        .wait(APP, "lost", "Reconciling", "True/ProgressingWithRetry")
        .await;
    stalls(
        &scene,
        APP,
        "lost",
        "WorkspaceNotFound",
        &["workspaceRef", "nowhere", "create it"],
    )
    .await;

    let spec = |host: &str, secret: &str, key: &str| json!({"host": host, "auth": {"token": {"secretRef": {"name": secret, "key": key}}}});
    let host = scene.sim.url();
    let dbw = "DatabricksWorkspace";
    scene
        .put(dbw, "no-secret", spec(&host, "absent", "token"))
        .await;
    scene
        .put(dbw, "no-key", spec(&host, "prod", "absent"))
        .await;
    scene
        .put(
            dbw,
            "no-url",
            spec("https://db.example.com:99999", "prod", "token"),
        )
        .await;
    scene
        .put(
            dbw,
            "foreign",
            spec("https://db.example.com", "prod", "token"),
        )
        .await;
    scene
        .put(
            dbw,
            "unreachable",
            spec("http://127.0.0.1:9", "prod", "token"),
        )
        .await;
    stalls(
        &scene,
        dbw,
        "no-url",
        "HostNotAllowed",
        &["spec.host", ":99999", "no URL"],
    )
    .await;
    stalls(
        &scene,
        dbw,
        "foreign",
        "HostNotAllowed",
        &["spec.host", "db.example.com", "--allowed-hosts"],
    )
    .await;
    scene
        .wait(dbw, "unreachable", "Ready", "False/HostUnreachable")
        .await;
    assert!(
        scene
            .message(dbw, "unreachable", "Ready")
            .await
            .contains("127.0.0.1:9")
    );
    stalls(
        &scene,
        dbw,
        "no-secret",
        "CredentialsMissing",
        &["secretRef", "absent"],
    )
    .await;
    stalls(
        &scene,
        dbw,
        "no-key",
        "CredentialsMissing",
        &["secretRef", "absent", "token"],
    )
    .await;

    // What was missing is made, and nothing else has to be touched.
    scene
        .put(dbw, "nowhere", spec(&host, "prod", "token"))
        .await;
    scene.wait(APP, "lost", "Ready", "True/Running").await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_is_the_workspaces_problem_and_a_new_one_mends_it() {
    let setting = Setting {
        token: Some("dapi-wrong".into()),
        ..Setting::default()
    };
    let test = "a_wrong_token_is_the_workspaces_problem_and_a_new_one_mends_it";
    let Some(scene) = Scene::set(test, setting).await else {
        return;
    };
    scene.put(APP, "sales", running_app()).await;
    stalls(
        &scene,
        "DatabricksWorkspace",
        "prod",
        "Unauthenticated",
        &["credentials"],
    )
    .await;
    scene
        .wait(APP, "sales", "Ready", "Unknown/WorkspaceUnavailable")
        .await;
    scene.apply(&scene.connection(&scene.token)).await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_answers_html_is_named() {
    let Some(scene) = Scene::start("a_host_that_answers_html_is_named").await else {
        return;
    };
    let page = json!({"pattern": "* /api/*", "status_code": 200, "times": 0,
        "headers": {"content-type": "text/html"}, "body": "<html>Sign in</html>"});
    scene.fault(page).await;
    let secret = json!({"token": {"secretRef": {"name": "prod", "key": "token"}}});
    let spec = json!({"host": scene.sim.url(), "auth": secret});
    scene.put("DatabricksWorkspace", "login", spec).await;
    stalls(
        &scene,
        "DatabricksWorkspace",
        "login",
        "UnexpectedAnswer",
        &["HTML", "workspaceID"],
    )
    .await;
    scene.sim.call("DELETE", "/sim/faults", None).await.unwrap();
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_is_not_admitted_is_refused_at_once_and_admitted_without_a_touch() {
    let test = "a_namespace_that_is_not_admitted_is_refused_at_once_and_admitted_without_a_touch";
    let Some(scene) = Scene::start(test).await else {
        return;
    };
    let elsewhere = format!("{}-b", scene.namespace);
    let selector = json!({"from": "Selector", "selector": {"matchLabels": {"team": "sales"}}});
    scene
        .merge(
            "DatabricksWorkspace",
            "prod",
            json!({"spec": {"allowedNamespaces": selector}}),
        )
        .await;
    let app = with(json!({"workspaceRef": {"name": "prod", "namespace": scene.namespace}}));
    let manifest = json!({"apiVersion": "appofapps.dev/v1alpha1", "kind": APP,
        "metadata": {"name": "guest", "namespace": elsewhere}, "spec": app});
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": elsewhere}});
    scene.apply(&format!("{namespace}\n---\n{manifest}")).await;
    let guest = scene.beside(&elsewhere);
    let what = "WorkspaceForbidden that names both";
    scene
        .until(what, async || {
            let message = guest.message(APP, "guest", "Stalled").await;
            (message.contains(&elsewhere) && message.contains("allowedNamespaces")).then_some(())
        })
        .await;
    let labels = json!({"metadata": {"labels": {"team": "sales"}}});
    scene.merge("Namespace", &elsewhere, labels).await;
    scene
        .until("the guest runs", async || {
            (guest.condition(APP, "guest", "Ready").await == "True/Running").then_some(())
        })
        .await;
    guest.delete(APP, "guest").await;
    scene
        .until("the guest is gone", async || {
            guest.get(APP, "guest").await.is_null().then_some(())
        })
        .await;
    scene.delete("Namespace", &elsewhere).await;
    scene.end().await;
}

/// Kind, name and spec of objects that no API server takes, and words of the reason.
pub fn refused_by_the_schema() -> Vec<(&'static str, &'static str, Value, &'static str)> {
    let two = json!([{"name": "w", "job": {"id": "1", "permission": "CanView"},
        "sqlWarehouse": {"id": "wh-1", "permission": "CanUse"}}]);
    let none = json!({"grants": [{"principal": {}, "level": "CanUse"}]});
    let no_auth = json!({"host": "https://x.cloud.databricks.com", "auth": {}});
    vec![
        (APP, "x", running_app(), "set spec.name"),
        (
            APP,
            "sales",
            with(json!({"name": "Sales_App"})),
            "spec.name",
        ),
        (APP, "sales", with(json!({"schedule": {}})), "schedule"),
        (
            APP,
            "sales",
            with(json!({"resources": two})),
            "exactly one of",
        ),
        (
            APP,
            "sales",
            with(json!({"permissions": none})),
            "exactly one of user, group",
        ),
        (
            "DatabricksWorkspace",
            "w",
            no_auth,
            "exactly one of oauth, token",
        ),
        (
            "AppOfApps",
            "fleet",
            json!({"apps": [], "generators": []}),
            "exactly one of them",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_refuses_what_a_schema_can_say() {
    let Some(scene) = Scene::start("the_api_server_refuses_what_a_schema_can_say").await else {
        return;
    };
    let refused = async |kind: &str, name: &str, spec: Value, part: &str| {
        let error = scene.try_put(kind, name, spec).await.unwrap_err();
        assert!(error.contains(part), "{part:?} is missing in {error}");
    };
    for (kind, name, spec, part) in refused_by_the_schema() {
        refused(kind, name, spec, part).await;
    }

    scene.put(APP, "sales", running_app()).await;
    refused(APP, "sales", with(json!({"name": "other"})), "immutable").await;
    let moved = with(json!({"workspaceRef": {"name": "elsewhere"}}));
    refused(APP, "sales", moved, "workspaceRef is immutable").await;
    let moved = json!({"host": "https://y.cloud.databricks.com", "auth": {"token": {"secretRef": {"name": "prod", "key": "token"}}}});
    refused("DatabricksWorkspace", "prod", moved, "host is immutable").await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_element_stops_no_other_child() {
    let Some(scene) = Scene::start("one_bad_element_stops_no_other_child").await else {
        return;
    };
    let aoa = "AppOfApps";
    let template = json!({"metadata": {"name": "{{ team }}-app"}, "spec": {
        "workspaceRef": {"name": "prod"}, "lifecycle": {"state": "Stopped"},
        "description": "{{ purpose }}"}});
    let list = |elements: Value| json!({"generators": [{"list": {"elements": elements}}], "template": template});
    let elements = json!([{"team": "sales", "purpose": "x"}, {"team": "hr"}]);
    scene.put(aoa, "fleet", list(elements)).await;
    stalls(
        &scene,
        aoa,
        "fleet",
        "GenerationFailed",
        &["elements[1]", "spec.description", "purpose"],
    )
    .await;
    scene.wait(APP, "sales-app", "Ready", "True/Stopped").await;
    assert!(scene.get(APP, "hr-app").await.is_null());

    let twice = json!([{"team": "sales", "purpose": "x"}, {"team": "hr", "purpose": "a"}, {"team": "hr", "purpose": "b"}]);
    scene.put(aoa, "fleet", list(twice)).await;
    stalls(
        &scene,
        aoa,
        "fleet",
        "GenerationFailed",
        &["metadata.name", "hr-app", "elements[1]"],
    )
    .await;
    scene.wait(APP, "sales-app", "Ready", "True/Stopped").await;

    // A child that its definition refuses, and one that somebody else made.
    let bad = json!([
        {"name": "good", "spec": {"workspaceRef": {"name": "prod"}, "lifecycle": {"state": "Stopped"}}},
        {"name": "bad", "spec": {"workspaceRef": {"name": "prod"}, "lifecycle": {"state": "Asleep"}}},
        {"name": "sales-app", "spec": {"workspaceRef": {"name": "prod"}}}]);
    scene.put(aoa, "written", json!({"apps": bad})).await;
    scene.wait(APP, "good", "Ready", "True/Stopped").await;
    stalls(
        &scene,
        aoa,
        "written",
        "GenerationFailed",
        &["apps[1]", "spec.lifecycle.state", "Asleep"],
    )
    .await;
    let condition = scene.condition(aoa, "written", "ResourcesUpToDate").await;
    assert_eq!(condition, "False/ForeignChild");
    let foreign = scene.message(aoa, "written", "ResourcesUpToDate").await;
    let words = "sales-app: exists and belongs to AppOfApps fleet";
    assert!(foreign.contains(words), "{foreign}");
    scene.end().await;
}

async fn annotate(scene: &Scene, kind: &str, name: &str, key: &str, value: Value) {
    let annotations = json!({format!("appofapps.dev/{key}"): value});
    let patch = json!({"metadata": {"annotations": annotations}});
    scene.merge(kind, name, patch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_annotation_that_nobody_understands_stops_all_writes_until_it_is_corrected() {
    let test = "an_annotation_that_nobody_understands_stops_all_writes_until_it_is_corrected";
    let Some(scene) = Scene::start(test).await else {
        return;
    };
    scene.put(APP, "sales", running_app()).await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    scene.zero().await;
    annotate(&scene, APP, "sales", "paused", json!("yes")).await;
    let parts = ["appofapps.dev/paused", "\"yes\"", "\"true\" or \"false\""];
    stalls(&scene, APP, "sales", "InvalidSpec", &parts).await;
    scene
        .put(APP, "sales", with(json!({"description": "New"})))
        .await;
    scene
        .until("the new spec is reported on", async || {
            let app = scene.get(APP, "sales").await;
            (app["status"]["observedGeneration"] == app["metadata"]["generation"]).then_some(())
        })
        .await;
    scene.pass(Duration::from_secs(300)).await;
    assert_eq!(scene.writes(false).await, 0, "{:?}", scene.requests().await);
    annotate(&scene, APP, "sales", "paused", json!("true")).await;
    scene.wait(APP, "sales", "Suspended", "True/Paused").await;
    assert_eq!(scene.writes(false).await, 0, "{:?}", scene.requests().await);
    // One that no version of this program knows holds nothing up.
    annotate(&scene, APP, "sales", "pause", json!("true")).await;
    annotate(&scene, APP, "sales", "paused", Value::Null).await;
    scene.wait(APP, "sales", "Ready", "True/Running").await;
    assert_eq!(scene.writes(true).await, 1, "{:?}", scene.requests().await);
    scene.event(APP, "sales", "Warning/AnnotationIgnored").await;
    let fleet = |n: &str| json!({"apps": [{"name": format!("app-{n}"), "spec": running_app()}]});
    scene.put("AppOfApps", "fleet", fleet("a")).await;
    let settled = "True/Succeeded";
    scene.wait("AppOfApps", "fleet", "Ready", settled).await;
    annotate(&scene, "AppOfApps", "fleet", "resume-rollout", json!("now")).await;
    let parts = ["appofapps.dev/resume-rollout", "\"now\"", "a time like"];
    stalls(&scene, "AppOfApps", "fleet", "InvalidSpec", &parts).await;
    scene.put("AppOfApps", "fleet", fleet("b")).await;
    scene.pass(Duration::from_secs(60)).await;
    assert_eq!(scene.names(APP).await, ["app-a", "sales"]);
    annotate(&scene, "AppOfApps", "fleet", "resume-rollout", Value::Null).await;
    scene
        .until("the child is made", async || {
            let names = scene.names(APP).await;
            names.contains(&"app-b".to_owned()).then_some(())
        })
        .await;
    scene.end().await;
}
