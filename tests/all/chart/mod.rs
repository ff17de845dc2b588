//! The chart: what it renders for which values, that the API server takes it, and that config/ says the same.
//!
//! `installed` runs the operator out of what helm has stored in a real API server.
mod installed;
mod table;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::support::definition;
use envtest::{HelmError, InstallError, render, run_helm, run_kustomize};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{DynamicObject, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

const NAME: &str = "databricks-app-operator";
const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn chart() -> PathBuf {
    envtest::repository().join("charts").join(NAME)
}

/// The chart as it stood before `crds.enabled`, Secrets by namespace and two replicas.
fn old_chart() -> PathBuf {
    envtest::repository().join("tests/all/fixtures/chart-0.1.0")
}

/// Values that the chart must render, by what they are about.
fn matrix() -> Vec<(&'static str, Value)> {
    let mut all = vec![
        ("defaults", json!({})),
        (
            "one replica",
            json!({"replicas": 1, "leaderElection": {"enabled": false}}),
        ),
        (
            "watched namespaces",
            json!({"watchNamespaces": ["team-a", "team-b"], "rbac": {"secretNamespaces": ["team-a"]}}),
        ),
        (
            "no cluster role",
            json!({"watchNamespaces": ["team-a"], "metrics": {"auth": false},
                "rbac": {"clusterRole": {"create": false}, "userRoles": {"create": false}}}),
        ),
        ("all secrets", json!({"rbac": {"secrets": "Cluster"}})),
        (
            "secrets of two namespaces",
            json!({"rbac": {"secretNamespaces": ["team-a", "team-b"]}}),
        ),
        (
            "own account and roles",
            json!({"serviceAccount": {"create": false, "name": "mine"}, "rbac": {"create": false}}),
        ),
        ("own definitions", json!({"crds": {"enabled": false}})),
        ("definitions that go", json!({"crds": {"keep": false}})),
        (
            "image",
            json!({"image": {"repository": "registry.example.com/x", "tag": "1.2.3", "digest": DIGEST, "pullPolicy": "Always"},
                "imagePullSecrets": [{"name": "pull"}]}),
        ),
        (
            "scheduling",
            json!({"priorityClassName": "high", "nodeSelector": {"pool": "system"},
                "tolerations": [{"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"}],
                "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]}]}]}}},
                "topologySpreadConstraints": [], "podDisruptionBudget": {"maxUnavailable": "50%"},
                "terminationGracePeriodSeconds": 90, "probes": {"liveness": {"initialDelaySeconds": 3}},
                "resources": {"limits": {"memory": "1Gi", "cpu": "1"}}}),
        ),
        (
            "labels",
            json!({"podLabels": {"team": "platform"}, "podAnnotations": {"a": "b"}, "commonLabels": {"cost": "1"},
                "commonAnnotations": {"owner": "me"}, "serviceAccount": {"annotations": {"azure.workload.identity/client-id": "1"}},
                "fullnameOverride": "dao"}),
        ),
        (
            "outbound",
            json!({"proxy": {"https": "http://proxy:3128", "http": "http://proxy:3128", "noProxy": ["*.internal"]},
                "caBundle": {"configMap": "authorities"},
                "projectedTokens": [{"name": "azure", "audience": "api://AzureADTokenExchange"},
                    {"name": "databricks", "audience": "https://accounts.example.com", "expirationSeconds": 600}]}),
        ),
        (
            "authorities in a secret",
            json!({"caBundle": {"secret": "authorities", "key": "x.pem"}}),
        ),
        (
            "operator",
            json!({"operator": {"allowedHosts": ["*.cloud.databricks.com", "adb-1.7.azuredatabricks.net"],
                "artifactHosts": ["source-controller.flux-system.svc"], "logFilter": "debug", "logFormat": "text", "instance": "blue",
                "logFilterConfigMap": "levels", "logFilterKey": "level",
                "otlpEndpoint": "http://collector:4318", "extraArgs": ["--allow-insecure-hosts"],
                "extraEnv": [{"name": "RUST_BACKTRACE", "value": "1"}]}}),
        ),
        (
            "metrics",
            json!({"metrics": {"port": 9443, "certificateSecret": "tls", "readers": [{"name": "prometheus", "namespace": "monitoring"}],
                "serviceMonitor": {"enabled": true, "labels": {"release": "prometheus"}, "interval": "1m",
                    "tlsConfig": {"serverName": "x"}}}}),
        ),
        (
            "no metrics",
            json!({"metrics": {"enabled": false}, "networkPolicy": {"enabled": true}}),
        ),
        (
            "network policy",
            json!({"networkPolicy": {"enabled": true, "apiServer": {"cidrs": ["10.0.0.1/32"], "ports": [6443]},
                "https": {"cidrs": ["203.0.113.0/24"]}, "dns": {"to": [{"namespaceSelector": {}}], "ports": [53, 5353]},
                "metricsFrom": [{"podSelector": {"matchLabels": {"app": "prometheus"}}}],
                "extraEgress": [{"ports": [{"port": 3128}]}]}}),
        ),
    ];
    for (value, file) in [
        ("prometheusRule", "alerts.yaml"),
        ("dashboard", "dashboard.json"),
    ] {
        if chart().join("files").join(file).is_file() {
            all.push((value, json!({"metrics": {value: {"enabled": true}}})));
        }
    }
    all
}

fn rendered(values: &Value) -> Result<Vec<DynamicObject>, InstallError> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("values.yaml");
    std::fs::write(&file, values.to_string()).unwrap();
    render(NAME, NAME, &["--values", file.to_str().unwrap()])
}

/// What helm says when it does not render.
fn refusal(arguments: &[&str]) -> String {
    match render(NAME, NAME, arguments) {
        Err(InstallError::Helm(HelmError::Refused { said, .. })) => said,
        Err(other) => panic!("{arguments:?}: {other}"),
        Ok(_) => panic!("{arguments:?} was taken"),
    }
}

fn kind(object: &DynamicObject) -> &str {
    object.types.as_ref().map_or("", |types| &types.kind)
}

/// `Kind NAMESPACE/NAME` → the object.
fn by_name(objects: &[DynamicObject]) -> BTreeMap<String, Value> {
    let key = |o: &DynamicObject| {
        let namespace = o.namespace().unwrap_or_default();
        format!("{} {namespace}/{}", kind(o), o.name_any())
    };
    let pair = |o: &DynamicObject| (key(o), serde_json::to_value(o).unwrap());
    objects.iter().map(pair).collect()
}

fn find<'a>(objects: &'a BTreeMap<String, Value>, key: &str) -> &'a Value {
    let known: Vec<&String> = objects.keys().collect();
    objects
        .get(key)
        .unwrap_or_else(|| panic!("no {key} in {known:#?}"))
}

#[test]
fn helm_lint_finds_nothing() {
    let chart = chart();
    let said = run_helm(None, ["lint", "--strict", chart.to_str().unwrap()]).unwrap();
    assert!(said.contains("0 chart(s) failed"), "{said}");
}

#[test]
fn every_row_of_the_matrix_renders_and_says_what_was_asked_for() {
    for (about, values) in matrix() {
        let objects = rendered(&values).unwrap_or_else(|error| panic!("{about}: {error}"));
        let objects = by_name(&objects);
        let text = serde_json::to_string(&objects).unwrap();
        for wanted in leaves(&values) {
            assert!(text.contains(&wanted), "{about}: {wanted} is nowhere");
        }
    }
}

/// Texts among the values, each of which has to show.
fn leaves(values: &Value) -> Vec<String> {
    match values {
        Value::Object(map) => map.values().flat_map(leaves).collect(),
        Value::Array(list) => list.iter().flat_map(leaves).collect(),
        // What selects among ways to render shows by what is there; other tests look at that.
        Value::String(text) if ["Cluster", "x.pem"].contains(&text.as_str()) => Vec::new(),
        Value::String(text) => vec![text.clone()],
        _ => Vec::new(),
    }
}

#[test]
fn values_that_cannot_work_are_refused_with_the_field() {
    for (set, said) in [
        ("replicas=two", "/replicas"),
        ("replicas=-1", "/replicas"),
        ("image.digest=latest", "/image/digest"),
        ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
        ("rbac.secrets=All", "/rbac/secrets"),
        ("rbac.secretNamespaces={Team_A}", "/rbac/secretNamespaces/0"),
        ("watchNamespaces=team", "/watchNamespaces"),
        ("crds.enabled=maybe", "/crds/enabled"),
        (
            "operator.allowedHosts={https://x.com}",
            "/operator/allowedHosts/0",
        ),
        ("operator.logFormat=xml", "/operator/logFormat"),
        ("metrics.port=70000", "/metrics/port"),
        (
            "metrics.serviceMonitor.interval=often",
            "/metrics/serviceMonitor/interval",
        ),
        (
            "leaderElection.leaseDuration=10",
            "/leaderElection/leaseDuration",
        ),
        ("proxy.https=proxy:3128", "/proxy/https"),
        (
            "networkPolicy.apiServer.cidrs={10.0.0.1}",
            "/networkPolicy/apiServer/cidrs/0",
        ),
        ("networkPolicy.dns.ports={}", "/networkPolicy/dns/ports"),
        (
            "networkPolicy.dns.ports={dns}",
            "/networkPolicy/dns/ports/0",
        ),
        (
            "operator.logFilterConfigMap=Not_A_Name",
            "/operator/logFilterConfigMap",
        ),
        (
            "metrics.prometheusRule.runbookUrl=runbook.md",
            "/metrics/prometheusRule/runbookUrl",
        ),
        ("projectedTokens[0].name=x", "audience"),
        (
            "podDisruptionBudget.maxUnavailable=some",
            "/podDisruptionBudget/maxUnavailable",
        ),
        ("replicaCount=3", "'replicaCount' not allowed"),
        (
            "leaderElection.enabled=false",
            "leaderElection.enabled: false needs replicas: 1",
        ),
        ("rbac.clusterRole.create=false", "needs watchNamespaces"),
        (
            "rbac.secrets=Cluster,rbac.secretNamespaces={a}",
            "rbac.secretNamespaces says nothing beside rbac.secrets: Cluster",
        ),
        (
            "watchNamespaces={a},rbac.clusterRole.create=false,rbac.secrets=Cluster",
            "rbac.secrets: Cluster needs rbac.clusterRole.create: true",
        ),
        (
            "caBundle.configMap=a,caBundle.secret=b",
            "caBundle.configMap and caBundle.secret",
        ),
        (
            "leaderElection.leaseDuration=1ms",
            "/leaderElection/leaseDuration",
        ),
        (
            "operator.allowedHosts={x.com:8443}",
            "/operator/allowedHosts/0",
        ),
        (
            "serviceAccount.create=false",
            "serviceAccount.create: false needs serviceAccount.name",
        ),
        (
            "operator.extraEnv[0].name=DAO_LEADER_ELECT",
            "operator.extraEnv: DAO_LEADER_ELECT is the chart's own",
        ),
        (
            "operator.extraEnv[0].name=X,operator.extraEnv[0].value=true",
            "/operator/extraEnv/0/value",
        ),
        (
            "metrics.port=8080",
            "metrics.port: 8080 is the port of the probes",
        ),
        (
            "metrics.readers[0].name=p,metrics.readers[0].namespace=n,rbac.userRoles.create=false",
            "metrics.readers needs rbac.userRoles.create",
        ),
        (
            "metrics.readers[0].name=p,metrics.readers[0].namespace=n,rbac.create=false",
            "beside rbac.create: true",
        ),
        (
            "watchNamespaces={a},rbac.clusterRole.create=false",
            "rbac.clusterRole.create: false needs metrics.auth: false",
        ),
        (
            "metrics.serviceMonitor.enabled=true,metrics.certificateSecret=tls",
            "metrics.certificateSecret needs metrics.serviceMonitor.tlsConfig",
        ),
        (
            "podDisruptionBudget.maxUnavailable=0",
            "podDisruptionBudget.maxUnavailable: 0 would hold up every drain",
        ),
        (
            "podDisruptionBudget.maxUnavailable=0%",
            "podDisruptionBudget.maxUnavailable: 0 would hold up every drain",
        ),
        (
            "metrics.serviceMonitor.enabled=true,metrics.enabled=false",
            "metrics.serviceMonitor.enabled needs metrics.enabled",
        ),
        (
            "watchNamespaces={a},rbac.secretNamespaces={b}",
            "rbac.secretNamespaces: b is not among watchNamespaces",
        ),
        (
            "networkPolicy.enabled=true,networkPolicy.https.cidrs={10.0.0.0/8}",
            "restricts nothing without networkPolicy.apiServer.cidrs",
        ),
        (
            "networkPolicy.enabled=true,operator.otlpEndpoint=http://collector:4318",
            "networkPolicy.extraEgress",
        ),
    ] {
        let refused = refusal(&["--set", set]);
        assert!(refused.contains(said), "{set}: {refused}");
    }
    for release in ["prod.east", "1st"] {
        let refused = render(release, NAME, &[]).unwrap_err().to_string();
        let said = format!("{release} cannot be the name of a Service");
        assert!(refused.contains(&said), "{refused}");
        render(release, NAME, &["--set", "fullnameOverride=east"]).unwrap();
    }
    let old = refusal(&["--kube-version", "1.32.9"]);
    assert!(old.contains("kubeVersion: >=1.33.0-0"), "{old}");
}

#[test]
fn every_value_of_the_chart_as_it_stood_still_counts() {
    let file = old_chart().join("values.yaml");
    render(NAME, NAME, &["--values", file.to_str().unwrap()]).unwrap();
    let without = render(NAME, NAME, &["--set", "crds.install=false"]).unwrap();
    assert!(
        without
            .iter()
            .all(|o| kind(o) != "CustomResourceDefinition")
    );
    let set = "rbac.create=false,operator.logFilter=warn,operator.instance=blue,podLabels.a=b,image.tag=9.9.9,serviceAccount.name=me";
    let objects = by_name(&render(NAME, NAME, &["--set", set]).unwrap());
    let deployment = find(&objects, &format!("Deployment {NAME}/{NAME}")).to_string();
    for wanted in [
        "\"warn\"",
        "\"blue\"",
        "operator:9.9.9",
        "\"serviceAccountName\":\"me\"",
        "\"a\":\"b\"",
    ] {
        assert!(deployment.contains(wanted), "{wanted}: {deployment}");
    }
    assert!(
        !objects
            .keys()
            .any(|key| key.starts_with("ClusterRoleBinding"))
    );
}

#[test]
fn definitions_survive_whoever_removes_the_release() {
    let kept = [
        ("helm.sh/resource-policy", "keep"),
        (
            "argocd.argoproj.io/sync-options",
            "Prune=false,Delete=false",
        ),
        ("kustomize.toolkit.fluxcd.io/prune", "disabled"),
    ];
    let definitions = |values| {
        let objects = rendered(&values).unwrap();
        let all = objects
            .into_iter()
            .filter(|o| kind(o) == "CustomResourceDefinition");
        all.collect::<Vec<_>>()
    };
    for definition in definitions(json!({})) {
        for (key, value) in kept {
            assert_eq!(
                definition.annotations().get(key).map(String::as_str),
                Some(value)
            );
        }
    }
    let going = definitions(json!({"crds": {"keep": false}}));
    assert_eq!(going.len(), 3);
    for definition in going {
        assert!(
            kept.iter()
                .all(|(key, _)| !definition.annotations().contains_key(*key))
        );
    }
}

#[test]
fn every_alert_links_to_the_runbook_that_was_given() {
    let links = |rule: Value| {
        let objects = by_name(&rendered(&json!({"metrics": {"prometheusRule": rule}})).unwrap());
        let rule = find(&objects, &format!("PrometheusRule {NAME}/{NAME}"));
        let groups = rule["spec"]["groups"].as_array().unwrap().iter();
        let rules = groups.flat_map(|group| group["rules"].as_array().unwrap());
        let links = rules.map(|rule| rule["annotations"]["runbook_url"].as_str().unwrap());
        links.map(str::to_owned).collect::<Vec<_>>()
    };
    let usual = links(json!({"enabled": true}));
    let base = "https://appofapps.dev/docs/runbook.md#";
    assert!(usual.len() > 10 && usual.iter().all(|link| link.starts_with(base)));
    let given = "https://wiki.example.com/runbook";
    let own = links(json!({"enabled": true, "runbookUrl": given}));
    let moved = usual
        .iter()
        .map(|link| link.replace("https://appofapps.dev/docs/runbook.md", given));
    assert_eq!(own, moved.collect::<Vec<_>>());
}

#[test]
fn dns_is_let_through_at_every_port_that_is_given() {
    let ports = |dns: Value| {
        let policy = json!({"networkPolicy": {"enabled": true, "dns": dns}});
        let objects = by_name(&rendered(&policy).unwrap());
        let policy = find(&objects, &format!("NetworkPolicy {NAME}/{NAME}"));
        policy["spec"]["egress"][0]["ports"].clone()
    };
    let both =
        |port: i32| json!([{"port": port, "protocol": "UDP"}, {"port": port, "protocol": "TCP"}]);
    assert_eq!(ports(json!({})), both(53));
    assert_eq!(ports(json!({"ports": [5353]})), both(5353));
    assert_eq!(
        ports(json!({"ports": [53, 5353]}))
            .as_array()
            .unwrap()
            .len(),
        4
    );
}

#[test]
fn a_log_filter_is_mounted_from_a_config_map_that_need_not_be_there_yet() {
    let values = json!({"operator": {"logFilterConfigMap": "levels", "logFilterKey": "level"}});
    let objects = by_name(&rendered(&values).unwrap());
    let pod = &find(&objects, &format!("Deployment {NAME}/{NAME}"))["spec"]["template"]["spec"];
    let volume = json!({"name": "log-filter", "configMap":
        {"name": "levels", "optional": true, "items": [{"key": "level", "path": "filter"}]}});
    assert!(pod["volumes"].as_array().unwrap().contains(&volume));
    let container = &pod["containers"][0];
    let mount = json!({"name": "log-filter", "readOnly": true,
        "mountPath": "/etc/databricks-app-operator/log"});
    assert!(
        container["volumeMounts"]
            .as_array()
            .unwrap()
            .contains(&mount)
    );
    let file = json!({"name": "DAO_LOG_FILTER_FILE",
        "value": "/etc/databricks-app-operator/log/filter"});
    assert!(container["env"].as_array().unwrap().contains(&file));
}

#[test]
fn prometheus_shows_its_own_token_or_the_one_it_was_given() {
    let endpoint = |monitor: Value| {
        let values = json!({"metrics": {"serviceMonitor": monitor}});
        let objects = by_name(&rendered(&values).unwrap());
        find(&objects, &format!("ServiceMonitor {NAME}/{NAME}"))["spec"]["endpoints"][0].clone()
    };
    let own = endpoint(json!({"enabled": true}));
    assert!(own["bearerTokenFile"].is_string() && own["authorization"].is_null());
    let authorization = json!({"credentials": {"name": "t", "key": "token"}});
    let given = endpoint(json!({"enabled": true, "authorization": authorization}));
    assert!(given["bearerTokenFile"].is_null(), "{given}");
    assert_eq!(given["authorization"], authorization);
}

#[test]
fn roles_shrink_with_what_is_watched() {
    let rules = |values: Value, key: &str| {
        find(&by_name(&rendered(&values).unwrap()), key)["rules"].to_string()
    };
    let cluster = format!("ClusterRole /{NAME}");
    assert!(!rules(json!({}), &cluster).contains("secrets"));
    assert!(rules(json!({"rbac": {"secrets": "Cluster"}}), &cluster).contains("secrets"));
    let watched = json!({"watchNamespaces": ["team-a"]});
    let small = rules(watched.clone(), &cluster);
    for beyond in ["configmaps", "events", "create\",\"delete", "secrets"] {
        assert!(!small.contains(beyond), "{beyond}: {small}");
    }
    let own = rules(watched.clone(), &format!("Role team-a/{NAME}"));
    for needed in ["configmaps", "events", "databricksapps/status", "leases"] {
        assert!(own.contains(needed), "{needed}: {own}");
    }
    // Where nothing else is said, Secrets are read where objects are watched.
    assert!(rules(watched, &format!("Role team-a/{NAME}-secrets")).contains("secrets"));
    for none in [
        json!({"watchNamespaces": ["team-a"], "metrics": {"auth": false},
            "rbac": {"clusterRole": {"create": false}, "userRoles": {"create": false}}}),
        json!({"rbac": {"create": false}}),
    ] {
        let kinds = by_name(&rendered(&none).unwrap());
        assert!(
            !kinds.keys().any(|key| key.starts_with("ClusterRole")),
            "{:#?}",
            kinds.keys()
        );
    }
}

/// Takes away what only one of both ways to install can say.
fn normalised(mut object: Value) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(map) => {
                for label in [
                    "app.kubernetes.io/instance",
                    "app.kubernetes.io/managed-by",
                    "app.kubernetes.io/version",
                    "helm.sh/chart",
                    "helm.sh/resource-policy",
                ] {
                    map.remove(label);
                }
                map.values_mut().for_each(strip);
            }
            Value::Array(list) => list.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut object);
    // Kustomize labels no definition.
    if object["kind"] == "CustomResourceDefinition" {
        object["metadata"].as_object_mut().unwrap().remove("labels");
    }
    object
}

#[test]
fn kustomize_builds_what_the_chart_renders_by_default() {
    let built = run_kustomize(&envtest::repository().join("config/default")).unwrap();
    let built: Vec<DynamicObject> = serde_saphyr::from_multiple(&built).unwrap();
    let built = built
        .into_iter()
        .filter(|o| kind(o) != "Namespace")
        .collect::<Vec<_>>();
    let (built, rendered) = (by_name(&built), by_name(&rendered(&json!({})).unwrap()));
    let names = |objects: &BTreeMap<String, Value>| objects.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&built), names(&rendered));
    for (key, object) in rendered {
        let (chart, kustomize) = (normalised(object), normalised(built[&key].clone()));
        assert!(
            chart == kustomize,
            "{key} differs\nchart: {chart:#}\nkustomize: {kustomize:#}"
        );
    }
    let secrets = run_kustomize(&envtest::repository().join("config/rbac/secrets")).unwrap();
    let secrets: Vec<DynamicObject> = serde_saphyr::from_multiple(&secrets).unwrap();
    let set = ["--set", "rbac.secretNamespaces={team}"];
    let rendered = by_name(&render(NAME, NAME, &set).unwrap());
    for object in secrets {
        let key = format!("{} team/{}", kind(&object), object.name_any());
        let mut object = serde_json::to_value(&object).unwrap();
        object["metadata"]["namespace"] = json!("team");
        assert_eq!(
            normalised(find(&rendered, &key).clone()),
            normalised(object)
        );
    }
}

/// Of Prometheus Operator's.
fn monitoring(kind: &str) -> String {
    let plural = format!("{}s", kind.to_lowercase());
    definition("monitoring.coreos.com", kind, &plural)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_takes_every_object_of_the_matrix_and_its_pod_where_the_level_is_restricted()
{
    let test = "the API server takes every object of the matrix, and its Pod where the level is restricted";
    let Some(cluster) = envtest::cluster_or_leave_out(test).await.unwrap() else {
        return;
    };
    envtest::install(&cluster).await.unwrap();
    let client = cluster.client().await.unwrap();
    let mut before = ["ServiceMonitor", "PrometheusRule"]
        .map(monitoring)
        .join("---");
    for namespace in ["team-a", "team-b"] {
        before +=
            &format!("---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}}}\n");
    }
    before += "---\napiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: high}\nvalue: 1\n";
    envtest::apply(&client, &before).await.unwrap();

    // The namespace that config/manager makes.
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let labels = namespaces.get(NAME).await.unwrap().metadata.labels.unwrap();
    assert_eq!(labels["pod-security.kubernetes.io/enforce"], "restricted");
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAME);
    let try_pod = async |objects: &[DynamicObject]| {
        let deployment = objects.iter().find(|o| kind(o) == "Deployment").unwrap();
        let mut pod = deployment.data["spec"]["template"].clone();
        pod["metadata"]["name"] = json!("tried");
        let dry = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        pods.create(&dry, &serde_json::from_value(pod).unwrap())
            .await
    };
    for (about, values) in matrix() {
        let objects = rendered(&values).unwrap();
        let taken = envtest::dry_run(&client, objects.clone()).await;
        taken.unwrap_or_else(|error| panic!("{about}: {error:?}"));
        let pod = try_pod(&objects).await;
        pod.unwrap_or_else(|error| panic!("{about}: {error}"));
    }
    let loose = rendered(&json!({"podSecurityContext": {"runAsNonRoot": false}})).unwrap();
    let refused = try_pod(&loose).await.unwrap_err().to_string();
    assert!(
        refused.contains("violates PodSecurity \"restricted"),
        "{refused}"
    );
}
