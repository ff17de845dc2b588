//! What happens to the parent, and when each part of it is over.

use std::time::{Duration, Instant};

use envtest::large;
use serde_json::{Value, json};

use super::super::Error;
use super::super::stage::{Mark, Stage};
use super::limits::{Row, Writes};
use super::watch::{Parent, is};
use super::{CHILDREN, Case};

/// Wall time after the last change in which nothing more is to be written.
const QUIET: Duration = Duration::from_secs(5);
/// Wall time after which nothing of what came before is still written: the workspace counts its apps once a minute.
const SETTLED: Duration = Duration::from_secs(70);
const TEAMS: &str = "/generators/0/matrix/generators/0/list/elements";
const NAME: &str = "/template/metadata/name";
const GROUP: &str = "/template/spec/permissions/grants/1/principal/group";

pub(super) async fn run(
    stage: &mut Stage,
    mut measured: impl FnMut(Row) -> Result<(), Error>,
) -> Result<(), Error> {
    let parent = Parent::of(stage).await?;
    let all = |status: &Value, key: &str| status["summary"][key] == CHILDREN;
    let spec = large::spec("AllAtOnce", "Stopped");

    let mark = stage.mark().await?;
    parent.apply(&spec).await?;
    let ready = |status: &Value| is(status, "Ready", "True", "Succeeded") && all(status, "ready");
    parent.until("every child is Ready", ready).await?;
    measured(row(stage, &parent, mark, Case::Created).await?)?;

    settle(stage).await?;
    let mut one = spec.clone();
    large::change(&mut one, 1);
    let mark = stage.mark().await?;
    parent.apply(&one).await?;
    parent.until("the changed child is Ready", ready).await?;
    measured(row(stage, &parent, mark, Case::OneChanged).await?)?;
    let description = parent.description().await?;
    if !description.ends_with(", v1") {
        return Err(Error::Wrong {
            what: format!("the child that changed is described as {description:?}"),
        });
    }

    let mark = stage.mark().await?;
    parent
        .apply(&with(&spec, NAME, "{{ tema }}-{{ app }}")?)
        .await?;
    let failed = |status: &Value| is(status, "Generated", "False", "GenerationFailed");
    let status = parent.until("every element is in error", failed).await?;
    expect(&status["summary"]["errors"], CHILDREN, "elements in error")?;
    measured(row(stage, &parent, mark, Case::AllErrors).await?)?;

    let none = with(&spec, TEAMS, json!([]))?;
    let mark = stage.mark().await?;
    parent.apply(&none).await?;
    let waits = |status: &Value| is(status, "Suspended", "True", "PruneWaiting");
    let status = parent.until("their deletion waits", waits).await?;
    expect(&status["prune"]["count"], CHILDREN, "deletions that wait")?;
    measured(row(stage, &parent, mark, Case::PruneWaits).await?)?;

    let mut planned = with(&spec, NAME, "{{ team }}-{{ app }}-next")?;
    planned["mode"] = json!("Plan");
    let mark = stage.mark().await?;
    parent.apply(&planned).await?;
    let shown = |status: &Value| status["preview"]["create"].is_array();
    parent.until("the plan is shown", shown).await?;
    measured(row(stage, &parent, mark, Case::Planned).await?)?;

    // As long as a name may be, so that what is said of each child is long.
    let nobody = format!("nobody-{}", "x".repeat(200));
    let mark = stage.mark().await?;
    parent.apply(&with(&spec, GROUP, nobody)?).await?;
    let stalled = |status: &Value| all(status, "stalled") && all(status, "updated");
    parent.until("every child is Stalled", stalled).await?;
    measured(row(stage, &parent, mark, Case::AllFailing).await?)
}

/// The spec with another value there.
fn with(spec: &Value, pointer: &str, value: impl Into<Value>) -> Result<Value, Error> {
    let mut spec = spec.clone();
    let place = spec.pointer_mut(pointer).ok_or_else(|| Error::Wrong {
        what: format!("the spec has no {pointer}"),
    })?;
    *place = value.into();
    Ok(spec)
}

fn expect(value: &Value, wanted: usize, what: &str) -> Result<(), Error> {
    match *value == wanted {
        true => Ok(()),
        false => Err(Error::Wrong {
            what: format!("{value} {what}, and {wanted} were expected"),
        }),
    }
}

/// Waits until the operator has written nothing for a while.
async fn settle(stage: &mut Stage) -> Result<(), Error> {
    let mark = stage.mark().await?;
    let (mut known, mut since) = (0, Instant::now());
    while since.elapsed() < SETTLED {
        tokio::time::sleep(QUIET).await;
        let now = stage.audited(&mark)?.len();
        if now != known {
            (known, since) = (now, Instant::now());
        }
        if mark.elapsed() > 10 * SETTLED {
            return Err(Error::Wrong {
                what: "the operator goes on writing over a settled fleet".into(),
            });
        }
    }
    Ok(())
}

/// What was written since, once nothing more follows.
async fn row(stage: &mut Stage, parent: &Parent, mark: Mark, case: Case) -> Result<Row, Error> {
    let took = mark.elapsed();
    tokio::time::sleep(QUIET).await;
    let entries = stage.audited(&mark)?;
    let (_, mut cost) = stage.since(mark).await?;
    cost.wall_seconds = took.as_secs_f64();
    let bytes = parent.status().await?.to_string().len();
    Ok(Row::of(case, bytes, Writes::of(&entries), cost))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_the_scenes_change_is_in_the_spec() {
        let spec = large::spec("AllAtOnce", "Stopped");
        for pointer in [TEAMS, NAME, GROUP] {
            assert_ne!(with(&spec, pointer, "else").unwrap(), spec);
        }
        assert!(with(&spec, "/nowhere", "else").is_err());
    }
}
