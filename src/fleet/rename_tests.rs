#![allow(clippy::unwrap_used)]
use serde_json::json;

use crate::api::names::ObjectName;
use crate::fleet::WorkspaceInput;
use crate::fleet::testing::{Fate, Model, spec, stranger};

fn fleet(apps: serde_json::Value) -> crate::api::app_of_apps::AppOfAppsSpec {
    spec(
        json!({"apps": apps, "defaults": {"workspaceRef": {"name": "prod"}}, "prune": {"maxDeletions": "100%"}}),
    )
}

#[test]
fn a_new_name_with_a_new_app_is_created_before_the_old_one_goes() {
    let mut model = Model::settled(fleet(json!([{"name": "old"}, {"name": "other"}])));
    model.spec = fleet(json!([{"name": "new"}, {"name": "other"}]));
    model.pass();
    model.pass();
    assert_eq!(model.log, ["create new", "delete old"]);
}

#[test]
fn two_names_for_one_app_are_refused_with_the_way_out() {
    let old = |spec: serde_json::Value| json!([{"name": "old", "spec": spec}, {"name": "other"}]);
    let new = |spec: serde_json::Value| json!([{"name": "new", "spec": spec}, {"name": "other"}]);
    let mut model = Model::settled(fleet(old(json!({"name": "sales"}))));
    model.spec = fleet(new(json!({"name": "sales"})));
    let survey = model.pass();
    assert!(model.log.is_empty());
    let why = &survey.renames.blocked["new"];
    assert!(
        why.contains("same app sales of default/prod as old"),
        "{why}"
    );
    assert!(why.contains("management.deletion: Orphan"), "{why}");

    let lets_go = json!({"name": "sales", "management": {"deletion": "Orphan"}});
    model.spec = fleet(old(lets_go));
    model.pass();
    model.all(Fate::Ready);
    model.log.clear();
    let takes_over =
        json!({"name": "sales", "management": {"deletion": "Orphan", "adopt": "IfUnowned"}});
    model.spec = fleet(new(takes_over));
    model.pass();
    model.pass();
    assert_eq!(model.log, ["delete old", "create new"]);
}

#[test]
fn without_room_for_both_neither_is_written_nor_deleted() {
    let mut model = Model::settled(fleet(json!([{"name": "old"}, {"name": "other"}])));
    model.spec = fleet(json!([{"name": "new"}, {"name": "other"}]));
    for (free, blocked) in [(Some(0), true), (Some(1), false), (None, false)] {
        model.inputs.workspaces = vec![WorkspaceInput {
            name: ObjectName::new("default", "prod"),
            host: String::new(),
            labels: Default::default(),
            annotations: Default::default(),
            free,
        }];
        let survey = model.survey();
        assert_eq!(!survey.renames.blocked.is_empty(), blocked, "{free:?}");
        let mut model = model.clone();
        for _ in 0..2 {
            model.pass();
        }
        let want: &[&str] = match blocked {
            true => &[],
            false => &["create new", "delete old"],
        };
        assert_eq!(model.log, want, "{free:?}");
    }
}

#[test]
fn nothing_old_goes_while_what_is_new_cannot_come() {
    // Refused by the API server, waiting for a wave, in error, or somebody else's.
    let old = fleet(json!([{"name": "old"}, {"name": "base"}]));
    let new = || fleet(json!([{"name": "new", "wave": 1}, {"name": "base"}]));
    let mut waiting = Model::settled(old.clone());
    waiting.spec = new();
    waiting.fare("base", Fate::Stalled);
    let mut foreign = Model::settled(old.clone());
    foreign.spec = new();
    foreign.views.insert("new".into(), stranger("new"));
    let mut in_error = Model::settled(old);
    in_error.spec = fleet(json!([{"name": "new", "dependsOn": ["nobody"]}, {"name": "base"}]));
    for mut model in [waiting, foreign, in_error] {
        for _ in 0..3 {
            model.pass();
        }
        assert!(model.log.is_empty(), "{:?}", model.log);
        let survey = model.survey();
        assert!(matches!(
            survey.prune.verdict,
            crate::fleet::Verdict::Withheld { .. }
        ));
    }
}
