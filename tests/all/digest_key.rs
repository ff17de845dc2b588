//! The key for digests of secret values, made by the operator's own ServiceAccount under the roles that users apply.
use std::path::Path;

use databricks_app_operator::worlds::keyed::{DigestKey, Error, KEY_SECRET};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;

/// A client as a Pod of the operator has it.
pub async fn operator(kubeconfig: &Path) -> Client {
    let file = Kubeconfig::read_from(kubeconfig).unwrap();
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(file, &options).await;
    Client::try_from(config.unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shipped_roles_let_the_operator_make_its_key_and_never_change_it() {
    let test = "the_shipped_roles_let_the_operator_make_its_key_and_never_change_it";
    let Some(cluster) = envtest::shared_cluster_or_leave_out(test).await.unwrap() else {
        return;
    };
    let client = operator(&envtest::install(&cluster).await.unwrap()).await;
    assert_eq!(client.default_namespace(), envtest::NAMESPACE);
    let admin = cluster.client().await.unwrap();
    let secrets: Api<Secret> = Api::namespaced(admin, envtest::NAMESPACE);
    let _ = secrets.delete(KEY_SECRET, &DeleteParams::default()).await;

    let open = || DigestKey::open(&client, client.default_namespace());
    let (one, other) = tokio::join!(open(), open());
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!(one.id(), other.id());
    assert_eq!(open().await.unwrap().id(), one.id());

    let own: Api<Secret> = Api::default_namespaced(client.clone());
    let change = Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}}));
    let changed = own
        .patch(KEY_SECRET, &PatchParams::default(), &change)
        .await;
    let deleted = own.delete(KEY_SECRET, &DeleteParams::default()).await;
    for refused in [changed.err(), deleted.err()] {
        assert!(
            matches!(&refused, Some(kube::Error::Api(status)) if status.code == 403),
            "{refused:?}"
        );
    }
    let error = DigestKey::open(&client, "default").await.unwrap_err();
    assert!(matches!(error, Error::Create { .. }), "{error}");
    assert!(error.to_string().contains("a Role there"), "{error}");
}
