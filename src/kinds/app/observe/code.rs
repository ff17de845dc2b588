//! What the spec asks to deploy: where it lies, its content, and the values of its variables.
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, ResourceExt};
use secrecy::SecretString;

use super::super::World;
use super::super::code::{self, Code, Credential, Origin, Upload};
use super::super::plan::Observed;
use super::super::spec::{
    AppMemory, ArtifactRef, ConfigMapRef, DatabricksApp, RecordedSecret, Source,
};
use super::super::wire;
use super::{aside, spread, unread};
use crate::api::names::{ObjectName, SecretKeyRef};
use crate::api::status::Reason;
use crate::databricks::Route;
use crate::engine::managed::Trouble;
use crate::engine::plan::{Fate, SLOW, Seen};
use crate::worlds::artifact::{self, ArtifactSource};
use crate::worlds::content::{Content, Settled, View};
use crate::worlds::databricks::folder;
use crate::worlds::files::SourceFiles;
use crate::worlds::keyed::{Record, Verdict};
use crate::worlds::secret::{self, Held};

/// Service time between two looks at what lies in the cluster: Secrets, ConfigMaps, artifacts.
const CLUSTER: Duration = Duration::from_secs(60);
/// Service time until a folder that moves is looked at again.
const MOVING: Duration = Duration::from_secs(20);

/// Fills in what the spec asks to deploy; what cannot be had is an aside.
pub(super) async fn material(
    app: &DatabricksApp,
    memory: &AppMemory,
    world: &World,
    seen: &mut Observed,
) {
    match look(app, memory, world, seen).await {
        Ok(code) => seen.code = code,
        Err(trouble) => seen.asides.push(aside(trouble)),
    }
}

async fn look(
    app: &DatabricksApp,
    memory: &AppMemory,
    world: &World,
    seen: &mut Observed,
) -> Result<Seen<Option<Code>>, Trouble> {
    let Some(source) = &app.spec.source else {
        return Ok(Seen::Looked(None));
    };
    let Some(mut code) = located(app, source, memory, world, seen).await? else {
        return Ok(Seen::NotLooked);
    };
    secrets(app, memory, world, seen, &mut code).await?;
    Ok(Seen::Looked(Some(code)))
}

async fn located(
    app: &DatabricksApp,
    source: &Source,
    memory: &AppMemory,
    world: &World,
    seen: &mut Observed,
) -> Result<Option<Code>, Trouble> {
    if let Some(git) = &source.git {
        return Ok(Some(Code::at(Origin::Git(wire::git_source(git)))));
    }
    if let Some(reference) = &source.config_map_ref {
        let files = config_map(app, reference, world).await?;
        seen.due_in(CLUSTER);
        let digest = files.digest();
        return Ok(Some(uploaded(app, memory, world, digest, Some(files))));
    }
    if let Some(reference) = &source.artifact_ref {
        seen.due_in(CLUSTER);
        let (digest, files) = artifact(app, reference, memory, world, seen).await?;
        return Ok(Some(uploaded(app, memory, world, digest, files)));
    }
    let path = source
        .workspace
        .as_ref()
        .map(|w| w.path.clone())
        .unwrap_or_default();
    let mut code = Code::at(Origin::Folder(path));
    if let Some(path) = app.watched_folder() {
        match watched(path, memory, world, seen).await? {
            Some(content) => code.content = content,
            None => return Ok(None),
        }
    }
    Ok(Some(code))
}

/// Content that the operator uploads, unless it is there already.
fn uploaded(
    app: &DatabricksApp,
    memory: &AppMemory,
    world: &World,
    digest: String,
    files: Option<SourceFiles>,
) -> Code {
    let identity = world.identity.as_deref().unwrap_or_default();
    let folder = code::upload_folder(identity, app.remote_name(), &digest);
    let there = has_upload(memory, &digest);
    Code {
        content: digest.clone(),
        upload: files.filter(|_| !there).map(|files| Upload {
            folder: folder.clone(),
            digest,
            files,
        }),
        ..Code::at(Origin::Folder(folder))
    }
}

fn has_upload(memory: &AppMemory, digest: &String) -> bool {
    memory
        .source
        .as_ref()
        .is_some_and(|s| s.uploads.contains(digest))
}

async fn config_map(
    app: &DatabricksApp,
    reference: &ConfigMapRef,
    world: &World,
) -> Result<SourceFiles, Trouble> {
    let namespace = app.namespace().unwrap_or_default();
    let place = format!(
        "spec.source.configMapRef: ConfigMap {namespace}/{}",
        reference.name
    );
    let api: Api<ConfigMap> = Api::namespaced(world.cluster.kube.clone(), &namespace);
    let map = api.get_opt(&reference.name).await.map_err(|error| {
        let said = match &error {
            kube::Error::Api(status) => status.message.clone(),
            other => other.to_string(),
        };
        let message = format!("{place} cannot be read: {said}");
        Trouble::new(Reason::ReferenceMissing, message, Fate::Retry)
    })?;
    let Some(map) = map else {
        let message = format!("{place} does not exist; create it, or name another one");
        return Err(Trouble::new(
            Reason::ReferenceMissing,
            message,
            Fate::Missing { recheck: CLUSTER },
        ));
    };
    SourceFiles::from_config_map(&map).map_err(|error| {
        let recheck = Fate::Stalled {
            recheck: Some(CLUSTER),
        };
        Trouble::new(Reason::SourceRefused, format!("{place}: {error}"), recheck)
    })
}

/// Digest of a Flux artifact's content, and its files as long as they have to be uploaded.
async fn artifact(
    app: &DatabricksApp,
    reference: &ArtifactRef,
    memory: &AppMemory,
    world: &World,
    seen: &mut Observed,
) -> Result<(String, Option<SourceFiles>), Trouble> {
    let namespace = app.namespace().unwrap_or_default();
    let source = ArtifactSource {
        kind: reference.kind,
        name: ObjectName::new(namespace, &reference.name),
        pinned: reference.digest.clone(),
    };
    let artifact = world
        .cluster
        .artifacts
        .look(&source)
        .await
        .map_err(|e| artifact_trouble(&e))?;
    let known = memory
        .source
        .as_ref()
        .filter(|s| s.listing == artifact.digest && has_upload(memory, &s.content));
    seen.listing.clone_from(&artifact.digest);
    let mut slot = world
        .memo
        .artifacts
        .slot(format!("{} {}", source.kind, source.name))
        .await;
    if let Some(known) = known {
        *slot = None;
        return Ok((known.content.clone(), None));
    }
    if let Some((_, waiting)) = &*slot
        && waiting.artifact == artifact.digest
    {
        return Ok((waiting.content.clone(), Some(waiting.files.clone())));
    }
    let files = world
        .cluster
        .artifacts
        .fetch(&artifact)
        .await
        .map_err(|e| artifact_trouble(&e))?;
    let content = files.digest();
    let waiting = Waiting {
        artifact: artifact.digest,
        content: content.clone(),
        files: files.clone(),
    };
    *slot = Some((Instant::now(), waiting));
    Ok((content, Some(files)))
}

fn artifact_trouble(error: &artifact::Error) -> Trouble {
    use artifact::Error;
    let looked_at = Fate::Stalled {
        recheck: Some(CLUSTER),
    };
    let (reason, fate) = match error {
        Error::Missing { .. } | Error::NoArtifact { .. } | Error::NotInstalled { .. } => {
            (Reason::ReferenceMissing, Fate::Missing { recheck: CLUSTER })
        }
        Error::Read { .. } | Error::Transport { .. } | Error::Status { .. } | Error::Worker(_) => {
            (Reason::ReferenceMissing, Fate::Retry)
        }
        Error::Pinned { .. }
        | Error::Malformed { .. }
        | Error::HostNotAllowed { .. }
        | Error::TooLarge { .. }
        | Error::Digest { .. }
        | Error::Unpack(_) => (Reason::SourceRefused, looked_at),
    };
    Trouble::new(reason, format!("spec.source.artifactRef: {error}"), fate)
}

/// Digest of a watched folder's content. While the folder moves, what it was before; `None` if nothing is known yet and
/// nobody needs it.
async fn watched(
    path: &str,
    memory: &AppMemory,
    world: &World,
    seen: &mut Observed,
) -> Result<Option<String>, Trouble> {
    let recorded = memory.source.as_ref().filter(|s| !s.content.is_empty());
    let state = seen.remote().map(|r| r.compute_state.as_str());
    if !matches!(state, Some("ACTIVE" | "STARTING")) && !seen.forced {
        // Nothing is deployed before it runs.
        return Ok(recorded.map(|s| s.content.clone()));
    }
    let (client, clock) = (world.connection.client(), world.connection.clock());
    let interval = spread(world.connection.permissions_interval(), path);
    let mut slot = world.memo.folders.slot(path.to_owned()).await;
    let age = slot.as_ref().map(|(at, _)| clock.service(at.elapsed()));
    let pause = match &*slot {
        Some((_, watch)) if watch.moving => MOVING,
        _ => interval,
    };
    if seen.forced || age.is_none_or(|age| age >= pause) {
        let failed = |error: folder::Error| folder_trouble(&error, world);
        let listing = folder::list(client, path).await.map_err(failed)?;
        let before = slot.take().map(|(_, watch)| watch.content);
        let mut content = before.unwrap_or_else(|| match recorded {
            Some(s) if !s.listing.is_empty() => Content::recall(Settled {
                listing: s.listing.clone(),
                content: s.content.clone(),
            }),
            _ => Content::default(),
        });
        let view = content.see(listing);
        if let View::Stable { to_hash } = &view {
            for file in to_hash {
                let hash = folder::hash(client, &format!("{path}/{file}"))
                    .await
                    .map_err(failed)?;
                content.learn(file, hash);
            }
        }
        let moving = view == View::Moving;
        *slot = Some((Instant::now(), Watch { content, moving }));
    }
    let Some((at, watch)) = &*slot else {
        return Ok(None);
    };
    let pause = if watch.moving { MOVING } else { interval };
    seen.due_in(pause.saturating_sub(clock.service(at.elapsed())));
    match watch.content.settled() {
        Some(settled) => {
            seen.listing.clone_from(&settled.listing);
            Ok(Some(settled.content.clone()))
        }
        None if watch.moving => {
            let message = format!(
                "spec.source.workspace.path {path:?}: waiting for two equal looks at the folder"
            );
            Err(Trouble::new(
                Reason::SourceMoving,
                message,
                Fate::After(MOVING),
            ))
        }
        None => {
            let message = format!(
                "spec.source.workspace.path {path:?} holds no files; upload the source, or correct the path"
            );
            Err(Trouble::new(
                Reason::SourceNotFound,
                message,
                Fate::Missing { recheck: interval },
            ))
        }
    }
}

/// Files of an artifact that are not uploaded yet.
pub struct Waiting {
    /// Digest of the artifact.
    artifact: String,
    /// Digest of the files.
    content: String,
    files: SourceFiles,
}

/// A folder as it was looked at last.
#[derive(Default)]
pub struct Watch {
    pub content: Content,
    pub moving: bool,
}

fn folder_trouble(error: &folder::Error, world: &World) -> Trouble {
    let field = "spec.source.workspace.path";
    match error.service() {
        _ if error.is_missing() => {
            let message = format!("{field}: {error}; upload the source, or correct the path");
            Trouble::new(
                Reason::SourceNotFound,
                message,
                Fate::Missing { recheck: SLOW },
            )
        }
        Some(error) => unread(&format!("{field}: looking at the folder"), error, world),
        None => {
            let fate = Fate::Stalled {
                recheck: Some(SLOW),
            };
            Trouble::new(Reason::SourceRefused, format!("{field}: {error}"), fate)
        }
    }
}

/// Values of variables from Secrets, and the token of a private repository.
async fn secrets(
    app: &DatabricksApp,
    memory: &AppMemory,
    world: &World,
    seen: &mut Observed,
    code: &mut Code,
) -> Result<(), Trouble> {
    let namespace = app.namespace().unwrap_or_default();
    let mut held = BTreeMap::new();
    let env = app.env().into_iter().flatten();
    for (n, variable) in env.enumerate() {
        let key = variable
            .value_from
            .as_ref()
            .and_then(|f| f.secret_key_ref.as_ref());
        let Some(key) = key else { continue };
        let field = format!("spec.deployment.env[{n}] {}", variable.name);
        let (value, record) = secret(world, &mut held, &namespace, &field, key, memory).await?;
        code.values.0.insert(variable.name.clone(), value);
        if !code.secrets.contains(&record) {
            code.secrets.push(record);
        }
    }
    let git = app.spec.source.as_ref().and_then(|s| s.git.as_ref());
    if let Some(key) = git.and_then(|g| g.credential_secret_ref.as_ref()) {
        let field = "spec.source.git.credentialSecretRef";
        let (token, record) = secret(world, &mut held, &namespace, field, key, memory).await?;
        let known = memory.source.as_ref().and_then(|s| s.credential_id);
        code.credential = Some(Credential {
            id: match known {
                Some(id) => Some(id),
                None => existing_credential(app, world, seen).await?,
            },
            token,
            revision: record.revision.clone(),
        });
        if !code.secrets.contains(&record) {
            code.secrets.push(record);
        }
    }
    if !code.secrets.is_empty() {
        seen.due_in(CLUSTER);
    }
    Ok(())
}

/// Id of a Git credential that the app's service principal has already, looked up once the service refused another one.
async fn existing_credential(
    app: &DatabricksApp,
    world: &World,
    seen: &Observed,
) -> Result<Option<i64>, Trouble> {
    let git = app.spec.source.as_ref().and_then(|s| s.git.as_ref());
    let (Some(git), Some(remote)) = (git, seen.remote()) else {
        return Ok(None);
    };
    if seen.refused.get("credential").is_none() {
        return Ok(None);
    }
    let principal = remote.service_principal.id.to_string();
    let query = [("principal_id", principal.as_str())];
    let route = Route::normal("git-credentials/list");
    let client = world.connection.client();
    let answer = client.get(route, "/api/2.0/git-credentials", &query).await;
    let doing = "looking up the Git credentials of the app's service principal";
    let answer = answer.map_err(|error| unread(doing, &error, world))?;
    let provider = git.provider.wire();
    let same =
        |c: &&serde_json::Value| wire::text(c, "git_provider").eq_ignore_ascii_case(provider);
    let found = wire::items(&answer.body, "credentials").find(same);
    Ok(found.and_then(|c| c["credential_id"].as_i64()))
}

/// One value, and what is to be recorded of it.
async fn secret(
    world: &World,
    held: &mut BTreeMap<String, Held>,
    namespace: &str,
    field: &str,
    key: &SecretKeyRef,
    memory: &AppMemory,
) -> Result<(SecretString, RecordedSecret), Trouble> {
    let failed = |error: secret::Error| {
        let fate = match error {
            secret::Error::Missing { .. } | secret::Error::KeyMissing { .. } => {
                Fate::Missing { recheck: CLUSTER }
            }
            secret::Error::NoText { .. } => Fate::Stalled {
                recheck: Some(CLUSTER),
            },
            secret::Error::Forbidden { .. } | secret::Error::Unreachable { .. } => Fate::Retry,
        };
        Trouble::new(Reason::ReferenceMissing, format!("{field}: {error}"), fate)
    };
    if !held.contains_key(&key.name) {
        let name = ObjectName::new(namespace, &key.name);
        let found = secret::get(&world.cluster.kube, &name)
            .await
            .map_err(failed)?;
        held.insert(key.name.clone(), found);
    }
    let found = &held[&key.name];
    let value = found.text(&key.key).map_err(failed)?;
    let digest_key = world.cluster.digest_key().await.map_err(|error| {
        Trouble::new(
            Reason::KubernetesRefused,
            format!("{field}: {error}"),
            Fate::Retry,
        )
    })?;
    let name = format!("{}/{}", key.name, key.key);
    let context = format!("{namespace}/{name}");
    let version = found.resource_version.as_str();
    let known = memory.secrets.iter().find(|s| s.name == name);
    let record = match known {
        None => recorded(
            name,
            &Record::new(&context, version, &value, digest_key),
            None,
        ),
        Some(known) => {
            let before = Record {
                v: known.v.unsigned_abs(),
                key_id: known.key_id.clone(),
                resource_version: known.resource_version.clone(),
                digest: known.digest.clone(),
            };
            match before.verify(&context, version, &value, digest_key) {
                Verdict::Unchanged => known.clone(),
                Verdict::Restamp(record) => recorded(name, &record, Some(&known.revision)),
                Verdict::Changed(record) => recorded(name, &record, None),
            }
        }
    };
    Ok((value, record))
}

/// What is recorded of a value: the revision stays while only the key or the Secret's version changes.
fn recorded(name: String, record: &Record, revision: Option<&String>) -> RecordedSecret {
    RecordedSecret {
        name,
        v: i32::try_from(record.v).unwrap_or(i32::MAX),
        key_id: record.key_id.clone(),
        resource_version: record.resource_version.clone(),
        digest: record.digest.clone(),
        revision: revision.unwrap_or(&record.digest).clone(),
    }
}
