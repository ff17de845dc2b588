//! Parts of the spec as the service takes them, each with its reverse. Pure.
use serde_json::{Map, Value, json};

use super::super::spec::{
    AppResource, ConnectPermission, Database, EndpointPermission, Experiment, ExperimentPermission,
    GeniePermission, GenieSpace, GitProvider, GitRef, GitSource, Job, JobPermission, OtherApp,
    Postgres, Secret, SecretPermission, SecurablePermission, SecurableType, ServingEndpoint,
    SqlWarehouse, Telemetry, UcSecurable, UsePermission, WarehousePermission,
};
use super::text;

/// One resource as the service takes it.
pub fn resource(resource: &AppResource) -> Value {
    let mut body = Map::new();
    body.insert("name".into(), json!(resource.name));
    if let Some(description) = resource.description.as_ref().filter(|d| !d.is_empty()) {
        body.insert("description".into(), json!(description));
    }
    if let Some(r) = &resource.app {
        body.insert(
            "app".into(),
            json!({"name": r.name, "permission": r.permission.wire()}),
        );
    }
    if let Some(r) = &resource.database {
        body.insert("database".into(), json!({"instance_name": r.instance_name, "database_name": r.database_name, "permission": r.permission.wire()}));
    }
    if let Some(r) = &resource.postgres {
        let mut value = json!({"branch": r.branch, "permission": r.permission.wire()});
        if let Some(database) = &r.database {
            value["database"] = json!(database);
        }
        body.insert("postgres".into(), value);
    }
    if let Some(r) = &resource.experiment {
        body.insert(
            "experiment".into(),
            json!({"experiment_id": r.experiment_id, "permission": r.permission.wire()}),
        );
    }
    if let Some(r) = &resource.genie_space {
        body.insert(
            "genie_space".into(),
            json!({"name": r.name, "space_id": r.space_id, "permission": r.permission.wire()}),
        );
    }
    if let Some(r) = &resource.job {
        body.insert(
            "job".into(),
            json!({"id": r.id, "permission": r.permission.wire()}),
        );
    }
    if let Some(r) = &resource.secret {
        body.insert(
            "secret".into(),
            json!({"scope": r.scope, "key": r.key, "permission": r.permission.wire()}),
        );
    }
    if let Some(r) = &resource.serving_endpoint {
        body.insert(
            "serving_endpoint".into(),
            json!({"name": r.name, "permission": r.permission.wire()}),
        );
    }
    if let Some(r) = &resource.sql_warehouse {
        body.insert(
            "sql_warehouse".into(),
            json!({"id": r.id, "permission": r.permission.wire()}),
        );
    }
    if let Some(r) = &resource.uc_securable {
        body.insert("uc_securable".into(), json!({"securable_full_name": r.full_name, "securable_type": r.securable_type.wire(), "permission": r.permission.wire()}));
    }
    Value::Object(body)
}

/// The reverse of [`resource`]; `None`: of a kind or with a permission that the spec does not know.
pub fn resource_spec(body: &Value) -> Option<AppResource> {
    const KINDS: [&str; 10] = [
        "app",
        "database",
        "postgres",
        "experiment",
        "genie_space",
        "job",
        "secret",
        "serving_endpoint",
        "sql_warehouse",
        "uc_securable",
    ];
    let mut held = KINDS
        .iter()
        .filter_map(|kind| Some((*kind, body.get(kind).filter(|v| v.is_object())?)));
    let (kind, target) = held.next()?;
    if held.next().is_some() {
        return None;
    }
    let field = |key: &str| given(target, key);
    let granted = text(target, "permission");
    let mut resource = AppResource {
        name: given(body, "name")?,
        description: given(body, "description"),
        ..AppResource::default()
    };
    match kind {
        "app" => {
            resource.app = Some(OtherApp {
                name: field("name")?,
                permission: UsePermission::from_wire(&granted)?,
            });
        }
        "database" => {
            resource.database = Some(Database {
                instance_name: field("instance_name")?,
                database_name: field("database_name")?,
                permission: ConnectPermission::from_wire(&granted)?,
            });
        }
        "postgres" => {
            resource.postgres = Some(Postgres {
                branch: field("branch")?,
                database: given(target, "database"),
                permission: ConnectPermission::from_wire(&granted)?,
            });
        }
        "experiment" => {
            resource.experiment = Some(Experiment {
                experiment_id: field("experiment_id")?,
                permission: ExperimentPermission::from_wire(&granted)?,
            });
        }
        "genie_space" => {
            resource.genie_space = Some(GenieSpace {
                name: field("name")?,
                space_id: field("space_id")?,
                permission: GeniePermission::from_wire(&granted)?,
            });
        }
        "job" => {
            resource.job = Some(Job {
                id: field("id")?,
                permission: JobPermission::from_wire(&granted)?,
            });
        }
        "secret" => {
            resource.secret = Some(Secret {
                scope: field("scope")?,
                key: field("key")?,
                permission: SecretPermission::from_wire(&granted)?,
            });
        }
        "serving_endpoint" => {
            resource.serving_endpoint = Some(ServingEndpoint {
                name: field("name")?,
                permission: EndpointPermission::from_wire(&granted)?,
            });
        }
        "sql_warehouse" => {
            resource.sql_warehouse = Some(SqlWarehouse {
                id: field("id")?,
                permission: WarehousePermission::from_wire(&granted)?,
            });
        }
        _ => {
            resource.uc_securable = Some(UcSecurable {
                full_name: field("securable_full_name")?,
                securable_type: SecurableType::from_wire(&text(target, "securable_type"))?,
                permission: SecurablePermission::from_wire(&granted)?,
            });
        }
    }
    Some(resource)
}

/// A repository as the service takes it.
pub fn git_repository(git: &GitSource) -> Option<Value> {
    let mut body = json!({"provider": git.provider.wire(), "url": git.url});
    if git.auto_deploy {
        body["auto_deploy"] = json!(true);
    }
    Some(body)
}

/// The reverse of [`git_repository`] and [`git_source`]; `None`: without a provider that the spec knows, or without a
/// reference.
pub fn git_spec(repository: &Value, source: &Value) -> Option<GitSource> {
    let mut reference = GitRef::default();
    match (given(source, "branch"), given(source, "tag")) {
        (Some(branch), _) => reference.branch = Some(branch),
        (_, Some(tag)) => reference.tag = Some(tag),
        _ => reference.commit = Some(given(source, "commit")?),
    }
    let auto = repository.get("auto_deploy").and_then(Value::as_bool);
    Some(GitSource {
        url: given(repository, "url")?,
        provider: GitProvider::from_wire(&text(repository, "provider"))?,
        path: given(source, "source_code_path"),
        reference,
        auto_deploy: auto.unwrap_or_default(),
        credential_secret_ref: None,
    })
}

/// What of a repository to deploy, as the service takes it.
pub fn git_source(git: &GitSource) -> Value {
    let reference = &git.reference;
    let mut body = match (&reference.branch, &reference.tag, &reference.commit) {
        (Some(branch), ..) => json!({ "branch": branch }),
        (_, Some(tag), _) => json!({ "tag": tag }),
        (.., commit) => json!({ "commit": commit.as_deref().unwrap_or_default() }),
    };
    if let Some(path) = &git.path {
        body["source_code_path"] = json!(path);
    }
    body
}

/// Telemetry tables as the service takes them.
pub fn telemetry(telemetry: &Telemetry) -> Value {
    json!({"unity_catalog": {
        "logs_table": telemetry.logs_table,
        "metrics_table": telemetry.metrics_table,
        "traces_table": telemetry.traces_table,
    }})
}

/// The reverse of [`telemetry`]; `None`: of another kind than tables of Unity Catalog.
pub fn telemetry_spec(body: &Value) -> Option<Telemetry> {
    let tables = &body["unity_catalog"];
    let table = |key: &str| given(tables, key);
    Some(Telemetry {
        logs_table: table("logs_table")?,
        metrics_table: table("metrics_table")?,
        traces_table: table("traces_table")?,
    })
}

/// A text that holds something.
pub fn given(value: &Value, key: &str) -> Option<String> {
    Some(text(value, key)).filter(|text| !text.is_empty())
}
