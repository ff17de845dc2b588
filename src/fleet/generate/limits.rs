//! How much one parent may ask for. Beyond it, generation says so in place of filling the memory.

use serde_json::{Map, Value};

/// Elements of one generator, and of all
pub(super) const ELEMENTS: usize = 10_000;
/// One element
pub(super) const ELEMENT_BYTES: usize = 64 << 10;
/// What one generator reads from its inputs
pub(super) const DATA_BYTES: usize = 4 << 20;
/// All elements of a generator, after `matrix` and `merge` multiplied them, and of all generators
pub(super) const ELEMENTS_BYTES: usize = 16 << 20;
/// One child; the API server's own limit is some 1.5 MB an object
pub(super) const CHILD_BYTES: usize = 256 << 10;
/// All children
pub(super) const CHILDREN_BYTES: usize = 64 << 20;
/// Expressions, once for each element
pub(super) const EXPRESSION_BYTES: usize = 16 << 20;
/// What any value counts beside its text
pub(super) const VALUE_BYTES: usize = 8;

/// About what a value takes.
pub(super) fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => VALUE_BYTES,
        Value::String(text) => VALUE_BYTES + text.len(),
        Value::Array(items) => VALUE_BYTES + items.iter().map(size).sum::<usize>(),
        Value::Object(map) => size_of_members(map),
    }
}

/// About what an object takes.
pub(super) fn size_of_members(map: &Map<String, Value>) -> usize {
    let members = map.iter().map(|(key, value)| key.len() + size(value));
    VALUE_BYTES + members.sum::<usize>()
}

/// A number of bytes, for people.
pub(super) fn mib(bytes: usize) -> String {
    match bytes >> 20 {
        0 => format!("{} KiB", bytes >> 10),
        mib => format!("{mib} MiB"),
    }
}
