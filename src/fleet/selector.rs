//! Which labels, or which members of an element, a selector matches.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::api::app_of_apps::{Operator, Requirement, Selector};

/// Whether the requirement holds of a key's value, as Kubernetes reads it; `None`: the key is missing.
pub fn holds(requirement: &Requirement, value: Option<&str>) -> bool {
    fulfils(
        requirement,
        value.map(|text| Found::Text(text.into())).as_ref(),
    )
}

/// Whether the selector matches the labels. An empty one matches all.
pub fn matches(selector: &Selector, labels: &BTreeMap<String, String>) -> bool {
    let value = |key: &str| labels.get(key).map(String::as_str);
    let mut equal = selector.match_labels.iter();
    equal.all(|(key, wish)| value(key) == Some(wish.as_str()))
        && selector
            .match_expressions
            .iter()
            .all(|wish| holds(wish, value(&wish.key)))
}

/// Whether the selector matches the element's members, those of members named with dots; scalars count as text, null as
/// missing.
pub(super) fn matches_element(selector: &Selector, element: &Map<String, Value>) -> bool {
    let mut equal = selector.match_labels.iter();
    equal.all(|(key, wish)| member(element, key).is_some_and(|found| found.is(wish)))
        && selector
            .match_expressions
            .iter()
            .all(|wish| fulfils(wish, member(element, &wish.key).as_ref()))
}

fn fulfils(wish: &Requirement, found: Option<&Found>) -> bool {
    let listed = || found.is_some_and(|found| wish.values.iter().any(|value| found.is(value)));
    match wish.operator {
        Operator::In => listed(),
        Operator::NotIn => !listed(),
        Operator::Exists => found.is_some(),
        Operator::DoesNotExist => found.is_none(),
    }
}

/// What stands under a key.
#[derive(Debug, PartialEq)]
pub(super) enum Found<'a> {
    Text(Cow<'a, str>),
    /// A list or an object
    Inner,
}

impl Found<'_> {
    fn is(&self, text: &str) -> bool {
        matches!(self, Self::Text(found) if found == text)
    }
}

/// The member under a key with dots. A label's key may hold dots itself, so every split is tried: the part that is
/// consumed on the way to a member tells the way, none is walked twice.
pub(super) fn member<'a>(map: &'a Map<String, Value>, key: &str) -> Option<Found<'a>> {
    match map.get(key) {
        Some(Value::Null) => return None,
        Some(Value::String(text)) => return Some(Found::Text(Cow::from(text))),
        Some(Value::Array(_) | Value::Object(_)) => return Some(Found::Inner),
        Some(scalar) => return Some(Found::Text(Cow::from(scalar.to_string()))),
        None => {}
    }
    key.match_indices('.').find_map(|(dot, _)| {
        let inner = map.get(&key[..dot])?.as_object()?;
        member(inner, &key[dot + 1..])
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn element() -> Map<String, Value> {
        let element = json!({
            "team": "sales", "size": 3, "on": true, "none": null, "list": [1],
            "metadata": {"labels": {"env": "prod", "example.com/a.b": "x"}},
        });
        element.as_object().unwrap().clone()
    }

    #[test]
    fn members_of_members_are_named_with_dots_and_scalars_are_text() {
        for (selector, matched) in [
            (json!({}), true),
            (json!({"matchLabels": {"team": "sales"}}), true),
            (json!({"matchLabels": {"team": "hr"}}), false),
            (json!({"matchLabels": {"size": "3", "on": "true"}}), true),
            (
                json!({"matchLabels": {"metadata.labels.env": "prod"}}),
                true,
            ),
            (
                json!({"matchLabels": {"metadata.labels.example.com/a.b": "x"}}),
                true,
            ),
            (
                json!({"matchLabels": {"metadata.labels.absent": ""}}),
                false,
            ),
            (
                json!({"matchExpressions": [{"key": "team", "operator": "In", "values": ["hr", "sales"]}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["hr"]}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["sales"]}]}),
                false,
            ),
            (
                json!({"matchExpressions": [{"key": "absent", "operator": "NotIn", "values": ["x"]}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "absent", "operator": "In", "values": ["x"]}]}),
                false,
            ),
            (
                json!({"matchExpressions": [{"key": "list", "operator": "Exists"}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "metadata", "operator": "Exists"}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "none", "operator": "Exists"}]}),
                false,
            ),
            (
                json!({"matchExpressions": [{"key": "none", "operator": "DoesNotExist"}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "list", "operator": "In", "values": ["[1]"]}]}),
                false,
            ),
            (
                json!({"matchLabels": {"team": "sales"}, "matchExpressions": [{"key": "size", "operator": "DoesNotExist"}]}),
                false,
            ),
        ] {
            let parsed: Selector = serde_json::from_value(selector.clone()).unwrap();
            assert_eq!(matches_element(&parsed, &element()), matched, "{selector}");
        }
    }

    #[test]
    fn labels_match_as_in_kubernetes() {
        let labels = BTreeMap::from([("env".to_owned(), "prod".to_owned())]);
        for (selector, matched) in [
            (json!({}), true),
            (json!({"matchLabels": {"env": "prod"}}), true),
            (json!({"matchLabels": {"env": "test"}}), false),
            (
                json!({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["a"]}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "env", "operator": "Exists"}]}),
                true,
            ),
        ] {
            let parsed: Selector = serde_json::from_value(selector.clone()).unwrap();
            assert_eq!(matches(&parsed, &labels), matched, "{selector}");
        }
    }
}
