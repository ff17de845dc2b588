//! What the operator needs, where and why; and what people may be given.
use serde::Serialize;
use serde_json::{Value, json};

use crate::api::GROUP;
use crate::election;
use crate::kinds;
use crate::worlds::keyed::KEY_SECRET;

/// Kinds that parents create and delete.
const CHILDREN: &[&str] = &["databricksapps"];
/// The kind that holds credentials and says which namespaces may use them.
pub const WORKSPACES: &str = "databricksworkspaces";
/// The Lease that elects the replica that writes.
const LEADER_LEASE: &str = election::LEASE;
/// The Lease that claims a namespace for one installation.
const CLAIM_LEASE: &str = election::claims::CLAIM;

pub const READ: &[&str] = &["get", "list", "watch"];

/// Where a right is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Place {
    /// In the cluster; no Role can grant it.
    Cluster,
    /// In every watched namespace, and in the cluster as well: the Roles of a namespace that is deleted may go before the
    /// objects in it.
    Objects,
    /// In every watched namespace.
    Watched,
    /// In every namespace whose Secrets are used.
    Secrets,
    /// In every watched namespace; in the operator's own if it watches all.
    Claim,
    /// In the operator's own namespace.
    Own,
}

impl Place {
    pub const ALL: [Self; 6] = [
        Self::Cluster,
        Self::Objects,
        Self::Watched,
        Self::Secrets,
        Self::Claim,
        Self::Own,
    ];

    pub fn describe(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Objects => "watched namespaces, and cluster",
            Self::Watched => "watched namespaces",
            Self::Secrets => "namespaces whose Secrets are used",
            Self::Claim => "watched namespaces; the operator's own if it watches all",
            Self::Own => "the operator's own namespace",
        }
    }
}

/// One rule and why it is there.
#[derive(Clone, Debug)]
pub struct Need {
    pub group: &'static str,
    pub resources: Vec<String>,
    /// Empty: any name.
    pub names: Vec<String>,
    pub verbs: &'static [&'static str],
    pub why: &'static str,
}

impl Need {
    pub fn new(
        group: &'static str,
        resources: &[&str],
        verbs: &'static [&'static str],
        why: &'static str,
    ) -> Self {
        Self {
            group,
            resources: resources.iter().map(|r| (*r).to_owned()).collect(),
            names: Vec::new(),
            verbs,
            why,
        }
    }

    pub fn named<T: ToString>(mut self, names: &[T]) -> Self {
        self.names = names.iter().map(ToString::to_string).collect();
        self
    }

    pub fn rule(&self) -> Value {
        // The one right of ours that is about no object.
        if self.resources.iter().all(|r| r.starts_with('/')) {
            return json!({"nonResourceURLs": self.resources, "verbs": self.verbs});
        }
        let mut rule =
            json!({"apiGroups": [self.group], "resources": self.resources, "verbs": self.verbs});
        if !self.names.is_empty() {
            rule["resourceNames"] = json!(self.names);
        }
        rule
    }
}

/// What the operator needs.
pub fn operator() -> Vec<(Place, Need)> {
    let plurals = plurals();
    let kinds: Vec<&str> = plurals.iter().map(String::as_str).collect();
    let sub =
        |part: &str| -> Vec<String> { plurals.iter().map(|p| format!("{p}/{part}")).collect() };
    let status = Need {
        resources: sub("status"),
        ..Need::new(
            GROUP,
            &[],
            &["patch"],
            "writes conditions and what later passes need",
        )
    };
    let finalizers = Need {
        resources: sub("finalizers"),
        ..Need::new(
            GROUP,
            &[],
            &["update"],
            "owns children in clusters that let only those own who may change the owner's finalizers",
        )
    };
    let definitions: Vec<String> = plurals.iter().map(|p| format!("{p}.{GROUP}")).collect();
    let leases = "coordination.k8s.io";
    let held: &[&str] = &["get", "update"];
    vec![
        (
            Place::Cluster,
            Need::new(
                "",
                &["namespaces"],
                READ,
                "`allowedNamespaces` selects by label",
            ),
        ),
        (
            Place::Cluster,
            Need::new(
                leases,
                &["leases"],
                &["list"],
                "sees which namespaces other installations have claimed",
            )
            .named(&[CLAIM_LEASE]),
        ),
        (
            Place::Cluster,
            Need::new(
                "authentication.k8s.io",
                &["tokenreviews"],
                &["create"],
                "asks who scrapes the metrics",
            ),
        ),
        (
            Place::Cluster,
            Need::new(
                "authorization.k8s.io",
                &["subjectaccessreviews"],
                &["create"],
                "asks whether they may",
            ),
        ),
        (
            Place::Cluster,
            Need::new(
                "apiextensions.k8s.io",
                &["customresourcedefinitions"],
                &["get"],
                "tells a deletion of an app from that of its definition, with which no app is to go",
            )
            .named(&definitions),
        ),
        (
            Place::Objects,
            Need::new(
                GROUP,
                &kinds,
                &["get", "list", "watch", "patch"],
                "reads them; patches finalizers",
            ),
        ),
        (Place::Objects, status),
        (
            Place::Watched,
            Need::new(
                "",
                &["namespaces"],
                &["get"],
                "`allowedNamespaces` selects by label",
            ),
        ),
        (Place::Watched, finalizers),
        (
            Place::Watched,
            Need::new(
                GROUP,
                CHILDREN,
                &["create", "delete"],
                "an AppOfApps makes its children and prunes them",
            ),
        ),
        (
            Place::Watched,
            Need::new(
                "",
                &["configmaps"],
                READ,
                "CA bundles, code, and elements of generators",
            ),
        ),
        (
            Place::Watched,
            Need::new(
                "source.toolkit.fluxcd.io",
                &["gitrepositories", "ocirepositories", "buckets"],
                &["get"],
                "code that Flux fetches",
            ),
        ),
        (
            Place::Watched,
            Need::new(
                "events.k8s.io",
                &["events"],
                &["create", "patch"],
                "says what it did",
            ),
        ),
        (
            Place::Secrets,
            Need::new(
                "",
                &["secrets"],
                &["get"],
                "credentials of workspaces, values of variables; one by one, never listed",
            ),
        ),
        (
            Place::Claim,
            Need::new(
                leases,
                &["leases"],
                held,
                "keeps a second installation off the same objects",
            )
            .named(&[CLAIM_LEASE]),
        ),
        (
            Place::Claim,
            Need::new(
                leases,
                &["leases"],
                &["create"],
                "makes that Lease; no name can be given for a create",
            ),
        ),
        (
            Place::Own,
            Need::new(leases, &["leases"], held, "elects the replica that writes")
                .named(&[LEADER_LEASE]),
        ),
        (
            Place::Own,
            Need::new(leases, &["leases"], &["create"], "makes that Lease"),
        ),
        (
            Place::Own,
            Need::new(
                "",
                &["secrets"],
                &["get"],
                "the key for digests of secret values",
            )
            .named(&[KEY_SECRET]),
        ),
        (
            Place::Own,
            Need::new("", &["secrets"], &["create"], "makes that key, once"),
        ),
    ]
}

/// A ClusterRole for people: the end of its name, the built-in role that it adds to, and its rules.
pub struct Persona {
    pub suffix: &'static str,
    pub key: &'static str,
    pub joins: Option<&'static str>,
    pub needs: Vec<Need>,
}

pub fn people() -> Vec<Persona> {
    let plurals = plurals();
    let kinds: Vec<&str> = plurals.iter().map(String::as_str).collect();
    let apps: Vec<&str> = kinds.iter().copied().filter(|k| *k != WORKSPACES).collect();
    const WRITE: &[&str] = &["create", "update", "patch", "delete"];
    vec![
        Persona {
            suffix: "view",
            key: "view",
            joins: Some("view"),
            needs: vec![Need::new(
                GROUP,
                &kinds,
                READ,
                "sees apps, fleets and connections",
            )],
        },
        Persona {
            suffix: "edit",
            key: "edit",
            joins: Some("edit"),
            needs: vec![Need::new(
                GROUP,
                &apps,
                WRITE,
                "declares apps and fleets; no connections",
            )],
        },
        Persona {
            suffix: "admin",
            key: "admin",
            joins: Some("admin"),
            needs: vec![Need::new(
                GROUP,
                &apps,
                &["deletecollection"],
                "deletes all apps and fleets of a namespace at once",
            )],
        },
        Persona {
            suffix: "workspace-admin",
            key: "workspaceAdmin",
            joins: None,
            needs: vec![
                Need::new(GROUP, &[WORKSPACES], READ, "sees connections"),
                Need::new(
                    GROUP,
                    &[WORKSPACES],
                    &["create", "update", "patch", "delete", "deletecollection"],
                    "decides which host, which identity and which namespaces; in no built-in role",
                ),
            ],
        },
        Persona {
            suffix: "metrics-reader",
            key: "metricsReader",
            joins: None,
            needs: vec![Need::new(
                "",
                &["/metrics"],
                &["get"],
                "scrapes the operator",
            )],
        },
    ]
}

/// Plurals of all kinds, sorted.
fn plurals() -> Vec<String> {
    let mut plurals: Vec<String> = kinds::crds()
        .into_iter()
        .map(|c| c.spec.names.plural)
        .collect();
    plurals.sort();
    plurals
}
