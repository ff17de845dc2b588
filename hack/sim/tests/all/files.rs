//! Workspace files.
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::harness::{Answer, Service, column, text};

const DIR: &str = "/Workspace/Users/ann@example.com/src";

async fn import_file(service: &Service, path: &str, query: &str) -> Answer {
    let url = format!("/api/2.0/workspace-files/import-file{path}{query}");
    let answer = service.request("POST", &url).body("one").send().await;
    crate::harness::read(answer.unwrap()).await.unwrap()
}

async fn mkdirs(service: &Service) {
    service
        .post("/api/2.0/workspace/mkdirs", json!({"path": DIR}))
        .await
        .ok();
}

#[tokio::test]
async fn import_file_needs_its_folder_and_overwrites_only_when_told() {
    let service = Service::start().await;
    let file = format!("{DIR}/app.py");
    assert_eq!(import_file(&service, &file, "").await.status, 404);
    mkdirs(&service).await;
    mkdirs(&service).await;
    import_file(&service, &file, "").await.ok();
    assert_eq!(import_file(&service, &file, "").await.status, 409);
    import_file(&service, &file, "?overwrite=true").await.ok();
}

#[tokio::test]
async fn files_are_listed_described_exported_and_deleted() {
    let service = Service::start().await;
    mkdirs(&service).await;
    import_file(&service, &format!("{DIR}/a b.py"), "")
        .await
        .ok();
    import_file(&service, &format!("{DIR}/c.py"), "").await.ok();
    let listed = service
        .get(&format!("/api/2.0/workspace/list?path={DIR}"))
        .await
        .ok();
    assert_eq!(
        column(&listed["objects"], "path"),
        [format!("{DIR}/a b.py"), format!("{DIR}/c.py")]
    );
    assert_eq!(listed["objects"][0]["object_type"], "FILE");
    assert_eq!(listed["objects"][0]["size"], 3);
    let above = service
        .get("/api/2.0/workspace/list?path=/Users/ann@example.com")
        .await
        .ok();
    assert_eq!(above["objects"][0]["object_type"], "DIRECTORY");
    assert_eq!(above["objects"][0]["path"], "/Users/ann@example.com/src");

    let status = format!("/api/2.0/workspace/get-status?path={DIR}/c.py");
    let before = service.get(&status).await.ok();
    service.advance("1m").await;
    import_file(&service, &format!("{DIR}/c.py"), "?overwrite=true")
        .await
        .ok();
    let after = service.get(&status).await.ok();
    assert_eq!(before["object_id"], after["object_id"]);
    assert!(after["modified_at"].as_i64() > before["modified_at"].as_i64());

    let export = format!("/api/2.0/workspace/export?path={DIR}/c.py");
    let content = service.get(&export).await.ok()["content"].clone();
    assert_eq!(content, STANDARD.encode("one"));
    let direct = service.get(&format!("{export}&direct_download=true")).await;
    assert_eq!(direct.text, "one");

    let delete = async |body: Value| service.post("/api/2.0/workspace/delete", body).await;
    let refused = delete(json!({"path": DIR})).await;
    assert_eq!(refused.refusal().1, "DIRECTORY_NOT_EMPTY");
    delete(json!({"path": DIR, "recursive": true})).await.ok();
    let gone = service.get(&status).await;
    assert_eq!(
        gone.refusal(),
        (
            404,
            "RESOURCE_DOES_NOT_EXIST",
            format!("Path ({DIR}/c.py) doesn't exist.").as_str()
        )
    );
}

#[tokio::test]
async fn auto_import_makes_notebooks_of_sources_that_say_so() {
    let service = Service::start().await;
    mkdirs(&service).await;
    let import = async |name: &str, format: &str, content: &str| {
        let body = json!({
            "path": format!("{DIR}/{name}"), "format": format,
            "content": STANDARD.encode(content), "overwrite": true,
        });
        service.post("/api/2.0/workspace/import", body).await
    };
    let notebook = "# Databricks notebook source\nprint(1)";
    import("nb.py", "AUTO", notebook).await.ok();
    import("raw.py", "RAW", notebook).await.ok();
    import("plain.py", "AUTO", "print(1)").await.ok();
    let listed = service
        .get(&format!("/api/2.0/workspace/list?path={DIR}"))
        .await
        .ok();
    let found: Vec<(String, String)> = listed["objects"]
        .as_array()
        .unwrap()
        .iter()
        .map(|o| (text(&o["path"]).replace(DIR, ""), text(&o["object_type"])))
        .collect();
    let expected = [
        ("/nb", "NOTEBOOK"),
        ("/plain.py", "FILE"),
        ("/raw.py", "FILE"),
    ];
    assert_eq!(
        found,
        expected.map(|(path, kind)| (path.to_owned(), kind.to_owned()))
    );
    let clash = import("nb", "RAW", "x").await;
    assert!(clash.refusal().2.contains("already exists."));
    assert_eq!(import("source.py", "SOURCE", "x").await.status, 400);
    let large = "x".repeat(10_485_761);
    let refused = import("large.bin", "RAW", &large).await;
    assert_eq!(refused.refusal().1, "MAX_NOTEBOOK_SIZE_EXCEEDED");
}
