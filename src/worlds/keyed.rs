//! Keyed digests of secret values: they tell whether a value changed, and nothing else, to whoever reads a status.
//!
//! The key lies in a Secret of the operator's own namespace. Without it a short value could be found by trying.
use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretBox, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::files::hex;
use super::secret;
use crate::api::names::ObjectName;

/// Name of the Secret that holds the key.
pub const KEY_SECRET: &str = "databricks-app-operator-digest-key";
/// Where in the Secret.
const FIELD: &str = "key";
const KEY_BYTES: usize = 32;
/// Of SHA-256.
const BLOCK_BYTES: usize = 64;
const VERSION: u32 = 1;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("reading the key for digests: {0}")]
    Read(#[from] secret::Error),
    #[error(
        "creating Secret {secret} for the key of digests: {source}; the operator needs a Role there that lets it create Secrets"
    )]
    Create {
        secret: ObjectName,
        #[source]
        source: Box<kube::Error>,
    },
    #[error(
        "reading the key for digests: Secret {secret} has no {KEY_BYTES} bytes under {FIELD:?}; delete it, and the operator makes a new one at its next start"
    )]
    Malformed { secret: ObjectName },
}

/// A key for digests. `Debug` prints its id alone.
pub struct DigestKey {
    id: String,
    /// Padded with zeros, as HMAC (RFC 2104) does with a key that is shorter than a block of its hash
    block: SecretBox<[u8; BLOCK_BYTES]>,
}

impl fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DigestKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl DigestKey {
    /// The key in `namespace`, the operator's own. It is made at first need and never overwritten.
    pub async fn open(client: &Client, namespace: &str) -> Result<Self, Error> {
        let name = ObjectName::new(namespace, KEY_SECRET);
        let held = match secret::get(client, &name).await {
            Err(secret::Error::Missing { .. }) => create(client, &name).await?,
            held => held?,
        };
        Self::of(&name, &held)
    }

    /// The key in `namespace`, if it was made already; reads only.
    pub async fn find(client: &Client, namespace: &str) -> Result<Option<Self>, Error> {
        let name = ObjectName::new(namespace, KEY_SECRET);
        match secret::get(client, &name).await {
            Err(secret::Error::Missing { .. }) => Ok(None),
            held => Self::of(&name, &held?).map(Some),
        }
    }

    /// A key that nobody keeps: a value that was digested with another one is the same only if its Secret was not written
    /// since.
    pub fn passing() -> Self {
        Self::new(rand::random())
    }

    fn of(name: &ObjectName, held: &secret::Held) -> Result<Self, Error> {
        let bytes = held.bytes(FIELD).unwrap_or_default();
        match <[u8; KEY_BYTES]>::try_from(bytes) {
            Ok(bytes) => Ok(Self::new(bytes)),
            Err(_) => Err(Error::Malformed {
                secret: name.clone(),
            }),
        }
    }

    fn new(key: [u8; KEY_BYTES]) -> Self {
        let id = Sha256::new()
            .chain_update("databricks-app-operator digest key id\0")
            .chain_update(key)
            .finalize();
        let mut block = Box::new([0; BLOCK_BYTES]);
        block[..KEY_BYTES].copy_from_slice(&key);
        Self {
            id: hex(&id[..4]),
            block: SecretBox::new(block),
        }
    }

    /// Tells keys apart: eight hex digits that say nothing of the key.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// HMAC-SHA256 of a value as lower-case hex. Equal values have different digests in different contexts, so that none
    /// shows who shares a value with whom; e.g. the object's uid and the variable's name.
    pub fn digest(&self, context: &str, value: &SecretString) -> String {
        let mac = Hmac::<Sha256>::new(self.block.expose_secret().into())
            .chain_update((context.len() as u64).to_le_bytes())
            .chain_update(context)
            .chain_update(value.expose_secret());
        hex(&mac.finalize().into_bytes())
    }
}

/// Whoever comes second takes the first one's key.
async fn create(client: &Client, name: &ObjectName) -> Result<secret::Held, Error> {
    let api: Api<Secret> = Api::namespaced(client.clone(), &name.namespace);
    let key: [u8; KEY_BYTES] = rand::random();
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(name.name.clone()),
            namespace: Some(name.namespace.clone()),
            ..ObjectMeta::default()
        },
        data: Some([(FIELD.to_owned(), ByteString(key.to_vec()))].into()),
        immutable: Some(true),
        ..Secret::default()
    };
    match api.create(&PostParams::default(), &secret).await {
        Ok(created) => Ok(secret::held(name, created)),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(secret::get(client, name).await?),
        Err(error) => Err(Error::Create {
            secret: name.clone(),
            source: Box::new(error),
        }),
    }
}

/// What a status remembers of a secret value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// How the digest is made.
    pub v: u32,
    /// Which key made the digest.
    #[serde(rename = "keyID")]
    pub key_id: String,
    /// Of the Secret, when its value was last compared.
    pub resource_version: String,
    /// Keyed digest of the value.
    pub digest: String,
}

/// What became of a value since its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Unchanged,
    /// The value is the same, the record is to be this one.
    Restamp(Record),
    /// The value is another one, or nobody can tell.
    Changed(Record),
}

impl Record {
    /// The record of a value that is in use from now on.
    pub fn new(
        context: &str,
        resource_version: &str,
        value: &SecretString,
        key: &DigestKey,
    ) -> Self {
        Self {
            v: VERSION,
            key_id: key.id.clone(),
            resource_version: resource_version.to_owned(),
            digest: key.digest(context, value),
        }
    }

    /// Whether the value is still the recorded one. With the record's own key its digest decides; with another key the
    /// Secret's resourceVersion, which changes with every write. Pure.
    pub fn verify(
        &self,
        context: &str,
        resource_version: &str,
        value: &SecretString,
        key: &DigestKey,
    ) -> Verdict {
        let now = Self::new(context, resource_version, value, key);
        let comparable = (self.v, &self.key_id) == (now.v, &now.key_id);
        let same = match comparable {
            true => self.digest == now.digest,
            false => self.resource_version == now.resource_version,
        };
        match same {
            true if *self == now => Verdict::Unchanged,
            true => Verdict::Restamp(now),
            false => Verdict::Changed(now),
        }
    }
}

#[cfg(test)]
mod tests;
