#![allow(clippy::unwrap_used)]
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;

use super::*;
use crate::api::names::ObjectName;
use crate::fleet::{ConfigMapInput, WorkspaceInput};

fn parent() -> Parent {
    Parent {
        name: "fleet".to_owned(),
        namespace: "apps".to_owned(),
        uid: "u".to_owned(),
        namespace_uid: None,
    }
}

fn spec(value: Value) -> AppOfAppsSpec {
    serde_json::from_value(value).unwrap()
}

fn agree(_: &Value) -> Vec<(String, String)> {
    Vec::new()
}

fn generated(value: Value) -> Generated {
    generate(&spec(value), &GeneratorInputs::default(), &parent(), &agree)
}

fn errors(generated: &Generated) -> Vec<String> {
    generated.errors.iter().map(ToString::to_string).collect()
}

/// One element through a template that is given but for its name.
fn one(template: Value, element: Value) -> Generated {
    let mut template = template;
    if template["metadata"]["name"].is_null() {
        template["metadata"]["name"] = json!("{{ team }}");
    }
    generated(json!({"generators": [{"list": {"elements": [element]}}], "template": template}))
}

#[test]
fn waves_and_dependencies_are_filled() {
    let element = json!({"team": "sales", "wave": 3, "text": "7", "deps": ["b", "a", "b"], "none": null, "empty": ""});
    for (wave, want) in [
        ("{{ wave }}", 3),
        ("{{ text }}", 7),
        ("9", 9),
        ("1{{ wave }}", 13),
    ] {
        let made = one(json!({"wave": wave}), element.clone());
        assert_eq!(made.children["sales"].wave, want, "{wave}");
    }
    let depends = json!([
        "{{ team }}-db",
        "{{ deps }}",
        "{{ empty }}",
        "{{ none }}",
        "a",
        "zz"
    ]);
    let made = one(json!({"dependsOn": depends}), element);
    assert_eq!(errors(&made), [""; 0]);
    assert_eq!(
        made.children["sales"].depends_on,
        ["a", "b", "sales-db", "zz"]
    );
    assert_eq!(made.children["sales"].wave, 0);
}

#[test]
fn apps_written_out_have_waves_dependencies_labels_and_annotations() {
    let made = generated(json!({"apps": [
        {"name": "api", "wave": 2, "labels": {"team": "x"}, "annotations": {"note": "{{ x }}"}, "spec": {"description": "{{ not filled }}"}},
        {"name": "ui", "dependsOn": ["db", "api", "api"]},
        {"name": "bad", "labels": {"argocd.argoproj.io/instance": "x"}},
        {"name": "worse", "labels": {"team": "a b"}},
        {"name": "high", "wave": 100},
    ]}));
    let api = &made.children["api"];
    assert_eq!(
        (
            api.wave,
            api.labels["team"].as_str(),
            api.annotations["note"].as_str()
        ),
        (2, "x", "{{ x }}")
    );
    assert_eq!(api.spec["description"], "{{ not filled }}");
    assert_eq!(made.children["ui"].depends_on, ["api", "db"]);
    assert_eq!(made.sources["ui"], "apps[1]");
    let shown = errors(&made);
    for (error, start) in shown.iter().zip([
        "apps[2]: labels: \"argocd.argoproj.io/instance\" belongs to Argo CD",
        "apps[3]: labels.team: \"a b\" is no label value",
        "apps[4]: wave: 100 is no wave",
    ]) {
        assert!(error.starts_with(start), "{error}");
    }
    assert!(made.complete);
    assert_eq!(
        made.kept.iter().collect::<Vec<_>>(),
        ["bad", "high", "worse"]
    );
}

#[test]
fn bad_input_is_named_by_element_and_field_and_the_others_go_on() {
    let long = "x".repeat(31);
    let longest = "x".repeat(254);
    let huge = "x".repeat(60_000);
    let text = "{{ huge }}";
    for (template, bad, field, part) in [
        (
            json!({"spec": {"a": {"b": ["{{ nope }}"]}}}),
            json!({}),
            "spec.a.b[0]",
            "unknown variable \"nope\"; the element has team",
        ),
        (
            json!({"wave": "{{ w }}"}),
            json!({"w": "soon"}),
            "wave",
            "is no wave: a whole number from 0 to 99",
        ),
        (
            json!({"wave": "{{ w }}"}),
            json!({"w": 1.5}),
            "wave",
            "is no wave",
        ),
        (
            json!({"wave": "{{ w }}"}),
            json!({"w": -1}),
            "wave",
            "is no wave",
        ),
        (
            json!({"wave": "{{ w }}"}),
            json!({"w": 100}),
            "wave",
            "is no wave",
        ),
        (
            json!({"dependsOn": ["{{ w }}"]}),
            json!({"w": "B!"}),
            "dependsOn[0]",
            "is no name of a child",
        ),
        (
            json!({"dependsOn": ["{{ w }}"]}),
            json!({"w": 3}),
            "dependsOn[0]",
            "gives neither a name",
        ),
        (
            json!({"dependsOn": ["{{ w }}"]}),
            json!({"w": [3]}),
            "dependsOn[0]",
            "something else than names",
        ),
        (
            json!({"metadata": {"labels": {"l": "{{ w }}"}}}),
            json!({"w": "a b"}),
            "metadata.labels.l",
            "is no label value",
        ),
        (
            json!({"metadata": {"labels": {"l": "{{ w }}"}}}),
            json!({"w": [1]}),
            "metadata.labels.l",
            "gives a list where text is needed",
        ),
        (
            json!({"metadata": {"annotations": {"l": "{{ w }}"}}}),
            json!({"w": null}),
            "metadata.annotations.l",
            "gives null where text is needed",
        ),
        (
            json!({}),
            json!({"team": long}),
            "metadata.name",
            "longer than the 30 characters",
        ),
        (
            json!({}),
            json!({"team": longest}),
            "metadata.name",
            "longer than the 253 characters",
        ),
        (
            json!({}),
            json!({"team": "B!"}),
            "metadata.name",
            "is no name for an object",
        ),
        (
            json!({}),
            json!({"team": {"x": 1}}),
            "metadata.name",
            "gives an object",
        ),
        (
            json!({"spec": {"a": "{{ 'x' * w }}"}}),
            json!({"w": 1_000_000_000}),
            "spec.a",
            "takes too long",
        ),
        (
            json!({"spec": {"a": [text, text, text, text, text]}}),
            json!({"huge": huge}),
            "spec",
            "more than 256 KiB",
        ),
    ] {
        let mut bad = bad;
        if bad["team"].is_null() {
            bad["team"] = json!("bad");
        }
        let mut good = bad.clone();
        for (key, value) in [
            ("team", json!("good")),
            ("nope", json!(1)),
            ("huge", json!("x")),
        ] {
            good[key] = value;
        }
        if !good["w"].is_null() || template.to_string().contains("w }") {
            good["w"] = json!(if template["dependsOn"].is_null() {
                "1"
            } else {
                "dep"
            });
        }
        if template["spec"]["a"] == "{{ 'x' * w }}" {
            good["w"] = json!(1);
        }
        let mut template = template;
        template["metadata"]["name"] = json!("{{ team }}");
        let made = generated(
            json!({"generators": [{"list": {"elements": [bad, good]}}], "template": template}),
        );
        let shown = errors(&made);
        assert_eq!(shown.len(), 1, "{shown:?}");
        let start = format!("generators[0].list.elements[0]: {field}: ");
        assert!(
            shown[0].starts_with(&start) && shown[0].contains(part),
            "{shown:?}"
        );
        assert!(shown[0].len() < 1_000);
        assert_eq!(made.children.keys().collect::<Vec<_>>(), ["good"]);
    }
}

#[test]
fn a_long_name_is_fine_beside_the_apps_own() {
    let made = one(
        json!({"spec": {"name": "short"}}),
        json!({"team": "x".repeat(40)}),
    );
    assert_eq!(made.errors, []);
    assert_eq!(made.children.len(), 1);
}

#[test]
fn what_is_wrong_with_the_template_itself_is_said_once() {
    let list = json!([{"list": {"elements": [{"t": "a"}, {"t": "b"}]}}]);
    for (extra, error) in [
        (
            json!({"template": {"metadata": {"name": "{{ t }}"}, "spec": {"x": "{{ 1 + }}"}}}),
            "template: spec.x: ",
        ),
        (
            json!({"template": {"metadata": {"name": "{{ t }}"}, "spec": {"x": "{{ t "}}}),
            "template: spec.x: \"{{ t \" begins an expression",
        ),
        (
            json!({"template": {"metadata": {"name": "{{ t }}", "labels": {"helm.sh/chart": "x"}}}}),
            "template: metadata.labels: \"helm.sh/chart\" belongs to Helm",
        ),
    ] {
        let mut value = extra;
        value["generators"] = list.clone();
        let made = generated(value);
        assert_eq!(made.errors.len(), 1);
        assert!(errors(&made)[0].starts_with(error), "{:?}", errors(&made));
        assert!(made.complete && made.children.is_empty());
        assert_eq!(made.kept.iter().collect::<Vec<_>>(), ["a", "b"]);
    }
    for (value, error) in [
        (
            json!({"generators": list, "template": {"metadata": {"name": "{{ t"}}}),
            "template: metadata.name: ",
        ),
        (
            json!({"generators": list}),
            "template: template: is missing",
        ),
        (
            json!({"generators": list, "template": {"metadata": {"name": "x"}}, "templating": {"left": "[[", "right": "[["}}),
            "templating: right: must differ",
        ),
    ] {
        let made = generated(value);
        assert!(errors(&made)[0].starts_with(error), "{:?}", errors(&made));
        assert!(!made.complete && made.children.is_empty());
    }
}

#[test]
fn every_field_of_a_template_that_cannot_be_read_is_named() {
    let made = generated(json!({
        "generators": [{"list": {"elements": [{"t": "a"}]}}],
        "template": {
            "metadata": {"name": "{{ t }}", "labels": {"helm.sh/chart": "x", "team": "{{ t"}},
            "wave": "{{ }}",
            "spec": {"a": "{{ 1 + }}", "b": "{{ t }}", "list": ["{{ t }}", "{{ 2 * }}"]},
        },
    }));
    let found = errors(&made);
    let fields = [
        "metadata.labels",
        "wave",
        "metadata.labels.team",
        "spec.a",
        "spec.list[1]",
    ];
    assert_eq!(found.len(), fields.len(), "{found:?}");
    for (error, field) in found.iter().zip(fields) {
        assert!(
            error.starts_with(&format!("template: {field}: ")),
            "{found:?}"
        );
    }
    assert_eq!(made.in_error(), 1);
}

#[test]
fn an_element_says_at_once_which_of_its_fields_are_wrong() {
    let spec: Value = (0..9)
        .map(|n| (format!("s{n}"), json!("{{ nosuch }}")))
        .collect();
    let made = one(
        json!({
            "metadata": {"labels": {"a": "{{ nosuch }}", "b": "{{ team }}"}},
            "wave": "{{ team }}",
            "spec": spec,
        }),
        json!({"team": "sales"}),
    );
    assert_eq!(
        errors(&made),
        [
            "generators[0].list.elements[0]: metadata.labels.a: unknown variable \"nosuch\"; the element has team; also wrong: wave, spec.s0, spec.s1, spec.s2, spec.s3 and 5 more"
        ]
    );
    let made = generated(
        json!({"apps": [{"name": "a", "labels": {"x": "no value"}, "wave": 100, "dependsOn": ["B"]}]}),
    );
    let found = &errors(&made)[0];
    assert!(found.starts_with("apps[0]: labels.x: "), "{found}");
    assert!(
        found.ends_with("; also wrong: wave, dependsOn[0]"),
        "{found}"
    );
}

#[test]
fn beside_a_template_that_cannot_be_read_the_variable_that_a_name_lacks_is_named() {
    let made = generated(json!({
        "generators": [{"list": {"elements": [{"team": "sales"}, {"team": "hr"}]}}],
        "template": {"metadata": {"name": "{{ nosuch }}"}, "spec": {"description": "{{ team"}},
    }));
    let errors = errors(&made);
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(
        errors[0].starts_with("template: spec.description: "),
        "{errors:?}"
    );
    assert!(errors[1].contains("nosuch"), "{errors:?}");
    assert!(!made.complete);
}

#[test]
fn other_delimiters_hold_for_the_whole_template() {
    let made = generated(json!({
        "generators": [{"list": {"elements": [{"team": "sales"}]}}],
        "template": {"metadata": {"name": "[[ team ]]"}, "spec": {"description": "{{ .Values.x }} [[ team ]]"}},
        "templating": {"left": "[[", "right": "]]"},
    }));
    assert_eq!(
        made.children["sales"].spec["description"],
        "{{ .Values.x }} sales"
    );
}

#[test]
fn the_judge_sees_the_whole_object_and_its_objections_are_errors() {
    let judge = |object: &Value| {
        assert_eq!(object["apiVersion"], "appofapps.dev/v1alpha1");
        assert_eq!(object["kind"], "DatabricksApp");
        assert_eq!(object["metadata"]["namespace"], "apps");
        assert_eq!(
            object["metadata"]["labels"]["team"],
            object["metadata"]["name"]
        );
        match object["spec"]["size"].as_str() {
            Some("Huge") => vec![
                ("spec.size".to_owned(), "is no size".to_owned()),
                ("spec.x".to_owned(), "x".to_owned()),
                ("spec.y".to_owned(), "y".to_owned()),
            ],
            Some("Odd") => vec![("spec.size".to_owned(), "is odd".to_owned())],
            _ => Vec::new(),
        }
    };
    let spec = spec(json!({
        "generators": [{"list": {"elements": [{"t": "a", "s": "Huge"}, {"t": "b", "s": "Odd"}, {"t": "c", "s": "Medium"}]}}],
        "template": {"metadata": {"name": "{{ t }}", "labels": {"team": "{{ t }}"}}, "spec": {"size": "{{ s }}"}},
    }));
    let made = generate(&spec, &GeneratorInputs::default(), &parent(), &judge);
    assert_eq!(
        errors(&made),
        [
            "generators[0].list.elements[0]: spec.size: is no size; also wrong: spec.x, spec.y",
            "generators[0].list.elements[1]: spec.size: is odd",
        ]
    );
    assert!(
        made.errors
            .iter()
            .all(|error| error.reason == ErrorReason::InvalidSpec)
    );
    assert_eq!(made.children.keys().collect::<Vec<_>>(), ["c"]);
    assert!(made.complete && made.kept.len() == 2);
}

#[test]
fn ignored_fields_change_no_revision() {
    let made = |state: &str, team: &str, ignored: Value| {
        generated(json!({
            "apps": [
                {"name": "a", "labels": {"t": team}, "spec": {"lifecycle": {"state": state}}},
                {"name": "b", "labels": {"t": team}, "spec": {"lifecycle": {"state": state}}},
            ],
            "ignoreChildDifferences": ignored,
        }))
    };
    let ignored = json!([
        {"name": "a", "jsonPointers": ["/spec/lifecycle/state", "/metadata/labels/t", "/spec/absent"]},
        {"jsonPointers": ["/spec/lifecycle/state"]},
    ]);
    let (before, after) = (
        made("Running", "x", ignored.clone()),
        made("Stopped", "y", ignored.clone()),
    );
    assert_eq!(before.children["a"].revision, after.children["a"].revision);
    assert_eq!(after.children["a"].spec["lifecycle"]["state"], "Stopped");
    assert_ne!(before.children["b"].revision, after.children["b"].revision);
    assert_eq!(
        before.children["b"].revision,
        made("Stopped", "x", ignored).children["b"].revision
    );
    assert_eq!(
        after.children["a"].ignored,
        [
            "/metadata/labels/t",
            "/spec/absent",
            "/spec/lifecycle/state"
        ]
    );
    assert_eq!(after.children["b"].ignored, ["/spec/lifecycle/state"]);
    // Without any, it is that of the whole child.
    let plain = &made("Running", "x", json!([])).children["a"];
    let whole = json!({"kind": "DatabricksApp", "metadata": {"name": "a", "labels": {"t": "x"}, "annotations": {}},
        "spec": {"lifecycle": {"state": "Running"}}});
    assert_eq!(plain.revision, crate::api::digest::of(&whole));
}

#[test]
fn a_matrix_error_says_which_two_elements_it_is() {
    let made = generated(json!({
        "generators": [{"matrix": {"generators": [{"list": {"elements": [{"t": "a"}]}}, {"list": {"elements": [{"n": 1}, {"n": 2, "x": 1}]}}]}}],
        "template": {"metadata": {"name": "{{ t }}-{{ n }}"}, "spec": {"v": "{{ x }}"}},
    }));
    let error = &errors(&made)[0];
    assert!(
        error.starts_with("generators[0].matrix[0,0]: spec.v: unknown variable \"x\""),
        "{error}"
    );
    assert!(
        error.ends_with("(from list.elements[0] and list.elements[0])"),
        "{error}"
    );
    assert_eq!(made.sources["a-2"], "generators[0].matrix[0,1]");
}

#[test]
fn more_than_fits_is_refused_whole_and_prunes_nothing() {
    let elements: Vec<Value> = (0..900).map(|n| json!({"n": n})).collect();
    let big = "x".repeat(100_000);
    let costly = "{{ n }}".repeat(1_300);
    let list = json!([{"list": {"elements": elements}}]);
    for (spec, part) in [
        (json!({"x": big}), "the children take more than 64 MiB"),
        (json!({"x": vec![costly; 20]}), "expressions of"),
    ] {
        let template = json!({"metadata": {"name": "a{{ n }}"}, "spec": spec});
        let made = generated(json!({"generators": list, "template": template}));
        assert_eq!(made.errors.len(), 1);
        assert_eq!(made.errors[0].reason, ErrorReason::TooLarge);
        assert!(errors(&made)[0].contains(part), "{:?}", errors(&made));
        assert!(made.children.is_empty() && made.complete && made.kept.len() == 900);
    }
}

#[test]
fn a_renderer_asks_only_for_what_changed() {
    let asked = AtomicUsize::new(0);
    let judge = |_: &Value| {
        asked.fetch_add(1, Ordering::Relaxed);
        Vec::new()
    };
    let times = || asked.swap(0, Ordering::Relaxed);
    let elements: Vec<Value> = (0..300).map(|n| json!({"n": n, "size": "M"})).collect();
    let mut spec = spec(json!({
        "generators": [{"list": {"elements": elements}}],
        "template": {"metadata": {"name": "a{{ n }}"}, "spec": {"size": "{{ size }}", "x": "{{ x | default(0) }}"}},
        "defaults": {"d": 1},
    }));
    let inputs = GeneratorInputs::default();
    let mut renderer = Renderer::default();
    let first = renderer.generate(&spec, &inputs, &parent(), &judge);
    assert_eq!(times(), 300);
    let again = renderer.generate(&spec, &inputs, &parent(), &judge);
    assert!(Arc::ptr_eq(&first, &again));
    assert_eq!(times(), 0);

    let list = |spec: &mut AppOfAppsSpec| {
        std::mem::take(
            &mut spec.generators.as_mut().unwrap()[0]
                .list
                .as_mut()
                .unwrap()
                .elements,
        )
    };
    let mut elements = list(&mut spec);
    elements.reverse();
    elements[7].insert("size".to_owned(), "L".into());
    let mut add = elements[8].clone();
    add.insert("n".to_owned(), 777.into());
    elements.push(add);
    spec.generators.as_mut().unwrap()[0]
        .list
        .as_mut()
        .unwrap()
        .elements = elements;
    let second = renderer.generate(&spec, &inputs, &parent(), &judge);
    assert_eq!(times(), 2);
    assert_eq!(second.children["a292"].spec["size"], "L");
    assert!(Arc::ptr_eq(&first.children["a1"], &second.children["a1"]));
    assert_eq!(*second, generate(&spec, &inputs, &parent(), &judge));
    times();

    for change in [
        json!({"defaults": {"d": 2}}),
        json!({"ignoreChildDifferences": [{"jsonPointers": ["/spec/d"]}]}),
        json!({"template": {"metadata": {"name": "a{{ n }}"}, "spec": {}}}),
    ] {
        let mut value = serde_json::to_value(&spec).unwrap();
        for (key, part) in change.as_object().unwrap() {
            value[key] = part.clone();
        }
        spec = serde_json::from_value(value).unwrap();
        let made = renderer.generate(&spec, &inputs, &parent(), &judge);
        assert_eq!(times(), 301, "{change}");
        assert_eq!(*made, generate(&spec, &inputs, &parent(), &agree));
    }
}

fn arb_element() -> impl Strategy<Value = Value> {
    let member = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        (0i64..4).prop_map(Value::from),
        "[a-c]{0,2}".prop_map(Value::from),
        Just(json!(["a", 1])),
        Just(json!({"x": "a"})),
    ];
    proptest::collection::btree_map("team|size|x", member, 0..4)
        .prop_map(|map| Value::Object(map.into_iter().collect()))
}

fn arb_generators() -> impl Strategy<Value = Vec<Value>> {
    let leaf = prop_oneof![
        proptest::collection::vec(arb_element(), 0..5)
            .prop_map(|e| json!({"list": {"elements": e}})),
        Just(json!({"workspaces": {"values": {"v": "{{ name }}"}}})),
        Just(
            json!({"configMaps": {"selector": {"matchLabels": {"kind": "teams"}}, "key": "apps.yaml"}})
        ),
    ];
    let pair = (leaf.clone(), leaf.clone());
    let generator = prop_oneof![
        leaf,
        pair.clone()
            .prop_map(|(a, b)| json!({"matrix": {"generators": [a, b]}})),
        pair.prop_map(|(a, b)| json!({"merge": {"mergeKeys": ["team"], "generators": [a, b]}})),
    ];
    proptest::collection::vec(generator, 0..4)
}

fn arb_inputs() -> impl Strategy<Value = GeneratorInputs> {
    let texts = prop_oneof![
        proptest::collection::vec(arb_element(), 0..3).prop_map(|e| Value::from(e).to_string()),
        "[a{}:\\[\\], &*1-]{0,12}",
    ];
    let config_maps = proptest::collection::btree_map("[a-c]", texts, 0..3);
    let workspaces = proptest::collection::btree_map("[a-c]", "[a-c]{0,2}", 0..3);
    (workspaces, config_maps).prop_map(|(workspaces, config_maps)| {
        let kind = BTreeMap::from([("kind".to_owned(), "teams".to_owned())]);
        GeneratorInputs {
            workspaces: workspaces
                .into_iter()
                .map(|(name, team)| WorkspaceInput {
                    name: ObjectName::new("w", name),
                    host: String::new(),
                    labels: BTreeMap::from([("team".to_owned(), team)]),
                    annotations: BTreeMap::new(),
                    free: None,
                })
                .collect(),
            config_maps: config_maps
                .into_iter()
                .map(|(name, text)| ConfigMapInput {
                    name,
                    labels: kind.clone(),
                    data: BTreeMap::from([("apps.yaml".to_owned(), text)]),
                })
                .collect(),
        }
    })
}

fn template() -> Value {
    json!({
        "wave": "{{ size | default(0) }}",
        "metadata": {"name": "{{ team | default(name) }}"},
        "spec": {"x": "{{ x }}", "v": "{{ values.v | default('none') }}"},
    })
}

fn turn<T>(list: &mut [T], by: Index, swap: Index) {
    if !list.is_empty() {
        list.rotate_left(by.index(list.len()));
        list.swap(0, swap.index(list.len()));
    }
}

proptest! {
    #[test]
    fn the_order_of_generators_elements_and_inputs_changes_nothing(
        generators in arb_generators(),
        inputs in arb_inputs(),
        by in any::<Index>(),
        swap in any::<Index>(),
    ) {
        let mut renderer = Renderer::default();
        let straight = renderer.generate(
            &spec(json!({"generators": generators, "template": template()})), &inputs, &parent(), &agree);
        let (mut generators, mut inputs) = (generators, inputs);
        turn(&mut generators, by, swap);
        for generator in &mut generators {
            if let Some(list) = generator.pointer_mut("/list/elements").and_then(Value::as_array_mut) {
                turn(list, by, swap);
            }
            if let Some(pair) = generator.pointer_mut("/matrix/generators").and_then(Value::as_array_mut) {
                turn(pair, by, swap);
            }
        }
        turn(&mut inputs.workspaces, by, swap);
        turn(&mut inputs.config_maps, by, swap);
        let turned = spec(json!({"generators": generators, "template": template()}));
        let made = generate(&turned, &inputs, &parent(), &agree);
        prop_assert_eq!(&straight.children, &made.children);
        prop_assert_eq!(&straight.kept, &made.kept);
        prop_assert_eq!(straight.complete, made.complete);
        prop_assert_eq!(straight.errors.len(), made.errors.len());
        // What is kept between passes changes nothing either.
        prop_assert_eq!(&*renderer.generate(&turned, &inputs, &parent(), &agree), &made);
    }

    #[test]
    fn every_element_is_a_child_or_an_error(elements in proptest::collection::vec(arb_element(), 0..12)) {
        let made = generated(json!({"generators": [{"list": {"elements": elements}}], "template": template()}));
        prop_assert_eq!(made.children.len() + made.errors.len(), elements.len());
        prop_assert!(made.children.keys().all(|name| !made.kept.contains(name)));
        prop_assert_eq!(made.children.len(), made.sources.len());
    }

    #[test]
    fn nothing_panics(text in "[-{}\\[\\]a-c |.'\"%$#~(),0-9]{0,24}", any in "\\PC{0,12}", element in arb_element(), inputs in arb_inputs()) {
        let template = json!({
            "wave": text, "dependsOn": [any],
            "metadata": {"name": format!("a{text}"), "labels": {"l": any}, "annotations": {text.clone(): format!("{{{{ {any} }}}}")}},
            "spec": {"x": format!("{{{{ {text} }}}}"), any.clone(): [text, {"y": any}]},
        });
        let generators = json!([
            {"list": {"elements": [element, {any.clone(): text}]}},
            {"workspaces": {"values": {"v": text}}},
            {"configMaps": {"selector": {"matchLabels": {"kind": "teams"}}, "key": "apps.yaml"}, "selector": {"matchLabels": {any.clone(): text}}},
        ]);
        let spec = spec(json!({"generators": generators, "template": template, "defaults": {"x": {"y": text}}}));
        generate(&spec, &inputs, &parent(), &agree);
    }
}
