//! What has to be in order before a child is released: lower waves, and what it depends on by name.
use std::collections::BTreeMap;

use super::{Scene, Standing};
use crate::fleet::order::Place;

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
    standings: &'a BTreeMap<String, Standing>,
    /// For each wave and step, the child that is farthest from being in order
    open: BTreeMap<(u32, usize), (Distance, &'a str)>,
}

impl<'a> Prerequisites<'a> {
    pub(super) fn new(scene: &'a Scene<'a>, standings: &'a BTreeMap<String, Standing>) -> Self {
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
    pub(super) fn of(&self, name: &str, place: Place) -> Result<(), Missing> {
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
                    let passed = self.standings.get(other).is_some_and(Standing::passed);
                    if !passed {
                        return Err(Missing::Waits(format!("waits for {other}")));
                    }
                }
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
