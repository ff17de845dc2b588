//! Programs that are built from a Go module of this repository: once a machine, cached under a name that says what
//! they are made of.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

/// May a missing program be built? That takes minutes of two cores, once a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    IfMissing,
    Never,
}

/// Why a program is not there.
#[derive(Debug, thiserror::Error)]
pub enum GoError {
    #[error("no program at {} ({why}); Go 1.26 or newer in PATH builds it, with the Go module proxy or a filled module cache", cached.display())]
    Missing { cached: PathBuf, why: String },
    #[error("cannot {action} {}", path.display())]
    Files {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// What to build, and from what.
#[derive(Clone, Debug)]
pub(crate) struct GoProgram {
    /// Start of its file's name in the cache.
    pub name: &'static str,
    /// As a message calls it, and how long a build takes on two cores.
    pub what: &'static str,
    pub takes: &'static str,
    /// Folder of the module, and the package in or required by it.
    pub module: PathBuf,
    pub package: &'static str,
    /// Files of the module that decide what is built.
    pub sources: &'static [&'static str],
    pub ldflags: String,
}

impl GoProgram {
    /// The program in the cache; builds it there first if `build` says so and it is missing. Blocks for minutes while it
    /// builds: call it from a thread that may.
    pub(crate) fn find(&self, build: Build) -> Result<PathBuf, GoError> {
        let cached = cache_folder().join(format!("{}-{}", self.name, self.fingerprint()?));
        if cached.is_file() {
            return Ok(cached);
        }
        match build {
            Build::IfMissing => self.build_once(&cached)?,
            Build::Never => {
                return Err(GoError::Missing {
                    cached,
                    why: "nothing is built in this run".into(),
                });
            }
        }
        Ok(cached)
    }

    /// Names the build after what it is made of, so that a changed source is never served from the cache.
    fn fingerprint(&self) -> Result<String, GoError> {
        let mut hash = Sha256::new();
        for name in self.sources {
            let path = self.module.join(name);
            hash.update(fs::read(&path).map_err(failed("read", &path))?);
        }
        hash.update(std::env::consts::ARCH);
        Ok(hash.finalize()[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect())
    }

    fn build_once(&self, target: &Path) -> Result<(), GoError> {
        let missing = |why: String| GoError::Missing {
            cached: target.to_owned(),
            why,
        };
        if Command::new("go").arg("version").output().is_err() {
            return Err(missing("no `go` in PATH to build one".into()));
        }
        let folder = target.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(failed("create", folder))?;
        // One builder at a time: the others wait here, then find the finished build.
        let lock = folder.join(format!("{}.lock", self.name));
        let held = File::create(&lock).map_err(failed("create", &lock))?;
        held.lock().map_err(failed("lock", &lock))?;
        if target.is_file() {
            return Ok(());
        }
        let unfinished = target.with_extension("unfinished");
        self.compile(&unfinished).map_err(missing)?;
        fs::rename(&unfinished, target).map_err(failed("move the build to", target))
    }

    fn compile(&self, output: &Path) -> Result<(), String> {
        let mut go = Command::new("go")
            .current_dir(&self.module)
            .args(["build", "-v", "-trimpath", "-ldflags"])
            .arg(format!("-s -w {}", self.ldflags))
            .arg("-o")
            .args([output, Path::new(self.package)])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("`go build` did not start: {error}"))?;
        let mut progress = Progress::new(self);
        let mut said = Vec::new();
        if let Some(pipe) = go.stderr.take() {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                progress.line(&line);
                said.push(line);
            }
        }
        let status = go
            .wait()
            .map_err(|error| format!("cannot wait for `go build`: {error}"))?;
        progress.end(status.success());
        if status.success() {
            return Ok(());
        }
        let end = said.len().saturating_sub(10);
        Err(format!("`go build` failed:\n{}\n", said[end..].join("\n")))
    }
}

/// Where builds are kept between runs.
fn cache_folder() -> PathBuf {
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(std::env::temp_dir)
        .join("databricks-app-operator")
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> GoError {
    move |source| GoError::Files {
        action,
        path: path.to_owned(),
        source,
    }
}

/// The version of `required` that the module's go.mod pins, e.g. `v1.36.3`.
pub(crate) fn required_version(module: &Path, required: &str) -> Result<String, GoError> {
    let path = module.join("go.mod");
    fs::read_to_string(&path)
        .map_err(failed("read", &path))?
        .lines()
        .find_map(|line| {
            let mut words = line.split_whitespace().skip_while(|w| *w == "require");
            (words.next() == Some(required)).then(|| words.next().map(str::to_owned))?
        })
        .ok_or_else(|| GoError::Missing {
            cached: path.clone(),
            why: format!("it requires no {required}"),
        })
}

/// `v1.36.3` → `("1", "36")`.
pub(crate) fn major_minor(version: &str) -> (&str, &str) {
    let mut parts = version.trim_start_matches('v').split('.');
    (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    )
}

/// One line redrawn on a terminal; a line now and then elsewhere, so that a CI log neither floods nor falls silent.
struct Progress {
    start: Instant,
    last: Instant,
    compiled: usize,
    downloaded: usize,
    terminal: bool,
}

impl Progress {
    fn new(program: &GoProgram) -> Self {
        eprintln!(
            "building {} from {}: {}, once a machine",
            program.what,
            program.module.display(),
            program.takes
        );
        let now = Instant::now();
        Self {
            start: now,
            last: now,
            compiled: 0,
            downloaded: 0,
            terminal: io::stderr().is_terminal(),
        }
    }

    fn line(&mut self, line: &str) {
        if line.starts_with("go: downloading") {
            self.downloaded += 1;
        } else {
            self.compiled += 1;
        }
        let pause = Duration::from_secs(if self.terminal { 1 } else { 15 });
        if self.last.elapsed() < pause {
            return;
        }
        self.last = Instant::now();
        let seconds = self.start.elapsed().as_secs();
        let text = format!(
            "  {seconds} s: {} modules downloaded, {} packages compiled",
            self.downloaded, self.compiled
        );
        let mut stderr = io::stderr();
        let _ = if self.terminal {
            write!(stderr, "\r{text}\x1b[K").and_then(|()| stderr.flush())
        } else {
            writeln!(stderr, "{text}")
        };
    }

    fn end(&self, success: bool) {
        let how = if success { "built" } else { "failed" };
        let start = if self.terminal { "\r\x1b[K" } else { "" };
        eprintln!("{start}  {how} after {} s", self.start.elapsed().as_secs());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn program(module: &Path) -> GoProgram {
        GoProgram {
            name: "program",
            what: "a program",
            takes: "a moment",
            module: module.to_owned(),
            package: ".",
            sources: &["go.mod", "go.sum"],
            ldflags: String::new(),
        }
    }

    #[test]
    fn a_changed_source_changes_the_name_of_the_build() {
        let module = tempfile::tempdir().unwrap();
        for name in ["go.mod", "go.sum"] {
            fs::write(module.path().join(name), "a").unwrap();
        }
        let program = program(module.path());
        let before = program.fingerprint().unwrap();
        assert_eq!(before, program.fingerprint().unwrap());
        fs::write(module.path().join("go.sum"), "b").unwrap();
        assert_ne!(before, program.fingerprint().unwrap());
    }

    #[test]
    fn a_version_is_the_one_that_go_mod_requires() {
        let module = crate::repository().join("hack/controlplane");
        let version = required_version(&module, "k8s.io/kubernetes").unwrap();
        assert!(version.starts_with("v1."), "{version}");
        assert_eq!(major_minor("v1.36.3"), ("1", "36"));
        let error = required_version(&module, "example.com/none").unwrap_err();
        assert!(error.to_string().contains("requires no example.com/none"));
    }
}
