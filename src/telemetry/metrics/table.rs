//! The one table of metrics: registration, documentation and the checks of alerts and dashboard follow from it.
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::labels::*;

/// What every name begins with.
pub(super) const PREFIX: &str = "dao";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Counter,
    Gauge,
    /// Exposed as `…_bucket`, `…_sum` and `…_count`
    Histogram,
}

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As it is exposed: with the prefix, a counter with `_total`, a histogram without its suffixes.
    pub name: &'static str,
    /// As it is registered: without prefix and `_total`.
    pub(super) key: &'static str,
    pub kind: Type,
    pub labels: &'static [Label],
    pub help: &'static str,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

fn seconds() -> Histogram {
    // 1 ms for a pass without a call, to a minute for what waits for the limiter.
    Histogram::new([
        0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    ])
}

macro_rules! kind_of {
    (counter) => {
        Type::Counter
    };
    (gauge) => {
        Type::Gauge
    };
    (seconds) => {
        Type::Histogram
    };
}

macro_rules! exposed {
    (counter $key:literal) => {
        concat!("dao_", $key, "_total")
    };
    ($kind:ident $key:literal) => {
        concat!("dao_", $key)
    };
}

// A family with an empty set of labels would be shown with empty braces.
macro_rules! family {
    (counter Alone) => { Counter };
    (gauge Alone) => { Gauge };
    (counter $labels:ty) => { Family<$labels, Counter> };
    (gauge $labels:ty) => { Family<$labels, Gauge> };
    (seconds $labels:ty) => { Histograms<$labels> };
}

macro_rules! make {
    (seconds) => {
        Family::new_with_constructor(seconds)
    };
    ($kind:ident) => {
        Default::default()
    };
}

/// A line: field, type, name without prefix and suffix, set of labels, help. What is `collected` is made up at the scrape.
macro_rules! metrics {
    (
        registered { $($field:ident: $kind:ident $key:literal $labels:ident, $help:literal;)+ }
        collected { $($constant:ident: $ckind:ident $ckey:literal $clabels:ident, $chelp:literal;)+ }
    ) => {
        pub(super) struct Families { $(pub $field: family!($kind $labels)),+ }

        impl Families {
            pub fn register(registry: &mut Registry) -> Self {
                let families = Self { $($field: make!($kind)),+ };
                $(registry.register($key, $help, families.$field.clone());)+
                families
            }
        }

        $(pub(super) const $constant: Entry = Entry {
            name: exposed!($ckind $ckey),
            key: $ckey,
            kind: kind_of!($ckind),
            labels: <$clabels as Labels>::LABELS,
            help: $chelp,
        };)+

        /// Every metric of the process, in the order of the documentation.
        pub const TABLE: &[Entry] = &[
            $(Entry {
                name: exposed!($kind $key),
                key: $key,
                kind: kind_of!($kind),
                labels: <$labels as Labels>::LABELS,
                help: $help,
            },)+
            $($constant),+
        ];
    };
}

metrics! {
    registered {
        build: gauge "build_info" Build, "Always 1";
        ready: gauge "ready" Alone, "1 while /readyz says yes, else 0";
        leader: gauge "leader" Alone, "1 while this replica leads and may write, else 0";
        passes: counter "reconcile_passes" Pass, "Passes over objects";
        pass_seconds: seconds "reconcile_pass_seconds" Kind, "Wire time of a pass, without the wait for a turn";
        queued: gauge "reconcile_queue_depth" Kind, "Objects that wait for a turn";
        running: gauge "reconcile_running" Kind, "Passes under way; 32 a kind at the most";
        panics: counter "reconcile_panics" Kind, "Passes that ended in a panic: should stay 0";
        undecodable: counter "objects_undecodable" Kind, "Times that an object could not be decoded and was left alone";
        objects: gauge "objects" Object, "Objects by what their conditions say";
        status_patches: counter "status_patches" Kind, "Patches of object status";
        events: counter "events_published" Alone, "Kubernetes events published";
        requests: counter "databricks_requests" Call, "Requests to Databricks, each attempt counted";
        request_seconds: seconds "databricks_request_seconds" Operation, "Wire time from sending a request to the end of its answer";
        limiter_seconds: seconds "rate_limit_wait_seconds" Wait, "Wire time that requests waited for the operator's own rate limit";
        tokens: counter "token_fetches" Token, "Access tokens asked for";
        breaker: counter "breaker_changes" Breaker, "State changes of the breakers of all workspaces";
        looks: counter "list_looks" Look, "Shared lists of a workspace's apps";
        writes: counter "writes" Write, "Writes to what objects stand for";
        writes_without_difference: counter "writes_without_difference" Kind, "Writes that changed nothing: should stay 0";
        audited: counter "audit_records" Audited, "Audit records: one for each remote write";
        drift: counter "drift_repaired" Drift, "Changes by others that were put right";
        deployments: counter "deployments" Deployed, "What came of deployments; `dao_writes_total{verb=\"deploy\"}` counts those begun";
        children: gauge "fleet_children" InState, "Children of all AppOfApps; a stopped one counts as Ready, too";
        rollouts_halted: gauge "fleet_rollouts_halted" Alone, "AppOfApps whose rollout is halted";
        prunes_waiting: gauge "fleet_prunes_waiting" Alone, "AppOfApps with deletions that wait for a confirmation";
        element_errors: gauge "fleet_element_errors" Alone, "Elements of all AppOfApps that did not become a child";
        scrapes: counter "metrics_requests" Scrape, "Requests to the metrics endpoint over TLS";
    }
    collected {
        APPS: gauge "apps" App, "DatabricksApps by workspace and state";
        SINCE_LOOK: gauge "workspace_since_look_seconds" Workspace, "Wire time since the last complete list of a workspace's apps, or since the first attempt";
        LOOK_INTERVAL: gauge "workspace_look_interval_seconds" Workspace, "Wire time between two lists, as the DatabricksWorkspace asks";
    }
}

impl Families {
    /// Shows what is known beforehand, from the start: an `increase` misses the first of what was not there.
    pub fn show(&self) {
        for result in TokenResult::ALL.iter().copied() {
            begin(&self.tokens, &Token { result });
        }
        for result in DeploymentResult::ALL.iter().copied() {
            begin(&self.deployments, &Deployed { result });
        }
        for result in LookResult::ALL.iter().copied() {
            begin(&self.looks, &Look { result });
        }
        for state in BreakerState::ALL.iter().copied() {
            begin(&self.breaker, &Breaker { state });
        }
        for result in ScrapeResult::ALL.iter().copied() {
            begin(&self.scrapes, &Scrape { result });
        }
    }
}

/// Shows a series, at 0 if there was none.
pub(super) fn begin<S, M, C>(family: &Family<S, M, C>, labels: &S)
where
    S: Clone + std::hash::Hash + Eq,
    M: Clone,
    C: MetricConstructor<M>,
{
    family.get_or_create_owned(labels);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_begin_alike_and_every_label_has_a_meaning() {
        let names: BTreeSet<_> = TABLE.iter().map(|entry| entry.name).collect();
        assert_eq!(names.len(), TABLE.len());
        for entry in TABLE {
            assert!(entry.name.starts_with(&format!("{PREFIX}_{}", entry.key)));
            for label in entry.labels {
                assert!(
                    MEANINGS.iter().any(|(name, _)| *name == label.name),
                    "{label:?}"
                );
            }
        }
        for (name, _) in MEANINGS {
            let mut labels = TABLE.iter().flat_map(|entry| entry.labels);
            assert!(labels.any(|label| label.name == *name), "{name}");
        }
    }
}
