//! A real Kubernetes API server, a fake Databricks workspace and the operator, each as a process of its own: for
//! tests, the demo and the playground.
//!
//! ```text
//!  Environment ─┬─ Cluster ── etcd, kube-apiserver, kube-controller-manager    (found or built by `binaries`)
//!               ├─ Sim      ── databricks-sim
//!               └─ Operator ── databricks-app-operator run, as the chart's Pod says, with its ServiceAccount's token
//! ```
//!
//! Every process dies with the one that started it, however that one ends (on Linux also by SIGKILL), and every run
//! keeps its files in a folder of its own, which goes with it.

pub mod audit;
mod binaries;
mod cluster;
pub mod detached;
mod environment;
mod folder;
mod gitops;
mod golang;
mod helm;
mod install;
pub mod large;
mod manifests;
mod pod;
mod ports;
mod process;
mod programs;
mod show;
mod sys;
mod testing;
mod tls;

use std::path::{Path, PathBuf};

pub use binaries::{Binaries, BinariesError, Build};
pub use cluster::{Cluster, ClusterError, ClusterOptions};
pub use environment::{
    Connected, Environment, EnvironmentError, EnvironmentOptions, IDENTITY, STRANGER, WORKSPACE,
    random_token,
};
pub use gitops::{Gitops, GitopsError};
pub use helm::{HelmError, helm, kubectl, kustomize, run_helm, run_kustomize};
pub use install::{InstallError, NAMESPACE, SERVICE_ACCOUNT, install, render};
pub use manifests::{ManifestError, apply, apply_path, dry_run};
pub use pod::{Pod, PodError};
pub use process::{Process, ProcessError};
pub use programs::{
    Operator, OperatorOptions, Program, ProgramError, Sim, SimOptions, operator_build,
};
pub use show::describe;
pub use testing::{
    SharedCluster, cluster_or_leave_out, control_plane_or_leave_out, gitops_or_leave_out,
    own_cluster_or_leave_out, programs_or_leave_out, shared_cluster_or_leave_out,
};

/// The repository that this crate was built in: manifests, definitions and the control plane's sources lie there.
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}
