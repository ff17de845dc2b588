//! A workspace at Databricks, shared by every object that refers to it.
//!
//! ```text
//! DatabricksWorkspace ─► Hub ─► Connection ─► Client (token, limiter, breaker)
//!                                   │
//!                                   ├─ heartbeat: credentials and identity, each interval
//!                                   └─ Board<R> ─ observer: one list an interval ─► Snapshot<R> ─► wakes what changed
//! ```

mod board;
mod connection;
mod fate;
pub mod folder;
mod hub;
pub mod namespaces;
mod secrets;
mod snapshot;
mod thin;

pub use board::{Board, Row};
pub use connection::{Connection, Identity};
pub use fate::trouble;
pub use hub::{Admitting, Hub, HubSettings, Opened, WORKSPACE, admits, freeze};
pub use namespaces::Namespaces;
pub use snapshot::{Look, Snapshot, Source};
