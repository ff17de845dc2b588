//! Parse, dispatch, exit code.
use std::process::ExitCode;

fn main() -> ExitCode {
    databricks_app_operator::cli::run()
}
