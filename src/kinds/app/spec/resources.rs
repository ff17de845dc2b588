//! What an app's own service principal may reach: the ten kinds of resources. Every doc comment here is user documentation.
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the app's own service principal may reach: a name, and exactly one of the ten kinds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
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
    /// Id of the job, a number.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[0-9]+$"))]
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
