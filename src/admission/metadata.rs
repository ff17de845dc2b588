//! What the API server says of `metadata`, for every kind alike.
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::{Field, Judge, Objection};
use crate::api::names;

/// Most bytes that the annotations of an object may take together.
const ANNOTATION_BYTES: usize = 256 << 10;

/// What is wrong with `metadata`.
pub fn judge(metadata: &Value, found: &mut Vec<Objection>) {
    let root = Field::new("metadata");
    let mut object = |field: Field, message: String| {
        found.push(Objection {
            field,
            message,
            judge: Judge::Schema,
            blocks_rules: true,
        });
    };
    if metadata.is_null() {
        object(root, "is required".into());
        return;
    }
    let metadata = &with_empty_texts(metadata);
    let mut unknown = Vec::new();
    let mut note = |path: serde_ignored::Path<'_>| unknown.push(place(&root, &path.to_string()));
    let mut track = serde_path_to_error::Track::new();
    let plain = serde_path_to_error::Deserializer::new(metadata, &mut track);
    let parsed: Result<ObjectMeta, _> = serde_ignored::deserialize(plain, &mut note);
    for field in unknown {
        object(field, "unknown field".into());
    }
    let meta = match parsed {
        Ok(meta) => meta,
        Err(error) => {
            let path = track.path().to_string();
            let field = if path == "." { root } else { root.join(&path) };
            object(field, error.to_string());
            return;
        }
    };
    match meta.name.as_deref().unwrap_or_default() {
        "" => object(root.key("name"), "is required".into()),
        name if !names::is_name(name) => object(
            root.key("name"),
            format!(
                "{name:?} is no name for an object; use lower-case letters, digits, - and ., beginning and ending with a letter or digit"
            ),
        ),
        _ => {}
    }
    if let Some(namespace) = &meta.namespace
        && !names::is_namespace(namespace)
    {
        let message = format!(
            "{namespace:?} is no namespace; use at most 63 lower-case letters, digits and -"
        );
        object(root.key("namespace"), message);
    }
    for (key, value) in meta.labels.iter().flatten() {
        let field = root.key("labels").key(key);
        if !names::is_qualified(key) {
            object(
                field.clone(),
                "is no valid key; write it like team or example.com/team".into(),
            );
        }
        if !names::is_label_value(value) {
            let message =
                format!("{value:?} is no label value: at most 63 letters, digits, -, _ and .");
            object(field, message);
        }
    }
    let mut bytes = 0;
    for (key, value) in meta.annotations.iter().flatten() {
        bytes += key.len() + value.len();
        // Annotations may be written in capitals, unlike labels.
        if !names::is_qualified(&key.to_lowercase()) {
            let field = root.key("annotations").key(key);
            object(
                field,
                "is no valid key; write it like team or example.com/team".into(),
            );
        }
    }
    if bytes > ANNOTATION_BYTES {
        let message = format!("take {bytes} bytes, at most {ANNOTATION_BYTES} are allowed");
        object(root.key("annotations"), message);
    }
}

/// The API server reads a null among labels and annotations as an empty text.
fn with_empty_texts(metadata: &Value) -> Value {
    let mut metadata = metadata.clone();
    for part in ["labels", "annotations"] {
        let members = metadata.get_mut(part).and_then(Value::as_object_mut);
        let texts = members.into_iter().flat_map(|members| members.values_mut());
        texts
            .filter(|text| text.is_null())
            .for_each(|text| *text = "".into());
    }
    metadata
}

/// The field that serde_ignored writes as `ownerReferences.?.0.x`.
fn place(root: &Field, path: &str) -> Field {
    let steps = path.split('.').filter(|step| *step != "?");
    steps.fold(root.clone(), |field, step| match step.parse() {
        Ok(index) => field.item(index),
        Err(_) => field.key(step),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(metadata: Value) -> Vec<String> {
        let mut found = Vec::new();
        judge(&metadata, &mut found);
        found.into_iter().map(|o| o.field.to_string()).collect()
    }

    #[test]
    fn usual_metadata_passes() {
        let usual = json!({"name": "a.b", "namespace": "n", "labels": {"team": "x", "example.com/a": null},
            "annotations": {"Example.com/Note": "anything, with blanks"},
            "finalizers": null, "creationTimestamp": null, "uid": "1", "ownerReferences": []});
        assert!(fields(usual).is_empty());
    }

    #[test]
    fn each_fault_is_placed() {
        for (metadata, field) in [
            (json!(null), "metadata"),
            (json!([]), "metadata"),
            (json!({}), "metadata.name"),
            (json!({"name": ""}), "metadata.name"),
            (json!({"name": "A"}), "metadata.name"),
            (
                json!({"name": "a", "namespace": "a.b"}),
                "metadata.namespace",
            ),
            (json!({"name": "a", "label": {}}), "metadata.label"),
            (
                json!({"name": "a", "ownerReferences": [{"apiVersion": "a", "kind": "b", "name": "c", "uid": "d", "x": 1}]}),
                "metadata.ownerReferences[0].x",
            ),
            (
                json!({"name": "a", "labels": {"a": 1}}),
                "metadata.labels.a",
            ),
            (
                json!({"name": "a", "labels": {"a": "b c"}}),
                "metadata.labels.a",
            ),
            (
                json!({"name": "a", "labels": {"a b": ""}}),
                "metadata.labels[a b]",
            ),
            (
                json!({"name": "a", "annotations": {"a b": ""}}),
                "metadata.annotations[a b]",
            ),
            (
                json!({"name": "a", "annotations": {"a": "x".repeat(300_000)}}),
                "metadata.annotations",
            ),
        ] {
            assert_eq!(fields(metadata), [field]);
        }
    }
}
