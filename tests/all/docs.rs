//! The documents: their commands work, their manifests are valid, their links lead somewhere.
//!
//! | block | what becomes of it |
//! |---|---|
//! | `sh` | run, document by document and in order, in the checkout's root: real API server, operator and fake workspace, `kubectl`, `KUBECONFIG` set, and before them the first block of docs/workspaces.md, which makes namespace `apps` with the DatabricksWorkspace `prod` |
//! | `sh needs-workspace`, `needs-argo-cd`, `needs-flux`, `needs-registry` | its syntax alone is judged: a test has none of these |
//! | `yaml` | judged by `validate`, or read if it is of another tool |
//! | `text` and others of [`SHOWN`] | shown only |
//!
//! Any other block is refused, so that no command stands there that nobody ran.
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

use envtest::{Build, Environment, EnvironmentOptions};
use serde_json::{Map, Value, json};

use crate::support::{self, fed, said};

/// What a command may need that no test has.
const NEEDS: &[&str] = &["workspace", "argo-cd", "flux", "registry"];
/// Languages that nobody runs.
const SHOWN: &[&str] = &["text", "promql", "json", "lua", "toml", "hcl", "rust"];
/// Its commands, and what they print, are the business of tests/sdk/python/test_guide.py.
const SIMULATOR: &str = "docs/simulator.md";
/// Its first block makes of a playground what all others need.
const WORKSPACES: &str = "docs/workspaces.md";
/// Longest time for the commands of one document.
const DEADLINE: Duration = Duration::from_secs(15 * 60);

/// A fenced block.
struct Block {
    /// `docs/apps.md:12`, the line of its fence.
    place: String,
    /// The words after the fence.
    info: Vec<String>,
    text: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every document by its path from the root, README first.
fn documents() -> Vec<String> {
    let mut found = Vec::from(["README.md".to_owned()]);
    for name in ["CONTRIBUTING.md", "SECURITY.md"] {
        found.push(name.to_owned());
    }
    let mut pages: Vec<String> = fs::read_dir(root().join("docs"))
        .unwrap()
        .map(|entry| format!("docs/{}", entry.unwrap().file_name().to_str().unwrap()))
        .filter(|path| path.ends_with(".md"))
        .collect();
    pages.sort();
    found.extend(pages);
    found
}

fn read(document: &str) -> String {
    fs::read_to_string(root().join(document)).unwrap_or_else(|error| panic!("{document}: {error}"))
}

/// The blocks of a document, and its other lines.
fn parse(document: &str, text: &str) -> (Vec<Block>, Vec<String>) {
    let (mut blocks, mut prose): (Vec<Block>, Vec<String>) = Default::default();
    let mut open: Option<(String, Block)> = None;
    for (n, line) in text.lines().enumerate() {
        let bare = line.trim_start();
        let fence: String = bare.chars().take_while(|c| *c == '`').collect();
        match &mut open {
            Some((end, block)) if fence.len() >= end.len() && bare.trim_end() == fence => {
                blocks.push(std::mem::replace(block, empty()));
                open = None;
            }
            Some((_, block)) => writeln!(block.text, "{line}").unwrap(),
            None if fence.len() >= 3 => {
                let info = bare[fence.len()..].split_whitespace();
                let block = Block {
                    place: format!("{document}:{}", n + 1),
                    info: info.map(str::to_owned).collect(),
                    text: String::new(),
                };
                open = Some((fence, block));
            }
            None => prose.push(line.to_owned()),
        }
    }
    assert!(open.is_none(), "{document}: a fence is not closed");
    (blocks, prose)
}

fn empty() -> Block {
    Block {
        place: String::new(),
        info: Vec::new(),
        text: String::new(),
    }
}

fn blocks(document: &str) -> Vec<Block> {
    parse(document, &read(document)).0
}

/// What becomes of a block.
#[derive(Debug, PartialEq)]
enum Kind {
    Run,
    Marked,
    Manifest,
    Shown,
}

/// Or why it may not stand there.
fn kind(document: &str, info: &[String]) -> Result<Kind, String> {
    let words: Vec<&str> = info.iter().map(String::as_str).collect();
    let marks: Vec<String> = NEEDS.iter().map(|need| format!("needs-{need}")).collect();
    match words.as_slice() {
        ["sh"] => Ok(Kind::Run),
        ["sh", given @ ..] => match given.iter().find(|g| !marks.contains(&(**g).to_owned())) {
            None => Ok(Kind::Marked),
            Some(other) => Err(format!(
                "mark {other:?} is none of {}",
                marks.join(", ")
            )),
        },
        ["yaml"] => Ok(Kind::Manifest),
        [other] if SHOWN.contains(other) => Ok(Kind::Shown),
        ["bash"] if document == SIMULATOR => Ok(Kind::Shown),
        [] => Err("a block without a language: write sh for commands, yaml for manifests, text for what is only shown".into()),
        other => Err(format!(
            "nobody looks at {:?}: write sh for commands (with {} if a test has no such thing), yaml for manifests, or one of {}",
            other.join(" "),
            marks.join(" or "),
            SHOWN.join(", ")
        )),
    }
}

#[test]
fn every_block_says_what_becomes_of_it() {
    let mut wrong = Vec::new();
    for document in documents() {
        for block in blocks(&document) {
            if let Err(why) = kind(&document, &block.info) {
                wrong.push(format!("{}: {why}", block.place));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let guide = read("tests/sdk/python/test_guide.py");
    assert!(guide.contains(SIMULATOR), "nobody runs {SIMULATOR}");
}

#[test]
fn a_block_that_nobody_would_run_is_refused() {
    let judged = |text: &str| {
        let (blocks, _) = parse("docs/x.md", text);
        kind("docs/x.md", &blocks[0].info)
    };
    assert_eq!(judged("```sh\nls\n```\n"), Ok(Kind::Run));
    assert_eq!(judged("```sh needs-flux\nls\n```\n"), Ok(Kind::Marked));
    assert_eq!(
        judged("1. Like so:\n   ```sh\n   ls\n   ```\n"),
        Ok(Kind::Run)
    );
    for refused in [
        "```\nls\n```\n",
        "```bash\nls\n```\n",
        "```console\n$ ls\n```\n",
        "```sh needs-luck\nls\n```\n",
        "````shell\nls\n````\n",
    ] {
        let why = judged(refused).unwrap_err();
        assert!(why.contains("sh") || why.contains("needs-flux"), "{why}");
    }
}

#[test]
fn commands_that_no_test_runs_are_at_least_a_shells() {
    for document in documents() {
        let marked = blocks(&document);
        let marked = marked
            .iter()
            .filter(|block| kind(&document, &block.info) == Ok(Kind::Marked));
        for block in marked {
            let output = fed(Command::new("bash").arg("-n"), &block.text);
            assert!(
                output.status.success(),
                "{}: {}",
                block.place,
                said(&output)
            );
        }
    }
}

#[test]
fn every_link_leads_somewhere() {
    let mut wrong = Vec::new();
    for document in documents() {
        let folder = root().join(&document);
        let folder = folder.parent().unwrap();
        for target in links(&document) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let file = match path {
                "" => root().join(&document),
                path => folder.join(path),
            };
            if !file.exists() {
                wrong.push(format!("{document}: {target} does not exist"));
            } else if !anchor.is_empty() && !anchors(&file).contains(anchor) {
                wrong.push(format!("{document}: {target} names no heading"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_page_is_reached_from_the_readme() {
    let linked: BTreeSet<String> = links("README.md").into_iter().collect();
    let pages = documents().into_iter().filter(|page| page != "README.md");
    let lost: Vec<String> = pages.filter(|page| !linked.contains(page)).collect();
    assert!(lost.is_empty(), "README.md does not link {lost:?}");
}

fn links(document: &str) -> Vec<String> {
    let (_, prose) = parse(document, &read(document));
    let link = regex::Regex::new(r"\]\(([^)\s\[]+)\)").unwrap();
    // What stands in backticks is code, not a link.
    let code = regex::Regex::new(r"`[^`]*`").unwrap();
    let text = code.replace_all(&prose.join("\n"), "").into_owned();
    link.captures_iter(&text)
        .map(|found| found[1].to_owned())
        .collect()
}

/// The anchors that GitHub gives the headings of a file.
fn anchors(file: &Path) -> BTreeSet<String> {
    let (_, prose) = parse("", &fs::read_to_string(file).unwrap());
    let headings = prose.iter().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.collect::<String>().replace(' ', "-")
        })
        .collect()
}

/// As the playground has it; live generators read it.
pub const WORKSPACE: &str = "
apiVersion: appofapps.dev/v1alpha1
kind: DatabricksWorkspace
metadata: {name: playground, namespace: default}
spec:
  host: https://playground.cloud.databricks.com
  auth: {token: {secretRef: {name: playground, key: token}}}
  allowedNamespaces: {from: All}
";

/// A whole manifest as it is; members of a spec as an object of the kind that has all of them, with what it needs to be one.
/// `None`: of another tool.
fn manifest(document: &str, block: &Block) -> Option<String> {
    if block.text.contains("apiVersion:") {
        return block
            .text
            .contains("apiVersion: appofapps.dev/")
            .then(|| block.text.clone());
    }
    let read: Value = serde_saphyr::from_str(&block.text)
        .unwrap_or_else(|error| panic!("{}: {error}", block.place));
    let given: Map<String, Value> = read.as_object()?.clone();
    let parent = json!({"apps": []});
    let app = json!({"workspaceRef": {"name": "prod"}});
    let workspace = json!({"host": "https://prod.cloud.databricks.com",
        "auth": {"token": {"secretRef": {"name": "prod", "key": "token"}}}});
    let mut kinds = vec![
        ("DatabricksApp", "databricksapps", app),
        ("DatabricksWorkspace", "databricksworkspaces", workspace),
        ("AppOfApps", "appofapps", parent),
    ];
    if document == "docs/fleet.md" {
        kinds.rotate_right(1);
    }
    let has_all = |plural: &str| {
        let crd = read_yaml(&format!("crds/{plural}.appofapps.dev.yaml"));
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let members = schema["properties"]["spec"]["properties"]
            .as_object()
            .unwrap()
            .clone();
        given.keys().all(|key| members.contains_key(key))
    };
    let (kind, _, needed) = kinds.into_iter().find(|(_, plural, _)| has_all(plural))?;
    let mut spec = given.clone();
    for (key, value) in needed.as_object().unwrap() {
        let generated = kind == "AppOfApps" && spec.contains_key("generators");
        if !generated {
            spec.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    let object = json!({"apiVersion": "appofapps.dev/v1alpha1", "kind": kind,
        "metadata": {"name": "guide", "namespace": "default"}, "spec": spec});
    Some(object.to_string())
}

fn read_yaml(path: &str) -> Value {
    serde_saphyr::from_str(&read(path)).unwrap()
}

#[test]
fn every_manifest_is_valid() {
    let mut judged = 0;
    for document in documents() {
        for block in blocks(&document) {
            if kind(&document, &block.info) != Ok(Kind::Manifest) {
                continue;
            }
            let all: Result<Vec<Value>, _> = serde_saphyr::from_multiple(&block.text);
            all.unwrap_or_else(|error| panic!("{}: {error}", block.place));
            if let Some(manifest) = manifest(&document, &block) {
                let text = format!("{manifest}\n---{WORKSPACE}");
                let mut validate = Command::new(env!("CARGO_BIN_EXE_databricks-app-operator"));
                let output = fed(validate.args(["validate", "-f", "-"]), &text);
                assert!(
                    output.status.success(),
                    "{}: {}",
                    block.place,
                    said(&output)
                );
                judged += 1;
            }
        }
    }
    assert!(judged > 25, "{judged} manifests");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_every_document_work_in_their_order() {
    let test = "the_commands_of_every_document_work_in_their_order";
    if !envtest::control_plane_or_leave_out(test).await.unwrap()
        || !envtest::programs_or_leave_out(test).unwrap()
    {
        return;
    }
    let kubectl = tokio::task::spawn_blocking(|| envtest::kubectl(Build::IfMissing).unwrap());
    let kubectl = kubectl.await.unwrap();
    let only = env::var("DOCUMENT").ok();
    let mut ran = 0;
    for document in documents() {
        let to_run: Vec<Block> = blocks(&document)
            .into_iter()
            .filter(|block| document != SIMULATOR && kind(&document, &block.info) == Ok(Kind::Run))
            .collect();
        if to_run.is_empty() || only.as_ref().is_some_and(|only| *only != document) {
            continue;
        }
        ran += to_run.len();
        let before = (document != WORKSPACES).then(playground);
        let all: Vec<Block> = before.into_iter().chain(to_run).collect();
        play(&document, &all, &kubectl).await;
    }
    assert!(ran > 0, "no document has commands");
}

/// Runs the blocks of a document in one shell, in an environment of their own.
async fn play(document: &str, blocks: &[Block], kubectl: &Path) {
    let mut options = EnvironmentOptions::new(60);
    options.seed = "users: [stranger@example.com, ann@example.com]\nwarehouses: [wh-1]\ngroups: [data-users, app-owners]\n".into();
    let environment = Environment::start(options, |_| ()).await.unwrap();
    let client = environment.cluster.client().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let programs = folder.path().join("bin");
    fs::create_dir(&programs).unwrap();
    symlink(kubectl, programs.join("kubectl")).unwrap();
    let operator = env!("CARGO_BIN_EXE_databricks-app-operator");
    symlink(operator, programs.join("databricks-app-operator")).unwrap();
    let file = folder.path().join("commands.sh");
    fs::write(&file, script(blocks)).unwrap();
    let log = folder.path().join("log");
    let output = fs::File::create(&log).unwrap();
    let path = format!(
        "{}:{}",
        programs.display(),
        env::var("PATH").unwrap_or_default()
    );
    let mut shell = Command::new("bash");
    shell
        .arg(&file)
        .current_dir(root())
        .env("PATH", path)
        .env("KUBECONFIG", environment.cluster.admin_kubeconfig())
        .env("KUBECACHEDIR", folder.path().join("cache"))
        .env("SIM_URL", environment.sim.url())
        .env("SIM_TOKEN", &environment.token)
        .env("OPERATOR_URL", environment.operator.url())
        // The fake workspace is none of Databricks' hosts.
        .env("DAO_ALLOWED_HOSTS", "127.0.0.1")
        .env("DAO_ALLOW_INSECURE_HOSTS", "true")
        .stdin(Stdio::null())
        .stderr(output.try_clone().unwrap())
        .stdout(output)
        // A group of its own, so that nothing that a command started outlives the test.
        .process_group(0);
    let mut child = shell.spawn().unwrap();
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if start.elapsed() > DEADLINE {
            break None;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let group = format!("-{}", child.id());
    let _ = Command::new("kill")
        .args(["-KILL", "--", &group])
        .stderr(Stdio::null())
        .status();
    let _ = child.wait();
    let said = fs::read_to_string(&log).unwrap();
    if env::var_os("DOCUMENT").is_some() {
        println!("{said}");
    }
    if !status.is_some_and(|status| status.success()) {
        let mut objects = String::new();
        for (kind, name) in objects_of_apps(&client).await {
            objects += &envtest::describe(&client, &kind, "apps", &name).await;
        }
        let last: Vec<&str> = said.lines().rev().take(60).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        panic!(
            "{document}: {status:?}; the last lines of its commands:\n{}\n{objects}",
            last.join("\n")
        );
    }
    environment.stop().await;
}

/// One script of all blocks, so that one may use what another set; it says where it is, and ends at the first failure.
fn script(blocks: &[Block]) -> String {
    let parts = blocks.iter().map(|block| {
        let (place, text) = (&block.place, unindented(&block.text));
        format!("echo '=== {place}'\nset -x\n{text}{{ set +x; }} 2>/dev/null\n")
    });
    format!("set -euo pipefail\n{}", parts.collect::<String>())
}

#[test]
fn a_command_that_fails_ends_the_document_and_is_named() {
    let text = "```sh\nword=one\n```\n\n- so:\n  ```sh\n  test $word = one\n  ```\n\n```sh\nfalse | cat\n```\n\n```sh\ntrue\n```\n";
    let (blocks, _) = parse("docs/x.md", text);
    let run = |blocks: &[Block]| fed(&mut Command::new("bash"), &script(blocks));
    let output = run(&blocks);
    assert!(!output.status.success());
    let said = said(&output);
    assert!(
        said.contains("=== docs/x.md:10") && !said.contains("=== docs/x.md:14"),
        "{said}"
    );
    assert!(run(&blocks[..2]).status.success());
}

/// The block that makes namespace `apps` and the DatabricksWorkspace `prod` on a playground.
fn playground() -> Block {
    let runs = |block: &Block| kind(WORKSPACES, &block.info) == Ok(Kind::Run);
    let block = blocks(WORKSPACES).into_iter().find(runs).unwrap();
    assert!(
        block.text.contains("kind: DatabricksWorkspace"),
        "{}",
        block.place
    );
    block
}

/// Manifests of the documents that are whole objects of ours, by where they stand: blocks of their own, and what commands apply.
pub fn objects() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for document in documents() {
        for block in blocks(&document) {
            let texts: Vec<String> = match kind(&document, &block.info) {
                Ok(Kind::Manifest) => vec![block.text.clone()],
                Ok(Kind::Run) => heredocs(&block.text),
                _ => continue,
            };
            let whole = texts.into_iter();
            let whole = whole.filter(|text| text.contains("apiVersion: appofapps.dev/"));
            found.extend(whole.map(|text| (block.place.clone(), text)));
        }
    }
    found
}

/// What stands between `<<YAML` and `YAML`, as often as it comes up.
fn heredocs(commands: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Option<String> = None;
    for line in commands.lines() {
        match &mut open {
            Some(_) if line.trim() == "YAML" => found.extend(open.take()),
            Some(text) => writeln!(text, "{line}").unwrap(),
            None if line.contains("<<YAML") || line.contains("<<'YAML'") => {
                open = Some(String::new())
            }
            None => {}
        }
    }
    found
}

/// Kinds and names of our objects in namespace `apps`.
async fn objects_of_apps(client: &kube::Client) -> Vec<(String, String)> {
    let apps = support::Objects {
        client: client.clone(),
        namespace: "apps".into(),
    };
    let mut found = Vec::new();
    for kind in ["DatabricksWorkspace", "AppOfApps", "DatabricksApp"] {
        let objects = apps.list(kind).await.into_iter().take(5);
        found.extend(objects.map(|object| {
            let name = object["metadata"]["name"].as_str().unwrap().to_owned();
            (kind.to_owned(), name)
        }));
    }
    found
}

/// Blocks inside lists are indented as a whole.
fn unindented(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let indent = lines
        .map(|line| line.len() - line.trim_start().len())
        .min()
        .unwrap_or(0);
    text.lines()
        .map(|line| format!("{}\n", line.get(indent..).unwrap_or_default()))
        .collect()
}
