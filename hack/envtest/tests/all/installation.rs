//! What users apply: the generated copies agree, and the API server takes every manifest as it is.

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;

fn files(folder: &str) -> BTreeMap<String, String> {
    std::fs::read_dir(envtest::repository().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read_to_string(entry.path()).unwrap())
        })
        .collect()
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(envtest::repository().join(path)).unwrap()
}

#[test]
fn chart_and_kustomize_base_hold_the_generated_files() {
    let generated = files("crds");
    for copy in [
        "config/crd/bases",
        "charts/databricks-app-operator/files/crds",
    ] {
        assert!(
            files(copy) == generated,
            "{copy} differs from crds: run `make generate`"
        );
    }
    let listed = read("config/crd/kustomization.yaml");
    for name in generated.keys() {
        assert!(
            listed.contains(&format!("- bases/{name}")),
            "config/crd/kustomization.yaml does not list {name}"
        );
    }
}

#[tokio::test]
async fn the_api_server_takes_every_manifest_of_config() {
    let test = "the API server takes every manifest of config/";
    let Some(cluster) = envtest::cluster_or_leave_out(test).await.unwrap() else {
        return;
    };
    let client = cluster.client().await.unwrap();
    let built = envtest::run_kustomize(&envtest::repository().join("config/default")).unwrap();
    envtest::apply(&client, &built).await.unwrap();
    for folder in ["config/samples", "config/demo"] {
        let applied = envtest::apply_path(&client, &envtest::repository().join(folder))
            .await
            .unwrap();
        assert!(!applied.is_empty(), "nothing in {folder}");
    }
    let operators: Api<Deployment> = Api::namespaced(client, envtest::NAMESPACE);
    let spec = operators
        .get("databricks-app-operator")
        .await
        .unwrap()
        .spec
        .unwrap();
    assert_eq!(spec.replicas, Some(2));
    let strategy = spec.strategy.unwrap().type_;
    assert_eq!(strategy.as_deref(), Some("RollingUpdate"));
    assert_eq!(
        spec.template.spec.unwrap().service_account_name.as_deref(),
        Some(envtest::SERVICE_ACCOUNT)
    );
}
