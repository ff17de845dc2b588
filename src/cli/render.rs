//! `render`: the children of AppOfApps, offline, through the functions that the operator generates them with.
use std::process::ExitCode;

use clap::Args;
use kube::ResourceExt;
use serde_json::Value;

use super::input::{self, Files, Manifest};
use super::output::{self, Output};
use super::{PROBLEMS, count};
use crate::admission::Field;
use crate::api::annotation;
use crate::api::app_of_apps::AppOfApps;
use crate::fleet::{self, ElementError, GeneratorInputs, Parent};

/// Options of `render`.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    output: Output,
}

/// Why nothing could be rendered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Output(#[from] output::Error),
    #[error("there is no AppOfApps in what -f names; name a manifest that holds one")]
    NoParent,
}

/// What became of one parent's elements.
#[derive(Debug, Default)]
pub struct Rendered {
    /// In the order of names, as the operator applies them
    pub children: Vec<Child>,
    /// In the order of the spec
    pub errors: Vec<ElementError>,
}

/// One child.
#[derive(Clone, Debug)]
pub struct Child {
    /// Where in the spec of its parent it comes from, e.g. `apps[1]`
    pub source: String,
    pub object: Value,
}

/// Prints the children of every AppOfApps; what did not become a child goes to standard error and gives exit code 1.
pub fn run(options: &Options) -> Result<ExitCode, Error> {
    let input = input::read(&options.files);
    let mut problems = input.errors.len();
    for error in &input.errors {
        eprintln!("{error}");
    }
    let mut children = Vec::new();
    let mut parents = 0;
    for manifest in input.manifests.iter().filter(|m| m.kind == "AppOfApps") {
        parents += 1;
        match parse(&manifest.object) {
            Ok(parent) => {
                let rendered = render(&parent);
                problems += rendered.errors.len();
                for error in &rendered.errors {
                    eprintln!("{}", line(manifest, error));
                }
                children.extend(rendered.children.into_iter().map(|child| child.object));
            }
            Err(error) => {
                problems += 1;
                let field = Field::default().below(error.path());
                let (place, title) = (manifest.place(&field), manifest.title());
                eprintln!("{place}: {title}: {field}: {}", error.inner());
            }
        }
    }
    if parents == 0 && problems == 0 {
        return Err(Error::NoParent);
    }
    let others = input.manifests.len() - parents + input.foreign.len();
    if others > 0 {
        eprintln!(
            "passed over: {}",
            count(
                others,
                "object that is no AppOfApps",
                "objects that are no AppOfApps"
            )
        );
    }
    let list = output::list(&children);
    options
        .output
        .print(&list, |_| output::documents(&children))?;
    Ok(if problems == 0 {
        ExitCode::SUCCESS
    } else {
        PROBLEMS.into()
    })
}

fn line(manifest: &Manifest, error: &ElementError) -> String {
    let place = manifest.place(&Field::new("spec").join(&error.element));
    format!("{place}: {}: spec.{error}", manifest.title())
}

/// The object as the operator reads it from the API server.
pub fn parse(object: &Value) -> Result<AppOfApps, serde_path_to_error::Error<serde_json::Error>> {
    serde_path_to_error::deserialize(object)
}

/// The children of `parent`. Only an object that comes from a cluster has a uid; without one the children carry neither
/// the owner reference nor the digest that covers it.
pub fn render(parent: &AppOfApps) -> Rendered {
    let me = Parent {
        name: parent.name_any(),
        namespace: parent.namespace().unwrap_or_default(),
        uid: parent.uid().unwrap_or_default(),
        namespace_uid: None,
    };
    let generated = fleet::generate(&parent.spec, &GeneratorInputs::default(), &me, &|_| {
        Vec::new()
    });
    let children = generated.children.values().map(|child| {
        // When it is released, and by which rollout, only a cluster knows.
        let record = fleet::Record {
            revision: Some(child.revision.clone()),
            ..fleet::Record::default()
        };
        let mut payload = fleet::payload(child, &record, &me, None);
        if let Some(metadata) = payload["metadata"].as_object_mut() {
            if me.namespace.is_empty() {
                metadata.remove("namespace");
            }
            if me.uid.is_empty() {
                metadata.remove("ownerReferences");
            }
        }
        if let (true, Some(annotations)) = (
            me.uid.is_empty(),
            payload["metadata"]["annotations"].as_object_mut(),
        ) {
            annotations.remove(annotation::APPLIED_DIGEST);
        }
        Child {
            source: generated
                .sources
                .get(&child.name)
                .cloned()
                .unwrap_or_default(),
            object: payload,
        }
    });
    Rendered {
        children: children.collect(),
        errors: generated.errors,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn parent(metadata: Value, elements: Value) -> AppOfApps {
        let template = json!({"metadata": {"name": "{{ team }}-app", "labels": {"team": "{{ team }}"}},
            "spec": {"workspaceRef": {"name": "prod"}, "description": "{{ purpose }}"}});
        parse(&json!({"apiVersion": "appofapps.dev/v1alpha1", "kind": "AppOfApps", "metadata": metadata,
            "spec": {"generators": [{"list": {"elements": elements}}], "template": template}}))
        .unwrap()
    }

    #[test]
    fn a_child_is_what_the_operator_applies_but_for_what_only_a_cluster_knows() {
        let elements = json!([{"team": "sales", "purpose": "x"}]);
        let offline = json!({"name": "fleet", "namespace": "n"});
        let child = render(&parent(offline, elements.clone()))
            .children
            .remove(0)
            .object;
        assert_eq!(child["metadata"]["name"], "sales-app");
        assert_eq!(child["metadata"]["namespace"], "n");
        assert_eq!(
            child["metadata"]["labels"],
            json!({"team": "sales", "appofapps.dev/parent": "fleet"})
        );
        assert_eq!(
            child["spec"],
            json!({"workspaceRef": {"name": "prod"}, "description": "x"})
        );
        let annotations = &child["metadata"]["annotations"];
        assert!(annotations[annotation::REVISION].is_string());
        assert!(annotations.get(annotation::APPLIED_DIGEST).is_none());
        assert!(child["metadata"].get("ownerReferences").is_none());

        let live = json!({"name": "fleet", "namespace": "n", "uid": "u1"});
        let live = render(&parent(live, elements)).children.remove(0).object;
        assert_eq!(live["metadata"]["ownerReferences"][0]["uid"], "u1");
        assert_eq!(
            live["metadata"]["annotations"][annotation::REVISION],
            annotations[annotation::REVISION]
        );
        assert!(live["metadata"]["annotations"][annotation::APPLIED_DIGEST].is_string());
    }

    #[test]
    fn no_namespace_is_made_up() {
        let child = render(&parent(
            json!({"name": "f"}),
            json!([{"team": "a", "purpose": ""}]),
        ));
        assert!(
            child.children[0].object["metadata"]
                .get("namespace")
                .is_none()
        );
    }

    #[test]
    fn an_element_in_error_keeps_no_other_from_being_rendered() {
        let elements = json!([{"team": "hr"}, {"team": "sales", "purpose": "x"}]);
        let rendered = render(&parent(json!({"name": "f"}), elements));
        assert_eq!(rendered.children.len(), 1);
        assert_eq!(rendered.errors[0].element, "generators[0].list.elements[0]");
    }

    #[test]
    fn the_line_of_an_element_in_error_is_named() {
        let text = "apiVersion: appofapps.dev/v1alpha1\nkind: AppOfApps\nmetadata: {name: f, namespace: apps}\nspec:\n  apps:\n  - name: good\n  - name: BAD\n";
        let input = input::read_text("x.yaml", text);
        let manifest = &input.manifests[0];
        let rendered = render(&parse(&manifest.object).unwrap());
        let line = line(manifest, &rendered.errors[0]);
        assert!(
            line.starts_with("x.yaml:7: AppOfApps apps/f: spec.apps[1]: name: \"BAD\""),
            "{line}"
        );
    }
}
