//! The three programs, their flags, and where their files lie in the run's folder.

use std::path::{Path, PathBuf};

use super::{ClusterError, credentials, failed};
use crate::audit;
use crate::binaries::{Binaries, Program};
use crate::process::Process;

const CONTROLLERS: &str = "garbage-collector-controller,namespace-controller,serviceaccount-controller,clusterrole-aggregation-controller";

/// One port a listener, all on 127.0.0.1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    etcd: u16,
    peers: u16,
    apiserver: u16,
    controllers: u16,
}

impl From<[u16; 4]> for Ports {
    fn from([etcd, peers, apiserver, controllers]: [u16; 4]) -> Self {
        Self {
            etcd,
            peers,
            apiserver,
            controllers,
        }
    }
}

impl Ports {
    fn etcd(&self) -> String {
        format!("http://127.0.0.1:{}", self.etcd)
    }

    pub(super) fn etcd_health(&self) -> String {
        format!("{}/health", self.etcd())
    }

    pub(super) fn server(&self) -> String {
        format!("https://127.0.0.1:{}", self.apiserver)
    }

    pub(super) fn readyz(&self) -> String {
        format!("{}/readyz", self.server())
    }

    pub(super) fn controllers_health(&self) -> String {
        format!("https://127.0.0.1:{}/healthz", self.controllers)
    }
}

pub(super) fn audit_log(folder: &Path) -> PathBuf {
    folder.join("audit.jsonl")
}

pub(super) fn etcd(
    binaries: &Binaries,
    ports: &Ports,
    folder: &Path,
) -> Result<Process, ClusterError> {
    let mut command = binaries.etcd.command();
    command
        .arg("--data-dir")
        .arg(folder.join("etcd"))
        .args(["--listen-client-urls", &ports.etcd()])
        .args(["--advertise-client-urls", &ports.etcd()])
        .arg("--listen-peer-urls")
        .arg(format!("http://127.0.0.1:{}", ports.peers))
        .args(["--unsafe-no-fsync", "--log-level", "error"]);
    Ok(Process::spawn("etcd", command, folder.join("etcd.log"))?)
}

pub(super) fn apiserver(
    binaries: &Binaries,
    ports: &Ports,
    folder: &Path,
    flags: &[String],
) -> Result<Process, ClusterError> {
    let policy = folder.join("audit-policy.yaml");
    std::fs::write(&policy, audit::POLICY).map_err(failed("write", &policy))?;
    let mut command = binaries.apiserver.command();
    command
        .args(["--etcd-servers", &ports.etcd()])
        .args(["--bind-address", "127.0.0.1", "--secure-port"])
        .arg(ports.apiserver.to_string())
        .arg("--cert-dir")
        .arg(credentials::certificates(folder))
        .arg("--token-auth-file")
        .arg(credentials::tokens(folder))
        .args(["--authorization-mode", "RBAC"])
        .args(["--service-account-issuer", &ports.server()])
        .arg("--service-account-jwks-uri")
        .arg(format!("{}/openid/v1/jwks", ports.server()))
        .arg("--service-account-key-file")
        .arg(credentials::public_key(folder))
        .arg("--service-account-signing-key-file")
        .arg(credentials::private_key(folder))
        .args(["--service-cluster-ip-range", "10.0.0.0/24"])
        .args(["--disable-admission-plugins", "ServiceAccount"])
        .arg("--allow-privileged=true")
        .arg("--audit-policy-file")
        .arg(&policy)
        .arg("--audit-log-path")
        .arg(audit_log(folder))
        // In MB. Without it the log starts anew at 100 MB, and counts over it with it.
        .args(["--audit-log-maxsize", "100000"])
        .args(flags);
    Ok(Process::spawn(
        "kube-apiserver",
        command,
        folder.join("kube-apiserver.log"),
    )?)
}

pub(super) fn controllers(
    program: &Program,
    ports: &Ports,
    folder: &Path,
) -> Result<Process, ClusterError> {
    let mut command = program.command();
    command
        .arg("--kubeconfig")
        .arg(credentials::controllers_kubeconfig(folder))
        .args(["--leader-elect=false", "--bind-address", "127.0.0.1"])
        .arg("--secure-port")
        .arg(ports.controllers.to_string())
        .arg("--cert-dir")
        .arg(folder.join("controllers-certificates"))
        .args(["--controllers", CONTROLLERS]);
    Ok(Process::spawn(
        "kube-controller-manager",
        command,
        folder.join("kube-controller-manager.log"),
    )?)
}
