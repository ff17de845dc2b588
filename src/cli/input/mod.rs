//! Manifests from `-f`: files, folders, standard input. What every command that reads objects shares.
mod text;

use std::collections::HashMap;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::count;
use crate::admission::Field;
use crate::api::{API_VERSION, GROUP};
use crate::kinds;

/// Which manifests a command reads.
#[derive(Clone, Debug, Default, Args)]
pub struct Files {
    /// Manifest to read, YAML or JSON: a file, a folder (every .yaml, .yml and .json in it, not below it), or `-` for
    /// standard input. May be given several times. Lists are unpacked; objects of other kinds are passed over.
    #[arg(
        short = 'f',
        long = "filename",
        required = true,
        value_name = "FILE|DIR|-"
    )]
    pub filename: Vec<PathBuf>,
}

/// Where an object was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// `-` for standard input.
    pub file: String,
    /// From 1; documents without content do not count.
    pub document: usize,
    /// From 1, of the place meant.
    pub line: Option<u64>,
}

impl fmt::Display for Origin {
    /// `FILE:LINE`, the form that editors and terminals follow; without a line `FILE, document N`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, document, .. } = self;
        match self.line {
            Some(line) => write!(f, "{file}:{line}"),
            None => write!(f, "{file}, document {document}"),
        }
    }
}

/// One object of our kinds.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    pub origin: Origin,
    pub kind: String,
    /// As it is written, and so perhaps none that the API server would take.
    pub object: Value,
    lines: HashMap<Field, u64>,
}

impl Manifest {
    /// Where `field` is written, or else what should hold it.
    pub fn place(&self, field: &Field) -> Origin {
        let mut here = Some(field.clone());
        let mut line = None;
        while let (None, Some(field)) = (line, &here) {
            line = self.lines.get(field).copied();
            here = field.parent();
        }
        Origin {
            line: line.or(self.origin.line),
            ..self.origin.clone()
        }
    }

    /// `metadata.name`; empty if there is none.
    pub fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }

    pub fn namespace(&self) -> Option<&str> {
        self.object["metadata"]["namespace"].as_str()
    }

    /// `Kind namespace/name`, for messages.
    pub fn title(&self) -> String {
        title(&self.kind, self.namespace(), self.name())
    }
}

/// `Kind namespace/name`.
pub fn title(kind: &str, namespace: Option<&str>, name: &str) -> String {
    let name = if name.is_empty() { "(no name)" } else { name };
    match namespace {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{path}: reading it failed: {source}")]
    Read {
        path: String,
        source: std::io::Error,
    },
    #[error(
        "{path}: the folder itself holds no .yaml, .yml or .json, and folders below it are not entered; name those folders, each with -f, or files"
    )]
    Empty { path: String },
    #[error("{origin}: document {} is no readable YAML or JSON: {message}", .origin.document)]
    Format {
        origin: Box<Origin>,
        message: String,
    },
    #[error("{origin}: document {} is no object with apiVersion and kind", .origin.document)]
    NoKind { origin: Box<Origin> },
    #[error("{origin}: there is no kind {kind} in {api_version}; {API_VERSION} has {}", .known.join(", "))]
    UnknownKind {
        origin: Box<Origin>,
        kind: String,
        api_version: String,
        known: Vec<String>,
    },
}

impl Error {
    /// The file or folder.
    pub fn file(&self) -> &str {
        match self {
            Self::Read { path, .. } | Self::Empty { path } => path,
            Self::Format { origin, .. }
            | Self::NoKind { origin }
            | Self::UnknownKind { origin, .. } => &origin.file,
        }
    }

    /// Where in which file, as far as the error is about one place.
    pub fn origin(&self) -> Option<&Origin> {
        match self {
            Self::Read { .. } | Self::Empty { .. } => None,
            Self::Format { origin, .. }
            | Self::NoKind { origin }
            | Self::UnknownKind { origin, .. } => Some(origin),
        }
    }
}

/// What was read. A file that cannot be read keeps no other from being read.
#[derive(Debug, Default)]
pub struct Input {
    /// In the order of the arguments, of file names in a folder, of documents.
    pub manifests: Vec<Manifest>,
    pub errors: Vec<Error>,
    /// Objects of other kinds; some commands read what ours refer to.
    pub foreign: Vec<Value>,
}

/// Says on standard error how many objects of other kinds were passed over.
pub fn note_passed_over(number: usize) {
    if number > 0 {
        let foreign = count(number, "object of another kind", "objects of other kinds");
        eprintln!("passed over: {foreign}");
    }
}

/// Reads everything that `files` names.
pub fn read(files: &Files) -> Input {
    let mut input = Input::default();
    let mut reader = Reader {
        known: kinds::crds()
            .into_iter()
            .map(|crd| crd.spec.names.kind)
            .collect(),
        input: &mut input,
    };
    for path in &files.filename {
        reader.path(path);
    }
    input
}

/// As [`read`], of a text that is at hand.
#[cfg(test)]
pub fn read_text(file: &str, text: &str) -> Input {
    let mut input = Input::default();
    Reader {
        known: kinds::crds()
            .into_iter()
            .map(|crd| crd.spec.names.kind)
            .collect(),
        input: &mut input,
    }
    .text(file, text);
    input
}

struct Reader<'a> {
    known: Vec<String>,
    input: &'a mut Input,
}

impl Reader<'_> {
    fn path(&mut self, path: &Path) {
        let shown = path.display().to_string();
        let failed = |source| Error::Read {
            path: shown.clone(),
            source,
        };
        if path == Path::new("-") {
            let mut text = String::new();
            match std::io::stdin().lock().read_to_string(&mut text) {
                Ok(_) => self.text("-", &text),
                Err(source) => self.input.errors.push(failed(source)),
            }
        } else if path.is_dir() {
            match files(path) {
                Ok(files) if files.is_empty() => {
                    self.input.errors.push(Error::Empty { path: shown });
                }
                Ok(files) => files.iter().for_each(|file| self.file(file)),
                Err(source) => self.input.errors.push(failed(source)),
            }
        } else {
            self.file(path);
        }
    }

    fn file(&mut self, path: &Path) {
        let shown = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => self.text(&shown, &text),
            Err(source) => self.input.errors.push(Error::Read {
                path: shown,
                source,
            }),
        }
    }

    fn text(&mut self, file: &str, text: &str) {
        for (index, document) in text::documents(text).into_iter().enumerate() {
            let at = |line| Origin {
                file: file.to_owned(),
                document: index + 1,
                line,
            };
            match document {
                Ok(document) => {
                    let origin = at(document.lines.get(&Field::default()).copied());
                    self.object(&origin, document.value, document.lines);
                }
                Err(fault) => self.input.errors.push(Error::Format {
                    origin: Box::new(at(fault.line)),
                    message: fault.message,
                }),
            }
        }
    }

    fn object(&mut self, origin: &Origin, object: Value, lines: HashMap<Field, u64>) {
        let text = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        if api_version.is_empty() || kind.is_empty() {
            let origin = Box::new(origin.clone());
            self.input.errors.push(Error::NoKind { origin });
            return;
        }
        // `kubectl get` gives `v1/List`, the API server gives `DatabricksAppList`.
        if let (true, Value::Array(items)) = (kind.ends_with("List"), &object["items"]) {
            for (index, item) in items.iter().enumerate() {
                let root = Field::new("items").item(index);
                let lines = below(&lines, &root);
                let origin = Origin {
                    line: lines.get(&Field::default()).copied().or(origin.line),
                    ..origin.clone()
                };
                self.object(&origin, item.clone(), lines);
            }
            return;
        }
        let group = api_version.split_once('/').map(|(group, _)| group);
        if group != Some(GROUP) {
            self.input.foreign.push(object);
        } else if api_version != API_VERSION || !self.known.contains(&kind) {
            self.input.errors.push(Error::UnknownKind {
                origin: Box::new(origin.clone()),
                kind,
                api_version,
                known: self.known.clone(),
            });
        } else {
            self.input.manifests.push(Manifest {
                origin: origin.clone(),
                kind,
                object,
                lines,
            });
        }
    }
}

/// Lines of the fields under `root`, by their way from there.
fn below(lines: &HashMap<Field, u64>, root: &Field) -> HashMap<Field, u64> {
    lines
        .iter()
        .filter_map(|(field, line)| {
            let rest = field.as_str().strip_prefix(root.as_str())?;
            let inside = rest.is_empty() || rest.starts_with(['.', '[']);
            inside.then(|| (Field::new(rest.trim_start_matches('.')), *line))
        })
        .collect()
}

/// The manifests of a folder, by name. What `kustomize` reads is no manifest.
fn files(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let manifest = |path: &PathBuf| {
        let ending = path.extension().and_then(|e| e.to_str());
        matches!(ending, Some("yaml" | "yml" | "json"))
            && path.file_stem().is_none_or(|stem| stem != "kustomization")
    };
    let entries = std::fs::read_dir(dir)?.collect::<Result<Vec<_>, _>>()?;
    let mut files: Vec<PathBuf> = entries
        .into_iter()
        .map(|entry| entry.path())
        .filter(manifest)
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const APP: &str = "apiVersion: appofapps.dev/v1alpha1\nkind: DatabricksApp\nmetadata: {name: a, namespace: apps}\nspec:\n  workspaceRef: {name: prod}\n";

    fn titles(input: &Input) -> Vec<String> {
        input.manifests.iter().map(Manifest::title).collect()
    }

    #[test]
    fn other_kinds_are_counted_and_ours_are_read() {
        let text = format!(
            "apiVersion: v1\nkind: Secret\n---\n{APP}---\napiVersion: apps/v1\nkind: Deployment\n"
        );
        let input = read_text("x.yaml", &text);
        assert_eq!(titles(&input), ["DatabricksApp apps/a"]);
        assert_eq!((input.foreign.len(), input.errors.len()), (2, 0));
        assert_eq!(input.manifests[0].origin.document, 2);
    }

    #[test]
    fn lists_are_unpacked_with_the_lines_of_their_items() {
        let item = APP.trim_end().replace('\n', "\n  ");
        let text = format!("apiVersion: v1\nkind: List\nitems:\n- {item}\n- {item}\n");
        let input = read_text("x.yaml", &text);
        assert_eq!(
            titles(&input),
            ["DatabricksApp apps/a", "DatabricksApp apps/a"]
        );
        let place = input.manifests[1].place(&Field::new("spec.workspaceRef.name"));
        assert_eq!(place.line, Some(13));
        assert_eq!(place.to_string(), "x.yaml:13");
    }

    #[test]
    fn a_field_that_is_missing_is_placed_where_it_belongs() {
        let input = read_text("x.yaml", APP);
        let manifest = &input.manifests[0];
        assert_eq!(
            manifest.place(&Field::new("spec.source.workspace")).line,
            Some(5)
        );
        assert_eq!(manifest.place(&Field::new("metadata.uid")).line, Some(3));
    }

    #[test]
    fn a_mistyped_kind_of_our_group_is_an_error_that_names_the_kinds() {
        let input = read_text("x.yaml", &APP.replace("DatabricksApp", "DatabricksAp"));
        let error = input.errors[0].to_string();
        for part in [
            "x.yaml:1",
            "DatabricksAp ",
            "AppOfApps",
            "DatabricksWorkspace",
        ] {
            assert!(error.contains(part), "{part:?} is missing in {error}");
        }
        let input = read_text("x.yaml", &APP.replace("v1alpha1", "v2"));
        assert!(input.errors[0].to_string().contains("appofapps.dev/v2"));
    }

    #[test]
    fn errors_name_file_document_and_line_and_keep_nothing_else_from_being_read() {
        let input = read_text("x.yaml", &format!("{APP}---\nname: x\n---\nspec: [\n"));
        assert_eq!(input.manifests.len(), 1);
        let errors: Vec<String> = input.errors.iter().map(ToString::to_string).collect();
        assert!(errors[0].contains("x.yaml:7: document 2"), "{errors:?}");
        assert!(errors[1].contains("document 3"), "{errors:?}");
    }

    #[test]
    fn a_folder_is_read_by_name_without_kustomizations_and_an_empty_one_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        let files = |path: &Path| Files {
            filename: vec![path.to_owned()],
        };
        assert!(matches!(
            read(&files(dir.path())).errors[0],
            Error::Empty { .. }
        ));
        write("b.yml", APP);
        write("a.yaml", &APP.replace("name: a,", "name: first,"));
        write("kustomization.yaml", "resources: [a.yaml]");
        write("notes.txt", "no manifest");
        let input = read(&files(dir.path()));
        assert_eq!(
            titles(&input),
            ["DatabricksApp apps/first", "DatabricksApp apps/a"]
        );
        assert!(input.errors.is_empty());
        let absent = read(&files(&dir.path().join("absent.yaml")));
        assert!(absent.errors[0].to_string().contains("absent.yaml"));
    }
}
