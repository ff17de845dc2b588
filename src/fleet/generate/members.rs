//! What one element says.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::limits;

/// The members of one element. Those of a matrix lie in the two elements that it is made of, which many share, and are put
/// together only where they are read: most elements of a pass are those of the last one.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Members {
    /// At least one; none has another value than one before it
    parts: Vec<Arc<Map<String, Value>>>,
    size: usize,
}

impl From<Map<String, Value>> for Members {
    fn from(members: Map<String, Value>) -> Self {
        Self {
            size: limits::size_of_members(&members),
            parts: vec![Arc::new(members)],
        }
    }
}

impl Members {
    /// About how many bytes they take; what two elements share counts twice.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.parts.iter().find_map(|part| part.get(key))
    }

    /// Their names; what two elements share comes twice.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        let keys = self.parts.iter().flat_map(|part| part.keys());
        keys.map(String::as_str)
    }

    /// All of them.
    pub(super) fn whole(&self) -> Cow<'_, Map<String, Value>> {
        match self.parts.as_slice() {
            [part] => Cow::Borrowed(part),
            parts => Cow::Owned(parts.iter().flat_map(|part| Map::clone(part)).collect()),
        }
    }

    /// With those of `others`, which must not have another value of any.
    pub(super) fn with(&self, others: &Self) -> Self {
        Self {
            parts: [self.parts.as_slice(), &others.parts].concat(),
            size: self.size + others.size,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn members(value: Value) -> Members {
        Members::from(value.as_object().cloned().unwrap())
    }

    #[test]
    fn two_elements_together_say_what_each_says() {
        let (a, b) = (
            members(json!({"a": 1, "both": 2})),
            members(json!({"b": 3, "both": 2})),
        );
        let c = members(json!({"c": 4}));
        let whole = json!({"a": 1, "b": 3, "both": 2});
        assert_eq!(json!(a.with(&b).whole()), whole);
        assert_eq!(a.with(&b).get("b"), Some(&json!(3)));
        assert_eq!(a.with(&b).get("c"), None);
        let all = json!({"a": 1, "b": 3, "both": 2, "c": 4});
        assert_eq!(json!(a.with(&b).with(&c).whole()), all);
        assert_eq!(json!(c.with(&a.with(&b)).whole()), all);
    }
}
