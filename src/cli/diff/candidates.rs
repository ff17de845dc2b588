//! The objects that would be there once the input is applied: the spec of the file, the rest of the cluster. Pure.
use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use serde_json::Value;

use super::{Entry, Why};
use crate::admission::{Admission, Field};
use crate::api::app_of_apps::AppOfApps;
use crate::api::names::ObjectName;
use crate::api::status::Reason;
use crate::api::{annotation, label};
use crate::cli::input::{Input, Manifest};
use crate::cli::remote::placed;
use crate::cli::render;
use crate::engine::reconcile::{hold, name_of};
use crate::kinds::DatabricksApp;
use crate::kinds::app::APP;
use crate::kinds::app::spec::AppMemory;

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
    /// Parents that generate something.
    pub parents: Vec<ObjectName>,
}

/// Reads the input. Of an object that is there twice the last counts, as `kubectl apply` leaves it.
pub fn candidates(
    admission: &Admission,
    input: &Input,
    namespace: &str,
    live: &[DatabricksApp],
) -> Candidates {
    let known: BTreeMap<ObjectName, &DatabricksApp> =
        live.iter().map(|app| (name_of(app), app)).collect();
    let reader = Reader { admission, known };
    let mut found = Candidates::default();
    for manifest in &input.manifests {
        let object = placed(&manifest.object, namespace);
        match manifest.kind.as_str() {
            APP => found.entries.push(reader.app(manifest, &object)),
            PARENT => reader.parent(manifest, &object, &mut found),
            _ => found.entries.extend(reader.other(manifest, &object)),
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

struct Reader<'a> {
    admission: &'a Admission,
    known: BTreeMap<ObjectName, &'a DatabricksApp>,
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
                let live = self.known.get(&name_of(&app)).copied();
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
        let (true, Ok(parent)) = (own.entry.refusals.is_empty(), parsed) else {
            found.entries.push(own);
            return;
        };
        let rendered = render::render(&parent);
        for error in &rendered.errors {
            let place = manifest.place(&Field::new("spec").join(&error.element));
            let message = format!("{place}: spec.{error}");
            own.entry
                .refusals
                .push(Why::new(Reason::GenerationFailed, message));
        }
        own.entry.held = hold(&parent).map(Why::from);
        let held = own.entry.held.clone();
        found.parents.push(name_of(&parent));
        found.entries.push(own);
        for child in rendered.children {
            let mut candidate = self.child(&parent, &child.object);
            if let Some(why) = &held {
                candidate.entry.held = Some(why.clone());
            }
            found.entries.push(candidate);
        }
    }

    fn child(&self, parent: &AppOfApps, object: &Value) -> Candidate {
        let objections = self.admission.judge(object).into_iter();
        let mut refusals: Vec<Why> = objections
            .map(|o| Why::new(Reason::ChildRefused, format!("{}: {}", o.field, o.message)))
            .collect();
        let parent = name_of(parent);
        let name = ObjectName::new(&parent.namespace, text(&object["metadata"]["name"]));
        let live = self.known.get(&name);
        if live.is_some_and(|live| owner(live).as_ref() != Some(&parent)) {
            let message = format!(
                "exists and was not made by AppOfApps {parent}; rename the child or delete what exists"
            );
            refusals.push(Why::new(Reason::ForeignChild, message));
        }
        self.candidate(object, refusals)
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

/// The AppOfApps that controls the object.
fn owner(app: &DatabricksApp) -> Option<ObjectName> {
    let mut owners = app.owner_references().iter();
    let owner = owners.find(|o| o.controller == Some(true) && o.kind == PARENT)?;
    Some(ObjectName::new(
        app.namespace().unwrap_or_default(),
        &owner.name,
    ))
}

/// The object that an apply leaves: identity and status of the one that is there, spec and annotations of the file.
fn applied(mut app: DatabricksApp, live: Option<&DatabricksApp>) -> DatabricksApp {
    let Some(live) = live else {
        // The youngest there is, so that it takes no name away from anybody.
        app.metadata.uid = Some(format!("new {}", name_of(&app)));
        app.metadata.creation_timestamp = Some(Time(jiff::Timestamp::now()));
        app.status = None;
        return app;
    };
    let mut annotations = live.annotations().clone();
    let last: Value = annotations
        .remove(LAST_APPLIED)
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    for key in last["metadata"]["annotations"]
        .as_object()
        .into_iter()
        .flat_map(|a| a.keys())
    {
        annotations.remove(key);
    }
    annotations.extend(app.annotations().clone());
    app.metadata = kube::api::ObjectMeta {
        annotations: Some(annotations),
        ..live.metadata.clone()
    };
    app.status.clone_from(&live.status);
    app
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

/// Children in the cluster that a parent of the input does not generate any more, by parent.
pub fn leaving(
    parents: &[ObjectName],
    entries: &[Candidate],
    live: &[DatabricksApp],
) -> BTreeMap<ObjectName, Vec<String>> {
    let asked: BTreeSet<(&str, &str)> = entries
        .iter()
        .filter(|c| c.entry.kind == APP)
        .map(|c| (c.entry.namespace.as_str(), c.entry.name.as_str()))
        .collect();
    let mut leaving: BTreeMap<ObjectName, Vec<String>> = BTreeMap::new();
    for app in live {
        let name = name_of(app);
        let labelled = app.labels().contains_key(label::PARENT);
        if let Some(parent) = owner(app).filter(|p| labelled && parents.contains(p))
            && !asked.contains(&(name.namespace.as_str(), name.name.as_str()))
        {
            leaving.entry(parent).or_default().push(name.name);
        }
    }
    leaving
}
