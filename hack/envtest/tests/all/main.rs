//! Tests against a real API server, one module a subject.
#![allow(clippy::unwrap_used)]

mod cluster;
mod installation;
