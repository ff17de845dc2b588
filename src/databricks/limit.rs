//! One rate limiter a connection, in wire time. Lists go first: one list serves every app of the workspace.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::{Mutex, Notify};

/// Lists pass the limiter before everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    List,
    Normal,
}

#[derive(Clone)]
pub(super) struct Limiter {
    inner: Arc<Inner>,
}

struct Inner {
    bucket: DefaultDirectRateLimiter,
    clock: DefaultClock,
    lists_waiting: AtomicUsize,
    list_left: Notify,
    /// The mutexes are fair, so that within a priority it is first come, first served
    list_turn: Mutex<()>,
    normal_turn: Mutex<()>,
}

/// Counts a waiting list, also when its caller gives up.
struct Waiting<'a>(&'a Inner);

impl<'a> Waiting<'a> {
    fn new(inner: &'a Inner) -> Self {
        inner.lists_waiting.fetch_add(1, Ordering::SeqCst);
        Self(inner)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.lists_waiting.fetch_sub(1, Ordering::SeqCst);
        self.0.list_left.notify_waiters();
    }
}

impl Limiter {
    pub(super) fn new(requests_per_second: NonZeroU32, burst: NonZeroU32) -> Self {
        let quota = Quota::per_second(requests_per_second).allow_burst(burst);
        let clock = DefaultClock::default();
        Self {
            inner: Arc::new(Inner {
                bucket: RateLimiter::direct_with_clock(quota, clock.clone()),
                clock,
                lists_waiting: AtomicUsize::new(0),
                list_left: Notify::new(),
                list_turn: Mutex::new(()),
                normal_turn: Mutex::new(()),
            }),
        }
    }

    /// Waits for the right to send one request.
    pub(super) async fn ready(&self, priority: Priority) {
        let inner = &*self.inner;
        match priority {
            Priority::List => {
                let _waiting = Waiting::new(inner);
                let _turn = inner.list_turn.lock().await;
                while let Some(wait) = self.take() {
                    tokio::time::sleep(wait).await;
                }
            }
            Priority::Normal => {
                let _turn = inner.normal_turn.lock().await;
                loop {
                    let left = inner.list_left.notified();
                    if inner.lists_waiting.load(Ordering::SeqCst) > 0 {
                        // The bound covers a list that left between `notified` and the look.
                        let _ = tokio::time::timeout(Duration::from_millis(50), left).await;
                        continue;
                    }
                    match self.take() {
                        None => break,
                        Some(wait) => tokio::time::sleep(wait).await,
                    }
                }
            }
        }
    }

    /// Takes a cell from the bucket, or says how long until there is one.
    fn take(&self) -> Option<Duration> {
        match self.inner.bucket.check() {
            Ok(()) => None,
            Err(until) => Some(
                until
                    .wait_time_from(self.inner.clock.now())
                    .max(Duration::from_millis(1)),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Mutex as StdMutex;
    use std::time::Instant;

    use super::*;

    fn limiter(rate: u32, burst: u32) -> Limiter {
        Limiter::new(
            NonZeroU32::new(rate).unwrap(),
            NonZeroU32::new(burst).unwrap(),
        )
    }

    #[tokio::test]
    async fn the_rate_is_kept_after_the_burst() {
        let limiter = limiter(50, 5);
        let start = Instant::now();
        for _ in 0..15 {
            limiter.ready(Priority::Normal).await;
        }
        // 5 at once, 10 at 20 ms each.
        assert!(
            start.elapsed() >= Duration::from_millis(180),
            "{:?}",
            start.elapsed()
        );
    }

    #[tokio::test]
    async fn a_list_overtakes_the_calls_that_wait() {
        let limiter = limiter(20, 1);
        limiter.ready(Priority::Normal).await;
        let order = Arc::new(StdMutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for n in 0..5 {
            let (limiter, order) = (limiter.clone(), order.clone());
            tasks.push(tokio::spawn(async move {
                limiter.ready(Priority::Normal).await;
                order.lock().unwrap().push(n);
            }));
        }
        while Arc::strong_count(&order) < 6 || limiter.inner.normal_turn.try_lock().is_ok() {
            tokio::task::yield_now().await;
        }
        limiter.ready(Priority::List).await;
        let before = order.lock().unwrap().len();
        for task in tasks {
            task.await.unwrap();
        }
        assert!(before <= 1, "{before} ordinary calls went first");
        assert_eq!(*order.lock().unwrap(), vec![0, 1, 2, 3, 4]);
    }
}
