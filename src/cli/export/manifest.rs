//! Manifests as people keep them: names that objects may have, no defaults, comments on what is missing. Pure.
use serde_json::{Value, json};

use crate::api::API_VERSION;
use crate::api::names::ObjectName;
use crate::cli::output::{self, Error};
use crate::kinds::app::APP;
use crate::kinds::app::spec::DatabricksAppSpec;

/// A name for the object of an app: the app's own, as far as objects may be named so and nobody else is.
pub fn object_name(app: &str, mut free: impl FnMut(&String) -> bool) -> String {
    let stem = app.trim_end_matches('-');
    let numbered = (2..).map(|n| format!("{stem}-{n}"));
    let mut names = std::iter::once(stem.to_owned()).chain(numbered);
    names.find(|name| free(name)).unwrap_or_default()
}

/// The object that an apply takes.
pub fn manifest(place: &ObjectName, spec: &DatabricksAppSpec) -> Value {
    json!({
        "apiVersion": API_VERSION,
        "kind": APP,
        "metadata": {"name": place.name, "namespace": place.namespace},
        "spec": without_defaults(spec),
    })
}

/// The spec without what it says anyway.
fn without_defaults(spec: &DatabricksAppSpec) -> Value {
    let mut whole = json!(spec);
    let mut places = Vec::new();
    scalars(&whole, String::new(), &mut places);
    for (parent, key) in places {
        let mut shorter = whole.clone();
        if let Some(members) = shorter.pointer_mut(&parent).and_then(Value::as_object_mut) {
            members.remove(&key);
        }
        if serde_json::from_value(shorter.clone())
            .is_ok_and(|same: DatabricksAppSpec| same == *spec)
        {
            whole = shorter;
        }
    }
    whole
}

/// Every member that holds no list and no object, as a JSON pointer to its parent and its key.
fn scalars(value: &Value, at: String, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                match member {
                    Value::Object(_) | Value::Array(_) => {
                        scalars(member, format!("{at}/{key}"), found);
                    }
                    _ => found.push((at.clone(), key.clone())),
                }
            }
        }
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                scalars(item, format!("{at}/{n}"), found);
            }
        }
        _ => {}
    }
}

/// The object as a YAML document, under comments on what was left out.
pub fn document(object: &Value, omissions: &[String]) -> Result<String, Error> {
    let comments: String = omissions
        .iter()
        .map(|omission| format!("# left out {omission}\n"))
        .collect();
    Ok(format!("---\n{comments}{}", output::yaml(object)?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_object_is_named_like_its_app_unless_it_cannot_be_or_somebody_is() {
        assert_eq!(object_name("sales", |_| true), "sales");
        assert_eq!(object_name("sales--", |_| true), "sales");
        let free = |name: &String| !["sales", "sales-2"].contains(&name.as_str());
        assert_eq!(object_name("sales", free), "sales-3");
    }

    #[test]
    fn defaults_are_left_out_and_nothing_else() {
        let said = json!({"workspaceRef": {"name": "prod"}, "management": {"adopt": "IfUnowned"},
            "permissions": {"grants": [{"principal": {"group": "a"}, "level": "CanUse"}]},
            "source": {"git": {"url": "https://x", "provider": "GitHub", "ref": {"branch": "main"}}},
            "userAuthorization": {"forwardAccessToken": false}});
        let spec: DatabricksAppSpec = serde_json::from_value(said.clone()).unwrap();
        assert_ne!(json!(spec), said);
        assert_eq!(without_defaults(&spec), said);
    }

    #[test]
    fn what_was_left_out_stands_in_comments_above_the_object() {
        let text = document(&json!({"a": 1}), &["deployment.env: why".into()]).unwrap();
        assert_eq!(text, "---\n# left out deployment.env: why\na: 1\n");
    }
}
