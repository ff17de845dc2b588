//! How a command prints its result.
use std::io::Write;

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::{Value, json};

/// How a result is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people to read.
    #[default]
    People,
    Json,
    Yaml,
}

/// The option that every command with a result has.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Output {
    /// How the result is printed. What goes to standard error is for people in any case.
    #[arg(short = 'o', long = "output", value_enum, default_value_t)]
    pub format: Format,
}

/// Why a result could not be printed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("encoding the result as {0}: {1}")]
    Encode(&'static str, String),
    #[error("writing to standard output: {0}")]
    Write(#[from] std::io::Error),
}

impl Output {
    /// Prints `result` as asked for; for people as `people` writes it.
    pub fn print<T: Serialize>(
        self,
        result: &T,
        people: impl FnOnce(&T) -> Result<String, Error>,
    ) -> Result<(), Error> {
        let text = match self.format {
            Format::People => people(result)?,
            Format::Json => {
                let json = serde_json::to_string_pretty(result);
                json.map_err(|e| Error::Encode("JSON", e.to_string()))? + "\n"
            }
            Format::Yaml => yaml(result)?,
        };
        write(text.as_bytes())
    }
}

/// Writes to standard output. A reader that has seen enough (`| head`) is no error.
pub fn write(bytes: &[u8]) -> Result<(), Error> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(Error::Write),
    }
}

/// A value as one YAML document.
pub fn yaml<T: Serialize>(value: &T) -> Result<String, Error> {
    serde_saphyr::to_string(value).map_err(|e| Error::Encode("YAML", e.to_string()))
}

/// Objects as YAML documents, as Git holds them and `kubectl apply -f` takes them, each under a comment.
pub fn documents<'a>(objects: impl Iterator<Item = (String, &'a Value)>) -> Result<String, Error> {
    objects
        .map(|(comment, object)| Ok(format!("---\n{}{}", remark(&comment), yaml(object)?)))
        .collect()
}

/// One line, whatever the text holds; nothing of an empty one.
fn remark(text: &str) -> String {
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    match text {
        "" => String::new(),
        text => format!("# {}\n", text.replace(breaks, " ")),
    }
}

/// Objects as the one object that `kubectl get -o json` gives, and `-f` takes.
pub fn list<T: Serialize>(objects: &[T]) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "items": objects})
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_comment_never_becomes_part_of_a_document() {
        let object = json!({"a": 1});
        let objects = [("from x\nb: 2\u{85}c: 3", &object), ("", &object)];
        let objects = objects.map(|(comment, object)| (comment.to_owned(), object));
        let text = documents(objects.into_iter()).unwrap();
        assert_eq!(text, "---\n# from x b: 2 c: 3\na: 1\n---\na: 1\n");
    }
}
