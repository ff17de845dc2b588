//! The playground as its user sees it: by its commands and by what they write.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Output};

use super::{eventually, runs};

fn envtest(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_envtest"))
        .arg("playground")
        .args(arguments)
        .arg("--folder")
        .arg(folder)
        .output()
        .unwrap()
}

fn succeeds(arguments: &[&str], folder: &Path) -> String {
    let output = envtest(arguments, folder);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

fn variables(folder: &Path) -> HashMap<String, String> {
    std::fs::read_to_string(folder.join("env"))
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The supervisor and its children.
fn processes(folder: &Path) -> Vec<u32> {
    let supervisor = std::fs::read_to_string(folder.join("pid")).unwrap();
    let supervisor: u32 = supervisor.trim().parse().unwrap();
    let mut all = vec![supervisor];
    for thread in std::fs::read_dir(format!("/proc/{supervisor}/task")).unwrap() {
        let children = thread.unwrap().path().join("children");
        let children = std::fs::read_to_string(children).unwrap_or_default();
        all.extend(
            children
                .split_whitespace()
                .map(|pid| pid.parse::<u32>().unwrap()),
        );
    }
    all
}

/// Ends the playground when its test fails.
struct Ended<'a>(&'a Path);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        envtest(&["down"], self.0);
    }
}

async fn can_run(test: &str) -> bool {
    envtest::programs_or_leave_out(test).unwrap()
        && envtest::control_plane_or_leave_out(test).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_playground_stays_until_it_is_ended_and_starts_a_killed_operator_again() {
    if !can_run("a playground stays until it is ended").await {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let _ended = Ended(folder);
    let said = succeeds(&["up"], folder);
    for name in ["env", "operator.log"] {
        let path = folder.join(name).display().to_string();
        assert!(said.contains(&path), "{name}: {said}");
    }
    let log = std::fs::read_to_string(folder.join("operator.log")).unwrap();
    assert!(log.contains("\"level\""), "{log}");
    let script =
        ". \"$1/env\" && . \"$1/env\" && databricks-app-operator version && printf %s \"$PATH\"";
    let shell = std::process::Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(folder)
        .output()
        .unwrap();
    let printed = String::from_utf8(shell.stdout).unwrap();
    assert!(printed.starts_with("databricks-app-operator "), "{printed}");
    let programs = Path::new(env!("CARGO_BIN_EXE_envtest")).parent().unwrap();
    let found = printed.matches(&programs.display().to_string()).count();
    assert_eq!(found, 1, "{printed}");
    let found = variables(folder);
    for name in [
        "KUBECONFIG",
        "SIM_URL",
        "SIM_TOKEN",
        "OPERATOR_URL",
        "OPERATOR_PID",
    ] {
        assert!(
            found.get(name).is_some_and(|value| !value.is_empty()),
            "{name}"
        );
    }
    assert!(succeeds(&["up"], folder).contains("already running"));

    let operator: u32 = found["OPERATOR_PID"].parse().unwrap();
    assert!(envtest::detached::kill(operator));
    eventually("the operator runs again", async || {
        let now = variables(folder)["OPERATOR_PID"].parse::<u32>();
        now.is_ok_and(|pid| pid != operator && runs(pid))
    })
    .await;

    let running = processes(folder);
    assert!(running.len() >= 5, "{running:?}");
    succeeds(&["down"], folder);
    assert!(!running.iter().any(|pid| runs(*pid)));
    assert!(!folder.join("env").exists());
    assert!(succeeds(&["down"], folder).contains("no playground"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_playground_leaves_no_process_behind() {
    if !can_run("a killed playground leaves no process behind").await {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let _ended = Ended(folder);
    succeeds(&["up"], folder);
    let running = processes(folder);
    assert!(envtest::detached::kill(running[0]));
    eventually("every process is gone", async || {
        !running.iter().any(|pid| runs(*pid))
    })
    .await;
    assert!(succeeds(&["down"], folder).contains("no playground"));
}
