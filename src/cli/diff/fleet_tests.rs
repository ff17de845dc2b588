//! What would become of a parent's children, and how that reads.
#![allow(clippy::unwrap_used)]
use serde_json::{Value, json};

use super::candidates::Candidates;
use super::outcome::{Change, Fleet, RemovalVerdict};
use super::tests::read_over;
use super::*;
use crate::api::annotation;
use crate::api::app_of_apps::AppOfApps;

const LONG_AGO: &str = "2026-01-01T00:00:00Z";

fn manifest(spec: &Value) -> Value {
    json!({"apiVersion": "appofapps.dev/v1alpha1", "kind": "AppOfApps",
        "metadata": {"name": "fleet", "namespace": "apps"}, "spec": spec})
}

/// The parent as the cluster holds it.
fn parent(spec: &Value) -> AppOfApps {
    let mut object = manifest(spec);
    object["metadata"]["uid"] = "parent-uid".into();
    serde_json::from_value(object).unwrap()
}

/// Apps written out, from `name: description`; the label `step` is the first letter of the name.
fn apps(apps: &[(&str, &str)]) -> Value {
    let app = |(name, description): &(&str, &str)| {
        json!({"name": name, "labels": {"step": &name[..1]},
            "spec": {"workspaceRef": {"name": "prod"}, "description": description}})
    };
    apps.iter().map(app).collect()
}

fn rolling(list: &[(&str, &str)]) -> Value {
    let step = |letter: &str| json!({"matchExpressions": [{"key": "step", "operator": "In", "values": [letter]}]});
    json!({"apps": apps(list), "strategy": {"type": "RollingSync",
        "rollingSync": {"steps": [step("a"), step("b")]}}})
}

/// The children of that spec as a settled fleet has them.
fn settled(spec: &Value) -> Vec<DatabricksApp> {
    let parent = parent(spec);
    let found = read_over(&manifest(spec).to_string(), &[], Some(&parent));
    let apps = found.entries.into_iter().filter_map(|c| c.app);
    apps.map(|app| {
        let name = app.name_any();
        let mut object = serde_json::to_value(app).unwrap();
        object["metadata"]["uid"] = format!("uid-{name}").into();
        object["metadata"]["generation"] = 1.into();
        object["metadata"]["annotations"][annotation::REVISION_SET_AT] = LONG_AGO.into();
        let ready = json!({"type": "Ready", "status": "True", "reason": "Running",
            "message": "", "lastTransitionTime": LONG_AGO, "observedGeneration": 1});
        object["status"] = json!({"observedGeneration": 1, "conditions": [ready]});
        serde_json::from_value(object).unwrap()
    })
    .collect()
}

/// What becomes of a settled fleet of `before`.
fn diff(before: &Value, after: &Value) -> Candidates {
    let live = settled(before);
    read_over(&manifest(after).to_string(), &live, Some(&parent(before)))
}

fn fleet(found: &Candidates) -> &Fleet {
    found.entries[0].entry.fleet.as_ref().unwrap()
}

/// `step.wave name change now: fields`
fn changes(fleet: &Fleet) -> Vec<String> {
    let mut all = Vec::new();
    for stage in &fleet.stages {
        for child in &stage.children {
            let when = if child.now { "now" } else { "later" };
            let fields: Vec<&str> = child.fields.iter().map(|f| f.field.as_str()).collect();
            all.push(format!(
                "{}.{} {} {:?} {when}: {}",
                stage.step,
                stage.wave,
                child.name,
                child.change,
                fields.join(" ")
            ));
        }
    }
    all
}

fn entries(found: Candidates) -> Vec<Entry> {
    found.entries.into_iter().map(|c| c.entry).collect()
}

#[test]
fn a_settled_fleet_stays_as_it_is_and_nothing_is_looked_at() {
    let spec = rolling(&[("a1", "x"), ("b1", "x")]);
    let found = diff(&spec, &spec);
    let fleet = fleet(&found);
    assert!(!fleet.changes(), "{fleet:#?}");
    assert_eq!((fleet.unchanged, &fleet.rollout), (2, &None));
    assert_eq!(found.entries.len(), 1);
    assert_eq!(
        people::people(&entries(found)),
        "no changes to 2 children\n"
    );
}

#[test]
fn what_is_added_changed_and_removed_is_told_in_the_order_of_the_rollout() {
    let before = rolling(&[("a1", "x"), ("b1", "x"), ("old", "x")]);
    let mut after = rolling(&[("a1", "y"), ("b1", "y"), ("b2", "y"), ("c1", "x")]);
    after["prune"] = json!({"maxDeletions": "0"});
    let found = diff(&before, &after);
    let fleet = fleet(&found);
    assert_eq!(
        changes(fleet),
        [
            "1.0 a1 Update now: description",
            "2.0 b1 Update later: description",
            "2.0 b2 Create later: ",
            "3.0 c1 Create later: ",
        ]
    );
    let change = &fleet.stages[0].children[0].fields[0];
    assert_eq!(
        (&change.from, &change.to),
        (&Some(json!("x")), &Some(json!("y")))
    );
    // Deletions wait for the rollout; what comes then is told, too.
    let removal = fleet.removal.as_ref().unwrap();
    assert_eq!(removal.verdict, RemovalVerdict::Withheld);
    let message = removal.message.clone().unwrap();
    assert!(
        message.contains("and then it needs confirmation"),
        "{message}"
    );
    let digest = removal.confirm.clone().unwrap();
    // Those that change are looked at in the workspaces, as they would be.
    let looked: Vec<(&str, Option<&str>)> = found.entries[1..]
        .iter()
        .map(|c| {
            (
                c.entry.name.as_str(),
                c.app.as_ref().unwrap().spec.description.as_deref(),
            )
        })
        .collect();
    let yes = |name, text| (name, Some(text));
    assert_eq!(
        looked,
        [
            yes("a1", "y"),
            yes("b1", "y"),
            yes("b2", "y"),
            yes("c1", "x")
        ]
    );
    assert_eq!(
        found.entries[1].app.as_ref().unwrap().uid().unwrap(),
        "uid-a1"
    );
    let said = people::people(&entries(found)[..1]);
    let expected = format!(
        "AppOfApps apps/fleet: 2 added, 2 changed, 1 removed
  step 1 of 3, wave 0
    change   a1
             description: \"x\" → \"y\"
  step 2 of 3, wave 0, later
    change   b1
             description: \"x\" → \"y\"
    add      b2 from apps[2]
  step 3 of 3, wave 0, later
    add      c1 from apps[3]
  remove   old: withheld: {message}
           to let them go: kubectl annotate aoa -n apps fleet --overwrite --field-manager=flux-client-side-apply appofapps.dev/confirm-prune={digest}
  stops    first at step 1 of 3, wave 0, until its children have passed their gates
changes to 5 of 5 children
"
    );
    assert_eq!(said, expected);
}

#[test]
fn the_verdict_on_deletions_is_the_parents_own() {
    let all = [("a1", "x"), ("b1", "x"), ("c1", "x"), ("d1", "x")];
    let verdict = |keep: usize, more: Value| {
        let before = json!({ "apps": apps(&all) });
        let mut after = json!({ "apps": apps(&all[..keep]) });
        for (key, value) in more.as_object().unwrap() {
            after[key] = value.clone();
        }
        let found = diff(&before, &after);
        let fleet = fleet(&found).clone();
        let removal = fleet.removal.clone().unwrap();
        (removal.verdict, removal.names.len(), fleet.removed)
    };
    assert_eq!(verdict(3, json!({})), (RemovalVerdict::Allowed, 1, 1));
    assert_eq!(
        verdict(2, json!({})),
        (RemovalVerdict::NeedsConfirmation, 2, 2)
    );
    assert_eq!(
        verdict(2, json!({"prune": {"maxDeletions": "50%"}})),
        (RemovalVerdict::Allowed, 2, 2)
    );
    let keeps = json!({"syncPolicy": {"appsSync": "CreateUpdate"}});
    assert_eq!(verdict(2, keeps), (RemovalVerdict::Kept, 2, 0));
}

#[test]
fn a_confirmation_of_the_cluster_counts() {
    let before = json!({"apps": apps(&[("a1", "x"), ("b1", "x")])});
    let after = json!({"apps": []});
    let live = settled(&before);
    let text = manifest(&after).to_string();
    let mut known = parent(&before);
    let asked = read_over(&text, &live, Some(&known));
    let removal = fleet(&asked).removal.clone().unwrap();
    assert_eq!(removal.verdict, RemovalVerdict::NeedsConfirmation);
    let confirm = (
        annotation::CONFIRM_PRUNE.to_owned(),
        removal.confirm.unwrap(),
    );
    known.metadata.annotations = Some([confirm].into());
    let confirmed = read_over(&text, &live, Some(&known));
    let removal = fleet(&confirmed).removal.clone().unwrap();
    assert_eq!(removal.verdict, RemovalVerdict::Allowed);
}

#[test]
fn what_is_refused_keeps_no_other_from_being_told() {
    let before = json!({"apps": apps(&[("a1", "x"), ("old", "x")])});
    let mut live = settled(&before);
    let mut foreign = live[0].clone();
    foreign.metadata.name = Some("taken".into());
    foreign.metadata.owner_references = None;
    foreign.metadata.labels = None;
    live.push(foreign);
    let mut list = apps(&[("a1", "y"), ("taken", "x"), ("renamed", "x"), ("b1", "x")]);
    list[2]["spec"]["name"] = "old".into();
    list[3]["spec"]["compute"] = json!({"size": "Huge"});
    let text = manifest(&json!({ "apps": list })).to_string();
    let found = read_over(&text, &live, Some(&parent(&before)));
    let entry = &found.entries[0].entry;
    let reasons: Vec<&str> = entry.refusals.iter().map(|why| why.reason).collect();
    assert_eq!(
        reasons,
        ["GenerationFailed", "ForeignChild", "RenameBlocked"],
        "{entry:#?}"
    );
    let said = &entry.refusals[0].message;
    assert!(
        said.starts_with("x.yaml:1: spec.apps[3]: spec.compute.size: \"Huge\""),
        "{said}"
    );
    assert_eq!(
        changes(fleet(&found)),
        [
            "1.0 a1 Update now: description",
            "1.0 renamed Create later: ",
        ]
    );
    // Neither is looked at.
    let looked: Vec<&str> = found.entries[1..]
        .iter()
        .map(|c| c.entry.name.as_str())
        .collect();
    assert_eq!(looked, ["a1"]);
}

#[test]
fn a_hand_edited_child_is_repaired_and_one_that_is_handed_over_adopted() {
    let spec = json!({"apps": apps(&[("a1", "x"), ("b1", "x")])});
    let mut live = settled(&spec);
    live[0].spec.description = Some("edited".into());
    live[1].metadata.owner_references = None;
    live[1].metadata.annotations = None;
    live[1].spec.description = Some("was there".into());
    let text = manifest(&spec).to_string();
    let found = read_over(&text, &live, Some(&parent(&spec)));
    assert_eq!(
        changes(fleet(&found)),
        [
            "1.0 a1 Repair now: description",
            "1.0 b1 Adopt now: description",
        ]
    );
}

#[test]
fn what_others_set_beside_the_template_is_no_change() {
    let before = json!({"apps": apps(&[("a1", "x")])});
    let mut live = settled(&before);
    let metadata = &mut live[0].metadata;
    metadata
        .labels
        .as_mut()
        .unwrap()
        .insert("cost".into(), "7".into());
    live[0].spec.suspend = true;
    let leaf = json!({});
    let ours = json!({"f:metadata": {"f:labels": {"f:step": leaf}},
        "f:spec": {"f:description": leaf, "f:workspaceRef": {"f:name": leaf}}});
    live[0].metadata.managed_fields = serde_json::from_value(json!([
        {"manager": "databricks-app-operator", "operation": "Apply", "fieldsV1": ours},
        {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:spec": {"f:suspend": leaf}}},
    ]))
    .unwrap();
    let mut list = apps(&[("a1", "x")]);
    list[0]["spec"]
        .as_object_mut()
        .unwrap()
        .remove("description");
    let text = manifest(&json!({ "apps": list })).to_string();
    let found = read_over(&text, &live, Some(&parent(&before)));
    assert_eq!(changes(fleet(&found)), ["1.0 a1 Update now: description"]);
    let app = found.entries[1].app.as_ref().unwrap();
    assert_eq!((app.spec.suspend, &app.spec.description), (true, &None));
    assert_eq!(app.labels()["cost"], "7");
}

#[test]
fn a_fleet_that_waits_for_a_failure_says_where_it_halts() {
    let spec = rolling(&[("a1", "x"), ("b1", "x")]);
    let mut live = settled(&spec);
    let stalled = json!([
        {"type": "Ready", "status": "False", "reason": "AppCrashed", "message": "", "lastTransitionTime": LONG_AGO, "observedGeneration": 1},
        {"type": "Stalled", "status": "True", "reason": "AppCrashed", "message": "it crashed", "lastTransitionTime": LONG_AGO, "observedGeneration": 1}]);
    let status = live[0].status.as_mut().unwrap();
    status.conditions = serde_json::from_value(stalled).unwrap();
    let text = manifest(&rolling(&[("a1", "x"), ("b1", "y")])).to_string();
    let found = read_over(&text, &live, Some(&parent(&spec)));
    let fleet = fleet(&found);
    assert_eq!(changes(fleet), ["2.0 b1 Update later: description"]);
    let halted = fleet.rollout.as_ref().unwrap().halted.as_ref().unwrap();
    assert_eq!(halted.reason, "RolloutHalted");
    // It may recover: nothing of the wish is refused.
    assert!(found.entries[0].entry.refusals.is_empty());
    let said = people::people(&entries(found)[..1]);
    assert!(
        said.contains("halts    at step 1 of 2, wave 0: RolloutHalted: a1 failed"),
        "{said}"
    );
}

#[test]
fn apps_of_the_same_input_count_as_applied() {
    let app = "apiVersion: appofapps.dev/v1alpha1\nkind: DatabricksApp\nmetadata: {name: a1, namespace: apps}\nspec: {workspaceRef: {name: prod}}\n";
    let spec = json!({"apps": apps(&[("a1", "x"), ("b1", "x")])});
    let text = format!("{}\n---\n{app}", manifest(&spec));
    let found = read_over(&text, &[], None);
    let entry = &found.entries[0].entry;
    assert_eq!(entry.refusals[0].reason, "ForeignChild");
    assert_eq!(changes(fleet(&found)), ["1.0 b1 Create now: "]);
}

#[test]
fn a_parent_that_writes_nothing_shows_what_it_would() {
    let mut spec = json!({"apps": apps(&[("a1", "x")])});
    for (field, value, reason) in [
        ("mode", json!("Plan"), "ReadOnly"),
        ("suspend", json!(true), "SuspendedBySpec"),
    ] {
        spec[field] = value;
        let found = read_over(&manifest(&spec).to_string(), &[], None);
        let held = |n: usize| found.entries[n].entry.held.as_ref().unwrap().reason;
        assert_eq!((held(0), held(1)), (reason, reason));
        assert_eq!(changes(fleet(&found)), ["1.0 a1 Create now: "]);
        assert_eq!(fleet(&found).stages[0].children[0].change, Change::Create);
    }
}

#[test]
fn a_parent_whose_annotation_nobody_understands_is_refused_and_its_children_are_held() {
    let mut text = manifest(&json!({"apps": apps(&[("a1", "x")])}));
    text["metadata"]["annotations"] = json!({annotation::PAUSED: "yes"});
    let found = read_over(&text.to_string(), &[], None);
    let entry = &found.entries[0].entry;
    assert_eq!(entry.refusals[0].reason, "InvalidSpec");
    assert!(entry.refusals[0].message.contains("\"yes\""));
    let child = found.entries[1].entry.held.as_ref().unwrap();
    assert_eq!(child.reason, "InvalidSpec");
}

#[test]
fn no_value_of_a_variable_is_part_of_a_difference() {
    let spec = |value: &str| {
        let mut list = apps(&[("a1", "x")]);
        list[0]["spec"]["deployment"] = json!({"env": [{"name": "KEY", "value": value}]});
        json!({ "apps": list })
    };
    let found = diff(&spec("s3cret-one"), &spec("s3cret-two"));
    assert_eq!(
        changes(fleet(&found)),
        ["1.0 a1 Update now: deployment.env[KEY]"]
    );
    let entries = entries(found);
    let json = serde_json::to_string(&entries[0]).unwrap();
    let said = people::people(&entries);
    assert!(
        !json.contains("s3cret") && !said.contains("s3cret"),
        "{said}"
    );
    assert!(said.contains("deployment.env[KEY]: changed"), "{said}");
}
