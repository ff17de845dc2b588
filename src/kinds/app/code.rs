//! What is deployed: where the code lies, the content it has there, and the values of its variables. Pure.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::spec::{DatabricksApp, RecordedSecret};
use super::wire::{self, RemoteApp, RemoteDeployment};
use crate::api::digest;
use crate::worlds::files::SourceFiles;

/// Everything a deployment is made of, besides the spec.
#[derive(Clone, Debug, PartialEq)]
pub struct Code {
    pub from: Origin,
    /// Digest of the content, where a change of it has to deploy; else empty.
    pub content: String,
    /// Files that have to be uploaded first.
    pub upload: Option<Upload>,
    /// What is recorded of the Secrets in use, this look's included.
    pub secrets: Vec<RecordedSecret>,
    pub values: Values,
    /// For a private repository.
    pub credential: Option<Credential>,
}

/// A token for a private repository. Never printed; the same if its revision is.
#[derive(Clone)]
pub struct Credential {
    /// Of the credential that is there already, if one is known.
    pub id: Option<i64>,
    pub token: SecretString,
    /// Keyed digest of the token at its last change.
    pub revision: String,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({})", self.revision)
    }
}

impl PartialEq for Credential {
    fn eq(&self, other: &Self) -> bool {
        self.revision == other.revision
    }
}

/// Where the platform takes the code from.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    Folder(String),
    /// As `git_source` of a deployment.
    Git(Value),
}

/// Files that the operator uploads into a folder of their own.
#[derive(Clone, PartialEq)]
pub struct Upload {
    pub folder: String,
    pub digest: String,
    pub files: SourceFiles,
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upload({} to {})", self.digest, self.folder)
    }
}

/// Values of variables that come from Secrets, by the variable's name. Never printed.
#[derive(Clone, Default)]
pub struct Values(pub BTreeMap<String, SecretString>);

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Values({})", self.0.len())
    }
}

impl PartialEq for Values {
    fn eq(&self, other: &Self) -> bool {
        let plain = |values: &Self| -> Vec<(String, String)> {
            let values = values.0.iter();
            values
                .map(|(name, v)| (name.clone(), v.expose_secret().to_owned()))
                .collect()
        };
        plain(self) == plain(other)
    }
}

impl Code {
    /// Everything secret that a deployment of it sends.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretString> {
        let token = self.credential.iter().map(|credential| &credential.token);
        self.values.0.values().chain(token)
    }

    /// The code of a source whose content nobody follows.
    pub fn at(from: Origin) -> Self {
        Self {
            from,
            content: String::new(),
            upload: None,
            secrets: Vec::new(),
            values: Values::default(),
            credential: None,
        }
    }

    /// Digest of a deployment's inputs: source, content, command, variables, and the targets of variables that name a
    /// resource, as the service resolves those only while it deploys.
    pub fn digest(&self, app: &DatabricksApp) -> String {
        let source = match &self.from {
            // Where uploaded content lies follows from its digest and from who the operator is.
            Origin::Folder(_) if self.is_uploaded(app) => json!({"uploaded": self.content}),
            Origin::Folder(path) => json!({"folder": path, "content": self.content}),
            Origin::Git(reference) => {
                json!({"git": reference, "url": app.spec.source.as_ref().and_then(|s| s.git.as_ref()).map(|g| &g.url)})
            }
        };
        let env: BTreeMap<&str, Value> = app
            .env()
            .into_iter()
            .flatten()
            .map(|e| (e.name.as_str(), self.variable(e)))
            .collect();
        let command = app
            .spec
            .deployment
            .as_ref()
            .and_then(|d| d.command.as_ref());
        digest::of(&json!({
            "source": source,
            "command": command,
            "env": app.env().map(|_| env),
            "targets": targets(app),
        }))
    }

    /// What a variable's value is told by, without a secret.
    fn variable(&self, variable: &super::spec::EnvVar) -> Value {
        let from = variable.value_from.as_ref();
        if let Some(key) = from.and_then(|f| f.secret_key_ref.as_ref()) {
            let name = format!("{}/{}", key.name, key.key);
            let known = self.secrets.iter().find(|s| s.name == name);
            return json!({"secret": known.map(|s| &s.revision)});
        }
        match from.and_then(|f| f.resource.as_ref()) {
            Some(resource) => json!({ "resource": resource }),
            None => json!({"value": variable.value.as_deref().unwrap_or_default()}),
        }
    }

    fn is_uploaded(&self, app: &DatabricksApp) -> bool {
        let source = app.spec.source.as_ref();
        source.is_some_and(|s| s.config_map_ref.is_some() || s.artifact_ref.is_some())
    }
}

/// The folder of an app's uploads, in the operator's own home.
pub fn uploads_folder(identity: &str, app: &str) -> String {
    format!("/Workspace/Users/{identity}/.appofapps/{app}")
}

/// The folder of one upload: its own for each digest, so that what runs is never written to.
pub fn upload_folder(identity: &str, app: &str, digest: &str) -> String {
    let short: String = digest
        .rsplit(':')
        .next()
        .unwrap_or(digest)
        .chars()
        .take(16)
        .collect();
    format!("{}/{short}", uploads_folder(identity, app))
}

/// What the variables that name a resource stand for.
fn targets(app: &DatabricksApp) -> Vec<Value> {
    let used: BTreeSet<&String> = app
        .env()
        .into_iter()
        .flatten()
        .filter_map(|e| e.value_from.as_ref()?.resource.as_ref())
        .collect();
    let mut targets: Vec<Value> = app
        .spec
        .resources
        .iter()
        .flatten()
        .filter(|r| used.contains(&r.name))
        .map(|r| {
            let mut target = wire::resource(r);
            if let Some(fields) = target.as_object_mut() {
                fields.remove("description");
                // A changed permission does not change what the variable holds.
                for kind in fields.values_mut().filter_map(Value::as_object_mut) {
                    kind.remove("permission");
                }
            }
            target
        })
        .collect();
    targets.sort_by_key(|t| t["name"].to_string());
    targets
}

/// The body of a deployment from `from`, with the values of Secrets in it.
pub fn body(app: &DatabricksApp, from: &Origin, values: &Values) -> Value {
    let mut body = json!({ "mode": "SNAPSHOT" });
    match from {
        Origin::Folder(path) => body["source_code_path"] = json!(path),
        Origin::Git(reference) => body["git_source"] = reference.clone(),
    }
    if let Some(command) = app
        .spec
        .deployment
        .as_ref()
        .and_then(|d| d.command.as_ref())
    {
        body["command"] = json!(command);
    }
    if let Some(env) = app.env() {
        let variable = |e: &super::spec::EnvVar| {
            let resource = e.value_from.as_ref().and_then(|f| f.resource.as_ref());
            if let Some(resource) = resource {
                return json!({"name": e.name, "value_from": resource});
            }
            let secret = values.0.get(&e.name).map(ExposeSecret::expose_secret);
            let value = secret.or(e.value.as_deref()).unwrap_or_default();
            json!({"name": e.name, "value": value})
        };
        body["env_vars"] = env.iter().map(variable).collect();
    }
    body
}

/// Whether a deployment shows just these inputs, as far as the service shows them. `lenient`: what the spec leaves out
/// matches whatever is there. Of a deployment whose source nothing tells yet it is not known, so that none is taken for
/// ours before.
pub fn same_visible(
    app: &DatabricksApp,
    from: &Origin,
    remote: &RemoteApp,
    have: &RemoteDeployment,
    lenient: bool,
) -> bool {
    let same_source = match from {
        Origin::Folder(path) => {
            let shown = remote.source_of(have);
            have.git.is_null() && shown.is_some_and(|shown| wire::same_path(shown, path))
        }
        Origin::Git(reference) => have.git == *reference && same_repository(app, have),
    };
    let deployment = app.spec.deployment.as_ref();
    let same_command = match deployment.and_then(|d| d.command.as_ref()) {
        Some(command) => have.command == *command,
        None => lenient || have.command.is_empty(),
    };
    // A service that tells no names at all tells nothing about them.
    let told = !have.env_names.is_empty();
    let same_names = match app.env() {
        Some(env) => !told || have.env_names == env.iter().map(|e| e.name.clone()).collect(),
        None => lenient || !told,
    };
    same_source && same_command && same_names
}

/// The app's repository may have been another one while it was deployed.
fn same_repository(app: &DatabricksApp, have: &RemoteDeployment) -> bool {
    let git = app.spec.source.as_ref().and_then(|s| s.git.as_ref());
    match (git, have.repository.as_str()) {
        (Some(git), shown) if !shown.is_empty() => {
            wire::repository_url(&git.url) == wire::repository_url(shown)
        }
        _ => true,
    }
}

/// Variables that the app has and a deployment of the spec would take away.
pub fn lost_variables(app: &DatabricksApp, have: &RemoteDeployment) -> Vec<String> {
    let listed: BTreeSet<&String> = app.env().into_iter().flatten().map(|e| &e.name).collect();
    if app.env().is_some_and(Vec::is_empty) {
        return Vec::new();
    }
    let lost = have.env_names.iter().filter(|name| !listed.contains(name));
    lost.cloned().collect()
}

/// A digest as people compare it.
pub fn short(digest: &str) -> String {
    digest.chars().take(12).collect()
}
