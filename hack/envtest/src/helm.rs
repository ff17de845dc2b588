//! Helm, kustomize and kubectl, as people run them against this repository.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::golang::{self, Build, GoError, GoProgram};

/// A helm to use in place of the pinned one.
pub const VARIABLE: &str = "DAO_HELM_BIN";
const MODULE: &str = "helm.sh/helm/v3";

/// Why helm or kustomize did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum HelmError {
    #[error(transparent)]
    Program(#[from] GoError),
    #[error("{VARIABLE} is {}, but there is no such file", path.display())]
    NoSuchFile { path: PathBuf },
    #[error("cannot start {}", program.display())]
    Start {
        program: PathBuf,
        #[source]
        source: io::Error,
    },
    /// What it printed on standard error, the whole of it.
    #[error("{command}: {said}")]
    Refused { command: String, said: String },
}

/// The helm to run: the one that `DAO_HELM_BIN` names, else a Helm 3 in PATH, else the version that hack/helm pins,
/// built once a machine.
pub fn helm(build: Build) -> Result<PathBuf, HelmError> {
    if let Some(path) = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
        let path = PathBuf::from(path);
        return match path.is_file() {
            true => Ok(path),
            false => Err(HelmError::NoSuchFile { path }),
        };
    }
    if is_helm_3(Path::new("helm")) {
        return Ok("helm".into());
    }
    let module = module();
    let version = golang::required_version(&module, MODULE)?;
    // The Kubernetes that `helm template` renders for, as helm's own releases are built.
    let libraries = golang::required_version(&module, "k8s.io/client-go")?;
    let (_, minor) = golang::major_minor(&libraries);
    let kubernetes = ["chartutil", "lint/rules"].map(|package| {
        let package = format!("-X {MODULE}/pkg/{package}.k8sVersion");
        format!("{package}Major=1 {package}Minor={minor}")
    });
    Ok(GoProgram {
        ldflags: format!(
            "-X {MODULE}/internal/version.version={version} {}",
            kubernetes.join(" ")
        ),
        ..tool("helm", "helm.sh/helm/v3/cmd/helm", module)
    }
    .find(build)?)
}

/// kustomize as kubectl has it built in, of the version that hack/helm pins.
pub fn kustomize(build: Build) -> Result<PathBuf, HelmError> {
    let package = "sigs.k8s.io/kustomize/kustomize/v5";
    Ok(tool("kustomize", package, module()).find(build)?)
}

/// kubectl of this machine, else of the version that hack/kubectl pins, built once a machine.
pub fn kubectl(build: Build) -> Result<PathBuf, HelmError> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let mut there = std::env::split_paths(&folders).map(|folder| folder.join("kubectl"));
    if let Some(found) = there.find(|path| path.is_file()) {
        return Ok(found);
    }
    let module = crate::repository().join("hack/kubectl");
    Ok(GoProgram {
        takes: "a few minutes",
        sources: &["go.mod", "go.sum", "main.go"],
        ..tool("kubectl", ".", module)
    }
    .find(build)?)
}

/// Runs helm with `arguments` and gives what it prints. It sees neither repositories nor plugins of the caller's; only
/// the cluster of `kubeconfig`, none without one.
pub fn run_helm<S: AsRef<OsStr>>(
    kubeconfig: Option<&Path>,
    arguments: impl IntoIterator<Item = S>,
) -> Result<String, HelmError> {
    let program = helm(Build::IfMissing)?;
    let mut command = Command::new(&program);
    let nowhere = Path::new("/dev/null");
    command
        .args(arguments)
        .env("KUBECONFIG", kubeconfig.unwrap_or(nowhere))
        .env_remove("HELM_NAMESPACE");
    output(&program, command)
}

/// Builds the folder of a kustomization.
pub fn run_kustomize(folder: &Path) -> Result<String, HelmError> {
    let program = kustomize(Build::IfMissing)?;
    let mut command = Command::new(&program);
    command.arg("build").arg(folder);
    output(&program, command)
}

fn is_helm_3(program: &Path) -> bool {
    let version = Command::new(program)
        .args(["version", "--template", "{{ .Version }}"])
        .output();
    version.is_ok_and(|said| said.stdout.starts_with(b"v3."))
}

fn module() -> PathBuf {
    crate::repository().join("hack/helm")
}

fn tool(name: &'static str, package: &'static str, module: PathBuf) -> GoProgram {
    GoProgram {
        name,
        what: name,
        takes: "about a minute",
        module,
        package,
        sources: &["go.mod", "go.sum"],
        ldflags: String::new(),
    }
}

fn output(program: &Path, mut command: Command) -> Result<String, HelmError> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| HelmError::Start {
            program: program.to_owned(),
            source,
        })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let arguments: Vec<_> = command
        .get_args()
        .map(|argument| argument.to_string_lossy())
        .collect();
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    Err(HelmError::Refused {
        command: format!("{name} {}", arguments.join(" ")),
        said: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}
