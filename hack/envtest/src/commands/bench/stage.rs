//! A running environment with a fleet in it, and what is measured there.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant};

use envtest::{
    Environment, EnvironmentOptions, NAMESPACE as OPERATOR_NAMESPACE, SERVICE_ACCOUNT, STRANGER,
    WORKSPACE, audit, describe, random_token,
};
use futures::{StreamExt, TryStreamExt, stream};
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use super::Error;
use super::fleet::{self, Declared, NAMESPACE};
use super::plan::Run;
use super::report::{self, Cost, Requests};

const FIELD_MANAGER: &str = "envtest";
/// Requests of a kind under way at a time.
pub(super) const AT_ONCE: usize = 16;
/// Most that the API takes: time, not the limiter, is what is measured.
const LIMIT: u32 = 1_000;
/// The watched state changes for so long at most without anything being seen of it.
const STILL: Duration = Duration::from_secs(300);
const GRACE: Duration = Duration::from_secs(10);
const TOLD: Duration = Duration::from_secs(5);

/// An environment of its own for one run. Dropping it ends everything.
pub(super) struct Stage {
    pub(super) environment: Environment,
    pub(super) run: Run,
    /// The stranger's token.
    stranger: String,
    apps: Api<DynamicObject>,
    http: reqwest::Client,
    system: System,
}

/// Where a measurement begins.
pub(super) struct Mark {
    at: Instant,
    pid: Option<u32>,
    cpu: Duration,
    writes: usize,
}

impl Mark {
    pub(super) fn elapsed(&self) -> Duration {
        self.at.elapsed()
    }
}

impl Stage {
    /// Starts it, with the workspace connected and no app in it. `trace`: a folder for the operator's log and for the
    /// fake workspace's requests.
    pub(super) async fn start(run: Run, trace: Option<&Path>) -> Result<Self, Error> {
        let stranger = random_token();
        let mut options = EnvironmentOptions::new(run.time_scale());
        options.seed = fleet::seed(&run).to_string();
        options.other_tokens = vec![(stranger.clone(), STRANGER.to_owned())];
        options.requests_per_second = LIMIT;
        options.sim_arguments = vec!["--max-apps".into(), (run.apps + 1).to_string()];
        if let Some(folder) = trace {
            let file = |end: &str| {
                let Run {
                    apps,
                    variant,
                    fleet,
                    ..
                } = &run;
                folder.join(format!("{fleet:?}-{apps}-{variant}.{end}").to_lowercase())
            };
            options.log_filter = "info,databricks_app_operator=debug".into();
            options.operator_log = Some(file("log"));
            let requests = file("requests").display().to_string();
            options.sim_arguments.extend(["--log".into(), requests]);
        }
        let environment = Environment::start(options, |_| {}).await?;
        let client = environment.cluster.client().await?;
        let kind = |kind: &str, plural: &str| {
            let kind = GroupVersionKind::gvk("appofapps.dev", "v1alpha1", kind);
            let resource = ApiResource::from_gvk_with_plural(&kind, plural);
            Api::namespaced_with(client.clone(), NAMESPACE, &resource)
        };
        let stage = Self {
            apps: kind("DatabricksApp", "databricksapps"),
            environment,
            run,
            stranger,
            http: reqwest::Client::new(),
            system: System::new(),
        };
        let lists = json!({"kind": "list_thin", "fields": stage.run.variant.left_out()});
        stage.sim("POST", "/sim/faults", lists).await?;
        let workspaces = kind("DatabricksWorkspace", "databricksworkspaces");
        stage
            .until("the workspace is connected", async || {
                let workspace = workspaces.get(WORKSPACE).await?;
                Ok(is(&workspace, "Ready").then_some(()).ok_or(0))
            })
            .await?;
        if stage.run.variant == super::plan::Variant::Latency {
            let slow = json!({"kind": "latency", "pattern": "* *", "delay": "100ms", "times": 0});
            stage.sim("POST", "/sim/faults", slow).await?;
        }
        Ok(stage)
    }

    pub(super) async fn end(self) {
        self.environment.stop().await;
    }

    /// Begins to count, from nothing.
    pub(super) async fn mark(&mut self) -> Result<Mark, Error> {
        self.environment
            .sim
            .call("DELETE", "/sim/requests", None)
            .await?;
        Ok(Mark {
            writes: self.writes()?.len(),
            cpu: self.used().0,
            pid: self.environment.operator.pid(),
            at: Instant::now(),
        })
    }

    /// What was counted since.
    pub(super) async fn since(&mut self, mark: Mark) -> Result<(Vec<Requests>, Cost), Error> {
        let wall_seconds = mark.at.elapsed().as_secs_f64();
        let shown = self.requests().await?;
        let (cpu, resident_bytes) = self.used();
        // Another operator began at zero.
        let before = match self.environment.operator.pid() == mark.pid {
            true => mark.cpu,
            false => Duration::ZERO,
        };
        let mut kubernetes_writes = BTreeMap::new();
        for entry in self.audited(&mark)? {
            let resource = match entry.subresource.as_str() {
                "" => entry.resource,
                sub => format!("{}/{sub}", entry.resource),
            };
            *kubernetes_writes.entry(resource).or_default() += 1;
        }
        let cost = Cost {
            wall_seconds,
            cpu_seconds: cpu.saturating_sub(before).as_secs_f64(),
            resident_bytes,
            kubernetes_writes,
        };
        Ok((shown, cost))
    }

    pub(super) async fn requests(&self) -> Result<Vec<Requests>, Error> {
        let shown = self.environment.sim.call("GET", "/sim/requests", None);
        Ok(report::requests(&shown.await?))
    }

    /// How many requests of that method and route were counted and not refused.
    pub(super) async fn accepted(&self, method: &str, route: &str) -> Result<u64, Error> {
        let all = self.requests().await?;
        let of = all
            .iter()
            .filter(|r| r.method == method && r.route == route);
        Ok(of.map(|r| r.count - r.refused).sum())
    }

    /// CPU time and resident memory of the operator.
    fn used(&mut self) -> (Duration, u64) {
        let Some(pid) = self.environment.operator.pid().map(Pid::from_u32) else {
            return Default::default();
        };
        let what = ProcessRefreshKind::nothing().with_cpu().with_memory();
        let one = ProcessesToUpdate::Some(&[pid]);
        self.system.refresh_processes_specifics(one, true, what);
        self.system
            .process(pid)
            .map(|process| {
                let cpu = Duration::from_millis(process.accumulated_cpu_time());
                (cpu, process.memory())
            })
            .unwrap_or_default()
    }

    /// Each write that the operator asked the API server for.
    fn writes(&self) -> Result<Vec<audit::Entry>, Error> {
        let log = self.environment.cluster.audit_log();
        let mut entries = audit::read(&log).map_err(Error::Audit)?;
        entries.retain(counts);
        Ok(entries)
    }

    /// Those since.
    pub(super) fn audited(&self, mark: &Mark) -> Result<Vec<audit::Entry>, Error> {
        Ok(self.writes()?.split_off(mark.writes))
    }

    /// A control of the fake workspace.
    pub(super) async fn sim(&self, method: &str, path: &str, body: Value) -> Result<Value, Error> {
        Ok(self.environment.sim.call(method, path, Some(&body)).await?)
    }

    /// A request of the stranger's to the workspace.
    pub(super) async fn as_stranger(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value, Error> {
        let failed = |source| Error::Stranger {
            path: path.to_owned(),
            source,
        };
        let url = format!("{}{path}", self.environment.sim.url());
        let mut request = self.http.request(method, url).bearer_auth(&self.stranger);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.and_then(|a| a.error_for_status());
        answer.map_err(failed)?.json().await.map_err(failed)
    }

    /// Applies apps, several at a time.
    pub(super) async fn apply(&self, apps: impl Iterator<Item = Declared>) -> Result<(), Error> {
        let (api, parameters) = (&self.apps, PatchParams::apply(FIELD_MANAGER).force());
        stream::iter(apps)
            .map(|app| {
                let parameters = parameters.clone();
                async move {
                    let (name, patch) = (fleet::name(app.n), Patch::Apply(app.manifest()));
                    api.patch(&name, &parameters, &patch).await
                }
            })
            .buffer_unordered(AT_ONCE)
            .try_for_each(|_| std::future::ready(Ok(())))
            .await?;
        Ok(())
    }

    /// Applies all apps of the run, made from their plain form.
    pub(super) async fn apply_all(
        &self,
        shape: impl Fn(Declared) -> Declared,
    ) -> Result<(), Error> {
        let all = 0..self.run.apps;
        self.apply(all.map(|n| shape(Declared::new(n, self.run.fleet))))
            .await
    }

    /// Waits until so many apps are Ready as their specs ask now.
    pub(super) async fn ready(&self, wanted: usize) -> Result<(), Error> {
        let what = format!("{wanted} apps are Ready");
        let ended = self
            .until(&what, async || {
                let apps = self.apps.list(&ListParams::default()).await?.items;
                let ready = apps.iter().filter(|app| is(app, "Ready")).count();
                Ok(if ready >= wanted { Ok(()) } else { Err(ready) })
            })
            .await;
        match ended {
            Err(Error::Late { what, .. }) => Err(Error::Late {
                what,
                about: self.explain().await,
            }),
            other => other,
        }
    }

    /// Waits until that app is Stalled.
    pub(super) async fn stalled(&self, name: &str) -> Result<(), Error> {
        self.until(&format!("app {name} is Stalled"), async || {
            let app = self.apps.get(name).await?;
            Ok(is(&app, "Stalled").then_some(()).ok_or(0))
        })
        .await
    }

    /// Lets the operator finish what it is writing.
    pub(super) async fn stop_operator(&self) {
        self.environment.operator.stop(GRACE).await;
    }

    /// The first app that is not Ready, and what ended by itself.
    async fn explain(&self) -> String {
        let apps = self.apps.list(&ListParams::default()).await;
        let late = apps
            .iter()
            .flat_map(|apps| &apps.items)
            .find(|app| !is(app, "Ready"));
        let mut text = String::new();
        if let (Some(app), Ok(client)) = (late, self.environment.cluster.client().await) {
            text = describe(&client, "DatabricksApp", NAMESPACE, &app.name_any()).await;
        }
        let failures = [
            self.environment.operator.failure(),
            self.environment.sim.failure(),
            self.environment.cluster.failure(),
        ];
        for failure in failures.into_iter().flatten() {
            text.push_str(&failure);
        }
        text
    }

    /// Asks `check` until it says `Ok`. It may say how far things are; as long as that changes nobody gives up.
    pub(super) async fn until(
        &self,
        what: &str,
        mut check: impl AsyncFnMut() -> Result<Result<(), usize>, Error>,
    ) -> Result<(), Error> {
        // To look at 2,000 objects costs the API server as much as to write some of them.
        let pause = Duration::from_millis(50 + self.run.apps as u64);
        let (start, mut moved, mut told) = (Instant::now(), Instant::now(), Instant::now());
        let mut far = usize::MAX;
        loop {
            let now = match check().await? {
                Ok(()) => return Ok(()),
                Err(now) => now,
            };
            if now != far {
                (far, moved) = (now, Instant::now());
            }
            if moved.elapsed() > STILL {
                return Err(Error::Late {
                    what: what.to_owned(),
                    about: String::new(),
                });
            }
            if told.elapsed() > TOLD && std::io::stderr().is_terminal() {
                told = Instant::now();
                let seconds = start.elapsed().as_secs();
                eprintln!("    waiting until {what}: {far} so far, after {seconds} s");
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Passes over apps that found nothing left to do, since the operator started.
    pub(super) async fn settled_passes(&self) -> Result<usize, Error> {
        let url = format!("{}/metrics", self.environment.operator.url());
        let answer = self.http.get(url).send().await.map_err(Error::Metrics)?;
        let text = answer.text().await.map_err(Error::Metrics)?;
        Ok(settled(&text))
    }
}

/// Reads the count out of the operator's metrics.
fn settled(metrics: &str) -> usize {
    const NAME: &str = r#"dao_reconcile_passes_total{kind="DatabricksApp",result="Settled"} "#;
    let count = metrics.lines().find_map(|line| line.strip_prefix(NAME));
    count.and_then(|n| n.parse().ok()).unwrap_or_default()
}

/// Whether the object has that condition, about its present generation.
fn is(object: &DynamicObject, condition: &str) -> bool {
    let status = &object.data["status"];
    status["observedGeneration"].as_i64() == object.metadata.generation
        && status["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|c| c["type"] == condition && c["status"] == "True")
}

/// Whether the operator asked for a change. A leader renews its Leases whatever happens.
fn counts(entry: &audit::Entry) -> bool {
    let ours = entry.by_service_account(OPERATOR_NAMESPACE, SERVICE_ACCOUNT);
    ours && entry.is_write() && entry.resource != "leases"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settled_passes_are_those_of_apps() {
        let metrics = "dao_reconcile_passes_total{kind=\"AppOfApps\",result=\"Settled\"} 4\n\
            dao_reconcile_passes_total{kind=\"DatabricksApp\",result=\"Stepped\"} 5\n\
            dao_reconcile_passes_total{kind=\"DatabricksApp\",result=\"Settled\"} 6\n";
        assert_eq!((settled(metrics), settled("")), (6, 0));
    }

    #[test]
    fn writes_of_the_operator_count_but_for_the_renewals_of_its_leases() {
        let entry = |name: &str, verb: &str, resource: &str| audit::Entry {
            at: jiff::Timestamp::UNIX_EPOCH,
            user: format!("system:serviceaccount:{OPERATOR_NAMESPACE}:{name}"),
            verb: verb.into(),
            group: String::new(),
            resource: resource.into(),
            subresource: String::new(),
            namespace: OPERATOR_NAMESPACE.into(),
            name: "one".into(),
            code: 200,
        };
        assert!(counts(&entry(SERVICE_ACCOUNT, "patch", "databricksapps")));
        assert!(!counts(&entry(SERVICE_ACCOUNT, "patch", "leases")));
        assert!(!counts(&entry(SERVICE_ACCOUNT, "list", "databricksapps")));
        assert!(!counts(&entry("default", "patch", "databricksapps")));
    }
}
