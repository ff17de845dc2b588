//! From generators and a template, or from apps written out, to children by name.

use std::collections::{BTreeMap, BTreeSet};

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::json::{merge, without_nulls};
use super::metadata::{is_label_value, is_name, refused_key};
use super::template::Filler;
use super::{GeneratorInputs, Parent};
use crate::api::app_of_apps::{AppOfAppsSpec, Template};
use crate::api::digest;

/// Larger specs than a child may reasonably have; the API server's own limit is some 1.5 MB an object.
const CHILD_BYTES: usize = 256 << 10;

/// One child as it is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Child {
    pub kind: &'static str,
    pub name: String,
    /// 0 to 99
    pub wave: u32,
    /// Sorted, without repetition
    pub depends_on: Vec<String>,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// Over the defaults, without nulls; an object
    pub spec: Value,
    /// JSON pointers of what is only set when the child is created; sorted
    pub ignored: Vec<String>,
    /// sha256 of kind, metadata and spec, without what lies at `ignored`
    pub revision: String,
}

impl Child {
    /// A child like `like` with another content.
    pub fn new(
        like: &Child,
        labels: BTreeMap<String, String>,
        annotations: BTreeMap<String, String>,
        spec: Value,
    ) -> Self {
        let mut rendered = json!({
            "kind": like.kind,
            "metadata": {"name": like.name, "labels": labels, "annotations": annotations},
            "spec": spec,
        });
        for pointer in &like.ignored {
            super::json::remove(&mut rendered, pointer);
        }
        Self {
            labels,
            annotations,
            spec,
            revision: digest::of(&rendered),
            ..like.clone()
        }
    }
}

/// What a spec asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Generated {
    pub children: BTreeMap<String, Arc<Child>>,
    /// Where each child comes from, by its name: `apps[1]`
    pub sources: BTreeMap<String, String>,
    /// In the order of the spec
    pub errors: Vec<ElementError>,
    /// Names that elements in error ask for: what exists of them is kept as it is
    pub kept: BTreeSet<String>,
    /// False if some element's name is unknown: then nothing may be pruned, it could be that element's child
    pub complete: bool,
}

/// An element that did not become a child. The others do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElementError {
    /// `generators[0].list.elements[2]`, `apps[1]`, `template`
    pub element: String,
    /// `metadata.name`, `spec.compute.size`
    pub field: String,
    pub reason: ErrorReason,
    pub message: String,
}

impl std::fmt::Display for ElementError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}: {}", self.element, self.field, self.message)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorReason {
    /// A template that can't be filled from this element
    Template,
    /// No name, or none that an object may have
    InvalidName,
    /// A label or annotation that can't be, or is somebody else's
    InvalidMetadata,
    /// Several elements ask for the same name
    DuplicateName,
    /// More than an object may hold
    TooLarge,
    /// The code may change without the spec, which a rollout in steps could not hold up
    UnpinnedSource,
    /// A dependency that is missing, or an order that contradicts itself
    InvalidOrder,
}

struct Fault {
    field: String,
    reason: ErrorReason,
    message: String,
}

impl Fault {
    fn new(field: impl Into<String>, reason: ErrorReason, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            reason,
            message: message.into(),
        }
    }
}

/// One element's outcome. The name is kept also when the rest failed.
struct Candidate {
    element: String,
    name: Option<String>,
    result: Result<Child, Fault>,
}

/// The children of `spec`.
pub fn generate(spec: &AppOfAppsSpec, _: &GeneratorInputs, parent: &Parent) -> Generated {
    let defaults = Value::Object(spec.defaults.clone().unwrap_or_default());
    let mut candidates = Vec::new();
    let mut generated = Generated::default();
    if let Some(template) = &spec.template {
        let elements = elements(spec);
        if let Err(fault) = template_keys(template) {
            generated.errors.push(error("template", &fault));
            // Said once, not for each element; their names protect what exists.
            for (path, element) in elements {
                let name = name_of(&Filler::new(), template, element).ok();
                match name {
                    Some(name) => drop(generated.kept.insert(name)),
                    None => generated.errors.push(ElementError {
                        element: path,
                        field: "metadata.name".to_owned(),
                        reason: ErrorReason::InvalidName,
                        message: "its name can't be filled either".to_owned(),
                    }),
                }
            }
            generated.complete = generated.errors.len() == 1;
            return generated;
        }
        let filler = Filler::new();
        for (path, element) in elements {
            candidates.push(from_template(&filler, template, path, element, &defaults));
        }
    }
    for (n, app) in spec.apps.iter().flatten().enumerate() {
        let element = format!("apps[{n}]");
        let own = Value::Object(app.spec.clone());
        let name = valid_name(&app.name);
        candidates.push(Candidate {
            element,
            result: name
                .as_ref()
                .map_err(|message| Fault::new("name", ErrorReason::InvalidName, message))
                .and_then(|name| {
                    let mut child = child(
                        name,
                        app.labels.clone(),
                        app.annotations.clone(),
                        &defaults,
                        &own,
                    )?;
                    child.wave = app.wave.unwrap_or(0) as u32;
                    child.depends_on = app.depends_on.clone();
                    let all = spec.ignore_child_differences.iter().flatten();
                    child.ignored = all.flat_map(|i| i.json_pointers.clone()).collect();
                    let (l, a, s) = (
                        child.labels.clone(),
                        child.annotations.clone(),
                        child.spec.clone(),
                    );
                    Ok(Child::new(&child, l, a, s))
                }),
            name: name.ok(),
        });
    }
    collect(candidates, parent)
}

fn elements(spec: &AppOfAppsSpec) -> Vec<(String, &Map<String, Value>)> {
    let mut found = Vec::new();
    for (g, generator) in spec.generators.iter().flatten().enumerate() {
        for (n, element) in generator
            .list
            .iter()
            .flat_map(|list| list.elements.iter().enumerate())
        {
            found.push((format!("generators[{g}].list.elements[{n}]"), element));
        }
    }
    found
}

/// Sorts the outcomes by name; of several elements with one name none wins.
fn collect(candidates: Vec<Candidate>, parent: &Parent) -> Generated {
    let mut by_name: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for candidate in &candidates {
        if let Some(name) = &candidate.name {
            by_name.entry(name).or_default().push(&candidate.element);
        }
    }
    let mut generated = Generated {
        complete: true,
        ..Generated::default()
    };
    for candidate in &candidates {
        let rivals = candidate
            .name
            .as_deref()
            .and_then(|name| by_name.get(name))
            .filter(|elements| elements.len() > 1);
        match (&candidate.name, rivals, &candidate.result) {
            (Some(name), Some(elements), _) => {
                generated.kept.insert(name.clone());
                let others: Vec<&str> = elements
                    .iter()
                    .copied()
                    .filter(|element| *element != candidate.element)
                    .take(3)
                    .collect();
                let more = elements.len().saturating_sub(1 + others.len());
                let and = if more > 0 {
                    format!(" and {more} more")
                } else {
                    String::new()
                };
                generated.errors.push(ElementError {
                    element: candidate.element.clone(),
                    field: "metadata.name".to_owned(),
                    reason: ErrorReason::DuplicateName,
                    message: format!(
                        "{name:?} is also the name of {}{and}; {}/{} keeps what exists until the names differ",
                        others.join(", "),
                        parent.namespace,
                        parent.name
                    ),
                });
            }
            (Some(_), None, Ok(child)) => {
                let source = candidate.element.clone();
                generated.sources.insert(child.name.clone(), source);
                generated
                    .children
                    .insert(child.name.clone(), Arc::new(child.clone()));
            }
            (name, None, Err(fault)) => {
                match name {
                    Some(name) => drop(generated.kept.insert(name.clone())),
                    None => generated.complete = false,
                }
                generated.errors.push(error(&candidate.element, fault));
            }
            // A child has a name.
            (None, _, _) => generated.complete = false,
        }
    }
    generated
}

fn error(element: &str, fault: &Fault) -> ElementError {
    ElementError {
        element: element.to_owned(),
        field: fault.field.clone(),
        reason: fault.reason,
        message: fault.message.clone(),
    }
}

/// Keys are not filled, so they can be judged once.
fn template_keys(template: &Template) -> Result<(), Fault> {
    for (part, keys) in [
        ("labels", &template.metadata.labels),
        ("annotations", &template.metadata.annotations),
    ] {
        if let Some((_, why)) = refused_key(keys) {
            return Err(Fault::new(
                format!("metadata.{part}"),
                ErrorReason::InvalidMetadata,
                why,
            ));
        }
    }
    Ok(())
}

fn name_of(
    filler: &Filler,
    template: &Template,
    element: &Map<String, Value>,
) -> Result<String, Fault> {
    let field = "metadata.name";
    let name = filler
        .text(&template.metadata.name, element)
        .map_err(|message| Fault::new(field, ErrorReason::Template, message))?;
    valid_name(&name).map_err(|message| Fault::new(field, ErrorReason::InvalidName, message))
}

fn valid_name(name: &str) -> Result<String, String> {
    if is_name(name) {
        return Ok(name.to_owned());
    }
    let cut: String = name.chars().take(80).collect();
    Err(format!(
        "{cut:?} is no name for an object; use lower-case letters, digits and -, beginning and ending with a letter or digit"
    ))
}

fn from_template(
    filler: &Filler,
    template: &Template,
    path: String,
    element: &Map<String, Value>,
    defaults: &Value,
) -> Candidate {
    let name = name_of(filler, template, element);
    let known = name.as_ref().ok().cloned();
    let result = name.and_then(|name| {
        let labels = fill_map(filler, "labels", &template.metadata.labels, element)?;
        for (key, value) in &labels {
            if !is_label_value(value) {
                return Err(Fault::new(
                    format!("metadata.labels.{key}"),
                    ErrorReason::InvalidMetadata,
                    format!("{value:?} is no label value: at most 63 letters, digits, -, _ and ."),
                ));
            }
        }
        let annotations = fill_map(
            filler,
            "annotations",
            &template.metadata.annotations,
            element,
        )?;
        let spec = filler
            .fill(&Value::Object(template.spec.clone()), "spec", element)
            .map_err(|(field, message)| Fault::new(field, ErrorReason::Template, message))?;
        child(&name, labels, annotations, defaults, &spec)
    });
    Candidate {
        element: path,
        name: known,
        result,
    }
}

fn fill_map(
    filler: &Filler,
    part: &str,
    map: &BTreeMap<String, String>,
    element: &Map<String, Value>,
) -> Result<BTreeMap<String, String>, Fault> {
    map.iter()
        .map(|(key, text)| {
            let text = filler.text(text, element).map_err(|message| {
                Fault::new(
                    format!("metadata.{part}.{key}"),
                    ErrorReason::Template,
                    message,
                )
            })?;
            Ok((key.clone(), text))
        })
        .collect()
}

fn child(
    name: &str,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    defaults: &Value,
    own: &Value,
) -> Result<Child, Fault> {
    let kind = crate::api::app_of_apps::ChildKind::DatabricksApp.name();
    let spec = without_nulls(merge(defaults, own));
    let rendered = json!({
        "kind": kind,
        "metadata": {"name": name, "labels": labels, "annotations": annotations},
        "spec": spec,
    });
    let size = rendered.to_string().len();
    if size > CHILD_BYTES {
        return Err(Fault::new(
            "spec",
            ErrorReason::TooLarge,
            format!("the child would take {size} bytes, at most {CHILD_BYTES} are allowed"),
        ));
    }
    Ok(Child {
        kind,
        name: name.to_owned(),
        wave: 0,
        depends_on: Vec::new(),
        labels,
        annotations,
        ignored: Vec::new(),
        revision: digest::of(&rendered),
        spec,
    })
}
