//! Elements out of generators.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::config_map::{self, Text};
use super::fault::{ElementError, ErrorReason, Fault};
use super::limits::{self, mib};
use super::members::Members;
use super::template::{Delimiters, Pattern, Scope};
use crate::api::app_of_apps::{
    ConfigMapsGenerator, Generator, Leaf, LeafGenerator, Selector, WorkspacesGenerator,
};
use crate::fleet::selector::{matches, matches_element};
use crate::fleet::{ConfigMapInput, GeneratorInputs, WorkspaceInput};

/// Long, and of no use to a template.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// An element of a generator that is made of no others.
pub(super) type Placed = (Place, Members);

/// What the template is filled from.
pub(super) struct Element {
    pub origin: Origin,
    pub members: Members,
}

/// Where an element comes from. Told as a path only where it is shown.
pub(super) struct Origin {
    generator: usize,
    way: Way,
}

pub(super) enum Way {
    Leaf(Place),
    Matrix([usize; 2], [Place; 2]),
    Merge(usize, Place),
}

#[derive(Clone)]
pub(super) enum Place {
    List(usize),
    Workspace(Arc<str>),
    ConfigMap(Arc<str>, usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List(n) => write!(f, "list.elements[{n}]"),
            Self::Workspace(name) => write!(f, "workspaces[{name}]"),
            Self::ConfigMap(name, n) => write!(f, "configMaps[{name}][{n}]"),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "generators[{}].", self.generator)?;
        match &self.way {
            Way::Leaf(place) => place.fmt(f),
            Way::Matrix([a, b], _) => write!(f, "matrix[{a},{b}]"),
            Way::Merge(n, _) => write!(f, "merge[{n}]"),
        }
    }
}

impl Origin {
    /// What the path does not say: ` (from list.elements[3] and workspaces[apps/prod])`.
    pub(super) fn note(&self) -> String {
        match &self.way {
            Way::Leaf(_) => String::new(),
            Way::Matrix(_, [a, b]) => format!(" (from {a} and {b})"),
            Way::Merge(_, base) => format!(" (from {base})"),
        }
    }
}

/// What the generators give.
#[derive(Default)]
pub(super) struct Elements {
    pub found: Vec<Element>,
    pub errors: Vec<ElementError>,
    /// Whether something is missing, so that the elements' names are not all there are
    pub missing: bool,
    /// Generators whose inputs or selector leave nothing
    pub idle: Vec<String>,
}

/// Texts of ConfigMaps that were read before.
#[derive(Default)]
pub(super) struct Texts {
    before: HashMap<String, Arc<Text>>,
    now: HashMap<String, Arc<Text>>,
}

impl Texts {
    fn read(&mut self, text: &str) -> Arc<Text> {
        if let Some(known) = self.now.get(text) {
            return known.clone();
        }
        let known = self.before.remove(text);
        let parsed = known.unwrap_or_else(|| Arc::new(config_map::read(text)));
        self.now.insert(text.to_owned(), parsed.clone());
        parsed
    }

    /// Forgets what was not read since the last time.
    fn turn(&mut self) {
        self.before = std::mem::take(&mut self.now);
    }
}

/// The elements of all generators, in the order of the spec; those of live objects in the order of their names.
pub(super) fn read(
    generators: &[Generator],
    inputs: &GeneratorInputs,
    namespace: &str,
    delimiters: &Delimiters,
    texts: &mut Texts,
) -> Elements {
    let mut workspaces: Vec<&WorkspaceInput> = inputs.workspaces.iter().collect();
    workspaces.sort_by(|a, b| a.name.cmp(&b.name));
    let mut config_maps: Vec<&ConfigMapInput> = inputs.config_maps.iter().collect();
    config_maps.sort_by(|a, b| a.name.cmp(&b.name));
    let mut reader = Reader {
        workspaces,
        config_maps,
        namespace,
        delimiters,
        texts,
        result: Elements::default(),
    };
    let mut bytes = 0;
    for (n, generator) in generators.iter().enumerate() {
        let mut elements = reader.generator(n, generator);
        reader.select(
            &format!("generators[{n}]"),
            generator.selector.as_ref(),
            &mut elements,
            |element| &element.members,
        );
        let sizes = elements.iter().map(|element| element.members.size());
        bytes += sizes.sum::<usize>();
        reader.result.found.append(&mut elements);
    }
    let count = reader.result.found.len();
    if count > limits::ELEMENTS || bytes > limits::ELEMENTS_BYTES {
        // None, rather than those that happen to come first.
        reader.result.found.clear();
        reader.fail("generators".to_owned(), too_many("elements", count, bytes));
    }
    reader.texts.turn();
    reader.result
}

pub(super) fn too_many(field: &str, count: usize, bytes: usize) -> Fault {
    let message = format!(
        "{count} elements of about {} are more than the {} of {} that one AppOfApps may have; use several",
        mib(bytes),
        limits::ELEMENTS,
        mib(limits::ELEMENTS_BYTES)
    );
    Fault::new(field, ErrorReason::TooLarge, message)
}

pub(super) struct Reader<'a> {
    workspaces: Vec<&'a WorkspaceInput>,
    config_maps: Vec<&'a ConfigMapInput>,
    namespace: &'a str,
    delimiters: &'a Delimiters,
    texts: &'a mut Texts,
    result: Elements,
}

impl Reader<'_> {
    /// Something is not there that might give an element.
    pub(super) fn fail(&mut self, element: String, fault: Fault) {
        self.result.missing = true;
        self.result.errors.push(fault.of(element));
    }

    fn select<T>(
        &mut self,
        path: &str,
        selector: Option<&Selector>,
        elements: &mut Vec<T>,
        members: impl Fn(&T) -> &Members,
    ) {
        let (Some(selector), false) = (selector, elements.is_empty()) else {
            return;
        };
        elements.retain(|element| matches_element(selector, &members(element).whole()));
        if elements.is_empty() {
            let idle = format!("{path}.selector: no element matches");
            self.result.idle.push(idle);
        }
    }

    fn generator(&mut self, n: usize, generator: &Generator) -> Vec<Element> {
        let path = format!("generators[{n}]");
        let ways: Vec<(Way, Members)> = if let Some(matrix) = &generator.matrix {
            self.matrix(&path, matrix)
        } else if let Some(merge) = &generator.merge {
            self.merge(&path, merge)
        } else {
            let leaves = self.leaf(&path, generator.leaf());
            leaves
                .into_iter()
                .map(|(place, members)| (Way::Leaf(place), members))
                .collect()
        };
        ways.into_iter()
            .map(|(way, members)| Element {
                origin: Origin { generator: n, way },
                members,
            })
            .collect()
    }

    pub(super) fn inner(&mut self, path: &str, generators: &[LeafGenerator]) -> Vec<Vec<Placed>> {
        let mut found = Vec::with_capacity(generators.len());
        for (n, generator) in generators.iter().enumerate() {
            let path = format!("{path}.generators[{n}]");
            let mut leaves = self.leaf(&path, generator.leaf());
            self.select(&path, generator.selector.as_ref(), &mut leaves, |leaf| {
                &leaf.1
            });
            found.push(leaves);
        }
        found
    }

    fn leaf(&mut self, path: &str, leaf: Option<Leaf>) -> Vec<Placed> {
        let (path, leaves) = match leaf {
            Some(Leaf::List(list)) => {
                let elements = list.elements.iter().cloned().enumerate();
                let leaves = elements.map(|(n, members)| (Place::List(n), members.into()));
                (format!("{path}.list"), leaves.collect())
            }
            Some(Leaf::Workspaces(generator)) => {
                let path = format!("{path}.workspaces");
                let leaves = self.workspaces(&path, generator);
                (path, leaves)
            }
            Some(Leaf::ConfigMaps(generator)) => {
                let path = format!("{path}.configMaps");
                let leaves = self.config_maps(&path, generator);
                (path, leaves)
            }
            None => {
                let message = "takes exactly one of list, workspaces and configMaps; outside of them also matrix and merge";
                let fault = Fault::new("generator", ErrorReason::InvalidInput, message);
                self.fail(path.to_owned(), fault);
                return Vec::new();
            }
        };
        self.bounded(path, leaves)
    }

    /// Without elements that are too large; none at all if together they are.
    fn bounded(&mut self, path: String, leaves: Vec<Placed>) -> Vec<Placed> {
        let mut total = 0_usize;
        let mut kept = Vec::with_capacity(leaves.len());
        let parent = path
            .rsplit_once('.')
            .map_or("", |(parent, _)| parent)
            .to_owned();
        for (place, members) in leaves {
            let size = members.size();
            if size > limits::ELEMENT_BYTES {
                let message = format!(
                    "takes about {}, at most {} are allowed",
                    mib(size),
                    mib(limits::ELEMENT_BYTES)
                );
                let fault = Fault::new("element", ErrorReason::TooLarge, message);
                self.fail(format!("{parent}.{place}"), fault);
                continue;
            }
            total += size;
            kept.push((place, members));
        }
        if kept.len() > limits::ELEMENTS || total > limits::DATA_BYTES {
            let message = format!(
                "{} elements of about {} are more than the {} of {} that one generator may read",
                kept.len(),
                mib(total),
                limits::ELEMENTS,
                mib(limits::DATA_BYTES)
            );
            self.fail(path, Fault::new("elements", ErrorReason::TooLarge, message));
            return Vec::new();
        }
        kept
    }

    fn workspaces(&mut self, path: &str, generator: &WorkspacesGenerator) -> Vec<Placed> {
        let mut patterns = Vec::with_capacity(generator.values.len());
        for (key, text) in &generator.values {
            match Pattern::read(text, self.delimiters) {
                Ok(pattern) => patterns.push((key, pattern)),
                Err(message) => {
                    let fault = Fault::new(format!("values.{key}"), ErrorReason::Template, message);
                    self.fail(path.to_owned(), fault);
                    return Vec::new();
                }
            }
        }
        let parent = path.rsplit_once('.').map_or("", |(parent, _)| parent);
        let mut found = Vec::new();
        let mut matched = false;
        for workspace in self.workspaces.clone() {
            let selector = generator.selector.as_ref();
            if !selector.is_none_or(|selector| matches(selector, &workspace.labels)) {
                continue;
            }
            matched = true;
            let place = Place::Workspace(workspace.name.to_string().into());
            match workspace_members(workspace, &patterns) {
                Ok(members) => found.push((place, members.into())),
                Err(fault) => self.fail(format!("{parent}.{place}"), fault),
            }
        }
        if !matched {
            let idle = format!("{path}: no DatabricksWorkspace matches");
            self.result.idle.push(idle);
        }
        found
    }

    fn config_maps(&mut self, path: &str, generator: &ConfigMapsGenerator) -> Vec<Placed> {
        let selector = &generator.selector;
        if selector.match_labels.is_empty() && selector.match_expressions.is_empty() {
            let message = "must not be empty: it would take every ConfigMap";
            let fault = Fault::new("selector", ErrorReason::InvalidInput, message);
            self.fail(path.to_owned(), fault);
            return Vec::new();
        }
        let mut found = Vec::new();
        let mut matched = false;
        for config_map in self.config_maps.clone() {
            if !matches(selector, &config_map.labels) {
                continue;
            }
            matched = true;
            let key = &generator.key;
            let fault = |message: String| {
                let field = format!("ConfigMap {}/{}", self.namespace, config_map.name);
                let message = format!("key {key}: {message}");
                Fault::new(field, ErrorReason::InvalidInput, message)
            };
            let Some(text) = config_map.data.get(key) else {
                let fault = fault("is missing".to_owned());
                self.fail(path.to_owned(), fault);
                continue;
            };
            let items = self.texts.read(text);
            let items = match items.as_ref() {
                Ok(items) => items,
                Err(message) => {
                    let fault = fault(message.clone());
                    self.fail(path.to_owned(), fault);
                    continue;
                }
            };
            let name: Arc<str> = config_map.name.as_str().into();
            let mut faults = Vec::new();
            for (n, item) in items.iter().enumerate() {
                match item {
                    Ok(members) => {
                        let place = Place::ConfigMap(name.clone(), n);
                        found.push((place, members.clone().into()));
                    }
                    Err(message) => faults.push(fault(format!("[{n}] {message}"))),
                }
            }
            for fault in faults {
                self.fail(path.to_owned(), fault);
            }
        }
        if !matched {
            let idle =
                format!("{path}: no ConfigMap with the label appofapps.dev/generator matches");
            self.result.idle.push(idle);
        }
        found
    }
}

fn workspace_members(
    workspace: &WorkspaceInput,
    values: &[(&String, Pattern)],
) -> Result<Map<String, Value>, Fault> {
    let texts = |map: &std::collections::BTreeMap<String, String>| -> Value {
        map.iter()
            .filter(|(key, _)| *key != LAST_APPLIED)
            .map(|(key, value)| (key.clone(), Value::from(value.as_str())))
            .collect()
    };
    let mut metadata = Map::new();
    metadata.insert("labels".to_owned(), texts(&workspace.labels));
    metadata.insert("annotations".to_owned(), texts(&workspace.annotations));
    let mut members = Map::new();
    members.insert("name".to_owned(), workspace.name.name.as_str().into());
    members.insert(
        "namespace".to_owned(),
        workspace.name.namespace.as_str().into(),
    );
    members.insert("host".to_owned(), workspace.host.as_str().into());
    members.insert("metadata".to_owned(), Value::Object(metadata));
    let scope = Scope::new(&members);
    let filled: Result<Map<String, Value>, Fault> = values
        .iter()
        .map(|(key, pattern)| match pattern.value(&scope) {
            Ok(value) => Ok(((*key).clone(), value)),
            Err(message) => {
                let field = format!("values.{key}");
                Err(Fault::new(field, ErrorReason::Template, message))
            }
        })
        .collect();
    let filled = filled?;
    members.insert("values".to_owned(), Value::Object(filled));
    Ok(members)
}

#[cfg(test)]
#[path = "generators_tests.rs"]
mod generators_tests;
