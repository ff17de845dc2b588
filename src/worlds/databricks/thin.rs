//! Fields that a workspace's lists leave out. Pure.
//!
//! A field that a GET shows, and that the list rows before and after that GET lack, is thin: from then on its last value
//! from a GET stands in for it, so that it is compared on GETs alone. A field that the row before had is no such field:
//! somebody changed it.
use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use super::board::Row;

struct Live<R> {
    row: R,
    sent: Instant,
    /// What the newest list row before the look held; `None`: there was none.
    before: Option<BTreeSet<&'static str>>,
}

/// What is known of the fields that lists of `R` leave out.
pub struct Thin<R> {
    fields: BTreeSet<&'static str>,
    live: HashMap<String, Live<R>>,
    listed: HashMap<String, BTreeSet<&'static str>>,
    /// Thin fields that the newest list lacked somewhere.
    lacking: BTreeSet<&'static str>,
}

impl<R: Row> Default for Thin<R> {
    fn default() -> Self {
        Self {
            fields: R::THIN.iter().copied().collect(),
            live: HashMap::new(),
            listed: HashMap::new(),
            lacking: BTreeSet::new(),
        }
    }
}

impl<R: Row> Thin<R> {
    /// A GET, or the answer to a write, showed the row.
    pub fn got(&mut self, name: &str, sent: Instant, row: Option<&R>) {
        let Some(row) = row else {
            self.live.remove(name);
            return;
        };
        let before = self.listed.get(name).cloned();
        let row = row.clone();
        self.live
            .insert(name.to_owned(), Live { row, sent, before });
    }

    /// A complete list that was sent at `sent`: fills in what it leaves out.
    pub fn listed(&mut self, sent: Instant, rows: &mut [(String, R)]) {
        let mut listed = HashMap::with_capacity(rows.len());
        for (name, row) in rows.iter() {
            if let Some(live) = self.live.get(name).filter(|live| live.sent < sent)
                && let Some(before) = &live.before
            {
                let shown = live.row.present().difference(row.present());
                self.fields
                    .extend(shown.filter(|field| !before.contains(*field)));
            }
            listed.insert(name.clone(), row.present().clone());
        }
        self.lacking.clear();
        for (name, row) in rows.iter_mut() {
            for field in self.fields.iter().copied() {
                if row.present().contains(field) {
                    continue;
                }
                if row.should_show(field) {
                    self.lacking.insert(field);
                }
                if let Some(live) = self.live.get(name) {
                    row.carry(field, &live.row);
                }
            }
        }
        self.live.retain(|name, _| listed.contains_key(name));
        self.listed = listed;
    }

    /// What lists leave out, so that only a GET tells.
    pub fn lacking(&self) -> &BTreeSet<&'static str> {
        &self.lacking
    }

    /// Whether lists are known to leave out that field.
    pub fn leaves_out(&self, field: &str) -> bool {
        self.fields.contains(field)
    }

    /// When the name was last seen whole.
    pub fn last_live(&self, name: &str) -> Option<Instant> {
        self.live.get(name).map(|live| live.sent)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::Value;

    use super::*;
    use crate::databricks::Route;

    #[derive(Clone, Debug, Default, PartialEq)]
    struct Text {
        text: String,
        present: BTreeSet<&'static str>,
    }

    impl Row for Text {
        const WHAT: &'static str = "text";
        const PATH: &'static str = "/texts";
        const ITEMS: &'static str = "texts";
        const ROUTE: Route = Route::list("texts/list");
        const THIN: &'static [&'static str] = &[];

        fn read(_: &Value) -> Self {
            Self::default()
        }

        fn name(&self) -> &str {
            "a"
        }

        fn present(&self) -> &BTreeSet<&'static str> {
            &self.present
        }

        fn should_show(&self, _: &'static str) -> bool {
            true
        }

        fn carry(&mut self, _: &'static str, from: &Self) {
            self.text.clone_from(&from.text);
        }
    }

    fn row(text: &str) -> Text {
        let present = if text.is_empty() { None } else { Some("text") };
        Text {
            text: text.into(),
            present: present.into_iter().collect(),
        }
    }

    fn list(thin: &mut Thin<Text>, at: Instant, text: &str) -> String {
        let mut rows = [("a".to_owned(), row(text))];
        thin.listed(at, &mut rows);
        let [(_, row)] = rows;
        row.text
    }

    #[test]
    fn what_a_get_shows_and_the_rows_around_it_lack_stands_in_from_then_on() {
        let mut thin = Thin::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(list(&mut thin, at(1), ""), "");
        thin.got("a", at(2), Some(&row("x")));
        assert_eq!(list(&mut thin, at(3), ""), "x");
        assert!(thin.lacking().contains("text"));
        thin.got("a", at(4), Some(&row("y")));
        assert_eq!(list(&mut thin, at(5), ""), "y");
    }

    #[test]
    fn what_the_row_before_had_was_taken_away_by_somebody() {
        let mut thin = Thin::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(list(&mut thin, at(1), "x"), "x");
        thin.got("a", at(2), Some(&row("x")));
        assert_eq!(list(&mut thin, at(3), ""), "");
        assert!(thin.lacking().is_empty());
    }
}
