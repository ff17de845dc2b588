//! The differences as people read them. Pure.
use super::Entry;
use crate::cli::count;
use crate::cli::input::title;
use crate::kinds::app::spec::PendingChange;

/// Width of the column of verbs.
const VERB: usize = 8;

/// One block an object that something would become of, and a line that counts.
pub fn people(entries: &[Entry]) -> String {
    let mut text: String = entries.iter().filter_map(block).collect();
    let apps: Vec<&Entry> = entries.iter().filter(|e| e.workspace.is_some()).collect();
    let changed = apps.iter().filter(|e| !e.changes.is_empty()).count();
    let number = count(apps.len(), "app", "apps");
    text += &match changed {
        0 => format!("no changes to {number}\n"),
        n => format!("changes to {n} of {number}\n"),
    };
    text
}

fn block(entry: &Entry) -> Option<String> {
    if entry.changes.is_empty() && entry.refusals.is_empty() {
        return None;
    }
    let mut text = title(&entry.kind, Some(&entry.namespace), &entry.name);
    if let Some(workspace) = &entry.workspace {
        text += &format!(" in {workspace}");
    }
    text += "\n";
    if let Some(held) = &entry.held {
        text += &row("held", &format!("{}: {}", held.reason, held.message));
    }
    text.extend(rows(&entry.changes));
    for refusal in &entry.refusals {
        let said = format!("{}: {}", refusal.reason, refusal.message);
        text += &row("refused", &said);
    }
    Some(text)
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
