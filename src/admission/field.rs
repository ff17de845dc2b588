//! Where in an object something lies, as the API server writes it: `spec.resources[2].name`, `metadata.labels[a/b]`.
use std::fmt;

use serde_path_to_error::{Path, Segment};

/// The way from an object's root to a field; empty for the object itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Field(String);

impl Field {
    /// A path written out, e.g. `spec.host`.
    pub fn new(path: impl Into<String>) -> Self {
        Self(path.into())
    }

    /// Where serde stumbled, from here.
    pub fn below(&self, path: &Path) -> Self {
        path.iter().fold(self.clone(), |field, step| match step {
            Segment::Seq { index } => field.item(*index),
            Segment::Map { key } => field.key(key),
            Segment::Enum { variant } => field.key(variant),
            Segment::Unknown => field,
        })
    }

    /// The member `key` of the object here.
    pub fn key(&self, key: &str) -> Self {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if key.is_empty() || !key.chars().all(plain) {
            Self(format!("{}[{key}]", self.0))
        } else if self.0.is_empty() {
            Self(key.to_owned())
        } else {
            Self(format!("{}.{key}", self.0))
        }
    }

    /// The item `index` of the list here.
    pub fn item(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// `path`, as written out elsewhere, from here.
    pub fn join(&self, path: &str) -> Self {
        match (self.0.is_empty(), path.starts_with('[')) {
            (true, _) => Self(path.to_owned()),
            (false, true) => Self(format!("{}{path}", self.0)),
            (false, false) => Self(format!("{}.{path}", self.0)),
        }
    }

    /// What holds this field; `None` for the object itself.
    pub fn parent(&self) -> Option<Self> {
        if self.0.is_empty() {
            return None;
        }
        let end = match self.0.strip_suffix(']') {
            Some(open) => open.rfind('[').unwrap_or_default(),
            None => self.0.rfind('.').unwrap_or_default(),
        };
        Some(Self(self.0[..end].to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a walk through an object is; becomes a [`Field`] only when there is something to say of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a>(Option<(&'a Place<'a>, Way<'a>)>);

#[derive(Clone, Copy, Debug)]
enum Way<'a> {
    Key(&'a str),
    Item(usize),
}

impl<'a> Place<'a> {
    /// The object itself.
    pub(super) const ROOT: Place<'static> = Place(None);

    pub(super) fn key(&'a self, key: &'a str) -> Self {
        Self(Some((self, Way::Key(key))))
    }

    pub(super) fn item(&'a self, index: usize) -> Self {
        Self(Some((self, Way::Item(index))))
    }

    pub(super) fn field(&self) -> Field {
        match self.0 {
            None => Field::default(),
            Some((above, Way::Key(key))) => above.field().key(key),
            Some((above, Way::Item(index))) => above.field().item(index),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_as_the_api_server_writes_it_and_leads_back_to_the_root() {
        let name = Field::default()
            .key("spec")
            .key("resources")
            .item(2)
            .key("name");
        assert_eq!(name.as_str(), "spec.resources[2].name");
        let labels = Field::new("metadata").key("labels").key("a.b/c");
        assert_eq!(labels.as_str(), "metadata.labels[a.b/c]");
        assert_eq!(labels.parent(), Some(Field::new("metadata.labels")));
        let mut way = vec![name.to_string()];
        let mut here = name;
        while let Some(above) = here.parent() {
            way.push(above.to_string());
            here = above;
        }
        let expected = [
            "spec.resources[2].name",
            "spec.resources[2]",
            "spec.resources",
            "spec",
            "",
        ];
        assert_eq!(way, expected);
    }

    #[test]
    fn a_path_written_out_goes_on_from_here() {
        assert_eq!(
            Field::new("spec").join("apps[1].name").as_str(),
            "spec.apps[1].name"
        );
        assert_eq!(Field::new("spec.apps").join("[1]").as_str(), "spec.apps[1]");
        assert_eq!(Field::default().join("spec").as_str(), "spec");
    }
}
