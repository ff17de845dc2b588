//! Workspace files: what deployments take their source from.
mod api;
mod upload;

use std::collections::BTreeMap;

use super::numeric_id;
use crate::error::ApiError;

pub use api::ROUTES;

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

    /// True for the root, too.
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

    /// Whether an object has this id, which is how permissions name files.
    pub fn has_object(&self, id: &str) -> bool {
        self.0.values().any(|node| node.id.to_string() == id)
    }

    /// Keeps the id and the time of creation of what was there.
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

    /// Everything below a directory, at any depth, in the order of paths.
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
