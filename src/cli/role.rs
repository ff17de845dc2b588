//! `role`: the least that the operator's ServiceAccount needs, and what people may be given, derived from the kinds. The
//! chart's rules, the manifests of config/ and the table in docs/rbac.md are all made of [`operator`] and [`people`].
use std::fmt::Write;

use clap::ValueEnum;
use serde::Serialize;
use serde_json::{Value, json};

use crate::api::GROUP;
use crate::kinds;
use crate::worlds::keyed::KEY_SECRET;

/// Name of the installation, and of whatever is made for it.
const NAME: &str = "databricks-app-operator";
/// Kinds that parents create and delete.
const CHILDREN: &[&str] = &["databricksapps"];
/// The kind that holds credentials and says which namespaces may use them.
const WORKSPACES: &str = "databricksworkspaces";
/// The Lease that elects the replica that writes.
const LEADER_LEASE: &str = NAME;
/// The Lease that claims a namespace for one installation.
const CLAIM_LEASE: &str = "databricks-app-operator-claim";

const READ: &[&str] = &["get", "list", "watch"];

/// Why the roles could not be printed.
#[derive(Debug, thiserror::Error)]
#[error("encoding the roles as YAML: {0}")]
pub struct Error(String);

/// What `role` prints.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum Format {
    /// Manifests of an installation that watches every namespace, without the right to read Secrets.
    #[default]
    Manifests,
    /// Manifests that let the operator read the Secrets of the namespace they are applied to.
    Secrets,
    /// Bare rules, by where they are needed; the chart makes its roles of them.
    Rules,
    /// A Markdown table of every verb and why it is needed.
    Table,
}

/// Where a right is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Place {
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
    const ALL: [Self; 6] = [
        Self::Cluster,
        Self::Objects,
        Self::Watched,
        Self::Secrets,
        Self::Claim,
        Self::Own,
    ];

    fn describe(self) -> &'static str {
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
struct Need {
    group: &'static str,
    resources: Vec<String>,
    /// Empty: any name.
    names: Vec<&'static str>,
    verbs: &'static [&'static str],
    why: &'static str,
}

impl Need {
    fn new(
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

    fn named(mut self, names: &[&'static str]) -> Self {
        self.names = names.to_vec();
        self
    }

    fn rule(&self) -> Value {
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
fn operator() -> Vec<(Place, Need)> {
    let plurals = plurals();
    let kinds: Vec<&str> = plurals.iter().map(String::as_str).collect();
    let sub = |part: &str| -> Vec<String> { plurals.iter().map(|p| format!("{p}/{part}")).collect() };
    let status = Need {
        resources: sub("status"),
        ..Need::new(GROUP, &[], &["patch"], "writes conditions and what later passes need")
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
    let leases = "coordination.k8s.io";
    let held: &[&str] = &["get", "watch", "update", "patch"];
    vec![
        (
            Place::Cluster,
            Need::new("", &["namespaces"], READ, "`allowedNamespaces` selects by label"),
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
            Place::Objects,
            Need::new(GROUP, &kinds, &["get", "list", "watch", "patch"], "reads them; patches finalizers"),
        ),
        (Place::Objects, status),
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
            Need::new("events.k8s.io", &["events"], &["create", "patch"], "says what it did"),
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
            Need::new(leases, &["leases"], &["create"], "makes that Lease; no name can be given for a create"),
        ),
        (
            Place::Own,
            Need::new(leases, &["leases"], held, "elects the replica that writes").named(&[LEADER_LEASE]),
        ),
        (
            Place::Own,
            Need::new(leases, &["leases"], &["create"], "makes that Lease"),
        ),
        (
            Place::Own,
            Need::new("", &["secrets"], &["get"], "the key for digests of secret values").named(&[KEY_SECRET]),
        ),
        (
            Place::Own,
            Need::new("", &["secrets"], &["create"], "makes that key, once"),
        ),
    ]
}

/// A ClusterRole for people: the end of its name, the built-in role that it adds to, and its rules.
struct Persona {
    suffix: &'static str,
    key: &'static str,
    joins: Option<&'static str>,
    needs: Vec<Need>,
}

fn people() -> Vec<Persona> {
    let plurals = plurals();
    let kinds: Vec<&str> = plurals.iter().map(String::as_str).collect();
    let apps: Vec<&str> = kinds.iter().copied().filter(|k| *k != WORKSPACES).collect();
    const WRITE: &[&str] = &["create", "update", "patch", "delete"];
    vec![
        Persona {
            suffix: "view",
            key: "view",
            joins: Some("view"),
            needs: vec![Need::new(GROUP, &kinds, READ, "sees apps, fleets and connections")],
        },
        Persona {
            suffix: "edit",
            key: "edit",
            joins: Some("edit"),
            needs: vec![Need::new(GROUP, &apps, WRITE, "declares apps and fleets; no connections")],
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
            needs: vec![Need::new("", &["/metrics"], &["get"], "scrapes the operator")],
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

fn rules(places: &[Place]) -> Vec<Value> {
    operator()
        .iter()
        .filter(|(place, _)| places.contains(place))
        .map(|(_, need)| need.rule())
        .collect()
}

/// Prints what was asked for.
pub fn run(format: Format) -> Result<(), Error> {
    print!("{}", text(format)?);
    Ok(())
}

/// The same bytes every time.
fn text(format: Format) -> Result<String, Error> {
    match format {
        Format::Manifests => yaml(&manifests()),
        Format::Secrets => yaml(&secrets()),
        Format::Rules => yaml(&[chart()]),
        Format::Table => Ok(table()),
    }
}

fn yaml(documents: &[Value]) -> Result<String, Error> {
    let texts: Result<Vec<String>, _> = documents.iter().map(serde_saphyr::to_string).collect();
    Ok(texts.map_err(|e| Error(e.to_string()))?.join("---\n"))
}

fn metadata(name: &str, namespace: Option<&str>) -> Value {
    let mut metadata = json!({"name": name, "labels": {"app.kubernetes.io/name": NAME}});
    if let Some(namespace) = namespace {
        metadata["namespace"] = json!(namespace);
    }
    metadata
}

fn role(kind: &str, metadata: Value, rules: Vec<Value>) -> Value {
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata, "rules": rules})
}

fn binding(role_kind: &str, metadata: Value) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": format!("{role_kind}Binding"),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role_kind, "name": metadata["name"]},
        "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": NAME}],
        "metadata": metadata,
    })
}

fn manifests() -> Vec<Value> {
    let everywhere = metadata(NAME, None);
    let own = metadata(&format!("{NAME}-release"), Some(NAME));
    let mut all = vec![
        role(
            "ClusterRole",
            everywhere.clone(),
            rules(&[Place::Cluster, Place::Objects, Place::Watched]),
        ),
        binding("ClusterRole", everywhere),
        role("Role", own.clone(), rules(&[Place::Own, Place::Claim])),
        binding("Role", own),
    ];
    for persona in people() {
        let mut metadata = metadata(&format!("{NAME}-{}", persona.suffix), None);
        if let Some(joined) = persona.joins {
            let label = format!("rbac.authorization.k8s.io/aggregate-to-{joined}");
            metadata["labels"][label] = json!("true");
        }
        let rules = persona.needs.iter().map(Need::rule).collect();
        all.push(role("ClusterRole", metadata, rules));
    }
    all
}

fn secrets() -> Vec<Value> {
    let metadata = metadata(&format!("{NAME}-secrets"), None);
    vec![
        role("Role", metadata.clone(), rules(&[Place::Secrets])),
        binding("Role", metadata),
    ]
}

fn chart() -> Value {
    let mut all = json!({});
    for place in Place::ALL {
        let key = json!(place);
        all[key.as_str().unwrap_or_default()] = json!(rules(&[place]));
    }
    for persona in people() {
        let rules: Vec<Value> = persona.needs.iter().map(Need::rule).collect();
        all[persona.key] = json!(rules);
    }
    all
}

fn table() -> String {
    let mut out = String::from(
        "# Who may do what\n\nGenerated by `make generate` from the same data as the roles; do not edit.\n\n\
         ## The operator\n\n\
         It watches every namespace unless the chart's `watchNamespaces` lists some. A namespace whose Secrets are used is \
         listed in `rbac.secretNamespaces`, or `rbac.secrets` is `Cluster`.\n\n\
         | where | API group | resource | verbs | why |\n|---|---|---|---|---|\n",
    );
    for place in Place::ALL {
        for (_, need) in operator().iter().filter(|(at, _)| *at == place) {
            row(&mut out, place.describe(), need);
        }
    }
    out.push_str(
        "\nIt writes no ConfigMap and no Secret but its own key, lists no Secret, and changes no spec of yours: `patch` is for \
         finalizers, and for the children of an AppOfApps.\n\n\
         With `watchNamespaces` the rights of the first two kinds of place lie in a small ClusterRole. \
         `rbac.clusterRole.create: false` leaves it out. Then\n\n\
         - `allowedNamespaces` with a selector admits no namespace but the Workspace's own,\n\
         - the metrics endpoint cannot tell who asks: set `metrics.auth: false` and keep others off by a NetworkPolicy,\n\
         - a namespace that is deleted whole may hang, as its Roles can go before the objects in it: delete the objects \
         first.\n\n\
         ## People\n\nClusterRoles that the chart adds (`rbac.userRoles.create`). The first three join the built-in roles of \
         the same name; the others are bound where they are wanted.\n\n\
         | role | API group | resource | verbs | why |\n|---|---|---|---|---|\n",
    );
    for persona in people() {
        let name = match persona.joins {
            Some(joined) => format!("`{NAME}-{}`, part of `{joined}`", persona.suffix),
            None => format!("`{NAME}-{}`", persona.suffix),
        };
        for need in &persona.needs {
            row(&mut out, &name, need);
        }
    }
    out
}

fn row(out: &mut String, place: &str, need: &Need) {
    let group = match need.group {
        "" if need.resources.iter().any(|r| r.starts_with('/')) => "",
        "" => "core",
        group => group,
    };
    let mut resources = need.resources.join(", ");
    if !need.names.is_empty() {
        let _ = write!(resources, " named `{}`", need.names.join("`, `"));
    }
    let _ = writeln!(
        out,
        "| {place} | {group} | {resources} | {} | {} |",
        need.verbs.join(", "),
        need.why
    );
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use super::*;

    #[test]
    fn the_committed_roles_are_the_generated_ones() {
        for (path, format) in [
            ("config/rbac/role.yaml", Format::Manifests),
            ("config/rbac/secrets/role.yaml", Format::Secrets),
            (
                "charts/databricks-app-operator/files/rules.yaml",
                Format::Rules,
            ),
            ("docs/rbac.md", Format::Table),
        ] {
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
            let committed = std::fs::read_to_string(file).unwrap_or_default();
            assert!(
                committed == text(format).unwrap(),
                "{path} is out of date: run `make generate`"
            );
        }
    }

    #[test]
    fn secrets_are_never_listed_and_config_maps_never_written() {
        for (place, need) in operator() {
            let about = |resource: &str| need.resources.iter().any(|r| r == resource);
            if about("secrets") {
                let make = need.verbs == ["create"] && place == Place::Own;
                assert!(need.verbs == ["get"] || make, "{need:?}");
            }
            if about("configmaps") {
                assert_eq!(need.verbs, READ);
            }
        }
    }

    #[test]
    fn no_right_reaches_beyond_what_it_names() {
        let all = operator().into_iter().map(|(_, need)| need);
        for need in all.chain(people().into_iter().flat_map(|p| p.needs)) {
            let rule = need.rule().to_string();
            assert!(!rule.contains('*') && !need.resources.is_empty(), "{rule}");
        }
    }

    #[test]
    fn only_the_workspace_admin_writes_workspaces_and_the_role_joins_no_built_in_one() {
        for persona in people() {
            let writes = persona.needs.iter().any(|need| {
                need.resources.iter().any(|r| r == WORKSPACES)
                    && need.verbs.iter().any(|verb| !READ.contains(verb))
            });
            assert_eq!(writes, persona.suffix == "workspace-admin");
            assert!(!writes || persona.joins.is_none());
        }
    }
}
