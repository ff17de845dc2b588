//! A team leaves the fleet.

use std::time::Instant;

use super::super::fleet::Fleet;
use super::super::trouble::Trouble;
use super::super::{Demo, POLL, SOON};
use super::untouched;

const CONFIRM: &str = "appofapps.dev/confirm-prune";
/// Lists of each workspace during which nothing goes.
const LISTS: u64 = 2;

impl Demo<'_> {
    pub(in super::super) async fn leave(&self, fleet: &mut Fleet) -> Result<(), Trouble> {
        let before = fleet.apps();
        let (rest, going) = fleet.without_last_team()?;
        println!(
            "\nnow a team leaves the list: {} of {} apps, and a fifth may go unasked",
            going.len(),
            before.len()
        );
        let mark = self.workspaces.mark().await?;
        self.kubernetes.apply(&rest).await?;
        let seen = self
            .until(&rest, "their deletion waits", SOON, async |seen| {
                Ok(seen.is("Suspended", "PruneWaiting"))
            })
            .await?;
        let prune = seen.fleet.data["status"]["prune"].clone();
        let names: Vec<&str> = prune["names"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|n| n.as_str())
            .collect();
        if names != going || !prune["digest"].is_string() {
            let what = format!("{going:?} left, and what waits is {prune}");
            return Err(Trouble::with(what, "AppOfApps", rest.name()));
        }
        let lists = self.workspaces.lists().await?;
        let start = Instant::now();
        while self.workspaces.lists().await? < lists + LISTS && start.elapsed() < SOON {
            tokio::time::sleep(POLL).await;
        }
        untouched(&self.workspaces.since(&mark).await?, &before, &rest)?;
        if self.kubernetes.see(&rest).await?.names() != before {
            let what = "something went before anybody confirmed it";
            return Err(Trouble::with(what, "AppOfApps", rest.name()));
        }
        println!("\n  checked: {} wait, and 0 writes", going.join(" and "));

        println!(
            "\nnow that is confirmed: {CONFIRM}={}",
            prune["digest"].as_str().unwrap_or_default()
        );
        let start = Instant::now();
        self.kubernetes
            .annotate(&rest, CONFIRM, &prune["digest"])
            .await?;
        self.until(&rest, "just these are gone", SOON, async |seen| {
            for app in before.iter().filter(|app| !seen.names().contains(app)) {
                if !going.contains(app) || self.workspaces.of(app)?.exists(app).await? {
                    let what = format!("the object {app} went, and its app in the workspace did not, or it should stay");
                    return Err(Trouble::with(what, "AppOfApps", rest.name()));
                }
            }
            Ok(seen.is_settled(&rest))
        })
        .await?;
        untouched(&self.workspaces.since(&mark).await?, &rest.apps(), &rest)?;
        println!(
            "\n  checked: their apps are gone from the workspaces, and then the objects, after {}; 0 writes to the others",
            self.service_time(start.elapsed())
        );
        *fleet = rest;
        Ok(())
    }
}
