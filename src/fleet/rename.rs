//! A child that comes under a new name while the old one goes: two objects, but perhaps one remote app, or no room for both.
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::generate::Child;
use super::{GeneratorInputs, Parent};
use crate::api::names::ObjectName;
use crate::api::row::ChildView;

/// What of the writes and deletions has to wait because of renames.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renames {
    /// Children that can't be created while another one exists, and why; without end until somebody acts
    pub blocked: BTreeMap<String, String>,
    /// Children that are created once the old one, which only lets its app go, is gone: new by old name
    pub after: BTreeMap<String, String>,
}

/// The app that an object stands for.
type Remote = (ObjectName, String);

fn remote(name: &str, spec: &Value, parent: &Parent) -> Option<Remote> {
    let reference = &spec["workspaceRef"];
    let namespace = reference["namespace"].as_str().unwrap_or(&parent.namespace);
    let workspace = ObjectName::new(namespace, reference["name"].as_str()?);
    Some((workspace, spec["name"].as_str().unwrap_or(name).to_owned()))
}

/// What has to wait. `absent`: the children that do not exist yet; `leaving`: those that nobody asks for.
pub fn renames(
    absent: &[&Arc<Child>],
    leaving: &[&Arc<ChildView>],
    inputs: &GeneratorInputs,
    parent: &Parent,
) -> Renames {
    let mut found = Renames::default();
    let leaving = leaving.iter();
    let leaving = leaving.filter_map(|view| Some((remote(&view.name, &view.spec, parent)?, *view)));
    let leaving: BTreeMap<Remote, &Arc<ChildView>> = leaving.collect();
    if leaving.is_empty() {
        return found;
    }
    let mut coming: BTreeMap<ObjectName, Vec<&Child>> = BTreeMap::new();
    for child in absent {
        let Some(remote) = remote(&child.name, &child.spec, parent) else {
            continue;
        };
        let Some(old) = leaving.get(&remote) else {
            coming.entry(remote.0).or_default().push(child);
            continue;
        };
        let lets_go = old.spec["management"]["deletion"] == "Orphan";
        let old = &old.name;
        let takes_over = matches!(
            child.spec["management"]["adopt"].as_str(),
            Some("IfUnowned" | "Always")
        );
        if lets_go && takes_over {
            found.after.insert(child.name.clone(), old.clone());
            continue;
        }
        found.blocked.insert(
            child.name.clone(),
            format!(
                "stands for the same app {} of {} as {old}, which leaves: deleting that one would delete the app; keep the name, or give {old} management.deletion: Orphan in a first commit, and the new one adopt: IfUnowned in the second, or remove and add in two commits",
                remote.1, remote.0
            ),
        );
    }
    for (workspace, children) in coming {
        let free = inputs.workspaces.iter().find(|w| w.name == workspace);
        let Some(free) = free.and_then(|w| w.free) else {
            continue;
        };
        let there = leaving.iter().filter(|((at, _), _)| *at == workspace);
        let old = there.count();
        let fits = usize::try_from(free.max(0)).unwrap_or(usize::MAX);
        if old == 0 || children.len() <= fits {
            continue;
        }
        for child in &children[fits..] {
            found.blocked.insert(
                child.name.clone(),
                format!(
                    "{workspace} has room for {fits} more (limits.maxApps) while {old} leave: what is new is created before the old is deleted; remove and add in two commits, or raise the limit"
                ),
            );
        }
    }
    found
}

#[cfg(test)]
#[path = "rename_tests.rs"]
mod rename_tests;
