//! An environment that stays. `up` starts a supervisor in a session of its own and leaves; the supervisor owns every
//! process, so nothing outlives it, and `down` needs to end only that one.
//!
//! ```text
//!  FOLDER/lock         held by the supervisor as long as it lives: the one truth about whether a playground runs
//!  FOLDER/pid          the supervisor
//!  FOLDER/log          what it and the search for a control plane say
//!  FOLDER/operator.log what the operator logs, as JSON lines; of the present playground
//!  FOLDER/kubeconfig   may do everything
//!  FOLDER/env          written last: everything is up
//! ```

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use envtest::{Environment, EnvironmentOptions, detached};
use tokio::signal::unix::{SignalKind, signal};

use super::Failure;

const POLL: Duration = Duration::from_millis(100);
/// How long `down` waits after SIGTERM; the operator gets 5 s of it for the write in flight.
const GRACE: Duration = Duration::from_secs(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

struct Files {
    folder: PathBuf,
}

impl Files {
    fn at(folder: &Path) -> io::Result<Self> {
        Ok(Self {
            folder: std::path::absolute(folder)?,
        })
    }

    fn join(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn lock(&self) -> io::Result<File> {
        File::options()
            .create(true)
            .write(true)
            .truncate(false)
            .open(self.join("lock"))
    }

    /// Whether a supervisor lives.
    fn in_use(&self) -> io::Result<bool> {
        match self.lock()?.try_lock() {
            Ok(()) => Ok(false),
            Err(fs::TryLockError::WouldBlock) => Ok(true),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn write_private(&self, name: &str, text: &str) -> io::Result<()> {
        // Written aside and moved: whoever waits for the file never sees half of it.
        let unfinished = self.join(&format!("{name}.unfinished"));
        File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)?
            .write_all(text.as_bytes())?;
        fs::rename(unfinished, self.join(name))
    }

    fn remove(&self, name: &str) {
        let _ = fs::remove_file(self.join(name));
    }
}

pub(super) async fn up(folder: &Path) -> Result<(), Failure> {
    let files = Files::at(folder)?;
    fs::create_dir_all(&files.folder)
        .map_err(|error| format!("cannot create {}: {error}", files.folder.display()))?;
    if files.in_use()? {
        if !files.join("env").exists() {
            return Err("a playground is being started or ended right now; try again".into());
        }
        println!("a playground is already running");
        return say_how_to_use(&files);
    }
    files.remove("env");
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["playground", "serve", "--folder"])
        .arg(&files.folder);
    let log = files.join("log");
    let mut supervisor = detached::spawn_detached(command, &log)
        .map_err(|error| format!("cannot start the playground's supervisor: {error}"))?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut progress = Follow::new(log.clone());
    while !files.join("env").exists() {
        progress.print()?;
        if let Some(status) = supervisor.try_wait()? {
            progress.print()?;
            return Err(format!(
                "the playground did not start ({status}); its log is {}",
                log.display()
            )
            .into());
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            _ = interrupted.recv() => {
                detached::terminate(supervisor.id());
                supervisor.wait()?;
                return Err("interrupted; nothing is left running".into());
            }
        }
    }
    progress.print()?;
    say_how_to_use(&files)
}

fn say_how_to_use(files: &Files) -> Result<(), Failure> {
    let shown = |name: &str| quoted(&files.join(name).display().to_string());
    println!(
        "\nIn each shell, for kubectl and databricks-app-operator:\n\
         \x20 . {}\n\n\
         Then, for example:\n\
         \x20 kubectl apply -f config/samples/\n\
         \x20 kubectl get dbapp,aoa,dbw\n\
         or the documents in their order, from docs/workspaces.md, \"On the playground\".\n\n\
         Log of the operator: {}\n\
         To end it: make playground-down",
        shown("env"),
        shown("operator.log"),
    );
    Ok(())
}

pub(super) async fn down(folder: &Path) -> Result<(), Failure> {
    let files = Files::at(folder)?;
    if !files.folder.is_dir() || !files.in_use()? {
        files.remove("env");
        println!("no playground is running");
        return Ok(());
    }
    let pid: u32 = fs::read_to_string(files.join("pid"))?.trim().parse()?;
    detached::terminate(pid);
    if !freed(&files, GRACE).await? {
        detached::kill(pid);
        if !freed(&files, GRACE).await? {
            return Err(format!("process {pid} does not end").into());
        }
    }
    files.remove("env");
    println!("the playground has ended");
    Ok(())
}

async fn freed(files: &Files, deadline: Duration) -> io::Result<bool> {
    let start = Instant::now();
    while files.in_use()? {
        if start.elapsed() >= deadline {
            return Ok(false);
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(true)
}

/// The supervisor: starts everything, watches over it, and ends with SIGTERM or when something other than the operator
/// ends by itself.
pub(super) async fn serve(folder: &Path, time_scale: u32) -> Result<(), Failure> {
    let files = Files::at(folder)?;
    let lock = files.lock()?;
    lock.try_lock()
        .map_err(|_| "a playground is already running in this folder")?;
    files.write_private("pid", &format!("{}\n", std::process::id()))?;
    let mut terminated = signal(SignalKind::terminate())?;
    let start = Instant::now();
    let mut options = EnvironmentOptions::new(time_scale);
    files.remove("operator.log");
    options.operator_log = Some(files.join("operator.log"));
    let environment = tokio::select! {
        started = Environment::start(options, |line| println!("  {:>4.1} s  {line}", start.elapsed().as_secs_f32())) => started?,
        _ = terminated.recv() => return Ok(()),
    };
    fs::copy(
        environment.cluster.admin_kubeconfig(),
        files.join("kubeconfig"),
    )?;
    tell(&files, &environment)?;
    let ended = tokio::select! {
        failure = watch_over(&files, &environment) => failure,
        _ = terminated.recv() => Ok(()),
    };
    files.remove("env");
    files.remove("kubeconfig");
    environment.stop().await;
    files.remove("pid");
    ended
}

fn tell(files: &Files, environment: &Environment) -> io::Result<()> {
    let pid = environment.operator.pid().map(|pid| pid.to_string());
    let variables = [
        ("KUBECONFIG", files.join("kubeconfig").display().to_string()),
        ("SIM_URL", environment.sim.url()),
        ("SIM_TOKEN", environment.token.clone()),
        ("OPERATOR_URL", environment.operator.url()),
        ("OPERATOR_PID", pid.unwrap_or_default()),
        (
            "OPERATOR_LOG",
            files.join("operator.log").display().to_string(),
        ),
        // For `diff` and `export`: the fake workspace speaks plain http.
        ("DAO_ALLOWED_HOSTS", "127.0.0.1".to_owned()),
        ("DAO_ALLOW_INSECURE_HOSTS", "true".to_owned()),
    ];
    let mut text = String::new();
    for (name, value) in &variables {
        text.push_str(&format!("{name}={}\n", quoted(value)));
    }
    let names: Vec<&str> = variables.iter().map(|(name, _)| *name).collect();
    text.push_str(&format!("export {}\n", names.join(" ")));
    // The operator's command line, found once however often the file is read.
    let programs = std::env::current_exe()?;
    if let Some(folder) = programs.parent() {
        let folder = quoted(&folder.display().to_string());
        text.push_str(&format!(
            "case \":$PATH:\" in *:{folder}:*) ;; *) export PATH={folder}:\"$PATH\" ;; esac\n"
        ));
    }
    files.write_private("env", &text)
}

/// Starts the operator again whenever it ends, as its Deployment would; returns when any other part ends.
async fn watch_over(files: &Files, environment: &Environment) -> Result<(), Failure> {
    let mut pause = POLL;
    let mut up_since = Instant::now();
    loop {
        tokio::time::sleep(POLL).await;
        let other = environment.cluster.failure().or(environment.sim.failure());
        if let Some(failure) = other {
            return Err(failure.into());
        }
        let Some(failure) = environment.operator.failure() else {
            continue;
        };
        if up_since.elapsed() > LONGEST_PAUSE {
            pause = POLL;
        }
        println!("{failure}\nstarting it again in {pause:?}");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        match environment.operator.start_again().await {
            Ok(()) => tell(files, environment)?,
            Err(error) => println!("{error}"),
        }
        up_since = Instant::now();
    }
}

/// For a POSIX shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:@".contains(c);
    if text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Prints what is appended to a file.
struct Follow {
    path: PathBuf,
    read: u64,
}

impl Follow {
    fn new(path: PathBuf) -> Self {
        Self { path, read: 0 }
    }

    fn print(&mut self) -> io::Result<()> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.read))?;
        let mut news = Vec::new();
        file.read_to_end(&mut news)?;
        self.read += news.len() as u64;
        io::stdout().write_all(&news)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_path_with_spaces_and_quotes_survives_the_shell() {
        assert_eq!(quoted("/a/b-1.x"), "/a/b-1.x");
        assert_eq!(quoted("/a b/it's"), r"'/a b/it'\''s'");
    }

    #[tokio::test]
    async fn ending_a_playground_that_does_not_run_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        down(folder.path()).await.unwrap();
        down(&folder.path().join("absent")).await.unwrap();
    }

    #[test]
    fn a_playground_runs_exactly_while_its_lock_is_held() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::at(folder.path()).unwrap();
        assert!(!files.in_use().unwrap());
        let supervisor = files.lock().unwrap();
        supervisor.try_lock().unwrap();
        assert!(files.in_use().unwrap());
        drop(supervisor);
        assert!(!files.in_use().unwrap());
    }
}
