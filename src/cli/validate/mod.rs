//! `validate`: what the API server and the operator would refuse, said before anything is applied.
mod twice;

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use serde_json::Value;
use url::Url;

use self::twice::Seen;
use super::hosts::Hosts;
use super::input::{self, Files, Input, Manifest, Origin};
use super::output::{self, Output};
use super::readable::Readable;
use super::{PROBLEMS, count, render};
use crate::admission::{self, Admission, Field, Judge, Objection};
use crate::api::{API_VERSION, annotation};
use crate::databricks::HostPolicy;
use crate::kinds;

/// Options of `validate`.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    hosts: Hosts,
}

/// Why manifests could not be judged.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Admission(#[from] admission::Error),
    #[error(transparent)]
    Output(#[from] output::Error),
    #[error(
        "nothing to judge: the input holds no object of {API_VERSION}; name the files that do, or render them first and give what comes out with -f - (kustomize build DIR, helm template CHART)"
    )]
    Nothing,
}

/// One thing that is wrong with one object, or with a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// `-` for standard input
    pub file: String,
    /// From 1
    pub document: Option<usize>,
    /// From 1; of the field, or else of what should hold it
    pub line: Option<u64>,
    pub object: Option<ObjectRef>,
    /// The object that a parent would generate, if it is this one's fault
    pub child: Option<ObjectRef>,
    /// In the child, if there is one
    pub field: Option<String>,
    pub message: String,
    /// None: the file cannot be read
    pub judge: Option<Judge>,
}

/// An object by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ObjectRef {
    pub kind: String,
    pub namespace: Option<String>,
    pub name: String,
}

impl ObjectRef {
    fn of(object: &Value) -> Self {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Self {
            kind: text(&object["kind"]).unwrap_or_default(),
            namespace: text(&object["metadata"]["namespace"]),
            name: text(&object["metadata"]["name"]).unwrap_or_default(),
        }
    }
}

/// Everything that was found, in the order of the input.
#[derive(Debug, Serialize)]
struct Report {
    /// Objects that were judged
    objects: usize,
    /// Objects that parents would generate, and that were judged too
    children: usize,
    findings: Vec<Finding>,
    /// What could not be judged for lack of something to read
    #[serde(skip)]
    notes: Vec<String>,
}

/// Prints what is wrong; exit code 1 if anything is.
pub fn run(options: Options) -> Result<ExitCode, Error> {
    let admission = Admission::new(kinds::crds())?;
    let policy = options.hosts.policy();
    let input = input::read(&options.files);
    let unread = input.foreign.iter().filter(|o| !Readable::is_one(o));
    input::note_passed_over(unread.count());
    let report = judge(&admission, &policy, &input);
    if report.objects == 0 && report.findings.is_empty() {
        return Err(Error::Nothing);
    }
    for note in &report.notes {
        eprintln!("{note}");
    }
    options.output.print(&report, |report| Ok(people(report)))?;
    Ok(if report.findings.is_empty() {
        ExitCode::SUCCESS
    } else {
        PROBLEMS.into()
    })
}

fn people(report: &Report) -> String {
    let mut text: String = report.findings.iter().map(|f| line(f) + "\n").collect();
    let mut objects = count(report.objects, "object", "objects");
    if report.children > 0 {
        let children = count(report.children, "child", "children");
        objects = format!("{objects} and {children}");
    }
    text += &match report.findings.len() {
        0 => format!("{objects} valid\n"),
        n => format!("{} in {objects}\n", count(n, "problem", "problems")),
    };
    text
}

/// `FILE:LINE: Kind namespace/name: spec.foo[2].bar: message`.
fn line(finding: &Finding) -> String {
    if finding.judge.is_none() {
        // The message of a file that cannot be read names it.
        return finding.message.clone();
    }
    let file = &finding.file;
    let mut parts = vec![match (finding.line, finding.document) {
        (Some(line), _) => format!("{file}:{line}"),
        (None, Some(document)) => format!("{file}, document {document}"),
        (None, None) => file.clone(),
    }];
    if let Some(object) = &finding.object {
        parts.push(input::title(
            &object.kind,
            object.namespace.as_deref(),
            &object.name,
        ));
    }
    if let Some(child) = &finding.child {
        parts.push(format!(
            "child {}",
            input::title(&child.kind, None, &child.name)
        ));
    }
    parts.extend(finding.field.clone().filter(|field| !field.is_empty()));
    parts.push(finding.message.clone());
    parts.join(": ")
}

/// Judges the input: files that cannot be read, objects, and the children that parents would generate.
fn judge(admission: &Admission, policy: &HostPolicy, input: &Input) -> Report {
    let unreadable = input.errors.iter().map(|error| Finding {
        file: error.file().to_owned(),
        document: error.origin().map(|at| at.document),
        line: error.origin().and_then(|at| at.line),
        object: None,
        child: None,
        field: None,
        message: error.to_string(),
        judge: None,
    });
    let mut report = Report {
        objects: input.manifests.len(),
        children: 0,
        findings: unreadable.collect(),
        notes: Vec::new(),
    };
    // What of these is not as it should be is found below, or refused by whoever else reads it.
    let (readable, _) = Readable::of(input, "");
    let mut seen = Seen::default();
    for manifest in &input.manifests {
        let mut objections = admission.judge(&manifest.object);
        let refused = !objections.is_empty();
        if manifest.kind == "DatabricksWorkspace" {
            objections.extend(host(policy, &manifest.object));
        }
        objections.extend(annotations(manifest));
        let here = manifest.origin.to_string();
        objections.extend(seen.meet(&manifest.kind, &manifest.object, &here));
        for objection in objections {
            let place = manifest.place(&objection.field);
            let found = finding(manifest, place, None, objection);
            report.findings.push(found);
        }
        // What the API server refuses never comes to have children.
        if manifest.kind == "AppOfApps" && !refused {
            children(admission, manifest, &readable, &mut seen, &mut report);
        }
    }
    report
}

fn finding(
    manifest: &Manifest,
    place: Origin,
    child: Option<ObjectRef>,
    objection: Objection,
) -> Finding {
    Finding {
        file: place.file,
        document: Some(place.document),
        line: place.line,
        object: Some(ObjectRef::of(&manifest.object)),
        child,
        field: Some(objection.field.to_string()),
        message: objection.message,
        judge: Some(objection.judge),
    }
}

/// Annotations of ours that the operator would not understand, or that say nothing.
fn annotations(manifest: &Manifest) -> Vec<Objection> {
    let metadata = &manifest.object["metadata"];
    let all = metadata["annotations"].as_object().into_iter().flatten();
    let all: BTreeMap<String, String> = all
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect();
    let uid = metadata["uid"].as_str();
    let objection = |key: &str, message| {
        let field = Field::new("metadata").key("annotations").key(key);
        Objection::by_operator(field, message)
    };
    let misread = annotation::misread(&manifest.kind, &all, uid);
    let misread = misread.iter().map(|m| objection(m.key, m.fault()));
    let idle = annotation::idle(&manifest.kind, &all);
    let idle = idle.iter().map(|idle| objection(&idle.key, idle.fault()));
    misread.chain(idle).collect()
}

/// Whether the operator would send credentials to the host of a DatabricksWorkspace.
fn host(policy: &HostPolicy, object: &Value) -> Option<Objection> {
    let host = object["spec"]["host"].as_str()?;
    let message = match Url::parse(host) {
        Ok(url) => policy.check(&url).err()?.to_string(),
        Err(error) => {
            format!("{host:?} is no URL: {error}; write it like https://NAME.cloud.databricks.com")
        }
    };
    Some(Objection::by_operator(Field::new("spec.host"), message))
}

fn children(
    admission: &Admission,
    manifest: &Manifest,
    readable: &Readable,
    seen: &mut Seen,
    report: &mut Report,
) {
    let mut find = |at: &Field, child, objection| {
        let found = finding(manifest, manifest.place(at), child, objection);
        report.findings.push(found);
    };
    let parent = match render::parse(&manifest.object) {
        Ok(parent) => parent,
        Err(error) => {
            let field = Field::default().below(error.path());
            let objection = Objection::by_operator(field.clone(), error.inner().to_string());
            find(&field, None, objection);
            return;
        }
    };
    // Judged below, where everything that is wrong with a child is told, and not only the first.
    let draft = render::generate(&parent, readable, &|_| Vec::new());
    let spec = Field::new("spec");
    let mut number = 0;
    for (source, object) in draft.objects() {
        number += 1;
        let mut objections = admission.judge(&object);
        let kind = object["kind"].as_str().unwrap_or_default();
        let place = manifest.place(&spec.join(source)).to_string();
        objections.extend(seen.meet(kind, &object, &place));
        for objection in objections {
            let name = Some(ObjectRef::of(&object));
            find(&spec.join(source), name, objection);
        }
    }
    let notes = draft.notes(manifest);
    for error in draft.ordered().errors {
        let field = spec.join(&error.element);
        let message = format!("{}: {}", error.field, error.message);
        find(&field, None, Objection::by_operator(field.clone(), message));
    }
    report.notes.extend(notes);
    report.children += number;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const HEAD: &str = "apiVersion: appofapps.dev/v1alpha1\nkind: ";

    fn lines(text: &str) -> Vec<String> {
        let admission = Admission::new(kinds::crds()).unwrap();
        let input = input::read_text("x.yaml", text);
        judge(&admission, &HostPolicy::default(), &input)
            .findings
            .iter()
            .map(line)
            .collect()
    }

    #[test]
    fn every_schema_of_ours_can_be_judged() {
        Admission::new(kinds::crds()).unwrap();
    }

    #[test]
    fn a_good_manifest_of_each_kind_passes() {
        let text = format!(
            "{HEAD}DatabricksWorkspace
metadata: {{name: prod, namespace: apps}}
spec:
  host: https://adb-1.2.azuredatabricks.net
  auth: {{token: {{secretRef: {{name: prod, key: token}}}}}}
  allowedNamespaces: {{from: Selector, selector: {{matchLabels: {{team: a}}}}}}
---
{HEAD}DatabricksApp
metadata: {{name: sales, namespace: apps}}
spec:
  workspaceRef: {{name: prod}}
  permissions: {{grants: [{{principal: {{group: users}}, level: CanUse}}]}}
---
{HEAD}AppOfApps
metadata: {{name: fleet, namespace: apps}}
spec:
  apps: [{{name: one, spec: {{workspaceRef: {{name: prod}}}}}}]
"
        );
        assert_eq!(lines(&text), Vec::<String>::new());
    }

    #[test]
    fn a_finding_names_file_line_object_and_field() {
        let text = format!(
            "{HEAD}DatabricksApp
metadata: {{name: sales, namespace: apps}}
spec:
  workspaceRef: {{name: prod}}
  permissions:
    grants:
    - {{principal: {{}}, level: CanUse}}
    - {{principal: {{group: a}}, level: Owner}}
"
        );
        let said = lines(&text);
        assert!(
            said[0].starts_with(
                "x.yaml:9: DatabricksApp apps/sales: spec.permissions.grants[1].level: \"Owner\" is none of"
            ),
            "{said:?}"
        );
        assert!(
            said[1].starts_with("x.yaml:8: DatabricksApp apps/sales: spec.permissions.grants[0].principal: a principal takes exactly one of"),
            "{said:?}"
        );
    }

    #[test]
    fn an_object_that_could_not_be_an_app_is_refused_by_its_name() {
        let text = format!(
            "{HEAD}DatabricksApp\nmetadata: {{name: x}}\nspec: {{workspaceRef: {{name: prod}}}}\n"
        );
        assert!(
            lines(&text)[0].contains("set spec.name"),
            "{:?}",
            lines(&text)
        );
    }

    #[test]
    fn children_are_judged_as_what_they_would_become() {
        let text = format!(
            "{HEAD}AppOfApps
metadata: {{name: fleet, namespace: apps}}
spec:
  defaults: {{workspaceRef: {{name: prod}}}}
  template:
    metadata: {{name: \"{{{{ team }}}}-app\"}}
    spec: {{lifecycle: {{state: \"{{{{ state }}}}\"}}}}
  generators:
  - list:
      elements:
      - {{team: good, state: Running}}
      - {{team: bad, state: Asleep}}
      - {{team: none}}
"
        );
        let said = lines(&text);
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[1].starts_with("x.yaml:14: AppOfApps apps/fleet: spec.generators[0].list.elements[2]: spec.lifecycle.state"), "{said:?}");
        assert!(
            said[0].contains(
                "x.yaml:13: AppOfApps apps/fleet: child DatabricksApp bad-app: spec.lifecycle.state: \"Asleep\""
            ),
            "{said:?}"
        );
    }

    #[test]
    fn elements_of_live_generators_are_judged_by_what_stands_in_for_them() {
        let fleet = format!(
            "{HEAD}AppOfApps
metadata: {{name: fleet, namespace: apps}}
spec:
  generators:
  - configMaps: {{selector: {{matchLabels: {{a: b}}}}, key: apps.yaml}}
  template:
    metadata: {{name: \"{{{{ team }}}}\"}}
    dependsOn: [\"{{{{ after | default('') }}}}\"]
    spec: {{workspaceRef: {{name: prod}}}}
"
        );
        let notes = |text: &str| {
            let admission = Admission::new(kinds::crds()).unwrap();
            let input = input::read_text("x.yaml", text);
            judge(&admission, &HostPolicy::default(), &input).notes
        };
        assert_eq!(lines(&fleet), Vec::<String>::new());
        let said = notes(&fleet);
        assert!(
            said[0].starts_with(
                "note: AppOfApps apps/fleet: spec.generators[0].configMaps: no ConfigMap"
            ),
            "{said:?}"
        );
        let text = format!(
            "{fleet}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m, namespace: apps, labels: {{a: b, appofapps.dev/generator: ''}}}}\ndata: {{apps.yaml: '[{{team: app, after: c}}, {{team: BAD}}, {{}}]'}}\n"
        );
        let said = lines(&text);
        assert!(notes(&text).is_empty());
        assert_eq!(said.len(), 3, "{said:?}");
        let at = "x.yaml:6: AppOfApps apps/fleet: spec.generators[0].configMaps[m]";
        assert!(
            said[0].starts_with(&format!("{at}[1]: metadata.name: \"BAD\"")),
            "{said:?}"
        );
        assert!(
            said[1].starts_with(&format!("{at}[2]: metadata.name")),
            "{said:?}"
        );
        assert!(
            said[2].starts_with(&format!("{at}[0]: dependsOn: app: \"c\" is no child")),
            "{said:?}"
        );
    }

    #[test]
    fn an_object_that_is_there_twice_is_refused_with_the_place_of_the_first() {
        let one = |kind: &str, metadata: &str| {
            format!("{HEAD}{kind}\nmetadata: {metadata}\nspec: {{workspaceRef: {{name: prod}}}}\n")
        };
        let app = |metadata: &str| one("DatabricksApp", metadata);
        let (a, b) = (
            app("{name: sales, namespace: a}"),
            app("{name: sales, namespace: b}"),
        );
        assert_eq!(lines(&format!("{a}---\n{b}")), Vec::<String>::new());
        let said = lines(&format!("{a}---\n{b}---\n{a}"));
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(
            said[0].starts_with(
                "x.yaml:13: DatabricksApp a/sales: metadata.name: the same object is also at x.yaml:1,"
            ),
            "{said:?}"
        );
    }

    #[test]
    fn two_objects_for_one_app_are_refused_as_the_operator_refuses_them() {
        let app = |name: &str, namespace: &str, spec: &str| {
            format!(
                "---\n{HEAD}DatabricksApp\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
            )
        };
        let first = app("sales", "apps", "{workspaceRef: {name: prod}}");
        let elsewhere = "{workspaceRef: {name: prod, namespace: apps}, name: sales}";
        let fleet = format!(
            "---\n{HEAD}AppOfApps\nmetadata: {{name: fleet, namespace: apps}}\nspec:\n  apps:\n  - {{name: other, spec: {{workspaceRef: {{name: prod}}, name: sales}}}}\n"
        );
        let said = lines(&format!("{first}{}{fleet}", app("mine", "team", elsewhere)));
        let other = "DatabricksApp apps/sales at x.yaml:2 declares the same app \"sales\" of DatabricksWorkspace apps/prod; change one of the two names";
        assert_eq!(
            said,
            [
                format!("x.yaml:10: DatabricksApp team/mine: spec.name: {other}"),
                format!(
                    "x.yaml:17: AppOfApps apps/fleet: child DatabricksApp other: spec.name: {other}"
                ),
            ]
        );
        // Another workspace, or another name there.
        for spec in [
            "{workspaceRef: {name: prod}, name: sales}",
            "{workspaceRef: {name: prod, namespace: apps}}",
        ] {
            let text = format!("{first}{}", app("mine", "team", spec));
            assert_eq!(lines(&text), Vec::<String>::new(), "{spec}");
        }
    }

    #[test]
    fn a_host_that_the_operator_would_not_call_is_refused() {
        let workspace = |host: &str| {
            lines(&format!(
                "{HEAD}DatabricksWorkspace\nmetadata: {{name: w}}\nspec:\n  host: {host}\n  auth: {{token: {{secretRef: {{name: a, key: b}}}}}}\n"
            ))
        };
        assert!(workspace("not a url")[0].contains("host is the URL of a workspace"));
        assert!(workspace("https://db.example.com")[0].contains("--allowed-hosts"));
        assert!(workspace("https://x.cloud.databricks.com").is_empty());
    }

    #[test]
    fn annotations_that_nobody_understands_and_those_that_say_nothing_are_found() {
        let said = lines(&format!(
            "{HEAD}DatabricksApp
metadata:
  name: sales
  annotations:
    appofapps.dev/paused: 'yes'
    appofapps.dev/pause: 'true'
    appofapps.dev/run-state: Stopped
spec: {{workspaceRef: {{name: prod}}}}
"
        ));
        assert_eq!(said.len(), 2, "{said:?}");
        let (at, field) = ("x.yaml:6: DatabricksApp sales", "metadata.annotations");
        assert_eq!(
            said[0],
            format!(
                "{at}: {field}[appofapps.dev/paused]: \"yes\" is not understood; allowed is \"true\" or \"false\"; correct it, or remove the annotation"
            )
        );
        assert!(
            said[1].contains("[appofapps.dev/pause]: is not known to this version"),
            "{said:?}"
        );
    }

    #[test]
    fn a_file_that_cannot_be_read_is_a_finding_beside_those_of_the_others() {
        let said = lines(&format!(
            "{HEAD}DatabricksApp\nmetadata: {{name: sales}}\nspec: {{}}\n---\nspec: [\n"
        ));
        assert!(said[0].contains("x.yaml:"), "{said:?}");
        assert!(
            said[1].contains("spec.workspaceRef: is required"),
            "{said:?}"
        );
    }

    #[test]
    fn the_last_line_counts() {
        let report = |children| {
            people(&Report {
                objects: 1,
                children,
                findings: Vec::new(),
                notes: Vec::new(),
            })
        };
        assert_eq!(report(0), "1 object valid\n");
        assert_eq!(report(2), "1 object and 2 children valid\n");
    }
}
