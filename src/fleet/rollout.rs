//! How far a wish has come, and what may be released next: made anew at every pass from the wish, what the children carry,
//! and how they are. Nothing here remembers.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;

use super::gate::{Gate, Moment, Terms, gate};
use super::generate::{Child, Generated};
use super::order::{Order, Place};
use super::record::{self, Record};
use crate::api::app_of_apps::{AppOfAppsSpec, OnFailure};
use crate::api::digest;
use crate::api::row::ChildView;
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

/// Why nothing more is released.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Halt {
    pub reason: Reason,
    pub message: String,
}

/// How far a wish has come.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollout {
    /// sha256 of all revisions that are asked for, by name
    pub digest: String,
    /// Of every child that is asked for
    pub decisions: BTreeMap<String, Decision>,
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
    pub rules: &'a Rules,
    /// Children that exist and are this parent's, or are handed to it; by name
    pub ours: &'a BTreeMap<&'a str, (&'a ChildView, Record)>,
    /// Names that can't be written now, and why
    pub barred: &'a BTreeMap<String, String>,
    pub requests: &'a Requests,
    pub now: Moment,
}

/// How far the wish has come, and what may be written now.
pub fn rollout(scene: &Scene<'_>) -> Rollout {
    let standings = standings(scene);
    let standing = |name: &str| standings.get(name).unwrap_or(&Standing::Behind);
    let sorted = scene.order.sorted();
    let digest = digest_of(scene.generated);
    let mut out = Rollout {
        digest,
        decisions: sorted
            .iter()
            .map(|(name, _)| ((*name).to_owned(), kept(standing(name))))
            .collect(),
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
    let steps: Vec<&[(&str, Place)]> = sorted.chunk_by(|a, b| a.1.step == b.1.step).collect();
    for (n, members) in steps.iter().enumerate() {
        let step = members.first().map_or(0, |(_, place)| place.step);
        if members.iter().all(|(name, _)| standing(name).passed()) {
            let later = steps[n + 1..].iter().flat_map(|s| s.iter());
            let more = later.clone().any(|(name, _)| !standing(name).passed());
            if more && let Some(halt) = not_exercised(scene, &standings, members, step) {
                (out.step, out.complete, out.halt) = (step, false, Some(halt));
                break;
            }
            continue;
        }
        out.complete = false;
        out.step = step;
        advance(scene, &standings, members, &mut out);
        break;
    }
    take_back(scene, &standings, &mut out);
    out
}

fn standings(scene: &Scene<'_>) -> BTreeMap<String, Standing> {
    let children = scene.generated.children.values();
    children
        .map(|child| (child.name.clone(), standing(scene, child)))
        .collect()
}

fn standing(scene: &Scene<'_>, child: &Child) -> Standing {
    if let Some(why) = scene.barred.get(&child.name) {
        return Standing::Barred(why.clone());
    }
    let Some((view, record)) = scene.ours.get(child.name.as_str()) else {
        return Standing::Behind;
    };
    let desired = Some(&child.revision);
    let rejected = record.rejected.as_ref() == desired && record.revision.as_ref() != desired;
    let resumed = scene.requests.resume > record.rejected_at;
    if rejected && !resumed {
        return Standing::Rejected;
    }
    if record.revision.as_ref() == desired || !scene.rules.updates {
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
fn advance(
    scene: &Scene<'_>,
    standings: &BTreeMap<String, Standing>,
    members: &[(&str, Place)],
    out: &mut Rollout,
) {
    let standing = |name: &str| standings.get(name).unwrap_or(&Standing::Behind);
    let open: Vec<&(&str, Place)> = members
        .iter()
        .filter(|(name, _)| !standing(name).passed())
        .collect();
    out.wave = open.iter().map(|(_, place)| place.wave).min().unwrap_or(0);
    let failures: Vec<(&str, &Standing)> = open
        .iter()
        .map(|(name, _)| (*name, standing(name)))
        .filter(|(_, standing)| standing.failed())
        .collect();
    let aborted = scene.requests.abort.as_ref() == Some(&out.digest);
    if aborted {
        out.halt = Some(Halt {
            reason: Reason::RolloutAborted,
            message: format!(
                "the annotation abort-rollout quotes this rollout, {}; change the spec, or remove the annotation to go on",
                short(&out.digest)
            ),
        });
    } else if scene.rules.rolling && !failures.is_empty() {
        out.halt = Some(halt(scene, &failures));
    }
    let taken = open
        .iter()
        .filter(|(name, _)| matches!(standing(name), Standing::At(_)))
        .count();
    let limit = limit(scene, out.step, members.len());
    let mut free = limit.saturating_sub(taken);
    let ready = Prerequisites::new(scene, standings);
    let mut invalid = Vec::new();
    for (name, place) in open {
        let why = match standing(name) {
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
                let says = scene
                    .ours
                    .get(name)
                    .is_some_and(|(view, _)| view.is("Stalled"));
                out.overdue += usize::from(!says);
                why.clone()
            }
            Standing::At(Gate::Passed { .. }) => continue,
            Standing::Rejected => "rolled back".into(),
            Standing::Barred(why) => why.clone(),
            Standing::Behind => match ready.of(name, *place) {
                Ok(()) if out.halt.is_some() => "not released: the rollout is halted".into(),
                Ok(()) if free == 0 => "waits for its turn within maxUpdate".into(),
                Ok(()) => {
                    free -= 1;
                    out.moving += 1;
                    out.decisions.insert((*name).to_owned(), Decision::Release);
                    "released".into()
                }
                Err(Missing::Waits(why)) => why,
                Err(Missing::Never(why)) => {
                    invalid.push(format!("{name} {why}"));
                    why
                }
            },
        };
        if place.wave == out.wave || failures.iter().any(|(failed, _)| failed == name) {
            out.waiting.push(((*name).to_owned(), why));
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
        let (name, why) = match (failures.first(), out.waiting.first()) {
            (Some((name, standing)), _) => ((*name).to_owned(), words(standing)),
            (None, Some(waiting)) => waiting.clone(),
            (None, None) => return,
        };
        let later = members
            .iter()
            .any(|(n, place)| place.wave > out.wave && !standing(n).passed());
        if later || failures.is_empty() {
            out.halt = Some(Halt {
                reason: Reason::RolloutHalted,
                message: format!("wave {} waits for {name}: {why}", out.wave),
            });
        }
    }
}

fn words(standing: &Standing) -> String {
    match standing {
        Standing::At(Gate::Failed { why, .. }) | Standing::Barred(why) => why.clone(),
        Standing::Rejected => "rolled back".into(),
        Standing::At(_) | Standing::Behind => String::new(),
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

fn halt(scene: &Scene<'_>, failures: &[(&str, &Standing)]) -> Halt {
    let rejected = failures.iter().find(|(_, s)| **s == Standing::Rejected);
    if let Some((name, _)) = rejected {
        let wanted = scene.generated.children.get(*name);
        let wanted = wanted.map_or("", |child| child.revision.as_str());
        let running = scene
            .ours
            .get(name)
            .and_then(|(_, r)| r.revision.as_deref());
        return Halt {
            reason: Reason::RolledBack,
            message: format!(
                "{name} could not run revision {} and has {} again; change the spec, or set the annotation resume-rollout to the present time to try once more",
                short(wanted),
                short(running.unwrap_or_default())
            ),
        };
    }
    let (name, standing) = failures[0];
    let more = match failures.len() {
        1 => String::new(),
        n => format!("; and {} more failed", n - 1),
    };
    Halt {
        reason: Reason::RolloutHalted,
        message: format!(
            "{name} failed: {}{more}; nothing more is released until it recovers or the spec changes",
            words(standing)
        ),
    }
}

/// A step of nothing but stopped children proves nothing, unless everything is stopped.
fn not_exercised(
    scene: &Scene<'_>,
    standings: &BTreeMap<String, Standing>,
    members: &[(&str, Place)],
    step: usize,
) -> Option<Halt> {
    let idle = |name: &str| {
        matches!(
            standings.get(name),
            Some(Standing::At(Gate::Passed { exercised: false }))
        )
    };
    if !scene.rules.rolling || !members.iter().all(|(name, _)| idle(name)) {
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
        .filter_map(|(name, _)| scene.ours.get(name)?.1.set_at)
        .max();
    if scene.requests.resume.is_some() && scene.requests.resume > set_at {
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

/// Why a child may not be released yet.
enum Missing {
    /// It may be, later
    Waits(String),
    /// What it waits for comes after it
    Never(String),
}

/// How far a child that has not passed its gate is from being in order with what it has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Distance {
    Ready,
    NotReady,
    Absent,
}

/// What has to be in order before a child is released.
struct Prerequisites<'a> {
    scene: &'a Scene<'a>,
    standings: &'a BTreeMap<String, Standing>,
    /// For each wave and step, the child that is farthest from being in order
    open: BTreeMap<(u32, usize), (Distance, &'a str)>,
}

impl<'a> Prerequisites<'a> {
    fn new(scene: &'a Scene<'a>, standings: &'a BTreeMap<String, Standing>) -> Self {
        let mut open = BTreeMap::new();
        for (name, place) in &scene.order.places {
            if !standings.get(name).is_some_and(Standing::passed) {
                let distance = match scene.ours.get(name.as_str()) {
                    Some((view, _)) if view.is("Ready") && !view.deleting => Distance::Ready,
                    Some(_) => Distance::NotReady,
                    None => Distance::Absent,
                };
                let farthest = open.entry((place.wave, place.step));
                let farthest = farthest.or_insert((distance, name.as_str()));
                if distance > farthest.0 {
                    *farthest = (distance, name.as_str());
                }
            }
        }
        Self {
            scene,
            standings,
            open,
        }
    }

    /// Whether the child may be released as far as others are concerned.
    fn of(&self, name: &str, place: Place) -> Result<(), Missing> {
        let lower = self.open.range(..(place.wave, 0));
        for ((wave, step), (_, other)) in lower {
            if *step <= place.step {
                return Err(Missing::Waits(format!("waits for {other} of wave {wave}")));
            }
            self.at_its_own(other, place, *step, &format!("of wave {wave}"))?;
        }
        let child = self.scene.generated.children.get(name);
        for other in child.iter().flat_map(|child| &child.depends_on) {
            match self.scene.order.places.get(other) {
                Some(theirs) if theirs.step <= place.step => {
                    if !self.standings.get(other).is_some_and(Standing::passed) {
                        return Err(Missing::Waits(format!("waits for {other}")));
                    }
                }
                theirs => {
                    let step = theirs.map_or(place.step, |p| p.step);
                    self.at_its_own(other, place, step, "by dependsOn")?;
                }
            }
        }
        Ok(())
    }

    /// A child that comes later has to be in order with what it has.
    fn at_its_own(&self, other: &str, place: Place, step: usize, how: &str) -> Result<(), Missing> {
        match self.scene.ours.get(other) {
            Some((view, _)) if view.is("Ready") && !view.deleting => Ok(()),
            Some(_) => Err(Missing::Waits(format!("waits until {other} is Ready"))),
            None if step > place.step => Err(Missing::Never(format!(
                "of step {} waits for {other} {how}, which step {} only creates; give {other} a label of an earlier step",
                place.step + 1,
                step + 1
            ))),
            None => Err(Missing::Waits(format!(
                "waits for {other}, whose element is in error"
            ))),
        }
    }
}

/// Decides who gets its last good content back.
fn take_back(scene: &Scene<'_>, standings: &BTreeMap<String, Standing>, out: &mut Rollout) {
    if !scene.rules.updates {
        return;
    }
    let mut without = Vec::new();
    let mut back = BTreeSet::new();
    for (name, (_, record)) in scene.ours {
        let Some(child) = scene.generated.children.get(*name) else {
            continue;
        };
        let failed = scene.rules.rollback
            && out.waiting.iter().any(|(waiting, _)| waiting == name)
            && matches!(
                standings.get(*name),
                Some(Standing::At(Gate::Failed { late: false, .. }))
            );
        let aborted = scene.requests.abort.is_some() && scene.requests.abort == record.rollout;
        if !failed && !aborted {
            continue;
        }
        let good = record
            .last_good
            .as_deref()
            .and_then(|content| record::restore(child, content));
        match good {
            Some(good) if Some(&good.revision) != record.revision.as_ref() => {
                back.insert((*name).to_owned());
            }
            _ => without.push(*name),
        }
    }
    for name in back {
        out.decisions.insert(name, Decision::RollBack);
    }
    if let (Some(halt), Some(first)) = (&mut out.halt, without.first()) {
        halt.message = format!(
            "{}; {first} has no last good spec to go back to (it is new, or larger than {} KiB)",
            halt.message,
            record::KEPT_BYTES >> 10
        );
    }
}

fn digest_of(generated: &Generated) -> String {
    let revisions: BTreeMap<&str, &str> = generated
        .children
        .values()
        .map(|child| (child.name.as_str(), child.revision.as_str()))
        .collect();
    digest::of(&json!(revisions))
}

fn wake(at: &mut Option<Timestamp>, due: Timestamp) {
    *at = Some(at.map_or(due, |at| at.min(due)));
}

/// Enough of a digest to tell it from others in a message.
fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

#[cfg(test)]
#[path = "rollout_tests.rs"]
mod rollout_tests;
