//! Flux sources as a real API server has them, read under the roles that users apply.
use databricks_app_operator::api::names::ObjectName;
use databricks_app_operator::worlds::artifact::{
    ArtifactKind, ArtifactSource, Artifacts, Error, default_hosts,
};
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::digest_key::operator;
use crate::support::definition;

const OBJECT: &str = "
apiVersion: source.toolkit.fluxcd.io/v1
kind: Bucket
metadata: {name: sales, namespace: default}
spec: {interval: 1m}
";

async fn report(admin: &Client, status: Value) {
    let gvk = GroupVersionKind::gvk("source.toolkit.fluxcd.io", "v1", "Bucket");
    let resource = ApiResource::from_gvk(&gvk);
    let buckets: Api<DynamicObject> = Api::namespaced_with(admin.clone(), "default", &resource);
    let patch = Patch::Merge(json!({"status": status}));
    let params = PatchParams::default();
    buckets
        .patch_status("sales", &params, &patch)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_of_having_no_artifact_is_told_apart() {
    let test = "each_way_of_having_no_artifact_is_told_apart";
    let Some(cluster) = envtest::shared_cluster_or_leave_out(test).await.unwrap() else {
        return;
    };
    let client = operator(&envtest::install(&cluster).await.unwrap()).await;
    let admin = cluster.client().await.unwrap();
    let artifacts = Artifacts::new(client, default_hosts());
    let digest = format!("sha256:{}", "0".repeat(64));
    let source = ArtifactSource {
        kind: ArtifactKind::Bucket,
        name: ObjectName::new("default", "sales"),
        pinned: Some(digest.clone()),
    };
    let error = artifacts.look(&source).await.unwrap_err();
    assert!(matches!(error, Error::NotInstalled { .. }), "{error}");

    envtest::apply(
        &admin,
        &definition("source.toolkit.fluxcd.io", "Bucket", "buckets"),
    )
    .await
    .unwrap();
    let error = artifacts.look(&source).await.unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error}");

    envtest::apply(&admin, OBJECT).await.unwrap();
    let error = artifacts.look(&source).await.unwrap_err();
    assert!(matches!(error, Error::NoArtifact { .. }), "{error}");

    let url =
        "http://source-controller.flux-system.svc.cluster.local./bucket/default/sales/1.tar.gz";
    let artifact = json!({"url": url, "digest": digest, "revision": "sha256:1", "path": "x", "lastUpdateTime": "2026-01-01T00:00:00Z"});
    report(&admin, json!({"artifact": artifact})).await;
    let found = artifacts.look(&source).await.unwrap();
    assert_eq!((found.url.as_str(), found.digest), (url, digest));
}
