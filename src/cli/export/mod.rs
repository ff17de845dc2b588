//! `export`: existing apps of a workspace as manifests that adopt them and change nothing, each proven by the operator's own
//! look and planner before it is printed.
mod manifest;

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use futures::{StreamExt, stream};
use kube::ResourceExt;
use serde_json::{Value, json};

use super::hosts::Hosts;
use super::input::Input;
use super::output::{self, Output};
use super::remote::{self, Looked, Remote};
use super::{PROBLEMS, count, diff};
use crate::admission::{self, Admission};
use crate::api::management;
use crate::api::names::{ObjectName, WorkspaceRef};
use crate::api::status::Reason;
use crate::engine::index::Key;
use crate::engine::managed::{Managed, Trouble};
use crate::engine::plan::Wish;
use crate::engine::reconcile::name_of;
use crate::kinds::app::export::{Destination, Exported, export};
use crate::kinds::app::model::{Foreseen, foresee};
use crate::kinds::app::plan::Inputs;
use crate::kinds::app::spec::{AppMemory, DatabricksAppSpec};
use crate::kinds::app::wire::RemoteApp;
use crate::kinds::app::{Cluster, World};
use crate::kinds::{self, DatabricksApp};
use crate::telemetry::Clock;
use crate::worlds::databricks::{Board, WORKSPACE};

/// Apps read at a time; the workspace's own limits hold as well.
const AT_ONCE: usize = 8;

/// Options of `export`.
#[derive(Debug, Args)]
pub struct Options {
    /// Apps to export, by their names in the workspace. Default: all that no DatabricksApp of the cluster manages.
    #[arg(value_name = "APP")]
    apps: Vec<String>,
    /// The DatabricksWorkspace to read. Namespace by default: KUBECONFIG's.
    #[arg(long, value_name = "[NAMESPACE/]NAME", value_parser = workspace_name)]
    workspace: WorkspaceRef,
    /// Namespace of the manifests. Default: the DatabricksWorkspace's.
    #[arg(short = 'n', long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// What `management.adopt` says in the manifests.
    #[arg(long, value_enum, default_value_t)]
    adopt: Adopt,
    /// Also export apps that a DatabricksApp of the cluster manages already, e.g. to move them to another cluster.
    #[arg(long)]
    include_managed: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    hosts: Hosts,
}

/// Without one of the two nothing would be adopted.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Adopt {
    /// An existing app that no other DatabricksApp claims.
    #[default]
    #[value(name = "IfUnowned")]
    IfUnowned,
    /// Also one that replaced ours under the same name.
    #[value(name = "Always")]
    Always,
}

impl From<Adopt> for management::Adopt {
    fn from(adopt: Adopt) -> Self {
        match adopt {
            Adopt::IfUnowned => Self::IfUnowned,
            Adopt::Always => Self::Always,
        }
    }
}

/// Why nothing could be exported.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Admission(#[from] admission::Error),
    #[error(transparent)]
    Remote(#[from] remote::Error),
    #[error(transparent)]
    Output(#[from] output::Error),
    #[error("--workspace: there is no DatabricksWorkspace {0}; name another one as NAMESPACE/NAME")]
    NoWorkspace(ObjectName),
    #[error("--workspace: DatabricksWorkspace {name}: {message}")]
    Unreachable { name: ObjectName, message: String },
}

fn workspace_name(text: &str) -> Result<WorkspaceRef, String> {
    let (namespace, name) = match text.split_once('/') {
        Some((namespace, name)) => (Some(namespace.to_owned()), name),
        None => (None, text),
    };
    if name.is_empty() || name.contains('/') || namespace.as_deref() == Some("") {
        return Err("write it as NAME or NAMESPACE/NAME".into());
    }
    Ok(WorkspaceRef {
        name: name.into(),
        namespace,
    })
}

/// Prints the manifests; exit code 1 if an app that was asked for could not be exported as it is.
#[tokio::main]
pub async fn run(options: Options) -> Result<ExitCode, Error> {
    let admission = Admission::new(kinds::crds())?;
    let remote = Remote::open(&Input::default(), None, options.hosts.clone()).await?;
    let name = options.workspace.resolve(&remote.namespace);
    let Some(workspace) = remote.workspace(&name).await? else {
        return Err(Error::NoWorkspace(name));
    };
    let live = remote.apps().await?;
    let cluster = Cluster::new(remote.kube.clone(), String::new(), Vec::new());
    // No other object is known to the proof, or each managed app would belong to the object that manages it.
    let looked = remote.look(&[name.clone()].into(), &[], cluster).await?;
    let unreachable = |trouble: Trouble| Error::Unreachable {
        name: name.clone(),
        message: trouble.message,
    };
    if let Some(trouble) = looked.unreachable.get(&name) {
        return Err(unreachable(trouble.clone()));
    }
    let connection = looked.shared.hub.connection(&workspace).await;
    let connection = connection.map_err(unreachable)?;
    let namespace = options.namespace.clone();
    let namespace = namespace.unwrap_or_else(|| name.namespace.clone());
    let identity = connection.identity().unwrap_or_default();
    let own = Key::new(WORKSPACE, name.clone());
    let index = &looked.shared.hub.index;
    let managers = managers(&live, &index.twins(&own, identity.workspace_id.as_deref()));
    let chosen = choose(&options, &connection.board(), &managers);
    let destination = Destination {
        workspace: WorkspaceRef {
            name: name.name.clone(),
            namespace: None,
        },
        adopt: options.adopt.into(),
        identity: identity.user_name,
    };
    let places = places(&chosen, &namespace, &live);
    let (looked, admission, workspace, destination) = (&looked, &admission, &name, &destination);
    let reading = chosen.apps.iter().zip(places).map(|((app, _), place)| {
        let mut to = destination.clone();
        to.workspace.namespace =
            (place.namespace != workspace.namespace).then(|| workspace.namespace.clone());
        one(looked, admission, app, place, to)
    });
    let read: Vec<(String, Outcome)> = stream::iter(reading).buffered(AT_ONCE).collect().await;
    print(&options, chosen.problems, read)
}

/// The objects that declare apps of the workspace by one of the DatabricksWorkspaces, by the apps' names.
fn managers(live: &[DatabricksApp], workspaces: &BTreeSet<Key>) -> BTreeMap<String, ObjectName> {
    let declare = live.iter().filter(|app| {
        let namespace = app.namespace().unwrap_or_default();
        let workspace = app.spec.workspace_ref.resolve(&namespace);
        workspaces.contains(&Key::new(WORKSPACE, workspace))
    });
    declare
        .map(|app| (app.remote_name().to_owned(), name_of(app)))
        .collect()
}

/// Which apps are exported, and how many of those asked for can't be.
struct Chosen {
    /// Names in the workspace, each with the object that manages it.
    apps: Vec<(String, Option<ObjectName>)>,
    problems: usize,
}

fn choose(
    options: &Options,
    board: &Board<RemoteApp>,
    managers: &BTreeMap<String, ObjectName>,
) -> Chosen {
    let rows: BTreeMap<String, bool> = board
        .rows(|row| (row.name.clone(), row.compute_state == "DELETING"))
        .into_iter()
        .collect();
    let mut chosen = Chosen {
        apps: Vec::new(),
        problems: 0,
    };
    let named: BTreeSet<&String> = options.apps.iter().collect();
    for name in &named {
        let problem = match rows.get(*name) {
            None => "there is no such app in the workspace",
            Some(true) => "it is being deleted",
            Some(false) => continue,
        };
        eprintln!("{name}: {problem}");
        chosen.problems += 1;
    }
    let (mut managed, mut leaving) = (0, 0);
    for (name, deleting) in rows {
        let manager = managers.get(&name);
        match named.contains(&name) {
            false if !named.is_empty() => {}
            _ if deleting => leaving += 1,
            false if manager.is_some() && !options.include_managed => managed += 1,
            _ => chosen.apps.push((name, manager.cloned())),
        }
    }
    if managed > 0 {
        let managed = count(managed, "app", "apps");
        eprintln!("passed over: {managed} that DatabricksApps of this cluster manage");
    }
    if leaving > 0 && named.is_empty() {
        let leaving = count(leaving, "app", "apps");
        eprintln!("passed over: {leaving} being deleted");
    }
    chosen
}

/// The object of each app: the one that manages it, or else a name that is free.
fn places(chosen: &Chosen, namespace: &str, live: &[DatabricksApp]) -> Vec<ObjectName> {
    let mut taken: BTreeSet<ObjectName> = live.iter().map(name_of).collect();
    let place = |(app, manager): &(String, Option<ObjectName>)| match manager {
        Some(manager) => manager.clone(),
        None => {
            let free = |name: &String| !taken.contains(&ObjectName::new(namespace, name));
            let place = ObjectName::new(namespace, manifest::object_name(app, free));
            taken.insert(place.clone());
            place
        }
    };
    chosen.apps.iter().map(place).collect()
}

/// What became of one app.
enum Outcome {
    Exported {
        object: Value,
        omissions: Vec<String>,
        /// What is wrong with the app itself, whoever manages it.
        troubles: Vec<String>,
    },
    /// It would not be left as it is, or could not be read.
    Not(Vec<String>),
}

async fn one(
    looked: &Looked,
    admission: &Admission,
    name: &str,
    place: ObjectName,
    to: Destination,
) -> (String, Outcome) {
    let outcome = match read(looked, name, &place, &to).await {
        Ok(Some((exported, world))) => prove(admission, exported, &place, &world).await,
        Ok(None) => Ok(Outcome::Not(vec!["the app is gone".into()])),
        Err(trouble) => Err(trouble),
    };
    let outcome = outcome.unwrap_or_else(|trouble| {
        Outcome::Not(vec![format!("{}: {}", trouble.reason, trouble.message)])
    });
    (name.to_owned(), outcome)
}

/// Reads the app and its grants, through the eyes of an object that declares nothing but its name.
async fn read(
    looked: &Looked,
    name: &str,
    place: &ObjectName,
    to: &Destination,
) -> Result<Option<(Exported, World)>, Trouble> {
    let bare = export(&json!({ "name": name }), None, to).spec;
    let world = object(place, bare).open(&looked.shared, Wish::Live).await?;
    let Some(body) = world.read(name).await? else {
        return Ok(None);
    };
    let grants = match world.grants(name).await {
        Ok(grants) => Some(grants),
        Err(trouble) if trouble.reason == Reason::PermissionDenied => None,
        Err(trouble) => return Err(trouble),
    };
    let mut exported = export(&body, grants.as_ref(), to);
    exported.spec.name = exported.spec.name.filter(|remote| *remote != place.name);
    Ok(Some((exported, world)))
}

/// The object as it would be after an apply.
fn object(place: &ObjectName, spec: DatabricksAppSpec) -> DatabricksApp {
    let mut app = DatabricksApp::new(&place.name, spec);
    app.metadata.namespace = Some(place.namespace.clone());
    app.metadata.uid = Some(format!("new {place}"));
    app
}

/// Whether the API server takes the object, and the operator then leaves the app as it is.
async fn prove(
    admission: &Admission,
    exported: Exported,
    place: &ObjectName,
    world: &World,
) -> Result<Outcome, Trouble> {
    let manifest = manifest::manifest(place, &exported.spec);
    let mut problems: Vec<String> = admission
        .judge(&manifest)
        .into_iter()
        .map(|o| format!("{}: {}", o.field, o.message))
        .collect();
    let app = object(place, exported.spec);
    let memory = AppMemory::default();
    let seen = app.look(&memory, world, Wish::Live).await?;
    let clock = Clock::real();
    let inputs = Inputs {
        seen: &seen,
        memory: &memory,
        at: clock.now(),
        scale: clock.scale(),
        wish: Wish::Live,
    };
    let Foreseen { changes, refusals } = foresee(&app, &inputs);
    problems.extend(diff::people::rows(&changes));
    let mut troubles = Vec::new();
    for refusal in refusals {
        let said = format!("{}: {}", refusal.reason, refusal.message);
        match refusal.reason {
            Reason::AppCrashed | Reason::ComputeFailed => troubles.push(said),
            _ => problems.push(said),
        }
    }
    Ok(match problems.is_empty() {
        true => Outcome::Exported {
            object: manifest,
            omissions: exported.omissions,
            troubles,
        },
        false => Outcome::Not(problems),
    })
}

fn print(
    options: &Options,
    mut problems: usize,
    read: Vec<(String, Outcome)>,
) -> Result<ExitCode, Error> {
    let people = options.output.format == output::Format::People;
    let (mut objects, mut documents) = (Vec::new(), String::new());
    for (name, outcome) in read {
        match outcome {
            Outcome::Exported {
                object,
                omissions,
                troubles,
            } => {
                for trouble in troubles {
                    eprintln!("{name}: {trouble}");
                }
                if !people {
                    for omission in &omissions {
                        eprintln!("{name}: left out {omission}");
                    }
                }
                documents += &manifest::document(&object, &omissions)?;
                objects.push(object);
            }
            Outcome::Not(said) => {
                problems += 1;
                eprintln!("{name}: not exported, as its manifest would not leave it as it is:");
                for line in said {
                    eprintln!("  {}", line.trim_end());
                }
            }
        }
    }
    let list = output::list(&objects);
    options.output.print(&list, |_| Ok(documents))?;
    Ok(if problems == 0 {
        ExitCode::SUCCESS
    } else {
        PROBLEMS.into()
    })
}
