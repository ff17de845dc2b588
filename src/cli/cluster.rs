//! The cluster that a command talks to. Commands that only look get a client that cannot write.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{Method, Request, Response};
use kube::client::Body;
use kube::client::retry::RetryPolicy;
use kube::{Client, Config};
use serde_json::{Value, json};
use tower::retry::RetryLayer;
use tower::{BoxError, Layer};

use crate::databricks::UserAgent;
use crate::election;
use crate::term::Term;

/// A request to the API server that takes longer is given up; watches have no such limit.
pub const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Why there is no connection to the cluster.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("finding the cluster: {0}; set KUBECONFIG, or run in a pod with a service account")]
    Infer(#[source] kube::config::InferConfigError),
    #[error("connecting to the cluster: {0}")]
    Client(#[source] kube::Error),
}

/// The cluster that KUBECONFIG or the pod's service account names.
pub async fn config() -> Result<Config, Error> {
    // reqwest and kube are built without a default provider.
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    Config::infer().await.map_err(Error::Infer)
}

/// `None`: without a read timeout, as watches need it.
pub fn client(config: &Config, read_timeout: Option<Duration>) -> Result<Client, Error> {
    let mut config = config.clone();
    config.read_timeout = read_timeout;
    Client::try_from(config).map_err(Error::Client)
}

/// A client that writes only while `term` is held. Each attempt asks anew, so it has its retries around that.
pub fn writing(config: &Config, term: Term) -> Result<Client, Error> {
    let mut config = config.clone();
    config.read_timeout = Some(READ_TIMEOUT);
    // What was let through is sent before another replica may lead.
    config.connect_timeout = Some(election::GRACE);
    config.default_retry = false;
    let namespace = config.default_namespace.clone();
    let client = Client::try_from(config).map_err(Error::Client)?;
    Ok(Client::new(
        RetryLayer::new(RetryPolicy::server_retry()).layer(gated(client, term)),
        namespace,
    ))
}

type Answered = Result<Response<Body>, BoxError>;

fn gated(
    client: Client,
    term: Term,
) -> impl tower::Service<
    Request<Body>,
    Response = Response<Body>,
    Error = BoxError,
    Future = impl Future<Output = Answered> + Send,
> + Clone
+ Send {
    tower::service_fn(move |request: Request<Body>| {
        let (client, term) = (client.clone(), term.clone());
        async move {
            if request.method() != Method::GET {
                term.check()?;
            }
            Ok(client.send(request).await?)
        }
    })
}

/// A client for the Lease: it asks for no term, and makes one attempt at a time.
pub fn electing(config: &Config) -> Result<Client, Error> {
    let mut config = config.clone();
    config.default_retry = false;
    Client::try_from(config).map_err(Error::Client)
}

/// How workspaces see who calls.
pub fn user_agent(instance: &str) -> UserAgent {
    UserAgent {
        product: env!("CARGO_PKG_NAME").into(),
        version: env!("CARGO_PKG_VERSION").into(),
        instance: instance.to_owned(),
    }
}

/// A client that reads and never writes, and for which the Secrets and ConfigMaps of `over` are as if they were applied.
pub fn read_only(client: &Client, over: &[Value]) -> Client {
    let over: Arc<HashMap<String, Value>> = Arc::new(over.iter().filter_map(overlaid).collect());
    let default_namespace = client.default_namespace().to_owned();
    let client = client.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, over) = (client.clone(), over.clone());
        async move {
            if request.method() != Method::GET {
                let message = "this command writes nothing to the cluster";
                return answer(405, &failure(405, "MethodNotAllowed", message));
            }
            match over.get(request.uri().path()) {
                Some(object) => answer(200, object),
                None => client.send(request).await,
            }
        }
    });
    Client::new(service, default_namespace)
}

/// Whether [`read_only`] makes anything of the object.
pub fn is_overlaid(object: &Value) -> bool {
    overlaid(object).is_some()
}

/// The path that an object is read at, and the object as the API server would store it.
fn overlaid(object: &Value) -> Option<(String, Value)> {
    let plural = match (object["apiVersion"].as_str()?, object["kind"].as_str()?) {
        ("v1", "Secret") => "secrets",
        ("v1", "ConfigMap") => "configmaps",
        _ => return None,
    };
    let metadata = &object["metadata"];
    let (namespace, name) = (metadata["namespace"].as_str()?, metadata["name"].as_str()?);
    let mut object = object.clone();
    if plural == "secrets" {
        for (key, text) in object["stringData"]
            .take()
            .as_object()
            .into_iter()
            .flatten()
        {
            object["data"][key] = json!(STANDARD.encode(text.as_str().unwrap_or_default()));
        }
    }
    Some((
        format!("/api/v1/namespaces/{namespace}/{plural}/{name}"),
        object,
    ))
}

fn failure(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": code})
}

fn answer(code: u16, body: &Value) -> Result<Response<Body>, kube::Error> {
    let bytes = serde_json::to_vec(body).map_err(kube::Error::SerdeError)?;
    Response::builder()
        .status(code)
        .body(Body::from(bytes))
        .map_err(kube::Error::HttpError)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Mutex;

    use k8s_openapi::api::core::v1::{ConfigMap, Secret};
    use kube::Api;
    use kube::api::{DeleteParams, Patch, PatchParams, PostParams};

    use super::*;

    /// A cluster that holds nothing, and the requests it got.
    fn empty() -> (Client, Arc<Mutex<Vec<String>>>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let line = format!("{} {}", request.method(), request.uri().path());
            log.lock().unwrap().push(line);
            async { answer(404, &failure(404, "NotFound", "not found")) }
        });
        (Client::new(service, "team"), asked)
    }

    #[tokio::test]
    async fn what_is_at_hand_is_read_as_if_it_were_applied_and_the_rest_from_the_cluster() {
        let (client, asked) = empty();
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "n"},
            "data": {"a": "YQ=="}, "stringData": {"b": "b"}});
        let client = read_only(&client, &[secret]);
        let secrets: Api<Secret> = Api::namespaced(client.clone(), "n");
        let data = secrets.get("s").await.unwrap().data.unwrap();
        assert_eq!((&data["a"].0[..], &data["b"].0[..]), (&b"a"[..], &b"b"[..]));
        assert!(asked.lock().unwrap().is_empty());
        let maps: Api<ConfigMap> = Api::namespaced(client, "n");
        assert!(maps.get_opt("s").await.unwrap().is_none());
        assert_eq!(
            *asked.lock().unwrap(),
            ["GET /api/v1/namespaces/n/configmaps/s"]
        );
    }

    #[tokio::test]
    async fn no_write_reaches_the_cluster() {
        let (client, asked) = empty();
        let api: Api<ConfigMap> = Api::namespaced(read_only(&client, &[]), "n");
        let patch = Patch::Merge(json!({}));
        assert!(
            api.create(&PostParams::default(), &ConfigMap::default())
                .await
                .is_err()
        );
        assert!(
            api.patch("m", &PatchParams::default(), &patch)
                .await
                .is_err()
        );
        assert!(
            api.patch_status("m", &PatchParams::default(), &patch)
                .await
                .is_err()
        );
        assert!(api.delete("m", &DeleteParams::default()).await.is_err());
        assert!(asked.lock().unwrap().is_empty());
    }
}
