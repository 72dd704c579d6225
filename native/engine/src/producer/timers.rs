//! When partitions are to be looked at again: the end of a linger time, or of a retry's backoff.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Instant;

use super::partition::Partition;
use super::Delivery;

/// See the module's text.
pub(super) struct Timers<D: Delivery>(BinaryHeap<Timer<D>>);

impl<D: Delivery> Timers<D> {
    pub fn new() -> Self {
        Timers(BinaryHeap::new())
    }

    pub fn push(&mut self, at: Instant, partition: Arc<Partition<D>>) {
        self.0.push(Timer { at, partition });
    }

    /// When the first one is due.
    pub fn next(&self) -> Option<Instant> {
        self.0.peek().map(|timer| timer.at)
    }

    /// The next partition that is due by now. One that has changed its mind meanwhile is passed over.
    pub fn due(&mut self, now: Instant) -> Option<Arc<Partition<D>>> {
        while self.next().is_some_and(|at| at <= now) {
            let Timer { at, partition } = self.0.pop()?;
            if partition.waits_for(at) {
                return Some(partition);
            }
        }
        None
    }

    /// All of them, due or not.
    pub fn drain(&mut self) -> impl Iterator<Item = Arc<Partition<D>>> + '_ {
        self.0.drain().map(|timer| timer.partition)
    }
}

struct Timer<D: Delivery> {
    at: Instant,
    partition: Arc<Partition<D>>,
}

impl<D: Delivery> PartialEq for Timer<D> {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}
impl<D: Delivery> Eq for Timer<D> {}
impl<D: Delivery> PartialOrd for Timer<D> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<D: Delivery> Ord for Timer<D> {
    /// The earliest is the greatest, for a max-heap.
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.cmp(&self.at)
    }
}
