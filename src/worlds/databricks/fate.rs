//! What becomes of an error of a workspace: the one place where transport errors get a reason and a fate.
use std::time::Duration;

use crate::api::status::Reason;
use crate::databricks::{Error, SourceReason};
use crate::engine::managed::Trouble;
use crate::engine::plan::{Fate, SLOW};
use crate::telemetry::Clock;

/// The error of `action` ("listing apps") as the loop treats it. `refused` is the reason for a refusal that concerns the
/// request itself.
pub fn trouble(action: &str, error: &Error, refused: Reason, clock: Clock) -> Trouble {
    let slow = Fate::Stalled {
        recheck: Some(SLOW),
    };
    let never = Fate::Stalled { recheck: None };
    // What the other side asks for is wire time.
    let asked =
        |wire: Option<Duration>| wire.map_or(Fate::Retry, |w| Fate::After(clock.service(w)));
    let (reason, fate) = match error {
        Error::Transport { .. } | Error::Timeout { .. } => (Reason::HostUnreachable, Fate::Retry),
        Error::BreakerOpen { retry_after, .. } => {
            (Reason::HostUnreachable, asked(Some(*retry_after)))
        }
        Error::TooManyRequests { retry_after, .. } => {
            (Reason::ProgressingWithRetry, asked(*retry_after))
        }
        Error::Unavailable { retry_after, .. } => (Reason::HostUnreachable, asked(*retry_after)),
        Error::Unauthenticated(_) | Error::OAuth { .. } => (Reason::Unauthenticated, slow),
        Error::PermissionDenied(_) => (Reason::PermissionDenied, slow),
        Error::NotFound(_) | Error::Conflict(_) | Error::InvalidRequest(_) => (refused, slow),
        Error::Quota(_) => (Reason::QuotaExceeded, slow),
        Error::NotJson { .. } => (Reason::UnexpectedAnswer, slow),
        // Nobody reads it: no status can be written either.
        Error::NotLeading(_) => (Reason::ProgressingWithRetry, Fate::Retry),
        Error::Decode { .. } => (Reason::UnexpectedAnswer, Fate::Retry),
        Error::HostNotAllowed { .. } => (Reason::HostNotAllowed, never),
        Error::Setup(_) => (Reason::InvalidSpec, never),
        Error::Credentials(source) => match source.reason {
            SourceReason::Missing | SourceReason::KeyMissing => {
                (Reason::CredentialsMissing, Fate::Missing { recheck: SLOW })
            }
            SourceReason::Unreachable => (Reason::CredentialsMissing, Fate::Retry),
            SourceReason::Invalid => (Reason::CredentialsMissing, slow),
        },
    };
    let mut trouble = Trouble::new(reason, format!("{action}: {error}"), fate);
    trouble.request_id = error.request_id().map(str::to_owned);
    trouble
}
