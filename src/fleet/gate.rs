//! The gate of one child: whether what it has counts as proven.
use std::time::Duration;

use jiff::Timestamp;

use super::record::Record;
use crate::api::row::ChildView;
use crate::telemetry::Clock;

/// When a decision is made.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Wall time
    pub at: Timestamp,
    pub clock: Clock,
}

impl Moment {
    fn age(&self, since: Timestamp) -> Duration {
        self.clock.age(since, self.at)
    }

    fn after(&self, since: Timestamp, service: Duration) -> Timestamp {
        since
            .checked_add(self.clock.wire(service))
            .unwrap_or(Timestamp::MAX)
    }
}

/// What a gate asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Service time that the child has to stay Ready
    pub soak: Duration,
    /// Service time within which it has to become Ready; `None`: no limit
    pub deadline: Option<Duration>,
}

/// How a child stands with the revision that it has.
#[derive(Clone, Debug, PartialEq)]
pub enum Gate {
    /// Ready for long enough. Not `exercised`: it is stopped, as asked, and has proven nothing
    Passed { exercised: bool },
    /// Ready, but not for long enough
    Soaking { until: Timestamp },
    /// On its way; `until`: when that counts as failed
    Moving {
        why: String,
        until: Option<Timestamp>,
    },
    /// Somebody holds it
    Held { why: String },
    /// `late`: it was in order for long enough after it got its revision, and failed then
    Failed { why: String, late: bool },
}

/// The gate of a child that exists, for the revision that it has.
pub fn gate(view: &ChildView, record: &Record, terms: Terms, now: Moment) -> Gate {
    let moving = |why: &str, until| Gate::Moving {
        why: why.to_owned(),
        until,
    };
    if view.deleting {
        return moving("is being deleted", None);
    }
    let condition = |kind: &str| view.condition(kind);
    let changed = |kind: &str| condition(kind).map(|c| c.last_transition_time.0);
    // A hold takes no time away from the child.
    let released = condition("Suspended").filter(|c| c.status != "True");
    let released = released.map(|c| c.last_transition_time.0);
    let start = record.set_at.or(changed("Ready")).max(released);
    let due = start.zip(terms.deadline);
    let due = due.map(|(start, deadline)| now.after(start, deadline));
    let overdue = due.is_some_and(|due| now.at >= due);
    // By then it had been Ready for a soak, or had failed.
    let proven = start
        .zip(terms.deadline)
        .map(|(start, deadline)| now.after(start, deadline.saturating_add(terms.soak)));
    let late = |since: Option<Timestamp>| match (since, proven) {
        (Some(since), Some(proven)) => since > proven,
        (_, None) | (None, _) => terms.deadline.is_none(),
    };
    if view.observed_generation != view.generation {
        return match overdue {
            true => Gate::Failed {
                why: "was not reconciled in time".into(),
                late: false,
            },
            false => moving("was not reconciled yet", due),
        };
    }
    if view.is("Suspended") {
        let why = condition("Suspended").map_or("", |c| c.reason.as_str());
        return Gate::Held { why: why.into() };
    }
    if let Some(stalled) = condition("Stalled").filter(|c| c.status == "True") {
        return Gate::Failed {
            why: format!("{}: {}", stalled.reason, stalled.message),
            late: late(changed("Stalled")),
        };
    }
    let Some(ready) = condition("Ready").filter(|c| c.status == "True") else {
        let why = condition("Ready").map_or("has no status yet", |c| c.reason.as_str());
        return match overdue {
            true => Gate::Failed {
                why: format!("DeadlineExceeded: not Ready in time ({why})"),
                late: late(changed("Ready")),
            },
            false => moving(why, due),
        };
    };
    let stopped = ready.reason == "Stopped";
    if !stopped && view.desired_digest != view.digest {
        return match overdue {
            true => Gate::Failed {
                why: "DeadlineExceeded: its deployment did not come in time".into(),
                late: false,
            },
            false => moving("is about to be deployed", due),
        };
    }
    let since = Some(ready.last_transition_time.0).max(record.set_at);
    match since {
        Some(since) if now.age(since) < terms.soak => Gate::Soaking {
            until: now.after(since, terms.soak),
        },
        _ => Gate::Passed {
            exercised: !stopped,
        },
    }
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod gate_tests;
