//! JSON as templates see it, and what they give as JSON.

use std::sync::Arc;

use minijinja::value::{Value as Jinja, ValueKind};
use serde_json::{Map, Number, Value};

/// Of lists in lists, objects in objects.
const DEPTH: usize = 64;

/// Why a template's value is none that a manifest can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error("it is too large")]
    TooLarge,
    #[error("part of it is undefined")]
    Undefined,
    #[error("it holds a number that is none, or infinite")]
    NoNumber,
    #[error("it is nested too deeply")]
    TooDeep,
    #[error("it holds something that JSON can't")]
    Foreign,
}

/// The value of a template as JSON. `budget` is in bytes and goes down by what the value takes.
pub(super) fn to_json(value: &Jinja, budget: &mut usize) -> Result<Value, Unfit> {
    convert(value, budget, DEPTH)
}

fn convert(value: &Jinja, budget: &mut usize, depth: usize) -> Result<Value, Unfit> {
    let mut take = |bytes: usize| {
        *budget = budget.checked_sub(bytes).ok_or(Unfit::TooLarge)?;
        Ok::<(), Unfit>(())
    };
    take(8)?;
    match value.kind() {
        ValueKind::Undefined => Err(Unfit::Undefined),
        ValueKind::None => Ok(Value::Null),
        ValueKind::Bool => Ok(Value::Bool(value.is_true())),
        ValueKind::Number => number(value),
        ValueKind::String => {
            let text = value.as_str().ok_or(Unfit::Foreign)?;
            take(text.len())?;
            Ok(Value::from(text))
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let depth = depth.checked_sub(1).ok_or(Unfit::TooDeep)?;
            let items = value.try_iter().map_err(|_| Unfit::Foreign)?;
            items.map(|item| convert(&item, budget, depth)).collect()
        }
        ValueKind::Map => {
            let depth = depth.checked_sub(1).ok_or(Unfit::TooDeep)?;
            let mut map = Map::new();
            for key in value.try_iter().map_err(|_| Unfit::Foreign)? {
                let inner = value.get_item(&key).map_err(|_| Unfit::Foreign)?;
                let inner = convert(&inner, budget, depth)?;
                let key = match key.as_str() {
                    Some(key) => key.to_owned(),
                    None => key.to_string(),
                };
                *budget = budget.checked_sub(key.len()).ok_or(Unfit::TooLarge)?;
                map.insert(key, inner);
            }
            Ok(Value::Object(map))
        }
        _ => Err(Unfit::Foreign),
    }
}

fn number(value: &Jinja) -> Result<Value, Unfit> {
    if !value.is_integer() {
        let float = f64::try_from(value.clone()).map_err(|_| Unfit::NoNumber)?;
        return Number::from_f64(float)
            .map(Value::Number)
            .ok_or(Unfit::NoNumber);
    }
    if let Some(small) = value.as_i64() {
        return Ok(Value::from(small));
    }
    u64::try_from(value.clone())
        .map(Value::from)
        .map_err(|_| Unfit::NoNumber)
}

/// JSON as a template sees it.
pub(super) fn from_json(value: &Value) -> Jinja {
    match value {
        Value::Null => Jinja::from(()),
        Value::Bool(yes) => Jinja::from(*yes),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(n), _, _) => Jinja::from(n),
            (None, Some(n), _) => Jinja::from(n),
            (None, None, n) => Jinja::from(n.unwrap_or(f64::NAN)),
        },
        Value::String(text) => Jinja::from(Arc::<str>::from(text.as_str())),
        Value::Array(items) => items.iter().map(from_json).collect(),
        Value::Object(map) => members(map),
    }
}

/// The members of an object as a template sees them.
pub(super) fn members(map: &Map<String, Value>) -> Jinja {
    Jinja::from_pairs(
        map.iter()
            .map(|(key, value)| (key.as_str(), from_json(value))),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn json_comes_back_as_it_went_in(text in "\\PC{0,12}", n in any::<i64>(), big in any::<u64>(), f in -1e9f64..1e9) {
            let value = serde_json::json!({"t": text, "l": [n, big, f, null, true], "m": {text.clone(): {}}});
            prop_assert_eq!(to_json(&from_json(&value), &mut 10_000), Ok(value));
        }
    }
}
