//! Lists in pages. A token names the last key of its page, so that what comes or goes between two pages moves nothing else.
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use crate::error::ApiError;
use crate::http::Call;

/// The token of an empty page has this in front of its key.
const EMPTY: char = '\u{1}';

/// One page of `items`, which come in ascending order of their keys, as `{field: […], next_page_token}`.
/// `limit` bounds the page whatever the client asks for; only what is on the page is rendered.
pub fn page<T>(
    call: &Call<'_>,
    field: &str,
    limit: usize,
    items: impl IntoIterator<Item = (String, T)>,
    render: impl Fn(T) -> Value,
) -> Result<Value, ApiError> {
    let size = match call.query("page_size") {
        None => limit,
        Some(text) => match text.parse::<usize>() {
            Ok(0) => limit,
            Ok(size) if size > limit && call.large_pages_refused => {
                return Err(ApiError::invalid(format!(
                    "page_size must not be greater than {limit}, got {size}"
                )));
            }
            Ok(size) => size.min(limit),
            Err(_) => {
                return Err(ApiError::invalid(format!(
                    "page_size must be a non-negative integer, got '{text}'"
                )));
            }
        },
    };
    let after = call.query("page_token").map(decode).transpose()?;
    if let Some(key) = after.as_ref().and_then(|key| key.strip_prefix(EMPTY)) {
        return Ok(json!({field: [], "next_page_token": encode(key)}));
    }
    let mut rest = items
        .into_iter()
        .skip_while(|(key, _)| after.as_ref().is_some_and(|after| key <= after));
    let mut shown: Vec<Value> = Vec::new();
    let mut last = String::new();
    for (key, item) in rest.by_ref().take(size) {
        shown.push(render(item));
        last = key;
    }
    let mut answer = json!({});
    if !shown.is_empty() {
        answer[field] = shown.into();
    }
    if rest.next().is_some() {
        if call.empty_pages {
            last.insert(0, EMPTY);
        }
        answer["next_page_token"] = encode(&last).into();
    }
    Ok(answer)
}

/// Renders what is kept as it is read.
pub fn object(fields: &Map<String, Value>) -> Value {
    Value::Object(fields.clone())
}

fn encode(key: &str) -> String {
    URL_SAFE_NO_PAD.encode(key)
}

fn decode(token: &str) -> Result<String, ApiError> {
    URL_SAFE_NO_PAD
        .decode(token)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| ApiError::invalid(format!("Invalid page token: {token}")))
}
