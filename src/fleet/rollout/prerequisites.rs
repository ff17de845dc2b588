//! What has to be in order before a child is released: lower waves, and what it depends on by name.
use std::collections::{BTreeMap, BTreeSet};

use super::{Member, Scene};
use crate::fleet::order::Place;
use crate::fleet::seats::Seat;

/// Why a child may not be released yet.
pub(super) enum Missing {
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
pub(super) struct Prerequisites<'a> {
    scene: &'a Scene<'a>,
    /// Children that have not passed their gates
    unproven: BTreeSet<&'a str>,
    /// For each wave and step, the one of these that is farthest from being in order
    open: BTreeMap<(u32, usize), (Distance, &'a str)>,
}

impl<'a> Prerequisites<'a> {
    pub(super) fn new(scene: &'a Scene<'a>, members: &[Member<'a>]) -> Self {
        let mut unproven = BTreeSet::new();
        let mut open = BTreeMap::new();
        for member in members.iter().filter(|member| !member.standing.passed()) {
            let (name, place) = (member.seat.name(), member.seat.place);
            let distance = match member.seat.ours {
                Some((view, _)) if view.is("Ready") && !view.deleting => Distance::Ready,
                Some(_) => Distance::NotReady,
                None => Distance::Absent,
            };
            unproven.insert(name);
            let farthest = open.entry((place.wave, place.step));
            let farthest = farthest.or_insert((distance, name));
            if distance > farthest.0 {
                *farthest = (distance, name);
            }
        }
        Self {
            scene,
            unproven,
            open,
        }
    }

    /// Whether the child may be released as far as others are concerned.
    pub(super) fn of(&self, seat: &Seat<'_>) -> Result<(), Missing> {
        let place = seat.place;
        let lower = self.open.range(..(place.wave, 0));
        for ((wave, step), (_, other)) in lower {
            if *step <= place.step {
                return Err(Missing::Waits(format!("waits for {other} of wave {wave}")));
            }
            self.at_its_own(other, place, *step, &format!("of wave {wave}"))?;
        }
        for other in &seat.child.depends_on {
            match self.scene.order.places.get(other) {
                Some(theirs) if theirs.step <= place.step => self.passed(other)?,
                Some(theirs) => self.at_its_own(other, place, theirs.step, "by dependsOn")?,
                None if self.scene.generated.kept.contains(other) => {
                    self.at_its_own(other, place, place.step, "by dependsOn")?;
                }
                // It left its parent.
                None => {}
            }
        }
        Ok(())
    }

    fn passed(&self, other: &str) -> Result<(), Missing> {
        match self.unproven.contains(other) {
            true => Err(Missing::Waits(format!("waits for {other}"))),
            false => Ok(()),
        }
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
