//! Grants that an app's service principal holds on the app's resources: where they lie, whether one was stripped, and the
//! call that puts it back. Pure.
//!
//! The platform grants them when a resource is declared; a later full replacement of the object's permissions by another
//! tool takes them away. Databases have no such list that the contract describes: what the app holds there is not guarded.
use std::fmt;

use serde_json::{Value, json};

use super::spec::{
    AppResource, DatabricksApp, EndpointPermission, ExperimentPermission, GeniePermission,
    JobPermission, SecretPermission, UsePermission, WarehousePermission,
};
use super::wire::{items, text};
use crate::api::digest;
use crate::databricks::Method;

/// Where the grants of an object lie.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// `/permissions/{kind}/{id}`.
    Permissions {
        kind: &'static str,
        id: String,
    },
    /// A serving endpoint: its permissions go by another id than its name.
    Endpoint {
        name: String,
    },
    Scope {
        name: String,
    },
    Securable {
        kind: String,
        name: String,
    },
}

/// A grant that has to be there.
#[derive(Clone, Debug, PartialEq)]
pub struct Guard {
    /// Name of the resource in the spec.
    pub resource: String,
    pub place: Place,
    /// Application id of the app's service principal.
    pub principal: String,
    pub level: &'static str,
    /// Levels of such an object, from the least to the most; empty: each stands alone.
    levels: &'static [&'static str],
}

/// A grant that is gone, and the id that its place goes by.
#[derive(Clone, Debug, PartialEq)]
pub struct Stripped {
    pub guard: Guard,
    /// Of a serving endpoint.
    pub id: String,
}

impl Stripped {
    pub fn digest(&self) -> String {
        let guard = &self.guard;
        digest::of(&json!([guard.resource, guard.principal, guard.level]))
    }

    /// The call that adds this one grant and leaves all others.
    pub fn restore(&self) -> (Method, String, Value) {
        let Guard {
            principal, level, ..
        } = &self.guard;
        let entry = json!({"access_control_list": [{"service_principal_name": principal, "permission_level": level}]});
        match &self.guard.place {
            Place::Scope { name } => (
                Method::POST,
                "/api/2.0/secrets/acls/put".into(),
                json!({"scope": name, "principal": principal, "permission": level}),
            ),
            place @ Place::Securable { .. } => (
                Method::PATCH,
                place.path(""),
                json!({"changes": [{"principal": principal, "add": [level]}]}),
            ),
            place => (Method::PATCH, place.path(&self.id), entry),
        }
    }
}

impl fmt::Display for Stripped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} on resource {}",
            self.guard.level, self.guard.resource
        )
    }
}

impl Place {
    /// Path of its list of grants; `id`: of a serving endpoint.
    pub fn path(&self, id: &str) -> String {
        match self {
            Self::Permissions { kind, id } => format!("/api/2.0/permissions/{kind}/{id}"),
            Self::Endpoint { .. } => format!("/api/2.0/permissions/serving-endpoints/{id}"),
            Self::Scope { .. } => "/api/2.0/secrets/acls/list".into(),
            Self::Securable { kind, name } => {
                format!("/api/2.1/unity-catalog/permissions/{kind}/{name}")
            }
        }
    }

    /// Query of the look at it.
    pub fn query(&self) -> Vec<(&'static str, &str)> {
        match self {
            Self::Scope { name } => vec![("scope", name)],
            _ => Vec::new(),
        }
    }
}

impl Guard {
    /// Whether an answer of the look shows the grant, or a higher one; inherited ones count.
    pub fn holds(&self, body: &Value) -> bool {
        let is_ours = |name: String| name.eq_ignore_ascii_case(&self.principal);
        let enough = |level: String| {
            let rank = |wanted: &str| self.levels.iter().position(|known| *known == wanted);
            level == self.level || rank(&level) > rank(self.level)
        };
        match &self.place {
            Place::Scope { .. } => items(body, "items")
                .any(|i| is_ours(text(i, "principal")) && enough(text(i, "permission"))),
            Place::Securable { .. } => items(body, "privilege_assignments")
                .filter(|a| is_ours(text(a, "principal")))
                .flat_map(|a| items(a, "privileges"))
                .filter_map(Value::as_str)
                .any(|p| p == self.level || p == "ALL_PRIVILEGES"),
            Place::Permissions { .. } | Place::Endpoint { .. } => {
                items(body, "access_control_list")
                    .filter(|e| is_ours(text(e, "service_principal_name")))
                    .flat_map(|e| items(e, "all_permissions"))
                    .any(|p| enough(text(p, "permission_level")))
            }
        }
    }
}

/// The grants that the app's service principal has to hold.
pub fn guards(app: &DatabricksApp, principal: &str) -> Vec<Guard> {
    let resources = app.spec.resources.iter().flatten();
    resources
        .filter_map(|resource| guard(resource, principal))
        .collect()
}

fn guard(resource: &AppResource, principal: &str) -> Option<Guard> {
    let permissions = |kind, id: &String| Place::Permissions {
        kind,
        id: id.clone(),
    };
    let (place, level, levels) = if let Some(r) = &resource.app {
        (
            permissions("apps", &r.name),
            r.permission.wire(),
            UsePermission::WIRE,
        )
    } else if let Some(r) = &resource.experiment {
        (
            permissions("experiments", &r.experiment_id),
            r.permission.wire(),
            ExperimentPermission::WIRE,
        )
    } else if let Some(r) = &resource.genie_space {
        (
            permissions("genie", &r.space_id),
            r.permission.wire(),
            GeniePermission::WIRE,
        )
    } else if let Some(r) = &resource.job {
        (
            permissions("jobs", &r.id),
            r.permission.wire(),
            JobPermission::WIRE,
        )
    } else if let Some(r) = &resource.sql_warehouse {
        (
            permissions("warehouses", &r.id),
            r.permission.wire(),
            WarehousePermission::WIRE,
        )
    } else if let Some(r) = &resource.serving_endpoint {
        (
            Place::Endpoint {
                name: r.name.clone(),
            },
            r.permission.wire(),
            EndpointPermission::WIRE,
        )
    } else if let Some(r) = &resource.secret {
        (
            Place::Scope {
                name: r.scope.clone(),
            },
            r.permission.wire(),
            SecretPermission::WIRE,
        )
    } else if let Some(r) = &resource.uc_securable {
        let kind = r.securable_type.wire().to_lowercase();
        let place = Place::Securable {
            kind,
            name: r.full_name.clone(),
        };
        (place, r.permission.wire(), &[][..])
    } else {
        return None;
    };
    Some(Guard {
        resource: resource.name.clone(),
        place,
        principal: principal.to_owned(),
        level,
        levels,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn guarded(resource: Value) -> Guard {
        let resource: AppResource = serde_json::from_value(resource).unwrap();
        guard(&resource, "Sp-1").unwrap()
    }

    #[test]
    fn a_grant_counts_when_it_is_as_high_as_declared_or_higher_and_inherited_ones_count() {
        let guard =
            guarded(json!({"name": "w", "sqlWarehouse": {"id": "1", "permission": "CanUse"}}));
        let acl = |who: &str, level: &str| {
            json!({"access_control_list": [{"service_principal_name": who,
            "all_permissions": [{"permission_level": level, "inherited": true}]}]})
        };
        assert!(guard.holds(&acl("sp-1", "CAN_USE")) && guard.holds(&acl("SP-1", "CAN_MANAGE")));
        assert!(!guard.holds(&acl("sp-2", "CAN_MANAGE")) && !guard.holds(&acl("sp-1", "CAN_VIEW")));
        assert!(!guard.holds(&json!({})));
    }

    #[test]
    fn putting_a_grant_back_names_one_principal_and_leaves_the_others() {
        let scope = guarded(
            json!({"name": "s", "secret": {"scope": "a", "key": "k", "permission": "Read"}}),
        );
        assert!(!scope.holds(&json!({"items": [{"principal": "sp-2", "permission": "READ"}]})));
        assert!(scope.holds(&json!({"items": [{"principal": "sp-1", "permission": "WRITE"}]})));
        let (_, path, body) = Stripped {
            guard: scope,
            id: String::new(),
        }
        .restore();
        assert_eq!(path, "/api/2.0/secrets/acls/put");
        assert_eq!(
            body,
            json!({"scope": "a", "principal": "Sp-1", "permission": "READ"})
        );
        let table = guarded(
            json!({"name": "t", "ucSecurable": {"fullName": "c.s.t", "type": "Table", "permission": "Select"}}),
        );
        assert!(table.holds(
            &json!({"privilege_assignments": [{"principal": "sp-1", "privileges": ["SELECT"]}]})
        ));
        let (method, path, _) = Stripped {
            guard: table,
            id: String::new(),
        }
        .restore();
        assert_eq!(
            (method, path.as_str()),
            (
                Method::PATCH,
                "/api/2.1/unity-catalog/permissions/table/c.s.t"
            )
        );
    }
}
