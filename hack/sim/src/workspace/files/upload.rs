//! What an upload becomes: a file or a notebook; and uploads that come as forms instead of JSON.
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

use super::Content;
use crate::error::ApiError;
use crate::http::Call;

/// `RAW` is always a file, `AUTO` a notebook if its first line says so, `SOURCE` a notebook if a language is known.
pub fn interpret(
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
pub fn multipart(call: &Call<'_>) -> Option<Map<String, Value>> {
    let boundary = call
        .headers
        .get("content-type")?
        .strip_prefix("multipart/form-data")?
        .split("boundary=")
        .nth(1)?
        .trim_matches('"');
    let separator = format!("--{boundary}");
    let mut fields = Map::new();
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
