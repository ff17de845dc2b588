//! CEL rules (`x-kubernetes-validations`), evaluated as the API server does when an object is created.
//!
//! Not copied: the cost limits, and that lists of type set and map are equal in any order.
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use cel::common::ast::{CallExpr, Expr};
use cel::common::traits::{Indexer, Sizer};
use cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, MAP_TYPE, Type,
};
use cel::common::value::{CowVal, Val};
use cel::parser::Macro;
use cel::{Context, Env, ExecutionError, Program};
use regex::Regex;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::{Map, Value};

use super::field::Place;
use super::schema::{Kind, Schema};
use super::{Judge, Objection};

/// The functions of CEL's standard and of its extension for strings, as far as the cel crate has them. A rule that calls
/// another one fails when it is evaluated, and with it the object.
static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    // Only a name declared twice could fail, and then the rules that need it do.
    let _ = env.add_extension(cel::extensions::strings);
    // The crate compiles a pattern anew at each call, which takes longer than all the rest of a judgement.
    let _ = env.add_macro(Macro::receiver(
        "matches",
        1,
        |helper, target, arguments| {
            Ok(Some(helper.next_expr(Expr::Call(CallExpr {
                func_name: MATCHES.to_owned(),
                target: target.take().map(Box::new),
                args: std::mem::take(arguments),
            }))))
        },
    ));
    let _ = cel::add_member_overload!(env, fn matches: (CelString, CelString) -> Result<CelBool>, name = MATCHES);
    Arc::new(env)
});

/// What `matches` is called in compiled rules.
const MATCHES: &str = "matches_once_compiled";
/// Most patterns that are kept compiled: those of definitions are few, and those made of data have no end.
const PATTERNS: usize = 64;

fn matches(text: &CelString<'_>, pattern: &CelString<'_>) -> Result<CelBool, ExecutionError> {
    static COMPILED: RwLock<BTreeMap<String, Regex>> = RwLock::new(BTreeMap::new());
    let known = COMPILED.read().unwrap_or_else(PoisonError::into_inner);
    if let Some(regex) = known.get(pattern.inner()) {
        return Ok(CelBool::from(regex.is_match(text.inner())));
    }
    drop(known);
    let regex = Regex::new(pattern.inner())
        .map_err(|error| ExecutionError::function_error("matches", error.to_string()))?;
    let found = regex.is_match(text.inner());
    let mut known = COMPILED.write().unwrap_or_else(PoisonError::into_inner);
    if known.len() < PATTERNS {
        known.insert(pattern.inner().to_owned(), regex);
    }
    Ok(CelBool::from(found))
}

/// One rule of a schema's node, compiled.
#[derive(Debug)]
pub struct Rule {
    source: String,
    message: Option<String>,
    message_expression: Option<Program>,
    /// Path below the node, e.g. `.name`
    pub field_path: Option<String>,
    program: Program,
    /// Whether it compares with an earlier object.
    pub compares: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    rule: String,
    message: Option<String>,
    message_expression: Option<String>,
    field_path: Option<String>,
    #[serde(rename = "reason")]
    _reason: Option<String>,
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(deserializer)?;
        let compile = |text: &str| {
            ENV.compile(text)
                .map_err(|error| D::Error::custom(format!("rule {text:?}: {error}")))
        };
        let program = compile(&written.rule)?;
        Ok(Self {
            compares: program.references().has_variable("oldSelf"),
            program,
            message_expression: written
                .message_expression
                .as_deref()
                .map(compile)
                .transpose()?,
            source: written.rule,
            message: written.message,
            field_path: written.field_path,
        })
    }
}

impl Rule {
    /// What is wrong with the `self` of the context; `None` if it passes.
    fn violation(&self, context: &Context<'_, '_>) -> Option<String> {
        let said = match cel::Value::resolve_val(self.program.expression(), context) {
            Ok(said) => said,
            Err(error) => {
                return Some(format!(
                    "rule {:?} cannot be evaluated: {error}",
                    self.source
                ));
            }
        };
        match said.downcast_ref::<CelBool>().map(|truth| *truth.inner()) {
            Some(true) => None,
            Some(false) => Some(self.words(context)),
            None => Some(format!(
                "rule {:?} gives {} and neither true nor false",
                self.source,
                said.get_type().name()
            )),
        }
    }

    fn words(&self, context: &Context<'_, '_>) -> String {
        let computed = self
            .message_expression
            .as_ref()
            .and_then(|program| program.execute(context).ok());
        match (computed, &self.message) {
            (Some(cel::Value::String(words)), _) if !words.trim().is_empty() => words.to_string(),
            (_, Some(message)) => message.clone(),
            (_, None) => format!("failed rule: {}", self.source),
        }
    }
}

/// Values to which neither the rules of a node nor those below it object, by their hashes under a key of this process. A rule
/// reads nothing but the value, and the objects of a fleet share most of theirs: grants, variables, sources.
///
/// Two values of one hash are no case to expect, and the API server judges all of them again.
#[derive(Debug, Default)]
pub struct Passed {
    hasher: RandomState,
    known: RwLock<HashSet<u64>>,
}

impl Passed {
    /// Most values of one node; once there are more, those of now are worth more than those of before.
    const MOST: usize = 4096;

    fn hash(&self, value: &Value) -> u64 {
        self.hasher.hash_one(value)
    }

    fn has(&self, hash: u64) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.contains(&hash)
    }

    fn insert(&self, hash: u64) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= Self::MOST {
            known.clear();
        }
        known.insert(hash);
    }
}

/// Objections by rules to an object that the schema has let through.
pub fn judge(schema: &Schema, object: &Value, found: &mut Vec<Objection>) {
    if schema.ruled {
        let mut context = Context::with_env(ENV.clone());
        walk(schema, object, Place::ROOT, &mut context, found);
    }
}

/// As [`walk`], once for equal values of a node that has rules.
fn recall<'a>(
    schema: &'a Schema,
    value: &'a Value,
    at: Place<'_>,
    context: &mut Context<'_, 'a>,
    found: &mut Vec<Objection>,
) {
    if schema.rules.is_empty() {
        return walk(schema, value, at, context, found);
    }
    let hash = schema.passed.hash(value);
    if schema.passed.has(hash) {
        return;
    }
    let before = found.len();
    walk(schema, value, at, context, found);
    if found.len() == before {
        schema.passed.insert(hash);
    }
}

/// Rules of this node and of all below it. Those within a default are left out: it is always the same.
fn walk<'a>(
    schema: &'a Schema,
    value: &'a Value,
    at: Place<'_>,
    context: &mut Context<'_, 'a>,
    found: &mut Vec<Objection>,
) {
    if !schema.rules.is_empty() {
        context.add_variable_as_val("self", typed(schema, value));
    }
    for rule in &schema.rules {
        if let Some(message) = rule.violation(context) {
            let below = rule.field_path.as_deref();
            let below = below.map(|path| path.trim_start_matches('.'));
            let here = at.field();
            found.push(Objection {
                field: below.map_or_else(|| here.clone(), |path| here.join(path)),
                message,
                judge: Judge::Rule,
                blocks_rules: false,
            });
        }
    }
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                if let Some(inner) = schema.properties.get(key).or(schema.values_schema())
                    && inner.ruled
                    && !inner.replaces(Some(member))
                {
                    recall(inner, member, at.key(key), context, found);
                }
            }
        }
        Value::Array(items) => {
            if let Some(inner) = schema.items.as_deref().filter(|inner| inner.ruled) {
                for (index, item) in items.iter().enumerate() {
                    recall(inner, item, at.item(index), context, found);
                }
            }
        }
        _ => {}
    }
}

/// `value` with the type that `schema` declares: whole numbers are `int`, and what no schema lists is not there. Nothing
/// is copied, and the members of objects are looked at only when a rule asks for them.
fn typed<'a>(schema: &'a Schema, value: &'a Value) -> Box<dyn Val + 'a> {
    match value {
        Value::Null => Box::new(CelNull),
        Value::Bool(value) => Box::new(CelBool::from(*value)),
        Value::String(text) => Box::new(CelString::from(text.as_str())),
        Value::Number(number) => {
            let whole = schema.kind == Some(Kind::Integer) || schema.int_or_string;
            match (whole, number.as_i64(), number.as_f64()) {
                (true, Some(int), _) => Box::new(CelInt::from(int)),
                // A whole number written as 1.0; the schema has let through no other.
                #[allow(clippy::cast_possible_truncation)]
                (true, None, Some(float)) => Box::new(CelInt::from(float as i64)),
                (_, _, float) => Box::new(CelDouble::from(float.unwrap_or(f64::NAN))),
            }
        }
        Value::Array(items) => {
            let schema = schema.items.as_deref().unwrap_or(&UNKNOWN);
            let items: Vec<_> = items.iter().map(|item| typed(schema, item)).collect();
            Box::new(CelList::from(items))
        }
        Value::Object(members) => match schema.values_schema() {
            Some(values) => {
                let members = members.iter().map(|(key, member)| {
                    let key = CelMapKey::String(CelString::from(key.as_str()));
                    (key, typed(values, member))
                });
                Box::new(CelMap::from(members.collect::<HashMap<_, _>>()))
            }
            None => Box::new(Object { schema, members }),
        },
    }
}

/// What no schema describes.
static UNKNOWN: LazyLock<Schema> = LazyLock::new(Schema::default);

/// An object whose members its schema lists, as rules see it.
#[derive(Clone, Copy, Debug)]
struct Object<'a> {
    schema: &'a Schema,
    members: &'a Map<String, Value>,
}

impl<'a> Object<'a> {
    fn member(&self, name: &str) -> Option<Box<dyn Val + 'a>> {
        let property = match self.schema.escaped.get(name) {
            Some(property) => property,
            None if self.schema.escaped.values().any(|raw| raw == name) => return None,
            None => name,
        };
        let schema = self.schema.properties.get(property)?;
        let member = self.schema.member(self.members, property)?;
        Some(typed(schema, member))
    }

    /// Names of the members that are there, as rules write them.
    fn names(&self) -> impl Iterator<Item = &'a str> {
        let (schema, members) = (self.schema, self.members);
        let properties = schema.properties.keys().map(String::as_str);
        let there = properties.filter(|property| schema.member(members, property).is_some());
        there.map(|property| {
            let mut names = schema.escaped.iter();
            let escaped = names.find(|(_, raw)| *raw == property);
            escaped.map_or(property, |(name, _)| name)
        })
    }
}

impl Val for Object<'_> {
    fn get_type(&self) -> &Type {
        <Self as Val>::cel_type()
    }

    fn cel_type() -> &'static Type {
        &MAP_TYPE
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    /// For comparisons; a rule that asks for the size of an object is not installed by an API server.
    fn as_sizer(&self) -> Option<&dyn Sizer> {
        Some(self)
    }

    fn equals(&self, other: &dyn Val) -> bool {
        let (Some(members), Some(sizer)) = (other.as_indexer(), other.as_sizer()) else {
            return false;
        };
        let same = |name: &str| {
            let ours = self.member(name);
            let theirs = members.get(&CelString::from(name)).ok();
            ours.zip(theirs)
                .is_some_and(|(ours, theirs)| ours.equals(theirs.as_ref()))
        };
        self.size() == sizer.size() && self.names().all(same)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(*self)
    }
}

impl Indexer for Object<'_> {
    fn get<'b, 'v>(&'b self, name: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let name = name
            .downcast_ref::<CelString>()
            .map_or("", CelString::inner);
        let member = self.member(name).map(CowVal::Owned);
        member.ok_or_else(|| ExecutionError::no_such_key(name))
    }

    fn steal<'v>(self: Box<Self>, name: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(name).map(CowVal::into_owned)
    }
}

impl Sizer for Object<'_> {
    fn size(&self) -> CelInt {
        CelInt::from(i64::try_from(self.names().count()).unwrap_or(i64::MAX))
    }
}

/// A property's name as rules have to write it:
/// <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#escaping>.
pub fn escaped(name: &str) -> String {
    const RESERVED: &[&str] = &[
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
    ];
    if RESERVED.contains(&name) {
        return format!("__{name}__");
    }
    name.replace("__", "__underscores__")
        .replace('.', "__dot__")
        .replace('-', "__dash__")
        .replace('/', "__slash__")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn schema(rule: Value) -> Schema {
        let mut schema: Schema = serde_json::from_value(json!({
            "type": "object",
            "properties": {
                "size": {"type": "integer"},
                "share": {"type": "number"},
                "namespace": {"type": "string"},
                "a-b": {"type": "string"},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                "list": {"type": "array", "items": {"type": "integer"}},
            },
            "x-kubernetes-validations": [rule],
        }))
        .unwrap();
        schema.prepare();
        schema
    }

    fn said(schema: &Schema, object: &Value) -> Option<String> {
        let mut found = Vec::new();
        super::judge(schema, object, &mut found);
        found.into_iter().next().map(|objection| objection.message)
    }

    fn judge(rule: &str, object: Value) -> Option<String> {
        let schema = schema(json!({"rule": rule, "message": "no"}));
        said(&schema, &object)
    }

    #[test]
    fn values_have_the_types_of_their_schema() {
        for (rule, object) in [
            ("self.size + 1 == 3", json!({"size": 2})),
            ("self.size + 1 == 3", json!({"size": 2.0})),
            ("self.share + 1.0 == 3.0", json!({"share": 2})),
            ("self.list.all(x, x > 0)", json!({"list": [1, 2]})),
            ("self.labels['a-b'] == 'x'", json!({"labels": {"a-b": "x"}})),
            ("has(self.size) != has(self.share)", json!({"share": 1})),
        ] {
            assert_eq!(judge(rule, object), None, "{rule}");
        }
    }

    #[test]
    fn names_are_escaped_as_kubernetes_escapes_them() {
        let object = json!({"namespace": "n", "a-b": "x"});
        assert_eq!(
            judge(
                "self.__namespace__ == 'n' && self.a__dash__b == 'x'",
                object
            ),
            None
        );
    }

    #[test]
    fn what_no_schema_lists_is_not_there() {
        assert_eq!(
            judge("!has(self.free.inner)", json!({"free": {"inner": 1}})),
            None
        );
    }

    #[test]
    fn a_rule_about_a_change_says_nothing_of_a_new_object() {
        assert_eq!(judge("self == oldSelf", json!({"size": 1})), None);
        assert_eq!(
            judge("self.size == 2", json!({"size": 1})),
            Some("no".into())
        );
    }

    #[test]
    fn a_rule_that_cannot_be_evaluated_is_named() {
        for (rule, part) in [
            ("isURL(self.a__dash__b)", "isURL"),
            ("self.absent == 1", "absent"),
            ("self.size + 'x' == ''", "add"),
            ("self.size", "neither true nor false"),
        ] {
            let said = judge(rule, json!({"size": 1, "a-b": "x"})).unwrap();
            assert!(said.contains(rule) && said.contains(part), "{said}");
        }
    }

    #[test]
    fn objects_are_equal_if_they_have_the_same_members_with_defaults() {
        let point = json!({"type": "object", "properties": {
            "x": {"type": "integer"}, "y": {"type": "integer", "default": 0}}});
        let mut schema: Schema = serde_json::from_value(json!({
            "type": "object",
            "properties": {"a": point, "b": point},
            "x-kubernetes-validations": [{"rule": "self.a == self.b", "message": "differ"}],
        }))
        .unwrap();
        schema.prepare();
        for (a, b, equal) in [
            (json!({"x": 1}), json!({"x": 1, "y": 0}), true),
            (json!({"x": 1, "y": null}), json!({"y": 0, "x": 1}), true),
            (json!({"x": 1}), json!({"x": 2}), false),
            (json!({"x": 1}), json!({}), false),
            (json!({}), json!({"x": 1}), false),
        ] {
            let object = json!({"a": a, "b": b});
            assert_eq!(said(&schema, &object).is_none(), equal, "{object}");
        }
    }

    #[test]
    fn maps_are_searched_counted_and_walked_and_patterns_matched_each_time_anew() {
        for (rule, good) in [
            ("'a' in self.labels && size(self.labels) == 2", true),
            ("self.labels.all(k, self.labels[k] != '')", true),
            ("self.labels == {'a': 'x', 'b': 'y'}", true),
            ("self.labels.a.matches('^x$')", true),
            ("self.labels.b.matches('^x$')", false),
        ] {
            let object = json!({"labels": {"a": "x", "b": "y"}});
            assert_eq!(judge(rule, object).is_none(), good, "{rule}");
        }
        let broken = judge("self.labels.a.matches('(')", json!({"labels": {"a": "x"}}));
        assert!(broken.unwrap().contains("regex parse error"));
    }

    #[test]
    fn equal_values_are_judged_alike_wherever_and_however_often_they_come() {
        let mut schema: Schema = serde_json::from_value(json!({
            "type": "object",
            "properties": {"list": {"type": "array", "items": {
                "type": "object",
                "properties": {"n": {"type": "integer"}, "below": {
                    "type": "object", "properties": {"n": {"type": "integer"}},
                    "x-kubernetes-validations": [{"rule": "self.n < 3", "message": "below"}]}},
                "x-kubernetes-validations": [{"rule": "self.n < 3", "message": "here"}],
            }}},
        }))
        .unwrap();
        schema.prepare();
        let object = json!({"list": [
            {"n": 1}, {"n": 3}, {"n": 1, "below": {"n": 3}}, {"n": 1}, {"n": 3}, {"n": 1, "below": {"n": 1}}]});
        for _ in 0..3 {
            let mut found = Vec::new();
            super::judge(&schema, &object, &mut found);
            let found: Vec<String> = found
                .iter()
                .map(|o| format!("{}: {}", o.field, o.message))
                .collect();
            assert_eq!(
                found,
                ["list[1]: here", "list[2].below: below", "list[4]: here"]
            );
        }
    }

    #[test]
    fn what_is_kept_of_values_that_passed_is_bounded() {
        let passed = Passed::default();
        for n in 0..=Passed::MOST as u64 {
            passed.insert(n);
            assert!(passed.has(n));
        }
        assert!(!passed.has(0));
    }

    #[test]
    fn a_message_may_be_computed() {
        let schema = schema(json!({
            "rule": "self.size < 2", "message": "static",
            "messageExpression": "'size is ' + string(self.size)",
        }));
        let said = said(&schema, &json!({"size": 5}));
        assert_eq!(said, Some("size is 5".into()));
    }
}
