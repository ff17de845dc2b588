//! The fleet comes up, step by step.

use std::time::{Duration, Instant};

use super::super::fleet::{FILE, Fleet};
use super::super::trouble::Trouble;
use super::super::{Demo, UP};

/// The soak of the fleet's strategy, in service time.
const SOAK: Duration = Duration::from_secs(30);

impl Demo<'_> {
    pub(in super::super) async fn rise(&self, fleet: &Fleet) -> Result<(), Trouble> {
        println!(
            "\napplying {FILE}: three teams in two workspaces, {} first",
            fleet.canary()
        );
        let start = Instant::now();
        self.kubernetes.apply(fleet).await?;
        self.settled(fleet, UP).await?;
        println!(
            "\n{} apps are Ready after {}",
            fleet.apps().len(),
            self.service_time(start.elapsed())
        );
        let between = self.canary_first(fleet, &self.workspaces.writes().await?)?;
        // Its deployment alone takes longer; what is waited for at least is the soak after it.
        if between * self.environment.time_scale < SOAK {
            return Err(Trouble::with(
                format!(
                    "the second step followed after {}",
                    self.service_time(between)
                ),
                "AppOfApps",
                fleet.name(),
            ));
        }
        println!(
            "  checked: the first write to any other app came {} after the last one to {}",
            self.service_time(between),
            fleet.canary()
        );
        Ok(())
    }
}
