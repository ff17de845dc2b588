//! Floor 6: parses the command line, wires the parts together, starts them.
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod crds;

/// Declares, rolls out and repairs Databricks Apps from Git.
#[derive(Debug, Parser)]
#[command(name = "databricks-app-operator", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the CustomResourceDefinitions, or write one file each into a folder.
    Crds {
        /// Folder to write into; it must exist. Default: everything to standard output.
        #[arg(long, value_name = "DIR")]
        output_dir: Option<PathBuf>,
    },
    /// Print name and version.
    Version,
}

/// Runs the command line; an error is printed with its causes and gives exit code 1.
pub fn run() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Crds { output_dir } => crds::run(output_dir.as_deref()),
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
