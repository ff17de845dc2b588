//! `role`: the least that the operator's ServiceAccount needs, derived from the kinds.
use serde_json::{Value, json};

use crate::api::GROUP;
use crate::kinds;

/// Kinds that parents create and delete.
const CHILDREN: &[&str] = &["databricksapps"];

/// Why the role could not be printed.
#[derive(Debug, thiserror::Error)]
#[error("encoding the role as YAML: {0}")]
pub struct Error(String);

/// Prints the ClusterRole as YAML.
pub fn run() -> Result<(), Error> {
    print!("{}", yaml()?);
    Ok(())
}

/// The ClusterRole as YAML, the same bytes every time.
pub fn yaml() -> Result<String, Error> {
    serde_saphyr::to_string(&role()).map_err(|e| Error(e.to_string()))
}

fn role() -> Value {
    let mut plurals: Vec<String> = kinds::crds()
        .into_iter()
        .map(|c| c.spec.names.plural)
        .collect();
    plurals.sort();
    let sub =
        |part: &str| -> Vec<String> { plurals.iter().map(|p| format!("{p}/{part}")).collect() };
    let rule = |group: &str, resources: Value, verbs: &[&str]| json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "databricks-app-operator"},
        "rules": [
            // Patch: finalizers.
            rule(GROUP, json!(plurals), &["get", "list", "watch", "patch"]),
            rule(GROUP, json!(sub("status")), &["patch"]),
            // For clusters that let only those own an object who may change the owner's finalizers.
            rule(GROUP, json!(sub("finalizers")), &["update"]),
            rule(GROUP, json!(CHILDREN), &["create", "delete"]),
            // Credentials, by GET alone.
            rule("", json!(["secrets"]), &["get"]),
            // CA bundles and code by GET; those that parents take elements from are watched, by their label.
            rule("", json!(["configmaps"]), &["get", "list", "watch"]),
            // Sources that Flux fetches.
            rule("source.toolkit.fluxcd.io", json!(["gitrepositories", "ocirepositories", "buckets"]), &["get"]),
            // `allowedNamespaces` by label.
            rule("", json!(["namespaces"]), &["get", "list", "watch"]),
            // Claims of other installations: Leases databricks-app-operator-claim in any namespace.
            rule("coordination.k8s.io", json!(["leases"]), &["list"]),
            rule("events.k8s.io", json!(["events"]), &["create", "patch"]),
        ],
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use super::*;

    #[test]
    fn the_committed_roles_are_the_generated_one() {
        let generated = yaml().unwrap();
        for path in [
            "config/rbac/role.yaml",
            "charts/databricks-app-operator/role.yaml",
        ] {
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
            let committed = std::fs::read_to_string(file).unwrap_or_default();
            assert!(
                committed == generated,
                "{path} is out of date: run `make generate`"
            );
        }
    }

    #[test]
    fn secrets_are_never_listed_and_config_maps_never_written() {
        for rule in role()["rules"].as_array().unwrap() {
            let resources = rule["resources"].to_string();
            if resources.contains("secrets") {
                assert_eq!(rule["verbs"], json!(["get"]));
            }
            if resources.contains("configmaps") {
                assert_eq!(rule["verbs"], json!(["get", "list", "watch"]));
            }
        }
    }
}
