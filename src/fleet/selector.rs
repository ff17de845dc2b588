//! Selectors over labels and over members of elements.
use crate::api::app_of_apps::{Operator, Requirement};

/// Whether the requirement holds of a key's value; `None`: the key is missing.
pub fn holds(requirement: &Requirement, value: Option<&str>) -> bool {
    let listed = value.is_some_and(|value| requirement.values.iter().any(|v| v == value));
    match requirement.operator {
        Operator::In => listed,
        Operator::NotIn => !listed,
        Operator::Exists => value.is_some(),
        Operator::DoesNotExist => value.is_none(),
    }
}
