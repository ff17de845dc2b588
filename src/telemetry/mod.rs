//! Floor 0: clock, logs, audit and metrics. Imports nothing of ours, so every other module may use it.

pub mod audit;
pub mod clock;
pub mod logs;
pub mod metrics;
pub mod traces;
pub mod watched;

pub use clock::Clock;
pub use metrics::Metrics;
