//! `bench`: what the operator costs, in calls to the workspace, time, memory and writes to Kubernetes.
//!
//! ```text
//!  plan ──► Run ──► Stage (an environment of its own) ──► scenarios ──► Row ──► table, report.json
//!                     fleet: manifests and seed              limits: how many calls a row may have
//!
//!  parent: one AppOfApps of 5,000 children, first without I/O (benches/fleet.rs), then on a stage of its own
//! ```

mod fleet;
mod limits;
mod parent;
mod plan;
mod report;
mod scenarios;
mod stage;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use envtest::{ClusterError, EnvironmentError, ProgramError};

use super::Failure;
use plan::{Run, Scenario, Variant};
use report::Report;
use stage::Stage;

/// What is measured, and where it is written to.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Numbers of apps, one run after another. Default: 1, 20, 100 and 2000.
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = number)]
    apps: Vec<usize>,
    /// What happens to them; may be repeated. Default: everything, and of more than 100 apps what takes no minutes.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    scenario: Vec<Scenario>,
    /// How the workspace answers; may be repeated. Default: as usual, and with 100 apps in every way.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    variant: Vec<Variant>,
    /// Only one parent of 5,000 children; it is measured after the others, too, unless these options name some.
    #[arg(long, conflicts_with_all = ["apps", "scenario", "variant"])]
    fleet: bool,
    /// Where the report goes, as JSON.
    #[arg(long, value_name = "FILE", default_value_os_t = envtest::repository().join("target/bench/report.json"))]
    report: PathBuf,
    /// Keeps the operator's log, at level debug, and every request in this folder, to see where calls come from.
    #[arg(long, value_name = "FOLDER")]
    trace: Option<PathBuf>,
}

fn number(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=9_999) => Ok(number),
        _ => Err("expected a number from 1 to 9999".into()),
    }
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error("asking the API server")]
    Kubernetes(#[source] Box<kube::Error>),
    #[error("reading the API server's audit log")]
    Audit(#[source] io::Error),
    #[error("asking the fake workspace as a stranger: {path}")]
    Stranger {
        path: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("reading the operator's metrics")]
    Metrics(#[source] reqwest::Error),
    #[error("nothing moves, and it is not so that {what}\n{about}")]
    Late { what: String, about: String },
    #[error("what was measured is not what should have happened: {what}")]
    Wrong { what: String },
    #[error("starting {command}")]
    Cargo {
        command: String,
        #[source]
        source: io::Error,
    },
    #[error("writing {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        Self::Kubernetes(Box::new(error))
    }
}

/// Measures; fails when a limit was broken.
pub(super) async fn run(options: Options) -> Result<(), Failure> {
    tokio::select! {
        ended = measure(options) => ended,
        _ = tokio::signal::ctrl_c() => Err("interrupted; nothing is left running".into()),
    }
}

async fn measure(options: Options) -> Result<(), Failure> {
    let start = Instant::now();
    let named = [
        options.apps.is_empty(),
        options.scenario.is_empty(),
        options.variant.is_empty(),
    ];
    let with_parent = options.fleet || named == [true; 3];
    let (runs, left_out) = match (options.fleet, options.apps.as_slice()) {
        (true, _) => (Vec::new(), Vec::new()),
        (false, []) => plan::runs(&plan::SIZES, &options.scenario, &options.variant),
        (false, sizes) => plan::runs(sizes, &options.scenario, &options.variant),
    };
    if runs.is_empty() && !with_parent {
        return Err("nothing to measure: these scenarios and variants exclude each other".into());
    }
    if let Some(folder) = &options.trace {
        make(folder)?;
    }
    let mut report = Report {
        operator_build: envtest::operator_build()?,
        rows: Vec::new(),
        parent: Vec::new(),
        left_out,
    };
    let mut broken = Vec::new();
    if !runs.is_empty() {
        apps(&options, runs, &mut report).await?;
    }
    if with_parent {
        broken.extend(without_io().await?);
        parent(&options, &mut report).await?;
    }
    for line in &report.left_out {
        println!("left out: {line}");
    }
    println!(
        "{} rows in {:.0} s; {}",
        report.rows.len() + report.parent.len(),
        start.elapsed().as_secs_f32(),
        options.report.display()
    );
    broken.extend(report.broken());
    match broken.is_empty() {
        true => Ok(()),
        false => Err(format!("limits were broken:\n  {}", broken.join("\n  ")).into()),
    }
}

async fn apps(options: &Options, runs: Vec<Run>, report: &mut Report) -> Result<(), Error> {
    println!(
        "{} runs with a {} build of the operator; each starts an environment of its own\n\n{}",
        runs.len(),
        report.operator_build,
        report::head()
    );
    for run in runs {
        let mut stage = Stage::start(run, options.trace.as_deref()).await?;
        scenarios::run(&mut stage, |row| {
            println!("{}", row.line());
            report.rows.push(row);
            write(&options.report, report)
        })
        .await?;
        stage.end().await;
    }
    println!("\nCALLS, LIMIT: to the workspace, tokens and discovery apart; MIN: service time;");
    println!(
        "MiB: resident, at the end; WRITES: to Kubernetes. Below each row its requests by route."
    );
    Ok(())
}

/// The times of a parent's pure part, as the operator's own benchmark prints them; a sentence if one is over its goal.
async fn without_io() -> Result<Option<String>, Error> {
    const ARGUMENTS: [&str; 4] = ["bench", "--locked", "--bench", "fleet"];
    println!(
        "\na parent of 5,000 children, without I/O: cargo {}",
        ARGUMENTS.join(" ")
    );
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = tokio::process::Command::new(cargo);
    command
        .args(ARGUMENTS)
        .current_dir(envtest::repository())
        .kill_on_drop(true);
    let status = command.status().await.map_err(|source| Error::Cargo {
        command: format!("cargo {}", ARGUMENTS.join(" ")),
        source,
    })?;
    Ok((!status.success()).then(|| format!("cargo {}: {status}", ARGUMENTS.join(" "))))
}

async fn parent(options: &Options, report: &mut Report) -> Result<(), Error> {
    println!(
        "\na parent of {} children on an API server, with a {} build of the operator\n\n{}",
        parent::CHILDREN,
        report.operator_build,
        parent::Row::head()
    );
    parent::run(options.trace.as_deref(), |row| {
        println!("{}", row.line());
        report.parent.push(row);
        write(&options.report, report)
    })
    .await?;
    println!(
        "\nCHILDREN, STATUS, CHILD ST, EVENTS, OTHERS: the operator's writes to Kubernetes, by its audit log;"
    );
    println!("STATUS KiB: of the parent, as JSON; MiB: resident, at the end.");
    Ok(())
}

fn write(path: &Path, report: &Report) -> Result<(), Error> {
    let failed = |source| Error::Write {
        path: path.to_owned(),
        source,
    };
    if let Some(folder) = path.parent() {
        make(folder)?;
    }
    let text = serde_json::to_string_pretty(report).map_err(|e| failed(e.into()))?;
    fs::write(path, text + "\n").map_err(failed)
}

fn make(folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(|source| Error::Write {
        path: folder.to_owned(),
        source,
    })
}
