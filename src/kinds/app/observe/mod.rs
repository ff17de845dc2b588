//! What a pass looks at. Reads only, and as few as can be: the shared list serves all apps; a GET confirms drift before a
//! write, follows an ambiguous error, or reads what no list holds.
pub(super) mod access;
mod code;

pub use code::{Waiting, Watch};

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kube::ResourceExt;
use secrecy::ExposeSecret;
use serde_json::Value;

use super::World;
use super::claim::winner;
use super::fields;
use super::plan::{
    self, Claim, Inputs, Observed, Shown, SourceState, Step, UpdateOutcome, needs_confirmation,
    ownership, plan,
};
use super::spec::{AppMemory, DatabricksApp, RecordedDeployment, Rollback};
use super::wire::{self, RemoteApp};
use crate::api::annotation;
use crate::api::status::Reason;
use crate::databricks::{Error, Route, redact};
use crate::engine::managed::Trouble;
use crate::engine::plan::{Fate, Plan, Refusal, Seen, Wish};
use crate::telemetry::Clock;
use crate::worlds::databricks::{Look, Source, trouble};

/// For so long after a deployment an app that is rolled out in steps is read by a GET with each list, as lists leave out
/// whether its process runs.
const PROVING: Duration = Duration::from_secs(10 * 60);
/// An accepted change of settings takes some seconds.
const UPDATE_PAUSE: Duration = Duration::from_secs(10);

/// What makes one look differ from another.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub wish: Wish,
    /// The spec differs from the one last reported on.
    pub changed: bool,
    /// Everything is looked at anew, whatever earlier looks found.
    pub forced: bool,
}

/// Whether the annotation asks for a look that was not made yet.
pub(super) fn look_requested(app: &DatabricksApp, memory: &AppMemory) -> bool {
    let handled = memory.last_handled_reconcile_at.as_ref();
    let key = annotation::RECONCILE_REQUESTED_AT;
    annotation::is_requested(app.annotations(), key, handled)
}

pub(super) async fn observe(
    app: &DatabricksApp,
    memory: &AppMemory,
    world: &World,
    asked: Asked,
) -> Result<Observed, Trouble> {
    let Asked {
        wish,
        changed,
        forced,
    } = asked;
    if let Some(unavailable) = world.connection.unavailable() {
        return Err(unavailable);
    }
    let Some(identity) = &world.identity else {
        return Ok(Observed::nothing(""));
    };
    let name = app.remote_name();
    let clock = world.connection.clock();
    let mut seen = Observed::nothing(identity);
    if forced {
        seen.forced = true;
        world.memo.forget_refusals(name);
        look_live(world, name).await?;
    }
    let (row, source) = match world.board.look(name) {
        Look::Fresh { row, source, .. } => (row, source),
        Look::Stale { live: true } => (look_live(world, name).await?, Source::Live),
        Look::Stale { live: false } => {
            let pause = memory
                .update
                .as_ref()
                .map_or(Duration::ZERO, |_| UPDATE_PAUSE);
            world.board.want(name, pause);
            return Ok(seen);
        }
    };
    seen.claim = claim(app, world, row.as_ref());
    seen.full = full(app, world);
    seen.app = Seen::Looked(row);
    seen.shown = match source {
        Source::List => Shown::List,
        Source::Live => Shown::Earlier,
    };
    seen.refused = world.memo.refusals(name, clock);
    let time = (clock.now(), clock.scale());
    if wish == Wish::Deleting && seen.remote().is_none() {
        world.memo.forget(name);
    }
    if wish == Wish::Live {
        thin_fields(app, memory, world, &mut seen).await?;
        code::material(app, memory, world, &mut seen).await;
    }
    // What a list leaves out may be older than our own last write.
    let changed = changed
        && world
            .board
            .lacking()
            .iter()
            .all(|field| *field == wire::APP_STATUS);
    let unconfirmed = |seen: &Observed| {
        let inputs = inputs(seen, memory, time, wish);
        seen.shown == Shown::List && needs_confirmation(app, &inputs, &plan(app, &inputs), changed)
    };
    if unconfirmed(&seen) {
        whole(world, name, &mut seen).await?;
    }
    if wish == Wish::Live && is_ours(app, memory, &seen) {
        access::grants(app, world, identity, &mut seen).await;
        access::resources(app, world, &mut seen).await;
        // A look that failed leaves the other lanes as they are.
        let looks = [
            update(app, memory, world, &mut seen).await,
            deployment(app, memory, world, &mut seen).await,
            source_path(app, world, memory, &mut seen).await,
        ];
        let failed = looks.into_iter().filter_map(Result::err);
        seen.asides.extend(failed.map(aside));
        // The outcome of a change of settings may ask for another one, and be newer than the difference.
        if unconfirmed(&seen) {
            whole(world, name, &mut seen).await?;
        }
    }
    hush(&mut seen);
    let draft = plan(app, &inputs(&seen, memory, time, wish));
    settle(app, world, &seen, &draft);
    if let Some(wait) = draft.wait {
        world.board.want(name, wait.poll);
    }
    Ok(seen)
}

/// Takes what is secret out of the service's words: an app that crashes, or a deployment that fails, may print what it was
/// given.
fn hush(seen: &mut Observed) {
    let Seen::Looked(Some(code)) = &seen.code else {
        return;
    };
    let mut texts = Vec::new();
    if let Seen::Looked(Some(app)) = &mut seen.app {
        texts.extend([&mut app.compute_message, &mut app.app_message]);
        let deployments = app.active.iter_mut().chain(&mut app.pending);
        texts.extend(deployments.map(|deployment| &mut deployment.message));
    }
    if let Seen::Looked(deployment) = &mut seen.deployment {
        texts.push(&mut deployment.message);
    }
    for text in texts {
        for secret in code.secrets() {
            redact(text, secret.expose_secret());
        }
    }
}

/// Reads the app by a GET in place of what a list shows.
async fn whole(world: &World, name: &str, seen: &mut Observed) -> Result<(), Trouble> {
    seen.app = Seen::Looked(look_live(world, name).await?);
    seen.shown = Shown::Now;
    Ok(())
}

fn inputs<'a>(
    seen: &'a Observed,
    memory: &'a AppMemory,
    (at, scale): (jiff::Timestamp, u32),
    wish: Wish,
) -> Inputs<'a> {
    Inputs {
        seen,
        memory,
        at,
        scale,
        wish,
    }
}

/// Why no other app may be created, where the workspace says how many it may hold.
fn full(app: &DatabricksApp, world: &World) -> Option<String> {
    let limit = world.max_apps?;
    let there = world.board.rows(|_| ()).len();
    (there >= limit).then(|| {
        format!(
            "app {}: the workspace holds {there} apps and limits.maxApps of DatabricksWorkspace {} is {limit}; remove one, or raise it",
            app.remote_name(),
            app.spec.workspace_ref.name
        )
    })
}

/// What lists leave out is read by a GET of its own each interval; the first one some time after the first sight, so that
/// a restart costs no burst.
async fn thin_fields(
    app: &DatabricksApp,
    memory: &AppMemory,
    world: &World,
    seen: &mut Observed,
) -> Result<(), Trouble> {
    let running = seen
        .remote()
        .is_some_and(|r| r.compute_state == "ACTIVE" && !r.deploying());
    if !running || seen.shown != Shown::List || world.board.lacking().is_empty() {
        return Ok(());
    }
    let (name, clock) = (app.remote_name(), world.connection.clock());
    // Whether new code runs is worth a look of its own where something hangs on it.
    let rollback = app.spec.deployment.as_ref().map(|d| d.rollback);
    let unknown = seen.remote().is_some_and(|r| r.app_state.is_empty());
    let awaited = rollback == Some(Rollback::OnFailure) || is_proving(app, memory, clock);
    if awaited && unknown {
        whole(world, name, seen).await?;
        return Ok(());
    }
    let interval = spread(world.connection.permissions_interval(), name);
    let last = world
        .board
        .last_live(name)
        .unwrap_or_else(|| world.memo.first_sight(name));
    let age = clock.service(last.elapsed());
    if age < interval {
        seen.due_in(interval - age);
        return Ok(());
    }
    whole(world, name, seen).await?;
    seen.due_in(interval);
    Ok(())
}

/// Whether a parent waits behind a gate for this app's new code to prove itself.
fn is_proving(app: &DatabricksApp, memory: &AppMemory, clock: Clock) -> bool {
    let annotations = app.annotations();
    let stepped = [annotation::ROLLOUT, annotation::REJECTED]
        .iter()
        .any(|key| annotations.contains_key(*key));
    let since = memory.deployment.as_ref().map(|d| d.since.parse());
    let since: Option<jiff::Timestamp> = since.and_then(Result::ok);
    stepped && since.is_some_and(|since| clock.age(since, clock.now()) < PROVING)
}

/// Tells the memo of accepted steps that took their difference away.
fn settle(app: &DatabricksApp, world: &World, seen: &Observed, draft: &Plan<Step>) {
    let name = app.remote_name();
    if let Some(remote) = seen.remote()
        && fields::to_update(app, &remote.settings).is_empty()
    {
        world.memo.settled(name, "update");
    }
    if seen.stripped.is_empty() {
        world.memo.settled(name, "restore");
    }
    let planned = draft.steps.iter().any(|s| matches!(s, Step::Grant { .. }));
    let refused = draft
        .refusals
        .iter()
        .any(|r| r.reason == Reason::GrantsRefused);
    if seen.acl.looked().is_some() && !planned && !refused {
        world.memo.settled(name, "grant");
    }
}

fn claim(app: &DatabricksApp, world: &World, row: Option<&RemoteApp>) -> Claim {
    let own = app.metadata.uid.as_deref();
    let id = row.map(|r| r.id.as_str());
    match winner(&world.claimants, id) {
        Some(winner) if Some(winner.uid.as_str()) != own => Claim::Lost {
            winner: winner.name.clone(),
            deleting: winner.deleting,
            holds: id.is_some() && winner.recorded.as_deref() == id,
        },
        _ => Claim::Ours,
    }
}

fn is_ours(app: &DatabricksApp, memory: &AppMemory, seen: &Observed) -> bool {
    seen.claim == Claim::Ours
        && seen.remote().is_some_and(|remote| {
            remote.compute_state != "DELETING"
                && ownership(app, memory, &seen.identity, remote).is_ok()
        })
}

/// One GET of the app; its answer is the newest look.
async fn look_live(world: &World, name: &str) -> Result<Option<RemoteApp>, Trouble> {
    let body = get(world, name).await?;
    Ok(body.map(|body| RemoteApp::read(&body)))
}

/// As [`look_live`]: the answer itself.
pub(super) async fn get(world: &World, name: &str) -> Result<Option<Value>, Trouble> {
    let sent = Instant::now();
    let path = format!("/api/2.0/apps/{name}");
    let answer = world
        .connection
        .client()
        .get(Route::normal("apps/get"), &path, &[])
        .await;
    let (body, sent) = match answer {
        Ok(answer) => (Some(answer.body), answer.sent),
        Err(Error::NotFound(_)) => (None, sent),
        Err(error) => return Err(unread("reading the app", &error, world)),
    };
    let row = body.as_ref().map(RemoteApp::read);
    // An answer that is no app at all says nothing about it, least of all that it is gone.
    if row
        .as_ref()
        .is_some_and(|r| r.id.is_empty() || r.name != name)
    {
        let message = format!("reading the app: the answer is no app {name}");
        return Err(Trouble::new(Reason::UnexpectedAnswer, message, Fate::Retry));
    }
    world.board.got(name, sent, row);
    Ok(body)
}

/// An interval of an app's own, longer by at most a tenth, so that looks at many apps spread.
fn spread(interval: Duration, name: &str) -> Duration {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hash = DefaultHasher::new();
    name.hash(&mut hash);
    interval + interval.mul_f64((hash.finish() % 100) as f64 / 1_000.0)
}

/// A look that failed; a refusal of it is no statement about what was looked at.
pub(super) fn unread(doing: &str, error: &Error, world: &World) -> Trouble {
    let clock = world.connection.clock();
    trouble(doing, error, Reason::UnexpectedAnswer, clock)
}

fn aside(trouble: Trouble) -> Refusal {
    Refusal {
        reason: trouble.reason,
        message: trouble.message,
        fate: trouble.fate,
    }
}

/// The outcome of our last change of settings, while a difference is left: in progress, or failed and why.
async fn update(
    app: &DatabricksApp,
    memory: &AppMemory,
    world: &World,
    seen: &mut Observed,
) -> Result<(), Trouble> {
    let Some(attempt) = &memory.update else {
        return Ok(());
    };
    let name = app.remote_name();
    let differing = |seen: &Observed| {
        let remote = seen.remote().map(|r| fields::to_update(app, &r.settings));
        let fields = remote.unwrap_or_default();
        let refused = seen.refused.find("update", &plan::update_digest(&fields));
        if refused.is_some() {
            BTreeMap::new()
        } else {
            fields
        }
    };
    let mut fields = differing(seen);
    // What lists leave out is still as the GET before the change showed it.
    let left_out = fields.keys().any(|field| world.board.leaves_out(field));
    if seen.shown == Shown::List && left_out {
        whole(world, name, seen).await?;
        fields = differing(seen);
    }
    if fields.is_empty() {
        return Ok(());
    }
    let path = format!("/api/2.0/apps/{name}/update");
    let clock = world.connection.clock();
    let answer = world
        .connection
        .client()
        .get(Route::normal("apps/update/get"), &path, &[])
        .await;
    let answer =
        answer.map_err(|error| unread("reading the outcome of a change", &error, world))?;
    let (state, message) = wire::update_outcome(&answer.body);
    seen.update = Seen::Looked(match state.as_str() {
        "IN_PROGRESS" => UpdateOutcome::InProgress,
        "FAILED" => {
            let digest = plan::update_digest(&fields);
            if attempt.digest == digest {
                let names: Vec<&str> = fields.keys().copied().collect();
                let message = format!("changing {} failed: {message}", names.join(", "));
                world
                    .memo
                    .refused(name, "update", digest, Reason::UpdateFailed, message, false);
                seen.refused = world.memo.refusals(name, clock);
            }
            UpdateOutcome::Ended
        }
        _ => UpdateOutcome::Ended,
    });
    Ok(())
}

/// What became of our last deployment, once the app shows it neither as pending nor as active.
async fn deployment(
    app: &DatabricksApp,
    memory: &AppMemory,
    world: &World,
    seen: &mut Observed,
) -> Result<(), Trouble> {
    let Some(known) = &memory.deployment else {
        return Ok(());
    };
    let name = app.remote_name();
    if !hides(app, known, seen) {
        return Ok(());
    }
    // A list may leave deployments out altogether. A GET of the app shows the field and counts from then on, where a GET
    // of the deployment would be needed at every pass.
    let shows_none = seen.remote().is_some_and(|remote| remote.active.is_none());
    if seen.shown == Shown::List && (shows_none || world.board.leaves_out("active_deployment")) {
        whole(world, name, seen).await?;
        if !hides(app, known, seen) {
            return Ok(());
        }
    }
    let path = format!("/api/2.0/apps/{name}/deployments/{}", known.id);
    let route = Route::normal("apps/deployments/get");
    match world.connection.client().get(route, &path, &[]).await {
        Ok(answer) => {
            if let Some(deployment) = wire::deployment(&answer.body) {
                seen.deployment = Seen::Looked(deployment);
            }
            Ok(())
        }
        // Of an app that was created anew, nothing older is known.
        Err(Error::NotFound(_)) => Ok(()),
        Err(error) => Err(unread("reading the deployment", &error, world)),
    }
}

/// Whether a running app shows another deployment than our last one, or none, and nobody knows yet how ours ended.
fn hides(app: &DatabricksApp, known: &RecordedDeployment, seen: &Observed) -> bool {
    let Some(remote) = seen.remote() else {
        return false;
    };
    let mut shown = [&remote.pending, &remote.active].into_iter().flatten();
    let ended = matches!(known.state.as_str(), "FAILED" | "CANCELLED");
    !ended
        && remote.compute_state == "ACTIVE"
        && seen.code().map(|code| code.digest(app)).as_ref() == Some(&known.digest)
        && !remote.deploying()
        && !shown.any(|d| d.id == known.id)
}

/// Whether the source path exists, once a deployment from it failed or was refused.
async fn source_path(
    app: &DatabricksApp,
    world: &World,
    memory: &AppMemory,
    seen: &mut Observed,
) -> Result<(), Trouble> {
    let workspace = app.spec.source.as_ref().and_then(|s| s.workspace.as_ref());
    let (Some(workspace), Some(code)) = (workspace, seen.code()) else {
        return Ok(());
    };
    let desired = code.digest(app);
    let known = memory.deployment.as_ref();
    let known = known.filter(|known| known.digest == desired);
    let failed = known.is_some_and(|known| {
        let newest = seen.remote().and_then(RemoteApp::newest);
        let mut shown = newest.into_iter().chain(seen.deployment.looked());
        known.state == "FAILED" || shown.any(|d| d.id == known.id && d.state == "FAILED")
    });
    if !failed && seen.refused.get("deploy").is_none() {
        return Ok(());
    }
    let (path, clock) = (workspace.path.as_str(), world.connection.clock());
    if world.memo.source_due(path, clock) {
        let route = Route::normal("workspace/get-status");
        let query = [("path", path)];
        let client = world.connection.client();
        let exists = match client
            .get(route, "/api/2.0/workspace/get-status", &query)
            .await
        {
            Ok(_) => true,
            Err(Error::NotFound(_)) => false,
            Err(error) => {
                let refused = Reason::SourceNotFound;
                return Err(trouble(
                    "looking up spec.source.workspace.path",
                    &error,
                    refused,
                    clock,
                ));
            }
        };
        world.memo.source(path, exists);
        if world.memo.source_state(path) == Some(SourceState::Appeared) {
            world.memo.forgive(app.remote_name(), "deploy");
            seen.refused.remove("deploy");
        }
    }
    seen.source = match world.memo.source_state(path) {
        Some(state) => Seen::Looked(state),
        None => Seen::NotLooked,
    };
    Ok(())
}
