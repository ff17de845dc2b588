//! A Kubernetes operator for Databricks Apps.
//!
//! The floors, bottom up. A module imports only lower floors, never a sibling.

pub mod api;
pub mod telemetry;
pub mod term;

pub mod admission;
pub mod databricks;
pub mod election;
pub mod fleet;

pub mod engine;

pub mod worlds;

pub mod kinds;

pub mod serve;

pub mod cli;
