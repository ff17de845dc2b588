//! A template read once, over its defaults, and filled from each element.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::draft::{Draft, dependencies, judge_keys, judge_labels, too_large, valid_name, wave};
use super::fault::{ErrorReason, Fault, Faults};
use super::limits;
use super::template::{Delimiters, Pattern, Scope};
use crate::api::app_of_apps::{ChildKind, Template};
use crate::fleet::json::{merge, without_nulls};

/// A template, read.
pub(super) struct Blueprint {
    kind: ChildKind,
    name: Pattern,
    wave: Option<Pattern>,
    depends_on: Vec<Pattern>,
    labels: Vec<(String, Pattern)>,
    annotations: Vec<(String, Pattern)>,
    spec: Node,
    /// Bytes of all its expressions
    pub cost: usize,
}

/// A part of the spec, with the defaults below it.
enum Node {
    /// Without expressions, and without nulls
    Plain(Value),
    Filled(Box<Filled>),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

struct Filled {
    path: String,
    pattern: Pattern,
    /// The default in its place, if that is an object
    below: Option<Value>,
}

/// The name can be had even where the rest of a template is wrong.
pub(super) fn read_name(template: &Template, delimiters: &Delimiters) -> Result<Pattern, Fault> {
    read("metadata.name", &template.metadata.name, delimiters)
}

fn read(field: &str, text: &str, delimiters: &Delimiters) -> Result<Pattern, Fault> {
    Pattern::read(text, delimiters)
        .map_err(|message| Fault::new(field, ErrorReason::Template, message))
}

/// The name that an element asks for.
pub(super) fn name(pattern: &Pattern, scope: &Scope) -> Result<String, Fault> {
    let field = "metadata.name";
    let name = pattern
        .text(scope)
        .map_err(|message| Fault::new(field, ErrorReason::Template, message))?;
    valid_name(field, &name)?;
    Ok(name)
}

impl Blueprint {
    /// Reads the template. Its errors are those of every element.
    pub(super) fn read(
        template: &Template,
        defaults: &Map<String, Value>,
        delimiters: &Delimiters,
    ) -> Result<Self, Vec<Fault>> {
        let metadata = &template.metadata;
        let mut reader = Reader {
            delimiters,
            cost: 0,
            faults: Faults::default(),
        };
        let name = reader.pattern("metadata.name", &metadata.name);
        // Keys are not filled, so they can be judged once.
        let keys = judge_keys("metadata.", &metadata.labels, &metadata.annotations);
        reader.faults.keep(keys);
        let wave = template.wave.as_deref();
        let depends_on = template.depends_on.iter().enumerate();
        let blueprint = Self {
            kind: template.kind.unwrap_or_default(),
            name,
            wave: wave.map(|text| reader.pattern("wave", text)),
            depends_on: depends_on
                .map(|(n, text)| reader.pattern(&format!("dependsOn[{n}]"), text))
                .collect(),
            labels: reader.texts("labels", &metadata.labels),
            annotations: reader.texts("annotations", &metadata.annotations),
            spec: reader.object(&template.spec, Some(defaults), "spec"),
            cost: reader.cost,
        };
        reader.faults.each().map(|()| blueprint)
    }

    pub(super) fn name(&self, scope: &Scope) -> Result<String, Fault> {
        name(&self.name, scope)
    }

    /// Everything but the name.
    pub(super) fn fill(&self, scope: &Scope) -> Result<Draft, Fault> {
        let mut faults = Faults::default();
        let labels = fill_texts("labels", &self.labels, scope, &mut faults);
        faults.keep(judge_labels("metadata.", &labels));
        let mut budget = limits::CHILD_BYTES;
        let draft = Draft {
            kind: self.kind.name(),
            wave: faults.keep(self.fill_wave(scope)),
            depends_on: faults.keep(self.fill_dependencies(scope)),
            annotations: fill_texts("annotations", &self.annotations, scope, &mut faults),
            spec: self.spec.fill(scope, &mut budget, &mut faults),
            labels,
        };
        faults.first().map(|()| draft)
    }

    fn fill_wave(&self, scope: &Scope) -> Result<u32, Fault> {
        let Some(pattern) = &self.wave else {
            return Ok(0);
        };
        let value = pattern
            .value(scope)
            .map_err(|message| Fault::new("wave", ErrorReason::Template, message))?;
        wave(&value)
    }

    fn fill_dependencies(&self, scope: &Scope) -> Result<Vec<String>, Fault> {
        let mut names = Vec::new();
        for (n, pattern) in self.depends_on.iter().enumerate() {
            let field = format!("dependsOn[{n}]");
            let fault = |message| Fault::new(field.clone(), ErrorReason::Template, message);
            match pattern.value(scope).map_err(fault)? {
                Value::String(name) => names.push((field, name)),
                Value::Null => {}
                Value::Array(items) => {
                    for item in items {
                        let Value::String(name) = item else {
                            let message = "gives a list that holds something else than names";
                            return Err(fault(message.to_owned()));
                        };
                        names.push((field.clone(), name));
                    }
                }
                Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
                    return Err(fault("gives neither a name nor a list of names".to_owned()));
                }
            }
        }
        dependencies(names)
    }
}

fn fill_texts(
    part: &str,
    patterns: &[(String, Pattern)],
    scope: &Scope,
    faults: &mut Faults,
) -> BTreeMap<String, String> {
    let filled = patterns.iter().filter_map(|(key, pattern)| {
        let text = pattern.text(scope).map_err(|message| {
            let field = format!("metadata.{part}.{key}");
            Fault::new(field, ErrorReason::Template, message)
        });
        Some((key.clone(), faults.keep(text.map(Some))?))
    });
    filled.collect()
}

/// Reads the parts of a template.
struct Reader<'a> {
    delimiters: &'a Delimiters,
    /// Bytes of all expressions so far
    cost: usize,
    faults: Faults,
}

impl Reader<'_> {
    fn pattern(&mut self, field: &str, text: &str) -> Pattern {
        let pattern = self.faults.keep(read(field, text, self.delimiters));
        self.cost += pattern.cost();
        pattern
    }

    fn texts(&mut self, part: &str, texts: &BTreeMap<String, String>) -> Vec<(String, Pattern)> {
        let texts = texts.iter();
        texts
            .map(|(key, text)| {
                let pattern = self.pattern(&format!("metadata.{part}.{key}"), text);
                (key.clone(), pattern)
            })
            .collect()
    }

    /// An object of the template over the one of the defaults.
    fn object(
        &mut self,
        own: &Map<String, Value>,
        below: Option<&Map<String, Value>>,
        path: &str,
    ) -> Node {
        let mut members = Vec::new();
        for (key, value) in below.into_iter().flatten() {
            if !own.contains_key(key) && !value.is_null() {
                members.push((key.clone(), Node::Plain(without_nulls(value.clone()))));
            }
        }
        for (key, value) in own {
            if value.is_null() {
                continue;
            }
            let default = below.and_then(|below| below.get(key));
            let path = format!("{path}.{key}");
            members.push((key.clone(), self.node(value, default, path)));
        }
        if !members
            .iter()
            .all(|(_, node)| matches!(node, Node::Plain(_)))
        {
            return Node::Object(members);
        }
        let plain = members.into_iter().filter_map(|(key, node)| match node {
            Node::Plain(value) => Some((key, value)),
            _ => None,
        });
        Node::Plain(Value::Object(plain.collect()))
    }

    fn node(&mut self, own: &Value, below: Option<&Value>, path: String) -> Node {
        match own {
            Value::String(text) => match self.pattern(&path, text) {
                Pattern::Plain(text) => Node::Plain(text.into()),
                pattern => {
                    let below = below.filter(|below| below.is_object()).cloned();
                    let filled = Filled {
                        path,
                        pattern,
                        below,
                    };
                    Node::Filled(Box::new(filled))
                }
            },
            Value::Array(items) => {
                let items = items.iter().enumerate();
                let nodes: Vec<Node> = items
                    .map(|(n, item)| self.node(item, None, format!("{path}[{n}]")))
                    .collect();
                if !nodes.iter().all(|node| matches!(node, Node::Plain(_))) {
                    return Node::List(nodes);
                }
                let plain = nodes.into_iter().filter_map(|node| match node {
                    Node::Plain(value) => Some(value),
                    _ => None,
                });
                Node::Plain(plain.collect())
            }
            Value::Object(map) => self.object(map, below.and_then(Value::as_object), &path),
            scalar => Node::Plain(scalar.clone()),
        }
    }
}

impl Node {
    fn fill(&self, scope: &Scope, budget: &mut usize, faults: &mut Faults) -> Value {
        match self {
            Self::Plain(value) => value.clone(),
            Self::Filled(filled) => faults.keep(filled.fill(scope, budget)),
            Self::List(nodes) => {
                let nodes = nodes.iter();
                nodes.map(|node| node.fill(scope, budget, faults)).collect()
            }
            Self::Object(members) => {
                let mut map = Map::new();
                for (key, node) in members {
                    let value = node.fill(scope, budget, faults);
                    if !value.is_null() {
                        map.insert(key.clone(), value);
                    }
                }
                Value::Object(map)
            }
        }
    }
}

impl Filled {
    fn fill(&self, scope: &Scope, budget: &mut usize) -> Result<Value, Fault> {
        let value = self
            .pattern
            .value(scope)
            .map_err(|message| Fault::new(self.path.as_str(), ErrorReason::Template, message))?;
        *budget = budget
            .checked_sub(limits::size(&value))
            .ok_or_else(too_large)?;
        Ok(without_nulls(match &self.below {
            Some(below) if value.is_object() => merge(below, &value),
            _ => value,
        }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn arb_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            Just(json!(1)),
            Just(json!("plain")),
            Just(json!("{{ text }}-x")),
            Just(json!("{{ object }}")),
            Just(json!("{{ none }}")),
            Just(json!("{{ list }}")),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::btree_map("[a-c]", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn arb_object() -> impl Strategy<Value = Map<String, Value>> {
        proptest::collection::btree_map("[a-c]", arb_value(), 0..4)
            .prop_map(|map| map.into_iter().collect())
    }

    /// Every string filled by itself.
    fn filled(value: &Value, scope: &Scope) -> Value {
        match value {
            Value::String(text) => {
                let pattern = Pattern::read(text, &Delimiters::default()).unwrap();
                pattern.value(scope).unwrap()
            }
            Value::Array(items) => items.iter().map(|item| filled(item, scope)).collect(),
            Value::Object(map) => map
                .iter()
                .map(|(key, value)| (key.clone(), filled(value, scope)))
                .collect(),
            other => other.clone(),
        }
    }

    proptest! {
        #[test]
        fn reading_first_gives_what_filling_merging_and_dropping_nulls_gives(own in arb_object(), below in arb_object()) {
            let element = json!({"text": "t", "none": null, "list": [null, {"a": null}], "object": {"a": 1, "b": null, "c": {"a": null}}});
            let element = element.as_object().unwrap();
            let scope = Scope::new(element);
            let delimiters = Delimiters::default();
            let mut reader = Reader { delimiters: &delimiters, cost: 0, faults: Faults::default() };
            let read = reader.object(&own, Some(&below), "spec");
            reader.faults.first().unwrap();
            let mut faults = Faults::default();
            let filled_after = read.fill(&scope, &mut 100_000, &mut faults);
            faults.first().unwrap();
            let wish = merge(&Value::Object(below), &filled(&Value::Object(own), &scope));
            prop_assert_eq!(filled_after, without_nulls(wish));
        }
    }
}
