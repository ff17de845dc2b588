//! The commands behind `make demo`, `make playground`, `make bench` and `make controlplane`.

mod commands;

use std::process::ExitCode;

fn main() -> ExitCode {
    commands::run()
}
