//! An answer on its way out: rendered, dressed by faults, and given the headers of the service.
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use super::Reply;
use crate::error::{ErrorShape, Outcome};

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    content_type: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    pub fn render(
        outcome: Outcome,
        shape: Option<ErrorShape>,
        extra_fields: bool,
        request_id: &str,
    ) -> Self {
        match outcome {
            Ok(Reply::Json(mut value)) => {
                if extra_fields {
                    sprinkle(&mut value);
                }
                Self::new(200, "application/json", value.to_string())
            }
            Ok(Reply::Bytes(content_type, bytes)) => Self::new(200, content_type, bytes),
            Err(error) => {
                let (content_type, body) = error.body(shape, request_id);
                let mut answer = Self::new(error.status, content_type, body);
                if error.status == 401 {
                    answer = answer.with("WWW-Authenticate", "Bearer realm=\"DatabricksRealm\"");
                }
                answer
            }
        }
    }

    /// What a fault makes up. Text is sent as it is; its type follows from how it looks.
    pub fn invented(status: u16, body: &Value, request_id: &str) -> Self {
        let text = match body {
            Value::Null => {
                let code = code_of(status);
                let body = json!({"error_code": code, "message": format!("Injected fault: {code} ({request_id})")});
                return Self::new(status, "application/json", body.to_string());
            }
            Value::String(text) => text,
            json => return Self::new(status, "application/json", json.to_string()),
        };
        let content_type = match text.trim_start().chars().next() {
            Some('<') => "text/html",
            Some('{' | '[') => "application/json",
            _ => "text/plain",
        };
        Self::new(status, content_type, text.clone())
    }

    fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            content_type: content_type.to_owned(),
            headers: Vec::new(),
            body: body.into(),
        }
    }

    /// Adds a header; `Content-Type` replaces the one that is there.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        if name.eq_ignore_ascii_case("content-type") {
            value.clone_into(&mut self.content_type);
        } else {
            self.headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    pub fn into_response(self, workspace_id: u64, request_id: &str) -> Response<Body> {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let fixed = [
            ("content-type".to_owned(), self.content_type),
            ("x-databricks-org-id".to_owned(), workspace_id.to_string()),
            ("x-request-id".to_owned(), request_id.to_owned()),
        ];
        for (name, value) in fixed.into_iter().chain(self.headers) {
            if let (Ok(name), Ok(value)) = (
                HeaderName::from_bytes(name.as_bytes()),
                HeaderValue::from_str(&value),
            ) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

fn code_of(status: u16) -> &'static str {
    match status {
        400 => "BAD_REQUEST",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "RESOURCE_DOES_NOT_EXIST",
        409 => "RESOURCE_CONFLICT",
        429 => "REQUEST_LIMIT_EXCEEDED",
        501 => "NOT_IMPLEMENTED",
        503 => "TEMPORARILY_UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        _ => "INTERNAL_ERROR",
    }
}

/// Puts a field that no client knows into every object.
fn sprinkle(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(sprinkle),
        Value::Object(fields) => {
            fields.values_mut().for_each(sprinkle);
            fields.insert(
                "x_unheard_of".into(),
                json!({"since": "tomorrow", "levels": [1, null, {"deep": true}]}),
            );
        }
        _ => {}
    }
}
