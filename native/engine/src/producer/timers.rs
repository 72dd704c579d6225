//! When partitions are to be looked at again: the end of a linger time, or of a retry's backoff.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Instant;

use super::acks::Replies;
use super::partition::Partition;

/// See the module's text.
pub(super) struct Timers<R: Replies>(BinaryHeap<Timer<R>>);

impl<R: Replies> Timers<R> {
    pub(super) fn new() -> Self {
        Timers(BinaryHeap::new())
    }

    pub(super) fn push(&mut self, at: Instant, partition: Arc<Partition<R>>) {
        self.0.push(Timer { at, partition });
    }

    /// When the first one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.peek().map(|timer| timer.at)
    }

    /// The next partition that is due by now. One that has changed its mind meanwhile is passed over.
    pub(super) fn due(&mut self, now: Instant) -> Option<Arc<Partition<R>>> {
        while self.next().is_some_and(|at| at <= now) {
            let Timer { at, partition } = self.0.pop()?;
            if partition.waits_for(at) {
                return Some(partition);
            }
        }
        None
    }

    /// All of them, due or not.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Arc<Partition<R>>> + '_ {
        self.0.drain().map(|timer| timer.partition)
    }
}

struct Timer<R: Replies> {
    at: Instant,
    partition: Arc<Partition<R>>,
}

impl<R: Replies> PartialEq for Timer<R> {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}
impl<R: Replies> Eq for Timer<R> {}
impl<R: Replies> PartialOrd for Timer<R> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<R: Replies> Ord for Timer<R> {
    /// The earliest is the greatest, for a max-heap.
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.cmp(&self.at)
    }
}
