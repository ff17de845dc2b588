//! Ring 2: an API server in memory, enough of one for single passes: GET, status apply, JSON patch, events. It can be told
//! to refuse. Passes run in this process against the fake workspace, and every request is at hand.
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use databricks_app_operator::api::names::ObjectName;
use databricks_app_operator::api::workspace::DatabricksWorkspace;
use databricks_app_operator::databricks::{HostPolicy, Timeouts, UserAgent};
use databricks_app_operator::engine::events::Events;
use databricks_app_operator::engine::index::{Change, Index, Key};
use databricks_app_operator::engine::managed::Managed;
use databricks_app_operator::engine::reconcile::Reconciler;
use databricks_app_operator::kinds::DatabricksApp;
use databricks_app_operator::kinds::app::Apps;
use databricks_app_operator::telemetry::{Clock, Metrics};
use databricks_app_operator::worlds::databricks::{Hub, HubSettings};
use databricks_sim::{Config, Simulator};
use http::{Method, Request, Response};
use kube::client::Body;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::{self, store::Writer};
use kube::runtime::watcher::Event;
use serde_json::{Value, json};

const TOKEN: &str = "dapi-in-process";
const SCALE: u32 = 600;

/// Objects by path, and what was asked.
#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    version: u64,
    requests: Vec<String>,
    /// Parts of a request (`PATCH /status`) and the code that it is refused with, as often as said.
    refusals: Vec<(String, u16, u32)>,
}

/// The API server.
#[derive(Clone, Default)]
pub struct ApiServer(Arc<Mutex<State>>);

impl ApiServer {
    fn client(&self) -> kube::Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect_bytes().await.unwrap();
                Ok::<_, std::convert::Infallible>(server.answer(
                    &parts.method,
                    parts.uri.path(),
                    &body,
                ))
            }
        });
        kube::Client::new(service, "default")
    }

    fn answer(&self, method: &Method, path: &str, body: &[u8]) -> Response<Body> {
        let mut state = self.0.lock().unwrap();
        state.requests.push(format!("{method} {path}"));
        let line = format!("{method} {path}");
        let refusal = state.refusals.iter_mut().find(|(parts, _, times)| {
            *times > 0 && parts.split(' ').all(|part| line.contains(part))
        });
        if let Some((_, code, times)) = refusal {
            *times -= 1;
            return status(*code, "told to refuse");
        }
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let (main, status_alone) = match path.strip_suffix("/status") {
            Some(main) => (main.to_owned(), true),
            None => (path.to_owned(), false),
        };
        if *method == Method::POST {
            return answer(201, &body);
        }
        let Some(mut object) = state.objects.get(&main).cloned() else {
            return status(404, "not found");
        };
        if *method == Method::PATCH && status_alone {
            let asked = &body["metadata"]["resourceVersion"];
            if !asked.is_null() && *asked != object["metadata"]["resourceVersion"] {
                return status(409, "the object has been modified");
            }
            object["status"] = body["status"].clone();
        } else if *method == Method::PATCH {
            // The API server's own patch library takes an absent member for null.
            if object["metadata"].get("finalizers").is_none() {
                object["metadata"]["finalizers"] = Value::Null;
            }
            let patch: json_patch::Patch = serde_json::from_value(body).unwrap();
            if json_patch::patch(&mut object, &patch).is_err() {
                return status(422, "the server rejected our request");
            }
        }
        if *method == Method::PATCH {
            state.version += 1;
            object["metadata"]["resourceVersion"] = json!(state.version.to_string());
            let going = object["metadata"]["deletionTimestamp"].is_string();
            let held = object["metadata"]["finalizers"]
                .as_array()
                .is_some_and(|f| !f.is_empty());
            if going && !held {
                state.objects.remove(&main);
            } else {
                state.objects.insert(main, object.clone());
            }
        }
        answer(200, &object)
    }
}

fn answer(code: u16, body: &Value) -> Response<Body> {
    let body = Body::from(serde_json::to_vec(body).unwrap());
    Response::builder().status(code).body(body).unwrap()
}

fn status(code: u16, message: &str) -> Response<Body> {
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": "Scripted", "code": code});
    answer(code, &body)
}

/// One app, passes over it, and the workspace it lives in.
pub struct Stage {
    pub sim: Simulator,
    pub server: ApiServer,
    reconciler: Reconciler<DatabricksApp>,
    hub: Arc<Hub>,
    index: Arc<Index>,
    apps: Writer<DeserializeGuard<DatabricksApp>>,
    path: String,
}

impl Stage {
    /// An app `sales` with that spec, seen by nobody yet.
    pub async fn set(spec: Value) -> Self {
        let config = Config {
            time_scale: SCALE,
            any_source: true,
            ..Config::default()
        };
        let sim = Simulator::start(config.with_pat(TOKEN, "operator@example.com"))
            .await
            .unwrap();
        let server = ApiServer::default();
        let path = "/apis/appofapps.dev/v1alpha1/namespaces/team/databricksapps/sales".to_owned();
        let meta = |name: &str| {
            json!({"name": name, "namespace": "team", "uid": name, "generation": 1, "resourceVersion": "1",
            "creationTimestamp": "2026-01-01T00:00:00Z"})
        };
        let app = json!({"apiVersion": "appofapps.dev/v1alpha1", "kind": "DatabricksApp", "metadata": meta("sales"),
            "spec": spec, "status": {"observedGeneration": -1}});
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": meta("prod"), "data": {"token": "ZGFwaS1pbi1wcm9jZXNz"}});
        let workspace = json!({"apiVersion": "appofapps.dev/v1alpha1", "kind": "DatabricksWorkspace", "metadata": meta("prod"),
            "spec": {"host": sim.url(), "auth": {"token": {"secretRef": {"name": "prod", "key": "token"}}},
                "limits": {"requestsPerSecond": 600, "burst": 600}}});
        {
            let mut state = server.0.lock().unwrap();
            state.version = 1;
            state.objects.insert(path.clone(), app);
            state
                .objects
                .insert("/api/v1/namespaces/team/secrets/prod".into(), secret);
        }
        let client = server.client();
        let (clock, metrics, index) = (
            Clock::new(SCALE),
            Metrics::new(),
            Arc::new(Index::default()),
        );
        let (workspaces, mut writer) = reflector::store();
        let workspace: DatabricksWorkspace = serde_json::from_value(workspace).unwrap();
        writer.apply_watcher_event(&Event::Apply(DeserializeGuard(Ok(workspace))));
        let (namespaces, _) = reflector::store();
        let (objects, apps) = reflector::store();
        let policy = HostPolicy {
            allowed: vec!["127.0.0.1".parse().unwrap()],
            allow_insecure: true,
        };
        let settings = HubSettings {
            host_policy: policy,
            user_agent: UserAgent {
                product: "test".into(),
                version: "0".into(),
                instance: "in-process".into(),
            },
            timeouts: Timeouts::default(),
            clock,
            metrics: metrics.clone(),
            term: databricks_app_operator::term::Term::always(),
            scope: Default::default(),
        };
        let hub = Arc::new(Hub::new(
            client.clone(),
            workspaces,
            namespaces,
            index.clone(),
            settings,
        ));
        let shared = Arc::new(Apps {
            hub: hub.clone(),
            objects,
            cluster: Arc::new(databricks_app_operator::kinds::app::Cluster::new(
                client.clone(),
                "operator".into(),
                Vec::new(),
            )),
        });
        let events = Events::new(client.clone(), "in-process", metrics.clone());
        let stage = Self {
            reconciler: Reconciler::new(client, shared, clock, metrics, events),
            sim,
            server,
            hub,
            index,
            apps,
            path,
        };
        // The workspace is known before the first pass, as it is once an operator runs.
        let connection = stage.connection().await;
        while connection.identity().is_none() {
            tokio::task::yield_now().await;
        }
        stage
    }

    async fn connection(&self) -> Arc<databricks_app_operator::worlds::databricks::Connection> {
        let reference = serde_json::from_value(json!({"name": "prod"})).unwrap();
        let wish = databricks_app_operator::engine::plan::Wish::Live;
        let opened = self.hub.open(&reference, "team", wish).await.unwrap();
        opened.connection
    }

    /// The app as the API server holds it; `None` once it is gone.
    pub fn app(&self) -> Option<Value> {
        self.server
            .0
            .lock()
            .unwrap()
            .objects
            .get(&self.path)
            .cloned()
    }

    /// Changes the app as a user would.
    pub fn edit(&self, change: impl FnOnce(&mut Value)) {
        let mut state = self.server.0.lock().unwrap();
        state.version += 1;
        let version = state.version.to_string();
        let app = state.objects.get_mut(&self.path).unwrap();
        change(app);
        app["metadata"]["resourceVersion"] = json!(version);
    }

    /// Refuses the next `times` requests whose line holds all of `parts` (`"PATCH /status"`).
    pub fn refuse(&self, parts: &str, code: u16, times: u32) {
        self.server
            .0
            .lock()
            .unwrap()
            .refusals
            .push((parts.into(), code, times));
    }

    /// Requests so far whose line holds all of `parts`.
    pub fn requests(&self, parts: &str) -> usize {
        let state = self.server.0.lock().unwrap();
        let matches = |line: &&String| parts.split(' ').all(|part| line.contains(part));
        state.requests.iter().filter(matches).count()
    }

    /// One pass over the app as it is now. `false` once it is gone.
    pub async fn pass(&mut self) -> bool {
        let Some(app) = self.app() else {
            return false;
        };
        let app: DatabricksApp = serde_json::from_value(app).unwrap();
        let key = Key::new(DatabricksApp::KIND, ObjectName::new("team", "sales"));
        self.index.saw(&key, app.refs(), Change::Spec);
        self.apps
            .apply_watcher_event(&Event::Apply(DeserializeGuard(Ok(app.clone()))));
        self.reconciler.pass(&app).await;
        true
    }

    /// Passes until `done`, within the [`DEADLINE`](super::DEADLINE) of scenes: others compute beside it.
    pub async fn pass_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let start = std::time::Instant::now();
        while !done(self) {
            assert!(
                start.elapsed() < super::DEADLINE,
                "not seen: {what}: {:#}",
                self.app().unwrap_or_default()
            );
            self.pass().await;
            tokio::task::yield_now().await;
        }
    }

    /// `Ready` as `status/reason`.
    pub fn ready(&self) -> String {
        let app = self.app().unwrap_or_default();
        let conditions = app["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let ready = conditions.iter().find(|c| c["type"] == "Ready");
        ready.map_or(String::new(), |c| {
            format!(
                "{}/{}",
                c["status"].as_str().unwrap(),
                c["reason"].as_str().unwrap()
            )
        })
    }

    /// A GET at the fake workspace.
    pub async fn remote(&self, path: &str) -> Value {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("{}{path}", self.sim.url());
        http.get(url)
            .bearer_auth(TOKEN)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap_or_default()
    }

    /// Writes that the workspace was asked for.
    pub async fn writes(&self) -> u64 {
        let said = self.remote("/sim/requests").await;
        let totals = said["totals"].as_array().unwrap();
        totals
            .iter()
            .filter(|t| t["method"] != "GET")
            .map(|t| t["count"].as_u64().unwrap())
            .sum()
    }
}
