//! Floor 0: whether this process may write now, to Databricks or to Kubernetes. Reads need no leave.
//!
//! The one who leads holds a [`Grant`] and prolongs it; everybody who writes holds a [`Term`] and asks it directly before
//! each write. The deadline is of our own monotonic clock, so a process that was stopped for a while finds its term over
//! without being told.
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

/// A write that does not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not writing: this replica does not hold the Lease of the leader now; it goes on once the Lease is renewed or taken"
)]
pub struct NotLeading;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Until {
    Never,
    Deadline(Instant),
    Always,
}

impl Until {
    fn is_open(&self) -> bool {
        match self {
            Self::Never => false,
            Self::Deadline(deadline) => Instant::now() < *deadline,
            Self::Always => true,
        }
    }
}

/// Asked before each write; clones share one deadline.
#[derive(Clone, Debug)]
pub struct Term(Arc<watch::Sender<Until>>);

/// Sets the deadline of a [`Term`].
#[derive(Debug)]
pub struct Grant(Arc<watch::Sender<Until>>);

impl Term {
    /// A term that has not begun.
    pub fn new() -> (Grant, Self) {
        let until = Arc::new(watch::Sender::new(Until::Never));
        (Grant(until.clone()), Self(until))
    }

    /// Of a process that nobody can take the lead from.
    pub fn always() -> Self {
        Self(Arc::new(watch::Sender::new(Until::Always)))
    }

    /// Of a process that only looks.
    pub fn never() -> Self {
        Self::new().1
    }

    /// Whether a write may start at this moment.
    pub fn check(&self) -> Result<(), NotLeading> {
        match self.0.borrow().is_open() {
            true => Ok(()),
            false => Err(NotLeading),
        }
    }

    /// Returns once writes may start; at once while they may.
    pub async fn held(&self) {
        let mut until = self.0.subscribe();
        // The sender lives as long as we do.
        let _ = until.wait_for(Until::is_open).await;
    }
}

impl Grant {
    /// Writes may start before `deadline`.
    pub fn extend(&self, deadline: Instant) {
        self.0.send_replace(Until::Deadline(deadline));
    }

    /// Writes may start from now on, for good.
    pub fn open(&self) {
        self.0.send_replace(Until::Always);
    }

    /// No write starts any more.
    pub fn end(&self) {
        self.0.send_replace(Until::Never);
    }

    /// Whether writes may start now.
    pub fn is_open(&self) -> bool {
        self.0.borrow().is_open()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;

    #[test]
    fn no_write_starts_before_the_first_grant_nor_after_the_deadline() {
        let (grant, term) = Term::new();
        let now = Instant::now();
        assert_eq!(term.check(), Err(NotLeading));
        grant.extend(now + Duration::from_secs(60));
        assert_eq!(term.check(), Ok(()));
        grant.extend(now);
        assert_eq!(term.check(), Err(NotLeading));
        grant.extend(now + Duration::from_secs(60));
        grant.end();
        assert_eq!(term.check(), Err(NotLeading));
        assert_eq!(Term::always().check(), Ok(()));
    }

    #[tokio::test]
    async fn who_waits_goes_on_when_a_lapsed_term_is_prolonged() {
        let (grant, term) = Term::new();
        grant.extend(Instant::now());
        let held = term.held();
        tokio::pin!(held);
        assert!(futures::poll!(&mut held).is_pending());
        grant.extend(Instant::now() + Duration::from_secs(60));
        tokio::time::timeout(Duration::from_secs(5), held)
            .await
            .unwrap();
    }
}
