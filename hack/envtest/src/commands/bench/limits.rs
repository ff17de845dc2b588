//! How many calls each scenario may take, tokens and discovery apart. Pure.

use super::plan::{Scenario, Variant};

/// Rows of a page of the list.
const PAGE: usize = 100;
/// Minutes between two looks at what no list shows.
const SLOW: f64 = 10.0;

/// What a limit depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) scenario: Scenario,
    pub(super) variant: Variant,
    pub(super) apps: usize,
    /// Minutes of service time that were measured.
    pub(super) minutes: f64,
}

impl Case {
    /// Most calls.
    pub(super) fn limit(&self) -> f64 {
        let n = self.apps as f64;
        let one_more = match self.variant {
            Variant::ThinnerLists => 1.0,
            Variant::Usual | Variant::Latency | Variant::FullLists => 0.0,
        };
        let thinner = n * one_more;
        match self.scenario {
            Scenario::Create | Scenario::TakenName => self.creation() + thinner + self.meanwhile(),
            // The write, and two reads of a page.
            // What the list lacks is read before the write and after it; and a heartbeat may fall into the longer wait.
            Scenario::Description => 1.0 + 2.0 * self.pages() + 3.0 * one_more + self.meanwhile(),
            Scenario::Quiet | Scenario::WatchedFolders | Scenario::GuardedGrants => self.quiet(),
            // Each takes one write.
            Scenario::AclDrift => self.quiet() + n,
            // Each takes one look, as a shared one may be older, and one write; there are two an app.
            Scenario::StrippedGrants => self.quiet() + 4.0 * n,
            // One list and one question who we are, whatever the number of apps up to a page.
            Scenario::LookWithoutAcls => self.pages() + 1.0 + thinner,
            Scenario::Look => (1.05 * n).max(n + self.pages() + 1.0) + thinner,
        }
    }

    pub(super) fn allows(&self, calls: u64) -> bool {
        calls as f64 <= self.limit() + 1e-9
    }

    /// Ten for one app, 350 for a page of them: three writes each, and lists that all share. In between a straight line.
    fn creation(&self) -> f64 {
        let n = self.apps as f64;
        if self.apps >= PAGE {
            return 3.5 * n;
        }
        let one = 10.0;
        one + (n - 1.0) * (3.5 * PAGE as f64 - one) / (PAGE as f64 - 1.0)
    }

    /// What becomes due while a large fleet changes. Up to a page nothing does: that is over before.
    fn meanwhile(&self) -> f64 {
        match self.apps {
            0..=PAGE => 0.0,
            _ => self.minutes * self.rate(),
        }
    }

    /// Looks that time alone asks for. Each may be due once even in less than its interval.
    fn quiet(&self) -> f64 {
        self.minutes.max(SLOW) * self.rate()
    }

    /// Such looks a minute.
    fn rate(&self) -> f64 {
        let n = self.apps as f64;
        let acl = n;
        let thin = if self.variant.left_out().is_empty() {
            0.0
        } else {
            n
        };
        let folders = match self.scenario {
            Scenario::WatchedFolders => n,
            _ => 0.0,
        };
        let guarded = match self.scenario {
            Scenario::GuardedGrants | Scenario::StrippedGrants => n + 1.0,
            _ => 0.0,
        };
        let workspace = 1.0;
        self.pages() + (acl + thin + folders + guarded + workspace) / SLOW
    }

    fn pages(&self) -> f64 {
        self.apps.div_ceil(PAGE).max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(scenario: Scenario, variant: Variant, apps: usize) -> f64 {
        let minutes = 10.0;
        Case {
            scenario,
            variant,
            apps,
            minutes,
        }
        .limit()
    }

    #[test]
    fn creation_costs_ten_calls_for_one_app_and_three_and_a_half_each_for_a_hundred() {
        let usual = |apps| limit(Scenario::Create, Variant::Usual, apps);
        assert_eq!((usual(1), usual(100)), (10.0, 350.0));
        assert_eq!(usual(20).round(), 75.0);
        // And what becomes due in these ten minutes.
        assert_eq!(usual(2_000).round(), 7_000.0 + 4_201.0);
        assert_eq!(limit(Scenario::Create, Variant::ThinnerLists, 100), 450.0);
        assert_eq!(limit(Scenario::TakenName, Variant::Usual, 100), 350.0);
    }

    #[test]
    fn a_look_costs_two_calls_and_with_permissions_one_more_an_app() {
        let look = |scenario, apps| limit(scenario, Variant::Usual, apps);
        assert_eq!(look(Scenario::LookWithoutAcls, 100), 2.0);
        assert_eq!(look(Scenario::LookWithoutAcls, 2_000), 21.0);
        assert_eq!(look(Scenario::Look, 100), 105.0);
        assert_eq!(look(Scenario::Look, 1), 3.0);
    }

    #[test]
    fn ten_quiet_minutes_cost_a_list_a_minute_and_one_look_at_each_thing() {
        let quiet = |scenario, variant, apps| limit(scenario, variant, apps).round();
        assert_eq!(quiet(Scenario::Quiet, Variant::FullLists, 100), 111.0);
        assert_eq!(quiet(Scenario::Quiet, Variant::Usual, 100), 211.0);
        assert_eq!(quiet(Scenario::Quiet, Variant::Usual, 2_000), 4_201.0);
        assert_eq!(quiet(Scenario::WatchedFolders, Variant::Usual, 1), 14.0);
        assert_eq!(quiet(Scenario::GuardedGrants, Variant::Usual, 100), 312.0);
    }

    #[test]
    fn a_change_costs_three_calls_in_however_long_as_long_as_one_list_page_holds_all() {
        let change = |apps| limit(Scenario::Description, Variant::Usual, apps);
        assert_eq!((change(1), change(100)), (3.0, 3.0));
        let thinner = limit(Scenario::Description, Variant::ThinnerLists, 100);
        assert_eq!(thinner, 6.0);
        assert_eq!(change(2_000).round(), 41.0 + 4_201.0);
    }

    #[test]
    fn a_limit_is_broken_by_one_call_more() {
        let case = Case {
            scenario: Scenario::Description,
            variant: Variant::Usual,
            apps: 100,
            minutes: 1.0,
        };
        assert!(case.allows(3) && !case.allows(4));
    }
}
