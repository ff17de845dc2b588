//! Metrics by Workspace, made up at the scrape: what is named is what has a connection now, so nothing of Workspaces that
//! are gone stays behind, and nobody makes series by naming what does not exist.
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::labels::AppState;
use super::table::{APPS, Entry, LOOK_INTERVAL, SINCE_LOOK};

/// Workspaces that are named, in the order in which they came.
const NAMED: usize = 250;
/// All the others.
const OTHER: &str = "other";
/// Of apps: there is no connection to the Workspace that they name.
const NONE: &str = "none";

/// Where the numbers are kept.
#[derive(Debug, Default)]
pub(super) struct Workspaces {
    apps: Mutex<HashMap<(String, AppState), i64>>,
    looks: Mutex<HashMap<String, Looks>>,
    arrivals: AtomicU64,
}

#[derive(Clone, Copy, Debug)]
struct Looks {
    /// Smaller is earlier.
    arrival: u64,
    connection: u64,
    interval: Duration,
    last: Instant,
}

/// A Workspace's connection, as metrics show it; they end with it.
#[derive(Debug)]
pub struct Looking {
    all: Arc<Workspaces>,
    workspace: String,
    connection: u64,
}

impl Looking {
    /// A complete list arrived.
    pub fn looked(&self) {
        if let Some(looks) = lock(&self.all.looks).get_mut(&self.workspace) {
            looks.last = Instant::now();
        }
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        let mut looks = lock(&self.all.looks);
        // The connection that took its place may have come first.
        if looks
            .get(&self.workspace)
            .is_some_and(|looks| looks.connection == self.connection)
        {
            looks.remove(&self.workspace);
        }
    }
}

impl Workspaces {
    /// `interval` in wire time. A new connection does not make an old look a new one.
    pub fn connected(self: &Arc<Self>, workspace: String, interval: Duration) -> Looking {
        let connection = self.arrivals.fetch_add(1, Ordering::Relaxed);
        let mut looks = lock(&self.looks);
        let before = looks.get(&workspace).copied();
        let entry = Looks {
            arrival: before.map_or(connection, |before| before.arrival),
            connection,
            interval,
            last: before.map_or_else(Instant::now, |before| before.last),
        };
        looks.insert(workspace.clone(), entry);
        Looking {
            all: self.clone(),
            workspace,
            connection,
        }
    }

    pub fn apps(&self, workspace: &str, state: AppState, n: i64) {
        let mut apps = lock(&self.apps);
        let key = (workspace.to_owned(), state);
        let number = apps.entry(key.clone()).or_default();
        *number += n;
        if *number == 0 {
            apps.remove(&key);
        }
    }

    /// The Workspaces that are named, and how they are looked at.
    fn named(looks: &HashMap<String, Looks>) -> BTreeMap<&str, &Looks> {
        let mut all: Vec<_> = looks.iter().collect();
        all.sort_by_key(|(_, looks)| looks.arrival);
        all.truncate(NAMED);
        all.into_iter()
            .map(|(name, looks)| (name.as_str(), looks))
            .collect()
    }
}

impl Collector for Workspaces {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let looks = lock(&self.looks);
        let named = Self::named(&looks);
        let mut apps: BTreeMap<(&str, AppState), i64> = BTreeMap::new();
        let all = lock(&self.apps);
        for ((workspace, state), n) in all.iter() {
            let shown = match named.contains_key(workspace.as_str()) {
                true => workspace.as_str(),
                false if looks.contains_key(workspace) => OTHER,
                false => NONE,
            };
            *apps.entry((shown, *state)).or_default() += n;
        }
        let apps = apps.into_iter().map(|((workspace, state), n)| {
            let labels = vec![
                ("workspace", workspace.to_owned()),
                ("state", format!("{state:?}")),
            ];
            (labels, n as f64)
        });
        gauges(&mut encoder, APPS, apps)?;
        // Of all that are not named the oldest look and the shortest interval count.
        let mut since: BTreeMap<&str, f64> = BTreeMap::new();
        let mut intervals: BTreeMap<&str, f64> = BTreeMap::new();
        for (workspace, looks) in looks.iter() {
            let shown = match named.contains_key(workspace.as_str()) {
                true => workspace.as_str(),
                false => OTHER,
            };
            let age = looks.last.elapsed().as_secs_f64();
            let oldest = since.entry(shown).or_insert(age);
            *oldest = oldest.max(age);
            let interval = looks.interval.as_secs_f64();
            let shortest = intervals.entry(shown).or_insert(interval);
            *shortest = shortest.min(interval);
        }
        let labelled = |(workspace, n): (&str, f64)| (vec![("workspace", workspace.to_owned())], n);
        gauges(&mut encoder, SINCE_LOOK, since.into_iter().map(labelled))?;
        gauges(
            &mut encoder,
            LOOK_INTERVAL,
            intervals.into_iter().map(labelled),
        )
    }
}

fn gauges(
    encoder: &mut DescriptorEncoder<'_>,
    entry: Entry,
    series: impl Iterator<Item = (Vec<(&'static str, String)>, f64)>,
) -> Result<(), std::fmt::Error> {
    let help = format!("{}.", entry.help);
    let mut metric = encoder.encode_descriptor(entry.key, &help, None, MetricType::Gauge)?;
    for (labels, value) in series {
        ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::Metrics;
    use super::*;

    fn lines(metrics: &Metrics, start: &str) -> Vec<String> {
        let text = metrics.encode().unwrap();
        let lines = text.lines().filter(|line| line.starts_with(start));
        lines.map(str::to_owned).collect()
    }

    #[test]
    fn what_is_gone_leaves_no_series_and_a_new_connection_keeps_the_age_of_the_look() {
        let metrics = Metrics::new();
        let minute = Duration::from_secs(60);
        let first = metrics.connected("apps/prod".into(), minute);
        first.looked();
        let second = metrics.connected("apps/prod".into(), minute * 2);
        drop(first);
        assert_eq!(
            lines(&metrics, "dao_workspace_look_interval_seconds"),
            ["dao_workspace_look_interval_seconds{workspace=\"apps/prod\"} 120.0"]
        );
        drop(second);
        assert!(lines(&metrics, "dao_workspace").is_empty());
    }

    #[test]
    fn names_that_have_no_connection_make_no_series_of_their_own() {
        let metrics = Metrics::new();
        let connections: Vec<_> = (0..NAMED + 2)
            .map(|n| metrics.connected(format!("apps/w{n}"), Duration::from_secs(60)))
            .collect();
        for n in 0..NAMED + 5 {
            metrics.apps(&format!("apps/w{n}"), AppState::Running, 1);
        }
        let apps = lines(&metrics, "dao_apps{");
        assert_eq!(apps.len(), NAMED + 2);
        for (shown, n) in [(OTHER, 2.0), (NONE, 3.0)] {
            let line = format!("dao_apps{{workspace=\"{shown}\",state=\"Running\"}} {n:.1}");
            assert!(apps.contains(&line), "{line}: {apps:?}");
        }
        metrics.apps("apps/w0", AppState::Running, -1);
        assert_eq!(lines(&metrics, "dao_apps{").len(), NAMED + 1);
        drop(connections);
    }
}
