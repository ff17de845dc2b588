//! What the rest of the tests build on: a cluster that starts, serves, refuses, counts and leaves nothing behind.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use envtest::{Cluster, ClusterOptions, NAMESPACE, SERVICE_ACCOUNT, audit};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::{DEADLINE, eventually, runs};

async fn client_as(kubeconfig: PathBuf) -> Client {
    let parsed = Kubeconfig::read_from(kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default())
        .await
        .unwrap();
    Client::try_from(config).unwrap()
}

async fn make_namespace(client: &Client, name: &str) {
    envtest::apply(
        client,
        &format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}"),
    )
    .await
    .unwrap();
}

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(serde_json::json!({"metadata": {"name": name}})).unwrap()
}

#[tokio::test]
async fn a_dropped_cluster_leaves_neither_process_nor_file_behind() {
    let Some(cluster) = envtest::cluster_or_leave_out("a dropped cluster leaves nothing behind")
        .await
        .unwrap()
    else {
        return;
    };
    let client = cluster.client().await.unwrap();
    let nodes = Api::<Pod>::all(client).list(&ListParams::default()).await;
    assert_eq!(nodes.unwrap().items.len(), 0);
    let (pids, folder) = (cluster.pids(), cluster.folder().to_owned());
    assert!(pids.iter().all(|pid| runs(*pid)));
    drop(cluster);
    assert!(!pids.iter().any(|pid| runs(*pid)));
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_killed_owner_takes_its_cluster_along_and_the_next_run_removes_its_folder() {
    let test = "a killed owner takes its cluster along";
    if !envtest::control_plane_or_leave_out(test).await.unwrap() {
        return;
    }
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "cluster::owner_of_a_cluster", "--nocapture"])
        .env("ENVTEST_OWNER", "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(owner.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap)
        .find(|line| line.starts_with("cluster "))
        .unwrap();
    let mut words = said.split(' ').skip(1);
    let folder = PathBuf::from(words.next().unwrap());
    let pids: Vec<u32> = words.map(|word| word.parse().unwrap()).collect();
    assert!(pids.len() >= 2 && pids.iter().all(|pid| runs(*pid)));

    owner.kill().unwrap();
    owner.wait().unwrap();
    eventually("the processes of the killed owner are gone", async || {
        !pids.iter().any(|pid| runs(*pid))
    })
    .await;
    assert!(folder.exists(), "a killed owner cannot remove its folder");
    drop(Cluster::start(ClusterOptions::default()).await.unwrap());
    assert!(!folder.exists());
}

/// No test of its own: the process that the test above kills.
#[tokio::test]
async fn owner_of_a_cluster() {
    if std::env::var_os("ENVTEST_OWNER").is_none() {
        return;
    }
    let cluster = Cluster::start(ClusterOptions::default()).await.unwrap();
    let pids: Vec<String> = cluster.pids().iter().map(u32::to_string).collect();
    println!(
        "\ncluster {} {}",
        cluster.folder().display(),
        pids.join(" ")
    );
    tokio::time::sleep(DEADLINE).await;
}

#[tokio::test]
async fn a_shared_cluster_has_one_holder_and_ends_with_one_that_fails() {
    let test = "a shared cluster has one holder and ends with one that fails";
    let share = async || envtest::shared_cluster_or_leave_out(test).await.unwrap();
    let Some(one) = share().await else {
        return;
    };
    let other = share().await.unwrap();
    let (failed, kept) = (one.pids(), other.pids());
    assert_ne!(failed, kept);

    let fails = tokio::spawn(async move {
        let _held = one;
        std::panic::resume_unwind(Box::new("as a failing test does"));
    });
    assert!(fails.await.unwrap_err().is_panic());
    assert!(!failed.iter().any(|pid| runs(*pid)));

    drop(other);
    assert!(kept.iter().all(|pid| runs(*pid)));
    let next = share().await.unwrap().pids();
    assert_ne!(next, failed);
    assert!(next.iter().all(|pid| runs(*pid)));
}

#[tokio::test]
async fn the_audit_log_counts_a_write_once_and_no_read() {
    let test = "the audit log counts a write once and no read";
    let Some(cluster) = envtest::shared_cluster_or_leave_out(test).await.unwrap() else {
        return;
    };
    let client = cluster.client().await.unwrap();
    make_namespace(&client, "audited").await;
    let maps: Api<ConfigMap> = Api::namespaced(client, "audited");
    maps.create(&PostParams::default(), &config_map("one"))
        .await
        .unwrap();
    maps.get("one").await.unwrap();
    maps.list(&ListParams::default()).await.unwrap();
    maps.delete("one", &DeleteParams::default()).await.unwrap();

    let of_admin = || {
        let entries = audit::read(&cluster.audit_log()).unwrap();
        entries
            .into_iter()
            .filter(|entry| entry.user == "admin" && entry.namespace == "audited")
            .filter(|entry| entry.resource == "configmaps")
            .map(|entry| (entry.verb, entry.code))
            .collect::<Vec<_>>()
    };
    eventually("the delete is in the log", async || of_admin().len() == 2).await;
    assert_eq!(of_admin(), [("create".into(), 201), ("delete".into(), 200)]);
}

#[tokio::test]
async fn the_operators_account_may_do_what_its_role_says_and_nothing_more() {
    let test = "the operator's account may do what its role says and nothing more";
    let Some(cluster) = envtest::shared_cluster_or_leave_out(test).await.unwrap() else {
        return;
    };
    let client = client_as(envtest::install(&cluster).await.unwrap()).await;
    let refused = |error: kube::Error| match error {
        kube::Error::Api(status) => status.code,
        other => unreachable!("not an answer of the API server: {other}"),
    };

    Api::<Namespace>::all(client.clone())
        .list(&ListParams::default())
        .await
        .unwrap();
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "default");
    assert!(secrets.get_opt("absent").await.unwrap().is_none());
    let listed = secrets.list(&ListParams::default()).await.unwrap_err();
    assert_eq!(refused(listed), 403);
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let created = maps
        .create(&PostParams::default(), &config_map("refused"))
        .await
        .unwrap_err();
    assert_eq!(refused(created), 403);

    eventually(
        "the refusal is in the log under the account's name",
        async || {
            audit::read(&cluster.audit_log())
                .unwrap()
                .iter()
                .any(|entry| {
                    entry.by_service_account(NAMESPACE, SERVICE_ACCOUNT)
                        && entry.is_write()
                        && entry.resource == "configmaps"
                        && entry.code == 403
                })
        },
    )
    .await;
}

#[tokio::test]
async fn a_restarted_api_server_keeps_its_address_its_objects_and_its_tokens() {
    let test = "a restarted API server keeps its address, its objects and its tokens";
    let Some(cluster) = envtest::cluster_or_leave_out(test).await.unwrap() else {
        return;
    };
    let client = client_as(envtest::install(&cluster).await.unwrap()).await;
    let namespaces: Api<Namespace> = Api::all(client);
    let before = namespaces.get("default").await.unwrap();
    let pids = cluster.pids();

    cluster.restart_apiserver().await.unwrap();
    assert_ne!(cluster.pids(), pids);
    let after = namespaces.get("default").await.unwrap();
    assert_eq!(after.metadata.uid, before.metadata.uid);
}

#[tokio::test]
async fn a_deleted_namespace_goes_with_all_that_is_in_it() {
    let test = "a deleted namespace goes with all that is in it";
    let Some(cluster) = envtest::shared_cluster_or_leave_out(test).await.unwrap() else {
        return;
    };
    if !cluster.collects_garbage() {
        return;
    }
    let client = cluster.client().await.unwrap();
    make_namespace(&client, "short-lived").await;
    Api::<ConfigMap>::namespaced(client.clone(), "short-lived")
        .create(&PostParams::default(), &config_map("inside"))
        .await
        .unwrap();
    let namespaces: Api<Namespace> = Api::all(client);
    namespaces
        .delete("short-lived", &DeleteParams::default())
        .await
        .unwrap();
    eventually("the namespace is gone", async || {
        namespaces.get_opt("short-lived").await.unwrap().is_none()
    })
    .await;
}

#[tokio::test]
async fn a_description_holds_the_object_and_its_events_but_no_secret() {
    let test = "a description holds the object and its events but no secret";
    let Some(cluster) = envtest::shared_cluster_or_leave_out(test).await.unwrap() else {
        return;
    };
    let client = cluster.client().await.unwrap();
    make_namespace(&client, "described").await;
    envtest::apply(
        &client,
        "
apiVersion: v1
kind: Secret
metadata: {name: canary, namespace: described}
stringData: {token: canary-value}
---
apiVersion: events.k8s.io/v1
kind: Event
metadata: {name: canary.1, namespace: described}
eventTime: '2026-01-01T00:00:00.000000Z'
reportingController: envtest
reportingInstance: envtest-0
type: Normal
action: Look
reason: Looked
note: looked at it
regarding: {apiVersion: v1, kind: Secret, namespace: described, name: canary}
",
    )
    .await
    .unwrap();
    let text = envtest::describe(&client, "Secret", "described", "canary").await;
    assert!(text.contains("name: canary") && text.contains("Normal Looked: looked at it"));
    assert!(!text.contains("canary-value") && !text.contains("Y2FuYXJ5LXZhbHVl"));
}
