//! Metrics over TLS: only for those who may read them, with a certificate that may change, and not for the slow.
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::PostParams;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Scene, Setting};

/// How long a client may take for the head of its request, and some more.
const CUT_OFF: Duration = Duration::from_secs(25);

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Writes a certificate for localhost and its key, as a mounted Secret holds them; returns the certificate.
fn write_certificate(folder: &Path) -> String {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(folder.join("tls.crt"), made.cert.pem()).unwrap();
    made.cert.pem()
}

fn trusting(certificate: &str) -> reqwest::Client {
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    let certificate = reqwest::Certificate::from_pem(certificate.as_bytes()).unwrap();
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([certificate]);
    client.build().unwrap()
}

/// A token of a new ServiceAccount of the scene's namespace.
async fn token(scene: &Scene, name: &str) -> String {
    let manifest = format!(
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: {name}, namespace: {}}}\n",
        scene.namespace
    );
    scene.apply(&manifest).await;
    let accounts: Api<ServiceAccount> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let request = TokenRequest {
        spec: TokenRequestSpec {
            expiration_seconds: Some(600),
            ..TokenRequestSpec::default()
        },
        ..TokenRequest::default()
    };
    let made = accounts
        .create_token_request(name, &PostParams::default(), &request)
        .await
        .unwrap();
    made.status.unwrap().token
}

/// Lets a ServiceAccount of the scene's namespace get /metrics.
async fn allow(scene: &Scene, name: &str) {
    let namespace = &scene.namespace;
    let manifest = format!(
        r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: {namespace}-metrics-reader}}
rules:
- nonResourceURLs: [/metrics]
  verbs: [get]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: {namespace}-metrics-reader}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {namespace}-metrics-reader}}
subjects:
- {{kind: ServiceAccount, name: {name}, namespace: {namespace}}}
"#
    );
    scene.apply(&manifest).await;
}

async fn get(client: &reqwest::Client, port: u16, token: Option<&str>) -> (u16, String) {
    let mut request = client.get(format!("https://localhost:{port}/metrics"));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_over_tls_are_for_those_who_may_get_them_and_the_certificate_may_change() {
    let test = "metrics_over_tls_are_for_those_who_may_get_them_and_the_certificate_may_change";
    let folder = tempfile::tempdir().unwrap();
    let certificate = write_certificate(folder.path());
    let port = free_port();
    let setting = Setting {
        operator: vec![
            "--metrics-listen".into(),
            format!("127.0.0.1:{port}"),
            "--metrics-cert-dir".into(),
            folder.path().display().to_string(),
        ],
        ..Setting::default()
    };
    let Some(scene) = Scene::set(test, setting).await else {
        return;
    };
    let client = trusting(&certificate);
    let (status, said) = get(&client, port, None).await;
    assert_eq!(status, 401, "{said}");
    assert!(said.contains("token is needed"), "{said}");
    let (status, said) = get(&client, port, Some("no-token-at-all")).await;
    assert_eq!(status, 401, "{said}");
    let stranger = token(&scene, "stranger").await;
    let (status, said) = get(&client, port, Some(&stranger)).await;
    assert_eq!(status, 403, "{said}");
    assert!(said.contains("nonResourceURLs"), "{said}");
    let reader = token(&scene, "reader").await;
    allow(&scene, "reader").await;
    // The API server's authorizer learns of the binding by a watch of its own, and a refusal is remembered.
    let text = scene
        .until("the reader is let in", async || {
            let (status, text) = get(&client, port, Some(&reader)).await;
            (status == 200).then_some(text)
        })
        .await;
    for line in [
        "dao_ready 1",
        "dao_metrics_requests_total{result=\"Unauthenticated\"} 2",
        "dao_metrics_requests_total{result=\"Forbidden\"} ",
    ] {
        assert!(text.lines().any(|l| l.starts_with(line)), "{line}: {text}");
    }
    let plain = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = plain.get(format!("{}/metrics", scene.operator.url()));
    assert_eq!(answer.send().await.unwrap().status().as_u16(), 404);

    let renewed = trusting(&write_certificate(folder.path()));
    scene
        .until("the new certificate is used", async || {
            let url = format!("https://localhost:{port}/metrics");
            let answer = renewed.get(url).bearer_auth(&reader).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;

    std::fs::write(folder.path().join("tls.key"), "half a file").unwrap();
    scene
        .until("a broken key is told", async || {
            let log = std::fs::read_to_string(&scene.log).unwrap();
            log.contains("stays as it was").then_some(())
        })
        .await;
    let (status, _) = get(&renewed, port, Some(&reader)).await;
    assert_eq!(status, 200, "the certificate before is served on");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_slow_or_sends_too_much_is_cut_off_and_holds_up_nobody() {
    let test = "whoever_is_slow_or_sends_too_much_is_cut_off_and_holds_up_nobody";
    let port = free_port();
    let setting = Setting {
        operator: vec![
            "--metrics-listen".into(),
            format!("127.0.0.1:{port}"),
            "--metrics-auth=false".into(),
        ],
        ..Setting::default()
    };
    let Some(scene) = Scene::set(test, setting).await else {
        return;
    };
    let address = scene.operator.url();
    let address = address.trim_start_matches("http://").to_owned();
    let began = Instant::now();
    // One says nothing during the handshake, one never ends the head of its request.
    let mut silent = tokio::net::TcpStream::connect(("127.0.0.1", port))
        .await
        .unwrap();
    let mut slow = tokio::net::TcpStream::connect(&address).await.unwrap();
    slow.write_all(b"GET /readyz HTTP/1.1\r\nHost: a\r\n")
        .await
        .unwrap();
    let mut large = tokio::net::TcpStream::connect(&address).await.unwrap();
    let head = format!("GET /readyz HTTP/1.1\r\nX: {}\r\n", "x".repeat(64 << 10));
    // It may be cut off before all is sent.
    let _ = large.write_all(head.as_bytes()).await;
    let mut said = Vec::new();
    let read = tokio::time::timeout(CUT_OFF, large.read_to_end(&mut said)).await;
    assert!(read.is_ok(), "a head of 64 KiB was read on");
    assert!(!String::from_utf8_lossy(&said).starts_with("HTTP/1.1 200"));

    // Others are served meanwhile, with a certificate that nobody has signed.
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_danger_accept_invalid_certs(true);
    let client = client.build().unwrap();
    let (status, text) = get(&client, port, None).await;
    assert_eq!(status, 200, "{text}");
    for (who, stream) in [("silent", &mut silent), ("slow", &mut slow)] {
        let mut rest = Vec::new();
        let read = tokio::time::timeout(CUT_OFF, stream.read_to_end(&mut rest)).await;
        assert!(read.is_ok(), "the {who} one is still served");
    }
    assert!(began.elapsed() >= Duration::from_secs(9), "nobody waited");
    scene.end().await;
}
