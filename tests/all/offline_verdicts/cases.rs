//! Manifests, one fault each, and what whoever refuses them has to say.
use serde_json::{Value, json};

use crate::bad_input::{refused_by_the_schema, with};
use crate::support::running_app;

const APP: &str = "DatabricksApp";
pub const WORKSPACE: &str = "DatabricksWorkspace";
pub const FLEET: &str = "AppOfApps";

/// A manifest, and words that whoever refuses it has to use; none for a good one.
pub struct Case {
    pub kind: &'static str,
    pub name: String,
    pub text: String,
    /// What of it is unusual, as people read it
    pub shown: String,
    pub refused: Option<&'static str>,
    /// Whether a create takes it all the same: it drops nulls, which server-side apply refuses.
    pub created: bool,
}

pub fn manifest(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "appofapps.dev/v1alpha1", "kind": kind,
        "metadata": {"name": name, "namespace": "default"}, "spec": spec})
}

fn case(object: &Value, refused: Option<&'static str>) -> Case {
    let kind = match object["kind"].as_str().unwrap() {
        "AppOfApps" => FLEET,
        "DatabricksWorkspace" => WORKSPACE,
        _ => APP,
    };
    Case {
        kind,
        name: object["metadata"]["name"].as_str().unwrap().into(),
        text: object.to_string(),
        shown: shown(object),
        refused,
        created: refused.is_none(),
    }
}

pub fn good(object: Value) -> Case {
    case(&object, None)
}

fn bad(object: Value, words: &'static str) -> Case {
    case(&object, Some(words))
}

pub fn app(changes: Value) -> Value {
    manifest(APP, "sales", with(changes))
}

pub fn workspace(changes: Value) -> Value {
    let mut spec = json!({"host": "https://x.cloud.databricks.com",
        "auth": {"token": {"secretRef": {"name": "prod", "key": "token"}}}});
    for (field, value) in changes.as_object().unwrap() {
        spec[field] = value.clone();
    }
    manifest(WORKSPACE, "prod", spec)
}

/// An app with one more member somewhere, named by a JSON pointer.
fn set(pointer: &str, value: Value) -> Value {
    let (holder, key) = pointer.rsplit_once('/').unwrap();
    let mut object = app(json!({}));
    object.pointer_mut(holder).unwrap()[key] = value;
    object
}

/// An app as YAML, with a line of its spec as it is written.
fn yaml(line: &str, refused: Option<&'static str>) -> Case {
    Case {
        kind: APP,
        name: "sales".into(),
        text: format!(
            "apiVersion: appofapps.dev/v1alpha1\nkind: {APP}\nmetadata: {{name: sales, namespace: default}}\nspec:\n  workspaceRef: {{name: prod}}\n  {line}\n"
        ),
        shown: format!("spec: {}", line.trim_end().replace('\n', "⏎")),
        refused,
        created: refused.is_none(),
    }
}

/// Members of `object` that the usual one of its kind lacks or holds otherwise.
fn shown(object: &Value) -> String {
    let usual = match object["kind"].as_str() {
        Some(APP) => app(json!({})),
        Some(WORKSPACE) => workspace(json!({})),
        _ => manifest(FLEET, "fleet", json!({})),
    };
    let mut parts = Vec::new();
    let known = ["apiVersion", "kind", "metadata", "spec", "status"];
    let unknown = object.as_object().unwrap().iter();
    let unknown = unknown.filter(|(key, _)| !known.contains(&key.as_str()));
    parts.extend(unknown.map(|(key, value)| format!("{key}: {value}")));
    for part in ["metadata", "spec", "status"] {
        let (Some(members), Some(before)) = (object[part].as_object(), usual[part].as_object())
        else {
            if object[part] != usual[part] {
                parts.push(format!("{part}: {}", object[part]));
            }
            continue;
        };
        let other = members
            .iter()
            .filter(|(key, value)| before.get(*key) != Some(value));
        parts.extend(other.map(|(key, value)| format!("{part}.{key}: {value}")));
    }
    parts.join(", ")
}

pub fn good_cases() -> Vec<Case> {
    let resource =
        |n: usize| json!({"name": format!("r{n}"), "job": {"id": "1", "permission": "CanView"}});
    let many: Vec<Value> = (0..20).map(resource).collect();
    let template =
        json!({"metadata": {"name": "{{ team }}"}, "spec": {"anything": {"goes": [1, null]}}});
    let generators = json!([{"list": {"elements": [{"team": "a", "n": 1}]}}]);
    let long = "n".repeat(63);
    vec![
        good(app(json!({}))),
        good(app(json!({"suspend": null, "permissions": {}}))),
        good(app(
            json!({"description": "ä".repeat(1024), "resources": many}),
        )),
        good(app(
            json!({"name": "sales-2", "lifecycle": {}, "userAuthorization": {"scopes": []}}),
        )),
        good(set(
            "/metadata/labels",
            json!({"example.com/team": "a.b", "x": ""}),
        )),
        good(set(
            "/metadata/annotations",
            json!({"Example.com/Note": "a b"}),
        )),
        good(set("/status", json!({"observedGeneration": 1}))),
        good(workspace(json!({}))),
        good(workspace(
            json!({"limits": {"burst": 10.0, "requestsPerSecond": 1000}}),
        )),
        good(workspace(
            json!({"limits": null, "observe": {"interval": "1m30s"}}),
        )),
        good(workspace(
            json!({"allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"a": "b"}}}}),
        )),
        good(workspace(json!({"allowedNamespaces": {}}))),
        good(manifest(FLEET, &long, json!({"apps": []}))),
        good(manifest(
            FLEET,
            "fleet",
            json!({"generators": generators, "template": template}),
        )),
        good(manifest(
            FLEET,
            "fleet",
            json!({"apps": [{"name": "a"}], "prune": {"maxDeletions": "100%"}}),
        )),
        yaml("description: \"yes\"", None),
        yaml("description: 2001-01-01", None),
        yaml("description: 12:30:45", None),
        yaml("description: 0o17x", None),
        yaml("description: |\n    two\n    lines", None),
        yaml("suspend: yes", None),
        yaml("suspend: Off", None),
        yaml("compute: &c {size: Large}", None),
    ]
}

pub fn bad_cases() -> Vec<Case> {
    let resource =
        |n: usize| json!({"name": format!("r{n}"), "job": {"id": "1", "permission": "CanView"}});
    let many: Vec<Value> = (0..21).map(resource).collect();
    let env = |entries: Value| app(json!({"deployment": {"env": entries}}));
    let limits = |limits: Value| workspace(json!({"limits": limits}));
    let mut no_spec = app(json!({}));
    no_spec.as_object_mut().unwrap().remove("spec");
    let mut cases: Vec<Case> = refused_by_the_schema()
        .into_iter()
        .map(|(kind, name, spec, words)| bad(manifest(kind, name, spec), words))
        .collect();
    cases.extend([
        // Fields that do not exist, and such that should.
        bad(set("/specs", json!({})), "specs"),
        bad(set("/metadata/label", json!({})), "metadata.label"),
        bad(
            set("/spec/compute", json!({"sise": "Large"})),
            "spec.compute.sise",
        ),
        bad(
            set("/spec/permissions/grants/0/until", json!("x")),
            "spec.permissions.grants[0].until",
        ),
        bad(set("/status", json!({"observed": 1})), "status.observed"),
        bad(no_spec, "spec"),
        bad(app(json!({"workspaceRef": {}})), "spec.workspaceRef.name"),
        bad(app(json!({"workspaceRef": null})), "spec.workspaceRef"),
        bad(
            app(json!({"source": {"workspace": {}}})),
            "spec.source.workspace.path",
        ),
        // Types.
        bad(set("/spec", json!([])), "spec"),
        bad(app(json!({"description": 5})), "description"),
        bad(app(json!({"suspend": "true"})), "suspend"),
        bad(app(json!({"permissions": {"grants": {}}})), "grants"),
        bad(
            app(json!({"deployment": {"command": ["a", null]}})),
            "spec.deployment.command[1]",
        ),
        bad(limits(json!({"burst": "10"})), "burst"),
        bad(limits(json!({"burst": 2.5})), "burst"),
        // Values.
        bad(
            app(json!({"compute": {"size": "Huge"}})),
            "spec.compute.size",
        ),
        bad(app(json!({"compute": {"size": ""}})), "spec.compute.size"),
        bad(
            app(json!({"source": {"workspace": {"path": "relative"}}})),
            "spec.source.workspace.path",
        ),
        bad(
            app(json!({"description": "ä".repeat(1025)})),
            "spec.description",
        ),
        bad(
            app(json!({"workspaceRef": {"name": ""}})),
            "spec.workspaceRef.name",
        ),
        bad(app(json!({"resources": many})), "spec.resources"),
        bad(
            app(json!({"deployment": {"command": vec!["x"; 65]}})),
            "spec.deployment.command",
        ),
        bad(limits(json!({"burst": 0})), "spec.limits.burst"),
        bad(
            limits(json!({"requestsPerSecond": 1001})),
            "spec.limits.requestsPerSecond",
        ),
        bad(
            workspace(json!({"host": "dbc-1.cloud.databricks.com"})),
            "host is the URL of a workspace",
        ),
        bad(
            workspace(json!({"host": "https://dbc-1.cloud.databricks.com/login?o=1"})),
            "host is the URL of a workspace",
        ),
        bad(
            workspace(json!({"host": "https://ann:secret@dbc-1.cloud.databricks.com"})),
            "host is the URL of a workspace",
        ),
        bad(
            workspace(json!({"workspaceID": "o=1234"})),
            "spec.workspaceID",
        ),
        bad(
            workspace(json!({"freeze": {"reason": "release", "until": "tomorrow"}})),
            "spec.freeze.until",
        ),
        bad(
            workspace(json!({"observe": {"permissionsInterval": "30s"}})),
            "1m to 24h",
        ),
        bad(
            app(json!({"compute": {"minInstances": 3, "maxInstances": 1}})),
            "minInstances is larger than maxInstances",
        ),
        bad(
            app(json!({"compute": {"minInstances": 1}})),
            "set together",
        ),
        bad(
            app(json!({"deployment": {"deadline": "5s"}})),
            "deadline is 1m to 24h",
        ),
        bad(
            app(json!({"permissions": {"grants": [
                {"principal": {"group": "users"}, "level": "CanUse"},
                {"principal": {"group": "users"}, "level": "CanManage"}]}})),
            "the same principal twice",
        ),
        bad(
            app(json!({"usagePolicyID": "a", "budgetPolicyID": "b"})),
            "set one of them",
        ),
        bad(
            app(json!({"deployment": {"env": [{"name": "W", "valueFrom": {"resource": "nowhere"}}]}, "resources": []})),
            "names no entry of resources",
        ),
        bad(
            app(json!({"source": {}})),
            "exactly one of workspace, git",
        ),
        bad(
            app(json!({"source": {"git": {"url": "https://github.com/a/b", "provider": "GitHub", "ref": {"branch": "main", "tag": "v1"}}}})),
            "exactly one of branch, tag, commit",
        ),
        bad(
            manifest(FLEET, "fleet", json!({"apps": [], "strategy": {"type": "AllAtOnce", "rollingSync": {}}})),
            "goes with type: RollingSync",
        ),
        bad(
            manifest(FLEET, "fleet", json!({"apps": [], "templating": {"left": "{{", "right": "{{"}})),
            "must differ",
        ),
        bad(
            manifest(FLEET, "fleet", json!({"apps": [], "strategy": {"type": "RollingSync", "rollingSync": {"soak": "48h"}}})),
            "soak is 0s to 24h",
        ),
        bad(
            manifest(FLEET, "fleet", json!({"apps": [], "strategy": {"type": "RollingSync", "rollingSync": {"steps": [{"matchExpressions": [{"key": "ring", "operator": "Exists"}], "maxUpdate": "0"}]}}})),
            "maxUpdate",
        ),
        bad(
            workspace(json!({"observe": {"interval": "soon"}})),
            "spec.observe.interval",
        ),
        bad(
            manifest(
                FLEET,
                "fleet",
                json!({"apps": [], "prune": {"maxDeletions": "101%"}}),
            ),
            "spec.prune.maxDeletions",
        ),
        // Keys that come twice.
        bad(
            app(json!({"resources": [resource(1), resource(1)]})),
            "spec.resources",
        ),
        bad(
            env(json!([{"name": "A", "value": "1"}, {"name": "A", "value": "2"}])),
            "spec.deployment.env",
        ),
        bad(
            manifest(
                FLEET,
                "fleet",
                json!({"apps": [{"name": "a"}, {"name": "a"}]}),
            ),
            "spec.apps",
        ),
        yaml("description: a\n  description: b", Some("description")),
        // Rules.
        bad(
            env(json!([{"name": "A"}])),
            "exactly one of value, valueFrom",
        ),
        bad(
            env(json!([{"name": "A", "value": "", "valueFrom": {"resource": "r"}}])),
            "exactly one of value, valueFrom",
        ),
        bad(
            workspace(json!({"allowedNamespaces": {"selector": {}}})),
            "goes with from: Selector",
        ),
        bad(
            workspace(json!({"allowedNamespaces": {"from": "Selector"}})),
            "goes with from: Selector",
        ),
        bad(
            manifest(FLEET, &"n".repeat(64), json!({"apps": []})),
            "at most 63 characters",
        ),
        bad(
            manifest(FLEET, "fleet", json!({"generators": [], "apps": []})),
            "exactly one of them",
        ),
        bad(
            manifest(
                FLEET,
                "fleet",
                json!({"generators": [{"list": {"elements": []}}]}),
            ),
            "go together",
        ),
        bad(
            manifest(
                FLEET,
                "fleet",
                json!({"generators": [{}], "template": {"metadata": {"name": "a"}}}),
            ),
            "exactly one of: list",
        ),
        // Metadata.
        bad(
            set("/metadata/labels", json!({"team": "a b"})),
            "metadata.labels",
        ),
        bad(
            set("/metadata/labels", json!({"a b": ""})),
            "metadata.labels",
        ),
        bad(set("/metadata/labels", json!({"team": 1})), "labels"),
        bad(
            set("/metadata/annotations", json!({"a b": ""})),
            "metadata.annotations",
        ),
        bad(manifest(APP, "Sales", running_app()), "metadata.name"),
        // Scalars whose type depends on who reads the YAML.
        yaml("description: yes", Some("description")),
        yaml("description: y", Some("description")),
        yaml("description: n", Some("description")),
        yaml("description: 010", Some("description")),
        yaml("description: 1_000", Some("description")),
        yaml("description: 1e3", Some("description")),
        yaml("description: 0x1f", Some("description")),
        yaml("description: .5", Some("description")),
        yaml("suspend: \"yes\"", Some("suspend")),
    ]);
    cases
}

/// Manifests with nulls that nothing stands in for.
pub fn applied_only_without_nulls() -> Vec<Case> {
    let mut cases = vec![
        yaml("description: ~", Some("spec.description")),
        bad(app(json!({"compute": {"size": null}})), "spec.compute.size"),
    ];
    cases.iter_mut().for_each(|case| case.created = true);
    cases
}
