//! What an element or a written app asks for, and what no child may ask for.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::fault::{ErrorReason, Fault, Faults};
use super::limits;
use crate::api::app_of_apps::ChildKind;
use crate::fleet::json::{merge, without_nulls};
use crate::fleet::metadata::{is_label_value, is_name, refused_key};

const DEPENDENCIES: usize = 32;
const WAVES: std::ops::RangeInclusive<i64> = 0..=99;

/// What an element asks for, before it is judged.
pub(super) struct Draft {
    pub kind: &'static str,
    pub wave: u32,
    pub depends_on: Vec<String>,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// Over the defaults, without nulls
    pub spec: Value,
}

pub(super) fn valid_name(field: &str, name: &str) -> Result<(), Fault> {
    if is_name(name) {
        return Ok(());
    }
    let message = if name.len() > 253 {
        format!(
            "{:?} is longer than the 253 characters of a name",
            cut(name)
        )
    } else {
        format!(
            "{:?} is no name for an object; use lower-case letters, digits and -, beginning and ending with a letter or digit",
            cut(name)
        )
    };
    Err(Fault::new(field, ErrorReason::InvalidName, message))
}

fn cut(text: &str) -> String {
    crate::api::status::cut(text, 80)
}

/// Keys that belong to others.
pub(super) fn judge_keys(
    prefix: &str,
    labels: &BTreeMap<String, String>,
    annotations: &BTreeMap<String, String>,
) -> Result<(), Fault> {
    for (part, keys) in [("labels", labels), ("annotations", annotations)] {
        if let Some((_, why)) = refused_key(keys) {
            let field = format!("{prefix}{part}");
            return Err(Fault::new(field, ErrorReason::InvalidMetadata, why));
        }
    }
    Ok(())
}

pub(super) fn judge_labels(prefix: &str, labels: &BTreeMap<String, String>) -> Result<(), Fault> {
    match labels.iter().find(|(_, value)| !is_label_value(value)) {
        None => Ok(()),
        Some((key, value)) => Err(Fault::new(
            format!("{prefix}labels.{key}"),
            ErrorReason::InvalidMetadata,
            format!(
                "{:?} is no label value: at most 63 letters, digits, -, _ and .",
                cut(value)
            ),
        )),
    }
}

/// Sorted, each once, none that is no name.
pub(super) fn dependencies(names: Vec<(String, String)>) -> Result<Vec<String>, Fault> {
    let mut sorted = Vec::with_capacity(names.len());
    for (field, name) in names {
        if name.is_empty() {
            continue;
        }
        if !is_name(&name) {
            let message = format!("{:?} is no name of a child", cut(&name));
            return Err(Fault::new(field, ErrorReason::InvalidOrder, message));
        }
        sorted.push(name);
    }
    sorted.sort_unstable();
    sorted.dedup();
    if sorted.len() > DEPENDENCIES {
        let message = format!(
            "names {} children, at most {DEPENDENCIES} are allowed",
            sorted.len()
        );
        return Err(Fault::new("dependsOn", ErrorReason::InvalidOrder, message));
    }
    Ok(sorted)
}

/// A wave from 0 to 99.
pub(super) fn wave(value: &Value) -> Result<u32, Fault> {
    let number = match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    match number
        .filter(|number| WAVES.contains(number))
        .map(u32::try_from)
    {
        Some(Ok(wave)) => Ok(wave),
        _ => {
            let message = format!(
                "{} is no wave: a whole number from 0 to 99",
                cut(&value.to_string())
            );
            Err(Fault::new("wave", ErrorReason::InvalidOrder, message))
        }
    }
}

/// An app written out, as its members.
pub(super) fn written(
    app: &Map<String, Value>,
    defaults: &Map<String, Value>,
) -> Result<Draft, Fault> {
    let texts = |part: &str| -> BTreeMap<String, String> {
        let map = app.get(part).and_then(Value::as_object);
        map.into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect()
    };
    let (labels, annotations) = (texts("labels"), texts("annotations"));
    let mut faults = Faults::default();
    faults.keep(judge_keys("", &labels, &annotations));
    faults.keep(judge_labels("", &labels));
    let names = app.get("dependsOn").and_then(Value::as_array);
    let names = names.into_iter().flatten().enumerate().map(|(n, name)| {
        let name = name.as_str().unwrap_or_default();
        (format!("dependsOn[{n}]"), name.to_owned())
    });
    let defaults = Value::Object(defaults.clone());
    let spec = app.get("spec").cloned();
    let spec = spec.unwrap_or_else(|| Value::Object(Map::new()));
    let draft = Draft {
        kind: ChildKind::default().name(),
        wave: faults.keep(app.get("wave").map_or(Ok(0), wave)),
        depends_on: faults.keep(dependencies(names.collect())),
        labels,
        annotations,
        spec: without_nulls(merge(&defaults, &spec)),
    };
    faults.first().map(|()| draft)
}

pub(super) fn too_large() -> Fault {
    let limit = limits::mib(limits::CHILD_BYTES);
    let message = format!("the child would take more than {limit}, which is what one may have");
    Fault::new("spec", ErrorReason::TooLarge, message)
}
