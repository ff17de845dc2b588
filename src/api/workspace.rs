//! DatabricksWorkspace: a connection to one workspace, its identity, and who may use it.
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::names::{ConfigMapKeyRef, SecretKeyRef};
use super::status::Status;

/// A connection to one Databricks workspace: where it is, who the operator is there, and which namespaces may use it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "appofapps.dev",
    version = "v1alpha1",
    kind = "DatabricksWorkspace",
    shortname = "dbw",
    category = "appofapps",
    namespaced,
    status = "DatabricksWorkspaceStatus",
    printcolumn(name = "Host", type_ = "string", json_path = ".spec.host"),
    printcolumn(
        name = "Identity",
        type_ = "string",
        json_path = ".status.identity.userName"
    ),
    printcolumn(name = "Apps", type_ = "integer", json_path = ".status.apps.total"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DatabricksWorkspaceSpec {
    /// URL of the workspace, e.g. `https://adb-1234567890123456.7.azuredatabricks.net`. Immutable. Its host must pass the
    /// operator's `--allowed-hosts`.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^https?://([A-Za-z0-9.-]+|\\\\[[0-9A-Fa-f:]+\\\\])(:[0-9]{1,5})?/?$')").message("host is the URL of a workspace and nothing more, e.g. https://dbc-a1b2c3d4-e5f6.cloud.databricks.com: no path, query or user name"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("host is immutable: create another DatabricksWorkspace for another host"))]
    pub host: String,
    /// Id of the account; needed only on a host that serves a whole account. Tokens are asked for there.
    #[serde(rename = "accountID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[0-9A-Za-z-]+$"))]
    pub account_id: Option<String>,
    /// Numeric id of the workspace; needed only on a host that serves several. Sent as `X-Databricks-Workspace-Id`.
    #[serde(
        rename = "workspaceID",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^[0-9]+$"))]
    pub workspace_id: Option<String>,
    /// How the operator proves who it is: exactly one way.
    #[x_kube(validation = Rule::new("[has(self.oauth), has(self.token)].exists_one(x, x)").message("auth takes exactly one of oauth, token"))]
    pub auth: Auth,
    /// Extra trust for the host's certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Which namespaces' objects may use this connection. Default: only its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.from == 'Selector' ? has(self.selector) : !has(self.selector)").message("allowedNamespaces.selector goes with from: Selector, and only with it"))]
    pub allowed_namespaces: Option<AllowedNamespaces>,
    /// How fast the operator may call this workspace.
    #[serde(default)]
    pub limits: Limits,
    /// How often the operator looks.
    #[serde(default)]
    #[x_kube(validation = Rule::new("duration(self.interval) >= duration('10s') && duration(self.interval) <= duration('1h')").message("observe.interval is 10s to 1h"))]
    #[x_kube(validation = Rule::new("duration(self.permissionsInterval) >= duration('1m') && duration(self.permissionsInterval) <= duration('24h')").message("observe.permissionsInterval is 1m to 24h"))]
    pub observe: Observe,
    /// Nothing at all is written to the workspace while this is set and not over, deletions included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freeze: Option<Freeze>,
    /// `Report`: apps that no DatabricksApp of this cluster declares are listed in `status.unmanaged`. Default `Ignore`.
    #[serde(default)]
    pub unmanaged_apps: UnmanagedApps,
}

/// Why nothing is written, and until when.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Freeze {
    /// Shown on every object that it holds, e.g. `release week`.
    #[schemars(length(min = 1, max = 256))]
    pub reason: String,
    /// When it ends by itself, RFC 3339. Default: when this field is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), extend("format" = "date-time"))]
    pub until: Option<String>,
}

/// What is said of apps that nobody declared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UnmanagedApps {
    #[default]
    Ignore,
    Report,
}

/// Ways to prove the operator's identity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Auth {
    /// A service principal's OAuth client id and secret (machine to machine).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oauth: Option<OAuth>,
    /// A personal access token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Token>,
}

/// A service principal's OAuth credentials.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OAuth {
    /// Application id of the service principal.
    #[serde(rename = "clientID")]
    #[schemars(length(min = 1, max = 128))]
    pub client_id: String,
    /// Where its OAuth secret lies, in the Workspace's own namespace. A changed Secret is noticed within an interval.
    pub client_secret_ref: SecretKeyRef,
}

/// A personal access token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Token {
    /// Where the token lies, in the Workspace's own namespace. A changed Secret is noticed within an interval.
    pub secret_ref: SecretKeyRef,
}

/// Extra trust for the host's certificate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// A PEM bundle that is trusted beside the public authorities, in a ConfigMap of the Workspace's namespace.
    pub ca_bundle_config_map_ref: ConfigMapKeyRef,
}

/// Which namespaces may use a Workspace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AllowedNamespaces {
    /// `Same` (default): only the Workspace's own namespace. `All`: every namespace. `Selector`: those whose labels match.
    #[serde(default)]
    pub from: AllowedFrom,
    /// Labels of the namespaces admitted; only with `from: Selector`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// Which namespaces: the Workspace's own, all, or those a selector matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AllowedFrom {
    #[default]
    Same,
    All,
    Selector,
}

/// How fast the operator may call a workspace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    /// Requests a second, over all objects of the workspace. Default 10.
    #[schemars(range(min = 1, max = 1000))]
    pub requests_per_second: i32,
    /// Requests that may go out at once after a quiet time. Default 20.
    #[schemars(range(min = 1, max = 1000))]
    pub burst: i32,
    /// Most apps the workspace may hold before the operator refuses to create another one. No default: real quotas differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100000))]
    pub max_apps: Option<i32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests_per_second: 10,
            burst: 20,
            max_apps: None,
        }
    }
}

/// How often the operator looks. Jitter only lengthens, by at most a tenth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Observe {
    /// Time between two lists of all apps, e.g. `60s`. Default 60s; 10s to 1h.
    #[schemars(length(max = 16), regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub interval: String,
    /// Time between two looks at one app's permissions, e.g. `10m`. Default 10m; 1m to 24h.
    #[schemars(length(max = 16), regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub permissions_interval: String,
}

impl Default for Observe {
    fn default() -> Self {
        Self {
            interval: "60s".into(),
            permissions_interval: "10m".into(),
        }
    }
}

/// Status of a DatabricksWorkspace.
pub type DatabricksWorkspaceStatus = Status<WorkspaceMemory, WorkspaceDetails>;

/// What later passes need.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceMemory {
    /// The last `appofapps.dev/reconcile-requested-at` that was carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// The workspace's id as the service told it at the last successful connection. Objects of two DatabricksWorkspaces with
    /// the same id share the names of apps there.
    #[serde(
        rename = "workspaceID",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub workspace_id: Option<String>,
}

/// What is only shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceDetails {
    /// Who the operator is in this workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// Counts of the workspace's apps at the last look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apps: Option<AppCounts>,
    /// Cloud of the workspace, as its host tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud: Option<String>,
    /// Apps that no DatabricksApp of this cluster declares, by name, with `unmanagedApps: Report`; the first 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub unmanaged: Vec<UnmanagedApp>,
}

/// Who the operator is in a workspace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// E-mail address of a user, application id of a service principal.
    pub user_name: String,
    /// SCIM id.
    pub id: String,
}

/// Counts of a workspace's apps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppCounts {
    /// Apps in the workspace.
    pub total: i32,
    /// Apps among them that a DatabricksApp of this cluster declares.
    pub managed: i32,
    /// The others.
    #[serde(default)]
    pub unmanaged: i32,
    /// `limits.maxApps`, where set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<i32>,
}

/// An app that no DatabricksApp of this cluster declares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnmanagedApp {
    /// Name of the app.
    pub name: String,
    /// Who created it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub creator: String,
    /// State of its compute, as the service writes it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub state: String,
    /// When the operator first saw it undeclared, RFC 3339.
    #[schemars(length(max = 40))]
    pub since: String,
}
