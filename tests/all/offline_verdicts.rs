//! `validate` says offline what the API server says: each manifest goes to both as the same text, and both must take it,
//! or refuse it for the same reason.
mod cases;
mod mutants;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use self::cases::{
    Case, FLEET, WORKSPACE, applied_only_without_nulls, bad_cases, good_cases, manifest,
};
use crate::support::DEADLINE;

const QUERY: &str = "dryRun=All&fieldValidation=Strict&fieldManager=test";

fn path(plural: &str) -> String {
    format!("/apis/appofapps.dev/v1alpha1/namespaces/default/{plural}")
}

/// Another test may restart the API server meanwhile: then it is asked again.
async fn send(
    client: &Client,
    request: impl Fn() -> http::request::Builder,
    text: &str,
) -> (http::StatusCode, String) {
    let since = std::time::Instant::now();
    loop {
        let request = request()
            .body(Body::from(text.as_bytes().to_vec()))
            .unwrap();
        match client.send(request).await {
            Ok(answer) => {
                let status = answer.status();
                let text = answer.into_body().collect_bytes().await.unwrap();
                return (status, String::from_utf8(text.to_vec()).unwrap());
            }
            Err(error) if since.elapsed() > DEADLINE => panic!("{error}"),
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
        }
    }
}

/// The answer to a dry run of a create.
async fn create(client: &Client, plural: &str, text: &str) -> (http::StatusCode, String) {
    let request = || {
        http::Request::post(format!("{}?{QUERY}", path(plural)))
            .header("content-type", "application/yaml")
    };
    send(client, request, text).await
}

/// The API server's refusals of a dry run, of a create and of a server-side apply.
async fn asked(client: &Client, case: &Case) -> Vec<Option<String>> {
    let plural = match case.kind {
        FLEET => "appofapps",
        WORKSPACE => "databricksworkspaces",
        _ => "databricksapps",
    };
    let created = create(client, plural, &case.text).await;
    let target = format!("{}/{}?{QUERY}&force=true", path(plural), case.name);
    let apply =
        || http::Request::patch(&target).header("content-type", "application/apply-patch+yaml");
    let applied = send(client, apply, &case.text).await;
    [created, applied]
        .into_iter()
        .map(|(status, text)| (!status.is_success()).then_some(text))
        .collect()
}

fn operator(arguments: &[&str], file: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_databricks-app-operator"))
        .args(arguments)
        .arg(file)
        .output()
        .unwrap()
}

/// What `validate` says, one list of messages for each document, in one run over all of them.
fn said_offline(cases: &[Case]) -> Vec<Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    for (n, case) in cases.iter().enumerate() {
        std::fs::write(folder.path().join(format!("{n:04}.yaml")), &case.text).unwrap();
    }
    let output = operator(&["validate", "-o", "json", "-f"], folder.path());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let of = |n: usize| {
        let file = format!("{n:04}.yaml");
        findings
            .iter()
            // What the operator would refuse, the API server takes.
            .filter(|f| f["judge"] != "operator" && f["child"].is_null())
            .filter(|f| f["file"].as_str().unwrap().ends_with(&file))
            .map(|f| {
                format!(
                    "{}: {}",
                    f["field"].as_str().unwrap_or_default(),
                    f["message"]
                )
            })
            .collect()
    };
    (0..cases.len()).map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_valid_offline_is_what_the_api_server_takes() {
    let test = "what_is_valid_offline_is_what_the_api_server_takes";
    let Some(cluster) = envtest::shared_cluster_or_leave_out(test).await.unwrap() else {
        return;
    };
    envtest::install(&cluster).await.unwrap();
    let client = cluster.client().await.unwrap();
    let mut cases = good_cases();
    cases.extend(bad_cases());
    cases.extend(applied_only_without_nulls());
    let offline = said_offline(&cases);
    let mut wrong = BTreeSet::new();
    for (case, said) in cases.iter().zip(&offline) {
        let mut verdicts = asked(&client, case).await;
        verdicts.push((!said.is_empty()).then(|| said.join("\n")));
        for (judge, verdict) in ["create", "apply", "validate"].iter().zip(&verdicts) {
            let expected = case.refused.filter(|_| *judge != "create" || !case.created);
            let agrees = match (expected, verdict) {
                (None, None) => true,
                (Some(words), Some(reason)) => reason.contains(words),
                (None, Some(_)) | (Some(_), None) => false,
            };
            if !agrees {
                wrong.insert(format!(
                    "{judge} says {verdict:?} where {expected:?} was expected of\n{}",
                    case.text
                ));
            }
        }
    }
    let wrong: Vec<String> = wrong.into_iter().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// What the API server says of an object, without what every refusal begins with, and what follows from it.
fn message(answer: &str) -> String {
    let status: Value = serde_json::from_str(answer).unwrap();
    let message = status["message"].as_str().unwrap();
    let said = message
        .split_once(" is invalid: ")
        .map_or(message, |(_, said)| said);
    let said = said.trim_start_matches('[').trim_end_matches(']');
    let follows = "<nil>: Invalid value: null: some validation rules were not checked";
    let said = said.split(follows).next().unwrap_or_default();
    // Several are told in no certain order.
    let said = said.trim_end_matches(", ").replace(", spec", "\nspec");
    let mut all: Vec<&str> = said
        .lines()
        .map(|line| line.trim_start_matches("<nil>: "))
        .collect();
    all.sort_unstable();
    all.join("; ")
}

/// One line of a Markdown table, with the middle of what is long left out.
fn cell(text: &str, most: usize) -> String {
    let text = text.replace('\n', " ").replace('|', "\\|");
    let length = text.chars().count();
    if length <= most {
        return text;
    }
    let start: String = text.chars().take(most / 2).collect();
    let end: String = text.chars().skip(length - most / 2).collect();
    format!("{start}…{end}")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_of_invalid_manifests_says_what_the_api_server_says() {
    let test = "the_table_of_invalid_manifests_says_what_the_api_server_says";
    let Some(cluster) = envtest::shared_cluster_or_leave_out(test).await.unwrap() else {
        return;
    };
    envtest::install(&cluster).await.unwrap();
    let client = cluster.client().await.unwrap();
    let mut table = String::from(
        "# Invalid manifests\n\nWhat the API server answers to manifests with one fault each. Written by the test that sends them \
         (`UPDATE_GOLDEN=1 cargo test --test all the_table_of_invalid_manifests`); do not edit.\n\n\
         | kind | what is written | what the API server says |\n|---|---|---|\n",
    );
    let mut rows = BTreeSet::new();
    for case in bad_cases() {
        let said = asked(&client, &case).await.into_iter().flatten().next();
        let said = message(&said.unwrap_or_else(|| panic!("nobody refuses {}", case.text)));
        let row = format!(
            "| {} | `{}` | {} |\n",
            case.kind,
            cell(&case.shown, 160),
            cell(&said, 400)
        );
        if rows.insert(row.clone()) {
            table.push_str(&row);
        }
    }
    assert!(rows.len() >= 60, "{} manifests", rows.len());
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/invalid-manifests.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, &table).unwrap();
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        committed == table,
        "docs/invalid-manifests.md is not what the API server says; UPDATE_GOLDEN=1 writes it anew:\n{table}"
    );
}

/// Texts that one reader of YAML or another takes for something else when they are not quoted.
const TRICKY: &[&str] = &[
    "yes",
    "y",
    "n",
    "off",
    "True",
    "null",
    "~",
    "",
    "010",
    "0x1f",
    "0o17",
    "1_000",
    "1e3",
    ".5",
    "-1",
    ".inf",
    ".nan",
    "2001-01-01",
    "12:30:45",
    "=",
    "<<",
    "- a",
    "a: b",
    "a #b",
    "&a",
    "*a",
    "!a",
    "%a",
    "@a",
    "`a`",
    "{a}",
    "[a]",
    "'a'",
    "\"a\"",
    " a ",
    "a\nb\n",
    "a\n\n",
    "\ta",
    "ä😀",
    "\u{7f}\u{85}",
    "?",
    "---",
    "...",
    "|",
    ">",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_reads_rendered_children_as_they_are_meant_and_judges_them_as_validate_does()
{
    let test =
        "the_api_server_reads_rendered_children_as_they_are_meant_and_judges_them_as_validate_does";
    let Some(cluster) = envtest::shared_cluster_or_leave_out(test).await.unwrap() else {
        return;
    };
    envtest::install(&cluster).await.unwrap();
    let client = cluster.client().await.unwrap();
    let mut apps: Vec<Value> = TRICKY
        .iter()
        .enumerate()
        .map(|(n, text)| json!({"name": format!("tricky-{n:02}"), "spec": {"description": text}}))
        .collect();
    apps.push(json!({"name": "bad-enum", "spec": {"lifecycle": {"state": "Asleep"}}}));
    apps.push(json!({"name": "bad-field", "spec": {"lifecicle": {}}}));
    apps.push(json!({"name": "bad-rule", "spec": {"permissions": {"grants": [{"principal": {}, "level": "CanUse"}]}}}));
    let defaults = json!({"workspaceRef": {"name": "prod"}});
    let fleet = manifest(
        FLEET,
        "fleet",
        json!({"defaults": defaults.clone(), "apps": apps}),
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fleet.yaml");
    std::fs::write(&file, fleet.to_string()).unwrap();

    // What is refused is no child that could be printed.
    let rendered = operator(&["render", "-f"], &file);
    assert_eq!(rendered.status.code(), Some(1), "{rendered:?}");
    let rendered = String::from_utf8(rendered.stdout).unwrap();
    let mut children: Vec<String> = rendered.split("---\n").skip(1).map(str::to_owned).collect();
    assert_eq!(children.len(), TRICKY.len());
    for app in &apps[TRICKY.len()..] {
        let mut spec = app["spec"].clone();
        spec["workspaceRef"] = defaults["workspaceRef"].clone();
        let name = app["name"].as_str().unwrap();
        children.push(manifest("DatabricksApp", name, spec).to_string());
    }
    let judged = operator(&["validate", "-o", "json", "-f"], &file);
    let report: Value = serde_json::from_slice(&judged.stdout).unwrap();
    let found = report["findings"].as_array().unwrap();
    let refused: BTreeSet<&str> = found
        .iter()
        .map(|f| f["child"]["name"].as_str().unwrap())
        .collect();

    let mut refused_by_server = BTreeSet::new();
    for text in children {
        let child: Value = serde_saphyr::from_str(&text).unwrap();
        let name = child["metadata"]["name"].as_str().unwrap();
        let app = apps.iter().find(|app| app["name"] == name).unwrap();
        let (status, answer) = create(&client, "databricksapps", &text).await;
        if status.is_success() {
            let answer: Value = serde_json::from_str(&answer).unwrap();
            assert_eq!(
                answer["spec"]["description"], app["spec"]["description"],
                "{text}"
            );
        } else {
            refused_by_server.insert(app["name"].as_str().unwrap());
        }
    }
    assert_eq!(refused_by_server, refused);
    assert_eq!(
        refused,
        BTreeSet::from(["bad-enum", "bad-field", "bad-rule"])
    );
}
