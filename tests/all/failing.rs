//! What fails costs no more calls than what works.
use std::time::Duration;

use envtest::{Sim, SimOptions};
use serde_json::{Value, json};

use crate::support::{IDENTITY, Scene, Setting, running_app};

const APP: &str = "DatabricksApp";
const LOT: usize = 20;

fn app(workspace: &str, group: &str) -> Value {
    let mut spec = running_app();
    spec["workspaceRef"]["name"] = json!(workspace);
    spec["permissions"]["grants"][0]["principal"]["group"] = json!(group);
    spec
}

fn names(lot: &str) -> impl Iterator<Item = String> {
    (0..LOT).map(move |n| format!("{lot}-{n}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_lots_make_no_more_calls_a_minute_than_a_healthy_one() {
    let test = "failing_lots_make_no_more_calls_a_minute_than_a_healthy_one";
    let setting = Setting {
        sim: vec!["--max-apps".into(), "200".into()],
        faults: vec![
            json!({"kind": "deployment_outcome", "app": "deploy-*", "outcome": "FAILED", "message": "no such module"}),
        ],
        ..Setting::default()
    };
    let Some(scene) = Scene::set(test, setting).await else {
        return;
    };
    scene
        .call(
            "POST",
            "/api/2.0/workspace/mkdirs",
            &json!({"path": "/Workspace/Shared/sales"}),
        )
        .await;
    // A second workspace, that answers 503 to everything once its apps run.
    let folder = tempfile::tempdir().unwrap();
    let mut options = SimOptions::new(&scene.token, IDENTITY, folder.path().join("down.log"));
    options.time_scale = scene.scale;
    options.any_source = true;
    options.arguments = vec!["--max-apps".into(), "200".into()];
    let down = Sim::start(options).await.unwrap();
    let mut workspace = scene.get("DatabricksWorkspace", "prod").await["spec"].clone();
    workspace["host"] = json!(down.url());
    scene.put("DatabricksWorkspace", "down", workspace).await;
    let lots = [
        ("healthy", "prod", "users"),
        ("deploy", "prod", "users"),
        ("group", "prod", "nobody"),
        ("down", "down", "users"),
    ];
    for (lot, workspace, group) in lots {
        for name in names(lot) {
            scene.put(APP, &name, app(workspace, group)).await;
        }
    }
    for name in names("healthy").chain(names("down")) {
        scene.wait(APP, &name, "Ready", "True/Running").await;
    }
    for name in names("deploy") {
        scene
            .wait(APP, &name, "Stalled", "True/DeploymentFailed")
            .await;
    }
    for name in names("group") {
        scene
            .wait(APP, &name, "Stalled", "True/PrincipalNotFound")
            .await;
        let message = scene.message(APP, &name, "PermissionsSynced").await;
        assert!(message.contains("nobody"), "{message}");
    }
    let fault = json!({"kind": "status", "pattern": "* /api/*", "status_code": 503, "times": 0});
    down.call("POST", "/sim/faults", Some(&fault))
        .await
        .unwrap();
    // Whoever was woken by the last transition has had its turn.
    scene.pass(Duration::from_secs(120)).await;
    scene.zero().await;
    down.call("DELETE", "/sim/requests", None).await.unwrap();
    let minutes = 25;
    scene.pass(Duration::from_secs(60 * minutes)).await;
    let recent = scene.recent().await;
    let calls = |lot: &str| {
        let of_lot = |entry: &&Value| {
            entry["path"]
                .as_str()
                .unwrap_or_default()
                .contains(&format!("/{lot}-"))
        };
        recent.iter().filter(of_lot).count()
    };
    let healthy = calls("healthy");
    assert!(healthy >= LOT, "healthy apps are looked at: {healthy}");
    for lot in ["deploy", "group"] {
        // One recheck in a slow interval is allowed.
        assert!(
            calls(lot) <= healthy + LOT,
            "{lot}: {} calls, the healthy {healthy}",
            calls(lot)
        );
    }
    let lookups = recent
        .iter()
        .filter(|e| {
            e["path"]
                .as_str()
                .unwrap_or_default()
                .contains("/scim/v2/Groups")
        })
        .count();
    assert!(lookups <= 2, "{lookups} lookups of the one missing group");
    let said = down.call("GET", "/sim/requests", None).await.unwrap();
    let to_down: u64 = said["totals"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["count"].as_u64().unwrap())
        .sum();
    let (lists, budget) = (minutes, healthy as u64 + minutes);
    assert!(
        to_down <= budget,
        "{to_down} calls to the workspace that is down; {budget} to as many healthy apps, {lists} lists among them"
    );
    scene.zero().await;
    down.call("DELETE", "/sim/faults", None).await.unwrap();
    for name in names("down") {
        scene.wait(APP, &name, "Ready", "True/Running").await;
    }
    for lot in ["healthy", "deploy", "group", "down"] {
        for name in names(lot) {
            scene.delete(APP, &name).await;
        }
    }
    scene.end().await;
}
