//! What can go wrong between us and a workspace, typed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::credentials::SourceError;
use crate::term::NotLeading;

/// One error of one call. `Clone`, as callers that waited for the same token exchange share its error.
/// Neither `Debug` nor `Display` ever holds a secret or a token.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// No complete answer arrived.
    #[error("reaching {host}: {message}")]
    Transport {
        host: String,
        message: String,
        /// The request may have been processed
        ambiguous: bool,
    },
    #[error("waiting for {host}: no answer within {}s", after.as_secs())]
    Timeout { host: String, after: Duration },
    #[error(
        "authenticating: {0}; check that the credentials are valid and belong to this workspace"
    )]
    Unauthenticated(Box<ApiError>),
    #[error("permission denied: {0}")]
    PermissionDenied(Box<ApiError>),
    #[error("not found: {0}")]
    NotFound(Box<ApiError>),
    #[error("conflict: {0}")]
    Conflict(Box<ApiError>),
    #[error("too many requests: {error}")]
    TooManyRequests {
        error: Box<ApiError>,
        retry_after: Option<Duration>,
    },
    #[error("invalid request: {0}")]
    InvalidRequest(Box<ApiError>),
    #[error("quota reached: {0}")]
    Quota(Box<ApiError>),
    /// The service failed (5xx), or gave up on the request.
    #[error("service unavailable: {error}")]
    Unavailable {
        error: Box<ApiError>,
        retry_after: Option<Duration>,
    },
    /// Something answered that is not the Databricks API: a login page, a proxy, a redirect.
    #[error(
        "{host} answers {what} with status {status}, not JSON; check the workspace's host and, on a unified host, its workspaceID"
    )]
    NotJson {
        host: String,
        status: u16,
        what: String,
    },
    /// Not sent, as the host failed repeatedly. It reads as what the host failed with last, so that what is said of an
    /// outage stays the same as long as the outage does.
    #[error("{cause}")]
    BreakerOpen {
        retry_after: Duration,
        cause: Arc<Error>,
    },
    #[error("host {host} is not allowed: {why}")]
    HostNotAllowed { host: String, why: String },
    #[error(transparent)]
    Credentials(#[from] SourceError),
    /// A write that was not sent.
    #[error(transparent)]
    NotLeading(#[from] NotLeading),
    /// The token endpoint refused the credentials.
    #[error(
        "exchanging credentials for a token: {code}: {description}; check client id and client secret"
    )]
    OAuth {
        status: u16,
        code: String,
        description: String,
    },
    /// An answer that has another shape than expected.
    #[error("decoding the answer to {what}: {path}: {message}")]
    Decode {
        what: String,
        /// Where in the JSON
        path: String,
        message: String,
    },
    /// The client can't be built from its settings.
    #[error("setting up the connection: {0}")]
    Setup(String),
}

/// An error body of the service, whatever its shape was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiError {
    pub status: u16,
    /// As the service spells it, or derived from the status: `RESOURCE_DOES_NOT_EXIST`
    pub error_code: String,
    /// At most 1 KiB, without control characters
    pub message: String,
    pub request_id: Option<String>,
    /// `ErrorInfo.reason`
    pub reason: Option<String>,
    /// `BadRequest.field_violations`, the first few
    pub violations: Vec<FieldViolation>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldViolation {
    pub field: String,
    pub description: String,
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.error_code, self.status)?;
        // The request's id is told apart: a message that differs each time would be written each time.
        let id = self.request_id.as_deref().filter(|id| !id.is_empty());
        let message = id.map(|id| self.message.replace(id, "…"));
        let message = message.as_deref().unwrap_or(&self.message);
        if !message.is_empty() {
            write!(f, ": {message}")?;
        }
        for violation in &self.violations {
            write!(f, "; {}: {}", violation.field, violation.description)?;
        }
        Ok(())
    }
}

impl Error {
    /// The body of the service's refusal, if it sent one.
    pub fn api(&self) -> Option<&ApiError> {
        match self {
            Self::Unauthenticated(error)
            | Self::PermissionDenied(error)
            | Self::NotFound(error)
            | Self::Conflict(error)
            | Self::InvalidRequest(error)
            | Self::Quota(error)
            | Self::TooManyRequests { error, .. }
            | Self::Unavailable { error, .. } => Some(error),
            Self::Transport { .. }
            | Self::Timeout { .. }
            | Self::NotJson { .. }
            | Self::BreakerOpen { .. }
            | Self::HostNotAllowed { .. }
            | Self::Credentials(_)
            | Self::NotLeading(_)
            | Self::OAuth { .. }
            | Self::Decode { .. }
            | Self::Setup(_) => None,
        }
    }

    /// A write that ended so may have been committed: look before writing again.
    pub fn is_ambiguous(&self) -> bool {
        match self {
            Self::Transport { ambiguous, .. } => *ambiguous,
            Self::Timeout { .. } | Self::Unavailable { .. } | Self::Decode { .. } => true,
            // A login page or a refusing proxy commits nothing, but a proxy that lost its backend may have.
            Self::NotJson { status, .. } => *status < 300 || *status >= 500,
            Self::Unauthenticated(_)
            | Self::PermissionDenied(_)
            | Self::NotFound(_)
            | Self::Conflict(_)
            | Self::TooManyRequests { .. }
            | Self::InvalidRequest(_)
            | Self::Quota(_)
            | Self::BreakerOpen { .. }
            | Self::HostNotAllowed { .. }
            | Self::Credentials(_)
            | Self::NotLeading(_)
            | Self::OAuth { .. }
            | Self::Setup(_) => false,
        }
    }

    /// The HTTP status, if one was received.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::NotJson { status, .. } | Self::OAuth { status, .. } => Some(*status),
            other => other.api().map(|error| error.status),
        }
    }

    /// How long the other side asked us to stay away, in wire time.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooManyRequests { retry_after, .. } | Self::Unavailable { retry_after, .. } => {
                *retry_after
            }
            Self::BreakerOpen { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }

    pub fn error_code(&self) -> Option<&str> {
        self.api().map(|error| error.error_code.as_str())
    }

    pub fn request_id(&self) -> Option<&str> {
        self.api().and_then(|error| error.request_id.as_deref())
    }

    /// Counts towards opening the breaker: the workspace, not the request, is at fault.
    pub(super) fn blames_host(&self) -> bool {
        match self {
            Self::Transport { .. } | Self::Timeout { .. } | Self::NotJson { .. } => true,
            // 501 is an answer about the request.
            Self::Unavailable { error, .. } => error.status >= 500 && error.status != 501,
            _ => false,
        }
    }

    /// Replaces `secret` wherever the service echoed it.
    pub fn without(mut self, secret: &str) -> Self {
        let scrub = |text: &mut String| redact(text, secret);
        match &mut self {
            Self::Unauthenticated(error)
            | Self::PermissionDenied(error)
            | Self::NotFound(error)
            | Self::Conflict(error)
            | Self::InvalidRequest(error)
            | Self::Quota(error)
            | Self::TooManyRequests { error, .. }
            | Self::Unavailable { error, .. } => {
                scrub(&mut error.message);
                scrub(&mut error.error_code);
                let named = error.request_id.iter_mut().chain(&mut error.reason);
                named.for_each(scrub);
                for violation in &mut error.violations {
                    scrub(&mut violation.field);
                    scrub(&mut violation.description);
                }
            }
            Self::OAuth {
                code, description, ..
            } => {
                scrub(code);
                scrub(description);
            }
            Self::Decode { message, .. } => scrub(message),
            Self::NotJson { what, .. } => scrub(what),
            Self::Transport { .. }
            | Self::Timeout { .. }
            | Self::BreakerOpen { .. }
            | Self::HostNotAllowed { .. }
            | Self::Credentials(_)
            | Self::NotLeading(_)
            | Self::Setup(_) => {}
        }
        self
    }
}

/// Replaces `secret` wherever `text` repeats it. A shorter one than four bytes is no secret, and comes up by chance.
pub fn redact(text: &mut String, secret: &str) {
    if secret.len() >= 4 && text.contains(secret) {
        *text = text.replace(secret, "[redacted]");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_answers_that_differ_by_the_requests_id_alone_read_the_same() {
        let said = |id: &str| {
            let error = ApiError {
                status: 503,
                error_code: "TEMPORARILY_UNAVAILABLE".into(),
                message: format!("try later (request {id})"),
                request_id: Some(id.into()),
                ..ApiError::default()
            };
            error.to_string()
        };
        assert_eq!(said("a-1"), said("b-2"));
        assert!(said("a-1").contains("try later (request …)"));
    }
}
