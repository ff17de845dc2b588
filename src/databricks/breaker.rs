//! One breaker a connection: a workspace that is down makes fewer calls than one that is up.
//!
//! Closed until five calls in a row fail on the host's account; then open (fail fast) for a minute of service
//! time; then one call may probe while the others keep failing fast. Each failed probe doubles the wait, up
//! to ten minutes; a good one closes. What is refused meanwhile is told what the host failed with last.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::error::Error;
use crate::telemetry::metrics::BreakerState;
use crate::telemetry::{Clock, Metrics};

const FAILURES: u32 = 5;
const FIRST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(600);

#[derive(Clone)]
pub(super) struct Breaker {
    state: Arc<Mutex<State>>,
    clock: Clock,
    metrics: Metrics,
}

/// `cause`: what the host failed with last.
#[derive(Clone, Debug)]
enum State {
    Closed {
        failures: u32,
    },
    /// `wait` is service time
    Open {
        until: Instant,
        wait: Duration,
        cause: Arc<Error>,
    },
    HalfOpen {
        wait: Duration,
        cause: Arc<Error>,
    },
}

/// The right to make one attempt. Dropped without a verdict, as in a cancelled call, it only makes room for
/// the next probe.
pub(super) struct Permit {
    breaker: Breaker,
    probe: Option<Duration>,
    settled: bool,
}

impl Breaker {
    pub(super) fn new(clock: Clock, metrics: Metrics) -> Self {
        Self {
            state: Arc::new(Mutex::new(State::Closed { failures: 0 })),
            clock,
            metrics,
        }
    }

    /// A permit, or [`Error::BreakerOpen`].
    pub(super) fn admit(&self, now: Instant) -> Result<Permit, Error> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let refuse = |retry_after: Duration, cause: &Arc<Error>| {
            Err(Error::BreakerOpen {
                retry_after,
                cause: cause.clone(),
            })
        };
        let probe = match &*state {
            State::Closed { .. } => None,
            State::Open { until, wait, cause } if *until <= now => {
                let (wait, cause) = (*wait, cause.clone());
                *state = State::HalfOpen { wait, cause };
                self.metrics.breaker_changed(BreakerState::HalfOpen);
                Some(wait)
            }
            State::Open { until, cause, .. } => return refuse(*until - now, cause),
            // How long the probe will take is unknown; a second is soon enough to ask again.
            State::HalfOpen { cause, .. } => return refuse(Duration::from_secs(1), cause),
        };
        Ok(Permit {
            breaker: self.clone(),
            probe,
            settled: false,
        })
    }

    fn settle(&self, probe: Option<Duration>, failed: Option<&Error>, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let open = |wait: Duration, cause: &Error| {
            self.metrics.breaker_changed(BreakerState::Open);
            State::Open {
                until: now + self.clock.wire(wait),
                wait,
                cause: Arc::new(cause.clone()),
            }
        };
        *state = match (state.clone(), probe, failed) {
            (State::HalfOpen { wait, .. }, Some(_), Some(cause)) => {
                open((wait * 2).min(LONGEST), cause)
            }
            (State::HalfOpen { .. }, Some(_), None) => {
                self.metrics.breaker_changed(BreakerState::Closed);
                State::Closed { failures: 0 }
            }
            (State::Closed { failures }, None, Some(cause)) if failures + 1 >= FAILURES => {
                open(FIRST, cause)
            }
            (State::Closed { failures }, None, Some(_)) => State::Closed {
                failures: failures + 1,
            },
            (State::Closed { .. }, None, None) => State::Closed { failures: 0 },
            // A call that began before the breaker opened says nothing about now.
            (other, _, _) => other,
        };
    }
}

impl Permit {
    pub(super) fn is_probe(&self) -> bool {
        self.probe.is_some()
    }

    /// `failed`: what the host is to blame for.
    pub(super) fn settle(mut self, failed: Option<&Error>, now: Instant) {
        self.settled = true;
        self.breaker.settle(self.probe, failed, now);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let (Some(wait), false) = (self.probe, self.settled) {
            let mut state = self
                .breaker
                .state
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if let State::HalfOpen { cause, .. } = &*state {
                *state = State::Open {
                    until: Instant::now(),
                    wait,
                    cause: cause.clone(),
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn breaker() -> Breaker {
        Breaker::new(Clock::new(60), Metrics::new())
    }

    fn refused(message: &str) -> Error {
        Error::Transport {
            host: "db".into(),
            message: message.into(),
            ambiguous: false,
        }
    }

    fn fail(breaker: &Breaker, now: Instant) {
        let permit = breaker.admit(now).ok().unwrap();
        permit.settle(Some(&refused("refused")), now);
    }

    /// Wire time until the next probe.
    fn closed_for(breaker: &Breaker, now: Instant) -> Duration {
        breaker.admit(now).err().unwrap().retry_after().unwrap()
    }

    #[test]
    fn it_opens_after_five_failures_in_a_row_and_a_success_starts_the_count_anew() {
        let (breaker, now) = (breaker(), Instant::now());
        for _ in 0..4 {
            fail(&breaker, now);
        }
        breaker.admit(now).ok().unwrap().settle(None, now);
        for _ in 0..4 {
            fail(&breaker, now);
        }
        assert!(breaker.admit(now).is_ok());
        fail(&breaker, now);
        // One minute of service time at scale 60.
        assert_eq!(closed_for(&breaker, now), Duration::from_secs(1));
    }

    #[test]
    fn one_probe_goes_out_and_its_failure_doubles_the_wait_up_to_ten_minutes() {
        let (breaker, mut now) = (breaker(), Instant::now());
        for _ in 0..5 {
            fail(&breaker, now);
        }
        for wait in [1, 2, 4, 8, 10, 10] {
            assert_eq!(closed_for(&breaker, now), Duration::from_secs(wait));
            now += Duration::from_secs(wait);
            let probe = breaker.admit(now).ok().unwrap();
            assert!(probe.is_probe());
            assert!(breaker.admit(now).is_err(), "a second probe was let out");
            probe.settle(Some(&refused("refused")), now);
        }
        now += Duration::from_secs(10);
        breaker.admit(now).ok().unwrap().settle(None, now);
        assert!(!breaker.admit(now).ok().unwrap().is_probe());
    }

    #[test]
    fn what_it_refuses_says_what_the_host_failed_with_last_and_never_how_long_it_waits() {
        let (breaker, mut now) = (breaker(), Instant::now());
        for _ in 0..5 {
            fail(&breaker, now);
        }
        let said = |now| breaker.admit(now).err().unwrap().to_string();
        assert_eq!(said(now), refused("refused").to_string());
        assert_eq!(said(now + Duration::from_millis(500)), said(now));
        now += Duration::from_secs(1);
        let probe = breaker.admit(now).ok().unwrap();
        assert_eq!(said(now), refused("refused").to_string());
        probe.settle(Some(&refused("no route")), now);
        assert_eq!(said(now), refused("no route").to_string());
    }

    #[test]
    fn a_probe_that_was_given_up_makes_room_for_the_next() {
        let (breaker, mut now) = (breaker(), Instant::now());
        for _ in 0..5 {
            fail(&breaker, now);
        }
        now += Duration::from_secs(1);
        drop(breaker.admit(now).ok().unwrap());
        assert!(
            breaker
                .admit(Instant::now() + Duration::from_secs(1))
                .ok()
                .unwrap()
                .is_probe()
        );
    }
}
