//! What an input leads to, before any look; and how differences read.
#![allow(clippy::unwrap_used)]
use serde_json::{Value, json};

use super::candidates::{Candidates, Known, candidates, declared, memory};
use super::known::KnownParent;
use super::*;
use crate::api::annotation;
use crate::api::app_of_apps::AppOfApps;
use crate::engine::reconcile::name_of;

const HEAD: &str = "apiVersion: appofapps.dev/v1alpha1\nkind: ";

fn app(name: &str, more: &str) -> String {
    format!(
        "{HEAD}DatabricksApp\nmetadata: {{name: {name}}}\nspec:\n  workspaceRef: {{name: prod, namespace: platform}}\n{more}"
    )
}

fn live(metadata: Value, status: Value) -> DatabricksApp {
    let mut object = json!({"apiVersion": "appofapps.dev/v1alpha1", "kind": "DatabricksApp", "metadata": metadata,
        "spec": {"workspaceRef": {"name": "prod"}, "description": "old"}});
    if !status.is_null() {
        object["status"] = status;
    }
    serde_json::from_value(object).unwrap()
}

fn read(text: &str, live: &[DatabricksApp]) -> Candidates {
    read_over(text, live, None)
}

/// What the text leads to, in namespace `apps`; `live`, `parent`: what the cluster holds.
pub fn read_over(text: &str, live: &[DatabricksApp], parent: Option<&AppOfApps>) -> Candidates {
    let input = input::read_text("x.yaml", text);
    assert!(input.errors.is_empty(), "{:?}", input.errors);
    let (readable, _) = Readable::of(&input, "apps");
    let known = declared(&input, "apps").into_iter().map(|wish| {
        let known = KnownParent {
            live: parent.cloned(),
            found: readable.read(&wish),
        };
        (name_of(&wish), known)
    });
    let clock = Clock::real();
    let known = Known {
        apps: live,
        parents: &known.collect(),
        now: Moment {
            at: clock.now(),
            clock,
            looking_since: None,
        },
    };
    let admission = Admission::new(crate::kinds::crds()).unwrap();
    candidates(&admission, &input, "apps", &known)
}

#[test]
fn the_spec_is_the_files_and_identity_and_status_are_the_clusters() {
    let there = live(
        json!({"name": "sales", "namespace": "apps", "uid": "u1", "generation": 3}),
        json!({"observedGeneration": 3, "app": {"id": "remote"}}),
    );
    let found = read(&app("sales", "  description: new\n"), &[there]);
    let candidate = &found.entries[0];
    let app = candidate.app.as_ref().unwrap();
    assert_eq!(candidate.entry.workspace.as_deref(), Some("platform/prod"));
    assert_eq!(app.spec.description.as_deref(), Some("new"));
    assert_eq!(app.uid().as_deref(), Some("u1"));
    assert_eq!(memory(app).app.unwrap().id, "remote");
}

#[test]
fn annotations_of_the_file_join_those_of_others_and_what_was_applied_before_goes() {
    let last = json!({"metadata": {"annotations": {annotation::PAUSED: "true"}}}).to_string();
    let there = live(
        json!({"name": "sales", "namespace": "apps", "annotations": {
            annotation::PAUSED: "true", "other": "stays",
            "kubectl.kubernetes.io/last-applied-configuration": last}}),
        Value::Null,
    );
    let mut text = app("sales", "");
    text = text.replace(
        "{name: sales}",
        &format!(
            "{{name: sales, annotations: {{{}: now}}}}",
            annotation::RESTART_REQUESTED_AT
        ),
    );
    let found = read(&text, &[there]);
    let app = found.entries[0].app.as_ref().unwrap();
    let keys: Vec<&String> = app.annotations().keys().collect();
    assert_eq!(keys, [annotation::RESTART_REQUESTED_AT, "other"]);
    assert!(hold(app).is_none());
    // The operator has not seen it yet: what it carries was not asked of it.
    let handled = memory(app).last_handled_restart_at;
    assert_eq!(handled.as_deref(), Some("now"));
}

#[test]
fn an_object_that_the_api_server_refuses_is_told_with_its_place_and_not_looked_at() {
    let found = read(&app("sales", "  lifecycle: {state: Asleep}\n"), &[]);
    let candidate = &found.entries[0];
    assert!(candidate.app.is_none());
    let why = &candidate.entry.refusals[0];
    assert_eq!(why.reason, "InvalidSpec");
    assert!(
        why.message.starts_with("x.yaml:6: spec.lifecycle.state:"),
        "{why:?}"
    );
}

#[test]
fn children_follow_their_parent_and_are_held_with_it() {
    let fleet = format!(
        "{HEAD}AppOfApps\nmetadata: {{name: fleet}}\nspec:\n  suspend: true\n  defaults: {{workspaceRef: {{name: prod}}}}\n  apps:\n  - name: one\n  - name: BAD\n"
    );
    let text = format!("{fleet}---\n{}", app("alone", ""));
    let found = read(&text, &[]);
    let names: Vec<&str> = found
        .entries
        .iter()
        .map(|c| c.entry.name.as_str())
        .collect();
    assert_eq!(names, ["fleet", "one", "alone"]);
    let parent = &found.entries[0].entry;
    assert_eq!(parent.refusals[0].reason, "GenerationFailed");
    assert!(
        parent.refusals[0]
            .message
            .starts_with("x.yaml:9: spec.apps[1]"),
        "{parent:?}"
    );
    let held = |n: usize| found.entries[n].entry.held.as_ref().map(|w| w.reason);
    assert_eq!((held(1), held(2)), (Some("SuspendedBySpec"), None));
}

#[test]
fn of_two_manifests_of_one_object_the_last_counts() {
    let text = format!(
        "{}---\n{}",
        app("sales", "  description: first\n"),
        app("sales", "  description: last\n")
    );
    let found = read(&text, &[]);
    assert_eq!(found.entries.len(), 1);
    let app = found.entries[0].app.as_ref().unwrap();
    assert_eq!(app.spec.description.as_deref(), Some("last"));
}

fn change(step: &str, field: &str, from: &str, to: &str) -> PendingChange {
    PendingChange {
        step: step.into(),
        field: field.into(),
        from: from.into(),
        to: to.into(),
    }
}

fn entry(changes: Vec<PendingChange>) -> Entry {
    Entry {
        kind: "DatabricksApp".into(),
        namespace: "apps".into(),
        name: "sales".into(),
        workspace: Some("platform/prod".into()),
        changes,
        ..Entry::default()
    }
}

#[test]
fn people_read_a_verb_a_step_and_a_line_a_field() {
    let mut changed = entry(vec![
        change("update", "description", "Old", "New"),
        change("update", "userAuthorization.scopes", "", "[\"sql\"]"),
        change("restart", "lifecycle.state", "ACTIVE", "Stopped"),
    ]);
    changed.held = Some(Why::new(Reason::Frozen, "until noon"));
    changed.refusals = vec![Why::new(Reason::ImmutableField, "spec.space")];
    let text = people::people(&[changed, entry(Vec::new())]);
    assert_eq!(
        text,
        "DatabricksApp apps/sales in platform/prod
  held     Frozen: until noon
  update   description: \"Old\" → \"New\"
           userAuthorization.scopes: [\"sql\"]
  restart
  refused  ImmutableField: spec.space
changes to 1 of 2 apps
"
    );
    assert_eq!(
        people::people(&[entry(Vec::new())]),
        "no changes to 1 app\n"
    );
}

#[test]
fn a_refusal_weighs_more_than_a_change() {
    let code = |entries: &[Entry], failed| format!("{:?}", verdict(entries, failed));
    let is = |code: u8| format!("{:?}", ExitCode::from(code));
    let changed = entry(vec![change(
        "start",
        "lifecycle.state",
        "STOPPED",
        "Running",
    )]);
    let refused = Entry {
        refusals: vec![Why::new(Reason::NameConflict, "")],
        ..changed.clone()
    };
    assert_eq!(code(&[entry(Vec::new())], false), is(0));
    assert_eq!(code(std::slice::from_ref(&changed), false), is(2));
    assert_eq!(code(&[changed.clone(), refused], false), is(1));
    assert_eq!(code(&[changed], true), is(1));
}
