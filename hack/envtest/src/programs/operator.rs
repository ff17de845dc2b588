//! The operator.

use std::ffi::OsString;
use std::ops::Deref;
use std::path::PathBuf;

use super::{Name, Program, ProgramError};

pub(super) const NAME: Name = Name {
    name: "databricks-app-operator",
    variable: "DAO_OPERATOR_BIN",
};

/// Of the one operator that usually runs.
const POD_NAME: &str = "operator-0";

/// How the operator runs.
#[derive(Clone, Debug)]
pub struct OperatorOptions {
    /// Who it is towards the API server.
    pub kubeconfig: PathBuf,
    /// Service time runs so many times faster than wire time; the fake workspace must agree. Default 1.
    pub time_scale: u32,
    /// As in `RUST_LOG`. Default `info`.
    pub log_filter: String,
    /// Its Pod's name: who it is in the Lease, and in the User-Agent of its requests. The same one takes its own Lease back
    /// at once.
    pub pod_name: String,
    /// The path that answers 2xx once it counts as started. Default `/readyz`.
    pub ready: &'static str,
    /// More flags of the program.
    pub arguments: Vec<String>,
    /// Where its log goes, as JSON lines.
    pub log: PathBuf,
}

impl OperatorOptions {
    pub fn new(kubeconfig: impl Into<PathBuf>, log: impl Into<PathBuf>) -> Self {
        Self {
            kubeconfig: kubeconfig.into(),
            time_scale: 1,
            log_filter: "info".into(),
            pod_name: POD_NAME.into(),
            ready: "/readyz",
            arguments: Vec::new(),
            log: log.into(),
        }
    }

    fn arguments(&self) -> Vec<OsString> {
        let scale = self.time_scale.to_string();
        let mut all: Vec<OsString> = [
            "run",
            "--allowed-hosts",
            "127.0.0.1",
            "--allow-insecure-hosts",
            "--service-time-scale",
            &scale,
            "--log-format",
            "json",
            "--log-filter",
            &self.log_filter,
            "--pod-name",
            &self.pod_name,
            "--instance",
            &self.pod_name,
        ]
        .map(OsString::from)
        .into();
        all.extend(self.arguments.iter().map(OsString::from));
        all
    }
}

/// A running `databricks-app-operator run` that may call workspaces on 127.0.0.1. Its URL serves `/metrics`, `/readyz`
/// and `/livez`.
#[derive(Debug)]
pub struct Operator {
    program: Program,
}

impl Deref for Operator {
    type Target = Program;

    fn deref(&self) -> &Program {
        &self.program
    }
}

impl Operator {
    /// Starts it at a free port of 127.0.0.1; returns when it is ready.
    pub async fn start(options: OperatorOptions) -> Result<Self, ProgramError> {
        let arguments = options.arguments();
        let environment = vec![("KUBECONFIG".into(), options.kubeconfig.into())];
        let program =
            Program::first(NAME, arguments, environment, options.log, options.ready).await?;
        Ok(Self { program })
    }
}
