//! Two times: *wire time* is real, *service time* may run faster.
//!
//! Against a fake workspace whose transitions are accelerated, the operator's own intervals, polls and
//! deadlines have to shrink by the same factor, while everything that belongs to the network
//! (Retry-After, token life, HTTP timeouts) stays real. Timestamps are wall time on both sides; only
//! differences between them are multiplied.

use std::time::Duration;

use jiff::Timestamp;

/// The one clock of the process, passed down by value. A scale of 1 makes both times the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    scale: u32,
}

impl Clock {
    /// A clock whose service time runs `scale` times as fast as wire time; 0 counts as 1.
    pub fn new(scale: u32) -> Self {
        Self {
            scale: scale.max(1),
        }
    }

    /// Service time equals wire time.
    pub fn real() -> Self {
        Self::new(1)
    }

    pub fn scale(&self) -> u32 {
        self.scale
    }

    /// The wall time; never scaled.
    pub fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// How long to really wait for `service` to pass.
    pub fn wire(&self, service: Duration) -> Duration {
        service / self.scale
    }

    /// How much service time passes during `wire`; saturates.
    pub fn service(&self, wire: Duration) -> Duration {
        wire.saturating_mul(self.scale)
    }

    /// Service time from `since` to `at`; zero if `at` lies before it, as clocks may be set back.
    pub fn age(&self, since: Timestamp, at: Timestamp) -> Duration {
        let wall = Duration::try_from(at.duration_since(since)).unwrap_or_default();
        self.service(wall)
    }

    /// Sleeps for `service`.
    pub async fn sleep(&self, service: Duration) {
        tokio::time::sleep(self.wire(service)).await;
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::real()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn service_time_runs_faster_than_wire_time_by_the_scale() {
        let clock = Clock::new(60);
        assert_eq!(clock.wire(Duration::from_secs(60)), Duration::from_secs(1));
        assert_eq!(
            clock.service(Duration::from_secs(1)),
            Duration::from_secs(60)
        );
        assert_eq!(Clock::new(0).scale(), 1);
    }

    #[test]
    fn an_age_is_service_time_and_never_negative() {
        let clock = Clock::new(10);
        let since: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let at: Timestamp = "2026-01-01T00:00:06Z".parse().unwrap();
        assert_eq!(clock.age(since, at), Duration::from_secs(60));
        assert_eq!(clock.age(at, since), Duration::ZERO);
    }
}
