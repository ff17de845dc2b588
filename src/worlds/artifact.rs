//! A source that Flux has fetched: its object says where the archive lies and what its digest is.
//!
//! ```text
//! GitRepository ─┐
//! OCIRepository ─┼─► status.artifact {url, digest} ─► GET, host on the list ─► digest equal ─► unpacked: SourceFiles
//! Bucket ────────┘
//! ```
use std::fmt;

use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::digest::DynDigest;
use sha2::{Sha256, Sha384, Sha512};
use url::Url;

use crate::api::names::ObjectName;
use crate::databricks::HostPattern;
use crate::worlds::files::{SourceFiles, shown};

mod fetch;
mod unpack;

pub use unpack::{Error as UnpackError, unpack};

const GROUP: &str = "source.toolkit.fluxcd.io";
const VERSION: &str = "v1";
/// Where Flux's own installation serves its archives.
const FLUX_HOSTS: [&str; 3] = [
    "source-controller.flux-system.svc.cluster.local",
    "source-controller.flux-system.svc",
    "source-controller.flux-system",
];
/// Kind of a Flux source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ArtifactKind {
    GitRepository,
    #[serde(rename = "OCIRepository")]
    OciRepository,
    Bucket,
}

impl ArtifactKind {
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::GitRepository => ("GitRepository", "gitrepositories"),
            Self::OciRepository => ("OCIRepository", "ocirepositories"),
            Self::Bucket => ("Bucket", "buckets"),
        }
    }
}

impl fmt::Display for ArtifactKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.names().0)
    }
}

/// A Flux source, perhaps one version of it alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactSource {
    pub kind: ArtifactKind,
    pub name: ObjectName,
    /// The only digest that is taken: `sha256:…`
    pub pinned: Option<String>,
}

/// What a source holds now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    pub url: Url,
    /// Of the archive's bytes: `sha256:…`, `sha384:…` or `sha512:…`
    pub digest: String,
    /// E.g. `main@sha1:…`
    pub revision: String,
}

/// Why an artifact's files can't be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("reading {kind} {name}: it does not exist; create it, or name another one")]
    Missing {
        kind: ArtifactKind,
        name: ObjectName,
    },
    #[error(
        "reading {kind} {name}: the cluster knows no {kind} of {GROUP}/{VERSION}; install Flux's source-controller, or use another source"
    )]
    NotInstalled {
        kind: ArtifactKind,
        name: ObjectName,
    },
    #[error("reading {kind} {name}: {source}")]
    Read {
        kind: ArtifactKind,
        name: ObjectName,
        #[source]
        source: Box<kube::Error>,
    },
    #[error("reading {kind} {name}: it has no artifact yet{why}")]
    NoArtifact {
        kind: ArtifactKind,
        name: ObjectName,
        /// What Flux says about it, after a colon; or nothing
        why: String,
    },
    #[error("reading {kind} {name}: status.artifact.{field} {value:?} {why}")]
    Malformed {
        kind: ArtifactKind,
        name: ObjectName,
        field: &'static str,
        value: String,
        why: &'static str,
    },
    #[error(
        "reading {kind} {name}: its artifact is {found}, pinned is {pinned}; let the source name that version, or change the pinned digest"
    )]
    Pinned {
        kind: ArtifactKind,
        name: ObjectName,
        pinned: String,
        found: String,
    },
    #[error(
        "fetching {url}: {why}; allowed are {allowed} by http or https; have the operator started with the host in --artifact-hosts"
    )]
    HostNotAllowed {
        url: String,
        why: &'static str,
        allowed: String,
    },
    #[error("fetching {url}: {message}")]
    Transport { url: String, message: String },
    /// A source keeps few versions: the next look at its object names one that is there.
    #[error("fetching {url}: the server answers with status {status}{hint}")]
    Status {
        url: String,
        status: u16,
        hint: &'static str,
    },
    #[error(
        "fetching {url}: the archive exceeds {limit} bytes; leave files out with the source's `ignore`"
    )]
    TooLarge { url: String, limit: u64 },
    #[error(
        "fetching {url}: the archive's digest is {found}, the source says {expected}; it is not used"
    )]
    Digest {
        url: String,
        expected: String,
        found: String,
    },
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    #[error("unpacking the archive: {0}")]
    Worker(#[source] tokio::task::JoinError),
}

/// The hosts of Flux's own installation in its usual namespace.
pub fn default_hosts() -> Vec<HostPattern> {
    let exact = |host: &&str| HostPattern::Exact((*host).to_owned());
    FLUX_HOSTS.iter().map(exact).collect()
}

/// Reads Flux sources and fetches what they hold.
#[derive(Clone)]
pub struct Artifacts {
    client: Client,
    hosts: Vec<HostPattern>,
}

impl Artifacts {
    /// `hosts` are those that archives may be fetched from.
    pub fn new(client: Client, hosts: Vec<HostPattern>) -> Self {
        Self { client, hosts }
    }

    /// What the source holds now, by one GET. Nothing is fetched.
    pub async fn look(&self, source: &ArtifactSource) -> Result<Artifact, Error> {
        let (kind, name) = (source.kind, source.name.clone());
        let gvk = GroupVersionKind::gvk(GROUP, VERSION, kind.names().0);
        let resource = ApiResource::from_gvk_with_plural(&gvk, kind.names().1);
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &name.namespace, &resource);
        match api.get(&name.name).await {
            Ok(object) => read(source, &object.data),
            Err(kube::Error::Api(status)) if status.code == 404 => {
                // Of a kind that nobody installed the answer names no object.
                let named = status.details.is_some_and(|d| d.name == name.name);
                Err(match named {
                    true => Error::Missing { kind, name },
                    false => Error::NotInstalled { kind, name },
                })
            }
            Err(error) => Err(Error::Read {
                kind,
                name,
                source: Box::new(error),
            }),
        }
    }

    /// The artifact's files. The host must be on the list, no redirect is followed, and the digest is compared before
    /// anything of the archive is interpreted.
    pub async fn fetch(&self, artifact: &Artifact) -> Result<SourceFiles, Error> {
        fetch::check(&artifact.url, &self.hosts)?;
        let archive = fetch::download(artifact).await?;
        let unpacked = tokio::task::spawn_blocking(move || unpack(archive)).await;
        Ok(unpacked.map_err(Error::Worker)??)
    }
}

/// The artifact in an object of a source. Pure.
fn read(source: &ArtifactSource, object: &Value) -> Result<Artifact, Error> {
    let (kind, name) = (source.kind, || source.name.clone());
    let status = &object["status"];
    let artifact = &status["artifact"];
    if !artifact.is_object() {
        return Err(Error::NoArtifact {
            kind,
            name: name(),
            why: unready(status).map_or_else(String::new, |why| format!(": {why}")),
        });
    }
    let text = |field: &str| artifact[field].as_str().unwrap_or_default().to_owned();
    let malformed = |field, value: &str, why| Error::Malformed {
        kind,
        name: name(),
        field,
        value: shown(value),
        why,
    };
    let (url, digest) = (text("url"), text("digest"));
    if hasher(&digest).is_none() {
        let why = "is none of sha256:…, sha384:…, sha512:…; set source-controller's --artifact-digest-algo to one of them";
        return Err(malformed("digest", &digest, why));
    }
    if let Some(pinned) = &source.pinned
        && *pinned != digest
    {
        return Err(Error::Pinned {
            kind,
            name: name(),
            pinned: pinned.clone(),
            found: digest,
        });
    }
    Ok(Artifact {
        url: Url::parse(&url).map_err(|_| malformed("url", &url, "is no URL"))?,
        digest,
        revision: text("revision"),
    })
}

/// What Flux says of a source that isn't ready, for people.
fn unready(status: &Value) -> Option<String> {
    let conditions = status["conditions"].as_array()?;
    let ready = conditions.iter().find(|c| c["type"] == "Ready")?;
    let message = ready["message"]
        .as_str()
        .filter(|_| ready["status"] != "True")?;
    Some(shown(&message.replace(char::is_control, " ")))
}

/// The algorithm of a digest, if the digest is well formed.
fn hasher(digest: &str) -> Option<Box<dyn DynDigest + Send>> {
    let (algorithm, value) = digest.split_once(':')?;
    let hasher: Box<dyn DynDigest + Send> = match algorithm {
        "sha256" => Box::new(Sha256::default()),
        "sha384" => Box::new(Sha384::default()),
        "sha512" => Box::new(Sha512::default()),
        _ => return None,
    };
    let well = value.len() == 2 * hasher.output_size()
        && value
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    well.then_some(hasher)
}

#[cfg(test)]
mod tests;
