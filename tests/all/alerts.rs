//! Alerts, dashboard and runbook speak of what there is: metrics, labels and their values, reasons.
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use databricks_app_operator::api::status::Reason;
use databricks_app_operator::telemetry::metrics::table::{Entry, TABLE, Type};
use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{
    self, BinModifier, Expr, LabelModifier, VectorMatchCardinality, VectorSelector,
};
use serde_json::Value;

const RUNBOOK: &str = "https://appofapps.dev/docs/runbook.md";
/// What Prometheus itself puts on everything that it scrapes.
const SCRAPED: &[&str] = &["job", "namespace", "pod", "instance"];
const PARTS: [&str; 4] = ["Meaning", "Cause", "Check", "Remedy"];

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn rules() -> Vec<Value> {
    let file: Value =
        serde_saphyr::from_str(&read("charts/databricks-app-operator/files/alerts.yaml")).unwrap();
    let groups = file["groups"].as_array().unwrap();
    let rules = groups.iter().flat_map(|group| {
        assert!(group["name"].is_string());
        group["rules"].as_array().unwrap().clone()
    });
    rules.collect()
}

/// What an expression says that is not so.
fn wrong(expression: &str) -> Vec<String> {
    let mut said = Vec::new();
    match parser::parse(expression) {
        Ok(parsed) => {
            labels(&parsed, &mut said);
        }
        Err(error) => said.push(error.to_string()),
    }
    said
}

/// The entry of a series' name, and whether it is a histogram's buckets.
fn entry(name: &str) -> Option<(&'static Entry, bool)> {
    let exact = |entry: &&Entry| match entry.kind {
        Type::Histogram => ["_bucket", "_sum", "_count"]
            .iter()
            .any(|s| name.strip_suffix(s) == Some(entry.name)),
        Type::Counter | Type::Gauge => entry.name == name,
    };
    let found = TABLE.iter().find(exact)?;
    Some((
        found,
        found.kind == Type::Histogram && name.ends_with("_bucket"),
    ))
}

/// The labels that the series of an expression may have; what is wrong with it goes into `said`.
fn labels(expression: &Expr, said: &mut Vec<String>) -> BTreeSet<String> {
    match expression {
        Expr::VectorSelector(selector) => selected(selector, said),
        Expr::MatrixSelector(matrix) => selected(&matrix.vs, said),
        Expr::Paren(inner) => labels(&inner.expr, said),
        Expr::Unary(inner) => labels(&inner.expr, said),
        Expr::Subquery(inner) => labels(&inner.expr, said),
        Expr::Aggregate(aggregate) => {
            let inner = labels(&aggregate.expr, said);
            match &aggregate.modifier {
                Some(LabelModifier::Include(by)) => {
                    let by: BTreeSet<String> = by.labels.iter().cloned().collect();
                    said.extend(
                        by.difference(&inner)
                            .map(|label| format!("by ({label}): no such label")),
                    );
                    by
                }
                Some(LabelModifier::Exclude(without)) => inner
                    .into_iter()
                    .filter(|label| !without.labels.contains(label))
                    .collect(),
                None => BTreeSet::new(),
            }
        }
        Expr::Binary(binary) => {
            let (left, right) = (labels(&binary.lhs, said), labels(&binary.rhs, said));
            let scalar = |side: &Expr| matches!(side, Expr::NumberLiteral(_));
            let plain = binary
                .modifier
                .as_ref()
                .is_none_or(|modifier: &BinModifier| {
                    modifier.matching.is_none() && modifier.card == VectorMatchCardinality::OneToOne
                });
            let both = !scalar(&binary.lhs) && !scalar(&binary.rhs);
            // Sides of other labels never match: the alert would be silent for ever. `or` takes what is there.
            if both && plain && left != right && !is_or(expression) {
                said.push(format!("{left:?} and {right:?} never match"));
            }
            match scalar(&binary.lhs) || binary.lhs.value_type() == parser::value::ValueType::Scalar
            {
                true => right,
                false => left,
            }
        }
        Expr::Call(call) => {
            let mut all = BTreeSet::new();
            for argument in &call.args.args {
                all.extend(labels(argument, said));
            }
            if call.func.name == "histogram_quantile" && !all.remove("le") {
                said.push("histogram_quantile without le".into());
            }
            all
        }
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) => BTreeSet::new(),
        Expr::Extension(_) => panic!("an extension"),
    }
}

fn is_or(expression: &Expr) -> bool {
    matches!(expression, Expr::Binary(binary) if binary.op.to_string() == "or")
}

fn selected(selector: &VectorSelector, said: &mut Vec<String>) -> BTreeSet<String> {
    let name = selector.name.clone().unwrap_or_default();
    let Some((entry, buckets)) = entry(&name) else {
        said.push(format!("there is no metric {name:?}"));
        return BTreeSet::new();
    };
    for matcher in &selector.matchers.matchers {
        if SCRAPED.contains(&matcher.name.as_str()) {
            continue;
        }
        match entry.labels.iter().find(|label| label.name == matcher.name) {
            None => said.push(format!("{name} has no label {}", matcher.name)),
            Some(label) if label.values.is_empty() => {}
            Some(label) if label.values.iter().any(|value| matches(matcher, value)) => {}
            Some(label) => said.push(format!("{matcher} matches none of {:?}", label.values)),
        }
    }
    let own = entry.labels.iter().map(|label| label.name);
    let le = buckets.then_some("le");
    own.chain(le)
        .chain(SCRAPED.iter().copied())
        .map(str::to_owned)
        .collect()
}

fn matches(matcher: &Matcher, value: &str) -> bool {
    // A variable of the dashboard.
    matcher.value.starts_with('$')
        || match &matcher.op {
            MatchOp::Equal => matcher.value == value,
            MatchOp::NotEqual => matcher.value != value,
            MatchOp::Re(pattern) => pattern.is_match(value),
            MatchOp::NotRe(pattern) => !pattern.is_match(value),
        }
}

#[test]
fn an_expression_about_what_does_not_exist_is_told_from_one_about_what_does() {
    for good in [
        "dao_leader == 0",
        "histogram_quantile(0.9, sum by (le, kind) (rate(dao_reconcile_pass_seconds_bucket[5m])))",
        "sum by (state) (dao_apps{workspace=\"apps/prod\",state=~\"Run.*\"}) > 1",
    ] {
        assert_eq!(wrong(good), Vec::<String>::new(), "{good}");
    }
    for bad in [
        "dao_leaders == 0",
        "dao_reconcile_passes == 0",
        "dao_leader{kind=\"DatabricksApp\"}",
        "dao_apps{state=\"Broken\"}",
        "sum by (kind) (dao_apps)",
        "sum by (kind) (dao_objects) / sum by (state) (dao_objects)",
        "histogram_quantile(0.9, sum by (kind) (rate(dao_reconcile_pass_seconds_bucket[5m])))",
        "sum(",
    ] {
        assert_ne!(wrong(bad), Vec::<String>::new(), "{bad}");
    }
}

#[test]
fn every_alert_is_about_metrics_that_exist_and_links_to_its_section() {
    let runbook = sections(&read("docs/runbook.md"));
    let mut names = BTreeSet::new();
    for rule in rules() {
        let name = rule["alert"].as_str().unwrap().to_owned();
        let expression = rule["expr"].as_str().unwrap();
        assert_eq!(
            wrong(expression),
            Vec::<String>::new(),
            "{name}: {expression}"
        );
        let link = format!("{RUNBOOK}#{}", name.to_lowercase());
        assert_eq!(rule["annotations"]["runbook_url"], link, "{name}");
        let summary = rule["annotations"]["summary"].as_str().unwrap();
        assert!(summary.ends_with('.'), "{name}: {summary}");
        let severity = rule["labels"]["severity"].as_str().unwrap();
        assert!(
            ["critical", "warning", "info"].contains(&severity),
            "{name}"
        );
        let section = runbook
            .get(&name)
            .unwrap_or_else(|| panic!("{name} has no section"));
        assert_eq!(section.chapter, "Alerts", "{name}");
        assert!(names.insert(name.clone()), "{name} twice");
    }
    for (name, section) in &runbook {
        assert!(
            section.chapter != "Alerts" || names.contains(name),
            "there is no alert {name}"
        );
    }
}

#[test]
fn every_panel_of_the_dashboard_is_about_metrics_that_exist_and_every_metric_has_one() {
    let dashboard: Value =
        serde_json::from_str(&read("charts/databricks-app-operator/files/dashboard.json")).unwrap();
    let mut ids = BTreeSet::new();
    let mut shown = String::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(
            ids.insert(panel["id"].as_u64().unwrap()),
            "{}",
            panel["title"]
        );
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"]
                .as_str()
                .unwrap()
                .replace("$__rate_interval", "5m");
            assert_eq!(
                wrong(&expression),
                Vec::<String>::new(),
                "{}: {expression}",
                panel["title"]
            );
            shown += &expression;
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if let Some(query) = variable["query"]["query"].as_str() {
            let inner = query
                .strip_prefix("label_values(")
                .and_then(|q| q.split_once(','));
            let metric = inner.unwrap_or_else(|| panic!("{query}")).0;
            assert!(entry(metric).is_some(), "{query}");
            shown += metric;
        }
    }
    for entry in TABLE {
        assert!(shown.contains(entry.name), "{} is on no panel", entry.name);
    }
}

struct Section {
    chapter: String,
    parts: BTreeMap<String, String>,
}

fn sections(text: &str) -> BTreeMap<String, Section> {
    let mut sections: BTreeMap<String, Section> = BTreeMap::new();
    let (mut chapter, mut name) = (String::new(), String::new());
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            chapter = title.to_owned();
        } else if let Some(title) = line.strip_prefix("### ") {
            name = title.to_owned();
            let section = Section {
                chapter: chapter.clone(),
                parts: BTreeMap::new(),
            };
            assert!(
                sections.insert(name.clone(), section).is_none(),
                "{name} twice"
            );
        } else if let Some((part, words)) =
            line.strip_prefix("- **").and_then(|l| l.split_once(":** "))
        {
            let section = sections.get_mut(&name).unwrap();
            let before = section.parts.insert(part.to_owned(), words.to_owned());
            assert!(before.is_none(), "{name}: {part} twice");
        }
    }
    sections
}

#[test]
fn the_runbook_has_a_whole_section_for_every_reason_and_for_nothing_else() {
    let runbook = sections(&read("docs/runbook.md"));
    for (name, section) in &runbook {
        let parts: Vec<&str> = section.parts.keys().map(String::as_str).collect();
        let mut wanted = PARTS;
        wanted.sort_unstable();
        assert_eq!(parts, wanted, "{name}");
        for (part, words) in &section.parts {
            assert!(
                words.len() > 10 && words.ends_with('.'),
                "{name}: {part}: {words}"
            );
        }
    }
    for reason in Reason::ALL {
        let section = runbook.get(reason.name());
        let section = section.unwrap_or_else(|| panic!("{reason} has no section"));
        assert_eq!(section.chapter, "Reasons", "{reason}");
        assert_eq!(
            section.parts["Meaning"],
            reason.meaning().trim(),
            "{reason}"
        );
    }
    let known = |name: &str| Reason::ALL.iter().any(|reason| reason.name() == name);
    for (name, section) in &runbook {
        assert!(
            section.chapter != "Reasons" || known(name),
            "there is no reason {name}"
        );
    }
}
