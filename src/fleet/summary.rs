//! The children summed up: counts, and the worst few by name.

use std::collections::BTreeMap;

use super::seats::Seat;
use super::survey::Refused;
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
    for seat in seats {
        let Some((view, _)) = seat.ours else {
            continue;
        };
        counts.created += 1;
        counts.updated += i32::from(seat.is_as_asked());
        let (is_ready, is_stalled, is_held) = if view.deleting {
            (false, false, false)
        } else {
            (view.is("Ready"), view.is("Stalled"), view.is("Suspended"))
        };
        counts.ready += i32::from(is_ready);
        counts.stalled += i32::from(is_stalled);
        counts.suspended += i32::from(is_held);
        counts.progressing += i32::from(!is_ready && !is_stalled && !is_held);
        if is_ready && reason(view, "Ready") == "Stopped" {
            counts.stopped += 1;
        }
        if refused.contains_key(&view.name) {
            // Named already.
        } else if is_stalled {
            stalled.push((view, "Stalled"));
        } else if view.is("Reconciling") && reason(view, "Reconciling") == "ProgressingWithRetry" {
            retrying.push((view, "Reconciling"));
        }
    }
    let left = FAILING - worst.len();
    let unwell = stalled.into_iter().chain(retrying).take(left);
    worst.extend(unwell.map(|(view, kind)| failing(view, kind)));
    (counts, worst)
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
