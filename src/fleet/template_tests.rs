#![allow(clippy::unwrap_used)]
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn element() -> Map<String, Value> {
    json!({"team": "sales", "size": 3, "on": true, "none": null, "list": ["a", "b"], "map": {"k": "v"}})
        .as_object()
        .unwrap()
        .clone()
}

fn fill(text: &str) -> Result<Value, String> {
    Filler::new()
        .fill(&Value::from(text), "spec.x", &element())
        .map_err(|(path, message)| format!("{path}: {message}"))
}

#[test]
fn a_sole_expression_keeps_its_type_and_mixed_text_is_text() {
    for (text, want) in [
        ("plain } text", json!("plain } text")),
        ("{{ team }}-app", json!("sales-app")),
        ("{{ size }}", json!(3)),
        ("{{- on -}}", json!(true)),
        ("{{ list }}", json!(["a", "b"])),
        ("{{ map }}", json!({"k": "v"})),
        ("{{ map.k }}", json!("v")),
        ("{{ none }}", json!(null)),
        ("n={{ size }}", json!("n=3")),
        ("{{ size + 1 }}", json!(4)),
        ("{{ team | upper }}", json!("SALES")),
        ("{{ team | replace('s', '*') }}", json!("*ale*")),
        ("{{ list | join('-') }}", json!("a-b")),
        ("{{ absent | default('x') }}", json!("x")),
        ("{{ 'Large' if size > 2 else 'Medium' }}", json!("Large")),
        ("{{ team }}{{ size }}", json!("sales3")),
        ("<{{ team }}>", json!("<sales>")),
    ] {
        assert_eq!(fill(text), Ok(want), "{text}");
    }
}

#[test]
fn an_unknown_variable_is_named_beside_those_there_are() {
    for text in ["{{ taem }}", "x-{{ taem }}", "{{ [taem] }}"] {
        let error = fill(text).unwrap_err();
        for part in ["spec.x", "\"taem\"", "list, map, none, on, size, team"] {
            assert!(error.contains(part), "{part} is missing in {error}");
        }
    }
    let error = fill("{{ map.nope }}").unwrap_err();
    assert!(
        error.contains("map.nope") && error.contains("team"),
        "{error}"
    );
}

#[test]
fn nothing_that_grows_without_bound_gets_through() {
    for text in [
        "{% for x in list %}{{ x }}{% endfor %}",
        "{# c #}",
        "{{ [1] * 1000000000 }}",
        "{{ 'x' * 10 }}",
        "{{ team | replace('', 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx') | replace('x', team) | replace('s', 'ssssssssssssssssssssssssssssssssssssssssssssssssssssss') | replace('s', 'ssssssssssssssssssssssssssssssssssssss') }}",
        "{{ range(10) }}",
        "{{ team | indent(100000000) }}",
        "{{ ",
    ] {
        assert!(fill(text).is_err(), "{text}");
    }
}

#[test]
fn keys_are_not_filled() {
    let filled = Filler::new()
        .fill(&json!({"{{ team }}": ["{{ team }}"]}), "spec", &element())
        .unwrap();
    assert_eq!(filled, json!({"{{ team }}": ["sales"]}));
}

proptest! {
    #[test]
    fn no_template_makes_it_panic(text in "[{}%#\\-'\"*|a-z .\\[\\]0-9]{0,40}", inner in "\\PC{0,20}") {
        let _ = fill(&text);
        let _ = fill(&format!("{{{{ {text} }}}}{inner}"));
    }
}
