//! What a parent may write, and how large its status may be. Pure.

use std::collections::BTreeMap;

use envtest::audit::Entry;
use envtest::large::CHANGED;
use serde::Serialize;

use super::super::report::Cost;
use super::{CHILDREN, Case};

const CHILD: &str = "databricksapps";
const PARENT: &str = "appofapps";
/// Most bytes of the parent's status, as JSON.
const STATUS: usize = 32 << 10;
/// Most status patches of the parent when one child changes: it is written, it is on its way, it is Ready.
const SETTLES: u64 = 3;
/// Most resident memory of the operator.
const RESIDENT: u64 = 640 << 20;

/// Requests of the operator that ask the API server for a change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Writes {
    /// To children, their status apart; also by their own controller
    pub(super) children: u64,
    /// Status of the parent
    pub(super) parent_status: u64,
    /// Status of children by their own controller
    pub(super) child_status: u64,
    pub(super) events: u64,
    /// Everything else, by resource
    pub(super) others: BTreeMap<String, u64>,
    /// Children that were written to, their status included; only told apart when they are few
    pub(super) touched: Vec<String>,
}

impl Writes {
    pub(super) fn of<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Self {
        let mut writes = Self::default();
        for entry in entries {
            match (entry.resource.as_str(), entry.subresource.as_str()) {
                (CHILD, "") => writes.children += 1,
                (CHILD, "status") => writes.child_status += 1,
                (PARENT, "status") => writes.parent_status += 1,
                ("events", _) => writes.events += 1,
                (resource, "") => *writes.others.entry(resource.to_owned()).or_default() += 1,
                (resource, sub) => {
                    *writes
                        .others
                        .entry(format!("{resource}/{sub}"))
                        .or_default() += 1;
                }
            }
            if entry.resource == CHILD
                && !writes.touched.contains(&entry.name)
                && writes.touched.len() < 10
            {
                writes.touched.push(entry.name.clone());
            }
        }
        writes
    }
}

/// One case as it was measured.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in super::super) struct Row {
    case: Case,
    status_bytes: usize,
    writes: Writes,
    #[serde(flatten)]
    cost: Cost,
    /// One sentence for each limit that was broken
    pub(in super::super) broken: Vec<String>,
}

impl Row {
    pub(super) fn of(case: Case, status_bytes: usize, writes: Writes, cost: Cost) -> Self {
        let mut broken = Vec::new();
        let mut limit = |what: &str, is: u64, most: u64| {
            if is > most {
                broken.push(format!("{case}: {is} {what}, and {most} are allowed"));
            }
        };
        limit("bytes of status", status_bytes as u64, STATUS as u64);
        limit("bytes resident", cost.resident_bytes, RESIDENT);
        let children = match case {
            // Each is created, and gets the finalizer of its own controller.
            Case::Created => 2 * CHILDREN as u64,
            Case::AllFailing => CHILDREN as u64,
            Case::OneChanged => 1,
            Case::AllErrors | Case::PruneWaits | Case::Planned => 0,
        };
        limit("writes to children", writes.children, children);
        if case == Case::OneChanged {
            limit(
                "status patches of the parent",
                writes.parent_status,
                SETTLES,
            );
            limit("other writes", writes.others.values().sum(), 0);
            let strangers = writes.touched.iter().filter(|name| *name != CHANGED);
            limit(
                "children touched that did not change",
                strangers.count() as u64,
                0,
            );
        }
        if writes.children < children {
            let is = writes.children;
            broken.push(format!(
                "{case}: {is} writes to children, and {children} are needed"
            ));
        }
        Self {
            case,
            status_bytes,
            writes,
            cost,
            broken,
        }
    }

    pub(in super::super) fn line(&self) -> String {
        let Self { writes, cost, .. } = self;
        let others: u64 = writes.others.values().sum();
        format!(
            "{:<12} {:>8} {:>8} {:>8} {:>7} {:>7} {:>10.1} {:>7.1} {:>7.2} {:>5.0}  {}",
            self.case,
            writes.children,
            writes.parent_status,
            writes.child_status,
            writes.events,
            others,
            self.status_bytes as f64 / 1024.0,
            cost.wall_seconds,
            cost.cpu_seconds,
            cost.resident_bytes as f64 / f64::from(1 << 20),
            if self.broken.is_empty() { "ok" } else { "OVER" },
        )
    }

    pub(in super::super) fn head() -> String {
        format!(
            "{:<12} {:>8} {:>8} {:>8} {:>7} {:>7} {:>10} {:>7} {:>7} {:>5}",
            "PARENT",
            "CHILDREN",
            "STATUS",
            "CHILD ST",
            "EVENTS",
            "OTHERS",
            "STATUS KiB",
            "WALL s",
            "CPU s",
            "MiB",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(resource: &str, subresource: &str, name: &str) -> Entry {
        Entry {
            at: jiff::Timestamp::UNIX_EPOCH,
            user: String::new(),
            verb: "patch".into(),
            group: "appofapps.dev".into(),
            resource: resource.into(),
            subresource: subresource.into(),
            namespace: "default".into(),
            name: name.into(),
            code: 200,
        }
    }

    fn one_changed(entries: &[Entry]) -> Vec<String> {
        let writes = Writes::of(entries);
        Row::of(Case::OneChanged, 1 << 10, writes, Cost::default()).broken
    }

    #[test]
    fn a_changed_child_its_own_status_and_three_of_its_parent_are_allowed() {
        let mut entries = vec![
            entry(CHILD, "", CHANGED),
            entry(CHILD, "status", CHANGED),
            entry("events", "", ""),
        ];
        entries.extend(vec![entry(PARENT, "status", "large"); 3]);
        assert!(
            one_changed(&entries).is_empty(),
            "{:?}",
            one_changed(&entries)
        );
        entries.push(entry(PARENT, "status", "large"));
        assert_eq!(one_changed(&entries).len(), 1);
    }

    #[test]
    fn a_write_to_any_other_child_breaks_the_limit() {
        let changed = entry(CHILD, "", CHANGED);
        let status = entry(CHILD, "status", "team3-a8");
        assert_eq!(one_changed(&[changed.clone(), status]).len(), 1);
        assert_eq!(one_changed(&[changed.clone(), changed.clone()]).len(), 1);
        assert_eq!(
            one_changed(&[changed, entry("configmaps", "", "x")]).len(),
            1
        );
        assert_eq!(one_changed(&[]).len(), 1, "nothing was written");
    }

    #[test]
    fn a_large_status_breaks_the_limit_in_every_case() {
        for case in [Case::AllErrors, Case::PruneWaits, Case::Planned] {
            let row = |bytes| Row::of(case, bytes, Writes::default(), Cost::default()).broken;
            assert_eq!((row(STATUS).len(), row(STATUS + 1).len()), (0, 1));
        }
    }
}
