//! One parent of 5,000 children on a real API server: how large its status is, what it writes, and what it takes.
//!
//! ```text
//!  Case ──► scenes ──► Counted (audit log, status) ──► limits ──► Row
//! ```

mod limits;
mod scenes;
mod watch;

use std::path::Path;

use serde::Serialize;

use super::Error;
use super::plan::{Fleet, Run, Variant};
use super::stage::Stage;
use envtest::large::{APPS, TEAMS};
pub(super) use limits::Row;

/// Children of the parent.
pub(super) const CHILDREN: usize = TEAMS * APPS;

/// What happens to the parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Case {
    /// From its `apply` until every child is Ready
    Created,
    /// One element changes, and with it one child
    OneChanged,
    /// No element becomes a child any more
    AllErrors,
    /// No child is asked for any more; their deletion waits
    PruneWaits,
    /// Mode Plan: other children are asked for
    Planned,
    /// Every child changes, and is Stalled then
    AllFailing,
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Created => "created",
            Self::OneChanged => "one-changed",
            Self::AllErrors => "all-errors",
            Self::PruneWaits => "prune-waits",
            Self::Planned => "planned",
            Self::AllFailing => "all-failing",
        })
    }
}

/// Measures all of it in an environment of its own.
pub(super) async fn run(
    trace: Option<&Path>,
    measured: impl FnMut(Row) -> Result<(), Error>,
) -> Result<(), Error> {
    let run = Run {
        apps: CHILDREN,
        fleet: Fleet::Parent,
        variant: Variant::Usual,
        scenarios: Vec::new(),
    };
    let mut stage = Stage::start(run, trace).await?;
    scenes::run(&mut stage, measured).await?;
    stage.end().await;
    Ok(())
}
