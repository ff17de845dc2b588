//! Folders and files of a workspace: what an app's source is read from, and uploaded to.
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::digest;
use crate::databricks::{self, Client, Method, Route};
use crate::worlds::files::{self, shown};

const LIST: Route = Route::normal("workspace/list");
const EXPORT: Route = Route::normal("workspace/export");
const MKDIRS: Route = Route::normal("workspace/mkdirs");
const IMPORT: Route = Route::normal("workspace-files/import-file");
const DELETE: Route = Route::normal("workspace/delete");
/// A look costs a call for each folder.
const FOLDERS: usize = 200;
/// More than an upload may have, as others upload with tools of their own.
const ENTRIES: usize = 10_000;
/// Neither a slash, which would end a name, nor a per cent sign may pass.
const NAME: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Why a folder could not be read or written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    #[error("{action} {path}: {source}")]
    Call {
        action: &'static str,
        path: String,
        #[source]
        source: Box<databricks::Error>,
    },
    #[error("listing {path}: it is a file; name the folder that it lies in")]
    NotAFolder { path: String },
    #[error(
        "listing {path}: it has more than {limit} {what}; watch a smaller folder, or deploy on request"
    )]
    TooMany {
        path: String,
        what: &'static str,
        limit: usize,
    },
    #[error("uploading {path:?}: the path holds an empty name, `.` or `..`")]
    Path { path: String },
}

impl Error {
    /// Whether the service says that the path does not exist.
    pub fn is_missing(&self) -> bool {
        self.service()
            .is_some_and(|error| matches!(error, databricks::Error::NotFound(_)))
    }

    /// The error of the call, if a call failed.
    pub fn service(&self) -> Option<&databricks::Error> {
        match self {
            Self::Call { source, .. } => Some(source),
            Self::NotAFolder { .. } | Self::TooMany { .. } | Self::Path { .. } => None,
        }
    }
}

/// What a deployment copies. Dashboards, libraries and the like are no part of an app's source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    Notebook,
}

/// One file as the service lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Below the listed folder, with `/` between names
    pub path: String,
    pub kind: Kind,
    pub object_id: i64,
    /// Milliseconds since 1970, by the service's clock
    pub modified_at: i64,
    /// In bytes; the service tells it of files alone
    pub size: Option<u64>,
}

/// The files of a folder and of those below it, in the order of paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    entries: Vec<Entry>,
}

impl Listing {
    pub fn new(mut entries: Vec<Entry>) -> Self {
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Self { entries }
    }

    /// In the order of paths.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// `sha256:…`, equal as long as nothing was written to the folder, be it with equal bytes.
    pub fn digest(&self) -> String {
        let rows: Vec<Value> = self
            .entries
            .iter()
            .map(|e| {
                let notebook = e.kind == Kind::Notebook;
                json!([e.path, notebook, e.object_id, e.modified_at, e.size])
            })
            .collect();
        format!("sha256:{}", digest::of(&Value::Array(rows)))
    }
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    objects: Vec<Object>,
}

#[derive(Deserialize)]
struct Object {
    path: String,
    #[serde(default)]
    object_type: String,
    #[serde(default)]
    object_id: i64,
    #[serde(default)]
    modified_at: i64,
    size: Option<u64>,
}

/// Every file at and below `path`, by one call a folder. A folder that goes meanwhile counts as empty; that `path` itself
/// does not exist is an error for which [`Error::is_missing`] holds.
pub async fn list(client: &Client, path: &str) -> Result<Listing, Error> {
    let root = path.trim_end_matches('/');
    let (mut entries, mut folders) = (Vec::new(), vec![String::new()]);
    let mut next = 0;
    while let Some(folder) = folders.get(next).cloned() {
        next += 1;
        let asked = format!("{root}{}{folder}", if folder.is_empty() { "" } else { "/" });
        let objects = match page(client, &asked).await {
            Err(error) if error.is_missing() && !folder.is_empty() => continue,
            objects => objects?,
        };
        for object in objects {
            if folder.is_empty() && bare(&object.path) == bare(root) {
                return Err(Error::NotAFolder {
                    path: root.to_owned(),
                });
            }
            // The service may leave out the `/Workspace` that it was asked with.
            let Some(name) = object.path.rsplit('/').next().filter(|n| !n.is_empty()) else {
                continue;
            };
            let path = match folder.as_str() {
                "" => name.to_owned(),
                folder => format!("{folder}/{name}"),
            };
            let kind = match object.object_type.as_str() {
                "FILE" => Kind::File,
                "NOTEBOOK" => Kind::Notebook,
                "DIRECTORY" | "REPO" => {
                    folders.push(path);
                    continue;
                }
                _ => continue,
            };
            entries.push(Entry {
                path,
                kind,
                object_id: object.object_id,
                modified_at: object.modified_at,
                size: object.size,
            });
        }
        for (what, count, limit) in [
            ("files", entries.len(), ENTRIES),
            ("folders", folders.len(), FOLDERS),
        ] {
            if count > limit {
                return Err(Error::TooMany {
                    path: root.to_owned(),
                    what,
                    limit,
                });
            }
        }
    }
    Ok(Listing::new(entries))
}

async fn page(client: &Client, path: &str) -> Result<Vec<Object>, Error> {
    let query = [("path", path)];
    let answer = client.get(LIST, "/api/2.0/workspace/list", &query).await;
    let page: Result<Page, _> = answer.and_then(|answer| answer.decode());
    Ok(page.map_err(failed("listing", path))?.objects)
}

/// The [`files::hash`] of a file's content, or of a notebook's source.
pub async fn hash(client: &Client, path: &str) -> Result<String, Error> {
    let query = [
        ("path", path),
        ("format", "AUTO"),
        ("direct_download", "true"),
    ];
    let answer = client
        .get_bytes(EXPORT, "/api/2.0/workspace/export", &query)
        .await
        .map_err(failed("reading", path))?;
    Ok(files::hash(&answer.body))
}

/// Makes a folder and those above it; one that exists stays as it is. Returns the request's id, if the service tells it.
pub async fn make_folder(client: &Client, path: &str) -> Result<Option<String>, Error> {
    let body = json!({"path": path});
    post(client, MKDIRS, "/api/2.0/workspace/mkdirs", &body)
        .await
        .map_err(failed("making folder", path))
}

/// Writes a file as it is, over one that may be there; its folder must exist. Returns the request's id, if the service
/// tells it.
pub async fn put_file(
    client: &Client,
    path: &str,
    content: &Bytes,
) -> Result<Option<String>, Error> {
    let names: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    if names.iter().any(|name| matches!(*name, "" | "." | "..")) {
        return Err(Error::Path { path: shown(path) });
    }
    let names: Vec<String> = names
        .into_iter()
        .map(|name| utf8_percent_encode(name, NAME).to_string())
        .collect();
    let route = format!("/api/2.0/workspace-files/import-file/{}", names.join("/"));
    let query = [("overwrite", "true")];
    let answer = client
        .send_bytes(IMPORT, Method::POST, &route, &query, content)
        .await
        .map_err(failed("uploading", path))?;
    Ok(answer.request_id)
}

/// Deletes a folder and everything in it; one that is gone is done. Returns the request's id, if the service tells it.
pub async fn delete_folder(client: &Client, path: &str) -> Result<Option<String>, Error> {
    let body = json!({"path": path, "recursive": true});
    match post(client, DELETE, "/api/2.0/workspace/delete", &body).await {
        Err(databricks::Error::NotFound(error)) => Ok(error.request_id),
        result => result.map_err(failed("deleting folder", path)),
    }
}

async fn post(
    client: &Client,
    route: Route,
    path: &str,
    body: &Value,
) -> Result<Option<String>, databricks::Error> {
    let answer = client.send(route, Method::POST, path, &[], Some(body));
    Ok(answer.await?.request_id)
}

fn failed(action: &'static str, path: &str) -> impl FnOnce(databricks::Error) -> Error {
    let path = shown(path);
    move |error| Error::Call {
        action,
        path,
        source: Box::new(error),
    }
}

/// Without the `/Workspace` that may stand before any path.
fn bare(path: &str) -> &str {
    let rest = path.strip_prefix("/Workspace").unwrap_or(path);
    if rest.starts_with('/') { rest } else { path }
}

#[cfg(test)]
mod tests;
