//! Floor 0: the vocabulary that every other floor shares. Data only: no async, no I/O.

pub mod app_of_apps;
pub mod digest;
pub mod duration;
pub mod management;
pub mod names;
pub mod row;
pub mod status;
pub mod workspace;

/// API group of every kind.
pub const GROUP: &str = "appofapps.dev";
/// The one served version.
pub const VERSION: &str = "v1alpha1";
/// `apiVersion` of every kind.
pub const API_VERSION: &str = "appofapps.dev/v1alpha1";
/// Finalizer that holds an object until its remote side is gone.
pub const FINALIZER: &str = "appofapps.dev/finalizer";
/// Field manager of every server-side apply the operator sends.
pub const FIELD_MANAGER: &str = "databricks-app-operator";

/// Annotations that people and GitOps tools set. None is ever written back to `spec`.
pub mod annotation {
    /// Look at everything once, now. Compared by equality with `status.lastHandledReconcileAt`.
    pub const RECONCILE_REQUESTED_AT: &str = "appofapps.dev/reconcile-requested-at";
    /// Deploy the same inputs again. Compared by equality with `status.lastHandledRedeployAt`.
    pub const REDEPLOY_REQUESTED_AT: &str = "appofapps.dev/redeploy-requested-at";
    /// Stop and start the app once. Compared by equality with `status.lastHandledRestartAt`.
    pub const RESTART_REQUESTED_AT: &str = "appofapps.dev/restart-requested-at";
    /// `Running` or `Stopped`: overrides `spec.lifecycle.state` alone; everything else goes on.
    pub const RUN_STATE: &str = "appofapps.dev/run-state";
    /// `"true"`: write nothing to this object's remote side until it is removed. Deletion goes on.
    pub const PAUSED: &str = "appofapps.dev/paused";
    /// Quotes the digest of the prune that a parent reports, to let it happen.
    pub const CONFIRM_PRUNE: &str = "appofapps.dev/confirm-prune";
    /// On a parent, a time later than the rejection: release what was rolled back once more.
    pub const RESUME_ROLLOUT: &str = "appofapps.dev/resume-rollout";
    /// On a parent, the digest of a rollout: give every child that it changed its last good spec back.
    pub const ABORT_ROLLOUT: &str = "appofapps.dev/abort-rollout";
    /// On a child, `"true"`: it leaves its parent, which never writes or deletes it again.
    pub const DETACH: &str = "appofapps.dev/detach";
    /// Quotes the object's uid: give up on a remote side that cannot be reached any more.
    pub const FORCE_DELETE: &str = "appofapps.dev/force-delete";
    /// Where GitOps tools write the Git revision of what they applied; only read, for the audit record.
    pub const GIT_REVISION: &[&str] = &[
        "argocd.argoproj.io/revision",
        "kustomize.toolkit.fluxcd.io/revision",
        "appofapps.dev/git-revision",
    ];
    /// Written on a child: sha256 of its rendered metadata and spec.
    pub const REVISION: &str = "appofapps.dev/revision";
    /// Written on a child: its parent's uid, where an owner reference to the parent may be taken away.
    pub const PARENT_UID: &str = "appofapps.dev/parent-uid";
    /// Written on a child whose parent deletes in reverse order: its step, wave and depth of dependencies, as `0.1.0`.
    pub const PLACE: &str = "appofapps.dev/place";
    /// Written on a child: when it got its revision, RFC 3339.
    pub const REVISION_SET_AT: &str = "appofapps.dev/revision-set-at";
    /// Written on a child: the rollout that released its revision.
    pub const ROLLOUT: &str = "appofapps.dev/rollout";
    /// Written on a child: labels, annotations and spec of its revision, as JSON.
    pub const APPLIED: &str = "appofapps.dev/applied";
    /// Written on a child: the last of these that passed its gate.
    pub const LAST_GOOD: &str = "appofapps.dev/last-good";
    /// Written on a child that was rolled back: the revision it could not run.
    pub const REJECTED: &str = "appofapps.dev/rejected";
    /// Written on a child that was rolled back: when, RFC 3339.
    pub const REJECTED_AT: &str = "appofapps.dev/rejected-at";
    /// Written on a child: sha256 of what the last apply carried.
    pub const APPLIED_DIGEST: &str = "appofapps.dev/applied-digest";

    /// Whether the annotation says `true`, in whichever case people write it.
    pub fn is_true(annotations: &std::collections::BTreeMap<String, String>, key: &str) -> bool {
        let said = annotations.get(key);
        said.is_some_and(|said| said.eq_ignore_ascii_case("true"))
    }

    /// Whether one of the `…-requested-at` annotations asks for something that was not done yet: its value is not the one
    /// that was handled last.
    pub fn is_requested(
        annotations: &std::collections::BTreeMap<String, String>,
        key: &str,
        handled: Option<&String>,
    ) -> bool {
        let asked = annotations.get(key);
        asked.is_some() && asked != handled
    }
}

/// Labels that the operator writes.
pub mod label {
    /// On a child: the name of the `AppOfApps` that generates it.
    pub const PARENT: &str = "appofapps.dev/parent";
    /// On a ConfigMap that an `AppOfApps` may take elements from.
    pub const GENERATOR: &str = "appofapps.dev/generator";
}

/// Removes what schemars adds for `Option` (`nullable: true`, a `null` among the values of an enum) from a CRD's schema:
/// a stored null would beat a static default and differ from an absent field for ever.
pub fn without_nulls(mut crd: serde_json::Value) -> serde_json::Value {
    strip_nulls(&mut crd);
    crd
}

fn strip_nulls(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(map) => {
            if map.get("nullable") == Some(&serde_json::Value::Bool(true)) {
                map.remove("nullable");
            }
            if let Some(serde_json::Value::Array(values)) = map.get_mut("enum") {
                values.retain(|v| !v.is_null());
            }
            map.values_mut().for_each(strip_nulls);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(strip_nulls),
        _ => {}
    }
}
