//! The project's own two programs as child processes: the fake workspace and the operator. Each can be stopped,
//! killed and started again at the same address.

mod operator;
mod sim;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::install::InstallError;
use crate::pod::PodError;
use crate::ports;
use crate::process::{Process, ProcessError};

pub use operator::{Operator, OperatorOptions};
pub use sim::{Sim, SimOptions};

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
    #[error(transparent)]
    Pod(#[from] PodError),
    #[error(transparent)]
    Install(#[from] Box<InstallError>),
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

/// Finds a program where its variable says, else beside the current executable (tests lie one folder deeper).
fn locate(Name { name, variable }: Name) -> Result<PathBuf, ProgramError> {
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

/// A program, and the variable that may say where it is.
#[derive(Clone, Copy, Debug)]
struct Name {
    name: &'static str,
    variable: &'static str,
}

pub(crate) fn all_built() -> Result<(), ProgramError> {
    locate(sim::NAME)?;
    locate(operator::NAME)?;
    Ok(())
}

/// How the operator that would run was built: the name of the folder that holds it, as Cargo calls its profiles; `debug`
/// or `release`.
pub fn operator_build() -> Result<String, ProgramError> {
    let path = locate(operator::NAME)?;
    let folder = path.parent().and_then(Path::file_name);
    let folder = folder.map(|name| name.to_string_lossy().into_owned());
    Ok(folder.unwrap_or_default())
}

/// Variables of a process.
#[derive(Clone, Debug)]
enum Variables {
    /// As in the caller's shell, but for settings of the project's own.
    Inherited,
    /// These and no other, as in a container.
    Only(Vec<(OsString, OsString)>),
}

/// One program, running or not, at an address that stays. Dropping it kills it.
#[derive(Debug)]
pub struct Program {
    name: &'static str,
    binary: PathBuf,
    arguments: Vec<OsString>,
    environment: Variables,
    log: PathBuf,
    ready: String,
    port: u16,
    running: Mutex<Option<Process>>,
}

impl Program {
    /// Starts it at a free port; `ready` is the path that answers 2xx once it is up.
    async fn first(
        name: Name,
        arguments: Vec<OsString>,
        environment: Variables,
        log: PathBuf,
        ready: &str,
    ) -> Result<Self, ProgramError> {
        let mut program = Self {
            binary: locate(name)?,
            name: name.name,
            arguments,
            environment,
            log,
            ready: ready.to_owned(),
            port: 0,
            running: Mutex::new(None),
        };
        let mut attempt = 1;
        loop {
            let [port] = ports::free_ports().map_err(|source| ProgramError::Ports {
                name: program.name,
                source,
            })?;
            program.port = port;
            match program.start_again().await {
                Err(ProgramError::Process(error)) if error.lost_port() && attempt < ATTEMPTS => {
                    attempt += 1;
                }
                Err(error) => return Err(error),
                Ok(()) => return Ok(program),
            }
        }
    }

    /// Starts it at the same address, if it does not run; returns when it is ready. It remembers nothing that it did
    /// not store elsewhere.
    pub async fn start_again(&self) -> Result<(), ProgramError> {
        if self.pid().is_some() {
            return Ok(());
        }
        let mut command = Command::new(&self.binary);
        match &self.environment {
            // Settings of the caller's shell must not reach the child.
            Variables::Inherited => {
                for (name, _) in std::env::vars_os() {
                    let text = name.to_string_lossy();
                    if text.starts_with("DAO_") || text.starts_with("POD_") {
                        command.env_remove(name);
                    }
                }
            }
            Variables::Only(variables) => {
                command.env_clear();
                command.envs(variables.iter().cloned());
            }
        }
        command
            .args(&self.arguments)
            .arg("--listen")
            .arg(format!("127.0.0.1:{}", self.port));
        let process = Process::spawn(self.name, command, &self.log)?;
        process
            .ready_at(&format!("{}{}", self.url(), self.ready), READY)
            .await?;
        *self.lock() = Some(process);
        Ok(())
    }

    /// SIGTERM; SIGKILL once `grace` has passed.
    pub async fn stop(&self, grace: Duration) -> Option<ExitStatus> {
        let process = self.lock().take()?;
        process.stop(grace).await
    }

    /// SIGKILL.
    pub fn kill(&self) {
        if let Some(process) = self.lock().take() {
            process.kill();
        }
    }

    /// SIGSTOP: it is there and does nothing, as on a machine that hangs.
    pub fn pause(&self) {
        if let Some(process) = self.lock().as_ref() {
            process.pause();
        }
    }

    /// SIGCONT: it goes on where it was.
    pub fn resume(&self) {
        if let Some(process) = self.lock().as_ref() {
            process.resume();
        }
    }

    /// `None` while it does not run.
    pub fn pid(&self) -> Option<u32> {
        self.lock()
            .as_ref()
            .filter(|process| process.exited().is_none())
            .map(Process::pid)
    }

    /// What to print when it ended by itself: how, and the end of its log.
    pub fn failure(&self) -> Option<String> {
        self.lock().as_ref().and_then(Process::failure)
    }

    /// Where it listens, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn log(&self) -> &Path {
        &self.log
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Process>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_missing_program_is_reported_with_the_command_that_builds_it() {
        let error = locate(Name {
            name: "no-such-program",
            variable: "DAO_NO_SUCH_PROGRAM",
        })
        .unwrap_err();
        let text = error.to_string();
        assert!(text.contains("cargo build --workspace") && text.contains("DAO_NO_SUCH_PROGRAM"));
    }
}
