//! The program: its line on stdout, its flags, its end.
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

const BINARY: &str = env!("CARGO_BIN_EXE_databricks-sim");

/// Killed when a test ends early.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(arguments: &[&str]) -> (Running, String) {
    let mut child = Command::new(BINARY)
        .args(["--listen", "127.0.0.1:0"])
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    let url = line
        .trim()
        .strip_prefix("listening on ")
        .unwrap()
        .to_owned();
    (Running(child), url)
}

fn fails(arguments: &[&str]) -> String {
    let output = Command::new(BINARY).args(arguments).output().unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn it_says_where_it_listens_keeps_a_log_and_ends_on_sigterm() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("requests.jsonl");
    let (mut running, url) = start(&[
        "--pat",
        "t=ann@example.com",
        "u=bob@example.com",
        "--oauth-client",
        "id:secret",
        "--time-scale",
        "60",
        "--log",
        log.to_str().unwrap(),
    ]);
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = http
        .get(format!("{url}/api/2.0/apps"))
        .bearer_auth("t")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let pid = running.0.id().to_string();
    let killed = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    assert!(killed.success());
    assert!(running.0.wait().unwrap().success());
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(log.contains("\"path\":\"/api/2.0/apps\""), "{log}");
}

#[test]
fn help_explains_faults_and_seed() {
    let output = Command::new(BINARY).arg("--help").output().unwrap();
    let mut help = String::new();
    output.stdout.as_slice().read_to_string(&mut help).unwrap();
    for word in [
        "databricks-sim --pat",
        "--time-scale",
        "/sim/requests",
        "deploy_refused_after_active",
        "list_lag",
        "secret_scopes",
    ] {
        assert!(help.contains(word), "{word}");
    }
}

#[test]
fn wrong_arguments_are_refused_with_a_reason() {
    assert!(fails(&["--listen", "0.0.0.0:0"]).contains("only loopback"));
    for flag in ["--pat", "--oauth-client"] {
        let error = fails(&["--listen", "127.0.0.1:0", flag, "canary"]);
        assert!(error.contains(&format!("expected {flag}")), "{error}");
        assert!(!error.contains("canary"), "{error}");
    }
    assert!(fails(&["--time-scale", "0"]).contains("--time-scale"));
    assert!(fails(&["--page-size", "0"]).contains("1 or more"));
}

#[test]
fn a_seed_with_an_unknown_key_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let seed = folder.path().join("seed.yaml");
    std::fs::write(&seed, "warehouse: [wh-1]\n").unwrap();
    let path = seed.to_str().unwrap();
    let error = fails(&["--listen", "127.0.0.1:0", "--seed", path]);
    assert!(
        error.contains("warehouse") && error.contains("seed.yaml"),
        "{error}"
    );
    std::fs::write(&seed, "apps: [{name: Wrong}]\n").unwrap();
    let error = fails(&["--listen", "127.0.0.1:0", "--seed", path]);
    assert!(error.contains("'Wrong'"), "{error}");
    let app = "apps: [{name: demo, user_api_scopes: [nope]}]";
    std::fs::write(&seed, app).unwrap();
    let error = fails(&["--listen", "127.0.0.1:0", "--seed", path]);
    assert!(
        error.contains("demo") && error.contains("'nope'"),
        "{error}"
    );
}
