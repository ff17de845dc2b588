//! Where the contract leaves open how the service behaves, an app lives through each possibility: it comes up, is changed,
//! restarted, stopped, started and deleted, with the same writes.
use serde_json::{Value, json};

use crate::support::{Scene, Setting};

const APP: &str = "DatabricksApp";
/// create, grant, deploy; update; update, stop, start; stop, start; delete.
const WRITES: usize = 10;

/// One possibility, and how many accepted writes more it costs.
struct Possibility {
    name: &'static str,
    faults: Vec<Value>,
    more: usize,
}

fn possibility(name: &'static str, fault: Value) -> Possibility {
    Possibility {
        name,
        faults: vec![fault],
        more: 0,
    }
}

/// Those that hold for single apps.
fn of_apps() -> Vec<Possibility> {
    vec![
        Possibility {
            name: "usual",
            faults: Vec::new(),
            more: 0,
        },
        possibility("autodeploy", json!({"kind": "auto_deploy_at_create"})),
        possibility(
            "late-deploy",
            json!({"kind": "deploy_refused_after_active", "for": "10s"}),
        ),
        possibility(
            "late-redeploy",
            json!({"kind": "delayed_redeploy", "delay": "8s"}),
        ),
        possibility("no-redeploy", json!({"kind": "no_redeploy_on_start"})),
        // Nothing is left to judge: each of the two starts is followed by a deployment of ours.
        Possibility {
            name: "cleared",
            faults: vec![
                json!({"kind": "no_redeploy_on_start"}),
                json!({"kind": "stop_clears_active_deployment"}),
            ],
            more: 2,
        },
        possibility("touches", json!({"kind": "update_touches_compute"})),
        possibility("in-transit", json!({"kind": "update_refused_in_transit"})),
        possibility(
            "conflict",
            json!({"kind": "refusal", "status_code": 409, "error_code": "INVALID_STATE"}),
        ),
        possibility("no-op", json!({"kind": "no_op_refused"})),
        possibility(
            "not-found",
            json!({"kind": "not_found_code", "error_code": "NOT_FOUND"}),
        ),
        possibility("empty-delete", json!({"kind": "delete_reply_empty"})),
        possibility(
            "stop-clears",
            json!({"kind": "stop_clears_active_deployment"}),
        ),
        possibility(
            "name-held",
            json!({"kind": "name_held_after_delete", "for": "30s"}),
        ),
        possibility(
            "taken-code",
            json!({"kind": "name_taken_code", "error_code": "RESOURCE_ALREADY_EXISTS"}),
        ),
        possibility("lockout", json!({"kind": "caller_lockout"})),
        possibility(
            "crashed-refusal",
            json!({"kind": "deploy_refused_while_crashed"}),
        ),
        possibility(
            "source-refused",
            json!({"kind": "missing_source_refused", "status_code": 404}),
        ),
        possibility(
            "stays-pending",
            json!({"kind": "failed_deployment_stays_pending"}),
        ),
        possibility(
            "token-true",
            json!({"kind": "forward_user_access_token_reads_true"}),
        ),
        possibility(
            "grants-follow",
            json!({"kind": "grants_follow_recreated_objects"}),
        ),
        possibility("queue", json!({"kind": "updates_queue"})),
        possibility("no-update", json!({"kind": "no_update_is_missing"})),
        possibility(
            "not-updated",
            json!({"kind": "ended_update_reads_not_updated"}),
        ),
        possibility("at-once", json!({"kind": "durations", "update": "0s"})),
        possibility("shuffled", json!({"kind": "shuffled_order"})),
        possibility("instances", json!({"kind": "running_instances_shown"})),
        possibility("starred", json!({"kind": "env_masking", "mode": "starred"})),
        possibility(
            "env-absent",
            json!({"kind": "env_masking", "mode": "absent"}),
        ),
        possibility(
            "env-visible",
            json!({"kind": "env_masking", "mode": "visible"}),
        ),
        possibility(
            "snapshot",
            json!({"kind": "active_source_path_is_snapshot"}),
        ),
        possibility("reversed", json!({"kind": "reversed_order"})),
        possibility("revokes", json!({"kind": "revoke_grants_on_removal"})),
        possibility("put-caller", json!({"kind": "put_without_caller_refused"})),
        possibility("no-acl", json!({"kind": "no_default_acl"})),
        possibility("no-scopes", json!({"kind": "scopes_not_echoed"})),
        possibility("no-counts", json!({"kind": "instance_counts_absent"})),
    ]
}

/// Those that hold for whole lists, each in a scene of its own.
fn of_lists() -> Vec<Possibility> {
    vec![
        possibility("full", json!({"kind": "list_thin", "fields": []})),
        possibility(
            "thin",
            json!({"kind": "list_thin", "fields": ["app_status", "active_deployment", "description", "resources", "user_api_scopes", "compute_size"]}),
        ),
        possibility("lag", json!({"kind": "list_lag", "for": "5s"})),
        possibility("hides", json!({"kind": "list_hides_deleting"})),
        possibility(
            "empty-page",
            json!({"kind": "empty_page", "pattern": "GET /api/2.0/apps"}),
        ),
        possibility("small-pages", json!({"kind": "large_page_refused"})),
        possibility("unknown", json!({"kind": "extra_fields"})),
    ]
}

fn spec(description: &str, scopes: Value, state: &str) -> Value {
    json!({
        "workspaceRef": {"name": "prod"},
        "description": description,
        "compute": {"size": "Large"},
        "lifecycle": {"state": state},
        "source": {"workspace": {"path": "/Workspace/Shared/sales"}},
        "deployment": {"command": ["python", "app.py"], "env": [{"name": "LEVEL", "value": "info"}]},
        "permissions": {"grants": [{"principal": {"group": "users"}, "level": "CanUse"}]},
        "resources": [{"name": "w", "sqlWarehouse": {"id": "wh-1", "permission": "CanUse"}}],
        "userAuthorization": {"scopes": scopes},
    })
}

/// Writes of one app so far, accepted and refused.
async fn writes(scene: &Scene, name: &str) -> (usize, Vec<String>) {
    let recent = scene.recent().await;
    let path = |entry: &Value| entry["path"].as_str().unwrap_or_default().to_owned();
    let of_app = |entry: &&Value| {
        let of_path = path(entry).split('/').any(|part| part == name);
        entry["method"] != "GET" && (of_path || entry["body"]["name"] == name)
    };
    let writes: Vec<&Value> = recent.iter().filter(of_app).collect();
    let accepted = writes.iter().filter(|w| w["status"] == 200).count();
    let said = writes.iter().map(|w| {
        format!(
            "{} {} {}",
            w["method"].as_str().unwrap_or_default(),
            path(w),
            w["status"]
        )
    });
    (accepted, said.collect())
}

async fn live_through(scene: &Scene, all: &[Possibility]) {
    let put = async |description: &str, scopes: Value, state: &str| {
        for one in all {
            scene
                .put(APP, one.name, spec(description, scopes.clone(), state))
                .await;
        }
    };
    let ready = async |what: &str, wanted: &str, remote: Value| {
        for one in all {
            scene
                .until(&format!("{} {what}", one.name), async || {
                    let ready = scene.condition(APP, one.name, "Ready").await == wanted;
                    let synced = ["AppSynced", "ScopesSynced", "PermissionsSynced"];
                    let mut all_synced = true;
                    for condition in synced {
                        all_synced &=
                            scene.condition(APP, one.name, condition).await == "True/Succeeded";
                    }
                    let (_, app) = scene.remote(&format!("/api/2.0/apps/{}", one.name)).await;
                    let same = remote
                        .as_object()
                        .unwrap()
                        .iter()
                        .all(|(key, value)| app[key] == *value);
                    (ready && all_synced && same).then_some(())
                })
                .await;
        }
    };
    put("one", json!(["sql"]), "Running").await;
    ready("comes up", "True/Running", json!({"description": "one"})).await;
    put("two", json!(["sql"]), "Running").await;
    ready("is changed", "True/Running", json!({"description": "two"})).await;
    put("two", json!(["files.files", "sql"]), "Running").await;
    for one in all {
        scene
            .until(&format!("{} is started again", one.name), async || {
                let (_, said) = writes(scene, one.name).await;
                said.iter()
                    .any(|write| write.contains("/start 200"))
                    .then_some(())
            })
            .await;
    }
    ready("is restarted", "True/Running", json!({})).await;
    put("two", json!(["files.files", "sql"]), "Stopped").await;
    ready("is stopped", "True/Stopped", json!({})).await;
    put("two", json!(["files.files", "sql"]), "Running").await;
    ready("is started", "True/Running", json!({})).await;
    for one in all {
        scene.delete(APP, one.name).await;
    }
    for one in all {
        scene.gone(APP, one.name).await;
        let (accepted, said) = writes(scene, one.name).await;
        assert_eq!(accepted, WRITES + one.more, "{}: {said:#?}", one.name);
        let refused = said.len() - accepted;
        assert!(refused <= 2, "{}: {said:#?}", one.name);
    }
    let metrics = scene.metrics().await;
    let needless = metrics
        .lines()
        .filter(|l| l.starts_with("dao_writes_without_difference_total") && !l.ends_with(" 0"));
    assert_eq!(needless.count(), 0, "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_lives_through_every_possibility_with_the_same_writes() {
    let test = "an_app_lives_through_every_possibility_with_the_same_writes";
    // The fake workspace shows its newest requests one by one: not those of so many apps at once.
    for some in of_apps().chunks(16) {
        let faults = some.iter().flat_map(|one| {
            one.faults.iter().map(|fault| {
                let mut fault = fault.clone();
                fault["app"] = json!(one.name);
                fault
            })
        });
        let setting = Setting {
            faults: faults.collect(),
            ..Setting::default()
        };
        let Some(scene) = Scene::set(test, setting).await else {
            return;
        };
        live_through(&scene, some).await;
        scene.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_lives_through_every_kind_of_list_with_the_same_writes() {
    let test = "an_app_lives_through_every_kind_of_list_with_the_same_writes";
    for one in of_lists() {
        let setting = Setting {
            faults: one.faults.clone(),
            // Smaller than the pages that the operator asks for.
            sim: vec!["--page-size".into(), "50".into()],
            ..Setting::default()
        };
        let Some(scene) = Scene::set(test, setting).await else {
            return;
        };
        live_through(&scene, &[one]).await;
        scene.end().await;
    }
}
