//! Fills `{{ … }}` in the strings of a template.
//!
//! Expressions only: no statements, no multiplication, a short list of filters, so that what comes out is at most some
//! multiple of what goes in. Undefined names are errors that say which names there are.

use minijinja::value::Value as Jinja;
use minijinja::{Environment, ErrorKind, UndefinedBehavior, filters, tests};
use serde_json::{Map, Value};

const FUEL: u64 = 10_000;
const TEMPLATE_BYTES: usize = 16 << 10;
const OUTPUT_BYTES: usize = 64 << 10;

/// Fills templates with the members of one element.
pub(super) struct Filler {
    environment: Environment<'static>,
}

impl Filler {
    pub(super) fn new() -> Self {
        let mut environment = Environment::empty();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        environment.add_filter("default", filters::default);
        environment.add_filter("lower", filters::lower);
        environment.add_filter("upper", filters::upper);
        environment.add_filter("title", filters::title);
        environment.add_filter("capitalize", filters::capitalize);
        environment.add_filter("trim", filters::trim);
        environment.add_filter("length", filters::length);
        environment.add_filter("first", filters::first);
        environment.add_filter("last", filters::last);
        environment.add_filter("join", filters::join);
        environment.add_filter("int", filters::int);
        environment.add_filter("float", filters::float);
        environment.add_filter("string", |value: Jinja| value.to_string());
        environment.add_filter("replace", replace);
        environment.add_filter("tojson", filters::tojson);
        environment.add_test("defined", tests::is_defined);
        environment.add_test("undefined", tests::is_undefined);
        Self { environment }
    }

    /// Every string inside `value` filled; keys of objects stay as they are. The error comes with the path to its field.
    pub(super) fn fill(
        &self,
        value: &Value,
        path: &str,
        element: &Map<String, Value>,
    ) -> Result<Value, (String, String)> {
        match value {
            Value::String(text) => self
                .value(text, element)
                .map_err(|message| (path.to_owned(), message)),
            Value::Array(items) => items
                .iter()
                .enumerate()
                .map(|(n, item)| self.fill(item, &format!("{path}[{n}]"), element))
                .collect(),
            Value::Object(map) => map
                .iter()
                .map(|(key, inner)| {
                    let inner = self.fill(inner, &format!("{path}.{key}"), element)?;
                    Ok((key.clone(), inner))
                })
                .collect(),
            other => Ok(other.clone()),
        }
    }

    /// One string; where only text can stand (names, labels, annotations).
    pub(super) fn text(&self, text: &str, element: &Map<String, Value>) -> Result<String, String> {
        match self.value(text, element)? {
            Value::String(text) => Ok(text),
            scalar @ (Value::Number(_) | Value::Bool(_)) => Ok(scalar.to_string()),
            Value::Null => Err(format!("{text:?} gives null where text is needed")),
            Value::Array(_) => Err(format!("{text:?} gives a list where text is needed")),
            Value::Object(_) => Err(format!("{text:?} gives an object where text is needed")),
        }
    }

    fn value(&self, text: &str, element: &Map<String, Value>) -> Result<Value, String> {
        if !["{{", "{%", "{#"].iter().any(|open| text.contains(open)) {
            return Ok(Value::from(text));
        }
        if text.len() > TEMPLATE_BYTES {
            return Err(format!(
                "holds {{{{ … }}}} and is longer than {TEMPLATE_BYTES} bytes"
            ));
        }
        refuse_statements(text)?;
        let filled = match sole_expression(text) {
            Some(expression) => self.expression(expression, element)?,
            None => Value::from(self.mixed(text, element)?),
        };
        if filled.to_string().len() > OUTPUT_BYTES {
            return Err(format!(
                "{} gives more than {OUTPUT_BYTES} bytes",
                short(text)
            ));
        }
        Ok(filled)
    }

    /// A string that is one expression keeps the type of its value.
    fn expression(&self, text: &str, element: &Map<String, Value>) -> Result<Value, String> {
        let compiled = self
            .environment
            .compile_expression(text)
            .map_err(|error| explain(text, &error))?;
        if !asks_whether_defined(text) {
            known(compiled.undeclared_variables(false), element)?;
        }
        let value = compiled
            .eval(Jinja::from(minijinja::value::Serde(element)))
            .map_err(|error| explain(text, &error))?;
        if value.is_undefined() {
            return Err(unknown(text, element));
        }
        serde_json::to_value(&value).map_err(|error| format!("{}: {error}", short(text)))
    }

    fn mixed(&self, text: &str, element: &Map<String, Value>) -> Result<String, String> {
        let compiled = self
            .environment
            .template_from_str(text)
            .map_err(|error| explain(text, &error))?;
        if !asks_whether_defined(text) {
            known(compiled.undeclared_variables(false), element)?;
        }
        compiled
            .render(Jinja::from(minijinja::value::Serde(element)))
            .map_err(|error| match error.kind() {
                ErrorKind::UndefinedError => unknown(text, element),
                _ => explain(text, &error),
            })
    }
}

/// Replacing can multiply lengths, so that a few of them in a row could fill the memory.
fn replace(text: String, from: String, to: String) -> Result<String, minijinja::Error> {
    let found = text.matches(from.as_str()).count();
    if text.len() + found.saturating_mul(to.len()) > OUTPUT_BYTES {
        return Err(minijinja::Error::new(
            ErrorKind::InvalidOperation,
            "the replaced text is too long",
        ));
    }
    Ok(text.replace(&from, &to))
}

/// Loops and assignments could multiply text without end; multiplication can make endless lists.
fn refuse_statements(text: &str) -> Result<(), String> {
    for block in ["{%", "{#"] {
        if text.contains(block) {
            return Err(format!(
                "{} holds {block}: only {{{{ … }}}} can be used",
                short(text)
            ));
        }
    }
    let mut inside = false;
    let mut quote = None;
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        let next = characters.peek().copied();
        match (inside, quote) {
            (false, _) if c == '{' && next == Some('{') => inside = true,
            (true, None) if c == '}' && next == Some('}') => inside = false,
            (true, None) if c == '"' || c == '\'' => quote = Some(c),
            (true, None) if c == '*' => {
                return Err(format!("{} multiplies, which templates can't", short(text)));
            }
            (true, Some(_)) if c == '\\' => {
                characters.next();
            }
            (true, Some(open)) if c == open => quote = None,
            _ => {}
        }
    }
    Ok(())
}

/// The expression of a text that is nothing but one `{{ … }}`.
fn sole_expression(text: &str) -> Option<&str> {
    let inner = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner);
    let inner = inner.strip_suffix(['-', '+']).unwrap_or(inner);
    (!inner.contains("{{") && !inner.contains("}}")).then(|| inner.trim())
}

fn asks_whether_defined(text: &str) -> bool {
    text.contains("default") || text.contains("defined")
}

fn known(
    used: impl IntoIterator<Item = String>,
    element: &Map<String, Value>,
) -> Result<(), String> {
    let mut missing: Vec<String> = used
        .into_iter()
        .filter(|name| !element.contains_key(name))
        .map(|name| format!("{name:?}"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    missing.sort();
    Err(format!(
        "unknown variable {}; {}",
        missing.join(", "),
        available(element)
    ))
}

fn unknown(text: &str, element: &Map<String, Value>) -> String {
    format!(
        "{} names something that is not there; {}",
        short(text),
        available(element)
    )
}

fn available(element: &Map<String, Value>) -> String {
    if element.is_empty() {
        return "the element has no members".to_owned();
    }
    let mut names: Vec<&str> = element.keys().map(String::as_str).collect();
    names.sort_unstable();
    let more = names.len().saturating_sub(20);
    names.truncate(20);
    let list = names.join(", ");
    match more {
        0 => format!("the element has {list}"),
        more => format!("the element has {list} and {more} more"),
    }
}

fn explain(text: &str, error: &minijinja::Error) -> String {
    match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => format!("{} takes too long to work out", short(text)),
        (kind, Some(detail)) => format!("{}: {kind}: {detail}", short(text)),
        (kind, None) => format!("{}: {kind}", short(text)),
    }
}

fn short(text: &str) -> String {
    let cut: String = text.chars().take(80).collect();
    if cut.len() < text.len() {
        format!("{cut:?}…")
    } else {
        format!("{cut:?}")
    }
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod template_tests;
