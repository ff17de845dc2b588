//! Looks at grants: on the app, of whom they name, and of its service principal on its resources.
use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::Value;
use tracing::debug;

use super::super::World;
use super::super::acl::{self, Acl};
use super::super::guard::{self, Guard, Place, Stripped};
use super::super::looks::Slot;
use super::super::memo::Granted;
use super::super::plan::Observed;
use super::super::spec::DatabricksApp;
use super::super::wire;
use super::{aside, spread, unread};
use crate::databricks::{Error, Route};
use crate::engine::plan::Seen;
use crate::worlds::databricks::Look;

/// Direct grants, when the last look is older than the interval or than our last write; and whether their principals
/// exist, once the service refused them.
pub(super) async fn grants(
    app: &DatabricksApp,
    world: &World,
    identity: &str,
    seen: &mut Observed,
) {
    let Some(permissions) = &app.spec.permissions else {
        return;
    };
    let (name, clock) = (app.remote_name(), world.connection.clock());
    let interval = spread(world.connection.permissions_interval(), name);
    let known = world.memo.acls(|acls| acls.look(name));
    match known {
        Look::Fresh {
            row: Some(acl),
            sent,
            ..
        } if clock.service(sent.elapsed()) < interval && !seen.forced => {
            seen.acl = Seen::Looked(acl);
            seen.due_in(interval.saturating_sub(clock.service(sent.elapsed())));
        }
        _ => match read_acl(world, name).await {
            Ok(acl) => {
                seen.acl = Seen::Looked(acl);
                seen.due_in(interval);
            }
            Err(error) => {
                seen.asides
                    .push(aside(unread("reading the grants", &error, world)));
                return;
            }
        },
    }
    let want = acl::wanted_acl(&permissions.grants, identity);
    let own = acl::identity_key(identity);
    let others = || want.keys().filter(|key| **key != own);
    let was_refused = seen.refused.get("grant").is_some();
    for key in world.memo.principals_due(others(), was_refused, clock) {
        match principal_exists(world, &key).await {
            Ok(exists) => world.memo.principal(&key, exists),
            Err(error) => {
                seen.asides
                    .push(aside(unread("looking up a principal", &error, world)));
                return;
            }
        }
    }
    seen.unknown = BTreeSet::from_iter(world.memo.unknown_principals(others()));
}

/// Looks up every principal that a grant is still to be made to, before the service refuses one. Where that may not be
/// looked up, all count as there.
pub async fn principals(app: &DatabricksApp, world: &World, seen: &mut Observed) {
    let Some(permissions) = &app.spec.permissions else {
        return;
    };
    let have = seen.acl.looked().cloned().unwrap_or_default();
    let want = acl::wanted_acl(&permissions.grants, &seen.identity);
    let missing = acl::difference(permissions.mode, &want, &have, &seen.identity).missing;
    let clock = world.connection.clock();
    for key in world.memo.principals_due(missing.keys(), true, clock) {
        match principal_exists(world, &key).await {
            Ok(exists) => world.memo.principal(&key, exists),
            Err(error) => debug!(%error, "looking up a principal"),
        }
    }
    let unknown = world.memo.unknown_principals(missing.keys());
    seen.unknown.extend(unknown);
}

/// Direct grants on the app; the answer counts as a look.
pub async fn read_acl(world: &World, name: &str) -> Result<Acl, Error> {
    let path = format!("/api/2.0/permissions/apps/{name}");
    let route = Route::normal("permissions/get");
    let answer = world.connection.client().get(route, &path, &[]).await?;
    let acl = acl::read_acl(&answer.body);
    world
        .memo
        .acls(|acls| acls.got(name, answer.sent, Some(acl.clone())));
    Ok(acl)
}

async fn principal_exists(world: &World, key: &str) -> Result<bool, Error> {
    let (kind, name) = key.split_once(':').unwrap_or(("user", key));
    let (collection, attribute) = match kind {
        "group" => ("Groups", "displayName"),
        "sp" => ("ServicePrincipals", "applicationId"),
        _ => ("Users", "userName"),
    };
    let path = format!("/api/2.0/preview/scim/v2/{collection}");
    let quoted = name.replace('\\', "\\\\").replace('"', "\\\"");
    let filter = format!("{attribute} eq \"{quoted}\"");
    let query = [
        ("filter", filter.as_str()),
        ("attributes", attribute),
        ("count", "1"),
    ];
    let route = Route::normal("scim/lookup");
    let answer = world.connection.client().get(route, &path, &query).await?;
    let found = answer.body.get("Resources").and_then(|r| r.as_array());
    Ok(found.is_some_and(|r| !r.is_empty()))
}

/// What the app's service principal lacks on its resources. One look an object and interval serves all apps that use it.
pub(super) async fn resources(app: &DatabricksApp, world: &World, seen: &mut Observed) {
    let Some(remote) = seen.remote() else { return };
    let principal = remote.service_principal.client_id.clone();
    let guards = guard::guards(app, &principal);
    if principal.is_empty() || guards.is_empty() {
        return;
    }
    let clock = world.connection.clock();
    let interval = world.connection.permissions_interval().mul_f64(1.1);
    // A look that is older than the app does not know its service principal.
    let young = clock.service(world.memo.first_sight(app.remote_name()).elapsed());
    if young < interval && !seen.forced {
        seen.due_in(interval - young);
        return;
    }
    let began = Instant::now();
    for guard in guards {
        let mut slot = world.memo.guards.slot(guard.place.clone()).await;
        let age = slot.as_ref().map(|(at, _)| clock.service(at.elapsed()));
        let stale = seen.forced || age.is_none_or(|age| age >= interval);
        let held = |slot: &Slot<Granted>| {
            let found = slot.as_ref().and_then(|(_, granted)| granted.as_ref());
            found.is_none_or(|(_, body)| guard.holds(body))
        };
        // What an older look does not show is looked at again before anything is written. One made for another app while
        // this pass waited for its turn is as good as its own.
        let older = slot.as_ref().is_none_or(|(at, _)| *at < began);
        let restore = |id| Stripped {
            guard: guard.clone(),
            id,
        };
        let digest = restore(String::new()).digest();
        let refused = seen.refused.find("restore", &digest).is_some();
        if older && (stale || (!held(&slot) && !refused)) {
            let sent = Instant::now();
            match look(world, &guard).await {
                Ok(found) => *slot = Some((sent, Some(found))),
                Err(error) => {
                    // Who may not look cannot put back either, and is not asked again before the interval.
                    if !error.is_ambiguous() {
                        *slot = Some((sent, None));
                    }
                    let resource = &guard.resource;
                    debug!(app = app.remote_name(), resource, %error, "looking at a resource's grants");
                    continue;
                }
            }
        }
        let age = slot
            .as_ref()
            .map_or(interval, |(at, _)| clock.service(at.elapsed()));
        seen.due_in(interval.saturating_sub(age));
        if !held(&slot)
            && let Some((_, Some((id, _)))) = &*slot
        {
            seen.stripped.push(restore(id.clone()));
        }
    }
}

/// The grants of an object, and the id that they go by.
async fn look(world: &World, guard: &Guard) -> Result<(String, Value), Error> {
    let client = world.connection.client();
    let id = match &guard.place {
        Place::Endpoint { name } => {
            let path = format!("/api/2.0/serving-endpoints/{name}");
            let route = Route::normal("serving-endpoints/get");
            wire::text(&client.get(route, &path, &[]).await?.body, "id")
        }
        _ => String::new(),
    };
    let route = Route::normal("resource-permissions/get");
    let answer = client
        .get(route, &guard.place.path(&id), &guard.place.query())
        .await?;
    Ok((id, answer.body))
}
