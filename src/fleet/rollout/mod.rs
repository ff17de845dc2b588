//! How far a wish has come, and what may be released next: made anew at every pass from the wish, what the children carry,
//! and how they are. Nothing here remembers.
use std::collections::BTreeMap;

use jiff::Timestamp;

mod halt;
mod prerequisites;

pub use self::halt::Halt;
use self::prerequisites::{Missing, Prerequisites};
use super::gate::{Gate, Moment, Terms, gate};
use super::generate::Generated;
use super::inventory::Ours;
use super::order::Order;
use super::record;
use super::seats::Seat;
use super::threads;
use crate::api::app_of_apps::{AppOfAppsSpec, DeletionOrder, OnFailure};
use crate::api::digest;
use crate::api::status::Reason;

/// What people ask of a rollout by annotations of the parent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// `resume-rollout`: what was rejected before is released once more
    pub resume: Option<Timestamp>,
    /// `abort-rollout`: the digest of a rollout
    pub abort: Option<String>,
}

/// Rules of the rollout, out of the spec.
#[derive(Clone, Debug)]
pub struct Rules {
    pub rolling: bool,
    pub terms: Terms,
    pub rollback: bool,
    /// Of each step that is written down
    pub max_update: Vec<Option<String>>,
    /// Existing children are written
    pub updates: bool,
    /// Children are deleted in the reverse order
    pub reverse: bool,
}

impl Rules {
    pub fn of(spec: &AppOfAppsSpec) -> Self {
        let strategy = spec.strategy();
        let rolling = strategy.rolling_sync.clone().unwrap_or_default();
        let is_rolling = strategy.is_rolling();
        let terms = match is_rolling {
            true => Terms {
                soak: rolling.soak(),
                deadline: Some(rolling.progress_deadline()),
            },
            false => Terms {
                soak: std::time::Duration::ZERO,
                deadline: None,
            },
        };
        Self {
            rolling: is_rolling,
            terms,
            rollback: is_rolling && rolling.on_failure() == OnFailure::Rollback,
            max_update: rolling.steps.iter().map(|s| s.max_update.clone()).collect(),
            updates: spec.apps_sync().updates(),
            reverse: strategy.deletion_order() == DeletionOrder::Reverse,
        }
    }
}

/// What may be done with a child now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Is written as it is asked for
    Release,
    /// Stays at the revision that it has, and is repaired to it
    Keep,
    /// Gets its last good content back
    RollBack,
}

/// How far a wish has come.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollout {
    /// sha256 of all revisions that are asked for, by name
    pub digest: String,
    /// Of every child that is asked for, in the order of the rollout
    pub decisions: Vec<Decision>,
    /// The step that is on its way, from 0; the last one if all are through
    pub step: usize,
    pub steps: usize,
    /// The lowest wave of the step that is not through
    pub wave: u32,
    /// Children of the current step and wave that are not through, and why; in order
    pub waiting: Vec<(String, String)>,
    /// Of these, how many move by themselves
    pub moving: usize,
    /// Of these, how many are held by somebody
    pub held: usize,
    /// Of these, how many have failed although they do not say so themselves
    pub overdue: usize,
    pub halt: Option<Halt>,
    /// Every child has what is asked for and has passed its gate
    pub complete: bool,
    /// When to look again although nothing changed
    pub wake_at: Option<Timestamp>,
}

/// How a child stands with what is asked for.
#[derive(Clone, Debug, PartialEq)]
enum Standing {
    /// Does not exist, or has another revision
    Behind,
    /// Has what is asked for
    At(Gate),
    /// Was taken back from it
    Rejected,
    /// Cannot be written: somebody else's, or refused by the API server
    Barred(String),
}

impl Standing {
    fn passed(&self) -> bool {
        matches!(self, Self::At(Gate::Passed { .. }))
    }

    fn failed(&self) -> bool {
        matches!(
            self,
            Self::At(Gate::Failed { .. }) | Self::Barred(_) | Self::Rejected
        )
    }
}

/// Everything that a verdict is made of.
pub struct Scene<'a> {
    pub generated: &'a Generated,
    pub order: &'a Order,
    /// In the order of the rollout
    pub seats: &'a [Seat<'a>],
    pub rules: &'a Rules,
    /// Children that exist and are this parent's, or are handed to it; by name
    pub ours: &'a Ours<'a>,
    /// Names that can't be written now, and why
    pub barred: &'a BTreeMap<String, String>,
    /// Steps that may hold more than the children asked for, as elements are in error: what is known of them
    pub unsure: &'a BTreeMap<usize, String>,
    pub requests: &'a Requests,
    pub now: Moment,
}

impl Scene<'_> {
    /// A time to come would be later than every rejection, and so release without end.
    fn resume(&self) -> Option<Timestamp> {
        self.requests.resume.filter(|time| *time <= self.now.at)
    }
}

/// A child and how it stands.
struct Member<'a> {
    seat: Seat<'a>,
    standing: Standing,
    decision: Decision,
    /// Among those that the rollout waits for
    awaited: bool,
}

/// How far the wish has come, and what may be written now.
pub fn rollout(scene: &Scene<'_>) -> Rollout {
    let mut members: Vec<Member<'_>> = threads::map(scene.seats, |seat| {
        let standing = standing(scene, seat);
        Member {
            seat: *seat,
            decision: kept(&standing),
            standing,
            awaited: false,
        }
    });
    let mut out = Rollout {
        digest: digest_of(scene.generated),
        decisions: Vec::new(),
        step: scene.order.steps.saturating_sub(1),
        steps: scene.order.steps,
        wave: 0,
        waiting: Vec::new(),
        moving: 0,
        held: 0,
        overdue: 0,
        halt: None,
        complete: true,
        wake_at: None,
    };
    if let Some(resume) = scene.requests.resume.filter(|time| *time > scene.now.at) {
        wake(&mut out.wake_at, resume);
    }
    if let Some(step) = current(scene, &members, &mut out) {
        out.complete = false;
        out.step = step;
        if let Some((before, what)) = scene.unsure.range(..step).next() {
            out.step = *before;
            out.halt = Some(Halt::unsure(*before, what));
        } else {
            advance(scene, &mut members, &mut out);
        }
    }
    take_back(scene, &mut members, &mut out);
    out.decisions = members.iter().map(|member| member.decision).collect();
    out
}

/// The first step that is not through; none also if the rollout ends here, at a step that proves nothing.
fn current(scene: &Scene<'_>, members: &[Member<'_>], out: &mut Rollout) -> Option<usize> {
    let open = |member: &Member<'_>| !member.standing.passed();
    let first = members.iter().find(|member| open(member));
    let steps = members.chunk_by(|a, b| a.seat.place.step == b.seat.place.step);
    for members in steps {
        let step = members.first()?.seat.place.step;
        if members.iter().any(open) {
            return Some(step);
        }
        if first.is_some()
            && let Some(halt) = halt::not_exercised(scene, members, step)
        {
            (out.step, out.complete, out.halt) = (step, false, Some(halt));
            return None;
        }
    }
    None
}

fn standing(scene: &Scene<'_>, seat: &Seat<'_>) -> Standing {
    let child = seat.child;
    if let Some(why) = scene.barred.get(&child.name) {
        return Standing::Barred(why.clone());
    }
    let Some((view, record)) = seat.ours else {
        return Standing::Behind;
    };
    let rejected = record.rejected.as_ref() == Some(&child.revision) && !seat.is_as_asked();
    let resumed = scene.resume() > record.rejected_at;
    if rejected && !resumed {
        return Standing::Rejected;
    }
    if seat.is_as_asked() || !scene.rules.updates {
        return Standing::At(gate(view, record, scene.rules.terms, scene.now));
    }
    Standing::Behind
}

/// What is done with a child whose turn it is not.
fn kept(standing: &Standing) -> Decision {
    match standing {
        // It has what is asked for: whatever else differs is drift.
        Standing::At(_) => Decision::Release,
        Standing::Behind | Standing::Rejected | Standing::Barred(_) => Decision::Keep,
    }
}

/// Releases what may be released of the current step.
fn advance(scene: &Scene<'_>, all: &mut [Member<'_>], out: &mut Rollout) {
    let ready = Prerequisites::new(scene, all);
    let start = all.partition_point(|member| member.seat.place.step < out.step);
    let end = all.partition_point(|member| member.seat.place.step <= out.step);
    let members = &mut all[start..end];
    let limit = limit(scene, out.step, members.len());
    let mut open: Vec<&mut Member<'_>> = members
        .iter_mut()
        .filter(|member| !member.standing.passed())
        .collect();
    out.wave = open.iter().map(|m| m.seat.place.wave).min().unwrap_or(0);
    let aborted = scene.requests.abort.as_ref() == Some(&out.digest);
    let failed = open.iter().filter(|member| member.standing.failed());
    let failure = halt::failure(&failed.map(|member| &**member).collect::<Vec<_>>());
    if aborted {
        out.halt = Some(Halt::aborted(&out.digest));
    } else if scene.rules.rolling {
        out.halt = failure.as_ref().map(|failure| failure.halt.clone());
    }
    let taken = open
        .iter()
        .filter(|member| matches!(member.standing, Standing::At(_)))
        .count();
    let mut free = limit.saturating_sub(taken);
    let mut invalid = Vec::new();
    for member in &mut open {
        let (name, place) = (member.seat.name(), member.seat.place);
        let why = match &member.standing {
            Standing::At(Gate::Soaking { until }) => {
                wake(&mut out.wake_at, *until);
                out.moving += 1;
                "Ready, soaking".to_owned()
            }
            Standing::At(Gate::Moving { why, until }) => {
                if let Some(until) = until {
                    wake(&mut out.wake_at, *until);
                }
                out.moving += 1;
                why.clone()
            }
            Standing::At(Gate::Held { why }) => {
                out.held += 1;
                format!("held: {why}")
            }
            Standing::At(Gate::Failed { why, .. }) => {
                let says = member.seat.ours.is_some_and(|(view, _)| view.is("Stalled"));
                out.overdue += usize::from(!says);
                why.clone()
            }
            Standing::At(Gate::Passed { .. }) => continue,
            Standing::Rejected => "rolled back".into(),
            Standing::Barred(why) => why.clone(),
            Standing::Behind => match ready.of(&member.seat) {
                Ok(()) if out.halt.is_some() => "not released: the rollout is halted".into(),
                Ok(()) if free == 0 => "waits for its turn within maxUpdate".into(),
                Ok(()) => {
                    free -= 1;
                    out.moving += 1;
                    member.decision = Decision::Release;
                    "released".into()
                }
                Err(Missing::Waits(why)) => why,
                Err(Missing::Never(why)) => {
                    invalid.push(format!("{name} {why}"));
                    why
                }
            },
        };
        if place.wave == out.wave || member.standing.failed() {
            member.awaited = true;
            out.waiting.push((name.to_owned(), why));
        }
    }
    if let (None, Some(first)) = (&out.halt, invalid.first()) {
        out.halt = Some(Halt {
            reason: Reason::InvalidOrder,
            message: first.clone(),
        });
    }
    // Nothing moves and nobody holds anything: without a failure in its way this would be silence.
    if out.halt.is_none() && out.moving == 0 && out.held == 0 {
        let (name, why) = match (&failure, out.waiting.first()) {
            (Some(failure), _) => (failure.name.clone(), failure.why.clone()),
            (None, Some(waiting)) => waiting.clone(),
            (None, None) => return,
        };
        let later = open.iter().any(|m| m.seat.place.wave > out.wave);
        if later || failure.is_none() {
            out.halt = Some(Halt {
                reason: Reason::RolloutHalted,
                message: format!("wave {} waits for {name}: {why}", out.wave),
            });
        }
    }
}

/// How many children of the step may be on their way at a time.
fn limit(scene: &Scene<'_>, step: usize, members: usize) -> usize {
    let text = scene.rules.max_update.get(step).and_then(|m| m.as_deref());
    match text.unwrap_or("100%").split_once('%') {
        Some((share, _)) => {
            let share: usize = share.parse().unwrap_or(100);
            (members.saturating_mul(share.min(100)) / 100).max(1)
        }
        None => text.and_then(|t| t.parse().ok()).unwrap_or(1).max(1),
    }
}

/// Decides who gets its last good content back.
fn take_back(scene: &Scene<'_>, members: &mut [Member<'_>], out: &mut Rollout) {
    let abort = scene.requests.abort.as_ref();
    if !scene.rules.updates || !(scene.rules.rollback || abort.is_some()) {
        return;
    }
    let mut without = None;
    for member in members {
        let Some((_, record)) = member.seat.ours else {
            continue;
        };
        let failed = scene.rules.rollback
            && member.awaited
            && matches!(
                member.standing,
                Standing::At(Gate::Failed { late: false, .. })
            );
        // One that this rollout has not reached runs what an earlier one proved.
        let under_way = matches!(&member.standing, at @ Standing::At(_) if !at.passed());
        let aborted = !out.complete
            && abort.is_some()
            // A wish that changed meanwhile left what it did not touch under its old stamp.
            && (abort == record.rollout.as_ref()
                || (abort == Some(&out.digest) && under_way && record.rollout.is_some()));
        if !failed && !aborted {
            continue;
        }
        let good = record
            .last_good
            .as_deref()
            .and_then(|content| record::restore(member.seat.child, content));
        match good {
            Some(good) if Some(&good.revision) != record.revision.as_ref() => {
                member.decision = Decision::RollBack;
            }
            _ => without = without.or(Some(member.seat.name())),
        }
    }
    if let (Some(halt), Some(first)) = (&mut out.halt, without) {
        halt.message = format!(
            "{}; {first} has no last good spec to go back to (it is new, or larger than {} KiB)",
            halt.message,
            record::KEPT_BYTES >> 10
        );
    }
}

fn digest_of(generated: &Generated) -> String {
    let children = generated.children.values();
    digest::of_texts(children.flat_map(|child| [Some(child.name.as_str()), Some(&child.revision)]))
}

fn wake(at: &mut Option<Timestamp>, due: Timestamp) {
    *at = Some(at.map_or(due, |at| at.min(due)));
}

#[cfg(test)]
mod tests;
