//! The parts of the story.

mod leave;
mod repair;
mod rise;
mod rollout;

use std::time::{Duration, Instant};

use super::fleet::Fleet;
use super::kubernetes::Seen;
use super::trouble::Trouble;
use super::workspaces::Write;
use super::{Demo, POLL};

impl Demo<'_> {
    /// Draws the table of apps until `check` says yes; returns what was seen then. `what`: what is waited for.
    async fn until(
        &self,
        fleet: &Fleet,
        what: &str,
        within: Duration,
        mut check: impl AsyncFnMut(&Seen) -> Result<bool, Trouble>,
    ) -> Result<Seen, Trouble> {
        let (mut table, start) = (self.table.lock().await, Instant::now());
        table.anew();
        loop {
            let seen = self.kubernetes.see(fleet).await?;
            table.draw(&seen.rows());
            if check(&seen).await? {
                return Ok(seen);
            }
            if start.elapsed() > within {
                let late = seen.rows().into_iter().find(|row| !row.is_ready());
                let what = format!("waited {} s, and not yet: {what}", within.as_secs());
                return Err(match late {
                    Some(row) => Trouble::with(what, "DatabricksApp", &row.name),
                    None => Trouble::with(what, "AppOfApps", fleet.name()),
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until all of the fleet's apps are Ready as it asks; none may be Stalled on the way.
    async fn settled(&self, fleet: &Fleet, within: Duration) -> Result<Seen, Trouble> {
        let what = "every app is Ready as it is asked for, and the fleet too";
        self.until(fleet, what, within, async |seen| {
            match seen.rows().iter().find(|row| row.is_stalled()) {
                Some(row) => Err(Trouble::with(
                    format!("app {} is stalled", row.name),
                    "DatabricksApp",
                    &row.name,
                )),
                None => Ok(seen.is_settled(fleet)),
            }
        })
        .await
    }

    /// Wire time between the last write to the canary and the first one to any other app.
    ///
    /// The canary has to have been written to, and every other app after it.
    fn canary_first(&self, fleet: &Fleet, writes: &[Write]) -> Result<Duration, Trouble> {
        let (canary, others) = (fleet.canary(), fleet.others());
        for app in fleet.apps() {
            if !writes.iter().any(|write| write.app == app) {
                return Err(Trouble::with(
                    format!("there was no write to {app}"),
                    "DatabricksApp",
                    &app,
                ));
            }
        }
        let last = writes
            .iter()
            .filter(|w| w.app == canary)
            .max_by_key(|w| w.at);
        let first = writes.iter().filter(|w| others.contains(&w.app));
        match (last, first.min_by_key(|w| w.at)) {
            (Some(last), Some(first)) if last.at < first.at => {
                Ok(first.at.duration_since(last.at).unsigned_abs())
            }
            (last, first) => Err(Trouble::with(
                format!("{first:?} did not wait until {canary} was through: {last:?}"),
                "AppOfApps",
                fleet.name(),
            )),
        }
    }
}

/// Fails with the writes to those apps, if there are any.
fn untouched(writes: &[Write], apps: &[String], fleet: &Fleet) -> Result<(), Trouble> {
    let touched: Vec<&Write> = writes.iter().filter(|w| apps.contains(&w.app)).collect();
    match touched.is_empty() {
        true => Ok(()),
        false => Err(Trouble::with(
            format!(
                "there should be no write to any of {}: {touched:?}",
                apps.join(", ")
            ),
            "AppOfApps",
            fleet.name(),
        )),
    }
}
