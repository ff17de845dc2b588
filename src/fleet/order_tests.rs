#![allow(clippy::unwrap_used)]
use serde_json::json;

use super::*;
use crate::fleet::testing::{parent, rolling, spec};
use crate::fleet::{GeneratorInputs, generate};

fn ordered(fleet: &crate::api::app_of_apps::AppOfAppsSpec) -> (Order, Vec<String>) {
    let mut generated = generate(fleet, &GeneratorInputs::default(), &parent(), &|_| {
        Vec::new()
    });
    let order = order(&mut generated, &fleet.strategy(), &BTreeSet::new());
    let errors = generated.errors.iter().map(ToString::to_string);
    (order, errors.collect())
}

fn written(list: &[(&str, i32, &[&str])]) -> crate::api::app_of_apps::AppOfAppsSpec {
    let app = |(name, wave, needs): &(&str, i32, &[&str])| json!({"name": name, "wave": wave, "dependsOn": needs});
    spec(json!({"apps": list.iter().map(app).collect::<Vec<_>>()}))
}

#[test]
fn a_child_belongs_to_the_first_step_that_matches_and_the_rest_form_a_last_one() {
    let fleet = rolling(&[("c1", 1), ("a1", 1), ("b1", 1)], "Halt", json!({}));
    let (order, errors) = ordered(&fleet);
    assert!(errors.is_empty());
    assert_eq!(order.steps, 3);
    let sorted: Vec<&str> = order.sorted().into_iter().map(|(name, _)| name).collect();
    assert_eq!(sorted, ["a1", "b1", "c1"]);
    let (order, _) = ordered(&rolling(&[("a1", 1), ("b1", 1)], "Halt", json!({})));
    assert_eq!(order.steps, 2, "a last step that nobody is in");
}

#[test]
fn waves_come_before_dependencies_and_these_before_names() {
    let (order, errors) = ordered(&written(&[
        ("z", 0, &[]),
        ("a", 1, &[]),
        ("m", 0, &["z"]),
        ("b", 0, &["m"]),
    ]));
    assert!(errors.is_empty(), "{errors:?}");
    let sorted: Vec<&str> = order.sorted().into_iter().map(|(name, _)| name).collect();
    assert_eq!(sorted, ["z", "m", "b", "a"]);
}

#[test]
fn what_can_have_no_order_is_named_and_the_others_go_on() {
    let (order, errors) = ordered(&written(&[
        ("a", 0, &["b"]),
        ("b", 0, &["c"]),
        ("c", 0, &["a"]),
        ("d", 0, &["nobody"]),
        ("e", 0, &["f"]),
        ("f", 1, &[]),
        ("g", 0, &["a"]),
        ("h", 0, &[]),
    ]));
    for part in [
        "apps[0]: dependsOn: a: a cycle: a → b → c → a",
        "apps[1]: dependsOn: b: a cycle: b → c → a → b",
        "apps[3]: dependsOn: d: \"nobody\" is no child",
        "apps[4]: dependsOn: e: \"f\" comes in a higher wave",
    ] {
        assert!(
            errors.iter().any(|e| e.contains(part)),
            "{part} is missing in {errors:#?}"
        );
    }
    let names: Vec<&str> = order.places.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["f", "g", "h"],
        "what only leads into a cycle waits, but is no error"
    );
}

#[test]
fn a_chain_as_long_as_a_fleet_and_a_cycle_as_long_are_walked() {
    let n = 1000;
    let names: Vec<String> = (0..n).map(|i| format!("n{i:04}")).collect();
    let fleet = |closed: bool| {
        let app = |i: usize| {
            let next = (i + 1 < n || closed).then(|| names[(i + 1) % n].clone());
            json!({"name": names[i], "dependsOn": next.into_iter().collect::<Vec<_>>()})
        };
        spec(json!({"apps": (0..n).map(app).collect::<Vec<_>>()}))
    };
    let (order, errors) = ordered(&fleet(false));
    assert!(errors.is_empty());
    assert_eq!(order.places["n0000"].depth, n - 1);
    let (order, errors) = ordered(&fleet(true));
    assert_eq!((order.places.len(), errors.len()), (0, n));
    assert!(errors[0].len() < 400, "{}", errors[0]);
}

#[test]
fn code_that_moves_by_itself_is_refused_where_steps_are_asked_for() {
    for (source, field) in [
        (
            json!({"git": {"url": "u", "ref": {"branch": "main"}}}),
            "spec.source.git.ref.branch",
        ),
        (
            json!({"workspace": {"path": "/w", "redeploy": "OnChange"}}),
            "spec.source.workspace.redeploy",
        ),
        (
            json!({"configMapRef": {"name": "c"}}),
            "spec.source.configMapRef",
        ),
        (
            json!({"artifactRef": {"kind": "Bucket", "name": "b"}}),
            "spec.source.artifactRef.digest",
        ),
        (json!({"git": {"url": "u", "ref": {"tag": "v1"}}}), ""),
        (json!({"workspace": {"path": "/w"}}), ""),
        (
            json!({"artifactRef": {"kind": "Bucket", "name": "b", "digest": "sha256:1"}}),
            "",
        ),
    ] {
        let fleet = |strategy: &serde_json::Value| {
            spec(
                json!({"apps": [{"name": "a", "spec": {"source": source}}, {"name": "b"}], "strategy": strategy}),
            )
        };
        let (order, errors) = ordered(&fleet(&json!({"type": "RollingSync"})));
        assert_eq!(errors.is_empty(), field.is_empty(), "{source}");
        assert!(
            errors
                .iter()
                .all(|e| e.contains(field) && e.contains("unpinnedSources: Allow"))
        );
        assert_eq!(order.places.contains_key("a"), field.is_empty());
        let allowed = json!({"type": "RollingSync", "rollingSync": {"unpinnedSources": "Allow"}});
        assert!(ordered(&fleet(&allowed)).1.is_empty());
        assert!(
            ordered(&fleet(&json!({}))).1.is_empty(),
            "without steps nothing is refused"
        );
    }
}
