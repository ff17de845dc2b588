//! Who is calling: personal access tokens, OAuth tokens, and the documents that tell clients where to get one.
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::directory::Kind;
use super::federation::KeySource;
use super::{Workspace, short_id};
use crate::config::Config;
use crate::error::{ApiError, Outcome};
use crate::http::{Call, Route};

const TOKEN: &str = "/oidc/v1/token";

pub const ROUTES: &[Route] = &[
    Route::public("GET", "/.well-known/databricks-config", databricks_config),
    Route::public(
        "GET",
        "/oidc/.well-known/oauth-authorization-server",
        authorization_server,
    ),
    Route::public(
        "GET",
        "/oidc/.well-known/openid-configuration",
        authorization_server,
    ),
    Route::public("POST", TOKEN, token),
];

/// Whoever a token stands for.
#[derive(Clone, Debug, PartialEq)]
pub struct Caller {
    /// E-mail of a user, application id of a service principal.
    pub name: String,
    pub kind: Kind,
}

#[derive(Debug, Default)]
pub struct Tokens {
    pats: BTreeMap<String, String>,
    /// Client ids with their secrets; one may have several.
    clients: BTreeSet<(String, String)>,
    /// OAuth access tokens: of whom, and until when.
    issued: BTreeMap<String, (Caller, Instant)>,
}

impl Tokens {
    /// A new access token; those that have expired are forgotten.
    fn issue(&mut self, caller: Caller, until: Instant) -> String {
        let now = Instant::now();
        self.issued.retain(|_, (_, expiry)| *expiry > now);
        let token = format!("sim-oauth-{}", short_id(40));
        self.issued.insert(token.clone(), (caller, until));
        token
    }
}

impl Workspace {
    /// The two groups that every workspace has, and those who hold a token from the start.
    pub(super) fn admit(&mut self, config: &Config) {
        self.directory.ensure(Kind::Group, "admins", None);
        self.directory.ensure(Kind::Group, "users", None);
        for (token, user) in &config.pats {
            self.directory.ensure(Kind::User, user, None);
            self.tokens.pats.insert(token.clone(), user.clone());
        }
        for (id, secret) in &config.oauth_clients {
            self.directory
                .ensure(Kind::ServicePrincipal, id, Some(id.as_str()));
            self.add_client(id, secret);
        }
    }

    /// Lets a service principal in with a secret made for it.
    pub(super) fn add_client(&mut self, application_id: &str, secret: &str) {
        self.tokens
            .clients
            .insert((application_id.to_owned(), secret.to_owned()));
    }

    pub(super) fn remove_client(&mut self, application_id: &str, secret: &str) {
        self.tokens
            .clients
            .remove(&(application_id.to_owned(), secret.to_owned()));
    }

    /// The caller behind an `Authorization` header.
    pub fn authenticate(&self, authorization: Option<&str>) -> Result<Caller, ApiError> {
        let refused = |message: &str| ApiError::new(401, "UNAUTHENTICATED", message);
        let token = authorization
            .and_then(|value| {
                let (scheme, token) = value.split_once(' ')?;
                scheme
                    .eq_ignore_ascii_case("bearer")
                    .then_some(token.trim())
            })
            .ok_or_else(|| {
                refused("Credential was not sent or was of an unsupported type for this API.")
            })?;
        if let Some(user) = self.tokens.pats.get(token) {
            return Ok(Caller {
                name: user.clone(),
                kind: Kind::User,
            });
        }
        match self.tokens.issued.get(token) {
            Some((caller, until)) if *until > Instant::now() => Ok(caller.clone()),
            Some(_) => Err(refused("The access token has expired.")),
            None => Err(refused("Invalid access token.")),
        }
    }
}

/// Where a client learns what kind of host this is: <https://github.com/databricks/databricks-sdk-go>, `config/`.
fn databricks_config(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let base = call.base_url;
    Ok(json!({
        "oidc_endpoint": format!("{base}/oidc"),
        "account_id": workspace.account_id,
        "workspace_id": workspace.id.to_string(),
        "cloud": "AWS",
        "host_type": "workspace",
        "token_federation_default_oidc_audiences": [format!("{base}/oidc/v1/token")],
    })
    .into())
}

fn authorization_server(_: &mut Workspace, call: &Call<'_>) -> Outcome {
    let base = call.base_url;
    Ok(json!({
        "issuer": format!("{base}/oidc"),
        "authorization_endpoint": format!("{base}/oidc/v1/authorize"),
        "token_endpoint": format!("{base}/oidc/v1/token"),
        "scopes_supported": ["all-apis", "offline_access", "openid"],
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
        "grant_types_supported": [CLIENT_CREDENTIALS, TOKEN_EXCHANGE],
    })
    .into())
}

const CLIENT_CREDENTIALS: &str = "client_credentials";
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// Where the keys are that a token exchange needs to check its subject token, if the workspace doesn't have them.
pub fn keys_wanted(workspace: &Workspace, route: &Route, body: &[u8]) -> Option<KeySource> {
    if route.pattern != TOKEN {
        return None;
    }
    let form: BTreeMap<String, String> = form_urlencoded::parse(body).into_owned().collect();
    let token = form.get("subject_token")?;
    workspace.key_source(token, form.get("client_id").map(String::as_str))
}

fn token(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let form: BTreeMap<String, String> = form_urlencoded::parse(call.body).into_owned().collect();
    let field = |name: &str| form.get(name).map(String::as_str).filter(|v| !v.is_empty());
    let caller = match field("grant_type") {
        Some(CLIENT_CREDENTIALS) => {
            let (id, secret) = basic(call)
                .or_else(|| Some((field("client_id")?.into(), field("client_secret")?.into())))
                .ok_or_else(|| {
                    ApiError::oauth(401, "invalid_client", "Client authentication is missing")
                })?;
            let known = workspace.tokens.clients.contains(&(id.clone(), secret));
            known
                .then_some(Caller {
                    name: id,
                    kind: Kind::ServicePrincipal,
                })
                .ok_or_else(|| {
                    ApiError::oauth(401, "invalid_client", "Client authentication failed")
                })?
        }
        Some(TOKEN_EXCHANGE) => {
            let subject_token = field("subject_token").ok_or_else(|| {
                ApiError::oauth(400, "invalid_request", "subject_token is missing")
            })?;
            if field("subject_token_type") != Some(JWT) {
                return Err(ApiError::oauth(
                    400,
                    "invalid_request",
                    format!("subject_token_type must be {JWT}"),
                ));
            }
            workspace.federate(subject_token, field("client_id"), call.keys)?
        }
        Some(other) => {
            return Err(ApiError::oauth(
                400,
                "unsupported_grant_type",
                format!("The grant type {other} is not supported"),
            ));
        }
        None => {
            return Err(ApiError::oauth(
                400,
                "invalid_request",
                "grant_type is missing",
            ));
        }
    };
    Ok(grant(workspace, call, caller, field("scope")).into())
}

fn grant(workspace: &mut Workspace, call: &Call<'_>, caller: Caller, scope: Option<&str>) -> Value {
    let life = call.token_lifetime;
    let token = workspace.tokens.issue(caller, Instant::now() + life);
    json!({
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": life.as_secs(),
        "scope": scope.unwrap_or("all-apis"),
    })
}

/// Client id and secret of HTTP Basic, the usual way of machine-to-machine clients.
fn basic(call: &Call<'_>) -> Option<(String, String)> {
    let encoded = call.headers.get("authorization")?.strip_prefix("Basic ")?;
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    let decode = |part: &str| {
        form_urlencoded::parse(format!("v={part}").as_bytes())
            .next()
            .map(|(_, v)| v.into_owned())
    };
    // RFC 6749 has both parts form-encoded; most clients send them as they are.
    match part_is_plain(id) && part_is_plain(secret) {
        true => Some((id.to_owned(), secret.to_owned())),
        false => Some((decode(id)?, decode(secret)?)),
    }
}

fn part_is_plain(part: &str) -> bool {
    !part.contains('%')
}
