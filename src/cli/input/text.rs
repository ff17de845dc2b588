//! Documents of a text, as `kubectl` reads them: YAML or JSON, several in a row, with the line of every field.
use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::admission::Field;

/// One document, and the lines (from 1) of its fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    pub value: Value,
    pub lines: HashMap<Field, u64>,
}

/// What is wrong with a text, and the line where that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub message: String,
    pub line: Option<u64>,
}

/// The documents that are not empty, in order. After one that cannot be read nothing follows: where it would end is
/// unknown.
pub fn documents(text: &str) -> Vec<Result<Document, Fault>> {
    // As kubectl does it: what begins like JSON may still be YAML in flow style.
    if text.trim_start().starts_with('{') {
        let json = json(text);
        if json.iter().all(|document| !is_syntax(document)) {
            return json.into_iter().map(|d| d.map_err(|(f, _)| f)).collect();
        }
    }
    yaml(text)
}

/// Whether the fault is one of grammar, rather than a key that comes twice.
fn is_syntax(document: &Result<Document, (Fault, bool)>) -> bool {
    matches!(document, Err((_, true)))
}

fn json(text: &str) -> Vec<Result<Document, (Fault, bool)>> {
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Plain>();
    let mut found = Vec::new();
    loop {
        let start = stream.byte_offset();
        let blank = text[start..].len() - text[start..].trim_start().len();
        let line = text[..start + blank].matches('\n').count() as u64 + 1;
        match stream.next() {
            None => return found,
            Some(Ok(Plain(tree))) => {
                let lines = HashMap::from([(Field::default(), line)]);
                let value = plain(tree);
                found.push(Ok(Document { value, lines }));
            }
            Some(Err(error)) => {
                let fault = Fault {
                    message: error.to_string(),
                    line: Some(error.line() as u64),
                };
                found.push(Err((fault, !error.is_data())));
                return found;
            }
        }
    }
}

fn yaml(text: &str) -> Vec<Result<Document, Fault>> {
    let options = serde_saphyr::options! {
        // As the YAML library of kubectl and the API server reads numbers.
        legacy_octal_numbers: true,
        with_snippet: false,
    };
    let mut bytes = text.as_bytes();
    let mut found = Vec::new();
    for document in serde_saphyr::read_with_options::<_, Located>(&mut bytes, options) {
        match document {
            Ok(tree) => {
                let mut lines = HashMap::new();
                let value = located(tree, &Field::default(), &mut lines);
                if !value.is_null() {
                    found.push(Ok(Document { value, lines }));
                }
            }
            Err(error) => {
                let line = error.location().map(|at| at.line()).filter(|l| *l > 0);
                found.push(Err(Fault {
                    message: error.to_string(),
                    line,
                }));
                break;
            }
        }
    }
    found
}

enum Tree<N> {
    Leaf(Value),
    List(Vec<N>),
    Members(Vec<(String, N)>),
}

/// A node whose line nobody asks for.
struct Plain(Tree<Plain>);

/// A node with its line.
struct Located {
    line: u64,
    tree: Tree<Located>,
}

fn plain(tree: Tree<Plain>) -> Value {
    match tree {
        Tree::Leaf(value) => value,
        Tree::List(items) => items.into_iter().map(|Plain(tree)| plain(tree)).collect(),
        Tree::Members(members) => members
            .into_iter()
            .map(|(key, Plain(tree))| (key, plain(tree)))
            .collect(),
    }
}

fn located(node: Located, field: &Field, lines: &mut HashMap<Field, u64>) -> Value {
    lines.insert(field.clone(), node.line);
    match node.tree {
        Tree::Leaf(value) => value,
        Tree::List(items) => items
            .into_iter()
            .enumerate()
            .map(|(index, item)| located(item, &field.item(index), lines))
            .collect(),
        Tree::Members(members) => {
            let mut map = Map::new();
            for (key, member) in members {
                let value = located(member, &field.key(&key), lines);
                map.insert(key, value);
            }
            Value::Object(map)
        }
    }
}

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Tree::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for Located {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = serde_saphyr::Spanned::<Tree<Self>>::deserialize(deserializer)?;
        Ok(Self {
            line: spanned.referenced.line(),
            tree: spanned.value,
        })
    }
}

impl<'de, N: Deserialize<'de>> Deserialize<'de> for Tree<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor(std::marker::PhantomData))
    }
}

struct TreeVisitor<N>(std::marker::PhantomData<N>);

impl<'de, N: Deserialize<'de>> Visitor<'de> for TreeVisitor<N> {
    type Value = Tree<N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON can hold")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree<N>, E> {
        Ok(Tree::Leaf(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree<N>, E> {
        Ok(Tree::Leaf(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree<N>, E> {
        Ok(Tree::Leaf(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree<N>, E> {
        Ok(Tree::Leaf(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree<N>, E> {
        Ok(Tree::Leaf(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Tree<N>, E> {
        Ok(Tree::Leaf(Value::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree<N>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree<N>, A::Error> {
        let mut members = Vec::new();
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if !seen.insert(key.clone()) {
                return Err(A::Error::custom(format!("the key {key:?} comes twice")));
            }
            members.push((key, map.next_value()?));
        }
        Ok(Tree::Members(members))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn values(text: &str) -> Vec<Value> {
        documents(text)
            .into_iter()
            .map(|d| d.unwrap().value)
            .collect()
    }

    #[test]
    fn empty_documents_are_passed_over() {
        let text = "# nothing\n---\na: 1\n---\n---\nb: [x, {y: 2}]\n...\n";
        assert_eq!(
            values(text),
            [json!({"a": 1}), json!({"b": ["x", {"y": 2}]})]
        );
        assert!(values("").is_empty());
        assert!(values("# only a comment\n").is_empty());
    }

    #[test]
    fn json_documents_may_follow_each_other() {
        let text = "{\"a\": \"\\ud83d\\ude00\"}\n{\"b\":\t1}";
        assert_eq!(values(text), [json!({"a": "😀"}), json!({"b": 1})]);
        let second = documents(text)[1].clone().unwrap();
        assert_eq!(second.lines[&Field::default()], 2);
    }

    #[test]
    fn yaml_in_flow_style_is_not_taken_for_broken_json() {
        assert_eq!(
            values("{a: 1}\n---\n{b: 2}"),
            [json!({"a": 1}), json!({"b": 2})]
        );
    }

    #[test]
    fn every_field_has_its_line() {
        let text = "kind: X\nspec:\n  list:\n  - name: a\n  - name: b\n    deep: {x: 1}\n";
        let lines = documents(text)[0].clone().unwrap().lines;
        let line = |path: &str| lines[&Field::new(path)];
        assert_eq!(line("kind"), 1);
        assert_eq!(line("spec.list[0].name"), 4);
        assert_eq!(line("spec.list[1]"), 5);
        assert_eq!(line("spec.list[1].deep.x"), 6);
    }

    #[test]
    fn an_alias_stands_where_it_is_used() {
        let text = "a: &x\n  b: 1\nc: *x\n";
        let document = documents(text)[0].clone().unwrap();
        assert_eq!(document.value, json!({"a": {"b": 1}, "c": {"b": 1}}));
        assert_eq!(document.lines[&Field::new("c")], 3);
    }

    #[test]
    fn a_key_that_comes_twice_is_refused_in_yaml_and_json() {
        for text in ["a: 1\nb: 2\na: 3\n", "{\"a\": 1,\n\"b\": 2,\n\"a\": 3}"] {
            let fault = documents(text)[0].clone().unwrap_err();
            assert_eq!(fault.line, Some(3), "{fault:?}");
            assert!(fault.message.contains('a'), "{fault:?}");
        }
    }

    #[test]
    fn what_comes_before_a_fault_is_read() {
        let found = documents("a: 1\n---\nb: [1\n---\nc: 1\n");
        assert_eq!(found[0].clone().unwrap().value, json!({"a": 1}));
        assert_eq!(found.len(), 2);
        assert!(found[1].clone().unwrap_err().line.is_some());
    }

    #[test]
    fn scalars_have_the_types_that_kubectl_gives_them() {
        let text = "[yes, off, 0x1f, 010, 1.5, ~, '1', 2001-01-01, \"yes\", 1e3]";
        let expected = json!([
            true,
            false,
            31,
            8,
            1.5,
            null,
            "1",
            "2001-01-01",
            "yes",
            1000.0
        ]);
        assert_eq!(values(text), [expected]);
    }
}
