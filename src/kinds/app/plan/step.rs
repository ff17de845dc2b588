//! What can be done to an app: each step one remote write.
use std::collections::BTreeMap;
use std::fmt;

use secrecy::SecretString;
use serde_json::{Value, json};

use super::super::acl::{self, Acl};
use super::super::code::{Origin, Values};
use super::super::fields;
use super::super::guard;
use super::super::spec::InFlightStep;
use crate::api::digest;
use crate::engine::managed;

/// One remote write.
#[derive(Clone)]
pub enum Step {
    Create {
        no_compute: bool,
        body: Value,
    },
    Grant {
        acl: Acl,
        /// Everybody else's direct grants go.
        replace: bool,
    },
    /// Gives the app's service principal back what it may do with a resource.
    Restore {
        stripped: guard::Stripped,
    },
    Update {
        fields: BTreeMap<&'static str, Value>,
    },
    Start,
    Stop {
        /// To be started again.
        restart: bool,
    },
    /// Lets the app's service principal read a private repository.
    Credential {
        /// `None`: the first one.
        id: Option<i64>,
        principal: i64,
        provider: &'static str,
        token: SecretString,
        /// Keyed digest of the token.
        digest: String,
    },
    MakeFolder {
        path: String,
    },
    Upload {
        path: String,
        content: bytes::Bytes,
    },
    Deploy {
        digest: String,
        last_deployment_id: String,
        from: Origin,
        values: Values,
        /// What crashed, if this puts the code back that ran before.
        rejected: Option<String>,
    },
    /// Removes what the operator uploaded and nothing uses any more.
    Sweep {
        folder: String,
        /// Digest of the content; empty: all of the app's.
        upload: String,
    },
    Delete,
}

impl Step {
    /// Of the step's content, to recognise one that was refused before.
    pub fn digest(&self) -> String {
        match self {
            Self::Create { body, .. } => digest::of(body),
            Self::Grant { acl, replace } => digest::of(&json!([acl::acl_body(acl), replace])),
            Self::Restore { stripped } => stripped.digest(),
            Self::Update { fields } => update_digest(fields),
            Self::Credential { digest, id, .. } => format!("{digest} {id:?}"),
            Self::Deploy { digest, .. } => digest.clone(),
            Self::MakeFolder { path } | Self::Upload { path, .. } => path.clone(),
            Self::Sweep { folder, .. } => folder.clone(),
            Self::Stop { restart } => restart.to_string(),
            Self::Start | Self::Delete => String::new(),
        }
    }

    /// As what it is recorded before it is made, if it is.
    pub fn written_ahead(&self) -> Option<InFlightStep> {
        match self {
            Self::Create { .. } => Some(InFlightStep::Create),
            Self::Deploy { .. } => Some(InFlightStep::Deploy),
            Self::Stop { restart: true } => Some(InFlightStep::Restart),
            _ => None,
        }
    }

    /// Everything secret that the step sends.
    pub fn secrets(&self) -> Vec<&SecretString> {
        match self {
            Self::Deploy { values, .. } => values.0.values().collect(),
            Self::Credential { token, .. } => vec![token],
            Self::Create { .. }
            | Self::Grant { .. }
            | Self::Restore { .. }
            | Self::Update { .. }
            | Self::Start
            | Self::Stop { .. }
            | Self::MakeFolder { .. }
            | Self::Upload { .. }
            | Self::Sweep { .. }
            | Self::Delete => Vec::new(),
        }
    }
}

/// By content, as far as a step shows it: two deployments of one digest are the same.
impl PartialEq for Step {
    fn eq(&self, other: &Self) -> bool {
        use managed::Step as _;
        self.verb() == other.verb() && self.digest() == other.digest()
    }
}

impl managed::Step for Step {
    fn verb(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Grant { .. } => "grant",
            Self::Restore { .. } => "restore",
            Self::Update { .. } => "update",
            Self::Start => "start",
            Self::Stop { restart: false } => "stop",
            Self::Stop { restart: true } => "restart",
            Self::Credential { .. } => "credential",
            Self::MakeFolder { .. } => "mkdirs",
            Self::Upload { .. } => "upload",
            Self::Deploy { rejected: None, .. } => "deploy",
            Self::Deploy { .. } => "rollback",
            Self::Sweep { .. } => "sweep",
            Self::Delete => "delete",
        }
    }

    fn fields(&self) -> Vec<&'static str> {
        match self {
            Self::Update { fields: changed } => {
                let path = |name: &&str| fields::by_wire(name).map_or("", |field| field.path);
                changed.keys().map(path).collect()
            }
            Self::Grant { .. } => vec!["permissions"],
            Self::Restore { .. } => vec!["resources"],
            Self::Start | Self::Stop { .. } => vec!["lifecycle.state"],
            Self::Deploy { .. } => vec!["deployment"],
            Self::Credential { .. } => vec!["source.git.credentialSecretRef"],
            Self::MakeFolder { .. } | Self::Upload { .. } | Self::Sweep { .. } => vec!["source"],
            Self::Create { .. } | Self::Delete => Vec::new(),
        }
    }
}

/// Never prints a value: only what is done and to which fields.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use managed::Step as _;
        match self {
            Self::MakeFolder { path } | Self::Upload { path, .. } => {
                write!(f, "{} {path}", self.verb())
            }
            Self::Sweep { folder, .. } => write!(f, "{} {folder}", self.verb()),
            Self::Restore { stripped } => write!(f, "{} {stripped}", self.verb()),
            _ if self.fields().is_empty() => f.write_str(self.verb()),
            _ => write!(f, "{} {}", self.verb(), self.fields().join(", ")),
        }
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Digest of a change of settings, to recognise one that failed before.
pub fn update_digest(fields: &BTreeMap<&'static str, Value>) -> String {
    digest::of(&json!(fields))
}
