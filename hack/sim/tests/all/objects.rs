//! The APIs around apps: SCIM, warehouses, jobs, secrets, templates.
use serde_json::json;

use crate::harness::{ANN, CLIENT_ID, Service, column, text};

const SCIM: &str = "/api/2.0/preview/scim/v2";

#[tokio::test]
async fn scim_filters_pages_and_selects() {
    let service = Service::seeded("users: [bob@example.com, carl@else.org]").await;
    let find =
        async |kind: &str, query: &str| service.get(&format!("{SCIM}/{kind}?{query}")).await.ok();
    let bob = find("Users", "filter=userName eq \"BOB@example.com\"").await;
    assert_eq!(bob["totalResults"], 1);
    assert_eq!(bob["Resources"][0]["userName"], "bob@example.com");
    let both = find(
        "Users",
        "filter=userName co \"example\"&attributes=userName",
    )
    .await;
    assert_eq!(both["totalResults"], 2);
    assert!(both["Resources"][0].get("emails").is_none());
    let either = "filter=userName eq \"bob@example.com\" or userName eq \"carl@else.org\"";
    assert_eq!(find("Users", either).await["totalResults"], 2);
    let page = find("Users", "startIndex=2&count=1").await;
    assert_eq!(
        (&page["totalResults"], &page["itemsPerPage"]),
        (&json!(3), &json!(1))
    );
    let nobody = find("Groups", "filter=displayName eq \"Users\"").await;
    assert_eq!(nobody["totalResults"], 0);
    let app = format!("filter=applicationId eq \"{CLIENT_ID}\"");
    assert_eq!(find("ServicePrincipals", &app).await["totalResults"], 1);
    let wrong = service
        .get(&format!("{SCIM}/Users?filter=userName gt \"a\""))
        .await;
    assert_eq!(wrong.status, 400);
    assert!(wrong.body["detail"].is_string());
}

#[tokio::test]
async fn scim_creates_changes_and_deletes() {
    let service = Service::start().await;
    let group = service
        .post(&format!("{SCIM}/Groups"), json!({"displayName": "data"}))
        .await
        .ok();
    let user = service
        .post(
            &format!("{SCIM}/Users"),
            json!({"userName": "new@example.com"}),
        )
        .await
        .ok();
    let again = service
        .post(
            &format!("{SCIM}/Users"),
            json!({"userName": "new@example.com"}),
        )
        .await;
    assert_eq!(again.status, 409);
    let group = format!("{SCIM}/Groups/{}", text(&group["id"]));
    let user_id = text(&user["id"]);
    let operations = json!([{"op": "add", "path": "members", "value": [{"value": user_id}]}]);
    let joined = service
        .patch(&group, json!({"Operations": operations}))
        .await
        .ok();
    assert_eq!(joined["members"][0]["value"], user_id);
    let shown = service.get(&format!("{SCIM}/Users/{user_id}")).await.ok();
    assert!(column(&shown["groups"], "display").contains(&"data".into()));
    let remove = json!([{"op": "remove", "path": format!("members[value eq \"{user_id}\"]")}]);
    let left = service
        .patch(&group, json!({"Operations": remove}))
        .await
        .ok();
    assert_eq!(left["members"], json!([]));
    service.delete(&group).await.ok();
    assert_eq!(service.get(&group).await.status, 404);
}

#[tokio::test]
async fn warehouses_are_kept_and_turned_on_and_off() {
    let service = Service::start().await;
    let created = service
        .post(
            "/api/2.0/sql/warehouses",
            json!({"name": "one", "cluster_size": "Small"}),
        )
        .await
        .ok();
    let path = format!("/api/2.0/sql/warehouses/{}", text(&created["id"]));
    assert_eq!(service.get(&path).await.ok()["state"], "RUNNING");
    service.post(&format!("{path}/stop"), json!({})).await.ok();
    service
        .post(&format!("{path}/edit"), json!({"cluster_size": "Large"}))
        .await
        .ok();
    let edited = service.get(&path).await.ok();
    assert_eq!(edited["state"], "STOPPED");
    assert_eq!(edited["cluster_size"], "Large");
    assert_eq!(edited["name"], "one");
    let clash = service
        .post("/api/2.0/sql/warehouses", json!({"name": "one"}))
        .await;
    assert_eq!(clash.status, 400);
    let listed = service.get("/api/2.0/sql/warehouses").await.ok();
    assert_eq!(column(&listed["warehouses"], "name"), ["one"]);
    service.delete(&path).await.ok();
    assert_eq!(service.get(&path).await.status, 404);
}

#[tokio::test]
async fn jobs_are_kept_reset_and_run() {
    let service = Service::start().await;
    let mut ids = Vec::new();
    for name in ["one", "two", "three"] {
        let job = service
            .post("/api/2.2/jobs/create", json!({"name": name}))
            .await
            .ok();
        ids.push(job["job_id"].as_i64().unwrap());
    }
    let first = service.get("/api/2.2/jobs/list?limit=2").await.ok();
    assert_eq!(first["jobs"].as_array().unwrap().len(), 2);
    let token = text(&first["next_page_token"]);
    let rest = service
        .get(&format!("/api/2.2/jobs/list?limit=2&page_token={token}"))
        .await
        .ok();
    assert_eq!(rest["jobs"].as_array().unwrap().len(), 1);
    assert_eq!(rest["has_more"], false);
    let named = service.get("/api/2.2/jobs/list?name=two").await.ok();
    assert_eq!(named["jobs"][0]["job_id"], ids[1]);
    service
        .post(
            "/api/2.2/jobs/update",
            json!({"job_id": ids[0], "new_settings": {"tags": {"a": "b"}}, "fields_to_remove": ["format"]}),
        )
        .await
        .ok();
    let path = format!("/api/2.2/jobs/get?job_id={}", ids[0]);
    let job = service.get(&path).await.ok();
    assert_eq!(job["settings"]["name"], "one");
    assert_eq!(job["settings"]["tags"], json!({"a": "b"}));
    assert!(job["settings"].get("format").is_none());
    assert_eq!(job["creator_user_name"], ANN);
    let run = service
        .post("/api/2.2/jobs/run-now", json!({"job_id": ids[0]}))
        .await
        .ok();
    let run = service
        .get(&format!("/api/2.2/jobs/runs/get?run_id={}", run["run_id"]))
        .await
        .ok();
    assert_eq!(run["state"]["result_state"], "SUCCESS");
    service
        .post("/api/2.2/jobs/delete", json!({"job_id": ids[0]}))
        .await
        .ok();
    let gone = service.get(&path).await;
    assert_eq!(gone.refusal().1, "INVALID_PARAMETER_VALUE");
    assert_eq!(gone.refusal().2, format!("Job {} does not exist.", ids[0]));
}

#[tokio::test]
async fn secret_scopes_hold_secrets_and_access_lists() {
    let service = Service::start().await;
    let base = "/api/2.0/secrets";
    let scope = json!({"scope": "prod"});
    service
        .post(&format!("{base}/scopes/create"), scope.clone())
        .await
        .ok();
    let again = service.post(&format!("{base}/scopes/create"), scope).await;
    assert_eq!(
        again.refusal(),
        (400, "RESOURCE_ALREADY_EXISTS", "Scope prod already exists")
    );
    let secret = json!({"scope": "prod", "key": "k", "string_value": "canary"});
    service.post(&format!("{base}/put"), secret).await.ok();
    let read = service
        .get(&format!("{base}/get?scope=prod&key=k"))
        .await
        .ok();
    assert_eq!(read["value"], "Y2FuYXJ5");
    let log = service.get("/sim/requests").await;
    assert!(!log.text.contains("canary"));
    let acl = json!({"scope": "prod", "principal": "users", "permission": "READ"});
    service.post(&format!("{base}/acls/put"), acl).await.ok();
    let unknown = json!({"scope": "prod", "principal": "nope", "permission": "READ"});
    assert_eq!(
        service
            .post(&format!("{base}/acls/put"), unknown)
            .await
            .status,
        404
    );
    let list = service
        .get(&format!("{base}/acls/list?scope=prod"))
        .await
        .ok();
    assert_eq!(
        list["items"],
        json!([
            {"principal": ANN, "permission": "MANAGE"},
            {"principal": "users", "permission": "READ"},
        ])
    );
    let missing = service.get(&format!("{base}/list?scope=nope")).await;
    assert_eq!(
        missing.refusal(),
        (404, "RESOURCE_DOES_NOT_EXIST", "Scope nope does not exist")
    );
}

#[tokio::test]
async fn a_git_credential_belongs_to_the_caller_or_to_an_apps_service_principal() {
    let service = Service::start().await;
    let app = service.stopped_app("demo").await;
    let principal = &app["service_principal_id"];
    let base = "/api/2.0/git-credentials";
    let body = json!({
        "git_provider": "gitHub", "git_username": "bot",
        "personal_access_token": "canary", "principal_id": principal,
    });
    let created = service.post(base, body.clone()).await.ok();
    assert_eq!(created["git_username"], "bot");
    let again = service.post(base, body).await;
    assert!(again.refusal().2.starts_with("Only one Git credential"));
    assert_eq!(service.get(base).await.ok()["credentials"], json!([]));
    let listed = service
        .get(&format!("{base}?principal_id={principal}"))
        .await;
    assert!(!listed.text.contains("canary"));
    assert_eq!(listed.body["credentials"].as_array().unwrap().len(), 1);
    let one = format!("{base}/{}", created["credential_id"]);
    let patched = service
        .patch(
            &one,
            json!({"git_provider": "gitLab", "personal_access_token": "canary"}),
        )
        .await
        .ok();
    assert_eq!(patched["git_provider"], "gitLab");
    assert_eq!(patched["git_username"], "bot");
    service.delete(&one).await.ok();
    assert_eq!(service.get(&one).await.status, 404);
    let unknown = json!({"git_provider": "gitHub", "principal_id": 1});
    assert_eq!(service.post(base, unknown).await.status, 404);
    assert!(!service.get("/sim/requests").await.text.contains("canary"));
}

#[tokio::test]
async fn templates_are_kept() {
    let service = Service::start().await;
    let base = "/api/2.0/apps-settings/templates";
    let template = json!({
        "name": "Team app", "git_repo": "https://github.com/o/r", "git_provider": "gitHub",
        "path": "apps/x", "manifest": {"version": 1, "name": "x"},
    });
    let created = service.post(base, template.clone()).await.ok();
    assert_eq!(created["creator"], ANN);
    assert_eq!(service.post(base, template).await.status, 409);
    let listed = service.get(base).await.ok();
    assert_eq!(column(&listed["templates"], "name"), ["Team app"]);
    service.delete(&format!("{base}/Team%20app")).await.ok();
    assert_eq!(service.get(base).await.ok(), json!({}));
}
