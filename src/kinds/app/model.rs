//! What would come of a plan: the planner against a model of the service, in memory. Pure; nothing is sent.
//!
//! `diff` prints it, the modes that write nothing show it, and the property tests hold the planner to it.
use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::acl::{self, Acl};
use super::act::Effect;
use super::code::{self, Origin};
use super::fields;
use super::plan::{Inputs, Observed, Step, plan};
use super::report::remember;
use super::spec::{AppMemory, DatabricksApp, Level, PendingChange};
use super::wire::{RemoteApp, RemoteDeployment};
use crate::api::status::cut;
use crate::engine::managed::{Managed as _, Outcome, Step as _};
use crate::engine::plan::{Plan, Refusal, Seen};

/// Rounds after which a plan that goes on counts as one that never ends.
const ROUNDS: usize = 40;
/// Longest value shown, in bytes.
const VALUE: usize = 256;

/// The service as one app sees it; every transition ends when the model advances.
#[derive(Clone, Debug)]
pub struct Model {
    pub app: Option<RemoteApp>,
    pub acl: Acl,
    pub memory: AppMemory,
    ids: u32,
    /// What the platform deploys by itself after a start.
    last: Option<RemoteDeployment>,
}

impl Model {
    /// As a pass saw it.
    pub fn new(seen: &Observed, memory: &AppMemory) -> Self {
        Self {
            app: seen.remote().cloned(),
            acl: seen.acl.looked().cloned().unwrap_or_default(),
            memory: memory.clone(),
            ids: 0,
            last: None,
        }
    }

    /// What a pass would see now; what it cannot change is as `before`.
    pub fn seen(&self, before: &Observed, app: &DatabricksApp) -> Observed {
        let uploads = self
            .memory
            .source
            .as_ref()
            .map(|s| s.uploads.clone())
            .unwrap_or_default();
        let mut seen = Observed {
            app: Seen::Looked(self.app.clone()),
            ..before.clone()
        };
        if app.spec.permissions.is_some() {
            seen.acl = Seen::Looked(self.acl.clone());
        }
        if let Seen::Looked(Some(code)) = &mut seen.code {
            code.upload = code
                .upload
                .take()
                .filter(|upload| !uploads.contains(&upload.digest));
        }
        seen
    }

    /// The steps of one plan, as the service would carry them out.
    pub fn act(&mut self, app: &DatabricksApp, inputs: &Inputs<'_>, plan: &Plan<Step>) {
        let mut done = Vec::new();
        for step in &plan.steps {
            if let Some(memory) = app.ahead(step, &self.memory, inputs.at) {
                self.memory = memory;
            }
            let effect = self.carry_out(app, inputs, step);
            done.push((step.clone(), effect));
        }
        self.memory = remember(
            app,
            &Outcome {
                memory: &self.memory.clone(),
                details: &Default::default(),
                before: &[],
                seen: Some(inputs.seen),
                plan,
                done: &done,
                trouble: None,
                at: inputs.at,
                scale: inputs.scale,
                wish: inputs.wish,
                first: false,
                changed: false,
                held: false,
                read_only: false,
            },
        );
    }

    fn carry_out(&mut self, spec: &DatabricksApp, inputs: &Inputs<'_>, step: &Step) -> Effect {
        self.ids += 1;
        let id = format!("id-{}", self.ids);
        let identity = &inputs.seen.identity;
        if let Step::Create { no_compute, body } = step {
            let state = if *no_compute { "STOPPED" } else { "STARTING" };
            let mut app = RemoteApp::read(body);
            app.id = id;
            app.creator.clone_from(identity);
            app.compute_state = state.into();
            app.service_principal.client_id = "sp".into();
            app.settings
                .entry("compute_size")
                .or_insert(json!("MEDIUM"));
            self.acl = [(acl::identity_key(identity), Level::CanManage)].into();
            self.app = Some(app.clone());
            return Effect::Created(Box::new(app));
        }
        let Some(app) = &mut self.app else {
            return Effect::Swept;
        };
        match step {
            Step::Create { .. } => Effect::Swept,
            Step::Grant { acl, replace } => {
                if *replace {
                    self.acl.clear();
                }
                self.acl.extend(acl.clone());
                Effect::Granted(acl.clone())
            }
            Step::Restore { .. } => Effect::Restored,
            Step::Update { fields } => {
                *app = app.updated(fields);
                Effect::Updated { done: true }
            }
            Step::Start => {
                app.compute_state = "STARTING".into();
                Effect::Started
            }
            Step::Stop { .. } => {
                app.compute_state = "STOPPING".into();
                self.last = app.active.take();
                app.pending = None;
                Effect::Stopped
            }
            Step::Credential { .. } => Effect::Credential(Some(1)),
            Step::MakeFolder { .. } | Step::Upload { .. } => Effect::Uploaded,
            Step::Sweep { .. } => Effect::Swept,
            Step::Deploy { from, .. } => {
                let deployment = deployment(spec, from, id);
                app.pending = Some(deployment.clone());
                Effect::Deployed(Box::new(deployment))
            }
            Step::Delete => {
                app.compute_state = "DELETING".into();
                Effect::Deleting
            }
        }
    }

    /// Lets every transition end.
    pub fn advance(&mut self) {
        let Some(app) = &mut self.app else { return };
        match app.compute_state.as_str() {
            "STARTING" => {
                app.compute_state = "ACTIVE".into();
                app.pending = self.last.take().map(|last| RemoteDeployment {
                    id: format!("{}-again", last.id),
                    state: "IN_PROGRESS".into(),
                    ..last
                });
                return;
            }
            "UPDATING" => app.compute_state = "ACTIVE".into(),
            "STOPPING" => app.compute_state = "STOPPED".into(),
            "DELETING" => {
                self.app = None;
                return;
            }
            _ => {}
        }
        if let Some(mut pending) = app.pending.take() {
            pending.state = "SUCCEEDED".into();
            if let Origin::Folder(path) = origin(&pending) {
                app.source_path = path;
            }
            app.active = Some(pending);
        }
    }
}

fn deployment(spec: &DatabricksApp, from: &Origin, id: String) -> RemoteDeployment {
    let deployment = spec.spec.deployment.as_ref();
    let names = spec.env().into_iter().flatten().map(|e| e.name.clone());
    let (source_path, git) = match from {
        Origin::Folder(path) => (path.clone(), Value::Null),
        Origin::Git(reference) => (String::new(), reference.clone()),
    };
    RemoteDeployment {
        id,
        state: "IN_PROGRESS".into(),
        source_path,
        git,
        command: deployment
            .and_then(|d| d.command.clone())
            .unwrap_or_default(),
        env_names: names.collect(),
        ..RemoteDeployment::default()
    }
}

fn origin(deployment: &RemoteDeployment) -> Origin {
    match deployment.git {
        Value::Null => Origin::Folder(deployment.source_path.clone()),
        ref git => Origin::Git(git.clone()),
    }
}

/// What would come of a plan, to its end.
#[derive(Clone, Debug, Default)]
pub struct Foreseen {
    /// Every write, in order.
    pub changes: Vec<PendingChange>,
    /// What is still refused once nothing else is left to do.
    pub refusals: Vec<Refusal>,
}

/// Every write that would follow from what was seen, in order, until nothing is left to do or something is refused.
pub fn foresee(app: &DatabricksApp, inputs: &Inputs<'_>) -> Foreseen {
    let mut model = Model::new(inputs.seen, inputs.memory);
    let mut foreseen = Foreseen::default();
    for _ in 0..ROUNDS {
        let memory = model.memory.clone();
        let seen = model.seen(inputs.seen, app);
        let inputs = Inputs {
            seen: &seen,
            memory: &memory,
            at: inputs.at,
            scale: inputs.scale,
            wish: inputs.wish,
        };
        let next = plan(app, &inputs);
        if next.steps.is_empty() && next.wait.is_none() {
            foreseen.refusals = next.refusals;
            break;
        }
        for step in &next.steps {
            foreseen.changes.extend(shown(step, &inputs));
        }
        model.act(app, &inputs, &next);
        if next.steps.is_empty() {
            model.advance();
        }
        foreseen.refusals = next.refusals;
    }
    foreseen
}

/// A step as people read it: each field with what it is and what it would be; no value of a variable.
pub fn shown(step: &Step, inputs: &Inputs<'_>) -> Vec<PendingChange> {
    let change = |field: &str, from: String, to: String| PendingChange {
        step: step.verb().into(),
        field: field.into(),
        from: cut(&from, VALUE),
        to: cut(&to, VALUE),
    };
    let remote = inputs.seen.remote();
    match step {
        Step::Create { body, .. } => {
            let settings = fields::SETTINGS
                .iter()
                .filter_map(|f| Some((f.path, body.get(f.wire)?)));
            let settings = settings.map(|(path, value)| change(path, String::new(), text(value)));
            let name = body.get("name").map(text).unwrap_or_default();
            std::iter::once(change("name", String::new(), name))
                .chain(settings)
                .collect()
        }
        Step::Update { fields: sent } => {
            let field = |(name, to): (&&'static str, &Value)| {
                let field = fields::by_wire(name)?;
                let from = remote
                    .and_then(|r| r.settings.get(name))
                    .map(text)
                    .unwrap_or_default();
                Some(change(field.path, from, text(to)))
            };
            sent.iter().filter_map(field).collect()
        }
        Step::Grant { acl, replace } => {
            let have = inputs.seen.acl.looked().cloned().unwrap_or_default();
            let mut levels: BTreeMap<&String, (Option<Level>, Option<Level>)> = BTreeMap::new();
            for (key, level) in &have {
                levels.insert(key, (Some(*level), (!replace).then_some(*level)));
            }
            for (key, level) in acl {
                levels.entry(key).or_insert((None, None)).1 = Some(*level);
            }
            let level = |level: Option<Level>| level.map(|l| format!("{l:?}")).unwrap_or_default();
            let differing = levels.into_iter().filter(|(_, (from, to))| from != to);
            let field = |key: &String| format!("permissions {}", key.replacen(':', " ", 1));
            differing
                .map(|(key, (from, to))| change(&field(key), level(from), level(to)))
                .collect()
        }
        Step::Restore { stripped } => {
            vec![change("resources", String::new(), stripped.to_string())]
        }
        Step::Start | Step::Stop { .. } => {
            let from = remote.map(|r| r.compute_state.clone()).unwrap_or_default();
            let to = if matches!(step, Step::Start) {
                "Running"
            } else {
                "Stopped"
            };
            vec![change("lifecycle.state", from, to.into())]
        }
        Step::Deploy { digest, from, .. } => {
            let known = inputs.memory.deployment.as_ref();
            let before = known.map(|d| d.digest.as_str()).unwrap_or_default();
            let place = match from {
                Origin::Folder(path) => path.clone(),
                Origin::Git(reference) => reference.to_string(),
            };
            vec![change(
                "deployment",
                code::short(before),
                format!("{} from {place}", code::short(digest)),
            )]
        }
        Step::MakeFolder { path }
        | Step::Upload { path, .. }
        | Step::Sweep { folder: path, .. } => {
            vec![change("source", String::new(), path.clone())]
        }
        Step::Credential { .. } => vec![change(
            "source.git.credentialSecretRef",
            String::new(),
            String::new(),
        )],
        Step::Delete => vec![change(
            "name",
            remote.map(|r| r.name.clone()).unwrap_or_default(),
            String::new(),
        )],
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
