#![allow(clippy::unwrap_used, clippy::panic)]
use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;
use crate::api::app_of_apps::{AppOfAppsSpec, FleetSummary};
use crate::api::status::Reason;
use crate::fleet::ErrorReason;
use crate::fleet::prune::{Verdict, status};
use crate::fleet::testing::{Fate, Model, condition, parent, spec, stranger};
use crate::fleet::{GeneratorInputs, Survey};

fn generate(spec: &AppOfAppsSpec, parent: &Parent) -> crate::fleet::Generated {
    crate::fleet::generate(spec, &GeneratorInputs::default(), parent, &|_| Vec::new())
}

fn teams(teams: &[&str]) -> AppOfAppsSpec {
    let elements: Vec<Value> = teams
        .iter()
        .map(|team| json!({"team": team, "size": "Medium"}))
        .collect();
    spec(json!({
        "generators": [{"list": {"elements": elements}}],
        "template": {
            "metadata": {"name": "{{ team }}-app", "labels": {"team": "{{ team }}"}},
            "spec": {"workspaceRef": {"name": "prod"}, "compute": {"size": "{{ size }}"}},
        },
        "defaults": {"compute": {"size": "Large", "minInstances": 1}, "description": "d"},
    }))
}

/// The child as it is after our apply.
/// The children of that spec as they exist after a pass.
fn all_live(spec: &AppOfAppsSpec) -> Vec<ChildView> {
    let mut model = Model::new(spec.clone());
    model.pass();
    model.views.into_values().collect()
}

fn changes(spec: &AppOfAppsSpec, existing: &[ChildView], confirm: Option<&str>) -> Survey {
    let mut model = Model::new(spec.clone());
    let named = existing
        .iter()
        .map(|view| (view.name.clone(), view.clone()));
    model.views = named.collect();
    model.confirm = confirm.map(str::to_owned);
    model.survey()
}

/// Names of the children that are written for that reason.
fn names(survey: &Survey, why: Why) -> Vec<&str> {
    let writes = survey.writes.iter().filter(|write| write.why == why);
    writes.map(|write| write.child.name.as_str()).collect()
}

fn pruned(changes: &Survey) -> Vec<&str> {
    changes
        .prune
        .allowed()
        .iter()
        .map(|gone| gone.name.as_str())
        .collect()
}

#[test]
fn each_element_becomes_a_child_over_the_defaults() {
    let generated = generate(&teams(&["sales", "hr"]), &parent());
    assert!(generated.complete && generated.errors.is_empty());
    let sales = &generated.children["sales-app"];
    assert_eq!(sales.labels["team"], "sales");
    assert_eq!(
        sales.spec,
        json!({"workspaceRef": {"name": "prod"}, "compute": {"size": "Medium", "minInstances": 1}, "description": "d"})
    );
    assert_eq!(generated.children.len(), 2);
}

#[test]
fn apps_written_out_lie_over_the_defaults() {
    let generated = generate(
        &spec(json!({
            "apps": [{"name": "a", "spec": {"description": null, "x": [2]}}, {"name": "b"}, {"name": "B!"}],
            "defaults": {"description": "d", "x": [1]},
        })),
        &parent(),
    );
    assert_eq!(generated.children["a"].spec, json!({"x": [2]}));
    assert_eq!(
        generated.children["b"].spec,
        json!({"description": "d", "x": [1]})
    );
    assert_eq!(generated.errors[0].element, "apps[2]");
    assert_eq!(generated.errors[0].reason, ErrorReason::InvalidName);
    assert!(!generated.complete);
}

#[test]
fn an_element_in_error_is_named_and_stops_nobody_else() {
    let generated = generate(
        &spec(json!({
            "generators": [{"list": {"elements": [{"team": "a", "size": 1}, {"team": "b"}, {"size": 2}]}}],
            "template": {"metadata": {"name": "{{ team }}"}, "spec": {"compute": {"n": "{{ size }}"}}},
        })),
        &parent(),
    );
    assert_eq!(generated.children.keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!(generated.children["a"].spec["compute"]["n"], 1);
    let shown: Vec<String> = generated.errors.iter().map(ToString::to_string).collect();
    assert!(
        shown[0].starts_with(
            "generators[0].list.elements[1]: spec.compute.n: unknown variable \"size\""
        ),
        "{shown:?}"
    );
    assert!(
        shown[1].starts_with(
            "generators[0].list.elements[2]: metadata.name: unknown variable \"team\""
        ),
        "{shown:?}"
    );
    assert!(generated.kept.contains("b") && !generated.complete);
}

#[test]
fn of_elements_with_one_name_none_wins_and_what_exists_is_kept() {
    let before = all_live(&teams(&["a", "b", "c"]));
    let changes = changes(&teams(&["a", "a", "b", "c"]), &before, None);
    assert!(changes.writes.is_empty());
    assert!(changes.prune.names.is_empty());
    let generated = generate(&teams(&["a", "a", "b"]), &parent());
    assert_eq!(generated.errors.len(), 2);
    assert!(
        generated
            .errors
            .iter()
            .all(|e| e.reason == ErrorReason::DuplicateName)
    );
    assert!(generated.errors[0].message.contains("elements[1]"));
    assert!(generated.errors[1].message.contains("elements[0]"));
}

#[test]
fn a_template_with_a_key_of_another_tool_is_refused_once_and_prunes_nothing() {
    let mut bad = teams(&["a", "b"]);
    let template = bad.template.as_mut().unwrap();
    template
        .metadata
        .annotations
        .insert("argocd.argoproj.io/sync-wave".into(), "1".into());
    let generated = generate(&bad, &parent());
    assert_eq!(generated.errors.len(), 1);
    assert!(
        generated.errors[0]
            .to_string()
            .contains("argocd.argoproj.io/sync-wave")
    );
    let changes = changes(&bad, &all_live(&teams(&["a", "b"])), None);
    assert!(changes.writes.is_empty() && changes.prune.names.is_empty());
}

#[test]
fn the_payload_names_its_parent_without_blocking_its_deletion() {
    let survey = changes(&teams(&["a"]), &[], None);
    let body = survey.writes[0].payload(&parent(), &[]);
    let owner = &body["metadata"]["ownerReferences"][0];
    assert_eq!(owner["uid"], "parent-uid");
    assert_eq!(owner["controller"], true);
    assert!(owner.get("blockOwnerDeletion").is_none());
    assert_eq!(body["metadata"]["labels"]["appofapps.dev/parent"], "fleet");
    let annotations = body["metadata"]["annotations"].as_object().unwrap();
    let revision = &survey.writes[0].child.revision;
    assert_eq!(annotations["appofapps.dev/revision"], *revision);
    let digest = &annotations["appofapps.dev/applied-digest"];
    assert_eq!(digest.as_str().unwrap().len(), 64);
    // Without steps there is no way back, and nothing is kept for one.
    assert!(!annotations.contains_key("appofapps.dev/applied"));
}

#[test]
fn what_was_applied_settles_and_a_hand_edit_or_a_dropped_field_is_put_right() {
    let fleet = teams(&["a", "b"]);
    let mut existing = all_live(&fleet);
    existing[0].spec["serverDefault"] = json!(true);
    existing[0]
        .annotations
        .insert("somebody/else".into(), "x".into());
    let settled = changes(&fleet, &existing, None);
    assert!(settled.writes.is_empty() && settled.prune.names.is_empty());
    existing[1].spec["compute"]["size"] = json!("XLarge");
    assert_eq!(
        names(&changes(&fleet, &existing, None), Why::Repair),
        ["b-app"]
    );
    let mut dropped = fleet.clone();
    dropped.defaults = None;
    assert_eq!(
        names(&changes(&dropped, &all_live(&fleet), None), Why::Release),
        ["a-app", "b-app"]
    );
}

#[test]
fn a_child_of_somebody_else_is_refused_by_name_and_never_pruned() {
    let fleet = teams(&["a", "b"]);
    let mut existing = all_live(&teams(&["a", "x"]));
    existing[0].owner = Some(Owner {
        kind: "AppOfApps".into(),
        name: "other".into(),
        uid: "o".into(),
        controller: true,
    });
    existing[1].owner = None;
    let changes = changes(&fleet, &existing, None);
    assert_eq!(names(&changes, Why::Create), ["b-app"]);
    assert_eq!(changes.foreign.len(), 1);
    assert!(changes.foreign[0].to_string().contains("AppOfApps other"));
    assert!(changes.prune.names.is_empty());
}

#[test]
fn a_child_that_still_goes_is_neither_written_nor_created() {
    let fleet = teams(&["a"]);
    let mut existing = all_live(&fleet);
    existing[0].deleting = true;
    let changes = changes(&fleet, &existing, None);
    assert_eq!(changes.terminating, 1);
    assert!(changes.writes.is_empty());
}

#[test]
fn one_that_left_is_pruned_and_two_of_five_wait_for_confirmation() {
    let five = all_live(&teams(&["a", "b", "c", "d", "e"]));
    assert_eq!(
        pruned(&changes(&teams(&["a", "b", "c", "d"]), &five, None)),
        ["e-app"]
    );
    let waiting = changes(&teams(&["a", "b", "c"]), &five, None);
    assert!(pruned(&waiting).is_empty());
    let shown = status(&waiting.prune).unwrap();
    assert_eq!(
        (shown.count, shown.names),
        (2, vec!["d-app".to_owned(), "e-app".to_owned()])
    );
    let digest = shown.digest.unwrap();
    assert_eq!(
        pruned(&changes(&teams(&["a", "b", "c"]), &five, Some(&digest))),
        ["d-app", "e-app"]
    );
    assert!(
        pruned(&changes(&teams(&["a", "b"]), &five, Some(&digest))).is_empty(),
        "an old confirmation was believed"
    );
}

#[test]
fn those_on_their_way_out_count_and_keep_the_confirmation_valid() {
    let mut five = all_live(&teams(&["a", "b", "c", "d", "e"]));
    five[4].deleting = true;
    let waiting = changes(&teams(&["a", "b", "c"]), &five, None);
    let Verdict::NeedsConfirmation { digest, .. } = &waiting.prune.verdict else {
        panic!("{:?}", waiting.prune);
    };
    assert_eq!(
        pruned(&changes(&teams(&["a", "b", "c"]), &five, Some(digest))),
        ["d-app"]
    );
    five[3].deleting = true;
    assert!(status(&changes(&teams(&["a", "b", "c"]), &five, None).prune).is_none());
}

#[test]
fn an_empty_result_deletes_nothing_without_confirmation() {
    let one = all_live(&teams(&["a"]));
    let none = spec(json!({"apps": []}));
    let waiting = changes(&none, &one, None);
    assert!(pruned(&waiting).is_empty());
    let digest = status(&waiting.prune).unwrap().digest.unwrap();
    assert_eq!(pruned(&changes(&none, &one, Some(&digest))), ["a-app"]);
}

#[test]
fn with_an_unknown_name_nothing_is_deleted_not_even_confirmed() {
    let existing = all_live(&teams(&["a", "b"]));
    let mut broken = teams(&["a"]);
    broken.generators.as_mut().unwrap()[0]
        .list
        .as_mut()
        .unwrap()
        .elements
        .push(Map::new());
    let changes = changes(&broken, &existing, Some("anything"));
    assert!(matches!(changes.prune.verdict, Verdict::Withheld { .. }));
    assert!(status(&changes.prune).unwrap().digest.is_none());
}

#[test]
fn the_budget_is_a_number_or_a_share_of_at_least_one() {
    let ten: Vec<String> = (0..10).map(|n| format!("t{n}")).collect();
    let ten: Vec<&str> = ten.iter().map(String::as_str).collect();
    let existing = all_live(&teams(&ten));
    for (budget, gone, allowed) in [
        ("20%", 2, true),
        ("20%", 3, false),
        ("0", 1, false),
        ("0%", 1, false),
        ("3", 3, true),
        ("5%", 1, true),
        ("100%", 9, true),
    ] {
        let mut fleet = teams(&ten[gone..]);
        fleet.prune = Some(serde_json::from_value(json!({"maxDeletions": budget})).unwrap());
        assert_eq!(
            pruned(&changes(&fleet, &existing, None)).len() == gone,
            allowed,
            "{budget} {gone}"
        );
    }
}

#[test]
fn the_summary_counts_and_names_the_worst() {
    let mut model = Model::new(teams(&["a", "b", "c", "d", "x"]));
    model.pass();
    model.spec = teams(&["a", "b", "c", "d", "e"]);
    model.fare("a-app", Fate::Stopped);
    model.fare("c-app", Fate::Stalled);
    model.fare("b-app", Fate::Progressing);
    model.fare("d-app", Fate::Ready);
    let retrying = condition("Reconciling", "True", "ProgressingWithRetry", model.at);
    model.views.get_mut("b-app").unwrap().conditions = vec![retrying];
    let mut long = condition("Stalled", "True", "AppCrashed", model.at);
    long.message = "m".repeat(2000);
    model.views.get_mut("c-app").unwrap().conditions = vec![long];
    let d = model.views.get_mut("d-app").unwrap();
    d.generation += 1;
    d.annotations
        .insert("appofapps.dev/revision".into(), "old".into());
    let survey = model.survey();
    assert_eq!(
        survey.summary,
        FleetSummary {
            desired: 5,
            created: 4,
            updated: 3,
            ready: 1,
            progressing: 2,
            stalled: 1,
            suspended: 0,
            stopped: 1,
            errors: 0,
        }
    );
    let failing: Vec<&str> = survey.failing.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(failing, ["c-app", "b-app"]);
    assert!(survey.failing[0].message.len() <= 256);
}

#[test]
fn a_child_that_asks_to_leave_is_let_go_and_never_written_or_deleted_again() {
    let mut model = Model::settled(teams(&["a", "b"]));
    let detach = ("appofapps.dev/detach".to_owned(), "true".to_owned());
    model
        .views
        .get_mut("a-app")
        .unwrap()
        .annotations
        .extend([detach]);
    let survey = model.pass();
    assert_eq!(survey.detach[0].name, "a-app");
    assert_eq!(survey.summary.desired, 1);
    model.views.get_mut("a-app").unwrap().spec["description"] = json!("mine");
    for teams in [teams(&["a", "b"]), teams(&["b"])] {
        model.spec = teams;
        let survey = model.pass();
        assert!(
            survey.writes.is_empty() && survey.detach.is_empty(),
            "{survey:#?}"
        );
        assert!(survey.foreign.is_empty() && survey.prune.names.is_empty());
    }
}

#[test]
fn a_child_that_may_ask_to_leave_is_neither_written_nor_deleted_and_named() {
    let mut model = Model::settled(teams(&["a", "b"]));
    let a = model.views.get_mut("a-app").unwrap();
    let unclear = ("appofapps.dev/detach".to_owned(), "yes".to_owned());
    a.annotations.extend([unclear]);
    a.spec["description"] = json!("mine");
    let survey = model.pass();
    assert!(survey.writes.is_empty() && survey.detach.is_empty());
    let refused = &survey.refused["a-app"];
    assert_eq!(refused.reason, Reason::InvalidSpec);
    assert!(
        refused.message.contains("appofapps.dev/detach: \"yes\""),
        "{refused:?}"
    );
    assert_eq!(survey.failing[0].name, "a-app");
    model.spec = teams(&["b"]);
    let survey = model.pass();
    let Verdict::Withheld { why } = &survey.prune.verdict else {
        panic!("{survey:#?}");
    };
    assert!(why.starts_with("a-app: annotation"), "{why}");
    let a = model.views.get_mut("a-app").unwrap();
    a.annotations.remove("appofapps.dev/detach");
    assert_eq!(pruned(&model.pass()), ["a-app"]);
}

#[test]
fn an_object_made_by_hand_is_refused_until_its_label_hands_it_over() {
    let fleet = teams(&["a"]);
    let mut model = Model::new(fleet);
    model.views.insert("a-app".into(), stranger("a-app"));
    let survey = model.pass();
    assert!(survey.writes.is_empty());
    let message = survey.foreign[0].to_string();
    assert!(
        message.contains("kubectl label dbapp -n default a-app appofapps.dev/parent=fleet"),
        "{message}"
    );
    let label = ("appofapps.dev/parent".to_owned(), "fleet".to_owned());
    model.views.get_mut("a-app").unwrap().labels.extend([label]);
    model.pass();
    assert_eq!(model.log, ["release a-app"]);
    assert!(is_ours(&model.views["a-app"], "parent-uid"));
}

#[test]
fn an_ignored_field_is_set_once_and_then_left_to_others() {
    let fleet = |size: &str| {
        spec(json!({
            "apps": [{"name": "a", "spec": {"compute": {"size": size}, "description": "d"}}],
            "ignoreChildDifferences": [{"jsonPointers": ["/spec/compute/size"]}],
        }))
    };
    let mut model = Model::settled(fleet("Medium"));
    model.views.get_mut("a").unwrap().spec["compute"]["size"] = json!("Large");
    assert!(
        model.survey().writes.is_empty(),
        "a change of an ignored field is drift"
    );
    model.spec = fleet("XLarge");
    assert!(
        model.survey().writes.is_empty(),
        "an ignored field is part of the revision"
    );
    model.views.get_mut("a").unwrap().spec["description"] = json!("edited");
    model.pass();
    assert_eq!(model.log, ["repair a"]);
    assert_eq!(
        model.views["a"].spec,
        json!({"compute": {"size": "Large"}, "description": "d"})
    );
}

#[test]
fn a_policy_leaves_out_what_it_does_not_name() {
    for (policy, want) in [
        ("Sync", ["create c", "release a", "delete b"].as_slice()),
        ("CreateOnly", &["create c"]),
        ("CreateUpdate", &["create c", "release a"]),
        ("CreateDelete", &["create c", "delete b"]),
    ] {
        let fleet = |apps: Value| {
            spec(
                json!({"apps": apps, "syncPolicy": {"appsSync": policy}, "prune": {"maxDeletions": "9"}}),
            )
        };
        let app = |name: &str, v: i64| json!({"name": name, "spec": {"v": v}});
        let mut model = Model::settled(fleet(json!([app("a", 1), app("b", 1)])));
        model.spec = fleet(json!([app("a", 2), app("c", 1)]));
        for _ in 0..4 {
            model.pass();
            model.all(Fate::Ready);
        }
        let mut log = model.log.clone();
        log.sort_by_key(|line| line.starts_with("delete"));
        let mut want = want.to_vec();
        log.sort();
        want.sort_unstable();
        assert_eq!(log, want, "{policy}");
        assert!(model.pass().rollout.complete, "{policy}");
    }
}

fn arb_teams() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec("[a-d]{1,2}", 0..8)
}

proptest! {
    #[test]
    fn the_order_of_elements_changes_no_child(mut list in arb_teams(), seed in any::<u64>()) {
        let straight = generate(&teams(&list.iter().map(String::as_str).collect::<Vec<_>>()), &parent());
        let len = list.len();
        if len > 1 {
            let shift = (seed % len as u64) as usize;
            list.rotate_left(shift);
            list.swap(0, (seed / 7 % len as u64) as usize);
        }
        let turned = generate(&teams(&list.iter().map(String::as_str).collect::<Vec<_>>()), &parent());
        prop_assert_eq!(straight.children, turned.children);
        prop_assert_eq!(straight.kept, turned.kept);
    }

    #[test]
    fn the_order_of_keys_changes_no_revision(keys in proptest::collection::btree_map("[a-z]{1,4}", 0i64..9, 1..6)) {
        let forward: Map<String, Value> = keys.iter().map(|(k, v)| (k.clone(), json!({"v": v, "a": 1}))).collect();
        let backward: Map<String, Value> = keys.iter().rev().map(|(k, v)| (k.clone(), json!({"a": 1, "v": v}))).collect();
        let revision = |map: Map<String, Value>| {
            let fleet = spec(json!({"apps": [{"name": "a", "spec": map}]}));
            generate(&fleet, &parent()).children["a"].revision.clone()
        };
        prop_assert_eq!(revision(forward), revision(backward));
    }

    #[test]
    fn prune_touches_only_our_own_within_its_budget(
        before in arb_teams(),
        after in arb_teams(),
        foreign in proptest::collection::vec(any::<bool>(), 8),
        budget in 0usize..4,
    ) {
        let before: Vec<String> = before.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        let mut existing = all_live(&teams(&before.iter().map(String::as_str).collect::<Vec<_>>()));
        for (view, foreign) in existing.iter_mut().zip(&foreign) {
            if *foreign {
                view.owner = None;
            }
        }
        let mut fleet = teams(&after.iter().map(String::as_str).collect::<Vec<_>>());
        fleet.prune = Some(serde_json::from_value(json!({"maxDeletions": budget.to_string()})).unwrap());
        let changes = changes(&fleet, &existing, None);
        let gone = changes.prune.allowed();
        prop_assert!(gone.len() <= budget);
        for one in gone {
            let view = existing.iter().find(|view| view.uid == one.uid).unwrap();
            prop_assert!(is_ours(view, "parent-uid"));
            let asked = after.iter().any(|team| *team == one.name.trim_end_matches("-app"));
            prop_assert!(!asked);
        }
        prop_assert!(!after.is_empty() || gone.is_empty());
    }

    #[test]
    fn applying_the_changes_settles(before in arb_teams(), after in arb_teams()) {
        let before: BTreeSet<String> = before.into_iter().collect();
        let after: BTreeSet<String> = after.into_iter().collect();
        let mut model = Model::new(teams(&before.iter().map(String::as_str).collect::<Vec<_>>()));
        model.pass();
        model.spec = teams(&after.iter().map(String::as_str).collect::<Vec<_>>());
        model.pass();
        let second = model.survey();
        prop_assert!(second.writes.is_empty(), "{:#?}", second.writes);
    }
}
