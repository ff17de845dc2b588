//! Filters of SCIM lists, as far as clients use them: `attribute op "value"`, joined by `and` or by `or`.
use serde_json::Value;

use super::Kind;
use crate::error::ApiError;

/// `attribute op "value"`, joined by `and` or `or` (never both).
pub struct Filter {
    terms: Vec<Term>,
    any: bool,
}

struct Term {
    attribute: String,
    operator: String,
    value: String,
}

impl Filter {
    pub fn parse(text: &str) -> Result<Self, ApiError> {
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

    pub fn matches(&self, kind: Kind, shown: &Value) -> bool {
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
