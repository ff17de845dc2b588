#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::api::names::ObjectName;

fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn workspace(name: &str, env: &str) -> WorkspaceInput {
    WorkspaceInput {
        name: ObjectName::new("platform", name),
        host: format!("https://{name}.example.com"),
        labels: texts(&[("env", env)]),
        annotations: texts(&[("note", "n"), (LAST_APPLIED, "{}")]),
        free: None,
    }
}

fn config_map(name: &str, text: &str) -> ConfigMapInput {
    ConfigMapInput {
        name: name.to_owned(),
        labels: texts(&[("appofapps.dev/generator", ""), ("kind", "teams")]),
        data: texts(&[("apps.yaml", text)]),
    }
}

fn inputs() -> GeneratorInputs {
    GeneratorInputs {
        workspaces: vec![
            workspace("west", "prod"),
            workspace("east", "prod"),
            workspace("lab", "test"),
        ],
        config_maps: vec![
            config_map("teams-b", "[{team: hr, size: 1}]"),
            config_map(
                "teams-a",
                "- {team: sales, size: 2}\n- {team: ops, size: 3}",
            ),
        ],
    }
}

fn from(inputs: &GeneratorInputs, generators: Value) -> Elements {
    let generators: Vec<Generator> = serde_json::from_value(generators).unwrap();
    let delimiters = Delimiters::default();
    read(
        &generators,
        inputs,
        "apps",
        &delimiters,
        &mut Texts::default(),
    )
}

fn elements(generators: Value) -> Elements {
    from(&inputs(), generators)
}

fn shown(elements: &Elements) -> Vec<String> {
    elements
        .found
        .iter()
        .map(|element| {
            format!(
                "{} {}",
                element.origin,
                Value::Object(element.members.whole().into_owned())
            )
        })
        .collect()
}

fn errors(elements: &Elements) -> Vec<String> {
    elements.errors.iter().map(ToString::to_string).collect()
}

#[test]
fn a_workspace_becomes_an_element_with_values_filled_from_it() {
    let found = elements(json!([{"workspaces": {
        "selector": {"matchLabels": {"env": "prod"}},
        "values": {"tier": "gold", "where": "{{ metadata.labels.env }}-{{ name }}", "n": "{{ name | length }}"},
    }}]));
    assert_eq!(found.errors, []);
    let east = &found.found[0];
    assert_eq!(
        east.origin.to_string(),
        "generators[0].workspaces[platform/east]"
    );
    assert_eq!(
        Value::Object(east.members.whole().into_owned()),
        json!({
            "name": "east", "namespace": "platform", "host": "https://east.example.com",
            "metadata": {"labels": {"env": "prod"}, "annotations": {"note": "n"}},
            "values": {"tier": "gold", "where": "prod-east", "n": 4},
        })
    );
    assert_eq!(found.found.len(), 2);
}

#[test]
fn elements_come_out_of_config_maps_in_the_order_of_their_names() {
    let found = elements(
        json!([{"configMaps": {"selector": {"matchLabels": {"kind": "teams"}}, "key": "apps.yaml"}}]),
    );
    assert_eq!(
        shown(&found),
        [
            r#"generators[0].configMaps[teams-a][0] {"size":2,"team":"sales"}"#,
            r#"generators[0].configMaps[teams-a][1] {"size":3,"team":"ops"}"#,
            r#"generators[0].configMaps[teams-b][0] {"size":1,"team":"hr"}"#,
        ]
    );
    assert!(found.errors.is_empty() && !found.missing);
}

#[test]
fn a_selector_keeps_the_elements_whose_members_match() {
    let list = json!({"elements": [{"a": 1}, {"a": 2}, {"b": {"c": "x"}}]});
    for (selector, kept) in [
        (json!({"matchLabels": {"a": "2"}}), 1),
        (
            json!({"matchExpressions": [{"key": "b.c", "operator": "Exists"}]}),
            1,
        ),
        (
            json!({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}),
            2,
        ),
        (json!({"matchLabels": {"a": "3"}}), 0),
    ] {
        let alone = elements(json!([{"list": list, "selector": selector}]));
        assert_eq!(alone.found.len(), kept, "{selector}");
        assert_eq!(alone.idle.len(), usize::from(kept == 0));
        let inner = json!({"list": list, "selector": selector});
        let pair = elements(
            json!([{"matrix": {"generators": [inner, {"list": {"elements": [{"x": 1}, {"x": 2}]}}]}}]),
        );
        assert_eq!(pair.found.len(), 2 * kept, "{selector}");
        let outer = json!({"matrix": {"generators": [{"list": list}, {"list": {"elements": [{"x": 1}]}}]}, "selector": selector});
        assert_eq!(elements(json!([outer])).found.len(), kept, "{selector}");
    }
}

#[test]
fn a_matrix_combines_each_with_each_and_names_what_they_dont_agree_on() {
    let found = elements(json!([{"matrix": {"generators": [
        {"list": {"elements": [{"team": "sales", "env": "prod"}, {"team": "hr", "env": "test"}]}},
        {"list": {"elements": [{"app": "a", "env": "prod"}, {"app": "b"}]}},
    ]}}]));
    assert_eq!(
        shown(&found),
        [
            r#"generators[0].matrix[0,0] {"app":"a","env":"prod","team":"sales"}"#,
            r#"generators[0].matrix[0,1] {"app":"b","env":"prod","team":"sales"}"#,
            r#"generators[0].matrix[1,1] {"app":"b","env":"test","team":"hr"}"#,
        ]
    );
    assert_eq!(
        errors(&found),
        [
            "generators[0].matrix[1,0]: env: list.elements[1] and list.elements[0] give it different values"
        ]
    );
    assert!(found.missing);
    assert_eq!(
        found.found[1].origin.note(),
        " (from list.elements[0] and list.elements[1])"
    );
}

#[test]
fn merge_completes_the_first_and_the_later_wins() {
    let found = elements(
        json!([{"merge": {"mergeKeys": ["metadata.labels.env", "n"], "generators": [
            {"list": {"elements": [
                {"metadata": {"labels": {"env": "prod"}}, "n": 1, "size": "S"},
                {"metadata": {"labels": {"env": "test"}}, "n": 1, "size": "S"},
            ]}},
            {"list": {"elements": [{"metadata": {"labels": {"env": "prod"}}, "n": "1", "size": "M", "x": 1}, {"metadata": {"labels": {"env": "lab"}}, "n": 1}]}},
            {"list": {"elements": [{"metadata": {"labels": {"env": "prod"}}, "n": 1, "size": "L"}]}},
        ]}}]),
    );
    assert_eq!(errors(&found), [""; 0]);
    assert_eq!(
        shown(&found),
        [
            r#"generators[0].merge[0] {"metadata":{"labels":{"env":"prod"}},"n":1,"size":"L","x":1}"#,
            r#"generators[0].merge[1] {"metadata":{"labels":{"env":"test"}},"n":1,"size":"S"}"#,
        ]
    );
}

#[test]
fn elements_that_merge_keys_dont_tell_apart_are_named_and_left_out() {
    for (base, other, left, error) in [
        (
            json!([{"t": "a"}, {"t": "a"}, {"t": "b"}]),
            json!([]),
            vec![2],
            "generators[0].merge.generators[0].list.elements[1]: t: [\"a\"] are the values of list.elements[0] too",
        ),
        (
            json!([{"t": "a"}, {"t": "b"}]),
            json!([{"t": "a", "x": 1}, {"t": "a", "x": 2}]),
            vec![1],
            "generators[0].merge.generators[1].list.elements[1]: t: [\"a\"] are the values of list.elements[0] too",
        ),
        (
            json!([{"u": "a"}, {"t": "b"}]),
            json!([]),
            vec![1],
            "generators[0].merge.generators[0].list.elements[0]: t: is missing; mergeKeys names it",
        ),
        (
            json!([{"t": "a"}]),
            json!([{"t": ["a"]}]),
            vec![0],
            "generators[0].merge.generators[1].list.elements[0]: t: is no single value; mergeKeys names it",
        ),
    ] {
        let found = elements(
            json!([{"merge": {"mergeKeys": ["t"], "generators": [{"list": {"elements": base}}, {"list": {"elements": other}}]}}]),
        );
        let paths: Vec<String> = found.found.iter().map(|e| e.origin.to_string()).collect();
        let wish: Vec<String> = left
            .iter()
            .map(|n| format!("generators[0].merge[{n}]"))
            .collect();
        assert_eq!(paths, wish);
        assert!(errors(&found)[0].starts_with(error), "{:?}", errors(&found));
        assert!(found.missing);
    }
}

#[test]
fn an_input_that_cant_be_read_is_named_and_the_others_go_on() {
    let teams = json!({"selector": {"matchLabels": {"kind": "teams"}}, "key": "apps.yaml"});
    let long: String = (0..10_001).map(|n| format!("- {{n: {n}}}\n")).collect();
    let fat = format!("- {{a: \"{}\"}}\n- {{b: 1}}", "x".repeat(70_000));
    let mut no_key = config_map("broken", "");
    no_key.data.clear();
    for (broken, left, error) in [
        (
            config_map("broken", "{"),
            3,
            "generators[0].configMaps: ConfigMap apps/broken: key apps.yaml: is no YAML",
        ),
        (
            config_map("broken", ""),
            3,
            "generators[0].configMaps: ConfigMap apps/broken: key apps.yaml: is empty",
        ),
        (
            config_map("broken", "7"),
            3,
            "generators[0].configMaps: ConfigMap apps/broken: key apps.yaml: is a number",
        ),
        (
            config_map("broken", "[{a: 1}, x]"),
            4,
            "generators[0].configMaps: ConfigMap apps/broken: key apps.yaml: [1] is a text",
        ),
        (
            no_key,
            3,
            "generators[0].configMaps: ConfigMap apps/broken: key apps.yaml: is missing",
        ),
        (
            config_map("broken", &fat),
            4,
            "generators[0].configMaps[broken][0]: element: takes about 68 KiB",
        ),
        (
            config_map("broken", &long),
            0,
            "generators[0].configMaps: elements: 10004 elements",
        ),
    ] {
        let mut inputs = inputs();
        inputs.config_maps.push(broken);
        let found = from(
            &inputs,
            json!([{"configMaps": teams}, {"list": {"elements": [{"z": 1}]}}]),
        );
        assert_eq!(found.found.len(), left + 1, "{error}");
        assert!(errors(&found)[0].starts_with(error), "{:?}", errors(&found));
        assert_eq!(found.errors.len(), 1);
        assert!(found.missing);
    }
}

#[test]
fn ten_megabytes_of_elements_are_refused_and_other_generators_go_on() {
    let mut inputs = inputs();
    let text = format!("- {{a: \"{}\"}}\n", "x".repeat(50_000)).repeat(20);
    inputs.config_maps = (0..10)
        .map(|n| config_map(&format!("c{n}"), &text))
        .collect();
    let generators = json!([
        {"configMaps": {"selector": {"matchLabels": {"kind": "teams"}}, "key": "apps.yaml"}},
        {"list": {"elements": [{"z": 1}]}},
    ]);
    let found = from(&inputs, generators);
    assert_eq!(found.found.len(), 1);
    assert!(
        errors(&found)[0]
            .starts_with("generators[0].configMaps: elements: 200 elements of about 9 MiB"),
        "{:?}",
        errors(&found)
    );
}

#[test]
fn what_is_too_much_together_gives_nothing_rather_than_what_comes_first() {
    let hundred: Vec<Value> = (0..101).map(|n| json!({"a": n})).collect();
    let other: Vec<Value> = (0..101).map(|n| json!({"b": n})).collect();
    let matrix = json!({"matrix": {"generators": [{"list": {"elements": hundred}}, {"list": {"elements": other}}]}});
    let found = elements(json!([matrix, {"list": {"elements": [{"z": 1}]}}]));
    assert_eq!(found.found.len(), 1);
    assert!(errors(&found)[0].starts_with("generators[0].matrix: generators: 10201 elements"));
    let many: Vec<Value> = (0..6_000).map(|n| json!({"a": n})).collect();
    let list = json!({"list": {"elements": many}});
    let found = elements(json!([list, list]));
    assert!(found.found.is_empty() && found.missing);
    assert!(errors(&found)[0].starts_with("generators: elements: 12000 elements"));
}

#[test]
fn what_can_give_nothing_says_so() {
    let found = elements(json!([
        {"workspaces": {"selector": {"matchLabels": {"env": "absent"}}}},
        {"configMaps": {"selector": {"matchLabels": {"kind": "absent"}}, "key": "k"}},
    ]));
    assert!(found.found.is_empty() && found.errors.is_empty() && !found.missing);
    assert_eq!(
        found.idle,
        [
            "generators[0].workspaces: no DatabricksWorkspace matches",
            "generators[1].configMaps: no ConfigMap with the label appofapps.dev/generator matches",
        ]
    );
}

#[test]
fn a_generator_that_the_schema_should_have_refused_is_an_error() {
    for (generator, error) in [
        (json!({}), "generators[0]: generator: takes exactly one"),
        (
            json!({"matrix": {"generators": [{"list": {"elements": []}}]}}),
            "generators[0].matrix: generators: takes exactly two",
        ),
        (
            json!({"matrix": {"generators": [{}, {"list": {"elements": []}}]}}),
            "generators[0].matrix.generators[0]: generator: takes exactly one",
        ),
        (
            json!({"merge": {"mergeKeys": [], "generators": []}}),
            "generators[0].merge: mergeKeys: must not be empty",
        ),
        (
            json!({"configMaps": {"selector": {}, "key": "k"}}),
            "generators[0].configMaps: selector: must not be empty",
        ),
        (
            json!({"workspaces": {"values": {"v": "{{ "}}}),
            "generators[0].workspaces: values.v: ",
        ),
        (
            json!({"workspaces": {"values": {"v": "{{ nope }}"}}}),
            "generators[0].workspaces[platform/east]: values.v: unknown variable \"nope\"; the element has host",
        ),
    ] {
        let found = elements(json!([generator]));
        assert!(found.missing && found.found.is_empty());
        assert!(errors(&found)[0].starts_with(error), "{:?}", errors(&found));
    }
}

#[test]
fn a_text_is_read_once_while_it_stays() {
    let mut texts = Texts::default();
    let first = texts.read("[{a: 1}]");
    texts.turn();
    assert!(Arc::ptr_eq(&first, &texts.read("[{a: 1}]")));
    texts.turn();
    texts.read("[]");
    texts.turn();
    assert!(!Arc::ptr_eq(&first, &texts.read("[{a: 1}]")));
}
