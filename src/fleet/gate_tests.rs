#![allow(clippy::unwrap_used)]
use crate::fleet::testing::{Fate, Model, apps, spec};

use super::*;
use serde_json::json;

const TERMS: Terms = Terms {
    soak: Duration::from_secs(300),
    deadline: Some(Duration::from_secs(1800)),
};

/// A child that was just written and, `after` seconds later, fares so; looked at `then` seconds after that.
fn looked(fares: &[(u64, Fate)], then: u64) -> Gate {
    let mut model = Model::new(spec(json!({ "apps": apps(&[("a", 1)]) })));
    model.pass();
    for (after, fate) in fares {
        model.pass_time(*after);
        model.fare("a", *fate);
    }
    model.pass_time(then);
    of(&model)
}

fn of(model: &Model) -> Gate {
    let view = &model.views["a"];
    let now = Moment {
        at: model.at,
        clock: Clock::real(),
        looking_since: None,
    };
    gate(view, &Record::of(view), TERMS, now)
}

#[test]
fn a_child_passes_once_it_was_ready_for_the_soak() {
    assert!(matches!(
        looked(&[(10, Fate::Ready)], 299),
        Gate::Soaking { .. }
    ));
    assert_eq!(
        looked(&[(10, Fate::Ready)], 300),
        Gate::Passed { exercised: true }
    );
    assert_eq!(
        looked(&[(10, Fate::Stopped)], 300),
        Gate::Passed { exercised: false }
    );
}

#[test]
fn a_ready_from_before_the_present_spec_counts_for_nothing() {
    let mut model = Model::new(spec(json!({ "apps": apps(&[("a", 1)]) })));
    model.pass();
    model.fare("a", Fate::Ready);
    model.pass_time(3600);
    model.spec = spec(json!({ "apps": apps(&[("a", 2)]) }));
    model.pass();
    assert!(matches!(of(&model), Gate::Moving { .. }), "not observed");
    model.fare("a", Fate::Ready);
    assert!(
        matches!(of(&model), Gate::Soaking { .. }),
        "Ready since before the change"
    );
    model.pass_time(300);
    assert!(matches!(of(&model), Gate::Passed { .. }));
}

#[test]
fn a_deployment_that_is_still_owed_keeps_the_gate_closed() {
    let mut model = Model::new(spec(json!({ "apps": apps(&[("a", 1)]) })));
    model.pass();
    model.fare("a", Fate::Ready);
    model.pass_time(600);
    let view = model.views.get_mut("a").unwrap();
    (view.desired_digest, view.digest) = (Some("new".into()), Some("old".into()));
    assert!(matches!(of(&model), Gate::Moving { .. }));
    model.fare("a", Fate::Stopped);
    model.pass_time(600);
    assert!(
        matches!(of(&model), Gate::Passed { exercised: false }),
        "a stopped child owes none"
    );
}

#[test]
fn a_child_that_does_not_become_ready_in_time_has_failed() {
    assert!(matches!(
        looked(&[(10, Fate::Progressing)], 1700),
        Gate::Moving { .. }
    ));
    assert!(matches!(
        looked(&[(10, Fate::Progressing)], 1800),
        Gate::Failed { late: false, .. }
    ));
    assert!(
        matches!(looked(&[], 1800), Gate::Failed { late: false, .. }),
        "never reconciled"
    );
}

#[test]
fn a_failure_after_it_was_proven_is_late() {
    assert!(matches!(
        looked(&[(10, Fate::Stalled)], 1),
        Gate::Failed { late: false, .. }
    ));
    let crash = [(10, Fate::Ready), (9000, Fate::Stalled)];
    assert!(matches!(looked(&crash, 1), Gate::Failed { late: true, .. }));
}

#[test]
fn one_that_was_in_order_for_long_has_the_whole_deadline_for_a_restart_or_a_repair() {
    let restart = [(10, Fate::Ready), (9000, Fate::Progressing)];
    assert!(matches!(looked(&restart, 1799), Gate::Moving { .. }));
    assert!(matches!(
        looked(&restart, 1800),
        Gate::Failed { late: true, .. }
    ));

    let mut model = Model::new(spec(json!({ "apps": apps(&[("a", 1)]) })));
    model.pass();
    model.fare("a", Fate::Ready);
    model.pass_time(90_000);
    model.views.get_mut("a").unwrap().generation += 1;
    assert!(
        matches!(of(&model), Gate::Moving { until: None, .. }),
        "edited"
    );
    model.fare("a", Fate::Ready);
    let view = model.views.get_mut("a").unwrap();
    (view.desired_digest, view.digest) = (Some("new".into()), Some("old".into()));
    assert!(
        matches!(of(&model), Gate::Moving { until: None, .. }),
        "a new deployment"
    );
}

#[test]
fn a_hold_neither_opens_nor_fails_and_its_end_begins_the_deadline_anew() {
    let held = [(10, Fate::Held)];
    assert!(matches!(looked(&held, 9000), Gate::Held { .. }));
    let resumed = [(10, Fate::Held), (9000, Fate::Progressing)];
    assert!(matches!(looked(&resumed, 1700), Gate::Moving { .. }));
    assert!(matches!(looked(&resumed, 1800), Gate::Failed { .. }));
}

#[test]
fn a_hold_on_a_child_that_was_proven_makes_no_new_version_of_it() {
    let crash = [
        (10, Fate::Ready),
        (90_000, Fate::Held),
        (600, Fate::Ready),
        (60, Fate::Stalled),
    ];
    assert!(matches!(looked(&crash, 1), Gate::Failed { late: true, .. }));
}

#[test]
fn a_child_that_waits_for_a_word_that_can_be_understood_neither_passes_nor_fails() {
    let mut model = Model::new(spec(json!({ "apps": apps(&[("a", 1)]) })));
    model.pass();
    model.fare("a", Fate::Stalled);
    assert!(matches!(of(&model), Gate::Failed { .. }));
    let view = model.views.get_mut("a").unwrap();
    let unclear = ("appofapps.dev/run-state".to_owned(), "stopped".to_owned());
    view.annotations.extend([unclear]);
    let Gate::Held { why } = of(&model) else {
        unreachable!("{:?}", of(&model));
    };
    assert!(why.contains("run-state"), "{why}");
}
