//! What one element says.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::limits;

/// The members of one element. Those of a matrix lie in the two elements that it is made of, which many share, and are put
/// together only where they are read: most elements of a pass are those of the last one.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Members {
    own: Arc<Map<String, Value>>,
    more: Option<Arc<Map<String, Value>>>,
    size: usize,
}

impl From<Map<String, Value>> for Members {
    fn from(members: Map<String, Value>) -> Self {
        Self {
            size: limits::size_of_members(&members),
            own: Arc::new(members),
            more: None,
        }
    }
}

impl Members {
    /// About how many bytes they take; what two elements share counts twice.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        let more = || self.more.as_ref()?.get(key);
        self.own.get(key).or_else(more)
    }

    /// All of them.
    pub(super) fn whole(&self) -> Cow<'_, Map<String, Value>> {
        let Some(more) = &self.more else {
            return Cow::Borrowed(&self.own);
        };
        let mut whole = Map::clone(&self.own);
        for (key, value) in more.iter() {
            if !whole.contains_key(key) {
                whole.insert(key.clone(), value.clone());
            }
        }
        Cow::Owned(whole)
    }

    /// With those of `others`, which must not have another value of any.
    pub(super) fn with(&self, others: &Self) -> Self {
        Self {
            size: self.size + others.size,
            ..match (&self.more, &others.more) {
                (None, None) => Self {
                    more: Some(others.own.clone()),
                    ..self.clone()
                },
                _ => {
                    let mut whole = self.whole().into_owned();
                    whole.extend(others.whole().into_owned());
                    Self::from(whole)
                }
            }
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
