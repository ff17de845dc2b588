//! The gate of one child: whether what it has counts as proven.
use std::time::Duration;

use jiff::Timestamp;

use super::record::Record;
use crate::api::annotation;
use crate::api::app_of_apps::ChildKind;
use crate::api::row::ChildView;
use crate::telemetry::Clock;

/// When a decision is made.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Wall time
    pub at: Timestamp,
    pub clock: Clock,
    /// Since when somebody looks at the children without a gap; none: since ever
    pub looking_since: Option<Timestamp>,
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

/// Service time after a start within which no deadline ends: the children have to be looked at first.
const FIRST_LOOK: Duration = Duration::from_secs(3 * 60);

/// The gate of a child that exists, for the revision that it has.
///
/// Nothing notes that a child passed its gate, as that would take a write for each child of each rollout. So it counts as
/// proven once the deadline and a soak have gone by since it got its revision: had it not passed, it would have failed in
/// that time. What goes wrong afterwards is late.
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
    let ready = condition("Ready").filter(|c| c.status == "True");
    let set_at = record.set_at.or(changed("Ready"));
    let proven = set_at
        .zip(terms.deadline)
        .map(|(set_at, deadline)| now.after(set_at, deadline.saturating_add(terms.soak)));
    let late = |since: Option<Timestamp>| match (since, proven) {
        (Some(since), Some(proven)) => since > proven,
        (_, None) | (None, _) => terms.deadline.is_none(),
    };
    // A hold takes no time away from the child, and one that was in order gets the whole time anew.
    let released = condition("Suspended").filter(|c| c.status != "True");
    let released = released.map(|c| c.last_transition_time.0);
    let left = changed("Ready").filter(|left| ready.is_none() && late(Some(*left)));
    let start = set_at.max(released).max(left);
    let due = start.zip(terms.deadline);
    let due = due.map(|(start, deadline)| now.after(start, deadline));
    // Time in which nobody looked is no time that the child let pass.
    let looked = now.looking_since.map(|since| now.after(since, FIRST_LOOK));
    let due = due.map(|due| looked.map_or(due, |looked| due.max(looked)));
    let overdue = due.is_some_and(|due| now.at >= due);
    // Nothing tells since when one that is Ready owes something; after so long it is a new debt.
    let old_debt = overdue && proven.is_some_and(|proven| now.at < proven);
    if view.observed_generation != view.generation {
        return match old_debt || (overdue && ready.is_none()) {
            true => Gate::Failed {
                why: "DeadlineExceeded: it was not reconciled in time".into(),
                late: ready.is_some() || late(changed("Ready")),
            },
            false => moving("was not reconciled yet", due.filter(|_| !overdue)),
        };
    }
    if view.is("Suspended") {
        let why = condition("Suspended").map_or("", |c| c.reason.as_str());
        return Gate::Held { why: why.into() };
    }
    // The child is not at fault, and waits for a word as one that is held.
    let misread = annotation::misread(
        ChildKind::DatabricksApp.name(),
        &view.annotations,
        Some(&view.uid),
    );
    if let Some(why) = annotation::told(&misread) {
        return Gate::Held { why };
    }
    if let Some(stalled) = condition("Stalled").filter(|c| c.status == "True") {
        return Gate::Failed {
            why: format!("{}: {}", stalled.reason, stalled.message),
            late: late(changed("Stalled")),
        };
    }
    let Some(ready) = ready else {
        let why = condition("Ready").map_or("has no status yet", |c| c.reason.as_str());
        if why == "WorkspaceUnavailable" {
            return moving(why, None);
        }
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
        return match old_debt {
            true => Gate::Failed {
                why: "DeadlineExceeded: its deployment did not come in time".into(),
                late: false,
            },
            false => moving("is about to be deployed", due.filter(|_| !overdue)),
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
