//! Floor 3: what objects act on. A workspace at Databricks, or the cluster itself.

pub mod artifact;
pub mod cluster;
pub mod content;
pub mod databricks;
pub mod files;
pub mod inputs;
pub mod keyed;
pub mod secret;
