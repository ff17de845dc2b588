//! Metrics: one registry, closed label sets.
//!
//! The number of series has a constant bound, however many apps there are: see [`labels`]. What exists is one table, in
//! [`table`].
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::text;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

pub mod labels;
pub mod table;
mod workspaces;

pub use labels::{
    AppState, BreakerState, ChildState, Code, DeploymentResult, LookResult, ObjectState,
    PassResult, ScrapeResult, TokenResult, WaitFor,
};
use labels::{
    Audited, Breaker, Build, Call, Deployed, Drift, InState, Kind, Look, Object, Operation, Pass,
    Scrape, Token, Wait, Write,
};
use table::{Families, begin};
pub use workspaces::Looking;
use workspaces::Workspaces;

/// A number that each object adds to, as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Total {
    /// Objects of a kind
    Objects(&'static str, ObjectState),
    /// Apps by NAMESPACE/NAME of their Workspace
    Apps(String, AppState),
    /// Children of all fleets
    Children(ChildState),
    /// Fleets whose rollout is halted
    RolloutsHalted,
    /// Fleets with deletions that wait for a confirmation
    PrunesWaiting,
    /// Elements that did not become a child
    ElementErrors,
}

/// Handle to every metric of the process; cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    families: Families,
    workspaces: Arc<Workspaces>,
}

/// Counts as long as it lives.
#[derive(Debug)]
pub struct Counted(Gauge);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix(table::PREFIX);
        let families = Families::register(&mut registry);
        let workspaces = Arc::new(Workspaces::default());
        registry.register_collector(Box::new(workspaces.clone()));
        let version = env!("CARGO_PKG_VERSION");
        families.build.get_or_create(&Build { version }).set(1);
        families.show();
        Self {
            inner: Arc::new(Inner {
                registry,
                families,
                workspaces,
            }),
        }
    }

    fn families(&self) -> &Families {
        &self.inner.families
    }

    /// There are objects of `kind`: what is counted of them begins at 0, or an `increase` would miss the first.
    pub fn known(&self, kind: &'static str) {
        let families = self.families();
        let kind = Kind { kind };
        for counter in [
            &families.panics,
            &families.undecodable,
            &families.writes_without_difference,
        ] {
            begin(counter, &kind);
        }
        begin(&families.queued, &kind);
        begin(&families.running, &kind);
    }

    /// Whether `/readyz` says yes.
    pub fn ready(&self, ready: bool) {
        self.families().ready.set(i64::from(ready));
    }

    /// Whether this replica leads and may write.
    pub fn leading(&self, leading: bool) {
        self.families().leader.set(i64::from(leading));
    }

    /// An object of `kind` waits for its turn.
    pub fn queued(&self, kind: &'static str) -> Counted {
        counted(&self.families().queued, kind)
    }

    /// A pass over an object of `kind` is under way.
    pub fn running(&self, kind: &'static str) -> Counted {
        counted(&self.families().running, kind)
    }

    /// One pass over an object of `kind`, `took` in wire time.
    pub fn pass(&self, kind: &'static str, result: PassResult, took: Duration) {
        let families = self.families();
        families.passes.get_or_create(&Pass { kind, result }).inc();
        families
            .pass_seconds
            .get_or_create(&Kind { kind })
            .observe(took.as_secs_f64());
    }

    pub fn panicked(&self, kind: &'static str) {
        self.families().panics.get_or_create(&Kind { kind }).inc();
    }

    /// One attempt of a request to Databricks.
    pub fn request(&self, method: &'static str, route: &'static str, code: Code, took: Duration) {
        let families = self.families();
        let call = Call {
            method,
            route,
            code,
        };
        families.requests.get_or_create(&call).inc();
        families
            .request_seconds
            .get_or_create(&Operation { method, route })
            .observe(took.as_secs_f64());
    }

    /// A request waited so long for the rate limiter.
    pub fn limited(&self, priority: WaitFor, waited: Duration) {
        self.families()
            .limiter_seconds
            .get_or_create(&Wait { priority })
            .observe(waited.as_secs_f64());
    }

    pub fn token_fetch(&self, result: TokenResult) {
        self.families()
            .tokens
            .get_or_create(&Token { result })
            .inc();
    }

    pub fn breaker_changed(&self, state: BreakerState) {
        self.families()
            .breaker
            .get_or_create(&Breaker { state })
            .inc();
    }

    /// A connection to a Workspace, NAMESPACE/NAME, that is looked at each `interval` of wire time.
    pub fn connected(&self, workspace: String, interval: Duration) -> Looking {
        self.inner.workspaces.connected(workspace, interval)
    }

    /// One remote write of a plan's step; `verb` is the step's.
    pub fn write(&self, kind: &'static str, verb: &'static str) {
        self.families()
            .writes
            .get_or_create(&Write { kind, verb })
            .inc();
    }

    pub fn status_patch(&self, kind: &'static str) {
        self.families()
            .status_patches
            .get_or_create(&Kind { kind })
            .inc();
    }

    pub fn event_published(&self) {
        self.families().events.inc();
    }

    /// `field` names the class of field ("description", "permissions"), never a value.
    pub fn drift_repaired(&self, kind: &'static str, field: &'static str) {
        self.families()
            .drift
            .get_or_create(&Drift { kind, field })
            .inc();
    }

    pub fn deployed(&self, result: DeploymentResult) {
        self.families()
            .deployments
            .get_or_create(&Deployed { result })
            .inc();
    }

    pub fn write_without_difference(&self, kind: &'static str) {
        self.families()
            .writes_without_difference
            .get_or_create(&Kind { kind })
            .inc();
    }

    /// One audit record was written.
    pub fn audited(&self, kind: &'static str, result: &'static str) {
        self.families()
            .audited
            .get_or_create(&Audited { kind, result })
            .inc();
    }

    pub fn list_look(&self, result: LookResult) {
        self.families().looks.get_or_create(&Look { result }).inc();
    }

    pub fn object_undecodable(&self, kind: &'static str) {
        self.families()
            .undecodable
            .get_or_create(&Kind { kind })
            .inc();
    }

    pub fn scraped(&self, result: ScrapeResult) {
        self.families()
            .scrapes
            .get_or_create(&Scrape { result })
            .inc();
    }

    /// Adds `n`, which may be negative, to the apps of a Workspace, NAMESPACE/NAME.
    fn apps(&self, workspace: &str, state: AppState, n: i64) {
        self.inner.workspaces.apps(workspace, state, n);
    }

    /// Adds `n`, which may be negative, to a total.
    pub fn total(&self, total: &Total, n: i64) {
        let families = self.families();
        match total {
            Total::Apps(workspace, state) => self.apps(workspace, *state, n),
            Total::Objects(kind, state) => {
                let (kind, state) = (*kind, *state);
                let object = Object { kind, state };
                families.objects.get_or_create(&object).inc_by(n);
            }
            Total::Children(state) => {
                let state = InState { state: *state };
                families.children.get_or_create(&state).inc_by(n);
            }
            Total::RolloutsHalted => {
                families.rollouts_halted.inc_by(n);
            }
            Total::PrunesWaiting => {
                families.prunes_waiting.inc_by(n);
            }
            Total::ElementErrors => {
                families.element_errors.inc_by(n);
            }
        }
    }

    /// All metrics in the OpenMetrics text format.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.inner.registry)?;
        Ok(out)
    }
}

fn counted(
    family: &prometheus_client::metrics::family::Family<Kind, Gauge>,
    kind: &'static str,
) -> Counted {
    let gauge = family.get_or_create_owned(&Kind { kind });
    gauge.inc();
    Counted(gauge)
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_was_counted_shows_in_the_text() {
        let metrics = Metrics::new();
        let clone = metrics.clone();
        clone.pass(
            "DatabricksApp",
            PassResult::Settled,
            Duration::from_millis(3),
        );
        clone.request("GET", "apps", Code::of(429), Duration::from_millis(20));
        clone.write("DatabricksApp", "create");
        clone.event_published();
        let text = metrics.encode().unwrap();
        for line in [
            "dao_reconcile_passes_total{kind=\"DatabricksApp\",result=\"Settled\"} 1",
            "dao_databricks_requests_total{method=\"GET\",route=\"apps\",code=\"429\"} 1",
            "dao_writes_total{kind=\"DatabricksApp\",verb=\"create\"} 1",
            "dao_events_published_total 1",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
