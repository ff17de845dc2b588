//! A running workspace and a client that speaks to it.
use std::time::{Duration, Instant};

use databricks_sim::{Config, Simulator};
use reqwest::{Client, Method};
use serde_json::{Value, json};

pub const TOKEN: &str = "dapi-ann";
pub const ANN: &str = "ann@example.com";
pub const CLIENT_ID: &str = "11111111-2222-4333-8444-555555555555";
pub const CLIENT_SECRET: &str = "dose-secret";
pub const SOURCE: &str = "/Workspace/Users/ann@example.com/demo";

pub struct Service {
    sim: Simulator,
    pub http: Client,
    pub token: String,
    /// Service and test alike write the seed here.
    _folder: tempfile::TempDir,
}

/// An answer with its body as JSON, `null` if it is none.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
    pub body: Value,
}

impl Answer {
    /// The body of an answer that must be 200.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text);
        self.body
    }

    /// Status, code and message of a refusal.
    #[track_caller]
    pub fn refusal(&self) -> (u16, &str, &str) {
        assert!(self.status >= 400, "{} {}", self.status, self.text);
        (
            self.status,
            self.body["error_code"].as_str().unwrap_or_default(),
            self.body["message"].as_str().unwrap_or_default(),
        )
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

impl Service {
    /// With one user's token, one OAuth client, and a seed in YAML.
    pub async fn seeded(seed: &str) -> Self {
        Self::with(seed, |_| {}).await
    }

    pub async fn start() -> Self {
        Self::seeded("").await
    }

    pub async fn with(seed: &str, change: impl FnOnce(&mut Config)) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seed.yaml");
        std::fs::write(&path, if seed.is_empty() { "{}" } else { seed }).unwrap();
        let mut config = Config {
            oauth_clients: vec![(CLIENT_ID.into(), CLIENT_SECRET.into())],
            seed: Some(path),
            ..Config::default()
        }
        .with_pat(TOKEN, ANN);
        change(&mut config);
        Self {
            sim: Simulator::start(config).await.unwrap(),
            http: Client::builder()
                .no_proxy()
                .timeout(Duration::from_secs(20))
                .build()
                .unwrap(),
            token: TOKEN.into(),
            _folder: folder,
        }
    }

    pub fn url(&self) -> String {
        self.sim.url()
    }

    pub async fn stop(self) {
        self.sim.stop().await;
    }

    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        self.http
            .request(method, format!("{}{path}", self.url()))
            .bearer_auth(&self.token)
    }

    pub async fn try_call(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> Result<Answer, reqwest::Error> {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(&body);
        }
        read(request.send().await?).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.try_call("GET", path, None).await.unwrap()
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.try_call("POST", path, Some(body)).await.unwrap()
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.try_call("PUT", path, Some(body)).await.unwrap()
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.try_call("PATCH", path, Some(body)).await.unwrap()
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.try_call("DELETE", path, None).await.unwrap()
    }

    pub async fn fault(&self, fault: Value) {
        self.post("/sim/faults", fault).await.ok();
    }

    pub async fn advance(&self, by: &str) {
        self.post("/sim/clock", json!({"advance": by})).await.ok();
    }

    pub async fn app(&self, name: &str) -> Value {
        self.get(&format!("/api/2.0/apps/{name}")).await.ok()
    }

    pub async fn compute(&self, name: &str) -> String {
        text(&self.app(name).await["compute_status"]["state"])
    }

    /// An app whose compute is ACTIVE and on which nothing was deployed.
    pub async fn active_app(&self, name: &str) -> Value {
        self.post("/api/2.0/apps", json!({"name": name})).await.ok();
        self.advance("4m").await;
        self.app(name).await
    }

    pub async fn stopped_app(&self, name: &str) -> Value {
        self.post("/api/2.0/apps?no_compute=true", json!({"name": name}))
            .await
            .ok()
    }

    /// Uploads a source and deploys it until it runs.
    pub async fn running_app(&self, name: &str) -> Value {
        self.active_app(name).await;
        self.upload(SOURCE).await;
        self.deploy(name).await.ok();
        self.advance("2m").await;
        self.app(name).await
    }

    pub async fn upload(&self, directory: &str) {
        self.post("/api/2.0/workspace/mkdirs", json!({"path": directory}))
            .await
            .ok();
        let file = format!("/api/2.0/workspace-files/import-file{directory}/app.py?overwrite=true");
        let answer = self
            .request("POST", &file)
            .body("print(1)")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
    }

    pub async fn deploy(&self, name: &str) -> Answer {
        self.post(
            &format!("/api/2.0/apps/{name}/deployments"),
            json!({"source_code_path": SOURCE, "mode": "SNAPSHOT"}),
        )
        .await
    }

    pub async fn update(&self, name: &str, mask: &str, mut app: Value) -> Answer {
        app["name"] = name.into();
        self.post(
            &format!("/api/2.0/apps/{name}/update"),
            json!({"app": app, "update_mask": mask}),
        )
        .await
    }

    /// The newest request whose route is this one.
    pub async fn last_request(&self, route: &str) -> Value {
        let shown = self.get("/sim/requests").await.ok();
        let recent = shown["recent"].as_array().unwrap();
        recent
            .iter()
            .rev()
            .find(|entry| entry["route"] == route)
            .cloned()
            .unwrap_or_default()
    }

    /// Waits until the newest request to a route is in a state.
    pub async fn until_request_is(&self, route: &str, state: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let last = self.last_request(route).await;
            if last["state"] == state {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{route} never became {state}: {last}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

pub async fn read(answer: reqwest::Response) -> Result<Answer, reqwest::Error> {
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let text = answer.text().await?;
    Ok(Answer {
        status,
        headers,
        body: serde_json::from_str(&text).unwrap_or_default(),
        text,
    })
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The strings at `field` of every object in a list.
pub fn column(list: &Value, field: &str) -> Vec<String> {
    list.as_array()
        .map(|items| items.iter().map(|item| text(&item[field])).collect())
        .unwrap_or_default()
}
