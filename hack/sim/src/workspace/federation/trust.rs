//! The check of a subject token: signature, issuer, audience, expiry and subject against the policies in reach.
use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use serde_json::{Map, Value};

use super::super::directory::Kind;
use super::super::identity::Caller;
use super::super::{Workspace, short_id};
use crate::error::ApiError;
use crate::http::text;

/// So long an issuer may take to show its keys.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where an issuer's keys are to be had.
#[derive(Clone, Debug, PartialEq)]
pub enum KeySource {
    /// The document with the keys itself.
    Jwks(String),
    /// The issuer, whose discovery document names it.
    Issuer(String),
}

impl KeySource {
    /// The error says what could not be fetched and why.
    pub async fn fetch(&self) -> Result<JwkSet, String> {
        // A second provider is no error: the process has one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .timeout(PATIENCE)
            .build()
            .map_err(|e| e.to_string())?;
        let url = match self {
            KeySource::Jwks(url) => url.clone(),
            KeySource::Issuer(issuer) => {
                let at = format!(
                    "{}/.well-known/openid-configuration",
                    issuer.trim_end_matches('/')
                );
                let document: Value = fetch(&client, &at).await?;
                document["jwks_uri"]
                    .as_str()
                    .map(str::to_owned)
                    .ok_or_else(|| format!("{at} names no jwks_uri"))?
            }
        };
        fetch(&client, &url).await
    }
}

async fn fetch<T: serde::de::DeserializeOwned>(
    client: &reqwest::Client,
    url: &str,
) -> Result<T, String> {
    let failed = |e: reqwest::Error| format!("fetch {url}: {e}");
    let answer = client.get(url).send().await.map_err(failed)?;
    answer
        .error_for_status()
        .map_err(failed)?
        .json()
        .await
        .map_err(failed)
}

impl Workspace {
    pub fn seed_policy(&mut self, service_principal: Option<&str>, oidc: &Map<String, Value>) {
        let owner =
            service_principal.map(|id| self.directory.ensure(Kind::ServicePrincipal, id, Some(id)));
        let mut policy = Map::new();
        policy.insert("oidc_policy".into(), Value::Object(oidc.clone()));
        let id = short_id(12);
        self.federation.policies.insert((owner, id), policy);
    }

    /// Where the keys for this token must be fetched; `None` if a policy has them, or if no policy trusts its issuer.
    pub(in crate::workspace) fn key_source(
        &self,
        token: &str,
        client_id: Option<&str>,
    ) -> Option<KeySource> {
        let claims = unverified_claims(token)?;
        let oidc = self.trusting(&claims, client_id).next()?;
        if text(oidc, "jwks_json").is_some() {
            return None;
        }
        match text(oidc, "jwks_uri") {
            Some(url) => Some(KeySource::Jwks(url.to_owned())),
            None => Some(KeySource::Issuer(text(oidc, "issuer")?.to_owned())),
        }
    }

    /// Whom a subject token stands for: its signature, issuer, audience, expiry and subject must all fit one policy.
    pub(in crate::workspace) fn federate(
        &self,
        token: &str,
        client_id: Option<&str>,
        fetched: Option<&Result<JwkSet, String>>,
    ) -> Result<Caller, ApiError> {
        let refused = |message: String| ApiError::oauth(400, "invalid_grant", message);
        let claims = unverified_claims(token)
            .ok_or_else(|| refused("subject_token is no JSON Web Token".into()))?;
        let mut reason = format!(
            "no federation policy trusts issuer {} for {}",
            claims["iss"],
            client_id.map_or("the account".to_owned(), |id| format!(
                "service principal {id}"
            ))
        );
        for oidc in self.trusting(&claims, client_id) {
            match self.judge(token, oidc, client_id, fetched) {
                Ok(caller) => return Ok(caller),
                Err(other) => reason = other,
            }
        }
        Err(refused(reason))
    }

    /// Policies in reach that trust the issuer of these claims.
    fn trusting<'a>(
        &'a self,
        claims: &'a Value,
        client_id: Option<&str>,
    ) -> impl Iterator<Item = &'a Map<String, Value>> {
        let owner = client_id.map(|id| self.directory.find(Kind::ServicePrincipal, id));
        self.federation
            .policies
            .iter()
            .filter(move |((of, _), _)| match owner {
                None => of.is_none(),
                Some(id) => id.is_some() && *of == id,
            })
            .filter_map(|(_, policy)| policy.get("oidc_policy")?.as_object())
            .filter(|oidc| text(oidc, "issuer") == claims["iss"].as_str())
    }

    fn judge(
        &self,
        token: &str,
        oidc: &Map<String, Value>,
        client_id: Option<&str>,
        fetched: Option<&Result<JwkSet, String>>,
    ) -> Result<Caller, String> {
        let keys = match (text(oidc, "jwks_json"), fetched) {
            (Some(inline), _) => serde_json::from_str(inline)
                .map_err(|e| format!("jwks_json of the policy is no key set: {e}"))?,
            (None, Some(fetched)) => fetched.clone()?,
            (None, None) => return Err("the issuer's keys are not known".into()),
        };
        let claims = self.verify(token, &keys, oidc)?;
        let subject_claim = text(oidc, "subject_claim").unwrap_or("sub");
        let subject = claims
            .get(subject_claim)
            .and_then(Value::as_str)
            .unwrap_or_default();
        match (text(oidc, "subject"), client_id) {
            (Some(expected), _) if expected != subject => {
                Err(format!("the token's subject is {subject}, not {expected}"))
            }
            (_, Some(id)) => Ok(Caller {
                name: id.to_owned(),
                kind: Kind::ServicePrincipal,
            }),
            (_, None) => [Kind::User, Kind::ServicePrincipal]
                .into_iter()
                .find_map(|kind| {
                    let name = self.directory.canonical(kind, subject)?;
                    Some(Caller { name, kind })
                })
                .ok_or_else(|| format!("{subject} is no member of this workspace")),
        }
    }

    fn verify(
        &self,
        token: &str,
        keys: &JwkSet,
        oidc: &Map<String, Value>,
    ) -> Result<Map<String, Value>, String> {
        let header = decode_header(token).map_err(|e| format!("the token's header: {e}"))?;
        let key = match &header.kid {
            Some(kid) => keys.find(kid),
            None => keys.keys.first(),
        }
        .ok_or("the token is signed with a key that its issuer doesn't show")?;
        let key = DecodingKey::from_jwk(key).map_err(|e| format!("the issuer's key: {e}"))?;
        let audiences: Vec<&str> = oidc
            .get("audiences")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let mut validation = Validation::new(header.alg);
        match audiences.is_empty() {
            true => validation.set_audience(&[&self.account_id]),
            false => validation.set_audience(&audiences),
        }
        decode::<Map<String, Value>>(token, &key, &validation)
            .map(|verified| verified.claims)
            .map_err(|e| format!("the token is not valid: {e}"))
    }
}

fn unverified_claims(token: &str) -> Option<Value> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&payload).ok()
}
