//! The APIs that upload, list, export and delete workspace files.
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::super::Workspace;
use super::upload::{interpret, multipart};
use super::{Content, MAX_FILE, Node, bare, parent};
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
    match workspace.files.find(path) {
        Ok(node) => Ok(show(path, &bare(path), node).into()),
        // Where every source exists, a source is a folder.
        Err(_) if workspace.rules.any_source => {
            Ok(json!({"path": path, "object_type": "DIRECTORY"}).into())
        }
        Err(missing) => Err(missing),
    }
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
