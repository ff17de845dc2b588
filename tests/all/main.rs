//! One binary of integration tests: a module a behaviour. Rings 2 and 3 live here; ring 1 lies beside the code it tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod architecture;
mod bad_input;
mod command_line;
mod crash;
mod deletion;
mod diff;
mod digest_key;
mod drift;
mod export;
mod failing;
mod fields;
mod fleets;
mod flux_artifact;
mod generators;
mod gitops;
mod in_process;
mod killed_operator;
mod lost_answers;
mod modes;
mod offline_verdicts;
mod one_app;
mod outages;
mod rollouts;
mod samples;
mod secrets;
mod sources;
mod strangers;
mod support;
mod thin_lists;
mod unknowns;
