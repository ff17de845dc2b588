//! `role`: the least that the operator's ServiceAccount needs, and what people may be given, derived from the kinds. The
//! chart's rules, the manifests of config/ and the table in docs/rbac.md are all made of [`operator`] and [`people`].
use clap::ValueEnum;
use serde_json::{Value, json};

mod needs;
mod table;

use needs::{Need, Place, operator, people};

/// Name of the installation, and of whatever is made for it.
const NAME: &str = "databricks-app-operator";

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

/// Rules of these places, one place after the other.
fn rules(places: &[Place]) -> Vec<Value> {
    let all = operator();
    let of = |place: &Place| {
        let needs = all.iter().filter(move |(at, _)| at == place);
        needs.map(|(_, need)| need.rule()).collect::<Vec<_>>()
    };
    places.iter().flat_map(of).collect()
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
        Format::Table => Ok(table::markdown()),
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use super::needs::{READ, WORKSPACES};
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
