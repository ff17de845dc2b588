//! CEL rules (`x-kubernetes-validations`), evaluated as the API server does when an object is created.
//!
//! Not copied: the cost limits, and that lists of type set and map are equal in any order.
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use cel::objects::{Key, Map};
use cel::{Context, Env, Program};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::Value;

use super::schema::{Kind, Schema};

/// The functions of CEL's standard and of its extension for strings, as far as the cel crate has them. A rule that calls
/// another one fails when it is evaluated, and with it the object.
static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    // Only a name declared twice could fail, and then the rules that need it do.
    let _ = env.add_extension(cel::extensions::strings);
    Arc::new(env)
});

/// One rule of a schema's node, compiled.
#[derive(Debug)]
pub struct Rule {
    source: String,
    message: Option<String>,
    message_expression: Option<Program>,
    /// Path below the node, e.g. `.name`
    pub field_path: Option<String>,
    program: Program,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    rule: String,
    message: Option<String>,
    message_expression: Option<String>,
    field_path: Option<String>,
    #[serde(rename = "reason")]
    _reason: Option<String>,
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(deserializer)?;
        let compile = |text: &str| {
            ENV.compile(text)
                .map_err(|error| D::Error::custom(format!("rule {text:?}: {error}")))
        };
        Ok(Self {
            program: compile(&written.rule)?,
            message_expression: written
                .message_expression
                .as_deref()
                .map(compile)
                .transpose()?,
            source: written.rule,
            message: written.message,
            field_path: written.field_path,
        })
    }
}

impl Rule {
    /// What is wrong with `object`, of which `schema` tells the types; `None` if it passes, or if the rule compares with
    /// an earlier object and so says nothing of a new one.
    pub fn violation(&self, schema: &Schema, object: &Value) -> Option<String> {
        if self.program.references().has_variable("oldSelf") {
            return None;
        }
        let mut context = Context::with_env(ENV.clone());
        context.add_variable_from_value("self", value(schema, object));
        match self.program.execute(&context) {
            Ok(cel::Value::Bool(true)) => None,
            Ok(cel::Value::Bool(false)) => Some(self.words(&context)),
            Ok(other) => Some(format!(
                "rule {:?} gives {} and neither true nor false",
                self.source,
                other.type_of()
            )),
            Err(error) => Some(format!(
                "rule {:?} cannot be evaluated: {error}",
                self.source
            )),
        }
    }

    fn words(&self, context: &Context<'_, '_>) -> String {
        let computed = self
            .message_expression
            .as_ref()
            .and_then(|program| program.execute(context).ok());
        match (computed, &self.message) {
            (Some(cel::Value::String(words)), _) if !words.trim().is_empty() => words.to_string(),
            (_, Some(message)) => message.clone(),
            (_, None) => format!("failed rule: {}", self.source),
        }
    }
}

/// `object` with the types that `schema` declares: whole numbers are `int`, and what no schema lists is not there.
fn value(schema: &Schema, object: &Value) -> cel::Value {
    match object {
        Value::Null => cel::Value::Null,
        Value::Bool(value) => cel::Value::Bool(*value),
        Value::String(text) => text.as_str().into(),
        Value::Number(number) => {
            let whole = schema.kind == Some(Kind::Integer) || schema.int_or_string;
            match (whole, number.as_i64(), number.as_f64()) {
                (true, Some(int), _) => cel::Value::Int(int),
                // A whole number written as 1.0; the schema has let through no other.
                #[allow(clippy::cast_possible_truncation)]
                (true, None, Some(float)) => cel::Value::Int(float as i64),
                (_, _, float) => cel::Value::Float(float.unwrap_or(f64::NAN)),
            }
        }
        Value::Array(items) => {
            let unknown = Schema::default();
            let schema = schema.items.as_deref().unwrap_or(&unknown);
            let items: Vec<cel::Value> = items.iter().map(|item| value(schema, item)).collect();
            items.into()
        }
        Value::Object(members) => {
            let members = members.iter().filter_map(|(key, member)| {
                if let Some(property) = schema.properties.get(key) {
                    return Some((escaped(key), value(property, member)));
                }
                let values = schema.values_schema()?;
                Some((key.clone(), value(values, member)))
            });
            let map: HashMap<Key, cel::Value> =
                members.map(|(key, value)| (key.into(), value)).collect();
            cel::Value::Map(Map { map: Arc::new(map) })
        }
    }
}

/// A property's name as rules have to write it:
/// <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#escaping>.
fn escaped(name: &str) -> String {
    const RESERVED: &[&str] = &[
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
    ];
    if RESERVED.contains(&name) {
        return format!("__{name}__");
    }
    name.replace("__", "__underscores__")
        .replace('.', "__dot__")
        .replace('-', "__dash__")
        .replace('/', "__slash__")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn schema(rule: Value) -> Schema {
        serde_json::from_value(json!({
            "type": "object",
            "properties": {
                "size": {"type": "integer"},
                "share": {"type": "number"},
                "namespace": {"type": "string"},
                "a-b": {"type": "string"},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                "list": {"type": "array", "items": {"type": "integer"}},
            },
            "x-kubernetes-validations": [rule],
        }))
        .unwrap()
    }

    fn judge(rule: &str, object: Value) -> Option<String> {
        let schema = schema(json!({"rule": rule, "message": "no"}));
        schema.rules[0].violation(&schema, &object)
    }

    #[test]
    fn values_have_the_types_of_their_schema() {
        for (rule, object) in [
            ("self.size + 1 == 3", json!({"size": 2})),
            ("self.size + 1 == 3", json!({"size": 2.0})),
            ("self.share + 1.0 == 3.0", json!({"share": 2})),
            ("self.list.all(x, x > 0)", json!({"list": [1, 2]})),
            ("self.labels['a-b'] == 'x'", json!({"labels": {"a-b": "x"}})),
            ("has(self.size) != has(self.share)", json!({"share": 1})),
        ] {
            assert_eq!(judge(rule, object), None, "{rule}");
        }
    }

    #[test]
    fn names_are_escaped_as_kubernetes_escapes_them() {
        let object = json!({"namespace": "n", "a-b": "x"});
        assert_eq!(
            judge(
                "self.__namespace__ == 'n' && self.a__dash__b == 'x'",
                object
            ),
            None
        );
    }

    #[test]
    fn what_no_schema_lists_is_not_there() {
        assert_eq!(
            judge("!has(self.free.inner)", json!({"free": {"inner": 1}})),
            None
        );
    }

    #[test]
    fn a_rule_about_a_change_says_nothing_of_a_new_object() {
        assert_eq!(judge("self == oldSelf", json!({"size": 1})), None);
        assert_eq!(
            judge("self.size == 2", json!({"size": 1})),
            Some("no".into())
        );
    }

    #[test]
    fn a_rule_that_cannot_be_evaluated_is_named() {
        for (rule, part) in [
            ("isURL(self.a__dash__b)", "isURL"),
            ("self.absent == 1", "absent"),
            ("self.size + 'x' == ''", "add"),
            ("self.size", "neither true nor false"),
        ] {
            let said = judge(rule, json!({"size": 1, "a-b": "x"})).unwrap();
            assert!(said.contains(rule) && said.contains(part), "{said}");
        }
    }

    #[test]
    fn a_message_may_be_computed() {
        let schema = schema(json!({
            "rule": "self.size < 2", "message": "static",
            "messageExpression": "'size is ' + string(self.size)",
        }));
        let said = schema.rules[0].violation(&schema, &json!({"size": 5}));
        assert_eq!(said, Some("size is 5".into()));
    }
}
