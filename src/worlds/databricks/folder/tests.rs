//! Against the fake workspace, over HTTP.
#![allow(clippy::unwrap_used)]
use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;

use databricks_sim::{Config, Simulator};
use futures::future::{BoxFuture, FutureExt};
use secrecy::SecretString;
use url::Url;

use super::*;
use crate::databricks::{
    ClientSettings, CredentialSource, Credentials, HostPolicy, SourceError, Timeouts, UserAgent,
};
use crate::telemetry::{Clock, Metrics};
use crate::worlds::files::{FILE_BYTES, SourceFiles};

const TOKEN: &str = "dapi-folder";
const ROOT: &str = "/Workspace/Users/ops@example.com/apps";

struct Pat;

impl CredentialSource for Pat {
    fn read(&self) -> BoxFuture<'_, Result<Credentials, SourceError>> {
        async { Ok(Credentials::Token(SecretString::from(TOKEN))) }.boxed()
    }
}

async fn workspace() -> (Simulator, Client) {
    let config = Config::default().with_pat(TOKEN, "ops@example.com");
    let sim = Simulator::start(config).await.unwrap();
    let client = Client::new(ClientSettings {
        host: Url::parse(&sim.url()).unwrap(),
        source: Arc::new(Pat),
        host_policy: HostPolicy {
            allowed: vec!["127.0.0.1".parse().unwrap()],
            allow_insecure: true,
        },
        requests_per_second: NonZeroU32::new(600).unwrap(),
        burst: NonZeroU32::new(600).unwrap(),
        ca_bundle: None,
        workspace_id: None,
        account_id: None,
        user_agent: UserAgent {
            product: "test".into(),
            version: "0".into(),
            instance: "folder".into(),
        },
        timeouts: Timeouts::default(),
        clock: Clock::new(1),
        metrics: Metrics::new(),
        term: crate::term::Term::always(),
    });
    (sim, client.unwrap())
}

/// Uploads as the operator does: folders first, parents before children.
async fn upload(client: &Client, files: &SourceFiles) {
    make_folder(client, ROOT).await.unwrap();
    for folder in files.folders() {
        make_folder(client, &format!("{ROOT}/{folder}"))
            .await
            .unwrap();
    }
    for (path, content) in files.iter() {
        put_file(client, &format!("{ROOT}/{path}"), content)
            .await
            .unwrap();
    }
}

fn files(of: &[(&str, &[u8])]) -> SourceFiles {
    let mut files = SourceFiles::default();
    for (path, content) in of {
        files.add(path, Bytes::copy_from_slice(content)).unwrap();
    }
    files
}

fn paths(listing: &Listing) -> Vec<&str> {
    listing.entries().iter().map(|e| e.path.as_str()).collect()
}

#[tokio::test]
async fn what_was_uploaded_is_listed_and_read_back_byte_by_byte() {
    let (_sim, client) = workspace().await;
    let files = files(&[
        ("app.py", b"# Databricks notebook source\nprint(1)"),
        ("a/b/deep.bin", b"\0\xff\r\n"),
        ("a/%41 b/ü?#&+;=.py", b"odd"),
        ("empty", b""),
    ]);
    upload(&client, &files).await;
    let listing = list(&client, &format!("{ROOT}/")).await.unwrap();
    let uploaded: Vec<_> = files.iter().map(|(path, _)| path).collect();
    assert_eq!(paths(&listing), uploaded);
    let mut hashes = Vec::new();
    for (entry, (path, content)) in listing.entries().iter().zip(files.iter()) {
        assert_eq!(entry.kind, Kind::File, "{path}");
        assert_eq!(entry.size, Some(content.len() as u64), "{path}");
        assert!(entry.modified_at > 0 && entry.object_id != 0);
        hashes.push(hash(&client, &format!("{ROOT}/{path}")).await.unwrap());
    }
    let known = listing.entries().iter().zip(&hashes);
    let digest = files::content_digest(known.map(|(e, hash)| (e.path.as_str(), hash.as_str())));
    assert_eq!(digest, files.digest());
    let ids: BTreeSet<_> = listing.entries().iter().map(|e| e.object_id).collect();
    assert_eq!(ids.len(), 4);
}

#[tokio::test]
async fn the_digest_of_a_listing_stays_until_something_is_written() {
    let (_sim, client) = workspace().await;
    upload(&client, &files(&[("app.py", b"1"), ("lib/x.py", b"2")])).await;
    let before = list(&client, ROOT).await.unwrap();
    assert_eq!(before.digest(), list(&client, ROOT).await.unwrap().digest());
    let again = list(&client, ROOT.strip_prefix("/Workspace").unwrap()).await;
    assert_eq!(before.digest(), again.unwrap().digest());
    put_file(
        &client,
        &format!("{ROOT}/lib/x.py"),
        &Bytes::from_static(b"333"),
    )
    .await
    .unwrap();
    let after = list(&client, ROOT).await.unwrap();
    assert_ne!(before.digest(), after.digest());
    assert_eq!(paths(&before), paths(&after));
}

#[tokio::test]
async fn notebooks_count_as_files() {
    let (_sim, client) = workspace().await;
    make_folder(&client, ROOT).await.unwrap();
    let body = json!({"path": format!("{ROOT}/report"), "language": "PYTHON", "format": "SOURCE", "content": "cHJpbnQoMSk="});
    let route = Route::normal("workspace/import");
    client
        .send(
            route,
            Method::POST,
            "/api/2.0/workspace/import",
            &[],
            Some(&body),
        )
        .await
        .unwrap();
    let listing = list(&client, ROOT).await.unwrap();
    assert_eq!(paths(&listing), ["report"]);
    assert_eq!(
        (listing.entries()[0].kind, listing.entries()[0].size),
        (Kind::Notebook, None)
    );
    let hash = hash(&client, &format!("{ROOT}/report")).await.unwrap();
    assert_eq!(hash, files::hash(b"print(1)"));
}

#[tokio::test]
async fn missing_empty_and_no_folder_are_told_apart() {
    let (_sim, client) = workspace().await;
    let error = list(&client, ROOT).await.unwrap_err();
    assert!(
        error.is_missing() && error.to_string().contains(ROOT),
        "{error}"
    );
    let error = hash(&client, &format!("{ROOT}/app.py")).await.unwrap_err();
    assert!(error.is_missing(), "{error}");
    let file = format!("{ROOT}/app.py");
    let error = put_file(&client, &file, &Bytes::new()).await.unwrap_err();
    assert!(error.is_missing(), "{error}");
    make_folder(&client, ROOT).await.unwrap();
    make_folder(&client, ROOT).await.unwrap();
    assert_eq!(list(&client, ROOT).await.unwrap(), Listing::default());
    put_file(&client, &file, &Bytes::new()).await.unwrap();
    let error = list(&client, &file).await.unwrap_err();
    assert!(
        matches!(error, Error::NotAFolder { .. }) && !error.is_missing(),
        "{error}"
    );
}

#[tokio::test]
async fn a_file_may_be_named_as_its_folder_is() {
    let (_sim, client) = workspace().await;
    upload(&client, &files(&[("apps", b"1")])).await;
    assert_eq!(paths(&list(&client, ROOT).await.unwrap()), ["apps"]);
}

#[tokio::test]
async fn a_folder_is_deleted_with_all_that_is_in_it_once_or_twice() {
    let (_sim, client) = workspace().await;
    upload(&client, &files(&[("app.py", b"1"), ("lib/x.py", b"2")])).await;
    delete_folder(&client, ROOT).await.unwrap();
    assert!(list(&client, ROOT).await.unwrap_err().is_missing());
    delete_folder(&client, ROOT).await.unwrap();
}

#[tokio::test]
async fn no_path_leads_an_upload_elsewhere() {
    let (_sim, client) = workspace().await;
    for bad in ["../x", "a/../../x", "./x", "a//x", "x/"] {
        let path = format!("{ROOT}/{bad}");
        let error = put_file(&client, &path, &Bytes::new()).await.unwrap_err();
        assert!(matches!(error, Error::Path { .. }), "{bad}: {error}");
    }
}

#[tokio::test]
async fn the_largest_file_is_uploaded_and_read() {
    let (_sim, client) = workspace().await;
    let content = Bytes::from(vec![7; FILE_BYTES as usize]);
    make_folder(&client, ROOT).await.unwrap();
    let file = format!("{ROOT}/big.bin");
    put_file(&client, &file, &content).await.unwrap();
    assert_eq!(hash(&client, &file).await.unwrap(), files::hash(&content));
}

#[tokio::test]
async fn a_folder_of_too_many_folders_is_given_up() {
    let (_sim, client) = workspace().await;
    for n in 0..=FOLDERS {
        make_folder(&client, &format!("{ROOT}/{n}")).await.unwrap();
    }
    let error = list(&client, ROOT).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::TooMany {
                what: "folders",
                ..
            }
        ),
        "{error}"
    );
}
