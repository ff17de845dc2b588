//! Elements out of the text of a ConfigMap, read with bounds on time and memory whatever it holds.

use std::cell::Cell;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::limits::{self, mib};
use crate::api::status::cut;

/// What a text gives: its items, each of which may be wrong by itself, or why it can't be read.
pub(super) type Text = Result<Vec<Result<Map<String, Value>, String>>, String>;

/// The elements of a YAML or JSON text: a list of objects, or one object.
pub(super) fn read(text: &str) -> Text {
    if text.len() > limits::DATA_BYTES {
        return Err(too_large());
    }
    let options = serde_saphyr::options! {
        // As the YAML library of kubectl and the API server reads numbers.
        legacy_octal_numbers: true,
        with_snippet: false,
        emit_comments: false,
    };
    LEFT.set(limits::DATA_BYTES);
    let parsed = serde_saphyr::from_str_with_options::<Bounded>(text, options);
    let value = match parsed {
        Ok(Bounded(value)) => value,
        Err(error) => return Err(format!("is no YAML: {}", cut(&error.to_string(), 300))),
    };
    match value {
        Value::Array(items) => Ok(items.into_iter().map(element).collect()),
        Value::Null => Err("is empty; write [] for no elements".to_owned()),
        other => element(other).map(|element| vec![Ok(element)]),
    }
}

fn element(value: Value) -> Result<Map<String, Value>, String> {
    let kind = match value {
        Value::Object(map) => return Ok(map),
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
    };
    Err(format!(
        "is {kind}, where an object is needed, as {{team: sales}}"
    ))
}

fn too_large() -> String {
    format!("holds more than {}", mib(limits::DATA_BYTES))
}

thread_local! {
    /// Bytes that the value being read may still take. Aliases multiply what a short text says, so it is the result that
    /// is counted, as it grows.
    static LEFT: Cell<usize> = const { Cell::new(0) };
}

fn take<E: serde::de::Error>(bytes: usize) -> Result<(), E> {
    let left = LEFT.get().checked_sub(bytes);
    LEFT.set(left.unwrap_or(0));
    left.map(drop).ok_or_else(|| E::custom(too_large()))
}

struct Bounded(Value);

impl<'de> Deserialize<'de> for Bounded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> DeserializeSeed<'de> for Reader {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON can hold")
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Value, E> {
        take(limits::VALUE_BYTES)?;
        Ok(value.into())
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        take(limits::VALUE_BYTES)?;
        Ok(value.into())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        take(limits::VALUE_BYTES)?;
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        take(limits::VALUE_BYTES)?;
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("JSON has no such number"))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        take(limits::VALUE_BYTES + value.len())?;
        Ok(value.into())
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
        take(limits::VALUE_BYTES)?;
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        take(limits::VALUE_BYTES)?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Reader)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        take(limits::VALUE_BYTES)?;
        let mut members = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            take(key.len())?;
            members.insert(key, map.next_value_seed(Reader)?);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_a_single_object_and_json_are_elements() {
        for (text, elements) in [
            (
                "- {team: sales}\n- team: hr\n  size: 3\n",
                json!([{"team": "sales"}, {"team": "hr", "size": 3}]),
            ),
            ("team: sales", json!([{"team": "sales"}])),
            ("[{\"team\": \"sales\"}]", json!([{"team": "sales"}])),
            ("[]", json!([])),
            ("&a {x: 1}", json!([{"x": 1}])),
            (
                "base: &b {x: 1}\nover: {<<: *b, y: 2}",
                json!([{"base": {"x": 1}, "over": {"x": 1, "y": 2}}]),
            ),
        ] {
            let found: Result<Vec<_>, _> = read(text).unwrap().into_iter().collect();
            assert_eq!(json!(found.unwrap()), elements, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, part) in [
            ("{", "is no YAML"),
            ("a: b: c", "is no YAML"),
            ("", "is empty"),
            ("# nothing", "is empty"),
            ("7", "is a number, where an object"),
            ("a: 1\na: 2", "duplicate mapping key: a"),
            ("a: 1\n---\nb: 2", "is no YAML"),
            ("- .nan", "is no YAML"),
        ] {
            let error = match read(text) {
                Err(error) => error,
                Ok(items) => items.into_iter().find_map(Result::err).unwrap_or_default(),
            };
            assert!(
                error.to_lowercase().contains(&part.to_lowercase()),
                "{text}: {error}"
            );
        }
        let items = read("[{a: 1}, 7, {b: 2}]").unwrap();
        assert!(items[0].is_ok() && items[1].is_err() && items[2].is_ok());
    }

    #[test]
    fn texts_that_grow_when_read_are_refused_before_they_have_grown() {
        let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..20 {
            let inner = vec![format!("*a{}", n - 1); 9].join(", ");
            laughs.push_str(&format!("a{n}: &a{n} [{inner}]\n"));
        }
        let long = format!(
            "a: &a \"{}\\n\"\nb: [{}]\n",
            "x".repeat(500_000),
            vec!["*a"; 900].join(", ")
        );
        let deep = "[".repeat(100_000);
        let nested = format!("{}1{}", "{a: ".repeat(5_000), "}".repeat(5_000));
        let huge = format!("a: {}", "x".repeat(10 << 20));
        for text in [laughs, long, deep, nested, huge] {
            let start = text[..40].to_owned();
            let (sender, receiver) = std::sync::mpsc::channel();
            std::thread::spawn(move || sender.send(read(&text).is_err()));
            // Whole, the first would take longer than anybody lives; the deadline only keeps a failure from hanging.
            let refused = receiver.recv_timeout(Duration::from_secs(100));
            assert_eq!(refused, Ok(true), "{start}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[-\\[\\]{}:,&*a-c0-9\"'\\\\ \n#!|>%?.<]{0,60}", any in "\\PC{0,20}") {
            let _ = read(&text);
            let _ = read(&any);
        }
    }
}
