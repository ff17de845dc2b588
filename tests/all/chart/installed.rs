//! The operator as helm installs, upgrades and removes it, with apps running: each time it is started as the Pod of the
//! Deployment that the API server holds, with the token of that Pod's ServiceAccount.
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use envtest::{Cluster, HelmError, Operator, OperatorOptions, Pod, Sim, SimOptions, run_helm};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::Role;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::{NAME, chart, old_chart};

const OWN: &str = "platform";
const TEAM: &str = "team";
const SCALE: u32 = 60;
const DEADLINE: Duration = Duration::from_secs(100);
const GRACE: Duration = Duration::from_secs(10);

/// A cluster of its own, a fake workspace, and the operator once it is started.
struct World {
    // Dropped in this order.
    operator: Option<Operator>,
    sim: Sim,
    client: Client,
    cluster: Cluster,
    folder: tempfile::TempDir,
    starts: u32,
}

impl World {
    async fn new(test: &str) -> Option<Self> {
        if !envtest::programs_or_leave_out(test).unwrap() {
            return None;
        }
        let cluster = envtest::cluster_or_leave_out(test).await.unwrap()?;
        let folder = tempfile::tempdir().unwrap();
        let mut options = SimOptions::new(
            "dapi-1",
            "operator@example.com",
            folder.path().join("sim.log"),
        );
        options.time_scale = SCALE;
        options.any_source = true;
        let sim = Sim::start(options).await.unwrap();
        let client = cluster.client().await.unwrap();
        let namespace = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {TEAM}}}\n");
        envtest::apply(&client, &namespace).await.unwrap();
        Some(Self {
            operator: None,
            sim,
            client,
            cluster,
            folder,
            starts: 0,
        })
    }

    /// Runs helm as an administrator of the cluster, e.g. `["install", NAME, CHART]`.
    fn helm(&self, arguments: &[&str]) -> Result<String, HelmError> {
        let mut all = arguments.to_vec();
        all.extend(["--namespace", OWN]);
        run_helm(Some(&self.cluster.admin_kubeconfig()), all)
    }

    fn install(&self, chart: &Path, more: &[&str]) {
        let chart = chart.to_str().unwrap();
        let mut all = vec!["install", NAME, chart, "--create-namespace"];
        all.extend(more);
        self.helm(&all).unwrap();
    }

    async fn deployment(&self) -> Option<Deployment> {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), OWN);
        deployments.get_opt(NAME).await.unwrap()
    }

    /// Starts a Pod of the stored Deployment; returns once it is ready.
    async fn start_pod(&mut self) {
        self.starts += 1;
        let pod = Pod::of(&self.deployment().await.unwrap()).unwrap();
        let pod = pod.named(&format!("{NAME}-{}", self.starts));
        let pod = pod
            .mounted(&self.cluster, self.folder.path())
            .await
            .unwrap();
        let account = (pod.namespace(), pod.service_account());
        let kubeconfig = self
            .cluster
            .service_account_kubeconfig(account.0, account.1);
        let mut options = OperatorOptions::new(kubeconfig.await.unwrap(), self.log());
        options.pod = Some(pod);
        options.pod_name = format!("{NAME}-{}", self.starts);
        options.time_scale = SCALE;
        self.operator = Some(Operator::start(options).await.unwrap());
    }

    async fn stop_pod(&mut self) {
        let operator = self.operator.take().unwrap();
        let status = operator.stop(GRACE).await.unwrap();
        assert!(status.success(), "{status}: {}", self.tail());
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("operator.log")
    }

    fn tail(&self) -> String {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Lets the operator of the old chart hold Leases: the program of that time knew none, and today's asks for one.
    async fn allow_leases(&self) {
        let group = "rbac.authorization.k8s.io";
        let metadata = json!({"name": "leases", "namespace": OWN});
        let objects = [
            json!({"apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": metadata,
                "rules": [{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]}]}),
            json!({"apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": metadata,
                "roleRef": {"apiGroup": group, "kind": "Role", "name": "leases"},
                "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": OWN}]}),
        ];
        let yaml = objects.map(|o| o.to_string()).join("\n---\n");
        envtest::apply(&self.client, &yaml).await.unwrap();
    }

    /// A connection, an app and a fleet of two, all in one namespace.
    async fn declare(&self) {
        let app = json!({
            "workspaceRef": {"name": "prod"},
            "lifecycle": {"state": "Running"},
            "source": {"workspace": {"path": "/Workspace/Shared/sales"}},
            "deployment": {"command": ["python", "app.py"],
                "env": [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "prod", "key": "token"}}}]},
            "permissions": {"grants": [{"principal": {"group": "users"}, "level": "CanUse"}]},
        });
        let ours = |kind: &str, name: &str, spec: Value| json!({"apiVersion": "appofapps.dev/v1alpha1", "kind": kind, "metadata": {"name": name, "namespace": TEAM}, "spec": spec});
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "prod", "namespace": TEAM},
            "stringData": {"token": "dapi-1"}});
        let workspace = ours(
            "DatabricksWorkspace",
            "prod",
            json!({"host": self.sim.url(), "auth": {"token": {"secretRef": {"name": "prod", "key": "token"}}},
                "limits": {"requestsPerSecond": 600, "burst": 600}}),
        );
        let fleet = json!({"apps": [{"name": "one", "spec": app}, {"name": "two", "spec": app}]});
        let objects = [
            secret,
            workspace,
            ours("DatabricksApp", "sales", app.clone()),
            ours("AppOfApps", "fleet", fleet),
        ];
        let yaml = objects.map(|o| o.to_string()).join("\n---\n");
        envtest::apply(&self.client, &yaml).await.unwrap();
    }

    async fn list(&self, kind: &str) -> Vec<Value> {
        let gvk = GroupVersionKind::gvk("appofapps.dev", "v1alpha1", kind);
        let plural = match kind {
            "AppOfApps" => "appofapps".to_owned(),
            kind => format!("{}s", kind.to_lowercase()),
        };
        let resource = ApiResource::from_gvk_with_plural(&gvk, &plural);
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), TEAM, &resource);
        let list = api.list(&ListParams::default()).await.unwrap();
        list.items
            .iter()
            .map(|o| serde_json::to_value(o).unwrap())
            .collect()
    }

    async fn all(&self) -> Vec<Value> {
        let mut all = Vec::new();
        for kind in ["DatabricksWorkspace", "DatabricksApp", "AppOfApps"] {
            all.extend(self.list(kind).await);
        }
        all
    }

    async fn until(&self, what: &str, mut check: impl AsyncFnMut() -> bool) {
        let start = Instant::now();
        while !check().await {
            if start.elapsed() > DEADLINE {
                let all = self.all().await;
                panic!(
                    "not seen within {DEADLINE:?}: {what}\n{all:#?}\n--- operator\n{}",
                    self.tail()
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the workspace, three apps and the fleet are ready.
    async fn ready(&self) {
        self.until("everything is Ready", async || {
            let all = self.all().await;
            all.len() == 5 && all.iter().all(|o| condition(o, "Ready").0 == "True")
        })
        .await;
    }

    /// Waits until the operator that runs now has looked at everything again and again.
    async fn looked(&self) {
        let before = self.calls("GET /api/2.0/apps 200").await;
        self.until("three more lists", async || {
            self.calls("GET /api/2.0/apps 200").await >= before + 3
        })
        .await;
        self.ready().await;
    }

    async fn requests(&self) -> Vec<(String, u64)> {
        let said = self.sim.call("GET", "/sim/requests", None).await.unwrap();
        let text = |total: &Value, key: &str| total[key].as_str().unwrap_or_default().to_owned();
        let totals = said["totals"].as_array().unwrap().iter();
        totals
            .map(|t| {
                let call = format!("{} {} {}", text(t, "method"), text(t, "route"), t["status"]);
                (call, t["count"].as_u64().unwrap())
            })
            .collect()
    }

    async fn calls(&self, call: &str) -> u64 {
        let requests = self.requests().await;
        requests
            .iter()
            .filter(|(known, _)| known == call)
            .map(|(_, count)| count)
            .sum()
    }

    /// Fails if the workspace was asked for any write since its log was emptied.
    async fn nothing_was_written(&self) {
        let requests = self.requests().await;
        let writes: Vec<_> = requests
            .iter()
            .filter(|(call, _)| !call.starts_with("GET"))
            .collect();
        assert!(writes.is_empty(), "{writes:?}");
    }

    async fn forget_requests(&self) {
        self.sim
            .call("DELETE", "/sim/requests", None)
            .await
            .unwrap();
    }

    /// Whether RBAC lets a user with a role in the team's namespace do it.
    async fn may(&self, user: &str, verb: &str, resource: &str) -> bool {
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(user.into()),
                resource_attributes: Some(ResourceAttributes {
                    group: Some("appofapps.dev".into()),
                    namespace: Some(TEAM.into()),
                    resource: Some(resource.into()),
                    verb: Some(verb.into()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let answer = reviews
            .create(&PostParams::default(), &review)
            .await
            .unwrap();
        answer.status.unwrap().allowed
    }
}

/// Status and message of a condition, if it speaks of the object as it is now.
fn condition(object: &Value, kind: &str) -> (String, String) {
    if object["status"]["observedGeneration"] != object["metadata"]["generation"] {
        return Default::default();
    }
    let conditions = object["status"]["conditions"].as_array();
    let found = conditions.and_then(|all| all.iter().find(|c| c["type"] == kind));
    let text = |key: &str| {
        found
            .and_then(|c| c[key].as_str())
            .unwrap_or_default()
            .to_owned()
    };
    (text("status"), text("message"))
}

fn strategy(deployment: &Deployment) -> Option<&str> {
    deployment
        .spec
        .as_ref()?
        .strategy
        .as_ref()?
        .type_
        .as_deref()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_from_the_chart_as_it_stood_writes_nothing_and_restarts_no_app() {
    let test = "an_upgrade_from_the_chart_as_it_stood_writes_nothing_and_restarts_no_app";
    let Some(mut world) = World::new(test).await else {
        return;
    };
    world.install(&old_chart(), &[]);
    world.allow_leases().await;
    world.start_pod().await;
    world.declare().await;
    world.ready().await;
    world.forget_requests().await;

    let chart = chart();
    let upgrade = |more: &[&str]| {
        let mut all = vec!["upgrade", NAME, chart.to_str().unwrap()];
        all.extend(more);
        world.helm(&all)
    };
    // What would take rights away unnoticed, or leave new values without defaults, is refused and changes nothing.
    let refused = upgrade(&[]).unwrap_err().to_string();
    assert!(
        refused.contains("rbac.secretNamespaces") && refused.contains(TEAM),
        "{refused}"
    );
    let refused = upgrade(&["--reuse-values"]).unwrap_err().to_string();
    assert!(refused.contains("--reset-then-reuse-values"), "{refused}");
    assert_eq!(
        strategy(&world.deployment().await.unwrap()),
        Some("Recreate")
    );
    upgrade(&[
        "--reset-then-reuse-values",
        "--set",
        "rbac.secretNamespaces={team}",
    ])
    .unwrap();

    // The old operator knows no Lease, so this once it goes before the new one comes.
    let upgraded = world.deployment().await.unwrap();
    assert_eq!(strategy(&upgraded), Some("Recreate"));
    assert_eq!(upgraded.spec.unwrap().replicas, Some(2));
    world.stop_pod().await;
    world.start_pod().await;
    world.looked().await;
    world.nothing_was_written().await;

    upgrade_again(&world);
    let again = world.deployment().await.unwrap();
    assert_eq!(strategy(&again), Some("RollingUpdate"));
    world.looked().await;
    world.nothing_was_written().await;
    world.stop_pod().await;
}

fn upgrade_again(world: &World) {
    let chart = chart();
    let chart = chart.to_str().unwrap();
    world
        .helm(&["upgrade", NAME, chart, "--reset-then-reuse-values"])
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn uninstalled_nothing_goes_and_installed_again_nothing_is_written() {
    let test = "uninstalled_nothing_goes_and_installed_again_nothing_is_written";
    let Some(mut world) = World::new(test).await else {
        return;
    };
    let secrets = ["--set", "rbac.secretNamespaces={team}"];
    world.install(&chart(), &secrets);
    world.start_pod().await;
    world.declare().await;
    world.ready().await;
    world.forget_requests().await;

    // The Pod still runs while its Deployment and its rights go, as in a cluster.
    world.helm(&["uninstall", NAME]).unwrap();
    assert!(world.deployment().await.is_none());
    world.stop_pod().await;
    world.nothing_was_written().await;
    let definitions: Api<CustomResourceDefinition> = Api::all(world.client.clone());
    assert_eq!(
        definitions
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .len(),
        3
    );
    let left = world.all().await;
    assert_eq!(left.len(), 5);
    assert!(
        left.iter()
            .all(|o| o["metadata"]["deletionTimestamp"].is_null()),
        "{left:#?}"
    );

    world.install(&chart(), &secrets);
    world.start_pod().await;
    world.looked().await;
    world.nothing_was_written().await;
    world.stop_pod().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_delete_apps_or_never_lead_is_refused_by_what_the_cluster_holds() {
    let test = "what_would_delete_apps_or_never_lead_is_refused_by_what_the_cluster_holds";
    let Some(world) = World::new(test).await else {
        return;
    };
    let secrets = ["--set", "rbac.secrets=Cluster", "--set", "crds.keep=false"];
    world.install(&chart(), &secrets);
    let chart = chart();
    let chart = chart.to_str().unwrap();
    let refused = |arguments: &[&str]| world.helm(arguments).unwrap_err().to_string();
    let without = "crds.enabled=false";
    let upgrade = ["upgrade", NAME, chart, "--reuse-values", "--set", without];
    let said = refused(&upgrade);
    assert!(
        said.contains("crds.enabled: false would delete") && said.contains("crds.keep: true"),
        "{said}"
    );
    let second = [
        "install",
        "second",
        chart,
        "--set",
        without,
        "--set",
        "watchNamespaces={team}",
    ];
    let said = refused(&second);
    assert!(
        said.contains("an operator in this namespace already"),
        "{said}"
    );
    // Kept first, they may leave the release.
    let keep = [
        "upgrade",
        NAME,
        chart,
        "--reuse-values",
        "--set",
        "crds.keep=true",
    ];
    world.helm(&keep).unwrap();
    world.helm(&upgrade).unwrap();
    let definitions: Api<CustomResourceDefinition> = Api::all(world.client.clone());
    let left = definitions
        .get("databricksapps.appofapps.dev")
        .await
        .unwrap();
    assert!(left.metadata.deletion_timestamp.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_read_only_where_a_role_allows_it_and_a_refusal_says_how_to_grant_it() {
    let test = "a_secret_is_read_only_where_a_role_allows_it_and_a_refusal_says_how_to_grant_it";
    let Some(mut world) = World::new(test).await else {
        return;
    };
    world.install(&chart(), &[]);
    world.start_pod().await;
    world.declare().await;
    let grant = format!(
        "kubectl -n {TEAM} create rolebinding {NAME}-reads-secrets --role={NAME}-reads-secrets --serviceaccount={OWN}:{NAME}"
    );
    world
        .until("the refusal quotes the missing RoleBinding", async || {
            let workspaces = world.list("DatabricksWorkspace").await;
            workspaces.iter().any(|w| {
                let (status, message) = condition(w, "Ready");
                status == "False"
                    && message.contains(&grant)
                    && message.contains("rbac.secretNamespaces")
            })
        })
        .await;
    // What the quoted commands make.
    let name = format!("{NAME}-reads-secrets");
    let group = "rbac.authorization.k8s.io";
    let metadata = json!({"name": name, "namespace": TEAM});
    let objects = [
        json!({"apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": metadata,
            "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]}),
        json!({"apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": OWN}]}),
    ];
    let yaml = objects.map(|o| o.to_string()).join("\n---\n");
    envtest::apply(&world.client, &yaml).await.unwrap();
    world.ready().await;
    world.stop_pod().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_get_apps_by_their_built_in_roles_and_workspaces_only_by_one_of_its_own() {
    let test = "people_get_apps_by_their_built_in_roles_and_workspaces_only_by_one_of_its_own";
    let Some(world) = World::new(test).await else {
        return;
    };
    world.install(&chart(), &[]);
    let roles = ["view", "edit", "admin", &format!("{NAME}-workspace-admin")];
    for role in roles {
        let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": role, "namespace": TEAM},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": role}]});
        envtest::apply(&world.client, &binding.to_string())
            .await
            .unwrap();
    }
    world
        .until("the built-in roles hold the new rules", async || {
            world.may("view", "list", "databricksapps").await
                && world.may("edit", "create", "appofapps").await
                && world
                    .may("admin", "deletecollection", "databricksapps")
                    .await
        })
        .await;
    for (role, verb, resource, allowed) in [
        ("view", "get", "databricksworkspaces", true),
        ("view", "create", "databricksapps", false),
        ("edit", "delete", "databricksapps", true),
        ("edit", "deletecollection", "databricksapps", false),
        ("edit", "patch", "databricksapps/status", false),
        ("edit", "patch", "databricksworkspaces", false),
        ("admin", "create", "databricksworkspaces", false),
        ("admin", "delete", "databricksworkspaces", false),
        (roles[3], "create", "databricksworkspaces", true),
        (roles[3], "create", "databricksapps", false),
    ] {
        let said = world.may(role, verb, resource).await;
        assert_eq!(said, allowed, "{role}: {verb} {resource}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn projected_tokens_and_authorities_lie_where_the_pod_mounts_them() {
    let test = "projected_tokens_and_authorities_lie_where_the_pod_mounts_them";
    let Some(world) = World::new(test).await else {
        return;
    };
    let values = "caBundle.configMap=authorities,projectedTokens[0].name=azure,projectedTokens[0].audience=api://exchange,\
                  operator.extraEnv[0].name=AZURE_FEDERATED_TOKEN_FILE,\
                  operator.extraEnv[0].value=/var/run/secrets/appofapps.dev/tokens/azure";
    world.install(&chart(), &["--set", values]);
    let authorities = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "authorities", "namespace": OWN},
        "data": {"ca.crt": "-----BEGIN CERTIFICATE-----"}});
    envtest::apply(&world.client, &authorities.to_string())
        .await
        .unwrap();
    let pod = Pod::of(&world.deployment().await.unwrap()).unwrap();
    let pod = pod
        .mounted(&world.cluster, world.folder.path())
        .await
        .unwrap();
    let environment = pod.environment().unwrap();
    let token = std::fs::read_to_string(&environment["AZURE_FEDERATED_TOKEN_FILE"]).unwrap();
    let claims = token.split('.').nth(1).unwrap();
    let claims =
        base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, claims).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["aud"], json!(["api://exchange"]));
    assert_eq!(claims["sub"], format!("system:serviceaccount:{OWN}:{NAME}"));
    let authorities = Path::new(&environment["SSL_CERT_DIR"]).join("ca.pem");
    assert!(
        std::fs::read_to_string(authorities)
            .unwrap()
            .starts_with("-----BEGIN")
    );
    assert_eq!(environment["POD_NAMESPACE"], OWN);
}

#[tokio::test(flavor = "multi_thread")]
async fn listed_namespaces_are_served_by_roles_alone_and_empty_by_the_small_cluster_role() {
    let test = "listed_namespaces_are_served_by_roles_alone_and_empty_by_the_small_cluster_role";
    let Some(mut world) = World::new(test).await else {
        return;
    };
    let chart = chart();
    let roles_alone = "watchNamespaces={team},rbac.clusterRole.create=false,rbac.userRoles.create=false,metrics.auth=false";
    world.install(&chart, &["--set", roles_alone]);
    world.start_pod().await;
    world.declare().await;
    world.ready().await;
    world.stop_pod().await;

    let with_cluster_role = ["--set", "watchNamespaces={team}"];
    let mut upgrade = vec!["upgrade", NAME, chart.to_str().unwrap()];
    upgrade.extend(with_cluster_role);
    world.helm(&upgrade).unwrap();
    world.start_pod().await;
    world.looked().await;
    // Whoever deletes a namespace deletes its Roles with it, in any order.
    let roles: Api<Role> = Api::namespaced(world.client.clone(), TEAM);
    for role in roles.list(&ListParams::default()).await.unwrap() {
        let name = role.metadata.name.unwrap();
        roles.delete(&name, &DeleteParams::default()).await.unwrap();
    }
    let namespaces: Api<Namespace> = Api::all(world.client.clone());
    namespaces
        .delete(TEAM, &DeleteParams::default())
        .await
        .unwrap();
    world
        .until("the namespace is gone", async || {
            namespaces.get_opt(TEAM).await.unwrap().is_none()
        })
        .await;
    world.stop_pod().await;
}
