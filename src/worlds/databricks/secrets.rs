//! Credentials from a Secret: rotation is noticed without a watch.
use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use secrecy::{ExposeSecret, SecretString};

use crate::api::names::{ConfigMapKeyRef, ObjectName, SecretKeyRef};
use crate::api::workspace::Auth;
use crate::databricks::{CredentialSource, Credentials, SourceError, SourceReason};
use crate::worlds::secret;

/// Reads what a Workspace's `auth` names, in the Workspace's own namespace.
pub struct SecretSource {
    pub client: Client,
    pub namespace: String,
    pub auth: Auth,
}

impl CredentialSource for SecretSource {
    fn read(&self) -> BoxFuture<'_, Result<Credentials, SourceError>> {
        self.credentials().boxed()
    }
}

impl SecretSource {
    async fn credentials(&self) -> Result<Credentials, SourceError> {
        if let Some(oauth) = &self.auth.oauth {
            let field = "auth.oauth.clientSecretRef";
            return Ok(Credentials::OAuth {
                client_id: oauth.client_id.clone(),
                client_secret: self.value(field, &oauth.client_secret_ref).await?,
            });
        }
        if let Some(token) = &self.auth.token {
            let value = self
                .value("auth.token.secretRef", &token.secret_ref)
                .await?;
            return Ok(Credentials::Token(value));
        }
        Err(SourceError {
            reason: SourceReason::Invalid,
            message: "spec.auth names no way to authenticate; set one of oauth, token".into(),
        })
    }

    async fn value(&self, field: &str, key: &SecretKeyRef) -> Result<SecretString, SourceError> {
        let name = ObjectName::new(&self.namespace, &key.name);
        let failed = |error: secret::Error| SourceError {
            reason: reason(&error),
            message: format!("spec.{field}: {error}"),
        };
        let held = secret::get(&self.client, &name).await.map_err(failed)?;
        let text = held.text(&key.key).map_err(failed)?;
        // `kubectl create secret --from-file` keeps the line break at the end of a file.
        let text = text.expose_secret().trim_end_matches(['\n', '\r']);
        if text.is_empty() {
            return Err(SourceError {
                reason: SourceReason::Invalid,
                message: format!("spec.{field}: Secret {name}: key {:?} is empty", key.key),
            });
        }
        Ok(SecretString::from(text))
    }
}

fn reason(error: &secret::Error) -> SourceReason {
    match error {
        secret::Error::Missing { .. } => SourceReason::Missing,
        secret::Error::KeyMissing { .. } => SourceReason::KeyMissing,
        secret::Error::Forbidden { .. } | secret::Error::Unreachable { .. } => {
            SourceReason::Unreachable
        }
        secret::Error::NoText { .. } => SourceReason::Invalid,
    }
}

/// The PEM that a Workspace trusts beside the public authorities.
pub async fn ca_bundle(
    client: &Client,
    namespace: &str,
    key: &ConfigMapKeyRef,
) -> Result<Vec<u8>, SourceError> {
    let place = format!(
        "spec.tls.caBundleConfigMapRef: ConfigMap {namespace}/{}",
        key.name
    );
    let failed = |reason, why: String| SourceError {
        reason,
        message: format!("{place} {why}"),
    };
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    match api.get_opt(&key.name).await {
        Ok(Some(map)) => match map.data.unwrap_or_default().remove(&key.key) {
            Some(pem) => Ok(pem.into_bytes()),
            None => Err(failed(
                SourceReason::KeyMissing,
                format!("has no key {:?}", key.key),
            )),
        },
        Ok(None) => Err(failed(
            SourceReason::Missing,
            "does not exist; create it".into(),
        )),
        Err(error) => Err(failed(
            SourceReason::Unreachable,
            format!("cannot be read: {error}"),
        )),
    }
}
