//! `databricks-sim`: the fake workspace as a process.
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use databricks_sim::{Config, Simulator, guide};
use tokio::signal::unix::{SignalKind, signal};

/// A fake Databricks workspace for tests: Apps and the APIs around them, with faults and a clock of its own.
///
/// Prints `listening on http://127.0.0.1:PORT` once it answers; ends on SIGTERM or Ctrl-C. `--help` has examples, and describes
/// controls, faults and the seed.
#[derive(Debug, Parser)]
#[command(version, after_long_help = guide())]
struct Args {
    /// Loopback address and port; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8787", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// A personal access token and the e-mail address of its user; may be repeated
    #[arg(long, value_name = "TOKEN=USER", num_args = 1..)]
    pat: Vec<String>,
    /// A service principal's client id (its application id) and secret; may be repeated
    #[arg(long, value_name = "ID:SECRET", num_args = 1..)]
    oauth_client: Vec<String>,
    /// Service time runs so many times faster than the wall clock
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    time_scale: u32,
    /// Every source path exists; without it, one exists once it was uploaded or seeded
    #[arg(long)]
    any_source: bool,
    /// Quota of apps
    #[arg(long, default_value_t = 100, value_name = "N")]
    max_apps: usize,
    /// Largest page of any list
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = at_least_one)]
    page_size: usize,
    /// YAML with what the workspace knows from the start
    #[arg(long, value_name = "FILE")]
    seed: Option<PathBuf>,
    /// Append each request to this file as a line of JSON
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

/// Not a parser of clap's: its errors show the value, and this one holds a secret.
fn pairs(
    values: &[String],
    separator: char,
    expected: &'static str,
) -> Result<Vec<(String, String)>, String> {
    values
        .iter()
        .map(|value| match value.split_once(separator) {
            Some((first, second)) if !first.is_empty() && !second.is_empty() => {
                Ok((first.to_owned(), second.to_owned()))
            }
            _ => Err(format!("expected {expected}")),
        })
        .collect()
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("expected a number, 1 or more".into()),
        Ok(number) => Ok(number),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    match run(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("databricks-sim: {}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<(), Box<dyn std::error::Error>> {
    // Listened to before the line below is printed: whoever reads it may stop us at once.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let sim = Simulator::start(Config {
        listen: args.listen,
        pats: pairs(&args.pat, '=', "--pat TOKEN=USER")?,
        oauth_clients: pairs(&args.oauth_client, ':', "--oauth-client ID:SECRET")?,
        time_scale: args.time_scale,
        any_source: args.any_source,
        max_apps: args.max_apps,
        page_size: args.page_size,
        seed: args.seed,
        log: args.log,
    })
    .await?;
    println!("listening on {}", sim.url());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    sim.stop().await;
    Ok(())
}

/// An error with everything that caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
