//! Whether the API server serves the definitions that this operator needs: it does not begin on older ones, as what they
//! lack would be dropped or refused, and takes note of an upgrade of them by itself.
use std::time::Duration;

use http::Request;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use serde_json::Value;
use tracing::{info, warn};

use crate::admission::served::lacking;
use crate::api::{GROUP, VERSION};
use crate::serve::Readiness;

/// Wire time between two looks while they are too old.
const AGAIN: Duration = Duration::from_secs(3);
/// Runs wherever the program is; in a Pod of it, too.
const COMMAND: &str =
    "databricks-app-operator crds | kubectl apply --server-side --force-conflicts -f -";

/// What `/readyz` waits for.
pub const WHAT: &str = "definitions";

/// Returns once the served definitions lack nothing that is in `ours`; until then `readiness` says what they lack and which
/// command ends it.
pub async fn fits(client: &Client, ours: &[CustomResourceDefinition], readiness: &Readiness) {
    let mut said = String::new();
    loop {
        let problem = match served(client).await {
            Err(error) => unread(&error),
            Ok(document) => {
                let lacks = lacking(ours, document.as_ref());
                if lacks.is_empty() {
                    break;
                }
                format!(
                    "{}\nrun, with this operator's version ({}): {COMMAND}\n(in its Pod: kubectl exec POD -- databricks-app-operator crds | kubectl apply ...)",
                    lacks.join("\n"),
                    env!("CARGO_PKG_VERSION"),
                )
            }
        };
        if problem != said {
            warn!("not ready: {problem}");
            readiness.waits(WHAT, problem.clone());
            said = problem;
        }
        tokio::time::sleep(AGAIN).await;
    }
    if !said.is_empty() {
        info!("the served definitions are new enough now");
    }
    readiness.done(WHAT);
}

/// The OpenAPI document of our group and version, which every account may read; `None`: the API server serves neither.
async fn served(client: &Client) -> Result<Option<Value>, kube::Error> {
    let request = Request::get(format!("/openapi/v3/apis/{GROUP}/{VERSION}"))
        .body(Vec::new())
        .map_err(kube::Error::HttpError)?;
    match client.request::<Value>(request).await {
        Ok(document) => Ok(Some(document)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error),
    }
}

fn unread(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 403 => format!(
            "reading the served schema: {}; bind the ClusterRole system:discovery to the operator's ServiceAccount",
            status.message
        ),
        kube::Error::Api(status) => format!("reading the served schema: {}", status.message),
        other => format!("reading the served schema: {other}"),
    }
}
