//! Floor 1: what the API server would say of an object that is created: the definitions' schemas and rules, judged offline, and
//! unknown fields refused as `kubectl apply --validate=strict` does. A test holds it against a real API server.
mod field;
mod metadata;
mod rules;
mod schema;
mod shape;

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde::Serialize;
use serde_json::{Map, Value, json};

pub use self::field::Field;
use self::schema::Schema;
use crate::api::{VERSION, without_nulls};

/// Who objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Judge {
    /// The API server, by the definition's schema, or strict about unknown fields
    Schema,
    /// The API server, by a CEL rule of the definition
    Rule,
    /// The operator, from the spec alone
    Operator,
}

/// One thing that is wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    pub field: Field,
    pub message: String,
    pub judge: Judge,
    /// Rules are not evaluated then: they could not rely on what they read
    blocks_rules: bool,
}

impl Objection {
    /// What the operator would refuse.
    pub fn by_operator(field: Field, message: impl Into<String>) -> Self {
        Self {
            field,
            message: message.into(),
            judge: Judge::Operator,
            blocks_rules: false,
        }
    }
}

/// Why a definition cannot be judged offline.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "reading the schema of {kind}: {source}; this is a fault of this program, please report it"
    )]
    Schema {
        kind: String,
        source: serde_path_to_error::Error<serde_json::Error>,
    },
    #[error(
        "{kind} has no version {VERSION} with a schema; this is a fault of this program, please report it"
    )]
    NoVersion { kind: String },
}

/// The schemas of all our kinds.
#[derive(Debug)]
pub struct Admission {
    kinds: BTreeMap<String, Schema>,
}

impl Admission {
    /// From the definitions of the kinds.
    pub fn new(
        definitions: impl IntoIterator<Item = CustomResourceDefinition>,
    ) -> Result<Self, Error> {
        let kinds = definitions.into_iter().map(|crd| {
            let kind = crd.spec.names.kind.clone();
            let versions = crd.spec.versions.into_iter();
            let schema = versions
                .filter(|version| version.name == VERSION)
                .find_map(|version| version.schema?.open_api_v3_schema)
                .and_then(|schema| serde_json::to_value(schema).ok())
                .ok_or_else(|| Error::NoVersion { kind: kind.clone() })?;
            let schema = with_type_and_metadata(without_nulls(schema));
            let schema: Schema =
                serde_path_to_error::deserialize(schema).map_err(|source| Error::Schema {
                    kind: kind.clone(),
                    source,
                })?;
            Ok((kind, schema))
        });
        Ok(Self {
            kinds: kinds.collect::<Result<_, _>>()?,
        })
    }

    /// Everything that is wrong with `object`, whose `kind` must be one of ours. `status` is only looked at for its shape:
    /// the API server drops it when an object is created.
    pub fn judge(&self, object: &Value) -> Vec<Objection> {
        let mut found = Vec::new();
        let kind = object["kind"].as_str().unwrap_or_default();
        let (Some(schema), Some(members)) = (self.kinds.get(kind), object.as_object()) else {
            return vec![Objection {
                field: Field::new("kind"),
                message: format!("{kind:?} is no kind of {}", crate::api::API_VERSION),
                judge: Judge::Schema,
                blocks_rules: true,
            }];
        };
        let root = Field::default();
        metadata::judge(&object["metadata"], &mut found);
        let mut rest = members.clone();
        rest.remove("metadata");
        let mut rest = Value::Object(rest);
        shape::unknown(schema, &rest, &root, &mut found);
        if let Value::Object(rest) = &mut rest {
            rest.remove("status");
        }
        shape::settle(schema, &mut rest);
        if let Value::Object(rest) = &mut rest {
            rest.remove("status");
            rest.insert("metadata".into(), named(&object["metadata"]));
        }
        shape::judge(schema, &rest, &root, &mut found);
        if found.iter().any(|objection| objection.blocks_rules) {
            return found;
        }
        rule(schema, &rest, &root, &mut found);
        found
    }
}

/// Every definition has `apiVersion`, `kind` and `metadata`; of the last rules see only the name.
fn with_type_and_metadata(mut schema: Value) -> Value {
    let text = json!({"type": "string"});
    schema["properties"]["metadata"] =
        json!({"type": "object", "properties": {"name": text, "generateName": text}});
    schema["properties"]["apiVersion"] = text.clone();
    schema["properties"]["kind"] = text;
    schema
}

fn named(metadata: &Value) -> Value {
    let parts = ["name", "generateName"].into_iter();
    let present = parts.filter_map(|key| Some((key.to_owned(), metadata.get(key)?.clone())));
    Value::Object(present.collect::<Map<_, _>>())
}

/// Rules of this node and of all below it, on a value that the schema has let through.
fn rule(schema: &Schema, value: &Value, at: &Field, found: &mut Vec<Objection>) {
    for rule in &schema.rules {
        if let Some(message) = rule.violation(schema, value) {
            let below = rule
                .field_path
                .as_deref()
                .map(|p| p.trim_start_matches('.'));
            found.push(Objection {
                field: below.map_or_else(|| at.clone(), |path| at.join(path)),
                message,
                judge: Judge::Rule,
                blocks_rules: false,
            });
        }
    }
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                if let Some(inner) = schema.properties.get(key).or(schema.values_schema()) {
                    rule(inner, member, &at.key(key), found);
                }
            }
        }
        Value::Array(items) => {
            if let Some(inner) = &schema.items {
                for (index, item) in items.iter().enumerate() {
                    rule(inner, item, &at.item(index), found);
                }
            }
        }
        _ => {}
    }
}
