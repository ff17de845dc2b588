//! The input fields of an app: which there are, what they may hold, and what they read as when nobody set them.
use serde_json::{Map, Value};

use super::super::Workspace;
use crate::error::ApiError;
use crate::faults::Kind;

/// What an asynchronous update may change, in the order in which the service lists it.
pub const UPDATABLE: [&str; 11] = [
    "description",
    "budget_policy_id",
    "usage_policy_id",
    "resources",
    "user_api_scopes",
    "forward_user_access_token",
    "compute_size",
    "compute_min_instances",
    "compute_max_instances",
    "git_repository",
    "telemetry_export_destinations",
];

/// Scopes that every app has.
pub const DEFAULT_SCOPES: [&str; 2] = ["iam.access-control:read", "iam.current-user:read"];

/// What users are known to be able to grant; a seed adds to it.
const SCOPES: [&str; 20] = [
    "sql",
    "sql.statement-execution",
    "sql.warehouses",
    "sql.queries",
    "sql.alerts",
    "sql.dashboards",
    "dashboards.genie",
    "files.files",
    "serving.serving-endpoints",
    "model-serving",
    "vectorsearch.vector-search-endpoints",
    "vectorsearch.vector-search-indexes",
    "catalog.catalogs:read",
    "catalog.schemas:read",
    "catalog.tables:read",
    "catalog.connections",
    "workspace.workspace",
    "postgres",
    "iam.access-control:read",
    "iam.current-user:read",
];

/// In the spelling that the service keeps; requests may write them in any case.
const PROVIDERS: [&str; 8] = [
    "gitHub",
    "gitHubEnterprise",
    "bitbucketCloud",
    "bitbucketServer",
    "azureDevOpsServices",
    "gitLab",
    "gitLabEnterpriseEdition",
    "awsCodeCommit",
];

/// The settings in a body: known fields that hold something, checked and in the spelling that the service keeps.
pub fn read(
    workspace: &Workspace,
    app: &str,
    body: &Map<String, Value>,
) -> Result<Map<String, Value>, ApiError> {
    let mut settings = Map::new();
    for field in UPDATABLE {
        let Some(value) = body.get(field).filter(|v| !is_nothing(v)) else {
            continue;
        };
        let kept = check(workspace, app, field, value)?;
        settings.insert(field.to_owned(), kept);
    }
    check_instances(workspace, app, body)?;
    let both = ["budget_policy_id", "usage_policy_id"]
        .iter()
        .all(|policy| settings.contains_key(*policy));
    if both
        && workspace
            .faults
            .fire(app, |k| (*k == Kind::PoliciesExclusive {}).then_some(()))
            .is_some()
    {
        return Err(ApiError::invalid(
            "Only one of budget_policy_id and usage_policy_id can be set.",
        ));
    }
    Ok(settings)
}

/// The default that a field without a value reads as.
pub fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Bool(_) => false,
    }
}

fn check(
    workspace: &Workspace,
    app: &str,
    field: &'static str,
    value: &Value,
) -> Result<Value, ApiError> {
    let fires = |kind: Kind| {
        workspace
            .faults
            .fire(app, |k| (*k == kind).then_some(()))
            .is_some()
    };
    match field {
        "resources" => super::resources::check(workspace, app, value),
        "user_api_scopes" => {
            if fires(Kind::UserAuthorizationRefused {}) {
                return Err(ApiError::bad_request(
                    "User token passthrough is not enabled for this workspace.",
                ));
            }
            check_scopes(workspace, value)
        }
        "compute_size" => match value.as_str() {
            Some("MEDIUM" | "LARGE" | "XLARGE") => Ok(value.clone()),
            _ => Err(ApiError::invalid(format!(
                "Invalid compute size {value}. Must be one of MEDIUM, LARGE, XLARGE."
            ))),
        },
        "git_repository" => {
            if fires(Kind::GitRefused {}) {
                return Err(ApiError::bad_request(
                    "Git repository cannot be defined in this workspace. Please try again later.",
                ));
            }
            check_repository(value)
        }
        "telemetry_export_destinations" => check_telemetry(value),
        "forward_user_access_token" => typed(field, value, value.is_boolean(), "a boolean"),
        "compute_min_instances" | "compute_max_instances" => {
            typed(field, value, value.as_u64().is_some(), "a positive number")
        }
        _ => typed(field, value, value.is_string(), "a string"),
    }
}

fn typed(field: &str, value: &Value, fits: bool, expected: &str) -> Result<Value, ApiError> {
    match fits {
        true => Ok(value.clone()),
        false => Err(ApiError::invalid(format!(
            "{field} must be {expected}, got {value}"
        ))),
    }
}

fn check_scopes(workspace: &Workspace, value: &Value) -> Result<Value, ApiError> {
    let scopes = value
        .as_array()
        .ok_or_else(|| ApiError::invalid("user_api_scopes must be a list"))?;
    for scope in scopes {
        let scope = scope.as_str().unwrap_or_default();
        if !SCOPES.contains(&scope) && !workspace.rules.scopes.iter().any(|s| s == scope) {
            return Err(ApiError::invalid(format!(
                "Invalid user API scope: '{scope}'. It is not one of the scopes that users can grant to apps."
            )));
        }
    }
    Ok(value.clone())
}

fn check_repository(value: &Value) -> Result<Value, ApiError> {
    let provider = value["provider"].as_str().unwrap_or_default();
    let canonical = PROVIDERS
        .iter()
        .find(|known| known.eq_ignore_ascii_case(provider))
        .ok_or_else(|| ApiError::invalid(format!("Invalid Git provider: '{provider}'")))?;
    if value["url"].as_str().unwrap_or_default().is_empty() {
        return Err(ApiError::invalid(
            "Missing required field: git_repository.url",
        ));
    }
    let mut kept = value.clone();
    kept["provider"] = (*canonical).into();
    if let Some(fields) = kept.as_object_mut() {
        fields.remove("caller_credential_id");
    }
    Ok(kept)
}

fn check_telemetry(value: &Value) -> Result<Value, ApiError> {
    for destination in value.as_array().into_iter().flatten() {
        for table in ["logs_table", "metrics_table", "traces_table"] {
            let name = destination["unity_catalog"][table].as_str();
            if name.is_none_or(|n| n.split('.').count() != 3) {
                return Err(ApiError::invalid(format!(
                    "telemetry_export_destinations.unity_catalog.{table} must be the full name of a table"
                )));
            }
        }
    }
    typed(
        "telemetry_export_destinations",
        value,
        value.is_array(),
        "a list",
    )
}

fn check_instances(
    workspace: &Workspace,
    app: &str,
    body: &Map<String, Value>,
) -> Result<(), ApiError> {
    let given = |field: &str| body.get(field).and_then(Value::as_u64).filter(|n| *n > 0);
    let (least, most) = (
        given("compute_min_instances"),
        given("compute_max_instances"),
    );
    if least.is_none() && most.is_none() {
        return Ok(());
    }
    let refused = workspace
        .faults
        .fire(app, |k| {
            matches!(k, Kind::InstanceCountsRefused {}).then_some(())
        })
        .is_some();
    if refused {
        return Err(ApiError::bad_request(
            "Manual instance count configuration is not enabled in this workspace.",
        ));
    }
    match (least, most) {
        (Some(least), Some(most)) if least <= most => Ok(()),
        (Some(_), Some(_)) => Err(ApiError::invalid(
            "compute_min_instances must not be greater than compute_max_instances.",
        )),
        _ => Err(ApiError::invalid(
            "compute_min_instances and compute_max_instances must be set together.",
        )),
    }
}
