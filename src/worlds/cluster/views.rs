//! Views of children, made once for each version of an object: a pass over thousands that have not changed costs
//! look-ups alone.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use kube::Resource;
use kube::core::object::{HasSpec, HasStatus};
use serde::Serialize;
use serde_json::Value;

use super::view;
use crate::api::row::ChildView;

/// An object that a parent may make.
pub trait Child:
    Resource<DynamicType = ()> + HasSpec<Spec: Serialize> + HasStatus<Status: Serialize>
{
}

impl<K> Child for K where
    K: Resource<DynamicType = ()> + HasSpec<Spec: Serialize> + HasStatus<Status: Serialize>
{
}

/// By namespace and uid.
#[derive(Default)]
pub struct Views(Mutex<HashMap<String, HashMap<String, Arc<ChildView>>>>);

impl Views {
    /// The objects of the namespace; `objects` are those of all. What is not among them is forgotten.
    pub fn of<'a, K: Child + 'a>(
        &self,
        namespace: &str,
        objects: impl Iterator<Item = &'a K>,
    ) -> Vec<Arc<ChildView>> {
        let here = objects.filter(|o| o.meta().namespace.as_deref() == Some(namespace));
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = all.remove(namespace).unwrap_or_default();
        let mut next = HashMap::with_capacity(known.len());
        let views: Vec<_> = here
            .map(|object| {
                let uid = object.meta().uid.as_deref().unwrap_or_default();
                let (uid, view) = match known.remove_entry(uid) {
                    Some((uid, view)) => (uid, renewed(view, object)),
                    None => (uid.to_owned(), Arc::new(seen(object, None))),
                };
                next.insert(uid, view.clone());
                view
            })
            .collect();
        if !next.is_empty() {
            all.insert(namespace.to_owned(), next);
        }
        views
    }
}

fn renewed<K: Child>(known: Arc<ChildView>, object: &K) -> Arc<ChildView> {
    if object.meta().resource_version.as_ref() == Some(&known.resource_version) {
        return known;
    }
    Arc::new(seen(object, Some(&known)))
}

/// One object as its parent sees it.
pub fn view_of<K: Child>(object: &K) -> ChildView {
    seen(object, None)
}

/// `before` is an older view of the same object; its spec is the same until the generation rises.
fn seen<K: Child>(object: &K, before: Option<&ChildView>) -> ChildView {
    let same = before.filter(|before| object.meta().generation == Some(before.generation));
    let spec = same.map_or_else(|| json(object.spec()), |same| same.spec.clone());
    let status = object.status().map(json).unwrap_or_default();
    view(object.meta(), spec, &status)
}

/// Of our own types, which are JSON to begin with.
fn json(part: impl Serialize) -> Value {
    serde_json::to_value(part).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::api::workspace::DatabricksWorkspace;

    // Any kind with a spec and a status will do.
    fn object(
        namespace: &str,
        name: &str,
        uid: &str,
        version: u32,
        generation: i64,
    ) -> DatabricksWorkspace {
        serde_json::from_value(json!({
            "apiVersion": "appofapps.dev/v1alpha1", "kind": "DatabricksWorkspace",
            "metadata": {"name": name, "namespace": namespace, "uid": uid, "generation": generation,
                "resourceVersion": version.to_string(), "labels": {"version": version.to_string()},
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "Other", "name": "o", "uid": "0"},
                    {"apiVersion": "appofapps.dev/v1alpha1", "kind": "AppOfApps", "name": "fleet", "uid": "1", "controller": true}]},
            "spec": {"host": format!("https://{generation}"), "auth": {}},
            "status": {"observedGeneration": generation, "conditions": [{"type": "Ready", "status": "True",
                "reason": "Connected", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
        }))
        .unwrap()
    }

    #[test]
    fn an_object_is_seen_as_its_parent_needs_it() {
        let views = Views::default();
        let seen = views.of("ns", [object("ns", "a", "u", 7, 3)].iter());
        let view = &seen[0];
        assert_eq!((view.name.as_str(), view.uid.as_str()), ("a", "u"));
        assert_eq!((view.generation, view.observed_generation), (3, 3));
        assert_eq!(view.owner.as_ref().unwrap().name, "fleet");
        assert_eq!(view.spec["host"], "https://3");
        assert!(view.is("Ready") && !view.deleting);
    }

    #[test]
    fn a_view_is_made_again_only_for_a_new_version_or_another_object_of_that_name() {
        let views = Views::default();
        let look = |objects: &[DatabricksWorkspace]| views.of("ns", objects.iter());
        let first = look(&[object("ns", "a", "u", 1, 1)]);
        let same = look(&[object("ns", "a", "u", 1, 1)]);
        assert!(Arc::ptr_eq(&first[0], &same[0]));
        let status = look(&[object("ns", "a", "u", 2, 1)]);
        assert_eq!(
            (status[0].labels["version"].as_str(), &status[0].spec),
            ("2", &first[0].spec)
        );
        let spec = look(&[object("ns", "a", "u", 3, 2)]);
        assert_eq!(spec[0].spec["host"], "https://2");
        let other = look(&[object("ns", "a", "u2", 4, 2)]);
        assert_eq!((other.len(), other[0].uid.as_str()), (1, "u2"));
    }

    #[test]
    fn each_namespace_has_its_own_and_what_is_gone_is_forgotten() {
        let views = Views::default();
        let all = [
            object("ns", "a", "1", 1, 1),
            object("other", "a", "2", 1, 1),
        ];
        assert_eq!(views.of("ns", all.iter())[0].uid, "1");
        assert_eq!(views.of("other", all.iter())[0].uid, "2");
        assert_eq!(views.0.lock().unwrap().len(), 2);
        assert!(views.of("ns", all[1..].iter()).is_empty());
        assert_eq!(views.0.lock().unwrap().len(), 1);
    }
}
