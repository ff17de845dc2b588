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
    let pattern = Pattern::read(text, &Delimiters::default())?;
    pattern.value(&Scope::new(&element()))
}

fn delimited(left: &str, right: &str, text: &str) -> Result<Value, String> {
    let (left, right) = (left.to_owned(), right.to_owned());
    let delimiters = Delimiters::new(Some(&Templating { left, right }))
        .map_err(|(field, message)| format!("{field}: {message}"))?;
    Pattern::read(text, &delimiters)?.value(&Scope::new(&element()))
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
        ("  {{ size }}\n", json!(3)),
        ("a {{- team -}} b", json!("asalesb")),
        ("{{ team }}\n{{ size }}\n", json!("sales\n3\n")),
        ("{{ size * 2 }}", json!(6)),
        ("{{ '}}' }}", json!("}}")),
        ("{{ '{{' }}x{{ '}}' }}", json!("{{x}}")),
        ("{{ {'a': {'b': size}}}}", json!({"a": {"b": 3}})),
        ("{{ [[size]][0] }}", json!([3])),
        ("{{ 'it\\'s' }}", json!("it's")),
        ("${team} $${x} ${#x}", json!("${team} $${x} ${#x}")),
        ("${{ team }}", json!("$sales")),
        ("é{{ team }}é", json!("ésalesé")),
        ("", json!("")),
    ] {
        assert_eq!(fill(text), Ok(want), "{text}");
    }
}

#[test]
fn an_unknown_variable_is_named_beside_those_there_are() {
    for text in ["{{ taem }}", "x-{{ taem }}", "{{ [taem] }}"] {
        let error = fill(text).unwrap_err();
        for part in ["\"taem\"", "list, map, none, on, size, team"] {
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
fn what_may_be_missing_is_asked_for() {
    for (text, want) in [
        ("{{ values.tier | default('none') }}", json!("none")),
        ("{{ map.tier | default('none') }}", json!("none")),
        ("{{ map.k | default('none') }}", json!("v")),
        ("{{ a.b.c.d | default('none') }}", json!("none")),
        ("{{ only[team] | default('x') }}", json!("x")),
        ("{{ map[team] | default('x') }}", json!("x")),
        ("{{ map['k'] | default('x') }}", json!("v")),
        ("{{ 'y' if absent is defined else 'n' }}", json!("n")),
        ("{{ 'y' if values.tier is defined else 'n' }}", json!("n")),
        ("{{ 'y' if team is defined else 'n' }}", json!("y")),
        (
            "{{ absent | default(team) }}-{{ team }}",
            json!("sales-sales"),
        ),
        ("{{ absent | default(none) }}", json!(null)),
    ] {
        assert_eq!(fill(text), Ok(want), "{text}");
    }
    // A default for one name excuses no other.
    for text in [
        "{{ (absent | default('x')) ~ taem }}",
        "{{ (absent | default('x')) ~ other.name }}",
        "{{ [taem, absent | default('x')] }}",
        "{{ absent | default(taem) }}",
        "{{ taem if absent is undefined else 1 }}",
    ] {
        let error = fill(text).unwrap_err();
        assert!(error.contains("not there"), "{text}: {error}");
    }
}

#[test]
fn where_text_is_needed_nothing_else_gets_in() {
    let text =
        |text: &str| Pattern::read(text, &Delimiters::default())?.text(&Scope::new(&element()));
    assert_eq!(text("{{ size }}").unwrap(), "3");
    assert_eq!(text("{{ on }}").unwrap(), "true");
    for (wrong, kind) in [
        ("{{ list }}", "a list"),
        ("{{ map }}", "an object"),
        ("{{ none }}", "null"),
        ("x-{{ list }}", "a list"),
        ("x-{{ none }}", "null"),
    ] {
        let error = text(wrong).unwrap_err();
        assert!(error.contains(kind), "{wrong}: {error}");
    }
}

#[test]
fn other_delimiters_leave_the_usual_ones_to_others() {
    for (left, right, text, want) in [
        (
            "[[",
            "]]",
            "[[ team ]]-{{ .Values.x }}",
            json!("sales-{{ .Values.x }}"),
        ),
        ("[[", "]]", "[[ size ]]", json!(3)),
        ("[[", "]]", "[[ list[0] ]]", json!("a")),
        ("[[", "]]", "[[list[0]]]", json!("a")),
        (
            "[[",
            "]]",
            "{% if x %} {# c #}",
            json!("{% if x %} {# c #}"),
        ),
        ("<%", "%>", "<%= %>", json!(null)),
        ("<%", "%>", "<% team %> <%- size -%> !", json!("sales3!")),
        ("((", "))", "(( (size + 1) * 2 ))", json!(8)),
        ("<<<", ">>>", "<<< size > 2 >>>", json!(true)),
    ] {
        let filled = delimited(left, right, text);
        match want {
            Value::Null => assert!(filled.is_err(), "{text}: {filled:?}"),
            want => assert_eq!(filled, Ok(want), "{text}"),
        }
    }
    for (left, right, field) in [
        ("[[", "[[", "right"),
        ("[", "]]", "left"),
        ("ab", "]]", "left"),
        ("[[", "\"]", "right"),
        ("${", "}}", "left"),
        ("", "", "left"),
    ] {
        let error = delimited(left, right, "x").unwrap_err();
        assert!(error.starts_with(field), "{left} {right}: {error}");
    }
}

#[test]
fn a_template_that_never_ends_is_ended() {
    let doubling = format!("{{{{ team{} }}}}", " | tojson".repeat(300));
    let chained = format!(
        "{{{{ 'aaaaaaaaaaaaaaaa'{} }}}}",
        " | replace('a', 'aaaaaaaaaaaaaaaa')".repeat(100)
    );
    let long = format!("{{{{ '{}' }}}}", "x".repeat(5_000));
    let nested = format!("{{{{ {}1{} }}}}", "(".repeat(1_000), ")".repeat(1_000));
    let lists = format!("{{{{ {}1{} }}}}", "[".repeat(1_000), "]".repeat(1_000));
    let wide = "{{ team }}".repeat(1_030);
    for text in [
        "{% for x in list %}{{ x }}{% endfor %}",
        "{{ [1] * 1000000000 }}",
        "{{ 'x' * 1000000000 }}",
        "{{ ('x' * 100000) ~ ('x' * 100000) }}",
        "{{ 9 ** 9999999999 }}",
        "{{ range(10) }}",
        "{{ team | indent(100000000) }}",
        "{{ team | trunc('x') }}",
        "{{ team() }}",
        "{{ team.upper() }}",
        "{{ ",
        "{{ }}",
        "{{ team | nosuch }}",
        &doubling,
        &chained,
        &long,
        &nested,
        &lists,
        &wide,
    ] {
        let filled = fill(text);
        assert!(filled.is_err(), "{}", short(text));
    }
}

#[test]
fn errors_are_short() {
    let mut element = Map::new();
    for n in 0..100 {
        element.insert(format!("{n}{}", "k".repeat(1_000)), Value::Null);
    }
    for text in [
        format!("{{{{ {} }}}}", "x".repeat(4_000)),
        format!("{{{{ 1 | {} }}}}", "x".repeat(4_000)),
    ] {
        let error = Pattern::read(&text, &Delimiters::default())
            .and_then(|pattern| pattern.value(&Scope::new(&element)))
            .unwrap_err();
        assert!(error.len() < 4_000, "{}", error.len());
    }
}

proptest! {
    #[test]
    fn no_template_makes_it_panic(text in "[{}%#\\-'\"*|a-z .\\[\\]0-9]{0,40}", inner in "\\PC{0,20}") {
        let _ = fill(&text);
        let _ = fill(&format!("{{{{ {text} }}}}{inner}"));
        let _ = fill(&format!("{{{{ team | {text} }}}}"));
        let _ = delimited("[[", "]]", &format!("[[ {text} ]]{inner}"));
        let _ = delimited("<%", "%>", &inner);
    }

    #[test]
    fn text_without_delimiters_stays_as_it_is(text in "[^{%]{0,40}") {
        prop_assert_eq!(fill(&text), Ok(Value::from(text)));
    }
}
