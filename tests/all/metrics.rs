//! What the operator exposes is what the table says, and nothing else.
use std::collections::{BTreeMap, BTreeSet};

use databricks_app_operator::telemetry::metrics::table::{TABLE, Type};
use serde_json::json;

use crate::support::{Scene, Setting, running_app};

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_of_a_running_operator_is_in_the_table_with_its_type_and_labels() {
    let test = "every_metric_of_a_running_operator_is_in_the_table_with_its_type_and_labels";
    let Some(scene) = Scene::set(test, Setting::default()).await else {
        return;
    };
    scene.put("DatabricksApp", "sales", running_app()).await;
    let apps = json!([{"name": "one", "spec": {"workspaceRef": {"name": "prod"}, "lifecycle": {"state": "Stopped"}}}]);
    scene.put("AppOfApps", "fleet", json!({"apps": apps})).await;
    scene
        .wait("DatabricksApp", "sales", "Ready", "True/Running")
        .await;
    scene
        .wait("AppOfApps", "fleet", "Ready", "True/Succeeded")
        .await;
    let workspace = format!("{}/prod", scene.namespace);
    for line in [
        format!("dao_apps{{workspace=\"{workspace}\",state=\"Running\"}} 1"),
        format!("dao_apps{{workspace=\"{workspace}\",state=\"Stopped\"}} 1"),
        "dao_objects{kind=\"DatabricksWorkspace\",state=\"Ready\"} 1".into(),
        "dao_objects{kind=\"AppOfApps\",state=\"Ready\"} 1".into(),
        "dao_deployments_total{result=\"Succeeded\"} 1".into(),
        "dao_databricks_requests_total{method=\"POST\",route=\"apps/create\",code=\"200\"} ".into(),
        "dao_leader 1".into(),
        "dao_ready 1".into(),
    ] {
        scene
            .until(&format!("the metric {line}"), async || {
                let text = scene.metrics().await;
                text.lines().any(|l| l.starts_with(&line)).then_some(())
            })
            .await;
    }
    // What has no series yet is not shown at all.
    let drift = json!({"description": "changed", "updater": "stranger@example.com"});
    scene
        .sim
        .call("POST", "/sim/apps/sales", Some(&drift))
        .await
        .unwrap();
    let text = scene
        .until("drift is counted", async || {
            let text = scene.metrics().await;
            text.contains("dao_drift_repaired_total{").then_some(text)
        })
        .await;
    let exposed = exposed(&text);
    for (name, (kind, labels)) in &exposed {
        let entry = TABLE.iter().find(|entry| entry.name == name);
        let entry = entry.unwrap_or_else(|| panic!("{name} is not in the table"));
        assert_eq!(entry.kind, *kind, "{name}");
        let known: BTreeSet<&str> = entry.labels.iter().map(|label| label.name).collect();
        assert!(
            labels.iter().all(|label| known.contains(label.as_str())),
            "{name}: {labels:?}"
        );
        assert!(
            labels.is_empty() || labels.len() == known.len(),
            "{name}: {labels:?}"
        );
    }
    let missing = TABLE
        .iter()
        .filter(|entry| !exposed.contains_key(entry.name));
    let missing: Vec<&str> = missing.map(|entry| entry.name).collect();
    assert!(missing.is_empty(), "not exposed: {missing:?}");
    scene.end().await;
}

/// Type and labels of every metric in the text, by its name in the table.
fn exposed(text: &str) -> BTreeMap<String, (Type, BTreeSet<String>)> {
    let mut exposed = BTreeMap::new();
    for line in text.lines() {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            let (name, kind) = declared.split_once(' ').unwrap();
            let (name, kind) = match kind {
                "counter" => (format!("{name}_total"), Type::Counter),
                "gauge" => (name.to_owned(), Type::Gauge),
                "histogram" => (name.to_owned(), Type::Histogram),
                other => panic!("{name} is a {other}"),
            };
            exposed.insert(name, (kind, BTreeSet::new()));
        } else if !line.starts_with('#') {
            let (series, _) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let histogram = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix))
                .filter(|name| exposed.contains_key(*name));
            let known = exposed.get_mut(histogram.unwrap_or(name));
            let (_, known) = known.unwrap_or_else(|| panic!("{name} has no type"));
            for label in labels
                .trim_end_matches('}')
                .split("\",")
                .filter(|l| !l.is_empty())
            {
                let (label, _) = label.split_once('=').unwrap();
                if label != "le" {
                    known.insert(label.to_owned());
                }
            }
        }
    }
    exposed
}
