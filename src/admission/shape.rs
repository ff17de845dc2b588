//! Fields, types, bounds: what the structural schema says of a value. In the order of the API server: unknown fields,
//! nulls and defaults, then the values.
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use serde_json::{Map, Number, Value};

use super::field::Place;
use super::schema::{Format, Kind, ListType, Schema};
use super::{Judge, Objection};

/// Members that the schema does not know, as `--validate=strict` refuses them.
pub fn unknown(schema: &Schema, value: &Value, at: Place<'_>, found: &mut Vec<Objection>) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                known(schema, key, member, at, found);
            }
        }
        Value::Array(items) => {
            if let Some(inner) = &schema.items {
                for (index, item) in items.iter().enumerate() {
                    unknown(inner, item, at.item(index), found);
                }
            }
        }
        _ => {}
    }
}

/// As [`unknown`], of one member.
pub fn known(
    schema: &Schema,
    key: &str,
    member: &Value,
    at: Place<'_>,
    found: &mut Vec<Objection>,
) {
    let here = at.key(key);
    match schema.properties.get(key).or(schema.values_schema()) {
        Some(inner) => unknown(inner, member, here, found),
        None if schema.open() => {}
        None => found.push(Objection {
            message: unknown_field(schema, key),
            field: here.field(),
            judge: Judge::Schema,
            blocks_rules: false,
        }),
    }
}

fn unknown_field(schema: &Schema, key: &str) -> String {
    let known: Vec<&str> = schema.properties.keys().map(String::as_str).collect();
    let same = |known: &&&str| known.eq_ignore_ascii_case(key);
    match (known.iter().find(same), known.is_empty()) {
        (Some(known), _) => format!("unknown field; did you mean {known}?"),
        (None, true) => "unknown field".into(),
        (None, false) => format!("unknown field; known are {}", known.join(", ")),
    }
}

/// Puts in defaults, also in place of nulls. Other nulls stay and are objected to: a create would drop them, but
/// server-side apply refuses them. Judging a value doesn't take that, [`Schema::member`] gives the same.
pub fn settle(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|key, member| {
                let property = schema.properties.get(key);
                !property.is_some_and(|p| p.replaces(Some(member)))
            });
            fill(schema, members);
            for (key, member) in members.iter_mut() {
                if let Some(inner) = schema.properties.get(key).or(schema.values_schema()) {
                    settle(inner, member);
                }
            }
        }
        Value::Array(items) => {
            if let Some(inner) = &schema.items {
                items.iter_mut().for_each(|item| settle(inner, item));
            }
        }
        _ => {}
    }
}

fn fill(schema: &Schema, members: &mut Map<String, Value>) {
    for (key, property) in &schema.properties {
        if let Some(default) = &property.default
            && !members.contains_key(key)
        {
            members.insert(key.clone(), default.clone());
        }
    }
}

/// What is wrong with a value, once defaults stand in for what is missing. They themselves are right, or the API server
/// would not have taken the definition.
pub fn judge(schema: &Schema, value: &Value, at: Place<'_>, found: &mut Vec<Objection>) {
    if value.is_null() && schema.nullable {
        return;
    }
    let mut object = |at: Place<'_>, blocks_rules: bool, message: String| {
        found.push(Objection {
            field: at.field(),
            message,
            judge: Judge::Schema,
            blocks_rules,
        });
    };
    if !has_kind(schema, value) {
        let wanted = match schema.kind {
            _ if schema.int_or_string => "an integer or a string",
            Some(kind) => kind.name(),
            None => "something else",
        };
        let remedy = if value.is_null() {
            "; leave it out"
        } else {
            ""
        };
        let message = format!("must be {wanted}, not {}{remedy}", name(value));
        object(at, true, message);
        return;
    }
    if let Some(values) = &schema.values
        && !values.contains(value)
    {
        let values: Vec<String> = values.iter().map(shown).collect();
        let message = format!("{} is none of {}", shown(value), values.join(", "));
        object(at, false, message);
    }
    match value {
        Value::String(text) => {
            let length = text.chars().count();
            if let Some(max) = schema.max_length.filter(|max| length > *max) {
                object(
                    at,
                    true,
                    format!("has {length} characters, at most {max} are allowed"),
                );
            }
            if let Some(min) = schema.min_length.filter(|min| length < *min) {
                object(
                    at,
                    false,
                    format!("has {length} characters, at least {min} are needed"),
                );
            }
            if let Some(pattern) = schema.pattern.as_ref().filter(|p| !p.0.is_match(text)) {
                let message = format!("{} does not match {}", shown(value), pattern.0);
                object(at, false, message);
            }
            if schema.format == Some(Format::DateTime) && text.parse::<jiff::Timestamp>().is_err() {
                let message = format!(
                    "{} is no time; write it like 2026-01-31T12:00:00Z",
                    shown(value)
                );
                object(at, false, message);
            }
        }
        Value::Number(number) => {
            if let Some(message) = range(schema, number) {
                object(at, false, message);
            }
        }
        Value::Array(items) => {
            let length = items.len();
            if let Some(max) = schema.max_items.filter(|max| length > *max) {
                object(
                    at,
                    true,
                    format!("has {length} items, at most {max} are allowed"),
                );
            }
            if let Some(min) = schema.min_items.filter(|min| length < *min) {
                object(
                    at,
                    false,
                    format!("has {length} items, at least {min} are needed"),
                );
            }
            twice(schema, items, at, found);
            if let Some(inner) = &schema.items {
                for (index, item) in items.iter().enumerate() {
                    judge(inner, item, at.item(index), found);
                }
            }
        }
        Value::Object(members) => {
            if let Some(max) = schema
                .max_properties
                .filter(|max| count(schema, members) > *max)
            {
                let length = count(schema, members);
                object(
                    at,
                    true,
                    format!("has {length} members, at most {max} are allowed"),
                );
            }
            if let Some(min) = schema
                .min_properties
                .filter(|min| count(schema, members) < *min)
            {
                let length = count(schema, members);
                object(
                    at,
                    false,
                    format!("has {length} members, at least {min} are needed"),
                );
            }
            for key in &schema.required {
                if schema.member(members, key).is_none() {
                    object(at.key(key), true, "is required".into());
                }
            }
            for (key, member) in members {
                if let Some(inner) = schema.properties.get(key).or(schema.values_schema())
                    && !inner.replaces(Some(member))
                {
                    judge(inner, member, at.key(key), found);
                }
            }
        }
        Value::Bool(_) | Value::Null => {}
    }
    if schema.has_alternatives() {
        // The parts don't know the defaults of the whole.
        let mut whole = value.clone();
        settle(schema, &mut whole);
        alternatives(schema, &whole, at, found);
    }
}

/// How many members there are with the defaults.
fn count(schema: &Schema, members: &Map<String, Value>) -> usize {
    let defaults = schema
        .properties
        .iter()
        .filter(|(_, p)| p.default.is_some());
    members.len()
        + defaults
            .filter(|(key, _)| !members.contains_key(*key))
            .count()
}

/// `allOf`, `anyOf`, `oneOf`, `not`.
fn alternatives(schema: &Schema, value: &Value, at: Place<'_>, found: &mut Vec<Objection>) {
    for part in &schema.all_of {
        judge(part, value, at, found);
    }
    let fits = |part: &Schema| {
        let mut objections = Vec::new();
        judge(part, value, at, &mut objections);
        objections.is_empty()
    };
    let mut object = |message: &str| {
        found.push(Objection {
            field: at.field(),
            message: message.to_owned(),
            judge: Judge::Schema,
            blocks_rules: false,
        });
    };
    if !schema.any_of.is_empty() && !schema.any_of.iter().any(fits) {
        object("fits none of the shapes that the schema allows");
    }
    let shapes = schema.one_of.iter().filter(|part| fits(part)).count();
    if !schema.one_of.is_empty() && shapes != 1 {
        object("must fit exactly one of the shapes that the schema allows");
    }
    if schema.not.as_deref().is_some_and(fits) {
        object("has a shape that the schema forbids");
    }
}

fn has_kind(schema: &Schema, value: &Value) -> bool {
    let whole = |number: &Number| {
        number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|f| f.fract() == 0.0)
    };
    if schema.int_or_string {
        return value.is_string() || value.as_number().is_some_and(whole);
    }
    match (schema.kind, value) {
        // No type: anything goes, but a null only where it is allowed.
        (None, value) => !value.is_null(),
        (Some(Kind::Object), Value::Object(_))
        | (Some(Kind::Array), Value::Array(_))
        | (Some(Kind::String), Value::String(_))
        | (Some(Kind::Number), Value::Number(_))
        | (Some(Kind::Boolean), Value::Bool(_)) => true,
        (Some(Kind::Integer), Value::Number(number)) => whole(number),
        (Some(_), _) => false,
    }
}

fn range(schema: &Schema, number: &Number) -> Option<String> {
    let value = number.as_f64()?;
    let below = |min: f64| value < min || (schema.exclusive_minimum && value <= min);
    let above = |max: f64| value > max || (schema.exclusive_maximum && value >= max);
    if let Some(min) = schema.minimum.filter(|min| below(*min)) {
        let than = if schema.exclusive_minimum {
            "more than"
        } else {
            "at least"
        };
        return Some(format!("{number} is too small, {than} {min} is needed"));
    }
    if let Some(max) = schema.maximum.filter(|max| above(*max)) {
        let than = if schema.exclusive_maximum {
            "less than"
        } else {
            "at most"
        };
        return Some(format!("{number} is too large, {than} {max} is allowed"));
    }
    let fits = match schema.format {
        Some(Format::Int32) => number.as_i64().is_none_or(|n| i32::try_from(n).is_ok()),
        Some(Format::Int64) => !number.is_u64() || number.is_i64(),
        Some(Format::Float | Format::Double | Format::DateTime) | None => true,
    };
    (!fits).then(|| format!("{number} is too large for a number of this format"))
}

/// Items of a set that are equal, items of a map with equal keys.
fn twice(schema: &Schema, items: &[Value], at: Place<'_>, found: &mut Vec<Objection>) {
    let key = |item| -> Option<Vec<&Value>> {
        match schema.list_type {
            ListType::Atomic => None,
            ListType::Set => Some(vec![item]),
            // One without a key is objected to as such.
            ListType::Map => schema.list_map_keys.iter().map(|k| item.get(k)).collect(),
        }
    };
    if schema.list_type == ListType::Atomic {
        return;
    }
    let mut seen: HashMap<Vec<&Value>, usize> = HashMap::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let Some(key) = key(item) else { continue };
        let first = match seen.entry(key) {
            Entry::Vacant(new) => {
                new.insert(index);
                continue;
            }
            Entry::Occupied(first) => *first.get(),
        };
        let said = match schema.list_type {
            ListType::Map => {
                let keys = schema.list_map_keys.iter();
                let keys = keys.map(|key| format!("{key}: {}", shown(&item[key])));
                format!("{{{}}}", keys.collect::<Vec<_>>().join(", "))
            }
            ListType::Set | ListType::Atomic => shown(item),
        };
        found.push(Objection {
            field: at.item(index).field(),
            message: format!("{said} comes twice; {} has it too", at.item(first).field()),
            judge: Judge::Schema,
            blocks_rules: false,
        });
    }
}

fn name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(number) if number.is_f64() => "a number",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A value in a message, cut to 80 characters.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests;
