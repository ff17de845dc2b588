//! Users, groups and service principals.
mod filter;
mod scim;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{numeric_id, uuid};

pub use scim::ROUTES;

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

    /// The id of whoever grants know by this name.
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

    /// What people read instead of the name in grants.
    pub fn display_name(&self, kind: Kind, key: &str) -> Option<String> {
        let id = self.find(kind, key)?;
        self.attribute(kind, id, "displayName")
    }

    /// Of the service principal with this SCIM id.
    pub fn application_id(&self, id: i64) -> Option<String> {
        self.attribute(Kind::ServicePrincipal, id, "applicationId")
    }

    /// Also out of every group; false if nobody had this id.
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

    /// Everybody of one kind, by id.
    fn of(&self, kind: Kind) -> impl Iterator<Item = (i64, &Attributes)> {
        self.members
            .range((kind, i64::MIN)..=(kind, i64::MAX))
            .map(|((_, id), attributes)| (*id, attributes))
    }

    fn attribute(&self, kind: Kind, id: i64, name: &str) -> Option<String> {
        let value = self.members.get(&(kind, id))?.get(name)?.as_str()?;
        Some(value.to_owned())
    }

    /// Fills in what SCIM gives to everybody of this kind, and makes users and service principals members of `users`.
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

    /// As SCIM shows it, groups included.
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
