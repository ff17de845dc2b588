//! The API server's audit log: who asked for what, and what the answer was. It records every write, and every request
//! for an object of the operator's own group; never a body.

use std::io;
use std::path::Path;

use jiff::Timestamp;
use serde::Deserialize;

/// Answered requests only: a write is counted once, when its code is known. Watches appear when they end.
pub(crate) const POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
- level: Metadata
  verbs: [create, update, patch, delete, deletecollection]
- level: Metadata
  resources:
  - group: appofapps.dev
- level: None
";

/// One answered request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When the request arrived.
    pub at: Timestamp,
    /// E.g. `admin` or `system:serviceaccount:NAMESPACE:NAME`.
    pub user: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`. An apply is a `patch`.
    pub verb: String,
    /// Empty for the core group.
    pub group: String,
    /// Plural, e.g. `databricksapps`.
    pub resource: String,
    /// E.g. `status`; empty for the object itself.
    pub subresource: String,
    /// Empty for objects without a namespace.
    pub namespace: String,
    /// Empty for lists, watches, and creates by POST.
    pub name: String,
    /// HTTP status of the answer.
    pub code: u16,
}

impl Entry {
    /// Whether it asked for a change, granted or not. Reviews and token requests change nothing but count too: their
    /// verb is `create`.
    pub fn is_write(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch")
    }

    /// Whether it was made with a token of this ServiceAccount.
    pub fn by_service_account(&self, namespace: &str, name: &str) -> bool {
        self.user
            .strip_prefix("system:serviceaccount:")
            .and_then(|rest| rest.split_once(':'))
            == Some((namespace, name))
    }
}

/// Every entry so far, oldest first. A line still being written is left out. An entry may appear a moment after the
/// client has its answer, so whoever counts waits for the expected number.
pub fn read(log: &Path) -> io::Result<Vec<Entry>> {
    let text = match std::fs::read_to_string(log) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        other => other?,
    };
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(parse).collect()
}

fn parse(line: &str) -> io::Result<Entry> {
    let raw: Raw = serde_json::from_str(line)?;
    let object = raw.object_ref.unwrap_or_default();
    Ok(Entry {
        at: raw.request_received_timestamp,
        user: raw.user.username,
        verb: raw.verb,
        group: object.api_group,
        resource: object.resource,
        subresource: object.subresource,
        namespace: object.namespace,
        name: object.name,
        code: raw.response_status.unwrap_or_default().code,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    verb: String,
    user: User,
    object_ref: Option<ObjectRef>,
    response_status: Option<ResponseStatus>,
    request_received_timestamp: Timestamp,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ObjectRef {
    api_group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ResponseStatus {
    code: u16,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LINE: &str = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"1","stage":"ResponseComplete","requestURI":"/apis/appofapps.dev/v1alpha1/namespaces/a/databricksapps/b/status?fieldManager=x","verb":"patch","user":{"username":"system:serviceaccount:ns:name","groups":["system:authenticated"]},"sourceIPs":["127.0.0.1"],"objectRef":{"resource":"databricksapps","namespace":"a","name":"b","apiGroup":"appofapps.dev","apiVersion":"v1alpha1","subresource":"status"},"responseStatus":{"metadata":{},"code":200},"requestReceivedTimestamp":"2026-01-01T00:00:00.000001Z","stageTimestamp":"2026-01-01T00:00:00.100000Z"}"#;

    #[test]
    fn a_status_patch_is_read_as_one_write_of_its_service_account() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("audit.jsonl");
        std::fs::write(&log, format!("{LINE}\n{}", &LINE[..80])).unwrap();
        let entries = read(&log).unwrap();
        assert_eq!(entries.len(), 1, "the line still being written is left out");
        let entry = &entries[0];
        assert!(entry.is_write());
        assert!(entry.by_service_account("ns", "name"));
        assert!(!entry.by_service_account("ns", "other"));
        assert_eq!(
            (
                entry.resource.as_str(),
                entry.subresource.as_str(),
                entry.code
            ),
            ("databricksapps", "status", 200)
        );
    }

    #[test]
    fn no_log_yet_means_no_entries() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(&folder.path().join("none")).unwrap(), []);
    }
}
