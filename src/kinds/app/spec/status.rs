//! What is remembered and shown of a DatabricksApp. Every doc comment here is user documentation.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RunState;
use crate::api::status::Status;

/// Status of a DatabricksApp.
pub type DatabricksAppStatus = Status<AppMemory, AppDetails>;

/// What later passes need. Never holds a ticking time or a secret.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppMemory {
    /// The remote app as it was last seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<RecordedApp>,
    /// The last deployment known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<RecordedDeployment>,
    /// A call that was about to be made, or whose outcome is not known yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<InFlight>,
    /// The last change of settings, until its outcome was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<UpdateAttempt>,
    /// When the code that the spec asks for was first not the one that runs, RFC 3339; gone once it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40))]
    pub pending_since: Option<String>,
    /// The run state asked for when the app was last looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_state: Option<RunState>,
    /// Code that was given up for the one that ran before, until the spec changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<RolledBack>,
    /// What is known of the content of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<RecordedSource>,
    /// Digests of Secret values in use; never a value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 101))]
    pub secrets: Vec<RecordedSecret>,
    /// The last `appofapps.dev/reconcile-requested-at` that was carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// The last `appofapps.dev/redeploy-requested-at` that was carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_redeploy_at: Option<String>,
    /// The last `appofapps.dev/restart-requested-at` that was carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_restart_at: Option<String>,
}

/// The remote app as it was last seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordedApp {
    /// Stable only for the life of this app; an app of another id under our name is never written.
    pub id: String,
    /// Where the app answers.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// State of its compute, as the service writes it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub compute_state: String,
    /// State of its process, as the service writes it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub app_state: String,
    /// Who created it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub creator: String,
    /// The identity that the app acts with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_principal: Option<RecordedPrincipal>,
    /// Digest of the settings that take effect only after a stop and a start, as they were when the compute last became
    /// active; another one asks for a restart.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub activated: String,
}

/// The identity that an app acts with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordedPrincipal {
    /// SCIM id.
    pub id: i64,
    /// Application id, as grants name it.
    #[serde(rename = "clientID")]
    pub client_id: String,
    /// Its name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
}

/// Code that was given up for the one that ran before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolledBack {
    /// Digest of the inputs that crashed; nothing is deployed while the spec asks for them.
    pub rejected: String,
    /// The service's words about the crash.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// What is known of the content of the source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordedSource {
    /// Digest of the listing of a watched folder.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub listing: String,
    /// Digest of the content at that listing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub content: String,
    /// Contents that the operator uploaded and that are still there, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub uploads: Vec<String>,
    /// Id of the Git credential of the app's service principal.
    #[serde(
        rename = "credentialID",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub credential_id: Option<i64>,
    /// Digest of the Secret value that the credential was made of.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub credential: String,
}

/// A Secret value in use, by a digest that only the operator's own key can make.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordedSecret {
    /// Name and key of the Secret, `name/key`.
    pub name: String,
    /// How the digest is made.
    pub v: i32,
    /// Which key of the operator's the digest was made with.
    #[serde(rename = "keyID")]
    pub key_id: String,
    /// Version of the Secret when it was read.
    pub resource_version: String,
    /// Keyed digest of the value.
    pub digest: String,
    /// Keyed digest at the value's last change: stays while another key makes another digest of the same value.
    pub revision: String,
}

/// The last deployment known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordedDeployment {
    /// Id of the deployment.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Its state, as the service writes it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub state: String,
    /// The service's words, if it failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Digest of the inputs that it was made with.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// Digest of the inputs that the spec asks for now.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub desired_digest: String,
    /// The commit that runs, if the source is Git.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub resolved_commit: String,
    /// When it was first seen, RFC 3339.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 40))]
    pub since: String,
    /// The last deployment that was seen running for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_good: Option<GoodDeployment>,
}

/// A deployment that was seen running for a while.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GoodDeployment {
    /// Id of the deployment.
    pub id: String,
    /// Digest of its inputs.
    pub digest: String,
    /// The commit it was made of, if the source is Git.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub commit: String,
    /// Folder of the app in the repository, if the source is Git.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Digest of the content that the operator uploaded for it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub upload: String,
}

/// A call that was about to be made, or whose outcome is not known yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InFlight {
    /// Which call.
    pub step: InFlightStep,
    /// Digest of the deployment's inputs.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// The newest deployment before the call; a newer one with the same inputs is the call's.
    #[serde(
        rename = "lastDeploymentID",
        default,
        skip_serializing_if = "String::is_empty"
    )]
    pub last_deployment_id: String,
    /// The inputs that crashed, if the call puts the code back that ran before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<String>,
    /// When the call was about to be made, RFC 3339.
    #[schemars(length(max = 40))]
    pub since: String,
}

/// A call that is recorded before it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum InFlightStep {
    Create,
    Deploy,
    /// Started; the platform's own deployment is awaited.
    Start,
    /// Stopped to be started again.
    Restart,
}

/// A change of settings whose outcome counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateAttempt {
    /// Digest of the fields and values sent.
    pub digest: String,
}

/// What is only shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppDetails {
    /// Scopes that the service shows as asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub requested_scopes: Vec<String>,
    /// Scopes that the app really has: those asked for and the platform's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub effective_scopes: Vec<String>,
    /// The last change by somebody else that was put right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<Drift>,
    /// Modes Plan and Observe: what would be written, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub pending_changes: Vec<PendingChange>,
}

/// What would be written to one field. Values of variables are never shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PendingChange {
    /// Which write: `create`, `update`, `grant`, `start`, `stop`, `deploy`, …
    pub step: String,
    /// The field, as in the spec; empty for the app as a whole.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
    /// As it is, cut in the middle if it is long.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// As it would be.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub to: String,
}

/// A change by somebody else that was put right.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Drift {
    /// When it was put right, RFC 3339.
    #[schemars(length(max = 40))]
    pub at: String,
    /// Names of the fields.
    #[schemars(length(max = 16))]
    pub fields: Vec<String>,
}
