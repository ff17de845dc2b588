//! Floor 2: the loop that every kind shares; it compiles without knowing Databricks.
//!
//! ```text
//! watch ─► index ─► queue ─► pass: open ─► gate ─► observe ─► plan ─► act ─► report ─► fold ─► one status patch
//!            ▲                                                                            │
//!            └── whatever an object refers to wakes it                  events, metrics ◄─┘
//! ```

pub mod controller;
pub mod events;
pub mod fold;
pub mod grace;
pub mod index;
pub mod managed;
pub mod plan;
pub mod reconcile;
pub mod store;
pub mod synced;
pub mod watching;
