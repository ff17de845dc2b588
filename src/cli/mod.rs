//! Floor 6: parses the command line, wires the parts together, starts them.
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;

mod cluster;
mod crds;
mod diff;
mod export;
mod hosts;
mod input;
mod metrics;
mod observing;
mod output;
mod readable;
mod reference;
mod remote;
mod render;
mod role;
mod run;
mod served;
mod validate;

/// Exit code of a command that found something wrong, or failed.
const PROBLEMS: u8 = 1;
/// Exit code of `diff` if there are changes.
const CHANGES: u8 = 2;
/// Exit code of a wrong command line (EX_USAGE): clap's own 2 would read as `diff`'s "there are changes".
const USAGE: u8 = 64;

const EXIT_CODES: &str = "\
Exit codes:
  0   done, and nothing is wrong
  1   something is wrong with what was read, or the command failed
  64  the command line is wrong";

/// Declares, rolls out and repairs Databricks Apps from Git.
#[derive(Debug, Parser)]
#[command(name = "databricks-app-operator", version, about, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const DIFF_EXIT_CODES: &str = "\
Exit codes:
  0   nothing would change
  1   something is refused or wrong with what was read, or the command failed
  2   something would change, now or once what holds it ends
  64  the command line is wrong";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the operator against the cluster that KUBECONFIG or the pod's service account names.
    #[command(after_long_help = "\
Example:
  KUBECONFIG=~/.kube/config databricks-app-operator run --listen 127.0.0.1:8080")]
    Run(Box<run::Options>),
    /// Say what the API server and the operator would refuse, without asking either.
    ///
    /// Judges schema, CEL rules and unknown fields of every kind, the children that an AppOfApps would generate, and their
    /// order. DatabricksWorkspaces and ConfigMaps of the input stand in for what generators read; a generator that finds none
    /// is noted. Rules about a change say nothing of a manifest: a changed immutable field is seen only by the API server.
    #[command(after_long_help = format!("\
Prints FILE:LINE: KIND NAMESPACE/NAME: FIELD: MESSAGE for each problem; with -o json or yaml an object with `findings`,
empty if all is well.

{EXIT_CODES}

Examples:
  databricks-app-operator validate -f apps/
  kustomize build overlays/prod | databricks-app-operator validate -f - -o json"))]
    Validate(validate::Options),
    /// Print the apps that an AppOfApps generates, without a cluster.
    ///
    /// The functions are the operator's own. DatabricksWorkspaces and ConfigMaps of the input stand in for what generators
    /// read; a Workspace that admits namespaces by label needs the Namespace's manifest. An element in error goes to standard
    /// error, the others are printed in the order of the rollout. The owner reference is left out unless the AppOfApps comes
    /// from a cluster and so has a uid.
    #[command(after_long_help = format!("\
Prints YAML documents, each under a comment with step, wave and element; with -o json or yaml one v1 List.

{EXIT_CODES}

Examples:
  databricks-app-operator render -f fleet.yaml
  databricks-app-operator render -f fleet.yaml -f workspaces.yaml
  databricks-app-operator render -f fleet.yaml -o json | jq '.items[].metadata.name'"))]
    Render(render::Options),
    /// Print what `kubectl apply` and then the operator would change, in fleets and in the workspaces, step for step.
    ///
    /// Looks and plans as the operator does, with the status of the objects in the cluster that KUBECONFIG names, and writes
    /// nothing: neither to the cluster nor to a workspace. DatabricksWorkspaces, Secrets and ConfigMaps of the input count as
    /// applied. Of an AppOfApps it shows which children would be added, changed and removed in which step and wave, whether
    /// deletions are within the budget, and where the rollout would first stop. Values of variables are never shown.
    #[command(after_long_help = format!("\
Needs to list DatabricksApps, and to get what the manifests refer to: DatabricksWorkspaces, Secrets, ConfigMaps, Flux sources;
for an AppOfApps also to get it, and to list what its generators read: DatabricksWorkspaces, ConfigMaps, Namespaces.

{DIFF_EXIT_CODES}

Examples:
  databricks-app-operator diff -f apps/
  kustomize build overlays/prod | databricks-app-operator diff -f - -o json"))]
    Diff(diff::Options),
    /// Print existing apps of a workspace as DatabricksApps that adopt them and change nothing.
    ///
    /// Before an app is printed the operator's planner runs over it: one that would not be left just as it is goes to standard
    /// error with the differences. Values of variables cannot be read back and are left out; comments name the variables.
    #[command(after_long_help = format!("\
Prints YAML documents; with -o json or yaml one v1 List, and what was left out on standard error. Needs to get the
DatabricksWorkspace and its Secret, and to list DatabricksApps.

{EXIT_CODES}

Examples:
  databricks-app-operator export --workspace platform/prod > apps.yaml
  databricks-app-operator export --workspace platform/prod sales-dashboard -n sales"))]
    Export(export::Options),
    /// Print the CustomResourceDefinitions, or write one file each into a folder.
    #[command(after_long_help = "\
Example:
  databricks-app-operator crds | kubectl apply --server-side -f -")]
    Crds {
        /// Folder to write into; it must exist. Default: everything to standard output.
        #[arg(long, value_name = "DIR")]
        output_dir: Option<PathBuf>,
    },
    /// Print the roles that the operator needs, and those for people.
    #[command(after_long_help = "\
Examples:
  databricks-app-operator role | kubectl apply -f -
  databricks-app-operator role --format secrets | kubectl -n team apply -f -")]
    Role {
        /// What to print.
        #[arg(long, value_enum, default_value_t)]
        format: role::Format,
    },
    /// Print the documentation of every field and reason, as Markdown.
    #[command(after_long_help = "\
Example:
  databricks-app-operator reference > reference.md")]
    Reference,
    /// Print the documentation of every metric, as Markdown.
    #[command(after_long_help = "\
Example:
  databricks-app-operator metrics > metrics.md")]
    Metrics,
    /// Print a script that completes this command line in a shell.
    #[command(after_long_help = "\
Example:
  source <(databricks-app-operator completions bash)")]
    Completions { shell: Shell },
    /// Print name and version.
    #[command(after_long_help = "\
Example:
  databricks-app-operator version")]
    Version,
}

/// The command line. Hints at the right usage name what is required, and not also what the environment sets.
fn parsed() -> Result<Cli, clap::Error> {
    let command = Cli::command().mut_subcommands(|command| {
        let name = format!("databricks-app-operator {}", command.get_name());
        let usage = command.clone().bin_name(name).render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ").to_owned();
        command.override_usage(usage)
    });
    Cli::from_arg_matches(&command.try_get_matches()?)
}

/// Runs the command line; an error is printed with its causes and gives exit code 1.
pub fn run() -> ExitCode {
    let cli = match parsed() {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody is left to tell if that cannot be written either.
            let _ = error.print();
            return if error.use_stderr() {
                USAGE.into()
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match dispatch(cli.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            PROBLEMS.into()
        }
    }
}

fn dispatch(command: Command) -> Result<ExitCode, Box<dyn std::error::Error>> {
    match command {
        Command::Run(options) => run::run(*options)?,
        Command::Validate(options) => return Ok(validate::run(options)?),
        Command::Export(options) => return Ok(export::run(options)?),
        Command::Diff(options) => return Ok(diff::run(options)?),
        Command::Render(options) => return Ok(render::run(&options)?),
        Command::Crds { output_dir } => crds::run(output_dir.as_deref())?,
        Command::Reference => reference::run(),
        Command::Metrics => metrics::run(),
        Command::Role { format } => role::run(format)?,
        Command::Completions { shell } => {
            let mut command = Cli::command();
            let name = command.get_name().to_owned();
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command, name, &mut script);
            output::write(&script)?;
        }
        Command::Version => {
            println!("databricks-app-operator {}", env!("CARGO_PKG_VERSION"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `1 object`, `2 objects`.
fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// `step 1 of 3, wave 0`, from 1; the wave alone where there is one step.
fn stage_name(step: usize, of: usize, wave: u32) -> String {
    match of {
        1 => format!("wave {wave}"),
        of => format!("step {step} of {of}, wave {wave}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example_in_its_long_help() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_long_help().map(ToString::to_string);
            let example = format!("databricks-app-operator {}", command.get_name());
            assert!(
                help.is_some_and(|help| help.contains("Example") && help.contains(&example)),
                "{} has none",
                command.get_name()
            );
        }
    }

    #[test]
    fn every_shell_gets_a_script_that_knows_the_commands() {
        use clap::ValueEnum;
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            clap_complete::generate(
                *shell,
                &mut Cli::command(),
                "databricks-app-operator",
                &mut script,
            );
            assert!(
                String::from_utf8_lossy(&script).contains("validate"),
                "{shell}"
            );
        }
    }
}
