//! What is known of the rows of one workspace, and whether that is fresh. Pure.
//!
//! A row counts as fresh when its request was *sent* after our last write was *answered or given up*. A write's own answer
//! is an observation of what it returns.
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

/// How a row became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// From a list, which may lag or leave fields out: drift in it is confirmed before any write.
    List,
    /// From a GET, or from the answer to a write of ours.
    Live,
}

/// What a look at one name gives.
#[derive(Clone, Debug, PartialEq)]
pub enum Look<R> {
    /// Nothing since our last write. `live`: that write's outcome is unknown, so only a GET tells.
    Stale { live: bool },
    /// `None`: there is nothing of that name.
    Fresh {
        row: Option<R>,
        source: Source,
        sent: Instant,
    },
}

#[derive(Clone, Debug)]
struct Entry<R> {
    row: Option<R>,
    sent: Instant,
    source: Source,
}

/// Our last write to a name.
#[derive(Clone, Copy, Debug)]
struct Floor {
    at: Instant,
    live: bool,
}

/// The rows of one kind in one workspace, by name.
#[derive(Clone, Debug)]
pub struct Snapshot<R> {
    entries: HashMap<String, Entry<R>>,
    floors: HashMap<String, Floor>,
    /// When the newest complete list was sent.
    listed: Option<Instant>,
    /// Who wants a list that is sent no earlier than this.
    wanted: HashMap<String, Instant>,
}

impl<R> Default for Snapshot<R> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            floors: HashMap::new(),
            listed: None,
            wanted: HashMap::new(),
        }
    }
}

impl<R: Clone + PartialEq> Snapshot<R> {
    /// What is known of `name` now.
    pub fn look(&self, name: &str) -> Look<R> {
        let floor = self.floors.get(name);
        if floor.is_some_and(|f| f.live) {
            return Look::Stale { live: true };
        }
        let fresh = |sent: Instant| floor.is_none_or(|f| sent >= f.at);
        match self.entries.get(name) {
            Some(entry) if fresh(entry.sent) => Look::Fresh {
                row: entry.row.clone(),
                source: entry.source,
                sent: entry.sent,
            },
            Some(_) => Look::Stale { live: false },
            None => match self.listed {
                Some(sent) if fresh(sent) => Look::Fresh {
                    row: None,
                    source: Source::List,
                    sent,
                },
                _ => Look::Stale { live: false },
            },
        }
    }

    /// A complete list arrived that was sent at `sent`. Returns the names whose row changed or that waited for a list.
    pub fn listed(&mut self, sent: Instant, rows: Vec<(String, R)>) -> BTreeSet<String> {
        let mut touched = BTreeSet::new();
        let present: BTreeSet<&str> = rows.iter().map(|(name, _)| name.as_str()).collect();
        let floors = &self.floors;
        let behind = |name: &str| floors.get(name).is_some_and(|f| sent < f.at);
        self.entries.retain(|name, entry| {
            let gone = !present.contains(name.as_str()) && entry.sent < sent && !behind(name);
            if gone && entry.row.is_some() {
                touched.insert(name.clone());
            }
            !gone
        });
        for (name, row) in rows {
            let old = self.entries.get(&name);
            // What a list shows from before our write, or before a newer look, is history.
            if behind(&name) || old.is_some_and(|e| e.sent >= sent) {
                continue;
            }
            if old.and_then(|e| e.row.as_ref()) != Some(&row) {
                touched.insert(name.clone());
            }
            let entry = Entry {
                row: Some(row),
                sent,
                source: Source::List,
            };
            self.entries.insert(name, entry);
        }
        self.wanted.retain(|name, by| {
            let served = *by <= sent;
            if served {
                touched.insert(name.clone());
            }
            !served
        });
        self.listed = self.listed.max(Some(sent));
        touched
    }

    /// A GET that was sent at `sent` found this.
    pub fn got(&mut self, name: &str, sent: Instant, row: Option<R>) {
        if let Some(floor) = self.floors.get_mut(name)
            && sent >= floor.at
        {
            floor.live = false;
        }
        self.put(name, sent, row);
    }

    /// A write of ours was answered; `proof` is the row as the answer shows it, if it does.
    pub fn wrote(&mut self, name: &str, answered: Instant, proof: Option<R>) {
        let floor = Floor {
            at: answered,
            live: false,
        };
        self.floors.insert(name.to_owned(), floor);
        if proof.is_some() {
            self.put(name, answered, proof);
        }
    }

    /// A write of ours failed in a way that leaves open what happened.
    pub fn lost(&mut self, name: &str, at: Instant) {
        self.floors
            .insert(name.to_owned(), Floor { at, live: true });
    }

    /// Nobody speaks for the name any more.
    pub fn forget(&mut self, name: &str) {
        self.entries.remove(name);
        self.floors.remove(name);
        self.wanted.remove(name);
    }

    fn put(&mut self, name: &str, sent: Instant, row: Option<R>) {
        if self.entries.get(name).is_some_and(|e| e.sent > sent) {
            return;
        }
        let entry = Entry {
            row,
            sent,
            source: Source::Live,
        };
        self.entries.insert(name.to_owned(), entry);
    }

    /// Asks for a list that is sent no earlier than `by`; an earlier wish of the same name stays.
    pub fn want(&mut self, name: &str, by: Instant) {
        let wanted = self.wanted.entry(name.to_owned()).or_insert(by);
        *wanted = by.min(*wanted);
    }

    /// When the earliest wish is due.
    pub fn wanted(&self) -> Option<Instant> {
        self.wanted.values().min().copied()
    }

    /// Rows of what exists, in no order.
    pub fn rows(&self) -> impl Iterator<Item = (&str, &R)> {
        self.entries
            .iter()
            .filter_map(|(name, entry)| Some((name.as_str(), entry.row.as_ref()?)))
    }

    /// When the newest complete list was sent.
    pub fn newest_list(&self) -> Option<Instant> {
        self.listed
    }
}

/// When the next list goes out: after `interval`, or for the earliest wish, but never sooner than `spacing` after the
/// last one was sent. All in wire time.
pub fn next_list(
    last: Option<Instant>,
    wanted: Option<Instant>,
    interval: Duration,
    spacing: Duration,
    now: Instant,
) -> Instant {
    let Some(last) = last else { return now };
    let regular = last + interval;
    match wanted {
        Some(wanted) => regular.min(wanted.max(last + spacing)),
        None => regular,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn rows(rows: &[(&str, u32)]) -> Vec<(String, u32)> {
        rows.iter()
            .map(|(name, row)| ((*name).into(), *row))
            .collect()
    }

    fn at(seconds: u64) -> Instant {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        *START.get_or_init(Instant::now) + Duration::from_secs(seconds)
    }

    fn row(snapshot: &Snapshot<u32>, name: &str) -> Option<Option<u32>> {
        match snapshot.look(name) {
            Look::Fresh { row, .. } => Some(row),
            Look::Stale { .. } => None,
        }
    }

    #[test]
    fn a_list_sent_before_our_write_was_answered_is_never_believed() {
        let mut snapshot = Snapshot::default();
        snapshot.listed(at(1), rows(&[("a", 1)]));
        snapshot.wrote("a", at(5), None);
        assert_eq!(row(&snapshot, "a"), None);
        snapshot.listed(at(4), rows(&[("a", 2)]));
        assert_eq!(row(&snapshot, "a"), None);
        snapshot.listed(at(6), rows(&[("a", 3)]));
        assert_eq!(row(&snapshot, "a"), Some(Some(3)));
    }

    #[test]
    fn a_list_without_the_app_that_we_just_created_does_not_make_it_absent() {
        let mut snapshot = Snapshot::default();
        snapshot.listed(at(1), rows(&[]));
        assert_eq!(row(&snapshot, "a"), Some(None));
        snapshot.wrote("a", at(5), Some(7));
        snapshot.listed(at(4), rows(&[]));
        assert_eq!(row(&snapshot, "a"), Some(Some(7)));
        assert!(snapshot.listed(at(6), rows(&[])).contains("a"));
        assert_eq!(row(&snapshot, "a"), Some(None));
    }

    #[test]
    fn after_a_lost_answer_only_a_get_tells() {
        let mut snapshot = Snapshot::default();
        snapshot.lost("a", at(2));
        snapshot.listed(at(3), rows(&[("a", 1)]));
        assert_eq!(snapshot.look("a"), Look::Stale { live: true });
        snapshot.got("a", at(4), None);
        assert_eq!(row(&snapshot, "a"), Some(None));
    }

    #[test]
    fn what_changed_and_who_waited_is_named_and_nobody_else() {
        let mut snapshot = Snapshot::default();
        snapshot.listed(at(1), rows(&[("a", 1), ("b", 1), ("c", 1)]));
        snapshot.want("w", at(2));
        snapshot.want("later", at(9));
        let touched = snapshot.listed(at(3), rows(&[("a", 1), ("b", 2)]));
        assert_eq!(touched.into_iter().collect::<Vec<_>>(), ["b", "c", "w"]);
        assert_eq!(snapshot.wanted(), Some(at(9)));
    }

    #[test]
    fn lists_that_were_asked_for_keep_their_distance() {
        let seconds = Duration::from_secs;
        let next = |last, wanted| next_list(last, wanted, seconds(60), seconds(5), at(10));
        assert_eq!(next(None, None), at(10));
        assert_eq!(next(Some(at(10)), None), at(70));
        assert_eq!(next(Some(at(10)), Some(at(11))), at(15));
        assert_eq!(next(Some(at(10)), Some(at(40))), at(40));
        assert_eq!(next(Some(at(10)), Some(at(99))), at(70));
    }
}
