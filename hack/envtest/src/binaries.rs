//! Where the control plane's programs come from, in this order: `KUBEBUILDER_ASSETS`, the build cached earlier,
//! `go build` of `hack/controlplane`.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::golang::{self, GoError, GoProgram};

pub use crate::golang::Build;

/// The folder with `etcd`, `kube-apiserver` and perhaps `kube-controller-manager`, as `setup-envtest` leaves them.
pub const ASSETS: &str = "KUBEBUILDER_ASSETS";

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
        Ok(Self::in_one(program()?.find(build)?))
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

impl From<GoError> for BinariesError {
    fn from(error: GoError) -> Self {
        match error {
            GoError::Missing { cached, why } => Self::Missing { cached, why },
            GoError::Files {
                action,
                path,
                source,
            } => Self::Files {
                action,
                path,
                source,
            },
        }
    }
}

/// All parts in one program.
fn program() -> Result<GoProgram, GoError> {
    let module = crate::repository().join("hack/controlplane");
    let version = golang::required_version(&module, "k8s.io/kubernetes")?;
    let (major, minor) = golang::major_minor(&version);
    let stamp = "-X k8s.io/component-base/version";
    Ok(GoProgram {
        name: "controlplane",
        what: "the Kubernetes control plane",
        takes: "about 5 minutes",
        package: ".",
        sources: &["main.go", "go.mod", "go.sum"],
        ldflags: format!(
            "{stamp}.gitVersion={version} {stamp}.gitMajor={major} {stamp}.gitMinor={minor}"
        ),
        module,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

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
