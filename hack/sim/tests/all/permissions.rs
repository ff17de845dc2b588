//! Access control lists.
use serde_json::{Value, json};

use crate::harness::{ANN, Answer, CLIENT_ID, Service, text};

const PATH: &str = "/api/2.0/permissions/apps/demo";
const SEED: &str = "
users: [bob@example.com]
groups: [{name: data, members: [bob@example.com]}]
";

/// Direct entries as (principal, level), the inherited ones left out.
fn direct(acl: &Value) -> Vec<(String, String)> {
    acl["access_control_list"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["all_permissions"][0]["inherited"] == false)
        .map(|entry| {
            let principal = ["user_name", "group_name", "service_principal_name"]
                .iter()
                .find_map(|field| entry[field].as_str())
                .unwrap();
            let level = text(&entry["all_permissions"][0]["permission_level"]);
            (principal.to_owned(), level)
        })
        .collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected
        .iter()
        .map(|(principal, level)| ((*principal).to_owned(), (*level).to_owned()))
        .collect()
}

async fn put(service: &Service, entries: Value) -> Answer {
    service
        .put(PATH, json!({"access_control_list": entries}))
        .await
}

#[tokio::test]
async fn a_fresh_app_belongs_to_its_creator_and_to_admins_by_inheritance() {
    let service = Service::start().await;
    service.stopped_app("demo").await;
    let acl = service.get(PATH).await.ok();
    assert_eq!(acl["object_id"], "/apps/demo");
    assert_eq!(acl["object_type"], "apps");
    assert_eq!(direct(&acl), pairs(&[(ANN, "CAN_MANAGE")]));
    assert_eq!(
        acl["access_control_list"][1],
        json!({"group_name": "admins", "all_permissions": [
            {"permission_level": "CAN_MANAGE", "inherited": true, "inherited_from_object": ["/apps/"]},
        ]})
    );
}

#[tokio::test]
async fn put_replaces_and_patch_adds() {
    let service = Service::seeded(SEED).await;
    service.stopped_app("demo").await;
    let replaced = put(
        &service,
        json!([
            {"group_name": "data", "permission_level": "CAN_USE"},
            {"service_principal_name": CLIENT_ID.to_uppercase(), "permission_level": "CAN_MANAGE"},
        ]),
    )
    .await
    .ok();
    let expected = pairs(&[("data", "CAN_USE"), (CLIENT_ID, "CAN_MANAGE")]);
    assert_eq!(direct(&replaced), expected);
    let added = service
        .patch(
            PATH,
            json!({"access_control_list": [
                {"user_name": "Bob@Example.com", "permission_level": "CAN_USE"},
                {"group_name": "data", "permission_level": "CAN_MANAGE"},
            ]}),
        )
        .await
        .ok();
    assert_eq!(
        direct(&added),
        pairs(&[
            ("data", "CAN_MANAGE"),
            (CLIENT_ID, "CAN_MANAGE"),
            ("bob@example.com", "CAN_USE")
        ])
    );
    assert_eq!(direct(&put(&service, json!([])).await.ok()), []);
}

#[tokio::test]
async fn the_last_entry_of_a_principal_wins() {
    let service = Service::start().await;
    service.stopped_app("demo").await;
    let acl = put(
        &service,
        json!([
            {"group_name": "users", "permission_level": "CAN_MANAGE"},
            {"group_name": "users", "permission_level": "CAN_USE"},
        ]),
    )
    .await
    .ok();
    assert_eq!(direct(&acl), pairs(&[("users", "CAN_USE")]));
}

#[tokio::test]
async fn an_unknown_principal_is_refused_by_name_and_nothing_changes() {
    let service = Service::seeded(SEED).await;
    service.stopped_app("demo").await;
    for (entry, text) in [
        (
            json!({"user_name": "x@y.z"}),
            "UserName(x@y.z) does not exist",
        ),
        (
            json!({"group_name": "Data"}),
            "GroupName(Data) does not exist",
        ),
        (
            json!({"service_principal_name": "nope"}),
            "ServicePrincipalName(nope) does not exist",
        ),
    ] {
        let mut entry = entry;
        entry["permission_level"] = "CAN_USE".into();
        let refused = put(
            &service,
            json!([{"group_name": "data", "permission_level": "CAN_USE"}, entry]),
        )
        .await;
        let (status, _, message) = refused.refusal();
        assert_eq!(status, 404);
        assert!(message.ends_with(text), "{message}");
    }
    let acl = service.get(PATH).await.ok();
    assert_eq!(direct(&acl), pairs(&[(ANN, "CAN_MANAGE")]));
}

#[tokio::test]
async fn a_service_principal_may_be_named_as_a_user() {
    let service = Service::start().await;
    service.stopped_app("demo").await;
    let acl = put(
        &service,
        json!([{"user_name": CLIENT_ID, "permission_level": "CAN_MANAGE"}]),
    )
    .await
    .ok();
    assert_eq!(
        acl["access_control_list"][0]["service_principal_name"],
        CLIENT_ID
    );
}

#[tokio::test]
async fn a_level_of_another_type_is_refused() {
    let service = Service::start().await;
    service.stopped_app("demo").await;
    let refused = put(
        &service,
        json!([{"group_name": "users", "permission_level": "CAN_VIEW"}]),
    )
    .await;
    assert_eq!(refused.refusal().0, 400);
    let levels = service.get(&format!("{PATH}/permissionLevels")).await.ok();
    let names: Vec<&str> = levels["permission_levels"]
        .as_array()
        .unwrap()
        .iter()
        .map(|level| level["permission_level"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["CAN_USE", "CAN_MANAGE"]);
    let unknown = service.get("/api/2.0/permissions/nonsense/1").await;
    assert_eq!(unknown.refusal().0, 400);
}

#[tokio::test]
async fn a_put_without_the_caller_passes_is_refused_or_locks_the_caller_out() {
    let service = Service::seeded(SEED).await;
    for name in ["passes", "refused", "locked"] {
        service.stopped_app(name).await;
    }
    service
        .fault(json!({"kind": "put_without_caller_refused", "app": "refused"}))
        .await;
    service
        .fault(json!({"kind": "caller_lockout", "app": "locked"}))
        .await;
    let put = async |name: &str, entries: Value| {
        let path = format!("/api/2.0/permissions/apps/{name}");
        service
            .put(&path, json!({"access_control_list": entries}))
            .await
            .status
    };
    let others = json!([{"group_name": "data", "permission_level": "CAN_MANAGE"}]);
    assert_eq!(put("passes", others.clone()).await, 200);
    assert_eq!(service.get("/api/2.0/apps/passes").await.status, 200);
    assert_eq!(put("refused", others.clone()).await, 400);
    assert_eq!(put("locked", others.clone()).await, 200);
    assert_eq!(service.get("/api/2.0/apps/locked").await.status, 403);
    assert_eq!(put("locked", others).await, 403);
}

#[tokio::test]
async fn a_job_has_exactly_one_owner_and_a_warehouse_keeps_one() {
    let service = Service::start().await;
    let job = service
        .post("/api/2.1/jobs/create", json!({"name": "j"}))
        .await
        .ok();
    let job = format!("/api/2.0/permissions/jobs/{}", job["job_id"]);
    let list = |level: &str| json!({"access_control_list": [{"user_name": ANN, "permission_level": level}]});
    let refused = service.put(&job, list("CAN_MANAGE")).await;
    assert_eq!(refused.refusal().2, "The job must have exactly one owner.");
    service.put(&job, list("IS_OWNER")).await.ok();

    let service = Service::seeded("warehouses: [wh-1]").await;
    let refused = service
        .put("/api/2.0/permissions/warehouses/wh-1", list("CAN_MANAGE"))
        .await;
    assert_eq!(
        refused.refusal().2,
        "PUT requests for warehouse wh-1 with no existing owner must provide a new owner."
    );
}
