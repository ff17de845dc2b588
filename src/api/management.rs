//! How the operator treats the remote object: what it takes over and what it leaves behind.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether the operator writes.
///
/// `Manage` (default): what differs is put right. `Plan`: nothing is written; `status.pendingChanges` shows what would
/// change. `Observe`: nothing is written; the conditions show what differs. Neither of the two holds up a deletion or
/// touches the remote app then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    #[default]
    Manage,
    Plan,
    Observe,
}

/// Whether an existing app of the same name may be taken over.
///
/// `Never` (default): only an app that this object created. `IfUnowned`: an existing app that no other DatabricksApp
/// claims. `Always`: also one that replaced ours under the same name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Adopt {
    #[default]
    Never,
    IfUnowned,
    Always,
}

/// What happens to the remote app when its object is deleted.
///
/// `Delete` (default): the app is deleted and the object waits until it is gone. `Orphan`: the app stays as it is.
/// `Stop`: the app is stopped, not deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Deletion {
    #[default]
    Delete,
    Orphan,
    Stop,
}

/// Whether an app runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RunState {
    Running,
    Stopped,
}
