//! What keeps an element from becoming a child.

use crate::api::status::some;

/// What stands for the element where the template is at fault.
pub(super) const TEMPLATE: &str = "template";

/// An element that did not become a child, or an input that could not be read. The others go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElementError {
    /// `generators[0].list.elements[2]`, `generators[0].matrix[3,17]`, `generators[0].configMaps`, `apps[1]`, `template`
    pub element: String,
    /// `metadata.name`, `spec.compute.size`, `ConfigMap apps/teams`
    pub field: String,
    pub reason: ErrorReason,
    pub message: String,
}

impl std::fmt::Display for ElementError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}: {}", self.element, self.field, self.message)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorReason {
    /// A template that can't be filled from this element
    Template,
    /// No name, or none that an object may have
    InvalidName,
    /// A label or annotation that can't be, or is somebody else's
    InvalidMetadata,
    /// A wave that is none, a dependency that is missing, or an order that contradicts itself
    InvalidOrder,
    /// The code may change without the spec, which a rollout in steps could not hold up
    UnpinnedSource,
    /// The child's own schema or rules refuse it
    InvalidSpec,
    /// Several elements ask for the same name
    DuplicateName,
    /// Elements that can't be combined, or that merge keys don't tell apart
    Ambiguous,
    /// An input that can't be read
    InvalidInput,
    /// More than an object may hold, or than one parent may ask for
    TooLarge,
}

/// What is wrong, and where below the element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub field: String,
    pub reason: ErrorReason,
    pub message: String,
}

impl Fault {
    pub(super) fn new(
        field: impl Into<String>,
        reason: ErrorReason,
        message: impl Into<String>,
    ) -> Self {
        Self {
            field: field.into(),
            reason,
            message: message.into(),
        }
    }

    pub(super) fn of(self, element: impl Into<String>) -> ElementError {
        ElementError {
            element: element.into(),
            field: self.field,
            reason: self.reason,
            message: self.message,
        }
    }
}

/// What was found wrong so far: who mends a template wants to know all of it at once.
#[derive(Default)]
pub(super) struct Faults(Vec<Fault>);

impl FromIterator<Fault> for Faults {
    fn from_iter<I: IntoIterator<Item = Fault>>(faults: I) -> Self {
        Self(faults.into_iter().collect())
    }
}

impl Faults {
    /// The value; a default stands in where there is a fault instead, so that the rest can be looked at.
    pub(super) fn keep<T: Default>(&mut self, result: Result<T, Fault>) -> T {
        result.unwrap_or_else(|fault| {
            self.0.push(fault);
            T::default()
        })
    }

    /// Each for itself.
    pub(super) fn each(self) -> Result<(), Vec<Fault>> {
        match self.0.is_empty() {
            true => Ok(()),
            false => Err(self.0),
        }
    }

    /// The first one, which names the fields of the others.
    pub(super) fn first(self) -> Result<(), Fault> {
        let mut all = self.0.into_iter();
        let Some(mut first) = all.next() else {
            return Ok(());
        };
        let mut others: Vec<String> = all.map(|fault| fault.field).collect();
        others.dedup();
        others.retain(|field| *field != first.field);
        if !others.is_empty() {
            let fields = some(others, 5, ", ", " ", |field| field);
            first.message.push_str(&format!("; also wrong: {fields}"));
        }
        Err(first)
    }
}
