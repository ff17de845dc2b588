//! Whether a watch has told all there is: before its first complete list, what it doesn't know may well exist.
use tokio::sync::watch;

/// Held by who watches.
#[derive(Debug)]
pub struct Gate(watch::Sender<bool>);

/// Held by who reads what the watch knows.
#[derive(Clone, Debug)]
pub struct Synced(watch::Receiver<bool>);

impl Default for Gate {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Gate {
    /// The first complete list has arrived; later ones replace it as a whole.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    /// For a reader.
    pub fn synced(&self) -> Synced {
        Synced(self.0.subscribe())
    }
}

impl Synced {
    /// Ends when the first complete list has arrived, or, with false, when the watch has ended before. A store's own
    /// `wait_until_ready` wakes only the last of several waiters.
    pub async fn wait(&self) -> bool {
        self.0.clone().wait_for(|synced| *synced).await.is_ok()
    }

    /// Whether it has arrived.
    pub fn is(&self) -> bool {
        *self.0.borrow()
    }
}

#[cfg(test)]
mod tests {
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
}
