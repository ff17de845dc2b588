//! Deployments: preconditions, progress, masking, outcomes.
use serde_json::json;

use crate::harness::{ANN, SOURCE, Service, column, text};

#[tokio::test]
async fn a_deployment_goes_through_its_messages_and_becomes_active() {
    let service = Service::start().await;
    service.active_app("demo").await;
    service.upload(SOURCE).await;
    let first = service.deploy("demo").await.ok();
    let mut messages = vec![text(&first["status"]["message"])];
    let path = format!(
        "/api/2.0/apps/demo/deployments/{}",
        first["deployment_id"].as_str().unwrap()
    );
    assert_eq!(
        service.app("demo").await["app_status"]["state"],
        "DEPLOYING"
    );
    for _ in 0..11 {
        service.advance("5s").await;
        let now = service.get(&path).await.ok();
        assert_eq!(now["status"]["state"], "IN_PROGRESS");
        messages.push(text(&now["status"]["message"]));
    }
    messages.dedup();
    assert_eq!(
        messages,
        [
            "Preparing source code for new app deployment.".to_owned(),
            "Deployment is pending".to_owned(),
            format!("Downloading source code from {SOURCE}"),
            "Installing packages".to_owned(),
            "Starting app with command: []".to_owned(),
        ]
    );
    assert_eq!(
        service.app("demo").await["pending_deployment"]["deployment_id"],
        first["deployment_id"]
    );
    service.advance("10s").await;
    let app = service.app("demo").await;
    assert!(app["pending_deployment"].is_null());
    assert_eq!(app["active_deployment"]["status"]["state"], "SUCCEEDED");
    assert_eq!(app["active_deployment"]["creator"], ANN);
    assert_eq!(app["default_source_code_path"], SOURCE);
    assert_eq!(app["app_status"]["state"], "RUNNING");
    let artifacts = text(&app["active_deployment"]["deployment_artifacts"]["source_code_path"]);
    let expected = format!(
        "/Workspace/Users/{}/src/{}",
        text(&app["service_principal_client_id"]),
        text(&first["deployment_id"])
    );
    assert_eq!(artifacts, expected);
}

#[tokio::test]
async fn a_deploy_is_refused_unless_compute_is_active() {
    let service = Service::start().await;
    service.stopped_app("demo").await;
    let refused = service.deploy("demo").await;
    let (status, _, message) = refused.refusal();
    assert_eq!(status, 400);
    assert_eq!(
        message,
        "Cannot deploy app demo as it is not in RUNNING state"
    );
}

#[tokio::test]
async fn a_deploy_can_be_refused_for_a_while_after_compute_became_active() {
    let service = Service::start().await;
    service
        .fault(json!({"kind": "deploy_refused_after_active", "for": "10s"}))
        .await;
    service
        .post("/api/2.0/apps", json!({"name": "demo"}))
        .await
        .ok();
    service.upload(SOURCE).await;
    service.advance("185s").await;
    assert_eq!(service.compute("demo").await, "ACTIVE");
    let refused = service.deploy("demo").await;
    assert!(refused.refusal().2.ends_with("not in RUNNING state"));
    service.advance("6s").await;
    service.deploy("demo").await.ok();
}

#[tokio::test]
async fn one_deployment_runs_at_a_time() {
    let service = Service::start().await;
    service.active_app("demo").await;
    service.upload(SOURCE).await;
    service.deploy("demo").await.ok();
    let refused = service.deploy("demo").await;
    assert_eq!(refused.refusal().0, 400);
    assert_eq!(
        refused.refusal().2,
        "Cannot deploy app demo as there is an active deployment in progress"
    );
}

#[tokio::test]
async fn the_same_input_may_be_deployed_again_and_the_newest_is_listed_first() {
    let service = Service::start().await;
    service.running_app("demo").await;
    let second = service.deploy("demo").await.ok();
    service.advance("2m").await;
    let listed = service.get("/api/2.0/apps/demo/deployments").await.ok();
    let ids = column(&listed["app_deployments"], "deployment_id");
    assert_eq!(ids.len(), 2);
    assert_eq!(ids[0], text(&second["deployment_id"]));
    let paged = service
        .get("/api/2.0/apps/demo/deployments?page_size=1")
        .await
        .ok();
    let token = text(&paged["next_page_token"]);
    let rest = service
        .get(&format!(
            "/api/2.0/apps/demo/deployments?page_size=1&page_token={token}"
        ))
        .await
        .ok();
    assert_eq!(column(&rest["app_deployments"], "deployment_id"), ids[1..]);
    assert!(rest.get("next_page_token").is_none());
}

#[tokio::test]
async fn values_of_variables_are_never_read_back() {
    let service = Service::seeded("secret_scopes: [{name: s, secrets: {k: v}}]").await;
    service.active_app("demo").await;
    service.upload(SOURCE).await;
    let resources =
        json!([{"name": "db", "secret": {"scope": "s", "key": "k", "permission": "READ"}}]);
    service
        .update("demo", "resources", json!({"resources": resources}))
        .await
        .ok();
    service.advance("10s").await;
    let body = json!({
        "source_code_path": SOURCE,
        "command": ["python", "app.py"],
        "env_vars": [{"name": "A", "value": "canary"}, {"name": "B", "value_from": "db"}],
    });
    let deployed = service
        .post("/api/2.0/apps/demo/deployments", body)
        .await
        .ok();
    let names = json!([{"name": "A"}, {"name": "B"}]);
    assert_eq!(deployed["env_vars"], names);
    service.advance("2m").await;
    let app = service.app("demo").await;
    assert_eq!(app["active_deployment"]["env_vars"], names);
    assert_eq!(
        app["active_deployment"]["command"],
        json!(["python", "app.py"])
    );
    let log = service.get("/sim/requests").await;
    assert!(!log.text.contains("canary"));
}

#[tokio::test]
async fn reads_can_show_variables_otherwise() {
    let service = Service::with("", |config| config.any_source = true).await;
    service.active_app("demo").await;
    let body = json!({"source_code_path": SOURCE, "env_vars": [{"name": "A", "value": "x"}]});
    service
        .post("/api/2.0/apps/demo/deployments", body)
        .await
        .ok();
    for (mode, expected) in [
        ("absent", json!(null)),
        ("visible", json!([{"name": "A", "value": "x"}])),
        ("names", json!([{"name": "A"}])),
    ] {
        service.delete("/sim/faults").await.ok();
        service
            .fault(json!({"kind": "env_masking", "mode": mode}))
            .await;
        let app = service.app("demo").await;
        assert_eq!(app["pending_deployment"]["env_vars"], expected, "{mode}");
    }
}

#[tokio::test]
async fn a_source_must_exist_or_its_deployment_fails() {
    let service = Service::start().await;
    service.active_app("demo").await;
    let accepted = service.deploy("demo").await.ok();
    service.advance("2m").await;
    let path = format!(
        "/api/2.0/apps/demo/deployments/{}",
        text(&accepted["deployment_id"])
    );
    let failed = service.get(&path).await.ok();
    assert_eq!(
        failed["status"],
        json!({"state": "FAILED", "message": format!("Source code path {SOURCE} does not exist.")})
    );
    let app = service.app("demo").await;
    assert!(app["active_deployment"].is_null());
    assert!(app["pending_deployment"].is_null());

    service
        .fault(json!({"kind": "missing_source_refused", "status_code": 404}))
        .await;
    let refused = service.deploy("demo").await;
    assert_eq!(refused.refusal().0, 404);
    service.upload(SOURCE).await;
    service.deploy("demo").await.ok();
}

#[tokio::test]
async fn a_file_over_ten_megabytes_fails_the_deployment() {
    let service = Service::start().await;
    service.active_app("demo").await;
    service.upload(SOURCE).await;
    let large = vec![b'x'; 10_485_761];
    let path = format!("/api/2.0/workspace-files/import-file{SOURCE}/model.bin");
    let uploaded = service.request("POST", &path).body(large).send().await;
    assert_eq!(uploaded.unwrap().status(), 200);
    service.deploy("demo").await.ok();
    service.advance("2m").await;
    let all = service.get("/api/2.0/apps/demo/deployments").await.ok();
    assert_eq!(
        all["app_deployments"][0]["status"]["message"],
        "File is larger than 10485760 bytes"
    );
}

#[tokio::test]
async fn deployments_end_as_faults_want() {
    let service = Service::start().await;
    let before = service.running_app("demo").await;
    for (outcome, state, app_state) in [
        ("FAILED", "FAILED", "RUNNING"),
        ("CANCELLED", "CANCELLED", "RUNNING"),
        ("CRASHED", "SUCCEEDED", "CRASHED"),
    ] {
        let fault = json!({"kind": "deployment_outcome", "outcome": outcome, "message": "canary", "times": 1});
        service.fault(fault).await;
        let id = text(&service.deploy("demo").await.ok()["deployment_id"]);
        service.advance("2m").await;
        let path = format!("/api/2.0/apps/demo/deployments/{id}");
        let ended = service.get(&path).await.ok();
        assert_eq!(ended["status"]["state"], state);
        let app = service.app("demo").await;
        assert_eq!(app["app_status"]["state"], app_state);
        if outcome == "CRASHED" {
            assert_eq!(app["app_status"]["message"], "canary");
            assert_eq!(app["active_deployment"]["deployment_id"], id);
        } else {
            assert_eq!(ended["status"]["message"], "canary");
            assert_eq!(
                app["active_deployment"]["deployment_id"],
                before["active_deployment"]["deployment_id"]
            );
        }
    }
    service
        .fault(json!({"kind": "deploy_refused_while_crashed"}))
        .await;
    assert_eq!(service.deploy("demo").await.refusal().0, 400);
}

#[tokio::test]
async fn a_variable_that_refers_to_no_resource_fails_the_deployment() {
    let service = Service::with("", |config| config.any_source = true).await;
    service.active_app("demo").await;
    let body = json!({"source_code_path": "/x", "env_vars": [{"name": "A", "value_from": "nope"}]});
    service
        .post("/api/2.0/apps/demo/deployments", body)
        .await
        .ok();
    service.advance("2m").await;
    let all = service.get("/api/2.0/apps/demo/deployments").await.ok();
    let status = &all["app_deployments"][0]["status"];
    assert_eq!(status["state"], "FAILED");
    assert!(text(&status["message"]).contains("resource nope"));
}

#[tokio::test]
async fn exactly_one_source_must_be_given() {
    let service = Service::start().await;
    service.active_app("demo").await;
    let deploy = async |body| {
        let answer = service.post("/api/2.0/apps/demo/deployments", body).await;
        (answer.refusal().0, answer.refusal().2.to_owned())
    };
    assert_eq!(deploy(json!({})).await.0, 400);
    let both = json!({"source_code_path": "/x", "git_source": {"branch": "main"}});
    assert_eq!(deploy(both).await.0, 400);
    let git = json!({"git_source": {"branch": "main"}});
    let (_, message) = deploy(git).await;
    assert!(message.contains("no Git repository"), "{message}");

    let repository = json!({"provider": "GITHUB", "url": "https://github.com/o/r"});
    service
        .update(
            "demo",
            "git_repository",
            json!({"git_repository": repository}),
        )
        .await
        .ok();
    service.advance("10s").await;
    assert_eq!(
        service.app("demo").await["git_repository"]["provider"],
        "gitHub"
    );
    assert_eq!(
        deploy(json!({})).await.1,
        "Git source reference is required"
    );
    let two = json!({"git_source": {"branch": "main", "tag": "v1"}});
    assert_eq!(deploy(two).await.0, 400);
    let repeated = json!({"git_source": {"branch": "main", "git_repository": {"url": "x"}}});
    assert!(
        deploy(repeated)
            .await
            .1
            .contains("not supported in Deploy API")
    );
}

#[tokio::test]
async fn a_git_deployment_shows_the_commit_that_runs() {
    let service = Service::start().await;
    let repository = json!({"provider": "gitHub", "url": "https://github.com/o/r"});
    let body = json!({"name": "demo", "git_repository": repository});
    service.post("/api/2.0/apps", body).await.ok();
    service.advance("4m").await;
    let deploy = json!({"git_source": {"branch": "main", "source_code_path": "apps/demo"}});
    service
        .post("/api/2.0/apps/demo/deployments", deploy)
        .await
        .ok();
    service.advance("2m").await;
    let app = service.app("demo").await;
    let source = &app["active_deployment"]["git_source"];
    assert_eq!(source["branch"], "main");
    assert_eq!(text(&source["resolved_commit"]).len(), 40);
    assert_eq!(app["default_git_source"], *source);
}
