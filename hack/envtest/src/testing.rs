//! Clusters for tests: what happens on a machine without a control plane, and one cluster for a whole test program.

use std::io::Write;
use std::sync::OnceLock;

use tokio::sync::OnceCell;

use crate::cluster::{Cluster, ClusterError, ClusterOptions};
use crate::gitops::{Gitops, GitopsError};
use crate::golang::Build;
use crate::programs::{self, ProgramError};
use crate::sys;

/// `1`: nothing may be left out; a missing control plane is a failure.
const STRICT: &str = "DAO_TEST_STRICT";

static SHARED: OnceCell<Option<Cluster>> = OnceCell::const_new();

/// A cluster of the test's own; `None` after saying that `test` was left out, when this machine has no control plane
/// and `DAO_TEST_STRICT` is not 1.
pub async fn cluster_or_leave_out(test: &str) -> Result<Option<Cluster>, ClusterError> {
    own_cluster_or_leave_out(test, ClusterOptions::default()).await
}

/// As [`cluster_or_leave_out`], for a cluster that is not as usual.
pub async fn own_cluster_or_leave_out(
    test: &str,
    options: ClusterOptions,
) -> Result<Option<Cluster>, ClusterError> {
    let cluster = tolerant_start(options).await?;
    if cluster.is_none() {
        say_left_out(test);
    }
    Ok(cluster)
}

/// The one cluster that the tests of a program share, started by the first that asks and ended with the program. Tests
/// keep apart by namespaces of their own.
pub async fn shared_cluster_or_leave_out(
    test: &str,
) -> Result<Option<&'static Cluster>, ClusterError> {
    let cluster = SHARED
        .get_or_try_init(async || {
            sys::at_exit(end_shared);
            tolerant_start(ClusterOptions::default()).await
        })
        .await?;
    if cluster.is_none() {
        say_left_out(test);
    }
    Ok(cluster.as_ref())
}

/// Whether fake workspace and operator are built; says that `test` was left out when they are not and
/// `DAO_TEST_STRICT` is not 1.
pub fn programs_or_leave_out(test: &str) -> Result<bool, ProgramError> {
    match programs::all_built() {
        Ok(()) => Ok(true),
        Err(error @ ProgramError::Missing { .. }) if !strict() => {
            let _ = writeln!(std::io::stderr(), "left out: {test}: {error}");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Argo CD's and Flux's judgement, built by the first that asks; `None` after saying that `test` was left out, when this
/// machine cannot build it and `DAO_TEST_STRICT` is not 1. Blocks for minutes while it builds.
pub fn gitops_or_leave_out(test: &str) -> Result<Option<Gitops>, GitopsError> {
    match Gitops::find(Build::IfMissing) {
        Ok(gitops) => Ok(Some(gitops)),
        Err(error) if error.nothing_to_run() && !strict() => {
            let _ = writeln!(std::io::stderr(), "left out: {test}: {error}");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn strict() -> bool {
    std::env::var(STRICT).is_ok_and(|value| value == "1")
}

/// The search is not repeated once it failed: it may have been a build of minutes.
async fn tolerant_start(options: ClusterOptions) -> Result<Option<Cluster>, ClusterError> {
    static MISSING: OnceLock<()> = OnceLock::new();
    if MISSING.get().is_some() {
        return Ok(None);
    }
    match Cluster::start(options).await {
        Ok(cluster) => Ok(Some(cluster)),
        Err(error) if error.nothing_to_start() && !strict() => {
            if MISSING.set(()).is_ok() {
                let _ = writeln!(std::io::stderr(), "{error}");
            }
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Past the test harness, which would swallow the output of a test that passes.
fn say_left_out(test: &str) {
    let _ = writeln!(
        std::io::stderr(),
        "left out, no Kubernetes control plane: {test} ({STRICT}=1 makes this a failure)"
    );
}

extern "C" fn end_shared() {
    if let Some(Some(cluster)) = SHARED.get() {
        cluster.end();
    }
}
