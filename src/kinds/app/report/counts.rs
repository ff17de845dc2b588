//! What metrics count of an app. Pure.
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::super::plan::Step;
use super::super::spec::{AppMemory, DatabricksApp, InFlightStep, RecordedDeployment};
use crate::api::status::{ConditionType, Reason, find};
use crate::engine::fold;
use crate::engine::managed::Outcome;
use crate::telemetry::metrics::{AppState, DeploymentResult, ObjectState};

/// How an app of these conditions is.
pub fn state(conditions: &[Condition]) -> AppState {
    match fold::state(conditions) {
        ObjectState::Ready => match find(conditions, ConditionType::Ready) {
            Some(ready) if ready.reason == Reason::Stopped.name() => AppState::Stopped,
            _ => AppState::Running,
        },
        ObjectState::Progressing => AppState::Progressing,
        ObjectState::Retrying => AppState::Retrying,
        ObjectState::Stalled => AppState::Stalled,
        ObjectState::Suspended => AppState::Suspended,
        ObjectState::Unknown => AppState::Unknown,
    }
}

/// What came of our deployments since the last pass: one is counted when its end is first seen. One that was found, with
/// the app that was adopted, is not ours.
pub(super) fn deployed(
    outcome: &Outcome<'_, DatabricksApp>,
    memory: &AppMemory,
) -> Vec<DeploymentResult> {
    let rollbacks = outcome.done.iter().filter(|(step, _)| {
        matches!(
            step,
            Step::Deploy {
                rejected: Some(_),
                ..
            }
        )
    });
    let rollbacks = rollbacks.map(|_| DeploymentResult::RolledBack);
    rollbacks.chain(ended(outcome.memory, memory)).collect()
}

fn ended(before: &AppMemory, after: &AppMemory) -> Option<DeploymentResult> {
    let result = |deployment: &RecordedDeployment| match deployment.state.as_str() {
        "SUCCEEDED" => Some(DeploymentResult::Succeeded),
        "FAILED" | "CANCELLED" => Some(DeploymentResult::Failed),
        _ => None,
    };
    let deployment = after.deployment.as_ref()?;
    let known = before
        .deployment
        .as_ref()
        .filter(|known| known.id == deployment.id);
    let ours = match known {
        Some(known) => result(known).is_none(),
        // Its answer got lost, and it ended before it was seen.
        None => {
            let attempt = before.in_flight.as_ref();
            attempt.is_some_and(|attempt| attempt.step == InFlightStep::Deploy)
        }
    };
    result(deployment).filter(|_| ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(id: &str, state: &str) -> AppMemory {
        AppMemory {
            deployment: Some(RecordedDeployment {
                id: id.into(),
                state: state.into(),
                ..RecordedDeployment::default()
            }),
            ..AppMemory::default()
        }
    }

    #[test]
    fn the_end_of_a_deployment_is_counted_once_and_one_that_was_found_is_not() {
        let (begun, done) = (memory("1", "IN_PROGRESS"), memory("1", "SUCCEEDED"));
        assert_eq!(ended(&begun, &done), Some(DeploymentResult::Succeeded));
        assert_eq!(ended(&done, &done), None);
        let failed = memory("1", "FAILED");
        assert_eq!(ended(&begun, &failed), Some(DeploymentResult::Failed));
        assert_eq!(ended(&AppMemory::default(), &done), None);
        assert_eq!(ended(&begun, &memory("2", "SUCCEEDED")), None);
    }
}
