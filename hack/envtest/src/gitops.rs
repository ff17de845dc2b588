//! The judgement of Argo CD and Flux: hack/gitops, which links their own libraries.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::golang::{Build, GoError, GoProgram};

const SOURCES: &[&str] = &[
    "application.go",
    "argo.go",
    "flux.go",
    "go.mod",
    "go.sum",
    "inventory.go",
    "judge.go",
    "kubectl.go",
    "links.go",
    "lua.go",
    "main.go",
    "objects.go",
    "scripts.go",
    "suite.go",
    "sync.go",
    "tracking.go",
];

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum GitopsError {
    #[error(transparent)]
    Program(#[from] GoError),
    #[error("cannot {action} {}", program.display())]
    Run {
        action: &'static str,
        program: PathBuf,
        #[source]
        source: io::Error,
    },
    /// What it printed on standard error, the whole of it.
    #[error("gitops {command}: {said}")]
    Refused { command: String, said: String },
    #[error("gitops {command} printed no JSON")]
    Answer {
        command: String,
        #[source]
        source: serde_json::Error,
    },
}

impl GitopsError {
    /// Whether there is simply no way to build the program on this machine.
    pub fn nothing_to_run(&self) -> bool {
        matches!(self, Self::Program(GoError::Missing { .. }))
    }
}

/// The program of hack/gitops, built.
#[derive(Clone, Debug)]
pub struct Gitops {
    program: PathBuf,
}

impl Gitops {
    /// In the cache; builds it there first if `build` says so and it is missing. Blocks for minutes while it builds: call
    /// it from a thread that may.
    pub fn find(build: Build) -> Result<Self, GitopsError> {
        let program = GoProgram {
            name: "gitops",
            what: "the libraries of Argo CD and Flux",
            takes: "about 2 minutes",
            module: crate::repository().join("hack/gitops"),
            package: ".",
            sources: SOURCES,
            ldflags: String::new(),
        };
        let program = program.find(build)?;
        Ok(Self { program })
    }

    /// Where it is.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Runs a command on `input`, a YAML or JSON stream of objects; returns what it printed. Blocks until it ends.
    pub fn run<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
        input: &str,
    ) -> Result<Value, GitopsError> {
        let failed = |action| {
            let program = self.program.clone();
            move |source| GitopsError::Run {
                action,
                program,
                source,
            }
        };
        let mut command = Command::new(&self.program);
        command.args(arguments);
        let called = command
            .get_args()
            .map(|argument| argument.to_string_lossy().into_owned())
            .collect::<Vec<_>>()
            .join(" ");
        let mut child = command
            .env_remove("KUBECONFIG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed("start"))?;
        if let Some(mut stdin) = child.stdin.take() {
            match stdin.write_all(input.as_bytes()) {
                // A command that reads no input may have ended already.
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                    return Err(failed("write to")(error));
                }
                _ => {}
            }
        }
        let output = child.wait_with_output().map_err(failed("wait for"))?;
        if !output.status.success() {
            return Err(GitopsError::Refused {
                command: called,
                said: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            });
        }
        serde_json::from_slice(&output.stdout).map_err(|source| GitopsError::Answer {
            command: called,
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_source_of_the_module_is_part_of_the_name_of_the_build() {
        let folder = std::fs::read_dir(crate::repository().join("hack/gitops")).unwrap();
        let mut files: Vec<String> = folder
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        assert_eq!(files, SOURCES);
    }

    #[test]
    fn the_kubernetes_libraries_are_those_of_the_control_plane() {
        let module = crate::repository().join("hack/controlplane");
        let kubernetes = crate::golang::required_version(&module, "k8s.io/kubernetes").unwrap();
        let minor = kubernetes.strip_prefix("v1.").unwrap();
        let path = crate::repository().join("hack/gitops/go.mod");
        let text = std::fs::read_to_string(path).unwrap();
        let libraries: Vec<&str> = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("k8s.io/"))
            .filter(|library| library.contains(" v0.3") || library.starts_with("kubernetes "))
            .collect();
        assert!(libraries.len() > 5, "{libraries:?}");
        for library in libraries {
            let version = library.split_whitespace().nth(1).unwrap();
            assert_eq!(&version[3..], minor, "{library}");
        }
    }
}
