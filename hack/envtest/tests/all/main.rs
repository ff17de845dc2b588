//! Tests against a real API server, one module a subject.
#![allow(clippy::unwrap_used)]

mod bench;
mod cluster;
mod installation;
mod playground;
mod programs;

use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(60);

async fn eventually(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !check().await {
        assert!(
            start.elapsed() < DEADLINE,
            "not within {DEADLINE:?}: {what}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A zombie counts as gone: its files and ports are free.
fn runs(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .starts_with(" Z")
    })
}
