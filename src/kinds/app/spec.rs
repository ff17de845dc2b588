//! The user's interface of DatabricksApp. Every doc comment here is user documentation.
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::management::{Adopt, Deletion};
use crate::api::names::WorkspaceRef;
use crate::api::status::Status;

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
    printcolumn(name = "Workspace", type_ = "string", json_path = ".spec.workspaceRef.name"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.app.computeState"),
    printcolumn(name = "URL", type_ = "string", json_path = ".status.app.url"),
    printcolumn(name = "Drift", type_ = "date", json_path = ".status.drift.at"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("has(self.spec.name) || self.metadata.name.matches('^[a-z][a-z0-9-]{1,29}$')")
        .message("metadata.name is no app name (2 to 30 of a-z, 0-9, -, starting with a letter): set spec.name")
)]
#[x_kube(validation = Rule::new("has(self.name) == has(oldSelf.name)").message("name is immutable: an app cannot be renamed; create another object and delete this one"))]
#[serde(rename_all = "camelCase")]
pub struct DatabricksAppSpec {
    /// The DatabricksWorkspace to work in. Immutable.
    #[x_kube(validation = Rule::new("self == oldSelf").message("workspaceRef is immutable: create another object in the other workspace and delete this one"))]
    pub workspace_ref: WorkspaceRef,
    /// Name of the app in the workspace; part of its URL. Default: the object's own name. 2 to 30 of a-z, 0-9 and `-`,
    /// starting with a letter. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 30), regex(pattern = r"^[a-z][a-z0-9-]{1,29}$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("name is immutable: an app cannot be renamed; create another object and delete this one"))]
    pub name: Option<String>,
    /// Shown in the workspace. A change takes effect at once, without a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
    /// How large a machine the app runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compute: Option<Compute>,
    /// Whether the app should run. Only a running app is billed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<Lifecycle>,
    /// Where the code comes from. None: settings only, somebody else deploys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
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
    /// What the operator takes over and what it leaves behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub management: Option<Management>,
    /// `true` holds the app as it is: nothing is written until it is false again. Deletion goes on. Default false.
    #[serde(default)]
    pub suspend: bool,
}

/// How large a machine the app runs on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Compute {
    /// `Medium`, `Large` or `XLarge`. Default: not managed; the platform gives a new app `Medium`. A change restarts the compute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<ComputeSize>,
}

/// Size of an app's compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ComputeSize {
    Medium,
    Large,
    XLarge,
}

/// Whether the app should run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Lifecycle {
    /// `Running`: started whenever it is found stopped. `Stopped`: stopped whenever it is found running. Default: created
    /// running if it has a source, later not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<RunState>,
}

/// Whether an app runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RunState {
    Running,
    Stopped,
}

/// Where the code comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// A folder of the workspace. It is copied at each deployment.
    pub workspace: WorkspaceSource,
}

/// A folder of the workspace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceSource {
    /// Absolute path, e.g. `/Workspace/Shared/apps/sales`. A changed path deploys; changed files inside deploy with the
    /// annotation `appofapps.dev/redeploy-requested-at`.
    #[schemars(length(min = 2, max = 1024), regex(pattern = r"^/[^/].*$"))]
    pub path: String,
    /// `OnRequest` (default): a change of files inside the folder deploys only when it is asked for.
    #[serde(default)]
    pub redeploy: Redeploy,
}

/// When changed files inside a folder are deployed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Redeploy {
    #[default]
    OnRequest,
}

/// How the code is started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
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

/// Where an environment variable's value comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnvSource {
    /// Name of an entry of `spec.resources`; the platform puts in its id, path or secret value at each deployment.
    #[schemars(length(min = 1, max = 128))]
    pub resource: String,
}

/// Who may use and who may manage the app.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Permissions {
    /// `Authoritative` (default): direct grants that nobody listed here are removed; inherited ones stay.
    #[serde(default)]
    pub mode: PermissionsMode,
    /// The grants. The operator's own identity always keeps CAN_MANAGE.
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub grants: Vec<Grant>,
}

/// What happens to grants that nobody declared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PermissionsMode {
    #[default]
    Authoritative,
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
    Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, KubeSchema,
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.user), has(self.group), has(self.servicePrincipal)].exists_one(x, x)").message("a principal takes exactly one of user, group, servicePrincipal"))]
pub struct Principal {
    /// E-mail address of a user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub user: Option<String>,
    /// Display name of a group; `users` stands for everyone in the workspace.
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
    /// OAuth scopes, e.g. `sql`. None: not managed. `[]`: the platform's defaults only. A change takes effect after a stop
    /// and a start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 50), inner(length(max = 128)))]
    pub scopes: Option<Vec<String>>,
}

macro_rules! enumeration {
    ($(#[$meta:meta])* $name:ident { $($variant:ident = $wire:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        pub enum $name { $($variant),+ }
        impl $name {
            /// As the service writes it.
            pub fn wire(self) -> &'static str {
                match self { $(Self::$variant => $wire),+ }
            }
        }
    };
}

/// What the app's own service principal may reach: a name, and exactly one of the ten kinds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.app), has(self.database), has(self.postgres), has(self.experiment), has(self.genieSpace), has(self.job), has(self.secret), has(self.servingEndpoint), has(self.sqlWarehouse), has(self.ucSecurable)].exists_one(x, x)").message("a resource takes exactly one of app, database, postgres, experiment, genieSpace, job, secret, servingEndpoint, sqlWarehouse, ucSecurable"))]
pub struct AppResource {
    /// The key that `env[].valueFrom.resource` names.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub description: Option<String>,
    /// Another app of the workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<OtherApp>,
    /// A database of a provisioned Lakebase instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<Database>,
    /// A branch of an autoscaling Lakebase project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<Postgres>,
    /// An MLflow experiment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experiment: Option<Experiment>,
    /// A Genie space.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub genie_space: Option<GenieSpace>,
    /// A job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Job>,
    /// A key of a secret scope. The grant is on the whole scope: the app can read every key in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// A model serving endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serving_endpoint: Option<ServingEndpoint>,
    /// A SQL warehouse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql_warehouse: Option<SqlWarehouse>,
    /// A table, volume, function or connection of Unity Catalog.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uc_securable: Option<UcSecurable>,
}

macro_rules! resource {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident : $type:ty),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase")]
        pub struct $name { $($(#[$field_meta])* pub $field: $type),+ }
    };
}

enumeration!(
    /// `CanUse`.
    UsePermission { CanUse = "CAN_USE" });
enumeration!(
    /// `CanConnectAndCreate`.
    ConnectPermission { CanConnectAndCreate = "CAN_CONNECT_AND_CREATE" });
enumeration!(
    /// `CanRead`, `CanEdit` or `CanManage`.
    ExperimentPermission { CanRead = "CAN_READ", CanEdit = "CAN_EDIT", CanManage = "CAN_MANAGE" });
enumeration!(
    /// `CanView`, `CanRun`, `CanEdit` or `CanManage`.
    GeniePermission { CanView = "CAN_VIEW", CanRun = "CAN_RUN", CanEdit = "CAN_EDIT", CanManage = "CAN_MANAGE" });
enumeration!(
    /// `CanView`, `CanManageRun`, `CanManage` or `IsOwner`.
    JobPermission { CanView = "CAN_VIEW", CanManageRun = "CAN_MANAGE_RUN", CanManage = "CAN_MANAGE", IsOwner = "IS_OWNER" });
enumeration!(
    /// `Read`, `Write` or `Manage`.
    SecretPermission { Read = "READ", Write = "WRITE", Manage = "MANAGE" });
enumeration!(
    /// `CanView`, `CanQuery` or `CanManage`.
    EndpointPermission { CanView = "CAN_VIEW", CanQuery = "CAN_QUERY", CanManage = "CAN_MANAGE" });
enumeration!(
    /// `CanUse`, `CanManage` or `IsOwner`.
    WarehousePermission { CanUse = "CAN_USE", CanManage = "CAN_MANAGE", IsOwner = "IS_OWNER" });
enumeration!(
    /// `Table`, `Volume`, `Function` or `Connection`.
    SecurableType { Table = "TABLE", Volume = "VOLUME", Function = "FUNCTION", Connection = "CONNECTION" });
enumeration!(
    /// `Select` and `Modify` go with tables, `ReadVolume` and `WriteVolume` with volumes, `Execute` with functions,
    /// `UseConnection` with connections.
    SecurablePermission { Select = "SELECT", Modify = "MODIFY", ReadVolume = "READ_VOLUME", WriteVolume = "WRITE_VOLUME", Execute = "EXECUTE", UseConnection = "USE_CONNECTION" });

resource!(
/// Another app of the workspace.
OtherApp {
    /// Name of the other app.
    #[schemars(length(min = 1, max = 30))]
    name: String,
    /// `CanUse`.
    permission: UsePermission,
});
resource!(
/// A database of a provisioned Lakebase instance.
Database {
    /// Name of the instance.
    #[schemars(length(min = 1, max = 128))]
    instance_name: String,
    /// Name of the database in it.
    #[schemars(length(min = 1, max = 128))]
    database_name: String,
    /// `CanConnectAndCreate`.
    permission: ConnectPermission,
});
resource!(
/// A branch of an autoscaling Lakebase project.
Postgres {
    /// `projects/<project>/branches/<branch>`.
    #[schemars(length(min = 1, max = 512))]
    branch: String,
    /// `…/databases/<database>`; none: the branch's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    database: Option<String>,
    /// `CanConnectAndCreate`.
    permission: ConnectPermission,
});
resource!(
/// An MLflow experiment.
Experiment {
    /// Id of the experiment.
    #[serde(rename = "experimentID")]
    #[schemars(length(min = 1, max = 64))]
    experiment_id: String,
    /// What the app may do with it.
    permission: ExperimentPermission,
});
resource!(
/// A Genie space.
GenieSpace {
    /// Name of the space.
    #[schemars(length(min = 1, max = 256))]
    name: String,
    /// Id of the space.
    #[serde(rename = "spaceID")]
    #[schemars(length(min = 1, max = 64))]
    space_id: String,
    /// What the app may do with it.
    permission: GeniePermission,
});
resource!(
/// A job.
Job {
    /// Id of the job.
    #[schemars(length(min = 1, max = 64))]
    id: String,
    /// What the app may do with it.
    permission: JobPermission,
});
resource!(
/// A key of a secret scope.
Secret {
    /// Name of the scope.
    #[schemars(length(min = 1, max = 128))]
    scope: String,
    /// Key in the scope.
    #[schemars(length(min = 1, max = 128))]
    key: String,
    /// What the app may do with the scope.
    permission: SecretPermission,
});
resource!(
/// A model serving endpoint.
ServingEndpoint {
    /// Name of the endpoint.
    #[schemars(length(min = 1, max = 128))]
    name: String,
    /// What the app may do with it.
    permission: EndpointPermission,
});
resource!(
/// A SQL warehouse.
SqlWarehouse {
    /// Id of the warehouse.
    #[schemars(length(min = 1, max = 64))]
    id: String,
    /// What the app may do with it.
    permission: WarehousePermission,
});
resource!(
/// A securable of Unity Catalog.
UcSecurable {
    /// `catalog.schema.name`, or a connection's name. Compared without regard to case.
    #[schemars(length(min = 1, max = 768))]
    full_name: String,
    /// What kind of securable it is.
    #[serde(rename = "type")]
    securable_type: SecurableType,
    /// What the app may do with it.
    permission: SecurablePermission,
});

/// What the operator takes over and what it leaves behind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Management {
    /// Whether an existing app of the same name may be taken over. Default `Never`.
    #[serde(default)]
    pub adopt: Adopt,
    /// What happens to the app when this object is deleted. Default `Delete`.
    #[serde(default)]
    pub deletion: Deletion,
}

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
    /// The last `appofapps.dev/reconcile-requested-at` that was carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// The last `appofapps.dev/redeploy-requested-at` that was carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_redeploy_at: Option<String>,
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
    /// Application id of the app's own service principal.
    #[serde(
        rename = "servicePrincipalClientID",
        default,
        skip_serializing_if = "String::is_empty"
    )]
    pub service_principal_client_id: String,
    /// Digest of the scopes with which the compute last became active; another one asks for a restart.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub activated: String,
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
    /// When the call was about to be made, RFC 3339.
    #[schemars(length(max = 40))]
    pub since: String,
}

/// A call that is recorded before it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum InFlightStep {
    Create,
    Deploy,
    Start,
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
    /// Scopes that the app really has: those asked for and the platform's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub effective_scopes: Vec<String>,
    /// The last change by somebody else that was put right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<Drift>,
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

    /// The run state asked for, if any.
    pub fn run_state(&self) -> Option<RunState> {
        self.spec.lifecycle.as_ref().and_then(|l| l.state)
    }
}
