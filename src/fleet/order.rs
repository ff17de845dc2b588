//! The order of children: steps outside, waves inside, and what each depends on by name.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde_json::Value;

use super::generate::{Child, ElementError, ErrorReason, Generated};
use super::{selector, threads};
use crate::api::app_of_apps::{RolloutStep, Strategy, UnpinnedSources};

/// Where a child comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// From 0
    pub step: usize,
    pub wave: u32,
    /// Length of the longest chain of `dependsOn` below it
    pub depth: usize,
}

impl fmt::Display for Place {
    /// `0.1.0`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.step, self.wave, self.depth)
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(3, '.');
        let mut next = || parts.next().ok_or(());
        let (step, wave, depth) = (next()?, next()?, next()?);
        Ok(Self {
            step: step.parse().map_err(drop)?,
            wave: wave.parse().map_err(drop)?,
            depth: depth.parse().map_err(drop)?,
        })
    }
}

/// The order of all children that are asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Order {
    pub places: BTreeMap<String, Place>,
    /// At least 1
    pub steps: usize,
    /// Gates are asked of every child, also of those of a single step
    pub rolling: bool,
}

impl Order {
    /// Whether any child comes after another one.
    pub fn is_staged(&self) -> bool {
        let mut places = self.places.values();
        let first = places.next();
        self.steps > 1 || self.rolling || places.any(|place| Some(place) != first)
    }

    /// Names in the order in which they are released.
    pub fn sorted(&self) -> Vec<(&str, Place)> {
        let mut sorted: Vec<(&str, Place)> =
            self.places.iter().map(|(n, p)| (n.as_str(), *p)).collect();
        sorted.sort_by(|a, b| (a.1, a.0).cmp(&(b.1, b.0)));
        sorted
    }
}

/// The step of a child with these labels: the first that matches, else a last one.
pub fn step_of(strategy: &Strategy, labels: &BTreeMap<String, String>) -> usize {
    let rolling = strategy.rolling_sync.as_ref();
    let steps = rolling.filter(|_| strategy.is_rolling());
    let steps = steps.map(|rolling| rolling.steps.as_slice());
    let steps = steps.unwrap_or_default();
    let first = steps.iter().position(|step| matches(step, labels));
    first.unwrap_or(steps.len())
}

fn matches(step: &RolloutStep, labels: &BTreeMap<String, String>) -> bool {
    let label = |key: &str| labels.get(key).map(String::as_str);
    let mut all = step.match_expressions.iter();
    all.all(|requirement| selector::holds(requirement, label(&requirement.key)))
}

/// The order of `generated`. Children that can have none, or that may not be rolled out in steps, become errors and are kept
/// as they are. `left`: names of children that left their parent; who depends on one waits for nothing.
pub fn order(generated: &mut Generated, strategy: &Strategy, left: &BTreeSet<String>) -> Order {
    let rolling = strategy.rolling_sync.clone().unwrap_or_default();
    let is_rolling = strategy.is_rolling();
    let refuses = is_rolling && rolling.unpinned_sources() == UnpinnedSources::Refuse;
    let children: Vec<&Arc<Child>> = generated.children.values().collect();
    let seen = threads::map(&children, |child| {
        let moves = refuses.then(|| unpinned(&child.spec)).flatten();
        let step = step_of(strategy, &child.labels);
        let wave = child.wave;
        let place = Place {
            step,
            wave,
            depth: 0,
        };
        (child.name.clone(), moves, place)
    });
    let mut placed = Vec::with_capacity(seen.len());
    for (name, moves, place) in seen {
        match moves {
            None => placed.push((name, place)),
            Some((field, message)) => {
                generated.reject(&name, field, ErrorReason::UnpinnedSource, message);
            }
        }
    }
    let mut places: BTreeMap<String, Place> = placed.into_iter().collect();
    let steps: &[_] = if is_rolling { &rolling.steps } else { &[] };
    for (n, step) in steps.iter().enumerate() {
        let mut children = generated.children.values();
        if !children.any(|child| matches(step, &child.labels)) {
            let words = format!("strategy.rollingSync.steps[{n}]: no child matches");
            generated.idle.push(words);
        }
    }
    for (name, reason, message) in dependencies(generated, &mut places, left) {
        places.remove(&name);
        generated.reject(&name, "dependsOn", reason, message);
    }
    // A last step without children is none.
    let unmatched = places.values().any(|place| place.step == steps.len());
    Order {
        places,
        steps: (steps.len() + usize::from(unmatched)).max(1),
        rolling: is_rolling,
    }
}

/// Fills in the depths, and returns what is wrong with whom.
fn dependencies(
    generated: &Generated,
    places: &mut BTreeMap<String, Place>,
    left: &BTreeSet<String>,
) -> Vec<(String, ErrorReason, String)> {
    let children = &generated.children;
    let mut chains = Chains::default();
    let mut wrong = Vec::new();
    for child in children.values().filter(|c| !c.depends_on.is_empty()) {
        chains.walk(child, children);
        let place = |name: &String| places.get(name).copied();
        let mine = place(&child.name).unwrap_or(Place {
            step: 0,
            wave: child.wave,
            depth: 0,
        });
        let known = |name: &&String| {
            children.contains_key(*name) || generated.kept.contains(*name) || left.contains(*name)
        };
        let unknown = child.depends_on.iter().find(|name| !known(name));
        let above = child.depends_on.iter().find(|name| {
            place(name).is_some_and(|other| other.step == mine.step && other.wave > mine.wave)
        });
        let message = if let Some(unknown) = unknown {
            format!("{unknown:?} is no child of this parent; name one, or leave it out")
        } else if let Some(cycle) = chains.cycles.get(child.name.as_str()) {
            format!("a cycle: {}", written_out(cycle, &child.name))
        } else if let Some(above) = above {
            format!(
                "{above:?} comes in a higher wave, which waits for this one; give it the same wave or a lower one"
            )
        } else {
            continue;
        };
        wrong.push((child.name.clone(), ErrorReason::InvalidOrder, message));
    }
    for (name, depth) in chains.depths {
        if let Some(place) = places.get_mut(name) {
            place.depth = depth;
        }
    }
    wrong
}

/// What was found of the chains of `dependsOn`. Without recursion: a chain may be as long as a fleet is large.
#[derive(Default)]
struct Chains<'a> {
    /// Names whose chains were walked to their ends; the length of the longest
    depths: BTreeMap<&'a str, usize>,
    /// Members of a cycle, in its order
    cycles: BTreeMap<&'a str, Arc<Vec<&'a str>>>,
}

impl<'a> Chains<'a> {
    fn walk(&mut self, from: &'a Child, children: &'a BTreeMap<String, Arc<Child>>) {
        if self.depths.contains_key(from.name.as_str()) {
            return;
        }
        // Each with the dependency that comes next, and the longest chain found below it.
        let mut path: Vec<(&'a Child, usize, usize)> = vec![(from, 0, 0)];
        let mut on_path = BTreeMap::from([(from.name.as_str(), 0)]);
        while let Some((here, next, deepest)) = path.last().copied() {
            let Some(below) = here.depends_on.get(next) else {
                path.pop();
                on_path.remove(here.name.as_str());
                self.depths.insert(&here.name, deepest);
                continue;
            };
            if let Some(top) = path.last_mut() {
                match self.depths.get(below.as_str()) {
                    Some(depth) => (top.1, top.2) = (next + 1, deepest.max(depth + 1)),
                    None if !children.contains_key(below) => top.1 += 1,
                    None => {}
                }
                if top.1 > next {
                    continue;
                }
            }
            if let Some(start) = on_path.get(below.as_str()) {
                let members = path[*start..].iter().map(|(child, ..)| child.name.as_str());
                let cycle = Arc::new(members.collect::<Vec<_>>());
                for member in cycle.iter() {
                    self.cycles.insert(member, cycle.clone());
                }
                if let Some(top) = path.last_mut() {
                    top.1 += 1;
                }
            } else if let Some(child) = children.get(below) {
                on_path.insert(&child.name, path.len());
                path.push((child, 0, 0));
            }
        }
    }
}

/// `a → b → a`, beginning with `first`.
fn written_out(cycle: &[&str], first: &str) -> String {
    let at = cycle.iter().position(|n| *n == first).unwrap_or_default();
    let around = cycle[at..].iter().chain(&cycle[..at]);
    let mut names: Vec<&str> = around.copied().collect();
    names.push(first);
    if names.len() > 12 {
        names.splice(6..names.len() - 5, ["…"]);
    }
    names.join(" → ")
}

/// The field by which the code of a child may change without its spec, and what to do about it.
fn unpinned(spec: &Value) -> Option<(&'static str, &'static str)> {
    let source = spec.get("source")?;
    let is = |value: &Value| !value.is_null();
    let git = &source["git"];
    if is(&git["ref"]["branch"]) {
        return Some((
            "spec.source.git.ref.branch",
            "a branch moves in all steps at once; name a tag or a commit, or set rollingSync.unpinnedSources: Allow",
        ));
    }
    if source["workspace"]["redeploy"] == "OnChange" {
        return Some((
            "spec.source.workspace.redeploy",
            "OnChange deploys a changed folder in all steps at once; leave it out, or set rollingSync.unpinnedSources: Allow",
        ));
    }
    if is(&source["configMapRef"]) {
        return Some((
            "spec.source.configMapRef",
            "a changed ConfigMap is deployed in all steps at once; use another source, or set rollingSync.unpinnedSources: Allow",
        ));
    }
    if is(&source["artifactRef"]) && !is(&source["artifactRef"]["digest"]) {
        return Some((
            "spec.source.artifactRef.digest",
            "a source without digest moves in all steps at once; give the digest, or set rollingSync.unpinnedSources: Allow",
        ));
    }
    None
}

impl Generated {
    /// Turns a child into an error of its element; what exists of it is kept as it is.
    pub(super) fn reject(
        &mut self,
        name: &str,
        field: &str,
        reason: ErrorReason,
        message: impl Into<String>,
    ) {
        if !self.children.contains_key(name) {
            return;
        }
        Arc::make_mut(&mut self.children).remove(name);
        self.kept.insert(name.to_owned());
        self.errors.push(ElementError {
            element: Arc::make_mut(&mut self.sources)
                .remove(name)
                .unwrap_or_default(),
            field: field.to_owned(),
            reason,
            message: format!("{name}: {}", message.into()),
        });
    }
}

#[cfg(test)]
#[path = "order_tests.rs"]
mod order_tests;
