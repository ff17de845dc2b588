//! From status, headers and bytes to a value or a typed error. Pure.
//!
//! The service has many error shapes: JSON with a code (now and then an int), the 1.2 API's `{"error"}`,
//! SCIM, OAuth, `CODE: message` as text, HTML with a `<pre>`, nothing at all.

use std::time::Duration;

use serde_json::Value;

use super::error::{ApiError, Error, FieldViolation};

const MESSAGE_BYTES: usize = 1024;
const CODE_BYTES: usize = 128;
const VIOLATIONS: usize = 8;

/// What of an answer decides its meaning, besides its body.
#[derive(Clone, Debug, Default)]
pub(super) struct Head {
    pub host: String,
    pub status: u16,
    pub content_type: Option<String>,
    pub location: Option<String>,
    /// In wire time
    pub retry_after: Option<Duration>,
    pub request_id: Option<String>,
    pub org_id: Option<String>,
}

/// The JSON of a good answer (an empty one is `{}`), or what the answer means.
pub(super) fn classify(head: &Head, body: &[u8]) -> Result<Value, Error> {
    if (300..400).contains(&head.status) {
        return Err(redirect(head));
    }
    if head.status < 300 {
        return success(head, body);
    }
    Err(failure(head, body))
}

fn success(head: &Head, body: &[u8]) -> Result<Value, Error> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    match serde_json::from_slice(body) {
        Ok(value) => Ok(value),
        Err(_) if looks_html(head, body) => Err(not_json(head, "HTML")),
        Err(error) => Err(Error::Decode {
            what: "a request".to_owned(),
            path: "body".to_owned(),
            // serde_json's syntax errors give a place, never content.
            message: error.to_string(),
        }),
    }
}

/// Redirects are never followed with credentials, so what they say is read here.
fn redirect(head: &Head) -> Error {
    let location = head.location.as_deref().unwrap_or_default();
    if location.contains("private-link-validation-error") {
        return Error::PermissionDenied(Box::new(ApiError {
            status: 403,
            error_code: "PRIVATE_LINK_VALIDATION_ERROR".to_owned(),
            message: "the workspace admits private connections only; run the operator in a network that its private link serves"
                .to_owned(),
            request_id: head.request_id.clone(),
            ..ApiError::default()
        }));
    }
    // The query of a login redirect may hold state, so it is not shown.
    let target = location.split(['?', '#']).next().unwrap_or_default();
    not_json(head, &format!("a redirect to {:?}", clean(target, 200)))
}

fn not_json(head: &Head, what: &str) -> Error {
    Error::NotJson {
        host: head.host.clone(),
        status: head.status,
        what: what.to_owned(),
    }
}

fn failure(head: &Head, body: &[u8]) -> Error {
    let text = String::from_utf8_lossy(body);
    let trimmed = text.trim();
    let mut error = ApiError {
        status: head.status,
        request_id: head.request_id.clone(),
        ..ApiError::default()
    };
    let mut delay = None;
    if let Ok(Value::Object(object)) = serde_json::from_slice::<Value>(body) {
        from_json(&object, &mut error, &mut delay);
    } else if looks_html(head, body) {
        match preformatted(trimmed) {
            // A 404 page is no statement about an object: it would be read as "the app is gone".
            Some(message) if head.status != 404 => error.message = clean(&message, MESSAGE_BYTES),
            _ => return not_json(head, "HTML"),
        }
    } else if let Some((code, message)) = coded_text(trimmed) {
        error.error_code = code.to_owned();
        error.message = clean(message, MESSAGE_BYTES);
    } else {
        error.message = clean(trimmed, MESSAGE_BYTES);
    }
    if error.error_code.is_empty() {
        error.error_code = default_code(head.status).to_owned();
    }
    meaning(Box::new(error), head.retry_after.or(delay))
}

fn from_json(
    object: &serde_json::Map<String, Value>,
    error: &mut ApiError,
    delay: &mut Option<Duration>,
) {
    let text = |key: &str| object.get(key).and_then(Value::as_str);
    error.error_code = match object.get("error_code") {
        Some(Value::String(code)) => clean(code, CODE_BYTES),
        Some(Value::Number(code)) => code.to_string(),
        _ => String::new(),
    };
    let scim = object
        .get("schemas")
        .and_then(Value::as_array)
        .is_some_and(|schemas| {
            schemas
                .iter()
                .any(|s| s.as_str().is_some_and(|s| s.contains("scim")))
        });
    if error.error_code.is_empty() && (scim || object.contains_key("scimType")) {
        error.error_code = format!("SCIM_{}", error.status);
    }
    let message = match (
        text("message"),
        text("error_description"),
        text("detail"),
        text("error"),
    ) {
        (Some(message), ..) => message.to_owned(),
        (None, Some(description), ..) => {
            if let (true, Some(code)) = (error.error_code.is_empty(), text("error")) {
                error.error_code = clean(code, CODE_BYTES);
            }
            description.to_owned()
        }
        (None, None, Some(detail), _) => match text("scimType") {
            Some(kind) => format!("{kind}: {detail}"),
            None => detail.to_owned(),
        },
        (None, None, None, Some(error)) => error.to_owned(),
        (None, None, None, None) => String::new(),
    };
    error.message = clean(&message, MESSAGE_BYTES);
    for detail in object
        .get("details")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        from_detail(detail, error, delay);
    }
}

/// Of the `details` only known parts are kept: an opaque echo of our request could hold a secret.
fn from_detail(detail: &Value, error: &mut ApiError, delay: &mut Option<Duration>) {
    let kind = detail
        .get("@type")
        .and_then(Value::as_str)
        .and_then(|kind| kind.rsplit('.').next())
        .unwrap_or_default();
    let text = |key: &str| detail.get(key).and_then(Value::as_str);
    match kind {
        "RequestInfo" => {
            if let Some(id) = text("request_id") {
                error.request_id = Some(clean(id, CODE_BYTES));
            }
        }
        "RetryInfo" => *delay = text("retry_delay").and_then(seconds),
        "ErrorInfo" => error.reason = text("reason").map(|reason| clean(reason, CODE_BYTES)),
        "BadRequest" => {
            let violations = detail.get("field_violations").and_then(Value::as_array);
            for violation in violations.into_iter().flatten().take(VIOLATIONS) {
                let part = |key: &str| {
                    clean(
                        violation
                            .get(key)
                            .and_then(Value::as_str)
                            .unwrap_or_default(),
                        256,
                    )
                };
                error.violations.push(FieldViolation {
                    field: part("field"),
                    description: part("description"),
                });
            }
        }
        _ => {}
    }
}

/// `"3s"`, `"1.5s"`.
fn seconds(text: &str) -> Option<Duration> {
    let number: f64 = text.strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f64(number).ok()
}

/// Some codes win over the status, the others are judged by the status alone.
fn meaning(error: Box<ApiError>, retry_after: Option<Duration>) -> Error {
    let busy = |error| Error::TooManyRequests { error, retry_after };
    let unavailable = |error| Error::Unavailable { error, retry_after };
    match error.error_code.as_str() {
        "INVALID_PARAMETER_VALUE" | "INVALID_STATE" => return Error::InvalidRequest(error),
        "RESOURCE_DOES_NOT_EXIST" => return Error::NotFound(error),
        // The route, not the object, is unknown.
        "ENDPOINT_NOT_FOUND" => return Error::InvalidRequest(error),
        "ABORTED" | "ALREADY_EXISTS" | "RESOURCE_ALREADY_EXISTS" => return Error::Conflict(error),
        "RESOURCE_EXHAUSTED" | "REQUEST_LIMIT_EXCEEDED" => return busy(error),
        "QUOTA_EXCEEDED" | "RESOURCE_LIMIT_EXCEEDED" if error.status < 500 => {
            return Error::Quota(error);
        }
        "UNKNOWN" | "DATA_LOSS" => return unavailable(error),
        _ => {}
    }
    // SCIM wraps the code of a full bucket in a 500.
    if error.message.contains("REQUEST_LIMIT_EXCEEDED")
        || error
            .message
            .contains("RPC token bucket limit has been exceeded")
    {
        return busy(error);
    }
    match error.status {
        401 => Error::Unauthenticated(error),
        403 => Error::PermissionDenied(error),
        404 => Error::NotFound(error),
        409 => Error::Conflict(error),
        429 => busy(error),
        408 | 499.. => unavailable(error),
        _ => Error::InvalidRequest(error),
    }
}

fn default_code(status: u16) -> &'static str {
    match status {
        400 => "BAD_REQUEST",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "RESOURCE_CONFLICT",
        429 => "TOO_MANY_REQUESTS",
        499 => "CANCELLED",
        500 => "INTERNAL_ERROR",
        501 => "NOT_IMPLEMENTED",
        503 => "TEMPORARILY_UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        // Not "UNKNOWN": that code has a meaning of its own.
        _ if status < 500 => "CLIENT_ERROR",
        _ => "SERVER_ERROR",
    }
}

fn looks_html(head: &Head, body: &[u8]) -> bool {
    let typed = head
        .content_type
        .as_deref()
        .is_some_and(|kind| kind.to_ascii_lowercase().contains("html"));
    typed || body.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'<')
}

/// The text inside the first `<pre>`.
fn preformatted(html: &str) -> Option<String> {
    let (_, rest) = html.split_once("<pre>")?;
    let (inner, _) = rest.split_once("</pre>")?;
    Some(inner.trim().to_owned())
}

/// `CODE: message`, the code in capitals.
fn coded_text(text: &str) -> Option<(&str, &str)> {
    let (code, message) = text.split_once(": ")?;
    let coded = code.len() <= CODE_BYTES
        && code.starts_with(|c: char| c.is_ascii_uppercase())
        && code
            .chars()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    coded.then_some((code, message))
}

/// At most `limit` bytes, one line, no control characters.
pub(super) fn clean(text: &str, limit: usize) -> String {
    let mut out = String::new();
    for c in text.chars() {
        let c = if c.is_control() { ' ' } else { c };
        if out.len() + c.len_utf8() > limit {
            while out.len() + '…'.len_utf8() > limit {
                out.pop();
            }
            out.push('…');
            break;
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use proptest::prelude::*;

    use super::*;

    fn head(status: u16) -> Head {
        Head {
            host: "h".to_owned(),
            status,
            ..Head::default()
        }
    }

    fn variant(error: &Error) -> &'static str {
        match error {
            Error::Unauthenticated(_) => "Unauthenticated",
            Error::PermissionDenied(_) => "PermissionDenied",
            Error::NotFound(_) => "NotFound",
            Error::Conflict(_) => "Conflict",
            Error::TooManyRequests { .. } => "TooManyRequests",
            Error::InvalidRequest(_) => "InvalidRequest",
            Error::Quota(_) => "Quota",
            Error::Unavailable { .. } => "Unavailable",
            Error::NotJson { .. } => "NotJson",
            Error::Decode { .. } => "Decode",
            _ => "other",
        }
    }

    #[test]
    fn every_shape_of_error_body_is_understood() {
        let table: &[(u16, &str, &str, &str, &str)] = &[
            (
                400,
                r#"{"error_code":"INVALID_PARAMETER_VALUE","message":"m"}"#,
                "InvalidRequest",
                "INVALID_PARAMETER_VALUE",
                "m",
            ),
            (
                400,
                r#"{"error_code":"RESOURCE_DOES_NOT_EXIST","message":"m"}"#,
                "NotFound",
                "RESOURCE_DOES_NOT_EXIST",
                "m",
            ),
            (
                404,
                r#"{"error_code":"INVALID_STATE","message":"m"}"#,
                "InvalidRequest",
                "INVALID_STATE",
                "m",
            ),
            (
                404,
                r#"{"error_code":"ENDPOINT_NOT_FOUND","message":"m"}"#,
                "InvalidRequest",
                "ENDPOINT_NOT_FOUND",
                "m",
            ),
            (
                404,
                r#"{"error_code":404,"message":"m"}"#,
                "NotFound",
                "404",
                "m",
            ),
            (
                400,
                r#"{"error_code":"ALREADY_EXISTS"}"#,
                "Conflict",
                "ALREADY_EXISTS",
                "",
            ),
            (
                409,
                r#"{"error_code":"RESOURCE_CONFLICT"}"#,
                "Conflict",
                "RESOURCE_CONFLICT",
                "",
            ),
            (
                400,
                r#"{"error_code":"RESOURCE_EXHAUSTED"}"#,
                "TooManyRequests",
                "RESOURCE_EXHAUSTED",
                "",
            ),
            (
                403,
                r#"{"error_code":"QUOTA_EXCEEDED"}"#,
                "Quota",
                "QUOTA_EXCEEDED",
                "",
            ),
            (
                500,
                r#"{"detail":"REQUEST_LIMIT_EXCEEDED: slow down","schemas":["urn:ietf:params:scim:api:messages:2.0:Error"]}"#,
                "TooManyRequests",
                "SCIM_500",
                "REQUEST_LIMIT_EXCEEDED: slow down",
            ),
            (
                409,
                r#"{"schemas":["urn:ietf:params:scim:api:messages:2.0:Error"],"detail":"taken","scimType":"uniqueness","status":"409"}"#,
                "Conflict",
                "SCIM_409",
                "uniqueness: taken",
            ),
            (
                400,
                r#"{"error":"old style"}"#,
                "InvalidRequest",
                "BAD_REQUEST",
                "old style",
            ),
            (
                401,
                r#"{"error":"invalid_client","error_description":"no"}"#,
                "Unauthenticated",
                "invalid_client",
                "no",
            ),
            (
                400,
                "MALFORMED_REQUEST: no good",
                "InvalidRequest",
                "MALFORMED_REQUEST",
                "no good",
            ),
            (
                503,
                "<html><body><pre> Service\nUnavailable </pre></body></html>",
                "Unavailable",
                "TEMPORARILY_UNAVAILABLE",
                "Service Unavailable",
            ),
            (502, "", "Unavailable", "SERVER_ERROR", ""),
            (404, "", "NotFound", "NOT_FOUND", ""),
            (429, "slow", "TooManyRequests", "TOO_MANY_REQUESTS", "slow"),
            (418, "[1]", "InvalidRequest", "CLIENT_ERROR", "[1]"),
            (
                400,
                r#"{"error_code":"UNKNOWN"}"#,
                "Unavailable",
                "UNKNOWN",
                "",
            ),
        ];
        for (status, body, want, code, message) in table {
            let error = classify(&head(*status), body.as_bytes()).unwrap_err();
            assert_eq!(variant(&error), *want, "{status} {body}");
            let api = error.api().unwrap();
            assert_eq!(
                (api.error_code.as_str(), api.message.as_str()),
                (*code, *message),
                "{body}"
            );
            assert_eq!(error.status(), Some(*status));
        }
    }

    #[test]
    fn a_page_is_never_taken_for_an_answer_about_an_object() {
        let page = b"<!DOCTYPE html><html>login</html>";
        for status in [200, 404, 403, 502] {
            let error = classify(&head(status), page).unwrap_err();
            assert_eq!(variant(&error), "NotJson", "{status}");
            assert!(error.to_string().contains("workspaceID"), "{error}");
        }
        let with_pre = b"<html><pre>Not Found</pre></html>";
        assert_eq!(
            variant(&classify(&head(404), with_pre).unwrap_err()),
            "NotJson"
        );
    }

    #[test]
    fn a_private_link_redirect_is_a_denied_permission_and_other_redirects_keep_their_query_secret()
    {
        let mut redirect = head(302);
        redirect.location = Some("/login.html?error=private-link-validation-error:1".to_owned());
        assert_eq!(
            variant(&classify(&redirect, b"").unwrap_err()),
            "PermissionDenied"
        );
        redirect.location = Some("https://login.example.com/x?state=canary".to_owned());
        let shown = classify(&redirect, b"").unwrap_err().to_string();
        assert!(
            shown.contains("login.example.com/x") && !shown.contains("canary"),
            "{shown}"
        );
    }

    #[test]
    fn details_give_request_id_delay_reason_and_fields() {
        let body = br#"{"error_code":"REQUEST_LIMIT_EXCEEDED","message":"m","details":[
            {"@type":"type.googleapis.com/google.rpc.RequestInfo","request_id":"r-1"},
            {"@type":"type.googleapis.com/google.rpc.RetryInfo","retry_delay":"1.5s"},
            {"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"WHY"},
            {"@type":"type.googleapis.com/google.rpc.BadRequest","field_violations":[{"field":"name","description":"bad"}]},
            {"@type":"type.googleapis.com/google.rpc.Whatever","x":1}, 7]}"#;
        let error = classify(&head(429), body).unwrap_err();
        assert_eq!(error.request_id(), Some("r-1"));
        assert_eq!(error.retry_after(), Some(Duration::from_millis(1500)));
        let api = error.api().unwrap();
        assert_eq!(api.reason.as_deref(), Some("WHY"));
        assert_eq!(api.violations[0].field, "name");
        let mut told = head(429);
        told.retry_after = Some(Duration::from_secs(9));
        assert_eq!(
            classify(&told, body).unwrap_err().retry_after(),
            Some(Duration::from_secs(9))
        );
    }

    #[test]
    fn an_empty_good_answer_is_an_empty_object() {
        assert_eq!(classify(&head(200), b"").unwrap(), serde_json::json!({}));
        assert_eq!(classify(&head(204), b" \n").unwrap(), serde_json::json!({}));
    }

    #[test]
    fn what_may_have_been_committed_is_ambiguous() {
        for (status, body, want) in [
            (500, "", true),
            (503, "", true),
            (200, "<html>", true),
            (200, "{", true),
            (429, "", false),
            (400, "", false),
            (404, "<html>", false),
            (302, "", false),
        ] {
            let error = classify(&head(status), body.as_bytes()).unwrap_err();
            assert_eq!(error.is_ambiguous(), want, "{status} {body:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_messages_stay_bounded(
            status in 100u16..=999,
            body in proptest::collection::vec(any::<u8>(), 0..3000),
            html in any::<bool>(),
        ) {
            let mut head = head(status);
            if html { head.content_type = Some("text/html".to_owned()); }
            if let Err(error) = classify(&head, &body)
                && let Some(api) = error.api()
            {
                prop_assert!(api.message.len() <= MESSAGE_BYTES);
                prop_assert!(!api.message.chars().any(char::is_control));
            }
        }

        #[test]
        fn cutting_keeps_the_limit(text in "\\PC*", limit in 3usize..64) {
            prop_assert!(clean(&text, limit).len() <= limit);
        }
    }
}
