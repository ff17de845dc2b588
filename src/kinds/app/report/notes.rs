//! What is worth an event: drift that was put right, and what people would miss. Pure.
use super::super::acl;
use super::super::act::Effect;
use super::super::fields::{self, Setting};
use super::super::plan::{Step, requested_redeploy};
use super::super::spec::{AppMemory, DatabricksApp, InFlightStep};
use super::super::wire::{RemoteApp, RemoteDeployment};
use crate::api::status::{ConditionType, Reason, is_true};
use crate::engine::events::Note;
use crate::engine::managed::{Outcome, Step as _};
use crate::engine::plan::Wish;

type Pass<'a> = Outcome<'a, DatabricksApp>;

/// Fields that somebody else changed and this pass put right, each with its class as a metric's label.
pub fn repaired(app: &DatabricksApp, outcome: &Pass<'_>) -> Vec<(&'static str, &'static str)> {
    if outcome.changed || outcome.wish == Wish::Deleting {
        return Vec::new();
    }
    let ready = is_true(outcome.before, ConditionType::Ready);
    let mut repaired = Vec::new();
    for (step, _) in outcome.done {
        // An app is not ready while somebody else's deployment is under way.
        let settled = ready || foreign_deployment(outcome, step).is_some();
        if !settled || !undoes_a_stranger(app, outcome, step) {
            continue;
        }
        if let Step::Update { fields: changed } = step {
            let field =
                |name: &&'static str| fields::by_wire(name).map(|f| (f.path, f.class.label()));
            repaired.extend(changed.keys().filter_map(field));
            continue;
        }
        let class = match step {
            Step::Grant { .. } => "permissions",
            Step::Restore { .. } => "resource-grants",
            Step::Deploy { .. } => "deployment",
            _ => "run-state",
        };
        repaired.extend(step.fields().into_iter().map(|path| (path, class)));
    }
    repaired
}

/// The deployment of somebody else that a step replaces, where the one before it was ours and succeeded.
fn foreign_deployment<'a>(outcome: &Pass<'a>, step: &Step) -> Option<&'a RemoteDeployment> {
    let known = outcome.memory.deployment.as_ref()?;
    let newest = outcome.seen?.remote()?.newest()?;
    let replaced = matches!(step, Step::Deploy { rejected: None, .. });
    (replaced && known.state == "SUCCEEDED" && newest.id != known.id).then_some(newest)
}

/// Whether nothing of ours asks for the step: neither a changed wish, nor content, nor an annotation, nor our own restart.
fn undoes_a_stranger(app: &DatabricksApp, outcome: &Pass<'_>, step: &Step) -> bool {
    let memory = outcome.memory;
    let restarting = memory
        .in_flight
        .as_ref()
        .is_some_and(|f| f.step == InFlightStep::Restart);
    match step {
        Step::Update { .. } | Step::Grant { .. } | Step::Restore { .. } => true,
        Step::Start | Step::Stop { restart: false } => {
            memory.run_state == app.run_state() && !restarting
        }
        Step::Deploy {
            digest,
            rejected: None,
            ..
        } => {
            let known = memory.deployment.as_ref();
            known.is_some_and(|d| d.digest == *digest) && !requested_redeploy(app, memory)
        }
        Step::Create { .. }
        | Step::Delete
        | Step::Stop { restart: true }
        | Step::Deploy { .. }
        | Step::Credential { .. }
        | Step::MakeFolder { .. }
        | Step::Upload { .. }
        | Step::Sweep { .. } => false,
    }
}

pub fn notes(
    app: &DatabricksApp,
    outcome: &Pass<'_>,
    memory: &AppMemory,
    repaired: &[&'static str],
    remote: Option<&RemoteApp>,
) -> Vec<Note> {
    let mut notes = Vec::new();
    if !repaired.is_empty() {
        let fields = repaired.join(", ");
        // Who deploys is told by the deployment alone.
        let mut deployed = outcome.done.iter().map(|(step, _)| step);
        let deployer = deployed.find_map(|step| foreign_deployment(outcome, step));
        let by = match deployer {
            Some(deployment) => Some(deployment.creator.as_str()),
            None => remote.map(|r| r.updater.as_str()),
        };
        let by = by.filter(|by| !by.is_empty());
        let by = by.map_or_else(String::new, |by| format!("; last changed by {by}"));
        notes.push(Note::normal(
            "DriftRepaired",
            format!("repair {fields}"),
            format!("{fields} differed from the spec and was put right{by}"),
        ));
    }
    for (step, effect) in outcome.done {
        notes.extend(done(outcome, step, effect));
    }
    let refused = |reason| matches!(reason, Reason::RestoreRefused | Reason::SweepRefused);
    if let Some(trouble) = outcome.trouble.filter(|t| refused(t.reason)) {
        let message = trouble.message.clone();
        notes.push(Note::warning("Refused", trouble.reason.name(), message));
    }
    notes.extend(unverified(app, outcome, memory, remote));
    if outcome.changed
        && let Some(permissions) = &app.spec.permissions
    {
        let merged = acl::merged(&permissions.grants);
        if !merged.is_empty() {
            let names = merged.join(", ").replace(':', " ");
            notes.push(Note::warning(
                "GrantsMerged",
                "merge grants",
                format!(
                    "spec.permissions.grants names {names} more than once; the highest level counts"
                ),
            ));
        }
    }
    let replaced = outcome.wish == Wish::Deleting
        && outcome.plan.is_settled()
        && outcome.seen.and_then(|s| s.remote()).is_some()
        && remote.is_none();
    if replaced {
        notes.push(Note::warning(
            "RemoteReplaced",
            "let go",
            "the app under this name is somebody else's; it was left as it is",
        ));
    }
    notes
}

fn done(outcome: &Pass<'_>, step: &Step, effect: &Effect) -> Option<Note> {
    Some(match (step, effect) {
        (Step::Create { .. }, Effect::Created(created)) => match &outcome.memory.app {
            Some(gone) => Note::warning(
                "Recreated",
                "create",
                format!(
                    "the app (id {}) was gone and was created anew: its URL and service principal are new",
                    gone.id
                ),
            ),
            None => Note::normal("Created", "create", format!("created app {}", created.name)),
        },
        (Step::Deploy { rejected: None, .. }, Effect::Deployed(deployment)) => Note::normal(
            "Deploying",
            format!("deploy {}", deployment.id),
            format!("deployment {} was accepted", deployment.id),
        ),
        (Step::Deploy { .. }, Effect::Deployed(deployment)) => Note::warning(
            "RolledBack",
            format!("rollback {}", deployment.id),
            format!(
                "the app crashed; deployment {} puts the code back that ran before",
                deployment.id
            ),
        ),
        (Step::Restore { stripped }, _) => Note::warning(
            "GrantRestored",
            format!("restore {}", stripped.guard.resource),
            format!(
                "the app's service principal had lost {stripped}, probably to another tool that replaces the permissions there; it was put back"
            ),
        ),
        (Step::Update { fields }, _) if fields.contains_key(Setting::SCOPES) => Note::normal(
            "ConsentRequired",
            "update userAuthorization.scopes",
            "the scopes changed: users will be asked to consent again",
        ),
        (Step::Stop { restart: true }, _) => Note::normal(
            "Restarting",
            "restart",
            "the app is stopped to be started again",
        ),
        _ => return None,
    })
}

/// What an adopted app has and nobody can read counts as the same, and is said.
fn unverified(
    app: &DatabricksApp,
    outcome: &Pass<'_>,
    memory: &AppMemory,
    remote: Option<&RemoteApp>,
) -> Option<Note> {
    let adopted = outcome.memory.app.is_none() && memory.app.is_some() && outcome.done.is_empty();
    let newest = remote.filter(|_| adopted)?.newest()?;
    let taken = memory
        .deployment
        .as_ref()
        .is_some_and(|d| d.id == newest.id);
    if !taken || newest.env_names.is_empty() {
        return None;
    }
    let names: Vec<&str> = newest.env_names.iter().map(String::as_str).collect();
    let what = if app.env().is_some() {
        "their values cannot be read and count as the same"
    } else {
        "they are not managed"
    };
    Some(Note::warning(
        "EnvUnverified",
        "adopt",
        format!("the app has the variables {}; {what}", names.join(", ")),
    ))
}
