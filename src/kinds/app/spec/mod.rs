//! The user's interface of DatabricksApp. Every doc comment here is user documentation.
use std::time::Duration;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fields::Setting;
pub use crate::api::management::RunState;
use crate::api::management::{Adopt, Deletion, Mode};
use crate::api::names::{SecretKeyRef, WorkspaceRef};
use crate::api::{annotation, duration};
use crate::worlds::artifact::ArtifactKind;

/// An enum of ours, and how the service writes each value; from the least to the most, where one is more than another.
macro_rules! enumeration {
    ($(#[$meta:meta])* $name:ident { $($variant:ident = $wire:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        pub enum $name { $($variant),+ }
        impl $name {
            /// Every value as the service writes it.
            pub const WIRE: &'static [&'static str] = &[$($wire),+];

            /// As the service writes it.
            pub fn wire(self) -> &'static str {
                match self { $(Self::$variant => $wire),+ }
            }

            /// What the service writes so, in any case; `None`: it is none of ours.
            pub fn from_wire(text: &str) -> Option<Self> {
                [$((Self::$variant, $wire)),+]
                    .into_iter()
                    .find(|(_, wire)| wire.eq_ignore_ascii_case(text))
                    .map(|(value, _)| value)
            }
        }
    };
}

mod resources;
mod status;

pub use resources::*;
pub use status::*;

/// Default of `deployment.deadline`.
const DEADLINE: Duration = Duration::from_secs(20 * 60);

/// One Databricks App: its settings, what runs in it, who may use it, what it may reach, and whether it should run.
///
/// A field left out is not managed: whatever the platform holds there stays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "appofapps.dev",
    version = "v1alpha1",
    kind = "DatabricksApp",
    shortname = "dbapp",
    category = "appofapps",
    namespaced,
    status = "DatabricksAppStatus",
    selectable = ".spec.workspaceRef.name",
    selectable = ".spec.lifecycle.state",
    printcolumn(name = "Workspace", type_ = "string", json_path = ".spec.workspaceRef.name"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.app.computeState"),
    printcolumn(name = "URL", type_ = "string", json_path = ".status.app.url"),
    printcolumn(name = "Drift", type_ = "date", json_path = ".status.drift.at"),
    printcolumn(name = "Deployment", type_ = "string", json_path = ".status.deployment.id", priority = 1),
    printcolumn(name = "Scopes", type_ = "string", json_path = ".status.effectiveScopes", priority = 1),
    printcolumn(name = "Size", type_ = "string", json_path = ".spec.compute.size", priority = 1),
    printcolumn(name = "Held", type_ = "string", json_path = ".status.conditions[?(@.type=='Suspended')].reason", priority = 1),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("!has(self.spec.resources) || !has(self.spec.deployment) || !has(self.spec.deployment.env) || self.spec.deployment.env.all(e, !has(e.valueFrom) || !has(e.valueFrom.resource) || self.spec.resources.exists(r, r.name == e.valueFrom.resource))")
        .message("deployment.env: valueFrom.resource names no entry of resources"),
    validation = Rule::new("!has(self.spec.usagePolicyID) || !has(self.spec.budgetPolicyID)")
        .message("usagePolicyID and budgetPolicyID are two generations of one setting: set one of them"),
    validation = Rule::new("has(self.spec.name) || self.metadata.name.matches('^[a-z][a-z0-9-]{1,29}$')")
        .message("metadata.name is no app name (2 to 30 of a-z, 0-9, -, starting with a letter): set spec.name")
)]
#[serde(rename_all = "camelCase")]
pub struct DatabricksAppSpec {
    /// The DatabricksWorkspace to work in.
    pub workspace_ref: WorkspaceRef,
    /// Name of the app in the workspace; part of its URL. Default: the object's own name. 2 to 30 of a-z, 0-9 and `-`,
    /// starting with a letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 30), regex(pattern = r"^[a-z][a-z0-9-]{1,29}$"))]
    pub name: Option<String>,
    /// Shown in the workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
    /// How large a machine the app runs on, and how many of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("has(self.minInstances) == has(self.maxInstances)").message("minInstances and maxInstances are set together: the service takes only both"))]
    #[x_kube(validation = Rule::new("!has(self.minInstances) || !has(self.maxInstances) || self.minInstances <= self.maxInstances").message("minInstances is larger than maxInstances"))]
    pub compute: Option<Compute>,
    /// Whether the app should run. Only a running app is billed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<Lifecycle>,
    /// Where the code comes from. None: settings only, somebody else deploys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("[has(self.workspace), has(self.git), has(self.configMapRef), has(self.artifactRef)].exists_one(x, x)").message("a source takes exactly one of workspace, git, configMapRef, artifactRef"))]
    pub source: Option<Source>,
    /// How the code is started. A change deploys anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<Deployment>,
    /// Who may use and who may manage the app. None: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Permissions>,
    /// What the app may do in the name of the user who has it open. None: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_authorization: Option<UserAuthorization>,
    /// What the app's own service principal may reach. None: not managed; `[]`: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub resources: Option<Vec<AppResource>>,
    /// Id of the usage policy that the app's cost is tagged by. Not together with `budgetPolicyID`, its older form.
    #[serde(
        rename = "usagePolicyID",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(length(min = 1, max = 64))]
    pub usage_policy_id: Option<String>,
    /// Id of the budget policy that the app's cost is tagged by.
    #[serde(
        rename = "budgetPolicyID",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(length(min = 1, max = 64))]
    pub budget_policy_id: Option<String>,
    /// Name of the app space that the app is created in; it shares the space's service principal and resources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub space: Option<String>,
    /// Tables of Unity Catalog that the app's logs, metrics and traces go to. None: not managed; `[]`: nowhere. An app that
    /// runs begins to send after a stop and a start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4))]
    pub telemetry: Option<Vec<Telemetry>>,
    /// What the operator takes over, what it may write, and what it leaves behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub management: Option<Management>,
    /// `true` holds the app as it is: nothing is written until it is false again. Deletion goes on. Default false.
    #[serde(default)]
    pub suspend: bool,
}

/// How large a machine the app runs on, and how many of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Compute {
    /// `Medium`, `Large` or `XLarge`. Default: not managed; the platform gives a new app `Medium`. A change restarts the compute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<ComputeSize>,
    /// Fewest machines. Set together with `maxInstances`; not every workspace allows it. Default: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub min_instances: Option<i32>,
    /// Most machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub max_instances: Option<i32>,
}

enumeration!(
    /// Size of an app's compute.
    ComputeSize { Medium = "MEDIUM", Large = "LARGE", XLarge = "XLARGE" });

/// Whether the app should run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Lifecycle {
    /// `Running`: started whenever it is found stopped. `Stopped`: stopped whenever it is found running. Default: created
    /// running if it has a source, later not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<RunState>,
}

/// Where the code comes from: exactly one of the four.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// A folder of the workspace. It is copied at each deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<WorkspaceSource>,
    /// A Git repository that the platform clones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<GitSource>,
    /// A ConfigMap of this namespace, for tiny apps: its keys are file names, its values their content. The operator uploads
    /// them; a changed file deploys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<ConfigMapRef>,
    /// The artifact of a Flux source of this namespace. The operator uploads its files; a new artifact deploys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_ref: Option<ArtifactRef>,
}

/// A Git repository that the platform clones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GitSource {
    /// URL of the repository without credentials, e.g. `https://github.com/acme/apps`.
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^https://[^@\s]+$"))]
    pub url: String,
    /// Who serves it.
    pub provider: GitProvider,
    /// Folder of the app in the repository. Default: its root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^[^/].*$"))]
    pub path: Option<String>,
    /// What to deploy: exactly one of branch, tag, commit. A branch that moves deploys with `autoDeploy`, or when it is
    /// asked for by the annotation `appofapps.dev/redeploy-requested-at`.
    #[serde(rename = "ref")]
    #[x_kube(validation = Rule::new("[has(self.branch), has(self.tag), has(self.commit)].exists_one(x, x)").message("a ref takes exactly one of branch, tag, commit"))]
    pub reference: GitRef,
    /// `true`: the platform deploys each push to the branch by itself. Default false.
    #[serde(default)]
    pub auto_deploy: bool,
    /// A token for a private repository, in a Secret of this namespace. It becomes a Git credential of the app's own service
    /// principal; a changed Secret is noticed within an interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_secret_ref: Option<SecretKeyRef>,
}

enumeration!(
    /// Who serves a Git repository.
    GitProvider { GitHub = "gitHub", GitHubEnterprise = "gitHubEnterprise", BitbucketCloud = "bitbucketCloud", BitbucketServer = "bitbucketServer", AzureDevOpsServices = "azureDevOpsServices", GitLab = "gitLab", GitLabEnterpriseEdition = "gitLabEnterpriseEdition", AwsCodeCommit = "awsCodeCommit" });

/// What of a repository to deploy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GitRef {
    /// Name of a branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub branch: Option<String>,
    /// Name of a tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub tag: Option<String>,
    /// Id of a commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 7, max = 64), regex(pattern = r"^[0-9a-f]+$"))]
    pub commit: Option<String>,
}

/// A ConfigMap of the object's own namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapRef {
    /// Name of the ConfigMap.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub name: String,
}

/// A Flux source of the object's own namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArtifactRef {
    /// Kind of the source, of `source.toolkit.fluxcd.io/v1`.
    pub kind: ArtifactKind,
    /// Name of the source.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Deploy just this artifact, e.g. `sha256:…`; another one is refused. Default: whichever the source has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 160), regex(pattern = r"^sha(256|384|512):[0-9a-f]+$"))]
    pub digest: Option<String>,
}

/// A folder of the workspace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceSource {
    /// Absolute path, e.g. `/Workspace/Shared/apps/sales`. A changed path deploys; changed files inside deploy with the
    /// annotation `appofapps.dev/redeploy-requested-at`.
    #[schemars(length(min = 2, max = 1024), regex(pattern = r"^/[^/].*$"))]
    pub path: String,
    /// `OnRequest` (default): a change of files inside the folder deploys only when it is asked for. `OnChange`: it deploys
    /// by itself, once the folder has come to rest; looked at each `permissionsInterval` of the workspace.
    #[serde(default)]
    pub redeploy: Redeploy,
}

/// When changed files inside a folder are deployed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Redeploy {
    #[default]
    OnRequest,
    OnChange,
}

/// How the code is started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Deployment {
    /// Command and arguments, without a shell, e.g. `[streamlit, run, app.py]`. Overrides `app.yaml`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(max = 1024)))]
    pub command: Option<Vec<String>>,
    /// Environment variables. Override `app.yaml`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub env: Option<Vec<EnvVar>>,
    /// `OnFailure`: an app that crashes with a new deployment gets the last one that ran, if its source is a Git commit or
    /// was uploaded by the operator; it is then Stalled (`RolledBack`) until the spec changes. Default `Never`.
    #[serde(default)]
    pub rollback: Rollback,
    /// How long a deployment may take, the start of the compute before it included, e.g. `20m`. Later the app is Stalled
    /// (`DeadlineExceeded`). Default 20m; 1m to 24h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m') && duration(self) <= duration('24h')").message("deadline is 1m to 24h"))]
    pub deadline: Option<String>,
}

/// Whether an app that crashes with a new deployment gets the last good one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Rollback {
    #[default]
    Never,
    OnFailure,
}

/// One environment variable: a value, or what a resource of the app stands for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.value) != has(self.valueFrom)").message("an env entry takes exactly one of value, valueFrom"))]
pub struct EnvVar {
    /// Name of the variable.
    #[schemars(
        length(min = 1, max = 256),
        regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$")
    )]
    pub name: String,
    /// Its value, readable by everyone who may read this object: never a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8192))]
    pub value: Option<String>,
    /// Where the value comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<EnvSource>,
}

/// Where an environment variable's value comes from: exactly one of resource, secretKeyRef.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.resource) != has(self.secretKeyRef)").message("valueFrom takes exactly one of resource, secretKeyRef"))]
pub struct EnvSource {
    /// Name of an entry of `spec.resources`; the platform puts in its id, path or secret value at each deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub resource: Option<String>,
    /// A key of a Secret of this namespace. Its value is sent with the deployment and never shown; a changed value is
    /// noticed within an interval and deploys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretKeyRef>,
}

/// Who may use and who may manage the app.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Permissions {
    /// `Authoritative` (default): direct grants that nobody listed here are removed; inherited ones stay. `Additive`: those
    /// listed are added or raised, nothing is removed. `Observe`: nothing is written; differences are shown.
    #[serde(default)]
    pub mode: PermissionsMode,
    /// The grants. The operator's own identity always keeps CAN_MANAGE.
    #[serde(default)]
    #[schemars(length(max = 100))]
    #[x_kube(validation = Rule::new("self.all(a, self.exists_one(b, b.principal == a.principal))").message("grants name the same principal twice: keep one entry"))]
    pub grants: Vec<Grant>,
}

/// What happens to grants that nobody declared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PermissionsMode {
    #[default]
    Authoritative,
    Additive,
    Observe,
}

/// One principal's level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// Who: exactly one of user, group, servicePrincipal.
    pub principal: Principal,
    /// `CanUse`: open the app. `CanManage`: also change and deploy it.
    pub level: Level,
}

/// A user, a group, or a service principal.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, KubeSchema,
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.user), has(self.group), has(self.servicePrincipal)].exists_one(x, x)").message("a principal takes exactly one of user, group, servicePrincipal"))]
pub struct Principal {
    /// E-mail address of a user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub user: Option<String>,
    /// Display name of a group; `users` stands for everyone in the workspace. `admins` manage every app anyway: to name them
    /// changes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub group: Option<String>,
    /// Application id of a service principal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub service_principal: Option<String>,
}

/// A level of access to an app.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum Level {
    CanUse,
    CanManage,
}

/// What the app may do in the name of its user.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserAuthorization {
    /// OAuth scopes, e.g. `sql`. None: not managed. `[]`: the platform's defaults only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 50), inner(length(min = 1, max = 128), regex(pattern = r"^\S+$")), extend("x-kubernetes-list-type" = "set"))]
    pub scopes: Option<Vec<String>>,
    /// Whether the app receives its user's access token. Default: not managed; the platform gives it to a new app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward_access_token: Option<bool>,
    /// `Auto` (default): an app that runs is stopped and started when these settings changed. `Never`: it says so in
    /// `ScopesSynced`, and somebody else restarts it.
    #[serde(default)]
    pub restart: Restart,
}

/// Whether the operator restarts an app for settings that need it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Restart {
    #[default]
    Auto,
    Never,
}

/// Tables that an app's telemetry goes to, each `catalog.schema.table`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Telemetry {
    /// Table of the logs.
    #[schemars(length(min = 5, max = 768))]
    pub logs_table: String,
    /// Table of the metrics.
    #[schemars(length(min = 5, max = 768))]
    pub metrics_table: String,
    /// Table of the traces.
    #[schemars(length(min = 5, max = 768))]
    pub traces_table: String,
}

/// What the operator takes over and what it leaves behind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Management {
    /// Whether the operator writes. Default `Manage`.
    #[serde(default)]
    pub mode: Mode,
    /// Whether an existing app of the same name may be taken over. Default `Never`.
    #[serde(default)]
    pub adopt: Adopt,
    /// What happens to the app when this object is deleted. Default `Delete`.
    #[serde(default)]
    pub deletion: Deletion,
    /// Settings that are set at creation and afterwards left as somebody else changes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "set"))]
    pub ignore_drift: Vec<Setting>,
}
impl DatabricksApp {
    /// Name of the app in the workspace.
    pub fn remote_name(&self) -> &str {
        match &self.spec.name {
            Some(name) => name,
            None => self.metadata.name.as_deref().unwrap_or_default(),
        }
    }

    /// How the operator treats the app, with the defaults filled in.
    pub fn management(&self) -> Management {
        self.spec.management.clone().unwrap_or_default()
    }

    /// The run state that the spec asks for, if any.
    pub fn specified_state(&self) -> Option<RunState> {
        self.spec.lifecycle.as_ref().and_then(|l| l.state)
    }

    /// The run state asked for, if any: by the annotation `run-state`, else by the spec.
    pub fn run_state(&self) -> Option<RunState> {
        self.overridden_state().or(self.specified_state())
    }

    /// What the annotation `run-state` asks for, where that differs from the spec.
    pub fn overridden_state(&self) -> Option<RunState> {
        let state = annotation::run_state(self.metadata.annotations.as_ref()?)?;
        (self.specified_state() != Some(state)).then_some(state)
    }

    /// How long a deployment may take, in service time.
    pub fn deadline(&self) -> Duration {
        let text = self
            .spec
            .deployment
            .as_ref()
            .and_then(|d| d.deadline.as_deref());
        let bounds = Duration::from_secs(60)..=Duration::from_secs(86_400);
        let given = text
            .and_then(duration::parse)
            .filter(|d| bounds.contains(d));
        given.unwrap_or(DEADLINE)
    }

    /// The variables asked for, if the spec says any.
    pub fn env(&self) -> Option<&Vec<EnvVar>> {
        self.spec.deployment.as_ref().and_then(|d| d.env.as_ref())
    }

    /// The workspace folder that is watched for changes, if any.
    pub fn watched_folder(&self) -> Option<&str> {
        let workspace = self.spec.source.as_ref()?.workspace.as_ref()?;
        (workspace.redeploy == Redeploy::OnChange).then_some(workspace.path.as_str())
    }
}
