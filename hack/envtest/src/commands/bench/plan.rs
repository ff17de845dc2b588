//! What is measured: which fleets are brought up, how many apps they have, and what happens to them. Pure.

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

/// Sizes that are measured unless the command line says otherwise.
pub(super) const SIZES: [usize; 4] = [1, 20, 100, 2_000];
/// The size at which latency and other lists are measured too.
const FULL_PAGE: usize = 100;

/// What happens to a fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Scenario {
    /// From the first `apply` until every app is Ready.
    Create,
    /// The description of one app changes in its spec.
    Description,
    /// Nothing changes for ten minutes of service time.
    Quiet,
    /// A stranger is granted something on every app.
    AclDrift,
    /// An operator starts over the settled fleet.
    Look,
    /// The same, once nobody declares permissions.
    LookWithoutAcls,
    /// One of the names is taken by a stranger's app.
    TakenName,
    /// Every app watches a folder of its own; ten quiet minutes.
    WatchedFolders,
    /// Every app uses one warehouse, which all share, and a job of its own; ten quiet minutes.
    GuardedGrants,
    /// Another tool takes away what the apps' service principals hold on the warehouse and on the jobs.
    StrippedGrants,
}

impl Scenario {
    /// Of fleets larger than a page of the list; the others take minutes and show nothing that a page does not.
    const LARGE: [Self; 5] = [
        Self::Create,
        Self::Description,
        Self::Quiet,
        Self::Look,
        Self::LookWithoutAcls,
    ];

    fn fleet(self) -> Fleet {
        match self {
            Self::Create
            | Self::Description
            | Self::Quiet
            | Self::AclDrift
            | Self::Look
            | Self::LookWithoutAcls => Fleet::Plain,
            Self::TakenName => Fleet::TakenName,
            Self::WatchedFolders => Fleet::Watched,
            Self::GuardedGrants | Self::StrippedGrants => Fleet::Guarded,
        }
    }

    /// The variants beside the usual one that can make a difference to it.
    fn differs_with(self, variant: Variant) -> bool {
        match variant {
            Variant::Usual | Variant::Latency => true,
            Variant::FullLists | Variant::ThinnerLists => self.fleet() == Fleet::Plain,
        }
    }
}

/// By the name that the command line takes.
impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self.to_possible_value();
        f.pad(named.as_ref().map_or("", |value| value.get_name()))
    }
}

/// How the workspace answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Variant {
    /// At once; its lists leave out `app_status`, as the service's do.
    Usual,
    /// 100 ms later.
    Latency,
    /// At once; its lists leave nothing out.
    FullLists,
    /// At once; its lists leave out the active deployment and some settings, too.
    ThinnerLists,
}

impl Variant {
    /// Fields that lists of apps leave out.
    pub(super) fn left_out(self) -> &'static [&'static str] {
        match self {
            Self::Usual | Self::Latency => &["app_status"],
            Self::FullLists => &[],
            Self::ThinnerLists => &[
                "app_status",
                "active_deployment",
                "description",
                "resources",
            ],
        }
    }
}

/// By the name that the command line takes.
impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self.to_possible_value();
        f.pad(named.as_ref().map_or("", |value| value.get_name()))
    }
}

/// What the apps of a run have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fleet {
    /// A source in a workspace folder, one grant.
    Plain,
    /// The same; the first name is a stranger's app.
    TakenName,
    /// The same; the folder is watched.
    Watched,
    /// The same, with a warehouse and a job.
    Guarded,
    /// Children of one parent.
    Parent,
}

/// One environment: a fleet is created in it, then the scenarios follow in their order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Run {
    pub(super) apps: usize,
    pub(super) fleet: Fleet,
    pub(super) variant: Variant,
    pub(super) scenarios: Vec<Scenario>,
}

impl Run {
    /// Service time runs so many times faster than wire time. A large fleet needs longer for the same calls, and its
    /// intervals must not pass meanwhile.
    pub(super) fn time_scale(&self) -> u32 {
        match self.fleet {
            // What a parent writes is measured, and no interval is to come between.
            Fleet::Parent => 1,
            _ if self.apps > FULL_PAGE => 10,
            _ => 60,
        }
    }
}

/// The runs for some sizes, and what the default leaves out. Empty lists: all scenarios, and all variants where they are
/// measured.
pub(super) fn runs(
    sizes: &[usize],
    scenarios: &[Scenario],
    variants: &[Variant],
) -> (Vec<Run>, Vec<String>) {
    let (mut runs, mut left_out) = (Vec::new(), Vec::new());
    for &apps in sizes {
        for variant in Variant::value_variants().iter().copied() {
            let wanted = match variants {
                [] => variant == Variant::Usual || apps == FULL_PAGE,
                some => some.contains(&variant),
            };
            if !wanted {
                continue;
            }
            for fleet in [
                Fleet::Plain,
                Fleet::TakenName,
                Fleet::Watched,
                Fleet::Guarded,
            ] {
                let all = Scenario::value_variants().iter().copied();
                let (chosen, skipped): (Vec<_>, Vec<_>) = all
                    .filter(|s| s.fleet() == fleet && s.differs_with(variant))
                    .filter(|s| scenarios.is_empty() || scenarios.contains(s))
                    .partition(|s| {
                        apps <= FULL_PAGE || !scenarios.is_empty() || Scenario::LARGE.contains(s)
                    });
                left_out.extend(skipped.iter().map(|scenario| {
                    format!("{scenario} with {apps} apps: takes minutes; name it with --scenario to measure it")
                }));
                if !chosen.is_empty() {
                    runs.push(Run {
                        apps,
                        fleet,
                        variant,
                        scenarios: chosen,
                    });
                }
            }
        }
    }
    (runs, left_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_is_measured_up_to_a_page_and_only_the_cheap_ones_beyond() {
        let (all, left_out) = runs(&SIZES, &[], &[]);
        for scenario in Scenario::value_variants() {
            for size in [1, 20, 100] {
                let measured = |run: &Run| run.apps == size && run.scenarios.contains(scenario);
                assert!(all.iter().any(measured), "{scenario} {size}");
            }
        }
        let large: Vec<&Run> = all.iter().filter(|run| run.apps == 2_000).collect();
        assert_eq!(large.len(), 1);
        assert_eq!(large[0].scenarios, Scenario::LARGE);
        assert_eq!(left_out.len(), 5);
        assert_eq!((all[0].time_scale(), large[0].time_scale()), (60, 10));
    }

    #[test]
    fn latency_and_other_lists_are_measured_at_a_full_page_or_where_asked_for() {
        let (all, _) = runs(&SIZES, &[], &[]);
        let sizes = |variant| -> Vec<usize> {
            let of = all.iter().filter(|run| run.variant == variant);
            of.map(|run| run.apps).collect()
        };
        assert_eq!(sizes(Variant::Latency), [100; 4]);
        assert_eq!(sizes(Variant::ThinnerLists), [100]);
        let (asked, _) = runs(&[7], &[Scenario::Create], &[Variant::Latency]);
        assert_eq!(asked.len(), 1);
        assert_eq!((asked[0].apps, asked[0].variant), (7, Variant::Latency));
    }
}
