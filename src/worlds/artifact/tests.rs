#![allow(clippy::unwrap_used)]
use std::convert::Infallible;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use http::{Request, Response};
use kube::client::Body;
use serde_json::json;
use sha2::Digest;
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::fetch::{ARCHIVE_BYTES, check};
use super::*;
use crate::worlds::files::hex;

/// An API server that has one answer, and the paths that it was asked for in its errors.
fn kube(code: u16, answer: &Value) -> Client {
    let body = match answer.as_str() {
        Some(text) => text.as_bytes().to_vec(),
        None => serde_json::to_vec(answer).unwrap(),
    };
    let service = tower::service_fn(move |request: Request<Body>| {
        let uri = request.uri().path().to_owned();
        assert_eq!(
            uri,
            "/apis/source.toolkit.fluxcd.io/v1/namespaces/team/ocirepositories/sales"
        );
        let response = Response::builder()
            .status(code)
            .body(Body::from(body.clone()));
        async move { Ok::<_, Infallible>(response.unwrap()) }
    });
    Client::new(service, "default")
}

fn source(pinned: Option<&str>) -> ArtifactSource {
    ArtifactSource {
        kind: ArtifactKind::OciRepository,
        name: ObjectName::new("team", "sales"),
        pinned: pinned.map(ToOwned::to_owned),
    }
}

fn object(status: &Value) -> Value {
    json!({"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "OCIRepository",
        "metadata": {"name": "sales", "namespace": "team"}, "status": status})
}

async fn look(code: u16, answer: &Value, pinned: Option<&str>) -> Result<Artifact, Error> {
    let artifacts = Artifacts::new(kube(code, answer), default_hosts());
    artifacts.look(&source(pinned)).await
}

const URL: &str =
    "http://source-controller.flux-system.svc.cluster.local./ocirepository/team/sales/1.tar.gz";

fn digest() -> String {
    format!("sha256:{}", "0".repeat(64))
}

#[tokio::test]
async fn an_artifact_is_read_from_the_status_of_its_source() {
    let artifact = json!({"url": URL, "digest": digest(), "revision": "v1@sha256:1", "size": 1});
    let object = object(&json!({"artifact": artifact}));
    let found = look(200, &object, Some(&digest())).await.unwrap();
    assert_eq!(found.url.as_str(), URL);
    assert_eq!(
        (found.digest, found.revision),
        (digest(), "v1@sha256:1".to_owned())
    );
}

#[tokio::test]
async fn a_missing_source_and_a_missing_flux_are_told_apart() {
    let missing = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404,
        "message": "ocirepositories.source.toolkit.fluxcd.io \"sales\" not found",
        "details": {"name": "sales", "group": GROUP, "kind": "ocirepositories"}});
    let error = look(404, &missing, None).await.unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error}");
    assert!(
        error.to_string().contains("OCIRepository team/sales"),
        "{error}"
    );
    let error = look(404, &json!("404 page not found\n"), None)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotInstalled { .. }), "{error}");
    assert!(error.to_string().contains("source-controller"), "{error}");
    let forbidden = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "code": 403,
        "message": "ocirepositories is forbidden"});
    let error = look(403, &forbidden, None).await.unwrap_err();
    assert!(matches!(error, Error::Read { .. }), "{error}");
}

#[tokio::test]
async fn a_source_without_an_artifact_says_what_flux_says() {
    let ready = |status: &str| json!([{"type": "Ready", "status": status, "message": "failed to checkout: authentication required"}]);
    let status = json!({"conditions": ready("False")});
    let error = look(200, &object(&status), None).await.unwrap_err();
    assert!(matches!(error, Error::NoArtifact { .. }), "{error}");
    assert!(
        error
            .to_string()
            .ends_with("yet: failed to checkout: authentication required"),
        "{error}"
    );
    let error = look(200, &object(&Value::Null), None).await.unwrap_err();
    assert!(
        error.to_string().ends_with("it has no artifact yet"),
        "{error}"
    );
}

#[tokio::test]
async fn another_digest_than_the_pinned_one_is_refused_with_both() {
    let object = object(&json!({"artifact": {"url": URL, "digest": digest(), "revision": "1"}}));
    let pinned = format!("sha256:{}", "1".repeat(64));
    let error = look(200, &object, Some(&pinned)).await.unwrap_err();
    assert!(matches!(error, Error::Pinned { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(&pinned) && text.contains(&digest()), "{text}");
}

#[tokio::test]
async fn a_digest_or_url_that_is_none_is_refused() {
    let long = format!("sha512:{}", "0".repeat(64));
    let capital = format!("sha256:{}", "A".repeat(64));
    for bad in [
        "",
        "sha256:",
        "sha256:xyz",
        "md5:0123",
        &long,
        &capital,
        "sha256",
    ] {
        let object = object(&json!({"artifact": {"url": URL, "digest": bad}}));
        let error = look(200, &object, None).await.unwrap_err();
        assert!(
            matches!(
                error,
                Error::Malformed {
                    field: "digest",
                    ..
                }
            ),
            "{error}"
        );
    }
    let object = object(&json!({"artifact": {"url": "over there", "digest": digest()}}));
    let error = look(200, &object, None).await.unwrap_err();
    assert!(
        matches!(error, Error::Malformed { field: "url", .. }),
        "{error}"
    );
}

fn archive() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(8);
    builder
        .append_data(&mut header, "src/app.py", &b"print(1)"[..])
        .unwrap();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&builder.into_inner().unwrap()).unwrap();
    encoder.finish().unwrap()
}

async fn served(answer: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(path("/a.tar.gz"))
        .respond_with(answer)
        .mount(&server)
        .await;
    server
}

fn at(server: &MockServer, digest: String) -> Artifact {
    Artifact {
        url: Url::parse(&format!("{}/a.tar.gz", server.uri())).unwrap(),
        digest,
        revision: String::new(),
    }
}

async fn fetch(artifact: &Artifact, hosts: &[&str]) -> Result<SourceFiles, Error> {
    let hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
    Artifacts::new(kube(500, &Value::Null), hosts)
        .fetch(artifact)
        .await
}

const HERE: &[&str] = &["127.0.0.1"];

#[tokio::test]
async fn an_archive_is_fetched_proven_and_unpacked() {
    let bytes = archive();
    // Some servers take the suffix for an encoding; the digest is of the compressed bytes all the same.
    let answer = ResponseTemplate::new(200).insert_header("content-encoding", "gzip");
    let server = served(answer.set_body_bytes(bytes.clone())).await;
    for digest in [
        format!("sha256:{}", hex(&Sha256::digest(&bytes))),
        format!("sha384:{}", hex(&Sha384::digest(&bytes))),
        format!("sha512:{}", hex(&Sha512::digest(&bytes))),
    ] {
        let files = fetch(&at(&server, digest), HERE).await.unwrap();
        let all: Vec<_> = files
            .iter()
            .map(|(path, bytes)| (path, &bytes[..]))
            .collect();
        assert_eq!(all, [("src/app.py", &b"print(1)"[..])]);
    }
}

#[tokio::test]
async fn other_bytes_than_the_digest_names_are_never_unpacked() {
    let server = served(ResponseTemplate::new(200).set_body_bytes("no archive at all")).await;
    let error = fetch(&at(&server, digest()), HERE).await.unwrap_err();
    assert!(
        matches!(&error, Error::Digest { expected, .. } if *expected == digest()),
        "{error}"
    );
    let proven = format!("sha256:{}", hex(&Sha256::digest("no archive at all")));
    let error = fetch(&at(&server, proven), HERE).await.unwrap_err();
    assert!(matches!(error, Error::Unpack(_)), "{error}");
}

#[tokio::test]
async fn redirects_are_not_followed_and_refusals_are_named() {
    let elsewhere = served(ResponseTemplate::new(200).set_body_bytes(archive())).await;
    let target = format!("{}/a.tar.gz", elsewhere.uri());
    let server = served(ResponseTemplate::new(302).insert_header("location", &*target)).await;
    let error = fetch(&at(&server, digest()), HERE).await.unwrap_err();
    assert!(
        matches!(error, Error::Status { status: 302, .. }),
        "{error}"
    );
    assert_eq!(elsewhere.received_requests().await.unwrap().len(), 0);
    let server = served(ResponseTemplate::new(404)).await;
    let error = fetch(&at(&server, digest()), HERE)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("404") && error.contains("newer version"),
        "{error}"
    );
}

#[tokio::test]
async fn an_archive_over_the_limit_is_given_up() {
    let body = vec![0_u8; ARCHIVE_BYTES as usize + 1];
    let server = served(ResponseTemplate::new(200).set_body_bytes(body)).await;
    let error = fetch(&at(&server, digest()), HERE).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
}

#[tokio::test]
async fn a_host_that_is_not_listed_is_never_asked() {
    let server = served(ResponseTemplate::new(200).set_body_bytes(archive())).await;
    let artifact = at(&server, digest());
    let error = fetch(&artifact, &["source-controller.flux-system"])
        .await
        .unwrap_err();
    assert!(matches!(error, Error::HostNotAllowed { .. }), "{error}");
    for part in [
        "127.0.0.1",
        "source-controller.flux-system",
        "--artifact-hosts",
    ] {
        assert!(
            error.to_string().contains(part),
            "{part} is missing in {error}"
        );
    }
    assert_eq!(server.received_requests().await.unwrap().len(), 0);
}

#[tokio::test]
async fn the_default_hosts_are_those_of_flux_alone() {
    let hosts = default_hosts();
    let allowed = |url: &str| check(&Url::parse(url).unwrap(), &hosts).is_ok();
    for good in [
        URL,
        "http://source-controller.flux-system.svc.cluster.local/x.tar.gz",
        "http://source-controller.flux-system.svc/x.tar.gz",
        "https://source-controller.flux-system./x.tar.gz",
    ] {
        assert!(allowed(good), "{good}");
    }
    for bad in [
        "http://source-controller.other.svc/x",
        "http://evil.source-controller.flux-system.svc/x",
        "http://source-controller.flux-system.svc.evil.com/x",
        "http://169.254.169.254/x",
        "http://user:canary@source-controller.flux-system/x",
        "ftp://source-controller.flux-system/x",
        "file:///etc/passwd",
    ] {
        assert!(!allowed(bad), "{bad} was let through");
    }
    let secret = Url::parse("http://u:canary@evil.com/x?token=canary").unwrap();
    let error = check(&secret, &hosts).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
}

#[test]
fn the_kinds_are_written_as_flux_writes_them() {
    for kind in [
        ArtifactKind::GitRepository,
        ArtifactKind::OciRepository,
        ArtifactKind::Bucket,
    ] {
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.to_string());
    }
}
