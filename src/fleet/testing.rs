//! A cluster of children in memory, for the tests of this floor: applies as the API server carries them out, and children
//! that become what a test wants.
#![allow(clippy::unwrap_used)]
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde_json::{Map, Value, json};

use super::inventory::{Why, Write};
use super::{
    Facts, GeneratorInputs, Moment, Parent, Refused, Renderer, Requests, Survey, Surveyor,
    generate, survey,
};
use crate::api::app_of_apps::AppOfAppsSpec;
use crate::api::row::{ChildView, Owner};
use crate::telemetry::Clock;

pub fn parent() -> Parent {
    Parent {
        name: "fleet".to_owned(),
        namespace: "default".to_owned(),
        uid: "parent-uid".to_owned(),
        namespace_uid: None,
    }
}

pub fn spec(value: Value) -> AppOfAppsSpec {
    serde_json::from_value(value).unwrap()
}

/// How a child fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Ready,
    Stopped,
    Progressing,
    Stalled,
    Held,
}

/// The parent, its children, and the time.
#[derive(Clone, Debug)]
pub struct Model {
    pub spec: AppOfAppsSpec,
    pub views: BTreeMap<String, ChildView>,
    /// Keys of labels and annotations that the last apply set
    applied: BTreeMap<String, BTreeSet<String>>,
    pub at: Timestamp,
    pub confirm: Option<String>,
    pub requests: Requests,
    pub refused: BTreeMap<String, Refused>,
    pub inputs: GeneratorInputs,
    pub looking_since: Option<Timestamp>,
    /// Every write, as `release a`
    pub log: Vec<String>,
    versions: u64,
}

impl Model {
    pub fn new(spec: AppOfAppsSpec) -> Self {
        Self {
            spec,
            views: BTreeMap::new(),
            applied: BTreeMap::new(),
            at: "2026-01-01T00:00:00Z".parse().unwrap(),
            confirm: None,
            requests: Requests::default(),
            refused: BTreeMap::new(),
            inputs: GeneratorInputs::default(),
            looking_since: None,
            log: Vec::new(),
            versions: 0,
        }
    }

    /// A fleet whose children all have been Ready for an hour.
    pub fn settled(spec: AppOfAppsSpec) -> Self {
        let mut model = Self::new(spec);
        for _ in 0..200 {
            let survey = model.pass();
            model.all(Fate::Ready);
            model.pass_time(3600);
            if survey.rollout.complete {
                break;
            }
        }
        let survey = model.survey();
        assert!(
            survey.rollout.complete && survey.writes.is_empty(),
            "{survey:#?}"
        );
        model.log.clear();
        model
    }

    pub fn survey(&self) -> Survey {
        let existing: Vec<Arc<ChildView>> = self.views.values().cloned().map(Arc::new).collect();
        let generated = generate(&self.spec, &self.inputs, &parent(), &|_| Vec::new());
        self.look(&existing, |facts| survey(generated, facts))
    }

    fn look(
        &self,
        existing: &[Arc<ChildView>],
        survey: impl FnOnce(&Facts<'_>) -> Survey,
    ) -> Survey {
        survey(&Facts {
            spec: &self.spec,
            parent: &parent(),
            inputs: &self.inputs,
            existing,
            refused: &self.refused,
            confirm: self.confirm.as_deref(),
            requests: &self.requests,
            now: Moment {
                at: self.at,
                clock: Clock::real(),
                looking_since: self.looking_since,
            },
        })
    }

    /// One pass: what the survey allows is done.
    pub fn pass(&mut self) -> Survey {
        let survey = self.survey();
        for write in &survey.writes {
            self.apply(write);
        }
        for gone in &survey.detach {
            let view = self.views.get_mut(&gone.name).unwrap();
            view.owner = None;
            view.labels.remove("appofapps.dev/parent");
        }
        if !survey.writes.iter().any(|w| w.why == Why::Create) {
            for going in survey.prune.allowed() {
                self.log.push(format!("delete {}", going.name));
                self.views.remove(&going.name);
            }
        }
        survey
    }

    fn apply(&mut self, write: &Write) {
        let name = write.child.name.clone();
        self.log
            .push(format!("{:?} {name}", write.why).to_lowercase());
        let live = self.views.get(&name).cloned().map(Arc::new);
        let existing: Vec<Arc<ChildView>> = live.into_iter().collect();
        let body = write.payload(&parent(), &existing);
        self.versions += 1;
        let view = self.views.entry(name.clone()).or_insert_with(|| ChildView {
            uid: format!("uid-{name}-{}", self.versions),
            ..blank(&name)
        });
        let old = self.applied.remove(&name).unwrap_or_default();
        let texts = |value: &Value| -> BTreeMap<String, String> {
            serde_json::from_value(value.clone()).unwrap()
        };
        let mut keys = BTreeSet::new();
        for (part, live) in [
            ("labels", &mut view.labels),
            ("annotations", &mut view.annotations),
        ] {
            let wish = texts(&body["metadata"][part]);
            live.retain(|key, _| !old.contains(&format!("{part}/{key}")));
            keys.extend(wish.keys().map(|key| format!("{part}/{key}")));
            live.extend(wish);
        }
        self.applied.insert(name, keys);
        view.owner = Some(Owner {
            kind: "AppOfApps".into(),
            name: "fleet".into(),
            uid: "parent-uid".into(),
            controller: true,
        });
        if view.spec != body["spec"] {
            view.spec = body["spec"].clone();
            view.generation += 1;
        }
        view.resource_version = self.versions.to_string();
    }

    /// The child's own controller saw its present spec, and this came of it.
    pub fn fare(&mut self, name: &str, fate: Fate) {
        let at = self.at;
        let Some(view) = self.views.get_mut(name) else {
            return;
        };
        view.observed_generation = view.generation;
        let facts: &[(&str, &str, &str)] = match fate {
            Fate::Ready => &[("Ready", "True", "Running")],
            Fate::Stopped => &[("Ready", "True", "Stopped")],
            Fate::Progressing => &[
                ("Ready", "Unknown", "Deploying"),
                ("Reconciling", "True", "Deploying"),
            ],
            Fate::Stalled => &[
                ("Ready", "False", "AppCrashed"),
                ("Stalled", "True", "AppCrashed"),
            ],
            Fate::Held => &[
                ("Ready", "Unknown", "Paused"),
                ("Suspended", "True", "Paused"),
            ],
        };
        let before = std::mem::take(&mut view.conditions);
        let held = before.iter().any(|c| c.type_ == "Suspended");
        let ended = [("Suspended", "False", "Resumed")];
        let ended = ended.iter().filter(|_| held && fate != Fate::Held);
        view.conditions = facts
            .iter()
            .chain(ended)
            .map(|(kind, status, reason)| {
                let same = before
                    .iter()
                    .find(|c| c.type_ == *kind && c.status == *status);
                condition(
                    kind,
                    status,
                    reason,
                    same.map_or(at, |c| c.last_transition_time.0),
                )
            })
            .collect();
    }

    /// Every child fares so.
    pub fn all(&mut self, fate: Fate) {
        let names: Vec<String> = self.views.keys().cloned().collect();
        for name in names {
            self.fare(&name, fate);
        }
    }

    pub fn pass_time(&mut self, seconds: u64) {
        self.at = self.at.checked_add(Duration::from_secs(seconds)).unwrap();
    }
}

/// What an operator remembers between passes; must never make a difference.
#[derive(Default)]
pub struct Twin {
    renderer: Renderer,
    surveyor: Surveyor,
    views: BTreeMap<String, Arc<ChildView>>,
}

impl Twin {
    pub fn survey(&mut self, model: &Model) -> Survey {
        let views = model.views.iter().map(|(name, view)| {
            let before = self.views.remove(name).filter(|before| **before == *view);
            (
                name.clone(),
                before.unwrap_or_else(|| Arc::new(view.clone())),
            )
        });
        self.views = views.collect::<Vec<_>>().into_iter().collect();
        let existing: Vec<Arc<ChildView>> = self.views.values().cloned().collect();
        let judge = |_: &Value| Vec::new();
        let generated = self
            .renderer
            .generate(&model.spec, &model.inputs, &parent(), &judge);
        model.look(&existing, |facts| {
            self.surveyor.survey(Arc::unwrap_or_clone(generated), facts)
        })
    }
}

fn blank(name: &str) -> ChildView {
    ChildView {
        name: name.to_owned(),
        namespace: "default".to_owned(),
        uid: String::new(),
        resource_version: String::new(),
        generation: 0,
        observed_generation: -1,
        deleting: false,
        owner: None,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        spec: Value::Null,
        conditions: Vec::new(),
        desired_digest: None,
        digest: None,
        compute_state: None,
    }
}

/// An object of the namespace that no parent made.
pub fn stranger(name: &str) -> ChildView {
    ChildView {
        uid: format!("stranger-{name}"),
        resource_version: "1".into(),
        generation: 1,
        spec: json!({}),
        ..blank(name)
    }
}

pub fn condition(kind: &str, status: &str, reason: &str, at: Timestamp) -> Condition {
    Condition {
        type_: kind.into(),
        status: status.into(),
        reason: reason.into(),
        message: format!("{kind} is {status}"),
        last_transition_time: Time(at),
        observed_generation: Some(1),
    }
}

/// Apps written out, from `name: version`; `step` is a label with the first letter of the name.
pub fn apps(apps: &[(&str, i64)]) -> Value {
    let app = |(name, version): &(&str, i64)| {
        json!({
            "name": name,
            "labels": {"step": &name[..1]},
            "spec": {"workspaceRef": {"name": "prod"}, "description": format!("v{version}"), "lifecycle": {"state": "Running"}},
        })
    };
    Value::from(apps.iter().map(app).collect::<Vec<_>>())
}

/// A rolling fleet: steps `a`, `b`, and the rest; soak 5m, deadline 30m.
pub fn rolling(list: &[(&str, i64)], on_failure: &str, more: Value) -> AppOfAppsSpec {
    let step = |letter: &str| json!({"matchExpressions": [{"key": "step", "operator": "In", "values": [letter]}]});
    let mut sync: Map<String, Value> = Map::new();
    sync.insert("steps".into(), json!([step("a"), step("b")]));
    sync.insert("onFailure".into(), json!(on_failure));
    sync.extend(more.as_object().cloned().unwrap_or_default());
    spec(json!({
        "apps": apps(list),
        "strategy": {"type": "RollingSync", "rollingSync": sync},
        "prune": {"maxDeletions": "100%"},
    }))
}
