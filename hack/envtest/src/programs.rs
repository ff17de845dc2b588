//! The project's own two programs as child processes: the fake workspace and the operator. Each can be stopped,
//! killed and started again at the same address.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::ports;
use crate::process::{Process, ProcessError};
use crate::tls;

const READY: Duration = Duration::from_secs(60);
const ATTEMPTS: usize = 5;

/// Why one of the programs did not start, or did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    #[error(
        "no program `{name}` in {}: build it with `cargo build --workspace`, or name it in {variable}",
        searched.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(" or ")
    )]
    Missing {
        name: &'static str,
        variable: &'static str,
        searched: Vec<PathBuf>,
    },
    #[error("{variable} is {}, but there is no such file", path.display())]
    NoSuchFile {
        variable: &'static str,
        path: PathBuf,
    },
    #[error("cannot find a free port for {name}")]
    Ports {
        name: &'static str,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error("cannot ask the fake workspace: {method} {path}")]
    Request {
        method: String,
        path: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("the fake workspace refused {method} {path}: {status} {body}")]
    Refused {
        method: String,
        path: String,
        status: u16,
        body: String,
    },
}

/// Finds a program, given its name and the variable that may say where it is, else beside the current executable (tests lie one folder deeper).
fn locate((name, variable): (&'static str, &'static str)) -> Result<PathBuf, ProgramError> {
    if let Some(path) = std::env::var_os(variable).filter(|value| !value.is_empty()) {
        let path = PathBuf::from(path);
        return match path.is_file() {
            true => Ok(path),
            false => Err(ProgramError::NoSuchFile { variable, path }),
        };
    }
    let here = std::env::current_exe().unwrap_or_default();
    let searched: Vec<PathBuf> = here
        .ancestors()
        .skip(1)
        .take(2)
        .map(Path::to_owned)
        .collect();
    searched
        .iter()
        .map(|folder| folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX)))
        .find(|path| path.is_file())
        .ok_or(ProgramError::Missing {
            name,
            variable,
            searched,
        })
}

const SIM: (&str, &str) = ("databricks-sim", "DAO_SIM_BIN");
const OPERATOR: (&str, &str) = ("databricks-app-operator", "DAO_OPERATOR_BIN");

pub(crate) fn all_built() -> Result<(), ProgramError> {
    locate(SIM)?;
    locate(OPERATOR)?;
    Ok(())
}

/// How to start one program again and again.
#[derive(Debug)]
struct Launch {
    name: &'static str,
    binary: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    log: PathBuf,
    ready: &'static str,
    port: u16,
    running: Mutex<Option<Process>>,
}

impl Launch {
    /// Starts it at a free port.
    async fn first(mut self) -> Result<Self, ProgramError> {
        let mut attempt = 1;
        loop {
            let [port] = ports::free_ports().map_err(|source| ProgramError::Ports {
                name: self.name,
                source,
            })?;
            self.port = port;
            match self.start().await {
                Err(ProgramError::Process(error)) if error.lost_port() && attempt < ATTEMPTS => {
                    attempt += 1;
                }
                Err(error) => return Err(error),
                Ok(()) => return Ok(self),
            }
        }
    }

    /// Starts it at its port if it does not run; returns when it is ready.
    async fn start(&self) -> Result<(), ProgramError> {
        if self.pid().is_some() {
            return Ok(());
        }
        let mut command = Command::new(&self.binary);
        // Settings of the caller's shell must not reach the child.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("DAO_") {
                command.env_remove(name);
            }
        }
        command
            .args(&self.arguments)
            .arg("--listen")
            .arg(format!("127.0.0.1:{}", self.port))
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        let process = Process::spawn(self.name, command, &self.log)?;
        process
            .ready_at(&format!("{}{}", self.url(), self.ready), READY)
            .await?;
        *self.lock() = Some(process);
        Ok(())
    }

    async fn stop(&self, grace: Duration) -> Option<ExitStatus> {
        let process = self.lock().take()?;
        process.stop(grace).await
    }

    fn kill(&self) {
        if let Some(process) = self.lock().take() {
            process.kill();
        }
    }

    fn pid(&self) -> Option<u32> {
        self.lock()
            .as_ref()
            .filter(|process| process.exited().is_none())
            .map(Process::pid)
    }

    fn failure(&self) -> Option<String> {
        self.lock().as_ref().and_then(Process::failure)
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Process>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the fake workspace knows and how fast its time runs.
#[derive(Clone, Debug)]
pub struct SimOptions {
    /// Personal access tokens and whose they are.
    pub tokens: Vec<(String, String)>,
    /// Client ids and secrets of service principals.
    pub oauth_clients: Vec<(String, String)>,
    /// Service time runs so many times faster than wire time. Default 1.
    pub time_scale: u32,
    /// Every source path exists. Default false.
    pub any_source: bool,
    /// Users, groups, warehouses and so on; the program's own format.
    pub seed: Option<PathBuf>,
    /// More flags of the program.
    pub arguments: Vec<String>,
    /// Where its log goes.
    pub log: PathBuf,
}

impl SimOptions {
    /// One user's token, everything else as the program's defaults.
    pub fn new(token: &str, user: &str, log: impl Into<PathBuf>) -> Self {
        Self {
            tokens: vec![(token.to_owned(), user.to_owned())],
            oauth_clients: Vec::new(),
            time_scale: 1,
            any_source: false,
            seed: None,
            arguments: Vec::new(),
            log: log.into(),
        }
    }

    fn arguments(&self) -> Vec<OsString> {
        let mut all: Vec<OsString> = Vec::new();
        for (token, user) in &self.tokens {
            all.extend(["--pat".into(), format!("{token}={user}").into()]);
        }
        for (id, secret) in &self.oauth_clients {
            all.extend(["--oauth-client".into(), format!("{id}:{secret}").into()]);
        }
        all.extend(["--time-scale".into(), self.time_scale.to_string().into()]);
        if self.any_source {
            all.push("--any-source".into());
        }
        if let Some(seed) = &self.seed {
            all.extend(["--seed".into(), seed.into()]);
        }
        all.extend(self.arguments.iter().map(OsString::from));
        all
    }
}

/// A running `databricks-sim`. Dropping it kills it.
#[derive(Debug)]
pub struct Sim {
    launch: Launch,
}

impl Sim {
    /// Starts it at a free port of 127.0.0.1; returns when it answers.
    pub async fn start(options: SimOptions) -> Result<Self, ProgramError> {
        let launch = Launch {
            name: SIM.0,
            binary: locate(SIM)?,
            arguments: options.arguments(),
            environment: Vec::new(),
            log: options.log,
            ready: "/sim/requests",
            port: 0,
            running: Mutex::new(None),
        };
        Ok(Self {
            launch: launch.first().await?,
        })
    }

    /// The workspace's URL, without a slash at the end.
    pub fn url(&self) -> String {
        self.launch.url()
    }

    /// GET, POST, PUT or DELETE of a path under `/sim/`, e.g. `("POST", "/sim/clock", Some(json!({"advance": "20m"})))`.
    /// Returns the answer, `null` when it is empty; an answer other than 2xx is an error.
    pub async fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, ProgramError> {
        call(&self.url(), method, path, body).await
    }

    /// Starts it again, with nothing of what it knew.
    pub async fn start_again(&self) -> Result<(), ProgramError> {
        self.launch.start().await
    }

    /// SIGTERM; SIGKILL once `grace` has passed.
    pub async fn stop(&self, grace: Duration) -> Option<ExitStatus> {
        self.launch.stop(grace).await
    }

    /// SIGKILL.
    pub fn kill(&self) {
        self.launch.kill();
    }

    /// `None` while it does not run.
    pub fn pid(&self) -> Option<u32> {
        self.launch.pid()
    }

    /// What to print when it ended by itself: how, and the end of its log.
    pub fn failure(&self) -> Option<String> {
        self.launch.failure()
    }

    pub fn log(&self) -> &Path {
        &self.launch.log
    }
}

async fn call(
    url: &str,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Result<Value, ProgramError> {
    let failed = |source| ProgramError::Request {
        method: method.to_owned(),
        path: path.to_owned(),
        source,
    };
    tls::use_ring();
    let verb = reqwest::Method::from_bytes(method.as_bytes()).unwrap_or(reqwest::Method::GET);
    let http = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(30))
        .build()
        .map_err(failed)?;
    let mut request = http.request(verb, format!("{url}{path}"));
    if let Some(body) = body {
        request = request.json(body);
    }
    let answer = request.send().await.map_err(failed)?;
    let status = answer.status();
    let text = answer.text().await.map_err(failed)?;
    if !status.is_success() {
        return Err(ProgramError::Refused {
            method: method.to_owned(),
            path: path.to_owned(),
            status: status.as_u16(),
            body: text,
        });
    }
    Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
}

/// How the operator runs.
#[derive(Clone, Debug)]
pub struct OperatorOptions {
    /// Who it is towards the API server.
    pub kubeconfig: PathBuf,
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
            time_scale: 1,
            log_filter: "info".into(),
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
        ]
        .map(OsString::from)
        .into();
        all.extend(self.arguments.iter().map(OsString::from));
        all
    }
}

/// A running `databricks-app-operator run` that may call workspaces on 127.0.0.1. Dropping it kills it.
#[derive(Debug)]
pub struct Operator {
    launch: Launch,
}

impl Operator {
    /// Starts it at a free port of 127.0.0.1; returns when `/readyz` says that its caches are filled.
    pub async fn start(options: OperatorOptions) -> Result<Self, ProgramError> {
        let launch = Launch {
            name: OPERATOR.0,
            binary: locate(OPERATOR)?,
            arguments: options.arguments(),
            environment: vec![("KUBECONFIG".into(), options.kubeconfig.into())],
            log: options.log,
            ready: "/readyz",
            port: 0,
            running: Mutex::new(None),
        };
        Ok(Self {
            launch: launch.first().await?,
        })
    }

    /// Where it serves `/metrics`, `/readyz` and `/livez`, without a slash at the end.
    pub fn url(&self) -> String {
        self.launch.url()
    }

    /// Starts it again at the same address, if it does not run.
    pub async fn start_again(&self) -> Result<(), ProgramError> {
        self.launch.start().await
    }

    /// SIGTERM; SIGKILL once `grace` has passed.
    pub async fn stop(&self, grace: Duration) -> Option<ExitStatus> {
        self.launch.stop(grace).await
    }

    /// SIGKILL.
    pub fn kill(&self) {
        self.launch.kill();
    }

    /// `None` while it does not run.
    pub fn pid(&self) -> Option<u32> {
        self.launch.pid()
    }

    /// What to print when it ended by itself: how, and the end of its log.
    pub fn failure(&self) -> Option<String> {
        self.launch.failure()
    }

    pub fn log(&self) -> &Path {
        &self.launch.log
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_missing_program_is_reported_with_the_command_that_builds_it() {
        let error = locate(("no-such-program", "DAO_NO_SUCH_PROGRAM")).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("cargo build --workspace") && text.contains("DAO_NO_SUCH_PROGRAM"));
    }

    #[test]
    fn options_become_the_flags_of_the_fake_workspace() {
        let mut options = SimOptions::new("t", "a@b.c", "/log");
        options.oauth_clients = vec![("id".into(), "s".into())];
        options.time_scale = 60;
        options.any_source = true;
        assert_eq!(
            options.arguments(),
            [
                "--pat",
                "t=a@b.c",
                "--oauth-client",
                "id:s",
                "--time-scale",
                "60",
                "--any-source"
            ]
        );
    }
}
