//! Floor 6: parses the command line, wires the parts together, starts them.
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod crds;
mod role;
mod run;

/// Declares, rolls out and repairs Databricks Apps from Git.
#[derive(Debug, Parser)]
#[command(name = "databricks-app-operator", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the operator against the cluster that KUBECONFIG or the pod's service account names.
    Run(run::Options),
    /// Print the CustomResourceDefinitions, or write one file each into a folder.
    Crds {
        /// Folder to write into; it must exist. Default: everything to standard output.
        #[arg(long, value_name = "DIR")]
        output_dir: Option<PathBuf>,
    },
    /// Print the ClusterRole that the operator needs.
    Role,
    /// Print name and version.
    Version,
}

/// Runs the command line; an error is printed with its causes and gives exit code 1.
pub fn run() -> ExitCode {
    let result: Result<(), Box<dyn std::error::Error>> = match Cli::parse().command {
        Command::Run(options) => run::run(options).map_err(Into::into),
        Command::Crds { output_dir } => crds::run(output_dir.as_deref()).map_err(Into::into),
        Command::Role => role::run().map_err(Into::into),
        Command::Version => {
            println!("databricks-app-operator {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
