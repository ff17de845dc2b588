//! What exists against what is asked for, and the writes that make one of the other.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value;

use super::gate::{Gate, Moment, Terms, gate};
use super::generate::{Child, Generated};
use super::order::Place;
use super::record::{self, Record};
use super::rollout::{Decision, Rollout, Rules};
use super::seats::Seat;
use super::{Parent, threads};
use crate::api::row::{ChildView, Owner};
use crate::api::{annotation, label};

/// Children that exist and are a parent's own, by name, with what they carry.
pub type Ours<'a> = BTreeMap<&'a str, (&'a Arc<ChildView>, Arc<Record>)>;

/// Why a child is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It does not exist
    Create,
    /// Another revision is asked for
    Release,
    /// Somebody else changed it
    Repair,
    /// Its spec stays; only what its parent notes on it changes
    Note,
    /// It failed and gets its last good content back
    RollBack,
}

/// One write to one child.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    pub why: Why,
    pub child: Arc<Child>,
    pub record: Record,
}

impl Write {
    /// The body of the apply; `existing`: the children of the namespace.
    pub fn payload(&self, parent: &Parent, existing: &[Arc<ChildView>]) -> Value {
        // Only what is ignored is taken from the child that exists.
        let reads = self.why != Why::Create && !self.child.ignored.is_empty();
        let mut existing = existing.iter().filter(|_| reads);
        let live = existing.find(|view| view.name == self.child.name);
        record::payload(&self.child, &self.record, parent, live.map(Arc::as_ref))
    }
}

/// A name that belongs to somebody else; never written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    pub name: String,
    pub owner: Option<Owner>,
    /// The parent that wants it
    pub parent: String,
    pub namespace: String,
}

impl std::fmt::Display for Foreign {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            name,
            owner,
            parent,
            namespace,
        } = self;
        match owner {
            Some(owner) => write!(
                f,
                "{name}: exists and belongs to {} {}; rename the child or remove that object",
                owner.kind, owner.name
            ),
            None => write!(
                f,
                "{name}: exists and was not made by this object; rename the child, delete what exists, or hand it over: kubectl label dbapp -n {namespace} {name} {}={parent}",
                label::PARENT
            ),
        }
    }
}

/// How the objects of the namespace relate to the parent.
#[derive(Debug, Default)]
pub struct Sorted<'a> {
    pub ours: Ours<'a>,
    /// Asked for, but somebody else's
    pub foreign: Vec<Foreign>,
    /// Still its own, but to be let go, by name
    pub detaching: Vec<&'a ChildView>,
    /// Names that left and that no one may ask for any more
    pub detached: Vec<&'a str>,
}

/// Whether `parent_uid` controls the child. Garbage collection takes the owner reference away when the parent is deleted in
/// the foreground and the child has another owner.
pub fn is_ours(child: &ChildView, parent_uid: &str) -> bool {
    match controller(child) {
        Some(owner) => owner.uid == parent_uid,
        None => child
            .annotations
            .get(annotation::PARENT_UID)
            .is_some_and(|uid| uid == parent_uid),
    }
}

/// Who controls the object; it may belong to others besides.
fn controller(view: &ChildView) -> Option<&Owner> {
    view.owner.as_ref().filter(|owner| owner.controller)
}

/// Whether the child is to leave its parent.
fn leaves(view: &ChildView) -> bool {
    annotation::is_true(&view.annotations, annotation::DETACH)
}

/// Whether somebody hands the object to this parent: nobody controls it, and its label names the parent.
fn handed_over(view: &ChildView, parent: &Parent) -> bool {
    controller(view).is_none() && view.labels.get(label::PARENT) == Some(&parent.name)
}

/// What children carry, read once for each view of them; by its address. The view is held, so that the same address is the
/// same value.
#[derive(Debug, Default)]
pub struct Records(HashMap<usize, (Arc<ChildView>, Arc<Record>)>);

impl Records {
    fn of(&self, view: &Arc<ChildView>) -> Arc<Record> {
        let known = self.0.get(&address(view));
        known.map_or_else(|| Arc::new(Record::of(view)), |(_, record)| record.clone())
    }
}

fn address(view: &Arc<ChildView>) -> usize {
    Arc::as_ptr(view).addr()
}

/// How one object relates to the parent.
enum Relation {
    Ours(Arc<Record>),
    /// Asked for, but somebody else's
    Foreign,
    /// Still its own, but to be let go
    Detaching,
    Detached,
    /// Nobody asks for it
    Other,
}

/// Sorts the objects of the namespace by whose they are; others than this parent's that nobody asks for are left out.
pub fn sort<'a>(
    asked: impl Fn(&str) -> bool + Sync,
    existing: &'a [Arc<ChildView>],
    parent: &Parent,
    records: &mut Records,
) -> Sorted<'a> {
    let relations = threads::map(existing, |view| {
        let (mine, leaves) = (is_ours(view, &parent.uid), leaves(view));
        if leaves && mine {
            Relation::Detaching
        } else if leaves && controller(view).is_none() {
            Relation::Detached
        } else if mine || (handed_over(view, parent) && asked(&view.name)) {
            Relation::Ours(records.of(view))
        } else if asked(&view.name) {
            Relation::Foreign
        } else {
            Relation::Other
        }
    });
    let mut sorted = Sorted::default();
    let mut ours = Vec::with_capacity(existing.len());
    for (view, relation) in existing.iter().zip(relations) {
        match relation {
            Relation::Ours(record) => ours.push((view.name.as_str(), (view, record))),
            Relation::Foreign => sorted.foreign.push(Foreign {
                name: view.name.clone(),
                owner: view.owner.clone(),
                parent: parent.name.clone(),
                namespace: parent.namespace.clone(),
            }),
            Relation::Detaching => sorted.detaching.push(view),
            Relation::Detached => sorted.detached.push(&view.name),
            Relation::Other => {}
        }
    }
    let known = ours.iter().map(|(_, (view, record))| {
        let held = ((*view).clone(), record.clone());
        (address(view), held)
    });
    records.0 = known.collect();
    sorted.ours = ours.into_iter().collect();
    sorted.foreign.sort_by(|a, b| a.name.cmp(&b.name));
    sorted
}

/// Children that nobody asks for any more, by name.
pub fn leaving<'a>(generated: &Generated, ours: &Ours<'a>) -> Vec<&'a Arc<ChildView>> {
    let mut asked = generated.children.keys().peekable();
    let all = ours.iter().filter(|(name, _)| {
        while asked.next_if(|other| other.as_str() < **name).is_some() {}
        asked.next_if(|other| other.as_str() == **name).is_none()
            && !generated.kept.contains(**name)
    });
    all.map(|(_, (view, _))| *view).collect()
}

/// Children that were compared before and had nothing to mend, so that a pass over thousands of them compares only those
/// that changed.
#[derive(Debug, Default)]
pub struct Settled {
    /// What else the comparison depends on
    terms: Option<(Parent, bool)>,
    /// By the view's address
    known: HashMap<usize, Pair>,
}

/// A child as it is and as it is asked for, with its place if that is noted on it. Held, so that the same address is the same
/// value.
#[derive(Debug)]
struct Pair {
    view: Arc<ChildView>,
    child: Arc<Child>,
    place: Option<Place>,
}

impl Pair {
    /// Whether the same is asked of the view.
    fn is(&self, child: &Arc<Child>, place: Option<Place>) -> bool {
        Arc::ptr_eq(&self.child, child) && self.place == place
    }
}

/// What writes are made of.
pub struct Wish<'a> {
    /// In the order of the rollout
    pub seats: &'a [Seat<'a>],
    pub rollout: &'a Rollout,
    pub rules: &'a Rules,
    pub parent: &'a Parent,
    pub now: Moment,
}

impl Wish<'_> {
    /// Where the child comes, if that is noted on it.
    fn place(&self, seat: &Seat<'_>) -> Option<Place> {
        self.rules.reverse.then_some(seat.place)
    }

    /// The child as it exists, if it is compared with what is asked for.
    fn compared<'a>(&self, seat: &Seat<'a>, decision: Decision) -> Option<&'a Arc<ChildView>> {
        let (view, _) = seat.ours.filter(|_| decision != Decision::RollBack)?;
        (self.rules.updates && !view.deleting).then_some(view)
    }

    /// The write to one child that is allowed now.
    fn write(&self, seat: &Seat<'_>, decision: Decision) -> Option<Write> {
        let Self { rules, now, .. } = *self;
        let (child, place) = (seat.child, self.place(seat));
        let release = |why, before| {
            let record = released(child, before, &self.rollout.digest, rules, now);
            Some(Write {
                why,
                child: child.clone(),
                record: Record { place, ..record },
            })
        };
        let Some((view, record)) = seat.ours else {
            return match decision {
                Decision::Release => release(Why::Create, None),
                Decision::Keep | Decision::RollBack => None,
            };
        };
        if view.deleting || !rules.updates {
            return None;
        }
        match decision {
            Decision::RollBack => taken_back(child, record, now),
            Decision::Release if !seat.is_as_asked() => release(Why::Release, Some((view, record))),
            // What can't be told any more is not repaired.
            Decision::Release | Decision::Keep => record::recorded(child, record)
                .and_then(|had| mended(&had, view, record, place, rules, self.parent)),
        }
    }
}

/// The writes that the rollout allows now, in the order of the rollout.
pub fn writes(wish: &Wish<'_>, settled: &mut Settled) -> Vec<Write> {
    let terms = Some((wish.parent.clone(), wish.rules.rolling));
    let mut before = match settled.terms == terms {
        true => std::mem::take(&mut settled.known),
        false => HashMap::new(),
    };
    let mut known = HashMap::with_capacity(wish.seats.len());
    let mut open = Vec::new();
    for (seat, decision) in wish.seats.iter().zip(&wish.rollout.decisions) {
        let compared = wish.compared(seat, *decision);
        let pair = compared.and_then(|view| before.remove(&address(view)));
        match pair.filter(|pair| pair.is(seat.child, wish.place(seat))) {
            Some(pair) => drop(known.insert(address(&pair.view), pair)),
            None => open.push((seat, *decision)),
        }
    }
    // To compare thousands of specs takes longer than all that is decided about them.
    let writes = threads::map(&open, |(seat, decision)| wish.write(seat, *decision));
    for ((seat, decision), write) in open.iter().zip(&writes) {
        if let Some(view) = wish.compared(seat, *decision)
            && write.is_none()
            && seat.is_as_asked()
        {
            let pair = Pair {
                view: view.clone(),
                child: seat.child.clone(),
                place: wish.place(seat),
            };
            known.insert(address(view), pair);
        }
    }
    *settled = Settled { terms, known };
    writes.into_iter().flatten().collect()
}

/// What a child carries when it is released.
fn released(
    child: &Child,
    before: Option<(&ChildView, &Record)>,
    rollout: &str,
    rules: &Rules,
    now: Moment,
) -> Record {
    let mut record = Record {
        revision: Some(child.revision.clone()),
        set_at: Some(now.at),
        ..Record::default()
    };
    if rules.rolling {
        record.rollout = Some(rollout.to_owned());
        record.applied = record::content(child);
        record.last_good = before.and_then(|(view, had)| last_good(view, had, rules.terms, now));
    }
    record
}

/// The content that the child leaves, if it was proven; else the one proven before.
fn last_good(view: &ChildView, had: &Record, terms: Terms, now: Moment) -> Option<String> {
    let proven = matches!(gate(view, had, terms, now), Gate::Passed { .. });
    match proven {
        true => had.applied.clone(),
        false => had.last_good.clone(),
    }
}

fn taken_back(child: &Arc<Child>, record: &Record, now: Moment) -> Option<Write> {
    let content = record.last_good.clone()?;
    let good = record::restore(child, &content)?;
    let record = Record {
        revision: Some(good.revision.clone()),
        set_at: Some(now.at),
        // It is no part of the rollout any more.
        rollout: None,
        applied: Some(content.clone()),
        last_good: Some(content),
        place: record.place,
        rejected: record.revision.clone(),
        rejected_at: Some(now.at),
    };
    Some(Write {
        why: Why::RollBack,
        child: Arc::new(good),
        record,
    })
}

/// The write that makes the child again what it was made, if it differs.
fn mended(
    had: &Arc<Child>,
    view: &ChildView,
    live: &Record,
    place: Option<Place>,
    rules: &Rules,
    parent: &Parent,
) -> Option<Write> {
    let mut record = match rules.rolling {
        true => live.clone(),
        // What is needed for a way back would be as large as the spec.
        false => Record {
            revision: live.revision.clone(),
            set_at: live.set_at,
            ..Record::default()
        },
    };
    record.place = place;
    if rules.rolling && record.applied.is_none() {
        record.applied = record::content(had);
    }
    if !record::differs(view, live, had, &record, parent) {
        return None;
    }
    if rules.rolling && is_tampered(&record, had) {
        record.applied = record::content(had);
    }
    // The digest covers the notes: with the same digest, what differs is somebody else's doing.
    let edited = record::is_edited(view, had, parent);
    Some(Write {
        why: if edited { Why::Repair } else { Why::Note },
        child: had.clone(),
        record,
    })
}

/// Whether the content noted on the child is another one than that of its revision.
fn is_tampered(record: &Record, had: &Arc<Child>) -> bool {
    let noted = record.applied.as_deref();
    let child = noted.and_then(|content| record::restore(had, content));
    child.is_none_or(|child| child.revision != had.revision)
}

#[cfg(test)]
#[path = "inventory_tests.rs"]
mod inventory_tests;
