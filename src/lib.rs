//! A Kubernetes operator for Databricks Apps.
pub mod databricks;
pub mod telemetry;
