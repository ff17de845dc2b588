//! What the service says when it refuses: one type for every handler, and the shapes in which it can reach a client.
use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::http::Reply;

/// A refusal of the service.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    pub status: u16,
    pub code: Cow<'static, str>,
    pub message: String,
    family: Family,
}

/// Which API refuses: each family has a body of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Family {
    Rest,
    Scim,
    OAuth,
}

/// The shape of an error body, when a fault asks for another than the API's own.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorShape {
    /// `error_code` is the HTTP status as a number.
    IntCode,
    /// `details` with ErrorInfo, RequestInfo, RetryInfo and a kind that no client knows.
    Details,
    /// `{schemas, detail, status, scimType}`.
    Scim,
    /// `{"error": "…"}`, as API 1.2 answered.
    Legacy,
    /// A page with the message in `<pre>`.
    Html,
    /// `CODE: message`.
    Text,
    Empty,
}

pub type Outcome = Result<Reply, ApiError>;

impl ApiError {
    pub fn new(
        status: u16,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            status,
            code: code.into(),
            message: message.into(),
            family: Family::Rest,
        }
    }

    /// 400 `INVALID_PARAMETER_VALUE`.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "INVALID_PARAMETER_VALUE", message)
    }

    /// 400 `BAD_REQUEST`.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BAD_REQUEST", message)
    }

    /// 404 `RESOURCE_DOES_NOT_EXIST`.
    pub fn missing(message: impl Into<String>) -> Self {
        Self::new(404, "RESOURCE_DOES_NOT_EXIST", message)
    }

    /// 409 `RESOURCE_ALREADY_EXISTS`.
    pub fn exists(message: impl Into<String>) -> Self {
        Self::new(409, "RESOURCE_ALREADY_EXISTS", message)
    }

    /// 403 `PERMISSION_DENIED`.
    pub fn denied(message: impl Into<String>) -> Self {
        Self::new(403, "PERMISSION_DENIED", message)
    }

    /// An OAuth answer: `{"error": code, "error_description": message}`.
    pub fn oauth(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            family: Family::OAuth,
            ..Self::new(status, code, message)
        }
    }

    /// The same refusal with the body of the SCIM API.
    pub fn in_scim(self) -> Self {
        Self {
            family: Family::Scim,
            ..self
        }
    }

    /// `(content type, body)`; `request_id` goes into the details.
    pub fn body(&self, shape: Option<ErrorShape>, request_id: &str) -> (&'static str, String) {
        const JSON: &str = "application/json";
        let rest = json!({"error_code": self.code, "message": self.message});
        let scim = json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
            "detail": self.message,
            "status": self.status.to_string(),
        });
        match (shape, self.family) {
            (None, Family::Rest) => (JSON, rest.to_string()),
            (None, Family::Scim) | (Some(ErrorShape::Scim), _) => (JSON, scim.to_string()),
            (None, Family::OAuth) => (
                JSON,
                json!({"error": self.code, "error_description": self.message}).to_string(),
            ),
            (Some(ErrorShape::IntCode), _) => (
                JSON,
                json!({"error_code": self.status, "message": self.message}).to_string(),
            ),
            (Some(ErrorShape::Details), _) => {
                (JSON, with_details(rest, &self.code, request_id).to_string())
            }
            (Some(ErrorShape::Legacy), _) => (JSON, json!({"error": self.message}).to_string()),
            (Some(ErrorShape::Html), _) => (
                "text/html",
                format!(
                    "<html><head><title>Error {}</title></head><body><pre>{}: {}</pre></body></html>",
                    self.status, self.code, self.message
                ),
            ),
            (Some(ErrorShape::Text), _) => {
                ("text/plain", format!("{}: {}", self.code, self.message))
            }
            (Some(ErrorShape::Empty), _) => ("text/plain", String::new()),
        }
    }
}

fn with_details(mut body: Value, code: &str, request_id: &str) -> Value {
    let kind = |name: &str| format!("type.googleapis.com/google.rpc.{name}");
    body["details"] = json!([
        {"@type": kind("ErrorInfo"), "reason": code, "domain": "apps.databricks.com", "metadata": {}},
        {"@type": kind("RequestInfo"), "request_id": request_id, "serving_data": ""},
        {"@type": kind("RetryInfo"), "retry_delay": "3s"},
        {"@type": "type.googleapis.com/databricks.Unheard", "of": [1, {"deep": null}]},
    ]);
    body
}
