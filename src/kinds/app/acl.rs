//! Grants: who holds which level on an app, as the service shows and takes it. Pure.
use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::spec::{Grant, Level, PermissionsMode, Principal};
use super::wire::{items, text};

/// Direct grants by principal, the highest level each. `service_principal` names are lower case, as users' are.
pub type Acl = BTreeMap<String, Level>;

/// The key of a principal in an [`Acl`]: users and service principals are compared without regard to case, groups not.
pub fn principal_key(principal: &Principal) -> String {
    match principal {
        Principal {
            user: Some(user), ..
        } => format!("user:{}", user.to_lowercase()),
        Principal {
            service_principal: Some(id),
            ..
        } => format!("sp:{}", id.to_lowercase()),
        Principal { group, .. } => format!("group:{}", group.as_deref().unwrap_or_default()),
    }
}

/// The reverse of [`principal_key`].
pub fn principal(key: &str) -> Principal {
    let (kind, name) = key.split_once(':').unwrap_or(("user", key));
    let name = Some(name.to_owned());
    let mut principal = Principal::default();
    match kind {
        "group" => principal.group = name,
        "sp" => principal.service_principal = name,
        _ => principal.user = name,
    }
    principal
}

/// Reads the direct grants of a permissions answer; inherited ones and the group `admins` are nobody's to change.
pub fn read_acl(body: &Value) -> Acl {
    let mut acl = Acl::new();
    for entry in items(body, "access_control_list") {
        let key = match (
            text(entry, "user_name"),
            text(entry, "group_name"),
            text(entry, "service_principal_name"),
        ) {
            (user, _, _) if !user.is_empty() => format!("user:{}", user.to_lowercase()),
            (_, group, _) if group == ADMINS => continue,
            (_, group, _) if !group.is_empty() => format!("group:{group}"),
            (_, _, id) if !id.is_empty() => format!("sp:{}", id.to_lowercase()),
            _ => continue,
        };
        let level = items(entry, "all_permissions")
            .filter(|p| p.get("inherited").and_then(Value::as_bool) != Some(true))
            .filter_map(|p| match text(p, "permission_level").as_str() {
                "CAN_MANAGE" => Some(Level::CanManage),
                "CAN_USE" => Some(Level::CanUse),
                _ => None,
            })
            .max();
        if let Some(level) = level {
            let held = acl.entry(key).or_insert(level);
            *held = level.max(*held);
        }
    }
    acl
}

/// Workspace administrators: they manage every app by inheritance, and nobody grants or takes that.
const ADMINS: &str = "admins";

/// The grants asked for, the operator's own identity with CAN_MANAGE among them. One principal's levels merge to the
/// highest.
pub fn wanted_acl(grants: &[Grant], identity: &str) -> Acl {
    let mut acl = Acl::new();
    let to_admins = |grant: &&Grant| grant.principal.group.as_deref() == Some(ADMINS);
    for grant in grants.iter().filter(|grant| !to_admins(grant)) {
        let held = acl
            .entry(principal_key(&grant.principal))
            .or_insert(grant.level);
        *held = grant.level.max(*held);
    }
    acl.insert(identity_key(identity), Level::CanManage);
    acl
}

/// Principals that the grants name more than once with different levels.
pub fn merged(grants: &[Grant]) -> Vec<String> {
    let mut levels: BTreeMap<String, Level> = BTreeMap::new();
    let mut twice = Vec::new();
    for grant in grants {
        let key = principal_key(&grant.principal);
        match levels.insert(key.clone(), grant.level) {
            Some(level) if level != grant.level && !twice.contains(&key) => twice.push(key),
            _ => {}
        }
    }
    twice
}

/// What the grants differ in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Difference {
    /// Granted too little, or not at all.
    pub missing: Acl,
    /// Granted too much, or to somebody whom nobody declared.
    pub excess: Acl,
}

impl Difference {
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.excess.is_empty()
    }
}

/// What differs between the grants wanted and those there, under that mode. The operator's own entry alone is no
/// difference: whether the service lists it is not settled.
pub fn difference(mode: PermissionsMode, want: &Acl, have: &Acl, identity: &str) -> Difference {
    let own = identity_key(identity);
    let missing = want
        .iter()
        .filter(|(key, level)| **key != own && have.get(*key).is_none_or(|held| held < level));
    let excess = have.iter().filter(|(key, level)| {
        **key != own
            && mode != PermissionsMode::Additive
            && want.get(*key).is_none_or(|wanted| wanted < level)
    });
    let owned = |(key, level): (&String, &Level)| (key.clone(), *level);
    Difference {
        missing: missing.map(owned).collect(),
        excess: excess.map(owned).collect(),
    }
}

/// The key of the operator's own identity: an e-mail address is a user, anything else a service principal.
pub fn identity_key(identity: &str) -> String {
    let kind = if identity.contains('@') { "user" } else { "sp" };
    format!("{kind}:{}", identity.to_lowercase())
}

/// The body of a PUT or PATCH of permissions.
pub fn acl_body(acl: &Acl) -> Value {
    let entries: Vec<Value> = acl
        .iter()
        .map(|(key, level)| {
            let (kind, name) = key.split_once(':').unwrap_or(("user", key));
            let field = match kind {
                "group" => "group_name",
                "sp" => "service_principal_name",
                _ => "user_name",
            };
            let level = match level {
                Level::CanUse => "CAN_USE",
                Level::CanManage => "CAN_MANAGE",
            };
            json!({field: name, "permission_level": level})
        })
        .collect();
    json!({ "access_control_list": entries })
}
