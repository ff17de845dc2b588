//! The table of fields, each line of it against the fake workspace: created, changed, drifted, ignored, removed.
use databricks_app_operator::kinds::app::fields::{Class, Field, OTHERS, SETTINGS, Setting};
use serde_json::{Value, json};

use crate::support::{Scene, Setting as Options};

const APP: &str = "DatabricksApp";

/// How one setting is played: values of the spec, and what a stranger sets.
struct Play {
    setting: Setting,
    first: Value,
    second: Value,
    /// As the service takes it.
    stranger: Value,
}

fn play(field: &Field) -> Play {
    let (first, second, stranger) = match field.setting {
        Setting::Description => (json!("one"), json!("two"), json!("theirs")),
        Setting::ComputeSize => (json!("Medium"), json!("Large"), json!("XLARGE")),
        // Both go together; the other one is put in by `spec`.
        Setting::MinInstances => (json!(1), json!(2), json!(3)),
        Setting::MaxInstances => (json!(3), json!(4), json!(5)),
        Setting::GitRepository => {
            let git =
                |url: &str| json!({"url": url, "provider": "GitHub", "ref": {"branch": "main"}});
            let theirs = json!({"url": "https://github.com/acme/theirs", "provider": "gitHub"});
            (
                git("https://github.com/acme/one"),
                git("https://github.com/acme/two.git"),
                theirs,
            )
        }
        Setting::Scopes => (
            json!(["sql"]),
            json!(["files.files", "sql"]),
            json!(["dashboards.genie"]),
        ),
        Setting::ForwardAccessToken => (json!(true), json!(false), json!(true)),
        Setting::Resources => {
            let warehouse = |permission: &str| json!([{"name": "w", "sqlWarehouse": {"id": "wh-1", "permission": permission}}]);
            (warehouse("CanUse"), warehouse("CanManage"), json!([]))
        }
        Setting::UsagePolicy | Setting::BudgetPolicy => (json!("p-1"), json!("p-2"), json!("p-3")),
        Setting::Space => (json!("finance"), json!("other"), Value::Null),
        Setting::Telemetry => {
            let tables = |schema: &str| json!([{"logsTable": format!("c.{schema}.l"), "metricsTable": format!("c.{schema}.m"), "tracesTable": format!("c.{schema}.t")}]);
            (tables("one"), tables("two"), json!([]))
        }
    };
    Play {
        setting: field.setting,
        first,
        second,
        stranger,
    }
}

/// Sets a path like `compute.size`.
fn put(spec: &mut Value, path: &str, value: Value) {
    let mut at = spec;
    for name in path.split('.') {
        at = &mut at[name];
    }
    *at = value;
}

fn spec(field: &Field, value: Option<&Value>) -> Value {
    let mut spec = json!({"workspaceRef": {"name": "prod"}, "lifecycle": {"state": "Stopped"}});
    if let Some(value) = value {
        put(&mut spec, field.path, value.clone());
        match field.setting {
            Setting::MinInstances => spec["compute"]["maxInstances"] = json!(9),
            Setting::MaxInstances => spec["compute"]["minInstances"] = json!(1),
            _ => {}
        }
    }
    spec
}

fn name(field: &Field) -> String {
    format!(
        "f-{}",
        field
            .wire
            .replace('_', "-")
            .chars()
            .take(26)
            .collect::<String>()
            .trim_end_matches('-')
    )
}

async fn remote(scene: &Scene, field: &Field) -> Value {
    let (_, app) = scene
        .remote(&format!("/api/2.0/apps/{}", name(field)))
        .await;
    databricks_app_operator::kinds::app::fields::read(&app)
        .get(field.wire)
        .cloned()
        .unwrap_or(Value::Null)
}

/// Masks of the updates that the service accepted for that app, oldest first.
async fn masks(scene: &Scene, field: &Field) -> Vec<String> {
    let (_, said) = (
        0,
        scene.sim.call("GET", "/sim/requests", None).await.unwrap(),
    );
    let path = format!("/api/2.0/apps/{}/update", name(field));
    let updates = said["recent"].as_array().unwrap().iter();
    let updates = updates
        .filter(|r| r["method"] == "POST" && r["path"] == path.as_str() && r["status"] == 200);
    updates
        .map(|r| {
            r["body"]["update_mask"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        })
        .collect()
}

async fn all_ready(scene: &Scene, what: &str) {
    for field in SETTINGS {
        scene
            .until(&format!("{} is Ready {what}", name(field)), async || {
                let ready = scene.condition(APP, &name(field), "Ready").await;
                let synced = scene.condition(APP, &name(field), "AppSynced").await;
                (ready == "True/Stopped" && synced.starts_with("True")).then_some(())
            })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_setting_is_created_changed_repaired_ignored_and_let_go() {
    let test = "every_setting_is_created_changed_repaired_ignored_and_let_go";
    let Some(scene) = Scene::set(test, Options::default()).await else {
        return;
    };
    let space = json!({"name": "finance"});
    scene.call("POST", "/api/2.0/app-spaces", &space).await;
    let updatable = || SETTINGS.iter().filter(|f| f.class != Class::Immutable);
    // Created.
    for field in SETTINGS {
        scene
            .put(APP, &name(field), spec(field, Some(&play(field).first)))
            .await;
    }
    all_ready(&scene, "after the creation").await;
    let mut created = Vec::new();
    for field in SETTINGS {
        let have = remote(&scene, field).await;
        assert!(!have.is_null(), "{} is not there", field.path);
        assert_eq!(
            masks(&scene, field).await,
            [""; 0],
            "{}: an update after the creation",
            field.path
        );
        created.push(have);
    }
    // Changed: one update, with a mask of that field alone.
    for field in updatable() {
        scene
            .put(APP, &name(field), spec(field, Some(&play(field).second)))
            .await;
    }
    all_ready(&scene, "after the change").await;
    for (field, before) in SETTINGS
        .iter()
        .zip(&created)
        .filter(|(f, _)| f.class != Class::Immutable)
    {
        assert_ne!(
            remote(&scene, field).await,
            *before,
            "{} did not change",
            field.path
        );
        let mask = match field.setting {
            Setting::MinInstances | Setting::MaxInstances => {
                "compute_max_instances,compute_min_instances"
            }
            _ => field.wire,
        };
        assert_eq!(masks(&scene, field).await, [mask], "{}", field.path);
    }
    // Drifted: put right, and named.
    let mut wanted = Vec::new();
    for field in updatable() {
        wanted.push(remote(&scene, field).await);
        stranger(&scene, field).await;
    }
    for (field, wanted) in updatable().zip(&wanted) {
        scene
            .until(&format!("{} is put right", field.path), async || {
                (remote(&scene, field).await == *wanted).then_some(())
            })
            .await;
        scene
            .until(&format!("an event names {}", field.path), async || {
                let events = scene.events(APP, &name(field)).await;
                let named =
                    |e: &String| e.starts_with("Normal/DriftRepaired") && e.contains(field.path);
                events.iter().any(named).then_some(())
            })
            .await;
    }
    all_ready(&scene, "after the repair").await;
    // Ignored: what a stranger sets stays.
    for field in updatable() {
        let mut ignoring = spec(field, Some(&play(field).second));
        ignoring["management"]["ignoreDrift"] = json!([play(field).setting]);
        scene.put(APP, &name(field), ignoring).await;
    }
    all_ready(&scene, "with its drift ignored").await;
    scene.zero().await;
    for field in updatable() {
        stranger(&scene, field).await;
    }
    scene.more_lists(3).await;
    let mut theirs = Vec::new();
    for (field, wanted) in updatable().zip(&wanted) {
        let have = remote(&scene, field).await;
        assert_ne!(
            have, *wanted,
            "{} was repaired although its drift is ignored",
            field.path
        );
        theirs.push(have);
    }
    // Removed from the spec: not managed, so left as it is.
    for field in updatable() {
        scene.put(APP, &name(field), spec(field, None)).await;
    }
    all_ready(&scene, "without the field").await;
    scene.more_lists(2).await;
    for (field, theirs) in updatable().zip(&theirs) {
        assert_eq!(
            remote(&scene, field).await,
            *theirs,
            "{} was written although nobody manages it",
            field.path
        );
    }
    assert_eq!(scene.writes(false).await, 0, "{:?}", scene.requests().await);
    scene.end().await;
}

async fn stranger(scene: &Scene, field: &Field) {
    let mut change = json!({"updater": "stranger@example.com"});
    change[field.wire] = play(field).stranger;
    if field.setting == Setting::MinInstances {
        change["compute_max_instances"] = json!(9);
    }
    if field.setting == Setting::MaxInstances {
        change["compute_min_instances"] = json!(1);
    }
    let path = format!("/sim/apps/{}", name(field));
    scene.sim.call("POST", &path, Some(&change)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_immutable_field_is_refused_by_the_api_server_and_at_adoption_by_the_operator() {
    let test = "an_immutable_field_is_refused_by_the_api_server_and_at_adoption_by_the_operator";
    let Some(scene) = Scene::start(test).await else {
        return;
    };
    let base = json!({"workspaceRef": {"name": "prod"}, "lifecycle": {"state": "Stopped"}});
    scene.put(APP, "sales", base.clone()).await;
    scene.wait(APP, "sales", "Ready", "True/Stopped").await;
    let settings = SETTINGS.iter().map(|f| (f.path, f.class));
    let immutable = settings
        .chain(OTHERS.iter().copied())
        .filter(|(_, class)| *class == Class::Immutable);
    for (path, _) in immutable {
        let mut changed = base.clone();
        put(
            &mut changed,
            path,
            if path == "workspaceRef" {
                json!({"name": "other"})
            } else {
                json!("other")
            },
        );
        let refused = scene.try_put(APP, "sales", changed).await.unwrap_err();
        assert!(refused.contains("is immutable"), "{path}: {refused}");
    }
    scene
        .sim
        .call("POST", "/sim/apps/theirs", Some(&json!({"create": true})))
        .await
        .unwrap();
    let mut adopting = base.clone();
    adopting["space"] = json!("finance");
    adopting["management"] = json!({"adopt": "IfUnowned"});
    scene.put(APP, "theirs", adopting).await;
    scene
        .wait(APP, "theirs", "Stalled", "True/ImmutableField")
        .await;
    let message = scene.message(APP, "theirs", "AppSynced").await;
    assert!(
        message.contains("spec.space") && message.contains("finance"),
        "{message}"
    );
    scene.end().await;
}
