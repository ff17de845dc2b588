//! The operator.

use std::ffi::OsString;
use std::ops::Deref;
use std::path::PathBuf;

use super::{Name, Program, ProgramError, Variables};
use crate::install;
use crate::pod::Pod;

pub(super) const NAME: Name = Name {
    name: "databricks-app-operator",
    variable: "DAO_OPERATOR_BIN",
};

const POD_NAME: &str = "operator-0";

/// How the operator runs.
#[derive(Clone, Debug)]
pub struct OperatorOptions {
    /// Who it is towards the API server.
    pub kubeconfig: PathBuf,
    /// What it is started as; by default the Pod that the chart renders.
    pub pod: Option<Pod>,
    /// Its Pod's name: who it is in the Lease, and in the User-Agent of its requests. By default always the same, as if its
    /// container was restarted: then it takes its own Lease back at once.
    pub pod_name: String,
    /// The path that answers 2xx once it counts as started. Default: that of the readiness probe.
    pub ready: Option<&'static str>,
    /// Service time runs so many times faster than wire time; the fake workspace must agree. Default 1.
    pub time_scale: u32,
    /// As in `RUST_LOG`. Default `info`.
    pub log_filter: String,
    /// More flags of the program.
    pub arguments: Vec<String>,
    /// Where its log goes, as JSON lines.
    pub log: PathBuf,
}

impl OperatorOptions {
    pub fn new(kubeconfig: impl Into<PathBuf>, log: impl Into<PathBuf>) -> Self {
        Self {
            kubeconfig: kubeconfig.into(),
            pod: None,
            pod_name: POD_NAME.into(),
            time_scale: 1,
            log_filter: "info".into(),
            ready: None,
            arguments: Vec::new(),
            log: log.into(),
        }
    }

    fn pod(&self) -> Result<Pod, ProgramError> {
        let pod = match &self.pod {
            Some(pod) => pod.clone(),
            None => install::pod().map_err(Box::new)?,
        };
        Ok(pod.named(&self.pod_name))
    }

    /// The Pod's own, but for what a fake world needs: hosts on loopback, its time, a port that is free.
    fn arguments(&self, pod: &Pod) -> Vec<OsString> {
        let scale = self.time_scale.to_string();
        let ours = [
            ("--allowed-hosts", Some("127.0.0.1")),
            ("--allow-insecure-hosts", None),
            ("--service-time-scale", Some(&*scale)),
            ("--log-filter", Some(&*self.log_filter)),
        ];
        let replaced = |argument: &str| {
            let name = argument.split('=').next().unwrap_or_default();
            name == "--listen" || ours.iter().any(|(ours, _)| *ours == name)
        };
        let mut all = pod.arguments();
        all.retain(|argument| !replaced(argument));
        for (name, value) in ours {
            all.push(name.to_owned());
            all.extend(value.map(str::to_owned));
        }
        all.extend(self.arguments.iter().cloned());
        all.into_iter().map(OsString::from).collect()
    }

    fn environment(&self, pod: &Pod) -> Result<Variables, ProgramError> {
        let mut all = pod.environment()?;
        // Several operators share this machine, and each Pod of them has an address of its own in a cluster. Metrics are read
        // plain, beside the probes, unless the arguments say where they are served over TLS.
        all.insert("DAO_METRICS_LISTEN".into(), "off".into());
        all.remove("DAO_METRICS_CERT_DIR");
        let all = all.into_iter();
        let mut all: Vec<(OsString, OsString)> = all.map(|(k, v)| (k.into(), v.into())).collect();
        all.push(("KUBECONFIG".into(), self.kubeconfig.clone().into()));
        Ok(Variables::Only(all))
    }
}

/// A running `databricks-app-operator run` that may call workspaces on 127.0.0.1. Its URL serves `/metrics`, `/readyz`
/// and `/livez`.
#[derive(Debug)]
pub struct Operator {
    program: Program,
    liveness_path: String,
}

impl Deref for Operator {
    type Target = Program;

    fn deref(&self) -> &Program {
        &self.program
    }
}

impl Operator {
    /// Starts it at a free port of 127.0.0.1; returns when its readiness probe succeeds.
    pub async fn start(options: OperatorOptions) -> Result<Self, ProgramError> {
        let pod = options.pod()?;
        let arguments = options.arguments(&pod);
        let environment = options.environment(&pod)?;
        let ready = options
            .ready
            .map_or_else(|| pod.readiness_path(), |path| Ok(path.to_owned()))?;
        let program = Program::first(NAME, arguments, environment, options.log, &ready).await?;
        Ok(Self {
            program,
            liveness_path: pod.liveness_path()?,
        })
    }

    /// What the kubelet would ask to find out whether the container lives.
    pub fn liveness_url(&self) -> String {
        format!("{}{}", self.url(), self.liveness_path)
    }
}
