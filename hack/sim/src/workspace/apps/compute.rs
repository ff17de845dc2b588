//! Compute of an app: its state, and the transition that is under way.
use crate::clock::ServiceTime;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ComputeState {
    Starting,
    Active,
    Updating,
    Stopping,
    Stopped,
    Error,
    Deleting,
}

impl ComputeState {
    pub fn wire(self) -> &'static str {
        match self {
            Self::Starting => "STARTING",
            Self::Active => "ACTIVE",
            Self::Updating => "UPDATING",
            Self::Stopping => "STOPPING",
            Self::Stopped => "STOPPED",
            Self::Error => "ERROR",
            Self::Deleting => "DELETING",
        }
    }

    pub fn read(text: &str) -> Option<Self> {
        [
            Self::Starting,
            Self::Active,
            Self::Updating,
            Self::Stopping,
            Self::Stopped,
            Self::Error,
            Self::Deleting,
        ]
        .into_iter()
        .find(|state| state.wire() == text)
    }

    /// Only from here may an app be deleted.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Active | Self::Stopped | Self::Error)
    }
}

#[derive(Clone, Debug)]
pub struct Compute {
    pub state: ComputeState,
    pub message: String,
    /// When it came into this state.
    pub since: ServiceTime,
    pub next: Option<Next>,
}

#[derive(Clone, Debug)]
pub struct Next {
    pub due: ServiceTime,
    pub state: ComputeState,
    pub message: String,
}

impl Compute {
    /// In a state for good.
    pub fn at(state: ComputeState, message: &str, since: ServiceTime) -> Self {
        Self {
            state,
            message: message.to_owned(),
            since,
            next: None,
        }
    }

    /// The same, on its way to another state.
    pub fn then(mut self, due: ServiceTime, state: ComputeState, message: &str) -> Self {
        self.next = Some(Next {
            due,
            state,
            message: message.to_owned(),
        });
        self
    }
}
