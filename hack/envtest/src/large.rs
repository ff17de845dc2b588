//! The manifest of a parent of 5,000 children, as benchmarks measure it: a matrix of 50 teams and 100 apps, whose template has
//! 12 strings with expressions, 3 grants and 5 variables. Pure.

use serde_json::{Value, json};

use crate::environment::WORKSPACE;

pub const TEAMS: usize = 50;
pub const APPS: usize = 100;
/// The child that [`change`] changes.
pub const CHANGED: &str = "team3-a7";
/// Who the template's grants name, beside a group for each team, which [`groups`] gives.
pub const USER: &str = "ci@example.com";
const PLATFORM: &str = "platform";

/// `spec` of the parent; `strategy`: `AllAtOnce`, or `RollingSync` with three steps. `state`: of every child.
pub fn spec(strategy: &str, state: &str) -> Value {
    let teams = (0..TEAMS).map(|n| {
        json!({
            "team": format!("team{n}"),
            "size": if n % 2 == 0 { "Medium" } else { "Large" },
            "cost": n,
        })
    });
    let apps = (0..APPS).map(|n| {
        json!({
            "app": format!("a{n}"),
            "ring": n % 5,
            "tag": format!("v1.{n}.0"),
            "owner": format!("owner{n}@example.com"),
            "only": {},
        })
    });
    let generators = [
        json!({"list": {"elements": teams.collect::<Value>()}}),
        json!({"list": {"elements": apps.collect::<Value>()}}),
    ];
    let step = |rings: &[&str]| json!({"matchExpressions": [{"key": "ring", "operator": "In", "values": rings}]});
    let strategy = match strategy {
        "RollingSync" => json!({"type": strategy, "rollingSync": {
            "steps": [step(&["r0"]), step(&["r1", "r2"]), step(&["r3", "r4"])],
            "soak": "5m",
        }}),
        _ => json!({"type": strategy}),
    };
    json!({
        "generators": [{"matrix": {"generators": generators}}],
        "strategy": strategy,
        "template": {
            "metadata": {
                "name": "{{ team }}-{{ app }}",
                "labels": {"team": "{{ team }}", "ring": "r{{ ring }}"},
                "annotations": {"example.com/owner": "{{ owner }}"},
            },
            "spec": {
                "workspaceRef": {"name": WORKSPACE},
                "description": "The {{ app }} of {{ team | upper }}, {{ only[team] | default('plain') }}",
                "compute": {"size": "{{ size }}"},
                "source": {"git": {
                    "url": "https://github.com/acme/apps",
                    "provider": "GitHub",
                    "ref": {"tag": "{{ tag }}"},
                    "path": "apps/{{ app }}",
                }},
                "permissions": {"grants": [
                    {"principal": {"group": "{{ team }}-users"}, "level": "CanUse"},
                    {"principal": {"group": PLATFORM}, "level": "CanManage"},
                    {"principal": {"user": USER}, "level": "CanManage"},
                ]},
                "deployment": {"env": [
                    {"name": "TEAM", "value": "{{ team }}"},
                    {"name": "COST", "value": "{{ 'c' ~ cost }}"},
                    {"name": "RING", "value": "ring-{{ ring }}"},
                    {"name": "STAGE", "value": "prod"},
                    {"name": "LOG", "value": "info"},
                ]},
            },
        },
        "defaults": {
            "userAuthorization": {"scopes": ["sql", "files.files"]},
            "lifecycle": {"state": state},
        },
    })
}

/// The groups that the grants name.
pub fn groups() -> Vec<String> {
    let teams = (0..TEAMS).map(|n| format!("team{n}-users"));
    teams.chain([PLATFORM.to_owned()]).collect()
}

/// Changes one element, which takes part in a child of each team, so that just [`CHANGED`] becomes another one.
pub fn change(spec: &mut Value, version: usize) {
    let elements = &mut spec["generators"][0]["matrix"]["generators"][1]["list"]["elements"];
    elements[7]["only"] = json!({"team3": format!("v{version}")});
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twelve_strings_of_the_template_have_expressions() {
        fn count(value: &Value) -> usize {
            match value {
                Value::String(text) => usize::from(text.contains("{{")),
                Value::Array(items) => items.iter().map(count).sum(),
                Value::Object(members) => members.values().map(count).sum(),
                _ => 0,
            }
        }
        assert_eq!(count(&spec("AllAtOnce", "Running")["template"]), 12);
    }

    #[test]
    fn a_change_names_the_team_in_the_element_of_the_app() {
        let mut spec = spec("AllAtOnce", "Running");
        change(&mut spec, 2);
        let element = &spec["generators"][0]["matrix"]["generators"][1]["list"]["elements"][7];
        assert_eq!(
            format!("team3-{}", element["app"].as_str().unwrap_or_default()),
            CHANGED
        );
        assert_eq!(element["only"], json!({"team3": "v2"}));
    }
}
