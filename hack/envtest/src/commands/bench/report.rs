//! One measured row, as the table and as `report.json` show it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

use super::limits::Case;
use super::parent;
use super::plan::{Run, Scenario, Variant};

/// Requests of one route.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Requests {
    pub(super) method: String,
    /// With the parameters' names in braces.
    pub(super) route: String,
    pub(super) count: u64,
    /// Those of them that were answered with 400 or more.
    pub(super) refused: u64,
}

impl Requests {
    /// Tokens and discovery come and go with credentials, not with apps.
    fn counts(&self) -> bool {
        !self.route.starts_with("/oidc/") && !self.route.starts_with("/.well-known/")
    }
}

/// The counts of `GET /sim/requests`, by method and route.
pub(super) fn requests(shown: &Value) -> Vec<Requests> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut all: Vec<Requests> = Vec::new();
    for row in shown["totals"].as_array().into_iter().flatten() {
        let (method, route) = (text(&row["method"]), text(&row["route"]));
        let count = row["count"].as_u64().unwrap_or_default();
        let refused = match row["status"].as_u64() {
            Some(400..) => count,
            _ => 0,
        };
        match all
            .iter_mut()
            .find(|r| r.method == method && r.route == route)
        {
            Some(known) => {
                known.count += count;
                known.refused += refused;
            }
            None => all.push(Requests {
                method,
                route,
                count,
                refused,
            }),
        }
    }
    all
}

/// What the operator took, apart from requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cost {
    pub(super) wall_seconds: f64,
    /// Of all threads, in user and kernel mode.
    pub(super) cpu_seconds: f64,
    /// At the end.
    pub(super) resident_bytes: u64,
    /// Requests of its ServiceAccount that ask for a change, by resource, e.g. `databricksapps/status`.
    pub(super) kubernetes_writes: BTreeMap<String, u64>,
}

/// One row of the table.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    pub(super) scenario: Scenario,
    pub(super) apps: usize,
    pub(super) variant: Variant,
    /// Of the operator; the fake workspace's is 10 for more than 100 apps, else 60.
    pub(super) time_scale: u32,
    pub(super) service_minutes: f64,
    /// Tokens and discovery apart.
    pub(super) calls: u64,
    pub(super) calls_per_app: f64,
    pub(super) calls_per_minute: f64,
    /// Most calls.
    pub(super) limit: f64,
    pub(super) within_limit: bool,
    pub(super) requests: Vec<Requests>,
    #[serde(flatten)]
    pub(super) cost: Cost,
}

impl Row {
    pub(super) fn of(
        run: &Run,
        scenario: Scenario,
        time_scale: u32,
        requests: Vec<Requests>,
        cost: Cost,
    ) -> Self {
        let (apps, variant) = (run.apps, run.variant);
        let minutes = cost.wall_seconds * f64::from(time_scale) / 60.0;
        let calls = requests
            .iter()
            .filter(|r| r.counts())
            .map(|r| r.count)
            .sum();
        let case = Case {
            scenario,
            variant,
            apps,
            minutes,
        };
        Self {
            scenario,
            apps,
            variant,
            time_scale,
            service_minutes: minutes,
            calls,
            calls_per_app: calls as f64 / apps as f64,
            calls_per_minute: calls as f64 / minutes,
            limit: case.limit(),
            within_limit: case.allows(calls),
            requests,
            cost,
        }
    }

    /// The row, and below it its requests by route.
    pub(super) fn line(&self) -> String {
        let writes: u64 = self.cost.kubernetes_writes.values().sum();
        let mut line = format!(
            "{:<17} {:>5} {:<13} {:>6} {:>7.1} {:>7.2} {:>7.1} {:>6.1} {:>6.1} {:>6.2} {:>5.0} {:>7}  {}\n    ",
            self.scenario,
            self.apps,
            self.variant,
            self.calls,
            self.limit,
            self.calls_per_app,
            self.calls_per_minute,
            self.service_minutes,
            self.cost.wall_seconds,
            self.cost.cpu_seconds,
            self.cost.resident_bytes as f64 / f64::from(1 << 20),
            writes,
            if self.within_limit { "ok" } else { "OVER" },
        );
        for (n, requests) in self.requests.iter().enumerate() {
            let gap = if n == 0 { "" } else { ", " };
            let route = requests.route.replace("/api/2.0/", "");
            let _ = write!(line, "{gap}{} {route} {}", requests.method, requests.count);
            if requests.refused > 0 {
                let _ = write!(line, " ({} refused)", requests.refused);
            }
        }
        line
    }
}

/// The table's head.
pub(super) fn head() -> String {
    format!(
        "{:<17} {:>5} {:<13} {:>6} {:>7} {:>7} {:>7} {:>6} {:>6} {:>6} {:>5} {:>7}",
        "SCENARIO",
        "APPS",
        "VARIANT",
        "CALLS",
        "LIMIT",
        "AN APP",
        "A MIN",
        "MIN",
        "WALL s",
        "CPU s",
        "MiB",
        "WRITES",
    )
}

/// Everything that was measured.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    /// `debug` or `release`.
    pub(super) operator_build: String,
    pub(super) rows: Vec<Row>,
    /// One parent of 5,000 children.
    pub(super) parent: Vec<parent::Row>,
    /// What was not measured, and why.
    pub(super) left_out: Vec<String>,
}

impl Report {
    /// One sentence for each limit that was broken.
    pub(super) fn broken(&self) -> Vec<String> {
        let over = self.rows.iter().filter(|row| !row.within_limit);
        let over = over.map(|row| {
            format!(
                "{} with {} apps, {}: {} calls, and {:.1} are allowed",
                row.scenario, row.apps, row.variant, row.calls, row.limit
            )
        });
        let parent = self.parent.iter().flat_map(|row| row.broken.clone());
        over.chain(parent).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::plan::Fleet;
    use super::*;

    fn shown() -> Value {
        json!({"totals": [
            {"method": "GET", "route": "/api/2.0/apps", "status": 200, "count": 2},
            {"method": "GET", "route": "/api/2.0/apps", "status": 503, "count": 1},
            {"method": "POST", "route": "/oidc/v1/token", "status": 200, "count": 9},
            {"method": "GET", "route": "/.well-known/databricks-config", "status": 200, "count": 1},
        ]})
    }

    fn row(wall_seconds: f64) -> Row {
        let cost = Cost {
            wall_seconds,
            ..Cost::default()
        };
        let run = Run {
            apps: 2,
            fleet: Fleet::Plain,
            variant: Variant::Usual,
            scenarios: Vec::new(),
        };
        Row::of(&run, Scenario::Description, 60, requests(&shown()), cost)
    }

    #[test]
    fn tokens_and_discovery_are_shown_but_not_counted() {
        let row = row(2.0);
        assert_eq!(row.requests.len(), 3);
        assert_eq!((row.calls, row.requests[0].refused), (3, 1));
        assert_eq!((row.calls_per_app, row.calls_per_minute), (1.5, 1.5));
        assert!(row.line().contains("GET apps 3 (1 refused)"));
    }

    #[test]
    fn a_broken_limit_is_told_with_both_figures() {
        let mut over = row(2.0);
        over.within_limit = false;
        let report = Report {
            operator_build: "debug".into(),
            rows: vec![row(2.0), over],
            parent: Vec::new(),
            left_out: Vec::new(),
        };
        let broken = report.broken();
        assert_eq!(broken.len(), 1);
        assert!(broken[0].contains("3 calls, and 3.0 are allowed"));
    }
}
