//! Users, groups and service principals, and the SCIM API over them.
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Workspace, numeric_id, uuid};
use crate::error::{ApiError, Outcome};
use crate::http::{Call, Reply, Route};

const BASE: &str = "/api/2.0/preview/scim/v2";

pub const ROUTES: &[Route] = &[
    Route::new("GET", "/api/2.0/preview/scim/v2/Me", me),
    Route::new("GET", "/api/2.0/preview/scim/v2/{kind}", list),
    Route::new("POST", "/api/2.0/preview/scim/v2/{kind}", create),
    Route::new("GET", "/api/2.0/preview/scim/v2/{kind}/{id}", get),
    Route::new("PUT", "/api/2.0/preview/scim/v2/{kind}/{id}", replace),
    Route::new("PATCH", "/api/2.0/preview/scim/v2/{kind}/{id}", patch),
    Route::new("DELETE", "/api/2.0/preview/scim/v2/{kind}/{id}", delete),
];

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    User,
    Group,
    ServicePrincipal,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::User, Kind::Group, Kind::ServicePrincipal];

    fn plural(self) -> &'static str {
        match self {
            Kind::User => "Users",
            Kind::Group => "Groups",
            Kind::ServicePrincipal => "ServicePrincipals",
        }
    }

    /// The attribute that names a member of this kind in grants.
    pub fn key(self) -> &'static str {
        match self {
            Kind::User => "userName",
            Kind::Group => "displayName",
            Kind::ServicePrincipal => "applicationId",
        }
    }

    fn schema(self) -> &'static str {
        match self {
            Kind::User => "urn:ietf:params:scim:schemas:core:2.0:User",
            Kind::Group => "urn:ietf:params:scim:schemas:core:2.0:Group",
            Kind::ServicePrincipal => "urn:ietf:params:scim:schemas:core:2.0:ServicePrincipal",
        }
    }

    /// Group names are compared as they are, the others without regard to case.
    fn same(self, a: &str, b: &str) -> bool {
        match self {
            Kind::Group => a == b,
            Kind::User | Kind::ServicePrincipal => a.eq_ignore_ascii_case(b),
        }
    }
}

type Attributes = Map<String, Value>;

/// Everybody by kind and id.
#[derive(Debug, Default)]
pub struct Directory {
    members: BTreeMap<(Kind, i64), Attributes>,
}

impl Directory {
    /// Adds a member under the name that grants use, or returns the one that is there. Gives its id.
    pub fn ensure(&mut self, kind: Kind, key: &str, display_name: Option<&str>) -> i64 {
        if let Some(id) = self.find(kind, key) {
            return id;
        }
        let mut attributes = Map::new();
        attributes.insert(kind.key().into(), key.into());
        if let Some(name) = display_name {
            attributes.insert("displayName".into(), name.into());
        }
        self.insert(kind, attributes)
    }

    pub fn find(&self, kind: Kind, key: &str) -> Option<i64> {
        self.of(kind)
            .find(|(_, a)| {
                a.get(kind.key())
                    .and_then(Value::as_str)
                    .is_some_and(|k| kind.same(k, key))
            })
            .map(|(id, _)| id)
    }

    /// The name as the directory writes it.
    pub fn canonical(&self, kind: Kind, key: &str) -> Option<String> {
        let id = self.find(kind, key)?;
        self.attribute(kind, id, kind.key())
    }

    pub fn display_name(&self, kind: Kind, key: &str) -> Option<String> {
        let id = self.find(kind, key)?;
        self.attribute(kind, id, "displayName")
    }

    /// Of the service principal with this SCIM id.
    pub fn application_id(&self, id: i64) -> Option<String> {
        self.attribute(Kind::ServicePrincipal, id, "applicationId")
    }

    pub fn remove(&mut self, kind: Kind, id: i64) -> bool {
        let text = id.to_string();
        for ((other, _), attributes) in &mut self.members {
            if *other == Kind::Group
                && let Some(members) = members_of(attributes)
            {
                members.retain(|m| m["value"] != text.as_str());
            }
        }
        self.members.remove(&(kind, id)).is_some()
    }

    /// Makes a user or service principal a member of a group, once.
    pub fn join(&mut self, group: i64, member: i64) {
        let value = member.to_string();
        let display = Kind::ALL
            .iter()
            .find_map(|kind| self.attribute(*kind, member, kind.key()))
            .unwrap_or_default();
        let members = self
            .members
            .get_mut(&(Kind::Group, group))
            .and_then(members_of);
        if let Some(members) = members
            && !members.iter().any(|m| m["value"] == value.as_str())
        {
            members.push(json!({"value": value, "display": display}));
        }
    }

    /// Groups in which the member is, as SCIM shows them on it.
    fn groups_of(&self, member: i64) -> Vec<Value> {
        let member = member.to_string();
        self.of(Kind::Group)
            .filter(|(_, a)| {
                a.get("members")
                    .and_then(Value::as_array)
                    .is_some_and(|all| all.iter().any(|m| m["value"] == member.as_str()))
            })
            .map(|(id, a)| {
                json!({
                    "display": a.get("displayName"),
                    "value": id.to_string(),
                    "type": "direct",
                    "$ref": format!("Groups/{id}"),
                })
            })
            .collect()
    }

    fn of(&self, kind: Kind) -> impl Iterator<Item = (i64, &Attributes)> {
        self.members
            .range((kind, i64::MIN)..=(kind, i64::MAX))
            .map(|((_, id), attributes)| (*id, attributes))
    }

    fn attribute(&self, kind: Kind, id: i64, name: &str) -> Option<String> {
        let value = self.members.get(&(kind, id))?.get(name)?.as_str()?;
        Some(value.to_owned())
    }

    fn insert(&mut self, kind: Kind, mut attributes: Attributes) -> i64 {
        let id = numeric_id();
        if kind == Kind::ServicePrincipal {
            attributes
                .entry("applicationId")
                .or_insert_with(|| uuid().into());
        }
        if kind != Kind::Group {
            attributes.entry("active").or_insert(Value::Bool(true));
        }
        if kind == Kind::User
            && let Some(name) = attributes.get("userName").cloned()
        {
            attributes
                .entry("emails")
                .or_insert_with(|| json!([{"value": name, "type": "work", "primary": true}]));
            attributes.entry("displayName").or_insert(name);
        }
        self.members.insert((kind, id), attributes);
        if kind != Kind::Group
            && let Some(users) = self.find(Kind::Group, "users")
        {
            self.join(users, id);
        }
        id
    }

    fn show(&self, kind: Kind, id: i64) -> Option<Value> {
        let mut shown = self.members.get(&(kind, id))?.clone();
        shown.insert("id".into(), id.to_string().into());
        shown.insert("schemas".into(), json!([kind.schema()]));
        if kind == Kind::Group {
            shown.insert("meta".into(), json!({"resourceType": "WorkspaceGroup"}));
        } else {
            shown.insert("groups".into(), self.groups_of(id).into());
        }
        Some(Value::Object(shown))
    }
}

/// The list of a group's members, made if it is not there; `None` if a client put something else in its place.
fn members_of(group: &mut Attributes) -> Option<&mut Vec<Value>> {
    group
        .entry("members")
        .or_insert_with(|| json!([]))
        .as_array_mut()
}

fn me(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let kind = call.caller.kind;
    let directory = &workspace.directory;
    let mut shown = directory
        .find(kind, &call.caller.name)
        .and_then(|id| directory.show(kind, id))
        .ok_or_else(|| ApiError::missing(format!("{} is gone", call.caller.name)).in_scim())?;
    shown["userName"] = call.caller.name.as_str().into();
    Ok(select(shown, call).into())
}

fn list(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let kind = kind(call)?;
    let filter = call.query("filter").map(Filter::parse).transpose()?;
    let number = |name: &str, otherwise: usize| match call.query(name) {
        None => Ok(otherwise),
        Some(text) => text.parse::<usize>().map_err(|_| {
            ApiError::invalid(format!("{name} must be a number, got '{text}'")).in_scim()
        }),
    };
    let start = number("startIndex", 1)?.max(1);
    let count = number("count", 100)?;
    let directory = &workspace.directory;
    let found: Vec<Value> = directory
        .of(kind)
        .filter_map(|(id, _)| directory.show(kind, id))
        .filter(|shown| filter.as_ref().is_none_or(|f| f.matches(kind, shown)))
        .collect();
    let total = found.len();
    let resources: Vec<Value> = found
        .into_iter()
        .skip(start - 1)
        .take(count)
        .map(|shown| select(shown, call))
        .collect();
    let mut answer = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
        "totalResults": total,
        "startIndex": start,
        "itemsPerPage": resources.len(),
    });
    if !resources.is_empty() {
        answer["Resources"] = resources.into();
    }
    Ok(answer.into())
}

fn create(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let kind = kind(call)?;
    let mut body = call.json()?;
    for output in ["id", "schemas", "groups", "meta"] {
        body.remove(output);
    }
    let key = body.get(kind.key()).and_then(Value::as_str);
    match key {
        None | Some("") if kind != Kind::ServicePrincipal => {
            return Err(ApiError::invalid(format!("{} is missing", kind.key())).in_scim());
        }
        Some(key) if workspace.directory.find(kind, key).is_some() => {
            return Err(ApiError::exists(format!(
                "{} with {} {key} already exists.",
                kind.plural().trim_end_matches('s'),
                kind.key()
            ))
            .in_scim());
        }
        _ => {}
    }
    let id = workspace.directory.insert(kind, body);
    shown(workspace, kind, id)
}

fn get(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let (kind, id) = existing(workspace, call)?;
    let answer = workspace.directory.show(kind, id).unwrap_or_default();
    Ok(select(answer, call).into())
}

fn replace(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let (kind, id) = existing(workspace, call)?;
    let mut body = call.json()?;
    for output in ["id", "schemas", "groups", "meta"] {
        body.remove(output);
    }
    if let Some(attributes) = workspace.directory.members.get_mut(&(kind, id)) {
        if let Some(key) = attributes.get(kind.key()).cloned() {
            body.entry(kind.key()).or_insert(key);
        }
        *attributes = body;
    }
    shown(workspace, kind, id)
}

fn patch(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let (kind, id) = existing(workspace, call)?;
    let body = call.json()?;
    let operations = body
        .get("Operations")
        .and_then(Value::as_array)
        .ok_or_else(|| ApiError::invalid("Operations is missing").in_scim())?;
    for operation in operations {
        let verb = operation["op"].as_str().unwrap_or_default().to_lowercase();
        let path = operation["path"].as_str().unwrap_or_default();
        let value = &operation["value"];
        apply(&mut workspace.directory, kind, id, (&verb, path, value))?;
    }
    shown(workspace, kind, id)
}

/// One operation of a PATCH: `add`, `replace` or `remove` of attributes; members of a group one by one.
fn apply(
    directory: &mut Directory,
    kind: Kind,
    id: i64,
    (verb, path, value): (&str, &str, &Value),
) -> Result<(), ApiError> {
    let numbers = |value: &Value| -> Vec<i64> {
        let list = value.get("members").unwrap_or(value);
        let one = std::slice::from_ref(list);
        list.as_array()
            .map_or(one, Vec::as_slice)
            .iter()
            .filter_map(|m| m["value"].as_str()?.parse().ok())
            .collect()
    };
    let about_members = path == "members" || (path.is_empty() && value.get("members").is_some());
    if kind == Kind::Group && verb == "add" && about_members {
        for member in numbers(value) {
            directory.join(id, member);
        }
        return Ok(());
    }
    let Some(attributes) = directory.members.get_mut(&(kind, id)) else {
        return Ok(());
    };
    match verb {
        "remove" if path.starts_with("members[") => {
            let wanted = path.split('"').nth(1).unwrap_or_default();
            if let Some(members) = members_of(attributes) {
                members.retain(|m| m["value"] != wanted);
            }
        }
        "remove" if !path.is_empty() => {
            attributes.remove(path);
        }
        "add" | "replace" if path.is_empty() => {
            attributes.extend(value.as_object().cloned().unwrap_or_default());
        }
        "add" | "replace" => {
            attributes.insert(path.into(), value.clone());
        }
        _ => {
            return Err(
                ApiError::invalid(format!("unknown operation '{verb}' at '{path}'")).in_scim(),
            );
        }
    }
    Ok(())
}

fn delete(workspace: &mut Workspace, call: &Call<'_>) -> Outcome {
    let (kind, id) = existing(workspace, call)?;
    workspace.directory.remove(kind, id);
    Ok(Reply::empty())
}

fn kind(call: &Call<'_>) -> Result<Kind, ApiError> {
    let plural = call.param("kind");
    Kind::ALL
        .into_iter()
        .find(|kind| kind.plural() == plural)
        .ok_or_else(|| {
            ApiError::new(
                404,
                "ENDPOINT_NOT_FOUND",
                format!("No API found for '{BASE}/{plural}'"),
            )
        })
}

fn existing(workspace: &Workspace, call: &Call<'_>) -> Result<(Kind, i64), ApiError> {
    let kind = kind(call)?;
    let id = call.param("id");
    id.parse()
        .ok()
        .filter(|id| workspace.directory.members.contains_key(&(kind, *id)))
        .map(|id| (kind, id))
        .ok_or_else(|| {
            let one = kind.plural().trim_end_matches('s');
            ApiError::missing(format!("{one} with id {id} not found.")).in_scim()
        })
}

fn shown(workspace: &Workspace, kind: Kind, id: i64) -> Outcome {
    let shown = workspace.directory.show(kind, id).unwrap_or_default();
    Ok(shown.into())
}

/// Leaves only what `attributes` names, or takes out what `excludedAttributes` names; `id` and `schemas` stay.
fn select(mut shown: Value, call: &Call<'_>) -> Value {
    let named = |text: &str, field: &String| {
        text.split(',')
            .map(|a| a.trim().split('.').next().unwrap_or_default())
            .any(|a| a.eq_ignore_ascii_case(field))
    };
    if let Value::Object(fields) = &mut shown {
        if let Some(wanted) = call.query("attributes") {
            fields.retain(|field, _| field == "id" || field == "schemas" || named(wanted, field));
        }
        if let Some(unwanted) = call.query("excludedAttributes") {
            fields.retain(|field, _| field == "id" || !named(unwanted, field));
        }
    }
    shown
}

/// `attribute op "value"`, joined by `and` or `or` (never both).
struct Filter {
    terms: Vec<Term>,
    any: bool,
}

struct Term {
    attribute: String,
    operator: String,
    value: String,
}

impl Filter {
    fn parse(text: &str) -> Result<Self, ApiError> {
        let wrong = || {
            ApiError::invalid(format!("Given filter operator is not supported: {text}")).in_scim()
        };
        let any = text.contains("\" or ");
        if any && text.contains("\" and ") {
            return Err(wrong());
        }
        let terms = text
            .split(if any { " or " } else { " and " })
            .map(|term| {
                let mut words = term.trim().splitn(3, ' ');
                let attribute = words.next().filter(|a| !a.is_empty()).ok_or_else(wrong)?;
                let operator = words.next().ok_or_else(wrong)?.to_lowercase();
                if !["eq", "ne", "co", "sw"].contains(&operator.as_str()) {
                    return Err(wrong());
                }
                let value = words.next().ok_or_else(wrong)?.trim().trim_matches('"');
                Ok(Term {
                    attribute: attribute.to_owned(),
                    operator,
                    value: value.to_owned(),
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { terms, any })
    }

    fn matches(&self, kind: Kind, shown: &Value) -> bool {
        let mut results = self.terms.iter().map(|term| term.matches(kind, shown));
        if self.any {
            results.any(|r| r)
        } else {
            results.all(|r| r)
        }
    }
}

impl Term {
    fn matches(&self, kind: Kind, shown: &Value) -> bool {
        let actual = shown
            .as_object()
            .into_iter()
            .flatten()
            .find(|(name, _)| name.eq_ignore_ascii_case(&self.attribute))
            .map(|(_, value)| match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            });
        let Some(actual) = actual else {
            return self.operator == "ne";
        };
        let lower = |text: &str| text.to_lowercase();
        match self.operator.as_str() {
            "eq" => kind.same(&actual, &self.value),
            "ne" => !kind.same(&actual, &self.value),
            "co" => lower(&actual).contains(&lower(&self.value)),
            _ => lower(&actual).starts_with(&lower(&self.value)),
        }
    }
}
