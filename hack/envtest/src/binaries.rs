//! Where the control plane's programs come from, in this order: `KUBEBUILDER_ASSETS`, the build cached earlier,
//! `go build` of `hack/controlplane`.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

/// The folder with `etcd`, `kube-apiserver` and perhaps `kube-controller-manager`, as `setup-envtest` leaves them.
pub const ASSETS: &str = "KUBEBUILDER_ASSETS";

const SOURCES: [&str; 3] = ["main.go", "go.mod", "go.sum"];

/// May a missing control plane be built? That takes about five minutes of two cores, once a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    IfMissing,
    Never,
}

/// Why there is no control plane.
#[derive(Debug, thiserror::Error)]
pub enum BinariesError {
    #[error("{ASSETS} is {}, but there is no {missing} in it", folder.display())]
    Assets {
        folder: PathBuf,
        missing: &'static str,
    },
    #[error(
        "no Kubernetes control plane on this machine ({why}). Any one of these three gives one:\n\
         \x20 1. {ASSETS}=FOLDER with etcd and kube-apiserver in it (`setup-envtest use -p path` prints such a folder)\n\
         \x20 2. a build cached earlier at {} (`make controlplane` makes it)\n\
         \x20 3. Go 1.26 or newer in PATH, to build hack/controlplane (about 5 minutes, once; needs the Go module proxy or a filled module cache)",
        cached.display()
    )]
    Missing { cached: PathBuf, why: String },
    #[error("cannot {action} {}", path.display())]
    Files {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// One program of the control plane: an executable and the argument that selects the part, if it holds several.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    path: PathBuf,
    part: Option<&'static str>,
}

impl Program {
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.args(self.part);
        command
    }
}

/// The programs that one control plane is made of.
#[derive(Clone, Debug)]
pub struct Binaries {
    pub(crate) etcd: Program,
    pub(crate) apiserver: Program,
    /// Absent when `KUBEBUILDER_ASSETS` holds none: then nothing is garbage collected and no namespace goes away.
    pub(crate) controllers: Option<Program>,
}

impl Binaries {
    /// Looks in the documented order; builds only if `build` says so. Blocks for minutes while it builds: call it
    /// from a thread that may.
    pub fn find(build: Build) -> Result<Self, BinariesError> {
        if let Some(folder) = std::env::var_os(ASSETS).filter(|value| !value.is_empty()) {
            return Self::in_folder(Path::new(&folder));
        }
        let module = crate::repository().join("hack/controlplane");
        let cached = cache_folder().join(format!("controlplane-{}", fingerprint(&module)?));
        if !cached.is_file() {
            match build {
                Build::IfMissing => build_once(&module, &cached)?,
                Build::Never => {
                    return Err(BinariesError::Missing {
                        cached,
                        why: "nothing is built in this run".into(),
                    });
                }
            }
        }
        Ok(Self::in_one(cached))
    }

    fn in_folder(folder: &Path) -> Result<Self, BinariesError> {
        let program = |name: &'static str| {
            let path = folder.join(name);
            path.is_file().then_some(Program { path, part: None })
        };
        let required = |name| {
            program(name).ok_or_else(|| BinariesError::Assets {
                folder: folder.to_owned(),
                missing: name,
            })
        };
        Ok(Self {
            etcd: required("etcd")?,
            apiserver: required("kube-apiserver")?,
            controllers: program("kube-controller-manager"),
        })
    }

    fn in_one(path: PathBuf) -> Self {
        let program = |part| Program {
            path: path.clone(),
            part: Some(part),
        };
        Self {
            etcd: program("etcd"),
            apiserver: program("kube-apiserver"),
            controllers: Some(program("kube-controller-manager")),
        }
    }
}

/// Where they are: one path, or one a line where each is a program of its own.
impl std::fmt::Display for Binaries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.etcd.path.display())?;
        let others = [Some(&self.apiserver), self.controllers.as_ref()];
        for program in others.into_iter().flatten() {
            if program.part.is_none() {
                write!(f, "\n{}", program.path.display())?;
            }
        }
        Ok(())
    }
}

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

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BinariesError {
    move |source| BinariesError::Files {
        action,
        path: path.to_owned(),
        source,
    }
}

/// Names the build after what it is made of, so that a changed source is never served from the cache.
fn fingerprint(module: &Path) -> Result<String, BinariesError> {
    let mut hash = Sha256::new();
    for name in SOURCES {
        let path = module.join(name);
        hash.update(fs::read(&path).map_err(failed("read", &path))?);
    }
    hash.update(std::env::consts::ARCH);
    Ok(hash.finalize()[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

fn build_once(module: &Path, target: &Path) -> Result<(), BinariesError> {
    let missing = |why: String| BinariesError::Missing {
        cached: target.to_owned(),
        why,
    };
    if Command::new("go").arg("version").output().is_err() {
        return Err(missing("no `go` in PATH to build one".into()));
    }
    let folder = target.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(failed("create", folder))?;
    // One builder at a time: the others wait here, then find the finished build.
    let lock = folder.join("controlplane.lock");
    let held = File::create(&lock).map_err(failed("create", &lock))?;
    held.lock().map_err(failed("lock", &lock))?;
    if target.is_file() {
        return Ok(());
    }
    let unfinished = target.with_extension("unfinished");
    compile(module, &unfinished).map_err(missing)?;
    fs::rename(&unfinished, target).map_err(failed("move the build to", target))
}

fn compile(module: &Path, output: &Path) -> Result<(), String> {
    let version = kubernetes_version(module)?;
    let (major, minor) = version
        .trim_start_matches('v')
        .split_once('.')
        .and_then(|(major, rest)| Some((major, rest.split_once('.')?.0)))
        .ok_or_else(|| format!("go.mod requires k8s.io/kubernetes {version}, no version"))?;
    let stamp = "-X k8s.io/component-base/version";
    let mut go = Command::new("go")
        .current_dir(module)
        .args(["build", "-v", "-trimpath", "-ldflags"])
        .arg(format!(
            "-s -w {stamp}.gitVersion={version} {stamp}.gitMajor={major} {stamp}.gitMinor={minor}"
        ))
        .arg("-o")
        .args([output, Path::new(".")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("`go build` did not start: {error}"))?;
    let mut progress = Progress::new();
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

fn kubernetes_version(module: &Path) -> Result<String, String> {
    let path = module.join("go.mod");
    fs::read_to_string(&path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?
        .lines()
        .find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes "))
        .map(|version| version.trim().to_owned())
        .ok_or_else(|| format!("{} requires no k8s.io/kubernetes", path.display()))
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
    fn new() -> Self {
        eprintln!(
            "building the Kubernetes control plane from hack/controlplane: about 5 minutes, once a machine"
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

    #[test]
    fn a_folder_of_assets_needs_etcd_and_the_api_server_but_no_controllers() {
        let folder = tempfile::tempdir().unwrap();
        let missing = |folder: &Path| Binaries::in_folder(folder).unwrap_err().to_string();
        assert!(missing(folder.path()).contains("no etcd in it"));
        fs::write(folder.path().join("etcd"), "").unwrap();
        assert!(missing(folder.path()).contains("no kube-apiserver in it"));
        fs::write(folder.path().join("kube-apiserver"), "").unwrap();
        assert!(
            Binaries::in_folder(folder.path())
                .unwrap()
                .controllers
                .is_none()
        );
        fs::write(folder.path().join("kube-controller-manager"), "").unwrap();
        assert!(
            Binaries::in_folder(folder.path())
                .unwrap()
                .controllers
                .is_some()
        );
    }

    #[test]
    fn a_changed_source_changes_the_name_of_the_build() {
        let module = tempfile::tempdir().unwrap();
        for name in SOURCES {
            fs::write(module.path().join(name), "a").unwrap();
        }
        let before = fingerprint(module.path()).unwrap();
        assert_eq!(before, fingerprint(module.path()).unwrap());
        fs::write(module.path().join("go.sum"), "b").unwrap();
        assert_ne!(before, fingerprint(module.path()).unwrap());
    }

    #[test]
    fn the_server_gets_the_version_that_go_mod_requires() {
        let module = crate::repository().join("hack/controlplane");
        assert!(kubernetes_version(&module).unwrap().starts_with("v1."));
    }

    #[test]
    fn the_message_without_a_control_plane_names_all_three_ways() {
        let error = BinariesError::Missing {
            cached: "/cache/controlplane-1".into(),
            why: "no `go` in PATH to build one".into(),
        };
        let text = error.to_string();
        for way in [ASSETS, "/cache/controlplane-1", "Go 1.26"] {
            assert!(text.contains(way), "{way} is not in: {text}");
        }
    }
}
