//! `diff` against a real API server and the fake workspace: what it prints is what an apply then does.
use std::process::Output;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{Scene, running_app};

/// The command as a user of the cluster runs it, with `arguments` and a manifest as its input.
pub async fn command(scene: &Scene, arguments: &[&str], manifest: &str) -> Output {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), manifest).unwrap();
    Command::new(env!("CARGO_BIN_EXE_databricks-app-operator"))
        .args(arguments)
        .args(["--allowed-hosts", "127.0.0.1", "--allow-insecure-hosts"])
        .env("KUBECONFIG", scene.cluster.admin_kubeconfig())
        .stdin(std::fs::File::open(file.path()).unwrap())
        .output()
        .await
        .unwrap()
}

pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn manifest(scene: &Scene, kind: &str, name: &str, spec: &Value) -> String {
    json!({"apiVersion": "appofapps.dev/v1alpha1", "kind": kind,
        "metadata": {"name": name, "namespace": scene.namespace}, "spec": spec})
    .to_string()
}

/// Exit code and entries.
async fn diff(scene: &Scene, manifest: &str) -> (i32, Vec<Value>) {
    let output = command(scene, &["diff", "-f", "-", "-o", "json"], manifest).await;
    let entries = serde_json::from_slice(&output.stdout);
    let entries = entries.unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
    (output.status.code().unwrap(), entries)
}

/// Exit code and what people read.
async fn read(scene: &Scene, manifest: &str) -> (i32, String) {
    let output = command(scene, &["diff", "-f", "-"], manifest).await;
    assert_eq!(text(&output.stderr), "");
    (
        output.status.code().unwrap(),
        text(&output.stdout).to_owned(),
    )
}

fn verbs(entry: &Value) -> Vec<&str> {
    let mut verbs: Vec<&str> = Vec::new();
    for change in entry["changes"].as_array().unwrap() {
        let verb = change["step"].as_str().unwrap();
        if verbs.last() != Some(&verb) {
            verbs.push(verb);
        }
    }
    verbs
}

#[tokio::test(flavor = "multi_thread")]
async fn what_diff_prints_is_what_an_apply_does() {
    let Some(scene) = Scene::start("what_diff_prints_is_what_an_apply_does").await else {
        return;
    };
    let (namespace, secret) = (&scene.namespace, "s3cret-value");
    scene
        .apply(&format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: keys, namespace: {namespace}}}\nstringData: {{key: {secret}}}\n"
        ))
        .await;
    let mut spec = running_app();
    spec["deployment"]["env"] =
        json!([{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "key"}}}]);
    let new = manifest(&scene, "DatabricksApp", "sales", &spec);

    let (code, entries) = diff(&scene, &new).await;
    assert_eq!((code, entries.len()), (2, 1), "{entries:#?}");
    assert_eq!(verbs(&entries[0]), ["create", "grant", "deploy"]);
    assert_eq!(entries[0]["workspace"], format!("{namespace}/prod"));
    assert!(!format!("{entries:?}").contains(secret));
    assert_eq!(scene.writes(false).await, 0, "{:?}", scene.requests().await);
    assert!(scene.get("DatabricksApp", "sales").await.is_null());

    scene.put("DatabricksApp", "sales", spec.clone()).await;
    scene
        .wait("DatabricksApp", "sales", "Ready", "True/Running")
        .await;
    let (code, said) = read(&scene, &new).await;
    assert_eq!((code, said.as_str()), (0, "no changes to 1 app\n"));

    spec["description"] = json!("New");
    spec["userAuthorization"] = json!({"scopes": ["sql"]});
    let changed = manifest(&scene, "DatabricksApp", "sales", &spec);
    let (code, said) = read(&scene, &changed).await;
    assert_eq!(code, 2, "{said}");
    let expected = format!(
        "DatabricksApp {namespace}/sales in {namespace}/prod\n  update   description: \"Sales\" → \"New\"\n           userAuthorization.scopes: [] → [\"sql\"]\n  restart\n  start\nchanges to 1 of 1 app\n"
    );
    assert_eq!(said, expected);

    scene.zero().await;
    scene.put("DatabricksApp", "sales", spec).await;
    scene
        .wait("DatabricksApp", "sales", "Ready", "True/Running")
        .await;
    let mut writes: Vec<(String, u64)> = scene.requests().await;
    writes.retain(|(call, _)| !call.starts_with("GET"));
    writes.sort();
    let once = |call: &str| (call.to_owned(), 1);
    assert_eq!(
        writes,
        [
            once("POST /api/2.0/apps/{name}/start 200"),
            once("POST /api/2.0/apps/{name}/stop 200"),
            once("POST /api/2.0/apps/{name}/update 200"),
        ]
    );
    assert_eq!(diff(&scene, &changed).await.0, 0);

    // A changed Secret of the input deploys; the one in the cluster is as it was.
    let secret = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: keys, namespace: {namespace}}}\nstringData: {{key: another}}\n---\n{changed}"
    );
    let (code, entries) = diff(&scene, &secret).await;
    assert_eq!((code, verbs(&entries[0])), (2, vec!["deploy"]));
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_holds_and_children_are_told_and_nothing_is_written() {
    let Some(scene) =
        Scene::start("refusals_holds_and_children_are_told_and_nothing_is_written").await
    else {
        return;
    };
    scene.put("DatabricksApp", "first", running_app()).await;
    scene
        .wait("DatabricksApp", "first", "Ready", "True/Running")
        .await;
    // Whatever is still to be remembered is written within a few looks.
    scene.more_lists(3).await;
    let before = scene.audited_writes().len();
    let folder = "/Workspace/Shared/sales";
    let file =
        json!({"path": format!("{folder}/app.py"), "content": "cHJpbnQoKQ==", "format": "AUTO"});
    scene
        .call(
            "POST",
            "/api/2.0/workspace/mkdirs",
            &json!({ "path": folder }),
        )
        .await;
    scene.call("POST", "/api/2.0/workspace/import", &file).await;
    scene.zero().await;
    let mut taken = running_app();
    taken["name"] = json!("first");
    let mut suspended = running_app();
    suspended["suspend"] = json!(true);
    let mut nowhere = running_app();
    nowhere["workspaceRef"]["name"] = json!("absent");
    let mut nobody = running_app();
    let unknown = json!({"principal": {"group": "nobody"}, "level": "CanManage"});
    let grants = nobody["permissions"]["grants"].as_array_mut().unwrap();
    grants.push(unknown);
    let mut watched = running_app();
    watched["source"]["workspace"]["redeploy"] = json!("OnChange");
    let fleet = json!({"defaults": running_app(), "apps": [{"name": "one"}, {"name": "first"}]});
    let all = [
        manifest(&scene, "DatabricksApp", "second", &taken),
        manifest(&scene, "DatabricksApp", "still", &suspended),
        manifest(&scene, "DatabricksApp", "lost", &nowhere),
        manifest(&scene, "DatabricksApp", "nobody", &nobody),
        manifest(&scene, "DatabricksApp", "watched", &watched),
        manifest(&scene, "AppOfApps", "fleet", &fleet),
    ];
    let (code, entries) = diff(&scene, &all.join("\n---\n")).await;
    assert_eq!(code, 1);
    let by_name = |name: &str| entries.iter().find(|e| e["name"] == name).unwrap();
    let refused = |name: &str| by_name(name)["refusals"][0]["reason"].clone();
    assert_eq!(refused("second"), "NameConflict", "{entries:#?}");
    assert_eq!(verbs(by_name("second")), [""; 0]);
    assert_eq!(by_name("still")["held"]["reason"], "SuspendedBySpec");
    assert_eq!(verbs(by_name("still")), ["create", "grant", "deploy"]);
    assert_eq!(refused("lost"), "WorkspaceNotFound");
    assert_eq!(refused("fleet"), "ForeignChild");
    let added = &by_name("fleet")["fleet"]["stages"][0]["children"];
    assert_eq!(added[0]["name"], "one");
    assert_eq!(added.as_array().unwrap().len(), 1, "{added:#}");
    assert_eq!(verbs(by_name("one")), ["create", "grant", "deploy"]);
    assert_eq!(refused("nobody"), "PrincipalNotFound");
    let granted = by_name("nobody")["changes"].as_array().unwrap().iter();
    let granted = granted.filter(|c| c["step"] == "grant").collect::<Vec<_>>();
    assert_eq!(granted[0]["field"], "permissions group users");
    assert!(!format!("{granted:?}").contains("nobody"), "{granted:?}");
    assert_eq!(verbs(by_name("watched")), ["create", "grant", "deploy"]);
    let order: Vec<&str> = entries.iter().filter_map(|e| e["name"].as_str()).collect();
    assert_eq!(
        order,
        [
            "second", "still", "lost", "nobody", "watched", "fleet", "one"
        ]
    );
    assert_eq!(scene.writes(false).await, 0, "{:?}", scene.requests().await);
    assert_eq!(scene.audited_writes().len(), before);
    scene.end().await;
}

fn stopped_app(description: &str) -> Value {
    json!({"workspaceRef": {"name": "prod"}, "description": description, "lifecycle": {"state": "Stopped"},
        "deployment": {"env": [{"name": "KEY", "value": format!("s3cret-{description}")}]}})
}

/// `name change now: fields`, in order.
fn children(entry: &Value) -> Vec<String> {
    let stages = entry["fleet"]["stages"].as_array().unwrap().iter();
    let children = stages.flat_map(|stage| stage["children"].as_array().unwrap());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    children
        .map(|child| {
            let fields = child["fields"].as_array().unwrap().iter();
            let fields: Vec<String> = fields.map(|f| text(&f["field"])).collect();
            let (name, change) = (text(&child["name"]), text(&child["change"]));
            format!("{name} {change} {}: {}", child["now"], fields.join(" "))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_of_a_fleet_is_told_and_then_done() {
    let Some(scene) = Scene::start("what_becomes_of_a_fleet_is_told_and_then_done").await else {
        return;
    };
    let namespace = scene.namespace.clone();
    let app = |name: &str, wave: u32, description: &str| json!({"name": name, "wave": wave, "spec": stopped_app(description)});
    let spec = |apps: Vec<Value>| json!({"apps": apps, "prune": {"maxDeletions": "1"}});
    let before = spec(vec![
        app("api", 0, "v1"),
        app("ui", 1, "v1"),
        app("old-1", 0, "v1"),
        app("old-2", 0, "v1"),
    ]);
    scene.put("AppOfApps", "fleet", before.clone()).await;
    scene
        .wait("AppOfApps", "fleet", "Ready", "True/Succeeded")
        .await;
    // Whatever is still to be remembered is written within a few looks.
    scene.more_lists(3).await;
    let writes = scene.audited_writes().len();
    scene.zero().await;

    // The same once more changes nothing, and what others set is theirs.
    let labels = json!({"metadata": {"labels": {"cost": "7"}}});
    scene.merge("DatabricksApp", "ui", labels).await;
    let (code, said) = read(&scene, &manifest(&scene, "AppOfApps", "fleet", &before)).await;
    assert_eq!((code, said.as_str()), (0, "no changes to 4 children\n"));

    let mut api = app("api", 0, "v2");
    // A field that leaves the template leaves the child.
    api["spec"].as_object_mut().unwrap().remove("lifecycle");
    let after = spec(vec![api, app("ui", 1, "v2"), app("new", 1, "v1")]);
    let text = manifest(&scene, "AppOfApps", "fleet", &after);
    let (code, entries) = diff(&scene, &text).await;
    assert_eq!(code, 2, "{entries:#?}");
    assert!(!format!("{entries:?}").contains("s3cret"));
    let fleet = &entries[0];
    assert_eq!(
        children(fleet),
        [
            "api update true: deployment.env[KEY] description lifecycle.state",
            "new create false: ",
            "ui update false: deployment.env[KEY] description",
        ]
    );
    let removal = &fleet["fleet"]["removal"];
    assert_eq!(removal["verdict"], "withheld");
    assert_eq!(removal["names"], json!(["old-1", "old-2"]));
    assert_eq!(fleet["fleet"]["rollout"]["wave"], 0);
    // What would then be done in the workspaces, of those that change.
    let looked: Vec<&str> = entries[1..]
        .iter()
        .map(|e| e["name"].as_str().unwrap())
        .collect();
    assert_eq!(looked, ["api", "new", "ui"]);
    assert_eq!(verbs(&entries[2]), ["create"]);
    assert_eq!(verbs(&entries[3]), ["update"]);
    let (code, said) = read(&scene, &text).await;
    assert_eq!(code, 2);
    let digest = removal["confirm"].as_str().unwrap();
    let start = format!(
        "AppOfApps {namespace}/fleet: 1 added, 2 changed, 2 removed
  wave 0
    change   api
             deployment.env[KEY]: changed
             description: \"v1\" → \"v2\"
             lifecycle.state: \"Stopped\" → (none)
  wave 1, later
    add      new from apps[2]
    change   ui
             deployment.env[KEY]: changed
             description: \"v1\" → \"v2\"
  remove   old-1, old-2: withheld: new is asked for and not there; what is new comes before what is old goes; and then it needs confirmation: 2 of 5 children would go, at most 1 may at once (maxDeletions 1)
           to let them go: kubectl annotate aoa -n {namespace} fleet --overwrite --field-manager=flux-client-side-apply appofapps.dev/confirm-prune={digest}
  stops    first at wave 0, until its children have passed their gates
DatabricksApp {namespace}/api in {namespace}/prod
"
    );
    assert!(said.starts_with(&start), "{said}");
    assert!(said.contains("changes to 5 of 5 children\n"), "{said}");
    assert_eq!(scene.writes(false).await, 0, "{:?}", scene.requests().await);
    assert_eq!(scene.audited_writes().len(), writes);

    // What was told is done, by the digest that it named.
    scene.put("AppOfApps", "fleet", after).await;
    scene
        .wait("AppOfApps", "fleet", "Ready", "False/PruneWaiting")
        .await;
    let confirm = json!({"metadata": {"annotations": {"appofapps.dev/confirm-prune": digest}}});
    scene.merge("AppOfApps", "fleet", confirm).await;
    scene
        .wait("AppOfApps", "fleet", "Ready", "True/Succeeded")
        .await;
    let ui = scene.get("DatabricksApp", "ui").await;
    assert_eq!(ui["metadata"]["labels"]["cost"], "7");
    assert!(scene.get("DatabricksApp", "old-1").await.is_null());
    let (code, said) = read(&scene, &text).await;
    assert_eq!((code, said.as_str()), (0, "no changes to 3 children\n"));
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn generators_read_the_cluster_under_what_the_input_brings() {
    let test = "generators_read_the_cluster_under_what_the_input_brings";
    let Some(scene) = Scene::start(test).await else {
        return;
    };
    let namespace = &scene.namespace;
    let map = |name: &str, team: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: {namespace}, labels: {{appofapps.dev/generator: '', a: b}}}}\ndata: {{apps.yaml: '[{{team: {team}}}]'}}\n"
        )
    };
    scene.apply(&map("first", "sales")).await;
    scene.apply(&map("second", "finance")).await;
    let maps = json!({"selector": {"matchLabels": {"a": "b"}}, "key": "apps.yaml"});
    // Another test's Workspace may admit this namespace, too.
    let mine = json!({"matchLabels": {"namespace": namespace}});
    let template = json!({"metadata": {"name": "{{ team }}-{{ name }}"},
        "spec": {"workspaceRef": {"name": "{{ name }}", "namespace": "{{ namespace }}"}, "lifecycle": {"state": "Stopped"}}});
    let generators = json!([{"configMaps": maps}, {"workspaces": {"selector": mine}}]);
    let spec =
        json!({"generators": [{"matrix": {"generators": generators}}], "template": template});
    let labels = json!({"metadata": {"labels": {"namespace": namespace}}});
    scene.merge("DatabricksWorkspace", "prod", labels).await;
    let fleet = manifest(&scene, "AppOfApps", "fleet", &spec);
    let names = |entries: &[Value]| {
        let added = children(&entries[0]).into_iter();
        let names: Vec<String> = added
            .map(|c| c.split(' ').next().unwrap().to_owned())
            .collect();
        names
    };
    let (code, entries) = diff(&scene, &fleet).await;
    assert_eq!(code, 2, "{entries:#?}");
    assert_eq!(names(&entries), ["finance-prod", "sales-prod"]);
    let over = map("second", "legal") + "---\n" + &map("third", "people");
    let (_, entries) = diff(&scene, &format!("{fleet}\n---\n{over}")).await;
    assert_eq!(names(&entries), ["legal-prod", "people-prod", "sales-prod"]);
    scene.end().await;
}
