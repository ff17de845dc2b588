//! Workload identity federation: policies that say whose JSON Web Tokens stand for whom, and the check of such a token.
//! Also the secrets of service principals, which the same account API makes.
use std::collections::BTreeMap;
use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use serde_json::{Map, Value, json};

use super::directory::Kind;
use super::identity::Caller;
use super::paging::{object, page};
use super::{Workspace, short_id, uuid};
use crate::error::{ApiError, Outcome};
use crate::http::{Call, Reply, Route, text};

macro_rules! routes {
    (policies: $($policies:literal),*; secrets: $($secrets:literal),*;) => {
        &[
            $(
                Route::new("GET", $policies, list),
                Route::new("POST", $policies, create),
                Route::new("GET", concat!($policies, "/{policy_id}"), get),
                Route::new("PATCH", concat!($policies, "/{policy_id}"), update),
                Route::new("DELETE", concat!($policies, "/{policy_id}"), delete),
            )*
            $(
                Route::new("GET", $secrets, list_secrets),
                Route::new("POST", $secrets, create_secret),
                Route::new("DELETE", concat!($secrets, "/{secret_id}"), delete_secret),
            )*
        ]
    };
}

/// Account APIs, on the workspace's own host; secrets also by the path that a workspace proxies.
pub const ROUTES: &[Route] = routes! {
    policies:
        "/api/2.0/accounts/{account_id}/federationPolicies",
        "/api/2.0/accounts/{account_id}/servicePrincipals/{service_principal_id}/federationPolicies";
    secrets:
        "/api/2.0/accounts/{account_id}/servicePrincipals/{service_principal_id}/credentials/secrets",
        "/api/2.0/accounts/servicePrincipals/{service_principal_id}/credentials/secrets";
};

/// So long an issuer may take to show its keys.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub struct Policies {
    /// By (SCIM id of the service principal, none for account-wide policies; policy id).
    policies: BTreeMap<(Option<i64>, String), Map<String, Value>>,
    /// Secrets by (SCIM id, secret id): how they read, and what they are.
    secrets: BTreeMap<(i64, String), (Value, String)>,
}

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
    pub(super) fn key_source(&self, token: &str, client_id: Option<&str>) -> Option<KeySource> {
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
    pub(super) fn federate(
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

/// The service principal in the path; `None` on account-wide routes.
fn owner(workspace: &Workspace, call: &Call<'_>) -> Result<Option<i64>, ApiError> {
    let id = call.param("service_principal_id");
    if id.is_empty() {
        return Ok(None);
    }
    id.parse()
        .ok()
        .filter(|id| workspace.directory.application_id(*id).is_some())
        .map(Some)
        .ok_or_else(|| ApiError::missing(format!("Service principal {id} does not exist.")))
}

fn key(workspace: &Workspace, call: &Call<'_>) -> Result<(Option<i64>, String), ApiError> {
    let key = (owner(workspace, call)?, call.param("policy_id").to_owned());
    match workspace.federation.policies.contains_key(&key) {
        true => Ok(key),
        false => Err(ApiError::missing(format!(
            "Federation policy {} does not exist.",
            key.1
        ))),
    }
}

fn list(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let owner = owner(workspace, call)?;
    let policies = workspace
        .federation
        .policies
        .iter()
        .filter(|((of, _), _)| *of == owner)
        .map(|((_, id), policy)| (id.clone(), policy));
    Ok(page(
        call,
        "policies",
        workspace.rules.page_size,
        policies,
        object,
    )?
    .into())
}

fn create(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let owner = owner(workspace, call)?;
    let mut policy = call.json()?;
    check(owner, &policy)?;
    let id = call
        .query("policy_id")
        .map_or_else(|| short_id(12), str::to_owned);
    if workspace
        .federation
        .policies
        .contains_key(&(owner, id.clone()))
    {
        return Err(ApiError::exists(format!(
            "Federation policy {id} already exists."
        )));
    }
    let now = workspace.stamp_text();
    let name = match owner {
        Some(owner) => format!(
            "accounts/{}/servicePrincipals/{owner}/federationPolicies/{id}",
            workspace.account_id
        ),
        None => format!("accounts/{}/federationPolicies/{id}", workspace.account_id),
    };
    for (field, value) in [
        ("name", name),
        ("policy_id", id.clone()),
        ("uid", uuid()),
        ("create_time", now.clone()),
        ("update_time", now),
    ] {
        policy.insert(field.into(), value.into());
    }
    let shown = Value::Object(policy.clone());
    workspace.federation.policies.insert((owner, id), policy);
    Ok(shown.into())
}

/// `subject` belongs on policies of service principals, and nowhere else.
fn check(owner: Option<i64>, policy: &Map<String, Value>) -> Result<(), ApiError> {
    let oidc = policy
        .get("oidc_policy")
        .and_then(Value::as_object)
        .ok_or_else(|| ApiError::invalid("Missing required field: oidc_policy"))?;
    text(oidc, "issuer")
        .ok_or_else(|| ApiError::invalid("Missing required field: oidc_policy.issuer"))?;
    match (owner, text(oidc, "subject")) {
        (Some(_), None) => Err(ApiError::invalid(
            "Missing required field: oidc_policy.subject",
        )),
        (None, Some(_)) => Err(ApiError::invalid(
            "oidc_policy.subject must not be set on an account-wide policy",
        )),
        _ => Ok(()),
    }
}

fn get(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let key = key(workspace, call)?;
    Ok(json!(workspace.federation.policies.get(&key)).into())
}

fn update(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let key = key(workspace, call)?;
    let body = call.json()?;
    let mut policy = workspace
        .federation
        .policies
        .get(&key)
        .cloned()
        .unwrap_or_default();
    for field in ["description", "oidc_policy"] {
        let masked = call
            .query("update_mask")
            .is_none_or(|mask| mask == "*" || mask.split(',').any(|m| m.starts_with(field)));
        if let (true, Some(value)) = (masked, body.get(field)) {
            policy.insert(field.into(), value.clone());
        }
    }
    check(key.0, &policy)?;
    policy.insert("update_time".into(), workspace.stamp_text().into());
    let shown = Value::Object(policy.clone());
    workspace.federation.policies.insert(key, policy);
    Ok(shown.into())
}

fn delete(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let key = key(workspace, call)?;
    workspace.federation.policies.remove(&key);
    Ok(Reply::empty())
}

/// Its SCIM id and application id.
fn principal(workspace: &Workspace, call: &Call<'_>) -> Result<(i64, String), ApiError> {
    let missing = || ApiError::missing("Service principal does not exist.");
    let id = owner(workspace, call)?.ok_or_else(missing)?;
    let application_id = workspace.directory.application_id(id).ok_or_else(missing)?;
    Ok((id, application_id))
}

fn list_secrets(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let (owner, _) = principal(workspace, call)?;
    let secrets: Vec<&Value> = workspace
        .federation
        .secrets
        .iter()
        .filter(|((of, _), _)| *of == owner)
        .map(|(_, (shown, _))| shown)
        .collect();
    Ok(json!({"secrets": secrets}).into())
}

/// The one answer that has the secret in it.
fn create_secret(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let (owner, application_id) = principal(workspace, call)?;
    let (id, secret) = (uuid(), format!("dose{}", short_id(32)));
    let now = workspace.stamp_text();
    let shown = json!({
        "id": id,
        "status": "ACTIVE",
        "secret_hash": short_id(32),
        "create_time": now,
        "update_time": now,
    });
    workspace.add_client(&application_id, &secret);
    let kept = (shown.clone(), secret.clone());
    workspace.federation.secrets.insert((owner, id), kept);
    let mut answer = shown;
    answer["secret"] = secret.into();
    Ok(answer.into())
}

fn delete_secret(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let (owner, application_id) = principal(workspace, call)?;
    let id = call.param("secret_id");
    let (_, secret) = workspace
        .federation
        .secrets
        .remove(&(owner, id.to_owned()))
        .ok_or_else(|| ApiError::missing(format!("Secret {id} does not exist.")))?;
    workspace.remove_client(&application_id, &secret);
    Ok(Reply::empty())
}
