//! The commands that need no cluster, as a shell runs them: exit codes, standard input, what goes to which stream.
use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const APP: &str = "apiVersion: appofapps.dev/v1alpha1\nkind: DatabricksApp\nmetadata: {name: sales, namespace: apps}\nspec:\n  workspaceRef: {name: prod}\n";
const FLEET: &str = "apiVersion: appofapps.dev/v1alpha1\nkind: AppOfApps\nmetadata: {name: fleet, namespace: apps}\nspec:\n  defaults: {workspaceRef: {name: prod}}\n  apps:\n  - name: good\n  - name: BAD\n";

fn run(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_databricks-app-operator"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let written = child.stdin.take().unwrap().write_all(input.as_bytes());
    // A command that reads no input may be gone already.
    assert!(written.is_ok() || !arguments.contains(&"-"), "{written:?}");
    child.wait_with_output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn valid_manifests_give_exit_code_0_and_others_1() {
    let valid = run(&["validate", "-f", "-"], APP);
    assert_eq!((code(&valid), text(&valid.stdout)), (0, "1 object valid\n"));
    let bad = APP.replace("workspaceRef", "workspace");
    let invalid = run(&["validate", "-f", "-"], &bad);
    assert_eq!(code(&invalid), 1);
    let said = text(&invalid.stdout);
    assert!(
        said.starts_with("-:5: DatabricksApp apps/sales: spec.workspace: unknown field"),
        "{said}"
    );
    assert!(said.ends_with("2 problems in 1 object\n"), "{said}");
    let absent = run(&["validate", "-f", "/absent.yaml"], "");
    assert_eq!(code(&absent), 1);
    assert!(text(&absent.stdout).contains("/absent.yaml"));
}

#[test]
fn input_without_an_object_of_ours_is_no_valid_input() {
    let other = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
    for input in ["", "---\n# nothing\n---\n", other] {
        let nothing = run(&["validate", "-f", "-"], input);
        let said = text(&nothing.stderr);
        assert_eq!(code(&nothing), 1, "{input:?}: {said}");
        assert!(said.contains("nothing to judge") && said.contains("kustomize build"));
        assert_eq!(text(&nothing.stdout), "");
    }
}

#[test]
fn a_wrong_command_line_is_told_apart_from_a_wrong_manifest() {
    for arguments in [
        &["validate"][..],
        &["validate", "-f"],
        &["valid"],
        &["validate", "-f", "-", "-o", "xml"],
        &["diff"],
        &["export"],
        &["export", "--workspace", "a/b/c"],
        &["export", "--workspace", "prod", "--adopt", "Never"],
        &["run", "--lease-duration", "3s"],
    ] {
        let output = run(arguments, "");
        assert_eq!(code(&output), 64, "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
    for arguments in [&["--help"][..], &["validate", "--help"], &["--version"]] {
        assert_eq!(code(&run(arguments, "")), 0, "{arguments:?}");
    }
}

#[test]
fn a_hint_at_the_usage_names_what_is_required_alone() {
    let output = Command::new(env!("CARGO_BIN_EXE_databricks-app-operator"))
        .arg("validate")
        .env("DAO_ALLOWED_HOSTS", "127.0.0.1")
        .env("DAO_ALLOW_INSECURE_HOSTS", "true")
        .output()
        .unwrap();
    let said = text(&output.stderr);
    let usage = "Usage: databricks-app-operator validate [OPTIONS] --filename <FILE|DIR|->\n";
    assert!(said.contains(usage), "{said}");
    let help = run(&["validate", "--help"], "");
    assert!(text(&help.stdout).contains(usage), "{}", text(&help.stdout));
}

#[test]
fn a_folder_of_folders_is_told_apart_from_an_empty_input() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("apps")).unwrap();
    std::fs::write(folder.path().join("apps/app.yaml"), APP).unwrap();
    let output = run(&["validate", "-f", folder.path().to_str().unwrap()], "");
    assert_eq!(code(&output), 1);
    let said = text(&output.stdout);
    assert!(said.contains("folders below it are not entered"), "{said}");
}

#[test]
fn findings_are_data_too_and_standard_error_is_for_people() {
    let foreign = format!("{APP}---\napiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\n");
    for (format, parse) in [
        (
            "json",
            (|t| serde_json::from_str(t).unwrap()) as fn(&str) -> Value,
        ),
        ("yaml", |t| serde_saphyr::from_str(t).unwrap()),
    ] {
        let output = run(
            &["validate", "-f", "-", "-o", format],
            &foreign.replace("prod", "''"),
        );
        assert_eq!(code(&output), 1);
        let finding = &parse(text(&output.stdout))["findings"][0];
        assert_eq!(finding["field"], "spec.workspaceRef.name");
        assert_eq!(finding["object"]["name"], "sales");
        assert_eq!(finding["line"], 5);
        assert!(text(&output.stderr).contains("1 object of another kind"));
    }
}

#[test]
fn children_are_printed_beside_the_errors_of_others() {
    let output = run(&["render", "-f", "-"], FLEET);
    assert_eq!(code(&output), 1);
    let said = text(&output.stderr);
    assert!(
        said.contains("-:8: AppOfApps apps/fleet: spec.apps[1]"),
        "{said}"
    );
    let children: Vec<Value> = serde_saphyr::from_multiple(text(&output.stdout)).unwrap();
    assert_eq!(children.len(), 1);
    assert_eq!(children[0]["metadata"]["name"], "good");
    assert_eq!(children[0]["spec"]["workspaceRef"]["name"], "prod");
}

#[test]
fn what_render_prints_can_be_read_again_in_every_form() {
    let fleet = FLEET.replace("BAD", "other");
    for format in ["people", "json", "yaml"] {
        let rendered = run(&["render", "-f", "-", "-o", format], &fleet);
        assert_eq!(code(&rendered), 0, "{format}");
        let again = run(&["validate", "-f", "-"], text(&rendered.stdout));
        assert_eq!(
            (code(&again), text(&again.stdout)),
            (0, "2 objects valid\n"),
            "{format}"
        );
    }
}

#[test]
fn a_cluster_that_cannot_be_found_is_no_difference() {
    for arguments in [&["diff", "-f", "-"][..], &["export", "--workspace", "a/b"]] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_databricks-app-operator"));
        let child = child.args(arguments).env("KUBECONFIG", "/absent/config");
        let output = child.stdin(Stdio::null()).output().unwrap();
        assert_eq!(code(&output), 1, "{arguments:?}");
        let said = text(&output.stderr);
        assert!(said.contains("finding the cluster"), "{said}");
        assert!(said.contains("set KUBECONFIG"), "{said}");
    }
}

#[test]
fn a_render_without_a_parent_is_an_error() {
    let output = run(&["render", "-f", "-"], APP);
    assert_eq!(code(&output), 1);
    assert!(text(&output.stderr).contains("no AppOfApps"));
}

const WORKSPACE: &str = "apiVersion: appofapps.dev/v1alpha1\nkind: DatabricksWorkspace\nmetadata: {name: NAME, namespace: platform, labels: {env: prod}}\nspec:\n  host: https://NAME.cloud.databricks.com\n  auth: {token: {secretRef: {name: t, key: t}}}\n  allowedNamespaces: ALLOWED\n";
const CONFIG_MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: teams, namespace: NAMESPACE, labels: {appofapps.dev/generator: '', a: b}}\ndata: {apps.yaml: '[{name: sales, namespace: platform}]'}\n";

/// Generator, manifests beside the parent, children with where they come from, words on standard error, exit code.
type Case<'a> = (&'a str, Vec<String>, &'a [&'a str], &'a [&'a str], i32);

/// A parent with that generator, whose children are named by their elements.
fn live(generator: &str) -> String {
    format!(
        "apiVersion: appofapps.dev/v1alpha1\nkind: AppOfApps\nmetadata: {{name: fleet, namespace: apps}}\nspec:\n  generators: [{generator}]\n  template:\n    metadata: {{name: '{{{{ name }}}}'}}\n    spec: {{workspaceRef: {{name: x, namespace: '{{{{ namespace }}}}'}}}}\n"
    )
}

#[test]
fn manifests_stand_in_for_what_live_generators_read() {
    let workspace =
        |name: &str, allowed: &str| WORKSPACE.replace("NAME", name).replace("ALLOWED", allowed);
    let config_map = |namespace: &str| CONFIG_MAP.replace("NAMESPACE", namespace);
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: apps, labels: {team: a}}\n";
    let selected = workspace(
        "prod",
        "{from: Selector, selector: {matchLabels: {team: a}}}",
    );
    let all = "{workspaces: {}}";
    let maps = "{configMaps: {selector: {matchLabels: {a: b}}, key: apps.yaml}}";
    let both = "{matrix: {generators: [{workspaces: {}}, {list: {elements: [{name: both}]}}]}}";
    let cases: &[Case] = &[
        (
            all,
            vec![
                workspace("west", "{from: All}"),
                workspace("east", "{from: All}"),
            ],
            &[
                "east # from generators[0].workspaces[platform/east]",
                "west # from generators[0].workspaces[platform/west]",
            ],
            &[],
            0,
        ),
        (
            all,
            vec![workspace("west", "{from: Same}")],
            &[],
            &[
                "note: AppOfApps apps/fleet: spec.generators[0].workspaces: no DatabricksWorkspace matches; name the manifests that it reads, too",
            ],
            0,
        ),
        (
            "{workspaces: {selector: {matchLabels: {env: lab}}}}",
            vec![workspace("west", "{from: All}")],
            &[],
            &["no DatabricksWorkspace matches\n"],
            0,
        ),
        (
            all,
            vec![selected.clone(), namespace.to_owned()],
            &["prod # from generators[0].workspaces[platform/prod]"],
            &[],
            0,
        ),
        (
            all,
            vec![selected],
            &[],
            &[
                "note: AppOfApps apps/fleet: DatabricksWorkspace platform/prod admits namespaces by their labels",
                "add the Namespace's manifest",
            ],
            0,
        ),
        (
            maps,
            vec![config_map("apps")],
            &["sales # from generators[0].configMaps[teams][0]"],
            &[],
            0,
        ),
        (
            maps,
            vec![config_map("other")],
            &[],
            &["no ConfigMap with the label"],
            0,
        ),
        (
            maps,
            vec![config_map("apps").replace("[{name: sales", "{{")],
            &[],
            &[
                "-:5: AppOfApps apps/fleet: spec.generators[0].configMaps: ConfigMap apps/teams: key apps.yaml",
            ],
            1,
        ),
        (
            // Both give a name.
            both,
            vec![workspace("west", "{from: All}")],
            &[],
            &["-:5: AppOfApps apps/fleet: spec.generators[0].matrix[0,0]: "],
            1,
        ),
        (
            all,
            vec![workspace("west", "{from: All}").replace("from: All", "from: 1")],
            &[],
            &["-:16: DatabricksWorkspace platform/west: spec.allowedNamespaces"],
            1,
        ),
    ];
    for (generator, beside, children, words, expected) in cases {
        let mut input = live(generator);
        for object in beside {
            input.push_str(&format!("---\n{object}"));
        }
        let output = run(&["render", "-f", "-"], &input);
        let (printed, said) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(code(&output), *expected, "{input}\n{said}");
        let documents = printed.split("---\n").skip(1).map(|document| {
            let (comment, _) = document.split_once('\n').unwrap();
            let child: Value = serde_saphyr::from_str(document).unwrap();
            format!("{} {comment}", child["metadata"]["name"].as_str().unwrap())
        });
        assert_eq!(documents.collect::<Vec<_>>(), *children, "{input}\n{said}");
        for words in *words {
            assert!(
                said.contains(words),
                "{words:?} is missing in {said}\n{input}"
            );
        }
        assert!(!words.is_empty() || said.is_empty(), "{said}");
        // What stands in for nothing is no error either.
        let validated = run(&["validate", "-f", "-"], &input);
        assert_eq!(code(&validated), *expected, "{}", text(&validated.stdout));
    }
}

#[test]
fn rendered_children_are_judged_and_come_in_the_order_of_the_rollout() {
    let fleet = "apiVersion: appofapps.dev/v1alpha1\nkind: AppOfApps\nmetadata: {name: fleet, namespace: apps}\nspec:\n  defaults: {workspaceRef: {name: prod}}\n  apps:\n  - {name: last, wave: 1, dependsOn: [middle]}\n  - {name: middle, wave: 1}\n  - {name: first}\n  - {name: bad, spec: {compute: {size: Huge}}}\n  - {name: lost, dependsOn: [nobody]}\n";
    let output = run(&["render", "-f", "-"], fleet);
    assert_eq!(code(&output), 1);
    let comments = text(&output.stdout).lines().filter(|l| l.starts_with('#'));
    assert_eq!(
        comments.collect::<Vec<_>>(),
        [
            "# wave 0; from apps[2]",
            "# wave 1; from apps[1]",
            "# wave 1, after middle; from apps[0]",
        ]
    );
    let said = text(&output.stderr);
    assert!(
        said.contains("-:10: AppOfApps apps/fleet: spec.apps[3]: spec.compute.size: \"Huge\""),
        "{said}"
    );
    assert!(
        said.contains(
            "-:11: AppOfApps apps/fleet: spec.apps[4]: dependsOn: lost: \"nobody\" is no child"
        ),
        "{said}"
    );
}
