//! Durations as people write them: `60s`, `1h30m`, `500ms` (the Gateway API's form).
use std::time::Duration;

/// Reads a duration; `None` if it is none.
pub fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let (unit, millis) = [("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)]
            .into_iter()
            .find(|(unit, _)| rest.starts_with(unit))?;
        rest = &rest[unit.len()..];
        total = total.checked_add(Duration::from_millis(number.checked_mul(millis)?))?;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_understood_and_the_rest_refused() {
        for (text, millis) in [
            ("60s", 60_000),
            ("1h30m", 5_400_000),
            ("500ms", 500),
            ("1m5s", 65_000),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "60", "s", "1d", "-1s", "1.5s", "99999999999999999999s"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
