//! A request as handlers see it, and what they answer. Handlers are plain functions over the workspace: no I/O, no waiting.
use std::collections::BTreeMap;

use axum::body::Bytes;
use jsonwebtoken::jwk::JwkSet;
use serde_json::{Map, Value, json};

use crate::error::{ApiError, Outcome};
use crate::workspace::{Caller, Workspace};

/// One line of a table of routes. Patterns are axum's, and what `GET /sim/requests` shows.
pub struct Route {
    pub method: &'static str,
    pub pattern: &'static str,
    pub access: Access,
    pub handler: Handler,
}

pub type Handler = fn(&mut Workspace, &Call<'_>) -> Outcome;

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Access {
    /// Whoever has a token of this workspace.
    Authenticated,
    /// Everybody: discovery and tokens.
    Public,
}

impl Route {
    pub const fn new(method: &'static str, pattern: &'static str, handler: Handler) -> Self {
        Self {
            method,
            pattern,
            access: Access::Authenticated,
            handler,
        }
    }

    pub const fn public(method: &'static str, pattern: &'static str, handler: Handler) -> Self {
        Self {
            access: Access::Public,
            ..Self::new(method, pattern, handler)
        }
    }
}

#[derive(Debug)]
pub struct Call<'a> {
    pub caller: &'a Caller,
    /// Segments of the path by their names in the pattern, decoded.
    pub params: &'a BTreeMap<String, String>,
    pub query: &'a BTreeMap<String, String>,
    /// Header names in lower case.
    pub headers: &'a BTreeMap<String, String>,
    pub body: &'a Bytes,
    /// `http://HOST` as the client wrote it.
    pub base_url: &'a str,
    /// Lists answer an empty page between each two.
    pub empty_pages: bool,
    /// A page_size over the largest page is refused.
    pub large_pages_refused: bool,
    /// Keys that were fetched for a token exchange, or why that failed.
    pub keys: Option<&'a Result<JwkSet, String>>,
    /// Real seconds that new access tokens live.
    pub token_lifetime: std::time::Duration,
}

impl Call<'_> {
    /// A segment of the path; empty if the pattern has none of this name.
    pub fn param(&self, name: &str) -> &str {
        self.params.get(name).map_or("", String::as_str)
    }

    /// A field of the query; `None` when missing or empty.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query
            .get(name)
            .map(String::as_str)
            .filter(|v| !v.is_empty())
    }

    pub fn required_query(&self, name: &str) -> Result<&str, ApiError> {
        self.query(name)
            .ok_or_else(|| ApiError::invalid(format!("Missing required field: {name}")))
    }

    pub fn flag(&self, name: &str) -> bool {
        self.query(name) == Some("true")
    }

    /// The body as a JSON object; an empty body is an empty object.
    pub fn json(&self) -> Result<Map<String, Value>, ApiError> {
        if self.body.is_empty() {
            return Ok(Map::new());
        }
        serde_json::from_slice(self.body).map_err(|e| {
            ApiError::new(
                400,
                "MALFORMED_REQUEST",
                format!("Could not parse request object: {e}"),
            )
        })
    }
}

/// A field of a body that must be a string and not empty.
pub fn required<'a>(body: &'a Map<String, Value>, name: &str) -> Result<&'a str, ApiError> {
    text(body, name).ok_or_else(|| ApiError::invalid(format!("Missing required field: {name}")))
}

/// A field of a body that is a string; `None` when missing, empty or anything else.
pub fn text<'a>(body: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    body.get(name)
        .and_then(Value::as_str)
        .filter(|v| !v.is_empty())
}

#[derive(Clone, Debug)]
pub enum Reply {
    Json(Value),
    /// Content type and bytes.
    Bytes(&'static str, Vec<u8>),
}

impl Reply {
    /// `{}`.
    pub fn empty() -> Self {
        Reply::Json(json!({}))
    }
}

impl From<Value> for Reply {
    fn from(value: Value) -> Self {
        Reply::Json(value)
    }
}
