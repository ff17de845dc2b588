//! `metrics`: what Prometheus can read of the operator as Markdown, from the table that registers it.
use std::fmt::Write;

use crate::telemetry::metrics::labels::MEANINGS;
use crate::telemetry::metrics::table::{Entry, TABLE, Type};

/// What stands before the tables.
const GUIDE: &str = include_str!("metrics.md");

/// Prints it.
pub fn run() {
    print!("{}", markdown());
}

/// The same bytes every time.
pub fn markdown() -> String {
    let mut out = GUIDE.to_owned();
    out.push_str("\n## Metrics\n\n| metric | type | labels | what it says |\n|---|---|---|---|\n");
    for entry in TABLE {
        let kind = match entry.kind {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
            Type::Histogram => "histogram",
        };
        let _ = writeln!(
            out,
            "| `{}` | {kind} | {} | {} |",
            entry.name,
            labels(entry),
            entry.help
        );
    }
    out.push_str("\n## Labels\n\n| label | what it holds |\n|---|---|\n");
    for (name, meaning) in MEANINGS {
        let _ = writeln!(out, "| `{name}` | {meaning} |");
    }
    out
}

/// `kind`, `result`: Settled, Stepped.
fn labels(entry: &Entry) -> String {
    let labels = entry.labels.iter().map(|label| match label.values {
        [] => format!("`{}`", label.name),
        values => format!("`{}`: {}", label.name, values.join(", ")),
    });
    labels.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_table_of_metrics_is_the_generated_one() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == markdown(),
            "docs/metrics.md is out of date: run `make generate`"
        );
    }
}
