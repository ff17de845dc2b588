//! The samples: every manifest in them is valid, what each parent of them generates is a golden file, and all together come
//! up beside each other on a real API server.
//!
//! `UPDATE_GOLDEN=1` writes the golden files anew.
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs};

use serde_json::Value;

use crate::docs::WORKSPACE;
use crate::support::{Scene, fed, said};

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Texts by file name without its end.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let paths = entries.map(|entry| entry.path());
    let yaml = paths.filter(|path| path.extension().is_some_and(|end| end == "yaml"));
    yaml.map(|path| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (name, fs::read_to_string(path).unwrap())
    })
    .collect()
}

fn samples() -> BTreeMap<String, String> {
    files(&repository().join("config/samples"))
}

fn golden() -> PathBuf {
    repository().join("tests/all/samples")
}

fn documents(text: &str) -> Vec<Value> {
    let all: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
    all.into_iter().filter(|one| !one.is_null()).collect()
}

/// Names of the objects of that kind.
fn names(objects: &[Value], kind: &str) -> Vec<String> {
    let found = objects.iter().filter(|object| object["kind"] == kind);
    found
        .map(|object| object["metadata"]["name"].as_str().unwrap().to_owned())
        .collect()
}

fn parents() -> BTreeMap<String, String> {
    let mut samples = samples();
    samples.retain(|_, text| !names(&documents(text), "AppOfApps").is_empty());
    samples
}

/// The operator's command on `text` as standard input.
fn run(command: &str, text: &str) -> Output {
    let mut operator = Command::new(env!("CARGO_BIN_EXE_databricks-app-operator"));
    fed(operator.args([command, "-f", "-"]), text)
}

/// What `render` prints of a sample.
fn rendered(name: &str, sample: &str) -> String {
    let output = run("render", &format!("{sample}\n---{WORKSPACE}"));
    assert!(output.status.success(), "{name}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn each_sample_generates_what_its_golden_file_says() {
    let update = env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1");
    let parents = parents();
    assert!(!parents.is_empty());
    for (name, sample) in parents {
        let path = golden().join(format!("{name}.yaml"));
        let rendered = rendered(&name, &sample);
        if update {
            fs::create_dir_all(golden()).unwrap();
            fs::write(&path, &rendered).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap_or_else(|error| {
            panic!(
                "{}: {error}; UPDATE_GOLDEN=1 writes the golden files",
                path.display()
            )
        });
        assert_eq!(
            rendered, expected,
            "{name} generates something else; if that is meant, UPDATE_GOLDEN=1 writes the golden files"
        );
    }
}

#[test]
fn each_golden_file_has_its_sample() {
    let parents = parents();
    for name in files(&golden()).into_keys() {
        assert!(
            parents.contains_key(&name),
            "tests/all/samples/{name}.yaml has no config/samples/{name}.yaml; remove it"
        );
    }
}

#[test]
fn samples_can_be_applied_beside_each_other() {
    let mut owner: BTreeMap<String, String> = BTreeMap::new();
    for (name, sample) in samples() {
        let mut objects = documents(&sample);
        if !names(&objects, "AppOfApps").is_empty() {
            let children = documents(&rendered(&name, &sample));
            assert!(
                (2..=4).contains(&children.len()),
                "{name}: {} children are no sample",
                children.len()
            );
            objects.extend(children);
        }
        for object in &objects {
            let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default();
            let whose = format!("{} {}/{}", object["kind"], text("namespace"), text("name"));
            if let Some(other) = owner.insert(whose.clone(), name.clone()) {
                panic!("{whose} comes up in {other} and in {name}");
            }
        }
    }
}

/// Whoever tries all of them on one playground, whose workspace they share, meets no name twice.
#[test]
fn documents_samples_and_examples_stand_for_different_apps() {
    let mut texts = crate::docs::objects();
    for folder in ["samples", "examples/analytics/apps", "examples/fleet"] {
        let all = files(&repository().join("config").join(folder));
        texts.extend(
            all.into_iter()
                .map(|(name, text)| (format!("{folder}/{name}"), text)),
        );
    }
    let mut owners: BTreeMap<String, (String, String)> = BTreeMap::new();
    for (place, text) in texts {
        let mut objects = documents(&text);
        if !names(&objects, "AppOfApps").is_empty() {
            objects.extend(documents(&rendered(&place, &text)));
        }
        for object in objects.iter().filter(|o| o["kind"] == "DatabricksApp") {
            let (metadata, name) = (&object["metadata"], &object["spec"]["name"]);
            let own = name.as_str().or(metadata["name"].as_str()).unwrap();
            let whose = format!("{}/{}", metadata["namespace"], metadata["name"]);
            let owner = owners.entry(own.to_owned());
            let (before, there) = owner.or_insert((whose.clone(), place.clone()));
            assert_eq!(
                *before, whose,
                "app {own} comes up in {there} and in {place}"
            );
        }
    }
    assert!(owners.len() > 25, "{owners:?}");
}

#[test]
fn samples_and_their_children_are_valid() {
    for (name, sample) in samples() {
        if names(&documents(&sample), "AppOfApps").is_empty()
            && names(&documents(&sample), "DatabricksApp").is_empty()
        {
            continue;
        }
        let output = run("validate", &format!("{sample}\n---{WORKSPACE}"));
        assert!(output.status.success(), "{name}: {}", said(&output));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_samples_come_up_together() {
    let Some(scene) = Scene::start("all_samples_come_up_together").await else {
        return;
    };
    // The scene's namespace and Workspace stand in for the playground's.
    let placed = |text: &str| {
        let text = text.replace(
            "namespace: default",
            &format!("namespace: {}", scene.namespace),
        );
        text.replace("playground", "prod")
    };
    let workspace = placed(WORKSPACE);
    let mut children = BTreeSet::new();
    let mut parents = Vec::new();
    for (name, sample) in samples() {
        let sample = placed(&sample);
        let objects = documents(&sample);
        let here = names(&objects, "AppOfApps");
        children.extend(names(&objects, "DatabricksApp"));
        if !here.is_empty() {
            let output = run("render", &format!("{sample}\n---{workspace}"));
            assert!(output.status.success(), "{name}: {}", said(&output));
            let printed = String::from_utf8(output.stdout).unwrap();
            children.extend(names(&documents(&printed), "DatabricksApp"));
        }
        parents.extend(here);
        scene.apply(&sample).await;
    }
    for parent in &parents {
        scene
            .wait("AppOfApps", parent, "Ready", "True/Succeeded")
            .await;
    }
    let apps = scene.list("DatabricksApp").await;
    let there: BTreeSet<String> = names(&apps, "DatabricksApp").into_iter().collect();
    assert_eq!(there, children);
    scene.end().await;
}
