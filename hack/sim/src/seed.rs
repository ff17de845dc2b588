//! What a workspace knows from the start, in YAML. Unknown keys are refused by name.
use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::workspace::directory::Kind;
use crate::workspace::{Workspace, numeric_id, objects};

/// The format, as `--help` shows it.
pub const GUIDE: &str = include_str!("seed.txt");

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Seed {
    pub workspace: Ids,
    users: Vec<Named<Person>>,
    groups: Vec<Named<Group>>,
    service_principals: Vec<Named<ServicePrincipal>>,
    warehouses: Vec<Named<Settings>>,
    jobs: Vec<Job>,
    secret_scopes: Vec<Scope>,
    experiments: Vec<Named<Settings>>,
    serving_endpoints: Vec<String>,
    genie_spaces: Vec<Named<Settings>>,
    databases: Vec<String>,
    postgres_branches: Vec<String>,
    uc_securables: Vec<Securable>,
    directories: Vec<String>,
    files: BTreeMap<String, String>,
    apps: Vec<Map<String, Value>>,
    federation_policies: Vec<Policy>,
    /// Scopes that users can grant to apps, besides those that the service is known to have.
    pub user_api_scopes: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ids {
    pub id: Option<u64>,
    pub account_id: Option<String>,
}

/// Either the name alone or an object with more.
#[derive(Clone, Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a name, or an object with the keys that the guide lists"
)]
enum Named<T> {
    Name(String),
    Full(T),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Person {
    user_name: String,
    display_name: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: String,
    #[serde(default)]
    members: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServicePrincipal {
    application_id: String,
    display_name: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    id: String,
    name: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "expected the number of a job, or an object with id and name"
)]
enum Job {
    Id(i64),
    Full(FullJob),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FullJob {
    id: i64,
    name: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scope {
    name: String,
    #[serde(default)]
    secrets: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Securable {
    #[serde(rename = "type")]
    securable_type: String,
    name: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Policy {
    /// Its application id; an account-wide policy without.
    service_principal: Option<String>,
    oidc_policy: Map<String, Value>,
}

#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    #[error("read the seed {path}")]
    Read {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("understand the seed {path}")]
    Format {
        path: String,
        #[source]
        source: Box<serde_saphyr::Error>,
    },
    #[error("create app {name} of the seed: {message}")]
    App { name: String, message: String },
}

impl Seed {
    pub fn read(path: &Path) -> Result<Self, SeedError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| SeedError::Read {
            path: shown.clone(),
            source,
        })?;
        serde_saphyr::from_str(&text).map_err(|source| SeedError::Format {
            path: shown.clone(),
            source: Box::new(source),
        })
    }

    /// Puts everything into the workspace. Members of groups come last, as they may be of any kind.
    pub fn sow(&self, workspace: &mut Workspace) -> Result<(), SeedError> {
        let at = workspace.stamp_millis();
        let directory = &mut workspace.directory;
        for user in &self.users {
            match user {
                Named::Name(name) => directory.ensure(Kind::User, name, None),
                Named::Full(p) => {
                    directory.ensure(Kind::User, &p.user_name, p.display_name.as_deref())
                }
            };
        }
        for principal in &self.service_principals {
            match principal {
                Named::Name(id) => directory.ensure(Kind::ServicePrincipal, id, None),
                Named::Full(p) => directory.ensure(
                    Kind::ServicePrincipal,
                    &p.application_id,
                    p.display_name.as_deref(),
                ),
            };
        }
        for group in &self.groups {
            let (name, members): (&str, &[String]) = match group {
                Named::Name(name) => (name, &[]),
                Named::Full(g) => (&g.name, &g.members),
            };
            let id = directory.ensure(Kind::Group, name, None);
            for member in members {
                let found = [Kind::User, Kind::ServicePrincipal, Kind::Group]
                    .into_iter()
                    .find_map(|kind| directory.find(kind, member));
                let member = found.unwrap_or_else(|| directory.ensure(Kind::User, member, None));
                directory.join(id, member);
            }
        }
        for warehouse in &self.warehouses {
            let (id, name) = identified(warehouse);
            let mut settings = Map::new();
            settings.insert("name".into(), name.into());
            workspace.warehouses.add(id, settings);
        }
        for job in &self.jobs {
            let (id, name) = match job {
                Job::Id(id) => (*id, id.to_string()),
                Job::Full(job) => (job.id, job.name.clone()),
            };
            let mut settings = Map::new();
            settings.insert("name".into(), name.into());
            workspace.jobs.add(id, settings, "seed", at);
        }
        for scope in &self.secret_scopes {
            workspace.secrets.add(&scope.name, &scope.secrets, at);
        }
        for securable in &self.uc_securables {
            workspace
                .unity
                .add(&securable.securable_type, &securable.name);
        }
        self.sow_objects(workspace);
        for policy in &self.federation_policies {
            workspace.seed_policy(policy.service_principal.as_deref(), &policy.oidc_policy);
        }
        for directory in &self.directories {
            workspace.files.make_directory(directory, at);
        }
        for (path, content) in &self.files {
            workspace.files.add(path, content.clone().into_bytes(), at);
        }
        for app in &self.apps {
            workspace.seed_app(app).map_err(|refused| SeedError::App {
                name: app.get("name").map(Value::to_string).unwrap_or_default(),
                message: refused.message,
            })?;
        }
        Ok(())
    }

    fn sow_objects(&self, workspace: &mut Workspace) {
        let known = &mut workspace.objects;
        for experiment in &self.experiments {
            let (id, name) = identified(experiment);
            known.add(objects::EXPERIMENTS, id, name);
        }
        for space in &self.genie_spaces {
            let (id, name) = identified(space);
            known.add(objects::GENIE, id, name);
        }
        for endpoint in &self.serving_endpoints {
            let id = format!("{:032x}", numeric_id());
            known.add(objects::SERVING_ENDPOINTS, &id, endpoint);
        }
        for database in &self.databases {
            known.add(objects::DATABASES, database, database);
        }
        for branch in &self.postgres_branches {
            known.add(objects::POSTGRES, branch, branch);
        }
    }
}

fn identified(named: &Named<Settings>) -> (&str, &str) {
    match named {
        Named::Name(id) => (id, id),
        Named::Full(s) => (&s.id, s.name.as_deref().unwrap_or(&s.id)),
    }
}
