//! Kubernetes events: on transitions of conditions, and what a kind finds worth telling. Never a secret, never a value.
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tracing::debug;

use crate::api::FIELD_MANAGER;
use crate::api::status::{ConditionType, Reason, cut, find};
use crate::telemetry::Metrics;

/// Longest note the API server takes, in bytes.
const NOTE_LIMIT: usize = 1024;
/// Longest action the API server takes, in bytes.
const ACTION_LIMIT: usize = 128;

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    pub warning: bool,
    pub reason: &'static str,
    /// What was done, and to which fields: events that differ in nothing else are counted as one.
    pub action: String,
    pub message: String,
}

impl Note {
    pub fn normal(
        reason: &'static str,
        action: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            warning: false,
            reason,
            action: action.into(),
            message: message.into(),
        }
    }

    pub fn warning(
        reason: &'static str,
        action: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            warning: true,
            ..Self::normal(reason, action, message)
        }
    }
}

/// States that are told when they begin: the condition with its status and reason, and what the event calls it.
const BEGINNINGS: [(ConditionType, &str, Reason, &str); 2] = [
    (
        ConditionType::Ready,
        "False",
        Reason::HostUnreachable,
        "HostUnreachable",
    ),
    (
        ConditionType::Reconciling,
        "True",
        Reason::InUse,
        "the deletion waits",
    ),
];

/// The events of what changed between two passes: stalled for a reason, a host that is away, a deletion held up by
/// others, ready again.
pub fn transitions(before: &[Condition], after: &[Condition]) -> Vec<Note> {
    let mut notes = Vec::new();
    let active = |conditions: &[Condition], kind| {
        find(conditions, kind)
            .filter(|c| c.status == "True")
            .map(|c| (c.reason.clone(), c.message.clone()))
    };
    let stalled = active(after, ConditionType::Stalled);
    if let Some((reason, message)) = &stalled
        && active(before, ConditionType::Stalled)
            .map(|(r, _)| r)
            .as_ref()
            != Some(reason)
    {
        notes.push(Note::warning(
            "Stalled",
            reason.clone(),
            format!("{reason}: {message}"),
        ));
    }
    for (kind, status, reason, words) in BEGINNINGS {
        let reason = reason.name();
        let message = |conditions: &[Condition]| {
            let found = find(conditions, kind).filter(|c| c.status == status && c.reason == reason);
            found.map(|c| c.message.clone())
        };
        if let Some(message) = message(after).filter(|_| message(before).is_none()) {
            notes.push(Note::warning(reason, reason, format!("{words}: {message}")));
        }
    }
    let ready = |conditions: &[Condition]| {
        active(conditions, ConditionType::Ready).map(|(reason, _)| reason)
    };
    if let Some(reason) = ready(after)
        && ready(before).as_ref() != Some(&reason)
    {
        let message = find(after, ConditionType::Ready).map(|c| c.message.clone());
        notes.push(Note::normal(
            "Ready",
            reason.clone(),
            format!("{reason}: {}", message.unwrap_or_default()),
        ));
    }
    notes
}

/// Publishes events; a lost one is logged, never an error of the pass.
#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
    metrics: Metrics,
}

impl Events {
    /// `instance` tells installations apart.
    pub fn new(client: kube::Client, instance: &str, metrics: Metrics) -> Self {
        let reporter = Reporter {
            controller: FIELD_MANAGER.into(),
            instance: Some(instance.into()),
        };
        Self {
            recorder: Recorder::new(client, reporter),
            metrics,
        }
    }

    pub async fn publish<K>(&self, object: &K, notes: &[Note])
    where
        K: kube::Resource<DynamicType = ()>,
    {
        for note in notes {
            let event = Event {
                type_: if note.warning {
                    EventType::Warning
                } else {
                    EventType::Normal
                },
                reason: note.reason.into(),
                note: Some(cut(&note.message, NOTE_LIMIT)),
                action: cut(&note.action, ACTION_LIMIT),
                secondary: None,
            };
            match self.recorder.publish(&event, &object.object_ref(&())).await {
                Ok(()) => self.metrics.event_published(),
                // In a namespace that is going away no event can be created.
                Err(error) => debug!(%error, "publishing an event"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::status::{Fact, merge};

    fn waits(reason: Reason, message: &str) -> Vec<Condition> {
        let fact = Fact::new(ConditionType::Reconciling, Some(true), reason, message);
        merge(&[], &[fact], &[], 1, jiff::Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_deletion_that_others_hold_up_is_told_once() {
        let moving = waits(Reason::Observing, "");
        let (held, still) = (waits(Reason::InUse, "a, b"), waits(Reason::InUse, "b"));
        for before in [&[][..], &moving] {
            let told = transitions(before, &held);
            let said = Note::warning("InUse", "InUse", "the deletion waits: a, b");
            assert_eq!(told, [said]);
        }
        assert_eq!(transitions(&held, &still), []);
    }
}
