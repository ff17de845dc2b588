//! Floor 2: the loop that every kind shares; it compiles without knowing Databricks.

pub mod fold;
pub mod plan;
