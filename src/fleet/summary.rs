//! The children summed up: counts, and the worst few by name.

use std::sync::Arc;

use super::Parent;
use super::generate::Generated;
use super::inventory::is_ours;
use crate::api::annotation;
use crate::api::app_of_apps::{FailingChild, FleetSummary};
use crate::api::row::ChildView;
use crate::api::status::cut;

const FAILING: usize = 10;
const MESSAGE_BYTES: usize = 256;

/// Counts of the children asked for, and up to ten that are not well: stalled ones first, then those that are tried
/// again after an error.
pub fn summary(
    generated: &Generated,
    existing: &[Arc<ChildView>],
    parent: &Parent,
) -> (FleetSummary, Vec<FailingChild>) {
    let mut counts = FleetSummary {
        desired: i32::try_from(generated.children.len()).unwrap_or(i32::MAX),
        ..FleetSummary::default()
    };
    let mut stalled = Vec::new();
    let mut retrying = Vec::new();
    let mut ours: Vec<&ChildView> = existing
        .iter()
        .map(Arc::as_ref)
        .filter(|view| is_ours(view, &parent.uid))
        .collect();
    ours.sort_by(|a, b| a.name.cmp(&b.name));
    for view in ours {
        let Some(child) = generated.children.get(&view.name) else {
            continue;
        };
        counts.created += 1;
        if view.annotations.get(annotation::REVISION) == Some(&child.revision) {
            counts.updated += 1;
        }
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
        if is_stalled {
            stalled.push(failing(view, "Stalled"));
        } else if view.is("Reconciling") && reason(view, "Reconciling") == "ProgressingWithRetry" {
            retrying.push(failing(view, "Reconciling"));
        }
    }
    stalled.append(&mut retrying);
    stalled.truncate(FAILING);
    (counts, stalled)
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
