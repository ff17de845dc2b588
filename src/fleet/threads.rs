//! Work on thousands of children, on all cores.

/// Fewer items are not worth a thread of their own.
const FOR_ONE_THREAD: usize = 64;
/// More threads than that would only take from others.
const THREADS: usize = 8;

/// `work` on each item, in their order, on as many threads as are worth it. It must not depend on what it does for others.
pub(super) fn map<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(THREADS).min(items.len() / FOR_ONE_THREAD);
    if threads < 2 {
        return items.iter().map(work).collect();
    }
    let share = |items: &[T]| -> Vec<R> { items.iter().map(&work).collect() };
    let mut shares = items.chunks(items.len().div_ceil(threads));
    let first = shares.next().unwrap_or_default();
    std::thread::scope(|scope| {
        let others = shares.map(|items| scope.spawn(|| share(items)));
        let others: Vec<_> = others.collect();
        let mut done = share(first);
        done.reserve(items.len() - done.len());
        for thread in others {
            match thread.join() {
                Ok(more) => done.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_items_however_many_there_are() {
        for many in [0, 1, 2, FOR_ONE_THREAD, 2 * FOR_ONE_THREAD + 1, 5_000] {
            let items: Vec<usize> = (0..many).collect();
            assert_eq!(
                map(&items, |n| n * 2),
                (0..many).map(|n| n * 2).collect::<Vec<_>>()
            );
        }
    }
}
