//! A child process that never outlives us: its log goes to a file, its readiness is polled with a deadline, and it
//! dies with its owner, also when the owner is killed.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use crate::{sys, tls};

const POLL: Duration = Duration::from_millis(20);

/// What can go wrong with a child process. Every message names the program and its log file.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("cannot start {name}")]
    Spawn {
        name: String,
        #[source]
        source: io::Error,
    },
    #[error("{name} ended ({status}) before it was ready; end of {log}:\n{tail}")]
    Exited {
        name: String,
        status: String,
        log: PathBuf,
        tail: String,
    },
    #[error("{name} was not ready after {} s ({what}); end of {log}:\n{tail}", deadline.as_secs())]
    NotReady {
        name: String,
        what: String,
        deadline: Duration,
        log: PathBuf,
        tail: String,
    },
    #[error("cannot build the HTTP client that asks {name} whether it is ready")]
    Probe {
        name: String,
        #[source]
        source: reqwest::Error,
    },
}

impl ProcessError {
    /// Whether another process took the port between our choosing it and the child's binding it; worth a retry.
    pub(crate) fn lost_port(&self) -> bool {
        matches!(self, Self::Exited { tail, .. } if tail.contains("address already in use"))
    }
}

/// A running child. Dropping it kills it and reaps it.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: u32,
    log: PathBuf,
    child: Mutex<Child>,
}

impl Process {
    /// Starts `command` with no stdin and with stdout and stderr appended to `log`. The child gets SIGKILL when this
    /// process ends, however it ends (Linux).
    pub fn spawn(
        name: impl Into<String>,
        mut command: Command,
        log: impl Into<PathBuf>,
    ) -> Result<Self, ProcessError> {
        let (name, log) = (name.into(), log.into());
        let spawned = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .and_then(|file| Ok((file.try_clone()?, file)))
            .and_then(|(out, err)| {
                command
                    .stdin(Stdio::null())
                    .stdout(Stdio::from(out))
                    .stderr(Stdio::from(err));
                spawn_for_life(command)
            });
        match spawned {
            Ok(child) => Ok(Self {
                pid: child.id(),
                child: Mutex::new(child),
                name,
                log,
            }),
            Err(source) => Err(ProcessError::Spawn { name, source }),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Where stdout and stderr go, one after the other as they come.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended, or `None` while it runs.
    pub fn exited(&self) -> Option<ExitStatus> {
        self.child().try_wait().ok().flatten()
    }

    /// What to print when it ended by itself: its name, how it ended and the end of its log.
    pub fn failure(&self) -> Option<String> {
        let status = self.exited()?;
        let (name, log, tail) = (&self.name, self.log.display(), self.tail());
        Some(format!("{name} ended ({status}); end of {log}:\n{tail}"))
    }

    /// SIGKILL, then reaps: when this returns the process is gone.
    pub fn kill(&self) {
        let mut child = self.child();
        let _ = child.kill();
        let _ = child.wait();
    }

    /// SIGSTOP, if it runs.
    pub fn pause(&self) {
        if self.exited().is_none() {
            sys::pause(self.pid);
        }
    }

    /// SIGCONT, if it runs.
    pub fn resume(&self) {
        if self.exited().is_none() {
            sys::resume(self.pid);
        }
    }

    /// SIGTERM; SIGKILL once `grace` has passed. Returns how it ended.
    pub async fn stop(&self, grace: Duration) -> Option<ExitStatus> {
        // The id can't have been given to another process: only `exited`, which is asked first, reaps ours.
        if self.exited().is_none() {
            sys::terminate(self.pid);
        }
        if self.ended_within(grace).await.is_none() {
            self.kill();
        }
        self.exited()
    }

    /// Waits for it to end by itself.
    pub async fn ended_within(&self, deadline: Duration) -> Option<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.exited() {
                return Some(status);
            }
            if start.elapsed() >= deadline {
                return None;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until GET `url` answers 2xx.
    pub async fn ready_at(&self, url: &str, deadline: Duration) -> Result<(), ProcessError> {
        tls::use_ring();
        // A probe of our own child on loopback, whose certificate it may just be writing; no secret is sent.
        let http = reqwest::Client::builder()
            .tls_danger_accept_invalid_certs(true)
            .no_proxy()
            .timeout(Duration::from_secs(2))
            .build()
            .map_err(|source| ProcessError::Probe {
                name: self.name.clone(),
                source,
            })?;
        self.ready_when(&format!("GET {url}"), deadline, async || {
            match http.get(url).send().await {
                Ok(answer) if answer.status().is_success() => Some(()),
                _ => None,
            }
        })
        .await
    }

    async fn ready_when<T>(
        &self,
        what: &str,
        deadline: Duration,
        mut check: impl AsyncFnMut() -> Option<T>,
    ) -> Result<T, ProcessError> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.exited() {
                return Err(ProcessError::Exited {
                    name: self.name.clone(),
                    status: status.to_string(),
                    log: self.log.clone(),
                    tail: self.tail(),
                });
            }
            if let Some(found) = check().await {
                return Ok(found);
            }
            if start.elapsed() >= deadline {
                return Err(ProcessError::NotReady {
                    name: self.name.clone(),
                    what: what.to_owned(),
                    deadline,
                    log: self.log.clone(),
                    tail: self.tail(),
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The last lines of the log, for messages.
    pub fn tail(&self) -> String {
        tail(&self.log, 15)
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last `lines` lines of a file; empty when it can't be read.
pub(crate) fn tail(path: &Path, lines: usize) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

type Order = (Command, mpsc::Sender<io::Result<Child>>);

/// Spawns from one thread that lives as long as the process: the kernel ties "die with your parent" to the thread
/// that called fork, and the threads of an async runtime or of a test harness come and go.
fn spawn_for_life(mut command: Command) -> io::Result<Child> {
    static SPAWNER: LazyLock<Mutex<mpsc::Sender<Order>>> = LazyLock::new(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in inbox {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    sys::die_with_spawning_thread(&mut command);
    let (answer, result) = mpsc::channel();
    let gone = || io::Error::other("the thread that starts child processes has ended");
    SPAWNER
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send((command, answer))
        .map_err(|_| gone())?;
    result.recv().map_err(|_| gone())?
}
