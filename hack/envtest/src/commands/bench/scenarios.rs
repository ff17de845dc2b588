//! What happens in one run, and when each part of it is over.

use std::time::Duration;

use envtest::STRANGER;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};

use super::Error;
use super::fleet::{self, Declared, WAREHOUSE};
use super::plan::{Fleet, Scenario};
use super::report::Row;
use super::stage::{AT_ONCE, Mark, Stage};

/// Service time in which nothing changes.
const QUIET: Duration = Duration::from_secs(600);
const APP_ACL: &str = "/api/2.0/permissions/apps/{name}";
const OBJECT_ACL: &str = "/api/2.0/permissions/{object_type}/{id}";
const LIST: &str = "/api/2.0/apps";

/// All of a run, in an order in which none disturbs the next: permissions are looked at ten minutes after they were
/// written, so the change of one app comes before that.
pub(super) async fn run(
    stage: &mut Stage,
    mut measured: impl FnMut(Row) -> Result<(), Error>,
) -> Result<(), Error> {
    let scenarios = stage.run.scenarios.clone();
    let created = create(stage).await?;
    if scenarios.contains(&created.scenario) {
        measured(created)?;
    }
    for scenario in scenarios {
        let row = match scenario {
            Scenario::Create | Scenario::TakenName => continue,
            Scenario::Description => description(stage).await?,
            Scenario::Quiet | Scenario::WatchedFolders | Scenario::GuardedGrants => {
                quiet(stage, scenario).await?
            }
            Scenario::AclDrift => acl_drift(stage).await?,
            Scenario::StrippedGrants => stripped_grants(stage).await?,
            Scenario::Look => look(stage, scenario).await?,
            Scenario::LookWithoutAcls => {
                let without = |app| Declared {
                    permissions: false,
                    ..app
                };
                stage.apply_all(without).await?;
                stage.ready(stage.run.apps).await?;
                look(stage, scenario).await?
            }
        };
        measured(row)?;
    }
    Ok(())
}

async fn create(stage: &mut Stage) -> Result<Row, Error> {
    let (scenario, ready) = match stage.run.fleet {
        Fleet::TakenName => (Scenario::TakenName, stage.run.apps - 1),
        Fleet::Plain | Fleet::Watched | Fleet::Guarded | Fleet::Parent => {
            (Scenario::Create, stage.run.apps)
        }
    };
    let mark = stage.mark().await?;
    stage.apply_all(|app| app).await?;
    stage.ready(ready).await?;
    if scenario == Scenario::TakenName {
        stage.stalled(&fleet::name(0)).await?;
    }
    row(stage, scenario, stage.run.time_scale(), mark).await
}

async fn description(stage: &mut Stage) -> Result<Row, Error> {
    let n = stage.run.apps / 2;
    let changed = Declared {
        description: "changed",
        ..Declared::new(n, stage.run.fleet)
    };
    let mark = stage.mark().await?;
    stage.apply([changed].into_iter()).await?;
    stage.ready(stage.run.apps).await?;
    let row = row(stage, Scenario::Description, stage.run.time_scale(), mark).await?;
    let path = format!("{LIST}/{}", fleet::name(n));
    let app = stage.as_stranger(reqwest::Method::GET, &path, None).await?;
    if app["description"] != "changed" {
        return Err(Error::Wrong {
            what: format!("{} is Ready and its description is not", fleet::name(n)),
        });
    }
    Ok(row)
}

async fn quiet(stage: &mut Stage, scenario: Scenario) -> Result<Row, Error> {
    let mark = stage.mark().await?;
    tokio::time::sleep(QUIET / stage.run.time_scale()).await;
    row(stage, scenario, stage.run.time_scale(), mark).await
}

async fn acl_drift(stage: &mut Stage) -> Result<Row, Error> {
    let mark = stage.mark().await?;
    let drifted = json!({"access_control_list": [
        {"user_name": envtest::IDENTITY, "permission_level": "CAN_MANAGE"},
        {"group_name": "users", "permission_level": "CAN_USE"},
        {"user_name": STRANGER, "permission_level": "CAN_MANAGE"},
    ]});
    for n in 0..stage.run.apps {
        let path = format!("/sim/permissions/{}", fleet::name(n));
        stage.sim("PUT", &path, drifted.clone()).await?;
    }
    written(stage, "PUT", APP_ACL, stage.run.apps).await?;
    let row = row(stage, Scenario::AclDrift, stage.run.time_scale(), mark).await?;
    for n in 0..stage.run.apps {
        let path = format!("/api/2.0/permissions/apps/{}", fleet::name(n));
        let acl = stage.as_stranger(reqwest::Method::GET, &path, None).await?;
        if grants(&acl).any(|entry| entry["user_name"] == STRANGER) {
            return Err(Error::Wrong {
                what: format!("the stranger's grant on {} is still there", fleet::name(n)),
            });
        }
    }
    Ok(row)
}

/// Another tool replaces the lists of the warehouse and of each job by its own.
async fn stripped_grants(stage: &mut Stage) -> Result<Row, Error> {
    let jobs = (0..stage.run.apps).map(|n| format!("jobs/{}", fleet::job(n)));
    let objects: Vec<String> = jobs.chain([format!("warehouses/{WAREHOUSE}")]).collect();
    let only = json!({"access_control_list": [
        {"user_name": STRANGER, "permission_level": "IS_OWNER"},
    ]});
    let mark = stage.mark().await?;
    let (acting, put) = (&*stage, &reqwest::Method::PUT);
    stream::iter(&objects)
        .map(|object| {
            let (path, only) = (format!("/api/2.0/permissions/{object}"), only.clone());
            async move { acting.as_stranger(put.clone(), &path, Some(only)).await }
        })
        .buffer_unordered(AT_ONCE)
        .try_for_each(|_| std::future::ready(Ok(())))
        .await?;
    let restored = 2 * stage.run.apps;
    written(stage, "PATCH", OBJECT_ACL, restored).await?;
    let (mut requests, cost) = stage.since(mark).await?;
    // Those were the stranger's.
    requests.retain(|r| r.method != "PUT" || r.route != OBJECT_ACL);
    let scale = stage.run.time_scale();
    let row = Row::of(&stage.run, Scenario::StrippedGrants, scale, requests, cost);
    let mut held = 0;
    for object in &objects {
        let path = format!("/api/2.0/permissions/{object}");
        let acl = stage.as_stranger(reqwest::Method::GET, &path, None).await?;
        held += grants(&acl)
            .filter(|entry| entry["service_principal_name"].is_string())
            .count();
    }
    if held != restored {
        return Err(Error::Wrong {
            what: format!("{held} of {restored} grants of service principals are back"),
        });
    }
    Ok(row)
}

fn grants(acl: &Value) -> impl Iterator<Item = &Value> {
    acl["access_control_list"].as_array().into_iter().flatten()
}

/// Its time runs as the wall clock's, so that what a look asks for is not mixed with what the next minute asks for.
async fn look(stage: &mut Stage, scenario: Scenario) -> Result<Row, Error> {
    const SCALE: u32 = 1;
    stage.stop_operator().await;
    let mark = stage.mark().await?;
    stage.environment.replace_operator(SCALE).await?;
    let apps = stage.run.apps;
    let acls = if scenario == Scenario::Look { apps } else { 0 };
    let what = "every app was looked at";
    stage
        .until(what, async || {
            let settled = stage.settled_passes().await?;
            let read = stage.accepted("GET", APP_ACL).await?;
            let listed = stage.accepted("GET", LIST).await?;
            let complete = settled >= apps && read >= acls as u64 && listed > 0;
            Ok(if complete { Ok(()) } else { Err(settled) })
        })
        .await?;
    row(stage, scenario, SCALE, mark).await
}

/// Waits until so many of these requests were accepted.
async fn written(stage: &Stage, method: &str, route: &str, wanted: usize) -> Result<(), Error> {
    let what = format!("{wanted} grants are repaired");
    stage
        .until(&what, async || {
            let count = stage.accepted(method, route).await?;
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            Ok(if count >= wanted { Ok(()) } else { Err(count) })
        })
        .await
}

async fn row(
    stage: &mut Stage,
    scenario: Scenario,
    time_scale: u32,
    mark: Mark,
) -> Result<Row, Error> {
    let (requests, cost) = stage.since(mark).await?;
    Ok(Row::of(&stage.run, scenario, time_scale, requests, cost))
}
