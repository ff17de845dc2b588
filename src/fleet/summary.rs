//! The children summed up: counts, and the worst few by name.

use std::collections::BTreeMap;

use super::seats::Seat;
use super::survey::Refused;
use super::threads;
use crate::api::app_of_apps::{FailingChild, FleetSummary};
use crate::api::row::ChildView;
use crate::api::status::cut;

const FAILING: usize = 10;
const MESSAGE_BYTES: usize = 256;

/// Counts of the children asked for, and up to ten that are not well: first those that the API server refuses, then stalled
/// ones, then those that are tried again after an error.
pub fn summary(
    seats: &[Seat<'_>],
    refused: &BTreeMap<String, Refused>,
) -> (FleetSummary, Vec<FailingChild>) {
    let mut counts = FleetSummary {
        desired: i32::try_from(seats.len()).unwrap_or(i32::MAX),
        ..FleetSummary::default()
    };
    let unwritten = refused.iter().map(|(name, refused)| FailingChild {
        name: name.clone(),
        reason: refused.reason.name().into(),
        message: cut(&refused.message, MESSAGE_BYTES),
    });
    let mut worst: Vec<FailingChild> = unwritten.take(FAILING).collect();
    let mut stalled = Vec::new();
    let mut retrying = Vec::new();
    let healths = threads::map(seats, |seat| seat.ours.map(|(view, _)| Health::of(view)));
    for (seat, health) in seats.iter().zip(healths) {
        let (Some((view, _)), Some(health)) = (seat.ours, health) else {
            continue;
        };
        counts.created += 1;
        counts.updated += i32::from(seat.is_as_asked());
        counts.ready += i32::from(health.ready);
        counts.stalled += i32::from(health.stalled);
        counts.suspended += i32::from(health.held);
        counts.progressing += i32::from(!health.ready && !health.stalled && !health.held);
        counts.stopped += i32::from(health.stopped);
        if refused.contains_key(&view.name) {
            // Named already.
        } else if health.stalled {
            stalled.push((view, "Stalled"));
        } else if health.retrying {
            retrying.push((view, "Reconciling"));
        }
    }
    let left = FAILING - worst.len();
    let unwell = stalled.into_iter().chain(retrying).take(left);
    worst.extend(unwell.map(|(view, kind)| failing(view, kind)));
    (counts, worst)
}

/// What the conditions of one child say; one that is being deleted is neither ready nor stalled nor held.
#[derive(Default)]
struct Health {
    ready: bool,
    stalled: bool,
    held: bool,
    /// Ready, as it is stopped
    stopped: bool,
    retrying: bool,
}

impl Health {
    fn of(view: &ChildView) -> Self {
        let retrying =
            view.is("Reconciling") && reason(view, "Reconciling") == "ProgressingWithRetry";
        if view.deleting {
            return Self {
                retrying,
                ..Self::default()
            };
        }
        let ready = view.is("Ready");
        Self {
            ready,
            stalled: view.is("Stalled"),
            held: view.is("Suspended"),
            stopped: ready && reason(view, "Ready") == "Stopped",
            retrying,
        }
    }
}

fn reason<'a>(view: &'a ChildView, kind: &str) -> &'a str {
    view.condition(kind)
        .map_or("", |found| found.reason.as_str())
}

fn failing(view: &ChildView, kind: &str) -> FailingChild {
    FailingChild {
        name: view.name.clone(),
        reason: reason(view, kind).to_owned(),
        message: cut(
            view.condition(kind)
                .map_or("", |found| found.message.as_str()),
            MESSAGE_BYTES,
        ),
    }
}
