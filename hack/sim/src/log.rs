//! What the workspace was asked: totals for ever, the newest requests one by one, and the same as lines in a file.
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::Write;

use serde::Serialize;
use serde_json::{Value, json};

/// How many requests are kept one by one.
const RECENT: usize = 1000;

/// How far a request got.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// Received; a latency fault holds it, or it is being worked on right now. Nothing has taken effect.
    Held,
    /// It has taken effect; a latency fault holds the answer back.
    Committed,
    /// Answered.
    Done,
    /// The connection was reset instead of an answer. `status` is what it had come to, 0 before commit.
    Reset,
    /// The client went away first. `status` is what it had come to, 0 before commit.
    Abandoned,
}

/// One request as it is shown. Secrets and values of environment variables are already out of `body`.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    #[serde(skip)]
    number: u64,
    /// Wall time plus what was advanced, RFC 3339.
    pub at: String,
    /// Seconds of service time since the workspace came up.
    pub service_time: f64,
    pub method: String,
    pub path: String,
    pub query: String,
    pub route: String,
    pub status: u16,
    pub user_agent: String,
    pub user: String,
    pub request_id: String,
    pub body: Value,
    pub state: Progress,
}

/// What is known of a request when it comes in.
#[derive(Clone, Debug, Default)]
pub struct Arrival {
    pub at: String,
    pub service_time: f64,
    pub method: String,
    pub path: String,
    pub query: String,
    pub route: String,
    pub user_agent: String,
    pub user: String,
    pub request_id: String,
    pub body: Value,
}

#[derive(Debug, Default)]
pub struct RequestLog {
    totals: BTreeMap<(String, String, u16), u64>,
    recent: VecDeque<Entry>,
    next: u64,
    file: Option<File>,
}

impl RequestLog {
    pub fn new(file: Option<File>) -> Self {
        Self {
            file,
            ..Self::default()
        }
    }

    /// Shows the request as held; the number names it from now on.
    pub fn open(&mut self, arrival: Arrival) -> u64 {
        let number = self.next;
        self.next += 1;
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(Entry {
            number,
            at: arrival.at,
            service_time: arrival.service_time,
            method: arrival.method,
            path: arrival.path,
            query: arrival.query,
            route: arrival.route,
            status: 0,
            user_agent: arrival.user_agent,
            user: arrival.user,
            request_id: arrival.request_id,
            body: arrival.body,
            state: Progress::Held,
        });
        number
    }

    /// The request has taken effect; its answer is still to come.
    pub fn commit(&mut self, number: u64, status: u16) {
        if let Some(entry) = self.entry(number) {
            entry.status = status;
            entry.state = Progress::Committed;
        }
    }

    /// Ends a request and counts it. `key` is its method and route, which outlive the entry.
    pub fn close(&mut self, number: u64, key: (String, String), status: u16, state: Progress) {
        *self.totals.entry((key.0, key.1, status)).or_default() += 1;
        let Some(entry) = self.entry(number) else {
            return;
        };
        entry.status = status;
        entry.state = state;
        let line = serde_json::to_string(entry).unwrap_or_default();
        if let Some(file) = &mut self.file {
            // A full disk must not take the workspace down.
            let _ = writeln!(file, "{line}");
        }
    }

    /// `{"totals": […], "recent": […]}`, oldest first.
    pub fn show(&self) -> Value {
        let totals: Vec<Value> = self
            .totals
            .iter()
            .map(|((method, route, status), count)| {
                json!({"method": method, "route": route, "status": status, "count": count})
            })
            .collect();
        json!({"totals": totals, "recent": self.recent})
    }

    /// Forgets everything but the requests that are still under way.
    pub fn zero(&mut self) {
        self.totals.clear();
        self.recent
            .retain(|e| matches!(e.state, Progress::Held | Progress::Committed));
    }

    fn entry(&mut self, number: u64) -> Option<&mut Entry> {
        let first = self.recent.front()?.number;
        // After `zero` numbers have gaps; the newest entries are the likeliest.
        match usize::try_from(number.checked_sub(first)?) {
            Ok(at) if self.recent.get(at).is_some_and(|e| e.number == number) => {
                self.recent.get_mut(at)
            }
            _ => self.recent.iter_mut().rev().find(|e| e.number == number),
        }
    }
}

/// Takes out what no log may hold: secrets by their field names, and every value of an environment variable.
pub fn redact(body: &mut Value) {
    const SECRET: [&str; 9] = [
        "token",
        "secret_value",
        "string_value",
        "bytes_value",
        "password",
        "personal_access_token",
        "client_secret",
        "subject_token",
        "content",
    ];
    match body {
        Value::Array(items) => items.iter_mut().for_each(redact),
        Value::Object(fields) => {
            for (name, value) in fields {
                let hidden = match value {
                    Value::String(_) => SECRET.contains(&name.as_str()),
                    _ => false,
                };
                if hidden {
                    *value = Value::from("***");
                } else if name == "env_vars" || name == "env" {
                    mask_values(value);
                } else {
                    redact(value);
                }
            }
        }
        _ => {}
    }
}

fn mask_values(env: &mut Value) {
    for variable in env.as_array_mut().into_iter().flatten() {
        if let Some(value) = variable.get_mut("value") {
            *value = Value::from("***");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(path: &str) -> Arrival {
        Arrival {
            method: "GET".into(),
            path: path.into(),
            route: path.into(),
            ..Arrival::default()
        }
    }

    #[test]
    fn secrets_and_values_never_stay_in_a_body() {
        let mut body = json!({
            "string_value": "s3cret",
            "env_vars": [{"name": "A", "value": "s3cret"}, {"name": "B", "value_from": "db"}],
            "deep": [{"personal_access_token": "s3cret"}],
        });
        redact(&mut body);
        assert!(!body.to_string().contains("s3cret"));
        assert_eq!(body["env_vars"][0]["name"], "A");
        assert_eq!(body["env_vars"][1]["value_from"], "db");
    }

    #[test]
    fn the_newest_thousand_are_kept_and_all_are_counted() {
        let mut log = RequestLog::default();
        for n in 0..1100 {
            let number = log.open(arrival(&format!("/{}", n % 2)));
            log.close(
                number,
                ("GET".into(), format!("/{}", n % 2)),
                200,
                Progress::Done,
            );
        }
        let shown = log.show();
        assert_eq!(shown["recent"].as_array().map(Vec::len), Some(RECENT));
        assert_eq!(shown["totals"][0]["count"], 550);
        log.zero();
        assert_eq!(log.show(), json!({"totals": [], "recent": []}));
    }
}
