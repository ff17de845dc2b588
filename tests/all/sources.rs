//! Changed content deploys exactly once, whatever it comes from; equal content never does.
use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::support::{Scene, Setting, definition};

const APP: &str = "DatabricksApp";
const FOLDER: &str = "/Workspace/Shared/watched";

async fn scene(test: &str) -> Option<Scene> {
    let setting = Setting {
        any_source: false,
        operator: vec!["--artifact-hosts".into(), "127.0.0.1".into()],
        ..Setting::default()
    };
    let scene = Scene::set(test, setting).await?;
    let observe = json!({"spec": {"observe": {"permissionsInterval": "1m"}}});
    scene.merge("DatabricksWorkspace", "prod", observe).await;
    Some(scene)
}

fn app(source: Value, deployment: Value) -> Value {
    json!({"workspaceRef": {"name": "prod"}, "lifecycle": {"state": "Running"},
        "source": source, "deployment": deployment})
}

/// Waits until the app is deployed for the `n`th time and settled, and checks that nothing more comes of it.
async fn deployed(scene: &Scene, name: &str, n: usize) {
    scene
        .until(
            &format!("{name} is deployed {n} times and Ready"),
            async || {
                let made = deployments(scene, name).await;
                assert!(made <= n, "{name} was deployed {made} times, not {n}");
                let ready = scene.condition(APP, name, "Ready").await;
                let deployed = scene.condition(APP, name, "Deployed").await;
                (made == n && ready == "True/Running" && deployed.starts_with("True")).then_some(())
            },
        )
        .await;
}

async fn deployments(scene: &Scene, name: &str) -> usize {
    let (_, made) = scene
        .remote(&format!("/api/2.0/apps/{name}/deployments"))
        .await;
    made["app_deployments"].as_array().map_or(0, Vec::len)
}

/// Several looks at everything later it is still so.
async fn stays(scene: &Scene, names: &[&str], n: usize) {
    scene.pass(Duration::from_secs(300)).await;
    for name in names {
        assert_eq!(deployments(scene, name).await, n, "{name}");
        assert_eq!(
            scene.condition(APP, name, "Ready").await,
            "True/Running",
            "{name}"
        );
    }
}

async fn upload(scene: &Scene, file: &str, content: &str) {
    let url = format!(
        "{}/api/2.0/workspace-files/import-file{FOLDER}/{file}?overwrite=true",
        scene.sim.url()
    );
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let call = http
        .post(url)
        .bearer_auth(&scene.token)
        .body(content.to_owned());
    let answer = call.send().await.unwrap();
    assert!(answer.status().is_success(), "{file}: {}", answer.status());
}

async fn core(scene: &Scene, kind: &str, name: &str, data: Value) {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", kind));
    let api: Api<DynamicObject> =
        Api::namespaced_with(scene.client.clone(), &scene.namespace, &resource);
    let field = if kind == "Secret" {
        "stringData"
    } else {
        "data"
    };
    let body = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, field: data});
    let params = PatchParams::apply("test").force();
    api.patch(name, &params, &Patch::Apply(body)).await.unwrap();
}

fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, content.as_bytes())
            .unwrap();
    }
    let mut gzip = tar.into_inner().unwrap();
    gzip.flush().unwrap();
    gzip.finish().unwrap()
}

/// Serves the archive and lets the source name it, as Flux does.
async fn publish(scene: &Scene, server: &MockServer, revision: &str, files: &[(&str, &str)]) {
    let archive = archive(files);
    let digest: String = Sha256::digest(&archive)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let at = format!("/{revision}.tar.gz");
    let served = ResponseTemplate::new(200).set_body_bytes(archive);
    Mock::given(path(at.clone()))
        .respond_with(served)
        .mount(server)
        .await;
    let gvk = GroupVersionKind::gvk("source.toolkit.fluxcd.io", "v1", "GitRepository");
    let resource = ApiResource::from_gvk_with_plural(&gvk, "gitrepositories");
    let api: Api<DynamicObject> =
        Api::namespaced_with(scene.client.clone(), &scene.namespace, &resource);
    let object = json!({"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository", "metadata": {"name": "flux"}});
    api.patch(
        "flux",
        &PatchParams::apply("test").force(),
        &Patch::Apply(object),
    )
    .await
    .unwrap();
    let artifact = json!({"url": format!("{}{at}", server.uri()), "digest": format!("sha256:{digest}"), "revision": revision});
    let status = Patch::Merge(json!({"status": {"artifact": artifact}}));
    api.patch_status("flux", &PatchParams::default(), &status)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_changed_character_deploys_once_and_equal_bytes_a_restart_or_a_new_key_never() {
    let test = "one_changed_character_deploys_once_and_equal_bytes_a_restart_or_a_new_key_never";
    let Some(scene) = scene(test).await else {
        return;
    };
    envtest::apply(
        &scene.client,
        &definition(
            "source.toolkit.fluxcd.io",
            "GitRepository",
            "gitrepositories",
        ),
    )
    .await
    .unwrap();
    let server = MockServer::start().await;
    let watched = json!({"workspace": {"path": FOLDER, "redeploy": "OnChange"}});
    scene
        .call(
            "POST",
            "/api/2.0/workspace/mkdirs",
            &json!({ "path": FOLDER }),
        )
        .await;
    for n in 0..30 {
        upload(&scene, &format!("f{n}.py"), "print(1)").await;
    }
    core(
        &scene,
        "ConfigMap",
        "code",
        json!({"app.py": "print(1)", "app.yaml": "command: [python, app.py]"}),
    )
    .await;
    core(&scene, "Secret", "keys", json!({"api": "s3cret-one"})).await;
    let files = |content| [("app.py", content), ("lib/util.py", "x = 1")];
    publish(&scene, &server, "r1", &files("print(1)")).await;
    let env = json!({"env": [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "api"}}}]});
    scene.put(APP, "folder", app(watched, json!({}))).await;
    scene
        .put(
            APP,
            "config",
            app(json!({"configMapRef": {"name": "code"}}), json!({})),
        )
        .await;
    scene
        .put(
            APP,
            "flux",
            app(
                json!({"artifactRef": {"kind": "GitRepository", "name": "flux"}}),
                json!({}),
            ),
        )
        .await;
    scene
        .put(
            APP,
            "secret",
            app(json!({"configMapRef": {"name": "code"}}), env),
        )
        .await;
    let all = ["folder", "config", "flux", "secret"];
    for name in all {
        deployed(&scene, name, 1).await;
    }
    stays(&scene, &all, 1).await;

    // Thirty files, one by one, each with one character changed.
    for n in 0..30 {
        upload(&scene, &format!("f{n}.py"), "print(2)").await;
        scene.pass(Duration::from_secs(4)).await;
    }
    core(&scene, "Secret", "keys", json!({"api": "s3cret-two"})).await;
    publish(&scene, &server, "r2", &files("print(2)")).await;
    for name in ["folder", "flux", "secret"] {
        deployed(&scene, name, 2).await;
    }
    core(
        &scene,
        "ConfigMap",
        "code",
        json!({"app.py": "print(2)", "app.yaml": "command: [python, app.py]"}),
    )
    .await;
    deployed(&scene, "config", 2).await;
    deployed(&scene, "secret", 3).await;
    stays(&scene, &["folder", "config", "flux"], 2).await;

    // Equal bytes again, another artifact of the same files, another process with another key.
    for n in 0..30 {
        upload(&scene, &format!("f{n}.py"), "print(2)").await;
    }
    let again = [("lib/util.py", "x = 1"), ("app.py", "print(2)")];
    publish(&scene, &server, "r3", &again).await;
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Secret"));
    let keys: Api<DynamicObject> =
        Api::namespaced_with(scene.client.clone(), envtest::NAMESPACE, &resource);
    keys.delete(
        databricks_app_operator::worlds::keyed::KEY_SECRET,
        &Default::default(),
    )
    .await
    .unwrap();
    scene.operator.kill();
    scene.operator.start_again().await.unwrap();
    stays(&scene, &["folder", "config", "flux"], 2).await;
    stays(&scene, &["secret"], 3).await;

    // What nothing runs and nobody goes back to is swept.
    let (_, there) = scene
        .remote(
            "/api/2.0/workspace/list?path=/Workspace/Users/operator@example.com/.appofapps/config",
        )
        .await;
    assert_eq!(
        there["objects"].as_array().map(Vec::len),
        Some(1),
        "{there:#}"
    );
    for text in [
        std::fs::read_to_string(&scene.log).unwrap(),
        scene.get(APP, "secret").await.to_string(),
    ] {
        assert!(!text.contains("s3cret"), "a secret value shows");
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_is_deployed_with_its_commit_in_status_and_a_missing_reference_is_named() {
    let test = "a_branch_is_deployed_with_its_commit_in_status_and_a_missing_reference_is_named";
    let Some(scene) = scene(test).await else {
        return;
    };
    let git = json!({"git": {"url": "https://github.com/acme/apps", "provider": "GitHub", "path": "sales", "ref": {"branch": "main"},
        "credentialSecretRef": {"name": "git", "key": "token"}}});
    scene.put(APP, "git", app(git, json!({}))).await;
    scene
        .until("the missing Secret is named", async || {
            scene
                .message(APP, "git", "Ready")
                .await
                .contains("Secret")
                .then_some(())
        })
        .await;
    core(&scene, "Secret", "git", json!({"token": "ghp-s3cret"})).await;
    deployed(&scene, "git", 1).await;
    let object = scene.get(APP, "git").await;
    assert!(
        object["status"]["deployment"]["resolvedCommit"]
            .as_str()
            .is_some_and(|c| c.len() >= 7),
        "{object:#}"
    );
    assert_eq!(scene.calls("POST /api/2.0/git-credentials 200").await, 1);
    // Another operator's memory is lost: the credential that is there is found and given the new token.
    let recorded = scene.get(APP, "git").await["status"]["source"]["credentialID"].clone();
    let lost = json!({"status": {"source": null}});
    scene.operator.kill();
    scene.merge_status(APP, "git", lost).await;
    core(&scene, "Secret", "git", json!({"token": "ghp-s3cret-2"})).await;
    scene.operator.start_again().await.unwrap();
    annotate(&scene, "git").await;
    scene
        .until("the credential is found again", async || {
            let now = scene.get(APP, "git").await["status"]["source"]["credentialID"].clone();
            (now == recorded).then_some(())
        })
        .await;
    assert_eq!(
        scene
            .calls("PATCH /api/2.0/git-credentials/{credential_id} 200")
            .await,
        1
    );
    let absent = app(json!({"configMapRef": {"name": "absent"}}), json!({}));
    scene.put(APP, "absent", absent).await;
    scene
        .wait(APP, "absent", "Stalled", "True/ReferenceMissing")
        .await;
    let message = scene.message(APP, "absent", "Deployed").await;
    assert!(
        message.contains("spec.source.configMapRef") && message.contains("absent"),
        "{message}"
    );
    scene.end().await;
}

async fn annotate(scene: &Scene, name: &str) {
    let annotations =
        json!({"metadata": {"annotations": {"appofapps.dev/redeploy-requested-at": "now"}}});
    scene.merge(APP, name, annotations).await;
}
