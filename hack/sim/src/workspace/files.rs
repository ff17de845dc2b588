//! Workspace files: what deployments take their source from, and the APIs that upload, list and delete it.
use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{Workspace, numeric_id};
use crate::error::{ApiError, Outcome};
use crate::http::{Call, Reply, Route, required, text};

pub const ROUTES: &[Route] = &[
    Route::new(
        "POST",
        "/api/2.0/workspace-files/import-file/{*path}",
        import_file,
    ),
    Route::new("POST", "/api/2.0/workspace/import", import),
    Route::new("POST", "/api/2.0/workspace/mkdirs", mkdirs),
    Route::new("POST", "/api/2.0/workspace/delete", delete),
    Route::new("GET", "/api/2.0/workspace/list", list),
    Route::new("GET", "/api/2.0/workspace/get-status", get_status),
    Route::new("GET", "/api/2.0/workspace/export", export),
];

/// The largest file that `workspace/import` takes and that a deployment can copy.
pub const MAX_FILE: usize = 10_485_760;

#[derive(Clone, Debug)]
struct Node {
    content: Content,
    id: i64,
    created: i64,
    modified: i64,
}

#[derive(Clone, Debug, PartialEq)]
enum Content {
    Directory,
    File(Vec<u8>),
    /// With its language, such as `PYTHON`.
    Notebook(&'static str, Vec<u8>),
}

/// Nodes by path without `/Workspace` in front.
#[derive(Debug, Default)]
pub struct Files(BTreeMap<String, Node>);

impl Files {
    /// Adds a file with the directories above it.
    pub fn add(&mut self, path: &str, bytes: Vec<u8>, at: i64) {
        let path = bare(path);
        self.make_directory(parent(&path), at);
        self.insert(&path, Content::File(bytes), at);
    }

    /// Adds a directory and those above it. What is there stays.
    pub fn make_directory(&mut self, path: &str, at: i64) {
        let path = bare(path);
        let mut end = 0;
        while end < path.len() {
            end = path[end + 1..]
                .find('/')
                .map_or(path.len(), |at| end + 1 + at);
            if !self.0.contains_key(&path[..end]) {
                self.insert(&path[..end], Content::Directory, at);
            }
        }
    }

    pub fn is_directory(&self, path: &str) -> bool {
        let path = bare(path);
        path == "/"
            || self
                .0
                .get(&path)
                .is_some_and(|n| n.content == Content::Directory)
    }

    /// True if a file below `directory` is larger than a deployment can copy.
    pub fn has_oversized(&self, directory: &str) -> bool {
        self.below(&bare(directory)).any(
            |(_, node)| matches!(&node.content, Content::File(bytes) if bytes.len() > MAX_FILE),
        )
    }

    pub fn has_object(&self, id: &str) -> bool {
        self.0.values().any(|node| node.id.to_string() == id)
    }

    fn insert(&mut self, path: &str, content: Content, at: i64) {
        let before = self.0.get(path);
        let node = Node {
            content,
            id: before.map_or_else(numeric_id, |n| n.id),
            created: before.map_or(at, |n| n.created),
            modified: at,
        };
        self.0.insert(path.to_owned(), node);
    }

    fn below(&self, directory: &str) -> impl Iterator<Item = (&String, &Node)> {
        let prefix = format!("{}/", directory.trim_end_matches('/'));
        self.0
            .range(prefix.clone()..)
            .take_while(move |(path, _)| path.starts_with(&prefix))
    }

    fn find(&self, path: &str) -> Result<&Node, ApiError> {
        self.0
            .get(&bare(path))
            .ok_or_else(|| ApiError::missing(format!("Path ({path}) doesn't exist.")))
    }

    /// Puts a file or notebook where a client wants it.
    fn write(
        &mut self,
        path: &str,
        content: Content,
        overwrite: bool,
        at: i64,
    ) -> Result<(), ApiError> {
        let bare = bare(path);
        let above = parent(&bare);
        if above != "/" && !self.is_directory(above) {
            return Err(ApiError::missing(format!(
                "The parent folder ({above}) does not exist."
            )));
        }
        match (self.0.get(&bare).map(|n| &n.content), &content) {
            (None, _) => {}
            (Some(Content::Directory), _) => {
                return Err(ApiError::bad_request(format!("{path} is a directory.")));
            }
            (Some(Content::Notebook(..)), Content::File(_))
            | (Some(Content::File(_)), Content::Notebook(..)) => {
                return Err(ApiError::new(
                    400,
                    "RESOURCE_ALREADY_EXISTS",
                    format!("{path} already exists. Node type mismatch."),
                ));
            }
            (Some(_), _) if !overwrite => {
                return Err(ApiError::exists(format!("{path} already exists.")));
            }
            (Some(_), _) => {}
        }
        self.insert(&bare, content, at);
        Ok(())
    }
}

/// Without `/Workspace` in front and slashes at the end; always starts with a slash.
fn bare(path: &str) -> String {
    let path = path.trim_end_matches('/');
    let path = match path.strip_prefix("/Workspace") {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
        _ => path,
    };
    match path.starts_with('/') {
        true => path.to_owned(),
        false => format!("/{path}"),
    }
}

fn parent(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(at) => &path[..at],
    }
}

fn import_file(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let path = format!("/{}", call.param("path").trim_start_matches('/'));
    let at = workspace.stamp_millis();
    let content = Content::File(call.body.to_vec());
    workspace
        .files
        .write(&path, content, call.flag("overwrite"), at)?;
    Ok(Reply::empty())
}

fn import(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let body = match multipart(call) {
        Some(form) => form,
        None => call.json()?,
    };
    let path = required(&body, "path")?;
    let bytes = STANDARD
        .decode(text(&body, "content").unwrap_or_default())
        .map_err(|_| ApiError::invalid("content is not base64"))?;
    if bytes.len() > MAX_FILE {
        return Err(ApiError::new(
            400,
            "MAX_NOTEBOOK_SIZE_EXCEEDED",
            format!(
                "File size imported is ({} bytes), exceeded max size ({MAX_FILE} bytes)",
                bytes.len()
            ),
        ));
    }
    let overwrite = match body.get("overwrite") {
        Some(Value::Bool(flag)) => *flag,
        Some(Value::String(flag)) => flag == "true",
        _ => false,
    };
    let (path, content) = interpret(
        path,
        text(&body, "format").unwrap_or("SOURCE"),
        text(&body, "language"),
        bytes,
    )?;
    let at = workspace.stamp_millis();
    workspace.files.write(&path, content, overwrite, at)?;
    Ok(Reply::empty())
}

/// `RAW` is always a file, `AUTO` a notebook if its first line says so, `SOURCE` a notebook if a language is known.
fn interpret(
    path: &str,
    format: &str,
    language: Option<&str>,
    bytes: Vec<u8>,
) -> Result<(String, Content), ApiError> {
    const LANGUAGES: [(&str, &str, &str); 4] = [
        (".py", "PYTHON", "# Databricks notebook source"),
        (".sql", "SQL", "-- Databricks notebook source"),
        (".scala", "SCALA", "// Databricks notebook source"),
        (".r", "R", "# Databricks notebook source"),
    ];
    let by_suffix = LANGUAGES
        .iter()
        .find(|(suffix, _, _)| path.to_lowercase().ends_with(suffix));
    let notebook = match format {
        "RAW" => None,
        "AUTO" => by_suffix
            .filter(|(_, _, header)| bytes.starts_with(header.as_bytes()))
            .map(|(suffix, name, _)| (path.len() - suffix.len(), *name)),
        "SOURCE" => match language {
            Some(language) => LANGUAGES
                .iter()
                .find(|(_, name, _)| *name == language)
                .map(|(_, name, _)| (path.len(), *name)),
            None => {
                return Err(ApiError::invalid(
                    "Missing required field: language (with format SOURCE)",
                ));
            }
        },
        other => {
            return Err(ApiError::invalid(format!(
                "format {other} is not supported by this fake workspace: RAW, AUTO and SOURCE are"
            )));
        }
    };
    Ok(match notebook {
        Some((end, language)) => (path[..end].to_owned(), Content::Notebook(language, bytes)),
        None => (path.to_owned(), Content::File(bytes)),
    })
}

/// The fields of a `multipart/form-data` upload as the JSON body has them; `content` in base64.
fn multipart(call: &Call<'_>) -> Option<serde_json::Map<String, Value>> {
    let boundary = call
        .headers
        .get("content-type")?
        .strip_prefix("multipart/form-data")?
        .split("boundary=")
        .nth(1)?
        .trim_matches('"');
    let separator = format!("--{boundary}");
    let mut fields = serde_json::Map::new();
    for part in split(call.body, separator.as_bytes()) {
        let Some(end) = find(part, b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&part[..end]);
        let value = &part[end + 4..];
        let value = value.strip_suffix(b"\r\n").unwrap_or(value);
        let name = head.split("name=\"").nth(1)?.split('"').next()?;
        let value = match name {
            "content" => STANDARD.encode(value),
            _ => String::from_utf8_lossy(value).into_owned(),
        };
        fields.insert(name.to_owned(), value.into());
    }
    Some(fields)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}

fn split<'a>(mut bytes: &'a [u8], separator: &[u8]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    while let Some(at) = find(bytes, separator) {
        parts.push(&bytes[..at]);
        bytes = &bytes[at + separator.len()..];
    }
    parts.push(bytes);
    parts
}

fn mkdirs(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let body = call.json()?;
    let path = required(&body, "path")?;
    let mut above = bare(path);
    while above != "/" {
        let blocked = workspace
            .files
            .0
            .get(&above)
            .is_some_and(|n| n.content != Content::Directory);
        if blocked {
            return Err(ApiError::new(
                400,
                "RESOURCE_ALREADY_EXISTS",
                format!("{above} already exists and is not a directory."),
            ));
        }
        above = parent(&above).to_owned();
    }
    let at = workspace.stamp_millis();
    workspace.files.make_directory(path, at);
    Ok(Reply::empty())
}

fn delete(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let body = call.json()?;
    let path = required(&body, "path")?;
    let recursive = body.get("recursive") == Some(&Value::Bool(true));
    workspace.files.find(path)?;
    let bare = bare(path);
    let below: Vec<String> = workspace
        .files
        .below(&bare)
        .map(|(path, _)| path.clone())
        .collect();
    if !below.is_empty() && !recursive {
        return Err(ApiError::new(
            400,
            "DIRECTORY_NOT_EMPTY",
            format!("Folder ({path}) is not empty"),
        ));
    }
    for gone in below {
        workspace.files.0.remove(&gone);
    }
    workspace.files.0.remove(&bare);
    Ok(Reply::empty())
}

fn list(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let path = call.required_query("path")?;
    let bare = bare(path);
    let since: i64 = match call.query("notebooks_modified_after") {
        None => i64::MIN,
        Some(text) => text.parse().map_err(|_| {
            ApiError::invalid(format!(
                "notebooks_modified_after must be milliseconds, got '{text}'"
            ))
        })?,
    };
    if bare != "/" {
        let node = workspace.files.find(path)?;
        if node.content != Content::Directory {
            return Ok(json!({"objects": [show(path, &bare, node)]}).into());
        }
    }
    let objects: Vec<Value> = workspace
        .files
        .below(&bare)
        .filter(|(below, node)| {
            parent(below) == bare
                && (node.modified >= since || !matches!(node.content, Content::Notebook(..)))
        })
        .map(|(below, node)| show(path, below, node))
        .collect();
    Ok(match objects.is_empty() {
        true => Reply::empty(),
        false => json!({"objects": objects}).into(),
    })
}

fn get_status(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let path = call.required_query("path")?;
    let node = workspace.files.find(path)?;
    Ok(show(path, &bare(path), node).into())
}

fn export(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let path = call.required_query("path")?;
    let bytes = match &workspace.files.find(path)?.content {
        Content::File(bytes) | Content::Notebook(_, bytes) => bytes.clone(),
        Content::Directory => {
            return Err(ApiError::invalid(format!(
                "{path} is a directory; this fake workspace exports files and notebooks"
            )));
        }
    };
    if call.flag("direct_download") {
        return Ok(Reply::Bytes("application/octet-stream", bytes));
    }
    Ok(json!({"content": STANDARD.encode(bytes)}).into())
}

/// Paths read back with `/Workspace` in front if the question had it.
fn show(asked: &str, path: &str, node: &Node) -> Value {
    let prefix = if asked.starts_with("/Workspace") {
        "/Workspace"
    } else {
        ""
    };
    let mut shown = json!({
        "path": format!("{prefix}{path}"),
        "object_id": node.id,
        "resource_id": node.id.to_string(),
        "created_at": node.created,
        "modified_at": node.modified,
    });
    match &node.content {
        Content::Directory => shown["object_type"] = "DIRECTORY".into(),
        Content::File(bytes) => {
            shown["object_type"] = "FILE".into();
            shown["size"] = bytes.len().into();
        }
        Content::Notebook(language, _) => {
            shown["object_type"] = "NOTEBOOK".into();
            shown["language"] = (*language).into();
        }
    }
    shown
}
