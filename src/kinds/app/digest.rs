//! Digests of what the service cannot be asked for.
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::spec::DatabricksApp;
use super::wire;

/// sha256 in hex of a value's canonical JSON (keys sorted, no white space).
pub fn of(value: &Value) -> String {
    let mut text = String::new();
    canonical(value, &mut text);
    Sha256::digest(text.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            out.push('{');
            for (i, key) in keys.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                canonical(&map[key], out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                canonical(item, out);
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

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
    Some(of(&json!({"deployment": body, "targets": targets})))
}
