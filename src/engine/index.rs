//! Who refers to what: one reverse index wakes every kind.
//!
//! It is filled from the watches, before any pass runs on an object, so that of two objects that claim the same remote
//! name each finds the other.
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::api::names::ObjectName;

/// An object of one of our kinds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub kind: &'static str,
    pub name: ObjectName,
}

impl Key {
    pub fn new(kind: &'static str, name: ObjectName) -> Self {
        Self { kind, name }
    }
}

/// Something that an object refers to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ref {
    /// An object; a change of its spec, labels, annotations or existence wakes.
    Spec(Key),
    /// An object; every change wakes, also one of its status alone.
    Any(Key),
    /// Every object of a kind, of that namespace or of all; a change of the spec, labels, annotations or existence of one
    /// wakes.
    All {
        kind: &'static str,
        namespace: Option<String>,
    },
    /// Something remote, by the object that connects to it, the kind of thing and its name there. All who claim the same
    /// name wake each other when they come, change or go.
    Remote {
        workspace: Key,
        what: &'static str,
        name: String,
    },
    /// A remote workspace, by its own id. What two objects connect to is the same if both refer to the same place.
    Place(String),
}

/// How much of an object changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Spec,
    StatusOnly,
}

#[derive(Default)]
struct Inner {
    queues: HashMap<&'static str, UnboundedSender<ObjectName>>,
    refs: HashMap<Key, Vec<Ref>>,
    holders: BTreeMap<Ref, BTreeSet<Key>>,
}

/// The reverse index; shared by all kinds.
#[derive(Default)]
pub struct Index {
    inner: Mutex<Inner>,
}

impl Index {
    /// The names of objects of `kind` that something wakes. Called once a kind.
    pub fn queue(&self, kind: &'static str) -> UnboundedReceiver<ObjectName> {
        let (sender, receiver) = unbounded_channel();
        self.lock().queues.insert(kind, sender);
        receiver
    }

    /// The object exists and refers to `refs`. Wakes who refers to it, and who shares a remote name with it when that
    /// is new.
    pub fn saw(&self, key: &Key, refs: Vec<Ref>, change: Change) {
        let mut inner = self.lock();
        let old = inner.unlink(key);
        for reference in &refs {
            if matches!(reference, Ref::Remote { .. }) && !old.contains(reference) {
                inner.wake_claimants(reference);
            }
            let holders = inner.holders.entry(reference.clone()).or_default();
            holders.insert(key.clone());
        }
        for reference in old.iter().filter(|old| !refs.contains(old)) {
            inner.wake_claimants(reference);
        }
        inner.refs.insert(key.clone(), refs);
        inner.changed(key, change);
    }

    /// Wakes who refers to an object of which that much changed.
    pub fn changed(&self, key: &Key, change: Change) {
        self.lock().changed(key, change);
    }

    /// The object is gone. Wakes who referred to it, and who shared a remote name with it.
    pub fn lost(&self, key: &Key) {
        let mut inner = self.lock();
        for reference in inner.unlink(key) {
            match &reference {
                Ref::Remote { .. } => inner.wake_claimants(&reference),
                // It may wait for its users to go.
                Ref::Spec(used) | Ref::Any(used) => inner.send(used),
                Ref::All { .. } | Ref::Place(_) => {}
            }
        }
        inner.changed(key, Change::Spec);
    }

    /// Wakes all that refer to it.
    pub fn wake(&self, reference: &Ref) {
        self.lock().wake(reference);
    }

    /// Wakes the owner of an object, if it is of a kind of ours.
    pub fn wake_owner(&self, kind: &str, name: &ObjectName) {
        let inner = self.lock();
        if let Some(queue) = inner.queues.get(kind) {
            let _ = queue.send(name.clone());
        }
    }

    /// Wakes all objects of a namespace: what it admits may have changed.
    pub fn wake_namespace(&self, namespace: &str) {
        let inner = self.lock();
        for key in inner.refs.keys().filter(|k| k.name.namespace == namespace) {
            inner.send(key);
        }
    }

    /// Wakes one object.
    pub fn wake_object(&self, key: &Key) {
        self.lock().send(key);
    }

    /// Who refers to it, in order of kind and name.
    pub fn holders(&self, reference: &Ref) -> Vec<Key> {
        let inner = self.lock();
        let holders = inner.holders.get(reference);
        holders.into_iter().flatten().cloned().collect()
    }

    /// The objects that connect to the same remote workspace as this one, which is among them. `place`: its id, where it
    /// may be known before the object says so.
    pub fn twins(&self, workspace: &Key, place: Option<&str>) -> BTreeSet<Key> {
        self.lock().twins(workspace, place)
    }

    /// All objects of a kind that are known.
    pub fn known(&self, kind: &'static str) -> Vec<Key> {
        let inner = self.lock();
        inner
            .refs
            .keys()
            .filter(|k| k.kind == kind)
            .cloned()
            .collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn unlink(&mut self, key: &Key) -> Vec<Ref> {
        let old = self.refs.remove(key).unwrap_or_default();
        for reference in &old {
            if let Some(holders) = self.holders.get_mut(reference) {
                holders.remove(key);
                if holders.is_empty() {
                    self.holders.remove(reference);
                }
            }
        }
        old
    }

    fn wake(&self, reference: &Ref) {
        for key in self.holders.get(reference).into_iter().flatten() {
            self.send(key);
        }
    }

    /// As [`Inner::wake`]; of a remote name everybody who claims it, whichever object they connect by.
    fn wake_claimants(&self, reference: &Ref) {
        let Ref::Remote {
            workspace,
            what,
            name,
        } = reference
        else {
            return self.wake(reference);
        };
        for workspace in self.twins(workspace, None) {
            self.wake(&Ref::Remote {
                workspace,
                what,
                name: name.clone(),
            });
        }
    }

    fn twins(&self, workspace: &Key, place: Option<&str>) -> BTreeSet<Key> {
        let refs = self.refs.get(workspace).into_iter().flatten();
        let places = refs.filter(|reference| matches!(reference, Ref::Place(_)));
        let places = places
            .cloned()
            .chain(place.map(|id| Ref::Place(id.to_owned())));
        let mut twins = BTreeSet::from([workspace.clone()]);
        for place in places {
            twins.extend(self.holders.get(&place).into_iter().flatten().cloned());
        }
        twins
    }

    fn changed(&self, key: &Key, change: Change) {
        self.wake(&Ref::Any(key.clone()));
        if change == Change::StatusOnly {
            return;
        }
        self.wake(&Ref::Spec(key.clone()));
        for namespace in [None, Some(key.name.namespace.clone())] {
            self.wake(&Ref::All {
                kind: key.kind,
                namespace,
            });
        }
    }

    fn send(&self, key: &Key) {
        if let Some(queue) = self.queues.get(key.kind) {
            // A queue whose controller has ended needs no wake-ups.
            let _ = queue.send(key.name.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(name: &str) -> Key {
        Key::new("App", ObjectName::new("ns", name))
    }

    fn remote(name: &str) -> Ref {
        remote_by("w", name)
    }

    fn connects(name: &str) -> Key {
        Key::new("Workspace", ObjectName::new("ns", name))
    }

    fn remote_by(workspace: &str, name: &str) -> Ref {
        Ref::Remote {
            workspace: connects(workspace),
            what: "app",
            name: name.into(),
        }
    }

    fn drain(queue: &mut UnboundedReceiver<ObjectName>) -> Vec<String> {
        std::iter::from_fn(|| queue.try_recv().ok().map(|n| n.name)).collect()
    }

    #[test]
    fn who_claims_a_name_wakes_the_others_when_it_comes_and_when_it_goes() {
        let index = Index::default();
        let mut queue = index.queue("App");
        index.saw(&app("a"), vec![remote("x")], Change::Spec);
        index.saw(&app("b"), vec![remote("x")], Change::Spec);
        assert_eq!(drain(&mut queue), ["a"]);
        assert_eq!(index.holders(&remote("x")), [app("a"), app("b")]);
        index.lost(&app("a"));
        assert_eq!(drain(&mut queue), ["b"]);
    }

    #[test]
    fn who_claims_a_name_by_another_connection_to_the_same_place_wakes_the_others_too() {
        let index = Index::default();
        let mut queue = index.queue("App");
        let place = |id: &str| vec![Ref::Place(id.into())];
        index.saw(&connects("w"), place("7"), Change::Spec);
        index.saw(&connects("v"), place("7"), Change::Spec);
        index.saw(&connects("u"), place("8"), Change::Spec);
        index.saw(&app("a"), vec![remote("x")], Change::Spec);
        index.saw(&app("c"), vec![remote_by("u", "x")], Change::Spec);
        assert!(drain(&mut queue).is_empty());
        index.saw(&app("b"), vec![remote_by("v", "x")], Change::Spec);
        assert_eq!(drain(&mut queue), ["a"]);
        // A list that one connection took wakes those alone who use it.
        index.wake(&remote("x"));
        assert_eq!(drain(&mut queue), ["a"]);
        index.lost(&app("a"));
        assert_eq!(drain(&mut queue), ["b"]);
    }

    #[test]
    fn an_object_that_has_not_said_its_place_yet_is_a_twin_by_the_id_that_is_known() {
        let index = Index::default();
        index.saw(&connects("v"), vec![Ref::Place("7".into())], Change::Spec);
        index.saw(&connects("w"), vec![], Change::Spec);
        let names = |place| {
            let twins = index.twins(&connects("w"), place).into_iter();
            twins.map(|key| key.name.name).collect::<Vec<_>>()
        };
        assert_eq!(names(None), ["w"]);
        assert_eq!(names(Some("7")), ["v", "w"]);
        assert_eq!(names(Some("8")), ["w"]);
    }

    #[test]
    fn who_reads_all_of_a_kind_is_woken_by_each_that_comes_changes_or_goes() {
        let index = Index::default();
        let mut queue = index.queue("App");
        let all = |namespace: Option<&str>| Ref::All {
            kind: "Workspace",
            namespace: namespace.map(str::to_owned),
        };
        let workspace = |namespace: &str| Key::new("Workspace", ObjectName::new(namespace, "prod"));
        index.saw(&app("everywhere"), vec![all(None)], Change::Spec);
        index.saw(&app("here"), vec![all(Some("ns"))], Change::Spec);
        index.saw(&workspace("ns"), vec![], Change::Spec);
        assert_eq!(drain(&mut queue), ["everywhere", "here"]);
        index.saw(&workspace("ns"), vec![], Change::StatusOnly);
        assert!(drain(&mut queue).is_empty());
        index.saw(&workspace("other"), vec![], Change::Spec);
        assert_eq!(drain(&mut queue), ["everywhere"]);
        index.lost(&workspace("ns"));
        assert_eq!(drain(&mut queue), ["everywhere", "here"]);
        index.saw(&app("here"), vec![], Change::Spec);
        index.lost(&app("everywhere"));
        index.saw(&workspace("ns"), vec![], Change::Spec);
        assert!(drain(&mut queue).is_empty());
    }

    #[test]
    fn a_change_of_status_alone_wakes_only_who_asked_for_it() {
        let index = Index::default();
        let mut queue = index.queue("App");
        index.saw(&app("spec"), vec![Ref::Spec(app("x"))], Change::Spec);
        index.saw(&app("any"), vec![Ref::Any(app("x"))], Change::Spec);
        index.saw(&app("x"), vec![], Change::StatusOnly);
        assert_eq!(drain(&mut queue), ["any"]);
        index.saw(&app("x"), vec![], Change::Spec);
        assert_eq!(drain(&mut queue), ["any", "spec"]);
    }
}
