//! The structural schema of a definition, as far as it can be judged offline. A keyword that is not listed here makes the
//! definition unreadable, so that none is passed over in silence.
use std::collections::BTreeMap;

use regex::Regex;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::{Map, Value};

use super::rules::{Passed, Rule, escaped};
use super::shape::settle;

/// One node.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Schema {
    #[serde(rename = "type")]
    pub kind: Option<Kind>,
    pub properties: BTreeMap<String, Schema>,
    pub required: Vec<String>,
    pub additional_properties: Option<Additional>,
    pub items: Option<Box<Schema>>,
    pub default: Option<Value>,
    pub nullable: bool,
    #[serde(rename = "enum")]
    pub values: Option<Vec<Value>>,
    pub pattern: Option<Pattern>,
    pub format: Option<Format>,
    pub min_length: Option<usize>,
    pub max_length: Option<usize>,
    pub minimum: Option<f64>,
    pub maximum: Option<f64>,
    pub exclusive_minimum: bool,
    pub exclusive_maximum: bool,
    pub min_items: Option<usize>,
    pub max_items: Option<usize>,
    pub min_properties: Option<usize>,
    pub max_properties: Option<usize>,
    pub all_of: Vec<Schema>,
    pub any_of: Vec<Schema>,
    pub one_of: Vec<Schema>,
    pub not: Option<Box<Schema>>,
    #[serde(rename = "x-kubernetes-preserve-unknown-fields")]
    pub preserve_unknown: bool,
    #[serde(rename = "x-kubernetes-int-or-string")]
    pub int_or_string: bool,
    #[serde(rename = "x-kubernetes-list-type")]
    pub list_type: ListType,
    #[serde(rename = "x-kubernetes-list-map-keys")]
    pub list_map_keys: Vec<String>,
    #[serde(rename = "x-kubernetes-validations")]
    pub rules: Vec<Rule>,
    // For readers and for merges; no value is judged by them.
    #[serde(rename = "description")]
    _description: Option<String>,
    #[serde(rename = "title")]
    _title: Option<String>,
    #[serde(rename = "example")]
    _example: Option<Value>,
    #[serde(rename = "x-kubernetes-map-type")]
    _map_type: Option<String>,
    /// Set by [`Schema::prepare`]: whether a rule speaks of this node or of one below.
    #[serde(skip)]
    pub ruled: bool,
    /// Set by [`Schema::prepare`]: properties by the names that rules know them by, where these are others.
    #[serde(skip)]
    pub escaped: BTreeMap<String, String>,
    /// What the rules of this node were asked before.
    #[serde(skip)]
    pub passed: Passed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Object => "an object",
            Self::Array => "a list",
            Self::String => "a string",
            Self::Integer => "an integer",
            Self::Number => "a number",
            Self::Boolean => "true or false",
        }
    }
}

/// `additionalProperties`: a schema for the values, or whether others than the listed are let through.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Additional {
    Allowed(bool),
    Schema(Box<Schema>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    Int32,
    Int64,
    Float,
    Double,
    DateTime,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListType {
    #[default]
    Atomic,
    Set,
    Map,
}

/// The API server matches with Go's RE2; this crate has the same syntax and guarantees.
#[derive(Debug)]
pub struct Pattern(pub Regex);

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Regex::new(&text).map(Self).map_err(D::Error::custom)
    }
}

impl Schema {
    /// Derives what many judgements need from what was read. Defaults become whole: with the defaults of their own members.
    pub fn prepare(&mut self) {
        // A rule that compares with an earlier object says nothing of a new one.
        self.rules.retain(|rule| !rule.compares);
        let mut ruled = !self.rules.is_empty();
        let values = match &mut self.additional_properties {
            Some(Additional::Schema(values)) => Some(values.as_mut()),
            Some(Additional::Allowed(_)) | None => None,
        };
        let below = self.properties.values_mut().chain(values);
        for inner in below.chain(self.items.as_deref_mut()) {
            inner.prepare();
            ruled |= inner.ruled;
        }
        let parts = self.all_of.iter_mut().chain(&mut self.any_of);
        let parts = parts.chain(&mut self.one_of).chain(self.not.as_deref_mut());
        parts.for_each(Schema::prepare);
        self.ruled = ruled;
        let names = self.properties.keys().map(|name| (escaped(name), name));
        let other = names.filter(|(escaped, name)| escaped != *name);
        self.escaped = other
            .map(|(escaped, name)| (escaped, name.clone()))
            .collect();
        if let Some(mut default) = self.default.take() {
            settle(self, &mut default);
            self.default = Some(default);
        }
    }

    /// The member `key` as the API server would store it: the default stands in for what is missing, and for a null that
    /// may not be one.
    pub fn member<'a>(&'a self, members: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
        let given = members.get(key);
        match self.properties.get(key) {
            Some(property) if given.is_none() || property.replaces(given) => {
                property.default.as_ref()
            }
            _ => given,
        }
    }

    /// Whether the default takes the place of what is given.
    pub fn replaces(&self, given: Option<&Value>) -> bool {
        given == Some(&Value::Null) && self.default.is_some() && !self.nullable
    }

    /// The schema of the values of a map.
    pub fn values_schema(&self) -> Option<&Schema> {
        match &self.additional_properties {
            Some(Additional::Schema(schema)) => Some(schema),
            Some(Additional::Allowed(_)) | None => None,
        }
    }

    /// Whether there are `allOf`, `anyOf`, `oneOf` or `not`.
    pub fn has_alternatives(&self) -> bool {
        self.not.is_some()
            || [&self.all_of, &self.any_of, &self.one_of]
                .iter()
                .any(|parts| !parts.is_empty())
    }

    /// Whether members that no property lists may be there.
    pub fn open(&self) -> bool {
        self.preserve_unknown
            || matches!(
                self.additional_properties,
                Some(Additional::Allowed(true) | Additional::Schema(_))
            )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_keyword_that_could_not_be_judged_is_an_error_and_not_passed_over() {
        for schema in [
            json!({"type": "string", "multipleOf": 2}),
            json!({"type": "object", "properties": {"a": {"format": "ipv4"}}}),
            json!({"type": "string", "pattern": "(?=look)"}),
            json!({"type": "object", "x-kubernetes-validations": [{"rule": "true", "optionalOldSelf": true}]}),
        ] {
            assert!(
                serde_json::from_value::<Schema>(schema.clone()).is_err(),
                "{schema}"
            );
        }
    }
}
