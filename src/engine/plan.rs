//! What a pure planner says: steps that are legal now, what it waits for, what it refuses.
use std::time::Duration;

use jiff::Timestamp;

use crate::api::status::Reason;

/// A failing object is looked at again this often at the most, in service time, if nothing about it changes.
pub const SLOW: Duration = Duration::from_secs(30 * 60);

/// What one pass should do. All empty means settled.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan<S> {
    /// Remote writes that are legal now, in order. What becomes legal later waits for the next pass.
    pub steps: Vec<S>,
    /// A remote transition that has to end first. A worker never blocks on it.
    pub wait: Option<Wait>,
    /// What cannot be done, and why. A refusal of one aspect leaves the steps of the others in place.
    pub refusals: Vec<Refusal>,
    /// When to plan again although nothing changed.
    pub wake_at: Option<Timestamp>,
}

impl<S> Default for Plan<S> {
    fn default() -> Self {
        Self {
            steps: Vec::new(),
            wait: None,
            refusals: Vec::new(),
            wake_at: None,
        }
    }
}

impl<S> Plan<S> {
    /// Nothing to do, nothing awaited, nothing refused.
    pub fn is_settled(&self) -> bool {
        self.steps.is_empty() && self.wait.is_none() && self.refusals.is_empty()
    }

    /// A plan of one step alone.
    pub fn step(step: S) -> Self {
        Self {
            steps: vec![step],
            ..Self::default()
        }
    }

    /// A plan that only waits.
    pub fn wait(reason: Reason, message: impl Into<String>, poll: Duration) -> Self {
        Self {
            wait: Some(Wait {
                reason,
                message: message.into(),
                poll,
            }),
            ..Self::default()
        }
    }

    /// A plan that only refuses.
    pub fn refuse(refusal: Refusal) -> Self {
        Self {
            refusals: vec![refusal],
            ..Self::default()
        }
    }
}

/// A remote transition that has to end first.
#[derive(Clone, Debug, PartialEq)]
pub struct Wait {
    pub reason: Reason,
    pub message: String,
    /// Service time until the next look, if nothing wakes the object before.
    pub poll: Duration,
}

/// Something that cannot be done as asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    pub reason: Reason,
    /// Names the field, the value and the way out.
    pub message: String,
    pub fate: Fate,
}

/// What becomes of a failure. Durations are service time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Try again with growing pauses.
    Retry,
    /// Try again after this long.
    After(Duration),
    /// Something referred to does not exist. Things applied together arrive in any order, so it only counts as stalled
    /// once the grace is over; looked at again every `recheck`.
    Missing { recheck: Duration },
    /// Needs a change: of the spec, policy or credentials (no recheck), or of the remote (looked at again then).
    Stalled { recheck: Option<Duration> },
}

/// One aspect of the remote side.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen<T> {
    Looked(T),
    /// Keeps its condition and plans nothing.
    NotLooked,
}

impl<T> Seen<T> {
    /// The value, if there was a look.
    pub fn looked(&self) -> Option<&T> {
        match self {
            Self::Looked(value) => Some(value),
            Self::NotLooked => None,
        }
    }
}

/// What the object's own existence asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    Live,
    Deleting,
}
