//! What becomes of each element, and of all together.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Map, Value};

use super::Generated;
use super::blueprint::{self, Blueprint};
use super::child::{Child, Maker};
use super::draft::{self, valid_name};
use super::fault::{ElementError, ErrorReason, Fault, TEMPLATE};
use super::generators::Origin;
use super::limits;
use super::members::Members;
use super::template::{Pattern, Scope};
use crate::api::app_of_apps::WrittenApp;
use crate::api::status::some;
use crate::fleet::{Parent, threads};

/// What becomes one child, or an error.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct Task {
    /// An app written out, and not an element
    pub written: bool,
    pub members: Members,
}

/// What became of a task. The name is kept also when the rest failed.
pub(super) struct Outcome {
    name: Option<String>,
    result: Result<Arc<Child>, Fault>,
    /// Bytes
    size: usize,
}

/// Where a task comes from.
pub(super) enum Place {
    Element(Origin),
    App(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Element(origin) => origin.fmt(f),
            Self::App(n) => write!(f, "apps[{n}]"),
        }
    }
}

impl Place {
    fn fault(&self, fault: &Fault) -> ElementError {
        let mut error = fault.clone().of(self.to_string());
        if let Self::Element(origin) = self {
            error.message.push_str(&origin.note());
        }
        error
    }
}

/// An app written out, as JSON.
pub(super) fn written(app: &WrittenApp) -> Map<String, Value> {
    match serde_json::to_value(app) {
        Ok(Value::Object(members)) => members,
        // A struct with a map of JSON in it is an object.
        _ => Map::new(),
    }
}

/// The errors of all tasks, said once; the names of what exists protect it.
pub(super) fn refused(
    faults: Vec<Fault>,
    places: &[Place],
    tasks: &[Task],
    name: Option<Pattern>,
) -> Generated {
    let mut generated = Generated {
        complete: true,
        ..Generated::default()
    };
    generated
        .errors
        .extend(faults.into_iter().map(|fault| fault.of(TEMPLATE)));
    for (place, task) in places.iter().zip(tasks) {
        let unread = || {
            let message = "the template's name can't be read";
            Fault::new("metadata.name", ErrorReason::InvalidName, message)
        };
        let found = match &name {
            _ if task.written => {
                let name = task.members.get("name").and_then(Value::as_str);
                name.map(str::to_owned).ok_or_else(unread)
            }
            Some(pattern) => blueprint::name(pattern, &Scope::new(&task.members.whole())),
            None => Err(unread()),
        };
        match found {
            Ok(name) => drop(generated.kept.insert(name)),
            Err(mut fault) if generated.complete => {
                generated.complete = false;
                fault
                    .message
                    .push_str("; the names of other elements may be wanting, too");
                generated.errors.push(place.fault(&fault));
            }
            Err(_) => {}
        }
    }
    generated
}

/// What became of the tasks the last time, in their order.
pub(super) type Known = Vec<(Task, Arc<Outcome>)>;

/// The outcomes that are known already. Most elements are where they were, which is faster to see than to look up.
fn recalled(tasks: &[Task], known: &Known) -> Vec<Option<Arc<Outcome>>> {
    let pairs: Vec<_> = tasks.iter().zip(known).collect();
    let mut stay = threads::map(&pairs, |(task, (before, _))| *task == before);
    stay.resize(tasks.len().max(known.len()), false);
    let moved: HashMap<&Task, &Arc<Outcome>> = known
        .iter()
        .zip(&stay)
        .filter(|(_, stays)| !**stays)
        .map(|((task, outcome), _)| (task, outcome))
        .collect();
    tasks
        .iter()
        .zip(&stay)
        .enumerate()
        .map(|(n, (task, stays))| match known.get(n) {
            Some((_, outcome)) if *stays => Some(outcome.clone()),
            _ => moved.get(task).copied().cloned(),
        })
        .collect()
}

/// The outcome of each task, in their order; `None` if the children together are too large, whatever that order is.
pub(super) fn make_all(
    tasks: &[Task],
    known: &Known,
    make: &(dyn Fn(&Task) -> Outcome + Sync),
) -> Option<Vec<Arc<Outcome>>> {
    let mut outcomes = recalled(tasks, known);
    let total = AtomicUsize::new(outcomes.iter().flatten().map(|outcome| outcome.size).sum());
    let new: Vec<usize> = (0..tasks.len())
        .filter(|n| outcomes[*n].is_none())
        .collect();
    let made = threads::map(&new, |n| {
        // The rest is not worth its time once they are too large.
        let fits = total.load(Ordering::Relaxed) <= limits::CHILDREN_BYTES;
        fits.then(|| {
            let outcome = make(&tasks[*n]);
            total.fetch_add(outcome.size, Ordering::Relaxed);
            Arc::new(outcome)
        })
    });
    for (n, outcome) in new.into_iter().zip(made) {
        outcomes[n] = outcome;
    }
    if total.into_inner() > limits::CHILDREN_BYTES {
        return None;
    }
    outcomes.into_iter().collect()
}

pub(super) fn make(
    task: &Task,
    blueprint: Option<&Blueprint>,
    defaults: &Map<String, Value>,
    maker: &Maker,
) -> Outcome {
    let (name, made) = match blueprint {
        _ if task.written => {
            let name = task
                .members
                .get("name")
                .and_then(Value::as_str)
                .unwrap_or_default();
            match valid_name("name", name) {
                Ok(()) => {
                    let draft = draft::written(&task.members.whole(), defaults);
                    let made = draft.and_then(|draft| maker.make("", name, draft));
                    (Some(name.to_owned()), made)
                }
                Err(fault) => (None, Err(fault)),
            }
        }
        Some(blueprint) => {
            let members = task.members.whole();
            let scope = Scope::new(&members);
            match blueprint.name(&scope) {
                Ok(name) => {
                    let draft = blueprint.fill(&scope);
                    let made = draft.and_then(|draft| maker.make("metadata.", &name, draft));
                    (Some(name), made)
                }
                Err(fault) => (None, Err(fault)),
            }
        }
        None => {
            let fault = Fault::new("template", ErrorReason::Template, "is missing");
            (None, Err(fault))
        }
    };
    let size = made.as_ref().map_or(0, |(_, size)| *size);
    Outcome {
        name,
        result: made.map(|(child, _)| Arc::new(child)),
        size,
    }
}

/// Sorts the outcomes by name; of several elements with one name none wins.
pub(super) fn collect(places: &[Place], outcomes: &[Arc<Outcome>], parent: &Parent) -> Generated {
    let names = outcomes.iter().enumerate();
    let mut named: Vec<(&str, usize)> = names
        .filter_map(|(n, outcome)| Some((outcome.name.as_deref()?, n)))
        .collect();
    named.sort_unstable();
    let mut rivals: HashMap<usize, &[(&str, usize)]> = HashMap::new();
    let mut generated = Generated {
        complete: true,
        ..Generated::default()
    };
    let mut children = BTreeMap::new();
    let mut sources = BTreeMap::new();
    for group in named.chunk_by(|(a, _), (b, _)| a == b) {
        if let [(name, n)] = group {
            match &outcomes[*n].result {
                Ok(child) => {
                    let source = places[*n].to_string();
                    sources.insert(child.name.clone(), source);
                    children.insert(child.name.clone(), child.clone());
                }
                Err(_) => drop(generated.kept.insert((*name).to_owned())),
            }
        } else if let Some((name, _)) = group.first() {
            generated.kept.insert((*name).to_owned());
            rivals.extend(group.iter().map(|(_, n)| (*n, group)));
        }
    }
    (generated.children, generated.sources) = (Arc::new(children), Arc::new(sources));
    for (n, (place, outcome)) in places.iter().zip(outcomes).enumerate() {
        generated.complete &= outcome.name.is_some();
        if let Some(group) = rivals.get(&n) {
            let fault = duplicate(group, n, places, parent);
            generated.errors.push(place.fault(&fault));
        } else if let Err(fault) = &outcome.result {
            generated.errors.push(place.fault(fault));
        }
    }
    generated
}

fn duplicate(group: &[(&str, usize)], n: usize, places: &[Place], parent: &Parent) -> Fault {
    let name = group.first().map_or("", |(name, _)| name);
    let others = group.iter().filter(|(_, other)| *other != n);
    let others = some(others, 3, ", ", " ", |(_, other)| {
        places[*other].to_string()
    });
    let message = format!(
        "{name:?} is also the name of {others}; {}/{} keeps what exists until the names differ",
        parent.namespace, parent.name
    );
    Fault::new("metadata.name", ErrorReason::DuplicateName, message)
}
