//! What passes over a workspace's apps remember in this process alone: looks that lists do not give, and refusals, so that
//! a failing app makes no more calls than a healthy one. A restart forgets it and looks again once.
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::acl::Acl;
use super::guard::Place;
use super::looks::Looks;
use super::observe::{Waiting, Watch};
use super::plan::{Refusals, Refused, SourceState};
use crate::api::status::Reason;
use crate::engine::plan::{Fate, SLOW};
use crate::telemetry::Clock;
use crate::worlds::databricks::Snapshot;

/// Refusals in a row that may still be a matter of timing.
const TRIES: u32 = 3;
/// An accepted step that left its difference is sent once more, as somebody may have changed it back; then no more.
const IGNORED: u32 = 2;
/// Service time until a refused step that may be a matter of timing is tried again.
const PAUSE: Duration = Duration::from_secs(20);
/// Service time between two lookups of something missing while its absence is news.
const YOUNG_PAUSE: Duration = Duration::from_secs(25);
/// How long an absence is news.
const YOUNG: Duration = Duration::from_secs(150);

/// By workspace; see `Connection::memo`.
#[derive(Default)]
pub struct Memo {
    inner: Mutex<Inner>,
    /// Grants on the objects that apps use.
    pub guards: Looks<Place, Granted>,
    /// Folders that are watched, by path.
    pub folders: Looks<String, Watch>,
    /// Files of Flux artifacts that are not uploaded yet, by source.
    pub artifacts: Looks<String, Waiting>,
}

/// The id that an object's grants go by, and the answer of the look at them; `None`: the operator may not look.
pub type Granted = Option<(String, Value)>;

#[derive(Default)]
struct Inner {
    acls: Snapshot<Acl>,
    /// By app name and verb; of verbs that several steps of one plan may have, several.
    refusals: HashMap<(String, &'static str), Vec<Refusal>>,
    /// By app name and verb: the digest of the step accepted last, and how often without taking away its difference.
    accepted: HashMap<(String, &'static str), (String, u32, Instant)>,
    /// By key of an [`Acl`].
    principals: HashMap<String, Lookup>,
    /// By path.
    sources: HashMap<String, Lookup>,
    /// By app name.
    first_sights: HashMap<String, Instant>,
}

struct Refusal {
    digest: String,
    reason: Reason,
    message: String,
    at: Instant,
    pause: Duration,
    tries: u32,
    stalled: bool,
}

/// Verbs that several steps of one plan may have, each refused by itself.
fn are_many(verb: &str) -> bool {
    matches!(verb, "restore" | "sweep" | "upload" | "mkdirs")
}

/// Whether something exists, when that was last looked up, and since when it is missing.
#[derive(Clone, Copy)]
struct Lookup {
    exists: bool,
    at: Instant,
    missing_since: Option<Instant>,
    /// It was missing once and then appeared; until somebody made use of that.
    appeared: bool,
}

impl Lookup {
    fn is_due(&self, clock: Clock, now: Instant) -> bool {
        let young = self
            .missing_since
            .is_some_and(|since| clock.service(now.saturating_duration_since(since)) < YOUNG);
        let pause = if !self.exists && young {
            YOUNG_PAUSE
        } else {
            SLOW
        };
        clock.service(now.saturating_duration_since(self.at)) >= pause
    }
}

fn note(map: &mut HashMap<String, Lookup>, key: &str, exists: bool, now: Instant) {
    let before = map.get(key).copied();
    let missing_since = match before.and_then(|b| b.missing_since) {
        _ if exists => None,
        Some(since) => Some(since),
        None => Some(now),
    };
    let appeared = exists && before.is_some_and(|b| !b.exists || b.appeared);
    let lookup = Lookup {
        exists,
        at: now,
        missing_since,
        appeared,
    };
    map.insert(key.to_owned(), lookup);
}

impl Memo {
    pub fn acls<T>(&self, use_it: impl FnOnce(&mut Snapshot<Acl>) -> T) -> T {
        use_it(&mut self.lock().acls)
    }

    /// The service refused a step. `timing`: it may accept the same a little later, so a few tries are made first.
    pub fn refused(
        &self,
        app: &str,
        verb: &'static str,
        digest: String,
        reason: Reason,
        message: String,
        timing: bool,
    ) {
        let key = (app.to_owned(), verb);
        let mut inner = self.lock();
        let known = inner.refusals.entry(key).or_default();
        let before = known.iter().find(|r| r.digest == digest);
        let tries = before.map_or(1, |r| r.tries + 1);
        known.retain(|r| are_many(verb) && r.digest != digest);
        let stalled = !timing || tries >= TRIES;
        let refusal = Refusal {
            digest,
            reason,
            message,
            at: Instant::now(),
            pause: if stalled { SLOW } else { PAUSE * tries },
            tries,
            stalled,
        };
        known.push(refusal);
    }

    /// A step was accepted: what was refused before is history.
    pub fn accepted(&self, app: &str, verb: &'static str, digest: String) {
        let key = (app.to_owned(), verb);
        let mut inner = self.lock();
        if !are_many(verb) {
            inner.refusals.remove(&key);
        }
        let before = inner.accepted.get(&key).filter(|(d, ..)| *d == digest);
        let times = before.map_or(1, |(_, times, _)| times + 1);
        inner.accepted.insert(key, (digest, times, Instant::now()));
    }

    /// A look found that an accepted step took its difference away.
    pub fn settled(&self, app: &str, verb: &'static str) {
        self.lock().accepted.remove(&(app.to_owned(), verb));
    }

    /// A step may be tried at once although it was refused.
    pub fn forgive(&self, app: &str, verb: &'static str) {
        if !are_many(verb) {
            self.lock().refusals.remove(&(app.to_owned(), verb));
        }
    }

    /// Somebody asked for another try of everything.
    pub fn forget_refusals(&self, app: &str) {
        let mut inner = self.lock();
        inner.refusals.retain(|(name, _), _| name != app);
        inner.accepted.retain(|(name, _), _| name != app);
    }

    /// The refusals of an app that are not to be tried again yet.
    pub fn refusals(&self, app: &str, clock: Clock) -> Refusals {
        let now = Instant::now();
        let inner = self.lock();
        let refused = inner
            .refusals
            .iter()
            .filter(|((name, _), _)| name == app)
            .flat_map(|((_, verb), refusals)| refusals.iter().map(move |r| (verb, r)))
            .filter_map(|(verb, refusal)| {
                let age = clock.service(now.saturating_duration_since(refusal.at));
                let left = refusal
                    .pause
                    .checked_sub(age)
                    .filter(|left| !left.is_zero())?;
                let fate = if refusal.stalled {
                    Fate::Stalled {
                        recheck: Some(left),
                    }
                } else {
                    Fate::After(left)
                };
                let refused = Refused {
                    digest: refusal.digest.clone(),
                    reason: refusal.reason,
                    message: refusal.message.clone(),
                    fate,
                };
                Some((*verb, refused))
            });
        // What the service takes and then shows otherwise would be sent for ever.
        let ignored = inner
            .accepted
            .iter()
            .filter(|((name, _), (_, times, _))| name == app && *times >= IGNORED)
            .filter_map(|((_, verb), (digest, times, at))| {
                let age = clock.service(now.saturating_duration_since(*at));
                let left = SLOW.checked_sub(age).filter(|left| !left.is_zero())?;
                let refused = Refused {
                    digest: digest.clone(),
                    reason: match *verb {
                        "grant" => Reason::GrantsRefused,
                        _ => Reason::UpdateFailed,
                    },
                    message: format!(
                        "{verb}: the service accepted it {times} times and still reads back otherwise; leave out what it does not keep"
                    ),
                    fate: Fate::Stalled {
                        recheck: Some(left),
                    },
                };
                Some((*verb, refused))
            });
        ignored.chain(refused).collect()
    }

    /// Those of `keys` that are known not to exist.
    pub fn unknown_principals<'a>(&self, keys: impl Iterator<Item = &'a String>) -> Vec<String> {
        let inner = self.lock();
        let missing = |key: &&String| inner.principals.get(*key).is_some_and(|l| !l.exists);
        keys.filter(missing).cloned().collect()
    }

    /// Those of `keys` that have to be looked up: all of which nothing is known if `all`, and the missing whose lookup
    /// is due.
    pub fn principals_due<'a>(
        &self,
        keys: impl Iterator<Item = &'a String>,
        all: bool,
        clock: Clock,
    ) -> Vec<String> {
        let now = Instant::now();
        let inner = self.lock();
        let due = |key: &&String| match inner.principals.get(*key) {
            Some(lookup) => (all || !lookup.exists) && lookup.is_due(clock, now),
            None => all,
        };
        keys.filter(due).cloned().collect()
    }

    pub fn principal(&self, key: &str, exists: bool) {
        note(&mut self.lock().principals, key, exists, Instant::now());
    }

    /// When a pass over the app first ran in this process.
    pub fn first_sight(&self, app: &str) -> Instant {
        let mut inner = self.lock();
        *inner
            .first_sights
            .entry(app.to_owned())
            .or_insert_with(Instant::now)
    }

    /// The app is gone: so are the looks at it.
    pub fn forget(&self, app: &str) {
        let mut inner = self.lock();
        inner.first_sights.remove(app);
        inner.acls.forget(app);
    }

    pub fn source_due(&self, path: &str, clock: Clock) -> bool {
        let inner = self.lock();
        let known = inner.sources.get(path);
        known.is_none_or(|lookup| !lookup.appeared && lookup.is_due(clock, Instant::now()))
    }

    pub fn source(&self, path: &str, exists: bool) {
        note(&mut self.lock().sources, path, exists, Instant::now());
    }

    pub fn source_state(&self, path: &str) -> Option<SourceState> {
        let inner = self.lock();
        inner.sources.get(path).map(|lookup| match lookup {
            Lookup { exists: false, .. } => SourceState::Missing,
            Lookup { appeared: true, .. } => SourceState::Appeared,
            Lookup { .. } => SourceState::Exists,
        })
    }

    /// A deployment from that path was accepted.
    pub fn source_used(&self, path: &str) {
        self.lock().sources.remove(path);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn refuse(memo: &Memo, timing: bool) -> Fate {
        memo.refused(
            "a",
            "deploy",
            "d".into(),
            Reason::DeploymentRefused,
            String::new(),
            timing,
        );
        memo.refusals("a", Clock::real())
            .get("deploy")
            .unwrap()
            .fate
    }

    #[test]
    fn what_may_be_a_matter_of_timing_is_tried_a_few_times_before_it_stalls() {
        let memo = Memo::default();
        assert!(matches!(refuse(&memo, true), Fate::After(_)));
        assert!(matches!(refuse(&memo, true), Fate::After(_)));
        assert!(matches!(refuse(&memo, true), Fate::Stalled { .. }));
        memo.accepted("a", "deploy", "d".into());
        assert_eq!(memo.refusals("a", Clock::real()), Refusals::default());
        assert!(matches!(refuse(&memo, false), Fate::Stalled { .. }));
    }

    #[test]
    fn what_is_accepted_twice_and_reads_back_otherwise_is_sent_no_more() {
        let memo = Memo::default();
        memo.accepted("a", "grant", "d".into());
        assert_eq!(memo.refusals("a", Clock::real()), Refusals::default());
        memo.accepted("a", "grant", "d".into());
        assert!(memo.refusals("a", Clock::real()).get("grant").is_some());
        memo.settled("a", "grant");
        assert_eq!(memo.refusals("a", Clock::real()), Refusals::default());
    }

    #[test]
    fn a_source_that_was_missing_and_appeared_asks_for_one_deployment() {
        let memo = Memo::default();
        memo.source("/x", true);
        assert_eq!(memo.source_state("/x"), Some(SourceState::Exists));
        memo.source("/x", false);
        memo.source("/x", true);
        assert_eq!(memo.source_state("/x"), Some(SourceState::Appeared));
        memo.source_used("/x");
        assert_eq!(memo.source_state("/x"), None);
    }
}
