//! What is logged changes while the operator runs, by a file.
use std::path::Path;

use crate::support::{Scene, Setting};

async fn logged(scene: &Scene, what: &str) {
    scene
        .until(&format!("a log line with {what}"), async || {
            let log = std::fs::read_to_string(&scene.log).unwrap();
            log.lines().any(|line| line.contains(what)).then_some(())
        })
        .await;
}

/// As the kubelet does it: readers see the old content or the new one.
fn swap(path: &Path, content: &str) {
    let next = path.with_extension("next");
    std::fs::write(&next, content).unwrap();
    std::fs::rename(next, path).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_written_filter_holds_a_bad_one_changes_nothing_and_an_empty_file_ends_it() {
    let test = "a_written_filter_holds_a_bad_one_changes_nothing_and_an_empty_file_ends_it";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("filter");
    let setting = Setting {
        operator: vec!["--log-filter-file".into(), file.display().to_string()],
        log_filter: "info",
        ..Setting::default()
    };
    let Some(scene) = Scene::set(test, setting).await else {
        return;
    };
    logged(&scene, "\"filter\":\"info\"").await;
    let log = std::fs::read_to_string(&scene.log).unwrap();
    assert!(!log.contains("\"level\":\"DEBUG\""), "{log}");
    swap(
        &file,
        "info,databricks_app_operator=debug,hyper_util=debug\n",
    );
    logged(&scene, "\"level\":\"DEBUG\"").await;
    swap(&file, "a=b=c");
    logged(&scene, "the log filter stays as it was").await;
    swap(&file, "");
    scene
        .until("the usual filter is back", async || {
            let log = std::fs::read_to_string(&scene.log).unwrap();
            (log.matches("\"filter\":\"info\"").count() == 2).then_some(())
        })
        .await;
    scene.end().await;
}
