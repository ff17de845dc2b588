//! The live table: redrawn in place on a terminal; elsewhere a line whenever an app's row changes.

use std::io::{self, IsTerminal, Write};

use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::Value;

const NAMES: [&str; 5] = ["NAME", "STATE", "URL", "CONDITIONS", "AGE"];

/// One object as the table shows it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) name: String,
    state: String,
    url: String,
    conditions: Vec<(String, String, String)>,
    /// Conditions about an older generation are no answer yet.
    current: bool,
    created: Option<Timestamp>,
}

impl Row {
    pub(super) fn of(object: &DynamicObject) -> Self {
        let status = &object.data["status"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            name: object.name_any(),
            state: text(&status["app"]["computeState"]),
            url: text(&status["app"]["url"]),
            conditions: status["conditions"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|condition| {
                    (
                        text(&condition["type"]),
                        text(&condition["status"]),
                        text(&condition["reason"]),
                    )
                })
                .collect(),
            current: status["observedGeneration"].as_i64() == object.metadata.generation,
            created: object.creation_timestamp().map(|time| time.0),
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.current && self.is_true("Ready")
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.current && self.is_true("Stalled")
    }

    fn is_true(&self, wanted: &str) -> bool {
        self.conditions
            .iter()
            .any(|(kind, status, _)| kind == wanted && status == "True")
    }

    /// Those that are True; of the others, Ready with its reason.
    fn conditions(&self) -> String {
        let shown: Vec<String> = self
            .conditions
            .iter()
            .filter_map(
                |(kind, status, reason)| match (status.as_str(), kind.as_str()) {
                    ("True", "Reconciling" | "Stalled" | "Suspended") => {
                        Some(format!("{kind}:{reason}"))
                    }
                    ("True", _) => Some(kind.clone()),
                    (_, "Ready") => Some(format!("Ready={status}")),
                    _ => None,
                },
            )
            .collect();
        shown.join(" ")
    }

    fn cells(&self) -> [String; 4] {
        let or_dash = |text: String| if text.is_empty() { "-".into() } else { text };
        [
            self.name.clone(),
            or_dash(self.state.clone()),
            or_dash(self.url.clone()),
            or_dash(self.conditions()),
        ]
    }

    fn age(&self, now: Timestamp) -> String {
        self.created.map_or_else(String::new, |created| {
            format!("{}s", now.duration_since(created).as_secs().max(0))
        })
    }
}

pub(super) struct Table {
    terminal: bool,
    /// Lines on the terminal that the next drawing replaces.
    drawn: usize,
    last: Vec<[String; 4]>,
}

impl Table {
    pub(super) fn new() -> Self {
        Self {
            terminal: io::stdout().is_terminal(),
            drawn: 0,
            last: Vec::new(),
        }
    }

    /// The next drawing stands below what was printed meanwhile.
    pub(super) fn anew(&mut self) {
        self.drawn = 0;
    }

    pub(super) fn draw(&mut self, rows: &[Row]) {
        let now = Timestamp::now();
        let text = if self.terminal {
            let lines = aligned(rows, now);
            let up = match self.drawn {
                0 => String::new(),
                lines => format!("\x1b[{lines}A"),
            };
            self.drawn = lines.len();
            let body: String = lines.iter().map(|line| format!("{line}\x1b[K\n")).collect();
            // Without wrapping (DECAWM off), a line too long for the terminal is cut and counts as one.
            format!("\x1b[?7l{up}{body}\x1b[J\x1b[?7h")
        } else {
            self.changes(rows, now)
        };
        let mut out = io::stdout();
        // A closed pipe must not end the demo's checks.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    fn changes(&mut self, rows: &[Row], now: Timestamp) -> String {
        let cells: Vec<[String; 4]> = rows.iter().map(Row::cells).collect();
        let text = rows
            .iter()
            .zip(&cells)
            .filter(|(_, cells)| !self.last.contains(cells))
            .map(|(row, cells)| format!("  {}  {}\n", cells.join("  "), row.age(now)))
            .collect();
        self.last = cells;
        text
    }
}

fn aligned(rows: &[Row], now: Timestamp) -> Vec<String> {
    let mut lines = vec![NAMES.map(str::to_owned)];
    for row in rows {
        let [name, state, url, conditions] = row.cells();
        lines.push([name, state, url, conditions, row.age(now)]);
    }
    let width = |column: usize| {
        let widest = lines.iter().map(|line| line[column].chars().count()).max();
        widest.unwrap_or_default()
    };
    let widths: [usize; 5] = std::array::from_fn(width);
    lines
        .iter()
        .map(|line| {
            let cells: Vec<String> = line
                .iter()
                .zip(widths)
                .map(|(cell, width)| format!("{cell:width$}"))
                .collect();
            format!("  {}", cells.join("  ").trim_end())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn row(generation: i64, conditions: Value) -> Row {
        let object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "appofapps.dev/v1alpha1", "kind": "DatabricksApp",
            "metadata": {"name": "orders", "generation": generation, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "status": {"observedGeneration": 2, "app": {"computeState": "ACTIVE"}, "conditions": conditions},
        }))
        .unwrap();
        Row::of(&object)
    }

    #[test]
    fn a_condition_about_an_older_generation_is_no_answer() {
        let ready = json!([{"type": "Ready", "status": "True", "reason": "Running"}]);
        assert!(row(2, ready.clone()).is_ready());
        assert!(!row(3, ready).is_ready());
    }

    #[test]
    fn elsewhere_than_on_a_terminal_only_changed_rows_are_printed() {
        let now: Timestamp = "2026-01-01T00:00:07Z".parse().unwrap();
        let mut table = Table {
            terminal: false,
            drawn: 0,
            last: Vec::new(),
        };
        let starting = row(
            2,
            json!([{"type": "Ready", "status": "Unknown", "reason": "Starting"}]),
        );
        assert_eq!(
            table.changes(std::slice::from_ref(&starting), now),
            "  orders  ACTIVE  -  Ready=Unknown  7s\n"
        );
        assert_eq!(table.changes(&[starting], now), "");
        let ready = row(
            2,
            json!([{"type": "Ready", "status": "True", "reason": "Running"}]),
        );
        assert!(!table.changes(&[ready], now).is_empty());
    }

    #[test]
    fn columns_stand_below_their_names() {
        let now: Timestamp = "2026-01-01T00:00:07Z".parse().unwrap();
        let lines = aligned(&[row(2, json!([]))], now);
        assert_eq!(lines[0].find("STATE"), lines[1].find("ACTIVE"));
    }
}
