use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};

use crate::harness::{ANN, Answer, CLIENT_ID, CLIENT_SECRET, Service, read};

const ME: &str = "/api/2.0/preview/scim/v2/Me";

async fn token(service: &Service, form: &[(&str, &str)], basic: Option<(&str, &str)>) -> Answer {
    let mut request = service
        .http
        .post(format!("{}/oidc/v1/token", service.url()))
        .form(form);
    if let Some((id, secret)) = basic {
        request = request.basic_auth(id, Some(secret));
    }
    read(request.send().await.unwrap()).await.unwrap()
}

const WORKSPACE: &str = "workspace: {id: 1234567890123456}";

#[tokio::test]
async fn a_request_without_a_known_token_gets_401_in_json() {
    let mut service = Service::start().await;
    let answer = service.http.get(format!("{}{ME}", service.url()));
    let answer = read(answer.send().await.unwrap()).await.unwrap();
    assert_eq!(answer.refusal().0, 401);
    assert_eq!(answer.refusal().1, "UNAUTHENTICATED");

    service.token = "dapi-wrong".into();
    let answer = service.get(ME).await;
    assert_eq!(
        answer.refusal(),
        (401, "UNAUTHENTICATED", "Invalid access token.")
    );
}

#[tokio::test]
async fn me_names_the_user_of_a_token_and_the_workspace() {
    let service = Service::seeded(WORKSPACE).await;
    let answer = service.get(ME).await;
    assert_eq!(answer.header("x-databricks-org-id"), "1234567890123456");
    assert!(!answer.header("x-request-id").is_empty());
    let me = answer.ok();
    assert_eq!(me["userName"], ANN);
    assert_eq!(me["groups"][0]["display"], "users");
}

#[tokio::test]
async fn client_credentials_become_a_token_of_the_service_principal() {
    let mut service = Service::start().await;
    let form = [("grant_type", "client_credentials"), ("scope", "all-apis")];
    let granted = token(&service, &form, Some((CLIENT_ID, CLIENT_SECRET)))
        .await
        .ok();
    assert_eq!(granted["token_type"], "Bearer");
    assert_eq!(granted["expires_in"], 3600);
    assert_eq!(granted["scope"], "all-apis");

    service.token = granted["access_token"].as_str().unwrap().into();
    assert_eq!(service.get(ME).await.ok()["userName"], CLIENT_ID);

    let refused = token(&service, &form, Some((CLIENT_ID, "wrong"))).await;
    assert_eq!(refused.status, 401);
    assert_eq!(refused.body["error"], "invalid_client");
    assert!(refused.body["error_description"].is_string());
}

#[tokio::test]
async fn an_expired_token_gets_401() {
    let mut service = Service::start().await;
    service
        .fault(json!({"kind": "token_lifetime", "for": "0s"}))
        .await;
    let form = [("grant_type", "client_credentials")];
    let granted = token(&service, &form, Some((CLIENT_ID, CLIENT_SECRET)))
        .await
        .ok();
    assert_eq!(granted["expires_in"], 0);
    service.token = granted["access_token"].as_str().unwrap().into();
    assert_eq!(service.get(ME).await.refusal().0, 401);
}

#[tokio::test]
async fn discovery_needs_no_token_and_leads_to_the_token_endpoint() {
    let service = Service::seeded(WORKSPACE).await;
    let open = async |url: String| -> Value {
        service
            .http
            .get(url)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    };
    let config = open(format!("{}/.well-known/databricks-config", service.url())).await;
    assert_eq!(config["host_type"], "workspace");
    assert_eq!(config["workspace_id"], "1234567890123456");
    let endpoint = config["oidc_endpoint"].as_str().unwrap();
    let metadata = open(format!("{endpoint}/.well-known/oauth-authorization-server")).await;
    assert_eq!(
        metadata["token_endpoint"],
        format!("{}/oidc/v1/token", service.url())
    );
}

/// An issuer of JSON Web Tokens: one key, and the set that shows it.
struct Issuer {
    key: Vec<u8>,
    keys: Value,
}

impl Issuer {
    fn new() -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random).unwrap();
        let point = pair.public_key().as_ref()[1..].to_vec();
        let keys = json!({"keys": [{
            "kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "k1", "use": "sig",
            "x": URL_SAFE_NO_PAD.encode(&point[..32]),
            "y": URL_SAFE_NO_PAD.encode(&point[32..]),
        }]});
        Self {
            key: key.as_ref().to_vec(),
            keys,
        }
    }

    fn sign(&self, issuer: &str, subject: &str, audience: &str) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let claims = json!({
            "iss": issuer, "sub": subject, "aud": audience, "exp": now.as_secs() + 600,
        });
        let header = Header {
            kid: Some("k1".into()),
            ..Header::new(Algorithm::ES256)
        };
        encode(&header, &claims, &EncodingKey::from_ec_der(&self.key)).unwrap()
    }

    /// Serves the discovery document and the keys; gives the issuer's URL.
    async fn serve(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let document = json!({"issuer": url, "jwks_uri": format!("{url}/keys")});
        let keys = self.keys.clone();
        let router = axum::Router::new()
            .route(
                "/.well-known/openid-configuration",
                axum::routing::get(async move || axum::Json(document.clone())),
            )
            .route(
                "/keys",
                axum::routing::get(async move || axum::Json(keys.clone())),
            );
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }
}

const SUBJECT: &str = "system:serviceaccount:operators:dao";

async fn exchange(service: &Service, subject_token: &str, client_id: Option<&str>) -> Answer {
    let mut form = vec![
        (
            "grant_type",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
        ("subject_token", subject_token),
        ("scope", "all-apis"),
    ];
    form.extend(client_id.map(|id| ("client_id", id)));
    token(service, &form, None).await
}

async fn trust(service: &Service, issuer: &str, jwks: Option<&Value>) {
    let path = format!(
        "/api/2.0/preview/scim/v2/ServicePrincipals?filter=applicationId eq \"{CLIENT_ID}\""
    );
    let found = service.get(&path).await.ok();
    let id = found["Resources"][0]["id"].as_str().unwrap();
    let mut oidc = json!({"issuer": issuer, "subject": SUBJECT, "audiences": ["databricks"]});
    if let Some(keys) = jwks {
        oidc["jwks_json"] = keys.to_string().into();
    }
    service
        .post(
            &format!(
                "/api/2.0/accounts/acc/servicePrincipals/{id}/federationPolicies?policy_id=kube"
            ),
            json!({"oidc_policy": oidc}),
        )
        .await
        .ok();
}

#[tokio::test]
async fn a_signed_subject_token_becomes_a_token_of_the_service_principal() {
    let mut service = Service::start().await;
    let issuer = Issuer::new();
    let url = issuer.serve().await;
    trust(&service, &url, None).await;
    let subject_token = issuer.sign(&url, SUBJECT, "databricks");
    let granted = exchange(&service, &subject_token, Some(CLIENT_ID))
        .await
        .ok();
    service.token = granted["access_token"].as_str().unwrap().into();
    assert_eq!(service.get(ME).await.ok()["userName"], CLIENT_ID);
}

#[tokio::test]
async fn a_subject_token_that_does_not_fit_its_policy_is_refused() {
    let service = Service::start().await;
    let (issuer, other) = (Issuer::new(), Issuer::new());
    let url = "https://kubernetes.default.svc";
    trust(&service, url, Some(&issuer.keys)).await;
    let fits = issuer.sign(url, SUBJECT, "databricks");
    assert_eq!(exchange(&service, &fits, Some(CLIENT_ID)).await.status, 200);
    for (wrong, what) in [
        (other.sign(url, SUBJECT, "databricks"), "InvalidSignature"),
        (issuer.sign(url, "somebody", "databricks"), "somebody"),
        (issuer.sign(url, SUBJECT, "elsewhere"), "InvalidAudience"),
        (
            issuer.sign("https://else", SUBJECT, "databricks"),
            "https://else",
        ),
        ("junk".into(), "JSON Web Token"),
    ] {
        let refused = exchange(&service, &wrong, Some(CLIENT_ID)).await;
        assert_eq!(
            (refused.status, &refused.body["error"]),
            (400, &json!("invalid_grant"))
        );
        let why = refused.body["error_description"].as_str().unwrap();
        assert!(why.contains(what), "{what}: {why}");
    }
    let without_client = exchange(&service, &fits, None).await;
    assert_eq!(without_client.status, 400);
}

#[tokio::test]
async fn a_new_secret_of_a_service_principal_lets_it_in_until_it_is_deleted() {
    let service = Service::start().await;
    let created = service
        .post(
            "/api/2.0/preview/scim/v2/ServicePrincipals",
            json!({"displayName": "ci"}),
        )
        .await
        .ok();
    let path = format!(
        "/api/2.0/accounts/servicePrincipals/{}/credentials/secrets",
        created["id"].as_str().unwrap()
    );
    let secret = service.post(&path, json!({})).await.ok();
    let id = created["applicationId"].as_str().unwrap();
    let form = [("grant_type", "client_credentials")];
    let basic = Some((id, secret["secret"].as_str().unwrap()));
    assert_eq!(token(&service, &form, basic).await.status, 200);
    assert!(!service.get(&path).await.text.contains("dose"));

    let one = format!("{path}/{}", secret["id"].as_str().unwrap());
    service.delete(&one).await.ok();
    assert_eq!(token(&service, &form, basic).await.status, 401);
}
