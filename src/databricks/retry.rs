//! Whether a failed attempt is made again within the same call, and when. Pure.
//!
//! Reads are; writes only after a 429, which the service sends before it looks at the request. Everything
//! else is left to the caller, who looks at the remote before writing again.

use std::time::Duration;

use reqwest::Method;

use super::error::Error;

pub(super) const ATTEMPTS: u32 = 3;
/// A worker waits no longer than this for one answer; beyond it the object leaves and comes back.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
const LONGEST_CALL: Duration = Duration::from_secs(75);

/// How long to wait before attempt `attempt + 1`, in wire time; `None` = give the error to the caller.
/// `jitter` is in 0..1.
pub(super) fn next(
    method: &Method,
    error: &Error,
    attempt: u32,
    spent: Duration,
    jitter: f64,
) -> Option<Duration> {
    if attempt >= ATTEMPTS {
        return None;
    }
    let safe = match error {
        Error::TooManyRequests { .. } => true,
        Error::Unavailable { error, .. } => {
            method == Method::GET && matches!(error.status, 502..=504)
        }
        Error::Transport { .. } => method == Method::GET,
        // A second wait of a minute would hold the worker; the next pass asks again.
        Error::Timeout { .. }
        | Error::Unauthenticated(_)
        | Error::PermissionDenied(_)
        | Error::NotFound(_)
        | Error::Conflict(_)
        | Error::InvalidRequest(_)
        | Error::Quota(_)
        | Error::NotJson { .. }
        | Error::BreakerOpen { .. }
        | Error::HostNotAllowed { .. }
        | Error::Credentials(_)
        | Error::NotLeading(_)
        | Error::OAuth { .. }
        | Error::Decode { .. }
        | Error::Setup(_) => false,
    };
    if !safe {
        return None;
    }
    let wait = match error.retry_after() {
        Some(asked) if asked > LONGEST_WAIT => return None,
        // Jitter only lengthens what the service asked for.
        Some(asked) => asked + Duration::from_millis(250).mul_f64(jitter),
        None => Duration::from_millis(500 << (attempt - 1)).mul_f64(0.5 + jitter),
    };
    (spent + wait <= LONGEST_CALL).then_some(wait)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::error::ApiError;
    use super::*;

    fn busy(retry_after: Option<u64>) -> Error {
        Error::TooManyRequests {
            error: Box::default(),
            retry_after: retry_after.map(Duration::from_secs),
        }
    }

    fn unavailable(status: u16) -> Error {
        Error::Unavailable {
            error: Box::new(ApiError {
                status,
                ..ApiError::default()
            }),
            retry_after: None,
        }
    }

    fn lost() -> Error {
        Error::Transport {
            host: "h".into(),
            message: "reset".into(),
            ambiguous: true,
        }
    }

    fn again(method: &Method, error: &Error) -> bool {
        next(method, error, 1, Duration::ZERO, 0.5).is_some()
    }

    #[test]
    fn reads_are_tried_again_and_writes_only_after_a_429() {
        for error in [
            busy(None),
            unavailable(503),
            unavailable(502),
            unavailable(504),
            lost(),
        ] {
            assert!(again(&Method::GET, &error), "{error}");
            let is_429 = matches!(error, Error::TooManyRequests { .. });
            for write in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
                assert_eq!(again(&write, &error), is_429, "{write} {error}");
            }
        }
        assert!(!again(&Method::GET, &unavailable(500)));
        assert!(!again(&Method::GET, &Error::NotFound(Box::default())));
    }

    #[test]
    fn what_the_service_asks_for_is_kept_and_a_long_wait_is_left_to_the_caller() {
        let wait = next(&Method::POST, &busy(Some(7)), 1, Duration::ZERO, 0.9).unwrap();
        assert!(wait >= Duration::from_secs(7) && wait < Duration::from_secs(8));
        assert_eq!(
            next(&Method::GET, &busy(Some(31)), 1, Duration::ZERO, 0.0),
            None
        );
    }

    #[test]
    fn attempts_and_time_are_bounded() {
        assert_eq!(
            next(&Method::GET, &busy(None), ATTEMPTS, Duration::ZERO, 0.0),
            None
        );
        assert_eq!(next(&Method::GET, &busy(None), 1, LONGEST_CALL, 0.0), None);
    }
}
