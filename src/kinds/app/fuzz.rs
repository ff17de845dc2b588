//! What must hold whatever a workspace answers: the bodies of the fuzz targets, which property tests run as well.
use serde_json::{Value, json};

use super::acl::read_acl;
use super::code::{Code, Origin};
use super::guard::guards;
use super::model::foresee;
use super::plan::{Inputs, Observed, Step, plan};
use super::spec::{AppMemory, DatabricksApp, RecordedApp};
use super::wire::{RemoteApp, deployment, update_outcome};
use crate::engine::managed::Step as _;
use crate::engine::plan::{Seen, Wish};

/// Reads an answer as everything that the operator ever takes one for, and plans on it. Returns whether a deletion was
/// planned: it may be for an object that is being deleted and whose recorded id the answer shows, and for nothing else.
pub fn any_answer(answer: &Value) -> bool {
    let app = example();
    let remote = RemoteApp::read(answer);
    let _ = (deployment(answer), update_outcome(answer));
    let acl = read_acl(answer);
    for guard in app.iter().flat_map(|app| guards(app, "sp")) {
        let _ = guard.holds(answer);
    }
    let Some(app) = app else { return false };
    let seen = Observed {
        app: Seen::Looked(Some(remote)),
        acl: Seen::Looked(acl),
        code: Seen::Looked(Some(Code::at(Origin::Folder("/Workspace/a".into())))),
        ..Observed::nothing("operator@example.com")
    };
    let ours = AppMemory {
        app: Some(RecordedApp {
            id: "ours".into(),
            ..RecordedApp::default()
        }),
        ..AppMemory::default()
    };
    let mut deletes = false;
    for memory in [&AppMemory::default(), &ours] {
        for wish in [Wish::Live, Wish::Deleting] {
            let at = jiff::Timestamp::UNIX_EPOCH;
            let inputs = Inputs {
                seen: &seen,
                memory,
                at,
                scale: 1,
                wish,
            };
            let planned = plan(&app, &inputs);
            let _ = foresee(&app, &inputs);
            let deletion = planned.steps.iter().any(|s| matches!(s, Step::Delete));
            let known = wish == Wish::Deleting
                && seen
                    .remote()
                    .is_some_and(|r| Some(&r.id) == memory.app.as_ref().map(|a| &a.id));
            debug_assert!(planned.steps.iter().all(|s| !s.verb().is_empty()));
            deletes |= deletion && !known;
        }
    }
    deletes
}

/// An app whose spec uses every setting that an answer is compared with.
fn example() -> Option<DatabricksApp> {
    let spec = json!({
        "workspaceRef": {"name": "prod"},
        "description": "Sales",
        "compute": {"size": "Large", "minInstances": 1, "maxInstances": 2},
        "lifecycle": {"state": "Running"},
        "source": {"workspace": {"path": "/Workspace/a"}},
        "deployment": {"command": ["run"], "rollback": "OnFailure"},
        "permissions": {"grants": [{"principal": {"group": "users"}, "level": "CanUse"}]},
        "userAuthorization": {"scopes": ["sql"], "forwardAccessToken": true},
        "resources": [{"name": "w", "sqlWarehouse": {"id": "1", "permission": "CanUse"}},
            {"name": "s", "secret": {"scope": "a", "key": "k", "permission": "Read"}},
            {"name": "t", "ucSecurable": {"fullName": "c.s.t", "type": "Table", "permission": "Select"}}],
        "telemetry": [], "usagePolicyID": "p", "space": "s",
        "management": {"adopt": "Always"},
    });
    Some(DatabricksApp::new(
        "sales",
        serde_json::from_value(spec).ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Map;

    use super::*;

    /// JSON of any shape, with the names that the service uses among its keys and values.
    fn json() -> impl Strategy<Value = Value> {
        let words = prop::sample::select(vec![
            "id",
            "ours",
            "name",
            "sales",
            "state",
            "ACTIVE",
            "STOPPED",
            "DELETING",
            "CRASHED",
            "compute_status",
            "app_status",
            "active_deployment",
            "pending_deployment",
            "deployment_id",
            "status",
            "SUCCEEDED",
            "FAILED",
            "IN_PROGRESS",
            "resources",
            "user_api_scopes",
            "git_repository",
            "git_source",
            "env_vars",
            "access_control_list",
            "all_permissions",
            "items",
            "privilege_assignments",
            "telemetry_export_destinations",
            "effective_user_api_scopes",
            "creator",
            "operator@example.com",
        ]);
        let word = words.prop_map(str::to_owned);
        let text = prop_oneof![3 => word, 1 => "\\PC{0,20}"];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            text.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 8, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((text.clone(), inner), 0..10)
                    .prop_map(|pairs| Value::Object(Map::from_iter(pairs))),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn an_answer_of_any_shape_panics_nowhere_and_never_deletes_what_is_not_ours(answer in json()) {
            prop_assert!(!any_answer(&answer));
        }
    }
}
