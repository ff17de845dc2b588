//! What a replica does about the Lease that it sees. Pure.
//!
//! Clocks of other machines say nothing: a Lease counts as expired once it has not changed for its duration while we
//! watched. How often it changed hands (`leaseTransitions`) tells terms apart, so that a process notices when another one
//! of the same identity took over.
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// There is no Lease.
    Create,
    /// Nobody holds it any more, or we ourselves do from an earlier life.
    Take,
    /// It is ours.
    Renew,
    /// Somebody holds it, who must not be disturbed before then.
    Wait { holder: String, until: Instant },
    /// It was ours, and is somebody else's now.
    Lost { holder: String },
}

/// A Lease as it was first seen unchanged.
#[derive(Clone, Debug)]
struct Watched {
    holder: Option<String>,
    transitions: i32,
    renewed: Option<MicroTime>,
    since: Instant,
}

/// What one replica knows between two looks.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub identity: String,
    /// `leaseTransitions` of the term that is ours.
    pub term: Option<i32>,
    watched: Option<Watched>,
}

impl Candidate {
    pub fn new(identity: impl Into<String>) -> Self {
        Self {
            identity: identity.into(),
            term: None,
            watched: None,
        }
    }

    /// A look failed: whether the Lease changed meanwhile is not known, so the wait starts anew. After an outage of the
    /// API server the leader has as much time as ever to be heard of.
    pub fn blinded(&mut self) {
        self.watched = None;
    }

    /// What to do about the Lease as it is seen at `now`; `None`: there is none.
    pub fn decide(&mut self, lease: Option<&LeaseSpec>, now: Instant) -> Action {
        let Some(lease) = lease else {
            return Action::Create;
        };
        let holder = lease.holder_identity.clone().filter(|h| !h.is_empty());
        let transitions = lease.lease_transitions.unwrap_or_default();
        if let Some(term) = self.term {
            return match holder.as_deref() == Some(&self.identity) && transitions == term {
                true => Action::Renew,
                false => Action::Lost {
                    holder: holder.unwrap_or_default(),
                },
            };
        }
        let Some(held_by) = holder.clone().filter(|h| *h != self.identity) else {
            return Action::Take;
        };
        let same = self.watched.as_ref().filter(|watched| {
            (&watched.holder, watched.transitions, &watched.renewed)
                == (&holder, transitions, &lease.renew_time)
        });
        let since = same.map_or(now, |watched| watched.since);
        self.watched = Some(Watched {
            holder,
            transitions,
            renewed: lease.renew_time.clone(),
            since,
        });
        let seconds = lease.lease_duration_seconds.unwrap_or_default();
        let until = since + Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
        match now >= until {
            true => Action::Take,
            false => Action::Wait {
                holder: held_by,
                until,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Renewed at that second of the holder's clock, whatever that shows.
    fn lease(holder: &str, transitions: i32, renewed: &str) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.into()),
            lease_transitions: Some(transitions),
            lease_duration_seconds: Some(10),
            renew_time: Some(MicroTime(
                format!("2001-01-01T00:00:{renewed}Z").parse().unwrap(),
            )),
            ..LeaseSpec::default()
        }
    }

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    fn wait(until: Instant) -> Action {
        Action::Wait {
            holder: "a".into(),
            until,
        }
    }

    #[test]
    fn a_lease_is_taken_once_it_has_not_changed_for_its_duration_by_our_own_clock() {
        let (mut b, start) = (Candidate::new("b"), Instant::now());
        // Its holder's clock is decades behind; that says nothing.
        let seen = lease("a", 3, "01");
        assert_eq!(b.decide(Some(&seen), start), wait(after(start, 10)));
        let renewed = lease("a", 3, "03");
        assert_eq!(
            b.decide(Some(&renewed), after(start, 9)),
            wait(after(start, 19))
        );
        assert_eq!(
            b.decide(Some(&renewed), after(start, 18)),
            wait(after(start, 19))
        );
        assert_eq!(b.decide(Some(&renewed), after(start, 19)), Action::Take);
    }

    #[test]
    fn an_outage_of_the_api_server_gives_the_leader_its_time_anew() {
        let (mut b, start) = (Candidate::new("b"), Instant::now());
        let seen = lease("a", 3, "01");
        b.decide(Some(&seen), start);
        b.blinded();
        assert_eq!(
            b.decide(Some(&seen), after(start, 60)),
            wait(after(start, 70))
        );
    }

    #[test]
    fn a_lease_that_is_missing_released_or_our_own_from_before_is_ours_at_once() {
        let mut b = Candidate::new("b");
        assert_eq!(b.decide(None, Instant::now()), Action::Create);
        for ours in [lease("", 3, "01"), lease("b", 3, "01")] {
            assert_eq!(b.decide(Some(&ours), Instant::now()), Action::Take);
        }
    }

    #[test]
    fn who_leads_renews_and_notices_when_somebody_took_over() {
        let mut b = Candidate::new("b");
        b.term = Some(4);
        let now = Instant::now();
        assert_eq!(b.decide(Some(&lease("b", 4, "01")), now), Action::Renew);
        // Hours late, but nobody came.
        let late = after(now, 7_200);
        assert_eq!(b.decide(Some(&lease("b", 4, "01")), late), Action::Renew);
        let lost = |holder: &str| Action::Lost {
            holder: holder.into(),
        };
        assert_eq!(b.decide(Some(&lease("a", 5, "01")), now), lost("a"));
        // Another process of the same name, or one that came and went.
        assert_eq!(b.decide(Some(&lease("b", 5, "01")), now), lost("b"));
        assert_eq!(b.decide(Some(&lease("", 5, "01")), now), lost(""));
    }
}
