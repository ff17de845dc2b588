//! The story that `make demo` tells, and what it checks on the way: a fleet comes up, is repaired three times behind
//! the operator's back, and loses an app when its element leaves the list.

mod drift;
mod table;

use std::time::{Duration, Instant};

use envtest::{Environment, EnvironmentOptions, apply, describe, repository};
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client, ResourceExt};
use serde_json::Value;

use super::Failure;
use drift::Drift;
use table::{Row, Table};

const NAMESPACE: &str = "default";
const FLEET: &str = "config/demo/fleet.yaml";
const UP: Duration = Duration::from_secs(180);
const REPAIRED: Duration = Duration::from_secs(90);
const GONE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(100);

/// Why the demo ends early, and which object tells more about it.
#[derive(Debug)]
pub(super) struct Trouble {
    what: String,
    about: Option<(&'static str, String)>,
}

impl Trouble {
    fn with(what: impl Into<String>, kind: &'static str, name: &str) -> Self {
        Self {
            what: what.into(),
            about: Some((kind, name.to_owned())),
        }
    }
}

impl<E: std::error::Error> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self {
            what: super::with_causes(&error),
            about: None,
        }
    }
}

pub(super) async fn run(time_scale: u32) -> Result<(), Failure> {
    let start = Instant::now();
    println!("starting (a minute of the platform's time takes a second here)");
    let environment = tokio::select! {
        started = Environment::start(EnvironmentOptions::new(time_scale), |line| println!("  {:>4.1} s  {line}", start.elapsed().as_secs_f32())) => started?,
        _ = tokio::signal::ctrl_c() => return Err("interrupted; nothing is left running".into()),
    };
    let client = environment.cluster.client().await?;
    let story = Story {
        environment: &environment,
        client: client.clone(),
    };
    let told = tokio::select! {
        told = story.tell(start) => told,
        _ = tokio::signal::ctrl_c() => return Err("interrupted; nothing is left running".into()),
    };
    let told = match told {
        Ok(()) => Ok(()),
        Err(trouble) => Err(story.explain(trouble).await.into()),
    };
    environment.stop().await;
    told
}

struct Story<'a> {
    environment: &'a Environment,
    client: Client,
}

impl Story<'_> {
    async fn tell(&self, start: Instant) -> Result<(), Trouble> {
        let mut fleet = read_fleet()?;
        println!("\napplying {FLEET}");
        self.apply(&fleet).await?;
        let up = Instant::now();
        let names = self.all_ready(&fleet).await?;
        println!(
            "\n{} apps are Ready after {}",
            names.len(),
            self.service_time(up.elapsed())
        );

        println!("\nnow somebody changes three apps behind the operator's back");
        for (drift, app) in Drift::ALL.into_iter().zip(names.iter().cycle()) {
            self.repaired(drift, app).await?;
        }

        let gone = leave_the_list(&mut fleet)?;
        println!("\nnow the last element leaves the list of the AppOfApps");
        self.apply(&fleet).await?;
        let left = Instant::now();
        let name = self.gone(&names, &gone).await?;
        println!(
            "  {name}: its app is gone from the workspace, and then the object, after {}",
            self.service_time(left.elapsed())
        );

        let counted = self
            .environment
            .sim
            .call("GET", "/sim/requests", None)
            .await?;
        println!(
            "\n{} apps came up, 3 drifts were repaired, 1 app left; {} writes to the workspace; {:.0} s in all. Nothing is left running.",
            names.len(),
            writes(&counted),
            start.elapsed().as_secs_f32(),
        );
        Ok(())
    }

    async fn apply(&self, fleet: &Value) -> Result<(), Trouble> {
        // JSON is YAML.
        apply(&self.client, &fleet.to_string()).await?;
        Ok(())
    }

    /// Draws the table until every app that the fleet asks for is Ready, and the fleet too; returns their names.
    async fn all_ready(&self, fleet: &Value) -> Result<Vec<String>, Trouble> {
        let wanted = elements(fleet).map_or(0, <[Value]>::len);
        let mut table = Table::new();
        let start = Instant::now();
        loop {
            let rows = self.rows("DatabricksApp").await?;
            let parents = self.rows("AppOfApps").await?;
            table.draw(&rows);
            if rows.len() == wanted && rows.iter().chain(&parents).all(Row::is_ready) {
                return Ok(rows.into_iter().map(|row| row.name).collect());
            }
            if let Some(row) = rows.iter().find(|row| row.is_stalled()) {
                return Err(Trouble::with(
                    format!("app {} is stalled", row.name),
                    "DatabricksApp",
                    &row.name,
                ));
            }
            if start.elapsed() > UP {
                let late = rows.iter().find(|row| !row.is_ready());
                let what = format!("not every app is Ready after {} s", UP.as_secs());
                return Err(match late {
                    Some(row) => Trouble::with(what, "DatabricksApp", &row.name),
                    None => Trouble::with(what, "AppOfApps", &fleet_name(fleet)),
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn repaired(&self, drift: Drift, app: &str) -> Result<(), Trouble> {
        let host = drift::Workspace::of(self.environment);
        let before = host.state(drift, app).await?;
        host.inflict(drift, app).await?;
        let start = Instant::now();
        println!("  {app}: {}", drift.story());
        let mut seen = false;
        loop {
            let now = host.state(drift, app).await?;
            seen |= now != before;
            if seen && now == before {
                println!("    repaired after {}", self.service_time(start.elapsed()));
                return Ok(());
            }
            if start.elapsed() > REPAIRED {
                return Err(Trouble::with(
                    format!(
                        "{app}: {} and was not repaired within {}: {now} instead of {before}",
                        drift.story(),
                        self.service_time(REPAIRED)
                    ),
                    "DatabricksApp",
                    app,
                ));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until the app of the element `gone` is gone, in the workspace and as an object, and all others are still
    /// there; returns its name.
    async fn gone(&self, before: &[String], gone: &str) -> Result<String, Trouble> {
        let start = Instant::now();
        loop {
            let rows = self.rows("DatabricksApp").await?;
            let left: Vec<&String> = before
                .iter()
                .filter(|name| !rows.iter().any(|row| row.name == **name))
                .collect();
            if let [name] = left[..] {
                let host = drift::Workspace::of(self.environment);
                if host.exists(name).await? {
                    return Err(Trouble {
                        what: format!("the object {name} went before its app in the workspace"),
                        about: None,
                    });
                }
                return Ok(name.clone());
            }
            if left.len() > 1 || start.elapsed() > GONE {
                return Err(Trouble::with(
                    format!(
                        "element {gone} left the list; gone within {}: {left:?}",
                        self.service_time(start.elapsed())
                    ),
                    "AppOfApps",
                    "storefront",
                ));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn rows(&self, kind: &str) -> Result<Vec<Row>, Trouble> {
        let plural = kind.to_ascii_lowercase() + if kind.ends_with('s') { "" } else { "s" };
        let resource = ApiResource::from_gvk_with_plural(
            &GroupVersionKind::gvk("appofapps.dev", "v1alpha1", kind),
            &plural,
        );
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), NAMESPACE, &resource);
        let mut objects = api.list(&ListParams::default()).await?.items;
        objects.sort_by_key(ResourceExt::name_any);
        Ok(objects.iter().map(Row::of).collect())
    }

    fn service_time(&self, wire: Duration) -> String {
        let service = wire.as_secs_f32() * self.environment.time_scale as f32;
        format!(
            "{service:.0} s of service time ({:.1} s here)",
            wire.as_secs_f32()
        )
    }

    async fn explain(&self, trouble: Trouble) -> String {
        let mut text = trouble.what;
        if let Some((kind, name)) = trouble.about {
            let object = describe(&self.client, kind, NAMESPACE, &name).await;
            text.push_str(&format!("\n{object}"));
        }
        for failure in [
            self.environment.operator.failure(),
            self.environment.sim.failure(),
            self.environment.cluster.failure(),
        ]
        .into_iter()
        .flatten()
        {
            text.push_str(&format!("\n{failure}"));
        }
        text
    }
}

fn read_fleet() -> Result<Value, Trouble> {
    let path = repository().join(FLEET);
    let text = std::fs::read_to_string(&path).map_err(|error| Trouble {
        what: format!("cannot read {}: {error}", path.display()),
        about: None,
    })?;
    serde_saphyr::from_str(&text).map_err(|error| Trouble {
        what: format!("cannot parse {}: {error}", path.display()),
        about: None,
    })
}

const ELEMENTS: &str = "/spec/generators/0/list/elements";

fn elements(fleet: &Value) -> Option<&[Value]> {
    fleet.pointer(ELEMENTS)?.as_array().map(Vec::as_slice)
}

fn fleet_name(fleet: &Value) -> String {
    fleet["metadata"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// Takes the last element away and returns it.
fn leave_the_list(fleet: &mut Value) -> Result<String, Trouble> {
    fleet
        .pointer_mut(ELEMENTS)
        .and_then(Value::as_array_mut)
        .and_then(Vec::pop)
        .map(|element| element.to_string())
        .ok_or_else(|| Trouble {
            what: format!("{FLEET} has no list generator with elements"),
            about: None,
        })
}

/// Requests that ask for a change, out of the counts of the fake workspace.
fn writes(counted: &Value) -> u64 {
    counted["totals"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|row| row["method"] != "GET")
        .filter(|row| !row["route"].as_str().unwrap_or_default().contains("token"))
        .filter_map(|row| row["count"].as_u64())
        .sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_fleet_has_some_five_apps_and_loses_its_last_element() {
        let mut fleet = read_fleet().unwrap();
        assert_eq!(elements(&fleet).unwrap().len(), 5);
        assert_eq!(fleet_name(&fleet), "storefront");
        let gone = leave_the_list(&mut fleet).unwrap();
        assert!(gone.contains("reviews"));
        assert_eq!(elements(&fleet).unwrap().len(), 4);
    }

    #[test]
    fn reads_and_token_requests_are_no_writes() {
        let counted = serde_json::json!({"totals": [
            {"method": "GET", "route": "/api/2.0/apps", "status": 200, "count": 7},
            {"method": "POST", "route": "/api/2.0/apps", "status": 200, "count": 2},
            {"method": "POST", "route": "/oidc/v1/token", "status": 200, "count": 9},
            {"method": "PUT", "route": "/api/2.0/permissions/apps/{name}", "status": 200, "count": 1},
        ]});
        assert_eq!(writes(&counted), 3);
    }
}
