//! Why the demo ends early.

/// What went wrong, and which object tells more about it.
#[derive(Debug)]
pub(in crate::commands) struct Trouble {
    pub(super) what: String,
    /// Kind and name.
    pub(super) about: Option<(&'static str, String)>,
}

impl Trouble {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            about: None,
        }
    }

    pub(super) fn with(what: impl Into<String>, kind: &'static str, name: &str) -> Self {
        Self {
            what: what.into(),
            about: Some((kind, name.to_owned())),
        }
    }
}

impl<E: std::error::Error> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::new(crate::commands::with_causes(&error))
    }
}

impl From<Trouble> for crate::commands::Failure {
    fn from(trouble: Trouble) -> Self {
        trouble.what.into()
    }
}
