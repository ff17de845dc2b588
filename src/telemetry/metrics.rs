//! Metrics: one registry, closed label sets.
//!
//! A label value is an enum or a `&'static str` written in the code, never the name of an object: the
//! number of series has a constant bound, however many apps there are.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, text};
use prometheus_client::metrics::{
    counter::Counter, family::Family, gauge::Gauge, histogram::Histogram,
};
use prometheus_client::registry::Registry;

/// How a pass over one object ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum PassResult {
    /// Nothing differed
    Settled,
    /// At least one write was made
    Stepped,
    /// A remote transition is under way
    Waiting,
    /// Needs a change of spec, policy, credentials or of the remote
    Stalled,
    /// A transient error; tried again
    Retrying,
    /// Held by pause, suspend, freeze or a read-only mode
    Suspended,
}

/// How a request to Databricks ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum StatusClass {
    Success,
    Redirect,
    ClientError,
    TooManyRequests,
    ServerError,
    Timeout,
    Unreachable,
}

impl StatusClass {
    pub fn of(status: u16) -> Self {
        match status {
            300..=399 => Self::Redirect,
            429 => Self::TooManyRequests,
            400..=499 => Self::ClientError,
            500.. => Self::ServerError,
            _ => Self::Success,
        }
    }
}

/// How a token exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum TokenResult {
    Fetched,
    Refused,
    Unreachable,
    /// The Secret with the credentials could not be read
    NoCredentials,
}

/// The state a workspace's breaker changed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum BreakerState {
    Closed,
    Open,
    HalfOpen,
}

/// How a shared list of a workspace's apps ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum LookResult {
    Complete,
    Failed,
}

/// How a child of a fleet is; a stopped one is ready, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum ChildState {
    Ready,
    Stopped,
    Progressing,
    Stalled,
    Suspended,
    /// Asked for, and not there yet
    Missing,
}

/// A number that each object adds to, as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Total {
    /// Children of all fleets
    Children(ChildState),
    /// Fleets whose rollout is halted
    RolloutsHalted,
    /// Fleets with deletions that wait for a confirmation
    PrunesWaiting,
    /// Elements that did not become a child
    ElementErrors,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InState {
    state: ChildState,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Pass {
    kind: &'static str,
    result: PassResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    method: &'static str,
    route: &'static str,
    status: StatusClass,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteOnly {
    method: &'static str,
    route: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Token {
    result: TokenResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Breaker {
    state: BreakerState,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Look {
    result: LookResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Write {
    kind: &'static str,
    verb: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Drift {
    kind: &'static str,
    field: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Audited {
    kind: &'static str,
    result: &'static str,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// Handle to every metric of the process; cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    passes: Family<Pass, Counter>,
    pass_seconds: Histograms<Kind>,
    requests: Family<Request, Counter>,
    request_seconds: Histograms<RouteOnly>,
    tokens: Family<Token, Counter>,
    breaker: Family<Breaker, Counter>,
    writes: Family<Write, Counter>,
    status_patches: Family<Kind, Counter>,
    events: Counter,
    drift: Family<Drift, Counter>,
    writes_without_difference: Family<Kind, Counter>,
    audited: Family<Audited, Counter>,
    looks: Family<Look, Counter>,
    undecodable: Family<Kind, Counter>,
    children: Family<InState, Gauge>,
    rollouts_halted: Gauge,
    prunes_waiting: Gauge,
    element_errors: Gauge,
    leader: Gauge,
}

fn pass_histogram() -> Histogram {
    // 1 ms for a pass without a call, to a minute for one that waits for the limiter.
    Histogram::new([
        0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    ])
}

fn request_histogram() -> Histogram {
    Histogram::new([
        0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    ])
}

impl Metrics {
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("dao");
        let r = &mut registry;
        let passes = Family::default();
        r.register(
            "reconcile_passes",
            "Passes over objects, by kind and result",
            passes.clone(),
        );
        let pass_seconds: Histograms<Kind> = Family::new_with_constructor(pass_histogram);
        r.register(
            "reconcile_pass_seconds",
            "Wire time of a pass, by kind",
            pass_seconds.clone(),
        );
        let requests = Family::default();
        r.register(
            "databricks_requests",
            "Requests to Databricks, each attempt counted, by method, route class and status class",
            requests.clone(),
        );
        let request_seconds: Histograms<RouteOnly> =
            Family::new_with_constructor(request_histogram);
        r.register(
            "databricks_request_seconds",
            "Wire time from sending a request to the end of its answer",
            request_seconds.clone(),
        );
        let tokens = Family::default();
        r.register(
            "token_fetches",
            "Access tokens asked for, by result",
            tokens.clone(),
        );
        let breaker = Family::default();
        r.register(
            "breaker_changes",
            "State changes of the breakers of all workspaces",
            breaker.clone(),
        );
        let writes = Family::default();
        r.register(
            "writes",
            "Writes to what objects stand for, by kind and verb",
            writes.clone(),
        );
        let status_patches = Family::default();
        r.register(
            "status_patches",
            "Patches of object status, by kind",
            status_patches.clone(),
        );
        let events = Counter::default();
        r.register(
            "events_published",
            "Kubernetes events published",
            events.clone(),
        );
        let drift = Family::default();
        r.register(
            "drift_repaired",
            "Changes by others that were put right, by kind and field",
            drift.clone(),
        );
        let writes_without_difference = Family::default();
        r.register(
            "writes_without_difference",
            "Writes that changed nothing: should stay 0",
            writes_without_difference.clone(),
        );
        let audited = Family::default();
        r.register(
            "audit_records",
            "Audit records written, by kind and result: one for each remote write",
            audited.clone(),
        );
        let looks = Family::default();
        r.register(
            "list_looks",
            "Shared lists of a workspace's apps, by result",
            looks.clone(),
        );
        let undecodable = Family::default();
        r.register(
            "objects_undecodable",
            "Objects that could not be decoded, by kind",
            undecodable.clone(),
        );
        let children = Family::default();
        r.register(
            "fleet_children",
            "Children of all AppOfApps, by state; a stopped one counts as Ready, too",
            children.clone(),
        );
        let rollouts_halted = Gauge::default();
        r.register(
            "fleet_rollouts_halted",
            "AppOfApps whose rollout is halted",
            rollouts_halted.clone(),
        );
        let prunes_waiting = Gauge::default();
        r.register(
            "fleet_prunes_waiting",
            "AppOfApps with deletions that wait for a confirmation",
            prunes_waiting.clone(),
        );
        let element_errors = Gauge::default();
        r.register(
            "fleet_element_errors",
            "Elements of all AppOfApps that did not become a child",
            element_errors.clone(),
        );
        let leader = Gauge::default();
        r.register(
            "leader",
            "1 while this replica leads and may write, else 0",
            leader.clone(),
        );
        Self {
            inner: Arc::new(Inner {
                registry,
                passes,
                pass_seconds,
                requests,
                request_seconds,
                tokens,
                breaker,
                writes,
                status_patches,
                events,
                drift,
                writes_without_difference,
                audited,
                looks,
                undecodable,
                children,
                rollouts_halted,
                prunes_waiting,
                element_errors,
                leader,
            }),
        }
    }

    /// One pass over an object of `kind`, `took` in wire time.
    pub fn pass(&self, kind: &'static str, result: PassResult, took: Duration) {
        self.inner
            .passes
            .get_or_create(&Pass { kind, result })
            .inc();
        self.inner
            .pass_seconds
            .get_or_create(&Kind { kind })
            .observe(took.as_secs_f64());
    }

    /// One attempt of a request to Databricks.
    pub fn request(
        &self,
        method: &'static str,
        route: &'static str,
        status: StatusClass,
        took: Duration,
    ) {
        self.inner
            .requests
            .get_or_create(&Request {
                method,
                route,
                status,
            })
            .inc();
        self.inner
            .request_seconds
            .get_or_create(&RouteOnly { method, route })
            .observe(took.as_secs_f64());
    }

    pub fn token_fetch(&self, result: TokenResult) {
        self.inner.tokens.get_or_create(&Token { result }).inc();
    }

    pub fn breaker_changed(&self, state: BreakerState) {
        self.inner.breaker.get_or_create(&Breaker { state }).inc();
    }

    /// One remote write of a plan's step; `verb` is the step's.
    pub fn write(&self, kind: &'static str, verb: &'static str) {
        self.inner.writes.get_or_create(&Write { kind, verb }).inc();
    }

    pub fn status_patch(&self, kind: &'static str) {
        self.inner
            .status_patches
            .get_or_create(&Kind { kind })
            .inc();
    }

    pub fn event_published(&self) {
        self.inner.events.inc();
    }

    /// `field` names the class of field ("description", "permissions"), never a value.
    pub fn drift_repaired(&self, kind: &'static str, field: &'static str) {
        self.inner.drift.get_or_create(&Drift { kind, field }).inc();
    }

    pub fn write_without_difference(&self, kind: &'static str) {
        self.inner
            .writes_without_difference
            .get_or_create(&Kind { kind })
            .inc();
    }

    /// One audit record was written.
    pub fn audited(&self, kind: &'static str, result: &'static str) {
        self.inner
            .audited
            .get_or_create(&Audited { kind, result })
            .inc();
    }

    pub fn list_look(&self, result: LookResult) {
        self.inner.looks.get_or_create(&Look { result }).inc();
    }

    pub fn object_undecodable(&self, kind: &'static str) {
        self.inner.undecodable.get_or_create(&Kind { kind }).inc();
    }

    /// Whether this replica leads and may write.
    pub fn leading(&self, leading: bool) {
        self.inner.leader.set(i64::from(leading));
    }

    /// Adds `n`, which may be negative, to a total.
    pub fn total(&self, total: Total, n: i64) {
        let inner = &self.inner;
        match total {
            Total::Children(state) => inner.children.get_or_create(&InState { state }).inc_by(n),
            Total::RolloutsHalted => inner.rollouts_halted.inc_by(n),
            Total::PrunesWaiting => inner.prunes_waiting.inc_by(n),
            Total::ElementErrors => inner.element_errors.inc_by(n),
        };
    }

    /// All metrics in the OpenMetrics text format.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.inner.registry)?;
        Ok(out)
    }
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
        clone.request(
            "GET",
            "apps",
            StatusClass::of(429),
            Duration::from_millis(20),
        );
        clone.write("DatabricksApp", "create");
        clone.event_published();
        let text = metrics.encode().unwrap();
        for line in [
            "dao_reconcile_passes_total{kind=\"DatabricksApp\",result=\"Settled\"} 1",
            "dao_databricks_requests_total{method=\"GET\",route=\"apps\",status=\"TooManyRequests\"} 1",
            "dao_writes_total{kind=\"DatabricksApp\",verb=\"create\"} 1",
            "dao_events_published_total 1",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
