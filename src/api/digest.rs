//! Digests of JSON values.
use serde_json::Value;
use sha2::{Digest, Sha256};

/// sha256 of the value with its keys in order and no white space, as lower-case hex. Whether serde_json keeps the order of
/// keys depends on features that any crate may switch on, so it is not relied on.
pub fn of(value: &Value) -> String {
    let mut text = Vec::with_capacity(1 << 10);
    write(value, &mut text);
    hex(&text)
}

/// [`of`] an object with these members, in any order, without its being put together first.
pub fn of_members<'a>(members: impl IntoIterator<Item = (&'a str, &'a Value)>) -> String {
    let mut text = Vec::with_capacity(1 << 10);
    write_members(members.into_iter().collect(), &mut text);
    hex(&text)
}

fn hex(text: &[u8]) -> String {
    spelled(&Sha256::digest(text))
}

fn spelled(digest: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    digest
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(map) => {
            write_members(map.iter().map(|(k, v)| (k.as_str(), v)).collect(), out);
        }
        Value::Array(items) => {
            out.push(b'[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                write(item, out);
            }
            out.push(b']');
        }
        scalar => json(scalar, out),
    }
}

fn write_members(mut members: Vec<(&str, &Value)>, out: &mut Vec<u8>) {
    members.sort_unstable_by_key(|(key, _)| *key);
    out.push(b'{');
    for (n, (key, value)) in members.into_iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        json(key, out);
        out.push(b':');
        write(value, out);
    }
    out.push(b'}');
}

/// Neither writing to memory nor a text or scalar can fail.
fn json<T: serde::Serialize + ?Sized>(scalar: &T, out: &mut Vec<u8>) {
    let _ = serde_json::to_writer(out, scalar);
}

/// sha256 of texts in their order, as lower-case hex; a missing one is another than an empty one.
pub fn of_texts<'a>(texts: impl IntoIterator<Item = Option<&'a str>>) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        match text {
            None => hash.update([0]),
            Some(text) => {
                hash.update([1]);
                hash.update((text.len() as u64).to_be_bytes());
                hash.update(text);
            }
        }
    }
    spelled(&hash.finalize())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_digest_never_changes() {
        // Written to every child there is: another digest would write them all anew.
        for (value, digest) in [
            (
                json!({"b": [1, -2, 1.5, null, true], "a": {"ü\n\"\\\u{7}": "x/y", "Z": {}}, "c": []}),
                "5def82d93f5afb0627b8b9f39870d00c8f5587c266073169de2ebb2b300be95a",
            ),
            (
                json!("text"),
                "1e1d0f251d3a76fa2b1bfc81164078572623403887db02988b504b0492e9f076",
            ),
            (
                json!(null),
                "74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b",
            ),
        ] {
            assert_eq!(of(&value), digest, "{value}");
        }
    }

    #[test]
    fn members_have_the_digest_of_their_object_in_any_order() {
        let (a, b) = (json!({"y": 1, "x": [2]}), json!("t"));
        let whole = of(&json!({"a": a, "b": b}));
        assert_eq!(of_members([("b", &b), ("a", &a)]), whole);
        assert_eq!(of_members([("a", &a), ("b", &b)]), whole);
    }
}
