//! Resources of an app: what they refer to must exist, and the app's service principal is granted access to it.
use serde_json::{Map, Value};

use super::super::directory::Kind as Member;
use super::super::permissions::Grant;
use super::super::{Workspace, objects};
use super::model::App;
use crate::error::ApiError;
use crate::faults::Kind;

/// Kinds of resources with the permissions that each takes.
const PERMISSIONS: [(&str, &[&str]); 10] = [
    ("app", &["CAN_USE"]),
    ("database", &["CAN_CONNECT_AND_CREATE"]),
    ("postgres", &["CAN_CONNECT_AND_CREATE"]),
    ("experiment", &["CAN_READ", "CAN_EDIT", "CAN_MANAGE"]),
    (
        "genie_space",
        &["CAN_VIEW", "CAN_RUN", "CAN_EDIT", "CAN_MANAGE"],
    ),
    (
        "job",
        &["CAN_VIEW", "CAN_MANAGE_RUN", "CAN_MANAGE", "IS_OWNER"],
    ),
    ("secret", &["READ", "WRITE", "MANAGE"]),
    ("serving_endpoint", &["CAN_VIEW", "CAN_QUERY", "CAN_MANAGE"]),
    ("sql_warehouse", &["CAN_USE", "CAN_MANAGE", "IS_OWNER"]),
    ("uc_securable", &[]),
];

/// What can be granted on each type of securable. The type decides: the field itself takes any of them.
const PRIVILEGES: [(&str, &[&str]); 4] = [
    ("TABLE", &["SELECT", "MODIFY"]),
    ("VOLUME", &["READ_VOLUME", "WRITE_VOLUME"]),
    ("FUNCTION", &["EXECUTE"]),
    ("CONNECTION", &["USE_CONNECTION"]),
];

/// What a resource refers to, and with which permission.
struct Reference<'a> {
    kind: &'static str,
    fields: &'a Map<String, Value>,
    permission: &'a str,
}

impl<'a> Reference<'a> {
    fn read(resource: &'a Value) -> Result<Self, ApiError> {
        let name = resource["name"].as_str().unwrap_or_default();
        let kinds: Vec<_> = PERMISSIONS
            .iter()
            .filter_map(|(kind, allowed)| Some((*kind, *allowed, resource.get(kind)?.as_object()?)))
            .collect();
        let [(kind, allowed, fields)] = kinds[..] else {
            return Err(ApiError::invalid(format!(
                "App resource '{name}' must have exactly one of {}",
                PERMISSIONS.map(|(kind, _)| kind).join(", ")
            )));
        };
        let permission = fields
            .get("permission")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let allowed = match kind {
            "uc_securable" => {
                let wanted = fields.get("securable_type").and_then(Value::as_str);
                PRIVILEGES
                    .iter()
                    .find(|(known, _)| wanted == Some(known))
                    .map(|(_, privileges)| *privileges)
                    .ok_or_else(|| {
                        ApiError::invalid(format!(
                            "App resource '{name}' has no valid securable_type"
                        ))
                    })?
            }
            _ => allowed,
        };
        if !allowed.contains(&permission) {
            return Err(ApiError::invalid(format!(
                "Invalid permission '{permission}' of app resource '{name}'. Valid permissions: {}",
                allowed.join(", ")
            )));
        }
        Ok(Self {
            kind,
            fields,
            permission,
        })
    }

    fn field(&self, name: &str) -> &'a str {
        self.fields
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    fn required(&self, name: &str) -> Result<&'a str, ApiError> {
        match self.field(name) {
            "" => Err(ApiError::invalid(format!(
                "Missing required field: {}.{name}",
                self.kind
            ))),
            value => Ok(value),
        }
    }

    /// Refuses what does not exist, in the words of the API that the object belongs to.
    fn check(&self, workspace: &Workspace) -> Result<(), ApiError> {
        let object = |kind: &str, id: &str, what: &str| match workspace.objects.contains(kind, id) {
            true => Ok(()),
            false => Err(ApiError::missing(format!("{what} {id} does not exist."))),
        };
        match self.kind {
            "app" => workspace.app(self.required("name")?).map(|_| ()),
            "database" => {
                self.required("database_name")?;
                object(
                    objects::DATABASES,
                    self.required("instance_name")?,
                    "Database instance",
                )
            }
            "postgres" => object(objects::POSTGRES, self.required("branch")?, "Branch"),
            "experiment" => object(
                objects::EXPERIMENTS,
                self.required("experiment_id")?,
                "Node ID",
            ),
            "genie_space" => object(objects::GENIE, self.required("space_id")?, "Genie space"),
            "job" => workspace.jobs.check(self.required("id")?),
            "secret" => workspace
                .secrets
                .check(self.required("scope")?, self.required("key")?),
            "serving_endpoint" => {
                let name = self.required("name")?;
                workspace
                    .objects
                    .endpoint_id(name)
                    .map(|_| ())
                    .ok_or_else(|| {
                        ApiError::missing(format!("Endpoint with name '{name}' does not exist."))
                    })
            }
            "sql_warehouse" => {
                let id = self.required("id")?;
                match workspace.warehouses.contains(id) {
                    true => Ok(()),
                    false => Err(ApiError::missing(format!(
                        "SQL warehouse {id} does not exist."
                    ))),
                }
            }
            _ => workspace.unity.check(
                self.required("securable_type")?,
                self.required("securable_full_name")?,
            ),
        }
    }

    /// Where the grant lands: (type as in permission paths, id). Secrets and securables have lists of their own.
    fn object(&self, workspace: &Workspace) -> Option<(&'static str, String)> {
        let (kind, id) = match self.kind {
            "app" => ("apps", self.field("name")),
            "database" => (objects::DATABASES, self.field("instance_name")),
            "postgres" => (objects::POSTGRES, self.field("branch")),
            "experiment" => (objects::EXPERIMENTS, self.field("experiment_id")),
            "genie_space" => (objects::GENIE, self.field("space_id")),
            "job" => ("jobs", self.field("id")),
            "sql_warehouse" => ("warehouses", self.field("id")),
            "serving_endpoint" => (
                objects::SERVING_ENDPOINTS,
                workspace.objects.endpoint_id(self.field("name"))?,
            ),
            _ => return None,
        };
        Some((kind, id.to_owned()))
    }
}

/// Checks a whole list and returns it as the service keeps it.
pub fn check(workspace: &Workspace, app: &str, list: &Value) -> Result<Value, ApiError> {
    let resources = list
        .as_array()
        .ok_or_else(|| ApiError::invalid("resources must be a list"))?;
    let mut names = Vec::new();
    for resource in resources {
        let name = resource["name"].as_str().unwrap_or_default();
        if name.is_empty() {
            return Err(ApiError::invalid("Missing required field: resources.name"));
        }
        if names.contains(&name) {
            return Err(ApiError::invalid(format!(
                "Duplicate app resource name: {name}"
            )));
        }
        names.push(name);
        let reference = Reference::read(resource)?;
        reference.check(workspace).map_err(|missing| {
            let played = workspace.faults.fire(app, |k| match k {
                Kind::MissingReference {
                    status_code,
                    error_code,
                } => Some((*status_code, error_code.clone())),
                _ => None,
            });
            match played {
                Some((status, code)) if missing.status == 404 => {
                    ApiError::new(status, code, missing.message)
                }
                _ => missing,
            }
        })?;
    }
    let mut kept = list.clone();
    for securable in kept
        .as_array_mut()
        .into_iter()
        .flatten()
        .filter_map(|r| r.get_mut("uc_securable"))
    {
        let kind = securable["securable_type"].as_str().unwrap_or_default();
        securable["securable_kind"] = format!("{kind}_STANDARD").into();
    }
    Ok(kept)
}

impl Workspace {
    /// Grants an app's service principal what its resources name.
    pub(super) fn grant_resources(&mut self, service_principal: &str, resources: &Value) {
        for resource in resources.as_array().into_iter().flatten() {
            let Ok(reference) = Reference::read(resource) else {
                continue;
            };
            let permission = reference.permission;
            match (reference.kind, reference.object(self)) {
                ("secret", _) => {
                    let scope = reference.field("scope");
                    self.secrets.grant(scope, service_principal, permission);
                }
                ("uc_securable", _) => self.unity.grant(
                    reference.field("securable_type"),
                    reference.field("securable_full_name"),
                    service_principal,
                    permission,
                ),
                (_, Some((kind, id))) => self.acls.grant(
                    kind,
                    &id,
                    Grant {
                        kind: Member::ServicePrincipal,
                        name: service_principal.to_owned(),
                        level: permission.to_owned(),
                    },
                ),
                (_, None) => {}
            }
        }
    }

    /// Something was made that may have been there before: a fault may give it the grants of apps that refer to it.
    pub(in crate::workspace) fn follow_recreated_objects(&mut self) {
        let follows = |app: &&App| {
            self.faults
                .fire(&app.name, |k| {
                    matches!(k, Kind::GrantsFollowRecreatedObjects {}).then_some(())
                })
                .is_some()
        };
        let referring: Vec<(String, Value)> = self
            .apps
            .by_name
            .values()
            .filter(follows)
            .filter_map(|app| {
                let principal = app.identity.service_principal_client_id.clone();
                Some((principal, app.settings.get("resources")?.clone()))
            })
            .collect();
        for (principal, resources) in referring {
            self.grant_resources(&principal, &resources);
        }
    }

    /// Takes the grants of resources away again.
    pub(super) fn revoke_resources(&mut self, service_principal: &str, resources: &[&Value]) {
        for resource in resources {
            let Ok(reference) = Reference::read(resource) else {
                continue;
            };
            match (reference.kind, reference.object(self)) {
                ("secret", _) => {
                    let scope = reference.field("scope");
                    self.secrets.revoke(scope, service_principal);
                }
                ("uc_securable", _) => self.unity.revoke(
                    reference.field("securable_type"),
                    reference.field("securable_full_name"),
                    service_principal,
                ),
                (_, Some((kind, id))) => {
                    self.acls
                        .revoke(kind, &id, Member::ServicePrincipal, service_principal);
                }
                (_, None) => {}
            }
        }
    }
}
