//! All that follows from a wish and what exists: one pure function from both to what is written, deleted and said.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::gate::Moment;
use super::generate::{Child, Generated};
use super::inventory::{self, Foreign, Ours, Records, Settled, Sorted, Why, Wish, Write};
use super::order::{Order, order, step_of};
use super::prune::{self, Prune};
use super::rename::{self, Renames};
use super::rollout::{Decision, Requests, Rollout, Rules, Scene, rollout};
use super::seats::seats;
use super::summary::summary;
use super::{GeneratorInputs, Parent};
use crate::api::annotation;
use crate::api::app_of_apps::{AppOfAppsSpec, FailingChild, FleetSummary, Preview, Strategy};
use crate::api::row::ChildView;
use crate::api::status::Reason;

/// What exists, and what people ask for besides the spec.
pub struct Facts<'a> {
    pub spec: &'a AppOfAppsSpec,
    pub parent: &'a Parent,
    pub inputs: &'a GeneratorInputs,
    /// All children of the namespace, whosever they are
    pub existing: &'a [Arc<ChildView>],
    /// Of each child that the API server refused lately
    pub refused: &'a BTreeMap<String, Refused>,
    /// Value of the annotation `confirm-prune`
    pub confirm: Option<&'a str>,
    pub requests: &'a Requests,
    pub now: Moment,
}

/// What the API server refused, and in which words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub revision: String,
    pub reason: Reason,
    pub message: String,
}

/// A child that leaves its parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detached {
    pub name: String,
    pub uid: String,
}

/// What follows.
#[derive(Clone, Debug, PartialEq)]
pub struct Survey {
    /// Without children that are detached, and with what is wrong about the order among the errors
    pub generated: Generated,
    pub order: Order,
    pub rollout: Rollout,
    /// Legal now, in the order of the rollout
    pub writes: Vec<Write>,
    pub detach: Vec<Detached>,
    pub foreign: Vec<Foreign>,
    /// Refused as they are asked for now, by name
    pub refused: BTreeMap<String, Refused>,
    pub renames: Renames,
    pub prune: Prune,
    pub summary: FleetSummary,
    pub failing: Vec<FailingChild>,
    /// Asked for, and not there
    pub absent: Vec<String>,
    /// There, with another revision than the one asked for
    pub behind: Vec<String>,
    /// Asked for, but still going from an earlier wish; created anew once gone
    pub terminating: usize,
}

/// All that follows from the children asked for and the facts. Who asks again and again keeps a [`Surveyor`].
pub fn survey(generated: Generated, facts: &Facts<'_>) -> Survey {
    Surveyor::default().survey(generated, facts)
}

/// Surveys one fleet again and again: children that did not change are not compared anew.
#[derive(Debug, Default)]
pub struct Surveyor {
    settled: Settled,
    records: Records,
}

impl Surveyor {
    /// As [`survey`], which gives the same.
    pub fn survey(&mut self, generated: Generated, facts: &Facts<'_>) -> Survey {
        follow(generated, facts, self)
    }
}

fn follow(mut generated: Generated, facts: &Facts<'_>, memory: &mut Surveyor) -> Survey {
    let asked = |name: &str| generated.children.contains_key(name);
    let Surveyor { settled, records } = memory;
    let sorted = inventory::sort(asked, facts.existing, facts.parent, records);
    let left = left(&sorted);
    for name in &left {
        if generated.children.contains_key(name) {
            Arc::make_mut(&mut generated.children).remove(name);
        }
    }
    let strategy = facts.spec.strategy();
    let order = order(&mut generated, &strategy, &left);
    let rules = Rules::of(facts.spec);
    let Sorted {
        ours,
        mut foreign,
        detaching,
        ..
    } = sorted;
    foreign.retain(|f| generated.children.contains_key(&f.name));
    let mut refused = facts.refused.clone();
    refused.retain(|name, refused| {
        let child = generated.children.get(name);
        child.is_some_and(|child| child.revision == refused.revision)
    });
    let unclear = unclear(&ours);
    let asked = |(name, _): &(&String, &Refused)| generated.children.contains_key(*name);
    let all = unclear.iter().filter(asked);
    refused.extend(all.map(|(name, why)| (name.clone(), why.clone())));
    let is_foreign = |name: &str| {
        foreign
            .binary_search_by(|f| f.name.as_str().cmp(name))
            .is_ok()
    };
    let mut seats = seats(&generated, &order, &ours);
    let leaving = inventory::leaving(&generated, &ours);
    let missing = seats.iter().filter(|seat| seat.ours.is_none());
    let missing: Vec<&Arc<Child>> = missing.map(|seat| seat.child).collect();
    let absent = missing.iter().filter(|child| !is_foreign(&child.name));
    let absent: Vec<&Arc<Child>> = absent.copied().collect();
    let renames = rename::renames(&absent, &leaving, facts.inputs, facts.parent);
    let mut barred: BTreeMap<String, String> = renames.blocked.clone();
    barred.extend(foreign.iter().map(|f| (f.name.clone(), f.to_string())));
    let words = refused.iter().map(|(n, r)| (n.clone(), r.message.clone()));
    barred.extend(words);
    let unsure = match rules.rolling {
        true => unsure(&generated, &order, &ours, &strategy),
        false => BTreeMap::new(),
    };
    let (mut summary, failing) = summary(&seats, &refused);
    summary.errors = i32::try_from(generated.in_error()).unwrap_or(i32::MAX);
    let exist = || seats.iter().filter_map(|seat| Some((seat, seat.ours?)));
    let terminating = exist().filter(|(_, (view, _))| view.deleting).count();
    let behind = exist().filter(|(seat, _)| rules.updates && !seat.is_as_asked());
    let behind = behind.map(|(seat, _)| seat.name().to_owned()).collect();
    // By name before.
    seats.sort_by_key(|seat| seat.place);
    let rollout = rollout(&Scene {
        generated: &generated,
        order: &order,
        seats: &seats,
        rules: &rules,
        ours: &ours,
        barred: &barred,
        unsure: &unsure,
        requests: facts.requests,
        now: facts.now,
    });
    let wish = Wish {
        seats: &seats,
        rollout: &rollout,
        rules: &rules,
        parent: facts.parent,
        now: facts.now,
    };
    let mut writes = inventory::writes(&wish, settled);
    writes.retain(|write| {
        let name = &write.child.name;
        let again = facts.refused.get(name);
        !(write.why == Why::Create && renames.after.contains_key(name))
            && again.is_none_or(|r| r.revision != write.child.revision)
            && !unclear.contains_key(name)
    });
    let open = rules.rolling && !rollout.complete;
    // Whose turn it is, of those that come once an old one is gone.
    let due: BTreeSet<&str> = match renames.after.is_empty() {
        true => BTreeSet::new(),
        false => {
            let turns = seats.iter().zip(&rollout.decisions);
            let released = turns.filter(|(_, decision)| **decision == Decision::Release);
            let released = released.map(|(seat, _)| seat.name());
            released
                .filter(|name| renames.after.contains_key(*name))
                .collect()
        }
    };
    let prune = match facts.spec.apps_sync().deletes() {
        true => {
            let budget = facts.spec.max_deletions();
            let limits = prune::Limits {
                max_deletions: budget,
                confirm: facts.confirm,
                withheld: unclear
                    .iter()
                    .find(|(name, _)| !is_asked(&generated, name))
                    .map(|(_, why)| why.message.clone())
                    .or_else(|| {
                        withheld(&generated, &missing, &ours, &renames, !due.is_empty(), open)
                    }),
                // Its successor, and with it the rollout, waits for it.
                only: open.then(|| {
                    let old = renames
                        .after
                        .iter()
                        .filter(|(new, _)| due.contains(new.as_str()));
                    old.map(|(_, old)| old.as_str()).collect()
                }),
            };
            prune::plan(&generated, &leaving, &limits)
        }
        false => Prune::default(),
    };
    Survey {
        rollout,
        writes,
        detach: detaching
            .iter()
            .map(|view| Detached {
                name: view.name.clone(),
                uid: view.uid.clone(),
            })
            .collect(),
        foreign,
        refused,
        renames,
        prune,
        summary,
        failing,
        absent: absent.iter().map(|child| child.name.clone()).collect(),
        behind,
        terminating,
        order,
        generated,
    }
}

/// Children that may be about to leave their parent: nobody understands what their annotation `detach` says, by name.
fn unclear(ours: &Ours<'_>) -> BTreeMap<String, Refused> {
    let unclear = ours.iter().filter_map(|(name, (view, record))| {
        let misread = annotation::unclear_detach(&view.annotations)?;
        let why = Refused {
            revision: record.revision.clone().unwrap_or_default(),
            reason: Reason::InvalidSpec,
            message: format!("{name}: {misread}; until then it is neither written nor deleted"),
        };
        Some(((*name).to_owned(), why))
    });
    unclear.collect()
}

fn is_asked(generated: &Generated, name: &str) -> bool {
    generated.children.contains_key(name) || generated.kept.contains(name)
}

/// Names that left their parent, or are about to.
fn left(sorted: &Sorted<'_>) -> BTreeSet<String> {
    let detaching = sorted.detaching.iter().map(|view| view.name.as_str());
    let all = detaching.chain(sorted.detached.iter().copied());
    all.map(str::to_owned).collect()
}

/// Steps that elements in error may belong to, and which these are.
fn unsure(
    generated: &Generated,
    order: &Order,
    ours: &Ours<'_>,
    strategy: &Strategy,
) -> BTreeMap<usize, String> {
    let mut found = BTreeMap::new();
    for name in &generated.kept {
        if let Some((view, _)) = ours.get(name.as_str()) {
            let step = step_of(strategy, &view.labels);
            let words = format!("the element of {name} is in error");
            found.entry(step).or_insert(words);
        }
    }
    // Of one that does not exist nobody knows the labels.
    if let Some(error) = generated.errors.first() {
        for step in 0..order.steps {
            if !order.places.values().any(|place| place.step == step) {
                let words = format!("it has no child while {} is in error", error.element);
                found.entry(step).or_insert(words);
            }
        }
    }
    found
}

/// Why nothing may be deleted, whatever the number. `missing`: children that do not exist.
fn withheld(
    generated: &Generated,
    missing: &[&Arc<Child>],
    ours: &Ours<'_>,
    renames: &Renames,
    due: bool,
    open: bool,
) -> Option<String> {
    if let Some((name, why)) = renames.blocked.iter().next() {
        return Some(format!("{name} {why}"));
    }
    let follows = |name: &str| renames.after.contains_key(name);
    if open && !due {
        return Some("a rollout is under way; nothing is deleted before it is through".to_owned());
    }
    let kept = generated
        .kept
        .iter()
        .filter(|name| !ours.contains_key(name.as_str()));
    let mut absent = missing.iter().map(|child| &child.name).chain(kept);
    let first = absent.find(|name| !follows(name))?;
    Some(format!(
        "{first} is asked for and not there; what is new comes before what is old goes"
    ))
}

/// What would be written if nothing were held back, at most 100 names each.
pub fn preview(survey: &Survey) -> Preview {
    let mut change = survey.behind.clone();
    let edited = survey.writes.iter().filter(|w| w.why == Why::Repair);
    change.extend(edited.map(|write| write.child.name.clone()));
    change.sort();
    Preview {
        create: prune::shown(&survey.absent),
        change: prune::shown(&change),
        delete: prune::shown(&survey.prune.names),
    }
}
