//! Faults: what the workspace does otherwise than usual, set by `POST /sim/faults`.
//!
//! A fault about requests names them by `pattern`, one about apps by `app` (a glob on the name; default all). Both skip the
//! first `offset` occasions and then strike `times` times. To add one: a variant in [`Kind`], and one call of
//! [`Faults::fire`] where the behaviour differs.
mod kinds;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::{Map, Value, json};

pub use kinds::{
    Abandoned, CommitShown, DeploymentVerdict, EnvMasking, GUIDE, Kind, Moment, Place,
    UpdateVerdict,
};

/// One fault with its place and its count.
#[derive(Clone, Debug)]
pub struct Fault {
    kind: Kind,
    pattern: Glob,
    offset: u32,
    /// `None` strikes for ever.
    times: Option<u32>,
    seen: Cell<u32>,
    hits: Cell<u32>,
    /// Requests that a rate limit still lets through, and since when: real time.
    allowance: Cell<Option<(f64, Instant)>>,
    source: Value,
}

#[derive(Clone, Debug, Default)]
pub struct Faults(Vec<Fault>);

/// A request as patterns see it.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub route: &'a str,
}

impl Fault {
    /// Reads the JSON of `POST /sim/faults`. The error names the field.
    pub fn read(source: &Value) -> Result<Self, String> {
        let Value::Object(fields) = source else {
            return Err("a fault is a JSON object".into());
        };
        let mut fields = fields.clone();
        let pattern = text(&mut fields, "pattern")?;
        let app = text(&mut fields, "app")?;
        let offset = count(&mut fields, "offset")?.unwrap_or(0);
        let times = count(&mut fields, "times")?;
        fields
            .entry("kind")
            .or_insert_with(|| Value::from("status"));
        let kind: Kind =
            serde_json::from_value(Value::Object(fields)).map_err(|e| e.to_string())?;

        let pattern = match (kind.about_requests(), pattern, app) {
            (true, _, Some(_)) => return Err("`app` goes with faults about apps; this one takes `pattern`, such as \"GET /api/2.0/apps/*\"".into()),
            (false, Some(_), _) => return Err("`pattern` goes with faults about requests; this one takes `app`, a glob on the app's name".into()),
            (true, Some(pattern), None) => Glob(pattern),
            (true, None, None) if kind.strikes_once() => return Err("`pattern` is missing: METHOD and path, such as \"GET /api/2.0/apps/*\"".into()),
            (true, None, None) => Glob("* *".into()),
            (false, None, app) => Glob(app.unwrap_or_else(|| "*".into())),
        };
        if kind.about_requests() && !pattern.0.contains(' ') {
            return Err(format!(
                "`pattern` is `{}`: it starts with a method or `*`, then a space, such as \"GET /api/2.0/apps/*\"",
                pattern.0
            ));
        }
        let times = match times {
            None if kind.strikes_once() => Some(1),
            None | Some(0) => None,
            given => given,
        };
        Ok(Self {
            kind,
            pattern,
            offset,
            times,
            seen: Cell::new(0),
            hits: Cell::new(0),
            allowance: Cell::new(None),
            source: source.clone(),
        })
    }

    fn spent(&self) -> bool {
        self.times.is_some_and(|times| self.hits.get() >= times)
    }

    /// Counts an occasion; true if the fault strikes.
    fn strike(&self) -> bool {
        self.seen.set(self.seen.get().saturating_add(1));
        if self.spent() || self.seen.get() <= self.offset {
            return false;
        }
        self.hits.set(self.hits.get().saturating_add(1));
        true
    }

    /// Takes a request out of the allowance of a rate limit, a token bucket that holds one second; true if it is too many.
    /// Other faults have none.
    fn exceeded(&self) -> bool {
        let Kind::RateLimit { per_second, .. } = self.kind else {
            return true;
        };
        let (rate, now) = (f64::from(per_second), Instant::now());
        let left = self.allowance.get().map_or(rate, |(left, since)| {
            (left + now.duration_since(since).as_secs_f64() * rate).min(rate)
        });
        let taken = if left < 1.0 { 0.0 } else { 1.0 };
        self.allowance.set(Some((left - taken, now)));
        left < 1.0
    }

    /// What strikes: a rate limit answers like any other status.
    fn struck(&self) -> Kind {
        let Kind::RateLimit { retry_after, .. } = self.kind else {
            return self.kind.clone();
        };
        let headers = retry_after.map(|seconds| ("Retry-After".to_owned(), seconds.to_string()));
        Kind::Status {
            status_code: 429,
            headers: BTreeMap::from_iter(headers),
            body: Value::Null,
            when: Moment::BeforeCommit,
        }
    }
}

impl Faults {
    pub fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Every fault as it was given, with `seen` (occasions), `hits` (strikes) and `spent`.
    pub fn show(&self) -> Value {
        let all: Vec<Value> = self
            .0
            .iter()
            .map(|fault| {
                let mut shown = fault.source.clone();
                shown["seen"] = json!(fault.seen.get());
                shown["hits"] = json!(fault.hits.get());
                shown["spent"] = json!(fault.spent());
                shown
            })
            .collect();
        json!({"faults": all})
    }

    /// The first fault about this app that `pick` takes and that strikes now.
    pub fn fire<T>(&self, app: &str, pick: impl Fn(&Kind) -> Option<T>) -> Option<T> {
        self.0
            .iter()
            .filter(|f| !f.kind.about_requests() && f.pattern.matches(app))
            .filter_map(|f| pick(&f.kind).map(|picked| (f, picked)))
            .find_map(|(fault, picked)| fault.strike().then_some(picked))
    }

    /// Every fault about this request that strikes now, in the order in which they were set. One of them at most decides the
    /// answer: the next one waits for the next request.
    pub fn fire_request(&self, target: Target<'_>) -> Vec<Kind> {
        let mut decided = false;
        let mut struck = Vec::new();
        for fault in &self.0 {
            if !fault.kind.about_requests()
                || !fault.pattern.matches_request(target)
                || (decided && fault.kind.decides())
                || !fault.exceeded()
            {
                continue;
            }
            if fault.strike() {
                decided |= fault.kind.decides();
                struck.push(fault.struck());
            }
        }
        struck
    }

    /// The longest lag that lists are asked to have.
    pub fn longest_lag(&self) -> Option<std::time::Duration> {
        self.0
            .iter()
            .filter(|f| !f.spent())
            .filter_map(|f| match f.kind {
                Kind::ListLag { lag } => Some(lag),
                _ => None,
            })
            .max()
    }
}

/// A pattern in which `*` stands for any run of characters.
#[derive(Clone, Debug)]
struct Glob(String);

impl Glob {
    fn matches(&self, text: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = text.strip_prefix(first) else {
            return false;
        };
        let mut parts = parts.peekable();
        if parts.peek().is_none() {
            return rest.is_empty();
        }
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return rest.ends_with(part);
            }
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        true
    }

    /// `METHOD path`, where the path may also be the route's own pattern, `/api/2.0/apps/{name}`.
    fn matches_request(&self, target: Target<'_>) -> bool {
        let Some((method, path)) = self.0.split_once(' ') else {
            return false;
        };
        let path = Glob(path.to_owned());
        (method == "*" || method.eq_ignore_ascii_case(target.method))
            && (path.0 == target.route || path.matches(target.path))
    }
}

fn text(fields: &mut Map<String, Value>, name: &str) -> Result<Option<String>, String> {
    match fields.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(format!("`{name}` is `{other}`: expected a string")),
    }
}

fn count(fields: &mut Map<String, Value>, name: &str) -> Result<Option<u32>, String> {
    match fields.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => serde_json::from_value(value.clone())
            .map(Some)
            .map_err(|_| format!("`{name}` is `{value}`: expected a number, 0 or more")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const GET_APP: Target<'static> = Target {
        method: "GET",
        path: "/api/2.0/apps/demo",
        route: "/api/2.0/apps/{name}",
    };

    #[test]
    fn a_star_stands_for_any_run_of_characters() {
        for (pattern, text, expected) in [
            ("*", "anything", true),
            ("a*c", "abbbc", true),
            ("a*c", "abbb", false),
            ("a*b*c", "a-b-b-c", true),
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(
                Glob(pattern.into()).matches(text),
                expected,
                "{pattern} on {text}"
            );
        }
    }

    #[test]
    fn a_pattern_meets_a_path_or_its_route() {
        for (pattern, expected) in [
            ("GET /api/2.0/apps/*", true),
            ("* *", true),
            ("GET /api/2.0/apps/{name}", true),
            ("GET /api/2.0/apps/{name}/deployments", false),
            ("POST /api/2.0/apps/*", false),
        ] {
            assert_eq!(
                Glob(pattern.into()).matches_request(GET_APP),
                expected,
                "{pattern}"
            );
        }
    }

    #[test]
    fn a_fault_skips_its_offset_and_strikes_its_times() {
        let mut faults = Faults::default();
        faults.add(
            Fault::read(&json!({"pattern": "GET *", "status_code": 429, "offset": 1, "times": 2}))
                .unwrap(),
        );
        let strikes: Vec<usize> = (0..5).map(|_| faults.fire_request(GET_APP).len()).collect();
        assert_eq!(strikes, [0, 1, 1, 0, 0]);
        let shown = &faults.show()["faults"][0];
        assert_eq!(
            (&shown["seen"], &shown["hits"], &shown["spent"]),
            (&json!(5), &json!(2), &json!(true))
        );
    }

    #[test]
    fn faults_that_decide_the_answer_strike_one_after_another() {
        let mut faults = Faults::default();
        for status in [429, 503] {
            let fault = json!({"pattern": "GET *", "status_code": status});
            faults.add(Fault::read(&fault).unwrap());
        }
        let delay = json!({"kind": "latency", "pattern": "GET *", "delay": 1});
        faults.add(Fault::read(&delay).unwrap());
        let strikes: Vec<usize> = (0..3).map(|_| faults.fire_request(GET_APP).len()).collect();
        assert_eq!(strikes, [2, 1, 0]);
    }

    #[test]
    fn a_wrong_fault_is_refused_by_name() {
        for (fault, expected) in [
            (json!({"status_code": 429}), "`pattern` is missing"),
            (
                json!({"kind": "list_lag", "for": "5s", "pattern": "GET *"}),
                "takes `app`",
            ),
            (json!({"kind": "nonsense"}), "nonsense"),
            (
                json!({"kind": "update_outcome", "outcome": "CRASHED"}),
                "CRASHED",
            ),
            (
                json!({"kind": "list_lag", "for": "5s", "fro": 1}),
                "unknown field `fro`",
            ),
            (
                json!({"pattern": "GET *", "status_code": 429, "times": "x"}),
                "`times`",
            ),
            (
                json!({"pattern": "/apps", "status_code": 429}),
                "starts with a method",
            ),
        ] {
            let error = Fault::read(&fault).unwrap_err();
            assert!(error.contains(expected), "{fault}: {error}");
        }
    }

    #[test]
    fn every_kind_of_the_guide_is_read() {
        let examples: Vec<Value> = kinds::GUIDE
            .lines()
            .filter(|line| line.starts_with('{'))
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert!(examples.len() > 30, "{}", examples.len());
        for example in examples {
            let read = Fault::read(&example);
            assert!(read.is_ok(), "{example}: {read:?}");
        }
    }
}
