//! Clusters for tests: what happens on a machine without a control plane, and the few that all tests of a program share.
//!
//! A start takes seconds, so most tests borrow a cluster that others used before, one at a time: an operator watches every
//! namespace, and definitions, roles and the audit log belong to the whole cluster. Tests wait more than they compute, so
//! there are [`LANES`] of them; one that is idle is taken before another is started. A test that fails keeps what it left
//! behind from the next one: its cluster ends with it.

use std::io::Write;
use std::ops::Deref;
use std::sync::{Arc, Mutex, Once, OnceLock, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::binaries::{Binaries, BinariesError, Build};
use crate::cluster::{Cluster, ClusterError, ClusterOptions};
use crate::gitops::{Gitops, GitopsError};
use crate::programs::{self, ProgramError};
use crate::sys;

/// `1`: nothing may be left out; a missing control plane is a failure.
const STRICT: &str = "DAO_TEST_STRICT";

/// Most clusters that are shared at a time; a scene on one takes about a fifth of a core and half a gigabyte.
const LANES: usize = 3;
static FREE: Semaphore = Semaphore::const_new(LANES);
static IDLE: Mutex<Vec<Arc<Cluster>>> = Mutex::new(Vec::new());

/// A cluster that its holder has to itself, with what earlier holders left in it: a test keeps to namespaces of its own.
pub struct SharedCluster {
    cluster: Arc<Cluster>,
    // Given back after the cluster was.
    _lane: Option<SemaphorePermit<'static>>,
}

impl Deref for SharedCluster {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl Drop for SharedCluster {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            idle().push(self.cluster.clone());
        }
    }
}

fn idle() -> std::sync::MutexGuard<'static, Vec<Arc<Cluster>>> {
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}

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
    match control_plane_or_leave_out(test).await? {
        true => Cluster::start(options).await.map(Some),
        false => Ok(None),
    }
}

/// The next shared cluster that nobody has, for as long as the caller keeps it; `None` as in [`cluster_or_leave_out`].
pub async fn shared_cluster_or_leave_out(
    test: &str,
) -> Result<Option<SharedCluster>, ClusterError> {
    static AT_EXIT: Once = Once::new();
    AT_EXIT.call_once(|| sys::at_exit(end_shared));
    // Nobody closes it, so this is no error.
    let lane = FREE.acquire().await.ok();
    let used = idle().pop();
    let cluster = match used {
        Some(cluster) => Some(cluster),
        None => cluster_or_leave_out(test).await?.map(Arc::new),
    };
    Ok(cluster.map(|cluster| SharedCluster {
        cluster,
        _lane: lane,
    }))
}

/// Whether this machine has a control plane, built by the first that asks; says that `test` was left out when it has none
/// and `DAO_TEST_STRICT` is not 1. Takes minutes while it builds.
pub async fn control_plane_or_leave_out(test: &str) -> Result<bool, ClusterError> {
    /// The search is not repeated once it failed: it may have been a build of minutes.
    static MISSING: OnceLock<()> = OnceLock::new();
    if MISSING.get().is_none() {
        let search = tokio::task::spawn_blocking(|| Binaries::find(Build::IfMissing));
        match search.await.map_err(ClusterError::Interrupted)? {
            Ok(_) => return Ok(true),
            Err(error @ BinariesError::Missing { .. }) if !strict() => {
                if MISSING.set(()).is_ok() {
                    let _ = writeln!(std::io::stderr(), "{error}");
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    say_left_out(test);
    Ok(false)
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

/// Past the test harness, which would swallow the output of a test that passes.
fn say_left_out(test: &str) {
    let _ = writeln!(
        std::io::stderr(),
        "left out, no Kubernetes control plane: {test} ({STRICT}=1 makes this a failure)"
    );
}

extern "C" fn end_shared() {
    for cluster in idle().drain(..) {
        cluster.end();
    }
}
