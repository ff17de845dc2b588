#![allow(clippy::unwrap_used)]
use serde_json::json;

use super::*;

/// Field and message of each objection.
fn objections(schema: Value, value: Value) -> Vec<(String, String)> {
    let mut schema: Schema = serde_json::from_value(schema).unwrap();
    schema.prepare();
    let mut found = Vec::new();
    unknown(&schema, &value, Place::ROOT, &mut found);
    judge(&schema, &value, Place::ROOT, &mut found);
    let said = found.into_iter().map(|o| (o.field.to_string(), o.message));
    said.collect()
}

fn object(properties: Value) -> Value {
    json!({"type": "object", "properties": properties})
}

#[test]
fn a_default_stands_in_for_what_is_missing_or_null_before_it_is_required() {
    let mut schema = object(json!({"a": {"type": "string", "default": "x"}}));
    schema["required"] = json!(["a"]);
    assert!(objections(schema.clone(), json!({})).is_empty());
    assert!(objections(schema, json!({"a": null})).is_empty());
}

#[test]
fn defaults_reach_into_objects_that_are_there_and_make_none() {
    let inner = json!({"type": "object", "required": ["n"],
        "properties": {"n": {"type": "integer", "default": 1}}});
    let schema: Schema = serde_json::from_value(object(json!({"o": inner}))).unwrap();
    let settled = |mut value: Value| {
        settle(&schema, &mut value);
        value
    };
    assert_eq!(settled(json!({})), json!({}));
    assert_eq!(settled(json!({"o": {}})), json!({"o": {"n": 1}}));
}

#[test]
fn a_null_is_refused_unless_a_default_takes_its_place() {
    let schema = object(
        json!({"a": {"type": "string"}, "b": {"type": "string", "default": "x"},
        "c": {"type": "string", "nullable": true},
        "l": {"type": "array", "items": {"type": "string"}}}),
    );
    assert!(objections(schema.clone(), json!({"b": null, "c": null})).is_empty());
    let found = objections(schema, json!({"a": null, "l": [null]}));
    assert_eq!(
        found[0],
        (
            "a".into(),
            "must be a string, not null; leave it out".into()
        )
    );
    assert_eq!(found[1].0, "l[0]");
}

#[test]
fn a_member_that_nobody_knows_is_named_with_those_that_are_known() {
    let schema = object(json!({"maxApps": {"type": "integer"}, "burst": {"type": "integer"}}));
    let found = objections(schema, json!({"maxapps": 1, "other": {"deep": 1}}));
    assert_eq!(
        found[0],
        (
            "maxapps".into(),
            "unknown field; did you mean maxApps?".into()
        )
    );
    assert_eq!(found[1].0, "other");
    assert!(found[1].1.contains("burst, maxApps"), "{found:?}");
    assert_eq!(found.len(), 2);
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    assert!(objections(open, json!({"any": {"thing": 1}})).is_empty());
}

#[test]
fn characters_are_counted_and_not_bytes() {
    let schema = json!({"type": "string", "maxLength": 3, "minLength": 2});
    assert!(objections(schema.clone(), json!("äöü")).is_empty());
    assert_eq!(objections(schema.clone(), json!("äöüß")).len(), 1);
    assert_eq!(objections(schema, json!("ä")).len(), 1);
}

#[test]
fn numbers_have_a_kind_a_range_and_a_width() {
    let integer = json!({"type": "integer", "minimum": 1.0, "maximum": 10.0});
    for (value, good) in [
        (json!(1), true),
        (json!(10), true),
        (json!(2.0), true),
        (json!(0), false),
        (json!(11), false),
        (json!(2.5), false),
        (json!("2"), false),
    ] {
        assert_eq!(
            objections(integer.clone(), value.clone()).is_empty(),
            good,
            "{value}"
        );
    }
    let above = json!({"type": "number", "minimum": 1.0, "exclusiveMinimum": true});
    assert_eq!(objections(above, json!(1)).len(), 1);
    let narrow = json!({"type": "integer", "format": "int32"});
    assert_eq!(objections(narrow, json!(3_000_000_000_u32)).len(), 1);
}

#[test]
fn items_of_a_map_differ_in_their_keys_and_those_of_a_set_in_all() {
    let item = object(json!({"name": {"type": "string"}, "v": {"type": "integer"}}));
    let map = json!({"type": "array", "items": item,
        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]});
    let found = objections(
        map,
        json!([{"name": "a"}, {"name": "b"}, {"name": "a", "v": 1}]),
    );
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].0, "[2]");
    assert!(
        found[0].1.contains("name: \"a\"") && found[0].1.contains("[0]"),
        "{found:?}"
    );
    let set =
        json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"});
    assert_eq!(objections(set, json!(["a", "b", "a"])).len(), 1);
    let list = json!({"type": "array", "items": {"type": "string"}});
    assert!(objections(list, json!(["a", "a"])).is_empty());
}

#[test]
fn alternatives_are_judged_together() {
    let required = |key: &str| json!({"required": [key]});
    let mut schema = object(json!({"a": {"type": "string"}, "b": {"type": "string"}}));
    schema["oneOf"] = json!([required("a"), required("b")]);
    assert!(objections(schema.clone(), json!({"a": ""})).is_empty());
    assert_eq!(
        objections(schema.clone(), json!({"a": "", "b": ""})).len(),
        1
    );
    assert_eq!(objections(schema.clone(), json!({})).len(), 1);
    schema["oneOf"] = json!([]);
    schema["not"] = required("a");
    assert_eq!(objections(schema.clone(), json!({"a": ""})).len(), 1);
    assert!(objections(schema, json!({"b": ""})).is_empty());
}

#[test]
fn an_integer_or_a_string_is_no_list() {
    let schema = json!({"x-kubernetes-int-or-string": true});
    assert!(objections(schema.clone(), json!(1)).is_empty());
    assert!(objections(schema.clone(), json!("20%")).is_empty());
    assert_eq!(objections(schema, json!([1])).len(), 1);
}
