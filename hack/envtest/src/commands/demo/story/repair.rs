//! Somebody changes apps behind the operator's back.

use std::time::Instant;

use futures::future::try_join_all;

use super::super::drift::Drift;
use super::super::fleet::Fleet;
use super::super::trouble::Trouble;
use super::super::{Demo, POLL, SOON};

impl Demo<'_> {
    pub(in super::super) async fn repair(&self, fleet: &Fleet) -> Result<(), Trouble> {
        println!("\nnow somebody changes three apps behind the operator's back");
        let apps = fleet.others();
        let repairs = Drift::ALL.into_iter().zip(&apps);
        try_join_all(repairs.map(|(drift, app)| self.repaired(drift, app))).await?;
        // What was stopped is deployed again; that is not to be taken for the next commit's.
        self.settled(fleet, SOON).await?;
        Ok(())
    }

    async fn repaired(&self, drift: Drift, app: &str) -> Result<(), Trouble> {
        let host = self.workspaces.of(app)?;
        let before = host.state(drift, app).await?;
        host.inflict(drift, app).await?;
        let start = Instant::now();
        println!("  {app}: {}", drift.story());
        let mut seen = false;
        loop {
            let now = host.state(drift, app).await?;
            seen |= now != before;
            if seen && now == before {
                let took = self.service_time(start.elapsed());
                println!("  {app}: repaired after {took}");
                return Ok(());
            }
            if start.elapsed() > SOON {
                return Err(Trouble::with(
                    format!(
                        "{app}: {} and was not repaired within {}: {now} instead of {before}",
                        drift.story(),
                        self.service_time(SOON)
                    ),
                    "DatabricksApp",
                    app,
                ));
            }
            tokio::time::sleep(POLL).await;
        }
    }
}
