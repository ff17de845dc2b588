//! What an identity is made of, and where it is read from.

use std::fmt;

use futures::future::BoxFuture;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// The secret side of a connection. `Debug` prints no secret.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// A personal access token
    Token(SecretString),
    /// OAuth machine to machine
    OAuth {
        client_id: String,
        client_secret: SecretString,
    },
}

impl Credentials {
    /// Equal for equal credentials; only compared, never stored or shown.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        match self {
            Self::Token(token) => {
                hash.update(b"token\0");
                hash.update(token.expose_secret());
            }
            Self::OAuth {
                client_id,
                client_secret,
            } => {
                hash.update(b"oauth\0");
                hash.update(client_id);
                hash.update(b"\0");
                hash.update(client_secret.expose_secret());
            }
        }
        Fingerprint(hash.finalize().into())
    }

    /// For the `auth/…` part of the User-Agent.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Token(_) => "pat",
            Self::OAuth { .. } => "oauth-m2m",
        }
    }
}

/// The hash of a short token could be searched for, so not even that is printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint([u8; 32]);

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint")
    }
}

/// Where credentials come from. Asked at each token exchange, after a 401, and when the client is told to
/// look again; never on an ordinary call.
pub trait CredentialSource: Send + Sync {
    fn read(&self) -> BoxFuture<'_, Result<Credentials, SourceError>>;
}

/// Why credentials could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceReason {
    /// What should hold them does not exist
    Missing,
    /// It exists, without the key that was named
    KeyMissing,
    /// It could not be looked at; may pass
    Unreachable,
    /// What it holds can't be used
    Invalid,
}

/// The message names the object and the way out, never a value.
#[derive(Clone, Debug, thiserror::Error)]
#[error("reading credentials: {message}")]
pub struct SourceError {
    pub reason: SourceReason,
    pub message: String,
}
