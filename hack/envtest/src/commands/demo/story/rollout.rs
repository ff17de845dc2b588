//! A commit that fails on the canary, and what becomes of it.

use std::time::Instant;

use envtest::{NAMESPACE, SERVICE_ACCOUNT, audit};
use serde_json::{Value, json};

use super::super::fleet::Fleet;
use super::super::kubernetes::Seen;
use super::super::trouble::Trouble;
use super::super::workspaces::Write;
use super::super::{Demo, POLL, SOON, UP};
use super::untouched;

/// Lists of each workspace after which a new operator has looked at everything.
const LISTS: u64 = 3;

impl Demo<'_> {
    pub(in super::super) async fn rollout(&self, fleet: &mut Fleet) -> Result<(), Trouble> {
        let broken = fleet.at("v1", "v2")?;
        let verdict = self.broken(fleet, &broken).await?;
        self.killed(&broken, &verdict).await?;
        self.reverted(fleet).await?;
        *fleet = fleet.at("v1", "v3")?;
        self.fixed(fleet).await
    }

    /// Stops at the canary, which gets back what ran there; returns what the fleet says of itself.
    async fn broken(&self, before: &Fleet, broken: &Fleet) -> Result<Value, Trouble> {
        let canary = broken.canary();
        println!("\nnow a commit brings v2, which fails on {canary}");
        let ran = self.kubernetes.see(before).await?;
        let ran = ran.digest(&canary)?;
        let fails = json!({
            "kind": "deployment_outcome", "app": canary, "times": 1,
            "outcome": "FAILED", "message": "no module named storefront",
        });
        let sim = self.workspaces.of(&canary)?.sim;
        sim.call("POST", "/sim/faults", Some(&fails)).await?;
        let mark = self.workspaces.mark().await?;
        let start = Instant::now();
        self.kubernetes.apply(broken).await?;
        let what = format!("the fleet is RolledBack, and {canary} Ready");
        let seen = self
            .until(broken, &what, SOON, async |seen| {
                Ok(
                    seen.is("Stalled", "RolledBack")
                        && seen.rows().iter().all(|row| row.is_ready()),
                )
            })
            .await?;
        println!("\nrolled back after {}", self.service_time(start.elapsed()));
        let verdict = verdict(&seen)?;
        println!(
            "  {}",
            verdict["Stalled"]["message"].as_str().unwrap_or_default()
        );
        let writes = self.workspaces.since(&mark).await?;
        untouched(&writes, &broken.others(), broken)?;
        if !seen.folders_are(before) {
            return Err(Trouble::with(
                "an app still asks for v2",
                "AppOfApps",
                broken.name(),
            ));
        }
        println!(
            "  checked: {} writes, all of them to {canary}",
            writes.len()
        );
        if deployed(&writes, &canary).count() != 2 {
            let what = format!("{canary} should have got v2 and v1 again: {writes:?}");
            return Err(Trouble::with(what, "DatabricksApp", &canary));
        }
        let runs = seen.digest(&canary)?;
        let wanted = &seen.app(&canary)?.data["status"]["deployment"]["desiredDigest"];
        if runs != ran || *wanted != ran {
            let what = format!("{canary} runs {runs} and wants {wanted}, and before it ran {ran}");
            return Err(Trouble::with(what, "DatabricksApp", &canary));
        }
        println!(
            "  checked: {canary} runs what it ran before, digest {:.12}…",
            ran
        );
        Ok(verdict)
    }

    /// Kills the operator while the rollout is halted: the next one comes to the same verdict and writes nothing.
    async fn killed(&self, broken: &Fleet, before: &Value) -> Result<(), Trouble> {
        println!("\nnow the operator is killed and started again");
        let (mark, children) = (self.workspaces.mark().await?, self.child_writes()?);
        let operator = &self.environment.operator;
        operator.kill();
        let start = Instant::now();
        operator.start_again().await?;
        let lists = self.workspaces.lists().await?;
        while self.workspaces.lists().await? < lists + LISTS || self.passes().await? == 0 {
            if start.elapsed() > SOON {
                let what = "the new operator has not looked at everything";
                return Err(Trouble::with(what, "AppOfApps", broken.name()));
            }
            tokio::time::sleep(POLL).await;
        }
        let seen = self.kubernetes.see(broken).await?;
        let after = verdict(&seen)?;
        let writes = self.workspaces.since(&mark).await?;
        let children = self.child_writes()? - children;
        if after != *before || !writes.is_empty() || children != 0 {
            let what = format!(
                "verdict {after} instead of {before}; {children} writes to DatabricksApps; {writes:?}"
            );
            return Err(Trouble::with(what, "AppOfApps", broken.name()));
        }
        println!("  checked: the same verdict, and 0 writes to workspaces and DatabricksApps");
        Ok(())
    }

    async fn reverted(&self, old: &Fleet) -> Result<(), Trouble> {
        println!("\nnow v2 is reverted");
        let mark = self.workspaces.mark().await?;
        self.kubernetes.apply(old).await?;
        self.settled(old, SOON).await?;
        let writes = self.workspaces.since(&mark).await?;
        // Nothing else was ever at v2.
        untouched(&writes, &old.apps(), old)?;
        println!("\n  checked: 0 writes, as {} already runs v1", old.canary());
        Ok(())
    }

    async fn fixed(&self, fleet: &Fleet) -> Result<(), Trouble> {
        println!("\nnow v3 fixes it");
        let mark = self.workspaces.mark().await?;
        let start = Instant::now();
        self.kubernetes.apply(fleet).await?;
        self.settled(fleet, UP).await?;
        println!(
            "\nv3 runs everywhere after {}",
            self.service_time(start.elapsed())
        );
        let writes = self.workspaces.since(&mark).await?;
        let between = self.canary_first(fleet, &writes)?;
        for app in fleet.apps() {
            let made = deployed(&writes, &app).count();
            let runs = &self.workspaces.of(&app)?.app(&app).await?["active_deployment"];
            if made != 1 || runs["source_code_path"] != fleet.path(&app) {
                let what = format!("{app}: {made} deployments, and what runs is {runs}");
                return Err(Trouble::with(what, "DatabricksApp", &app));
            }
        }
        println!(
            "  checked: one deployment each, the first of the second step {} after that of {}",
            self.service_time(between),
            fleet.canary()
        );
        Ok(())
    }

    /// Writes of the operator to DatabricksApps, their status apart, by the API server's audit log.
    fn child_writes(&self) -> Result<usize, Trouble> {
        let entries = audit::read(&self.environment.cluster.audit_log())?;
        let writes = entries.iter().filter(|entry| {
            entry.is_write()
                && entry.by_service_account(NAMESPACE, SERVICE_ACCOUNT)
                && entry.resource == "databricksapps"
                && entry.subresource.is_empty()
        });
        Ok(writes.count())
    }

    /// Passes over the fleet since the operator started.
    async fn passes(&self) -> Result<u64, Trouble> {
        const NAME: &str = "dao_reconcile_passes_total{kind=\"AppOfApps\"";
        let url = format!("{}/metrics", self.environment.operator.url());
        let metrics = reqwest::get(url).await?.text().await?;
        let counts = metrics.lines().filter(|line| line.starts_with(NAME));
        let counts = counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        Ok(counts.sum())
    }
}

/// The conditions Ready and Stalled, with message and time.
fn verdict(seen: &Seen) -> Result<Value, Trouble> {
    match (seen.condition("Ready"), seen.condition("Stalled")) {
        (Some(ready), Some(stalled)) => Ok(json!({"Ready": ready, "Stalled": stalled})),
        _ => Err(Trouble::new("the fleet says nothing of its present spec")),
    }
}

/// Deployments of that app.
fn deployed<'a>(writes: &'a [Write], app: &str) -> impl Iterator<Item = &'a Write> {
    let path = format!("POST /api/2.0/apps/{app}/deployments");
    writes.iter().filter(move |write| write.what == path)
}
