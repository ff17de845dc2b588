//! Two contents of a child, field by field. Pure.
use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::admission::Field;

/// Variables of the app: their values are never shown.
const ENV: &str = "deployment.env";
/// What stands for a value that is never shown.
const HIDDEN: &str = "(not shown)";

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FieldChange {
    /// As in the spec, e.g. `compute.size`, `resources[warehouse].permission`, `metadata.labels.team`.
    pub field: String,
    /// None: the field is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Value>,
    /// None: the field goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Value>,
}

/// What differs between two values at `at`: members one by one, items of a list by their names if all have one.
pub fn differences(
    at: &Field,
    from: Option<&Value>,
    to: Option<&Value>,
    found: &mut Vec<FieldChange>,
) {
    if from == to {
        return;
    }
    if let (Some(before), Some(after)) = (members(from), members(to)) {
        let known = found.len();
        let new = after.keys().filter(|key| !before.contains_key(*key));
        for key in before.keys().chain(new) {
            differences(&at.key(key), before.get(key), after.get(key), found);
        }
        if found.len() > known {
            return;
        }
    }
    if let (Some(before), Some(after)) = (named(from), named(to))
        && before.len() + after.len() > 0
    {
        let has = |items: &[(&str, &Value)], name: &str| items.iter().any(|(n, _)| *n == name);
        let new = after.iter().filter(|(name, _)| !has(&before, name));
        let known = found.len();
        for (name, _) in before.iter().chain(new) {
            let item = |items: &[(&str, &Value)]| {
                let found = items.iter().find(|(n, _)| n == name);
                found.map(|(_, value)| (*value).clone())
            };
            let at = Field::new(format!("{at}[{name}]"));
            let (before, after) = (item(&before), item(&after));
            if at.as_str().starts_with(ENV) {
                hidden(&at, before.as_ref(), after.as_ref(), found);
            } else {
                differences(&at, before.as_ref(), after.as_ref(), found);
            }
        }
        if found.len() > known {
            return;
        }
        // The same items in another order.
    }
    if at.as_str().starts_with(ENV) {
        return hidden(at, from, to, found);
    }
    found.push(FieldChange {
        field: at.to_string(),
        from: from.cloned(),
        to: to.cloned(),
    });
}

fn hidden(at: &Field, from: Option<&Value>, to: Option<&Value>, found: &mut Vec<FieldChange>) {
    let hide = |value: Option<&Value>| value.map(|_| Value::from(HIDDEN));
    if from != to {
        found.push(FieldChange {
            field: at.to_string(),
            from: hide(from),
            to: hide(to),
        });
    }
}

/// The members of an object; one that is not there has none.
fn members(value: Option<&Value>) -> Option<Cow<'_, Map<String, Value>>> {
    match value {
        None => Some(Cow::Owned(Map::new())),
        Some(value) => value.as_object().map(Cow::Borrowed),
    }
}

/// The items of a list by name, if each has one of its own; a list that is not there has none.
fn named(value: Option<&Value>) -> Option<Vec<(&str, &Value)>> {
    let items = match value {
        None => return Some(Vec::new()),
        Some(value) => value.as_array()?,
    };
    let named = items
        .iter()
        .map(|item| Some((item["name"].as_str()?, item)));
    let mut named: Vec<(&str, &Value)> = named.collect::<Option<_>>()?;
    let count = named.len();
    named.dedup_by_key(|(name, _)| *name);
    (named.len() == count).then_some(named)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn said(from: Value, to: Value) -> Vec<String> {
        let mut found = Vec::new();
        differences(&Field::default(), Some(&from), Some(&to), &mut found);
        let text = |value: &Option<Value>| value.as_ref().map_or("-".into(), Value::to_string);
        let found = found.iter();
        found
            .map(|c| format!("{} {} {}", c.field, text(&c.from), text(&c.to)))
            .collect()
    }

    #[test]
    fn members_are_compared_one_by_one_and_lists_by_the_names_of_their_items() {
        let from = json!({"a": 1, "compute": {"size": "Medium", "min": 1}, "scopes": ["x"],
            "resources": [{"name": "w", "p": 1}, {"name": "gone"}], "labels": {"a.b/c": "d"}});
        let to = json!({"a": 1, "compute": {"size": "Large", "min": 1}, "scopes": ["x", "y"],
            "resources": [{"name": "w", "p": 2}, {"name": "new"}], "new": true});
        assert_eq!(
            said(from, to),
            [
                r#"compute.size "Medium" "Large""#,
                r#"labels[a.b/c] "d" -"#,
                "resources[w].p 1 2",
                r#"resources[gone].name "gone" -"#,
                r#"resources[new].name - "new""#,
                r#"scopes ["x"] ["x","y"]"#,
                "new - true",
            ]
        );
    }

    #[test]
    fn no_value_of_a_variable_is_ever_shown() {
        let env = |env: Value| json!({"deployment": {"env": env}});
        let one = |value: &str| json!({"name": "KEY", "value": value});
        let cases = [
            (env(json!([one("s3cret")])), env(json!([one("s3cret2")]))),
            (env(json!([])), env(json!([one("s3cret")]))),
            (env(json!([one("s3cret")])), json!({"deployment": {}})),
            (json!({"deployment": {}}), env(json!([one("s3cret")]))),
            (env(json!([one("s3cret")])), env(json!(["s3cret"]))),
            // Whole parents come and go.
            (json!({}), env(json!([one("s3cret")]))),
            (env(json!([one("s3cret")])), json!({})),
        ];
        for (from, to) in cases {
            let said = said(from.clone(), to.clone()).join("\n");
            assert!(said.contains("deployment"), "{from} {to}: {said}");
            assert!(!said.contains("s3cret"), "{from} {to}: {said}");
        }
        let two = json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]);
        let turned = json!([{"name": "B", "value": "2"}, {"name": "A", "value": "1"}]);
        assert_eq!(
            said(env(two), env(turned)),
            [r#"deployment.env "(not shown)" "(not shown)""#]
        );
    }
}
