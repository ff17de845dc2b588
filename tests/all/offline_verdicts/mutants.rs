//! Full manifests of each kind with each field in every wrong shape: some thousands of objects that nobody thought of.
use serde_json::{Value, json};

use super::cases::{FLEET, app, good, manifest, workspace};
use super::{asked, said_offline};

/// Every member and item of `value`, as JSON pointers.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(members) => members
            .iter()
            .map(|(key, member)| (key.replace('~', "~0").replace('/', "~1"), member))
            .collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(n, item)| (n.to_string(), item))
            .collect(),
        _ => Vec::new(),
    };
    for (key, member) in inner {
        let here = format!("{at}/{key}");
        pointers(member, &here, found);
        found.push(here);
    }
}

/// `object` with the value at one pointer replaced, taken out, doubled or added to, in every way that makes sense there.
fn mutants(object: &Value, pointer: &str) -> Vec<Value> {
    let values = [
        json!(null),
        json!(true),
        json!(0),
        json!(-7),
        json!(2.5),
        json!(1e30),
        json!(""),
        json!("x"),
        json!("Ä b/c"),
        json!("n".repeat(9000)),
        json!([]),
        json!([null]),
        json!(["a", "a"]),
        json!({}),
        json!({"unknown": 1}),
    ];
    let mut found: Vec<Value> = values
        .into_iter()
        .map(|value| {
            let mut mutant = object.clone();
            *mutant.pointer_mut(pointer).unwrap() = value;
            mutant
        })
        .collect();
    let (holder, key) = pointer.rsplit_once('/').unwrap();
    let mut without = object.clone();
    match without.pointer_mut(holder).unwrap() {
        Value::Object(members) => {
            members.remove(key);
        }
        Value::Array(items) => {
            let index: usize = key.parse().unwrap();
            let item = items.remove(index);
            let mut twice = object.clone();
            let more = twice.pointer_mut(holder).unwrap().as_array_mut().unwrap();
            more.push(item);
            found.push(twice);
        }
        _ => unreachable!("only these hold something"),
    }
    found.push(without);
    let mut more = object.clone();
    if let Some(members) = more.pointer_mut(pointer).unwrap().as_object_mut() {
        members.insert("unknown".into(), json!(1));
        found.push(more);
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_in_every_wrong_shape_is_judged_as_the_api_server_judges_it() {
    let test = "every_field_in_every_wrong_shape_is_judged_as_the_api_server_judges_it";
    let Some(cluster) = envtest::shared_cluster_or_leave_out(test).await.unwrap() else {
        return;
    };
    envtest::install(&cluster).await.unwrap();
    let client = cluster.client().await.unwrap();
    let mut full = app(json!({
        "name": "sales-2", "compute": {"size": "Large"}, "userAuthorization": {"scopes": ["sql"]}, "suspend": false,
        "resources": [{"name": "w", "sqlWarehouse": {"id": "wh-1", "permission": "CanUse"}},
            {"name": "s", "description": "d", "secret": {"scope": "a", "key": "b", "permission": "Read"}}],
        "management": {"adopt": "IfUnowned", "deletion": "Orphan"},
        "deployment": {"command": ["a"], "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"resource": "w"}}]},
    }));
    full["metadata"]["labels"] = json!({"example.com/team": "a"});
    full["metadata"]["annotations"] = json!({"note": "a b"});
    let connection = workspace(json!({
        "workspaceID": "1", "tls": {"caBundleConfigMapRef": {"name": "a", "key": "b"}},
        "allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"a": "b"},
            "matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}},
        "limits": {"burst": 1, "maxApps": 2}, "observe": {"interval": "60s"},
    }));
    let fleet = manifest(
        FLEET,
        "fleet",
        json!({
            "generators": [{"list": {"elements": [{"team": "a"}]}}], "defaults": {"compute": {"size": "Large"}},
            "template": {"kind": "DatabricksApp", "metadata": {"name": "{{ team }}", "labels": {"a": "b"}}, "spec": {"a": 1}},
            "syncPolicy": {"onDeletion": "Orphan"}, "prune": {"maxDeletions": "5"}, "suspend": true,
        }),
    );
    let written = manifest(
        FLEET,
        "fleet",
        json!({"apps": [{"name": "a", "spec": {"a": [1]}}]}),
    );
    let mut cases = Vec::new();
    for object in [full, connection, fleet, written] {
        cases.push(good(object.clone()));
        let mut places = Vec::new();
        pointers(&object, "", &mut places);
        // Whoever reads them first would not know whom to ask, or about what.
        places.retain(|p| {
            ![
                "/apiVersion",
                "/kind",
                "/metadata",
                "/metadata/name",
                "/metadata/namespace",
            ]
            .contains(&p.as_str())
        });
        cases.extend(places.iter().flat_map(|p| mutants(&object, p)).map(good));
    }
    let offline = said_offline(&cases);
    let mut wrong = Vec::new();
    let mut refused = 0;
    for (case, said) in cases.iter().zip(&offline) {
        let reasons: Vec<String> = asked(&client, case).await.into_iter().flatten().collect();
        refused += usize::from(!reasons.is_empty());
        if reasons.is_empty() != said.is_empty() {
            wrong.push(format!(
                "the API server says {reasons:?}, validate {said:?} of\n{}",
                case.text
            ));
        }
    }
    assert!(
        refused > 500 && refused < cases.len(),
        "{refused} of {} refused",
        cases.len()
    );
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n\n")
    );
}
