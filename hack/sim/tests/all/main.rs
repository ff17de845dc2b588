//! The fake workspace over real HTTP, one file for each side of it. Time is advanced, never waited for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod apps;
mod authentication;
mod binary;
mod controls;
mod deployments;
mod faults;
mod files;
mod harness;
mod lifecycle;
mod lists;
mod objects;
mod permissions;
mod resources;
mod spaces;
mod unknown_updates;
mod unknowns;
mod unsettled_lists;
mod updates;
