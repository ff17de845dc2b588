//! One test binary; a module a behaviour.
#![allow(clippy::unwrap_used)]
mod architecture;
