//! Values of Secrets, by GET alone: the operator needs no right to list them, and holds none longer than it must.
use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use secrecy::SecretString;

use crate::api::names::ObjectName;

/// Why a value can't be had. Names the Secret and the way out, never a value.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("Secret {secret} does not exist; create it")]
    Missing { secret: ObjectName },
    #[error("Secret {secret} has no key {key:?}, only [{}]", known.join(", "))]
    KeyMissing {
        secret: ObjectName,
        key: String,
        known: Vec<String>,
    },
    #[error(
        "Secret {secret} cannot be read: the operator lacks the right; list namespace {:?} in the chart's rbac.secretNamespaces, or apply its missing Role and RoleBinding: {}",
        secret.namespace,
        grant(&secret.namespace, account)
    )]
    Forbidden {
        secret: ObjectName,
        /// Namespace and name of the operator's ServiceAccount.
        account: (String, String),
    },
    #[error("Secret {secret} cannot be read: {source}")]
    Unreachable {
        secret: ObjectName,
        #[source]
        source: Box<kube::Error>,
    },
    #[error("Secret {secret}: key {key:?} is no text; store it as UTF-8")]
    NoText { secret: ObjectName, key: String },
}

/// A Secret as one GET gave it. Not printable.
pub struct Held {
    secret: ObjectName,
    /// Changes with every write to the Secret.
    pub resource_version: String,
    data: BTreeMap<String, ByteString>,
}

impl Held {
    /// The text under `key`, byte by byte as it is stored, possibly empty.
    pub fn text(&self, key: &str) -> Result<SecretString, Error> {
        let text = std::str::from_utf8(self.bytes(key)?).map_err(|_| Error::NoText {
            secret: self.secret.clone(),
            key: key.to_owned(),
        })?;
        Ok(SecretString::from(text))
    }

    /// What is stored under `key`.
    pub fn bytes(&self, key: &str) -> Result<&[u8], Error> {
        match self.data.get(key) {
            Some(bytes) => Ok(&bytes.0),
            None => Err(Error::KeyMissing {
                secret: self.secret.clone(),
                key: key.to_owned(),
                known: self.data.keys().cloned().collect(),
            }),
        }
    }
}

/// The Secret of that name.
pub async fn get(client: &Client, secret: &ObjectName) -> Result<Held, Error> {
    let api: Api<Secret> = Api::namespaced(client.clone(), &secret.namespace);
    match api.get_opt(&secret.name).await {
        Ok(Some(found)) => Ok(held(secret, found)),
        Ok(None) => Err(Error::Missing {
            secret: secret.clone(),
        }),
        Err(source) => Err(refused(secret, source)),
    }
}

/// What a failed GET means. The API server says who was refused; a person's own rights are theirs to mend.
fn refused(secret: &ObjectName, source: kube::Error) -> Error {
    let secret = secret.clone();
    if let kube::Error::Api(status) = &source
        && status.code == 403
        && let Some(account) = service_account(&status.message)
    {
        return Error::Forbidden { secret, account };
    }
    Error::Unreachable {
        secret,
        source: Box::new(source),
    }
}

/// Namespace and name of the ServiceAccount that a refusal names, as
/// `… User "system:serviceaccount:NAMESPACE:NAME" cannot get …` (k8s.io/apiserver, endpoints/handlers/responsewriters).
fn service_account(refusal: &str) -> Option<(String, String)> {
    let (_, user) = refusal.split_once("\"system:serviceaccount:")?;
    let (user, _) = user.split_once('"')?;
    let (namespace, name) = user.split_once(':')?;
    Some((namespace.to_owned(), name.to_owned()))
}

/// The commands that let the ServiceAccount read the namespace's Secrets. Not under the name of the chart's own Role, which
/// Helm would then refuse to make.
fn grant(namespace: &str, (home, name): &(String, String)) -> String {
    format!(
        "kubectl -n {namespace} create role {name}-reads-secrets --verb=get --resource=secrets && \
         kubectl -n {namespace} create rolebinding {name}-reads-secrets --role={name}-reads-secrets --serviceaccount={home}:{name}"
    )
}

/// What an answer of the API server holds.
pub(super) fn held(secret: &ObjectName, found: Secret) -> Held {
    Held {
        secret: secret.clone(),
        resource_version: found.metadata.resource_version.unwrap_or_default(),
        data: found.data.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use secrecy::ExposeSecret;
    use serde_json::json;

    use super::*;

    fn prod() -> Held {
        let secret = json!({"metadata": {"name": "prod", "namespace": "team", "resourceVersion": "7"},
            "data": {"token": "ZGFwaS0xCg==", "empty": "", "raw": "/w=="}});
        held(
            &ObjectName::new("team", "prod"),
            serde_json::from_value(secret).unwrap(),
        )
    }

    #[test]
    fn a_value_is_given_as_it_is_stored() {
        assert_eq!(prod().text("token").unwrap().expose_secret(), "dapi-1\n");
        assert_eq!(prod().text("empty").unwrap().expose_secret(), "");
        assert_eq!(prod().bytes("raw").unwrap(), [255]);
        assert_eq!(prod().resource_version, "7");
    }

    fn refusal(user: &str) -> String {
        let message = format!(
            "secrets \"prod\" is forbidden: User \"{user}\" cannot get resource \"secrets\" in API group \"\" in the namespace \"team\""
        );
        let status = kube::core::Status::failure(&message, "Forbidden").with_code(403);
        let secret = ObjectName::new("team", "prod");
        refused(&secret, kube::Error::Api(Box::new(status))).to_string()
    }

    #[test]
    fn a_missing_right_is_quoted_as_the_commands_that_grant_it() {
        let said = refusal("system:serviceaccount:ops:operator");
        assert_eq!(
            said,
            "Secret team/prod cannot be read: the operator lacks the right; list namespace \"team\" in the chart's \
             rbac.secretNamespaces, or apply its missing Role and RoleBinding: \
             kubectl -n team create role operator-reads-secrets --verb=get --resource=secrets && \
             kubectl -n team create rolebinding operator-reads-secrets --role=operator-reads-secrets --serviceaccount=ops:operator"
        );
        let said = refusal("ann@example.com");
        assert!(
            said.contains("ann@example.com") && !said.contains("rolebinding"),
            "{said}"
        );
    }

    #[test]
    fn a_refusal_names_secret_and_keys_but_no_value() {
        let error = prod().text("pasword").unwrap_err();
        assert_eq!(
            error.to_string(),
            "Secret team/prod has no key \"pasword\", only [empty, raw, token]"
        );
        let error = prod().text("raw").unwrap_err().to_string();
        assert!(error.contains("\"raw\" is no text"), "{error}");
    }
}
