//! DatabricksApp: one app in one workspace.
//!
//! ```text
//! spec ─┐
//!       ├─► plan ──► steps, wait, refusals
//! remote┘   (pure)
//! ```

pub mod digest;
pub mod plan;
pub mod spec;
pub mod wire;

#[cfg(test)]
mod tests;
