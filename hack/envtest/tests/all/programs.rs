//! The two programs as children, by the example of the one that needs no cluster.

use std::time::Duration;

use envtest::{Sim, SimOptions};
use serde_json::json;

use super::runs;

#[tokio::test]
async fn a_killed_or_stopped_program_starts_again_at_its_address() {
    let test = "a killed or stopped program starts again at its address";
    if !envtest::programs_or_leave_out(test).unwrap() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("sim.log");
    let sim = Sim::start(SimOptions::new("t", "a@example.com", &log))
        .await
        .unwrap();
    let (url, first) = (sim.url(), sim.pid().unwrap());

    sim.kill();
    assert!(!runs(first) && sim.pid().is_none());
    sim.start_again().await.unwrap();
    let second = sim.pid().unwrap();
    assert_ne!(second, first);
    assert_eq!(sim.url(), url);
    sim.call("GET", "/sim/requests", None).await.unwrap();

    let status = sim.stop(Duration::from_secs(10)).await.unwrap();
    assert!(status.success(), "{status}; see {}", log.display());
    sim.start_again().await.unwrap();
    let third = sim.pid().unwrap();
    drop(sim);
    assert!(!runs(third));
}

#[tokio::test]
async fn a_refusal_of_the_fake_workspace_is_an_error_with_its_answer() {
    let test = "a refusal of the fake workspace is an error with its answer";
    if !envtest::programs_or_leave_out(test).unwrap() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let options = SimOptions::new("t", "a@example.com", folder.path().join("sim.log"));
    let sim = Sim::start(options).await.unwrap();
    let change = json!({"description": "x"});
    let error = sim
        .call("POST", "/sim/apps/absent", Some(&change))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("POST /sim/apps/absent") && error.contains("does not exist"),
        "{error}"
    );
}
