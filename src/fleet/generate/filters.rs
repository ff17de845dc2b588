//! What expressions can do besides naming members: a closed list, nothing of which reaches files, the environment of the
//! process, the network, the time or chance.
//!
//! The engine charges fuel for every instruction and for every byte that goes into or comes out of a filter.

use std::sync::LazyLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use minijinja::value::{Value as Jinja, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, UndefinedBehavior, filters, tests};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::values::{Unfit, from_json, to_json};

/// For one expression: instructions, and a unit for every 64 bytes moved.
const FUEL: u64 = 2_500;

/// A filter as the documentation shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    pub name: &'static str,
    /// Without the delimiters around it
    pub example: &'static str,
    /// What the example gives, as JSON
    pub gives: &'static str,
    pub what: &'static str,
}

const fn filter(
    name: &'static str,
    example: &'static str,
    gives: &'static str,
    what: &'static str,
) -> Filter {
    Filter {
        name,
        example,
        gives,
        what,
    }
}

/// Every filter there is.
pub const FILTERS: &[Filter] = &[
    filter("abs", "-3 | abs", "3", "A number without its sign"),
    filter(
        "b64decode",
        "'aGk=' | b64decode",
        "\"hi\"",
        "The text that a base64 text encodes; must be UTF-8",
    ),
    filter(
        "b64encode",
        "'hi' | b64encode",
        "\"aGk=\"",
        "A text as base64",
    ),
    filter(
        "bool",
        "'' | bool",
        "false",
        "False for nothing, zero and what is empty, else true",
    ),
    filter(
        "capitalize",
        "'sales' | capitalize",
        "\"Sales\"",
        "The first letter large, the others small",
    ),
    filter(
        "default",
        "absent | default('x')",
        "\"x\"",
        "Another value for a member that is not there; with `true` as second argument also for an empty one",
    ),
    filter(
        "first",
        "['a', 'b'] | first",
        "\"a\"",
        "The first item of a list, the first character of a text",
    ),
    filter(
        "float",
        "'1.5' | float",
        "1.5",
        "A number, maybe with a fraction",
    ),
    filter(
        "fromjson",
        "'{\"a\": 1}' | fromjson",
        "{\"a\": 1}",
        "The value that a JSON text holds",
    ),
    filter("int", "'3' | int", "3", "A whole number"),
    filter(
        "join",
        "['a', 'b'] | join('-')",
        "\"a-b\"",
        "The items of a list as one text",
    ),
    filter(
        "keys",
        "{'b': 1, 'a': 2} | keys",
        "[\"a\", \"b\"]",
        "The keys of an object, sorted",
    ),
    filter(
        "last",
        "['a', 'b'] | last",
        "\"b\"",
        "The last item of a list, the last character of a text",
    ),
    filter(
        "length",
        "'abc' | length",
        "3",
        "How many items, members or characters",
    ),
    filter("lower", "'Sales' | lower", "\"sales\"", "Small letters"),
    filter("max", "[1, 3] | max", "3", "The largest item"),
    filter("min", "[1, 3] | min", "1", "The smallest item"),
    filter(
        "replace",
        "'a_b' | replace('_', '-')",
        "\"a-b\"",
        "Every occurrence of a text replaced",
    ),
    filter(
        "reverse",
        "[1, 2] | reverse",
        "[2, 1]",
        "The other way round",
    ),
    filter(
        "round",
        "2.6 | round",
        "3.0",
        "The nearest whole number; with an argument, so many digits of the fraction",
    ),
    filter(
        "sha256",
        "'hi' | sha256 | trunc(8)",
        "\"8f434346\"",
        "sha256 of a text, as hex",
    ),
    filter(
        "slugify",
        "'Sales & HR' | slugify",
        "\"sales-hr\"",
        "A name of small letters, digits and single -, at most 63 characters or as many as the argument says",
    ),
    filter(
        "sort",
        "['b', 'a'] | sort",
        "[\"a\", \"b\"]",
        "The items of a list in order",
    ),
    filter(
        "split",
        "'a,b' | split(',')",
        "[\"a\", \"b\"]",
        "The parts of a text between separators",
    ),
    filter("string", "3 | string", "\"3\"", "The value as text"),
    filter(
        "title",
        "'sales team' | title",
        "\"Sales Team\"",
        "Every word with a large letter",
    ),
    filter(
        "tojson",
        "{'a': [1]} | tojson",
        "\"{\\\"a\\\":[1]}\"",
        "The value as JSON text",
    ),
    filter(
        "trim",
        "' a ' | trim",
        "\"a\"",
        "Without white space at both ends, or without the characters given",
    ),
    filter(
        "trunc",
        "'dashboard' | trunc(4)",
        "\"dash\"",
        "At most so many characters; a negative number counts from the end",
    ),
    filter(
        "unique",
        "['a', 'a'] | unique",
        "[\"a\"]",
        "Every item of a list once",
    ),
    filter("upper", "'sales' | upper", "\"SALES\"", "Large letters"),
];

/// What can be asked with `is`.
pub const TESTS: &[&str] = &[
    "defined",
    "undefined",
    "none",
    "string",
    "number",
    "sequence",
    "mapping",
    "startingwith",
    "endingwith",
];

/// The engine, the same for all templates.
pub(super) fn engine() -> &'static Environment<'static> {
    static ENGINE: LazyLock<Environment<'static>> = LazyLock::new(build);
    &ENGINE
}

fn build() -> Environment<'static> {
    let mut engine = Environment::empty();
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    engine.set_fuel(Some(FUEL));
    for Filter { name, .. } in FILTERS {
        match *name {
            "abs" => engine.add_filter(*name, filters::abs),
            "b64decode" => engine.add_filter(*name, b64decode),
            "b64encode" => engine.add_filter(*name, |text: String| BASE64_STANDARD.encode(text)),
            "bool" => engine.add_filter(*name, filters::bool),
            "capitalize" => engine.add_filter(*name, filters::capitalize),
            "default" => engine.add_filter(*name, filters::default),
            "first" => engine.add_filter(*name, filters::first),
            "float" => engine.add_filter(*name, filters::float),
            "fromjson" => engine.add_filter(*name, fromjson),
            "int" => engine.add_filter(*name, filters::int),
            "join" => engine.add_filter(*name, filters::join),
            "keys" => engine.add_filter(*name, keys),
            "last" => engine.add_filter(*name, filters::last),
            "length" => engine.add_filter(*name, filters::length),
            "lower" => engine.add_filter(*name, filters::lower),
            "max" => engine.add_filter(*name, filters::max),
            "min" => engine.add_filter(*name, filters::min),
            "replace" => engine.add_filter(*name, filters::replace),
            "reverse" => engine.add_filter(*name, filters::reverse),
            "round" => engine.add_filter(*name, filters::round),
            "sha256" => engine.add_filter(*name, sha256),
            "slugify" => engine.add_filter(*name, slugify),
            "sort" => engine.add_filter(*name, filters::sort),
            "split" => engine.add_filter(*name, filters::split),
            "string" => engine.add_filter(*name, filters::string),
            "title" => engine.add_filter(*name, filters::title),
            "tojson" => engine.add_filter(*name, tojson),
            "trim" => engine.add_filter(*name, filters::trim),
            "trunc" => engine.add_filter(*name, trunc),
            "unique" => engine.add_filter(*name, filters::unique),
            "upper" => engine.add_filter(*name, filters::upper),
            _ => {}
        }
    }
    engine.add_test("defined", tests::is_defined);
    engine.add_test("undefined", tests::is_undefined);
    engine.add_test("none", tests::is_none);
    engine.add_test("string", tests::is_string);
    engine.add_test("number", tests::is_number);
    engine.add_test("sequence", tests::is_sequence);
    engine.add_test("mapping", tests::is_mapping);
    engine.add_test("startingwith", tests::is_startingwith);
    engine.add_test("endingwith", tests::is_endingwith);
    engine
}

fn refuse(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

fn b64decode(text: &str) -> Result<String, Error> {
    let bytes = BASE64_STANDARD
        .decode(text)
        .map_err(|error| refuse(format!("no base64: {error}")))?;
    String::from_utf8(bytes).map_err(|_| refuse("the decoded bytes are no UTF-8 text"))
}

fn fromjson(state: &State, text: &str) -> Result<Jinja, Error> {
    // A value takes more than its text.
    state.consume_fuel(text.len() as u64 / 4)?;
    let value: Value =
        serde_json::from_str(text).map_err(|error| refuse(format!("no JSON: {error}")))?;
    Ok(from_json(&value))
}

fn keys(value: &Jinja) -> Result<Jinja, Error> {
    if value.kind() != ValueKind::Map {
        return Err(refuse(format!("keys of a {}", value.kind())));
    }
    let mut keys: Vec<Jinja> = value.try_iter()?.collect();
    keys.sort();
    Ok(Jinja::from(keys))
}

fn sha256(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn slugify(text: &str, limit: Option<u32>) -> String {
    let limit = limit.unwrap_or(63) as usize;
    let mut slug = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        if slug.len() >= limit {
            break;
        }
        if c.is_ascii_alphanumeric() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.truncate(slug.trim_end_matches('-').len());
    slug
}

fn tojson(state: &State, value: &Jinja) -> Result<String, Error> {
    let (consumed, left) = state.fuel_levels().unwrap_or((0, 0));
    let mut budget = usize::try_from(left.min(consumed + left)).unwrap_or(0) * 64;
    let before = budget;
    let value = to_json(value, &mut budget).map_err(|fault| match fault {
        Unfit::TooLarge => Error::from(ErrorKind::OutOfFuel),
        Unfit::Undefined => Error::from(ErrorKind::UndefinedError),
        other => refuse(other.to_string()),
    })?;
    state.consume_fuel((before - budget) as u64 / 8)?;
    Ok(value.to_string())
}

fn trunc(text: &str, limit: i32) -> String {
    let wanted = limit.unsigned_abs() as usize;
    if limit >= 0 {
        return text.chars().take(wanted).collect();
    }
    let skipped = text.chars().count().saturating_sub(wanted);
    text.chars().skip(skipped).collect()
}

#[cfg(test)]
mod documented {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;

    fn give(expression: &str) -> Result<Value, String> {
        let compiled = engine().compile_expression(expression).unwrap();
        let value = compiled.eval(()).map_err(|error| format!("{error:#}"))?;
        to_json(&value, &mut 10_000).map_err(|error| error.to_string())
    }

    #[test]
    fn every_filter_does_what_its_example_says() {
        for filter in FILTERS {
            let wish: Value = serde_json::from_str(filter.gives).unwrap();
            assert_eq!(give(filter.example), Ok(wish), "{}", filter.example);
        }
        let names: BTreeSet<&str> = FILTERS.iter().map(|filter| filter.name).collect();
        assert_eq!(names.len(), FILTERS.len());
        for none in ["range", "indent", "format", "safe", "map", "include", "env"] {
            assert!(give(&format!("1 | {none}")).is_err(), "{none}");
        }
    }

    #[test]
    fn arguments_work_as_documented() {
        for (expression, gives) in [
            ("'' | default('x', true)", "x"),
            ("'dashboard' | trunc(-5)", "board"),
            ("'ab' | trunc(9)", "ab"),
            ("'Über  uns!' | slugify", "ber-uns"),
            ("'a b c' | slugify(2)", "a"),
            ("'---' | slugify", ""),
            ("'xxaxx' | trim('x')", "a"),
        ] {
            assert_eq!(give(expression), Ok(Value::from(gives)), "{expression}");
        }
    }

    #[test]
    fn what_is_no_base64_and_no_json_is_an_error() {
        for expression in [
            "'%' | b64decode",
            "'/w==' | b64decode",
            "'{' | fromjson",
            "1 | keys",
        ] {
            assert!(give(expression).is_err(), "{expression}");
        }
    }
}
