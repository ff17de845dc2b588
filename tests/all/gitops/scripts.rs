//! The scripts by themselves: in Argo CD's own format, without the libraries that argocd-cm withholds, on whatever status.
use std::fmt::Write;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::{APP, Judges, KINDS, argocd_cm, customizations, golden, of_kind, text};

fn indented(script: &str, by: usize) -> String {
    let margin = " ".repeat(by);
    let lines = script.lines().map(|line| match line {
        "" => "\n".to_owned(),
        line => format!("{margin}{line}\n"),
    });
    lines.collect()
}

/// Names of the folder's entries, in order.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Actions of a kind, in order.
pub fn actions(kind: &str) -> Vec<String> {
    let folder = of_kind(kind).join("actions");
    let mut found = names(&folder);
    found.retain(|name| folder.join(name).join("action.lua").is_file());
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The ConfigMap that `config/argocd/argocd-cm.yaml` holds.
fn snippet() -> String {
    let mut made = String::from(
        "# What Argo CD has to know of our kinds: how they are, which actions there are, where an app is served. Made from\n\
         # resource_customizations beside it. It adds keys to the ConfigMap that is there, and takes none away:\n\
         #\n\
         #   kubectl -n argocd patch configmap argocd-cm --patch-file config/argocd/argocd-cm.yaml\n\
         apiVersion: v1\n\
         kind: ConfigMap\n\
         metadata:\n  name: argocd-cm\n  namespace: argocd\n  labels:\n    \
         app.kubernetes.io/name: argocd-cm\n    app.kubernetes.io/part-of: argocd\n\
         data:\n",
    );
    for kind in KINDS {
        let id = format!("appofapps.dev_{kind}");
        let place = of_kind(kind);
        let health = indented(&read(&place.join("health.lua")), 4);
        let discovery = indented(&read(&place.join("actions/discovery.lua")), 6);
        write!(
            made,
            "  resource.customizations.health.{id}: |\n{health}  resource.customizations.actions.{id}: |\n    discovery.lua: |\n{discovery}    definitions:\n"
        )
        .unwrap();
        for action in actions(kind) {
            let script = read(&place.join("actions").join(&action).join("action.lua"));
            let script = indented(&script, 8);
            write!(made, "    - name: {action}\n      action.lua: |\n{script}").unwrap();
        }
        write!(
            made,
            "  # A status that changes without a change of health refreshes no Application; messages may lag behind.\n  resource.customizations.ignoreResourceUpdates.{id}: |\n    jsonPointers:\n    - /status\n"
        )
        .unwrap();
    }
    made + "  # Where you have links of your own, add this one to them: a patch replaces the key.\n  resource.links: |\n    - title: Open the app\n      url: '{{ .resource.status.app.url }}'\n      icon.class: fa-external-link-alt\n      if: resource.kind == \"DatabricksApp\" && resource.status?.app?.url != nil\n"
}

#[test]
fn argocd_cm_holds_the_scripts_that_argo_cd_would_bundle() {
    golden(&argocd_cm(), &snippet());
}

#[test]
fn health_is_one_script_for_every_kind() {
    let of_app = read(&of_kind(APP).join("health.lua"));
    for kind in KINDS {
        assert_eq!(read(&of_kind(kind).join("health.lua")), of_app, "{kind}");
    }
}

/// Every state that was seen, as a test of Argo CD's own suite.
#[tokio::test(flavor = "multi_thread")]
async fn the_folder_for_argo_cds_sources_passes_the_tests_that_it_brings() {
    let test = "the_folder_for_argo_cds_sources_passes_the_tests_that_it_brings";
    let Some(judges) = Judges::find(test) else {
        return;
    };
    for kind in KINDS {
        let place = of_kind(kind);
        let mut tests = String::from("tests:\n");
        for file in names(&place.join("testdata")) {
            let object = read(&place.join("testdata").join(&file));
            let said = judges.run(
                &["judge", "-customizations", text(&customizations())],
                &object,
            );
            // Argo CD's suite runs the script alone, which never sees a deletion.
            let mut object: Value = serde_saphyr::from_str(&object).unwrap();
            if !object["metadata"]["deletionTimestamp"].is_null() {
                object["metadata"]
                    .as_object_mut()
                    .unwrap()
                    .remove("deletionTimestamp");
            }
            let alone = judges.run(
                &["judge", "-customizations", text(&customizations())],
                &object.to_string(),
            );
            assert!(said[0]["argocd"]["error"].is_null(), "{said:#}");
            let (status, message) = (
                &alone[0]["argocd"]["status"],
                &alone[0]["argocd"]["message"],
            );
            let status = status.as_str().unwrap();
            write!(
                tests,
                "- healthStatus:\n    status: {status}\n    message: {message}\n  inputPath: testdata/{file}\n"
            )
            .unwrap();
        }
        golden(&place.join("health_test.yaml"), &tests);
    }
    let ran = judges.run(
        &["customizations", "-customizations", text(&customizations())],
        "",
    );
    let ran = ran.as_array().unwrap();
    let failed: Vec<&Value> = ran.iter().filter(|r| !r["failure"].is_null()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(ran.len() > 60, "only {} tests ran", ran.len());
}

/// Objects with these statuses, as one list.
fn list(statuses: impl IntoIterator<Item = Value>) -> (usize, String) {
    let object = |status| {
        json!({
            "apiVersion": "appofapps.dev/v1alpha1", "kind": APP, "status": status,
            "metadata": {"name": "fuzzed", "namespace": "apps", "generation": 3},
        })
    };
    let items: Vec<Value> = statuses.into_iter().map(object).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    (items.len(), list.to_string())
}

fn anything() -> impl Strategy<Value = Value> {
    let words = [
        "True",
        "False",
        "Unknown",
        "Ready",
        "Stalled",
        "Suspended",
        "Reconciling",
        "",
        "ä",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-2i64..5).prop_map(Value::from),
        any::<i32>().prop_map(|n| json!(f64::from(n) / 3.0)),
        prop::sample::select(words.to_vec()).prop_map(Value::from),
    ];
    let keys = [
        "observedGeneration",
        "conditions",
        "type",
        "status",
        "reason",
        "message",
        "app",
        "x",
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        let key = prop::sample::select(keys.to_vec());
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(key, inner, 0..5)
                .prop_map(|map| map.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}

/// A condition, or what is none.
fn condition() -> impl Strategy<Value = Value> {
    let kind = prop::sample::select(vec![
        "Ready",
        "Stalled",
        "Suspended",
        "Reconciling",
        "Other",
    ]);
    let status = prop::sample::select(vec!["True", "False", "Unknown", "true", ""]);
    let said = (kind, status, anything(), anything());
    let whole = said.prop_map(|(kind, status, reason, message)| {
        json!({"type": kind, "status": status, "reason": reason, "message": message})
    });
    prop_oneof![9 => whole, 1 => anything()]
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_never_empty_whatever_the_status_holds() {
    let test = "health_is_never_empty_whatever_the_status_holds";
    let Some(judges) = Judges::find(test) else {
        return;
    };
    let mut runner = TestRunner::deterministic();
    let mut fuzzed = Vec::new();
    for _ in 0..1500 {
        fuzzed.push(anything().new_tree(&mut runner).unwrap().current());
        // As many get as far as their conditions.
        let conditions = prop::collection::vec(condition(), 0..5);
        let conditions = conditions.new_tree(&mut runner).unwrap().current();
        fuzzed.push(json!({"observedGeneration": 3, "conditions": conditions}));
    }
    let (count, input) = list(fuzzed);
    let folder = customizations();
    let arguments = ["judge", "-customizations", text(&folder)];
    let said = judges.run(&arguments, &input);
    let said = said.as_array().unwrap();
    assert_eq!(said.len(), count);
    let known = ["Healthy", "Progressing", "Degraded", "Suspended"];
    let mut seen = std::collections::BTreeSet::new();
    for verdict in said {
        let status = verdict["argocd"]["status"].as_str().unwrap();
        let whole = verdict["argocd"]["error"].is_null() && known.contains(&status);
        assert!(whole, "{verdict:#}");
        seen.insert(status);
    }
    assert_eq!(seen.len(), known.len(), "the fuzz reaches {seen:?} only");
}

/// Every set of the four conditions that the operator can leave, for each observed generation.
#[tokio::test(flavor = "multi_thread")]
async fn both_readers_understand_every_set_of_conditions_alike() {
    let test = "both_readers_understand_every_set_of_conditions_alike";
    let Some(judges) = Judges::find(test) else {
        return;
    };
    let mut statuses = Vec::new();
    let mut wanted = Vec::new();
    for observed in [-1, 2, 3] {
        for ready in ["True", "False", "Unknown"] {
            for held in ["", "Reconciling", "Stalled", "Suspended"] {
                // Ready=False says why; Stalled is never ready.
                if (ready == "False" && held.is_empty()) || (held == "Stalled" && ready != "False")
                {
                    continue;
                }
                let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": "Some", "message": "words"});
                let mut conditions = vec![condition("Ready", ready)];
                if !held.is_empty() {
                    conditions.push(condition(held, "True"));
                }
                statuses.push(json!({"observedGeneration": observed, "conditions": conditions}));
                wanted.push(match (observed, held, ready) {
                    (-1 | 2, ..) => ("Progressing", "InProgress"),
                    (_, "Stalled", _) => ("Degraded", "Failed"),
                    (_, "Reconciling", _) => ("Progressing", "InProgress"),
                    (_, "Suspended", "True") => ("Suspended", "Current"),
                    (_, "Suspended", _) => ("Suspended", "InProgress"),
                    (_, _, "True") => ("Healthy", "Current"),
                    _ => ("Progressing", "InProgress"),
                });
            }
        }
    }
    let (_, input) = list(statuses.clone());
    let said = judges.run(&["judge", "-argocd-cm", text(&argocd_cm())], &input);
    for ((verdict, wanted), status) in said.as_array().unwrap().iter().zip(wanted).zip(statuses) {
        let said = (&verdict["argocd"]["status"], &verdict["kstatus"]["status"]);
        assert_eq!(said, (&json!(wanted.0), &json!(wanted.1)), "{status:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_link_of_argocd_cm_opens_an_app_that_is_served() {
    let test = "the_link_of_argocd_cm_opens_an_app_that_is_served";
    let Some(judges) = Judges::find(test) else {
        return;
    };
    let links = |file: &str, kind: &str| {
        let object = read(&of_kind(kind).join("testdata").join(file));
        judges.run(&["links", "-argocd-cm", text(&argocd_cm())], &object)[0].clone()
    };
    let running = links("running.yaml", APP);
    let url = running[0]["url"].as_str().unwrap();
    assert!(url.starts_with("https://"), "{running:#}");
    assert_eq!(running[0]["title"], "Open the app");
    assert_eq!(links("unseen.yaml", APP), json!([]));
    assert_eq!(links("ready.yaml", super::FLEET), json!([]));
}
