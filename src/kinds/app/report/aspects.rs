//! The kind's own conditions: one fact for each aspect that a pass looked at; the others keep theirs. Pure.
use super::super::acl;
use super::super::fields::{self, Class};
use super::super::plan::{Step, requested_redeploy, restart_due};
use super::super::spec::{AppMemory, DatabricksApp};
use super::super::wire::RemoteApp;
use crate::api::status::{ConditionType, Fact, Reason, find};
use crate::engine::managed::Outcome;
use crate::engine::plan::Seen;

type Pass<'a> = Outcome<'a, DatabricksApp>;

/// The aspect that a refusal belongs to.
fn aspect(reason: Reason) -> Option<ConditionType> {
    match reason {
        Reason::CreateRefused
        | Reason::QuotaExceeded
        | Reason::UpdateRefused
        | Reason::UpdateFailed
        | Reason::ImmutableField
        | Reason::NameConflict
        | Reason::RemoteReplaced => Some(ConditionType::AppSynced),
        Reason::GrantsRefused | Reason::PrincipalNotFound => Some(ConditionType::PermissionsSynced),
        Reason::DeploymentFailed
        | Reason::DeploymentRefused
        | Reason::DeadlineExceeded
        | Reason::RolledBack
        | Reason::RollbackUnavailable
        | Reason::EnvWouldBeLost
        | Reason::SourceMoving
        | Reason::SourceRefused
        | Reason::SourceNotFound
        | Reason::ReferenceMissing
        | Reason::UploadRefused
        | Reason::CredentialRefused => Some(ConditionType::Deployed),
        _ => None,
    }
}

/// Facts in the order of their weight: the first about an aspect counts.
#[derive(Default)]
struct Facts(Vec<Fact>);

impl Facts {
    fn say(
        &mut self,
        kind: ConditionType,
        status: bool,
        reason: Reason,
        message: impl Into<String>,
    ) {
        if !self.0.iter().any(|f| f.kind == kind) {
            self.0.push(Fact::new(kind, Some(status), reason, message));
        }
    }
}

pub fn aspects(
    app: &DatabricksApp,
    outcome: &Pass<'_>,
    memory: &AppMemory,
    remote: Option<&RemoteApp>,
) -> Vec<Fact> {
    let mut facts = Facts::default();
    let refusals = outcome.plan.refusals.iter().map(|r| (r.reason, &r.message));
    let trouble = outcome.trouble.iter().map(|t| (t.reason, &t.message));
    for (reason, message) in refusals.chain(trouble) {
        if let Some(kind) = aspect(reason) {
            facts.say(kind, false, reason, message.clone());
        }
    }
    for (step, _) in outcome.done {
        let said = step.to_string();
        match step {
            Step::Grant { .. } => {
                facts.say(
                    ConditionType::PermissionsSynced,
                    true,
                    Reason::Succeeded,
                    "",
                );
            }
            Step::Create { .. } => facts.say(ConditionType::AppSynced, true, Reason::Succeeded, ""),
            Step::Update { .. } if memory.update.is_some() => {
                facts.say(ConditionType::AppSynced, false, Reason::Updating, said);
            }
            Step::Deploy { .. } => {
                facts.say(ConditionType::Deployed, false, Reason::Deploying, said);
            }
            _ => {}
        }
    }
    let Some(remote) = remote else {
        return facts.0;
    };
    settings(app, outcome, remote, &mut facts);
    grants(app, outcome, &mut facts);
    match app.spec.source {
        Some(_) => deployed(app, outcome, memory, remote, &mut facts),
        None => unmanaged(outcome, ConditionType::Deployed, &mut facts),
    }
    if app.spec.permissions.is_none() {
        unmanaged(outcome, ConditionType::PermissionsSynced, &mut facts);
    }
    scopes(app, outcome, memory, remote, &mut facts);
    facts.0
}

/// A condition of what the spec manages no more says so.
fn unmanaged(outcome: &Pass<'_>, kind: ConditionType, facts: &mut Facts) {
    if find(outcome.before, kind).is_some() {
        facts.say(
            kind,
            true,
            Reason::NotManaged,
            "the spec leaves it to others",
        );
    }
}

fn settings(app: &DatabricksApp, outcome: &Pass<'_>, remote: &RemoteApp, facts: &mut Facts) {
    let differences = fields::differences(app, &remote.settings);
    let differing: Vec<&str> = differences.iter().map(|d| d.field.path).collect();
    let differing = differing.join(", ");
    if differing.is_empty() {
        facts.say(ConditionType::AppSynced, true, Reason::Succeeded, "");
    } else if outcome.read_only {
        let message = format!("{differing} differ, and management.mode lets nothing be written");
        facts.say(ConditionType::AppSynced, false, Reason::ReadOnly, message);
    } else {
        let message = format!("{differing} differ");
        facts.say(ConditionType::AppSynced, false, Reason::Updating, message);
    }
}

fn grants(app: &DatabricksApp, outcome: &Pass<'_>, facts: &mut Facts) {
    let Some(seen) = outcome.seen else { return };
    let (Some(permissions), Seen::Looked(have)) = (&app.spec.permissions, &seen.acl) else {
        return;
    };
    let mut want = acl::wanted_acl(&permissions.grants, &seen.identity);
    want.retain(|key, _| !seen.unknown.contains(key));
    let difference = acl::difference(permissions.mode, &want, have, &seen.identity);
    if difference.is_empty() {
        facts.say(
            ConditionType::PermissionsSynced,
            true,
            Reason::Succeeded,
            "",
        );
        return;
    }
    if let Some(refused) = seen.refused.get("grant") {
        let message = refused.message.clone();
        facts.say(
            ConditionType::PermissionsSynced,
            false,
            refused.reason,
            message,
        );
        return;
    }
    let granting = outcome
        .plan
        .steps
        .iter()
        .any(|s| matches!(s, Step::Grant { .. }));
    if let Some(trouble) = outcome.trouble.filter(|_| granting) {
        let message = trouble.message.clone();
        facts.say(
            ConditionType::PermissionsSynced,
            false,
            trouble.reason,
            message,
        );
        return;
    }
    let names = |acl: &acl::Acl| -> String {
        let names: Vec<String> = acl.keys().map(|key| key.replacen(':', " ", 1)).collect();
        names.join(", ")
    };
    let parts = [
        ("missing", &difference.missing),
        ("not declared", &difference.excess),
    ];
    let said = parts.iter().filter(|(_, acl)| !acl.is_empty());
    let said: Vec<String> = said
        .map(|(what, acl)| format!("{what}: {}", names(acl)))
        .collect();
    facts.say(
        ConditionType::PermissionsSynced,
        false,
        Reason::GrantsDiffer,
        said.join("; "),
    );
}

fn deployed(
    app: &DatabricksApp,
    outcome: &Pass<'_>,
    memory: &AppMemory,
    remote: &RemoteApp,
    facts: &mut Facts,
) {
    let known = memory.deployment.as_ref();
    let current = known.is_some_and(|d| d.digest == d.desired_digest && d.state == "SUCCEEDED");
    let wait = outcome
        .plan
        .wait
        .as_ref()
        .filter(|w| w.reason == Reason::Deploying);
    if let Some(wait) = wait {
        facts.say(
            ConditionType::Deployed,
            false,
            Reason::Deploying,
            wait.message.clone(),
        );
    } else if current && !requested_redeploy(app, memory) {
        facts.say(ConditionType::Deployed, true, Reason::Succeeded, "");
    } else if remote.compute_state != "ACTIVE" {
        let message = "the deployment is made once the app runs";
        facts.say(
            ConditionType::Deployed,
            false,
            Reason::WaitingForStart,
            message,
        );
    } else if outcome.read_only {
        let message = "another deployment is wanted, and management.mode lets nothing be written";
        facts.say(ConditionType::Deployed, false, Reason::ReadOnly, message);
    } else {
        facts.say(
            ConditionType::Deployed,
            false,
            Reason::Deploying,
            "not deployed yet",
        );
    }
}

fn scopes(
    app: &DatabricksApp,
    outcome: &Pass<'_>,
    memory: &AppMemory,
    remote: &RemoteApp,
    facts: &mut Facts,
) {
    let user = app.spec.user_authorization.as_ref();
    if user.is_none_or(|u| u.scopes.is_none() && u.forward_access_token.is_none()) {
        unmanaged(outcome, ConditionType::ScopesSynced, facts);
        return;
    }
    let differs = fields::differences(app, &remote.settings)
        .iter()
        .any(|d| d.field.class == Class::NeedsRestart);
    if differs {
        let message = "they differ from the spec";
        facts.say(
            ConditionType::ScopesSynced,
            false,
            Reason::Updating,
            message,
        );
    } else if restart_due(app, memory.app.as_ref(), remote) {
        let message =
            "they were changed while the app ran: they take effect after a stop and a start";
        facts.say(
            ConditionType::ScopesSynced,
            false,
            Reason::RestartRequired,
            message,
        );
    } else {
        facts.say(ConditionType::ScopesSynced, true, Reason::Succeeded, "");
    }
}
