//! `validate` says offline what the API server says: each manifest goes to both as the same text, and both must take it,
//! or refuse it for the same reason.
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use crate::bad_input::{refused_by_the_schema, with};
use crate::support::running_app;

const APP: &str = "DatabricksApp";
const WORKSPACE: &str = "DatabricksWorkspace";
const FLEET: &str = "AppOfApps";

/// A manifest, and words that whoever refuses it has to use; none for a good one.
struct Case {
    kind: &'static str,
    name: String,
    text: String,
    refused: Option<&'static str>,
    /// Whether a create takes it all the same: it drops nulls, which server-side apply refuses.
    created: bool,
}

fn manifest(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "appofapps.dev/v1alpha1", "kind": kind,
        "metadata": {"name": name, "namespace": "default"}, "spec": spec})
}

fn case(object: &Value, refused: Option<&'static str>) -> Case {
    let kind = match object["kind"].as_str().unwrap() {
        "AppOfApps" => FLEET,
        "DatabricksWorkspace" => WORKSPACE,
        _ => APP,
    };
    Case {
        kind,
        name: object["metadata"]["name"].as_str().unwrap().into(),
        text: object.to_string(),
        refused,
        created: refused.is_none(),
    }
}

fn good(object: Value) -> Case {
    case(&object, None)
}

fn bad(object: Value, words: &'static str) -> Case {
    case(&object, Some(words))
}

fn app(changes: Value) -> Value {
    manifest(APP, "sales", with(changes))
}

fn workspace(changes: Value) -> Value {
    let mut spec = json!({"host": "https://x.cloud.databricks.com",
        "auth": {"token": {"secretRef": {"name": "prod", "key": "token"}}}});
    for (field, value) in changes.as_object().unwrap() {
        spec[field] = value.clone();
    }
    manifest(WORKSPACE, "prod", spec)
}

/// An app with one more member somewhere, named by a JSON pointer.
fn set(pointer: &str, value: Value) -> Value {
    let (holder, key) = pointer.rsplit_once('/').unwrap();
    let mut object = app(json!({}));
    object.pointer_mut(holder).unwrap()[key] = value;
    object
}

/// An app as YAML, with a line of its spec as it is written.
fn yaml(line: &str, refused: Option<&'static str>) -> Case {
    Case {
        kind: APP,
        name: "sales".into(),
        text: format!(
            "apiVersion: appofapps.dev/v1alpha1\nkind: {APP}\nmetadata: {{name: sales, namespace: default}}\nspec:\n  workspaceRef: {{name: prod}}\n  {line}\n"
        ),
        refused,
        created: refused.is_none(),
    }
}

fn good_cases() -> Vec<Case> {
    let resource =
        |n: usize| json!({"name": format!("r{n}"), "job": {"id": "1", "permission": "CanView"}});
    let many: Vec<Value> = (0..20).map(resource).collect();
    let template =
        json!({"metadata": {"name": "{{ team }}"}, "spec": {"anything": {"goes": [1, null]}}});
    let generators = json!([{"list": {"elements": [{"team": "a", "n": 1}]}}]);
    let long = "n".repeat(63);
    vec![
        good(app(json!({}))),
        good(app(json!({"suspend": null, "permissions": {}}))),
        good(app(
            json!({"description": "ä".repeat(1024), "resources": many}),
        )),
        good(app(
            json!({"name": "sales-2", "lifecycle": {}, "userAuthorization": {"scopes": []}}),
        )),
        good(set(
            "/metadata/labels",
            json!({"example.com/team": "a.b", "x": ""}),
        )),
        good(set(
            "/metadata/annotations",
            json!({"Example.com/Note": "a b"}),
        )),
        good(set("/status", json!({"observedGeneration": 1}))),
        good(workspace(json!({}))),
        good(workspace(
            json!({"limits": {"burst": 10.0, "requestsPerSecond": 1000}}),
        )),
        good(workspace(
            json!({"limits": null, "observe": {"interval": "1m30s"}}),
        )),
        good(workspace(
            json!({"allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"a": "b"}}}}),
        )),
        good(workspace(json!({"allowedNamespaces": {}}))),
        good(manifest(FLEET, &long, json!({"apps": []}))),
        good(manifest(
            FLEET,
            "fleet",
            json!({"generators": generators, "template": template}),
        )),
        good(manifest(
            FLEET,
            "fleet",
            json!({"apps": [{"name": "a"}], "prune": {"maxDeletions": "100%"}}),
        )),
        yaml("description: \"yes\"", None),
        yaml("description: 2001-01-01", None),
        yaml("description: 12:30:45", None),
        yaml("description: 0o17x", None),
        yaml("description: |\n    two\n    lines", None),
        yaml("suspend: yes", None),
        yaml("suspend: Off", None),
        yaml("compute: &c {size: Large}", None),
    ]
}

fn bad_cases() -> Vec<Case> {
    let resource =
        |n: usize| json!({"name": format!("r{n}"), "job": {"id": "1", "permission": "CanView"}});
    let many: Vec<Value> = (0..21).map(resource).collect();
    let env = |entries: Value| app(json!({"deployment": {"env": entries}}));
    let limits = |limits: Value| workspace(json!({"limits": limits}));
    let mut no_spec = app(json!({}));
    no_spec.as_object_mut().unwrap().remove("spec");
    let mut cases: Vec<Case> = refused_by_the_schema()
        .into_iter()
        .map(|(kind, name, spec, words)| bad(manifest(kind, name, spec), words))
        .collect();
    cases.extend([
        // Fields that do not exist, and such that should.
        bad(set("/specs", json!({})), "specs"),
        bad(set("/metadata/label", json!({})), "metadata.label"),
        bad(
            set("/spec/compute", json!({"sise": "Large"})),
            "spec.compute.sise",
        ),
        bad(
            set("/spec/permissions/grants/0/until", json!("x")),
            "spec.permissions.grants[0].until",
        ),
        bad(set("/status", json!({"observed": 1})), "status.observed"),
        bad(no_spec, "spec"),
        bad(app(json!({"workspaceRef": {}})), "spec.workspaceRef.name"),
        bad(app(json!({"workspaceRef": null})), "spec.workspaceRef"),
        bad(
            app(json!({"source": {"workspace": {}}})),
            "spec.source.workspace.path",
        ),
        // Types.
        bad(set("/spec", json!([])), "spec"),
        bad(app(json!({"description": 5})), "description"),
        bad(app(json!({"suspend": "true"})), "suspend"),
        bad(app(json!({"permissions": {"grants": {}}})), "grants"),
        bad(
            app(json!({"deployment": {"command": ["a", null]}})),
            "spec.deployment.command[1]",
        ),
        bad(limits(json!({"burst": "10"})), "burst"),
        bad(limits(json!({"burst": 2.5})), "burst"),
        // Values.
        bad(
            app(json!({"compute": {"size": "Huge"}})),
            "spec.compute.size",
        ),
        bad(app(json!({"compute": {"size": ""}})), "spec.compute.size"),
        bad(
            app(json!({"source": {"workspace": {"path": "relative"}}})),
            "spec.source.workspace.path",
        ),
        bad(
            app(json!({"description": "ä".repeat(1025)})),
            "spec.description",
        ),
        bad(
            app(json!({"workspaceRef": {"name": ""}})),
            "spec.workspaceRef.name",
        ),
        bad(app(json!({"resources": many})), "spec.resources"),
        bad(
            app(json!({"deployment": {"command": vec!["x"; 65]}})),
            "spec.deployment.command",
        ),
        bad(limits(json!({"burst": 0})), "spec.limits.burst"),
        bad(
            limits(json!({"requestsPerSecond": 1001})),
            "spec.limits.requestsPerSecond",
        ),
        bad(
            workspace(json!({"observe": {"interval": "soon"}})),
            "spec.observe.interval",
        ),
        bad(
            manifest(
                FLEET,
                "fleet",
                json!({"apps": [], "prune": {"maxDeletions": "101%"}}),
            ),
            "spec.prune.maxDeletions",
        ),
        // Keys that come twice.
        bad(
            app(json!({"resources": [resource(1), resource(1)]})),
            "spec.resources",
        ),
        bad(
            env(json!([{"name": "A", "value": "1"}, {"name": "A", "value": "2"}])),
            "spec.deployment.env",
        ),
        bad(
            manifest(
                FLEET,
                "fleet",
                json!({"apps": [{"name": "a"}, {"name": "a"}]}),
            ),
            "spec.apps",
        ),
        yaml("description: a\n  description: b", Some("description")),
        // Rules.
        bad(
            env(json!([{"name": "A"}])),
            "exactly one of value, valueFrom",
        ),
        bad(
            env(json!([{"name": "A", "value": "", "valueFrom": {"resource": "r"}}])),
            "exactly one of value, valueFrom",
        ),
        bad(
            workspace(json!({"allowedNamespaces": {"selector": {}}})),
            "goes with from: Selector",
        ),
        bad(
            workspace(json!({"allowedNamespaces": {"from": "Selector"}})),
            "goes with from: Selector",
        ),
        bad(
            manifest(FLEET, &"n".repeat(64), json!({"apps": []})),
            "at most 63 characters",
        ),
        bad(
            manifest(FLEET, "fleet", json!({"generators": [], "apps": []})),
            "exactly one of them",
        ),
        bad(
            manifest(
                FLEET,
                "fleet",
                json!({"generators": [{"list": {"elements": []}}]}),
            ),
            "go together",
        ),
        bad(
            manifest(
                FLEET,
                "fleet",
                json!({"generators": [{}], "template": {"metadata": {"name": "a"}}}),
            ),
            "exactly one of: list",
        ),
        // Metadata.
        bad(
            set("/metadata/labels", json!({"team": "a b"})),
            "metadata.labels",
        ),
        bad(
            set("/metadata/labels", json!({"a b": ""})),
            "metadata.labels",
        ),
        bad(set("/metadata/labels", json!({"team": 1})), "labels"),
        bad(
            set("/metadata/annotations", json!({"a b": ""})),
            "metadata.annotations",
        ),
        bad(manifest(APP, "Sales", running_app()), "metadata.name"),
        // Scalars whose type depends on who reads the YAML.
        yaml("description: yes", Some("description")),
        yaml("description: y", Some("description")),
        yaml("description: n", Some("description")),
        yaml("description: 010", Some("description")),
        yaml("description: 1_000", Some("description")),
        yaml("description: 1e3", Some("description")),
        yaml("description: 0x1f", Some("description")),
        yaml("description: .5", Some("description")),
        yaml("suspend: \"yes\"", Some("suspend")),
    ]);
    cases
}

fn applied_only_without_nulls() -> Vec<Case> {
    let mut cases = vec![
        yaml("description: ~", Some("spec.description")),
        bad(app(json!({"compute": {"size": null}})), "spec.compute.size"),
    ];
    cases.iter_mut().for_each(|case| case.created = true);
    cases
}

const QUERY: &str = "dryRun=All&fieldValidation=Strict&fieldManager=test";

fn path(plural: &str) -> String {
    format!("/apis/appofapps.dev/v1alpha1/namespaces/default/{plural}")
}

async fn send(
    client: &Client,
    request: http::request::Builder,
    text: &str,
) -> (http::StatusCode, String) {
    let request = request.body(Body::from(text.as_bytes().to_vec())).unwrap();
    let answer = client.send(request).await.unwrap();
    let status = answer.status();
    let text = answer.into_body().collect_bytes().await.unwrap();
    (status, String::from_utf8(text.to_vec()).unwrap())
}

/// The answer to a dry run of a create.
async fn create(client: &Client, plural: &str, text: &str) -> (http::StatusCode, String) {
    let request = http::Request::post(format!("{}?{QUERY}", path(plural)))
        .header("content-type", "application/yaml");
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
    let apply = http::Request::patch(target).header("content-type", "application/apply-patch+yaml");
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
    envtest::install(cluster).await.unwrap();
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
    envtest::install(cluster).await.unwrap();
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
    let fleet = manifest(FLEET, "fleet", json!({"defaults": defaults, "apps": apps}));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fleet.yaml");
    std::fs::write(&file, fleet.to_string()).unwrap();

    let rendered = operator(&["render", "-f"], &file);
    assert!(rendered.status.success(), "{rendered:?}");
    let rendered = String::from_utf8(rendered.stdout).unwrap();
    let children: Vec<&str> = rendered.split("---\napiVersion").skip(1).collect();
    assert_eq!(children.len(), apps.len());
    let judged = operator(&["validate", "-o", "json", "-f"], &file);
    let report: Value = serde_json::from_slice(&judged.stdout).unwrap();
    let found = report["findings"].as_array().unwrap();
    let refused: BTreeSet<&str> = found
        .iter()
        .map(|f| f["child"]["name"].as_str().unwrap())
        .collect();

    let mut refused_by_server = BTreeSet::new();
    for text in children {
        let text = format!("apiVersion{text}");
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

/// Every member and item of `value`, as JSON pointers.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(members) => members
            .iter()
            .map(|(key, member)| (key.replace('~', "~0").replace('/', "~1"), member))
            .collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(n, item)| (n.to_string(), item))
            .collect(),
        _ => Vec::new(),
    };
    for (key, member) in inner {
        let here = format!("{at}/{key}");
        pointers(member, &here, found);
        found.push(here);
    }
}

/// `object` with the value at one pointer replaced, taken out, doubled or added to, in every way that makes sense there.
fn mutants(object: &Value, pointer: &str) -> Vec<Value> {
    let values = [
        json!(null),
        json!(true),
        json!(0),
        json!(-7),
        json!(2.5),
        json!(1e30),
        json!(""),
        json!("x"),
        json!("Ä b/c"),
        json!("n".repeat(9000)),
        json!([]),
        json!([null]),
        json!(["a", "a"]),
        json!({}),
        json!({"unknown": 1}),
    ];
    let mut found: Vec<Value> = values
        .into_iter()
        .map(|value| {
            let mut mutant = object.clone();
            *mutant.pointer_mut(pointer).unwrap() = value;
            mutant
        })
        .collect();
    let (holder, key) = pointer.rsplit_once('/').unwrap();
    let mut without = object.clone();
    match without.pointer_mut(holder).unwrap() {
        Value::Object(members) => {
            members.remove(key);
        }
        Value::Array(items) => {
            let index: usize = key.parse().unwrap();
            let item = items.remove(index);
            let mut twice = object.clone();
            let more = twice.pointer_mut(holder).unwrap().as_array_mut().unwrap();
            more.push(item);
            found.push(twice);
        }
        _ => unreachable!("only these hold something"),
    }
    found.push(without);
    let mut more = object.clone();
    if let Some(members) = more.pointer_mut(pointer).unwrap().as_object_mut() {
        members.insert("unknown".into(), json!(1));
        found.push(more);
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_in_every_wrong_shape_is_judged_as_the_api_server_judges_it() {
    let test = "every_field_in_every_wrong_shape_is_judged_as_the_api_server_judges_it";
    let Some(cluster) = envtest::shared_cluster_or_leave_out(test).await.unwrap() else {
        return;
    };
    envtest::install(cluster).await.unwrap();
    let client = cluster.client().await.unwrap();
    let mut full = app(json!({
        "name": "sales-2", "compute": {"size": "Large"}, "userAuthorization": {"scopes": ["sql"]}, "suspend": false,
        "resources": [{"name": "w", "sqlWarehouse": {"id": "wh-1", "permission": "CanUse"}},
            {"name": "s", "description": "d", "secret": {"scope": "a", "key": "b", "permission": "Read"}}],
        "management": {"adopt": "IfUnowned", "deletion": "Orphan"},
        "deployment": {"command": ["a"], "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"resource": "w"}}]},
    }));
    full["metadata"]["labels"] = json!({"example.com/team": "a"});
    full["metadata"]["annotations"] = json!({"note": "a b"});
    let connection = workspace(json!({
        "workspaceID": "1", "tls": {"caBundleConfigMapRef": {"name": "a", "key": "b"}},
        "allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"a": "b"},
            "matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}},
        "limits": {"burst": 1, "maxApps": 2}, "observe": {"interval": "60s"},
    }));
    let fleet = manifest(
        FLEET,
        "fleet",
        json!({
            "generators": [{"list": {"elements": [{"team": "a"}]}}], "defaults": {"compute": {"size": "Large"}},
            "template": {"kind": "DatabricksApp", "metadata": {"name": "{{ team }}", "labels": {"a": "b"}}, "spec": {"a": 1}},
            "syncPolicy": {"onDeletion": "Orphan"}, "prune": {"maxDeletions": "5"}, "suspend": true,
        }),
    );
    let written = manifest(
        FLEET,
        "fleet",
        json!({"apps": [{"name": "a", "spec": {"a": [1]}}]}),
    );
    let mut cases = Vec::new();
    for object in [full, connection, fleet, written] {
        cases.push(good(object.clone()));
        let mut places = Vec::new();
        pointers(&object, "", &mut places);
        // Whoever reads them first would not know whom to ask, or about what.
        places.retain(|p| {
            ![
                "/apiVersion",
                "/kind",
                "/metadata",
                "/metadata/name",
                "/metadata/namespace",
            ]
            .contains(&p.as_str())
        });
        cases.extend(places.iter().flat_map(|p| mutants(&object, p)).map(good));
    }
    let offline = said_offline(&cases);
    let mut wrong = Vec::new();
    let mut refused = 0;
    for (case, said) in cases.iter().zip(&offline) {
        let reasons: Vec<String> = asked(&client, case).await.into_iter().flatten().collect();
        refused += usize::from(!reasons.is_empty());
        if reasons.is_empty() != said.is_empty() {
            wrong.push(format!(
                "the API server says {reasons:?}, validate {said:?} of\n{}",
                case.text
            ));
        }
    }
    assert!(
        refused > 500 && refused < cases.len(),
        "{refused} of {} refused",
        cases.len()
    );
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n\n")
    );
}
