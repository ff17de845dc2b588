//! One record for every remote write, as JSON on a log target of its own, whatever the log filter says. Never a value.
use tracing::info;

use super::Metrics;

/// The log target of audit records.
pub const TARGET: &str = "audit";

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuditResult {
    Accepted,
    Refused,
    /// The answer got lost: it may have been carried out.
    Unknown,
}

impl AuditResult {
    pub fn label(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }
}

/// One remote write of one object.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    pub kind: &'static str,
    /// `namespace/name`.
    pub object: String,
    pub uid: &'a str,
    pub generation: i64,
    /// The Git revision that a GitOps tool wrote on the object, if any.
    pub git_revision: Option<&'a str>,
    /// What was done, of a closed set.
    pub verb: &'static str,
    /// Names of the fields, never their values.
    pub fields: &'a [&'static str],
    /// Who the operator was at the other side.
    pub identity: &'a str,
    /// The other side's id of the request.
    pub request_id: Option<&'a str>,
    pub result: AuditResult,
    /// Why it was refused, of the closed catalogue.
    pub reason: Option<&'a str>,
}

/// Writes the record and counts it.
pub fn record(metrics: &Metrics, record: &Record<'_>) {
    info!(
        target: TARGET,
        kind = record.kind,
        object = %record.object,
        uid = record.uid,
        generation = record.generation,
        git_revision = record.git_revision.unwrap_or_default(),
        verb = record.verb,
        fields = record.fields.join(","),
        identity = record.identity,
        request_id = record.request_id.unwrap_or_default(),
        result = record.result.label(),
        reason = record.reason.unwrap_or_default(),
        "remote write"
    );
    metrics.audited(record.kind, record.result.label());
}
