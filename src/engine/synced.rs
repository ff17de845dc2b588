//! Whether a watch has told all there is: before its first complete list, what it doesn't know may well exist.
use std::sync::Arc;

use tokio::sync::watch;

/// How far a watch is.
#[derive(Clone, Debug, Default)]
struct State {
    synced: bool,
    /// Why it is not; the last failure.
    problem: String,
}

/// Held by who watches.
#[derive(Debug, Default)]
pub struct Gate(Arc<watch::Sender<State>>);

/// Held by who notices that a watch fails.
#[derive(Debug)]
pub struct Failing(Arc<watch::Sender<State>>);

/// Held by who reads what the watch knows.
#[derive(Clone, Debug)]
pub struct Synced(watch::Receiver<State>);

impl Gate {
    /// The first complete list has arrived; later ones replace it as a whole.
    pub fn open(&self) {
        self.0.send_modify(|state| state.synced = true);
    }

    /// For who notices failures.
    pub fn failing(&self) -> Failing {
        Failing(self.0.clone())
    }

    /// For a reader.
    pub fn synced(&self) -> Synced {
        Synced(self.0.subscribe())
    }
}

impl Failing {
    /// Says why there is no complete list yet; nothing once there was one.
    pub fn fails(&self, problem: String) {
        self.0.send_if_modified(|state| {
            let news = !state.synced && state.problem != problem;
            state.problem = problem;
            news
        });
    }
}

impl Synced {
    /// Ends when the first complete list has arrived, or, with false, when the watch has ended before. A store's own
    /// `wait_until_ready` wakes only the last of several waiters.
    pub async fn wait(&self) -> bool {
        self.follow(|_| ()).await
    }

    /// As [`Synced::wait`]; tells `say` why it takes so long, each time that there is another reason.
    pub async fn follow(&self, mut say: impl FnMut(&str)) -> bool {
        let mut state = self.0.clone();
        loop {
            {
                let now = state.borrow_and_update();
                if now.synced {
                    return true;
                }
                if !now.problem.is_empty() {
                    say(&now.problem);
                }
            }
            if state.changed().await.is_err() {
                return self.is();
            }
        }
    }

    /// Whether it has arrived.
    pub fn is(&self) -> bool {
        self.0.borrow().synced
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use super::*;

    #[tokio::test]
    async fn all_readers_go_on_once_the_list_is_complete_and_none_before() {
        let gate = Gate::default();
        let (first, second) = (gate.synced(), gate.synced());
        assert!(!first.is());
        let both = async { (first.wait().await, second.wait().await) };
        tokio::pin!(both);
        assert!(futures::poll!(&mut both).is_pending());
        gate.open();
        assert_eq!(both.await, (true, true));
        assert!(gate.synced().wait().await && first.is());
    }

    #[tokio::test]
    async fn a_watch_that_ended_before_is_never_complete() {
        let gate = Gate::default();
        let synced = gate.synced();
        drop(gate);
        assert!(!synced.wait().await);
    }

    #[tokio::test]
    async fn a_reader_hears_why_there_is_no_list_yet_and_nothing_of_later_failures() {
        let gate = Gate::default();
        let (synced, failing) = (gate.synced(), gate.failing());
        let mut said = Vec::new();
        {
            let waiting = synced.follow(|problem| said.push(problem.to_owned()));
            tokio::pin!(waiting);
            assert!(futures::poll!(&mut waiting).is_pending());
            failing.fails("forbidden".into());
            assert!(futures::poll!(&mut waiting).is_pending());
            gate.open();
            assert!(waiting.await);
        }
        assert_eq!(said, ["forbidden"]);
        failing.fails("away".into());
        assert!(synced.follow(|_| panic!("it is synced")).await);
    }
}
