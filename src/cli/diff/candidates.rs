//! The objects that would be there once the input is applied: the spec of the file, the rest of the cluster. Pure.
use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use kube::api::ObjectMeta;
use serde_json::Value;

use super::known::KnownParent;
use super::parents::{self, Wish};
use super::{Entry, Why};
use crate::admission::{Admission, Field};
use crate::api::annotation;
use crate::api::app_of_apps::AppOfApps;
use crate::api::names::ObjectName;
use crate::api::status::Reason;
use crate::cli::cluster;
use crate::cli::input::{Input, Manifest};
use crate::cli::remote::placed;
use crate::cli::render;
use crate::engine::reconcile::name_of;
use crate::fleet::Moment;
use crate::kinds::DatabricksApp;
use crate::kinds::app::APP;
use crate::kinds::app::spec::AppMemory;
use crate::worlds::databricks::WORKSPACE;

/// The kind of a parent.
const PARENT: &str = "AppOfApps";
/// Where `kubectl apply` keeps what it applied last.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// An object of the input, or a child that a parent of the input generates.
#[derive(Debug)]
pub struct Candidate {
    pub entry: Entry,
    /// As it would be; `None`: nothing to look at.
    pub app: Option<DatabricksApp>,
}

/// Everything that the input leads to.
#[derive(Debug, Default)]
pub struct Candidates {
    /// In the order of the input, children after their parent.
    pub entries: Vec<Candidate>,
    /// What could not be told, for people.
    pub notes: Vec<String>,
}

/// What the cluster holds.
pub struct Known<'a> {
    pub apps: &'a [DatabricksApp],
    /// Of each parent of the input that can be read.
    pub parents: &'a BTreeMap<ObjectName, KnownParent>,
    pub now: Moment,
}

/// The parents of the input that can be read.
pub fn declared(input: &Input, namespace: &str) -> Vec<AppOfApps> {
    let manifests = input.manifests.iter().filter(|m| m.kind == PARENT);
    manifests
        .filter_map(|m| render::parse(&placed(&m.object, namespace)).ok())
        .collect()
}

/// Reads the input. Of an object that is there twice the last counts, as `kubectl apply` leaves it.
pub fn candidates(
    admission: &Admission,
    input: &Input,
    namespace: &str,
    known: &Known<'_>,
) -> Candidates {
    let live = known.apps.iter().map(|app| (name_of(app), app)).collect();
    let mut reader = Reader {
        admission,
        known,
        live,
        existing: Vec::new(),
        all: input.foreign.iter().any(cluster::is_overlaid)
            || input.manifests.iter().any(|m| m.kind == WORKSPACE),
    };
    let place = |manifest: &Manifest| placed(&manifest.object, namespace);
    let manifests = input.manifests.iter();
    let apps = manifests.map(|m| (m.kind == APP).then(|| reader.app(m, &place(m))));
    let apps: Vec<Option<Candidate>> = apps.collect();
    // A parent sees what the same apply makes beside it.
    let declared = apps.iter().flatten().filter_map(|c| c.app.clone());
    reader.existing = over(known.apps, declared);
    let mut found = Candidates::default();
    for (manifest, app) in input.manifests.iter().zip(apps) {
        match manifest.kind.as_str() {
            _ if app.is_some() => found.entries.extend(app),
            PARENT => reader.parent(manifest, &place(manifest), &mut found),
            _ => found
                .entries
                .extend(reader.other(manifest, &place(manifest))),
        }
    }
    let mut seen = BTreeSet::new();
    found.entries.reverse();
    found.entries.retain(|candidate| {
        let entry = &candidate.entry;
        seen.insert((
            entry.kind.clone(),
            entry.namespace.clone(),
            entry.name.clone(),
        ))
    });
    found.entries.reverse();
    found
}

/// The cluster's apps once these are applied.
pub fn over(
    live: &[DatabricksApp],
    apps: impl Iterator<Item = DatabricksApp>,
) -> Vec<DatabricksApp> {
    let all = live.iter().cloned().chain(apps);
    let by_name: BTreeMap<ObjectName, DatabricksApp> =
        all.map(|app| (name_of(&app), app)).collect();
    by_name.into_values().collect()
}

struct Reader<'a> {
    admission: &'a Admission,
    known: &'a Known<'a>,
    live: BTreeMap<ObjectName, &'a DatabricksApp>,
    /// Once the apps of the input are applied.
    existing: Vec<DatabricksApp>,
    /// Children are looked at also without a change: what they refer to may be another.
    all: bool,
}

impl Reader<'_> {
    fn app(&self, manifest: &Manifest, object: &Value) -> Candidate {
        let refusals = self.objections(manifest, object);
        self.candidate(object, refusals)
    }

    /// What the API server would refuse of an object that has no remote side of its own.
    fn other(&self, manifest: &Manifest, object: &Value) -> Option<Candidate> {
        let refusals = self.objections(manifest, object);
        (!refusals.is_empty()).then(|| Candidate {
            entry: Entry {
                refusals,
                ..entry(object)
            },
            app: None,
        })
    }

    fn objections(&self, manifest: &Manifest, object: &Value) -> Vec<Why> {
        let objections = self.admission.judge(object).into_iter();
        let said = objections.map(|objection| {
            let place = manifest.place(&objection.field);
            let message = format!("{place}: {}: {}", objection.field, objection.message);
            Why::new(Reason::InvalidSpec, message)
        });
        said.collect()
    }

    fn candidate(&self, object: &Value, refusals: Vec<Why>) -> Candidate {
        let mut candidate = Candidate {
            entry: Entry {
                refusals,
                ..entry(object)
            },
            app: None,
        };
        if !candidate.entry.refusals.is_empty() {
            return candidate;
        }
        match serde_path_to_error::deserialize::<_, DatabricksApp>(object) {
            Ok(app) => {
                let live = self.live.get(&name_of(&app)).copied();
                let namespace = app.namespace().unwrap_or_default();
                let workspace = app.spec.workspace_ref.resolve(&namespace);
                candidate.entry.workspace = Some(workspace.to_string());
                candidate.app = Some(applied(app, live));
            }
            Err(error) => candidate.entry.refusals.push(Why::new(
                Reason::InvalidSpec,
                format!("{}: {}", error.path(), error.inner()),
            )),
        }
        candidate
    }

    fn parent(&self, manifest: &Manifest, object: &Value, found: &mut Candidates) {
        let mut refusals = self.objections(manifest, object);
        let parsed = render::parse(object);
        if let (Err(error), true) = (&parsed, refusals.is_empty()) {
            let field = Field::default().below(error.path());
            let place = manifest.place(&field);
            let message = format!("{place}: {field}: {}", error.inner());
            refusals.push(Why::new(Reason::InvalidSpec, message));
        }
        let mut own = Candidate {
            entry: Entry {
                refusals,
                ..entry(object)
            },
            app: None,
        };
        let (true, Ok(mut parent)) = (own.entry.refusals.is_empty(), parsed) else {
            found.entries.push(own);
            return;
        };
        let nothing = KnownParent::default();
        let known = self.known.parents.get(&name_of(&parent));
        let known = known.unwrap_or(&nothing);
        let live = known.live.as_ref();
        parent.metadata = metadata(&parent, live.map(|live| &live.metadata));
        let held = parents::held(&parent);
        let followed = parents::follow(
            self.admission,
            &Wish {
                manifest,
                parent: &parent,
                known,
                existing: &self.existing,
                now: self.known.now,
            },
        );
        own.entry.held.clone_from(&held);
        own.entry.refusals = followed.refusals;
        own.entry.fleet = Some(followed.fleet);
        found.notes.extend(followed.notes);
        found.entries.push(own);
        let coming = followed.coming.into_iter();
        for coming in coming.filter(|c| c.changes || self.all) {
            let mut candidate = self.candidate(&coming.object, Vec::new());
            if let Some(why) = &held {
                candidate.entry.held = Some(why.clone());
            }
            found.entries.push(candidate);
        }
    }
}

fn entry(object: &Value) -> Entry {
    Entry {
        kind: text(&object["kind"]),
        namespace: text(&object["metadata"]["namespace"]),
        name: text(&object["metadata"]["name"]),
        ..Entry::default()
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The object that an apply leaves: identity and status of the one that is there, spec, labels and annotations of the file.
fn applied(mut app: DatabricksApp, live: Option<&DatabricksApp>) -> DatabricksApp {
    app.metadata = metadata(&app, live.map(|live| &live.metadata));
    app.status = live.and_then(|live| live.status.clone());
    app
}

/// The metadata that an apply leaves. An object that is new is the youngest there is, so that it takes no name away from
/// anybody.
fn metadata(object: &impl ResourceExt, live: Option<&ObjectMeta>) -> ObjectMeta {
    let Some(live) = live else {
        let namespace = object.namespace().unwrap_or_default();
        let name = ObjectName::new(namespace, object.name_any());
        return ObjectMeta {
            uid: Some(format!("new {name}")),
            creation_timestamp: Some(Time(jiff::Timestamp::now())),
            ..object.meta().clone()
        };
    };
    let mut annotations = live.annotations.clone().unwrap_or_default();
    let mut labels = live.labels.clone().unwrap_or_default();
    let last: Value = annotations
        .remove(LAST_APPLIED)
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    for (part, kept) in [("annotations", &mut annotations), ("labels", &mut labels)] {
        let before = last["metadata"][part].as_object();
        for key in before.into_iter().flat_map(|members| members.keys()) {
            kept.remove(key);
        }
    }
    annotations.extend(object.annotations().clone());
    labels.extend(object.labels().clone());
    ObjectMeta {
        annotations: Some(annotations),
        labels: Some(labels),
        ..live.clone()
    }
}

/// What the operator remembers of the object. One that it never saw carries its annotations as handled, as in the first
/// pass.
pub fn memory(app: &DatabricksApp) -> AppMemory {
    match app.status.as_ref().filter(|s| s.observed_generation >= 0) {
        Some(status) => status.memory.clone(),
        None => {
            let carried = |key: &str| app.annotations().get(key).cloned();
            AppMemory {
                last_handled_reconcile_at: carried(annotation::RECONCILE_REQUESTED_AT),
                last_handled_redeploy_at: carried(annotation::REDEPLOY_REQUESTED_AT),
                last_handled_restart_at: carried(annotation::RESTART_REQUESTED_AT),
                ..AppMemory::default()
            }
        }
    }
}

/// Whether anything of the app comes from a Secret.
pub fn uses_secrets(app: &DatabricksApp) -> bool {
    let git = app.spec.source.as_ref().and_then(|s| s.git.as_ref());
    let env = app.env().into_iter().flatten();
    let from = env.filter_map(|e| e.value_from.as_ref());
    git.is_some_and(|g| g.credential_secret_ref.is_some())
        || from.into_iter().any(|f| f.secret_key_ref.is_some())
}
