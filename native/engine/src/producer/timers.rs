//! When partitions are to be looked at again: the end of a linger time, or of a retry's backoff, or of the time in
//! which something has to come. That mostly comes long before, and the timer is stale then.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Instant;

/// So many are kept without a look at which of them are stale.
const FEW: usize = 32;

/// What timers are for.
pub(super) trait Waits {
    /// Whether the timer still counts.
    fn waits_for(&self, timer: Instant) -> bool;
}

/// See the module's text.
pub(super) struct Timers<T> {
    heap: BinaryHeap<Timer<T>>,
    /// With so many of them stale ones are dropped.
    sweep_at: usize,
}

impl<T: Waits> Timers<T> {
    pub(super) fn new() -> Self {
        Timers {
            heap: BinaryHeap::new(),
            sweep_at: FEW,
        }
    }

    /// A stale timer keeps its partition until it is due, which may be never, and producers and transactions come and
    /// go: so there are at most about as many stale ones as others.
    pub(super) fn push(&mut self, at: Instant, item: T) {
        if self.heap.len() >= self.sweep_at {
            self.heap.retain(|timer| timer.item.waits_for(timer.at));
            self.sweep_at = FEW.max(2 * self.heap.len());
        }
        self.heap.push(Timer { at, item });
    }

    /// When the first one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|timer| timer.at)
    }

    /// The next one that is due by now. One that has changed its mind meanwhile is passed over.
    pub(super) fn due(&mut self, now: Instant) -> Option<T> {
        while self.next().is_some_and(|at| at <= now) {
            let Timer { at, item } = self.heap.pop()?;
            if item.waits_for(at) {
                return Some(item);
            }
        }
        None
    }

    /// All of them, due or not.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = T> + '_ {
        self.heap.drain().map(|timer| timer.item)
    }
}

struct Timer<T> {
    at: Instant,
    item: T,
}

impl<T> PartialEq for Timer<T> {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}
impl<T> Eq for Timer<T> {}
impl<T> PartialOrd for Timer<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Timer<T> {
    /// The earliest is the greatest, for a max-heap.
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.cmp(&self.at)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;
    use std::time::Duration;

    use super::*;

    impl Waits for Rc<Cell<bool>> {
        fn waits_for(&self, _: Instant) -> bool {
            self.get()
        }
    }

    #[test]
    fn those_that_come_and_go_are_not_kept_until_they_would_have_been_due() {
        let (mut timers, now) = (Timers::new(), Instant::now());
        let never = now + Duration::from_secs(1 << 30);
        let waiting: Vec<_> = (0..100).map(|_| Rc::new(Cell::new(true))).collect();
        for item in &waiting {
            timers.push(now, item.clone());
        }
        let mut gone = Vec::new();
        for _ in 0..10_000 {
            let item = Rc::new(Cell::new(true));
            timers.push(never, item.clone());
            item.set(false);
            gone.push(Rc::downgrade(&item));
        }
        let kept = gone.iter().filter(|item| item.strong_count() > 0).count();
        assert!(kept <= waiting.len() + FEW, "{kept} are kept");
        let due = std::iter::from_fn(|| timers.due(now)).count();
        assert_eq!(due, waiting.len());
    }
}
