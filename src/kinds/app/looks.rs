//! Looks that several objects share: one at a time, and none sooner than it is due.
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::OwnedMutexGuard;

/// What the last look found, and when it was made.
pub type Slot<V> = Option<(Instant, V)>;

/// Slots by key; who holds one looks, the others wait for what is found.
pub struct Looks<K, V> {
    slots: Mutex<HashMap<K, Arc<tokio::sync::Mutex<Slot<V>>>>>,
}

impl<K, V> Default for Looks<K, V> {
    fn default() -> Self {
        Self {
            slots: Mutex::default(),
        }
    }
}

impl<K: Eq + Hash, V> Looks<K, V> {
    /// The slot of a key, for the one caller.
    pub async fn slot(&self, key: K) -> OwnedMutexGuard<Slot<V>> {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.entry(key).or_default().clone()
        };
        slot.lock_owned().await
    }
}
