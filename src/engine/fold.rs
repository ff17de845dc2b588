//! From what a pass found to the four conditions that every kind has. One fold, so that no exit can forget one.
//!
//! After it exactly one `Ready` exists; at most one of `Reconciling`, `Stalled`, `Suspended` is True, and `Ready=False`
//! implies one of the three.
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::plan::Fate;
use crate::api::status::{ConditionType, Fact, Reason, find, is_true, merge};
use crate::telemetry::metrics::ObjectState;

/// What a pass says of the object as a whole.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// As asked.
    Ready { reason: Reason, message: String },
    /// A transition that was asked for is under way.
    Moving { reason: Reason, message: String },
    /// Something failed that may pass by itself.
    Retrying { reason: Reason, message: String },
    /// Nobody knows: no look succeeded for too long.
    Unknown { reason: Reason, message: String },
    /// Nothing will change before somebody changes something.
    Stalled { reason: Reason, message: String },
    /// Nothing is wrong and nothing moves; somebody's word is waited for.
    Held { reason: Reason, message: String },
    /// This pass has nothing to say: what was there stays; an object without conditions counts as moving.
    Keep,
}

impl Verdict {
    /// What a failure of that fate means for the object as a whole.
    pub fn failed(fate: Fate, reason: Reason, message: impl Into<String>) -> Self {
        let message = message.into();
        match fate {
            Fate::Stalled { .. } => Self::Stalled { reason, message },
            Fate::Retry | Fate::After(_) | Fate::Missing { .. } => {
                Self::Retrying { reason, message }
            }
        }
    }
}

/// Why nothing is written although something may differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Hold {
    pub reason: Reason,
    pub message: String,
    /// When it ends by itself, if it does.
    pub until: Option<Timestamp>,
}

impl Hold {
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            until: None,
        }
    }
}

/// The object's conditions after a pass: the verdict's four, and the kind's own aspects.
///
/// A hold leaves `Ready` as last verified: while nothing is tried, nothing is known to have changed.
pub fn conditions(
    before: &[Condition],
    verdict: &Verdict,
    hold: Option<&Hold>,
    aspects: &[Fact],
    generation: i64,
    at: Timestamp,
) -> Vec<Condition> {
    let mut facts = aspects.to_vec();
    let mut dropped = vec![
        ConditionType::Reconciling,
        ConditionType::Stalled,
        ConditionType::Suspended,
    ];
    let mut keep = |kind: ConditionType| dropped.retain(|d| *d != kind);
    let known = find(before, ConditionType::Ready).is_some();
    // A parent's deadline for a child begins anew when a hold on it ends, so the end has to show.
    let resumed = fact(
        ConditionType::Suspended,
        Some(false),
        Reason::Resumed,
        "a hold has ended",
    );
    if let Some(hold) = hold {
        facts.push(fact(
            ConditionType::Suspended,
            Some(true),
            hold.reason,
            &hold.message,
        ));
        match verdict {
            Verdict::Ready { reason, message } => {
                facts.push(fact(ConditionType::Ready, Some(true), *reason, message))
            }
            _ if known => {}
            _ => facts.push(fact(ConditionType::Ready, None, hold.reason, &hold.message)),
        }
        return merge(before, &facts, &dropped, generation, at);
    }
    if find(before, ConditionType::Suspended).is_some() && !matches!(verdict, Verdict::Held { .. })
    {
        facts.push(resumed);
    }
    match verdict {
        Verdict::Ready { reason, message } => {
            facts.push(fact(ConditionType::Ready, Some(true), *reason, message));
        }
        Verdict::Moving { reason, message } | Verdict::Unknown { reason, message } => {
            facts.push(fact(ConditionType::Ready, None, *reason, message));
            facts.push(fact(
                ConditionType::Reconciling,
                Some(true),
                *reason,
                message,
            ));
        }
        Verdict::Retrying { reason, message } => {
            let retry = Reason::ProgressingWithRetry;
            facts.push(fact(ConditionType::Ready, Some(false), *reason, message));
            facts.push(fact(ConditionType::Reconciling, Some(true), retry, message));
        }
        Verdict::Stalled { reason, message } => {
            facts.push(fact(ConditionType::Ready, Some(false), *reason, message));
            facts.push(fact(ConditionType::Stalled, Some(true), *reason, message));
        }
        Verdict::Held { reason, message } => {
            facts.push(fact(ConditionType::Ready, Some(false), *reason, message));
            facts.push(fact(ConditionType::Suspended, Some(true), *reason, message));
        }
        Verdict::Keep if known => {
            // A hold that ended is no state to keep; what it covered is looked at again.
            keep(ConditionType::Reconciling);
            keep(ConditionType::Stalled);
            let ready = is_true(before, ConditionType::Ready);
            let explained = [ConditionType::Reconciling, ConditionType::Stalled]
                .iter()
                .any(|kind| is_true(before, *kind));
            if !ready && !explained {
                let message = "waiting for a look";
                facts.push(fact(
                    ConditionType::Reconciling,
                    Some(true),
                    Reason::Observing,
                    message,
                ));
            }
        }
        Verdict::Keep => {
            let message = "waiting for the first look";
            facts.push(fact(ConditionType::Ready, None, Reason::Observing, message));
            facts.push(fact(
                ConditionType::Reconciling,
                Some(true),
                Reason::Observing,
                message,
            ));
        }
    }
    merge(before, &facts, &dropped, generation, at)
}

/// How an object of these conditions is, as metrics count it.
pub fn state(conditions: &[Condition]) -> ObjectState {
    let reason = |kind| find(conditions, kind).map(|c| c.reason.as_str());
    if is_true(conditions, ConditionType::Stalled) {
        ObjectState::Stalled
    } else if is_true(conditions, ConditionType::Suspended) {
        ObjectState::Suspended
    } else if is_true(conditions, ConditionType::Reconciling) {
        match reason(ConditionType::Reconciling) {
            Some(reason) if reason == Reason::ProgressingWithRetry.name() => ObjectState::Retrying,
            Some(reason) if reason == Reason::WorkspaceUnavailable.name() => ObjectState::Unknown,
            _ => ObjectState::Progressing,
        }
    } else if is_true(conditions, ConditionType::Ready) {
        ObjectState::Ready
    } else {
        ObjectState::Progressing
    }
}

fn fact(kind: ConditionType, status: Option<bool>, reason: Reason, message: &str) -> Fact {
    Fact::new(kind, status, reason, message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn at() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn is(conditions: &[Condition], kind: ConditionType, status: &str) -> bool {
        find(conditions, kind).is_some_and(|c| c.status == status)
    }

    fn verdicts() -> impl Strategy<Value = Verdict> {
        let (reason, message) = (Reason::Updating, String::new());
        prop::sample::select(vec![
            Verdict::Ready {
                reason,
                message: message.clone(),
            },
            Verdict::Moving {
                reason,
                message: message.clone(),
            },
            Verdict::Retrying {
                reason,
                message: message.clone(),
            },
            Verdict::Unknown {
                reason,
                message: message.clone(),
            },
            Verdict::Held {
                reason,
                message: message.clone(),
            },
            Verdict::Stalled { reason, message },
            Verdict::Keep,
        ])
    }

    proptest! {
        #[test]
        fn any_run_of_verdicts_and_holds_leaves_conditions_that_every_reader_understands(
            passes in prop::collection::vec((verdicts(), any::<bool>()), 1..8)
        ) {
            let mut conditions = Vec::new();
            for (generation, (verdict, held)) in (1..).zip(passes) {
                let hold = Hold::new(Reason::Paused, "");
                conditions = super::conditions(&conditions, &verdict, held.then_some(&hold), &[], generation, at());
                let count = |kind: ConditionType| conditions.iter().filter(|c| c.type_ == kind.name()).count();
                prop_assert_eq!(count(ConditionType::Ready), 1);
                let active = [ConditionType::Reconciling, ConditionType::Stalled, ConditionType::Suspended]
                    .into_iter()
                    .filter(|kind| is(&conditions, *kind, "True"))
                    .count();
                prop_assert!(active <= 1, "{:?}", conditions);
                if !is(&conditions, ConditionType::Ready, "True") {
                    prop_assert_eq!(active, 1, "{:?}", conditions);
                }
            }
        }
    }

    #[test]
    fn a_hold_leaves_ready_as_it_was_last_verified() {
        let ready = Verdict::Ready {
            reason: Reason::Running,
            message: "runs".into(),
        };
        let before = conditions(&[], &ready, None, &[], 1, at());
        let hold = Hold::new(Reason::Paused, "paused");
        let held = conditions(&before, &Verdict::Keep, Some(&hold), &[], 2, at());
        assert!(is(&held, ConditionType::Ready, "True"));
        assert!(is(&held, ConditionType::Suspended, "True"));
    }

    #[test]
    fn an_object_counts_by_what_its_conditions_say() {
        let said = |verdict: &Verdict| state(&conditions(&[], verdict, None, &[], 1, at()));
        let (reason, message) = (Reason::Updating, String::new);
        let ready = Verdict::Ready {
            reason: Reason::Running,
            message: message(),
        };
        assert_eq!(said(&ready), ObjectState::Ready);
        let retrying = Verdict::Retrying {
            reason,
            message: message(),
        };
        assert_eq!(said(&retrying), ObjectState::Retrying);
        let unknown = Verdict::Unknown {
            reason: Reason::WorkspaceUnavailable,
            message: message(),
        };
        assert_eq!(said(&unknown), ObjectState::Unknown);
        assert_eq!(said(&Verdict::Keep), ObjectState::Progressing);
        let hold = Hold::new(Reason::Paused, "");
        let held = conditions(&[], &ready, Some(&hold), &[], 1, at());
        assert_eq!(state(&held), ObjectState::Suspended);
    }

    #[test]
    fn a_failed_look_changes_nothing() {
        let stalled = Verdict::Stalled {
            reason: Reason::AppCrashed,
            message: "crashed".into(),
        };
        let before = conditions(&[], &stalled, None, &[], 1, at());
        assert_eq!(
            conditions(&before, &Verdict::Keep, None, &[], 1, at()),
            before
        );
    }
}
