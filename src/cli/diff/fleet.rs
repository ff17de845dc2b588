//! What would become of a parent's children: from a survey to what is shown, and to the children as they would be. Pure.
use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt;
use serde_json::{Value, json};

use super::Why;
use super::fields::{FieldChange, differences};
use super::outcome::{Change, ChildChange, Fleet, Removal, RemovalVerdict, Rollout};
use super::predict;
use crate::admission::Field;
use crate::api::app_of_apps::AppOfApps;
use crate::api::row::ChildView;
use crate::api::{GROUP, annotation, label};
use crate::fleet::{self, Child, Record, Survey, Verdict, Write};
use crate::kinds::DatabricksApp;
use crate::kinds::app_of_apps::parent_of;

/// A parent as it would be, and what follows.
pub struct Scene<'a> {
    pub parent: &'a AppOfApps,
    pub survey: &'a Survey,
    /// What would be said of the deletions if no rollout held them up.
    pub freed: &'a Verdict,
    /// The objects of the namespace, by name, as they are and as parents see them.
    pub existing: &'a BTreeMap<&'a str, (&'a DatabricksApp, &'a ChildView)>,
}

/// A child as it would be.
pub struct Coming {
    pub object: Value,
    /// Whether it is new or changed.
    pub changes: bool,
}

/// What would become of the children, and each of those that may be written as it would be, in the order of the rollout.
pub fn fleet(scene: &Scene<'_>) -> (Fleet, Vec<Coming>) {
    let survey = scene.survey;
    let mut fleet = Fleet {
        removal: scene.removal(),
        detached: survey.detach.iter().map(|gone| gone.name.clone()).collect(),
        rollout: scene.rollout(),
        ..Fleet::default()
    };
    let removal = fleet.removal.as_ref();
    let removal = removal.filter(|removal| removal.verdict != RemovalVerdict::Kept);
    fleet.removed = removal.map_or(0, |removal| removal.names.len());
    let facts = Names::of(survey);
    let mut coming = Vec::new();
    for (name, place) in survey.order.sorted() {
        let Some(child) = survey.generated.children.get(name) else {
            continue;
        };
        // Told among the refusals.
        if facts.foreign.contains(name) {
            continue;
        }
        let object = scene.object(child);
        let change = scene.change(&facts, child, &object);
        if !survey.renames.blocked.contains_key(name) {
            coming.push(Coming {
                object,
                changes: change.is_some(),
            });
        }
        match change {
            None => fleet.unchanged += 1,
            Some(change) => {
                match change.change {
                    Change::Create => fleet.added += 1,
                    _ => fleet.changed += 1,
                }
                fleet.put(place, survey.order.steps, change);
            }
        }
    }
    (fleet, coming)
}

/// What the survey says of each child, by name.
struct Names<'a> {
    writes: BTreeMap<&'a str, &'a Write>,
    absent: BTreeSet<&'a str>,
    behind: BTreeSet<&'a str>,
    foreign: BTreeSet<&'a str>,
    waiting: BTreeMap<&'a str, &'a str>,
}

impl<'a> Names<'a> {
    fn of(survey: &'a Survey) -> Self {
        let writes = survey.writes.iter();
        let waiting = survey.rollout.waiting.iter();
        Self {
            writes: writes.map(|w| (w.child.name.as_str(), w)).collect(),
            absent: survey.absent.iter().map(String::as_str).collect(),
            behind: survey.behind.iter().map(String::as_str).collect(),
            foreign: survey.foreign.iter().map(|f| f.name.as_str()).collect(),
            waiting: waiting.map(|(n, why)| (n.as_str(), why.as_str())).collect(),
        }
    }
}

impl Scene<'_> {
    /// What would become of a child that is asked for; `object`: as it would be in the end.
    fn change(&self, facts: &Names<'_>, child: &Child, object: &Value) -> Option<ChildChange> {
        let name = child.name.as_str();
        let live = self.existing.get(name).map(|(app, view)| (*app, *view));
        let write = facts.writes.get(name);
        let renames = &self.survey.renames;
        let (change, waits) = match (live, write.map(|write| write.why)) {
            _ if facts.absent.contains(name) => {
                let old = renames.after.get(name);
                let after =
                    old.map(|old| format!("waits until {old}, whose app it takes over, is gone"));
                (Change::Create, after)
            }
            (Some((_, view)), _) if view.deleting => {
                let gone = "is still being deleted, and made anew once it is gone";
                (Change::Create, Some(gone.to_owned()))
            }
            (_, Some(fleet::Why::RollBack)) => (Change::RollBack, None),
            (Some((_, view)), _) if facts.behind.contains(name) => match view.owner {
                None => (Change::Adopt, None),
                Some(_) => (Change::Update, None),
            },
            (_, Some(fleet::Why::Repair)) => (Change::Repair, None),
            _ => return None,
        };
        let now = match change {
            Change::Create => write.is_some_and(|w| w.why == fleet::Why::Create),
            Change::Update | Change::Adopt => write.is_some_and(|w| w.why == fleet::Why::Release),
            Change::Repair | Change::RollBack => true,
        };
        let known = || match renames.blocked.contains_key(name) {
            true => Some("is blocked".to_owned()),
            false => facts.waiting.get(name).map(|why| (*why).to_owned()),
        };
        let fields = match (change, live, write) {
            (Change::Create, ..) | (_, None, _) => Vec::new(),
            (Change::RollBack, Some((app, _)), Some(write)) => {
                changed(app, &self.object(&write.child))
            }
            (_, Some((app, _)), _) => changed(app, object),
        };
        Some(ChildChange {
            name: name.to_owned(),
            change,
            source: self
                .survey
                .generated
                .sources
                .get(name)
                .cloned()
                .unwrap_or_default(),
            now,
            waits: waits.or_else(known).filter(|_| !now),
            fields,
        })
    }

    /// The child as its apply would leave it.
    fn object(&self, child: &Child) -> Value {
        let me = parent_of(self.parent, None);
        let record = Record {
            revision: Some(child.revision.clone()),
            ..Record::default()
        };
        let live = self.existing.get(child.name.as_str());
        let mut object = fleet::payload(child, &record, &me, live.map(|(_, view)| *view));
        if let Some((app, _)) = live {
            let left = predict::applied(&content(app), &object, &app.metadata);
            object["spec"] = left["spec"].clone();
            for part in ["labels", "annotations"] {
                object["metadata"][part] = left["metadata"][part].clone();
            }
        }
        object
    }

    fn removal(&self) -> Option<Removal> {
        let (survey, prune) = (self.survey, &self.survey.prune);
        if !self.parent.spec.apps_sync().deletes() {
            let uid = self.parent.uid().unwrap_or_default();
            let asked = |name: &str| {
                let generated = &survey.generated;
                generated.children.contains_key(name)
                    || generated.kept.contains(name)
                    || survey.detach.iter().any(|gone| gone.name == name)
            };
            let ours = self.existing.values();
            let ours = ours.filter(|(_, view)| fleet::is_ours(view, &uid) && !asked(&view.name));
            let names: Vec<String> = ours.map(|(_, view)| view.name.clone()).collect();
            let policy = self.parent.spec.apps_sync();
            return (!names.is_empty()).then(|| Removal {
                names,
                going: 0,
                verdict: RemovalVerdict::Kept,
                message: Some(format!("syncPolicy.appsSync {policy:?} deletes nothing")),
                confirm: None,
            });
        }
        let (verdict, message, confirm) = match (&prune.verdict, self.freed) {
            (Verdict::Allowed, _) => (RemovalVerdict::Allowed, None, None),
            (Verdict::NeedsConfirmation { digest, why }, _) => (
                RemovalVerdict::NeedsConfirmation,
                Some(why.clone()),
                Some(digest.clone()),
            ),
            (Verdict::Withheld { why }, Verdict::NeedsConfirmation { digest, why: then }) => (
                RemovalVerdict::Withheld,
                Some(format!("{why}; and then it needs confirmation: {then}")),
                Some(digest.clone()),
            ),
            (Verdict::Withheld { why }, _) => (RemovalVerdict::Withheld, Some(why.clone()), None),
        };
        (!prune.names.is_empty()).then(|| Removal {
            names: prune.names.clone(),
            going: prune.going,
            verdict,
            message,
            confirm,
        })
    }

    fn rollout(&self) -> Option<Rollout> {
        let (order, rollout) = (&self.survey.order, &self.survey.rollout);
        let halted = rollout.halt.as_ref();
        (order.is_staged() && !rollout.complete).then(|| Rollout {
            digest: rollout.digest.clone(),
            step: rollout.step + 1,
            of: rollout.steps,
            wave: rollout.wave,
            halted: halted.map(|halt| Why::new(halt.reason, halt.message.clone())),
        })
    }
}

/// What of an object a parent writes.
fn content(app: &DatabricksApp) -> Value {
    json!({
        "metadata": {"labels": app.labels(), "annotations": app.annotations()},
        "spec": app.spec,
    })
}

/// What differs once the object is as it would be. Marks of our own are no content.
fn changed(live: &DatabricksApp, object: &Value) -> Vec<FieldChange> {
    // Read and written anew, so that what a type fills in is no difference.
    let after = serde_json::from_value::<DatabricksApp>(object.clone());
    let after = after.map_or_else(|_| object.clone(), |app| content(&app));
    let before = content(live);
    let mut found = Vec::new();
    for part in ["labels", "annotations"] {
        let texts = |of: &Value| {
            let mut texts = of["metadata"][part].clone();
            if let Some(texts) = texts.as_object_mut() {
                texts.retain(|key, _| !is_mark(key));
            }
            texts
        };
        let at = Field::new("metadata").key(part);
        differences(&at, Some(&texts(&before)), Some(&texts(&after)), &mut found);
    }
    let spec = |of: &'_ Value| of["spec"].clone();
    let (before, after) = (spec(&before), spec(&after));
    differences(&Field::default(), Some(&before), Some(&after), &mut found);
    found
}

fn is_mark(key: &str) -> bool {
    let ours = key.split_once('/').is_some_and(|(group, _)| group == GROUP);
    let peoples = [
        annotation::PAUSED,
        annotation::RUN_STATE,
        annotation::DETACH,
    ];
    (ours && !peoples.contains(&key)) || key == label::PARENT
}
