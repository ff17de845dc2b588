//! Floor 1: what the API server would say of an object that is created: the definitions' schemas and rules, judged offline, and
//! unknown fields refused as `kubectl apply --validate=strict` does. A test holds it against a real API server.
mod field;
mod metadata;
mod rules;
mod schema;
pub mod served;
mod shape;

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde::Serialize;
use serde_json::{Value, json};

pub use self::field::Field;
use self::field::Place;
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

/// The schemas of all our kinds. Made once and shared: a judgement changes nothing in it.
#[derive(Debug)]
pub struct Admission {
    kinds: BTreeMap<String, Definition>,
}

/// One kind.
#[derive(Debug)]
struct Definition {
    /// Of `metadata` it has what rules see, and of `status` nothing.
    schema: Schema,
    /// Only looked at for unknown fields: the API server drops the status of an object that is created.
    status: Option<Schema>,
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
            let mut schema: Schema =
                serde_path_to_error::deserialize(schema).map_err(|source| Error::Schema {
                    kind: kind.clone(),
                    source,
                })?;
            let status = schema.properties.remove("status");
            schema.prepare();
            Ok((kind, Definition { schema, status }))
        });
        Ok(Self {
            kinds: kinds.collect::<Result<_, _>>()?,
        })
    }

    /// As [`Admission::judge`], each objection as field and message; `object`: of the object as a whole.
    pub fn objections(&self, object: &Value) -> Vec<(String, String)> {
        let found = self.judge(object).into_iter();
        found
            .map(|objection| match objection.field.to_string() {
                whole if whole.is_empty() => ("object".to_owned(), objection.message),
                field => (field, objection.message),
            })
            .collect()
    }

    /// Everything that is wrong with `object`, whose `kind` must be one of ours.
    pub fn judge(&self, object: &Value) -> Vec<Objection> {
        let mut found = Vec::new();
        let kind = object["kind"].as_str().unwrap_or_default();
        let (Some(definition), Some(members)) = (self.kinds.get(kind), object.as_object()) else {
            return vec![Objection {
                field: Field::new("kind"),
                message: format!("{kind:?} is no kind of {}", crate::api::API_VERSION),
                judge: Judge::Schema,
                blocks_rules: true,
            }];
        };
        let schema = &definition.schema;
        let root = Place::ROOT;
        metadata::judge(&object["metadata"], &mut found);
        let rest = || members.iter().filter(|(key, _)| *key != "metadata");
        for (key, member) in rest() {
            match &definition.status {
                Some(status) if key == "status" => {
                    shape::unknown(status, member, root.key(key), &mut found);
                }
                _ => shape::known(schema, key, member, root, &mut found),
            }
        }
        for key in &schema.required {
            if schema.member(members, key).is_none() {
                found.push(Objection {
                    field: root.key(key).field(),
                    message: "is required".into(),
                    judge: Judge::Schema,
                    blocks_rules: true,
                });
            }
        }
        for (key, member) in rest() {
            if let Some(inner) = schema.properties.get(key)
                && !inner.replaces(Some(member))
            {
                shape::judge(inner, member, root.key(key), &mut found);
            }
        }
        if !found.iter().any(|objection| objection.blocks_rules) {
            rules::judge(schema, object, &mut found);
        }
        found
    }
}

/// Judged from several threads at once.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<Admission>();
};

/// Every definition has `apiVersion`, `kind` and `metadata`; of the last rules see only the name.
fn with_type_and_metadata(mut schema: Value) -> Value {
    let text = json!({"type": "string"});
    schema["properties"]["metadata"] =
        json!({"type": "object", "properties": {"name": text, "generateName": text}});
    schema["properties"]["apiVersion"] = text.clone();
    schema["properties"]["kind"] = text;
    schema
}
