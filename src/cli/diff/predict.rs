//! What a server-side apply leaves of an object. Pure.
//!
//! What the manager applied before and no longer names goes, unless somebody else holds it, too; what others set stays.
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use serde_json::{Map, Value};

use crate::api::FIELD_MANAGER;

/// `live` after the operator applied `wish`; both are objects, or parts of these, from the root. Lists are taken as a
/// whole. An object that tells nothing of its managers is taken to be the operator's alone.
pub fn applied(live: &Value, wish: &Value, metadata: &ObjectMeta) -> Value {
    let entries = metadata.managed_fields.as_deref().unwrap_or_default();
    if entries.is_empty() {
        let mut left = live.clone();
        left["spec"] = wish["spec"].clone();
        left["metadata"] = merged(&live["metadata"], &wish["metadata"]);
        return left;
    }
    // What others write to the status is no part of it.
    let whole = entries.iter().filter(|entry| entry.subresource.is_none());
    let (ours, others): (Vec<&ManagedFieldsEntry>, Vec<_>) = whole.partition(|entry| {
        entry.manager.as_deref() == Some(FIELD_MANAGER)
            && entry.operation.as_deref() == Some("Apply")
    });
    let fields = |entry: &&'_ ManagedFieldsEntry| Some(entry.fields_v1.clone()?.0);
    let ours = ours.iter().find_map(fields).unwrap_or_default();
    let others: Vec<Value> = others.iter().filter_map(fields).collect();
    left(live, wish, &ours, &others.iter().collect::<Vec<_>>())
}

fn merged(live: &Value, wish: &Value) -> Value {
    match (live, wish) {
        (Value::Object(live), Value::Object(wish)) => {
            let mut all = live.clone();
            for (key, value) in wish {
                let below = all.get(key).unwrap_or(&Value::Null);
                let value = merged(below, value);
                all.insert(key.clone(), value);
            }
            Value::Object(all)
        }
        (_, wish) => wish.clone(),
    }
}

/// `ours`, `others`: of each manager the fields below here that it holds, as `managedFields` writes them.
fn left(live: &Value, wish: &Value, ours: &Value, others: &[&Value]) -> Value {
    let (Value::Object(live), Value::Object(wish)) = (live, wish) else {
        return wish.clone();
    };
    let mut all = Map::new();
    for (key, value) in live {
        let (ours, others) = below(key, ours, others);
        let kept = match wish.get(key) {
            Some(wish) => Some(left(value, wish, ours, &others)),
            None => rest(value, ours, &others),
        };
        all.extend(kept.map(|kept| (key.clone(), kept)));
    }
    for (key, value) in wish {
        all.entry(key.clone()).or_insert_with(|| value.clone());
    }
    Value::Object(all)
}

/// What is left of a value that the apply does not name.
fn rest(live: &Value, ours: &Value, others: &[&Value]) -> Option<Value> {
    if ours.is_null() {
        return Some(live.clone());
    }
    let inside = ours
        .as_object()
        .is_some_and(|o| o.keys().any(|key| key.starts_with("f:")));
    let Some(members) = live.as_object().filter(|_| inside) else {
        return (!others.is_empty()).then(|| live.clone());
    };
    let mut all = Map::new();
    for (key, value) in members {
        let (ours, others) = below(key, ours, others);
        all.extend(rest(value, ours, &others).map(|rest| (key.clone(), rest)));
    }
    (!all.is_empty() || !others.is_empty()).then_some(Value::Object(all))
}

fn below<'a>(key: &str, ours: &'a Value, others: &[&'a Value]) -> (&'a Value, Vec<&'a Value>) {
    let key = format!("f:{key}");
    let inner = others.iter().map(|other| &other[&key]);
    (
        &ours[&key],
        inner.filter(|other| !other.is_null()).collect(),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn metadata(ours: Value, others: Value) -> ObjectMeta {
        let entry = |manager: &str, operation: &str, fields: &Value| {
            json!({"manager": manager, "operation": operation, "apiVersion": "v1",
                "fieldsType": "FieldsV1", "fieldsV1": fields})
        };
        serde_json::from_value(json!({"managedFields": [
            entry(FIELD_MANAGER, "Apply", &ours), entry("kubectl-edit", "Update", &others)]}))
        .unwrap()
    }

    #[test]
    fn a_field_that_left_the_template_goes_and_what_others_set_stays() {
        let live = json!({
            "metadata": {"labels": {"ours": "1", "theirs": "2", "both": "3"}},
            "spec": {"description": "old", "compute": {"size": "Large", "minInstances": 2},
                "resources": [{"name": "a"}], "telemetry": [{"name": "b"}], "suspend": true}});
        let leaf = json!({});
        let ours = json!({
            "f:metadata": {"f:labels": {"f:ours": leaf, "f:both": leaf}},
            "f:spec": {"f:description": leaf, "f:compute": {"f:size": leaf},
                "f:resources": {"k:{\"name\":\"a\"}": {".": leaf, "f:name": leaf}}, "f:telemetry": leaf}});
        let others = json!({
            "f:metadata": {"f:labels": {"f:theirs": leaf, "f:both": leaf}},
            "f:spec": {"f:compute": {"f:minInstances": leaf}, "f:suspend": leaf}});
        let wish = json!({"metadata": {"labels": {"new": "4"}},
            "spec": {"description": "new", "telemetry": [{"name": "c"}]}});
        assert_eq!(
            applied(&live, &wish, &metadata(ours, others)),
            json!({
                "metadata": {"labels": {"theirs": "2", "both": "3", "new": "4"}},
                "spec": {"description": "new", "compute": {"minInstances": 2},
                    "telemetry": [{"name": "c"}], "suspend": true}})
        );
    }

    #[test]
    fn what_was_never_applied_keeps_what_it_has() {
        let live = json!({"metadata": {}, "spec": {"a": 1, "b": {"c": 2}}});
        let wish = json!({"metadata": {}, "spec": {"b": {"d": 3}}});
        let others = json!({"f:spec": {"f:a": {}, "f:b": {"f:c": {}}}});
        assert_eq!(
            applied(&live, &wish, &metadata(Value::Null, others))["spec"],
            json!({"a": 1, "b": {"c": 2, "d": 3}})
        );
    }

    #[test]
    fn an_object_that_names_no_manager_becomes_what_is_applied() {
        let live = json!({"metadata": {"labels": {"a": "1"}}, "spec": {"a": 1}});
        let wish = json!({"metadata": {"labels": {"b": "2"}}, "spec": {"b": 2}});
        assert_eq!(
            applied(&live, &wish, &ObjectMeta::default()),
            json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"b": 2}})
        );
    }
}
