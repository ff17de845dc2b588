//! The fake workspaces: asked as their user, and what the operator asked of them.

use std::collections::BTreeMap;

use envtest::Sim;
use jiff::Timestamp;
use reqwest::StatusCode;
use serde_json::Value;

use super::trouble::Trouble;

/// Requests that a fake workspace remembers one by one.
const REMEMBERED: usize = 1_000;

/// One of them.
pub(super) struct Workspace<'a> {
    pub(super) name: &'static str,
    pub(super) sim: &'a Sim,
    token: &'a str,
    http: reqwest::Client,
}

/// A request of the operator's that asks for a change.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Write {
    pub(super) at: Timestamp,
    pub(super) workspace: &'static str,
    /// Empty if it is about no app.
    pub(super) app: String,
    /// Method and path.
    pub(super) what: String,
}

/// How many writes there were when something began.
#[derive(Clone, Debug)]
pub(super) struct Mark(BTreeMap<&'static str, usize>);

pub(super) struct Workspaces<'a> {
    all: Vec<Workspace<'a>>,
}

impl<'a> Workspaces<'a> {
    pub(super) fn new(all: impl IntoIterator<Item = (&'static str, &'a Sim, &'a String)>) -> Self {
        let all = all.into_iter().map(|(name, sim, token)| Workspace {
            name,
            sim,
            token,
            http: reqwest::Client::new(),
        });
        Self { all: all.collect() }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.all.iter().map(|workspace| workspace.name)
    }

    /// The workspace of that app, by the end of its name.
    pub(super) fn of(&self, app: &str) -> Result<&Workspace<'a>, Trouble> {
        let name = app.rsplit('-').next();
        let found = self.all.iter().find(|w| Some(w.name) == name);
        found.ok_or_else(|| Trouble::new(format!("{app} is in no workspace of the demo")))
    }

    /// All writes so far, each workspace's oldest first.
    pub(super) async fn writes(&self) -> Result<Vec<Write>, Trouble> {
        let mut all = Vec::new();
        for workspace in &self.all {
            let log = workspace.sim.call("GET", "/sim/requests", None).await?;
            all.extend(written(workspace.name, &log)?);
        }
        Ok(all)
    }

    pub(super) async fn mark(&self) -> Result<Mark, Trouble> {
        let mut mark = BTreeMap::new();
        for write in self.writes().await? {
            *mark.entry(write.workspace).or_default() += 1;
        }
        Ok(Mark(mark))
    }

    /// All writes since.
    pub(super) async fn since(&self, mark: &Mark) -> Result<Vec<Write>, Trouble> {
        let mut known = mark.0.clone();
        let mut writes = self.writes().await?;
        writes.retain(|write| match known.get_mut(write.workspace) {
            Some(known @ 1..) => {
                *known -= 1;
                false
            }
            _ => true,
        });
        Ok(writes)
    }

    /// Fails unless `writes` are as many as each workspace counted itself.
    pub(super) async fn all_counted(&self, writes: &[Write]) -> Result<(), Trouble> {
        for workspace in &self.all {
            let log = workspace.sim.call("GET", "/sim/requests", None).await?;
            let here = writes.iter().filter(|w| w.workspace == workspace.name);
            let (here, counted) = (here.count() as u64, counted(&log));
            if here != counted {
                return Err(Trouble::new(format!(
                    "{} counted {counted} writes, and remembers {here}",
                    workspace.name
                )));
            }
        }
        Ok(())
    }

    /// Lists of apps that each workspace was asked for, the fewest of all.
    pub(super) async fn lists(&self) -> Result<u64, Trouble> {
        let mut fewest = u64::MAX;
        for workspace in &self.all {
            let log = workspace.sim.call("GET", "/sim/requests", None).await?;
            let totals = log["totals"].as_array().into_iter().flatten();
            let lists = totals.filter(|t| t["method"] == "GET" && t["route"] == "/api/2.0/apps");
            fewest = fewest.min(lists.filter_map(|t| t["count"].as_u64()).sum());
        }
        Ok(fewest)
    }
}

impl Workspace<'_> {
    pub(super) async fn exists(&self, app: &str) -> Result<bool, Trouble> {
        let (status, _) = self.get(&format!("/api/2.0/apps/{app}")).await?;
        Ok(status != StatusCode::NOT_FOUND)
    }

    pub(super) async fn app(&self, app: &str) -> Result<Value, Trouble> {
        self.found(&format!("/api/2.0/apps/{app}")).await
    }

    pub(super) async fn found(&self, path: &str) -> Result<Value, Trouble> {
        let (status, body) = self.get(path).await?;
        if status.is_success() {
            Ok(body)
        } else {
            Err(Trouble::new(format!(
                "the fake workspace answers GET {path} with {status}: {body}"
            )))
        }
    }

    async fn get(&self, path: &str) -> Result<(StatusCode, Value), Trouble> {
        let answer = self
            .http
            .get(format!("{}{path}", self.sim.url()))
            .bearer_auth(self.token)
            .send()
            .await?;
        let status = answer.status();
        let text = answer.text().await?;
        Ok((status, serde_json::from_str(&text).unwrap_or(text.into())))
    }
}

fn is_write(method: &str, route: &str) -> bool {
    method != "GET" && !route.starts_with("/oidc/")
}

/// The writes that a workspace remembers. It must remember all: of fewer, nothing could be proven.
fn written(workspace: &'static str, log: &Value) -> Result<Vec<Write>, Trouble> {
    let recent = log["recent"].as_array().map(Vec::as_slice).unwrap_or(&[]);
    if recent.len() >= REMEMBERED {
        return Err(Trouble::new(format!(
            "{workspace} was asked {REMEMBERED} times and more, and has begun to forget"
        )));
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut writes = Vec::new();
    for entry in recent {
        let (method, path) = (text(&entry["method"]), text(&entry["path"]));
        if !is_write(&method, &text(&entry["route"])) {
            continue;
        }
        let at = text(&entry["at"]).parse()?;
        writes.push(Write {
            at,
            workspace,
            app: app_of(&path, &entry["body"]),
            what: format!("{method} {path}"),
        });
    }
    Ok(writes)
}

/// Writes that a workspace counted.
fn counted(log: &Value) -> u64 {
    let totals = log["totals"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    totals
        .filter(|row| is_write(&text(&row["method"]), &text(&row["route"])))
        .filter_map(|row| row["count"].as_u64())
        .sum()
}

/// The app that a request is about: named behind `apps` in its path, or in its body when it is created.
fn app_of(path: &str, body: &Value) -> String {
    let mut parts = path.split('/').skip_while(|part| *part != "apps").skip(1);
    match parts.next() {
        Some(name) => name.to_owned(),
        None => body["name"].as_str().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn entry(method: &str, path: &str, body: Value) -> Value {
        let at = "2026-01-01T00:00:00Z";
        json!({"at": at, "method": method, "path": path, "route": path, "body": body})
    }

    #[test]
    fn a_write_is_about_the_app_in_its_path_or_in_its_body() {
        let log = json!({"recent": [
            entry("GET", "/api/2.0/apps/orders-eu", Value::Null),
            entry("POST", "/oidc/v1/token", Value::Null),
            entry("POST", "/api/2.0/apps", json!({"name": "orders-eu"})),
            entry("POST", "/api/2.0/apps/prices-eu/deployments", json!({})),
            entry("PUT", "/api/2.0/permissions/apps/returns-eu", json!({})),
        ]});
        let writes = written("eu", &log).unwrap();
        let apps: Vec<&str> = writes.iter().map(|write| write.app.as_str()).collect();
        assert_eq!(apps, ["orders-eu", "prices-eu", "returns-eu"]);
    }

    #[test]
    fn reads_and_token_requests_are_no_writes() {
        let log = json!({"totals": [
            {"method": "GET", "route": "/api/2.0/apps", "status": 200, "count": 7},
            {"method": "POST", "route": "/api/2.0/apps", "status": 200, "count": 2},
            {"method": "POST", "route": "/oidc/v1/token", "status": 200, "count": 9},
            {"method": "PUT", "route": "/api/2.0/permissions/apps/{name}", "status": 200, "count": 1},
        ]});
        assert_eq!(counted(&log), 3);
    }

    #[test]
    fn a_log_that_may_lack_its_beginning_proves_nothing() {
        let one = entry("GET", "/api/2.0/apps", Value::Null);
        assert!(written("eu", &json!({"recent": vec![one; 1_000]})).is_err());
    }
}
