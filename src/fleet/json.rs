//! What JSON values mean to each other: merged, hashed, contained.

use serde_json::{Map, Value, json};

/// `over` on top of `base`: objects are merged, everything else replaces.
pub(super) fn merge(base: &Value, over: &Value) -> Value {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            let mut merged = base.clone();
            for (key, value) in over {
                let value = match base.get(key) {
                    Some(below) => merge(below, value),
                    None => value.clone(),
                };
                merged.insert(key.clone(), value);
            }
            Value::Object(merged)
        }
        (_, over) => over.clone(),
    }
}

/// Without members that are null: the API server drops them, so they would differ for ever. That also lets a child
/// take back a default by setting it to null.
pub(super) fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key, without_nulls(value)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

/// Whether `live` holds everything that `wish` says. What the API server added (defaults) is no difference; items of
/// lists are compared one by one.
pub(super) fn holds(live: &Value, wish: &Value) -> bool {
    match (live, wish) {
        (Value::Object(live), Value::Object(wish)) => contains(live, wish),
        (Value::Array(live), Value::Array(wish)) => {
            live.len() == wish.len() && live.iter().zip(wish).all(|(l, w)| holds(l, w))
        }
        (Value::Number(live), Value::Number(wish)) => {
            live == wish || live.as_f64() == wish.as_f64()
        }
        (live, wish) => live == wish,
    }
}

/// [`holds`], but for what lies at or below one of the JSON pointers; `at` is the pointer of `live` itself.
pub(super) fn holds_but(live: &Value, wish: &Value, ignored: &[String], at: &str) -> bool {
    if ignored.is_empty() {
        return holds(live, wish);
    }
    let mut wish = json!({ at.trim_start_matches('/'): wish });
    let mut live = json!({ at.trim_start_matches('/'): live });
    for pointer in ignored {
        remove(&mut wish, pointer);
        remove(&mut live, pointer);
    }
    holds(&live, &wish)
}

/// Takes out what an RFC 6901 pointer names, if it is there. An item of a list is emptied, so that the others keep their
/// places.
pub(super) fn remove(value: &mut Value, pointer: &str) {
    let Some((parent, last)) = pointer.rsplit_once('/') else {
        return;
    };
    let last = unescaped(last);
    match value.pointer_mut(parent) {
        Some(Value::Object(map)) => drop(map.remove(&last)),
        Some(Value::Array(items)) => {
            let item = last.parse::<usize>().ok().and_then(|n| items.get_mut(n));
            if let Some(item) = item {
                *item = Value::Null;
            }
        }
        _ => {}
    }
}

/// Makes what lies at the JSON pointer of `wish` what lies there in `live`; nothing, if there is nothing.
pub(super) fn carry(wish: &mut Value, live: &Value, pointer: &str) {
    let Some(found) = live.pointer(pointer) else {
        let inside = pointer
            .rsplit_once('/')
            .and_then(|(at, _)| wish.pointer(at));
        // An item of a list can't be left out without moving the others.
        if inside.is_some_and(Value::is_object) {
            remove(wish, pointer);
        }
        return;
    };
    let mut here = wish;
    let mut parts = pointer.split('/').skip(1).peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        let next = match here {
            Value::Object(map) => map.entry(unescaped(part)).or_insert_with(|| json!({})),
            Value::Array(items) => {
                match part.parse::<usize>().ok().and_then(|n| items.get_mut(n)) {
                    Some(item) => item,
                    None => return,
                }
            }
            _ => return,
        };
        if last {
            *next = found.clone();
            return;
        }
        here = next;
    }
}

fn unescaped(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

fn contains(live: &Map<String, Value>, wish: &Map<String, Value>) -> bool {
    wish.iter()
        .all(|(key, value)| live.get(key).is_some_and(|found| holds(found, value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_merge_while_lists_and_scalars_replace() {
        let base =
            json!({"compute": {"size": "Medium", "min": 1}, "scopes": ["a", "b"], "x": {"y": 1}});
        let over = json!({"compute": {"size": "Large"}, "scopes": ["c"], "x": 2, "new": true});
        assert_eq!(
            merge(&base, &over),
            json!({"compute": {"size": "Large", "min": 1}, "scopes": ["c"], "x": 2, "new": true})
        );
    }

    #[test]
    fn an_ignored_pointer_is_compared_nowhere_and_carries_the_live_value() {
        let live = json!({"a": {"b": 9}, "l": [{"n": 1}, {"n": 2}]});
        let wish = json!({"a": {"b": 1}, "l": [{"n": 1}, {"n": 3}]});
        let ignored = ["/spec/a/b".to_owned(), "/spec/l/1/n".to_owned()];
        assert!(holds_but(&live, &wish, &ignored, "/spec"));
        assert!(!holds_but(&live, &wish, &ignored[..1], "/spec"));
        let mut body = json!({ "spec": wish });
        for pointer in ["/spec/a/b", "/spec/l/1/n", "/spec/new/deep", "/spec/a/x~1y"] {
            carry(
                &mut body,
                &json!({"spec": {"a": {"b": 9, "x/y": true}, "l": live["l"], "new": {"deep": 1}}}),
                pointer,
            );
        }
        assert_eq!(
            body["spec"],
            json!({"a": {"b": 9, "x/y": true}, "l": [{"n": 1}, {"n": 2}], "new": {"deep": 1}})
        );
        carry(&mut body, &json!({"spec": {}}), "/spec/a/b");
        assert_eq!(body["spec"]["a"], json!({"x/y": true}));
    }

    #[test]
    fn a_null_takes_a_default_back() {
        let merged = merge(
            &json!({"a": 1, "b": {"c": 1, "d": 2}}),
            &json!({"a": null, "b": {"c": null}}),
        );
        assert_eq!(without_nulls(merged), json!({"b": {"d": 2}}));
    }

    #[test]
    fn what_the_server_added_is_no_difference_but_a_changed_leaf_is() {
        let live = json!({"a": {"b": 1, "default": true}, "l": [{"n": 1, "d": 0}]});
        assert!(holds(&live, &json!({"a": {"b": 1}, "l": [{"n": 1.0}]})));
        assert!(!holds(&live, &json!({"a": {"b": 2}})));
        assert!(!holds(&live, &json!({"l": []})));
        assert!(!holds(&live, &json!({"c": 1})));
    }

    #[test]
    fn a_pointer_takes_out_one_member() {
        let value = json!({"a": {"b/c": 1, "d~": 2}, "l": [1, {"x": 2}]});
        for (pointer, left) in [
            ("/a/b~1c", json!({"a": {"d~": 2}, "l": [1, {"x": 2}]})),
            ("/a/d~0", json!({"a": {"b/c": 1}, "l": [1, {"x": 2}]})),
            (
                "/l/0",
                json!({"a": {"b/c": 1, "d~": 2}, "l": [null, {"x": 2}]}),
            ),
            ("/l/1/x", json!({"a": {"b/c": 1, "d~": 2}, "l": [1, {}]})),
            ("/a", json!({"l": [1, {"x": 2}]})),
            ("/a/z/y", value.clone()),
            ("/l/7", value.clone()),
            ("a", value.clone()),
            ("", value.clone()),
        ] {
            let mut taken = value.clone();
            remove(&mut taken, pointer);
            assert_eq!(taken, left, "{pointer}");
        }
    }
}
