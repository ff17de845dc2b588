#![allow(clippy::unwrap_used)]
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::fleet::inventory::Why;
use crate::fleet::testing::{Fate, Model, Twin, apps, rolling, spec};
use crate::fleet::{Survey, Verdict};

const FLEET: [(&str, i64); 5] = [("a1", 1), ("b1", 1), ("b2", 1), ("c1", 1), ("c2", 1)];

fn version(v: i64) -> Vec<(&'static str, i64)> {
    FLEET.iter().map(|(name, _)| (*name, v)).collect()
}

/// A settled fleet with a canary, whose second version is then asked for.
fn releasing(on_failure: &str, more: &Value) -> Model {
    let mut model = Model::settled(rolling(&version(1), on_failure, more.clone()));
    model.spec = rolling(&version(2), on_failure, more.clone());
    model
}

fn halt(survey: &Survey) -> (Reason, String) {
    let halt = survey.rollout.halt.clone().unwrap();
    (halt.reason, halt.message)
}

#[test]
fn steps_follow_each_other_through_gates() {
    let mut model = releasing("Halt", &json!({}));
    model.pass();
    assert_eq!(model.log, ["release a1"]);
    model.pass();
    model.all(Fate::Ready);
    let soaking = model.pass();
    assert_eq!(model.log.len(), 1, "a gate without its soak");
    assert_eq!(
        soaking.rollout.wake_at.unwrap(),
        model.at + Duration::from_secs(300)
    );
    assert_eq!((soaking.rollout.step, soaking.rollout.steps), (0, 3));
    model.pass_time(300);
    model.pass();
    assert_eq!(model.log, ["release a1", "release b1", "release b2"]);
    model.all(Fate::Ready);
    model.pass_time(300);
    model.pass();
    assert_eq!(model.log.len(), 5);
    model.all(Fate::Ready);
    model.pass_time(300);
    let survey = model.pass();
    assert!(survey.rollout.complete && survey.writes.is_empty() && model.log.len() == 5);
}

#[test]
fn max_update_bounds_how_many_are_on_their_way() {
    let step = |max: &str| json!({"steps": [{"matchExpressions": [{"key": "step", "operator": "Exists"}], "maxUpdate": max}]});
    for (max, at_once) in [("1", 1), ("50%", 2), ("10%", 1), ("3", 3), ("100%", 5)] {
        let mut model = releasing("Halt", &step(max));
        let mut rounds = 0;
        while !model.pass().rollout.complete {
            rounds += 1;
            assert!(
                model.log.len() <= rounds * at_once,
                "{max}: {:?}",
                model.log
            );
            model.all(Fate::Ready);
            model.pass_time(300);
        }
        assert_eq!(rounds, 5usize.div_ceil(at_once), "{max}");
    }
}

#[test]
fn a_failed_canary_halts_by_name_until_it_recovers() {
    let mut model = releasing("Halt", &json!({}));
    model.pass();
    model.fare("a1", Fate::Stalled);
    for _ in 0..3 {
        let survey = model.pass();
        let (reason, message) = halt(&survey);
        assert_eq!(reason, Reason::RolloutHalted);
        assert!(message.starts_with("a1 failed: AppCrashed"), "{message}");
        model.pass_time(7200);
    }
    assert_eq!(model.log, ["release a1"]);
    model.fare("a1", Fate::Ready);
    model.pass_time(300);
    model.pass();
    assert_eq!(model.log.len(), 3);
}

#[test]
fn a_rolled_back_canary_keeps_what_ran_before_until_somebody_changes_something() {
    let mut model = releasing("Rollback", &json!({}));
    let good = model.views["a1"].spec.clone();
    model.pass();
    model.fare("a1", Fate::Stalled);
    model.pass();
    assert_eq!(model.log, ["release a1", "rollback a1"]);
    assert_eq!(model.views["a1"].spec, good);
    model.all(Fate::Ready);
    model.pass_time(7200);
    let survey = model.pass();
    assert!(survey.writes.is_empty());
    let (reason, message) = halt(&survey);
    assert_eq!(reason, Reason::RolledBack);
    assert!(message.contains("a1 could not run revision"), "{message}");

    // Drift of it is put right to what it runs.
    model.views.get_mut("a1").unwrap().spec["description"] = json!("edited");
    model.pass();
    assert_eq!(model.log[2..], ["repair a1"]);
    assert_eq!(model.views["a1"].spec, good);

    let mut reverted = model.clone();
    reverted.spec = rolling(&version(1), "Rollback", json!({}));
    reverted.all(Fate::Ready);
    reverted.pass_time(300);
    let survey = reverted.pass();
    assert!(survey.rollout.complete, "{:#?}", survey.rollout);
    assert_eq!(
        reverted.log.len(),
        3,
        "a revert wrote to the child that was rolled back"
    );

    let mut resumed = model.clone();
    resumed.requests.resume = Some(resumed.at + Duration::from_secs(1));
    resumed.pass();
    assert_eq!(resumed.log.len(), 3, "a time to come is no word yet");
    resumed.pass_time(1);
    resumed.all(Fate::Ready);
    resumed.pass();
    assert_eq!(resumed.log[3..], ["release a1"]);
    resumed.fare("a1", Fate::Stalled);
    resumed.pass_time(60);
    resumed.pass();
    resumed.pass_time(60);
    resumed.all(Fate::Ready);
    resumed.pass();
    assert_eq!(
        resumed.log[3..],
        ["release a1", "rollback a1"],
        "one word, one try"
    );

    model.spec = rolling(&version(3), "Rollback", json!({}));
    model.all(Fate::Ready);
    model.pass();
    assert_eq!(model.log[3..], ["release a1"]);
}

#[test]
fn those_that_passed_keep_the_new_spec_and_go_back_with_a_revert() {
    let mut model = releasing("Rollback", &json!({}));
    model.pass();
    model.all(Fate::Ready);
    model.pass_time(300);
    model.pass();
    model.fare("b1", Fate::Ready);
    model.fare("b2", Fate::Stalled);
    model.pass_time(300);
    model.pass();
    assert_eq!(model.log.last().unwrap(), "rollback b2");
    assert_eq!(model.views["a1"].spec["description"], "v2");
    model.all(Fate::Ready);
    model.pass_time(300);
    model.log.clear();
    model.spec = rolling(&version(1), "Rollback", json!({}));
    for _ in 0..8 {
        model.pass();
        model.all(Fate::Ready);
        model.pass_time(300);
    }
    assert_eq!(model.log, ["release a1", "release b1"]);
}

#[test]
fn without_a_last_good_spec_there_is_only_a_halt() {
    let mut model = Model::new(rolling(&version(1), "Rollback", json!({})));
    model.pass();
    model.fare("a1", Fate::Stalled);
    let survey = model.pass();
    assert_eq!(model.log, ["create a1"]);
    let (reason, message) = halt(&survey);
    assert_eq!(reason, Reason::RolloutHalted);
    assert!(message.contains("a1 has no last good spec"), "{message}");
}

#[test]
fn a_version_that_never_passed_does_not_become_the_last_good_one() {
    let mut model = releasing("Rollback", &json!({}));
    let good = model.views["a1"].spec.clone();
    model.pass();
    model.fare("a1", Fate::Progressing);
    model.spec = rolling(&version(3), "Rollback", json!({}));
    model.pass();
    model.fare("a1", Fate::Stalled);
    model.pass();
    assert_eq!(model.log, ["release a1", "release a1", "rollback a1"]);
    assert_eq!(model.views["a1"].spec, good);
}

#[test]
fn an_app_that_crashes_long_after_it_passed_is_not_rolled_back() {
    let mut model = releasing("Rollback", &json!({}));
    for _ in 0..6 {
        model.pass();
        model.all(Fate::Ready);
        model.pass_time(3600);
    }
    assert!(model.pass().rollout.complete);
    let writes = model.log.len();
    model.fare("a1", Fate::Stalled);
    model.pass();
    assert_eq!(model.log.len(), writes);
}

#[test]
fn an_aborted_rollout_takes_back_every_child_it_changed_and_releases_no_other() {
    let mut model = releasing("Halt", &json!({}));
    model.pass();
    model.all(Fate::Ready);
    model.pass_time(300);
    let survey = model.pass();
    assert_eq!(model.log.len(), 3);
    model.requests.abort = Some(survey.rollout.digest.clone());
    model.pass();
    let mut back = model.log[3..].to_vec();
    back.sort();
    assert_eq!(back, ["rollback a1", "rollback b1", "rollback b2"]);
    model.all(Fate::Ready);
    model.pass_time(7200);
    let survey = model.pass();
    assert!(survey.writes.is_empty());
    assert_eq!(halt(&survey).0, Reason::RolloutAborted);
    assert!(
        model
            .views
            .values()
            .all(|view| view.spec["description"] == "v1")
    );
    model.spec = rolling(&version(3), "Halt", json!({}));
    model.pass();
    assert_eq!(model.log.last().unwrap(), "release a1");
}

#[test]
fn an_abort_leaves_alone_what_the_rollout_has_not_reached() {
    let mut model = releasing("Halt", &json!({}));
    for _ in 0..6 {
        model.pass();
        model.all(Fate::Ready);
        model.pass_time(3600);
    }
    assert!(model.pass().rollout.complete);
    model.spec = rolling(&version(3), "Halt", json!({}));
    let writes = model.log.len();
    model.pass();
    let survey = model.pass();
    model.requests.abort = Some(survey.rollout.digest.clone());
    model.pass();
    assert_eq!(model.log[writes..], ["release a1", "rollback a1"]);
}

#[test]
fn a_newer_version_supersedes_an_open_rollout() {
    let mut model = releasing("Halt", &json!({}));
    model.pass();
    model.fare("a1", Fate::Stalled);
    model.pass();
    model.spec = rolling(&version(3), "Halt", json!({}));
    model.pass();
    assert_eq!(model.log, ["release a1", "release a1"]);
    model.all(Fate::Ready);
    model.pass_time(300);
    model.pass();
    assert_eq!(model.log[2..], ["release b1", "release b2"]);
}

#[test]
fn a_held_child_is_written_keeps_its_place_and_says_so() {
    let mut model = releasing("Rollback", &json!({}));
    model.fare("a1", Fate::Held);
    model.pass();
    assert_eq!(model.log, ["release a1"]);
    model.fare("a1", Fate::Held);
    model.pass_time(7200);
    let survey = model.pass();
    assert_eq!((survey.rollout.held, survey.rollout.moving), (1, 0));
    assert!(survey.rollout.halt.is_none() && model.log.len() == 1);
    model.fare("a1", Fate::Ready);
    model.pass_time(300);
    model.pass();
    assert_eq!(model.log.len(), 3);
}

#[test]
fn a_step_of_stopped_children_proves_nothing_unless_the_whole_fleet_is_stopped() {
    let mut model = releasing("Halt", &json!({}));
    model.pass();
    model.fare("a1", Fate::Stopped);
    model.pass_time(300);
    let survey = model.pass();
    assert_eq!(halt(&survey).0, Reason::NotExercised);
    assert_eq!(model.log.len(), 1);
    model.requests.resume = Some(model.at);
    model.pass();
    assert_eq!(model.log.len(), 3);

    let stopped = |v: i64| {
        let mut fleet = rolling(&version(v), "Halt", json!({}));
        for app in fleet.apps.iter_mut().flatten() {
            app.spec["lifecycle"] = json!({"state": "Stopped"});
        }
        fleet
    };
    let mut model = Model::settled(stopped(1));
    model.spec = stopped(2);
    for _ in 0..6 {
        model.pass();
        model.all(Fate::Stopped);
        model.pass_time(300);
    }
    assert!(model.pass().rollout.complete);
}

#[test]
fn waves_open_one_after_the_other_also_without_steps_and_on_every_change() {
    let fleet = |v: i64| {
        let app = |name: &str, wave: i64| json!({"name": name, "wave": wave, "spec": {"v": v}});
        spec(json!({"apps": [app("a", 0), app("b", 1), app("c", 2)]}))
    };
    for mut model in [Model::new(fleet(1)), {
        let mut model = Model::settled(fleet(1));
        model.spec = fleet(2);
        model
    }] {
        model.pass();
        assert_eq!(model.log.len(), 1);
        model.fare("a", Fate::Progressing);
        model.pass();
        assert_eq!(model.log.len(), 1);
        model.fare("a", Fate::Stalled);
        let survey = model.pass();
        let (reason, message) = halt(&survey);
        assert_eq!(reason, Reason::RolloutHalted);
        assert!(
            message.contains("wave 0 waits for a: AppCrashed"),
            "{message}"
        );
        model.fare("a", Fate::Ready);
        model.pass();
        assert_eq!(model.log.len(), 2);
    }
}

#[test]
fn a_child_of_a_lower_wave_in_a_later_step_must_exist_and_be_ready_as_it_is() {
    let fleet = |v: i64| {
        let mut fleet = rolling(&[("a1", v), ("b1", v)], "Halt", json!({}));
        fleet.apps.as_mut().unwrap()[0].wave = Some(1);
        fleet
    };
    let mut model = Model::new(fleet(1));
    let survey = model.pass();
    assert!(model.log.is_empty());
    let (reason, message) = halt(&survey);
    assert_eq!(reason, Reason::InvalidOrder);
    assert!(
        message.contains("a1 of step 1 waits for b1 of wave 0"),
        "{message}"
    );

    let flat = rolling(&[("a1", 1), ("b1", 1)], "Halt", json!({}));
    let mut model = Model::settled(flat);
    model.spec = fleet(2);
    model.fare("b1", Fate::Stalled);
    model.pass();
    assert!(model.log.is_empty(), "released before b1 is Ready");
    model.fare("b1", Fate::Ready);
    model.pass();
    assert_eq!(model.log, ["release a1"]);
}

#[test]
fn what_the_api_server_refuses_or_somebody_else_owns_halts_later_steps() {
    let mut model = releasing("Rollback", &json!({}));
    let revision = model.survey().generated.children["a1"].revision.clone();
    let refused = crate::fleet::Refused {
        revision,
        reason: Reason::ChildRefused,
        message: "updating child default/a1: no".into(),
    };
    model.refused.insert("a1".into(), refused);
    let survey = model.pass();
    assert!(model.log.is_empty());
    assert_eq!(survey.failing[0].name, "a1");
    assert!(halt(&survey).1.contains("updating child default/a1: no"));
}

#[test]
fn a_fleet_that_gets_steps_notes_what_its_children_have_and_changes_no_spec() {
    let flat = spec(json!({"apps": apps(&version(1)), "prune": {"maxDeletions": "100%"}}));
    let mut model = Model::settled(flat);
    let specs: Vec<Value> = model.views.values().map(|v| v.spec.clone()).collect();
    model.spec = rolling(&version(1), "Rollback", json!({}));
    model.pass();
    assert!(
        model.log.iter().all(|line| line.starts_with("note ")),
        "{:?}",
        model.log
    );
    let survey = model.pass();
    assert!(survey.writes.is_empty() && survey.rollout.complete);
    assert_eq!(
        specs,
        model
            .views
            .values()
            .map(|v| v.spec.clone())
            .collect::<Vec<_>>()
    );
    model.spec = rolling(&version(2), "Rollback", json!({}));
    model.pass();
    model.fare("a1", Fate::Stalled);
    model.pass();
    assert_eq!(
        model.views["a1"].spec["description"], "v1",
        "a way back from before the steps"
    );
}

#[derive(Clone, Debug)]
enum Move {
    Fares(usize, Fate),
    Time(u64),
    Version(i64),
    Without(usize),
    Edit(usize),
    Resume,
    Abort,
    Forget,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let fate = prop::sample::select(vec![
        Fate::Ready,
        Fate::Ready,
        Fate::Stopped,
        Fate::Progressing,
        Fate::Stalled,
        Fate::Held,
    ]);
    let step = prop_oneof![
        6 => (0usize..5, fate).prop_map(|(n, fate)| Move::Fares(n, fate)),
        3 => prop::sample::select(vec![1u64, 60, 300, 1800, 9000]).prop_map(Move::Time),
        1 => (1i64..4).prop_map(Move::Version),
        1 => (0usize..5).prop_map(Move::Without),
        1 => (0usize..5).prop_map(Move::Edit),
        1 => Just(Move::Resume),
        1 => Just(Move::Abort),
        1 => Just(Move::Forget),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever the children do, whenever the operator is killed: no step overtakes another one, a pass that follows a pass
    /// writes nothing, and what does not move says why.
    #[test]
    fn any_course_of_events_ends_in_progress_or_in_words(
        moves in moves(),
        rollback in any::<bool>(),
        max in prop::sample::select(vec!["1", "50%", "100%"]),
    ) {
        let on_failure = if rollback { "Rollback" } else { "Halt" };
        let steps = json!({"steps": [
            {"matchExpressions": [{"key": "step", "operator": "In", "values": ["a"]}]},
            {"matchExpressions": [{"key": "step", "operator": "In", "values": ["b"]}], "maxUpdate": max},
        ]});
        let mut list = version(1);
        let mut twin = Twin::default();
        let mut model = Model::settled(rolling(&list, on_failure, steps.clone()));
        for step in moves {
            match step {
                Move::Fares(n, fate) => model.fare(FLEET[n].0, fate),
                Move::Time(seconds) => model.pass_time(seconds),
                Move::Version(v) => list.iter_mut().for_each(|(_, version)| *version = v),
                Move::Without(n) if list.len() > 2 => list.retain(|(name, _)| *name != FLEET[n].0),
                Move::Without(_) => {}
                Move::Edit(n) => {
                    if let Some(view) = model.views.get_mut(FLEET[n].0) {
                        view.spec["description"] = json!("edited");
                        view.generation += 1;
                    }
                }
                Move::Resume => model.requests.resume = Some(model.at),
                Move::Abort => model.requests.abort = Some(model.survey().rollout.digest),
                Move::Forget => model.requests = Requests::default(),
            }
            model.spec = rolling(&list, on_failure, steps.clone());
            let before = twin.survey(&model);
            prop_assert_eq!(&before, &model.survey(), "what is remembered makes a difference");
            for write in before.writes.iter().filter(|w| matches!(w.why, Why::Release | Why::Create)) {
                let mine = before.order.places[&write.child.name].step;
                for (name, place) in before.order.places.iter().filter(|(_, place)| place.step < mine) {
                    let view = &model.views[name];
                    let wanted = &before.generated.children[name].revision;
                    prop_assert_eq!(view.annotations.get("appofapps.dev/revision"), Some(wanted));
                    prop_assert!(view.is("Ready"), "{} overtakes {}", write.child.name, name);
                    let _ = place;
                }
            }
            let on_their_way = before.writes.iter().filter(|w| w.why == Why::Release && w.child.name.starts_with('b'));
            let bound = match max { "1" | "50%" => 1, _ => 2 };
            prop_assert!(on_their_way.count() <= bound);
            prop_assert!(before.prune.allowed().is_empty() || before.rollout.complete, "deleted while a rollout is open");
            model.pass();
            let after = model.survey();
            let again: Vec<_> = after.writes.iter().map(|w| (w.why, &w.child.name)).collect();
            prop_assert!(again.is_empty(), "written twice: {again:?}");
            let rollout = &after.rollout;
            let said = rollout.complete || rollout.moving > 0 || rollout.held > 0 || rollout.halt.is_some();
            prop_assert!(said, "silence: {rollout:#?}");
            prop_assert!(rollout.complete || !rollout.waiting.is_empty() || rollout.halt.is_some());
            prop_assert!(after.prune.verdict != Verdict::Allowed || after.prune.candidates.is_empty() || rollout.complete);
        }
        // Left alone with children that behave, and with nothing rejected or aborted, every fleet arrives.
        for _ in 0..30 {
            model.requests = Requests { resume: Some(model.at), abort: None };
            model.pass();
            model.all(Fate::Ready);
            model.pass_time(600);
        }
        let survey = model.pass();
        prop_assert!(survey.rollout.complete, "{:#?}", survey.rollout);
    }
}

#[test]
fn a_canary_whose_element_is_in_error_holds_back_the_steps_behind_it() {
    let mut model = Model::settled(rolling(&version(1), "Halt", json!({})));
    let mut fleet = rolling(&version(2), "Halt", json!({}));
    fleet.apps.as_mut().unwrap()[0].depends_on = vec!["nobody".into()];
    model.spec = fleet;
    let survey = model.pass();
    assert!(model.log.is_empty(), "{:?}", model.log);
    let (reason, message) = halt(&survey);
    assert_eq!(reason, Reason::RolloutHalted);
    assert!(
        message.contains("step 1 is not whole: the element of a1 is in error"),
        "{message}"
    );
    model.spec = rolling(&version(2), "Halt", json!({}));
    model.pass();
    assert_eq!(model.log, ["release a1"]);
}

#[test]
fn an_abort_of_a_rollout_that_is_through_does_nothing() {
    let mut model = releasing("Halt", &json!({}));
    for _ in 0..6 {
        model.pass();
        model.all(Fate::Ready);
        model.pass_time(3600);
    }
    let survey = model.pass();
    assert!(survey.rollout.complete);
    let writes = model.log.len();
    model.requests.abort = Some(survey.rollout.digest);
    assert!(model.pass().rollout.complete);
    assert_eq!(model.log.len(), writes);
}

#[test]
fn an_abort_reaches_a_canary_that_was_released_before_the_wish_grew() {
    let mut model = releasing("Halt", &json!({}));
    model.pass();
    let mut list = version(2);
    list.push(("c3", 1));
    model.spec = rolling(&list, "Halt", json!({}));
    let survey = model.pass();
    model.requests.abort = Some(survey.rollout.digest);
    model.pass();
    assert_eq!(model.log, ["release a1", "rollback a1"]);
}

#[test]
fn time_in_which_nobody_looked_fails_no_child() {
    let mut model = releasing("Rollback", &json!({}));
    model.pass();
    model.fare("a1", Fate::Progressing);
    model.pass_time(7200);
    model.looking_since = Some(model.at);
    model.pass();
    model.fare("a1", Fate::Ready);
    model.pass_time(300);
    model.pass();
    assert_eq!(model.log, ["release a1", "release b1", "release b2"]);
}
