//! The grace for missing references: what is applied together arrives in any order.
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::plan::Fate;
use crate::api::status::{ConditionType, Reason, find};
use crate::telemetry::Clock;

/// Service time from the first sight of a missing reference until it counts as stalled.
const GRACE: Duration = Duration::from_secs(120);
/// However fast service time runs, so much wire time: the API server's watches need some.
const AT_LEAST: Duration = Duration::from_secs(10);
/// Between two looks within the grace; what the reference names wakes the object before.
const POLL: Duration = Duration::from_secs(15);

/// What is missing, and since when this process knows; several things may be missing at once.
#[derive(Clone, Debug, Default)]
pub struct Grace {
    missing: BTreeMap<Reason, Instant>,
}

impl Grace {
    /// Turns `Missing` into `After` within the grace and into `Stalled` behind it; other fates pass unchanged. An object
    /// that was already stalled for the same reason stays so, also over a restart.
    pub fn judge(
        &mut self,
        fate: Fate,
        reason: Reason,
        before: &[Condition],
        now: Instant,
        clock: Clock,
    ) -> Fate {
        let Fate::Missing { recheck } = fate else {
            return fate;
        };
        let since = *self.missing.entry(reason).or_insert(now);
        let grace = clock.wire(GRACE).max(AT_LEAST);
        let stalled = find(before, ConditionType::Stalled)
            .is_some_and(|c| c.status == "True" && c.reason == reason.name());
        if stalled || now.saturating_duration_since(since) >= grace {
            return Fate::Stalled {
                recheck: Some(recheck),
            };
        }
        let left = clock.service(grace - now.saturating_duration_since(since));
        Fate::After(POLL.min(left))
    }

    /// Nothing but this is missing any more.
    pub fn keep(&mut self, missing: &[Reason]) {
        self.missing.retain(|reason, _| missing.contains(reason));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MISSING: Fate = Fate::Missing {
        recheck: Duration::from_secs(1800),
    };

    #[test]
    fn a_missing_reference_stalls_after_two_minutes_of_service_time_but_never_within_ten_seconds() {
        for (scale, wire) in [(1, 120), (10, 12), (60, 10)] {
            let (mut grace, clock, start) = (Grace::default(), Clock::new(scale), Instant::now());
            let mut at = |seconds: u64| {
                let now = start + Duration::from_secs(seconds);
                grace.judge(MISSING, Reason::WorkspaceNotFound, &[], now, clock)
            };
            assert!(matches!(at(0), Fate::After(_)));
            assert!(matches!(at(wire - 1), Fate::After(_)), "scale {scale}");
            assert!(matches!(at(wire), Fate::Stalled { .. }), "scale {scale}");
        }
    }

    #[test]
    fn another_missing_reference_has_a_grace_of_its_own() {
        let (mut grace, clock, start) = (Grace::default(), Clock::real(), Instant::now());
        grace.judge(MISSING, Reason::WorkspaceNotFound, &[], start, clock);
        let later = start + Duration::from_secs(119);
        let fate = grace.judge(MISSING, Reason::CredentialsMissing, &[], later, clock);
        assert!(matches!(fate, Fate::After(_)));
    }
}
