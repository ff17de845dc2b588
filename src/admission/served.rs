//! Whether the schema that an API server serves knows all that this operator writes and reads. Pure.
//!
//! It is compared by content: a served schema is older if it lacks a field, or a value of an enumeration, that ours has.
//! What it has beyond ours is a newer operator's, and no reason to wait: during an upgrade, and after one that was taken
//! back, definitions are newer than the operator.
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

/// Fields named in a message.
const NAMED: usize = 3;

/// What the served definitions lack of ours, a sentence a kind; empty if they lack nothing. `served`: the OpenAPI v3
/// document of our group and version, `None` if the API server has none.
pub fn lacking(ours: &[CustomResourceDefinition], served: Option<&Value>) -> Vec<String> {
    let kinds = ours.iter().filter_map(|crd| {
        let kind = &crd.spec.names.kind;
        let version = crd.spec.versions.first()?;
        let schema = version.schema.as_ref()?.open_api_v3_schema.as_ref()?;
        let schema = serde_json::to_value(schema).ok()?;
        let Some(there) = served.and_then(|served| component(served, kind)) else {
            return Some(format!("{kind}: its definition is not installed"));
        };
        let mut missing = Vec::new();
        compare(&schema, there, "", &mut missing);
        if missing.is_empty() {
            return None;
        }
        let more = match missing.len().saturating_sub(NAMED) {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        missing.truncate(NAMED);
        Some(format!(
            "{kind}: the served definition is older and lacks {}{more}",
            missing.join(", ")
        ))
    });
    kinds.collect()
}

/// The schema of a kind in an OpenAPI v3 document, whatever its name there.
fn component<'a>(served: &'a Value, kind: &str) -> Option<&'a Value> {
    let schemas = served["components"]["schemas"].as_object()?;
    schemas.values().find(|schema| {
        let kinds = schema["x-kubernetes-group-version-kind"].as_array();
        kinds.is_some_and(|kinds| kinds.iter().any(|known| known["kind"] == kind))
    })
}

fn compare(ours: &Value, served: &Value, path: &str, missing: &mut Vec<String>) {
    if served["x-kubernetes-preserve-unknown-fields"] == true {
        return;
    }
    for (name, field) in ours["properties"].as_object().into_iter().flatten() {
        let path = match path.is_empty() {
            true => name.clone(),
            false => format!("{path}.{name}"),
        };
        match served["properties"].get(name) {
            Some(there) => compare(field, there, &path, missing),
            None => missing.push(path),
        }
    }
    for (part, suffix) in [("items", "[]"), ("additionalProperties", ".*")] {
        if let (Some(field), Some(there)) = (ours.get(part), served.get(part)) {
            compare(field, there, &format!("{path}{suffix}"), missing);
        }
    }
    // Without an enumeration every value is taken.
    if let (Some(values), Some(there)) = (ours["enum"].as_array(), served["enum"].as_array()) {
        let unknown = values
            .iter()
            .filter(|value| !value.is_null() && !there.contains(value));
        missing.extend(unknown.map(|value| format!("{path}={value}")));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn definition(spec: Value) -> CustomResourceDefinition {
        let schema = json!({"type": "object", "properties": {"spec": spec}});
        serde_json::from_value(json!({
            "metadata": {"name": "apps.example.com"},
            "spec": {"group": "example.com", "scope": "Namespaced", "names": {"kind": "App", "plural": "apps"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]},
        }))
        .unwrap()
    }

    fn document(spec: &Value) -> Value {
        json!({"components": {"schemas": {"com.example.v1.App": {
            "properties": {"metadata": {}, "spec": spec},
            "x-kubernetes-group-version-kind": [{"group": "example.com", "kind": "App", "version": "v1"}],
        }}}})
    }

    fn spec() -> Value {
        json!({"properties": {
            "state": {"enum": ["On", "Off"]},
            "grants": {"items": {"properties": {"level": {}, "who": {}}}},
            "labels": {"additionalProperties": {"properties": {"value": {}}}},
            "template": {"x-kubernetes-preserve-unknown-fields": true},
        }})
    }

    #[test]
    fn the_same_definition_and_a_newer_one_lack_nothing() {
        let ours = [definition(spec())];
        let mut newer = spec();
        newer["properties"]["added"] = json!({});
        newer["properties"]["state"]["enum"] = json!(["On", "Off", "Paused"]);
        for served in [spec(), newer] {
            assert!(lacking(&ours, Some(&document(&served))).is_empty());
        }
    }

    #[test]
    fn what_an_older_definition_lacks_is_named() {
        let ours = [definition(spec())];
        let mut older = spec();
        older["properties"]["state"]["enum"] = json!(["On"]);
        older["properties"]["grants"]["items"]["properties"] = json!({"level": {}});
        older["properties"]["labels"]["additionalProperties"]["properties"] = json!({});
        let properties = older["properties"].as_object_mut().unwrap();
        properties.remove("template");
        let said = lacking(&ours, Some(&document(&older)));
        assert_eq!(
            said,
            [
                "App: the served definition is older and lacks spec.grants[].who, spec.labels.*.value, spec.state=\"Off\" and 1 more"
            ]
        );
        for nothing in [None, Some(json!({}))] {
            assert_eq!(
                lacking(&ours, nothing.as_ref()),
                ["App: its definition is not installed"]
            );
        }
    }
}
