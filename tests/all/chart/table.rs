//! The table of values in the chart's README: made of values.yaml, every value in it.
use std::path::Path;

use serde_json::Value;

use super::chart;

const INTRODUCTION: &str = "\
# databricks-app-operator

Declare, roll out and repair Databricks Apps from Git with Kubernetes 1.33 or newer. How to install, upgrade and uninstall:
[docs/install.md](../../docs/install.md), [docs/upgrade.md](../../docs/upgrade.md),
[docs/uninstall.md](../../docs/uninstall.md); what each right is for: [docs/rbac.md](../../docs/rbac.md).

## Values

Made of the comments in values.yaml by a test (`UPDATE_GOLDEN=1 cargo test --test all chart::table`); do not edit.

| value | default | meaning |
|---|---|---|
";

/// Path and comment of every key that has one, in their order.
fn documented(values: &str) -> Vec<(String, String)> {
    let mut parents: Vec<(usize, &str)> = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    let mut found = Vec::new();
    for line in values.lines() {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if let Some(said) = text.strip_prefix("# ") {
            comment.push(said);
            continue;
        }
        let key = text.split_once(':').map(|(key, _)| key);
        let key = key.filter(|key| key.chars().all(char::is_alphanumeric));
        if let Some(key) = key {
            while parents.last().is_some_and(|(at, _)| *at >= indent) {
                parents.pop();
            }
            parents.push((indent, key));
            if !comment.is_empty() {
                let path: Vec<&str> = parents.iter().map(|(_, key)| *key).collect();
                found.push((path.join("."), comment.join(" ")));
            }
        }
        comment.clear();
    }
    found
}

/// Paths of everything that is no map with keys of its own.
fn leaves(prefix: &str, value: &Value, out: &mut Vec<String>) {
    match value.as_object().filter(|map| !map.is_empty()) {
        None => out.push(prefix.to_owned()),
        Some(map) => {
            for (key, value) in map {
                let path = format!("{prefix}.{key}");
                leaves(path.trim_start_matches('.'), value, out);
            }
        }
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn defaults() -> (String, Value) {
    let text = read(&chart().join("values.yaml"));
    let parsed = serde_saphyr::from_str(&text).unwrap();
    (text, parsed)
}

#[test]
fn every_value_is_in_the_table_with_its_default() {
    let (text, parsed) = defaults();
    let mut table = INTRODUCTION.to_owned();
    for (path, meaning) in documented(&text) {
        let value = parsed
            .pointer(&format!("/{}", path.replace('.', "/")))
            .unwrap();
        let value = value.to_string().replace('|', "\\|");
        table += &format!(
            "| `{path}` | `{value}` | {} |\n",
            meaning.replace('|', "\\|")
        );
    }
    let path = chart().join("README.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &table).unwrap();
    }
    let update = "UPDATE_GOLDEN=1 cargo test --test all chart::table";
    assert!(
        read(&path) == table,
        "the chart's README.md is out of date: {update}"
    );
}

#[test]
fn every_value_has_a_comment_that_says_what_it_does() {
    let (text, parsed) = defaults();
    let documented = documented(&text);
    let mut all = Vec::new();
    leaves("", &parsed, &mut all);
    for leaf in all {
        let told =
            |(path, _): &(String, String)| leaf == *path || leaf.starts_with(&format!("{path}."));
        assert!(
            documented.iter().any(told),
            "{leaf} has no comment in values.yaml"
        );
    }
}

#[test]
fn every_value_that_the_schema_knows_has_a_default() {
    let schema: Value = serde_json::from_str(&read(&chart().join("values.schema.json"))).unwrap();
    let (_, parsed) = defaults();
    // A name of the past; what Helm adds for a parent chart; settings that Kubernetes has defaults for.
    let without = ["crds.install", "global", "resources.claims", "probes."];
    fn check(prefix: &str, schema: &Value, defaults: &Value, without: &[&str]) {
        for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{prefix}.{key}");
            let path = path.trim_start_matches('.');
            if !without.iter().any(|known| path.starts_with(known)) {
                assert!(
                    !defaults[key].is_null(),
                    "{path} has no default in values.yaml"
                );
                check(path, schema, &defaults[key], without);
            }
        }
    }
    check("", &schema, &parsed, &without);
    // The other way round, Helm checks: `additionalProperties` is false.
    assert_eq!(schema["additionalProperties"], false);
}
