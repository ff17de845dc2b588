//! Elements out of the elements of several generators.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::{Map, Value};

use super::fault::{ErrorReason, Fault};
use super::generators::{Place, Placed, Reader, Way, too_many};
use super::limits;
use super::members::Members;
use crate::api::app_of_apps::{MatrixGenerator, MergeGenerator};
use crate::fleet::selector::{Found, member};

impl Reader<'_> {
    pub(super) fn matrix(&mut self, path: &str, matrix: &MatrixGenerator) -> Vec<(Way, Members)> {
        let path = format!("{path}.matrix");
        let inner = self.inner(&path, &matrix.generators);
        let [left, right] = inner.as_slice() else {
            let message = "takes exactly two";
            self.fail(
                path,
                Fault::new("generators", ErrorReason::InvalidInput, message),
            );
            return Vec::new();
        };
        let sizes = |leaves: &[Placed]| {
            leaves
                .iter()
                .map(|(_, members)| members.size())
                .sum::<usize>()
        };
        let count = left.len().saturating_mul(right.len());
        let bytes = sizes(left)
            .saturating_mul(right.len())
            .saturating_add(sizes(right).saturating_mul(left.len()));
        if count > limits::ELEMENTS || bytes > limits::ELEMENTS_BYTES {
            self.fail(path, too_many("generators", count, bytes));
            return Vec::new();
        }
        let shared = shared(left, right);
        let mut found = Vec::with_capacity(count);
        for (i, (a, ours)) in left.iter().enumerate() {
            for (j, (b, theirs)) in right.iter().enumerate() {
                let differ = |key: &&&str| {
                    let values = ours.get(key).zip(theirs.get(key));
                    values.is_some_and(|(ours, theirs)| ours != theirs)
                };
                match shared.iter().find(differ) {
                    None => {
                        let way = Way::Matrix([i, j], [a.clone(), b.clone()]);
                        found.push((way, ours.with(theirs)));
                    }
                    Some(member) => {
                        let message = format!("{a} and {b} give it different values");
                        let fault = Fault::new(*member, ErrorReason::Ambiguous, message);
                        self.fail(format!("{path}[{i},{j}]"), fault);
                    }
                }
            }
        }
        found
    }

    pub(super) fn merge(&mut self, path: &str, merge: &MergeGenerator) -> Vec<(Way, Members)> {
        let path = format!("{path}.merge");
        if merge.merge_keys.is_empty() {
            let fault = Fault::new("mergeKeys", ErrorReason::InvalidInput, "must not be empty");
            self.fail(path, fault);
            return Vec::new();
        }
        let mut inner = self.inner(&path, &merge.generators).into_iter();
        let base = inner.next().unwrap_or_default();
        let (keys, blocked) = self.keyed(&path, 0, &merge.merge_keys, &base);
        let mut merged: Vec<Option<(Place, Map<String, Value>)>> = base
            .into_iter()
            .map(|(place, members)| Some((place, members.whole().into_owned())))
            .collect();
        let mut by_key = HashMap::new();
        for (n, key) in keys.into_iter().enumerate() {
            match key {
                Some(key) if !blocked.contains(&key) => drop(by_key.insert(key, n)),
                _ => merged[n] = None,
            }
        }
        for (g, others) in inner.enumerate() {
            let (keys, blocked) = self.keyed(&path, g + 1, &merge.merge_keys, &others);
            for key in blocked {
                // Which of the two completes it is not known, and half of it would be another child.
                if let Some(n) = by_key.remove(&key) {
                    merged[n] = None;
                }
            }
            for (key, (_, members)) in keys.into_iter().zip(others) {
                let base = key
                    .and_then(|key| by_key.get(&key))
                    .and_then(|n| merged[*n].as_mut());
                if let Some((_, base)) = base {
                    base.extend(members.whole().into_owned());
                }
            }
        }
        merged
            .into_iter()
            .enumerate()
            .filter_map(|(n, element)| {
                element.map(|(place, members)| (Way::Merge(n, place), members.into()))
            })
            .collect()
    }

    /// The values under the merge keys of each element, and those that several have. Both an element without and elements
    /// with the same are errors.
    fn keyed(
        &mut self,
        path: &str,
        generator: usize,
        merge_keys: &[String],
        leaves: &[Placed],
    ) -> (Vec<Option<Vec<String>>>, HashSet<Vec<String>>) {
        let mut keys = Vec::with_capacity(leaves.len());
        let mut first: HashMap<Vec<String>, &Place> = HashMap::new();
        let mut blocked = HashSet::new();
        for (place, members) in leaves {
            let path = format!("{path}.generators[{generator}].{place}");
            match merge_key(merge_keys, members) {
                Ok(key) => {
                    if let Some(twin) = first.get(&key) {
                        let message =
                            format!("{key:?} are the values of {twin} too; make them differ");
                        let field = merge_keys.join(", ");
                        self.fail(path, Fault::new(field, ErrorReason::Ambiguous, message));
                        blocked.insert(key.clone());
                    } else {
                        first.insert(key.clone(), place);
                    }
                    keys.push(Some(key));
                }
                Err((field, why)) => {
                    let message = format!("{why}; mergeKeys names it");
                    self.fail(path, Fault::new(field, ErrorReason::Ambiguous, message));
                    keys.push(None);
                }
            }
        }
        (keys, blocked)
    }
}

fn merge_key(keys: &[String], members: &Members) -> Result<Vec<String>, (String, &'static str)> {
    let members = members.whole();
    keys.iter()
        .map(|key| match member(&members, key) {
            Some(Found::Text(text)) => Ok(text.into_owned()),
            Some(Found::Inner) => Err((key.clone(), "is no single value")),
            None => Err((key.clone(), "is missing")),
        })
        .collect()
}

/// Names of members that elements of both sides may have.
fn shared<'a>(left: &'a [Placed], right: &'a [Placed]) -> Vec<&'a str> {
    let names = |leaves: &'a [Placed]| -> BTreeSet<&'a str> {
        let all = leaves.iter().flat_map(|(_, members)| members.keys());
        all.collect()
    };
    names(left).intersection(&names(right)).copied().collect()
}
