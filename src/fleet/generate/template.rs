//! Fills the expressions in the strings of a template.
//!
//! Expressions only: no statements, a short list of filters, and fuel for each, so that what comes out is at most some
//! multiple of what goes in. Undefined names are errors that say which names there are. Each string is read once, and
//! filled from as many elements as there are.

use minijinja::value::Value as Jinja;
use minijinja::{ErrorKind, Expression};
use serde_json::{Map, Value};

use super::filters::engine;
use super::values::{Unfit, members, to_json};
use crate::api::app_of_apps::Templating;
use crate::api::status::{cut, some};

const TEMPLATE_BYTES: usize = 16 << 10;
/// Of the expressions in one string
const EXPRESSION_BYTES: usize = 4 << 10;
const OUTPUT_BYTES: usize = 64 << 10;

/// What begins and ends an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Delimiters {
    left: String,
    right: String,
}

impl Default for Delimiters {
    fn default() -> Self {
        Self {
            left: "{{".to_owned(),
            right: "}}".to_owned(),
        }
    }
}

impl Delimiters {
    /// An error says which field is wrong, and how.
    pub(super) fn new(templating: Option<&Templating>) -> Result<Self, (&'static str, String)> {
        let Some(Templating { left, right }) = templating else {
            return Ok(Self::default());
        };
        for (field, text) in [("left", left), ("right", right)] {
            if text.len() < 2 || !text.chars().all(|c| c.is_ascii_punctuation()) {
                let message =
                    format!("{text:?} is no delimiter: use two or more of [ ] < > % and the like");
                return Err((field, message));
            }
            if text.contains(['"', '\'']) {
                let message =
                    format!("{text:?} holds a quote, which begins a text inside an expression");
                return Err((field, message));
            }
        }
        if left.contains("${") {
            return Err(("left", "${ belongs to Flux; use others, as [[".to_owned()));
        }
        if left == right {
            return Err(("right", "must differ from left".to_owned()));
        }
        Ok(Self {
            left: left.clone(),
            right: right.clone(),
        })
    }

    fn are_default(&self) -> bool {
        self.left == "{{"
    }
}

/// The members of one element, as expressions see them.
pub(super) struct Scope<'a> {
    members: &'a Map<String, Value>,
    value: Jinja,
}

impl<'a> Scope<'a> {
    pub(super) fn new(element: &'a Map<String, Value>) -> Self {
        Self {
            members: element,
            value: members(element),
        }
    }
}

/// A string, read.
pub(super) enum Pattern {
    Plain(String),
    /// Nothing but one expression: keeps the type of its value
    Sole(Formula),
    Mixed(Vec<Part>),
}

pub(super) enum Part {
    Text(String),
    Formula(Formula),
}

impl Default for Pattern {
    fn default() -> Self {
        Self::Plain(String::new())
    }
}

impl Pattern {
    /// Reads a string. An error says what is wrong with it.
    pub(super) fn read(text: &str, delimiters: &Delimiters) -> Result<Self, String> {
        if delimiters.are_default() && text.contains("{%") {
            return Err(format!(
                "{} holds {{%: only {{{{ … }}}} can be used",
                short(text)
            ));
        }
        if !text.contains(&delimiters.left) {
            return Ok(Self::Plain(text.to_owned()));
        }
        if text.len() > TEMPLATE_BYTES {
            return Err(format!(
                "{} holds an expression and is longer than {TEMPLATE_BYTES} bytes",
                short(text)
            ));
        }
        let mut parts = parts(text, delimiters)?;
        let length: usize = parts.iter().map(Part::cost).sum();
        if length > EXPRESSION_BYTES {
            return Err(format!(
                "the expressions of {} are longer than {EXPRESSION_BYTES} bytes",
                short(text)
            ));
        }
        let blank = |part: &Part| matches!(part, Part::Text(text) if text.trim().is_empty());
        if parts.iter().filter(|part| !blank(part)).count() == 1 {
            parts.retain(|part| !blank(part));
        }
        match (parts.pop(), parts.is_empty()) {
            (Some(Part::Formula(formula)), true) => Ok(Self::Sole(formula)),
            (Some(last), _) => {
                parts.push(last);
                Ok(Self::Mixed(parts))
            }
            (None, _) => Ok(Self::Plain(String::new())),
        }
    }

    /// Bytes of its expressions; 0 if there are none.
    pub(super) fn cost(&self) -> usize {
        match self {
            Self::Plain(_) => 0,
            Self::Sole(formula) => formula.text.len(),
            Self::Mixed(parts) => parts.iter().map(Part::cost).sum(),
        }
    }

    /// The string filled, with the type of its value if it is one expression.
    pub(super) fn value(&self, scope: &Scope) -> Result<Value, String> {
        match self {
            Self::Plain(text) => Ok(Value::from(text.as_str())),
            Self::Sole(formula) => formula.value(scope),
            Self::Mixed(parts) => mixed(parts, scope).map(Value::from),
        }
    }

    /// The string filled where only text can stand: names, labels, annotations.
    pub(super) fn text(&self, scope: &Scope) -> Result<String, String> {
        match self {
            Self::Plain(text) => Ok(text.clone()),
            Self::Sole(formula) => text_of(formula.value(scope)?, &formula.text),
            Self::Mixed(parts) => mixed(parts, scope),
        }
    }
}

impl Part {
    fn cost(&self) -> usize {
        match self {
            Self::Text(_) => 0,
            Self::Formula(formula) => formula.text.len(),
        }
    }
}

fn mixed(parts: &[Part], scope: &Scope) -> Result<String, String> {
    let mut filled = String::new();
    for part in parts {
        match part {
            Part::Text(text) => filled.push_str(text),
            Part::Formula(formula) => {
                let value = formula.eval(scope)?;
                match value.as_str() {
                    Some(text) => filled.push_str(text),
                    None => filled.push_str(&text_of(formula.json(&value, scope)?, &formula.text)?),
                }
            }
        }
        if filled.len() > OUTPUT_BYTES {
            return Err(format!("gives more than {OUTPUT_BYTES} bytes"));
        }
    }
    Ok(filled)
}

fn text_of(value: Value, source: &str) -> Result<String, String> {
    let kind = match value {
        Value::String(text) => return Ok(text),
        scalar @ (Value::Number(_) | Value::Bool(_)) => return Ok(scalar.to_string()),
        Value::Null => "null",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    Err(format!(
        "{} gives {kind} where text is needed",
        short(source)
    ))
}

/// One expression, compiled.
pub(super) struct Formula {
    text: String,
    compiled: Expression<'static, 'static>,
    /// Members of the element that it names
    names: Vec<String>,
    optional: Option<Optional>,
}

/// What an expression that asks whether something is there may lack without an error: `values.tier | default('x')` and
/// `only[name] | default('x')` work also where there is no `values` and no `only`.
struct Optional {
    /// Ways to members whose first parts may be missing
    paths: Vec<Vec<String>>,
}

impl Formula {
    fn compile(text: &str) -> Result<Self, String> {
        let compiled = engine()
            .compile_expression_owned(text.to_owned())
            .map_err(|error| explain(text, &error))?;
        let mut names: Vec<String> = compiled.undeclared_variables(false).into_iter().collect();
        names.sort_unstable();
        let asks = text.contains("default") || text.contains("defined");
        let optional = asks.then(|| {
            let dotted = compiled.undeclared_variables(true);
            let dotted = dotted
                .iter()
                .filter(|path| path.contains('.'))
                .map(|path| path.split('.').map(str::to_owned).collect::<Vec<_>>());
            let indexed = names
                .iter()
                .filter(|name| is_indexed(text, name))
                .map(|name| vec![name.clone(), String::new()]);
            let mut paths: Vec<Vec<String>> = dotted.chain(indexed).collect();
            paths.sort_unstable();
            Optional { paths }
        });
        Ok(Self {
            text: text.to_owned(),
            compiled,
            names,
            optional,
        })
    }

    fn value(&self, scope: &Scope) -> Result<Value, String> {
        let value = self.eval(scope)?;
        self.json(&value, scope)
    }

    fn json(&self, value: &Jinja, scope: &Scope) -> Result<Value, String> {
        to_json(value, &mut { OUTPUT_BYTES }).map_err(|unfit| match unfit {
            Unfit::Undefined => self.unknown(scope),
            Unfit::TooLarge => {
                format!("{} gives more than {OUTPUT_BYTES} bytes", short(&self.text))
            }
            other => format!("{} can't be used: {other}", short(&self.text)),
        })
    }

    fn eval(&self, scope: &Scope) -> Result<Jinja, String> {
        if self.optional.is_none() {
            self.known(scope)?;
        }
        let value = match (self.compiled.eval(scope.value.clone()), &self.optional) {
            (Err(error), Some(optional)) if error.kind() == ErrorKind::UndefinedError => {
                let filled = optional.fill(scope.members);
                self.compiled.eval(members(&filled))
            }
            (result, _) => result,
        };
        let value = value.map_err(|error| match error.kind() {
            ErrorKind::UndefinedError => self.unknown(scope),
            _ => explain(&self.text, &error),
        })?;
        if value.is_undefined() {
            return Err(self.unknown(scope));
        }
        Ok(value)
    }

    fn known(&self, scope: &Scope) -> Result<(), String> {
        let missing: Vec<String> = self
            .names
            .iter()
            .filter(|name| !scope.members.contains_key(*name))
            .map(|name| short(name))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(format!(
            "unknown variable {}; {}",
            missing.join(", "),
            available(scope.members)
        ))
    }

    fn unknown(&self, scope: &Scope) -> String {
        format!(
            "{} names something that is not there; {}",
            short(&self.text),
            available(scope.members)
        )
    }
}

impl Optional {
    /// The element with an empty object wherever a way would end too early.
    fn fill(&self, element: &Map<String, Value>) -> Map<String, Value> {
        let mut filled = element.clone();
        for path in &self.paths {
            let mut here = &mut filled;
            for step in path.iter().take(path.len() - 1) {
                let inner = here
                    .entry(step.clone())
                    .or_insert_with(|| Value::Object(Map::new()));
                match inner {
                    Value::Object(inner) => here = inner,
                    _ => break,
                }
            }
        }
        filled
    }
}

/// Whether the text takes an item out of `name`: `name[…]`.
fn is_indexed(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let part_of_another = before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '.');
        !part_of_another && text[at + name.len()..].trim_start().starts_with('[')
    })
}

/// Text and expressions in turn. A `-` inside of a delimiter takes the white space outside with it.
fn parts(text: &str, delimiters: &Delimiters) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    let mut trims = false;
    while let Some(at) = rest.find(&delimiters.left) {
        let (before, after) = (&rest[..at], &rest[at + delimiters.left.len()..]);
        let end = end_of(after, &delimiters.right).ok_or_else(|| {
            format!(
                "{} begins an expression with {} and doesn't end it with {}",
                short(text),
                delimiters.left,
                delimiters.right
            )
        })?;
        let mut inner = &after[..end];
        let before = match (trims, inner.starts_with('-')) {
            (true, true) => before.trim(),
            (true, false) => before.trim_start(),
            (false, true) => before.trim_end(),
            (false, false) => before,
        };
        if !before.is_empty() {
            parts.push(Part::Text(before.to_owned()));
        }
        trims = inner.ends_with('-');
        inner = inner.strip_prefix(['-', '+']).unwrap_or(inner);
        inner = inner.strip_suffix(['-', '+']).unwrap_or(inner);
        let formula = Formula::compile(inner.trim())?;
        parts.push(Part::Formula(formula));
        rest = &after[end + delimiters.right.len()..];
    }
    let rest = if trims { rest.trim_start() } else { rest };
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    Ok(parts)
}

/// Where the expression that `text` begins with ends. A delimiter inside of quotes or brackets is part of it.
fn end_of(text: &str, right: &str) -> Option<usize> {
    let mut quote = None;
    let mut depth = 0_usize;
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match quote {
            Some(_) if c == '\\' => drop(characters.next()),
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if depth == 0 && text[at..].starts_with(right) => return Some(at),
            None => match c {
                '"' | '\'' => quote = Some(c),
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => depth = depth.saturating_sub(1),
                _ => {}
            },
        }
    }
    None
}

fn available(element: &Map<String, Value>) -> String {
    if element.is_empty() {
        return "the element has no members".to_owned();
    }
    let mut names: Vec<&str> = element.keys().map(String::as_str).collect();
    names.sort_unstable();
    let list = some(names, 20, ", ", " ", shortened);
    format!("the element has {list}")
}

fn explain(text: &str, error: &minijinja::Error) -> String {
    match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => format!("{} takes too long to work out", short(text)),
        (kind, Some(detail)) => format!("{}: {kind}: {}", short(text), shortened(detail)),
        (kind, None) => format!("{}: {kind}", short(text)),
    }
}

fn shortened(text: &str) -> String {
    cut(text, 120)
}

fn short(text: &str) -> String {
    format!("{:?}", shortened(text))
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod template_tests;
