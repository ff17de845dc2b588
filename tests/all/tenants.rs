//! What somebody who may write our objects in one namespace can not reach with them.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::support::{Scene, running_app};

const APP: &str = "DatabricksApp";
const WORKSPACE: &str = "DatabricksWorkspace";
const PARENT: &str = "AppOfApps";

/// A port that counts who connects.
struct Trap {
    port: u16,
    caught: Arc<AtomicUsize>,
    listening: JoinHandle<()>,
}

impl Trap {
    async fn set() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let caught = Arc::new(AtomicUsize::new(0));
        let counter = caught.clone();
        let listening = tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                counter.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self {
            port,
            caught,
            listening,
        }
    }

    fn caught(&self) -> usize {
        self.caught.load(Ordering::SeqCst)
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

fn with_token(host: &str) -> Value {
    json!({"host": host, "auth": {"token": {"secretRef": {"name": "prod", "key": "token"}}}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_not_on_the_list_or_only_looks_like_one_is_never_called() {
    let test = "a_host_that_is_not_on_the_list_or_only_looks_like_one_is_never_called";
    let Some(scene) = Scene::start(test).await else {
        return;
    };
    let trap = Trap::set().await;
    let port = trap.port;
    // The operator of a scene may call 127.0.0.1 alone; all of these end at the trap, or nowhere.
    let hosts = [
        ("another-name", format!("http://localhost:{port}")),
        ("user-info", format!("http://127.0.0.1@localhost:{port}")),
        ("all-addresses", format!("http://0.0.0.0:{port}")),
        ("its-neighbour", format!("http://127.0.0.2:{port}")),
        ("mapped", format!("http://[::ffff:127.0.0.1]:{port}")),
        ("below", format!("http://127.0.0.1.localhost:{port}")),
        ("behind", "https://127.0.0.1.evil.example".to_owned()),
        ("metadata", "http://169.254.169.254".to_owned()),
        ("cluster", "https://kubernetes.default.svc".to_owned()),
    ];
    let mut taken = Vec::new();
    for (name, host) in &hosts {
        match scene.try_put(WORKSPACE, name, with_token(host)).await {
            Ok(()) => taken.push((name, host)),
            Err(refused) => assert!(refused.contains("host"), "{host}: {refused}"),
        }
    }
    for (name, host) in taken {
        scene
            .wait(WORKSPACE, name, "Stalled", "True/HostNotAllowed")
            .await;
        let message = scene.message(WORKSPACE, name, "Stalled").await;
        let way_out = message.contains("--allowed-hosts") || message.contains("user name");
        assert!(
            message.contains("spec.host") && way_out,
            "{host}: {message}"
        );
    }
    assert_eq!(trap.caught(), 0, "somebody called");
    // The trap does catch who calls.
    drop(
        tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .unwrap(),
    );
    scene
        .until("the trap catches", async || {
            (trap.caught() == 1).then_some(())
        })
        .await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_takes_the_token_nowhere_not_even_to_a_host_on_the_list() {
    let test = "a_redirect_takes_the_token_nowhere_not_even_to_a_host_on_the_list";
    let Some(scene) = Scene::start(test).await else {
        return;
    };
    let elsewhere = MockServer::start().await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({})))
        .mount(&elsewhere)
        .await;
    for status in [301, 302, 307, 308] {
        let host = MockServer::start().await;
        let to = format!("{}/api/2.0/apps", elsewhere.uri());
        Mock::given(any())
            .respond_with(ResponseTemplate::new(status).insert_header("location", to.as_str()))
            .mount(&host)
            .await;
        let name = format!("moved-{status}");
        scene.put(WORKSPACE, &name, with_token(&host.uri())).await;
        scene
            .wait(WORKSPACE, &name, "Stalled", "True/UnexpectedAnswer")
            .await;
        let message = scene.message(WORKSPACE, &name, "Stalled").await;
        assert!(message.contains("a redirect to"), "{message}");
        let asked = host.received_requests().await.unwrap();
        assert!(
            asked
                .iter()
                .any(|r| r.headers.contains_key("authorization")),
            "{status}: the host itself was never asked with the token"
        );
        scene.delete(WORKSPACE, &name).await;
    }
    let followed = elsewhere.received_requests().await.unwrap();
    assert!(followed.is_empty(), "{followed:?}");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_another_namespace_is_out_of_reach() {
    let test = "a_secret_of_another_namespace_is_out_of_reach";
    let Some(scene) = Scene::start(test).await else {
        return;
    };
    let elsewhere = format!("{}-b", scene.namespace);
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": elsewhere}});
    scene.apply(&namespace.to_string()).await;
    let tenant = scene.beside(&elsewhere);
    // No reference has a place for a namespace.
    let mut named = with_token(&scene.sim.url());
    named["auth"]["token"]["secretRef"]["namespace"] = json!(scene.namespace);
    let refused = tenant.try_put(WORKSPACE, "named", named).await.unwrap_err();
    assert!(refused.contains("secretRef.namespace"), "{refused}");
    let mut app = running_app();
    app["workspaceRef"]["namespace"] = json!(scene.namespace);
    app["deployment"]["env"] = json!([{"name": "TOKEN", "valueFrom":
        {"secretKeyRef": {"name": "prod", "key": "token", "namespace": scene.namespace}}}]);
    let refused = tenant.try_put(APP, "named", app.clone()).await.unwrap_err();
    assert!(refused.contains("secretKeyRef.namespace"), "{refused}");
    // The name alone means the object's own namespace, where there is no such Secret.
    tenant
        .put(WORKSPACE, "own", with_token(&scene.sim.url()))
        .await;
    let own = format!("{elsewhere}/prod");
    scene
        .until("the tenant's own Secret is missing", async || {
            let message = tenant.message(WORKSPACE, "own", "Ready").await;
            (message.contains(&own) && message.contains("does not exist")).then_some(())
        })
        .await;
    // An app that may use the other namespace's connection gets its Secrets from its own all the same.
    let all = json!({"spec": {"allowedNamespaces": {"from": "All"}}});
    scene.merge(WORKSPACE, "prod", all).await;
    app["deployment"]["env"] =
        json!([{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "prod", "key": "token"}}}]);
    tenant.put(APP, "guest", app).await;
    scene
        .until("the guest's Secret is missing", async || {
            let message = tenant.message(APP, "guest", "Ready").await;
            (message.contains(&own) && message.contains("does not exist")).then_some(())
        })
        .await;
    tenant.delete(APP, "guest").await;
    tenant.delete(WORKSPACE, "own").await;
    for (kind, name) in [(APP, "guest"), (WORKSPACE, "own")] {
        scene
            .until(&format!("{kind} {name} is gone"), async || {
                tenant.get(kind, name).await.is_null().then_some(())
            })
            .await;
    }
    scene.delete("Namespace", &elsewhere).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_cannot_pin_what_only_a_hand_may_say() {
    let test = "a_template_cannot_pin_what_only_a_hand_may_say";
    let Some(scene) = Scene::start(test).await else {
        return;
    };
    let spec = running_app();
    for key in [
        "appofapps.dev/force-delete",
        "appofapps.dev/paused",
        "appofapps.dev/detach",
    ] {
        let name = key.split('/').next_back().unwrap();
        let annotations = json!({key: "true"});
        let generated = json!({
            "generators": [{"list": {"elements": [{"team": "sales"}]}}],
            "template": {"metadata": {"name": "{{ team }}-pinned", "annotations": annotations}, "spec": spec},
        });
        let written =
            json!({"apps": [{"name": "pinned", "annotations": annotations, "spec": spec}]});
        for (name, parent) in [
            (format!("{name}-generated"), generated),
            (format!("{name}-written"), written),
        ] {
            // Where the API server takes it, the operator does not.
            if let Err(refused) = scene.try_put(PARENT, &name, parent).await {
                assert!(refused.contains(key), "{refused}");
                continue;
            }
            scene
                .wait(PARENT, &name, "Generated", "False/GenerationFailed")
                .await;
            let message = scene.message(PARENT, &name, "Generated").await;
            let told = message.contains(key) && message.contains("belongs to this operator");
            assert!(told, "{message}");
        }
    }
    assert!(scene.list(APP).await.is_empty());
    assert_eq!(scene.writes(false).await, 0, "{:?}", scene.requests().await);
    scene.end().await;
}
