//! `diff`: what `kubectl apply` followed by the operator would do to the workspaces, step for step: the operator's own look
//! and planner, and nothing written to anybody.
mod candidates;
mod fields;
mod fleet;
mod known;
mod outcome;
mod parents;
pub mod people;
mod predict;

use std::collections::BTreeSet;
use std::process::ExitCode;

use clap::Args;
use futures::{StreamExt, stream};
use kube::ResourceExt;
use serde::Serialize;
use serde_json::Value;

use self::candidates::{Candidate, Candidates, Known};
use self::outcome::Fleet;
use super::hosts::{ArtifactHosts, Hosts};
use super::input::{self, Files, Input};
use super::output::{self, Output};
use super::readable::Readable;
use super::remote::{self, Looked, Remote};
use super::{CHANGES, PROBLEMS, cluster};
use crate::admission::{self, Admission};
use crate::api::management::Mode;
use crate::api::names::ObjectName;
use crate::api::status::Reason;
use crate::databricks::HostPattern;
use crate::engine::fold::Hold;
use crate::engine::managed::{Managed, Trouble};
use crate::engine::plan::{self, Wish};
use crate::engine::reconcile::{hold, misread};
use crate::fleet::Moment;
use crate::kinds::app::Cluster;
use crate::kinds::app::model::{Foreseen, foresee};
use crate::kinds::app::plan::Inputs;
use crate::kinds::app::spec::PendingChange;
use crate::kinds::{self, DatabricksApp};
use crate::telemetry::Clock;
use crate::worlds::keyed::{DigestKey, KEY_SECRET};

/// Apps looked at at a time; the workspace's own limits hold as well.
const AT_ONCE: usize = 8;

/// Options of `diff`.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    output: Output,
    /// Namespace of manifests that name none. Default: KUBECONFIG's.
    #[arg(short = 'n', long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    #[command(flatten)]
    hosts: Hosts,
    #[command(flatten)]
    artifacts: ArtifactHosts,
    /// Namespace that the operator runs in: its key tells whether a Secret's value changed.
    #[arg(
        long,
        env = "DAO_OPERATOR_NAMESPACE",
        default_value = "databricks-app-operator",
        value_name = "NAMESPACE"
    )]
    operator_namespace: String,
}

/// Why nothing could be compared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Admission(#[from] admission::Error),
    #[error(transparent)]
    Remote(#[from] remote::Error),
    #[error(transparent)]
    Output(#[from] output::Error),
    #[error(
        "there is no DatabricksApp and no AppOfApps in what -f names; name a manifest that holds one"
    )]
    Nothing,
}

/// What would become of one object.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    kind: String,
    namespace: String,
    name: String,
    /// `namespace/name` of the DatabricksWorkspace; none for a parent.
    workspace: Option<String>,
    /// In order.
    changes: Vec<PendingChange>,
    refusals: Vec<Why>,
    /// Why the changes would wait.
    held: Option<Why>,
    /// What would become of the children; only of a parent.
    #[serde(skip_serializing_if = "Option::is_none")]
    fleet: Option<Fleet>,
}

impl Entry {
    fn changes_anything(&self) -> bool {
        !self.changes.is_empty() || self.fleet.as_ref().is_some_and(Fleet::changes)
    }
}

/// A reason of the operator's catalogue, and its words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Why {
    reason: &'static str,
    message: String,
}

impl Why {
    fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason: reason.name(),
            message: message.into(),
        }
    }
}

impl From<Trouble> for Why {
    fn from(trouble: Trouble) -> Self {
        Self::new(trouble.reason, trouble.message)
    }
}

impl From<plan::Refusal> for Why {
    fn from(refusal: plan::Refusal) -> Self {
        Self::new(refusal.reason, refusal.message)
    }
}

impl From<Hold> for Why {
    fn from(hold: Hold) -> Self {
        Self::new(hold.reason, hold.message)
    }
}

/// Prints what would change; exit code 2 if anything would, 1 if something is refused or failed.
#[tokio::main]
pub async fn run(options: Options) -> Result<ExitCode, Error> {
    let input = input::read(&options.files);
    for error in &input.errors {
        eprintln!("{error}");
    }
    let used = |o: &Value| cluster::is_overlaid(o) || Readable::is_one(o);
    let unused = input.foreign.iter().filter(|o| !used(o));
    input::note_passed_over(unused.count());
    let (format, entries) = (options.output, compare(options, &input).await?);
    if entries.is_empty() && input.errors.is_empty() {
        return Err(Error::Nothing);
    }
    format.print(&entries, |entries| Ok(people::people(entries)))?;
    Ok(verdict(&entries, !input.errors.is_empty()))
}

fn verdict(entries: &[Entry], failed: bool) -> ExitCode {
    if failed || entries.iter().any(|e| !e.refusals.is_empty()) {
        PROBLEMS.into()
    } else if entries.iter().any(Entry::changes_anything) {
        CHANGES.into()
    } else {
        ExitCode::SUCCESS
    }
}

async fn compare(options: Options, input: &Input) -> Result<Vec<Entry>, Error> {
    let admission = Admission::new(kinds::crds())?;
    let remote = Remote::open(input, options.namespace, options.hosts).await?;
    let live = remote.apps().await?;
    let (readable, faults) = Readable::of(input, &remote.namespace);
    for fault in &faults {
        eprintln!("{fault}");
    }
    let parents = candidates::declared(input, &remote.namespace);
    let clock = Clock::real();
    let known = Known {
        apps: &live,
        parents: &known::parents(&remote, parents, readable).await?,
        now: Moment {
            at: clock.now(),
            clock,
            looking_since: None,
        },
    };
    let Candidates { entries, notes } =
        candidates::candidates(&admission, input, &remote.namespace, &known);
    for note in &notes {
        eprintln!("{note}");
    }
    let apps: Vec<DatabricksApp> = entries.iter().filter_map(|e| e.app.clone()).collect();
    let cluster = cluster_of(
        &remote,
        &apps,
        &options.operator_namespace,
        options.artifacts.artifact_hosts,
    );
    // So that each knows who else claims its name.
    let applied = candidates::over(&live, apps.iter().cloned());
    let looked = remote
        .look(&workspaces(&apps), &applied, cluster.await)
        .await?;
    let looks = stream::iter(entries).map(|candidate| look(&looked, candidate));
    Ok(looks.buffered(AT_ONCE).collect().await)
}

fn workspaces(apps: &[DatabricksApp]) -> BTreeSet<ObjectName> {
    let resolve = |app: &DatabricksApp| {
        let namespace = app.namespace().unwrap_or_default();
        app.spec.workspace_ref.resolve(&namespace)
    };
    apps.iter().map(resolve).collect()
}

/// What apps read in the cluster; the key for digests is only looked for where a Secret is used.
async fn cluster_of(
    remote: &Remote,
    apps: &[DatabricksApp],
    operator: &str,
    artifact_hosts: Vec<HostPattern>,
) -> Cluster {
    let cluster = Cluster::new(remote.kube.clone(), operator.to_owned(), artifact_hosts);
    if !apps.iter().any(candidates::uses_secrets) {
        return cluster;
    }
    let missing = match DigestKey::find(&remote.kube, operator).await {
        Ok(Some(key)) => return cluster.with_digest_key(key),
        Ok(None) => format!("Secret {operator}/{KEY_SECRET} does not exist"),
        Err(error) => error.to_string(),
    };
    eprintln!(
        "{missing}: a value from a Secret counts as changed unless the Secret was not written since the operator read it"
    );
    cluster.with_digest_key(DigestKey::passing())
}

async fn look(looked: &Looked, candidate: Candidate) -> Entry {
    let mut entry = candidate.entry;
    let Some(app) = candidate.app else {
        return entry;
    };
    // Neither suspension nor pause holds up a deletion.
    let hold = hold(&app).filter(|_| app.metadata.deletion_timestamp.is_none());
    entry.held = entry.held.or(hold.map(Why::from));
    if let Some(trouble) = misread(&app) {
        entry.refusals.push(trouble.into());
        return entry;
    }
    match foreseen(looked, &app, &mut entry.held).await {
        Ok(foreseen) => {
            entry.changes = foreseen.changes;
            entry.refusals = foreseen.refusals.into_iter().map(Why::from).collect();
        }
        Err(trouble) => entry.refusals.push(trouble.into()),
    }
    entry
}

async fn foreseen(
    looked: &Looked,
    app: &DatabricksApp,
    held: &mut Option<Why>,
) -> Result<Foreseen, Trouble> {
    let namespace = app.namespace().unwrap_or_default();
    let workspace = app.spec.workspace_ref.resolve(&namespace);
    let wish = match app.metadata.deletion_timestamp {
        Some(_) => Wish::Deleting,
        None => Wish::Live,
    };
    let world = app.open(&looked.shared, wish).await?;
    if let Some(problem) = looked.unreachable.get(&workspace) {
        let mut problem = problem.clone();
        problem.message = format!("DatabricksWorkspace {workspace}: {}", problem.message);
        return Err(problem);
    }
    if held.is_none() {
        *held = DatabricksApp::frozen(&world)
            .map(Why::from)
            .or(read_only(app));
    }
    let memory = candidates::memory(app);
    let seen = app.look(&memory, &world, wish).await?;
    let clock = Clock::real();
    let inputs = Inputs {
        seen: &seen,
        memory: &memory,
        at: clock.now(),
        scale: clock.scale(),
        wish,
    };
    Ok(foresee(app, &inputs))
}

/// Why nothing is ever written for the object, if its mode says so.
fn read_only(app: &DatabricksApp) -> Option<Why> {
    let mode = app.mode();
    let message = format!("management.mode {mode:?}: nothing is written");
    (mode != Mode::Manage).then(|| Why::new(Reason::ReadOnly, message))
}

#[cfg(test)]
mod fleet_tests;
#[cfg(test)]
mod tests;
