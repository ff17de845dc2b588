//! Resources of apps: references are checked, grants land on what they refer to.
use serde_json::{Value, json};

use crate::harness::{ANN, Service, text};

const SEED: &str = "
warehouses: [wh-1]
jobs: [{id: 101, name: nightly}]
secret_scopes: [{name: prod, secrets: {key: value}}]
experiments: ['7']
serving_endpoints: [chat]
genie_spaces: [g-1]
databases: [lake]
postgres_branches: [projects/p/branches/main]
uc_securables: [{type: TABLE, name: main.sales.orders}]
apps: [{name: callee}]
";

fn every_kind() -> Value {
    json!([
        {"name": "a", "app": {"name": "callee", "permission": "CAN_USE"}},
        {"name": "d", "database": {"instance_name": "lake", "database_name": "x", "permission": "CAN_CONNECT_AND_CREATE"}},
        {"name": "p", "postgres": {"branch": "projects/p/branches/main", "permission": "CAN_CONNECT_AND_CREATE"}},
        {"name": "e", "experiment": {"experiment_id": "7", "permission": "CAN_READ"}},
        {"name": "g", "genie_space": {"name": "g", "space_id": "g-1", "permission": "CAN_RUN"}},
        {"name": "j", "job": {"id": "101", "permission": "CAN_MANAGE_RUN"}},
        {"name": "s", "secret": {"scope": "prod", "key": "key", "permission": "READ"}},
        {"name": "m", "serving_endpoint": {"name": "chat", "permission": "CAN_QUERY"}},
        {"name": "w", "sql_warehouse": {"id": "wh-1", "permission": "CAN_USE"}},
        {"name": "t", "uc_securable": {"securable_full_name": "main.sales.orders", "securable_type": "TABLE", "permission": "SELECT"}},
    ])
}

fn level_of(acl: &Value, principal: &str) -> String {
    acl["access_control_list"]
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| entry["service_principal_name"] == principal)
        .map(|entry| text(&entry["all_permissions"][0]["permission_level"]))
        .unwrap_or_default()
}

#[tokio::test]
async fn every_kind_of_resource_is_granted_to_the_apps_service_principal() {
    let service = Service::seeded(SEED).await;
    let created = service
        .post(
            "/api/2.0/apps?no_compute=true",
            json!({"name": "demo", "resources": every_kind()}),
        )
        .await
        .ok();
    assert_eq!(created["resources"].as_array().unwrap().len(), 10);
    assert!(created["resources"][9]["uc_securable"]["securable_kind"].is_string());
    let principal = text(&created["service_principal_client_id"]);
    let endpoint = service.get("/api/2.0/serving-endpoints/chat").await.ok();
    let endpoint = format!("serving-endpoints/{}", text(&endpoint["id"]));
    for (object, level) in [
        ("apps/callee", "CAN_USE"),
        ("jobs/101", "CAN_MANAGE_RUN"),
        ("warehouses/wh-1", "CAN_USE"),
        ("sql/warehouses/wh-1", "CAN_USE"),
        ("experiments/7", "CAN_READ"),
        ("genie/g-1", "CAN_RUN"),
        (endpoint.as_str(), "CAN_QUERY"),
    ] {
        let acl = service
            .get(&format!("/api/2.0/permissions/{object}"))
            .await
            .ok();
        assert_eq!(level_of(&acl, &principal), level, "{object}");
    }
    let scope = service
        .get("/api/2.0/secrets/acls/list?scope=prod")
        .await
        .ok();
    assert_eq!(
        scope["items"],
        json!([{"principal": principal, "permission": "READ"}])
    );
    let table = "/api/2.1/unity-catalog/permissions/table/main.sales.orders";
    assert_eq!(
        service.get(table).await.ok()["privilege_assignments"],
        json!([{"principal": principal, "privileges": ["SELECT"]}])
    );
}

#[tokio::test]
async fn a_reference_to_nothing_is_refused_in_the_words_of_its_api() {
    let service = Service::seeded(SEED).await;
    for (resource, message) in [
        (
            json!({"sql_warehouse": {"id": "nope", "permission": "CAN_USE"}}),
            "SQL warehouse nope does not exist.",
        ),
        (
            json!({"job": {"id": "1", "permission": "CAN_VIEW"}}),
            "Job 1 does not exist.",
        ),
        (
            json!({"secret": {"scope": "nope", "key": "k", "permission": "READ"}}),
            "Scope nope does not exist",
        ),
        (
            json!({"secret": {"scope": "prod", "key": "k", "permission": "READ"}}),
            "Failed to get secret k for scope prod.",
        ),
        (
            json!({"app": {"name": "nope", "permission": "CAN_USE"}}),
            "App with name nope does not exist or is deleted.",
        ),
        (
            json!({"uc_securable": {"securable_full_name": "a.b.c", "securable_type": "TABLE", "permission": "SELECT"}}),
            "Table 'a.b.c' does not exist.",
        ),
    ] {
        let mut resource = resource;
        resource["name"] = "r".into();
        let body = json!({"name": "demo", "resources": [resource]});
        let refused = service.post("/api/2.0/apps", body).await;
        assert_eq!((refused.refusal().0, refused.refusal().2), (404, message));
    }
    assert_eq!(service.get("/api/2.0/apps/demo").await.status, 404);
    service
        .fault(json!({"kind": "missing_reference", "status_code": 400, "error_code": "INVALID_PARAMETER_VALUE"}))
        .await;
    let resource = json!({"name": "r", "job": {"id": "1", "permission": "CAN_VIEW"}});
    let refused = service
        .post(
            "/api/2.0/apps",
            json!({"name": "demo", "resources": [resource]}),
        )
        .await;
    assert_eq!(refused.refusal().0, 400);
}

#[tokio::test]
async fn a_malformed_resource_is_refused() {
    let service = Service::seeded(SEED).await;
    let warehouse = json!({"id": "wh-1", "permission": "CAN_USE"});
    for resources in [
        json!([{"sql_warehouse": warehouse}]),
        json!([{"name": "a"}]),
        json!([{"name": "a", "sql_warehouse": warehouse, "job": {"id": "101", "permission": "CAN_VIEW"}}]),
        json!([{"name": "a", "sql_warehouse": {"id": "wh-1", "permission": "CAN_FLY"}}]),
        json!([{"name": "a", "sql_warehouse": {"permission": "CAN_USE"}}]),
        json!([{"name": "a", "sql_warehouse": warehouse}, {"name": "a", "sql_warehouse": warehouse}]),
        json!([{"name": "a", "uc_securable": {"securable_full_name": "main.sales.orders", "securable_type": "TABLE", "permission": "EXECUTE"}}]),
    ] {
        let body = json!({"name": "demo", "resources": resources.clone()});
        let refused = service.post("/api/2.0/apps", body).await;
        assert_eq!(refused.refusal().0, 400, "{resources}");
    }
}

#[tokio::test]
async fn a_grant_outlives_its_resource_unless_a_fault_revokes_it() {
    let service = Service::seeded(SEED).await;
    for (name, revokes) in [("keeps", false), ("revokes", true)] {
        let resource =
            json!({"name": "w", "sql_warehouse": {"id": "wh-1", "permission": "CAN_USE"}});
        let created = service
            .post(
                "/api/2.0/apps?no_compute=true",
                json!({"name": name, "resources": [resource]}),
            )
            .await
            .ok();
        if revokes {
            service
                .fault(json!({"kind": "revoke_grants_on_removal", "app": name}))
                .await;
        }
        service
            .update(name, "resources", json!({"resources": []}))
            .await
            .ok();
        service.advance("10s").await;
        let acl = service
            .get("/api/2.0/permissions/warehouses/wh-1")
            .await
            .ok();
        let level = level_of(&acl, &text(&created["service_principal_client_id"]));
        assert_eq!(level.is_empty(), revokes, "{name}");
    }
}

#[tokio::test]
async fn a_full_put_on_the_target_wipes_the_grant_and_an_update_restores_it() {
    let service = Service::seeded(SEED).await;
    let resource = json!({"name": "j", "job": {"id": "101", "permission": "CAN_VIEW"}});
    let created = service
        .post(
            "/api/2.0/apps?no_compute=true",
            json!({"name": "demo", "resources": [resource]}),
        )
        .await
        .ok();
    let principal = text(&created["service_principal_client_id"]);
    let owner = json!([{"user_name": ANN, "permission_level": "IS_OWNER"}]);
    let wiped = service
        .put(
            "/api/2.0/permissions/jobs/101",
            json!({"access_control_list": owner}),
        )
        .await
        .ok();
    assert_eq!(level_of(&wiped, &principal), "");
    let changed = json!([
        {"name": "j", "description": "again", "job": {"id": "101", "permission": "CAN_VIEW"}},
    ]);
    service
        .update("demo", "resources", json!({"resources": changed}))
        .await
        .ok();
    service.advance("10s").await;
    let acl = service.get("/api/2.0/permissions/jobs/101").await.ok();
    assert_eq!(level_of(&acl, &principal), "CAN_VIEW");
}
