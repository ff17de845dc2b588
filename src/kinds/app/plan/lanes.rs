//! The lanes beside the code: grants, settings, run state.
use super::super::acl;
use super::super::fields::{self, Class};
use super::super::spec::{
    DatabricksApp, InFlightStep, PermissionsMode, RecordedApp, Restart, RunState,
};
use super::super::wire::RemoteApp;
use super::{
    Inputs, SHORT_POLL, Step, UpdateOutcome, stalled, transient, unless_refused, wait_for_compute,
};
use crate::api::annotation;
use crate::api::status::Reason;
use crate::engine::plan::{Fate, Plan, Refusal, SLOW, Seen};
use kube::ResourceExt;

/// Grants on the app, and those of its service principal on its resources.
pub(super) fn access(app: &DatabricksApp, inputs: &Inputs<'_>) -> Plan<Step> {
    let mut plan = grants(app, inputs);
    for stripped in &inputs.seen.stripped {
        let restore = Step::Restore {
            stripped: stripped.clone(),
        };
        // A refusal is shown by its event; the app itself is as asked.
        plan.steps.extend(unless_refused(restore, inputs).steps);
    }
    plan
}

fn grants(app: &DatabricksApp, inputs: &Inputs<'_>) -> Plan<Step> {
    let (Some(permissions), Seen::Looked(have)) = (&app.spec.permissions, &inputs.seen.acl) else {
        return Plan::default();
    };
    if permissions.mode == PermissionsMode::Observe {
        return Plan::default();
    }
    let identity = &inputs.seen.identity;
    let mut want = acl::wanted_acl(&permissions.grants, identity);
    let unknown: Vec<String> = want
        .keys()
        .filter(|key| inputs.seen.unknown.contains(*key))
        .cloned()
        .collect();
    want.retain(|key, _| !inputs.seen.unknown.contains(key));
    let difference = acl::difference(permissions.mode, &want, have, identity);
    let mut plan = if difference.is_empty() {
        Plan::default()
    } else {
        let additive = permissions.mode == PermissionsMode::Additive;
        let acl = if additive { difference.missing } else { want };
        unless_refused(
            Step::Grant {
                acl,
                replace: !additive,
            },
            inputs,
        )
    };
    if !unknown.is_empty() {
        plan.refusals.push(Refusal {
            reason: Reason::PrincipalNotFound,
            message: format!(
                "spec.permissions.grants: the workspace knows no {}; create it there, or correct the grant (the others are in place)",
                unknown.join(", ").replace(':', " ")
            ),
            fate: Fate::Missing { recheck: SLOW },
        });
    }
    plan
}

/// Fields that differ and that the service never changes.
pub(super) fn immutable(app: &DatabricksApp, remote: &RemoteApp) -> Option<Refusal> {
    let differences = fields::differences(app, &remote.settings);
    let fixed = differences
        .iter()
        .find(|d| d.field.class == Class::Immutable)?;
    Some(stalled(
        Reason::ImmutableField,
        format!(
            "spec.{} is {} and the app has {}: the service fixes it at creation; put it back, or delete this object and create it anew",
            fixed.field.path, fixed.to, fixed.from
        ),
    ))
}

pub(super) fn settings(
    app: &DatabricksApp,
    inputs: &Inputs<'_>,
    remote: &RemoteApp,
) -> Option<Plan<Step>> {
    let fields = fields::to_update(app, &remote.settings);
    if fields.is_empty() {
        return None;
    }
    let plan = unless_refused(Step::Update { fields }, inputs);
    // What failed is not waited for; another wish is sent at once.
    if plan.steps.is_empty() {
        return Some(plan);
    }
    let waiting = || Plan::wait(Reason::Updating, "settings are being changed", SHORT_POLL);
    // The outcome of one change is read before the next is sent.
    match &inputs.seen.update {
        Seen::Looked(UpdateOutcome::InProgress) => return Some(waiting()),
        Seen::NotLooked if inputs.memory.update.is_some() => return Some(waiting()),
        Seen::Looked(UpdateOutcome::Ended) | Seen::NotLooked => {}
    }
    if transient(remote) {
        return Some(wait_for_compute(remote));
    }
    Some(plan)
}

pub(super) fn run_state(
    app: &DatabricksApp,
    inputs: &Inputs<'_>,
    remote: &RemoteApp,
) -> Option<Plan<Step>> {
    let in_flight = inputs.memory.in_flight.as_ref();
    let restarting = in_flight.is_some_and(|f| f.step == InFlightStep::Restart);
    match (remote.compute_state.as_str(), app.run_state()) {
        ("STOPPED", Some(RunState::Running)) => Some(unless_refused(Step::Start, inputs)),
        ("STOPPED", None) if restarting => Some(unless_refused(Step::Start, inputs)),
        ("ACTIVE", Some(RunState::Stopped)) => {
            Some(unless_refused(Step::Stop { restart: false }, inputs))
        }
        ("ERROR", None | Some(RunState::Running)) if restart_asked(app, inputs) => {
            Some(unless_refused(Step::Start, inputs))
        }
        ("ERROR", None | Some(RunState::Running)) => Some(Plan::refuse(stalled(
            Reason::ComputeFailed,
            format!(
                "the compute failed: {}; have it started again by the annotation {}",
                remote.compute_message,
                annotation::RESTART_REQUESTED_AT
            ),
        ))),
        _ if transient(remote) => Some(wait_for_compute(remote)),
        ("ACTIVE", _) if restart_wanted(app, inputs, remote) => {
            let plan = unless_refused(Step::Stop { restart: true }, inputs);
            // A restart that the service refuses keeps no code from being deployed.
            (!plan.steps.is_empty()).then_some(plan)
        }
        _ => None,
    }
}

/// An annotation asks for a restart that was not made yet.
fn restart_asked(app: &DatabricksApp, inputs: &Inputs<'_>) -> bool {
    let handled = inputs.memory.last_handled_restart_at.as_ref();
    let key = annotation::RESTART_REQUESTED_AT;
    // What an object carries when it is first seen counts as handled.
    inputs.memory.app.is_some() && annotation::is_requested(app.annotations(), key, handled)
}

fn restart_wanted(app: &DatabricksApp, inputs: &Inputs<'_>, remote: &RemoteApp) -> bool {
    let user = app.spec.user_authorization.as_ref();
    let automatic = user.is_some_and(|u| u.restart == Restart::Auto);
    // A deployment that hangs ends with a restart that somebody asks for, and with no other.
    let due = || !remote.deploying() && restart_due(app, inputs.memory.app.as_ref(), remote);
    restart_asked(app, inputs) || (automatic && due())
}

/// Whether a managed setting waits for a stop and a start: what is recorded of the app says with which settings its
/// compute last became active. One that was not active before just took over all of them.
pub fn restart_due(
    app: &DatabricksApp,
    recorded: Option<&RecordedApp>,
    remote: &RemoteApp,
) -> bool {
    let user = app.spec.user_authorization.as_ref();
    let managed = user.is_some_and(|u| u.scopes.is_some() || u.forward_access_token.is_some());
    let active = |recorded: &&RecordedApp| {
        let ran = matches!(recorded.compute_state.as_str(), "ACTIVE" | "UPDATING");
        ran && !recorded.activated.is_empty()
    };
    let digest = fields::restart_digest(&remote.settings);
    managed
        && remote.compute_state == "ACTIVE"
        && recorded
            .filter(active)
            .is_some_and(|r| r.activated != digest)
}
