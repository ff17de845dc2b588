//! The differences as people read them. Pure.
use super::fields::FieldChange;
use super::outcome::{Change, ChildChange, Fleet, Removal, RemovalVerdict, Stage};
use super::{Entry, Why};
use crate::api::annotation;
use crate::api::status::{self, cut};
use crate::cli::count;
use crate::cli::input::title;
use crate::cli::stage_name;
use crate::kinds::app::spec::PendingChange;

/// Width of the column of verbs.
const VERB: usize = 8;
/// Longest value shown, in bytes.
const VALUE: usize = 256;
/// Names in a row.
const NAMED: usize = 10;

/// One block an object that something would become of, and a line that counts.
pub fn people(entries: &[Entry]) -> String {
    let mut text: String = entries.iter().filter_map(block).collect();
    let apps: Vec<&Entry> = entries.iter().filter(|e| e.workspace.is_some()).collect();
    let changed = apps.iter().filter(|e| !e.changes.is_empty()).count();
    let number = count(apps.len(), "app", "apps");
    let fleets = entries.iter().filter_map(|e| e.fleet.as_ref());
    let (mut writes, mut all) = (0, 0);
    for fleet in fleets.clone() {
        writes += fleet.added + fleet.changed + fleet.removed + fleet.detached.len();
        all += fleet.unchanged;
    }
    if fleets.count() > 0 {
        let children = count(writes + all, "child", "children");
        text += &match writes {
            0 => format!("no changes to {children}\n"),
            n => format!("changes to {n} of {children}\n"),
        };
        if apps.is_empty() {
            return text;
        }
    }
    text += &match changed {
        0 => format!("no changes to {number}\n"),
        n => format!("changes to {n} of {number}\n"),
    };
    text
}

fn block(entry: &Entry) -> Option<String> {
    if !entry.changes_anything() && entry.refusals.is_empty() {
        return None;
    }
    let mut text = title(&entry.kind, Some(&entry.namespace), &entry.name);
    if let Some(workspace) = &entry.workspace {
        text += &format!(" in {workspace}");
    }
    if let Some(fleet) = &entry.fleet {
        text += &format!(": {}", counts(fleet));
    }
    text += "\n";
    if let Some(held) = &entry.held {
        text += &row("held", &said(held));
    }
    text.extend(rows(&entry.changes));
    if let Some(fleet) = &entry.fleet {
        text += &children(entry, fleet);
    }
    for refusal in &entry.refusals {
        text += &row("refused", &said(refusal));
    }
    Some(text)
}

fn said(why: &Why) -> String {
    format!("{}: {}", why.reason, why.message)
}

/// `1 added, 2 changed, 1 removed, 7 unchanged`
fn counts(fleet: &Fleet) -> String {
    let counts = [
        (fleet.added, "added"),
        (fleet.changed, "changed"),
        (fleet.removed, "removed"),
        (fleet.detached.len(), "detached"),
        (fleet.unchanged, "unchanged"),
    ];
    let counts = counts.iter().filter(|(n, _)| *n > 0);
    let counts: Vec<String> = counts.map(|(n, what)| format!("{n} {what}")).collect();
    match counts.is_empty() {
        true => "no children".into(),
        false => counts.join(", "),
    }
}

/// What would become of the children, in the order of the rollout.
fn children(entry: &Entry, fleet: &Fleet) -> String {
    let mut text = String::new();
    // One stage of several is not all of it.
    let ordered = fleet.rollout.is_some();
    for stage in &fleet.stages {
        if ordered {
            let later = match stage.children.iter().any(|child| child.now) {
                true => "",
                false => ", later",
            };
            text += &format!(
                "  {}{later}\n",
                stage_name(stage.step, stage.of, stage.wave)
            );
        }
        let indent = if ordered { "  " } else { "" };
        for line in stage_rows(stage) {
            text += &format!("{indent}{line}");
        }
    }
    if let Some(removal) = &fleet.removal {
        text += &removed(entry, removal);
    }
    if !fleet.detached.is_empty() {
        text += &row("detach", &some(&fleet.detached));
    }
    text + &stops(fleet)
}

fn stage_rows(stage: &Stage) -> Vec<String> {
    let mut rows = Vec::new();
    let some_now = stage.children.iter().any(|child| child.now);
    for child in &stage.children {
        rows.push(row(verb(child.change), &named(child)));
        let waits = match (&child.waits, child.now || !some_now) {
            (Some(why), _) => Some(why.as_str()),
            (None, false) => Some("later"),
            (None, true) => None,
        };
        rows.extend(waits.map(|why| row("", &format!("({why})"))));
        rows.extend(child.fields.iter().map(|change| row("", &differs(change))));
    }
    rows
}

fn verb(change: Change) -> &'static str {
    match change {
        Change::Create => "add",
        Change::Update => "change",
        Change::Adopt => "adopt",
        Change::Repair => "repair",
        Change::RollBack => "rollback",
    }
}

/// A new child with where it comes from: nothing else tells.
fn named(child: &ChildChange) -> String {
    match child.change {
        Change::Create => format!("{} from {}", child.name, child.source),
        _ => child.name.clone(),
    }
}

/// `description: "Old" → "New"`
fn differs(change: &FieldChange) -> String {
    let text = |value: &Option<serde_json::Value>| match value {
        None => "(none)".to_owned(),
        Some(value) => cut(&value.to_string(), VALUE),
    };
    match (&change.from, &change.to) {
        (Some(from), Some(to)) if from == to => format!("{}: changed", change.field),
        (None, to) => format!("{}: {}", change.field, text(to)),
        (from, to) => format!("{}: {} → {}", change.field, text(from), text(to)),
    }
}

fn removed(entry: &Entry, removal: &Removal) -> String {
    let names = some(&removal.names);
    let message = removal.message.as_deref().unwrap_or_default();
    let mut text = match removal.verdict {
        RemovalVerdict::Kept => return row("keep", &format!("{names}: {message}")),
        RemovalVerdict::Allowed if removal.going == removal.names.len() => {
            row("remove", &format!("{names}: being deleted"))
        }
        RemovalVerdict::Allowed => row("remove", &format!("{names}: allowed")),
        RemovalVerdict::NeedsConfirmation => {
            row("remove", &format!("{names}: needs confirmation: {message}"))
        }
        RemovalVerdict::Withheld => row("remove", &format!("{names}: withheld: {message}")),
    };
    if let Some(digest) = &removal.confirm {
        text += &row(
            "",
            &format!(
                "to let them go: kubectl annotate aoa -n {} {} --overwrite --field-manager=flux-client-side-apply {}={digest}",
                entry.namespace,
                entry.name,
                annotation::CONFIRM_PRUNE
            ),
        );
    }
    text
}

/// Where the rollout does not go on by itself at once.
fn stops(fleet: &Fleet) -> String {
    let Some(rollout) = &fleet.rollout else {
        return String::new();
    };
    let place = stage_name(rollout.step, rollout.of, rollout.wave);
    match &rollout.halted {
        Some(halt) => row("halts", &format!("at {place}: {}", said(halt))),
        None => row(
            "stops",
            &format!("first at {place}, until its children have passed their gates"),
        ),
    }
}

/// The first few names, and how many more there are.
fn some(names: &[String]) -> String {
    status::some(names, NAMED, ", ", " ", Clone::clone)
}

/// A line a change, with the verb where a step begins.
pub fn rows(changes: &[PendingChange]) -> Vec<String> {
    let mut before = "";
    let mut rows = Vec::with_capacity(changes.len());
    for change in changes {
        let goes_on = before == change.step && before != "deploy";
        let verb = if goes_on { "" } else { &change.step };
        rows.push(row(verb, &field(change)));
        before = &change.step;
    }
    rows
}

fn row(verb: &str, said: &str) -> String {
    let line = format!("  {verb:VERB$} {said}");
    format!("{}\n", line.trim_end())
}

/// `description: "Old" → "New"`; empty where the verb says it all.
fn field(change: &PendingChange) -> String {
    let PendingChange {
        field, from, to, ..
    } = change;
    match (from.as_str(), to.as_str()) {
        _ if field == "lifecycle.state" => String::new(),
        ("", "") => field.clone(),
        ("", to) => format!("{field}: {}", quoted(to)),
        (from, to) => format!("{field}: {} → {}", quoted(from), quoted(to)),
    }
}

/// JSON as it is, text in quotes.
fn quoted(value: &str) -> String {
    if value.starts_with(['{', '[']) {
        return value.to_owned();
    }
    format!("{value:?}")
}
