//! Parses the command line and runs one command.

mod bench;
mod demo;
mod playground;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use envtest::{Binaries, Build};

/// Service time in the demo and in the playground: a minute of the platform's takes a second.
const TIME_SCALE: u32 = 60;

/// A real Kubernetes API server, a fake Databricks workspace and the operator, on this machine and without containers.
#[derive(Debug, Parser)]
#[command(name = "envtest", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Find or build the Kubernetes control plane, and print where it is.
    ///
    /// Looks in KUBEBUILDER_ASSETS, then for a build made earlier, else builds hack/controlplane with Go, which takes
    /// about 5 minutes once a machine.
    Controlplane,
    /// Find or build helm, and print where it is.
    ///
    /// Looks in DAO_HELM_BIN, then for a Helm 3 in PATH, then for a build made earlier, else builds the version that
    /// hack/helm pins with Go, which takes about a minute.
    Helm,
    /// Find or build the judgement of Argo CD and Flux, and print where it is.
    ///
    /// Looks for a build made earlier, else builds hack/gitops with Go, which takes about 2 minutes.
    Gitops,
    /// Start an environment to try things in, and leave it running.
    #[command(subcommand)]
    Playground(Playground),
    /// Watch a fleet of three teams' apps in two workspaces, and end everything.
    ///
    /// It comes up with its canary first; three changes behind the operator's back are repaired; a commit fails on the
    /// canary and is rolled back, while the operator is killed and started again; a revert writes nothing; a fix rolls
    /// out; a team leaves, and its apps go once that is confirmed. What is claimed is checked by the requests that the
    /// fake workspaces got. Exits with 0 when all of it happened; else says what did not, prints that object and its
    /// events, and exits with 1.
    Demo,
    /// Count what the operator costs, and print it as a table.
    ///
    /// Fleets of several sizes come up in environments of their own; they are left alone, changed, drift, and an
    /// operator starts over them. Each row gives calls to the workspace by route and how many are allowed, wall and CPU
    /// seconds, resident memory and writes to Kubernetes. Exits with 1 when a limit is broken. docs/performance.md tells
    /// how to read it.
    Bench(bench::Options),
}

#[derive(Debug, Subcommand)]
enum Playground {
    /// Start the control plane, a fake workspace and the operator in the background; prints how to use them.
    ///
    /// The fake workspace takes any source path and knows the group `users` and the SQL warehouse `wh-1`; a minute of
    /// its time takes a second. Namespace `default` holds the DatabricksWorkspace `playground`, which every namespace
    /// may use. FOLDER/env holds the shell variables KUBECONFIG, SIM_URL, SIM_TOKEN, OPERATOR_URL, OPERATOR_PID and OPERATOR_LOG, and
    /// finds the command line.
    /// An operator that ends is started again. Does nothing when a playground is already running.
    Up(Place),
    /// End the playground and every process of it.
    Down(Place),
    /// What `up` leaves running.
    #[command(hide = true)]
    Serve(Place),
}

#[derive(Debug, clap::Args)]
struct Place {
    /// Where the playground's files lie.
    #[arg(long, value_name = "FOLDER", default_value_os_t = default_place())]
    folder: PathBuf,
}

fn default_place() -> PathBuf {
    envtest::repository().join(".playground")
}

/// What went wrong, ready to be printed.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Runs what the command line says; a failure is printed with its causes and gives exit code 1.
pub fn run() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Controlplane => controlplane(),
        Command::Helm => helm(),
        Command::Gitops => gitops(),
        Command::Demo => asynchronously(demo::run(TIME_SCALE)),
        Command::Bench(options) => asynchronously(bench::run(options)),
        Command::Playground(Playground::Up(place)) => asynchronously(playground::up(&place.folder)),
        Command::Playground(Playground::Down(place)) => {
            asynchronously(playground::down(&place.folder))
        }
        Command::Playground(Playground::Serve(place)) => {
            asynchronously(playground::serve(&place.folder, TIME_SCALE))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {}", with_causes(&*failure));
            ExitCode::FAILURE
        }
    }
}

fn controlplane() -> Result<(), Failure> {
    println!("{}", Binaries::find(Build::IfMissing)?);
    Ok(())
}

fn helm() -> Result<(), Failure> {
    println!("{}", envtest::helm(Build::IfMissing)?.display());
    Ok(())
}

fn gitops() -> Result<(), Failure> {
    let gitops = envtest::Gitops::find(Build::IfMissing)?;
    println!("{}", gitops.program().display());
    Ok(())
}

fn asynchronously(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(work)
}

fn with_causes(failure: &dyn std::error::Error) -> String {
    let mut text = failure.to_string();
    let mut cause = failure.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // A transparent layer repeats what it holds.
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_failure_names_each_cause_once() {
        let source = std::io::Error::other("disk full");
        let error = envtest::ClusterError::Files {
            action: "write",
            path: "/x".into(),
            source,
        };
        assert_eq!(with_causes(&error), "cannot write /x: disk full");
        let wrapped = envtest::EnvironmentError::from(error);
        assert_eq!(with_causes(&wrapped), "cannot write /x: disk full");
    }
}
