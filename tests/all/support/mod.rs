//! Ring 3: a real API server, the operator as a process under its own ServiceAccount, the fake workspace beside it.
//!
//! Every scene has a fake workspace, an operator and a namespace of its own; the API server is usually one of the few that
//! scenes share, of which it has one to itself until it ends. Nothing sleeps: [`Scene::until`] waits for a condition with a deadline, and prints the objects, their
//! events and the operator's log when it does not come.
pub mod proxy;
pub mod scripted;

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use envtest::audit::{self, Entry};
use envtest::{
    Cluster, ClusterOptions, NAMESPACE, Operator, OperatorOptions, SERVICE_ACCOUNT, SharedCluster,
    Sim, SimOptions,
};
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::{Value, json};

/// Who the operator is in the fake workspace.
pub const IDENTITY: &str = "operator@example.com";
/// Longest wait of a scene, in wire time.
pub const DEADLINE: Duration = Duration::from_secs(100);
const POLL: Duration = Duration::from_millis(50);
const GRACE: Duration = Duration::from_secs(10);

/// How a scene differs from the usual one.
pub struct Setting {
    /// Service seconds in a wire second.
    pub scale: u32,
    /// Every source path exists.
    pub any_source: bool,
    /// More arguments of `databricks-sim`.
    pub sim: Vec<String>,
    /// Faults in place before the operator starts.
    pub faults: Vec<Value>,
    /// Token in the Workspace's Secret; usually one that the fake workspace takes.
    pub token: Option<String>,
    /// What the operator logs.
    pub log_filter: &'static str,
    /// More flags of the operator.
    pub operator: Vec<String>,
    /// More lines of the seed.
    pub seed: &'static str,
    /// An API server of its own, for what would disturb others.
    pub own_cluster: bool,
    /// More flags of that one.
    pub api_server: Vec<String>,
    /// The operator reaches it by way of [`Scene::proxy`].
    pub proxied: bool,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            scale: 60,
            any_source: true,
            sim: Vec::new(),
            faults: Vec::new(),
            token: None,
            log_filter: "info",
            operator: Vec::new(),
            seed: "",
            own_cluster: false,
            api_server: Vec::new(),
            proxied: false,
        }
    }
}

/// The API server of a scene.
pub enum Served {
    Shared(SharedCluster),
    Own(Box<Cluster>),
}

impl std::ops::Deref for Served {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        match self {
            Self::Shared(cluster) => cluster,
            Self::Own(cluster) => cluster,
        }
    }
}

/// One test's world.
pub struct Scene {
    // Dropped in this order.
    pub operator: Operator,
    pub sim: Sim,
    pub proxy: Option<proxy::Proxy>,
    pub cluster: Served,
    objects: Objects,
    pub scale: u32,
    pub token: String,
    pub log: PathBuf,
    options: OperatorOptions,
    folder: tempfile::TempDir,
}

impl Scene {
    /// The usual scene; `None` after saying that `test` was left out, on a machine without a control plane.
    pub async fn start(test: &str) -> Option<Self> {
        Self::set(test, Setting::default()).await
    }

    pub async fn set(test: &str, setting: Setting) -> Option<Self> {
        if !envtest::programs_or_leave_out(test).unwrap() {
            return None;
        }
        let cluster = match setting.own_cluster {
            true => {
                let options = ClusterOptions {
                    api_server: setting.api_server,
                    ..ClusterOptions::default()
                };
                let own = envtest::own_cluster_or_leave_out(test, options);
                let own = own.await.unwrap()?;
                Served::Own(Box::new(own))
            }
            false => Served::Shared(envtest::shared_cluster_or_leave_out(test).await.unwrap()?),
        };
        let mut kubeconfig = envtest::install(&cluster).await.unwrap();
        // A client of this test's own runtime: the cluster outlives it.
        let client = cluster.client().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let proxy = match setting.proxied {
            true => Some(proxy::Proxy::start(&cluster.server(), &cluster.ca()).await),
            false => None,
        };
        if let Some(proxy) = &proxy {
            kubeconfig = proxy.kubeconfig(&kubeconfig, folder.path());
        }
        let token = format!("dapi-{}", suffix());
        let seed = folder.path().join("seed.yaml");
        let people = "users: [stranger@example.com, ann@example.com]\nwarehouses: [wh-1]\ngroups: [data-users]\n";
        std::fs::write(&seed, format!("{people}{}", setting.seed)).unwrap();
        let mut options = SimOptions::new(&token, IDENTITY, folder.path().join("sim.log"));
        options.time_scale = setting.scale;
        options.any_source = setting.any_source;
        options.seed = Some(seed);
        options.arguments = setting.sim;
        let sim = Sim::start(options).await.unwrap();
        for fault in &setting.faults {
            sim.call("POST", "/sim/faults", Some(fault)).await.unwrap();
        }
        let namespace = format!("scene-{}", suffix());
        let log = folder.path().join("operator.log");
        let mut options = OperatorOptions::new(kubeconfig, &log);
        options.time_scale = setting.scale;
        options.log_filter = setting.log_filter.into();
        options.arguments = setting.operator;
        let operator = Operator::start(options.clone()).await.unwrap();
        let scene = Self {
            operator,
            sim,
            proxy,
            cluster,
            objects: Objects { client, namespace },
            scale: setting.scale,
            token: token.clone(),
            log,
            options,
            folder,
        };
        let secret = setting.token.unwrap_or(token);
        scene.apply(&scene.connection(&secret)).await;
        Some(scene)
    }

    /// The scene's namespace with a DatabricksWorkspace `prod` and its Secret `prod`.
    pub fn connection(&self, token: &str) -> String {
        let (namespace, host) = (&self.namespace, self.sim.url());
        format!(
            r#"
apiVersion: v1
kind: Namespace
metadata: {{name: {namespace}}}
---
apiVersion: v1
kind: Secret
metadata: {{name: prod, namespace: {namespace}}}
stringData: {{token: {token}}}
---
apiVersion: appofapps.dev/v1alpha1
kind: DatabricksWorkspace
metadata: {{name: prod, namespace: {namespace}}}
spec:
  host: {host}
  auth: {{token: {{secretRef: {{name: prod, key: token}}}}}}
  limits: {{requestsPerSecond: 600, burst: 600}}
"#
        )
    }

    /// Ends the scene: every object of its namespace goes, then the operator and the fake workspace.
    pub async fn end(self) {
        for kind in ["AppOfApps", "DatabricksApp", "DatabricksWorkspace"] {
            for object in self.list(kind).await {
                self.delete(kind, object["metadata"]["name"].as_str().unwrap())
                    .await;
            }
            self.until(&format!("no {kind} is left"), async || {
                self.list(kind).await.is_empty().then_some(())
            })
            .await;
        }
        self.operator.stop(GRACE).await;
    }

    /// Another replica beside the scene's operator, with that Pod's name; it is ready when this returns.
    pub async fn replica(&self, pod_name: &str) -> Operator {
        let mut options = self.options.clone();
        options.pod_name = pod_name.into();
        options.log = self.folder.path().join(format!("{pod_name}.log"));
        Operator::start(options).await.unwrap()
    }

    /// How an operator of another installation in `home` runs; it is who that kubeconfig says.
    pub fn options_for(&self, home: &str, kubeconfig: PathBuf, flags: &[&str]) -> OperatorOptions {
        let mut options = self.options.clone();
        options.kubeconfig = kubeconfig;
        options.log = self.folder.path().join(format!("{home}.log"));
        options
            .arguments
            .extend(flags.iter().map(|&flag| flag.to_owned()));
        options
    }

    /// As [`Scene::replica`], of one that may not be ready.
    pub async fn unready_replica(&self, pod_name: &str) -> Operator {
        let mut options = self.options.clone();
        options.pod_name = pod_name.into();
        options.log = self.folder.path().join(format!("{pod_name}.log"));
        options.ready = Some("/livez");
        Operator::start(options).await.unwrap()
    }

    /// Objects of another namespace.
    pub fn beside(&self, namespace: &str) -> Objects {
        Objects {
            client: self.client.clone(),
            namespace: namespace.into(),
        }
    }

    /// Applies manifests as `kubectl apply --server-side` does.
    pub async fn apply(&self, yaml: &str) {
        envtest::apply(&self.client, yaml).await.unwrap();
    }

    /// Waits until the app runs, and checks that the workspace holds no other and deployed it once.
    pub async fn runs_once(&self, name: &str) {
        self.wait("DatabricksApp", name, "Ready", "True/Running")
            .await;
        let (_, apps) = self.remote("/api/2.0/apps").await;
        assert_eq!(apps["apps"].as_array().unwrap().len(), 1, "{apps:#}");
        let path = format!("/api/2.0/apps/{name}/deployments");
        let (_, deployments) = self.remote(&path).await;
        let made = deployments["app_deployments"].as_array().unwrap().len();
        assert_eq!(made, 1, "{deployments:#}");
    }

    /// Waits until the condition reads so, e.g. `("Ready", "True/Running")`.
    pub async fn wait(&self, kind: &str, name: &str, condition: &str, wanted: &str) {
        let what = format!("{condition}={wanted} of {kind} {name}");
        self.until(&what, async || {
            (self.condition(kind, name, condition).await == wanted).then_some(())
        })
        .await;
    }

    /// Waits for `check` to give something; else fails with all objects of the scene and the operator's log.
    pub async fn until<T>(&self, what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = check().await {
                return found;
            }
            if start.elapsed() > DEADLINE {
                self.fail(&format!("not seen within {DEADLINE:?}: {what}"))
                    .await;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Fails with all objects of the scene, their events, the operator's log and the calls it made.
    pub async fn fail(&self, what: &str) -> ! {
        let mut said = String::new();
        for kind in ["DatabricksWorkspace", "AppOfApps", "DatabricksApp"] {
            for object in self.list(kind).await.into_iter().take(5) {
                let name = object["metadata"]["name"].as_str().unwrap().to_owned();
                said += &envtest::describe(&self.client, kind, &self.namespace, &name).await;
            }
        }
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(30).collect();
        let log: Vec<&str> = lines.into_iter().rev().collect();
        let calls = self.requests().await;
        panic!(
            "{what}\n{said}--- operator\n{}\n--- calls\n{calls:#?}",
            log.join("\n")
        );
    }

    /// Calls by method and route, with their status, e.g. `POST /api/2.0/apps 200` → 1.
    pub async fn requests(&self) -> Vec<(String, u64)> {
        let said = self.sim.call("GET", "/sim/requests", None).await.unwrap();
        let totals = said["totals"].as_array().unwrap();
        let text = |total: &Value, key: &str| total[key].as_str().unwrap_or_default().to_owned();
        totals
            .iter()
            .map(|t| {
                let call = format!("{} {} {}", text(t, "method"), text(t, "route"), t["status"]);
                (call, t["count"].as_u64().unwrap())
            })
            .collect()
    }

    /// How many calls of just this method, route and status there were, e.g. `calls("POST /api/2.0/apps 200")`.
    pub async fn calls(&self, call: &str) -> u64 {
        let requests = self.requests().await;
        let same = requests.iter().filter(|(known, _)| known == call);
        same.map(|(_, count)| count).sum()
    }

    /// The newest requests one by one, oldest first.
    pub async fn recent(&self) -> Vec<Value> {
        let said = self.sim.call("GET", "/sim/requests", None).await.unwrap();
        said["recent"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until a request of that method and route is `held` or `committed`, as a latency fault leaves it.
    pub async fn caught(&self, call: &str, state: &str) {
        self.until(&format!("{call} is {state}"), async || {
            let recent = self.recent().await;
            let text =
                |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
            recent
                .iter()
                .any(|e| {
                    e["state"] == state
                        && format!("{} {}", text(e, "method"), text(e, "route")) == call
                })
                .then_some(())
        })
        .await;
    }

    /// Events about an object, as `Type/Reason: note`.
    pub async fn events(&self, kind: &str, name: &str) -> Vec<String> {
        let resource =
            ApiResource::from_gvk(&GroupVersionKind::gvk("events.k8s.io", "v1", "Event"));
        let events: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
        let wanted =
            ListParams::default().fields(&format!("regarding.kind={kind},regarding.name={name}"));
        let list = events.list(&wanted).await.unwrap();
        let text = |event: &DynamicObject, key: &str| {
            event.data[key].as_str().unwrap_or_default().to_owned()
        };
        list.items
            .iter()
            .map(|e| {
                format!(
                    "{}/{}: {}",
                    text(e, "type"),
                    text(e, "reason"),
                    text(e, "note")
                )
            })
            .collect()
    }

    /// Waits for an event that begins so, e.g. `Warning/Recreated`.
    pub async fn event(&self, kind: &str, name: &str, start: &str) {
        self.until(&format!("event {start} of {kind} {name}"), async || {
            let events = self.events(kind, name).await;
            events.iter().any(|e| e.starts_with(start)).then_some(())
        })
        .await;
    }

    /// Waits until the object is gone.
    pub async fn gone(&self, kind: &str, name: &str) {
        self.until(&format!("{kind} {name} is gone"), async || {
            self.get(kind, name).await.is_null().then_some(())
        })
        .await;
    }

    /// Waits until the Workspace has looked `n` more times: whatever a pass would do, it has done by then.
    pub async fn more_lists(&self, n: u64) {
        let list = "GET /api/2.0/apps 200";
        let before = self.calls(list).await;
        self.until(&format!("{n} more lists"), async || {
            (self.calls(list).await >= before + n).then_some(())
        })
        .await;
    }

    /// How many calls match all the words, e.g. `count("POST /deployments 200")`.
    pub async fn count(&self, words: &str) -> u64 {
        let requests = self.requests().await;
        let matching = requests
            .iter()
            .filter(|(call, _)| words.split(' ').all(|w| call.contains(w)));
        matching.map(|(_, count)| count).sum()
    }

    /// Writes that the service was asked for, token exchanges apart; `accepted`: only those answered 2xx.
    pub async fn writes(&self, accepted: bool) -> u64 {
        let requests = self.requests().await;
        let writes = requests.iter().filter(|(call, _)| {
            !call.starts_with("GET")
                && !call.contains("token")
                && (!accepted || call.contains(" 20"))
        });
        writes.map(|(_, count)| count).sum()
    }

    pub async fn zero(&self) {
        self.sim
            .call("DELETE", "/sim/requests", None)
            .await
            .unwrap();
    }

    pub async fn fault(&self, fault: Value) {
        self.sim
            .call("POST", "/sim/faults", Some(&fault))
            .await
            .unwrap();
    }

    /// A call to the workspace's own API, as somebody with the operator's token.
    pub async fn remote(&self, path: &str) -> (u16, Value) {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("{}{path}", self.sim.url());
        let answer = http.get(url).bearer_auth(&self.token).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }

    /// A call to the workspace's own API that has to succeed, as somebody with the operator's token.
    pub async fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let method: reqwest::Method = method.parse().unwrap();
        let url = format!("{}{path}", self.sim.url());
        let call = http
            .request(method, url)
            .bearer_auth(&self.token)
            .json(body);
        let answer = call.send().await.unwrap();
        let status = answer.status();
        let said: Value = answer.json().await.unwrap_or_default();
        assert!(status.is_success(), "{path}: {status} {said}");
        said
    }

    /// The operator's metrics as it serves them.
    pub async fn metrics(&self) -> String {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let served = http.get(format!("{}/metrics", self.operator.url())).send();
        served.await.unwrap().text().await.unwrap()
    }

    /// Writes of the operator's own ServiceAccount that the API server saw in this scene's namespace.
    pub fn audited_writes(&self) -> Vec<Entry> {
        let entries = audit::read(&self.cluster.audit_log()).unwrap();
        entries
            .into_iter()
            .filter(|e| e.is_write() && e.namespace == self.namespace)
            .filter(|e| e.by_service_account(NAMESPACE, SERVICE_ACCOUNT))
            .collect()
    }

    /// Waits until so much service time has passed.
    pub async fn pass(&self, service: Duration) {
        let until = Instant::now() + service / self.scale;
        let deadline = tokio::time::Instant::from_std(until);
        tokio::time::sleep_until(deadline).await;
    }
}

/// Our objects of one namespace, as the API server holds them.
pub struct Objects {
    pub client: Client,
    pub namespace: String,
}

impl Objects {
    fn api(&self, kind: &str) -> Api<DynamicObject> {
        let resource = match kind {
            "ResourceQuota" | "Secret" | "ConfigMap" | "Namespace" => {
                ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", kind))
            }
            "Lease" => {
                ApiResource::from_gvk(&GroupVersionKind::gvk("coordination.k8s.io", "v1", kind))
            }
            "ExternalSecret" => {
                ApiResource::from_gvk(&GroupVersionKind::gvk("external-secrets.io", "v1", kind))
            }
            "AppOfApps" => ApiResource::from_gvk_with_plural(
                &GroupVersionKind::gvk("appofapps.dev", "v1alpha1", kind),
                "appofapps",
            ),
            kind => {
                ApiResource::from_gvk(&GroupVersionKind::gvk("appofapps.dev", "v1alpha1", kind))
            }
        };
        if kind == "Namespace" {
            return Api::all_with(self.client.clone(), &resource);
        }
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    /// Applies one of our kinds in the scene's namespace.
    pub async fn put(&self, kind: &str, name: &str, spec: Value) {
        self.try_put(kind, name, spec).await.unwrap();
    }

    /// As [`Scene::put`]; the API server's refusal is the error.
    pub async fn try_put(&self, kind: &str, name: &str, spec: Value) -> Result<(), String> {
        let body = json!({
            "apiVersion": "appofapps.dev/v1alpha1", "kind": kind,
            "metadata": {"name": name, "namespace": self.namespace}, "spec": spec,
        });
        let params = PatchParams {
            field_validation: Some(kube::api::ValidationDirective::Strict),
            ..PatchParams::apply("test").force()
        };
        let put = self
            .api(kind)
            .patch(name, &params, &Patch::Apply(body))
            .await;
        put.map(drop).map_err(|error| error.to_string())
    }

    /// The object as JSON; `null` if there is none.
    pub async fn get(&self, kind: &str, name: &str) -> Value {
        let found = self.api(kind).get_opt(name).await.unwrap_or_default();
        found.map_or(Value::Null, |o| serde_json::to_value(o).unwrap())
    }

    /// Objects of a kind; none while the cluster does not have it.
    pub async fn list(&self, kind: &str) -> Vec<Value> {
        let list = match self.api(kind).list(&ListParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => return Vec::new(),
            list => list.unwrap(),
        };
        list.items
            .into_iter()
            .map(|o| serde_json::to_value(o).unwrap())
            .collect()
    }

    /// Names of the objects that are there and not on their way out, in order.
    pub async fn names(&self, kind: &str) -> Vec<String> {
        let objects = self.list(kind).await;
        let staying = objects
            .iter()
            .filter(|object| object["metadata"]["deletionTimestamp"].is_null());
        let mut names: Vec<String> = staying
            .map(|object| object["metadata"]["name"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    }

    pub async fn delete(&self, kind: &str, name: &str) {
        self.delete_as(kind, name, DeleteParams::default()).await;
    }

    /// Deletes with that propagation to dependents.
    pub async fn delete_as(&self, kind: &str, name: &str, params: DeleteParams) {
        let deleted = self.api(kind).delete(name, &params).await;
        match deleted {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => panic!("deleting {kind} {name}: {error}"),
        }
    }

    /// A merge patch, e.g. of annotations.
    pub async fn merge(&self, kind: &str, name: &str, patch: Value) {
        let patch = Patch::Merge(patch);
        self.api(kind)
            .patch(name, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    /// A merge patch of the status, as nobody but the operator should send it.
    pub async fn merge_status(&self, kind: &str, name: &str, patch: Value) {
        let patch = Patch::Merge(patch);
        self.api(kind)
            .patch_status(name, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    /// Status and reason of a condition, e.g. `True/Running`; empty if there is none of that type, or if the status
    /// speaks of an older generation.
    pub async fn condition(&self, kind: &str, name: &str, condition: &str) -> String {
        let object = self.get(kind, name).await;
        if object["status"]["observedGeneration"] != object["metadata"]["generation"] {
            return String::new();
        }
        let found = object["status"]["conditions"]
            .as_array()
            .and_then(|conditions| conditions.iter().find(|c| c["type"] == condition).cloned());
        found.map_or(String::new(), |c| {
            format!(
                "{}/{}",
                c["status"].as_str().unwrap(),
                c["reason"].as_str().unwrap()
            )
        })
    }

    /// The message of a condition.
    pub async fn message(&self, kind: &str, name: &str, condition: &str) -> String {
        let object = self.get(kind, name).await;
        let conditions = object["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let found = conditions.into_iter().find(|c| c["type"] == condition);
        found.map_or(String::new(), |c| c["message"].as_str().unwrap().to_owned())
    }
}

impl std::ops::Deref for Scene {
    type Target = Objects;

    fn deref(&self) -> &Objects {
        &self.objects
    }
}

/// Runs a command on `text` as standard input.
pub fn fed(command: &mut Command, text: &str) -> Output {
    let piped = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    child.wait_with_output().unwrap()
}

/// All that a command printed.
pub fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// As much of somebody else's definition as its objects need to be stored with a status; version `v1`.
pub fn definition(group: &str, kind: &str, plural: &str) -> String {
    let singular = kind.to_lowercase();
    format!(
        "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: {plural}.{group}}}
spec:
  group: {group}
  names: {{kind: {kind}, listKind: {kind}List, plural: {plural}, singular: {singular}}}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}
    subresources: {{status: {{}}}}
"
    )
}

/// The spec with that field.
pub fn with(mut spec: Value, field: &str, value: Value) -> Value {
    spec[field] = value;
    spec
}

/// A running app with grants, a deployment and everything that a spec usually holds.
pub fn running_app() -> Value {
    json!({
        "workspaceRef": {"name": "prod"},
        "description": "Sales",
        "lifecycle": {"state": "Running"},
        "source": {"workspace": {"path": "/Workspace/Shared/sales"}},
        "deployment": {"command": ["python", "app.py"], "env": [{"name": "LEVEL", "value": "info"}]},
        "permissions": {"grants": [{"principal": {"group": "users"}, "level": "CanUse"}]},
    })
}

/// An app that is there and does not run.
pub fn stopped_app() -> Value {
    json!({"workspaceRef": {"name": "prod"}, "lifecycle": {"state": "Stopped"}})
}

fn suffix() -> String {
    use std::hash::{BuildHasher, Hasher, RandomState};
    format!("{:016x}", RandomState::new().build_hasher().finish())
}
