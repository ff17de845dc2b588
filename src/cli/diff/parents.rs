//! A parent of the input over the cluster: generated and surveyed as the operator does. Pure.
use std::collections::BTreeMap;
use std::sync::Arc;

use kube::ResourceExt;
use serde_json::Value;

use super::Why;
use super::fleet::{self, Coming, Scene};
use super::known::KnownParent;
use super::outcome::Fleet;
use crate::admission::{Admission, Field};
use crate::api::annotation;
use crate::api::app_of_apps::{AppOfApps, AppOfAppsSpec, FleetMode};
use crate::api::row::ChildView;
use crate::api::status::Reason;
use crate::cli::input::Manifest;
use crate::engine::reconcile::{hold, misread};
use crate::fleet::{ErrorReason, Facts, Generated, Moment, Survey};
use crate::kinds::DatabricksApp;
use crate::kinds::app_of_apps::{parent_of, requests_of};
use crate::worlds::cluster::view_of;

/// A parent of the input as it would be, and what it would find.
pub struct Wish<'a> {
    pub manifest: &'a Manifest,
    pub parent: &'a AppOfApps,
    pub known: &'a KnownParent,
    /// All apps, once those of the input are applied.
    pub existing: &'a [DatabricksApp],
    pub now: Moment,
}

/// What follows from a parent.
pub struct Followed {
    pub fleet: Fleet,
    pub refusals: Vec<Why>,
    /// What could not be told, for people.
    pub notes: Vec<String>,
    /// The children that may be written, in the order of the rollout.
    pub coming: Vec<Coming>,
}

/// What would become of the parent's children.
pub fn follow(admission: &Admission, wish: &Wish<'_>) -> Followed {
    let Wish {
        manifest,
        parent,
        known,
        ..
    } = *wish;
    // The namespace's uid is only noted on children, and no content of theirs.
    let me = parent_of(parent, None);
    let inputs = &known.found.read.inputs;
    let judge = |child: &Value| admission.objections(child);
    let mut generated = crate::fleet::generate(&parent.spec, inputs, &me, &judge);
    known.found.read.qualify(&mut generated);
    let idle = generated.idle.iter().map(|idle| format!("spec.{idle}"));
    let said = known.found.notes.iter().cloned().chain(idle);
    let notes = said.map(|note| format!("note: {}: {note}", manifest.title()));
    let notes = notes.collect();
    let here = wish.existing.iter();
    let here = here.filter(|app| app.metadata.namespace.as_ref() == Some(&me.namespace));
    let here: Vec<(&DatabricksApp, Arc<ChildView>)> =
        here.map(|app| (app, Arc::new(view_of(app)))).collect();
    let views: Vec<Arc<ChildView>> = here.iter().map(|(_, view)| view.clone()).collect();
    let survey = |spec: &AppOfAppsSpec, generated: Generated| {
        let confirm = parent.annotations().get(annotation::CONFIRM_PRUNE);
        crate::fleet::survey(
            generated,
            &Facts {
                spec,
                parent: &me,
                inputs,
                existing: &views,
                refused: &BTreeMap::new(),
                confirm: confirm.map(String::as_str),
                requests: &requests_of(parent),
                now: wish.now,
            },
        )
    };
    let seen = survey(&parent.spec, generated);
    let existing = here.iter();
    let existing = existing.map(|(app, view)| (view.name.as_str(), (*app, view.as_ref())));
    let scene = Scene {
        parent,
        survey: &seen,
        freed: &seen.prune.budget,
        existing: &existing.collect(),
    };
    let (fleet, coming) = fleet::fleet(&scene);
    Followed {
        fleet,
        refusals: misread(parent)
            .map(Why::from)
            .into_iter()
            .chain(refusals(manifest, &seen))
            .collect(),
        notes,
        coming,
    }
}

/// What of the parent's wish is refused.
fn refusals(manifest: &Manifest, survey: &Survey) -> Vec<Why> {
    let errors = survey.generated.errors.iter().map(|error| {
        let reason = match error.reason {
            ErrorReason::UnpinnedSource => Reason::UnpinnedSource,
            ErrorReason::InvalidOrder => Reason::InvalidOrder,
            _ => Reason::GenerationFailed,
        };
        let place = manifest.place(&Field::new("spec").join(&error.element));
        Why::new(reason, format!("{place}: spec.{error}"))
    });
    let foreign = survey.foreign.iter();
    let foreign = foreign.map(|f| Why::new(Reason::ForeignChild, f.to_string()));
    let blocked = survey.renames.blocked.iter();
    let blocked = blocked.map(|(n, why)| Why::new(Reason::RenameBlocked, format!("{n} {why}")));
    // Any other halt may end without a change of the spec.
    let halt = survey.rollout.halt.iter();
    let halt = halt.filter(|halt| halt.reason == Reason::InvalidOrder);
    let halt = halt.map(|halt| Why::new(halt.reason, halt.message.clone()));
    errors.chain(foreign).chain(blocked).chain(halt).collect()
}

/// Why a parent would write nothing.
pub fn held(parent: &AppOfApps) -> Option<Why> {
    if parent.metadata.deletion_timestamp.is_some() {
        let message = "is being deleted in the cluster, and its children with it unless syncPolicy.onDeletion says Orphan";
        return Some(Why::new(Reason::Deleting, message));
    }
    let plan = parent.spec.mode() == FleetMode::Plan;
    let read_only = || Why::new(Reason::ReadOnly, "mode Plan: nothing is written");
    let hold = hold(parent).map(Why::from);
    hold.or_else(|| misread(parent).map(Why::from))
        .or_else(|| plan.then(read_only))
}
