//! `render`: the children of AppOfApps, offline, through the functions that the operator generates and orders them with.
use std::collections::BTreeSet;
use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use super::input::{self, Files, Manifest};
use super::output::{self, Output};
use super::readable::{Found, Readable};
use super::{PROBLEMS, count, stage_name};
use crate::admission::{self, Admission, Field};
use crate::api::annotation;
use crate::api::app_of_apps::AppOfApps;
use crate::fleet::{self, ElementError, Generated, Judge, Order, Place};
use crate::kinds;
use crate::kinds::app_of_apps::parent_of;
use crate::worlds::databricks::WORKSPACE;

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
    Admission(#[from] admission::Error),
    #[error(transparent)]
    Output(#[from] output::Error),
    #[error("there is no AppOfApps in what -f names; name a manifest that holds one")]
    NoParent,
}

/// The children that one parent asks for.
pub struct Draft<'a> {
    parent: &'a AppOfApps,
    pub generated: Generated,
    found: Found,
}

/// What became of one parent's elements.
#[derive(Debug, Default)]
pub struct Rendered {
    /// In the order of the rollout
    pub children: Vec<Child>,
    /// In the order of the spec; those of the order come last
    pub errors: Vec<ElementError>,
}

/// One child.
#[derive(Clone, Debug)]
pub struct Child {
    /// Where it comes, and where in the spec of its parent it comes from: `wave 0; from apps[1]`
    pub comment: String,
    pub object: Value,
}

/// Prints the children of every AppOfApps; what did not become a child goes to standard error and gives exit code 1.
pub fn run(options: &Options) -> Result<ExitCode, Error> {
    let admission = Admission::new(kinds::crds())?;
    let input = input::read(&options.files);
    let (readable, faults) = Readable::of(&input, "");
    let mut problems = input.errors.len() + faults.len();
    for error in &input.errors {
        eprintln!("{error}");
    }
    for fault in &faults {
        eprintln!("{fault}");
    }
    let mut children = Vec::new();
    let mut parents = 0;
    for manifest in input.manifests.iter().filter(|m| m.kind == "AppOfApps") {
        parents += 1;
        match parse(&manifest.object) {
            Ok(parent) => {
                let draft = generate(&parent, &readable, &|child| admission.objections(child));
                for note in draft.notes(manifest) {
                    eprintln!("{note}");
                }
                let rendered = draft.ordered();
                problems += rendered.errors.len();
                for error in &rendered.errors {
                    eprintln!("{}", line(manifest, error));
                }
                children.extend(rendered.children);
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
    let read = |m: &&Manifest| m.kind == "AppOfApps" || m.kind == WORKSPACE;
    let ours = input.manifests.iter().filter(|m| !read(m)).count();
    let others = ours
        + input
            .foreign
            .iter()
            .filter(|o| !Readable::is_one(o))
            .count();
    if others > 0 {
        eprintln!(
            "passed over: {}",
            count(
                others,
                "object that makes no child",
                "objects that make no children"
            )
        );
    }
    let objects: Vec<&Value> = children.iter().map(|child| &child.object).collect();
    let commented = || children.iter().map(|c| (c.comment.clone(), &c.object));
    options
        .output
        .print(&output::list(&objects), |_| output::documents(commented()))?;
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

/// The children of `parent`, each judged by `judge`; its generators read of `readable`.
pub fn generate<'a>(parent: &'a AppOfApps, readable: &Readable, judge: &Judge) -> Draft<'a> {
    let found = readable.read(parent);
    let me = parent_of(parent, None);
    Draft {
        generated: fleet::generate(&parent.spec, &found.read.inputs, &me, judge),
        parent,
        found,
    }
}

impl Draft<'_> {
    /// What could not be told for lack of something to read; no error.
    pub fn notes(&self, manifest: &Manifest) -> Vec<String> {
        let way = match self.found.lacking {
            true => "; name the manifests that it reads, too",
            false => "",
        };
        let idle = self.generated.idle.iter();
        let idle = idle.map(|idle| format!("spec.{idle}{way}"));
        let notes = self.found.notes.iter().cloned().chain(idle);
        notes
            .map(|note| format!("note: {}: {note}", manifest.title()))
            .collect()
    }

    /// Each child as it would be applied, with where it comes from.
    pub fn objects(&self) -> impl Iterator<Item = (&str, Value)> {
        let children = self.generated.children.values();
        children.map(|child| (self.source(&child.name), self.object(child)))
    }

    fn source(&self, name: &str) -> &str {
        self.generated.sources.get(name).map_or("", String::as_str)
    }

    /// The child as the operator applies it. Only a parent that comes from a cluster has a uid; without one the child
    /// carries neither the owner reference nor the digest that covers it.
    fn object(&self, child: &fleet::Child) -> Value {
        let me = parent_of(self.parent, None);
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
        payload
    }

    /// The children in their order; those that can have none are errors.
    pub fn ordered(mut self) -> Rendered {
        // Whom a generator without anything to read would name is not known, so nobody is missed.
        let names = self.generated.children.values();
        let unknown: BTreeSet<String> = match self.found.lacking {
            true => names.flat_map(|child| child.depends_on.clone()).collect(),
            false => BTreeSet::new(),
        };
        let strategy = self.parent.spec.strategy();
        let order = fleet::order(&mut self.generated, &strategy, &unknown);
        let sorted = order.sorted().into_iter();
        let children = sorted.filter_map(|(name, place)| {
            let child = self.generated.children.get(name)?;
            Some(Child {
                comment: comment(&order, place, child, self.source(name)),
                object: self.object(child),
            })
        });
        Rendered {
            children: children.collect(),
            errors: self.generated.errors.clone(),
        }
    }
}

/// `step 1 of 3, wave 0, after api; from apps[2]`
fn comment(order: &Order, place: Place, child: &fleet::Child, source: &str) -> String {
    let mut stage = stage(order, place);
    if let (Some(stage), false) = (&mut stage, child.depends_on.is_empty()) {
        stage.push_str(&format!(", after {}", child.depends_on.join(", ")));
    }
    match stage {
        Some(stage) => format!("{stage}; from {source}"),
        None => format!("from {source}"),
    }
}

/// Where the child comes; `None` if no child comes after another one.
fn stage(order: &Order, place: Place) -> Option<String> {
    order
        .is_staged()
        .then(|| stage_name(place.step + 1, order.steps, place.wave))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn render(parent: &AppOfApps) -> Rendered {
        generate(parent, &Readable::default(), &|_| Vec::new()).ordered()
    }

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

    /// The comment over each child, by name, as they are printed; and the errors.
    fn printed(spec: Value) -> (Vec<String>, Vec<String>) {
        let parent = parse(
            &json!({"apiVersion": "appofapps.dev/v1alpha1", "kind": "AppOfApps",
            "metadata": {"name": "f", "namespace": "n"}, "spec": spec}),
        )
        .unwrap();
        let rendered = render(&parent);
        let name = |child: &Child| {
            child.object["metadata"]["name"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        let children = rendered.children.iter();
        let children = children.map(|child| format!("{}: {}", name(child), child.comment));
        let errors = rendered.errors.iter().map(ToString::to_string);
        (children.collect(), errors.collect())
    }

    #[test]
    fn children_come_in_the_order_of_the_rollout_and_say_where_they_are() {
        let app = |name: &str, step: &str, wave: u32, after: &[&str]| json!({"name": name, "labels": {"step": step}, "wave": wave, "dependsOn": after});
        let apps = json!([
            app("rest", "none", 0, &[]),
            app("late", "first", 1, &[]),
            app("ui", "first", 0, &["api"]),
            app("web", "first", 0, &[]),
            app("api", "first", 0, &[]),
        ]);
        let expressions = json!([{"key": "step", "operator": "In", "values": ["first"]}]);
        let steps = json!({"steps": [{"matchExpressions": expressions}]});
        let rolling = json!({"type": "RollingSync", "rollingSync": steps});
        let (children, errors) = printed(json!({"apps": apps, "strategy": rolling}));
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(
            children,
            [
                "api: step 1 of 2, wave 0; from apps[4]",
                "web: step 1 of 2, wave 0; from apps[3]",
                "ui: step 1 of 2, wave 0, after api; from apps[2]",
                "late: step 1 of 2, wave 1; from apps[1]",
                "rest: step 2 of 2, wave 0; from apps[0]",
            ]
        );
        let (children, _) = printed(json!({"apps": [app("b", "", 1, &[]), app("a", "", 0, &[])]}));
        assert_eq!(
            children,
            ["a: wave 0; from apps[1]", "b: wave 1; from apps[0]"]
        );
        let (children, _) = printed(json!({"apps": [app("a", "", 0, &[])]}));
        assert_eq!(children, ["a: from apps[0]"]);
    }

    #[test]
    fn an_order_that_cannot_be_is_an_error_of_its_elements() {
        let rolling = json!({"type": "RollingSync", "rollingSync": {"steps": []}});
        let branch = json!({"source": {"git": {"ref": {"branch": "main"}}}});
        let apps = json!([
            {"name": "a", "dependsOn": ["b"]}, {"name": "b", "dependsOn": ["a"]},
            {"name": "c", "dependsOn": ["nobody"]}, {"name": "d", "spec": branch}, {"name": "e"},
        ]);
        let (children, errors) = printed(json!({"apps": apps, "strategy": rolling}));
        assert_eq!(children, ["e: wave 0; from apps[4]"]);
        let said = errors.join("\n");
        for part in [
            "apps[0]: dependsOn: a: a cycle: a → b → a",
            "apps[2]: dependsOn: c: \"nobody\" is no child of this parent",
            "apps[3]: spec.source.git.ref.branch: d: ",
        ] {
            assert!(said.contains(part), "{part:?} is missing in {said}");
        }
    }

    #[test]
    fn whom_a_generator_without_anything_to_read_would_make_is_not_missed() {
        let spec = json!({"generators": [{"workspaces": {}}, {"list": {"elements": [{"name": "last"}]}}],
            "template": {"metadata": {"name": "{{ name }}"}, "dependsOn": ["{{ 'prod' if name == 'last' else '' }}"]}});
        let (children, errors) = printed(spec);
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(children, ["last: from generators[1].list.elements[0]"]);
    }
}
