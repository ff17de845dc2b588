//! Labels: closed sets of values, and the sets of labels that metrics have.
//!
//! A value is an enum's or written in the code, never the name of an object; only Workspaces are named, and bounded.
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};

/// The values that a label may have; empty if they are written all over the code.
pub trait Values {
    const VALUES: &'static [&'static str];
}

impl Values for &'static str {
    const VALUES: &'static [&'static str] = &[];
}

/// The labels of a metric, in the order of the text.
pub trait Labels {
    /// Name and values of each.
    const LABELS: &'static [Label];
}

/// One label of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    pub name: &'static str,
    /// Empty if the set is not closed by a type.
    pub values: &'static [&'static str],
}

macro_rules! values {
    ($($(#[doc = $enum_doc:literal])+ $name:ident { $($(#[doc = $doc:literal])* $value:ident),+ $(,)? })+) => {$(
        $(#[doc = $enum_doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelValue)]
        pub enum $name { $($(#[doc = $doc])* $value),+ }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$value),+];
        }

        impl Values for $name {
            const VALUES: &'static [&'static str] = &[$(stringify!($value)),+];
        }
    )+};
}

macro_rules! labels {
    ($($name:ident { $($label:ident: $value:ty),* $(,)? })+) => {$(
        #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub(super) struct $name { $(pub $label: $value),* }

        impl Labels for $name {
            const LABELS: &'static [Label] =
                &[$(Label { name: stringify!($label), values: <$value as Values>::VALUES }),*];
        }
    )+};
}

values! {
    /// How a pass over one object ended.
    PassResult {
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

    /// How a token exchange ended.
    TokenResult {
        Fetched,
        Refused,
        Unreachable,
        /// The Secret with the credentials could not be read
        NoCredentials,
    }

    /// The state a workspace's breaker changed to.
    BreakerState { Closed, Open, HalfOpen }

    /// How a shared list of a workspace's apps ended.
    LookResult { Complete, Failed }

    /// Who waits for the rate limiter.
    WaitFor { List, Normal }

    /// What came of a deployment of ours.
    DeploymentResult {
        Succeeded,
        Failed,
        /// What ran before was deployed again
        RolledBack,
    }

    /// How a child of a fleet is; a stopped one is ready, too.
    ChildState {
        Ready,
        Stopped,
        Progressing,
        Stalled,
        Suspended,
        /// Asked for, and not there yet
        Missing,
    }

    /// How an object is, as its conditions say.
    ObjectState {
        Ready,
        /// A transition is under way
        Progressing,
        /// Something failed and is tried again
        Retrying,
        Stalled,
        Suspended,
        /// No look succeeded for three intervals
        Unknown,
    }

    /// How an app is: as [`ObjectState`], with what Ready means.
    AppState {
        Running,
        Stopped,
        Progressing,
        Retrying,
        Stalled,
        Suspended,
        Unknown,
    }

    /// What came of a request to the metrics endpoint.
    ScrapeResult {
        Served,
        /// No token, or one that is not valid
        Unauthenticated,
        /// Its holder may not read /metrics
        Forbidden,
        /// The API server could not be asked
        Unavailable,
    }
}

/// How a request to Databricks ended: the HTTP status, or that there was no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Code(&'static str);

impl Code {
    pub const TIMEOUT: Self = Self("timeout");
    pub const UNREACHABLE: Self = Self("unreachable");

    /// A status that Databricks is known to answer by itself, any other by its class.
    pub fn of(status: u16) -> Self {
        macro_rules! known {
            ($($code:literal)+) => { match status { $($code => stringify!($code),)+ other => class(other) } };
        }
        Self(
            known!(200 201 202 204 301 302 303 307 308 400 401 403 404 405 408 409 412 413 415 422 429 499
            500 501 502 503 504),
        )
    }
}

fn class(status: u16) -> &'static str {
    match status / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}

impl EncodeLabelValue for Code {
    fn encode(
        &self,
        encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>,
    ) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&self.0, encoder)
    }
}

impl Values for Code {
    const VALUES: &'static [&'static str] = &[];
}

labels! {
    Pass { kind: &'static str, result: PassResult }
    Kind { kind: &'static str }
    Call { method: &'static str, route: &'static str, code: Code }
    Operation { method: &'static str, route: &'static str }
    Wait { priority: WaitFor }
    Token { result: TokenResult }
    Breaker { state: BreakerState }
    Look { result: LookResult }
    Write { kind: &'static str, verb: &'static str }
    Drift { kind: &'static str, field: &'static str }
    Audited { kind: &'static str, result: &'static str }
    Deployed { result: DeploymentResult }
    InState { state: ChildState }
    Object { kind: &'static str, state: ObjectState }
    Scrape { result: ScrapeResult }
    Build { version: &'static str }
    App { workspace: &'static str, state: AppState }
    Workspace { workspace: &'static str }
}

/// No label at all.
pub(super) enum Alone {}

impl Labels for Alone {
    const LABELS: &'static [Label] = &[];
}

/// What each label means, by its name.
pub const MEANINGS: &[(&str, &str)] = &[
    (
        "code",
        "HTTP status, its class (`5xx`) for an unusual one, `timeout` or `unreachable` without an answer",
    ),
    ("field", "class of the field, as the reference groups them"),
    (
        "kind",
        "`DatabricksApp`, `DatabricksWorkspace` or `AppOfApps`",
    ),
    ("method", "HTTP method"),
    ("priority", "lists go before everything else"),
    ("result", "what came of it"),
    ("route", "the operation: a class of routes, never an object"),
    ("state", "how it is now, or what it changed to"),
    ("verb", "what was done"),
    ("version", "of the operator"),
    (
        "workspace",
        "NAMESPACE/NAME of the DatabricksWorkspace; those beyond the first 250 together as `other`, those without a connection as `none`",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unusual_status_counts_by_its_class() {
        let codes = [200, 429, 418, 520, 999].map(|status| Code::of(status).0);
        assert_eq!(codes, ["200", "429", "4xx", "5xx", "5xx"]);
    }
}
