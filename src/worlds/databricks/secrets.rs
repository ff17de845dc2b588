//! Credentials from a Secret, by GET alone: rotation is noticed without a watch, and the operator needs no right to list
//! Secrets.
use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};
use secrecy::SecretString;

use crate::api::names::{ConfigMapKeyRef, SecretKeyRef};
use crate::api::workspace::Auth;
use crate::databricks::{CredentialSource, Credentials, SourceError, SourceReason};

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
        let place = format!("spec.{field}: Secret {}/{}", self.namespace, key.name);
        let failed = |reason, why: String| SourceError {
            reason,
            message: format!("{place} {why}"),
        };
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let secret = match api.get_opt(&key.name).await {
            Ok(Some(secret)) => secret,
            Ok(None) => {
                return Err(failed(
                    SourceReason::Missing,
                    "does not exist; create it".into(),
                ));
            }
            Err(error) => {
                return Err(failed(
                    SourceReason::Unreachable,
                    format!("cannot be read: {error}"),
                ));
            }
        };
        let data = secret.data.unwrap_or_default();
        let Some(value) = data.get(&key.key) else {
            let keys: Vec<&str> = data.keys().map(String::as_str).collect();
            let why = format!("has no key {:?}, only [{}]", key.key, keys.join(", "));
            return Err(failed(SourceReason::KeyMissing, why));
        };
        let text = String::from_utf8(value.0.clone()).map_err(|_| {
            failed(
                SourceReason::Invalid,
                format!("key {:?} is no text", key.key),
            )
        })?;
        // `kubectl create secret --from-file` keeps the line break at the end of a file.
        let text = text.trim_end_matches(['\n', '\r']);
        if text.is_empty() {
            return Err(failed(
                SourceReason::Invalid,
                format!("key {:?} is empty", key.key),
            ));
        }
        Ok(SecretString::from(text))
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
