//! Digests of what the service cannot be asked for.
use serde_json::{Value, json};

use super::spec::DatabricksApp;
use super::wire;
use crate::api::digest;

/// Digest of a deployment's inputs: source, command, variables, and the targets of variables that name a resource, as the
/// service resolves those only while it deploys. `None` without a source: somebody else deploys.
pub fn deployment(app: &DatabricksApp) -> Option<String> {
    app.spec.source.as_ref()?;
    let mut body = wire::deployment_body(app);
    // The order of variables means nothing to the app.
    if let Some(Value::Array(env)) = body.get_mut("env_vars") {
        env.sort_by_key(|e| e["name"].to_string());
    }
    let used = |name: &str| {
        let env = app.spec.deployment.as_ref().and_then(|d| d.env.as_ref());
        env.into_iter()
            .flatten()
            .any(|e| e.value_from.as_ref().is_some_and(|f| f.resource == name))
    };
    let mut targets: Vec<Value> = app
        .spec
        .resources
        .iter()
        .flatten()
        .filter(|r| used(&r.name))
        .map(|r| {
            let mut target = wire::resource(r);
            if let Some(fields) = target.as_object_mut() {
                fields.remove("description");
                // A changed permission does not change what the variable holds.
                for kind in fields.values_mut().filter_map(Value::as_object_mut) {
                    kind.remove("permission");
                }
            }
            target
        })
        .collect();
    targets.sort_by_key(|t| t["name"].to_string());
    Some(digest::of(&json!({"deployment": body, "targets": targets})))
}
