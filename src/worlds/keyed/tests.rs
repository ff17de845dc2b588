#![allow(clippy::unwrap_used, clippy::panic)]
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response};
use kube::client::Body;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const NAMESPACE: &str = "operators";

/// The Secrets API of one namespace.
#[derive(Clone, Default)]
struct Secrets {
    held: Arc<Mutex<Option<Value>>>,
    /// Comes between our GET and our POST
    rival: Arc<Mutex<Option<Value>>>,
    requests: Arc<Mutex<Vec<Method>>>,
}

impl Secrets {
    fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect_bytes().await.unwrap();
                Ok::<_, Infallible>(server.answer(&parts.method, parts.uri.path(), &body))
            }
        });
        Client::new(service, "default")
    }

    fn answer(&self, method: &Method, path: &str, body: &[u8]) -> Response<Body> {
        self.requests.lock().unwrap().push(method.clone());
        let mut held = self.held.lock().unwrap();
        let all = format!("/api/v1/namespaces/{NAMESPACE}/secrets");
        let failure = |code: u16, reason: &str| {
            let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code});
            (code, body)
        };
        let (code, body) = if *method == Method::GET {
            assert_eq!(path, format!("{all}/{KEY_SECRET}"));
            let found = held.clone();
            *held = held.take().or_else(|| self.rival.lock().unwrap().take());
            found.map_or_else(|| failure(404, "NotFound"), |secret| (200, secret))
        } else {
            assert_eq!((method, path), (&Method::POST, all.as_str()));
            match held.is_some() {
                true => failure(409, "AlreadyExists"),
                false => {
                    *held = Some(serde_json::from_slice(body).unwrap());
                    (201, held.clone().unwrap())
                }
            }
        };
        let body = Body::from(serde_json::to_vec(&body).unwrap());
        Response::builder().status(code).body(body).unwrap()
    }

    async fn open(&self) -> Result<DigestKey, Error> {
        DigestKey::open(&self.client(), NAMESPACE).await
    }
}

fn secret(text: &str) -> SecretString {
    SecretString::from(text)
}

fn key(byte: u8) -> DigestKey {
    DigestKey::new([byte; KEY_BYTES])
}

#[tokio::test]
async fn the_key_is_made_once_and_found_again() {
    let server = Secrets::default();
    let first = server.open().await.unwrap();
    let stored = server.held.lock().unwrap().clone().unwrap();
    assert_eq!(stored["immutable"], true);
    let again = server.open().await.unwrap();
    let value = secret("v");
    assert_eq!(first.digest("c", &value), again.digest("c", &value));
    assert_eq!(first.id(), again.id());
    assert_eq!(
        *server.requests.lock().unwrap(),
        [Method::GET, Method::POST, Method::GET]
    );
    let other = Secrets::default().open().await.unwrap();
    assert_ne!(first.id(), other.id());
    assert_ne!(first.digest("c", &value), other.digest("c", &value));
}

#[tokio::test]
async fn who_comes_second_takes_the_firsts_key() {
    let server = Secrets::default();
    let first = Secrets::default();
    let theirs = first.open().await.unwrap();
    *server.rival.lock().unwrap() = first.held.lock().unwrap().clone();
    let ours = server.open().await.unwrap();
    assert_eq!(ours.id(), theirs.id());
    assert_eq!(
        *server.requests.lock().unwrap(),
        [Method::GET, Method::POST, Method::GET]
    );
}

#[tokio::test]
async fn a_key_that_is_none_is_refused_and_left_as_it_is() {
    for data in [json!({}), json!({"key": ""}), json!({"key": "c2hvcnQ="})] {
        let server = Secrets::default();
        let held = json!({"metadata": {"name": KEY_SECRET, "namespace": NAMESPACE}, "data": data});
        *server.held.lock().unwrap() = Some(held.clone());
        let error = server.open().await.unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }), "{error}");
        assert!(
            error
                .to_string()
                .contains(&format!("{NAMESPACE}/{KEY_SECRET}")),
            "{error}"
        );
        assert_eq!(server.held.lock().unwrap().clone(), Some(held));
    }
}

#[test]
fn digest_and_id_stay_the_same_over_versions_of_the_operator() {
    // A change would deploy every app that has a secret value.
    assert_eq!(key(7).id(), "b24754bb");
    assert_eq!(
        key(7).digest("uid/NAME", &secret("value")),
        "b19bf4e3317fab59a97bbb4c57475a2ca0bb95e40a0ca8b4a93303c1d8c99e84"
    );
}

#[test]
fn neither_key_nor_value_is_ever_printed() {
    let key = DigestKey::new(*b"canary-canary-canary-canary-cana");
    let record = Record::new("c", "1", &secret("canary"), &key);
    let shown = format!(
        "{key:?} {record:?} {}",
        serde_json::to_string(&record).unwrap()
    );
    assert!(
        !shown.contains("canary") && !shown.contains("99, 97, 110"),
        "{shown}"
    );
}

#[test]
fn contexts_and_values_are_kept_apart() {
    let of = |context, value| key(1).digest(context, &secret(value));
    assert_ne!(of("a", "v"), of("b", "v"));
    assert_ne!(of("ab", "c"), of("a", "bc"));
    assert_ne!(of("", "v"), of("v", ""));
    assert_eq!(of("a", "").len(), 64);
}

#[test]
fn a_record_is_written_as_the_status_documents_it() {
    let record = Record::new("c", "42", &secret("v"), &key(1));
    let json = serde_json::to_value(&record).unwrap();
    let mut fields: Vec<&String> = json.as_object().unwrap().keys().collect();
    fields.sort();
    assert_eq!(fields, ["digest", "keyID", "resourceVersion", "v"]);
}

#[derive(Debug, PartialEq)]
enum Kind {
    Unchanged,
    Restamp,
    Changed,
}

/// The verdict on a record of `old` at version 1 by key 1.
fn judge(version: &str, value: &str, by: u8) -> Kind {
    let record = Record::new("c", "1", &secret("old"), &key(1));
    let now = Record::new("c", version, &secret(value), &key(by));
    match record.verify("c", version, &secret(value), &key(by)) {
        Verdict::Unchanged => Kind::Unchanged,
        Verdict::Restamp(new) => {
            assert_eq!(new, now);
            Kind::Restamp
        }
        Verdict::Changed(new) => {
            assert_eq!(new, now);
            Kind::Changed
        }
    }
}

#[test]
fn only_a_changed_value_counts_as_changed() {
    assert_eq!(judge("1", "old", 1), Kind::Unchanged, "a restart");
    assert_eq!(
        judge("2", "old", 1),
        Kind::Restamp,
        "a label of the Secret changed"
    );
    assert_eq!(judge("1", "old", 2), Kind::Restamp, "a new key");
    assert_eq!(judge("2", "new", 1), Kind::Changed, "a new value");
    assert_eq!(
        judge("2", "new", 2),
        Kind::Changed,
        "a new value and a new key"
    );
    assert_eq!(judge("2", "old", 2), Kind::Changed, "nobody can tell");
    assert_eq!(
        judge("1", "new", 1),
        Kind::Changed,
        "another key of the same Secret"
    );
}

#[test]
fn a_record_of_another_version_is_compared_by_resource_version() {
    let mut record = Record::new("c", "1", &secret("old"), &key(1));
    record.v = 2;
    let verify = |version| record.verify("c", version, &secret("old"), &key(1));
    assert!(matches!(verify("1"), Verdict::Restamp(Record { v: 1, .. })));
    assert!(matches!(verify("2"), Verdict::Changed(_)));
}

proptest! {
    #[test]
    fn what_a_verdict_stamps_is_unchanged_from_then_on(old in ".{0,3}", new in ".{0,3}", versions in (0..2_u8, 0..2_u8), keys in (0..2_u8, 0..2_u8)) {
        let record = Record::new("c", &versions.0.to_string(), &secret(&old), &key(keys.0));
        let version = versions.1.to_string();
        let verify = |record: &Record| record.verify("c", &version, &secret(&new), &key(keys.1));
        match verify(&record) {
            Verdict::Unchanged => prop_assert_eq!(old, new),
            Verdict::Restamp(next) | Verdict::Changed(next) => prop_assert_eq!(verify(&next), Verdict::Unchanged),
        }
    }
}

#[test]
fn the_shipped_roles_grant_that_secret_and_no_other() {
    let read = |path: &str| {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        std::fs::read_to_string(file).unwrap()
    };
    let of_secrets = |rules: &Value| -> Vec<Value> {
        let rules = rules.as_array().into_iter().flatten();
        let about = rules.filter(|rule| rule["resources"].to_string().contains("secrets"));
        about.cloned().collect()
    };
    let expected = [
        json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": [KEY_SECRET], "verbs": ["get"]}),
        json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]}),
    ];
    let chart: Value =
        serde_saphyr::from_str(&read("charts/databricks-app-operator/files/rules.yaml")).unwrap();
    assert_eq!(of_secrets(&chart["own"]), expected);
    let roles: Vec<Value> = serde_saphyr::from_multiple(&read("config/rbac/role.yaml")).unwrap();
    let (own, others): (Vec<_>, Vec<_>) = roles.iter().partition(|role| role["kind"] == "Role");
    let granted = |roles: &[&Value]| -> Vec<Value> {
        roles
            .iter()
            .flat_map(|role| of_secrets(&role["rules"]))
            .collect()
    };
    assert_eq!(granted(&own), expected);
    assert!(granted(&others).is_empty());
}
