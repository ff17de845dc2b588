//! Why nothing more is released, in words that tell the way out.
use std::sync::Arc;

use super::{Member, Scene, Standing};
use crate::api::status::Reason;
use crate::fleet::gate::Gate;
use crate::fleet::generate::Child;

/// Why nothing more is released.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Halt {
    pub reason: Reason,
    pub message: String,
}

impl Halt {
    /// An element in error may belong to an earlier step, which proves nothing without it.
    pub(super) fn unsure(step: usize, what: &str) -> Self {
        Self {
            reason: Reason::RolloutHalted,
            message: format!(
                "step {} is not whole: {what}; later steps wait until the element is mended",
                step + 1
            ),
        }
    }

    /// `abort-rollout` quotes the present rollout.
    pub(super) fn aborted(digest: &str) -> Self {
        Self {
            reason: Reason::RolloutAborted,
            message: format!(
                "the annotation abort-rollout quotes this rollout, {}; change the spec, or remove the annotation and set resume-rollout to the present time to try once more",
                short(digest)
            ),
        }
    }
}

/// The child whose failure is told first, in its words, and the halt that follows from it and the others.
pub(super) struct Failure {
    pub name: String,
    pub why: String,
    pub halt: Halt,
}

/// Of children that failed, or were taken back; in the order of the rollout.
pub(super) fn failure(failures: &[&Member<'_>]) -> Option<Failure> {
    let first = failures.first()?;
    let (name, why) = (first.seat.name(), words(&first.standing));
    let rejected = failures
        .iter()
        .find(|member| member.standing == Standing::Rejected);
    let halt = match rejected {
        Some(member) => {
            let (_, record) = member.seat.ours?;
            Halt {
                reason: Reason::RolledBack,
                message: format!(
                    "{} could not run revision {} and has {} again; change the spec, or set the annotation resume-rollout to the present time to try once more",
                    member.seat.name(),
                    short(&member.seat.child.revision),
                    short(record.revision.as_deref().unwrap_or_default())
                ),
            }
        }
        None => {
            let more = match failures.len() {
                1 => String::new(),
                n => format!("; and {} more failed", n - 1),
            };
            Halt {
                reason: Reason::RolloutHalted,
                message: format!(
                    "{name} failed: {why}{more}; nothing more is released until it recovers or the spec changes"
                ),
            }
        }
    };
    Some(Failure {
        name: name.to_owned(),
        why,
        halt,
    })
}

/// A step of nothing but stopped children proves nothing, unless everything is stopped.
pub(super) fn not_exercised(
    scene: &Scene<'_>,
    members: &[Member<'_>],
    step: usize,
) -> Option<Halt> {
    let idle = |member: &Member<'_>| {
        matches!(
            member.standing,
            Standing::At(Gate::Passed { exercised: false })
        )
    };
    if !scene.rules.rolling || !members.iter().all(idle) {
        return None;
    }
    // As a DatabricksApp reads them: without a state, one without a source is not started.
    let rests = |child: &Arc<Child>| match child.spec["lifecycle"]["state"].as_str() {
        Some(state) => state == "Stopped",
        None => child.spec["source"].is_null(),
    };
    if scene.generated.children.values().all(rests) {
        return None;
    }
    let set_at = members
        .iter()
        .filter_map(|member| member.seat.ours?.1.set_at)
        .max();
    if scene.resume().is_some() && scene.resume() > set_at {
        return None;
    }
    Some(Halt {
        reason: Reason::NotExercised,
        message: format!(
            "all children of step {} are stopped, so it proves nothing; start one of them, or set the annotation resume-rollout to the present time to go on",
            step + 1
        ),
    })
}

/// What a child says of its failure.
fn words(standing: &Standing) -> String {
    match standing {
        Standing::At(Gate::Failed { why, .. }) | Standing::Barred(why) => why.clone(),
        Standing::Rejected => "rolled back".into(),
        Standing::At(_) | Standing::Behind => String::new(),
    }
}

/// Enough of a digest to tell it from others in a message.
fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}
